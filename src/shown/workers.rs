//! Watch: the live processes that run tasks, and what each has in hand, as people and programs are shown them.

use serde::Serialize;

use crate::presence::WorkerRecord;
use crate::time::Timestamp;

#[derive(Debug, Serialize)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) started_at: Timestamp,
}

#[derive(Debug, Serialize)]
pub(crate) struct WorkerView {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// Whether it is this process.
    pub(crate) here: bool,
    pub(crate) threads: usize,
    /// Whether it runs tasks by itself.
    pub(crate) serves: bool,
    pub(crate) kinds: Vec<String>,
    pub(crate) queues: Vec<String>,
    pub(crate) excluded: Vec<String>,
    pub(crate) since: Timestamp,
    pub(crate) running: Vec<Running>,
}

impl WorkerView {
    pub(crate) fn of(worker: &WorkerRecord) -> Self {
        let running = worker.running.iter().map(|task| Running {
            id: task.id.to_string(),
            kind: task.kind.clone(),
            started_at: task.started_at,
        });
        Self {
            id: worker.id,
            name: worker.name.clone(),
            pid: worker.pid,
            here: worker.pid == std::process::id(),
            threads: worker.threads,
            serves: worker.serves,
            kinds: worker.kinds.clone(),
            queues: worker.queues.clone(),
            excluded: worker.excluded.clone(),
            since: worker.since,
            running: running.collect(),
        }
    }

    /// How many of its threads have something to do.
    pub(crate) fn busy(&self) -> usize {
        self.running.len().min(self.threads)
    }

    /// Whose tasks it runs.
    pub(crate) fn serves_words(&self) -> String {
        match (self.serves, self.queues.is_empty(), self.excluded.is_empty()) {
            (false, ..) => "only what its own calls run".to_owned(),
            (_, true, true) => "all queues".to_owned(),
            (_, true, false) => format!("all queues but {}", self.excluded.join(", ")),
            _ => self.queues.join(", "),
        }
    }
}
