//! Schedules, and expressions that need no file.

use std::time::Duration;

use litework::Schedule;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::kinds::greet;

#[test]
fn the_next_slots_of_an_expression_need_no_file() {
    let desk = Desk::bare();
    let next = |arguments: &[&str]| {
        let ran = desk
            .command(&[&["cron", "next"], arguments].concat())
            .env_remove("LITEWORK_DB")
            .output();
        crate::desk::Ran::of(&ran.unwrap())
    };
    let arguments = [
        "30 2 * * *",
        "--zone=Europe/Berlin",
        "--from=2026-03-28T11:00:00Z",
        "--count=3",
        "--json",
    ];
    let told = ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z", "2026-03-31T00:30:00.000Z"];
    assert_eq!(next(&arguments).json(), json!({ "next": told }));
    let shown = next(&["@daily", "--zone=Asia/Tokyo", "--from", "2026-01-01 12:00", "-n1"]);
    assert_eq!(shown.out, "2026-01-02T00:00:00+09:00\n");
    assert_eq!(next(&["0 0 * * *", "--json"]).json()["next"].as_array().unwrap().len(), 5);
    next(&["0 25 * * *"]).fails(2, "bad_cron: hour of \"0 25 * * *\" is \"25\"");
    next(&["0 0 * * *", "--count=0"]).fails(2, "out_of_range: --count is 0; 1 to 1000");
    next(&["0 2 * * *", "--zone=Mars/X"]).fails(2, "unknown_zone");
}

#[test]
fn schedules_are_listed_run_and_switched() {
    let desk = Desk::new();
    let hour = Duration::from_secs(3_600);
    let schedules = [
        Schedule::every("hourly", hour, greet::with("Ada")),
        Schedule::cron("nightly", "30 2 * * *", greet::with("Grace")).zone("Europe/Berlin"),
    ];
    let client = desk.client();
    for schedule in schedules {
        client.schedules().add(schedule).unwrap();
    }
    let list = desk.run(&["cron", "ls"]);
    list.says("hourly   active  in 59 min");
    let json = desk.json(&["cron", "ls"]);
    assert_eq!(
        (&json["items"][1]["name"], &json["items"][1]["timing"]["cron"]["zone"]),
        (&json!("nightly"), &json!("Europe/Berlin"))
    );
    assert_eq!(
        desk.json(&["cron", "next", "hourly", "-n", "2"])["next"].as_array().unwrap().len(),
        2
    );
    let id = desk.run(&["cron", "run", "hourly"]).out;
    let made = client.get(id.trim()).unwrap();
    assert_eq!((made.kind.as_str(), made.arguments.as_str()), ("greet", r#"{"name":"Ada"}"#));
    desk.run(&["cron", "pause", "hourly", "nightly"])
        .says("hourly is disabled\nnightly is disabled\n");
    let off: Value = desk.json(&["cron", "next", "hourly"]);
    assert_eq!(off, json!({ "next": [] }));
    assert_eq!(desk.json(&["cron", "resume", "hourly"])["items"][0]["state"], "active");
    desk.run(&["cron", "pause", "hourly", "weekly"]).fails(3, "no_schedule");
    desk.run(&["cron", "next", "weekly"]).fails(3, "no_schedule");
    let actions: Vec<String> =
        client.audit(None, 10).unwrap().entries.into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions[..3], ["enable_schedule", "disable_schedule", "run_schedule"]);
}
