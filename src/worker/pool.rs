//! Run: worker threads inside the program that enqueues.
//!
//! ```text
//!   enqueue ──hand-over──► ┌───────────────┐ chunk ┌────────┐ finishes ┌────────────┐
//!   claim (by the pump) ─► │ held, by rank │ ────► │ bodies │ ───────► │ to be kept │ ─► pump
//!                          └───────────────┘       └────────┘          └────────────┘
//! ```
//!
//! There is no dispatching thread. Whichever worker finds that finishes are to be committed, or that
//! there is room for more work, *pumps*: one transaction that records the finishes and claims the
//! next tasks, while the others go on running bodies. One pumps at a time.
//!
//! A pool holds tasks beyond its free threads only for kinds whose run time it knows, and no more
//! than about 20 ms of them. A finish waits at most 5 ms for company, and only while other work
//! waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use super::{keeper, tell_lost};
use crate::attempt::{self, Prepared};
use crate::backend::{Backend, Offer, Room};
use crate::client::{Client, Core, Runner, Stopped};
use crate::context::{StopReason, Token};
use crate::error::Error;
use crate::id::TaskId;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Lease, Member};
use crate::registry::Registry;
use crate::retry::Retry;
use crate::time::{Clock, Timestamp};
use crate::watch::{Listener, Notice};

/// Work held beyond the free threads: at most this much run time of one kind …
const AHEAD: Duration = Duration::from_millis(20);
/// … at most this many tasks …
const AHEAD_MAX: usize = 2_048;
/// … and at most this many bytes of arguments.
const AHEAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A finish waits at most this long for others to be committed with it.
pub(super) const FINISH_DELAY: Duration = Duration::from_millis(5);
/// Finishes of one commit.
const FINISH_BATCH: usize = 1_000;
/// A worker takes at most this many short tasks at once.
const CHUNK_MAX: usize = 64;
/// A worker takes at most this much work at once.
const CHUNK: Duration = Duration::from_micros(500);
/// Bodies that run longer than this do not start while finishes wait.
const SHORT: Duration = Duration::from_millis(1);
/// After an exchange that failed, the next try waits this long.
const RETRY_EXCHANGE: Duration = Duration::from_millis(100);
/// Threads of a pool at most.
pub(crate) const WORKERS_MAX: usize = 1_024;

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
}

/// Whether the pool goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// No claims any more; what runs may end.
    Draining,
    /// Threads end as soon as they can.
    Over,
}

/// A body under way.
pub(super) struct Running {
    pub(super) lease: Lease,
    pub(super) token: Arc<Token>,
    pub(super) prepared: Arc<Prepared>,
    /// Its lease was taken away because it did not stop.
    pub(super) abandoned: bool,
}

/// A task held by the pool, not started.
struct Held {
    task: Claimed,
    /// How long it will run, as far as is known.
    nanos: Option<u64>,
}

pub(super) struct State {
    phase: Phase,
    held: VecDeque<Held>,
    finishes: Vec<Finish>,
    /// When the oldest finish began to wait.
    pub(super) waiting_since: Option<Instant>,
    flush: bool,
    idle: usize,
    pumping: bool,
    /// Something may be claimed.
    work: bool,
    retry_at: Option<Instant>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) running: Vec<Option<Running>>,
    counts: Stopped,
    threads_left: usize,
}

/// The pool itself.
pub(crate) struct Pool {
    pub(super) core: Weak<Core>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    config: PoolConfig,
    owner: RwLock<Option<Arc<Places>>>,
    state: Mutex<State>,
    wake: Condvar,
    pub(super) keeper: keeper::Bell,
}

/// The places of a pool under one owner number: what it offers to the engine.
pub(crate) struct Places {
    owner: i64,
    threads: usize,
    held: AtomicUsize,
    bytes: AtomicUsize,
    suspect: AtomicBool,
    registry: Arc<Registry>,
    queues: Vec<String>,
    exclude: Vec<String>,
    limits: HashMap<String, (usize, AtomicUsize)>,
    weights: HashMap<String, u32>,
    turns: Mutex<HashMap<String, u64>>,
}

impl Places {
    fn new(owner: i64, registry: Arc<Registry>, config: &PoolConfig) -> Self {
        let limits = config.threads_for.iter();
        Self {
            owner,
            threads: config.threads,
            held: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            suspect: AtomicBool::new(false),
            registry,
            queues: config.queues.clone(),
            exclude: config.exclude.clone(),
            limits: limits.map(|(name, max)| (name.clone(), (*max, AtomicUsize::new(0)))).collect(),
            weights: config.weights.clone(),
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

    fn has_room(&self) -> bool {
        self.held.load(Ordering::SeqCst) < self.threads
    }

    /// Below half of what may be held: worth another claim.
    fn is_low(&self) -> bool {
        self.held.load(Ordering::SeqCst) < self.threads + AHEAD_MAX / 2
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

    fn serves(&self, queue: &str, kind: &str) -> bool {
        let included = self.queues.is_empty() || self.queues.iter().any(|name| name == queue);
        included
            && !self.exclude.iter().any(|name| name == queue)
            && self.registry.get(kind).is_some()
    }

    fn reserve(&self, queue: &str, kind: &str, bytes: usize) -> Room {
        let held = self.held.load(Ordering::SeqCst);
        let limited = self.limits.get(queue);
        let free = held < self.threads;
        let ahead = free
            || limited.is_none()
                && held < self.threads + self.ahead(kind)
                && self.bytes.load(Ordering::SeqCst) + bytes <= AHEAD_BYTES_MAX;
        if !ahead {
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
        !self.suspect.swap(true, Ordering::SeqCst)
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
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = turns.values().min().copied().unwrap_or(0);
        turns.get(queue).copied().unwrap_or(newest)
    }

    /// Stride scheduling (Waldspurger and Weihl, 1995): a queue's turn moves on by the inverse of
    /// its weight with each task.
    fn charge(&self, queue: &str) {
        if self.weights.is_empty() {
            return;
        }
        let turn = self.turn_of(queue) + self.stride(queue);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.insert(queue.to_owned(), turn);
    }
}

impl Pool {
    /// Joins, and starts the threads.
    pub(crate) fn start(
        core: &Arc<Core>,
        registry: Arc<Registry>,
        config: PoolConfig,
    ) -> Result<Arc<Self>, Error> {
        let threads = config.threads;
        let pool = Arc::new(Self {
            core: Arc::downgrade(core),
            backend: Arc::clone(&core.backend),
            clock: Arc::clone(&core.clock),
            registry,
            config,
            owner: RwLock::default(),
            state: Mutex::new(State {
                phase: Phase::Running,
                held: VecDeque::new(),
                finishes: Vec::new(),
                waiting_since: None,
                flush: false,
                idle: 0,
                pumping: false,
                work: true,
                retry_at: None,
                next_due: None,
                running: (0..threads).map(|_| None).collect(),
                counts: Stopped::default(),
                threads_left: threads,
            }),
            wake: Condvar::new(),
            keeper: keeper::Bell::default(),
        });
        pool.join()?;
        let listener: Arc<dyn Listener> = Arc::clone(&pool) as Arc<dyn Listener>;
        pool.backend.signal().listen(&listener);
        pool.backend.watch()?;
        let weak = Arc::downgrade(&pool);
        pool.clock.on_step(Arc::new(move || {
            if let Some(pool) = weak.upgrade() {
                pool.notice(Notice::Clock);
            }
        }));
        for slot in 0..threads {
            let pool = Arc::clone(&pool);
            spawn(format!("litework-{slot}"), move || pool.work(slot))?;
        }
        keeper::start(&pool)?;
        Ok(pool)
    }

    /// Becomes an owner, as it does again after it was given up as hung.
    pub(super) fn join(&self) -> Result<(), Error> {
        let member = Member {
            name: self.config.name.clone(),
            threads: self.config.threads,
            kinds: self.registry.names(),
            serves: true,
        };
        let owner = self.backend.join(self.clock.now(), &member)?;
        let places = Places::new(owner, Arc::clone(&self.registry), &self.config);
        *self.owner.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(places));
        Ok(())
    }

    pub(super) fn places(&self) -> Option<Arc<Places>> {
        self.owner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn owner(&self) -> Option<i64> {
        self.places().map(|places| places.owner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One worker thread, from start to end.
    fn work(self: Arc<Self>, slot: usize) {
        while let Some(chunk) = self.next(slot) {
            self.run_chunk(slot, chunk);
        }
        let mut state = self.state();
        state.threads_left -= 1;
        self.wake.notify_all();
    }

    /// The next tasks to run, pumping or sleeping until there are some; `None` at the end.
    fn next(&self, slot: usize) -> Option<Vec<Prepared>> {
        let mut state = self.state();
        loop {
            if state.should_pump(self.places().as_deref()) {
                state = self.pump(state);
                continue;
            }
            match state.phase {
                Phase::Over => return None,
                Phase::Draining => {}
                Phase::Running => {
                    if let Some(chunk) = state.take_chunk(self.config.threads) {
                        drop(state);
                        return Some(self.prepare(slot, chunk));
                    }
                }
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn prepare(&self, _slot: usize, chunk: Vec<Claimed>) -> Vec<Prepared> {
        chunk.into_iter().map(|task| attempt::prepare(&self.registry, task)).collect()
    }

    fn run_chunk(&self, slot: usize, chunk: Vec<Prepared>) {
        let Some(core) = self.core.upgrade() else {
            let tasks: Vec<Claimed> = chunk.into_iter().map(|prepared| prepared.task).collect();
            return self.hand_back(&tasks);
        };
        let client = Client { core };
        let short = chunk.len() > 1;
        let mut finishes = Vec::with_capacity(chunk.len());
        let mut sync = false;
        for prepared in chunk {
            let prepared = Arc::new(prepared);
            let lease = prepared.task.lease;
            let watched = !short || prepared.timeout().is_some();
            // One lock a task is spared for tasks that end before anybody could ask about them.
            if watched {
                self.note_running(slot, &prepared);
            }
            self.backend.note_start(lease.owner, slot, lease.row, lease.attempt);
            crate::fault::point("running");
            let finish = attempt::run(&client, &self.registry, &prepared);
            sync |= prepared.finish_sync();
            let abandoned = watched && self.note_ended(slot);
            self.free_place(&prepared.task);
            if abandoned {
                tell_lost(&finish, &Error::LeaseLost { id: finish.id, attempt: lease.attempt });
            } else {
                finishes.push(finish);
            }
        }
        // If this is the last client, dropping it shuts the pool down, which commits what is kept.
        self.keep(finishes, sync);
        drop(client);
    }

    fn note_running(&self, slot: usize, prepared: &Arc<Prepared>) {
        let mut state = self.state();
        state.running[slot] = Some(Running {
            lease: prepared.task.lease,
            token: Arc::clone(&prepared.token),
            prepared: Arc::clone(prepared),
            abandoned: false,
        });
        drop(state);
        if prepared.timeout().is_some() {
            self.keeper.ring();
        }
    }

    /// Whether its lease was taken away meanwhile.
    fn note_ended(&self, slot: usize) -> bool {
        self.state().running[slot].take().is_some_and(|running| running.abandoned)
    }

    fn free_place(&self, task: &Claimed) {
        if let Some(places) = self.places()
            && places.owner == task.lease.owner
        {
            places.release(&task.queue, task.arguments.len());
            if task.crashes > 0 {
                places.suspect.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Puts finishes in line to be committed.
    fn keep(&self, finishes: Vec<Finish>, sync: bool) {
        let mut state = self.state();
        state.counts.finished += finishes.len();
        state.finishes.extend(finishes);
        state.flush |= sync;
        // A queue with a thread limit may have room again.
        state.work |= !self.config.threads_for.is_empty();
        if state.waiting_since.is_none() && !state.finishes.is_empty() {
            state.waiting_since = Some(Instant::now());
            if state.idle == 0 {
                self.keeper.ring();
            }
        }
        if state.phase != Phase::Running {
            self.wake.notify_all();
        }
    }

    /// Hands tasks back unrun.
    fn hand_back(&self, tasks: &[Claimed]) {
        let now = self.clock.now();
        let back: Vec<Finish> = tasks.iter().map(|task| given_back(task, now)).collect();
        for task in tasks {
            self.free_place(task);
        }
        let mut state = self.state();
        state.counts.handed_back += back.len();
        state.finishes.extend(back);
        state.flush = true;
    }

    /// One exchange: commits the finishes, claims what there is room for.
    fn pump<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.pumping = true;
        state.work = false;
        state.flush = false;
        state.waiting_since = None;
        let finishes = std::mem::take(&mut state.finishes);
        let running = state.phase == Phase::Running;
        drop(state);
        let places = self.places().filter(|_| running);
        let offer = places.as_deref().map(|places| places as &dyn Offer);
        let answer = self.backend.exchange(self.clock.now(), &finishes, offer);
        let mut state = self.state();
        state.pumping = false;
        match answer {
            Ok(done) => {
                for (finish, kept) in finishes.iter().zip(&done.finished) {
                    if let Err(error) = kept {
                        tell_lost(finish, error);
                    }
                }
                state.retry_at = None;
                state.work |= done.more;
                if offer.is_some() {
                    if done.next_due != state.next_due {
                        state.next_due = done.next_due;
                        self.keeper.ring();
                    }
                    self.hold(&mut state, done.claimed);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the queue file could not be written; trying again");
                state.finishes.splice(0..0, finishes);
                state.work = true;
                state.retry_at = Some(Instant::now() + RETRY_EXCHANGE);
                self.keeper.ring();
            }
        }
        state
    }

    /// Keeps claimed tasks in rank order and wakes threads for them.
    fn hold(&self, state: &mut State, claimed: Vec<Claimed>) {
        if claimed.is_empty() {
            return;
        }
        crate::fault::point("held");
        let count = claimed.len();
        for task in claimed {
            let nanos = self.registry.get(&task.kind).and_then(|handler| handler.pace.nanos());
            let place = (task.rank, task.lease.row);
            let last = state.held.back().is_none_or(|held| held.place() <= place);
            let held = Held { task, nanos };
            if last {
                state.held.push_back(held);
            } else {
                let at = state.held.partition_point(|held| held.place() <= place);
                state.held.insert(at, held);
            }
        }
        for _ in 0..count.min(state.idle) {
            self.wake.notify_one();
        }
    }

    /// The keeper's share of the pump: what no thread is free to do.
    pub(super) fn pump_if_due(&self) {
        let mut state = self.state();
        let late = state.waiting_since.is_some_and(|since| since.elapsed() >= FINISH_DELAY);
        let again = state.retry_at.is_some_and(|at| at <= Instant::now());
        let due = state.next_due.is_some_and(|at| at <= self.clock.now());
        if again {
            state.retry_at = None;
        }
        if due {
            state.work = true;
        }
        state.flush |= late;
        let ready = state.should_pump(self.places().as_deref());
        if ready {
            drop(self.pump(state));
        }
    }

    /// When the keeper must look at the pump again.
    pub(super) fn pump_due(state: &State) -> Option<Instant> {
        // Whoever pumps looks again at its end.
        if state.pumping {
            return None;
        }
        let flush = state.waiting_since.map(|since| since + FINISH_DELAY);
        [flush, state.retry_at].into_iter().flatten().min()
    }

    pub(super) fn holds_any(&self) -> bool {
        self.places().is_some_and(|places| places.held.load(Ordering::SeqCst) > 0)
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().phase == Phase::Over
    }

    /// Takes the lease of a body that does not stop; its thread stays behind.
    pub(super) fn abandon(&self, slot: usize, outcome: impl Fn(&Prepared) -> Outcome, stuck: bool) {
        let mut state = self.state();
        let Some(running) = state.running[slot].as_mut().filter(|running| !running.abandoned)
        else {
            return;
        };
        running.abandoned = true;
        let prepared = Arc::clone(&running.prepared);
        let now = self.clock.now();
        let mut finish = given_back(&prepared.task, now);
        finish.outcome = outcome(&prepared);
        finish.retry = Arc::clone(&prepared.retry);
        finish.stuck = stuck;
        state.finishes.push(finish);
        state.flush = true;
    }

    fn wait_until(&self, until: Instant, done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state();
        loop {
            if done(&state) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn flush_all(&self) {
        let mut state = self.state();
        while state.pumping {
            state = self
                .wake
                .wait_timeout(state, FINISH_DELAY)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if !state.finishes.is_empty() {
            drop(self.pump(state));
        }
    }
}

impl Held {
    fn place(&self) -> (i64, i64) {
        (self.task.rank, self.task.lease.row)
    }
}

fn given_back(task: &Claimed, now: Timestamp) -> Finish {
    Finish {
        id: task.id,
        lease: task.lease,
        started_at: task.started_at,
        finished_at: now,
        outcome: Outcome::GivenBack,
        retry: Arc::new(Retry::default()),
        chance: fastrand::f64(),
        durability: None,
        stuck: false,
    }
}

impl State {
    /// Whether an exchange is worth its commit now.
    fn should_pump(&self, places: Option<&Places>) -> bool {
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
            || self.waiting_since.is_some_and(|since| since.elapsed() >= FINISH_DELAY)
    }

    /// One task, or several short ones.
    fn take_chunk(&mut self, threads: usize) -> Option<Vec<Claimed>> {
        let first = self.held.pop_front()?;
        let mut budget = CHUNK.as_nanos();
        let fair = (self.held.len() / threads.max(1)).min(CHUNK_MAX - 1);
        let mut chunk = Vec::with_capacity(fair + 1);
        let mut nanos = first.nanos;
        chunk.push(first.task);
        while chunk.len() <= fair {
            let Some(cost) = nanos.map(u128::from).filter(|cost| *cost <= budget) else { break };
            budget -= cost;
            let Some(next) = self.held.pop_front() else { break };
            nanos = next.nanos;
            chunk.push(next.task);
        }
        Some(chunk)
    }
}

impl Listener for Pool {
    fn notice(&self, notice: Notice) {
        let mut state = self.state();
        match notice {
            Notice::Work | Notice::Foreign | Notice::Clock => {
                state.work = true;
                if state.idle > 0 {
                    self.wake.notify_one();
                }
            }
            Notice::Cancel => {}
        }
        let holding = state.running.iter().any(Option::is_some) || !state.held.is_empty();
        drop(state);
        match notice {
            Notice::Foreign => self.keeper.foreign(holding),
            Notice::Cancel => self.keeper.cancel(),
            Notice::Clock => self.keeper.ring(),
            Notice::Work => {}
        }
    }
}

impl Runner for Pool {
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error> {
        let places = self
            .places()
            .filter(|places| places.held.load(Ordering::Relaxed) < places.threads + AHEAD_MAX);
        Ok(places.map(|places| places as Arc<dyn Offer>))
    }

    fn take(&self, claimed: Vec<Claimed>) {
        let mut state = self.state();
        if state.phase == Phase::Running {
            return self.hold(&mut state, claimed);
        }
        drop(state);
        self.hand_back(&claimed);
        self.flush_all();
    }

    fn run_stored(&self, _id: TaskId) {}

    fn shutdown(&self, grace: Duration) -> Result<Stopped, Error> {
        let until = Instant::now() + grace.min(Duration::from_secs(365 * 24 * 60 * 60));
        let held: Vec<Claimed> = {
            let mut state = self.state();
            state.phase = Phase::Draining;
            state.counts = Stopped::default();
            state.held.drain(..).map(|held| held.task).collect()
        };
        self.hand_back(&held);
        self.wake.notify_all();
        let none_runs = |state: &State| state.running.iter().all(Option::is_none);
        if !self.wait_until(until, none_runs) {
            self.stop_running();
        }
        let slots = self.config.threads;
        let mut still_running = 0;
        for slot in 0..slots {
            let runs =
                self.state().running[slot].as_ref().is_some_and(|running| !running.abandoned);
            if runs {
                still_running += 1;
                self.abandon(slot, |_| Outcome::GivenBack, false);
            }
        }
        self.state().phase = Phase::Over;
        self.wake.notify_all();
        self.keeper.ring();
        self.end_threads(still_running);
        self.flush_all();
        let answer = match self.owner() {
            Some(owner) => self.backend.leave(self.clock.now(), owner),
            None => Ok(()),
        };
        let mut stopped = self.state().counts;
        stopped.handed_back += still_running;
        stopped.still_running = still_running;
        answer.map(|()| stopped)
    }
}

/// How long bodies have between the word to stop and the loss of their lease, in a shutdown.
const STOP_DELAY: Duration = Duration::from_secs(1);

impl Pool {
    fn stop_running(&self) {
        {
            let state = self.state();
            for running in state.running.iter().flatten() {
                running.token.stop(StopReason::Shutdown);
            }
        }
        let none_runs = |state: &State| state.running.iter().all(Option::is_none);
        // Those that did not stop are told apart by the caller.
        let _some_stay = self.wait_until(Instant::now() + STOP_DELAY, none_runs);
    }

    /// Waits until the threads that can end have ended. The last drop of a client may come from a
    /// worker thread itself, which cannot be waited for.
    fn end_threads(&self, stuck: usize) {
        let own = std::thread::current().name().is_some_and(|name| name.starts_with("litework-"));
        let left = stuck + usize::from(own);
        let until = Instant::now() + STOP_DELAY;
        let _stuck_threads_stay = self.wait_until(until, |state| state.threads_left <= left);
    }
}

pub(super) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new().name(name).spawn(body).map(|_detached| ()).map_err(|error| {
        Error::Storage {
            reason: format!("a worker thread cannot be started: {error}"),
            source: Some(error.into()),
        }
    })
}
