//! Finish: whether the wall clock can be trusted with what cannot be undone.
//!
//! A machine that starts with a wrong date, or whose date is set by hand, would make everything look
//! old at once. So the wall clock is compared with one that runs evenly, and with the newest moment in
//! the file; after a jump nothing is removed until it has been stable for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::time::{Moment, Timestamp};

/// A difference of more than this between the two clocks is a jump.
const JUMP: Duration = Duration::from_secs(60 * 60);
/// After a jump the wall clock is trusted again when it has been stable for this long.
const STABLE: Duration = Duration::from_secs(10 * 60);

/// What is known of the clock.
#[derive(Debug)]
pub(crate) struct Steady {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Moment,
    jump: Option<Jump>,
    /// Whether the file was asked for its newest moment.
    compared: bool,
}

#[derive(Debug, Clone)]
struct Jump {
    /// By the even clock.
    at: Duration,
    what: String,
    told: bool,
}

impl Steady {
    pub(crate) fn new(now: Moment) -> Self {
        Self { seen: Mutex::new(Seen { last: now, jump: None, compared: false }) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at both clocks; `newest` is asked, once, for the newest moment in the file. An error while
    /// the wall clock is not to be trusted; the second value says whether it is told the first time.
    pub(crate) fn look(
        &self,
        now: Moment,
        newest: impl FnOnce() -> Result<Option<Timestamp>, Error>,
    ) -> Result<(), (Error, bool)> {
        let mut seen = self.seen();
        seen.notice(now);
        if !seen.compared {
            let newest = newest().map_err(|error| (error, true))?;
            seen.compared = true;
            let ahead = newest.map(|newest| now.wall.until(newest)).unwrap_or_default();
            if ahead > JUMP {
                let what = format!("the file holds moments {} s ahead of it", ahead.as_secs());
                seen.jump = Some(Jump { at: now.even, what, told: false });
            }
        }
        let Some(jump) = &mut seen.jump else { return Ok(()) };
        let first = !std::mem::replace(&mut jump.told, true);
        Err((Error::ClockJumped { what: jump.what.clone() }, first))
    }

    /// Only looks at both clocks.
    pub(crate) fn tick(&self, now: Moment) {
        self.seen().notice(now);
    }

    /// Somebody says that the wall clock is right.
    pub(crate) fn accept(&self, now: Moment) {
        *self.seen() = Seen { last: now, jump: None, compared: true };
    }
}

impl Seen {
    fn notice(&mut self, now: Moment) {
        let last = std::mem::replace(&mut self.last, now);
        let even = now.even.saturating_sub(last.even).as_millis();
        let moved = now.wall.as_millis() - last.wall.as_millis();
        let off_ms = moved.saturating_sub(i64::try_from(even).unwrap_or(i64::MAX));
        if u128::from(off_ms.unsigned_abs()) > JUMP.as_millis() {
            let way = if off_ms > 0 { "forward" } else { "back" };
            let what = format!("it was set {way} by about {} s", off_ms.unsigned_abs() / 1_000);
            self.jump = Some(Jump { at: now.even, what, told: false });
        }
        if self.jump.as_ref().is_some_and(|jump| now.even.saturating_sub(jump.at) >= STABLE) {
            self.jump = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_s: i64, even_s: u64) -> Moment {
        let wall = Timestamp::clamped(1_800_000_000_000 + wall_s * 1_000);
        Moment { wall, even: Duration::from_secs(even_s) }
    }

    fn said(steady: &Steady, now: Moment, newest: i64) -> Option<(String, bool)> {
        let newest = Some(at(newest, 0).wall);
        steady.look(now, || Ok(newest)).err().map(|(error, first)| (error.to_string(), first))
    }

    #[test]
    fn a_jump_either_way_is_told_once_and_passes_when_the_clock_is_stable() {
        for (to, word) in [(3_700, "forward by about 3690"), (-3_600, "back by about 3610")] {
            let steady = Steady::new(at(0, 0));
            assert_eq!(said(&steady, at(3_500, 3_500), 0), None, "both clocks agree");
            let steady = Steady::new(at(0, 0));
            let (text, first) = said(&steady, at(to, 10), -9_999).expect("it jumped");
            assert!(text.contains(word) && first, "{text}");
            let again = said(&steady, at(to + 300, 310), -9_999);
            assert_eq!(again, Some((text, false)));
            assert_eq!(said(&steady, at(to + 600, 610), -9_999), None, "stable for 10 min");
        }
    }

    #[test]
    fn a_second_jump_begins_the_wait_anew() {
        let steady = Steady::new(at(0, 0));
        assert!(said(&steady, at(9_000, 0), 0).is_some());
        assert!(said(&steady, at(0, 300), 0).is_some());
        assert!(said(&steady, at(599, 899), 0).is_some());
        assert_eq!(said(&steady, at(600, 900), 0), None);
    }

    #[test]
    fn a_file_from_the_future_is_a_jump_until_somebody_says_otherwise() {
        let steady = Steady::new(at(0, 0));
        let (text, _) = said(&steady, at(1, 1), 3_700).expect("the file is ahead");
        assert!(text.contains("3699 s ahead"), "{text}");
        steady.accept(at(2, 2));
        assert_eq!(said(&steady, at(3, 3), 3_700), None);
        let steady = Steady::new(at(0, 0));
        assert_eq!(said(&steady, at(1, 1), 3_600), None);
    }
}
