//! Schedules as people see and change them.

use std::time::Duration;

use litework::{Client, Filter, Mode, Schedule, ScheduleState, Timing};
use serde_json::json;

use crate::desk::{OK, Reply, Shop, gate};
use crate::tasks::{count_till, pay, registered};

const ADMIN: &str = "/tasks/admin";

fn shop() -> Shop {
    let hour = Duration::from_secs(3_600);
    let builder = registered(Client::in_memory()).mode(Mode::Hold);
    let builder =
        builder.schedule(Schedule::every("pay", hour, pay::with("Ada", "hunter2", false)));
    let builder =
        builder.schedule(Schedule::every("count", hour, count_till::with()).describe("Counts."));
    let tasks = builder.open().unwrap();
    let made = Schedule::every("../etc/passwd?a=b&c", hour, count_till::with());
    tasks.schedules().add(made).unwrap();
    let web = litework::web::Web::builder(&tasks, gate).base("/tasks").build().unwrap();
    Shop { tasks, web }
}

/// The form of a schedule as a browser would send it, with some fields changed.
fn edit(shop: &Shop, name: &str, changes: &[(&str, &str)]) -> Reply {
    let page =
        shop.page("root", &format!("{ADMIN}/schedule?name={}", crate::desk::encoded(name))).text;
    let form =
        page.split_once("/admin/schedules/edit\">").unwrap().1.split_once("</form>").unwrap().0;
    let mut fields: Vec<(String, String)> = Vec::new();
    for part in form.split('<') {
        let of = |attribute: &str| {
            let value = part.split_once(&format!(" {attribute}=\""))?.1;
            Some(plain(value.split('"').next()?))
        };
        let Some(tag) = part.split([' ', '>']).next() else { continue };
        match tag {
            "input" => fields.extend(of("name").zip(of("value"))),
            "select" => fields.extend(of("name").map(|name| (name, String::new()))),
            "option" if part.contains(" selected") => {
                fields.last_mut().unwrap().1 = of("value").unwrap();
            }
            "textarea" => {
                fields
                    .extend(of("name").map(|name| (name, plain(part.split_once('>').unwrap().1))));
            }
            _ => {}
        }
    }
    for (name, value) in changes {
        match fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => (*value).clone_into(known),
            None => fields.push(((*name).to_owned(), (*value).to_owned())),
        }
    }
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    shop.form("root", &format!("{ADMIN}/schedules/edit"), &fields)
}

fn plain(text: &str) -> String {
    text.replace("&#34;", "\"").replace("&#39;", "'").replace("&#60;", "<").replace("&#38;", "&")
}

#[test]
fn a_schedule_is_shown_with_its_next_slots_and_its_past() {
    let shop = shop();
    shop.tasks.schedules().run_now("count").unwrap();
    let list = shop.json("root", &format!("{ADMIN}/schedules")).json();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["../etc/passwd?a=b&c", "count", "pay"]);
    let count = shop.json("root", &format!("{ADMIN}/schedule?name=count")).json();
    assert_eq!(
        (&count["state"], count["ahead"].as_array().map(Vec::len)),
        (&json!("active"), Some(5))
    );
    assert_eq!(
        (&count["history"][0]["kind"], &count["kind_description"]),
        (&json!("manual"), &json!("One at a time."))
    );
    let page = shop.page("root", &format!("{ADMIN}/schedule?name=count")).text;
    assert!(
        page.contains("Every 1h")
            && page.contains("One at a time.")
            && page.contains("litework cron run count")
    );
    for path in ["schedule?name=nobody", "schedule"] {
        assert_eq!(shop.json("root", &format!("{ADMIN}/{path}")).status, 404, "{path}");
    }
    assert_eq!(
        shop.page("root", &format!("{ADMIN}/schedule?name=..%2Fetc%2Fpasswd%3Fa%3Db%26c")).status,
        OK
    );
}

#[test]
fn schedules_are_run_and_switched_one_or_several_at_once() {
    let shop = shop();
    let send = |verb: &str, fields: &[(&str, &str)]| {
        shop.form("root", &format!("{ADMIN}/schedules/{verb}"), fields)
    };
    let both = [("name", "count"), ("name", "pay")];
    assert_eq!(
        send("run", &both).header("location"),
        "/tasks/admin/schedules?notice=schedules_run&n=2"
    );
    assert_eq!(shop.tasks.count(&Filter::new()).unwrap(), 2);
    let one = send("run", &[("name", "count"), ("stay", "yes")]);
    assert_eq!(one.header("location"), "/tasks/admin/schedule?name=count&notice=schedule_run&n=1");
    assert!(
        shop.page("root", one.header("location")).text.contains("The schedule has made a task.")
    );
    send("disable", &both);
    let state = |name: &str| shop.tasks.schedules().get(name).unwrap().state;
    assert_eq!((state("count"), state("pay")), (ScheduleState::Disabled, ScheduleState::Disabled));
    send("enable", &[("name", "pay")]);
    assert_eq!((state("count"), state("pay")), (ScheduleState::Disabled, ScheduleState::Active));
    assert_eq!(send("run", &[]).status, 400, "none is selected");
    assert_eq!(send("run", &[("name", "nobody")]).status, 404);
    let entries = shop.tasks.audit(None, 10).unwrap().entries;
    assert!(entries.iter().all(|entry| entry.actor == "root") && entries.len() == 4, "{entries:?}");
}

#[test]
fn a_form_that_was_not_touched_changes_nothing() {
    let shop = shop();
    for name in ["count", "pay", "../etc/passwd?a=b&c"] {
        let before = shop.tasks.schedules().get(name).unwrap();
        let sent = edit(&shop, name, &[]);
        assert_eq!(sent.status, 303, "{}", sent.text);
        let after = shop.tasks.schedules().get(name).unwrap();
        assert_eq!(
            (&after.edited, &after.arguments, &after.timing),
            (&before.edited, &before.arguments, &before.timing)
        );
    }
    let stored = shop.tasks.schedules().get("pay").unwrap().arguments;
    assert!(stored.contains("hunter2"), "what is hidden on the page stays as it was");
}

#[test]
fn a_schedule_is_changed_as_its_form_says_and_reset_to_code() {
    let shop = shop();
    let arguments = r#"{"fails": true, "password": "[redacted]", "to": "Grace"}"#;
    let changes = [
        ("description", "Pays Grace."),
        ("interval", "2h"),
        ("queue", "calm"),
        ("priority", "5"),
        ("jitter", "1m"),
        ("overlap", "buffer_one"),
        ("missed", "all"),
        ("missed_most", "7"),
        ("missed_within", "3d"),
        ("times", "10"),
        ("ends_at", "2099-01-01T00:00:00Z"),
        ("stop_after", "3"),
        ("arguments", arguments),
    ];
    let sent = edit(&shop, "pay", &changes);
    assert_eq!(
        sent.header("location"),
        "/tasks/admin/schedule?name=pay&notice=edited",
        "{}",
        sent.text
    );
    let record = shop.tasks.schedules().get("pay").unwrap();
    assert_eq!(record.timing.as_ref().map(ToString::to_string).as_deref(), Some("Every 2h"));
    assert_eq!(
        (record.queue.as_deref(), record.priority, record.times),
        (Some("calm"), Some(5), Some(10))
    );
    assert_eq!((record.stop_after_failures, record.jitter), (Some(3), Duration::from_secs(60)));
    let stored: serde_json::Value = serde_json::from_str(&record.arguments).unwrap();
    assert_eq!(stored, json!({ "fails": true, "password": "hunter2", "to": "Grace" }));
    let page = shop.page("root", &format!("{ADMIN}/schedule?name=pay")).text;
    assert!(page.contains("Reset to code") && page.contains("arguments.to"), "{page}");
    let taken = edit(&shop, "pay", &[("times", ""), ("ends_at", ""), ("stop_after", "")]);
    assert_eq!(taken.status, 303);
    let record = shop.tasks.schedules().get("pay").unwrap();
    assert_eq!((record.times, record.ends_at, record.stop_after_failures), (None, None, None));
    let reset = shop.form("root", &format!("{ADMIN}/schedules/reset"), &[("name", "pay")]);
    assert!(reset.header("location").ends_with("notice=reset"));
    assert!(shop.tasks.schedules().get("pay").unwrap().edited.is_empty());
}

#[test]
fn a_change_is_tried_before_it_is_stored() {
    let shop = shop();
    let tried = edit(&shop, "count", &[("interval", "30m"), ("go", "preview")]);
    assert!(tried.status == OK && tried.text.contains("nothing is stored yet"), "{}", tried.text);
    assert!(tried.text.contains("value=\"30m\""), "the form keeps what was filled in");
    crate::markup::check("preview", &tried.text);
    let timing = shop.tasks.schedules().get("count").unwrap().timing;
    assert!(
        matches!(timing, Some(Timing::Every { interval, .. }) if interval == Duration::from_secs(3_600))
    );
    for (name, bad) in [
        ("interval", "soon"),
        ("interval", "1s"),
        ("when", "never"),
        ("overlap", "x"),
        ("missed", "x"),
        ("priority", "x"),
        ("starts_at", "x"),
        ("arguments", "{"),
        ("times", "0"),
        ("grace", "x"),
    ] {
        let refused = edit(&shop, "count", &[(name, bad)]);
        assert_eq!(refused.status, 400, "{name}={bad}: {}", refused.text);
    }
    assert!(shop.tasks.schedules().get("count").unwrap().edited.is_empty());
}

#[test]
fn only_what_no_code_declares_is_removed_and_only_once_confirmed() {
    let shop = shop();
    let name = ("name", "../etc/passwd?a=b&c");
    let path = format!("{ADMIN}/schedules/remove");
    let asked = shop.form("root", &path, &[name]);
    assert!(asked.status == OK && asked.text.contains("Remove 1 schedule"), "{}", asked.text);
    crate::markup::check("remove", &asked.text);
    let sent = shop.form("root", &path, &[name, ("confirmed", "yes")]);
    assert_eq!(sent.header("location"), "/tasks/admin/schedules?notice=removed");
    assert!(shop.tasks.schedules().get(name.1).is_err());
    assert!(!shop.page("root", &format!("{ADMIN}/schedule?name=count")).text.contains("Remove…"));
    let declared = shop.form("root", &path, &[("name", "count"), ("confirmed", "yes")]);
    assert_eq!(declared.status, 400, "code would store it again");
}
