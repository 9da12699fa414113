//! Store: one task as the memory engine keeps it.
//!
//! What a row of the file holds, and what an end makes of it. Nothing here knows an index.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::id::TaskId;
use crate::outcome::Outcome;
use crate::record::{AttemptRecord, Claimed, Finish, Lease, NewTask, TaskRecord};
use crate::settle::Change;
use crate::state::{Reason, State, rank};
use crate::time::Timestamp;

/// Snoozes keep a count; of their records only this many stay.
const SNOOZES_KEPT: usize = 20;

/// One (queue, kind).
pub(super) type LaneName = (Arc<str>, Arc<str>);

pub(super) struct Task {
    pub(super) record: TaskRecord,
    pub(super) lane: LaneName,
    pub(super) rank: i64,
    options: Option<String>,
    /// Those that did not simply succeed, oldest first.
    attempts: Vec<AttemptRecord>,
}

/// Where a new task begins.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Scheduled,
    Ready,
    HandedOver { owner: i64 },
}

impl Task {
    pub(super) fn new(now: Timestamp, new: NewTask, id: TaskId, rank: i64, start: Start) -> Self {
        let (state, reason, worker) = match start {
            Start::Scheduled => (State::Scheduled, Some(Reason::Delayed), None),
            Start::Ready => (State::Ready, None, None),
            Start::HandedOver { owner } => (State::Running, None, Some(owner)),
        };
        let record = TaskRecord {
            id,
            kind: new.kind.to_string(),
            queue: new.queue.to_string(),
            state,
            reason,
            priority: new.priority,
            due_at: new.due_at,
            enqueued_at: now,
            started_at: worker.map(|_| now),
            finished_at: None,
            expires_at: new.expires_at,
            attempt: u32::from(worker.is_some()),
            attempts_max: new.attempts_max,
            crashes: 0,
            snoozes: 0,
            worker,
            worker_name: None,
            cancel_requested: false,
            stuck: false,
            at_most_once: new.at_most_once,
            key: new.key,
            tags: decoded(new.tags.as_deref()),
            meta: decoded(new.meta.as_deref()),
            arguments: new.arguments,
            result: None,
            error: None,
        };
        let lane = (new.queue, new.kind);
        Self { record, lane, rank, options: new.options, attempts: Vec::new() }
    }

    pub(super) fn is_held_by(&self, lease: Lease) -> bool {
        self.record.state == State::Running
            && self.record.attempt == lease.attempt
            && self.record.worker == Some(lease.owner)
    }

    pub(super) fn claimed(&self, owner: i64, now: Timestamp) -> Claimed {
        let task = &self.record;
        Claimed {
            lease: Lease { row: task.id.row(), attempt: task.attempt, owner },
            id: task.id,
            kind: Arc::clone(&self.lane.1),
            queue: Arc::clone(&self.lane.0),
            rank: self.rank,
            priority: task.priority,
            attempts_max: task.attempts_max,
            crashes: task.crashes,
            at_most_once: task.at_most_once,
            started_at: now,
            options: self.options.clone(),
            arguments: task.arguments.clone(),
        }
    }

    pub(super) fn settled(&mut self, end: &Finish, change: Change, crashes: u32, step_ms: i64) {
        let task = &mut self.record;
        task.state = change.state;
        task.reason = change.reason;
        task.finished_at = change.state.is_final().then_some(end.finished_at);
        task.due_at = change.due_at.unwrap_or(task.due_at);
        task.attempt = end.lease.attempt.saturating_sub(u32::from(!change.charged));
        task.crashes = crashes;
        task.snoozes += u32::from(matches!(end.outcome, Outcome::Snoozed { .. }));
        task.stuck = end.stuck;
        self.rank = rank(task.due_at, task.priority, step_ms);
        if !matches!(end.outcome, Outcome::GivenBack) {
            self.record_attempt(end, change);
        }
    }

    fn record_attempt(&mut self, end: &Finish, change: Change) {
        let word = match end.outcome {
            Outcome::Snoozed { .. } => "snoozed",
            Outcome::Crashed { .. } => "crashed",
            Outcome::Retry { .. } if change.state == State::Scheduled => "retry",
            _ => change.state.as_str(),
        };
        let error = end.outcome.report().cloned();
        if error.is_some() {
            self.record.error.clone_from(&error);
        }
        self.attempts.push(AttemptRecord {
            attempt: end.lease.attempt,
            outcome: word.to_owned(),
            started_at: Some(end.started_at),
            finished_at: Some(end.finished_at),
            worker: Some(end.lease.owner),
            worker_name: self.record.worker_name.clone(),
            error,
        });
        let snoozed = |attempt: &AttemptRecord| attempt.outcome == "snoozed";
        if self.attempts.iter().filter(|attempt| snoozed(attempt)).count() > SNOOZES_KEPT
            && let Some(oldest) = self.attempts.iter().position(snoozed)
        {
            self.attempts.remove(oldest);
        }
    }

    pub(super) fn attempts(&self) -> Vec<AttemptRecord> {
        let task = &self.record;
        let mut attempts = self.attempts.clone();
        if matches!(task.state, State::Running | State::Succeeded) {
            attempts.push(AttemptRecord {
                attempt: task.attempt,
                outcome: task.state.as_str().to_owned(),
                started_at: task.started_at,
                finished_at: task.finished_at,
                worker: task.worker,
                worker_name: task.worker_name.clone(),
                error: None,
            });
        }
        attempts
    }
}

/// Tags and meta were encoded by the client, so they decode.
fn decoded<T: DeserializeOwned + Default>(text: Option<&str>) -> T {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
