//! Run: what the steps of a task came to, kept once a task and under its lease.
//!
//! A step is stored only while its attempt holds the task, and in the same write its process shows that
//! it is alive. Steps survive every end of an attempt; they go with the task.

use rusqlite::{Connection, OptionalExtension};

use super::core::Core;
use super::errors::not_stored;
use super::member;
use super::query::ReadError;
use crate::backend::{STEPS_MAX, too_many_steps};
use crate::error::Error;
use crate::fault;
use crate::id::TaskId;
use crate::record::{Lease, NewStep, StepRecord};
use crate::time::Timestamp;

/// Refuses a write under a lease that no longer holds.
pub(super) fn check_lease(core: &Core, id: TaskId, lease: Lease) -> Result<(), Error> {
    if core.holds(lease)? || fault::planted("fence_off") {
        Ok(())
    } else {
        Err(Error::LeaseLost { id, attempt: lease.attempt })
    }
}

pub(super) fn read(
    conn: &Connection,
    id: TaskId,
    lease: Lease,
    name: &str,
) -> Result<Option<String>, ReadError> {
    // Served by the primary key.
    let found = conn
        .prepare_cached(
            "SELECT (SELECT s.value FROM litework_step s WHERE s.task = t.id AND s.name = ?4) \
             FROM litework_task t \
             WHERE t.id = ?1 AND t.state = 'running' AND t.attempt = ?2 AND t.worker = ?3",
        )?
        .query_row((lease.row, lease.attempt, lease.owner, name), |found| found.get(0))
        .optional()?;
    found.ok_or(ReadError::Ours(Error::LeaseLost { id, attempt: lease.attempt }))
}

pub(super) fn keep(core: &mut Core, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error> {
    let NewStep { id, lease, name, value, .. } = *step;
    check_lease(core, id, lease)?;
    let others: u32 = core
        .conn
        .prepare_cached("SELECT count(*) FROM litework_step WHERE task = ?1 AND name <> ?2")
        .and_then(|mut count| count.query_row((lease.row, name), |found| found.get(0)))
        .map_err(not_stored)?;
    if others as usize >= STEPS_MAX {
        return Err(too_many_steps(name));
    }
    core.conn
        .prepare_cached(
            "INSERT INTO litework_step (task, name, value, stored_at) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (task, name) DO UPDATE SET value = ?3, stored_at = ?4",
        )
        .and_then(|mut insert| insert.execute((lease.row, name, value, now.as_millis())))
        .map_err(not_stored)?;
    fault::point("keeping");
    // An owner that was given up holds nothing, so under this lease it is always there.
    member::renew(core, lease.owner)?;
    Ok(())
}

pub(super) fn list(conn: &Connection, id: TaskId) -> Result<Vec<StepRecord>, ReadError> {
    // Served by the primary key.
    let mut read = conn.prepare_cached(
        "SELECT s.name, s.value, s.stored_at FROM litework_task t \
         JOIN litework_step s ON s.task = t.id WHERE t.id = ?1 AND t.tag = ?2 ORDER BY s.name",
    )?;
    let rows = read.query_map((id.row(), id.tag()), |found| {
        let stored_at = Timestamp::clamped(found.get(2)?);
        Ok(StepRecord::new(found.get(0)?, found.get(1)?, stored_at))
    })?;
    let mut steps: Vec<StepRecord> = rows.collect::<rusqlite::Result<_>>()?;
    steps.sort_by_key(|step| step.stored_at);
    Ok(steps)
}
