//! What a number must reach.

use crate::stats::Interval;

/// What a number must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    /// Whether the interval leaves it open.
    pub(crate) fn is_open(self, interval: Interval) -> bool {
        self.is_met(interval.lo) != self.is_met(interval.hi)
    }
}
