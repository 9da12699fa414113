//! Enqueue: taking what programs in other languages have written into the inbox.
//!
//! Slice by slice, each a commit of its own, so that others get their turn. A row of a kind that this
//! program does not know stays for one that does. Where nobody writes into the inbox, it costs one
//! look into an empty index whenever another process has committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::error::Error;
use crate::hub::{Calling, Hub};
use crate::inbox::{Inbox, InboxRow};
use crate::json;
use crate::record::NewTask;
use crate::time::Timestamp;

/// Slices that the opening of a file waits for; the rest is taken later.
const SLICES_AT_OPEN: usize = 50;

/// Rows for which there is no room are tried again after this long …
const HELD_BACK_MIN: Duration = Duration::from_millis(50);
/// … and after twice as long each time that there is none, up to this.
pub(crate) const HELD_BACK_MAX: Duration = Duration::from_secs(1);

/// What is left after a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing that this program could take.
    Nothing,
    /// There may be more.
    More,
    /// Rows for which there is no room yet.
    HeldBack,
}

/// What is known of the inbox from one slice to the next.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// Kinds that have a row for which there was no room: left out for a while, so that the others do not
    /// stand behind them.
    held_back: Vec<String>,
    again_at: Option<Instant>,
    pause: Duration,
}

impl Intake {
    /// Takes one slice.
    pub(crate) fn slice(&mut self, hub: &Hub) -> Result<Left, Error> {
        if self.again_at.is_some_and(|at| at <= Instant::now()) {
            self.held_back.clear();
            self.again_at = None;
        }
        let open = |name: &Arc<str>| !self.held_back.iter().any(|held| **held == **name);
        let kinds: Vec<Arc<str>> = hub.catalog.names().filter(open).collect();
        let now = hub.clock.now();
        let check = |row: &InboxRow| prepare(hub, row, now);
        let slice = hub.backend.take_inbox(now, &kinds, hub.limits.size_bytes, &check)?;
        let Some(slice) = slice else {
            let none = self.held_back.is_empty();
            return Ok(if none { Left::Nothing } else { Left::HeldBack });
        };
        tracing::debug!(taken = slice.taken, refused = slice.refused, "took rows of the inbox");
        if slice.taken > 0 {
            self.pause = Duration::ZERO;
        }
        if !slice.held_back.is_empty() {
            self.held_back.extend(slice.held_back);
            if self.again_at.is_none() {
                self.pause = (self.pause * 2).clamp(HELD_BACK_MIN, HELD_BACK_MAX);
                self.again_at = Some(Instant::now() + self.pause);
            }
        }
        Ok(Left::More)
    }

    /// When rows for which there was no room are tried again.
    pub(crate) fn again_at(&self) -> Option<Instant> {
        self.again_at
    }
}

/// Takes all there is, unless `go_on` says no between two slices.
pub(crate) fn take_all(hub: &Hub, mut go_on: impl FnMut() -> bool) -> Result<Left, Error> {
    let mut intake = Intake::default();
    let mut left = Left::More;
    while left == Left::More && go_on() {
        left = intake.slice(hub)?;
    }
    Ok(left)
}

/// Takes what there is as a file is opened, up to a bound.
pub(crate) fn take_at_open(hub: &Hub) -> Result<Left, Error> {
    let mut slices = 0..SLICES_AT_OPEN;
    take_all(hub, || slices.next().is_some())
}

impl Client {
    /// What the inbox holds, where programs in other languages enqueue by SQL: rows that wait, with a
    /// mark on kinds that this program does not know; how many were refused; and which writers have an
    /// `SQLite` that may damage the file. Empty where the engine keeps no file.
    ///
    /// ```
    /// # use litework::{Client, Mode};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("tasks.db");
    /// # let tasks = Client::builder(&path).mode(Mode::Hold).open()?;
    /// # rusqlite::Connection::open(&path)?
    /// #     .execute("INSERT INTO litework_inbox (kind) VALUES ('greet')", [])?;
    /// let inbox = tasks.inbox()?;
    /// for waiting in inbox.waiting.iter().filter(|waiting| !waiting.known) {
    ///     println!("{} rows of kind {} wait for another program", waiting.rows, waiting.kind);
    /// }
    /// assert_eq!((inbox.waiting.len(), inbox.refused), (1, 0));
    /// assert!(inbox.writers.iter().all(|writer| !writer.outdated));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where it cannot be read.
    pub fn inbox(&self) -> Result<Inbox, Error> {
        let mut inbox = self.hub.backend.inbox()?;
        for waiting in &mut inbox.waiting {
            waiting.known = self.hub.catalog.get(&waiting.kind).is_ok();
        }
        Ok(inbox)
    }
}

/// Checks a row as a call of this program would be.
fn prepare(hub: &Hub, row: &InboxRow, now: Timestamp) -> Result<NewTask, Error> {
    let with = row.call()?;
    let kind = hub.catalog.get(&row.kind)?;
    let arguments = match &row.args {
        Some(args) => json::check_object(args, hub.limits)?.to_owned(),
        None => return Err(json::too_large(row.args_bytes, hub.limits).into()),
    };
    // What this program knows of traces says nothing of a row that another has written.
    hub.prepare_encoded(kind, &with, arguments, &Calling::untraced(now))
}
