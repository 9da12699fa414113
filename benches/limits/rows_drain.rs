//! Rows `drain`, `end_to_end` and `group_10k`: claim, run, finish.

use std::time::{Duration, Instant};

use litework::{Durability, Flow, Mode};

use crate::bench::{Bench, LEVELS};
use crate::drain::{self, raw_drain, raw_end_to_end, sized};
use crate::report::Row;
use crate::target::Target;
use crate::work::{Probe, Resize, await_runs, client, expect_runs};

const GRACE: Duration = Duration::from_secs(10);

/// Tasks that wait when the workers start, results recorded.
pub(crate) fn drain(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let sized = sized(bench.pace, |count| {
            let stored = bench.stored(count);
            let took = raw_drain(&bench.copy(&stored), level, count)?;
            Ok((stored, took))
        });
        let (stored, count) = sized.expect("the file is sound");
        let compared = bench.try_compare(
            Target::AtLeast(0.7),
            || Ok(per_second(count, drain::drain(&bench.copy(&stored), level, count)?)),
            || Ok(per_second(count, raw_drain(&bench.copy(&stored), level, count)?)),
        );
        compared.expect("the file is sound").row("drain", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

/// From bulk enqueue to the last result, the pool running.
pub(crate) fn end_to_end(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let folder = &bench.folder;
        let sized = sized(bench.pace, |count| Ok(((), raw_end_to_end(folder, level, count)?)));
        let ((), count) = sized.expect("the file is sound");
        let compared = bench.try_compare(
            Target::AtLeast(1.3),
            || Ok(per_second(count, drain::end_to_end(folder, level, count)?)),
            || Ok(per_second(count, raw_end_to_end(folder, level, count)?)),
        );
        compared.expect("the file is sound").row("end_to_end", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
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
