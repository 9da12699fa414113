//! Run: what an inline caller offers, and what it has in hand then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{Offer, Room, SuspectHold};
use crate::catalog::Catalog;
use crate::hub::Pending;
use crate::record::Claimed;
use crate::registry::Registry;
use crate::watch::{Notice, Signal};
use crate::worker::book::Ticket;
use crate::worker::minder::Visit;

/// What an inline caller offers: a place for its own task, whatever else waits.
pub(super) struct Caller {
    pub(super) visit: Visit,
    pub(super) view: u64,
    pub(super) catalog: Arc<Catalog>,
    pub(super) registry: Arc<Registry>,
    /// For `run_pending`: one place, and only for some kinds and queues.
    pub(super) pending: Option<Pending>,
    /// How many places are taken.
    pub(super) taken: AtomicUsize,
    pub(super) suspect: SuspectHold,
}

impl Caller {
    /// The place of a suspect that was claimed, to be given back when its body has ended.
    pub(super) fn alone(&self, task: &Claimed, signal: &Arc<Signal>) -> Option<Alone> {
        let place = if task.crashes > 0 { self.suspect.hand_over() } else { None };
        Some(Alone { place: place?, signal: Arc::clone(signal) })
    }
}

impl Offer for Caller {
    fn owner(&self) -> i64 {
        self.visit.owner
    }

    fn view(&self) -> u64 {
        self.view
    }

    fn serves(&self, queue: &str, kind: &str) -> bool {
        let selected = self.pending.as_ref().is_none_or(|pending| {
            let kinds = |list: &[String]| list.iter().any(|name| self.catalog.is_same(name, kind));
            let queues = |list: &[String]| list.iter().any(|name| name == queue);
            (pending.only.is_empty() || kinds(&pending.only))
                && !kinds(&pending.except)
                && (pending.queues.is_empty() || queues(&pending.queues))
                && !queues(&pending.except_queues)
        });
        selected && self.registry.get(kind).is_some()
    }

    fn begins_next(&self) -> bool {
        self.taken.load(Ordering::SeqCst) == 0
    }

    fn reserve(&self, _queue: &str, _kind: &str, _bytes: usize) -> Room {
        if self.pending.is_some() && !self.begins_next() {
            return Room::Full;
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
        Room::Taken
    }

    fn weigh(&self, _bytes: usize) {}

    fn reserve_suspect(&self) -> bool {
        self.suspect.take()
    }

    fn release_suspect(&self) {
        self.suspect.give_back();
    }

    fn release(&self, _queue: &str, _bytes: usize) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
    }

    fn in_order(&self) -> bool {
        self.pending.is_some()
    }
}

/// A task that the calling thread has claimed.
pub(super) struct InHand {
    pub(super) task: Claimed,
    pub(super) ticket: Ticket,
    /// Held for a task with a crash on record.
    pub(super) alone: Option<Alone>,
}

/// The place of a suspect, until it is dropped.
pub(super) struct Alone {
    place: SuspectHold,
    signal: Arc<Signal>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.place.give_back();
        // A pool may have passed over the next one.
        self.signal.ring(Notice::Work);
    }
}
