//! Every step of the journey: what people do to tasks from outside, and in which states it may be done.
//!
//! Both engines ask here, inside their transaction, so that they refuse the same.

use serde_json::Value;

use crate::error::Error;
use crate::gate::Gate;
use crate::id::TaskId;
use crate::state::{Reason, State};
use crate::ties::Ties;
use crate::time::Timestamp;
use crate::unique::Replace;

/// What is done to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// An ended task runs again, and what has ended only because of it.
    Retry,
    /// What has not started ends; what runs is asked to stop.
    Cancel,
    /// The task is forgotten.
    Delete,
    /// What has not started is due at another moment.
    Reschedule(Timestamp),
    /// Its owner takes an ended task off their list.
    Dismiss,
    /// The task is forgotten and its bytes are overwritten; what runs is asked to stop.
    Erase,
}

/// What a deed came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Done,
    /// It runs, and was asked to stop.
    Asked,
}

impl Deed {
    /// The method of the client.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
            Self::Dismiss => "dismiss",
            Self::Reschedule(_) => "reschedule",
            Self::Erase => "erase",
        }
    }

    /// Adds what a deed changes to what it is done to.
    pub(crate) fn what(self, mut to: Value) -> Value {
        if let Self::Reschedule(at) = self {
            to["due_at"] = Value::String(at.to_string());
        }
        to
    }

    /// Why it cannot be done to a task in this state.
    pub(crate) fn refusal(self, id: TaskId, state: State) -> Option<Error> {
        let wrong = |code, instead| Some(Error::WrongState { code, id, state, instead });
        let ended = || wrong("already_finished", "it has ended; retry it to have it run again");
        let runs = || wrong("running", "cancel it and wait for its end, or let it end");
        match self {
            Self::Retry | Self::Dismiss if !state.is_final() => {
                Some(Error::NotFinished { id, state })
            }
            Self::Cancel | Self::Reschedule(_) if state.is_final() => ended(),
            Self::Delete | Self::Reschedule(_) if state == State::Running => runs(),
            _ => None,
        }
    }

    /// Whether an error says that the task, as it stands, does not admit a deed, and nothing else.
    pub(crate) fn is_refusal(error: &Error) -> bool {
        matches!(
            error,
            Error::WrongState { .. } | Error::NotFinished { .. } | Error::NotUnique { .. }
        )
    }

    /// How many attempts an ended task has in all once it is retried: as many more as it was given
    /// in the beginning. `base` is what it had spent when it was last retried.
    pub(crate) fn allowance(attempt: u32, attempts_max: u32, base: u32) -> u32 {
        attempt.saturating_add(attempts_max.saturating_sub(base).max(1))
    }

    /// Where a task stands that is moved to a moment that has come, or comes later. What waits for others
    /// goes on waiting; what waited in line leaves it, and takes its place again when it is due.
    pub(crate) fn moved_to(
        state: State,
        reason: Option<Reason>,
        later: bool,
    ) -> (State, Option<Reason>) {
        match (state, reason) {
            (State::Waiting, Some(Reason::Parents)) => (state, reason),
            (State::Waiting, _) if !later => (state, reason),
            (State::Scheduled, Some(Reason::Retry | Reason::Snoozed)) if later => (state, reason),
            _ if later => (State::Scheduled, Some(Reason::Delayed)),
            _ => (State::Ready, None),
        }
    }

    /// When a task expires that is moved from one due time to another: as long after it as before.
    pub(crate) fn moved_expiry(
        expires_at: Option<Timestamp>,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<Timestamp> {
        let moved = |at: Timestamp| at.as_millis() - from.as_millis() + to.as_millis();
        expires_at.map(|at| Timestamp::clamped(moved(at)))
    }
}

/// What one slice of a deed done to many came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many of the rows were looked at; the rest come again.
    pub(crate) seen: usize,
    pub(crate) done: u64,
    pub(crate) asked: u64,
    /// In a state in which it cannot be done.
    pub(crate) left: u64,
    /// Those that may have become ready.
    pub(crate) ready: Vec<TaskId>,
}

impl Tally {
    /// Counts one row; an error that is not about its state is given back.
    pub(crate) fn count(
        &mut self,
        deed: Deed,
        id: TaskId,
        answer: Result<Done, Error>,
    ) -> Result<(), Error> {
        match answer {
            Ok(Done::Done) => {
                self.done += 1;
                if matches!(deed, Deed::Retry | Deed::Reschedule(_)) {
                    self.ready.push(id);
                }
            }
            Ok(Done::Asked) => self.asked += 1,
            Err(error) if Deed::is_refusal(&error) => self.left += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Counts a task of which a copy was to be stored.
    pub(crate) fn count_copy(&mut self, answer: Result<TaskId, Error>) -> Result<(), Error> {
        match answer {
            Ok(copy) => {
                self.done += 1;
                self.ready.push(copy);
            }
            Err(error) if Deed::is_refusal(&error) => self.left += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A task of which a copy is to be stored, and which ends by that if it has not started.
#[derive(Debug)]
pub(crate) struct Copied<'a> {
    pub(crate) id: TaskId,
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    /// None for a plain task.
    pub(crate) ties: Option<&'a Ties>,
    pub(crate) is_member: bool,
    /// Whether another waits for it now.
    pub(crate) is_awaited: bool,
}

impl Copied<'_> {
    /// Why it is not done: edges and batches are those of the one task, and a copy would have none.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let Self { id, state, .. } = *self;
        let ends = !state.is_final() && state != State::Running;
        let ties = self.ties?;
        let instead = if ties.sums {
            "it stands for a flow and has no copy; cancel it and enqueue the flow anew"
        } else if ties.takes.is_some() {
            "it takes the results of others, which a copy would not get; enqueue it anew with \
             `after` and `takes_result`"
        } else if ends && self.reason == Some(Reason::Parents) {
            "it waits for others, and a copy would not; cancel it and enqueue it anew with `after`"
        } else if ends && self.is_member {
            "it is a member of a flow, and a copy would not be; cancel the flow and enqueue it anew, \
             or copy the task once it has ended"
        } else if ends && self.is_awaited {
            "others wait for it, and would not wait for a copy; cancel them, copy it, and enqueue \
             them anew with `after`"
        } else {
            return None;
        };
        Some(Error::WrongState { code: "linked", id, state, instead })
    }
}

/// How a task stands that a second call of its unique key changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) due_at: Timestamp,
    pub(crate) gate: Option<Gate>,
}

/// How it stands after that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restanding {
    pub(crate) due_at: Timestamp,
    /// None where it begins as a new task would.
    pub(crate) state: Option<(State, Option<Reason>)>,
    /// Whether it may have kept others waiting at its gate, and does not any more.
    pub(crate) leaves_gate: bool,
}

impl Standing {
    /// What waits goes on waiting, but for what is due later, which leaves its line, and for what takes
    /// over another gate with its arguments.
    pub(crate) fn replaced(
        self,
        what: Replace,
        (asked, now): (Timestamp, Timestamp),
        other_gate: bool,
    ) -> Restanding {
        let stays = Some((self.state, self.reason));
        let stay = |due_at| Restanding { due_at, state: stays, leaves_gate: false };
        let own = if what.due { asked } else { self.due_at };
        if self.reason == Some(Reason::Parents) {
            return stay(own);
        }
        // Its own time had come before its rate gave it a later one.
        let paced = self.reason == Some(Reason::Rate) && matches!(self.gate, Some(Gate::Rate(_)));
        let due_at = if paced && !what.due { now } else { own };
        // What is ready, or waits at its gate, has been due before, also where the clock was set back since.
        let later = due_at > now && (what.due || self.state == State::Scheduled);
        let state = if !later && other_gate {
            None
        } else if !later && paced {
            return stay(self.due_at);
        } else if later && (what.due || other_gate) {
            Some(Deed::moved_to(self.state, self.reason, true))
        } else if self.state == State::Scheduled && what.due {
            // What is due by now is found by the next claim, in its order.
            Some((State::Scheduled, Some(Reason::Delayed)))
        } else {
            stays
        };
        let leaves_gate = self.gate.is_some() && (other_gate || state != stays);
        Restanding { due_at, state, leaves_gate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retried_task_has_its_first_allowance_again_and_not_more_each_time() {
        let once = Deed::allowance(5, 5, 0);
        assert_eq!(once, 10);
        assert_eq!(Deed::allowance(10, once, 5), 15);
        assert_eq!(Deed::allowance(6, once, 5), 11, "cancelled early: the rest is not saved up");
        assert_eq!(Deed::allowance(0, 1, 0), 1);
    }

    #[test]
    fn what_was_due_is_not_put_off_by_other_arguments_where_the_clock_was_set_back() {
        let [before, now] = [10, 5].map(Timestamp::clamped);
        let what = Replace { arguments: true, due: false, priority: false };
        let waits = (State::Waiting, Some(Reason::Lock));
        for (state, reason) in [(State::Ready, None), waits] {
            let stands = Standing { state, reason, due_at: before, gate: Some(Gate::TURN) };
            let after = stands.replaced(what, (now, now), false);
            assert_eq!((after.due_at, after.state), (before, Some((state, reason))));
            let after = stands.replaced(what, (now, now), true);
            assert_eq!(
                (after.state, after.leaves_gate),
                (None, true),
                "it begins at the other gate"
            );
            let what = Replace { due: true, ..what };
            let after = stands.replaced(what, (before, now), false);
            assert_eq!(
                after.state,
                Some((State::Scheduled, Some(Reason::Delayed))),
                "as it is asked to"
            );
        }
        let scheduled = (State::Scheduled, Some(Reason::Delayed));
        let (state, reason) = scheduled;
        let stands = Standing { state, reason, due_at: before, gate: None };
        assert_eq!(stands.replaced(what, (now, now), false).state, Some(scheduled));
        assert_eq!(stands.replaced(what, (now, now), true).state, Some(scheduled));
    }

    #[test]
    fn a_retry_is_an_edge_of_the_table_wherever_it_is_not_refused() {
        for state in State::ALL {
            let refused = Deed::Retry.refusal(TaskId::new(1, 1), *state).is_some();
            assert!(refused || state.may_become(State::Ready), "{state}");
        }
    }
}
