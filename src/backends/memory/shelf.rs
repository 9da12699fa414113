//! Run: artifacts: what tasks leave for people.
//!
//! Nothing here takes long, so what is given up is removed at once.

use super::{Book, Memory};
use crate::artifact::{
    ARTIFACTS_MAX, Artifact, NewArtifact, PART_BYTES, no_artifact, too_many_artifacts,
};
use crate::error::Error;
use crate::id::TaskId;
use crate::shelf::{Author, Shelf};
use crate::time::Timestamp;

/// An artifact, complete or not.
pub(super) struct Kept {
    /// Of its task.
    row: i64,
    /// As it is shown; without a number while it is not complete.
    artifact: Artifact,
    body: Vec<u8>,
}

impl Kept {
    fn is_complete(&self) -> bool {
        self.artifact.number > 0
    }

    fn is_readable(&self, now: Timestamp) -> bool {
        self.is_complete() && self.artifact.expires_at.is_none_or(|at| at > now)
    }
}

impl Shelf for Memory {
    fn put_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
        body: &[u8],
    ) -> Result<Artifact, Error> {
        self.with(|book| {
            let artifact = book.begin_artifact(now, author, new)?;
            let put = book
                .add_part(author, artifact, new, body)
                .and_then(|()| book.end_artifact(now, author, artifact));
            if put.is_err() {
                book.artifacts.remove(&artifact);
            }
            put
        })
    }

    fn begin_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
    ) -> Result<i64, Error> {
        self.with(|book| book.begin_artifact(now, author, new))
    }

    fn add_part(
        &self,
        author: Author,
        artifact: i64,
        new: &NewArtifact,
        part: &[u8],
    ) -> Result<(), Error> {
        self.with(|book| book.add_part(author, artifact, new, part))
    }

    fn end_artifact(
        &self,
        now: Timestamp,
        author: Author,
        artifact: i64,
    ) -> Result<Artifact, Error> {
        self.with(|book| book.end_artifact(now, author, artifact))
    }

    fn give_up_artifact(&self, artifact: i64) -> Result<(), Error> {
        self.with(|book| book.artifacts.remove(&artifact));
        Ok(())
    }

    fn artifacts(&self, now: Timestamp, id: TaskId) -> Result<Vec<Artifact>, Error> {
        Ok(self.with(|book| {
            let kept = book.artifacts_of(now, id);
            let mut artifacts: Vec<Artifact> =
                kept.map(|(_, kept)| kept.artifact.clone()).collect();
            artifacts.sort_by_key(|artifact| artifact.number);
            artifacts
        }))
    }

    fn find_artifact(
        &self,
        now: Timestamp,
        id: TaskId,
        number: u32,
    ) -> Result<Option<(i64, Artifact)>, Error> {
        Ok(self.with(|book| {
            let mut kept = book.artifacts_of(now, id);
            let found = kept.find(|(_, kept)| kept.artifact.number == number);
            found.map(|(artifact, kept)| (artifact, kept.artifact.clone()))
        }))
    }

    fn artifact_part(&self, artifact: i64, place: u32) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.with(|book| {
            let kept = book.artifacts.get(&artifact).filter(|kept| kept.is_complete())?;
            let part = kept.body.chunks(PART_BYTES).nth(usize::try_from(place).ok()?)?;
            Some(part.to_vec())
        }))
    }

    fn sweep_artifacts(&self, now: Timestamp) -> Result<bool, Error> {
        self.with(|book| book.sweep_artifacts(now));
        Ok(false)
    }
}

impl Book {
    fn check_author(&self, author: Author) -> Result<(), Error> {
        let Author { id, lease } = author;
        let held = self.tasks.get(&lease.row).is_some_and(|task| task.is_held_by(lease));
        if held { Ok(()) } else { Err(Error::LeaseLost { id, attempt: lease.attempt }) }
    }

    fn begin_artifact(
        &mut self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
    ) -> Result<i64, Error> {
        self.check_author(author)?;
        let (row, attempt) = (author.lease.row, author.lease.attempt);
        // What an earlier attempt began and did not complete.
        self.artifacts.retain(|_, kept| {
            kept.row != row || kept.is_complete() || kept.artifact.attempt == attempt
        });
        let is_other = |kept: &&Kept| kept.row == row && kept.artifact.name != new.name;
        if self.artifacts.values().filter(is_other).count() >= ARTIFACTS_MAX {
            return Err(too_many_artifacts(&new.name));
        }
        self.artifacts_ever += 1;
        let artifact = Artifact {
            number: 0,
            name: new.name.clone(),
            kind: new.kind,
            media_type: new.media_type.clone(),
            size: 0,
            attempt,
            created_at: now,
            expires_at: new.expires_at,
        };
        self.artifacts.insert(self.artifacts_ever, Kept { row, artifact, body: Vec::new() });
        Ok(self.artifacts_ever)
    }

    fn add_part(
        &mut self,
        author: Author,
        artifact: i64,
        new: &NewArtifact,
        part: &[u8],
    ) -> Result<(), Error> {
        self.check_author(author)?;
        let all: u64 = self.artifacts.values().map(|kept| kept.artifact.size).sum();
        let kept = self.open_artifact(author, artifact)?;
        let more = part.len() as u64;
        new.quota.check_one(&new.name, kept.artifact.size.saturating_add(more))?;
        new.quota.check_all(all.saturating_add(more))?;
        kept.artifact.size += more;
        kept.body.extend_from_slice(part);
        Ok(())
    }

    fn open_artifact(&mut self, author: Author, artifact: i64) -> Result<&mut Kept, Error> {
        let is_open = |kept: &&mut Kept| kept.row == author.lease.row && !kept.is_complete();
        self.artifacts.get_mut(&artifact).filter(is_open).ok_or_else(|| no_artifact(artifact))
    }

    fn end_artifact(
        &mut self,
        now: Timestamp,
        author: Author,
        artifact: i64,
    ) -> Result<Artifact, Error> {
        self.check_author(author)?;
        let row = author.lease.row;
        let name = self.open_artifact(author, artifact)?.artifact.name.clone();
        let of_task = self.artifacts.iter().filter(|(_, kept)| kept.row == row);
        let complete: Vec<(i64, u32, bool)> = of_task
            .filter(|(_, kept)| kept.is_complete())
            .map(|(id, kept)| (*id, kept.artifact.number, kept.artifact.name == name))
            .collect();
        let number = match complete.iter().find(|(_, _, same)| *same) {
            Some((old, number, _)) => {
                self.artifacts.remove(old);
                *number
            }
            None => complete.iter().map(|(_, number, _)| *number).max().unwrap_or(0) + 1,
        };
        let kept = self.open_artifact(author, artifact)?;
        (kept.artifact.number, kept.artifact.created_at) = (number, now);
        let ended = kept.artifact.clone();
        self.effects.told.push(row);
        Ok(ended)
    }

    fn artifacts_of(&self, now: Timestamp, id: TaskId) -> impl Iterator<Item = (i64, &Kept)> {
        let known = self.by_id(id).is_some();
        let of_task = move |kept: &Kept| known && kept.row == id.row() && kept.is_readable(now);
        self.artifacts.iter().filter(move |(_, kept)| of_task(kept)).map(|(id, kept)| (*id, kept))
    }

    pub(super) fn sweep_artifacts(&mut self, now: Timestamp) {
        self.artifacts.retain(|_, kept| !kept.is_complete() || kept.is_readable(now));
    }

    /// A task has been removed.
    pub(super) fn let_artifacts_go(&mut self, row: i64) {
        self.artifacts.retain(|_, kept| kept.row != row);
    }
}
