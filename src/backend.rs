//! Contract: what an engine that keeps tasks must do, in the order of the journey.
//!
//! Engines know nothing of threads, bodies or types of tasks, and read no wall clock: `now` is a
//! parameter. A call answers only after its commit. Every write by a runner names its lease, and a
//! lease that no longer holds changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::audit::{AuditRecord, Times};
use crate::calendar::Calendar;
use crate::deed::{Deed, Done, Tally};
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::Sum;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::inbox::{Inbox, InboxRow, Slice};
use crate::meter::Counting;
use crate::mishap::Mishaps;
#[cfg(feature = "web")]
use crate::overview::Capped;
use crate::overview::{At, Browsed, Failures, Order, Overview};
use crate::presence::WorkerRecord;
use crate::record::{
    AttemptRecord, Claimed, Cursor, Finish, Finished, Lease, Member, NewStep, NewTask, Page, Prior,
    StepRecord, Stored, TaskRecord,
};
use crate::retention::Walk;
use crate::rule::{Limited, Paused, Scope};
use crate::shelf::Shelf;
use crate::telling::Telling;
use crate::time::Timestamp;
use crate::upkeep::Upkeep;
use crate::watch::Signal;
use crate::why::Facts;

/// An engine has all the lanes that it may have.
pub(crate) fn too_many_lanes(of: &str, limit: usize) -> Error {
    Error::Overloaded {
        what: format!("{of} (pairs of queue and kind)"),
        found: limit as u64,
        allowed: limit as u64,
        instead: "a lane is never given up, so use fewer queues or another file",
        passes: false,
    }
}

/// As many tasks of a queue wait as may.
pub(crate) fn queue_full(queue: &str, limit: u64) -> Error {
    let what = format!("the queue {queue} (tasks that have not started)");
    let instead = "try again later";
    Error::Overloaded { what, found: limit, allowed: limit, instead, passes: true }
}

/// Steps of one task at most.
pub const STEPS_MAX: usize = 1_000;

/// A task has as many steps as it may.
pub(crate) fn too_many_steps(name: &str) -> Error {
    let allowed = format!("one of at most {STEPS_MAX} steps of a task; let one step do more");
    Error::invalid("too_many_steps", "step", name, allowed)
}

/// Whether a runner has a place for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It has, and the place is taken.
    Taken,
    /// Not for this queue; others may have one.
    QueueFull,
    /// Not for any.
    Full,
}

/// What a runner offers: places for tasks that it could run at once.
///
/// An engine asks while it holds its write transaction, so an answer must be quick and must not
/// call the engine.
pub(crate) trait Offer: Send + Sync {
    /// The owner that claimed tasks will belong to.
    fn owner(&self) -> i64;
    /// Changes with whatever [`Offer::serves`] answers; engines remember answers by it.
    fn view(&self) -> u64;
    /// Whether this runner takes tasks of this queue and kind.
    fn serves(&self, queue: &str, kind: &str) -> bool;
    /// About how many tasks it could take, at most: what is worth preparing for it.
    fn room(&self) -> usize {
        usize::MAX
    }
    /// Whether a task would begin at once. One that keeps others from starting while it is held is not
    /// held ahead.
    fn is_free(&self) -> bool {
        true
    }
    /// Whether a task would begin before whatever else was taken of this offer. One that must not start
    /// twice is not handed over before it is its turn, as a crash ends it as lost once it is claimed.
    fn begins_next(&self) -> bool {
        self.is_free()
    }
    /// Takes a place for one more task, if there is one.
    fn reserve(&self, queue: &str, kind: &str, bytes: usize) -> Room;
    /// Adds the bytes of a reserved task whose size was not known before.
    fn weigh(&self, bytes: usize);
    /// Takes the one place for a task with a crash on record; no two of them run side by side.
    fn reserve_suspect(&self) -> bool;
    /// Gives that place back.
    fn release_suspect(&self);
    /// Gives back the place of a task that was not claimed in the end.
    fn release(&self, queue: &str, bytes: usize);
    /// Where queues share by weight: when this queue's turn comes, as a number that grows with each
    /// task taken from it. Always 0 without weights, so that rank alone decides.
    fn turn_of(&self, _queue: &str) -> u64 {
        0
    }
    /// Counts a task taken from this queue.
    fn charge(&self, _queue: &str) {}
    /// Whether queues share by weight.
    fn weighted(&self) -> bool {
        false
    }
    /// Whether a new task waits its turn behind better ones that are ready. An inline caller runs
    /// its own task first.
    fn in_order(&self) -> bool;
}

/// The one place for a task with a crash on record, which all runners of a client share: when their
/// process dies, no other such task is charged.
#[derive(Debug, Default)]
pub(crate) struct SuspectPlace(AtomicBool);

/// What one runner has of that place. Dropped, it gives it back.
#[derive(Debug)]
pub(crate) struct SuspectHold {
    place: Arc<SuspectPlace>,
    taken: AtomicBool,
}

impl SuspectHold {
    pub(crate) fn new(place: Arc<SuspectPlace>) -> Self {
        Self { place, taken: AtomicBool::new(false) }
    }

    /// Takes the place, if it is free.
    pub(crate) fn take(&self) -> bool {
        let taken = !self.place.0.swap(true, Ordering::SeqCst);
        self.taken.fetch_or(taken, Ordering::SeqCst);
        taken
    }

    /// Gives it back, if it is taken here.
    pub(crate) fn give_back(&self) {
        if self.taken.swap(false, Ordering::SeqCst) {
            self.place.0.store(false, Ordering::SeqCst);
        }
    }

    /// The place as it was taken here, for another to give back; none where it was not.
    pub(crate) fn hand_over(&self) -> Option<Self> {
        let taken = self.taken.swap(false, Ordering::SeqCst);
        let place = Arc::clone(&self.place);
        taken.then(|| Self { place, taken: AtomicBool::new(true) })
    }

    /// Takes over what was taken there.
    pub(crate) fn adopt(&self, from: &Self) {
        let taken = from.taken.swap(false, Ordering::SeqCst);
        self.taken.fetch_or(taken, Ordering::SeqCst);
    }
}

impl Drop for SuspectHold {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A number for each different [`Offer::view`].
pub(crate) fn next_view() -> u64 {
    static VIEWS: AtomicU64 = AtomicU64::new(0);
    VIEWS.fetch_add(1, Ordering::Relaxed)
}

/// Of these rows, which have ended in their order, those that none of the finishes has ended itself. One that
/// was not kept, as its row is damaged, has ended nothing: the row was ended in its place.
pub(crate) fn ended_with(
    changed: &[i64],
    finishes: &[Finish],
    answers: &[Result<Finished, Error>],
) -> Vec<i64> {
    let kept = finishes.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
    let mut kept = kept.map(|(finish, _)| finish.lease.row);
    let is_other = |row: &&i64| {
        let mut after = kept.clone();
        let is_own = after.any(|own| own == **row);
        if is_own {
            kept = after;
        }
        !is_own
    };
    changed.iter().filter(is_other).copied().collect()
}

/// What [`Backend::exchange`] did.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    /// One answer a finish, in their order.
    pub(crate) finished: Vec<Result<Finished, Error>>,
    /// In rank order.
    pub(crate) claimed: Vec<Claimed>,
    /// When the next scheduled task is due, as far as is known.
    pub(crate) next_due: Option<Timestamp>,
    /// Whether ready work for this runner was left behind.
    pub(crate) more: bool,
    /// Claimed at most once, but the claim could not be flushed: not to be run.
    pub(crate) unflushed: Vec<Claimed>,
    /// Rows that ended though none of the finishes is theirs, such as those that had expired.
    pub(crate) ended: Vec<i64>,
}

/// What [`Backend::claim_one`] found.
#[derive(Debug)]
pub(crate) enum Picked {
    Task(Box<Claimed>),
    /// It had expired or is damaged, and has ended now; the rows of it and of all that has ended with it.
    Ended(Vec<i64>),
    /// Not due, not there, or without a place.
    NotNow,
}

#[cfg(test)]
impl Picked {
    pub(crate) fn task(self) -> Option<Claimed> {
        match self {
            Self::Task(task) => Some(*task),
            Self::Ended(_) | Self::NotNow => None,
        }
    }
}

/// What [`Client::cancel`](crate::Client::cancel) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// It had not started and is cancelled now.
    Now,
    /// It is running and was asked to stop.
    Requested,
    /// It had ended already.
    AlreadyFinished,
}

impl Times for Cancelled {
    fn times(&self) -> u64 {
        u64::from(*self != Self::AlreadyFinished)
    }
}

/// What [`Backend::rescue`] found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rescued {
    /// Tasks taken back from processes that died or hang.
    pub(crate) tasks: usize,
    /// Whether other processes still hold tasks, so that it is worth looking again.
    pub(crate) others_running: bool,
}

/// Checks a row of the inbox and makes a task of it. An engine asks inside its write transaction.
pub(crate) type CheckRow<'a> = &'a dyn Fn(&InboxRow) -> Result<NewTask, Error>;

/// A queue and a kind.
pub(crate) type LaneName = (String, String);

/// What has ended by what people did.
#[derive(Debug, Default)]
pub(crate) struct Over {
    /// Rows of tasks, among them some that have not ended.
    pub(crate) rows: Vec<i64>,
    /// Tasks that are not there any more, as they ended.
    pub(crate) gone: Vec<TaskRecord>,
}

impl Over {
    /// `gone` are all that were deleted; those that had not ended as they ended then.
    pub(crate) fn new(changed: &[i64], gone: HashMap<i64, Option<TaskRecord>>) -> Self {
        let rows = changed.iter().copied().filter(|row| !gone.contains_key(row)).collect();
        let mut gone: Vec<TaskRecord> = gone.into_values().flatten().collect();
        gone.sort_by_key(|task| task.id.row());
        Self { rows, gone }
    }
}

/// What people do from outside: to tasks, to queues and kinds, and to see who runs them. Whatever changes something
/// notes [`audit::current`](crate::audit::current) in its commit, where there is one.
pub(crate) trait Operate: Send + Sync {
    /// Does this to one task, in one commit.
    fn act(&self, now: Timestamp, id: TaskId, deed: Deed) -> Result<(Done, Over), Error>;

    /// Rows after `after` and up to `last` that pass the filter, ascending, some hundreds at a time.
    fn rows(&self, filter: &Filter, after: i64, last: i64) -> Result<Vec<i64>, Error>;

    /// Does this to those of the rows that still pass the filter, in one commit of at most 20 ms: to as
    /// many of them, from the first, as that takes.
    fn act_on(
        &self,
        now: Timestamp,
        deed: Deed,
        filter: &Filter,
        rows: &[i64],
    ) -> Result<(Tally, Over), Error>;

    /// A task as it would be stored anew: without key, and due when it first could be started.
    fn template(&self, id: TaskId) -> Result<Option<NewTask>, Error>;

    /// Stores a task in the place of another, in one commit: that one is cancelled if it has not
    /// started, and stays as it is otherwise.
    fn replace(&self, now: Timestamp, id: TaskId, with: NewTask) -> Result<(Stored, Over), Error>;

    /// Does the same for those of the rows that still pass the filter, in slices as [`Operate::act_on`]. One
    /// that is tied to others is left, and so is one of which there is no copy.
    fn replace_each(
        &self,
        now: Timestamp,
        filter: &Filter,
        copies: &[(i64, Option<NewTask>)],
    ) -> Result<(Tally, Over), Error>;

    /// Pauses, or resumes where `since` is none; says whether that changed anything.
    fn pause(&self, scope: &Scope, since: Option<Timestamp>) -> Result<bool, Error>;

    /// What is paused, queues first, by name.
    fn paused(&self) -> Result<Vec<Paused>, Error>;

    /// Sets limits in the name of a person; none: what programs declare counts again.
    fn set_limits(
        &self,
        now: Timestamp,
        scope: &Scope,
        limits: Option<Limits>,
    ) -> Result<(), Error>;

    /// The limits that hold, queues first, by name.
    fn limits(&self) -> Result<Vec<Limited>, Error>;

    /// The live processes that run tasks, by number.
    fn workers(&self) -> Result<Vec<WorkerRecord>, Error>;

    /// Notes that an owner has so many threads from now on.
    fn set_threads(&self, owner: i64, threads: usize) -> Result<(), Error>;

    /// What may stand in the way of a task.
    fn facts(&self, now: Timestamp, id: TaskId) -> Result<Option<Facts>, Error>;

    /// Queues and kinds with a task that could be started now, sorted.
    fn lanes_with_work(&self, now: Timestamp) -> Result<Vec<LaneName>, Error>;

    /// What was noted before this number, newest first, with the numbers.
    fn audit(&self, before: i64, size: usize) -> Result<Vec<(i64, AuditRecord)>, Error>;

    /// Empties what holds older copies of what was erased; false when somebody's reading stood in
    /// the way.
    fn wipe(&self) -> Result<bool, Error>;
}

/// An engine that keeps tasks.
pub(crate) trait Backend:
    Operate + Calendar + Telling + Shelf + Counting + Upkeep + 'static
{
    /// This engine as itself, for what only one engine can do.
    fn as_any(&self) -> &dyn std::any::Any;

    /// The bell that this engine rings after each commit.
    fn signal(&self) -> &Arc<Signal>;

    /// What tests have planned to go wrong.
    fn mishaps(&self) -> &Mishaps;

    /// Starts listening to other processes, where it does not do so yet.
    fn watch(&self) -> Result<(), Error>;

    /// Refuses a call that could not be answered: closed, forked, or from inside the thread's own
    /// transaction.
    fn check_usable(&self) -> Result<(), Error>;

    /// Stores all tasks or none; a task may wait for those before it, and the first may be the batch
    /// that sums up others: where that has a key that is taken, only it is answered. Where there is an offer with room, a task that is due now and
    /// first in order is stored as running and handed over.
    fn enqueue(
        &self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<Arc<dyn Offer>>,
    ) -> Result<Vec<Stored>, Error>;

    /// Makes a process known as a runner and gives its owner number, which is never reused.
    fn join(&self, now: Timestamp, member: &Member) -> Result<i64, Error>;

    /// Ends an owner; whatever it still holds is handed back.
    fn leave(&self, now: Timestamp, owner: i64) -> Result<(), Error>;

    /// Notes that a thread is about to start a body, for whoever must judge a crash.
    fn note_start(&self, owner: i64, slot: usize, row: i64, attempt: u32);

    /// One commit: records the finishes, promotes what is due, and claims what the offer has room
    /// for. On an error nothing of it was stored, unless it is `Unknown`.
    fn exchange(
        &self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Result<Exchanged, Error>;

    /// What a step of a task has stored, in this attempt or in an earlier one. Refused under a lease
    /// that no longer holds, as the step may have to be run.
    fn step(&self, id: TaskId, lease: Lease, name: &str) -> Result<Option<String>, Error>;

    /// Stores what a step came to, at most [`STEPS_MAX`] for a task, and shows that its owner is
    /// alive. The same step may be sent again.
    fn keep_step(&self, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error>;

    /// Claims one task by name, if it is ready and the offer has room.
    fn claim_one(&self, now: Timestamp, id: TaskId, offer: &dyn Offer) -> Result<Picked, Error>;

    /// Shows that an owner is alive; false when it was given up as hung and must join again.
    fn renew(&self, owner: i64) -> Result<bool, Error>;

    /// Takes back the tasks of processes that died or hang.
    fn rescue(&self, now: Timestamp, owner: i64) -> Result<Rescued, Error>;

    /// The limits that a program has for queues and kinds. What a person has set stays.
    fn declare(&self, limits: &[(Scope, Limits)]) -> Result<(), Error>;

    /// Lets those go on that wait at a gate which nobody holds any more: its lock has expired, another
    /// program has changed the rows, or those who may pass next may not be able to start, as their queue is
    /// paused or nobody serves their kind. Writes nothing where all is well. One look is at some thousand keys;
    /// the next goes on behind them.
    fn open_gates(&self, now: Timestamp) -> Result<(), Error>;

    /// Cancels a task that has not started, or asks a running one to stop; a batch, with its members.
    fn cancel(&self, now: Timestamp, id: TaskId) -> Result<(Cancelled, Over), Error>;

    /// Lets the members of a batch that have failed or were cancelled run again, and what has ended with
    /// them; says how many tasks those are, batches not counted. One that has not succeeded goes on also
    /// where none of them is left.
    fn retry_batch(&self, now: Timestamp, id: TaskId) -> Result<u64, Error>;

    /// What came before a task, in the order in which that was named. None stands for one that is no
    /// longer kept.
    fn before(&self, id: TaskId) -> Result<Vec<Option<Prior>>, Error>;

    /// What comes after a task, in the order in which it was stored.
    fn after(&self, id: TaskId) -> Result<Vec<TaskRecord>, Error>;

    /// What the members of a batch came to until now.
    fn sum(&self, id: TaskId) -> Result<Sum, Error>;

    /// Rows of this owner that somebody asked to stop.
    fn cancel_requests(&self, owner: i64) -> Result<Vec<i64>, Error>;

    /// One task, with its arguments, result and newest error.
    fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, Error>;

    /// One task by its row alone, for whoever has just written it.
    fn by_row(&self, row: i64) -> Result<Option<TaskRecord>, Error>;

    /// Those that follow this task and are ready, oldest first.
    fn followers(&self, id: TaskId) -> Result<Vec<TaskId>, Error>;

    /// The attempts of one task, oldest first.
    fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error>;

    /// The steps of a task that are stored, by (moment, name).
    fn steps(&self, id: TaskId) -> Result<Vec<StepRecord>, Error>;

    /// The task that has this idempotency key.
    fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error>;

    /// Tasks that pass the filter, newest first.
    fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error>;

    /// How many tasks pass the filter; counting stops at `limit`.
    fn count(&self, filter: &Filter, limit: u64) -> Result<u64, Error>;

    /// The same up to `most`, of which it tells no more than a look at a bounded number of tasks has seen.
    #[cfg(feature = "web")]
    fn count_in_a_look(&self, filter: &Filter, most: u64) -> Result<Capped, Error> {
        Ok(Capped::of(self.count(filter, most.saturating_add(1))?, most))
    }

    /// How many tasks there are of each queue and state, by name of the queue; when, and what is paused, is for
    /// whoever asks to say.
    fn overview(&self) -> Result<Overview, Error>;

    /// The newest failed tasks, grouped.
    fn failures(&self) -> Result<Failures, Error>;

    /// Tasks that pass the filter in this order, of which `from` is one.
    fn browse(
        &self,
        filter: &Filter,
        order: Order,
        from: Option<At>,
        size: usize,
    ) -> Result<Browsed, Error>;

    /// One slice of a pass over what has ended: at most about 2 ms with the lock on all writes held.
    fn prune(&self, walk: &mut Walk) -> Result<(), Error>;

    /// How many writes have found what they write to held by another program, since this one has opened it. None
    /// where no other can hold it.
    fn busy_waits(&self) -> Option<u64> {
        None
    }

    /// The newest moment that is stored: when the newest task came, or the last one ended.
    fn newest_moment(&self) -> Result<Option<Timestamp>, Error>;

    /// Whether a live process runs tasks of this queue and kind by itself.
    fn serves(&self, queue: &str, kind: &str) -> Result<bool, Error>;

    /// One commit: the next rows of these kinds become tasks, or are refused with the reason; those for
    /// which there is no room stay. Arguments of more than `size_bytes` are not read. None, and no commit,
    /// where no such row waits; an engine that only this program writes to has none.
    fn take_inbox(
        &self,
        _now: Timestamp,
        _kinds: &[Arc<str>],
        _size_bytes: usize,
        _check: CheckRow<'_>,
    ) -> Result<Option<Slice>, Error> {
        Ok(None)
    }

    /// What the inbox holds; of no kind is it said that it is known.
    fn inbox(&self) -> Result<Inbox, Error> {
        Ok(Inbox::default())
    }

    /// Removes every task that is not running, and says how many; what was running stays. Only engines
    /// with `supports_clear` are asked.
    fn clear(&self) -> Result<usize, Error> {
        Ok(0)
    }
}
