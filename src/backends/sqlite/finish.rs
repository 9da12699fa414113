//! Finish: what an attempt came to, under its lease.
//!
//! Every statement names task, attempt and owner. Where they no longer hold the task, nothing is
//! changed and the answer is `LeaseLost`; a success that is sent again, as its answer was lost, is kept
//! already. Successes are written in blocks, or one by one; anything else
//! reads the row, asks `settle::settle`, and keeps the error as a row of its own.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, OptionalExtension};

use super::core::Core;
use super::damaged;
use super::ends;
use super::errors::{is_damaged_row, not_stored};
use super::payload::{INLINE_BYTES_MAX, INSERT_PAYLOAD};
use super::row::ties_of;
use super::telling;
use super::unique;
use crate::error::Error;
use crate::fault;
use crate::outcome::{Outcome, Report};
use crate::record::{Finish, Finished};
use crate::settle::{Change, Spent, settle};
use crate::state::{Reason, State, rank};
use crate::ties::Ties;
use crate::time::Timestamp;
use crate::unique::Held;

/// Served by the primary key; the rest of the condition is the fence.
pub(super) const SUCCEED: &str = "UPDATE litework_task \
     SET state = 'succeeded', finished_at = ?4, result = ?5 \
     WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = ?3 \
     AND (ties IS NULL OR ties = '{}')";

/// The same for a task whose end concerns others. Served by the primary key.
pub(super) const SUCCEED_TIED: &str = "UPDATE litework_task \
     SET state = 'succeeded', finished_at = ?4, result = ?5 \
     WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = ?3";

/// The same where its end concerns only those who stand at its gate, and whom else it concerns is as it was
/// when it started. Served by the primary key.
pub(super) const SUCCEED_GATED: &str = "UPDATE litework_task \
     SET state = 'succeeded', finished_at = ?4, result = ?5 \
     WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = ?3 \
     AND ties = ?6 AND wait_key = ?7 AND batch IS NULL AND unique_key IS NULL";

/// The same for a block. Served by the primary key.
pub(super) const SUCCEED_BLOCK: &str = "UPDATE litework_task \
     SET state = 'succeeded', finished_at = given.column4, result = given.column5 \
     FROM (VALUES {rows}) AS given \
     WHERE id = given.column1 AND state = 'running' AND attempt = given.column2 \
     AND worker = given.column3 AND (ties IS NULL OR ties = '{}')";

/// Rows of a block of successes, few under test. A smaller one costs more than its rows one by one.
const BLOCK: usize = if cfg!(test) { 2 } else { 64 };

static SUCCEED_ROWS: LazyLock<String> =
    LazyLock::new(|| SUCCEED_BLOCK.replace("{rows}", &["(?, ?, ?, ?, ?)"; BLOCK].join(", ")));

/// Whether a success is kept already. Served by the primary key.
const KEPT: &str = "SELECT 1 FROM litework_task \
     WHERE id = ?1 AND state = 'succeeded' AND attempt = ?2 AND worker = ?3";

/// The planted defect that a test must notice. Served by the primary key.
const SUCCEED_UNFENCED: &str = "UPDATE litework_task \
     SET state = 'succeeded', reason = NULL, finished_at = ?4, result = ?5, attempt = ?2, worker = ?3 \
     WHERE id = ?1";

/// Served by the primary key.
const SPENT: &str = "SELECT attempts_max, crashes, at_most_once, cancel_requested, priority, due_at, \
     ties, lane FROM litework_task WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = ?3";

/// Served by the primary key.
const SETTLE: &str = "UPDATE litework_task SET state = ?4, reason = ?5, finished_at = ?6, \
     due_at = ?7, rank = ?8, attempt = ?9, crashes = ?10, snoozes = snoozes + ?11, stuck = ?12 \
     WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = ?3";

const RECORD: &str = "INSERT INTO litework_error \
     (task, attempt, outcome, started_at, finished_at, worker, report) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Records finishes, each with its own answer. An outer error means that the transaction is lost.
pub(super) fn finish_all(
    core: &mut Core,
    now: Timestamp,
    finishes: &[Finish],
) -> Result<Vec<Result<Finished, Error>>, Error> {
    let mut answers = Vec::with_capacity(finishes.len());
    for run in finishes.chunk_by(|one, next| can_be_in_block(one) == can_be_in_block(next)) {
        let in_blocks = if can_be_in_block(&run[0]) { run.len() / BLOCK * BLOCK } else { 0 };
        let (together, alone) = run.split_at(in_blocks);
        for block in together.chunks(BLOCK) {
            if !succeed_block(core, block, &mut answers)? {
                finish_each(core, now, block, &mut answers)?;
            }
        }
        finish_each(core, now, alone, &mut answers)?;
    }
    Ok(answers)
}

fn finish_each(
    core: &mut Core,
    now: Timestamp,
    finishes: &[Finish],
    answers: &mut Vec<Result<Finished, Error>>,
) -> Result<(), Error> {
    for one in finishes {
        answers.push(finish(core, now, one)?);
    }
    Ok(())
}

/// Whether it is a success that stands in the task's row.
fn can_be_in_block(finish: &Finish) -> bool {
    !finish.tied
        && finish.said.is_none()
        && inline_result(finish).is_some()
        && !fault::planted("fence_off")
}

/// The return value of a success, if it stands in the task's row.
fn inline_result(finish: &Finish) -> Option<&str> {
    match &finish.outcome {
        Outcome::Succeeded { result } if result.len() <= INLINE_BYTES_MAX => Some(result),
        _ => None,
    }
}

/// False where each is to be looked at alone: a damaged row has refused the statement, and with it the
/// others, or some lease does not hold, or other tasks wait for one of them by now.
fn succeed_block(
    core: &mut Core,
    block: &[Finish],
    answers: &mut Vec<Result<Finished, Error>>,
) -> Result<bool, Error> {
    let mut update = core.conn.prepare_cached(&SUCCEED_ROWS).map_err(not_stored)?;
    for (number, finish) in block.iter().enumerate() {
        bind_success(&mut update, number * 5 + 1, finish).map_err(not_stored)?;
    }
    let kept = update.raw_execute();
    drop(update);
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) if core.lost_transaction() => return Err(not_stored(error)),
        Err(_refused) => return Ok(false),
    };
    if kept < block.len() {
        return Ok(false);
    }
    for finish in block {
        answers.push(Ok(succeeded(core, finish)));
    }
    Ok(true)
}

fn bind_success(
    update: &mut CachedStatement<'_>,
    first: usize,
    finish: &Finish,
) -> rusqlite::Result<()> {
    update.raw_bind_parameter(first, finish.lease.row)?;
    update.raw_bind_parameter(first + 1, finish.lease.attempt)?;
    update.raw_bind_parameter(first + 2, finish.lease.owner)?;
    update.raw_bind_parameter(first + 3, finish.finished_at.as_millis())?;
    update.raw_bind_parameter(first + 4, inline_result(finish))
}

fn was_kept(core: &Core, finish: &Finish) -> Result<bool, Error> {
    let lease = finish.lease;
    core.conn
        .prepare_cached(KEPT)
        .and_then(|mut read| read.exists((lease.row, lease.attempt, lease.owner)))
        .map_err(not_stored)
}

/// Notes a success that was written.
fn succeeded(core: &mut Core, finish: &Finish) -> Finished {
    core.effects.changed.push(finish.lease.row);
    Finished { state: State::Succeeded, reason: None, due_at: None }
}

/// Records one finish. An outer error means that the transaction is lost.
pub(super) fn finish(
    core: &mut Core,
    now: Timestamp,
    finish: &Finish,
) -> Result<Result<Finished, Error>, Error> {
    let answer = match &finish.outcome {
        Outcome::Succeeded { result } => succeed(core, now, finish, result),
        outcome => settle_row(core, now, finish, outcome),
    };
    match answer {
        Ok(finished) => keep_said(core, now, finish).map(|()| Ok(finished)),
        Err(error) if core.lost_transaction() => Err(error),
        Err(error) if is_damaged_row(&error) => end_damaged(core, now, finish, error),
        answer => Ok(answer),
    }
}

/// Keeps what was said last. What cannot be kept takes the end with it only with the transaction.
fn keep_said(core: &mut Core, now: Timestamp, finish: &Finish) -> Result<(), Error> {
    let Some(said) = &finish.said else { return Ok(()) };
    match telling::keep(core, now, said) {
        Err(error) if core.lost_transaction() => Err(error),
        Err(error) => {
            tracing::warn!(id = %finish.id, %error, "what the task said last could not be kept");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Ends a row that cannot take its end, so that it does not run for ever.
fn end_damaged(
    core: &mut Core,
    now: Timestamp,
    finish: &Finish,
    error: Error,
) -> Result<Result<Finished, Error>, Error> {
    let ended = damaged::end_lease(core, finish.lease, now);
    if core.lost_transaction() {
        return Err(error);
    }
    // One that cannot be ended so either stays for the next who looks at it.
    Ok(Err(match ended {
        Ok(()) => Error::BadRow {
            row: finish.lease.row,
            column: "state",
            reason: format!("its end was not kept: {error}"),
        },
        Err(_refused_too) => error,
    }))
}

fn lease_lost(finish: &Finish) -> Error {
    Error::LeaseLost { id: finish.id, attempt: finish.lease.attempt }
}

fn succeed(
    core: &mut Core,
    now: Timestamp,
    finish: &Finish,
    result: &str,
) -> Result<Finished, Error> {
    let sql = if fault::planted("fence_off") { SUCCEED_UNFENCED } else { SUCCEED };
    let lease = finish.lease;
    let has_left = leave_gate(core, now, finish, result)?;
    if !has_left && (finish.tied || !write_success(core, sql, finish, result)?) {
        if !write_success(core, SUCCEED_TIED, finish, result)? {
            let kept = was_kept(core, finish)?;
            return if kept { Ok(succeeded(core, finish)) } else { Err(lease_lost(finish)) };
        }
        ends::left(core, now, lease.row)?;
    }
    if result.len() > INLINE_BYTES_MAX {
        core.conn
            .prepare_cached(INSERT_PAYLOAD)
            .and_then(|mut insert| insert.execute((lease.row * 2 + 1, result)))
            .map_err(not_stored)?;
    }
    Ok(succeeded(core, finish))
}

/// Ends a task that has a gate and no other ties; false where it has, by now.
fn leave_gate(
    core: &mut Core,
    now: Timestamp,
    finish: &Finish,
    result: &str,
) -> Result<bool, Error> {
    let Some((key, ties)) = finish.gate.as_deref() else { return Ok(false) };
    let inline = (result.len() <= INLINE_BYTES_MAX).then_some(result);
    let (lease, at) = (finish.lease, finish.finished_at.as_millis());
    let changed = core
        .conn
        .prepare_cached(SUCCEED_GATED)
        .and_then(|mut update| {
            let ties = ties.text();
            update.execute((lease.row, lease.attempt, lease.owner, at, inline, ties, key))
        })
        .map_err(not_stored)?;
    if changed > 0 {
        core.left_gates.insert(key.clone(), now);
    }
    Ok(changed > 0)
}

/// Whether the lease held.
fn write_success(core: &Core, sql: &str, finish: &Finish, result: &str) -> Result<bool, Error> {
    let inline = (result.len() <= INLINE_BYTES_MAX).then_some(result);
    let lease = finish.lease;
    core.conn
        .prepare_cached(sql)
        .and_then(|mut update| {
            let at = finish.finished_at.as_millis();
            update.execute((lease.row, lease.attempt, lease.owner, at, inline))
        })
        .map(|changed| changed > 0)
        .map_err(not_stored)
}

/// What the row says, beside what the finish says.
struct Before {
    spent: Spent,
    priority: i8,
    due_at: Timestamp,
    /// None for a plain task.
    ties: Option<Ties>,
    lane: i64,
}

fn settle_row(
    core: &mut Core,
    now: Timestamp,
    finish: &Finish,
    outcome: &Outcome,
) -> Result<Finished, Error> {
    let mut before = read_before(core, finish)?.ok_or_else(|| lease_lost(finish))?;
    let row = finish.lease.row;
    let key = before.ties.as_ref().and_then(|ties| ties.unique.as_ref());
    // One that has let its key go takes it again, to start again.
    let key = key.filter(|key| key.held == Held::Start).map(|key| key.key.clone());
    if let Some(key) = &key {
        before.spent.superseded = unique::is_taken(&core.conn, now, row, key)?;
    }
    let change = settle(before.spent, outcome, &finish.retry, now, finish.chance);
    if !change.state.admits(change.reason) {
        // What the schema would refuse here is our own mistake and not the row's.
        let reason = format!("{} does not have the reason {:?}", change.state, change.reason);
        return Err(Error::NotStored { reason, source: None });
    }
    write_change(core, finish, outcome, &before, change)?;
    if let Some(key) = key.filter(|_| !change.state.is_final()) {
        unique::take_again(&core.conn, row, &key)?;
    }
    if let Some(until) = outcome.closes_until(now) {
        core.close(row, before.lane, until)?;
    }
    if !matches!(outcome, Outcome::GivenBack) {
        record(core, finish, outcome, change)?;
    }
    if before.ties.is_some() {
        ends::left(core, now, row)?;
    }
    if change.state.is_final() {
        core.effects.changed.push(finish.lease.row);
    } else {
        core.effects.work = true;
    }
    Ok(Finished { state: change.state, reason: change.reason, due_at: change.due_at })
}

fn read_before(core: &Core, finish: &Finish) -> Result<Option<Before>, Error> {
    let lease = finish.lease;
    let crashed = u32::from(matches!(finish.outcome, Outcome::Crashed { .. }));
    core.conn
        .prepare_cached(SPENT)
        .and_then(|mut read| {
            read.query_row((lease.row, lease.attempt, lease.owner), |row| {
                let spent = Spent {
                    attempt: lease.attempt,
                    attempts_max: row.get(0)?,
                    crashes: row.get::<_, u32>(1)?.saturating_add(crashed),
                    at_most_once: row.get(2)?,
                    cancel_requested: row.get(3)?,
                    superseded: false,
                };
                let due_at = Timestamp::clamped(row.get(5)?);
                let ties: Option<String> = row.get(6)?;
                let ties = ties.map(|ties| ties_of(Some(ties)));
                Ok(Before { spent, priority: row.get(4)?, due_at, ties, lane: row.get(7)? })
            })
            .optional()
        })
        .map_err(not_stored)
}

fn write_change(
    core: &mut Core,
    finish: &Finish,
    outcome: &Outcome,
    before: &Before,
    change: Change,
) -> Result<(), Error> {
    let lease = finish.lease;
    let due_at = change.due_at.unwrap_or(before.due_at);
    let rank = rank(due_at, before.priority, core.step_ms);
    let finished_at = change.state.is_final().then_some(finish.finished_at.as_millis());
    let attempt = if change.charged { lease.attempt } else { lease.attempt - 1 };
    core.conn
        .prepare_cached(SETTLE)
        .and_then(|mut update| {
            update.execute(rusqlite::params![
                lease.row,
                lease.attempt,
                lease.owner,
                change.state.as_str(),
                change.reason.map(Reason::as_str),
                finished_at,
                due_at.as_millis(),
                rank,
                attempt,
                before.spent.crashes,
                outcome.is_snooze(),
                finish.stuck,
            ])
        })
        .map_err(not_stored)?;
    match change.state {
        State::Scheduled => core.note_due(due_at),
        State::Ready => core.note_ready(lease.row, before.lane, rank)?,
        _ => {}
    }
    Ok(())
}

/// The word of an outcome in the list of attempts.
fn word(outcome: &Outcome, change: Change) -> &'static str {
    match outcome {
        Outcome::Snoozed { .. } | Outcome::RateLimited { .. } => "snoozed",
        Outcome::Crashed { .. } => "crashed",
        Outcome::Retry { .. } if change.state == State::Scheduled => "retry",
        _ => change.state.as_str(),
    }
}

/// Snoozes keep a count; of their records only this many stay.
const SNOOZES_KEPT: u32 = 20;

fn record(core: &Core, finish: &Finish, outcome: &Outcome, change: Change) -> Result<(), Error> {
    let lease = finish.lease;
    let report = outcome.report().map(report_text);
    core.conn
        .prepare_cached(RECORD)
        .and_then(|mut insert| {
            insert.execute(rusqlite::params![
                lease.row,
                lease.attempt,
                word(outcome, change),
                finish.started_at.as_millis(),
                finish.finished_at.as_millis(),
                lease.owner,
                report,
            ])
        })
        .map_err(not_stored)?;
    if outcome.is_snooze() {
        core.conn
            .prepare_cached(
                "DELETE FROM litework_error WHERE task = ?1 AND outcome = 'snoozed' AND id NOT IN \
                 (SELECT id FROM litework_error WHERE task = ?1 AND outcome = 'snoozed' \
                  ORDER BY id DESC LIMIT +?2)",
            )
            .and_then(|mut delete| delete.execute((lease.row, SNOOZES_KEPT)))
            .map_err(not_stored)?;
    }
    Ok(())
}

/// A report is strings and JSON, which always encode.
fn report_text(report: &Report) -> String {
    serde_json::to_string(report).unwrap_or_default()
}
