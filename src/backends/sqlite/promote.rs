//! Claim: scheduled tasks whose time has come become ready, in slices.
//!
//! What the claim of the same transaction takes is written once, from scheduled to running. For that,
//! due tasks are only remembered as heads of their lanes at first, and those that are left are made
//! ready in the end.

use rusqlite::Connection;

use super::core::{Core, NextDue};
use super::damaged;
use super::due::next_due;
use super::errors::{is_not_admitted, not_stored};
use super::lanes::{LIST, Unwritten};
use crate::backend::Offer;
use crate::error::Error;
use crate::fault;
use crate::state::State;
use crate::time::Timestamp;

/// How many tasks one transaction promotes at most: about 5 ms under the write lock, and more than a pool has room for.
const SLICE: u32 = 2_100;

/// And at least: what is due may go before all that is ready.
const SLICE_MIN: u32 = 256;

/// Served by `litework_task_scheduled`.
pub(super) const DUE: &str = "SELECT id, lane, rank FROM litework_task \
     WHERE state = 'scheduled' AND due_at <= ?1 ORDER BY due_at LIMIT +?2";

/// Served by the primary key. One statement for all rows costs half of one for each.
pub(super) const PROMOTE: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE (state = 'scheduled' OR state = 'waiting') AND id IN (SELECT value FROM json_each(?1))";

/// The same for one of a few. Served by the primary key.
const PROMOTE_ROW: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE id = ?1 AND (state = 'scheduled' OR state = 'waiting')";

/// Lets the claim find what is due.
pub(super) fn promote(
    core: &mut Core,
    now: Timestamp,
    offer: &dyn Offer,
    unwritten: &mut Unwritten,
) -> Result<(), Error> {
    let now = if fault::planted("promote_early") { Timestamp::MAX } else { now };
    if next_due(core)?.is_none_or(|at| at > now) {
        return Ok(());
    }
    core.next_due = NextDue::Unknown;
    // Where enough is ready, promoting much more would only write it twice. One more than there is room for, so that the
    // claim ends where the room does, and whoever claims knows how much it is.
    let ready = core.lanes.count_ready(&core.conn, offer).map_err(not_stored)?;
    let wanted = offer.room().saturating_sub(ready).saturating_add(1);
    let slice = u32::try_from(wanted).unwrap_or(SLICE).clamp(SLICE_MIN, SLICE);
    let rows = due(core, now, slice)?;
    let mut heads = Vec::with_capacity(rows.len());
    let mut at_once = Unwritten::new();
    let mut damaged = Vec::new();
    for (row, lane, rank) in rows {
        let Core { conn, lanes, .. } = core;
        let Some(lane) = lanes.by_id(conn, lane).map_err(not_stored)? else {
            damaged::end_row(conn, row, now).map_err(not_stored)?;
            damaged.push(row);
            continue;
        };
        if lanes.covers(conn, lane, (rank, row), offer).map_err(not_stored)? {
            unwritten.insert(row, State::Scheduled)
        } else {
            at_once.insert(row, State::Scheduled)
        };
        heads.push((lane, (rank, row)));
    }
    let refused = make_ready(&core.conn, now, &at_once)?;
    for (lane, head) in heads {
        if !refused.contains(&head.1) {
            core.lanes.note_ready(lane, head);
        }
    }
    damaged.extend(refused);
    core.effects.changed.extend(&damaged);
    damaged.into_iter().try_for_each(|row| damaged::left(core, row, now))
}

/// Makes these ready, but for those that are damaged, which it ends and returns.
pub(super) fn make_ready(
    conn: &Connection,
    now: Timestamp,
    rows: &Unwritten,
) -> Result<Vec<i64>, Error> {
    let mut refused = Vec::new();
    match write_ready(conn, rows) {
        Err(error) if is_not_admitted(&error) => {}
        answer => return answer.map(|()| refused).map_err(not_stored),
    }
    for (row, state) in rows {
        match write_ready(conn, &Unwritten::from([(*row, *state)])) {
            Err(error) if is_not_admitted(&error) => {
                damaged::end_row(conn, *row, now).map_err(not_stored)?;
                refused.push(*row);
            }
            answer => answer.map_err(not_stored)?,
        }
    }
    Ok(refused)
}

fn write_ready(conn: &Connection, rows: &Unwritten) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    if rows.len() < LIST {
        let mut promote = conn.prepare_cached(PROMOTE_ROW)?;
        return rows.keys().try_for_each(|row| promote.execute([row]).map(drop));
    }
    let rows: Vec<&i64> = rows.keys().collect();
    let rows = serde_json::to_string(&rows).unwrap_or_default();
    conn.prepare_cached(PROMOTE)?.execute([rows]).map(drop)
}

/// A due task: its row, its lane, its rank.
type Due = (i64, i64, i64);

fn due(core: &Core, now: Timestamp, slice: u32) -> Result<Vec<Due>, Error> {
    core.conn
        .prepare_cached(DUE)
        .and_then(|mut read| {
            let rows = read.query_map((now.as_millis(), slice), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect()
        })
        .map_err(not_stored)
}
