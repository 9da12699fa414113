//! Watch: reads what was stored last, for the limit of a benchmark that only looks.

use rusqlite::{OptionalExtension, Result};

use super::probe::Probe;

/// Served by the primary key.
const NEWEST: &str =
    "SELECT id, arguments FROM litework_task WHERE id > ?1 ORDER BY id DESC LIMIT 1";

impl Probe {
    /// Row and arguments of the newest task after this row.
    pub(crate) fn newest(&self, row: i64) -> Result<Option<(i64, String)>> {
        let mut newest = self.0.prepare_cached(NEWEST)?;
        newest.query_row([row], |found| Ok((found.get(0)?, found.get(1)?))).optional()
    }
}
