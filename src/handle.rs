//! Watch: one stored task whose return type is known: wait for it, await it, read its value.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::backend::Cancelled;
use crate::error::Error;
use crate::hub::{Hub, Mode, is_inside};
use crate::id::TaskId;
use crate::json;
use crate::record::{Stored, TaskRecord};
use crate::state::State;
use crate::task::Signature;
use crate::time::Timestamp;
use crate::watch::Heard;

/// A waiter reads its task at most this often while other processes commit without pause.
const FOREIGN_READ_EVERY: Duration = Duration::from_millis(5);

/// One stored task whose return type is known. It outlives the client, and then answers `closed`.
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

    fn hub(&self) -> Result<Arc<Hub>, Error> {
        self.hub.upgrade().filter(|hub| hub.check_open().is_ok()).ok_or(Error::Closed)
    }

    /// The task as it is now.
    pub fn refresh(&self) -> Result<TaskRecord, Error> {
        self.hub()?.backend.get(self.id)?.ok_or_else(|| Error::not_found(self.id))
    }

    /// Whether the task has ended.
    pub fn ready(&self) -> Result<bool, Error> {
        self.refresh().map(|task| task.state.is_final())
    }

    /// Cancels the task if it has not started, or asks it to stop.
    pub fn cancel(&self) -> Result<Cancelled, Error> {
        let hub = self.hub()?;
        hub.backend.cancel(hub.clock.now(), self.id)
    }

    /// The record if the task has ended, else a receiver for its next change.
    fn look(&self) -> Result<Look, Error> {
        let hub = self.hub()?;
        hub.backend.watch()?;
        let change = hub.backend.signal().subscribe(self.id.row());
        let task = hub.backend.get(self.id)?.ok_or_else(|| Error::not_found(self.id))?;
        if task.state.is_final() {
            drop(change);
            hub.backend.signal().unsubscribe(self.id.row());
            return Ok(Look::Ended(Box::new(task)));
        }
        if hub.nobody_runs(&task)? {
            return Err(Error::NobodyRuns { due_at: task.due_at });
        }
        Ok(Look::Change(change))
    }

    fn give_up(&self, change: oneshot::Receiver<Heard>, after: Duration) -> Error {
        drop(change);
        if let Ok(hub) = self.hub() {
            hub.backend.signal().unsubscribe(self.id.row());
        }
        Error::Timeout { after }
    }

    /// Blocks until the task has ended, at most `timeout`.
    fn wait_ended(&self, timeout: Duration) -> Result<TaskRecord, Error> {
        if is_inside(self.id) {
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
            let left = until.saturating_duration_since(looked);
            match change.recv_timeout(left) {
                Err(oneshot::RecvTimeoutError::Timeout) => {
                    return Err(self.give_up(change, timeout));
                }
                Ok(Heard::Something) => self.let_pass(looked),
                // A sender that has gone means a closed client, which the next look says.
                Ok(Heard::Row) | Err(oneshot::RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// While other processes commit without pause, waits a little before the next look, but not
    /// past a change of the row itself.
    fn let_pass(&self, looked: Instant) {
        let left = FOREIGN_READ_EVERY.saturating_sub(looked.elapsed());
        if let (false, Ok(hub)) = (left.is_zero(), self.hub()) {
            let change = hub.backend.signal().subscribe(self.id.row());
            drop(hub);
            let _any = change.recv_timeout(left);
        }
    }
}

enum Look {
    Ended(Box<TaskRecord>),
    Change(oneshot::Receiver<Heard>),
}

impl<T: Signature> Handle<T> {
    /// Waits until the task has ended, at most `timeout`, and gives its return value. It does not
    /// poll: the commit that ends the task wakes it.
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
    /// # Errors
    /// `timeout`; `nobody_runs` at once when no live process runs the kind; `failed`, `cancelled`,
    /// `skipped` when the task ended without a value; `closed`.
    pub fn wait(&self, timeout: Duration) -> Result<T::Output, Error> {
        self.wait_ended(timeout)?.value()
    }

    /// The return value, if the task has ended with one.
    ///
    /// # Errors
    /// `not_finished` while it has not; `failed`, `cancelled`, `skipped` when it ended without a value;
    /// `not_found` when it was pruned; `closed`.
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
