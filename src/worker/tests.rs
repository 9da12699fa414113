//! Tests of a pool from the inside: what only a race or a failing start shows from outside.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::places::PoolConfig;
use super::pool::Pool;
use crate::backend::{Backend, Offer, Operate};
use crate::backends::spy::Spy;
use crate::catalog::Catalog;
use crate::client::Client;
use crate::context::{Context, States, StopReason};
use crate::error::Error;
use crate::hub::{Runner, Stops};
use crate::mode::Mode;
use crate::outcome::Result as TaskResult;
use crate::record::NewTask;
use crate::registry::{Definition, Registry, Task};
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

    fn wait_for(&self, bodies: usize) {
        let come = || self.inside.lock().expect("not poisoned").0 >= bodies;
        eventually("the bodies have come", come);
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

struct Place {
    spy: Arc<Spy>,
    gate: Arc<Gate>,
    client: Client,
    registry: Arc<Registry>,
}

impl Place {
    fn new() -> Self {
        let (spy, gate) = (Arc::new(Spy::default()), Arc::new(Gate::default()));
        let engine = Arc::clone(&spy) as Arc<dyn Backend>;
        let builder = Client::in_memory().engine(engine).environment([] as [(&str, &str); 0]);
        let builder = builder.register(Definition::of::<Hold>()).mode(Mode::Hold);
        let client = builder.open().expect("nothing can fail");
        let mut states = States::new();
        states.insert(std::any::TypeId::of::<Arc<Gate>>(), Arc::new(Arc::clone(&gate)));
        let definitions = vec![Definition::of::<Hold>()];
        let registry =
            Registry::new(definitions, Vec::new(), states, &mut Catalog::default()).expect("one");
        Self { spy, gate, client, registry: Arc::new(registry) }
    }

    fn start(&self, threads: usize) -> Result<Arc<Pool>, Error> {
        self.start_as(PoolConfig { threads, ..PoolConfig::default() })
    }

    fn start_as(&self, config: PoolConfig) -> Result<Arc<Pool>, Error> {
        let pool = Pool::start(&self.client.hub, Arc::clone(&self.registry), config)?;
        let runner = Arc::clone(&pool) as Arc<dyn Runner>;
        assert!(self.client.hub.runner.set(runner).is_ok());
        Ok(pool)
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
    let _pool = place.start_as(config).expect("it starts");
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
    let now = place.client.hub.clock.now();
    let calling = place.client.hub.calling().expect("it names no trace");
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
