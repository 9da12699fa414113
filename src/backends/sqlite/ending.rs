//! Enqueue and finish: statements of the program's own may not end the transaction that they belong to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::errors::not_stored;
use crate::error::Error;

/// While it is there, a COMMIT on the connection is a ROLLBACK, and whether there was one is known. So what
/// was to belong together is never stored in part.
pub(super) struct Ending {
    watches: Arc<AtomicBool>,
    has_ended: Arc<AtomicBool>,
}

impl Ending {
    pub(super) fn watch(conn: &Connection) -> Result<Self, Error> {
        let (watches, has_ended) =
            (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let refuses = Arc::clone(&watches);
        let (watching, ended) = (Arc::clone(&watches), Arc::clone(&has_ended));
        conn.commit_hook(Some(move || refuses.load(Ordering::SeqCst)))
            .and_then(|()| {
                conn.rollback_hook(Some(move || {
                    ended.fetch_or(watching.load(Ordering::SeqCst), Ordering::SeqCst);
                }))
            })
            .map_err(not_stored)?;
        Ok(Self { watches, has_ended })
    }

    /// An error if the transaction has ended, though another may have begun.
    pub(super) fn check(&self) -> Result<(), Error> {
        if !self.has_ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        let reason = "the transaction was ended inside of it, by a COMMIT or ROLLBACK of the program's \
                      own or by SQLite itself; it ends when the closure returns";
        Err(Error::NotStored { reason: reason.to_owned(), source: None })
    }
}

impl Drop for Ending {
    /// The hooks stay where they are, as the connection may be in use by a panic's way out.
    fn drop(&mut self) {
        self.watches.store(false, Ordering::SeqCst);
    }
}
