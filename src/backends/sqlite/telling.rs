//! Run: what tasks say while they run: how far they have come, and lines of their log.
//!
//! A row of its own, so that claim and finish rewrite nothing of it. It is written while the attempt holds
//! its task, or in the transaction that ends the attempt; it goes with the task.

use rusqlite::{Connection, OptionalExtension, Row};

use super::Sqlite;
use super::core::Core;
use super::errors::not_stored;
use super::query::ReadError;
use crate::error::Error;
use crate::id::TaskId;
use crate::options::Durability;
use crate::progress::{LOG_LINES_MAX, LogLevel, LogLine, Pace, Progress};
use crate::record::Said;
use crate::telling::Telling;
use crate::time::Timestamp;

/// What counts towards the batch of a task as long as nothing else is known. Served by the primary key.
const COUNTED: &str = "SELECT done, total FROM litework_progress WHERE task = ?1";

/// Served by the primary key.
const BATCH: &str = "SELECT batch FROM litework_task WHERE id = ?1";

const PUT: &str = "INSERT INTO litework_progress \
     (task, revision, attempt, done, total, unit, stage, message, told_at, since, came_from, samples) \
     VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
     ON CONFLICT (task) DO UPDATE SET revision = revision + 1, attempt = ?2, done = ?3, total = ?4, \
     unit = ?5, stage = ?6, message = ?7, told_at = ?8, since = ?9, came_from = ?10, samples = ?11";

const ADD: &str = "INSERT INTO litework_progress (task, revision, attempt, done, total, told_at, samples) \
     VALUES (?1, 1, 0, max(?2, 0), max(?3, 0), ?4, 0) \
     ON CONFLICT (task) DO UPDATE SET revision = revision + 1, done = max(done + ?2, 0), \
     total = max(coalesce(total, 0) + ?3, 0), told_at = max(told_at, ?4)";

const LINE: &str = "INSERT INTO litework_log (task, attempt, number, at, level, text) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (task, attempt, number) DO NOTHING";

/// Served by the primary key.
const TRIM: &str = "DELETE FROM litework_log WHERE task = ?1 AND attempt = ?2 AND number <= ?3";

/// Served by the primary keys.
const READ: &str = "SELECT p.revision, p.attempt, p.done, p.total, p.unit, p.stage, p.message, p.told_at, \
     p.since, p.came_from, p.samples FROM litework_task t JOIN litework_progress p ON p.task = t.id \
     WHERE t.id = ?1 AND t.tag = ?2";

/// Served by the primary keys.
const LINES: &str = "SELECT l.attempt, l.number, l.at, l.level, l.text \
     FROM litework_task t JOIN litework_log l ON l.task = t.id WHERE t.id = ?1 AND t.tag = ?2 \
     ORDER BY l.attempt DESC, l.number DESC";

impl Telling for Sqlite {
    fn tell(&self, now: Timestamp, said: &[Said]) -> Result<(), Error> {
        self.transaction(Durability::Normal, |core| {
            for one in said {
                if core.holds(one.lease)? {
                    keep(core, now, one)?;
                }
            }
            Ok(())
        })
    }

    fn progress(&self, id: TaskId) -> Result<Option<Progress>, Error> {
        self.read("progress", |conn| {
            let mut read = conn.prepare_cached(READ)?;
            Ok(read.query_row((id.row(), id.tag()), progress).optional()?)
        })
    }

    fn log(&self, id: TaskId, most: usize) -> Result<Vec<LogLine>, Error> {
        self.read("a log", |conn| lines(conn, id, most))
    }
}

/// Keeps what an attempt has said that holds its task, or ends it in this transaction.
pub(super) fn keep(core: &mut Core, now: Timestamp, said: &Said) -> Result<(), Error> {
    let row = said.lease.row;
    if let Some(progress) = &said.progress {
        let batch = add_to_batch(&core.conn, now, row, progress).map_err(not_stored)?;
        put(&core.conn, row, progress).map_err(not_stored)?;
        core.effects.told.extend(batch);
    }
    put_lines(&core.conn, said).map_err(not_stored)?;
    core.effects.told.push(row);
    Ok(())
}

/// Notes of a new task how many steps it will have.
pub(super) fn expect(
    conn: &Connection,
    now: Timestamp,
    row: i64,
    steps: u64,
) -> rusqlite::Result<()> {
    let progress = Progress { total: Some(steps), told_at: now, ..Progress::default() };
    add_to_batch(conn, now, row, &progress)?;
    put(conn, row, &progress)
}

/// Adds to the batch what is new in this, and says which that is.
fn add_to_batch(
    conn: &Connection,
    now: Timestamp,
    row: i64,
    progress: &Progress,
) -> rusqlite::Result<Option<i64>> {
    let batch = conn.prepare_cached(BATCH)?.query_row([row], |found| found.get(0)).optional()?;
    let Some(Some(batch)) = batch.map(|batch: Option<i64>| batch) else { return Ok(None) };
    let counted = conn
        .prepare_cached(COUNTED)?
        .query_row([row], |found| Ok((found.get(0)?, found.get::<_, Option<i64>>(1)?)))
        .optional()?;
    let (done, total) = counted.unwrap_or((0, None));
    let done: i64 = stored(progress.done).saturating_sub(done);
    let total = stored(progress.total.unwrap_or(0)).saturating_sub(total.unwrap_or(0));
    if done != 0 || total != 0 {
        conn.prepare_cached(ADD)?.execute((batch, done, total, now.as_millis()))?;
    }
    Ok(Some(batch))
}

fn put(conn: &Connection, row: i64, progress: &Progress) -> rusqlite::Result<()> {
    let Pace { since, from, samples } = progress.pace;
    conn.prepare_cached(PUT)?.execute(rusqlite::params![
        row,
        progress.attempt,
        stored(progress.done),
        progress.total.map(stored),
        progress.unit,
        progress.stage,
        progress.message,
        progress.told_at.as_millis(),
        since.map(Timestamp::as_millis),
        stored(from),
        samples,
    ])?;
    Ok(())
}

fn put_lines(conn: &Connection, said: &Said) -> rusqlite::Result<()> {
    let row = said.lease.row;
    for line in &said.lines {
        let number = stored(line.number);
        let (at, level) = (line.at.as_millis(), line.level.as_str());
        let given = (row, line.attempt, number, at, level, &line.text);
        conn.prepare_cached(LINE)?.execute(given)?;
    }
    if let Some(newest) = said.lines.back() {
        let most = u64::try_from(LOG_LINES_MAX).unwrap_or(u64::MAX);
        let gone = stored(newest.number.saturating_sub(most));
        conn.prepare_cached(TRIM)?.execute((row, newest.attempt, gone))?;
    }
    Ok(())
}

/// As a number of the file.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of the file; what is below nothing stands there by another's hand.
fn counted(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn progress(found: &Row<'_>) -> rusqlite::Result<Progress> {
    Ok(Progress {
        revision: counted(found.get(0)?),
        attempt: found.get(1)?,
        done: counted(found.get(2)?),
        total: found.get::<_, Option<i64>>(3)?.map(counted),
        unit: found.get(4)?,
        stage: found.get(5)?,
        message: found.get(6)?,
        told_at: Timestamp::clamped(found.get(7)?),
        pace: Pace {
            since: found.get::<_, Option<i64>>(8)?.map(Timestamp::clamped),
            from: counted(found.get::<_, Option<i64>>(9)?.unwrap_or(0)),
            samples: found.get(10)?,
        },
    })
}

fn lines(conn: &Connection, id: TaskId, most: usize) -> Result<Vec<LogLine>, ReadError> {
    let mut read = conn.prepare_cached(LINES)?;
    let found = read.query_map((id.row(), id.tag()), |found| {
        let level: String = found.get(3)?;
        Ok(LogLine {
            attempt: found.get(0)?,
            number: counted(found.get(1)?),
            at: Timestamp::clamped(found.get(2)?),
            // Another word stands there by another's hand.
            level: LogLevel::from_word(&level).unwrap_or_default(),
            text: found.get(4)?,
        })
    })?;
    let mut lines: Vec<LogLine> = found.take(most).collect::<rusqlite::Result<_>>()?;
    lines.reverse();
    Ok(lines)
}
