//! Store: opening the file. Pragmas are set and read back, the schema is made or checked, and
//! whatever cannot be trusted is refused with the reason.
//!
//! Two kinds of open: a file of our own, in which we set everything, and the application's file, in
//! which we touch `litework_*` tables only. First opens by many processes at once are serialised by
//! retrying with jitter, as the busy handler is not called for a change of the journal mode.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::differs::{SCHEMA, differences};
use super::{mounts, rights};
use crate::error::Error;
use crate::fault;
use crate::options::Durability;
use crate::outcome::BoxError;
use crate::state::STEP_STRICT_MS;

/// The schema this program writes.
pub(super) const SCHEMA_VERSION: i64 = 1;
/// Marks a file of our own: "ltwk".
pub(super) const APPLICATION_ID: i64 = 0x6c74_776b;
/// Below this, a checkpoint that races a commit can corrupt the file (fixed in `SQLite` 3.51.3).
pub(super) const SQLITE_MIN: i32 = 3_051_003;
/// How long a first open may take while others open the same file.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// How long a reader waits for another process's lock, and a writer for that and for its turn together.
const BUSY_DEADLINE: Duration = Duration::from_secs(30);
/// The pause between two tries for the lock.
const BUSY_PAUSE: Duration = Duration::from_micros(500);
/// Pages of a file that nobody has changed.
const PAGE_BYTES: i64 = 4_096;
/// How `auto_vacuum` is written where free pages can be given back.
pub(super) const INCREMENTAL: i64 = 2;
/// The WAL file is cut to this size when it is reset.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// How a file is to be opened.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a wish of its own, and all combinations occur"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) durability: Durability,
    /// The file belongs to the application; only `litework_*` is ours.
    pub(crate) application_file: bool,
    /// Whether an application's file may be switched to WAL.
    pub(crate) convert_to_wal: bool,
    /// How much earlier one point of priority counts. None: as in the file; strict in a new one.
    pub(crate) step_ms: Option<i64>,
    /// Whether the file may lie on a disk that other hosts share.
    pub(crate) any_filesystem: bool,
    /// Whether free pages go back to the disk.
    pub(crate) incremental_vacuum: bool,
    /// Whether a file that is missing, or no queue yet, is refused.
    pub(crate) must_exist: bool,
    /// How often it is looked for what others commit, where the system reports nothing; none: twice a second.
    pub(crate) look_every: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            application_file: false,
            convert_to_wal: false,
            step_ms: None,
            any_filesystem: false,
            incremental_vacuum: false,
            must_exist: false,
            look_every: None,
        }
    }
}

/// What the file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) step_ms: i64,
}

pub(super) fn bad_file(
    code: &'static str,
    path: &Path,
    reason: impl Into<String>,
    source: Option<BoxError>,
) -> Error {
    Error::BadFile {
        code,
        path: path.display().to_string().escape_debug().to_string(),
        reason: reason.into(),
        source,
    }
}

/// Checks the path, creates the file if it is missing, and brings its schema up to date.
pub(super) fn prepare(path: &Path, settings: &Settings) -> Result<(Connection, Meta), Error> {
    if rusqlite::version_number() < SQLITE_MIN {
        let reason = format!("SQLite {} is linked; 3.51.3 or newer is needed", rusqlite::version());
        return Err(bad_file("old_sqlite", path, reason, None));
    }
    check_path(path)?;
    if !settings.any_filesystem {
        check_disk(path)?;
    }
    if settings.must_exist {
        check_there(path)?;
    } else {
        create_private(path)?;
    }
    let until = Instant::now() + OPEN_DEADLINE;
    loop {
        match try_prepare(path, settings) {
            Err(Attempt::Again(_)) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(fastrand::u64(1..20)));
            }
            Err(Attempt::Again(source)) => {
                let reason = "another program held the file for 10 s";
                return Err(bad_file("file_busy", path, reason, Some(source.into())));
            }
            Err(Attempt::Refused(error)) => return Err(error),
            Ok(ready) => return Ok(ready),
        }
    }
}

enum Attempt {
    Again(rusqlite::Error),
    Refused(Error),
}

fn try_prepare(path: &Path, settings: &Settings) -> Result<(Connection, Meta), Attempt> {
    let sorted = |error: rusqlite::Error| sort_error(path, error);
    let mut conn = connect(path, false).map_err(sorted)?;
    check_identity(&conn, path, settings)?;
    if settings.must_exist && !has_meta(&conn).map_err(sorted)? {
        let reason = "there are no tables of litework in it; whoever opens it without `must_exist`, or \
                      `litework init`, makes them";
        return Err(Attempt::Refused(bad_file("no_queue_at", path, reason, None)));
    }
    if settings.incremental_vacuum && !settings.application_file {
        // It only takes where there is no page yet; `check_vacuum` says whether it did.
        let pages: i64 = pragma(&conn, "page_count").map_err(sorted)?;
        if pages == 0 {
            conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;").map_err(sorted)?;
        }
    }
    switch_to_wal(&conn, path, settings)?;
    set_synchronous(&conn, settings.durability).map_err(sorted)?;
    migrate(&mut conn, path, settings)?;
    let meta = read_meta(&conn, path, settings)?;
    check_schema(&conn, path).map_err(sorted)?.map_err(Attempt::Refused)?;
    check_vacuum(&conn, path, settings).map_err(sorted)?.map_err(Attempt::Refused)?;
    Ok((conn, meta))
}

/// Refuses what a file that this process has open already was not made with.
pub(super) fn check_made_with(
    conn: &Connection,
    path: &Path,
    settings: &Settings,
) -> rusqlite::Result<Result<(), Error>> {
    match check_ageing(step_ms(conn)?, path, settings) {
        Ok(()) => check_vacuum(conn, path, settings),
        refused => Ok(refused),
    }
}

/// Refuses a file whose pages cannot be given back, if they are to be.
fn check_vacuum(
    conn: &Connection,
    path: &Path,
    settings: &Settings,
) -> rusqlite::Result<Result<(), Error>> {
    if !settings.incremental_vacuum || pragma::<i64>(conn, "auto_vacuum")? == INCREMENTAL {
        return Ok(Ok(()));
    }
    Ok(Err(needs_vacuum(path)))
}

pub(super) fn needs_vacuum(path: &Path) -> Error {
    let reason = "its free pages cannot be given back; while no program has it open, run `PRAGMA \
                  auto_vacuum = INCREMENTAL; VACUUM;` with the sqlite3 program, or leave \
                  `incremental_vacuum` out";
    bad_file("needs_vacuum", path, reason, None)
}

/// Refuses a file that is not as we made it.
fn check_schema(conn: &Connection, path: &Path) -> rusqlite::Result<Result<(), Error>> {
    if fault::planted("unique_index_off") {
        return Ok(Ok(()));
    }
    let Some(first) = differences(conn)?.into_iter().next() else { return Ok(Ok(())) };
    let reason = format!("the {first}; undo the change, or copy the tasks into a new file");
    Ok(Err(bad_file("schema_tampered", path, reason, None)))
}

/// What an error of `SQLite` says of a file that is read.
pub(super) fn unreadable(path: &Path, error: rusqlite::Error) -> Error {
    match sort_error(path, error) {
        Attempt::Refused(error) => error,
        Attempt::Again(source) => {
            bad_file("file_busy", path, "another program holds the file", Some(source.into()))
        }
    }
}

fn sort_error(path: &Path, error: rusqlite::Error) -> Attempt {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Attempt::Again(error),
        Some(ErrorCode::NotADatabase) => {
            let reason = "it is not an SQLite database, or it is encrypted";
            Attempt::Refused(bad_file("not_a_queue", path, reason, Some(error.into())))
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            let reason = "the database is damaged; restore a backup or use `.recover`";
            Attempt::Refused(bad_file("damaged_file", path, reason, Some(error.into())))
        }
        Some(code @ (ErrorCode::ReadOnly | ErrorCode::CannotOpen)) => {
            let reason = rights::why_not(path, code == ErrorCode::ReadOnly);
            Attempt::Refused(bad_file("cannot_open", path, reason, Some(error.into())))
        }
        Some(ErrorCode::SystemIoFailure) => {
            // The -wal and -shm of another file, which its program goes on to use, look like this.
            let reason = format!(
                "it cannot be opened: {error}; if a file of this name was moved or removed while a program had \
                 it open, end that program, then remove the -wal and -shm that it left"
            );
            Attempt::Refused(bad_file("cannot_open", path, reason, Some(error.into())))
        }
        _ => {
            let reason = format!("it cannot be opened: {error}");
            Attempt::Refused(bad_file("cannot_open", path, reason, Some(error.into())))
        }
    }
}

/// A connection with everything set that does not depend on what the file is.
pub(super) fn connect(path: &Path, reader: bool) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, open_flags())?;
    harden(&conn, reader)?;
    Ok(conn)
}

/// For every connection: none makes the file, so one that was removed does not come back empty, and
/// no path is read as a URI. Readers too may write, as WAL needs it for its -shm; `query_only` holds
/// them.
pub(super) fn open_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Settings for every connection; also used for those of the reader pool.
pub(super) fn harden(conn: &Connection, reader: bool) -> rusqlite::Result<()> {
    if reader {
        conn.busy_timeout(BUSY_DEADLINE)?;
    } else {
        conn.busy_handler(Some(wait_for_lock))?;
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.execute_batch(
        "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;",
    )?;
    conn.set_prepared_statement_cache_capacity(64);
    if reader {
        conn.execute_batch("PRAGMA query_only = ON;")?;
    } else {
        conn.execute_batch(&format!(
            "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {WAL_BYTES_KEPT}; \
             PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -8192;"
        ))?;
    }
    Ok(())
}

/// Waits for another process's lock with short, even pauses: the built-in handler sleeps longer and
/// longer, which gives the lock to whoever came last.
fn wait_for_lock(tries: i32) -> bool {
    WAS_BUSY.set(true);
    std::thread::sleep(BUSY_PAUSE);
    WAITED.get() + BUSY_PAUSE.saturating_mul(tries.unsigned_abs()) < busy_deadline()
}

thread_local! {
    /// How long this thread has waited for its turn before it asked for the lock.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Whether it has found the lock taken.
    static WAS_BUSY: Cell<bool> = const { Cell::new(false) };
}

/// What a writer waits at most until its transaction has begun.
pub(super) fn busy_deadline() -> Duration {
    fault::busy_deadline(BUSY_DEADLINE)
}

/// Asks for the lock after a wait of this length, so that both together have one deadline. Says also whether it was
/// taken.
pub(super) fn after_waiting<R>(waited: Duration, ask: impl FnOnce() -> R) -> (R, bool) {
    WAITED.set(waited);
    WAS_BUSY.set(false);
    let answer = ask();
    WAITED.set(Duration::ZERO);
    (answer, WAS_BUSY.get())
}

/// Sets the level and reads it back: a pragma that does not take is silent.
pub(super) fn set_synchronous(conn: &Connection, level: Durability) -> rusqlite::Result<()> {
    let (sql, expected) = match level {
        Durability::Normal => ("PRAGMA synchronous = NORMAL", 1),
        Durability::Full => ("PRAGMA synchronous = FULL", 2),
    };
    conn.execute_batch(sql)?;
    let found: i64 = conn.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if found == expected {
        Ok(())
    } else {
        Err(rusqlite::Error::InvalidParameterName(format!(
            "synchronous is {found}, not {expected}"
        )))
    }
}

/// A regular file with one name, or nothing yet. A link would give one file two journals.
pub(super) fn check_path(path: &Path) -> Result<(), Error> {
    let Some(meta) = look_at(path)? else { return Ok(()) };
    if names_of(&meta) > 1 {
        let reason = "it has several hard links; SQLite would keep a journal for each name";
        return Err(bad_file("not_a_queue_file", path, reason, None));
    }
    Ok(())
}

/// What `SQLite` keeps beside a file, named after it.
pub(super) const NAMED_AFTER: [&str; 3] = ["-journal", "-wal", "-shm"];

/// What the system says of a regular file; none where there is nothing yet.
pub(super) fn look_at(path: &Path) -> Result<Option<std::fs::Metadata>, Error> {
    let text = path.to_string_lossy();
    if text == ":memory:" || text.starts_with("file:") {
        let reason = "it is SQLite's word for something else than a file; give the path of one, or use \
                      `Client::in_memory`";
        return Err(bad_file("not_a_queue_file", path, reason, None));
    }
    if let Some(suffix) = NAMED_AFTER.iter().find(|suffix| text.ends_with(**suffix)) {
        let reason = format!(
            "SQLite takes what ends in {suffix} for part of another file, and may remove it; give another path"
        );
        return Err(bad_file("not_a_queue_file", path, reason, None));
    }
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let reason = format!("it cannot be looked at: {error}");
            return Err(bad_file("cannot_open", path, reason, Some(error.into())));
        }
    };
    let refused = |reason: &str| Err(bad_file("not_a_queue_file", path, reason, None));
    if meta.is_dir() {
        return refused("it is a directory");
    }
    if !meta.is_file() {
        return refused("it is a link, a device or a socket; give the path of a regular file");
    }
    Ok(Some(meta))
}

/// How many names a file has; 0 where the system does not tell.
pub(super) fn names_of(meta: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(meta);
    #[cfg(not(unix))]
    {
        let _untold = meta;
        0
    }
}

fn check_disk(path: &Path) -> Result<(), Error> {
    let Some(kind) = mounts::shared_kind(path) else { return Ok(()) };
    let reason = format!(
        "it lies on a file system of type {kind}, where two hosts can damage it; use a local disk, \
         or take the risk with `allow_network_filesystem`"
    );
    Err(bad_file("unsafe_filesystem", path, reason, None))
}

/// Refuses a file that would have to be made.
fn check_there(path: &Path) -> Result<(), Error> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let reason = "there is no such file; whoever opens it without `must_exist`, or `litework init`, makes it";
            Err(bad_file("no_queue_at", path, reason, None))
        }
        // Whatever else is wrong shows as it is opened.
        _ => Ok(()),
    }
}

/// Makes the file readable by its owner only; `SQLite` gives -wal and -shm the same mode.
pub(super) fn create_private(path: &Path) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let reason = format!("it cannot be created: {error}");
            Err(bad_file("cannot_open", path, reason, Some(error.into())))
        }
    }
}

pub(super) fn pragma<T: rusqlite::types::FromSql>(
    conn: &Connection,
    name: &str,
) -> rusqlite::Result<T> {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

pub(super) fn wrong_encoding(encoding: &str) -> String {
    format!("its text encoding is {encoding}; UTF-8 is needed")
}

/// A file of another application is never taken for ours.
fn check_identity(conn: &Connection, path: &Path, settings: &Settings) -> Result<(), Attempt> {
    let sorted = |error| sort_error(path, error);
    let encoding: String = pragma(conn, "encoding").map_err(sorted)?;
    if encoding != "UTF-8" {
        return Err(Attempt::Refused(bad_file(
            "not_a_queue",
            path,
            wrong_encoding(&encoding),
            None,
        )));
    }
    if settings.application_file {
        return Ok(());
    }
    // The tables first: whoever makes them has set the id before.
    let tables: i64 = conn
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'litework%' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            [],
            |row| row.get(0),
        )
        .map_err(sorted)?;
    let id: i64 = pragma(conn, "application_id").map_err(sorted)?;
    if id != APPLICATION_ID && (id != 0 || tables > 0) {
        let id = (id != 0).then(|| format!("application id {id}"));
        let tables = match tables {
            0 => None,
            1 => Some("1 other table".to_owned()),
            _ => Some(format!("{tables} other tables")),
        };
        let marks: Vec<String> = id.into_iter().chain(tables).collect();
        let reason = format!(
            "it belongs to another application ({}); to keep tasks in it, say `application_file()` on \
             the builder, or `application_file = true` in a `Config`",
            marks.join(", ")
        );
        return Err(Attempt::Refused(bad_file("other_application_id", path, reason, None)));
    }
    Ok(())
}

fn switch_to_wal(conn: &Connection, path: &Path, settings: &Settings) -> Result<(), Attempt> {
    let sorted = |error| sort_error(path, error);
    let mode: String = pragma(conn, "journal_mode").map_err(sorted)?;
    if mode == "wal" {
        return Ok(());
    }
    if settings.application_file && !settings.convert_to_wal {
        let reason = format!(
            "its journal mode is {mode}; allow the switch to WAL with `convert_to_wal()` on the builder, or \
             `convert_to_wal = true` in a `Config`, or make it yourself"
        );
        return Err(Attempt::Refused(bad_file("needs_wal", path, reason, None)));
    }
    let was_ours = !settings.application_file && has_meta(conn).map_err(sorted)?;
    if !settings.application_file {
        conn.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID};"))
            .map_err(sorted)?;
    }
    let now: String = pragma(conn, "journal_mode = WAL").map_err(sorted)?;
    if now != "wal" {
        let reason =
            format!("WAL was refused, the journal mode stays {now}; is it on a network disk?");
        return Err(Attempt::Refused(bad_file("needs_wal", path, reason, None)));
    }
    if was_ours {
        warn_of_change(path, &mode, pragma(conn, "page_size").map_err(sorted)?);
    }
    Ok(())
}

/// A queue that stands in another mode than its tables were made in was changed by another program.
fn warn_of_change(path: &Path, mode: &str, page_bytes: i64) {
    let pages = match page_bytes {
        PAGE_BYTES => String::new(),
        other => format!(", and its pages have {other} bytes instead of {PAGE_BYTES}"),
    };
    let what = format!("its journal mode was {mode}{pages}; it is to stay as it was made");
    let error = bad_file("needs_wal", path, what, None);
    tracing::warn!(%error, "another program has taken the file out of WAL; it is in WAL again");
}

fn migrate(conn: &mut Connection, path: &Path, settings: &Settings) -> Result<(), Attempt> {
    let sorted = |error| sort_error(path, error);
    if has_meta(conn).map_err(sorted)? {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sorted)?;
    if !has_meta(&tx).map_err(sorted)? {
        tx.execute_batch(SCHEMA).map_err(sorted)?;
        if fault::planted("unique_index_off") {
            tx.execute_batch("DROP INDEX litework_task_key").map_err(sorted)?;
        }
        let mut insert = tx
            .prepare("INSERT INTO litework_meta (name, value) VALUES (?1, ?2)")
            .map_err(sorted)?;
        for (name, value) in [
            ("schema", SCHEMA_VERSION),
            ("min_writer", SCHEMA_VERSION),
            ("fence", 0),
            ("step_ms", settings.step_ms.unwrap_or(STEP_STRICT_MS)),
        ] {
            insert.execute((name, value)).map_err(sorted)?;
        }
        drop(insert);
        fault::point("in_migration");
    }
    tx.commit().map_err(sorted)
}

fn has_meta(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'litework_meta'", [], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

fn read_meta(conn: &Connection, path: &Path, settings: &Settings) -> Result<Meta, Attempt> {
    check_version(conn, path).map_err(Attempt::Refused)?;
    let step_ms = step_ms(conn).map_err(|error| sort_error(path, error))?;
    check_ageing(step_ms, path, settings).map_err(Attempt::Refused)?;
    Ok(Meta { step_ms })
}

/// Served by the primary key.
fn step_ms(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT value FROM litework_meta WHERE name = 'step_ms'", [], |row| row.get(0))
}

/// Refuses another ageing than the file's: the rank of each stored task was made with it.
fn check_ageing(step_ms: i64, path: &Path, settings: &Settings) -> Result<(), Error> {
    if let Some(asked) = settings.step_ms.filter(|asked| *asked != step_ms) {
        let of = |step| match step {
            STEP_STRICT_MS => "strict".to_owned(),
            step => format!("worth {step} ms a point"),
        };
        let reason = format!(
            "priority is {} in it, not {}; that is fixed when a file is made, so leave `ageing` \
             out or take another file",
            of(step_ms),
            of(asked)
        );
        return Err(bad_file("other_ageing", path, reason, None));
    }
    Ok(())
}

/// Refuses a file that a newer program has changed so that this one may not write it.
pub(super) fn check_version(conn: &Connection, path: &Path) -> Result<(), Error> {
    let found = conn
        .prepare_cached("SELECT value FROM litework_meta WHERE name = 'min_writer'")
        .and_then(|mut read| read.query_row([], |row| row.get::<_, i64>(0)))
        .map_err(|error| {
            bad_file("not_a_queue", path, "litework_meta cannot be read", Some(error.into()))
        })?;
    if found > SCHEMA_VERSION {
        let reason = format!("{found} > {SCHEMA_VERSION}; upgrade the program");
        return Err(bad_file("schema_newer", path, reason, None));
    }
    Ok(())
}
