//! Every step of the journey: what people do to tasks from outside, and in which states it may be done.
//!
//! Both engines ask here, inside their transaction, so that they refuse the same.

use crate::error::Error;
use crate::id::TaskId;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// What is done to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// An ended task runs again.
    Retry,
    /// What has not started ends; what runs is asked to stop.
    Cancel,
    /// The task is forgotten.
    Delete,
    /// What has not started is due at another moment.
    Reschedule(Timestamp),
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
    /// Why it cannot be done to a task in this state.
    pub(crate) fn refusal(self, id: TaskId, state: State) -> Option<Error> {
        let wrong = |code, instead| Some(Error::WrongState { code, id, state, instead });
        let ended = || wrong("already_finished", "it has ended; retry it to have it run again");
        let runs = || wrong("running", "cancel it and wait for its end, or let it end");
        match self {
            Self::Retry if !state.is_final() => Some(Error::NotFinished { id, state }),
            Self::Cancel | Self::Reschedule(_) if state.is_final() => ended(),
            Self::Delete | Self::Reschedule(_) if state == State::Running => runs(),
            _ => None,
        }
    }

    /// Why no copy may take the place of a task that is tied to others: it would not have its place among them.
    pub(crate) fn no_copy(
        id: TaskId,
        (state, reason): (State, Option<Reason>),
        is_batch: bool,
        is_member: bool,
    ) -> Option<Error> {
        let waits = state == State::Waiting && reason == Some(Reason::Parents);
        let instead = "cancel the flow and enqueue it anew";
        (waits || is_batch || is_member).then_some(Error::WrongState {
            code: "linked",
            id,
            state,
            instead,
        })
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
    fn a_retry_is_an_edge_of_the_table_wherever_it_is_not_refused() {
        for state in State::ALL {
            let refused = Deed::Retry.refusal(TaskId::new(1, 1), *state).is_some();
            assert!(refused || state.may_become(State::Ready), "{state}");
        }
    }
}
