//! Run: what callers' threads hold, and what a caller cannot do for itself while it is inside a
//! body: renew the lease, and hear that somebody asked the body to stop.
//!
//! The book says which tasks are held under which owner number, and whether anything more may be
//! claimed or begun. One thread for each client minds it, started by the first body. While tasks
//! are held it wakes every 10 s; while none are it sleeps until the next body begins.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Instant;

use super::keeper::RENEW_EVERY;
use super::spawn;
use super::state::Phase;
use crate::backend::Backend;
use crate::context::{StopReason, Token};
use crate::error::Error;
use crate::hub::Stopped;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Lease, Member};
use crate::time::Clock;
use crate::watch::{Listener, Notice};

/// A task that a caller's thread holds.
struct Held {
    owner: i64,
    stage: Stage,
}

enum Stage {
    /// Its body has not begun, and may have been asked to stop already.
    Waits(Option<StopReason>),
    /// Its body runs, or its end is on the way to the store.
    Runs { token: Arc<Token>, slot: usize },
}

impl Held {
    fn stop(&mut self, reason: StopReason) {
        match &mut self.stage {
            Stage::Waits(asked) => *asked = asked.or(Some(reason)),
            Stage::Runs { token, .. } => token.stop(reason),
        }
    }
}

struct Book {
    phase: Phase,
    /// The number under which callers hold tasks, once one was needed.
    owner: Option<i64>,
    /// By row and attempt.
    held: BTreeMap<(i64, u32), Held>,
    /// Callers that may claim, or that are about to enter what they were handed over.
    callers: usize,
    /// Rows that were asked to stop before a caller could enter them.
    early: HashSet<i64>,
    /// Which slots of the slots file are taken.
    slots: Vec<bool>,
    /// What became of the tasks that were held when the end began.
    counts: Stopped,
    /// Somebody may have asked for a stop that no notice named.
    look: bool,
    /// The thread waits without a time-out.
    asleep: bool,
}

fn key(lease: Lease) -> (i64, u32) {
    (lease.row, lease.attempt)
}

impl Book {
    fn hold(&mut self, task: &Claimed) {
        let asked = self.early.remove(&task.lease.row).then_some(StopReason::Cancelled);
        let held = Held { owner: task.lease.owner, stage: Stage::Waits(asked) };
        self.held.insert(key(task.lease), held);
    }

    /// Why this task must not begin, if it must not.
    fn refusal(&self, task: &Claimed) -> Option<StopReason> {
        if self.phase != Phase::Running {
            return Some(StopReason::Shutdown);
        }
        if self.owner != Some(task.lease.owner) {
            return Some(StopReason::LeaseLost);
        }
        match self.held.get(&key(task.lease)) {
            Some(Held { stage: Stage::Waits(asked), .. }) => *asked,
            _ => None,
        }
    }

    fn take_slot(&mut self) -> usize {
        let slot = self.slots.iter().position(|taken| !taken).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(true);
        } else {
            self.slots[slot] = true;
        }
        slot
    }

    fn end(&mut self, lease: Lease, handed_back: bool) {
        let Some(held) = self.held.remove(&key(lease)) else { return };
        if let Stage::Runs { slot, .. } = held.stage {
            self.slots[slot] = false;
        }
        if self.phase == Phase::Draining {
            self.counts.handed_back += usize::from(handed_back);
            self.counts.finished += usize::from(!handed_back);
        }
    }

    fn is_idle(&self) -> bool {
        self.held.is_empty() && self.callers == 0
    }

    fn stop_row(&mut self, row: i64) {
        let mut known = false;
        for (_, held) in self.held.range_mut((row, 0)..=(row, u32::MAX)) {
            held.stop(StopReason::Cancelled);
            known = true;
        }
        if !known && self.callers > 0 {
            self.early.insert(row);
        }
    }
}

/// Minds what callers' threads hold.
pub(super) struct Minder {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    member: Member,
    book: Mutex<Book>,
    /// Nothing more is claimed; a copy of what the book says, for those who only look.
    draining: AtomicBool,
    /// One caller joins at a time. Goes before the lock of the book.
    joining: Mutex<()>,
    started: Once,
    /// For the thread; goes with the book.
    wake: Condvar,
    /// Something has ended; goes with the book.
    ended: Condvar,
}

/// A caller that may claim tasks; the end of the client waits for it.
pub(super) struct Visit {
    minder: Arc<Minder>,
    pub(super) owner: i64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut book = self.minder.book();
        book.callers -= 1;
        if book.callers == 0 {
            book.early.clear();
        }
        let phase = book.phase;
        drop(book);
        self.minder.tell_ended(phase);
    }
}

impl Minder {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        member: Member,
    ) -> Arc<Self> {
        Arc::new(Self {
            backend,
            clock,
            member,
            book: Mutex::new(Book {
                phase: Phase::Running,
                owner: None,
                held: BTreeMap::new(),
                callers: 0,
                early: HashSet::new(),
                slots: Vec::new(),
                counts: Stopped::default(),
                // The first body may have been asked to stop before the thread could hear it.
                look: true,
                asleep: false,
            }),
            draining: AtomicBool::new(false),
            joining: Mutex::default(),
            started: Once::new(),
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
        self.book().held.range((row, 0)..=(row, u32::MAX)).next().is_some()
    }

    /// The calling thread holds these, and begins them one by one.
    pub(super) fn hold(&self, tasks: &[Claimed]) {
        let mut book = self.book();
        for task in tasks {
            book.hold(task);
        }
    }

    /// A body is to begin in the calling thread: its slot, or why it must not begin.
    pub(super) fn begin(
        self: &Arc<Self>,
        task: &Claimed,
        token: &Arc<Token>,
    ) -> Result<usize, StopReason> {
        let mut book = self.book();
        if !book.held.contains_key(&key(task.lease)) {
            book.hold(task);
        }
        if let Some(reason) = book.refusal(task) {
            return Err(reason);
        }
        let slot = book.take_slot();
        let stage = Stage::Runs { token: Arc::clone(token), slot };
        book.held.insert(key(task.lease), Held { owner: task.lease.owner, stage });
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
        Ok(slot)
    }

    /// Tasks are held no longer, and what they came to is stored.
    pub(super) fn end(&self, finishes: &[Finish]) {
        if finishes.is_empty() {
            return;
        }
        let mut book = self.book();
        for finish in finishes {
            book.end(finish.lease, finish.outcome == Outcome::GivenBack);
        }
        let phase = book.phase;
        drop(book);
        self.tell_ended(phase);
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

    /// Asks every body to stop.
    pub(super) fn ask(&self) {
        for held in self.book().held.values_mut() {
            held.stop(StopReason::Shutdown);
        }
    }

    /// The end: what is still held is given up. Ends the owner and the thread, and says what came
    /// of all that was held. After an error it may be called again.
    pub(super) fn leave(&self) -> Result<Stopped, Error> {
        let _one = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let (owner, counts) = {
            let mut book = self.book();
            if book.phase != Phase::Over {
                book.phase = Phase::Over;
                let runs = |held: &&Held| matches!(held.stage, Stage::Runs { .. });
                book.counts.still_running = book.held.values().filter(runs).count();
                book.counts.handed_back += book.held.len();
            }
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
            if book.held.is_empty() {
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
        book.owner.filter(|_| !book.held.is_empty())
    }

    /// Shows that this process is alive. If it was given up, the next caller joins anew.
    pub(super) fn renew(&self) {
        let Some(owner) = self.owner_in_use() else { return };
        match self.backend.renew(owner) {
            Ok(true) => {}
            Ok(false) => self.give_up(owner),
            Err(error) => tracing::error!(%error, "the lease could not be renewed"),
        }
    }

    fn give_up(&self, owner: i64) {
        {
            let mut book = self.book();
            if book.owner != Some(owner) {
                return;
            }
            book.owner = None;
            for held in book.held.values_mut().filter(|held| held.owner == owner) {
                held.stop(StopReason::LeaseLost);
            }
        }
        tracing::error!(owner, "this process was taken for dead; its next caller joins again");
        // What was handed over under the number since then would wait for somebody's rescue.
        if let Err(error) = self.backend.leave(self.clock.now(), owner) {
            tracing::error!(%error, owner, "what is left under the lost number stays there");
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
            Some(false) => minder.renew(),
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
            Notice::Work | Notice::Clock => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backends::memory::Memory;
    use crate::id::TaskId;
    use crate::state::STEP_STRICT_MS;
    use crate::time::{SystemClock, Timestamp};

    fn minder() -> Arc<Minder> {
        Minder::new(Arc::new(Memory::new(STEP_STRICT_MS)), Arc::new(SystemClock), Member::default())
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

    fn begin(minder: &Arc<Minder>, task: &Claimed) -> Result<usize, StopReason> {
        minder.begin(task, &Arc::default())
    }

    fn end(minder: &Minder, task: &Claimed) {
        minder.end(&[super::super::given_back(task, Timestamp::MIN)]);
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
    fn two_attempts_of_one_row_are_two() {
        let minder = minder();
        let owner = minder.enter().expect("it is open").owner;
        let [first, second] = [1, 2].map(|attempt| task(7, attempt, owner));
        assert_eq!(begin(&minder, &first), Ok(0));
        assert_eq!(begin(&minder, &second), Ok(1));
        end(&minder, &first);
        assert!(minder.holds(7) && !is_idle(&minder));
        end(&minder, &second);
        assert!(!minder.holds(7) && is_idle(&minder));
    }

    #[test]
    fn the_end_waits_for_a_caller_that_may_claim_and_nothing_begins_after_it() {
        let minder = minder();
        let visit = minder.enter().expect("it is open");
        minder.drain();
        assert!(!is_idle(&minder));
        let late = task(7, 1, visit.owner);
        assert_eq!(begin(&minder, &late), Err(StopReason::Shutdown));
        end(&minder, &late);
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
        minder.begin(&task(7, 1, owner), &token).expect("it may begin");
        minder.hold(&[task(8, 1, owner)]);
        minder.backend.leave(Timestamp::MIN, owner).expect("memory is never busy");
        minder.renew();
        assert_eq!(token.reason(), Some(StopReason::LeaseLost));
        assert_eq!(begin(&minder, &task(8, 1, owner)), Err(StopReason::LeaseLost));
        let next = minder.enter().expect("it is open").owner;
        assert_ne!(next, owner);
        assert!(begin(&minder, &task(9, 1, next)).is_ok());
    }
}
