//! Schedules: each slot makes its one task, or says why not, whatever else goes on; in each engine, and
//! whoever runs what they make.

use litework::{
    Client, Context, Exclusive, Failure, Missed, Overlap, Reason, Result, Schedule, ScheduleState,
    SlotKind, State, TaskRecord, Unique, task,
};

use super::schedules::{Bench, HOUR, MINUTE, SECOND, every, fail, get, history, hold, tasks, tick};
use crate::common::{Lab, Log, eventually};

everywhere! {
    a_run_that_is_refused_is_followed_after_its_pause,
    a_run_that_is_too_late_is_followed_after_its_pause,
    late_runs_wait_for_the_task_before_and_each_other,
    after_many_sleeps_no_slot_fires_twice,
    a_slot_that_a_wrong_clock_has_missed_fires_when_it_is_due,
    a_failed_slot_that_is_run_again_counts_once,
    a_task_of_a_schedule_has_what_its_call_says,
    a_slot_is_skipped_while_a_task_waits_for_its_next_attempt,
    a_slot_runs_beside_a_task_that_waits_for_its_next_attempt,
    one_slot_waits_for_a_task_that_waits_for_its_next_attempt,
    a_task_that_waits_for_its_next_attempt_is_cancelled_for_the_next_slot,
    a_slot_runs_when_somebody_has_cancelled_the_task_before,
}

/// Its first attempt is not the last, for an hour: an error, or a nap.
#[task]
fn linger(ctx: &Context, naps: bool) -> Result<()> {
    let log = ctx.state::<Log>()?;
    let slot = ctx.slot().expect("it was made by a schedule");
    log.note(slot.at.to_string());
    match (log.len(), naps) {
        (1, true) => Err(Failure::snooze(HOUR)),
        (1, false) => Err(Failure::retry_after(HOUR, "not yet")),
        _ => Ok(()),
    }
}

/// The task that the schedule would make is there already, and not due for hours.
fn a_run_that_is_refused_is_followed_after_its_pause(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([]);
    let unique = || tick::with("t").unique(Unique::key("one"));
    let first = client.enqueue(unique().run_after(24 * HOUR)).unwrap();
    let follows = Schedule::after_finish("tick", MINUTE, unique()).pause_after_error(2 * MINUTE);
    client.schedules().add(follows).unwrap();
    for slots in 1..4 {
        lab.settle(&client);
        eventually("the slot is noted", || get(&client).overlapped_slots == slots);
        assert_eq!(get(&client).next_at, Some(lab.now().after(2 * MINUTE)));
        lab.clock.advance(2 * MINUTE);
    }
    let slot = &history(&client)[2];
    assert_eq!((slot.kind, slot.task), (SlotKind::Overlap, Some(first.id())));
    assert_eq!(tasks(&client).len(), 1);
}

fn a_run_that_is_too_late_is_followed_after_its_pause(lab: &Lab) {
    let bench = Bench::new(lab);
    let follows = Schedule::after_finish("tick", MINUTE, tick::with("t"));
    let client = bench.open([follows.missed(Missed::Skip).grace(SECOND)]);
    bench.advance(&client, std::time::Duration::ZERO);
    for slots in 1..4 {
        lab.advance(&client, HOUR);
        eventually("the slot is noted", || get(&client).missed_slots == slots);
        assert_eq!(get(&client).next_at, Some(lab.now().after(MINUTE)));
    }
    bench.advance(&client, MINUTE);
    assert_eq!((get(&client).runs, bench.log.len()), (2, 2));
    assert_eq!(get(&client).missed_slots, 3);
}

/// A schedule of every minute, the first of whose tasks waits for its second attempt.
fn lingering(lab: &Lab, naps: bool, set: impl Fn(Schedule) -> Schedule) -> (Bench<'_>, Client) {
    let bench = Bench::new(lab);
    let builder = lab.builder().register(linger).state(bench.log.clone());
    let schedule = set(Schedule::every("tick", MINUTE, linger::with(naps)));
    let client = builder.schedule(schedule).open().unwrap();
    lab.advance(&client, MINUTE);
    eventually("its first attempt has ended", || {
        tasks(&client).first().is_some_and(|task| task.state == State::Scheduled)
    });
    (bench, client)
}

/// Waits until so many slots have been handled.
fn until_fired(lab: &Lab, client: &Client, slots: usize) {
    eventually("the slots are fired", || {
        lab.settle(client);
        history(client).iter().filter(|slot| slot.task.is_some()).count() == slots
    });
}

/// Runs what waits for the second attempt of the first task.
fn run_out(lab: &Lab, client: &Client) {
    client.schedules().disable("tick").unwrap();
    lab.advance(client, HOUR);
    eventually("all have ended", || {
        lab.settle(client);
        get(client).open == 0
    });
}

/// What a task that crashed is until it is tried again.
fn late_runs_wait_for_the_task_before_and_each_other(lab: &Lab) {
    for overlap in [Overlap::Skip, Overlap::BufferOne] {
        let lab = &Lab::new(lab.place);
        let began = lab.now();
        let (bench, client) = lingering(lab, false, |schedule| {
            schedule.missed(Missed::all(3, HOUR)).overlap(overlap)
        });
        lab.advance(&client, 5 * MINUTE);
        until_fired(lab, &client, 4);
        assert_eq!(tasks(&client).iter().filter(|task| task.state == State::Waiting).count(), 3);
        assert_eq!((get(&client).runs, get(&client).missed_slots), (4, 2));
        // While they wait, a slot on time overlaps.
        lab.advance(&client, MINUTE);
        until_fired(lab, &client, 5);
        assert_eq!((get(&client).runs, get(&client).overlapped_slots), (4, 1));
        run_out(lab, &client);
        let said = |minutes: u32| began.after(minutes * MINUTE).to_string();
        assert_eq!(bench.log.words(), [1, 1, 4, 5, 6].map(said));
    }
}

fn after_many_sleeps_no_slot_fires_twice(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(10 * SECOND)]);
    let began = lab.now();
    for _ in 0..20 {
        bench.advance(&client, 30 * SECOND);
    }
    assert_eq!(bench.log.len(), 20);
    // The clock shows all of it once more, and nobody sleeps.
    lab.clock.set(began);
    lab.settle(&client);
    for _ in 0..61 {
        bench.advance(&client, 10 * SECOND);
    }
    let mut words = bench.log.words();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), bench.log.len(), "{:?}", bench.log.words());
    assert_eq!(bench.log.words().last().map(String::as_str), Some("t@610"), "and it goes on");
}

/// The first task waits for its next attempt, after an error and after a nap, while the second slot is fired.
fn at_the_second_slot(lab: &Lab, overlap: Overlap, check: impl Fn(&Lab, &Bench<'_>, &Client)) {
    for naps in [false, true] {
        let lab = &Lab::new(lab.place);
        let (bench, client) = lingering(lab, naps, |schedule| schedule.overlap(overlap));
        lab.advance(&client, MINUTE);
        until_fired(lab, &client, 2);
        check(lab, &bench, &client);
    }
}

fn ended(lab: &Lab, client: &Client, task: usize) -> TaskRecord {
    eventually("it has ended", || {
        lab.settle(client);
        tasks(client)[task].state.is_final()
    });
    tasks(client)[task].clone()
}

fn a_slot_is_skipped_while_a_task_waits_for_its_next_attempt(lab: &Lab) {
    at_the_second_slot(lab, Overlap::Skip, |lab, bench, client| {
        let second = ended(lab, client, 0);
        assert_eq!((second.state, second.reason), (State::Skipped, Some(Reason::Overlap)));
        run_out(lab, client);
        assert_eq!((bench.log.len(), get(client).runs, get(client).overlapped_slots), (2, 1, 1));
    });
}

fn a_slot_runs_beside_a_task_that_waits_for_its_next_attempt(lab: &Lab) {
    at_the_second_slot(lab, Overlap::Allow, |lab, _, client| {
        assert_eq!(ended(lab, client, 0).state, State::Succeeded);
        assert_eq!((tasks(client)[1].state, get(client).open), (State::Scheduled, 1));
    });
}

fn one_slot_waits_for_a_task_that_waits_for_its_next_attempt(lab: &Lab) {
    at_the_second_slot(lab, Overlap::BufferOne, |lab, bench, client| {
        let second = &tasks(client)[0];
        assert_eq!((second.state, second.reason), (State::Waiting, Some(Reason::Parents)));
        lab.advance(client, MINUTE);
        until_fired(lab, client, 3);
        assert_eq!(ended(lab, client, 0).reason, Some(Reason::Overlap), "one waits already");
        run_out(lab, client);
        assert_eq!((bench.log.len(), get(client).runs, get(client).overlapped_slots), (3, 2, 1));
    });
}

fn a_task_that_waits_for_its_next_attempt_is_cancelled_for_the_next_slot(lab: &Lab) {
    at_the_second_slot(lab, Overlap::CancelRunning, |lab, bench, client| {
        assert_eq!(ended(lab, client, 0).state, State::Succeeded);
        let first = ended(lab, client, 1);
        assert_eq!((first.state, first.reason), (State::Cancelled, Some(Reason::Overlap)));
        assert_eq!((bench.log.len(), get(client).open), (2, 0));
    });
}

fn a_slot_runs_when_somebody_has_cancelled_the_task_before(lab: &Lab) {
    for overlap in [Overlap::Skip, Overlap::Allow, Overlap::BufferOne, Overlap::CancelRunning] {
        let lab = &Lab::new(lab.place);
        let (bench, client) = lingering(lab, false, |schedule| schedule.overlap(overlap));
        client.cancel(tasks(&client)[0].id).unwrap();
        assert_eq!(get(&client).open, 0);
        lab.advance(&client, MINUTE);
        until_fired(lab, &client, 2);
        assert_eq!(ended(lab, &client, 0).state, State::Succeeded);
        assert_eq!((bench.log.len(), get(&client).runs), (2, 2));
        assert_eq!(get(&client).overlapped_slots, 0);
    }
}

fn a_slot_that_a_wrong_clock_has_missed_fires_when_it_is_due(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR).missed(Missed::Skip)]);
    let began = lab.now();
    bench.advance(&client, 5 * HOUR + 30 * MINUTE);
    let missed = &history(&client)[0];
    assert_eq!(
        (missed.kind, missed.at, missed.count),
        (SlotKind::Missed, began.after(5 * HOUR), 5)
    );
    lab.clock.set(began);
    lab.settle(&client);
    eventually("the next slot is found anew", || {
        lab.settle(&client);
        get(&client).next_at == Some(began.after(HOUR))
    });
    for _ in 0..6 {
        bench.advance(&client, HOUR);
    }
    let said: Vec<_> = (1..7).map(|hours| format!("t@{}", hours * 3_600)).collect();
    assert_eq!(bench.log.words(), said);
    let slots = history(&client);
    assert!(slots.iter().all(|slot| slot.kind == SlotKind::Due && slot.task.is_some()));
    assert_eq!((slots.len(), get(&client).runs, get(&client).missed_slots), (6, 6, 5));
}

fn a_failed_slot_that_is_run_again_counts_once(lab: &Lab) {
    let bench = Bench::new(lab);
    let failing = Schedule::every("tick", MINUTE, fail::with()).stop_after_failures(3);
    let client = bench.open([failing]);
    bench.advance(&client, MINUTE);
    let first = tasks(&client)[0].id;
    for runs in 2..6 {
        client.retry(first).unwrap();
        eventually("it has failed again", || {
            lab.settle(&client);
            bench.log.len() == runs && get(&client).open == 0
        });
        assert_eq!((get(&client).failures, get(&client).state), (1, ScheduleState::Active));
    }
    bench.advance(&client, MINUTE);
    assert_eq!((get(&client).failures, get(&client).state), (2, ScheduleState::Active));
    bench.advance(&client, MINUTE);
    assert_eq!((get(&client).failures, get(&client).state), (3, ScheduleState::Failing));
}

fn a_task_of_a_schedule_has_what_its_call_says(lab: &Lab) {
    let unique = || linger::with(false).unique(Unique::key("one"));
    let call = unique().queue("reports").priority(7).expires_after(2 * HOUR).tag("b").tag("a");
    let bench = Bench::new(lab);
    let builder = lab.builder().register(linger).state(bench.log.clone());
    let client = builder.schedule(Schedule::every("tick", MINUTE, call)).open().unwrap();
    lab.advance(&client, MINUTE + SECOND);
    eventually("its first attempt has ended", || {
        tasks(&client).first().is_some_and(|task| task.state == State::Scheduled)
    });
    let made = &tasks(&client)[0];
    assert_eq!(
        (&*made.queue, made.priority, &made.tags[..]),
        ("reports", 7, &["a".into(), "b".into()][..])
    );
    assert_eq!(made.expires_at, Some(made.enqueued_at.after(2 * HOUR)));
    assert_eq!(client.enqueue(unique()).unwrap().id(), made.id, "its key is taken");
}

/// Only in a pool, as nobody else goes on while a body runs.
#[test]
fn tasks_of_two_schedules_with_one_lock_run_one_after_the_other() {
    let lab = Lab::pool();
    let bench = Bench::new(&lab);
    let locked = |name: &str| {
        Schedule::every(name, MINUTE, hold::with().exclusive(Exclusive::lock("one").wait()))
    };
    let client = bench.open([locked("a"), locked("b")]);
    lab.clock.advance(MINUTE);
    bench.gate.wait_for(1);
    eventually("the other waits", || {
        let waits = |task: &TaskRecord| task.reason == Some(Reason::Lock);
        tasks(&client).iter().filter(|task| waits(task)).count() == 1
    });
    bench.gate.open();
    eventually("both have run", || {
        let ended = tasks(&client).into_iter().filter(|task| task.state == State::Succeeded);
        ended.count() == 2
    });
}
