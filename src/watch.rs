//! Watch: how a commit wakes those who wait for it.
//!
//! There is one [`Signal`] for each open file in a process. Engines ring it after a commit, never
//! before; waiting threads and futures sleep until then. Nothing here polls.
//!
//! A waiter subscribes first and reads afterwards, so a change between the two is not missed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// This process committed work that may be claimed or becomes due.
    Work,
    /// Another process committed something.
    Foreign,
    /// Somebody in this process asked the running task of this row to stop.
    Cancel(i64),
    /// The clock was moved by hand.
    Clock,
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

    /// A receiver that hears the next change of this row.
    pub(crate) fn subscribe(&self, row: i64) -> oneshot::Receiver<Heard> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let here = waiters.entry(row).or_default();
        here.retain(|waiter| !waiter.is_closed());
        here.push(sender);
        self.waiting.store(waiters.len(), Ordering::SeqCst);
        receiver
    }

    /// Forgets the waiters of a row that were given up.
    pub(crate) fn unsubscribe(&self, row: i64) {
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
        self.tell(rows, Heard::Row);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_hears_its_own_row_only() {
        let signal = Signal::default();
        let (mine, other) = (signal.subscribe(1), signal.subscribe(2));
        signal.changed([1]);
        assert!(mine.try_recv().is_ok());
        assert!(other.try_recv().is_err());
        drop(other);
        signal.unsubscribe(2);
        assert_eq!(signal.waiting.load(Ordering::SeqCst), 0);
    }
}
