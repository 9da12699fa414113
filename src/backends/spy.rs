//! Tests only: the engine in memory, which counts what it is asked and refuses what it is told to.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::Memory;
use crate::artifact::{Artifact, NewArtifact};
use crate::audit::AuditRecord;
use crate::backend::{
    Backend, Cancelled, Exchanged, LaneName, Offer, Operate, Over, Picked, Rescued,
};
use crate::calendar::{Calendar, Look, Maker};
use crate::counters::LaneCounts;
use crate::deed::{Deed, Done, Tally};
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::Sum;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::meter::{Counting, EachCount, End, Meter, News};
use crate::mishap::Mishaps;
use crate::overview::{At, Browsed, Failures, Order, Overview};
use crate::presence::WorkerRecord;
use crate::progress::{LogLine, Progress};
use crate::record::{
    AttemptRecord, Cursor, Finish, Lease, Member, NewStep, NewTask, Page, Prior, Said, StepRecord,
    Stored, TaskRecord,
};
use crate::retention::Walk;
use crate::rule::{Limited, Paused, Scope};
use crate::shelf::{Author, Shelf};
use crate::telling::Telling;
use crate::time::Timestamp;
use crate::upkeep::Upkeep;
use crate::watch::Signal;
use crate::why::Facts;

#[derive(Default)]
pub(crate) struct Spy {
    inner: Memory,
    /// How often one task was read.
    pub(crate) reads: AtomicUsize,
    pub(crate) joined: AtomicUsize,
    pub(crate) left: AtomicUsize,
    pub(crate) exchanges: AtomicUsize,
    pub(crate) rescues: AtomicUsize,
    /// How often a lease was kept alive.
    pub(crate) renewals: AtomicUsize,
    /// Looks at schedules.
    pub(crate) looks: AtomicUsize,
    /// How often what was counted was kept.
    pub(crate) keeps: AtomicUsize,
    /// What was counted is refused.
    pub(crate) refuses_counts: AtomicBool,
    /// Slices of passes over what has ended.
    pub(crate) prunes: AtomicUsize,
    /// Other processes cannot be listened to.
    pub(crate) deaf: AtomicBool,
    /// The next exchanges, or looks at other processes, panic.
    pub(crate) panics: AtomicUsize,
    /// The owner's lease was taken away.
    pub(crate) given_up: AtomicBool,
    /// Called once, while an owner joins.
    pub(crate) on_join: Mutex<Option<Once>>,
    /// Called once, while somebody waits for the lock to change schedules.
    pub(crate) on_change: Mutex<Option<Once>>,
}

pub(crate) type Once = Box<dyn FnOnce() + Send>;

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Spy {
    fn panic_if_told(&self) {
        let told = self
            .panics
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(told.is_err(), "as it was told");
    }
}

impl Upkeep for Spy {}

impl Backend for Spy {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn signal(&self) -> &Arc<Signal> {
        self.inner.signal()
    }

    fn mishaps(&self) -> &Mishaps {
        self.inner.mishaps()
    }

    fn watch(&self) -> Result<(), Error> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(Error::Storage { reason: "deaf".to_owned(), source: None });
        }
        self.inner.watch()
    }

    fn check_usable(&self) -> Result<(), Error> {
        self.inner.check_usable()
    }

    fn enqueue(
        &self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<Arc<dyn Offer>>,
    ) -> Result<Vec<Stored>, Error> {
        self.inner.enqueue(now, tasks, offer)
    }

    fn join(&self, now: Timestamp, member: &Member) -> Result<i64, Error> {
        count(&self.joined);
        let on_join = self.on_join.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_join) = on_join {
            on_join();
        }
        self.inner.join(now, member)
    }

    fn leave(&self, now: Timestamp, owner: i64) -> Result<(), Error> {
        count(&self.left);
        self.inner.leave(now, owner)
    }

    fn note_start(&self, owner: i64, slot: usize, row: i64, attempt: u32) {
        self.inner.note_start(owner, slot, row, attempt);
    }

    fn exchange(
        &self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Result<Exchanged, Error> {
        count(&self.exchanges);
        self.panic_if_told();
        self.inner.exchange(now, finishes, offer)
    }

    fn step(&self, id: TaskId, lease: Lease, name: &str) -> Result<Option<String>, Error> {
        self.inner.step(id, lease, name)
    }

    fn keep_step(&self, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error> {
        self.inner.keep_step(now, step)
    }

    fn claim_one(&self, now: Timestamp, id: TaskId, offer: &dyn Offer) -> Result<Picked, Error> {
        self.inner.claim_one(now, id, offer)
    }

    fn renew(&self, owner: i64) -> Result<bool, Error> {
        count(&self.renewals);
        if self.given_up.swap(false, Ordering::SeqCst) {
            return Ok(false);
        }
        self.inner.renew(owner)
    }

    fn rescue(&self, now: Timestamp, owner: i64) -> Result<Rescued, Error> {
        count(&self.rescues);
        self.panic_if_told();
        self.inner.rescue(now, owner)
    }

    fn declare(&self, limits: &[(Scope, Limits)]) -> Result<(), Error> {
        self.inner.declare(limits)
    }

    fn open_gates(&self, now: Timestamp) -> Result<(), Error> {
        self.inner.open_gates(now)
    }

    fn cancel(&self, now: Timestamp, id: TaskId) -> Result<(Cancelled, Over), Error> {
        self.inner.cancel(now, id)
    }

    fn retry_batch(&self, now: Timestamp, id: TaskId) -> Result<u64, Error> {
        self.inner.retry_batch(now, id)
    }

    fn before(&self, id: TaskId) -> Result<Vec<Option<Prior>>, Error> {
        self.inner.before(id)
    }

    fn after(&self, id: TaskId) -> Result<Vec<TaskRecord>, Error> {
        self.inner.after(id)
    }

    fn sum(&self, id: TaskId) -> Result<Sum, Error> {
        self.inner.sum(id)
    }

    fn cancel_requests(&self, owner: i64) -> Result<Vec<i64>, Error> {
        self.inner.cancel_requests(owner)
    }

    fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, Error> {
        count(&self.reads);
        self.inner.get(id)
    }

    fn by_row(&self, row: i64) -> Result<Option<TaskRecord>, Error> {
        self.inner.by_row(row)
    }

    fn followers(&self, id: TaskId) -> Result<Vec<TaskId>, Error> {
        self.inner.followers(id)
    }

    fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        self.inner.attempts(id)
    }

    fn steps(&self, id: TaskId) -> Result<Vec<StepRecord>, Error> {
        self.inner.steps(id)
    }

    fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error> {
        self.inner.find(key)
    }

    fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error> {
        self.inner.list(filter, from, size)
    }

    fn count(&self, filter: &Filter, limit: u64) -> Result<u64, Error> {
        self.inner.count(filter, limit)
    }

    fn overview(&self) -> Result<Overview, Error> {
        self.inner.overview()
    }

    fn failures(&self) -> Result<Failures, Error> {
        self.inner.failures()
    }

    fn browse(
        &self,
        filter: &Filter,
        order: Order,
        from: Option<At>,
        size: usize,
    ) -> Result<Browsed, Error> {
        self.inner.browse(filter, order, from, size)
    }

    fn prune(&self, walk: &mut Walk) -> Result<(), Error> {
        count(&self.prunes);
        self.inner.prune(walk)
    }

    fn newest_moment(&self) -> Result<Option<Timestamp>, Error> {
        self.inner.newest_moment()
    }

    fn serves(&self, queue: &str, kind: &str) -> Result<bool, Error> {
        self.inner.serves(queue, kind)
    }

    fn clear(&self) -> Result<usize, Error> {
        self.inner.clear()
    }
}

impl Calendar for Spy {
    fn change(
        &self,
        work: &mut dyn FnMut(&mut dyn Maker) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let on_change = self.on_change.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_change) = on_change {
            on_change();
        }
        self.inner.change(work)
    }

    fn look(&self, look: Look<'_>) -> Result<(), Error> {
        count(&self.looks);
        self.inner.look(look)
    }
}

impl Counting for Spy {
    fn meter(&self) -> &Arc<Meter> {
        self.inner.meter()
    }

    fn keep_counts(&self, now: Timestamp, news: &[News]) -> Result<(), Error> {
        count(&self.keeps);
        self.panic_if_told();
        if self.refuses_counts.load(Ordering::SeqCst) {
            return Err(Error::NotStored { reason: "as it was told".to_owned(), source: None });
        }
        self.inner.keep_counts(now, news)
    }

    fn each_count(
        &self,
        since: Timestamp,
        until: Timestamp,
        each: EachCount<'_>,
    ) -> Result<(), Error> {
        self.inner.each_count(since, until, each)
    }

    fn totals(&self) -> Result<Vec<LaneCounts>, Error> {
        self.inner.totals()
    }

    fn ends(&self, rows: &[i64]) -> Result<Vec<End>, Error> {
        self.inner.ends(rows)
    }
}

impl Telling for Spy {
    fn tell(&self, now: Timestamp, said: &[Said]) -> Result<(), Error> {
        self.inner.tell(now, said)
    }

    fn progress(&self, id: TaskId) -> Result<Option<Progress>, Error> {
        self.inner.progress(id)
    }

    fn log(&self, id: TaskId, most: usize) -> Result<Vec<LogLine>, Error> {
        self.inner.log(id, most)
    }
}

impl Shelf for Spy {
    fn put_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
        body: &[u8],
    ) -> Result<Artifact, Error> {
        self.inner.put_artifact(now, author, new, body)
    }

    fn begin_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
    ) -> Result<i64, Error> {
        self.inner.begin_artifact(now, author, new)
    }

    fn add_part(
        &self,
        author: Author,
        artifact: i64,
        new: &NewArtifact,
        part: &[u8],
    ) -> Result<(), Error> {
        self.inner.add_part(author, artifact, new, part)
    }

    fn end_artifact(
        &self,
        now: Timestamp,
        author: Author,
        artifact: i64,
    ) -> Result<Artifact, Error> {
        self.inner.end_artifact(now, author, artifact)
    }

    fn give_up_artifact(&self, artifact: i64) -> Result<(), Error> {
        self.inner.give_up_artifact(artifact)
    }

    fn artifacts(&self, now: Timestamp, id: TaskId) -> Result<Vec<Artifact>, Error> {
        self.inner.artifacts(now, id)
    }

    fn find_artifact(
        &self,
        now: Timestamp,
        id: TaskId,
        number: u32,
    ) -> Result<Option<(i64, Artifact)>, Error> {
        self.inner.find_artifact(now, id, number)
    }

    fn artifact_part(&self, artifact: i64, place: u32) -> Result<Option<Vec<u8>>, Error> {
        self.inner.artifact_part(artifact, place)
    }

    fn sweep_artifacts(&self, now: Timestamp) -> Result<bool, Error> {
        self.inner.sweep_artifacts(now)
    }
}

impl Operate for Spy {
    fn act(&self, now: Timestamp, id: TaskId, deed: Deed) -> Result<(Done, Over), Error> {
        self.inner.act(now, id, deed)
    }

    fn rows(&self, filter: &Filter, after: i64, last: i64) -> Result<Vec<i64>, Error> {
        self.inner.rows(filter, after, last)
    }

    fn act_on(
        &self,
        now: Timestamp,
        deed: Deed,
        filter: &Filter,
        rows: &[i64],
    ) -> Result<(Tally, Over), Error> {
        self.inner.act_on(now, deed, filter, rows)
    }

    fn template(&self, id: TaskId) -> Result<Option<NewTask>, Error> {
        self.inner.template(id)
    }

    fn replace(&self, now: Timestamp, id: TaskId, with: NewTask) -> Result<(Stored, Over), Error> {
        self.inner.replace(now, id, with)
    }

    fn replace_each(
        &self,
        now: Timestamp,
        filter: &Filter,
        copies: &[(i64, Option<NewTask>)],
    ) -> Result<(Tally, Over), Error> {
        self.inner.replace_each(now, filter, copies)
    }

    fn pause(&self, scope: &Scope, since: Option<Timestamp>) -> Result<bool, Error> {
        self.inner.pause(scope, since)
    }

    fn paused(&self) -> Result<Vec<Paused>, Error> {
        self.inner.paused()
    }

    fn set_limits(
        &self,
        now: Timestamp,
        scope: &Scope,
        limits: Option<Limits>,
    ) -> Result<(), Error> {
        self.inner.set_limits(now, scope, limits)
    }

    fn limits(&self) -> Result<Vec<Limited>, Error> {
        self.inner.limits()
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.inner.workers()
    }

    fn set_threads(&self, owner: i64, threads: usize) -> Result<(), Error> {
        self.inner.set_threads(owner, threads)
    }

    fn facts(&self, now: Timestamp, id: TaskId) -> Result<Option<Facts>, Error> {
        self.inner.facts(now, id)
    }

    fn lanes_with_work(&self, now: Timestamp) -> Result<Vec<LaneName>, Error> {
        self.inner.lanes_with_work(now)
    }

    fn audit(&self, before: i64, size: usize) -> Result<Vec<(i64, AuditRecord)>, Error> {
        self.inner.audit(before, size)
    }

    fn wipe(&self) -> Result<bool, Error> {
        self.inner.wipe()
    }
}
