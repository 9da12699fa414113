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
use super::holding::{FileKey, file_key};
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

/// What stands beside a queue, or was a copy that is not whole.
const OURS_BESIDE: [&str; 3] = ["-litework", "-artifacts", ".part"];

const NOTE_COPY: &str = "INSERT OR REPLACE INTO litework_meta (name, value) \
     VALUES ('copy_of', ?1), ('copied_at', ?2)";

/// The processes of the first hold nothing in the copy. Served by `litework_worker_live`.
const LET_GO: &str = "UPDATE litework_worker SET left_at = ?1 WHERE left_at IS NULL";

const BESIDE: &str = "SELECT count(*) FROM litework_artifact WHERE beside = 1 AND state = 'ready'";

/// Whether a file holds tables at all.
const HAS_TABLES: &str = "SELECT count(*) > 0 FROM sqlite_schema";
/// Whose copy a queue is. One that was killed holds nothing, says it, or, where that was just before it could, is a queue
/// like any other, which the next refuses to overwrite.
const COPY_OF: &str = "SELECT value FROM litework_meta WHERE name = 'copy_of'";

/// Copies the file of an engine to a path where nothing is yet. All that is stored until the clock is read is part of it.
pub(super) fn back_up(
    inner: &Inner,
    now: &dyn Fn() -> Timestamp,
    to: &Path,
    tell: Tell<'_>,
) -> Result<BackedUp, Error> {
    inner.writer.turn()?.check_path()?;
    let mut part = Part::begin(&inner.path, to)?;
    let at = copy(&inner.path, to, &mut part.conn, now, tell)?;
    let artifacts_beside = finish(&inner.path, &part.files.path, &part.conn, at)?;
    fault::point("backup_unnamed");
    let bytes = bytes(&part.files.path);
    part.take_name(to)?;
    Ok(BackedUp::new(to.to_owned(), bytes, at, artifacts_beside))
}

/// A copy that is being made. What is dropped first stands first: its files are removed while they are held, so that
/// they are nobody else's, but where the system removes nothing that is open.
struct Part {
    #[cfg(windows)]
    conn: Connection,
    files: Files,
    #[cfg(not(windows))]
    conn: Connection,
}

impl Part {
    /// Where nobody else makes one. It is not ours, and not to be removed, before it is held alone.
    fn begin(from: &Path, to: &Path) -> Result<Self, Error> {
        check_free(to)?;
        let path = beside(to, ".part");
        schema::check_path(&path)?;
        schema::create_private(&path)?;
        if !is_private(&path) {
            // Whoever made it may have it open, and would read the copy.
            return Err(taken(&path));
        }
        let key = file_key(&path);
        let conn = alone(&path, from)?;
        if key.is_none() || file_key(&path) != key {
            // It was somebody's copy, which has its name by now.
            return Err(in_hand(&path, None));
        }
        Ok(Self { files: Files { path, key, named: false }, conn })
    }

    /// Gives it the name, unless somebody has taken that meanwhile. It is held until then, where the system renames what
    /// is open, so that nobody takes it for one that was left.
    fn take_name(self, to: &Path) -> Result<(), Error> {
        let Self { conn, files } = self;
        let _held = Some(conn).filter(|_| !cfg!(windows));
        // Whatever fails, the files go before the connection.
        let files = files;
        files.take_name(to)
    }
}

/// The files of a copy that is being made. Dropped, they are removed.
struct Files {
    path: PathBuf,
    /// Which file that is; another of the same name is somebody else's.
    key: Option<FileKey>,
    named: bool,
}

impl Files {
    fn take_name(mut self, to: &Path) -> Result<(), Error> {
        // Of a file that is renamed SQLite leaves the journal and the log, which are empty.
        self.remove(&["-journal", "-wal"]);
        check_free(to)?;
        if file_key(&self.path) != self.key {
            return Err(in_hand(&self.path, None));
        }
        match rename_new(&self.path, to) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(taken(to));
            }
            Err(error) => {
                let reason = format!("the copy cannot be given its name: {error}");
                return Err(bad_file("cannot_open", to, reason, Some(error.into())));
            }
            Ok(()) => self.named = true,
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        drawer::flush_folder(folder.unwrap_or(Path::new(".")))
            .map_err(|error| not_flushed(to, error))
    }

    /// What is not there, or cannot be removed, is left to the next.
    fn remove(&self, suffixes: &[&str]) {
        if file_key(&self.path) == self.key {
            for suffix in suffixes {
                let _left = std::fs::remove_file(beside(&self.path, suffix));
            }
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.named {
            // Its own name last: whoever makes that anew has files beside it too.
            self.remove(&["-journal", "-wal", "-shm", ""]);
        }
    }
}

/// Refuses a place where something is, one where `SQLite` would take what lies beside it for part of the copy, and one
/// where it would take the copy for part of what lies beside.
fn check_free(to: &Path) -> Result<(), Error> {
    if schema::look_at(to)?.is_some() {
        return Err(taken(to));
    }
    let name = to.as_os_str().to_string_lossy();
    if let Some(suffix) = OURS_BESIDE.iter().find(|suffix| name.ends_with(**suffix)) {
        let reason =
            format!("what ends in {suffix} stands beside another queue; give another path");
        return Err(bad_file("not_a_queue_file", to, reason, None));
    }
    for suffix in schema::NAMED_AFTER {
        let left = beside(to, suffix);
        if std::fs::symlink_metadata(&left).is_ok() {
            let reason = "it was left by another file, and SQLite would take it for part of the copy; give another \
                          path, or remove it";
            return Err(bad_file("file_exists", &left, reason, None));
        }
    }
    Ok(())
}

fn in_hand(part: &Path, source: Option<BoxError>) -> Error {
    bad_file("file_busy", part, "another program makes a copy there", source)
}

fn taken(to: &Path) -> Error {
    let reason = "there is something of this name already; give another path, or remove it";
    bad_file("file_exists", to, reason, None)
}

/// It is there, and complete.
fn not_flushed(to: &Path, error: std::io::Error) -> Error {
    let path = to.display();
    let reason =
        format!("the copy {path} is whole, but its name may not survive a power loss: {error}");
    Error::Storage { reason, source: Some(error.into()) }
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

/// Copies all pages, step by step; says of which moment they are.
fn copy(
    from: &Path,
    to: &Path,
    copy: &mut Connection,
    now: &dyn Fn() -> Timestamp,
    tell: Tell<'_>,
) -> Result<Timestamp, Error> {
    let source = schema::connect(from, true).map_err(|error| schema::unreadable(from, error))?;
    let at = now();
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
            StepResult::Done => return Ok(at),
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
/// taken over. What somebody else has made stays as it is.
fn alone(part: &Path, from: &Path) -> Result<Connection, Error> {
    let key = file_key(part);
    let from = from.display().to_string();
    let opened = schema::connect(part, false).and_then(|conn| {
        conn.busy_timeout(PATIENCE)?;
        conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")?;
        if conn.query_row(HAS_TABLES, [], |row| row.get(0))?
            && copy_of(&conn).is_none_or(|of| of != from)
        {
            return Ok(None);
        }
        conn.execute_batch("COMMIT")?;
        conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        schema::set_synchronous(&conn, Durability::Full)?;
        Ok(Some(conn))
    });
    let ours = opened.map_err(|error| match error {
        error if is_busy(&error) => in_hand(part, Some(error.into())),
        // It was somebody's copy, which has its name by now.
        error if file_key(part) != key => in_hand(part, Some(error.into())),
        error => schema::unreadable(part, error),
    })?;
    ours.ok_or_else(|| taken(part))
}

/// Whether a file is ours, and nobody else can open it; where the system does not tell, it is taken for so.
fn is_private(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let own = rustix::process::geteuid().as_raw();
        std::fs::symlink_metadata(path)
            .is_ok_and(|it| it.uid() == own && it.mode().trailing_zeros() >= 6)
    }
    #[cfg(not(unix))]
    {
        let _any = path;
        true
    }
}

/// What a queue says that it is a copy of; none also where it is no queue.
fn copy_of(conn: &Connection) -> Option<String> {
    conn.query_row(COPY_OF, [], |row| row.get(0)).ok()
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

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::tests::{NOW, at, task};
    use super::super::{Settings, Sqlite};
    use super::*;
    use crate::backend::Backend;
    use crate::upkeep::Upkeep;

    fn field() -> (tempfile::TempDir, Sqlite, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = Sqlite::open(&folder.path().join("queue.db"), &Settings::default());
        let copy = folder.path().join("copy.db");
        (folder, engine.expect("a new file"), copy)
    }

    #[test]
    fn what_is_stored_until_the_clock_is_read_is_in_the_copy() {
        let (_folder, engine, to) = field();
        let now = || {
            engine.enqueue(at(NOW), vec![task(NOW)], None).expect("it is stored");
            at(NOW + 7)
        };
        let made = engine
            .back_up(&now, &to, &mut |_| Ok(ControlFlow::Continue(())))
            .expect("it is copied");
        assert_eq!(made.at, at(NOW + 7));
        let copy = Connection::open(&to).expect("it is there");
        let count = |sql| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
        assert_eq!(count("SELECT count(*) FROM litework_task"), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_copy_whose_place_another_has_taken_touches_nothing_of_his() {
        let (_folder, engine, to) = field();
        let (part, mut is_taken) = (beside(&to, ".part"), false);
        engine.enqueue(at(NOW), vec![task(NOW); 200], None).expect("it is stored");
        let refused = engine.back_up(&|| at(NOW), &to, &mut |_| {
            if !std::mem::replace(&mut is_taken, true) {
                std::fs::remove_file(&part).expect("it is there");
                std::fs::write(&part, "another's").expect("a file");
            }
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!(refused.expect_err("it is no copy of ours").code(), "file_busy");
        assert_eq!(std::fs::read(&part).expect("it is still there"), b"another's");
        assert!(is_taken && !to.exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_files_go_while_they_are_held() {
        let (_folder, _engine, to) = field();
        let part = Part::begin(Path::new("first.db"), &to).expect("nobody is there");
        let path = part.files.path.clone();
        let Part { files, conn } = part;
        drop(files);
        assert!(!path.exists(), "nobody can take it over");
        drop(conn);
        for suffix in ["", "-journal", "-wal", "-shm"] {
            assert!(!beside(&path, suffix).exists(), "part{suffix}");
        }
    }

    #[test]
    fn a_name_that_may_not_last_is_told_as_that() {
        let told = not_flushed(Path::new("a.db"), std::io::Error::other("the disk is gone"));
        let text = "storage: the copy a.db is whole, but its name may not survive a power loss: the disk is gone";
        assert_eq!(told.to_string(), text);
    }
}
