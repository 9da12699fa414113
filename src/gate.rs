//! Define: what a task must pass before it starts: a lock, a limit of tasks that run at once, a rate.
//!
//! A gate has a key, made from the arguments of the call, and holds for all tasks of that key in all
//! processes. How many have passed is read from the stored tasks each time; no counter stands beside
//! them that could be wrong after a crash.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::key::Pattern;
use crate::range::{Range, SPAN};
use crate::retry::{RETRY_DELAY_MAX, millis_opt};
use crate::state::Reason;
use crate::time::Timestamp;

/// Tasks that a limit may admit at once.
pub(crate) const RUNNING: Range<u32> = Range { least: 1, most: 1_000_000, text: "1 to 1000000" };
/// Starts that a rate may admit in its period.
const STARTS: Range<u32> = Range { least: 1, most: 1_000_000, text: "1 to 1000000" };

/// A lock that one running task holds: an option of a task or a call.
///
/// The lock belongs to the running task itself, so it is free when that ends, fails, waits to be tried
/// again, or when its process dies. The id may hold arguments, as in `import/{source}`, and is shared
/// by all kinds that name it.
///
/// By default a task that finds the lock held is skipped: it ends as `skipped` with the reason
/// `locked`, which is no error, and its report names the task that holds it. With [`wait`](Self::wait)
/// it starts once the lock is free; no thread waits meanwhile.
///
/// ```
/// # use litework::{Client, Context, Exclusive, Mode, Pending, Reason, Result, State, task};
/// #[task]
/// fn import(ctx: &Context, source: &str) -> Result<()> {
///     let tasks = ctx.client().expect("it runs in a queue");
///     // While this one runs, a second import of the same source is skipped.
///     let second = tasks.enqueue(import::with(source).exclusive(Exclusive::lock("import/{source}")))?;
///     assert_eq!(second.refresh()?.reason, Some(Reason::Locked));
///     Ok(())
/// }
///
/// let tasks = Client::in_memory().register(import).open()?;
/// let first = tasks.enqueue(import::with("uk").exclusive(Exclusive::lock("import/{source}")))?;
/// assert_eq!(first.refresh()?.state, State::Succeeded);
/// # Ok::<(), litework::Failure>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "give it to `exclusive`"]
pub struct Exclusive {
    lock: Pattern,
    waits: bool,
    #[serde(rename = "expires_after_ms", with = "millis_opt")]
    expires_after: Option<Duration>,
}

impl Exclusive {
    /// The lock of this id, 1 to 200 bytes without control characters (`bad_key`); `{name}` stands for
    /// the argument of that name.
    pub fn lock(id: impl Into<Cow<'static, str>>) -> Self {
        Self { lock: Pattern::new(id), waits: false, expires_after: None }
    }

    /// Waits for the lock, best rank first, instead of being skipped.
    ///
    /// ```
    /// # use litework::{Client, Exclusive, Mode, Pending, Reason, State, task};
    /// #[task]
    /// fn import(source: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(import).open()?;
    /// let call = || import::with("uk").exclusive(Exclusive::lock("import/{source}").wait());
    /// let (first, second) = (tasks.enqueue(call())?, tasks.enqueue(call())?);
    /// assert_eq!(second.refresh()?.reason, Some(Reason::Lock)); // the first is before it
    /// first.cancel()?;
    /// tasks.run_pending(&Pending::all())?;
    /// assert_eq!(second.refresh()?.state, State::Succeeded);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn wait(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Holds the lock for at most this long, 1 ms to 100 years (`out_of_range`), though it still runs.
    /// Those that wait notice within some 10 s where a pool lives, and with the next
    /// [`run_pending`](crate::Client::run_pending); where tasks wait at more than 2,000 keys, each look is at
    /// the next 2,000. From then on two may run, so what they write outside should carry the number of
    /// [`Context::fence`](crate::Context::fence), which grows with each holder. The span
    /// goes by the wall clock, as processes have no other in common: a clock that is set forward ends the hold
    /// early, and one that is set back ends it late. Default: as long as it runs.
    ///
    /// ```
    /// # use litework::{Client, Context, Exclusive, Result, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn mirror(ctx: &Context) -> Result<Option<u64>> {
    ///     // Whatever keeps the mirror refuses a number below one that it has seen.
    ///     Ok(ctx.fence())
    /// }
    ///
    /// let tasks = Client::in_memory().register(mirror).open()?;
    /// let brief = || Exclusive::lock("mirror").expires_after(Duration::from_secs(600));
    /// let first = tasks.enqueue(mirror::with().exclusive(brief()))?.value()?;
    /// let second = tasks.enqueue(mirror::with().exclusive(brief()))?.value()?;
    /// assert!(first.is_some() && first < second);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn expires_after(mut self, span: Duration) -> Self {
        self.expires_after = Some(span);
        self
    }
}

/// How many tasks of a key run at once, in all processes together: an option of a task or a call.
///
/// One that finds no place waits, best rank first; no thread waits meanwhile, and it stands in
/// nobody's way.
///
/// ```
/// # use litework::{Client, Limit, Mode, Reason, task};
/// #[task]
/// fn export(tenant: u32) {}
///
/// let tasks = Client::in_memory().mode(Mode::Hold).register(export).open()?;
/// let call = || export::with(7).limit(Limit::per_key("tenant/{tenant}", 2));
/// let handles = tasks.enqueue_many([call(), call(), call()])?;
/// assert_eq!(handles[1].refresh()?.reason, None);
/// assert_eq!(handles[2].refresh()?.reason, Some(Reason::Limit)); // two are before it
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "give it to `limit`"]
pub struct Limit {
    key: Pattern,
    max: u32,
}

impl Limit {
    /// At most `max`, 1 to 1,000,000 (`out_of_range`), with this key, 1 to 200 bytes without control
    /// characters (`bad_key`); `{name}` stands for the argument of that name.
    pub fn per_key(key: impl Into<Cow<'static, str>>, max: u32) -> Self {
        Self { key: Pattern::new(key), max }
    }
}

/// How many tasks start in a period.
///
/// The starts are spread evenly, one each `period / count`, so that no stretch of time as long as the
/// period sees more than `count` of them, wherever it begins. With a [`burst`](Self::burst), so many
/// may start at once after a quiet time, and a stretch may see up to `count + burst - 1`.
///
/// The rule is the generic cell rate algorithm (ITU-T I.371); one moment is kept for each key.
///
/// ```
/// # use litework::{Client, Mode, Pending, Rate, Reason, task};
/// # use std::time::Duration;
/// #[task]
/// fn fetch(host: &str, page: u32) {}
///
/// let tasks = Client::in_memory().mode(Mode::Hold).register(fetch).open()?;
/// let rate = Rate::per(2, Duration::from_secs(3_600));
/// let call = |host, page| fetch::with(host, page).rate_per_key("host/{host}", rate);
/// let handles = tasks.enqueue_many([call("a", 1), call("a", 2), call("b", 1)])?;
/// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 2); // one of each host
/// assert_eq!(handles[1].refresh()?.reason, Some(Reason::Rate)); // in half an hour
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "give it to `rate`"]
pub struct Rate {
    count: u32,
    period_ms: u64,
    burst: u32,
}

impl Rate {
    /// `count`, 1 to 1,000,000, in each period, 1 ms to 100 years (`out_of_range`).
    pub fn per(count: u32, period: Duration) -> Self {
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        Self { count, period_ms, burst: 1 }
    }

    /// Lets so many start at once after a quiet time, 1 to `count` (`out_of_range`). Default: 1.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    pub(crate) fn check(self) -> Result<Self, Error> {
        let places = ["count", "period", "burst"].map(|part| move || format!("{part} of the rate"));
        self.check_parts("out_of_range", places).map(|()| self)
    }

    /// The same with a code and places of its own for count, period and burst.
    pub(crate) fn check_parts(
        self,
        code: &'static str,
        [count, period, burst]: [impl FnOnce() -> String; 3],
    ) -> Result<(), Error> {
        STARTS.check(code, count, &self.count)?;
        SPAN.check(code, period, &Duration::from_millis(self.period_ms))?;
        Range { least: 1, most: self.count, text: "1 to its count" }.check(code, burst, &self.burst)
    }

    /// Count, period in milliseconds, burst.
    pub(crate) fn parts(self) -> (u32, u64, u32) {
        (self.count, self.period_ms, self.burst)
    }

    /// Microseconds from one start to the next.
    fn step(self) -> i64 {
        let step = self.period_ms.saturating_mul(1_000).div_ceil(u64::from(self.count.max(1)));
        i64::try_from(step).unwrap_or(i64::MAX)
    }

    /// When the rate is even again. A moment further off than all starts of a period was noted by a clock that
    /// has been set back since, and says nothing.
    fn even_at(self, next_at: i64, now: Timestamp) -> i64 {
        let most = self.step().saturating_mul(i64::from(self.count.max(1)));
        let latest = now.as_millis().saturating_mul(1_000).saturating_add(most);
        if next_at > latest { 0 } else { next_at }
    }

    /// No task is put off by it beyond this moment, unless the clock has been set back since.
    pub(crate) fn latest_due(self, now: Timestamp) -> Timestamp {
        now.after(Duration::from_millis(self.period_ms).max(RETRY_DELAY_MAX))
    }

    /// When the next start is admitted, where the rate is even again at `next_at` (microseconds).
    pub(crate) fn opens_at(self, next_at: i64, now: Timestamp) -> Timestamp {
        let next_at = self.even_at(next_at, now);
        let early = self.step().saturating_mul(i64::from(self.burst.max(1)) - 1);
        // Rounded up, so that a start is never early.
        let opens = next_at.saturating_sub(early).max(0);
        Timestamp::clamped(opens / 1_000 + i64::from(opens % 1_000 > 0))
    }

    /// When the rate is even again after a start at this moment.
    pub(crate) fn after_start(self, next_at: i64, now: Timestamp) -> i64 {
        let next_at = self.even_at(next_at, now);
        next_at.max(now.as_millis().saturating_mul(1_000)).saturating_add(self.step())
    }
}

/// Until when something is closed. What is further off than anybody may close it was said by a clock that has
/// been set back since.
pub(crate) fn closed(until: Option<Timestamp>, now: Timestamp) -> Timestamp {
    until.filter(|until| *until <= now.after(RETRY_DELAY_MAX)).unwrap_or(Timestamp::MIN)
}

/// What holds for all tasks of a queue or of a kind together, in all processes; see
/// [`Client::set_limits`](crate::Client::set_limits).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub(crate) max_running: Option<u32>,
    pub(crate) rate: Option<Rate>,
}

impl Limits {
    /// No limit.
    pub fn none() -> Self {
        Self::default()
    }

    /// So many run at once, 1 to 1,000,000 (`out_of_range`).
    #[must_use]
    pub fn max_running(mut self, tasks: u32) -> Self {
        self.max_running = Some(tasks);
        self
    }

    /// So many start in a period.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// These limits, with the gaps filled from `base`.
    pub(crate) fn over(self, base: Self) -> Self {
        Self { max_running: self.max_running.or(base.max_running), rate: self.rate.or(base.rate) }
    }

    /// `place` is what the number of those that run is called.
    pub(crate) fn check(self, place: &str) -> Result<(), Error> {
        if let Some(max) = self.max_running {
            check_running(place, max)?;
        }
        self.rate.map_or(Ok(()), |rate| rate.check().map(drop))
    }
}

/// 1 to 1,000,000.
pub(crate) fn check_running(place: &str, max: u32) -> Result<(), Error> {
    RUNNING.check("out_of_range", || place.to_owned(), &max)
}

/// The gate of a task, as an option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GateOption {
    Exclusive(Exclusive),
    Limit(Limit),
    Rate(Pattern, Rate),
}

impl GateOption {
    /// The option that gives it.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Self::Exclusive(_) => "exclusive",
            Self::Limit(_) => "limit",
            Self::Rate(..) => "rate_per_key",
        }
    }

    fn place(&self) -> &'static str {
        match self {
            Self::Exclusive(_) => "lock",
            Self::Limit(_) => "key of the limit",
            Self::Rate(..) => "key of the rate",
        }
    }

    fn pattern(&self) -> &Pattern {
        match self {
            Self::Exclusive(exclusive) => &exclusive.lock,
            Self::Limit(limit) => &limit.key,
            Self::Rate(key, _) => key,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.pattern().check(self.place())?;
        match self {
            Self::Exclusive(Exclusive { expires_after: Some(span), .. }) => {
                SPAN.check("out_of_range", || "expiry of the lock".to_owned(), span)
            }
            Self::Limit(limit) => check_running("limit", limit.max),
            Self::Rate(_, rate) => rate.check().map(drop),
            Self::Exclusive(_) => Ok(()),
        }
    }

    /// Whether its key may be made from the argument of this name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.pattern().wants(name)
    }

    /// The key under which one call stands at the gate, and the gate.
    pub(crate) fn resolve(&self, arguments: &Map<String, Value>) -> Result<(String, Gate), Error> {
        let key = self.pattern().fill(self.place(), arguments)?;
        Ok(match self {
            Self::Exclusive(exclusive) => {
                let expires_ms = exclusive
                    .expires_after
                    .map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
                (format!("lock:{key}"), Gate::Lock { wait: exclusive.waits, expires_ms })
            }
            Self::Limit(limit) => (format!("limit:{key}"), Gate::Limit { max: limit.max }),
            Self::Rate(_, rate) => (format!("rate:{key}"), Gate::Rate(*rate)),
        })
    }
}

/// The gate of one stored task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Gate {
    Lock {
        wait: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_ms: Option<u64>,
    },
    Limit {
        max: u32,
    },
    Rate(#[serde(deserialize_with = "sound_rate")] Rate),
}

/// What another program has written is no rate where it is out of its range.
fn sound_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
    Rate::deserialize(deserializer)?.check().map_err(D::Error::custom)
}

impl Gate {
    /// A lock that is waited for and does not expire.
    pub(crate) const TURN: Self = Self::Lock { wait: true, expires_ms: None };

    /// How many may have passed it at once.
    pub(crate) fn places(self) -> u32 {
        match self {
            Self::Limit { max } => max,
            Self::Lock { .. } | Self::Rate(_) => 1,
        }
    }

    /// Whether a task that finds no place ends.
    pub(crate) fn skips(self) -> bool {
        matches!(self, Self::Lock { wait: false, .. })
    }

    /// What a task that finds no place waits for.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Lock { .. } => Reason::Lock,
            Self::Limit { .. } | Self::Rate(_) => Reason::Limit,
        }
    }

    /// Whether a holder that started then holds its place still.
    pub(crate) fn is_held(self, started_at: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Lock { expires_ms: Some(span), .. } => {
                started_at.after(Duration::from_millis(span)) > now
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whoever starts as early as it is admitted never starts more often than the rate says.
        #[test]
        fn no_stretch_as_long_as_the_period_sees_more_than_the_count(
            count in 1..40_u32, period_ms in 1..5_000_u64, waits in prop::collection::vec(0..200_i64, 1..120)
        ) {
            let rate = Rate::per(count, Duration::from_millis(period_ms));
            let (mut now, mut next_at, mut starts) = (1_000_i64, 0_i64, Vec::new());
            for wait in waits {
                now = (now + wait).max(rate.opens_at(next_at, Timestamp::clamped(now)).as_millis());
                next_at = rate.after_start(next_at, Timestamp::clamped(now));
                starts.push(now);
            }
            let period = i64::try_from(period_ms).expect("small");
            for (at, first) in starts.iter().enumerate() {
                let seen = starts[at..].iter().take_while(|start| **start < first + period).count();
                prop_assert!(seen <= count as usize, "{seen} of {count} from {first}: {starts:?}");
            }
        }

        /// A burst admits so many at once, and no more.
        #[test]
        fn a_burst_is_admitted_at_once(count in 1..40_u32, burst in 1..40_u32) {
            prop_assume!(burst <= count);
            let rate = Rate::per(count, Duration::from_secs(60)).burst(burst);
            let now = Timestamp::clamped(1_000_000);
            let (mut next_at, mut at_once) = (0, 0);
            while rate.opens_at(next_at, now) <= now && at_once < 100 {
                next_at = rate.after_start(next_at, now);
                at_once += 1;
            }
            prop_assert_eq!(at_once, burst);
        }
    }

    #[test]
    fn what_a_clock_said_that_was_set_back_since_shuts_nothing() {
        let (now, later) = (Timestamp::clamped(1_000_000), Timestamp::clamped(9_000_000_000_000));
        let rate = Rate::per(3, Duration::from_secs(1)).burst(3);
        let next_at = rate.after_start(rate.after_start(0, later), later);
        assert_eq!(rate.opens_at(next_at, later), later, "one more may start");
        assert!(rate.opens_at(next_at, now) <= now);
        assert_eq!(rate.after_start(next_at, now), rate.after_start(0, now));
        assert_eq!(closed(Some(later), now), Timestamp::MIN);
        let said = now.after(RETRY_DELAY_MAX);
        assert_eq!(closed(Some(said), now), said);
    }

    #[test]
    fn a_stored_rate_out_of_its_range_is_none() {
        let sound = Gate::Rate(Rate::per(2, Duration::from_secs(1)));
        let text = serde_json::to_string(&sound).expect("it encodes");
        assert_eq!(serde_json::from_str::<Gate>(&text).expect("it is sound"), sound);
        for huge in ["18446744073709551615", "9223372036854775807", "0"] {
            let text = format!(r#"{{"rate":{{"count":1,"period_ms":{huge},"burst":1}}}}"#);
            let refused = serde_json::from_str::<Gate>(&text).expect_err("it is none").to_string();
            assert!(refused.contains("out_of_range: period of the rate"), "{refused}");
        }
        // One that was not read from a row counts up to the end of all times.
        let endless = Rate::per(1, Duration::MAX);
        assert_eq!(endless.after_start(i64::MAX, Timestamp::MAX), i64::MAX);
    }

    #[test]
    fn what_is_out_of_range_is_told() {
        let said = |gate: &GateOption| gate.check().expect_err("out of range").to_string();
        let lock = |exclusive| said(&GateOption::Exclusive(exclusive));
        assert_eq!(
            lock(Exclusive::lock("")),
            "bad_key: lock is \"\"; 1 to 200 bytes without control characters"
        );
        assert_eq!(
            lock(Exclusive::lock("a").expires_after(Duration::ZERO)),
            "out_of_range: expiry of the lock is 0ns; 1 ms to 100 years"
        );
        assert_eq!(
            said(&GateOption::Limit(Limit::per_key("a", 0))),
            "out_of_range: limit is 0; 1 to 1000000"
        );
        let rate = |rate: Rate| rate.check().expect_err("out of range").to_string();
        let second = Duration::from_secs(1);
        assert_eq!(
            rate(Rate::per(0, second)),
            "out_of_range: count of the rate is 0; 1 to 1000000"
        );
        assert_eq!(
            rate(Rate::per(3, second).burst(4)),
            "out_of_range: burst of the rate is 4; 1 to its count"
        );
    }
}
