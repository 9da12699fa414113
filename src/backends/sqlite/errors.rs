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
        Some(ErrorCode::ReadOnly) => {
            "read_only: this program may not write the file, or its disk is mounted read-only"
                .to_owned()
        }
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

/// Whether a row holds what the schema does not admit: what its CHECKs refuse, or a number that grows beyond
/// what is one.
pub(super) fn is_not_admitted(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_CHECK, SQLITE_CONSTRAINT_DATATYPE};
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_CONSTRAINT_CHECK | SQLITE_CONSTRAINT_DATATYPE))
}

/// Either of an error that was made of one.
pub(super) fn is_damaged_row(error: &Error) -> bool {
    let Error::NotStored { source: Some(source), .. } = error else { return false };
    let error = source.downcast_ref::<rusqlite::Error>();
    error.is_some_and(|error| is_decode_error(error) || is_not_admitted(error))
}

/// Whether a row has refused it, whatever is damaged or forbidden there, as opposed to the file or the disk.
pub(super) fn is_refused_by_row(error: &Error) -> bool {
    let Error::NotStored { source: Some(source), .. } = error else { return false };
    let error = source.downcast_ref::<rusqlite::Error>();
    error.is_some_and(|error| {
        let code = error.sqlite_error_code();
        let refused = [ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch, ErrorCode::TooBig];
        is_decode_error(error) || code.is_some_and(|code| refused.contains(&code))
    })
}

/// Whether an error says that the file is damaged.
#[cfg(feature = "cli")]
pub(crate) fn is_damage(source: &(dyn std::error::Error + 'static)) -> bool {
    let found = source.downcast_ref::<rusqlite::Error>();
    found.and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::DatabaseCorrupt)
}
