//! Enqueue: what a client and its handles share: engine, catalog, clock, and whoever runs.
//!
//! It checks calls, encodes their arguments and gives them to the engine. It knows that there may
//! be a runner, not which: the builder puts one in.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Offer};
use crate::catalog::{Catalog, Kind};
use crate::error::Error;
use crate::id::TaskId;
use crate::json::{self, JsonLimits};
use crate::quota::Quotas;
use crate::record::{Claimed, Finished, NewTask, Stored, TaskRecord};
use crate::state::State;
use crate::task::{Call, CallOptions, Signature};
use crate::time::{Clock, Timestamp};

/// Who runs what is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Worker threads of this process.
    Pool,
    /// The caller, before `enqueue` returns. The default where no workers are configured.
    Inline,
    /// Another process.
    Enqueue,
    /// Nobody: tasks are stored only.
    Hold,
}

impl Mode {
    /// Every mode.
    pub const ALL: &'static [Self] = &[Self::Pool, Self::Inline, Self::Enqueue, Self::Hold];

    /// The word in configuration and environment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Inline => "inline",
            Self::Enqueue => "enqueue",
            Self::Hold => "hold",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Mode {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().find(|mode| mode.as_str() == word);
        let allowed = "pool, inline, enqueue or hold";
        known.copied().ok_or_else(|| Error::invalid("bad_config", "mode", word, allowed))
    }
}

/// What [`Client::shutdown`](crate::Client::shutdown) came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Attempts that were running and ended by themselves.
    pub finished: usize,
    /// Tasks handed back, their attempts refunded.
    pub handed_back: usize,
    /// Bodies that did not stop; their threads are left behind and their leases are gone.
    pub still_running: usize,
}

/// What [`Client::run_pending`](crate::Client::run_pending) did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// Attempts that ended with a return value.
    pub succeeded: usize,
    /// Attempts after which the task is final without one.
    pub failed: usize,
    /// Attempts after which the task goes on later.
    pub postponed: usize,
}

/// Which kinds `run_pending` runs; both empty: all that are registered. A name that the program does
/// not know is refused there (`unknown_kind`).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pending {
    pub(crate) only: Vec<String>,
    pub(crate) except: Vec<String>,
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
}

/// Runs what was enqueued: the pool, or the caller itself.
pub(crate) trait Runner: Send + Sync {
    /// What it could start at once, on this thread's behalf.
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error>;
    /// Takes tasks that were handed over; says what became of those that it has run already.
    fn take(&self, claimed: Vec<Claimed>) -> Vec<(TaskId, Finished)>;
    /// Runs one stored task now, if this runner is one that runs in the caller.
    fn run_stored(&self, id: TaskId);
    /// Ends the runner.
    fn shutdown(&self, grace: Duration) -> Result<Stopped, Error>;
}

/// Runs what is due in the calling thread, and returns.
pub(crate) trait PendingRunner: Send + Sync {
    fn run_pending(&self, pending: &Pending) -> Result<Ran, Error>;
    /// Ends the runner.
    fn leave(&self) -> Result<(), Error>;
}

thread_local! {
    /// The tasks whose bodies this thread is inside of, innermost last.
    static INSIDE: RefCell<Vec<TaskId>> = const { RefCell::new(Vec::new()) };
}

/// Looks at the bodies of this thread. A thread that is going away, and may drop a client as it
/// goes, is inside of none.
fn with_inside<R: Default>(look: impl FnOnce(&mut Vec<TaskId>) -> R) -> R {
    INSIDE.try_with(|inside| look(&mut inside.borrow_mut())).unwrap_or_default()
}

/// Runs a body, so that the thread knows what it is inside of.
pub(crate) fn inside<R>(id: TaskId, body: impl FnOnce() -> R) -> R {
    with_inside(|inside| inside.push(id));
    let answer = body();
    with_inside(Vec::pop);
    answer
}

/// Whether this thread is inside any body.
pub(crate) fn is_inside_any() -> bool {
    with_inside(|inside| !inside.is_empty())
}

/// Whether this thread is inside the body of that task.
pub(crate) fn is_inside(id: TaskId) -> bool {
    with_inside(|inside| inside.contains(&id))
}

/// What all handles of one open client share.
pub(crate) struct Hub {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: JsonLimits,
    pub(crate) quotas: Quotas,
    pub(crate) mode: Mode,
    pub(crate) path: Option<PathBuf>,
    pub(crate) runner: OnceLock<Arc<dyn Runner>>,
    pub(crate) pending: OnceLock<Arc<dyn PendingRunner>>,
    pub(crate) closed: AtomicBool,
    /// Closed, and whatever ran has ended or was handed back.
    pub(crate) over: AtomicBool,
}

/// The default grace of a client that is dropped without `shutdown`.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(10);

impl Drop for Hub {
    fn drop(&mut self) {
        // There is nobody left to tell what happened.
        let _untold = self.close(GRACE_DEFAULT);
    }
}

impl Hub {
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn close(&self, grace: Duration) -> Result<Stopped, Error> {
        if let Err(error @ Error::Forked { .. }) = self.backend.check_usable() {
            // Threads do not come along into a forked child, so nobody there would end them.
            return Err(error);
        }
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(Stopped::default());
        }
        let stopped = match self.runner.get() {
            Some(runner) => runner.shutdown(grace),
            None => Ok(Stopped::default()),
        };
        let left = self.pending.get().map_or(Ok(()), |pending| pending.leave());
        self.over.store(true, Ordering::SeqCst);
        self.backend.signal().wake_all();
        left.and(stopped)
    }

    /// Whether nothing more comes of waiting for a task that has not ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Checks a call and encodes it.
    pub(crate) fn prepare<T: Signature>(
        &self,
        call: &Call<T>,
        now: Timestamp,
    ) -> Result<NewTask, Error> {
        let kind = self.catalog.get(T::NAME)?;
        let arguments = json::encode(&call.args, self.limits)?;
        self.prepare_encoded(kind, &call.with, arguments, now)
    }

    /// Whether a call inside a transaction is stored with it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn on_commit<T: Signature>(&self, call: &Call<T>) -> Result<bool, Error> {
        let kind = self.catalog.get(T::NAME)?;
        Ok(call.with.options.over(&kind.options).checked()?.on_commit)
    }

    pub(crate) fn prepare_encoded(
        &self,
        kind: &Kind,
        with: &CallOptions,
        arguments: String,
        now: Timestamp,
    ) -> Result<NewTask, Error> {
        let (plan, options) = if with.options.is_plain() {
            (kind.plan.clone(), None)
        } else {
            (with.options.over(&kind.options).checked()?, with.options.stored())
        };
        self.catalog.check_queue(&plan.queue)?;
        let due_at = with.due.moment(now)?;
        let meta =
            if with.meta.is_empty() { None } else { Some(json::encode(&with.meta, self.limits)?) };
        Ok(NewTask {
            quota: self.quotas.of(&plan.queue),
            kind: Arc::clone(&kind.name),
            queue: plan.queue,
            priority: plan.priority,
            due_at,
            expires_at: plan.expires_after.map(|span| due_at.max(now).after(span)),
            attempts_max: plan.attempts_max,
            at_most_once: plan.at_most_once,
            arguments,
            key: with.checked_key()?.map(str::to_owned),
            tags: with.tags_text()?,
            meta,
            options,
        })
    }

    /// Stores tasks, all or none, and starts those that were handed over.
    pub(crate) fn store(&self, now: Timestamp, tasks: Vec<NewTask>) -> Result<Vec<Stored>, Error> {
        self.check_open()?;
        let runner = self.runner.get();
        let offer = match runner {
            Some(runner) => runner.offer()?,
            None => None,
        };
        let mut stored = self.backend.enqueue(now, tasks, offer)?;
        if let Some(runner) = runner {
            let claimed: Vec<Claimed> =
                stored.iter_mut().filter_map(|stored| stored.claimed.take()).collect();
            let ran = if claimed.is_empty() { Vec::new() } else { runner.take(claimed) };
            for (id, finished) in ran {
                for stored in stored.iter_mut().filter(|stored| stored.id == id) {
                    stored.state = finished.state;
                    stored.due_at = finished.due_at.unwrap_or(stored.due_at);
                }
            }
        }
        Ok(stored)
    }

    /// Whether waiting for this task makes no sense here.
    pub(crate) fn nobody_runs(&self, task: &TaskRecord) -> Result<bool, Error> {
        let alone = matches!(self.mode, Mode::Inline | Mode::Hold) && task.state != State::Running;
        Ok(alone && !self.backend.serves(&task.queue, &task.kind)?)
    }
}
