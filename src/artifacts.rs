//! Watch: reading what tasks have left for people.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use crate::artifact::Artifact;
use crate::client::{AsTaskId, Client};
use crate::error::Error;
use crate::handle::Handle;
use crate::heard::check_known;
use crate::hub::Hub;
use crate::id::TaskId;
use crate::task::Signature;

impl Client {
    /// What a task has left for people with [`Context::artifact`](crate::Context::artifact), in the order in which
    /// it was left, as far as it has not expired.
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn artifacts(&self, id: impl AsTaskId) -> Result<Vec<Artifact>, Error> {
        artifacts(&self.hub, id.as_task_id()?)
    }

    /// The bytes of an artifact by its number in the task, to be read in pieces: at most 256 KiB of it are in
    /// memory, and the file is not held between two of them.
    ///
    /// # Errors
    /// `no_artifact` where the task has left none of this number, or it has expired; those of [`Client::get`].
    pub fn open_artifact(&self, id: impl AsTaskId, number: u32) -> Result<ArtifactReader, Error> {
        open(&self.hub, id.as_task_id()?, number)
    }
}

impl<T: Signature> Handle<T> {
    /// What the task has left for people: see [`Client::artifacts`].
    ///
    /// # Errors
    /// Those of [`Handle::refresh`].
    pub fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        artifacts(&*self.hub()?, self.id())
    }
}

fn artifacts(hub: &Hub, id: TaskId) -> Result<Vec<Artifact>, Error> {
    let artifacts = hub.backend.artifacts(hub.clock.now(), id)?;
    if artifacts.is_empty() {
        check_known(&*hub.backend, id)?;
    }
    Ok(artifacts)
}

fn open(hub: &Arc<Hub>, id: TaskId, number: u32) -> Result<ArtifactReader, Error> {
    let found = hub.backend.find_artifact(hub.clock.now(), id, number)?;
    let Some((row, artifact)) = found else {
        check_known(&*hub.backend, id)?;
        let allowed = "the number of one that the task has left and that has not expired";
        return Err(Error::invalid(
            "no_artifact",
            format!("artifact of task {id}"),
            number,
            allowed,
        ));
    };
    Ok(ArtifactReader { hub: Arc::clone(hub), row, artifact, part: Vec::new(), at: 0, next: 0 })
}

/// Reads an artifact from its begin; [`Client::open_artifact`] gives it.
pub struct ArtifactReader {
    hub: Arc<Hub>,
    row: i64,
    artifact: Artifact,
    part: Vec<u8>,
    at: usize,
    next: u32,
}

impl fmt::Debug for ArtifactReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactReader").field("artifact", &self.artifact).finish_non_exhaustive()
    }
}

impl ArtifactReader {
    /// What is read.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// How much of it has been fetched.
    fn fetched(&self) -> u64 {
        u64::from(self.next) * crate::artifact::PART_BYTES as u64
    }
}

impl Read for ArtifactReader {
    /// Fails with `NotFound` where it was removed, or another has taken its place, since it was opened: never is
    /// a part of one read after a part of another.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.part.len() && self.fetched() < self.artifact.size {
            let part = self.hub.backend.artifact_part(self.row, self.next);
            let part = part.map_err(io::Error::other)?.ok_or_else(|| {
                let text = format!("the artifact {:?} was removed", self.artifact.name);
                io::Error::new(io::ErrorKind::NotFound, text)
            })?;
            (self.part, self.at, self.next) = (part, 0, self.next + 1);
        }
        let count = into.len().min(self.part.len() - self.at);
        into[..count].copy_from_slice(&self.part[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
