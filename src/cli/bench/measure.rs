//! Operate: how two sides are measured beside each other: in blocks that alternate.

use std::time::{Duration, Instant};

use super::stats::Pair;

/// A measurement, or why there is none.
pub(crate) type Measured<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is done for a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// A few short blocks: shows that everything works, measures nothing.
    pub(crate) quick: bool,
}

impl Pace {
    /// How long a block is at least.
    pub(crate) fn block(self) -> Duration {
        Duration::from_millis(if self.quick { 60 } else { 330 })
    }

    /// Picks by the kind of run.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Adds pairs of blocks until there are so many. Each block answers with its rate.
pub(crate) fn alternate(
    pairs: &mut Vec<Pair>,
    wanted: usize,
    mut ours: impl FnMut() -> Measured<f64>,
    mut limit: impl FnMut() -> Measured<f64>,
) -> Measured<()> {
    while pairs.len() < wanted {
        // Who is first changes, so that neither side gains from what the other leaves.
        pairs.push(if pairs.len().is_multiple_of(2) {
            let ours = ours()?;
            (ours, limit()?)
        } else {
            let limit = limit()?;
            (ours()?, limit)
        });
    }
    Ok(())
}

/// Does `step` again and again for at least `block`; each step answers how much it did. The rate
/// per second.
pub(crate) fn rate(block: Duration, mut step: impl FnMut() -> Measured<usize>) -> Measured<f64> {
    let began = Instant::now();
    let mut done = 0;
    loop {
        done += step()?;
        let took = began.elapsed();
        if took >= block {
            return Ok(done as f64 / took.as_secs_f64());
        }
    }
}
