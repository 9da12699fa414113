//! Row `prune_1m`: how long a task waits for its start while what ended long ago is removed, against
//! the same without.

use std::time::Duration;

use litework::{Client, Durability, Keep, Retention, Task};

use crate::bench::Bench;
use crate::latency::{Arrive, microseconds};
use crate::report::Row;
use crate::rows_depth::many_finished;
use crate::rows_latency::ratio_at;
use crate::stats::{Pair, bootstrap, quantile};
use crate::target::Target;
use crate::work::{Resize, number};

const LEVEL: Durability = Durability::Normal;
/// Starts that are measured before, and after.
const STARTS: usize = 3_000;
/// And at most meanwhile.
const STARTS_MAX: usize = 60_000;
/// Long enough for a thread that has nothing to do to be asleep.
const SETTLE: Duration = Duration::from_micros(300);

pub(crate) fn prune(bench: &Bench) -> Vec<Row> {
    let count = bench.pick(1_000_000, 50_000);
    let file = many_finished(bench, count);
    let builder = Client::builder(file.path()).register(Arrive::define());
    let client = builder.durability(LEVEL).prune(false).workers(2).open().expect("it is ours");
    let mut started = 0;
    let mut start = || {
        started += 1;
        let took = microseconds(|| {
            client.enqueue(Arrive(Resize::sample(started)))?;
            Ok(())
        });
        let took = took.expect("there is room");
        std::thread::sleep(SETTLE);
        took
    };
    let starts = bench.pick(STARTS, 200);
    let mut without: Vec<f64> = (0..starts).map(|_| start()).collect();
    let mut during = Vec::new();
    let removed = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let began = std::time::Instant::now();
            let old = Retention::all(Keep::age(Duration::from_secs(30)));
            (client.prune(old).expect("it goes through").total(), began.elapsed())
        });
        while !pruning.is_finished() && during.len() < STARTS_MAX {
            during.push(start());
        }
        pruning.join().expect("it is sound")
    });
    without.extend((0..starts).map(|_| start()));
    assert_eq!(removed.0, count as u64, "tasks that were removed");
    assert_eq!(number(&file.path(), "SELECT count(*) FROM litework_payload"), 0);
    // As many of each, spread over all that was measured.
    let pairs: Vec<Pair> = {
        let wanted = during.len().min(without.len());
        let spread = |values: &[f64]| -> Vec<f64> {
            (0..wanted).map(|at| values[at * values.len() / wanted]).collect()
        };
        spread(&during).into_iter().zip(spread(&without)).collect()
    };
    let ratio = bootstrap(&pairs, |pairs| ratio_at(pairs, 0.99));
    let both = (quantile(&mut during, 0.99), quantile(&mut without, 0.99));
    let rate = count as f64 / removed.1.as_secs_f64() / 1e3;
    let note = format!("{} starts; {rate:.0}k tasks/s removed", during.len());
    let target = Target::AtMost(2.0);
    vec![Row::beside("prune_1m", both, "µs p99", ratio, target).at(LEVEL).note(note)]
}
