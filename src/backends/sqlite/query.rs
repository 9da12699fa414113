//! Watch: reading tasks back, on connections that cannot write.
//!
//! Lists go by key, newest first, in pages of bounded size; no statement is held between pages, so
//! no reader keeps the write-ahead log from being reset.

use std::sync::Arc;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ToSql};

use super::errors::is_busy;
use super::meant::conditions;
use super::newcomer::Newcomers;
use super::row::{self, Cells};
use super::schema;
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::portable::Portable;
use crate::quota::Quota;
use crate::record::{AttemptRecord, BadRow, Cursor, NewTask, Page, Prior, TaskRecord};
use crate::state::State;
use crate::ties::Extra;
use crate::time::Timestamp;

/// Readers at once.
const READERS_MAX: u32 = 4;
/// How long a call waits for a free reader.
const READER_DEADLINE: Duration = Duration::from_secs(5);
/// How long the end of a file waits for the helper.
const HELPER_DEADLINE: Duration = Duration::from_secs(1);
/// Tasks of one page at most.
const PAGE_SIZE_MAX: usize = 1_000;

/// The pool of reading connections, opened when the first is needed.
pub(super) struct Reader {
    pool: r2d2::Pool<SqliteConnectionManager>,
}

impl Reader {
    pub(super) fn new(path: &std::path::Path, newcomers: Arc<Newcomers>) -> Self {
        Self::patient(path, READER_DEADLINE, move |conn| {
            newcomers.announce_own();
            schema::harden(conn, true)
        })
    }

    /// One whose callers wait so long for a connection, which is made ready so.
    fn patient(
        path: &std::path::Path,
        patience: Duration,
        ready: impl Fn(&Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let manager = SqliteConnectionManager::file(path)
            .with_flags(schema::open_flags())
            .with_init(move |conn| ready(conn));
        let pool = r2d2::Pool::builder()
            .max_size(READERS_MAX)
            .min_idle(Some(0))
            .test_on_check_out(false)
            .connection_timeout(patience)
            .thread_pool(std::sync::Arc::clone(&helpers()))
            .build_unchecked(manager);
        Self { pool }
    }

    pub(super) fn with<R>(
        &self,
        what: &str,
        read: impl FnOnce(&Connection) -> Result<R, ReadError>,
    ) -> Result<R, Error> {
        let conn = self.pool.get().map_err(|error| {
            let source = Some(error.into());
            // Fewer than there may be: the missing ones could not be opened.
            if self.pool.state().connections < READERS_MAX {
                let reason = format!("{what}: no reader could be opened within 5 s");
                return Error::Storage { reason, source };
            }
            Error::Busy { reason: format!("{what}: other reads took all readers for 5 s"), source }
        })?;
        read(&conn).map_err(|error| match error {
            ReadError::Ours(error) => error,
            ReadError::Theirs(error) => unread(what, error),
        })
    }
}

/// What it means that a statement could not read.
fn unread(what: &str, error: rusqlite::Error) -> Error {
    // The last comes after 10 s in which others have held each way to begin to read.
    let is_held = error.sqlite_error_code() == Some(ErrorCode::FileLockingProtocolFailed);
    if is_busy(&error) || is_held {
        let reason = format!("{what}: another program held the file");
        return Error::Busy { reason, source: Some(error.into()) };
    }
    Error::Storage { reason: format!("{what}: {error}"), source: Some(error.into()) }
}

impl Drop for Reader {
    /// The helper has a hand on the pool for a moment after it has opened a connection. A program that ends just then
    /// would leave its connections open, and with them the -wal and -shm.
    fn drop(&mut self) {
        let (tell, told) = crossbeam_channel::bounded(1);
        helpers().execute(move || {
            // Nobody waits any more if that took too long.
            let _late = tell.send(());
        });
        let _late = told.recv_timeout(HELPER_DEADLINE);
    }
}

/// One helper thread serves the reader pools of all open files.
fn helpers() -> std::sync::Arc<scheduled_thread_pool::ScheduledThreadPool> {
    static HELPERS: std::sync::OnceLock<
        std::sync::Arc<scheduled_thread_pool::ScheduledThreadPool>,
    > = std::sync::OnceLock::new();
    std::sync::Arc::clone(HELPERS.get_or_init(|| {
        std::sync::Arc::new(
            scheduled_thread_pool::ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("litework-readers-{}")
                .build(),
        )
    }))
}

/// Either kind of error a read can meet.
pub(super) enum ReadError {
    Ours(Error),
    Theirs(rusqlite::Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Theirs(error)
    }
}

type Read<T> = Result<T, ReadError>;

/// Served by the primary key.
pub(super) fn get(conn: &Connection, id: TaskId) -> Read<Option<TaskRecord>> {
    let sql = format!("SELECT {} FROM {} WHERE t.id = ?1 AND t.tag = ?2", row::COLUMNS, row::FROM);
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query((id.row(), id.tag()))?;
    rows.next()?.map(row::task).transpose().map_err(ReadError::Ours)
}

/// Served by the primary key.
pub(super) fn by_row(conn: &Connection, row: i64) -> Read<Option<TaskRecord>> {
    let sql = format!("SELECT {} FROM {} WHERE t.id = ?1", row::COLUMNS, row::FROM);
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query([row])?;
    rows.next()?.map(row::task).transpose().map_err(ReadError::Ours)
}

/// What is carried of a task, but for what stands in other tables. Served by the primary key.
pub(super) fn carried(conn: &Connection, row: i64) -> Read<Option<Portable>> {
    let sql = format!(
        "SELECT {}, t.options, t.unique_key, t.wait_key FROM {} WHERE t.id = ?1",
        row::COLUMNS,
        row::FROM
    );
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query([row])?;
    rows.next()?.map(row::portable).transpose().map_err(ReadError::Ours)
}

/// Served by `litework_task_key`.
pub(super) fn find(conn: &Connection, key: &str) -> Read<Option<TaskRecord>> {
    let sql = format!("SELECT {} FROM {} WHERE t.key = ?1", row::COLUMNS, row::FROM);
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query([key])?;
    rows.next()?.map(row::task).transpose().map_err(ReadError::Ours)
}

/// Served by `litework_error_task`; a success is the task row itself.
pub(super) fn attempts(conn: &Connection, id: TaskId) -> Read<Vec<AttemptRecord>> {
    let Some(task) = get(conn, id)? else { return Ok(Vec::new()) };
    let mut read = conn.prepare_cached(
        "SELECT attempt, outcome, started_at, finished_at, worker, report, \
         (SELECT name FROM litework_worker WHERE id = worker) FROM litework_error \
         WHERE task = ?1 AND outcome <> 'retried' ORDER BY id",
    )?;
    let mut rows = read.query([id.row()])?;
    let mut attempts = Vec::new();
    while let Some(found) = rows.next()? {
        attempts.push(row::attempt(found, id.row())?);
    }
    if matches!(task.state, State::Running | State::Succeeded) {
        attempts.push(AttemptRecord {
            attempt: task.attempt,
            outcome: task.state.as_str().to_owned(),
            started_at: task.started_at,
            finished_at: task.finished_at,
            worker: task.worker,
            worker_name: task.worker_name,
            error: None,
        });
    }
    Ok(attempts)
}

/// `WHERE …`, or nothing.
fn where_clause(clauses: &[String]) -> String {
    if clauses.is_empty() { String::new() } else { format!("WHERE {}", clauses.join(" AND ")) }
}

/// Where few tasks are in a state, its index is used and the page is sorted, so that it does not walk
/// over all others. Where many are, a page is near the end of the table.
fn order(filter: &Filter) -> &'static str {
    if filter.batch.is_some() {
        return "+t.id";
    }
    match filter.states.as_slice() {
        [State::Scheduled | State::Waiting | State::Running | State::Failed] => "+t.id",
        _ => "t.id",
    }
}

pub(super) fn list(
    conn: &Connection,
    filter: &Filter,
    from: Option<Cursor>,
    size: usize,
) -> Read<Page> {
    let size = size.clamp(1, PAGE_SIZE_MAX);
    let (mut clauses, mut values) = conditions(filter);
    if let Some(Cursor(row)) = from {
        clauses.push("t.id < ?".to_owned());
        values.push(Box::new(row));
    }
    values.push(Box::new(i64::try_from(size + 1).unwrap_or(i64::MAX)));
    let order = order(filter);
    let sql = format!(
        "SELECT {} FROM {} {} ORDER BY {order} DESC LIMIT ?",
        row::COLUMNS,
        row::FROM,
        where_clause(&clauses)
    );
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query(rusqlite::params_from_iter(values.iter()))?;
    let mut page = Page::default();
    let mut last = None;
    while let Some(found) = rows.next()? {
        if page.tasks.len() + page.bad.len() == size {
            page.next = last;
            break;
        }
        match row::task(found) {
            Ok(task) => page.tasks.push(task),
            Err(Error::BadRow { row, column, reason }) => {
                page.bad.push(BadRow { row, column, reason });
            }
            Err(error) => return Err(error.into()),
        }
        last = Some(Cursor(found.get(0)?));
    }
    Ok(page)
}

/// The conditions of a state and lanes, so that the index of the state serves them.
pub(super) fn in_lanes(filter: &Filter, state: State) -> (String, Vec<Box<dyn ToSql>>) {
    let mut clauses = vec![format!("t.state = '{state}'")];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    for (column, names) in [("kind", &filter.kinds), ("queue", &filter.queues)] {
        if !names.is_empty() {
            let marks = vec!["?"; names.len()].join(", ");
            let lanes = format!("SELECT id FROM litework_lane WHERE {column} IN ({marks})");
            clauses.push(format!("t.lane IN ({lanes})"));
            values.extend(names.iter().map(|name| Box::new(name.clone()) as Box<dyn ToSql>));
        }
    }
    (clauses.join(" AND "), values)
}

/// The newest tasks of one state: their numbers from its index, then the rows of one page. `browse` has the
/// conditions.
pub(super) fn page_in_state(clauses: &str) -> String {
    let columns = row::COLUMNS;
    format!(
        "SELECT {columns} FROM (SELECT t.id AS number FROM litework_task t \
         WHERE {clauses} AND +t.id < ? ORDER BY +t.id DESC LIMIT ?) page \
         CROSS JOIN litework_task t ON t.id = page.number \
         LEFT JOIN litework_lane l ON l.id = t.lane ORDER BY page.number DESC"
    )
}

/// The number of the newest task of one state, likewise.
pub(super) fn newest_in_state(clauses: &str) -> String {
    format!("SELECT max(+t.id) FROM litework_task t WHERE {clauses} AND +t.id < ?")
}

/// Tasks along their numbers, newest first.
pub(super) fn page_by_number(clauses: &[String]) -> String {
    format!(
        "SELECT {} FROM {} {} ORDER BY t.id DESC LIMIT ?",
        row::COLUMNS,
        row::FROM,
        where_clause(clauses)
    )
}

/// Ended tasks along an index of their ends, newest first.
pub(super) fn page_by_end(index: &str, clauses: &[String]) -> String {
    let (columns, found) = (row::COLUMNS, where_clause(clauses));
    format!(
        "SELECT {columns} FROM litework_task t INDEXED BY {index} \
         LEFT JOIN litework_lane l ON l.id = t.lane {found} \
         ORDER BY t.finished_at DESC, t.id DESC LIMIT ?"
    )
}

/// How many tasks a page would have, were it as long as may be counted.
#[cfg(feature = "web")]
pub(super) fn counted(page: &str) -> String {
    format!("SELECT count(*) FROM ({page})")
}

/// How many tasks of one state there are, likewise.
#[cfg(feature = "web")]
pub(super) fn count_in_state(clauses: &str) -> String {
    format!("SELECT count(*) FROM (SELECT 1 FROM litework_task t WHERE {clauses} LIMIT ?)")
}

pub(super) fn count(conn: &Connection, filter: &Filter, limit: u64) -> Read<u64> {
    let (clauses, mut values) = conditions(filter);
    values.push(Box::new(i64::try_from(limit).unwrap_or(i64::MAX)));
    let found = where_clause(&clauses);
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} {found} LIMIT ?)", row::FROM);
    let mut read = conn.prepare_cached(&sql)?;
    let counted: i64 =
        read.query_row(rusqlite::params_from_iter(values.iter()), |found| found.get(0))?;
    Ok(counted.unsigned_abs())
}

/// Rows of one page of [`rows`].
const ROWS: i64 = 500;

/// Rows after `after` and up to `last` that pass, ascending. Walks along the owner's index or the
/// primary key from where the page before ended, so all pages together walk once.
pub(super) fn rows(conn: &Connection, filter: &Filter, after: i64, last: i64) -> Read<Vec<i64>> {
    let (mut clauses, mut values) = conditions(filter);
    clauses.push("t.id > ? AND t.id <= ?".to_owned());
    values.extend([Box::new(after) as Box<dyn ToSql>, Box::new(last), Box::new(ROWS)]);
    let along = if filter.owner.is_some() && filter.ids.is_empty() {
        "INDEXED BY litework_task_owner"
    } else {
        "NOT INDEXED"
    };
    let found = where_clause(&clauses);
    let sql = format!(
        "SELECT t.id FROM litework_task t {along} CROSS JOIN litework_lane l ON l.id = t.lane \
         {found} ORDER BY t.id LIMIT ?"
    );
    let mut read = conn.prepare_cached(&sql)?;
    let rows = read.query_map(rusqlite::params_from_iter(values.iter()), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The id of a row, if it passes the filter now. Nothing but the primary key may serve it.
pub(super) fn still_passes(
    conn: &Connection,
    filter: &Filter,
    row: i64,
) -> rusqlite::Result<Option<TaskId>> {
    let (mut clauses, mut values) = conditions(filter);
    clauses.push("t.id = ?".to_owned());
    values.push(Box::new(row));
    let found = where_clause(&clauses);
    let sql = format!(
        "SELECT t.id, t.tag FROM litework_task t NOT INDEXED \
         CROSS JOIN litework_lane l ON l.id = t.lane {found}"
    );
    let mut read = conn.prepare_cached(&sql)?;
    let found = read.query_row(rusqlite::params_from_iter(values.iter()), |row| {
        Ok(TaskId::new(row.get(0)?, row.get(1)?))
    });
    found.optional()
}

/// Served by the primary key.
const TEMPLATE: &str = "SELECT l.kind, l.queue, t.priority, max(t.due_at, t.enqueued_at), t.expires_at, \
     t.attempts_max, t.at_most_once, t.owner, t.tags, t.meta, t.options, t.name, t.wait_key, t.ties, \
     coalesce(t.arguments, (SELECT body FROM litework_payload WHERE id = t.id * 2)) \
     FROM litework_task t JOIN litework_lane l ON l.id = t.lane WHERE t.id = ?1 AND t.tag = ?2";

/// A task as it would be stored anew; one that cannot be read is none, rather than a part of one.
pub(super) fn template(conn: &Connection, id: TaskId) -> Read<Option<NewTask>> {
    let mut read = conn.prepare_cached(TEMPLATE)?;
    let mut rows = read.query((id.row(), id.tag()))?;
    let found = rows.next()?.map(|row| copied(&Cells { row, id: id.row() }));
    found.transpose().map_err(ReadError::Ours)
}

fn copied(cells: &Cells<'_>) -> Result<NewTask, Error> {
    let (kind, queue): (String, String) = (cells.get(0, "kind")?, cells.get(1, "queue")?);
    let extra = Extra {
        owner: cells.get(7, "owner")?,
        name: cells.get(11, "name")?,
        wait_key: cells.get(12, "wait_key")?,
        ties: cells.json(13, "ties")?,
        ..Extra::default()
    };
    Ok(NewTask {
        kind: kind.into(),
        queue: queue.into(),
        priority: cells.get(2, "priority")?,
        due_at: Timestamp::clamped(cells.get(3, "due_at")?),
        expires_at: cells.get::<Option<i64>>(4, "expires_at")?.map(Timestamp::clamped),
        attempts_max: cells.get(5, "attempts_max")?,
        at_most_once: cells.get(6, "at_most_once")?,
        arguments: cells.get::<Option<String>>(14, "arguments")?.unwrap_or_default(),
        key: None,
        tags: cells.get(8, "tags")?,
        meta: cells.get(9, "meta")?,
        options: cells.get(10, "options")?,
        quota: Quota::default(),
        extra: extra.of_copy(),
        ledger: None,
        trace: None,
    })
}

/// What [`prior`] reads.
const PRIOR: &str = "t.id, t.tag, l.kind, t.name, t.state, coalesce(t.result, \
     (SELECT body FROM litework_payload WHERE id = t.id * 2 + 1)), \
     coalesce(CASE WHEN json_valid(t.ties) THEN json_extract(t.ties, '$.sums') END, 0)";

/// A task before another, and whether it is a batch.
fn prior(row: &Row<'_>) -> rusqlite::Result<(Prior, bool)> {
    let state: String = row.get(4)?;
    let prior = Prior {
        id: TaskId::new(row.get(0)?, row.get(1)?),
        kind: row.get(2)?,
        name: row.get(3)?,
        state: State::from_word(&state).unwrap_or(State::Failed),
        result: row.get(5)?,
        members: Vec::new(),
    };
    Ok((prior, row.get(6)?))
}

/// Served by `litework_edge_after`.
pub(super) fn before(conn: &Connection, id: TaskId) -> Read<Vec<Option<Prior>>> {
    let sql = format!(
        "SELECT {PRIOR} FROM litework_edge e LEFT JOIN litework_task t ON t.id = e.before \
         LEFT JOIN litework_lane l ON l.id = t.lane WHERE e.after = ?1 ORDER BY e.place, e.before"
    );
    let mut read = conn.prepare_cached(&sql)?;
    let found = read.query_map([id.row()], |row| {
        let kept = row.get::<_, Option<i64>>(0)?.is_some();
        if kept { prior(row).map(Some) } else { Ok(None) }
    })?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut before = Vec::with_capacity(found.len());
    for one in found {
        before.push(match one {
            Some((prior, true)) => Some(Prior { members: members(conn, prior.id)?, ..prior }),
            one => one.map(|(prior, _)| prior),
        });
    }
    Ok(before)
}

/// Served by `litework_task_batch`.
fn members(conn: &Connection, batch: TaskId) -> Read<Vec<Prior>> {
    let sql = format!("SELECT {PRIOR} FROM {} WHERE t.batch = ?1 ORDER BY +t.id", row::FROM);
    let mut read = conn.prepare_cached(&sql)?;
    let found = read.query_map([batch.row()], |row| prior(row).map(|(prior, _)| prior))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Served by the primary key of `litework_edge`.
pub(super) fn after(conn: &Connection, id: TaskId) -> Read<Vec<TaskRecord>> {
    let sql = format!(
        "SELECT {} FROM {} WHERE t.id IN (SELECT after FROM litework_edge WHERE before = ?1) \
         ORDER BY t.id",
        row::COLUMNS,
        row::FROM
    );
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query([id.row()])?;
    let mut tasks = Vec::new();
    while let Some(found) = rows.next()? {
        tasks.push(row::task(found)?);
    }
    Ok(tasks)
}

/// Live runners that know this kind and take tasks of this queue: number and file stem of each.
pub(super) fn runners(conn: &Connection, queue: &str, kind: &str) -> Read<Vec<(i64, String)>> {
    let mut read = conn.prepare_cached(
        "SELECT id, file FROM litework_worker WHERE left_at IS NULL AND serves = 1 \
         AND EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(kinds) THEN kinds END) \
           WHERE value = ?1) \
         AND (queues = '[]' OR EXISTS (SELECT 1 FROM \
           json_each(CASE WHEN json_valid(queues) THEN queues END) WHERE value = ?2)) \
         AND NOT EXISTS (SELECT 1 FROM \
           json_each(CASE WHEN json_valid(excluded) THEN excluded END) WHERE value = ?2)",
    )?;
    let rows = read
        .query_map([kind, queue], |row| Ok((row.get(0)?, row::text(row, 1).unwrap_or_default())))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Served by `litework_task_running`.
pub(super) fn cancel_requests(conn: &Connection, owner: i64) -> Read<Vec<i64>> {
    let mut read = conn.prepare_cached(
        "SELECT id FROM litework_task WHERE state = 'running' AND worker = ?1 AND cancel_requested = 1",
    )?;
    let rows = read.query_map([owner], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// A file, and those who read it and give up soon.
    fn impatient() -> (tempfile::TempDir, Connection, Reader) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        let other = Connection::open(&path).expect("a new file");
        other.execute_batch("CREATE TABLE a (b)").expect("a table");
        let reader = Reader::patient(&path, PATIENCE, |conn| {
            schema::harden(conn, true)?;
            conn.busy_timeout(PATIENCE)
        });
        (folder, other, reader)
    }

    fn count(reader: &Reader) -> Result<i64, Error> {
        let read =
            |conn: &Connection| Ok(conn.query_row("SELECT count(*) FROM a", [], |row| row.get(0))?);
        reader.with("counting", read)
    }

    #[test]
    fn who_reads_a_file_that_another_program_holds_may_come_again() {
        let (_folder, other, reader) = impatient();
        other.execute_batch("BEGIN EXCLUSIVE").expect("nobody else is there");
        let held = count(&reader).expect_err("it is held");
        assert_eq!(held.to_string(), "busy: counting: another program held the file");
        assert!(held.is_retryable());
        other.execute_batch("COMMIT").expect("it is let go");
        assert_eq!(count(&reader).expect("it is free"), 0);
    }

    #[test]
    fn who_finds_no_reader_may_come_again_and_who_finds_no_file_may_not() {
        fn within(reader: &Reader, taken: u32) -> Result<i64, Error> {
            if taken == 0 {
                return count(reader);
            }
            reader.with("reading", |_| Ok(within(reader, taken - 1)?))
        }
        let (folder, _other, reader) = impatient();
        assert_eq!(within(&reader, READERS_MAX - 1).expect("one is left"), 0);
        let late = within(&reader, READERS_MAX).expect_err("none is left");
        assert_eq!((late.code(), late.is_retryable()), ("busy", true));
        let nowhere = Reader::patient(&folder.path().join("nowhere.db"), PATIENCE, |_| Ok(()));
        let gone = count(&nowhere).expect_err("it is not there");
        assert_eq!((gone.code(), gone.is_retryable()), ("storage", false));
    }
}
