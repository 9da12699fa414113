//! Enqueue: one row a task, stored scheduled, ready, or already running.
//!
//! A task that is due now, for which its own process has room, and before which no better task is
//! ready, is inserted as running and handed over: two row writes for its whole life instead of
//! three, and no entry in the index of ready work. That no better task waits is checked in the
//! inserting transaction.

use std::sync::{Arc, LazyLock};

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::core::{Core, Doubt, LastKey};
use super::due::next_due;
use super::edges::{Bonds, Verdict};
use super::errors::not_stored;
use super::gates::{self, Pass};
use super::payload::{INLINE_BYTES_MAX, INSERT_PAYLOAD};
use super::skip::record_skip;
use super::telling;
use super::unique::{self, Met};
use crate::backend::{Offer, Room};
use crate::error::Error;
use crate::id::TaskId;
use crate::json;
use crate::options::Durability;
use crate::quota::Quota;
use crate::record::{Lease, NewTask, Stored};
use crate::rule::Admits;
use crate::state::{Reason, State, rank};
use crate::ties::Extra;
use crate::time::Timestamp;
use crate::unique::{Claim, Held};

pub(super) const INSERT: &str = "INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, \
     enqueued_at, started_at, expires_at, attempt, attempts_max, at_most_once, worker, key, tags, \
     meta, options, arguments) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The same for a task that is not plain.
const INSERT_EXTRA: &str = "INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, \
     enqueued_at, started_at, expires_at, attempt, attempts_max, at_most_once, worker, key, tags, \
     meta, options, arguments, finished_at, owner, name, trace, unique_key, wait_key, ties, batch) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The same for a task with a unique key: where another has that, no row is written.
static INSERT_FIRST: LazyLock<String> = LazyLock::new(|| {
    [INSERT_EXTRA, " ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"].concat()
});

/// Served by the primary key. Apart from [`INSERT`], so that a plain task without a trace binds no column
/// more.
const TRACE: &str = "UPDATE litework_task SET trace = ?2 WHERE id = ?1";

/// Values of [`INSERT`].
const PLAIN_COLUMNS: usize = 19;

/// Served by the unique index `litework_task_key`.
const FIND_KEY: &str = "SELECT t.id, t.tag, t.state, t.due_at, l.kind, \
     coalesce(t.arguments, (SELECT body FROM litework_payload WHERE id = t.id * 2)) \
     FROM litework_task t JOIN litework_lane l ON l.id = t.lane WHERE t.key = ?1";

/// One task on its way into the file.
pub(super) struct Insert {
    pub(super) task: NewTask,
    pub(super) now: Timestamp,
    pub(super) offer: Option<Arc<dyn Offer>>,
    durability: Durability,
    /// Whether a place of the offer is taken for it.
    reserved: bool,
    pub(super) fate: Fate,
    /// What it waits for and who sums it up; none where it stands by itself.
    bonds: Option<Bonds>,
}

/// What this transaction made of an insert.
#[derive(Default)]
pub(super) enum Fate {
    #[default]
    Open,
    /// The task that has its key.
    Existing(Stored),
    Placed(Placed),
    Refused(Error),
}

/// An insert that is not refused.
enum Admitted {
    Existing(Stored),
    /// `tries`: the task that may have its unique key was not looked for.
    New {
        lane: usize,
        placed: Placed,
        tries: bool,
    },
}

/// Where a new task begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// For later, as the call says or as its rate admits it.
    Scheduled(Reason),
    /// At its gate.
    Waiting(Reason),
    Ready,
    HandedOver {
        owner: i64,
        fence: Option<i64>,
    },
    /// It would start now, but another task holds its lock; or one of an earlier slot has not ended.
    Skipped {
        holder: TaskId,
        reason: Reason,
    },
    /// It ends with one before it.
    Ended(State),
}

/// What is known of a new task before it is written.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) start: Start,
    /// The number of its lane in the file.
    pub(super) lane: i64,
    pub(super) rank: i64,
    pub(super) tag: i64,
    pub(super) row: i64,
}

impl Insert {
    pub(super) fn new(
        task: NewTask,
        now: Timestamp,
        offer: Option<Arc<dyn Offer>>,
        durability: Durability,
    ) -> Self {
        Self { task, now, offer, durability, reserved: false, fate: Fate::Open, bonds: None }
    }

    /// The level its commit needs: the start of an at-most-once task must be on disk before its
    /// body runs.
    pub(super) fn level(&self) -> Durability {
        let strict =
            self.task.at_most_once && self.offer.is_some() && !crate::fault::planted("flush_off");
        if strict { Durability::Full } else { self.durability }
    }

    /// After a rollback: the place is free again. A second call does nothing.
    pub(super) fn undo(&mut self) {
        if let (true, Some(offer)) = (std::mem::take(&mut self.reserved), &self.offer) {
            offer.release(&self.task.queue, self.task.arguments.len());
        }
    }

    /// What it would run under if its commit happened after all.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        let Fate::Placed(Placed { start: Start::HandedOver { owner, .. }, row, tag, .. }) =
            self.fate
        else {
            return None;
        };
        let lease = Lease { row, attempt: 1, owner };
        Some(Doubt { id: TaskId::new(row, tag), lease, claimed_at: self.now })
    }

    /// Why it was refused, if it was.
    pub(super) fn take_refusal(&mut self) -> Option<Error> {
        match std::mem::take(&mut self.fate) {
            Fate::Refused(error) => Some(error),
            fate => {
                self.fate = fate;
                None
            }
        }
    }

    /// Whether nothing can refuse it but what refuses all.
    pub(super) fn is_plain(&self, core: &mut Core) -> bool {
        let limited = self.task.quota != Quota::default();
        !limited
            && self.task.key.is_none()
            && self.task.extra.is_none()
            && core.lanes.find(&self.task.queue, &self.task.kind).is_some()
    }

    /// Writes it alone. It may be refused before its row is written; an error afterwards, or one that
    /// has ended the transaction, concerns all.
    ///
    /// `before` are those of the same call that are stored already.
    pub(super) fn store(&mut self, core: &mut Core, before: &[Self]) -> Result<(), Error> {
        if !self.try_store(core, before, false)? {
            // What becomes of it depends on the task that has its unique key.
            self.undo();
            self.try_store(core, before, true)?;
        }
        Ok(())
    }

    /// False where no row was written, as another has its unique key and was not looked for.
    fn try_store(&mut self, core: &mut Core, before: &[Self], looks: bool) -> Result<bool, Error> {
        let admitted = self.admit(core, before, looks);
        if admitted.is_err() {
            self.undo();
        }
        match admitted {
            Err(error) if core.lost_transaction() => return Err(error),
            Err(error) => self.fate = Fate::Refused(error),
            Ok(Admitted::Existing(stored)) => self.fate = Fate::Existing(stored),
            Ok(Admitted::New { lane, placed, tries }) => {
                match self.write(core, lane, placed, tries) {
                    // The planted defect takes it for a refusal of this one.
                    Err(error) if crate::fault::planted("autocommit_check_off") => {
                        self.undo();
                        self.fate = Fate::Refused(error);
                    }
                    written => return written,
                }
            }
        }
        Ok(true)
    }

    /// Whether the index is to say if its unique key is free. The token of a rate could not be given back.
    fn tries(&self, core: &mut Core) -> bool {
        let may_start = self.offer.is_some();
        unique::can_try(&self.task, may_start)
            && (!may_start || core.rules.are_none())
            && core.lanes.find(&self.task.queue, &self.task.kind).is_some()
    }

    fn admit(&mut self, core: &mut Core, before: &[Self], looks: bool) -> Result<Admitted, Error> {
        self.find_bonds(&core.conn, before)?;
        if let Some(existing) = self.existing(&core.conn)? {
            return Ok(Admitted::Existing(existing));
        }
        if self.offer.is_some() {
            // What runs is counted in the file, where all that was stored before it stands.
            core.rules.prepare(&core.conn)?;
        }
        let tries = !looks && core.last_key == LastKey::Free && self.tries(core);
        if let Some(existing) = if tries { None } else { self.meet(core)? } {
            return Ok(Admitted::Existing(existing));
        }
        let lane = core.lanes.of(&core.conn, &self.task.queue, &self.task.kind)?;
        for follow in self.task.follows() {
            // Its end must not fail for want of a lane.
            let (queue, kind) = (follow.queue.as_str().into(), follow.kind.as_str().into());
            core.lanes.of(&core.conn, &queue, &kind)?;
        }
        let placed = self.place(core, lane)?;
        let waits = !placed.start.is_over() && placed.start.owner().is_none();
        let refusal = core.lanes.waiting.refusal(&core.conn, &self.task, waits);
        let refusal = refusal.map_err(not_stored)?;
        refusal.map_or(Ok(Admitted::New { lane, placed, tries }), Err)
    }

    /// Finds what it waits for, and its batch.
    pub(super) fn find_bonds(&mut self, conn: &Connection, before: &[Self]) -> Result<(), Error> {
        let Some(extra) = self.task.extra.as_ref().filter(|extra| extra.is_linked()) else {
            return Ok(());
        };
        let item = |number: usize| match before.get(number)?.fate {
            Fate::Placed(placed) => Some((placed.row, placed.start.state().0)),
            _ => None,
        };
        let batch = extra.member_of.and_then(item).map(|(row, _)| row);
        self.bonds = Some(Bonds::find(conn, &extra.after, batch, item)?);
        Ok(())
    }

    /// Whether it is a batch whose key belongs to one that was there already.
    pub(super) fn is_existing_batch(&self) -> bool {
        self.task.is_batch() && matches!(self.fate, Fate::Existing(_))
    }

    /// What becomes of the call where there is a task with its unique key. A flow shares none of its
    /// members with others.
    fn meet(&self, core: &mut Core) -> Result<Option<Stored>, Error> {
        let Some(claim) = self.task.claim() else { return Ok(None) };
        if self.is_member() {
            unique::refuse_taken(&core.conn, self.now, claim)?;
            return Ok(None);
        }
        let met = unique::meet(&core.conn, self.now, core.step_ms, &self.task, claim);
        core.last_key = if let Ok(None) = met { LastKey::Free } else { LastKey::Taken };
        let Some(Met { stored, touched }) = met? else { return Ok(None) };
        if let Some(touched) = touched {
            core.note_touched(touched)?;
        }
        Ok(Some(stored))
    }

    pub(super) fn is_member(&self) -> bool {
        self.bonds.as_ref().is_some_and(|bonds| bonds.batch.is_some())
    }

    /// False where another has its unique key, and was not looked for.
    fn write(
        &mut self,
        core: &mut Core,
        lane: usize,
        placed: Placed,
        tries: bool,
    ) -> Result<bool, Error> {
        let placed = if !tries {
            self.write_row(&core.conn, placed)?
        } else if self.insert(&core.conn, &INSERT_FIRST, placed)? > 0 {
            self.write_rest(&core.conn, placed)?
        } else {
            return Ok(false);
        };
        if self.task.is_batch() {
            // It may have no member that is still to end.
            core.unsummed.insert(placed.row, self.now);
        }
        if placed.start.is_over() {
            core.effects.changed.push(placed.row);
            if !self.task.follows().is_empty() {
                core.stillborn.push((placed.row, self.now));
            }
        }
        self.note(core, lane, placed);
        self.fate = Fate::Placed(placed);
        Ok(true)
    }

    /// Writes its row alone, and what goes with that.
    pub(super) fn write_row(&self, conn: &Connection, placed: Placed) -> Result<Placed, Error> {
        let sql = if self.task.extra.is_some() { INSERT_EXTRA } else { INSERT };
        self.insert(conn, sql, placed)?;
        self.write_rest(conn, placed)
    }

    /// How many rows were written.
    fn insert(&self, conn: &Connection, sql: &str, placed: Placed) -> Result<usize, Error> {
        let mut insert = conn.prepare_cached(sql).map_err(not_stored)?;
        self.bind(&mut insert, 0, placed).map_err(not_stored)?;
        if let Some(extra) = &self.task.extra {
            self.bind_extra(&mut insert, extra, placed).map_err(not_stored)?;
        }
        insert.raw_execute().map_err(not_stored)
    }

    /// What goes with the row that was just written.
    fn write_rest(&self, conn: &Connection, mut placed: Placed) -> Result<Placed, Error> {
        placed.row = conn.last_insert_rowid();
        self.store_rest(conn, placed.row)?;
        if let Start::Skipped { holder, reason } = placed.start {
            record_skip(conn, placed.row, (holder, reason), self.now)?;
        }
        if let Some(bonds) = &self.bonds {
            bonds.store(conn, placed.row, self.now)?;
        }
        if let Some(steps) = self.task.extra.as_ref().and_then(|extra| extra.ties.steps) {
            telling::expect(conn, self.now, placed.row, steps).map_err(not_stored)?;
        }
        Ok(placed)
    }

    /// How it begins, but for its row.
    pub(super) fn place(&mut self, core: &mut Core, lane: usize) -> Result<Placed, Error> {
        let before = rank(self.task.due_at, self.task.priority, core.step_ms);
        let start = self.start(core, lane, before)?;
        let rank = rank(self.task.due_at, self.task.priority, core.step_ms);
        let tag = core.tags.next()?;
        Ok(Placed { start, lane: core.lanes.get(lane).id, rank, tag, row: 0 })
    }

    /// Remembers what it is to those that come after it.
    pub(super) fn note(&self, core: &mut Core, lane: usize, placed: Placed) {
        core.effects.stored(placed.lane, self.now);
        match placed.start {
            Start::Scheduled(_) => core.note_due(self.task.due_at),
            Start::Ready => core.lanes.note_ready(lane, (placed.rank, placed.row)),
            Start::Waiting(_)
            | Start::HandedOver { .. }
            | Start::Skipped { .. }
            | Start::Ended(_) => return,
        }
        core.effects.work = true;
    }

    /// What few plain tasks have, and what may be large.
    pub(super) fn store_rest(&self, conn: &Connection, row: i64) -> Result<(), Error> {
        if let (Some(trace), None) = (&self.task.trace, &self.task.extra) {
            conn.prepare_cached(TRACE)
                .and_then(|mut update| update.execute((row, trace)))
                .map_err(not_stored)?;
        }
        if self.task.arguments.len() > INLINE_BYTES_MAX {
            conn.prepare_cached(INSERT_PAYLOAD)
                .and_then(|mut insert| insert.execute((row * 2, &self.task.arguments)))
                .map_err(not_stored)?;
        }
        Ok(())
    }

    /// The task that has the key already, if its call was the same.
    pub(super) fn existing(&self, conn: &Connection) -> Result<Option<Stored>, Error> {
        let Some(key) = &self.task.key else { return Ok(None) };
        if crate::fault::planted("unique_off") {
            return Ok(None);
        }
        let found = conn
            .prepare_cached(FIND_KEY)
            .and_then(|mut find| {
                find.query_row([key], |row| {
                    let id = TaskId::new(row.get(0)?, row.get(1)?);
                    let state: String = row.get(2)?;
                    Ok((id, state, row.get(3)?, row.get::<_, String>(4)?, row.get::<_, String>(5)?))
                })
                .optional()
            })
            .map_err(not_stored)?;
        let Some((id, state, due_at, kind, arguments)) = found else { return Ok(None) };
        if *kind != *self.task.kind || !json::same(&arguments, &self.task.arguments) {
            return Err(Error::KeyConflict { existing: id });
        }
        let state = State::from_word(&state).unwrap_or(State::Failed);
        let due_at = Timestamp::clamped(due_at);
        Ok(Some(Stored { id, state, due_at, existing: true, claimed: None }))
    }

    /// Where it begins on account of others, before anything else is asked.
    pub(super) fn start_by_bonds(&self) -> Option<Start> {
        if let Some(holder) = self.task.extra.as_ref().and_then(|extra| extra.overlaps) {
            return Some(Start::Skipped { holder, reason: Reason::Overlap });
        }
        if self.task.is_batch() {
            return Some(Start::Waiting(Reason::Parents));
        }
        match self.bonds.as_ref()?.verdict() {
            Verdict::Free => None,
            Verdict::Blocked => Some(Start::Waiting(Reason::Parents)),
            Verdict::Doomed(state, _) => Some(Start::Ended(state)),
        }
    }

    fn start(&mut self, core: &mut Core, lane: usize, rank: i64) -> Result<Start, Error> {
        if let Some(start) = self.start_by_bonds() {
            return Ok(start);
        }
        if self.task.due_at > self.now {
            return Ok(Start::Scheduled(Reason::Delayed));
        }
        let mut holder = None;
        if let Some((key, gate)) = self.task.gate() {
            match gates::pass_new(&core.conn, self.now, key, gate)? {
                Pass::Open => {}
                Pass::Held(by) if gate.skips() => holder = by,
                Pass::Held(_) => return Ok(Start::Waiting(gate.reason())),
                Pass::Later(opens_at) => {
                    self.task.due_at = opens_at;
                    return Ok(Start::Scheduled(Reason::Rate));
                }
            }
        }
        if !self.takes_place(core, lane, rank)? {
            return Ok(Start::Ready);
        }
        if let Some(holder) = holder {
            self.undo();
            return Ok(Start::Skipped { holder, reason: Reason::Locked });
        }
        let fence = match self.task.gate() {
            Some((key, gate)) => gates::passed(&core.conn, &mut core.fences, self.now, key, gate)?,
            None => None,
        };
        if !core.rules.are_none() {
            core.rules.started(&self.task.queue, &self.task.kind, self.now);
            core.rules.write(&core.conn)?;
        }
        let owner = self.offer.as_ref().map_or(0, |offer| offer.owner());
        Ok(Start::HandedOver { owner, fence })
    }

    /// Takes a place of the offer, where there is one and nobody goes before it. The rules are prepared.
    fn takes_place(&mut self, core: &mut Core, lane: usize, rank: i64) -> Result<bool, Error> {
        let Some(offer) = &self.offer else { return Ok(false) };
        if !core.lanes.serves(lane, &**offer) {
            return Ok(false);
        }
        let (queue, kind) = (&self.task.queue, &self.task.kind);
        if core.rules.admit(queue, kind, self.now) != Admits::Yes {
            return Ok(false);
        }
        let scarce = self.task.gate().is_some() || core.rules.are_scarce(queue, kind);
        if scarce && !offer.is_free() || self.task.at_most_once && !offer.begins_next() {
            return Ok(false);
        }
        let in_order = offer.in_order() && !crate::fault::planted("rank_off");
        if in_order && !is_next(core, self.now, &**offer, rank)? {
            return Ok(false);
        }
        let room = offer.reserve(queue, kind, self.task.arguments.len());
        self.reserved = room == Room::Taken;
        Ok(self.reserved)
    }

    /// Binds one row of [`INSERT`], the `number`th of its block.
    pub(super) fn bind(
        &self,
        insert: &mut CachedStatement<'_>,
        number: usize,
        placed: Placed,
    ) -> rusqlite::Result<()> {
        let task = &self.task;
        let (state, reason) = placed.start.state();
        let owner = placed.start.owner();
        let inline = (task.arguments.len() <= INLINE_BYTES_MAX).then_some(&task.arguments);
        let row = rusqlite::params![
            placed.tag,
            placed.lane,
            state.as_str(),
            reason.map(Reason::as_str),
            placed.rank,
            task.priority,
            task.due_at.as_millis(),
            self.now.as_millis(),
            owner.map(|_| self.now.as_millis()),
            task.expires_at.map(Timestamp::as_millis),
            i64::from(owner.is_some()),
            task.attempts_max,
            task.at_most_once,
            owner,
            task.key,
            task.tags,
            task.meta,
            task.options,
            inline,
        ];
        let first = number * row.len() + 1;
        row.iter()
            .enumerate()
            .try_for_each(|(column, value)| insert.raw_bind_parameter(first + column, value))
    }

    /// Binds what [`INSERT_EXTRA`] has beyond [`INSERT`].
    fn bind_extra(
        &self,
        insert: &mut CachedStatement<'_>,
        extra: &Extra,
        placed: Placed,
    ) -> rusqlite::Result<()> {
        let start = placed.start;
        let starts = matches!(start, Start::HandedOver { .. });
        let covers = |claim: &&Claim| !(starts && claim.held == Held::Start);
        let ended = start.is_over();
        // It does not stand at its gate before those that it waits for have ended.
        let wait_key = extra.wait_key.as_ref().filter(|_| start != Start::Waiting(Reason::Parents));
        let unique_key = extra.claim.as_ref().filter(covers).filter(|_| !ended);
        let row = rusqlite::params![
            ended.then(|| self.now.as_millis()),
            extra.owner,
            extra.name,
            self.task.trace,
            unique_key.map(|claim| &claim.key),
            wait_key,
            extra.ties.text(),
            self.bonds.as_ref().and_then(|bonds| bonds.batch),
        ];
        row.iter()
            .zip(PLAIN_COLUMNS + 1..)
            .try_for_each(|(value, column)| insert.raw_bind_parameter(column, value))
    }
}

impl Start {
    pub(super) fn state(self) -> (State, Option<Reason>) {
        match self {
            Self::Scheduled(reason) => (State::Scheduled, Some(reason)),
            Self::Waiting(reason) => (State::Waiting, Some(reason)),
            Self::Ready => (State::Ready, None),
            Self::HandedOver { .. } => (State::Running, None),
            Self::Skipped { reason, .. } => (State::Skipped, Some(reason)),
            Self::Ended(state) => (state, Some(Reason::Parent)),
        }
    }

    /// Whether it ends where it begins.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Skipped { .. } | Self::Ended(_))
    }

    fn owner(self) -> Option<i64> {
        if let Self::HandedOver { owner, .. } = self { Some(owner) } else { None }
    }
}

/// Whether nothing that is ready or due goes before a new task of this rank. What is due is not yet in
/// order, so the claim decides.
fn is_next(core: &mut Core, now: Timestamp, offer: &dyn Offer, rank: i64) -> Result<bool, Error> {
    if next_due(core)?.is_some_and(|at| at <= now) {
        return Ok(false);
    }
    let Core { conn, lanes, rules, .. } = core;
    lanes
        .is_next(conn, offer, rank, |queue, kind| rules.admit(queue, kind, now))
        .map_err(not_stored)
}
