//! Without a pool a task runs in its caller, before `enqueue` returns: the same row, the same
//! accounting, the same result.

use std::time::Duration;

use litework::sqlite::{ClientExt, WriteError};
use litework::{Context, Error, Failure, Filter, Reason, Result, State, task};

use crate::common::{LONG, Lab, Log, eventually};

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

#[task]
fn burst() {
    panic!("it burst");
}

#[task]
fn nap() -> Result<()> {
    Err(Failure::snooze(HOUR))
}

fn client(lab: &Lab, log: &Log) -> litework::Client {
    let builder = lab.builder().register(note).register(nest).register(nest_in_write);
    builder.register(fail).register(burst).register(nap).state(log.clone()).open().unwrap()
}

#[test]
fn a_task_has_run_when_enqueue_returns() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    let handle = client.enqueue(note::with("a")).unwrap();
    assert_eq!(log.words(), ["a"]);
    assert!(handle.ready().unwrap() && !handle.needs_runner());
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
fn a_panic_is_recorded_and_the_handle_returned() {
    let lab = Lab::inline();
    let client = client(&lab, &Log::default());
    let handle = client.enqueue(burst::with().attempts(1)).unwrap();
    match handle.value().unwrap_err() {
        Error::Failed { report, .. } => assert_eq!(report.kind, "panic"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_delayed_task_needs_a_runner_and_waiting_for_it_says_so_at_once() {
    let lab = Lab::inline();
    let client = client(&lab, &Log::default());
    let handle = client.enqueue(note::with("later").run_after(HOUR)).unwrap();
    assert!(handle.needs_runner());
    match handle.wait(LONG).unwrap_err() {
        Error::NobodyRuns { due_at, .. } => assert_eq!(due_at, lab.now().after(HOUR)),
        other => panic!("{other}"),
    }
    lab.advance(&client, HOUR);
    handle.wait(LONG).unwrap();
}

#[test]
fn a_snoozed_task_needs_a_runner_and_the_reply_says_so() {
    let lab = Lab::inline();
    let client = client(&lab, &Log::default());
    let handle = client.enqueue(nap::with()).unwrap();
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Scheduled, Some(Reason::Snoozed)));
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
    assert!(handle.needs_runner(), "the reply says that the task needs a runner");
    assert_eq!(handle.due_at(), lab.now().after(HOUR));
}

#[test]
fn waiting_for_a_delayed_task_goes_on_while_a_pool_serves_its_kind() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    let handle = client.enqueue(note::with("later").run_after(HOUR)).unwrap();
    let pool = lab.builder().mode(litework::Mode::Pool).workers(1).register(note);
    let pool = pool.state(log.clone()).open().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.wait(LONG));
        lab.clock.advance(HOUR);
        waiting.join().unwrap().unwrap();
    });
    pool.shutdown(LONG).unwrap();
    drop(pool);
    let handle = client.enqueue(note::with("later still").run_after(HOUR)).unwrap();
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
}

#[test]
fn a_task_of_a_transaction_runs_after_its_commit_and_needs_no_runner() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    let written = client.write(|tx| {
        let handle = tx.enqueue(note::with("in"))?.handle().unwrap();
        log.note("committing");
        Ok::<_, WriteError>(handle)
    });
    assert_eq!(log.words(), ["committing", "in"]);
    let handle = written.unwrap();
    assert!(handle.ready().unwrap());
    assert!(!handle.needs_runner());
}

#[test]
fn a_task_of_a_transaction_that_is_rolled_back_never_runs() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = client(&lab, &log);
    let answer = client.write(|tx| {
        tx.enqueue(note::with("in"))?;
        Err::<(), WriteError>(Error::Closed.into())
    });
    answer.unwrap_err();
    lab.settle(&client);
    assert_eq!((log.len(), client.count(&Filter::new()).unwrap()), (0, 0));
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
