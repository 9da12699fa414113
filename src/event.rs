//! Watch: what happened to a task, in a word and a few facts.
//!
//! Plain data. Who is told of it, and when, is the business of `hook`.

use std::fmt;
use std::iter::{Once, once};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::outcome::Report;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// What happened to a task. [`Builder::on`](crate::Builder::on) takes one, an array of them, or
/// [`EventKind::ALL`].
///
/// An attempt that has begun and is recorded as ended has exactly one of `Succeeded`, `Failed`,
/// `Snoozed`, `Cancelled` and `Skipped`; one that is handed back has none, as if it had not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A call was stored, or found the task that has its key ([`Event::existing`]). Not told of what no call
    /// stores: what follows another task, a notice, and what is taken from the inbox begin with `Started`.
    /// A slot of a schedule makes its call, and is told like any other.
    Enqueued,
    /// A body is about to begin.
    Started,
    /// An attempt returned a value.
    Succeeded,
    /// An attempt failed, **also where it is tried again**: [`Event::will_retry`] says which. Or the task
    /// could not be started any more, because it had expired, one before it had failed, or its row is
    /// damaged. Only of failures for good there are follow-ups
    /// ([`Options::follow`](crate::Options::follow)), and of those `Finished` is told next.
    Failed,
    /// An attempt asked to be run later.
    Snoozed,
    /// The task ended by request.
    Cancelled,
    /// The task ended without running, and that is no error.
    Skipped,
    /// The task ended, in whichever way; told after the event that says how.
    Finished,
}

impl EventKind {
    /// Every kind, in the order of the journey.
    pub const ALL: [Self; 8] = [
        Self::Enqueued,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Snoozed,
        Self::Cancelled,
        Self::Skipped,
        Self::Finished,
    ];

    /// The word that is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Snoozed => "snoozed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Finished => "finished",
        }
    }

    /// What it means to those who watch that a task has come to this state, if it means anything.
    pub(crate) fn of(state: State, reason: Option<Reason>) -> Option<Self> {
        match (state, reason) {
            (State::Succeeded, _) => Some(Self::Succeeded),
            (State::Failed, _) | (State::Scheduled, Some(Reason::Retry)) => Some(Self::Failed),
            (State::Scheduled, Some(Reason::Snoozed)) => Some(Self::Snoozed),
            (State::Cancelled, _) => Some(Self::Cancelled),
            (State::Skipped, _) => Some(Self::Skipped),
            _ => None,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One kind alone, where several may be given.
impl IntoIterator for EventKind {
    type Item = Self;
    type IntoIter = Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        once(self)
    }
}

/// Something that happened to a task, after the commit that made it so.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub what: EventKind,
    /// The task.
    pub id: TaskId,
    /// The name of the task.
    pub kind: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// The attempt, counted from 1: the one that began or ended, or the last there was; 0 when there was
    /// none yet, and always for `Enqueued`.
    pub attempt: u32,
    /// The state that the commit left the task in.
    pub state: State,
    /// Why, where that state needs a reason; not told of a task that a call has found by its key.
    pub reason: Option<Reason>,
    /// When it happened: when the call was stored, the body was about to begin, the attempt ended.
    pub at: Timestamp,
    /// When the task is due, if it has not ended: first, or again.
    pub due_at: Option<Timestamp>,
    /// For `Enqueued`: the key belonged to a task that was there already, so nothing was stored.
    pub existing: bool,
    /// The error, where the attempt had one.
    pub error: Option<Report>,
    /// The trace that the task belongs to, see [`Call::trace`](crate::Call::trace).
    pub trace: Option<Arc<str>>,
}

impl Event {
    /// Whether the task is tried again after this failure; false for any other event.
    pub fn will_retry(&self) -> bool {
        self.what == EventKind::Failed && !self.state.is_final()
    }

    /// Something that is happening to this task at this moment.
    pub(crate) fn new(what: EventKind, id: TaskId, about: &About, at: Timestamp) -> Self {
        Self {
            what,
            id,
            kind: Arc::clone(&about.kind),
            queue: Arc::clone(&about.queue),
            attempt: 0,
            state: State::Running,
            reason: None,
            at,
            due_at: None,
            existing: false,
            error: None,
            trace: about.trace.clone(),
        }
    }
}

/// The end of a task, as a task that follows it is told: see [`Options::follow`](crate::Options::follow).
///
/// In JSON an object with the names of these fields; moments are RFC 3339 text, and what has no value is
/// `null`. Later versions may add fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventRecord {
    /// The same for the same end, and for no other: the id of the task and how often it was started anew by
    /// [`Client::retry`](crate::Client::retry), as in `…/1`. Who may be told twice can drop the second.
    pub id: String,
    /// `Succeeded`, `Failed`, `Cancelled` or `Skipped`.
    pub what: EventKind,
    /// The task that ended.
    pub task: TaskId,
    /// Its name in the program.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// What people call it, where that is not its kind.
    pub name: Option<String>,
    /// Whose task it is, see [`Call::owner`](crate::Call::owner).
    pub owner: Option<String>,
    /// The state that it ended in.
    pub state: State,
    /// Why, where that state needs a reason.
    pub reason: Option<Reason>,
    /// The last attempt, counted from 1; 0 where there was none.
    pub attempt: u32,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The error that it ended with, if any. Each text is cut at 5,000 characters, with a mark, and of its
    /// causes the nearest 16 are kept.
    pub error: Option<Report>,
}

/// What an event says of its task that its end does not.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) kind: Arc<str>,
    pub(crate) queue: Arc<str>,
    pub(crate) trace: Option<Arc<str>>,
}

/// Where an engine notes what it has stored, before any other thread can claim it, so that nobody
/// tells of its start before its enqueue is told.
pub(crate) trait Ledger: fmt::Debug + Send + Sync {
    fn note(&self, enqueued: Event);
}
