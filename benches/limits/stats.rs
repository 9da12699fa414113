//! Medians of paired ratios and how sure they are.

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) mid: f64,
    pub(crate) lo: f64,
    pub(crate) hi: f64,
}

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

/// What one block of each side came to.
pub(crate) type Pair = (f64, f64);

const RESAMPLES: usize = 2_000;
const SEED: u64 = 0x6c74_776b;

/// The value below which the share `at` of the values lies; between two, the mean of their weight.
pub(crate) fn quantile(values: &mut [f64], at: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_unstable_by(f64::total_cmp);
    let place = at * (values.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(values.len() - 1);
    values[low] + (values[high] - values[low]) * part
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&mut values.into_iter().collect::<Vec<_>>(), 0.5)
}

pub(crate) fn median_ratio(pairs: &[Pair]) -> f64 {
    median(pairs.iter().map(|(ours, limit)| ours / limit))
}

/// A function of pairs, with the interval that 2,000 resamples of the pairs give (the percentile
/// bootstrap of Efron, 1979).
pub(crate) fn bootstrap(pairs: &[Pair], of: impl Fn(&[Pair]) -> f64) -> Interval {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut sample = pairs.to_vec();
    let mut found: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for slot in &mut sample {
                *slot = pairs[random.usize(..pairs.len())];
            }
            of(&sample)
        })
        .collect();
    Interval { mid: of(pairs), lo: quantile(&mut found, 0.025), hi: quantile(&mut found, 0.975) }
}
