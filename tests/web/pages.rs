//! What stands on the pages, and how they come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use litework::testing::ManualClock;
use litework::{Flow, Mode};
use serde_json::json;

use crate::desk::{OK, Shop, block, gate, head, read, request};
use crate::tasks::{export, lend, linger, refuse};

#[test]
fn a_task_is_told_in_json_as_it_stands() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 3).owner("ada")).unwrap().id();
    let told = shop.json("ada", &format!("/tasks/t/{id}"));
    assert_eq!((told.status, told.header("content-type")), (OK, "application/json"));
    let task = told.json();
    assert_eq!(task["name"], "Export of Ada");
    assert_eq!(
        (&task["state"], &task["ended"], &task["poll_ms"]),
        (&json!("succeeded"), &json!(true), &json!(null))
    );
    assert_eq!(task["progress"]["percent"], 100);
    assert_eq!(task["message"], json!({ "level": "info", "text": "page 2 is written" }));
    assert_eq!(task["artifacts"][0]["href"], format!("/tasks/t/{id}/a/1"));
    assert_eq!(task["links"]["self"], format!("/tasks/t/{id}"));
    assert_eq!(task["actions"], json!(["dismiss", "delete"]));
    for secret in ["arguments", "customer", "result", "worker", "queue"] {
        assert!(task.get(secret).is_none(), "{secret}");
    }
}

/// A page of the program's own, with a task in it.
#[test]
fn a_block_stands_on_a_page_of_the_program_for_those_who_may_see_it() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 3).owner("ada")).unwrap().id();
    let asked = |user: &'static str| {
        block(async {
            let asked = shop.web.block(&head(user, &[]), id).await;
            match asked {
                Ok(text) => Ok(text),
                Err(answer) => Err(Box::new(read(answer).await)),
            }
        })
    };
    let fragment = shop.page("ada", &format!("/tasks/t/{id}/fragment")).text;
    assert_eq!(asked("ada").unwrap(), fragment);
    let refused = |user: &'static str| asked(user).unwrap_err();
    assert_eq!(refused("bob").status, 404);
    assert_eq!((refused("-").status, refused("-").header("location")), (303, "/login"));
    shop.tasks.delete(id).unwrap();
    assert_eq!(refused("ada").status, 404);
}

/// … where no link leads to the page itself.
#[test]
fn a_block_does_not_lead_to_the_page_that_it_stands_on() {
    let shop = Shop::new();
    let meta = json!({ "success": "/orders?done={id}" });
    let call = export::with("Ada", 1).owner("ada").meta("litework.web", meta);
    let id = shop.tasks.enqueue(call).unwrap().id();
    let at = |path: &str| {
        let mut page = head("ada", &[]);
        page.uri = path.parse().unwrap();
        block(shop.web.block(&page, id)).unwrap()
    };
    assert!(!at(&format!("/orders?done={id}")).contains("Continue"));
    assert!(at("/orders").contains("Continue"));
}

#[test]
fn what_has_not_begun_has_no_bar() {
    let (shop, say) = Shop::working();
    let later = export::with("Ada", 3).owner("ada");
    let later = later.run_after(std::time::Duration::from_secs(3_600));
    let later = shop.tasks.enqueue(later).unwrap().id();
    assert!(!shop.page("ada", &format!("/tasks/t/{later}")).text.contains("<progress"));
    let running = shop.tasks.enqueue(linger::with().owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{running}");
    wait_for(&shop, &path, |task| task["state"] == "running");
    assert!(shop.page("ada", &path).text.contains("<progress"));
    drop(say);
}

#[test]
fn a_page_that_is_not_there_leads_to_ones_own_tasks() {
    let shop = Shop::new();
    let lost = shop.page("ada", "/tasks/t/1-nothing");
    assert_eq!(lost.status, 404);
    assert!(lost.text.contains("<a href=\"/tasks/\">My tasks</a>"), "{}", lost.text);
    for path in ["/tasks/t/1-nothing", "/tasks/admin/nothing"] {
        let lost = shop.page("eve", path).text;
        assert!(lost.contains("<a href=\"/tasks/admin/\">Overview</a>"), "{lost}");
        assert!(!lost.contains("My tasks"), "{lost}");
    }
}

#[test]
fn who_has_the_newest_is_not_sent_it_again() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    let tag = shop.json("ada", &path).header("etag").to_owned();
    let again = |user: &str, tag: &str| {
        let request = request("GET", user, &path)
            .header("accept", "application/json")
            .header("if-none-match", tag);
        shop.send(request.body(Full::default()).unwrap())
    };
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
        let again = again("ada", &known);
        assert_eq!(
            (again.status, again.text.as_str(), again.header("etag")),
            (304, "", tag.as_str()),
            "{known}"
        );
    }
    for unknown in ["\"other\"", "", "\""] {
        assert_eq!(again("ada", unknown).status, OK, "{unknown}");
    }
    assert_eq!(again("root", &tag).status, OK, "another viewer may see another thing");
}

#[test]
fn what_a_task_has_left_is_shown_followed_or_downloaded() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let get = |user: &str, n: &str| shop.page(user, &format!("/tasks/t/{id}/a/{n}"));
    let file = get("ada", "1");
    assert_eq!((file.status, file.text.as_str()), (OK, "a;b\n1;2\n"));
    assert_eq!((file.header("content-type"), file.header("content-length")), ("text/csv", "8"));
    assert_eq!(
        file.header("content-disposition"),
        "attachment; filename=\"orders.csv\"; filename*=UTF-8''orders.csv"
    );
    assert_eq!(file.header("content-security-policy"), "sandbox; default-src 'none'");
    assert_eq!(
        (get("ada", "2").text.as_str(), get("ada", "2").header("content-type")),
        ("two orders", "text/plain; charset=utf-8")
    );
    assert_eq!(get("ada", "3").json()["orders"], 2);
    assert_eq!((get("ada", "4").status, get("ada", "4").header("location")), (303, "/orders"));
    for number in ["5", "0", "-1", "1x", "+1", "99999999999", "..", "%2e%2e", "../../x"] {
        assert_eq!(get("ada", number).status, 404, "{number}");
    }
    assert_eq!(get("bob", "1").status, 404);
}

/// A download is there for as long as was said, and the page says how long.
#[test]
fn what_was_left_for_an_hour_is_gone_after_it() {
    let clock = ManualClock::new();
    let builder = crate::tasks::registered(litework::Client::in_memory());
    let tasks = builder.clock(Arc::clone(&clock) as _).open().unwrap();
    let web = litework::web::Web::builder(&tasks, gate).base("/tasks").build().unwrap();
    let shop = Shop { tasks, web };
    let id = shop.tasks.enqueue(lend::with().owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    let artifact = |number: u32| shop.json("ada", &format!("{path}/a/{number}")).status;
    clock.advance(Duration::from_secs(3_599));
    let task = shop.json("ada", &path).json();
    let names = |task: &serde_json::Value| {
        let left = task["artifacts"].as_array().unwrap().iter();
        left.map(|left| left["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&task), ["loan.txt", "receipt"]);
    assert_eq!(task["artifacts"][0]["expires_at"], "2026-01-01T01:00:00.000Z");
    assert!(shop.page("ada", &path).text.contains("2026-01-01T01:00:00.000Z"));
    assert_eq!((artifact(1), artifact(2)), (OK, OK));
    clock.advance(Duration::from_secs(1));
    assert_eq!((artifact(1), artifact(2)), (404, OK));
    assert_eq!(names(&shop.json("ada", &path).json()), ["receipt"]);
    assert!(!shop.page("ada", &path).text.contains("loan.txt"));
    let api = shop.json("ada", &format!("/tasks/api/tasks/{id}/artifacts")).json();
    assert_eq!(
        (api["items"].as_array().map(Vec::len), &api["total"]["count"]),
        (Some(1), &json!(1))
    );
}

#[test]
fn a_page_without_scripts_looks_again_and_can_be_told_not_to() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 4).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    let page = shop.page("ada", &path).text;
    assert!(
        page.contains("<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>"),
        "{page}"
    );
    assert!(page.contains("?refresh=off"));
    let still = shop.page("ada", &format!("{path}?refresh=off")).text;
    assert!(!still.contains("http-equiv=\"refresh\"") && still.contains("Check now"));
    shop.tasks.cancel(id).unwrap();
    let ended = shop.page("ada", &path).text;
    assert!(!ended.contains("http-equiv=\"refresh\"") && !ended.contains("Check now"), "{ended}");
}

/// Hostile words stay words, wherever they come from.
#[test]
fn markup_in_a_name_is_text() {
    let shop = Shop::new();
    let name = "<script>alert(1)</script>\u{202e}\"'&";
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada").name(name)).unwrap().id();
    for path in [format!("/tasks/t/{id}"), format!("/tasks/t/{id}/fragment"), "/tasks/".to_owned()]
    {
        let page = shop.page("ada", &path).text;
        assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{page}");
        assert!(!page.contains("<script>alert"), "{page}");
    }
    assert_eq!(shop.json("ada", &format!("/tasks/t/{id}")).json()["name"], name);
}

#[test]
fn every_answer_is_safe_to_be_shown() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let (kept, never) = ("private, no-cache", "no-store");
    for (user, path, cached) in [
        ("ada", "/tasks/".to_owned(), kept),
        ("ada", format!("/tasks/t/{id}"), kept),
        ("ada", "/tasks/nothing".to_owned(), kept),
        ("ada", format!("/tasks/t/{id}/fragment"), kept),
        ("ada", format!("/tasks/api/tasks/{id}"), kept),
        ("ada", "/tasks/api/nothing".to_owned(), kept),
        ("root", "/tasks/admin/".to_owned(), never),
        ("root", format!("/tasks/admin/t/{id}"), never),
        ("root", "/tasks/admin/nothing".to_owned(), never),
        ("root", "/tasks/metrics".to_owned(), never),
        ("-", "/tasks/health/live".to_owned(), never),
    ] {
        for page in [shop.page(user, &path), shop.json(user, &path)] {
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "same-origin"),
                ("x-robots-tag", "noindex"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cache-control", cached),
                ("content-length", &page.text.len().to_string()),
            ] {
                assert_eq!(page.header(name), value, "{name} of {path}");
            }
            let policy = page.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
            for part in ["script-src 'self'", "base-uri 'none'", "frame-ancestors 'self'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!page.text.contains("style=") && !page.text.contains("onclick"), "{path}");
        }
    }
}

#[test]
fn style_and_module_are_kept_for_good_by_their_address() {
    let shop = Shop::new();
    let head = shop.web.head();
    let addresses: Vec<&str> =
        head.split('"').filter(|part| part.starts_with("/tasks/assets/")).collect();
    assert_eq!(addresses.len(), 2, "{head}");
    for address in addresses {
        let asset = shop.page("-", address);
        assert_eq!(
            (asset.status, asset.header("cache-control")),
            (OK, "public, max-age=31536000, immutable")
        );
        assert_eq!(shop.page("-", &address.replace("/assets/", "/assets/0")).status, 404);
    }
}

#[test]
fn methods_that_are_not_answered_are_told_so() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    let send = |method: &str, path: &str| {
        let request = request(method, "ada", path)
            .header("sec-fetch-site", "same-origin")
            .header("accept", "application/json");
        shop.send(request.body(Full::default()).unwrap())
    };
    let head = send("HEAD", &path);
    assert_eq!((head.status, head.text.as_str()), (OK, ""));
    assert_ne!(head.header("content-length"), "0");
    for (method, path, allow) in [
        ("DELETE", path.clone(), "GET, HEAD"),
        ("POST", path.clone(), "GET, HEAD"),
        ("GET", format!("{path}/cancel"), "POST"),
        ("BREW", "/tasks/".to_owned(), "GET, HEAD"),
    ] {
        let refused = send(method, &path);
        assert_eq!(
            (refused.status, refused.header("allow"), refused.header("content-type")),
            (405, allow, "application/problem+json")
        );
    }
    assert_eq!(
        (send("OPTIONS", &path).status, send("OPTIONS", &path).header("allow")),
        (204, "GET, HEAD")
    );
    assert_eq!(shop.tasks.get(id).unwrap().state, litework::State::Ready);
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let request = request("POST", "ada", &format!("/tasks/t/{id}/cancel"))
        .header("sec-fetch-site", "same-origin");
    let reply = shop.send(request.body(Full::from(Bytes::from(vec![b'x'; 70_000]))).unwrap());
    assert_eq!(reply.status, 413);
    assert_eq!(shop.tasks.get(id).unwrap().state, litework::State::Ready);
}

#[test]
fn a_bar_is_full_only_when_the_task_has_succeeded() {
    let (shop, say) = Shop::working();
    let id = shop.tasks.enqueue(linger::with().owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    say.send("half").unwrap();
    let seen = wait_for(&shop, &path, |task| task["progress"]["percent"] == 50);
    assert_eq!(
        (&seen["state"], &seen["progress"]["stage"]),
        (&json!("running"), &json!("half of it"))
    );
    let page = shop.page("ada", &path).text;
    assert!(page.contains("<title>(50 %) linger</title>"), "{page}");
    assert!(page.contains("value=\"50\">50 %</progress>") && page.contains("50 of 100"), "{page}");
    drop(say);
    let ended = wait_for(&shop, &path, |task| task["ended"] == true);
    assert_eq!(
        (&ended["state"], &ended["progress"]["percent"]),
        (&json!("succeeded"), &json!(100))
    );
}

/// Asks until it is as expected; each time it waits to be told of a change.
fn wait_for(shop: &Shop, path: &str, is: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let mut task = shop.json("ada", path).json();
    while !is(&task) {
        let rev = task["rev"].as_str().unwrap();
        task = shop.json("ada", &format!("{path}?wait=20000&rev={rev}")).json();
    }
    task
}

#[test]
fn a_wait_that_is_out_of_range_is_refused() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    for wait in ["-1", "25001", "soon", "", "1e3"] {
        let refused = shop.json("ada", &format!("/tasks/t/{id}?wait={wait}"));
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (400, Some("bad_wait")),
            "{wait}"
        );
    }
}

/// Whoever waits is told by ear and by keyboard as well, however the task stands.
#[test]
fn each_page_of_a_person_can_be_used_by_all() {
    let check = |name: &str, page: &crate::desk::Reply, status: u16| {
        assert_eq!(page.status, status, "{name}: {}", page.text);
        crate::markup::check_alone(name, &page.text);
    };
    let (shop, say) = Shop::working();
    let store = |call: litework::Call<_>| shop.tasks.enqueue(call.owner("ada")).unwrap().id();
    let running = store(linger::with());
    say.send("half").unwrap();
    wait_for(&shop, &format!("/tasks/t/{running}"), |task| task["progress"]["percent"] == 50);
    let (later, ready) =
        (store(linger::with().run_after(Duration::from_secs(3_600))), store(linger::with()));
    for (name, id) in [("running", running), ("scheduled", later), ("ready", ready)] {
        for path in [format!("/tasks/t/{id}"), format!("/tasks/t/{id}?refresh=off")] {
            check(name, &shop.page("ada", &path), OK);
        }
    }
    shop.tasks.cancel(ready).unwrap();
    check("cancelled", &shop.page("ada", &format!("/tasks/t/{ready}")), OK);
    shop.tasks.cancel(running).unwrap();
    check("stopping", &shop.page("ada", &format!("/tasks/t/{running}")), OK);
    drop(say);
}

#[test]
fn each_page_of_what_has_ended_and_of_what_is_refused_can_be_used_by_all() {
    let shop = Shop::with(Mode::Hold, |web| web.base("/tasks"));
    let check = |name: &str, page: &crate::desk::Reply, status: u16| {
        assert_eq!(page.status, status, "{name}: {}", page.text);
        crate::markup::check_alone(name, &page.text);
    };
    check("nothing yet", &shop.page("ada", "/tasks/"), OK);
    let flow = Flow::group("both", [export::with("one", 1), export::with("two", 1)]);
    let batch = shop.tasks.enqueue_flow(flow).unwrap().id();
    let waits = export::with("Ada", 1).owner("ada").after([batch]);
    let waits = shop.tasks.enqueue(waits).unwrap().id();
    for (name, user, id) in [("a flow", "eve", batch), ("waiting", "ada", waits)] {
        check(name, &shop.page(user, &format!("/tasks/t/{id}")), OK);
    }
    let done = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let failed = refuse::with("full", Some("Full.")).owner("ada");
    let failed = shop.tasks.enqueue(failed).unwrap().id();
    check("too early", &shop.post("ada", &format!("/tasks/t/{waits}/dismiss")), 409);
    shop.tasks.run_pending(&litework::Pending::all()).unwrap();
    for (name, user, id) in
        [("done", "ada", done), ("failed", "ada", failed), ("a flow that ended", "eve", batch)]
    {
        check(name, &shop.page(user, &format!("/tasks/t/{id}")), OK);
    }
    for n in 0..30 {
        shop.tasks.enqueue(export::with(format!("{n}"), 1).owner("ada")).unwrap();
    }
    check("a list", &shop.page("ada", "/tasks/"), OK);
    let next = shop.json("ada", "/tasks/").json()["next"].as_str().unwrap().to_owned();
    check("its end", &shop.page("ada", &format!("/tasks/?from={next}")), OK);
    for (name, user, path, status) in [
        ("nothing", "ada", "/tasks/nothing".to_owned(), 404),
        ("not his", "bob", format!("/tasks/t/{done}"), 404),
        ("a bad wait", "ada", format!("/tasks/t/{done}?wait=x"), 400),
        ("another method", "ada", format!("/tasks/t/{done}/retry"), 405),
    ] {
        check(name, &shop.page(user, &path), status);
    }
    check("not allowed", &shop.post("eve", &format!("/tasks/t/{done}/retry")), 403);
}
