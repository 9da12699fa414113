//! Run: the end of a pool: drain, ask, hand back, leave.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::pool::Pool;
use super::state::{FINISH_DELAY, Phase, State};
use crate::attempt;
use crate::context::StopReason;
use crate::error::Error;
use crate::hub::Stopped;
use crate::record::Claimed;

/// How long bodies have between the word to stop and the loss of their lease, in a shutdown.
pub(super) const STOP_DELAY: Duration = Duration::from_secs(1);

impl Pool {
    /// Stops claiming, lets running bodies end for `grace`, asks them to stop, and hands back what is
    /// left.
    pub(super) fn stop(&self, grace: Duration) -> Result<Stopped, Error> {
        let until = Instant::now() + grace.min(Duration::from_secs(365 * 24 * 60 * 60));
        let mut held: Vec<Claimed> = {
            let mut state = self.state();
            state.phase = Phase::Draining;
            state.counts = Stopped::default();
            state.held.drain(..).map(|held| held.task).collect()
        };
        held.extend(self.take_chunks(|_| true));
        self.hand_back(&held);
        self.wake.notify_all();
        if !self.wait_until(until, |_| self.runs_none()) {
            self.stop_running();
        }
        let slots = 0..self.config.threads;
        let still_running =
            slots.filter(|slot| self.abandon(*slot, attempt::stopped, false)).count();
        self.state().phase = Phase::Over;
        self.wake.notify_all();
        self.keeper.ring();
        self.end_threads(still_running);
        self.flush_all();
        let answer = match self.owner() {
            Some(owner) => self.backend.leave(self.clock.now(), owner),
            None => Ok(()),
        };
        let mut stopped = self.state().counts;
        stopped.handed_back += still_running;
        stopped.still_running = still_running;
        answer.map(|()| stopped)
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

    fn stop_running(&self) {
        for slot in self.slots() {
            if let Some(running) = &slot.running {
                running.token.stop(StopReason::Shutdown);
            }
        }
        // Those that did not stop are told apart by the caller.
        let _some_stay = self.wait_until(Instant::now() + STOP_DELAY, |_| self.runs_none());
    }

    /// Waits until the threads that can end have ended. The last drop of a client may come from a
    /// worker thread itself, which cannot be waited for.
    fn end_threads(&self, stuck: usize) {
        let own = std::thread::current().name().is_some_and(|name| name.starts_with("litework-"));
        let left = stuck + usize::from(own);
        let until = Instant::now() + STOP_DELAY;
        let _stuck_threads_stay = self.wait_until(until, |state| state.threads_left <= left);
    }
}
