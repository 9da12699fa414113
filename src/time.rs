//! Every step of the journey: moments and the clock that tells them.
//!
//! A moment is a whole number of milliseconds since 1970-01-01 UTC, as it is stored. Whoever talks to
//! an engine for a user or a worker reads the clock; the words and the engines take `now` as a parameter.
//! Leases and time-outs never use this clock: setting the wall clock neither frees nor freezes a
//! running task.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No expiry, retention or period is longer: 100 years of 365 days.
pub const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The units of spans, with their milliseconds.
pub(crate) const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The text of a span, in the largest unit that fits.
pub(crate) fn span_text(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let fits = |unit: &&(&str, u64)| ms.is_multiple_of(unit.1);
    let (word, unit_ms) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
    format!("{}{word}", ms / unit_ms)
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z, from 0 up to the end of the year 9999.
///
/// serde writes it as it is displayed, as `2026-01-01T00:00:00.007Z`, and reads any RFC 3339 text, of
/// which parts below a millisecond are dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The moment `ms` milliseconds after 1970, if it lies in the allowed range.
    pub fn from_millis(ms: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&ms).then_some(Self(ms))
    }

    /// For stored values, which the schema has checked: the nearest allowed moment.
    pub(crate) fn clamped(ms: i64) -> Self {
        Self(ms.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment moved on by `span`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_add(ms))
    }

    /// How long it is from `self` to `later`; zero when `later` is not later.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0 - self.0).unwrap_or(0))
    }

    /// The same moment as chrono's type.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_chrono().format("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        let moment =
            DateTime::parse_from_rfc3339(&text).map(|moment| moment.timestamp_millis()).ok();
        moment.and_then(Self::from_millis).ok_or_else(|| {
            let allowed = "an RFC 3339 moment from 1970 to 9999";
            serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &allowed)
        })
    }
}

/// What both clocks say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) even: Duration,
}

impl Moment {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), even: clock.even() }
    }
}

/// Where `now` comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// How long it is since some fixed moment, by a clock that runs evenly and that nobody sets.
    /// Default: the machine's. A jump of the wall clock is told by comparing the two.
    fn even(&self) -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed()
    }

    /// Asks to be called whenever the clock was moved by hand, so that timers look again.
    fn on_step(&self, _look_again: Arc<dyn Fn() + Send + Sync>) {}
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(Utc::now().timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_utc_text() {
        let moment = Timestamp::from_millis(1_767_225_600_007).expect("in range");
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00.007Z");
    }

    #[test]
    fn json_holds_a_moment_as_rfc_3339_text() {
        let moment = Timestamp::from_millis(1_767_225_600_007).expect("in range");
        let text = r#""2026-01-01T00:00:00.007Z""#;
        assert_eq!(serde_json::to_string(&moment).expect("text"), text);
        for same in [text, r#""2026-01-01T02:00:00.0079+02:00""#] {
            assert_eq!(serde_json::from_str::<Timestamp>(same).expect("a moment"), moment);
        }
        for moment in [Timestamp::MIN, Timestamp::MAX] {
            let text = serde_json::to_string(&moment).expect("text");
            assert_eq!(serde_json::from_str::<Timestamp>(&text).expect("a moment"), moment);
        }
        for bad in [r#""1969-12-31T23:59:59Z""#, r#""2026-01-01""#, "7"] {
            assert!(serde_json::from_str::<Timestamp>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_outside_the_range_are_none() {
        assert_eq!(Timestamp::from_millis(-1), None);
        assert_eq!(Timestamp::from_millis(Timestamp::MAX.as_millis() + 1), None);
        assert_eq!(Timestamp::MAX.after(Duration::MAX), Timestamp::MAX);
    }
}
