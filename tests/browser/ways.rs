//! One form, four ways.

use std::cell::RefCell;

use crate::desk::{Browser, Desk, FORM, NO_SCRIPT, SCRIPT, Shop, tell};

const ASKED: &str = "title=Algebra+101&pages=12&ending=well";

/// Where somebody has ended, and what they read there; each task has an id of its own.
async fn end(browser: &Browser) -> (String, String) {
    browser.see("//h1[text()='Your export']").await;
    let path = browser.path().await;
    let (page, _id) = path.rsplit_once('/').unwrap();
    (page.to_owned(), browser.text().await)
}

async fn in_a_browser(desk: &Desk, kind: crate::desk::Kind) -> (String, String) {
    let ada = desk.visitor(kind, "ada").await;
    ada.export(12, "well").await;
    end(&ada).await
}

/// A program: it starts the task, asks until it has ended, and goes where it is led.
fn as_a_program(desk: &mut Desk) -> String {
    let (shop, json) = (&desk.shop, "accept: application/json");
    let cookie = shop.cookie("ada");
    let started = shop.ask("POST", "/orders", &[FORM, json, &cookie], ASKED);
    assert_eq!((started.status(), started.header("retry-after")), ("202", "1"));
    let (page, mut task) = (started.header("location").to_owned(), started.json());
    while task["ended"] == false {
        let rev = task["rev"].as_str().unwrap();
        let changed =
            shop.ask("GET", &format!("{page}?wait=20000&rev={rev}"), &[json, &cookie], "");
        task = changed.json();
    }
    task["redirect"].as_str().unwrap().to_owned()
}

/// The value of the first attribute of this name.
fn attribute<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    body.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}

/// A page with htmx: it puts what it asks for in the place of a block, which says whether and where to ask again; at the
/// end its person follows the link in it.
fn by_fragments(desk: &mut Desk) -> String {
    let cookie = desk.shop.cookie("ada");
    let started = desk.shop.ask("POST", "/orders", &[FORM, &cookie], ASKED);
    assert_eq!(started.status(), "303");
    let page = started.header("location").trim_end_matches("?follow=1").to_owned();
    let shown = RefCell::new(format!("<div hx-get=\"{page}/fragment?every=1\">"));
    let again = |shop: &Shop| {
        let asks = attribute(&shown.borrow(), "hx-get").map(str::to_owned);
        let Some(path) = asks else { return true };
        let answer = shop.ask("GET", &path, &[&cookie, "hx-request: true"], "");
        assert_eq!(answer.status(), "200", "{answer:?}");
        shown.replace(answer.body);
        false
    };
    assert!(!again(&desk.shop));
    assert_eq!(attribute(&shown.borrow(), "data-task-state"), Some("running"));
    assert_eq!(attribute(&shown.borrow(), "hx-trigger"), Some("every 1s"));
    desk.shop.wait_until("it asks no more", again);
    let body = shown.borrow();
    assert_eq!(attribute(&body, "data-task-state"), Some("succeeded"));
    attribute(body.split("lw-redirect").nth(1).unwrap(), "href").unwrap().to_owned()
}

#[test]
#[ignore = "needs chromium"]
fn one_form_leads_to_the_same_page_and_text_in_four_ways() {
    tell(false, async |desk| {
        let script = in_a_browser(desk, SCRIPT).await;
        assert_eq!(script.0, "/orders/exports");
        assert!(script.1.contains("12 of 12 pages"), "{}", script.1);
        assert_eq!(in_a_browser(desk, NO_SCRIPT).await, script);
        let ada = desk.visitor(NO_SCRIPT, "ada").await;
        for page in [as_a_program(desk), by_fragments(desk)] {
            ada.go(&page).await;
            assert_eq!(end(&ada).await, script);
        }
        assert_eq!(desk.shop.exports(), 4);
    });
}
