//! Watch: whoever wants to hear of tasks is given snapshots of them as they change.
//!
//! One thread of a client, started by the first who watches, sleeps until something is committed, here or by
//! another process, or a body says something. Then it reads what is watched, at most ten times a second, and
//! hands on what differs from what was handed on last: whole snapshots, so that one which is passed over is
//! made up for by the next. Nobody is told of what stays the same, and nothing is read while nothing happens.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::backend::Backend;
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::progress::Progress;
use crate::scribe::Scribe;
use crate::snapshot::Snapshot;
use crate::task::check_owner;
use crate::time::{Clock, Timestamp};
use crate::watch::{Listener, Notice};

/// Tasks that are watched by their ids, at most.
pub const WATCH_IDS_MAX: usize = 1_000;
/// Of an owner, of a batch or of all, so many of the newest are looked at.
const NEWEST: usize = 100;
/// It is read at most this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Snapshots that wait for a slow receiver, at most; newer ones are handed on when it has caught up.
const WAITING_MAX: usize = 1_024;

/// Which tasks to hear of.
///
/// ```
/// # use litework::{Client, Context, State, Watch, task};
/// #[task]
/// fn count(ctx: &Context, to: u64) -> u64 {
///     ctx.progress().total(to).advance(to);
///     to
/// }
///
/// let tasks = Client::in_memory().register(count).workers(1).open()?;
/// let watcher = tasks.watch(Watch::owner("ada"))?;
/// tasks.enqueue(count::with(3).owner("ada"))?;
/// let last = watcher.iter().find(|snapshot| snapshot.task.state == State::Succeeded);
/// assert_eq!(last.and_then(|snapshot| snapshot.progress?.percent()), Some(100));
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Tasks(Vec<TaskId>),
    /// The newest that pass the filter, and those of them that have not ended.
    Newest(Box<Filter>),
}

impl Watch {
    /// One task, until it has ended.
    pub fn task(id: TaskId) -> Self {
        Self::tasks([id])
    }

    /// These tasks, at most [`WATCH_IDS_MAX`] (1,000), until all have ended.
    pub fn tasks(ids: impl IntoIterator<Item = TaskId>) -> Self {
        Self { what: What::Tasks(ids.into_iter().collect()) }
    }

    /// The tasks of an owner: the newest 100, those that come, and each of them until it has ended.
    pub fn owner(owner: impl Into<String>) -> Self {
        Self { what: What::Newest(Box::new(Filter::new().owner(owner))) }
    }

    /// The members of a batch, as [`Watch::owner`]; the batch itself is a [`Watch::task`].
    pub fn batch(id: TaskId) -> Self {
        Self { what: What::Newest(Box::new(Filter::new().batch(id))) }
    }

    /// All tasks, as [`Watch::owner`]. Where more than 100 come between two looks, a tenth of a second apart, the
    /// newest of them are told of.
    pub fn all() -> Self {
        Self { what: What::Newest(Box::default()) }
    }

    fn check(&self) -> Result<(), Error> {
        match &self.what {
            What::Tasks(ids) if ids.len() > WATCH_IDS_MAX => {
                let allowed = "at most 1000; watch an owner or a batch instead";
                Err(Error::invalid("too_many_ids", "tasks to watch", ids.len(), allowed))
            }
            What::Tasks(_) => Ok(()),
            What::Newest(filter) => filter.owner.as_deref().map_or(Ok(()), |owner| {
                check_owner(owner)?;
                Ok(())
            }),
        }
    }
}

impl From<TaskId> for Watch {
    fn from(id: TaskId) -> Self {
        Self::task(id)
    }
}

/// Receives snapshots; [`Client::watch`](crate::Client::watch) gives it. Dropped, it hears no more.
#[derive(Debug)]
pub struct Watcher {
    receiver: Receiver<Snapshot>,
    wakers: Arc<Mutex<Vec<Waker>>>,
    _place: Place,
}

impl Watcher {
    /// The next snapshot; waits for it. None when there will be none: what was watched by its id has ended, or the
    /// client was closed.
    pub fn recv(&self) -> Option<Snapshot> {
        self.receiver.recv().ok()
    }

    /// The same, and none when `span` has passed before.
    pub fn recv_timeout(&self, span: Duration) -> Option<Snapshot> {
        self.receiver.recv_timeout(span).ok()
    }

    /// A snapshot that is there already.
    pub fn try_recv(&self) -> Option<Snapshot> {
        self.receiver.try_recv().ok()
    }

    /// Snapshots, until there will be no more.
    pub fn iter(&self) -> impl Iterator<Item = Snapshot> + '_ {
        self.receiver.iter()
    }

    /// The channel itself, to be selected from with others of crossbeam.
    pub fn receiver(&self) -> &Receiver<Snapshot> {
        &self.receiver
    }

    /// The next snapshot without blocking a thread, on any executor.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// # #[task]
    /// # fn double(n: u32) -> u32 { 2 * n }
    /// # #[cfg(feature = "tokio")]
    /// # fn main() -> Result<(), litework::Error> {
    /// let tasks = Client::in_memory().register(double).open()?;
    /// let id = tasks.enqueue(double::with(21))?.id();
    /// let watcher = tasks.watch(id)?;
    /// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let snapshot = runtime.block_on(watcher.next());
    /// assert_eq!(snapshot.and_then(|snapshot| snapshot.task.result).as_deref(), Some("42"));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    pub async fn next(&self) -> Option<Snapshot> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The same for those who write futures and streams by hand.
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Option<Snapshot>> {
        let look = || match self.receiver.try_recv() {
            Ok(snapshot) => Poll::Ready(Some(snapshot)),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => Poll::Pending,
        };
        if let Poll::Ready(ready) = look() {
            return Poll::Ready(ready);
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.retain(|waker| !waker.will_wake(context.waker()));
        wakers.push(context.waker().clone());
        drop(wakers);
        // One that came in between has woken nobody.
        look()
    }
}

#[cfg(feature = "stream")]
impl futures_core::Stream for Watcher {
    type Item = Snapshot;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Snapshot>> {
        self.poll_recv(context)
    }
}

/// A receiver that is called with snapshots; [`Client::on_change`](crate::Client::on_change) gives it. Dropped, it is
/// called no more.
#[derive(Debug)]
#[must_use = "dropped, it hears no more"]
pub struct Watching {
    _place: Place,
}

/// A place among those who watch.
#[derive(Debug)]
struct Place {
    desk: Weak<Desk>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.upgrade() {
            desk.leave(self.number);
        }
    }
}

/// Called on the thread that watches.
pub(crate) type OnChange = Box<dyn FnMut(&Snapshot) + Send>;

enum Sink {
    Channel { sender: Sender<Snapshot>, wakers: Arc<Mutex<Vec<Waker>>> },
    Callback(OnChange),
}

impl Sink {
    fn has_room(&self) -> bool {
        match self {
            Self::Channel { sender, .. } => sender.len() < WAITING_MAX,
            Self::Callback(_) => true,
        }
    }

    fn send(&mut self, snapshot: Snapshot) {
        match self {
            Self::Channel { sender, wakers } => {
                // Whoever has gone leaves the desk too.
                let _gone = sender.send(snapshot);
                wake(wakers);
            }
            Self::Callback(call) => {
                if catch_unwind(AssertUnwindSafe(|| call(&snapshot))).is_err() {
                    tracing::error!(id = %snapshot.task.id, "who watches a task has panicked");
                }
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Self::Channel { sender, wakers } = self {
            // They see that the other end has gone, so it goes first.
            *sender = crossbeam_channel::bounded(0).0;
            wake(wakers);
        }
    }
}

fn wake(wakers: &Mutex<Vec<Waker>>) {
    let wakers = std::mem::take(&mut *wakers.lock().unwrap_or_else(PoisonError::into_inner));
    wakers.into_iter().for_each(Waker::wake);
}

/// One who watches.
struct Party {
    number: u64,
    what: What,
    sink: Sink,
    /// What was handed on last, by row.
    told: BTreeMap<i64, Told>,
}

#[derive(Clone, Copy)]
struct Told {
    id: TaskId,
    revision: u64,
    finished_at: Option<Timestamp>,
}

impl Party {
    /// Those that may have changed, by row.
    fn ids(&mut self, backend: &dyn Backend) -> Result<BTreeMap<i64, TaskId>, Error> {
        let told = &mut self.told;
        let mut ids = match &self.what {
            What::Tasks(ids) => {
                let has_ended = |id: &&TaskId| {
                    told.get(&id.row()).is_some_and(|told| told.finished_at.is_some())
                };
                let open = ids.iter().filter(|id| !has_ended(id));
                return Ok(open.map(|id| (id.row(), *id)).collect());
            }
            What::Newest(filter) => backend.list(filter, None, NEWEST)?.tasks,
        };
        // Of those that have ended, the ones that stand on the page no more are forgotten.
        let page: BTreeSet<i64> = ids.iter().map(|task| task.id.row()).collect();
        told.retain(|row, told| told.finished_at.is_none() || page.contains(row));
        ids.retain(|task| {
            let known = told.get(&task.id.row()).and_then(|told| told.finished_at);
            task.finished_at.is_none() || known != task.finished_at
        });
        let open = told.iter().filter(|(_, told)| told.finished_at.is_none());
        let open = open.map(|(row, told)| (*row, told.id));
        Ok(ids.iter().map(|task| (task.id.row(), task.id)).chain(open).collect())
    }
}

/// Those who watch the tasks of a client, and the thread that reads for them.
pub(crate) struct Desk {
    backend: Weak<dyn Backend>,
    clock: Arc<dyn Clock>,
    scribe: Arc<Scribe>,
    state: Mutex<State>,
    rung: Condvar,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// Those whom the thread has not fetched yet.
    coming: Vec<Party>,
    leaving: Vec<u64>,
    numbers: u64,
    changed: bool,
    started: bool,
    closed: bool,
}

impl Listener for Desk {
    fn notice(&self, _notice: Notice) {
        self.change(|state| state.changed = true);
    }
}

impl Desk {
    pub(crate) fn new(
        backend: &Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        scribe: Arc<Scribe>,
    ) -> Arc<Self> {
        let backend = Arc::downgrade(backend);
        let (state, rung) = (Mutex::default(), Condvar::new());
        Arc::new(Self { backend, clock, scribe, state, rung })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let answer = change(&mut self.state());
        self.rung.notify_all();
        answer
    }

    /// Nobody hears anything more.
    pub(crate) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    fn leave(&self, number: u64) {
        self.change(|state| state.leaving.push(number));
    }

    pub(crate) fn watch(self: &Arc<Self>, watch: Watch) -> Result<Watcher, Error> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let wakers = Arc::default();
        let sink = Sink::Channel { sender, wakers: Arc::clone(&wakers) };
        Ok(Watcher { receiver, wakers, _place: self.join(watch, sink)? })
    }

    pub(crate) fn call(self: &Arc<Self>, watch: Watch, call: OnChange) -> Result<Watching, Error> {
        Ok(Watching { _place: self.join(watch, Sink::Callback(call))? })
    }

    fn join(self: &Arc<Self>, watch: Watch, sink: Sink) -> Result<Place, Error> {
        watch.check()?;
        let backend = self.backend.upgrade().ok_or(Error::Closed)?;
        backend.check_usable()?;
        // What other processes do is heard of from here on.
        backend.watch()?;
        let is_first = !std::mem::replace(&mut self.state().started, true);
        if is_first {
            let listener: Arc<dyn Listener> = Arc::clone(self) as Arc<dyn Listener>;
            backend.signal().listen(&listener);
            backend.signal().tell_touches();
            let desk = Arc::clone(self);
            let thread = std::thread::Builder::new().name("litework-watch".into());
            if let Err(error) = thread.spawn(move || desk.run()) {
                self.state().started = false;
                let reason = format!("the watching thread cannot be started: {error}");
                return Err(Error::Storage { reason, source: Some(error.into()) });
            }
        }
        let number = self.change(|state| {
            state.numbers += 1;
            let number = state.numbers;
            let told = BTreeMap::new();
            state.coming.push(Party { number, what: watch.what, sink, told });
            number
        });
        Ok(Place { desk: Arc::downgrade(self), number })
    }

    /// The life of the thread: it ends with the client.
    fn run(&self) {
        let mut parties: Vec<Party> = Vec::new();
        let mut looked: Option<Instant> = None;
        let mut behind = false;
        while self.wait(&mut parties, looked, behind) {
            looked = Some(Instant::now());
            behind = self.look(&mut parties);
        }
        // Whoever closes the client has ended all that ran, and that is heard of.
        self.look(&mut parties);
    }

    /// Waits until there is something to look at; false when the client was closed.
    fn wait(&self, parties: &mut Vec<Party>, looked: Option<Instant>, behind: bool) -> bool {
        let mut state = self.state();
        let mut due = behind;
        loop {
            due |= !state.coming.is_empty() || std::mem::take(&mut state.changed);
            parties.append(&mut state.coming);
            let leaving = std::mem::take(&mut state.leaving);
            if !leaving.is_empty() {
                // With a callback may go what it holds: a client, which closes this desk.
                drop(state);
                parties.retain(|party| !leaving.contains(&party.number));
                state = self.state();
                continue;
            }
            if state.closed {
                return false;
            }
            let again = looked.map(|looked| looked + LOOK_EVERY);
            let span = again
                .map_or(Duration::ZERO, |again| again.saturating_duration_since(Instant::now()));
            state = if !due || parties.is_empty() {
                self.rung.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if span.is_zero() {
                return true;
            } else {
                let waited = self.rung.wait_timeout(state, span);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Hands on what has changed; says whether somebody is behind.
    fn look(&self, parties: &mut Vec<Party>) -> bool {
        let Some(backend) = self.backend.upgrade() else { return false };
        let mut behind = false;
        parties.retain_mut(|party| {
            let looked = Error::caught(|| self.look_for(&*backend, party, &mut behind));
            looked.unwrap_or_else(|error| {
                tracing::warn!(%error, "what is watched could not be read; trying again");
                behind = true;
                true
            })
        });
        behind
    }

    /// The same for one party; false once there will be no more for it.
    fn look_for(
        &self,
        backend: &dyn Backend,
        party: &mut Party,
        behind: &mut bool,
    ) -> Result<bool, Error> {
        let ids = party.ids(backend)?;
        let mut open = false;
        for (row, id) in ids {
            let told = party.told.get(&row).copied();
            let Some(snapshot) = self.snapshot(backend, id)? else {
                party.told.remove(&row);
                continue;
            };
            let (revision, finished_at) = (snapshot.revision(), snapshot.task.finished_at);
            if told.is_none_or(|told| told.revision != revision) {
                if !party.sink.has_room() {
                    (*behind, open) = (true, true);
                    continue;
                }
                party.sink.send(snapshot);
                party.told.insert(row, Told { id, revision, finished_at });
            }
            open |= finished_at.is_none();
        }
        Ok(open || !matches!(party.what, What::Tasks(_)))
    }

    /// The task as it is now; none where it is not there.
    pub(crate) fn snapshot(
        &self,
        backend: &dyn Backend,
        id: TaskId,
    ) -> Result<Option<Snapshot>, Error> {
        let Some(task) = backend.get(id)? else { return Ok(None) };
        let live = self.scribe.live(id).filter(|live: &Progress| live.attempt == task.attempt);
        let progress = match live.filter(|_| !task.state.is_final()) {
            Some(live) => Some(live),
            None => backend.progress(id)?,
        };
        let artifacts = backend.artifacts(self.clock.now(), id)?;
        Ok(Some(Snapshot::new(task, progress, artifacts)))
    }
}
