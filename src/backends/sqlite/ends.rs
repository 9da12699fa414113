//! Finish: what it means to others that a task has ended, or has left a state that kept them waiting.
//!
//! Plain tasks never come here: their row says that they are tied to nobody. What an end brings to an end
//! is looked at in turn, so that a long line of tasks takes no deep stack.

use rusqlite::{Connection, OptionalExtension};

use super::calendar::Rows;
use super::core::Core;
use super::edges::{self, Ripple};
use super::errors::not_stored;
use super::follow;
use super::gates::{self, Freed};
use super::lanes::Unwritten;
use super::row::{text, ties};
use super::unique;
use crate::backend::Offer;
use crate::calendar;
use crate::error::Error;
use crate::state::State;
use crate::ties::Ties;
use crate::time::Timestamp;
use crate::unique::Held;

/// Served by the primary key.
pub(super) const TIES: &str =
    "SELECT state, ties, unique_key IS NOT NULL, wait_key, batch FROM litework_task WHERE id = ?1";

/// What a tied row says.
struct Tied {
    state: Option<State>,
    ties: Ties,
    has_key: bool,
    wait_key: Option<String>,
    batch: Option<i64>,
}

/// Lets others go on that a row has kept waiting. Batches are summed up, and gates opened, by [`settle`], once
/// for all that has ended until then.
pub(super) fn left(core: &mut Core, now: Timestamp, row: i64) -> Result<(), Error> {
    let mut ripple = Ripple::default();
    spread(&core.conn, now, core.step_ms, row, &mut ripple)?;
    note(core, now, ripple)
}

/// Lets those go on that wait for a row which has ended before it came here. Whatever else its end means was done there.
pub(super) fn came(core: &mut Core, now: Timestamp, ended: (i64, State)) -> Result<(), Error> {
    let mut ripple = Ripple::default();
    let rows = edges::close(&core.conn, now, ended, &mut ripple)?;
    core.stillborn.extend(rows.into_iter().map(|row| (row, now)));
    note(core, now, ripple)
}

fn note(core: &mut Core, now: Timestamp, mut ripple: Ripple) -> Result<(), Error> {
    core.unsummed.extend(ripple.batches.drain(..).map(|batch| (batch, now)));
    core.effects.changed.append(&mut ripple.changed);
    core.left_gates.extend(ripple.gates.drain(..).map(|key| (key, now)));
    core.may_start |= ripple.may_start;
    core.effects.schedules |= ripple.schedules;
    ripple.stored.iter().for_each(|lane| core.effects.stored(*lane, now));
    core.note_freed(ripple.freed)
}

/// Ends the batches whose last member has ended, and what that means to others. Before, looks at those that
/// had ended when they were stored.
pub(super) fn sum_up(core: &mut Core) -> Result<(), Error> {
    while let Some((row, now)) = core.stillborn.pop() {
        left(core, now, row)?;
    }
    while let Some((batch, now)) = core.unsummed.pop_first() {
        if edges::sum_up(&core.conn, now, batch)? {
            core.effects.changed.push(batch);
            left(core, now, batch)?;
        }
    }
    Ok(())
}

/// Ends batches, and lets those go on that wait at gates which somebody has left.
pub(super) fn settle(core: &mut Core) -> Result<(), Error> {
    loop {
        sum_up(core)?;
        let Some((key, now)) = core.left_gates.pop_first() else { return Ok(()) };
        core.release(now, &key)?;
    }
}

/// The same for a transaction that goes on to claim: who has a place, and stands where a lane is known, is
/// only noted there, as the claim is about to write him once more.
pub(super) fn settle_for_claim(core: &mut Core, offer: &dyn Offer) -> Result<Unwritten, Error> {
    sum_up(core)?;
    let mut unwritten = Unwritten::new();
    while let Some((key, now)) = core.left_gates.pop_first() {
        for next in gates::next(&core.conn, now, &key)? {
            let Core { conn, lanes, step_ms, .. } = core;
            let lane = lanes.by_id(conn, next.lane).map_err(not_stored)?;
            let lane = lane.filter(|_| next.has_place());
            let head = (next.rank, next.row);
            let is_known = lane.map_or(Ok(false), |lane| lanes.covers(conn, lane, head, offer));
            if let (Some(lane), true) = (lane, is_known.map_err(not_stored)?) {
                unwritten.insert(next.row, State::Waiting);
                lanes.note_ready(lane, head);
            } else {
                let freed = gates::go_on(conn, now, &key, &next, *step_ms)?;
                core.note_freed(vec![freed])?;
            }
        }
    }
    Ok(unwritten)
}

/// What it means to others that a row has ended, through a connection that is not ours.
pub(super) fn left_in(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    row: i64,
) -> Result<(), Error> {
    let mut ripple = Ripple::default();
    spread(conn, now, step_ms, row, &mut ripple)?;
    open_gates(conn, now, step_ms, ripple)
}

fn open_gates(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    mut ripple: Ripple,
) -> Result<(), Error> {
    while let Some(key) = ripple.gates.pop() {
        for freed in gates::release(conn, now, &key, step_ms)? {
            if let Freed::Ended { row, .. } = freed {
                spread(conn, now, step_ms, row, &mut ripple)?;
            }
        }
    }
    Ok(())
}

/// Ends a batch whose last member has ended, likewise; says whether it has.
pub(super) fn sum_up_in(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    batch: i64,
) -> Result<bool, Error> {
    let mut ripple = Ripple { batches: vec![batch], ..Ripple::default() };
    let mut has_ended = false;
    while let Some(batch) = ripple.batches.pop() {
        if edges::sum_up(conn, now, batch)? {
            has_ended = true;
            spread(conn, now, step_ms, batch, &mut ripple)?;
        }
    }
    open_gates(conn, now, step_ms, ripple).map(|()| has_ended)
}

fn spread(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    row: i64,
    ripple: &mut Ripple,
) -> Result<(), Error> {
    let mut rows = vec![row];
    while let Some(row) = rows.pop() {
        let Some(tied) = read(conn, row)? else { continue };
        let state = tied.state.unwrap_or(State::Failed);
        let outlives = matches!(tied.ties.unique.map(|unique| unique.held), Some(Held::Until(_)));
        if state.is_final() && tied.has_key && !outlives {
            unique::let_go(conn, row)?;
        }
        if let Some(key) = tied.wait_key {
            ripple.gates.push(key);
        }
        if let Some(slot) = tied.ties.slot.as_ref().filter(|_| state.is_final()) {
            let mut rows = Rows::new(conn);
            calendar::ended(&mut rows, now, slot, state)?;
            ripple.schedules |= rows.edited;
        }
        if state.is_final() {
            follow::store(conn, (now, step_ms), row, &tied.ties.follow, ripple)?;
            ripple.batches.extend(tied.batch);
            if tied.ties.awaited {
                rows.extend(edges::close(conn, now, (row, state), ripple)?);
            }
        }
    }
    Ok(())
}

fn read(conn: &Connection, row: i64) -> Result<Option<Tied>, Error> {
    conn.prepare_cached(TIES)
        .and_then(|mut read| {
            read.query_row([row], |found| {
                Ok(Tied {
                    state: text(found, 0).and_then(|word| State::from_word(&word)),
                    ties: ties(found, 1),
                    has_key: found.get(2)?,
                    wait_key: text(found, 3),
                    batch: found.get(4)?,
                })
            })
            .optional()
        })
        .map_err(not_stored)
}
