//! Run: the task of a benchmark, and how its end is learnt.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use litework::{Builder, Client, Context, Durability, Error, Mode, Result, Task};
use serde::{Deserialize, Serialize};

use super::clock::pause;
use super::measure::Measured;
use super::probe::Probe;

/// About 100 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Resize {
    path: String,
    width: u64,
    height: u64,
    format: String,
    quality: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Resized {
    bytes: u64,
}

impl Resize {
    pub(crate) fn sample(number: usize) -> Self {
        Self {
            path: "/srv/pictures/2026/11/21/img_0001234.jpeg".to_owned(),
            width: number as u64,
            height: 1_200,
            format: "webp".to_owned(),
            quality: 82,
        }
    }

    pub(crate) fn samples(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(Self::sample)
    }

    /// Does nothing, and is counted.
    pub(crate) fn work(self) -> Resized {
        count_run();
        Resized { bytes: self.width * self.height }
    }
}

impl Task for Resize {
    const NAME: &'static str = "resize";
    type Output = Resized;

    fn run(self, _: &Context) -> Result<Resized> {
        Ok(self.work())
    }
}

/// Bodies that have run, the number that is waited for, and who waits.
static RAN: AtomicU64 = AtomicU64::new(0);
static WANTED: AtomicU64 = AtomicU64::new(u64::MAX);
static WAITER: Mutex<Option<Thread>> = Mutex::new(None);

pub(crate) fn count_run() {
    if RAN.fetch_add(1, Ordering::Relaxed) + 1 == WANTED.load(Ordering::Relaxed)
        && let Some(waiter) = WAITER.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        waiter.unpark();
    }
}

/// Longer than any block; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts from now on; this thread will wait for so many bodies.
pub(crate) fn expect_runs(count: usize) {
    RAN.store(0, Ordering::SeqCst);
    WANTED.store(count as u64, Ordering::SeqCst);
    *WAITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
}

/// Waits for the number that was expected.
pub(crate) fn await_runs() -> Measured<()> {
    let began = Instant::now();
    while RAN.load(Ordering::SeqCst) < WANTED.load(Ordering::SeqCst) {
        if began.elapsed() > PATIENCE {
            return Err(format!("only {RAN:?} of {WANTED:?} tasks ran in {PATIENCE:?}").into());
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Ok(())
}

/// Bodies that have run since they were last expected.
pub(crate) fn ran() -> usize {
    RAN.load(Ordering::SeqCst) as usize
}

/// Waits until the results of all that ran are recorded.
pub(crate) fn await_results(probe: &Probe) -> Measured<()> {
    let began = Instant::now();
    while probe.is_running()? {
        if began.elapsed() > PATIENCE {
            return Err(format!("results are not recorded in {PATIENCE:?}").into());
        }
        pause(Duration::from_micros(100));
    }
    Ok(())
}

/// Fails where so many tasks have not succeeded: a fast wrong answer is none.
pub(crate) fn check_succeeded(probe: &Probe, expected: usize) -> Measured<()> {
    let found = probe.succeeded()?;
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    Err(format!("{found} tasks have succeeded, of {expected}").into())
}

/// What opens a file whatever the environment of this process says of queues.
pub(crate) fn builder(path: &Path) -> Builder {
    Client::builder(path).environment::<&str, &str>([])
}

/// A client of this mode, with two workers if it has any.
pub(crate) fn client(path: &Path, mode: Mode, durability: Durability) -> Result<Client, Error> {
    builder(path).register(Resize::define()).mode(mode).durability(durability).workers(2).open()
}
