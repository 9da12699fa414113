//! Claim: scheduled tasks whose time has come become ready, in slices.

use super::core::{Core, NextDue, not_stored};
use crate::error::Error;
use crate::time::Timestamp;

/// How many tasks one transaction promotes at most: about 5 ms under the write lock.
const SLICE: u32 = 2_000;

/// Served by `litework_task_scheduled`.
pub(super) const NEXT_DUE: &str =
    "SELECT due_at FROM litework_task WHERE state = 'scheduled' ORDER BY due_at LIMIT 1";

/// Served by `litework_task_scheduled`.
pub(super) const DUE: &str = "SELECT id, lane, rank FROM litework_task \
     WHERE state = 'scheduled' AND due_at <= ?1 ORDER BY due_at LIMIT ?2";

/// Served by the primary key. One statement for all rows costs half of one for each.
pub(super) const PROMOTE: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE state = 'scheduled' AND id IN (SELECT value FROM json_each(?1))";

/// Served by the primary key.
const FAIL: &str = "UPDATE litework_task SET state = 'failed', reason = 'bad_row', \
     finished_at = ?2 WHERE id = ?1 AND state = 'scheduled'";

/// Promotes what is due and returns when the next task is; a moment not after `now` means that
/// the slice was full.
pub(super) fn promote(core: &mut Core, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let mut next = next_due(core)?;
    if next.is_some_and(|at| at <= now) {
        let rows = due(core, now)?;
        let refused = promote_rows(core, &rows, now)?;
        for (row, lane, rank) in rows {
            if !refused.contains(&row)
                && let Some(lane) = core.lanes.by_id(&core.conn, lane).map_err(not_stored)?
            {
                core.lanes.note_ready(lane, (rank, row));
            }
        }
        core.next_due = NextDue::Unknown;
        next = next_due(core)?;
    }
    Ok(next)
}

/// Promotes all of them, but for those that are damaged, which it ends and returns.
fn promote_rows(core: &mut Core, rows: &[Due], now: Timestamp) -> Result<Vec<i64>, Error> {
    let mut refused = Vec::new();
    match promote_block(core, rows) {
        Err(error) if is_not_admitted(&error) => {}
        answer => return answer.map(|()| refused).map_err(not_stored),
    }
    for row in rows {
        match promote_block(core, std::slice::from_ref(row)) {
            Err(error) if is_not_admitted(&error) => {
                fail(core, row.0, now)?;
                refused.push(row.0);
            }
            answer => answer.map_err(not_stored)?,
        }
    }
    Ok(refused)
}

fn promote_block(core: &Core, rows: &[Due]) -> rusqlite::Result<()> {
    let rows: Vec<i64> = rows.iter().map(|(row, _, _)| *row).collect();
    let rows = serde_json::to_string(&rows).unwrap_or_default();
    core.conn.prepare_cached(PROMOTE)?.execute([rows]).map(drop)
}

/// Whether the row itself is damaged: it holds what the schema does not admit.
fn is_not_admitted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

/// Ends a row that another program has damaged, so that it does not stop the others.
fn fail(core: &mut Core, row: i64, now: Timestamp) -> Result<(), Error> {
    core.effects.changed.push(row);
    core.conn
        .prepare_cached(FAIL)
        .and_then(|mut fail| fail.execute((row, now.as_millis())))
        .map(drop)
        .map_err(not_stored)
}

/// A due task: its row, its lane, its rank.
type Due = (i64, i64, i64);

fn due(core: &Core, now: Timestamp) -> Result<Vec<Due>, Error> {
    core.conn
        .prepare_cached(DUE)
        .and_then(|mut read| {
            let rows = read.query_map((now.as_millis(), SLICE), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect()
        })
        .map_err(not_stored)
}

/// When the next scheduled task is due; looked up only after others have committed.
pub(super) fn next_due(core: &mut Core) -> Result<Option<Timestamp>, Error> {
    use rusqlite::OptionalExtension;
    match core.next_due {
        NextDue::Unknown => {}
        NextDue::Never => return Ok(None),
        NextDue::At(next) => return Ok(Some(next)),
    }
    let next = core
        .conn
        .prepare_cached(NEXT_DUE)
        .and_then(|mut read| read.query_row([], |row| row.get(0)).optional())
        .map_err(not_stored)?
        .map(Timestamp::clamped);
    core.next_due = next.into();
    Ok(next)
}
