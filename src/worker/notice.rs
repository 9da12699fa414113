//! Watch: what a pool does when the bell rings: it looks for work, or asks tasks to stop.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::pool::Pool;
use crate::context::StopReason;
use crate::watch::{Listener, Notice};

impl Pool {
    fn cancels(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task that has not begun was asked to stop.
    pub(super) fn is_cancelled(&self, row: i64) -> bool {
        if !self.has_cancels.load(Ordering::SeqCst) {
            return false;
        }
        let mut cancels = self.cancels();
        let asked = cancels.remove(&row);
        self.has_cancels.store(!cancels.is_empty(), Ordering::SeqCst);
        asked
    }

    /// Remembers which rows were asked to stop, for those that have not begun.
    pub(super) fn note_cancels(&self, rows: &[i64]) {
        let mut cancels = self.cancels();
        *cancels = rows.iter().copied().collect();
        self.has_cancels.store(!cancels.is_empty(), Ordering::SeqCst);
    }

    /// Asks the task of a row to stop, whether it runs or is about to.
    fn stop_row(&self, row: i64) {
        self.cancels().insert(row);
        self.has_cancels.store(true, Ordering::SeqCst);
        for slot in self.slots() {
            if let Some(running) = slot.running.as_ref().filter(|running| running.lease.row == row)
            {
                running.token.stop(StopReason::Cancelled);
            }
        }
    }
}

impl Listener for Pool {
    fn notice(&self, notice: Notice) {
        let mut state = self.state();
        match notice {
            Notice::Work | Notice::Foreign | Notice::Clock => {
                state.work = true;
                if state.idle > 0 {
                    self.wake.notify_one();
                }
            }
            Notice::Cancel(row) => {
                drop(state);
                return self.stop_row(row);
            }
        }
        drop(state);
        let holding = self.holds_any();
        match notice {
            Notice::Foreign => self.keeper.foreign(holding),
            Notice::Clock => self.keeper.ring(),
            Notice::Work | Notice::Cancel(_) => {}
        }
    }
}
