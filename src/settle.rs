//! Finish: the one transition function, from what an attempt came to, to what becomes of its task.
//!
//! Pure: the row's counters, the outcome, the policy, the time and a random number in; the next
//! state out. Both engines ask it inside their transaction.

use crate::id::TaskId;
use crate::outcome::{Outcome, Report};
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
    /// Whether neither a failure nor a crash may start the task again; a snooze may.
    pub(crate) at_most_once: bool,
    /// Whether somebody asked to cancel it while it ran.
    pub(crate) cancel_requested: bool,
    /// Whether a newer task has the unique key that it has let go.
    pub(crate) superseded: bool,
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
    let alone = settle_alone(spent, outcome, retry, now, chance);
    if spent.superseded && !alone.state.is_final() {
        return Change::end(State::Cancelled, Some(Reason::Superseded));
    }
    alone
}

/// The same where no other task has its key.
fn settle_alone(
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
        Outcome::Retry { .. } | Outcome::Snoozed { .. } | Outcome::RateLimited { .. }
            if spent.cancel_requested =>
        {
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
        Outcome::RateLimited { after } => Change::later(Reason::Rate, now.after(*after), false),
        Outcome::GivenBack if spent.cancel_requested => {
            Change { charged: false, ..Change::end(State::Cancelled, Some(Reason::Asked)) }
        }
        Outcome::GivenBack => Change::again(false),
        Outcome::Crashed { .. } => crashed(spent),
    }
}

/// What a task says that is skipped for the sake of another: no error, and which that is.
pub(crate) fn already_running(holder: TaskId, reason: Reason) -> Report {
    let message = match reason {
        Reason::Overlap => "the task of an earlier slot has not ended",
        _ => "already running",
    };
    let mut report = Report::new(reason.as_str(), message);
    report.data = Some(serde_json::json!({ "holder": holder }));
    report.expected = true;
    report
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;
    use crate::retry::RETRY_DELAY_MAX;
    use proptest::prelude::*;
    use std::time::Duration;

    fn report() -> Box<Report> {
        Box::new(Report::new("test", "it failed"))
    }

    fn spent() -> impl Strategy<Value = Spent> {
        let counts = (1..=6_u32, 1..=6_u32, 0..=4_u32);
        let marks = (any::<bool>(), any::<bool>(), any::<bool>());
        (counts, marks).prop_map(|(counts, (at_most_once, cancel_requested, superseded))| Spent {
            attempt: counts.0,
            attempts_max: counts.1,
            crashes: counts.2,
            at_most_once,
            cancel_requested,
            superseded,
        })
    }

    /// Every outcome that a runner can report, with every reason that a failed task may have.
    fn outcome() -> impl Strategy<Value = Outcome> {
        let reason = || prop::sample::select(State::Failed.reasons());
        let span = || prop_oneof![any::<u32>().prop_map(u64::from), any::<u64>()];
        let span = move || span().prop_map(Duration::from_millis);
        prop_oneof![
            Just(Outcome::Succeeded { result: "1".to_owned() }),
            (reason(), prop::option::of(span())).prop_map(|(reason, after)| Outcome::Retry {
                reason,
                report: report(),
                after
            }),
            reason().prop_map(|reason| Outcome::Failed { reason, report: report() }),
            span().prop_map(|after| Outcome::Snoozed { after }),
            span().prop_map(|after| Outcome::RateLimited { after }),
            any::<bool>().prop_map(|told| Outcome::Cancelled { report: told.then(report) }),
            Just(Outcome::GivenBack),
            Just(Outcome::Crashed { report: report() }),
        ]
    }

    fn now() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis()).prop_map(Timestamp::clamped)
    }

    fn after(spent: Spent, outcome: &Outcome) -> Change {
        settle(spent, outcome, &Retry::default(), Timestamp::MIN, 0.5)
    }

    fn ends(change: Change) -> (State, Option<Reason>) {
        (change.state, change.reason)
    }

    proptest! {
        /// G3, G5: whatever an attempt came to, its task goes on along an edge of the table, in a
        /// pair of state and reason that the schema takes.
        #[test]
        fn every_end_of_an_attempt_is_an_edge_of_the_table(
            spent in spent(), outcome in outcome(), now in now(), chance in 0.0..1.0_f64
        ) {
            let change = settle(spent, &outcome, &Retry::default(), now, chance);
            prop_assert!(State::Running.may_become(change.state), "{change:?}");
            prop_assert!(change.state.admits(change.reason), "{change:?}");
            prop_assert_eq!(change.due_at.is_some(), change.state == State::Scheduled);
            prop_assert!(change.due_at.is_none_or(|due_at| due_at >= now), "{change:?}");
        }

        #[test]
        fn only_a_snooze_and_a_hand_back_are_free(
            spent in spent(), outcome in outcome(), now in now(), chance in 0.0..1.0_f64
        ) {
            let change = settle(spent, &outcome, &Retry::default(), now, chance);
            // A snooze that ends as cancelled is not repeated, so its attempt stays counted.
            let snoozed = outcome.is_snooze() && !spent.cancel_requested;
            let handed_back = matches!(outcome, Outcome::GivenBack);
            let superseded = change.reason == Some(Reason::Superseded);
            prop_assert_eq!(change.charged, superseded || !(snoozed || handed_back));
        }

        /// G3: what failed is tried again exactly while attempts are left and nobody asked it to
        /// stop, and never later than the longest delay allows.
        #[test]
        fn a_failed_attempt_is_followed_by_another_while_some_are_left(
            spent in spent(), asked in prop::option::of(0..=u64::MAX), chance in 0.0..1.0_f64
        ) {
            let asked = asked.map(Duration::from_millis);
            let outcome = Outcome::Retry { reason: Reason::Error, report: report(), after: asked };
            let now = Timestamp::clamped(1_000_000);
            let change = settle(spent, &outcome, &Retry::default(), now, chance);
            let again = !spent.cancel_requested
                && !spent.superseded
                && !spent.at_most_once
                && spent.attempt < spent.attempts_max;
            prop_assert_eq!(change.reason == Some(Reason::Retry), again);
            if let Some(due_at) = change.due_at {
                let latest = now.after(asked.unwrap_or(RETRY_DELAY_MAX));
                prop_assert!((now..=latest).contains(&due_at), "{change:?}");
            }
        }

        /// G5: a task of at most once is never started again by a failure or a crash.
        #[test]
        fn at_most_once_ends_with_its_first_failure_or_crash(
            spent in spent(), reason in prop::sample::select(State::Failed.reasons())
        ) {
            let spent = Spent { at_most_once: true, ..spent };
            let lost = after(spent, &Outcome::Crashed { report: report() });
            prop_assert_eq!(ends(lost), (State::Failed, Some(Reason::Lost)));
            let failed = after(spent, &Outcome::Retry { reason, report: report(), after: None });
            prop_assert!(failed.state.is_final(), "{failed:?}");
        }

        /// G3, G13: a crash spends the attempt; the third is the last, whatever is left.
        #[test]
        fn a_crash_is_charged_and_the_third_quarantines(spent in spent()) {
            let spent = Spent { at_most_once: false, superseded: false, ..spent };
            let change = after(spent, &Outcome::Crashed { report: report() });
            prop_assert!(change.charged);
            let expected = if spent.crashes >= CRASHES_MAX {
                (State::Failed, Some(Reason::Quarantined))
            } else if spent.cancel_requested {
                (State::Cancelled, Some(Reason::Asked))
            } else if spent.attempt >= spent.attempts_max {
                (State::Failed, Some(Reason::Error))
            } else {
                (State::Ready, None)
            };
            prop_assert_eq!(ends(change), expected);
        }
    }

    /// G12: two tasks with one key never both wait to be started.
    #[test]
    fn what_would_start_again_ends_where_a_newer_task_has_its_key() {
        let spent = Spent {
            attempt: 1,
            attempts_max: 5,
            crashes: 0,
            at_most_once: false,
            cancel_requested: false,
            superseded: true,
        };
        let failed = Outcome::Retry { reason: Reason::Error, report: report(), after: None };
        let snoozed = Outcome::Snoozed { after: Duration::from_secs(1) };
        for outcome in [failed, snoozed, Outcome::GivenBack, Outcome::Crashed { report: report() }]
        {
            let change = after(spent, &outcome);
            assert_eq!(ends(change), (State::Cancelled, Some(Reason::Superseded)), "{outcome:?}");
        }
        let done = after(spent, &Outcome::Succeeded { result: "1".to_owned() });
        assert_eq!(ends(done), (State::Succeeded, None));
    }

    #[test]
    fn a_body_that_answers_has_the_last_word_over_a_request_to_cancel() {
        let spent = Spent {
            attempt: 1,
            attempts_max: 2,
            crashes: 0,
            at_most_once: false,
            cancel_requested: true,
            superseded: true,
        };
        let done = after(spent, &Outcome::Succeeded { result: "1".to_owned() });
        assert_eq!(ends(done), (State::Succeeded, None));
        let gave_up = Failure::give_up("useless").into_outcome();
        let gave_up = after(spent, &gave_up);
        assert_eq!(ends(gave_up), (State::Failed, Some(Reason::GaveUp)));
        for outcome in [Outcome::GivenBack, Outcome::Snoozed { after: Duration::ZERO }] {
            let change = after(spent, &outcome);
            assert_eq!(ends(change), (State::Cancelled, Some(Reason::Asked)), "{outcome:?}");
        }
    }
}
