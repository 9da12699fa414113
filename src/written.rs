//! Define: spans and moments as people write them.
//!
//! A span is a number and its unit, as in `90s` or `1h30m`; a moment is RFC 3339 text with its zone. What is
//! refused is told with what is wrong, and a span with the place where it goes wrong.

use std::str::FromStr;
use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime};

use crate::error::Error;
use crate::range::AGE;
use crate::time::{Timestamp, UNITS};

/// Why text is no span.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadSpan {
    /// At this character, counted from 1, something else is needed.
    Form { at: usize, needed: &'static str },
    /// It is longer than can be counted.
    TooLong,
}

/// Reads a span: a whole number and a unit (`ms`, `s`, `m`, `h`, `d`), or several that follow each other
/// from the largest unit to the smallest, as in `1h30m`.
///
/// # Errors
///
/// `bad_duration` for any other text, with the character where it goes wrong, counted from 1;
/// `out_of_range` for more than [`SPAN_MAX`](crate::SPAN_MAX).
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(litework::parse_duration("1h30m")?, Duration::from_secs(5_400));
/// assert_eq!(litework::parse_duration("250ms")?, Duration::from_millis(250));
///
/// let error = litework::parse_duration("5 m").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"bad_duration: duration is "5 m"; a unit (ms, s, m, h or d) is needed at character 2, as in "1h30m""#
/// );
/// # Ok::<(), litework::Error>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    match span_of(text) {
        Ok(span) if (AGE.least..=AGE.most).contains(&span) => Ok(span),
        Ok(_) | Err(BadSpan::TooLong) => {
            Err(Error::invalid("out_of_range", "duration", text, AGE.text))
        }
        Err(BadSpan::Form { at, needed }) => {
            let allowed = format!("{needed} at character {at}, as in \"1h30m\"");
            Err(Error::invalid("bad_duration", "duration", text, allowed))
        }
    }
}

/// The same without its limit, for settings that have limits of their own.
pub(crate) fn span_of(text: &str) -> Result<Duration, BadSpan> {
    let (mut rest, mut total_ms, mut larger_ms) = (text, 0_u64, u64::MAX);
    loop {
        // All that was read is ASCII, so that bytes are characters.
        let at = text.len() - rest.len() + 1;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(BadSpan::Form { at, needed: "a whole number is needed" });
        }
        let (number, unit) = rest.split_at(digits);
        let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, next) = unit.split_at(letters);
        let Some((_, unit_ms)) = UNITS.iter().find(|(known, _)| *known == word) else {
            let needed = "a unit (ms, s, m, h or d) is needed";
            return Err(BadSpan::Form { at: at + digits, needed });
        };
        if *unit_ms >= larger_ms {
            let needed = "a smaller unit than the one before it is needed";
            return Err(BadSpan::Form { at: at + digits, needed });
        }
        let number = number.parse::<u64>().map_err(|_| BadSpan::TooLong)?;
        let span_ms = number.checked_mul(*unit_ms);
        total_ms = span_ms.and_then(|span| total_ms.checked_add(span)).ok_or(BadSpan::TooLong)?;
        if next.is_empty() {
            return Ok(Duration::from_millis(total_ms));
        }
        (rest, larger_ms) = (next, *unit_ms);
    }
}

/// Reads RFC 3339 text with a zone; parts below a millisecond are dropped.
///
/// `bad_time` for text without a zone, for days and times that no calendar or clock has, leap seconds among
/// them, and for moments outside the years 1970 to 9999 in UTC.
///
/// ```
/// use litework::Timestamp;
///
/// let moment: Timestamp = "2026-03-29T02:30:00+01:00".parse()?;
/// assert_eq!(moment.to_string(), "2026-03-29T01:30:00.000Z");
///
/// let error = "2026-02-30T00:00:00Z".parse::<Timestamp>().unwrap_err();
/// assert!(error.to_string().contains("there is no day 30 in 2026-02"));
/// # Ok::<(), litework::Error>(())
/// ```
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        moment_of(text).map_err(|wrong| {
            let allowed = format!(
                "{wrong}; write it as 2026-03-29T02:30:00Z or with an offset, as \
                 2026-03-29T02:30:00+01:00"
            );
            Error::invalid("bad_time", "time", text, allowed)
        })
    }
}

fn moment_of(text: &str) -> Result<Timestamp, String> {
    let written = Written::read(text)?;
    let Some(east_s) = written.east_s else { return Err("it has no zone".to_owned()) };
    if !written.has_seconds {
        return Err("it has no seconds".to_owned());
    }
    moment_at(written.local, east_s)
}

/// The moment of this local time where clocks are so many seconds ahead of UTC.
pub(crate) fn moment_at(local: NaiveDateTime, east_s: i32) -> Result<Timestamp, String> {
    let ms = local.and_utc().timestamp_millis() - i64::from(east_s) * 1_000;
    Timestamp::from_millis(ms).ok_or_else(|| "it lies outside the years 1970 to 9999".to_owned())
}

/// A date and a time of day, and the offset if one was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) local: NaiveDateTime,
    /// How many seconds its zone is ahead of UTC.
    pub(crate) east_s: Option<i32>,
    pub(crate) has_seconds: bool,
}

impl Written {
    /// Reads `2026-03-29T02:30`, with or without seconds, their parts, and an offset; the error says what
    /// is wrong.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text: text.as_bytes(), at: 0 };
        let date = reader.date()?;
        if reader.at == text.len() {
            return Err("it has no time of day".to_owned());
        }
        reader.one_of(b"Tt ", "a `T` or a blank")?;
        let hour = reader.below(24, "hour")?;
        reader.one_of(b":", "a `:`")?;
        let minute = reader.below(60, "minute")?;
        let has_seconds = reader.eat(b":");
        let (second, ms) = if has_seconds { reader.seconds()? } else { (0, 0) };
        let east_s = reader.offset()?;
        if reader.at < text.len() {
            return Err(reader.needs("nothing more"));
        }
        let local = date.and_hms_milli_opt(hour, minute, second, ms);
        let local = local.ok_or_else(|| "no clock shows this time of day".to_owned())?;
        Ok(Self { local, east_s, has_seconds })
    }
}

/// Reads from the left; what it has read is ASCII.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn needs(&self, what: &str) -> String {
        format!("{what} is needed at character {}", self.at + 1)
    }

    fn eat(&mut self, any: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| any.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn one_of(&mut self, any: &[u8], what: &str) -> Result<(), String> {
        if self.eat(any) { Ok(()) } else { Err(self.needs(what)) }
    }

    /// The digits that come next.
    fn digits(&mut self) -> &[u8] {
        let rest = &self.text[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        &rest[..count]
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize, name: &str) -> Result<u32, String> {
        let start = self.at;
        let found = self.digits();
        if found.len() == digits {
            return Ok(found.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')));
        }
        self.at = start;
        Err(self.needs(&format!("the {name} in {digits} digits")))
    }

    fn below(&mut self, end: u32, name: &str) -> Result<u32, String> {
        match self.number(2, name)? {
            number if number < end => Ok(number),
            number => Err(format!("there is no {name} {number}")),
        }
    }

    fn date(&mut self) -> Result<NaiveDate, String> {
        let year = self.number(4, "year")?;
        self.one_of(b"-", "a `-`")?;
        let month = self.number(2, "month")?;
        if !(1..=12).contains(&month) {
            return Err(format!("there is no month {month}"));
        }
        self.one_of(b"-", "a `-`")?;
        let day = self.number(2, "day")?;
        let date = i32::try_from(year).ok().and_then(|y| NaiveDate::from_ymd_opt(y, month, day));
        date.ok_or_else(|| format!("there is no day {day} in {year:04}-{month:02}"))
    }

    /// Seconds and milliseconds.
    fn seconds(&mut self) -> Result<(u32, u32), String> {
        let second = self.number(2, "second")?;
        if second == 60 {
            return Err("60 is a leap second, which this clock does not count".to_owned());
        }
        if second > 60 {
            return Err(format!("there is no second {second}"));
        }
        if !self.eat(b".") {
            return Ok((second, 0));
        }
        let parts = self.digits();
        let place = |(place, digit): (u32, &u8)| u32::from(digit - b'0') * place;
        let ms = [100, 10, 1].into_iter().zip(parts).map(place).sum();
        if parts.is_empty() { Err(self.needs("a digit")) } else { Ok((second, ms)) }
    }

    /// `Z`, or an offset such as `+01:00`; none at the end of the text.
    fn offset(&mut self) -> Result<Option<i32>, String> {
        if self.eat(b"Zz") {
            return Ok(Some(0));
        }
        let sign = if self.eat(b"+") {
            1
        } else if self.eat(b"-") {
            -1
        } else {
            return Ok(None);
        };
        let hours = self.below(24, "hour of an offset")?;
        self.one_of(b":", "a `:`")?;
        let minutes = self.below(60, "minute of an offset")?;
        Ok(i32::try_from((hours * 60 + minutes) * 60).ok().map(|east_s| sign * east_s))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{SPAN_MAX, span_text};

    #[test]
    fn a_span_is_a_number_and_a_unit_or_several_from_the_largest_down() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("007s", 7_000),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(parse_duration(text).expect(text), Duration::from_millis(ms), "{text}");
        }
        assert_eq!(parse_duration("36500d").expect("the longest"), SPAN_MAX);
    }

    #[test]
    fn what_is_no_span_is_told_with_the_place_where_it_goes_wrong() {
        let unit = "a unit (ms, s, m, h or d) is needed";
        let number = "a whole number is needed";
        let smaller = "a smaller unit than the one before it is needed";
        for (text, needed, at) in [
            ("", number, 1),
            ("5x", unit, 2),
            ("-1s", number, 1),
            ("1e9h", unit, 2),
            ("5 m", unit, 2),
            (" 5m", number, 1),
            ("5", unit, 2),
            ("1.5h", unit, 2),
            ("5M", unit, 2),
            ("1h30", unit, 5),
            ("1h 30m", number, 3),
            ("30m1h", smaller, 5),
            ("1h1h", smaller, 4),
            ("5\u{b5}s", unit, 2),
            ("\u{665}s", number, 1),
        ] {
            let error = parse_duration(text).expect_err(text);
            let allowed = format!("{needed} at character {at}, as in \"1h30m\"");
            let expected = format!("bad_duration: duration is {text:?}; {allowed}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_span_longer_than_any_setting_is_out_of_range() {
        let endless = "9".repeat(500) + "d";
        for text in [
            "36500d1ms",
            "36501d",
            "18446744073709551615ms",
            "213503982335d",
            "1d99999999999999999999ms",
            &endless,
        ] {
            let error = parse_duration(text).expect_err(text);
            assert_eq!(error.code(), "out_of_range");
            assert!(error.to_string().ends_with("; 0 to 100 years"), "{error}");
            assert!(error.to_string().len() < 200, "{error}");
        }
    }

    #[test]
    fn a_moment_is_rfc_3339_text_with_its_zone() {
        for (text, same) in [
            ("2026-03-29T02:30:00Z", "2026-03-29T02:30:00.000Z"),
            ("2026-03-29t02:30:00z", "2026-03-29T02:30:00.000Z"),
            ("2026-03-29 02:30:00.0079+02:00", "2026-03-29T00:30:00.007Z"),
            ("2026-03-29T02:30:00.5-09:30", "2026-03-29T12:00:00.500Z"),
            ("2024-02-29T00:00:00-00:00", "2024-02-29T00:00:00.000Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("1969-12-31T23:30:00-00:30", "1970-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().expect(text).to_string(), same);
        }
    }

    #[test]
    fn what_is_no_moment_is_told_with_what_is_wrong() {
        for (text, wrong) in [
            ("", "the year in 4 digits is needed at character 1"),
            ("2026-03-29", "it has no time of day"),
            ("2026-03-29T02:30:00", "it has no zone"),
            ("2026-03-29T02:30Z", "it has no seconds"),
            ("2026-02-30T00:00:00Z", "there is no day 30 in 2026-02"),
            ("2026-02-00T00:00:00Z", "there is no day 0 in 2026-02"),
            ("2026-13-01T00:00:00Z", "there is no month 13"),
            ("2026-03-29T24:61:00Z", "there is no hour 24"),
            ("2026-03-29T23:61:00Z", "there is no minute 61"),
            ("2026-03-29T23:59:61Z", "there is no second 61"),
            ("2016-12-31T23:59:60Z", "60 is a leap second, which this clock does not count"),
            ("1969-12-31T23:59:59Z", "it lies outside the years 1970 to 9999"),
            ("9999-12-31T23:59:59-00:01", "it lies outside the years 1970 to 9999"),
            ("10000-01-01T00:00:00Z", "the year in 4 digits is needed at character 1"),
            ("2026-3-29T02:30:00Z", "the month in 2 digits is needed at character 6"),
            ("2026/03/29T02:30:00Z", "a `-` is needed at character 5"),
            ("2026-03-29T02:30:00.Z", "a digit is needed at character 21"),
            (
                "2026-03-29T02:30:00+1",
                "the hour of an offset in 2 digits is needed at character 21",
            ),
            ("2026-03-29T02:30:00+24:00", "there is no hour of an offset 24"),
            (
                "2026-03-29T02:30:00+0100",
                "the hour of an offset in 2 digits is needed at character 21",
            ),
            ("2026-03-29T02:30:00Z ", "nothing more is needed at character 21"),
            ("2026-03-29\u{2003}02:30:00Z", "a `T` or a blank is needed at character 11"),
            ("tomorrow", "the year in 4 digits is needed at character 1"),
        ] {
            let error = text.parse::<Timestamp>().expect_err(text);
            assert_eq!(error.code(), "bad_time");
            assert!(error.to_string().contains(&format!("{text:?}; {wrong}; write it")), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_text_of_a_span_is_read_as_that_span(ms in 0_u64..=3_153_600_000_000) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&span_text(span)).expect("a span"), span);
        }

        #[test]
        fn the_text_of_a_moment_is_read_as_that_moment(ms in 0..=Timestamp::MAX.as_millis()) {
            let moment = Timestamp::from_millis(ms).expect("in range");
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().expect("a moment"), moment);
        }

        /// What is read here is read by serde, and as the same moment.
        #[test]
        fn serde_agrees_on_what_is_accepted(
            text in "(1969|1970|2026|9999)-(0[0-9]|1[0-3])-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])"
        ) {
            if let Ok(moment) = text.parse::<Timestamp>() {
                let json = serde_json::Value::String(text);
                prop_assert_eq!(serde_json::from_value::<Timestamp>(json).expect("the same"), moment);
            }
        }
    }
}
