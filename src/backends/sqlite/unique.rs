//! Enqueue: what becomes of a call that meets a task with its unique key.
//!
//! The key is a column with a unique index, so the look-up here only decides what to do; that there is
//! never a second holder is what the index says.

use rusqlite::{Connection, OptionalExtension};

use super::errors::not_stored;
use super::gates::{self, Freed, Pass};
use super::payload::{INLINE_BYTES_MAX, INSERT_PAYLOAD};
use super::row::{text, ties};
use crate::deed::Standing;
use crate::error::Error;
use crate::id::TaskId;
use crate::quota::Quota;
use crate::record::{NewTask, Stored};
use crate::state::{Reason, State, rank};
use crate::ties::Extra;
use crate::time::Timestamp;
use crate::unique::{Claim, Held, OnConflict, Replace};

/// Served by `litework_task_unique`.
pub(super) const HOLDER: &str = "SELECT id, tag, state, due_at, priority, ties, lane, arguments IS NULL, \
     wait_key, reason, enqueued_at FROM litework_task WHERE unique_key = ?1";

/// Served by the primary key.
const LET_GO: &str = "UPDATE litework_task SET unique_key = NULL WHERE id = ?1";

/// Served by the primary key.
const TAKE_AGAIN: &str = "UPDATE litework_task SET unique_key = ?2 WHERE id = ?1";

/// Served by the primary key.
const REPLACE: &str = "UPDATE litework_task SET state = ?2, reason = ?3, due_at = ?4, priority = ?5, \
     rank = ?6, expires_at = CASE WHEN ?7 THEN ?8 ELSE expires_at END \
     WHERE id = ?1 AND (state = 'scheduled' OR state = 'waiting' OR state = 'ready')";

/// Served by the primary key.
const REPLACE_GATE: &str = "UPDATE litework_task SET wait_key = ?2, ties = ?3 WHERE id = ?1";

/// Served by the primary key.
const MAKE_READY: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE id = ?1 AND state = 'scheduled'";

/// Served by `litework_edge_after`.
const HAS_BEFORE: &str = "SELECT EXISTS (SELECT 1 FROM litework_edge WHERE after = ?1)";

/// Served by the primary key.
const REPLACE_ARGUMENTS: &str = "UPDATE litework_task SET arguments = ?2 WHERE id = ?1";

/// The task that a call has met.
pub(super) struct Met {
    pub(super) stored: Stored,
    /// What the call has changed.
    pub(super) touched: Option<Touched>,
}

/// A stored task that a call has changed.
pub(super) struct Touched {
    pub(super) lane: i64,
    /// Those that it has kept waiting at its gate.
    pub(super) freed: Vec<Freed>,
}

/// The task that has a key.
struct Holder {
    id: TaskId,
    state: State,
    reason: Option<Reason>,
    due_at: Timestamp,
    enqueued_at: Timestamp,
    priority: i8,
    lane: i64,
    has_payload: bool,
    extra: Extra,
}

impl Holder {
    /// Whether its key is free for others.
    fn is_over(&self, now: Timestamp) -> bool {
        let unique = self.extra.ties.unique.as_ref();
        unique.is_none_or(|key| key.held.is_over(self.state, self.enqueued_at, now))
    }
}

/// Whether a call can be written without a look for the task that may have its key, as the index finds that
/// too: it is sure to be written with its key, and what it takes before can be given back.
pub(super) fn can_try(task: &NewTask, may_start: bool) -> bool {
    let Some(extra) = &task.extra else { return false };
    // One that lets its key go at its start is written without it where it starts at once.
    let keeps = |claim: &Claim| !(may_start && claim.held == Held::Start);
    extra.claim.as_ref().is_some_and(keeps)
        && extra.wait_key.is_none()
        && extra.overlaps.is_none()
        && !extra.is_linked()
        && task.quota == Quota::default()
}

/// Looks for a task with the key of a call, and does what the call wants then.
pub(super) fn meet(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    task: &NewTask,
    claim: &Claim,
) -> Result<Option<Met>, Error> {
    let Some(holder) = holder(conn, &claim.key)? else { return Ok(None) };
    if holder.is_over(now) {
        let_go(conn, holder.id.row())?;
        return Ok(None);
    }
    let waits = matches!(holder.state, State::Scheduled | State::Waiting | State::Ready);
    match claim.on_conflict {
        OnConflict::Refuse => Err(Error::NotUnique { existing: holder.id }),
        OnConflict::Replace(what) if waits => {
            replace(conn, now, step_ms, task, holder, what).map(Some)
        }
        OnConflict::Existing | OnConflict::Replace(_) => {
            let stored = existing(holder.id, holder.state, holder.due_at);
            Ok(Some(Met { stored, touched: None }))
        }
    }
}

/// Refuses a call whose key another task has, whatever the call wants then.
pub(super) fn refuse_taken(conn: &Connection, now: Timestamp, claim: &Claim) -> Result<(), Error> {
    let Some(holder) = holder(conn, &claim.key)? else { return Ok(()) };
    if holder.is_over(now) {
        return let_go(conn, holder.id.row());
    }
    Err(Error::NotUnique { existing: holder.id })
}

fn existing(id: TaskId, state: State, due_at: Timestamp) -> Stored {
    Stored { id, state, due_at, existing: true, claimed: None }
}

fn holder(conn: &Connection, key: &str) -> Result<Option<Holder>, Error> {
    conn.prepare_cached(HOLDER)
        .and_then(|mut find| {
            find.query_row([key], |row| {
                let (state, reason) = (text(row, 2), text(row, 9));
                Ok(Holder {
                    id: TaskId::new(row.get(0)?, row.get(1)?),
                    state: state.and_then(|word| State::from_word(&word)).unwrap_or(State::Failed),
                    reason: reason.as_deref().and_then(Reason::from_word),
                    due_at: Timestamp::clamped(row.get(3)?),
                    enqueued_at: Timestamp::clamped(row.get(10)?),
                    priority: row.get(4)?,
                    lane: row.get(6)?,
                    has_payload: row.get(7)?,
                    extra: Extra { wait_key: text(row, 8), ties: ties(row, 5), ..Extra::default() },
                })
            })
            .optional()
        })
        .map_err(not_stored)
}

/// Puts what a call says in the place of what is stored, and lets those go on that it has kept waiting.
fn replace(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    task: &NewTask,
    mut holder: Holder,
    what: Replace,
) -> Result<Met, Error> {
    let row = holder.id.row();
    let gate = holder.extra.gate_in_the_end();
    let other_gate = what.arguments && gate != task.gate();
    let old_key = gate.map(|(key, _)| key.to_owned());
    let stands = Standing {
        state: holder.state,
        reason: holder.reason,
        due_at: holder.due_at,
        gate: gate.map(|(_, gate)| gate),
    };
    let after = stands.replaced(what, (task.due_at, now), other_gate);
    let priority = if what.priority { task.priority } else { holder.priority };
    // One that begins anew stands at no gate until the old one is left.
    let state = after.state.unwrap_or((State::Scheduled, Some(Reason::Delayed)));
    conn.prepare_cached(REPLACE)
        .and_then(|mut update| {
            update.execute(rusqlite::params![
                row,
                state.0.as_str(),
                state.1.map(Reason::as_str),
                after.due_at.as_millis(),
                priority,
                rank(after.due_at, priority, step_ms),
                what.due,
                task.expires_at.map(Timestamp::as_millis),
            ])
        })
        .map_err(not_stored)?;
    if what.arguments {
        replace_arguments(conn, row, &task.arguments, holder.has_payload)?;
    }
    if other_gate {
        replace_gate(conn, row, task, &mut holder)?;
    }
    let mut freed = Vec::new();
    if let Some(key) = old_key.filter(|_| after.leaves_gate) {
        freed = gates::release(conn, now, &key, step_ms)?;
    }
    let (mut state, mut due_at) = (state.0, after.due_at);
    if after.state.is_none() {
        (state, due_at) = begin_anew(conn, now, step_ms, (row, priority, due_at), task)?;
    }
    let touched = Touched { lane: holder.lane, freed };
    Ok(Met { stored: existing(holder.id, state, due_at), touched: Some(touched) })
}

/// Writes at which gate a task stands, or will once those before it have ended.
fn replace_gate(
    conn: &Connection,
    row: i64,
    task: &NewTask,
    holder: &mut Holder,
) -> Result<(), Error> {
    let mut write = || -> rusqlite::Result<()> {
        let has_before = conn.prepare_cached(HAS_BEFORE)?.query_row([row], |found| found.get(0))?;
        let extra = &mut holder.extra;
        extra.stand_at(task.gate(), holder.reason == Some(Reason::Parents), has_before);
        conn.prepare_cached(REPLACE_GATE)?
            .execute((row, &extra.wait_key, extra.ties.text()))
            .map(drop)
    };
    write().map_err(not_stored)
}

/// Lets a due task that stands at no gate begin at that of a call; gives its state, and when it is due.
fn begin_anew(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    (row, priority, due_at): (i64, i8, Timestamp),
    task: &NewTask,
) -> Result<(State, Timestamp), Error> {
    let pass = match task.gate() {
        Some((key, gate)) => (gates::pass_new(conn, now, key, gate)?, Some(gate)),
        None => (Pass::Open, None),
    };
    match pass {
        (Pass::Later(opens_at), _) => {
            gates::postpone(conn, row, opens_at, priority, step_ms)?;
            Ok((State::Scheduled, opens_at))
        }
        (Pass::Held(_), Some(gate)) if !gate.skips() => {
            gates::hold_back(conn, row, gate)?;
            Ok((State::Waiting, due_at))
        }
        _ => {
            conn.prepare_cached(MAKE_READY)
                .and_then(|mut update| update.execute([row]))
                .map_err(not_stored)?;
            Ok((State::Ready, due_at))
        }
    }
}

fn replace_arguments(
    conn: &Connection,
    row: i64,
    arguments: &str,
    had_payload: bool,
) -> Result<(), Error> {
    let inline = (arguments.len() <= INLINE_BYTES_MAX).then_some(arguments);
    let write = || -> rusqlite::Result<()> {
        conn.prepare_cached(REPLACE_ARGUMENTS)?.execute((row, inline))?;
        if inline.is_none() {
            conn.prepare_cached(INSERT_PAYLOAD)?.execute((row * 2, arguments))?;
        } else if had_payload {
            conn.prepare_cached("DELETE FROM litework_payload WHERE id = ?1")?
                .execute([row * 2])?;
        }
        Ok(())
    };
    write().map_err(not_stored)
}

/// A task leaves the states that its key covers.
pub(super) fn let_go(conn: &Connection, row: i64) -> Result<(), Error> {
    conn.prepare_cached(LET_GO)
        .and_then(|mut update| update.execute([row]))
        .map(drop)
        .map_err(not_stored)
}

/// The other task that has a key by now.
pub(super) fn taken_by(
    conn: &Connection,
    now: Timestamp,
    row: i64,
    key: &str,
) -> Result<Option<TaskId>, Error> {
    let other = holder(conn, key)?.filter(|holder| holder.id.row() != row);
    let Some(other) = other else { return Ok(None) };
    if other.is_over(now) {
        return let_go(conn, other.id.row()).map(|()| None);
    }
    Ok(Some(other.id))
}

/// Whether another task has a key by now.
pub(super) fn is_taken(
    conn: &Connection,
    now: Timestamp,
    row: i64,
    key: &str,
) -> Result<bool, Error> {
    taken_by(conn, now, row, key).map(|other| other.is_some())
}

/// A task that has let its key go has to start again.
pub(super) fn take_again(conn: &Connection, row: i64, key: &str) -> Result<(), Error> {
    conn.prepare_cached(TAKE_AGAIN)
        .and_then(|mut update| update.execute((row, key)))
        .map(drop)
        .map_err(not_stored)
}
