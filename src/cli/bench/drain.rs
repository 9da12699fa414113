//! Operate: workloads `drain` and `end_to_end`: claim, run, finish.

use std::time::{Duration, Instant};

use litework::{Durability, Mode};

use super::clock::now_ms;
use super::files::{Folder, QueueFile};
use super::measure::{Measured, Pace};
use super::probe::Probe;
use super::raw::Raw;
use super::resize::{Resize, await_results, await_runs, check_succeeded, client, expect_runs};

const BATCH: u32 = 1_000;
/// Tasks of a block, unless this machine needs more of them to fill it.
const TASKS: usize = 100_000;
const GRACE: Duration = Duration::from_secs(10);

/// Runs the limit once, and again with more tasks if it was too short; with room to spare, as
/// the other side may be quicker.
pub(crate) fn sized<R>(
    pace: Pace,
    mut run: impl FnMut(usize) -> Measured<(R, Duration)>,
) -> Measured<(R, usize)> {
    let count = pace.pick(TASKS, TASKS / 20);
    let (answer, took) = run(count)?;
    let short = pace.block().as_secs_f64() * 1.5 / took.as_secs_f64();
    if short <= 1.0 {
        return Ok((answer, count));
    }
    let batch = BATCH as usize;
    let more = (count as f64 * short / batch as f64).ceil() as usize * batch;
    Ok((run(more)?.0, more))
}

/// How long a pool takes for tasks that wait when it starts, results recorded.
pub(crate) fn drain(file: &QueueFile, level: Durability, count: usize) -> Measured<Duration> {
    let probe = Probe::open(&file.path())?;
    expect_runs(count);
    let began = Instant::now();
    let client = client(&file.path(), Mode::Pool, level)?;
    await_runs()?;
    await_results(&probe)?;
    let took = began.elapsed();
    client.shutdown(GRACE)?;
    check_succeeded(&probe, count)?;
    Ok(took)
}

/// The same by the limit.
pub(crate) fn raw_drain(file: &QueueFile, level: Durability, count: usize) -> Measured<Duration> {
    let probe = Probe::open(&file.path())?;
    let began = Instant::now();
    let raw = Raw::open(&file.path(), level, now_ms)?;
    loop {
        let claimed = raw.claim(BATCH)?;
        if claimed.is_empty() {
            break;
        }
        raw.finish(claimed, Resize::work)?;
    }
    let took = began.elapsed();
    check_succeeded(&probe, count)?;
    Ok(took)
}

/// How long it takes from bulk enqueue to the last result, the pool running.
pub(crate) fn end_to_end(folder: &Folder, level: Durability, count: usize) -> Measured<Duration> {
    let file = folder.empty()?;
    let probe = Probe::open(&file.path())?;
    let client = client(&file.path(), Mode::Pool, level)?;
    expect_runs(count);
    let began = Instant::now();
    for _ in (0..count).step_by(BATCH as usize) {
        client.enqueue_many(Resize::samples(BATCH as usize))?;
    }
    await_runs()?;
    await_results(&probe)?;
    let took = began.elapsed();
    client.shutdown(GRACE)?;
    check_succeeded(&probe, count)?;
    Ok(took)
}

/// The same by the limit.
pub(crate) fn raw_end_to_end(
    folder: &Folder,
    level: Durability,
    count: usize,
) -> Measured<Duration> {
    let file = folder.empty()?;
    let probe = Probe::open(&file.path())?;
    let raw = Raw::open(&file.path(), level, now_ms)?;
    let began = Instant::now();
    for _ in (0..count).step_by(BATCH as usize) {
        raw.insert(Resize::samples(BATCH as usize))?;
        raw.finish(raw.claim(BATCH)?, Resize::work)?;
    }
    let took = began.elapsed();
    check_succeeded(&probe, count)?;
    Ok(took)
}
