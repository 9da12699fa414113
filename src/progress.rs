//! Watch: how far a running task has come, and what it says on its way.
//!
//! Plain words: a body changes them, the engine keeps them as they are.

use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// Characters of a stage at most; longer text is cut, with a mark that says so.
pub const STAGE_MAX: usize = 200;
/// Characters of a unit at most; likewise.
pub const UNIT_MAX: usize = 32;
/// Characters of a message to the user, and of a line of the log, at most; likewise.
pub const MESSAGE_MAX: usize = 2_000;
/// Lines that are kept of one attempt: the newest.
pub const LOG_LINES_MAX: usize = 1_000;

/// Steps that must have been told of before a time left is believed.
const SAMPLES_MIN: u32 = 3;
/// The part of the way that must be done, as one of so many.
const PART_MIN: u64 = 20;

/// How far a task has come, as it said last: see [`Context::progress`](crate::Context::progress).
///
/// It is of one attempt. What an attempt said last stays when it has ended, and the next one begins anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Grows with each change that is stored.
    pub revision: u64,
    /// The attempt that said it; 0: none has said anything, and the total comes from the arguments.
    pub attempt: u32,
    /// Steps that are done; never less than before in the same attempt.
    pub done: u64,
    /// Steps in all; none where nobody knows.
    pub total: Option<u64>,
    /// What is counted: `pages`, `bytes`. At most [`UNIT_MAX`] characters.
    pub unit: Option<String>,
    /// What it does just now, in words for people. At most [`STAGE_MAX`] characters.
    pub stage: Option<String>,
    /// What the user should know, whatever the end will be. At most [`MESSAGE_MAX`] characters.
    pub message: Option<String>,
    /// When it was said.
    pub told_at: Timestamp,
    pub(crate) pace: Pace,
}

/// From where the speed of an attempt is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// When it said first how much is done; none where it has not.
    pub(crate) since: Option<Timestamp>,
    /// How much that was.
    pub(crate) from: u64,
    /// How often it has said since that more is.
    pub(crate) samples: u32,
}

impl Progress {
    /// The part that is done, from 0 to 1; none where the total is not known.
    ///
    /// ```
    /// # use litework::Context;
    /// let ctx = Context::detached();
    /// ctx.progress().total(8).advance(2);
    /// assert_eq!(ctx.progress().get().ratio(), Some(0.25));
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "a part of a bar needs no more than 52 bits")]
    pub fn ratio(&self) -> Option<f64> {
        match self.total? {
            0 => Some(1.0),
            total => Some((self.done as f64 / total as f64).min(1.0)),
        }
    }

    /// Whole percent that are done, rounded down, so that 100 means all of it.
    ///
    /// ```
    /// # use litework::Context;
    /// let ctx = Context::detached();
    /// ctx.progress().total(1_000).advance(999);
    /// assert_eq!(ctx.progress().get().percent(), Some(99));
    /// ```
    pub fn percent(&self) -> Option<u8> {
        let (done, total) = (u128::from(self.done), u128::from(self.total?));
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        u8::try_from(percent.min(100)).ok()
    }

    /// How long it still takes, at the speed of this attempt until now. None where that is a guess: without
    /// a total, before it has said three times that more is done, before a twentieth of the way, and once
    /// it has said nothing for as long as the whole was to take.
    pub fn eta(&self, now: Timestamp) -> Option<Duration> {
        let total = self.total?;
        let way = self.done.checked_sub(self.pace.from).filter(|way| *way > 0)?;
        let believed = self.pace.samples >= SAMPLES_MIN
            && u128::from(self.done) * u128::from(PART_MIN) >= u128::from(total);
        if !believed {
            return None;
        }
        let took = self.pace.since?.until(self.told_at).as_millis();
        let left = u128::from(total.saturating_sub(self.done));
        let left_ms = took.saturating_mul(left) / u128::from(way);
        let silent_ms = self.told_at.until(now).as_millis();
        if silent_ms > took.saturating_add(left_ms) {
            return None;
        }
        let left_ms = u64::try_from(left_ms.saturating_sub(silent_ms)).ok()?;
        Some(Duration::from_millis(left_ms))
    }

    /// Begins anew, as an attempt does.
    pub(crate) fn of_attempt(attempt: u32, total: Option<u64>) -> Self {
        Self { attempt, total, ..Self::default() }
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.total.is_none_or(|total| self.done >= total)
    }

    /// Whoever has succeeded has done all of it.
    pub(crate) fn filled(mut self) -> Self {
        self.done = self.done.max(self.total.unwrap_or(0));
        self
    }

    /// So many steps are done.
    pub(crate) fn reach(&mut self, done: u64, now: Timestamp) {
        let grows = done > self.done;
        self.done = self.done.max(done);
        if self.pace.since.is_none() {
            self.pace = Pace { since: Some(now), from: self.done, samples: 0 };
        } else if grows {
            self.pace.samples = self.pace.samples.saturating_add(1);
        }
    }
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum LogLevel {
    /// What happens.
    #[default]
    Info,
    /// What is not as it should be, though the task goes on.
    Warning,
    /// What went wrong.
    Error,
}

impl LogLevel {
    const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Error];

    /// The word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The value of a stored word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line that a task has logged: see [`Context::log`](crate::Context::log).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// The attempt that logged it.
    pub attempt: u32,
    /// Its number in that attempt, from 1; numbers are missing where older lines were given up.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, at most [`MESSAGE_MAX`] characters.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::clamped(1_800_000_000_000 + seconds * 1_000)
    }

    /// 100 steps, of which these were told of at these seconds.
    fn told(steps: &[(u64, i64)]) -> Progress {
        let mut progress = Progress::of_attempt(1, Some(100));
        for (done, second) in steps {
            progress.reach(*done, at(*second));
            progress.told_at = at(*second);
        }
        progress
    }

    #[test]
    fn a_time_left_is_told_once_it_is_worth_believing() {
        assert_eq!(told(&[(0, 0), (10, 1), (20, 2)]).eta(at(2)), None, "two samples");
        assert_eq!(told(&[(0, 0), (1, 1), (2, 2), (4, 3)]).eta(at(3)), None, "4 %");
        let steady = told(&[(0, 0), (10, 10), (20, 20), (25, 25)]);
        assert_eq!(steady.eta(at(25)), Some(Duration::from_secs(75)));
        assert_eq!(steady.eta(at(35)), Some(Duration::from_secs(65)), "it counts down by itself");
        assert_eq!(steady.eta(at(100)), Some(Duration::ZERO), "it is late");
        assert_eq!(
            steady.eta(at(126)),
            None,
            "nothing was heard for longer than the whole was to take"
        );
        let unknown = Progress { total: None, ..steady };
        assert_eq!(unknown.eta(at(25)), None);
    }

    #[test]
    fn the_speed_is_that_of_this_attempt_and_not_of_what_it_began_with() {
        // It takes up 50 at once, and does 10 in 10 s.
        let resumed = told(&[(50, 0), (53, 3), (57, 7), (60, 10)]);
        assert_eq!(resumed.eta(at(10)), Some(Duration::from_secs(40)));
    }

    #[test]
    fn what_is_done_never_shrinks() {
        assert_eq!(told(&[(10, 0), (7, 1)]).done, 10);
    }

    #[test]
    fn words_and_levels_are_one_to_one() {
        for level in LogLevel::ALL {
            assert_eq!(LogLevel::from_word(level.as_str()), Some(level));
        }
        assert_eq!(LogLevel::from_word("loud"), None);
    }
}
