//! Store: what ties the tasks of a random history to each other.

use std::time::Duration;

use fastrand::Rng;

use super::compare::Both;
use super::offer::{KINDS, QUEUES};
use crate::flow::{BATCH_KIND, BATCH_QUEUE};
use crate::gate::{Gate, Limits, Rate};
use crate::id::TaskId;
use crate::record::NewTask;
use crate::rule::Scope;
use crate::ties::{Before, Extra, Key, Policy, Ref, Ties};
use crate::time::Timestamp;
use crate::unique::{Claim, Held, OnConflict, Replace};

/// Different owners of tasks.
pub(super) const OWNERS: u8 = 2;

pub(super) fn owner(number: u8) -> String {
    ["ada", "bob"][usize::from(number)].to_owned()
}

/// A unique key, a gate, both or none.
pub(super) fn extra(rng: &mut Rng, now: Timestamp) -> Option<Box<Extra>> {
    let mut extra =
        Extra { owner: rng.bool().then(|| owner(rng.u8(0..OWNERS))), ..Extra::default() };
    if rng.bool() {
        let held = match rng.u8(0..3) {
            0 => Held::Start,
            1 => Held::End,
            _ => Held::Until(now.as_millis() + rng.i64(0..20)),
        };
        let on_conflict = match rng.u8(0..4) {
            0 => OnConflict::Existing,
            1 => OnConflict::Refuse,
            _ => OnConflict::Replace(Replace {
                arguments: rng.bool(),
                due: rng.bool(),
                priority: rng.bool(),
            }),
        };
        let key = format!("u{}", rng.u8(0..3));
        extra.ties.unique = Some(Key { key: key.clone(), held });
        extra.claim = Some(Claim { key, held, on_conflict, delay: None });
    }
    if rng.bool() {
        let rate = Rate::per(2, Duration::from_millis(10)).burst(rng.u32(1..3));
        let (name, gate) = match rng.u8(0..4) {
            0 => ("lock", Gate::Lock { wait: false, expires_ms: None }),
            1 => {
                let expires_ms = rng.bool().then(|| rng.u64(1..9));
                ("lock", Gate::Lock { wait: true, expires_ms })
            }
            2 => ("limit", Gate::Limit { max: rng.u32(1..4) }),
            _ => ("rate", Gate::Rate(rate)),
        };
        // Mostly the same one, so that they meet; a call may take a task over to the other.
        let key = if rng.u8(0..4) == 0 { "b" } else { "a" };
        extra.wait_key = Some(format!("{name}:{key}"));
        extra.ties.gate = Some(gate);
    }
    extra.ties.steps = (rng.u8(0..4) == 0).then(|| rng.u64(0..9));
    let plain = extra.claim.is_none()
        && extra.wait_key.is_none()
        && extra.owner.is_none()
        && extra.ties.steps.is_none();
    (!plain).then(|| Box::new(extra))
}

/// A gate at which one waits, the same one for most, so that they meet there in one commit.
pub(super) fn gate(rng: &mut Rng) -> Box<Extra> {
    let (key, gate) = match rng.u8(0..8) {
        0..4 => ("lock:a", Gate::TURN),
        4..7 => ("limit:a", Gate::Limit { max: 2 }),
        _ => ("lock:b", Gate::TURN),
    };
    let ties = Ties { gate: Some(gate), ..Ties::default() };
    Box::new(Extra { wait_key: Some(key.to_owned()), ties, ..Extra::default() })
}

/// Makes a flow of some tasks: its batch, its members, some of them after others, and perhaps what comes
/// after all.
pub(super) fn flow(rng: &mut Rng, mut tasks: Vec<NewTask>) -> Vec<NewTask> {
    let ties = Ties { awaited: true, sums: true, ..Ties::default() };
    let extra = Extra { name: Some("flow".to_owned()), ties, ..Extra::default() };
    let batch = NewTask {
        extra: Some(Box::new(extra)),
        attempts_max: 1,
        ..NewTask::plain(BATCH_QUEUE, BATCH_KIND)
    };
    let members = tasks.len() - usize::from(rng.bool());
    for (number, task) in tasks.iter_mut().enumerate() {
        task.key = None;
        let extra = task.extra.get_or_insert_default();
        if number >= members {
            extra.after.push(Before { what: Ref::Item(0), policy: policy(rng) });
        } else {
            extra.member_of = Some(0);
            (extra.ties.awaited, extra.ties.ignored) = (true, rng.u8(0..4) == 0);
            let earlier = (1..=number).filter(|_| rng.bool()).collect::<Vec<_>>();
            let before = earlier.into_iter().map(|item| (Ref::Item(item), policy(rng)));
            extra.after.extend(before.map(|(what, policy)| Before { what, policy }));
        }
        wait_before_the_gate(extra);
    }
    std::iter::once(batch).chain(tasks).collect()
}

/// Lets a task come after some that are stored, as the first engine calls them.
pub(super) fn come_after(rng: &mut Rng, task: &mut NewTask, ids: &[Both<TaskId>]) {
    let extra = task.extra.get_or_insert_default();
    for _ in 0..rng.usize(1..3) {
        let Some([id, _]) = rng.choice(ids) else { return };
        let what = Ref::Task(*id);
        if extra.after.iter().all(|before| before.what != what) {
            extra.after.push(Before { what, policy: policy(rng) });
        }
    }
    wait_before_the_gate(extra);
}

/// The same tasks, with stored ones named as the other engine calls them.
pub(super) fn as_the_other_calls_them(tasks: &[NewTask], ids: &[Both<TaskId>]) -> Vec<NewTask> {
    let mut tasks = tasks.to_vec();
    let extras = tasks.iter_mut().filter_map(|task| task.extra.as_mut());
    for before in extras.flat_map(|extra| &mut extra.after) {
        let Ref::Task(id) = &mut before.what else { continue };
        *id = ids.iter().find(|[first, _]| first == id).map_or(*id, |[_, other]| *other);
    }
    tasks
}

fn policy(rng: &mut Rng) -> Policy {
    if rng.u8(0..3) == 0 { Policy::Finish } else { Policy::Success }
}

fn wait_before_the_gate(extra: &mut Extra) {
    if !extra.after.is_empty() {
        extra.ties.held_key.clone_from(&extra.wait_key);
    }
}

/// The program's limits for queues and kinds.
pub(super) fn limits(rng: &mut Rng) -> Vec<(Scope, Limits)> {
    [Scope::queue(QUEUES[0]), Scope::kind(KINDS[1])]
        .into_iter()
        .map(|scope| {
            let max_running = rng.bool().then(|| rng.u32(1..4));
            let rate = Rate::per(3, Duration::from_millis(9));
            let rate = rng.bool().then(|| rate.burst(rng.u32(1..4)));
            (scope, Limits { max_running, rate })
        })
        .collect()
}
