//! What becomes of pages when the server goes away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use litework::{Client, Mode, TaskId, task};

use crate::child::within;
use crate::desk::{DONE, SCRIPT, Shop, tell};

/// A task of the shop's, as whoever enqueues from elsewhere knows it.
#[task(name = "shop.history")]
fn history(name: &str, ending: &str) -> String {
    format!("{name}: {ending}")
}

/// A task of Ada's that is not due, in the shop's file.
pub(crate) fn scheduled(shop: &Shop) -> TaskId {
    let tasks = Client::builder(shop.field.db()).declare::<history>().mode(Mode::Enqueue);
    let call = history::with("Delivery", "well").owner("ada");
    let call = call.run_after(Duration::from_secs(86_400));
    tasks.open().unwrap().enqueue(call).unwrap().id()
}

#[test]
#[ignore = "needs chromium"]
fn a_page_finds_back_to_a_server_that_was_killed_and_started_again() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        // Longer than the page pauses between two tries to reach the server.
        ada.export(120, "well").await;
        ada.see("//dialog//progress[@value > 10]").await;
        let page = ada.task().await;
        ada.new_tab().await;
        ada.go(&page).await;
        for tab in 0..2 {
            ada.to_tab(tab).await;
            ada.value("self.mark = 'not loaded again'").await;
        }
        desk.shop.process.kill();
        let notice = "//*[contains(@class, 'lw-notice')][contains(., 'Cannot reach the server')]";
        for tab in 0..2 {
            ada.to_tab(tab).await;
            ada.see(notice).await;
        }
        desk.shop.start_again();
        ada.see("//*[contains(@class, 'lw-attempt')][text()='Attempt 2 of 3']").await;
        ada.see(DONE).await;
        assert!(!ada.has(notice).await);
        assert_eq!(ada.value("self.mark").await, "not loaded again");
        ada.to_tab(0).await;
        ada.see("//h1[text()='Your export']").await;
        assert_eq!((desk.shop.tasks("export_orders"), desk.shop.exports()), (1, 1));
    });
}

/// One who listens to a task of Ada's, and has been greeted.
fn listen(shop: &Shop, id: TaskId) -> BufReader<TcpStream> {
    let (mut stream, cookie) = (shop.connect(), shop.cookie("ada"));
    let asked =
        format!("GET /tasks/events?ids={id} HTTP/1.1\r\nhost: localhost\r\n{cookie}\r\n\r\n");
    stream.write_all(asked.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("event: hello") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream was not opened");
    }
    stream
}

#[test]
#[ignore = "needs chromium"]
fn a_server_that_is_stopped_ends_by_itself_though_somebody_listens() {
    tell(false, async |desk| {
        let id = scheduled(&desk.shop);
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.go(&format!("/tasks/t/{id}")).await;
        assert!(ada.text().await.contains("Scheduled"));
        let in_time = within(Duration::from_secs(1), || {
            let mut stream = listen(&desk.shop, id);
            let began = Instant::now();
            desk.shop.process.signal("INT");
            desk.shop.process.expect("stopping: ");
            assert_eq!(desk.shop.process.wait().code(), Some(0));
            let took = began.elapsed();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("event: bye") && rest.contains("shutdown"), "{rest}");
            desk.shop.start_again();
            took
        });
        in_time.unwrap();
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_server_that_is_told_twice_hands_back_what_runs() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.export(600, "well").await;
        ada.see("//dialog//progress[@value > 0]").await;
        desk.shop.process.signal("INT");
        desk.shop.process.expect("stopping: ");
        desk.shop.process.signal("INT");
        desk.shop.process.expect("0 running tasks ended by themselves");
        desk.shop.process.expect("1 tasks were handed back");
        assert_eq!(desk.shop.process.wait().code(), Some(130));
        let tables = crate::child::look_into(&desk.shop.field.db());
        let row = "SELECT state, attempt, crashes FROM litework_task";
        let row = tables.query_row(row, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let row: (String, i64, i64) = row.unwrap();
        assert_eq!(row, ("ready".to_owned(), 0, 0), "it is as if it had not begun");
        desk.shop.start_again();
        ada.see("//dialog//*[text()='Running']").await;
        assert!(!ada.has("//*[contains(@class, 'lw-attempt')]").await, "it is the first attempt");
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_server_that_is_stopped_lets_what_runs_end_and_the_page_lead_on_later() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.export(20, "well").await;
        ada.see("//dialog//progress[@value > 10]").await;
        desk.shop.process.signal("INT");
        desk.shop.process.expect("1 running tasks ended by themselves");
        assert_eq!(desk.shop.process.wait().code(), Some(0));
        assert_eq!(desk.shop.exports(), 1);
        desk.shop.start_again();
        ada.see("//h1[text()='Your export']").await;
    });
}
