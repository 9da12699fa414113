//! Watch: a few threads that read and write the file for those who must not block.
//!
//! The service belongs to no runtime, so it has threads of its own: started as they are needed, at most eight, asleep
//! while there is nothing to do. What waits for them is bounded, so that a server under load says so at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::error::Error;

const THREADS_MAX: usize = 8;
/// Errands that wait at most.
const WAITING_MAX: usize = 256;

type Errand = Box<dyn FnOnce() + Send>;

/// Why an errand was not run.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many wait already.
    Full,
    /// It panicked, or no thread could be started.
    Broken,
    /// It ran, and failed.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(crate) struct Office {
    sender: Sender<Errand>,
    receiver: Receiver<Errand>,
    threads: AtomicUsize,
    busy: Arc<AtomicUsize>,
}

impl Office {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(WAITING_MAX);
        Self { sender, receiver, threads: AtomicUsize::new(0), busy: Arc::default() }
    }

    /// Runs this on one of the threads.
    pub(crate) async fn run<R, E>(
        &self,
        errand: impl FnOnce() -> Result<R, E> + Send + 'static,
    ) -> Result<R, Refused>
    where
        R: Send + 'static,
        E: Into<Refused> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let errand: Errand = Box::new(move || {
            // Whoever asked may have gone.
            let _gone = tell.send(errand());
        });
        match self.sender.try_send(errand) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refused::Full),
            Err(TrySendError::Disconnected(_)) => return Err(Refused::Broken),
        }
        self.staff()?;
        match told.await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_panicked) => Err(Refused::Broken),
        }
    }

    /// Sees to it that a thread comes for what waits.
    fn staff(&self) -> Result<(), Refused> {
        let (there, busy) =
            (self.threads.load(Ordering::Acquire), self.busy.load(Ordering::Acquire));
        if there == THREADS_MAX || there > busy + self.sender.len().saturating_sub(1) {
            return Ok(());
        }
        if self.threads.fetch_add(1, Ordering::AcqRel) >= THREADS_MAX {
            self.threads.fetch_sub(1, Ordering::AcqRel);
            return Ok(());
        }
        let (receiver, busy) = (self.receiver.clone(), Arc::clone(&self.busy));
        let thread = std::thread::Builder::new().name("litework-web".into());
        let started = thread.spawn(move || {
            for errand in &receiver {
                busy.fetch_add(1, Ordering::AcqRel);
                if catch_unwind(AssertUnwindSafe(errand)).is_err() {
                    tracing::error!("answering a request has panicked");
                }
                busy.fetch_sub(1, Ordering::AcqRel);
            }
        });
        if let Err(error) = started {
            self.threads.fetch_sub(1, Ordering::AcqRel);
            tracing::error!(%error, "a thread that answers requests cannot be started");
            if there == 0 {
                return Err(Refused::Broken);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    struct Bell(std::sync::mpsc::Sender<()>);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _gone = self.0.send(());
        }
    }

    fn block<F: Future>(future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        let (sender, receiver) = std::sync::mpsc::channel();
        let waker = Arc::new(Bell(sender)).into();
        let mut context = std::task::Context::from_waker(&waker);
        loop {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            receiver.recv().expect("it is woken");
        }
    }

    #[test]
    fn as_many_errands_run_at_once_as_there_are_threads() {
        let office = Arc::new(Office::new());
        let together = Arc::new(Barrier::new(THREADS_MAX));
        let callers: Vec<_> = (0..THREADS_MAX)
            .map(|n| {
                let (office, together) = (Arc::clone(&office), Arc::clone(&together));
                std::thread::spawn(move || {
                    let errand = move || {
                        together.wait();
                        Ok::<_, Error>(n)
                    };
                    block(office.run(errand)).expect("it ran")
                })
            })
            .collect();
        let sum: usize = callers.into_iter().map(|caller| caller.join().expect("it ends")).sum();
        assert_eq!(sum, (0..THREADS_MAX).sum::<usize>());
    }

    #[test]
    fn an_errand_that_panics_is_refused_and_the_next_one_runs() {
        let office = Office::new();
        let broken = block(office.run(|| -> Result<(), Error> { panic!("no") }));
        assert!(matches!(broken, Err(Refused::Broken)));
        assert!(block(office.run(|| Ok::<_, Error>(7))).is_ok_and(|seven| seven == 7));
    }
}
