//! Every step of the journey: what people do to tasks, to queues and kinds, from outside.
//!
//! One deed, or one slice of a deed done to many, is a commit. What a task is in is read in the
//! transaction that changes it.

use std::time::{Duration, Instant};

use rusqlite::OptionalExtension;

use super::audit;
use super::calendar::Rows;
use super::core::{Core, NextDue};
use super::enqueue::Insert;
use super::errors::{is_damaged_row, not_stored};
use super::retry::{self, allow_again};
use super::row::{text, ties_of};
use super::{
    Sqlite, blocks, cancel, edges, ends, member, presence, prune, query, rules, shelf, unique, why,
    wipe,
};
use crate::audit::{AuditRecord, Times};
use crate::backend::{Backend, Cancelled, LaneName, Operate, Over};
use crate::calendar::{self, Agenda};
use crate::deed::{Copied, Deed, Done, Tally};
use crate::error::Error;
use crate::filter::Filter;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::options::Durability;
use crate::presence::WorkerRecord;
use crate::record::{NewTask, Stored};
use crate::rule::{Limited, Paused, Scope};
use crate::state::{Reason, State, rank};
use crate::ties::Ties;
use crate::time::Timestamp;
use crate::unique::Held;
use crate::why::Facts;

/// How long one slice holds the write lock, about. Random histories make their own slices, as what is
/// summed up between them must not depend on the machine.
const SLICE: Duration = Duration::from_millis(if cfg!(test) { 3_600_000 } else { 20 });

/// Served by the primary key.
const FOUND: &str = "SELECT state, reason, priority, due_at, enqueued_at, expires_at, attempt, \
     attempts_max, lane, ties, batch IS NOT NULL, ties IS NOT NULL FROM litework_task \
     WHERE id = ?1 AND tag = ?2";

/// Served by the primary key.
const RETRY: &str = "UPDATE litework_task SET state = 'ready', reason = NULL, finished_at = NULL, \
     due_at = ?2, rank = ?3, attempts_max = ?4, cancel_requested = 0, stuck = 0, dismissed = 0, result = NULL, \
     wait_key = coalesce(CASE WHEN json_valid(ties) THEN json_extract(ties, '$.held_key') END, \
       wait_key), \
     expires_at = CASE WHEN expires_at > ?2 THEN expires_at END WHERE id = ?1";

/// Served by the primary key.
const MOVE: &str = "UPDATE litework_task SET state = ?2, reason = ?3, due_at = ?4, rank = ?5, \
     expires_at = ?6 WHERE id = ?1";

/// Served by the primary key.
const NEWEST: &str = "SELECT id FROM litework_task WHERE id <= ?1 ORDER BY id DESC LIMIT 1";

/// What is erased is told to nobody. Served by the primary key.
const UNFOLLOW: &str =
    "UPDATE litework_task SET ties = json_remove(ties, '$.follow') WHERE id = ?1";

/// Served by the primary key.
const DISMISS: &str = "UPDATE litework_task SET dismissed = 1 WHERE id = ?1";

/// Served by the primary key.
const DELETE: &str = "DELETE FROM litework_task WHERE id = ?1";

/// The newest row keeps its number from being given out again: it is emptied, and belongs to no lane, so
/// that nobody finds it. Served by the primary key.
const HOLLOW: &str = "UPDATE litework_task SET tag = ?2, lane = 0, state = 'cancelled', \
     reason = 'asked', priority = 0, due_at = 0, rank = 0, enqueued_at = 0, started_at = NULL, \
     finished_at = 0, expires_at = NULL, worker = NULL, batch = NULL, owner = NULL, key = NULL, \
     unique_key = NULL, wait_key = NULL, ties = NULL, name = NULL, trace = NULL, tags = NULL, \
     meta = NULL, options = NULL, arguments = '{}', result = NULL WHERE id = ?1";

/// Hollow rows that are not the newest any more. Served by `litework_task_finished`.
const SWEEP_HOLLOW: &str =
    "DELETE FROM litework_task WHERE finished_at = 0 AND lane = 0 AND id < ?1";

/// What is known of a task before it is changed.
struct Before {
    state: State,
    reason: Option<Reason>,
    priority: i8,
    due_at: Timestamp,
    enqueued_at: Timestamp,
    expires_at: Option<Timestamp>,
    attempt: u32,
    attempts_max: u32,
    lane: i64,
    /// None for a plain task.
    ties: Option<Ties>,
    is_member: bool,
}

impl Before {
    /// Whether it is a batch, which ends and runs again with its members.
    fn sums(&self) -> bool {
        self.ties.as_ref().is_some_and(|ties| ties.sums)
    }
}

fn read(core: &Core, id: TaskId) -> Result<Before, Error> {
    let found = core
        .conn
        .prepare_cached(FOUND)
        .and_then(|mut read| {
            read.query_row((id.row(), id.tag()), |row| {
                let state: String = row.get(0)?;
                let reason: Option<String> = row.get(1)?;
                Ok(Before {
                    // A state that is none of ours is the end of a damaged row.
                    state: State::from_word(&state).unwrap_or(State::Failed),
                    reason: reason.as_deref().and_then(Reason::from_word),
                    priority: row.get(2)?,
                    due_at: Timestamp::clamped(row.get(3)?),
                    enqueued_at: Timestamp::clamped(row.get(4)?),
                    expires_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::clamped),
                    attempt: row.get(6)?,
                    attempts_max: row.get(7)?,
                    lane: row.get(8)?,
                    ties: row.get::<_, bool>(11)?.then(|| ties_of(text(row, 9))),
                    is_member: row.get(10)?,
                })
            })
            .optional()
        })
        .map_err(not_stored)?;
    found.ok_or_else(|| Error::not_found(id))
}

fn act(core: &mut Core, now: Timestamp, id: TaskId, deed: Deed) -> Result<Done, Error> {
    let before = read(core, id)?;
    if let Some(refusal) = deed.refusal(id, before.state) {
        return Err(refusal);
    }
    if deed == Deed::Erase && before.ties.as_ref().is_some_and(|ties| !ties.follow.is_empty()) {
        core.conn
            .prepare_cached(UNFOLLOW)
            .and_then(|mut update| update.execute([id.row()]))
            .map_err(not_stored)?;
    }
    if before.sums() && !before.state.is_final() && deed != Deed::Retry {
        return end_batch(core, now, id, deed);
    }
    match deed {
        Deed::Retry => retry(core, now, id, &before)?,
        Deed::Reschedule(at) => reschedule(core, now, id, &before, at)?,
        Deed::Cancel | Deed::Erase if before.state == State::Running => {
            cancel::cancel(core, now, id)?;
            return Ok(Done::Asked);
        }
        Deed::Cancel => drop(cancel::cancel(core, now, id)?),
        Deed::Delete => delete(core, now, id, before.state)?,
        Deed::Erase => {
            shelf::mark_erased(&core.conn, id.row())?;
            delete(core, now, id, before.state)?;
        }
        Deed::Dismiss => {
            let dismiss = core.conn.prepare_cached(DISMISS);
            dismiss.and_then(|mut dismiss| dismiss.execute([id.row()])).map_err(not_stored)?;
        }
    }
    Ok(Done::Done)
}

fn retry(core: &mut Core, now: Timestamp, id: TaskId, before: &Before) -> Result<(), Error> {
    let row = id.row();
    if before.sums() {
        return retry::batch(core, now, id).map(drop);
    }
    take_key_again(core, now, row, before)?;
    let rank = rank(now, before.priority, core.step_ms);
    let attempts = (before.attempt, before.attempts_max);
    let attempts_max = allow_again(&core.conn, now, row, attempts)?;
    core.conn
        .prepare_cached(RETRY)
        .and_then(|mut retry| retry.execute((row, now.as_millis(), rank, attempts_max)))
        .map_err(not_stored)?;
    core.conn
        .prepare_cached("DELETE FROM litework_payload WHERE id = ?1 * 2 + 1")
        .and_then(|mut delete| delete.execute([row]))
        .map_err(not_stored)?;
    if before.state == State::Succeeded {
        core.conn
            .prepare_cached("DELETE FROM litework_step WHERE task = ?1")
            .and_then(|mut delete| delete.execute([row]))
            .map_err(not_stored)?;
    }
    if let Some(slot) = before.ties.as_ref().and_then(|ties| ties.slot.as_ref()) {
        calendar::reopened(&mut Rows::new(&core.conn), slot, before.state)?;
    }
    if retry::take_along(core, now, row)? {
        return Ok(());
    }
    core.note_ready(row, before.lane, rank)
}

/// A batch that has not ended: it does so with its members, and what comes after it is told first.
fn end_batch(core: &mut Core, now: Timestamp, id: TaskId, deed: Deed) -> Result<Done, Error> {
    if matches!(deed, Deed::Reschedule(_)) {
        // It has no time of its own.
        return Ok(Done::Done);
    }
    cancel::cancel(core, now, id)?;
    ends::sum_up(core)?;
    let state = read(core, id)?.state;
    if !state.is_final() {
        return Ok(Done::Asked);
    }
    if deed != Deed::Cancel {
        // It has ended just now, so that is still to be told.
        delete(core, now, id, State::Waiting)?;
    }
    Ok(Done::Done)
}

/// A retried task is the only one of its unique key again, or is not retried.
fn take_key_again(core: &Core, now: Timestamp, row: i64, before: &Before) -> Result<(), Error> {
    let unique = before.ties.as_ref().and_then(|ties| ties.unique.as_ref());
    let Some(unique) = unique.filter(|unique| !matches!(unique.held, Held::Until(_))) else {
        return Ok(());
    };
    match unique::taken_by(&core.conn, now, row, &unique.key)? {
        Some(existing) => Err(Error::NotUnique { existing }),
        None => unique::take_again(&core.conn, row, &unique.key),
    }
}

fn reschedule(
    core: &mut Core,
    now: Timestamp,
    id: TaskId,
    before: &Before,
    at: Timestamp,
) -> Result<(), Error> {
    let (state, reason) = Deed::moved_to(before.state, before.reason, at > now);
    let from = before.due_at.max(before.enqueued_at);
    let expires_at = Deed::moved_expiry(before.expires_at, from, at.max(now));
    let rank = rank(at, before.priority, core.step_ms);
    core.conn
        .prepare_cached(MOVE)
        .and_then(|mut write| {
            write.execute((
                id.row(),
                state.as_str(),
                reason.map(Reason::as_str),
                at.as_millis(),
                rank,
                expires_at.map(Timestamp::as_millis),
            ))
        })
        .map_err(not_stored)?;
    // Where it stood is not known here, so what is remembered is read again.
    core.lanes.forget();
    core.next_due = NextDue::Unknown;
    core.effects.work = true;
    if before.ties.is_some() {
        // It may have kept others waiting.
        ends::left(core, now, id.row())?;
    }
    Ok(())
}

/// Forgets a task that does not run. One that has not ended is cancelled first, so that whoever waits for
/// it hears of it.
fn delete(core: &mut Core, now: Timestamp, id: TaskId, state: State) -> Result<(), Error> {
    let row = id.row();
    let mut as_it_ended = None;
    if !state.is_final() {
        cancel::cancel(core, now, id)?;
        // One that cannot be read is told to nobody.
        as_it_ended = query::by_row(&core.conn, row).ok().flatten();
    }
    core.effects.gone.insert(row, as_it_ended);
    // Its flow is not to succeed for its being gone.
    edges::lose(&core.conn, row)?;
    prune::remove_parts(&core.conn, &[row])?;
    let newest: i64 = core
        .conn
        .prepare_cached(NEWEST)
        .and_then(|mut read| read.query_row([i64::MAX], |found| found.get(0)))
        .map_err(not_stored)?;
    if row == newest {
        let tag = core.tags.next()?;
        core.conn
            .prepare_cached(HOLLOW)
            .and_then(|mut hollow| hollow.execute((row, tag)))
            .map_err(not_stored)?;
    } else {
        core.conn
            .prepare_cached(DELETE)
            .and_then(|mut delete| delete.execute([row]))
            .map_err(not_stored)?;
    }
    core.conn
        .prepare_cached(SWEEP_HOLLOW)
        .and_then(|mut sweep| sweep.execute([newest]))
        .map_err(not_stored)?;
    core.effects.changed.push(row);
    Ok(())
}

fn act_on(
    core: &mut Core,
    now: Timestamp,
    deed: Deed,
    filter: &Filter,
    rows: &[i64],
) -> Result<Tally, Error> {
    let began = Instant::now();
    let mut slice = Tally::default();
    for row in rows {
        if slice.seen > 0 && began.elapsed() >= SLICE {
            break;
        }
        slice.seen += 1;
        let found = query::still_passes(&core.conn, filter, *row).map_err(not_stored)?;
        let Some(id) = found else { continue };
        match slice.count(deed, id, act(core, now, id, deed)) {
            Err(error) if is_damaged_row(&error) && !core.lost_transaction() => slice.left += 1,
            answer => answer?,
        }
    }
    Ok(slice)
}

/// Does something, and says what has ended by it.
fn telling<R: Times>(
    core: &mut Core,
    body: impl FnOnce(&mut Core) -> Result<R, Error>,
) -> Result<(R, Over), Error> {
    let told = core.effects.changed.len();
    let answer = body(core)?;
    ends::sum_up(core)?;
    audit::note(core, &answer)?;
    let gone = std::mem::take(&mut core.effects.gone);
    let over = Over::new(&core.effects.changed[told..], gone);
    core.effects.hear(&over.rows);
    Ok((answer, over))
}

pub(super) fn cancel(
    engine: &Sqlite,
    now: Timestamp,
    id: TaskId,
) -> Result<(Cancelled, Over), Error> {
    let cancel = |core: &mut Core| telling(core, |core| cancel::cancel(core, now, id));
    engine.transaction(engine.durability, cancel)
}

/// What is erased is overwritten, where `SQLite` frees it; the connection goes back to its own ways.
fn act_thoroughly(
    core: &mut Core,
    deed: Deed,
    body: impl FnOnce(&mut Core) -> Result<Tally, Error>,
) -> Result<Tally, Error> {
    if deed != Deed::Erase {
        return body(core);
    }
    let set = |core: &Core, word: bool| core.conn.pragma_update(None, "secure_delete", word);
    set(core, true).map_err(not_stored)?;
    let answer = body(core);
    set(core, false).map_err(not_stored)?;
    answer
}

/// The state of a task of which a copy may be stored.
fn copyable(core: &Core, id: TaskId) -> Result<State, Error> {
    let before = read(core, id)?;
    let awaited = before.ties.as_ref().is_some_and(|ties| ties.awaited);
    let copied = Copied {
        id,
        state: before.state,
        reason: before.reason,
        ties: before.ties.as_ref(),
        is_member: before.is_member,
        is_awaited: awaited && edges::is_awaited(&core.conn, id.row())?,
    };
    copied.refusal().map_or(Ok(before.state), Err)
}

/// Stores a task in the place of another that has this state.
fn put_in_place(
    core: &mut Core,
    now: Timestamp,
    (id, state): (TaskId, State),
    new: &mut [Insert],
) -> Result<(), Error> {
    blocks::store_all(core, new)?;
    if !state.is_final() && state != State::Running {
        let cancelled = cancel::cancel(core, now, id)?;
        debug_assert_eq!(cancelled, Cancelled::Now, "it has not started");
    }
    Ok(())
}

/// Stores copies in the place of those that still pass the filter.
fn replace_each(
    core: &mut Core,
    now: Timestamp,
    filter: &Filter,
    copies: &[(i64, Option<NewTask>)],
) -> Result<Tally, Error> {
    let began = Instant::now();
    let mut slice = Tally::default();
    for (row, copy) in copies {
        if slice.seen > 0 && began.elapsed() >= SLICE {
            break;
        }
        slice.seen += 1;
        let found = query::still_passes(&core.conn, filter, *row).map_err(not_stored)?;
        let (Some(id), Some(copy)) = (found, copy) else {
            slice.left += u64::from(found.is_some());
            continue;
        };
        match copyable(core, id) {
            Err(error) if is_damaged_row(&error) && !core.lost_transaction() => slice.left += 1,
            state => {
                let stored = state.and_then(|state| replace_by_copy(core, now, (id, state), copy));
                slice.count_copy(stored)?;
            }
        }
    }
    Ok(slice)
}

fn replace_by_copy(
    core: &mut Core,
    now: Timestamp,
    (id, state): (TaskId, State),
    copy: &NewTask,
) -> Result<TaskId, Error> {
    // Nobody offers a place for it, so the slice's own level holds.
    let mut new = [Insert::new(copy.clone(), now, None, Durability::Normal)];
    put_in_place(core, now, (id, state), &mut new).map_err(Error::of_one)?;
    let [new] = new;
    Ok(new.into_stored()?.id)
}

const PAUSE: &str = "INSERT INTO litework_rule (scope, name, paused_at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (scope, name) DO UPDATE SET paused_at = excluded.paused_at \
     WHERE paused_at IS NULL";

/// Served by the primary key of the rules.
const RESUME: &str = "UPDATE litework_rule SET paused_at = NULL \
     WHERE scope = ?1 AND name = ?2 AND paused_at IS NOT NULL";

/// A rule that says nothing any more. Served by the primary key of the rules.
const DROP_EMPTY: &str = "DELETE FROM litework_rule WHERE scope = ?1 AND name = ?2 \
     AND paused_at IS NULL AND max_running IS NULL AND rate_count IS NULL \
     AND closed_until IS NULL AND edited_at IS NULL";

fn pause(core: &mut Core, scope: &Scope, since: Option<Timestamp>) -> Result<bool, Error> {
    let (word, name) = (scope.word(), scope.name());
    let changed = match since {
        Some(at) => core
            .conn
            .prepare_cached(PAUSE)
            .and_then(|mut pause| pause.execute((word, name, at.as_millis()))),
        None => core.conn.prepare_cached(RESUME).and_then(|mut end| end.execute((word, name))),
    };
    let changed = changed.map_err(not_stored)? > 0;
    if since.is_none() {
        core.conn
            .prepare_cached(DROP_EMPTY)
            .and_then(|mut delete| delete.execute((word, name)))
            .map_err(not_stored)?;
    }
    if changed {
        core.rules.forget();
        core.effects.work = true;
        // Whoever was held back by it may fire.
        Rows::new(&core.conn).note_edition()?;
        core.effects.schedules = true;
    }
    Ok(changed)
}

impl Operate for Sqlite {
    fn act(&self, now: Timestamp, id: TaskId, deed: Deed) -> Result<(Done, Over), Error> {
        self.transaction(self.durability, |core| telling(core, |core| act(core, now, id, deed)))
    }

    fn rows(&self, filter: &Filter, after: i64, last: i64) -> Result<Vec<i64>, Error> {
        self.read("rows", |conn| query::rows(conn, filter, after, last))
    }

    fn act_on(
        &self,
        now: Timestamp,
        deed: Deed,
        filter: &Filter,
        rows: &[i64],
    ) -> Result<(Tally, Over), Error> {
        self.transaction(self.durability, |core| {
            telling(core, |core| {
                act_thoroughly(core, deed, |core| act_on(core, now, deed, filter, rows))
            })
        })
    }

    fn template(&self, id: TaskId) -> Result<Option<NewTask>, Error> {
        self.read("a task", |conn| query::template(conn, id))
    }

    fn replace(&self, now: Timestamp, id: TaskId, with: NewTask) -> Result<(Stored, Over), Error> {
        let mut new = [Insert::new(with, now, None, self.durability)];
        let level = new[0].level();
        let replaced = self.transaction(level, |core| {
            telling(core, |core| {
                let state = copyable(core, id)?;
                put_in_place(core, now, (id, state), &mut new)
            })
        });
        let ((), over) = replaced.map_err(Error::of_one)?;
        let [new] = new;
        Ok((new.into_stored()?, over))
    }

    fn replace_each(
        &self,
        now: Timestamp,
        filter: &Filter,
        copies: &[(i64, Option<NewTask>)],
    ) -> Result<(Tally, Over), Error> {
        self.transaction(self.durability, |core| {
            telling(core, |core| replace_each(core, now, filter, copies))
        })
    }

    fn pause(&self, scope: &Scope, since: Option<Timestamp>) -> Result<bool, Error> {
        self.transaction(self.durability, |core| {
            let changed = pause(core, scope, since)?;
            audit::note(core, &changed)?;
            Ok(changed)
        })
    }

    fn paused(&self) -> Result<Vec<Paused>, Error> {
        self.read("what is paused", why::paused)
    }

    fn set_limits(
        &self,
        now: Timestamp,
        scope: &Scope,
        limits: Option<Limits>,
    ) -> Result<(), Error> {
        self.transaction(self.durability, |core| {
            rules::set(&core.conn, now, scope, limits)?;
            core.rules.forget();
            core.effects.work = true;
            audit::note(core, &())
        })
    }

    fn limits(&self) -> Result<Vec<Limited>, Error> {
        self.read("limits", |conn| Ok(rules::limits(conn)?))
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.read("workers", |conn| presence::workers(conn, &self.inner))
    }

    fn set_threads(&self, owner: i64, threads: usize) -> Result<(), Error> {
        self.transaction(Durability::Normal, |core| {
            member::set_threads(core, owner, threads)?;
            audit::note(core, &())
        })
    }

    fn facts(&self, now: Timestamp, id: TaskId) -> Result<Option<Facts>, Error> {
        self.read("why", |conn| why::facts(conn, &self.inner, now, id))
    }

    fn lanes_with_work(&self, now: Timestamp) -> Result<Vec<LaneName>, Error> {
        self.read("ready work", |conn| why::lanes_with_work(conn, now))
    }

    fn audit(&self, before: i64, size: usize) -> Result<Vec<(i64, AuditRecord)>, Error> {
        self.read("the audit", |conn| audit::read(conn, before, size))
    }

    fn wipe(&self) -> Result<bool, Error> {
        self.check_usable()?;
        wipe::empty_log(&self.inner.path)
    }
}
