//! Watch: the only place that turns columns into records.

use std::cell::RefCell;

use rusqlite::Row;
use rusqlite::types::FromSql;
use serde_json::Map;

use crate::error::{Error, shorten};
use crate::id::TaskId;
use crate::outcome::Report;
use crate::portable::{LINE_SCHEMA, Portable, raw};
use crate::record::{AttemptRecord, TaskRecord};
use crate::state::{Reason, State};
use crate::ties::Ties;
use crate::time::Timestamp;

/// What [`task`] reads. The payload, the newest error and the worker are looked up by their keys.
pub(super) const COLUMNS: &str = "t.id, t.tag, l.kind, l.queue, t.state, t.reason, t.priority, \
     t.due_at, t.enqueued_at, t.started_at, t.finished_at, t.expires_at, t.attempt, t.attempts_max, \
     t.crashes, t.snoozes, t.worker, t.cancel_requested, t.stuck, t.at_most_once, t.key, t.tags, \
     t.meta, coalesce(t.arguments, (SELECT body FROM litework_payload WHERE id = t.id * 2)), \
     coalesce(t.result, (SELECT body FROM litework_payload WHERE id = t.id * 2 + 1)), \
     (SELECT report FROM litework_error WHERE task = t.id AND report IS NOT NULL \
      ORDER BY id DESC LIMIT 1), \
     (SELECT name FROM litework_worker WHERE id = t.worker), t.owner, t.trace, t.name, t.batch, \
     (SELECT tag FROM litework_task WHERE id = t.batch), t.ties, t.dismissed";

/// The tables that [`COLUMNS`] names. A task without its lane is found too, and told as damaged.
pub(super) const FROM: &str = "litework_task t LEFT JOIN litework_lane l ON l.id = t.lane";

/// Reads one cell, naming the row and the column when it does not hold what it should.
pub(super) struct Cells<'a> {
    pub(super) row: &'a Row<'a>,
    pub(super) id: i64,
}

impl Cells<'_> {
    pub(super) fn get<T: FromSql>(&self, index: usize, column: &'static str) -> Result<T, Error> {
        self.row.get(index).map_err(|error| {
            let reason = match error {
                rusqlite::Error::IntegralValueOutOfRange(_, found) => {
                    format!("{found} is out of range")
                }
                rusqlite::Error::Utf8Error(_, error) => error.to_string(),
                error => error.to_string(),
            };
            self.bad(column, reason)
        })
    }

    fn bad(&self, column: &'static str, reason: impl Into<String>) -> Error {
        Error::BadRow { row: self.id, column, reason: reason.into() }
    }

    fn time(&self, index: usize, column: &'static str) -> Result<Option<Timestamp>, Error> {
        let Some(ms) = self.get::<Option<i64>>(index, column)? else { return Ok(None) };
        match Timestamp::from_millis(ms) {
            Some(moment) => Ok(Some(moment)),
            None => Err(self.bad(column, format!("{ms} is not a moment"))),
        }
    }

    fn moment(&self, index: usize, column: &'static str) -> Result<Timestamp, Error> {
        self.time(index, column)?.ok_or_else(|| self.bad(column, "it is NULL"))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned + Default>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, Error> {
        let Some(text) = self.get::<Option<String>>(index, column)? else {
            return Ok(T::default());
        };
        serde_json::from_str(&text)
            .map_err(|error| self.bad(column, format!("{}: {error}", shorten(&text))))
    }
}

pub(super) fn task(row: &Row<'_>) -> Result<TaskRecord, Error> {
    let id: i64 = row.get(0).map_err(|error| Error::BadRow {
        row: 0,
        column: "id",
        reason: error.to_string(),
    })?;
    let cells = Cells { row, id };
    let state: String = cells.get(4, "state")?;
    let state = State::from_word(&state).ok_or_else(|| cells.bad("state", shorten(&state)))?;
    let reason = match cells.get::<Option<String>>(5, "reason")? {
        None => None,
        Some(word) => {
            Some(Reason::from_word(&word).ok_or_else(|| cells.bad("reason", shorten(&word)))?)
        }
    };
    if !state.admits(reason) {
        return Err(cells.bad("reason", format!("{state} does not have it")));
    }
    let kind: Option<String> = cells.get(2, "kind")?;
    let error: Option<Report> = cells.json(25, "report")?;
    let batch = cells.get::<Option<i64>>(30, "batch")?.zip(cells.get(31, "batch")?);
    Ok(TaskRecord {
        id: TaskId::new(id, cells.get(1, "tag")?),
        kind: kind.ok_or_else(|| cells.bad("lane", "there is no such lane"))?,
        queue: cells.get(3, "queue")?,
        state,
        reason,
        priority: cells.get(6, "priority")?,
        due_at: cells.moment(7, "due_at")?,
        enqueued_at: cells.moment(8, "enqueued_at")?,
        started_at: cells.time(9, "started_at")?,
        finished_at: cells.time(10, "finished_at")?,
        expires_at: cells.time(11, "expires_at")?,
        attempt: cells.get(12, "attempt")?,
        attempts_max: cells.get(13, "attempts_max")?,
        crashes: cells.get(14, "crashes")?,
        snoozes: cells.get(15, "snoozes")?,
        worker: cells.get(16, "worker")?,
        worker_name: text(row, 26),
        cancel_requested: cells.get(17, "cancel_requested")?,
        stuck: cells.get(18, "stuck")?,
        dismissed: cells.get(33, "dismissed")?,
        at_most_once: cells.get(19, "at_most_once")?,
        key: cells.get(20, "key")?,
        owner: cells.get(27, "owner")?,
        trace: cells.get(28, "trace")?,
        name: cells.get(29, "name")?,
        batch: batch.map(|(row, tag)| TaskId::new(row, tag)),
        slot: text(row, 32).and_then(|ties| ties_of(Some(ties)).slot),
        tags: cells.json(21, "tags")?,
        meta: cells.json::<Map<_, _>>(22, "meta")?,
        arguments: cells.get::<Option<String>>(23, "arguments")?.unwrap_or_default(),
        result: cells.get(24, "result")?,
        error,
    })
}

/// Reads [`COLUMNS`] and after them `options, unique_key, wait_key` of a task that is carried to another queue.
pub(super) fn portable(row: &Row<'_>) -> Result<Portable, Error> {
    let task = task(row)?;
    let cells = Cells { row, id: task.id.row() };
    let json = |index, column| match cells.get::<Option<String>>(index, column)? {
        None => Ok(None),
        Some(text) => raw(text).map(Some).ok_or_else(|| cells.bad(column, "it is no JSON")),
    };
    let arguments = raw(task.arguments).ok_or_else(|| cells.bad("arguments", "it is no JSON"))?;
    Ok(Portable {
        schema: LINE_SCHEMA,
        redacted: false,
        id: task.id,
        kind: task.kind,
        queue: task.queue,
        state: task.state,
        reason: task.reason,
        priority: task.priority.into(),
        due_at: task.due_at,
        enqueued_at: task.enqueued_at,
        started_at: task.started_at,
        finished_at: task.finished_at,
        expires_at: task.expires_at,
        attempt: task.attempt,
        attempts_max: task.attempts_max,
        crashes: task.crashes,
        snoozes: task.snoozes,
        at_most_once: task.at_most_once,
        cancel_requested: task.cancel_requested,
        stuck: task.stuck,
        dismissed: task.dismissed,
        key: task.key,
        owner: task.owner,
        name: task.name,
        trace: task.trace,
        batch: task.batch,
        slot: task.slot,
        tags: task.tags,
        meta: json(22, "meta")?,
        arguments,
        result: json(24, "result")?,
        error: task.error,
        attempts: Vec::new(),
        steps: Vec::new(),
        after: Vec::new(),
        options: json(34, "options")?,
        unique_key: cells.get(35, "unique_key")?,
        wait_key: cells.get(36, "wait_key")?,
        ties: json(32, "ties")?.filter(|ties| ties.get() != "{}"),
    })
}

/// A text that concerns others; none where another program has written what is no text.
pub(super) fn text(row: &Row<'_>, column: usize) -> Option<String> {
    row.get::<_, Option<String>>(column).ok().flatten()
}

/// What is stored as the ties of a task. What another program has damaged ties it to those alone that are found
/// without them.
pub(super) fn ties_of(text: Option<String>) -> Ties {
    text.map_or_else(Ties::default, |text| read_ties(&text).unwrap_or_else(Ties::unreadable))
}

/// The same of a row, where they may be no text either.
pub(super) fn ties(row: &Row<'_>, column: usize) -> Ties {
    let text = row.get_ref(column).ok().and_then(|value| value.as_str_or_null().ok());
    text.map_or_else(Ties::unreadable, |text| {
        text.map_or_else(Ties::default, |text| read_ties(text).unwrap_or_else(Ties::unreadable))
    })
}

/// Ties of more bytes are not remembered.
const REMEMBERED_BYTES_MAX: usize = 200;

thread_local! {
    /// The text of the ties that were read last, and what it says. All who stand at one gate have the same.
    static LAST: RefCell<Option<(String, Ties)>> = const { RefCell::new(None) };
}

/// What a text says; none where it is nothing that we have written.
pub(super) fn read_ties(text: &str) -> Option<Ties> {
    LAST.with_borrow_mut(|last| {
        if let Some((known, ties)) = last
            && known == text
        {
            return Some(ties.clone());
        }
        let ties: Ties = serde_json::from_str(text).ok()?;
        // No other task has those of a unique key.
        if ties.gate.is_some() && ties.unique.is_none() && text.len() <= REMEMBERED_BYTES_MAX {
            *last = Some((text.to_owned(), ties.clone()));
        }
        Some(ties)
    })
}

/// A JSON array of names; empty where it is none.
pub(super) fn names(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Reads `attempt, outcome, started_at, finished_at, worker, report, name` of the row with this task.
pub(super) fn attempt(row: &Row<'_>, task: i64) -> Result<AttemptRecord, Error> {
    let cells = Cells { row, id: task };
    Ok(AttemptRecord {
        attempt: cells.get(0, "attempt")?,
        outcome: cells.get(1, "outcome")?,
        started_at: cells.time(2, "started_at")?,
        finished_at: cells.time(3, "finished_at")?,
        worker: cells.get(4, "worker")?,
        worker_name: text(row, 6),
        error: cells.json(5, "report")?,
    })
}
