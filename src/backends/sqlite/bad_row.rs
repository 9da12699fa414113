//! Claim, finish: the end of one row that holds what no program of ours has written: failed with the reason
//! `bad_row`.

use rusqlite::Connection;

use super::errors::{is_not_admitted, not_stored};
use crate::error::Error;
use crate::time::Timestamp;

/// Served by the primary key. Numbers that cannot be are brought into their range, so that the row can
/// be read; texts stay as they are, to be looked at.
const END: &str = "UPDATE litework_task SET state = 'failed', reason = 'bad_row', \
     finished_at = ?2, unique_key = NULL, priority = max(-100, min(priority, 100)), \
     due_at = max(0, min(due_at, 253402300799999)), \
     attempts_max = max(1, min(attempts_max, 1000)), \
     attempt = max(0, min(attempt, max(1, min(attempts_max, 1000)))), \
     crashes = max(0, min(crashes, 1000)), snoozes = max(0, min(snoozes, 1000000000)) \
     WHERE id = ?1";

/// Ends a damaged row.
pub(super) fn end_row(conn: &Connection, row: i64, now: Timestamp) -> rusqlite::Result<()> {
    conn.prepare_cached(END)?.execute((row, now.as_millis()))?;
    tracing::warn!(row, "a damaged task is ended as bad_row");
    Ok(())
}

/// Makes one change to a row, or ends it, where it holds what the schema does not admit. Says whether it is
/// changed.
pub(super) fn change(
    conn: &Connection,
    (sql, values): (&str, impl rusqlite::Params),
    row: i64,
    now: Timestamp,
) -> Result<bool, Error> {
    match conn.prepare_cached(sql).and_then(|mut write| write.execute(values)) {
        Ok(_) => Ok(true),
        Err(error) if is_not_admitted(&error) => {
            end_row(conn, row, now).map(|()| false).map_err(not_stored)
        }
        Err(error) => Err(not_stored(error)),
    }
}
