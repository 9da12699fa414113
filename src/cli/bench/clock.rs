//! Operate: the machine's clock, as two processes of a benchmark share it, and pauses that are a part of what is
//! measured.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub(crate) fn wall_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    (wall_nanos() / 1_000_000) as i64
}

/// Does nothing for a while: nobody is there who could end it.
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}
