//! Enqueue: tasks that are stored through a connection that is not ours, or with statements of the caller
//! around them.
//!
//! The transaction may end in any way, so nothing is remembered of it, and nothing is handed over.

use rusqlite::Connection;

use super::ends;
use super::enqueue::{Fate, Insert, Placed, Start};
use super::errors::not_stored;
use super::gates::{self, Pass};
use super::lanes::{self, LANES_MAX, too_many_lanes};
use super::tags::Tags;
use super::unique::{self, Met};
use super::waiting::Waiting;
use crate::error::Error;
use crate::options::Durability;
use crate::record::{NewTask, Stored};
use crate::state::{Reason, State, rank};
use crate::time::Timestamp;

/// Stores one task through a connection that is not ours; it never hands over.
pub(super) fn insert_in(tx: &Connection, task: &NewTask, now: Timestamp) -> Result<Stored, Error> {
    insert_after(tx, task, now, &[])?.into_stored()
}

/// Stores a flow through a connection that is not ours; returns its batch and the rest.
pub(super) fn insert_flow_in(
    tx: &Connection,
    tasks: &[NewTask],
    now: Timestamp,
) -> Result<Vec<Stored>, Error> {
    let mut inserts = Vec::with_capacity(tasks.len());
    for (number, task) in tasks.iter().enumerate() {
        let insert = insert_after(tx, task, now, &inserts).map_err(|error| error.at(number))?;
        let exists = insert.is_existing_batch();
        inserts.push(insert);
        if exists {
            break;
        }
    }
    let mut has_ended = false;
    if let Some(Insert { fate: Fate::Placed(batch), .. }) = inserts.first() {
        has_ended = ends::sum_up_in(tx, now, step_in(tx)?, batch.row)?;
    }
    let stored: Result<Vec<Stored>, Error> = inserts.into_iter().map(Insert::into_stored).collect();
    let mut stored = stored?;
    if has_ended {
        // Its batch has ended with its members, and what was to come after that with it.
        stored.iter_mut().try_for_each(|task| read_state(tx, task))?;
    }
    Ok(stored)
}

/// Served by the primary key.
const STATE: &str = "SELECT state FROM litework_task WHERE id = ?1";

fn read_state(tx: &Connection, stored: &mut Stored) -> Result<(), Error> {
    let state: String = tx
        .prepare_cached(STATE)
        .and_then(|mut read| read.query_row([stored.id.row()], |row| row.get(0)))
        .map_err(not_stored)?;
    stored.state = State::from_word(&state).unwrap_or(stored.state);
    Ok(())
}

fn step_in(tx: &Connection) -> Result<i64, Error> {
    tx.query_row("SELECT value FROM litework_meta WHERE name = 'step_ms'", [], |row| row.get(0))
        .map_err(not_stored)
}

/// `before` are those of the same call that are stored already.
fn insert_after(
    tx: &Connection,
    task: &NewTask,
    now: Timestamp,
    before: &[Insert],
) -> Result<Insert, Error> {
    let mut insert = Insert::new(task.clone(), now, None, Durability::Normal);
    insert.find_bonds(tx, before)?;
    if let Some(existing) = insert.existing(tx)? {
        insert.fate = Fate::Existing(existing);
        return Ok(insert);
    }
    let step_ms = step_in(tx)?;
    if let Some(claim) = task.claim() {
        if insert.is_member() {
            unique::refuse_taken(tx, now, claim)?;
        } else if let Some(Met { stored, .. }) = unique::meet(tx, now, step_ms, task, claim)? {
            insert.fate = Fate::Existing(stored);
            return Ok(insert);
        }
    }
    // The caller's transaction may end in any way, so nothing is remembered of it.
    let refusal = Waiting::default().refusal(tx, task, true);
    if let Some(overloaded) = refusal.map_err(not_stored)? {
        return Err(overloaded);
    }
    let lane = lane_in(tx, &task.queue, &task.kind)?;
    for follow in task.follows() {
        lane_in(tx, &follow.queue, &follow.kind)?;
    }
    let start = insert.start_in(tx)?;
    let rank = rank(insert.task.due_at, task.priority, step_ms);
    let placed = Placed { start, lane, rank, tag: Tags::default().next()?, row: 0 };
    let placed = insert.write_row(tx, placed)?;
    if placed.start.is_over() && !task.follows().is_empty() {
        ends::left_in(tx, now, step_ms, placed.row)?;
    }
    insert.fate = Fate::Placed(placed);
    insert.note_stored();
    Ok(insert)
}

/// The number of a lane, made if it is new, without the memory of our own connection.
fn lane_in(tx: &Connection, queue: &str, kind: &str) -> Result<i64, Error> {
    if let Some(lane) = lanes::number(tx, queue, kind)? {
        return Ok(lane);
    }
    let lanes: i64 = tx
        .query_row("SELECT count(*) FROM litework_lane", [], |row| row.get(0))
        .map_err(not_stored)?;
    if usize::try_from(lanes).unwrap_or(usize::MAX) >= LANES_MAX {
        return Err(too_many_lanes());
    }
    lanes::make(tx, queue, kind)
}

impl Insert {
    /// Where it begins, as nobody can take it over.
    fn start_in(&mut self, tx: &Connection) -> Result<Start, Error> {
        if let Some(start) = self.start_by_bonds() {
            return Ok(start);
        }
        if self.task.due_at > self.now {
            return Ok(Start::Scheduled(Reason::Delayed));
        }
        let Some((key, gate)) = self.task.gate() else { return Ok(Start::Ready) };
        Ok(match gates::pass_new(tx, self.now, key, gate)? {
            Pass::Open => Start::Ready,
            Pass::Held(_) if gate.skips() => Start::Ready,
            Pass::Held(_) => Start::Waiting(gate.reason()),
            Pass::Later(opens_at) => {
                self.task.due_at = opens_at;
                Start::Scheduled(Reason::Rate)
            }
        })
    }
}
