//! Run: what a thread that lends itself to the queue runs.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// What `run_pending` runs: by kind, by queue, and how much of it. Nothing said: all that is due and registered.
/// A kind that the program does not know is refused there (`unknown_kind`); a queue that nobody knows has no task.
///
/// ```
/// use litework::{Client, Mode, Pending, task};
///
/// #[task]
/// fn resize(width: u32) {}
///
/// #[task(queue = "mail")]
/// fn send(to: &str) {}
///
/// let tasks = Client::in_memory().mode(Mode::Hold).register(resize).register(send).open()?;
/// tasks.enqueue(send::with("Ada"))?;
/// tasks.enqueue_many((1..=5).map(resize::with))?;
/// let ran = tasks.run_pending(&Pending::all().except_queue("mail").at_most(2))?;
/// assert_eq!(ran.succeeded, 2);
/// assert_eq!(tasks.run_pending(&Pending::all().queue("mail"))?.succeeded, 1);
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pending {
    pub(crate) only: Vec<String>,
    pub(crate) except: Vec<String>,
    pub(crate) queues: Vec<String>,
    pub(crate) except_queues: Vec<String>,
    pub(crate) at_most: Option<usize>,
    /// Counts the tasks that are claimed, also where the call ends with an error.
    pub(crate) claimed: Option<Arc<AtomicUsize>>,
}

impl Pending {
    /// All kinds.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only this kind, or one of those given.
    #[must_use]
    pub fn only(mut self, kind: impl Into<String>) -> Self {
        self.only.push(kind.into());
        self
    }

    /// All but this kind, or those given.
    #[must_use]
    pub fn except(mut self, kind: impl Into<String>) -> Self {
        self.except.push(kind.into());
        self
    }

    /// Only this queue, or one of those given.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queues.push(name.into());
        self
    }

    /// All but this queue, or those given.
    #[must_use]
    pub fn except_queue(mut self, name: impl Into<String>) -> Self {
        self.except_queues.push(name.into());
        self
    }

    /// No more attempts than this in one call; 0 is none. Default: no limit.
    #[must_use]
    pub fn at_most(mut self, attempts: usize) -> Self {
        self.at_most = Some(attempts);
        self
    }

    /// Counts there what is claimed.
    #[cfg(feature = "cli")]
    #[must_use]
    pub(crate) fn counted(mut self, claimed: &Arc<AtomicUsize>) -> Self {
        self.claimed = Some(Arc::clone(claimed));
        self
    }
}
