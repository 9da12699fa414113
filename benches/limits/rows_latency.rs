//! Rows `latency_*`, `inbox_latency` and `idle_two`: from the call of `enqueue`, or the commit of a row of the
//! inbox, to the start of the body, while nothing else is to do.

use std::time::{Duration, Instant};

use litework::{Context, Durability, Result, Task};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::bench::{Bench, LEVELS};
use crate::clock::wall_nanos;
use crate::cross::{self, Crossing, await_open, say};
use crate::helper::Helper;
use crate::latency::InProcess;
use crate::process;
use crate::report::Row;
use crate::resize::builder;
use crate::stats::{Pair, bootstrap, median, quantile, quantiles};
use crate::target::Target;

/// Pairs to begin with, and at most.
const PAIRS: usize = 3_000;
const PAIRS_MAX: usize = 12_000;

/// In one process, against an insert and a condition variable.
pub(crate) fn in_process(bench: &Bench) -> Vec<Row> {
    LEVELS.into_iter().flat_map(|level| in_process_at(bench, level)).collect()
}

const P50: Target = Target::AtMost(1.3);
const P95: Target = Target::AtMost(2.0);

fn in_process_at(bench: &Bench, level: Durability) -> Vec<Row> {
    let both = InProcess::new(&bench.folder, bench.pace, level).expect("there is room");
    let mut wanted = bench.pick(PAIRS, 200);
    let enough = |pairs: &[Pair]| {
        let open = || {
            P50.is_open(bootstrap(pairs, |pairs| ratio_at(pairs, 0.5)))
                || P95.is_open(bootstrap(pairs, |pairs| ratio_at(pairs, 0.95)))
        };
        if pairs.len() == wanted && !bench.pace.quick && wanted < PAIRS_MAX && open() {
            wanted *= 2;
        }
        pairs.len() >= wanted
    };
    let pairs = both.pairs(enough).expect("there is room");
    let row = |name, at, target| {
        let ratio = bootstrap(&pairs, |pairs| ratio_at(pairs, at));
        let note = format!("{} pairs", pairs.len());
        Row::beside(name, quantiles(&pairs, at), "µs", ratio, target).at(level).note(note)
    };
    vec![row("latency_in_process_p50", 0.5, P50), row("latency_in_process_p95", 0.95, P95)]
}

pub(crate) fn ratio_at(pairs: &[Pair], at: f64) -> f64 {
    let (ours, limit) = quantiles(pairs, at);
    ours / limit
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
        say(wall_nanos())?;
        Ok(self.number)
    }
}

/// The child of [`cross_process`] and [`inbox`]: has the workers.
pub(crate) fn child(file: &std::path::Path) {
    cross::serve(builder(file).register(Tell::define())).expect("the file is ours");
}

/// Between two processes that have nothing to do in between, and what that idling costs.
pub(crate) fn cross_process(bench: &Bench) -> Vec<Row> {
    let level = Durability::Full;
    let file = bench.empty();
    let both = Crossing::new("cross", &file.path(), level).expect("the child opens the file");
    let milliseconds = || both.milliseconds().expect("the child runs it");
    milliseconds();
    let processes = [std::process::id(), both.helper.child.id()];
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
    let helper = Helper::start("cross", &file.path(), level).expect("this program starts again");
    await_open(&helper).expect("the child opens the file");
    let patience = Duration::from_secs(10);
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
