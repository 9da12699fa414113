//! Erase: the log holds older copies of pages until it is begun anew, so it is emptied.

use std::path::Path;
use std::time::{Duration, Instant};

use super::schema;
use crate::error::Error;

/// How long readers and writers are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long another checkpoint is waited for, such as that of what was just deleted: `SQLite` does not.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(1);

/// Moves all of the log into the file and cuts it to nothing; false where somebody was reading or
/// writing all the time.
pub(super) fn empty_log(path: &Path) -> Result<bool, Error> {
    let storage = |error: rusqlite::Error| Error::Storage {
        reason: format!("the log could not be emptied: {error}"),
        source: Some(error.into()),
    };
    let conn = schema::connect(path, false).map_err(storage)?;
    conn.busy_timeout(PATIENCE).map_err(storage)?;
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let busy: bool = conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(storage)?;
        // What answers at once is another checkpoint; readers and writers were waited for.
        let is_reader = asked.elapsed() >= PATIENCE;
        if !busy || is_reader || began.elapsed() >= CHECKPOINT_PATIENCE {
            return Ok(!busy);
        }
        std::thread::park_timeout(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// It holds its lock while it syncs, say.
    #[test]
    fn a_checkpoint_that_is_under_way_is_waited_for() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("a.db");
        let conn = Connection::open(&path).expect("open");
        conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (body)").expect("a table");
        for _ in 0..20 {
            conn.execute("INSERT INTO t VALUES (zeroblob(4000000))", []).expect("a large row");
            let other = schema::connect(&path, false).expect("another connection");
            let under_way = std::thread::spawn(move || {
                crate::backends::sqlite::checkpoint::passive(&other);
            });
            assert!(empty_log(&path).expect("it answers"));
            under_way.join().expect("it ends");
        }
    }
}
