//! Tests only: the engine in memory, which counts what it is asked and refuses what it is told to.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::memory::Memory;
use crate::backend::{Backend, Cancelled, Exchanged, Offer, Rescued};
use crate::error::Error;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::record::{
    AttemptRecord, Claimed, Cursor, Filter, Finish, Lease, Member, NewStep, NewTask, Page,
    StepRecord, Stored, TaskRecord,
};
use crate::retention::Walk;
use crate::rule::Scope;
use crate::time::Timestamp;
use crate::watch::Signal;

#[derive(Default)]
pub(crate) struct Spy {
    inner: Memory,
    /// How often one task was read.
    pub(crate) reads: AtomicUsize,
    pub(crate) joined: AtomicUsize,
    pub(crate) left: AtomicUsize,
    pub(crate) exchanges: AtomicUsize,
    pub(crate) rescues: AtomicUsize,
    /// Slices of passes over what has ended.
    pub(crate) prunes: AtomicUsize,
    /// Other processes cannot be listened to.
    pub(crate) deaf: AtomicBool,
    /// The owner's lease was taken away.
    pub(crate) given_up: AtomicBool,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Backend for Spy {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn signal(&self) -> &Arc<Signal> {
        self.inner.signal()
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
        self.inner.exchange(now, finishes, offer)
    }

    fn step(&self, id: TaskId, lease: Lease, name: &str) -> Result<Option<String>, Error> {
        self.inner.step(id, lease, name)
    }

    fn keep_step(&self, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error> {
        self.inner.keep_step(now, step)
    }

    fn claim_one(
        &self,
        now: Timestamp,
        id: TaskId,
        offer: &dyn Offer,
    ) -> Result<Option<Claimed>, Error> {
        self.inner.claim_one(now, id, offer)
    }

    fn renew(&self, owner: i64) -> Result<bool, Error> {
        if self.given_up.swap(false, Ordering::SeqCst) {
            return Ok(false);
        }
        self.inner.renew(owner)
    }

    fn rescue(&self, now: Timestamp, owner: i64) -> Result<Rescued, Error> {
        count(&self.rescues);
        self.inner.rescue(now, owner)
    }

    fn declare(&self, limits: &[(Scope, Limits)]) -> Result<(), Error> {
        self.inner.declare(limits)
    }

    fn open_gates(&self, now: Timestamp) -> Result<(), Error> {
        self.inner.open_gates(now)
    }

    fn cancel(&self, now: Timestamp, id: TaskId) -> Result<Cancelled, Error> {
        self.inner.cancel(now, id)
    }

    fn cancel_requests(&self, owner: i64) -> Result<Vec<i64>, Error> {
        self.inner.cancel_requests(owner)
    }

    fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, Error> {
        count(&self.reads);
        self.inner.get(id)
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
