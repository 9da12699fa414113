//! Run: what the steps of a task came to, kept once a task and under its lease.

use super::Book;
use crate::backend::{STEPS_MAX, too_many_steps};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::{Lease, NewStep, StepRecord};
use crate::time::Timestamp;

impl Book {
    pub(super) fn step(
        &self,
        id: TaskId,
        lease: Lease,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let task = self.tasks.get(&lease.row).filter(|task| task.is_held_by(lease));
        let task = task.ok_or(Error::LeaseLost { id, attempt: lease.attempt })?;
        Ok(task.steps.get(name).map(|(value, _)| value.clone()))
    }

    pub(super) fn keep_step(&mut self, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error> {
        let NewStep { id, lease, name, value, .. } = *step;
        // Steps stand in no index, so none has to be told.
        let task = self.tasks.get_mut(&lease.row).filter(|task| task.is_held_by(lease));
        let task = task.ok_or(Error::LeaseLost { id, attempt: lease.attempt })?;
        if task.steps.len() >= STEPS_MAX && !task.steps.contains_key(name) {
            return Err(too_many_steps(name));
        }
        task.steps.insert(name.to_owned(), (value.to_owned(), now));
        Ok(())
    }

    pub(super) fn steps(&self, id: TaskId) -> Vec<StepRecord> {
        let kept = self.by_id(id).into_iter().flat_map(|task| &task.steps);
        let mut steps: Vec<StepRecord> = kept
            .map(|(name, (value, at))| StepRecord::new(name.clone(), value.clone(), *at))
            .collect();
        steps.sort_by_key(|step| step.stored_at);
        steps
    }
}
