//! What is done to many tasks: counted, asked, carried out beside everything else, and ended early.

use std::sync::Mutex;

use litework::{Filter, Mode, State, TaskId};
use serde_json::{Value, json};

use crate::desk::{OK, Reply, Shop, gate};
use crate::tasks::{Words, export, linger, refuse, registered};

const ACTIONS: &str = "/tasks/admin/tasks/actions";

fn count(shop: &Shop, state: State) -> u64 {
    shop.tasks.count(&Filter::new().state(state)).unwrap()
}

/// What the page says that a confirmed form leads to, once it has ended.
fn outcome(shop: &Shop, sent: &Reply) -> Value {
    assert_eq!(sent.status, 303, "{}", sent.text);
    ended(shop, sent.header("location"))
}

pub(crate) fn ended(shop: &Shop, path: &str) -> Value {
    loop {
        let progress = shop.json("root", path).json();
        if progress["standing"] != "running" {
            return progress;
        }
    }
}

/// The values of a page's hidden fields, as its form would send them.
fn hidden(page: &str) -> Vec<(String, String)> {
    let form = page.split_once("<form").unwrap().1.split_once("</form>").unwrap().0;
    let inputs = form.split("<input type=\"hidden\" ").skip(1);
    let fields = inputs.map(|input| {
        let of = |name: &str| {
            let value = input.split_once(&format!("{name}=\"")).unwrap().1;
            value.split('"').next().unwrap().to_owned()
        };
        (of("name"), of("value"))
    });
    fields.collect()
}

fn confirm(shop: &Shop, page: &str) -> Reply {
    let fields = hidden(page);
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    shop.form("root", ACTIONS, &fields)
}

#[test]
fn what_matches_is_counted_then_asked_then_done() {
    let shop = Shop::holding();
    shop.tasks.enqueue_many((0..30).map(|n| export::with(format!("{n}"), 1).owner("ada"))).unwrap();
    shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap();
    let form = [("do", "cancel matching"), ("owner", "ada"), ("state", "")];
    let asked = shop.form("root", ACTIONS, &form);
    assert_eq!(asked.status, OK);
    for text in ["Cancel 30 tasks", "tasks with owner ada", "litework cancel --owner=ada"] {
        assert!(asked.text.contains(text), "{text} in {}", asked.text);
    }
    crate::markup::check("ask", &asked.text);
    assert_eq!(count(&shop, State::Ready), 31, "nothing is done yet");
    let done = outcome(&shop, &confirm(&shop, &asked.text));
    assert_eq!(
        (&done["standing"], &done["done"], &done["by"]),
        (&json!("done"), &json!(30), &json!("root"))
    );
    assert_eq!((count(&shop, State::Cancelled), count(&shop, State::Ready)), (30, 1));
    let entry = &shop.tasks.audit(None, 1).unwrap().entries[0];
    assert_eq!((entry.actor.as_str(), entry.action.as_str(), entry.count), ("root", "cancel", 30));
    let page = shop.page("root", "/tasks/admin/bulk").text;
    assert!(page.contains("tasks with owner ada"), "{page}");
}

#[test]
fn the_selected_ones_are_meant_and_no_others() {
    let shop = Shop::new();
    let ids: Vec<TaskId> =
        (0..3).map(|_| shop.tasks.enqueue(refuse::with("x", None)).unwrap().id()).collect();
    let (first, last) = (ids[0].to_string(), ids[2].to_string());
    let form = [
        ("do", "delete selected"),
        ("selected", &*first),
        ("selected", &*last),
        ("state", "failed"),
    ];
    let asked = shop.form("root", ACTIONS, &form);
    assert!(asked.text.contains("Delete 2 tasks") && asked.text.contains("They are gone then"));
    let done = outcome(&shop, &confirm(&shop, &asked.text));
    assert_eq!(done["done"], 2);
    assert_eq!(shop.tasks.count(&Filter::new()).unwrap(), 1);
    assert!(shop.tasks.get(ids[1]).is_ok());
    let none = shop.form("root", ACTIONS, &[("do", "retry selected")]);
    assert!(none.text.contains("There is no task to which this could be done."), "{}", none.text);
}

#[test]
fn what_has_grown_since_it_was_counted_is_left_alone() {
    let shop = Shop::holding();
    shop.tasks.enqueue_many((0..5).map(|n| export::with(format!("{n}"), 1))).unwrap();
    let asked = shop.form("root", ACTIONS, &[("do", "delete matching")]);
    shop.tasks.enqueue_many((0..50).map(|n| export::with(format!("{n}"), 1))).unwrap();
    let done = outcome(&shop, &confirm(&shop, &asked.text));
    assert_eq!((&done["standing"], &done["done"]), (&json!("failed"), &json!(0)));
    assert!(done["error"].as_str().unwrap().contains("changed"), "{done}");
    assert_eq!(count(&shop, State::Ready), 55);
}

#[test]
fn a_group_of_failures_is_retried_as_a_whole() {
    let shop = Shop::holding();
    for n in 0..40 {
        shop.tasks.enqueue(refuse::with(format!("code{}", n % 2), None)).unwrap();
    }
    shop.tasks.run_pending(&litework::Pending::all()).unwrap();
    let groups = shop.json("root", "/tasks/admin/failures").json();
    let group = groups["items"].as_array().unwrap().iter().find(|group| group["error"] == "code1");
    let (group, other) = (group.unwrap()["fingerprint"].as_str().unwrap(), "0123456789abcdef");
    let asked = shop.form("root", ACTIONS, &[("do", "retry"), ("group", group)]);
    assert!(asked.text.contains("Retry 20 tasks"), "{}", asked.text);
    let done = outcome(&shop, &confirm(&shop, &asked.text));
    assert_eq!((&done["standing"], &done["done"]), (&json!("done"), &json!(20)));
    assert_eq!((count(&shop, State::Ready), count(&shop, State::Failed)), (20, 20));
    let gone = shop.form("root", ACTIONS, &[("do", "retry"), ("group", other)]);
    assert!(gone.text.contains("There is no task"));
}

#[test]
fn a_program_asks_and_acts_in_json() {
    let shop = Shop::holding();
    shop.tasks.enqueue_many((0..5).map(|n| export::with(format!("{n}"), 1).tag("red"))).unwrap();
    let send = |body: Value| shop.send_json("root", ACTIONS, &body);
    let filter = json!({ "tag": "red", "state": ["ready", "scheduled"] });
    let would = send(json!({ "action": "cancel", "filter": filter, "dry_run": true }));
    assert_eq!((would.status, &would.json()["count"]), (OK, &json!(5)));
    assert_eq!(
        send(json!({ "action": "cancel", "filter": filter })).status,
        400,
        "without a count"
    );
    let begun = send(json!({ "action": "cancel", "filter": filter, "expect_count": 5 }));
    assert!(begun.status == OK || begun.status == 202, "{begun:?}");
    assert_eq!(ended(&shop, begun.header("location"))["done"], 5);
    for bad in [
        json!({ "action": "explode", "ids": [] }),
        json!({ "action": "cancel" }),
        json!({ "action": "cancel", "ids": ["7"] }),
        json!({ "action": "cancel", "ids": [], "filter": {} }),
        json!({ "action": "cancel", "filter": { "tag": 7 } }),
        json!({ "action": "cancel", "filter": { "sort": "age" } }),
        json!({ "action": "cancel", "filter": {}, "sure": true }),
        json!([]),
    ] {
        assert_eq!(send(bad.clone()).status, 400, "{bad}");
    }
}

/// Bad input 79: so many that no request could wait for it.
#[test]
fn a_retry_of_twenty_thousand_leaves_the_pages_usable() {
    let shop = Shop::holding();
    shop.tasks.enqueue_many((0..20_000).map(|_| linger::with())).unwrap();
    // Nobody counts to the end for a page.
    for path in ["/tasks/admin/", "/tasks/admin/queues"] {
        assert!(shop.page("root", path).text.contains(">10,000+<"), "{path}");
    }
    shop.tasks.bulk(&Filter::new()).cancel().unwrap();
    let capped = json!({ "count": 10_000, "capped": true });
    for path in ["/tasks/admin/tasks?state=cancelled", "/tasks/api/tasks?state=cancelled"] {
        assert_eq!(shop.json("root", path).json()["total"], capped, "{path}");
    }
    let page = shop.page("root", "/tasks/admin/tasks?state=cancelled").text;
    assert!(page.contains("50 of more than 10,000"), "{page}");
    let asked = shop.form("root", ACTIONS, &[("do", "retry matching"), ("state", "cancelled")]);
    assert!(asked.text.contains("Retry more than 10,000 tasks"), "{}", asked.text);
    let sent = confirm(&shop, &asked.text);
    let page = shop.page("root", sent.header("location"));
    crate::markup::check("bulk", &page.text);
    for path in ["/tasks/admin/", "/tasks/admin/tasks", "/tasks/admin/failures"] {
        assert_eq!(shop.page("eve", path).status, OK, "{path}");
    }
    let done = outcome(&shop, &sent);
    assert_eq!((&done["standing"], &done["done"]), (&json!("done"), &json!(20_000)));
    assert_eq!(count(&shop, State::Ready), 20_000);
}

/// Only a file can be opened twice: by one who stores, and by one who runs in the caller and so stands still.
#[test]
fn what_is_done_to_many_is_ended_after_the_slice_that_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let builder = || registered(litework::Client::builder(&path));
    let store = builder().mode(Mode::Hold).open().unwrap();
    store.enqueue_many((0..20_000).map(|_| linger::with())).unwrap();
    store.bulk(&Filter::new()).cancel().unwrap();
    let (say, said) = std::sync::mpsc::channel();
    let words = Words { said: Mutex::new(said) };
    let tasks = builder().mode(Mode::Inline).state(words).open().unwrap();
    let web = litework::web::Web::builder(&tasks, gate).base("/tasks").build().unwrap();
    let shop = Shop { tasks, web };
    let asked = shop.form("root", ACTIONS, &[("do", "retry matching"), ("state", "cancelled")]);
    let sent = confirm(&shop, &asked.text);
    let running = shop.page("root", sent.header("location"));
    assert!(running.header("refresh") == "1" && running.text.contains("End it now"), "{running:?}");
    let viewer = shop.page("eve", sent.header("location")).text;
    assert!(!viewer.contains("End it now"));
    let ending = format!("{}/stop", sent.header("location"));
    assert_eq!(shop.post("eve", &ending).status, 403);
    assert_eq!(shop.post("root", &ending).status, 303);
    drop(say);
    let ended = outcome(&shop, &sent);
    assert_eq!(ended["standing"], "stopped");
    let (done, left) = (ended["done"].as_u64().unwrap(), count(&shop, State::Cancelled));
    assert!(done > 0 && left > 0 && done + left == 20_000, "{ended} {left}");
    assert_eq!(shop.json("root", "/tasks/admin/bulk/0123456789abcdef").status, 404);
}

/// More than are counted for a page.
fn crowded() -> Shop {
    let shop = Shop::holding();
    for _ in 0..2 {
        shop.tasks
            .enqueue_many((0..5_100).map(|n| export::with(format!("{n}"), 1).owner("ada")))
            .unwrap();
    }
    shop
}

#[test]
fn of_very_many_it_is_said_that_there_are_more_and_that_is_what_is_agreed_to() {
    let shop = crowded();
    let asked = shop.form("root", ACTIONS, &[("do", "cancel matching"), ("owner", "ada")]);
    assert_eq!(asked.status, OK);
    for text in ["Cancel more than 10,000 tasks?", "Count them first", "not counted to the end"] {
        assert!(asked.text.contains(text), "{text} in {}", asked.text);
    }
    crate::markup::check("ask of many", &asked.text);
    let fields = hidden(&asked.text);
    assert!(fields.contains(&("expect".to_owned(), "10000+".to_owned())), "{fields:?}");
    let sent = confirm(&shop, &asked.text);
    let page = shop.page("root", sent.header("location")).text;
    assert!(page.contains("10,000+"), "{page}");
    let done = outcome(&shop, &sent);
    assert_eq!((&done["done"], &done["expected_capped"]), (&json!(10_200), &json!(true)));
}

#[test]
fn whoever_wants_to_know_has_them_counted_and_is_bound_by_that() {
    let shop = crowded();
    let asked = shop.form("root", ACTIONS, &[("do", "cancel matching"), ("owner", "ada")]);
    let mut fields = hidden(&asked.text);
    fields.push(("count".to_owned(), "all".to_owned()));
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let counted = shop.form("root", ACTIONS, &fields);
    assert!(counted.text.contains("Cancel 10,200 tasks?"), "{}", counted.text);
    assert_eq!(count(&shop, State::Ready), 10_200, "nothing is done yet");
    shop.tasks
        .enqueue_many((0..5_000).map(|n| export::with(format!("{n}"), 1).owner("ada")))
        .unwrap();
    let done = outcome(&shop, &confirm(&shop, &counted.text));
    assert_eq!((&done["standing"], &done["done"]), (&json!("failed"), &json!(0)));

    let ask = json!({ "action": "cancel", "filter": { "owner": "ada" }, "dry_run": true });
    let would = shop.send_json("root", ACTIONS, &ask).json();
    assert_eq!((&would["count"], &would["capped"]), (&json!(10_000), &json!(true)));
    let mut exact = ask.clone();
    exact["count_all"] = json!(true);
    let would = shop.send_json("root", ACTIONS, &exact).json();
    assert_eq!((&would["count"], &would["capped"]), (&json!(15_200), &json!(false)));
    let mut go =
        json!({ "action": "cancel", "filter": { "owner": "ada" }, "expect_count": 10_000 });
    let sent = shop.send_json("root", ACTIONS, &go);
    let refused = ended(&shop, sent.header("location"));
    assert_eq!(refused["standing"], "failed", "it was not said that there are more: {refused}");
    go["expect_capped"] = json!(true);
    let sent = shop.send_json("root", ACTIONS, &go);
    assert_eq!(ended(&shop, sent.header("location"))["done"], 15_200);
}
