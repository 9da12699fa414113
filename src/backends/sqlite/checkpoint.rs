//! Store: moving the write-ahead log into the database file, off the caller's thread.
//!
//! `SQLite`'s own automatic checkpoint would run inside whichever commit crosses its limit. Here a
//! commit only counts pages; past 4 MiB a helper thread checkpoints on a connection of its own with
//! no patience for locks (PASSIVE, time-out 0). When it has ended, the writer moves the few frames
//! that were written meanwhile itself, so that the log is begun anew: overwriting it syncs about twice
//! as fast as letting it grow. Past 32 MiB, when the helper cannot keep up, the writer does it all.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::schema;
use crate::fault;

/// Pages after which the helper is started; of 4 KiB each, 4 MiB.
const HELPER_PAGES: i32 = 1_024;
/// Pages after which the writer does it itself: 32 MiB.
const WRITER_PAGES: i32 = 8_192;

thread_local! {
    /// Pages in the log after this thread's latest commit.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Counts the pages of the log at each commit.
pub(super) fn install(conn: &Connection) {
    conn.wal_hook(Some(|_: &Wal, pages| {
        PAGES.set(pages);
        Ok(())
    }));
}

/// What has to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Helper,
    Writer,
}

/// Moves as much as can be moved without waiting for anybody.
pub(super) fn passive(conn: &Connection) {
    fault::point("in_checkpoint");
    // A checkpoint that is refused or fails is tried again after the next commit.
    let _later = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

/// The helper: at most one thread at a time.
#[derive(Debug, Default)]
pub(super) struct Helper {
    busy: Arc<AtomicBool>,
    /// It has just ended: only the frames written meanwhile are left.
    ended: Arc<AtomicBool>,
    /// Pages in the log when it was last started.
    started_at: i32,
}

impl Helper {
    /// Judged by the commit that this thread has just made.
    pub(super) fn need(&mut self) -> Need {
        let pages = PAGES.get();
        if pages < self.started_at {
            self.started_at = 0;
        }
        if pages >= WRITER_PAGES || self.ended.swap(false, Ordering::SeqCst) {
            return Need::Writer;
        }
        if pages - self.started_at < HELPER_PAGES {
            return Need::Nothing;
        }
        self.started_at = pages;
        Need::Helper
    }

    pub(super) fn start(&self, path: &Path) {
        if self.busy.swap(true, Ordering::SeqCst) {
            return;
        }
        let (busy, ended) = (Arc::clone(&self.busy), Arc::clone(&self.ended));
        let path = path.to_owned();
        let started =
            std::thread::Builder::new().name("litework-checkpoint".into()).spawn(move || {
                if let Ok(conn) = schema::connect(&path, false)
                    && conn.busy_timeout(Duration::ZERO).is_ok()
                {
                    passive(&conn);
                    ended.store(true, Ordering::SeqCst);
                }
                busy.store(false, Ordering::SeqCst);
            });
        if started.is_err() {
            self.busy.store(false, Ordering::SeqCst);
        }
    }
}
