//! Contract: what keeps a queue in good order: copies of it, its size, what is wrong with it, and tasks that are carried
//! from one queue to another.
//!
//! What only a file can do, an engine without one refuses as `unsupported`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use crate::finding::Finding;
use crate::portable::Portable;
use crate::record::BadRow;
use crate::time::Timestamp;

/// How far a copy has come; see [`Client::backup_with`](crate::Client::backup_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Pages that are copied.
    pub done: u64,
    /// Pages that there are in all.
    pub total: u64,
}

impl BackupProgress {
    #[cfg(feature = "sqlite")]
    pub(crate) fn of(done: u64, total: u64) -> Self {
        Self { done, total }
    }
}

/// What [`Client::backup`](crate::Client::backup) has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackedUp {
    /// The copy.
    pub path: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// Whose state it holds: that of this moment. All that was stored until then is in it.
    pub at: Timestamp,
    /// How many artifacts it names that stand in a folder beside the queue file and are not part of it: see
    /// [`Builder::artifacts_beside`](crate::Builder::artifacts_beside).
    pub artifacts_beside: u64,
}

impl BackedUp {
    #[cfg(feature = "sqlite")]
    pub(crate) fn new(path: PathBuf, bytes: u64, at: Timestamp, artifacts_beside: u64) -> Self {
        Self { path, bytes, at, artifacts_beside }
    }
}

/// How space is given back; see [`Client::vacuum`](crate::Client::vacuum).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Vacuum {
    /// Writes the whole file anew, without a gap and with its pages in order, while nobody works.
    Full,
    /// Gives back the pages that hold nothing, in slices of about 2 ms, while all go on.
    Incremental,
}

/// What [`Client::vacuum`](crate::Client::vacuum) came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vacuumed {
    /// Bytes of the file and of its log together before.
    pub before: u64,
    /// The same afterwards.
    pub after: u64,
    /// Whether the log was moved into the file. Where somebody read all the time it was not, and the file gets smaller
    /// later.
    pub log_emptied: bool,
}

impl Vacuumed {
    #[cfg(feature = "sqlite")]
    pub(crate) fn new(before: u64, after: u64, log_emptied: bool) -> Self {
        Self { before, after, log_emptied }
    }
}

/// A row on its way to another queue.
#[derive(Debug)]
pub(crate) enum Carried {
    Task(Box<Portable>),
    /// It cannot be read.
    Bad(BadRow),
    /// It is not there any more.
    Gone,
}

/// What became of tasks that came from another queue.
#[derive(Debug, Default)]
pub(crate) struct TakenIn {
    /// How many were looked at, that which was refused not counted.
    pub(crate) seen: usize,
    pub(crate) stored: u64,
    pub(crate) skipped: u64,
    /// Rows that have ended here as they were stored; see [`Upkeep::taken`].
    pub(crate) ended: Vec<i64>,
    /// Why the next was refused.
    pub(crate) refused: Option<Error>,
}

/// Is told how far a copy has come, and may end it.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(BackupProgress) -> Result<ControlFlow<()>, Error>;

/// What keeps a queue in good order.
pub(crate) trait Upkeep: Send + Sync {
    /// Copies all that is kept, as it is now, into a new file. The clock is read where the copy begins.
    fn back_up(
        &self,
        _now: &dyn Fn() -> Timestamp,
        _to: &Path,
        _tell: Tell<'_>,
    ) -> Result<BackedUp, Error> {
        Err(no_file("a copy of the queue"))
    }

    /// What is wrong with what is kept, the worst first. Changes nothing.
    fn examine(&self, _now: Timestamp) -> Result<Vec<Finding>, Error> {
        Err(no_file("a look for faults"))
    }

    /// Gives space back to the disk.
    fn vacuum(&self, _how: Vacuum) -> Result<Vacuumed, Error> {
        Err(no_file("space"))
    }

    /// Whether tasks can be carried to other queues and from there at all; nothing is read for that.
    fn check_carries(&self) -> Result<(), Error> {
        Err(no_file("an export or import"))
    }

    /// The owners of running tasks, each once; none of a task that has no owner. What is in memory goes with its process.
    fn holders(&self) -> Result<Vec<Option<i64>>, Error> {
        Ok(Vec::new())
    }

    /// What is carried of the first of these rows, of each as it is now; of as many as fit into one look.
    fn carry(&self, _rows: &[i64]) -> Result<Vec<Carried>, Error> {
        Err(no_file("an export"))
    }

    /// Stores the first of these as they were, in one commit of at most 20 ms, up to one that is refused. Those whose ids
    /// are stored already are passed over or refused.
    fn take_in(
        &self,
        _now: Timestamp,
        _tasks: &[Portable],
        _skips: bool,
    ) -> Result<TakenIn, Error> {
        Err(no_file("an import"))
    }

    /// Once all have come: what it means to others that these rows have ended as they were taken in.
    fn taken(&self, _now: Timestamp, _ended: &[i64]) -> Result<(), Error> {
        Err(no_file("an import"))
    }

    /// How often a task waits for another that is not there.
    fn absent(&self) -> Result<u64, Error> {
        Err(no_file("an import"))
    }
}

/// What a queue without a file is asked for in vain.
fn no_file(place: &str) -> Error {
    let allowed = "a queue file; what is in memory goes with its process";
    Error::invalid("unsupported", place, "of a queue in memory", allowed)
}
