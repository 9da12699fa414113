//! Every step of the journey: what a call of this library can fail with.
//!
//! An error names a stable code, the offending value, where it stood, what is allowed and, where it
//! helps, what to do next. No type of another crate is part of it: causes are boxed as `source`.
//! What a *task body* fails with is a [`Failure`](crate::Failure), a verdict that is stored.

use std::time::Duration;

use crate::id::TaskId;
use crate::json::JsonError;
use crate::near::{did_you_mean, nearest};
use crate::outcome::{BoxError, Report};
use crate::panics;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Why a call of this library failed. `code()` is stable; the text may improve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value was refused before anything was stored.
    #[error("{code}: {place} is {value}; {allowed}")]
    #[non_exhaustive]
    Invalid {
        /// Stable word for the rule that was broken, such as `bad_queue`.
        code: &'static str,
        /// Which value, such as `queue name`.
        place: String,
        /// The value, shortened and escaped.
        value: String,
        /// The range or form that is allowed.
        allowed: String,
    },
    /// Arguments or a result do not fit into JSON or its limits.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// One item of a batch was refused, so none was stored.
    #[error("item {index} of the batch: {source}")]
    #[non_exhaustive]
    Item {
        /// Position of the item, counted from 0.
        index: usize,
        /// Why it was refused.
        source: Box<Error>,
    },
    /// One client of a set could not be opened or shut down.
    #[error("client {client}: {source}")]
    #[non_exhaustive]
    InClient {
        /// The name of the client.
        client: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A schedule was refused.
    #[error("schedule {name:?}: {source}")]
    #[non_exhaustive]
    InSchedule {
        /// Its name.
        name: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A line of an import was refused. What stands before it is stored.
    #[error("line {number} of the import: {source}")]
    #[non_exhaustive]
    Line {
        /// Its number, counted from 1.
        number: u64,
        /// Why it was refused.
        source: Box<Error>,
    },
    /// One member of a flow was refused, so nothing of it was stored.
    #[error("member {name:?} of the flow: {source}")]
    #[non_exhaustive]
    Member {
        /// Its name, or its number, counted from 1.
        name: String,
        /// Why it was refused.
        source: Box<Error>,
    },
    /// No task has this id, or it was pruned.
    #[error("not_found: there is no task {id}")]
    #[non_exhaustive]
    NotFound {
        /// The id as it was given.
        id: String,
    },
    /// The id names a task of another kind.
    #[error("mismatch: task {id} is of kind {found:?}, not {expected:?}")]
    #[non_exhaustive]
    Mismatch {
        /// The task.
        id: TaskId,
        /// The kind that was asked for.
        expected: String,
        /// The kind that the task is of.
        found: String,
    },
    /// The program knows no task of this name.
    #[error("unknown_kind: {kind:?} is not registered{}", how_to_register(.kind, .nearest))]
    #[non_exhaustive]
    UnknownKind {
        /// The name.
        kind: String,
        /// Registered names that look like it.
        nearest: Vec<String>,
    },
    /// The task has no return value yet.
    #[error("not_finished: task {id} is {state}")]
    #[non_exhaustive]
    NotFinished {
        /// The task.
        id: TaskId,
        /// Its state when it was read.
        state: State,
    },
    /// The task is in a state in which this cannot be done to it.
    #[error("{code}: task {id} is {state}; {instead}")]
    #[non_exhaustive]
    WrongState {
        /// `already_finished`, `running`, or `linked` for one that other tasks hang on.
        code: &'static str,
        /// The task.
        id: TaskId,
        /// Its state when it was read.
        state: State,
        /// What to do instead.
        instead: &'static str,
    },
    /// The task ended without a return value, because it failed.
    #[error("failed: task {id} failed ({reason}): {report}")]
    #[non_exhaustive]
    Failed {
        /// The task.
        id: TaskId,
        /// Why it is final.
        reason: Reason,
        /// The error of its last attempt.
        report: Box<Report>,
    },
    /// The task ended without a return value, because it was cancelled or skipped.
    #[error("{state}: task {id} was {state} ({reason})")]
    #[non_exhaustive]
    NoValue {
        /// The task.
        id: TaskId,
        /// `cancelled` or `skipped`.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// The time given to wait has passed.
    #[error("timeout: task {id} has not ended within {} ms; it goes on", .after.as_millis())]
    #[non_exhaustive]
    Timeout {
        /// The task.
        id: TaskId,
        /// How long was waited.
        after: Duration,
    },
    /// Waiting is pointless: no live process runs tasks of this kind.
    #[error(
        "nobody_runs: no live process runs this task, due at {due_at}; run a pool or `run_pending`"
    )]
    #[non_exhaustive]
    NobodyRuns {
        /// When the task is due.
        due_at: Timestamp,
    },
    /// The key belongs to a task with other arguments.
    #[error("key_conflict: task {existing} already has this key with other arguments")]
    #[non_exhaustive]
    KeyConflict {
        /// The task that has the key.
        existing: TaskId,
    },
    /// There is a task with the same unique key, and the call asked to be refused then.
    #[error("not_unique: task {existing} has the same unique key")]
    #[non_exhaustive]
    NotUnique {
        /// The task that has the key.
        existing: TaskId,
    },
    /// Something is full; nothing was stored.
    #[error("overloaded: {what} holds {found} of at most {allowed}; {instead}")]
    #[non_exhaustive]
    Overloaded {
        /// What is full: a queue, the file, or its list of lanes.
        what: String,
        /// How much it holds.
        found: u64,
        /// How much it may hold.
        allowed: u64,
        /// What to do about it.
        instead: &'static str,
        /// Whether there is room again once tasks have run.
        passes: bool,
    },
    /// Nothing was stored; the call may be repeated.
    #[error("not_stored: {reason}")]
    #[non_exhaustive]
    NotStored {
        /// What stood in the way.
        reason: String,
        /// The engine's own error.
        #[source]
        source: Option<BoxError>,
    },
    /// Whether it was stored cannot be told. Send it again with the same idempotency key and there
    /// will be one task.
    #[error("unknown_outcome: {reason}; send it again with the same idempotency key")]
    #[non_exhaustive]
    Unknown {
        /// What happened.
        reason: String,
        /// The engine's own error.
        #[source]
        source: Option<BoxError>,
    },
    /// Another attempt holds the task; nothing of this one was kept.
    #[error(
        "lease_lost: attempt {attempt} of task {id} no longer holds it; nothing of it was kept"
    )]
    #[non_exhaustive]
    LeaseLost {
        /// The task.
        id: TaskId,
        /// The attempt that lost it.
        attempt: u32,
    },
    /// The client was shut down.
    #[error("closed: the client was shut down")]
    Closed,
    /// The process was forked after the file was opened.
    #[error("forked_process: the file was opened by process {opened_by}; fork first, then open it")]
    #[non_exhaustive]
    Forked {
        /// The process that opened the file.
        opened_by: u32,
    },
    /// A call that would wait for itself.
    #[error("reentrant: {what}; {instead}")]
    #[non_exhaustive]
    Reentrant {
        /// What was called where.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The file cannot be used.
    #[error("{code}: {path}: {reason}")]
    #[non_exhaustive]
    BadFile {
        /// Stable word, such as `schema_newer`.
        code: &'static str,
        /// The file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
        /// The engine's own error.
        #[source]
        source: Option<BoxError>,
    },
    /// What changes no task has failed: the file could not be read, its log not emptied, or a thread not
    /// started. A read that was only too late answers [`Busy`](Self::Busy).
    #[error("storage: {reason}")]
    #[non_exhaustive]
    Storage {
        /// What could not be done.
        reason: String,
        /// The engine's own error.
        #[source]
        source: Option<BoxError>,
    },
    /// The file could not be read in time: another program held it, or all readers were taken by other reads. The same
    /// call may succeed in a moment.
    #[error("busy: {reason}")]
    #[non_exhaustive]
    Busy {
        /// What was to be read, and what stood in the way.
        reason: String,
        /// The engine's own error.
        #[source]
        source: Option<BoxError>,
    },
    /// Nothing was removed: the machine's clock has jumped, so what looks old may not be.
    #[error(
        "clock_jumped: the machine's clock is not to be trusted: {what}; wait until it has been \
         stable for 10 min, or say that it is `confirmed`"
    )]
    #[non_exhaustive]
    ClockJumped {
        /// What was seen.
        what: String,
    },
    /// One stored row is damaged; others are not affected.
    #[error("bad_row: task row {row}, column {column}: {reason}")]
    #[non_exhaustive]
    BadRow {
        /// The row's number.
        row: i64,
        /// The column.
        column: &'static str,
        /// What it holds.
        reason: String,
    },
}

impl Error {
    /// Calls what may panic for a reason of our own, from a thread that others rely on.
    pub(crate) fn caught<R>(call: impl FnOnce() -> Result<R, Self>) -> Result<R, Self> {
        panics::caught(call)
            .unwrap_or_else(|report| Err(Self::Storage { reason: report.message, source: None }))
    }

    /// What it means to one who opens a client, and stores no call that could be sent again.
    pub(crate) fn of_open(self) -> Self {
        match self {
            Self::Unknown { reason, source } => {
                Self::Storage { reason: format!("the file was not opened: {reason}"), source }
            }
            error => error,
        }
    }

    pub(crate) fn invalid(
        code: &'static str,
        place: impl Into<String>,
        value: impl std::fmt::Debug,
        allowed: impl Into<String>,
    ) -> Self {
        let value = shorten(&format!("{value:?}"));
        Self::Invalid { code, place: place.into(), value, allowed: allowed.into() }
    }

    pub(crate) fn not_found(id: impl std::fmt::Display) -> Self {
        Self::NotFound { id: shorten(&id.to_string()) }
    }

    /// The error of the one item that a batch held.
    pub(crate) fn of_one(self) -> Self {
        match self {
            Self::Item { source, .. } => *source,
            error => error,
        }
    }

    /// The same for a name, with those that look like it.
    pub(crate) fn not_found_near<'a>(
        place: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let near = did_you_mean(&nearest(name, known));
        Self::NotFound { id: format!("{:?} in {}{near}", shorten(name), shorten(place)) }
    }

    pub(crate) fn at(self, index: usize) -> Self {
        Self::Item { index, source: Box::new(self) }
    }

    pub(crate) fn in_client(self, client: &str) -> Self {
        Self::InClient { client: client.to_owned(), source: Box::new(self) }
    }

    pub(crate) fn in_line(self, number: u64) -> Self {
        Self::Line { number, source: Box::new(self) }
    }

    pub(crate) fn in_schedule(self, name: &str) -> Self {
        Self::InSchedule { name: shorten(name), source: Box::new(self) }
    }

    /// The stable word for this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { code, .. }
            | Self::BadFile { code, .. }
            | Self::WrongState { code, .. } => code,
            Self::Json(error) => error.code(),
            Self::Item { source, .. }
            | Self::InClient { source, .. }
            | Self::InSchedule { source, .. }
            | Self::Line { source, .. }
            | Self::Member { source, .. } => source.code(),
            Self::NotFound { .. } => "not_found",
            Self::Mismatch { .. } => "mismatch",
            Self::UnknownKind { .. } => "unknown_kind",
            Self::NotFinished { .. } => "not_finished",
            Self::Failed { .. } => "failed",
            Self::NoValue { state, .. } => state.as_str(),
            Self::Timeout { .. } => "timeout",
            Self::NobodyRuns { .. } => "nobody_runs",
            Self::KeyConflict { .. } => "key_conflict",
            Self::NotUnique { .. } => "not_unique",
            Self::Overloaded { .. } => "overloaded",
            Self::NotStored { .. } => "not_stored",
            Self::Unknown { .. } => "unknown_outcome",
            Self::LeaseLost { .. } => "lease_lost",
            Self::Closed => "closed",
            Self::Forked { .. } => "forked_process",
            Self::Reentrant { .. } => "reentrant",
            Self::Storage { .. } => "storage",
            Self::Busy { .. } => "busy",
            Self::ClockJumped { .. } => "clock_jumped",
            Self::BadRow { .. } => "bad_row",
        }
    }

    /// Whether the same call may succeed later, and repeating it cannot make a second task. A batch is
    /// judged by the item that was refused.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Item { source, .. }
            | Self::InClient { source, .. }
            | Self::InSchedule { source, .. }
            | Self::Line { source, .. }
            | Self::Member { source, .. } => source.is_retryable(),
            Self::Overloaded { passes, .. } => *passes,
            _ => matches!(self, Self::NotStored { .. } | Self::Timeout { .. } | Self::Busy { .. }),
        }
    }

    /// Whether the task does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The end of a sentence about a kind that is not known: what was meant, or else what to write.
fn how_to_register(kind: &str, nearest: &[String]) -> String {
    if !nearest.is_empty() {
        return did_you_mean(nearest);
    }
    // As a rule it is the name of the function, which may stand in code.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = kind.starts_with(|c: char| plain(c) && !c.is_ascii_digit());
    let name = if is_name && kind.chars().all(plain) { kind } else { ".." };
    format!(
        "; `.register({name})` on the builder, or `.declare::<{name}>()` where another program runs it"
    )
}

/// Values from outside are shown with at most this many characters.
const SHOWN_CHARS_MAX: usize = 80;

pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_value_names_value_place_and_range() {
        let error = Error::invalid("bad_priority", "priority", 101, "-100 to 100");
        assert_eq!(error.to_string(), "bad_priority: priority is 101; -100 to 100");
        assert_eq!(
            error.at(3).to_string(),
            "item 3 of the batch: bad_priority: priority is 101; -100 to 100"
        );
    }

    #[test]
    fn an_unknown_kind_is_told_what_to_write() {
        let told = |kind: &str, nearest: &[&str]| {
            let nearest = nearest.iter().map(|&name| name.to_owned()).collect();
            Error::UnknownKind { kind: kind.to_owned(), nearest }.to_string()
        };
        assert_eq!(
            told("shrink", &[]),
            "unknown_kind: \"shrink\" is not registered; `.register(shrink)` on the builder, or \
             `.declare::<shrink>()` where another program runs it"
        );
        assert_eq!(
            told("shrnk", &["shrink"]),
            "unknown_kind: \"shrnk\" is not registered; did you mean shrink?"
        );
        assert!(told("mail.send", &[]).contains("`.register(..)` on the builder"));
    }

    #[test]
    fn a_batch_may_be_repeated_if_its_refused_item_may() {
        let busy = || Error::NotStored { reason: "busy".to_owned(), source: None };
        assert!(busy().is_retryable() && busy().at(7).is_retryable());
        assert!(!Error::Closed.is_retryable() && !Error::Closed.at(0).is_retryable());
    }

    #[test]
    fn long_values_are_shown_cut() {
        let error = Error::invalid("bad_key", "key", "k".repeat(5_000), "1 to 200 bytes");
        assert!(error.to_string().len() < 200);
    }
}
