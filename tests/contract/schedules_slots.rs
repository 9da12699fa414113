//! Schedules: each slot makes its one task, or says why not, whatever else goes on; in each engine, and
//! whoever runs what they make.

use litework::{Missed, Schedule, SlotKind, Unique};

use super::schedules::{Bench, HOUR, MINUTE, SECOND, get, history, tasks, tick};
use crate::common::{Lab, eventually};

everywhere! {
    a_run_that_is_refused_is_followed_after_its_pause,
    a_run_that_is_too_late_is_followed_after_its_pause,
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
