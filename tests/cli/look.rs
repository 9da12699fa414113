//! What is shown of a queue, to people and to scripts.

use std::time::Duration;

use litework::{Filter, Pending, State};
use serde_json::json;

use crate::desk::Desk;
use crate::kinds::{count, greet, login, refuse, stay};

/// A queue in which most has happened that can.
fn busy() -> Desk {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue(greet::with("Ada").owner("ada").tag("vip").priority(7)).unwrap();
    client.enqueue_many(["disk full", "disk full", "no paper"].map(refuse::with)).unwrap();
    client.enqueue(count::with(3)).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("Grace").run_after(Duration::from_secs(3_600))).unwrap();
    client.enqueue(login::with("joan", "hunter2")).unwrap();
    desk
}

#[test]
fn status_is_one_screen_and_names_the_next_command() {
    let desk = busy();
    let told = desk.run(&["status"]);
    told.says("failed        3 in 1 h, 3 in 24 h");
    told.says("default      1        0      1       3");
    told.says("! nobody runs tasks of kind login in queue default\n  next: litework workers");
    told.says("! 3 tasks failed in the last hour\n  next: litework ls --group error");
    let json = desk.json(&["status"]);
    assert_eq!((&json["schema"], &json["failed_1h"]), (&json!(1), &json!(3)));
    assert_eq!(json["queues"][0]["name"], "default");
    assert_eq!(json["warnings"][0]["code"], "unserved");
}

#[test]
fn ls_lists_tasks_and_a_filter_narrows_it_in_either_notation() {
    let desk = busy();
    let all = desk.json(&["ls"]);
    assert_eq!(all["items"].as_array().unwrap().len(), 7);
    let failed = desk.json(&["ls", "--state", "failed", "--kind=refuse", "--since", "1h"]);
    assert_eq!(failed["items"].as_array().unwrap().len(), 3);
    let terms = desk.json(&["ls", "state:failed kind:refuse", "since:1h", "error:no paper"]);
    assert_eq!(terms["items"].as_array().unwrap().len(), 1);
    assert_eq!(terms["items"][0]["kind"], "refuse");
    let of_ada = desk.run(&["ls", "owner:ada", "tag:vip", "--format", "ndjson"]);
    assert_eq!(of_ada.out.lines().count(), 1);
    let task: serde_json::Value = serde_json::from_str(&of_ada.out).unwrap();
    assert_eq!((&task["state"], &task["priority"]), (&json!("succeeded"), &json!(7)));
    desk.run(&["ls", "state:failed"]).says("refuse");
    desk.run(&["ls", "--state", "failed"]).says("gave up: disk full");
    for to_ada in [&["args.name:Ada"][..], &["arg:name=Ada"], &["--arg", "name=Ada"]] {
        let found = desk.run(&[&["ls", "--format", "ndjson"], to_ada].concat());
        assert!(found.code == 0 && found.out.lines().count() == 1, "{to_ada:?}: {}", found.err);
    }
    desk.run(&["ls", "args.password:hunter2"]).fails(2, "that of a secret is not searched for");
    desk.run(&["ls", "args.a..b:1"]).fails(2, "bad_path");
    let ids = desk.run(&["ls", "1", "2", "--format", "ndjson"]);
    assert_eq!(ids.out.lines().count(), 2);
}

#[test]
fn a_list_goes_on_where_the_one_before_has_ended() {
    let desk = busy();
    let (mut cursor, mut seen) = (None::<String>, Vec::new());
    loop {
        let mut arguments = vec!["ls".to_owned(), "--limit=3".to_owned()];
        arguments.extend(cursor.iter().map(|cursor| format!("--cursor={cursor}")));
        let page = desk.json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        seen.extend(page["items"].as_array().unwrap().iter().map(|task| task["id"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 7);
    let first = desk.run(&["ls", "--limit", "3"]);
    assert!(first.err.contains("there are more: --cursor r"), "{}", first.err);
    let all = desk.run(&["ls", "--limit", "0", "--format", "ndjson"]);
    assert_eq!(all.out.lines().count(), 7);
}

#[test]
fn failures_are_grouped_by_what_they_have_in_common() {
    let desk = busy();
    let groups = desk.json(&["ls", "--group", "error"]);
    assert_eq!(
        (&groups["items"][0]["count"], &groups["items"][0]["text"]),
        (&json!(2), &json!("disk full"))
    );
    desk.run(&["ls", "--group", "error"]).says("disk full");
    assert_eq!(
        desk.json(&["ls", "--group", "kind"])["items"],
        json!([{ "name": "refuse", "count": 3 }])
    );
    desk.run(&["ls", "--group", "queue"]).says("default       3");
    let some = desk.json(&["ls", "--group", "kind", "error:disk"]);
    assert_eq!(some["items"], json!([{ "name": "refuse", "count": 2 }]));
    assert_eq!(some["looked_at"], "2");
    let none = desk.json(&["ls", "--group", "error", "--kind", "greet"]);
    assert_eq!(none["items"], json!([]));
    desk.run(&["ls", "--group", "error", "state:succeeded"])
        .fails(2, "only failed tasks are grouped");
}

#[test]
fn whoever_names_a_task_that_is_not_there_is_told_so() {
    let desk = busy();
    let gone = desk.client().list(&Filter::new(), None, 1).unwrap().tasks[0].id;
    desk.client().delete(gone).unwrap();
    let gone = gone.to_string();
    for looked in ["ls", "export"] {
        desk.run(&[looked, &gone]).fails(3, "not_found");
        desk.run(&[looked, "1", "state:failed"]).fails(3, "not_found");
        assert_eq!(desk.run(&[looked, &gone, "1"]).code, 0, "the other is there");
    }
    assert_eq!(desk.run(&["ls", "owner:nobody"]).code, 0, "nothing is an answer, too");
}

#[test]
fn show_tells_all_of_one_task_and_no_secret() {
    let desk = busy();
    let shown = desk.run(&["show", "1"]);
    shown.says("state     succeeded");
    shown.says("Result\n\"hello Ada\"");
    shown.says("name      Hello Ada");
    let json = desk.json(&["show", "1"]);
    for (key, value) in [
        ("kind", json!("greet")),
        ("state", json!("succeeded")),
        ("priority", json!(7)),
        ("owner", json!("ada")),
        ("tags", json!(["vip"])),
        ("arguments", json!({ "name": "Ada" })),
        ("result", json!("hello Ada")),
        ("schema", json!(1)),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(json["id"].as_str().unwrap().split('-').next(), Some("1"));
    let failed = desk.run(&["show", "2"]);
    failed.says("state     failed (gave up)");
    failed.says("disk full\n  group: ");
    let secret = desk.run(&["show", "7"]);
    secret.says("\"password\": \"[redacted]\"");
    assert!(!secret.out.contains("hunter2"));
    let flow = desk.run(&["show", "5"]);
    flow.says("progress  3 of 3 sheep, 100 %");
    flow.says("info: sheep 3");
}

#[test]
fn why_says_what_stands_in_the_way_and_what_to_do() {
    let desk = busy();
    let later = desk.run(&["why", "6"]);
    later.says("it is not due until ");
    assert!(later.err.starts_with("next: litework run 6-"), "{}", later.err);
    assert_eq!(desk.json(&["why", "7"])["cause"], "no_worker");
    assert_eq!(desk.json(&["why", "1"])["cause"], "ended");
}

#[test]
fn the_log_of_a_task_comes_line_by_line() {
    let desk = busy();
    let lines: Vec<String> = desk.run(&["logs", "5"]).out.lines().map(str::to_owned).collect();
    assert!(lines.len() == 3 && lines[2].ends_with(" info: sheep 3"), "{lines:?}");
    let ndjson = desk.run(&["logs", "5", "-f", "--format", "ndjson"]);
    assert_eq!((ndjson.code, ndjson.out.lines().count()), (0, 3));
    assert_eq!(desk.json(&["logs", "5"])["items"][0]["text"], "sheep 1");
}

#[test]
fn queues_kinds_and_workers_are_listed() {
    let desk = busy();
    desk.run(&["queues"]).says("slow         0        0      0       0");
    assert_eq!(desk.json(&["queues"])["items"][1]["name"], "slow");
    desk.run(&["kinds"]).says("refuse  default        0         3          0       3");
    let kinds = desk.json(&["kinds"]);
    assert_eq!(
        (&kinds["items"][0]["name"], &kinds["items"][0]["known"]),
        (&json!("count"), &json!(false))
    );
    assert_eq!(desk.json(&["workers"])["items"], json!([]));
    let pool = crate::kinds::builder(desk.db()).environment([("", ""); 0]).name("till").workers(3);
    let pool = pool.open().unwrap();
    desk.run(&["workers"]).says("till");
    let workers = desk.json(&["workers"]);
    assert_eq!(
        (&workers["items"][0]["threads"], &workers["items"][0]["serves"]),
        (&json!(3), &json!(true))
    );
    pool.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn metrics_are_those_of_the_page_for_prometheus() {
    let desk = busy();
    let line =
        "litework_tasks_finished_total{queue=\"default\",kind=\"refuse\",outcome=\"failed\"} 3";
    desk.run(&["metrics"]).says(line);
    assert!(desk.json(&["metrics"])["text"].as_str().unwrap().contains(line));
}

/// Whoever looks first sees what has become of the tasks of a process that was killed.
#[test]
fn what_a_dead_process_held_is_shown_as_what_it_is() {
    use std::io::{BufRead as _, BufReader};
    let desk = Desk::new();
    desk.client().enqueue(stay::with()).unwrap();
    let mut worker = desk.worker().stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(desk.json(&["show", "1"])["state"], "running");
    assert_eq!(desk.json(&["workers"])["items"][0]["running"][0]["kind"], "stay");
    desk.run(&["rm", "1", "-y"]).fails(4, "running: task 1-");
    desk.run(&["cancel", "1"]).says("runs, and was asked to stop");
    worker.kill().unwrap();
    worker.wait().unwrap();
    let told = desk.json(&["show", "1"]);
    assert_eq!((&told["state"], &told["crashes"]), (&json!("cancelled"), &json!(1)));
}

#[test]
fn a_look_changes_nothing() {
    let desk = busy();
    let before = desk.client().audit(None, 100).unwrap();
    for arguments in [
        &["status"][..],
        &["ls"],
        &["show", "1"],
        &["why", "1"],
        &["logs", "1"],
        &["queues"],
        &["workers"],
        &["kinds"],
        &["metrics"],
        &["cron", "ls"],
        &["check"],
        &["retry", "--all", "--dry-run"],
        &["prune", "--dry-run"],
    ] {
        let ran = desk.run(&[arguments, &["--read-only"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
    }
    let client = desk.client();
    assert_eq!(client.audit(None, 100).unwrap(), before);
    assert_eq!(
        client
            .get(client.browse(&litework::Filter::new(), None, 1).unwrap().tasks[0].id)
            .unwrap()
            .state,
        State::Ready
    );
}
