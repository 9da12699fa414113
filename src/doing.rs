//! Every step of the journey: what people do to a task, or to many: in which states, and under which words.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::bulk::{Bulk, Bulked};
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::overview::{FAILURES_MAX, Failed, Failures};
use crate::record::TaskRecord;
use crate::state::State;
use crate::time::Timestamp;

/// Tasks of a group that are looked at at once.
const SLICE: usize = 500;

/// Whoever does it is told what it came to until now, and whether it is to go on.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(&Bulked) -> ControlFlow<()>;

/// What is done to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Retry,
    Run,
    Cancel,
    Delete,
}

impl Doing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Run => "run",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
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

    /// Does it to the newest failed tasks, as they stood when it began, those whose errors have this fingerprint.
    pub(crate) fn act_on_group(
        self,
        client: &Client,
        group: &str,
        expect: u64,
        tell: Tell<'_>,
    ) -> Result<Bulked, Error> {
        let failures = client.failures()?;
        let found = failures.groups.iter().find(|known| known.fingerprint == group);
        let (found, most) = (found.map_or(0, |found| found.count), expect + (expect / 10).max(10));
        if found > most {
            let allowed =
                format!("at most {most}, as {expect} were counted before; count them again");
            return Err(Error::invalid("changed", "number of tasks of the group", found, allowed));
        }
        let began = client.now();
        let failed = Filter::new()
            .state(State::Failed)
            .finished_before(began.after(Duration::from_millis(1)));
        let (mut total, mut from, mut looked_at) = (Bulked::default(), None, 0);
        loop {
            let page = client.browse(&failed, from, SLICE)?;
            let ids = page.tasks.iter().filter(|task| is_of(task, group)).map(|task| task.id);
            let filter = Filter { ids: ids.collect(), ..failed.clone() };
            if !filter.ids.is_empty() {
                let before = total;
                let bulk = client.bulk(&filter).on_slice(|slice| tell(&sum(before, *slice)));
                total = sum(before, self.act(bulk, began)?);
            }
            looked_at += page.tasks.len() + page.bad.len();
            from = page.next;
            if from.is_none() || total.stopped || looked_at >= FAILURES_MAX {
                return Ok(total);
            }
        }
    }
}

fn is_of(task: &TaskRecord, group: &str) -> bool {
    let failed = Failed {
        id: task.id,
        kind: task.kind.clone(),
        queue: task.queue.clone(),
        reason: task.reason,
        at: task.finished_at.unwrap_or_default(),
        error: task.error.clone(),
    };
    Failures::of(vec![failed]).groups.iter().any(|known| known.fingerprint == group)
}

fn sum(one: Bulked, more: Bulked) -> Bulked {
    Bulked {
        done: one.done + more.done,
        asked: one.asked + more.asked,
        left: one.left + more.left,
        stopped: more.stopped,
    }
}
