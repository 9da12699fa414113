//! Watch: work that is ready and that no live process runs, schedules that nobody fires, and a warning about
//! both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use crate::backend::{Backend, LaneName};
use crate::error::Error;
use crate::presence::WorkerRecord;
use crate::rule::Paused;
use crate::time::Timestamp;

/// How often a client or a pool looks, at most.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Tasks that could be started now, or schedules that are due, and no live process runs or fires them by
/// itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unserved {
    /// Their queue.
    pub queue: String,
    /// Their kind.
    pub kind: String,
    /// Whether some live process serves the queue and does not know the kind.
    pub queue_is_served: bool,
    /// The names of schedules that are due, in their order: their tasks would come to this queue.
    pub schedules: Vec<String>,
}

/// A schedule that is due, with the lane of its tasks.
pub(crate) type DueSchedule = (LaneName, String);

/// All that is unserved now, by queue and kind. What is paused is not.
pub(crate) fn unserved(
    backend: &dyn Backend,
    now: Timestamp,
    due: Vec<DueSchedule>,
) -> Result<Vec<Unserved>, Error> {
    let ready = backend.lanes_with_work(now)?.into_iter().map(|lane| (lane, Vec::new()));
    let mut lanes: BTreeMap<LaneName, Vec<String>> = ready.collect();
    if lanes.is_empty() && due.is_empty() {
        return Ok(Vec::new());
    }
    for (lane, schedule) in due {
        lanes.entry(lane).or_default().push(schedule);
    }
    Ok(of(lanes, &backend.workers()?, &backend.paused()?))
}

/// Those of these queues and kinds that no live process runs by itself, and that are not paused.
pub(crate) fn of(
    lanes: BTreeMap<LaneName, Vec<String>>,
    workers: &[WorkerRecord],
    paused: &[Paused],
) -> Vec<Unserved> {
    let any = |of: &dyn Fn(&WorkerRecord) -> bool| workers.iter().any(of);
    let open = lanes.into_iter().filter(|((queue, kind), _)| {
        !paused.iter().any(|paused| paused.scope.covers(queue, kind))
            && !any(&|worker| worker.takes(queue, kind))
    });
    let unserved = open.map(|((queue, kind), schedules)| {
        let queue_is_served = any(&|worker| worker.takes_queue(&queue));
        Unserved { queue, kind, queue_is_served, schedules }
    });
    unserved.collect()
}

/// Warns once of each queue and kind, and again if it was served meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Warner {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    told: BTreeSet<LaneName>,
}

impl Warner {
    /// Looks, unless somebody does, or has within [`LOOK_EVERY`]. Nobody waits for one who looks.
    pub(crate) fn look(&self, find: impl FnOnce() -> Result<Vec<Unserved>, Error>) {
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(seen)) => seen.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if seen.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        seen.looked = Some(Instant::now());
        match find() {
            Ok(found) => seen.tell(&found),
            Err(error) => tracing::debug!(%error, "who runs what is ready could not be read"),
        }
    }
}

#[cfg(test)]
impl Warner {
    /// What it has last warned of, or would again.
    pub(crate) fn told(&self) -> Vec<LaneName> {
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.told.iter().cloned().collect()
    }
}

impl Seen {
    fn tell(&mut self, found: &[Unserved]) {
        let before = std::mem::take(&mut self.told);
        for Unserved { queue, kind, schedules, .. } in found {
            let lane = (queue.clone(), kind.clone());
            if !before.contains(&lane) {
                match schedules.first() {
                    None => {
                        tracing::warn!(%queue, %kind, "tasks are ready, and no live process runs them");
                    }
                    Some(schedule) => tracing::warn!(
                        %queue, %kind, schedule, count = schedules.len(),
                        "schedules are due, and no live process fires them"
                    ),
                }
            }
            self.told.insert(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::Memory;
    use crate::record::{Member, NewTask};

    fn names(backend: &dyn Backend) -> Vec<(String, String, bool)> {
        let found = unserved(backend, Timestamp::MIN, Vec::new()).expect("memory answers");
        found.into_iter().map(|one| (one.queue, one.kind, one.queue_is_served)).collect()
    }

    #[test]
    fn nobody_waits_while_another_looks() {
        let (warner, memory) = (Warner::default(), Memory::default());
        let looking = warner.seen.lock().expect("nobody panicked");
        std::thread::scope(|scope| {
            let (done, has_done) = std::sync::mpsc::channel();
            let (warner, memory) = (&warner, &memory);
            scope.spawn(move || {
                warner.look(|| unserved(memory, Timestamp::MIN, Vec::new()));
                done.send(()).expect("it is waited for");
            });
            let passed = has_done.recv_timeout(Duration::from_secs(20));
            drop(looking);
            assert_eq!(passed, Ok(()), "it went by");
        });
    }

    #[test]
    fn what_a_live_process_runs_is_served() {
        let memory = Memory::default();
        let tasks = vec![NewTask::plain("mail", "send"), NewTask::plain("mail", "print")];
        crate::backend::Backend::enqueue(&memory, Timestamp::MIN, tasks, None).expect("stored");
        let lane = |kind: &str, served| ("mail".to_owned(), kind.to_owned(), served);
        assert_eq!(names(&memory), [lane("print", false), lane("send", false)]);
        let member = Member { kinds: vec!["send".into()], serves: true, ..Member::default() };
        memory.join(Timestamp::MIN, &member).expect("joined");
        assert_eq!(names(&memory), [lane("print", true)]);
    }
}
