//! Finish: what it means to others that a task has ended, or has left a state that kept them waiting.
//!
//! Plain tasks never come here: their row says that they are tied to nobody.

use rusqlite::OptionalExtension;

use super::core::Core;
use super::errors::not_stored;
use super::gates::ties_of;
use super::unique;
use crate::error::Error;
use crate::state::State;
use crate::ties::Ties;
use crate::time::Timestamp;
use crate::unique::Held;

/// Served by the primary key.
pub(super) const TIES: &str =
    "SELECT state, ties, unique_key IS NOT NULL, wait_key FROM litework_task WHERE id = ?1";

/// What a tied row says.
struct Tied {
    state: Option<State>,
    ties: Ties,
    has_key: bool,
    wait_key: Option<String>,
}

/// Lets others go on that a row has kept waiting.
pub(super) fn left(core: &mut Core, now: Timestamp, row: i64) -> Result<(), Error> {
    let Some(tied) = read(core, row)? else { return Ok(()) };
    let ended = tied.state.is_none_or(State::is_final);
    let outlives = matches!(tied.ties.unique.map(|unique| unique.held), Some(Held::Until(_)));
    if ended && tied.has_key && !outlives {
        unique::let_go(&core.conn, row)?;
    }
    if let Some(key) = tied.wait_key {
        core.release(now, &key)?;
    }
    Ok(())
}

fn read(core: &Core, row: i64) -> Result<Option<Tied>, Error> {
    core.conn
        .prepare_cached(TIES)
        .and_then(|mut read| {
            read.query_row([row], |found| {
                let state: String = found.get(0)?;
                Ok(Tied {
                    state: State::from_word(&state),
                    ties: ties_of(found.get(1)?),
                    has_key: found.get(2)?,
                    wait_key: found.get(3)?,
                })
            })
            .optional()
        })
        .map_err(not_stored)
}
