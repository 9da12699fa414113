//! Store: a copy of the file, made by `SQLite`'s online backup while others write.
//!
//! One read transaction is held for all of it. Without it each commit of others would begin the copy anew, and a busy
//! queue would never be copied; with it there is one state, that of its begin, and nobody who writes waits.
//!
//! The copy is made under another name, checked, flushed and renamed, so no half of one has its name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use super::errors::{is_busy, not_stored};
use super::holding::file_key;
use super::inspect::{beside, bytes};
use super::schema::{self, bad_file};
use super::{Inner, drawer};
use crate::error::Error;
use crate::fault;
use crate::options::Durability;
use crate::outcome::BoxError;
use crate::time::Timestamp;
use crate::upkeep::{BackedUp, BackupProgress, Tell};

/// Pages of one step; of 4 KiB each, 4 MiB. Few under test, so that there are several.
const STEP_PAGES: i32 = if cfg!(any(test, feature = "__fault")) { 8 } else { 1_024 };
/// How long another copy to the same place is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

const NOTE_COPY: &str = "INSERT OR REPLACE INTO litework_meta (name, value) \
     VALUES ('copy_of', ?1), ('copied_at', ?2)";

/// The processes of the first hold nothing in the copy. Served by `litework_worker_live`.
const LET_GO: &str = "UPDATE litework_worker SET left_at = ?1 WHERE left_at IS NULL";

const BESIDE: &str = "SELECT count(*) FROM litework_artifact WHERE beside = 1 AND state = 'ready'";

/// Copies the file of an engine to a path where nothing is yet.
pub(super) fn back_up(
    inner: &Inner,
    now: Timestamp,
    to: &Path,
    tell: Tell<'_>,
) -> Result<BackedUp, Error> {
    inner.writer.turn()?.check_path()?;
    let (part, mut held) = Part::begin(to)?;
    copy(&inner.path, to, &mut held, tell)?;
    let artifacts_beside = finish(&inner.path, &part.path, &held, now)?;
    fault::point("backup_unnamed");
    let bytes = bytes(&part.path);
    part.take_name(to, held)?;
    Ok(BackedUp::new(to.to_owned(), bytes, now, artifacts_beside))
}

/// A copy that is being made. Dropped, it is removed.
struct Part {
    path: PathBuf,
    named: bool,
}

impl Part {
    /// Where nobody else makes one. It is not ours, and not to be removed, before it is held alone.
    fn begin(to: &Path) -> Result<(Self, Connection), Error> {
        if schema::look_at(to)?.is_some() {
            return Err(taken(to));
        }
        let path = beside(to, ".part");
        schema::check_path(&path)?;
        schema::create_private(&path)?;
        let opened = file_key(&path);
        let empty = alone(&path)?;
        if opened.is_none() || file_key(&path) != opened {
            // It was somebody's copy, which has its name by now.
            return Err(in_hand(&path, None));
        }
        Ok((Self { path, named: false }, empty))
    }

    /// Gives it the name, unless somebody has taken that meanwhile. It is held until then, where the system renames what
    /// is open, so that nobody takes it for one that was left.
    fn take_name(mut self, to: &Path, held: Connection) -> Result<(), Error> {
        let held = Some(held).filter(|_| !cfg!(windows));
        let lost = |error: std::io::Error| {
            let reason = format!("the copy cannot be given its name: {error}");
            bad_file("cannot_open", to, reason, Some(error.into()))
        };
        match rename_new(&self.path, to) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(taken(to));
            }
            renamed => renamed.map_err(lost)?,
        }
        self.named = true;
        drop(held);
        // Of a file that was renamed SQLite leaves the journal and the log, which are empty.
        for suffix in ["-journal", "-wal"] {
            let _gone = std::fs::remove_file(beside(&self.path, suffix));
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        drawer::flush_folder(folder.unwrap_or(Path::new("."))).map_err(lost)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.named {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                // What is not there, or cannot be removed, is left to the next.
                let _left = std::fs::remove_file(beside(&self.path, suffix));
            }
        }
    }
}

fn in_hand(part: &Path, source: Option<BoxError>) -> Error {
    bad_file("file_busy", part, "another program makes a copy there", source)
}

fn taken(to: &Path) -> Error {
    let reason = "there is something of this name already; give another path, or remove it";
    bad_file("file_exists", to, reason, None)
}

/// Renames a file, and overwrites nothing.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not all file systems know how.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            renamed => return renamed.map_err(Into::into),
        }
    }
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

/// Copies all pages, step by step.
fn copy(from: &Path, to: &Path, copy: &mut Connection, tell: Tell<'_>) -> Result<(), Error> {
    let source = schema::connect(from, true).map_err(|error| schema::unreadable(from, error))?;
    // The first read holds the state that is copied.
    source
        .execute_batch("BEGIN")
        .and_then(|()| source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
        .map_err(|error| schema::unreadable(from, error))?;
    let failed = |error| not_copied(from, error);
    let backup = Backup::new(&source, copy).map_err(failed)?;
    loop {
        fault::point("in_backup");
        match backup.step(STEP_PAGES).map_err(failed)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {
                let now = backup.progress();
                let count = |pages: i32| u64::from(pages.unsigned_abs());
                let done = count(now.pagecount).saturating_sub(count(now.remaining));
                if tell(BackupProgress::of(done, count(now.pagecount)))?.is_break() {
                    let reason = "the copy was ended before it was whole; nothing is left of it";
                    return Err(bad_file("stopped", to, reason, None));
                }
            }
            _ => return Err(in_hand(to, None)),
        }
    }
}

/// What went wrong in the midst of a copy.
fn not_copied(from: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            schema::unreadable(from, error)
        }
        _ => not_stored(error),
    }
}

/// A connection that nobody shares: a second copy to the same place is refused, and what a killed one has left is
/// taken over.
fn alone(part: &Path) -> Result<Connection, Error> {
    let opened = schema::connect(part, false).and_then(|conn| {
        conn.busy_timeout(PATIENCE)?;
        conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
        conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        schema::set_synchronous(&conn, Durability::Full)?;
        Ok(conn)
    });
    opened.map_err(|error| match error {
        error if is_busy(&error) => in_hand(part, Some(error.into())),
        error => schema::unreadable(part, error),
    })
}

/// Notes whose copy it is, and checks all of it; says how many artifacts are not part of it. The connection is still the
/// only one, and needs no -shm, which a disk of another host may not have.
fn finish(from: &Path, part: &Path, conn: &Connection, now: Timestamp) -> Result<u64, Error> {
    let unreadable = |error| schema::unreadable(part, error);
    // A row that the schema does not admit is copied as it is.
    conn.execute_batch("PRAGMA ignore_check_constraints = ON;").map_err(unreadable)?;
    let name = from.display().to_string();
    let noted = conn.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
        conn.execute(NOTE_COPY, (name, now.as_millis()))?;
        conn.execute(LET_GO, [now.as_millis()])?;
        conn.execute_batch("COMMIT")
    });
    noted.map_err(not_stored)?;
    let check: String = schema::pragma(conn, "quick_check(1)").map_err(unreadable)?;
    if check != "ok" {
        let reason = format!("the file is damaged, and so would be its copy: {check}");
        return Err(bad_file("damaged_file", from, reason, None));
    }
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let artifacts = count(BESIDE).map_err(unreadable)?.unsigned_abs();
    let left: i64 = conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(not_stored)?;
    if left == 0 { Ok(artifacts) } else { Err(in_hand(part, None)) }
}
