//! Store: the engine that keeps tasks in the memory of this process.
//!
//! The same contract and the same answers as the engine that keeps a file, behind one lock: others
//! see a call as a whole or not at all, and a bell rings after the lock is let go. It is also the
//! model that tests compare `SQLite` with, so the plainest form goes before the fastest.
//!
//! It never writes to disk, forgets a task only when it is pruned, cleared, deleted or erased, and never
//! takes an owner for dead: whoever could judge that dies with it.

mod audit;
mod calendar;
mod claim;
mod counters;
mod edges;
mod enqueue;
mod finish;
mod follow;
mod operate;
mod overview;
mod prune;
mod shelf;
mod steps;
mod task;
mod telling;
mod ties;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

use self::calendar::Schedules;
use self::edges::Edges;
use self::shelf::Kept;
use self::task::{LaneName, Task};
use self::ties::Ties;
use crate::audit::AuditRecord;
use crate::backend::{Backend, Cancelled, Exchanged, Offer, Over, Picked, Rescued, ended_with};
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::Sum;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::meter::Meter;
use crate::mishap::Mishaps;
use crate::overview::{At, Browsed, Failures, Order, Overview};
use crate::record::{
    AttemptRecord, Cursor, Finish, Lease, Member, NewStep, NewTask, Page, Prior, StepRecord,
    Stored, TaskRecord,
};
use crate::retention::Walk;
use crate::rule::Scope;
use crate::state::{STEP_STRICT_MS, State};
use crate::time::Timestamp;
use crate::upkeep::Upkeep;
use crate::watch::{Notice, Signal};

/// Tasks of one page at most.
const PAGE_SIZE_MAX: usize = 1_000;

/// The engine.
pub(crate) struct Memory {
    book: Mutex<Book>,
    signal: Arc<Signal>,
    meter: Arc<Meter>,
    mishaps: Mishaps,
}

#[derive(Default)]
struct Book {
    tasks: BTreeMap<i64, Task>,
    lanes: BTreeMap<LaneName, Lane>,
    /// Scheduled tasks by (due, row).
    scheduled: BTreeSet<(Timestamp, i64)>,
    /// What has ended, by (when, row).
    finished: BTreeSet<(Timestamp, i64)>,
    /// Running tasks by (owner, row).
    running: BTreeSet<(i64, i64)>,
    keys: BTreeMap<String, i64>,
    /// Owners that have not left.
    members: BTreeMap<i64, Seat>,
    /// The names of all owners there ever were.
    names: BTreeMap<i64, String>,
    owners: i64,
    hasher: RandomState,
    tags: u64,
    /// The newest row that was removed: rows are not used again.
    cleared: i64,
    effects: Effects,
    ties: Ties,
    /// When the first lane opens that the claim has found shut.
    opens_at: Option<Timestamp>,
    /// Rows that a claim has ended or started.
    aside: Vec<i64>,
    /// Tasks as they were before a call that may be taken back as a whole.
    before: Option<Vec<Task>>,
    edges: Edges,
    /// Batches of which a member has ended in this call.
    unsummed: BTreeSet<i64>,
    /// Gates that a task has left in this call, and when.
    left_gates: BTreeMap<String, Timestamp>,
    /// Whether an end has let a task go on that waited for it, since this was last asked.
    may_start: bool,
    /// Those that have got a place of a lock or a limit in this call; the same call may have claimed them.
    let_go_on: Vec<i64>,
    /// Whose claim has left nothing behind in this call.
    looked: Option<i64>,
    /// Those that had ended when they were stored, and that others follow.
    stillborn: Vec<(Timestamp, i64)>,
    schedules: Schedules,
    /// Artifacts by number.
    artifacts: BTreeMap<i64, Kept>,
    artifacts_ever: i64,
    counts: counters::Kept,
    /// What was noted of deeds, by number.
    audit: VecDeque<(i64, AuditRecord)>,
    audited: i64,
    /// How much earlier one point of priority counts.
    step_ms: i64,
}

/// A process that runs tasks.
struct Seat {
    member: Member,
    since: Timestamp,
}

struct Lane {
    /// The row that the lane was made for.
    first_row: i64,
    /// Ready tasks by (rank, row).
    ready: BTreeSet<(i64, i64)>,
}

/// What a call did, to be told after the lock is let go.
#[derive(Default, Clone)]
struct Effects {
    work: bool,
    /// The next slot of a schedule may be another.
    schedules: bool,
    cancel: Vec<i64>,
    changed: Vec<i64>,
    /// Of these, the first so many: whoever has called tells of their ends.
    heard: usize,
    /// Of those, the ones that no attempt has ended.
    unrun: Vec<i64>,
    /// Rows of which something was said.
    told: Vec<i64>,
    /// What was deleted; what had not ended before, as it ended.
    gone: HashMap<i64, Option<TaskRecord>>,
    /// Queues and kinds of tasks that were stored, and when.
    stored: Vec<(LaneName, Timestamp)>,
}

impl Effects {
    /// All that has ended until now is told by whoever has called; no attempt has ended these.
    fn hear(&mut self, unrun: &[i64]) {
        self.heard = self.changed.len();
        self.unrun.extend_from_slice(unrun);
    }

    /// The rows that may have ended and that no attempt has: the others are counted where their attempts are.
    fn ended_unrun(&self) -> Vec<i64> {
        let rows = self.changed[self.heard..].iter().chain(&self.unrun).copied();
        rows.collect::<BTreeSet<i64>>().into_iter().collect()
    }

    fn add(&mut self, more: Self) {
        self.work |= more.work;
        self.schedules |= more.schedules;
        self.cancel.extend(more.cancel);
        self.changed.extend(more.changed);
        self.told.extend(more.told);
        self.gone.extend(more.gone);
        self.stored.extend(more.stored);
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(STEP_STRICT_MS)
    }
}

impl Memory {
    pub(crate) fn new(step_ms: i64) -> Self {
        let book = Book { step_ms, ..Book::default() };
        let (signal, meter) = (Arc::default(), Meter::new(step_ms));
        Self { book: Mutex::new(book), signal, meter, mishaps: Mishaps::default() }
    }

    fn with<R>(&self, body: impl FnOnce(&mut Book) -> R) -> R {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = body(&mut book);
        book.open_left_gates();
        let let_go_on = std::mem::take(&mut book.let_go_on);
        let mut effects = std::mem::take(&mut book.effects);
        effects.work |= let_go_on.iter().any(|row| book.is_ready(*row));
        // An end makes room for a task that somebody was refused.
        let room = !effects.changed.is_empty() && book.limits_running();
        let looked = book.looked.take();
        let ends = book.ends(&effects.ended_unrun());
        drop(book);
        self.meter.ended(&ends);
        if !effects.stored.is_empty() {
            self.meter.count(|meter| {
                for ((queue, kind), at) in &effects.stored {
                    meter.enqueued(queue, kind, *at, 1);
                }
            });
        }
        self.signal.changed(effects.changed);
        self.signal.changed(effects.told);
        if effects.work || room {
            self.signal.ring(Notice::of_work(looked.filter(|_| !effects.work)));
        }
        if effects.schedules {
            self.signal.ring(Notice::Schedules);
        }
        for row in effects.cancel {
            self.signal.ring(Notice::Cancel(row));
        }
        answer
    }
}

impl Book {
    fn exchange(
        &mut self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Exchanged {
        let mut done = Exchanged::default();
        done.finished.extend(finishes.iter().map(|end| self.finish(now, end)));
        let told = self.effects.changed.len();
        done.ended = ended_with(&self.effects.changed, finishes, &done.finished);
        self.sum_up(now);
        self.open_left_gates();
        if let Some(offer) = offer {
            self.promote(now, offer);
            self.may_start = false;
            (done.claimed, done.more) = self.claim(now, offer);
            self.sum_up(now);
            self.open_left_gates();
            // What has been let go on by these ends has not been looked at.
            done.more |= self.may_start;
            self.looked = (!done.more).then(|| offer.owner());
            done.next_due = self.next_due();
        }
        done.ended.extend_from_slice(&self.effects.changed[told..]);
        self.effects.hear(&done.ended);
        done
    }

    fn is_ready(&self, row: i64) -> bool {
        self.tasks.get(&row).is_some_and(|task| task.record.state == State::Ready)
    }

    fn by_id(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id.row()).filter(|task| task.record.id == id)
    }

    /// Changes a task; every write of a state comes through here, which keeps the indexes true.
    fn edit(&mut self, row: i64, change: impl FnOnce(&mut Task)) {
        if let Some(mut task) = self.tasks.remove(&row) {
            self.index(&task, false);
            if let Some(before) = &mut self.before {
                before.push(task.clone());
            }
            change(&mut task);
            self.index(&task, true);
            self.tasks.insert(row, task);
        }
    }

    fn index(&mut self, task: &Task, stands: bool) {
        let row = task.record.id.row();
        self.ties.index(task, stands);
        self.edges.index(&task.record, stands);
        if let Some(finished_at) = task.record.finished_at {
            put(&mut self.finished, (finished_at, row), stands);
        }
        match (task.record.state, task.record.worker) {
            (State::Scheduled, _) => put(&mut self.scheduled, (task.record.due_at, row), stands),
            (State::Running, Some(owner)) => put(&mut self.running, (owner, row), stands),
            (State::Ready, _) => {
                if let Some(lane) = self.lanes.get_mut(&task.lane) {
                    put(&mut lane.ready, (task.rank, row), stands);
                }
            }
            _ => {}
        }
    }

    fn by_key(&self, key: &str) -> Option<&Task> {
        self.keys.get(key).and_then(|row| self.tasks.get(row))
    }

    /// Removes all that is not running.
    fn clear(&mut self) -> usize {
        let at_rest = |task: &&Task| task.record.state != State::Running;
        let rows: Vec<i64> =
            self.tasks.values().filter(at_rest).map(|task| task.record.id.row()).collect();
        for row in &rows {
            if let Some(task) = self.tasks.remove(row) {
                self.let_artifacts_go(*row);
                self.index(&task, false);
                if let Some(key) = &task.record.key {
                    self.keys.remove(key);
                }
            }
        }
        self.ties.kept.unique.retain(|_, row| self.tasks.contains_key(row));
        self.cleared = rows.last().copied().unwrap_or(0).max(self.cleared);
        // Whoever waits for one of them hears that it is gone.
        self.effects.changed.extend(&rows);
        rows.len()
    }

    /// What an owner holds, by row.
    fn held_by(&self, owner: i64) -> impl Iterator<Item = &TaskRecord> {
        let held = self.running.range((owner, i64::MIN)..=(owner, i64::MAX));
        held.filter_map(|(_, row)| self.tasks.get(row)).map(|task| &task.record)
    }
}

fn put<T: Ord>(index: &mut BTreeSet<T>, entry: T, stands: bool) {
    if stands {
        index.insert(entry);
    } else {
        index.remove(&entry);
    }
}

/// What is in memory goes with its process, so there is nothing to be kept in order.
impl Upkeep for Memory {}

impl Backend for Memory {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    fn mishaps(&self) -> &Mishaps {
        &self.mishaps
    }

    fn watch(&self) -> Result<(), Error> {
        Ok(())
    }

    fn check_usable(&self) -> Result<(), Error> {
        Ok(())
    }

    fn enqueue(
        &self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<Arc<dyn Offer>>,
    ) -> Result<Vec<Stored>, Error> {
        self.mishaps.enqueue(offer, |offer| {
            self.with(|book| {
                let stored = book.enqueue(now, tasks, offer.as_deref())?;
                if crate::audit::is_noting() {
                    let new = stored.iter().filter(|stored| !stored.existing);
                    book.note_deed(&new.map(|stored| stored.id).collect::<Vec<_>>());
                }
                book.sum_up(now);
                Ok(stored)
            })
        })
    }

    fn join(&self, now: Timestamp, member: &Member) -> Result<i64, Error> {
        self.with(|book| {
            book.owners += 1;
            let seat = Seat { member: member.clone(), since: now };
            book.members.insert(book.owners, seat);
            book.names.insert(book.owners, member.name.clone());
            Ok(book.owners)
        })
    }

    fn leave(&self, now: Timestamp, owner: i64) -> Result<(), Error> {
        self.with(|book| {
            book.leave(now, owner);
            book.sum_up(now);
        });
        Ok(())
    }

    fn note_start(&self, _owner: i64, _slot: usize, _row: i64, _attempt: u32) {}

    fn exchange(
        &self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Result<Exchanged, Error> {
        self.mishaps.finish(finishes.len(), offer, |offer| {
            Ok(self.with(|book| book.exchange(now, finishes, offer)))
        })
    }

    fn step(&self, id: TaskId, lease: Lease, name: &str) -> Result<Option<String>, Error> {
        self.with(|book| book.step(id, lease, name))
    }

    fn keep_step(&self, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error> {
        self.with(|book| book.keep_step(now, step))
    }

    fn claim_one(&self, now: Timestamp, id: TaskId, offer: &dyn Offer) -> Result<Picked, Error> {
        Ok(self.with(|book| {
            let mut picked = book.claim_one(now, id, offer);
            book.sum_up(now);
            if let Picked::Ended(rows) = &mut picked {
                rows.clone_from(&book.effects.changed);
                book.effects.hear(rows);
            }
            picked
        }))
    }

    fn renew(&self, owner: i64) -> Result<bool, Error> {
        Ok(self.with(|book| book.members.contains_key(&owner)))
    }

    fn rescue(&self, _now: Timestamp, _owner: i64) -> Result<Rescued, Error> {
        Ok(Rescued::default())
    }

    fn declare(&self, limits: &[(Scope, Limits)]) -> Result<(), Error> {
        self.with(|book| book.declare(limits));
        Ok(())
    }

    fn open_gates(&self, now: Timestamp) -> Result<(), Error> {
        self.with(|book| book.open_gates(now));
        Ok(())
    }

    fn cancel(&self, now: Timestamp, id: TaskId) -> Result<(Cancelled, Over), Error> {
        self.with(|book| book.telling(now, |book| book.cancel(now, id)))
    }

    fn retry_batch(&self, now: Timestamp, id: TaskId) -> Result<u64, Error> {
        self.with(|book| {
            let answer = book.retry_batch(now, id);
            book.sum_up(now);
            answer
        })
    }

    fn before(&self, id: TaskId) -> Result<Vec<Option<Prior>>, Error> {
        Ok(self.with(|book| book.before(id)))
    }

    fn after(&self, id: TaskId) -> Result<Vec<TaskRecord>, Error> {
        Ok(self.with(|book| book.after(id)))
    }

    fn sum(&self, id: TaskId) -> Result<Sum, Error> {
        self.with(|book| {
            let known = book.by_id(id).map(|_| book.sum(id.row()));
            known.ok_or_else(|| Error::not_found(id))
        })
    }

    fn cancel_requests(&self, owner: i64) -> Result<Vec<i64>, Error> {
        Ok(self.with(|book| {
            let asked = book.held_by(owner).filter(|task| task.cancel_requested);
            asked.map(|task| task.id.row()).collect()
        }))
    }

    fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, Error> {
        Ok(self.with(|book| book.by_id(id).map(|task| task.record.clone())))
    }

    fn by_row(&self, row: i64) -> Result<Option<TaskRecord>, Error> {
        Ok(self.with(|book| book.tasks.get(&row).map(|task| task.record.clone())))
    }

    fn followers(&self, id: TaskId) -> Result<Vec<TaskId>, Error> {
        Ok(self.with(|book| book.ready_after(id)))
    }

    fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        Ok(self.with(|book| book.by_id(id).map(Task::attempts).unwrap_or_default()))
    }

    fn steps(&self, id: TaskId) -> Result<Vec<StepRecord>, Error> {
        Ok(self.with(|book| book.steps(id)))
    }

    fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error> {
        Ok(self.with(|book| book.by_key(key).map(|task| task.record.clone())))
    }

    fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error> {
        let end = from.map_or(i64::MAX, |Cursor(row)| row);
        Ok(self.with(|book| {
            let records = book.tasks.range(..end).rev().map(|(_, task)| &task.record);
            let mut found = records.filter(|task| filter.passes(task));
            let size = size.clamp(1, PAGE_SIZE_MAX);
            let tasks: Vec<TaskRecord> = found.by_ref().take(size).cloned().collect();
            let next = found.next().and(tasks.last()).map(|task| Cursor(task.id.row()));
            Page { tasks, bad: Vec::new(), next }
        }))
    }

    fn count(&self, filter: &Filter, limit: u64) -> Result<u64, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.with(|book| {
            let found = book.tasks.values().filter(|task| filter.passes(&task.record));
            found.take(limit).count() as u64
        }))
    }

    fn overview(&self) -> Result<Overview, Error> {
        Ok(self.with(|book| book.overview()))
    }

    fn failures(&self) -> Result<Failures, Error> {
        Ok(Failures::of(self.with(|book| book.failures())))
    }

    fn browse(
        &self,
        filter: &Filter,
        order: Order,
        from: Option<At>,
        size: usize,
    ) -> Result<Browsed, Error> {
        Ok(self.with(|book| book.browse(filter, order, from, size)))
    }

    fn prune(&self, walk: &mut Walk) -> Result<(), Error> {
        self.with(|book| book.prune(walk));
        Ok(())
    }

    fn newest_moment(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.with(|book| book.newest_moment()))
    }

    fn serves(&self, queue: &str, kind: &str) -> Result<bool, Error> {
        let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
        Ok(self.with(|book| {
            let members = book.members.values().map(|seat| &seat.member);
            let mut serving = members.filter(|member| member.serves);
            serving.any(|member| {
                has(&member.kinds, kind)
                    && (member.queues.is_empty() || has(&member.queues, queue))
                    && !has(&member.exclude, queue)
            })
        }))
    }

    fn clear(&self) -> Result<usize, Error> {
        Ok(self.with(Book::clear))
    }
}
