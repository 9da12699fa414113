//! Tests of a pool from the inside: what only a race or a failing start shows from outside.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::inline::Inline;
use super::places::{Places, PoolConfig};
use super::pool::Pool;
use super::state::{self, Held};
use crate::attempt::stopped;
use crate::backend::{Backend, Offer, Operate};
use crate::backends::spy::Spy;
use crate::catalog::Catalog;
use crate::client::Client;
use crate::context::{Context, States, StopReason};
use crate::error::Error;
use crate::event::EventKind;
use crate::gate::{Exclusive, Limits};
use crate::hub::{GRACE_DEFAULT, Life, Pending, PendingRunner, Ran, Runner, Stopped, Stops};
use crate::id::TaskId;
use crate::mishap::{WriteFault, WritePoint};
use crate::mode::Mode;
use crate::outcome::{Outcome, Report, Result as TaskResult};
use crate::record::{Claimed, Finish, Finished, Member, NewTask};
use crate::registry::{Definition, Registry, Task};
use crate::rule::Scope;
use crate::state::State;
use crate::watch::Notice;

const LONG: Duration = Duration::from_secs(20);

thread_local! {
    /// How many threads may still be started from this one.
    static SPAWNS: Cell<usize> = const { Cell::new(usize::MAX) };
}

pub(super) fn check_spawn() -> Result<(), Error> {
    let left = SPAWNS.get();
    SPAWNS.set(left.saturating_sub(1));
    match left {
        0 => Err(Error::Storage { reason: "no thread is left".to_owned(), source: None }),
        _ => Ok(()),
    }
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it did not come to it that {what}");
        std::thread::yield_now();
    }
}

/// Holds bodies until it is opened.
#[derive(Default)]
struct Gate {
    /// How many bodies have come, and whether they may go.
    inside: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut inside = self.inside.lock().expect("not poisoned");
        inside.0 += 1;
        while !inside.1 {
            inside = self.changed.wait(inside).expect("not poisoned");
        }
    }

    fn open(&self) {
        self.inside.lock().expect("not poisoned").1 = true;
        self.changed.notify_all();
    }

    fn close(&self) {
        self.inside.lock().expect("not poisoned").1 = false;
    }

    fn came(&self) -> usize {
        self.inside.lock().expect("not poisoned").0
    }

    fn wait_for(&self, bodies: usize) {
        eventually("the bodies have come", || self.came() >= bodies);
    }
}

/// Waits at the gate, and says why it was asked to stop.
#[derive(Serialize, Deserialize)]
struct Hold;

impl Task for Hold {
    const NAME: &'static str = "hold";
    type Output = String;

    fn run(self, ctx: &Context) -> TaskResult<String> {
        ctx.state::<Arc<Gate>>()?.pass();
        Ok(format!("{:?}", ctx.stop_reason()))
    }
}

/// Passes the gate of its number.
#[derive(Serialize, Deserialize)]
struct Pass {
    gate: usize,
}

impl Task for Pass {
    const NAME: &'static str = "pass";
    type Output = ();

    fn run(self, ctx: &Context) -> TaskResult<()> {
        ctx.state::<Arc<[Gate; 3]>>()?[self.gate].pass();
        Ok(())
    }
}

/// Stops as soon as it has passed the gate, if it was asked to.
#[derive(Serialize, Deserialize)]
struct Heed;

impl Task for Heed {
    const NAME: &'static str = "heed";
    type Output = String;

    fn run(self, ctx: &Context) -> TaskResult<String> {
        ctx.state::<Arc<Gate>>()?.pass();
        ctx.check()?;
        Ok(String::new())
    }
}

struct Place {
    spy: Arc<Spy>,
    gates: Arc<[Gate; 3]>,
    gate: Arc<Gate>,
    client: Client,
    registry: Arc<Registry>,
}

impl Place {
    fn new() -> Self {
        Self::telling([], Arc::default())
    }

    /// One whose receiver of these events waits at a gate.
    fn telling<const N: usize>(events: [EventKind; N], told: Arc<Gate>) -> Self {
        let (spy, gate) = (Arc::new(Spy::default()), Arc::new(Gate::default()));
        let engine = Arc::clone(&spy) as Arc<dyn Backend>;
        let builder = Client::in_memory().engine(engine).environment([] as [(&str, &str); 0]);
        let builder = builder.register(Definition::of::<Hold>()).register(Definition::of::<Heed>());
        let builder = builder.register(Definition::of::<Pass>());
        let builder = if N == 0 { builder } else { builder.on(events, move |_, _| told.pass()) };
        let client = builder.mode(Mode::Hold).open().expect("nothing can fail");
        let mut states = States::new();
        states.insert(std::any::TypeId::of::<Arc<Gate>>(), Arc::new(Arc::clone(&gate)));
        let gates: Arc<[Gate; 3]> = Arc::default();
        states.insert(std::any::TypeId::of::<Arc<[Gate; 3]>>(), Arc::new(Arc::clone(&gates)));
        let definitions =
            vec![Definition::of::<Hold>(), Definition::of::<Heed>(), Definition::of::<Pass>()];
        let registry =
            Registry::new(definitions, Vec::new(), states, &mut Catalog::default()).expect("one");
        Self { spy, gates, gate, client, registry: Arc::new(registry) }
    }

    fn start(&self, threads: usize) -> Result<Arc<Pool>, Error> {
        let stuck_after = Some(Duration::ZERO);
        self.start_with(PoolConfig { threads, stuck_after, ..PoolConfig::default() })
    }

    fn start_with(&self, config: PoolConfig) -> Result<Arc<Pool>, Error> {
        let pool = Pool::start(&self.client.hub, Arc::clone(&self.registry), config)?;
        let runner = Arc::clone(&pool) as Arc<dyn Runner>;
        assert!(self.client.hub.runner.set(runner).is_ok());
        Ok(pool)
    }

    /// Runs in the threads that call it.
    fn callers(&self) -> Inline {
        Inline::new(&self.client.hub, Arc::clone(&self.registry), "callers".to_owned(), false)
    }

    fn state(&self, id: TaskId) -> State {
        self.client.get(id).expect("it is there").state
    }

    /// Tasks that wait, each with a crash on record.
    fn suspects(&self, count: usize) -> Vec<TaskId> {
        let calling = self.client.hub.calling().expect("it names no trace");
        let now = calling.now;
        let owner = self.spy.join(now, &Member::default()).expect("memory is never busy");
        let task = || self.client.hub.prepare(&Hold.call(), &calling).expect("checked");
        let (config, alone) = (PoolConfig::default(), Arc::default());
        let places = Places::new(owner, Arc::clone(&self.registry), &config, count, alone);
        let tasks = (0..count).map(|_| task()).collect();
        let stored = self.spy.enqueue(now, tasks, Some(Arc::new(places))).expect("stored");
        let crashed = stored.iter().filter_map(|stored| stored.claimed.as_ref()).map(|task| {
            let report = Box::new(Report::new("crash", "its process died"));
            Finish::plain(task.id, task.lease, now, now, Outcome::Crashed { report })
        });
        let crashed: Vec<Finish> = crashed.collect();
        assert_eq!(crashed.len(), count);
        self.spy.exchange(now, &crashed, None).expect("memory is never busy");
        stored.into_iter().map(|stored| stored.id).collect()
    }
}

#[test]
fn a_pool_that_cannot_start_leaves_no_thread_and_no_owner_behind() {
    for (threads, deaf) in [(0, false), (2, false), (4, false), (usize::MAX, true)] {
        let place = Place::new();
        place.spy.deaf.store(deaf, Ordering::SeqCst);
        SPAWNS.set(threads);
        let started = place.start(4);
        SPAWNS.set(usize::MAX);
        assert_eq!(started.err().map(|error| error.code()), Some("storage"), "{threads}");
        eventually("the pool has gone", || Arc::strong_count(&place.registry) == 1);
        assert_eq!(place.spy.joined.load(Ordering::SeqCst), 1);
        assert_eq!(place.spy.left.load(Ordering::SeqCst), 1);
        assert_eq!(place.spy.exchanges.load(Ordering::SeqCst), 0, "it claimed something");
    }
}

#[test]
fn a_pool_warns_of_kinds_that_no_pool_knows_and_of_queues_that_nobody_serves() {
    let place = Place::new();
    let now = place.client.hub.clock.now();
    let later = NewTask { due_at: now.after(LONG), ..NewTask::plain("nobody", "later") };
    let tasks = [("default", "strange"), ("nobody", "hold")];
    let tasks = tasks.map(|(queue, kind)| NewTask::plain(queue, kind)).into_iter().chain([later]);
    place.spy.enqueue(now, tasks.collect(), None).expect("stored");
    let config = PoolConfig {
        threads: 1,
        queues: vec!["default".to_owned()],
        look_every: Some(Duration::ZERO),
        ..PoolConfig::default()
    };
    let _pool = place.start_with(config).expect("it starts");
    let warned = || place.client.hub.warner.told();
    eventually("the keeper has looked", || !warned().is_empty());
    let lane = |queue: &str, kind: &str| (queue.to_owned(), kind.to_owned());
    assert_eq!(warned(), [lane("default", "strange"), lane("nobody", "hold")]);
}

#[test]
fn work_that_comes_while_a_thread_looks_elsewhere_is_no_lesser_news_than_a_held_task() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    eventually("it is idle", || pool.state().idle == 1);
    let mut state = pool.state();
    assert!(!state.has_news(pool.places().as_deref()));
    state.work = true;
    assert!(state.has_news(pool.places().as_deref()));
    state.pumping = true;
    assert!(!state.has_news(pool.places().as_deref()), "whoever pumps looks again");
    state.pumping = false;
}

#[test]
fn what_was_handed_over_under_a_number_that_was_given_up_is_run_all_the_same() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    let (lost, places) = (pool.owner(), pool.places().expect("it has joined"));
    // The keeper has seen that nothing is held, so it renews the lease as soon as something is.
    for _ in 0..2 {
        pool.keeper.ring();
        eventually("the keeper looks", || !pool.keeper.is_rung());
    }
    place.spy.given_up.store(true, Ordering::SeqCst);
    let first = place.client.enqueue(Hold.call()).expect("stored");
    place.gate.wait_for(1);
    // One more stands in line behind it, under the same number.
    places.release("default", 0);
    let second = place.client.enqueue(Hold.call()).expect("stored");
    let calling = place.client.hub.calling().expect("it names no trace");
    let now = calling.now;
    let third = place.client.hub.prepare(&Hold.call(), &calling).expect("checked");
    // And one is on its way.
    places.release("default", 0);
    let stored = place.spy.enqueue(now, vec![third], Some(places)).expect("stored");
    let claimed: Vec<_> = stored.into_iter().filter_map(|stored| stored.claimed).collect();
    let ids = [second.id(), claimed[0].id];
    let rescues = place.spy.rescues.load(Ordering::SeqCst);
    eventually("it has joined again", || {
        pool.keeper.ring();
        pool.owner() != lost
    });
    eventually("others are looked at", || place.spy.rescues.load(Ordering::SeqCst) > rescues);
    assert!(pool.take(claimed).is_empty());
    place.gate.open();
    // Nobody has rescued its task, so its answer is kept; but it was asked to stop.
    let reason = format!("{:?}", Some(StopReason::LeaseLost));
    let wait = |id| place.client.handle::<Hold>(id).expect("it is there").wait(LONG);
    assert_eq!(wait(first.id()).expect("it ended"), reason);
    for id in ids {
        assert_eq!(wait(id).expect("it ended"), "None");
        let task = place.client.get(id).expect("it is there");
        assert_eq!((task.attempt, task.worker), (1, pool.owner()), "it ran under the new number");
    }
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
}

#[test]
fn a_pool_that_joins_again_while_it_is_resized_has_the_new_number_of_threads() {
    let place = Place::new();
    let pool = place.start(2).expect("it starts");
    let (resized, resizing) = (Arc::new(Mutex::new(None)), Arc::clone(&pool));
    let later = Arc::clone(&resized);
    let on_join = move || {
        // At once where nothing keeps it from that, else as soon as it may.
        let is_free = resizing.resizing.try_lock().is_ok();
        let thread = std::thread::spawn(move || resizing.resize_to(4).expect("more"));
        if is_free {
            thread.join().expect("it does not panic");
        } else {
            *later.lock().expect("not poisoned") = Some(thread);
        }
    };
    *place.spy.on_join.lock().expect("not poisoned") = Some(Box::new(on_join));
    pool.join().expect("memory is never busy");
    let later = resized.lock().expect("not poisoned").take();
    if let Some(thread) = later {
        thread.join().expect("it does not panic");
    }
    let places = pool.places().expect("it has joined");
    assert_eq!((pool.threads(), places.room()), (4, 4));
    let threads: Vec<usize> =
        place.spy.workers().expect("it answers").iter().map(|worker| worker.threads).collect();
    assert_eq!(threads.last(), Some(&4));
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
}

#[test]
fn a_request_to_stop_is_remembered_until_the_store_no_longer_has_it() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    pool.note_cancels(&HashSet::new(), &[1, 2]);
    let known = pool.known_cancels();
    // While the store is read, somebody asks for row 3.
    pool.note_cancels(&HashSet::new(), &[3]);
    pool.note_cancels(&known, &[2]);
    assert_eq!(pool.known_cancels(), HashSet::from([2, 3]));
    assert!(pool.is_cancelled(3) && !pool.is_cancelled(3), "once is enough");
    // Another process's task: its row is not among those of this pool.
    place.spy.signal().ring(Notice::Cancel(7));
    eventually("the other's row is forgotten", || pool.known_cancels().is_empty());
}

#[test]
fn threads_that_are_too_many_end_and_their_slots_are_used_again() {
    let place = Place::new();
    let pool = place.start(3).expect("it starts");
    let there = || pool.state().threads_left;
    pool.resize_to(1).expect("fewer");
    eventually("two have ended", || there() == 1);
    pool.resize_to(2).expect("more");
    assert_eq!((there(), pool.slots.used()), (2, 3));
    SPAWNS.set(1);
    let failed = pool.resize_to(5);
    SPAWNS.set(usize::MAX);
    assert_eq!(failed.map_err(|error| error.code()), Err("storage"));
    assert_eq!((there(), pool.threads()), (3, 3), "as many as could be");
    let workers = place.spy.workers().expect("it answers");
    assert_eq!(workers[0].threads, 3);
    let handle = place.client.enqueue(Hold.call()).expect("stored");
    place.gate.open();
    handle.wait(LONG).expect("it ran");
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
    assert_eq!(there(), 0);
    assert_eq!(pool.resize_to(2).map_err(|error| error.code()), Err("closed"));
}

#[test]
fn what_must_not_start_twice_stands_alone_before_its_thread() {
    let place = Place::new();
    let claimed = |at_most_once| {
        let once = Hold.call().at_most_once(at_most_once);
        let calling = place.client.hub.calling().expect("it names no trace");
        let new = place.client.hub.prepare(&once, &calling).expect("checked");
        let offer: Arc<dyn Offer> = Arc::new(Places::new(
            1,
            Arc::clone(&place.registry),
            &PoolConfig::default(),
            1,
            Arc::default(),
        ));
        let stored = place.spy.enqueue(calling.now, vec![new], Some(offer)).expect("stored");
        stored.into_iter().next().and_then(|stored| stored.claimed).expect("there is room")
    };
    let mut state = state::State::new(Duration::ZERO);
    for at_most_once in [false, false, true, true, false, false] {
        state.held.push_back(Held { task: claimed(at_most_once), nanos: Some(1) });
    }
    let chunks = std::iter::from_fn(|| state.take_chunk(1)).map(|chunk| chunk.len());
    assert_eq!(chunks.collect::<Vec<_>>(), [2, 1, 1, 2]);
}

/// What has ended waits here for company, but for what asks to be committed at once: while the body behind
/// it runs, in the same thread.
#[test]
fn an_end_that_asks_for_it_is_committed_though_others_wait_for_company() {
    for sync in [false, true] {
        let place = Place::new();
        let delay = Some(Duration::from_secs(60 * 60));
        let config = PoolConfig { threads: 1, finish_delay: delay, ..PoolConfig::default() };
        let pool = place.start_with(config).expect("it starts");
        let [first, second, third] = &*place.gates;
        second.open();
        place.registry.get(Pass::NAME).expect("known").pace.note(Duration::from_nanos(1));
        place.client.enqueue(Pass { gate: 0 }.call()).expect("stored");
        first.wait_for(1);
        let ending = place.client.enqueue(Pass { gate: 1 }.call().finish_sync(sync));
        let ending = ending.expect("stored");
        let behind = place.client.enqueue(Pass { gate: 2 }.call()).expect("stored");
        first.open();
        third.wait_for(1);
        if sync {
            ending.wait(LONG).expect("it is committed");
        }
        let states = [&ending, &behind].map(|handle| handle.refresh().expect("there").state);
        let ended = if sync { State::Succeeded } else { State::Running };
        assert_eq!(states, [ended, State::Running]);
        third.open();
        behind.wait(LONG).expect("it ended");
        pool.drain();
        assert!(pool.wait_idle(Instant::now() + LONG));
        pool.leave().expect("it ends");
    }
}

#[test]
fn a_body_that_heeds_the_loss_of_its_lease_is_handed_back_and_not_cancelled() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    let lost = pool.owner();
    let handle = place.client.enqueue(Heed.call()).expect("stored");
    place.gate.wait_for(1);
    place.spy.given_up.store(true, Ordering::SeqCst);
    pool.lose_leases(lost.expect("it has joined"));
    place.gate.open();
    assert_eq!(handle.wait(LONG).expect("it ran again"), "");
    assert_eq!(place.client.get(handle.id()).expect("it is there").attempt, 1, "refunded");
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
}

#[test]
fn a_slot_is_taken_from_the_body_that_was_found_stuck_and_from_no_other() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    let first = place.client.enqueue(Hold.call()).expect("stored");
    place.gate.wait_for(1);
    let stuck = pool.running().remove(0);
    place.gate.open();
    first.wait(LONG).expect("it ended after all");
    place.gate.close();
    let second = place.client.enqueue(Hold.call()).expect("stored");
    place.gate.wait_for(2);
    assert!(!pool.abandon(&stuck, stopped, true));
    let stuck = pool.running().remove(0);
    assert!(pool.abandon(&stuck, stopped, true) && !pool.abandon(&stuck, stopped, true));
    place.gate.open();
    second.wait(LONG).expect("it was handed back and ran again");
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
}

#[test]
fn the_keeper_keeps_the_time_while_a_receiver_of_events_is_slow() {
    let told = Arc::new(Gate::default());
    let place = Place::telling([EventKind::Failed], Arc::clone(&told));
    let pool = place.start(1).expect("it starts");
    // The only worker is busy, so that nobody but the keeper can store and tell that it is late.
    let late = Hold.call().timeout(Duration::from_millis(1));
    place.client.enqueue(late).expect("stored");
    told.wait_for(1);
    place.spy.signal().ring(Notice::Cancel(7));
    eventually("the keeper looks at requests", || pool.known_cancels().is_empty());
    let rescues = || place.spy.rescues.load(Ordering::SeqCst);
    let before = rescues();
    place.spy.signal().ring(Notice::Foreign);
    eventually("the keeper looks at other processes", || rescues() > before);
    told.open();
    place.gate.open();
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
}

#[test]
fn a_panic_of_the_engine_stops_neither_a_pool_nor_its_end() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    let handle = place.client.enqueue(Hold.call()).expect("stored");
    place.gate.wait_for(1);
    // The keeper's look, and the commit of the end.
    place.spy.panics.store(1, Ordering::SeqCst);
    place.spy.signal().ring(Notice::Foreign);
    eventually("a look panics", || place.spy.panics.load(Ordering::SeqCst) == 0);
    place.spy.panics.store(2, Ordering::SeqCst);
    place.gate.open();
    eventually("it ends", || place.state(handle.id()) == State::Succeeded);
    assert_eq!(pool.state().threads_left, 1);
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
    eventually("all threads have gone", || pool.state().threads_left == 0);
}

#[test]
fn a_pool_is_not_idle_until_what_its_bodies_came_to_stands_in_line() {
    let place = Place::new();
    let pool = place.start(1).expect("it starts");
    let handle = place.client.enqueue(Hold.call()).expect("stored");
    place.gate.wait_for(1);
    // Whoever gives a place back waits here.
    let owner = pool.owner.write().expect("not poisoned");
    place.gate.open();
    eventually("the body has ended", || pool.slot(0).running.is_none());
    assert!(!pool.runs_none());
    drop(owner);
    pool.drain();
    assert!(pool.wait_idle(Instant::now() + LONG));
    pool.leave().expect("it ends");
    assert_eq!(place.state(handle.id()), State::Succeeded);
}

#[test]
fn two_callers_run_no_two_tasks_with_a_crash_on_record_side_by_side() {
    let place = Place::new();
    let callers = place.callers();
    place.suspects(2);
    let run = || callers.run_pending(&Pending::all()).expect("memory is never busy");
    std::thread::scope(|scope| {
        let first = scope.spawn(run);
        place.gate.wait_for(1);
        let second = scope.spawn(run);
        eventually("it has looked", || second.is_finished() || place.gate.came() == 2);
        assert_eq!(place.gate.came(), 1);
        assert_eq!(second.join().expect("it does not panic"), Ran::default());
        place.gate.open();
        assert_eq!(first.join().expect("it does not panic").succeeded, 2);
    });
}

#[test]
fn a_pool_and_its_callers_run_no_two_tasks_with_a_crash_on_record_side_by_side() {
    let place = Place::new();
    let (callers, ids) = (place.callers(), place.suspects(2));
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            callers.run_pending(&Pending::all()).expect("memory is never busy").succeeded
        });
        place.gate.wait_for(1);
        let pool = place.start(2).expect("it starts");
        let plain = place.client.enqueue(Hold.call()).expect("stored");
        place.gate.wait_for(2);
        assert_eq!(ids.iter().filter(|id| place.state(**id) == State::Ready).count(), 1);
        place.gate.open();
        plain.wait(LONG).expect("it ran");
        caller.join().expect("it does not panic");
        for id in ids {
            place.client.handle::<Hold>(id).expect("it is there").wait(LONG).expect("it ran");
        }
        pool.drain();
        assert!(pool.wait_idle(Instant::now() + LONG));
        pool.leave().expect("it ends");
    });
}

/// One runs at a time, and each end is what lets the next one start.
#[test]
fn the_commit_that_ends_a_task_starts_the_next_and_no_other_commit_looks_for_it() {
    const TASKS: usize = 40;
    for locked in [true, false] {
        let place = Place::new();
        let pool = place.start(2).expect("it starts");
        let door = || Exclusive::lock("door").wait();
        let call = || if locked { Hold.call().exclusive(door()) } else { Hold.call() };
        if !locked {
            let one = Limits::none().max_running(1);
            place.client.set_limits(&Scope::kind("hold"), one).expect("it is set");
        }
        let handles = place.client.enqueue_many((0..TASKS).map(|_| call())).expect("stored");
        place.gate.wait_for(1);
        eventually("the other thread is idle", || {
            let state = pool.state();
            state.idle == 1 && !state.pumping && !state.work
        });
        let before = place.spy.exchanges.load(Ordering::SeqCst);
        place.gate.open();
        for handle in handles {
            handle.wait(LONG).expect("it runs");
        }
        let exchanges = place.spy.exchanges.load(Ordering::SeqCst) - before;
        assert!(exchanges < TASKS * 3 / 2, "{exchanges} for {TASKS} tasks, locked: {locked}");
        pool.drain();
        assert!(pool.wait_idle(Instant::now() + LONG));
        pool.leave().expect("it ends");
    }
}

#[test]
fn an_end_that_could_not_be_stored_keeps_its_lease_until_it_is() {
    let place = Place::new();
    let callers = place.callers();
    place.gate.open();
    let handle = place.client.enqueue(Hold.call()).expect("stored");
    place.spy.mishaps().fail(WritePoint::Finish, WriteFault::NotStored, 1);
    let failed = callers.run_pending(&Pending::all());
    assert_eq!(failed.map_err(|error| error.code()), Err("not_stored"));
    assert_eq!(place.state(handle.id()), State::Running);
    let renewals = || place.spy.renewals.load(Ordering::SeqCst);
    let before = renewals();
    callers.minder.renew();
    assert_eq!(renewals(), before + 1);
    callers.send_again();
    assert_eq!(place.state(handle.id()), State::Succeeded);
    callers.minder.renew();
    assert_eq!(renewals(), before + 1, "nothing is held any more");
    callers.drain();
    assert!(callers.wait_idle(Instant::now()));
    callers.leave().expect("it ends");
}

#[test]
fn a_shutdown_takes_no_lease_away_while_an_end_is_on_its_way_again() {
    let place = Place::new();
    let callers = place.callers();
    place.gate.open();
    let handle = place.client.enqueue(Hold.call()).expect("stored");
    place.spy.mishaps().fail(WritePoint::Finish, WriteFault::NotStored, 1);
    callers.run_pending(&Pending::all()).expect_err("its end is kept");
    // Another thread is about to send it.
    let ends = callers.minder.take_unkept();
    callers.drain();
    for _ in 0..2 {
        assert_eq!(callers.leave().map_err(|error| error.code()), Err("not_stored"));
        assert_eq!(place.state(handle.id()), State::Running);
    }
    callers.minder.keep(ends);
    callers.leave().expect("it stores the end first");
    assert_eq!(place.state(handle.id()), State::Succeeded);
}

/// A pool whose end takes no time: it notes until when it is to wait, and cuts that short.
struct Hurried {
    pool: Arc<Pool>,
    life: Arc<Life>,
    until: Mutex<Option<Instant>>,
}

impl Runner for Hurried {
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error> {
        self.pool.offer()
    }

    fn take(&self, claimed: Vec<Claimed>) -> Vec<(TaskId, Finished)> {
        self.pool.take(claimed)
    }

    fn run_stored(&self, id: TaskId) -> Option<Finished> {
        self.pool.run_stored(id)
    }

    fn as_stops(&self) -> Option<&dyn Stops> {
        Some(self)
    }
}

impl Stops for Hurried {
    fn drain(&self) {
        *self.until.lock().expect("not poisoned") = self.life.until();
        self.life.hurry(Instant::now());
        self.pool.drain();
    }

    fn wait_idle(&self, _until: Instant) -> bool {
        self.pool.wait_idle(Instant::now())
    }

    fn ask(&self) {
        self.pool.ask();
    }

    #[cfg(feature = "cli")]
    fn bodies(&self) -> usize {
        self.pool.bodies()
    }

    fn leave(&self) -> Result<Stopped, Error> {
        self.pool.leave()
    }
}

#[test]
fn a_client_that_is_dropped_has_the_default_grace_and_then_hands_back_what_runs() {
    let Place { spy, gate, client, registry, .. } = Place::new();
    let config = PoolConfig { threads: 1, ..PoolConfig::default() };
    let pool = Pool::start(&client.hub, registry, config).expect("it starts");
    let life = Arc::clone(&client.hub.life);
    let hurried = Arc::new(Hurried { pool, life, until: Mutex::default() });
    assert!(client.hub.runner.set(Arc::clone(&hurried) as Arc<dyn Runner>).is_ok());
    let handle = client.enqueue(Hold.call()).expect("stored");
    gate.wait_for(1);
    let begun = Instant::now();
    drop(client);
    let ended = Instant::now();
    let until = hurried.until.lock().expect("not poisoned").expect("somebody shuts down");
    assert!((begun + GRACE_DEFAULT..=ended + GRACE_DEFAULT).contains(&until));
    let task = spy.get(handle.id()).expect("memory is never busy").expect("it is there");
    assert_eq!((task.state, task.attempt), (State::Ready, 0), "its lease was taken from it");
    gate.open();
}
