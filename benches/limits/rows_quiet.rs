//! Rows `neighbour`, `idle` and `memory`: what a pool costs those beside it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use litework::{Client, Context, Durability, Mode, Result, Task};
use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::helper::{self, Helper};
use crate::process;
use crate::report::Row;
use crate::rows_depth::{many_lanes, many_ready};
use crate::stats::quantile;
use crate::target::Target;
use crate::work::{Probe, Resize, await_runs, client, expect_runs, number, ran};

const GRACE: Duration = Duration::from_secs(10);
const LEVEL: Durability = Durability::Full;
/// The neighbour is watched for about this long at most.
const ENOUGH: Duration = Duration::from_secs(60);
/// Longer than any child takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// The application's own connection, beside a drain at full speed.
pub(crate) fn neighbour(bench: &Bench) -> Vec<Row> {
    let stored = many_ready(bench, bench.pick(1_000_000, 100_000));
    Connection::open(stored.path())
        .and_then(|conn| {
            conn.execute_batch("CREATE TABLE app (id INTEGER PRIMARY KEY, at INTEGER)")
        })
        .expect("the table is new");
    let wanted = bench.pick(2_000, 50);
    let mut waits = Vec::new();
    let (mut done, mut took) = (0, 0.0);
    // Where the neighbour is kept waiting, its waits are few.
    while waits.len() < wanted && took < ENOUGH.as_secs_f64() {
        let file = bench.copy(&stored);
        let (began, stop) = (Instant::now(), AtomicBool::new(false));
        expect_runs(bench.pick(1_000_000, 100_000));
        let client = client(&file.path(), Mode::Pool, LEVEL);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_beside(&file.path(), &stop));
            await_runs();
            stop.store(true, Ordering::SeqCst);
            waits.extend(writer.join().expect("the neighbour is sound"));
        });
        done += ran();
        took += began.elapsed().as_secs_f64();
        client.shutdown(GRACE).expect("nothing stays");
    }
    let count = waits.len();
    let (p50, p99) = (quantile(&mut waits, 0.5), quantile(&mut waits, 0.99));
    let rate = done as f64 / took / 1e3;
    let most = waits[count - 1];
    let note = format!("{count} waits, p50 {p50:.1}, max {most:.0}; beside {rate:.0}k tasks/s");
    vec![Row::fixed("neighbour", p99, "ms p99", Target::AtMost(50.0)).at(LEVEL).note(note)]
}

/// Writes a hundred times a second; how long after its moment each was done, in milliseconds. Those that come
/// while one waits are late too, and count.
fn write_beside(path: &Path, stop: &AtomicBool) -> Vec<f64> {
    let conn = Connection::open(path).expect("the file is there");
    conn.busy_timeout(Duration::from_secs(5)).expect("it is set");
    let mut waits = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        // One that is refused after its 5 s tries again, and its wait goes on.
        while let Err(error) = conn.execute_batch("INSERT INTO app (at) VALUES (1)") {
            let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            assert!(busy, "the neighbour's insert: {error}");
        }
        waits.push(next.elapsed().as_secs_f64() * 1e3);
        next += Duration::from_millis(10);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    waits
}

/// What of a file changes when it is written.
fn traces(path: &Path) -> Vec<(u64, Option<SystemTime>)> {
    let trace = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let meta = std::fs::metadata(name).ok();
        let length = meta.as_ref().map_or(0, std::fs::Metadata::len);
        (length, meta.and_then(|meta| meta.modified().ok()))
    };
    ["", "-wal"].into_iter().map(trace).collect()
}

/// A process with a pool that has worked and has nothing to do any more. What it has counted is kept before
/// the first look: that is the end of its work, and would else be written in the first 10 s.
pub(crate) fn idle(bench: &Bench) -> Vec<Row> {
    let file = bench.stored(1_000);
    let probe = Probe::open(&file.path());
    let helper = Helper::start("idle", &file.path(), LEVEL).expect("this program starts again");
    helper.line(PATIENCE).expect("the child works");
    probe.await_results();
    std::thread::sleep(Duration::from_secs(2));
    let look = || (traces(&file.path()), probe.data_version());
    let (mut known, sleeps) = (look(), process::sleeps(helper.child.id()));
    let seconds = bench.pick(60, 10);
    let mut writes = 0;
    // In parts, so that several writes count as several.
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        let now = look();
        writes += u32::from(now != known);
        known = now;
    }
    let wakes = (process::sleeps(helper.child.id()) - sleeps) as f64 / f64::from(seconds);
    let over = format!("in {seconds} s");
    vec![
        Row::fixed("idle", wakes, "wakes/s", Target::AtMost(2.0)).at(LEVEL).note(over.clone()),
        Row::fixed("idle_writes", f64::from(writes), "writes", Target::AtMost(0.0))
            .at(LEVEL)
            .note(over),
    ]
}

/// Nearly the largest arguments that are accepted.
#[derive(Debug, Serialize, Deserialize)]
struct Large {
    text: String,
}

impl Task for Large {
    const NAME: &'static str = "large";
    type Output = u64;

    fn run(self, _: &Context) -> Result<u64> {
        crate::work::count_run();
        Ok(self.text.len() as u64)
    }
}

const LARGE_BYTES: usize = 1024 * 1024 - 1_024;
const LARGE_COUNT: usize = 200;

/// The child of [`idle`] and [`memory`]: drains the file and says so. That of [`idle`] also keeps what it has
/// counted before it says so.
pub(crate) fn child(role: &str, file: &Path) {
    let waiting = number(file, "SELECT count(*) FROM litework_task") as usize;
    expect_runs(waiting);
    let builder = Client::builder(file).register(Resize::define()).register(Large::define());
    let client = builder.workers(2).durability(helper::level()).open().expect("it is ours");
    await_runs();
    if role == "idle" {
        while counted(&client) < waiting {
            std::thread::sleep(Duration::from_millis(1));
        }
        client.flush_counters().expect("the file is ours");
    }
    println!("done");
    helper::await_parent();
    client.shutdown(GRACE).expect("nothing runs");
}

/// How many tasks this file has seen succeed.
fn counted(client: &Client) -> usize {
    let totals = client.totals().expect("it answers");
    totals.iter().map(|lane| lane.counts.succeeded).sum::<u64>() as usize
}

/// The most anonymous memory of a process that drains a deep file, then one of large arguments.
pub(crate) fn memory(bench: &Bench) -> Vec<Row> {
    let target = Target::AtMost(30.0);
    let count = bench.pick(1_000_000, 100_000);
    let deep = peak(&many_lanes(bench, count).path());
    let file = bench.empty();
    let builder = Client::builder(file.path()).register(Large::define()).mode(Mode::Enqueue);
    let client = builder.open().expect("the file is ours");
    for _ in 0..LARGE_COUNT {
        client.enqueue(Large { text: "x".repeat(LARGE_BYTES) }).expect("there is room");
    }
    drop(client);
    let large = peak(&file.path());
    let notes = [format!("{count} ready, 200 lanes"), format!("{LARGE_COUNT} tasks of 1 MiB")];
    let [deep_note, large_note] = notes;
    vec![
        Row::fixed("memory", deep, "MiB", target).at(LEVEL).note(deep_note),
        Row::fixed("memory_large", large, "MiB", target).at(LEVEL).note(large_note),
    ]
}

fn peak(file: &Path) -> f64 {
    let helper = Helper::start("drain", file, LEVEL).expect("this program starts again");
    let began = Instant::now();
    let mut most: f64 = 0.0;
    loop {
        let found = process::anonymous_mib(helper.child.id()).expect("the child lives");
        most = most.max(found);
        if helper.line(Duration::from_millis(5)).is_some() {
            return most;
        }
        assert!(began.elapsed() < PATIENCE, "the child does not come to an end");
    }
}
