//! What ended long ago goes by itself, beside whatever else a program does.

use std::path::Path;
use std::time::{Duration, Instant};

use litework::{Client, Error, Filter, Keep, Mode, Retention, State, Timestamp, task};
use rusqlite::Connection;

use crate::common::{LONG, Lab};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[task]
fn double(n: u32) -> u32 {
    2 * n
}

#[task]
fn large(n: u32) -> String {
    "x".repeat(n as usize)
}

fn client(lab: &Lab) -> Client {
    lab.builder().register(double).register(large).open().unwrap()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it did not come to it that {what}");
        std::thread::yield_now();
    }
}

/// Lets time pass, as a pass begins 5 minutes after the one before at the earliest, until so many tasks
/// are left.
fn pass(lab: &Lab, client: &Client, what: &str, left: u64) {
    eventually(what, || {
        lab.advance(client, Duration::from_secs(5 * 60));
        count(client) == left
    });
}

fn count(client: &Client) -> u64 {
    client.count(&Filter::new()).unwrap()
}

/// So many tasks that have ended, and one that is to run much later.
fn end(lab: &Lab, client: &Client, tasks: u32) {
    for handle in client.enqueue_many((0..tasks).map(double::with)).unwrap() {
        lab.ended(client, &handle);
    }
    client.enqueue(double::with(0).run_after(900 * DAY)).unwrap();
}

fn what_is_old_goes_by_itself(lab: &Lab) {
    let client = client(lab);
    end(lab, &client, 50);
    lab.advance(&client, 6 * DAY);
    end(lab, &client, 3);
    lab.advance(&client, DAY);
    pass(lab, &client, "what is 7 days old is gone", 5);
    lab.advance(&client, 6 * DAY);
    pass(lab, &client, "the rest is gone", 2);
}

#[test]
fn what_is_old_goes_by_itself_whoever_runs_tasks() {
    Lab::each_engine(what_is_old_goes_by_itself);
}

fn what_a_program_keeps_for_ever_stays(lab: &Lab) {
    let builder = lab.builder().register(double).retention(Retention::forever());
    let client = builder.open().unwrap();
    end(lab, &client, 5);
    for _ in 0..5 {
        lab.advance(&client, 100 * DAY);
    }
    // A pass that went by itself would have gone before what this task waits for.
    let later = client.enqueue(double::with(21)).unwrap();
    lab.ended(&client, &later);
    assert_eq!(count(&client), 7);
}

#[test]
fn what_a_program_keeps_for_ever_stays_whoever_runs_tasks() {
    Lab::each_engine(what_a_program_keeps_for_ever_stays);
}

/// Only a pool looks by itself. Zero-poll: one that has nothing to remove writes nothing, however often.
#[test]
fn a_pool_with_nothing_to_remove_writes_nothing() {
    let lab = Lab::pool();
    let client = client(&lab);
    end(&lab, &client, 5);
    lab.clock.advance(8 * DAY);
    pass(&lab, &client, "what is old is gone", 1);
    // What a pass that goes on might still write is written before another pass can begin.
    lab.clock.advance(Duration::from_secs(1));
    let watcher = Connection::open(lab.path()).unwrap();
    let version =
        || watcher.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    for _ in 0..100 {
        lab.clock.advance(DAY);
    }
    assert_eq!(version(), before);
}

/// The clock of a machine, whose date somebody sets.
fn after_a_jump_of_the_clock_nothing_goes_by_itself(lab: &Lab) {
    let client = client(lab);
    end(lab, &client, 5);
    let wrong: Timestamp = lab.now().after(30 * DAY);
    lab.clock.set(wrong);
    // It is heard of before what comes later.
    lab.advance(&client, Duration::from_secs(60));
    let handle = client.enqueue(double::with(1)).unwrap();
    lab.ended(&client, &handle);
    let error = client.prune(Retention::default()).unwrap_err();
    assert!(matches!(error, Error::ClockJumped { .. }), "{error}");
    assert_eq!(count(&client), 7);
    lab.advance(&client, Duration::from_secs(10 * 60));
    pass(lab, &client, "the clock is trusted again", 2);
}

#[test]
fn after_a_jump_of_the_clock_nothing_goes_by_itself_until_it_is_stable() {
    Lab::each_engine(after_a_jump_of_the_clock_nothing_goes_by_itself);
}

fn file_bytes(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn none_kept() -> Retention {
    Retention::all(Keep::age(Duration::ZERO))
}

fn space_is_given_back(lab: &Lab) {
    let builder = lab.builder().register(double).register(large).prune(false);
    let client = builder.incremental_vacuum().open().unwrap();
    let handles = client.enqueue_many((0..40).map(|_| large::with(50_000))).unwrap();
    for handle in &handles {
        lab.ended(&client, handle);
    }
    let full = file_bytes(&lab.path());
    assert!(full > 2_000_000, "{full}");
    assert_eq!(client.prune(none_kept()).unwrap().of(State::Succeeded), 39);
    let left = file_bytes(&lab.path());
    assert!(left < 400_000, "{left} of {full}");
    // It is given back only where it was asked for, and can be had later.
    drop(client);
    assert!(lab.builder().open().is_ok());
}

#[test]
fn space_is_given_back_to_the_disk_on_request() {
    Lab::each_way(space_is_given_back);
}

/// Only about opening, before anybody runs anything.
#[test]
fn a_file_that_cannot_give_space_back_is_refused_with_what_to_do() {
    let lab = Lab::inline();
    let client = client(&lab);
    for _ in 0..2 {
        let error = lab.builder().incremental_vacuum().open().unwrap_err();
        assert_eq!(error.code(), "needs_vacuum");
        let text = error.to_string();
        assert!(text.contains("run `PRAGMA auto_vacuum = INCREMENTAL; VACUUM;`"), "{text}");
        if client.path().is_some() {
            client.shutdown(LONG).unwrap();
        }
    }
    drop(client);
    let conn = Connection::open(lab.path()).unwrap();
    conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;").unwrap();
    drop(conn);
    let client = lab.builder().register(double).incremental_vacuum().open().unwrap();
    assert_eq!(client.enqueue(double::with(21)).unwrap().value().unwrap(), 42);
}

fn a_removed_task_is_gone_for_its_handle(lab: &Lab) {
    let client = client(lab);
    let handle = client.enqueue(double::with(21)).unwrap();
    lab.ended(&client, &handle);
    client.enqueue(double::with(1).run_after(DAY)).unwrap();
    assert_eq!(client.prune(none_kept()).unwrap().total(), 1);
    let late = client.handle::<double>(handle.id()).unwrap_err();
    assert_eq!(late.code(), "not_found");
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "not_found");
    assert_eq!(handle.refresh().unwrap_err().code(), "not_found");
}

/// Whoever asks for a task that was removed under him is told so at once.
#[test]
fn a_handle_on_a_removed_task_says_that_it_is_gone() {
    Lab::each_engine(a_removed_task_is_gone_for_its_handle);
}

/// Only about the thread that holds the transaction, whoever runs tasks.
#[test]
fn pruning_inside_a_transaction_is_refused_at_once() {
    use litework::sqlite::ClientExt;
    let lab = Lab::inline();
    let client = lab.builder().register(double).mode(Mode::Enqueue).open().unwrap();
    let inside = client.write(|_| Ok::<_, Error>(client.prune(none_kept()).unwrap_err()));
    assert_eq!(inside.unwrap().code(), "reentrant");
}
