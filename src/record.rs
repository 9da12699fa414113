//! Store: what is kept of a task, and what travels between the client, the engines and the workers.
//!
//! Plain data, no behaviour. The public records say of each field who sets it and who clears it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::counters::Ran;
use crate::event::{About, EventRecord, Ledger};
use crate::follow::Follow;
use crate::gate::Gate;
use crate::id::TaskId;
use crate::options::Durability;
use crate::outcome::{Outcome, Report};
use crate::progress::{LogLine, Progress};
use crate::quota::Quota;
use crate::retry::Retry;
use crate::slot::Slot;
use crate::state::{Reason, State};
use crate::ties::{Extra, Ties};
use crate::time::Timestamp;
use crate::unique::{Claim, Held, OnConflict};

/// A stored task as it was when it was read; it does not change by itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "they are marks, each by itself")]
pub struct TaskRecord {
    /// The outside name, the same on every attempt.
    pub id: TaskId,
    /// The name of the task, as it was when the task was enqueued.
    pub kind: String,
    /// The queue.
    pub queue: String,
    /// Where the task is on its journey.
    pub state: State,
    /// Why, where the state needs a reason.
    pub reason: Option<Reason>,
    /// −100 to 100; higher runs first.
    pub priority: i8,
    /// When it may run; a retry or a snooze moves it.
    pub due_at: Timestamp,
    /// When it was stored.
    pub enqueued_at: Timestamp,
    /// When the newest attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended; set exactly in final states.
    pub finished_at: Option<Timestamp>,
    /// From this moment no attempt is started; it fails as `expired` instead.
    pub expires_at: Option<Timestamp>,
    /// Attempts spent or running; a snooze or a hand-back gives one back.
    pub attempt: u32,
    /// How many attempts it may have.
    pub attempts_max: u32,
    /// How many processes died while running it.
    pub crashes: u32,
    /// How often it asked to be run later.
    pub snoozes: u32,
    /// The process that ran or runs the newest attempt.
    pub worker: Option<i64>,
    /// The name that process is shown by, see [`Builder::name`](crate::Builder::name). None before
    /// the first attempt, and where a thousand others have come and gone since.
    pub worker_name: Option<String>,
    /// Whether somebody asked it to stop while it ran.
    pub cancel_requested: bool,
    /// Whether its newest attempt did not stop at its time-out and still occupies a thread.
    pub stuck: bool,
    /// Whether its owner has taken it off their list: see [`Client::dismiss`](crate::Client::dismiss). A retry puts
    /// it there again.
    pub dismissed: bool,
    /// Whether neither a failure nor a crash starts it again.
    pub at_most_once: bool,
    /// The idempotency key.
    pub key: Option<String>,
    /// Whose task it is, see [`Call::owner`](crate::Call::owner).
    pub owner: Option<String>,
    /// The trace it belongs to, a W3C `traceparent`, see [`Call::trace`](crate::Call::trace).
    pub trace: Option<String>,
    /// What people call it, where that is not its kind.
    pub name: Option<String>,
    /// The batch that sums it up, as it is a member of a flow.
    pub batch: Option<TaskId>,
    /// The slot of a schedule that it was made for; see [`Client::schedules`](crate::Client::schedules).
    pub slot: Option<Slot>,
    /// Words to find it by, sorted.
    pub tags: Vec<String>,
    /// Free JSON that travels with it.
    pub meta: Map<String, Value>,
    /// The arguments, a JSON object by parameter name.
    pub arguments: String,
    /// The return value as JSON; set exactly when it succeeded.
    pub result: Option<String>,
    /// The error of the newest attempt that had one.
    pub error: Option<Report>,
}

/// One execution of a task that did not simply succeed, or the one that did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Counted from 1.
    pub attempt: u32,
    /// The word of the outcome: `succeeded`, `retry`, `failed`, `snoozed`, `cancelled` or `crashed`;
    /// `running` while it runs. One that was handed back is not kept, and of those that were snoozed
    /// the newest 20 are.
    pub outcome: String,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The process that ran it.
    pub worker: Option<i64>,
    /// The name that process is shown by; none where a thousand others have come and gone since.
    pub worker_name: Option<String>,
    /// Its error, if it had one.
    pub error: Option<Report>,
}

/// A task before another, as that one sees it: see [`Context::before`](crate::Context::before).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prior {
    /// The outside name.
    pub id: TaskId,
    /// The name of the task.
    pub kind: String,
    /// What people call it, where that is not its kind.
    pub name: Option<String>,
    /// How it ended.
    pub state: State,
    /// The return value as JSON; none where it did not succeed.
    pub result: Option<String>,
    /// Where it is the batch of a flow, the members of that, in the order in which they were stored.
    pub members: Vec<Prior>,
}

/// What one step of a task came to; see [`Context::step`](crate::Context::step).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepRecord {
    /// Its name, once in a task.
    pub name: String,
    /// What it returned, as JSON; of a durable sleep the moment of waking.
    pub value: String,
    /// When it was stored.
    pub stored_at: Timestamp,
}

impl StepRecord {
    pub(crate) fn new(name: String, value: String, stored_at: Timestamp) -> Self {
        Self { name, value, stored_at }
    }
}

/// Tasks of one page, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// Together with those that cannot be read at most the page size asked for.
    pub tasks: Vec<TaskRecord>,
    /// Rows of this page that cannot be read, and why.
    pub bad: Vec<BadRow>,
    /// Where the next page begins; none after the last.
    pub next: Option<Cursor>,
}

/// A stored row that cannot be read, as another program has written to it or the file is damaged. It
/// does not concern the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadRow {
    /// The number of the task: what its id begins with.
    pub row: i64,
    /// The column.
    pub column: &'static str,
    /// What it holds.
    pub reason: String,
}

/// Where a page begins: opaque text that stays valid while tasks come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub(crate) i64);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl std::str::FromStr for Cursor {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let row = text.strip_prefix('c').and_then(|row| row.parse::<i64>().ok());
        row.filter(|row| *row > 0 && format!("c{row}") == text).map(Self).ok_or_else(|| {
            crate::error::Error::invalid(
                "bad_cursor",
                "cursor",
                text,
                "text given by an earlier page",
            )
        })
    }
}

/// The right to run one attempt of one task. Every write by a runner names all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) row: i64,
    pub(crate) attempt: u32,
    pub(crate) owner: i64,
}

/// A task on its way into the store, every value checked.
#[derive(Debug, Clone)]
pub(crate) struct NewTask {
    pub(crate) kind: Arc<str>,
    pub(crate) queue: Arc<str>,
    pub(crate) priority: i8,
    pub(crate) due_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) attempts_max: u32,
    pub(crate) at_most_once: bool,
    pub(crate) arguments: String,
    pub(crate) key: Option<String>,
    pub(crate) trace: Option<Arc<str>>,
    pub(crate) tags: Option<String>,
    pub(crate) meta: Option<String>,
    /// Overrides that the running process needs, as JSON.
    pub(crate) options: Option<String>,
    /// When it is refused for want of room.
    pub(crate) quota: Quota,
    /// Where the engine notes that it was stored; none where nobody listens.
    pub(crate) ledger: Option<Arc<dyn Ledger>>,
    /// None for a plain task.
    pub(crate) extra: Option<Box<Extra>>,
}

impl NewTask {
    /// What is stored when a task has ended that it follows.
    pub(crate) fn following(
        follow: &Follow,
        event: &EventRecord,
        trace: Option<Arc<str>>,
        now: Timestamp,
    ) -> Self {
        let (key, gate) = follow.summed(&event.kind).unzip();
        let claim = key.clone().map(|key| Claim {
            key,
            held: Held::End,
            on_conflict: OnConflict::Existing,
            delay: None,
        });
        let ties = Ties { gate, follow: follow.then.clone(), ..Ties::default() };
        let owner = event.owner.clone();
        let extra = Extra { owner, claim, wait_key: key, ties, ..Extra::default() };
        let plain = extra.owner.is_none() && extra.claim.is_none() && extra.ties.are_none();
        Self {
            kind: follow.kind.as_str().into(),
            queue: follow.queue.as_str().into(),
            priority: follow.priority,
            due_at: now,
            expires_at: follow.expires_ms.map(|ms| now.after(Duration::from_millis(ms))),
            attempts_max: follow.attempts,
            at_most_once: follow.at_most_once,
            arguments: Follow::arguments(event),
            key: Some(follow.key(event)),
            trace,
            tags: None,
            meta: None,
            options: None,
            // It is never refused: the end of the task would be refused with it.
            quota: Quota::default(),
            ledger: None,
            extra: (!plain).then(|| Box::new(extra)),
        }
    }

    /// What is stored when it ends.
    pub(crate) fn follows(&self) -> &[Follow] {
        self.extra.as_ref().map_or(&[], |extra| &extra.ties.follow)
    }

    /// Its wish to be the only one of its key.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.extra.as_ref()?.claim.as_ref()
    }

    /// Whether it sums up others.
    pub(crate) fn is_batch(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.ties.sums)
    }

    /// What it must pass before it starts, and the key under which it stands there.
    pub(crate) fn gate(&self) -> Option<(&str, Gate)> {
        self.extra.as_ref()?.gate()
    }
}

#[cfg(test)]
impl NewTask {
    /// A task for tests of the engines: due, of priority 0, with nothing set that may be left out.
    pub(crate) fn plain(queue: &str, kind: &str) -> Self {
        Self {
            kind: kind.into(),
            queue: queue.into(),
            priority: 0,
            due_at: Timestamp::clamped(0),
            expires_at: None,
            attempts_max: 3,
            at_most_once: false,
            arguments: "{}".to_owned(),
            key: None,
            trace: None,
            tags: None,
            meta: None,
            options: None,
            quota: Quota::default(),
            extra: None,
            ledger: None,
        }
    }
}

/// What became of a [`NewTask`].
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: TaskId,
    pub(crate) state: State,
    pub(crate) due_at: Timestamp,
    /// Whether its idempotency key or its unique key belonged to a task that was there already.
    pub(crate) existing: bool,
    /// Handed over at once: stored as running, for the process that enqueued it.
    pub(crate) claimed: Option<Claimed>,
}

/// A task that this process holds.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) lease: Lease,
    pub(crate) id: TaskId,
    pub(crate) kind: Arc<str>,
    pub(crate) queue: Arc<str>,
    pub(crate) rank: i64,
    pub(crate) priority: i8,
    pub(crate) attempts_max: u32,
    pub(crate) crashes: u32,
    pub(crate) at_most_once: bool,
    pub(crate) started_at: Timestamp,
    pub(crate) trace: Option<Arc<str>>,
    pub(crate) options: Option<String>,
    pub(crate) arguments: String,
    /// None for a plain task.
    pub(crate) extra: Option<Box<Extra>>,
}

impl Claimed {
    /// Whether its start or its end concerns other tasks.
    pub(crate) fn is_tied(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| !extra.ties.are_none())
    }

    /// Its ties and the key under which it stands at its gate, where its end concerns nobody else.
    pub(crate) fn only_gate(&self) -> Option<Box<(String, Ties)>> {
        let extra = self.extra.as_ref()?;
        let (key, gate) = extra.gate()?;
        let only = Ties { gate: Some(gate), ..Ties::default() };
        (extra.ties == only).then(|| Box::new((key.to_owned(), only)))
    }

    /// The number of its hold of a lock.
    pub(crate) fn fence(&self) -> Option<u64> {
        self.extra.as_ref()?.fence.map(i64::unsigned_abs)
    }
}

/// What a step came to, on its way into the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewStep<'a> {
    pub(crate) id: TaskId,
    pub(crate) lease: Lease,
    pub(crate) name: &'a str,
    /// As JSON.
    pub(crate) value: &'a str,
    pub(crate) durability: Option<Durability>,
}

/// What one attempt has said, on its way into the store. Said twice it is kept once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: TaskId,
    pub(crate) lease: Lease,
    /// None where only lines are new.
    pub(crate) progress: Option<Progress>,
    /// Oldest first.
    pub(crate) lines: VecDeque<LogLine>,
}

/// The end of one attempt, on its way into the store.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    pub(crate) id: TaskId,
    pub(crate) lease: Lease,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) retry: Arc<Retry>,
    /// Jitter of the back-off, in `0.0..1.0`.
    pub(crate) chance: f64,
    pub(crate) durability: Option<Durability>,
    pub(crate) stuck: bool,
    /// Its end concerns other tasks, as far as was known when it started.
    pub(crate) tied: bool,
    /// The key and the ties of one whose end concerns only those at its gate, likewise.
    pub(crate) gate: Option<Box<(String, Ties)>>,
    /// What is told of it after its commit; none where nobody would hear.
    pub(crate) about: Option<Box<About>>,
    /// None where no body has begun.
    pub(crate) ran: Option<Ran>,
    /// What the attempt has said and is not known to be kept.
    pub(crate) said: Option<Box<Said>>,
}

impl Finish {
    /// An end to which no back-off applies: the default policy, without jitter.
    pub(crate) fn plain(
        id: TaskId,
        lease: Lease,
        started_at: Timestamp,
        finished_at: Timestamp,
        outcome: Outcome,
    ) -> Self {
        let retry = Arc::new(Retry::default());
        Self {
            id,
            lease,
            started_at,
            finished_at,
            outcome,
            retry,
            chance: 0.0,
            durability: None,
            stuck: false,
            tied: false,
            gate: None,
            about: None,
            ran: None,
            said: None,
        }
    }
}

/// What a finish came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) due_at: Option<Timestamp>,
}

/// A process that runs tasks, as it is shown to others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) threads: usize,
    /// Names and aliases of the tasks it can run.
    pub(crate) kinds: Vec<String>,
    /// Whether it goes on running tasks by itself: a pool, not an inline caller.
    pub(crate) serves: bool,
    /// The queues it runs tasks of; empty: all.
    pub(crate) queues: Vec<String>,
    /// The queues it runs no tasks of.
    pub(crate) exclude: Vec<String>,
}
