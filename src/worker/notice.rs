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

    /// The rows that are known to have been asked to stop.
    pub(super) fn known_cancels(&self) -> HashSet<i64> {
        self.cancels().clone()
    }

    /// Remembers which rows were asked to stop, for those that have not begun. `rows` is what the
    /// store says of this pool; `known` was known before it was read. What was known then and is
    /// not stored has ended or runs elsewhere; what came while it was read stays.
    pub(super) fn note_cancels(&self, known: &HashSet<i64>, rows: &[i64]) {
        let mut cancels = self.cancels();
        cancels.retain(|row| !known.contains(row));
        cancels.extend(rows);
        self.has_cancels.store(!cancels.is_empty(), Ordering::SeqCst);
    }

    /// Asks the task of a row to stop, whether it runs or is about to.
    fn stop_row(&self, row: i64) {
        {
            let mut cancels = self.cancels();
            cancels.insert(row);
            self.has_cancels.store(true, Ordering::SeqCst);
        }
        for slot in self.slots() {
            if let Some(running) = slot.running.as_ref().filter(|running| running.lease.row == row)
            {
                running.token.stop(StopReason::Cancelled);
            }
        }
        // The task may be another process's, which only the store can tell.
        self.keeper.cancels();
    }
}

impl Listener for Pool {
    fn notice(&self, notice: Notice) {
        if notice == Notice::Touched || notice == Notice::Room(self.number()) {
            return;
        }
        let mut state = self.state();
        match notice {
            Notice::Work | Notice::Room(_) | Notice::Foreign | Notice::Clock => {
                state.work = true;
                if state.idle > 0 {
                    self.wake.notify_one();
                }
            }
            Notice::Cancel(row) => {
                drop(state);
                return self.stop_row(row);
            }
            Notice::Schedules => {
                drop(state);
                return self.keeper.schedules();
            }
            Notice::Touched => return,
        }
        drop(state);
        let holding = self.holds_any();
        match notice {
            Notice::Foreign => self.keeper.foreign(holding),
            Notice::Clock => self.keeper.ring(),
            Notice::Work
            | Notice::Room(_)
            | Notice::Cancel(_)
            | Notice::Schedules
            | Notice::Touched => {}
        }
    }
}
