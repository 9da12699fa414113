//! Enqueue: one row a task, stored scheduled, ready, or already running.
//!
//! A task that is due now, for which its own process has room, and before which no better task is
//! ready, is inserted as running and handed over: two row writes for its whole life instead of
//! three, and no entry in the index of ready work. That no better task waits is checked in the
//! inserting transaction.
//!
//! An insert is one statement, so a refused one leaves nothing behind.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::core::{Core, not_stored};
use super::lanes::{LANES_MAX, too_many_lanes};
use crate::backend::{Offer, Room};
use crate::error::Error;
use crate::id::TaskId;
use crate::json;
use crate::options::Durability;
use crate::record::{Claimed, Lease, NewTask, Stored};
use crate::state::{State, rank};
use crate::time::Timestamp;

/// Arguments and results over this many bytes live in `litework_payload`.
pub(super) const INLINE_BYTES_MAX: usize = 2 * 1024;

const INSERT: &str = "INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, \
     enqueued_at, started_at, expires_at, attempt, attempts_max, at_most_once, worker, key, tags, \
     meta, options, arguments) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

pub(super) const INSERT_PAYLOAD: &str =
    "INSERT OR REPLACE INTO litework_payload (id, body) VALUES (?1, ?2)";

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
}

/// Where a new task begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Scheduled,
    Ready,
    HandedOver { owner: i64 },
}

impl Insert {
    pub(super) fn new(
        task: NewTask,
        now: Timestamp,
        offer: Option<Arc<dyn Offer>>,
        durability: Durability,
    ) -> Self {
        Self { task, now, offer, durability, reserved: false }
    }

    /// The level its commit needs: the start of an at-most-once task must be on disk before its
    /// body runs.
    pub(super) fn level(&self) -> Durability {
        let strict = self.task.at_most_once && self.offer.is_some();
        if strict { Durability::Full } else { self.durability }
    }

    /// After a rollback: the place is free again. A second call does nothing.
    pub(super) fn undo(&mut self) {
        if let (true, Some(offer)) = (std::mem::take(&mut self.reserved), &self.offer) {
            offer.release(&self.task.queue, self.task.arguments.len());
        }
    }

    pub(super) fn run(&mut self, core: &mut Core) -> Result<Stored, Error> {
        let stored = self.store(core);
        if stored.is_err() {
            self.undo();
        }
        stored
    }

    fn store(&mut self, core: &mut Core) -> Result<Stored, Error> {
        if let Some(existing) = self.existing(&core.conn)? {
            return Ok(existing);
        }
        let lane = core.lanes.of(&core.conn, &self.task.queue, &self.task.kind)?;
        let rank = rank(self.task.due_at, self.task.priority, core.step_ms);
        let start = self.start(core, lane, rank)?;
        let tag = core.tags.next()?;
        let lane_id = core.lanes.get(lane).id;
        let mut insert = core.conn.prepare_cached(INSERT).map_err(not_stored)?;
        let row = self.insert(&mut insert, start, lane_id, rank, tag).map_err(not_stored)?;
        drop(insert);
        self.store_payload(&core.conn, row)?;
        match start {
            Start::Scheduled => core.note_due(self.task.due_at),
            Start::Ready => core.lanes.note_ready(lane, (rank, row)),
            Start::HandedOver { .. } => {}
        }
        core.effects.work |= !matches!(start, Start::HandedOver { .. });
        Ok(self.stored(start, TaskId::new(row, tag), rank))
    }

    fn store_payload(&self, conn: &Connection, row: i64) -> Result<(), Error> {
        if self.task.arguments.len() > INLINE_BYTES_MAX {
            conn.prepare_cached(INSERT_PAYLOAD)
                .and_then(|mut insert| insert.execute((row * 2, &self.task.arguments)))
                .map_err(not_stored)?;
        }
        Ok(())
    }

    /// The task that has the key already, if its call was the same.
    fn existing(&self, conn: &Connection) -> Result<Option<Stored>, Error> {
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

    fn start(&mut self, core: &mut Core, lane: usize, rank: i64) -> Result<Start, Error> {
        if self.task.due_at > self.now {
            return Ok(Start::Scheduled);
        }
        let Some(offer) = &self.offer else { return Ok(Start::Ready) };
        if !core.lanes.serves(lane, &**offer) {
            return Ok(Start::Ready);
        }
        let in_order = offer.in_order() && !crate::fault::planted("rank_off");
        if in_order && !core.lanes.is_next(&core.conn, &**offer, rank).map_err(not_stored)? {
            return Ok(Start::Ready);
        }
        let room = offer.reserve(&self.task.queue, &self.task.kind, self.task.arguments.len());
        self.reserved = room == Room::Taken;
        Ok(if self.reserved { Start::HandedOver { owner: offer.owner() } } else { Start::Ready })
    }

    fn insert(
        &self,
        insert: &mut CachedStatement<'_>,
        start: Start,
        lane: i64,
        rank: i64,
        tag: i64,
    ) -> rusqlite::Result<i64> {
        let task = &self.task;
        let (state, reason, owner) = match start {
            Start::Scheduled => (State::Scheduled, Some("delayed"), None),
            Start::Ready => (State::Ready, None, None),
            Start::HandedOver { owner } => (State::Running, None, Some(owner)),
        };
        let inline = (task.arguments.len() <= INLINE_BYTES_MAX).then_some(&task.arguments);
        insert.insert(rusqlite::params![
            tag,
            lane,
            state.as_str(),
            reason,
            rank,
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
        ])
    }

    fn stored(&mut self, start: Start, id: TaskId, rank: i64) -> Stored {
        let task = &mut self.task;
        let (state, claimed) = match start {
            Start::Scheduled => (State::Scheduled, None),
            Start::Ready => (State::Ready, None),
            Start::HandedOver { owner } => (
                State::Running,
                Some(Claimed {
                    lease: Lease { row: id.row(), attempt: 1, owner },
                    id,
                    kind: Arc::clone(&task.kind),
                    queue: Arc::clone(&task.queue),
                    rank,
                    priority: task.priority,
                    attempts_max: task.attempts_max,
                    crashes: 0,
                    at_most_once: task.at_most_once,
                    started_at: self.now,
                    options: task.options.clone(),
                    // A replay of this insert would need them, so they are not moved out.
                    arguments: task.arguments.clone(),
                }),
            ),
        };
        Stored { id, state, due_at: task.due_at, existing: false, claimed }
    }
}

/// The 64-bit tags of ids, from the operating system's generator, fetched in blocks.
pub(super) struct Tags {
    block: [u8; 1024],
    used: usize,
}

impl Default for Tags {
    fn default() -> Self {
        Self { block: [0; 1024], used: 1024 }
    }
}

impl Tags {
    fn next(&mut self) -> Result<i64, Error> {
        if self.used + 8 > self.block.len() {
            getrandom::fill(&mut self.block).map_err(|error| Error::NotStored {
                reason: format!("the system gives no random numbers: {error}"),
                source: None,
            })?;
            self.used = 0;
        }
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        Ok(i64::from_ne_bytes(tag))
    }
}

/// Stores one task through a connection that is not ours; it never hands over.
pub(super) fn insert_in(tx: &Connection, task: &NewTask, now: Timestamp) -> Result<Stored, Error> {
    let mut insert = Insert::new(task.clone(), now, None, Durability::Normal);
    if let Some(existing) = insert.existing(tx)? {
        return Ok(existing);
    }
    let step_ms = tx
        .query_row("SELECT value FROM litework_meta WHERE name = 'step_ms'", [], |row| row.get(0))
        .map_err(not_stored)?;
    let lane = lane_in(tx, &task.queue, &task.kind)?;
    let rank = rank(task.due_at, task.priority, step_ms);
    let start = if task.due_at > now { Start::Scheduled } else { Start::Ready };
    let tag = Tags::default().next()?;
    let row = tx
        .prepare_cached(INSERT)
        .and_then(|mut statement| insert.insert(&mut statement, start, lane, rank, tag))
        .map_err(not_stored)?;
    insert.store_payload(tx, row)?;
    Ok(insert.stored(start, TaskId::new(row, tag), rank))
}

/// The number of a lane, made if it is new, without the memory of our own connection.
fn lane_in(tx: &Connection, queue: &str, kind: &str) -> Result<i64, Error> {
    let find = || {
        tx.prepare_cached("SELECT id FROM litework_lane WHERE queue = ?1 AND kind = ?2")
            .and_then(|mut find| find.query_row((queue, kind), |row| row.get(0)).optional())
            .map_err(not_stored)
    };
    if let Some(lane) = find()? {
        return Ok(lane);
    }
    let lanes: i64 = tx
        .query_row("SELECT count(*) FROM litework_lane", [], |row| row.get(0))
        .map_err(not_stored)?;
    if usize::try_from(lanes).unwrap_or(usize::MAX) >= LANES_MAX {
        return Err(too_many_lanes());
    }
    tx.execute("INSERT INTO litework_lane (queue, kind) VALUES (?1, ?2)", (queue, kind))
        .map_err(not_stored)?;
    Ok(tx.last_insert_rowid())
}
