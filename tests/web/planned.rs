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

const ADD: &str = "/tasks/admin/schedules/add";

/// What a person fills in; the rest of the form is sent empty, as a browser does.
fn add(shop: &Shop, user: &str, filled: &[(&str, &str)]) -> Reply {
    let rest = ["description", "expression", "zone", "after_error", "at", "missed_most", "queue"];
    let rest = rest.iter().filter(|name| filled.iter().all(|(given, _)| given != *name));
    let usual = [("overlap", "skip"), ("missed", "last")];
    let fields: Vec<(&str, &str)> =
        filled.iter().copied().chain(rest.map(|name| (*name, ""))).chain(usual).collect();
    shop.form(user, ADD, &fields)
}

#[test]
fn a_schedule_is_added_from_the_kinds_that_the_program_knows() {
    let shop = shop();
    let new = format!("{ADMIN}/schedules/new");
    let form = shop.page("root", &new);
    assert_eq!(form.status, OK);
    crate::markup::check("new", &form.text);
    let told =
        ["count_till: One at a time.", "Pays somebody, and tells more of it than it should."];
    for text in told {
        assert!(form.text.contains(text), "{text}: {}", form.text);
    }
    let kinds = shop.json("root", &new).json();
    let kinds = kinds["kinds"].as_array().unwrap();
    let count = kinds.iter().find(|kind| kind["kind"] == "count_till").unwrap();
    assert_eq!(
        (&count["queue"], &count["description"]),
        (&json!("default"), &json!("One at a time."))
    );

    let arguments = r#"{"to":"Grace","password":"hunter2","fails":false}"#;
    let filled = [
        ("name", "nightly pay"),
        ("kind", "pay"),
        ("when", "every"),
        ("interval", "1d"),
        ("description", "Pays at night."),
        ("priority", "7"),
        ("arguments", arguments),
    ];
    let preview = add(&shop, "root", &[&filled[..], &[("go", "preview")]].concat());
    assert!(preview.status == OK && preview.text.contains("nothing is stored yet"), "{preview:?}");
    assert!(
        preview.text.contains("value=\"nightly pay\"") && preview.text.contains("value=\"1d\"")
    );
    assert_eq!(preview.text.matches("<li><time").count(), 5);
    crate::markup::check("preview of new", &preview.text);
    assert!(shop.tasks.schedules().get("nightly pay").is_err());

    let added = add(&shop, "root", &[&filled[..], &[("go", "save")]].concat());
    assert_eq!(
        added.header("location"),
        "/tasks/admin/schedule?name=nightly+pay&notice=added",
        "{}",
        added.text
    );
    let page = shop.page("root", added.header("location")).text;
    assert!(page.contains("The schedule is stored.") && !page.contains("hunter2"), "{page}");
    let record = shop.tasks.schedules().get("nightly pay").unwrap();
    assert_eq!((record.kind.as_str(), record.priority), ("pay", Some(7)));
    let stored: serde_json::Value = serde_json::from_str(&record.arguments).unwrap();
    assert_eq!(stored, serde_json::from_str::<serde_json::Value>(arguments).unwrap());
    assert_eq!(shop.tasks.schedules().preview("nightly pay", 5).unwrap().len(), 5);
    let entry = &shop.tasks.audit(None, 1).unwrap().entries[0];
    assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("root", "add_schedule"));
    assert_eq!(entry.what["schedules"], json!(["nightly pay"]));
    let made = shop.tasks.schedules().run_now("nightly pay").unwrap();
    shop.tasks.run_pending(&litework::Pending::all()).unwrap();
    assert!(shop.tasks.get(made.id).unwrap().state.is_final());
}

#[test]
fn a_program_adds_a_schedule_in_json() {
    let shop = shop();
    let asked = json!({ "name": "tally", "kind": "count_till", "when": "once", "at": "3h" });
    let mut preview = asked.clone();
    preview["go"] = json!("preview");
    let ahead = shop.send_json("root", ADD, &preview).json();
    assert_eq!(ahead["ahead"].as_array().map(Vec::len), Some(1), "{ahead}");
    let added = shop.send_json("root", ADD, &asked);
    assert_eq!((added.status, &added.json()["name"]), (201, &json!("tally")), "{added:?}");
    let other = json!({
        "name": "paid", "kind": "pay", "when": "after_finish", "interval": "1h", "times": 3,
        "arguments": { "to": "Ada", "password": "hunter2", "fails": true },
    });
    let added = shop.send_json("root", ADD, &other);
    assert!(added.status == 201 && !added.text.contains("hunter2"), "{added:?}");
    assert_eq!(shop.tasks.schedules().get("paid").unwrap().times, Some(3));
    for (field, value, code) in [
        ("nmae", json!("x"), "bad_schedule"),
        ("when", json!("often"), "bad_schedule"),
        ("name", json!("paid"), "duplicate_schedule"),
        ("name", json!(" "), "bad_name"),
        ("kind", json!("pya"), "unknown_kind"),
        ("interval", json!("1s"), "too_frequent"),
        ("interval", json!("soon"), "bad_duration"),
        ("arguments", json!([1]), "bad_json"),
        ("arguments", json!({ "to": "Ada" }), "bad_arguments"),
        ("queue", json!("no queue\u{0}"), "bad_queue"),
        ("priority", json!(900), "out_of_range"),
    ] {
        let mut asked = other.clone();
        asked["name"] = json!("another");
        asked[field] = value;
        for go in ["preview", "save"] {
            asked["go"] = json!(go);
            let refused = shop.send_json("root", ADD, &asked);
            let told = refused.json();
            assert_eq!(
                (refused.status, told["code"].as_str()),
                (400, Some(code)),
                "{field}: {told}"
            );
        }
    }
    assert!(shop.tasks.schedules().get("another").is_err());
}

#[test]
fn a_schedule_that_is_refused_leaves_its_form_filled_and_says_why() {
    let shop = shop();
    let filled = [
        ("name", "count"),
        ("kind", "pay"),
        ("when", "every"),
        ("interval", "1d"),
        ("arguments", r#"{"to":"Grace","password":"hunter2"}"#),
    ];
    let refused = add(&shop, "root", &filled);
    assert_eq!(refused.status, 400);
    crate::markup::check("refused", &refused.text);
    assert!(refused.text.contains("role=\"alert\"") && refused.text.contains("value=\"1d\""));
    assert!(refused.text.contains("bad_arguments"), "{}", refused.text);
    let none = add(&shop, "root", &filled[1..]);
    assert!(none.status == 400 && none.text.contains("schedule name"), "{}", none.text);
    for user in ["eve", "may-edit"] {
        assert_eq!(shop.page(user, &format!("{ADMIN}/schedules/new")).status, 403, "{user}");
        assert_eq!(add(&shop, user, &filled).status, 403, "{user}");
        let list = shop.page(user, &format!("{ADMIN}/schedules")).text;
        assert!(!list.contains("schedules/new"), "{user}");
    }
    assert!(shop.page("root", &format!("{ADMIN}/schedules")).text.contains("schedules/new"));
    let foreign = crate::desk::request("POST", "root", ADD)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(http_body_util::Full::from(bytes::Bytes::from("name=x&kind=count_till")))
        .unwrap();
    assert_eq!(shop.send(foreign).status, 403);
}

/// What a form hides is not told by what refuses it either.
#[test]
fn a_change_that_is_refused_names_no_secret() {
    let shop = shop();
    let arguments = r#"{"fails": 7, "password": "[redacted]", "to": "Grace"}"#;
    let refused = edit(&shop, "pay", &[("arguments", arguments)]);
    assert_eq!(refused.status, 400);
    assert!(
        refused.text.contains("bad_arguments") && !refused.text.contains("hunter2"),
        "{refused:?}"
    );
}
