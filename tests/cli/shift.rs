//! A worker that ends by itself: it hears of work at once, and waits for a file that somebody else holds.
#![cfg(target_os = "linux")]

use litework::{State, TaskId};

use crate::desk::Desk;
use crate::work::{start_with as start, until};

fn nothing(desk: &Desk, flags: &[&str]) -> TaskId {
    desk.add(&[flags, &["--exec", "--", "true"]].concat())
}

fn succeeded(desk: &Desk, id: TaskId) {
    assert_eq!(desk.client().get(id).unwrap().state, State::Succeeded);
}

#[test]
fn where_changes_are_reported_nobody_waits_for_the_interval() {
    let desk = Desk::new();
    let (mut worker, _said) = start(&desk, &["--max-tasks", "1", "--interval", "86400"], &[]);
    let id = nothing(&desk, &[]);
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    succeeded(&desk, id);
}

#[test]
fn what_falls_due_is_begun_though_nobody_writes_then() {
    let desk = Desk::new();
    let later = nothing(&desk, &["--in", "100ms"]);
    let ran = desk.run(&["work", "--exec-any", "--max-tasks", "1", "--interval", "86400"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    succeeded(&desk, later);
}

/// The system reports nothing here, as on other systems than this.
#[test]
#[cfg(feature = "__fault")]
fn where_nothing_is_reported_the_interval_says_how_often_it_is_looked() {
    const DEAF: (&str, &str) = ("LITEWORK_PLANT", "no_reports");
    let desk = Desk::new();
    let (mut worker, _said) = start(&desk, &["--max-tasks", "1", "--interval", "0"], &[DEAF]);
    let id = nothing(&desk, &[]);
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    succeeded(&desk, id);
    let (mut pool, mut said) = start(&desk, &["--interval", "0.001"], &[DEAF]);
    let id = nothing(&desk, &[]);
    until(&mut said, "succeeded");
    crate::work::signal(&pool, "TERM");
    pool.wait().unwrap();
    succeeded(&desk, id);
}

#[test]
#[cfg(feature = "__fault")]
fn a_file_that_somebody_else_holds_is_waited_for() {
    let desk = Desk::new();
    let holds = "until [ -e go ]; do sleep 0.01; done";
    let first = desk.add(&["--exec", "--", "sh", "-c", holds]);
    let flags = ["--batch", "--concurrency", "1"];
    let (mut worker, mut said) = start(&desk, &flags, &[("LITEWORK_BUSY_MS", "20")]);
    until(&mut said, "started");
    let second = nothing(&desk, &[]);
    let other = rusqlite::Connection::open(desk.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::fs::write(desk.path("go"), "").unwrap();
    until(&mut said, "trying again");
    other.execute_batch("ROLLBACK").unwrap();
    until(&mut said, "2 attempts made");
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    succeeded(&desk, first);
    succeeded(&desk, second);
}

/// The last end of a shift is not left behind either.
#[test]
#[cfg(feature = "__fault")]
fn a_shift_that_is_over_waits_until_its_last_end_is_stored() {
    let desk = Desk::new();
    let holds = "until [ -e go ]; do sleep 0.01; done";
    let id = desk.add(&["--exec", "--", "sh", "-c", holds]);
    let flags = ["--max-tasks", "1"];
    let (mut worker, mut said) = start(&desk, &flags, &[("LITEWORK_BUSY_MS", "20")]);
    until(&mut said, "started");
    let other = rusqlite::Connection::open(desk.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::fs::write(desk.path("go"), "").unwrap();
    until(&mut said, "trying again");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    succeeded(&desk, id);
}
