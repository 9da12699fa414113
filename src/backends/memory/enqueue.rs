//! Enqueue: all tasks of a call or none, stored scheduled, ready, or already running.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use super::edges::{self, Bond};
use super::task::{Start, Task};
use super::ties::{Kept, Pass};
use super::{Book, Effects, Lane};
use crate::backend::{Offer, Room, queue_full, too_many_lanes};
use crate::error::Error;
use crate::event::{About, Event, Ledger};
use crate::id::TaskId;
use crate::json;
use crate::record::{NewTask, Stored, TaskRecord};
use crate::rule::Admits;
use crate::state::{Reason, State, rank};
use crate::time::Timestamp;
use crate::unique::Held;

/// Lanes at most, as in a file.
const LANES_MAX: usize = 1_000;

/// What a call has come to until now, apart from its tasks.
struct SoFar {
    kept: Kept,
    effects: Effects,
    unsummed: BTreeSet<i64>,
    left_gates: BTreeMap<String, Timestamp>,
    let_go_on: Vec<i64>,
    stillborn: Vec<(Timestamp, i64)>,
}

impl Book {
    pub(super) fn next_row(&self) -> i64 {
        self.tasks.last_key_value().map_or(0, |(row, _)| *row).max(self.cleared) + 1
    }

    pub(super) fn enqueue(
        &mut self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<&dyn Offer>,
    ) -> Result<Vec<Stored>, Error> {
        let ledger = tasks.first().and_then(|task| task.ledger.clone());
        let stored = if tasks.len() > 1 {
            self.as_a_whole(offer, |book| book.store_each(now, tasks, offer))?
        } else {
            let first_row = self.next_row();
            let stored = self.store_each(now, tasks, offer);
            stored.inspect_err(|_| self.take_out(first_row, offer)).map_err(Error::of_one)?
        };
        if let Some(ledger) = ledger {
            for new in stored.iter().filter(|stored| !stored.existing) {
                self.note(&*ledger, now, new);
            }
        }
        Ok(stored)
    }

    /// Those before the first that is refused stay.
    fn store_each(
        &mut self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<&dyn Offer>,
    ) -> Result<Vec<Stored>, Error> {
        let mut stored = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.into_iter().enumerate() {
            let is_batch = task.is_batch();
            let one = self.insert(now, task, offer, &stored).map_err(|error| error.at(index))?;
            if is_batch && one.existing {
                return Ok(vec![one]);
            }
            stored.push(one);
        }
        Ok(stored)
    }

    /// Does something as a whole or not at all, as one commit does.
    pub(super) fn as_a_whole<R>(
        &mut self,
        offer: Option<&dyn Offer>,
        body: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (first_row, so_far) = (self.next_row(), self.so_far());
        self.before = Some(Vec::new());
        let answer = body(self);
        let before = self.before.take().unwrap_or_default();
        if answer.is_err() {
            for task in before.into_iter().rev() {
                self.edit(task.record.id.row(), |changed| *changed = task);
            }
            self.take_out(first_row, offer);
            self.go_back(so_far);
        }
        answer
    }

    fn so_far(&self) -> SoFar {
        SoFar {
            kept: self.ties.kept.clone(),
            effects: self.effects.clone(),
            unsummed: self.unsummed.clone(),
            left_gates: self.left_gates.clone(),
            let_go_on: self.let_go_on.clone(),
            stillborn: self.stillborn.clone(),
        }
    }

    fn go_back(&mut self, to: SoFar) {
        self.ties.kept = to.kept;
        self.effects = to.effects;
        self.unsummed = to.unsummed;
        self.left_gates = to.left_gates;
        self.let_go_on = to.let_go_on;
        self.stillborn = to.stillborn;
    }

    fn note(&self, ledger: &dyn Ledger, now: Timestamp, new: &Stored) {
        let Some(task) = self.by_id(new.id) else { return };
        let about = About {
            kind: Arc::clone(&task.lane.1),
            queue: Arc::clone(&task.lane.0),
            trace: task.record.trace.as_deref().map(Arc::from),
        };
        let state = (task.record.state, task.record.reason);
        ledger.note(Event::enqueued(new.id, &about, state, new.due_at, now));
    }

    /// Takes out all that was inserted from this row on.
    fn take_out(&mut self, first_row: i64, offer: Option<&dyn Offer>) {
        for task in self.tasks.split_off(&first_row).into_values() {
            self.index(&task, false);
            if let Some(key) = &task.record.key {
                self.keys.remove(key);
            }
            if let (State::Running, Some(offer)) = (task.record.state, offer) {
                offer.release(&task.lane.0, task.record.arguments.len());
            }
        }
        self.lanes.retain(|_, lane| lane.first_row < first_row);
        self.edges.undo(first_row);
    }

    pub(super) fn insert(
        &mut self,
        now: Timestamp,
        mut new: NewTask,
        offer: Option<&dyn Offer>,
        items: &[Stored],
    ) -> Result<Stored, Error> {
        let bonds = self.bonds(&new, items)?;
        let batch = batch_of(&new, items);
        if let Some(existing) = self.existing(&new)? {
            return Ok(existing);
        }
        if let Some(existing) = self.meet(now, &new, batch.is_some())? {
            return Ok(existing);
        }
        let row = self.next_row();
        self.open_lane((&new.queue, &new.kind), row)?;
        for follow in new.follows() {
            // Its end must not fail for want of a lane.
            self.open_lane((&follow.queue.as_str().into(), &follow.kind.as_str().into()), row)?;
        }
        let is_followed = !new.follows().is_empty();
        let before = rank(new.due_at, new.priority, self.step_ms);
        let start = start_by_others(&new, &bonds)
            .unwrap_or_else(|| self.start(now, &mut new, before, offer));
        let rank = rank(new.due_at, new.priority, self.step_ms);
        let over = matches!(start, Start::Skipped { .. } | Start::Ended(_));
        if !over && !matches!(start, Start::HandedOver { .. }) {
            self.check_quota(&new)?;
        }
        self.tags += 1;
        let id = TaskId::new(row, self.hasher.hash_one(self.tags).cast_signed());
        if let Some(key) = &new.key {
            self.keys.insert(key.clone(), row);
        }
        let starts = matches!(start, Start::HandedOver { .. });
        if let Some(claim) = new.claim()
            && !over
            && !(starts && claim.held == Held::Start)
        {
            let claim = claim.clone();
            self.hold_key(&claim, row);
        }
        let is_batch = new.is_batch();
        let steps = new.extra.as_ref().and_then(|extra| extra.ties.steps);
        let mut task = Task::new(now, new, id, rank, start);
        task.record.batch = batch;
        let claimed = match start {
            Start::HandedOver { owner, .. } => {
                task.record.worker_name = self.names.get(&owner).cloned();
                Some(task.claimed(owner, now))
            }
            _ => None,
        };
        self.effects.work |= matches!(start, Start::Scheduled(_) | Start::Ready);
        let (state, due_at) = (task.record.state, task.record.due_at);
        self.put(row, task);
        self.join(now, row, &bonds);
        if let Some(steps) = steps {
            self.expect_steps(now, row, steps);
        }
        if over {
            self.is_born_over(now, row, is_followed);
        }
        if is_batch {
            // It may have no member that is still to end.
            self.unsummed.insert(row);
        }
        Ok(Stored { id, state, due_at, existing: false, claimed })
    }

    /// It has ended as it is stored.
    fn is_born_over(&mut self, now: Timestamp, row: i64, is_followed: bool) {
        self.effects.changed.push(row);
        if is_followed {
            self.stillborn.push((now, row));
        }
    }

    fn put(&mut self, row: i64, task: Task) {
        self.effects.stored.push((task.lane.clone(), task.record.enqueued_at));
        self.index(&task, true);
        self.tasks.insert(row, task);
    }

    /// The task that has the key already, if its call was the same.
    fn existing(&self, new: &NewTask) -> Result<Option<Stored>, Error> {
        let Some(task) = new.key.as_ref().and_then(|key| self.by_key(key)) else {
            return Ok(None);
        };
        let TaskRecord { id, state, due_at, .. } = task.record;
        if task.lane.1 != new.kind || !json::same(&task.record.arguments, &new.arguments) {
            return Err(Error::KeyConflict { existing: id });
        }
        Ok(Some(Stored { id, state, due_at, existing: true, claimed: None }))
    }

    fn open_lane(&mut self, (queue, kind): (&Arc<str>, &Arc<str>), row: i64) -> Result<(), Error> {
        let name = (Arc::clone(queue), Arc::clone(kind));
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&name) {
            return Err(too_many_lanes("the lanes", LANES_MAX));
        }
        self.lanes.entry(name).or_insert_with(|| Lane { first_row: row, ready: BTreeSet::new() });
        Ok(())
    }

    /// Refuses a task that would wait where enough do.
    fn check_quota(&self, new: &NewTask) -> Result<(), Error> {
        let Some(limit) = new.quota.waiting else { return Ok(()) };
        let waits = |task: &&Task| {
            task.lane.0 == new.queue
                && matches!(task.record.state, State::Ready | State::Scheduled | State::Waiting)
        };
        if (self.tasks.values().filter(waits).count() as u64) < limit {
            return Ok(());
        }
        Err(queue_full(&new.queue, limit))
    }

    fn start(
        &mut self,
        now: Timestamp,
        new: &mut NewTask,
        rank: i64,
        offer: Option<&dyn Offer>,
    ) -> Start {
        if new.due_at > now {
            return Start::Scheduled(Reason::Delayed);
        }
        let gate = new.gate().map(|(key, gate)| (key.to_owned(), gate));
        let mut holder = None;
        if let Some((key, gate)) = &gate {
            match self.pass_new(now, key, *gate) {
                Pass::Open => {}
                Pass::Held(by) if gate.skips() => holder = by,
                Pass::Held(_) => return Start::Waiting(gate.reason()),
                Pass::Later(opens_at) => {
                    new.due_at = opens_at;
                    return Start::Scheduled(Reason::Rate);
                }
            }
        }
        let Some(offer) = offer else { return Start::Ready };
        let scarce = gate.is_some() || self.are_scarce(&new.queue, &new.kind);
        let may = offer.serves(&new.queue, &new.kind)
            && self.admit(&new.queue, &new.kind, now) == Admits::Yes
            && (!scarce || offer.is_free())
            && (!new.at_most_once || offer.begins_next())
            && !(offer.in_order()
                && (self.is_any_due(now) || self.stands_behind(offer, now, rank)))
            && offer.reserve(&new.queue, &new.kind, new.arguments.len()) == Room::Taken;
        if !may {
            return Start::Ready;
        }
        if let Some(holder) = holder {
            offer.release(&new.queue, new.arguments.len());
            return Start::Skipped { holder, reason: Reason::Locked };
        }
        self.started(&new.queue, &new.kind, now);
        let fence = gate.and_then(|(key, gate)| self.passed(now, &key, gate));
        if let Some(extra) = &mut new.extra {
            extra.fence = fence;
        }
        Start::HandedOver { owner: offer.owner() }
    }

    fn is_any_due(&self, now: Timestamp) -> bool {
        self.scheduled.first().is_some_and(|(due_at, _)| *due_at <= now)
    }

    /// Whether a ready task goes before a new one of this rank; the older of equal rank does.
    fn stands_behind(&self, offer: &dyn Offer, now: Timestamp, rank: i64) -> bool {
        self.lanes.iter().any(|((queue, kind), lane)| {
            lane.ready.first().is_some_and(|(best, _)| offer.weighted() || *best <= rank)
                && offer.serves(queue, kind)
                && self.admit(queue, kind, now) == Admits::Yes
        })
    }
}

/// The batch that sums it up, one of those of the same call.
fn batch_of(new: &NewTask, items: &[Stored]) -> Option<TaskId> {
    let item = new.extra.as_ref()?.member_of?;
    items.get(item).map(|batch| batch.id)
}

/// Where a task begins on account of others, before anything else is asked.
fn start_by_others(new: &NewTask, bonds: &[Bond]) -> Option<Start> {
    if let Some(holder) = new.extra.as_ref().and_then(|extra| extra.overlaps) {
        return Some(Start::Skipped { holder, reason: Reason::Overlap });
    }
    if new.is_batch() { Some(Start::Waiting(Reason::Parents)) } else { edges::start_of(bonds) }
}
