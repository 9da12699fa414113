//! Run: what a body leaves for people: texts, links, JSON and files.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use serde::Serialize;

use super::Context;
use super::steps::failed;
use crate::artifact::{
    ARTIFACT_TEXT_BYTES_MAX, Artifact, ArtifactKind, ArtifactQuota, NewArtifact, PART_BYTES,
    check_artifact_name, check_media_type, check_url, expires_at,
};
use crate::client::Client;
use crate::error::Error;
use crate::json;
use crate::outcome::Result;
use crate::shelf::Author;
use crate::time::Timestamp;

impl Context {
    /// Something that the task leaves for people, under a name: a text, a link, JSON, or a file. It is stored
    /// before the call returns, under the lease of the attempt; one of a name that the task has left before takes
    /// the place of that one, so an attempt that is repeated leaves nothing twice. It stays for as long as its
    /// task does, or until it expires.
    ///
    /// The name is 1 to 200 bytes that can be the name of a file everywhere. A task has at most
    /// [`ARTIFACTS_MAX`](crate::ARTIFACTS_MAX) (100); what is given as a whole has at most
    /// [`ARTIFACT_TEXT_BYTES_MAX`](crate::ARTIFACT_TEXT_BYTES_MAX) (1 MiB), a file
    /// [`Builder::max_artifact_bytes`](crate::Builder::max_artifact_bytes).
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// use std::io::Write;
    ///
    /// #[task]
    /// fn export(ctx: &Context, orders: Vec<u32>) -> Result<()> {
    ///     let mut file = ctx.artifact("orders.csv").media_type("text/csv").file()?;
    ///     for order in &orders {
    ///         writeln!(file, "{order}")?; // in parts: never all of it in memory
    ///     }
    ///     file.finish()?;
    ///     ctx.artifact("summary").text(format!("{} orders", orders.len()))?;
    ///     ctx.artifact("shop").url("https://docs.rs/litework")?;
    ///     Ok(())
    /// }
    ///
    /// let tasks = Client::in_memory().register(export).open()?;
    /// let id = tasks.enqueue(export::with(vec![7, 8]))?.id();
    /// let left = tasks.artifacts(id)?;
    /// assert_eq!((left.len(), left[0].name.as_str(), left[0].size), (3, "orders.csv", 4));
    /// let mut csv = String::new();
    /// std::io::Read::read_to_string(&mut tasks.open_artifact(id, left[0].number)?, &mut csv)?;
    /// assert_eq!(csv, "7\n8\n");
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn artifact(&self, name: impl Into<String>) -> Leaving<'_> {
        Leaving { ctx: self, name: name.into(), media_type: None, span: None }
    }
}

/// An artifact that is about to be left; [`Context::artifact`] gives it.
#[derive(Debug, Clone)]
#[must_use = "nothing is left before its content is given"]
pub struct Leaving<'a> {
    ctx: &'a Context,
    name: String,
    media_type: Option<String>,
    span: Option<Duration>,
}

impl<'a> Leaving<'a> {
    /// What it is made of, as `text/csv` or `image/png`. Default: `text/plain; charset=utf-8`, `text/uri-list`,
    /// `application/json` or `application/octet-stream`.
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// It is not given out any more after this long, at most 100 years, though its task may be kept.
    pub fn expires_after(mut self, span: Duration) -> Self {
        self.span = Some(span);
        self
    }

    /// Leaves a text.
    ///
    /// # Errors
    /// Failures that give up, as no attempt can do better: `bad_name`, `bad_media_type`, `artifact_too_large`,
    /// `too_many_artifacts`. Failures that mean "try again": `overloaded` where the artifacts of the file take as
    /// much as they may; `lease_lost`, `not_stored`, `unknown_outcome`, `closed`, `storage` as from the engine.
    pub fn text(self, text: impl AsRef<str>) -> Result<Artifact> {
        self.put(ArtifactKind::Text, text.as_ref().as_bytes()).map_err(failed)
    }

    /// Leaves a link: `https://…`, `http://…`, or a path of the same host from `/…`.
    ///
    /// # Errors
    /// `bad_url`, and those of [`Leaving::text`].
    pub fn url(self, url: impl AsRef<str>) -> Result<Artifact> {
        let url = url.as_ref();
        check_url(&self.name, url).map_err(failed)?;
        self.put(ArtifactKind::Url, url.as_bytes()).map_err(failed)
    }

    /// Leaves a value for programs.
    ///
    /// # Errors
    /// The codes of a [`JsonError`](crate::JsonError), and those of [`Leaving::text`].
    pub fn json(self, value: &impl Serialize) -> Result<Artifact> {
        let text = json::encode(value, self.ctx.limits()).map_err(|error| failed(error.into()))?;
        self.put(ArtifactKind::Json, text.as_bytes()).map_err(failed)
    }

    /// Begins a file, to be written to in any pieces. It is there for readers after
    /// [`ArtifactWriter::finish`]; dropped before that, it was never there.
    ///
    /// # Errors
    /// Those of [`Leaving::text`].
    pub fn file(self) -> Result<ArtifactWriter<'a>> {
        let (new, now) = self.checked(ArtifactKind::File).map_err(failed)?;
        let place = self.place().map_err(failed)?;
        let artifact = match place {
            Some((client, author)) => client.hub.backend.begin_artifact(now, author, &new),
            None => Ok(0),
        };
        let artifact = artifact.map_err(failed)?;
        let part = Vec::new();
        Ok(ArtifactWriter { ctx: self.ctx, new, artifact, part, size: 0, open: true })
    }

    /// Leaves a file with all that can be read from there.
    ///
    /// # Errors
    /// What reading fails with, and those of [`Leaving::text`].
    pub fn copy(self, mut from: impl Read) -> Result<Artifact> {
        let mut file = self.file()?;
        io::copy(&mut from, &mut file)?;
        file.finish()
    }

    fn checked(&self, kind: ArtifactKind) -> std::result::Result<(NewArtifact, Timestamp), Error> {
        check_artifact_name(&self.name)?;
        let media_type = self.media_type.as_deref().unwrap_or(kind.media_type());
        check_media_type(&self.name, media_type)?;
        let client = self.ctx.client.as_ref();
        let now = client.map_or_else(Timestamp::default, |client| client.hub.clock.now());
        let new = NewArtifact {
            name: self.name.clone(),
            kind,
            media_type: media_type.to_owned(),
            expires_at: expires_at(&self.name, self.span, now)?,
            quota: client.map_or_else(ArtifactQuota::default, |client| client.hub.artifacts),
        };
        Ok((new, now))
    }

    fn place(&self) -> std::result::Result<Option<(&'a Client, Author)>, Error> {
        self.ctx.shelf()
    }

    fn put(self, kind: ArtifactKind, body: &[u8]) -> std::result::Result<Artifact, Error> {
        let (new, now) = self.checked(kind)?;
        let most = new.quota.each.min(ARTIFACT_TEXT_BYTES_MAX as u64);
        ArtifactQuota { each: most, ..new.quota }.check_one(&new.name, body.len() as u64)?;
        match self.place()? {
            Some((client, author)) => client.hub.backend.put_artifact(now, author, &new, body),
            None => Ok(unkept(&new, body.len() as u64)),
        }
    }
}

impl Context {
    /// Where artifacts go; nowhere from a detached context.
    fn shelf(&self) -> std::result::Result<Option<(&Client, Author)>, Error> {
        let (Some(client), Some(hold)) = (&self.client, self.hold) else { return Ok(None) };
        self.check_goes_on(&self.kept())?;
        Ok(Some((client, Author { id: hold.id, lease: hold.lease })))
    }
}

/// What a detached context makes of it.
fn unkept(new: &NewArtifact, size: u64) -> Artifact {
    Artifact {
        number: 1,
        name: new.name.clone(),
        kind: new.kind,
        media_type: new.media_type.clone(),
        size,
        attempt: 1,
        created_at: Timestamp::default(),
        expires_at: new.expires_at,
    }
}

/// A file on its way to become an artifact; [`Leaving::file`] gives it. At most 256 KiB of it are in memory.
pub struct ArtifactWriter<'a> {
    ctx: &'a Context,
    new: NewArtifact,
    /// Its number in the file.
    artifact: i64,
    /// What is not stored yet.
    part: Vec<u8>,
    size: u64,
    open: bool,
}

impl fmt::Debug for ArtifactWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactWriter")
            .field("name", &self.new.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl ArtifactWriter<'_> {
    /// Makes the file an artifact that others can read.
    ///
    /// # Errors
    /// Those of [`Leaving::text`]; the file is given up then.
    pub fn finish(mut self) -> Result<Artifact> {
        self.complete().map_err(failed)
    }

    fn complete(&mut self) -> std::result::Result<Artifact, Error> {
        self.store_part()?;
        let artifact = match self.ctx.shelf()? {
            Some((client, author)) => {
                let hub = &client.hub;
                hub.backend.end_artifact(hub.clock.now(), author, self.artifact)?
            }
            None => unkept(&self.new, self.size),
        };
        self.open = false;
        Ok(artifact)
    }

    fn store_part(&mut self) -> std::result::Result<(), Error> {
        self.new.quota.check_one(&self.new.name, self.size)?;
        if !self.part.is_empty()
            && let Some((client, author)) = self.ctx.shelf()?
        {
            client.hub.backend.add_part(author, self.artifact, &self.new, &self.part)?;
        }
        self.part.clear();
        Ok(())
    }
}

impl Write for ArtifactWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..some]);
        self.size += some as u64;
        if self.part.len() == PART_BYTES {
            self.store_part().map_err(io::Error::other)?;
        }
        Ok(some)
    }

    /// Does nothing: what is not complete is read by nobody.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ArtifactWriter<'_> {
    fn drop(&mut self) {
        if self.open
            && let Some(client) = &self.ctx.client
            && self.artifact > 0
        {
            // What cannot be given up now goes when the next attempt begins one, or with the task.
            let _later = client.hub.backend.give_up_artifact(self.artifact);
        }
    }
}
