//! Claim: when the next scheduled task is due.

use rusqlite::OptionalExtension;

use super::core::{Core, NextDue};
use super::errors::not_stored;
use crate::error::Error;
use crate::time::Timestamp;

/// Served by `litework_task_scheduled`.
pub(super) const NEXT_DUE: &str =
    "SELECT due_at FROM litework_task WHERE state = 'scheduled' ORDER BY due_at LIMIT 1";

/// When the next scheduled task is due; looked up only after others have committed. A moment that is not
/// after now means that more is due.
pub(super) fn next_due(core: &mut Core) -> Result<Option<Timestamp>, Error> {
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
