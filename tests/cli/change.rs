//! What is done to tasks and queues: counted, confirmed, and noted in the audit.

use std::time::Duration;

use litework::{Filter, Pending, Reason, State};
use serde_json::json;

use crate::desk::{Desk, Ran};
use crate::kinds::{greet, login, refuse};

fn states(desk: &Desk, state: State) -> u64 {
    desk.client().count(&Filter::new().state(state)).unwrap()
}

/// Three tasks that have failed, two alike, and one that waits.
fn failed() -> Desk {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue_many(["disk full", "disk full", "no paper"].map(refuse::with)).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("Ada").run_after(Duration::from_secs(3_600))).unwrap();
    desk
}

#[test]
fn an_id_among_other_terms_narrows_what_is_meant() {
    let desk = Desk::new();
    let ids: Vec<_> = (0..3).map(|_| desk.add(&["greet", "--args", r#"{"name":"Ada"}"#])).collect();
    let both = ["state:ready".to_owned(), format!("id:{}", ids[1])];
    let both = both.each_ref().map(String::as_str);
    desk.run(&[&["rm", "-n"], &both[..]].concat()).says("1 task would be deleted");
    let joined = both.join(" ");
    desk.run(&["rm", "-n", &joined]).says("1 task would be deleted");
    let listed = desk.json(&["ls", &format!("id:{}", ids[2])])["items"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    desk.run(&["ls", "id:nobody"]).fails(3, "bad_id");
}

#[test]
#[cfg(unix)]
fn a_program_may_run_for_so_long_and_no_longer() {
    let desk = Desk::new();
    let id = desk.add(&["--exec", "--time-limit=100ms", "--", "sleep", "1000"]);
    let worked = desk.run(&["work", "--batch", "--exec", "--allow", "sleep"]);
    assert_eq!(worked.code, 0, "{}", worked.err);
    let task = desk.client().get(id).unwrap();
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Timeout)));
    // How long one waits is another thing.
    desk.run(&["add", "greet", "--timeout=1m"]).fails(2, "--time-limit says how long an attempt");
    desk.run(&["add", "greet", "--time-limit=0s"]).fails(2, "timeout");
    assert_eq!(states(&desk, State::Ready), 0, "nothing was stored");
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_cannot_be_told_what_was_done_is_told_so() {
    let desk = Desk::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let into_full =
        |arguments: &[&str]| Ran::of(&desk.command(arguments).stdout(full()).output().unwrap());
    let added = into_full(&["add", "greet"]);
    assert_eq!((added.code, states(&desk, State::Ready)), (8, 1), "{}", added.err);
    assert!(added.err.contains("it may be done all the same"), "{}", added.err);
    assert_eq!(into_full(&["ls"]).code, 1, "it has changed nothing");
}

#[test]
fn add_prints_the_id_of_what_it_has_stored() {
    let desk = Desk::new();
    let id = desk.add(&[
        "greet",
        "--args",
        r#"{"name": "Ada"}"#,
        "--priority",
        "-5",
        "--queue=mail",
        "--owner=ada",
        "--tag=a",
        "--tag=b",
        "--attempts=2",
        "--name",
        "Greets Ada",
        "--key=once",
    ]);
    let task = desk.client().get(id).unwrap();
    assert_eq!((task.priority, task.queue.as_str(), task.attempts_max), (-5, "mail", 2));
    assert_eq!((task.owner.as_deref(), task.name.as_deref()), (Some("ada"), Some("Greets Ada")));
    assert_eq!(
        (task.tags, task.key.as_deref()),
        (vec!["a".to_owned(), "b".to_owned()], Some("once"))
    );
    assert_eq!(task.arguments, r#"{"name": "Ada"}"#);
    let again = desk.run(&["add", "greet", "--args", r#"{"name": "Ada"}"#, "--key=once"]);
    assert_eq!(again.out.trim(), id.to_string());
    assert!(again.err.contains("it is there already"), "{}", again.err);
    let other = desk.run(&["add", "greet", "--args", r#"{"name": "Grace"}"#, "--key=once"]);
    other.fails(4, "key_conflict");
    // Where the newest of the kind went.
    let json = desk.json(&["add", "greet", "--in", "5m", "--unique", "u"]);
    assert_eq!((&json["queue"], &json["state"]), (&json!("mail"), &json!("scheduled")));
    assert_eq!(desk.json(&["add", "greet", "--unique", "u"])["id"], json["id"]);
    let at = desk.json(&["add", "greet", "--at", "2036-06-01 09:00", "--zone", "Europe/Berlin"]);
    assert_eq!(at["due_at"], "2036-06-01T07:00:00.000Z");
}

#[test]
fn arguments_come_from_a_file_or_a_pipe() {
    use std::io::Write as _;
    use std::process::Stdio;
    let desk = Desk::new();
    std::fs::write(desk.path("args.json"), "{\"name\": \"Ada\"}\n").unwrap();
    let id = desk.add(&["greet", "--args", "@args.json"]);
    assert_eq!(desk.client().get(id).unwrap().arguments, r#"{"name": "Ada"}"#);
    let mut piped = desk.command(&["add", "greet", "-a", "-"]);
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"{\"name\": \"Grace\"}").unwrap();
    let id = String::from_utf8(piped.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(desk.client().get(id.trim()).unwrap().arguments, r#"{"name": "Grace"}"#);
}

#[test]
fn one_task_is_retried_or_cancelled_without_a_question() {
    let desk = failed();
    let retried = desk.run(&["retry", "1"]);
    retried.says(" retried\n");
    assert_eq!(states(&desk, State::Ready), 1);
    desk.run(&["retry", "1"]).fails(4, "not_finished: task 1-");
    desk.run(&["cancel", "1"]).says(" cancelled\n");
    desk.run(&["cancel", "1"]).fails(4, "already_finished: task 1-");
    let due = desk.json(&["run", "4"]);
    assert_eq!((&due["action"], &due["done"]), (&json!("run"), &json!(1)));
    assert_eq!(states(&desk, State::Ready), 1);
    desk.run(&["retry", "77"]).fails(3, "not_found: there is no task 77");
}

#[test]
fn what_cannot_be_taken_back_or_is_done_to_many_needs_a_yes() {
    let desk = failed();
    desk.run(&["rm", "1"]).fails(4, "not_confirmed: answer to a question is \"Delete task 1-");
    let asked = desk.run(&["retry", "--state", "failed"]);
    asked.fails(4, "\"Retry 3 tasks?\"");
    assert!(asked.err.contains(" failed refuse"), "{}", asked.err);
    desk.run(&["retry", "--all"]).fails(4, "not_confirmed");
    desk.run(&["rm"]).fails(2, "which_tasks: tasks that are meant is not said");
    desk.run(&["rm", "1", "--all"]).fails(2, "said in several ways");
    let dry = desk.json(&["retry", "--state", "failed", "-n"]);
    assert_eq!(
        (&dry["dry_run"], &dry["matched"], &dry["done"]),
        (&json!(true), &json!(3), &json!(0))
    );
    assert_eq!(states(&desk, State::Failed), 3);
    desk.run(&["retry", "--state", "failed", "--yes"]).says("3 tasks retried\n");
    desk.run(&["cancel", "state:ready", "-y"]).says("3 tasks cancelled\n");
    desk.run(&["rm", "1", "2", "-y"]).says("2 tasks deleted\n");
    let none = desk.run(&["cancel", "--kind", "nothing", "-y"]);
    none.says("0 tasks cancelled\n");
    let ended = desk.run(&["cancel", "3", "4", "-y"]);
    assert_eq!(ended.code, 4, "one of them has ended: {}", ended.out);
    assert!(ended.out.contains("1 task cancelled"), "{}", ended.out);
}

#[test]
fn failures_that_look_alike_are_retried_together() {
    let desk = failed();
    let groups = desk.json(&["ls", "--group", "error"]);
    let group = groups["items"][0]["fingerprint"].as_str().unwrap().to_owned();
    let flag = format!("--fingerprint={group}");
    assert_eq!(desk.json(&["retry", &flag, "--dry-run"])["matched"], 2);
    desk.run(&["retry", &flag]).fails(4, "\"Retry 2 tasks?\"");
    desk.run(&["retry", &flag, "--yes"]).says("2 tasks retried\n");
    assert_eq!((states(&desk, State::Ready), states(&desk, State::Failed)), (2, 1));
    desk.run(&["retry", "--fingerprint=0000"]).fails(3, "not_found");
}

#[test]
fn an_edit_stores_a_changed_copy() {
    let desk = Desk::new();
    let old = desk.add(&["login", "-a", r#"{"user": "ada", "password": "x", "n": 1}"#]);
    let copied = desk.run(&[
        "edit",
        &old.to_string(),
        "--set",
        "user=Grace",
        "--set",
        "n=2",
        "--priority=3",
    ]);
    assert_eq!(copied.code, 0, "{}", copied.err);
    let client = desk.client();
    let copy = client.get(copied.out.trim()).unwrap();
    assert_eq!(copy.arguments, r#"{"n":2,"password":"x","user":"Grace"}"#);
    assert_eq!((copy.priority, client.get(old).unwrap().state), (3, State::Cancelled));
    let again =
        desk.json(&["edit", &copy.id.to_string(), "--args", r#"{"user":"Joan"}"#, "--in=1h"]);
    assert_eq!(
        (&again["copy_of"], &again["state"]),
        (&json!(copy.id.to_string()), &json!("scheduled"))
    );
    desk.run(&["edit", "1", "--args", r#"{"password":"[redacted]"}"#])
        .fails(2, "bad_arguments: hidden argument");
    desk.run(&["edit", "1"]).fails(2, "no_change");
    client.enqueue_many(["a", "b"].map(|user| login::with(user, "p"))).unwrap();
    assert_eq!(desk.json(&["edit", "kind:login", "--set", "user=x", "-n"])["matched"], 3);
    desk.run(&["edit", "kind:login", "--set", "user=x", "-y"])
        .says("3 tasks copied with changes\n");
}

#[test]
fn queues_and_kinds_are_paused_and_resumed() {
    let desk = failed();
    desk.run(&["pause", "default", "--kind", "greet"])
        .says("queue default is paused\nkind greet is paused\n");
    desk.run(&["queues"]).says("paused since now");
    let again = desk.json(&["pause", "default"]);
    assert_eq!(
        again["items"],
        json!([{ "scope": "queue", "name": "default", "paused": true, "changed": false }])
    );
    let slip = desk.run(&["pause", "defalt"]);
    assert!(
        slip.err.contains("there was never a task in queue defalt; did you mean default?"),
        "{}",
        slip.err
    );
    desk.run(&["resume", "default"]).says("queue default goes on\n");
    desk.run(&["resume", "a b"]).fails(2, "bad_queue");
    desk.run(&["pause"]).fails(2, "required");
}

#[test]
fn prune_goes_by_age_and_queue_and_keeps_what_failed_longer_where_that_is_said() {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue_many((0..3).map(|n| greet::with(n.to_string()))).unwrap();
    client.enqueue_many((0..2).map(|_| greet::with("mail").queue("mail"))).unwrap();
    client.enqueue(refuse::with("no")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("the newest")).unwrap();
    assert_eq!(desk.json(&["prune", "-n"])["total"], 0, "nothing is as old as a week");
    let would = desk.json(&["prune", "--dry-run", "--min-age=0", "--failed-min-age=1d"]);
    assert_eq!((&would["total"], &would["dry_run"]), (&json!(3), &json!(true)));
    assert_eq!(desk.json(&["prune", "-n", "--min-age=0", "--queue=*"])["total"], 6);
    assert_eq!(desk.json(&["prune", "-n", "--min-age=0", "--queue=mail,slow"])["total"], 2);
    assert_eq!(desk.json(&["prune", "-n", "--failed-min-age=0s"])["total"], 1);
    desk.run(&["prune", "--min-age=0"]).fails(4, "\"Remove 4 tasks?\"");
    desk.run(&["prune", "--min-age=0", "--failed-min-age=1d", "-y"]).says("3 tasks removed\n");
    assert_eq!(client.count(&Filter::new()).unwrap(), 4);
    for (value, said) in [
        ("-1", "unexpected"),
        ("-1d", "unexpected"),
        ("inf", "bad_duration"),
        ("5x", "bad_duration"),
    ] {
        desk.run(&["prune", "--min-age", value]).fails(2, said);
    }
    desk.run(&["prune", "--queue=*,mail"]).fails(2, "bad_queue");
}

#[test]
fn whoever_has_done_what_stands_in_the_audit() {
    let desk = failed();
    desk.run(&["retry", "--state=failed", "-y"]).says("3 tasks");
    desk.run(&["cancel", "1"]).says("cancelled");
    desk.run(&["pause", "mail"]).says("paused");
    let entries = desk.client().audit(None, 10).unwrap().entries;
    let told: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.count)).collect();
    assert_eq!(told, [("pause", 1), ("cancel", 1), ("retry", 3)]);
    assert!(entries.iter().all(|entry| entry.actor == "cli:ada"));
}

#[test]
fn read_only_refuses_what_changes_something() {
    let desk = failed();
    for arguments in [
        &["add", "greet"][..],
        &["retry", "1"],
        &["rm", "1", "-y"],
        &["edit", "1", "--priority=1"],
        &["pause", "default"],
        &["prune", "--min-age=0", "-y"],
        &["init", "other.db"],
    ] {
        desk.run(&[arguments, &["--read-only"]].concat()).fails(4, "read_only");
    }
    assert_eq!(states(&desk, State::Failed), 3);
    assert!(!desk.path("other.db").exists());
}

#[test]
fn each_flag_of_a_filter_narrows_what_is_meant() {
    let desk = failed();
    let first = desk.client().list(&Filter::new(), None, 9).unwrap().tasks.pop().unwrap().id;
    let first = first.to_string();
    for (flags, found) in [
        (&["--id", &first][..], 1),
        (&["--error", "disk"], 2),
        (&["--error", "disk", "--id", &first], 1),
        (&["--created-after", "1h"], 4),
        (&["--created-before", "1h"], 0),
        (&["--finished-after", "1h"], 3),
        (&["--finished-before", "1h"], 0),
        (&["--dismissed", "true"], 0),
        (&["--dismissed", "false"], 4),
    ] {
        let listed = desk.run(&[&["ls", "--format", "ndjson"], flags].concat());
        assert_eq!((listed.code, listed.out.lines().count()), (0, found), "{flags:?}");
    }
    desk.run(&["show", &first, "--utc"]).says(" UTC");
    let told = desk.run(&["ls", "--db", "none.db", "--verbose"]);
    told.fails(7, "no_queue_at");
}

#[test]
fn a_copy_may_stand_in_another_queue_and_a_clock_be_vouched_for() {
    let desk = failed();
    desk.run(&["edit", "1", "--to-queue=mail"]).says("");
    let copy = desk.client().list(&Filter::new().queue("mail"), None, 9).unwrap().tasks;
    assert_eq!(copy.len(), 1);
    let pruned = desk.run(&["prune", "-n", "--failed-min-age=0", "--clock-is-right"]);
    assert_eq!(pruned.code, 0, "{}", pruned.err);
}

#[test]
#[cfg(unix)]
fn a_program_finds_the_variables_that_its_worker_hands_on_and_no_others() {
    let desk = Desk::new();
    let id = desk.add(&["--exec", "--", "sh", "-c", "echo $HANDED-$KEPT"]);
    let mut work = desk.command(&["work", "--batch", "--exec-any", "--pass-env", "HANDED"]);
    let worked = Ran::of(&work.envs([("HANDED", "on"), ("KEPT", "back")]).output().unwrap());
    assert_eq!(worked.code, 0, "{}", worked.err);
    desk.run(&["logs", &id.to_string()]).says("on-\n");
}
