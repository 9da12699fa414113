//! Define: the slots of a cron expression in a zone.
//!
//! An expression speaks of local time. Which local times match is found without any zone, as if no clock
//! were ever changed; this module alone says which moments those are, so that a change of clocks has one rule.

mod check;
mod describe;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Datelike, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use croner::parser::{CronParser, Seconds, Year};

use crate::error::Error;
use crate::time::Timestamp;
use crate::zone::Zone;
use check::{DayRule, Fields, numbers};

/// A slot is looked for this far ahead: 30 years, which is more than the 28 in which days of the month, leap days
/// and weekdays come round.
const AHEAD: TimeDelta = TimeDelta::days(30 * 366);
/// No change of clocks repeats more than this, nor does another follow it so soon.
const REPEAT_MAX: Duration = Duration::from_secs(26 * 60 * 60);
/// The calendar repeats after 400 years, days of the week included.
const CYCLE_YEARS: i32 = 400;
const CYCLE_DAYS: i64 = 146_097;
/// The first year of the cycle in which slots are looked for.
const LAST_CYCLE: i32 = 4_550;
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// A cron expression in a time zone: when something is due, again and again.
///
/// Five fields, separated by blanks or tabs, or six with the seconds first:
///
/// | Field | Values | Also |
/// |---|---|---|
/// | second | 0–59 | |
/// | minute | 0–59 | |
/// | hour | 0–23 | |
/// | day of month | 1–31 | `?`, `L` the last day, `15W` the day of Monday to Friday nearest to the 15th in its month, `LW` the last of Monday to Friday |
/// | month | 1–12, `JAN`–`DEC` | |
/// | weekday | 0–7, `SUN`–`SAT`; Sunday is 0 and 7 | `?`, `5L` the last Friday of the month, `FRI#2` the second |
///
/// A field is `*`, or a list (`1,15`) of values, ranges (`9-17`) and steps (`*/15`, `9-17/2`). Case does not
/// matter. `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight` and `@hourly` stand for a
/// whole expression.
///
/// # Two fields for the day
///
/// As in Vixie cron: if both fields are set, a day is meant that **either** of them names. A field that begins with
/// `*`, or is `?`, is not set; with a step (`*/2`) it still counts, and then **both** must match.
/// [`describe`](Self::describe) says which.
///
/// # When clocks change
///
/// - An expression whose hour field is every hour keeps pace: it is due at every moment whose local time matches,
///   so in both passes of a repeated hour, and not for times that are skipped.
/// - Any other is due once for each local time that matches, as fixed times are in Cronos and Hangfire: of a time that comes twice, the
///   first time; for one that is skipped, at the first moment after the gap. Two that fall on one moment are one.
///
/// ```
/// use litework::{Cron, Timestamp, Zone};
///
/// let nightly = Cron::new("30 2 * * *")?.zone("Europe/Berlin".parse()?);
/// let noon: Timestamp = "2026-03-28T11:00:00Z".parse()?;
/// // That night clocks go from 02:00 to 03:00.
/// let next = nightly.next_after(noon).expect("it is due each night");
/// assert_eq!(next.to_string(), "2026-03-29T01:00:00.000Z");
/// assert_eq!(nightly.describe(), "At 02:30, every day (Europe/Berlin)");
///
/// let error = Cron::new("0 25 * * *").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"bad_cron: hour of "0 25 * * *" is "25"; at character 3: a number from 0 to 23 is needed"#
/// );
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Clone)]
pub struct Cron {
    plan: Arc<Plan>,
    zone: Zone,
}

/// What an expression says, apart from any zone.
struct Plan {
    expression: String,
    fields: Fields,
    matcher: croner::Cron,
}

impl Cron {
    /// Reads an expression, in UTC until a [`zone`](Self::zone) is set.
    ///
    /// # Errors
    ///
    /// `bad_cron` with the field, its text and the character where it goes wrong, counted from 1; `unsupported` for
    /// what other crons have and this one has not (`H`, `+`, `@reboot`, `@every`, `L-3`, `MON-FRI#2`); `too_long`
    /// for more than 1,000 bytes or 100 items in a list; `never_fires` for days that no calendar has.
    pub fn new(expression: &str) -> Result<Self, Error> {
        let plan = Plan::read(expression)?;
        if plan.after(base()).is_none_or(|slot| slot > base() + AHEAD) {
            let allowed = "no day within 30 years is one that it means";
            return Err(Error::invalid("never_fires", "cron expression", expression, allowed));
        }
        Ok(Self { plan: Arc::new(plan), zone: Zone::UTC })
    }

    /// The same in this zone.
    #[must_use]
    pub fn zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }

    /// The expression as it was given.
    pub fn expression(&self) -> &str {
        &self.plan.expression
    }

    /// The zone in which it is read.
    pub fn zone_of(&self) -> Zone {
        self.zone
    }

    /// The first slot after this moment, not at it. None where there is none within 30 years, or before the end
    /// of the year 9999.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        if moment == Timestamp::MAX {
            return None;
        }
        let slot = if self.plan.fields.are_all_hours() {
            self.next_in_pace(moment)
        } else {
            self.next_once(moment)
        };
        // The last moment is no full second, so no slot: it stands for all that would come after it.
        let ahead = AHEAD.to_std().unwrap_or_default();
        slot.filter(|slot| *slot < Timestamp::MAX && moment.until(*slot) <= ahead)
    }

    /// What the expression says, in English, with the zone.
    ///
    /// ```
    /// let cron = litework::Cron::new("0 9 13 * FRI")?;
    /// assert_eq!(cron.describe(), "At 09:00, on the 13th or on Friday: either (UTC)");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn describe(&self) -> String {
        format!("{} ({})", describe::text(&self.plan.fields), self.zone)
    }

    /// How near to each other two slots come by local time; a change of clocks may bring two nearer on its day.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cron = litework::Cron::new("0,50 9-17 * * *")?;
    /// assert_eq!(cron.shortest_gap(), Duration::from_secs(10 * 60));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn shortest_gap(&self) -> Duration {
        let fields = &self.plan.fields;
        let [seconds, minutes, hours] = [&fields.seconds, &fields.minutes, &fields.hours]
            .map(|field| Spread::of(field.numbers));
        // From the last second of a minute to the first of the next that matches, and so on for longer units.
        let (wrap_s, wrap_m) = (seconds.back, minutes.back * 60 + seconds.back);
        let within_minute = seconds.step;
        let within_hour = minutes.step.map(|step| step * 60 - wrap_s);
        let within_day = hours.step.map(|step| step * 3_600 - wrap_m);
        let wrap_h = hours.back * 3_600 + wrap_m;
        let over_days = self.plan.days_apart() * 86_400 - wrap_h;
        let gaps = [within_minute, within_hour, within_day, Some(over_days)];
        Duration::from_secs(gaps.into_iter().flatten().min().unwrap_or(over_days))
    }

    /// The first moment after this one that shows a time that matches.
    fn next_in_pace(&self, moment: Timestamp) -> Option<Timestamp> {
        let ahead = self.ahead_in_pace(moment)?;
        // A repeated time is met again. Its first pass is not before this moment, so that it comes within a day.
        let horizon = ahead.min(moment.after(REPEAT_MAX));
        if self.zone.offset_at(moment) == self.zone.offset_at(horizon) {
            return Some(ahead);
        }
        let change = self.zone.change_between(moment, horizon);
        let again = self.plan.after(self.zone.local(change) - SECOND)?;
        match self.zone.instants_of(again) {
            LocalResult::Single(again) | LocalResult::Ambiguous(_, again) => Some(again.min(ahead)),
            LocalResult::None => Some(ahead),
        }
    }

    /// The same, looking only at local times that are ahead.
    fn ahead_in_pace(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut local = floor(self.zone.local(moment));
        loop {
            local = self.plan.after(local)?;
            match self.zone.instants_of(local) {
                LocalResult::Single(slot) | LocalResult::Ambiguous(slot, _) if slot > moment => {
                    return Some(slot);
                }
                LocalResult::Ambiguous(_, slot) if slot > moment => return Some(slot),
                LocalResult::Single(_) | LocalResult::Ambiguous(..) => {}
                LocalResult::None => {
                    local = self.zone.local(self.zone.after_gap(local)) - SECOND;
                }
            }
        }
    }

    /// The first slot of a plan that is due once for each local time. Later times are never due earlier, so the first
    /// time that is due after this moment is it.
    fn next_once(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut local = self.behind(moment);
        loop {
            local = self.plan.after(local)?;
            let slot = match self.zone.instants_of(local) {
                LocalResult::Single(slot) | LocalResult::Ambiguous(slot, _) => slot,
                LocalResult::None => self.zone.after_gap(local),
            };
            if slot > moment {
                return Some(slot);
            }
        }
    }

    /// A local time up to which all was due by this moment: what clocks show or, in the second pass of a repeated
    /// time, the end of what is repeated, which need not be gone through again.
    fn behind(&self, moment: Timestamp) -> NaiveDateTime {
        let local = floor(self.zone.local(moment));
        match self.zone.instants_of(local) {
            LocalResult::Ambiguous(first, second) if second <= moment => {
                let change = self.zone.change_between(first, second);
                self.zone.local(Timestamp::clamped(change.as_millis() - 1_000))
            }
            _ => local,
        }
    }
}

impl Plan {
    fn read(expression: &str) -> Result<Self, Error> {
        let fields = check::check(expression)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .dom_and_dow(fields.rule == DayRule::Both)
            .build();
        let matcher = parser.parse(&fields.numeric()).map_err(|error| {
            Error::invalid("bad_cron", "cron expression", expression, error.to_string())
        })?;
        Ok(Self { expression: expression.to_owned(), fields, matcher })
    }

    /// The first local time after this one that matches, zones apart.
    fn after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        // The search gives up at the year 5000. So it is made in the years before, in the one that is like this one:
        // whatever is asked it ends soon, and no expression needs more than 40 years.
        let like = LAST_CYCLE + (local.year() - LAST_CYCLE).rem_euclid(CYCLE_YEARS);
        let cycles = (like - local.year()) / CYCLE_YEARS;
        let moved = TimeDelta::days(i64::from(cycles) * CYCLE_DAYS);
        let found = self.matcher.find_next_occurrence(&(local + moved), false).ok()?;
        Some(found - moved)
    }

    /// The fewest days from one that matches to the next. In 28 years all kinds of years follow each other that the
    /// calendar has, so 30 show it; the years around 2100 only put leap days further apart.
    fn days_apart(&self) -> u64 {
        let last_of_day = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default();
        let mut fewest = AHEAD.num_days();
        let Some(first) = self.after(base()) else { return fewest.unsigned_abs() };
        let mut at = first;
        while fewest > 1 && at - first < AHEAD {
            let Some(next) = self.after(at.date().and_time(last_of_day)) else { break };
            fewest = fewest.min((next.date() - at.date()).num_days());
            at = next;
        }
        fewest.unsigned_abs()
    }
}

/// How the numbers of a field lie.
struct Spread {
    /// The least distance between two.
    step: Option<u64>,
    /// From the first to the last.
    back: u64,
}

impl Spread {
    fn of(set: u64) -> Self {
        let all: Vec<u64> = numbers(set).map(u64::from).collect();
        let step = all.windows(2).map(|pair| pair[1] - pair[0]).min();
        let back = all.last().zip(all.first()).map_or(0, |(last, first)| last - first);
        Self { step, back }
    }
}

/// Just before the year 2024, from which days are looked for that an expression may mean.
fn base() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2024, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN) - SECOND
}

/// Without parts of a second.
fn floor(local: NaiveDateTime) -> NaiveDateTime {
    local.with_nanosecond(0).unwrap_or(local)
}

impl FromStr for Cron {
    type Err = Error;

    fn from_str(expression: &str) -> Result<Self, Error> {
        Self::new(expression)
    }
}

/// The same text in the same zone.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.zone == other.zone && self.plan.expression == other.plan.expression
    }
}

impl Eq for Cron {}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?}, {})", self.plan.expression, self.zone)
    }
}
