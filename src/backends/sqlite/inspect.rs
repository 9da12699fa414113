//! Store: what a file is, seen from outside. It is neither made nor changed: what is read is read through a
//! connection that cannot write, and a log that a dead program has left stays as it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::differs::differences;
use super::mounts;
use super::schema::{self, INCREMENTAL, SCHEMA_VERSION, pragma, wrong_encoding};
use crate::error::Error;
use crate::inspection::{Inspection, Standing};
use crate::time::Timestamp;

/// How long a program is waited for that has the file for itself.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "SELECT count(*) FROM sqlite_schema";

const HAS_META: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'litework_meta'";

/// Served by the primary key.
const META: &str = "SELECT value FROM litework_meta WHERE name = ?1";

/// What a file is.
pub(crate) fn inspect(path: &Path) -> Result<Inspection, Error> {
    let mut found = Inspection::new(path.to_owned(), SCHEMA_VERSION, rusqlite::version());
    if let Some(kind) = mounts::kind_of(path) {
        found.shared_disk = mounts::is_shared(&kind);
        found.memory_disk = mounts::is_memory(&kind);
        found.file_system = Some(kind);
    }
    let Some(meta) = schema::look_at(path)? else { return Ok(found) };
    found.links = schema::names_of(&meta);
    found.file_bytes = meta.len();
    found.wal_bytes = bytes(&beside(path, "-wal"));
    found.standing = Standing::Empty;
    if found.file_bytes + found.wal_bytes == 0 {
        return Ok(found);
    }
    let read = look(path).and_then(|conn| read(&conn, &mut found));
    let Err(error) = read else { return Ok(found) };
    found.standing = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Standing::Foreign,
        Some(ErrorCode::DatabaseCorrupt) => Standing::Damaged,
        _ => return Err(schema::unreadable(path, error)),
    };
    found.reason = Some(schema::unreadable(path, error).to_string());
    Ok(found)
}

/// A connection that reads and leaves no trace: whoever closes the last one would move a log that he has found there
/// into the file.
pub(super) fn look(path: &Path) -> rusqlite::Result<Connection> {
    let has_log = beside(path, "-wal").exists();
    let conn = schema::connect(path, true)?;
    conn.busy_timeout(PATIENCE)?;
    if has_log {
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    Ok(conn)
}

/// The file beside this one that is named after it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Asking for a size opens nothing.
pub(super) fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn read(conn: &Connection, found: &mut Inspection) -> rusqlite::Result<()> {
    let number = |name| pragma::<i64>(conn, name).map(i64::unsigned_abs);
    found.application_id = pragma(conn, "application_id")?;
    found.journal_mode = pragma(conn, "journal_mode")?;
    found.page_size = number("page_size")?;
    found.pages = number("page_count")?;
    found.free_pages = number("freelist_count")?;
    found.incremental_vacuum = pragma::<i64>(conn, "auto_vacuum")? == INCREMENTAL;
    let encoding: String = pragma(conn, "encoding")?;
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    if count(TABLES)? == 0 {
        return Ok(());
    }
    let foreign = match encoding.as_str() {
        "UTF-8" if count(HAS_META)? > 0 => None,
        "UTF-8" => Some("it has no tables of litework".to_owned()),
        _ => Some(wrong_encoding(&encoding)),
    };
    if foreign.is_some() {
        (found.standing, found.reason) = (Standing::Foreign, foreign);
        return Ok(());
    }
    found.schema = meta(conn, "schema")?;
    found.min_writer = meta(conn, "min_writer")?;
    found.copy_of = meta(conn, "copy_of")?;
    found.copied_at = meta(conn, "copied_at")?.map(Timestamp::clamped);
    found.differs = differences(conn)?.iter().map(ToString::to_string).collect();
    found.standing = match (found.schema.max(found.min_writer), found.differs.is_empty()) {
        (Some(schema), _) if schema > SCHEMA_VERSION => Standing::Newer,
        (Some(schema), _) if schema < SCHEMA_VERSION => Standing::Older,
        (Some(_), true) => Standing::Current,
        _ => Standing::Differs,
    };
    Ok(())
}

/// A value that the file says of itself; none where it says nothing, or something else.
fn meta<T: FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    let found = conn.query_row(META, [name], |row| Ok(row.get(0).ok())).optional()?;
    Ok(found.flatten())
}
