//! Watch: whether anybody runs what somebody waits for.

use std::collections::BTreeSet;

use super::Hub;
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::BATCH_KIND;
use crate::mode::Mode;
use crate::record::TaskRecord;
use crate::state::State;

impl Hub {
    /// Whether a live process runs this task, or one of those that a batch waits for.
    fn is_served(&self, task: &TaskRecord) -> Result<bool, Error> {
        const OPEN: [State; 4] = [State::Running, State::Ready, State::Scheduled, State::Waiting];
        if task.kind != BATCH_KIND {
            return self.backend.serves(&task.queue, &task.kind);
        }
        let mut open = Filter::new().batch(task.id);
        open.states.extend(OPEN);
        let page = self.backend.list(&open, None, 1_000)?;
        let mut lanes = BTreeSet::new();
        for member in page.tasks {
            let held = || self.pending.get().is_some_and(|pending| pending.holds(member.id.row()));
            if member.state == State::Running || held() {
                return Ok(true);
            }
            lanes.insert((member.queue, member.kind));
        }
        for (queue, kind) in lanes {
            if self.backend.serves(&queue, &kind)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a task is held by a process that lives no more.
    pub(crate) fn has_lost_tasks(&self) -> Result<bool, Error> {
        let holders = self.backend.holders()?;
        if holders.is_empty() {
            return Ok(false);
        }
        let live: BTreeSet<i64> = self.backend.workers()?.iter().map(|worker| worker.id).collect();
        Ok(holders.iter().any(|holder| holder.is_none_or(|id| !live.contains(&id))))
    }

    /// Whether waiting for this task makes no sense here.
    pub(crate) fn nobody_runs(&self, task: &TaskRecord) -> Result<bool, Error> {
        let alone = |state: State| {
            matches!(self.mode, Mode::Inline | Mode::Hold)
                && !state.is_final()
                && state != State::Running
        };
        let place = |task: &TaskRecord| (task.state, task.attempt, task.due_at);
        let mut seen = place(task);
        while alone(seen.0) {
            let held = self.pending.get().is_some_and(|pending| pending.holds(task.id.row()));
            if held || self.is_served(task)? {
                return Ok(false);
            }
            // A caller may have had it in hand when it was read, and have let it go since.
            let Some(now) = self.backend.get(task.id)? else { return Ok(false) };
            if place(&now) == seen {
                return Ok(true);
            }
            seen = place(&now);
        }
        Ok(false)
    }
}
