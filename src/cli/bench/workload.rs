//! Operate: what a benchmark measures: a fixed list, so that rows of the same name can be compared.

use std::time::Duration;

use clap::ValueEnum;

use super::clock::pause;
use super::cross::Crossing;
use super::deep::{Deep, Part};
use super::drain;
use super::enqueue::{Steady, bulk, raw_bulk};
use super::files::Folder;
use super::latency::InProcess;
use super::measure::{Measured, Pace, alternate};
use super::mixed::Mixed;
use super::report::{Row, Unit};
use super::spin::Spinning;
use super::stats::{Pair, median, quantiles};
use crate::options::Durability;

/// The role of the child that runs tasks.
pub(super) const SERVING: &str = "serve";
/// Pairs of one block of a latency in one process.
const PAIRS: usize = 200;
/// Calls of one block of a latency between two, and how many milliseconds nothing happens before each.
const CALLS: usize = 5;
const SILENCE: std::ops::Range<u64> = 50..250;
const SEED: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Workload {
    /// One caller that enqueues one task at a time.
    #[value(name = "enqueue_1")]
    EnqueueOne,
    /// Eight callers at once.
    #[value(name = "enqueue_8")]
    EnqueueEight,
    /// Sixty-four callers at once.
    #[value(name = "enqueue_64")]
    EnqueueSixtyFour,
    /// A thousand tasks a call.
    EnqueueBulk,
    /// A pool runs what waits when it starts.
    Drain,
    /// From bulk enqueue to the last result.
    EndToEnd,
    /// From the call to the start of the body, in one process.
    LatencyInProcess,
    /// The same between two processes.
    LatencyCrossProcess,
    /// A pool runs a part of a million tasks that wait.
    #[value(name = "deep_1m")]
    Deep,
    /// Eight callers beside a pool.
    Mixed,
}

/// How it is measured.
pub(super) struct Terms<'a> {
    pub(super) folder: &'a Folder,
    pub(super) level: Durability,
    pub(super) pace: Pace,
    /// Of each side.
    pub(super) blocks: usize,
}

impl Workload {
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it is this program again that has to run tasks.
    pub(super) fn needs_child(self) -> bool {
        self == Self::LatencyCrossProcess
    }

    pub(super) fn measure(self, terms: &Terms<'_>) -> Measured<Vec<Row>> {
        let Terms { folder, level, pace, .. } = *terms;
        let blocks = match self {
            Self::EnqueueOne => {
                let both = Steady::new(folder, pace, level)?;
                terms.compare(|| both.lone(), || both.raw(1))?
            }
            Self::EnqueueEight => terms.at_once(8)?,
            Self::EnqueueSixtyFour => terms.at_once(64)?,
            Self::EnqueueBulk => {
                terms.compare(|| bulk(folder, pace, level), || raw_bulk(folder, pace, level))?
            }
            Self::Drain => terms.drain()?,
            Self::EndToEnd => terms.end_to_end()?,
            Self::LatencyInProcess => return terms.in_process(),
            Self::LatencyCrossProcess => {
                let blocks = terms.cross_process()?;
                return Ok(vec![Row::new(&self.name(), Unit::Microseconds, &blocks)]);
            }
            Self::Deep => {
                let deep = Deep::new(folder, pace, level)?;
                let (mut ours, mut limit) = (Part::default(), Part::default());
                terms.compare(|| deep.pool(&mut ours), || deep.raw(&mut limit))?
            }
            Self::Mixed => {
                let both = Mixed::new(folder, pace, level)?;
                terms.compare(|| both.ours(), || both.limit())?
            }
        };
        Ok(vec![Row::new(&self.name(), Unit::TasksPerSecond, &blocks)])
    }
}

impl Terms<'_> {
    /// Blocks of both sides in turn, after one of each that does not count.
    fn compare(
        &self,
        mut ours: impl FnMut() -> Measured<f64>,
        mut limit: impl FnMut() -> Measured<f64>,
    ) -> Measured<Vec<Pair>> {
        let (_warm_ours, _warm_limit) = (ours()?, limit()?);
        let mut blocks = Vec::new();
        alternate(&mut blocks, self.blocks, ours, limit)?;
        Ok(blocks)
    }

    fn at_once(&self, callers: usize) -> Measured<Vec<Pair>> {
        let both = Steady::new(self.folder, self.pace, self.level)?;
        self.compare(|| both.at_once(callers), || both.raw(callers))
    }

    fn drain(&self) -> Measured<Vec<Pair>> {
        let (folder, level) = (self.folder, self.level);
        let (stored, count) = drain::sized(self.pace, |count| {
            let stored = folder.stored(count)?;
            let took = drain::raw_drain(&folder.copy(&stored)?, level, count)?;
            Ok((stored, took))
        })?;
        self.compare(
            || Ok(per_second(count, drain::drain(&folder.copy(&stored)?, level, count)?)),
            || Ok(per_second(count, drain::raw_drain(&folder.copy(&stored)?, level, count)?)),
        )
    }

    fn end_to_end(&self) -> Measured<Vec<Pair>> {
        let (folder, level) = (self.folder, self.level);
        let ((), count) = drain::sized(self.pace, |count| {
            Ok(((), drain::raw_end_to_end(folder, level, count)?))
        })?;
        self.compare(
            || Ok(per_second(count, drain::end_to_end(folder, level, count)?)),
            || Ok(per_second(count, drain::raw_end_to_end(folder, level, count)?)),
        )
    }

    fn in_process(&self) -> Measured<Vec<Row>> {
        let each = self.pace.pick(PAIRS, PAIRS / 10);
        let both = InProcess::new(self.folder, self.pace, self.level)?;
        let pairs = both.pairs(|pairs| pairs.len() >= each * self.blocks)?;
        let row = |name: &str, at: f64| {
            let blocks: Vec<Pair> = pairs.chunks(each).map(|block| quantiles(block, at)).collect();
            Row::new(name, Unit::Microseconds, &blocks)
        };
        Ok(vec![row("latency_in_process_p50", 0.5), row("latency_in_process_p95", 0.95)])
    }

    fn cross_process(&self) -> Measured<Vec<Pair>> {
        let (ours, limit) = (self.folder.empty()?, self.folder.empty()?);
        let crossing = Crossing::new(SERVING, &ours.path(), self.level)?;
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut pauses = move || -> Vec<Duration> {
            (0..CALLS).map(|_| Duration::from_millis(random.u64(SILENCE))).collect()
        };
        let mut same_pauses = pauses.clone();
        self.compare(
            || median_micros(pauses(), || crossing.milliseconds()),
            || {
                // It is there only now, as it takes a core.
                let spinning = Spinning::new(&limit, self.level)?;
                // The first finds nothing in any cache.
                spinning.milliseconds()?;
                median_micros(same_pauses(), || spinning.milliseconds())
            },
        )
    }
}

/// Calls after these pauses, and the median of what they take.
fn median_micros(
    pauses: Vec<Duration>,
    mut milliseconds: impl FnMut() -> Measured<f64>,
) -> Measured<f64> {
    let calls = pauses.into_iter().map(|span| {
        pause(span);
        milliseconds()
    });
    Ok(median(calls.collect::<Measured<Vec<f64>>>()?) * 1e3)
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
