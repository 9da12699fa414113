//! Run: the end of a pool: drain, ask, hand back, leave. The order is the hub's.

use std::cell::Cell;
use std::sync::PoisonError;
use std::time::Instant;

use super::pool::Pool;
use super::state::{FINISH_DELAY, Phase, State};
use super::unstored;
use crate::attempt;
use crate::context::StopReason;
use crate::error::Error;
use crate::hub::{STOP_DELAY, Stopped, Stops};
use crate::record::Claimed;

thread_local! {
    /// The address of the pool whose worker this thread is; 0 for any other thread.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

impl Stops for Pool {
    /// What is held and has not started goes back.
    fn drain(&self) {
        let mut held: Vec<Claimed> = {
            let mut state = self.state();
            if state.phase != Phase::Running {
                return;
            }
            state.phase = Phase::Draining;
            state.counts = Stopped::default();
            state.held.drain(..).map(|held| held.task).collect()
        };
        held.extend(self.take_chunks(|_| true));
        self.hand_back(&held);
        self.wake.notify_all();
    }

    fn wait_idle(&self, until: Instant) -> bool {
        // Receivers of events may still call the client.
        self.wait_until(until, |state| self.runs_none() && state.is_settled())
    }

    fn ask(&self) {
        for slot in self.slots() {
            if let Some(running) = &slot.running {
                running.token.stop(StopReason::Shutdown);
            }
        }
    }

    #[cfg(feature = "cli")]
    fn bodies(&self) -> usize {
        self.running().len()
    }

    fn leave(&self) -> Result<Stopped, Error> {
        if !self.is_over() {
            self.end();
        }
        self.flush_all();
        if !self.state().finishes.is_empty() {
            return Err(unstored());
        }
        if let Some(owner) = self.owner() {
            self.backend.leave(self.clock.now(), owner)?;
        }
        Ok(self.state().counts)
    }
}

impl Pool {
    /// Gives up what still runs, and ends the threads.
    fn end(&self) {
        let bodies = self.running();
        let stuck = bodies.iter().filter(|body| self.abandon(body, attempt::stopped, false));
        let stuck = stuck.count();
        {
            let mut state = self.state();
            state.phase = Phase::Over;
            state.counts.still_running = stuck;
            state.counts.handed_back += stuck;
        }
        self.wake.notify_all();
        self.keeper.ring();
        self.end_threads(stuck);
    }

    /// Notes that the calling thread is one of this pool's workers.
    pub(super) fn mark_worker(&self) {
        WORKS_FOR.set(self.address());
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Waits for a condition that workers signal; false when `until` came first.
    fn wait_until(&self, until: Instant, done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state();
        loop {
            if done(&state) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // Bodies end without this lock, so the condition is looked at again after a while.
            let waited = self.wake.wait_timeout(state, left.min(FINISH_DELAY));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the threads that can end have ended. The last drop of a client may come from a
    /// worker thread itself, which cannot be waited for.
    fn end_threads(&self, stuck: usize) {
        let left = stuck + usize::from(WORKS_FOR.get() == self.address());
        let until = Instant::now() + STOP_DELAY;
        let _stuck_threads_stay = self.wait_until(until, |state| state.threads_left <= left);
    }
}
