//! Several processes on one file: cancel, wake, rescue and first open across them, and files that
//! are not ours to change.

use std::path::{Path, PathBuf};
use std::time::Instant;

use litework::{Cancelled, Cause, Client, Filter, Mode, Reason, Scope, State, Task, TaskId};
use rusqlite::Connection;

use super::child::{Child, Field, PATIENCE, faults, look_into, say};
use super::deeds::{self, Deed, builder, deed, does};

fn enqueuer(field: &Field) -> Client {
    builder(field).mode(Mode::Enqueue).open().unwrap()
}

/// Cancel is no promise of its own; it rides on the signal behind G13.
#[test]
fn a_cancel_reaches_a_body_in_another_process() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[does("until stopped")]);
    child.expect("at body");
    let id: TaskId = child.expect("enqueued ")[9..].parse().unwrap();
    let client = enqueuer(&field);
    let asked = Instant::now();
    assert_eq!(client.cancel(id).unwrap(), Cancelled::Requested);
    child.expect("told to stop");
    println!("the word to stop came after {:?}", asked.elapsed());
    let error = client.handle::<Deed>(id).unwrap().wait(PATIENCE).unwrap_err();
    assert_eq!(error.code(), "cancelled");
    let task = client.get(id).unwrap();
    assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
    assert!(child.end().success());
}

/// A pause is stored, so it holds in every process from its commit on.
#[test]
fn a_pause_holds_in_another_process_until_it_is_ended() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[]);
    child.expect("ready");
    let client = enqueuer(&field);
    client.enqueue(deed("nothing")).unwrap().wait(PATIENCE).unwrap();
    let scope = Scope::queue("default");
    assert!(client.pause(&scope).unwrap());
    let since = client.paused().unwrap()[0].since;
    let paused = client.enqueue(deed("nothing")).unwrap();
    // What is stored later and is not paused goes past it, so the pool has seen the file since.
    let other = client.enqueue(deed("nothing").call().queue("other")).unwrap();
    other.wait(PATIENCE).unwrap();
    assert_eq!(paused.refresh().unwrap().state, State::Ready);
    let why = client.why(paused.id()).unwrap();
    assert_eq!(why.cause, Cause::Paused { scope: scope.clone(), since });
    assert!(client.resume(&scope).unwrap());
    paused.wait(PATIENCE).unwrap();
    assert!(child.end().success());
}

/// Who runs what is read from the file and from the locks that live processes hold, so any process
/// sees it, and a killed one is gone from it at once.
#[test]
fn another_process_is_seen_with_what_it_runs_until_it_dies() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[does("until stopped")]);
    child.expect("at body");
    let id: TaskId = child.expect("enqueued ")[9..].parse().unwrap();
    let client = enqueuer(&field);
    let workers = client.workers().unwrap();
    assert_eq!((workers.len(), workers[0].pid, workers[0].threads), (1, child.pid(), 1));
    assert_eq!(workers[0].running.iter().map(|task| task.id).collect::<Vec<_>>(), [id]);
    let running = client.why(id).unwrap().cause;
    assert_eq!(running, Cause::Running { worker: Some(workers[0].name.clone()), stopping: false });
    let [second, third] = [(); 2].map(|()| client.enqueue(deed("nothing")).unwrap());
    assert_eq!(client.why(second.id()).unwrap().cause, Cause::Busy { threads: 1 });
    assert_eq!(client.why(third.id()).unwrap().cause, Cause::Ahead { tasks: 1 });
    assert_eq!(client.unserved().unwrap(), []);
    // What is cancelled here alone, there along with others: the body hears of it all the same.
    let done = client.bulk(&Filter::new()).cancel().unwrap();
    assert_eq!((done.done, done.asked), (2, 1));
    child.expect("told to stop");
    assert_eq!(client.bulk(&Filter::new().id(second.id())).retry().unwrap().done, 1);
    second.wait(PATIENCE).unwrap();
    child.kill();
    client.retry(third.id()).unwrap();
    assert_eq!(client.workers().unwrap(), []);
    assert_eq!(client.why(third.id()).unwrap().cause, Cause::NoWorker);
    assert_eq!(client.unserved().unwrap().len(), 1);
    assert_eq!(faults(&look_into(&field.db())), [""; 0]);
}

/// G10: a commit wakes the pool of another process, which had nothing to do.
#[test]
fn a_task_of_another_process_wakes_an_idle_pool() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[]);
    child.expect("ready");
    let client = enqueuer(&field);
    for _ in 0..20 {
        let value = client.enqueue(deed("nothing")).unwrap().wait(PATIENCE).unwrap();
        assert!(value.ends_with(&child.pid().to_string()), "{value}");
    }
}

/// G13: the kernel frees the lock of the dead, and the living look twice a second; how long that takes is
/// measured by the row `rescue` of the bench.
#[test]
fn the_task_of_a_killed_process_is_taken_over_by_one_that_lives() {
    let field = Field::default();
    let client = builder(&field).workers(1).open().unwrap();
    for _ in 0..5 {
        let mut child = deeds::pool(&field, &[does("wait")]);
        child.expect("at body");
        let id: TaskId = child.expect("enqueued ")[9..].parse().unwrap();
        child.kill();
        let killed = Instant::now();
        client.handle::<Deed>(id).unwrap().wait(PATIENCE).unwrap();
        println!("taken over and done {:?} after the kill", killed.elapsed());
        let task = client.get(id).unwrap();
        assert_eq!((task.state, task.attempt, task.crashes), (State::Succeeded, 2, 1));
    }
    client.shutdown(PATIENCE).unwrap();
}

const ROUNDS: usize = 20;
const OPENERS: i64 = 8;

/// A child: opens every file it is told of with a pool, stores and runs one task, and closes it.
pub(crate) fn open_again_and_again() {
    say("ready");
    for line in std::io::stdin().lines() {
        let path = PathBuf::from(line.unwrap());
        match open_once(&path) {
            Ok(()) => say("opened"),
            Err(error) => say(&format!("failed {error}")),
        }
    }
}

fn open_once(path: &Path) -> Result<(), litework::Error> {
    let client = Client::builder(path).register(Deed::define()).workers(1).open()?;
    client.enqueue(deed("nothing"))?.wait(PATIENCE)?;
    client.shutdown(PATIENCE).map(|_| ())
}

/// G1: 8 processes open a file that is not there yet, 20 times.
#[test]
fn the_first_open_by_eight_processes_at_once_succeeds_for_all() {
    let field = Field::default();
    let mut children: Vec<Child> = (0..OPENERS).map(|_| Child::start("opener", &[])).collect();
    for child in &mut children {
        child.expect("ready");
    }
    let mut failed = Vec::new();
    for round in 0..ROUNDS {
        let path = field.path(&format!("{round}.db"));
        for child in &mut children {
            child.tell(path.to_str().unwrap());
        }
        for child in &mut children {
            let answer = ["opened", "failed"];
            let line = child.expect_one_of(&answer);
            if line != "opened" {
                failed.push(format!("round {round}: {line}"));
            }
        }
        let conn = look_into(&path);
        assert_eq!(faults(&conn), Vec::<String>::new());
        let done: i64 = conn
            .query_row("SELECT count(*) FROM litework_task WHERE state = 'succeeded'", [], |row| {
                row.get(0)
            })
            .unwrap();
        if done != OPENERS {
            failed.push(format!("round {round}: {done} tasks are done"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// G1: a file that a newer program has made its own is refused, and nothing in it is touched.
#[test]
fn a_newer_schema_is_refused_at_open() {
    let field = Field::default();
    let client = enqueuer(&field);
    let id = client.enqueue(deed("nothing")).unwrap().id();
    drop(client);
    let newer = "UPDATE litework_meta SET value = 999 WHERE name = 'min_writer'";
    look_into(&field.db()).execute(newer, []).unwrap();
    for builder in [builder(&field), builder(&field).workers(1), builder(&field).mode(Mode::Hold)] {
        let error = builder.open().unwrap_err();
        assert_eq!(error.code(), "schema_newer");
        assert!(error.to_string().contains("999 > 1; upgrade the program"), "{error}");
    }
    let sql = "SELECT state FROM litework_task WHERE id = ?1";
    let state: String =
        look_into(&field.db()).query_row(sql, [id.row()], |row| row.get(0)).unwrap();
    assert_eq!(state, "ready");
}

fn application_file(field: &Field, mode: &str) -> Connection {
    let conn = look_into(&field.db());
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = {mode}; PRAGMA user_version = 41; PRAGMA application_id = 7;
         CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1);"
    ))
    .unwrap();
    conn
}

fn pragma(conn: &Connection, name: &str) -> String {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| {
        row.get_ref(0).map(|value| match value {
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => other.as_i64().unwrap_or(-1).to_string(),
        })
    })
    .unwrap()
}

fn works(field: &Field, conn: &Connection) {
    let mut child = deeds::start("pool", field, &[("LW_APPLICATION", "1".to_owned())]);
    child.expect("ready");
    let client = builder(field).application_file().mode(Mode::Enqueue).open().unwrap();
    let value = client.enqueue(deed("nothing")).unwrap().wait(PATIENCE).unwrap();
    assert!(value.ends_with(&child.pid().to_string()));
    assert!(child.end().success());
    drop(client);
    let kept = ["user_version", "application_id", "journal_mode"].map(|name| pragma(conn, name));
    assert_eq!(kept, ["41", "7", "wal"]);
    let orders: i64 = conn.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(orders, 1);
    assert_eq!(faults(conn), Vec::<String>::new());
}

/// No promise of its own, but tasks can only belong to the application's transactions in its file.
#[test]
fn an_applications_file_in_wal_is_used_and_its_marks_are_left_alone() {
    let field = Field::default();
    let conn = application_file(&field, "wal");
    let error = builder(&field).open().unwrap_err();
    assert_eq!(error.code(), "other_application_id");
    works(&field, &conn);
}

/// The same.
#[test]
fn an_applications_file_that_is_not_in_wal_is_converted_only_on_request() {
    let field = Field::default();
    let conn = application_file(&field, "delete");
    let error = builder(&field).application_file().open().unwrap_err();
    assert_eq!(error.code(), "needs_wal");
    assert_eq!(pragma(&conn, "journal_mode"), "delete");
    assert_eq!(pragma(&conn, "user_version"), "41");
    drop(builder(&field).application_file().convert_to_wal().mode(Mode::Hold).open().unwrap());
    works(&field, &conn);
}
