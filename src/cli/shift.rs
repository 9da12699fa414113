//! Front: `work` where it is to end by itself: when nothing is ready, or after so many attempts.
//!
//! A pool claims ahead, so it cannot begin exactly so many. Here each thread runs one task after the other, and
//! sleeps on the bell of the file while nothing is due.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::hub::{Pending, Ran};
use crate::watch::{Listener, Notice};

/// What such a worker does before it ends.
#[derive(Debug, Clone)]
pub(super) struct Shift {
    /// Of which queues.
    pub(super) pending: Pending,
    /// Tasks at a time.
    pub(super) threads: usize,
    /// It ends when nothing is ready.
    pub(super) batch: bool,
    /// It ends after so many attempts.
    pub(super) max_tasks: Option<usize>,
    /// How long nobody looks where nothing is reported.
    pub(super) interval: Duration,
}

/// Rings when there may be something to do.
#[derive(Default)]
struct Bell {
    /// How often it has rung.
    rung: Mutex<u64>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.notify_all();
    }

    fn rung(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it has rung once more than so often, or for this long.
    fn wait(&self, known: u64, most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(rung, most, |rung| *rung == known);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Listener for Bell {
    fn notice(&self, notice: Notice) {
        if matches!(notice, Notice::Work | Notice::Foreign | Notice::Room(_) | Notice::Schedules) {
            self.ring();
        }
    }
}

/// What the threads of a shift share.
pub(super) struct Crew {
    shift: Shift,
    left: AtomicUsize,
    over: AtomicBool,
    bell: Arc<Bell>,
}

impl Crew {
    pub(super) fn new(shift: Shift) -> Self {
        let left = AtomicUsize::new(shift.max_tasks.unwrap_or(usize::MAX));
        Self { shift, left, over: AtomicBool::new(false), bell: Arc::default() }
    }

    /// Nothing more is begun from here on.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Works until the shift is over. The first error of a thread ends them all.
    pub(super) fn work(&self, client: &Client) -> Result<Ran, Error> {
        let bell: Arc<dyn Listener> = Arc::clone(&self.bell) as Arc<dyn Listener>;
        client.hub.backend.signal().listen(&bell);
        std::thread::scope(|scope| {
            let threads = (0..self.shift.threads).map(|_| scope.spawn(|| self.turns(client)));
            let threads: Vec<_> = threads.collect();
            let mut sum = Ran::default();
            let mut first = None;
            for thread in threads {
                match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                    Ok(ran) => sum = add(sum, ran),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            first.map_or(Ok(sum), Err)
        })
    }

    /// What one thread does.
    fn turns(&self, client: &Client) -> Result<Ran, Error> {
        let mut sum = Ran::default();
        while !self.over.load(Ordering::SeqCst) && self.take() {
            let rung = self.bell.rung();
            let ran = match client.run_pending(&self.shift.pending.clone().at_most(1)) {
                Ok(ran) => ran,
                Err(Error::Closed) => return Ok(sum),
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            };
            sum = add(sum, ran);
            if count(ran) > 0 {
                continue;
            }
            self.left.fetch_add(1, Ordering::SeqCst);
            if self.shift.batch {
                return Ok(sum);
            }
            self.bell.wait(rung, self.shift.interval);
        }
        // The others sleep, and nothing is left for them.
        self.bell.ring();
        Ok(sum)
    }

    /// One of the attempts that are left.
    fn take(&self) -> bool {
        let one = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok()
    }
}

fn count(ran: Ran) -> usize {
    ran.succeeded + ran.failed + ran.postponed
}

fn add(sum: Ran, one: Ran) -> Ran {
    Ran {
        succeeded: sum.succeeded + one.succeeded,
        failed: sum.failed + one.failed,
        postponed: sum.postponed + one.postponed,
    }
}
