//! Rows `latency_*`, `inbox_latency` and `idle_two`: from the call of `enqueue`, or the commit of a row of the
//! inbox, to the start of the body, while nothing else is to do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use litework::{Client, Context, Durability, Mode, Result, Task};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::bench::{Bench, LEVELS};
use crate::process::{self, Helper};
use crate::raw::Raw;
use crate::report::Row;
use crate::stats::{Pair, Target, bootstrap, median, quantile};
use crate::work::{Probe, Resize, await_runs, expect_runs};

/// Pairs to begin with, and at most.
const PAIRS: usize = 3_000;
const PAIRS_MAX: usize = 12_000;
/// Long enough for a thread that has nothing to do to be asleep.
const SETTLE: Duration = Duration::from_micros(300);

/// When the newest body began, in nanoseconds after [`START`].
static BEGAN: AtomicU64 = AtomicU64::new(0);
static START: OnceLock<Instant> = OnceLock::new();

fn nanos() -> u64 {
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Notes when it runs; its arguments are as long as those of the other rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Arrive(pub(crate) Resize);

impl Task for Arrive {
    const NAME: &'static str = "resize";
    type Output = ();

    fn run(self, _: &Context) -> Result<()> {
        BEGAN.store(nanos(), Ordering::SeqCst);
        self.0.work();
        Ok(())
    }
}

/// Microseconds from now until the body that `call` sets off begins.
pub(crate) fn microseconds(call: impl FnOnce()) -> f64 {
    expect_runs(1);
    let called = nanos();
    call();
    await_runs();
    BEGAN.load(Ordering::SeqCst).saturating_sub(called) as f64 / 1e3
}

/// In one process, against an insert and a condition variable.
pub(crate) fn in_process(bench: &Bench) -> Vec<Row> {
    LEVELS.into_iter().flat_map(|level| in_process_at(bench, level)).collect()
}

const P50: Target = Target::AtMost(1.3);
const P95: Target = Target::AtMost(2.0);

fn in_process_at(bench: &Bench, level: Durability) -> Vec<Row> {
    let (ours, limit) = (bench.empty(), bench.empty());
    let probe = Probe::open(&ours.path());
    let builder = Client::builder(ours.path()).register(Arrive::define()).workers(2);
    let client = builder.durability(level).open().expect("the file is ours");
    let raw = Raw::open(&limit.path(), level).expect("the file is ours");
    warm(bench, &client, &raw);
    probe.await_results();
    let post = Post::default();
    let mut pairs: Vec<Pair> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| post.receive());
        let mut wanted = bench.pick(PAIRS, 200);
        while pairs.len() < wanted {
            let number = pairs.len();
            let ours = microseconds(|| {
                client.enqueue(Arrive(Resize::sample(number))).expect("there is room");
            });
            probe.await_results();
            std::thread::sleep(SETTLE);
            let limit = microseconds(|| {
                raw.insert(std::iter::once(Resize::sample(number))).expect("there is room");
                post.send(|place| place.task = Some(Resize::sample(number)));
            });
            std::thread::sleep(SETTLE);
            pairs.push((ours, limit));
            let open = || {
                P50.is_open(bootstrap(&pairs, |pairs| ratio_at(pairs, 0.5)))
                    || P95.is_open(bootstrap(&pairs, |pairs| ratio_at(pairs, 0.95)))
            };
            if pairs.len() == wanted && !bench.quick && wanted < PAIRS_MAX && open() {
                wanted *= 2;
            }
        }
        post.send(|place| place.over = true);
    });
    let row = |name, at, target| {
        let ratio = bootstrap(&pairs, |pairs| ratio_at(pairs, at));
        let (mut ours, mut limit): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let both = (quantile(&mut ours, at), quantile(&mut limit, at));
        let note = format!("{} pairs", pairs.len());
        Row::beside(name, both, "µs", ratio, target).at(level).note(note)
    };
    vec![row("latency_in_process_p50", 0.5, P50), row("latency_in_process_p95", 0.95, P95)]
}

/// Brings both files into their steady state, see the rows `enqueue_*`.
fn warm(bench: &Bench, client: &Client, raw: &Raw) {
    let batches = bench.pick(100, 10);
    expect_runs(batches * 1_000);
    for _ in 0..batches {
        let tasks = Resize::samples(1_000).map(Arrive);
        client.enqueue_many(tasks).expect("there is room");
        raw.insert(Resize::samples(1_000)).expect("there is room");
    }
    await_runs();
}

pub(crate) fn ratio_at(pairs: &[Pair], at: f64) -> f64 {
    let (mut ours, mut limit): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    quantile(&mut ours, at) / quantile(&mut limit, at)
}

/// The bare hand-over: one place, guarded by a condition variable.
#[derive(Default)]
struct Post {
    place: Mutex<Place>,
    filled: Condvar,
}

#[derive(Default)]
struct Place {
    task: Option<Resize>,
    over: bool,
}

impl Post {
    fn send(&self, change: impl FnOnce(&mut Place)) {
        change(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner));
        self.filled.notify_one();
    }

    /// Runs what is sent until there will be no more.
    fn receive(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        while !place.over {
            if let Some(task) = place.task.take() {
                BEGAN.store(nanos(), Ordering::SeqCst);
                task.work();
            } else {
                place = self.filled.wait(place).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Notes the time of the call, to be compared with that of another process.
#[derive(Debug, Serialize, Deserialize)]
struct Cross {
    called: u64,
    args: Resize,
}

impl Task for Cross {
    const NAME: &'static str = "cross";
    type Output = ();

    fn run(self, _: &Context) -> Result<()> {
        let took = wall_nanos().saturating_sub(self.called);
        println!("{took}");
        drop(self.args);
        Ok(())
    }
}

/// Tells the time at which it begins.
#[derive(Debug, Serialize, Deserialize)]
struct Tell {
    number: usize,
}

impl Task for Tell {
    const NAME: &'static str = "tell";
    type Output = usize;

    fn run(self, _: &Context) -> Result<usize> {
        println!("{}", wall_nanos());
        Ok(self.number)
    }
}

fn wall_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// The child of [`cross_process`] and [`inbox`]: has the workers.
pub(crate) fn child(file: &std::path::Path) {
    let builder = Client::builder(file).register(Cross::define()).register(Tell::define());
    let client = builder.workers(2).durability(process::level()).open().expect("the file is ours");
    println!("open");
    process::await_parent();
    client.shutdown(Duration::from_secs(1)).expect("nothing runs");
}

/// Between two processes that have nothing to do in between, and what that idling costs.
pub(crate) fn cross_process(bench: &Bench) -> Vec<Row> {
    let level = Durability::Full;
    let file = bench.empty();
    let builder = Client::builder(file.path()).declare::<Cross>().mode(Mode::Enqueue);
    let client = builder.durability(level).open().expect("the file is ours");
    let helper = Helper::start("cross", &file.path(), level);
    let patience = Duration::from_secs(10);
    assert_eq!(helper.line(patience).as_deref(), Some("open"), "the child opens the file");
    let milliseconds = || {
        let call = Cross { called: wall_nanos(), args: Resize::sample(1) };
        client.enqueue(call).expect("there is room");
        let line = helper.line(patience).expect("the child ran it");
        line.parse::<f64>().expect("a number of nanoseconds") / 1e6
    };
    milliseconds();
    let processes = [std::process::id(), helper.id()];
    let used = || processes.into_iter().map(process::processor_seconds).sum::<f64>();
    let (began, used_before) = (Instant::now(), used());
    let mut random = fastrand::Rng::with_seed(1);
    let mut found: Vec<f64> = (0..bench.pick(120, 6))
        .map(|_| {
            std::thread::sleep(Duration::from_millis(random.u64(500..3_000)));
            milliseconds()
        })
        .collect();
    let share = (used() - used_before) / began.elapsed().as_secs_f64() * 100.0;
    let silences = (0..bench.pick(3, 1)).map(|_| {
        std::thread::sleep(Duration::from_secs(bench.pick(60, 3)));
        milliseconds()
    });
    let silent = median(silences);
    let (p50, p95) = (quantile(&mut found, 0.5), quantile(&mut found, 0.95));
    let note = format!("{} calls, p95 {p95:.2}", found.len());
    vec![
        Row::fixed("latency_cross_process", p50, "ms", Target::AtMost(2.0)).at(level).note(note),
        Row::fixed("idle_two", share, "% core", Target::AtMost(0.5))
            .at(level)
            .note("both together"),
        Row::plain("latency_after_silence", silent, "ms").at(level).note("no target"),
    ]
}

/// From the commit of a plain connection of this process, which knows nothing of litework, to the body in
/// another.
pub(crate) fn inbox(bench: &Bench) -> Vec<Row> {
    let level = Durability::Full;
    let file = bench.empty();
    let helper = Helper::start("cross", &file.path(), level);
    let patience = Duration::from_secs(10);
    assert_eq!(helper.line(patience).as_deref(), Some("open"), "the child opens the file");
    let writer = Connection::open(file.path()).expect("the child has made it");
    writer.busy_timeout(patience).expect("it may wait");
    let milliseconds = |number: usize| {
        const INSERT: &str = "INSERT INTO litework_inbox (kind, args) \
             VALUES ('tell', json_object('number', ?1))";
        writer.execute(INSERT, [number as i64]).expect("there is room");
        let committed = wall_nanos();
        let line = helper.line(patience).expect("the child ran it");
        let began = line.parse::<u64>().expect("a number of nanoseconds");
        // A body may begin before this thread looks at the clock.
        began.saturating_sub(committed) as f64 / 1e6
    };
    milliseconds(0);
    let mut random = fastrand::Rng::with_seed(1);
    let mut found: Vec<f64> = (1..=bench.pick(200, 6))
        .map(|number| {
            std::thread::sleep(Duration::from_millis(random.u64(50..=300)));
            milliseconds(number)
        })
        .collect();
    let (p50, p95) = (quantile(&mut found, 0.5), quantile(&mut found, 0.95));
    let note = format!("{} rows", found.len());
    let row = |name, found| Row::fixed(name, found, "ms", Target::AtMost(50.0)).at(level);
    vec![row("inbox_latency", p50).note(note), row("inbox_latency_p95", p95)]
}
