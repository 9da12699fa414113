//! Rows `enqueue_*`: storing tasks that another process runs.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use litework::{Durability, Mode};

use crate::bench::{Bench, LEVELS, rate};
use crate::raw::Raw;
use crate::report::Row;
use crate::stats::Target;
use crate::work::{Resize, client};

/// A lone caller against one transaction a task.
pub(crate) fn one(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let compared = bench.compare(
            Target::AtLeast(0.9),
            || {
                let file = bench.empty();
                let client = client(&file.path(), Mode::Enqueue, level);
                let mut number = 0;
                rate(bench.block(), || {
                    number += 1;
                    client.enqueue(Resize::sample(number)).expect("there is room");
                    1
                })
            },
            || raw_inserts(bench, level, 1),
        );
        compared.row("enqueue_1", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

/// Eight callers at once.
pub(crate) fn eight(bench: &Bench) -> Vec<Row> {
    at_once(bench, "enqueue_8", 8)
}

/// Sixty-four callers at once.
pub(crate) fn sixty_four(bench: &Bench) -> Vec<Row> {
    at_once(bench, "enqueue_64", 64)
}

/// Callers at once against a group commit of as many operations.
fn at_once(bench: &Bench, name: &str, callers: usize) -> Vec<Row> {
    let level = Durability::Full;
    let compared = bench.compare(
        Target::AtLeast(0.9),
        || callers_at_once(bench, level, callers),
        || raw_inserts(bench, level, callers),
    );
    vec![compared.row(name, "tasks/s").at(level)]
}

fn callers_at_once(bench: &Bench, level: Durability, callers: usize) -> f64 {
    let file = bench.empty();
    let client = client(&file.path(), Mode::Enqueue, level);
    let (start, done) = (Barrier::new(callers + 1), AtomicUsize::new(0));
    let mut began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                start.wait();
                let mut mine = 0;
                rate(bench.block(), || {
                    mine += 1;
                    client.enqueue(Resize::sample(mine)).expect("there is room");
                    1
                });
                done.fetch_add(mine, Ordering::SeqCst);
            });
        }
        start.wait();
        began = Instant::now();
    });
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

/// A thousand tasks a call.
pub(crate) fn bulk(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let compared = bench.compare(
            Target::AtLeast(0.75),
            || {
                let file = bench.empty();
                let client = client(&file.path(), Mode::Enqueue, level);
                rate(bench.block(), || {
                    client.enqueue_many(Resize::samples(1_000)).expect("there is room").len()
                })
            },
            || raw_inserts(bench, level, 1_000),
        );
        compared.row("enqueue_bulk", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

fn raw_inserts(bench: &Bench, level: Durability, batch: usize) -> f64 {
    let file = bench.empty();
    let raw = Raw::open(&file.path(), level).expect("the file is ours");
    let mut number = 0;
    rate(bench.block(), || {
        raw.insert((number..number + batch).map(Resize::sample)).expect("there is room");
        number += batch;
        batch
    })
}
