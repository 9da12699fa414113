//! Enqueue and watch: what programs hold and call. It reads the clock for its callers, and passes on
//! `now`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::{self, Actor, of_ids};
use crate::backend::Cancelled;
use crate::capability::Capabilities;
use crate::catalog::KindInfo;
use crate::error::{Error, shorten};
use crate::filter::Filter;
use crate::flow::BATCH_KIND;
use crate::handle::Handle;
#[cfg(feature = "tokio")]
use crate::handle::off_runtime;
use crate::hub::{Calling, GRACE_DEFAULT, Hub, Pending, Ran, Stopped};
use crate::id::TaskId;
use crate::inside;
use crate::json;
use crate::mode::Mode;
use crate::record::{AttemptRecord, Cursor, NewTask, Page, StepRecord, Stored, TaskRecord};
use crate::retention::{Prune, Pruned};
use crate::task::{CallOptions, IntoCall, Signature, TaskRef};
#[cfg(any(feature = "cli", feature = "web"))]
use crate::time::Timestamp;

/// Tasks of one `enqueue_many` at most.
pub const BATCH_MAX: usize = 100_000;

/// A handle on an open queue; clones share it, and the last one to go shuts it down.
///
/// That last drop waits like [`shutdown`](Client::shutdown) with a grace of [`GRACE_DEFAULT`]
/// (10 s), and cannot tell what it came to. It does **not** wait where waiting is not allowed:
/// inside a task's body, and inside a tokio runtime (feature `tokio`). There a thread of its own
/// shuts down while the program goes on, and a program that ends at once may cut that thread short.
/// In async programs call `shutdown_async` before the end.
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
    pub(crate) hub: Arc<Hub>,
    /// None for the client that a body is given: it does not keep the queue open.
    lifeline: Option<Arc<Lifeline>>,
    /// In whose name it does what people do.
    pub(crate) actor: Option<Arc<Actor>>,
}

/// What the clients of a program share; when the last one goes, the queue is shut down.
struct Lifeline {
    hub: Arc<Hub>,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        let hub = Arc::clone(&self.hub);
        if hub.is_closed() {
            return hub.let_go();
        }
        if inside::is_any() || in_runtime() {
            // A body cannot wait for its own end, nor an executor's thread for anything.
            let _detached =
                std::thread::Builder::new().name("litework-close".into()).spawn(move || {
                    drop(hub.close(GRACE_DEFAULT));
                    hub.let_go();
                });
        } else {
            // There is nobody left to tell what happened.
            let _untold = hub.close(GRACE_DEFAULT);
            hub.let_go();
        }
    }
}

#[cfg(feature = "tokio")]
fn in_runtime() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

#[cfg(not(feature = "tokio"))]
fn in_runtime() -> bool {
    false
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("mode", &self.hub.mode)
            .field("path", &self.hub.path)
            .field("keeps_open", &self.lifeline.is_some())
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
        self.parse().map_err(|_| Error::not_found(format_args!("{:?}", shorten(self))))
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
        let calling = self.hub.calling()?;
        let task = self.hub.prepare(&call.into_call(), &calling)?;
        let stored = self.store(&calling, vec![task])?;
        stored.into_iter().next().map(|stored| self.handle_of(&stored)).ok_or(Error::Closed)
    }

    /// Stores many calls of one kind, at most [`BATCH_MAX`], in one transaction: all or none. In mode
    /// `inline` they have run when this returns. The handles stand in the order of the calls.
    ///
    /// ```
    /// # use litework::{Client, Error, task};
    /// # use std::time::Duration;
    /// # #[task]
    /// # fn double(n: i64) -> i64 { 2 * n }
    /// # let tasks = Client::in_memory().register(double).workers(2).open()?;
    /// let handles = tasks.enqueue_many((1..=3).map(double::with))?;
    /// let doubled: Result<Vec<i64>, Error> =
    ///     handles.iter().map(|handle| handle.wait(Duration::from_secs(5))).collect();
    /// assert_eq!(doubled?, [2, 4, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::enqueue`], in an [`Error::Item`] with the position where one call is to blame;
    /// `batch_too_large`.
    pub fn enqueue_many<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Handle<C::Task>>, Error> {
        let calling = self.hub.calling()?;
        let mut tasks = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            if index == BATCH_MAX {
                let allowed = format!("at most {BATCH_MAX}; send them in parts");
                return Err(Error::invalid(
                    "batch_too_large",
                    "size of the batch",
                    index + 1,
                    allowed,
                ));
            }
            let task =
                self.hub.prepare(&call.into_call(), &calling).map_err(|error| error.at(index))?;
            tasks.push(task);
        }
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let single = tasks.len() == 1;
        let stored = self.store(&calling, tasks).map_err(|error| item_of(single, error))?;
        Ok(stored.iter().map(|stored| self.handle_of(stored)).collect())
    }

    /// Stores one call given as the name of its kind, or an alias, and its arguments as the text of a
    /// JSON object by parameter name: for command lines and inboxes. The text is checked strictly: no other
    /// value than an object, no duplicate keys, no numbers that would be rounded, within the limits of the
    /// builder. Whether it fits the parameters shows when the task runs; then it fails as `bad_arguments`.
    ///
    /// # Errors
    /// `unknown_kind`, with the nearest names; the codes of a [`JsonError`](crate::JsonError); then those
    /// of [`Client::enqueue`].
    pub fn enqueue_json(&self, kind: &str, arguments: &[u8]) -> Result<TaskRecord, Error> {
        let kind = self.hub.catalog.get(kind)?;
        let arguments = json::check_object(arguments, self.hub.limits)?.to_owned();
        let calling = self.hub.calling()?;
        let with = CallOptions::default();
        let task = self.hub.prepare_encoded(kind, &with, arguments, &calling)?;
        let stored = self.store(&calling, vec![task])?;
        stored.first().map_or(Err(Error::Closed), |stored| self.get(stored.id))
    }

    /// The first client of an open queue.
    pub(crate) fn open(hub: Arc<Hub>) -> Self {
        let lifeline = Some(Arc::new(Lifeline { hub: Arc::clone(&hub) }));
        Self { hub, lifeline, actor: None }
    }

    /// The client that a body is given; once the program has dropped its own, it answers `closed`.
    pub(crate) fn inner(hub: Arc<Hub>) -> Self {
        Self { hub, lifeline: None, actor: None }
    }

    /// `closed` once the queue is shut down; the client of a body is let through while bodies have
    /// the grace to end.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.hub.check_open_to(self.lifeline.is_none())
    }

    pub(crate) fn store(
        &self,
        calling: &Calling,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Stored>, Error> {
        self.check_open()?;
        self.hub.store(calling.now, tasks)
    }

    pub(crate) fn handle_of<T>(&self, stored: &Stored) -> Handle<T> {
        Handle::of_stored(&self.hub, stored, false)
    }

    /// A handle on a task whose transaction ends later: in mode `inline` it runs then.
    #[cfg(feature = "sqlite")]
    pub(crate) fn handle_in_transaction<T>(&self, stored: &Stored) -> Handle<T> {
        Handle::of_stored(&self.hub, stored, true)
    }

    /// A task by its id, whatever its kind.
    ///
    /// # Errors
    /// `not_found`, also for text that is no id; `storage` and `bad_row` where it cannot be read.
    pub fn get(&self, id: impl AsTaskId) -> Result<TaskRecord, Error> {
        let id = id.as_task_id()?;
        self.hub.backend.get(id)?.ok_or_else(|| Error::not_found(id))
    }

    /// A typed handle on a stored task.
    ///
    /// # Errors
    /// Those of [`Client::get`]; `mismatch` when it is of another kind; `unknown_kind` when the program
    /// does not know the task.
    pub fn handle<T: TaskRef>(&self, id: impl AsTaskId) -> Result<Handle<T::Task>, Error> {
        let name = T::Task::NAME;
        let task = self.get(id)?;
        // Every program knows what stands for a flow.
        if name != BATCH_KIND {
            self.hub.catalog.get(name)?;
        }
        if !self.hub.catalog.is_same(&task.kind, name) {
            let expected = name.to_owned();
            return Err(Error::Mismatch { id: task.id, expected, found: task.kind });
        }
        Ok(Handle::of_record(&self.hub, &task))
    }

    /// The task that has this idempotency key; none when no stored task has it, or no more.
    ///
    /// # Errors
    /// `storage` and `bad_row` where it cannot be read.
    pub fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error> {
        self.hub.backend.find(key)
    }

    /// Tasks that pass the filter, newest first, 1 to 1,000 a page; `from` is where the page before
    /// ended. A task that is stored meanwhile does not shift the pages.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(double).open()?;
    /// tasks.enqueue_many((0..25).map(double::with))?;
    /// let (filter, mut from, mut seen) = (Filter::new().kind("double"), None, 0);
    /// loop {
    ///     let page = tasks.list(&filter, from, 10)?;
    ///     seen += page.tasks.len();
    ///     from = page.next;
    ///     if from.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(seen, 25);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `out_of_range` for the page size and for over 1,000 ids; `storage`. A row that cannot be read is no error: it stands in
    /// [`Page::bad`], and the others are listed.
    pub fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error> {
        filter.checked()?;
        if !(1..=1_000).contains(&size) {
            return Err(Error::invalid("out_of_range", "page size", size, "1 to 1000"));
        }
        self.hub.backend.list(filter, from, size)
    }

    /// How many tasks pass the filter.
    ///
    /// # Errors
    /// `out_of_range` for over 1,000 ids; `storage` where they cannot be read.
    pub fn count(&self, filter: &Filter) -> Result<u64, Error> {
        filter.checked()?;
        self.hub.backend.count(filter, u64::MAX)
    }

    /// The attempts of a task, oldest first, that which is running included.
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn attempts(&self, id: impl AsTaskId) -> Result<Vec<AttemptRecord>, Error> {
        let id = id.as_task_id()?;
        let attempts = self.hub.backend.attempts(id)?;
        if attempts.is_empty() {
            self.get(id)?;
        }
        Ok(attempts)
    }

    /// What the steps of a task have stored so far, oldest first; see
    /// [`Context::step`](crate::Context::step). They are kept for as long as the task is.
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// #[task]
    /// fn order(ctx: &Context) -> Result<u32> {
    ///     ctx.step("reserve", || Ok(7))
    /// }
    ///
    /// let tasks = Client::in_memory().register(order).open()?;
    /// let id = tasks.enqueue(order::with())?.id();
    /// let steps = tasks.steps(id)?;
    /// assert_eq!((steps[0].name.as_str(), steps[0].value.as_str()), ("reserve", "7"));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn steps(&self, id: impl AsTaskId) -> Result<Vec<StepRecord>, Error> {
        let id = id.as_task_id()?;
        let steps = self.hub.backend.steps(id)?;
        if steps.is_empty() {
            self.get(id)?;
        }
        Ok(steps)
    }

    /// Cancels a task that has not started, or asks a running one to stop; its body hears of it at its
    /// next [`Context::check`](crate::Context::check). The answer says which of the two, or that it had
    /// ended. What comes after the task ends with it, and a [`Batch`](crate::Batch) with its members, in one
    /// transaction; see [`FLOW_MAX`](crate::FLOW_MAX) for how long that takes. Receivers of events
    /// ([`Builder::on`](crate::Builder::on)) hear of each before this returns.
    ///
    /// # Errors
    /// `not_found`; `closed`; `not_stored` and `unknown_outcome` from the engine.
    pub fn cancel(&self, id: impl AsTaskId) -> Result<Cancelled, Error> {
        self.check_open()?;
        let id = id.as_task_id()?;
        self.hub.cancel(id, self.entry("cancel", || of_ids(&[id])).as_ref())
    }

    /// Removes what ended long ago, with its arguments, result, errors and steps, and whatever names it.
    /// What is to be removed says a [`Prune`](crate::Prune), or the
    /// [`Retention`](crate::Retention) itself; `Prune::new()` goes by that of the client. It
    /// works in every mode, in transactions of about 2 ms, between which others have their turn.
    ///
    /// A task that has not ended is never removed, nor the newest, nor one that others still need; see
    /// [`Retention`](crate::Retention).
    ///
    /// ```
    /// # use litework::{Client, Keep, Prune, Retention, State, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().register(double).open()?;
    /// tasks.enqueue_many((0..10).map(double::with))?;
    /// let none_kept = Retention::all(Keep::age(Duration::ZERO));
    /// let would = tasks.prune(Prune::by(none_kept.clone()).dry_run())?;
    /// assert_eq!((would.total(), would.of(State::Succeeded)), (9, 9)); // the newest stays
    /// let pruned = tasks.prune(none_kept)?;
    /// assert_eq!(pruned.in_queue("default"), 9);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `out_of_range` and `bad_queue` for the rules; `clock_jumped` when the machine's clock has moved by
    /// more than an hour against its even one, or the file holds moments more than an hour ahead of it,
    /// unless the call is [`confirmed`](crate::Prune::confirmed) or a dry run; `closed`; `reentrant`
    /// inside a write transaction; `not_stored` and `storage` from the engine: what was removed until
    /// then stays removed.
    pub fn prune(&self, prune: impl Into<Prune>) -> Result<Pruned, Error> {
        self.check_open()?;
        self.hub.backend.check_usable()?;
        let prune = prune.into();
        let by = self.entry("prune", || prune.what());
        audit::during(by.as_ref(), || self.hub.pruner.prune(prune))
    }

    /// Runs what is due in this thread, best first, until nothing more is; a task that fails does
    /// not stop the rest. Works in every mode. Now and then it also removes what ended long ago, for a
    /// few milliseconds, see [`Builder::retention`](crate::Builder::retention). When another thread shuts the client down, it claims
    /// nothing more and returns what it did until then.
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(double).open()?;
    /// let handle = tasks.enqueue(double::with(21))?;
    /// let ran = tasks.run_pending(&Pending::all().only("double"))?;
    /// assert_eq!((ran.succeeded, handle.value()?), (1, 42));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `unknown_kind` for a name in `pending` that the program does not know; `closed`, `forked_process`;
    /// `reentrant` while this thread is inside a transaction with tasks in it; `not_stored` and
    /// `unknown_outcome` from the engine: an end that could not be stored is kept for the next call or
    /// for [`shutdown`](Client::shutdown). What a task fails with is no error here, but is counted.
    pub fn run_pending(&self, pending: &Pending) -> Result<Ran, Error> {
        self.check_open()?;
        for kind in pending.only.iter().chain(&pending.except) {
            self.hub.catalog.get(kind)?;
        }
        self.hub.pending.get().map_or(Ok(Ran::default()), |runner| runner.run_pending(pending))
    }

    /// Shuts down, whoever runs tasks here: the pool, callers in mode `inline`, `run_pending`.
    ///
    /// From now on nothing is claimed and no body begins. What runs has `grace`, at most a year, to end,
    /// receivers of events included; then it is asked to stop, and has 1 s for that; then its lease is
    /// taken. What was held and had not begun is handed back with its attempt, as is what stopped.
    ///
    /// Calls that would store something answer `closed`, but for those of the bodies that are
    /// let end: what they enqueue is stored, and waits for the next program.
    ///
    /// A call that comes while another shuts down waits for it; that one and each later call have the same answer. Where
    /// its own grace would be over sooner, it cuts the other's short: a second Ctrl-C hands back what runs with
    /// `shutdown(Duration::ZERO)`. `examples/worker.rs` shows it.
    ///
    /// # Errors
    /// `reentrant` inside a body of this client, a receiver of its events and a write transaction, which it
    /// would wait for; `not_stored`, `unknown_outcome` and the like when the last ends could not be written: the
    /// client is closed all the same, and a further call tries to write them again.
    pub fn shutdown(&self, grace: Duration) -> Result<Stopped, Error> {
        self.hub.check_may_close()?;
        self.hub.close(grace)
    }

    /// Who runs what is enqueued.
    pub fn mode(&self) -> Mode {
        self.hub.mode
    }

    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) fn now(&self) -> Timestamp {
        self.hub.clock.now()
    }

    #[cfg(feature = "web")]
    pub(crate) fn is_over(&self) -> bool {
        self.hub.is_over()
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.hub.path.as_deref()
    }

    /// What it can do: its engine, its mode, and what litework was built with.
    pub fn capabilities(&self) -> Capabilities {
        self.hub.catalog.capabilities()
    }

    /// The registered kinds, by name.
    pub fn kinds(&self) -> Vec<KindInfo> {
        self.hub.catalog.infos()
    }
}

/// The engine names no position in a batch of one.
pub(crate) fn item_of(single: bool, error: Error) -> Error {
    match error {
        Error::KeyConflict { .. } | Error::NotUnique { .. } | Error::Overloaded { .. }
            if single =>
        {
            error.at(0)
        }
        error => error,
    }
}

#[cfg(feature = "tokio")]
impl Client {
    /// [`Client::enqueue`] on a thread where blocking is allowed. Needs a tokio runtime.
    ///
    /// Waiting without blocking is `.await` on the handle. Reads (`get`, `find`, `list`, `count`,
    /// `attempts`) have no twin: they are short, microseconds to a few milliseconds on a local disk.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let tasks = Client::in_memory().register(double).workers(1).open()?;
    /// let handle = tasks.enqueue_async(double::with(21)).await?;
    /// assert_eq!(handle.await?, 42);
    /// # Ok::<(), litework::Failure>(())
    /// # })?;
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::enqueue`].
    pub async fn enqueue_async<C: IntoCall>(&self, call: C) -> Result<Handle<C::Task>, Error> {
        let (client, call) = (self.clone(), call.into_call());
        off_runtime(move || client.enqueue(call)).await
    }

    /// [`Client::enqueue_many`] on a thread where blocking is allowed. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Client::enqueue_many`].
    pub async fn enqueue_many_async<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Handle<C::Task>>, Error> {
        let calls = calls.into_iter().take(BATCH_MAX + 1).map(IntoCall::into_call);
        let (client, calls) = (self.clone(), calls.collect::<Vec<_>>());
        off_runtime(move || client.enqueue_many(calls)).await
    }

    /// [`Client::shutdown`] on a thread where blocking is allowed. Needs a tokio runtime. A future
    /// that is dropped does not take the shutdown back.
    ///
    /// # Errors
    /// Those of [`Client::shutdown`].
    pub async fn shutdown_async(&self, grace: Duration) -> Result<Stopped, Error> {
        self.hub.check_may_close()?;
        let hub = Arc::clone(&self.hub);
        off_runtime(move || hub.close(grace)).await
    }
}
