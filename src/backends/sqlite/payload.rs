//! Store: where arguments and results stand.

/// Arguments and results over this many bytes live in `litework_payload`.
pub(super) const INLINE_BYTES_MAX: usize = 2 * 1024;

pub(super) const INSERT_PAYLOAD: &str =
    "INSERT OR REPLACE INTO litework_payload (id, body) VALUES (?1, ?2)";
