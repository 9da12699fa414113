//! Claim: limits of kinds, where tasks come together and where one ends.

use std::sync::Arc;

use super::compare::Pair;
use super::offer::{KINDS, Places, Terms};
use super::{at, claim, end, locked, on_both, report, store, task};
use crate::backend::{Backend, Offer};
use crate::gate::Limits;
use crate::outcome::Outcome;
use crate::record::{Finish, NewTask, Stored};
use crate::rule::Scope;
use crate::state::Reason;
use crate::watch::Notice;

/// One task of the first kind at a time.
fn one_at_a_time(engine: &dyn Backend) {
    let limits = [(Scope::kind(KINDS[0]), Limits::none().max_running(1))];
    engine.declare(&limits).expect("it is declared");
}

#[test]
fn tasks_that_come_together_start_no_more_than_may_run() {
    on_both(|engine| {
        one_at_a_time(engine);
        // Its lane is known, and nothing stands before the others.
        let known = store(engine, vec![task(KINDS[0])])[0];
        engine.cancel(at(5), known).expect("it answers");
        let offer = Places::new(Terms::open(1));
        let all = vec![task(KINDS[0]); 8];
        let stored = engine.enqueue(at(5), all, Some(Arc::clone(&offer) as Arc<dyn Offer>));
        let started = |task: &Stored| task.claimed.is_some();
        let started: Vec<bool> = stored.expect("stored").iter().map(started).collect();
        assert_eq!(started, [true, false, false, false, false, false, false, false]);
        assert_eq!(offer.taken().held, 1, "and no place is kept for the others");
        assert!(claim(engine, 6, Terms::open(1)).is_empty(), "they wait for the first");
    });
}

/// The bells that an end rings, where one task runs and another is ready.
fn rung_by(outcome: &Outcome, limited: bool) -> [Vec<Notice>; 2] {
    let pair = Pair::open();
    let held = pair.ask(|engine, _| {
        if limited {
            one_at_a_time(engine);
        }
        store(engine, vec![task(KINDS[0]), task(KINDS[0])]);
        let claimed = claim(engine, 5, Terms { places: 1, ..Terms::open(1) });
        let others = claim(engine, 5, Terms::open(2));
        assert_eq!(others.len(), usize::from(!limited));
        claimed.into_iter().next().expect("the first starts")
    });
    pair.rung();
    pair.ask(|engine, which| end(engine, &held[which], outcome.clone()));
    pair.rung()
}

#[test]
fn an_end_that_frees_a_place_tells_those_who_look_for_work() {
    for outcome in [
        Outcome::Succeeded { result: "1".to_owned() },
        Outcome::Failed { reason: Reason::GaveUp, report: report() },
    ] {
        assert_eq!(rung_by(&outcome, true), [vec![Notice::Work], vec![Notice::Work]]);
        assert_eq!(rung_by(&outcome, false), [vec![], vec![]], "where there is no limit: nobody");
    }
}

#[test]
fn what_nobody_may_start_twice_and_its_owner_has_left_frees_its_place() {
    let pair = Pair::open();
    pair.ask(|engine, _| {
        one_at_a_time(engine);
        let once = NewTask { at_most_once: true, ..task(KINDS[0]) };
        store(engine, vec![once, task(KINDS[0])]);
        assert_eq!(claim(engine, 5, Terms::open(1)).len(), 1);
        assert!(claim(engine, 5, Terms::open(2)).is_empty());
    });
    pair.rung();
    pair.ask(|engine, _| engine.leave(at(6), 1).expect("it answers"));
    assert_eq!(pair.rung(), [vec![Notice::Work], vec![Notice::Work]]);
    pair.ask(|engine, _| assert_eq!(claim(engine, 7, Terms::open(2)).len(), 1));
}

/// The bells that a commit rings which ends one task and claims for a pool with so many places.
fn rung_by_exchange(limited: bool, places: usize) -> [Vec<Notice>; 2] {
    let pair = Pair::open();
    let held = pair.ask(|engine, _| {
        if limited {
            one_at_a_time(engine);
        }
        let new = || if limited { task(KINDS[0]) } else { locked(KINDS[0]) };
        store(engine, vec![new(), new(), new()]);
        claim(engine, 5, Terms { places: 1, ..Terms::open(1) }).remove(0)
    });
    pair.rung();
    pair.ask(|engine, which| {
        let task = &held[which];
        let success = Outcome::Succeeded { result: "1".to_owned() };
        let plain = Finish::plain(task.id, task.lease, task.started_at, at(7), success);
        let end = Finish { tied: task.is_tied(), ..plain };
        let offer = Places::new(Terms { places, ..Terms::open(1) });
        let done = engine.exchange(at(7), &[end], Some(&*offer)).expect("it answers");
        assert_eq!(done.claimed.len(), places.min(1));
    });
    pair.rung()
}

#[test]
fn a_commit_that_starts_what_it_has_let_go_on_calls_nobody_who_has_looked() {
    assert_eq!(rung_by_exchange(false, 9), [vec![], vec![]]);
    assert_eq!(rung_by_exchange(false, 0), [vec![Notice::Work], vec![Notice::Work]]);
    // Other pools of the process may serve other kinds of the same rule.
    assert_eq!(rung_by_exchange(true, 9), [vec![Notice::Room(1)], vec![Notice::Room(1)]]);
    assert_eq!(rung_by_exchange(true, 0), [vec![Notice::Work], vec![Notice::Work]]);
}
