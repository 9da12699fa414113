//! Schedules: what starts later, happens once, or meets a clock that is set or a machine that was asleep; in
//! each engine, and whoever runs what they make.

use std::time::Duration;

use litework::{Client, Missed, Schedule, ScheduleState, SlotKind, Timestamp};

use super::schedules::{Bench, HOUR, MINUTE, SECOND, every, get, history, tick};
#[cfg(feature = "cron")]
use super::schedules::{YEAR, chime};
use crate::common::{Lab, eventually};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

everywhere! {
    the_start_of_an_interval_is_its_first_slot,
    what_happens_once_does_so_though_the_program_was_not_there,
    what_happens_once_does_not_again_when_the_clock_is_set,
    a_machine_that_wakes_up_does_what_is_wished_of_the_slots_it_slept_through,
}

#[cfg(feature = "cron")]
mod cron {
    everywhere! {
        a_start_of_an_expression_is_a_slot_only_where_it_matches,
        an_expression_meets_a_clock_that_is_set_without_double_and_without_silence,
    }
    use super::{
        a_start_of_an_expression_is_a_slot_only_where_it_matches,
        an_expression_meets_a_clock_that_is_set_without_double_and_without_silence,
    };
}

fn moment(from: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millis(from.as_millis() + ms).unwrap()
}

/// The clock is set, and what that makes due has run.
fn set(bench: &Bench<'_>, client: &Client, moment: Timestamp) {
    bench.lab.clock.set(moment);
    bench.advance(client, Duration::ZERO);
}

fn the_start_of_an_interval_is_its_first_slot(lab: &Lab) {
    let bench = Bench::new(lab);
    let start = lab.now().after(90 * MINUTE);
    let client = bench.open([every(HOUR).starting(start.to_chrono())]);
    assert_eq!(get(&client).next_at, Some(start));
    for _ in 0..6 {
        bench.advance(&client, 30 * MINUTE);
    }
    assert_eq!(bench.log.words(), ["t@5400", "t@9000"]);
}

#[cfg(feature = "cron")]
fn a_start_of_an_expression_is_a_slot_only_where_it_matches(lab: &Lab) {
    let bench = Bench::new(lab);
    let began = lab.now();
    let hourly = |name: &str, start: Timestamp| {
        Schedule::cron(name, "0 * * * *", chime::with(name)).starting(start.to_chrono())
    };
    let schedules = [hourly("a", began.after(90 * MINUTE)), hourly("b", began.after(3 * HOUR))];
    let builder = lab.builder().register(chime).state(bench.log.clone());
    let client = builder.schedules(schedules).open().unwrap();
    for _ in 0..6 {
        bench.advance(&client, 30 * MINUTE);
    }
    let mut words = bench.log.words();
    words.sort();
    assert_eq!(words, ["a 01T02:00", "a 01T03:00", "b 01T03:00"]);
}

fn once(at: Timestamp) -> Schedule {
    Schedule::once("tick", at.to_chrono(), tick::with("t"))
}

fn what_happens_once_does_so_though_the_program_was_not_there(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let at = lab.now().after(HOUR);
    bench.open([once(at)]).shutdown(SECOND).unwrap();
    lab.clock.advance(3 * HOUR);
    let client = bench.open([once(at)]);
    bench.advance(&client, Duration::ZERO);
    assert_eq!(bench.log.words(), ["t@3600!"]);
    client.shutdown(SECOND).unwrap();
    let client = bench.open([once(at)]);
    bench.advance(&client, DAY);
    assert_eq!((bench.log.len(), get(&client).state), (1, ScheduleState::Ended));
}

fn what_happens_once_does_not_again_when_the_clock_is_set(lab: &Lab) {
    let bench = Bench::new(lab);
    let began = lab.now();
    let client = bench.open([once(began.after(HOUR))]);
    // Before its time somebody sets the clock back by a day, and right again.
    set(&bench, &client, moment(began, -24 * HOUR_MS));
    set(&bench, &client, began);
    assert_eq!((bench.log.len(), get(&client).next_at), (0, Some(began.after(HOUR))));
    bench.advance(&client, HOUR);
    assert_eq!(bench.log.words(), ["t@3600"]);
    // And after it twice more.
    for _ in 0..2 {
        set(&bench, &client, began);
        bench.advance(&client, 2 * HOUR);
    }
    assert_eq!((bench.log.len(), get(&client).state), (1, ScheduleState::Ended));
}

#[cfg(feature = "cron")]
fn an_expression_meets_a_clock_that_is_set_without_double_and_without_silence(lab: &Lab) {
    let bench = Bench::new(lab);
    let schedule = Schedule::cron("tick", "0 * * * *", chime::with("c"));
    let builder = lab.builder().register(chime).state(bench.log.clone());
    let client = builder.schedule(schedule).open().unwrap();
    let last = || bench.log.words().last().cloned().unwrap();
    for _ in 0..3 {
        bench.advance(&client, HOUR);
    }
    // Back by an hour: that slot has fired.
    set(&bench, &client, moment(lab.now(), -HOUR_MS));
    bench.advance(&client, HOUR);
    assert_eq!(bench.log.len(), 3);
    bench.advance(&client, HOUR);
    assert_eq!((bench.log.len(), &*last()), (4, "c 01T04:00"));
    // On by an hour.
    set(&bench, &client, moment(lab.now(), HOUR_MS));
    assert_eq!((bench.log.len(), &*last()), (5, "c 01T05:00"));
    let here = lab.now();
    // On by ten years, and right again.
    set(&bench, &client, here.after(10 * YEAR));
    assert_eq!(bench.log.len(), 6);
    set(&bench, &client, here);
    found_anew(&bench, &client, here.after(HOUR));
    bench.advance(&client, HOUR);
    assert_eq!((bench.log.len(), &*last()), (7, "c 01T06:00"));
    // Back by ten years, and right again.
    let here = lab.now();
    let past = moment(here, -87_600 * HOUR_MS);
    set(&bench, &client, past);
    found_anew(&bench, &client, past.after(HOUR));
    bench.advance(&client, HOUR);
    assert_eq!(bench.log.len(), 8);
    set(&bench, &client, here);
    assert_eq!(bench.log.len(), 8, "the last of what was missed has fired");
    bench.advance(&client, HOUR);
    assert_eq!((bench.log.len(), &*last()), (9, "c 01T07:00"));
    assert_eq!(get(&client).runs, 9);
}

#[cfg(feature = "cron")]
fn found_anew(bench: &Bench<'_>, client: &Client, next: Timestamp) {
    eventually("the next slot is found anew", || {
        bench.lab.settle(client);
        get(client).next_at == Some(next)
    });
}

/// The clock that shows the date goes on in a sleep; the one that runs evenly does not.
fn a_machine_that_wakes_up_does_what_is_wished_of_the_slots_it_slept_through(lab: &Lab) {
    let cases = [
        (Missed::Skip, vec![]),
        (Missed::Last, vec![73]),
        (Missed::all(5, DAY), vec![69, 70, 71, 72, 73]),
        (Missed::all(100, 6 * HOUR), vec![68, 69, 70, 71, 72, 73]),
    ];
    for (missed, late) in cases {
        let lab = &Lab::new(lab.place);
        let bench = Bench::new(lab);
        let client = bench.open([every(HOUR).missed(missed)]);
        bench.advance(&client, HOUR);
        set(&bench, &client, lab.now().after(3 * DAY + 30 * MINUTE));
        let said = |hours: &i32, mark: &str| format!("t@{}{mark}", hours * 3_600);
        let mut words = vec![said(&1, "")];
        words.extend(late.iter().map(|hours| said(hours, "!")));
        assert_eq!(bench.log.words(), words);
        let known = get(&client);
        assert_eq!(known.missed_slots, 72 - late.len() as u64);
        assert_eq!(known.next_at, Some(lab.now().after(30 * MINUTE)));
        let missed = history(&client).into_iter().find(|slot| slot.kind == SlotKind::Missed);
        assert_eq!(missed.map(|slot| slot.count), Some(known.missed_slots));
        bench.advance(&client, 30 * MINUTE);
        words.push(said(&74, ""));
        assert_eq!(bench.log.words(), words);
    }
}
