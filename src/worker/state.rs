//! Run: what a pool knows behind its one lock, and when it is worth a commit.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::places::Places;
use crate::hub::Stopped;
use crate::record::{Claimed, Finish};
use crate::time::Timestamp;

/// A finish waits at most this long for others to be committed with it, where nothing else is said.
pub(super) const FINISH_DELAY: Duration = Duration::from_millis(5);
/// Finishes of one commit.
const FINISH_BATCH: usize = 1_000;
/// A worker takes at most this many short tasks at once.
const CHUNK_MAX: usize = 64;
/// A worker takes at most this much work at once.
const CHUNK: Duration = Duration::from_micros(500);
/// Bodies that run longer than this do not start while finishes wait.
const SHORT: Duration = Duration::from_millis(1);
/// Whether the pool goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// No claims any more; what runs may end.
    Draining,
    /// Threads end as soon as they can.
    Over,
}

/// A task held by the pool, not started.
pub(super) struct Held {
    pub(super) task: Claimed,
    /// How long it will run, as far as is known.
    pub(super) nanos: Option<u64>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing, and all combinations occur"
)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// A finish waits at most this long for others.
    pub(super) delay: Duration,
    pub(super) held: VecDeque<Held>,
    pub(super) finishes: Vec<Finish>,
    /// When the oldest finish began to wait.
    pub(super) waiting_since: Option<Instant>,
    pub(super) flush: bool,
    pub(super) idle: usize,
    pub(super) pumping: bool,
    /// Something may be claimed.
    pub(super) work: bool,
    /// The last claim left something behind for want of room.
    pub(super) left_behind: bool,
    pub(super) retry_at: Option<Instant>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) counts: Stopped,
    /// Slots that have a thread.
    pub(super) live: BTreeSet<usize>,
    pub(super) threads_left: usize,
}

impl Held {
    pub(super) fn place(&self) -> (i64, i64) {
        (self.task.rank, self.task.lease.row)
    }
}

impl State {
    /// There may be work, and nothing is known of it yet.
    pub(super) fn new(delay: Duration) -> Self {
        Self {
            phase: Phase::Running,
            delay,
            held: VecDeque::new(),
            finishes: Vec::new(),
            waiting_since: None,
            flush: false,
            idle: 0,
            pumping: false,
            work: true,
            left_behind: false,
            retry_at: None,
            next_due: None,
            counts: Stopped::default(),
            live: BTreeSet::new(),
            threads_left: 0,
        }
    }

    /// Whether an exchange is worth its commit now.
    pub(super) fn should_pump(&self, places: Option<&Places>) -> bool {
        if self.pumping || self.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        let claims = self.phase == Phase::Running
            && self.work
            && places.is_some_and(|places| {
                places.has_room() || !self.held.is_empty() && places.is_low()
            });
        claims || self.should_flush()
    }

    fn should_flush(&self) -> bool {
        if self.finishes.is_empty() {
            return false;
        }
        let next_is_short = self.held.front().is_some_and(|held| {
            held.nanos.is_some_and(|nanos| u128::from(nanos) <= SHORT.as_nanos())
        });
        self.flush
            || self.phase != Phase::Running
            || !next_is_short
            || self.finishes.len() >= FINISH_BATCH
            || self.waiting_since.is_some_and(|since| since.elapsed() >= self.delay)
    }

    /// Whether what has ended is stored and told, or cannot be stored now.
    pub(super) fn is_settled(&self) -> bool {
        !self.pumping && (self.finishes.is_empty() || self.retry_at.is_some())
    }

    /// Whether something came while this thread looked elsewhere.
    pub(super) fn has_news(&self, places: Option<&Places>) -> bool {
        !self.held.is_empty() || self.phase == Phase::Over || self.should_pump(places)
    }

    /// One task, or several short ones. One that must not start twice stands alone: a crash ends it as
    /// lost, also where the body before it was the one that crashed.
    pub(super) fn take_chunk(&mut self, threads: usize) -> Option<VecDeque<Claimed>> {
        let first = self.held.pop_front()?;
        let mut budget = CHUNK.as_nanos();
        let fair = (self.held.len() / threads.max(1)).min(CHUNK_MAX - 1);
        let mut chunk = VecDeque::with_capacity(fair + 1);
        let mut nanos = first.nanos;
        let alone = first.task.at_most_once;
        chunk.push_back(first.task);
        while chunk.len() <= fair && !alone {
            let Some(cost) = nanos.map(u128::from).filter(|cost| *cost <= budget) else { break };
            budget -= cost;
            if self.held.front().is_none_or(|next| next.task.at_most_once) {
                break;
            }
            let Some(next) = self.held.pop_front() else { break };
            nanos = next.nanos;
            chunk.push_back(next.task);
        }
        Some(chunk)
    }
}
