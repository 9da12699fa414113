//! Store: what an error of `SQLite` means for what was to be stored.

use rusqlite::ErrorCode;

use super::schema::busy_deadline;
use crate::error::Error;

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// For errors before the commit, where it is certain that nothing was stored.
pub(super) fn not_stored(error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("busy: another program held the file for {} s", busy_deadline().as_secs())
        }
        Some(ErrorCode::DiskFull) => "disk_full: there is no room for it".to_owned(),
        _ => error.to_string(),
    };
    Error::NotStored { reason, source: Some(error.into()) }
}

/// Whether nothing was stored because another program held the file.
pub(super) fn was_busy(error: &Error) -> bool {
    let Error::NotStored { source: Some(source), .. } = error else { return false };
    source.downcast_ref::<rusqlite::Error>().is_some_and(is_busy)
}

/// Whether the row itself is damaged, as opposed to the file or the disk.
pub(super) fn is_decode_error(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..)
    )
}

/// The same of an error that was made of one: its row holds what cannot be read, or what the schema's
/// CHECKs do not admit.
pub(super) fn is_damaged_row(error: &Error) -> bool {
    let Error::NotStored { source: Some(source), .. } = error else { return false };
    let Some(error) = source.downcast_ref::<rusqlite::Error>() else { return false };
    let refused =
        |code: &rusqlite::ffi::Error| code.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_CHECK;
    is_decode_error(error) || error.sqlite_error().is_some_and(refused)
}
