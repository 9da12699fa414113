//! Run: one attempt at a time, so that tests decide after each whether to go on.
//!
//! The same rows, the same order and the same accounting as in `run_pending`; only that an attempt is
//! claimed and recorded in commits of its own.

use super::caller::InHand;
use super::{Inline, tally};
use crate::attempt::{self, Ended};
use crate::client::Client;
use crate::error::Error;
use crate::hub::{Came, Pending, Ran, Stepped, Stepper};
use crate::id::TaskId;
use crate::intake::Left;
use crate::outcome::Outcome;
use crate::record::{Claimed, Lease, NewTask};
use crate::time::Timestamp;
use crate::worker::book::Ends;

impl Stepper for Inline {
    fn gather(&self) -> Result<bool, Error> {
        let caller = self.pending_caller(&Pending::all())?;
        self.look_after(caller.visit.owner)?;
        self.fire_schedules()?;
        Ok(self.take_inbox()? == Left::HeldBack)
    }

    fn run_next(&self, pending: &Pending) -> Result<Option<Came>, Error> {
        let caller = match self.pending_caller(pending) {
            Ok(caller) => caller,
            Err(Error::Closed) => return Ok(None),
            Err(error) => return Err(error),
        };
        loop {
            let (done, mut taken) = self.exchange(&mut Ends::default(), Some(&*caller))?;
            if let Some(held) = taken.claimed.pop() {
                return self.step(held).map(Some);
            }
            // What ends without running may let others run.
            let more = done.more && taken.unflushed.is_empty();
            // Claimed at most once, but not to be run: the next call finds them again.
            self.hand_back(taken.unflushed);
            if !more {
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
        let (held, ended) = self.pick(id, &caller)?;
        match held {
            Some(held) => self.step(held).map(Stepped::Ran),
            None if !ended.is_empty() => Ok(Stepped::Ended),
            None => Ok(Stepped::NotNow),
        }
    }

    fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        self.due_next()
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
    fn step(&self, held: InHand) -> Result<Came, Error> {
        let Ended { finish, kept, .. } = self.attempt(&held);
        let InHand { task, ticket, alone } = held;
        drop(alone);
        let mut ends = Ends::one(finish, ticket);
        let to = if kept.is_some() {
            kept
        } else {
            let (done, _none) = self.exchange(&mut ends, None)?;
            done.finished.into_iter().next().and_then(Result::ok)
        };
        self.end(&ends, &[to]);
        let mut ran = Ran::default();
        tally(&mut ran, &ends.finishes, &[to]);
        Ok(Came { kind: task.kind, ran })
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
