//! Watch: tasks as they are carried to another queue, each with its attempts, its steps and what comes before it.

use rusqlite::Connection;

use super::query::{self, ReadError};
use super::row::text;
use super::steps;
use crate::error::Error;
use crate::id::TaskId;
use crate::portable::{PortableAttempt, PortableEdge, PortableStep, raw};
use crate::record::BadRow;
use crate::time::Timestamp;
use crate::upkeep::Carried;

/// Bytes of one look, but for its last task.
const LOOK_BYTES: usize = 4 * 1024 * 1024;

/// Served by `litework_error_task`.
const ATTEMPTS: &str = "SELECT attempt, outcome, started_at, finished_at, report FROM litework_error \
     WHERE task = ?1 ORDER BY id";

/// Served by `litework_edge_after`.
const BEFORE: &str = "SELECT e.place, e.before, t.tag, e.policy, e.open FROM litework_edge e \
     JOIN litework_task t ON t.id = e.before WHERE e.after = ?1";

/// One read transaction, so that what is read of a task is of one moment.
struct Moment<'a>(&'a Connection);

impl<'a> Moment<'a> {
    fn begin(conn: &'a Connection) -> rusqlite::Result<Self> {
        conn.execute_batch("BEGIN")?;
        Ok(Self(conn))
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        // It has changed nothing.
        let _over = self.0.execute_batch("ROLLBACK");
    }
}

/// The first of these rows, as many as go into one look.
pub(super) fn carry(conn: &Connection, rows: &[i64]) -> Result<Vec<Carried>, ReadError> {
    let _moment = Moment::begin(conn)?;
    let (mut carried, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let one = match one(conn, *row) {
            Ok(one) => one,
            Err(ReadError::Ours(Error::BadRow { row, column, reason })) => {
                Carried::Bad(BadRow { row, column, reason })
            }
            Err(error) => return Err(error),
        };
        if let Carried::Task(task) = &one {
            bytes +=
                task.arguments.get().len() + task.result.as_ref().map_or(0, |raw| raw.get().len());
        }
        carried.push(one);
        if bytes >= LOOK_BYTES {
            break;
        }
    }
    Ok(carried)
}

fn one(conn: &Connection, row: i64) -> Result<Carried, ReadError> {
    let Some(mut task) = query::carried(conn, row)? else { return Ok(Carried::Gone) };
    let mut read = conn.prepare_cached(ATTEMPTS)?;
    let attempts = read.query_map([row], |found| {
        let moment = |column| {
            Ok::<_, rusqlite::Error>(found.get::<_, Option<i64>>(column)?.map(Timestamp::clamped))
        };
        Ok(PortableAttempt {
            attempt: found.get(0)?,
            outcome: text(found, 1).unwrap_or_default(),
            started_at: moment(2)?,
            finished_at: moment(3)?,
            error: text(found, 4).and_then(|report| serde_json::from_str(&report).ok()),
        })
    })?;
    task.attempts = attempts.collect::<rusqlite::Result<_>>()?;
    for step in steps::list(conn, task.id)? {
        let column = "value of a step";
        let value = raw(step.value).ok_or_else(|| no_json(row, column))?;
        task.steps.push(PortableStep { name: step.name, value, stored_at: step.stored_at });
    }
    task.after = before(conn, row)?;
    Ok(Carried::Task(Box::new(task)))
}

pub(super) fn no_json(row: i64, column: &'static str) -> Error {
    Error::BadRow { row, column, reason: "it is no JSON".to_owned() }
}

fn before(conn: &Connection, row: i64) -> rusqlite::Result<Vec<PortableEdge>> {
    let mut read = conn.prepare_cached(BEFORE)?;
    let edges = read.query_map([row], |found| {
        let id = TaskId::new(found.get(1)?, found.get(2)?);
        let policy = text(found, 3).unwrap_or_default();
        Ok((found.get::<_, i64>(0)?, PortableEdge { id, policy, open: found.get(4)? }))
    })?;
    let mut edges: Vec<(i64, PortableEdge)> = edges.collect::<rusqlite::Result<_>>()?;
    edges.sort_by_key(|(place, edge)| (*place, edge.id));
    Ok(edges.into_iter().map(|(_, edge)| edge).collect())
}
