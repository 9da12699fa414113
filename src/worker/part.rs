//! Run: how a pool parts with tasks that have not ended: handed back, taken from bodies that do not
//! stop, or lost together with its number.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use super::given_back;
use super::pool::Pool;
use super::slots::Slot;
use crate::attempt::Prepared;
use crate::context::StopReason;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish};

impl Pool {
    /// Hands tasks back unrun.
    pub(super) fn hand_back(&self, tasks: &[Claimed]) {
        if tasks.is_empty() {
            return;
        }
        let now = self.clock.now();
        let back: Vec<Finish> = tasks.iter().map(|task| given_back(task, now)).collect();
        for task in tasks {
            self.free_place(task, task.lease.owner);
        }
        let mut state = self.state();
        state.counts.handed_back += back.len();
        state.work |= state.left_behind;
        state.finishes.extend(back);
        state.flush = true;
    }

    /// The bodies under way that still have their lease.
    pub(super) fn running(&self) -> Vec<Arc<Prepared>> {
        let body = |slot: MutexGuard<'_, Slot>| {
            let running = slot.running.as_ref().filter(|running| !running.abandoned)?;
            Some(Arc::clone(&running.prepared))
        };
        self.slots().filter_map(body).collect()
    }

    /// Takes the lease of a body that does not stop; its thread stays behind. False when it has ended, or
    /// has lost its lease before: its slot may have another by now, even one under the same lease.
    pub(super) fn abandon(
        &self,
        body: &Arc<Prepared>,
        outcome: impl Fn(&Prepared) -> Outcome,
        stuck: bool,
    ) -> bool {
        let found = self.slots().any(|mut slot| {
            let running = slot.running.as_mut();
            let running = running
                .filter(|running| !running.abandoned && Arc::ptr_eq(&running.prepared, body));
            running.map(|running| running.abandoned = true).is_some()
        });
        if !found {
            return false;
        }
        let now = self.clock.now();
        let finish = Finish {
            outcome: outcome(body),
            retry: Arc::clone(&body.retry),
            chance: fastrand::f64(),
            stuck,
            ran: Some(self.backend.meter().ran(&body.task, now)),
            ..given_back(&body.task, now)
        };
        let mut state = self.state();
        state.finishes.push(finish);
        state.flush = true;
        true
    }

    /// Takes away what stands before threads and has not begun. All slots at once: a thread could
    /// pass tasks from a slot that is still to come to one that has been looked at.
    pub(super) fn take_chunks(&self, which: impl Fn(&Claimed) -> bool) -> Vec<Claimed> {
        let mut slots: Vec<_> = self.slots().collect();
        let mut taken = Vec::new();
        for slot in &mut slots {
            let (gone, kept): (VecDeque<_>, _) =
                std::mem::take(&mut slot.chunk).into_iter().partition(&which);
            slot.chunk = kept;
            taken.extend(gone);
        }
        taken
    }

    /// The process was given up under this number. What it held then belongs to others by now, and
    /// only what was handed over since is still its own: all is handed back, and what belongs to
    /// others stays theirs.
    pub(super) fn lose_leases(&self, number: i64) {
        let is_lost = |task: &Claimed| task.lease.owner == number;
        let mut lost: Vec<Claimed> = {
            let mut state = self.state();
            let held = std::mem::take(&mut state.held);
            let (lost, kept): (VecDeque<_>, _) =
                held.into_iter().partition(|held| is_lost(&held.task));
            state.held = kept;
            lost.into_iter().map(|held| held.task).collect()
        };
        lost.extend(self.take_chunks(is_lost));
        for slot in self.slots() {
            if let Some(running) = slot.running.as_ref().filter(|run| run.lease.owner == number) {
                running.token.stop(StopReason::LeaseLost);
            }
        }
        self.hand_back(&lost);
    }
}
