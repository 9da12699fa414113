//! Run: in the calling thread, where no pool is configured, and for `run_pending`.
//!
//! A task that is due now runs before `enqueue` returns: the same row, the same accounting, the
//! same encoding and decoding as in a pool. When it fails and attempts are left, the next follow at
//! once, without the back-off, for at most 10 s; what is left then is stored for later. Tasks
//! enqueued by tasks run depth-first, up to 32 deep; deeper ones are stored.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::minder::Minder;
use super::stop::STOP_DELAY;
use super::{given_back, tell_lost};
use crate::attempt;
use crate::backend::{Backend, Offer, Room, next_view};
use crate::client::Client;
use crate::context::StopReason;
use crate::error::Error;
use crate::hub::{Hub, Pending, PendingRunner, Ran, Runner, Stopped};
use crate::id::TaskId;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Finished, Member};
use crate::registry::Registry;
use crate::retry::Retry;
use crate::state::{Reason, State};
use crate::time::Clock;

/// Tasks within tasks run in place down to this depth.
const DEPTH_MAX: u32 = 32;
/// Attempts follow each other in place for at most this long.
const IN_PLACE: Duration = Duration::from_secs(10);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs tasks in whichever thread calls.
pub(crate) struct Inline {
    hub: Weak<Hub>,
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    name: String,
    /// Whether attempts follow each other in place.
    retry_in_place: bool,
    owner: Mutex<Option<i64>>,
    minder: Arc<Minder>,
    /// Finishes whose commit failed.
    unkept: Mutex<Vec<Finish>>,
    /// Which slots of the slots file are taken.
    slots: Mutex<Vec<bool>>,
}

/// What an inline caller offers: a place for its own task, whatever else waits.
struct Caller {
    owner: i64,
    view: u64,
    registry: Arc<Registry>,
    /// For `run_pending`: one place, and only for some kinds.
    pending: Option<Selected>,
    suspect: AtomicBool,
}

struct Selected {
    only: Vec<String>,
    except: Vec<String>,
    taken: AtomicBool,
}

impl Caller {
    /// Whether a name that was given means this kind, by its own name or an alias.
    fn is_kind(&self, name: &str, kind: &str) -> bool {
        let own = |name: &str| self.registry.get(name).map(|handler| &handler.kind.name);
        name == kind || own(name).is_some_and(|named| Some(named) == own(kind))
    }
}

impl Offer for Caller {
    fn owner(&self) -> i64 {
        self.owner
    }

    fn view(&self) -> u64 {
        self.view
    }

    fn serves(&self, _queue: &str, kind: &str) -> bool {
        let selected = self.pending.as_ref().is_none_or(|pending| {
            let names = |list: &[String]| list.iter().any(|name| self.is_kind(name, kind));
            (pending.only.is_empty() || names(&pending.only)) && !names(&pending.except)
        });
        selected && self.registry.get(kind).is_some()
    }

    fn reserve(&self, _queue: &str, _kind: &str, _bytes: usize) -> Room {
        match &self.pending {
            Some(pending) if pending.taken.swap(true, Ordering::SeqCst) => Room::Full,
            _ => Room::Taken,
        }
    }

    fn weigh(&self, _bytes: usize) {}

    fn reserve_suspect(&self) -> bool {
        !self.suspect.swap(true, Ordering::SeqCst)
    }

    fn release_suspect(&self) {
        self.suspect.store(false, Ordering::SeqCst);
    }

    fn release(&self, _queue: &str, _bytes: usize) {
        self.suspect.store(false, Ordering::SeqCst);
        if let Some(pending) = &self.pending {
            pending.taken.store(false, Ordering::SeqCst);
        }
    }

    fn in_order(&self) -> bool {
        self.pending.is_some()
    }
}

impl Inline {
    pub(crate) fn new(
        hub: &Arc<Hub>,
        registry: Arc<Registry>,
        name: String,
        retry_in_place: bool,
    ) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            backend: Arc::clone(&hub.backend),
            clock: Arc::clone(&hub.clock),
            registry,
            name,
            retry_in_place,
            owner: Mutex::default(),
            minder: Minder::new(Arc::clone(&hub.backend)),
            unkept: Mutex::default(),
            slots: Mutex::default(),
        }
    }

    /// Becomes an owner when it is first needed.
    fn owner(&self) -> Result<i64, Error> {
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = *owner {
            return Ok(owner);
        }
        let member = Member {
            name: self.name.clone(),
            threads: 1,
            kinds: self.registry.names(),
            ..Member::default()
        };
        let joined = self.backend.join(self.clock.now(), &member)?;
        *owner = Some(joined);
        Ok(joined)
    }

    fn caller(&self, pending: Option<Selected>) -> Result<Arc<Caller>, Error> {
        let registry = Arc::clone(&self.registry);
        Ok(Arc::new(Caller {
            owner: self.owner()?,
            view: next_view(),
            registry,
            pending,
            suspect: AtomicBool::new(false),
        }))
    }

    /// Runs one task, and while it fails and may be tried again, its next attempts; says what the
    /// last came to.
    fn run(&self, mut task: Claimed) -> Option<Finished> {
        let began = Instant::now();
        loop {
            let mut finish = self.attempt(&task)?;
            let retries = matches!(finish.outcome, Outcome::Retry { after: None, .. });
            let again = retries && self.retry_in_place && began.elapsed() < IN_PLACE;
            if again {
                finish.retry = Arc::new(Retry::ladder([]));
            }
            let finished = self.record(finish);
            self.minder.end(task.lease.row);
            let finished = finished?;
            if !again || finished.reason != Some(Reason::Retry) {
                return Some(finished);
            }
            let claimed = self
                .caller(None)
                .and_then(|caller| self.backend.claim_one(self.clock.now(), task.id, &*caller));
            match claimed {
                Ok(Some(next)) => task = next,
                Ok(None) => return Some(finished),
                Err(error) => {
                    tracing::error!(%error, "the next attempt could not be claimed");
                    return Some(finished);
                }
            }
        }
    }

    /// One attempt; `None` when the client is closed.
    fn attempt(&self, task: &Claimed) -> Option<Finish> {
        let client = Client::inner(self.hub.upgrade()?);
        let slot = self.take_slot();
        self.backend.note_start(task.lease.owner, slot, task.lease.row, task.lease.attempt);
        crate::fault::point("running");
        DEPTH.set(DEPTH.get() + 1);
        let prepared = attempt::prepare(&self.registry, task.clone());
        self.minder.begin(task.lease.owner, task.lease.row, &prepared.token);
        let finish = attempt::run(&client, &self.registry, &prepared);
        DEPTH.set(DEPTH.get() - 1);
        self.free_slot(slot);
        Some(finish)
    }

    /// Commits a finish, and those that could not be committed before.
    fn record(&self, finish: Finish) -> Option<Finished> {
        let mut finishes = self.take_unkept();
        finishes.push(finish);
        match self.backend.exchange(self.clock.now(), &finishes, None) {
            Ok(done) => {
                for (finish, answer) in finishes.iter().zip(&done.finished) {
                    if let Err(error) = answer {
                        tell_lost(finish, error);
                    }
                }
                done.finished.into_iter().next_back()?.ok()
            }
            Err(error) => {
                tracing::error!(%error, "a finish could not be stored; it is kept for the next commit");
                self.unkept().extend(finishes);
                None
            }
        }
    }

    fn unkept(&self) -> MutexGuard<'_, Vec<Finish>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_unkept(&self) -> Vec<Finish> {
        std::mem::take(&mut *self.unkept())
    }

    fn take_slot(&self) -> usize {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.iter().position(|taken| !taken).unwrap_or(slots.len());
        if slot == slots.len() {
            slots.push(true);
        } else {
            slots[slot] = true;
        }
        slot
    }

    fn free_slot(&self, slot: usize) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)[slot] = false;
    }
}

impl Runner for Inline {
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error> {
        if DEPTH.get() >= DEPTH_MAX {
            return Ok(None);
        }
        self.caller(None).map(|caller| Some(caller as Arc<dyn Offer>))
    }

    fn take(&self, claimed: Vec<Claimed>) -> Vec<(TaskId, Finished)> {
        claimed.into_iter().filter_map(|task| Some((task.id, self.run(task)?))).collect()
    }

    fn run_stored(&self, id: TaskId) {
        if DEPTH.get() >= DEPTH_MAX {
            return;
        }
        let claimed = self
            .caller(None)
            .and_then(|caller| self.backend.claim_one(self.clock.now(), id, &*caller));
        match claimed {
            // What became of it is in its row.
            Ok(Some(task)) => drop(self.run(task)),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a stored task could not be run in place"),
        }
    }

    /// Bodies in other threads have the grace to end; this thread's own cannot be waited for.
    fn shutdown(&self, grace: Duration) -> Result<Stopped, Error> {
        let own = DEPTH.get() as usize;
        let others = self.minder.count().saturating_sub(own);
        let mut left = self.minder.wait_for(own, grace);
        if left > 0 {
            self.minder.stop_all(StopReason::Shutdown);
            left = self.minder.wait_for(own, STOP_DELAY);
        }
        self.leave()?;
        Ok(Stopped { finished: others - left, handed_back: left, still_running: left })
    }
}

impl PendingRunner for Inline {
    fn leave(&self) -> Result<(), Error> {
        self.minder.stop();
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
        owner.map_or(Ok(()), |owner| self.backend.leave(self.clock.now(), owner))
    }

    fn run_pending(&self, pending: &Pending) -> Result<Ran, Error> {
        let owner = self.owner()?;
        self.backend.rescue(self.clock.now(), owner)?;
        let selected = Selected {
            only: pending.only.clone(),
            except: pending.except.clone(),
            taken: AtomicBool::new(false),
        };
        let caller = self.caller(Some(selected))?;
        let mut ran = Ran::default();
        let mut finishes = self.take_unkept();
        loop {
            let exchanged = self.backend.exchange(self.clock.now(), &finishes, Some(&*caller));
            for finish in &finishes {
                self.minder.end(finish.lease.row);
            }
            let done = match exchanged {
                Ok(done) => done,
                Err(error) => {
                    self.unkept().extend(finishes);
                    return Err(error);
                }
            };
            for (finish, answer) in finishes.iter().zip(&done.finished) {
                match answer {
                    Ok(Finished { state: State::Succeeded, .. }) => ran.succeeded += 1,
                    Ok(Finished { state, .. }) if state.is_final() => ran.failed += 1,
                    Ok(_) => ran.postponed += 1,
                    Err(error) => tell_lost(finish, error),
                }
            }
            finishes.clear();
            for task in &done.claimed {
                finishes.extend(self.attempt(task));
                caller.release(&task.queue, task.arguments.len());
            }
            for task in &done.unflushed {
                finishes.push(given_back(task, self.clock.now()));
                caller.release(&task.queue, task.arguments.len());
            }
            if done.claimed.is_empty() && finishes.is_empty() {
                return Ok(ran);
            }
        }
    }
}
