//! Store: what an error of `SQLite` means for what was to be stored.

use rusqlite::ErrorCode;

use super::schema::BUSY_DEADLINE;
use crate::error::Error;

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// For errors before the commit, where it is certain that nothing was stored.
pub(super) fn not_stored(error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("busy: another program held the file for {} s", BUSY_DEADLINE.as_secs())
        }
        Some(ErrorCode::DiskFull) => "disk_full: there is no room for it".to_owned(),
        _ => error.to_string(),
    };
    Error::NotStored { reason, source: Some(error.into()) }
}
