//! Operate: workloads `enqueue_*`: storing tasks that another process runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use litework::{Client, Durability, Mode};

use super::clock::now_ms;
use super::files::{Folder, QueueFile};
use super::measure::{Measured, Pace, rate};
use super::raw::Raw;
use super::resize::{Resize, client};

/// Bulk inserts that bring a file into its steady state: its log is as long as it gets. While a log
/// still grows, each sync writes the file's new length too, which costs up to half the rate.
const WARMING: usize = 150;
/// Tasks of a bulk insert.
const BULK: usize = 1_000;

/// Two open files, one for each side, that have been in use for a while.
pub(crate) struct Steady {
    client: Client,
    raw: Raw,
    block: Duration,
    // After the connections, as they are closed in this order.
    _files: [QueueFile; 2],
}

impl Steady {
    pub(crate) fn new(folder: &Folder, pace: Pace, level: Durability) -> Measured<Self> {
        let files = [folder.empty()?, folder.empty()?];
        let client = client(&files[0].path(), Mode::Enqueue, level)?;
        let raw = Raw::open(&files[1].path(), level, now_ms)?;
        for _ in 0..pace.pick(WARMING, WARMING / 10) {
            client.enqueue_many(Resize::samples(BULK))?;
            raw.insert(Resize::samples(BULK))?;
        }
        Ok(Self { client, raw, block: pace.block(), _files: files })
    }

    /// A lone caller.
    pub(crate) fn lone(&self) -> Measured<f64> {
        let mut number = 0;
        rate(self.block, || {
            number += 1;
            self.client.enqueue(Resize::sample(number))?;
            Ok(1)
        })
    }

    /// So many callers at once.
    pub(crate) fn at_once(&self, callers: usize) -> Measured<f64> {
        let (client, block, done) = (&self.client, self.block, AtomicUsize::new(0));
        let took = together(callers, || {
            let mut mine = 0;
            rate(block, || {
                mine += 1;
                client.enqueue(Resize::sample(mine))?;
                Ok(1)
            })?;
            done.fetch_add(mine, Ordering::SeqCst);
            Ok(())
        })?;
        Ok(done.into_inner() as f64 / took.as_secs_f64())
    }

    /// The limit: so many tasks a transaction.
    pub(crate) fn raw(&self, batch: usize) -> Measured<f64> {
        rate(self.block, || {
            self.raw.insert(Resize::samples(batch))?;
            Ok(batch)
        })
    }
}

/// Calls from so many threads at one moment; how long until the last was through.
pub(crate) fn together(
    callers: usize,
    call: impl Fn() -> Measured<()> + Sync,
) -> Measured<Duration> {
    // A thread that cannot be started lets the others go, rather than have them wait for it.
    let (complete, start) = (RwLock::new(false), Barrier::new(callers + 1));
    thread::scope(|scope| {
        let mut gate = complete.write().unwrap_or_else(PoisonError::into_inner);
        let mut threads = Vec::new();
        for _ in 0..callers {
            let run = || {
                if *complete.read().unwrap_or_else(PoisonError::into_inner) {
                    start.wait();
                    call()?;
                }
                Measured::Ok(())
            };
            threads.push(thread::Builder::new().spawn_scoped(scope, run)?);
        }
        *gate = true;
        drop(gate);
        start.wait();
        let began = Instant::now();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(began.elapsed())
    })
}

/// A thousand tasks a call; each block has a new file, which it fills itself.
pub(crate) fn bulk(folder: &Folder, pace: Pace, level: Durability) -> Measured<f64> {
    let file = folder.empty()?;
    let client = client(&file.path(), Mode::Enqueue, level)?;
    rate(pace.block(), || Ok(client.enqueue_many(Resize::samples(BULK))?.len()))
}

/// The same by the limit.
pub(crate) fn raw_bulk(folder: &Folder, pace: Pace, level: Durability) -> Measured<f64> {
    let file = folder.empty()?;
    let raw = Raw::open(&file.path(), level, now_ms)?;
    rate(pace.block(), || {
        raw.insert(Resize::samples(BULK))?;
        Ok(BULK)
    })
}
