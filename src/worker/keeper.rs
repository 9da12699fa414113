//! Run: the one thread of a pool that keeps time.
//!
//! It wakes for the next due task, for finishes that have waited long enough while every worker is
//! busy, for time-outs, for the renewal of the lease while something runs, for the inbox when another
//! process has committed, and twice a second to look for dead processes while others have running
//! tasks. Slice by slice it removes what ended long ago, whenever it is awake and that is due. When there
//! is none of that, it sleeps
//! until it is rung, and for 10 s at most: nobody rings when a task is handed over, so this is when a
//! lease that must be kept alive is noticed.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::pool::Pool;
use super::spawn;
use super::state::{FINISH_DELAY, Phase};
use crate::attempt::timed_out;
use crate::context::StopReason;
use crate::error::Error;
use crate::intake::{HELD_BACK_MAX, Intake, Left};
use crate::unserved::LOOK_EVERY;

/// The lease is renewed this often while something runs: a third of its length.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Dead processes are looked for this often while others have running tasks.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// A body that has not stopped this long after its time-out loses its lease and is marked stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// The next due task is looked at this often, in case the wall clock was moved.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// The inbox is looked into at most this often while others commit.
const INBOX_EVERY: Duration = Duration::from_millis(10);

/// What the keeper is rung for.
#[derive(Debug, Default)]
struct Rung {
    any: bool,
    others: bool,
    cancel: bool,
}

/// Wakes the keeper.
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

    #[cfg(test)]
    pub(super) fn is_rung(&self) -> bool {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).any
    }

    fn note(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Sleeps until it is rung or `until` has come.
    fn wait(&self, until: Option<Instant>) -> Rung {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !rung.any && !rung.others && !rung.cancel {
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

/// What the keeper remembers between two looks.
struct Keeper {
    /// When the lease was renewed.
    renewed: Instant,
    /// When to look at other processes.
    next_probe: Option<Instant>,
    /// When they were looked at.
    probed: Option<Instant>,
    /// When to fetch finishes from the slots.
    collect: Option<Instant>,
    /// When to look into the inbox.
    next_intake: Option<Instant>,
    no_intake_before: Instant,
    intake: Intake,
    looked_at_gates: Instant,
    /// How many had ended here when it was last looked for what is to be removed.
    ended: usize,
    /// When it was looked for work that nobody runs.
    unserved: Instant,
}

pub(super) fn start(pool: &Arc<Pool>) -> Result<(), Error> {
    let weak = Arc::downgrade(pool);
    spawn("litework-keeper".into(), move || run(&weak))
}

fn run(weak: &Weak<Pool>) {
    let now = Instant::now();
    let mut keeper = Keeper {
        renewed: now,
        next_probe: Some(now),
        probed: None,
        collect: None,
        next_intake: Some(now),
        no_intake_before: now,
        intake: Intake::default(),
        ended: 0,
        looked_at_gates: now,
        unserved: now,
    };
    let mut rung = Rung::default();
    while let Some(pool) = weak.upgrade().filter(|pool| !pool.is_over()) {
        let until = keeper.look(&pool, &rung);
        rung = pool.keeper.wait(until);
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
        self.take_inbox(pool, rung.others);
        self.collect(pool);
        let renewal = self.renew(pool);
        pool.pump_if_due();
        let prune = self.prune(pool, rung.others);
        self.open_gates(pool);
        let state = pool.state();
        let due = state.next_due.map(|at| {
            Instant::now()
                + pool.clock.now().until(at).min(CLOCK_CHECK).max(Duration::from_millis(1))
        });
        let pump = Pool::pump_due(&state);
        let timers =
            [self.next_probe, self.collect, self.next_intake, timeouts, renewal, due, pump, prune];
        timers.into_iter().flatten().min()
    }

    /// One slice of the inbox, if it is time for it. A connection of this very process rings no bell
    /// where the system reports nothing, so it is also looked into when the keeper wakes after a while.
    fn take_inbox(&mut self, pool: &Pool, others: bool) {
        let now = Instant::now();
        if others || now >= self.no_intake_before + RENEW_EVERY {
            let soonest = now.max(self.no_intake_before);
            self.next_intake = Some(self.next_intake.map_or(soonest, |at| at.min(soonest)));
        }
        if self.next_intake.is_none_or(|at| at > now) {
            return;
        }
        self.next_intake = None;
        self.no_intake_before = now + INBOX_EVERY;
        let Some(hub) = pool.hub.upgrade().filter(|hub| hub.check_open().is_ok()) else { return };
        self.next_intake = match self.intake.slice(&hub) {
            Ok(Left::Nothing) => None,
            Ok(Left::More) => Some(now),
            Ok(Left::HeldBack) => self.intake.again_at(),
            Err(error) => {
                tracing::error!(%error, "the inbox could not be taken; trying again");
                self.no_intake_before = now + HELD_BACK_MAX;
                Some(self.no_intake_before)
            }
        };
    }

    /// Looks after locks that have expired, which nobody tells of.
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
                hub.warner.look(&*pool.backend, pool.clock.now());
            }
        }
    }

    fn collect(&mut self, pool: &Pool) {
        match self.collect {
            Some(at) if at <= Instant::now() => {
                self.collect = None;
                pool.collect();
            }
            None if pool.is_collecting() => self.collect = Some(Instant::now() + FINISH_DELAY),
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
            self.renewed = Instant::now().checked_sub(RENEW_EVERY).unwrap_or(self.renewed);
            // Nobody rings when a task is handed over, so this is when it is noticed.
            return Some(Instant::now() + RENEW_EVERY);
        }
        if self.renewed.elapsed() >= RENEW_EVERY {
            match pool.backend.renew(owner) {
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
            self.renewed = Instant::now();
        }
        Some(self.renewed + RENEW_EVERY)
    }
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
    let mut stuck = Vec::new();
    for (number, slot) in pool.slots().enumerate() {
        let Some(running) = slot.running.as_ref().filter(|running| !running.abandoned) else {
            continue;
        };
        let Some(deadline) = running.token.deadline() else { continue };
        let look_at = if now < deadline {
            deadline
        } else {
            running.token.stop(StopReason::Timeout);
            deadline + pool.config.stuck_after.unwrap_or(STUCK_AFTER)
        };
        if now >= look_at {
            stuck.push(number);
        } else {
            next = Some(next.map_or(look_at, |next| next.min(look_at)));
        }
    }
    for slot in stuck {
        // One that has ended meanwhile needs no end.
        let _ended = pool.abandon(slot, timed_out, true);
    }
    next
}
