//! Watch: what may stand in the way of a task, gathered on a reading connection.

use rusqlite::{Connection, OptionalExtension};

use super::query::{self, ReadError};
use super::row::{text, ties};
use super::{Inner, presence, rules};
use crate::backend::LaneName;
use crate::gate::Gate;
use crate::id::TaskId;
use crate::presence::WorkerRecord;
use crate::rule::Paused;
use crate::state::State;
use crate::time::Timestamp;
use crate::why::{AHEAD_MAX, Blocker, Facts};

/// Served by `litework_task_gate`.
const HOLDERS: &str = "SELECT id, tag, started_at, ties FROM litework_task \
     WHERE wait_key = ?1 AND finished_at IS NULL AND state = 'running'";

/// Scheduled tasks that are looked at for their lanes at most; those that are due first go first.
const DUE_SEEN_MAX: u32 = 10_000;

/// Served by the primary key.
const PLACE: &str = "SELECT rank, wait_key, ties FROM litework_task WHERE id = ?1 AND tag = ?2";

/// Served by `litework_edge_after`.
const PARENTS: &str = "SELECT count(*) FROM litework_edge WHERE after = ?1 AND open = 1";

/// Served by `litework_task_batch`.
const OPEN_MEMBERS: &str =
    "SELECT count(*) FROM litework_task WHERE batch = ?1 AND finished_at IS NULL";

const LANES: &str = "SELECT id, queue, kind FROM litework_lane ORDER BY queue, kind";

/// Served by `litework_task_ready`.
const AHEAD: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE state = 'ready' AND lane = ?1 AND (rank, id) < (?2, ?3) LIMIT +?4)";

/// Served by `litework_task_ready`.
const ANY_READY: &str = "SELECT 1 FROM litework_task WHERE state = 'ready' AND lane = ?1 LIMIT 1";

/// Served by `litework_task_scheduled`.
const DUE_LANES: &str = "SELECT lane FROM litework_task \
     WHERE state = 'scheduled' AND due_at <= ?1 ORDER BY due_at LIMIT +?2";

type Read<T> = Result<T, ReadError>;

/// What is paused, queues first, by name.
pub(super) fn paused(conn: &Connection) -> Read<Vec<Paused>> {
    let paused = rules::stored(conn)?.into_iter();
    let paused =
        paused.filter_map(|(scope, rule, _)| Some(Paused { scope, since: rule.paused_at? }));
    Ok(paused.collect())
}

pub(super) fn facts(
    conn: &Connection,
    inner: &Inner,
    now: Timestamp,
    id: TaskId,
) -> Read<Option<Facts>> {
    let Some(task) = query::get(conn, id)? else { return Ok(None) };
    let place = conn
        .prepare_cached(PLACE)?
        .query_row((id.row(), id.tag()), |found| {
            Ok((found.get(0)?, text(found, 1), ties(found, 2)))
        })
        .optional()?;
    let Some((rank, wait_key, ties)) = place else { return Ok(None) };
    let mut facts = Facts {
        rules: rules::stored(conn)?,
        gate: gate(conn, now, wait_key, ties.gate)?,
        parents: parents(conn, id)?,
        workers: presence::workers(conn, inner)?,
        ahead: 0,
        task,
    };
    let due = facts.task.state == State::Scheduled && facts.task.due_at <= now;
    if facts.task.state == State::Ready || due {
        facts.ahead = ahead(conn, now, &facts, (rank, id.row()))?;
    }
    Ok(Some(facts))
}

/// A task waits for those before it, a batch for its members.
fn parents(conn: &Connection, id: TaskId) -> rusqlite::Result<u64> {
    let count = |sql: &str| -> rusqlite::Result<u64> {
        let mut read = conn.prepare_cached(sql)?;
        read.query_row([id.row()], |row| row.get(0)).map(i64::unsigned_abs)
    };
    Ok(count(PARENTS)? + count(OPEN_MEMBERS)?)
}

fn gate(
    conn: &Connection,
    now: Timestamp,
    wait_key: Option<String>,
    gate: Option<Gate>,
) -> Read<Option<Blocker>> {
    let Some((key, gate)) = wait_key.zip(gate) else { return Ok(None) };
    let mut blocker = Blocker::new(&key, gate);
    if matches!(gate, Gate::Lock { .. }) {
        let mut read = conn.prepare_cached(HOLDERS)?;
        let mut rows = read.query([&key])?;
        while let Some(row) = rows.next()? {
            let since = Timestamp::clamped(row.get::<_, Option<i64>>(2)?.unwrap_or(0));
            let held = ties(row, 3).gate.unwrap_or(Gate::TURN);
            if held.is_held(since, now) {
                blocker.held_by(TaskId::new(row.get(0)?, row.get(1)?), held, since);
            }
        }
    }
    Ok(Some(blocker))
}

/// Number, queue and kind of each lane.
fn lanes(conn: &Connection) -> rusqlite::Result<Vec<(i64, LaneName)>> {
    let mut read = conn.prepare_cached(LANES)?;
    let found = read.query_map([], |row| Ok((row.get(0)?, text(row, 1).zip(text(row, 2)))))?;
    // One whose name is no text is a lane of nothing.
    found.filter_map(|lane| lane.map(|(id, name)| Some((id, name?))).transpose()).collect()
}

/// Ready tasks that go before a place, in the lanes that are open, of the processes that take it.
fn ahead(conn: &Connection, now: Timestamp, facts: &Facts, (rank, row): (i64, i64)) -> Read<u64> {
    let serving = |worker: &&WorkerRecord| worker.takes(&facts.task.queue, &facts.task.kind);
    let serving: Vec<&WorkerRecord> = facts.workers.iter().filter(serving).collect();
    let mut read = conn.prepare_cached(AHEAD)?;
    let mut ahead = 0;
    for (lane, (queue, kind)) in lanes(conn)? {
        let open = serving.iter().any(|worker| worker.takes(&queue, &kind))
            && facts.are_open(&queue, &kind, now);
        if open && ahead < AHEAD_MAX {
            let left = i64::try_from(AHEAD_MAX - ahead).unwrap_or(i64::MAX);
            let found: i64 = read.query_row((lane, rank, row, left), |found| found.get(0))?;
            ahead += found.unsigned_abs();
        }
    }
    Ok(ahead)
}

/// Queues and kinds with a task that could be started now, sorted.
pub(super) fn lanes_with_work(conn: &Connection, now: Timestamp) -> Read<Vec<LaneName>> {
    let mut read = conn.prepare_cached(DUE_LANES)?;
    let due = read.query_map((now.as_millis(), DUE_SEEN_MAX), |row| row.get(0))?;
    let due: std::collections::HashSet<i64> = due.collect::<rusqlite::Result<_>>()?;
    let mut any_ready = conn.prepare_cached(ANY_READY)?;
    let mut found = Vec::new();
    for (lane, name) in lanes(conn)? {
        if due.contains(&lane) || any_ready.exists([lane])? {
            found.push(name);
        }
    }
    Ok(found)
}
