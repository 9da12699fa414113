//! Operate: workload `latency_in_process`: from the call of `enqueue` to the start of the body, while nothing else is
//! to do, beside an insert and a condition variable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use litework::{Client, Context, Durability, Result, Task};
use serde::{Deserialize, Serialize};

use super::clock::{now_ms, pause};
use super::files::{Folder, QueueFile};
use super::measure::{Measured, Pace};
use super::probe::Probe;
use super::raw::Raw;
use super::resize::{Resize, await_results, await_runs, builder, expect_runs};
use super::stats::Pair;

/// Long enough for a thread that has nothing to do to be asleep.
const SETTLE: Duration = Duration::from_micros(300);
/// Bulk inserts that bring both files into their steady state, see the workloads `enqueue_*`.
const WARMING: usize = 100;
const BULK: usize = 1_000;

/// When the newest body began, in nanoseconds after [`START`].
static BEGAN: AtomicU64 = AtomicU64::new(0);
static START: OnceLock<Instant> = OnceLock::new();

fn nanos() -> u64 {
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Notes when it runs; its arguments are as long as those of the other workloads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Arrive(pub(crate) Resize);

impl Task for Arrive {
    const NAME: &'static str = "resize";
    type Output = ();

    fn run(self, _: &Context) -> Result<()> {
        BEGAN.store(nanos(), Ordering::SeqCst);
        self.0.work();
        Ok(())
    }
}

/// Microseconds from now until the body that `call` sets off begins.
pub(crate) fn microseconds(call: impl FnOnce() -> Measured<()>) -> Measured<f64> {
    expect_runs(1);
    let called = nanos();
    call()?;
    await_runs()?;
    Ok(BEGAN.load(Ordering::SeqCst).saturating_sub(called) as f64 / 1e3)
}

/// Two open files, one for each side.
pub(crate) struct InProcess {
    client: Client,
    raw: Raw,
    probe: Probe,
    // After the connections, as they are closed in this order.
    _files: [QueueFile; 2],
}

impl InProcess {
    pub(crate) fn new(folder: &Folder, pace: Pace, level: Durability) -> Measured<Self> {
        let files = [folder.empty()?, folder.empty()?];
        let probe = Probe::open(&files[0].path())?;
        let builder = builder(&files[0].path()).register(Arrive::define()).workers(2);
        let client = builder.durability(level).open()?;
        let raw = Raw::open(&files[1].path(), level, now_ms)?;
        let batches = pace.pick(WARMING, WARMING / 10);
        expect_runs(batches * BULK);
        for _ in 0..batches {
            client.enqueue_many(Resize::samples(BULK).map(Arrive))?;
            raw.insert(Resize::samples(BULK))?;
        }
        await_runs()?;
        await_results(&probe)?;
        Ok(Self { client, raw, probe, _files: files })
    }

    /// Microseconds of both sides in turn, until that is enough.
    pub(crate) fn pairs(&self, enough: impl FnMut(&[Pair]) -> bool) -> Measured<Vec<Pair>> {
        let post = Post::default();
        std::thread::scope(|scope| {
            std::thread::Builder::new().spawn_scoped(scope, || post.receive())?;
            let pairs = self.exchange(&post, enough);
            post.send(|place| place.over = true);
            pairs
        })
    }

    fn exchange(
        &self,
        post: &Post,
        mut enough: impl FnMut(&[Pair]) -> bool,
    ) -> Measured<Vec<Pair>> {
        let mut pairs: Vec<Pair> = Vec::new();
        while !enough(&pairs) {
            let number = pairs.len();
            let ours = microseconds(|| {
                self.client.enqueue(Arrive(Resize::sample(number)))?;
                Ok(())
            })?;
            await_results(&self.probe)?;
            pause(SETTLE);
            let limit = microseconds(|| {
                self.raw.insert(std::iter::once(Resize::sample(number)))?;
                post.send(|place| place.task = Some(Resize::sample(number)));
                Ok(())
            })?;
            pause(SETTLE);
            pairs.push((ours, limit));
        }
        Ok(pairs)
    }
}

/// The bare hand-over: one place, guarded by a condition variable.
#[derive(Default)]
struct Post {
    place: Mutex<Place>,
    filled: Condvar,
}

#[derive(Default)]
struct Place {
    task: Option<Resize>,
    over: bool,
}

impl Post {
    fn send(&self, change: impl FnOnce(&mut Place)) {
        change(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner));
        self.filled.notify_one();
    }

    /// Runs what is sent until there will be no more.
    fn receive(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        while !place.over {
            if let Some(task) = place.task.take() {
                BEGAN.store(nanos(), Ordering::SeqCst);
                task.work();
            } else {
                place = self.filled.wait(place).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
