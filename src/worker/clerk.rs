//! Run: what of the keeper's work calls receivers of events, or may: to commit what no worker is free to
//! commit, to claim what is due, to take the inbox, and to fire schedules.
//!
//! Where nobody listens the keeper does it by itself. Where somebody does, a thread of its own does, which
//! the keeper wakes with each of its looks: while a receiver blocks that thread, the lease is renewed
//! and time-outs are kept.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::bell::{Bell, Rung};
use super::pool::Pool;
use super::{look_again, spawn};
use crate::error::Error;
use crate::intake::{HELD_BACK_MAX, Intake, Left};
use crate::ticker::Ticker;
use crate::time::Timestamp;

/// The next due task is looked at this often, in case the wall clock was moved.
const CLOCK_CHECK: Duration = Duration::from_secs(30);
/// The inbox is looked into at most this often while others commit.
const INBOX_EVERY: Duration = Duration::from_millis(10);
/// And at least this often while the keeper is awake at all.
const INBOX_LOOK: Duration = Duration::from_secs(10);

/// Who does it.
pub(super) enum Clerk {
    Keeper(Desk),
    Thread(Arc<Bell>),
}

impl Clerk {
    pub(super) fn start(pool: &Arc<Pool>) -> Result<Self, Error> {
        if !pool.hooks.call_receivers() {
            return Ok(Self::Keeper(Desk::new()));
        }
        let bell = Arc::new(Bell::default());
        let (weak, heard) = (Arc::downgrade(pool), Arc::clone(&bell));
        spawn("litework-clerk".into(), move || run(&weak, &heard))?;
        Ok(Self::Thread(bell))
    }

    /// Does what is due and says when to look again, or lets the thread do both.
    pub(super) fn look(&mut self, pool: &Pool, rung: &Rung) -> Option<Instant> {
        match self {
            Self::Keeper(desk) => desk.look(pool, rung),
            Self::Thread(bell) => {
                if rung.schedules {
                    bell.schedules();
                }
                if rung.others {
                    bell.foreign(false);
                } else {
                    bell.ring();
                }
                None
            }
        }
    }
}

impl Drop for Clerk {
    /// The keeper goes when the pool is over, which the thread is to see.
    fn drop(&mut self) {
        if let Self::Thread(bell) = self {
            bell.ring();
        }
    }
}

fn run(weak: &Weak<Pool>, bell: &Bell) {
    let mut desk = Desk::new();
    let mut rung = Rung::default();
    while let Some(pool) = weak.upgrade().filter(|pool| !pool.is_over()) {
        let until = Error::caught(|| Ok(desk.look(&pool, &rung)));
        rung = bell.wait(until.unwrap_or_else(|error| Some(look_again(&error))));
    }
}

/// What is remembered between two looks.
pub(super) struct Desk {
    /// When to look into the inbox.
    next_intake: Option<Instant>,
    no_intake_before: Instant,
    intake: Intake,
    ticker: Option<Ticker>,
    /// Others have committed since schedules were last looked at.
    changed: bool,
    no_tick_before: Instant,
}

impl Desk {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            next_intake: Some(now),
            no_intake_before: now,
            intake: Intake::default(),
            ticker: None,
            changed: true,
            no_tick_before: now,
        }
    }

    fn look(&mut self, pool: &Pool, rung: &Rung) -> Option<Instant> {
        self.take_inbox(pool, rung.others);
        let slot = self.fire(pool, rung);
        pool.pump_if_due();
        let state = pool.state();
        let due = state.next_due.map(|at| until(pool, at));
        let pump = Pool::pump_due(&state);
        [self.next_intake, slot, due, pump].into_iter().flatten().min()
    }

    /// Makes the tasks of schedules that are due, and says when to look again. While others commit without
    /// end it is looked as often as into the inbox, and at once where it is time for a slot.
    fn fire(&mut self, pool: &Pool, rung: &Rung) -> Option<Instant> {
        let hub = pool.hub.upgrade().filter(|hub| hub.check_open().is_ok())?;
        let ticker = self.ticker.get_or_insert_with(|| Ticker::new(&hub));
        self.changed |= rung.others || rung.schedules;
        let now = Instant::now();
        let look = self.changed && (rung.schedules || now >= self.no_tick_before);
        if look {
            (self.changed, self.no_tick_before) = (false, now + INBOX_EVERY);
        }
        if let Err(error) = ticker.tick(&hub, look) {
            tracing::error!(%error, "schedules could not be looked at; trying again");
        }
        let slot = ticker.next().map(|at| until(pool, at));
        let again = self.changed.then_some(self.no_tick_before);
        [slot, again].into_iter().flatten().min()
    }

    /// One slice of the inbox, if it is time for it. A connection of this very process rings no bell
    /// where the system reports nothing, so it is also looked into when the keeper wakes after a while.
    fn take_inbox(&mut self, pool: &Pool, others: bool) {
        let now = Instant::now();
        if others || now >= self.no_intake_before + INBOX_LOOK {
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
}

/// When to wake for a moment: sooner where it is far, in case the wall clock is set.
fn until(pool: &Pool, at: Timestamp) -> Instant {
    let span = pool.clock.now().until(at);
    Instant::now() + span.min(CLOCK_CHECK).max(Duration::from_millis(1))
}
