//! Watch: what is being done to many tasks, on threads of its own, so that no request waits for it: how far it has
//! come, what it came to, and how it is ended early.
//!
//! It is kept in memory, of the newest few: what was done to each task stands in the file.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::bulk::Bulked;
use crate::client::Client;
use crate::doing::Tell;
use crate::error::Error;
use crate::overview::Capped;
use crate::time::Timestamp;
use crate::web::words::grouped;

/// At once.
const RUNNING_MAX: usize = 4;
/// Of the newest so many it is known what they came to.
const KEPT_MAX: usize = 50;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Running,
    Done,
    /// Somebody has ended it.
    Stopped,
    /// An error has ended it.
    Failed,
}

impl Standing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// The class of its badge.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Running => "lw-running",
            Self::Done => "lw-succeeded",
            Self::Stopped => "lw-cancelled",
            Self::Failed => "lw-failed",
        }
    }
}

/// One of them, as it stands.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Progress {
    pub(crate) id: String,
    /// What is done, as in `retry`.
    pub(crate) action: &'static str,
    /// To which tasks, in words.
    pub(crate) what: String,
    pub(crate) by: String,
    /// How many there were when it was asked for.
    pub(crate) expected: u64,
    /// Whether there were more, which nobody has counted.
    pub(crate) expected_capped: bool,
    pub(crate) done: u64,
    pub(crate) asked: u64,
    pub(crate) left: u64,
    pub(crate) standing: Standing,
    pub(crate) error: Option<String>,
    pub(crate) began_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
}

impl Progress {
    /// How many tasks it has been through.
    pub(crate) fn seen(&self) -> u64 {
        self.done + self.asked + self.left
    }

    /// How many there were, with a mark where there were more.
    pub(crate) fn counted(&self) -> String {
        format!("{}{}", grouped(self.expected), if self.expected_capped { "+" } else { "" })
    }

    /// The same, as far as a bar shows it.
    pub(crate) fn reached(&self) -> u64 {
        self.seen().min(self.expected)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.standing == Standing::Running
    }

    fn add(&mut self, so_far: &Bulked) {
        (self.done, self.asked, self.left) = (so_far.done, so_far.asked, so_far.left);
    }

    fn end(&mut self, came_to: Result<Bulked, Error>, now: Timestamp) {
        self.ended_at = Some(now);
        self.standing = match came_to {
            Ok(bulked) => {
                self.add(&bulked);
                if bulked.stopped { Standing::Stopped } else { Standing::Done }
            }
            Err(error) => {
                self.error = Some(error.to_string());
                Standing::Failed
            }
        };
    }
}

struct Kept {
    progress: Progress,
    stop: Arc<AtomicBool>,
}

/// All of one site.
#[derive(Default)]
pub(crate) struct Bulks {
    kept: Arc<Mutex<VecDeque<Kept>>>,
}

/// What is to be done.
pub(crate) struct Wish {
    pub(crate) action: &'static str,
    pub(crate) what: String,
    pub(crate) by: String,
    pub(crate) expected: Capped,
}

impl Bulks {
    /// Begins it on a thread of its own; none where too many are running. The receiver hears of its end.
    pub(crate) fn begin(
        &self,
        client: &Client,
        wish: Wish,
        act: impl FnOnce(&Client, Tell<'_>) -> Result<Bulked, Error> + Send + 'static,
    ) -> Option<(String, oneshot::AsyncReceiver<()>)> {
        let Wish { action, what, by, expected } = wish;
        let (id, stop) = (format!("{:016x}", fastrand::u64(..)), Arc::new(AtomicBool::new(false)));
        let progress = Progress {
            id: id.clone(),
            action,
            what,
            by,
            expected: expected.count,
            expected_capped: expected.capped,
            done: 0,
            asked: 0,
            left: 0,
            standing: Standing::Running,
            error: None,
            began_at: client.now(),
            ended_at: None,
        };
        let mut kept = held(&self.kept);
        if kept.iter().filter(|kept| kept.progress.is_running()).count() >= RUNNING_MAX {
            return None;
        }
        kept.push_front(Kept { progress, stop: Arc::clone(&stop) });
        while kept.len() > KEPT_MAX {
            // Few run, so that the oldest that has ended is not far.
            let oldest = kept.iter().rposition(|kept| !kept.progress.is_running())?;
            kept.remove(oldest);
        }
        drop(kept);
        let (told, hears) = oneshot::async_channel();
        let (kept, client, number) = (Arc::clone(&self.kept), client.clone(), id.clone());
        let thread = std::thread::Builder::new().name("litework-bulk".into());
        let started = thread.spawn(move || {
            run(&client, &kept, &number, &stop, act);
            // Whoever has asked for it may have gone.
            let _gone = told.send(());
        });
        if let Err(error) = started {
            tracing::error!(%error, "a thread for many tasks cannot be started");
            let mut kept = held(&self.kept);
            kept.retain(|kept| kept.progress.id != id);
            return None;
        }
        Some((id, hears))
    }

    /// One, as it stands; none where it is not known, or no more.
    pub(crate) fn get(&self, id: &str) -> Option<Progress> {
        let kept = held(&self.kept);
        kept.iter().map(|kept| &kept.progress).find(|progress| progress.id == id).cloned()
    }

    /// All that are known, the newest first.
    pub(crate) fn all(&self) -> Vec<Progress> {
        held(&self.kept).iter().map(|kept| kept.progress.clone()).collect()
    }

    /// Ends it after the slice that is under way; false where it is not known.
    pub(crate) fn stop(&self, id: &str) -> bool {
        let kept = held(&self.kept);
        let found = kept.iter().find(|kept| kept.progress.id == id);
        found.is_some_and(|found| {
            found.stop.store(true, Ordering::Release);
            true
        })
    }
}

/// Does it, and notes how far it has come.
fn run(
    client: &Client,
    kept: &Mutex<VecDeque<Kept>>,
    id: &str,
    stop: &AtomicBool,
    act: impl FnOnce(&Client, Tell<'_>) -> Result<Bulked, Error>,
) {
    let mut tell = |so_far: &Bulked| {
        note(kept, id, |progress| progress.add(so_far));
        if stop.load(Ordering::Acquire) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let came_to = catch_unwind(AssertUnwindSafe(|| act(client, &mut tell)));
    let panicked =
        |_panic| Err(Error::Storage { reason: "it has panicked".to_owned(), source: None });
    let came_to = came_to.unwrap_or_else(panicked);
    note(kept, id, |progress| progress.end(came_to, client.now()));
}

fn note(kept: &Mutex<VecDeque<Kept>>, id: &str, change: impl FnOnce(&mut Progress)) {
    let mut kept = held(kept);
    if let Some(mine) = kept.iter_mut().find(|kept| kept.progress.id == id) {
        change(&mut mine.progress);
    }
}

/// Whoever does it keeps the client open no longer than its slice takes.
impl Drop for Bulks {
    fn drop(&mut self) {
        held(&self.kept).iter().for_each(|kept| kept.stop.store(true, Ordering::Release));
    }
}

fn held(kept: &Mutex<VecDeque<Kept>>) -> MutexGuard<'_, VecDeque<Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::mode::Mode;

    fn client() -> Client {
        Client::in_memory().mode(Mode::Hold).open().expect("it opens")
    }

    fn wish() -> Wish {
        let (what, by) = ("all tasks".to_owned(), "ada".to_owned());
        Wish { action: "retry", what, by, expected: Capped { count: 9, capped: false } }
    }

    /// One that does three each time it is told to go on.
    fn begin(bulks: &Bulks, client: &Client) -> (Sender<()>, Receiver<u64>, Option<String>) {
        let (go, gone_on) = channel();
        let (tell, told) = channel();
        let begun = bulks.begin(client, wish(), move |_, note| {
            let mut bulked = Bulked::default();
            while gone_on.recv().is_ok() {
                bulked.done += 3;
                bulked.stopped = note(&bulked).is_break();
                let _gone = tell.send(bulked.done);
                if bulked.stopped {
                    break;
                }
            }
            Ok(bulked)
        });
        (go, told, begun.map(|(id, _)| id))
    }

    fn ended(bulks: &Bulks, id: &str) -> Progress {
        loop {
            let progress = bulks.get(id).expect("it is known");
            if !progress.is_running() {
                return progress;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_is_seen_how_far_it_has_come_and_it_ends_when_it_is_told_to() {
        let (bulks, client) = (Bulks::default(), client());
        let (go, told, id) = begin(&bulks, &client);
        let id = id.expect("there is room");
        go.send(()).expect("it listens");
        assert_eq!(told.recv(), Ok(3));
        let progress = bulks.get(&id).expect("it is known");
        assert_eq!((progress.seen(), progress.standing), (3, Standing::Running));
        assert!(bulks.stop(&id) && !bulks.stop("another"));
        go.send(()).expect("it listens");
        let progress = ended(&bulks, &id);
        assert_eq!((progress.done, progress.standing), (6, Standing::Stopped));
        assert!(progress.ended_at >= Some(progress.began_at));
    }

    #[test]
    fn few_run_at_once_and_of_few_it_is_known_what_they_came_to() {
        let (bulks, client) = (Bulks::default(), client());
        let running: Vec<_> = (0..RUNNING_MAX).map(|_| begin(&bulks, &client)).collect();
        assert!(begin(&bulks, &client).2.is_none(), "too many run");
        let first = running[0].2.clone().expect("there was room");
        drop(running);
        assert_eq!(ended(&bulks, &first).standing, Standing::Done);
        for _ in 0..KEPT_MAX {
            let (_, id) = loop {
                let (go, _, id) = begin(&bulks, &client);
                if let Some(id) = id {
                    break (go, id);
                }
            };
            ended(&bulks, &id);
        }
        assert_eq!(bulks.all().len(), KEPT_MAX);
        assert!(bulks.get(&first).is_none(), "it is forgotten");
    }

    #[test]
    fn one_that_panics_has_failed_and_those_of_a_site_that_is_gone_end() {
        let (bulks, client) = (Bulks::default(), client());
        let panics = bulks.begin(&client, wish(), |_, _| -> Result<Bulked, Error> { panic!("no") });
        let (id, _) = panics.expect("there is room");
        assert_eq!(ended(&bulks, &id).standing, Standing::Failed);
        let (go, told, _) = begin(&bulks, &client);
        drop(bulks);
        go.send(()).expect("it listens");
        assert_eq!(told.recv(), Ok(3));
        assert!(told.recv().is_err(), "it has ended");
    }
}
