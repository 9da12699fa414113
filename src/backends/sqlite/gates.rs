//! Claim: the gates of single tasks: locks, limits and rates by key.
//!
//! Whoever runs has passed its gate, and whoever is ready may pass it next; the rest wait outside of the
//! index of ready work, so that ten thousand of them delay nobody. All is read from the tasks of the key;
//! a place is free as soon as a row has left its state, whatever has ended it.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row};

use super::bad_row;
use super::errors::{is_decode_error, not_stored};
use super::row::{text, ties};
use crate::error::Error;
use crate::fault;
use crate::gate::{Gate, Rate, closed};
use crate::id::TaskId;
use crate::options::{PRIORITY_MAX, PRIORITY_MIN};
use crate::retry::RETRY_DELAY_MAX;
use crate::state::rank;
use crate::time::Timestamp;

/// The running task that holds a lock, unless its hold has expired; one whose ties are damaged holds it.
/// Served by `litework_task_gate`.
pub(super) const HOLDER: &str = "SELECT id, tag FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'running' \
     AND coalesce(started_at + CASE WHEN json_valid(ties) THEN \
       json_extract(ties, '$.gate.lock.expires_ms') END > ?2, 1) LIMIT 1";

/// How many have passed a limit and run. Served by `litework_task_gate`.
pub(super) const RUNNING: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'running' LIMIT +?2)";

/// The same with those that may pass it next. No other word stands between these two, and one look-up costs
/// half of two; for OR a table is built each time. Served by `litework_task_gate`.
pub(super) const TAKEN: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state BETWEEN 'ready' AND 'running' LIMIT +?2)";

/// Whether a lock is held, or somebody may take it next; in one look-up likewise. Served by
/// `litework_task_gate`.
pub(super) const LOCKED: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state BETWEEN 'ready' AND 'running' \
     AND (state = 'ready' OR coalesce(started_at + CASE WHEN json_valid(ties) THEN \
       json_extract(ties, '$.gate.lock.expires_ms') END > ?2, 1)))";

/// Whether anybody stands before a new task at a rate. Served by `litework_task_gate`.
pub(super) const BEFORE_RATE: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'ready') \
     OR EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'waiting') \
     OR EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'scheduled' AND reason = 'rate' \
     AND due_at <= ?2)";

/// Whether a rate has its next. Two look-ups, as one with OR reads all that wait. Served by
/// `litework_task_gate`.
pub(super) const LINED_UP_RATE: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'ready') \
     OR EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'scheduled' AND reason = 'rate' \
     AND due_at <= ?2)";

/// Whether one is scheduled by its rate. Served by `litework_task_gate`.
pub(super) const PUT_OFF: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'scheduled' AND reason = 'rate' \
     AND due_at <= ?2)";

/// One that a rate has put off further than it can, as the clock was set back since. Served by
/// `litework_task_gate`.
pub(super) const FAR_OFF: &str = "SELECT id, lane, rank, priority, ties FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'scheduled' AND reason = 'rate' \
     AND due_at > ?2 LIMIT 1";

/// Those that wait, in order, and how many places are taken, if few are. Served by `litework_task_gate`.
pub(super) const WAITING: &str = "SELECT id, lane, rank, priority, ties, \
     (SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state BETWEEN 'ready' AND 'running' LIMIT +?2)) \
     FROM litework_task WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'waiting' \
     ORDER BY rank, id";

/// From so many places on it is asked apart how many are taken.
const FEW: u32 = if cfg!(test) { 2 } else { 5 };

/// Served by the primary key.
const PROMOTE: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE id = ?1 AND (state = 'waiting' OR reason = 'rate')";

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
     SET closed_until = CASE WHEN closed_until BETWEEN excluded.closed_until AND excluded.closed_until + ?4 \
     THEN closed_until ELSE excluded.closed_until END";

/// The next numbers. A count that another program has removed or damaged begins anew at the time of day in
/// milliseconds, which no count has come to that grew by itself.
const RESERVE: &str = "INSERT INTO litework_meta (name, value) VALUES ('fence', ?1 + ?2) \
     ON CONFLICT (name) DO UPDATE SET value = ?2 + CASE \
       WHEN typeof(value) = 'integer' AND value BETWEEN 0 AND 9000000000000000000 THEN value ELSE ?1 END \
     RETURNING value";

/// The next key at which a task waits. Served by `litework_task_gate`.
pub(super) const NEXT_KEY: &str = "SELECT wait_key, id FROM litework_task \
     WHERE wait_key > ?1 AND finished_at IS NULL AND state = 'waiting' ORDER BY wait_key LIMIT 1";

/// Those that wait at the same key as one. Served by `litework_task_gate` and the primary key.
pub(super) const SAME_KEY: &str = "SELECT id FROM litework_task \
     WHERE wait_key = (SELECT wait_key FROM litework_task WHERE id = ?1) \
     AND finished_at IS NULL AND state = 'waiting' LIMIT +?2";

/// Lanes of those that may pass next; theirs may be shut. Served by `litework_task_gate`.
pub(super) const READY_LANES: &str = "SELECT lane FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'ready'";

/// The first that wait, of which one may be of another lane. Apart from the look for that, as `lane NOT IN`
/// would build a table each time. Served by `litework_task_gate`.
pub(super) const PAST: &str = "SELECT id, lane, rank, priority, ties FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'waiting' ORDER BY rank, id LIMIT 1000";

/// Keys that are looked at in one turn, for about 2 ms.
const KEYS_MAX: usize = 200;

/// Turns of one look; the next goes on behind its last key.
pub(super) const LOOKS: usize = 10;

/// Numbers of holders that are taken from the file at once, so that most claims of a lock write no row for it.
const RESERVED: i64 = 1_000;

/// The numbers that the next holders of locks get. They are forgotten when another process commits, as the
/// numbers of one lock must grow from holder to holder, whoever holds it; and with a rollback.
#[derive(Debug, Default)]
pub(super) struct Fences {
    next: i64,
    end: i64,
}

impl Fences {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn take(&mut self, conn: &Connection, now: Timestamp) -> Result<i64, Error> {
        if self.next == self.end {
            let last: i64 = conn
                .prepare_cached(RESERVE)
                .and_then(|mut reserve| {
                    reserve.query_row((now.as_millis(), RESERVED), |row| row.get(0))
                })
                .map_err(not_stored)?;
            (self.next, self.end) = (last - RESERVED + 1, last + 1);
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

/// Whether a task may pass its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Open,
    /// As many as may have passed it; for a lock, who holds it.
    Held(Option<TaskId>),
    /// Not before this moment.
    Later(Timestamp),
}

/// A task that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    /// Ready: its row, its lane, its rank.
    Ready { row: i64, lane: i64, rank: i64 },
    /// Scheduled for this moment.
    Due(Timestamp),
    /// Its row was damaged, so it has ended.
    Ended { row: i64, at: Timestamp },
}

/// Whether a task that is about to start may.
pub(super) fn pass(
    conn: &Connection,
    now: Timestamp,
    key: &str,
    gate: Gate,
) -> Result<Pass, Error> {
    if fault::planted("gate_off") {
        return Ok(Pass::Open);
    }
    match gate {
        Gate::Rate(rate) => {
            let opens_at = opens_at(conn, now, key, rate)?;
            Ok(if opens_at > now { Pass::Later(opens_at) } else { Pass::Open })
        }
        Gate::Limit { max } => {
            let running = count(conn, RUNNING, key, max)?;
            Ok(if running < max { Pass::Open } else { Pass::Held(None) })
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
        Gate::Rate(rate) => exists(conn, BEFORE_RATE, key, rate.latest_due(now))?,
        // It is skipped only if it finds the lock held when it starts.
        Gate::Lock { wait: false, .. } => false,
        gate => !has_place(conn, now, key, gate)?,
    };
    if before { Ok(Pass::Held(None)) } else { pass(conn, now, key, gate) }
}

/// Whether a place of a lock or a limit is free, also of those that may pass it next.
fn has_place(conn: &Connection, now: Timestamp, key: &str, gate: Gate) -> Result<bool, Error> {
    if fault::planted("gate_off") {
        return Ok(true);
    }
    Ok(match gate {
        Gate::Limit { max } => count(conn, TAKEN, key, max)? < max,
        _ => !conn
            .prepare_cached(LOCKED)
            .and_then(|mut read| read.query_row((key, now.as_millis()), |row| row.get(0)))
            .map_err(not_stored)?,
    })
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

fn count(conn: &Connection, sql: &str, key: &str, max: u32) -> Result<u32, Error> {
    conn.prepare_cached(sql)
        .and_then(|mut read| read.query_row((key, max), |row| row.get(0)))
        .map_err(not_stored)
}

fn exists(conn: &Connection, sql: &str, key: &str, latest: Timestamp) -> Result<bool, Error> {
    conn.prepare_cached(sql)
        .and_then(|mut read| read.query_row((key, latest.as_millis()), |row| row.get(0)))
        .map_err(not_stored)
}

/// When the rate of a key admits the next start.
fn opens_at(conn: &Connection, now: Timestamp, key: &str, rate: Rate) -> Result<Timestamp, Error> {
    if fault::planted("gate_off") {
        return Ok(now);
    }
    let (next_at, closed_until) = rate_state(conn, key)?;
    Ok(rate.opens_at(next_at, now).max(closed(closed_until, now)))
}

fn rate_state(conn: &Connection, key: &str) -> Result<(i64, Option<Timestamp>), Error> {
    let found = conn
        .prepare_cached(RATE_KEY)
        .and_then(|mut read| {
            read.query_row([key], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?))).optional()
        })
        .map_err(not_stored)?;
    let (next_at, closed_until) = found.unwrap_or((0, None));
    Ok((next_at, closed_until.map(Timestamp::clamped)))
}

/// Notes that a task has passed its gate: moves a rate on, and numbers the holder of a lock.
pub(super) fn passed(
    conn: &Connection,
    fences: &mut Fences,
    now: Timestamp,
    key: &str,
    gate: Gate,
) -> Result<Option<i64>, Error> {
    match gate {
        Gate::Limit { .. } => Ok(None),
        Gate::Lock { .. } => fences.take(conn, now).map(Some),
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
        let (key, gate) = conn
            .prepare_cached(GATE)?
            .query_row([row], |row| Ok((text(row, 0), ties(row, 1).gate)))?;
        let by_rate = matches!(gate, Some(Gate::Rate(_)));
        let (scope, name) = match key.as_deref().filter(|_| by_rate) {
            Some(key) => ("key", key),
            None => ("queue", queue),
        };
        // What is further off than anybody may say was said by a clock that has been set back since.
        let longest = i64::try_from(RETRY_DELAY_MAX.as_millis()).unwrap_or(i64::MAX);
        conn.prepare_cached(CLOSE)?.execute((scope, name, until.as_millis(), longest))
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
    let next = next(conn, now, key)?;
    next.into_iter().map(|next| go_on(conn, now, key, &next, step_ms)).collect()
}

/// A task that waits at a gate.
pub(super) struct Next {
    pub(super) row: i64,
    pub(super) lane: i64,
    pub(super) rank: i64,
    priority: i8,
    gate: Gate,
    /// Others may pass before it, if they can start.
    past: bool,
}

impl Next {
    /// Whether it has its place, as soon as it is known to be ready.
    pub(super) fn has_place(&self) -> bool {
        !self.past && !matches!(self.gate, Gate::Rate(_))
    }
}

/// Those that may go on, as far as there are places; where only those stand before them that may not be able to
/// start, the first that could.
pub(super) fn next(conn: &Connection, now: Timestamp, key: &str) -> Result<Vec<Next>, Error> {
    let mut read = conn.prepare_cached(WAITING).map_err(not_stored)?;
    let mut rows = read.query((key, FEW)).map_err(not_stored)?;
    let mut found = Vec::new();
    let mut taken = None;
    while let Some(row) = rows.next().map_err(not_stored)? {
        let next = waits(row).map_err(not_stored)?;
        let few = row.get(5).map_err(not_stored)?;
        let is_free = match next.gate {
            Gate::Lock { .. } => few == 0 || has_place(conn, now, key, next.gate)?,
            Gate::Rate(rate) => !exists(conn, LINED_UP_RATE, key, rate.latest_due(now))?,
            Gate::Limit { max } => {
                // Counted once; each that goes on takes one place more.
                let before = match taken {
                    Some(taken) => taken,
                    None if few < FEW => few,
                    None => count(conn, TAKEN, key, max)?,
                };
                taken = Some(before + 1);
                before < max || fault::planted("gate_off")
            }
        };
        // Limits of one key may differ from call to call.
        let alone = !matches!(next.gate, Gate::Limit { .. });
        if !is_free {
            if found.is_empty() {
                found.extend(past(conn, now, key, next.gate)?);
            }
            break;
        }
        found.push(next);
        if alone {
            break;
        }
    }
    Ok(found)
}

fn waits(row: &Row<'_>) -> rusqlite::Result<Next> {
    let gate = ties(row, 4).gate.unwrap_or(Gate::TURN);
    // What cannot be a priority is found out when the row is written.
    let priority = row.get::<_, i64>(3)?.clamp(PRIORITY_MIN.into(), PRIORITY_MAX.into());
    let priority = i8::try_from(priority).unwrap_or_default();
    Ok(Next { row: row.get(0)?, lane: row.get(1)?, rank: row.get(2)?, priority, gate, past: false })
}

/// Makes it ready, or schedules it for the moment at which its rate admits it.
pub(super) fn go_on(
    conn: &Connection,
    now: Timestamp,
    key: &str,
    next: &Next,
    step_ms: i64,
) -> Result<Freed, Error> {
    if let Gate::Rate(rate) = next.gate {
        let opens_at = opens_at(conn, now, key, rate)?;
        if opens_at > now {
            let rank = rank(opens_at, next.priority, step_ms);
            let values = (next.row, opens_at.as_millis(), rank);
            let is_sound = bad_row::change(conn, (POSTPONE, values), next.row, now)?;
            let ended = Freed::Ended { row: next.row, at: now };
            return Ok(if is_sound { Freed::Due(opens_at) } else { ended });
        }
    }
    let Next { row, lane, rank, .. } = *next;
    let is_sound = bad_row::change(conn, (PROMOTE, [row]), row, now)?;
    let ended = Freed::Ended { row, at: now };
    Ok(if is_sound { Freed::Ready { row, lane, rank } } else { ended })
}

/// What a look at gates has found.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Keys at which tasks wait that nobody keeps waiting, or that only tasks keep waiting which may not be
    /// able to start: of a queue that is paused, say, or of a kind that no process serves.
    pub(super) keys: Vec<String>,
    /// Rows whose key is no text, so that nobody could let them go on.
    pub(super) damaged: Vec<i64>,
}

impl Forgotten {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.damaged.is_empty()
    }
}

/// Looks at the next gates; `last` is where the look before ended.
pub(super) fn forgotten(
    conn: &Connection,
    now: Timestamp,
    last: &mut String,
) -> Result<Forgotten, Error> {
    let mut found = Forgotten::default();
    for _ in 0..KEYS_MAX {
        let waiting = conn.prepare_cached(NEXT_KEY).and_then(|mut next| {
            next.query_row([&*last], |row| Ok((row.get::<_, String>(0), row.get(1)?))).optional()
        });
        let key = match waiting.map_err(not_stored)? {
            None => {
                last.clear();
                break;
            }
            Some((Ok(key), _)) => key,
            Some((Err(error), row)) if is_decode_error(&error) => {
                // The next look goes on here, without them.
                found.damaged = same_key(conn, row)?;
                break;
            }
            Some((Err(error), _)) => return Err(not_stored(error)),
        };
        if !next(conn, now, &key)?.is_empty() {
            found.keys.push(key.clone());
        }
        *last = key;
    }
    Ok(found)
}

fn same_key(conn: &Connection, row: i64) -> Result<Vec<i64>, Error> {
    conn.prepare_cached(SAME_KEY)
        .and_then(|mut read| {
            let most = i64::try_from(KEYS_MAX).unwrap_or(i64::MAX);
            let rows = read.query_map((row, most), |row| row.get(0))?;
            rows.collect()
        })
        .map_err(not_stored)
}

/// The first that could go on past those that may pass next and are of other lanes, where no place is taken by
/// one that runs. Should they be able to start after all, the claim asks again, and one of them waits once more.
fn past(conn: &Connection, now: Timestamp, key: &str, gate: Gate) -> Result<Option<Next>, Error> {
    let is_free = match gate {
        Gate::Rate(rate) => {
            let latest = rate.latest_due(now);
            let far_off = conn
                .prepare_cached(FAR_OFF)
                .and_then(|mut read| read.query_row((key, latest.as_millis()), waits).optional())
                .map_err(not_stored)?;
            if far_off.is_some() {
                return Ok(far_off);
            }
            !exists(conn, PUT_OFF, key, latest)?
        }
        Gate::Limit { max } => count(conn, RUNNING, key, max)? < max,
        Gate::Lock { .. } => holder(conn, now, key)?.is_none(),
    };
    if !is_free {
        return Ok(None);
    }
    let found = first_of_another_lane(conn, key).map_err(not_stored)?;
    Ok(found.map(|next| Next { past: true, ..next }))
}

/// The first that waits and is of another lane than all that may pass next.
fn first_of_another_lane(conn: &Connection, key: &str) -> rusqlite::Result<Option<Next>> {
    let mut shut = HashSet::new();
    let mut read = conn.prepare_cached(READY_LANES)?;
    let mut rows = read.query([key])?;
    while let Some(row) = rows.next()? {
        shut.insert(row.get::<_, i64>(0)?);
    }
    let mut read = conn.prepare_cached(PAST)?;
    let mut rows = read.query([key])?;
    while let Some(row) = rows.next()? {
        if !shut.contains(&row.get(1)?) {
            return waits(row).map(Some);
        }
    }
    Ok(None)
}
