//! Run: what a task body may see and do.

mod completion;
mod leaving;
mod speaking;
mod steps;

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

#[cfg(feature = "sqlite")]
pub(crate) use self::completion::Completing;
pub(crate) use self::completion::{Completion, Hold, Output};
pub use self::leaving::{ArtifactWriter, Leaving};
pub use self::speaking::Reporter;

use crate::client::Client;
use crate::error::Error;
use crate::handle::Handle;
use crate::id::TaskId;
use crate::inside;
use crate::json::JsonLimits;
use crate::outcome::{Failure, Result};
use crate::record::Claimed;
use crate::scribe::Voice;
use crate::slot::Slot;
use crate::task::IntoCall;

/// State that tasks need, one value a type: a connection pool, a mailer.
pub(crate) type States = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// Why a running task is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody cancelled it.
    Cancelled,
    /// It has run longer than its time-out.
    Timeout,
    /// The program is shutting down; the task will be handed back.
    Shutdown,
    /// This process was taken for dead, and another may run the task by now. If one does, nothing that
    /// this attempt still writes to the queue is kept; if none does yet, its answer counts, and a body
    /// that stops here is handed back, its attempt refunded.
    LeaseLost,
}

/// Asks one running attempt to stop.
#[derive(Debug, Default)]
pub(crate) struct Token {
    stop: AtomicU8,
    deadline: Option<Instant>,
}

impl Token {
    pub(crate) fn new(deadline: Option<Instant>) -> Self {
        Self { stop: AtomicU8::new(0), deadline }
    }

    /// The first reason stays.
    pub(crate) fn stop(&self, reason: StopReason) {
        let word = match reason {
            StopReason::Cancelled => 1,
            StopReason::Timeout => 2,
            StopReason::Shutdown => 3,
            StopReason::LeaseLost => 4,
        };
        // A reason that is there already is the one to keep.
        let _first = self.stop.compare_exchange(0, word, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        match self.stop.load(Ordering::SeqCst) {
            1 => Some(StopReason::Cancelled),
            2 => Some(StopReason::Timeout),
            3 => Some(StopReason::Shutdown),
            4 => Some(StopReason::LeaseLost),
            _ => {
                let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
                late.then_some(StopReason::Timeout)
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// What an attempt has stored so far.
#[derive(Debug, Default)]
struct Kept {
    /// Steps that are under way or done.
    steps: BTreeSet<String>,
    completion: Completion,
}

/// What a task body is given.
///
/// A body that runs for long should look at [`Context::check`] now and then: threads cannot be
/// stopped from outside.
///
/// ```
/// # use litework::{Client, Context, Result, task};
/// #[task]
/// fn sum(numbers: Vec<u64>) -> u64 {
///     numbers.iter().sum()
/// }
///
/// /// Hands on its work in parts.
/// #[task(attempts = 3)]
/// fn split(ctx: &Context, numbers: Vec<u64>) -> Result<usize> {
///     let mut parts = 0;
///     for part in numbers.chunks(2) {
///         ctx.check()?; // ends here if somebody cancelled it, or its time is up
///         // With a key, an attempt that is repeated stores no part twice.
///         let key = ctx.id().map(|id| format!("{id}/{parts}")).unwrap_or_default();
///         ctx.enqueue(sum::with(part.to_vec()).key(key))?;
///         parts += 1;
///     }
///     assert_eq!((ctx.kind(), ctx.attempt(), ctx.is_last_attempt()), ("split", 1, false));
///     Ok(parts)
/// }
///
/// let tasks = Client::in_memory().register(sum).register(split).open()?;
/// let handle = tasks.enqueue(split::with(vec![1, 2, 3, 4, 5]))?;
/// assert_eq!(handle.value()?, 3);
/// let key = format!("{}/2", handle.id());
/// assert_eq!(tasks.find(&key)?.map(|part| part.value::<u64>()).transpose()?, Some(5));
/// # Ok::<(), litework::Failure>(())
/// ```
pub struct Context {
    client: Option<Client>,
    id: Option<TaskId>,
    kind: Arc<str>,
    trace: Option<Arc<str>>,
    slot: Option<Slot>,
    attempt: u32,
    attempts_max: u32,
    priority: i8,
    fence: Option<u64>,
    owner: Option<String>,
    token: Arc<Token>,
    states: Arc<States>,
    hold: Option<Hold>,
    kept: Mutex<Kept>,
    /// How many steps it has, where its arguments tell.
    steps: Option<u64>,
    /// None while it has said nothing.
    voice: OnceLock<Arc<Voice>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(
        client: Client,
        task: &Claimed,
        token: Arc<Token>,
        states: Arc<States>,
        hold: Hold,
    ) -> Self {
        Self {
            client: Some(client),
            id: Some(task.id),
            kind: Arc::clone(&task.kind),
            trace: task.trace.clone(),
            slot: task.extra.as_ref().and_then(|extra| extra.ties.slot.clone()),
            attempt: task.lease.attempt,
            attempts_max: task.attempts_max,
            priority: task.priority,
            fence: task.fence(),
            owner: task.extra.as_ref().and_then(|extra| extra.owner.clone()),
            token,
            states,
            hold: Some(hold),
            kept: Mutex::default(),
            steps: task.extra.as_ref().and_then(|extra| extra.ties.steps),
            voice: OnceLock::new(),
        }
    }

    /// A context whose task is not stored: it has a client, and no id and no lease.
    #[cfg(feature = "testing")]
    pub(crate) fn unstored(self) -> Self {
        Self { id: None, hold: None, ..self }
    }

    /// A context without a queue behind it, to call a body in a unit test.
    ///
    /// ```
    /// # use litework::{Context, Result, task};
    /// #[task]
    /// fn greet(ctx: &Context, name: &str) -> String {
    ///     format!("{name}, attempt {}", ctx.attempt())
    /// }
    /// assert_eq!(greet(&Context::detached(), "Ada"), "Ada, attempt 1");
    /// ```
    pub fn detached() -> Self {
        Self {
            client: None,
            id: None,
            kind: "detached".into(),
            trace: None,
            slot: None,
            attempt: 1,
            attempts_max: 1,
            priority: 0,
            fence: None,
            owner: None,
            token: Arc::default(),
            states: Arc::default(),
            hold: None,
            kept: Mutex::default(),
            steps: None,
            voice: OnceLock::new(),
        }
    }

    /// Adds state to a detached context.
    ///
    /// ```
    /// # use litework::Context;
    /// let ctx = Context::detached().with_state(7_u32);
    /// assert_eq!(*ctx.state::<u32>()?, 7);
    /// assert_eq!(ctx.state::<u64>().unwrap_err().report().code.as_deref(), Some("no_state"));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    #[must_use]
    pub fn with_state<T: Any + Send + Sync>(mut self, state: T) -> Self {
        Arc::make_mut(&mut self.states).insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// The id of the task, the same on every attempt; none in a detached context.
    pub fn id(&self) -> Option<TaskId> {
        self.id
    }

    /// The name of the task.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The trace that the task belongs to, a W3C `traceparent`; see [`Call::trace`](crate::Call::trace).
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Its priority, −100 to 100.
    pub fn priority(&self) -> i8 {
        self.priority
    }

    /// The fencing number of the lock that it holds with [`exclusive`](crate::Options::exclusive): greater
    /// than that of whoever held a lock of this file before. Whoever writes somewhere else under the lock
    /// sends it along, so that the other side can refuse the smaller one of two. None without a lock.
    ///
    /// ```
    /// # use litework::{Client, Context, Exclusive, Result, task};
    /// #[task]
    /// fn import(ctx: &Context) -> Option<u64> {
    ///     ctx.fence()
    /// }
    ///
    /// let tasks = Client::in_memory().register(import).open()?;
    /// let locked = || import::with().exclusive(Exclusive::lock("import"));
    /// let (first, second) = (tasks.enqueue(locked())?.value()?, tasks.enqueue(locked())?.value()?);
    /// assert!(first < second);
    /// assert_eq!(tasks.enqueue(import::with())?.value()?, None);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn fence(&self) -> Option<u64> {
        self.fence
    }

    /// The slot of a schedule that the task was made for, how late it came, and whether it makes up for one
    /// that was missed.
    ///
    /// ```
    /// # use litework::{Client, Context, Schedule, SlotKind, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn report(ctx: &Context) -> Option<SlotKind> {
    ///     ctx.slot().map(|slot| slot.kind)
    /// }
    ///
    /// let daily = Schedule::every("report", Duration::from_secs(86_400), report::with());
    /// let tasks = Client::in_memory().register(report).schedule(daily).open()?;
    /// let task = tasks.schedules().run_now("report")?;
    /// assert_eq!(task.result.as_deref(), Some(r#""manual""#));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// Whether no further attempt follows if this one fails.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.attempts_max
    }

    /// State given to the builder.
    ///
    /// # Errors
    /// A failure that gives up: without its state no attempt can succeed.
    pub fn state<T: Any + Send + Sync>(&self) -> Result<&T> {
        self.states.get(&TypeId::of::<T>()).and_then(|state| state.downcast_ref()).ok_or_else(
            || {
                let text = format!(
                    "no state of type {}; give it to `builder.state(..)`",
                    type_name::<T>()
                );
                Failure::give_up(text).code("no_state")
            },
        )
    }

    /// Whose task it is, see [`Call::owner`](crate::Call::owner).
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Why the task is asked to stop, if it is.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.token.reason()
    }

    /// Whether the task is asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop_reason().is_some()
    }

    /// Ends the body with `?` when the task is asked to stop.
    ///
    /// # Errors
    /// A [`Failure::cancelled`]. What becomes of the task depends on who asked: it is cancelled, tried
    /// again after a time-out while attempts are left, or handed back at a shutdown.
    pub fn check(&self) -> Result<()> {
        if self.is_stopping() { Err(Failure::cancelled()) } else { Ok(()) }
    }

    /// The client that runs this task; none in a detached context.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Enqueues another task, by itself: it is stored though this attempt may fail later. It belongs to
    /// the trace of this task, unless the call names another.
    ///
    /// # Errors
    /// Those of [`Client::enqueue`]; `closed` in a detached context.
    pub fn enqueue<C: IntoCall>(&self, call: C) -> Result<Handle<C::Task>, Error> {
        let mut call = call.into_call();
        // In another thread than the body's, nothing but this context knows of the trace.
        if call.with.trace.is_none() && self.id.is_some_and(|id| !inside::is_body(id)) {
            call.with.trace = self.trace.as_deref().map(str::to_owned);
        }
        self.client.as_ref().ok_or(Error::Closed)?.enqueue(call)
    }

    /// A place in the body that a test may make it panic at, with
    /// `testing::panic_at`: to see that what comes before it is not done twice.
    /// Does nothing otherwise, and costs nothing without the feature `testing`.
    ///
    /// ```
    /// # use litework::{Context, task};
    /// #[task]
    /// fn pay(ctx: &Context, cents: u64) -> u64 {
    ///     // … the card is charged …
    ///     ctx.fault_point("charged");
    ///     cents
    /// }
    /// assert_eq!(pay(&Context::detached(), 995), 995);
    /// ```
    #[inline]
    #[track_caller]
    pub fn fault_point(&self, name: &str) {
        if let Some(client) = &self.client {
            client.hub.backend.mishaps().pass(name);
        }
    }

    fn limits(&self) -> JsonLimits {
        self.client.as_ref().map_or_else(JsonLimits::default, |client| client.hub.limits)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempt may go on storing: its finishing transaction has not begun.
    fn check_goes_on(&self, kept: &Kept) -> Result<(), Error> {
        if !matches!(kept.completion, Completion::None) {
            return Err(Error::Reentrant {
                what: "the finishing transaction of this attempt has begun",
                instead: "do it before, or inside with what the transaction offers, and return the value",
            });
        }
        self.client.as_ref().map_or(Ok(()), |client| client.hub.check_open_to(true))
    }

    /// Runs a future to its end: on the tokio runtime the client was opened in, or on one of its own.
    /// Inside a runtime's own thread, which must not block, another thread runs it.
    ///
    /// ```
    /// # use litework::{Client, Context, task};
    /// #[task]
    /// fn greet(ctx: &Context, name: &str) -> String {
    ///     ctx.block_on(async { format!("Hello, {name}") })
    /// }
    /// assert_eq!(greet(&Context::detached(), "Ada"), "Hello, Ada");
    /// ```
    #[cfg(feature = "tokio")]
    pub fn block_on<F: Future + Send>(&self, future: F) -> F::Output
    where
        F::Output: Send,
    {
        static OWN: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
        let opened_in = self.states.get(&TypeId::of::<tokio::runtime::Handle>());
        let opened_in = opened_in.and_then(|state| state.downcast_ref::<tokio::runtime::Handle>());
        let own = || {
            OWN.get_or_init(|| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_all().build().expect("a runtime without threads needs nothing")
            })
        };
        let run = || match opened_in {
            Some(runtime) => runtime.block_on(future),
            None => own().block_on(future),
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return run();
        }
        match std::thread::scope(|scope| scope.spawn(run).join()) {
            Ok(output) => output,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
