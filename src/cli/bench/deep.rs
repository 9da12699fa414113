//! Operate: workload `deep_1m`: a part of a million ready tasks is drained, again and again.

use std::time::{Duration, Instant};

use super::clock::{now_ms, pause};
use super::files::{Folder, QueueFile};
use super::measure::{Measured, Pace};
use super::raw::Raw;
use super::resize::{Resize, await_runs, client, expect_runs, ran};
use crate::client::Client;
use crate::mode::Mode;
use crate::options::Durability;

/// How much there is, and how much of it one drain takes.
const MANY: usize = 1_000_000;
const DRAINED: usize = 20_000;
const BATCH: u32 = 1_000;
const GRACE: Duration = Duration::from_secs(10);
/// Longer than any end takes to be recorded.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file, and its copies of which each side drains its own.
pub(crate) struct Deep<'a> {
    folder: &'a Folder,
    pace: Pace,
    level: Durability,
    file: QueueFile,
}

/// A copy, and how much of it is left; a new one is taken when nine tenths are.
#[derive(Default)]
pub(crate) struct Part(Option<(QueueFile, usize)>);

impl<'a> Deep<'a> {
    pub(crate) fn new(folder: &'a Folder, pace: Pace, level: Durability) -> Measured<Self> {
        let file = folder.stored(stored(pace))?;
        Ok(Self { folder, pace, level, file })
    }

    /// The rate of drains by a pool that together last a block, each from opening the file to the last result.
    pub(crate) fn pool(&self, part: &mut Part) -> Measured<f64> {
        self.rate(part, |file, count| {
            let took = pool(file, self.level, count)?;
            Ok((took, ran()))
        })
    }

    /// The same by the limit.
    pub(crate) fn raw(&self, part: &mut Part) -> Measured<f64> {
        self.rate(part, |file, count| Ok((raw(file, self.level, count)?, count)))
    }

    /// What drains answers how long it took, and how much is gone.
    fn rate(
        &self,
        part: &mut Part,
        mut drain: impl FnMut(&QueueFile, usize) -> Measured<(Duration, usize)>,
    ) -> Measured<f64> {
        let (stored, drained) = (stored(self.pace), self.pace.pick(DRAINED, DRAINED / 10));
        let (mut took, mut done) = (Duration::ZERO, 0);
        while took < self.pace.block() {
            let fits = |left: &usize| *left >= stored / 10 * 9;
            let (copy, left) = match part.0.take().filter(|(_, left)| fits(left)) {
                Some(known) => known,
                None => (self.folder.copy(&self.file)?, stored),
            };
            let (this, gone) = drain(&copy, drained)?;
            took += this;
            done += drained;
            part.0 = Some((copy, left.saturating_sub(gone)));
        }
        Ok(done as f64 / took.as_secs_f64())
    }
}

fn stored(pace: Pace) -> usize {
    pace.pick(MANY, MANY / 20)
}

fn pool(file: &QueueFile, level: Durability, count: usize) -> Measured<Duration> {
    let before = recorded(&client(&file.path(), Mode::Hold, level)?)?;
    expect_runs(count);
    let began = Instant::now();
    let client = client(&file.path(), Mode::Pool, level)?;
    await_runs()?;
    // The pool goes on meanwhile, as there is more.
    while recorded(&client)? < before + count as u64 {
        if began.elapsed() > PATIENCE {
            return Err(format!("{count} results are not recorded in {PATIENCE:?}").into());
        }
        pause(Duration::from_micros(100));
    }
    let took = began.elapsed();
    client.shutdown(GRACE)?;
    Ok(took)
}

/// How many have succeeded in this file.
fn recorded(client: &Client) -> Measured<u64> {
    Ok(client.totals()?.iter().map(|lane| lane.counts.succeeded).sum())
}

fn raw(file: &QueueFile, level: Durability, count: usize) -> Measured<Duration> {
    let began = Instant::now();
    let raw = Raw::open(&file.path(), level, now_ms)?;
    for _ in (0..count).step_by(BATCH as usize) {
        raw.finish(raw.claim(BATCH)?, Resize::work)?;
    }
    Ok(began.elapsed())
}
