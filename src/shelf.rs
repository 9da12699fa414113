//! Contract: how an engine keeps artifacts.
//!
//! An artifact comes in parts, each in a short commit of its own, so that no large one holds the lock for long.
//! It is there for readers once it is complete. What is removed goes in slices too.

use crate::artifact::{Artifact, NewArtifact};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::Lease;
use crate::time::Timestamp;

/// Who writes an artifact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    pub(crate) id: TaskId,
    pub(crate) lease: Lease,
}

/// Artifacts of tasks. Every write by an author names its lease, and one that no longer holds changes nothing.
pub(crate) trait Shelf: Send + Sync {
    /// Keeps an artifact that is given as a whole, in the place of the one of its name.
    fn put_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
        body: &[u8],
    ) -> Result<Artifact, Error>;

    /// Begins one that comes in parts, and gives it a number of the file.
    fn begin_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
    ) -> Result<i64, Error>;

    /// Adds the next part, of at most [`PART_BYTES`](crate::artifact::PART_BYTES).
    fn add_part(
        &self,
        author: Author,
        artifact: i64,
        new: &NewArtifact,
        part: &[u8],
    ) -> Result<(), Error>;

    /// Makes it complete, in the place of the one of its name.
    fn end_artifact(
        &self,
        now: Timestamp,
        author: Author,
        artifact: i64,
    ) -> Result<Artifact, Error>;

    /// It will not be completed.
    fn give_up_artifact(&self, artifact: i64) -> Result<(), Error>;

    /// Those of a task that are complete and have not expired, by number.
    fn artifacts(&self, now: Timestamp, id: TaskId) -> Result<Vec<Artifact>, Error>;

    /// One of them, and its number in the file, by which its parts are read.
    fn find_artifact(
        &self,
        now: Timestamp,
        id: TaskId,
        number: u32,
    ) -> Result<Option<(i64, Artifact)>, Error>;

    /// A part of one that is complete, counted from 0; each but the last has
    /// [`PART_BYTES`](crate::artifact::PART_BYTES). None behind the last, and once it was removed.
    fn artifact_part(&self, artifact: i64, place: u32) -> Result<Option<Vec<u8>>, Error>;

    /// Removes one slice of what has expired, was given up or belonged to tasks that are gone; says whether
    /// there is more.
    fn sweep_artifacts(&self, now: Timestamp) -> Result<bool, Error>;
}
