//! An operator keeps a queue in good order: copies it, carries tasks to another, and gives space back.

use std::io::Write as _;
use std::process::Stdio;

use litework::{Pending, State};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, Ran};
use crate::kinds::{greet, login, refuse};

/// A queue with something that waits, something that has ended and something that has failed.
fn desk() -> Desk {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue(greet::with("Ada")).unwrap();
    client.enqueue(refuse::with("no")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(login::with("ada", "hunter2")).unwrap();
    desk
}

/// A command with something on its standard input.
fn fed(desk: &Desk, arguments: &[&str], input: &str) -> Ran {
    let mut command = desk.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended before it has read all.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::of(&child.wait_with_output().unwrap())
}

fn items(desk: &Desk, db: &str) -> Value {
    desk.json(&["ls", "--limit", "0", "--db", db])["items"].clone()
}

/// Which process ran a task is not carried along.
fn without_workers(mut items: Value) -> Value {
    for item in items.as_array_mut().unwrap() {
        item["worker"] = Value::Null;
    }
    items
}

#[test]
fn a_copy_opens_as_a_queue_with_the_same_tasks() {
    let desk = desk();
    let told = desk.json(&["backup", "monday.db"]);
    assert_eq!((&told["schema"], &told["path"]), (&json!(1), &json!("monday.db")));
    assert!(told["bytes"].as_u64().unwrap() > 4_096 && told["artifacts_beside"] == 0, "{told}");
    assert_eq!(items(&desk, "monday.db"), items(&desk, "shop.db"));
    desk.run(&["backup", "monday.db"]).fails(4, "file_exists: monday.db");
    desk.run(&["backup", "tuesday.db"]).says("tuesday.db (");
    desk.run(&["backup", "nowhere/a.db"]).fails(7, "nowhere/a.db");
    assert!(!desk.path("tuesday.db.part").exists());
    std::fs::write(desk.path("friday.db-wal"), "left").unwrap();
    desk.run(&["backup", "friday.db"]).fails(4, "file_exists: friday.db-wal");
    desk.run(&["backup", "shop.db-journal"]).fails(7, "not_a_queue_file: shop.db-journal");
}

#[test]
fn tasks_are_carried_to_another_queue_as_they_were() {
    let desk = desk();
    let lines = desk.run(&["export", "--with-secrets"]);
    assert_eq!((lines.code, lines.out.lines().count()), (0, 3), "{}", lines.err);
    assert!(lines.err.contains("3 tasks exported"), "{}", lines.err);
    desk.run(&["init", "other.db"]).says("other.db");
    std::fs::write(desk.path("tasks.ndjson"), &lines.out).unwrap();
    let import = ["import", "tasks.ndjson", "--db", "other.db"];
    desk.run(&import).says("3 tasks imported\n");
    assert_eq!(items(&desk, "other.db"), without_workers(items(&desk, "shop.db")));
    desk.run(&import).fails(4, "line 1 of the import: already_stored");
    let again = fed(
        &desk,
        &["import", "-", "--db", "other.db", "--skip-existing", "--json"],
        &format!("\n{}", lines.out),
    );
    assert_eq!(again.json(), json!({ "schema": 1, "tasks": 0, "skipped": 3, "absent": 0 }));
}

#[test]
fn what_is_exported_for_people_holds_no_secret_and_is_not_imported() {
    let desk = desk();
    let lines = desk.run(&["export", "kind:login"]);
    assert_eq!(lines.out.lines().count(), 1);
    let line: Value = serde_json::from_str(&lines.out).unwrap();
    assert_eq!((&line["kind"], &line["redacted"]), (&json!("login"), &json!(true)));
    assert!(!lines.out.contains("hunter2"), "{}", lines.out);
    assert!(lines.err.contains("--with-secrets"), "{}", lines.err);
    desk.run(&["init", "other.db"]).says("other.db");
    fed(&desk, &["import", "--db", "other.db"], &lines.out)
        .fails(2, "line 1 of the import: redacted");
    let failed = desk.run(&["export", "--state", "failed", "-q"]);
    assert_eq!((failed.out.lines().count(), failed.err.as_str()), (1, ""));
}

#[test]
fn what_is_no_task_is_refused_with_its_line_and_the_rest_stays() {
    let desk = Desk::new();
    let old = self::desk().run(&["export", "--with-secrets"]).out;
    let good = old.lines().next().unwrap();
    let bad = format!("{good}\n{{\"schema\":1}}\n");
    fed(&desk, &["import"], &bad).fails(2, "line 2 of the import: bad_line");
    assert_eq!(items(&desk, "shop.db").as_array().unwrap().len(), 1, "what stood before is stored");
    fed(&desk, &["import", "--read-only"], good).fails(4, "--read-only");
    desk.run(&["import", "none.ndjson"]).fails(2, "not_found: file of lines is \"none.ndjson\"");
    desk.run(&["import", "shop.db"]).fails(2, "and no queue");
    let client = desk.client();
    assert_eq!(
        client
            .get(client.list(&litework::Filter::new(), None, 1).unwrap().tasks[0].id)
            .unwrap()
            .state,
        State::Succeeded
    );
    fed(&desk, &["import", "shop.db", "--db", "none.db"], "").fails(2, "and no queue");
    fed(&desk, &["import", "--db", "none.db"], good).fails(7, "none.db");
    assert!(!desk.path("none.db").exists());
}

/// A part is taken over only where it is a killed copy of the same queue.
#[test]
fn no_queue_is_lost_to_a_copy_of_another() {
    let desk = desk();
    desk.run(&["init", "user.db.part"]).says("user.db.part");
    desk.run(&["add", "greet", "--args", r#"{"name":"Eve"}"#, "--db", "user.db.part"]).says("1-");
    desk.run(&["backup", "user.db"]).fails(4, "file_exists");
    assert_eq!(items(&desk, "user.db.part").as_array().unwrap().len(), 1);
    for name in ["a.db.part", "shop.db-litework", "shop.db-artifacts", "shop.db-wal", "a.db-shm"] {
        desk.run(&["backup", name]).fails(7, "give another path");
    }
    desk.run(&["init", "b.db-wal"]).fails(7, "give another path");
    assert!(!desk.path("b.db-wal").exists());
}

#[cfg(unix)]
#[test]
fn a_part_that_others_can_open_is_no_place_for_a_copy() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = desk();
    let part = desk.path("monday.db.part");
    std::fs::write(&part, "").unwrap();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o666)).unwrap();
    desk.run(&["backup", "monday.db"]).fails(4, "file_exists");
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o600)).unwrap();
    desk.run(&["backup", "monday.db"]).says("monday.db (");
    let mode = std::fs::metadata(desk.path("monday.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_line_that_no_queue_would_store_is_named_and_those_before_it_stay() {
    let old = self::desk().run(&["export", "--with-secrets"]).out;
    let lines: Vec<&str> = old.lines().collect();
    let step = r#"{"name":"a","value":1,"stored_at":"2026-01-01T00:00:00.000Z"}"#;
    let twice = format!(r#"{},"steps":[{step},{step}]}}"#, lines[1].strip_suffix('}').unwrap());
    let desk = Desk::new();
    fed(&desk, &["import"], &format!("{}\n{twice}\n", lines[0]))
        .fails(2, "line 2 of the import: bad_line: name of a step");
    assert_eq!(items(&desk, "shop.db").as_array().unwrap().len(), 1);
}

#[test]
fn space_of_what_was_removed_is_given_back() {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue_many((0..20).map(|_| refuse::with("x".repeat(100_000)))).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    drop(client);
    desk.run(&["prune", "--min-age=0", "--yes"]).says("removed");
    desk.run(&["vacuum", "--incremental"]).fails(7, "needs_vacuum");
    let done = desk.json(&["vacuum"]);
    assert!(done["after"].as_u64().unwrap() * 4 < done["before"].as_u64().unwrap(), "{done}");
    assert_eq!(done["log_emptied"], json!(true));
    desk.run(&["vacuum"]).says(" now: ");
    desk.run(&["vacuum", "--read-only"]).fails(4, "--read-only");
    let pool = crate::kinds::builder(desk.db()).name("web").workers(1).open().unwrap();
    desk.run(&["vacuum"]).fails(5, "file_in_use");
    drop(pool);
}

#[test]
fn a_file_is_of_this_version_or_told_not_to_be() {
    let desk = desk();
    let told = desk.json(&["migrate"]);
    assert_eq!((&told["was"], &told["is"]), (&json!(1), &json!(1)));
    desk.run(&["migrate"]).says("up to date (schema 1): ");
    desk.run(&["migrate", "--read-only"]).fails(4, "--read-only");
    desk.run(&["migrate", "--db", "none.db"]).fails(7, "none.db");
    std::fs::write(desk.path("text.db"), "no database, but longer than a header of one".repeat(9))
        .unwrap();
    desk.run(&["migrate", "--db", "text.db"]).fails(7, "text.db");
    let version = |schema: i64| {
        let conn = Connection::open(desk.db()).unwrap();
        let set = "UPDATE litework_meta SET value = ?1 WHERE name IN ('schema', 'min_writer')";
        conn.execute(set, [schema]).unwrap();
    };
    version(7);
    desk.run(&["migrate"]).fails(6, "schema_newer");
    desk.run(&["status"]).fails(6, "schema_newer");
    version(0);
    desk.run(&["migrate"]).fails(6, "schema_older");
    assert!(!desk.path("none.db").exists());
}
