//! Claim: gates that one task leaves, at which another waits, while a third of the same key falls due.
//!
//! All in one commit, where the file writes who waits and who is due only once he is claimed or left.

use std::sync::Arc;
use std::time::Duration;

use super::offer::{KINDS, Places, Terms};
use super::{at, claim, get, on_both, report, store, task};
use crate::backend::Backend;
use crate::gate::Gate;
use crate::id::TaskId;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, NewTask};
use crate::retry::Retry;
use crate::state::{Reason, State};
use crate::ties::{Extra, Ties};
use crate::time::Timestamp;

const PAIR: Gate = Gate::Limit { max: 2 };

/// A task at this gate, of one key with all others.
fn gated(gate: Gate, priority: i8) -> NewTask {
    let ties = Ties { gate: Some(gate), ..Ties::default() };
    let extra = Extra { wait_key: Some("a".to_owned()), ties, ..Extra::default() };
    NewTask { priority, extra: Some(Box::new(extra)), ..task(KINDS[0]) }
}

/// The ids of what a commit claims that ends a task.
fn end_and_claim(engine: &dyn Backend, task: &Claimed, outcome: Outcome) -> Vec<TaskId> {
    let plain = Finish::plain(task.id, task.lease, task.started_at, at(7), outcome);
    let end = Finish { retry: Arc::new(Retry::ladder([])), tied: true, ..plain };
    let done = engine.exchange(at(7), &[end], Some(&*Places::new(Terms::open(1))));
    let done = done.expect("it answers");
    assert!(done.finished[0].is_ok(), "{done:?}");
    done.claimed.into_iter().map(|task| task.id).collect()
}

fn failed() -> Outcome {
    Outcome::Retry { reason: Reason::Error, report: report(), after: None }
}

fn succeeded() -> Outcome {
    Outcome::Succeeded { result: "1".to_owned() }
}

#[test]
fn who_fails_and_is_tried_again_at_once_runs_beside_nobody_who_waited_for_him() {
    for (gate, reason) in [(Gate::TURN, Reason::Lock), (PAIR, Reason::Limit)] {
        on_both(|engine| {
            // As many run as may, the best of them fails, and one waits.
            let others = usize::try_from(gate.places()).expect("it is small") - 1;
            let tasks = [vec![gated(gate, 1)], vec![gated(gate, 0); others + 1]].concat();
            let ids = store(engine, tasks);
            let held = claim(engine, 5, Terms::open(1));
            assert_eq!(held.len(), 1 + others);
            assert_eq!(end_and_claim(engine, &held[0], failed()), [ids[0]]);
            let waits = get(engine, ids[1 + others]);
            assert_eq!((waits.state, waits.reason), (State::Waiting, Some(reason)));
            assert!(claim(engine, 8, Terms::open(2)).is_empty(), "and nobody starts later either");
        });
    }
}

#[test]
fn who_falls_due_as_a_place_is_free_takes_it_before_one_that_waits_but_not_beside_him() {
    for snoozed in [true, false] {
        on_both(|engine| {
            let due_at = if snoozed { Timestamp::clamped(0) } else { at(7) };
            let due = NewTask { due_at, ..gated(Gate::TURN, 1) };
            let late = store(engine, vec![due])[0];
            if snoozed {
                let first = &claim(engine, 5, Terms::open(1))[0];
                let outcome = Outcome::Snoozed { after: Duration::from_millis(1) };
                let end = Finish::plain(late, first.lease, at(5), at(6), outcome);
                let end = Finish { tied: true, ..end };
                engine.exchange(at(6), &[end], None).expect("it answers");
            }
            let ids = store(engine, vec![gated(Gate::TURN, 0), gated(Gate::TURN, 0)]);
            let held = claim(engine, 6, Terms::open(1));
            assert_eq!(held.iter().map(|task| task.id).collect::<Vec<_>>(), ids[..1]);
            assert_eq!(get(engine, ids[1]).state, State::Waiting);
            assert_eq!(end_and_claim(engine, &held[0], succeeded()), [late]);
            assert_eq!(get(engine, ids[1]).state, State::Waiting);
        });
    }
}

/// The two places are taken by who has waited longest, in order, also past the look of the third.
#[test]
fn who_has_a_place_is_asked_again_only_where_another_has_gone_before_him() {
    on_both(|engine| {
        let due = NewTask { due_at: at(7), ..gated(PAIR, 0) };
        let ids = store(engine, vec![gated(PAIR, 2), gated(PAIR, 2), gated(PAIR, 1)]);
        let late = store(engine, vec![due, gated(PAIR, -1)]);
        let held = claim(engine, 5, Terms::open(1));
        assert_eq!(held.iter().map(|task| task.id).collect::<Vec<_>>(), ids[..2]);
        let ends: Vec<Finish> = held
            .iter()
            .map(|task| Finish {
                tied: true,
                ..Finish::plain(task.id, task.lease, at(5), at(7), succeeded())
            })
            .collect();
        let done = engine.exchange(at(7), &ends, Some(&*Places::new(Terms::open(1))));
        let claimed = done.expect("it answers").claimed;
        let claimed: Vec<TaskId> = claimed.into_iter().map(|task| task.id).collect();
        assert_eq!(claimed, [ids[2], late[0]]);
        assert_eq!(get(engine, late[1]).state, State::Waiting);
    });
}
