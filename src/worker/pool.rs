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

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::places::{Places, PoolConfig};
use super::slots::{Running, Slot, Slots};
use super::state::{FINISH_DELAY, Held, Phase, State};
use super::{given_back, tell_lost};
use crate::attempt::{self, Ended, Prepared};
use crate::backend::{Backend, Offer, SuspectPlace};
use crate::client::Client;
use crate::error::Error;
use crate::hook::Hooks;
use crate::hub::{Hub, Runner, STOP_DELAY, Stops};
use crate::id::TaskId;
use crate::inside;
use crate::outcome::Outcome;
use crate::pruner::Pruner;
use crate::record::{Claimed, Finish, Finished, Member};
use crate::registry::Registry;
use crate::time::Clock;

/// After an exchange that failed, the next try waits this long.
const RETRY_EXCHANGE: Duration = Duration::from_millis(100);

/// The pool itself. Its locks are taken in this order: resizing, state, owner, slots by their numbers, cancels.
pub(crate) struct Pool {
    pub(super) hub: Weak<Hub>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pruner: Arc<Pruner>,
    registry: Arc<Registry>,
    pub(super) config: PoolConfig,
    pub(super) owner: RwLock<Option<Arc<Places>>>,
    /// Shared with callers.
    suspect: Arc<SuspectPlace>,
    /// The number of `owner`, to be read without its lock.
    number: AtomicI64,
    state: Mutex<State>,
    pub(super) slots: Slots,
    /// How many threads there are to be.
    pub(super) threads: AtomicUsize,
    /// Held by who changes that number, or joins with it.
    pub(super) resizing: Mutex<()>,
    /// Rows that were asked to stop, as last read.
    pub(super) cancels: Mutex<HashSet<i64>>,
    /// Lets a thread that begins a body skip that lock.
    pub(super) has_cancels: AtomicBool,
    /// The pump has committed, and tells what it came to.
    telling: AtomicBool,
    /// The keeper was asked to fetch finishes from the slots.
    collecting: AtomicBool,
    pub(super) wake: Condvar,
    /// When the keeper last looked.
    pub(super) looked: Mutex<Instant>,
    pub(super) keeper: Bell,
}

impl Pool {
    pub(super) fn new(hub: &Arc<Hub>, registry: Arc<Registry>, config: PoolConfig) -> Arc<Self> {
        let threads = config.threads;
        let delay = config.finish_delay.unwrap_or(FINISH_DELAY);
        Arc::new(Self {
            hub: Arc::downgrade(hub),
            backend: Arc::clone(&hub.backend),
            hooks: Arc::clone(&hub.hooks),
            clock: Arc::clone(&hub.clock),
            pruner: Arc::clone(&hub.pruner),
            registry,
            config,
            owner: RwLock::default(),
            suspect: Arc::clone(&hub.suspect),
            number: AtomicI64::new(0),
            state: Mutex::new(State::new(delay)),
            slots: Slots::new(threads),
            threads: AtomicUsize::new(threads),
            resizing: Mutex::default(),
            cancels: Mutex::default(),
            has_cancels: AtomicBool::new(false),
            telling: AtomicBool::new(false),
            collecting: AtomicBool::new(false),
            wake: Condvar::new(),
            looked: Mutex::new(Instant::now()),
            keeper: Bell::default(),
        })
    }

    /// Becomes an owner, as it does again after it was given up as hung.
    pub(super) fn join(&self) -> Result<i64, Error> {
        // Its places are to be as many as the threads it has told of.
        let _one = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let member = Member {
            name: self.config.name.clone(),
            threads: self.threads(),
            kinds: self.registry.names(),
            serves: true,
            queues: self.config.queues.clone(),
            exclude: self.config.exclude.clone(),
        };
        let owner = self.backend.join(self.clock.now(), &member)?;
        let registry = Arc::clone(&self.registry);
        let alone = Arc::clone(&self.suspect);
        let places = Places::new(owner, registry, &self.config, self.threads(), alone);
        let mut current = self.owner.write().unwrap_or_else(PoisonError::into_inner);
        for mut slot in self.slots() {
            // Its thread is busy, whoever owns the task by now.
            if let Some(running) = &mut slot.running {
                running.place_of = owner;
                let task = &running.prepared.task;
                places.adopt(&task.queue, task.arguments.len());
                if task.crashes > 0
                    && let Some(before) = &*current
                {
                    // It is given back when the body ends.
                    places.adopt_suspect(before);
                }
            }
        }
        *current = Some(Arc::new(places));
        self.number.store(owner, Ordering::SeqCst);
        Ok(owner)
    }

    pub(super) fn places(&self) -> Option<Arc<Places>> {
        self.owner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn owner(&self) -> Option<i64> {
        self.places().map(|places| places.owner)
    }

    /// The number of the owner, without its lock.
    pub(super) fn number(&self) -> i64 {
        self.number.load(Ordering::SeqCst)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = MutexGuard<'_, Slot>> {
        self.slots.iter()
    }

    pub(super) fn slot(&self, number: usize) -> MutexGuard<'_, Slot> {
        self.slots.get(number)
    }

    /// One worker thread, from start to end.
    pub(super) fn work(self: Arc<Self>, slot: usize) {
        self.mark_worker();
        let ended = Error::caught(|| {
            while self.next(slot) {
                self.run_chunk(slot);
            }
            Ok(())
        });
        if let Err(error) = ended {
            tracing::error!(%error, slot, "a thread of the pool has ended");
            self.lose_thread(slot);
        }
        self.state().threads_left -= 1;
        self.wake.notify_all();
    }

    /// Fills this thread's slot, pumping or sleeping until there is work; false at the end.
    fn next(&self, slot: usize) -> bool {
        let mut state = self.state();
        loop {
            if state.should_pump(self.places().as_deref()) {
                state = self.pump(state);
                continue;
            }
            match state.phase {
                Phase::Over => return false,
                Phase::Draining => {}
                Phase::Running => {
                    if self.may_leave(&mut state, slot) {
                        return false;
                    }
                    if let Some(chunk) = state.take_chunk(self.threads()) {
                        // Before the lock is let go, so that whoever takes everything back finds it
                        // in line or in the slot.
                        let mut own = self.slot(slot);
                        own.chunk = chunk;
                        own.busy = true;
                        return true;
                    }
                    drop(state);
                    if self.steal(slot) {
                        return true;
                    }
                    state = self.state();
                    if state.has_news(self.places().as_deref()) {
                        continue;
                    }
                }
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Takes half of what another thread has before it, so that nothing waits behind a body that
    /// runs longer than its kind does on average.
    fn steal(&self, slot: usize) -> bool {
        for victim in (0..self.slots.used()).filter(|victim| *victim != slot) {
            if self.slot(victim).chunk.is_empty() {
                continue;
            }
            // Both at once, so that no task is in neither; in the order of their numbers, as everywhere.
            let mut lower = self.slot(slot.min(victim));
            let mut upper = self.slot(slot.max(victim));
            let (own, other) =
                if slot < victim { (&mut lower, &mut upper) } else { (&mut upper, &mut lower) };
            let keep = other.chunk.len() / 2;
            own.chunk = other.chunk.split_off(keep);
            if !own.chunk.is_empty() {
                own.busy = true;
                return true;
            }
        }
        false
    }

    /// The thread of this slot is gone. What stood before it goes back; what it ran is ended with its lease.
    fn lose_thread(&self, slot: usize) {
        let tasks: Vec<Claimed> = self.slot(slot).chunk.drain(..).collect();
        self.hand_back(&tasks);
        self.state().live.remove(&slot);
        self.slot(slot).busy = false;
    }

    /// Runs what stands in this thread's slot, and keeps the finishes.
    fn run_chunk(&self, slot: usize) {
        let Some(hub) = self.hub.upgrade() else {
            let tasks: Vec<Claimed> = self.slot(slot).chunk.drain(..).collect();
            self.hand_back(&tasks);
            self.slot(slot).busy = false;
            return;
        };
        let client = Client::inner(hub);
        while let Some(prepared) = self.begin(slot) {
            let Ended { finish, kept, .. } = attempt::run(&client, &self.registry, &prepared);
            let lease = finish.lease;
            // A request that came while it ran is of no use to a later attempt.
            let _heard = self.is_cancelled(lease.row);
            let running = self.slot(slot).running.take();
            let place_of = running.as_ref().map_or(lease.owner, |running| running.place_of);
            self.free_place(&prepared.task, place_of);
            let abandoned = running.is_some_and(|running| running.abandoned);
            if abandoned || kept.is_some() {
                if kept.is_none() {
                    tell_lost(&finish, &Error::LeaseLost { id: finish.id, attempt: lease.attempt });
                }
                // Its end was committed before, so no finish tells that there is room now.
                self.look_for_work(!abandoned);
                continue;
            }
            let last = {
                let mut own = self.slot(slot);
                own.done.push(finish);
                own.chunk.is_empty()
            };
            if prepared.finish_sync() {
                self.keep(slot, true, true);
            } else if !last && !self.collecting.swap(true, Ordering::SeqCst) {
                // The next body may take long; the keeper fetches the finishes if it does.
                self.keeper.ring();
            }
        }
        self.keep(slot, false, false);
        drop(client);
    }

    /// Makes the next task of a slot the running one, and notes it for whoever judges a crash.
    fn begin(&self, slot: usize) -> Option<Arc<Prepared>> {
        let prepared = loop {
            let mut own = self.slot(slot);
            let task = own.chunk.pop_front()?;
            if self.is_cancelled(task.lease.row) {
                // Handed back unrun, it is cancelled by the request that stands in its row.
                own.done.push(given_back(&task, self.clock.now()));
                drop(own);
                self.free_place(&task, task.lease.owner);
                continue;
            }
            let prepared = Arc::new(attempt::prepare(&self.registry, task));
            own.running = Some(Running {
                lease: prepared.task.lease,
                token: Arc::clone(&prepared.token),
                place_of: prepared.task.lease.owner,
                prepared: Arc::clone(&prepared),
                abandoned: false,
            });
            break prepared;
        };
        if prepared.timeout().is_some() {
            self.keeper.ring();
        }
        let lease = prepared.task.lease;
        self.backend.note_start(lease.owner, slot, lease.row, lease.attempt);
        crate::fault::point("running");
        Some(prepared)
    }

    pub(super) fn free_place(&self, task: &Claimed, place_of: i64) {
        if let Some(places) = self.places()
            && places.owner == place_of
        {
            places.release(&task.queue, task.arguments.len());
            if task.crashes > 0 {
                places.release_suspect();
            }
        }
    }

    /// There may be something to claim, as a body has ended that has nothing to record; wakes a thread
    /// that sleeps.
    fn look_for_work(&self, finished: bool) {
        let mut state = self.state();
        state.counts.finished += usize::from(finished);
        state.work = true;
        if state.phase != Phase::Running {
            self.wake.notify_all();
        } else if state.idle > 0 {
            self.wake.notify_one();
        }
    }

    /// Puts the finishes of a slot in line to be committed. Both locks at once, so that whoever waits for
    /// the end finds each in the slot or in line.
    fn keep(&self, slot: usize, sync: bool, busy: bool) {
        let state = self.state();
        let mut own = self.slot(slot);
        own.busy = busy;
        let finishes = std::mem::take(&mut own.done);
        drop(own);
        self.keep_all(state, finishes, sync);
    }

    /// Fetches finishes that stand behind bodies which take long.
    pub(super) fn collect(&self) {
        let state = self.state();
        let finishes = self.slots().flat_map(|mut slot| std::mem::take(&mut slot.done)).collect();
        self.collecting.store(false, Ordering::SeqCst);
        self.keep_all(state, finishes, true);
    }

    /// Whether finishes may stand behind a body that takes long.
    pub(super) fn is_collecting(&self) -> bool {
        self.collecting.load(Ordering::SeqCst)
    }

    fn keep_all(&self, mut state: MutexGuard<'_, State>, finishes: Vec<Finish>, sync: bool) {
        let back = finishes.iter().filter(|finish| finish.outcome == Outcome::GivenBack).count();
        state.counts.handed_back += back;
        state.counts.finished += finishes.len() - back;
        state.finishes.extend(finishes);
        state.flush |= sync;
        // There is room again, in the pool or in a queue with a thread limit.
        state.work |= state.left_behind || !self.config.threads_for.is_empty();
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
        let telling = self.hooks.ending(&finishes);
        let now = self.clock.now();
        let answer = Error::caught(|| self.backend.exchange(now, &finishes, offer));
        if let Ok(done) = &answer {
            // Before anybody else pumps, and before what was claimed begins.
            self.telling.store(true, Ordering::SeqCst);
            telling.tell(&finishes, &done.finished, tell_lost);
            self.hooks.tell_unrun(&*self.backend, &done.ended);
            self.telling.store(false, Ordering::SeqCst);
        }
        let mut state = self.state();
        state.pumping = false;
        match answer {
            Ok(done) => {
                state.retry_at = None;
                // What found no room is asked for again when a place is free.
                state.left_behind = done.more;
                if let Some(places) = &places {
                    // What is due already waits for a free place like what is ready, and nobody is woken for it before.
                    let is_full = done.more && !places.has_room();
                    let next_due = done.next_due.filter(|at| !is_full || *at > now);
                    if next_due != state.next_due {
                        state.next_due = next_due;
                        self.keeper.ring();
                    }
                    self.hold(&mut state, done.claimed);
                    if !done.unflushed.is_empty() {
                        drop(state);
                        self.hand_back(&done.unflushed);
                        state = self.state();
                    }
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
        let Some(first) = claimed.first() else { return };
        // They were claimed for one number. When it was given up meanwhile, or the pool stops, it is
        // too late to begin them.
        let late = first.lease.owner != self.number();
        if late || state.phase != Phase::Running {
            let now = self.clock.now();
            state.counts.handed_back += claimed.len();
            state.finishes.extend(claimed.iter().map(|task| given_back(task, now)));
            state.flush = true;
            return self.keeper.ring();
        }
        crate::fault::point("held");
        let weighted = !self.config.weights.is_empty();
        let count = claimed.len();
        for task in claimed {
            let nanos = self.registry.get(&task.kind).and_then(|handler| handler.pace.nanos());
            let place = (task.rank, task.lease.row);
            // With weights the claim has settled the order, which rank alone would undo.
            let last = weighted || state.held.back().is_none_or(|held| held.place() <= place);
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
        let late = state.waiting_since.is_some_and(|since| since.elapsed() >= state.delay);
        let again = state.retry_at.is_some_and(|at| at <= Instant::now());
        let due = state.next_due.is_some_and(|at| at <= self.clock.now());
        if again {
            state.retry_at = None;
        }
        if due {
            // The exchange that follows, now or once there is room, says what is due next.
            state.work = true;
            state.next_due = None;
        }
        state.flush |= late;
        // What comes while it pumps may have found every thread asleep.
        while state.should_pump(self.places().as_deref()) {
            state = self.pump(state);
        }
    }

    /// When the keeper must look at the pump again.
    pub(super) fn pump_due(state: &State) -> Option<Instant> {
        // Whoever pumps looks again at its end.
        if state.pumping {
            return None;
        }
        let flush = state.waiting_since.map(|since| since + state.delay);
        [flush, state.retry_at].into_iter().flatten().min()
    }

    pub(super) fn holds_any(&self) -> bool {
        self.places().is_some_and(|places| places.holds_any())
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().phase == Phase::Over
    }

    /// Whether no thread has anything in hand that could still be told.
    pub(super) fn runs_none(&self) -> bool {
        self.slots().all(|slot| !slot.busy)
    }

    pub(super) fn flush_all(&self) {
        let mut state = self.state();
        let until = Instant::now() + STOP_DELAY;
        // The commit itself has a deadline of its own; a receiver of events has none.
        let is_held_up = || self.telling.load(Ordering::SeqCst) && Instant::now() >= until;
        while state.pumping && !is_held_up() {
            state = self
                .wake
                .wait_timeout(state, FINISH_DELAY)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if !state.pumping && !state.finishes.is_empty() {
            drop(self.pump(state));
        }
    }
}

impl Runner for Pool {
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error> {
        let places = self.places().filter(|places| places.may_have_room());
        Ok(places.map(|places| places as Arc<dyn Offer>))
    }

    fn take(&self, claimed: Vec<Claimed>) -> Vec<(TaskId, Finished)> {
        let mut state = self.state();
        if state.phase == Phase::Running {
            self.hold(&mut state, claimed);
            return Vec::new();
        }
        drop(state);
        self.hand_back(&claimed);
        // A receiver of events may have been called by the very thread that is flushing.
        if inside::receivers() == 0 {
            self.flush_all();
        }
        Vec::new()
    }

    fn run_stored(&self, _id: TaskId) -> Option<Finished> {
        None
    }

    fn beat(&self) -> Option<Duration> {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        Some(looked.elapsed())
    }

    fn as_stops(&self) -> Option<&dyn Stops> {
        Some(self)
    }

    fn resize(self: Arc<Self>, threads: usize) -> Result<bool, Error> {
        self.resize_to(threads).map(|()| true)
    }
}
