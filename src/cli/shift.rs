//! Front: `work` where it is to end by itself: when nothing is ready, or after so many attempts.
//!
//! A pool claims ahead, so it cannot begin exactly so many. Here each thread runs one task after the other, and
//! sleeps on the bell of the file while nothing is due.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::code::Code;
use super::say::Say;
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
    /// Tells that the file is busy; none where nobody is to be told.
    pub(super) say: Option<Say>,
}

/// After the file was busy, the next try waits this long.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(100);
/// What is told then.
pub(super) const BUSY: &str = "the file is busy: another program holds it; trying again";

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
    /// It was told that the file is busy, and has not been written since.
    is_busy: AtomicBool,
}

/// What a shift came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Made {
    pub(super) ran: Ran,
    /// Attempts whose ends could not be stored at once, so that it is not known here how they ended.
    pub(super) late: usize,
}

impl Made {
    pub(super) fn attempts(self) -> usize {
        count(self.ran) + self.late
    }
}

/// Whether another program holds the file for so long that it has to be tried again.
pub(super) fn is_busy(error: &Error) -> bool {
    Code::of(error) == Code::Busy
}

impl Crew {
    pub(super) fn new(shift: Shift) -> Self {
        let left = AtomicUsize::new(shift.max_tasks.unwrap_or(usize::MAX));
        let (over, is_busy) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { shift, left, over, bell: Arc::default(), is_busy }
    }

    /// Nothing more is begun from here on.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Works until the shift is over. The first error of a thread ends them all, but for a file that is busy.
    pub(super) fn work(&self, client: &Client) -> Result<Made, Error> {
        let bell: Arc<dyn Listener> = Arc::clone(&self.bell) as Arc<dyn Listener>;
        client.hub.backend.signal().listen(&bell);
        client.hub.backend.watch()?;
        std::thread::scope(|scope| {
            let threads = (0..self.shift.threads).map(|_| scope.spawn(|| self.turns(client)));
            let threads: Vec<_> = threads.collect();
            let mut sum = Made::default();
            let mut first = None;
            for thread in threads {
                match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                    Ok(made) => sum = add(sum, made),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            first.map_or(Ok(sum), Err)
        })
    }

    /// What one thread does.
    fn turns(&self, client: &Client) -> Result<Made, Error> {
        let mut sum = Made::default();
        while !self.over.load(Ordering::SeqCst) && self.take() {
            let rung = self.bell.rung();
            let (ran, claimed) = self.turn(client);
            match ran {
                Ok(ran) if count(ran) > 0 => sum = add(sum, Made { ran, late: 0 }),
                // What was handed back unrun is not all that there is.
                Ok(_) if claimed => self.give_back(),
                Ok(_) => {
                    self.give_back();
                    if self.shift.batch {
                        return Ok(sum);
                    }
                    self.bell.wait(rung, self.rest(client)?);
                }
                Err(Error::Closed) => return Ok(sum),
                Err(error) if is_busy(&error) => {
                    // It has begun, whenever its end is stored.
                    if claimed {
                        sum.late += 1;
                    } else {
                        self.give_back();
                    }
                    self.tell_busy();
                    self.bell.wait(rung, TRY_AGAIN);
                }
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            }
        }
        // The others sleep, and nothing is left for them.
        self.bell.ring();
        Ok(sum)
    }

    /// One attempt, if there is something to do, and whether a task was claimed for it.
    fn turn(&self, client: &Client) -> (Result<Ran, Error>, bool) {
        let claimed = Arc::new(AtomicUsize::new(0));
        let pending = self.shift.pending.clone().at_most(1).counted(&claimed);
        let ran = client.run_pending(&pending);
        if ran.is_ok() {
            self.is_busy.store(false, Ordering::SeqCst);
        }
        (ran, claimed.load(Ordering::SeqCst) > 0)
    }

    /// Until when there is nothing to do that nobody tells of.
    fn rest(&self, client: &Client) -> Result<Duration, Error> {
        // Set with the client.
        let Some(runner) = client.hub.pending.get() else { return Ok(TRY_AGAIN) };
        match runner.rest() {
            Err(Error::Closed) => Ok(TRY_AGAIN),
            Err(error) if is_busy(&error) => Ok(TRY_AGAIN),
            Err(error) => {
                self.end();
                Err(error)
            }
            rest => rest,
        }
    }

    /// Tells it once, until the file could be written again.
    fn tell_busy(&self) {
        if self.is_busy.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(say) = self.shift.say {
            say.note(BUSY);
        }
    }

    fn give_back(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
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

fn add(sum: Made, one: Made) -> Made {
    let ran = Ran {
        succeeded: sum.ran.succeeded + one.ran.succeeded,
        failed: sum.ran.failed + one.ran.failed,
        postponed: sum.ran.postponed + one.ran.postponed,
    };
    Made { ran, late: sum.late + one.late }
}
