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

use super::newcomer::Newcomers;
use super::schema;
use crate::fault;

/// Pages after which the helper is started; of 4 KiB each, 4 MiB.
const HELPER_PAGES: i32 = 1_024;
/// Pages after which the writer does it itself: 32 MiB.
const WRITER_PAGES: i32 = 8_192;

thread_local! {
    /// Pages in the log after this thread's latest commit, until they are looked at: a commit that
    /// changes no page is not told, and another file's pages say nothing of this one.
    static PAGES: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Counts the pages of the log at each commit.
pub(super) fn install(conn: &Connection) {
    conn.wal_hook(Some(|_: &Wal, pages| {
        PAGES.set(Some(pages));
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
    fault::passage("checkpoint", || {
        // A checkpoint that is refused or fails is tried again after the next commit.
        let _later = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    });
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
        let Some(pages) = PAGES.take() else { return Need::Nothing };
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

    pub(super) fn start(&self, path: &Path, newcomers: &Arc<Newcomers>) {
        if self.busy.swap(true, Ordering::SeqCst) {
            return;
        }
        let (busy, ended) = (Arc::clone(&self.busy), Arc::clone(&self.ended));
        let (path, newcomers) = (path.to_owned(), Arc::clone(newcomers));
        let started =
            std::thread::Builder::new().name("litework-checkpoint".into()).spawn(move || {
                newcomers.announce_own();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_changes_nothing_is_not_judged_by_an_earlier_one() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("a.db");
        let conn = Connection::open(path).expect("open");
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;")
            .and_then(|()| conn.execute_batch("CREATE TABLE t (body)"))
            .expect("a table");
        install(&conn);
        let mut helper = Helper::default();
        let bytes = 4096 * HELPER_PAGES;
        conn.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes]).expect("a large row");
        assert_eq!(helper.need(), Need::Helper);
        conn.execute_batch("BEGIN IMMEDIATE; COMMIT").expect("an empty commit");
        assert_eq!(Helper::default().need(), Need::Nothing);
        // It is also not taken for a log that was begun anew.
        assert_eq!(helper.need(), Need::Nothing);
        conn.execute("INSERT INTO t VALUES (1)", []).expect("a small row");
        assert_eq!(helper.need(), Need::Nothing);
    }
}
