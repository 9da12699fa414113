//! Run: what each thread of a pool has before it.
//!
//! A slot never moves and never goes, so a thread may come and go while others look: a pool that is made
//! smaller keeps the slots it had, and one that is made larger adds a block of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::attempt::Prepared;
use crate::context::Token;
use crate::operate::WORKERS_MAX;
use crate::record::{Claimed, Finish, Lease};

/// Slots that are made at a time.
const BLOCK: usize = 32;

/// A body under way.
pub(super) struct Running {
    pub(super) lease: Lease,
    pub(super) token: Arc<Token>,
    pub(super) prepared: Arc<Prepared>,
    /// The owner in whose places it is counted: that of its lease, unless the process was given up
    /// and has joined again meanwhile.
    pub(super) place_of: i64,
    /// Its lease was taken away because it did not stop.
    pub(super) abandoned: bool,
}

/// What one thread has before it. Its lock is the thread's own but for those who look: the keeper,
/// and threads that have nothing to do.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) chunk: VecDeque<Claimed>,
    /// Finishes that are not in line yet.
    pub(super) done: Vec<Finish>,
    pub(super) running: Option<Running>,
    /// Its thread has something in hand: from the first task it is given until all that they came to
    /// stands in line.
    pub(super) busy: bool,
}

/// A block that is made when its first slot is needed.
type Block = OnceLock<Box<[Mutex<Slot>]>>;

/// The slots of a pool, by number.
pub(super) struct Slots {
    blocks: Box<[Block]>,
    /// How many there are; never fewer.
    used: AtomicUsize,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let blocks = (0..WORKERS_MAX.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect();
        let slots = Self { blocks, used: AtomicUsize::new(0) };
        slots.grow(count);
        slots
    }

    /// Makes sure that there are this many.
    pub(super) fn grow(&self, count: usize) {
        self.used.fetch_max(count, Ordering::SeqCst);
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Those that there are, in the order of their numbers, each locked when it comes.
    pub(super) fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, Slot>> {
        (0..self.used()).map(|number| self.get(number))
    }

    pub(super) fn get(&self, number: usize) -> MutexGuard<'_, Slot> {
        let made = || (0..BLOCK).map(|_| Mutex::default()).collect();
        let block = self.blocks[number / BLOCK].get_or_init(made);
        block[number % BLOCK].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
