//! Operate: what has ended with a task, or with a batch, runs again with it.
//!
//! Edges lead from older rows to newer ones, and what comes after a batch is newer than its members, so one
//! look at the rows in their order is enough: what comes before a row is decided before it.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::core::{Core, NextDue};
use super::edges::{self, ends_with, run};
use super::errors::not_stored;
use super::row::{text, ties_of};
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

/// Served by the primary key. Attempts go on from their number, as leases are told by it: one that was given
/// back, snoozed or put off by a rate has that number again, but only after its own end was kept.
const AGAIN: &str = "UPDATE litework_task SET state = ?2, reason = ?3, finished_at = NULL, result = NULL, \
     cancel_requested = 0, stuck = 0, dismissed = 0, due_at = ?4, \
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

/// Served by the primary key.
const WAIT: &str = "UPDATE litework_task SET state = 'waiting', reason = 'parents', wait_key = NULL \
     WHERE id = ?1";

/// The batch of a task, if it has ended without success. Served by the primary key.
const LOST_BATCH: &str = "SELECT b.id FROM litework_task t JOIN litework_task b ON b.id = t.batch \
     WHERE t.id = ?1 AND (b.state = 'failed' OR b.state = 'cancelled') \
     AND CASE WHEN json_valid(b.ties) THEN json_extract(b.ties, '$.sums') END = 1";

/// A task before another.
struct Before {
    row: i64,
    policy: Policy,
    state: State,
}

/// How many tasks run again, batches not counted.
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
    let members = rows(&core.conn, MEMBERS, id.row())?;
    if members.is_empty() && state == State::Succeeded {
        return Ok(0);
    }
    let mut open = BTreeSet::from_iter(members);
    edges::forgive(&core.conn, id.row())?;
    reopen_batch(core, now, id.row(), &mut open)?;
    let count = go_on(core, now, open)?;
    core.lanes.forget();
    core.next_due = NextDue::Unknown;
    core.effects.work = true;
    Ok(count)
}

/// A task was made ready: what has ended only because of it runs again after it, and its batch waits for
/// it, unless that has succeeded. Says whether it waits itself, for what runs again before it.
pub(super) fn take_along(core: &mut Core, now: Timestamp, row: i64) -> Result<bool, Error> {
    let mut open = BTreeSet::new();
    note(core, now, row, &mut open)?;
    go_on(core, now, open)?;
    let waits = stand_behind(&core.conn, row, &before(&core.conn, row)?)?;
    if waits {
        run(&core.conn, WAIT, [row])?;
    }
    Ok(waits)
}

/// Lets a batch wait for its members again, and notes what has ended with it.
fn reopen_batch(
    core: &mut Core,
    now: Timestamp,
    batch: i64,
    open: &mut BTreeSet<i64>,
) -> Result<(), Error> {
    reset(core, now, batch, true)?;
    core.unsummed.insert(batch, now);
    open.extend(rows(&core.conn, ENDED_WITH, batch)?);
    Ok(())
}

/// Notes what has ended with a row that runs again, or with its batch.
fn note(core: &mut Core, now: Timestamp, row: i64, open: &mut BTreeSet<i64>) -> Result<(), Error> {
    open.extend(rows(&core.conn, ENDED_WITH, row)?);
    let batches = rows(&core.conn, LOST_BATCH, row)?;
    batches.into_iter().try_for_each(|batch| reopen_batch(core, now, batch, open))
}

/// Lets those run again that have ended with others, and what has ended with them; says how many.
fn go_on(core: &mut Core, now: Timestamp, mut open: BTreeSet<i64>) -> Result<u64, Error> {
    let mut count = 0;
    while let Some(row) = open.pop_first() {
        if run_again(core, now, row)? {
            count += 1;
            note(core, now, row, &mut open)?;
        }
    }
    Ok(count)
}

/// Whether a task can run again; if so, it does.
fn run_again(core: &Core, now: Timestamp, row: i64) -> Result<bool, Error> {
    let before = before(&core.conn, row)?;
    if before.iter().any(|one| ends_with(one.state, one.policy)) {
        return Ok(false);
    }
    let ties = ties(&core.conn, row)?;
    let key = ties.unique.filter(|unique| !matches!(unique.held, Held::Until(_)));
    if let Some(unique) = key {
        if unique::is_taken(&core.conn, now, row, &unique.key)? {
            return Ok(false);
        }
        unique::take_again(&core.conn, row, &unique.key)?;
    }
    let waits = stand_behind(&core.conn, row, &before)?;
    reset(core, now, row, waits)?;
    Ok(true)
}

/// Lets a row wait for those before it that have not ended; says whether there are such.
fn stand_behind(conn: &Connection, row: i64, before: &[Before]) -> Result<bool, Error> {
    let mut open = before.iter().filter(|one| !one.state.is_final()).peekable();
    let waits = open.peek().is_some();
    open.try_for_each(|one| edges::reopen(conn, one.row, row))?;
    Ok(waits)
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
