//! Erase: the log holds older copies of pages until it is begun anew, so it is emptied.

use std::path::Path;
use std::time::Duration;

use super::schema;
use crate::error::Error;

/// How long readers and writers are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Moves all of the log into the file and cuts it to nothing; false where somebody was reading or
/// writing all the time.
pub(super) fn empty_log(path: &Path) -> Result<bool, Error> {
    let storage = |error: rusqlite::Error| Error::Storage {
        reason: format!("the log could not be emptied: {error}"),
        source: Some(error.into()),
    };
    let conn = schema::connect(path, false).map_err(storage)?;
    conn.busy_timeout(PATIENCE).map_err(storage)?;
    let busy: i64 =
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(storage)?;
    Ok(busy == 0)
}
