//! What bodies and tests hold in their hands: a log, a gate, and an executor of ten lines.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context as Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use super::LONG;

/// What bodies did, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, word: impl Into<String>) {
        self.0.lock().unwrap().push(word.into());
    }

    pub(crate) fn words(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// Holds bodies until the test lets them go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Inside>, Condvar)>);

#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    entered: usize,
    open: bool,
}

impl Gate {
    /// For a body: says that it is here and waits until the gate is open.
    pub(crate) fn pass(&self) {
        self.enter();
        assert!(self.wait(|inside| inside.open).open, "nobody opened the gate");
    }

    /// For a body: says that it is here, and goes on.
    pub(crate) fn enter(&self) {
        self.change(|inside| inside.entered += 1);
    }

    /// For a test: waits until this many bodies stand at the gate, or have gone through.
    pub(crate) fn wait_for(&self, bodies: usize) {
        let entered = self.wait(|inside| inside.entered >= bodies).entered;
        assert!(entered >= bodies, "{entered} of {bodies} bodies came to the gate");
    }

    pub(crate) fn open(&self) {
        self.change(|inside| inside.open = true);
    }

    /// For a body that waits for something else too.
    pub(crate) fn is_open(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).open
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) {
        let (inside, changed) = &*self.0;
        change(&mut inside.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Inside) -> bool) -> Inside {
        let (inside, changed) = &*self.0;
        let now = inside.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(now, LONG, |now| !until(now));
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Waits for what another thread is about to do, without sleeping.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it did not come to it that {what}");
        std::thread::yield_now();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, as an executor that knows nothing of litework would.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Poll::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
