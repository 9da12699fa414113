//! Store: the one write path of a process, with group commit led by the caller.
//!
//! ```text
//!   caller alone ──► leads ──► BEGIN IMMEDIATE · own insert · COMMIT ──► answer
//!   callers that come meanwhile ──► the next batch; its first member leads it
//!   bulk, exchange, a user's closure ──► the connection, alone, in turn
//! ```
//!
//! Guarantees: nobody is answered before the commit; an error says `NotStored` or `Unknown` and
//! never guesses; a panic or an error of one member does not touch the others; a leader answers its
//! members even when it panics. Every wait has a deadline: whoever leads waits at most 30 s, for its turn
//! at the connection and for another process's lock together, and those who join it wait for its answer,
//! so no longer. Each then hears `not_stored`.
//!
//! A full disk or an I/O error rolls the whole transaction back without saying so. After each error
//! the connection is asked whether it is still in a transaction, and if it is not, the members are
//! replayed one by one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use super::blocks::store_each;
use super::core::{Core, Counted, Doubt};
use super::counters;
use super::ends;
use super::enqueue::Insert;
use super::errors::{not_stored, was_busy};
use super::member;
use super::schema::busy_deadline;
use crate::backend::{Exchanged, Offer};
use crate::error::Error;
use crate::fault;
use crate::meter::Meter;
use crate::options::Durability;
use crate::record::Stored;
use crate::watch::{Notice, Signal};

/// A batch has at most this many members.
const MEMBERS_MAX: usize = 256;
/// A leader keeps its transaction open for callers that are about to come for at most this long.
const LINGER_MAX: Duration = Duration::from_micros(500);

/// The write path.
pub(super) struct Writer {
    core: Mutex<Core>,
    /// The batch that callers join: its leader waits for the connection, or fills its transaction.
    gathering: Mutex<Option<Arc<Batch>>>,
    signal: Arc<Signal>,
    meter: Arc<Meter>,
    transactions: AtomicU64,
    busy: Arc<AtomicU64>,
    /// How many members the last batch had.
    members: AtomicUsize,
    /// How long its COMMIT took.
    commit_ns: AtomicU64,
}

impl Writer {
    pub(super) fn new(core: Core, signal: Arc<Signal>, meter: Arc<Meter>) -> Self {
        Self {
            busy: Arc::clone(&core.busy),
            core: Mutex::new(core),
            gathering: Mutex::default(),
            signal,
            meter,
            transactions: AtomicU64::new(0),
            members: AtomicUsize::new(1),
            commit_ns: AtomicU64::new(0),
        }
    }

    /// Stores one task, in one transaction with others that come at the same time.
    pub(super) fn insert(&self, insert: Insert) -> Result<Stored, Error> {
        let mut gathering = self.gathering.lock();
        if let Some(batch) = gathering.as_ref().filter(|batch| batch.admits(&insert)) {
            let (batch, member) = (Arc::clone(batch), batch.join(insert));
            drop(gathering);
            batch.done.wait();
            return batch.answer_of(member);
        }
        let batch = Arc::new(Batch::new(insert));
        *gathering = Some(Arc::clone(&batch));
        drop(gathering);
        Lead { writer: self, batch: &batch }.commit();
        batch.answer_of(0)
    }

    /// The write connection, alone, in turn.
    pub(super) fn turn(&self) -> Result<Turn<'_>, Error> {
        Ok(Turn { core: self.core()?, writer: self })
    }

    /// Looks for commits of others, as the watcher does. None while this process writes: what was
    /// committed before is seen as its transaction begins.
    pub(super) fn take_foreign(&self) -> Option<bool> {
        Some(self.core.try_lock()?.take_foreign().unwrap_or(false))
    }

    /// How many transactions have ended.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// How many of them have found the lock taken by another program.
    pub(super) fn busy(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    fn core(&self) -> Result<MutexGuard<'_, Core>, Error> {
        if let Some(mut core) = self.core.try_lock() {
            core.waited = Duration::ZERO;
            return Ok(core);
        }
        let began = Instant::now();
        let Some(mut core) = self.core.try_lock_for(busy_deadline()) else {
            let reason =
                format!("busy: the writers before it took {} s", busy_deadline().as_secs());
            return Err(Error::NotStored { reason, source: None });
        };
        core.waited = began.elapsed();
        Ok(core)
    }

    /// Tells the world what the last commit did.
    fn publish(&self, core: &mut Core) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let foreign = std::mem::take(&mut core.foreign_seen);
        let effects = std::mem::take(&mut core.effects);
        self.count(core, &effects.counted);
        self.count_ends(core, &effects.ended_unrun());
        self.signal.changed(effects.changed);
        self.signal.changed(effects.told);
        if effects.work || effects.room {
            let looked = effects.looked.filter(|_| !effects.work);
            self.signal.ring(Notice::of_work(looked));
        }
        if effects.schedules {
            self.signal.ring(Notice::Schedules);
        }
        for row in effects.cancel {
            self.signal.ring(Notice::Cancel(row));
        }
        if foreign {
            self.signal.ring(Notice::Foreign);
        }
    }
}

impl Writer {
    /// Counts what the last commit did.
    fn count(&self, core: &mut Core, counted: &[Counted]) {
        if counted.is_empty() {
            return;
        }
        let Core { conn, lanes, .. } = core;
        self.meter.count(|book| {
            for one in counted {
                // A lane that cannot be read has no name to be counted under.
                let Ok(Some(lane)) = lanes.by_id(conn, one.lane) else { continue };
                let lane = lanes.get(lane);
                match one.stored {
                    0 => book.interrupted(&lane.queue, &lane.kind, one.at),
                    stored => book.enqueued(&lane.queue, &lane.kind, one.at, stored),
                }
            }
        });
    }
}

impl Writer {
    /// Counts what has ended in the last commit without an attempt, before anybody can change it again.
    fn count_ends(&self, core: &Core, rows: &[i64]) {
        if rows.is_empty() {
            return;
        }
        match counters::ends(&core.conn, rows) {
            Ok(ends) => self.meter.ended(&ends),
            Err(error) => tracing::warn!(%error, "tasks that ended could not be counted"),
        }
    }
}

fn lost_leader() -> Error {
    Error::Unknown { reason: "the thread that was committing it died".to_owned(), source: None }
}

/// Inserts that share one transaction.
struct Batch {
    level: Durability,
    joined: Mutex<Joined>,
    /// By member, each taken once.
    answers: Mutex<Vec<Option<Result<Stored, Error>>>>,
    done: OnceLock<()>,
}

/// Who has joined a batch.
struct Joined {
    count: usize,
    /// Those that the leader has not fetched yet.
    waiting: Vec<Insert>,
}

impl Batch {
    fn new(insert: Insert) -> Self {
        Self {
            level: insert.level(),
            joined: Mutex::new(Joined { count: 1, waiting: vec![insert] }),
            answers: Mutex::default(),
            done: OnceLock::new(),
        }
    }

    fn admits(&self, insert: &Insert) -> bool {
        insert.level() <= self.level && self.joined.lock().count < MEMBERS_MAX
    }

    /// The number of the new member.
    fn join(&self, insert: Insert) -> usize {
        let mut joined = self.joined.lock();
        joined.waiting.push(insert);
        joined.count += 1;
        joined.count - 1
    }

    fn fetch(&self) -> Vec<Insert> {
        std::mem::take(&mut self.joined.lock().waiting)
    }

    fn answer_of(&self, member: usize) -> Result<Stored, Error> {
        let answer = self.answers.lock().get_mut(member).and_then(Option::take);
        answer.unwrap_or_else(|| Err(lost_leader()))
    }
}

/// The duty to answer a batch. Dropping it answers those that have no answer yet.
struct Lead<'a> {
    writer: &'a Writer,
    batch: &'a Arc<Batch>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.close();
        let _first = self.batch.done.set(());
    }
}

impl Lead<'_> {
    /// Nobody joins from here on.
    fn close(&self) {
        let mut gathering = self.writer.gathering.lock();
        if gathering.as_ref().is_some_and(|batch| Arc::ptr_eq(batch, self.batch)) {
            *gathering = None;
        }
    }

    /// Commits the batch and gives each member its answer.
    fn commit(self) {
        let answers = match self.writer.core() {
            Ok(mut core) => self.run(&mut core),
            Err(busy) => {
                self.close();
                same_for_all(self.batch.fetch().len(), busy)
            }
        };
        fault::point("before_answer");
        *self.batch.answers.lock() = answers.into_iter().map(Some).collect();
    }

    /// One transaction for all; if a member made it fail, one for each.
    fn run(&self, core: &mut Core) -> Vec<Result<Stored, Error>> {
        let mut inserts = Vec::new();
        let together = catch_unwind(AssertUnwindSafe(|| self.commit_together(core, &mut inserts)));
        self.close();
        inserts.append(&mut self.batch.fetch());
        let failed = match together {
            Ok(Ok(())) => None,
            Ok(Err(failed)) => Some(failed),
            Err(_panic) => Some(Failed::Member(lost_leader())),
        };
        self.writer.members.store(inserts.len(), Ordering::Relaxed);
        let Some(failed) = failed else {
            inserts.iter().for_each(Insert::note_stored);
            self.writer.publish(core);
            return inserts.into_iter().map(Insert::into_stored).collect();
        };
        core.roll_back();
        if let Failed::Together(error) = &failed {
            core.doubt(error, inserts.iter().filter_map(Insert::doubt));
            self.writer.publish(core);
        }
        inserts.iter_mut().for_each(Insert::undo);
        match failed {
            Failed::Member(_) if inserts.len() > 1 => self.commit_each(core, inserts),
            Failed::Member(error) | Failed::Together(error) => same_for_all(inserts.len(), error),
        }
    }

    /// The members that are there, those that come while it goes on, and those that are about to.
    fn commit_together(&self, core: &mut Core, inserts: &mut Vec<Insert>) -> Result<(), Failed> {
        let mut filled_at = Instant::now();
        let mut lost_by_member = false;
        let answer = transaction(core, self.batch.level, |core| {
            let began = Instant::now();
            let mut open = true;
            while open {
                open = self.is_worth_waiting(inserts.len(), began);
                if !open {
                    self.close();
                }
                let known = inserts.len();
                inserts.append(&mut self.batch.fetch());
                if open && inserts.len() == known {
                    std::thread::yield_now();
                }
                store_each(core, &mut inserts[known..]).inspect_err(|_| lost_by_member = true)?;
            }
            filled_at = Instant::now();
            Ok(())
        });
        let took = u64::try_from(filled_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.writer.commit_ns.store(took, Ordering::Relaxed);
        answer.map_err(
            |error| {
                if lost_by_member { Failed::Member(error) } else { Failed::Together(error) }
            },
        )
    }

    /// One transaction for each. Once another process has held the file for too long, it is not waited
    /// for again by each that is left.
    fn commit_each(&self, core: &mut Core, inserts: Vec<Insert>) -> Vec<Result<Stored, Error>> {
        let mut busy = None;
        let answers = inserts.into_iter().map(|insert| {
            if let Some(busy) = &busy {
                return Err(again(busy));
            }
            let answer = self.commit_alone(core, insert);
            busy = answer.as_ref().err().filter(|error| was_busy(error)).map(again);
            answer
        });
        answers.collect()
    }

    /// A member whose own insert panics is the only one that hears of it.
    fn commit_alone(&self, core: &mut Core, insert: Insert) -> Result<Stored, Error> {
        let mut one = [insert];
        let alone = AssertUnwindSafe(|| {
            transaction(core, self.batch.level, |core| store_each(core, &mut one))
        });
        let answer = catch_unwind(alone).unwrap_or_else(|_| Err(lost_leader()));
        if let Err(error) = &answer {
            core.doubt(error, one.iter().filter_map(Insert::doubt));
            one.iter_mut().for_each(Insert::undo);
        } else {
            one.iter().for_each(Insert::note_stored);
        }
        self.writer.publish(core);
        let [insert] = one;
        answer.and_then(|()| insert.into_stored())
    }

    /// Where the last batch had many members, most of them are about to come again: keeping the
    /// transaction open for as long as a commit takes saves them one. A lone caller never waits.
    fn is_worth_waiting(&self, here: usize, since: Instant) -> bool {
        let expected = self.writer.members.load(Ordering::Relaxed);
        if here == 0 {
            return expected > 1;
        }
        let patience = Duration::from_nanos(self.writer.commit_ns.load(Ordering::Relaxed));
        here < expected && since.elapsed() < patience.min(LINGER_MAX)
    }
}

/// A transaction that first gives back what an earlier one may have claimed for nobody, and at last ends
/// the batches whose members have ended in it, opens the gates that somebody has left, and calls those who
/// wait for a place.
fn transaction<R>(
    core: &mut Core,
    level: Durability,
    body: impl FnOnce(&mut Core) -> Result<R, Error>,
) -> Result<R, Error> {
    let answer = core.transaction(level, |core| {
        member::give_back_doubts(core)?;
        let answer = body(core)?;
        ends::settle(core)?;
        core.note_places()?;
        Ok(answer)
    });
    if answer.is_ok() {
        core.doubts.clear();
    }
    answer
}

/// Why a batch was not committed.
enum Failed {
    /// One member's statement took the transaction with it.
    Member(Error),
    Together(Error),
}

/// The same bad news for each member; the first also gets its source.
fn same_for_all(members: usize, error: Error) -> Vec<Result<Stored, Error>> {
    let others: Vec<_> = (1..members).map(|_| Err(again(&error))).collect();
    std::iter::once(Err(error)).chain(others).collect()
}

/// The same error, without its source.
fn again(error: &Error) -> Error {
    match error {
        Error::Unknown { reason, .. } => Error::Unknown { reason: reason.clone(), source: None },
        Error::NotStored { reason, .. } => {
            Error::NotStored { reason: reason.clone(), source: None }
        }
        Error::BadFile { code, path, reason, .. } => {
            let (path, reason) = (path.clone(), reason.clone());
            Error::BadFile { code, path, reason, source: None }
        }
        // What a member is refused for itself is its own answer, and does not come here.
        other => Error::NotStored { reason: other.to_string(), source: None },
    }
}

/// The write connection, held alone.
pub(super) struct Turn<'a> {
    core: MutexGuard<'a, Core>,
    writer: &'a Writer,
}

impl Turn<'_> {
    /// Looks through the connection, without a transaction.
    pub(super) fn look<R>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, Error> {
        look(&self.core.conn).map_err(not_stored)
    }

    /// Refuses to go on once the file was moved or removed.
    pub(super) fn check_path(&mut self) -> Result<(), Error> {
        self.core.place.check()
    }

    /// Runs `body` in a transaction of its own and tells the world after its commit.
    pub(super) fn transaction<R>(
        &mut self,
        level: Durability,
        body: impl FnOnce(&mut Core) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let answer = transaction(&mut self.core, level, body);
        self.writer.publish(&mut self.core);
        answer
    }

    /// Notes claims of a transaction that failed, see [`Core::doubt`].
    pub(super) fn doubt(&mut self, error: &Error, claims: impl IntoIterator<Item = Doubt>) {
        self.core.doubt(error, claims);
        self.writer.publish(&mut self.core);
    }
}

/// The start of an at-most-once task must be on disk before its body runs; one whose start is not is
/// not run.
pub(super) fn flush_at_most_once(turn: &mut Turn<'_>, done: &mut Exchanged, offer: &dyn Offer) {
    if !done.claimed.iter().any(|task| task.at_most_once) || fault::planted("flush_off") {
        return;
    }
    let flushed = turn.transaction(Durability::Full, |core| member::renew(core, offer.owner()));
    if let Err(error) = flushed {
        tracing::error!(%error, "at-most-once tasks could not be flushed and are handed back");
        let claimed = std::mem::take(&mut done.claimed);
        (done.unflushed, done.claimed) = claimed.into_iter().partition(|task| task.at_most_once);
    }
}
