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
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::core::{Core, Effects};
use super::enqueue::Insert;
use super::schema::BUSY_DEADLINE;
use crate::error::Error;
use crate::fault;
use crate::options::Durability;
use crate::record::Stored;
use crate::watch::{Notice, Signal};

/// A leader merges at most this many operations into one transaction.
const MERGE_MAX: usize = 256;
/// A caller leads others' operations for at most this long after its own is answered.
const LEAD_MAX: Duration = Duration::from_millis(2);
/// A leader waits at most this long for callers that are about to come.
const LINGER_MAX: Duration = Duration::from_micros(500);

/// Callers that are still to be told, with what they are told.
type Untold = Vec<(oneshot::Sender<Answer>, Result<Stored, Error>)>;

/// What a waiting caller is told.
enum Answer {
    /// Its own answer; and others', which it passes on before it goes its way, so that the leader can
    /// go on at once.
    Stored(Result<Stored, Error>, Untold),
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
    /// How many inserts the last merged transaction had.
    members: AtomicUsize,
    /// How long it took.
    commit_ns: AtomicU64,
}

impl Writer {
    pub(super) fn new(core: Core, signal: Arc<Signal>) -> Self {
        Self {
            line: Mutex::default(),
            core: Mutex::new(core),
            signal,
            members: AtomicUsize::new(1),
            commit_ns: AtomicU64::new(0),
        }
    }

    /// Stores one task, merged with others that come at the same time.
    pub(super) fn insert(&self, insert: Insert) -> Result<Stored, Error> {
        match self.stand_in_line(Some(insert))? {
            Answer::Stored(answer, untold) => {
                pass_on(untold);
                answer
            }
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
            Answer::Stored(..) => Err(Error::Closed),
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
        if let Some(row) = effects.cancel {
            self.signal.ring(Notice::Cancel(row));
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
        self.linger();
        let mut core = self.writer.core();
        let (inserts, replies) = self.gather(Some(mine));
        let mut answers = self.run_timed(&mut core, inserts).into_iter();
        fault::point("before_answer");
        let my_answer = answers.next().unwrap_or_else(|| Err(lost_leader()));
        tell(replies.into_iter().zip(answers).collect());
        while began.elapsed() < LEAD_MAX {
            self.linger();
            let (inserts, replies) = self.gather(None);
            if inserts.is_empty() {
                break;
            }
            let answers = self.run_timed(&mut core, inserts);
            tell(replies.into_iter().zip(answers).collect());
        }
        my_answer
    }

    /// Where the last transaction had many members, most of them are about to come again: waiting a
    /// fraction of a commit for them saves a commit of few. A lone caller never waits.
    fn linger(&self) {
        let expected = self.writer.members.load(Ordering::Relaxed);
        if expected < 2 {
            return;
        }
        let patience = Duration::from_nanos(self.writer.commit_ns.load(Ordering::Relaxed) / 2);
        let until = Instant::now() + patience.min(LINGER_MAX);
        while self.writer.line().waiting.len() + 1 < expected && Instant::now() < until {
            std::thread::yield_now();
        }
    }

    /// Runs one transaction and remembers its size and length.
    fn run_timed(&self, core: &mut Core, inserts: Vec<Insert>) -> Vec<Result<Stored, Error>> {
        let began = Instant::now();
        self.writer.members.store(inserts.len(), Ordering::Relaxed);
        let answers = self.run(core, inserts);
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.writer.commit_ns.store(took, Ordering::Relaxed);
        answers
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
            inserts.iter_mut().for_each(Insert::undo);
        }
        let foreign = std::mem::take(&mut core.foreign_seen);
        self.writer.publish(std::mem::take(&mut core.effects), foreign);
        answers
    }
}

/// A caller that was told tells two more, who tell the rest between them.
fn pass_on(mut untold: Untold) {
    let half = untold.split_off(untold.len() / 2);
    tell(untold);
    tell(half);
}

/// Tells one caller, who passes the others' answers on: waking a thread costs the leader as much as
/// several inserts.
fn tell(mut untold: Untold) {
    while let Some((reply, answer)) = untold.pop() {
        match reply.send(Answer::Stored(answer, std::mem::take(&mut untold))) {
            Ok(()) => return,
            // A caller that has gone hears nothing; its task is stored all the same. The others
            // come back with the word that could not be given.
            Err(unsent) => {
                if let Answer::Stored(_, rest) = unsent.into_inner() {
                    untold = rest;
                }
            }
        }
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
