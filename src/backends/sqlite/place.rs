//! Store: whether the path still leads to the file that is open. `SQLite` would go on writing to one that was
//! moved or removed, where nobody finds it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::holding::{FileKey, file_key};
use super::schema::bad_file;
use crate::error::Error;

/// It is looked at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the open file was, and is to be.
pub(super) struct Place {
    path: PathBuf,
    /// Which file was opened.
    key: Option<FileKey>,
    looked_at: Instant,
    /// Whether the path led to another file then, or to none.
    replaced: bool,
}

impl Place {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { key: file_key(&path), path, looked_at: Instant::now(), replaced: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks, if that is due.
    #[inline]
    pub(super) fn check_now_and_then(&mut self) -> Result<(), Error> {
        if self.replaced || self.looked_at.elapsed() >= LOOK_EVERY { self.check() } else { Ok(()) }
    }

    /// Looks, and refuses to go on with a file that is no longer there; the log tells it once.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.looked_at = Instant::now();
        let was_replaced = self.replaced;
        self.replaced = self.leads_elsewhere();
        if !self.replaced {
            return Ok(());
        }
        let reason = "it is no longer the file that was opened; restart this program";
        let error = bad_file("file_replaced", &self.path, reason, None);
        if !was_replaced {
            tracing::error!(%error, "the queue file was moved or removed; nothing is stored any more");
        }
        Err(error)
    }

    /// A path that cannot be looked at says nothing.
    pub(super) fn leads_elsewhere(&self) -> bool {
        match file_key(&self.path) {
            Some(found) => self.key != Some(found),
            None => matches!(self.path.try_exists(), Ok(false)),
        }
    }
}
