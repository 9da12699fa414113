//! Enqueue and finish: tasks that wait for the end of others, and batches that sum up their members.
//!
//! An edge is closed when the task before it ends, in the same transaction and at a cost that does not
//! depend on how many others there are; who has no open edge left may start. What waits stands in no
//! index that a claim reads. An edge leads from an older row to a newer one, so there is no circle.

use rusqlite::{Connection, OptionalExtension};

use super::bad_row;
use super::errors::not_stored;
use super::gates::Freed;
use super::row::{text, ties};
use crate::error::Error;
use crate::flow::{FirstFailure, Sum, before_ended, members_ended};
use crate::id::TaskId;
use crate::state::{Reason, State};
use crate::ties::{Before, Policy, Ref, Ties};
use crate::time::Timestamp;

/// Served by the primary key.
const STATE: &str = "SELECT state FROM litework_task WHERE id = ?1 AND tag = ?2";

/// Served by the primary key.
const AWAIT: &str = "UPDATE litework_task \
     SET ties = json_set(CASE WHEN json_valid(ties) THEN ties ELSE '{}' END, '$.awaited', json('true')) \
     WHERE id = ?1 AND finished_at IS NULL \
     AND CASE WHEN json_valid(ties) THEN json_extract(ties, '$.awaited') END IS NOT 1";

const JOIN: &str = "INSERT INTO litework_edge (before, after, policy, open, place) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Served by the primary key of `litework_edge`.
const REOPEN: &str =
    "UPDATE litework_edge SET open = 1 WHERE before = ?1 AND after = ?2 AND open = 0";

/// Those after a task, and whether anything else keeps each waiting. Served by the primary keys and by
/// `litework_edge_after`.
pub(super) const AFTER: &str = "SELECT e.after, e.policy, t.due_at, t.lane, t.rank, t.ties, \
     EXISTS (SELECT 1 FROM litework_edge o WHERE o.after = e.after AND o.open = 1 \
     AND o.before <> e.before) \
     FROM litework_edge e JOIN litework_task t ON t.id = e.after \
     WHERE e.before = ?1 AND e.open = 1 AND t.state = 'waiting' AND t.reason = 'parents'";

/// Served by the primary keys.
pub(super) const IS_AWAITED: &str = "SELECT EXISTS (SELECT 1 FROM litework_edge e \
     JOIN litework_task t ON t.id = e.after \
     WHERE e.before = ?1 AND e.open = 1 AND t.state = 'waiting' AND t.reason = 'parents')";

/// Served by the primary key of `litework_edge`.
pub(super) const CLOSE: &str = "UPDATE litework_edge SET open = 0 WHERE before = ?1 AND open = 1";

/// Served by the primary key.
const LET_GO_ON: &str = "UPDATE litework_task SET state = ?2, reason = ?3, wait_key = ?4 \
     WHERE id = ?1 AND state = 'waiting'";

/// Served by the primary key.
const END_WITH: &str = "UPDATE litework_task SET state = ?2, reason = 'parent', finished_at = ?3 \
     WHERE id = ?1 AND state = 'waiting'";

const RECORD: &str = "INSERT INTO litework_error (task, attempt, outcome, finished_at, report) \
     SELECT id, attempt, ?2, ?3, ?4 FROM litework_task WHERE id = ?1";

/// Served by `litework_task_batch`.
pub(super) const HAS_OPEN: &str = "SELECT EXISTS (SELECT 1 FROM litework_task \
     WHERE batch = ?1 AND finished_at IS NULL)";

/// Served by `litework_task_batch`.
pub(super) const SUM: &str = "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded'), \
     count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'cancelled'), \
     count(*) FILTER (WHERE state = 'skipped') FROM litework_task WHERE batch = ?1";

/// Members whose end counts against their batch. Served by `litework_task_batch`.
pub(super) const AGAINST: &str = "SELECT count(*) FILTER (WHERE state = 'failed'), count(*) FROM litework_task \
     WHERE batch = ?1 AND (state = 'failed' OR state = 'cancelled') \
     AND CASE WHEN json_valid(ties) THEN json_extract(ties, '$.ignored') END IS NOT 1";

/// The member that was the first to fail for a reason of its own; one whose failures are ignored only
/// where there is no other: 2^48 is later than any moment. Served by `litework_task_batch`.
pub(super) const FIRST_FAILURE: &str = "SELECT \
     min((CASE WHEN json_valid(t.ties) THEN json_extract(t.ties, '$.ignored') END IS 1) * 281474976710656 \
     + t.finished_at), coalesce(t.name, (SELECT kind FROM litework_lane WHERE id = t.lane)), t.reason, \
     (SELECT report FROM litework_error WHERE task = t.id AND report IS NOT NULL \
     AND finished_at = t.finished_at ORDER BY id DESC LIMIT 1) FROM litework_task t \
     WHERE t.batch = ?1 AND t.state = 'failed' AND t.reason IS NOT 'parent'";

/// Members of a batch that were deleted. Served by the primary key.
const LOST: &str = "SELECT CASE WHEN json_valid(ties) THEN json_extract(ties, '$.lost') END \
     FROM litework_task WHERE id = ?1";

/// Served by the primary keys.
const LOSE: &str = "UPDATE litework_task \
     SET ties = json_set(ties, '$.lost', coalesce(json_extract(ties, '$.lost'), 0) + 1) \
     WHERE id = (SELECT batch FROM litework_task \
       WHERE id = ?1 AND (state = 'failed' OR state = 'cancelled') \
       AND CASE WHEN json_valid(ties) THEN json_extract(ties, '$.ignored') END IS NOT 1) \
     AND finished_at IS NULL AND json_valid(ties)";

/// Served by the primary key.
const FORGIVE: &str = "UPDATE litework_task SET ties = json_remove(ties, '$.lost') WHERE id = ?1 AND json_valid(ties)";

/// Served by the primary key.
const BATCH: &str = "SELECT cancel_requested FROM litework_task \
     WHERE id = ?1 AND state = 'waiting' AND reason = 'parents'";

/// Served by the primary key.
const END_BATCH: &str = "UPDATE litework_task SET state = ?2, reason = ?3, finished_at = ?4, result = ?5 \
     WHERE id = ?1";

/// Members that have not started. Served by `litework_task_batch`.
pub(super) const CANCEL: &str = "UPDATE litework_task SET state = 'cancelled', reason = 'parent', \
     finished_at = ?2, cancel_requested = 1 \
     WHERE batch = ?1 AND finished_at IS NULL AND state <> 'running' RETURNING id";

/// Members that run. Served by `litework_task_batch`.
pub(super) const ASK: &str = "UPDATE litework_task SET cancel_requested = 1 \
     WHERE batch = ?1 AND finished_at IS NULL RETURNING id";

/// Served by the primary key.
const ASK_BATCH: &str = "UPDATE litework_task SET cancel_requested = 1 WHERE id = ?1";

/// What a new task waits for, as far as it is known in its transaction.
#[derive(Debug, Default)]
pub(super) struct Bonds {
    before: Vec<Bond>,
    /// The row that sums it up.
    pub(super) batch: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Bond {
    row: i64,
    state: State,
    policy: Policy,
    /// Stored by an earlier call, so it may not know yet that somebody waits for it.
    is_older: bool,
}

/// What becomes of a new task that has others before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They have ended.
    Free,
    Blocked,
    /// It ends in this state, with the row.
    Doomed(State, i64),
}

impl Bonds {
    /// Finds those that a new task waits for. `item` knows those of the same call.
    pub(super) fn find(
        conn: &Connection,
        before: &[Before],
        batch: Option<i64>,
        item: impl Fn(usize) -> Option<(i64, State)>,
    ) -> Result<Self, Error> {
        let mut bonds = Self { before: Vec::with_capacity(before.len()), batch };
        for Before { what, policy } in before {
            let (row, state, is_older) = match *what {
                Ref::Task(id) => (id.row(), state_of(conn, id)?, true),
                Ref::Item(number) => {
                    let (row, state) = item(number).ok_or_else(|| Error::not_found(number))?;
                    (row, state, false)
                }
            };
            bonds.before.push(Bond { row, state, policy: *policy, is_older });
        }
        Ok(bonds)
    }

    pub(super) fn verdict(&self) -> Verdict {
        let doom = self.before.iter().find(|bond| ends_with(bond.state, bond.policy));
        match doom {
            Some(bond) => Verdict::Doomed(bond.state, bond.row),
            None if self.before.iter().all(|bond| bond.state.is_final()) => Verdict::Free,
            None => Verdict::Blocked,
        }
    }

    /// Stores the edges to a new row, and tells those before it.
    pub(super) fn store(&self, conn: &Connection, row: i64, now: Timestamp) -> Result<(), Error> {
        for (place, bond) in self.before.iter().enumerate() {
            if bond.is_older && !bond.state.is_final() {
                tell(conn, bond.row)?;
            }
            let open = !bond.state.is_final();
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            run(conn, JOIN, (bond.row, row, bond.policy.as_str(), open, place))?;
        }
        match self.verdict() {
            Verdict::Doomed(state, before) => record(conn, row, before, state, now),
            Verdict::Free | Verdict::Blocked => Ok(()),
        }
    }
}

/// Tells a row that another waits for it.
pub(super) fn tell(conn: &Connection, before: i64) -> Result<(), Error> {
    run(conn, AWAIT, [before]).map(drop)
}

/// Lets a row wait again for one before it that has not ended.
pub(super) fn reopen(conn: &Connection, before: i64, after: i64) -> Result<(), Error> {
    // Whoever came after its end was not waited for.
    tell(conn, before)?;
    run(conn, REOPEN, (before, after)).map(drop)
}

/// Whether this end of a task is that of those after it too.
pub(super) fn ends_with(state: State, policy: Policy) -> bool {
    policy == Policy::Success && matches!(state, State::Failed | State::Cancelled)
}

pub(super) fn run(
    conn: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<usize, Error> {
    conn.prepare_cached(sql).and_then(|mut write| write.execute(values)).map_err(not_stored)
}

fn state_of(conn: &Connection, id: TaskId) -> Result<State, Error> {
    let state: Option<String> = conn
        .prepare_cached(STATE)
        .and_then(|mut read| read.query_row((id.row(), id.tag()), |row| row.get(0)).optional())
        .map_err(not_stored)?;
    let state = state.ok_or_else(|| Error::not_found(id))?;
    Ok(State::from_word(&state).unwrap_or(State::Failed))
}

/// What ends have come to, to be told after the commit.
#[derive(Debug, Default)]
pub(super) struct Ripple {
    pub(super) freed: Vec<Freed>,
    /// Lanes of what was stored, as it follows an end.
    pub(super) stored: Vec<i64>,
    /// Gates that somebody has left, or has come to.
    pub(super) gates: Vec<String>,
    /// Rows that have ended.
    pub(super) changed: Vec<i64>,
    /// Batches of which a member has ended.
    pub(super) batches: Vec<i64>,
    /// Whether a task has no other before it any more that could start now.
    pub(super) may_start: bool,
    /// Whether the next slot of a schedule may be another.
    pub(super) schedules: bool,
}

/// One that waits for a task that has ended.
struct Waiter {
    row: i64,
    policy: Policy,
    due_at: Timestamp,
    lane: i64,
    rank: i64,
    ties: Ties,
    /// Others keep it waiting.
    is_blocked: bool,
}

/// Closes the edges from a row that has ended; returns the rows that have ended with it.
pub(super) fn close(
    conn: &Connection,
    now: Timestamp,
    (row, state): (i64, State),
    ripple: &mut Ripple,
) -> Result<Vec<i64>, Error> {
    let mut ended = Vec::new();
    let waiters = waiters(conn, row)?;
    for waiter in waiters {
        if ends_with(state, waiter.policy) {
            let values = (waiter.row, state.as_str(), now.as_millis());
            if bad_row::change(conn, (END_WITH, values), waiter.row, now)? {
                record(conn, waiter.row, row, state, now)?;
            }
            ended.push(waiter.row);
        } else if !waiter.is_blocked {
            ripple.may_start |= waiter.due_at <= now;
            let after = waiter.row;
            if !let_go_on(conn, now, waiter, ripple)? {
                ended.push(after);
            }
        }
    }
    run(conn, CLOSE, [row])?;
    ripple.changed.extend(&ended);
    Ok(ended)
}

/// Whether a task waits for this one. Its row says so too, but also once the other has ended.
pub(super) fn is_awaited(conn: &Connection, row: i64) -> Result<bool, Error> {
    conn.prepare_cached(IS_AWAITED)
        .and_then(|mut read| read.query_row([row], |found| found.get(0)))
        .map_err(not_stored)
}

fn waiters(conn: &Connection, row: i64) -> Result<Vec<Waiter>, Error> {
    conn.prepare_cached(AFTER)
        .and_then(|mut read| {
            let found = read.query_map([row], |found| {
                let policy = text(found, 1).unwrap_or_default();
                Ok(Waiter {
                    row: found.get(0)?,
                    policy: Policy::from_word(&policy),
                    due_at: Timestamp::clamped(found.get(2)?),
                    lane: found.get(3)?,
                    rank: found.get(4)?,
                    ties: ties(found, 5),
                    is_blocked: found.get(6)?,
                })
            })?;
            found.collect()
        })
        .map_err(not_stored)
}

/// All before it have ended: it is ready, due later, or stands at its gate from now on. False if it is
/// damaged, and has ended.
fn let_go_on(
    conn: &Connection,
    now: Timestamp,
    waiter: Waiter,
    ripple: &mut Ripple,
) -> Result<bool, Error> {
    let Waiter { row, due_at, lane, rank, .. } = waiter;
    let ties = waiter.ties;
    let gate = ties.gate.filter(|gate| !gate.skips() && ties.held_key.is_some());
    let (state, reason) = match gate {
        _ if due_at > now => (State::Scheduled, Some(Reason::Delayed)),
        Some(gate) => (State::Waiting, Some(gate.reason())),
        None => (State::Ready, None),
    };
    let key = ties.held_key;
    let values = (row, state.as_str(), reason.map(Reason::as_str), &key);
    if !bad_row::change(conn, (LET_GO_ON, values), row, now)? {
        return Ok(false);
    }
    match (state, key) {
        (State::Scheduled, _) => ripple.freed.push(Freed::Due(due_at)),
        (State::Waiting, Some(key)) => ripple.gates.push(key),
        _ => ripple.freed.push(Freed::Ready { row, lane, rank }),
    }
    Ok(true)
}

/// Notes in a task with which other one it has ended.
fn record(
    conn: &Connection,
    row: i64,
    before: i64,
    state: State,
    now: Timestamp,
) -> Result<(), Error> {
    // Served by the primary key.
    let sql = "SELECT tag, name FROM litework_task WHERE id = ?1";
    let found = conn.prepare_cached(sql).and_then(|mut read| {
        read.query_row([before], |found| {
            Ok((TaskId::new(before, found.get(0)?), text(found, 1).unwrap_or_default()))
        })
    });
    let (id, name) = found.map_err(not_stored)?;
    // A report is strings and JSON, which always encode.
    let report = serde_json::to_string(&before_ended(id, &name, state)).unwrap_or_default();
    run(conn, RECORD, (row, state.as_str(), now.as_millis(), report)).map(drop)
}

/// Notes in the batch of a member, which is about to be deleted, that its end counts against it.
pub(super) fn lose(conn: &Connection, member: i64) -> Result<(), Error> {
    run(conn, LOSE, [member]).map(drop)
}

/// Lets a batch that is run again succeed without those that were deleted.
pub(super) fn forgive(conn: &Connection, batch: i64) -> Result<(), Error> {
    run(conn, FORGIVE, [batch]).map(drop)
}

fn lost(conn: &Connection, batch: i64) -> rusqlite::Result<u64> {
    let mut read = conn.prepare_cached(LOST)?;
    let found = read.query_row([batch], |row| Ok(row.get::<_, i64>(0).unwrap_or_default()));
    found.optional().map(|lost| lost.unwrap_or_default().unsigned_abs())
}

/// What the members of a batch came to until now.
pub(super) fn sum(conn: &Connection, batch: i64) -> rusqlite::Result<Sum> {
    let mut sum = conn.prepare_cached(SUM)?.query_row([batch], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let (succeeded, failed) = (count(1)?, count(2)?);
        let (cancelled, skipped) = (count(3)?, count(4)?);
        Ok(Sum { total: count(0)?, succeeded, failed, cancelled, skipped })
    })?;
    sum.add_lost(lost(conn, batch)?);
    Ok(sum)
}

/// Ends a batch that has no open member; says whether it has.
pub(super) fn sum_up(conn: &Connection, now: Timestamp, batch: i64) -> Result<bool, Error> {
    let read = || -> rusqlite::Result<Option<(bool, Sum, u64, u64)>> {
        let open =
            conn.prepare_cached(HAS_OPEN)?.query_row([batch], |row| row.get::<_, bool>(0))?;
        let mut is_there = conn.prepare_cached(BATCH)?;
        let asked = is_there.query_row([batch], |row| row.get(0)).optional()?;
        let Some(asked) = asked.filter(|_| !open) else { return Ok(None) };
        let sum = sum(conn, batch)?;
        let (mut failed, mut against) = (0, 0);
        if sum.failed + sum.cancelled > 0 {
            (failed, against) = conn.prepare_cached(AGAINST)?.query_row([batch], |row| {
                Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            against += lost(conn, batch)?;
        }
        Ok(Some((asked, sum, failed, against)))
    };
    let Some((asked, sum, failed, against)) = read().map_err(not_stored)? else {
        return Ok(false);
    };
    let (state, reason) = sum.verdict(asked, failed, against);
    // Five numbers always encode.
    let text = serde_json::to_string(&sum).unwrap_or_default();
    let result = (state == State::Succeeded).then_some(text);
    let reason_word = reason.map(Reason::as_str);
    let values = (batch, state.as_str(), reason_word, now.as_millis(), result);
    let is_sound = bad_row::change(conn, (END_BATCH, values), batch, now)?;
    if is_sound && reason == Some(Reason::Parent) {
        let first = first_failure(conn, batch).map_err(not_stored)?;
        let report = serde_json::to_string(&members_ended(&sum, first)).unwrap_or_default();
        run(conn, RECORD, (batch, state.as_str(), now.as_millis(), report))?;
    }
    Ok(true)
}

fn first_failure(conn: &Connection, batch: i64) -> rusqlite::Result<Option<FirstFailure>> {
    let mut read = conn.prepare_cached(FIRST_FAILURE)?;
    read.query_row([batch], |row| {
        // The other columns are those of the row with the least; without any row it is NULL.
        if row.get::<_, Option<i64>>(0)?.is_none() {
            return Ok(None);
        }
        let error = text(row, 3).and_then(|report| serde_json::from_str(&report).ok());
        let reason = text(row, 2).and_then(|word| Reason::from_word(&word));
        let reason = reason.unwrap_or(Reason::Error);
        Ok(Some(FirstFailure { name: text(row, 1).unwrap_or_default(), reason, error }))
    })
}

/// The members of a batch that have ended by its cancel, and those that were asked to stop.
pub(super) struct CancelledBatch {
    pub(super) ended: Vec<i64>,
    pub(super) asked: Vec<i64>,
}

/// Cancels the members of a batch that have not started, and asks the others to stop.
pub(super) fn cancel(
    conn: &Connection,
    now: Timestamp,
    batch: i64,
) -> Result<CancelledBatch, Error> {
    let rows = |sql: &str, values: &[i64]| -> Result<Vec<i64>, Error> {
        conn.prepare_cached(sql)
            .and_then(|mut write| {
                let values = rusqlite::params_from_iter(values);
                write.query_map(values, |row| row.get(0))?.collect()
            })
            .map_err(not_stored)
    };
    run(conn, ASK_BATCH, [batch])?;
    let ended = rows(CANCEL, &[batch, now.as_millis()])?;
    let asked = rows(ASK, &[batch])?;
    Ok(CancelledBatch { ended, asked })
}
