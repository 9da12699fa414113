//! Define: schedules: a call, when it is made, and what becomes of what was missed.
//!
//! What code says of a schedule and what a person has changed of it are kept apart, each as a JSON object of
//! [`Terms`]: what a person says goes before what code says, key by key, so that the difference can be shown
//! and taken back.

mod edit;
mod edits;
mod entry;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::edit::ScheduleEdit;
pub use self::edits::Edited;
#[cfg(feature = "sqlite")]
pub(crate) use self::entry::Standing;
pub(crate) use self::entry::{Entry, OpenSlot, SLOTS_KEPT};
pub use self::entry::{Origin, ScheduleRecord, ScheduleState, SlotRecord};
use crate::error::Error;
use crate::json::{self, JsonLimits};
use crate::options::Options;
use crate::range::{Range, SPAN};
use crate::state::State;
use crate::task::{CallOptions, Due, IntoCall};
use crate::ties::check_task_name;
use crate::time::{AsMoment, Timestamp};
use crate::timing::{Bounds, Slots, Timing};
use crate::untyped::AnyCall;

/// How late a run may be and still count as on time, where a schedule says nothing of it.
pub(crate) const GRACE_DEFAULT: Duration = Duration::from_secs(60);
/// Late runs of one catch-up at most.
const CATCH_UP: Range<u32> = Range { least: 1, most: 1_000, text: "1 to 1000" };
/// A day: more would rather be another time of day.
const JITTER: Range<Duration> =
    Range { least: Duration::ZERO, most: Duration::from_secs(86_400), text: "0 to 1 day" };
/// How often something may be counted that stops a schedule.
const COUNT: Range<u64> = Range { least: 1, most: 1_000_000_000, text: "1 to 1000000000" };
/// Bytes of a description at most.
const DESCRIPTION_BYTES_MAX: usize = 4_096;
/// Schedules of a program at most.
pub(crate) const SEEDS_MAX: usize = 10_000;

/// What becomes of slots for which nobody was there: the program was not running, the computer was asleep,
/// the queue was paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Missed {
    /// They are only counted.
    Skip,
    /// The last of them runs, late; the others are counted.
    #[default]
    Last,
    /// They run, late, the oldest first. Unless they may run beside each other ([`Overlap::Allow`]), each waits
    /// for the one before, and the first of them for a task that has not ended, as after a crash: it is not
    /// skipped, and that task is only cancelled where [`Overlap::CancelRunning`] says so.
    #[non_exhaustive]
    All {
        /// The newest so many, 1 to 1,000.
        most: u32,
        /// Those that are no older, 1 ms to 100 years.
        #[serde(rename = "within_ms", with = "crate::retry::millis")]
        within: Duration,
    },
}

impl Missed {
    /// The newest `most` of them, 1 to 1,000, that are not older than `within`, 1 ms to 100 years
    /// (`out_of_range`).
    pub fn all(most: u32, within: Duration) -> Self {
        Self::All { most, within }
    }

    fn check(&self) -> Result<(), Error> {
        let Self::All { most, within } = self else { return Ok(()) };
        CATCH_UP.check("out_of_range", || "`most` of `Missed::all`".to_owned(), most)?;
        SPAN.check("out_of_range", || "`within` of `Missed::all`".to_owned(), within)
    }
}

/// What becomes of a slot while a task of an earlier one has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// Its task runs beside that one.
    Allow,
    /// Its task is skipped: it ends as `skipped` with the reason `overlap`. Not so late ones of [`Missed::All`].
    #[default]
    Skip,
    /// Its task waits for the end of that one, as long as no other does; the next are skipped. One that has
    /// begun, and waits for its next attempt, is waited for; one that has yet to begin is the one that waits.
    BufferOne,
    /// That one is cancelled, with the reason `overlap` if it has not started, and the new task starts when it
    /// has ended.
    CancelRunning,
}

/// A call that is made by itself, at moments that follow from a rule.
///
/// Given to [`Builder::schedule`](crate::Builder::schedule), it is stored when the file does not have it
/// yet. What people change there goes before what code says. Or it is stored while the program runs:
/// [`Schedules::add`](crate::Schedules::add).
///
/// Each slot makes at most one task, however many processes have the file open and whenever they die: the
/// task is stored in the transaction that notes the slot. The call brings arguments, queue, priority,
/// attempts, expiry, unique key and lock along. Its body reads which slot it is
/// ([`Context::slot`](crate::Context::slot)).
///
/// [`guide::schedules`](crate::guide::schedules) explains all of it.
///
/// Whoever has a pool on the file, or calls [`Client::run_pending`](crate::Client::run_pending), makes the
/// tasks of the kinds that he knows.
///
/// ```
/// # use litework::{Client, Mode, Overlap, Schedule, task};
/// # use std::time::Duration;
/// #[task]
/// fn tidy(folder: &str) {}
///
/// let hourly = Schedule::every("tidy", Duration::from_secs(3_600), tidy::with("/tmp"))
///     .describe("Removes what nobody needs")
///     .overlap(Overlap::BufferOne);
/// let tasks = Client::in_memory().mode(Mode::Hold).register(tidy).schedule(hourly).open()?;
/// let known = tasks.schedules().get("tidy")?;
/// assert_eq!(known.timing.map(|timing| timing.to_string()).as_deref(), Some("Every 1h"));
/// assert!(known.next_at.is_some());
/// # Ok::<(), litework::Error>(())
/// ```
#[must_use = "give it to `schedule`, or to `add`"]
pub struct Schedule {
    pub(crate) name: String,
    pub(crate) former: Vec<String>,
    terms: Terms,
    zone: Option<String>,
    call: AnyCall,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("name", &self.name)
            .field("call", &self.call)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Schedule {
    fn new<C: IntoCall>(name: impl Into<String>, timing: Timing, call: C) -> Self {
        let terms = Terms { timing: Some(timing), ..Terms::default() };
        let (name, call) = (name.into(), call.into_call().into());
        Self { name, former: Vec::new(), terms, zone: None, call }
    }

    /// Whenever the local time matches the expression, in UTC unless a [`zone`](Self::zone) is named; see
    /// [`Cron`](crate::Cron) for what it may hold (`bad_cron`, `unsupported`, `too_long`, `never_fires`).
    #[cfg(feature = "cron")]
    pub fn cron<C: IntoCall>(
        name: impl Into<String>,
        expression: impl Into<String>,
        call: C,
    ) -> Self {
        let timing = Timing::Cron { expression: expression.into(), zone: "UTC".to_owned() };
        Self::new(name, timing, call)
    }

    /// Each time so much time has passed, 5 s to 100 years (`too_frequent`, `out_of_range`), counted from
    /// [`starting`](Self::starting) or, without that, from when the schedule was stored: the first slot is an
    /// interval later. It does not drift, and keeps its pace whatever clocks do to local time.
    pub fn every<C: IntoCall>(name: impl Into<String>, interval: Duration, call: C) -> Self {
        Self::new(name, Timing::Every { interval }, call)
    }

    /// At once, and then so long after each run has ended, 5 s to 100 years (`too_frequent`), however it has
    /// ended; see [`pause_after_error`](Self::pause_after_error).
    pub fn after_finish<C: IntoCall>(name: impl Into<String>, pause: Duration, call: C) -> Self {
        Self::new(name, Timing::AfterFinish { pause, pause_after_error: pause }, call)
    }

    /// At this moment, from 1970 to 9999 (`time_out_of_range`), and never again. One that had passed when the
    /// schedule was stored does not fire, unless it is within [`grace`](Self::grace).
    ///
    /// ```
    /// # use litework::{Client, Clock, Mode, Schedule, SystemClock, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn remind(who: &str) {}
    ///
    /// let tomorrow = SystemClock.now().after(Duration::from_secs(86_400));
    /// let reminder = Schedule::once("remind Ada", tomorrow, remind::with("Ada"));
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(remind).schedule(reminder).open()?;
    /// assert_eq!(tasks.schedules().get("remind Ada")?.next_at, Some(tomorrow));
    /// # Ok::<(), litework::Error>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn once<C: IntoCall>(name: impl Into<String>, at: impl AsMoment, call: C) -> Self {
        // What is out of range is told when the schedule is stored.
        let ms = at.as_unix_millis();
        let moment = Timestamp::from_millis(ms);
        let mut schedule = Self::new(name, Timing::Once { at: moment.unwrap_or_default() }, call);
        schedule.terms.bad_moment = moment.is_none().then_some(ms);
        schedule
    }

    fn terms(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }

    /// The IANA zone whose local time an expression means, as `Europe/Berlin` (`unknown_zone`). For
    /// [`cron`](Self::cron) only (`bad_schedule`). Default: UTC. There is no word for the computer's own zone, which
    /// is another on another computer; the crate `iana-time-zone` tells its name.
    #[cfg(feature = "cron")]
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(name.into());
        self
    }

    /// The pause after a run that did not succeed, 5 s to 100 years (`too_frequent`). For
    /// [`after_finish`](Self::after_finish) only (`bad_schedule`). Default: the same as after a success.
    pub fn pause_after_error(self, pause: Duration) -> Self {
        self.terms(|terms| terms.pause_after_error = Some(pause))
    }

    /// One paragraph for people, at most 4,096 bytes (`bad_schedule`).
    pub fn describe(self, text: impl Into<String>) -> Self {
        self.terms(|terms| terms.description = Some(text.into()))
    }

    /// A name that it had before in code: what is stored under it is this schedule.
    pub fn formerly(mut self, name: impl Into<String>) -> Self {
        self.former.push(name.into());
        self
    }

    /// Whether it fires. Default: true.
    pub fn enabled(self, enabled: bool) -> Self {
        self.terms(|terms| terms.enabled = Some(enabled))
    }

    /// No slot is before this moment; an interval is counted from it, and it is its first slot. After the end,
    /// or after the only slot there is, it is refused (`bad_schedule`, `never_fires`).
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn starting(self, at: impl AsMoment) -> Self {
        self.terms(|terms| terms.starts_at = terms.moment(at.as_unix_millis()))
    }

    /// No slot is after this moment. Before the first slot it is refused (`never_fires`), unless it has passed.
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn ending(self, at: impl AsMoment) -> Self {
        self.terms(|terms| terms.ends_at = terms.moment(at.as_unix_millis()))
    }

    /// It has ended when it has made so many tasks, 1 to 1,000,000,000 (`out_of_range`), those not counted
    /// that people made it make. Default: any number.
    pub fn times(self, runs: u64) -> Self {
        self.terms(|terms| terms.times = Some(runs))
    }

    /// Each task comes up to so much later than its slot, 0 to 1 day and no longer than from one slot to the
    /// next (`out_of_range`): by how much follows from the slot, so it is the same in every process. Default:
    /// 0.
    pub fn jitter(self, span: Duration) -> Self {
        self.terms(|terms| terms.jitter = Some(span))
    }

    /// How late a task may come and still be on time, 1 ms to 100 years (`out_of_range`). What becomes of an
    /// older slot, [`missed`](Self::missed) says. Default: 1 minute.
    pub fn grace(self, span: Duration) -> Self {
        self.terms(|terms| terms.grace = Some(span))
    }

    /// What becomes of slots that were missed. Default: [`Missed::Last`].
    pub fn missed(self, missed: Missed) -> Self {
        self.terms(|terms| terms.missed = Some(missed))
    }

    /// What becomes of a slot while a task of an earlier one has not ended. Default: [`Overlap::Skip`].
    pub fn overlap(self, overlap: Overlap) -> Self {
        self.terms(|terms| terms.overlap = Some(overlap))
    }

    /// It stops firing when so many tasks in a row have failed for good, 1 to 1,000,000,000 (`out_of_range`),
    /// those not counted that people made it make, until somebody enables it again. Default: it goes on.
    pub fn stop_after_failures(self, failures: u64) -> Self {
        self.terms(|terms| terms.failures_max = Some(failures))
    }

    /// Lets it fire more often than every 5 s, down to every second.
    pub fn frequent(self) -> Self {
        self.terms(|terms| terms.frequent = true)
    }

    /// The kind of its tasks.
    pub(crate) fn kind(&self) -> &'static str {
        self.call.kind
    }

    /// What code says of it, with everything in its range.
    pub(crate) fn into_terms(self, limits: JsonLimits) -> Result<Terms, Error> {
        check_schedule_name("schedule name", &self.name)?;
        let former = "former name of the schedule";
        self.former.iter().try_for_each(|name| check_schedule_name(former, name))?;
        let Self { mut terms, call, zone, .. } = self;
        match (&mut terms.timing, zone) {
            (Some(Timing::Cron { zone, .. }), Some(named)) => *zone = named,
            (_, Some(named)) => {
                let allowed = "`zone` goes with `Schedule::cron` only";
                return Err(Error::invalid("bad_schedule", "zone of the schedule", named, allowed));
            }
            _ => {}
        }
        match (&mut terms.timing, terms.pause_after_error.take()) {
            (Some(Timing::AfterFinish { pause_after_error, .. }), Some(pause)) => {
                *pause_after_error = pause;
            }
            (_, Some(pause)) => {
                let allowed = "`pause_after_error` goes with `Schedule::after_finish` only";
                return Err(Error::invalid("bad_schedule", "pause after an error", pause, allowed));
            }
            _ => {}
        }
        refuse_unfit(&call.with)?;
        let CallOptions { options, owner, tags, meta, links, .. } = call.with;
        let arguments = (call.encode)(limits)?;
        // Those of a type without fields are `null`, and stay so.
        if arguments != "null" {
            let arguments = json::check_object(arguments.as_bytes(), limits)?;
            terms.arguments = Some(serde_json::from_str(arguments).unwrap_or_default());
        }
        terms.options = options;
        terms.owner = owner;
        terms.tags = tags.into_iter().map(Into::into).collect();
        terms.meta = meta;
        terms.task_name = links.and_then(|links| links.name);
        Ok(terms)
    }
}

/// Why a schedule needs a client that runs tasks later.
pub(crate) fn makes_later(name: &str) -> String {
    format!("schedule {name:?} makes tasks later; leave schedules out here")
}

/// A name that people can see and type.
pub(crate) fn check_schedule_name(place: &str, name: &str) -> Result<(), Error> {
    match check_task_name(place, name) {
        Ok(()) if !name.trim().is_empty() => Ok(()),
        _ => {
            let allowed = "1 to 200 bytes without control characters, not only blanks";
            Err(Error::invalid("bad_name", place, name, allowed))
        }
    }
}

/// Refuses what makes no sense for a call that is made again and again.
fn refuse_unfit(with: &CallOptions) -> Result<(), Error> {
    let links = with.links.as_ref();
    let linked = links.is_some_and(|links| {
        !links.after.is_empty() || links.takes.is_some() || links.ignore_failure
    });
    let when = "none: the schedule says when";
    let unfit = [
        (matches!(with.due, Due::After(_)), "run_after", when),
        (matches!(with.due, Due::At(_)), "run_at", when),
        (with.key.is_some(), "key", "none: each slot makes one task; see `unique`"),
        (with.trace.is_some(), "trace", "none: each task is the begin of its own"),
        (linked, "after", "none: a task of a schedule stands by itself"),
    ];
    match unfit.into_iter().find(|(is_set, ..)| *is_set) {
        Some((_, word, allowed)) => {
            Err(Error::invalid("unsupported", "call of a schedule", word, allowed))
        }
        None => Ok(()),
    }
}

/// What is said of a schedule, by code or by people; what is not said is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Terms {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timing: Option<Timing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) starts_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ends_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
    #[serde(
        rename = "jitter_ms",
        with = "crate::retry::millis_opt",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) jitter: Option<Duration>,
    #[serde(
        rename = "grace_ms",
        with = "crate::retry::millis_opt",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) grace: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missed: Option<Missed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overlap: Option<Overlap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failures_max: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) frequent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Options::is_plain")]
    pub(crate) options: Options,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) meta: Map<String, Value>,
    /// On its way from the program: no moment.
    #[serde(skip)]
    pub(crate) bad_moment: Option<i64>,
    /// On its way from the program, until it is part of the timing.
    #[serde(skip)]
    pub(crate) pause_after_error: Option<Duration>,
}

impl Terms {
    fn moment(&mut self, ms: i64) -> Option<Timestamp> {
        let moment = Timestamp::from_millis(ms);
        self.bad_moment = self.bad_moment.or(moment.is_none().then_some(ms));
        moment
    }

    /// As an object, in which what is not said is left out. Text, numbers and spans always encode.
    pub(crate) fn object(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            _ => Map::new(),
        }
    }

    /// The slots that these make; `anchor` is when the schedule was stored.
    pub(crate) fn slots(&self, anchor: Timestamp) -> Result<Slots, Error> {
        let timing = self.timing.as_ref().ok_or_else(|| {
            let allowed = "a cron expression, an interval, a pause or a moment";
            Error::invalid("bad_schedule", "timing of the schedule", "none", allowed)
        })?;
        let bounds = Bounds { starts_at: self.starts_at, ends_at: self.ends_at };
        timing.slots(anchor, bounds, self.frequent)
    }

    /// The same, with everything in its range: where they are said, as it may take a while.
    pub(crate) fn checked(&self, anchor: Timestamp) -> Result<Slots, Error> {
        if let Some(ms) = self.bad_moment {
            Due::At(ms).moment(Timestamp::MIN)?;
        }
        let slots = self.slots(anchor)?;
        slots.check_gap(self.frequent)?;
        slots.check_any(None)?;
        let place = |text: &str| text.to_owned();
        if let Some(text) = self.description.as_ref().filter(|it| it.len() > DESCRIPTION_BYTES_MAX)
        {
            let (bytes, allowed) = (text.len(), "at most 4096 bytes");
            let value = format_args!("{bytes} bytes");
            return Err(Error::invalid("bad_schedule", "description", value, allowed));
        }
        if let Some(jitter) = &self.jitter {
            JITTER.check("out_of_range", || place("jitter"), jitter)?;
            if let Some(gap) = slots.gap().filter(|gap| gap < jitter) {
                let allowed =
                    format!("at most {gap:?}, as long as it is from one slot to the next");
                return Err(Error::invalid("out_of_range", "jitter", jitter, allowed));
            }
        }
        if let Some(grace) = &self.grace {
            SPAN.check("out_of_range", || place("grace"), grace)?;
        }
        self.missed.as_ref().map_or(Ok(()), Missed::check)?;
        let stop = ("`stop_after_failures`", self.failures_max);
        for (text, count) in [("`times`", self.times), stop] {
            count.map_or(Ok(()), |count| COUNT.check("out_of_range", || place(text), &count))?;
        }
        Ok(slots)
    }

    /// Whether these make the same slots fire.
    pub(crate) fn fires_like(&self, other: &Self) -> bool {
        let of = |terms: &Self| {
            (terms.timing.clone(), terms.is_enabled(), terms.starts_at, terms.ends_at, terms.jitter)
        };
        of(self) == of(other) && self.times == other.times
    }

    /// Whether these make the same calls.
    pub(crate) fn calls_like(&self, other: &Self) -> bool {
        let of = |terms: &Self| {
            (
                terms.arguments.clone(),
                terms.options.clone(),
                terms.owner.clone(),
                (terms.task_name.clone(), terms.tags.clone(), terms.meta.clone()),
                terms.overlap,
                terms.missed,
            )
        };
        of(self) == of(other)
    }

    /// Whether each slot follows from the end of the run before it.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.timing, Some(Timing::AfterFinish { .. }))
    }

    pub(crate) fn is_cron(&self) -> bool {
        matches!(self.timing, Some(Timing::Cron { .. }))
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace.unwrap_or(GRACE_DEFAULT)
    }

    /// How long after an end the next run follows, where runs follow each other.
    pub(crate) fn pause_after(&self, state: State) -> Duration {
        match self.timing {
            Some(Timing::AfterFinish { pause, .. }) if state == State::Succeeded => pause,
            Some(Timing::AfterFinish { pause_after_error, .. }) => pause_after_error,
            _ => Duration::ZERO,
        }
    }

    /// How much later than its slot a task comes; the same wherever it is asked for.
    pub(crate) fn delay(&self, schedule: i64, slot: Timestamp) -> Duration {
        let Some(jitter) = self.jitter.filter(|jitter| !jitter.is_zero()) else {
            return Duration::ZERO;
        };
        // SplitMix64 (Steele, Lea and Flood, 2014), so that neighbours differ.
        let seed = schedule.cast_unsigned().rotate_left(32) ^ slot.as_millis().cast_unsigned();
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let most = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis((mixed ^ (mixed >> 31)) % most)
    }

    /// The call that a slot makes, but for its arguments.
    pub(crate) fn call_options(&self) -> CallOptions {
        let mut with = CallOptions {
            options: self.options.clone(),
            owner: self.owner.clone(),
            tags: self.tags.iter().cloned().map(Into::into).collect(),
            meta: self.meta.clone(),
            ..CallOptions::default()
        };
        if let Some(name) = &self.task_name {
            with.links.get_or_insert_default().name = Some(name.clone());
        }
        with
    }

    /// The arguments as they are stored with each task.
    pub(crate) fn arguments_text(&self, limits: JsonLimits) -> Result<String, Error> {
        Ok(json::encode(&self.arguments, limits)?)
    }
}
