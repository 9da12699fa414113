//! The work of a task, and how the bench learns that it was done.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use litework::{Client, Context, Durability, Mode, Result, Task};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

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
pub(crate) fn await_runs() {
    let began = std::time::Instant::now();
    while RAN.load(Ordering::SeqCst) < WANTED.load(Ordering::SeqCst) {
        assert!(began.elapsed() < PATIENCE, "only {RAN:?} of {WANTED:?} bodies ran");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Bodies that have run since they were last expected.
pub(crate) fn ran() -> usize {
    RAN.load(Ordering::SeqCst) as usize
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

/// A client of this mode, with two workers if it has any.
pub(crate) fn client(path: &Path, mode: Mode, durability: Durability) -> Client {
    let builder = Client::builder(path).register(Resize::define()).environment::<&str, &str>([]);
    let builder = builder.mode(mode).durability(durability).workers(2);
    builder.open().expect("the file is ours")
}

/// Looks at a file from outside.
pub(crate) struct Probe(Connection);

impl Probe {
    pub(crate) fn open(path: &Path) -> Self {
        Self(Connection::open(path).expect("the file is there"))
    }

    /// Waits until the results of all that ran are recorded.
    pub(crate) fn await_results(&self) {
        let runs = "SELECT EXISTS (SELECT 1 FROM litework_task WHERE state = 'running')";
        while self.number(runs) != 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        let mut statement = self.0.prepare_cached(sql).expect("the statement is sound");
        statement.query_row([], |row| row.get(0)).expect("it answers")
    }

    /// Fails the bench if so many tasks have not succeeded: a fast wrong answer is none.
    pub(crate) fn check_succeeded(&self, expected: usize) {
        let found = self.number("SELECT count(*) FROM litework_task WHERE state = 'succeeded'");
        assert_eq!(found, expected as i64, "tasks that succeeded");
    }
}
