//! How often a page asks where it has no stream, and when it asks no more.

use litework::{Client, Mode};
use serde_json::{Value, json};

use crate::desk::{Browser, Desk, SCRIPT, tell};
use crate::server::scheduled;

/// No streams from now on; when the module is to ask next is noted, where another tab can read it.
const ASK: &str = "(() => {
    self.EventSource = undefined;
    self.asking = new Set();
    localStorage.asked = '';
    self.lost = [];
    document.addEventListener('task:lost', ({ target }) => lost.push(target.localName));
    const [set, clear] = [setTimeout, clearTimeout];
    self.setTimeout = (call, ms, ...rest) => {
        if (call.name !== 'poll') return set(call, ms, ...rest);
        localStorage.asked += ` ${document.hidden ? 'hidden' : 'seen'}:${Math.round(ms)}`;
        const id = set(() => (asking.delete(id), call(...rest)), ms);
        asking.add(id);
        return id;
    };
    self.clearTimeout = (id) => (asking.delete(id), clear(id));
    dispatchEvent(new Event('online'));
})()";

/// The spans after which a page asked, in sight and out of sight.
async fn spans(browser: &Browser) -> (Vec<u64>, Vec<u64>) {
    let asked = browser.value("localStorage.asked").await;
    let of = |sort: &str| {
        let spans = asked.as_str().unwrap().split(' ').filter_map(|it| it.strip_prefix(sort));
        spans.map(|span| span.parse().unwrap()).collect()
    };
    (of("seen:"), of("hidden:"))
}

#[test]
#[ignore = "needs chromium"]
fn a_page_out_of_sight_asks_less_often() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.value(ASK).await;
        ada.export(600, "well").await;
        // From its third second on a task is asked for twice a second.
        ada.see("//dialog//progress[@value > 4]").await;
        ada.new_tab().await;
        ada.go("/").await;
        ada.until("localStorage.asked.includes('hidden')").await;
        ada.client.close_window().await.unwrap();
        ada.to_tab(0).await;
        ada.until("/hidden:\\d+ seen/.test(localStorage.asked)").await;
        let (seen, hidden) = spans(&ada).await;
        assert!(seen.iter().all(|ms| *ms < 1_200), "{seen:?} {hidden:?}");
        assert!(hidden.iter().all(|ms| *ms > 2_000), "{seen:?} {hidden:?}");
    });
}

/// What a page says that asks no more, and that it does not.
async fn lost(browser: &Browser, notice: &str) {
    browser.see(&format!("//*[@class='lw-notice'][contains(., '{notice}')]")).await;
    assert_eq!(browser.value("asking.size").await, 0, "{notice}");
    assert_eq!(browser.value("lost").await, json!(["section"]), "{notice}");
}

/// The page of a task that is not due, which asks.
async fn waiting(desk: &Desk) -> (Browser, litework::TaskId) {
    let id = scheduled(&desk.shop);
    let ada = desk.visitor(SCRIPT, "ada").await;
    ada.go(&format!("/tasks/t/{id}")).await;
    ada.value(ASK).await;
    ada.until("asking.size").await;
    (ada, id)
}

#[test]
#[ignore = "needs chromium"]
fn a_page_stops_to_ask_for_what_is_gone_or_not_theirs_any_more() {
    tell(false, async |desk| {
        let (ada, id) = waiting(desk).await;
        let other = Client::builder(desk.shop.field.db()).mode(Mode::Enqueue).open().unwrap();
        other.delete(id).unwrap();
        lost(&ada, "This task is gone").await;

        let (ada, _) = waiting(desk).await;
        ada.client.delete_all_cookies().await.unwrap();
        lost(&ada, "You are not signed in.").await;
        assert!(ada.has("//*[@class='lw-notice']/a[@href][text()='Sign in']").await);
        let login = ada.value("document.querySelector('.lw-notice a').pathname").await;
        assert_eq!(login, "/login");

        // Something on the way that lets nobody pass.
        let (ada, _) = waiting(desk).await;
        ada.value("self.fetch = async () => new Response('{}', { status: 403 })").await;
        lost(&ada, "You are not signed in.").await;
        assert_ne!(ada.value("document.querySelector('.lw-notice a')").await, Value::Null);
    });
}
