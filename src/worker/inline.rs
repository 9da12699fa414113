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

mod caller;
mod gather;
#[cfg(any(feature = "cli", feature = "testing"))]
mod rest;
#[cfg(feature = "testing")]
mod step;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use self::caller::{Caller, InHand};
use super::book::Ends;
use super::minder::Minder;
use super::{given_back, tell_lost};
use crate::attempt::{self, Ended};
use crate::backend::{Backend, Exchanged, Offer, Picked, SuspectHold, SuspectPlace, next_view};
use crate::catalog::Catalog;
use crate::client::Client;
use crate::error::Error;
use crate::hook::{Hooks, Telling};
#[cfg(feature = "testing")]
use crate::hub::Stepper;
use crate::hub::{Hub, Pending, PendingRunner, Ran, Runner, Stopped, Stops};
use crate::id::TaskId;
use crate::inside;
use crate::intake::Left;
use crate::mode::Mode;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Finished, Member};
use crate::registry::Registry;
use crate::retry::Retry;
use crate::state::{Reason, State};
use crate::time::{Clock, Timestamp};

/// Tasks within tasks run in place down to this depth.
const DEPTH_MAX: u32 = 32;
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
    pub(super) minder: Arc<Minder>,
    suspect: Arc<SuspectPlace>,
    /// Many claim at once, or one sends again what could not be stored. Whoever claims holds what he has
    /// claimed before the next sends, which is how the book knows that an end is not to be sent any more.
    turns: RwLock<()>,
    /// Whether other processes had running tasks when it was last looked.
    others_run: AtomicBool,
}

/// What one commit has claimed for a caller.
#[derive(Default)]
struct Taken {
    claimed: Vec<InHand>,
    /// Not to be run.
    unflushed: Vec<InHand>,
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
            minder: Minder::new(
                Arc::downgrade(hub),
                Arc::clone(&backend),
                Arc::clone(&clock),
                member,
            ),
            suspect: Arc::clone(&hub.suspect),
            backend,
            hooks: Arc::clone(&hub.hooks),
            clock,
            catalog: Arc::clone(&hub.catalog),
            registry,
            retry_in_place,
            turns: RwLock::default(),
            others_run: AtomicBool::new(false),
        }
    }

    /// What this thread offers; `closed` when the client is being shut down.
    fn caller(&self, pending: Option<Pending>) -> Result<Arc<Caller>, Error> {
        Ok(Arc::new(Caller {
            visit: self.minder.enter()?,
            view: next_view(),
            catalog: Arc::clone(&self.catalog),
            registry: Arc::clone(&self.registry),
            pending,
            taken: AtomicUsize::new(0),
            suspect: SuspectHold::new(Arc::clone(&self.suspect)),
        }))
    }

    /// The calling thread has these in hand.
    fn hold(&self, tasks: Vec<Claimed>, caller: Option<&Caller>) -> Vec<InHand> {
        let hold = |task: Claimed| {
            let ticket = self.minder.hold(&task);
            let alone = caller.and_then(|caller| caller.alone(&task, self.backend.signal()));
            InHand { task, ticket, alone }
        };
        tasks.into_iter().map(hold).collect()
    }

    /// Runs one task, and while it fails and may be tried again, its next attempts; says what the
    /// last came to.
    fn run(&self, mut held: InHand) -> Option<Finished> {
        let in_place = InPlace { began: Instant::now(), began_at: self.clock.now() };
        loop {
            let Ended { mut finish, kept, with_it } = self.attempt(&held);
            let InHand { task, ticket, alone } = held;
            drop(alone);
            if kept.is_some() {
                self.end(&Ends::one(finish, ticket), &[kept]);
                self.run_followers_of(&task);
                self.run_followers_of_rows(&with_it);
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
            let mut ends = Ends::one(finish, ticket);
            let came_to = self.record(&mut ends).pop().flatten();
            let failed = came_to.is_some_and(|came_to| came_to.reason == Some(Reason::Retry));
            let next = if again && failed { self.claim(task.id) } else { None };
            if let Some(next) = next {
                // The next is held before the last is ended, so that whoever waits sees no gap.
                self.minder.end(&ends);
                held = next;
            } else {
                self.end(&ends, &[came_to]);
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

    /// Claims one task by name and holds it; the second value has what has ended unrun instead: the task, and
    /// others with it.
    fn pick(&self, id: TaskId, caller: &Caller) -> Result<(Option<InHand>, Vec<i64>), Error> {
        self.backend.check_usable()?;
        let picked = {
            let _turn = self.turns.read().unwrap_or_else(PoisonError::into_inner);
            match self.backend.claim_one(self.clock.now(), id, caller)? {
                Picked::Task(task) => (self.hold(vec![*task], Some(caller)).pop(), Vec::new()),
                Picked::Ended(rows) => (None, rows),
                Picked::NotNow => (None, Vec::new()),
            }
        };
        self.hooks.tell_unrun(&*self.backend, &picked.1);
        Ok(picked)
    }

    /// The same to run it in place, unless the client is being shut down.
    fn claim(&self, id: TaskId) -> Option<InHand> {
        match self.caller(None).and_then(|caller| self.pick(id, &caller)) {
            Ok((held, ended)) => {
                self.run_followers_of_rows(&ended);
                held
            }
            Err(Error::Closed) => None,
            Err(error) => {
                tracing::error!(%error, %id, "a task could not be claimed to be run in place");
                None
            }
        }
    }

    /// One attempt; handed back unrun when it must not begin.
    fn attempt(&self, held: &InHand) -> Ended {
        let task = &held.task;
        let prepared = attempt::prepare(&self.registry, task.clone());
        let (Some(hub), Ok(slot)) =
            (self.hub.upgrade(), self.minder.begin(held.ticket, &prepared.token))
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

    /// Commits what attempts came to, after what could not be committed before; says what each came to, as
    /// far as it is known. What cannot be committed is kept for later.
    fn record(&self, ends: &mut Ends) -> Vec<Option<Finished>> {
        let recorded = match self.flush_unkept() {
            Ok(()) => self.exchange(ends, None),
            Err(error) => {
                self.keep(std::mem::take(ends));
                Err(error)
            }
        };
        match recorded {
            Ok((done, _none)) => done.finished.into_iter().map(Result::ok).collect(),
            Err(error) => {
                tracing::error!(%error, "a finish could not be stored; it is kept for the next commit");
                Vec::new()
            }
        }
    }

    /// One commit: these ends, and what is claimed for the caller. What cannot be committed is kept for later.
    fn exchange(
        &self,
        ends: &mut Ends,
        caller: Option<&Caller>,
    ) -> Result<(Exchanged, Taken), Error> {
        self.minder.drop_overtaken(ends);
        let telling = self.hooks.ending(&ends.finishes);
        let offer = caller.map(|caller| caller as &dyn Offer);
        let exchanged = self.backend.check_usable().and_then(|()| {
            let _turn = self.turns.read().unwrap_or_else(PoisonError::into_inner);
            let mut done = self.backend.exchange(self.clock.now(), &ends.finishes, offer)?;
            let claimed = self.hold(std::mem::take(&mut done.claimed), caller);
            let unflushed = self.hold(std::mem::take(&mut done.unflushed), caller);
            Ok((done, Taken { claimed, unflushed }))
        });
        if let Ok((done, _)) = &exchanged {
            self.tell(telling, ends, done);
        } else {
            drop(telling);
            self.keep(std::mem::take(ends));
        }
        exchanged
    }

    /// Tells what ends came to, and looks whether this process was given up.
    fn tell(&self, telling: Telling<'_>, ends: &Ends, done: &Exchanged) {
        let mut lost = false;
        telling.tell(&ends.finishes, &done.finished, |finish, error| {
            tell_lost(finish, error);
            lost |= matches!(error, Error::LeaseLost { .. });
        });
        self.hooks.tell_unrun(&*self.backend, &done.ended);
        self.run_followers_of_rows(&done.ended);
        if lost {
            self.minder.renew();
        }
    }

    /// Ends what this thread held. Whoever waits for a task that goes on later looks again, as
    /// there may be nobody now who runs it.
    fn end(&self, ends: &Ends, answers: &[Option<Finished>]) {
        self.minder.end(ends);
        let goes_on = |answer: &Option<Finished>| answer.is_none_or(|came| !came.state.is_final());
        let open = ends.finishes.iter().zip(answers).filter(|(_, answer)| goes_on(answer));
        self.backend.signal().changed(open.map(|(finish, _)| finish.lease.row));
    }

    /// Keeps what could not be stored for the next commit.
    fn keep(&self, ends: Ends) {
        let rows: Vec<i64> = ends.finishes.iter().map(|finish| finish.lease.row).collect();
        self.minder.keep(ends);
        self.backend.signal().changed(rows);
    }

    /// Hands tasks back that have not begun; says what became of each.
    fn hand_back(&self, tasks: Vec<InHand>) -> Vec<(TaskId, Finished)> {
        let now = self.clock.now();
        let mut ends = Ends::default();
        for held in tasks {
            ends.push(given_back(&held.task, now), held.ticket);
        }
        let answers = self.record(&mut ends);
        self.end(&ends, &answers);
        let ids = ends.finishes.iter().map(|finish| finish.id);
        ids.zip(answers).filter_map(|(id, answer)| Some((id, answer?))).collect()
    }

    /// Commits what could not be committed before.
    fn flush_unkept(&self) -> Result<(), Error> {
        let mut ends = self.minder.take_unkept();
        while !ends.is_empty() {
            let telling = self.hooks.ending(&ends.finishes);
            let sent = self.backend.check_usable().and_then(|()| {
                let _alone = self.turns.write().unwrap_or_else(PoisonError::into_inner);
                if self.minder.drop_overtaken(&mut ends) {
                    return Ok(None);
                }
                self.backend.exchange(self.clock.now(), &ends.finishes, None).map(Some)
            });
            match sent {
                Ok(None) => {}
                Ok(Some(done)) => {
                    // It is stored, however long the receivers of events take.
                    let answers: Vec<_> =
                        done.finished.iter().map(|came| came.as_ref().ok().copied()).collect();
                    self.end(&ends, &answers);
                    self.tell(telling, &ends, &done);
                    return Ok(());
                }
                Err(error) => {
                    drop(telling);
                    self.keep(ends);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What `run_pending` offers: one place at a time.
    fn pending_caller(&self, pending: &Pending) -> Result<Arc<Caller>, Error> {
        self.caller(Some(pending.clone()))
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
        let mut ran = Vec::with_capacity(claimed.len());
        let mut rest = self.hold(claimed, None).into_iter();
        while let Some(held) = rest.next() {
            if self.minder.is_draining() {
                ran.extend(self.hand_back(std::iter::once(held).chain(rest).collect()));
                break;
            }
            let id = held.task.id;
            ran.extend(self.run(held).map(|finished| (id, finished)));
        }
        ran
    }

    fn run_stored(&self, id: TaskId) -> Option<Finished> {
        if depth() >= DEPTH_MAX {
            return None;
        }
        self.claim(id).and_then(|held| self.run(held))
    }

    fn run_followers(&self, id: TaskId) {
        let runs_at_once = self.hub.upgrade().is_some_and(|hub| hub.mode == Mode::Inline);
        if !runs_at_once {
            return;
        }
        match self.backend.followers(id) {
            Ok(followers) => followers.into_iter().for_each(|follower| {
                let _in_its_row = self.run_stored(follower);
            }),
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

    #[cfg(feature = "cli")]
    fn bodies(&self) -> usize {
        self.minder.bodies()
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

    fn send_again(&self) {
        if let Err(error) = self.flush_unkept() {
            tracing::error!(%error, "a finish could not be stored; it is sent again");
        }
    }

    #[cfg(feature = "cli")]
    fn rest(&self) -> Result<Duration, Error> {
        self.rest_for()
    }

    #[cfg(feature = "testing")]
    fn stepper(&self) -> &dyn Stepper {
        self
    }

    fn run_pending(&self, pending: &Pending) -> Result<Ran, Error> {
        let mut caller = self.pending_caller(pending)?;
        self.look_after(caller.owner())?;
        let mut ran = Ran::default();
        let mut may_begin = pending.at_most.unwrap_or(usize::MAX);
        loop {
            let left = self.take_inbox()?;
            self.fire_schedules()?;
            let before = ran;
            self.run_due(&mut caller, pending, &mut may_begin, &mut ran)?;
            // What has run has made room for what was held back.
            if left != Left::HeldBack || ran == before || may_begin == 0 {
                return Ok(ran);
            }
        }
    }
}

impl Inline {
    /// Runs what is due, until nothing more is or so many attempts have begun.
    fn run_due(
        &self,
        caller: &mut Arc<Caller>,
        pending: &Pending,
        may_begin: &mut usize,
        ran: &mut Ran,
    ) -> Result<(), Error> {
        let mut ends = Ends::default();
        loop {
            let may_claim = *may_begin > 0 && self.may_claim(caller, pending, ends.is_empty())?;
            if !may_claim && ends.is_empty() {
                return Ok(());
            }
            let (done, taken) = self.exchange(&mut ends, may_claim.then_some(&**caller))?;
            let answers: Vec<_> = done.finished.into_iter().map(Result::ok).collect();
            tally(ran, &ends.finishes, &answers);
            self.end(&ends, &answers);
            ends = Ends::default();
            let claimed = taken.claimed.len() + taken.unflushed.len();
            *may_begin -= taken.claimed.len().min(*may_begin);
            if let Some(all) = &pending.claimed {
                all.fetch_add(taken.claimed.len(), Ordering::SeqCst);
            }
            for held in taken.claimed {
                let Ended { finish, kept, .. } = self.attempt(&held);
                caller.release(&held.task.queue, held.task.arguments.len());
                if kept.is_some() {
                    tally(ran, std::slice::from_ref(&finish), &[kept]);
                    self.end(&Ends::one(finish, held.ticket), &[kept]);
                } else {
                    ends.push(finish, held.ticket);
                }
            }
            for held in taken.unflushed {
                ends.push(given_back(&held.task, self.clock.now()), held.ticket);
                caller.release(&held.task.queue, held.task.arguments.len());
            }
            // What ends without running may let others run.
            if may_claim && claimed == 0 && !done.more {
                return Ok(());
            }
        }
    }
}
