//! Store: the write connection, what is known of the file through it, and one transaction on it.
//!
//! A commit tells the truth: an error before it, or a busy one, is `NotStored`; any other failed
//! COMMIT is `Unknown`, and the connection is replaced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::checkpoint::{self, Need};
use super::errors::{is_busy, not_stored};
use super::gates::{self, Fences, Freed};
use super::lanes::Lanes;
use super::newcomer::Newcomers;
use super::place::Place;
use super::rules::Rules;
use super::schema;
use super::tags::Tags;
use super::unique::Touched;
use crate::error::Error;
use crate::fault;
use crate::id::TaskId;
use crate::options::Durability;
use crate::record::{Lease, TaskRecord};
use crate::time::Timestamp;

/// While other connections commit, the lock is let go whenever it was held this long, for twice as long
/// as it was held: one that waits with pauses of its own then finds it free at two of three tries.
const NEIGHBOUR_HELD: Duration = Duration::from_millis(2);
/// It is let go for at most this long.
const NEIGHBOUR_PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long after a foreign commit others are taken to be active …
const NEIGHBOUR_ACTIVE: Duration = Duration::from_secs(1);
/// … and after somebody has opened the file, who may not get as far as to commit otherwise.
const NEWCOMER_ACTIVE: Duration = Duration::from_millis(250);
/// So long after a foreign commit another may come, and find the lock free: `SQLite` looks for it at most every 100 ms, so
/// that it meets one pause of more in each second.
const NEIGHBOUR_KNOWN: Duration = Duration::from_secs(60);
const KNOWN_HELD: Duration = Duration::from_millis(900);
const KNOWN_PAUSE: Duration = Duration::from_millis(110);

/// Served by the primary key; the rest of the condition is the fence.
const HELD: &str = "SELECT 1 FROM litework_task \
     WHERE id = ?1 AND state = 'running' AND attempt = ?2 AND worker = ?3";

/// Tasks of a lane, to be counted after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) lane: i64,
    pub(super) at: Timestamp,
    /// So many were stored; none: the process died that ran one.
    pub(super) stored: u64,
}

/// What a transaction did, to be told after its commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Work was stored that may be claimed or becomes due.
    pub(super) work: bool,
    /// The next slot of a schedule may be another.
    pub(super) schedules: bool,
    /// An end has made room in a limited queue or kind.
    pub(super) room: bool,
    /// Whose claim has left nothing behind.
    pub(super) looked: Option<i64>,
    /// Running tasks that were asked to stop.
    pub(super) cancel: Vec<i64>,
    /// Rows whose waiters are to be woken.
    pub(super) changed: Vec<i64>,
    /// Of these, the first so many: whoever has asked for the transaction tells of their ends.
    pub(super) heard: usize,
    /// Of those, the ones that no attempt has ended.
    pub(super) unrun: Vec<i64>,
    /// Rows of which something was said; the same is done for these.
    pub(super) told: Vec<i64>,
    /// What was deleted; what had not ended before, as it ended.
    pub(super) gone: HashMap<i64, Option<TaskRecord>>,
    pub(super) counted: Vec<Counted>,
}

impl Effects {
    /// All that has ended until now is told by whoever has asked for it; no attempt has ended these.
    pub(super) fn hear(&mut self, unrun: &[i64]) {
        self.heard = self.changed.len();
        self.unrun.extend_from_slice(unrun);
    }

    /// The rows that may have ended and that no attempt has: the others are counted where their attempts are.
    pub(super) fn ended_unrun(&self) -> Vec<i64> {
        let rows = self.changed[self.heard..].iter().chain(&self.unrun).copied();
        rows.collect::<BTreeSet<i64>>().into_iter().collect()
    }

    /// A task was stored.
    pub(super) fn stored(&mut self, lane: i64, at: Timestamp) {
        match self.counted.last_mut() {
            Some(last) if last.lane == lane && last.at == at && last.stored > 0 => last.stored += 1,
            _ => self.counted.push(Counted { lane, at, stored: 1 }),
        }
    }

    /// Adds what was done after this.
    pub(super) fn add(&mut self, later: Self) {
        self.work |= later.work;
        self.schedules |= later.schedules;
        self.room |= later.room;
        self.looked = later.looked.or(self.looked);
        self.cancel.extend(later.cancel);
        self.changed.extend(later.changed);
        self.gone.extend(later.gone);
        self.counted.extend(later.counted);
    }
}

/// A claim whose commit may have happened or not; nobody runs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    pub(super) id: TaskId,
    pub(super) lease: Lease,
    pub(super) claimed_at: Timestamp,
}

/// What the last call found that looked for the task with its unique key. Where there was one, the next looks
/// for it before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastKey {
    Free,
    Taken,
}

/// What is known of the next scheduled task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextDue {
    /// It must be looked up.
    Unknown,
    /// There is none.
    Never,
    At(Timestamp),
}

impl From<Option<Timestamp>> for NextDue {
    fn from(next: Option<Timestamp>) -> Self {
        next.map_or(Self::Never, Self::At)
    }
}

/// The write connection and what is known of the file through it.
pub(super) struct Core {
    pub(super) conn: Connection,
    pub(super) lanes: Lanes,
    pub(super) rules: Rules,
    pub(super) fences: Fences,
    pub(super) step_ms: i64,
    /// When the next scheduled task is due.
    pub(super) next_due: NextDue,
    pub(super) effects: Effects,
    /// Batches of which a member has ended in this transaction, and when.
    pub(super) unsummed: BTreeMap<i64, Timestamp>,
    /// Gates that a task has left in this transaction, and when.
    pub(super) left_gates: BTreeMap<String, Timestamp>,
    /// Whether an end has let a task go on that waited for it, since this was last asked.
    pub(super) may_start: bool,
    pub(super) last_key: LastKey,
    /// Rows that had ended when they were stored, or ended as damaged, and that others follow.
    pub(super) stillborn: Vec<(i64, Timestamp)>,
    pub(super) tags: Tags,
    /// To be given back by the next transaction, before anybody can claim them again.
    pub(super) doubts: Vec<Doubt>,
    /// How long whoever has the connection now has waited for it.
    pub(super) waited: Duration,
    /// How many transactions have found the lock taken by another program.
    pub(super) busy: Arc<AtomicU64>,
    pub(super) place: Place,
    level: Durability,
    data_version: i64,
    /// Whether `min_writer` was read since another connection last committed.
    version_checked: bool,
    foreign_at: Option<Instant>,
    pub(super) newcomers: Arc<Newcomers>,
    /// When the last of them came.
    newcomer_at: Option<Instant>,
    /// How long the lock was held since it was last let go for others.
    held: Duration,
    /// When the last transaction ended.
    released_at: Instant,
    pub(super) foreign_seen: bool,
    checkpoint: checkpoint::Helper,
}

impl Core {
    pub(super) fn new(conn: Connection, path: PathBuf, step_ms: i64, level: Durability) -> Self {
        Self {
            conn,
            lanes: Lanes::default(),
            rules: Rules::default(),
            fences: Fences::default(),
            step_ms,
            next_due: NextDue::Unknown,
            effects: Effects::default(),
            unsummed: BTreeMap::new(),
            left_gates: BTreeMap::new(),
            may_start: false,
            last_key: LastKey::Free,
            stillborn: Vec::new(),
            tags: Tags::default(),
            doubts: Vec::new(),
            waited: Duration::ZERO,
            busy: Arc::default(),
            place: Place::of(path),
            level,
            data_version: -1,
            version_checked: false,
            foreign_at: None,
            newcomers: Arc::default(),
            newcomer_at: None,
            held: Duration::ZERO,
            released_at: Instant::now(),
            foreign_seen: false,
            checkpoint: checkpoint::Helper::default(),
        }
    }

    /// Notes the claims of a transaction that failed, if it may have been committed all the same.
    pub(super) fn doubt(&mut self, error: &Error, claims: impl IntoIterator<Item = Doubt>) {
        if matches!(error, Error::Unknown { .. }) {
            self.doubts.extend(claims);
            // Whoever looks for work next gives them back.
            self.effects.work |= !self.doubts.is_empty();
        }
    }

    /// Runs `body` in a transaction at `level` and commits; an error of `body` rolls back.
    pub(super) fn transaction<R>(
        &mut self,
        level: Durability,
        body: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.begin(level)?;
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(self)));
        let answer = match outcome {
            Ok(Ok(value)) => self.commit().map(|()| value),
            Ok(Err(error)) => {
                self.roll_back();
                Err(error)
            }
            Err(panic) => {
                self.roll_back();
                std::panic::resume_unwind(panic)
            }
        };
        self.released_at = Instant::now();
        self.held += self.released_at - began;
        answer
    }

    /// Whether `SQLite` itself has ended the transaction, as it does on a full disk.
    pub(super) fn lost_transaction(&self) -> bool {
        self.conn.is_autocommit() && !fault::planted("autocommit_check_off")
    }

    fn begin(&mut self, level: Durability) -> Result<(), Error> {
        if fault::planted("answer_first") && !self.conn.is_autocommit() {
            self.execute("COMMIT").map_err(not_stored)?;
        }
        self.be_a_good_neighbour();
        self.place.check_now_and_then()?;
        let level = if fault::planted("sync_off") { Durability::Normal } else { level };
        if level != self.level {
            schema::set_synchronous(&self.conn, level).map_err(not_stored)?;
            self.level = level;
        }
        let waited = std::mem::take(&mut self.waited);
        let (begun, was_busy) = schema::after_waiting(waited, || self.execute("BEGIN IMMEDIATE"));
        if was_busy {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        begun.map_err(not_stored)?;
        self.notice_foreign_commits().inspect_err(|_| self.roll_back())
    }

    fn commit(&mut self) -> Result<(), Error> {
        if self.lost_transaction() {
            self.roll_back();
            let reason = "the transaction was rolled back by SQLite".to_owned();
            return Err(Error::NotStored { reason, source: None });
        }
        fault::point("before_commit");
        if fault::planted("answer_first") {
            // The commit comes with the next transaction, after the answer.
            return Ok(());
        }
        if fault::planted("commit_lost") {
            self.roll_back();
            return Err(self.failed_commit(planted_failure()));
        }
        match self.execute("COMMIT") {
            Ok(()) if fault::planted("commit_unknown") => {
                Err(self.failed_commit(planted_failure()))
            }
            Ok(()) => {
                fault::point("after_commit");
                self.keep_log_short();
                Ok(())
            }
            Err(error) => Err(self.failed_commit(error)),
        }
    }

    fn keep_log_short(&mut self) {
        match self.checkpoint.need() {
            Need::Nothing => {}
            Need::Helper => self.checkpoint.start(self.place.path(), &self.newcomers),
            Need::Writer => checkpoint::passive(&self.conn),
        }
    }

    /// A COMMIT that failed may have happened all the same; only a lock is certain to mean no.
    fn failed_commit(&mut self, error: rusqlite::Error) -> Error {
        let certain = is_busy(&error);
        self.roll_back();
        if certain {
            return not_stored(error);
        }
        self.reopen();
        Error::Unknown { reason: format!("the commit failed: {error}"), source: Some(error.into()) }
    }

    /// After an I/O error the connection is not trusted; a fresh one replaces it where possible.
    fn reopen(&mut self) {
        if self.place.leads_elsewhere() {
            return;
        }
        self.newcomers.announce_own();
        if let Ok(conn) = schema::connect(self.place.path(), false) {
            checkpoint::install(&conn);
            self.conn = conn;
            self.level = Durability::Full;
            self.data_version = -1;
            // A level that does not take is found by the next `begin`, which sets it again.
            if schema::set_synchronous(&self.conn, self.level).is_err() {
                self.level = Durability::Normal;
            }
        }
    }

    pub(super) fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            // A failed ROLLBACK leaves autocommit off, which the next BEGIN reports.
            let _reported_later = self.execute("ROLLBACK");
        }
        self.forget();
        // Lanes that the transaction had made are gone, so their numbers are not to be trusted.
        self.lanes = Lanes::default();
        self.effects = Effects::default();
        self.unsummed.clear();
        self.left_gates.clear();
        self.stillborn.clear();
    }

    /// Whether a lease still holds its task.
    pub(super) fn holds(&self, lease: Lease) -> Result<bool, Error> {
        self.conn
            .prepare_cached(HELD)
            .and_then(|mut read| read.exists((lease.row, lease.attempt, lease.owner)))
            .map_err(not_stored)
    }

    /// Remembers that a task was scheduled for this moment.
    pub(super) fn note_due(&mut self, due_at: Timestamp) {
        self.next_due = match self.next_due {
            NextDue::Unknown => NextDue::Unknown,
            NextDue::Never => NextDue::At(due_at),
            NextDue::At(next) => NextDue::At(next.min(due_at)),
        };
    }

    /// Remembers a task that this transaction has made ready.
    pub(super) fn note_ready(&mut self, row: i64, lane: i64, rank: i64) -> Result<(), Error> {
        if let Some(lane) = self.lanes.by_id(&self.conn, lane).map_err(not_stored)? {
            self.lanes.note_ready(lane, (rank, row));
        }
        self.effects.work = true;
        Ok(())
    }

    /// Lets those go on that wait at a gate, as far as there are places.
    pub(super) fn release(&mut self, now: Timestamp, key: &str) -> Result<(), Error> {
        let freed = gates::release(&self.conn, now, key, self.step_ms)?;
        self.note_freed(freed)
    }

    /// Remembers what may go on.
    pub(super) fn note_freed(&mut self, freed: Vec<Freed>) -> Result<(), Error> {
        for freed in freed {
            match freed {
                Freed::Ready { row, lane, rank } => {
                    self.may_start = true;
                    self.note_ready(row, lane, rank)?;
                }
                Freed::Due(due_at) => {
                    self.note_due(due_at);
                    self.effects.work = true;
                }
                Freed::Ended { row, at } => {
                    self.effects.changed.push(row);
                    self.stillborn.push((row, at));
                }
            }
        }
        Ok(())
    }

    /// Where a rule limits how many run, an end makes room for a task that somebody was refused.
    pub(super) fn note_places(&mut self) -> Result<(), Error> {
        if !self.effects.work && !self.effects.changed.is_empty() {
            self.effects.room = self.rules.limits_running(&self.conn)?;
        }
        Ok(())
    }

    /// Lets nothing start before this moment that a running task speaks for.
    pub(super) fn close(&mut self, row: i64, lane: i64, until: Timestamp) -> Result<(), Error> {
        if let Some(lane) = self.lanes.by_id(&self.conn, lane).map_err(not_stored)? {
            gates::close(&self.conn, row, &self.lanes.get(lane).queue, until)?;
            self.rules.forget();
        }
        Ok(())
    }

    /// Remembers what a call has made of a task that was there.
    pub(super) fn note_touched(&mut self, touched: Touched) -> Result<(), Error> {
        if let Some(lane) = self.lanes.by_id(&self.conn, touched.lane).map_err(not_stored)? {
            self.lanes.forget_heads(lane);
        }
        // It may have been the next that is due.
        self.next_due = NextDue::Unknown;
        self.effects.work = true;
        self.note_freed(touched.freed)
    }

    /// Somebody wrote through the connection past what is remembered.
    pub(super) fn wrote_around(&mut self) {
        self.forget();
        // The statements may have gone back to a savepoint before a lane was made.
        self.lanes = Lanes::default();
        self.effects.work = true;
    }

    /// Drops all that was remembered of the file.
    fn forget(&mut self) {
        self.lanes.forget();
        self.rules.forget();
        self.fences.forget();
        self.next_due = NextDue::Unknown;
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.raw_execute_checked()
    }

    fn notice_foreign_commits(&mut self) -> Result<(), Error> {
        let version = self.read_data_version().map_err(not_stored)?;
        if version == self.data_version && self.version_checked {
            return Ok(());
        }
        self.version_checked = false;
        let first = self.data_version == -1;
        self.data_version = version;
        self.forget();
        if !first {
            self.foreign_at = Some(Instant::now());
            self.foreign_seen = true;
        }
        schema::check_version(&self.conn, self.place.path())?;
        self.version_checked = true;
        Ok(())
    }

    fn read_data_version(&self) -> rusqlite::Result<i64> {
        self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    /// Whether another connection has committed since this was last asked; for the watcher.
    pub(super) fn take_foreign(&mut self) -> rusqlite::Result<bool> {
        let version = self.read_data_version()?;
        if version != self.data_version && self.data_version != -1 {
            self.foreign_at = Some(Instant::now());
            self.foreign_seen = true;
            self.forget();
        }
        self.version_checked &= version == self.data_version;
        self.data_version = version;
        Ok(std::mem::take(&mut self.foreign_seen))
    }

    /// Others are about to write, so the lock is let go for them now and then.
    pub(super) fn note_neighbour(&mut self) {
        self.foreign_at = Some(Instant::now());
    }

    /// `SQLite`'s lock is unfair: a tight loop of commits starves other processes.
    fn be_a_good_neighbour(&mut self) {
        if self.newcomers.take() {
            self.newcomer_at = Some(Instant::now());
        }
        let since = |at: Option<Instant>, span| at.is_some_and(|at| at.elapsed() < span);
        let active = since(self.foreign_at, NEIGHBOUR_ACTIVE);
        let (held, pause) = if active || since(self.newcomer_at, NEWCOMER_ACTIVE) {
            (NEIGHBOUR_HELD, (self.held * 2).min(NEIGHBOUR_PAUSE_MAX))
        } else if since(self.foreign_at, NEIGHBOUR_KNOWN) {
            (KNOWN_HELD, KNOWN_PAUSE)
        } else {
            self.held = Duration::ZERO;
            return;
        };
        let free = self.released_at.elapsed();
        if self.held >= held {
            std::thread::sleep(pause.saturating_sub(free));
        }
        if self.held >= held || free >= KNOWN_PAUSE {
            self.held = Duration::ZERO;
        }
    }
}

/// What a disk says that fails, for a commit that a test makes one of unknown outcome.
fn planted_failure() -> rusqlite::Error {
    let told = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    rusqlite::Error::SqliteFailure(told, None)
}

/// `execute` without the check that no row came back, which PRAGMAs and COMMIT do not need.
trait RawExecute {
    fn raw_execute_checked(&mut self) -> rusqlite::Result<()>;
}

impl RawExecute for rusqlite::CachedStatement<'_> {
    fn raw_execute_checked(&mut self) -> rusqlite::Result<()> {
        self.raw_execute().map(|_rows| ())
    }
}
