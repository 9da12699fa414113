//! The testing kit does the same wherever tasks are kept: drains, moves of the clock, bodies that are
//! performed, writes that fail and bodies that panic because a test wants it.

use std::time::Duration;

use litework::testing::{
    Drain, NotPerformed, WriteFault, WritePoint, all_enqueued, clear_faults, drain, fail_writes,
    no_leftovers, panic_at, perform,
};
use litework::{
    Client, Context, EventKind, Failure, Filter, Mode, Rate, Reason, Result, Retry, Schedule,
    State, Switch, assert_enqueued, assert_no_leftovers, refute_enqueued, task,
};

use crate::common::{LONG, Lab, Log, Runs, eventually};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Says its word, and what it has enqueued says the rest.
#[task(queue = "words", aliases = ["speak"])]
fn say(ctx: &Context, words: &[String]) -> Result<usize> {
    let (first, rest) = words.split_first().ok_or("no words")?;
    ctx.state::<Log>()?.note(first);
    if !rest.is_empty() {
        ctx.enqueue(say::with(rest.to_vec()))?;
    }
    Ok(words.len())
}

#[task(attempts = 3)]
fn fail(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note(format!("fail {}", ctx.attempt()));
    Err(Failure::retry_after(HOUR, "not yet"))
}

#[task]
fn nap(ctx: &Context, hours: u32) -> Result<()> {
    ctx.sleep("nap", HOUR * hours)?;
    ctx.state::<Log>()?.note("awake");
    Ok(())
}

/// Charges, and says so once it is past the point.
#[task]
fn pay(ctx: &Context) -> Result<u32> {
    let log = ctx.state::<Log>()?;
    ctx.step("charge", || {
        log.note("charged");
        Ok(())
    })?;
    log.note("tried");
    ctx.fault_point("charged");
    Ok(ctx.attempt())
}

fn words(words: &[&str]) -> litework::Call<impl litework::Signature<Output = usize> + use<>> {
    say::with(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

fn builder(lab: &Lab, log: &Log) -> litework::Builder {
    let builder = lab.builder().register(say).register(fail).register(nap).register(pay);
    builder.state(log.clone())
}

/// A client that runs nothing by itself.
fn held(lab: &Lab, log: &Log) -> Client {
    builder(lab, log).mode(Mode::Hold).open().unwrap()
}

fn a_drain_runs_what_is_due_and_what_it_enqueues(lab: &Lab) {
    let log = Log::default();
    let client = held(lab, &log);
    client.enqueue(words(&["a", "b"])).unwrap();
    client.enqueue(words(&["first"]).priority(1)).unwrap();
    client.enqueue(words(&["late"]).run_after(HOUR)).unwrap();
    client.enqueue(fail::with()).unwrap();
    let drained = drain(&client, &Drain::new()).unwrap();
    assert_eq!((drained.succeeded, drained.failed, drained.postponed, drained.left), (3, 0, 1, 2));
    assert_eq!(log.words(), ["first", "a", "fail 1", "b"]);
    assert_eq!(drain(&client, &Drain::new()).unwrap().succeeded, 0);
    assert_eq!(lab.now(), litework::testing::ManualClock::new().now(), "the clock stands");
}

fn a_drain_without_what_is_chained_runs_only_what_was_there(lab: &Lab) {
    let log = Log::default();
    let client = held(lab, &log);
    client.enqueue(words(&["a", "b", "c"])).unwrap();
    client.enqueue(words(&["first"]).priority(1)).unwrap();
    let once = Drain::new().chained(false);
    let drained = drain(&client, &once).unwrap();
    assert_eq!((drained.succeeded, drained.left), (2, 1));
    assert_eq!(log.words(), ["first", "a"]);
    assert_enqueued!(client, say { words: ["b", "c"] }, queue = "words", count = 1);
    client.enqueue(nap::with(2)).unwrap();
    let drained = drain(&client, &once.delayed(&lab.clock)).unwrap();
    assert_eq!((drained.succeeded, drained.postponed, drained.left), (2, 1, 1));
    assert_eq!(log.words(), ["first", "a", "b", "awake"]);
}

fn a_drain_of_what_is_delayed_moves_the_clock_from_one_due_time_to_the_next(lab: &Lab) {
    let log = Log::default();
    let client = held(lab, &log);
    let began = lab.now();
    client.enqueue(fail::with()).unwrap();
    client.enqueue(nap::with(3)).unwrap();
    client.enqueue(words(&["late"]).run_after(HOUR / 2)).unwrap();
    let drained = drain(&client, &Drain::new().delayed(&lab.clock)).unwrap();
    assert_eq!((drained.succeeded, drained.failed, drained.postponed, drained.left), (2, 1, 3, 0));
    assert_eq!(log.words(), ["fail 1", "late", "fail 2", "fail 3", "awake"]);
    assert_eq!(began.until(lab.now()), HOUR * 3, "no further than it had to");
}

fn a_drain_of_some_kinds_leaves_the_others_and_their_due_times(lab: &Lab) {
    let log = Log::default();
    let client = held(lab, &log);
    let began = lab.now();
    client.enqueue(nap::with(9)).unwrap();
    client.enqueue(words(&["late"]).run_after(HOUR)).unwrap();
    let delayed = || Drain::new().delayed(&lab.clock);
    let drained = drain(&client, &delayed().only("speak")).unwrap();
    assert_eq!((drained.succeeded, drained.left), (1, 1));
    assert_eq!(began.until(lab.now()), HOUR);
    assert_eq!(drain(&client, &delayed().except("nap")).unwrap().left, 1);
    assert_eq!(began.until(lab.now()), HOUR);
    let drained = drain(&client, &delayed().except("say").chained(false)).unwrap();
    assert_eq!((drained.succeeded, drained.postponed, drained.left), (1, 1, 0));
}

fn a_drain_goes_on_after_what_ends_without_running(lab: &Lab) {
    for chained in [true, false] {
        let log = Log::default();
        let client = held(lab, &log);
        let first = words(&["never"]).run_after(HOUR).expires_after(HOUR);
        let first = client.enqueue(first.priority(-1)).unwrap();
        client.enqueue(words(&["then"]).after_finished([first.id()]).priority(1)).unwrap();
        lab.clock.advance(3 * HOUR);
        let drained = drain(&client, &Drain::new().chained(chained)).unwrap();
        assert_eq!((drained.succeeded, drained.failed, drained.left), (1, 0, 0));
        assert_eq!(log.words(), ["then"]);
        assert_eq!(first.refresh().unwrap().reason, Some(Reason::Expired));
    }
}

fn a_drain_goes_on_after_what_is_cancelled_before_it_begins(lab: &Lab) {
    for chained in [true, false] {
        let log = Log::default();
        let cancels = |client: &Client, event: &litework::Event| {
            if event.state == State::Failed && !event.will_retry() {
                let next = client.list(&Filter::new().tag("next"), None, 1).unwrap();
                client.cancel(next.tasks[0].id).unwrap();
            }
        };
        let builder = builder(lab, &log).on(EventKind::Failed, cancels);
        let client = builder.mode(Mode::Hold).open().unwrap();
        client.enqueue(words(&["first"]).priority(3)).unwrap();
        let expired = words(&["never"]).priority(2).expires_after(HOUR);
        client.enqueue(expired).unwrap();
        client.enqueue(words(&["next"]).priority(1).tag("next")).unwrap();
        client.enqueue(words(&["last"])).unwrap();
        lab.clock.advance(HOUR);
        let drained = drain(&client, &Drain::new().chained(chained)).unwrap();
        assert_eq!((drained.succeeded, drained.left), (2, 0));
        assert_eq!(log.words(), ["first", "last"]);
    }
}

fn a_drain_that_moves_the_clock_waits_for_the_rate_of_a_queue(lab: &Lab) {
    let log = Log::default();
    let rate = Rate::per(60, Duration::from_secs(60)).burst(1);
    let client = builder(lab, &log).rate("words", rate).mode(Mode::Hold).open().unwrap();
    let began = lab.now();
    client.enqueue_many((0..3).map(|_| words(&["a"]))).unwrap();
    assert_eq!(drain(&client, &Drain::new()).unwrap().left, 2);
    assert_eq!(lab.clock.advance_to_next(&client).unwrap(), Some(lab.now()));
    assert_eq!(began.until(lab.now()), Duration::from_secs(1));
    let drained = drain(&client, &Drain::new().delayed(&lab.clock)).unwrap();
    assert_eq!((drained.succeeded, drained.left), (2, 0));
    assert_eq!(began.until(lab.now()), Duration::from_secs(2));
}

fn a_drain_stops_at_what_no_clock_sets_free(lab: &Lab) {
    let log = Log::default();
    let client = held(lab, &log);
    client.pause(&litework::Scope::queue("words")).unwrap();
    client.enqueue(words(&["a"])).unwrap();
    client.enqueue(words(&["b"]).run_after(HOUR)).unwrap();
    let drained = drain(&client, &Drain::new().delayed(&lab.clock)).unwrap();
    assert_eq!((drained.succeeded, drained.left), (0, 2));
}

/// A client with schedules whose slots have no end.
fn scheduled(lab: &Lab, log: &Log) -> litework::Builder {
    let often = Schedule::every("often", HOUR, words_of("often")).jitter(HOUR / 2);
    let rare = Schedule::every("rare", 10 * HOUR, words_of("rare"));
    let follows = Schedule::after_finish("follows", HOUR, nap::with(0));
    builder(lab, log).schedule(often).schedule(rare).schedule(follows)
}

fn words_of(word: &str) -> litework::Call<impl litework::Signature<Output = usize> + use<>> {
    words(&[word])
}

fn a_drain_that_moves_the_clock_fires_the_next_slot_of_each_schedule(lab: &Lab) {
    let log = Log::default();
    let client = scheduled(lab, &log).mode(Mode::Hold).open().unwrap();
    let began = lab.now();
    let drained = drain(&client, &Drain::new()).unwrap();
    assert_eq!((drained.succeeded, log.words()), (1, vec!["awake".to_owned()]));
    // Those of one schedule have no end, so each is moved to once, and what is passed over is missed.
    let delayed = || Drain::new().delayed(&lab.clock);
    drain(&client, &delayed().only("say")).unwrap();
    assert_eq!(began.until(lab.now()), 10 * HOUR);
    let said: Vec<String> = log.words().into_iter().skip(1).collect();
    assert_eq!(said.first().map(String::as_str), Some("often"));
    assert_eq!(said.iter().filter(|word| *word == "rare").count(), 1);
    assert_eq!(drain(&client, &Drain::new().only("nap")).unwrap().succeeded, 1);
    // Those that were there only, which are none.
    let now = lab.now();
    drain(&client, &delayed().chained(false)).unwrap();
    assert_eq!(lab.now(), now);
    // One that is off has none.
    client.schedules().switch(&["often", "rare", "follows"], Switch::Off).unwrap();
    drain(&client, &delayed()).unwrap();
    assert_eq!(lab.now(), now);
}

fn the_clock_goes_to_the_next_slot_too(lab: &Lab) {
    let log = Log::default();
    let every = Schedule::every("hourly", HOUR, words_of("slot"));
    let client = builder(lab, &log).schedule(every).open().unwrap();
    let began = lab.now();
    for slot in 1..4 {
        let next = began.after(slot * HOUR);
        assert_eq!(lab.clock.advance_to_next(&client).unwrap(), Some(next));
        assert_eq!(lab.now(), next);
        eventually("the slot has run", || {
            lab.settle(&client);
            let known = client.schedules().get("hourly").unwrap();
            known.runs == u64::from(slot) && known.open == 0
        });
    }
    let task = client.enqueue(words(&["late"]).run_after(HOUR / 2)).unwrap();
    assert_eq!(lab.clock.advance_to_next(&client).unwrap(), Some(task.due_at()));
}

fn the_clock_goes_to_the_next_due_time_and_stays_where_there_is_none(lab: &Lab) {
    let log = Log::default();
    let client = builder(lab, &log).open().unwrap();
    assert_eq!(lab.clock.advance_to_next(&client).unwrap(), None);
    let handle = client.enqueue(words(&["late"]).run_after(HOUR)).unwrap();
    assert_eq!(lab.clock.advance_to_next(&client).unwrap(), Some(handle.due_at()));
    assert_eq!(lab.now(), handle.due_at());
    assert_eq!(lab.wait(&client, &handle).unwrap(), 1);
    assert_eq!(lab.clock.advance_to_next(&client).unwrap(), None);
    assert_no_leftovers!(client);
}

fn a_body_that_is_performed_has_its_surroundings_and_leaves_no_trace(lab: &Lab) {
    let log = Log::default();
    let layers = log.clone();
    let events = log.clone();
    let client = builder(lab, &log)
        .layer(move |ctx, next| {
            layers.note(format!("layer of {} {:?}", ctx.kind(), ctx.id()));
            next.run(ctx)
        })
        .on(EventKind::Started, move |_, event| events.note(format!("{} started", event.kind)))
        .mode(Mode::Hold)
        .open()
        .unwrap();
    assert_eq!(perform(&client, words(&["a", "b"])).unwrap(), 2);
    assert_eq!(log.words(), ["layer of say None", "a"]);
    let follow_up = all_enqueued(&client).unwrap();
    assert_eq!((follow_up.len(), &*follow_up[0].arguments), (1, r#"{"words":["b"]}"#));
    log.clear();
    assert_eq!(perform(&client, pay::with()).unwrap(), 1);
    assert_eq!(log.words(), ["layer of pay None", "charged", "tried"]);
    let after = match perform(&client, nap::with(2)).unwrap_err() {
        NotPerformed::Snoozed { after, .. } => after,
        other => panic!("{other}"),
    };
    assert_eq!(after, HOUR * 2);
    panic_at(&client, "charged", 1);
    match perform(&client, pay::with()).unwrap_err() {
        NotPerformed::Retry { report, after: None, .. } => assert_eq!(report.kind, "panic"),
        other => panic!("{other}"),
    }
    assert_eq!(client.count(&Filter::new()).unwrap(), 1, "only the follow-up was stored");
}

fn a_task_that_could_not_be_stored_is_not_there_and_one_of_unknown_outcome_may_be(lab: &Lab) {
    let log = Log::default();
    let client = builder(lab, &log).open().unwrap();
    let all_done = no_leftovers(&client);
    for (fault, code, stored) in [
        (WriteFault::NotStored, "not_stored", 0),
        (WriteFault::UnknownLost, "unknown_outcome", 0),
        (WriteFault::UnknownStored, "unknown_outcome", 1),
    ] {
        fail_writes(&client, WritePoint::Enqueue, fault, 2);
        for size in 1..3 {
            let before = client.count(&Filter::new()).unwrap();
            let error = client.enqueue_many((0..size).map(|_| words(&["a"]))).unwrap_err();
            assert_eq!(error.code(), code);
            let after = client.count(&Filter::new()).unwrap();
            assert_eq!(after - before, stored * size, "{fault:?}");
        }
        lab.wait(&client, &client.enqueue(words(&["b"])).unwrap()).unwrap();
    }
    let key = || words(&["c"]).key("c");
    fail_writes(&client, WritePoint::Enqueue, WriteFault::UnknownStored, 1);
    assert_eq!(client.enqueue(key()).unwrap_err().code(), "unknown_outcome");
    let again = client.enqueue(key()).unwrap();
    assert!(again.is_existing(), "the key makes it safe to send it again");
    lab.wait(&client, &again).unwrap();
    let waiting = all_enqueued(&client).unwrap();
    for task in waiting {
        lab.wait(&client, &client.handle::<say>(task.id).unwrap()).unwrap();
    }
    drop(all_done);
}

fn an_end_that_could_not_be_stored_is_stored_later_and_the_body_runs_once(lab: &Lab) {
    for fault in [WriteFault::NotStored, WriteFault::UnknownLost, WriteFault::UnknownStored] {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        fail_writes(&client, WritePoint::Finish, fault, 1);
        let handle = client.enqueue(words(&["a"])).unwrap();
        if lab.runs(Runs::RunPending) {
            let code = drain(&client, &Drain::new()).unwrap_err().code();
            let told =
                if fault == WriteFault::NotStored { "not_stored" } else { "unknown_outcome" };
            assert_eq!(code, told);
        }
        assert_eq!(lab.wait(&client, &handle).unwrap(), 1, "{fault:?}");
        assert_eq!(log.words(), ["a"], "{fault:?}");
        client.shutdown(LONG).unwrap();
    }
}

fn a_body_that_panics_at_its_point_is_tried_again_and_its_steps_are_not(lab: &Lab) {
    let log = Log::default();
    let client = builder(lab, &log).open().unwrap();
    panic_at(&client, "elsewhere", 1);
    panic_at(&client, "charged", 2);
    let at_once = || pay::with().retry(Retry::ladder([]));
    let first = client.enqueue(at_once()).unwrap();
    assert_eq!(lab.wait(&client, &first).unwrap(), 1);
    let second = client.enqueue(at_once()).unwrap();
    assert_eq!(lab.wait(&client, &second).unwrap(), 2);
    assert_eq!(log.words(), ["charged", "tried", "charged", "tried", "tried"]);
    let attempts = client.attempts(second.id()).unwrap();
    let message = &attempts[0].error.as_ref().unwrap().message;
    let told = ": fault point \"charged\": the test wanted the body to panic here";
    let here = message.strip_suffix(told).unwrap_or_else(|| panic!("{message}"));
    assert!(here.starts_with("panicked at tests/contract/testing.rs:"), "{here}");
    panic_at(&client, "charged", 1);
    clear_faults(&client);
    let third = client.enqueue(at_once()).unwrap();
    assert_eq!(lab.wait(&client, &third).unwrap(), 1);
    refute_enqueued!(client, pay);
    assert_enqueued!(client, pay, state = State::Succeeded, count = 3);
}

crate::everywhere! {
    a_drain_that_moves_the_clock_fires_the_next_slot_of_each_schedule,
    the_clock_goes_to_the_next_slot_too,
    a_drain_runs_what_is_due_and_what_it_enqueues,
    a_drain_without_what_is_chained_runs_only_what_was_there,
    a_drain_of_what_is_delayed_moves_the_clock_from_one_due_time_to_the_next,
    a_drain_of_some_kinds_leaves_the_others_and_their_due_times,
    a_drain_goes_on_after_what_ends_without_running,
    a_drain_goes_on_after_what_is_cancelled_before_it_begins,
    a_drain_that_moves_the_clock_waits_for_the_rate_of_a_queue,
    a_drain_stops_at_what_no_clock_sets_free,
    the_clock_goes_to_the_next_due_time_and_stays_where_there_is_none,
    a_body_that_is_performed_has_its_surroundings_and_leaves_no_trace,
    a_task_that_could_not_be_stored_is_not_there_and_one_of_unknown_outcome_may_be,
    an_end_that_could_not_be_stored_is_stored_later_and_the_body_runs_once,
    a_body_that_panics_at_its_point_is_tried_again_and_its_steps_are_not,
}
