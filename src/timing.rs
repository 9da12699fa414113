//! Define: the moments at which a schedule fires: by crontab, by interval, after the last finish, or once.
//!
//! A moment at which a schedule is to fire is a *slot*. Slots follow from the schedule alone, never from
//! when somebody looked, so that any number of processes find the same ones.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(feature = "cron")]
use crate::cron::Cron;
use crate::error::Error;
use crate::range::Range;
use crate::retry::millis;
use crate::time::{SPAN_MAX, Timestamp, span_text};

/// No schedule fires more often, unless it says that it is `frequent`.
pub const SCHEDULE_GAP_MIN: Duration = Duration::from_secs(5);
/// And none more often than this.
const GAP_LEAST: Duration = Duration::from_secs(1);

/// How far apart slots are at least.
const GAP: Range<Duration> = Range {
    least: SCHEDULE_GAP_MIN,
    most: SPAN_MAX,
    text: "5 s to 100 years; `frequent` allows 1 s",
};
/// The same for schedules that are `frequent`.
const GAP_FREQUENT: Range<Duration> =
    Range { least: GAP_LEAST, most: SPAN_MAX, text: "1 s to 100 years" };

fn gaps(frequent: bool) -> &'static Range<Duration> {
    if frequent { &GAP_FREQUENT } else { &GAP }
}

/// Refuses slots that are too near to each other, or for which nobody waits.
fn check_gap(frequent: bool, place: &str, gap: Duration) -> Result<(), Error> {
    let code = if gap > SPAN_MAX { "out_of_range" } else { "too_frequent" };
    gaps(frequent).check(code, || place.to_owned(), &gap)
}

/// When a schedule fires.
///
/// `to_string()` is a text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Timing {
    /// Whenever the local time of a zone matches an expression.
    #[non_exhaustive]
    Cron {
        /// Five or six fields, or one such as `@daily`.
        expression: String,
        /// The IANA name of the zone.
        zone: String,
    },
    /// Each time an interval has passed since the schedule began; never drifting.
    #[non_exhaustive]
    Every {
        /// How long it is from one slot to the next.
        #[serde(rename = "interval_ms", with = "millis")]
        interval: Duration,
    },
    /// A pause after the last run has ended.
    #[non_exhaustive]
    AfterFinish {
        /// After a success.
        #[serde(rename = "pause_ms", with = "millis")]
        pause: Duration,
        /// After any other end.
        #[serde(rename = "pause_after_error_ms", with = "millis")]
        pause_after_error: Duration,
    },
    /// At one moment.
    #[non_exhaustive]
    Once {
        /// That moment.
        at: Timestamp,
    },
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron { expression, zone } => write_cron(expression, zone, f),
            Self::Every { interval } => write!(f, "Every {}", span_text(*interval)),
            Self::AfterFinish { pause, pause_after_error } => {
                write!(f, "{} after its last run has succeeded", span_text(*pause))?;
                if pause == pause_after_error {
                    f.write_str(" or failed")
                } else {
                    write!(f, ", {} after it has failed", span_text(*pause_after_error))
                }
            }
            Self::Once { at } => write!(f, "Once, at {at}"),
        }
    }
}

#[cfg(feature = "cron")]
fn write_cron(expression: &str, zone: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match cron_of(expression, zone) {
        Ok(cron) => f.write_str(&cron.describe()),
        Err(_) => write!(f, "{expression} ({zone})"),
    }
}

#[cfg(not(feature = "cron"))]
fn write_cron(expression: &str, zone: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{expression} ({zone})")
}

#[cfg(feature = "cron")]
fn cron_of(expression: &str, zone: &str) -> Result<Cron, Error> {
    Ok(Cron::new(expression)?.zone(zone.parse()?))
}

impl Timing {
    /// Its slots, with everything in its range. `anchor` is when the schedule began.
    pub(crate) fn slots(
        &self,
        anchor: Timestamp,
        bounds: Bounds,
        frequent: bool,
    ) -> Result<Slots, Error> {
        let gap = |place: &str, span: &Duration| check_gap(frequent, place, *span);
        let rule = match self {
            #[cfg(feature = "cron")]
            Self::Cron { expression, zone } => Rule::Cron(Box::new(cron_of(expression, zone)?)),
            #[cfg(not(feature = "cron"))]
            Self::Cron { expression, .. } => {
                let allowed =
                    "an interval or one moment: litework was built without its feature `cron`";
                return Err(Error::invalid("unsupported", "cron expression", expression, allowed));
            }
            Self::Every { interval } => {
                gap("interval", interval)?;
                Rule::Every(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX))
            }
            Self::AfterFinish { pause, pause_after_error } => {
                gap("pause", pause)?;
                gap("pause after an error", pause_after_error)?;
                Rule::Free
            }
            Self::Once { at } => Rule::Once(*at),
        };
        if let Bounds { starts_at: Some(starts_at), ends_at: Some(ends_at) } = bounds
            && starts_at > ends_at
        {
            let allowed = format!("a moment from its start, {starts_at}, on");
            return Err(Error::invalid("bad_schedule", "end of the schedule", ends_at, allowed));
        }
        Ok(Slots { rule, anchor, bounds })
    }
}

/// Where the slots of a schedule begin and end, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) starts_at: Option<Timestamp>,
    pub(crate) ends_at: Option<Timestamp>,
}

enum Rule {
    #[cfg(feature = "cron")]
    Cron(Box<Cron>),
    Every(i64),
    /// Its next slot is made by the end of a run.
    Free,
    Once(Timestamp),
}

/// The slots of one schedule.
pub(crate) struct Slots {
    rule: Rule,
    anchor: Timestamp,
    bounds: Bounds,
}

impl Slots {
    /// Refuses slots that are too near to each other. Those of an expression are looked at one after the
    /// other, so this is not asked each time.
    pub(crate) fn check_gap(&self, frequent: bool) -> Result<(), Error> {
        self.gap().map_or(Ok(()), |gap| check_gap(frequent, "interval of the expression", gap))
    }

    /// Refuses a start and an end between which there is no slot, for one that was stored at `since`, where
    /// that is known. What has passed before that is no mistake.
    pub(crate) fn check_any(&self, since: Option<Timestamp>) -> Result<(), Error> {
        let refuse = |place: &str, value: Timestamp, allowed: String| {
            Err(Error::invalid("never_fires", place, value.to_string(), allowed))
        };
        let Bounds { starts_at, ends_at } = self.bounds;
        if let (Rule::Once(at), Some(start)) = (&self.rule, starts_at)
            && start > *at
        {
            let allowed = format!("a moment up to its only slot, {at}");
            return refuse("start of the schedule", start, allowed);
        }
        let Some(end) = ends_at else { return Ok(()) };
        let before_start = starts_at.map(|start| Timestamp::clamped(start.as_millis() - 1));
        let from = before_start.into_iter().chain(since).max();
        let first = match (&self.rule, from) {
            (Rule::Once(at), _) => Some(*at),
            (Rule::Free, _) => None,
            (_, Some(from)) if end > from => self.following(from),
            _ => None,
        };
        match first.filter(|first| *first > end) {
            None => Ok(()),
            Some(first) => {
                let allowed = format!("a moment from its first slot, {first}, on");
                refuse("end of the schedule", end, allowed)
            }
        }
    }

    /// The first slot after this moment.
    pub(crate) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.within(self.following(moment)?)
    }

    /// The same, whenever they end.
    fn following(&self, moment: Timestamp) -> Option<Timestamp> {
        let start = self.bounds.starts_at;
        let from = match start {
            Some(start) if start > moment => Timestamp::clamped(start.as_millis() - 1),
            _ => moment,
        };
        match &self.rule {
            #[cfg(feature = "cron")]
            Rule::Cron(cron) => cron.next_after(from),
            Rule::Every(interval) => {
                let anchor = start.unwrap_or(self.anchor).as_millis();
                // Also before it began, or one that was stored by a clock which is set back would be silent.
                let passed = (from.as_millis() - anchor).div_euclid(*interval);
                Timestamp::from_millis((passed + 1).checked_mul(*interval)?.checked_add(anchor)?)
            }
            Rule::Free => None,
            Rule::Once(at) => Some(*at).filter(|at| *at > from),
        }
    }

    /// The slot of a schedule whose runs follow each other, where it would be at this moment.
    pub(crate) fn free(&self, moment: Timestamp) -> Option<Timestamp> {
        self.within(moment.max(self.bounds.starts_at.unwrap_or(moment)))
    }

    fn within(&self, slot: Timestamp) -> Option<Timestamp> {
        Some(slot).filter(|slot| self.bounds.ends_at.is_none_or(|end| *slot <= end))
    }

    /// Whether each slot follows from the end of the run before it.
    pub(crate) fn are_free(&self) -> bool {
        matches!(self.rule, Rule::Free)
    }

    /// Whether there is at most one.
    pub(crate) fn is_once(&self) -> bool {
        matches!(self.rule, Rule::Once(_))
    }

    /// The slots from `first`, which is one, up to `until`; none where there are more than `most`.
    fn listed(&self, first: Timestamp, until: Timestamp, most: usize) -> Option<Vec<Timestamp>> {
        let mut slots = Vec::new();
        let mut next = Some(first);
        while let Some(slot) = next.filter(|slot| *slot <= until) {
            if slots.len() == most {
                return None;
            }
            slots.push(slot);
            next = self.after(slot);
        }
        Some(slots)
    }

    /// Whether its slots are found one after the other, which takes a while where there are many.
    pub(crate) fn are_stepwise(&self) -> bool {
        !matches!(self.rule, Rule::Every(_))
    }

    /// How many slots there are from `first`, which is one, up to `until`; counted up to `most`.
    pub(crate) fn count(&self, first: Timestamp, until: Timestamp, most: u64) -> u64 {
        if let Rule::Every(interval) = self.rule {
            let last = self.bounds.ends_at.map_or(until, |end| end.min(until));
            let span = last.as_millis() - first.as_millis();
            return if span < 0 { 0 } else { (span / interval).unsigned_abs() + 1 };
        }
        let mut count = 0;
        let mut next = Some(first);
        while let Some(slot) = next.filter(|slot| *slot <= until && count < most) {
            count += 1;
            next = self.after(slot);
        }
        count
    }

    /// The newest slots from `first`, which is one, up to `until`, at most so many, oldest first. However
    /// long that is, the cost is that of some times so many slots.
    pub(crate) fn newest(&self, first: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        // Looked for in spans before `until`, each twice as long as the last, until one holds enough.
        let bound = most * 4 + 64;
        let in_span = |span: i64| {
            let from = Timestamp::clamped(until.as_millis().saturating_sub(span));
            let begin = if from < first { Some(first) } else { self.after(from) };
            begin.map_or(Some(Vec::new()), |begin| self.listed(begin, until, bound))
        };
        let whole = (until.as_millis() - first.as_millis()).saturating_add(1);
        let (mut few, mut span) = (0, 1_000);
        let mut found = in_span(span);
        while span < whole && found.as_ref().is_some_and(|found| found.len() < most) {
            few = span;
            span *= 2;
            found = in_span(span);
        }
        // Where there are suddenly too many, in the middle between few and too many.
        let mut many = span;
        while found.is_none() && many - few > 1 {
            let middle = few + (many - few) / 2;
            found = in_span(middle);
            match &found {
                Some(enough) if enough.len() >= most => {}
                Some(_) => (few, found) = (middle, None),
                None => many = middle,
            }
        }
        let mut slots = found.or_else(|| in_span(few)).unwrap_or_default();
        slots.split_off(slots.len().saturating_sub(most))
    }

    /// The shortest time from one slot to the next, as far as it is told; none where there is but one.
    pub(crate) fn gap(&self) -> Option<Duration> {
        match &self.rule {
            #[cfg(feature = "cron")]
            Rule::Cron(cron) => Some(cron.shortest_gap()),
            Rule::Every(interval) => Some(Duration::from_millis(interval.unsigned_abs())),
            Rule::Free | Rule::Once(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::clamped(ms)
    }

    fn every(ms: u64, anchor: i64, bounds: Bounds) -> Slots {
        let timing = Timing::Every { interval: Duration::from_millis(ms) };
        timing.slots(at(anchor), bounds, true).expect("in range")
    }

    proptest! {
        /// Wherever somebody looks from, the slots of an interval are the same, and it has no first drift.
        #[test]
        fn an_interval_stays_on_its_lattice(
            interval in 1_000..100_000_000_u64, anchor in 0..2_000_000_000_000_i64,
            from in 0..4_000_000_000_000_i64
        ) {
            let slots = every(interval, anchor, Bounds::default());
            let next = slots.after(at(from)).expect("for ever").as_millis();
            prop_assert!(next > from && next - from <= interval.cast_signed());
            prop_assert_eq!((next - anchor).rem_euclid(interval.cast_signed()), 0);
        }

        /// The newest are the end of all, however they are looked for.
        #[test]
        fn the_newest_are_the_end_of_all(interval in 1_000..10_000_u64, count in 1..300_i64, most in 1..9_usize) {
            let slots = every(interval, 5_000, Bounds::default());
            let first = slots.after(at(5_000)).expect("for ever");
            let until = at(first.as_millis() + count * interval.cast_signed() + 17);
            let all = slots.listed(first, until, usize::MAX).expect("no bound");
            prop_assert_eq!(slots.count(first, until, u64::MAX), all.len() as u64);
            let newest = slots.newest(first, until, most);
            prop_assert_eq!(&newest[..], &all[all.len().saturating_sub(most)..]);
        }
    }

    #[test]
    fn a_start_is_the_first_slot_and_an_end_the_last() {
        let bounds = Bounds { starts_at: Some(at(10_000)), ends_at: Some(at(30_000)) };
        let slots = every(10_000, 0, bounds);
        let all = slots.listed(slots.after(at(0)).expect("one"), at(99_000), 9).expect("few");
        assert_eq!(all, [at(10_000), at(20_000), at(30_000)]);
        assert_eq!(slots.after(at(30_000)), None);
        let wrong = Bounds { starts_at: Some(at(2)), ends_at: Some(at(1)) };
        let timing = Timing::Every { interval: Duration::from_secs(60) };
        let error = timing.slots(at(0), wrong, false).err().expect("an end before its start");
        assert_eq!(error.code(), "bad_schedule");
    }

    #[test]
    fn too_short_an_interval_is_told() {
        for (ms, frequent, refused) in [
            (0, true, true),
            (999, true, true),
            (1_000, true, false),
            (4_999, false, true),
            (5_000, false, false),
        ] {
            let timing = Timing::Every { interval: Duration::from_millis(ms) };
            let answer = timing.slots(at(0), Bounds::default(), frequent);
            assert_eq!(answer.err().map(|error| error.code()), refused.then_some("too_frequent"));
        }
    }

    #[test]
    fn a_text_for_people() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let text = |timing: Timing| timing.to_string();
        assert_eq!(text(Timing::Every { interval: minutes(90) }), "Every 90m");
        let (pause, pause_after_error) = (minutes(1), minutes(5));
        let after = text(Timing::AfterFinish { pause, pause_after_error });
        assert_eq!(after, "1m after its last run has succeeded, 5m after it has failed");
        assert_eq!(text(Timing::Once { at: at(0) }), "Once, at 1970-01-01T00:00:00.000Z");
    }
}
