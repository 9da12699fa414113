//! Tasks run in the order (priority, due, sequence), never early, and not after they expired.

use std::time::Duration;

use chrono::{FixedOffset, TimeDelta};
use litework::{Context, Reason, Result, State, task};

use crate::common::{Lab, Log};

crate::everywhere! {
    the_order_is_priority_then_due_then_sequence,
    a_delayed_task_runs_when_its_time_has_come,
    a_moment_has_a_zone_and_a_past_one_is_now,
    a_task_that_was_not_started_in_time_expires,
    a_task_started_in_time_does_not_expire,
    what_is_due_later_does_not_hold_up_the_rest,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);

#[task]
fn note(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

/// G8.
fn the_order_is_priority_then_due_then_sequence(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().workers(1).register(note).state(log.clone()).open().unwrap();
    let second = Duration::from_secs(1);
    let calls = [
        ("low", -100, 1),
        ("first", 0, 2),
        ("second", 0, 2),
        ("older", 0, 1),
        ("high", 100, 3),
        ("third", 0, 2),
        ("raised", 1, 3),
        ("lowered", -1, 1),
    ];
    let handles = client
        .enqueue_many(calls.map(|(word, priority, after)| {
            note::with(word).priority(priority).run_after(second * after)
        }))
        .unwrap();
    lab.advance(&client, HOUR);
    for handle in &handles {
        lab.wait(&client, handle).unwrap();
    }
    let expected = ["high", "raised", "older", "first", "second", "third", "lowered", "low"];
    assert_eq!(log.words(), expected);
}

/// G9: not a millisecond early.
fn a_delayed_task_runs_when_its_time_has_come(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(note).state(log.clone()).open().unwrap();
    let later = client.enqueue(note::with("later").run_after(HOUR)).unwrap();
    let task = later.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Scheduled, Some(Reason::Delayed)));
    assert_eq!((task.due_at, later.due_at()), (lab.now().after(HOUR), lab.now().after(HOUR)));
    lab.advance(&client, HOUR.saturating_sub(MILLISECOND));
    let now = client.enqueue(note::with("now")).unwrap();
    lab.wait(&client, &now).unwrap();
    assert_eq!(later.refresh().unwrap().state, State::Scheduled);
    lab.advance(&client, MILLISECOND);
    lab.wait(&client, &later).unwrap();
    assert_eq!(log.words(), ["now", "later"]);
    assert_eq!(later.refresh().unwrap().started_at, Some(lab.now()));
}

fn a_moment_has_a_zone_and_a_past_one_is_now(lab: &Lab) {
    let client = lab.builder().register(note).state(Log::default()).open().unwrap();
    let here = FixedOffset::east_opt(2 * 60 * 60).unwrap();
    let moment = lab.now().to_chrono().with_timezone(&here);
    let soon = client.enqueue(note::with("a").run_at(moment + TimeDelta::hours(1))).unwrap();
    assert_eq!(soon.refresh().unwrap().due_at, lab.now().after(HOUR));
    let past = client.enqueue(note::with("b").run_at(moment - TimeDelta::hours(1))).unwrap();
    lab.wait(&client, &past).unwrap();
    let ancient = moment - TimeDelta::days(365 * 200);
    let refused = client.enqueue(note::with("c").run_at(ancient)).unwrap_err();
    assert_eq!(refused.code(), "time_out_of_range");
}

fn a_task_that_was_not_started_in_time_expires(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(note).state(log.clone()).open().unwrap();
    let call = note::with("stale").run_after(HOUR).expires_after(HOUR);
    let handle = client.enqueue(call).unwrap();
    assert_eq!(handle.refresh().unwrap().expires_at, Some(lab.now().after(2 * HOUR)));
    lab.advance(&client, 2 * HOUR);
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Expired)));
    assert_eq!((task.attempt, task.finished_at), (0, Some(lab.now())));
    match handle.value().unwrap_err() {
        litework::Error::Failed { reason, .. } => assert_eq!(reason, Reason::Expired),
        other => panic!("{other}"),
    }
    assert_eq!(log.len(), 0);
}

fn a_task_started_in_time_does_not_expire(lab: &Lab) {
    let client = lab.builder().register(note).state(Log::default()).open().unwrap();
    let call = note::with("fresh").run_after(HOUR).expires_after(HOUR);
    let handle = client.enqueue(call).unwrap();
    lab.advance(&client, (2 * HOUR).saturating_sub(MILLISECOND));
    lab.wait(&client, &handle).unwrap();
}

/// G8: what is not due has no place in the order.
fn what_is_due_later_does_not_hold_up_the_rest(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().workers(1).register(note).state(log.clone()).open().unwrap();
    let later = note::with("later").priority(100).run_after(HOUR);
    client.enqueue_many(vec![later; 50]).unwrap();
    let handle = client.enqueue(note::with("now").priority(-100)).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(log.words(), ["now"]);
}
