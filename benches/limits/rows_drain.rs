//! Rows `drain`, `end_to_end` and `group_10k`: claim, run, finish.

use std::path::Path;
use std::time::{Duration, Instant};

use litework::{Durability, Flow, Mode};

use crate::bench::{Bench, LEVELS, QueueFile};
use crate::raw::Raw;
use crate::report::Row;
use crate::stats::Target;
use crate::work::{Probe, Resize, await_runs, client, expect_runs};

const BATCH: usize = 1_000;
/// Tasks of a block, unless this machine needs more of them to fill it.
const TASKS: usize = 100_000;
const GRACE: Duration = Duration::from_secs(10);

/// Tasks that wait when the workers start, results recorded.
pub(crate) fn drain(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let (stored, count) = sized(bench, |count| {
            let stored = bench.stored(count);
            let took = raw_drain(&bench.copy(&stored).path(), level, count);
            (stored, took)
        });
        let compared = bench.compare(
            Target::AtLeast(0.7),
            || count as f64 / pool_drain(&bench.copy(&stored), level, count).as_secs_f64(),
            || {
                let copy = bench.copy(&stored);
                count as f64 / raw_drain(&copy.path(), level, count).as_secs_f64()
            },
        );
        compared.row("drain", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

/// From bulk enqueue to the last result, the pool running.
pub(crate) fn end_to_end(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let ((), count) = sized(bench, |count| ((), raw_end_to_end(bench, level, count)));
        let compared = bench.compare(
            Target::AtLeast(1.3),
            || count as f64 / pool_end_to_end(bench, level, count).as_secs_f64(),
            || count as f64 / raw_end_to_end(bench, level, count).as_secs_f64(),
        );
        compared.row("end_to_end", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

/// Runs the limit once, and again with more tasks if it was too short; with room to spare, as
/// the other side may be quicker.
fn sized<R>(bench: &Bench, mut run: impl FnMut(usize) -> (R, Duration)) -> (R, usize) {
    let count = bench.pick(TASKS, TASKS / 5);
    let (answer, took) = run(count);
    let short = bench.block().as_secs_f64() * 1.5 / took.as_secs_f64();
    if short <= 1.0 {
        return (answer, count);
    }
    let more = (count as f64 * short / BATCH as f64).ceil() as usize * BATCH;
    (run(more).0, more)
}

fn pool_drain(file: &QueueFile, level: Durability, count: usize) -> Duration {
    let probe = Probe::open(&file.path());
    expect_runs(count);
    let began = Instant::now();
    let client = client(&file.path(), Mode::Pool, level);
    await_runs();
    probe.await_results();
    let took = began.elapsed();
    client.shutdown(GRACE).expect("nothing runs");
    probe.check_succeeded(count);
    took
}

fn raw_drain(path: &Path, level: Durability, count: usize) -> Duration {
    let probe = Probe::open(path);
    let began = Instant::now();
    let raw = Raw::open(path, level).expect("the file is ours");
    loop {
        let claimed = raw.claim(BATCH).expect("the file is sound");
        if claimed.is_empty() {
            break;
        }
        raw.finish(claimed).expect("the file is sound");
    }
    let took = began.elapsed();
    probe.check_succeeded(count);
    took
}

fn pool_end_to_end(bench: &Bench, level: Durability, count: usize) -> Duration {
    let file = bench.empty();
    let probe = Probe::open(&file.path());
    let client = client(&file.path(), Mode::Pool, level);
    expect_runs(count);
    let began = Instant::now();
    for _ in (0..count).step_by(BATCH) {
        client.enqueue_many(Resize::samples(BATCH)).expect("there is room");
    }
    await_runs();
    probe.await_results();
    let took = began.elapsed();
    client.shutdown(GRACE).expect("nothing runs");
    probe.check_succeeded(count);
    took
}

fn raw_end_to_end(bench: &Bench, level: Durability, count: usize) -> Duration {
    let file = bench.empty();
    let probe = Probe::open(&file.path());
    let raw = Raw::open(&file.path(), level).expect("the file is ours");
    let began = Instant::now();
    for _ in (0..count).step_by(BATCH) {
        raw.insert(Resize::samples(BATCH)).expect("there is room");
        raw.finish(raw.claim(BATCH).expect("the file is sound")).expect("the file is sound");
    }
    let took = began.elapsed();
    probe.check_succeeded(count);
    took
}

/// Members of the group.
const GROUP: usize = 10_000;

/// From storing a group of tasks to the end of its batch, beside as many plain tasks in one call.
pub(crate) fn group(bench: &Bench) -> Vec<Row> {
    let count = bench.pick(GROUP, GROUP / 10);
    let row = |level| {
        let compared = bench.compare(
            Target::AtLeast(0.5),
            || count as f64 / pool_group(bench, level, count).as_secs_f64(),
            || count as f64 / pool_bulk(bench, level, count).as_secs_f64(),
        );
        compared.row("group_10k", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

fn pool_group(bench: &Bench, level: Durability, count: usize) -> Duration {
    let file = bench.empty();
    let probe = Probe::open(&file.path());
    let client = client(&file.path(), Mode::Pool, level);
    expect_runs(count);
    let began = Instant::now();
    let group = Flow::group("group", Resize::samples(count));
    let batch = client.enqueue_flow(group).expect("there is room");
    let sum = batch.wait(GRACE * 6).expect("no member fails");
    let took = began.elapsed();
    assert_eq!(sum.succeeded, count as u64);
    client.shutdown(GRACE).expect("nothing runs");
    // The batch is one more.
    probe.check_succeeded(count + 1);
    took
}

fn pool_bulk(bench: &Bench, level: Durability, count: usize) -> Duration {
    let file = bench.empty();
    let probe = Probe::open(&file.path());
    let client = client(&file.path(), Mode::Pool, level);
    expect_runs(count);
    let began = Instant::now();
    client.enqueue_many(Resize::samples(count)).expect("there is room");
    await_runs();
    probe.await_results();
    let took = began.elapsed();
    client.shutdown(GRACE).expect("nothing runs");
    probe.check_succeeded(count);
    took
}
