//! Receivers hear what happened to a task after its commit, in order and once, whoever runs it.

use std::sync::Arc;
use std::time::Duration;

use litework::{
    Builder, Cancelled, Client, Context, Error, Event, EventKind, EventRecord, Exclusive, Failure,
    Flow, Mode, Reason, Result, State, task,
};

use crate::common::{LONG, Lab, Log, Runs, eventually};

crate::everywhere! {
    a_success_is_told_step_by_step,
    a_failure_says_whether_it_is_tried_again,
    a_snooze_is_told_and_spends_no_attempt,
    a_task_that_is_cancelled_before_it_begins_has_no_start,
    a_body_that_stops_when_asked_is_told_as_cancelled,
    a_task_that_expires_is_told_as_failed_by_the_one_who_claims,
    a_task_that_expires_between_two_attempts_is_told_once,
    what_ends_with_a_task_that_expires_between_two_attempts_is_told_and_followed,
    a_task_that_is_skipped_is_told_without_a_start,
    a_call_that_finds_its_task_says_so,
    what_people_end_before_it_starts_is_told,
    a_cancel_tells_of_all_that_it_has_ended,
    a_batch_is_told_call_by_call_and_a_refused_one_is_not,
    what_arguments_and_results_do_wrong_is_told,
    receivers_are_called_in_order_and_one_that_panics_harms_nobody,
    a_receiver_hears_its_kinds_only,
    a_receiver_may_enqueue,
    receivers_that_cause_each_other_come_to_an_end,
    a_receiver_may_not_wait_and_may_not_shut_down,
    an_event_has_the_facts,
    a_receiver_of_no_kind_is_refused,
    a_trace_is_kept_and_given_on,
    the_trace_of_the_program_counts_where_a_call_names_none,
    what_is_no_trace_is_refused,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[task]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task(attempts = 2, retry = [0s])]
fn load() -> Result<()> {
    Err(std::io::Error::other("no carrier"))?;
    Ok(())
}

/// Sleeps once.
#[task]
fn nap(ctx: &Context) -> Result<()> {
    let log = ctx.state::<Log>()?;
    if log.words().iter().any(|word| word.starts_with("snoozed")) {
        return Ok(());
    }
    Err(Failure::snooze(MINUTE))
}

/// Has itself cancelled.
#[task]
fn give_way(ctx: &Context) -> Result<()> {
    let client = ctx.client().expect("it runs");
    client.cancel(ctx.id().expect("it runs"))?;
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
    ctx.check()
}

/// Fails, and takes longer than it may live.
#[task(attempts = 3, retry = [0s])]
fn fade(ctx: &Context) -> Result<()> {
    ctx.state::<Arc<litework::testing::ManualClock>>()?.advance(2 * MINUTE);
    Err("too late")?;
    Ok(())
}

/// The same, soon enough to be tried again in place.
#[task(attempts = 3, retry = [0s])]
fn wither(ctx: &Context) -> Result<()> {
    ctx.state::<Arc<litework::testing::ManualClock>>()?.advance(2 * SECOND);
    Err("too late")?;
    Ok(())
}

/// Says which end it follows.
#[task]
fn echo(ctx: &Context, event: EventRecord) -> Result<()> {
    let EventRecord { kind, state, .. } = event;
    ctx.state::<Log>()?.note(format!("echo {kind} {state}"));
    Ok(())
}

#[task]
fn too_much() -> String {
    "x".repeat(2 << 20)
}

/// Enqueues itself once more while it holds the lock.
#[task]
fn alone(ctx: &Context, inner: bool) -> Result<()> {
    if !inner {
        ctx.enqueue(alone::with(true).exclusive(Exclusive::lock("door")).key("inner"))?;
    }
    Ok(())
}

/// What a receiver would write down of an event.
fn word(event: &Event) -> String {
    let mut word = format!("{} {} {}", event.what, event.kind, event.attempt);
    if event.what == EventKind::Failed {
        word.push_str(if event.will_retry() { " again" } else { " for good" });
    }
    if event.what == EventKind::Finished {
        word = format!("{word} {}", event.state);
    }
    if event.existing {
        word.push_str(" existing");
    }
    word
}

fn builder(lab: &Lab, log: &Log) -> Builder {
    let heard = log.clone();
    lab.builder()
        .register(add)
        .register(load)
        .register(nap)
        .register(give_way)
        .register(fade)
        .register(too_much)
        .register(follow)
        .state(log.clone())
        .state(Arc::clone(&lab.clock))
        .on(EventKind::ALL, move |_, event| heard.note(word(event)))
}

fn client(lab: &Lab, log: &Log) -> Client {
    builder(lab, log).open().unwrap()
}

/// After a shutdown nobody is left to tell anything.
fn told(client: &Client, log: &Log) -> Vec<String> {
    client.shutdown(LONG).unwrap();
    log.words()
}

fn a_success_is_told_step_by_step(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(add::with(2, 3)).unwrap();
    assert_eq!(log.words()[0], "enqueued add 0", "before the call returns");
    assert_eq!(lab.wait(&client, &handle).unwrap(), 5);
    let expected =
        ["enqueued add 0", "started add 1", "succeeded add 1", "finished add 1 succeeded"];
    assert_eq!(told(&client, &log), expected);
}

fn a_failure_says_whether_it_is_tried_again(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(load::with()).unwrap();
    assert_eq!(lab.ended(&client, &handle).state, State::Failed);
    let expected = [
        "enqueued load 0",
        "started load 1",
        "failed load 1 again",
        "started load 2",
        "failed load 2 for good",
        "finished load 2 failed",
    ];
    assert_eq!(told(&client, &log), expected);
}

fn a_snooze_is_told_and_spends_no_attempt(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(nap::with()).unwrap();
    lab.settle(&client);
    crate::common::eventually("it naps", || log.len() == 3);
    lab.advance(&client, MINUTE);
    lab.wait(&client, &handle).unwrap();
    let expected = [
        "enqueued nap 0",
        "started nap 1",
        "snoozed nap 1",
        "started nap 1",
        "succeeded nap 1",
        "finished nap 1 succeeded",
    ];
    assert_eq!(told(&client, &log), expected);
}

fn a_task_that_is_cancelled_before_it_begins_has_no_start(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(add::with(2, 3).run_after(MINUTE)).unwrap();
    client.cancel(handle.id()).unwrap();
    let expected = ["enqueued add 0", "cancelled add 0", "finished add 0 cancelled"];
    assert_eq!(log.words(), expected, "before the call returns");
    client.cancel(handle.id()).unwrap();
    lab.advance(&client, MINUTE);
    assert_eq!(told(&client, &log), expected, "and once");
}

fn a_body_that_stops_when_asked_is_told_as_cancelled(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(give_way::with()).unwrap();
    assert_eq!(lab.ended(&client, &handle).state, State::Cancelled);
    let expected = [
        "enqueued give_way 0",
        "started give_way 1",
        "cancelled give_way 1",
        "finished give_way 1 cancelled",
    ];
    assert_eq!(told(&client, &log), expected);
}

fn a_task_that_expires_is_told_as_failed_by_the_one_who_claims(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let call = add::with(2, 3).run_after(MINUTE).expires_after(MINUTE);
    let handle = client.enqueue(call).unwrap();
    lab.advance(&client, 3 * MINUTE);
    let task = lab.ended(&client, &handle);
    assert_eq!(task.reason, Some(Reason::Expired));
    let expected = ["enqueued add 0", "failed add 0 for good", "finished add 0 failed"];
    assert_eq!(told(&client, &log), expected);
}

fn a_task_that_expires_between_two_attempts_is_told_once(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(fade::with().expires_after(MINUTE)).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.reason, task.attempt), (Some(Reason::Expired), 1));
    let expected = [
        "enqueued fade 0",
        "started fade 1",
        "failed fade 1 again",
        "failed fade 1 for good",
        "finished fade 1 failed",
    ];
    assert_eq!(told(&client, &log), expected);
}

/// What comes after it, and their flow; in the caller what follows these has run when the call returns.
fn what_ends_with_a_task_that_expires_between_two_attempts_is_told_and_followed(lab: &Lab) {
    let log = Log::default();
    let client = builder(lab, &log).register(wither).register(echo).open().unwrap();
    let next = add::with(2, 3).follow([EventKind::Finished], "echo");
    let echoed = "echo add failed";
    let flow = Flow::group("one", [wither::with().expires_after(SECOND)]).then(next);
    let batch = client.enqueue_flow(flow).unwrap();
    if !lab.runs(Runs::Inline) {
        lab.ended(&client, &batch);
        eventually("the follow-up has run", || log.words().iter().any(|word| *word == echoed));
    }
    let words = told(&client, &log);
    for expected in [
        "finished wither 1 failed",
        "failed add 0 for good",
        "finished add 0 failed",
        "finished litework.batch 0 failed",
        echoed,
    ] {
        let count = words.iter().filter(|word| *word == expected).count();
        assert_eq!(count, 1, "{expected}: {words:#?}");
    }
}

fn a_task_that_is_skipped_is_told_without_a_start(lab: &Lab) {
    let log = Log::default();
    let heard = log.clone();
    let client = lab
        .builder()
        .register(alone)
        .on(EventKind::ALL, move |_, event| {
            let reason = event.reason.map_or("", Reason::as_str);
            let holder = event.error.as_ref().map_or("", |error| &error.message);
            heard.note(format!("{} {} {reason} {holder}", event.id, event.what));
        })
        .open()
        .unwrap();
    let outer = client.enqueue(alone::with(false).exclusive(Exclusive::lock("door"))).unwrap();
    lab.ended(&client, &outer);
    let inner = client.find("inner").unwrap().unwrap();
    let words = told(&client, &log);
    let own = format!("{} ", inner.id);
    let words: Vec<_> = words.iter().filter_map(|word| word.strip_prefix(&own)).collect();
    if lab.runs(Runs::RunPending) {
        // It is claimed when the lock is free again.
        assert_eq!(words, ["enqueued  ", "started  ", "succeeded  ", "finished  "]);
        return;
    }
    assert_eq!(inner.state, State::Skipped);
    let holder = inner.error.unwrap().message;
    let told = ["skipped", "finished"].map(|what| format!("{what} locked {holder}"));
    assert_eq!(words, ["enqueued locked ", &told[0], &told[1]]);
}

fn a_call_that_finds_its_task_says_so(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let call = || add::with(2, 3).key("sum").run_after(MINUTE);
    client.enqueue(call()).unwrap();
    client.enqueue(call()).unwrap();
    client.enqueue(add::with(2, 4).key("sum")).unwrap_err();
    assert_eq!(told(&client, &log), ["enqueued add 0", "enqueued add 0 existing"]);
}

fn a_batch_is_told_call_by_call_and_a_refused_one_is_not(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let later = |number: i64| add::with(number, 0).run_after(MINUTE);
    let handles = client.enqueue_many((1..=3).map(later)).unwrap();
    assert_eq!(log.words(), ["enqueued add 0"; 3]);
    let one_too_far = [later(1), add::with(1, 0).run_after(Duration::MAX)];
    client.enqueue_many(one_too_far).unwrap_err();
    client.enqueue(later(4).key("four")).unwrap();
    let clash = [later(1), later(5).key("four")];
    client.enqueue_many(clash).unwrap_err();
    assert_eq!(log.len(), 4, "what is refused is told to nobody");
    lab.advance(&client, MINUTE);
    for handle in &handles {
        lab.wait(&client, handle).unwrap();
    }
    lab.settle(&client);
    let words = told(&client, &log);
    let finished = words.iter().filter(|word| word.starts_with("finished")).count();
    assert!(finished >= 3, "{words:?}");
}

fn what_arguments_and_results_do_wrong_is_told(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let bad = client.enqueue_json("add", br#"{"a": "one", "b": 2}"#).unwrap();
    let large = client.enqueue(too_much::with()).unwrap();
    assert_eq!(lab.ended(&client, &large).reason, Some(Reason::ResultTooLarge));
    let bad = client.handle::<add>(bad.id).unwrap();
    assert_eq!(lab.ended(&client, &bad).reason, Some(Reason::BadArguments));
    let words = told(&client, &log);
    for kind in ["add", "too_much"] {
        let own = words.iter().filter(|word| word.split(' ').nth(1) == Some(kind));
        let expected = [
            format!("enqueued {kind} 0"),
            format!("started {kind} 1"),
            format!("failed {kind} 1 for good"),
            format!("finished {kind} 1 failed"),
        ];
        assert!(own.eq(&expected), "{words:?}");
    }
}

fn receivers_are_called_in_order_and_one_that_panics_harms_nobody(lab: &Lab) {
    let log = Log::default();
    let note = |who| {
        let log = log.clone();
        move |_: &Client, event: &Event| log.note(format!("{} {} {who}", event.id, event.what))
    };
    let client = lab
        .builder()
        .register(add)
        .on(EventKind::ALL, note("first"))
        .on(EventKind::ALL, |_, event| panic!("no {} for me", event.what))
        .on(EventKind::ALL, note("last"))
        .open()
        .unwrap();
    let ids = [0; 2].map(|_| {
        let handle = client.enqueue(add::with(2, 3)).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 5);
        handle.id()
    });
    let words = told(&client, &log);
    for id in ids.map(|id| id.to_string()) {
        let own: Vec<_> = words.iter().filter_map(|word| word.strip_prefix(&id)).collect();
        let expected = ["enqueued", "started", "succeeded", "finished"]
            .map(|what| [format!(" {what} first"), format!(" {what} last")]);
        assert_eq!(own, expected.concat());
    }
}

fn a_receiver_hears_its_kinds_only(lab: &Lab) {
    let (log, ends) = (Log::default(), Log::default());
    let (one, two) = (log.clone(), ends.clone());
    let kinds = [EventKind::Failed, EventKind::Succeeded];
    let client = lab
        .builder()
        .register(add)
        .register(load)
        .on(EventKind::Started, move |_, event| one.note(word(event)))
        .on(kinds, move |_, event| two.note(word(event)))
        .open()
        .unwrap();
    let failing = client.enqueue(load::with()).unwrap();
    lab.ended(&client, &failing);
    let fine = client.enqueue(add::with(2, 3)).unwrap();
    lab.ended(&client, &fine);
    assert_eq!(told(&client, &log), ["started load 1", "started load 2", "started add 1"]);
    let expected = ["failed load 1 again", "failed load 2 for good", "succeeded add 1"];
    assert_eq!(ends.words(), expected);
}

/// Enqueued by a receiver.
#[task]
fn follow(number: u32) -> u32 {
    number
}

fn a_receiver_may_enqueue(lab: &Lab) {
    let log = Log::default();
    let client = builder(lab, &log)
        .on(EventKind::Succeeded, |client, event| {
            if &*event.kind == "add" {
                client.enqueue(follow::with(7).key("next")).unwrap();
            }
        })
        .open()
        .unwrap();
    let handle = client.enqueue(add::with(2, 3)).unwrap();
    lab.ended(&client, &handle);
    crate::common::eventually("it follows", || client.find("next").unwrap().is_some());
    lab.settle(&client);
    let next = client.find("next").unwrap().unwrap();
    let next = client.handle::<follow>(next.id).unwrap();
    assert_eq!(lab.wait(&client, &next).unwrap(), 7);
    let words = told(&client, &log);
    let of = |kind: &str| {
        let own = words.iter().filter(|word| word.split(' ').nth(1) == Some(kind));
        own.map(|word| word.split(' ').next().unwrap()).collect::<Vec<_>>()
    };
    let expected = ["enqueued", "started", "succeeded", "finished"];
    assert_eq!((of("add"), of("follow")), (expected.to_vec(), expected.to_vec()));
}

/// Each task makes its receivers enqueue the next, at once and when it ends.
fn receivers_that_cause_each_other_come_to_an_end(lab: &Lab) {
    let log = Log::default();
    let heard = log.clone();
    let client = lab
        .builder()
        .register(follow)
        .on(EventKind::Enqueued, move |client, event| {
            heard.note(word(event));
            client.enqueue(follow::with(0).run_after(MINUTE)).unwrap();
        })
        .open()
        .unwrap();
    client.enqueue(follow::with(0).run_after(MINUTE)).unwrap();
    assert_eq!(told(&client, &log).len(), 32, "as deep as receivers go");
    if lab.runs(Runs::Inline) {
        let log = Log::default();
        let heard = log.clone();
        let client = lab
            .builder()
            .register(follow)
            .on(EventKind::Finished, move |client, event| {
                heard.note(word(event));
                client.enqueue(follow::with(0)).unwrap();
            })
            .open()
            .unwrap();
        client.enqueue(follow::with(0)).unwrap();
        assert_eq!(told(&client, &log).len(), 32, "what is deeper is stored");
    }
}

fn a_receiver_may_not_wait_and_may_not_shut_down(lab: &Lab) {
    let log = Log::default();
    let heard = log.clone();
    let client = lab
        .builder()
        .register(follow)
        .register(add)
        .on([EventKind::Started, EventKind::Succeeded], move |client, event| {
            let later = client.enqueue(follow::with(0).run_after(MINUTE)).unwrap();
            heard.note(format!("{} {}", event.what, later.wait(LONG).unwrap_err().code()));
            heard.note(later.wait(Duration::ZERO).unwrap_err().code());
            heard.note(client.shutdown(LONG).unwrap_err().code());
        })
        .open()
        .unwrap();
    let handle = client.enqueue(add::with(2, 3)).unwrap();
    lab.wait(&client, &handle).unwrap();
    // In modes without a runner of their own, waiting makes no sense in the first place.
    let waits = if lab.runs(Runs::Pool) { ["reentrant", "timeout"] } else { ["nobody_runs"; 2] };
    let expected = ["started", "succeeded"]
        .map(|what| [format!("{what} {}", waits[0]), waits[1].to_owned(), "reentrant".to_owned()]);
    assert_eq!(told(&client, &log), expected.concat());
}

fn an_event_has_the_facts(lab: &Lab) {
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let client = lab
        .builder()
        .register(load)
        .on(EventKind::ALL, move |_, event| heard.lock().unwrap().push(event.clone()))
        .open()
        .unwrap();
    let call =
        load::with().queue("night").run_after(MINUTE).retry(litework::Retry::ladder([MINUTE]));
    let handle = client.enqueue(call).unwrap();
    let (stored_at, due_at) = (lab.now(), lab.now().after(MINUTE));
    lab.advance(&client, MINUTE);
    crate::common::eventually("it fails once", || events.lock().unwrap().len() == 3);
    lab.advance(&client, MINUTE);
    lab.ended(&client, &handle);
    client.shutdown(LONG).unwrap();
    let events = events.lock().unwrap();
    let [enqueued, started, again, _, failed, finished] = &events[..] else { panic!("{events:?}") };
    for event in events.iter() {
        assert_eq!((event.id, &*event.kind, &*event.queue), (handle.id(), "load", "night"));
    }
    assert_eq!((enqueued.at, enqueued.due_at), (stored_at, Some(due_at)));
    assert_eq!((enqueued.state, enqueued.reason), (State::Scheduled, Some(Reason::Delayed)));
    assert_eq!((started.at, started.state, started.attempt), (due_at, State::Running, 1));
    assert_eq!((again.state, again.reason), (State::Scheduled, Some(Reason::Retry)));
    assert_eq!((again.at, again.due_at), (due_at, Some(due_at.after(MINUTE))));
    assert_eq!(again.error.as_ref().unwrap().message, "no carrier");
    assert_eq!((failed.state, failed.reason), (State::Failed, Some(Reason::Error)));
    assert_eq!((failed.attempt, failed.due_at), (2, None));
    assert_eq!(failed.error, handle.refresh().unwrap().error);
    let mut after = failed.clone();
    after.what = EventKind::Finished;
    assert_eq!(*finished, after);
}

fn a_receiver_of_no_kind_is_refused(lab: &Lab) {
    let refused = lab.builder().on([], |_, _| {}).open().unwrap_err();
    assert_eq!(refused.code(), "bad_config");
    assert!(refused.to_string().contains("receiver 1"), "{refused}");
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SPAN_OF_IT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

/// Enqueues one task that names no trace and one that does, and another from a thread of its own.
#[task]
fn branch(ctx: &Context, round: &str) -> Result<Option<String>> {
    ctx.enqueue(follow::with(1).key(format!("one {round}")))?;
    ctx.enqueue(follow::with(2).key(format!("two {round}")).trace(OTHER))?;
    std::thread::scope(|scope| {
        let call = follow::with(3).key(format!("three {round}"));
        let other = scope.spawn(|| ctx.enqueue(call).map(drop));
        other.join().expect("it does not panic")
    })?;
    Ok(ctx.trace().map(str::to_owned))
}

fn trace_of(client: &Client, key: &str) -> Option<String> {
    client.find(key).unwrap().unwrap().trace
}

fn a_trace_is_kept_and_given_on(lab: &Lab) {
    let log = Log::default();
    let heard = log.clone();
    let client = builder(lab, &log)
        .register(branch)
        .on(EventKind::ALL, move |_, event| {
            if &*event.kind == "branch" {
                heard.note(format!("trace {}", event.trace.as_deref().unwrap_or_default()));
            }
        })
        .on(EventKind::Succeeded, |client, event| {
            if &*event.kind == "branch" {
                client.enqueue(follow::with(4).key("four")).unwrap();
            }
        })
        .open()
        .unwrap();
    let handle = client.enqueue(branch::with("only").trace(TRACE)).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap().as_deref(), Some(TRACE));
    assert_eq!(handle.refresh().unwrap().trace.as_deref(), Some(TRACE));
    let listed = client.list(&litework::Filter::new().kind("branch"), None, 1).unwrap();
    assert_eq!(listed.tasks[0].trace.as_deref(), Some(TRACE));
    crate::common::eventually("it follows", || client.find("four").unwrap().is_some());
    let traces = ["one only", "two only", "three only", "four"].map(|key| trace_of(&client, key));
    assert_eq!(traces.each_ref().map(Option::as_deref), [TRACE, OTHER, TRACE, TRACE].map(Some));
    let plain = client.enqueue(follow::with(5)).unwrap();
    assert_eq!(plain.refresh().unwrap().trace, None);
    let words = told(&client, &log);
    let heard: Vec<_> = words.iter().filter(|word| word.starts_with("trace")).collect();
    assert_eq!(heard, [&format!("trace {TRACE}"); 4]);
}

fn the_trace_of_the_program_counts_where_a_call_names_none(lab: &Lab) {
    let log = Log::default();
    let asked = log.clone();
    let current = Arc::new(std::sync::Mutex::new(Some(TRACE)));
    let known = Arc::clone(&current);
    let client = lab
        .builder()
        .mode(if lab.runs(Runs::Inline) { Mode::Inline } else { Mode::Hold })
        .register(follow)
        .register(branch)
        .trace_context(move || {
            asked.note("asked");
            known.lock().unwrap().map(str::to_owned)
        })
        .open()
        .unwrap();
    let now = |trace| *current.lock().unwrap() = trace;
    // As many as make a block, and then some.
    let many = client.enqueue_many((0..45).map(follow::with)).unwrap();
    assert_eq!(log.len(), 1, "once for a call");
    assert!(many.iter().all(|one| one.refresh().unwrap().trace.as_deref() == Some(TRACE)));
    let own = client.enqueue(follow::with(1).trace(OTHER)).unwrap();
    assert_eq!(own.refresh().unwrap().trace.as_deref(), Some(OTHER));
    now(None);
    let none = client.enqueue(follow::with(1)).unwrap();
    assert_eq!(none.refresh().unwrap().trace, None);
    // Inside a body of the trace, what the program knows counts if it is the same trace.
    let rounds =
        [("a", Some(SPAN_OF_IT), SPAN_OF_IT), ("b", Some(OTHER), TRACE), ("c", None, TRACE)];
    for (round, known, given) in rounds {
        now(known);
        let handle = client.enqueue(branch::with(round).trace(TRACE)).unwrap();
        client.run_pending(&litework::Pending::all().only("branch")).unwrap();
        handle.value().unwrap();
        assert_eq!(trace_of(&client, &format!("one {round}")).as_deref(), Some(given));
    }
    now(Some("nonsense"));
    match client.enqueue(follow::with(1)).unwrap_err() {
        Error::Invalid { code, place, value, .. } => {
            assert_eq!((code, value.as_str()), ("bad_trace", "\"nonsense\""));
            assert!(place.contains("program"), "{place}");
        }
        other => panic!("{other}"),
    }
    client.shutdown(LONG).unwrap();
}

fn what_is_no_trace_is_refused(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let zeros = ["0".repeat(32), "0".repeat(16)];
    let bad = [
        String::new(),
        "nonsense".to_owned(),
        TRACE.to_uppercase(),
        format!("00-{ids}"),
        format!("00-{ids}-1"),
        format!("00-{ids}-01-more"),
        format!("ff-{ids}-01"),
        format!("0-{ids}-01"),
        format!("00-{}-00f067aa0ba902b7-01", zeros[0]),
        format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", zeros[1]),
        format!("cc-{ids}-01-with\u{7}bell"),
        format!("cc-{ids}-01-{}", "x".repeat(100)),
        format!(" {TRACE}"),
    ];
    for text in bad {
        let refused = client.enqueue(add::with(1, 2).trace(text.clone())).unwrap_err();
        assert_eq!(refused.code(), "bad_trace", "{text:?}");
    }
    assert!(told(&client, &log).is_empty());
    let client = self::client(lab, &Log::default());
    // A later version may say more.
    for text in [format!("cc-{ids}-01"), format!("cc-{ids}-01-what-the-future-will-be-like")] {
        let call = add::with(1, 2).run_after(MINUTE).trace(text.clone());
        assert_eq!(client.enqueue(call).unwrap().refresh().unwrap().trace, Some(text));
    }
}

fn what_people_end_before_it_starts_is_told(lab: &Lab) {
    let log = Log::default();
    let heard = log.clone();
    let ends = [EventKind::Cancelled, EventKind::Finished];
    let builder = lab.builder().register(add).on(ends, move |_, event| {
        heard.note(format!("{} {}", event.what, event.id));
    });
    let client = builder.open().unwrap();
    let later = || client.enqueue(add::with(1, 2).run_after(MINUTE)).unwrap().id();
    let expected = |ids: &[litework::TaskId]| -> Vec<String> {
        ids.iter().flat_map(|id| [format!("cancelled {id}"), format!("finished {id}")]).collect()
    };
    let deleted = later();
    client.delete(deleted).unwrap();
    assert_eq!(log.words(), expected(&[deleted]));
    log.clear();
    let all = litework::Filter::new();
    let many = [later(), later()];
    assert_eq!(client.bulk(&all).cancel().unwrap().done, 2);
    assert_eq!(log.words(), expected(&many));
    log.clear();
    let many = [later(), later()];
    assert_eq!(client.bulk(&all).delete().unwrap().done, 4, "with those that had ended");
    assert_eq!(log.words(), expected(&many));
    log.clear();
    let old = later();
    client.edit_as_copy(old, |edit| edit.run_after(2 * MINUTE)).unwrap();
    assert_eq!(log.words(), expected(&[old]));
}

/// By the client or by a handle; of a flow, or of a task that others wait for.
fn a_cancel_tells_of_all_that_it_has_ended(lab: &Lab) {
    let log = Log::default();
    let heard = log.clone();
    let ends = [EventKind::Cancelled, EventKind::Finished, EventKind::Succeeded];
    let builder = lab.builder().register(add).on(ends, move |_, event| {
        heard.note(format!("{} {} {:?}", event.what, event.id, event.reason));
    });
    let client = builder.open().unwrap();
    let later = || add::with(1, 2).run_after(MINUTE);
    let told = |id: litework::TaskId, reason: Reason| {
        ["cancelled", "finished"].map(|what| format!("{what} {id} {:?}", Some(reason)))
    };
    let flow =
        || Flow::group("two", [later(), later()]).then(add::with(3, 4)).on_success(add::with(5, 6));
    let cancels: [fn(&Client, &litework::Handle<litework::Batch>) -> Cancelled; 2] =
        [|client, batch| client.cancel(batch.id()).unwrap(), |_, batch| batch.cancel().unwrap()];
    for cancel in cancels {
        let batch = client.enqueue_flow(flow()).unwrap();
        let (members, callbacks) = (batch.members().unwrap(), batch.callbacks().unwrap());
        assert_eq!(cancel(&client, &batch), Cancelled::Now);
        let with_it = |task: &litework::TaskRecord| told(task.id, Reason::Parent);
        let mut expected: Vec<String> = members.iter().flat_map(with_it).collect();
        expected.extend(told(batch.id(), Reason::Asked));
        expected.extend(callbacks.iter().flat_map(with_it));
        assert_eq!(log.words(), expected, "before the call returns");
        log.clear();
        assert_eq!(cancel(&client, &batch), Cancelled::AlreadyFinished);
        assert!(log.words().is_empty(), "and once");
    }
    let first = client.enqueue(later()).unwrap();
    let second = client.enqueue(add::with(3, 4).after([first.id()])).unwrap();
    first.cancel().unwrap();
    let expected = [told(first.id(), Reason::Asked), told(second.id(), Reason::Parent)].concat();
    assert_eq!(log.words(), expected);
}
