//! What a form that starts a task is answered.

use std::time::Duration;

use http::Response;
use litework::testing::{WriteFault, WritePoint, fail_writes};
use litework::web::{Body, WAIT_MAX};
use litework::{Exclusive, Filter, Pending, State, Watch};
use serde_json::json;

use crate::desk::{Reply, Shop, block, head, read};
use crate::tasks::{export, linger, refuse};

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

/// Two clicks on "Count the till": the till is counted once, and whoever has clicked watches that. Whose till it is not,
/// is told so, and not that it was done for them.
#[test]
fn where_it_runs_already_its_person_watches_that_one() {
    let (shop, say) = Shop::staffed(2);
    let count = || linger::with().exclusive(Exclusive::lock("till"));
    let holder = shop.tasks.enqueue(count().owner("ada")).unwrap().id();
    let watcher = shop.tasks.watch(holder).unwrap();
    while watcher.recv().unwrap().task.state != State::Running {}
    let again = |user: &str, headers: &[(&str, &str)]| {
        let asked = shop.web.respond(&head(user, headers), count()).success("/orders");
        answered(asked.error("/oh").wait(WAIT_MAX))
    };
    let led = again("ada", &[]);
    assert_eq!(
        (led.status, led.header("location")),
        (303, &*format!("/tasks/t/{holder}?follow=1"))
    );
    let told = again("ada", &[JSON]);
    assert_eq!((told.status, &told.json()["id"]), (202, &json!(holder.to_string())));
    let refused = again("bob", &[JSON]);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("already_running")));
    assert!(!refused.text.contains(&holder.to_string()), "{}", refused.text);
    assert_eq!(again("bob", &[]).status, 409, "nobody is led to a page that says it was done");
    drop(say);
    while let Some(snapshot) = watcher.recv() {
        assert_ne!(snapshot.task.state, State::Failed);
    }
    assert_eq!(again("bob", &[]).header("location"), "/orders", "it is free again");
}

/// The disk has failed in the moment of the commit: whether the order is there, nobody can tell, and it is made once.
#[test]
fn what_may_or_may_not_be_stored_is_sent_once_more_and_is_one_task() {
    for fault in [WriteFault::UnknownStored, WriteFault::UnknownLost] {
        let shop = Shop::new();
        fail_writes(&shop.tasks, WritePoint::Enqueue, fault, 1);
        let told = answered(shop.web.respond(&head("ada", &[JSON]), export::with("Ada", 1)));
        assert!([200, 202].contains(&told.status), "{fault:?}: {told:?}");
        shop.tasks.run_pending(&Pending::all()).unwrap();
        let done = shop.tasks.list(&Filter::new(), None, 9).unwrap().tasks;
        assert_eq!((done.len(), done[0].state), (1, State::Succeeded), "{fault:?}");
        assert_eq!(told.json()["id"], json!(done[0].id.to_string()), "{fault:?}");

        // Twice is once too often; with the form's token it can be sent again by hand.
        fail_writes(&shop.tasks, WritePoint::Enqueue, fault, 2);
        let send = || shop.web.respond(&head("bob", &[JSON]), export::with("Bob", 1)).once("7f");
        assert_eq!(answered(send()).status, 500, "{fault:?}");
        assert!(shop.tasks.count(&Filter::new().owner("bob")).unwrap() <= 1);
        assert!([200, 202].contains(&answered(send()).status), "{fault:?}");
        assert_eq!(shop.tasks.count(&Filter::new().owner("bob")).unwrap(), 1, "{fault:?}");
    }
}

#[test]
fn a_request_may_wish_to_wait_longer_than_the_program_does() {
    let (shop, say) = Shop::working();
    let asked = |wish: &'static str| {
        let asked = head("ada", &[JSON, ("prefer", wish)]);
        answered(shop.web.respond(&asked, linger::with()).wait(Duration::ZERO))
    };
    let told = std::thread::scope(|scope| {
        let told = scope.spawn(|| asked("wait=20"));
        let watcher = shop.tasks.watch(Watch::owner("ada")).unwrap();
        while watcher.recv().unwrap().task.state != State::Running {}
        drop(say);
        told.join().unwrap()
    });
    assert_eq!((told.status, &told.json()["state"]), (200, &json!("succeeded")));
    assert_eq!(told.header("preference-applied"), "wait=20");
    // Longer than a connection should stand open is not waited, and so it is told.
    for (wish, applied) in
        [("wait=26", "wait=25"), ("wait=4294967296", "wait=25"), ("foo, wait=3", "wait=3")]
    {
        let told = asked(wish);
        assert_eq!((told.status, told.header("preference-applied")), (200, applied), "{wish}");
    }
    for odd in ["wait=-1", "wait=soon", "wait", ""] {
        assert_eq!(asked(odd).header("preference-applied"), "", "{odd}");
    }
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
