//! Finish: what follows the end of a task is stored, in the transaction that ends it.
//!
//! An end is never refused for what follows it: nothing here looks at a limit, and what another program has
//! damaged is told as far as it can be read.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::edges::Ripple;
use super::enqueue::{Insert, Placed, Start};
use super::errors::not_stored;
use super::gates::{self, Freed, Pass};
use super::lanes;
use super::row::text;
use super::tags::Tags;
use crate::error::Error;
use crate::event::{EventKind, EventRecord};
use crate::follow::{Follow, event_id, key_prefix, told};
use crate::id::TaskId;
use crate::options::Durability;
use crate::outcome::Report;
use crate::record::NewTask;
use crate::state::{Reason, State, rank};
use crate::time::Timestamp;

/// Served by the primary keys and by `litework_error_task`. An error of an earlier attempt is not that of
/// the end.
pub(super) const ENDED: &str = "SELECT t.tag, l.kind, l.queue, t.name, t.owner, t.trace, t.state, t.reason, \
     t.attempt, t.finished_at, \
     (SELECT report FROM litework_error WHERE task = t.id AND report IS NOT NULL \
      AND finished_at = t.finished_at ORDER BY id DESC LIMIT 1), \
     (SELECT count(*) FROM litework_error WHERE task = t.id AND outcome = 'retried') \
     FROM litework_task t LEFT JOIN litework_lane l ON l.id = t.lane WHERE t.id = ?1";

/// Counts an end in the one that waits. Served by `litework_task_unique`.
pub(super) const COUNT: &str = "UPDATE litework_task SET meta = CASE WHEN json_valid(meta) \
     THEN json_set(meta, '$.more', coalesce(json_extract(meta, '$.more'), 0) + 1, \
       '$.since', coalesce(json_extract(meta, '$.since'), ?2)) \
     ELSE json_object('more', 1, 'since', ?2) END \
     WHERE unique_key = ?1 AND state <> 'running' AND finished_at IS NULL";

/// The one that runs counts no more. Served by `litework_task_unique`.
pub(super) const LET_GO: &str = "UPDATE litework_task SET unique_key = NULL WHERE unique_key = ?1";

/// Served by the unique index `litework_task_key`.
pub(super) const READY: &str = "SELECT id, tag FROM litework_task \
     WHERE key >= ?1 AND key < ?2 AND state = 'ready'";

/// What is told of the end of a task.
struct Ended {
    event: EventRecord,
    trace: Option<Arc<str>>,
}

/// Stores what follows a row that has ended, and notes it and what of it may start.
pub(super) fn store(
    conn: &Connection,
    (now, step_ms): (Timestamp, i64),
    row: i64,
    follows: &[Follow],
    ripple: &mut Ripple,
) -> Result<(), Error> {
    if follows.is_empty() {
        return Ok(());
    }
    let Some(ended) = read(conn, row)? else { return Ok(()) };
    for follow in follows.iter().filter(|follow| follow.hears(&ended.event)) {
        if let Some((lane, freed)) = store_one(conn, now, step_ms, follow, &ended)? {
            ripple.stored.push(lane);
            ripple.freed.extend(freed);
        }
    }
    Ok(())
}

fn read(conn: &Connection, row: i64) -> Result<Option<Ended>, Error> {
    conn.prepare_cached(ENDED)
        .and_then(|mut read| read.query_row([row], |found| Ok(ended(row, found))).optional())
        .map(Option::flatten)
        .map_err(not_stored)
}

/// None of a row that has not ended.
fn ended(row: i64, found: &Row<'_>) -> Option<Ended> {
    let text = |column: usize| text(found, column);
    let number = |column: usize| found.get::<_, Option<i64>>(column).ok().flatten();
    let state = text(6).and_then(|word| State::from_word(&word)).unwrap_or(State::Failed);
    let reason = text(7).and_then(|word| Reason::from_word(&word));
    let what = EventKind::of(state, reason).filter(|_| state.is_final())?;
    let task = TaskId::new(row, number(0).unwrap_or_default());
    let error = text(10).and_then(|report| serde_json::from_str::<Report>(&report).ok());
    let event = EventRecord {
        id: event_id(task, number(11).unwrap_or_default().unsigned_abs()),
        what,
        task,
        kind: text(1).unwrap_or_default(),
        queue: text(2).unwrap_or_default(),
        name: text(3),
        owner: text(4),
        state,
        reason,
        attempt: number(8).and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or_default(),
        finished_at: Timestamp::clamped(number(9).unwrap_or_default()),
        error: error.map(told),
    };
    Some(Ended { event, trace: text(5).map(Arc::from) })
}

/// The lane of what was stored, and how it may start.
fn store_one(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    follow: &Follow,
    ended: &Ended,
) -> Result<Option<(i64, Option<Freed>)>, Error> {
    let new = NewTask::following(follow, &ended.event, ended.trace.clone(), now);
    let mut insert = Insert::new(new, now, None, Durability::Normal);
    match insert.existing(conn) {
        Ok(None) => {}
        // It is stored already, or somebody has given this key to a task of his own.
        Ok(Some(_)) | Err(Error::KeyConflict { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    let summed = follow.summed(&ended.event.kind);
    if let Some((key, _)) = &summed
        && is_counted(conn, key, now)?
    {
        return Ok(None);
    }
    let mut start = Start::Ready;
    if let Some((key, gate)) = summed {
        start = match gates::pass_new(conn, now, &key, gate)? {
            Pass::Open => Start::Ready,
            Pass::Held(_) => Start::Waiting(gate.reason()),
            Pass::Later(opens_at) => {
                insert.task.due_at = opens_at;
                Start::Scheduled(Reason::Rate)
            }
        };
    }
    let lane = lane(conn, follow)?;
    let rank = rank(insert.task.due_at, follow.priority, step_ms);
    let placed = Placed { start, lane, rank, tag: Tags::default().next()?, row: 0 };
    let row = insert.write_row(conn, placed)?.row;
    let freed = match start {
        Start::Ready => Some(Freed::Ready { row, lane, rank }),
        Start::Scheduled(_) => Some(Freed::Due(insert.task.due_at)),
        _ => None,
    };
    Ok(Some((lane, freed)))
}

/// Whether one that waits tells of this end too.
fn is_counted(conn: &Connection, key: &str, now: Timestamp) -> Result<bool, Error> {
    let run = |sql: &str, now: Option<i64>| {
        conn.prepare_cached(sql).and_then(|mut update| match now {
            Some(now) => update.execute((key, now)),
            None => update.execute([key]),
        })
    };
    if run(COUNT, Some(now.as_millis())).map_err(not_stored)? > 0 {
        return Ok(true);
    }
    run(LET_GO, None).map_err(not_stored)?;
    Ok(false)
}

/// The lane was made when the task was stored that is followed, unless somebody has removed it since.
fn lane(conn: &Connection, follow: &Follow) -> Result<i64, Error> {
    let found = lanes::number(conn, &follow.queue, &follow.kind)?;
    found.map_or_else(|| lanes::make(conn, &follow.queue, &follow.kind), Ok)
}

/// Those that follow a task and are ready.
pub(super) fn ready(conn: &Connection, task: TaskId) -> rusqlite::Result<Vec<TaskId>> {
    let from = key_prefix(&task.to_string());
    // The character after the slash that it ends with.
    let until = format!("{}0", from.trim_end_matches('/'));
    let mut read = conn.prepare_cached(READY)?;
    let found = read.query_map((from, until), |row| Ok(TaskId::new(row.get(0)?, row.get(1)?)))?;
    let mut ready = found.collect::<rusqlite::Result<Vec<TaskId>>>()?;
    ready.sort_by_key(|id| id.row());
    Ok(ready)
}
