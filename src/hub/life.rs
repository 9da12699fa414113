//! Enqueue: how far a client is on its way to its end, and the one who brings it there.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::Stopped;

/// How far a client is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Open,
    /// What runs may end, and may store what comes next.
    Draining,
    Closed,
    /// Whatever ran has ended or was handed back.
    Over,
}

/// What a shutdown came to, for those that come later.
#[derive(Default)]
pub(super) enum Closing {
    /// Not begun, or it failed and may be repeated.
    #[default]
    Due,
    UnderWay,
    Done(Stopped),
}

/// The phase of a client, and the one shutdown that there is at a time.
#[derive(Default)]
pub(crate) struct Life {
    phase: AtomicU8,
    pub(super) closing: Mutex<Closing>,
    closed: Condvar,
    /// When the grace is over for the most impatient of those who shut down.
    until: Mutex<Option<Instant>>,
    /// The program has dropped its last client, and whatever ran has ended.
    pub(super) let_go: AtomicBool,
}

/// The one who shuts down. When it goes without an answer, the next may try.
pub(super) struct Closer<'a> {
    life: &'a Life,
    pub(super) answer: Closing,
}

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        let answer = std::mem::take(&mut self.answer);
        *self.life.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.life.closing.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        self.life.closed.notify_all();
    }
}

impl Life {
    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::SeqCst) == phase as u8
    }

    /// A phase that has been left does not come again.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// Whoever shuts down waits for what runs until then at most, also where another one was to wait longer.
    pub(crate) fn hurry(&self, until: Instant) {
        let mut known = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(until, |known| known.min(until)));
    }

    /// When the grace is over; none while nobody shuts down.
    pub(crate) fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this thread the one who shuts down, or waits for the answer of the one who does.
    pub(super) fn begin_closing(&self) -> Result<Closer<'_>, Stopped> {
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = |closing: &mut Closing| matches!(closing, Closing::UnderWay);
        let waited = self.closed.wait_while(closing, under_way);
        let mut closing = waited.unwrap_or_else(PoisonError::into_inner);
        if let Closing::Done(stopped) = *closing {
            return Err(stopped);
        }
        *closing = Closing::UnderWay;
        Ok(Closer { life: self, answer: Closing::Due })
    }
}
