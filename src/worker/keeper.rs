//! Run: the one thread of a pool that keeps time.
//!
//! It wakes for the next due task, for finishes that have waited long enough while every worker is
//! busy, for time-outs, for the renewal of the lease while something runs, for the inbox when another
//! process has committed, and twice a second to look for dead processes while others have running
//! tasks. Slice by slice it removes what ended long ago, whenever it is awake and that is due. When there
//! is none of that, it sleeps
//! until it is rung, and for 10 s at most: nobody rings when a task is handed over, so this is when a
//! lease that must be kept alive is noticed.
//!
//! It calls no receiver of events: a slow one would cost the lease. What may call them is its clerk's.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::bell::Rung;
use super::clerk::Clerk;
use super::pool::Pool;
use super::state::Phase;
use super::{look_again, spawn};
use crate::attempt::timed_out;
use crate::context::StopReason;
use crate::error::Error;
use crate::unserved::LOOK_EVERY;

/// The lease is renewed this often while something runs: a third of its length.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A renewal that failed is tried again so soon, as others time what they see of the lease.
const RENEW_AGAIN: Duration = Duration::from_millis(500);
/// Dead processes are looked for this often while others have running tasks.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(500);
/// A body that has not stopped this long after its time-out loses its lease and is marked stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What the keeper remembers between two looks.
struct Keeper {
    /// When to renew the lease.
    renew_at: Instant,
    /// When to look at other processes.
    next_probe: Option<Instant>,
    /// When they were looked at.
    probed: Option<Instant>,
    /// When to fetch finishes from the slots.
    collect: Option<Instant>,
    clerk: Clerk,
    looked_at_gates: Instant,
    /// How many had ended here when it was last looked for what is to be removed.
    ended: usize,
    /// When it was looked for work that nobody runs.
    unserved: Instant,
}

pub(super) fn start(pool: &Arc<Pool>) -> Result<(), Error> {
    let clerk = Clerk::start(pool)?;
    let weak = Arc::downgrade(pool);
    spawn("litework-keeper".into(), move || run(&weak, clerk))
}

fn run(weak: &Weak<Pool>, clerk: Clerk) {
    let now = Instant::now();
    let mut keeper = Keeper {
        renew_at: now + RENEW_EVERY,
        next_probe: Some(now),
        probed: None,
        collect: None,
        clerk,
        ended: 0,
        looked_at_gates: now,
        unserved: now,
    };
    let mut rung = Rung::default();
    while let Some(pool) = weak.upgrade().filter(|pool| !pool.is_over()) {
        *pool.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let until = Error::caught(|| Ok(keeper.look(&pool, &rung)));
        rung = pool.keeper.wait(until.unwrap_or_else(|error| Some(look_again(&error))));
    }
}

impl Keeper {
    /// Does what is due and says when to look again.
    fn look(&mut self, pool: &Pool, rung: &Rung) -> Option<Instant> {
        if rung.cancel {
            deliver_cancels(pool);
        }
        if rung.others && self.next_probe.is_none() {
            let soonest = self.probed.map(|at| at + PROBE_EVERY);
            self.next_probe = Some(soonest.unwrap_or_else(Instant::now));
        }
        if self.next_probe.is_some_and(|at| at <= Instant::now()) {
            self.probe(pool);
        }
        self.look_for_unserved(pool);
        let timeouts = end_late_bodies(pool);
        self.collect(pool);
        let renewal = self.renew(pool);
        let clerk = self.clerk.look(pool, rung);
        let prune = self.prune(pool, rung.others);
        self.open_gates(pool);
        let timers = [self.next_probe, self.collect, timeouts, renewal, clerk, prune];
        timers.into_iter().flatten().min()
    }

    /// Looks after gates of which nobody tells: locks that have expired, and such as only those keep shut who
    /// may not be able to start.
    fn open_gates(&mut self, pool: &Pool) {
        if self.looked_at_gates.elapsed() < RENEW_EVERY {
            return;
        }
        self.looked_at_gates = Instant::now();
        if let Err(error) = pool.backend.open_gates(pool.clock.now()) {
            tracing::error!(%error, "the gates could not be looked at; trying again");
        }
    }

    /// Removes a slice of what ended long ago, where it is time to.
    fn prune(&mut self, pool: &Pool, others: bool) -> Option<Instant> {
        let state = pool.state();
        if state.phase != Phase::Running {
            return None;
        }
        let ended = std::mem::replace(&mut self.ended, state.counts.finished);
        let news = others || ended != state.counts.finished;
        drop(state);
        pool.pruner.tick(news).map(|pause| Instant::now() + pause)
    }

    /// Warns of what nobody runs. It rides on the looks that there are anyway.
    fn look_for_unserved(&mut self, pool: &Pool) {
        if self.unserved.elapsed() >= pool.config.look_every.unwrap_or(LOOK_EVERY) {
            self.unserved = Instant::now();
            if let Some(hub) = pool.hub.upgrade() {
                hub.warner.look(|| hub.unserved(pool.clock.now()));
            }
        }
    }

    fn collect(&mut self, pool: &Pool) {
        match self.collect {
            Some(at) if at <= Instant::now() => {
                self.collect = None;
                pool.collect();
            }
            None if pool.is_collecting() => {
                self.collect = Some(Instant::now() + pool.state().delay);
            }
            Some(_) | None => {}
        }
    }

    fn probe(&mut self, pool: &Pool) {
        let Some(owner) = pool.owner() else { return };
        self.probed = Some(Instant::now());
        self.next_probe = match pool.backend.rescue(pool.clock.now(), owner) {
            Ok(rescued) if rescued.tasks > 0 => {
                tracing::warn!(tasks = rescued.tasks, "took back tasks of a process that ended");
                Some(Instant::now() + PROBE_EVERY)
            }
            Ok(rescued) => rescued.others_running.then(|| Instant::now() + PROBE_EVERY),
            Err(error) => {
                tracing::error!(%error, "other processes could not be looked at");
                Some(Instant::now() + PROBE_EVERY)
            }
        };
    }

    /// Renews the lease while something is held.
    fn renew(&mut self, pool: &Pool) -> Option<Instant> {
        let owner = pool.owner()?;
        if !pool.holds_any() {
            self.renew_at = Instant::now();
            // Nobody rings when a task is handed over, so this is when it is noticed.
            return Some(Instant::now() + RENEW_EVERY);
        }
        if self.renew_at <= Instant::now() {
            let renewed = pool.backend.renew(owner);
            let pause = pause_after(&renewed);
            match renewed {
                Ok(true) => {}
                Ok(false) => {
                    tracing::error!(owner, "this process was taken for dead; it joins again");
                    // First, so that nothing more comes under the number that was given up.
                    if let Err(error) = pool.join() {
                        tracing::error!(%error, "joining again failed");
                    }
                    pool.lose_leases(owner);
                    // What was handed over since it was given up runs under a number that nobody
                    // else may look for.
                    self.next_probe = Some(Instant::now());
                }
                Err(error) => tracing::error!(%error, "the lease could not be renewed"),
            }
            self.renew_at = Instant::now() + pause;
        }
        Some(self.renew_at)
    }
}

/// When to renew the lease after it was tried.
pub(super) fn pause_after(renewed: &Result<bool, Error>) -> Duration {
    if renewed.is_ok() { RENEW_EVERY } else { RENEW_AGAIN }
}

fn deliver_cancels(pool: &Pool) {
    let Some(owner) = pool.owner() else { return };
    let known = pool.known_cancels();
    match pool.backend.cancel_requests(owner) {
        Ok(rows) => {
            // First for those that begin meanwhile, then to those that run.
            pool.note_cancels(&known, &rows);
            for slot in pool.slots() {
                let Some(running) = &slot.running else { continue };
                if rows.contains(&running.lease.row) {
                    running.token.stop(StopReason::Cancelled);
                }
            }
        }
        Err(error) => tracing::error!(%error, "cancel requests could not be read"),
    }
}

/// Sets the tokens of bodies past their time-out; those that ignore it lose their lease.
fn end_late_bodies(pool: &Pool) -> Option<Instant> {
    let now = Instant::now();
    let mut next: Option<Instant> = None;
    for body in pool.running() {
        let Some(deadline) = body.token.deadline() else { continue };
        let look_at = if now < deadline {
            deadline
        } else {
            body.token.stop(StopReason::Timeout);
            deadline + pool.config.stuck_after.unwrap_or(STUCK_AFTER)
        };
        if now >= look_at {
            // One that has ended meanwhile needs no end.
            let _ended = pool.abandon(&body, timed_out, true);
        } else {
            next = Some(next.map_or(look_at, |next| next.min(look_at)));
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_failed_is_tried_again_long_before_the_lease_is_lost() {
        assert_eq!(pause_after(&Ok(true)), RENEW_EVERY);
        let busy = Error::NotStored { reason: "database is locked".to_owned(), source: None };
        assert_eq!(pause_after(&Err(busy)), RENEW_AGAIN);
    }
}
