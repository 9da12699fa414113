//! Run: what an inline caller cannot do for itself while it is inside a body: renew the lease, and
//! hear that somebody asked the body to stop.
//!
//! One thread for each client, started by its first inline body. While bodies run it wakes every
//! 10 s; while none do it sleeps until the next begins.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Duration;

use super::keeper::RENEW_EVERY;
use super::spawn;
use crate::backend::Backend;
use crate::context::{StopReason, Token};
use crate::error::Error;
use crate::watch::{Listener, Notice};

#[derive(Debug, Default)]
struct Rung {
    cancel: bool,
    over: bool,
}

/// Minds the bodies that run in callers' threads.
pub(super) struct Minder {
    backend: Arc<dyn Backend>,
    running: Mutex<HashMap<i64, (i64, Arc<Token>)>>,
    count: AtomicUsize,
    /// The thread waits without a time-out.
    asleep: AtomicBool,
    started: Once,
    rung: Mutex<Rung>,
    wake: Condvar,
    /// A body has ended; goes with `running`.
    ended: Condvar,
}

impl Minder {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            running: Mutex::default(),
            count: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            started: Once::new(),
            rung: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<i64, (i64, Arc<Token>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rung(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body begins in the calling thread.
    pub(super) fn begin(self: &Arc<Self>, owner: i64, row: i64, token: &Arc<Token>) {
        self.running().insert(row, (owner, Arc::clone(token)));
        self.count.fetch_add(1, Ordering::SeqCst);
        self.started.call_once(|| {
            // Without the thread a body is only without help, and is still run.
            if let Err(error) = self.start() {
                tracing::warn!(%error, "inline bodies cannot be minded");
            }
        });
        if self.asleep.load(Ordering::SeqCst) {
            drop(self.rung());
            self.wake.notify_one();
        }
    }

    /// It has ended, and what it came to is stored.
    pub(super) fn end(&self, row: i64) {
        let mut running = self.running();
        if running.remove(&row).is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        drop(running);
        self.ended.notify_all();
    }

    /// How many bodies run.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until at most `own` bodies run; returns how many more there are after `patience`.
    pub(super) fn wait_for(&self, own: usize, patience: Duration) -> usize {
        let waited =
            self.ended.wait_timeout_while(self.running(), patience, |_| self.count() > own);
        drop(waited);
        self.count().saturating_sub(own)
    }

    /// Asks every body to stop.
    pub(super) fn stop_all(&self, reason: StopReason) {
        self.stop_bodies(|_| true, reason);
    }

    pub(super) fn stop(&self) {
        self.rung().over = true;
        self.wake.notify_one();
    }

    fn start(self: &Arc<Self>) -> Result<(), Error> {
        let listener: Arc<dyn Listener> = Arc::clone(self) as Arc<dyn Listener>;
        self.backend.signal().listen(&listener);
        self.backend.watch()?;
        let weak = Arc::downgrade(self);
        spawn("litework-minder".into(), move || run(&weak))
    }

    /// Waits for the next thing to do; false at the end.
    fn wait(&self) -> Option<Rung> {
        let mut rung = self.rung();
        while !rung.over && !rung.cancel {
            if self.count.load(Ordering::SeqCst) == 0 {
                self.asleep.store(true, Ordering::SeqCst);
                // A body that began just now has seen either count or sleep.
                if self.count.load(Ordering::SeqCst) == 0 {
                    rung = self.wake.wait(rung).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.store(false, Ordering::SeqCst);
                continue;
            }
            let waited = self.wake.wait_timeout(rung, RENEW_EVERY);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            rung = guard;
            if timeout.timed_out() {
                break;
            }
        }
        let rung = std::mem::take(&mut *rung);
        (!rung.over).then_some(rung)
    }

    fn renew(&self) {
        let owners: Vec<i64> = self.running().values().map(|(owner, _)| *owner).collect();
        let Some(owner) = owners.first().copied() else { return };
        match self.backend.renew(owner) {
            Ok(true) => {}
            Ok(false) => self.stop_bodies(|_| true, StopReason::LeaseLost),
            Err(error) => tracing::error!(%error, "the lease could not be renewed"),
        }
    }

    fn deliver_cancels(&self) {
        let owner = self.running().values().map(|(owner, _)| *owner).next();
        let Some(owner) = owner else { return };
        match self.backend.cancel_requests(owner) {
            Ok(rows) => self.stop_bodies(|row| rows.contains(&row), StopReason::Cancelled),
            Err(error) => tracing::error!(%error, "cancel requests could not be read"),
        }
    }

    fn stop_bodies(&self, which: impl Fn(i64) -> bool, reason: StopReason) {
        for (row, (_, token)) in &*self.running() {
            if which(*row) {
                token.stop(reason);
            }
        }
    }
}

fn run(weak: &Weak<Minder>) {
    while let Some(minder) = weak.upgrade() {
        match minder.wait() {
            None => return,
            Some(rung) if rung.cancel => minder.deliver_cancels(),
            Some(_) => minder.renew(),
        }
    }
}

impl Listener for Minder {
    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Cancel(row) => {
                self.stop_bodies(|running| running == row, StopReason::Cancelled);
            }
            Notice::Foreign if self.count() > 0 => {
                self.rung().cancel = true;
                self.wake.notify_one();
            }
            Notice::Foreign | Notice::Work | Notice::Clock => {}
        }
    }
}
