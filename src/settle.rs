//! Finish: the one transition function, from what an attempt came to, to what becomes of its task.
//!
//! Pure: the row's counters, the outcome, the policy, the time and a random number in; the next
//! state out. Both engines ask it inside their transaction.

use crate::outcome::Outcome;
use crate::retry::Retry;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// A task whose process crashed this often while it ran is quarantined.
pub const CRASHES_MAX: u32 = 3;

/// What [`settle`] needs to know of the attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The attempt that ended, counted from 1.
    pub(crate) attempt: u32,
    /// How many attempts the task may have.
    pub(crate) attempts_max: u32,
    /// How many processes died while running it, this one included.
    pub(crate) crashes: u32,
    /// Whether the task is never to be started twice.
    pub(crate) at_most_once: bool,
    /// Whether somebody asked to cancel it while it ran.
    pub(crate) cancel_requested: bool,
}

/// What becomes of a task when its attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The next state.
    pub(crate) state: State,
    /// Why; always a reason that the state admits.
    pub(crate) reason: Option<Reason>,
    /// When it is due next, for a task that goes on.
    pub(crate) due_at: Option<Timestamp>,
    /// Whether the attempt counts; a snooze or a hand-back does not.
    pub(crate) charged: bool,
}

impl Change {
    fn end(state: State, reason: Option<Reason>) -> Self {
        Self { state, reason, due_at: None, charged: true }
    }

    fn later(reason: Reason, due_at: Timestamp, charged: bool) -> Self {
        Self { state: State::Scheduled, reason: Some(reason), due_at: Some(due_at), charged }
    }

    /// Ready again, in its old place.
    fn again(charged: bool) -> Self {
        Self { state: State::Ready, reason: None, due_at: None, charged }
    }
}

/// The one transition function: what an ended attempt makes of its task.
///
/// `chance` in `0.0..1.0` is the jitter of the back-off.
pub(crate) fn settle(
    spent: Spent,
    outcome: &Outcome,
    retry: &Retry,
    now: Timestamp,
    chance: f64,
) -> Change {
    match outcome {
        Outcome::Succeeded { .. } => Change::end(State::Succeeded, None),
        Outcome::Cancelled { .. } => Change::end(State::Cancelled, Some(Reason::Asked)),
        Outcome::Failed { reason, .. } => Change::end(State::Failed, Some(*reason)),
        Outcome::Retry { .. } | Outcome::Snoozed { .. } if spent.cancel_requested => {
            Change::end(State::Cancelled, Some(Reason::Asked))
        }
        Outcome::Retry { reason, .. } if spent.at_most_once => {
            Change::end(State::Failed, Some(*reason))
        }
        Outcome::Retry { reason, .. } if spent.attempt >= spent.attempts_max => {
            Change::end(State::Failed, Some(*reason))
        }
        Outcome::Retry { after, .. } => {
            let delay = after.unwrap_or_else(|| retry.delay(spent.attempt, chance));
            Change::later(Reason::Retry, now.after(delay), true)
        }
        Outcome::Snoozed { after } => Change::later(Reason::Snoozed, now.after(*after), false),
        Outcome::GivenBack if spent.cancel_requested => {
            Change { charged: false, ..Change::end(State::Cancelled, Some(Reason::Asked)) }
        }
        Outcome::GivenBack => Change::again(false),
        Outcome::Crashed { .. } => crashed(spent),
    }
}

/// The process died while the body ran: the attempt is spent, and the third time is the last.
fn crashed(spent: Spent) -> Change {
    if spent.at_most_once {
        Change::end(State::Failed, Some(Reason::Lost))
    } else if spent.crashes >= CRASHES_MAX {
        Change::end(State::Failed, Some(Reason::Quarantined))
    } else if spent.cancel_requested {
        Change::end(State::Cancelled, Some(Reason::Asked))
    } else if spent.attempt >= spent.attempts_max {
        Change::end(State::Failed, Some(Reason::Error))
    } else {
        Change::again(true)
    }
}
