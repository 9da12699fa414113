//! Store: one task as the memory engine keeps it.
//!
//! What a row of the file holds, and what an end makes of it. Nothing here knows an index.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::telling::Told;
use crate::id::TaskId;
use crate::outcome::{Outcome, Report};
use crate::quota::Quota;
use crate::record::{AttemptRecord, Claimed, Finish, Lease, NewTask, TaskRecord};
use crate::settle::{Change, already_running};
use crate::state::{Reason, State, rank};
use crate::ties::Extra;
use crate::time::Timestamp;

/// Snoozes keep a count; of their records only this many stay.
const SNOOZES_KEPT: usize = 20;

/// One (queue, kind).
pub(super) type LaneName = (Arc<str>, Arc<str>);

#[derive(Clone)]
pub(super) struct Task {
    pub(super) record: TaskRecord,
    pub(super) lane: LaneName,
    pub(super) rank: i64,
    pub(super) options: Option<String>,
    /// None for a plain task.
    pub(super) extra: Option<Box<Extra>>,
    /// What it had spent when it was last retried.
    pub(super) retried_at: u32,
    /// How often it was retried.
    pub(super) retried: u64,
    /// Those that did not simply succeed, oldest first.
    attempts: Vec<AttemptRecord>,
    /// By name: what each came to, and when that was stored.
    pub(super) steps: BTreeMap<String, (String, Timestamp)>,
    pub(super) told: Told,
}

/// Where a new task begins.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// For later, as the call says or as its rate admits it.
    Scheduled(Reason),
    /// At its gate.
    Waiting(Reason),
    Ready,
    HandedOver {
        owner: i64,
    },
    /// It would start now, but another task holds its lock; or one of an earlier slot has not ended.
    Skipped {
        holder: TaskId,
        reason: Reason,
    },
    /// It ends with one before it.
    Ended(State),
}

impl Task {
    pub(super) fn new(now: Timestamp, new: NewTask, id: TaskId, rank: i64, start: Start) -> Self {
        let (state, reason, worker) = match start {
            Start::Scheduled(reason) => (State::Scheduled, Some(reason), None),
            Start::Waiting(reason) => (State::Waiting, Some(reason), None),
            Start::Skipped { reason, .. } => (State::Skipped, Some(reason), None),
            Start::Ended(state) => (state, Some(Reason::Parent), None),
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
            finished_at: state.is_final().then_some(now),
            expires_at: new.expires_at,
            attempt: u32::from(worker.is_some()),
            attempts_max: new.attempts_max,
            crashes: 0,
            snoozes: 0,
            worker,
            worker_name: None,
            cancel_requested: false,
            stuck: false,
            dismissed: false,
            at_most_once: new.at_most_once,
            key: new.key,
            owner: new.extra.as_ref().and_then(|extra| extra.owner.clone()),
            trace: new.trace.as_deref().map(str::to_owned),
            name: new.extra.as_ref().and_then(|extra| extra.name.clone()),
            batch: None,
            slot: new.extra.as_ref().and_then(|extra| extra.ties.slot.clone()),
            tags: decoded(new.tags.as_deref()),
            meta: decoded(new.meta.as_deref()),
            arguments: new.arguments,
            result: None,
            error: None,
        };
        let lane = (new.queue, new.kind);
        let (options, mut extra) = (new.options, new.extra);
        if let (Some(extra), Start::Waiting(Reason::Parents)) = (&mut extra, start) {
            // It does not stand at its gate before those that it waits for have ended.
            extra.wait_key = None;
        }
        let mut task = Self {
            record,
            lane,
            rank,
            options,
            extra,
            retried_at: 0,
            retried: 0,
            attempts: Vec::new(),
            steps: BTreeMap::new(),
            told: Told::default(),
        };
        if let Start::Skipped { holder, reason } = start {
            task.record_untried(now, already_running(holder, reason));
        }
        task
    }

    /// The task as it would be stored anew: without key.
    pub(super) fn template(&self) -> NewTask {
        let task = &self.record;
        NewTask {
            kind: Arc::clone(&self.lane.1),
            queue: Arc::clone(&self.lane.0),
            priority: task.priority,
            due_at: task.due_at.max(task.enqueued_at),
            expires_at: task.expires_at,
            attempts_max: task.attempts_max,
            at_most_once: task.at_most_once,
            arguments: task.arguments.clone(),
            key: None,
            tags: encoded(&task.tags, task.tags.is_empty()),
            meta: encoded(&task.meta, task.meta.is_empty()),
            options: self.options.clone(),
            quota: Quota::default(),
            extra: self.extra.as_deref().and_then(Extra::of_copy),
            ledger: None,
            trace: None,
        }
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
            trace: task.trace.as_deref().map(Arc::from),
            options: self.options.clone(),
            arguments: task.arguments.clone(),
            extra: self.extra.clone(),
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
        task.snoozes += u32::from(end.outcome.is_snooze());
        task.stuck = end.stuck;
        self.rank = rank(task.due_at, task.priority, step_ms);
        if !matches!(end.outcome, Outcome::GivenBack) {
            self.record_attempt(end, change);
        }
    }

    /// Makes it ready, at its gate, or lets it wait for those before it.
    pub(super) fn stand_again(&mut self, waits: bool) {
        let record = &mut self.record;
        (record.state, record.reason) =
            if waits { (State::Waiting, Some(Reason::Parents)) } else { (State::Ready, None) };
        let Some(extra) = &mut self.extra else { return };
        if waits {
            extra.wait_key = None;
        } else if extra.ties.held_key.is_some() {
            extra.wait_key.clone_from(&extra.ties.held_key);
        }
    }

    /// Notes why a task ended without running.
    pub(super) fn record_untried(&mut self, now: Timestamp, report: Report) {
        self.record.error = Some(report.clone());
        self.attempts.push(AttemptRecord {
            attempt: self.record.attempt,
            outcome: self.record.state.as_str().to_owned(),
            started_at: None,
            finished_at: Some(now),
            worker: None,
            worker_name: None,
            error: Some(report),
        });
    }

    fn record_attempt(&mut self, end: &Finish, change: Change) {
        let word = match end.outcome {
            Outcome::Snoozed { .. } | Outcome::RateLimited { .. } => "snoozed",
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

    /// The error of an attempt that ended at this moment.
    pub(super) fn error_at(&self, moment: Timestamp) -> Option<Report> {
        let mut newest = self.attempts.iter().rev();
        let with_error = |attempt: &&AttemptRecord| {
            attempt.error.is_some() && attempt.finished_at == Some(moment)
        };
        newest.find(with_error)?.error.clone()
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

/// Tags and meta came from JSON, so they encode.
fn encoded(value: &impl serde::Serialize, empty: bool) -> Option<String> {
    if empty { None } else { serde_json::to_string(value).ok() }
}

/// Tags and meta were encoded by the client, so they decode.
fn decoded<T: DeserializeOwned + Default>(text: Option<&str>) -> T {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
