//! Define: a cron expression in words.

use super::check::{
    DAY, DayRule, Field, Fields, HOUR, Kind, MINUTE, MONTH, SECOND, WEEKDAY, numbers,
};

/// More times of a day than these are not listed.
const TIMES_MAX: u32 = 6;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Monday is 1.
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// One sentence without its full stop: the time of day, the days, the months.
pub(super) fn text(fields: &Fields) -> String {
    let times = times(fields);
    let is_listed = times.is_some();
    let time = times.unwrap_or_else(|| units(fields));
    let day = day(fields).or_else(|| is_listed.then(|| "every day".to_owned()));
    let month = (!fields.months.is_full(&MONTH))
        .then(|| format!("in {}", spans(fields.months.numbers, month_name)));
    let parts: Vec<String> = [Some(time), day, month].into_iter().flatten().collect();
    parts.join(", ")
}

/// The times of a day, if they are few.
fn times(fields: &Fields) -> Option<String> {
    let [seconds, minutes, hours] =
        [&fields.seconds, &fields.minutes, &fields.hours].map(|field| field.numbers);
    let count = [seconds, minutes, hours].iter().map(|set| set.count_ones()).product::<u32>();
    if count > TIMES_MAX || seconds.count_ones() > 1 {
        return None;
    }
    let second = seconds.trailing_zeros();
    let all = numbers(hours).flat_map(|hour| {
        numbers(minutes).map(move |minute| match second {
            0 => format!("{hour:02}:{minute:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}"),
        })
    });
    Some(format!("At {}", and(&all.collect::<Vec<_>>())))
}

/// The time of day as units of units: seconds of minutes of hours.
fn units(fields: &Fields) -> String {
    let (seconds, minutes, hours) = (&fields.seconds, &fields.minutes, &fields.hours);
    let mut larger = vec![(minutes, &MINUTE), (hours, &HOUR)];
    let first = if seconds.numbers == 1 { larger.remove(0) } else { (seconds, &SECOND) };
    let text = match (first.0.is_full(first.1), even_step(first.0, first.1)) {
        (true, _) => format!("Every {}", first.1.name),
        (false, Some(step)) => format!("Every {step} {}s", first.1.name),
        (false, None) => format!("At {}", named(first.0, first.1)),
    };
    // A list of numbers belongs to a larger unit, which is named; "every" does without.
    let mut is_list = text.starts_with("At");
    let mut parts = vec![text];
    for (field, kind) in larger {
        let (is_full, step) = (field.is_full(kind), even_step(field, kind));
        if is_full && !is_list {
            continue;
        }
        parts.push(match step {
            _ if is_full => format!("every {}", kind.name),
            Some(step) => format!("every {} {} from 0", nth(step), kind.name),
            None => named(field, kind),
        });
        is_list = !is_full && step.is_none();
    }
    parts.join(" of ")
}

/// `minutes 5, 10 and 20 to 30`.
fn named(field: &Field, kind: &Kind) -> String {
    let plural = if field.numbers.count_ones() > 1 { "s" } else { "" };
    format!("{}{plural} {}", kind.name, spans(field.numbers, |number| number.to_string()))
}

/// The step, where the numbers are equally far apart all through the larger unit.
fn even_step(field: &Field, kind: &Kind) -> Option<u32> {
    let all: Vec<u32> = numbers(field.numbers).collect();
    let step = all.get(1)? - all[0];
    let is_even = all[0] == 0
        && (kind.most + 1).is_multiple_of(step)
        && all.windows(2).all(|pair| pair[1] - pair[0] == step)
        && all.last() == Some(&(kind.most + 1 - step));
    (is_even && step > 1).then_some(step)
}

/// Which days; none where it is every day.
fn day(fields: &Fields) -> Option<String> {
    let (days, weekdays) = (days(&fields.days), weekdays(&fields.weekdays));
    match fields.rule {
        DayRule::Every => None,
        DayRule::DayOfMonth => Some(format!("on {days}")),
        DayRule::Weekday => Some(format!("on {weekdays}")),
        DayRule::Either => Some(format!("on {days} or on {weekdays}: either")),
        DayRule::Both => Some(format!("on {days} and on {weekdays}: both")),
    }
}

/// `the 1st, the 15th and the last day of the month`.
fn days(field: &Field) -> String {
    if field.is_full(&DAY) {
        return "any day of the month".to_owned();
    }
    if let Some(step) = day_step(field) {
        return format!("every {} day of the month from the 1st", nth(step));
    }
    let the = |day: u32| format!("the {}", nth(day));
    let mut items = span_items(field.numbers, the);
    items.extend(field.last_day.then(|| "the last day of the month".to_owned()));
    items
        .extend(field.last_weekday.then(|| "the last of Monday to Friday in the month".to_owned()));
    items.extend(
        numbers(field.nearest)
            .map(|day| format!("the day of Monday to Friday nearest to {}", the(day))),
    );
    and(&items)
}

/// The step of `*/2`, where there are enough days to tell.
fn day_step(field: &Field) -> Option<u32> {
    let all: Vec<u32> = numbers(field.numbers).collect();
    let step = all.get(1)? - all[0];
    let whole = (DAY.least..=DAY.most).step_by(step as usize);
    let is_alone = field.nearest == 0 && !field.last_day && !field.last_weekday;
    (is_alone && step > 1 && all.len() > 3 && all.iter().copied().eq(whole)).then_some(step)
}

/// `Monday to Friday and the last Saturday of the month`.
fn weekdays(field: &Field) -> String {
    if field.is_full(&WEEKDAY) {
        return "any weekday".to_owned();
    }
    // The week begins on Monday here, so that a weekend is not torn apart.
    let sunday_last = (field.numbers & !1) | (field.numbers & 1) << 7;
    let mut items = span_items(sunday_last, weekday_name);
    for (number, days) in (1..).zip(field.nth) {
        items.extend(
            numbers(days)
                .map(|day| format!("the {} {} of the month", nth(number), weekday_name(day))),
        );
    }
    items.extend(
        numbers(field.last).map(|day| format!("the last {} of the month", weekday_name(day))),
    );
    and(&items)
}

fn month_name(month: u32) -> String {
    MONTHS.get(month as usize - 1).copied().unwrap_or_default().to_owned()
}

fn weekday_name(day: u32) -> String {
    WEEKDAYS[day as usize % 7].to_owned()
}

/// The numbers of a set by name; three or more neighbours become "first to last".
fn span_items(set: u64, name: impl Fn(u32) -> String) -> Vec<String> {
    let all: Vec<u32> = numbers(set).collect();
    let runs = all.chunk_by(|a, b| a + 1 == *b);
    let items = runs.flat_map(|run| match run {
        [first, _, .., last] => vec![format!("{} to {}", name(*first), name(*last))],
        _ => run.iter().map(|number| name(*number)).collect(),
    });
    items.collect()
}

fn spans(set: u64, name: impl Fn(u32) -> String) -> String {
    and(&span_items(set, name))
}

/// `a, b and c`.
fn and(items: &[String]) -> String {
    match items {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

/// `1st`, `2nd`, `11th`.
fn nth(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
