//! Define: reads a cron expression, field by field, and tells what is wrong and where.
//!
//! What passes is a set of numbers for each field, and the few words of the day fields that are no numbers.
//! Whatever finds slots is given these, so it never meets text that was not understood here.

use crate::error::{Error, shorten};
use crate::near::{did_you_mean, nearest};

/// No expression is longer, in bytes.
pub(super) const BYTES_MAX: usize = 1_000;
/// No field lists more.
pub(super) const ITEMS_MAX: usize = 100;

/// What may stand in one field.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) least: u32,
    pub(super) most: u32,
    /// How many different values there are, which no step exceeds.
    count: u32,
    /// Names of the values, from the least on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

pub(super) const SECOND: Kind = Kind { name: "second", least: 0, most: 59, count: 60, names: &[] };
pub(super) const MINUTE: Kind = Kind { name: "minute", least: 0, most: 59, count: 60, names: &[] };
pub(super) const HOUR: Kind = Kind { name: "hour", least: 0, most: 23, count: 24, names: &[] };
pub(super) const DAY: Kind =
    Kind { name: "day of month", least: 1, most: 31, count: 31, names: &[] };
pub(super) const MONTH: Kind =
    Kind { name: "month", least: 1, most: 12, count: 12, names: &MONTHS };
/// Sunday is 0 or 7.
pub(super) const WEEKDAY: Kind =
    Kind { name: "weekday", least: 0, most: 7, count: 7, names: &WEEKDAYS };

const KINDS: [&Kind; 6] = [&SECOND, &MINUTE, &HOUR, &DAY, &MONTH, &WEEKDAY];

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// One field: sets of numbers, a bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// It began with `*`, or was `?`.
    star: bool,
    /// The numbers that match; weekdays are 0 to 6.
    pub(super) numbers: u64,
    /// `15W`: the weekdays nearest to these days of the month.
    pub(super) nearest: u64,
    /// `L`: the last day of the month.
    pub(super) last_day: bool,
    /// `LW`: the last of Monday to Friday in the month.
    pub(super) last_weekday: bool,
    /// `5L`: the last of these weekdays in the month.
    pub(super) last: u64,
    /// `5#2`: the first to fifth of these weekdays in the month.
    pub(super) nth: [u64; 5],
}

/// Which of the day fields decide, as in Vixie cron: a field that begins with `*` restricts the other, and
/// two that do not are alternatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DayRule {
    Every,
    DayOfMonth,
    Weekday,
    Either,
    Both,
}

/// What an expression says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) seconds: Field,
    pub(super) minutes: Field,
    pub(super) hours: Field,
    pub(super) days: Field,
    pub(super) months: Field,
    pub(super) weekdays: Field,
    pub(super) rule: DayRule,
}

impl Fields {
    /// Whether every hour is meant.
    pub(super) fn are_all_hours(&self) -> bool {
        self.hours.is_full(&HOUR)
    }

    /// The same in plain numbers and lists, six fields.
    pub(super) fn numeric(&self) -> String {
        let is_open = |rules: [DayRule; 2]| rules.contains(&self.rule);
        let days = is_open([DayRule::Every, DayRule::Weekday]);
        let weekdays = is_open([DayRule::Every, DayRule::DayOfMonth]);
        let star = || "*".to_owned();
        [
            self.seconds.numeric(),
            self.minutes.numeric(),
            self.hours.numeric(),
            if days { star() } else { self.days.numeric() },
            self.months.numeric(),
            if weekdays { star() } else { self.weekdays.numeric() },
        ]
        .join(" ")
    }
}

/// The numbers of a set, in order.
pub(super) fn numbers(set: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |number| set & (1 << number) != 0)
}

/// A set of so many neighbours from the least value on.
fn full(kind: &Kind) -> u64 {
    ((1_u64 << kind.count) - 1) << kind.least
}

impl Field {
    /// Whether it holds every value.
    pub(super) fn is_full(&self, kind: &Kind) -> bool {
        self.numbers == full(kind)
    }

    fn numeric(&self) -> String {
        let mut items: Vec<String> = numbers(self.numbers).map(|n| n.to_string()).collect();
        items.extend(numbers(self.nearest).map(|day| format!("{day}W")));
        items.extend(self.last_day.then(|| "L".to_owned()));
        items.extend(self.last_weekday.then(|| "LW".to_owned()));
        items.extend(numbers(self.last).map(|day| format!("{day}L")));
        for (nth, days) in (1..).zip(self.nth) {
            items.extend(numbers(days).map(|day| format!("{day}#{nth}")));
        }
        items.join(",")
    }
}

/// Reads an expression.
pub(super) fn check(text: &str) -> Result<Fields, Error> {
    if text.len() > BYTES_MAX {
        let allowed = format!("at most {BYTES_MAX} bytes");
        return Err(Error::invalid("too_long", "cron expression", text, allowed));
    }
    let is_strange = |c: char| !(c.is_ascii_graphic() || c == ' ' || c == '\t');
    if let Some(at) = text.find(is_strange) {
        let allowed = format!("character {} is not allowed: ASCII, blanks and tabs", at + 1);
        return Err(Error::invalid("bad_cron", "cron expression", text, allowed));
    }
    let parts = parts(text);
    if let [(_, word), rest @ ..] = parts.as_slice()
        && word.starts_with('@')
    {
        return nickname(text, word, rest);
    }
    let kinds = match parts.len() {
        5 => &KINDS[1..],
        6 => &KINDS[..],
        found => {
            let allowed = format!("5 or 6 fields, got {found}");
            return Err(Error::invalid("bad_cron", "cron expression", text, allowed));
        }
    };
    let fields = kinds.iter().zip(parts).map(|(kind, (at, text_of_field))| {
        Part { expression: text, kind, start: at, text: text_of_field, at: 0 }.field()
    });
    let mut fields = fields.collect::<Result<Vec<Field>, Error>>()?.into_iter().rev();
    let mut next = || fields.next().unwrap_or_else(|| Field { numbers: 1, ..Field::default() });
    let [weekdays, months, days, hours, minutes, seconds] = [(); 6].map(|()| next());
    let rule = rule_of(&days, &weekdays);
    Ok(Fields { seconds, minutes, hours, days, months, weekdays, rule })
}

/// The fields, each with the bytes before it.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    words.map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word)).collect()
}

fn rule_of(days: &Field, weekdays: &Field) -> DayRule {
    let open = |field: &Field, kind| field.star && field.is_full(kind);
    match (open(days, &DAY), open(weekdays, &WEEKDAY)) {
        (true, true) => DayRule::Every,
        (false, true) => DayRule::DayOfMonth,
        (true, false) => DayRule::Weekday,
        (false, false) if days.star || weekdays.star => DayRule::Both,
        (false, false) => DayRule::Either,
    }
}

fn nickname(text: &str, word: &str, rest: &[(usize, &str)]) -> Result<Fields, Error> {
    let unsupported =
        |what: &str| Err(Error::invalid("unsupported", "cron expression", text, what));
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("@every") {
        return unsupported("`@every` is no expression: use an interval");
    }
    if is("@reboot") {
        return unsupported("`@reboot` is no time: enqueue the task when the program starts");
    }
    if let Some((at, _)) = rest.first() {
        let allowed = format!("nothing may follow {word}, but character {} does", at + 1);
        return Err(Error::invalid("bad_cron", "cron expression", text, allowed));
    }
    if let Some((_, expression)) = NICKNAMES.iter().find(|(name, _)| is(name)) {
        return check(expression);
    }
    let known = NICKNAMES.map(|(name, _)| name);
    let hint = did_you_mean(&nearest(&word.to_ascii_lowercase(), known));
    let allowed = format!("the names are {}{hint}", known.join(", "));
    Err(Error::invalid("bad_cron", "cron expression", text, allowed))
}

/// A field that is read from the left.
struct Part<'a> {
    expression: &'a str,
    kind: &'static Kind,
    /// The bytes of the expression before it.
    start: usize,
    text: &'a str,
    /// What was read.
    at: usize,
}

impl<'a> Part<'a> {
    fn field(mut self) -> Result<Field, Error> {
        let items = self.text.split(',').count();
        if items > ITEMS_MAX {
            let (place, value) = (self.place(), format!("{items} items"));
            let allowed = format!("at most {ITEMS_MAX} in one list");
            return Err(Error::invalid("too_long", place, format_args!("{value}"), allowed));
        }
        let mut field = Field::default();
        loop {
            self.item(&mut field)?;
            match self.peek() {
                None => break,
                Some(b',') => self.at += 1,
                Some(byte) => return Err(self.unexpected(byte)),
            }
        }
        if field.last_day && field.last_weekday {
            let what = "`L` and `LW` in one list: make two expressions of it";
            return Err(self.unsupported(0, what));
        }
        Ok(field)
    }

    fn is_day(&self) -> bool {
        self.kind.name == DAY.name
    }

    fn is_weekday(&self) -> bool {
        self.kind.name == WEEKDAY.name
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Letters or digits that come next.
    fn run(&self, is_part: impl Fn(&u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        &rest[..rest.bytes().take_while(is_part).count()]
    }

    fn place(&self) -> String {
        format!("{} of {:?}", self.kind.name, shorten(self.expression))
    }

    /// An error about what stands after so many bytes of this field.
    fn bad(&self, at: usize, what: impl std::fmt::Display) -> Error {
        let allowed = format!("at character {}: {what}", self.start + at + 1);
        Error::invalid("bad_cron", self.place(), self.text, allowed)
    }

    fn unsupported(&self, at: usize, what: impl std::fmt::Display) -> Error {
        let allowed = format!("at character {}: {what}", self.start + at + 1);
        Error::invalid("unsupported", self.place(), self.text, allowed)
    }

    fn unexpected(&self, byte: u8) -> Error {
        let found = char::from(byte);
        match byte {
            b'/' => self.bad(self.at, "a step stands once, after `*` or a range, as in 10-59/30"),
            b'*' | b'?' => self.bad(self.at, format!("`{found}` stands alone")),
            b'#' | b'L' | b'l' if self.is_weekday() => {
                self.unsupported(self.at, format!("`{found}` follows one weekday, as in 5L or 5#2"))
            }
            b'#' => self.bad(self.at, "`#` is for weekdays"),
            _ => self.bad(self.at, format!("`{found}` is not expected here")),
        }
    }

    /// What a value of this field looks like.
    fn values(&self) -> String {
        let Kind { least, most, names, .. } = self.kind;
        let names = match names {
            [first, .., last] => format!(" or a name ({first} to {last})"),
            _ => String::new(),
        };
        format!("a number from {least} to {most}{names}")
    }

    fn item(&mut self, field: &mut Field) -> Result<(), Error> {
        let start = self.at;
        match self.peek() {
            None | Some(b',') => Err(self.bad(start, format!("{} is missing", self.values()))),
            Some(b'+') => Err(self.unsupported(start, "`+`, by which both day fields must match")),
            Some(b'H' | b'h') => {
                Err(self.unsupported(start, "`H`, a number drawn by lot: write one"))
            }
            Some(b'?') => self.question_mark(field),
            Some(b'*') => {
                self.at += 1;
                let step = self.step()?;
                let is_alone = start == 0 && self.at == self.text.len();
                if step.is_none() && !is_alone {
                    return match self.peek() {
                        Some(byte) if byte != b',' => Err(self.unexpected(byte)),
                        _ => Err(self.bad(start, "`*` stands alone")),
                    };
                }
                field.star |= start == 0;
                let Kind { least, most, .. } = *self.kind;
                self.add_range(field, least, most, step);
                Ok(())
            }
            Some(b'L' | b'l') if self.is_day() => self.last_day(field),
            _ => self.value_or_range(field),
        }
    }

    fn question_mark(&mut self, field: &mut Field) -> Result<(), Error> {
        if !self.is_day() && !self.is_weekday() {
            return Err(self.bad(self.at, "`?` is for the day of month and the weekday"));
        }
        if self.text.len() > 1 {
            return Err(self.unsupported(self.at, "`?` with something else: it stands alone"));
        }
        self.at += 1;
        *field = Field { star: true, numbers: full(self.kind), ..Field::default() };
        Ok(())
    }

    fn last_day(&mut self, field: &mut Field) -> Result<(), Error> {
        self.at += 1;
        match self.peek() {
            Some(b'W' | b'w') => {
                self.at += 1;
                field.last_weekday = true;
                Ok(())
            }
            Some(b'-') => {
                let what = "days before the last one are not supported: write `L`, or name the days, as in 25-28";
                Err(self.unsupported(self.at - 1, what))
            }
            _ => {
                field.last_day = true;
                Ok(())
            }
        }
    }

    fn value_or_range(&mut self, field: &mut Field) -> Result<(), Error> {
        let start = self.at;
        let (from, _) = self.value()?;
        match self.peek() {
            Some(b'-') => {
                self.at += 1;
                let (to, is_name) = self.value()?;
                // As the last of a week, Sunday is its seventh day.
                let is_sunday = self.is_weekday() && is_name && to == 0 && from > 0;
                let to = if is_sunday { 7 } else { to };
                if to < from {
                    let what = format!(
                        "a range goes from the smaller number to the larger: {to} is below {from}"
                    );
                    return Err(self.bad(start, what));
                }
                let step = self.step()?;
                self.add_range(field, from, to, step);
            }
            Some(b'W' | b'w') if self.is_day() => {
                self.at += 1;
                field.nearest |= 1 << from;
            }
            Some(b'L' | b'l') if self.is_weekday() => {
                self.at += 1;
                field.last |= 1 << (from % 7);
            }
            Some(b'#') if self.is_weekday() => self.nth(field, from % 7)?,
            _ => self.add_range(field, from, from, None),
        }
        Ok(())
    }

    /// Which of these weekdays in the month.
    fn nth(&mut self, field: &mut Field, weekday: u32) -> Result<(), Error> {
        self.at += 1;
        let digits = self.run(u8::is_ascii_digit);
        let (number, length) = (digits.parse().unwrap_or(0), digits.len());
        if length == 0 && matches!(self.peek(), Some(b'L' | b'l')) {
            self.at += 1;
            field.last |= 1 << weekday;
            return Ok(());
        }
        let Some(days) = usize::checked_sub(number, 1).and_then(|nth| field.nth.get_mut(nth))
        else {
            return Err(self.bad(self.at, "a number from 1 to 5 or `L` is needed"));
        };
        *days |= 1 << weekday;
        self.at += length;
        Ok(())
    }

    /// A number or a name, and whether it was a name.
    fn value(&mut self) -> Result<(u32, bool), Error> {
        let Kind { least, most, names, .. } = *self.kind;
        let digits = self.run(u8::is_ascii_digit);
        if !digits.is_empty() {
            let (value, length) = (digits.parse().unwrap_or(u32::MAX), digits.len());
            if !(least..=most).contains(&value) {
                return Err(self.bad(self.at, format!("{} is needed", self.values())));
            }
            self.at += length;
            return Ok((value, false));
        }
        let letters = self.run(u8::is_ascii_alphabetic);
        // `FRIL`: the last letter is not the name's.
        let letters = match letters.strip_suffix(['L', 'l']) {
            Some(name) if self.is_weekday() && name.len() == 3 => name,
            _ => letters,
        };
        let found = names.iter().position(|name| name.eq_ignore_ascii_case(letters));
        let Some(index) = found.and_then(|index| u32::try_from(index).ok()) else {
            return Err(self.bad(self.at, format!("{} is needed", self.values())));
        };
        self.at += letters.len();
        Ok((least + index, true))
    }

    /// `/15`, if it comes next.
    fn step(&mut self) -> Result<Option<u32>, Error> {
        if !self.eat(b'/') {
            return Ok(None);
        }
        let digits = self.run(u8::is_ascii_digit);
        let (step, length) = (digits.parse().unwrap_or(0), digits.len());
        let most = self.kind.count;
        if !(1..=most).contains(&step) {
            return Err(self.bad(self.at, format!("a step from 1 to {most} is needed")));
        }
        self.at += length;
        Ok(Some(step))
    }

    fn add_range(&self, field: &mut Field, from: u32, to: u32, step: Option<u32>) {
        let is_weekday = self.is_weekday();
        for number in (from..=to).step_by(step.unwrap_or(1) as usize) {
            field.numbers |= 1 << if is_weekday { number % 7 } else { number };
        }
    }
}
