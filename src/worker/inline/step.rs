//! Run: one attempt at a time, so that tests decide after each whether to go on.
//!
//! The same rows, the same order and the same accounting as in `run_pending`; only that an attempt is
//! claimed and recorded in commits of its own.

use std::sync::atomic::Ordering;

use super::{Inline, tally};
use crate::attempt::{self, Ended};
use crate::backend::Picked;
use crate::client::Client;
use crate::error::Error;
use crate::hub::{Came, Pending, Ran, Stepped, Stepper};
use crate::id::TaskId;
use crate::intake::Left;
use crate::outcome::Outcome;
use crate::record::{Claimed, Lease, NewTask};
use crate::time::Timestamp;

impl Stepper for Inline {
    fn gather(&self) -> Result<bool, Error> {
        let caller = self.pending_caller(&Pending::all())?;
        self.flush_unkept()?;
        self.backend.rescue(self.clock.now(), caller.visit.owner)?;
        self.prune();
        Ok(self.take_inbox()? == Left::HeldBack)
    }

    fn run_next(&self, pending: &Pending) -> Result<Option<Came>, Error> {
        let caller = match self.pending_caller(pending) {
            Ok(caller) => caller,
            Err(Error::Closed) => return Ok(None),
            Err(error) => return Err(error),
        };
        loop {
            let mut done = self.exchange(&[], Some(&*caller))?;
            // Claimed at most once, but not to be run: the next call finds them again.
            self.hand_back(&done.unflushed);
            if let Some(task) = done.claimed.pop() {
                return self.step(&task).map(Some);
            }
            // What ends without running may let others run.
            if !done.more || !done.unflushed.is_empty() {
                return Ok(None);
            }
        }
    }

    fn run_one(&self, id: TaskId) -> Result<Stepped, Error> {
        let caller = match self.caller(None) {
            Ok(caller) => caller,
            Err(Error::Closed) => return Ok(Stepped::NotNow),
            Err(error) => return Err(error),
        };
        match self.backend.claim_one(self.clock.now(), id, &*caller)? {
            Picked::Task(task) => self.step(&task).map(Stepped::Ran),
            Picked::Ended => {
                self.hooks.ended_unrun(&*self.backend, &[id.row()]);
                Ok(Stepped::Ended)
            }
            Picked::NotNow => Ok(Stepped::NotNow),
        }
    }

    fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let caller = self.pending_caller(&Pending::all())?;
        if let Some(pending) = &caller.pending {
            // Without a place nothing is claimed.
            pending.taken.store(true, Ordering::SeqCst);
        }
        Ok(self.exchange(&[], Some(&*caller))?.next_due)
    }

    fn rehearse(&self, task: NewTask) -> Result<Outcome, Error> {
        let hub = self.hub.upgrade().ok_or(Error::Closed)?;
        let prepared = attempt::prepare(&self.registry, unstored(task, self.clock.now()));
        let outcome = attempt::rehearse(&Client::inner(hub), &self.registry, &prepared);
        outcome.ok_or_else(|| {
            let allowed = "a task whose body is in this program; `register` it";
            Error::invalid("unsupported", "task", &*prepared.task.kind, allowed)
        })
    }
}

impl Inline {
    /// One attempt, recorded at once.
    fn step(&self, task: &Claimed) -> Result<Came, Error> {
        let Ended { finish, kept } = self.attempt(task);
        let finishes = [finish];
        let to = match kept {
            Some(kept) => Some(kept),
            None => match self.exchange(&finishes, None) {
                Ok(done) => done.finished.into_iter().next().and_then(Result::ok),
                Err(error) => {
                    self.minder.end(&finishes);
                    self.unkept().extend(finishes);
                    return Err(error);
                }
            },
        };
        self.end(&finishes, &[to]);
        let mut ran = Ran::default();
        tally(&mut ran, &finishes, &[to]);
        Ok(Came { kind: task.kind.clone(), ran })
    }
}

/// A task that is in no store, as if its first attempt had been claimed.
fn unstored(task: NewTask, now: Timestamp) -> Claimed {
    Claimed {
        lease: Lease { row: 0, attempt: 1, owner: 0 },
        id: TaskId::new(0, 0),
        kind: task.kind,
        queue: task.queue,
        rank: 0,
        priority: task.priority,
        attempts_max: task.attempts_max,
        crashes: 0,
        at_most_once: task.at_most_once,
        started_at: now,
        trace: task.trace,
        options: task.options,
        arguments: task.arguments,
        extra: task.extra,
    }
}
