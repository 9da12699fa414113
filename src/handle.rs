//! Watch: one stored task whose return type is known: wait for it, await it, read its value.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::audit::{self, Entry};
use crate::backend::{Cancelled, Over};
use crate::error::Error;
use crate::hub::Hub;
use crate::id::TaskId;
use crate::inside;
use crate::json;
use crate::mode::Mode;
use crate::record::{Stored, TaskRecord};
use crate::state::State;
use crate::task::Signature;
use crate::time::Timestamp;
use crate::watch::{Heard, Pause, Subscription};

/// A waiter reads its task at most this often while other processes commit without pause.
const FOREIGN_READ_EVERY: Duration = Duration::from_millis(5);

/// One stored task whose return type is known.
///
/// It may outlive the client: what has ended can still be read after a shutdown. Once the last client
/// has been dropped, it answers `closed`.
pub struct Handle<T> {
    hub: Weak<Hub>,
    id: TaskId,
    needs_runner: bool,
    existing: bool,
    due_at: Timestamp,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { hub: Weak::clone(&self.hub), kind: PhantomData, ..*self }
    }
}

impl<T> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Hub {
    /// Cancels a task, and tells of all that has ended by that.
    pub(crate) fn cancel(&self, id: TaskId, by: Option<&Arc<Entry>>) -> Result<Cancelled, Error> {
        let now = self.clock.now();
        let (answer, over) = audit::during(by, || self.backend.cancel(now, id))?;
        self.tell(&over);
        Ok(answer)
    }

    /// Tells of what has ended by what people did; in mode `inline`, runs what follows it.
    pub(crate) fn tell(&self, over: &Over) {
        self.hooks.ended_by_deed(&*self.backend, over);
        if self.mode == Mode::Inline {
            over.gone.iter().for_each(|task| self.run_followers(task.id));
            // What is not there any more was told by what is gone.
            let ended = over.rows.iter().filter_map(|row| self.backend.by_row(*row).ok().flatten());
            ended.for_each(|task| self.run_followers(task.id));
        }
    }

    /// In mode `inline`, runs what follows a task that has ended. Does nothing for plain tasks.
    pub(crate) fn run_followers(&self, id: TaskId) {
        if let Some(runner) = self.runner.get() {
            runner.run_followers(id);
        }
    }
}

impl<T> Handle<T> {
    /// A handle on what a call has just stored.
    pub(crate) fn of_stored(hub: &Arc<Hub>, stored: &Stored, in_transaction: bool) -> Self {
        let waits = match stored.state {
            State::Scheduled | State::Waiting => true,
            State::Ready => !(in_transaction && hub.mode == Mode::Inline),
            _ => false,
        };
        let needs_runner = waits && matches!(hub.mode, Mode::Inline | Mode::Hold);
        Self {
            hub: Arc::downgrade(hub),
            id: stored.id,
            needs_runner,
            existing: stored.existing,
            due_at: stored.due_at,
            kind: PhantomData,
        }
    }

    /// A handle on a task that was found again.
    pub(crate) fn of_record(hub: &Arc<Hub>, task: &TaskRecord) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            id: task.id,
            needs_runner: false,
            existing: true,
            due_at: task.due_at,
            kind: PhantomData,
        }
    }

    /// The outside name of the task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the reply to the call said that the task waits for a runner and this client has
    /// none: it is delayed, snoozed, or held, in the modes `inline` and `hold`. In the mode `pool` this
    /// client runs it, and in the mode `enqueue` another process does, so there it is always false, also
    /// where no such process lives: [`Client::unserved`](crate::Client::unserved) tells.
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

    pub(crate) fn hub(&self) -> Result<Arc<Hub>, Error> {
        // A thread of ours may hold it for a moment longer than the program.
        self.hub.upgrade().filter(|hub| !hub.is_let_go()).ok_or(Error::Closed)
    }

    /// The task as it is now; also while the client shuts down, and afterwards.
    ///
    /// # Errors
    /// `not_found` when it was pruned; `storage`; `closed` when the last client has been dropped.
    pub fn refresh(&self) -> Result<TaskRecord, Error> {
        self.hub()?.backend.get(self.id)?.ok_or_else(|| Error::not_found(self.id))
    }

    /// Whether the task has ended, in whichever way.
    ///
    /// # Errors
    /// Those of [`Handle::refresh`].
    pub fn has_ended(&self) -> Result<bool, Error> {
        self.refresh().map(|task| task.state.is_final())
    }

    /// Cancels the task if it has not started, or asks it to stop; see
    /// [`Client::cancel`](crate::Client::cancel).
    ///
    /// # Errors
    /// `not_found`, `not_stored`, `unknown_outcome`; `closed` once the client was shut down.
    pub fn cancel(&self) -> Result<Cancelled, Error> {
        let hub = self.hub()?;
        hub.check_open()?;
        hub.cancel(self.id, None)
    }

    fn subscribe(&self) -> Result<Subscription, Error> {
        Ok(self.hub()?.backend.signal().subscribe(self.id.row()))
    }

    /// The record if the task has ended, else what tells of its next change.
    fn look(&self) -> Result<Look, Error> {
        let hub = self.hub()?;
        hub.backend.watch()?;
        let change = self.subscribe()?;
        // Before the task is read: what ended before the client did is never missed.
        let over = hub.is_over();
        let task = hub.backend.get(self.id)?.ok_or_else(|| Error::not_found(self.id))?;
        if task.state.is_final() {
            return Ok(Look::Ended(Box::new(task)));
        }
        if over {
            return Err(Error::Closed);
        }
        if hub.nobody_runs(&task)? {
            return Err(Error::NobodyRuns { due_at: task.due_at });
        }
        Ok(Look::Change(change))
    }

    /// Blocks until the task has ended, at most `timeout`.
    fn wait_ended(&self, timeout: Duration) -> Result<TaskRecord, Error> {
        if inside::is_body(self.id) {
            return Err(Error::Reentrant {
                what: "a task that waits for its own end would wait for ever",
                instead: "return, and let a task that it enqueues do the rest",
            });
        }
        let until = Instant::now() + timeout.min(Duration::from_secs(10 * 365 * 24 * 60 * 60));
        loop {
            let change = match self.look()? {
                Look::Ended(task) => return Ok(*task),
                Look::Change(change) => change,
            };
            let looked = Instant::now();
            if looked < until {
                check_may_wait()?;
            }
            match change.wait(until.saturating_duration_since(looked)) {
                None => return Err(Error::Timeout { id: self.id, after: timeout }),
                Some(Heard::Something) => {
                    self.let_pass((looked + FOREIGN_READ_EVERY).min(until))?;
                }
                Some(Heard::Row) => {}
            }
        }
    }

    /// While other processes commit without pause, waits until this moment before the next look, but
    /// not past a change of the row itself.
    fn let_pass(&self, moment: Instant) -> Result<(), Error> {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() || self.subscribe()?.wait(left) != Some(Heard::Something) {
                return Ok(());
            }
        }
    }

    /// The same without blocking.
    async fn let_pass_async(&self, moment: Instant) -> Result<(), Error> {
        let mut pause = Pause::until(moment);
        while Instant::now() < moment
            && self.subscribe()?.heard(Some(&mut pause)).await == Some(Heard::Something)
        {}
        Ok(())
    }
}

/// A receiver of events is called between two commits of whoever runs tasks, so it would hold up what
/// it waits for.
fn check_may_wait() -> Result<(), Error> {
    if inside::receivers() == 0 {
        return Ok(());
    }
    Err(Error::Reentrant {
        what: "a receiver of events that waits for a task holds up the thread that runs tasks",
        instead: "enqueue a task that does the rest, or wait in a thread of your own",
    })
}

enum Look {
    Ended(Box<TaskRecord>),
    Change(Subscription),
}

impl<T: Signature> Handle<T> {
    /// Waits until the task has ended, at most `timeout`, and gives its return value. It does not
    /// poll: the commit that ends the task wakes it. With `Duration::ZERO` it looks once.
    ///
    /// ```
    /// # use litework::{Client, Error, task};
    /// # use std::time::Duration;
    /// # #[task]
    /// # fn add(a: i64, b: i64) -> i64 { a + b }
    /// # let tasks = Client::in_memory().register(add).workers(1).open()?;
    /// let sum = tasks.enqueue(add::with(2, 3))?;
    /// match sum.wait(Duration::from_secs(5)) {
    ///     Ok(sum) => assert_eq!(sum, 5),
    ///     Err(Error::Timeout { .. }) => println!("not yet; it goes on"),
    ///     Err(error) => return Err(error), // it failed, say, or was cancelled
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// It blocks the thread, so in an `async fn` use `.await` instead. It is not refused there: tokio
    /// cannot tell a runtime's own thread from one where blocking is allowed, such as that of
    /// `spawn_blocking`.
    ///
    /// # Errors
    /// `timeout`, which ends only the wait; `failed`, `cancelled`, `skipped` when the task ended without a value;
    /// `bad_json` when the value does not fit the return type; `reentrant` in the body of the task
    /// itself, and in a receiver of events where the task has not ended; `not_found`, `storage`; `closed` once the client was shut down and the task has not
    /// ended by then.
    ///
    /// `nobody_runs` at once in the modes `inline` and `hold`, when the task is not running and no
    /// live process serves its kind: nothing would come of waiting. In the modes `pool` and `enqueue`
    /// it waits, as a process that serves the kind may start at any moment.
    pub fn wait(&self, timeout: Duration) -> Result<T::Output, Error> {
        self.wait_ended(timeout)?.value()
    }

    /// The return value, if the task has ended with one; also after the client was shut down.
    ///
    /// # Errors
    /// `not_finished`; otherwise as [`Handle::wait`], but for `timeout` and `nobody_runs`.
    pub fn value(&self) -> Result<T::Output, Error> {
        self.refresh()?.value()
    }
}

impl<T: Signature> IntoFuture for Handle<T> {
    type Output = Result<T::Output, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Waits for the end without blocking, on any executor; on tokio, with the feature `tokio`,
    /// reading the file is done on a blocking thread. It has no time-out of its own; the executor's
    /// will do, as dropping the future ends nothing but the wait.
    ///
    /// ```
    /// # use litework::{Client, Error, task};
    /// # #[task]
    /// # fn add(a: i64, b: i64) -> i64 { a + b }
    /// async fn sum(tasks: &Client) -> Result<i64, Error> {
    ///     tasks.enqueue(add::with(2, 3))?.await
    /// }
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # let tasks = Client::in_memory().register(add).open()?;
    /// # let mut future = pin!(sum(&tasks));
    /// # let Poll::Ready(sum) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
    /// #     panic!("inline, it has ended")
    /// # };
    /// # assert_eq!(sum?, 5);
    /// # Ok::<(), Error>(())
    /// ```
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            loop {
                let change = match self.look_async().await? {
                    Look::Ended(task) => return task.value(),
                    Look::Change(change) => change,
                };
                check_may_wait()?;
                let looked = Instant::now();
                if change.heard(None).await == Some(Heard::Something) {
                    self.let_pass_async(looked + FOREIGN_READ_EVERY).await?;
                }
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
    ///
    /// # Errors
    /// `failed`, `cancelled`, `skipped`, `not_finished`; `bad_json` when the value does not fit `V`;
    /// `bad_row`.
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
    ///
    /// # Errors
    /// `bad_json` when they do not fit `A`.
    pub fn decode_arguments<A: DeserializeOwned>(&self) -> Result<A, Error> {
        Ok(json::decode(&self.arguments)?)
    }
}

/// Runs a call on a thread where blocking is allowed.
#[cfg(feature = "tokio")]
pub(crate) async fn off_runtime<R: Send + 'static>(
    call: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Error> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Error::Unknown {
        reason: format!("the blocking thread ended early: {error}"),
        source: Some(error.into()),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::backends::spy::Spy;
    use crate::client::Client;
    use crate::context::Context;
    use crate::outcome::Result as TaskResult;
    use crate::registry::{Definition, Task};
    use crate::watch::Notice;
    use serde::{Deserialize, Serialize};
    use std::pin::pin;
    use std::sync::atomic::Ordering;
    use std::task::{Context as Poll, Wake, Waker};

    #[derive(Serialize, Deserialize)]
    struct Later;

    impl Task for Later {
        const NAME: &'static str = "later";
        type Output = ();

        fn run(self, _: &Context) -> TaskResult<()> {
            Ok(())
        }
    }

    /// A task that another process is to run.
    fn stored() -> (Arc<Spy>, Client, Handle<Later>) {
        let spy = Arc::new(Spy::default());
        let engine = Arc::clone(&spy) as Arc<dyn Backend>;
        let builder = Client::in_memory().engine(engine).environment([] as [(&str, &str); 0]);
        let builder = builder.mode(Mode::Enqueue).register(Definition::of::<Later>());
        let client = builder.open().expect("nothing can fail");
        let handle = client.enqueue(Later.call()).expect("stored");
        (spy, client, handle)
    }

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        loop {
            let polled = future.as_mut().poll(&mut Poll::from_waker(&waker));
            if let std::task::Poll::Ready(output) = polled {
                return output;
            }
            std::thread::park();
        }
    }

    /// Others commit without pause, then cancel the task; how often did the waiter read meanwhile,
    /// and how often may it have?
    fn reads_of(wait: impl FnOnce(Handle<Later>) -> Error + Send) -> (u128, u128) {
        let (spy, client, handle) = stored();
        std::thread::scope(|scope| {
            let waiting = scope.spawn({
                let handle = handle.clone();
                move || wait(handle)
            });
            while spy.signal().waiting() == 0 {
                std::thread::yield_now();
            }
            let began = Instant::now();
            while began.elapsed() < 20 * FOREIGN_READ_EVERY {
                spy.signal().ring(Notice::Foreign);
            }
            client.cancel(handle.id()).expect("it waits");
            assert_eq!(waiting.join().expect("no panic").code(), "cancelled");
            let may = began.elapsed().as_millis() / FOREIGN_READ_EVERY.as_millis() + 3;
            (spy.reads.load(Ordering::SeqCst) as u128, may)
        })
    }

    #[test]
    fn a_waiter_hears_that_its_task_was_cleared() {
        let (spy, client, handle) = stored();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| handle.wait(Duration::from_secs(20)));
            while spy.signal().waiting() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(client.clear().expect("in memory"), 1);
            let told = waiting.join().expect("no panic").map(drop).expect_err("it is gone");
            assert_eq!(told.code(), "not_found");
        });
    }

    #[test]
    fn a_waiter_reads_at_its_own_pace_while_others_commit_without_pause() {
        let (reads, may) =
            reads_of(|handle| handle.wait(Duration::from_secs(20)).expect_err("it was cancelled"));
        assert!((2..=may).contains(&reads), "{reads} reads, {may} allowed");
        let (reads, may) =
            reads_of(|handle| block_on(handle.into_future()).expect_err("it was cancelled"));
        assert!((2..=may).contains(&reads), "{reads} reads of a future, {may} allowed");
    }

    #[test]
    fn a_future_that_is_dropped_waits_no_more() {
        let (spy, _client, handle) = stored();
        let mut context = Poll::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut waiting = Box::pin(handle.clone().into_future());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            assert_eq!(spy.signal().waiting(), 1);
            drop(waiting);
            assert_eq!(spy.signal().waiting(), 0);
        }
        assert_eq!(handle.wait(Duration::ZERO).expect_err("it waits").code(), "timeout");
        assert_eq!(spy.signal().waiting(), 0);
    }
}
