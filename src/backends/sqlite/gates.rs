//! Claim: the gates of single tasks: locks, limits and rates by key.
//!
//! Whoever runs has passed its gate, and whoever is ready may pass it next; the rest wait outside of the
//! index of ready work, so that ten thousand of them delay nobody. All is read from the tasks of the key;
//! a place is free as soon as a row has left its state, whatever has ended it.

use rusqlite::{Connection, OptionalExtension};

use super::errors::not_stored;
use crate::error::Error;
use crate::gate::{Gate, Rate};
use crate::id::TaskId;
use crate::state::rank;
use crate::ties::Ties;
use crate::time::Timestamp;

/// The running task that holds a lock, unless its hold has expired. Served by `litework_task_gate`.
pub(super) const HOLDER: &str = "SELECT id, tag FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'running' \
     AND coalesce(started_at + json_extract(ties, '$.gate.lock.expires_ms') > ?2, 1) LIMIT 1";

/// How many have passed a gate and run. Served by `litework_task_gate`.
pub(super) const HOLD: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'running' \
     AND coalesce(started_at + json_extract(ties, '$.gate.lock.expires_ms') > ?2, 1) LIMIT ?3)";

/// How many may pass it next. Served by `litework_task_gate`.
pub(super) const LINED_UP: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'ready' AND ?2 LIMIT ?3)";

/// Served by `litework_task_gate`.
pub(super) const BEFORE_RATE: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND (state = 'ready' OR state = 'waiting' \
     OR (state = 'scheduled' AND reason = 'rate')))";

/// Served by `litework_task_gate`.
pub(super) const LINED_UP_RATE: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND (state = 'ready' \
     OR (state = 'scheduled' AND reason = 'rate')))";

/// Served by `litework_task_gate`.
pub(super) const NEXT: &str = "SELECT id, lane, rank, priority, ties FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'waiting' ORDER BY rank, id LIMIT 1";

/// Served by the primary key.
const PROMOTE: &str =
    "UPDATE litework_task SET state = 'ready', reason = NULL WHERE id = ?1 AND state = 'waiting'";

/// Served by the primary key.
const POSTPONE: &str = "UPDATE litework_task SET state = 'scheduled', reason = 'rate', due_at = ?2, \
     rank = ?3 WHERE id = ?1 AND finished_at IS NULL";

/// Served by the primary key.
const WAIT: &str = "UPDATE litework_task SET state = 'waiting', reason = ?2 WHERE id = ?1 \
     AND (state = 'ready' OR state = 'scheduled')";

/// Served by the primary key of `litework_rule`.
const RATE_KEY: &str =
    "SELECT next_at, closed_until FROM litework_rule WHERE scope = 'key' AND name = ?1";

const RATE_STARTED: &str = "INSERT INTO litework_rule (scope, name, next_at) VALUES ('key', ?1, ?2) \
     ON CONFLICT (scope, name) DO UPDATE SET next_at = excluded.next_at";

/// Served by the primary key.
const GATE: &str = "SELECT wait_key, ties FROM litework_task WHERE id = ?1";

const CLOSE: &str = "INSERT INTO litework_rule (scope, name, closed_until) VALUES (?1, ?2, ?3) \
     ON CONFLICT (scope, name) DO UPDATE \
     SET closed_until = max(coalesce(closed_until, 0), excluded.closed_until)";

const FENCE: &str =
    "UPDATE litework_meta SET value = value + 1 WHERE name = 'fence' RETURNING value";

/// The next key at which a task waits. Served by `litework_task_gate`.
pub(super) const NEXT_KEY: &str = "SELECT wait_key FROM litework_task \
     WHERE wait_key > ?1 AND finished_at IS NULL AND state = 'waiting' ORDER BY wait_key LIMIT 1";

/// Whether anybody keeps the tasks of a key waiting. Served by `litework_task_gate`.
pub(super) const KEPT: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND (state = 'ready' \
     OR (state = 'scheduled' AND reason = 'rate') OR (state = 'running' AND coalesce( \
       started_at + json_extract(ties, '$.gate.lock.expires_ms') > ?2, 1))))";

/// Keys that are looked at in one go.
const KEYS_MAX: usize = 10_000;

/// Whether a task may pass its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Open,
    /// As many as may have passed it; for a lock, who holds it.
    Held(Option<TaskId>),
    /// Not before this moment.
    Later(Timestamp),
}

/// A task that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    /// Ready: its row, its lane, its rank.
    Ready { row: i64, lane: i64, rank: i64 },
    /// Scheduled for this moment.
    Due(Timestamp),
}

/// Whether a task that is about to start may.
pub(super) fn pass(
    conn: &Connection,
    now: Timestamp,
    key: &str,
    gate: Gate,
) -> Result<Pass, Error> {
    match gate {
        Gate::Rate(rate) => {
            let opens_at = opens_at(conn, key, rate)?;
            Ok(if opens_at > now { Pass::Later(opens_at) } else { Pass::Open })
        }
        Gate::Limit { .. } => {
            let held = held(conn, now, key, gate)?;
            Ok(if held < gate.places() { Pass::Open } else { Pass::Held(None) })
        }
        Gate::Lock { .. } => {
            let holder = holder(conn, now, key)?;
            Ok(holder.map_or(Pass::Open, |holder| Pass::Held(Some(holder))))
        }
    }
}

/// The same for a new task, which also stands behind those that are ready.
pub(super) fn pass_new(
    conn: &Connection,
    now: Timestamp,
    key: &str,
    gate: Gate,
) -> Result<Pass, Error> {
    let before = match gate {
        Gate::Rate(_) => exists(conn, BEFORE_RATE, key)?,
        // It is skipped only if it finds the lock held when it starts.
        Gate::Lock { wait: false, .. } => false,
        Gate::Lock { .. } | Gate::Limit { .. } => {
            held(conn, now, key, gate)? + count(conn, LINED_UP, now, key, gate)? >= gate.places()
        }
    };
    if before { Ok(Pass::Held(None)) } else { pass(conn, now, key, gate) }
}

/// How many places are taken by those that run.
fn held(conn: &Connection, now: Timestamp, key: &str, gate: Gate) -> Result<u32, Error> {
    count(conn, HOLD, now, key, gate)
}

/// The running task that holds a lock, unless its hold has expired.
fn holder(conn: &Connection, now: Timestamp, key: &str) -> Result<Option<TaskId>, Error> {
    conn.prepare_cached(HOLDER)
        .and_then(|mut read| {
            let found = read
                .query_row((key, now.as_millis()), |row| Ok(TaskId::new(row.get(0)?, row.get(1)?)));
            found.optional()
        })
        .map_err(not_stored)
}

fn count(
    conn: &Connection,
    sql: &str,
    now: Timestamp,
    key: &str,
    gate: Gate,
) -> Result<u32, Error> {
    let given = (key, now.as_millis(), gate.places());
    conn.prepare_cached(sql)
        .and_then(|mut read| read.query_row(given, |row| row.get(0)))
        .map_err(not_stored)
}

fn exists(conn: &Connection, sql: &str, key: &str) -> Result<bool, Error> {
    conn.prepare_cached(sql)
        .and_then(|mut read| read.query_row([key], |row| row.get(0)))
        .map_err(not_stored)
}

/// When the rate of a key admits the next start.
fn opens_at(conn: &Connection, key: &str, rate: Rate) -> Result<Timestamp, Error> {
    let (next_at, closed_until) = rate_state(conn, key)?;
    Ok(rate.opens_at(next_at).max(closed_until))
}

fn rate_state(conn: &Connection, key: &str) -> Result<(i64, Timestamp), Error> {
    let found = conn
        .prepare_cached(RATE_KEY)
        .and_then(|mut read| {
            read.query_row([key], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?))).optional()
        })
        .map_err(not_stored)?;
    let (next_at, closed_until) = found.unwrap_or((0, None));
    Ok((next_at, Timestamp::clamped(closed_until.unwrap_or(0))))
}

/// Notes that a task has passed its gate: moves a rate on, and numbers the holder of a lock.
pub(super) fn passed(
    conn: &Connection,
    now: Timestamp,
    key: &str,
    gate: Gate,
) -> Result<Option<i64>, Error> {
    match gate {
        Gate::Limit { .. } => Ok(None),
        Gate::Lock { .. } => conn
            .prepare_cached(FENCE)
            .and_then(|mut next| next.query_row([], |row| row.get(0)))
            .map(Some)
            .map_err(not_stored),
        Gate::Rate(rate) => {
            let (next_at, _) = rate_state(conn, key)?;
            conn.prepare_cached(RATE_STARTED)
                .and_then(|mut note| note.execute((key, rate.after_start(next_at, now))))
                .map(|_| None)
                .map_err(not_stored)
        }
    }
}

/// Closes the rate of a task that was told to wait, or else its queue.
pub(super) fn close(
    conn: &Connection,
    row: i64,
    queue: &str,
    until: Timestamp,
) -> Result<(), Error> {
    let close = || -> rusqlite::Result<usize> {
        let (key, ties) = conn
            .prepare_cached(GATE)?
            .query_row([row], |row| Ok((row.get::<_, Option<String>>(0)?, row.get(1)?)))?;
        let by_rate = matches!(ties_of(ties).gate, Some(Gate::Rate(_)));
        let (scope, name) = match key.as_deref().filter(|_| by_rate) {
            Some(key) => ("key", key),
            None => ("queue", queue),
        };
        conn.prepare_cached(CLOSE)?.execute((scope, name, until.as_millis()))
    };
    close().map(drop).map_err(not_stored)
}

/// Makes a task wait at its gate that was ready.
pub(super) fn hold_back(conn: &Connection, row: i64, gate: Gate) -> Result<(), Error> {
    conn.prepare_cached(WAIT)
        .and_then(|mut wait| wait.execute((row, gate.reason().as_str())))
        .map(drop)
        .map_err(not_stored)
}

/// Schedules a task for the moment at which its rate admits it.
pub(super) fn postpone(
    conn: &Connection,
    row: i64,
    until: Timestamp,
    priority: i8,
    step_ms: i64,
) -> Result<(), Error> {
    conn.prepare_cached(POSTPONE)
        .and_then(|mut later| {
            later.execute((row, until.as_millis(), rank(until, priority, step_ms)))
        })
        .map(drop)
        .map_err(not_stored)
}

/// Lets those that wait at a gate go on, as far as there are places.
pub(super) fn release(
    conn: &Connection,
    now: Timestamp,
    key: &str,
    step_ms: i64,
) -> Result<Vec<Freed>, Error> {
    let mut freed = Vec::new();
    // Counted once; each that goes on takes one place more.
    let mut taken = None;
    while let Some(next) = next(conn, key)? {
        let before = match (taken, next.gate) {
            (Some(taken), _) => taken,
            (None, Gate::Rate(_)) => u32::from(exists(conn, LINED_UP_RATE, key)?),
            (None, gate) => held(conn, now, key, gate)? + count(conn, LINED_UP, now, key, gate)?,
        };
        if before >= next.gate.places() {
            break;
        }
        taken = Some(before + 1);
        if let Gate::Rate(rate) = next.gate {
            let opens_at = opens_at(conn, key, rate)?;
            if opens_at > now {
                postpone(conn, next.row, opens_at, next.priority, step_ms)?;
                freed.push(Freed::Due(opens_at));
                break;
            }
        }
        conn.prepare_cached(PROMOTE)
            .and_then(|mut promote| promote.execute([next.row]))
            .map_err(not_stored)?;
        freed.push(Freed::Ready { row: next.row, lane: next.lane, rank: next.rank });
        // Limits of one key may differ from call to call.
        if !matches!(next.gate, Gate::Limit { .. }) {
            break;
        }
    }
    Ok(freed)
}

/// The first that waits at a gate.
struct Next {
    row: i64,
    lane: i64,
    rank: i64,
    priority: i8,
    gate: Gate,
}

fn next(conn: &Connection, key: &str) -> Result<Option<Next>, Error> {
    conn.prepare_cached(NEXT)
        .and_then(|mut read| {
            read.query_row([key], |row| {
                let gate = ties_of(row.get(4)?).gate.unwrap_or(Gate::TURN);
                let (row, lane, rank, priority) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok(Next { row, lane, rank, priority, gate })
            })
            .optional()
        })
        .map_err(not_stored)
}

/// Keys at which tasks wait that nobody keeps waiting.
pub(super) fn forgotten(conn: &Connection, now: Timestamp) -> rusqlite::Result<Vec<String>> {
    let mut next = conn.prepare_cached(NEXT_KEY)?;
    let mut kept = conn.prepare_cached(KEPT)?;
    let (mut last, mut found) = (String::new(), Vec::new());
    for _ in 0..KEYS_MAX {
        let key: Option<String> = next.query_row([&last], |row| row.get(0)).optional()?;
        let Some(key) = key else { break };
        if !kept.query_row((&key, now.as_millis()), |row| row.get::<_, bool>(0))? {
            found.push(key.clone());
        }
        last = key;
    }
    Ok(found)
}

/// What is stored as the ties of a task. What another program has damaged ties it to nobody.
pub(super) fn ties_of(text: Option<String>) -> Ties {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
