//! Watch: tasks as they are carried to another queue, each with its attempts, its steps and what comes before it.

use rusqlite::Connection;

use super::query::{self, ReadError};
use super::row::text;
use super::steps;
use crate::error::Error;
use crate::id::TaskId;
use crate::portable::{
    LINE_BYTES_MAX, LINE_TOO_LONG, PortableAttempt, PortableEdge, PortableStep, raw,
};
use crate::record::BadRow;
use crate::time::Timestamp;
use crate::upkeep::Carried;

/// Bytes of one look, but for its last task.
const LOOK_BYTES: usize = if cfg!(test) { 64 * 1024 } else { 4 * 1024 * 1024 };
/// What a row takes besides its texts.
const ROW_BYTES: usize = 1024;

/// Served by `litework_error_task`.
const ATTEMPTS: &str = "SELECT attempt, outcome, started_at, finished_at, report FROM litework_error \
     WHERE task = ?1 ORDER BY id";

/// Served by the primary key.
const STEP_BYTES: &str =
    "SELECT coalesce(sum(octet_length(value)), 0) FROM litework_step WHERE task = ?1";

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
        let one = match one(conn, *row, &mut bytes) {
            Ok(one) => one,
            Err(ReadError::Ours(Error::BadRow { row, column, reason })) => {
                Carried::Bad(BadRow { row, column, reason })
            }
            Err(error) => return Err(error),
        };
        carried.push(one);
        if bytes >= LOOK_BYTES {
            break;
        }
    }
    Ok(carried)
}

/// A row, whose bytes are added to those of the look.
fn one(conn: &Connection, row: i64, bytes: &mut usize) -> Result<Carried, ReadError> {
    *bytes += ROW_BYTES;
    let Some(mut task) = query::carried(conn, row)? else { return Ok(Carried::Gone) };
    let texts = [&task.result, &task.meta, &task.options, &task.ties].into_iter().flatten();
    *bytes += texts.chain([&task.arguments]).map(|raw| raw.get().len()).sum::<usize>();
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
            error: text(found, 4).and_then(|report| {
                *bytes += report.len();
                serde_json::from_str(&report).ok()
            }),
        })
    })?;
    task.attempts = attempts.collect::<rusqlite::Result<_>>()?;
    let in_steps: i64 = conn.prepare_cached(STEP_BYTES)?.query_row([row], |found| found.get(0))?;
    let in_steps = usize::try_from(in_steps).unwrap_or(usize::MAX);
    if in_steps >= LINE_BYTES_MAX {
        return Err(too_long(row).into());
    }
    *bytes += in_steps;
    for step in steps::list(conn, task.id)? {
        let column = "value of a step";
        let value = raw(step.value).ok_or_else(|| no_json(row, column))?;
        task.steps.push(PortableStep { name: step.name, value, stored_at: step.stored_at });
    }
    task.after = before(conn, row)?;
    *bytes += (task.attempts.len() + task.steps.len() + task.after.len()) * ROW_BYTES;
    Ok(Carried::Task(Box::new(task)))
}

fn too_long(row: i64) -> Error {
    Error::BadRow { row, column: "steps", reason: LINE_TOO_LONG.to_owned() }
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

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, at, task};
    use super::super::{Settings, Sqlite};
    use super::*;
    use crate::backend::Backend;
    use crate::upkeep::Upkeep;

    /// A queue of four tasks, and how many of them one look takes once this was done to each.
    fn look(change: &str) -> Vec<Carried> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        let engine = Sqlite::open(&path, &Settings::default()).expect("a new file");
        engine.enqueue(at(NOW), vec![task(NOW); 4], None).expect("it is stored");
        let stranger = Connection::open(&path).expect("it is there");
        stranger.execute_batch(change).expect("it is written");
        engine.carry(&[1, 2, 3, 4]).expect("they are read")
    }

    const LONG: &str = "json_quote(hex(zeroblob(20000)))";

    #[test]
    fn whatever_a_task_holds_is_counted_in_a_look() {
        assert_eq!(look("").len(), 4);
        for change in [
            format!("UPDATE litework_task SET arguments = json_object('a', {LONG})"),
            format!("UPDATE litework_task SET meta = json_object('a', {LONG})"),
            format!("INSERT INTO litework_step SELECT id, 'a', {LONG}, 5 FROM litework_task"),
            format!(
                "INSERT INTO litework_error (task, attempt, outcome, finished_at, report) \
                 SELECT id, 1, 'failed', 5, json_object('kind', 'error', 'message', {LONG}, \
                 'causes', json_array(), 'expected', json('false')) FROM litework_task"
            ),
        ] {
            let found = look(&change);
            assert!(matches!(found[..], [Carried::Task(_), Carried::Task(_)]), "{change}");
        }
        let steps = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 40) \
                     INSERT INTO litework_step SELECT id, 'a' || n, '1', 5 FROM litework_task, n";
        assert_eq!(look(steps).len(), 2, "small ones too");
    }

    #[test]
    fn what_no_line_can_hold_is_a_row_that_cannot_be_read() {
        let steps = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 65) \
                     INSERT INTO litework_step SELECT 2, 'a' || n, json_quote(hex(zeroblob(524288))), 5 FROM n";
        let found = look(steps);
        let [Carried::Task(_), Carried::Bad(bad), Carried::Task(_), Carried::Task(_)] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((bad.row, bad.column), (2, "steps"));
        assert!(bad.reason.contains("64 MiB"), "{bad:?}");
    }
}
