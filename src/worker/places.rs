//! Claim: what a pool offers to the engine: places for tasks, counted without a lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::{Offer, Room, SuspectHold, SuspectPlace, next_view};
use crate::registry::Registry;

/// Work held beyond the free threads: at most this much run time of one kind …
const AHEAD: Duration = Duration::from_millis(20);
/// … at most this many tasks …
pub(super) const AHEAD_MAX: usize = 2_048;
/// … and at most this many bytes of arguments.
const AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a pool runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolConfig {
    pub(crate) name: String,
    pub(crate) threads: usize,
    /// Queues to serve; empty: all.
    pub(crate) queues: Vec<String>,
    /// Queues not to serve.
    pub(crate) exclude: Vec<String>,
    /// Threads that one queue may occupy.
    pub(crate) threads_for: HashMap<String, usize>,
    /// Shares of queues; empty: rank alone decides.
    pub(crate) weights: HashMap<String, u32>,
    /// How long after its time-out a body that has not stopped loses its lease; none: 10 s.
    pub(crate) stuck_after: Option<Duration>,
    /// How long a finish waits for company; none: 5 ms.
    pub(crate) finish_delay: Option<Duration>,
    /// How long it waits before it asks for a look at work that nobody runs; none: 30 s. Whoever asks, the
    /// client looks at most every 30 s.
    pub(crate) look_every: Option<Duration>,
}

/// The places of a pool under one owner number: what it offers to the engine.
pub(super) struct Places {
    pub(super) owner: i64,
    view: u64,
    threads: AtomicUsize,
    held: AtomicUsize,
    /// How many were held when the last claim found no room.
    full_at: AtomicUsize,
    bytes: AtomicUsize,
    /// What was claimed for places that nobody offers any more is not run, nor what was in line there; so it is
    /// given back with these.
    suspect: SuspectHold,
    registry: Arc<Registry>,
    queues: Vec<String>,
    exclude: Vec<String>,
    limits: HashMap<String, (usize, AtomicUsize)>,
    weights: HashMap<String, u32>,
    turns: Mutex<Turns>,
}

impl Places {
    pub(super) fn new(
        owner: i64,
        registry: Arc<Registry>,
        config: &PoolConfig,
        threads: usize,
        suspect: Arc<SuspectPlace>,
    ) -> Self {
        let limits = config.threads_for.iter();
        Self {
            owner,
            view: next_view(),
            threads: AtomicUsize::new(threads),
            held: AtomicUsize::new(0),
            full_at: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            suspect: SuspectHold::new(suspect),
            registry,
            queues: config.queues.clone(),
            exclude: config.exclude.clone(),
            limits: limits.map(|(name, max)| (name.clone(), (*max, AtomicUsize::new(0)))).collect(),
            weights: if crate::fault::planted("weights_ignored") {
                HashMap::new()
            } else {
                config.weights.clone()
            },
            turns: Mutex::default(),
        }
    }

    /// How many tasks of a kind may be held beyond the threads.
    fn ahead(&self, kind: &str) -> usize {
        let nanos = self.registry.get(kind).and_then(|handler| handler.pace.nanos());
        nanos.map_or(0, |nanos| {
            usize::try_from(AHEAD.as_nanos() / u128::from(nanos))
                .unwrap_or(AHEAD_MAX)
                .min(AHEAD_MAX)
        })
    }

    fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }

    pub(super) fn set_threads(&self, threads: usize) {
        self.threads.store(threads, Ordering::SeqCst);
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.load(Ordering::SeqCst) < self.threads()
    }

    /// Down to half of what was held when there was no more room: worth another claim.
    pub(super) fn is_low(&self) -> bool {
        let full_at = self.full_at.load(Ordering::SeqCst);
        let ahead = full_at.saturating_sub(self.threads());
        full_at == 0 || self.held.load(Ordering::SeqCst) <= self.threads() + ahead / 2
    }

    /// Whether any task is held.
    pub(super) fn holds_any(&self) -> bool {
        self.held.load(Ordering::SeqCst) > 0
    }

    /// Takes over the place of a suspect whose body goes on.
    pub(super) fn adopt_suspect(&self, from: &Self) {
        self.suspect.adopt(&from.suspect);
    }

    /// Counts a body that occupies a thread already.
    pub(super) fn adopt(&self, queue: &str, bytes: usize) {
        self.held.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        if let Some((_, taken)) = self.limits.get(queue) {
            taken.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether asking for a place could succeed.
    pub(super) fn may_have_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.threads() + AHEAD_MAX
    }

    fn stride(&self, queue: &str) -> u64 {
        const ONE: u64 = 1 << 20;
        ONE / u64::from(self.weights.get(queue).copied().unwrap_or(1).max(1))
    }
}

impl Offer for Places {
    fn owner(&self) -> i64 {
        self.owner
    }

    fn view(&self) -> u64 {
        self.view
    }

    fn serves(&self, queue: &str, kind: &str) -> bool {
        let included = self.queues.is_empty() || self.queues.iter().any(|name| name == queue);
        included
            && !self.exclude.iter().any(|name| name == queue)
            && self.registry.get(kind).is_some()
    }

    fn room(&self) -> usize {
        // Until something is held beyond the threads, no run time may be known.
        let held = self.held.load(Ordering::SeqCst);
        let most = self.full_at.load(Ordering::SeqCst).max(held);
        let ahead = if most > self.threads() { AHEAD_MAX } else { 0 };
        (self.threads() + ahead).saturating_sub(held)
    }

    fn is_free(&self) -> bool {
        self.has_room()
    }

    fn reserve(&self, queue: &str, kind: &str, bytes: usize) -> Room {
        let held = self.held.load(Ordering::SeqCst);
        let limited = self.limits.get(queue);
        let free = held < self.threads();
        let ahead = free
            || limited.is_none()
                && held < self.threads() + self.ahead(kind)
                && self.bytes.load(Ordering::SeqCst) + bytes <= AHEAD_BYTES_MAX;
        if !ahead {
            self.full_at.store(held, Ordering::SeqCst);
            return Room::Full;
        }
        if let Some((max, taken)) = limited {
            if taken.load(Ordering::SeqCst) >= *max {
                return Room::QueueFull;
            }
            taken.fetch_add(1, Ordering::SeqCst);
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        Room::Taken
    }

    fn weigh(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn reserve_suspect(&self) -> bool {
        self.suspect.take()
    }

    fn release_suspect(&self) {
        self.suspect.give_back();
    }

    fn release(&self, queue: &str, bytes: usize) {
        self.held.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if let Some((_, taken)) = self.limits.get(queue) {
            taken.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn in_order(&self) -> bool {
        true
    }

    fn weighted(&self) -> bool {
        !self.weights.is_empty()
    }

    fn turn_of(&self, queue: &str) -> u64 {
        if self.weights.is_empty() {
            return 0;
        }
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).of(queue)
    }

    /// Stride scheduling (Waldspurger and Weihl, 1995): a queue's turn moves on by the inverse of
    /// its weight with each task.
    fn charge(&self, queue: &str) {
        if !self.weights.is_empty() {
            let stride = self.stride(queue);
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).charge(queue, stride);
        }
    }
}

/// When each queue's turn comes.
#[derive(Debug, Default)]
struct Turns {
    next: HashMap<String, u64>,
    /// The turn that was served last.
    served: u64,
}

impl Turns {
    /// A queue that was idle has saved up nothing: it goes on from the turn that was served last.
    fn of(&self, queue: &str) -> u64 {
        self.next.get(queue).copied().unwrap_or(0).max(self.served)
    }

    fn charge(&mut self, queue: &str, stride: u64) {
        self.served = self.of(queue);
        self.next.insert(queue.to_owned(), self.served + stride);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::context::{Context, States};
    use crate::outcome::Result;
    use crate::registry::{Definition, Task};

    #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
    struct Quick {}

    impl Task for Quick {
        const NAME: &'static str = "quick";
        type Output = ();

        fn run(self, _: &Context) -> Result<()> {
            Ok(())
        }
    }

    fn places(threads: usize) -> Places {
        let kinds = vec![Definition::of::<Quick>()];
        let registry = Registry::new(kinds, Vec::new(), States::new(), &mut Catalog::default());
        let registry = Arc::new(registry.expect("one kind"));
        Places::new(1, registry, &PoolConfig::default(), threads, Arc::default())
    }

    #[test]
    fn a_pool_asks_for_what_its_threads_may_hold_and_for_more_once_more_was_held() {
        let places = places(4);
        assert_eq!(places.room(), 4);
        while places.reserve("default", "quick", 0) == Room::Taken {}
        assert_eq!(places.room(), 0, "nobody knows yet how long it runs");
        let handler = places.registry.get("quick").expect("it is known");
        handler.pace.note(Duration::from_micros(100));
        while places.reserve("default", "quick", 0) == Room::Taken {}
        let ahead = 200; // Of 100 µs each, 20 ms of work.
        assert_eq!(places.held.load(Ordering::SeqCst), 4 + ahead);
        assert_eq!(places.room(), AHEAD_MAX - ahead);
        for _ in 0..4 + ahead {
            places.release("default", 0);
        }
        assert_eq!(places.room(), 4 + AHEAD_MAX, "as there was more than the threads");
    }
}
