//! Operate: medians of paired ratios and how sure they are.

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) mid: f64,
    pub(crate) lo: f64,
    pub(crate) hi: f64,
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

/// The same quantile of each side.
pub(crate) fn quantiles(pairs: &[Pair], at: f64) -> Pair {
    let (mut ours, mut limit): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    (quantile(&mut ours, at), quantile(&mut limit, at))
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

/// Four digits that count, with thousands apart.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 1_000.0 {
        let digits = if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
        return format!("{value:.digits$}");
    }
    let whole = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
