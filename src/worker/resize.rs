//! Run: more or fewer threads while the pool goes on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::pool::Pool;
use super::spawn;
use super::state::{Phase, State};
use crate::error::Error;
use crate::record::Claimed;

impl Pool {
    /// How many threads there are to be.
    pub(super) fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }

    /// Starts a thread for each slot below the number of threads that has none.
    pub(super) fn start_missing(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        for slot in 0..self.threads() {
            if state.live.insert(slot) {
                let pool = Arc::clone(self);
                if let Err(error) = spawn(format!("litework-{slot}"), move || pool.work(slot)) {
                    state.live.remove(&slot);
                    return Err(error);
                }
                state.threads_left += 1;
            }
        }
        Ok(())
    }

    /// From now on so many threads. New ones start at once; those that are too many end when they have
    /// run what stands before them.
    pub(super) fn resize_to(self: &Arc<Self>, threads: usize) -> Result<(), Error> {
        // The number that is stored last is to be the one that holds.
        let _one = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.phase != Phase::Running {
            return Err(Error::Closed);
        }
        let before = self.threads();
        self.slots.grow(threads);
        self.threads.store(threads, Ordering::SeqCst);
        let started = self.start_missing(&mut state);
        if started.is_err() {
            // As many as there could be; those started may also be needed for a smaller number.
            let there = (0..threads).take_while(|slot| state.live.contains(slot)).count();
            self.threads.store(there.max(before.min(threads)), Ordering::SeqCst);
        }
        let now = self.threads();
        if let Some(places) = self.places() {
            places.set_threads(now);
        }
        state.work = true;
        // What was taken for threads that end goes back, for whoever is free first.
        let held: Vec<Claimed> = if now < before {
            state.held.drain(..).map(|held| held.task).collect()
        } else {
            Vec::new()
        };
        drop(state);
        self.hand_back(&held);
        self.wake.notify_all();
        self.keeper.ring();
        if let Some(owner) = self.owner() {
            self.backend.set_threads(owner, now)?;
        }
        started
    }

    /// Whether the thread of this slot is one too many and may end: it has nothing before it.
    pub(super) fn may_leave(&self, state: &mut State, slot: usize) -> bool {
        if slot < self.threads() {
            return false;
        }
        state.live.remove(&slot);
        // It may have been woken for something that another is to do now.
        state.flush |= !state.finishes.is_empty();
        self.wake.notify_one();
        if state.idle == 0 {
            self.keeper.ring();
        }
        true
    }
}
