//! What becomes of pages when the server goes away.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use litework::{Client, Mode, TaskId, task};

use crate::desk::{DONE, SCRIPT, Shop, tell};

/// A task of the shop's, as whoever enqueues from elsewhere knows it.
#[task(name = "shop.history")]
fn history(name: &str, ending: &str) -> String {
    format!("{name}: {ending}")
}

/// A task of Ada's that is not due, in the shop's file.
fn scheduled(shop: &Shop) -> TaskId {
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
        ada.export(40, "well").await;
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

#[test]
#[ignore = "needs chromium"]
fn a_server_that_is_stopped_ends_by_itself_though_somebody_listens() {
    tell(false, async |desk| {
        let id = scheduled(&desk.shop);
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.go(&format!("/tasks/t/{id}")).await;
        assert!(ada.text().await.contains("Scheduled"));
        let mut stream = desk.shop.connect();
        let cookie = desk.shop.cookie("ada");
        let asked =
            format!("GET /tasks/events?ids={id} HTTP/1.1\r\nhost: localhost\r\n{cookie}\r\n\r\n");
        stream.write_all(asked.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.starts_with("event: hello") {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "the stream was not opened");
        }
        let began = Instant::now();
        desk.shop.process.signal("INT");
        desk.shop.process.expect("stopping: ");
        assert_eq!(desk.shop.process.wait().code(), Some(0));
        // It is done within a moment; a machine with much to do is given more.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("event: bye") && rest.contains("shutdown"), "{rest}");
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
