//! Run: in the calling thread, where no pool is configured, and for `run_pending`.
//!
//! A task that is due now runs before `enqueue` returns: the same row, the same accounting, the
//! same encoding and decoding as in a pool. When it fails and attempts are left, the next follow at
//! once, without the back-off, for at most 10 s; what is left then is stored for later. Tasks
//! enqueued by tasks run depth-first, up to 32 deep, receivers of events included; deeper ones are
//! stored.
//!
//! When the client is shut down, no caller claims or begins anything more: the rest of its batch is
//! handed back, and `run_pending` returns what it did until then.

#[cfg(feature = "testing")]
mod step;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::minder::{Minder, Visit};
use super::{given_back, tell_lost};
use crate::attempt::{self, Ended};
use crate::backend::{Backend, Exchanged, Offer, Picked, Room, next_view};
use crate::catalog::Catalog;
use crate::client::Client;
use crate::error::Error;
use crate::hook::Hooks;
#[cfg(feature = "testing")]
use crate::hub::Stepper;
use crate::hub::{Hub, Pending, PendingRunner, Ran, Runner, Stopped, Stops};
use crate::id::TaskId;
use crate::inside;
use crate::intake::{self, Left};
use crate::mode::Mode;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Finished, Member};
use crate::registry::Registry;
use crate::retry::Retry;
use crate::state::{Reason, State};
use crate::time::{Clock, Timestamp};

/// Tasks within tasks run in place down to this depth.
const DEPTH_MAX: u32 = 32;
/// A call of `run_pending` removes what ended long ago for about this long, and goes on in the next.
const PRUNE_FOR: Duration = Duration::from_millis(20);
/// Attempts follow each other in place for at most this long.
const IN_PLACE: Duration = Duration::from_secs(10);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// How deep this thread is in tasks within tasks, and in receivers of events that enqueue.
fn depth() -> u32 {
    DEPTH.get() + inside::receivers()
}

/// Runs tasks in whichever thread calls.
pub(crate) struct Inline {
    hub: Weak<Hub>,
    backend: Arc<dyn Backend>,
    hooks: Arc<Hooks>,
    clock: Arc<dyn Clock>,
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    /// Whether attempts follow each other in place.
    retry_in_place: bool,
    minder: Arc<Minder>,
    /// Finishes whose commit failed.
    unkept: Mutex<Vec<Finish>>,
}

/// What an inline caller offers: a place for its own task, whatever else waits.
struct Caller {
    visit: Visit,
    view: u64,
    catalog: Arc<Catalog>,
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

impl Offer for Caller {
    fn owner(&self) -> i64 {
        self.visit.owner
    }

    fn view(&self) -> u64 {
        self.view
    }

    fn serves(&self, _queue: &str, kind: &str) -> bool {
        let selected = self.pending.as_ref().is_none_or(|pending| {
            let names = |list: &[String]| list.iter().any(|name| self.catalog.is_same(name, kind));
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

/// Since when attempts follow each other in place.
struct InPlace {
    began: Instant,
    began_at: Timestamp,
}

impl InPlace {
    /// Whether another attempt may follow: not when the time is over by either clock, so that a
    /// clock set back does not make it longer.
    fn may_go_on(&self, now: Timestamp) -> bool {
        self.began.elapsed() < IN_PLACE && self.began_at.until(now) < IN_PLACE
    }
}

impl Inline {
    pub(crate) fn new(
        hub: &Arc<Hub>,
        registry: Arc<Registry>,
        name: String,
        retry_in_place: bool,
    ) -> Self {
        let member = Member { name, threads: 1, kinds: registry.names(), ..Member::default() };
        let (backend, clock) = (Arc::clone(&hub.backend), Arc::clone(&hub.clock));
        Self {
            hub: Arc::downgrade(hub),
            minder: Minder::new(Arc::clone(&backend), Arc::clone(&clock), member),
            backend,
            hooks: Arc::clone(&hub.hooks),
            clock,
            catalog: Arc::clone(&hub.catalog),
            registry,
            retry_in_place,
            unkept: Mutex::default(),
        }
    }

    /// What this thread offers; `closed` when the client is being shut down.
    fn caller(&self, pending: Option<Selected>) -> Result<Arc<Caller>, Error> {
        Ok(Arc::new(Caller {
            visit: self.minder.enter()?,
            view: next_view(),
            catalog: Arc::clone(&self.catalog),
            registry: Arc::clone(&self.registry),
            pending,
            suspect: AtomicBool::new(false),
        }))
    }

    /// Runs one task, and while it fails and may be tried again, its next attempts; says what the
    /// last came to.
    fn run(&self, mut task: Claimed) -> Option<Finished> {
        let in_place = InPlace { began: Instant::now(), began_at: self.clock.now() };
        loop {
            let Ended { mut finish, kept } = self.attempt(&task);
            if kept.is_some() {
                self.end(&[finish], &[kept]);
                self.run_followers_of(&task);
                return kept;
            }
            let retries = matches!(finish.outcome, Outcome::Retry { after: None, .. });
            let again = retries
                && self.retry_in_place
                && in_place.may_go_on(self.clock.now())
                && !self.minder.is_draining();
            if again {
                finish.retry = Arc::new(Retry::ladder([]));
            }
            let finishes = [finish];
            let came_to = self.record(&finishes).pop().flatten();
            let failed = came_to.is_some_and(|came_to| came_to.reason == Some(Reason::Retry));
            let next = if again && failed { self.claim(task.id) } else { None };
            if let Some(next) = next {
                // The next is held before the last is ended, so that whoever waits sees no gap.
                self.minder.end(&finishes);
                task = next;
            } else {
                self.end(&finishes, &[came_to]);
                if came_to.is_some_and(|came_to| came_to.state.is_final()) {
                    self.run_followers_of(&task);
                }
                return came_to;
            }
        }
    }

    fn run_followers_of(&self, task: &Claimed) {
        if task.extra.as_ref().is_some_and(|extra| !extra.ties.follow.is_empty()) {
            self.run_followers(task.id);
        }
    }

    /// Runs what follows those that ended without an attempt.
    fn run_followers_of_rows(&self, rows: &[i64]) {
        for row in rows {
            // What is gone or unreadable is told by the hooks.
            if let Ok(Some(task)) = self.backend.by_row(*row) {
                self.run_followers(task.id);
            }
        }
    }

    /// Claims one task by name and holds it, unless the client is being shut down.
    fn claim(&self, id: TaskId) -> Option<Claimed> {
        let claimed = self.caller(None).and_then(|caller| {
            let picked = self.backend.claim_one(self.clock.now(), id, &*caller)?;
            if let Picked::Task(task) = &picked {
                self.minder.hold(std::slice::from_ref(&**task));
            }
            Ok(picked)
        });
        match claimed {
            Ok(Picked::Task(task)) => Some(*task),
            Ok(Picked::Ended) => {
                self.hooks.ended_unrun(&*self.backend, &[id.row()]);
                self.run_followers(id);
                None
            }
            Ok(Picked::NotNow) | Err(Error::Closed) => None,
            Err(error) => {
                tracing::error!(%error, %id, "a task could not be claimed to be run in place");
                None
            }
        }
    }

    /// One attempt; handed back unrun when it must not begin.
    fn attempt(&self, task: &Claimed) -> Ended {
        let prepared = attempt::prepare(&self.registry, task.clone());
        let (Some(hub), Ok(slot)) = (self.hub.upgrade(), self.minder.begin(task, &prepared.token))
        else {
            // If somebody cancelled it, the request in its row ends it.
            return given_back(task, self.clock.now()).into();
        };
        let client = Client::inner(hub);
        self.backend.note_start(task.lease.owner, slot, task.lease.row, task.lease.attempt);
        crate::fault::point("running");
        DEPTH.set(DEPTH.get() + 1);
        let ended = attempt::run(&client, &self.registry, &prepared);
        DEPTH.set(DEPTH.get() - 1);
        ended
    }

    /// Commits finishes, after those that could not be committed before; says what each came to,
    /// as far as it is known.
    fn record(&self, finishes: &[Finish]) -> Vec<Option<Finished>> {
        let before = self.take_unkept();
        let together = if before.is_empty() { Vec::new() } else { [&before, finishes].concat() };
        let all = if before.is_empty() { finishes } else { &together };
        match self.exchange(all, None) {
            Ok(done) => done.finished.into_iter().skip(before.len()).map(Result::ok).collect(),
            Err(error) => {
                tracing::error!(%error, "a finish could not be stored; it is kept for the next commit");
                self.unkept().extend_from_slice(all);
                vec![None; finishes.len()]
            }
        }
    }

    /// One commit. Tells what the finishes came to, and looks whether this process was given up.
    fn exchange(&self, finishes: &[Finish], offer: Option<&dyn Offer>) -> Result<Exchanged, Error> {
        let telling = self.hooks.ending(finishes);
        let done = self.backend.exchange(self.clock.now(), finishes, offer)?;
        let mut lost = false;
        telling.tell(finishes, &done.finished, |finish, error| {
            tell_lost(finish, error);
            lost |= matches!(error, Error::LeaseLost { .. });
        });
        self.hooks.ended_unrun(&*self.backend, &done.ended);
        self.run_followers_of_rows(&done.ended);
        if lost {
            self.minder.renew();
        }
        Ok(done)
    }

    /// Ends what this thread held. Whoever waits for a task that goes on later looks again, as
    /// there may be nobody now who runs it.
    fn end(&self, finishes: &[Finish], answers: &[Option<Finished>]) {
        self.minder.end(finishes);
        let goes_on = |answer: &Option<Finished>| answer.is_none_or(|came| !came.state.is_final());
        let open = finishes.iter().zip(answers).filter(|(_, answer)| goes_on(answer));
        self.backend.signal().changed(open.map(|(finish, _)| finish.lease.row));
    }

    /// Hands tasks back that have not begun; says what became of each.
    fn hand_back(&self, tasks: &[Claimed]) -> Vec<(TaskId, Finished)> {
        let now = self.clock.now();
        let finishes: Vec<Finish> = tasks.iter().map(|task| given_back(task, now)).collect();
        let answers = self.record(&finishes);
        self.end(&finishes, &answers);
        tasks.iter().zip(answers).filter_map(|(task, answer)| Some((task.id, answer?))).collect()
    }

    fn unkept(&self) -> MutexGuard<'_, Vec<Finish>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_unkept(&self) -> Vec<Finish> {
        std::mem::take(&mut *self.unkept())
    }

    /// Commits what could not be committed before.
    fn flush_unkept(&self) -> Result<(), Error> {
        let finishes = self.take_unkept();
        if finishes.is_empty() {
            return Ok(());
        }
        match self.exchange(&finishes, None) {
            Ok(_done) => Ok(()),
            Err(error) => {
                self.unkept().extend(finishes);
                Err(error)
            }
        }
    }

    /// Removes a slice of what ended long ago, where that is due. Whatever ended in callers until now
    /// counts: nobody else looks after their file.
    fn prune(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.pruner.work_for(PRUNE_FOR);
        }
    }

    /// What `run_pending` offers: one place at a time.
    fn pending_caller(&self, pending: &Pending) -> Result<Arc<Caller>, Error> {
        self.caller(Some(Selected {
            only: pending.only.clone(),
            except: pending.except.clone(),
            taken: AtomicBool::new(false),
        }))
    }

    /// Whether `run_pending` may claim more: not at the end, and not under a number that was given
    /// up. For that one it joins again, once it has nothing in hand.
    fn may_claim(
        &self,
        caller: &mut Arc<Caller>,
        pending: &Pending,
        empty_handed: bool,
    ) -> Result<bool, Error> {
        if self.minder.is_draining() {
            return Ok(false);
        }
        if self.minder.is_current(caller.owner()) {
            return Ok(true);
        }
        if !empty_handed {
            return Ok(false);
        }
        match self.pending_caller(pending) {
            Ok(joined) => *caller = joined,
            Err(Error::Closed) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

impl Runner for Inline {
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error> {
        if depth() >= DEPTH_MAX {
            return Ok(None);
        }
        match self.caller(None) {
            Ok(caller) => Ok(Some(caller as Arc<dyn Offer>)),
            // A body may still store what it enqueues.
            Err(Error::Closed) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take(&self, claimed: Vec<Claimed>) -> Vec<(TaskId, Finished)> {
        if claimed.len() > 1 {
            self.minder.hold(&claimed);
        }
        let mut ran = Vec::with_capacity(claimed.len());
        let mut rest = claimed.into_iter();
        while let Some(task) = rest.next() {
            if self.minder.is_draining() {
                let left: Vec<Claimed> = std::iter::once(task).chain(rest).collect();
                ran.extend(self.hand_back(&left));
                break;
            }
            let id = task.id;
            ran.extend(self.run(task).map(|finished| (id, finished)));
        }
        ran
    }

    fn run_stored(&self, id: TaskId) {
        if depth() >= DEPTH_MAX {
            return;
        }
        if let Some(task) = self.claim(id) {
            let _in_its_row = self.run(task);
        }
    }

    fn run_followers(&self, id: TaskId) {
        let runs_at_once = self.hub.upgrade().is_some_and(|hub| hub.mode == Mode::Inline);
        if !runs_at_once {
            return;
        }
        match self.backend.followers(id) {
            Ok(followers) => followers.into_iter().for_each(|follower| self.run_stored(follower)),
            Err(error) => {
                tracing::error!(%error, %id, "what follows a task could not be run in place");
            }
        }
    }

    fn as_stops(&self) -> Option<&dyn Stops> {
        None
    }
}

impl Stops for Inline {
    fn drain(&self) {
        self.minder.drain();
    }

    fn wait_idle(&self, until: Instant) -> bool {
        self.minder.wait_idle(until)
    }

    fn ask(&self) {
        self.minder.ask();
    }

    fn leave(&self) -> Result<Stopped, Error> {
        self.flush_unkept()?;
        self.minder.leave()
    }
}

/// Counts what attempts came to. What was handed back is as if it had not run.
fn tally(ran: &mut Ran, finishes: &[Finish], answers: &[Option<Finished>]) {
    for (finish, answer) in finishes.iter().zip(answers) {
        match answer {
            Some(_) if finish.outcome == Outcome::GivenBack => {}
            Some(Finished { state: State::Succeeded, .. }) => ran.succeeded += 1,
            Some(Finished { state, .. }) if state.is_final() => ran.failed += 1,
            Some(_) => ran.postponed += 1,
            None => {}
        }
    }
}

impl PendingRunner for Inline {
    fn holds(&self, row: i64) -> bool {
        self.minder.holds(row)
    }

    #[cfg(feature = "testing")]
    fn stepper(&self) -> &dyn Stepper {
        self
    }

    fn run_pending(&self, pending: &Pending) -> Result<Ran, Error> {
        let mut caller = self.pending_caller(pending)?;
        self.flush_unkept()?;
        self.backend.rescue(self.clock.now(), caller.owner())?;
        self.prune();
        let mut ran = Ran::default();
        loop {
            let left = self.take_inbox()?;
            let before = ran;
            self.run_due(&mut caller, pending, &mut ran)?;
            // What has run has made room for what was held back.
            if left != Left::HeldBack || ran == before {
                return Ok(ran);
            }
        }
    }
}

impl Inline {
    /// Makes tasks of what programs in other languages have written.
    fn take_inbox(&self) -> Result<Left, Error> {
        let Some(hub) = self.hub.upgrade() else { return Ok(Left::Nothing) };
        intake::take_all(&hub, || !self.minder.is_draining())
    }

    /// Runs what is due, until nothing more is.
    fn run_due(
        &self,
        caller: &mut Arc<Caller>,
        pending: &Pending,
        ran: &mut Ran,
    ) -> Result<(), Error> {
        let mut finishes: Vec<Finish> = Vec::new();
        loop {
            let may_claim = self.may_claim(caller, pending, finishes.is_empty())?;
            if !may_claim && finishes.is_empty() {
                return Ok(());
            }
            let offer = may_claim.then_some(&**caller as &dyn Offer);
            let done = match self.exchange(&finishes, offer) {
                Ok(done) => done,
                Err(error) => {
                    self.minder.end(&finishes);
                    self.unkept().extend(finishes);
                    return Err(error);
                }
            };
            let answers: Vec<_> = done.finished.into_iter().map(Result::ok).collect();
            tally(ran, &finishes, &answers);
            self.end(&finishes, &answers);
            finishes.clear();
            let claimed = done.claimed.len() + done.unflushed.len();
            for task in &done.claimed {
                let Ended { finish, kept } = self.attempt(task);
                caller.release(&task.queue, task.arguments.len());
                if kept.is_some() {
                    tally(ran, std::slice::from_ref(&finish), &[kept]);
                    self.end(&[finish], &[kept]);
                } else {
                    finishes.push(finish);
                }
            }
            for task in &done.unflushed {
                finishes.push(given_back(task, self.clock.now()));
                caller.release(&task.queue, task.arguments.len());
            }
            // What ends without running may let others run.
            if may_claim && claimed == 0 && !done.more {
                return Ok(());
            }
        }
    }
}
