//! Watch: what can be done to a task, or to many: in which states, by which grant, under which words.

use crate::bulk::{Bulk, Bulked};
use crate::error::Error;
use crate::filter::Filter;
use crate::state::State;
use crate::time::Timestamp;
use crate::web::access::Action;

/// What is done to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Retry,
    Run,
    Cancel,
    Delete,
}

impl Doing {
    pub(crate) const ALL: [Self; 4] = [Self::Retry, Self::Run, Self::Cancel, Self::Delete];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Run => "run",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Run => "Run now",
            Self::Cancel => "Cancel",
            Self::Delete => "Delete",
        }
    }

    /// What was done, as in `3 tasks retried`.
    pub(crate) const fn done(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Run => "made due now",
            Self::Cancel => "cancelled",
            Self::Delete => "deleted",
        }
    }

    /// The verb of the command line.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Delete => "rm",
            other => other.as_str(),
        }
    }

    pub(crate) const fn grant(self) -> Action {
        match self {
            Self::Retry => Action::Retry,
            Self::Run => Action::Edit,
            Self::Cancel => Action::Cancel,
            Self::Delete => Action::Delete,
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|doing| doing.as_str() == word)
    }

    /// Whether it can be done to a task in this state. What has succeeded is run again only where that is said.
    pub(crate) fn fits(self, state: State, is_named: bool) -> bool {
        match self {
            Self::Retry => state.is_final() && (is_named || state != State::Succeeded),
            Self::Run => matches!(state, State::Scheduled | State::Waiting),
            Self::Cancel => !state.is_final(),
            Self::Delete => state != State::Running,
        }
    }

    /// The tasks of a filter to which it can be done; none where it admits only others.
    pub(crate) fn narrowed(self, filter: &Filter) -> Option<Filter> {
        let named = !filter.states.is_empty();
        let states = if named { filter.states.as_slice() } else { State::ALL };
        let states: Vec<State> =
            states.iter().copied().filter(|state| self.fits(*state, named)).collect();
        (!states.is_empty()).then(|| Filter { states, ..filter.clone() })
    }

    pub(crate) fn act(self, bulk: Bulk<'_>, now: Timestamp) -> Result<Bulked, Error> {
        match self {
            Self::Retry => bulk.retry(),
            Self::Run => bulk.reschedule(now),
            Self::Cancel => bulk.cancel(),
            Self::Delete => bulk.delete(),
        }
    }
}
