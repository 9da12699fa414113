//! Watch: the processes that run tasks, as others see them.

use crate::id::TaskId;
use crate::time::Timestamp;

/// Tasks that are listed of one process at most.
pub(crate) const RUNNING_SHOWN_MAX: usize = 1_000;

/// A live process that runs tasks, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerRecord {
    /// Its number, never reused; [`TaskRecord::worker`](crate::TaskRecord::worker) names it.
    pub id: i64,
    /// The name it is shown by, see [`Builder::name`](crate::Builder::name).
    pub name: String,
    /// The system's number for the process.
    pub pid: u32,
    /// The machine's boot it was started in; empty where that cannot be told.
    pub boot: String,
    /// How many threads it has for tasks.
    pub threads: usize,
    /// Whether it runs tasks by itself: a pool. A caller that runs its own tasks does not.
    pub serves: bool,
    /// Names and aliases of the tasks it can run, sorted.
    pub kinds: Vec<String>,
    /// The queues it runs tasks of; empty: all but those in `excluded`.
    pub queues: Vec<String>,
    /// The queues it runs no tasks of.
    pub excluded: Vec<String>,
    /// Since when.
    pub since: Timestamp,
    /// How often it has renewed its lease, which it does every 10 s while it holds tasks. Whether a
    /// process lives is told by a lock that its system frees at its end, not by this.
    pub beats: u64,
    /// What it has in hand, in the order of the ids: what it runs, and up to about 20 ms of work that it
    /// is about to begin. At most 1,000 are listed.
    pub running: Vec<RunningTask>,
}

/// A task that a process has in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningTask {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub kind: String,
    /// When it was claimed.
    pub started_at: Timestamp,
}

impl WorkerRecord {
    /// Whether it runs tasks of this queue by itself.
    pub fn takes_queue(&self, queue: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|name| name == queue);
        self.serves && (self.queues.is_empty() || has(&self.queues)) && !has(&self.excluded)
    }

    /// Whether it knows tasks of this kind.
    pub fn knows(&self, kind: &str) -> bool {
        self.kinds.iter().any(|name| name == kind)
    }

    pub(crate) fn takes(&self, queue: &str, kind: &str) -> bool {
        self.takes_queue(queue) && self.knows(kind)
    }
}
