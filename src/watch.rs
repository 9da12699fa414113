//! Watch: how a commit wakes those who wait for it.
//!
//! There is one [`Signal`] for each open file in a process. Engines ring it after a commit, never
//! before; waiting threads and futures sleep until then. Nothing here polls.
//!
//! A waiter subscribes first and reads afterwards, so a change between the two is not missed.

use std::collections::HashMap;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

/// What happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// This process committed work that may be claimed or becomes due.
    Work,
    /// Another process committed something.
    Foreign,
    /// Somebody in this process asked the running task of this row to stop.
    Cancel(i64),
    /// A schedule was changed in this process, or has another next slot.
    Schedules,
    /// An end has made room in a limited queue or kind; the pool of this number has looked already.
    Room(i64),
    /// The clock was moved by hand.
    Clock,
    /// Something of a task has changed that only those who watch it wish to know.
    Touched,
}

impl Notice {
    /// This process committed work, or only room for it in which this pool has looked already.
    pub(crate) fn of_work(looked: Option<i64>) -> Self {
        looked.map_or(Self::Work, Self::Room)
    }
}

/// What a waiter hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Its row changed.
    Row,
    /// Something changed, perhaps its row.
    Something,
}

/// Called after a commit, on the committing thread: must be quick and must not touch the store.
pub(crate) trait Listener: Send + Sync {
    fn notice(&self, notice: Notice);
}

/// The bell of one open file.
#[derive(Default)]
pub(crate) struct Signal {
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    waiters: Mutex<HashMap<i64, Vec<oneshot::Sender<Heard>>>>,
    /// How many rows are waited for; lets a commit without watchers skip the lock.
    waiting: AtomicUsize,
    /// Somebody wishes to hear of all that changes.
    touches: AtomicBool,
}

impl Signal {
    pub(crate) fn listen(&self, listener: &Arc<dyn Listener>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// Tells the listeners, and for a foreign commit also every waiter.
    pub(crate) fn ring(&self, notice: Notice) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.notice(notice);
        }
        if notice == Notice::Foreign && self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    /// From here on [`Signal::touch`] is heard.
    pub(crate) fn tell_touches(&self) {
        self.touches.store(true, Ordering::SeqCst);
    }

    /// Tells those who watch that something has changed; costs nothing where nobody does.
    pub(crate) fn touch(&self) {
        if self.touches.load(Ordering::SeqCst) {
            self.ring(Notice::Touched);
        }
    }

    /// Hears the next change of this row.
    pub(crate) fn subscribe(self: &Arc<Self>, row: i64) -> Subscription {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.entry(row).or_default().push(sender);
        self.waiting.store(waiters.len(), Ordering::SeqCst);
        drop(waiters);
        Subscription { receiver, place: Place { signal: Arc::clone(self), row } }
    }

    /// How many rows are waited for.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Forgets the waiters of a row that have gone.
    fn unsubscribe(&self, row: i64) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = waiters.get_mut(&row) {
            here.retain(|waiter| !waiter.is_closed());
            if here.is_empty() {
                waiters.remove(&row);
            }
        }
        self.waiting.store(waiters.len(), Ordering::SeqCst);
    }

    /// Wakes whoever waits for one of these rows.
    pub(crate) fn changed(&self, rows: impl IntoIterator<Item = i64>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_some() {
            self.tell(rows, Heard::Row);
            self.touch();
        }
    }

    fn tell(&self, rows: impl IntoIterator<Item = i64>, heard: Heard) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let woken: Vec<_> =
            rows.into_iter().filter_map(|row| waiters.remove(&row)).flatten().collect();
        self.waiting.store(waiters.len(), Ordering::SeqCst);
        drop(waiters);
        for waiter in woken {
            // A waiter that has gone needs no word.
            let _gone = waiter.send(heard);
        }
    }

    /// Wakes every waiter, so that each reads its row again.
    pub(crate) fn wake_all(&self) {
        let rows: Vec<i64> = {
            let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            waiters.keys().copied().collect()
        };
        self.tell(rows, Heard::Something);
    }
}

/// One waiter's place in the list of a row. A waiter that gives up, and a future that is dropped,
/// leave the list with it.
pub(crate) struct Subscription {
    // Fields are dropped in this order: a waiter is forgotten once its receiver has gone.
    receiver: oneshot::Receiver<Heard>,
    place: Place,
}

struct Place {
    signal: Arc<Signal>,
    row: i64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.signal.unsubscribe(self.row);
    }
}

impl Subscription {
    /// Blocks until something is heard; none when `span` has passed before.
    pub(crate) fn wait(&self, span: Duration) -> Option<Heard> {
        match self.receiver.recv_timeout(span) {
            Ok(heard) => Some(heard),
            Err(oneshot::RecvTimeoutError::Timeout) => None,
            // The signal is kept by the place, so a sender goes only with a word.
            Err(oneshot::RecvTimeoutError::Disconnected) => Some(Heard::Something),
        }
    }

    /// Waits without blocking until something is heard, or until `pause` is over: then none.
    pub(crate) async fn heard(self, mut pause: Option<&mut Pause>) -> Option<Heard> {
        let Self { receiver, place } = self;
        let mut receiver = receiver.into_future();
        let heard = poll_fn(|context| {
            if let Poll::Ready(heard) = Pin::new(&mut receiver).poll(context) {
                return Poll::Ready(Some(heard.unwrap_or(Heard::Something)));
            }
            match &mut pause {
                Some(pause) => Pin::new(&mut pause.0).poll(context).map(|_over| None),
                None => Poll::Pending,
            }
        });
        let heard = heard.await;
        drop((receiver, place));
        heard
    }
}

/// A short time for a future to let pass: executors have no timer in common.
pub(crate) struct Pause(oneshot::AsyncReceiver<()>);

/// When a pause is over, and whom to tell.
type Pausing = (Instant, oneshot::Sender<()>);

impl Pause {
    /// A pause until this moment. All pauses are of one length and stand in one line, before a thread
    /// that is started by the first; it sleeps while there are none.
    pub(crate) fn until(moment: Instant) -> Self {
        static LINE: OnceLock<crossbeam_channel::Sender<Pausing>> = OnceLock::new();
        let (sender, receiver) = oneshot::async_channel();
        let line = LINE.get_or_init(|| {
            let (sender, line) = crossbeam_channel::unbounded::<Pausing>();
            let _detached = std::thread::Builder::new().name("litework-pause".into()).spawn(|| {
                for (moment, waiter) in line {
                    let _timeout = crossbeam_channel::never::<()>().recv_deadline(moment);
                    // A waiter that has gone needs no word.
                    let _gone = waiter.send(());
                }
            });
            sender
        });
        // Without the thread there is nobody to tell, and the pause is over at once.
        let _no_thread = line.send((moment, sender));
        Self(receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_hears_its_own_row_only() {
        let signal = Arc::new(Signal::default());
        let (mine, other) = (signal.subscribe(1), signal.subscribe(2));
        signal.changed([1]);
        assert_eq!(mine.wait(Duration::ZERO), Some(Heard::Row));
        assert_eq!(other.wait(Duration::ZERO), None);
        assert_eq!(signal.waiting(), 1);
        drop(other);
        assert_eq!(signal.waiting(), 0);
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_the_others_of_its_row() {
        let signal = Arc::new(Signal::default());
        let (first, second) = (signal.subscribe(1), signal.subscribe(1));
        drop(first);
        assert_eq!(signal.waiting(), 1);
        signal.changed([1]);
        assert_eq!(second.wait(Duration::ZERO), Some(Heard::Row));
    }
}
