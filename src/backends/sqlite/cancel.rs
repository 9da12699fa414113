//! Cancel: what has not started ends at once; what runs is asked to stop.

use rusqlite::{OptionalExtension, Row};

use super::core::{Core, NextDue};
use super::edges::{self, CancelledBatch};
use super::ends;
use super::errors::not_stored;
use super::row::{text, ties_of};
use crate::backend::Cancelled;
use crate::error::Error;
use crate::id::TaskId;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Served by the primary key.
const STATE: &str =
    "SELECT state, ties, ties IS NOT NULL FROM litework_task WHERE id = ?1 AND tag = ?2";

/// Served by the primary key.
const REQUEST: &str = "UPDATE litework_task SET cancel_requested = 1 WHERE id = ?1";

/// Served by the primary key.
const CANCEL: &str = "UPDATE litework_task SET state = 'cancelled', reason = ?3, \
     finished_at = ?2, cancel_requested = 1 WHERE id = ?1";

pub(super) fn cancel(core: &mut Core, now: Timestamp, id: TaskId) -> Result<Cancelled, Error> {
    cancel_for(core, now, id, Reason::Asked)
}

/// The same; a task that has not started ends for this reason.
pub(super) fn cancel_for(
    core: &mut Core,
    now: Timestamp,
    id: TaskId,
    reason: Reason,
) -> Result<Cancelled, Error> {
    let found: Option<(String, Option<String>, bool)> = core
        .conn
        .prepare_cached(STATE)
        .and_then(|mut read| {
            let found = |row: &Row<'_>| Ok((row.get(0)?, text(row, 1), row.get(2)?));
            read.query_row((id.row(), id.tag()), found).optional()
        })
        .map_err(not_stored)?;
    let (state, ties, concerns_others) = found.ok_or_else(|| Error::not_found(id))?;
    let sums = ties_of(ties).sums;
    match State::from_word(&state) {
        Some(State::Running) => {
            core.conn
                .prepare_cached(REQUEST)
                .and_then(|mut ask| ask.execute([id.row()]))
                .map_err(not_stored)?;
            core.effects.cancel.push(id.row());
            Ok(Cancelled::Requested)
        }
        Some(state) if state.is_final() => Ok(Cancelled::AlreadyFinished),
        _ if sums => cancel_batch(core, now, id.row()),
        _ => {
            core.conn
                .prepare_cached(CANCEL)
                .and_then(|mut cancel| cancel.execute((id.row(), now.as_millis(), reason.as_str())))
                .map_err(not_stored)?;
            // A head that is remembered but no longer ready is passed over by the claim; what
            // was ready or due is read again.
            core.lanes.forget();
            core.next_due = NextDue::Unknown;
            core.effects.changed.push(id.row());
            if concerns_others {
                ends::left(core, now, id.row())?;
            }
            Ok(Cancelled::Now)
        }
    }
}

/// The batch itself ends with the last of its members.
fn cancel_batch(core: &mut Core, now: Timestamp, batch: i64) -> Result<Cancelled, Error> {
    let CancelledBatch { ended, mut asked } = edges::cancel(&core.conn, now, batch)?;
    core.lanes.forget();
    core.next_due = NextDue::Unknown;
    core.effects.changed.extend(&ended);
    let answer = if asked.is_empty() { Cancelled::Now } else { Cancelled::Requested };
    core.effects.cancel.append(&mut asked);
    ended.into_iter().try_for_each(|row| ends::left(core, now, row))?;
    core.unsummed.insert(batch, now);
    Ok(answer)
}
