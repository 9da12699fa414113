//! Words: what is counted of tasks, by queue and kind: how many came, began and ended, and how long that took.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::time::Timestamp;

/// The classes of a [`Histogram`]: what took at most so long, ascending. What took longer is in one more.
pub const HISTOGRAM_BOUNDS: [Duration; 16] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
    Duration::from_secs(7_200),
];

/// Buckets of one [`Series`] at most.
pub const SERIES_MAX: usize = 10_000;

/// What is counted is kept by minutes …
pub(crate) const MINUTE_MS: i64 = 60_000;
/// … which become hours when they are so old …
pub(crate) const MINUTES_KEPT_MS: i64 = 24 * HOUR_MS;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
/// … and those are kept for so long.
pub(crate) const HOURS_KEPT_MS: i64 = 30 * 24 * HOUR_MS;

/// Spans of time, sorted into classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histogram {
    /// How many there are in each class: first those of [`HISTOGRAM_BOUNDS`], in their order, then what took
    /// longer than all of them.
    pub classes: [u64; HISTOGRAM_BOUNDS.len() + 1],
    /// All spans together, to the microsecond.
    pub sum: Duration,
}

impl Histogram {
    /// How many spans there are.
    ///
    /// ```
    /// assert_eq!(litework::Histogram::default().count(), 0);
    /// ```
    pub fn count(&self) -> u64 {
        self.classes.iter().fold(0, |sum, class| sum.saturating_add(*class))
    }

    /// The mean; none where there is no span.
    ///
    /// ```
    /// assert_eq!(litework::Histogram::default().mean(), None);
    /// ```
    pub fn mean(&self) -> Option<Duration> {
        let micros = self.sum.as_micros().checked_div(u128::from(self.count()))?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// The span that this share of all (0 to 1) does not exceed, estimated within its class; none where there
    /// is no span. What took longer than the last bound counts as that.
    ///
    /// ```
    /// assert_eq!(litework::Histogram::default().quantile(0.95), None);
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "an estimate, and counts are far below 2^52")]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = share.clamp(0.0, 1.0) * count as f64;
        let (mut before, mut least) = (0.0, Duration::ZERO);
        for (class, most) in self.classes.iter().zip(HISTOGRAM_BOUNDS) {
            let here = *class as f64;
            if here > 0.0 && before + here >= wanted {
                let part = ((wanted - before) / here).clamp(0.0, 1.0);
                return Some(least + most.saturating_sub(least).mul_f64(part));
            }
            before += here;
            least = most;
        }
        Some(least)
    }

    pub(crate) fn note(&mut self, span: Duration) {
        let class = HISTOGRAM_BOUNDS.partition_point(|bound| *bound < span);
        self.classes[class] += 1;
        self.sum = self.sum.saturating_add(Duration::from_micros(micros(span)));
    }

    fn add(&mut self, more: &Self) {
        for (class, more) in self.classes.iter_mut().zip(more.classes) {
            *class = class.saturating_add(more);
        }
        self.sum = self.sum.saturating_add(more.sum);
    }

    fn value(&self) -> Value {
        let last = self.classes.iter().rposition(|class| *class > 0).map_or(0, |at| at + 1);
        serde_json::json!({ "classes": self.classes[..last], "sum_us": micros(self.sum) })
    }

    /// What is no number counts for nothing.
    fn of_value(value: &Value) -> Self {
        let mut histogram = Self::default();
        let kept = value.get("classes").and_then(Value::as_array).into_iter().flatten();
        for (class, kept) in histogram.classes.iter_mut().zip(kept) {
            *class = kept.as_u64().unwrap_or_default();
        }
        let sum = value.get("sum_us").and_then(Value::as_u64).unwrap_or_default();
        histogram.sum = Duration::from_micros(sum);
        histogram
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// What has happened to tasks. Numbers of a process that was killed lack at most its last 10 s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Tasks that were stored, by calls and by whatever else makes tasks.
    pub enqueued: u64,
    /// Attempts whose body has begun.
    pub started: u64,
    /// Tasks that have ended so; one that was run again may end again.
    pub succeeded: u64,
    /// Likewise.
    pub failed: u64,
    /// Likewise.
    pub cancelled: u64,
    /// Likewise.
    pub skipped: u64,
    /// Attempts that ended without an error: a success, or a wish to run later.
    pub ok: u64,
    /// Attempts that ended with an error other than those below.
    pub errors: u64,
    /// Attempts that took longer than they may.
    pub timeouts: u64,
    /// Attempts whose body panicked.
    pub panics: u64,
    /// Attempts that somebody or something cut short: a cancel, a shutdown, the death of the process.
    pub interrupted: u64,
    /// How long bodies ran.
    pub run: Histogram,
    /// How long tasks were ready before their bodies began, so that one that is scheduled for tomorrow has
    /// waited for none. Those that others kept waiting (tasks before them, a lock, a limit) are left out.
    pub wait: Histogram,
}

/// A number of [`Counts`], and its name in the file.
type Field = (&'static str, fn(&mut Counts) -> &mut u64);

const FIELDS: [Field; 11] = [
    ("enqueued", |counts| &mut counts.enqueued),
    ("started", |counts| &mut counts.started),
    ("succeeded", |counts| &mut counts.succeeded),
    ("failed", |counts| &mut counts.failed),
    ("cancelled", |counts| &mut counts.cancelled),
    ("skipped", |counts| &mut counts.skipped),
    ("ok", |counts| &mut counts.ok),
    ("errors", |counts| &mut counts.errors),
    ("timeouts", |counts| &mut counts.timeouts),
    ("panics", |counts| &mut counts.panics),
    ("interrupted", |counts| &mut counts.interrupted),
];

impl Counts {
    /// Tasks that have ended, in whatever way.
    ///
    /// ```
    /// assert_eq!(litework::Counts::default().finished(), 0);
    /// ```
    pub fn finished(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled + self.skipped
    }

    /// Adds others to these, as to sum up queues.
    ///
    /// ```
    /// let mut sum = litework::Counts::default();
    /// sum.add(&litework::Counts::default());
    /// assert_eq!(sum, litework::Counts::default());
    /// ```
    pub fn add(&mut self, more: &Self) {
        let mut more = more.clone();
        for (_, field) in FIELDS {
            let number = field(self);
            *number = number.saturating_add(*field(&mut more));
        }
        self.run.add(&more.run);
        self.wait.add(&more.wait);
    }

    /// As it stands in a file: a JSON object without what is none.
    pub(crate) fn text(&self) -> String {
        let mut counts = self.clone();
        let mut kept = Map::new();
        for (name, field) in FIELDS {
            let number = *field(&mut counts);
            if number > 0 {
                kept.insert(name.to_owned(), number.into());
            }
        }
        for (name, histogram) in [("run", &self.run), ("wait", &self.wait)] {
            if *histogram != Histogram::default() {
                kept.insert(name.to_owned(), histogram.value());
            }
        }
        Value::Object(kept).to_string()
    }

    /// What another hand has damaged counts for nothing.
    pub(crate) fn of_text(text: &str) -> Self {
        let kept: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let mut counts = Self::default();
        for (name, field) in FIELDS {
            *field(&mut counts) = kept.get(name).and_then(Value::as_u64).unwrap_or_default();
        }
        counts.run = kept.get("run").map(Histogram::of_value).unwrap_or_default();
        counts.wait = kept.get("wait").map(Histogram::of_value).unwrap_or_default();
        counts
    }
}

/// All that was ever counted of a queue and a kind in this file; it never goes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneCounts {
    /// The queue.
    pub queue: String,
    /// The name of the task.
    pub kind: String,
    /// The numbers.
    pub counts: Counts,
}

/// What was counted in one step of a [`Series`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// When it begins.
    pub at: Timestamp,
    /// The numbers.
    pub counts: Counts,
}

/// Of which time, in which steps and of which tasks numbers are asked for; see
/// [`Client::counters`](crate::Client::counters).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Series {
    /// From when on.
    pub since: Timestamp,
    /// Until before this moment.
    pub until: Timestamp,
    /// How long one bucket is: whole minutes, 1 minute to 30 days.
    pub step: Duration,
    /// Queues; empty: all.
    pub queues: Vec<String>,
    /// Names of tasks; empty: all.
    pub kinds: Vec<String>,
}

impl Series {
    /// From one moment until before another, minute by minute.
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        let step = Duration::from_secs(60);
        Self { since, until, step, queues: Vec::new(), kinds: Vec::new() }
    }

    /// How long one bucket is. Default: 1 minute.
    #[must_use]
    pub fn step(mut self, step: Duration) -> Self {
        self.step = step;
        self
    }

    /// Only this queue, or one of those given.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Only this kind, or one of those given.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Its buckets, empty. The first begins at a multiple of the step, at or before `since`.
    pub(crate) fn buckets(&self) -> Result<Vec<Bucket>, Error> {
        let step = i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX);
        let whole = Duration::from_millis(step.unsigned_abs()) == self.step;
        if !whole || step % MINUTE_MS != 0 || !(MINUTE_MS..=HOURS_KEPT_MS).contains(&step) {
            let allowed = "whole minutes, 1 minute to 30 days";
            return Err(Error::invalid("out_of_range", "step of a series", self.step, allowed));
        }
        let first = self.since.as_millis() / step * step;
        let span = self.until.as_millis().saturating_sub(first).max(0);
        let count = usize::try_from((span + step - 1) / step).unwrap_or(usize::MAX);
        if count > SERIES_MAX {
            let allowed = "at most 10000; ask for a shorter time, or in longer steps";
            return Err(Error::invalid("out_of_range", "buckets of a series", count, allowed));
        }
        let begins = (0..).map(|number: i64| Timestamp::clamped(first + number * step));
        Ok(begins.take(count).map(|at| Bucket { at, ..Bucket::default() }).collect())
    }

    pub(crate) fn wants(&self, queue: &str, kind: &str) -> bool {
        let has = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted == name)
        };
        has(&self.queues, queue) && has(&self.kinds, kind)
    }
}

/// The number of a queue and a kind in what this process counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneNumber(pub(crate) u32);

/// A body that has run: where that is counted, and for how long it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) lane: LaneNumber,
    pub(crate) took: Duration,
}

/// The beginning of the minute, or of the hour, in which a moment lies.
pub(crate) fn begin_of(span_ms: i64, at: Timestamp) -> i64 {
    at.as_millis().div_euclid(span_ms) * span_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Counts {
        let mut counts = Counts { enqueued: 3, started: 2, panics: 1, ..Counts::default() };
        for ms in [1, 5, 6, 700, 9_000_000] {
            counts.run.note(Duration::from_millis(ms));
        }
        counts
    }

    #[test]
    fn a_span_is_in_the_first_class_that_admits_it() {
        let run = counted().run;
        assert_eq!((run.classes[0], run.classes[1], run.classes[7], run.classes[16]), (2, 1, 1, 1));
        assert_eq!((run.count(), run.sum), (5, Duration::from_millis(9_000_712)));
        assert_eq!(run.mean(), Some(Duration::from_micros(1_800_142_400)));
    }

    #[test]
    fn a_share_is_estimated_within_its_class() {
        let mut run = Histogram::default();
        (0..10).for_each(|_| run.note(Duration::from_millis(7)));
        assert_eq!(run.quantile(0.0), Some(Duration::from_millis(5)));
        assert_eq!(run.quantile(0.5), Some(Duration::from_micros(7_500)));
        assert_eq!(run.quantile(1.0), Some(Duration::from_millis(10)));
        run.note(Duration::from_secs(1_000_000));
        assert_eq!(run.quantile(1.0), Some(Duration::from_secs(7_200)));
    }

    #[test]
    fn what_is_kept_as_text_is_what_was_counted() {
        for counts in [Counts::default(), counted()] {
            assert_eq!(Counts::of_text(&counts.text()), counts);
        }
        assert_eq!(Counts::default().text(), "{}");
        let damaged = r#"{"enqueued":"x","started":7,"run":{"classes":[1,null,2],"sum_us":-1}}"#;
        let read = Counts::of_text(damaged);
        assert_eq!((read.enqueued, read.started, read.run.count()), (0, 7, 3));
        assert_eq!(Counts::of_text("\u{0}"), Counts::default());
    }

    #[test]
    fn sums_are_sums_of_all() {
        let mut sum = counted();
        sum.add(&counted());
        assert_eq!((sum.enqueued, sum.started, sum.panics), (6, 4, 2));
        assert_eq!((sum.run.count(), sum.run.sum), (10, counted().run.sum * 2));
    }

    #[test]
    fn buckets_begin_at_multiples_of_their_step() {
        let at = |ms| Timestamp::clamped(ms);
        let series = Series::new(at(90_000), at(240_001));
        let begins = |series: &Series| -> Vec<i64> {
            series.buckets().expect("few").iter().map(|bucket| bucket.at.as_millis()).collect()
        };
        assert_eq!(begins(&series), [60_000, 120_000, 180_000, 240_000]);
        assert_eq!(begins(&series.clone().step(Duration::from_secs(120))), [0, 120_000, 240_000]);
        assert!(begins(&Series::new(at(7), at(7))).len() <= 1);
        assert!(begins(&Series::new(at(90_000), at(5))).is_empty());
    }

    #[test]
    fn a_step_that_is_no_minute_and_too_many_buckets_are_refused() {
        let series = Series::new(Timestamp::MIN, Timestamp::clamped(i64::MAX));
        for step in [Duration::ZERO, Duration::from_secs(90), Duration::MAX] {
            let error = series.clone().step(step).buckets().expect_err("no minutes");
            assert!(error.to_string().contains("1 minute to 30 days"), "{error}");
        }
        let error = series.buckets().expect_err("too many");
        assert!(error.to_string().contains("at most 10000"), "{error}");
    }
}
