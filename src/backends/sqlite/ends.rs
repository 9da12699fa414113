//! Finish: what it means to others that a task has ended, or has left a state that kept them waiting.
//!
//! Plain tasks never come here: their row says that they are tied to nobody. What an end brings to an end
//! is looked at in turn, so that a long line of tasks takes no deep stack.

use rusqlite::{Connection, OptionalExtension};

use super::core::Core;
use super::edges::{self, Ripple};
use super::errors::not_stored;
use super::follow;
use super::gates::{self, ties_of};
use super::row::text;
use super::unique;
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

/// Lets others go on that a row has kept waiting. Batches are summed up by [`sum_up`], once for all that
/// has ended until then.
pub(super) fn left(core: &mut Core, now: Timestamp, row: i64) -> Result<(), Error> {
    let mut ripple = Ripple::default();
    spread(&core.conn, now, core.step_ms, row, &mut ripple)?;
    core.unsummed.extend(ripple.batches.drain(..).map(|batch| (batch, now)));
    core.effects.changed.append(&mut ripple.changed);
    core.may_start |= ripple.may_start;
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

/// What it means to others that a row has ended, through a connection that is not ours.
pub(super) fn left_in(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    row: i64,
) -> Result<(), Error> {
    spread(conn, now, step_ms, row, &mut Ripple::default())
}

/// Ends a batch whose last member has ended, likewise.
pub(super) fn sum_up_in(
    conn: &Connection,
    now: Timestamp,
    step_ms: i64,
    batch: i64,
) -> Result<(), Error> {
    let mut ripple = Ripple { batches: vec![batch], ..Ripple::default() };
    while let Some(batch) = ripple.batches.pop() {
        if edges::sum_up(conn, now, batch)? {
            spread(conn, now, step_ms, batch, &mut ripple)?;
        }
    }
    Ok(())
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
            ripple.freed.extend(gates::release(conn, now, &key, step_ms)?);
        }
        if state.is_final() {
            ripple.freed.extend(follow::store(conn, now, step_ms, row, &tied.ties.follow)?);
            ripple.batches.extend(tied.batch);
            if tied.ties.awaited {
                rows.extend(edges::close(conn, now, step_ms, (row, state), ripple)?);
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
                    ties: ties_of(text(found, 1)),
                    has_key: found.get(2)?,
                    wait_key: text(found, 3),
                    batch: found.get(4)?,
                })
            })
            .optional()
        })
        .map_err(not_stored)
}
