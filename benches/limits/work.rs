//! The task of the rows and how its end is learnt, where whatever goes wrong ends the bench.

use std::path::Path;

use litework::{Client, Durability, Mode};
use rusqlite::Connection;

pub(crate) use crate::clock::now_ms;
pub(crate) use crate::resize::{Resize, count_run, expect_runs, ran};

/// Waits for the number that was expected.
pub(crate) fn await_runs() {
    crate::resize::await_runs().expect("all bodies run");
}

/// A client of this mode, with two workers if it has any.
pub(crate) fn client(path: &Path, mode: Mode, durability: Durability) -> Client {
    crate::resize::client(path, mode, durability).expect("the file is ours")
}

/// Looks at a file from outside.
pub(crate) struct Probe(crate::probe::Probe);

impl Probe {
    pub(crate) fn open(path: &Path) -> Self {
        Self(crate::probe::Probe::open(path).expect("the file is there"))
    }

    /// Waits until the results of all that ran are recorded.
    pub(crate) fn await_results(&self) {
        crate::resize::await_results(&self.0).expect("results are recorded");
    }

    /// A number that is another one after each commit of any other connection.
    pub(crate) fn data_version(&self) -> i64 {
        self.0.data_version().expect("it answers")
    }

    /// Fails the bench if so many tasks have not succeeded.
    pub(crate) fn check_succeeded(&self, expected: usize) {
        crate::resize::check_succeeded(&self.0, expected).expect("each has succeeded");
    }
}

/// What a statement answers on this file.
pub(crate) fn number(path: &Path, sql: &str) -> i64 {
    let conn = Connection::open(path).expect("the file is there");
    conn.query_row(sql, [], |row| row.get(0)).expect("it answers")
}
