//! A task that fails is tried again as its author said, and its error is kept whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use litework::{Context, Failure, Reason, Result, State, task};

use crate::common::{Lab, eventually};

crate::everywhere! {
    a_failing_task_is_tried_to_its_end,
    the_error_keeps_type_code_data_message_and_causes,
    a_panic_is_an_error_with_place_and_backtrace,
    giving_up_spends_one_attempt,
    a_snooze_spends_no_attempt,
    retry_after_is_the_due_time,
    a_ladder_is_climbed_and_its_last_step_repeats,
    the_back_off_stays_below_its_bound,
    a_body_may_say_that_it_was_cancelled,
    long_error_text_is_cut_with_a_mark,
    a_body_knows_its_attempt_and_the_last_one,
    at_most_once_is_not_tried_again,
    the_errors_of_a_value_are_distinct,
    a_time_out_stops_the_body_by_its_token,
    a_success_after_a_failure_keeps_both_attempts,
}

const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Debug, thiserror::Error)]
#[error("the page did not load")]
struct PageError(#[source] LinkError);

#[derive(Debug, thiserror::Error)]
#[error("the link is down")]
struct LinkError(#[source] std::io::Error);

#[task(attempts = 3, retry = [0s])]
fn load() -> Result<()> {
    Err(PageError(LinkError(std::io::Error::other("no carrier"))))?;
    Ok(())
}

#[task]
fn refuse() -> Result<()> {
    let data = serde_json::json!({"status": 410});
    Err(Failure::give_up(PageError(LinkError(std::io::Error::other("gone"))))
        .code("gone")
        .data(data)
        .expected())
}

#[task(attempts = 1)]
fn burst(words: &str) {
    panic!("it burst: {words}");
}

/// How often a body has run in this lab.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[task]
fn sleepy(ctx: &Context, times: u32) -> Result<u32> {
    let run = ctx.state::<Runs>()?.next();
    if run <= times { Err(Failure::snooze(MINUTE)) } else { Ok(ctx.attempt()) }
}

#[task(retry = [5s])]
fn throttled(ctx: &Context) -> Result<u32> {
    if ctx.attempt() == 1 {
        return Err(Failure::retry_after(MINUTE, "too many requests"));
    }
    Ok(ctx.attempt())
}

#[task(attempts = 4, retry = [5s, 30s])]
fn climb(ctx: &Context) -> Result<u32> {
    if ctx.is_last_attempt() { Ok(ctx.attempt()) } else { Err("slipped")? }
}

#[task(retry = exponential("1s", "3s"))]
fn back_off() -> Result<()> {
    Err("not yet")?
}

#[task]
fn called_off() -> Result<()> {
    Err(Failure::cancelled())
}

#[task(attempts = 1)]
fn shout() -> Result<()> {
    Err("ä".repeat(100_000))?
}

#[task(attempts = 3, retry = [0s])]
fn attempts_seen(ctx: &Context) -> Result<Vec<(u32, bool)>> {
    if ctx.is_last_attempt() {
        Ok(vec![(ctx.attempt(), ctx.is_last_attempt())])
    } else {
        Err("again")?
    }
}

#[task(at_most_once, attempts = 5, retry = [0s])]
fn charge() -> Result<()> {
    Err("the bank did not answer")?
}

#[task(attempts = 1, timeout = "20ms")]
fn endless(ctx: &Context) -> Result<()> {
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
    ctx.check()
}

fn a_failing_task_is_tried_to_its_end(lab: &Lab) {
    let client = lab.builder().register(load).open().unwrap();
    let handle = client.enqueue(load::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Error)));
    assert_eq!((task.attempt, task.attempts_max, task.result), (3, 3, None));
    assert_eq!(task.finished_at, Some(lab.now()));
    let attempts = client.attempts(handle.id()).unwrap();
    let seen: Vec<_> = attempts.iter().map(|a| (a.attempt, a.outcome.as_str())).collect();
    assert_eq!(seen, [(1, "retry"), (2, "retry"), (3, "failed")]);
    for attempt in &attempts {
        assert!(attempt.started_at.is_some() && attempt.finished_at.is_some());
        assert!(attempt.worker.is_some());
        assert_eq!(attempt.error.as_ref().unwrap().message, "the page did not load");
    }
}

fn the_error_keeps_type_code_data_message_and_causes(lab: &Lab) {
    let client = lab.builder().register(refuse).open().unwrap();
    let handle = client.enqueue(refuse::with()).unwrap();
    let report = lab.ended(&client, &handle).error.unwrap();
    assert!(report.kind.ends_with("PageError"), "{}", report.kind);
    assert_eq!(report.code.as_deref(), Some("gone"));
    assert_eq!(report.message, "the page did not load");
    assert_eq!(report.causes, ["the link is down", "gone"]);
    assert_eq!(report.data, Some(serde_json::json!({"status": 410})));
    assert!(report.expected);
    assert_eq!(report.to_string(), "the page did not load: the link is down: gone");
}

fn a_panic_is_an_error_with_place_and_backtrace(lab: &Lab) {
    let client = lab.builder().register(burst).open().unwrap();
    let handle = client.enqueue(burst::with("too full")).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Error)));
    let report = task.error.unwrap();
    assert_eq!(report.kind, "panic");
    assert!(report.message.contains("it burst: too full"), "{}", report.message);
    assert!(report.message.contains("errors.rs:"), "{}", report.message);
    assert!(report.backtrace.unwrap().contains("burst"));
}

fn giving_up_spends_one_attempt(lab: &Lab) {
    let client = lab.builder().register(refuse).open().unwrap();
    let handle = client.enqueue(refuse::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::GaveUp)));
    assert_eq!((task.attempt, task.attempts_max), (1, 5));
}

fn a_snooze_spends_no_attempt(lab: &Lab) {
    let client = lab.builder().register(sleepy).state(Runs::default()).open().unwrap();
    let handle = client.enqueue(sleepy::with(2).attempts(1)).unwrap();
    lab.settle(&client);
    for nap in 1..=2 {
        eventually("it sleeps", || handle.refresh().unwrap().snoozes == nap);
        let task = handle.refresh().unwrap();
        assert_eq!((task.state, task.reason), (State::Scheduled, Some(Reason::Snoozed)));
        assert_eq!((task.attempt, task.due_at), (0, lab.now().after(MINUTE)));
        lab.advance(&client, MINUTE);
    }
    assert_eq!(lab.wait(&client, &handle).unwrap(), 1);
    let task = handle.refresh().unwrap();
    assert_eq!((task.attempt, task.snoozes, task.error), (1, 2, None));
    let attempts = client.attempts(handle.id()).unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|a| (a.attempt, a.outcome.as_str())).collect();
    assert_eq!(outcomes, [(1, "snoozed"), (1, "snoozed"), (1, "succeeded")]);
}

fn retry_after_is_the_due_time(lab: &Lab) {
    let client = lab.builder().register(throttled).open().unwrap();
    let handle = client.enqueue(throttled::with()).unwrap();
    lab.settle(&client);
    eventually("it waits", || handle.refresh().unwrap().state == State::Scheduled);
    let task = handle.refresh().unwrap();
    assert_eq!((task.reason, task.attempt), (Some(Reason::Retry), 1));
    assert_eq!(task.due_at, lab.now().after(MINUTE));
    lab.advance(&client, MINUTE);
    assert_eq!(lab.wait(&client, &handle).unwrap(), 2);
}

fn a_ladder_is_climbed_and_its_last_step_repeats(lab: &Lab) {
    let client = lab.builder().register(climb).retry_in_place(false).open().unwrap();
    let handle = client.enqueue(climb::with()).unwrap();
    lab.settle(&client);
    for (attempt, step) in [(1, 5), (2, 30), (3, 30)] {
        let step = Duration::from_secs(step);
        let waits = || {
            let task = handle.refresh().unwrap();
            task.state == State::Scheduled && task.attempt == attempt
        };
        eventually("it waits on a step", waits);
        assert_eq!(handle.refresh().unwrap().due_at, lab.now().after(step));
        lab.advance(&client, step.saturating_sub(MILLISECOND));
        assert!(waits(), "it ran a millisecond early");
        lab.advance(&client, MILLISECOND);
    }
    assert_eq!(lab.wait(&client, &handle).unwrap(), 4);
}

fn the_back_off_stays_below_its_bound(lab: &Lab) {
    let client = lab.builder().register(back_off).retry_in_place(false).open().unwrap();
    let handle = client.enqueue(back_off::with().attempts(5)).unwrap();
    lab.settle(&client);
    for (attempt, bound) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
        eventually("an attempt is spent", || {
            let task = handle.refresh().unwrap();
            task.attempt == attempt && task.state == State::Scheduled || task.attempt > attempt
        });
        let task = handle.refresh().unwrap();
        let attempts = client.attempts(handle.id()).unwrap();
        // A delay of less than a millisecond is over at once, and the next attempt may be under way.
        if task.attempt == attempt && task.state == State::Scheduled {
            let spent = attempts.iter().find(|spent| spent.attempt == attempt).unwrap();
            let spent_at = spent.finished_at.unwrap();
            let latest = spent_at.after(Duration::from_secs(bound));
            assert!((spent_at..=latest).contains(&task.due_at), "{}", task.due_at);
        }
        lab.advance(&client, Duration::from_secs(3));
    }
    assert_eq!(lab.ended(&client, &handle).attempt, 5);
}

fn a_body_may_say_that_it_was_cancelled(lab: &Lab) {
    let client = lab.builder().register(called_off).open().unwrap();
    let handle = client.enqueue(called_off::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
    assert_eq!(task.attempt, 1);
    assert_eq!(handle.value().unwrap_err().code(), "cancelled");
}

fn long_error_text_is_cut_with_a_mark(lab: &Lab) {
    let client = lab.builder().register(shout).open().unwrap();
    let handle = client.enqueue(shout::with()).unwrap();
    let message = lab.ended(&client, &handle).error.unwrap().message;
    assert!(message.starts_with("ää") && message.ends_with("(cut, 200000 bytes)"));
    assert!(message.len() < litework::REPORT_TEXT_BYTES_MAX + 64);
}

fn a_body_knows_its_attempt_and_the_last_one(lab: &Lab) {
    let client = lab.builder().register(attempts_seen).open().unwrap();
    let handle = client.enqueue(attempts_seen::with()).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), [(3, true)]);
}

fn at_most_once_is_not_tried_again(lab: &Lab) {
    let client = lab.builder().register(charge).open().unwrap();
    let handle = client.enqueue(charge::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Error)));
    assert_eq!(task.attempt, 1);
}

fn the_errors_of_a_value_are_distinct(lab: &Lab) {
    let builder = lab.builder().register(refuse).register(called_off);
    let client = builder.register(load).open().unwrap();
    let failed = client.enqueue(refuse::with()).unwrap();
    let cancelled = client.enqueue(called_off::with()).unwrap();
    let later = client.enqueue(load::with().run_after(MINUTE)).unwrap();
    lab.ended(&client, &failed);
    lab.ended(&client, &cancelled);
    match failed.value().unwrap_err() {
        litework::Error::Failed { id, reason, report, .. } => {
            assert_eq!((id, reason), (failed.id(), Reason::GaveUp));
            assert_eq!(report.code.as_deref(), Some("gone"));
        }
        other => panic!("{other}"),
    }
    assert_eq!(cancelled.value().unwrap_err().code(), "cancelled");
    assert_eq!(later.value().unwrap_err().code(), "not_finished");
    assert!(!later.has_ended().unwrap() && failed.has_ended().unwrap());
}

fn a_time_out_stops_the_body_by_its_token(lab: &Lab) {
    let client = lab.builder().register(endless).open().unwrap();
    let handle = client.enqueue(endless::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Timeout)));
    let report = task.error.unwrap();
    assert_eq!(report.kind, "timeout");
    assert!(report.message.contains("20 ms"), "{}", report.message);
}

fn a_success_after_a_failure_keeps_both_attempts(lab: &Lab) {
    let client = lab.builder().register(attempts_seen).open().unwrap();
    let handle = client.enqueue(attempts_seen::with().attempts(2)).unwrap();
    lab.wait(&client, &handle).unwrap();
    let attempts = client.attempts(handle.id()).unwrap();
    let seen: Vec<_> = attempts.iter().map(|a| (a.attempt, a.outcome.as_str())).collect();
    assert_eq!(seen, [(1, "retry"), (2, "succeeded")]);
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Succeeded, None));
    assert_eq!(task.error.unwrap().message, "again", "the newest error stays to be read");
}
