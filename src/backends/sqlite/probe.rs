//! Watch: looks at a file from outside, on a plain connection, for a benchmark that must not believe what it measures.

use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Result};

/// The lane of the limit, which has only one.
const LANE: &str = "INSERT INTO litework_lane (id, queue, kind) VALUES (1, 'default', 'resize')";
/// Served by `litework_task_running`.
const RUNNING: &str = "SELECT EXISTS (SELECT 1 FROM litework_task WHERE state = 'running')";
/// Served by `litework_task_finished`.
const SUCCEEDED: &str =
    "SELECT count(*) FROM litework_task WHERE finished_at IS NOT NULL AND state = 'succeeded'";
const VERSION: &str = "PRAGMA data_version";

pub(crate) struct Probe(pub(super) Connection);

impl Probe {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Connection::open(path).map(Self)
    }

    /// Makes the lane of the limit in a file that has none.
    pub(crate) fn make_lane(&self) -> Result<()> {
        self.0.execute(LANE, []).map(drop)
    }

    /// Whether results are to be recorded yet.
    pub(crate) fn is_running(&self) -> Result<bool> {
        self.one(RUNNING)
    }

    /// How many tasks have succeeded.
    pub(crate) fn succeeded(&self) -> Result<i64> {
        self.one(SUCCEEDED)
    }

    /// A number that is another one after each commit of any other connection.
    pub(crate) fn data_version(&self) -> Result<i64> {
        self.one(VERSION)
    }

    fn one<T: FromSql>(&self, sql: &str) -> Result<T> {
        self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))
    }
}
