//! Watch: the limit of a benchmark: a hand-written loop over the same tables, with the same JSON work and durability. It leaves
//! out all that makes a queue: leases, retries, lanes but one, limits, checkpoints elsewhere, wake-ups, and more threads.
//! The file is made by litework itself, so columns, CHECKs and indexes are the same by construction.

use std::path::Path;

use litework::Durability;
use rusqlite::{Connection, Error, Result, types::FromSqlError};
use serde::{Serialize, de::DeserializeOwned};

const INSERT: &str = "INSERT INTO litework_task (tag, lane, state, rank, priority, due_at, \
     enqueued_at, attempts_max, arguments) VALUES (?1, 1, 'ready', ?2, 0, ?2, ?2, 5, ?3)";
/// Served by `litework_task_ready`.
const NEXT: &str = "SELECT id, attempt + 1, arguments FROM litework_task \
     WHERE state = 'ready' AND lane = 1 ORDER BY rank, id LIMIT +?1";
/// Served by the primary key. One for all, without RETURNING, is the quickest form: 1.4 to 2.5 times that of one each.
const CLAIM: &str = "UPDATE litework_task SET state = 'running', worker = 1, \
     attempt = attempt + 1, started_at = ?2 WHERE id IN (SELECT id FROM litework_task \
     WHERE state = 'ready' AND lane = 1 ORDER BY rank, id LIMIT +?1)";
/// Served by the primary key.
const FINISH: &str = "UPDATE litework_task SET state = 'succeeded', finished_at = ?3, \
     result = ?4 WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = 1";

/// A claimed task: its row, its attempt and its arguments.
pub(crate) struct Claim<T>(i64, i64, pub(crate) T);

pub(crate) struct Raw {
    conn: Connection,
    now_ms: fn() -> i64,
}

impl Raw {
    pub(crate) fn open(path: &Path, durability: Durability, now_ms: fn() -> i64) -> Result<Self> {
        let conn = Connection::open(path)?;
        conn.execute_batch("PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")?;
        conn.pragma_update(None, "synchronous", format!("{durability:?}"))?;
        Ok(Self { conn, now_ms })
    }

    /// One transaction that inserts these tasks.
    pub(crate) fn insert<T: Serialize>(&self, tasks: impl Iterator<Item = T>) -> Result<()> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut insert = self.conn.prepare_cached(INSERT)?;
        for task in tasks {
            insert.execute((fastrand::i64(..), (self.now_ms)(), json(&task)?))?;
        }
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// One transaction that claims the best tasks.
    pub(crate) fn claim<T: DeserializeOwned>(&self, count: u32) -> Result<Vec<Claim<T>>> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut next = self.conn.prepare_cached(NEXT)?;
        let claimed = next.query_map([count], |row| {
            let args = serde_json::from_str(row.get_ref(2)?.as_str()?);
            Ok(Claim(row.get(0)?, row.get(1)?, args.map_err(|e| FromSqlError::Other(e.into()))?))
        });
        let claimed = claimed?.collect();
        self.conn.prepare_cached(CLAIM)?.execute((count, (self.now_ms)()))?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        claimed
    }

    /// Runs the bodies, then one transaction that records their results.
    pub(crate) fn finish<T, R>(&self, all: Vec<Claim<T>>, run: impl Fn(T) -> R) -> Result<()>
    where
        R: Serialize,
    {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut finish = self.conn.prepare_cached(FINISH)?;
        for Claim(id, attempt, args) in all {
            finish.execute((id, attempt, (self.now_ms)(), json(&run(args))?))?;
        }
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}
