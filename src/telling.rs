//! Contract: what an engine keeps of what tasks say while they run.
//!
//! Little depends on it, so it is kept without a sync of its own, and never by whoever says it: see
//! `scribe`. What an attempt says last is kept with its end.

use crate::error::Error;
use crate::id::TaskId;
use crate::progress::{LogLine, Progress};
use crate::record::Said;
use crate::time::Timestamp;

/// What tasks say while they run.
pub(crate) trait Telling: Send + Sync {
    /// Keeps what attempts have said, in one commit. Of one whose lease no longer holds, nothing is kept.
    /// Steps that are done, and those in all, are added to the batch of the task.
    fn tell(&self, now: Timestamp, said: &[Said]) -> Result<(), Error>;

    /// How far a task has come; none where it has said nothing.
    fn progress(&self, id: TaskId) -> Result<Option<Progress>, Error>;

    /// The newest lines that a task has logged, at most so many, oldest first.
    fn log(&self, id: TaskId, most: usize) -> Result<Vec<LogLine>, Error>;
}
