//! Rows `enqueue_*`: storing tasks that another process runs.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use litework::{Client, Durability, Mode};

use crate::bench::{Bench, LEVELS, QueueFile, rate};
use crate::raw::Raw;
use crate::report::Row;
use crate::stats::Target;
use crate::work::{Resize, client};

/// Bulk inserts that bring a file into its steady state: its log is as long as it gets. While a log
/// still grows, each sync writes the file's new length too, which costs up to half the rate.
const WARMING: usize = 150;

/// Two open files, one for each side, that have been in use for a while.
struct Steady {
    client: Client,
    raw: Raw,
    // After the connections, as they are closed in this order.
    _files: [QueueFile; 2],
}

impl Steady {
    fn new(bench: &Bench, level: Durability) -> Self {
        let files = [bench.empty(), bench.empty()];
        let client = client(&files[0].path(), Mode::Enqueue, level);
        let raw = Raw::open(&files[1].path(), level).expect("the file is ours");
        for _ in 0..bench.pick(WARMING, WARMING / 10) {
            client.enqueue_many(Resize::samples(1_000)).expect("there is room");
            raw.insert(Resize::samples(1_000)).expect("there is room");
        }
        Self { client, raw, _files: files }
    }

    fn raw_rate(&self, bench: &Bench, batch: usize) -> f64 {
        rate(bench.block(), || {
            self.raw.insert(Resize::samples(batch)).expect("there is room");
            batch
        })
    }
}

/// A lone caller against one transaction a task.
pub(crate) fn one(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let both = Steady::new(bench, level);
        let mut number = 0;
        let ours = || {
            rate(bench.block(), || {
                number += 1;
                both.client.enqueue(Resize::sample(number)).expect("there is room");
                1
            })
        };
        let compared = bench.compare(Target::AtLeast(0.9), ours, || both.raw_rate(bench, 1));
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
    let both = Steady::new(bench, level);
    let compared = bench.compare(
        Target::AtLeast(0.9),
        || callers_at_once(bench, &both.client, callers),
        || both.raw_rate(bench, callers),
    );
    vec![compared.row(name, "tasks/s").at(level)]
}

fn callers_at_once(bench: &Bench, client: &Client, callers: usize) -> f64 {
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

/// A thousand tasks a call; each block has new files, which it fills itself.
pub(crate) fn bulk(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let ours = || {
            let file = bench.empty();
            let client = client(&file.path(), Mode::Enqueue, level);
            rate(bench.block(), || {
                client.enqueue_many(Resize::samples(1_000)).expect("there is room").len()
            })
        };
        let limit = || {
            let file = bench.empty();
            let raw = Raw::open(&file.path(), level).expect("the file is ours");
            rate(bench.block(), || {
                raw.insert(Resize::samples(1_000)).expect("there is room");
                1_000
            })
        };
        let compared = bench.compare(Target::AtLeast(0.75), ours, limit);
        compared.row("enqueue_bulk", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}
