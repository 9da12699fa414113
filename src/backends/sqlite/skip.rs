//! Claim: a task that finds its lock held ends without running, and says who holds it.

use rusqlite::Connection;

use super::errors::not_stored;
use crate::error::Error;
use crate::id::TaskId;
use crate::settle::already_running;
use crate::state::Reason;
use crate::time::Timestamp;

/// Served by the primary key.
const SKIP: &str = "UPDATE litework_task SET state = 'skipped', reason = 'locked', finished_at = ?2 \
     WHERE id = ?1 AND (state = 'ready' OR state = 'scheduled')";

/// Served by the primary key.
const RECORD: &str = "INSERT INTO litework_error (task, attempt, outcome, finished_at, report) \
     SELECT ?1, attempt, 'skipped', ?2, ?3 FROM litework_task WHERE id = ?1";

/// Ends a task that is about to start.
pub(super) fn skip(
    conn: &Connection,
    row: i64,
    holder: Option<TaskId>,
    now: Timestamp,
) -> Result<(), Error> {
    conn.prepare_cached(SKIP)
        .and_then(|mut skip| skip.execute((row, now.as_millis())))
        .map_err(not_stored)?;
    holder.map_or(Ok(()), |holder| record_skip(conn, row, (holder, Reason::Locked), now))
}

/// Notes for whose sake it was skipped, and why.
pub(super) fn record_skip(
    conn: &Connection,
    row: i64,
    (holder, reason): (TaskId, Reason),
    now: Timestamp,
) -> Result<(), Error> {
    // A report is strings and JSON, which always encode.
    let report = serde_json::to_string(&already_running(holder, reason)).unwrap_or_default();
    conn.prepare_cached(RECORD)
        .and_then(|mut insert| insert.execute((row, now.as_millis(), report)))
        .map(drop)
        .map_err(not_stored)
}
