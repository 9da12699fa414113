//! Rows `unique_enqueue`, `claims_exclusive_10k`, `claims_limited_10k` and `claims_keys_10k`: what a unique
//! key or a gate costs, against the same tasks without.
//!
//! Claims are those of `run_pending`, which takes one task at a time with or without a gate: a pool holds
//! plain tasks ahead and gated ones not, so it would compare two things.

use std::path::Path;
use std::time::Instant;

use litework::{Call, Client, Durability, Exclusive, Limit, Mode, Pending, Task, Unique};

use crate::bench::{Bench, LEVELS, QueueFile, rate};
use crate::report::Row;
use crate::target::Target;
use crate::work::{Probe, Resize, client};

/// Tasks that wait at a gate, or keys that are at their limit.
const WAITING: usize = 10_000;
/// Tasks in a file that has been in use for a while.
const WARM: usize = 20_000;

/// A lone caller whose calls each have a key of their own, against the same calls without.
pub(crate) fn unique(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let files = [bench.empty(), bench.empty()];
        let clients = files.each_ref().map(|file| {
            let client = client(&file.path(), Mode::Hold, level);
            client.enqueue_many(Resize::samples(bench.pick(WARM, 1_000))).expect("there is room");
            client
        });
        let mut number = 0;
        let ours = || {
            rate(bench.block(), || {
                number += 1;
                let call =
                    Call::new(Resize::sample(number)).unique(Unique::arguments_of(["width"]));
                clients[0].enqueue(call).expect("there is room");
                1
            })
        };
        let plain = || {
            rate(bench.block(), || {
                clients[1].enqueue(Resize::sample(1)).expect("there is room");
                1
            })
        };
        let compared = bench.compare(Target::AtLeast(0.7), ours, plain);
        compared.row("unique_enqueue", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

/// One lock, for which all others wait.
pub(crate) fn exclusive(bench: &Bench) -> Vec<Row> {
    claims(bench, "claims_exclusive_10k", |number| {
        Call::new(Resize::sample(number)).exclusive(Exclusive::lock("one").wait())
    })
}

/// One key with three places, for which all others wait.
pub(crate) fn limited(bench: &Bench) -> Vec<Row> {
    claims(bench, "claims_limited_10k", |number| {
        Call::new(Resize::sample(number)).limit(Limit::per_key("one", 3))
    })
}

/// As many keys with one place each, half of the tasks waiting for the other half.
pub(crate) fn keys(bench: &Bench) -> Vec<Row> {
    claims(bench, "claims_keys_10k", |number| {
        let key = format!("key/{}", number / 2);
        Call::new(Resize::sample(number)).limit(Limit::per_key(key, 1))
    })
}

/// Runs stored tasks one by one, gated against plain.
fn claims(bench: &Bench, name: &str, gated: fn(usize) -> Call<Resize>) -> Vec<Row> {
    let count = bench.pick(2 * WAITING, WAITING / 5);
    let row = |level| {
        let gated_file = stored(bench, (0..count).map(gated));
        let plain_file = stored(bench, Resize::samples(count).map(Call::new));
        let rate_of = |file: &QueueFile| run_all(&bench.copy(file).path(), level, count);
        let compared =
            bench.compare(Target::AtLeast(0.8), || rate_of(&gated_file), || rate_of(&plain_file));
        compared.row(name, "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

fn stored(bench: &Bench, calls: impl Iterator<Item = Call<Resize>>) -> QueueFile {
    let file = bench.empty();
    let client = client(&file.path(), Mode::Hold, Durability::Normal);
    client.enqueue_many(calls).expect("there is room");
    drop(client);
    file
}

/// Tasks a second, until all have run.
fn run_all(path: &Path, level: Durability, count: usize) -> f64 {
    let probe = Probe::open(path);
    let client = Client::builder(path).register(Resize::define()).environment::<&str, &str>([]);
    let client = client.mode(Mode::Hold).durability(level).prune(false).open().expect("it is ours");
    let began = Instant::now();
    let ran = client.run_pending(&Pending::all()).expect("it goes through");
    let took = began.elapsed();
    assert_eq!(ran.succeeded, count, "tasks that ran");
    probe.check_succeeded(count);
    count as f64 / took.as_secs_f64()
}
