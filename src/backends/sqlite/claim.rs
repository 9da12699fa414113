//! Claim: the best ready tasks of the lanes that are open, until the offer has no room.
//!
//! The heads of the open lanes are merged by (rank, id), which is (priority, due, sequence). The
//! statement repeats the state it expects, so a row that is no longer ready is passed over. A task
//! past its expiry is failed on the spot and costs no attempt; a row that cannot be decoded is
//! failed as `bad_row`, and the claim goes on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::writer::{Core, not_stored};
use crate::backend::{Offer, Room};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::{Claimed, Lease};
use crate::time::Timestamp;

/// Served by the primary key.
pub(super) const CLAIM: &str = "UPDATE litework_task \
     SET state = 'running', worker = ?2, attempt = attempt + 1, started_at = ?3, stuck = 0 \
     WHERE id = ?1 AND state = 'ready' \
     RETURNING tag, priority, attempt, attempts_max, crashes, at_most_once, expires_at, options, \
     arguments";

const UNCLAIM: &str = "UPDATE litework_task SET state = 'ready', attempt = attempt - 1 \
     WHERE id = ?1 AND state = 'running' AND worker = ?2";

const FAIL: &str = "UPDATE litework_task SET state = 'failed', reason = ?2, finished_at = ?3, \
     attempt = attempt - 1 WHERE id = ?1 AND state = 'running'";

const PROMOTE_ONE: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE id = ?1 AND tag = ?2 AND state = 'scheduled' AND due_at <= ?3";

const PAYLOAD: &str = "SELECT body FROM litework_payload WHERE id = ?1 * 2";

/// What a claimed row turned out to be.
enum Found {
    Task(Box<Claimed>),
    /// Not ready any more: the heads were out of date.
    Gone,
    /// Ended without running.
    Ended,
    /// Has crashed a process before, and another such task runs here.
    Suspect,
}

/// Claims what there is room for. The second value says whether ready work was left behind.
pub(super) fn claim(
    core: &mut Core,
    now: Timestamp,
    offer: &dyn Offer,
) -> Result<(Vec<Claimed>, bool), Error> {
    let Core { conn, lanes, effects, .. } = core;
    let mut best = BinaryHeap::new();
    for (head, lane) in lanes.open_heads(conn, offer).map_err(not_stored)? {
        best.push(Reverse((offer.turn_of(&lanes.get(lane).queue), head, lane)));
    }
    let mut claimed = Vec::new();
    let mut passed_over = Vec::new();
    let mut more = false;
    let mut statement = conn.prepare_cached(CLAIM).map_err(not_stored)?;
    while let Some(Reverse((turn, head, lane))) = best.pop() {
        let (queue, kind) = lanes.get(lane).name();
        let turn_now = offer.turn_of(&queue);
        if turn_now != turn {
            best.push(Reverse((turn_now, head, lane)));
            continue;
        }
        match offer.reserve(&queue, &kind, 0) {
            Room::Taken => {}
            Room::QueueFull => continue,
            Room::Full => {
                more = true;
                break;
            }
        }
        lanes.pop(lane);
        let place = Place { now, rank: head.0, row: head.1, kind: &kind, queue: &queue };
        let found = take(conn, &mut statement, offer, &place);
        if !matches!(found, Ok(Found::Task(_))) {
            offer.release(&queue, 0);
        }
        match found {
            Ok(Found::Task(task)) => {
                offer.weigh(task.arguments.len());
                offer.charge(&queue);
                claimed.push(*task);
            }
            Ok(Found::Ended) => effects.changed.push(place.row),
            Ok(Found::Gone | Found::Suspect) => passed_over.push(lane),
            Err(error) => {
                undo(offer, &claimed);
                return Err(error);
            }
        }
        // A lane with a row left behind is not read again: the same row would come back.
        let next =
            if passed_over.contains(&lane) { Ok(lanes.peek(lane)) } else { lanes.head(conn, lane) };
        match next {
            Ok(head) => best.extend(head.map(|head| Reverse((offer.turn_of(&queue), head, lane)))),
            Err(error) => {
                undo(offer, &claimed);
                return Err(not_stored(error));
            }
        }
    }
    drop(statement);
    for lane in passed_over {
        lanes.forget_heads(lane);
    }
    Ok((claimed, more))
}

/// Claims one task by name, if it is due and the offer has room.
pub(super) fn claim_one(
    core: &mut Core,
    now: Timestamp,
    id: TaskId,
    offer: &dyn Offer,
) -> Result<Option<Claimed>, Error> {
    core.conn
        .prepare_cached(PROMOTE_ONE)
        .and_then(|mut promote| promote.execute((id.row(), id.tag(), now.as_millis())))
        .map_err(not_stored)?;
    let found = core
        .conn
        .prepare_cached(
            "SELECT lane, rank FROM litework_task WHERE id = ?1 AND tag = ?2 AND state = 'ready'",
        )
        .and_then(|mut read| {
            read.query_row((id.row(), id.tag()), |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(not_stored)?;
    let Some((lane, rank)) = found else { return Ok(None) };
    let Some(lane) = core.lanes.by_id(&core.conn, lane).map_err(not_stored)? else {
        return Ok(None);
    };
    let (queue, kind) = core.lanes.get(lane).name();
    if offer.reserve(&queue, &kind, 0) != Room::Taken {
        return Ok(None);
    }
    let place = Place { now, rank, row: id.row(), kind: &kind, queue: &queue };
    let mut statement = core.conn.prepare_cached(CLAIM).map_err(not_stored)?;
    let found = take(&core.conn, &mut statement, offer, &place);
    drop(statement);
    core.lanes.forget_heads(lane);
    match found {
        Ok(Found::Task(task)) => {
            offer.weigh(task.arguments.len());
            Ok(Some(*task))
        }
        other => {
            offer.release(&queue, 0);
            other.map(|_| None)
        }
    }
}

/// After a rollback: the places are free again.
pub(super) fn undo(offer: &dyn Offer, claimed: &[Claimed]) {
    for task in claimed {
        offer.release(&task.queue, task.arguments.len());
    }
}

/// What is known of a row before it is claimed.
struct Place<'a> {
    now: Timestamp,
    rank: i64,
    row: i64,
    kind: &'a Arc<str>,
    queue: &'a Arc<str>,
}

fn take(
    conn: &Connection,
    statement: &mut CachedStatement<'_>,
    offer: &dyn Offer,
    place: &Place<'_>,
) -> Result<Found, Error> {
    let owner = offer.owner();
    let mut expires_at = None;
    let decoded = statement
        .query_row((place.row, owner, place.now.as_millis()), |row| {
            expires_at = row.get::<_, Option<i64>>(6)?;
            decode(row, owner, place)
        })
        .optional();
    let mut task = match decoded {
        Ok(None) => return Ok(Found::Gone),
        Ok(Some(task)) => task,
        Err(error) if is_decode_error(&error) => return fail(conn, place, "bad_row"),
        Err(error) => return Err(not_stored(error)),
    };
    if expires_at.is_some_and(|at| at <= place.now.as_millis()) {
        return fail(conn, place, "expired");
    }
    if task.crashes > 0 && !offer.reserve_suspect() {
        conn.prepare_cached(UNCLAIM)
            .and_then(|mut undo| undo.execute((place.row, owner)))
            .map_err(not_stored)?;
        return Ok(Found::Suspect);
    }
    if task.arguments.is_empty() {
        let body = conn
            .prepare_cached(PAYLOAD)
            .and_then(|mut read| read.query_row([place.row], |row| row.get(0)).optional())
            .map_err(not_stored)?;
        match body {
            Some(body) => task.arguments = body,
            None => return fail(conn, place, "bad_row"),
        }
    }
    Ok(Found::Task(Box::new(task)))
}

fn decode(row: &Row<'_>, owner: i64, place: &Place<'_>) -> rusqlite::Result<Claimed> {
    let attempt = row.get(2)?;
    Ok(Claimed {
        lease: Lease { row: place.row, attempt, owner },
        id: TaskId::new(place.row, row.get(0)?),
        kind: Arc::clone(place.kind),
        queue: Arc::clone(place.queue),
        rank: place.rank,
        priority: row.get(1)?,
        attempts_max: row.get(3)?,
        crashes: row.get(4)?,
        at_most_once: row.get(5)?,
        started_at: place.now,
        options: row.get(7)?,
        arguments: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
    })
}

/// Whether the row itself is damaged, as opposed to the file or the disk.
fn is_decode_error(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..)
    )
}

fn fail(conn: &Connection, place: &Place<'_>, reason: &str) -> Result<Found, Error> {
    conn.prepare_cached(FAIL)
        .and_then(|mut fail| fail.execute((place.row, reason, place.now.as_millis())))
        .map(|_| Found::Ended)
        .map_err(not_stored)
}
