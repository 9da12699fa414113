//! Stories that once went wrong, or are easy to get wrong: each names the promise it keeps.
//!
//! A rescuer that dies in turn, a lease while nobody rings, a wake-up behind a slow flush, a lane
//! that was rolled back, a newer schema beside a running program, a cancel that comes too early,
//! and all the ways in which a task of at most once could start again.

use std::time::{Duration, Instant};

use litework::sqlite::{ClientExt, WriteError};
use litework::{
    Client, Context, Durability, Error, Failure, Filter, Mode, Reason, Result, State, Task, TaskId,
    TaskRecord,
};
use serde::{Deserialize, Serialize};

use super::child::{Child, Field, PATIENCE, faults, look_into, slots};
use super::deeds::{self, Deed, builder, deed, does, once};
use super::plants::wait_until_asleep;

/// Runs until it is told to stop, for at most 3 s.
#[derive(Serialize, Deserialize)]
struct Until;

impl Task for Until {
    const NAME: &'static str = "until";
    type Output = bool;

    fn run(self, ctx: &Context) -> Result<bool> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            if ctx.is_stopping() {
                return Err(Failure::cancelled());
            }
            std::thread::yield_now();
        }
        Ok(true)
    }
}

fn only_task(client: &Client) -> TaskRecord {
    client.list(&Filter::new(), None, 1).unwrap().tasks.remove(0)
}

fn enqueuing(field: &Field) -> Client {
    builder(field).mode(Mode::Enqueue).open().unwrap()
}

fn holder(field: &Field) -> Client {
    builder(field).mode(Mode::Hold).open().unwrap()
}

fn enqueued(child: &mut Child) -> TaskId {
    child.expect("enqueued ")[9..].parse().unwrap()
}

/// A child dies while its one task runs.
fn died_running(field: &Field, more: &[(&'static str, String)]) {
    let mut all = vec![does("wait")];
    all.extend_from_slice(more);
    let mut child = deeds::pool(field, &all);
    child.expect("at body");
    child.kill();
}

/// G13: until the rescue is committed, the files that prove the death must stay.
#[test]
fn a_rescue_that_dies_before_its_commit_is_made_up_for_at_once() {
    let field = Field::default();
    died_running(&field, &[]);
    let stop = ("LITEWORK_FAULT", "before_commit:1".to_owned());
    let mut rescuer = deeds::start("enqueue", &field, &[stop]);
    rescuer.expect("at before_commit");
    rescuer.kill();
    let task = only_task(&holder(&field));
    assert_eq!((task.state, task.attempt, task.crashes), (State::Ready, 1, 1));
}

/// No promise of its own: a crash is told with the time at which the attempt began.
#[test]
fn a_crashed_attempt_began_when_it_was_claimed() {
    let field = Field::default();
    died_running(&field, &[]);
    let sql = "SELECT started_at FROM litework_task";
    let began: i64 = look_into(&field.db()).query_row(sql, [], |row| row.get(0)).unwrap();
    let sql = "UPDATE litework_task SET started_at = started_at - 1000";
    look_into(&field.db()).execute(sql, []).unwrap();
    let client = holder(&field);
    let attempts = client.attempts(only_task(&client).id).unwrap();
    let told: Vec<_> = attempts.iter().map(|attempt| attempt.started_at.unwrap()).collect();
    assert_eq!(told.iter().map(|at| at.as_millis()).collect::<Vec<_>>(), [began - 1_000]);
    assert_eq!(attempts[0].outcome, "crashed");
}

/// G1: a lane made by a transaction that was rolled back is made again by the next.
#[test]
fn a_kind_first_used_in_a_transaction_that_failed_can_be_used_again() {
    let field = Field::default();
    let client = builder(&field).workers(1).open().unwrap();
    let failed: std::result::Result<(), WriteError> = client.write(|tx| {
        tx.enqueue(deed("nothing"))?;
        Err(rusqlite::Error::InvalidQuery.into())
    });
    assert!(failed.is_err());
    client.enqueue(deed("nothing")).unwrap().wait(PATIENCE).unwrap();
    drop(client);
    assert_eq!(faults(&look_into(&field.db())), Vec::<String>::new());
}

/// G1: the same for a savepoint inside a transaction that commits.
#[test]
fn a_kind_first_used_in_a_savepoint_that_was_rolled_back_can_be_used_again() {
    let field = Field::default();
    let client = builder(&field).workers(1).open().unwrap();
    let done: std::result::Result<(), WriteError> = client.write(|tx| {
        tx.connection().execute_batch("SAVEPOINT part")?;
        tx.enqueue(deed("nothing"))?;
        tx.connection().execute_batch("ROLLBACK TO part; RELEASE part")?;
        Ok(())
    });
    done.unwrap();
    client.enqueue(deed("nothing")).unwrap().wait(PATIENCE).unwrap();
    drop(client);
    assert_eq!(faults(&look_into(&field.db())), Vec::<String>::new());
}

fn set_min_writer(field: &Field, version: i64) {
    let sql = "UPDATE litework_meta SET value = ?1 WHERE name = 'min_writer'";
    look_into(&field.db()).execute(sql, [version]).unwrap();
}

/// G2: an old process beside a newer schema is refused every time, also where a watcher has seen
/// the foreign commit first.
#[test]
fn a_program_that_is_running_refuses_a_schema_that_became_newer() {
    let field = Field::default();
    for pool in [false, true] {
        let builder = builder(&field);
        let builder = if pool { builder.workers(1) } else { builder.mode(Mode::Enqueue) };
        let client = builder.open().unwrap();
        let later = || deed("nothing").call().run_after(Duration::from_secs(1_000));
        client.enqueue(later()).unwrap();
        set_min_writer(&field, 999);
        for _ in 0..3 {
            let error = client.enqueue(later()).unwrap_err();
            assert_eq!(error.code(), "schema_newer");
        }
        let conn = look_into(&field.db());
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = client.enqueue_in(&conn, later()).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "schema_newer", "through the caller's own transaction");
        drop(conn);
        set_min_writer(&field, 1);
        client.enqueue(later()).unwrap();
        client.shutdown(Duration::ZERO).unwrap();
    }
}

/// G2: those whose calls were merged into one transaction hear the same, each of them.
#[test]
fn everybody_in_a_merged_call_hears_that_the_schema_became_newer() {
    let field = Field::default();
    let client = enqueuing(&field);
    client.enqueue(deed("nothing")).unwrap();
    let conn = look_into(&field.db());
    conn.execute_batch(
        "BEGIN IMMEDIATE; UPDATE litework_meta SET value = 999 WHERE name = 'min_writer'",
    )
    .unwrap();
    let told: Vec<String> = std::thread::scope(|scope| {
        let callers = ["newer-1", "newer-2", "newer-3"].map(|name| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            let caller = thread.spawn_scoped(scope, || client.enqueue(deed("nothing"))).unwrap();
            // The first waits for the file's lock, the others for the first.
            wait_until_asleep(name);
            caller
        });
        conn.execute_batch("COMMIT").unwrap();
        callers.map(|caller| caller.join().unwrap().unwrap_err().to_string()).into()
    });
    let path = std::fs::canonicalize(field.db()).unwrap();
    let newer = format!("schema_newer: {}: 999 > 1; upgrade the program", path.display());
    assert_eq!(told, [newer.as_str(); 3]);
}

/// Runs for longer than a pool holds work ahead.
#[derive(Serialize, Deserialize)]
struct Slow;

impl Task for Slow {
    const NAME: &'static str = "slow";
    type Output = ();

    fn run(self, _ctx: &Context) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(25) {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// G3: work that finds no room in the pool does not keep it from running what it holds.
#[test]
fn a_backlog_of_slow_tasks_is_worked_off_by_one_thread() {
    let field = Field::default();
    let client = Client::builder(field.db()).register(Slow::define()).workers(1).open().unwrap();
    let handles: Vec<_> = (0..5).map(|_| client.enqueue(Slow).unwrap()).collect();
    for handle in &handles {
        handle.wait(Duration::from_secs(10)).unwrap();
    }
}

/// No promise of its own: whatever the moment of a cancel, the body hears of it.
#[test]
fn a_cancel_right_after_the_enqueue_reaches_the_body() {
    let field = Field::default();
    let builder = Client::builder(field.db()).register(Until::define()).workers(2);
    let client = builder.durability(Durability::Normal).open().unwrap();
    for _ in 0..100 {
        let handle = client.enqueue(Until).unwrap();
        handle.cancel().unwrap();
        assert_eq!(handle.wait(PATIENCE).unwrap_err().code(), "cancelled");
    }
}

/// The same where the runner is a caller of another process.
#[test]
fn a_cancel_of_another_process_reaches_an_inline_body() {
    let field = Field::default();
    let mut child = deeds::start("inline", &field, &[does("until stopped")]);
    child.expect("at body");
    let client = builder(&field).mode(Mode::Enqueue).open().unwrap();
    client.cancel(only_task(&client).id).unwrap();
    child.listen_for(Duration::from_secs(3));
    assert!(child.heard.iter().any(|line| line == "told to stop"));
}

/// G3: a damaged task with a crash on record does not keep the next such task from running.
#[test]
fn a_damaged_suspect_does_not_block_the_others() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[("LW_THREADS", "2".to_owned())]);
    child.expect("ready");
    let client = builder(&field).mode(Mode::Enqueue).open().unwrap();
    let big = client.enqueue(deed(&format!("wait{}", " ".repeat(3_000)))).unwrap();
    let small = client.enqueue(deed("wait")).unwrap();
    child.expect("at body");
    child.expect("at body");
    child.kill();
    let sql = "DELETE FROM litework_payload WHERE id = ?1 * 2";
    look_into(&field.db()).execute(sql, [big.id().row()]).unwrap();
    let pool = builder(&field).workers(1).open().unwrap();
    small.wait(PATIENCE).unwrap();
    assert_eq!(big.refresh().unwrap().reason, Some(Reason::BadRow));
    pool.shutdown(PATIENCE).unwrap();
}

/// G13: processes that died with nothing running leave no rows and no files behind for ever.
#[test]
fn what_idle_processes_leave_behind_is_swept_at_open() {
    let field = Field::default();
    for _ in 0..5 {
        let mut child = deeds::pool(&field, &[]);
        child.expect("ready");
        child.kill();
    }
    let client = builder(&field).workers(1).open().unwrap();
    client.shutdown(PATIENCE).unwrap();
    drop(client);
    let sql = "SELECT count(*) FROM litework_worker WHERE left_at IS NULL";
    let live: i64 = look_into(&field.db()).query_row(sql, [], |row| row.get(0)).unwrap();
    let files = std::fs::read_dir(field.path("tasks.db-litework")).map_or(0, Iterator::count);
    assert_eq!((live, files), (0, 0));
}

/// G5: its body has ended, its finish is not committed, and its thread runs something else. None is held
/// ahead, so what is lost had started: one stands in the slot, the others in the log.
#[test]
fn at_most_once_does_not_start_again_when_its_slot_was_taken_by_the_next() {
    for pass in [5, 10, 15, 20, 25, 30, 35, 38] {
        let field = Field::default();
        let stop = ("LITEWORK_FAULT", format!("running:{pass}"));
        let mut child = deeds::pool(&field, &[("LW_MANY", "40".to_owned()), once(), stop]);
        child.expect("at running");
        child.kill();
        let noted: Vec<i64> = slots(&field.db()).into_iter().map(|(row, _)| row).collect();
        let client = holder(&field);
        let log = field.lines();
        for task in client.list(&Filter::new().state(State::Failed), None, 1_000).unwrap().tasks {
            let (id, row) = (task.id.to_string(), task.id.row());
            assert_eq!(task.reason, Some(Reason::Lost));
            let started = log.iter().any(|line| line.contains(&id)) || noted.contains(&row);
            assert!(started, "{id} is lost though it had not started");
        }
        for task in client.list(&Filter::new().state(State::Ready), None, 1_000).unwrap().tasks {
            let id = task.id.to_string();
            assert!(!log.iter().any(|line| line.contains(&id)), "{id} ran and is ready again");
        }
    }
}

/// G5: whether it ran before the machine was restarted cannot be known.
#[test]
fn at_most_once_does_not_start_again_after_a_reboot() {
    let field = Field::default();
    died_running(&field, &[once()]);
    look_into(&field.db()).execute("UPDATE litework_worker SET boot = 'earlier'", []).unwrap();
    let task = only_task(&holder(&field));
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Lost)));
}

/// G5: a shutdown that ends its body does not hand it back.
#[test]
fn at_most_once_does_not_start_again_after_a_shutdown_in_its_middle() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[does("until stopped"), once()]);
    child.expect("at body");
    child.tell("shutdown now");
    child.expect("shut down");
    let task = only_task(&holder(&field));
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Lost)));
}

fn is_still_running(client: &Client, id: TaskId) {
    let task = client.get(id).unwrap();
    let attempts = client.attempts(id).unwrap();
    assert_eq!((task.state, task.attempt, task.crashes), (State::Running, 1, 0), "{attempts:?}");
}

/// No promise of its own: a program that goes on with a file that was removed keeps its -wal and -shm, and
/// whoever makes a new file of the name beside them is told so.
#[test]
fn a_new_file_beside_the_log_of_one_that_was_removed_is_refused() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[does("wait")]);
    child.expect("at body");
    std::fs::remove_file(field.db()).unwrap();
    let error = builder(&field).mode(Mode::Hold).open().unwrap_err();
    assert_eq!(error.code(), "cannot_open");
    assert!(error.to_string().ends_with("then remove the -wal and -shm that it left"), "{error}");
}

/// Nothing happens for this long; the parent only listens.
fn quiet(child: &mut Child, seconds: u64) {
    child.listen_for(Duration::from_secs(seconds));
}

/// G4: a pool renews its lease though nothing rings.
#[test]
#[ignore = "needs 40 s"]
fn a_long_body_in_a_quiet_pool_keeps_its_lease() {
    let field = Field::default();
    let client = builder(&field).workers(1).serve(["none"]).open().unwrap();
    let mut child = deeds::pool(&field, &[does("wait"), ("LW_LATER", "1".to_owned())]);
    child.expect("ready");
    quiet(&mut child, 1);
    child.tell("enqueue now");
    child.expect("at body");
    let id = enqueued(&mut child);
    quiet(&mut child, 36);
    is_still_running(&client, id);
}

/// G4: so does a caller that runs its task inline.
#[test]
#[ignore = "needs 40 s"]
fn a_long_inline_body_keeps_its_lease() {
    let field = Field::default();
    let mut child = deeds::start("inline", &field, &[does("wait")]);
    child.expect("at body");
    let client = builder(&field).workers(1).open().unwrap();
    let id = only_task(&client).id;
    quiet(&mut child, 36);
    is_still_running(&client, id);
}

/// G4: a lease that was last seen long ago, and not since, is not stale.
#[test]
#[ignore = "needs 40 s"]
fn a_process_that_was_idle_for_long_is_not_taken_for_hung() {
    let field = Field::default();
    let client = builder(&field).workers(1).serve(["none"]).open().unwrap();
    let mut child = deeds::pool(&field, &[does("wait"), ("LW_LATER", "1".to_owned())]);
    child.expect("ready");
    let first = client.enqueue(deed("until stopped")).unwrap();
    child.expect("at body");
    quiet(&mut child, 2);
    first.cancel().unwrap();
    assert_eq!(first.wait(PATIENCE).unwrap_err().code(), "cancelled");
    quiet(&mut child, 33);
    child.tell("enqueue now");
    child.expect("at body");
    let id = enqueued(&mut child);
    quiet(&mut child, 3);
    is_still_running(&client, id);
}

/// G4: while another program holds the write lock, nobody can renew, which says nothing of him.
#[test]
#[ignore = "needs 40 s"]
fn a_process_that_waits_for_a_long_transaction_of_others_is_not_taken_for_hung() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[does("wait")]);
    child.expect("at body");
    let id = enqueued(&mut child);
    let client = builder(&field).workers(1).serve(["none"]).open().unwrap();
    quiet(&mut child, 2);
    let theirs = rusqlite::Connection::open(field.path("tasks.db")).unwrap();
    theirs.busy_timeout(Duration::from_secs(20)).unwrap();
    theirs.execute_batch("BEGIN IMMEDIATE").unwrap();
    quiet(&mut child, 45);
    theirs.execute_batch("COMMIT").unwrap();
    quiet(&mut child, 5);
    is_still_running(&client, id);
}

/// G10, G13: the commit can be seen only after its flush, long after the log was written.
#[test]
#[ignore = "needs strace"]
fn a_flush_of_300_ms_loses_no_wake_up() {
    let field = Field::default();
    let slow = "exec strace -f -o /dev/null -e trace=fsync,fdatasync \
                -e inject=fsync,fdatasync:delay_exit=300000 \"$@\"";
    let mut variables = field.variables();
    variables.push(does("wait"));
    let mut child = Child::start_in_shell(slow, "pool", &variables);
    child.expect("at body");
    let id = enqueued(&mut child);
    let client = builder(&field).mode(Mode::Enqueue).open().unwrap();
    let handle = client.handle::<Deed>(id).unwrap();
    let waiting = std::thread::spawn(move || handle.wait(Duration::from_secs(10)));
    quiet(&mut child, 1);
    child.tell("go on");
    let value: std::result::Result<String, Error> = waiting.join().unwrap();
    assert!(value.is_ok(), "{value:?}");
}
