//! What a form that starts a task is answered.

use http::Response;
use litework::web::Body;
use litework::{Filter, State};
use serde_json::json;

use crate::desk::{Reply, Shop, block, head, read};
use crate::tasks::{count_till, export, linger, refuse};

const JSON: (&str, &str) = ("accept", "application/json");

fn answered(respond: impl IntoFuture<Output = Response<Body>>) -> Reply {
    block(async { read(respond.into_future().await).await })
}

#[test]
fn what_is_done_at_once_leads_to_its_result() {
    let shop = Shop::new();
    let start = |user: &str, headers: &[(&str, &str)]| {
        answered(
            shop.web
                .respond(&head(user, headers), export::with("Ada", 2))
                .success("/orders?pages={result}")
                .error("/orders?failed={id}"),
        )
    };
    let page = start("ada", &[]);
    assert_eq!((page.status, page.header("location")), (303, "/orders?pages=2"));
    let told = start("ada", &[JSON]);
    assert_eq!((told.status, told.json()["redirect"].as_str()), (200, Some("/orders?pages=2")));
    assert_eq!(start("-", &[]).header("location"), "/login");
    assert_eq!(shop.tasks.count(&Filter::new().owner("ada")).unwrap(), 2, "it is theirs");
}

#[test]
fn what_fails_leads_to_the_error_page_or_says_so_on_its_own() {
    let shop = Shop::new();
    let led = answered(
        shop.web
            .respond(&head("ada", &[]), refuse::with("full", None))
            .error("/orders?failed={id}"),
    );
    assert!(led.header("location").starts_with("/orders?failed="), "{led:?}");
    let own = answered(
        shop.web
            .respond(&head("ada", &[]), refuse::with("full", None))
            .message("full", "The mailbox is full."),
    );
    let page = shop.page("ada", own.header("location")).text;
    assert!(page.contains("The mailbox is full.") && !page.contains("SMTP"), "{page}");
}

#[test]
fn what_takes_longer_leads_to_a_page_that_goes_on_when_it_has_ended() {
    let (shop, say) = Shop::working();
    let started = answered(
        shop.web
            .respond(&head("ada", &[("prefer", "respond-async")]), linger::with())
            .success("/orders"),
    );
    assert_eq!((started.status, started.header("preference-applied")), (303, "respond-async"));
    let page = started.header("location");
    assert!(page.starts_with("/tasks/t/") && page.ends_with("?follow=1"), "{page}");
    assert_eq!(shop.page("ada", page).status, 200);
    drop(say);
    let path = page.trim_end_matches("?follow=1");
    while shop.json("ada", &format!("{path}?wait=20000")).json()["ended"] != true {}
    assert_eq!(shop.page("ada", page).header("location"), "/orders");
    assert_eq!(shop.page("ada", path).status, 200, "who comes back later sees what it came to");
}

#[test]
fn a_program_is_told_where_to_look() {
    let (shop, say) = Shop::working();
    let told =
        answered(shop.web.respond(&head("ada", &[JSON, ("prefer", "wait=0")]), linger::with()));
    let id = told.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (told.status, told.header("location"), told.header("retry-after")),
        (202, format!("/tasks/t/{id}").as_str(), "1")
    );
    assert_eq!(told.header("preference-applied"), "wait=0");
    drop(say);
}

#[test]
fn a_double_submit_is_one_task_and_another_order_is_another() {
    let shop = Shop::new();
    let submit = |user: &str, once: &str, pages: u32| {
        let told =
            answered(shop.web.respond(&head(user, &[JSON]), export::with("Ada", pages)).once(once));
        told.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    let first = submit("ada", "7f", 1);
    assert_eq!(submit("ada", "7f", 1), first);
    assert_ne!(submit("ada", "7f", 2), first, "the form was changed before it was sent again");
    assert_ne!(submit("ada", "80", 1), first);
    assert_ne!(submit("bob", "7f", 1), first, "somebody else's");
    let by_header = answered(
        shop.web.respond(&head("ada", &[JSON, ("idempotency-key", "7f")]), export::with("Ada", 1)),
    );
    assert_eq!(by_header.json()["id"], first);
    let long = answered(
        shop.web.respond(&head("ada", &[JSON]), export::with("Ada", 1)).once("x".repeat(129)),
    );
    assert_eq!((long.status, long.json()["code"].as_str()), (400, Some("bad_once")));
}

#[test]
fn where_it_runs_already_its_person_watches_that_one() {
    let shop = Shop::holding();
    let running = shop.tasks.enqueue(count_till::with().owner("ada")).unwrap();
    let again = answered(shop.web.respond(&head("ada", &[JSON]), count_till::with()));
    // Held, neither has started: both are in line, and the first to start has the lock.
    assert_eq!(again.status, 202);
    shop.tasks.run_pending(&litework::Pending::all()).unwrap();
    assert_eq!(running.refresh().unwrap().state, State::Succeeded);
}

#[test]
fn a_download_leads_to_its_file() {
    let shop = Shop::new();
    let led = answered(shop.web.respond(&head("ada", &[]), export::with("Ada", 1)).to_file());
    let path = led.header("location").to_owned();
    assert!(path.ends_with("/a/1"), "{path}");
    assert_eq!(shop.page("ada", &path).text, "a;b\n1;2\n");
    assert_eq!(shop.page("bob", &path).status, 404);
}

/// A page elsewhere may have a browser send its cookies; that is no wish of whoever sits before it.
#[test]
fn a_page_of_another_site_starts_nothing() {
    let shop = Shop::new();
    let start = |method: &str, headers: &[(&str, &str)]| {
        let mut head = head("ada", headers);
        head.method = method.parse().unwrap();
        answered(shop.web.respond(&head, export::with("Ada", 1))).status
    };
    for (method, headers) in [
        ("POST", &[("origin", "http://evil.example")][..]),
        ("POST", &[("origin", "http://localhost:9999"), ("sec-fetch-site", "same-site")]),
        ("POST", &[("origin", "null"), ("sec-fetch-site", "cross-site")]),
        ("POST", &[("sec-fetch-site", "none")]),
        ("GET", &[("sec-fetch-site", "cross-site")]),
        ("GET", &[("sec-fetch-site", "same-origin"), ("sec-purpose", "prefetch;prerender")]),
    ] {
        assert_eq!(start(method, headers), 403, "{method} {headers:?}");
    }
    assert_eq!(start("HEAD", &[]), 405);
    assert_eq!(shop.tasks.count(&Filter::new()).unwrap(), 0);
    for (method, headers) in [
        ("POST", &[("origin", "http://localhost"), ("sec-fetch-site", "same-origin")][..]),
        ("POST", &[("origin", "http://localhost")]),
        ("POST", &[]),
        ("GET", &[("sec-fetch-site", "none")]),
        ("GET", &[("sec-fetch-site", "same-origin")]),
    ] {
        assert_eq!(start(method, headers), 303, "{method} {headers:?}");
    }
}

#[test]
fn a_redirect_that_leads_off_the_site_is_never_sent() {
    let shop = Shop::new();
    for path in ["https://evil.example", "//evil.example", "/a\r\nset-cookie: a=b"] {
        let refused =
            answered(shop.web.respond(&head("ada", &[JSON]), export::with("Ada", 1)).success(path));
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (500, Some("internal")),
            "{path}"
        );
    }
    assert_eq!(shop.tasks.count(&Filter::new()).unwrap(), 0);
    // What somebody else has written into the file is not believed.
    let meta = json!({ "success": "//evil.example" });
    let id = shop
        .tasks
        .enqueue(export::with("Ada", 1).owner("ada").meta("litework.web", meta))
        .unwrap()
        .id();
    assert_eq!(shop.json("ada", &format!("/tasks/t/{id}")).json()["redirect"], json!(null));
}
