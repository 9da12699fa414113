//! Run: what wakes the threads of a pool that keep its time.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a thread is rung for.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a reason of its own, and all combinations occur"
)]
pub(super) struct Rung {
    any: bool,
    pub(super) others: bool,
    pub(super) cancel: bool,
    pub(super) schedules: bool,
}

/// Wakes the keeper, or its clerk.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    wake: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.note(|rung| rung.any = true);
    }

    /// Another process has committed: it may have tasks, and may have asked ours to stop.
    pub(super) fn foreign(&self, holding: bool) {
        self.note(|rung| {
            rung.others = true;
            rung.cancel |= holding;
        });
    }

    /// A task was asked to stop: what is remembered of such requests is to be read again.
    pub(super) fn cancels(&self) {
        self.note(|rung| rung.cancel = true);
    }

    /// The next slot of a schedule may be another.
    pub(super) fn schedules(&self) {
        self.note(|rung| rung.schedules = true);
    }

    #[cfg(test)]
    pub(super) fn is_rung(&self) -> bool {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).any
    }

    fn note(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Sleeps until it is rung or `until` has come.
    pub(super) fn wait(&self, until: Option<Instant>) -> Rung {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !rung.any && !rung.others && !rung.cancel && !rung.schedules {
            rung = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.wake.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        std::mem::take(&mut *rung)
    }
}
