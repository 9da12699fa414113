//! Words: numbers and spans that may be set, each with the text that says so.
//!
//! One place for each, whether a builder, a file of settings or a definition sets it.

use std::fmt::Debug;
use std::time::Duration;

use crate::error::Error;
use crate::time::SPAN_MAX;

/// What may be set, both ends included.
#[derive(Debug)]
pub(crate) struct Range<N> {
    pub(crate) least: N,
    pub(crate) most: N,
    /// As errors say it.
    pub(crate) text: &'static str,
}

/// A span that is neither none nor endless.
pub(crate) const SPAN: Range<Duration> =
    Range { least: Duration::from_millis(1), most: SPAN_MAX, text: "1 ms to 100 years" };

/// A span for which something is kept: none is as good as any.
pub(crate) const AGE: Range<Duration> =
    Range { least: Duration::ZERO, most: SPAN_MAX, text: "0 to 100 years" };

impl<N: PartialOrd + Debug> Range<N> {
    /// An error of this code about this place, where the value is out of the range.
    pub(crate) fn check(
        &self,
        code: &'static str,
        place: impl FnOnce() -> String,
        value: &N,
    ) -> Result<(), Error> {
        if (&self.least..=&self.most).contains(&value) {
            return Ok(());
        }
        Err(Error::invalid(code, place(), value, self.text))
    }
}
