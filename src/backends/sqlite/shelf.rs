//! Run: artifacts: what tasks leave for people, in parts of 256 KiB.
//!
//! A row for each artifact, and one for each of its parts, unless those are kept in a file beside (`drawer`). One that is not complete, and one that is gone, is
//! seen by nobody; the parts of what is gone are removed in slices. How many bytes all parts have is counted in
//! the transactions that add and remove them.

use rusqlite::{Connection, OptionalExtension, Row};

use super::Sqlite;
use super::core::Core;
use super::drawer::Drawer;
use super::errors::not_stored;
use super::query::ReadError;
use super::steps::check_lease;
use crate::artifact::{
    ARTIFACTS_MAX, Artifact, ArtifactKind, NewArtifact, PART_BYTES, no_artifact, too_many_artifacts,
};
use crate::error::Error;
use crate::fault;
use crate::id::TaskId;
use crate::options::Durability;
use crate::shelf::{Author, Shelf};
use crate::time::Timestamp;

/// Parts that one slice removes.
const PARTS_SLICE: i64 = 16;
/// The numbers of parts of one artifact: as many as a terabyte has.
const PARTS_MAX: i64 = 1 << 22;

/// Served by `litework_artifact_task`.
const COUNT: &str = "SELECT count(*) FROM litework_artifact \
     WHERE task = ?1 AND state <> 'gone' AND name <> ?2";

/// What an earlier attempt began and did not complete. Served by `litework_artifact_task`.
const ABANDON: &str = "UPDATE litework_artifact SET state = 'gone' \
     WHERE task = ?1 AND state = 'open' AND attempt <> ?2";

const BEGIN: &str = "INSERT INTO litework_artifact \
     (task, name, kind, media_type, attempt, state, created_at, expires_at, beside) \
     VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?7, ?8)";

/// Served by the primary key.
const OPEN: &str =
    "SELECT size, parts FROM litework_artifact WHERE id = ?1 AND task = ?2 AND state = 'open'";

const ADD_PART: &str = "INSERT INTO litework_part (id, body) VALUES (?1, ?2)";

/// Served by the primary key.
const GROW: &str = "UPDATE litework_artifact SET size = size + ?2, parts = parts + 1 WHERE id = ?1";

/// Served by the primary key of `litework_meta`.
const ALL_BYTES: &str = "SELECT value FROM litework_meta WHERE name = 'artifact_bytes'";

const COUNT_BYTES: &str = "INSERT INTO litework_meta (name, value) VALUES ('artifact_bytes', max(?1, 0)) \
     ON CONFLICT (name) DO UPDATE SET value = max(value + ?1, 0)";

/// Served by `litework_artifact_name`.
const SAME_NAME: &str = "SELECT id, number FROM litework_artifact WHERE task = ?1 AND state = 'ready' \
     AND name = (SELECT name FROM litework_artifact WHERE id = ?2)";

/// Served by `litework_artifact_task`.
const NEXT_NUMBER: &str =
    "SELECT coalesce(max(number), 0) + 1 FROM litework_artifact WHERE task = ?1";

/// Served by the primary key.
const LET_GO: &str = "UPDATE litework_artifact SET state = 'gone' WHERE id = ?1";

/// Served by the primary key.
const COMPLETE: &str =
    "UPDATE litework_artifact SET state = 'ready', number = ?2, created_at = ?3 WHERE id = ?1";

/// Served by the primary key and `litework_artifact_name`.
const LIST: &str = "SELECT a.number, a.name, a.kind, a.media_type, a.size, a.attempt, a.created_at, \
     a.expires_at, a.id FROM litework_task t JOIN litework_artifact a ON a.task = t.id \
     WHERE t.id = ?1 AND t.tag = ?2 AND a.state = 'ready' \
     AND (a.expires_at IS NULL OR a.expires_at > ?3)";

/// Served by the primary key.
const ONE: &str = "SELECT number, name, kind, media_type, size, attempt, created_at, expires_at, id \
     FROM litework_artifact WHERE id = ?1";

/// Served by the primary keys.
const PART: &str = "SELECT a.beside, p.body FROM litework_artifact a \
     LEFT JOIN litework_part p ON p.id = ?2 WHERE a.id = ?1 AND a.state = 'ready'";

/// Served by `litework_artifact_expiry`.
const EXPIRED: &str = "SELECT id FROM litework_artifact \
     WHERE state = 'ready' AND expires_at IS NOT NULL AND expires_at <= ?1 LIMIT 1";

/// One without a name is of a task that is erased. Served by `litework_artifact_gone`.
const GONE: &str = "SELECT id, parts, beside, size, name = '' FROM litework_artifact \
     WHERE state = 'gone' ORDER BY id LIMIT 1";

/// Served by `litework_artifact_task`.
const ERASED: &str = "UPDATE litework_artifact SET state = 'gone', name = '' WHERE task = ?1";

/// Served by the primary key.
const PARTS_BYTES: &str =
    "SELECT coalesce(sum(length(body)), 0) FROM litework_part WHERE id BETWEEN ?1 AND ?2";

/// Served by the primary key.
const REMOVE_SOME: &str = "DELETE FROM litework_part WHERE id BETWEEN ?1 AND ?2";

/// Served by the primary key.
const SHRINK: &str = "UPDATE litework_artifact SET parts = ?2 WHERE id = ?1";

/// Served by the primary key.
const REMOVE: &str = "DELETE FROM litework_artifact WHERE id = ?1";

/// Lets go the artifacts of tasks that are removed. Served by `litework_artifact_task`.
pub(super) const LET_GO_OF_TASKS: &str = "UPDATE litework_artifact SET state = 'gone' \
     WHERE task IN (SELECT value FROM json_each(?1))";

impl Shelf for Sqlite {
    fn put_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
        body: &[u8],
    ) -> Result<Artifact, Error> {
        self.transaction(self.durability, |core| {
            let artifact = begin(core, now, author, new, false)?;
            for part in body.chunks(PART_BYTES) {
                add_part(core, author, artifact, new, part)?;
            }
            end(core, now, author, artifact)
        })
    }

    fn begin_artifact(
        &self,
        now: Timestamp,
        author: Author,
        new: &NewArtifact,
    ) -> Result<i64, Error> {
        let beside = new.quota.beside;
        let begin = |core: &mut Core| begin(core, now, author, new, beside);
        let artifact = self.transaction(Durability::Normal, begin)?;
        if beside {
            self.or_give_up(artifact, self.drawer().begin(artifact))?;
        }
        Ok(artifact)
    }

    fn add_part(
        &self,
        author: Author,
        artifact: i64,
        new: &NewArtifact,
        part: &[u8],
    ) -> Result<(), Error> {
        if new.quota.beside {
            let grow = |core: &mut Core| grow(core, author, artifact, new, part.len() as u64);
            let (size, _) = self.transaction(Durability::Normal, grow)?;
            return self.or_give_up(artifact, self.drawer().write(artifact, size, part));
        }
        // The commit that completes it comes after this one, and makes both last.
        self.transaction(Durability::Normal, |core| add_part(core, author, artifact, new, part))
    }

    fn end_artifact(
        &self,
        now: Timestamp,
        author: Author,
        artifact: i64,
    ) -> Result<Artifact, Error> {
        let beside = self.read("an artifact", |conn| Ok(is_beside(conn, artifact)?))?;
        let written = if beside { Some(self.drawer().complete(artifact)?) } else { None };
        self.transaction(self.durability, |core| {
            check_written(core, author, artifact, written)?;
            end(core, now, author, artifact)
        })
    }

    fn give_up_artifact(&self, artifact: i64) -> Result<(), Error> {
        self.transaction(Durability::Normal, |core| {
            core.conn
                .prepare_cached(LET_GO)
                .and_then(|mut update| update.execute([artifact]))
                .map(drop)
                .map_err(not_stored)
        })
    }

    fn artifacts(&self, now: Timestamp, id: TaskId) -> Result<Vec<Artifact>, Error> {
        let found = self.read("artifacts", |conn| list(conn, now, id))?;
        Ok(found.into_iter().map(|(_, artifact)| artifact).collect())
    }

    fn find_artifact(
        &self,
        now: Timestamp,
        id: TaskId,
        number: u32,
    ) -> Result<Option<(i64, Artifact)>, Error> {
        let found = self.read("artifacts", |conn| list(conn, now, id))?;
        Ok(found.into_iter().find(|(_, artifact)| artifact.number == number))
    }

    fn artifact_part(&self, artifact: i64, place: u32) -> Result<Option<Vec<u8>>, Error> {
        let part = first_part(artifact).saturating_add(i64::from(place));
        let found = self.read("a part of an artifact", |conn| {
            let mut read = conn.prepare_cached(PART)?;
            let found = |found: &Row<'_>| Ok((found.get::<_, bool>(0)?, found.get(1)?));
            Ok(read.query_row((artifact, part), found).optional()?)
        })?;
        match found {
            Some((true, _)) => self.drawer().read(artifact, place),
            Some((false, part)) => Ok(part),
            None => Ok(None),
        }
    }

    fn sweep_artifacts(&self, now: Timestamp) -> Result<bool, Error> {
        if !self.read("artifacts that are gone", |conn| Ok(is_any_gone(conn, now)?))? {
            return Ok(false);
        }
        let emptied = self.empty_drawer()?;
        self.transaction(Durability::Normal, |core| {
            sweep(core, now, emptied)?;
            is_any_gone(&core.conn, now).map_err(not_stored)
        })
    }
}

impl Sqlite {
    fn drawer(&self) -> Drawer {
        Drawer::beside(self.path())
    }

    /// What could not be written as a whole is not to be completed.
    fn or_give_up<R>(&self, artifact: i64, wrote: Result<R, Error>) -> Result<R, Error> {
        if wrote.is_err() {
            self.give_up_artifact(artifact)?;
        }
        wrote
    }

    /// Removes the file of the first that is gone, before its row goes; says which that was.
    pub(super) fn empty_drawer(&self) -> Result<Option<i64>, Error> {
        let gone = self.read("artifacts that are gone", |conn| {
            let mut read = conn.prepare_cached(GONE)?;
            let found = |found: &Row<'_>| Ok((found.get::<_, i64>(0)?, found.get::<_, bool>(2)?));
            Ok(read.query_row([], found).optional()?)
        })?;
        let Some((artifact, true)) = gone else { return Ok(None) };
        self.drawer().remove(artifact)?;
        Ok(Some(artifact))
    }
}

fn begin(
    core: &mut Core,
    now: Timestamp,
    author: Author,
    new: &NewArtifact,
    beside: bool,
) -> Result<i64, Error> {
    check_lease(core, author.id, author.lease)?;
    let (row, attempt) = (author.lease.row, author.lease.attempt);
    let begin = || -> rusqlite::Result<Option<i64>> {
        core.conn.prepare_cached(ABANDON)?.execute((row, attempt))?;
        let others: i64 =
            core.conn.prepare_cached(COUNT)?.query_row((row, &new.name), |found| found.get(0))?;
        if others >= i64::try_from(ARTIFACTS_MAX).unwrap_or(i64::MAX) {
            return Ok(None);
        }
        core.conn.prepare_cached(BEGIN)?.execute(rusqlite::params![
            row,
            new.name,
            new.kind.as_str(),
            new.media_type,
            attempt,
            now.as_millis(),
            new.expires_at.map(Timestamp::as_millis),
            beside,
        ])?;
        Ok(Some(core.conn.last_insert_rowid()))
    };
    let number = begin().map_err(not_stored)?;
    number.ok_or_else(|| too_many_artifacts(&new.name))
}

fn add_part(
    core: &mut Core,
    author: Author,
    artifact: i64,
    new: &NewArtifact,
    part: &[u8],
) -> Result<(), Error> {
    let (_, parts) = grow(core, author, artifact, new, part.len() as u64)?;
    core.conn
        .prepare_cached(ADD_PART)
        .and_then(|mut add| add.execute((first_part(artifact) + parts, part)))
        .map_err(not_stored)?;
    fault::point("part_added");
    Ok(())
}

/// Counts so many bytes more, if it may have them; says how many bytes and parts it had.
fn grow(
    core: &mut Core,
    author: Author,
    artifact: i64,
    new: &NewArtifact,
    more: u64,
) -> Result<(u64, i64), Error> {
    check_lease(core, author.id, author.lease)?;
    let (size, parts) = read_open(core, author, artifact)?;
    new.quota.check_one(&new.name, size.saturating_add(more))?;
    let all = core.conn.prepare_cached(ALL_BYTES).and_then(|mut read| {
        Ok(read.query_row([], |found| found.get::<_, i64>(0)).optional()?.unwrap_or(0))
    });
    let all = u64::try_from(all.map_err(not_stored)?).unwrap_or(0);
    new.quota.check_all(all.saturating_add(more))?;
    let add = || -> rusqlite::Result<()> {
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        core.conn.prepare_cached(GROW)?.execute((artifact, more))?;
        core.conn.prepare_cached(COUNT_BYTES)?.execute([more]).map(drop)
    };
    add().map_err(not_stored)?;
    Ok((size, parts))
}

/// Served by the primary key.
fn is_beside(conn: &Connection, artifact: i64) -> rusqlite::Result<bool> {
    let mut read = conn.prepare_cached("SELECT beside FROM litework_artifact WHERE id = ?1")?;
    Ok(read.query_row([artifact], |found| found.get(0)).optional()?.unwrap_or(false))
}

/// That its file has as many bytes as were counted.
fn check_written(
    core: &Core,
    author: Author,
    artifact: i64,
    written: Option<u64>,
) -> Result<(), Error> {
    check_lease(core, author.id, author.lease)?;
    let (size, _) = read_open(core, author, artifact)?;
    match written {
        Some(written) if written != size => {
            let reason = format!("the file of an artifact has {written} bytes instead of {size}");
            Err(Error::NotStored { reason, source: None })
        }
        _ => Ok(()),
    }
}

fn read_open(core: &Core, author: Author, artifact: i64) -> Result<(u64, i64), Error> {
    let found = core
        .conn
        .prepare_cached(OPEN)
        .and_then(|mut read| {
            let found = |found: &Row<'_>| Ok((found.get::<_, i64>(0)?, found.get(1)?));
            read.query_row((artifact, author.lease.row), found).optional()
        })
        .map_err(not_stored)?;
    let (size, parts) = found.ok_or_else(|| no_artifact(artifact))?;
    Ok((u64::try_from(size).unwrap_or(0), parts))
}

fn end(core: &mut Core, now: Timestamp, author: Author, artifact: i64) -> Result<Artifact, Error> {
    check_lease(core, author.id, author.lease)?;
    read_open(core, author, artifact)?;
    let row = author.lease.row;
    let end = || -> rusqlite::Result<Option<Artifact>> {
        let same: Option<(i64, u32)> = core
            .conn
            .prepare_cached(SAME_NAME)?
            .query_row((row, artifact), |found| Ok((found.get(0)?, found.get(1)?)))
            .optional()?;
        let number = match same {
            Some((old, number)) => {
                core.conn.prepare_cached(LET_GO)?.execute([old])?;
                number
            }
            None => {
                core.conn.prepare_cached(NEXT_NUMBER)?.query_row([row], |found| found.get(0))?
            }
        };
        core.conn.prepare_cached(COMPLETE)?.execute((artifact, number, now.as_millis()))?;
        let mut read = core.conn.prepare_cached(ONE)?;
        Ok(read.query_row([artifact], read_artifact)?.map(|(_, artifact)| artifact))
    };
    let ended = end().map_err(not_stored)?;
    core.effects.told.push(row);
    ended.ok_or_else(|| Error::BadRow {
        row,
        column: "kind",
        reason: "its artifact is of no kind that is known".to_owned(),
    })
}

fn first_part(artifact: i64) -> i64 {
    artifact.saturating_mul(PARTS_MAX)
}

/// None where its kind is a word that another hand has written.
fn read_artifact(found: &Row<'_>) -> rusqlite::Result<Option<(i64, Artifact)>> {
    let kind: String = found.get(2)?;
    let Some(kind) = ArtifactKind::from_word(&kind) else { return Ok(None) };
    let artifact = Artifact {
        number: found.get(0)?,
        name: found.get(1)?,
        kind,
        media_type: found.get(3)?,
        size: u64::try_from(found.get::<_, i64>(4)?).unwrap_or(0),
        attempt: found.get(5)?,
        created_at: Timestamp::clamped(found.get(6)?),
        expires_at: found.get::<_, Option<i64>>(7)?.map(Timestamp::clamped),
    };
    Ok(Some((found.get(8)?, artifact)))
}

fn list(conn: &Connection, now: Timestamp, id: TaskId) -> Result<Vec<(i64, Artifact)>, ReadError> {
    let mut read = conn.prepare_cached(LIST)?;
    let found = read.query_map((id.row(), id.tag(), now.as_millis()), read_artifact)?;
    let found: Vec<Option<(i64, Artifact)>> = found.collect::<rusqlite::Result<_>>()?;
    let mut found: Vec<(i64, Artifact)> = found.into_iter().flatten().collect();
    found.sort_by_key(|(_, artifact)| artifact.number);
    Ok(found)
}

pub(super) fn is_any_gone(conn: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    Ok(conn.prepare_cached(GONE)?.exists([])?
        || conn.prepare_cached(EXPIRED)?.exists([now.as_millis()])?)
}

/// The artifacts of a task go with it, and whoever removes their parts is to overwrite them.
pub(super) fn mark_erased(conn: &Connection, task: i64) -> Result<(), Error> {
    conn.prepare_cached(ERASED)
        .and_then(|mut mark| mark.execute([task]))
        .map(drop)
        .map_err(not_stored)
}

/// One slice. Of one that was kept beside, the file was removed before: it is `emptied`.
pub(super) fn sweep(core: &mut Core, now: Timestamp, emptied: Option<i64>) -> Result<(), Error> {
    let conn = &core.conn;
    let sweep = || -> rusqlite::Result<()> {
        let expired: Option<i64> = conn
            .prepare_cached(EXPIRED)?
            .query_row([now.as_millis()], |found| found.get(0))
            .optional()?;
        if let Some(expired) = expired {
            conn.prepare_cached(LET_GO)?.execute([expired])?;
        }
        let gone: Option<(Gone, bool)> = conn
            .prepare_cached(GONE)?
            .query_row([], |found| {
                let (artifact, parts) = (found.get(0)?, found.get(1)?);
                let gone = Gone { artifact, parts, beside: found.get(2)?, size: found.get(3)? };
                Ok((gone, found.get(4)?))
            })
            .optional()?;
        match gone {
            None => Ok(()),
            Some((gone, false)) => gone.remove(conn, emptied),
            Some((gone, true)) => overwriting(conn, || gone.remove(conn, emptied)),
        }
    };
    sweep().map_err(not_stored)
}

/// What is freed meanwhile is overwritten; the connection goes back to its own ways.
fn overwriting<R>(
    conn: &Connection,
    body: impl FnOnce() -> rusqlite::Result<R>,
) -> rusqlite::Result<R> {
    conn.pragma_update(None, "secure_delete", true)?;
    let answer = body();
    conn.pragma_update(None, "secure_delete", false)?;
    answer
}

/// An artifact that nobody sees any more.
struct Gone {
    artifact: i64,
    parts: i64,
    beside: bool,
    size: i64,
}

impl Gone {
    /// Removes as many of its parts as a slice may have, and with the last of them the whole.
    fn remove(&self, conn: &Connection, emptied: Option<i64>) -> rusqlite::Result<()> {
        let Self { artifact, parts, beside, size } = *self;
        if beside {
            if emptied == Some(artifact) {
                conn.prepare_cached(COUNT_BYTES)?.execute([-size])?;
                conn.prepare_cached(REMOVE)?.execute([artifact])?;
            }
            return Ok(());
        }
        let left = (parts - PARTS_SLICE).max(0);
        let some = (first_part(artifact) + left, first_part(artifact) + PARTS_MAX - 1);
        let bytes: i64 = conn.prepare_cached(PARTS_BYTES)?.query_row(some, |found| found.get(0))?;
        conn.prepare_cached(REMOVE_SOME)?.execute(some)?;
        conn.prepare_cached(COUNT_BYTES)?.execute([-bytes])?;
        if left > 0 {
            conn.prepare_cached(SHRINK)?.execute((artifact, left))?;
        } else {
            conn.prepare_cached(REMOVE)?.execute([artifact])?;
        }
        Ok(())
    }
}
