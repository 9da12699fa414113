//! Define: how long a failed task waits before its next attempt.
//!
//! A pure function of the policy, the attempt that failed and one random number. The delay is
//! stored as the task's due time, so it survives a restart and holds no thread.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest delay that any policy gives: 365 days.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Steps of a ladder at most; the last repeats.
const LADDER_MAX: usize = 64;

/// When a failed task is tried again.
///
/// ```
/// use litework::Retry;
/// use std::time::Duration;
///
/// let ladder = Retry::ladder([Duration::from_secs(5), Duration::from_secs(30)]);
/// assert_eq!(ladder.delay(1, 0.5), Duration::from_secs(5));
/// assert_eq!(ladder.delay(9, 0.5), Duration::from_secs(30)); // the last step repeats
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Retry {
    /// A random delay between zero and `base × 2^(attempt − 1)`, at most `cap`: exponential
    /// back-off with full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS, 2015).
    Exponential {
        /// Upper bound of the first delay.
        #[serde(with = "millis", rename = "base_ms")]
        base: Duration,
        /// Upper bound of every delay.
        #[serde(with = "millis", rename = "cap_ms")]
        cap: Duration,
    },
    /// Fixed delays, one for each failed attempt; the last repeats.
    Ladder(#[serde(with = "millis_list", rename = "ladder_ms")] Vec<Duration>),
}

impl Default for Retry {
    /// Exponential from 2 s, at most 1 h.
    fn default() -> Self {
        Self::exponential(Duration::from_secs(2), Duration::from_secs(60 * 60))
    }
}

impl Retry {
    /// Exponential back-off with full jitter: the delay after the first attempt is at most `base`, and
    /// each later bound is twice the one before, at most `cap`. `base` may not be longer than `cap`,
    /// which is checked where the task is registered or enqueued; no delay is longer than
    /// [`RETRY_DELAY_MAX`].
    pub fn exponential(base: Duration, cap: Duration) -> Self {
        Self::Exponential { base, cap }
    }

    /// Fixed delays in order, at most 64, which is checked where the task is registered or enqueued. A
    /// ladder without steps retries at once; a step over [`RETRY_DELAY_MAX`] counts as that.
    pub fn ladder(steps: impl IntoIterator<Item = Duration>) -> Self {
        Self::Ladder(steps.into_iter().collect())
    }

    /// Whether a ladder has more than 64 steps.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, Self::Ladder(steps) if steps.len() > LADDER_MAX)
    }

    /// The delay after `attempt` (counted from 1) failed. `chance` is a random number in `0.0..1.0`;
    /// what lies outside counts as the nearest, and NaN as 0. The same inputs give the same delay.
    /// Never more than [`RETRY_DELAY_MAX`].
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let step = attempt.saturating_sub(1);
        let delay = match self {
            Self::Exponential { base, cap } => {
                let bound = base.saturating_mul(2_u32.saturating_pow(step.min(31))).min(*cap);
                let chance = if chance.is_nan() { 0.0 } else { chance.clamp(0.0, 1.0) };
                bound.min(RETRY_DELAY_MAX).mul_f64(chance)
            }
            Self::Ladder(steps) => {
                let last = steps.len().saturating_sub(1);
                steps.get((step as usize).min(last)).copied().unwrap_or_default()
            }
        };
        delay.min(RETRY_DELAY_MAX)
    }
}

/// Whole milliseconds in stored options.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

pub(crate) mod millis_opt {
    use super::millis;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "serde's `with` passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => millis::serialize(span, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

mod millis_list {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(spans: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(spans.iter().map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Duration>, D::Error> {
        Ok(Vec::<u64>::deserialize(from)?.into_iter().map(Duration::from_millis).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_attempt_overflows_and_no_delay_passes_the_cap(
            attempt: u32, chance in 0.0..1.0_f64, base_ms: u32, cap_ms: u32
        ) {
            let (base, cap) = (Duration::from_millis(base_ms.into()), Duration::from_millis(cap_ms.into()));
            let delay = Retry::exponential(base, cap).delay(attempt, chance);
            prop_assert!(delay <= cap && delay <= RETRY_DELAY_MAX);
        }
    }

    #[test]
    fn the_bound_doubles_until_the_cap() {
        let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(10));
        let bounds: Vec<u64> = (1..=6).map(|attempt| retry.delay(attempt, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_chance_outside_its_range_is_no_panic() {
        let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(1));
        let delays = [f64::NAN, -1.0, f64::INFINITY].map(|chance| retry.delay(1, chance).as_secs());
        assert_eq!(delays, [0, 0, 1]);
    }

    #[test]
    fn an_empty_ladder_retries_at_once() {
        assert_eq!(Retry::ladder([]).delay(3, 0.9), Duration::ZERO);
    }
}
