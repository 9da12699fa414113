//! Watch: flows that are run again, with tasks before and after them that are none of theirs.

use super::offer::{KINDS, Terms};
use super::{at, claim, end, get, on_both, report, store, task};
use crate::backend::Backend;
use crate::deed::Deed;
use crate::id::TaskId;
use crate::outcome::Outcome;
use crate::record::{Claimed, NewTask};
use crate::state::{Reason, State};
use crate::ties::{Before, Extra, Policy, Ref, Ties};

fn after(before: &[Ref], rest: Extra) -> NewTask {
    let policy = Policy::Success;
    let after = before.iter().map(|what| Before { what: *what, policy }).collect();
    NewTask { extra: Some(Box::new(Extra { after, ..rest })), ..task(KINDS[0]) }
}

/// What sums up the members of a flow, which stand behind it in one call.
fn batch() -> NewTask {
    let ties = Ties { sums: true, awaited: true, ..Ties::default() };
    after(&[], Extra { ties, ..Extra::default() })
}

/// A member that comes after these.
fn member(before: &[Ref]) -> NewTask {
    after(before, Extra { member_of: Some(0), ..Extra::default() })
}

/// A task of nobody that comes after a stored one.
fn follower(engine: &dyn Backend, before: TaskId) -> TaskId {
    store(engine, vec![after(&[Ref::Task(before)], Extra::default())])[0]
}

fn claim_all(engine: &dyn Backend, now_ms: i64) -> Vec<Claimed> {
    claim(engine, now_ms, Terms::open(1))
}

fn rows(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|task| task.id).collect()
}

fn state(engine: &dyn Backend, id: TaskId) -> (State, Option<Reason>) {
    let task = get(engine, id);
    (task.state, task.reason)
}

const DOOMED: (State, Option<Reason>) = (State::Failed, Some(Reason::Parent));
const WAITS: (State, Option<Reason>) = (State::Waiting, Some(Reason::Parents));

fn fail(engine: &dyn Backend, task: &Claimed) {
    end(engine, task, Outcome::Failed { reason: Reason::GaveUp, report: report() });
}

fn succeed(engine: &dyn Backend, task: &Claimed) {
    end(engine, task, Outcome::Succeeded { result: "1".to_owned() });
}

#[test]
fn what_came_to_a_failed_flow_goes_on_in_its_order_when_that_is_run_again() {
    on_both(|engine| {
        let ids = store(engine, vec![batch(), member(&[])]);
        fail(engine, &claim_all(engine, 5)[0]);
        // Both end as they are stored, the second with the first.
        let third = follower(engine, ids[1]);
        let fourth = follower(engine, third);
        assert_eq!([third, fourth].map(|id| state(engine, id)), [DOOMED; 2]);
        assert_eq!(engine.retry_batch(at(8), ids[0]).expect("it answers"), 3);
        for expected in [ids[1], third, fourth] {
            let claimed = claim_all(engine, 9);
            assert_eq!(rows(&claimed), [expected], "one after the other");
            succeed(engine, &claimed[0]);
        }
        assert_eq!(state(engine, ids[0]), (State::Succeeded, None));
    });
}

#[test]
fn a_flow_that_is_run_again_still_waits_for_tasks_that_are_none_of_its_own() {
    on_both(|engine| {
        let tomorrow = store(engine, vec![NewTask { due_at: at(100), ..task(KINDS[0]) }])[0];
        let ids = store(engine, vec![batch(), member(&[Ref::Task(tomorrow)])]);
        engine.cancel(at(6), ids[0]).expect("it answers");
        assert_eq!(engine.retry_batch(at(8), ids[0]).expect("it answers"), 1);
        assert_eq!(state(engine, ids[1]), WAITS);
        assert!(claim_all(engine, 9).is_empty());
        let claimed = claim_all(engine, 100);
        assert_eq!(rows(&claimed), [tomorrow]);
        succeed(engine, &claimed[0]);
        assert_eq!(rows(&claim_all(engine, 100)), [ids[1]]);
    });
}

#[test]
fn a_task_outside_of_a_flow_that_is_run_again_takes_the_flow_along() {
    on_both(|engine| {
        let first = store(engine, vec![task(KINDS[0])])[0];
        let ids = store(engine, vec![batch(), member(&[Ref::Task(first)])]);
        fail(engine, &claim_all(engine, 5)[0]);
        assert_eq!(state(engine, ids[1]), DOOMED);
        engine.act(at(8), first, Deed::Retry).expect("it answers");
        assert_eq!([ids[0], ids[1]].map(|id| state(engine, id)), [WAITS; 2]);
        let claimed = claim_all(engine, 9);
        assert_eq!(rows(&claimed), [first]);
        succeed(engine, &claimed[0]);
        assert_eq!(rows(&claim_all(engine, 9)), [ids[1]]);
    });
}

#[test]
fn what_had_ended_before_another_came_is_not_waited_for_when_it_is_run_again_and_may_be_copied() {
    on_both(|engine| {
        let first = store(engine, vec![task(KINDS[0])])[0];
        succeed(engine, &claim_all(engine, 5)[0]);
        let later = NewTask { due_at: at(100), ..task(KINDS[0]) };
        let later = store(engine, vec![later])[0];
        let both = after(&[Ref::Task(first), Ref::Task(later)], Extra::default());
        let waits = store(engine, vec![both])[0];
        engine.act(at(8), first, Deed::Retry).expect("it answers");
        let copy = engine.template(first).expect("it answers").expect("it is there");
        engine.replace(at(8), first, copy.clone()).expect("nobody waits for it");
        let refused = engine.replace(at(8), later, copy).expect_err("somebody waits for it");
        assert_eq!(refused.code(), "linked");
        assert_eq!(state(engine, waits), WAITS);
    });
}
