//! What a user sees of a task that panics in a program built with `panic = "abort"`: the process goes,
//! and the task is charged, tried again, quarantined or lost like that of any other crash.
//!
//! No test program can be built so, thus the program is one of its own, `tests/child/panic_abort.rs`,
//! which is built here under the profile `abort`: minutes, as all of `SQLite` is compiled once more.
#![cfg(all(feature = "macros", feature = "sqlite", unix))]
#![allow(clippy::unwrap_used)]

mod child;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use child::{Child, Field, faults, look_into};
use litework::{Client, Filter, Mode, Reason, State, TaskRecord};

/// Builds the program beside what is built already.
fn build() -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let target = built.ancestors().nth(3).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--profile", "abort", "--all-features"]);
    cargo.args(["--example", "panic_abort"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", target);
    assert!(cargo.status().unwrap().success(), "the program does not build");
    target.join("abort/examples/panic_abort")
}

/// Runs it until it dies of its task.
fn dies(program: &Path, field: &Field, more: &[&str]) {
    let mut command = Command::new(program);
    command.arg(field.db()).args(more);
    command.env_remove("LITEWORK_MODE").env_remove("LITEWORK_WORKERS").env_remove("LITEWORK_DB");
    let status = Child::from_command(command, "abort", &[]).wait();
    assert_eq!(status.signal(), Some(6), "an abort ends in this signal: {status}");
}

/// The one task, after whoever opens the file has taken it back, and the outcomes of its attempts.
fn found(field: &Field) -> (TaskRecord, Vec<String>) {
    let client = Client::builder(field.db()).mode(Mode::Hold).open().unwrap();
    let task = client.list(&Filter::new(), None, 10).unwrap().tasks.remove(0);
    let attempts = client.attempts(task.id).unwrap();
    assert_eq!(faults(&look_into(&field.db())), Vec::<String>::new());
    (task, attempts.into_iter().map(|attempt| attempt.outcome).collect())
}

/// G3, G5, G13: `panic = "abort"`, really built.
#[test]
#[ignore = "needs minutes"]
fn a_panic_that_aborts_is_a_crash_the_third_quarantines_and_at_most_once_is_lost() {
    let program = build();
    let field = Field::default();
    dies(&program, &field, &["again"]);
    let (task, outcomes) = found(&field);
    assert_eq!((task.state, task.attempt, task.crashes), (State::Ready, 1, 1));
    assert_eq!((task.error.unwrap().to_string().as_str(), outcomes.len()), ("its process died", 1));
    dies(&program, &field, &[]);
    dies(&program, &field, &[]);
    let (task, outcomes) = found(&field);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Quarantined)));
    assert_eq!((task.attempt, task.crashes), (3, 3));
    assert_eq!(outcomes, ["crashed", "crashed", "crashed"]);

    let field = Field::default();
    dies(&program, &field, &["once"]);
    let (task, outcomes) = found(&field);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Lost)));
    assert_eq!((task.attempt, outcomes.as_slice()), (1, &["crashed".to_owned()][..]));
}
