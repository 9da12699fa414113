//! Operate: workload `mixed`: callers that enqueue one task at a time, beside a pool that runs them.

use std::time::{Duration, Instant};

use super::clock::now_ms;
use super::enqueue::together;
use super::files::{Folder, QueueFile};
use super::measure::{Measured, Pace, rate};
use super::probe::Probe;
use super::raw::Raw;
use super::resize::{Resize, await_results, await_runs, client, expect_runs};
use crate::client::Client;
use crate::mode::Mode;
use crate::options::Durability;

const CALLERS: u32 = 8;
/// Tasks that bring both files into their steady state, see the workloads `enqueue_*`.
const WARMING: usize = 100_000;
const BULK: u32 = 1_000;

/// Two open files, one for each side, that have been in use for a while.
pub(crate) struct Mixed {
    client: Client,
    raw: Raw,
    probe: Probe,
    /// Tasks of a block for each caller.
    each: usize,
    // After the connections, as they are closed in this order.
    _files: [QueueFile; 2],
}

impl Mixed {
    pub(crate) fn new(folder: &Folder, pace: Pace, level: Durability) -> Measured<Self> {
        let files = [folder.empty()?, folder.empty()?];
        let client = client(&files[0].path(), Mode::Pool, level)?;
        let raw = Raw::open(&files[1].path(), level, now_ms)?;
        let probe = Probe::open(&files[0].path())?;
        let warming = pace.pick(WARMING, WARMING / 20);
        expect_runs(warming);
        for _ in (0..warming).step_by(BULK as usize) {
            client.enqueue_many(Resize::samples(BULK as usize))?;
            raw.insert(Resize::samples(BULK as usize))?;
            raw.finish(raw.claim(BULK)?, Resize::work)?;
        }
        await_runs()?;
        await_results(&probe)?;
        let turns = rate(pace.block(), || turn(&raw))?;
        let each = (turns * pace.block().as_secs_f64() * 1.5).ceil() as usize;
        Ok(Self { client, raw, probe, each, _files: files })
    }

    /// Tasks a second, from the first call to the last result.
    pub(crate) fn ours(&self) -> Measured<f64> {
        let (client, each) = (&self.client, self.each);
        let count = each * CALLERS as usize;
        expect_runs(count);
        let began = Instant::now();
        together(CALLERS as usize, || {
            for number in 0..each {
                client.enqueue(Resize::sample(number))?;
            }
            Ok(())
        })?;
        await_runs()?;
        await_results(&self.probe)?;
        Ok(per_second(count, began.elapsed()))
    }

    /// The same by the limit: one thread stores as many at a time as there are callers, and runs them.
    pub(crate) fn limit(&self) -> Measured<f64> {
        let began = Instant::now();
        for _ in 0..self.each {
            turn(&self.raw)?;
        }
        Ok(per_second(self.each * CALLERS as usize, began.elapsed()))
    }
}

/// One turn of the limit; each counts once.
fn turn(raw: &Raw) -> Measured<usize> {
    raw.insert(Resize::samples(CALLERS as usize))?;
    raw.finish(raw.claim(CALLERS)?, Resize::work)?;
    Ok(1)
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
