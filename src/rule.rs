//! Claim: rules for a whole queue or kind: paused, closed for a while, so many at once, so many in a
//! period.
//!
//! A rule decides whether a task of its queue or kind may start; no task is ever written for it.

use crate::error::Error;
use crate::gate::{Limits, Rate, closed};
use crate::options::check_name;
use crate::time::Timestamp;

/// What a rule holds for: all tasks of a queue, or all of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The queue of this name.
    Queue(String),
    /// Tasks of this name, in whichever queue. A task has the name that it was enqueued under, so an
    /// alias is a kind of its own here.
    Kind(String),
}

impl Scope {
    /// All tasks of a queue.
    pub fn queue(name: impl Into<String>) -> Self {
        Self::Queue(name.into())
    }

    /// All tasks of a kind.
    pub fn kind(name: impl Into<String>) -> Self {
        Self::Kind(name.into())
    }

    /// The name of the queue or kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Queue(name) | Self::Kind(name) => name,
        }
    }

    /// `queue` or `kind`, as it is stored.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Kind(_) => "kind",
        }
    }

    /// Whether a task of this queue and kind is meant.
    pub(crate) fn covers(&self, queue: &str, kind: &str) -> bool {
        match self {
            Self::Queue(name) => name == queue,
            Self::Kind(name) => name == kind,
        }
    }

    pub(crate) fn checked(&self) -> Result<(), Error> {
        match self {
            Self::Queue(name) => check_name("bad_queue", "queue name", name),
            Self::Kind(name) => check_name("bad_name", "task name", name),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.word(), self.name())
    }
}

/// The limits of a queue or a kind, as they hold now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limited {
    /// Of what.
    pub scope: Scope,
    /// Which.
    pub limits: Limits,
    /// Since when, where a person has set them; none where a program declares them.
    pub edited_at: Option<Timestamp>,
}

/// Something that is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paused {
    /// What.
    pub scope: Scope,
    /// Since when.
    pub since: Timestamp,
}

/// Whether a task of a queue and kind may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admits {
    Yes,
    /// Not before this moment; none: not before something else happens.
    No(Option<Timestamp>),
}

impl Admits {
    /// Both must admit it. Shut by one that names no moment, it is shut till something happens.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, other) | (other, Self::Yes) => other,
            (Self::No(Some(one)), Self::No(Some(other))) => Self::No(Some(one.max(other))),
            (Self::No(_), Self::No(_)) => Self::No(None),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) paused_at: Option<Timestamp>,
    pub(crate) max_running: Option<u32>,
    pub(crate) rate: Option<Rate>,
    /// When the rate is even again, in microseconds.
    pub(crate) next_at: i64,
    /// Nothing starts before this moment.
    pub(crate) closed_until: Option<Timestamp>,
    /// When a person has set its limits: what a program declares counts no more.
    pub(crate) edited_at: Option<Timestamp>,
}

impl Rule {
    /// Whether one more task may start beside those that run.
    pub(crate) fn admits(&self, running: u32, now: Timestamp) -> Admits {
        if self.paused_at.is_some() || self.max_running.is_some_and(|max| running >= max) {
            return Admits::No(None);
        }
        let even = self.rate.map_or(Timestamp::MIN, |rate| rate.opens_at(self.next_at, now));
        let opens_at = even.max(closed(self.closed_until, now));
        if opens_at > now { Admits::No(Some(opens_at)) } else { Admits::Yes }
    }

    /// Counts a start; whether the rule has changed.
    pub(crate) fn start(&mut self, now: Timestamp) -> bool {
        let Some(rate) = self.rate else { return false };
        self.next_at = rate.after_start(self.next_at, now);
        true
    }

    /// Whether each task that is held counts, so that none is to be held ahead of a free thread.
    pub(crate) fn is_scarce(&self) -> bool {
        self.max_running.is_some() || self.rate.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rule_shuts_for_whatever_opens_last() {
        let now = Timestamp::clamped(1_000);
        let rate = Some(Rate::per(1, Duration::from_millis(10)));
        let mut rule = Rule { rate, max_running: Some(2), ..Rule::default() };
        assert_eq!(rule.admits(1, now), Admits::Yes);
        assert_eq!(rule.admits(2, now), Admits::No(None));
        assert!(rule.start(now));
        assert_eq!(rule.admits(0, now), Admits::No(Some(Timestamp::clamped(1_010))));
        rule.closed_until = Some(Timestamp::clamped(1_500));
        assert_eq!(rule.admits(0, now), Admits::No(Some(Timestamp::clamped(1_500))));
        rule.paused_at = Some(now);
        assert_eq!(rule.admits(0, Timestamp::clamped(2_000)), Admits::No(None));
    }

    #[test]
    fn two_rules_admit_what_both_admit() {
        let at = |ms| Admits::No(Some(Timestamp::clamped(ms)));
        assert_eq!(Admits::Yes.and(Admits::Yes), Admits::Yes);
        assert_eq!(Admits::Yes.and(at(5)), at(5));
        assert_eq!(at(5).and(at(7)), at(7));
        assert_eq!(at(5).and(Admits::No(None)), Admits::No(None));
    }
}
