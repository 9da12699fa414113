//! What is kept and shown of a schedule's past and future, and what an edit makes of a slot that is under way.

use std::time::Duration;

use litework::{
    Filter, Overlap, Schedule, ScheduleEdit, ScheduleRecord, ScheduleState, Scope, SlotKind,
    Timestamp,
};

use super::{Bench, HOUR, MINUTE, SECOND, YEAR, every, get, history, tick};
use crate::common::{Lab, eventually};

crate::everywhere! {
    the_last_run_is_the_last_one_also_after_a_clock_that_was_ahead,
    history_keeps_what_came_last_also_after_a_clock_that_was_ahead,
    a_pause_counts_from_the_last_run_also_after_a_clock_that_was_ahead,
    a_slot_within_its_jitter_is_kept_by_an_edit,
    a_slot_that_an_edit_drops_counts_as_missed,
    a_schedule_that_can_never_fire_is_refused,
    a_schedule_whose_end_has_passed_is_no_mistake,
    the_generation_grows_with_each_change_of_what_is_made,
    the_next_slots_are_shown_ahead,
    history_outlives_its_tasks,
    a_run_that_was_deleted_has_ended,
}

#[cfg(feature = "cron")]
mod zoned {
    use super::none_is_passed_over_where_jitters_reach_beyond_the_next_slot;

    crate::everywhere! {
        none_is_passed_over_where_jitters_reach_beyond_the_next_slot,
    }
}

fn the_last_run_is_the_last_one_also_after_a_clock_that_was_ahead(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE).enabled(false)]);
    let began = lab.now();
    lab.clock.set(began.after(YEAR));
    let ahead = client.schedules().run_now("tick").unwrap();
    eventually("it has run", || {
        lab.settle(&client);
        get(&client).open == 0
    });
    assert_eq!(get(&client).last.unwrap().task, Some(ahead.id));
    lab.clock.set(began);
    let right = client.schedules().run_now("tick").unwrap();
    assert_eq!(get(&client).last.unwrap().task, Some(right.id));
}

fn history_keeps_what_came_last_also_after_a_clock_that_was_ahead(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE).enabled(false)]);
    let began = lab.now();
    lab.clock.set(began.after(YEAR));
    for _ in 0..10 {
        client.schedules().run_all_now(&["tick"; 10]).unwrap();
    }
    eventually("all have run", || {
        lab.settle(&client);
        get(&client).open == 0
    });
    lab.clock.set(began);
    client.schedules().run_all_now(&["tick"; 3]).unwrap();
    eventually("these have run too", || {
        lab.settle(&client);
        get(&client).open == 0
    });
    // What was noted next takes away what was noted first.
    client.schedules().run_now("tick").unwrap();
    let slots = history(&client);
    assert_eq!(slots.len(), 100);
    assert_eq!(slots.iter().filter(|it| it.at < began.after(HOUR)).count(), 4);
}

fn a_pause_counts_from_the_last_run_also_after_a_clock_that_was_ahead(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([Schedule::after_finish("tick", HOUR, tick::with("t"))]);
    let began = lab.now();
    lab.clock.set(began.after(YEAR));
    bench.advance(&client, SECOND);
    lab.clock.set(began.after(SECOND));
    eventually("it has its next slot again", || {
        lab.settle(&client);
        get(&client).next_at == Some(lab.now().after(HOUR))
    });
    bench.advance(&client, HOUR + SECOND);
    let ended = get(&client).last.unwrap().finished_at.unwrap();
    assert!(ended < began.after(YEAR) && ended > began);
    bench.advance(&client, 10 * MINUTE);
    let edited =
        client.schedules().edit("tick", |edit| edit.after_finish(2 * HOUR, 2 * HOUR)).unwrap();
    assert_eq!(edited.next_at, Some(ended.after(2 * HOUR)));
}

type Edit = fn(ScheduleEdit) -> ScheduleEdit;

/// Schedules of which nearly all have a jitter, at their first slot.
fn jittered(bench: &Bench<'_>, edit: Edit) {
    let names = ["a", "b", "c", "d", "e"];
    let make =
        |name: &str| Schedule::every(name, HOUR, tick::with(name)).jitter(HOUR / 2).grace(HOUR);
    let client = bench.open(names.map(make));
    let slot = bench.lab.now().after(HOUR);
    bench.lab.advance(&client, HOUR);
    let waits = |it: &ScheduleRecord| it.next_at == Some(slot);
    let pending: Vec<_> =
        client.schedules().list("", 10).unwrap().into_iter().filter(waits).collect();
    assert!(!pending.is_empty(), "no one waits for its jitter");
    for it in &pending {
        let edited = client.schedules().edit(&it.name, edit).unwrap();
        assert_eq!(edited.next_at, Some(slot), "{}", it.name);
    }
    bench.lab.advance(&client, HOUR / 2);
    eventually("all have run", || {
        bench.lab.settle(&client);
        let mut words = bench.log.words();
        words.sort();
        words == names.map(|name| format!("{name}@3600"))
    });
}

fn a_slot_within_its_jitter_is_kept_by_an_edit(lab: &Lab) {
    for edit in [
        (|edit| edit.priority(3)) as Edit,
        |edit| edit.jitter(20 * MINUTE),
        |edit| edit.every(HOUR / 2),
    ] {
        jittered(&Bench::new(&Lab::new(lab.place)), edit);
    }
}

fn a_slot_that_an_edit_drops_counts_as_missed(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    client.pause(&Scope::queue("default")).unwrap();
    lab.advance(&client, 10 * MINUTE);
    eventually("it is held back", || {
        lab.settle(&client);
        get(&client).state == ScheduleState::Paused
    });
    let edited = client.schedules().edit("tick", |edit| edit.every(HOUR)).unwrap();
    assert_eq!((edited.missed_slots, edited.next_at), (10, Some(lab.now().after(50 * MINUTE))));
    let slots = client.schedules().history("tick", Timestamp::MAX, 10).unwrap();
    let said: Vec<_> = slots.iter().map(|it| (it.kind, it.count, it.at)).collect();
    assert_eq!(said, [(SlotKind::Missed, 10, lab.now())]);
}

/// The field that an error names, with its code.
fn refused(error: &litework::Error) -> String {
    let text = error.to_string();
    let text = text.split_once("never_fires: ").unwrap_or_else(|| panic!("{text}")).1;
    text.split_once(" is ").unwrap().0.to_owned()
}

fn a_schedule_that_can_never_fire_is_refused(lab: &Lab) {
    let at = |span: Duration| lab.now().after(span).to_chrono();
    let (end, start) = ("end of the schedule", "start of the schedule");
    let once = || Schedule::once("tick", at(2 * HOUR), tick::with("t"));
    let mut wrong = vec![
        (once().ending(at(HOUR)), end),
        (once().starting(at(3 * HOUR)), start),
        (every(HOUR).ending(at(MINUTE)), end),
    ];
    if cfg!(feature = "cron") {
        let yearly = Schedule::cron("tick", "0 0 1 7 *", tick::with("t"));
        wrong.push((yearly.starting(at(HOUR)).ending(at(2 * HOUR)), end));
        let yearly = Schedule::cron("tick", "0 0 1 7 *", tick::with("t"));
        wrong.push((yearly.ending(at(2 * HOUR)), end));
    }
    for (number, (schedule, field)) in wrong.into_iter().enumerate() {
        let client = Bench::new(lab).open([]);
        let error = client.schedules().add(schedule).unwrap_err();
        assert_eq!(refused(&error), field, "{number}: {error}");
    }
    // In code it is told as soon as it is declared.
    let builder = lab.builder().register(tick).schedule(once().ending(at(HOUR)));
    let error = builder.open().unwrap_err();
    assert!(error.to_string().contains("schedule \"tick\""), "{error}");
    assert_eq!(refused(&error), end);
    // And an edit to it changes nothing.
    let client = Bench::new(lab).open([]);
    client.schedules().add(every(MINUTE).ending(at(HOUR))).unwrap();
    let error = client.schedules().edit("tick", |edit| edit.every(2 * HOUR)).unwrap_err();
    assert_eq!(refused(&error), end);
    assert_eq!(get(&client).timing.unwrap().to_string(), "Every 1m");
}

fn a_schedule_whose_end_has_passed_is_no_mistake(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let end = lab.now().after(150 * SECOND).to_chrono();
    let client = bench.open([every(MINUTE).ending(end)]);
    for _ in 0..3 {
        bench.advance(&client, MINUTE);
    }
    client.shutdown(SECOND).unwrap();
    let late = Schedule::every("late", MINUTE, tick::with("l")).ending(end);
    let client = bench.open([every(MINUTE).ending(end), late]);
    assert_eq!((get(&client).state, get(&client).runs), (ScheduleState::Ended, 2));
    assert_eq!(client.schedules().get("late").unwrap().state, ScheduleState::Ended);
}

fn the_generation_grows_with_each_change_of_what_is_made(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR)]);
    let mut generation = get(&client).generation;
    let edits: [(Edit, u64); 8] = [
        (|edit| edit.every(MINUTE), 1),
        (|edit| edit.argument("word", "u"), 1),
        (|edit| edit.priority(3), 1),
        (|edit| edit.overlap(Overlap::Allow), 1),
        (|edit| edit.times(9), 1),
        (|edit| edit.jitter(SECOND), 1),
        (|edit| edit.priority(3), 0),
        (|edit| edit.describe("Ticks").rename("tick"), 0),
    ];
    for (number, (edit, by)) in edits.into_iter().enumerate() {
        let edited = client.schedules().edit("tick", edit).unwrap();
        assert_eq!(edited.generation, generation + by, "{number}");
        generation = edited.generation;
    }
}

fn the_next_slots_are_shown_ahead(lab: &Lab) {
    let bench = Bench::new(lab);
    let began = lab.now();
    let client = bench.open([
        Schedule::after_finish("after", HOUR, tick::with("a"))
            .starting(began.after(HOUR).to_chrono()),
        Schedule::every("twice", MINUTE, tick::with("t")).times(2),
        Schedule::once("once", began.after(HOUR).to_chrono(), tick::with("o")),
        every(HOUR).enabled(false),
    ]);
    let ahead = |name: &str| client.schedules().preview(name, 3).unwrap();
    assert_eq!(ahead("after"), [began.after(HOUR)]);
    assert_eq!(ahead("twice"), [1, 2].map(|minutes| began.after(minutes * MINUTE)));
    assert_eq!(ahead("once"), [began.after(HOUR)]);
    assert_eq!(ahead("tick"), []);
    bench.advance(&client, MINUTE);
    assert_eq!(ahead("twice"), [began.after(2 * MINUTE)]);
    bench.advance(&client, MINUTE);
    assert_eq!(ahead("twice"), []);
    bench.advance(&client, HOUR);
    assert_eq!(ahead("after"), [lab.now().after(HOUR)]);
    assert_eq!(ahead("once"), []);
    for count in [0, 1_001] {
        let refused = client.schedules().preview("once", count).unwrap_err();
        assert_eq!(refused.code(), "out_of_range");
    }
    if cfg!(feature = "cron") {
        let nightly = Schedule::cron("night", "30 2 * * *", tick::with("n")).zone("Europe/Berlin");
        client.schedules().add(nightly).unwrap();
        let ahead = client.schedules().preview("night", 100).unwrap();
        let said: Vec<_> =
            ahead.iter().map(|at| at.to_chrono().format("%m-%d %H:%M").to_string()).collect();
        assert_eq!(said[..2], ["01-01 01:30", "01-02 01:30"]);
        // The night in which clocks go forward, and the one after it.
        assert_eq!(said[87..89], ["03-29 01:00", "03-30 00:30"]);
    }
}

fn history_outlives_its_tasks(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    bench.advance(&client, MINUTE);
    let before = history(&client);
    assert_eq!(client.bulk(&Filter::new()).delete().unwrap().done, 1);
    assert_eq!(client.count(&Filter::new()).unwrap(), 0);
    assert_eq!(history(&client), before);
    assert_eq!((get(&client).last, get(&client).runs), (before.into_iter().next(), 1));
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words(), ["t@60", "t@120"]);
}

fn a_run_that_was_deleted_has_ended(lab: &Lab) {
    let bench = Bench::new(lab);
    let start = lab.now().after(SECOND).to_chrono();
    let after = Schedule::after_finish("tick", HOUR, tick::with("t")).starting(start);
    let client = bench.open([after]);
    client.pause(&Scope::kind("tick")).unwrap();
    let task = client.schedules().run_now("tick").unwrap();
    let edited = client.schedules().edit("tick", |edit| edit.after_finish(MINUTE, MINUTE)).unwrap();
    assert_eq!((edited.next_at, edited.open), (None, 1), "it waits for the end of that");
    client.delete(task.id).unwrap();
    assert_eq!((get(&client).next_at, get(&client).open), (Some(lab.now().after(MINUTE)), 0));
    client.resume(&Scope::kind("tick")).unwrap();
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.len(), 1);
}

/// When clocks go forward, fixed times come nearer to each other than a jitter may be long.
#[cfg(feature = "cron")]
fn none_is_passed_over_where_jitters_reach_beyond_the_next_slot(lab: &Lab) {
    let bench = Bench::new(lab);
    lab.clock.set("2026-03-28T23:30:00Z".parse().unwrap());
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    let make = |name: &String| {
        let call = tick::with(name.as_str());
        Schedule::cron(name, "45 1,2,3 * * *", call).zone("Europe/Berlin").jitter(HOUR).grace(HOUR)
    };
    let client = bench.open(names.iter().map(make));
    // 01:45, 03:00, which stands for 02:45, and 03:45: then the first is due, and the others may be yet to come.
    for minutes in [135, 20, 20, 20] {
        lab.advance(&client, minutes * MINUTE);
        let now = lab.now();
        eventually("what is due is made", || {
            lab.settle(&client);
            let all = client.schedules().list("", 100).unwrap();
            // With its whole jitter behind it, it is due.
            let is_late = |it: &ScheduleRecord| it.next_at.is_some_and(|at| at.after(HOUR) <= now);
            !all.iter().any(|it| it.open > 0 || is_late(it))
        });
    }
    for it in client.schedules().list("", 100).unwrap() {
        assert_eq!(it.runs + it.missed_slots + it.overlapped_slots, 3, "{}", it.name);
    }
}
