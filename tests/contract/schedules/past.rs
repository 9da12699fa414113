//! What is kept and shown of a schedule's past and future, and what an edit makes of a slot that is under way.

use litework::{Schedule, ScheduleRecord, SlotKind, Timestamp};

use super::{Bench, HOUR, MINUTE, SECOND, YEAR, every, get, history, tick};
use crate::common::{Lab, eventually};

crate::everywhere! {
    the_last_run_is_the_last_one_also_after_a_clock_that_was_ahead,
    history_keeps_what_came_last_also_after_a_clock_that_was_ahead,
    a_pause_counts_from_the_last_run_also_after_a_clock_that_was_ahead,
    a_slot_within_its_jitter_is_kept_by_an_edit,
    a_slot_that_an_edit_drops_counts_as_missed,
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
    let client = bench.open([every(MINUTE)]);
    client.schedules().disable("tick").unwrap();
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
    client.schedules().enable("tick").unwrap();
    for _ in 0..3 {
        bench.advance(&client, MINUTE);
    }
    let slots = history(&client);
    assert_eq!(slots.len(), 100);
    let due: Vec<_> = slots.iter().filter(|it| it.kind == SlotKind::Due).map(|it| it.at).collect();
    assert_eq!(due, [3, 2, 1].map(|minutes| began.after(minutes * MINUTE)));
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

/// Schedules of which nearly all have a jitter, at their first slot.
fn jittered(bench: &Bench<'_>, edit: fn(litework::ScheduleEdit) -> litework::ScheduleEdit) {
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
        (|edit| edit.priority(3)) as fn(litework::ScheduleEdit) -> litework::ScheduleEdit,
        |edit| edit.jitter(20 * MINUTE),
        |edit| edit.every(HOUR / 2),
    ] {
        jittered(&Bench::new(&Lab::new(lab.place)), edit);
    }
}

fn a_slot_that_an_edit_drops_counts_as_missed(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    client.pause(&litework::Scope::queue("default")).unwrap();
    lab.advance(&client, 10 * MINUTE);
    eventually("it is held back", || {
        lab.settle(&client);
        get(&client).state == litework::ScheduleState::Paused
    });
    let edited = client.schedules().edit("tick", |edit| edit.every(HOUR)).unwrap();
    assert_eq!((edited.missed_slots, edited.next_at), (10, Some(lab.now().after(50 * MINUTE))));
    let slots = client.schedules().history("tick", Timestamp::MAX, 10).unwrap();
    let said: Vec<_> = slots.iter().map(|it| (it.kind, it.count, it.at)).collect();
    assert_eq!(said, [(SlotKind::Missed, 10, lab.now())]);
}
