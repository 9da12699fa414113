//! Enqueue: the table that programs in other languages write to, `litework_inbox`.
//!
//! A row becomes exactly one task, in the transaction that marks it as taken, or it is refused with
//! the reason. Rows are taken in the order of their numbers and in slices. What is left of taken and
//! of refused rows is bounded. The contract with the writers is `inbox.md`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::blocks::store_each;
use super::core::Core;
use super::enqueue::Insert;
use super::errors::not_stored;
use super::schema::SQLITE_MIN;
use crate::backend::CheckRow;
use crate::error::{Error, shorten};
use crate::inbox::{Inbox, InboxKind, InboxRow, InboxWriter, RunAt, Slice};
use crate::options::Durability;
use crate::time::Timestamp;

/// Rows of one slice at most: some milliseconds of work under the lock …
const SLICE_ROWS: usize = 200;
/// … and so are these bytes of arguments, which the last row of a slice may exceed.
const SLICE_BYTES: usize = 4 * 1024 * 1024;
/// So many taken rows are kept, the newest, and as many refused ones.
const KEPT: i64 = 1_000;
/// The report names at most this many kinds.
const KINDS_MAX: usize = 1_000;
/// The report looks at this many rows to tell the versions of the writers.
const WRITERS_ROWS: i64 = 10_000;
/// Versions that a process warns of: they are text that anybody may write.
const WARNED_MAX: usize = 16;

/// Served by `litework_inbox_open`.
const ANY: &str =
    "SELECT EXISTS (SELECT 1 FROM litework_inbox WHERE task IS NULL AND error IS NULL)";

/// Served by `litework_inbox_open`.
const ANY_OF: &str = "SELECT EXISTS (SELECT 1 FROM litework_inbox \
     WHERE kind = ?1 AND task IS NULL AND error IS NULL)";

/// A whole number that a program without integers has written as a real one is read as it was meant.
/// Served by `litework_inbox_open`.
const READ: &str = "SELECT id, contract, kind, iif(octet_length(args) <= ?2, args, NULL), \
     octet_length(args), queue, priority, attempts, \
     iif(typeof(run_at) = 'real' AND run_at = CAST(run_at AS INTEGER), CAST(run_at AS INTEGER), run_at), \
     key, tags, sqlite_version FROM litework_inbox \
     WHERE kind = ?1 AND task IS NULL AND error IS NULL ORDER BY id";

/// Its arguments are the task's now. Served by the primary key.
const TAKEN: &str =
    "UPDATE litework_inbox SET task = ?2, settled_at = ?3, args = '{}' WHERE id = ?1";

/// Served by the primary key.
const REFUSED: &str = "UPDATE litework_inbox SET error = ?2, settled_at = ?3 WHERE id = ?1";

/// Served by `litework_inbox_taken`.
const NEWEST_TAKEN: &str =
    "SELECT settled_at FROM litework_inbox WHERE task IS NOT NULL ORDER BY settled_at DESC LIMIT 1";
/// Served by `litework_inbox_refused`.
const NEWEST_REFUSED: &str = "SELECT settled_at FROM litework_inbox WHERE error IS NOT NULL ORDER BY settled_at DESC LIMIT 1";

/// The first row that is too many. Served by `litework_inbox_taken`.
const OLD_TAKEN: &str = "SELECT settled_at, id FROM litework_inbox WHERE task IS NOT NULL \
     ORDER BY settled_at DESC, id DESC LIMIT 1 OFFSET ?1";
/// Served by `litework_inbox_taken`.
const FORGET_TAKEN: &str =
    "DELETE FROM litework_inbox WHERE task IS NOT NULL AND (settled_at, id) <= (?1, ?2)";

/// The first row that is too many. Served by `litework_inbox_refused`.
const OLD_REFUSED: &str = "SELECT settled_at, id FROM litework_inbox WHERE error IS NOT NULL \
     ORDER BY settled_at DESC, id DESC LIMIT 1 OFFSET ?1";
/// Served by `litework_inbox_refused`.
const FORGET_REFUSED: &str =
    "DELETE FROM litework_inbox WHERE error IS NOT NULL AND (settled_at, id) <= (?1, ?2)";

/// Served by `litework_inbox_open`.
const WAITING: &str = "SELECT kind, count(*) FROM litework_inbox \
     WHERE task IS NULL AND error IS NULL GROUP BY kind LIMIT +?1";

/// Served by `litework_inbox_refused`.
const COUNT_REFUSED: &str = "SELECT count(*) FROM litework_inbox WHERE error IS NOT NULL";

/// In the order of the primary key, backwards.
const NEWEST: &str =
    "SELECT sqlite_version, created_at FROM litework_inbox ORDER BY id DESC LIMIT +?1";

/// Whether rows of one of these kinds wait.
pub(super) fn waits(conn: &Connection, kinds: &[Arc<str>]) -> rusqlite::Result<bool> {
    let any: bool = conn.prepare_cached(ANY)?.query_row([], |row| row.get(0))?;
    Ok(any && !waiting(conn, kinds)?.is_empty())
}

/// Those of these kinds of which rows wait.
fn waiting<'a>(conn: &Connection, kinds: &'a [Arc<str>]) -> rusqlite::Result<Vec<&'a str>> {
    let mut find = conn.prepare_cached(ANY_OF)?;
    let mut waiting = Vec::new();
    for kind in kinds {
        if find.query_row([kind], |row| row.get(0))? {
            waiting.push(&**kind);
        }
    }
    Ok(waiting)
}

/// A request for one slice.
pub(super) struct Take<'a> {
    pub(super) now: Timestamp,
    pub(super) kinds: &'a [Arc<str>],
    pub(super) size_bytes: usize,
    pub(super) check: CheckRow<'a>,
    pub(super) durability: Durability,
}

/// Takes one slice; says also which versions of `SQLite` its writers have.
pub(super) fn take(core: &mut Core, take: &Take<'_>) -> Result<(Slice, HashSet<String>), Error> {
    let rows = next_rows(&core.conn, take).map_err(not_stored)?;
    // Whoever has filled the inbox may do so again, though it was before this program opened the file.
    core.note_neighbour();
    let mut slice = Slice::default();
    let (mut good, mut inserts) = (Vec::new(), Vec::new());
    let settled = Settled::new(&core.conn, take.now).map_err(not_stored)?;
    for row in &rows {
        match (take.check)(row) {
            Ok(task) => {
                inserts.push(Insert::new(task, take.now, None, take.durability));
                good.push(row);
            }
            Err(error) => {
                settled.refuse(&core.conn, row.id, &error).map_err(not_stored)?;
                slice.refused += 1;
            }
        }
    }
    store_each(core, &mut inserts)?;
    for (row, insert) in good.into_iter().zip(inserts) {
        match insert.into_stored() {
            Ok(stored) => {
                settled.take(&core.conn, row.id, &stored.id.to_string()).map_err(not_stored)?;
                slice.taken += 1;
            }
            Err(Error::Overloaded { .. }) => {
                if !slice.held_back.contains(&row.kind) {
                    slice.held_back.push(row.kind.clone());
                }
            }
            Err(error) => {
                settled.refuse(&core.conn, row.id, &error).map_err(not_stored)?;
                slice.refused += 1;
            }
        }
    }
    forget_old(&core.conn, &slice).map_err(not_stored)?;
    crate::fault::point("inbox_taken");
    Ok((slice, rows.into_iter().map(|row| row.sqlite_version).collect()))
}

/// The next rows of all kinds together, by their numbers: each kind has a cursor of its own, so that
/// rows of other kinds are never walked over.
fn next_rows(conn: &Connection, take: &Take<'_>) -> rusqlite::Result<Vec<InboxRow>> {
    let size = i64::try_from(take.size_bytes).unwrap_or(i64::MAX);
    let kinds = waiting(conn, take.kinds)?;
    let prepared = kinds.iter().map(|_| conn.prepare_cached(READ));
    let mut statements = prepared.collect::<rusqlite::Result<Vec<_>>>()?;
    let cursors = statements.iter_mut().zip(&kinds).map(|(read, kind)| read.query((kind, size)));
    let mut cursors = cursors.collect::<rusqlite::Result<Vec<Rows<'_>>>>()?;
    let mut heads = BinaryHeap::new();
    let mut read = |cursor: usize| -> rusqlite::Result<Option<InboxRow>> {
        cursors[cursor].next()?.map(row).transpose()
    };
    let mut waiting = BTreeMap::new();
    for cursor in 0..kinds.len() {
        if let Some(row) = read(cursor)? {
            heads.push(Reverse((row.id, cursor)));
            waiting.insert(row.id, row);
        }
    }
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(Reverse((id, cursor))) = heads.pop() {
        if rows.len() == SLICE_ROWS || bytes >= SLICE_BYTES {
            break;
        }
        if let Some(row) = waiting.remove(&id) {
            bytes += row.args.as_ref().map_or(0, Vec::len);
            rows.push(row);
        }
        if let Some(row) = read(cursor)? {
            heads.push(Reverse((row.id, cursor)));
            waiting.insert(row.id, row);
        }
    }
    Ok(rows)
}

fn row(row: &Row<'_>) -> rusqlite::Result<InboxRow> {
    let text = |column: usize| -> rusqlite::Result<Option<Vec<u8>>> {
        Ok(row.get_ref(column)?.as_bytes_or_null()?.map(<[u8]>::to_vec))
    };
    let lossy = |column: usize| -> rusqlite::Result<String> {
        Ok(text(column)?.map_or_else(String::new, |text| String::from_utf8_lossy(&text).into()))
    };
    let run_at = match row.get_ref(8)? {
        ValueRef::Null => RunAt::Now,
        ValueRef::Integer(ms) => RunAt::Millis(ms),
        ValueRef::Text(text) => RunAt::Text(text.to_vec()),
        ValueRef::Real(real) => RunAt::Other(real.to_string()),
        ValueRef::Blob(bytes) => RunAt::Other(format!("{} bytes", bytes.len())),
    };
    Ok(InboxRow {
        id: row.get(0)?,
        contract: row.get(1)?,
        kind: lossy(2)?,
        args: text(3)?,
        args_bytes: usize::try_from(row.get::<_, i64>(4)?).unwrap_or(usize::MAX),
        queue: text(5)?,
        priority: row.get(6)?,
        attempts: row.get(7)?,
        run_at,
        key: text(9)?,
        tags: text(10)?,
        sqlite_version: lossy(11)?,
    })
}

/// The moment at which rows are settled. It never goes back, whatever the wall clock does, as by it the
/// oldest are forgotten.
struct Settled {
    taken_at: i64,
    refused_at: i64,
}

impl Settled {
    fn new(conn: &Connection, now: Timestamp) -> rusqlite::Result<Self> {
        let newest = |sql| -> rusqlite::Result<i64> {
            let newest =
                conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
            Ok(newest.optional()?.flatten().unwrap_or(0).max(now.as_millis()))
        };
        Ok(Self { taken_at: newest(NEWEST_TAKEN)?, refused_at: newest(NEWEST_REFUSED)? })
    }

    fn take(&self, conn: &Connection, row: i64, task: &str) -> rusqlite::Result<usize> {
        conn.prepare_cached(TAKEN)?.execute((row, task, self.taken_at))
    }

    fn refuse(&self, conn: &Connection, row: i64, error: &Error) -> rusqlite::Result<usize> {
        conn.prepare_cached(REFUSED)?.execute((row, error.to_string(), self.refused_at))
    }
}

/// Forgets what is more than may be kept.
fn forget_old(conn: &Connection, slice: &Slice) -> rusqlite::Result<()> {
    let forget = |find, delete| -> rusqlite::Result<usize> {
        let place = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?));
        let old = conn.prepare_cached(find)?.query_row([KEPT], place).optional()?;
        old.map_or(Ok(0), |old| conn.prepare_cached(delete)?.execute(old))
    };
    if slice.taken > 0 {
        forget(OLD_TAKEN, FORGET_TAKEN)?;
    }
    if slice.refused > 0 {
        let rows = forget(OLD_REFUSED, FORGET_REFUSED)?;
        if rows > 0 {
            tracing::warn!(rows, "the inbox holds {KEPT} refused rows; the oldest were removed");
        }
    }
    Ok(())
}

/// What the inbox holds.
pub(super) fn report(conn: &Connection) -> rusqlite::Result<Inbox> {
    let mut read = conn.prepare_cached(WAITING)?;
    let kinds = read.query_map([i64::try_from(KINDS_MAX).unwrap_or(i64::MAX)], |row| {
        let rows = row.get::<_, i64>(1)?.unsigned_abs();
        let kind = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into();
        Ok(InboxKind { kind, rows, known: false })
    })?;
    let waiting = kinds.collect::<rusqlite::Result<_>>()?;
    let refused: i64 = conn.prepare_cached(COUNT_REFUSED)?.query_row([], |row| row.get(0))?;
    let mut writers = BTreeMap::<String, InboxWriter>::new();
    let mut read = conn.prepare_cached(NEWEST)?;
    let mut rows = read.query([WRITERS_ROWS])?;
    while let Some(row) = rows.next()? {
        let version = shorten(&String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?));
        let writer = writers.entry(version).or_insert_with_key(|version| InboxWriter {
            sqlite_version: version.clone(),
            rows: 0,
            newest_at: Timestamp::MIN,
            outdated: is_outdated(version),
        });
        writer.rows += 1;
        writer.newest_at = writer.newest_at.max(Timestamp::clamped(row.get(1)?));
    }
    let writers = writers.into_values().collect();
    Ok(Inbox { waiting, refused: refused.unsigned_abs(), writers })
}

/// Whether it is older than what a file of ours needs, or no version at all.
fn is_outdated(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u16>().ok().map(i64::from));
    let mut next = || parts.next().flatten();
    match (next(), next(), next()) {
        (Some(major), Some(minor), Some(patch)) => {
            major * 1_000_000 + minor * 1_000 + patch < i64::from(SQLITE_MIN)
        }
        _ => true,
    }
}

/// The versions that this process has warned of.
#[derive(Debug, Default)]
pub(super) struct Writers {
    warned: Mutex<HashSet<String>>,
}

impl Writers {
    /// Warns once of each version that may damage the file.
    pub(super) fn warn_of(&self, versions: HashSet<String>) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for version in versions {
            let version = shorten(&version);
            if is_outdated(&version) && warned.len() < WARNED_MAX && !warned.contains(&version) {
                tracing::warn!(
                    sqlite_version = version,
                    "a program writes to the inbox with an SQLite older than 3.51.3, which may damage \
                     the file; update that program"
                );
                warned.insert(version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for old in ["3.51.2", "3.9.0", "3.40.1", "2.99.99", "", "new", "3.51", "3.51.x", "-3.60.1"]
        {
            assert!(is_outdated(old), "{old}");
        }
        for good in ["65535.0.0", "3.51.3", "3.52.0", "3.60.0.1", "4.0.0"] {
            assert!(!is_outdated(good), "{good}");
        }
    }
}
