//! Claim: an offer on terms drawn at random, which counts what was taken of it.
//!
//! Each engine is given an offer of its own on the same terms; afterwards both must have taken the
//! same. Places given back twice, or never taken, underflow and fail the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Offer, Room};

/// The queues of these tests. The second has a limit of its own and, with weights, the smaller share.
pub(super) const QUEUES: [&str; 2] = ["q", "r"];
/// The kinds of these tests.
pub(super) const KINDS: [&str; 2] = ["a", "b"];
/// The set of all lanes, see [`Terms::lanes`].
pub(super) const ALL_LANES: u8 = 0b1111;

/// The bit of a lane in [`Terms::lanes`].
fn lane_bit(queue: &str, kind: &str) -> u8 {
    1 << (2 * u8::from(queue == QUEUES[1]) + u8::from(kind == KINDS[1]))
}

/// What an offer says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) owner: i64,
    pub(super) view: u64,
    /// Which of the four lanes it serves, a bit each.
    pub(super) lanes: u8,
    pub(super) places: usize,
    /// How many of these are threads that are free; on the others a task is held ahead.
    pub(super) threads: usize,
    /// Places for the second queue.
    pub(super) places_limited: usize,
    /// Where each queue's turn begins, where they share by weight.
    pub(super) turns: Option<[u64; 2]>,
    pub(super) in_order: bool,
    /// Whether the place for a task with a crash on record is free.
    pub(super) suspects: bool,
}

impl Terms {
    /// Nine places for every lane, for this owner.
    pub(super) fn open(owner: i64) -> Self {
        Self {
            owner,
            view: crate::backend::next_view(),
            lanes: ALL_LANES,
            places: 9,
            threads: 9,
            places_limited: 9,
            turns: None,
            in_order: true,
            suspects: true,
        }
    }
}

/// What was taken of an offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) held: usize,
    bytes: usize,
    by_queue: BTreeMap<String, usize>,
    suspect: bool,
    turns: BTreeMap<String, u64>,
}

/// The offer.
pub(super) struct Places {
    terms: Terms,
    taken: Mutex<Taken>,
}

impl Places {
    pub(super) fn new(terms: Terms) -> Arc<Self> {
        let turns = terms.turns.into_iter().flat_map(|turns| QUEUES.into_iter().zip(turns));
        let turns = turns.map(|(queue, turn)| (queue.to_owned(), turn)).collect();
        let taken = Taken { suspect: !terms.suspects, turns, ..Taken::default() };
        Arc::new(Self { terms, taken: Mutex::new(taken) })
    }

    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offer for Places {
    fn owner(&self) -> i64 {
        self.terms.owner
    }

    fn view(&self) -> u64 {
        self.terms.view
    }

    fn serves(&self, queue: &str, kind: &str) -> bool {
        self.terms.lanes & lane_bit(queue, kind) != 0
    }

    fn is_free(&self) -> bool {
        self.taken().held < self.terms.threads
    }

    fn reserve(&self, queue: &str, _kind: &str, bytes: usize) -> Room {
        let mut taken = self.taken();
        if taken.held >= self.terms.places {
            return Room::Full;
        }
        let here = taken.by_queue.get(queue).copied().unwrap_or(0);
        if queue == QUEUES[1] && here >= self.terms.places_limited {
            return Room::QueueFull;
        }
        taken.by_queue.insert(queue.to_owned(), here + 1);
        taken.held += 1;
        taken.bytes += bytes;
        Room::Taken
    }

    fn weigh(&self, bytes: usize) {
        self.taken().bytes += bytes;
    }

    fn reserve_suspect(&self) -> bool {
        !std::mem::replace(&mut self.taken().suspect, true)
    }

    fn release_suspect(&self) {
        let was_taken = std::mem::replace(&mut self.taken().suspect, false);
        assert!(was_taken, "the place of a suspect is given back once");
    }

    fn release(&self, queue: &str, bytes: usize) {
        let mut taken = self.taken();
        taken.held -= 1;
        taken.bytes -= bytes;
        let here = taken.by_queue.get_mut(queue).expect("a place of this queue was taken");
        *here -= 1;
        // An engine may take a place and find that the task cannot start.
        taken.by_queue.retain(|_, here| *here > 0);
    }

    fn turn_of(&self, queue: &str) -> u64 {
        self.taken().turns.get(queue).copied().unwrap_or(0)
    }

    fn charge(&self, queue: &str) {
        let stride = if queue == QUEUES[1] { 3 } else { 1 };
        if let Some(turn) = self.taken().turns.get_mut(queue) {
            *turn += stride;
        }
    }

    fn weighted(&self) -> bool {
        self.terms.turns.is_some()
    }

    fn in_order(&self) -> bool {
        self.terms.in_order
    }
}
