//! The limit: a hand-written loop over the same tables, with the same JSON work and the same
//! durability. It leaves out all that makes a queue: leases, retries, lanes but one, limits on
//! arguments, checkpoints off the caller's thread, wake-ups, and work on more than one thread.
//!
//! The file is made by litework itself, so columns, CHECKs and indexes are the same by construction.

use std::path::Path;

use litework::Durability;
use rusqlite::{Connection, Result};

use crate::work::{Resize, now_ms};

const INSERT: &str = "INSERT INTO litework_task (tag, lane, state, rank, priority, due_at, \
     enqueued_at, attempts_max, arguments) VALUES (?1, 1, 'ready', ?2, 0, ?2, ?2, 5, ?3)";
const NEXT: &str = "SELECT id, attempt + 1, arguments FROM litework_task \
     WHERE state = 'ready' AND lane = 1 ORDER BY rank, id LIMIT ?1";
// One statement for all of them, without RETURNING, is the quickest form: 1.4 to 2.5 times that of
// one statement each.
const CLAIM: &str = "UPDATE litework_task SET state = 'running', worker = 1, \
     attempt = attempt + 1, started_at = ?2 WHERE id IN (SELECT id FROM litework_task \
     WHERE state = 'ready' AND lane = 1 ORDER BY rank, id LIMIT ?1)";
const FINISH: &str = "UPDATE litework_task SET state = 'succeeded', finished_at = ?3, \
     result = ?4 WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = 1";

/// A claimed task.
pub(crate) struct Claim {
    id: i64,
    attempt: i64,
    args: Resize,
}

pub(crate) struct Raw(Connection);

impl Raw {
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let conn = Connection::open(path)?;
        conn.execute_batch("PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")?;
        conn.pragma_update(None, "synchronous", format!("{durability:?}"))?;
        Ok(Self(conn))
    }

    /// One transaction that inserts these tasks.
    pub(crate) fn insert(&self, tasks: impl Iterator<Item = Resize>) -> Result<()> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut insert = self.0.prepare_cached(INSERT)?;
        for task in tasks {
            let arguments = serde_json::to_string(&task).expect("plain fields always encode");
            insert.execute((fastrand::i64(..), now_ms(), arguments))?;
        }
        self.0.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    }

    /// One transaction that claims the best tasks.
    pub(crate) fn claim(&self, count: usize) -> Result<Vec<Claim>> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut next = self.0.prepare_cached(NEXT)?;
        let claimed = next.query_map([count as i64], |row| {
            let args = serde_json::from_str(row.get_ref(2)?.as_str()?).expect("it was encoded");
            Ok(Claim { id: row.get(0)?, attempt: row.get(1)?, args })
        });
        let claimed = claimed?.collect();
        self.0.prepare_cached(CLAIM)?.execute((count as i64, now_ms()))?;
        self.0.prepare_cached("COMMIT")?.execute([])?;
        claimed
    }

    /// Runs the bodies, then one transaction that records their results.
    pub(crate) fn finish(&self, claimed: Vec<Claim>) -> Result<()> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut finish = self.0.prepare_cached(FINISH)?;
        for Claim { id, attempt, args } in claimed {
            let result = serde_json::to_string(&args.work()).expect("plain fields always encode");
            finish.execute((id, attempt, now_ms(), result))?;
        }
        self.0.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    }
}
