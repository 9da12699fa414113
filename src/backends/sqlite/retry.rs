//! Operate: the members of a batch that did not succeed run again, and what has ended with them.
//!
//! Edges lead from older rows to newer ones, so one look at the rows in their order is enough: what comes
//! before a row is decided before it.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::core::{Core, NextDue};
use super::edges::{AWAIT, ends_with, run};
use super::errors::not_stored;
use super::gates::ties_of;
use super::row::text;
use super::unique;
use crate::deed::Deed;
use crate::error::Error;
use crate::id::TaskId;
use crate::state::{Reason, State};
use crate::ties::{Policy, Ties};
use crate::time::Timestamp;
use crate::unique::Held;

/// Served by the primary key.
const BATCH: &str = "SELECT state FROM litework_task \
     WHERE id = ?1 AND tag = ?2 AND CASE WHEN json_valid(ties) THEN json_extract(ties, '$.sums') END = 1";

/// Members that did not succeed. Served by `litework_task_batch`.
pub(super) const MEMBERS: &str = "SELECT id FROM litework_task \
     WHERE batch = ?1 AND (state = 'failed' OR state = 'cancelled')";

/// What has ended with a task. Served by the primary keys.
pub(super) const ENDED_WITH: &str = "SELECT t.id FROM litework_edge e JOIN litework_task t ON t.id = e.after \
     WHERE e.before = ?1 AND (t.state = 'failed' OR t.state = 'cancelled') AND t.reason = 'parent'";

/// Those before a task. Served by `litework_edge_after`, then by the primary key.
pub(super) const BEFORE: &str = "SELECT e.before, e.policy, t.state \
     FROM litework_edge e JOIN litework_task t ON t.id = e.before WHERE e.after = ?1";

/// Served by the primary key.
const TIES: &str = "SELECT ties FROM litework_task WHERE id = ?1";

/// Served by the primary key of `litework_edge`.
const REOPEN: &str = "UPDATE litework_edge SET open = 1 WHERE before = ?1 AND after = ?2";

/// Served by the primary key. Attempts go on from their number, as leases are told by it: one that was given
/// back, snoozed or put off by a rate has that number again, but only after its own end was kept.
const AGAIN: &str = "UPDATE litework_task SET state = ?2, reason = ?3, finished_at = NULL, result = NULL, \
     cancel_requested = 0, stuck = 0, due_at = ?4, \
     expires_at = CASE WHEN expires_at > ?4 THEN expires_at END, \
     rank = ?4 - priority * ?5, \
     wait_key = CASE WHEN ?2 = 'ready' THEN coalesce( \
       CASE WHEN json_valid(ties) THEN json_extract(ties, '$.held_key') END, wait_key) END, \
     attempts_max = ?6 WHERE id = ?1";

/// What the task had spent when it was last retried. Served by `litework_error_task`.
const BASE: &str =
    "SELECT coalesce(max(attempt), 0) FROM litework_error WHERE task = ?1 AND outcome = 'retried'";

const NOTE_RETRY: &str = "INSERT INTO litework_error (task, attempt, outcome, finished_at) \
     VALUES (?1, ?2, 'retried', ?3)";

/// Served by the primary key.
const ATTEMPTS: &str = "SELECT attempt, attempts_max FROM litework_task WHERE id = ?1";

/// How many attempts a task has from now on that is retried after so many of so many; notes that it is.
pub(super) fn allow_again(
    conn: &Connection,
    now: Timestamp,
    row: i64,
    (attempt, attempts_max): (u32, u32),
) -> Result<u32, Error> {
    let base = conn
        .prepare_cached(BASE)
        .and_then(|mut read| read.query_row([row], |found| found.get(0)))
        .map_err(not_stored)?;
    run(conn, NOTE_RETRY, (row, attempt, now.as_millis()))?;
    Ok(Deed::allowance(attempt, attempts_max, base))
}

/// Served by `litework_edge_after`.
const IS_OPEN: &str = "SELECT EXISTS (SELECT 1 FROM litework_edge WHERE after = ?1 AND open = 1)";

/// Served by the primary key.
const WAIT: &str = "UPDATE litework_task SET state = 'waiting', reason = 'parents', wait_key = NULL \
     WHERE id = ?1";

/// Lets a task that was made ready wait, if any before it has not ended; says whether it does.
pub(super) fn wait_again(conn: &Connection, row: i64) -> Result<bool, Error> {
    let open = conn
        .prepare_cached(IS_OPEN)
        .and_then(|mut read| read.query_row([row], |found| found.get(0)))
        .map_err(not_stored)?;
    if open {
        run(conn, WAIT, [row])?;
    }
    Ok(open)
}

/// A task before another.
struct Before {
    row: i64,
    policy: Policy,
    state: State,
}

/// How many tasks run again, the batch not counted.
pub(super) fn batch(core: &mut Core, now: Timestamp, id: TaskId) -> Result<u64, Error> {
    let state: Option<String> = core
        .conn
        .prepare_cached(BATCH)
        .and_then(|mut read| read.query_row((id.row(), id.tag()), |row| row.get(0)).optional())
        .map_err(not_stored)?;
    let state = state.ok_or_else(|| Error::not_found(id))?;
    let state = State::from_word(&state).unwrap_or(State::Failed);
    if !state.is_final() {
        return Err(Error::NotFinished { id, state });
    }
    let batch = id.row();
    let mut members = rows(&core.conn, MEMBERS, batch)?;
    if members.is_empty() {
        return Ok(0);
    }
    let mut open: BTreeSet<i64> = members.drain(..).collect();
    open.extend(rows(&core.conn, ENDED_WITH, batch)?);
    let mut again = BTreeSet::from([batch]);
    reset(core, now, batch, true)?;
    while let Some(row) = open.pop_first() {
        if run_again(core, now, row, &again)? {
            again.insert(row);
            open.extend(rows(&core.conn, ENDED_WITH, row)?);
        }
    }
    core.lanes.forget();
    core.next_due = NextDue::Unknown;
    core.effects.work = true;
    core.effects.changed.extend(&again);
    core.unsummed.insert(batch, now);
    Ok(again.len() as u64 - 1)
}

/// Whether a task can run again; if so, it does.
fn run_again(core: &Core, now: Timestamp, row: i64, again: &BTreeSet<i64>) -> Result<bool, Error> {
    let before = before(&core.conn, row)?;
    let doomed = |one: &Before| !again.contains(&one.row) && ends_with(one.state, one.policy);
    if before.iter().any(doomed) {
        return Ok(false);
    }
    let ties = ties(&core.conn, row)?;
    let key = ties.unique.filter(|unique| !matches!(unique.held, Held::Until(_)));
    if let Some(unique) = key {
        if unique::is_taken(&core.conn, row, &unique.key)? {
            return Ok(false);
        }
        unique::take_again(&core.conn, row, &unique.key)?;
    }
    // Those that run again have not ended by now, and neither may have others.
    let mut waits = false;
    for one in before.iter().filter(|one| !one.state.is_final()) {
        run(&core.conn, REOPEN, (one.row, row))?;
        run(&core.conn, AWAIT, [one.row])?;
        waits = true;
    }
    reset(core, now, row, waits)?;
    Ok(true)
}

/// Makes a row ready, or lets it wait for those before it.
fn reset(core: &Core, now: Timestamp, row: i64, waits: bool) -> Result<(), Error> {
    let (state, reason) =
        if waits { (State::Waiting, Some(Reason::Parents)) } else { (State::Ready, None) };
    let reason = reason.map(Reason::as_str);
    let attempts = core
        .conn
        .prepare_cached(ATTEMPTS)
        .and_then(|mut read| read.query_row([row], |found| Ok((found.get(0)?, found.get(1)?))))
        .map_err(not_stored)?;
    let attempts_max = allow_again(&core.conn, now, row, attempts)?;
    let now = now.as_millis();
    run(&core.conn, AGAIN, (row, state.as_str(), reason, now, core.step_ms, attempts_max)).map(drop)
}

fn rows(conn: &Connection, sql: &str, row: i64) -> Result<Vec<i64>, Error> {
    conn.prepare_cached(sql)
        .and_then(|mut read| read.query_map([row], |found| found.get(0))?.collect())
        .map_err(not_stored)
}

fn before(conn: &Connection, row: i64) -> Result<Vec<Before>, Error> {
    conn.prepare_cached(BEFORE)
        .and_then(|mut read| {
            let found = read.query_map([row], |found| {
                let (policy, state): (String, String) = (found.get(1)?, found.get(2)?);
                Ok(Before {
                    row: found.get(0)?,
                    policy: Policy::from_word(&policy),
                    state: State::from_word(&state).unwrap_or(State::Failed),
                })
            })?;
            found.collect()
        })
        .map_err(not_stored)
}

fn ties(conn: &Connection, row: i64) -> Result<Ties, Error> {
    conn.prepare_cached(TIES)
        .and_then(|mut read| read.query_row([row], |found| Ok(text(found, 0))))
        .map(ties_of)
        .map_err(not_stored)
}
