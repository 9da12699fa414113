//! Store: the one write path of a process, with group commit led by the caller.
//!
//! ```text
//!   caller alone ──► leads ──► BEGIN IMMEDIATE · own insert · COMMIT ──► answer
//!   callers that come meanwhile ──► wait ──► all their inserts in the leader's next transaction
//!   bulk, exchange, a user's closure ──► a turn of their own, in the same line
//! ```
//!
//! Guarantees: nobody is answered before the commit; an error says `NotStored` or `Unknown` and
//! never guesses; a panic or an error of one member does not touch the others; whoever leads hands
//! the lead on even when it panics; every wait has a deadline.
//!
//! A full disk or an I/O error rolls the whole transaction back without saying so. After each error
//! the connection is asked whether it is still in a transaction, and if it is not, the members are
//! replayed one by one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::checkpoint::{self, Need};
use super::enqueue::{Insert, Tags};
use super::lanes::Lanes;
use super::schema::{self, BUSY_DEADLINE};
use crate::error::Error;
use crate::fault;
use crate::options::Durability;
use crate::record::Stored;
use crate::time::Timestamp;
use crate::watch::{Notice, Signal};

/// A leader merges at most this many operations into one transaction.
const MERGE_MAX: usize = 256;
/// A caller leads others' operations for at most this long after its own is answered.
const LEAD_MAX: Duration = Duration::from_millis(2);
/// While other processes commit, the lock is let go this often …
const NEIGHBOUR_EVERY: Duration = Duration::from_millis(10);
/// … for this long.
const NEIGHBOUR_PAUSE: Duration = Duration::from_micros(500);
/// How long after a foreign commit others are taken to be active.
const NEIGHBOUR_ACTIVE: Duration = Duration::from_secs(1);

/// What a transaction did, to be told after its commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Work was stored that may be claimed or becomes due.
    pub(super) work: bool,
    /// A running task was asked to stop.
    pub(super) cancel: bool,
    /// Rows whose waiters are to be woken.
    pub(super) changed: Vec<i64>,
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
    pub(super) step_ms: i64,
    /// When the next scheduled task is due.
    pub(super) next_due: NextDue,
    pub(super) effects: Effects,
    pub(super) tags: Tags,
    path: PathBuf,
    level: Durability,
    data_version: i64,
    /// Whether `min_writer` was read since another connection last committed.
    version_checked: bool,
    foreign_at: Option<Instant>,
    paused_at: Instant,
    foreign_seen: bool,
    checkpoint: checkpoint::Helper,
}

impl Core {
    pub(super) fn new(conn: Connection, path: PathBuf, step_ms: i64, level: Durability) -> Self {
        Self {
            conn,
            lanes: Lanes::default(),
            step_ms,
            next_due: NextDue::Unknown,
            effects: Effects::default(),
            tags: Tags::default(),
            path,
            level,
            data_version: -1,
            version_checked: false,
            foreign_at: None,
            paused_at: Instant::now(),
            foreign_seen: false,
            checkpoint: checkpoint::Helper::default(),
        }
    }

    /// Runs `body` in a transaction at `level` and commits; an error of `body` rolls back.
    pub(super) fn transaction<R>(
        &mut self,
        level: Durability,
        body: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.begin(level)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| body(self)));
        match outcome {
            Ok(Ok(value)) => self.commit().map(|()| value),
            Ok(Err(error)) => {
                self.roll_back();
                Err(error)
            }
            Err(panic) => {
                self.roll_back();
                std::panic::resume_unwind(panic)
            }
        }
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
        let level = if fault::planted("sync_off") { Durability::Normal } else { level };
        if level != self.level {
            schema::set_synchronous(&self.conn, level).map_err(not_stored)?;
            self.level = level;
        }
        self.execute("BEGIN IMMEDIATE").map_err(not_stored)?;
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
        match self.execute("COMMIT") {
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
            Need::Helper => self.checkpoint.start(&self.path),
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
        if let Ok(conn) = schema::connect(&self.path, false) {
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
    }

    /// Remembers that a task was scheduled for this moment.
    pub(super) fn note_due(&mut self, due_at: Timestamp) {
        self.next_due = match self.next_due {
            NextDue::Unknown => NextDue::Unknown,
            NextDue::Never => NextDue::At(due_at),
            NextDue::At(next) => NextDue::At(next.min(due_at)),
        };
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
        schema::check_version(&self.conn, &self.path)?;
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

    /// `SQLite`'s lock is unfair: a tight loop of commits starves other processes.
    fn be_a_good_neighbour(&mut self) {
        let active = self.foreign_at.is_some_and(|at| at.elapsed() < NEIGHBOUR_ACTIVE);
        if active && self.paused_at.elapsed() >= NEIGHBOUR_EVERY {
            std::thread::sleep(NEIGHBOUR_PAUSE);
            self.paused_at = Instant::now();
        }
    }
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

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// For errors before the commit, where it is certain that nothing was stored.
pub(super) fn not_stored(error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("busy: another program held the file for {} s", BUSY_DEADLINE.as_secs())
        }
        Some(ErrorCode::DiskFull) => "disk_full: there is no room for it".to_owned(),
        _ => error.to_string(),
    };
    Error::NotStored { reason, source: Some(error.into()) }
}

/// What a waiting caller is told.
enum Answer {
    Stored(Result<Stored, Error>),
    /// It is its turn to lead; its own operation, if it had one, comes back.
    Lead(Option<Insert>),
}

struct Waiting {
    number: u64,
    insert: Option<Insert>,
    reply: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Line {
    led: bool,
    numbers: u64,
    waiting: VecDeque<Waiting>,
}

/// The write path.
pub(super) struct Writer {
    line: Mutex<Line>,
    core: Mutex<Core>,
    signal: Arc<Signal>,
}

impl Writer {
    pub(super) fn new(core: Core, signal: Arc<Signal>) -> Self {
        Self { line: Mutex::default(), core: Mutex::new(core), signal }
    }

    /// Stores one task, merged with others that come at the same time.
    pub(super) fn insert(&self, insert: Insert) -> Result<Stored, Error> {
        match self.stand_in_line(Some(insert))? {
            Answer::Stored(answer) => answer,
            Answer::Lead(mine) => {
                let lead = Lead { writer: self };
                mine.map_or(Err(Error::Closed), |mine| lead.insert(mine))
            }
        }
    }

    /// The write connection, alone, in turn.
    pub(super) fn turn(&self) -> Result<Turn<'_>, Error> {
        match self.stand_in_line(None)? {
            Answer::Lead(_) => {
                let lead = Lead { writer: self };
                Ok(Turn { core: self.core(), lead })
            }
            Answer::Stored(_) => Err(Error::Closed),
        }
    }

    /// Looks for commits of others, as the watcher does; waits only for a transaction under way.
    pub(super) fn take_foreign(&self) -> bool {
        self.core().take_foreign().unwrap_or(false)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand_in_line(&self, insert: Option<Insert>) -> Result<Answer, Error> {
        let mut line = self.line();
        if !line.led {
            line.led = true;
            return Ok(Answer::Lead(insert));
        }
        let (reply, answer) = oneshot::channel();
        line.numbers += 1;
        let number = line.numbers;
        line.waiting.push_back(Waiting { number, insert, reply });
        drop(line);
        match answer.recv_timeout(BUSY_DEADLINE) {
            Ok(answer) => Ok(answer),
            Err(oneshot::RecvTimeoutError::Timeout) => self.leave_line(number, &answer),
            Err(oneshot::RecvTimeoutError::Disconnected) => Err(lost_leader()),
        }
    }

    /// The deadline has passed: out of the line, unless the operation is under way by now.
    fn leave_line(&self, number: u64, answer: &oneshot::Receiver<Answer>) -> Result<Answer, Error> {
        let mut line = self.line();
        let before = line.waiting.len();
        line.waiting.retain(|waiting| waiting.number != number);
        let left = line.waiting.len() < before;
        drop(line);
        if left {
            let reason = format!("busy: the writers before it took {} s", BUSY_DEADLINE.as_secs());
            return Err(Error::NotStored { reason, source: None });
        }
        answer.recv_ref().map_err(|_| lost_leader())
    }

    /// Tells the world what a commit did.
    fn publish(&self, effects: Effects, foreign: bool) {
        self.signal.changed(effects.changed);
        if effects.work {
            self.signal.ring(Notice::Work);
        }
        if effects.cancel {
            self.signal.ring(Notice::Cancel);
        }
        if foreign {
            self.signal.ring(Notice::Foreign);
        }
    }
}

fn lost_leader() -> Error {
    Error::Unknown { reason: "the thread that was committing it died".to_owned(), source: None }
}

/// The right to write. Dropping it hands the lead to the next in line.
struct Lead<'a> {
    writer: &'a Writer,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut line = self.writer.line();
        while let Some(next) = line.waiting.pop_front() {
            // A caller that gave up meanwhile cannot lead: its channel refuses the word.
            if next.reply.send(Answer::Lead(next.insert)).is_ok() {
                return;
            }
        }
        line.led = false;
    }
}

impl Lead<'_> {
    fn insert(&self, mine: Insert) -> Result<Stored, Error> {
        let began = Instant::now();
        let mut core = self.writer.core();
        let (inserts, replies) = self.gather(Some(mine));
        let mut answers = self.run(&mut core, inserts).into_iter();
        let my_answer = answers.next().unwrap_or_else(|| Err(lost_leader()));
        tell(replies, answers);
        while began.elapsed() < LEAD_MAX {
            let (inserts, replies) = self.gather(None);
            if inserts.is_empty() {
                break;
            }
            let answers = self.run(&mut core, inserts);
            tell(replies, answers.into_iter());
        }
        my_answer
    }

    /// The next members of the line, up to a caller that wants a turn of its own.
    fn gather(&self, mine: Option<Insert>) -> (Vec<Insert>, Vec<oneshot::Sender<Answer>>) {
        let mut inserts: Vec<Insert> = mine.into_iter().collect();
        let mut replies = Vec::new();
        let mut line = self.writer.line();
        while inserts.len() < MERGE_MAX
            && line.waiting.front().is_some_and(|next| next.insert.is_some())
        {
            let Some(Waiting { insert: Some(insert), reply, .. }) = line.waiting.pop_front() else {
                break;
            };
            inserts.push(insert);
            replies.push(reply);
        }
        (inserts, replies)
    }

    /// One transaction for all; if it is lost as a whole, one for each.
    fn run(&self, core: &mut Core, mut inserts: Vec<Insert>) -> Vec<Result<Stored, Error>> {
        let level = inserts.iter().map(Insert::level).max().unwrap_or_default();
        let count = inserts.len();
        let attempt = catch_unwind(AssertUnwindSafe(|| self.commit_all(core, level, &mut inserts)));
        match attempt {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) if count == 1 => vec![Err(error)],
            Ok(Err(Error::Unknown { reason, .. })) => {
                let unknown = || Error::Unknown { reason: reason.clone(), source: None };
                (0..count).map(|_| Err(unknown())).collect()
            }
            Ok(Err(_)) => inserts
                .iter_mut()
                .map(|insert| {
                    let one = std::slice::from_mut(insert);
                    self.commit_all(core, level, one)
                        .and_then(|mut answers| answers.pop().unwrap_or_else(|| Err(lost_leader())))
                })
                .collect(),
            Err(_panic) => {
                core.roll_back();
                (0..count).map(|_| Err(lost_leader())).collect()
            }
        }
    }

    fn commit_all(
        &self,
        core: &mut Core,
        level: Durability,
        inserts: &mut [Insert],
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        let answers = core.transaction(level, |core| {
            let mut answers = Vec::with_capacity(inserts.len());
            for insert in inserts.iter_mut() {
                let answer = insert.run(core);
                if answer.is_err() && core.lost_transaction() {
                    return answer.map(|_| Vec::new());
                }
                answers.push(answer);
            }
            Ok(answers)
        });
        if answers.is_err() {
            inserts.iter().for_each(Insert::undo);
        }
        let foreign = std::mem::take(&mut core.foreign_seen);
        self.writer.publish(std::mem::take(&mut core.effects), foreign);
        answers
    }
}

fn tell(
    replies: Vec<oneshot::Sender<Answer>>,
    answers: impl Iterator<Item = Result<Stored, Error>>,
) {
    fault::point("before_answer");
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A caller that has gone hears nothing; its task is stored all the same.
        let _gone = reply.send(Answer::Stored(answer));
    }
}

/// The write connection, held alone.
pub(super) struct Turn<'a> {
    core: MutexGuard<'a, Core>,
    lead: Lead<'a>,
}

impl Turn<'_> {
    /// Runs `body` in a transaction of its own and tells the world after its commit.
    pub(super) fn transaction<R>(
        &mut self,
        level: Durability,
        body: impl FnOnce(&mut Core) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let answer = self.core.transaction(level, body);
        let foreign = std::mem::take(&mut self.core.foreign_seen);
        self.lead.writer.publish(std::mem::take(&mut self.core.effects), foreign);
        answer
    }
}
