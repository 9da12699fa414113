//! Store: what ties the tasks of a random history to each other.

use std::time::Duration;

use fastrand::Rng;

use super::offer::{KINDS, QUEUES};
use crate::gate::{Gate, Limits, Rate};
use crate::rule::Scope;
use crate::ties::{Extra, Key};
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
    let plain = extra.claim.is_none() && extra.wait_key.is_none() && extra.owner.is_none();
    (!plain).then(|| Box::new(extra))
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
