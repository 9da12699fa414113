//! Define: a zone of the IANA time zone database, and what its clocks show.
//!
//! The database is part of the program, so the same program gives the same answers on every machine. It knows
//! changes of clocks up to the year 2099; afterwards each zone keeps the offset that it has then.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, SecondsFormat, TimeDelta, TimeZone};
use chrono_tz::{IANA_TZDB_VERSION, TZ_VARIANTS, Tz};

use crate::error::Error;
use crate::near::{did_you_mean, nearest};
use crate::time::Timestamp;
use crate::written::{Written, moment_at};

/// No clock is further from UTC than this, nor is one set back or forward by more. Since 1970 none was set forward by
/// more than a day or back by more than 7 hours, and never twice within 6 days.
const SHIFT_MAX_S: i64 = 26 * 60 * 60;

/// No name in the database is as long, so that nothing longer looks like one.
const NAME_BYTES_MAX: usize = 40;

/// Whoever asks for local time or an offset is told how to come by a zone.
const LOCAL_HINT: &str =
    "; name the zone, or ask the computer for its own, as the crate iana-time-zone does";

/// A zone of the IANA time zone database, such as `Europe/Berlin`.
///
/// ```
/// use litework::Zone;
///
/// let berlin: Zone = "Europe/Berlin".parse()?;
/// assert_eq!(berlin.moment("2026-06-01 09:00")?.to_string(), "2026-06-01T07:00:00.000Z");
///
/// let error = "europe/berlin".parse::<Zone>().unwrap_err();
/// assert!(error.to_string().ends_with("; did you mean Europe/Berlin?"));
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Zone {
    /// Coordinated universal time, which no clock change touches.
    pub const UTC: Self = Self(Tz::UTC);

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The moment when clocks in this zone show that time: `2026-03-29 02:30`, `2026-03-29T02:30:15`, or
    /// RFC 3339 text with an offset of its own, as [`Timestamp`] reads it.
    ///
    /// # Errors
    ///
    /// `bad_time` for text that is no time, for a time that a change of clocks skips, with the moments before
    /// and after it, and for one that comes twice, with both moments.
    ///
    /// ```
    /// # let berlin: litework::Zone = "Europe/Berlin".parse()?;
    /// let twice = berlin.moment("2026-10-25 02:30").unwrap_err().to_string();
    /// assert!(twice.contains("2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"));
    /// assert!(berlin.moment("2026-10-25T02:30:00+01:00").is_ok());
    ///
    /// let never = berlin.moment("2026-03-29 02:30").unwrap_err().to_string();
    /// assert!(never.contains("2026-03-29T01:59:59+01:00 or 2026-03-29T03:00:00+02:00"));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn moment(self, text: &str) -> Result<Timestamp, Error> {
        let bad = |wrong: String| Error::invalid("bad_time", "time", text, wrong);
        let written = Written::read(text).map_err(|wrong| {
            bad(format!("{wrong}; write it as 2026-03-29 02:30 or 2026-03-29T02:30:15"))
        })?;
        if written.east_s.is_some() {
            return text.parse();
        }
        let local = written.local;
        match self.offsets_of(local) {
            LocalResult::Single(east_s) => moment_at(local, east_s).map_err(bad),
            LocalResult::Ambiguous(first, second) => {
                let [first, second] = [first, second].map(|east_s| self.shown(local, east_s));
                Err(bad(format!("in {self} it comes twice: write {first} or {second}")))
            }
            LocalResult::None => {
                let after = self.after_gap(local);
                let before = Timestamp::clamped(after.as_millis() - 1_000);
                let [before, after] = [before, after].map(|at| self.show(at));
                Err(bad(format!("in {self} clocks skip it: write {before} or {after}")))
            }
        }
    }

    /// What clocks in this zone show at a moment, as RFC 3339 text with its offset.
    ///
    /// ```
    /// # use litework::{Timestamp, Zone};
    /// let tokyo: Zone = "Asia/Tokyo".parse()?;
    /// let moment: Timestamp = "2026-06-01T07:00:00Z".parse()?;
    /// assert_eq!(tokyo.show(moment), "2026-06-01T16:00:00+09:00");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn show(self, at: Timestamp) -> String {
        self.shown(self.local(at), self.offset_at(at))
    }

    /// What a clock shows at this moment.
    pub(crate) fn local(self, at: Timestamp) -> NaiveDateTime {
        self.0.from_utc_datetime(&at.to_chrono().naive_utc()).naive_local()
    }

    /// How many seconds clocks are ahead of UTC at this moment.
    pub(crate) fn offset_at(self, at: Timestamp) -> i32 {
        let utc = at.to_chrono().naive_utc();
        self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc()
    }

    /// When clocks show this: never, once, or twice, the earlier moment first. A moment outside the range is
    /// the nearest allowed one.
    pub(crate) fn instants_of(self, local: NaiveDateTime) -> LocalResult<Timestamp> {
        self.offsets_of(local).map(|east_s| {
            let ms = local.and_utc().timestamp_millis() - i64::from(east_s) * 1_000;
            Timestamp::clamped(ms)
        })
    }

    /// The first moment after the gap that this time lies in: the change of clocks that skips it.
    pub(crate) fn after_gap(self, local: NaiveDateTime) -> Timestamp {
        let utc_s = local.and_utc().timestamp();
        first(utc_s - SHIFT_MAX_S, utc_s + SHIFT_MAX_S, |at| self.local(at) > local)
    }

    /// The first moment after `from` with another offset than `from` has; `to` must be such a moment.
    pub(crate) fn change_between(self, from: Timestamp, to: Timestamp) -> Timestamp {
        let east_s = self.offset_at(from);
        let [from, to] = [from, to].map(|at| at.as_millis().div_euclid(1_000));
        first(from, to, |at| self.offset_at(at) != east_s)
    }

    fn offsets_of(self, local: NaiveDateTime) -> LocalResult<i32> {
        self.0.offset_from_local_datetime(&local).map(|offset| offset.fix().local_minus_utc())
    }

    /// The text of this time with its offset.
    fn shown(self, local: NaiveDateTime, east_s: i32) -> String {
        let utc = local - TimeDelta::seconds(i64::from(east_s));
        let shown: DateTime<Tz> = self.0.from_utc_datetime(&utc);
        shown.to_rfc3339_opts(SecondsFormat::AutoSi, false)
    }
}

/// The first full second after `no` that is so, where `yes` is so and `no` is not.
fn first(mut no: i64, mut yes: i64, is_so: impl Fn(Timestamp) -> bool) -> Timestamp {
    while yes - no > 1 {
        let middle = no.midpoint(yes);
        if is_so(Timestamp::clamped(middle * 1_000)) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    Timestamp::clamped(yes * 1_000)
}

/// `unknown_zone` for a name that is not in the database, letter by letter, with names that look like it.
impl FromStr for Zone {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        name.parse().map(Self).map_err(|_| {
            let is_local = ["", "local", "localtime", "system"]
                .iter()
                .any(|word| name.trim().eq_ignore_ascii_case(word));
            let hint = if is_local || name.starts_with(['+', '-']) {
                LOCAL_HINT.to_owned()
            } else {
                did_you_mean(&names_near(name))
            };
            let allowed = format!(
                "a name of the IANA time zone database ({IANA_TZDB_VERSION}), such as Europe/Berlin{hint}"
            );
            Error::invalid("unknown_zone", "time zone", name, allowed)
        })
    }
}

/// The same name in another case, a zone of this city, or what looks like it.
fn names_near(name: &str) -> Vec<String> {
    let known = || TZ_VARIANTS.iter().map(|zone| zone.name());
    let is_same = |known: &&str| known.eq_ignore_ascii_case(name);
    let is_city = |known: &&str| {
        let city = known.rsplit_once('/').map_or("", |(_, city)| city);
        !name.is_empty() && city.eq_ignore_ascii_case(name)
    };
    match known().find(is_same).or_else(|| known().find(is_city)) {
        Some(known) => vec![known.to_owned()],
        None if name.len() > NAME_BYTES_MAX => Vec::new(),
        None => nearest(name, known()),
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().expect(name)
    }

    fn local(text: &str) -> NaiveDateTime {
        Written::read(text).expect(text).local
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    #[test]
    fn a_zone_is_known_by_its_name_letter_by_letter() {
        assert_eq!(zone("UTC"), Zone::UTC);
        for name in
            ["Europe/Berlin", "Asia/Kathmandu", "America/Argentina/Buenos_Aires", "Etc/GMT+3"]
        {
            assert_eq!((zone(name).to_string().as_str(), zone(name).name()), (name, name));
        }
        assert_eq!(format!("{:?}", zone("Europe/Berlin")), "Zone(Europe/Berlin)");
        for (bad, hint) in [
            ("europe/berlin", "; did you mean Europe/Berlin?"),
            ("EUROPE/BERLIN", "; did you mean Europe/Berlin?"),
            ("berlin", "; did you mean Europe/Berlin?"),
            ("New_York", "; did you mean America/New_York?"),
            ("Europe/Berln", "; did you mean Europe/Berlin or Europe/Dublin"),
            ("utc", "; did you mean UTC?"),
            ("", "such as Europe/Berlin"),
            ("../../etc", "such as Europe/Berlin"),
            (" UTC", "; did you mean UTC"),
        ] {
            let error = bad.parse::<Zone>().expect_err(bad);
            assert_eq!(error.code(), "unknown_zone");
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("unknown_zone: time zone is {bad:?}; a name")),
                "{text}"
            );
            assert!(text.contains(hint), "{text}");
        }
        for bad in ["Mars/X", "Europe/Berlin\0", "\u{2603}", &"x".repeat(100_000)] {
            let error = bad.parse::<Zone>().expect_err(bad);
            assert!(error.code() == "unknown_zone" && error.to_string().len() < 600, "{error}");
        }
        assert!(TZ_VARIANTS.iter().all(|zone| zone.name().len() <= NAME_BYTES_MAX));
    }

    #[test]
    fn a_local_time_is_one_moment() {
        let berlin = zone("Europe/Berlin");
        for (text, moment) in [
            ("2026-03-29 01:59", "2026-03-29T00:59:00Z"),
            ("2026-03-29T03:00:15", "2026-03-29T01:00:15Z"),
            ("2026-07-01 12:00:00.250", "2026-07-01T10:00:00.25Z"),
            ("2026-03-29T02:30:00Z", "2026-03-29T02:30:00Z"),
            ("2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
            ("2026-10-25 03:00", "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(berlin.moment(text).expect(text), at(moment), "{text}");
        }
        assert_eq!(
            zone("Asia/Kathmandu").moment("1970-01-01 05:30").expect("the first"),
            at("1970-01-01T00:00:00Z")
        );
        assert_eq!(Zone::UTC.moment("2026-03-29 02:30").expect("any"), at("2026-03-29T02:30:00Z"));
    }

    #[test]
    fn a_time_that_never_comes_or_comes_twice_is_told_with_the_moments_to_choose_from() {
        for (name, text, wrong) in [
            (
                "Europe/Berlin",
                "2026-03-29 02:30",
                "clocks skip it: write 2026-03-29T01:59:59+01:00 or 2026-03-29T03:00:00+02:00",
            ),
            (
                "Europe/Berlin",
                "2026-10-25T02:00:00",
                "it comes twice: write 2026-10-25T02:00:00+02:00 or 2026-10-25T02:00:00+01:00",
            ),
            (
                "Pacific/Apia",
                "2011-12-30 00:00",
                "clocks skip it: write 2011-12-29T23:59:59-10:00 or 2011-12-31T00:00:00+14:00",
            ),
            (
                "Pacific/Apia",
                "2011-12-30 23:59:59",
                "clocks skip it: write 2011-12-29T23:59:59-10:00 or 2011-12-31T00:00:00+14:00",
            ),
            (
                "Australia/Lord_Howe",
                "2026-04-05 01:45",
                "it comes twice: write 2026-04-05T01:45:00+11:00 or 2026-04-05T01:45:00+10:30",
            ),
            (
                "Australia/Lord_Howe",
                "2026-10-04 02:29:59",
                "clocks skip it: write 2026-10-04T01:59:59+10:30 or 2026-10-04T02:30:00+11:00",
            ),
        ] {
            let error = zone(name).moment(text).expect_err(text);
            let expected = format!("bad_time: time is {text:?}; in {name} {wrong}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn text_that_is_no_time_is_told_with_what_is_wrong() {
        let form = "; write it as 2026-03-29 02:30 or 2026-03-29T02:30:15";
        for (text, wrong) in [
            ("2026-03-29", format!("it has no time of day{form}")),
            ("2026-02-30 00:00", format!("there is no day 30 in 2026-02{form}")),
            ("2026-03-29 24:61", format!("there is no hour 24{form}")),
            (
                "2016-12-31 23:59:60",
                format!("60 is a leap second, which this clock does not count{form}"),
            ),
            ("02:30", format!("the year in 4 digits is needed at character 1{form}")),
            ("1969-12-31 23:59", "it lies outside the years 1970 to 9999".to_owned()),
        ] {
            let error = Zone::UTC.moment(text).expect_err(text);
            assert_eq!(error.to_string(), format!("bad_time: time is {text:?}; {wrong}"));
        }
        let late = zone("America/New_York").moment("9999-12-31 23:00").expect_err("too late");
        assert_eq!(late.code(), "bad_time");
        let short = zone("Europe/Berlin").moment("2026-03-29T02:30Z").expect_err("no seconds");
        assert!(short.to_string().contains("it has no seconds"), "{short}");
    }

    /// By the definition: a moment shows a time if the time less the offset then is that moment. Around one change
    /// there are two offsets.
    fn by_definition(zone: Zone, local: NaiveDateTime) -> Vec<Timestamp> {
        let utc_s = local.and_utc().timestamp();
        let around = [-SHIFT_MAX_S, SHIFT_MAX_S].map(|by| Timestamp::clamped((utc_s + by) * 1_000));
        let offsets = around.map(|near| i64::from(zone.offset_at(near)));
        let mut found: Vec<Timestamp> = offsets
            .into_iter()
            .map(|east_s| Timestamp::clamped((utc_s - east_s) * 1_000))
            .filter(|moment| zone.local(*moment) == local)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn in_every_zone_each_change_of_clocks_is_seen_from_all_sides() {
        const WEEK_MS: i64 = 7 * 86_400_000;
        let (first, end) = (at("2005-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
        let mut changes = 0;
        for zone in TZ_VARIANTS.iter().map(|tz| Zone(*tz)) {
            let (mut moment, mut east_s) = (first, zone.offset_at(first));
            while moment < end {
                let next = Timestamp::clamped(moment.as_millis() + WEEK_MS);
                let then_s = zone.offset_at(next);
                if then_s != east_s {
                    changes += 1;
                    is_seen(zone, zone.change_between(moment, next));
                }
                (moment, east_s) = (next, then_s);
            }
        }
        assert!(changes > 5_000, "{changes} changes of clocks were found");
    }

    fn is_seen(zone: Zone, change: Timestamp) {
        let second = |by: i64| Timestamp::clamped(change.as_millis() + by * 1_000);
        let (before, after) = (zone.offset_at(second(-1)), zone.offset_at(change));
        assert_ne!(before, after);
        let end = change.to_chrono().naive_utc() + TimeDelta::seconds(before.into());
        let middle = end + TimeDelta::seconds(i64::from(after - before) / 2);
        let edges = [-1, 0, 1].map(|by| end + TimeDelta::seconds(by));
        for local in edges.into_iter().chain([middle, zone.local(change), zone.local(second(-1))]) {
            let found = match zone.instants_of(local) {
                LocalResult::None => vec![],
                LocalResult::Single(at) => vec![at],
                LocalResult::Ambiguous(first, second) => vec![first, second],
            };
            assert_eq!(found, by_definition(zone, local), "{zone} {local}");
            if found.is_empty() {
                assert_eq!(zone.after_gap(local), change, "{zone} {local}");
            }
        }
    }

    #[test]
    fn a_gap_of_a_day_ends_at_its_end() {
        let apia = zone("Pacific/Apia");
        for text in ["2011-12-30 00:00", "2011-12-30 12:00:07", "2011-12-30 23:59:59"] {
            assert_eq!(apia.after_gap(local(text)), at("2011-12-30T10:00:00Z"), "{text}");
        }
    }
}
