//! Enqueue: one row a task, stored scheduled, ready, or already running.
//!
//! A task that is due now, for which its own process has room, and before which no better task is
//! ready, is inserted as running and handed over: two row writes for its whole life instead of
//! three, and no entry in the index of ready work. That no better task waits is checked in the
//! inserting transaction.
//!
//! Inserts that come together are written in blocks of 32 and 8 rows, which costs little more than half
//! of one statement for each. A task with a key, or of a lane that is new, is written alone, as it may
//! be refused without the others.

use std::sync::{Arc, LazyLock};

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::core::{Core, Doubt};
use super::errors::not_stored;
use super::lanes::{LANES_MAX, too_many_lanes};
use super::promote::next_due;
use super::tags::Tags;
use super::waiting::Waiting;
use crate::backend::{Offer, Room};
use crate::error::Error;
use crate::id::TaskId;
use crate::json;
use crate::options::Durability;
use crate::quota::Quota;
use crate::record::{Claimed, Lease, NewTask, Stored};
use crate::state::{State, rank};
use crate::time::Timestamp;

/// Arguments and results over this many bytes live in `litework_payload`.
pub(super) const INLINE_BYTES_MAX: usize = 2 * 1024;

const INSERT: &str = "INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, \
     enqueued_at, started_at, expires_at, attempt, attempts_max, at_most_once, worker, key, tags, \
     meta, options, arguments) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Rows of a block, greatest first; few under test, so that random histories meet blocks of all kinds.
const BLOCKS: [usize; 2] = if cfg!(test) { [4, 2] } else { [32, 8] };

/// [`INSERT`] for as many rows as each of [`BLOCKS`] has.
static INSERT_BLOCK: LazyLock<[String; 2]> = LazyLock::new(|| {
    let (_, row) = INSERT.split_once("VALUES ").unwrap_or_default();
    BLOCKS.map(|rows| INSERT.to_owned() + &format!(", {row}").repeat(rows - 1))
});

/// Served by the primary key.
const LAST: &str = "SELECT id FROM litework_task WHERE id <= ?1 ORDER BY id DESC LIMIT 1";

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
    fate: Fate,
}

/// What this transaction made of an insert.
#[derive(Default)]
enum Fate {
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
    New { lane: usize, placed: Placed },
}

/// Where a new task begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Scheduled,
    Ready,
    HandedOver { owner: i64 },
}

/// What is known of a new task before it is written.
#[derive(Clone, Copy)]
struct Placed {
    start: Start,
    /// The number of its lane in the file.
    lane: i64,
    rank: i64,
    tag: i64,
    row: i64,
}

impl Insert {
    pub(super) fn new(
        task: NewTask,
        now: Timestamp,
        offer: Option<Arc<dyn Offer>>,
        durability: Durability,
    ) -> Self {
        Self { task, now, offer, durability, reserved: false, fate: Fate::Open }
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

    /// What it would run under if its commit happened after all.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        let Fate::Placed(Placed { start: Start::HandedOver { owner }, row, tag, .. }) = self.fate
        else {
            return None;
        };
        let lease = Lease { row, attempt: 1, owner };
        Some(Doubt { id: TaskId::new(row, tag), lease, claimed_at: self.now })
    }

    /// Why it was refused, if it was.
    fn take_refusal(&mut self) -> Option<Error> {
        match std::mem::take(&mut self.fate) {
            Fate::Refused(error) => Some(error),
            fate => {
                self.fate = fate;
                None
            }
        }
    }

    /// Whether nothing can refuse it but what refuses all.
    fn is_plain(&self, core: &mut Core) -> bool {
        let limited = self.task.quota != Quota::default();
        !limited
            && self.task.key.is_none()
            && core.lanes.find(&self.task.queue, &self.task.kind).is_some()
    }

    /// Writes it alone. It may be refused before its row is written; an error afterwards, or one that
    /// has ended the transaction, concerns all.
    fn store(&mut self, core: &mut Core) -> Result<(), Error> {
        let admitted = self.admit(core);
        if admitted.is_err() {
            self.undo();
        }
        match admitted {
            Err(error) if core.lost_transaction() => return Err(error),
            Err(error) => self.fate = Fate::Refused(error),
            Ok(Admitted::Existing(stored)) => self.fate = Fate::Existing(stored),
            Ok(Admitted::New { lane, placed }) => {
                if let Err(error) = self.write(core, lane, placed) {
                    // The planted defect takes it for a refusal of this one.
                    if !crate::fault::planted("autocommit_check_off") {
                        return Err(error);
                    }
                    self.undo();
                    self.fate = Fate::Refused(error);
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self, core: &mut Core) -> Result<Admitted, Error> {
        if let Some(existing) = self.existing(&core.conn)? {
            return Ok(Admitted::Existing(existing));
        }
        let lane = core.lanes.of(&core.conn, &self.task.queue, &self.task.kind)?;
        let placed = self.place(core, lane)?;
        let waits = !matches!(placed.start, Start::HandedOver { .. });
        let refusal = core.lanes.waiting.refusal(&core.conn, &self.task, waits);
        let refusal = refusal.map_err(not_stored)?;
        refusal.map_or(Ok(Admitted::New { lane, placed }), Err)
    }

    fn write(&mut self, core: &mut Core, lane: usize, mut placed: Placed) -> Result<(), Error> {
        let mut insert = core.conn.prepare_cached(INSERT).map_err(not_stored)?;
        self.bind(&mut insert, 0, placed).map_err(not_stored)?;
        insert.raw_execute().map_err(not_stored)?;
        drop(insert);
        placed.row = core.conn.last_insert_rowid();
        self.store_payload(&core.conn, placed.row)?;
        self.note(core, lane, placed);
        self.fate = Fate::Placed(placed);
        Ok(())
    }

    /// How it begins, but for its row.
    fn place(&mut self, core: &mut Core, lane: usize) -> Result<Placed, Error> {
        let rank = rank(self.task.due_at, self.task.priority, core.step_ms);
        let start = self.start(core, lane, rank)?;
        let tag = core.tags.next()?;
        Ok(Placed { start, lane: core.lanes.get(lane).id, rank, tag, row: 0 })
    }

    /// Remembers what it is to those that come after it.
    fn note(&self, core: &mut Core, lane: usize, placed: Placed) {
        match placed.start {
            Start::Scheduled => core.note_due(self.task.due_at),
            Start::Ready => core.lanes.note_ready(lane, (placed.rank, placed.row)),
            Start::HandedOver { .. } => return,
        }
        core.effects.work = true;
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
        if in_order && !is_next(core, self.now, &**offer, rank)? {
            return Ok(Start::Ready);
        }
        let room = offer.reserve(&self.task.queue, &self.task.kind, self.task.arguments.len());
        self.reserved = room == Room::Taken;
        Ok(if self.reserved { Start::HandedOver { owner: offer.owner() } } else { Start::Ready })
    }

    /// Binds one row of [`INSERT`], the `number`th of its block.
    fn bind(
        &self,
        insert: &mut CachedStatement<'_>,
        number: usize,
        placed: Placed,
    ) -> rusqlite::Result<()> {
        let task = &self.task;
        let (state, reason, owner) = match placed.start {
            Start::Scheduled => (State::Scheduled, Some("delayed"), None),
            Start::Ready => (State::Ready, None, None),
            Start::HandedOver { owner } => (State::Running, None, Some(owner)),
        };
        let inline = (task.arguments.len() <= INLINE_BYTES_MAX).then_some(&task.arguments);
        let row = rusqlite::params![
            placed.tag,
            placed.lane,
            state.as_str(),
            reason,
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

    /// The answer, once the transaction is committed.
    pub(super) fn into_stored(self) -> Result<Stored, Error> {
        let placed = match self.fate {
            Fate::Placed(placed) => placed,
            Fate::Existing(stored) => return Ok(stored),
            Fate::Refused(error) => return Err(error),
            Fate::Open => {
                let reason = "its transaction ended before it".to_owned();
                return Err(Error::NotStored { reason, source: None });
            }
        };
        let task = self.task;
        let id = TaskId::new(placed.row, placed.tag);
        let (state, claimed) = match placed.start {
            Start::Scheduled => (State::Scheduled, None),
            Start::Ready => (State::Ready, None),
            Start::HandedOver { owner } => (
                State::Running,
                Some(Claimed {
                    lease: Lease { row: placed.row, attempt: 1, owner },
                    id,
                    kind: task.kind,
                    queue: task.queue,
                    rank: placed.rank,
                    priority: task.priority,
                    attempts_max: task.attempts_max,
                    crashes: 0,
                    at_most_once: task.at_most_once,
                    started_at: self.now,
                    options: task.options,
                    arguments: task.arguments,
                }),
            ),
        };
        Ok(Stored { id, state, due_at: task.due_at, existing: false, claimed })
    }
}

/// Writes these, each of which keeps what became of it; an error means that the transaction is to be
/// given up.
pub(super) fn store_each(core: &mut Core, inserts: &mut [Insert]) -> Result<(), Error> {
    let mut done = 0;
    while done < inserts.len() {
        done += store_next(core, &mut inserts[done..])?;
    }
    Ok(())
}

/// Writes these, up to the first that is refused.
pub(super) fn store_all(core: &mut Core, inserts: &mut [Insert]) -> Result<(), Error> {
    let mut done = 0;
    while done < inserts.len() {
        let written = store_next(core, &mut inserts[done..])?;
        if let Some(refused) = inserts[done].take_refusal() {
            return Err(refused.at(done));
        }
        done += written;
    }
    Ok(())
}

/// Writes the first, or the block that it begins; returns how many those were. Only one that is
/// written alone can be refused.
fn store_next(core: &mut Core, inserts: &mut [Insert]) -> Result<usize, Error> {
    if let Some(block) = block_of(core, inserts) {
        let rows = BLOCKS[block];
        if let Some(first) = free_rows(core, rows)? {
            store_block(core, &mut inserts[..rows], first, &INSERT_BLOCK[block])?;
            return Ok(rows);
        }
    }
    inserts[0].store(core)?;
    Ok(1)
}

/// The greatest block that those in front can fill.
fn block_of(core: &mut Core, inserts: &[Insert]) -> Option<usize> {
    if inserts.len() < BLOCKS[1] {
        return None;
    }
    let front = inserts.iter().take(BLOCKS[0]);
    let plain = front.take_while(|insert| insert.is_plain(core)).count();
    BLOCKS.iter().position(|rows| *rows <= plain)
}

/// The first of so many new rows, which `SQLite` numbers one after the other; none where somebody has
/// stored a row at the end of all numbers.
fn free_rows(core: &Core, rows: usize) -> Result<Option<i64>, Error> {
    let last: Option<i64> = core
        .conn
        .prepare_cached(LAST)
        .and_then(|mut read| read.query_row([i64::MAX], |row| row.get(0)).optional())
        .map_err(not_stored)?;
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let last = last.unwrap_or(0);
    Ok(last.checked_add(rows).map(|_fits| last + 1))
}

/// One statement for all.
fn store_block(core: &mut Core, block: &mut [Insert], first: i64, sql: &str) -> Result<(), Error> {
    let mut next = first;
    for insert in block.iter_mut() {
        let lane = core.lanes.of(&core.conn, &insert.task.queue, &insert.task.kind)?;
        let placed = Placed { row: next, ..insert.place(core, lane)? };
        next += 1;
        insert.note(core, lane, placed);
        insert.fate = Fate::Placed(placed);
    }
    let mut statement = core.conn.prepare_cached(sql).map_err(not_stored)?;
    for (number, insert) in block.iter().enumerate() {
        if let Fate::Placed(placed) = insert.fate {
            insert.bind(&mut statement, number, placed).map_err(not_stored)?;
        }
    }
    statement.raw_execute().map_err(not_stored)?;
    drop(statement);
    if core.conn.last_insert_rowid() != next - 1 {
        let reason = "bad_file: its tasks are not numbered one after the other".to_owned();
        return Err(Error::NotStored { reason, source: None });
    }
    block.iter().try_for_each(|insert| match insert.fate {
        Fate::Placed(placed) => insert.store_payload(&core.conn, placed.row),
        _ => Ok(()),
    })
}

/// Whether nothing that is ready or due goes before a new task of this rank. What is due is not yet in
/// order, so the claim decides.
fn is_next(core: &mut Core, now: Timestamp, offer: &dyn Offer, rank: i64) -> Result<bool, Error> {
    if next_due(core)?.is_some_and(|at| at <= now) {
        return Ok(false);
    }
    core.lanes.is_next(&core.conn, offer, rank).map_err(not_stored)
}

/// Stores one task through a connection that is not ours; it never hands over.
pub(super) fn insert_in(tx: &Connection, task: &NewTask, now: Timestamp) -> Result<Stored, Error> {
    let mut insert = Insert::new(task.clone(), now, None, Durability::Normal);
    if let Some(existing) = insert.existing(tx)? {
        return Ok(existing);
    }
    // The caller's transaction may end in any way, so nothing is remembered of it.
    let refusal = Waiting::default().refusal(tx, task, true);
    if let Some(overloaded) = refusal.map_err(not_stored)? {
        return Err(overloaded);
    }
    let step_ms = tx
        .query_row("SELECT value FROM litework_meta WHERE name = 'step_ms'", [], |row| row.get(0))
        .map_err(not_stored)?;
    let lane = lane_in(tx, &task.queue, &task.kind)?;
    let rank = rank(task.due_at, task.priority, step_ms);
    let start = if task.due_at > now { Start::Scheduled } else { Start::Ready };
    let mut placed = Placed { start, lane, rank, tag: Tags::default().next()?, row: 0 };
    tx.prepare_cached(INSERT)
        .and_then(|mut statement| {
            insert.bind(&mut statement, 0, placed)?;
            statement.raw_execute()
        })
        .map_err(not_stored)?;
    placed.row = tx.last_insert_rowid();
    insert.store_payload(tx, placed.row)?;
    insert.fate = Fate::Placed(placed);
    insert.into_stored()
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
