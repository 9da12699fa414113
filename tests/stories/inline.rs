//! Without a pool a task runs in its caller, before `enqueue` returns: the same row, the same
//! accounting, the same result. Only what a caller does and no other runner is told here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use litework::sqlite::ClientExt;
use litework::testing::ManualClock;
use litework::{Clock, Context, Filter, Reason, Result, State, Timestamp, task};
use rusqlite::Connection;

use crate::common::{Gate, LONG, Lab, Log, eventually};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn note(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

/// Enqueues itself until it stands `to` deep.
#[task]
fn nest(ctx: &Context, depth: u32, to: u32) -> Result<()> {
    ctx.state::<Log>()?.note(format!("> {depth}"));
    if depth < to {
        ctx.enqueue(nest::with(depth + 1, to))?;
    }
    ctx.state::<Log>()?.note(format!("< {depth}"));
    Ok(())
}

/// The same through a transaction of the queue's own.
#[task]
fn nest_in_write(ctx: &Context, depth: u32, to: u32) -> Result<()> {
    ctx.state::<Log>()?.note(depth.to_string());
    if depth < to {
        let client = ctx.client().ok_or("no client")?;
        client.write(|tx| tx.enqueue(nest_in_write::with(depth + 1, to)))?;
    }
    Ok(())
}

#[task(attempts = 3, retry = [1h])]
fn fail(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note(ctx.attempt().to_string());
    Err("no")?
}

fn client(lab: &Lab, log: &Log) -> litework::Client {
    let builder = lab.builder().register(note).register(nest).register(nest_in_write);
    builder.register(fail).state(log.clone()).open().unwrap()
}

#[test]
fn a_task_has_run_when_enqueue_returns() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    let handle = client.enqueue(note::with("a")).unwrap();
    assert_eq!(log.words(), ["a"]);
    assert!(handle.has_ended().unwrap() && !handle.needs_runner());
    handle.wait(Duration::ZERO).unwrap();
    client.enqueue_many(["b", "c"].map(note::with)).unwrap();
    assert_eq!(log.words(), ["a", "b", "c"]);
    let mut outbox = client.outbox();
    outbox.enqueue(note::with("d")).unwrap();
    assert_eq!(log.len(), 3);
    outbox.send().unwrap();
    assert_eq!(log.len(), 4);
}

#[test]
fn the_callers_task_runs_at_once_whatever_else_waits() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    client.enqueue(note::with("better").priority(100).run_after(HOUR)).unwrap();
    lab.clock.advance(HOUR);
    client.enqueue(note::with("mine").priority(-100)).unwrap();
    assert_eq!(log.words(), ["mine"]);
    lab.settle(&client);
    assert_eq!(log.words(), ["mine", "better"]);
}

#[test]
fn tasks_within_tasks_run_depth_first_to_32_and_the_33rd_is_stored() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    client.enqueue(nest::with(1, 2)).unwrap();
    assert_eq!(log.words(), ["> 1", "> 2", "< 2", "< 1"]);
    let log_before = log.len();
    client.enqueue(nest::with(1, 40)).unwrap();
    assert_eq!(log.len() - log_before, 64);
    let stored = client.list(&Filter::new().state(State::Ready), None, 9).unwrap().tasks;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].arguments, r#"{"depth":33,"to":40}"#);
    lab.settle(&client);
    assert_eq!(log.len() - log_before, 80);
}

#[test]
fn tasks_stored_in_transactions_of_tasks_run_no_deeper_than_32() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    client.enqueue(nest_in_write::with(1, 40)).unwrap();
    assert_eq!(log.len(), 32);
    lab.settle(&client);
    assert_eq!(log.len(), 40);
}

#[test]
fn a_failing_task_is_tried_in_place_without_the_back_off() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    let handle = client.enqueue(fail::with()).unwrap();
    assert_eq!(log.words(), ["1", "2", "3"]);
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Error)));
    assert_eq!((task.attempt, client.attempts(handle.id()).unwrap().len()), (3, 3));
}

#[test]
fn on_request_the_next_attempts_are_stored_and_need_a_runner() {
    let lab = Lab::inline();
    let log = Log::default();
    let builder = lab.builder().retry_in_place(false).register(fail);
    let client = builder.state(log.clone()).open().unwrap();
    let handle = client.enqueue(fail::with()).unwrap();
    assert_eq!(log.words(), ["1"]);
    assert_eq!(handle.refresh().unwrap().due_at, lab.now().after(HOUR));
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
    assert!(handle.needs_runner(), "the reply says that the rest needs a runner");
    assert_eq!(handle.due_at(), lab.now().after(HOUR), "and when");
}

#[test]
fn a_task_that_was_cancelled_while_it_ran_is_not_tried_again() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    std::thread::scope(|scope| {
        let other = client.clone();
        scope.spawn(move || {
            let running = Filter::new().state(State::Running);
            eventually("it runs, or is done", || {
                let page = other.list(&Filter::new(), None, 1).unwrap();
                page.tasks.first().is_some_and(|task| task.state.is_final())
                    || other
                        .list(&running, None, 1)
                        .unwrap()
                        .tasks
                        .first()
                        .is_some_and(|task| other.cancel(task.id).is_ok())
            });
        });
        client.enqueue(fail::with().attempts(1_000)).unwrap();
    });
    let task = client.list(&Filter::new(), None, 1).unwrap().tasks.remove(0);
    assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
    assert!(log.len() < 1_000);
}

/// Fails, and takes its time over it.
#[task(attempts = 9, retry = [1h])]
fn fail_slowly(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note(ctx.attempt().to_string());
    ctx.state::<Arc<ManualClock>>()?.advance(Duration::from_secs(4));
    Err("no")?
}

#[test]
fn attempts_follow_in_place_for_10_s_and_the_rest_is_stored() {
    let (lab, log) = (Lab::inline(), Log::default());
    let builder = lab.builder().register(fail_slowly).state(log.clone());
    let client = builder.state(Arc::clone(&lab.clock)).open().unwrap();
    let handle = client.enqueue(fail_slowly::with()).unwrap();
    assert_eq!(log.words(), ["1", "2", "3"], "the third ends 12 s after the first began");
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason, task.attempt), (State::Scheduled, Some(Reason::Retry), 3));
    assert_eq!(task.due_at, lab.now().after(HOUR), "with the back-off");
    assert!(handle.needs_runner());
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
}

type Look = Box<dyn FnMut() + Send>;

/// A clock that lets somebody look around whenever it is read.
#[derive(Default)]
struct Spy(Mutex<Option<Look>>);

impl Clock for Spy {
    fn now(&self) -> Timestamp {
        // Taken out, so that a look that reads the clock does not look again.
        let look = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut look) = look {
            look();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        }
        Timestamp::from_millis(1_767_225_600_000).unwrap_or_default()
    }
}

#[test]
fn waiting_goes_on_between_two_attempts_in_place() {
    let (lab, log, spy) = (Lab::inline(), Log::default(), Arc::new(Spy::default()));
    let builder = lab.builder().clock(Arc::clone(&spy) as Arc<dyn Clock>).register(fail);
    let client = builder.state(log.clone()).open().unwrap();
    let answers = Log::default();
    let look: Look = {
        let (client, answers) = (client.clone(), answers.clone());
        Box::new(move || {
            let between = Filter::new().state(State::Scheduled);
            let Some(task) = client.list(&between, None, 1).unwrap().tasks.pop() else { return };
            let handle = client.handle::<fail>(task.id).unwrap();
            let waiting = std::thread::spawn(move || handle.wait(Duration::ZERO));
            answers.note(waiting.join().unwrap().unwrap_err().code());
        })
    };
    *spy.0.lock().unwrap() = Some(look);
    client.enqueue(fail::with()).unwrap();
    let look = spy.0.lock().unwrap().take();
    drop(look);
    assert_eq!(log.words(), ["1", "2", "3"]);
    assert!(answers.len() >= 2, "there is a moment between two attempts");
    let all: Vec<_> = answers.words().into_iter().filter(|code| code != "timeout").collect();
    assert_eq!(all, Vec::<String>::new(), "the next attempt follows at once");
}

/// What another process does to one that hangs: it ends it and takes its tasks back.
fn give_up(lab: &Lab) {
    let sql = "UPDATE litework_task SET state = 'ready' WHERE state = 'running';
               UPDATE litework_worker SET left_at = 1 WHERE left_at IS NULL;";
    Connection::open(lab.path()).unwrap().execute_batch(sql).unwrap();
}

fn live_runners(lab: &Lab) -> Vec<i64> {
    let theirs = Connection::open(lab.path()).unwrap();
    let mut read = theirs.prepare("SELECT id FROM litework_worker WHERE left_at IS NULL").unwrap();
    read.query_map([], |row| row.get(0)).unwrap().map(|id| id.unwrap()).collect()
}

#[test]
fn a_caller_that_was_given_up_joins_again() {
    #[task]
    fn hang(ctx: &Context) -> Result<u32> {
        ctx.state::<Gate>()?.pass();
        Ok(ctx.attempt())
    }
    Lab::each_way(|lab| {
        if lab.runs(crate::common::Runs::Pool) {
            return; // A pool has a keeper, which joins again in its time.
        }
        let (log, gate) = (Log::default(), Gate::default());
        let builder = lab.builder().register(hang).register(note).state(log.clone());
        let client = builder.state(gate.clone()).open().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                client.enqueue(hang::with()).unwrap();
                lab.settle(&client);
            });
            gate.wait_for(1);
            give_up(lab);
            gate.open();
        });
        client.enqueue(note::with("next")).unwrap();
        lab.settle(&client);
        assert_eq!(log.words(), ["next"]);
        let tasks = client.list(&Filter::new(), None, 9).unwrap().tasks;
        assert!(tasks.iter().all(|task| task.state == State::Succeeded), "{tasks:?}");
        assert_eq!(live_runners(lab).len(), 1, "it has a number that others take for alive");
        client.shutdown(LONG).unwrap();
        assert_eq!(live_runners(lab), Vec::<i64>::new());
    });
}
