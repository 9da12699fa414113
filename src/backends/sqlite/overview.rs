//! Watch: how many tasks there are of each queue and state, since when they wait, and what has failed with what.
//!
//! No statement looks at more than some ten thousand rows, by an index; what is beyond is told as more.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::Sqlite;
use super::query::ReadError;
use super::row::text;
use crate::id::TaskId;
use crate::overview::{COUNT_MAX, Capped, FAILURES_MAX, Failed, Overview, QueueOverview};
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Tasks of a state that are looked at, where its index does not know their queue. Few under test, so that some
/// are left.
const LOOK: u64 = if cfg!(test) { 8 } else { 12_000 };
/// There are no more priorities.
const PRIORITIES: usize = 201;

const LANES: &str = "SELECT id, queue FROM litework_lane";

/// Served by `litework_task_ready`.
const READY: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE state = 'ready' AND lane = ?1 LIMIT +?2)";

/// Served by `litework_task_waiting`.
const WAITING: &str = "SELECT count(*) FROM (SELECT 1 FROM litework_task \
     WHERE state = 'waiting' AND lane = ?1 LIMIT +?2)";

/// Served by `litework_task_running`.
const RUNNING: &str = "SELECT lane, state FROM litework_task WHERE state = 'running' LIMIT +?1";

/// Served by `litework_task_scheduled`.
const SCHEDULED: &str = "SELECT lane, state FROM litework_task WHERE state = 'scheduled' \
     ORDER BY due_at LIMIT +?1";

/// Served by `litework_task_failed`.
const FAILED: &str = "SELECT lane, state FROM litework_task WHERE state = 'failed' \
     ORDER BY finished_at DESC LIMIT +?1";

/// Served by `litework_task_finished`.
const ENDED: &str = "SELECT lane, state FROM litework_task WHERE finished_at IS NOT NULL \
     ORDER BY finished_at DESC LIMIT +?1";

/// Served by `litework_task_ready`.
const OLDEST: &str = "SELECT rank, due_at, priority FROM litework_task \
     WHERE state = 'ready' AND lane = ?1 AND rank > ?2 ORDER BY rank LIMIT 1";

/// Served by `litework_task_failed`.
const FAILURES: &str = "SELECT t.id, t.tag, l.kind, l.queue, t.reason, t.finished_at, \
     (SELECT report FROM litework_error WHERE task = t.id AND report IS NOT NULL \
      ORDER BY id DESC LIMIT 1) \
     FROM litework_task t CROSS JOIN litework_lane l ON l.id = t.lane WHERE t.state = 'failed' \
     ORDER BY t.finished_at DESC LIMIT +?1";

type Read<T> = Result<T, ReadError>;

impl Sqlite {
    pub(super) fn look_over(&self) -> Result<Overview, crate::error::Error> {
        let step_ms = self.inner.step_ms;
        let queues = self.read("the queues", |conn| Ok(queues(conn, step_ms)?))?;
        let mut wal = self.inner.path.clone().into_os_string();
        wal.push("-wal");
        // Asking for a size opens nothing.
        let bytes = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let file_bytes = Some(bytes(&self.inner.path));
        let wal_bytes = Some(bytes(wal.as_ref()));
        Ok(Overview { queues, file_bytes, wal_bytes, ..Overview::default() })
    }
}

fn queues(conn: &Connection, step_ms: i64) -> rusqlite::Result<Vec<QueueOverview>> {
    let mut read = conn.prepare_cached(LANES)?;
    let lanes = read.query_map([], |row| Ok((row.get::<_, i64>(0)?, text(row, 1))))?;
    let mut queues: Vec<QueueOverview> = Vec::new();
    let mut of_lane = HashMap::new();
    for lane in lanes {
        let (id, Some(queue)) = lane? else { continue };
        let place = queues.iter().position(|known| known.queue == queue);
        of_lane.insert(id, place.unwrap_or(queues.len()));
        if place.is_none() {
            queues.push(QueueOverview::new(queue));
        }
    }
    for (lane, place) in &of_lane {
        let queue = &mut queues[*place];
        for (state, sql) in [(State::Ready, READY), (State::Waiting, WAITING)] {
            let depth = queue.depth_mut(state);
            let counted: i64 =
                conn.prepare_cached(sql)?.query_row((lane, limit(COUNT_MAX)), |row| row.get(0))?;
            let all = depth.count + counted.unsigned_abs();
            *depth =
                Capped { capped: depth.capped || all > COUNT_MAX, ..Capped::of(all, COUNT_MAX) };
        }
        let oldest = oldest(conn, *lane, step_ms)?;
        queue.oldest_ready = queue.oldest_ready.into_iter().chain(oldest).min();
    }
    let live = [State::Running, State::Scheduled].map(|state| vec![state]);
    let ended = [vec![State::Failed], vec![State::Succeeded, State::Cancelled, State::Skipped]];
    let looks = live.into_iter().chain(ended).zip([RUNNING, SCHEDULED, FAILED, ENDED]);
    for (states, sql) in looks {
        count(conn, sql, &states, &of_lane, &mut queues)?;
    }
    queues.sort_by(|one, next| one.queue.cmp(&next.queue));
    Ok(queues)
}

/// Counts those of these states that a statement finds.
fn count(
    conn: &Connection,
    sql: &str,
    states: &[State],
    of_lane: &HashMap<i64, usize>,
    queues: &mut [QueueOverview],
) -> rusqlite::Result<()> {
    let mut read = conn.prepare_cached(sql)?;
    let mut rows = read.query([limit(LOOK)])?;
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        let state = text(row, 1).and_then(|word| State::from_word(&word));
        let place = of_lane.get(&row.get(0)?).copied();
        if let (Some(place), Some(state)) = (place, state.filter(|state| states.contains(state))) {
            queues[place].depth_mut(state).count += 1;
        }
    }
    for queue in queues {
        for state in states {
            let depth = queue.depth_mut(*state);
            let counted = Capped::of(depth.count, COUNT_MAX);
            *depth = Capped { capped: counted.capped || looked_at > LOOK, ..counted };
        }
    }
    Ok(())
}

/// One more, to see whether there are more.
fn limit(most: u64) -> i64 {
    i64::try_from(most + 1).unwrap_or(i64::MAX)
}

/// When the oldest ready task of a lane was due: the first of each priority is looked at.
fn oldest(conn: &Connection, lane: i64, step_ms: i64) -> rusqlite::Result<Option<Timestamp>> {
    let mut read = conn.prepare_cached(OLDEST)?;
    let mut oldest: Option<Timestamp> = None;
    let mut after = i64::MIN;
    for _ in 0..PRIORITIES {
        let first = read
            .query_row((lane, after), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((rank, due_at, priority)): Option<(i64, i64, i8)> = first else { break };
        let due_at = Timestamp::clamped(due_at);
        oldest = Some(oldest.map_or(due_at, |known| known.min(due_at)));
        after = rank.max(crate::state::rank(Timestamp::MAX, priority, step_ms));
    }
    Ok(oldest)
}

/// The newest failed tasks, one more than are grouped.
pub(super) fn failures(conn: &Connection) -> Read<Vec<Failed>> {
    let mut read = conn.prepare_cached(FAILURES)?;
    let found = read.query_map([limit(FAILURES_MAX as u64)], |row| {
        let error = text(row, 6).and_then(|report| serde_json::from_str(&report).ok());
        Ok(Failed {
            id: TaskId::new(row.get(0)?, row.get(1)?),
            kind: text(row, 2).unwrap_or_default(),
            queue: text(row, 3).unwrap_or_default(),
            reason: text(row, 4).and_then(|word| Reason::from_word(&word)),
            at: Timestamp::clamped(row.get::<_, Option<i64>>(5)?.unwrap_or_default()),
            error,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
