//! Finish: what an attempt came to, under its lease; and the ends that others ask for.
//!
//! Where task, attempt and owner no longer hold together, nothing is changed and the answer is
//! `LeaseLost`.

use super::Book;
use crate::backend::Cancelled;
use crate::error::Error;
use crate::id::TaskId;
use crate::outcome::{Outcome, Report};
use crate::record::{Finish, Finished, Lease, TaskRecord};
use crate::settle::{Spent, settle};
use crate::state::{Reason, State};
use crate::time::Timestamp;

impl Book {
    /// Records one finish, if its lease still holds, and what was said last.
    pub(super) fn finish(&mut self, now: Timestamp, end: &Finish) -> Result<Finished, Error> {
        let finished = self.finish_alone(now, end)?;
        if let Some(said) = &end.said {
            self.keep_said(now, said);
        }
        Ok(finished)
    }

    fn finish_alone(&mut self, now: Timestamp, end: &Finish) -> Result<Finished, Error> {
        let Lease { row, attempt, .. } = end.lease;
        let Some(task) = self.tasks.get(&row).filter(|task| task.is_held_by(end.lease)) else {
            return self.finish_again(end);
        };
        if let Outcome::Succeeded { result } = &end.outcome {
            self.edit(row, |task| {
                task.record.state = State::Succeeded;
                task.record.finished_at = Some(end.finished_at);
                task.record.result = Some(result.clone());
            });
            self.effects.changed.push(row);
            self.left(now, row);
            return Ok(Finished { state: State::Succeeded, reason: None, due_at: None });
        }
        let key = self.key_let_go(row);
        let superseded = key.as_ref().is_some_and(|key| self.taken_by(now, row, key).is_some());
        let crashed = u32::from(matches!(end.outcome, Outcome::Crashed { .. }));
        let spent = Spent {
            attempt,
            attempts_max: task.record.attempts_max,
            crashes: task.record.crashes.saturating_add(crashed),
            at_most_once: task.record.at_most_once,
            cancel_requested: task.record.cancel_requested,
            superseded,
        };
        let change = settle(spent, &end.outcome, &end.retry, now, end.chance);
        if !change.state.admits(change.reason) {
            let reason = format!("{} does not have the reason {:?}", change.state, change.reason);
            return Err(Error::NotStored { reason, source: None });
        }
        let step_ms = self.step_ms;
        self.edit(row, |task| task.settled(end, change, spent.crashes, step_ms));
        if let Some(key) = key.filter(|_| !change.state.is_final()) {
            self.ties.kept.unique.insert(key, row);
        }
        if let Some(until) = end.outcome.closes_until(now) {
            self.close_until(row, until);
        }
        self.left(now, row);
        if change.state.is_final() {
            self.effects.changed.push(row);
        } else {
            self.effects.work = true;
        }
        Ok(Finished { state: change.state, reason: change.reason, due_at: change.due_at })
    }

    /// A success that is sent again, as its answer was lost, is kept already.
    fn finish_again(&mut self, end: &Finish) -> Result<Finished, Error> {
        let Lease { row, attempt, owner } = end.lease;
        let kept = self.tasks.get(&row).is_some_and(|task| {
            let record = &task.record;
            (record.state, record.attempt, record.worker)
                == (State::Succeeded, attempt, Some(owner))
        });
        if !kept || !matches!(end.outcome, Outcome::Succeeded { .. }) {
            return Err(Error::LeaseLost { id: end.id, attempt });
        }
        self.effects.changed.push(row);
        Ok(Finished { state: State::Succeeded, reason: None, due_at: None })
    }

    pub(super) fn cancel(&mut self, now: Timestamp, id: TaskId) -> Result<Cancelled, Error> {
        self.cancel_for(now, id, Reason::Asked)
    }

    /// The same; a task that has not started ends for this reason.
    pub(super) fn cancel_for(
        &mut self,
        now: Timestamp,
        id: TaskId,
        reason: Reason,
    ) -> Result<Cancelled, Error> {
        let task = self.by_id(id).ok_or_else(|| Error::not_found(id))?;
        let state = task.record.state;
        if state.is_final() {
            return Ok(Cancelled::AlreadyFinished);
        }
        if task.extra.as_ref().is_some_and(|extra| extra.ties.sums) {
            let asked = self.cancel_batch(now, id.row());
            return Ok(if asked { Cancelled::Requested } else { Cancelled::Now });
        }
        self.edit(id.row(), |task| {
            task.record.cancel_requested = true;
            if state != State::Running {
                task.record.state = State::Cancelled;
                task.record.reason = Some(reason);
                task.record.finished_at = Some(now);
            }
        });
        if state == State::Running {
            self.effects.cancel.push(id.row());
            return Ok(Cancelled::Requested);
        }
        self.effects.changed.push(id.row());
        self.left(now, id.row());
        Ok(Cancelled::Now)
    }

    pub(super) fn leave(&mut self, now: Timestamp, owner: i64) {
        let held: Vec<Finish> = self
            .held_by(owner)
            .map(|task| {
                let lease = Lease { row: task.id.row(), attempt: task.attempt, owner };
                let started_at = task.started_at.unwrap_or(now);
                Finish::plain(task.id, lease, started_at, now, left_running(task))
            })
            .collect();
        for end in &held {
            // The lease was read under this lock, so it holds.
            let _held = self.finish(now, end);
        }
        self.members.remove(&owner);
    }
}

/// A task that must never start twice is taken to have started.
fn left_running(task: &TaskRecord) -> Outcome {
    if task.at_most_once {
        let report = Report::new("crash", "its process left it running");
        Outcome::Crashed { report: Box::new(report) }
    } else {
        Outcome::GivenBack
    }
}
