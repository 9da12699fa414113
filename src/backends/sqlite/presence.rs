//! Watch: the live processes that run tasks, and what they have in hand.

use std::path::Path;
use std::sync::PoisonError;

use rusqlite::{Connection, Row};

use super::query::ReadError;
use super::row::text;
use super::seats::{self, Life};
use super::{Inner, row};
use crate::id::TaskId;
use crate::presence::{RUNNING_SHOWN_MAX, RunningTask, WorkerRecord};
use crate::time::Timestamp;

/// Served by `litework_worker_live`.
const LIVE: &str = "SELECT id, name, file, boot, pid, threads, serves, kinds, queues, excluded, \
     joined_at, beat FROM litework_worker WHERE left_at IS NULL ORDER BY id";

/// Served by `litework_task_running`.
const RUNNING: &str = "SELECT t.id, t.tag, l.kind, t.started_at FROM litework_task t \
     JOIN litework_lane l ON l.id = t.lane WHERE t.state = 'running' AND t.worker = ?1 LIMIT +?2";

/// Served by `litework_task_running`.
const HOLDERS: &str = "SELECT DISTINCT worker FROM litework_task WHERE state = 'running'";

/// The owners of running tasks, dead or alive.
pub(super) fn holders(conn: &Connection) -> Result<Vec<Option<i64>>, ReadError> {
    let mut read = conn.prepare_cached(HOLDERS)?;
    let found = read.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Those whose process holds its lock, by number.
pub(super) fn workers(conn: &Connection, inner: &Inner) -> Result<Vec<WorkerRecord>, ReadError> {
    let own = |id: i64| {
        let seats = inner.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats.contains_key(&id)
    };
    alive(conn, &inner.folder, &own)
}

/// The same where the seats are in this folder; some may be our own.
pub(super) fn alive(
    conn: &Connection,
    folder: &Path,
    own: &dyn Fn(i64) -> bool,
) -> Result<Vec<WorkerRecord>, ReadError> {
    let mut read = conn.prepare_cached(LIVE)?;
    let found = read.query_map([], |row| Ok((text(row, 2).unwrap_or_default(), worker(row)?)))?;
    let found: Vec<(String, WorkerRecord)> = found.collect::<rusqlite::Result<_>>()?;
    let mut live = Vec::new();
    for (stem, worker) in found {
        if own(worker.id) || seats::look(folder, &stem) == Life::Alive {
            live.push(WorkerRecord { running: running(conn, worker.id)?, ..worker });
        }
    }
    Ok(live)
}

fn worker(row: &Row<'_>) -> rusqlite::Result<WorkerRecord> {
    // What another program has damaged is shown as empty.
    let text = |index| text(row, index).unwrap_or_default();
    let list = |index| row::names(&text(index));
    Ok(WorkerRecord {
        id: row.get(0)?,
        name: text(1),
        boot: text(3),
        pid: u32::try_from(row.get::<_, i64>(4)?).unwrap_or_default(),
        threads: usize::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
        serves: row.get(6)?,
        kinds: list(7),
        queues: list(8),
        excluded: list(9),
        since: Timestamp::clamped(row.get(10)?),
        beats: row.get::<_, i64>(11)?.unsigned_abs(),
        running: Vec::new(),
    })
}

fn running(conn: &Connection, worker: i64) -> rusqlite::Result<Vec<RunningTask>> {
    let mut read = conn.prepare_cached(RUNNING)?;
    let most = i64::try_from(RUNNING_SHOWN_MAX).unwrap_or(i64::MAX);
    let found = read.query_map((worker, most), |row| {
        Ok(RunningTask {
            id: TaskId::new(row.get(0)?, row.get(1)?),
            kind: text(row, 2).unwrap_or_default(),
            started_at: Timestamp::clamped(row.get::<_, Option<i64>>(3)?.unwrap_or_default()),
        })
    })?;
    let mut running: Vec<RunningTask> = found.collect::<rusqlite::Result<_>>()?;
    running.sort_by_key(|task| task.id.row());
    Ok(running)
}
