//! Every step: notes in the commit of a deed who did it.

use rusqlite::Connection;
use serde_json::Value;

use super::core::Core;
use super::errors::not_stored;
use super::query::ReadError;
use super::row::text;
use crate::audit::{self, AuditRecord, Entry, KEPT_MS, Times};
use crate::error::Error;
use crate::time::Timestamp;

/// Entries that are looked at, whether they are too old, whenever one is noted.
const OLD_MAX: u32 = 100;

const INSERT: &str = "INSERT INTO litework_audit (at, actor, action, what, count, note) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Served by the primary key.
const ADD: &str = "UPDATE litework_audit SET count = count + ?2 WHERE id = ?1";

/// Served by the primary key.
const OLDEST: &str = "SELECT id, at FROM litework_audit WHERE id > ?1 ORDER BY id LIMIT +?2";

/// Served by the primary key.
const REMOVE: &str = "DELETE FROM litework_audit WHERE id <= ?1";

/// Served by the primary key.
const READ: &str = "SELECT id, at, actor, action, what, count, note FROM litework_audit \
     WHERE id < ?1 ORDER BY id DESC LIMIT +?2";

/// Notes what was just done in this transaction, where it is done in somebody's name.
pub(super) fn note(core: &Core, done: &impl Times) -> Result<(), Error> {
    match (audit::current(), done.times()) {
        (None, _) | (_, 0) => Ok(()),
        (Some(entry), times) => {
            let times = i64::try_from(times).unwrap_or(i64::MAX);
            let what = Value::Object(entry.what_of(done)).to_string();
            write(&core.conn, &entry, &what, times).map_err(not_stored)
        }
    }
}

fn write(conn: &Connection, entry: &Entry, what: &str, times: i64) -> rusqlite::Result<()> {
    // A commit that failed has left nothing under that number.
    let known = entry.row();
    if known > 0 && conn.prepare_cached(ADD)?.execute((known, times))? > 0 {
        return Ok(());
    }
    let (at, actor) = (entry.at.as_millis(), &entry.actor);
    conn.prepare_cached(INSERT)?.execute(rusqlite::params![
        at,
        actor.name,
        entry.action,
        what,
        times,
        actor.note
    ])?;
    entry.stands_at(conn.last_insert_rowid());
    remove_old(conn, at.saturating_sub(KEPT_MS))
}

fn remove_old(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    let mut read = conn.prepare_cached(OLDEST)?;
    let oldest = read.query_map((i64::MIN, OLD_MAX), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let oldest = oldest.collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    let old = oldest.iter().take_while(|(_, at)| *at < before).last();
    match old {
        Some((last, _)) => conn.prepare_cached(REMOVE)?.execute([last]).map(drop),
        None => Ok(()),
    }
}

/// Entries before this number, newest first.
pub(super) fn read(
    conn: &Connection,
    before: i64,
    size: usize,
) -> Result<Vec<(i64, AuditRecord)>, ReadError> {
    let mut read = conn.prepare_cached(READ)?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let found = read.query_map((before, size), |row| {
        let what = text(row, 4).and_then(|what| serde_json::from_str(&what).ok());
        let entry = AuditRecord {
            at: Timestamp::clamped(row.get(1)?),
            actor: text(row, 2).unwrap_or_default(),
            action: text(row, 3).unwrap_or_default(),
            what: what.unwrap_or_default(),
            count: row.get::<_, i64>(5)?.unsigned_abs(),
            note: text(row, 6),
        };
        Ok((row.get(0)?, entry))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
