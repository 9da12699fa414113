//! Enqueue and watch: the handle that programs hold.
//!
//! The client checks a call, encodes its arguments, stamps it with the time and gives it to the
//! engine. It is the only place that reads the clock for callers. It knows that there may be a
//! runner, not which: the builder puts one in.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, Cancelled, Capabilities, Offer};
use crate::catalog::{Catalog, Kind, KindInfo};
use crate::error::Error;
use crate::id::TaskId;
use crate::json::{self, JsonLimits};
use crate::record::{AttemptRecord, Claimed, Cursor, Filter, NewTask, Page, Stored, TaskRecord};
use crate::state::State;
use crate::task::{Call, CallOptions, IntoCall, Signature};
use crate::time::{Clock, Timestamp};

/// Tasks of one `enqueue_many` at most.
pub const BATCH_MAX: usize = 100_000;
/// A waiter reads its task at most this often while other processes commit without pause.
const FOREIGN_READ_EVERY: Duration = Duration::from_millis(5);

/// Who runs what is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// What [`Client::shutdown`] came to.
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

/// What [`Client::run_pending`] did.
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

/// Which kinds `run_pending` runs; both empty: all that are registered.
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
    /// Takes tasks that were handed over.
    fn take(&self, claimed: Vec<Claimed>);
    /// Runs one stored task now, if this runner is one that runs in the caller.
    fn run_stored(&self, id: TaskId);
    /// Ends the runner.
    fn shutdown(&self, grace: Duration) -> Result<Stopped, Error>;
}

/// Runs what is due in the calling thread, and returns.
pub(crate) trait PendingRunner: Send + Sync {
    fn run_pending(&self, pending: &Pending) -> Result<Ran, Error>;
}

/// What all handles of one open client share.
pub(crate) struct Core {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: JsonLimits,
    pub(crate) mode: Mode,
    pub(crate) path: Option<PathBuf>,
    pub(crate) runner: OnceLock<Arc<dyn Runner>>,
    pub(crate) pending: OnceLock<Arc<dyn PendingRunner>>,
    pub(crate) closed: AtomicBool,
}

/// The default grace of a client that is dropped without `shutdown`.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(10);

impl Drop for Core {
    fn drop(&mut self) {
        // There is nobody left to tell what happened.
        let _untold = self.close(GRACE_DEFAULT);
    }
}

impl Core {
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    fn close(&self, grace: Duration) -> Result<Stopped, Error> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(Stopped::default());
        }
        let stopped = match self.runner.get() {
            Some(runner) => runner.shutdown(grace),
            None => Ok(Stopped::default()),
        };
        self.backend.signal().wake_all();
        stopped
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

    fn prepare_encoded(
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
            if !claimed.is_empty() {
                runner.take(claimed);
            }
        }
        Ok(stored)
    }

    /// Whether waiting for this task makes no sense here.
    fn nobody_runs(&self, task: &TaskRecord) -> Result<bool, Error> {
        let alone = matches!(self.mode, Mode::Inline | Mode::Hold) && task.state != State::Running;
        Ok(alone && !self.backend.serves(&task.kind)?)
    }
}

/// A handle on an open queue; clones share it, and the last one to go shuts it down.
///
/// ```
/// use litework::{Client, Context, Result, task};
/// use std::time::Duration;
///
/// /// Adds two numbers.
/// #[task]
/// fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// fn main() -> Result<()> {
///     # let dir = tempfile::tempdir()?;
///     # let path = dir.path().join("tasks.db");
///     let tasks = Client::builder(path).register(add).workers(2).open()?;
///     let handle = tasks.enqueue(add::with(2, 3))?;
///     assert_eq!(handle.wait(Duration::from_secs(5))?, 5);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) core: Arc<Core>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("mode", &self.core.mode)
            .field("path", &self.core.path)
            .finish_non_exhaustive()
    }
}

/// Whatever names a task: a [`TaskId`] or its text. Text that is no id names no task.
pub trait AsTaskId {
    /// The id, or `not_found`.
    fn as_task_id(&self) -> Result<TaskId, Error>;
}

impl AsTaskId for TaskId {
    fn as_task_id(&self) -> Result<TaskId, Error> {
        Ok(*self)
    }
}

impl AsTaskId for str {
    fn as_task_id(&self) -> Result<TaskId, Error> {
        self.parse().map_err(|_| Error::not_found(self))
    }
}

impl AsTaskId for String {
    fn as_task_id(&self) -> Result<TaskId, Error> {
        self.as_str().as_task_id()
    }
}

impl<T: AsTaskId + ?Sized> AsTaskId for &T {
    fn as_task_id(&self) -> Result<TaskId, Error> {
        (**self).as_task_id()
    }
}

impl Client {
    /// Stores one call. In mode `inline` it has run when this returns.
    ///
    /// # Errors
    /// Whatever is wrong with the call, before anything is stored; `overloaded`, `not_stored` and
    /// `unknown_outcome` from the engine; `closed`, `forked_process`, `reentrant`.
    pub fn enqueue<C: IntoCall>(&self, call: C) -> Result<Handle<C::Task>, Error> {
        let now = self.core.clock.now();
        let task = self.core.prepare(&call.into_call(), now)?;
        let stored = self.core.store(now, vec![task])?;
        stored.into_iter().next().map(|stored| self.handle_of(&stored)).ok_or(Error::Closed)
    }

    /// Stores many calls of one kind in one transaction: all or none. The error of a refused one
    /// names its position.
    pub fn enqueue_many<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Handle<C::Task>>, Error> {
        let now = self.core.clock.now();
        let mut tasks = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            if index == BATCH_MAX {
                let allowed = format!("at most {BATCH_MAX}; send them in parts");
                return Err(Error::invalid("batch_too_large", "batch", "longer", allowed));
            }
            let task =
                self.core.prepare(&call.into_call(), now).map_err(|error| error.at(index))?;
            tasks.push(task);
        }
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.core.store(now, tasks)?;
        Ok(stored.iter().map(|stored| self.handle_of(stored)).collect())
    }

    /// Stores one call given as the name of its kind and JSON text: for command lines and inboxes.
    /// The text is checked strictly: no duplicate keys, no numbers that would be rounded.
    pub fn enqueue_json(&self, kind: &str, arguments: &[u8]) -> Result<TaskRecord, Error> {
        let kind = self.core.catalog.get(kind)?;
        let arguments = json::check(arguments, self.core.limits)?.to_owned();
        let now = self.core.clock.now();
        let task = self.core.prepare_encoded(kind, &CallOptions::default(), arguments, now)?;
        let stored = self.core.store(now, vec![task])?;
        stored.first().map_or(Err(Error::Closed), |stored| self.get(stored.id))
    }

    pub(crate) fn handle_of<T>(&self, stored: &Stored) -> Handle<T> {
        let needs_runner = matches!(self.core.mode, Mode::Inline | Mode::Hold)
            && matches!(stored.state, State::Scheduled | State::Waiting | State::Ready);
        Handle {
            core: Arc::downgrade(&self.core),
            id: stored.id,
            needs_runner,
            existing: stored.existing,
            due_at: stored.due_at,
            kind: PhantomData,
        }
    }

    /// Collects calls now and stores them later, in one transaction: for work that belongs to a
    /// commit in another database. What is dropped unsent was never stored.
    pub fn outbox(&self) -> Outbox {
        Outbox { client: self.clone(), tasks: Vec::new() }
    }

    /// A task by its id, whatever its kind.
    pub fn get(&self, id: impl AsTaskId) -> Result<TaskRecord, Error> {
        let id = id.as_task_id()?;
        self.core.backend.get(id)?.ok_or_else(|| Error::not_found(id))
    }

    /// A typed handle on a stored task; `mismatch` when it is of another kind.
    pub fn handle<T: Signature>(&self, id: impl AsTaskId) -> Result<Handle<T>, Error> {
        let task = self.get(id)?;
        let expected = self.core.catalog.get(T::NAME)?;
        let found = self.core.catalog.get(&task.kind).ok();
        if task.kind != T::NAME && found.is_none_or(|found| found.name != expected.name) {
            let expected = T::NAME.to_owned();
            return Err(Error::Mismatch { id: task.id, expected, found: task.kind });
        }
        let core = Arc::downgrade(&self.core);
        Ok(Handle {
            core,
            id: task.id,
            needs_runner: false,
            existing: true,
            due_at: task.due_at,
            kind: PhantomData,
        })
    }

    /// The task that has this idempotency key.
    pub fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error> {
        self.core.backend.find(key)
    }

    /// Tasks that pass the filter, newest first, at most 1,000 a page.
    pub fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error> {
        if !(1..=1_000).contains(&size) {
            return Err(Error::invalid("out_of_range", "page size", size, "1 to 1000"));
        }
        self.core.backend.list(filter, from, size)
    }

    /// How many tasks pass the filter.
    pub fn count(&self, filter: &Filter) -> Result<u64, Error> {
        self.core.backend.count(filter, u64::MAX)
    }

    /// The attempts of a task, oldest first.
    pub fn attempts(&self, id: impl AsTaskId) -> Result<Vec<AttemptRecord>, Error> {
        let id = id.as_task_id()?;
        let attempts = self.core.backend.attempts(id)?;
        if attempts.is_empty() {
            self.get(id)?;
        }
        Ok(attempts)
    }

    /// Cancels a task that has not started, or asks a running one to stop.
    pub fn cancel(&self, id: impl AsTaskId) -> Result<Cancelled, Error> {
        self.core.check_open()?;
        self.core.backend.cancel(self.core.clock.now(), id.as_task_id()?)
    }

    /// Runs what is due in this thread, best first, until nothing more is; a task that fails does
    /// not stop the rest.
    pub fn run_pending(&self, pending: &Pending) -> Result<Ran, Error> {
        self.core.check_open()?;
        self.core.pending.get().map_or(Ok(Ran::default()), |runner| runner.run_pending(pending))
    }

    /// Stops claiming, lets running tasks end for `grace`, then asks them to stop, then hands back
    /// what is left. Later calls answer `closed`.
    pub fn shutdown(&self, grace: Duration) -> Result<Stopped, Error> {
        self.core.close(grace)
    }

    /// Who runs what is enqueued.
    pub fn mode(&self) -> Mode {
        self.core.mode
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.core.path.as_deref()
    }

    /// What the engine can do.
    pub fn capabilities(&self) -> Capabilities {
        self.core.backend.capabilities()
    }

    /// The registered kinds, by name.
    pub fn kinds(&self) -> Vec<KindInfo> {
        self.core.catalog.infos()
    }
}

#[cfg(feature = "tokio")]
impl Client {
    /// [`Client::enqueue`] on a thread where blocking is allowed. Needs a tokio runtime.
    pub async fn enqueue_async<C: IntoCall>(&self, call: C) -> Result<Handle<C::Task>, Error> {
        let (client, call) = (self.clone(), call.into_call());
        off_runtime(move || client.enqueue(call)).await
    }
}

#[cfg(feature = "tokio")]
async fn off_runtime<R: Send + 'static>(
    call: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Error> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Error::Unknown {
        reason: format!("the blocking thread ended early: {error}"),
        source: Some(error.into()),
    })?
}

/// Calls that are stored when [`Outbox::send`] is called; see [`Client::outbox`].
#[must_use = "nothing is stored until it is sent"]
#[derive(Debug)]
pub struct Outbox {
    client: Client,
    tasks: Vec<NewTask>,
}

impl Outbox {
    /// Checks a call and keeps it; its time counts from now.
    pub fn enqueue<C: IntoCall>(&mut self, call: C) -> Result<(), Error> {
        let now = self.client.core.clock.now();
        self.tasks.push(self.client.core.prepare(&call.into_call(), now)?);
        Ok(())
    }

    /// How many calls it holds.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Stores them all, or none.
    pub fn send(self) -> Result<Vec<TaskId>, Error> {
        if self.tasks.is_empty() {
            return Ok(Vec::new());
        }
        let core = &self.client.core;
        let stored = core.store(core.clock.now(), self.tasks)?;
        Ok(stored.into_iter().map(|stored| stored.id).collect())
    }
}

/// One stored task whose return type is known. It outlives the client, and then answers `closed`.
pub struct Handle<T> {
    core: Weak<Core>,
    id: TaskId,
    needs_runner: bool,
    existing: bool,
    due_at: Timestamp,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { core: Weak::clone(&self.core), kind: PhantomData, ..*self }
    }
}

impl<T> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T> Handle<T> {
    /// The outside name of the task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the reply to the call said that the task waits for a runner and this client has
    /// none: it is delayed, snoozed, or held.
    pub fn needs_runner(&self) -> bool {
        self.needs_runner
    }

    /// Whether the idempotency key belonged to a task that was there already.
    pub fn is_existing(&self) -> bool {
        self.existing
    }

    /// When the task was due, as the reply to the call said.
    pub fn due_at(&self) -> Timestamp {
        self.due_at
    }

    fn core(&self) -> Result<Arc<Core>, Error> {
        self.core.upgrade().filter(|core| core.check_open().is_ok()).ok_or(Error::Closed)
    }

    /// The task as it is now.
    pub fn refresh(&self) -> Result<TaskRecord, Error> {
        self.core()?.backend.get(self.id)?.ok_or_else(|| Error::not_found(self.id))
    }

    /// Whether the task has ended.
    pub fn ready(&self) -> Result<bool, Error> {
        self.refresh().map(|task| task.state.is_final())
    }

    /// Cancels the task if it has not started, or asks it to stop.
    pub fn cancel(&self) -> Result<Cancelled, Error> {
        let core = self.core()?;
        core.backend.cancel(core.clock.now(), self.id)
    }

    /// The record if the task has ended, else a receiver for its next change.
    fn look(&self) -> Result<Look, Error> {
        let core = self.core()?;
        core.backend.watch()?;
        let change = core.backend.signal().subscribe(self.id.row());
        let task = core.backend.get(self.id)?.ok_or_else(|| Error::not_found(self.id))?;
        if task.state.is_final() {
            drop(change);
            core.backend.signal().unsubscribe(self.id.row());
            return Ok(Look::Ended(Box::new(task)));
        }
        if core.nobody_runs(&task)? {
            return Err(Error::NobodyRuns { due_at: task.due_at });
        }
        Ok(Look::Change(change))
    }

    fn give_up(&self, change: oneshot::Receiver<()>, after: Duration) -> Error {
        drop(change);
        if let Ok(core) = self.core() {
            core.backend.signal().unsubscribe(self.id.row());
        }
        Error::Timeout { after }
    }

    /// Blocks until the task has ended, at most `timeout`.
    fn wait_ended(&self, timeout: Duration) -> Result<TaskRecord, Error> {
        let until = Instant::now() + timeout.min(Duration::from_secs(10 * 365 * 24 * 60 * 60));
        loop {
            let change = match self.look()? {
                Look::Ended(task) => return Ok(*task),
                Look::Change(change) => change,
            };
            let looked = Instant::now();
            let left = until.saturating_duration_since(looked);
            if left.is_zero()
                || change.recv_timeout(left) == Err(oneshot::RecvTimeoutError::Timeout)
            {
                return Err(self.give_up(change, timeout));
            }
            if looked.elapsed() < FOREIGN_READ_EVERY && self.core()?.backend.capabilities().shared {
                std::thread::yield_now();
            }
        }
    }
}

enum Look {
    Ended(Box<TaskRecord>),
    Change(oneshot::Receiver<()>),
}

impl<T: Signature> Handle<T> {
    /// Waits until the task has ended, at most `timeout`, and gives its return value.
    ///
    /// # Errors
    /// `timeout`; `nobody_runs` at once when no live process runs the kind; `failed`, `cancelled`,
    /// `skipped` when the task ended without a value; `closed`.
    pub fn wait(&self, timeout: Duration) -> Result<T::Output, Error> {
        self.wait_ended(timeout)?.value()
    }

    /// The return value, if the task has ended with one.
    pub fn value(&self) -> Result<T::Output, Error> {
        self.refresh()?.value()
    }
}

impl<T: Signature> IntoFuture for Handle<T> {
    type Output = Result<T::Output, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Waits for the end without blocking, on any executor; on tokio, with the feature `tokio`,
    /// reading the file is done on a blocking thread.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            loop {
                let change = match self.look_async().await? {
                    Look::Ended(task) => return task.value(),
                    Look::Change(change) => change,
                };
                // A sender that has gone means that the client was closed, which the next look says.
                let _closed = change.await;
            }
        })
    }
}

impl<T: Signature> Handle<T> {
    #[cfg(feature = "tokio")]
    async fn look_async(&self) -> Result<Look, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return self.look();
        }
        let handle = self.clone();
        off_runtime(move || handle.look()).await
    }

    #[cfg(not(feature = "tokio"))]
    #[expect(clippy::unused_async, reason = "the same shape as with the feature `tokio`")]
    async fn look_async(&self) -> Result<Look, Error> {
        self.look()
    }
}

impl TaskRecord {
    /// The return value; the error says whether the task failed, was cancelled, or goes on.
    pub fn value<V: DeserializeOwned>(&self) -> Result<V, Error> {
        match (self.state, &self.result) {
            (State::Succeeded, Some(result)) => Ok(json::decode(result)?),
            (State::Succeeded, None) => Err(Error::BadRow {
                row: self.id.row(),
                column: "result",
                reason: "it succeeded without a result".to_owned(),
            }),
            (State::Failed, _) => Err(Error::Failed {
                id: self.id,
                reason: self.reason.unwrap_or(crate::state::Reason::Error),
                report: Box::new(self.error.clone().unwrap_or_default()),
            }),
            (State::Cancelled | State::Skipped, _) => Err(Error::NoValue {
                id: self.id,
                state: self.state,
                reason: self.reason.unwrap_or(crate::state::Reason::Asked),
            }),
            (state, _) => Err(Error::NotFinished { id: self.id, state }),
        }
    }

    /// The arguments, as the type they were made from.
    pub fn decode_arguments<A: DeserializeOwned>(&self) -> Result<A, Error> {
        Ok(json::decode(&self.arguments)?)
    }
}
