//! Run: what callers' threads hold, and what a caller cannot do for itself while it is inside a
//! body: renew the lease, and hear that somebody asked the body to stop.
//!
//! One thread for each client minds the book, started by the first body. While tasks are held it wakes
//! every 10 s; while none are it sleeps until the next body begins. It calls nothing of the program's:
//! ends that could not be stored are sent again, at each renewal, by a thread that is started for that
//! and tells receivers of events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::book::{Book, Ends, Ticket};
use super::keeper::{RENEW_EVERY, pause_after};
use super::state::Phase;
use super::{spawn, unstored};
use crate::backend::Backend;
use crate::context::{StopReason, Token};
use crate::error::Error;
use crate::hub::{Hub, Stopped};
use crate::record::{Claimed, Member};
use crate::time::Clock;
use crate::watch::{Listener, Notice};

/// Minds what callers' threads hold.
pub(super) struct Minder {
    hub: Weak<Hub>,
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    member: Member,
    book: Mutex<Book>,
    /// Nothing more is claimed; a copy of what the book says, for those who only look.
    draining: AtomicBool,
    /// One caller joins at a time. Goes before the lock of the book.
    joining: Mutex<()>,
    started: Once,
    /// A thread sends again what could not be stored.
    sending: AtomicBool,
    /// For the thread; goes with the book.
    wake: Condvar,
    /// Something has ended; goes with the book.
    ended: Condvar,
}

/// A caller that may claim tasks, or a thread that sends again what could not be stored; the end of the
/// client waits for it.
pub(super) struct Visit {
    minder: Arc<Minder>,
    pub(super) owner: i64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut book = self.minder.book();
        book.caller_goes();
        let phase = book.phase;
        drop(book);
        self.minder.tell_ended(phase);
    }
}

impl Minder {
    pub(super) fn new(
        hub: Weak<Hub>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        member: Member,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            backend,
            clock,
            member,
            book: Mutex::new(Book::new()),
            draining: AtomicBool::new(false),
            joining: Mutex::default(),
            started: Once::new(),
            sending: AtomicBool::new(false),
            wake: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a caller in that may claim, and joins when it is the first; `closed` at the end.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Visit, Error> {
        let known = {
            let mut book = self.book();
            if book.phase != Phase::Running {
                return Err(Error::Closed);
            }
            book.callers += 1;
            book.owner
        };
        let mut visit = Visit { minder: Arc::clone(self), owner: 0 };
        visit.owner = match known {
            Some(owner) => owner,
            None => self.join()?,
        };
        Ok(visit)
    }

    fn join(&self) -> Result<i64, Error> {
        let _one = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = self.book().owner {
            return Ok(owner);
        }
        let owner = self.backend.join(self.clock.now(), &self.member)?;
        self.book().owner = Some(owner);
        Ok(owner)
    }

    /// Whether tasks are held under this number, and not given up.
    pub(super) fn is_current(&self, owner: i64) -> bool {
        self.book().owner == Some(owner)
    }

    /// Whether the end has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether a caller has a task of this row in hand, or is between two attempts of it.
    pub(super) fn holds(&self, row: i64) -> bool {
        self.book().holds(row)
    }

    /// The calling thread holds this one, and begins it.
    pub(super) fn hold(&self, task: &Claimed) -> Ticket {
        self.book().hold(task)
    }

    /// A body is to begin in the calling thread: its slot, or why it must not begin.
    pub(super) fn begin(
        self: &Arc<Self>,
        ticket: Ticket,
        token: &Arc<Token>,
    ) -> Result<usize, StopReason> {
        let mut book = self.book();
        let slot = book.begin(ticket, token)?;
        self.mind(book);
        Ok(slot)
    }

    /// Sees to it that what is held is minded.
    fn mind(self: &Arc<Self>, mut book: MutexGuard<'_, Book>) {
        let asleep = std::mem::take(&mut book.asleep);
        drop(book);
        self.started.call_once(|| {
            // Without the thread a body is only without help, and is still run.
            if let Err(error) = self.start() {
                tracing::warn!(%error, "inline bodies cannot be minded");
            }
        });
        if asleep {
            self.wake.notify_one();
        }
    }

    /// Tasks are held no longer, and what they came to is stored.
    pub(super) fn end(&self, ends: &Ends) {
        if ends.is_empty() {
            return;
        }
        let mut book = self.book();
        book.end(ends);
        let phase = book.phase;
        drop(book);
        self.tell_ended(phase);
    }

    /// What these came to could not be stored: until it is, their lease is kept alive.
    pub(super) fn keep(self: &Arc<Self>, ends: Ends) {
        if ends.is_empty() {
            return;
        }
        let mut book = self.book();
        book.keep(ends);
        let phase = book.phase;
        self.mind(book);
        self.tell_ended(phase);
    }

    /// What could not be stored, for the calling thread to store or to keep again.
    pub(super) fn take_unkept(&self) -> Ends {
        self.book().take_unkept()
    }

    /// Takes out what must not be sent any more, as its task has been claimed anew; says whether there was
    /// any.
    pub(super) fn drop_overtaken(&self, ends: &mut Ends) -> bool {
        !ends.is_empty() && self.book().drop_overtaken(ends)
    }

    /// Nobody waits for an end before the end of all.
    fn tell_ended(&self, phase: Phase) {
        if phase != Phase::Running {
            self.ended.notify_all();
        }
    }

    /// From now on nothing is claimed and no body begins.
    pub(super) fn drain(&self) {
        let mut book = self.book();
        if book.phase == Phase::Running {
            book.phase = Phase::Draining;
            self.draining.store(true, Ordering::SeqCst);
        }
    }

    /// Waits until nothing is held and no caller may claim; false when `until` came first.
    pub(super) fn wait_idle(&self, until: Instant) -> bool {
        let patience = until.saturating_duration_since(Instant::now());
        let waited = self.ended.wait_timeout_while(self.book(), patience, |book| !book.is_idle());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_idle()
    }

    /// How many bodies callers run.
    #[cfg(feature = "cli")]
    pub(super) fn bodies(&self) -> usize {
        self.book().bodies()
    }

    /// Asks every body to stop.
    pub(super) fn ask(&self) {
        self.book().stop_all(StopReason::Shutdown, |_| true);
    }

    /// The end: what is still held is given up, unless somebody is storing what it came to. Ends the owner
    /// and the thread, and says what came of all that was held. After an error it may be called again.
    pub(super) fn leave(&self) -> Result<Stopped, Error> {
        let _one = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let (owner, counts) = {
            let mut book = self.book();
            if book.has_unstored() {
                return Err(unstored());
            }
            book.give_up();
            (book.owner, book.counts)
        };
        self.wake.notify_one();
        if let Some(owner) = owner {
            self.backend.leave(self.clock.now(), owner)?;
            self.book().owner = None;
        }
        Ok(counts)
    }

    fn start(self: &Arc<Self>) -> Result<(), Error> {
        let listener: Arc<dyn Listener> = Arc::clone(self) as Arc<dyn Listener>;
        self.backend.signal().listen(&listener);
        self.backend.watch()?;
        let weak = Arc::downgrade(self);
        spawn("litework-minder".into(), move || run(&weak))
    }

    /// Waits for the next thing to do: a look at the requests, or else a renewal. None at the end.
    fn wait(&self, renew_at: &mut Instant) -> Option<bool> {
        let mut book = self.book();
        while book.phase != Phase::Over {
            if std::mem::take(&mut book.look) {
                return Some(true);
            }
            if !book.holds_any() {
                book.asleep = true;
                book = self.wake.wait(book).unwrap_or_else(PoisonError::into_inner);
                book.asleep = false;
                *renew_at = Instant::now() + RENEW_EVERY;
                continue;
            }
            // However often it is woken for a look, the renewal comes in time.
            let left = renew_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *renew_at = Instant::now() + RENEW_EVERY;
                return Some(false);
            }
            let waited = self.wake.wait_timeout(book, left);
            book = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// The number that something is held under.
    fn owner_in_use(&self) -> Option<i64> {
        let book = self.book();
        book.owner.filter(|_| book.holds_any())
    }

    /// Shows that this process is alive, and says when to do so again. If it was given up, the next caller
    /// joins anew.
    pub(super) fn renew(&self) -> Duration {
        let Some(owner) = self.owner_in_use() else { return RENEW_EVERY };
        let renewed = self.backend.renew(owner);
        let pause = pause_after(&renewed);
        match renewed {
            Ok(true) => {}
            Ok(false) => self.give_up(owner),
            Err(error) => tracing::error!(%error, "the lease could not be renewed"),
        }
        pause
    }

    fn give_up(&self, owner: i64) {
        {
            let mut book = self.book();
            if book.owner != Some(owner) {
                return;
            }
            book.owner = None;
            book.stop_all(StopReason::LeaseLost, |lease| lease.owner == owner);
        }
        tracing::error!(owner, "this process was taken for dead; its next caller joins again");
        // What was handed over under the number since then would wait for somebody's rescue.
        if let Err(error) = self.backend.leave(self.clock.now(), owner) {
            tracing::error!(%error, owner, "what is left under the lost number stays there");
        }
    }

    /// Has a thread store what could not be stored. It may call receivers of events, and no renewal
    /// stands behind those.
    fn send_again(self: &Arc<Self>) {
        if !self.book().has_unkept() || self.sending.swap(true, Ordering::SeqCst) {
            return;
        }
        let minder = Arc::clone(self);
        let started = spawn("litework-sender".into(), move || {
            let pending = minder.hub.upgrade().and_then(|hub| hub.pending.get().map(Arc::clone));
            if let Some(pending) = pending {
                minder.book().callers += 1;
                let _visit = Visit { minder: Arc::clone(&minder), owner: 0 };
                pending.send_again();
            }
            minder.sending.store(false, Ordering::SeqCst);
        });
        if let Err(error) = started {
            tracing::warn!(%error, "what could not be stored is not sent again yet");
            self.sending.store(false, Ordering::SeqCst);
        }
    }

    fn deliver_cancels(&self) {
        let Some(owner) = self.book().owner else { return };
        match self.backend.cancel_requests(owner) {
            Ok(rows) => {
                let mut book = self.book();
                for row in rows {
                    book.stop_row(row);
                }
            }
            Err(error) => tracing::error!(%error, "cancel requests could not be read"),
        }
    }
}

fn run(weak: &Weak<Minder>) {
    let mut renew_at = Instant::now() + RENEW_EVERY;
    while let Some(minder) = weak.upgrade() {
        match minder.wait(&mut renew_at) {
            None => return,
            Some(true) => minder.deliver_cancels(),
            Some(false) => {
                renew_at = Instant::now() + minder.renew();
                minder.send_again();
            }
        }
    }
}

impl Listener for Minder {
    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Cancel(row) => self.book().stop_row(row),
            Notice::Foreign => {
                let mut book = self.book();
                if !book.is_idle() {
                    book.look = true;
                    drop(book);
                    self.wake.notify_one();
                }
            }
            Notice::Work
            | Notice::Room(_)
            | Notice::Clock
            | Notice::Schedules
            | Notice::Touched => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backends::memory::Memory;
    use crate::id::TaskId;
    use crate::outcome::Outcome;
    use crate::record::{Finish, Lease};
    use crate::state::STEP_STRICT_MS;
    use crate::time::{SystemClock, Timestamp};

    fn minder() -> Arc<Minder> {
        let engine = Arc::new(Memory::new(STEP_STRICT_MS));
        Minder::new(Weak::new(), engine, Arc::new(SystemClock), Member::default())
    }

    fn task(row: i64, attempt: u32, owner: i64) -> Claimed {
        Claimed {
            lease: Lease { row, attempt, owner },
            id: TaskId::new(row, 0),
            kind: "kind".into(),
            queue: "default".into(),
            rank: 0,
            priority: 0,
            attempts_max: 5,
            crashes: 0,
            at_most_once: false,
            started_at: Timestamp::MIN,
            trace: None,
            options: None,
            arguments: String::new(),
            extra: None,
        }
    }

    /// Holds a task and begins it.
    fn begin(minder: &Arc<Minder>, task: &Claimed) -> Result<usize, StopReason> {
        minder.begin(minder.hold(task), &Arc::default())
    }

    fn came_to(task: &Claimed, ticket: Ticket, outcome: Outcome) -> Ends {
        let now = Timestamp::MIN;
        Ends::one(Finish::plain(task.id, task.lease, now, now, outcome), ticket)
    }

    fn end(minder: &Minder, task: &Claimed, ticket: Ticket) {
        minder.end(&came_to(task, ticket, Outcome::GivenBack));
    }

    fn snoozed() -> Outcome {
        Outcome::Snoozed { after: Duration::ZERO }
    }

    fn is_idle(minder: &Minder) -> bool {
        minder.wait_idle(Instant::now())
    }

    #[test]
    fn a_cancel_that_comes_before_its_task_is_held_reaches_it() {
        let minder = minder();
        let visit = minder.enter().expect("it is open");
        minder.notice(Notice::Cancel(7));
        assert_eq!(begin(&minder, &task(7, 1, visit.owner)), Err(StopReason::Cancelled));
        assert_eq!(begin(&minder, &task(8, 1, visit.owner)), Ok(0));
    }

    #[test]
    fn a_cancel_of_what_is_not_ours_is_forgotten() {
        let minder = minder();
        minder.notice(Notice::Cancel(7));
        let first = minder.enter().expect("it is open");
        minder.notice(Notice::Cancel(8));
        drop(first);
        let owner = minder.enter().expect("it is open").owner;
        for row in [7, 8] {
            assert!(begin(&minder, &task(row, 1, owner)).is_ok());
        }
    }

    #[test]
    fn two_attempts_of_one_row_are_two_also_under_one_lease() {
        for attempts in [[1, 2], [1, 1]] {
            let minder = minder();
            let owner = minder.enter().expect("it is open").owner;
            let [first, second] = attempts.map(|attempt| task(7, attempt, owner));
            let one = minder.hold(&first);
            assert_eq!(minder.begin(one, &Arc::default()), Ok(0));
            let other = minder.hold(&second);
            assert_eq!(minder.begin(other, &Arc::default()), Ok(1));
            end(&minder, &first, one);
            assert!(minder.holds(7) && !is_idle(&minder));
            assert_eq!(begin(&minder, &task(8, 1, owner)), Ok(0), "the slot is free again");
            end(&minder, &second, other);
            assert!(!minder.holds(7) && minder.holds(8));
        }
    }

    #[test]
    fn what_could_not_be_stored_is_held_but_not_in_hand() {
        let minder = minder();
        let visit = minder.enter().expect("it is open");
        let held = task(7, 1, visit.owner);
        let ticket = minder.hold(&held);
        minder.begin(ticket, &Arc::default()).expect("it may begin");
        drop(visit);
        minder.keep(came_to(&held, ticket, snoozed()));
        assert!(!minder.holds(7) && is_idle(&minder) && minder.owner_in_use().is_some());
        let again = minder.take_unkept();
        assert!(minder.take_unkept().is_empty(), "one thread at a time sends it again");
        assert!(minder.owner_in_use().is_some());
        minder.end(&again);
        assert_eq!(minder.owner_in_use(), None);
    }

    #[test]
    fn an_end_is_not_sent_once_its_task_is_claimed_anew() {
        let minder = minder();
        let owner = minder.enter().expect("it is open").owner;
        let held = task(7, 1, owner);
        // While it waits to be sent again, while that is under way, and while it is sent at first.
        let ticket = minder.hold(&held);
        minder.keep(came_to(&held, ticket, snoozed()));
        let ticket = minder.hold(&held);
        assert!(minder.take_unkept().is_empty());
        minder.keep(came_to(&held, ticket, snoozed()));
        let mut again = minder.take_unkept();
        let ticket = minder.hold(&held);
        assert!(minder.drop_overtaken(&mut again) && again.is_empty());
        let newest = minder.hold(&held);
        minder.keep(came_to(&held, ticket, snoozed()));
        assert!(minder.take_unkept().is_empty());
        let mut last = came_to(&held, newest, snoozed());
        assert!(!minder.drop_overtaken(&mut last) && !last.is_empty());
    }

    #[test]
    fn a_request_that_comes_while_an_older_attempt_is_in_hand_reaches_the_newer_one() {
        let minder = minder();
        let owner = minder.enter().expect("it is open").owner;
        let held = task(7, 1, owner);
        assert_eq!(begin(&minder, &held), Ok(0));
        // Another thread has claimed it and has not entered it yet.
        minder.notice(Notice::Cancel(7));
        let newer = minder.hold(&held);
        assert_eq!(minder.begin(newer, &Arc::default()), Err(StopReason::Cancelled));
        end(&minder, &held, newer);
        assert_eq!(begin(&minder, &held), Ok(1), "the request is told once");
    }

    #[test]
    fn the_end_waits_for_a_caller_that_may_claim_and_nothing_begins_after_it() {
        let minder = minder();
        let visit = minder.enter().expect("it is open");
        minder.drain();
        assert!(!is_idle(&minder));
        let late = task(7, 1, visit.owner);
        let ticket = minder.hold(&late);
        assert_eq!(minder.begin(ticket, &Arc::default()), Err(StopReason::Shutdown));
        end(&minder, &late, ticket);
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| minder.wait_idle(Instant::now() + Duration::from_secs(20)));
            drop(visit);
            assert!(waiting.join().expect("it does not panic"));
        });
        assert!(minder.enter().is_err());
        let stopped = minder.leave().expect("memory is never busy");
        assert_eq!((stopped.finished, stopped.handed_back, stopped.still_running), (0, 1, 0));
        assert_eq!(minder.leave().expect("it may be repeated"), stopped);
    }

    #[test]
    fn a_number_that_was_given_up_begins_nothing_more() {
        let minder = minder();
        let owner = minder.enter().expect("it is open").owner;
        let token = Arc::new(Token::default());
        minder.begin(minder.hold(&task(7, 1, owner)), &token).expect("it may begin");
        let late = minder.hold(&task(8, 1, owner));
        minder.backend.leave(Timestamp::MIN, owner).expect("memory is never busy");
        minder.renew();
        assert_eq!(token.reason(), Some(StopReason::LeaseLost));
        assert_eq!(minder.begin(late, &Arc::default()), Err(StopReason::LeaseLost));
        let next = minder.enter().expect("it is open").owner;
        assert_ne!(next, owner);
        assert!(begin(&minder, &task(9, 1, next)).is_ok());
    }
}
