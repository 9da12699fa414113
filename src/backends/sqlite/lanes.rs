//! Claim: the lanes of the file and the heads of their ready work, remembered between commits.
//!
//! A lane is one (queue, kind). Ready work is ordered by (rank, id) inside its lane, and a claim
//! merges the heads of the lanes that are open to it. Pausing, unknown kinds, included or excluded
//! queues only decide which lanes are open; no task is ever rewritten for it.
//!
//! What is remembered is exact until another connection commits or a transaction rolls back; then
//! all of it is forgotten and read again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::errors::not_stored;
use super::row::text;
use super::waiting::Waiting;
use crate::backend::{self, Offer};
use crate::error::Error;
use crate::rule::Admits;
use crate::state::State;

/// A file has at most this many lanes.
pub(super) const LANES_MAX: usize = 1_000;
/// How many heads of one lane are read ahead. Few under test, so that more follow.
const HEADS_READ: u32 = if cfg!(test) { 3 } else { 256 };
/// How many heads of one lane are remembered at most.
const HEADS_MAX: usize = 4_096;

/// Served by `litework_task_ready`; the state is a literal because a bound parameter would not
/// match the partial index.
const HEADS: &str = "SELECT rank, id FROM litework_task \
     WHERE state = 'ready' AND lane = ?1 AND (rank, id) > (?2, ?3) ORDER BY rank, id LIMIT +?4";

/// Served by `sqlite_autoindex_litework_lane_1`.
const NUMBER: &str = "SELECT id FROM litework_lane WHERE queue = ?1 AND kind = ?2";

/// The number of a lane, without what is remembered of our own connection.
pub(super) fn number(conn: &Connection, queue: &str, kind: &str) -> Result<Option<i64>, Error> {
    conn.prepare_cached(NUMBER)
        .and_then(|mut find| find.query_row((queue, kind), |row| row.get(0)).optional())
        .map_err(not_stored)
}

/// Makes a lane that is not there; its number.
pub(super) fn make(conn: &Connection, queue: &str, kind: &str) -> Result<i64, Error> {
    conn.prepare_cached("INSERT INTO litework_lane (queue, kind) VALUES (?1, ?2)")
        .and_then(|mut insert| insert.insert((queue, kind)))
        .map_err(not_stored)
}

pub(super) fn too_many_lanes() -> Error {
    backend::too_many_lanes("the file's list of lanes", LANES_MAX)
}

/// A ready task's place in the order.
pub(super) type Head = (i64, i64);

/// Rows from which on one statement for a list of them costs less than one for each: opening the list costs as
/// much as a few rows. Few under test, so that both ways are met.
pub(super) const LIST: usize = if cfg!(test) { 3 } else { 8 };

/// Tasks that stand in their lane as if they were ready, and how they are still written: due ones as
/// scheduled; those that have got a place of their gate as waiting.
pub(super) type Unwritten = HashMap<i64, State>;

/// How much of a lane is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Known {
    #[default]
    Nothing,
    /// The first heads; more follow.
    Front,
    All,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: i64,
    pub(super) queue: Arc<str>,
    pub(super) kind: Arc<str>,
    heads: VecDeque<Head>,
    known: Known,
    /// Whether it is open to an offer of this view.
    open_to: Option<(u64, bool)>,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    list: Vec<Lane>,
    /// The last that was read or made.
    read_up_to: i64,
    by_name: HashMap<(Arc<str>, Arc<str>), usize>,
    by_id: HashMap<i64, usize>,
    listed: bool,
    found_last: usize,
    /// Forgotten with the lanes when a transaction rolls back; estimates hold beyond other commits.
    pub(super) waiting: Waiting,
}

impl Lane {
    pub(super) fn name(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.queue), Arc::clone(&self.kind))
    }

    /// Whether a ready task at this place is among those that are remembered.
    fn covers(&self, head: Head) -> bool {
        match self.known {
            Known::Nothing => false,
            Known::Front => self.heads.back().is_some_and(|last| head < *last),
            Known::All => true,
        }
    }
}

impl Lanes {
    /// Forgets all heads; names and numbers of lanes never change, but others may have come.
    pub(super) fn forget(&mut self) {
        self.listed = false;
        for lane in &mut self.list {
            lane.heads.clear();
            lane.known = Known::Nothing;
        }
    }

    pub(super) fn get(&self, index: usize) -> &Lane {
        &self.list[index]
    }

    /// Reads lanes that others have made.
    fn read_list(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if self.listed {
            return Ok(());
        }
        let mut read =
            conn.prepare_cached("SELECT id, queue, kind FROM litework_lane WHERE id > ?1")?;
        let mut rows = read.query([self.read_up_to])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            self.read_up_to = self.read_up_to.max(id);
            if let (Some(queue), Some(kind)) = (text(row, 1), text(row, 2)) {
                self.add(id, queue.into(), kind.into(), Known::Nothing);
            } else {
                tracing::warn!(lane = id, "a lane whose name is no text is left alone");
            }
        }
        self.listed = true;
        Ok(())
    }

    fn add(&mut self, id: i64, queue: Arc<str>, kind: Arc<str>, known: Known) -> usize {
        let index = self.list.len();
        self.read_up_to = self.read_up_to.max(id);
        self.by_name.insert((Arc::clone(&queue), Arc::clone(&kind)), index);
        self.by_id.insert(id, index);
        self.list.push(Lane { id, queue, kind, heads: VecDeque::new(), known, open_to: None });
        index
    }

    /// The lane of a queue and kind, where it is known.
    pub(super) fn find(&mut self, queue: &Arc<str>, kind: &Arc<str>) -> Option<usize> {
        // Tasks of one call are mostly of one lane.
        let same = |lane: &Lane| lane.queue == *queue && lane.kind == *kind;
        if !self.list.get(self.found_last).is_some_and(same) {
            let name = (Arc::clone(queue), Arc::clone(kind));
            self.found_last = *self.by_name.get(&name)?;
        }
        Some(self.found_last)
    }

    /// The lane of a queue and kind, made if it is new.
    pub(super) fn of(
        &mut self,
        conn: &Connection,
        queue: &Arc<str>,
        kind: &Arc<str>,
    ) -> Result<usize, Error> {
        if let Some(index) = self.find(queue, kind) {
            return Ok(index);
        }
        // What follows an end may have made it behind what is remembered.
        self.listed = false;
        self.read_list(conn).map_err(not_stored)?;
        if let Some(index) = self.find(queue, kind) {
            return Ok(index);
        }
        if self.list.len() >= LANES_MAX {
            return Err(too_many_lanes());
        }
        let id = make(conn, queue, kind)?;
        Ok(self.add(id, Arc::clone(queue), Arc::clone(kind), Known::All))
    }

    /// The lane with this number, where it is known.
    pub(super) fn by_id(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<Option<usize>> {
        if !self.by_id.contains_key(&id) {
            self.listed = false;
            self.read_list(conn)?;
        }
        Ok(self.by_id.get(&id).copied())
    }

    /// Remembers a task that this transaction has made ready.
    pub(super) fn note_ready(&mut self, index: usize, head: Head) {
        let lane = &mut self.list[index];
        if !lane.covers(head) {
            return;
        }
        let at = lane.heads.partition_point(|known| *known < head);
        lane.heads.insert(at, head);
        if lane.heads.len() > HEADS_MAX {
            lane.heads.truncate(HEADS_MAX / 2);
            lane.known = Known::Front;
        }
    }

    /// Forgets the heads of one lane, after a claim has left some of them behind.
    pub(super) fn forget_heads(&mut self, index: usize) {
        self.list[index].heads.clear();
        self.list[index].known = Known::Nothing;
    }

    fn is_open(&mut self, index: usize, offer: &dyn Offer) -> bool {
        let lane = &mut self.list[index];
        let view = offer.view();
        match lane.open_to {
            Some((known, open)) if known == view => open,
            _ => {
                let open = offer.serves(&lane.queue, &lane.kind);
                lane.open_to = Some((view, open));
                open
            }
        }
    }

    /// Whether a lane is open, and a task that is ready there is remembered.
    pub(super) fn covers(
        &mut self,
        conn: &Connection,
        index: usize,
        head: Head,
        offer: &dyn Offer,
    ) -> rusqlite::Result<bool> {
        if !self.is_open(index, offer) {
            return Ok(false);
        }
        self.head(conn, index)?;
        Ok(self.list[index].covers(head))
    }

    /// How many tasks are ready in the lanes that are open; `usize::MAX` for more than are
    /// remembered.
    pub(super) fn count_ready(
        &mut self,
        conn: &Connection,
        offer: &dyn Offer,
    ) -> rusqlite::Result<usize> {
        self.read_list(conn)?;
        let mut count = 0;
        for index in 0..self.list.len() {
            if self.is_open(index, offer) {
                self.head(conn, index)?;
                let lane = &self.list[index];
                if lane.known == Known::Front {
                    return Ok(usize::MAX);
                }
                count += lane.heads.len();
            }
        }
        Ok(count)
    }

    /// Whether the first head of a lane is not remembered.
    pub(super) fn must_be_read(&self, index: usize) -> bool {
        let lane = &self.list[index];
        lane.known == Known::Nothing || (lane.known == Known::Front && lane.heads.is_empty())
    }

    /// The first head of a lane, read if it is not known.
    pub(super) fn head(
        &mut self,
        conn: &Connection,
        index: usize,
    ) -> rusqlite::Result<Option<Head>> {
        self.head_after(conn, index, (i64::MIN, i64::MIN))
    }

    /// The same, where all heads up to this one have been looked at; those left are not read again.
    pub(super) fn head_after(
        &mut self,
        conn: &Connection,
        index: usize,
        (rank, row): Head,
    ) -> rusqlite::Result<Option<Head>> {
        let unknown = self.must_be_read(index);
        let lane = &mut self.list[index];
        if unknown {
            let mut read = conn.prepare_cached(HEADS)?;
            let mut rows = read.query((lane.id, rank, row, HEADS_READ))?;
            while let Some(row) = rows.next()? {
                lane.heads.push_back((row.get(0)?, row.get(1)?));
            }
            lane.known =
                if lane.heads.len() < HEADS_READ as usize { Known::All } else { Known::Front };
        }
        Ok(lane.heads.front().copied())
    }

    /// Takes the first head away, because its task is being claimed.
    pub(super) fn pop(&mut self, index: usize) {
        self.list[index].heads.pop_front();
    }

    /// Puts it back, because its task was not claimed after all.
    pub(super) fn put_back(&mut self, index: usize, head: Head) {
        self.list[index].heads.push_front(head);
    }

    /// Reads the first head of each lane that is open, where it is not known.
    pub(super) fn read_open(
        &mut self,
        conn: &Connection,
        offer: &dyn Offer,
    ) -> rusqlite::Result<()> {
        self.read_list(conn)?;
        for index in 0..self.list.len() {
            if self.is_open(index, offer) {
                self.head(conn, index)?;
            }
        }
        Ok(())
    }

    /// The heads of all lanes open to this offer: where a claim begins.
    pub(super) fn open_heads(
        &mut self,
        conn: &Connection,
        offer: &dyn Offer,
    ) -> rusqlite::Result<Vec<(Head, usize)>> {
        self.read_list(conn)?;
        let mut heads = Vec::new();
        for index in 0..self.list.len() {
            if self.is_open(index, offer)
                && let Some(head) = self.head(conn, index)?
            {
                heads.push((head, index));
            }
        }
        Ok(heads)
    }

    /// Whether a task of this rank would be the next of all that are open: no other ready task
    /// that a rule admits stands before it. A new task has the greatest id, so an equal rank stands before
    /// it too.
    pub(super) fn is_next(
        &mut self,
        conn: &Connection,
        offer: &dyn Offer,
        rank: i64,
        mut admit: impl FnMut(&str, &str) -> Admits,
    ) -> rusqlite::Result<bool> {
        self.read_list(conn)?;
        let any = offer.weighted();
        for index in 0..self.list.len() {
            if self.is_open(index, offer)
                && self.head(conn, index)?.is_some_and(|(best, _)| any || best <= rank)
                && admit(&self.list[index].queue, &self.list[index].kind) == Admits::Yes
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn serves(&mut self, index: usize, offer: &dyn Offer) -> bool {
        self.is_open(index, offer)
    }
}
