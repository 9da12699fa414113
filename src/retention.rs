//! Finish: how long tasks are kept after their end, and the walk that finds those to be removed.
//!
//! Plain words: nothing here removes anything. A [`Walk`] goes over what has ended, newest first, so
//! that one pass serves ages and counts alike; the engine gives it rows and takes away what it names.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::options::{check_name, stored_keep_for};
use crate::range::AGE;
use crate::state::State;
use crate::table::{plain, span, table};
use crate::time::{Timestamp, span_text};

const SIDE_BY_SIDE: &str = "queues stand side by side";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long, and how many, tasks of one outcome are kept. What is not set is no limit.
///
/// As JSON or TOML `{"age": "7d", "count": 1000}`; an age is a whole number and one of `ms`, `s`, `m`,
/// `h`, `d`.
///
/// ```
/// use litework::Keep;
/// use std::time::Duration;
///
/// let keep: Keep = serde_json::from_str(r#"{"age": "12h", "count": 100}"#)?;
/// assert_eq!(keep, Keep::age(Duration::from_secs(12 * 60 * 60)).count(100));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Keep {
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    age: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl Keep {
    /// For ever, however many.
    pub const fn forever() -> Self {
        Self { age: None, count: None }
    }

    /// For so long after the end: 0, which keeps none, to 100 years (`out_of_range`).
    pub const fn age(span: Duration) -> Self {
        Self { age: Some(span), count: None }
    }

    /// At most so many, the newest: 0, which keeps none, or more.
    #[must_use]
    pub const fn count(mut self, newest: u64) -> Self {
        self.count = Some(newest);
        self
    }

    fn is_forever(self) -> bool {
        self == Self::forever()
    }
}

table! { Keep { age as span, count as plain, } }

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_text<S: Serializer>(age: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&span_text(age.unwrap_or_default()))
}

/// How long tasks are kept after their end, by outcome and by queue.
///
/// By default 7 days for what succeeded, was cancelled or was skipped, and 30 days for what failed. A
/// task with a `keep_for` of its own ([`Options::keep_for`](crate::Options::keep_for)), from its
/// definition or its call, is kept for just that long instead, and is not counted.
///
/// A count holds for all queues together, but for those that have one of their own. Whatever the rules
/// say, these stay: a task that has not ended; the newest of all, so that no id is used twice; one
/// that a task which has not ended waits for; one whose batch has not ended; and one that keeps its unique
/// key for a time that is not over.
///
/// ```
/// use litework::{Keep, Retention};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(60 * 60);
/// let retention = Retention::default()
///     .succeeded(Keep::age(hour).count(10_000))
///     .queue("invoices", Retention::forever());
/// let read: Retention = serde_json::from_str(
///     r#"{
///         "succeeded": {"age": "1h", "count": 10000},
///         "queues": {"invoices": {"succeeded": {}, "failed": {}, "cancelled": {}, "skipped": {}}}
///     }"#,
/// )?;
/// assert_eq!(read, retention);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Retention {
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<Keep>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    queues: BTreeMap<String, Retention>,
}

table! {
    Retention {
        succeeded as plain, failed as plain, cancelled as plain, skipped as plain, queues as plain,
    }
}

impl Retention {
    /// Everything for ever.
    pub fn forever() -> Self {
        Self::all(Keep::forever())
    }

    /// The same for every outcome.
    pub fn all(keep: Keep) -> Self {
        let each = Some(keep);
        let (succeeded, failed, cancelled, skipped) = (each, each, each, each);
        Self { succeeded, failed, cancelled, skipped, queues: BTreeMap::new() }
    }

    /// What ended with a return value. Default: 7 days.
    #[must_use]
    pub fn succeeded(mut self, keep: Keep) -> Self {
        self.succeeded = Some(keep);
        self
    }

    /// What ended with an error. Default: 30 days.
    #[must_use]
    pub fn failed(mut self, keep: Keep) -> Self {
        self.failed = Some(keep);
        self
    }

    /// What was cancelled. Default: 7 days.
    #[must_use]
    pub fn cancelled(mut self, keep: Keep) -> Self {
        self.cancelled = Some(keep);
        self
    }

    /// What was skipped. Default: 7 days.
    #[must_use]
    pub fn skipped(mut self, keep: Keep) -> Self {
        self.skipped = Some(keep);
        self
    }

    /// What differs in this queue; an outcome that is not set there is kept as in all others.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>, differs: Self) -> Self {
        self.queues.insert(name.into(), differs);
        self
    }

    fn own(&self, outcome: State) -> Option<Keep> {
        match outcome {
            State::Succeeded => self.succeeded,
            State::Cancelled => self.cancelled,
            State::Skipped => self.skipped,
            _ => self.failed,
        }
    }

    /// What holds for this outcome in this queue, and whether the queue says so itself.
    fn keep(&self, queue: &str, outcome: State) -> (Keep, bool) {
        let queues = if self.queues.is_empty() { None } else { self.queues.get(queue) };
        if let Some(own) = queues.and_then(|differs| differs.own(outcome)) {
            return (own, true);
        }
        let days = if outcome == State::Failed { 30 } else { 7 };
        (self.own(outcome).unwrap_or(Keep::age(DAY * days)), false)
    }

    /// Whether nothing is ever removed by it.
    pub(crate) fn is_forever(&self) -> bool {
        let queues = self.queues.keys().map(String::as_str).chain([""]);
        queues.into_iter().all(|queue| {
            let outcomes = State::ALL.iter().filter(|state| state.is_final());
            outcomes.into_iter().all(|outcome| self.keep(queue, *outcome).0.is_forever())
        })
    }

    /// Refuses an age out of its range, a queue that can have no such name, and queues in queues.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_ages("out_of_range", |outcome| format!("age of what {outcome}"))?;
        for (queue, differs) in &self.queues {
            check_name("bad_queue", "queue name", queue)?;
            differs.check_ages("out_of_range", |outcome| {
                format!("age of what {outcome} in queue {queue}")
            })?;
            if let Some(inner) = differs.queues.keys().next() {
                let place = format!("queue within the retention of queue {queue}");
                return Err(Error::invalid("out_of_range", place, inner, SIDE_BY_SIDE));
            }
        }
        Ok(())
    }

    /// The same of settings, whose key has this path.
    pub(crate) fn check_settings(&self, path: &str) -> Result<(), Error> {
        self.check_ages("bad_config", |outcome| format!("{path}.{outcome}.age"))?;
        for (queue, differs) in &self.queues {
            check_name("bad_config", &format!("queue name in {path}.queues"), queue)?;
            let path = format!("{path}.queues.{queue}");
            if let Some(inner) = differs.queues.keys().next() {
                let place = format!("{path}.queues");
                return Err(Error::invalid("bad_config", place, inner, SIDE_BY_SIDE));
            }
            differs.check_settings(&path)?;
        }
        Ok(())
    }

    fn check_ages(&self, code: &'static str, place: impl Fn(State) -> String) -> Result<(), Error> {
        let mut outcomes = State::ALL.iter().filter(|state| state.is_final());
        outcomes.try_for_each(|outcome| {
            let age = self.own(*outcome).and_then(|keep| keep.age);
            age.map_or(Ok(()), |age| AGE.check(code, || place(*outcome), &age))
        })
    }
}

/// What [`Client::prune`](crate::Client::prune) is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "nothing is removed until it is given to `Client::prune`"]
pub struct Prune {
    pub(crate) retention: Option<Retention>,
    pub(crate) queues: Vec<String>,
    pub(crate) dry_run: bool,
    pub(crate) confirmed: bool,
}

impl Prune {
    /// By the client's own [`Builder::retention`](crate::Builder::retention).
    pub fn new() -> Self {
        Self::default()
    }

    /// By these rules instead.
    pub fn by(retention: Retention) -> Self {
        Self { retention: Some(retention), ..Self::default() }
    }

    /// Only in this queue, or one of those given. Counts still count all.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queues.push(name.into());
        self
    }

    /// Only counts what would be removed.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// The machine's time is right, although the clock has jumped.
    pub fn confirmed(mut self) -> Self {
        self.confirmed = true;
        self
    }

    /// What is noted of it in the audit: by which rules, where they are not the client's own, and of which queues.
    pub(crate) fn what(&self) -> Value {
        let mut what = Map::new();
        // Ages and counts always encode.
        let by = self.retention.as_ref().and_then(|by| serde_json::to_value(by).ok());
        what.extend(by.map(|by| ("retention".to_owned(), by)));
        if !self.queues.is_empty() {
            what.insert("queues".to_owned(), self.queues.clone().into());
        }
        Value::Object(what)
    }
}

impl From<Retention> for Prune {
    fn from(retention: Retention) -> Self {
        Self::by(retention)
    }
}

impl From<&Retention> for Prune {
    fn from(retention: &Retention) -> Self {
        Self::by(retention.clone())
    }
}

/// How many tasks were removed, or in a dry run would have been.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// By queue and outcome; only what is not zero.
    pub tasks: BTreeMap<(String, State), u64>,
    /// Whether they were only counted.
    pub dry_run: bool,
}

impl Pruned {
    /// All together.
    pub fn total(&self) -> u64 {
        self.tasks.values().sum()
    }

    /// Those with this outcome, in all queues.
    pub fn of(&self, outcome: State) -> u64 {
        self.tasks.iter().filter(|((_, state), _)| *state == outcome).map(|(_, tasks)| tasks).sum()
    }

    /// Those of this queue, whatever their outcome.
    pub fn in_queue(&self, queue: &str) -> u64 {
        self.tasks.iter().filter(|((name, _), _)| name == queue).map(|(_, tasks)| tasks).sum()
    }
}

/// A task that has ended, as an engine shows it to a [`Walk`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) row: i64,
    pub(crate) queue: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) state: State,
    pub(crate) finished_at: Timestamp,
    /// The options of its call, as they are stored.
    pub(crate) options: Option<&'a str>,
}

/// A task that may go, unless others still need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Old {
    pub(crate) row: i64,
    pub(crate) queue: Arc<str>,
    pub(crate) state: State,
    /// It has ended anew if this is another.
    pub(crate) finished_at: Timestamp,
}

/// How far a [`Walk`] has come. An engine that has nothing to do in a step goes on to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// All rows after this one are looked at for damage.
    Inspect {
        after: i64,
    },
    /// Those that ended before this moment, in milliseconds, and row; newest first.
    Tasks {
        before: (i64, i64),
    },
    /// Rate keys that nothing goes by any more.
    Rules,
    /// Artifacts that have expired, or whose tasks are gone.
    Artifacts,
    /// Space is given back to the disk.
    Space,
    Done,
}

impl Step {
    /// Where a pass begins that does not look for damage.
    pub(crate) const FIRST: Self = Self::Tasks { before: (i64::MAX, i64::MAX) };
}

/// One pass over all that has ended, a slice at a time.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) now: Timestamp,
    retention: Arc<Retention>,
    /// What the definitions of kinds say, by name and alias.
    kinds: Arc<HashMap<String, Duration>>,
    queues: Vec<String>,
    pub(crate) step: Step,
    /// Found and not removed yet.
    pub(crate) old: VecDeque<Old>,
    /// Whether free pages go back to the disk.
    pub(crate) gives_space: bool,
    /// Whether others have written of late, so that slices are to be short.
    pub(crate) busy: bool,
    /// How many transactions there had been at the last slice, and when others were last seen to write.
    pub(crate) others: Option<(u64, Instant)>,
    /// How many were seen, by the scope of a count and by outcome.
    seen: HashMap<String, HashMap<State, u64>>,
    names: HashMap<String, Arc<str>>,
    next: Option<Timestamp>,
    pub(crate) pruned: Pruned,
}

impl Walk {
    pub(crate) fn new(
        now: Timestamp,
        prune: Prune,
        own: &Arc<Retention>,
        kinds: &Arc<HashMap<String, Duration>>,
    ) -> Self {
        Self {
            now,
            retention: prune.retention.map_or_else(|| Arc::clone(own), Arc::new),
            kinds: Arc::clone(kinds),
            queues: prune.queues,
            step: Step::FIRST,
            old: VecDeque::new(),
            gives_space: false,
            busy: false,
            others: None,
            seen: HashMap::new(),
            names: HashMap::new(),
            next: None,
            pruned: Pruned { dry_run: prune.dry_run, ..Pruned::default() },
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    pub(crate) fn is_dry(&self) -> bool {
        self.pruned.dry_run
    }

    /// When the next of those that were kept is old enough, if the passing of time makes it so.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Shows the next of those that have ended, newest first.
    pub(crate) fn see(&mut self, task: Ended<'_>) {
        if !self.is_old(&task) || !self.is_wanted(task.queue) {
            return;
        }
        let queue = if let Some(known) = self.names.get(task.queue) {
            Arc::clone(known)
        } else {
            let name: Arc<str> = task.queue.into();
            self.names.insert(task.queue.to_owned(), Arc::clone(&name));
            name
        };
        let Ended { row, state, finished_at, .. } = task;
        self.old.push_back(Old { row, queue, state, finished_at });
    }

    /// Counts one that was removed, or would have been.
    pub(crate) fn count(&mut self, old: &Old) {
        *self.pruned.tasks.entry((old.queue.to_string(), old.state)).or_default() += 1;
    }

    fn is_wanted(&self, queue: &str) -> bool {
        self.queues.is_empty() || self.queues.iter().any(|wanted| wanted == queue)
    }

    fn is_old(&mut self, task: &Ended<'_>) -> bool {
        let own = task.options.and_then(stored_keep_for);
        if let Some(span) = own.or_else(|| self.kinds.get(task.kind).copied()) {
            return self.is_past(task.finished_at, span);
        }
        let (keep, by_queue) = self.retention.keep(task.queue, task.state);
        let surplus = keep.count.is_some_and(|newest| {
            let scope = if by_queue { task.queue } else { "" };
            self.count_seen(scope, task.state) > newest
        });
        surplus || keep.age.is_some_and(|age| self.is_past(task.finished_at, age))
    }

    fn count_seen(&mut self, scope: &str, state: State) -> u64 {
        if !self.seen.contains_key(scope) {
            self.seen.insert(scope.to_owned(), HashMap::new());
        }
        let seen = self.seen.get_mut(scope).map(|seen| seen.entry(state).or_default());
        seen.map_or(0, |seen| {
            *seen += 1;
            *seen
        })
    }

    fn is_past(&mut self, finished_at: Timestamp, span: Duration) -> bool {
        let until = finished_at.after(span);
        if until <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
        false
    }
}
