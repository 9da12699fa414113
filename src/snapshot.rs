//! Watch: a task with all that people are shown of it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::artifact::Artifact;
use crate::progress::Progress;
use crate::record::TaskRecord;

/// A task as it was at one moment, with how far it had come and what it had left.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The task.
    pub task: TaskRecord,
    /// How far it had come; none where it had said nothing.
    pub progress: Option<Progress>,
    /// What it had left for people.
    pub artifacts: Vec<Artifact>,
}

impl Snapshot {
    pub(crate) fn new(
        task: TaskRecord,
        progress: Option<Progress>,
        artifacts: Vec<Artifact>,
    ) -> Self {
        Self { task, progress, artifacts }
    }

    /// A number that is another one when anything of it changes that people are shown: the state, the attempt,
    /// how far it has come, what it has left. Two snapshots of one task with the same revision look the same.
    pub fn revision(&self) -> u64 {
        let task = &self.task;
        let mut hasher = DefaultHasher::new();
        (task.state.as_str(), task.reason.map(crate::state::Reason::as_str)).hash(&mut hasher);
        (task.attempt, task.attempts_max, task.cancel_requested, task.stuck, task.dismissed)
            .hash(&mut hasher);
        (task.due_at, task.started_at, task.finished_at, task.priority).hash(&mut hasher);
        if let Some(progress) = &self.progress {
            let Progress { attempt, done, total, unit, stage, message, .. } = progress;
            (attempt, done, total, unit, stage, message).hash(&mut hasher);
        }
        for artifact in &self.artifacts {
            (artifact.number, artifact.created_at, artifact.size).hash(&mut hasher);
        }
        hasher.finish()
    }
}
