//! What expressions are refused and how it is said; which local times match, against a matcher of the test's
//! own; which moments these are where clocks change.

#![allow(clippy::unwrap_used)]

use chrono::Weekday;
use proptest::prelude::*;

use super::*;

fn cron(expression: &str) -> Cron {
    Cron::new(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn cron_in(expression: &str, zone: &str) -> Cron {
    cron(expression).zone(zone.parse().unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The slots after this moment and before that one.
fn slots(cron: &Cron, from: &str, to: &str) -> Vec<String> {
    let (mut slots, mut moment, end) = (Vec::new(), at(from), at(to));
    while let Some(next) = cron.next_after(moment).filter(|next| *next < end) {
        slots.push(next.to_string().replace(":00.000Z", "Z").replace("2026-", ""));
        moment = next;
    }
    slots
}

fn refusal(expression: &str) -> String {
    match Cron::new(expression) {
        Ok(cron) => panic!("{expression:?} is accepted: {cron:?}"),
        Err(error) => error.to_string(),
    }
}

/// The expression, the field, its text, and what is said about which character.
const WRONG: &str = "\
60 * * * * | minute | 60 | 1: a number from 0 to 59 is needed
0 24 * * * | hour | 24 | 3: a number from 0 to 23 is needed
0 0 0 * * | day of month | 0 | 5: a number from 1 to 31 is needed
0 0 32 * * | day of month | 32 | 5: a number from 1 to 31 is needed
0 0 * 0 * | month | 0 | 7: a number from 1 to 12 or a name (JAN to DEC) is needed
0 0 * 13 * | month | 13 | 7: a number from 1 to 12 or a name (JAN to DEC) is needed
0 0 * * 8 | weekday | 8 | 9: a number from 0 to 7 or a name (SUN to SAT) is needed
0 0 * * FOO | weekday | FOO | 9: a number from 0 to 7 or a name (SUN to SAT) is needed
0 0 * MON * | month | MON | 7: a number from 1 to 12 or a name (JAN to DEC) is needed
0 0 * * JAN | weekday | JAN | 9: a number from 0 to 7 or a name (SUN to SAT) is needed
0 0 * * MONDAY | weekday | MONDAY | 9: a number from 0 to 7 or a name (SUN to SAT) is needed
0 0 * * MON- | weekday | MON- | 13: a number from 0 to 7 or a name (SUN to SAT) is needed
0 0 * * L | weekday | L | 9: a number from 0 to 7 or a name (SUN to SAT) is needed
99999999999999999999 * * * * | minute | 99999999999999999999 | 1: a number from 0 to 59 is needed
-1 * * * * | minute | -1 | 1: a number from 0 to 59 is needed
1- * * * * | minute | 1- | 3: a number from 0 to 59 is needed
1-2-3 * * * * | minute | 1-2-3 | 4: `-` is not expected here
0 5-1 * * * | hour | 5-1 | 3: a range goes from the smaller number to the larger: 1 is below 5
0 0 * * SAT-MON | weekday | SAT-MON | 9: a range goes from the smaller number to the larger: 1 is below 6
*/0 * * * * | minute | */0 | 3: a step from 1 to 60 is needed
*/61 * * * * | minute | */61 | 3: a step from 1 to 60 is needed
* 1-5/25 * * * | hour | 1-5/25 | 7: a step from 1 to 24 is needed
*/ * * * * | minute | */ | 3: a step from 1 to 60 is needed
/5 * * * * | minute | /5 | 1: a number from 0 to 59 is needed
10/30 * * * * | minute | 10/30 | 3: a step stands once, after `*` or a range, as in 10-59/30
1/2/3 * * * * | minute | 1/2/3 | 2: a step stands once, after `*` or a range, as in 10-59/30
*/2/3 * * * * | minute | */2/3 | 4: a step stands once, after `*` or a range, as in 10-59/30
, * * * * | minute | , | 1: a number from 0 to 59 is missing
1,,2 * * * * | minute | 1,,2 | 3: a number from 0 to 59 is missing
1, * * * * | minute | 1, | 3: a number from 0 to 59 is missing
*,5 * * * * | minute | *,5 | 1: `*` stands alone
5,* * * * * | minute | 5,* | 3: `*` stands alone
** * * * * | minute | ** | 2: `*` stands alone
*5 * * * * | minute | *5 | 2: `5` is not expected here
5x * * * * | minute | 5x | 2: `x` is not expected here
? * * * * | minute | ? | 1: `?` is for the day of month and the weekday
0 0 W * * | day of month | W | 5: a number from 1 to 31 is needed
0 0 1-5W * * | day of month | 1-5W | 8: `W` is not expected here
0 0 32W * * | day of month | 32W | 5: a number from 1 to 31 is needed
0 0 5L * * | day of month | 5L | 6: `L` is not expected here
0 0 1#2 * * | day of month | 1#2 | 6: `#` is for weekdays
0 0 * * 5#6 | weekday | 5#6 | 11: a number from 1 to 5 or `L` is needed
0 0 * * 5#0 | weekday | 5#0 | 11: a number from 1 to 5 or `L` is needed
0 0 * * 5# | weekday | 5# | 11: a number from 1 to 5 or `L` is needed
0 0 * * 5W | weekday | 5W | 10: `W` is not expected here
61 0 0 * * * | second | 61 | 1: a number from 0 to 59 is needed";

#[test]
fn what_is_wrong_is_told_with_field_text_and_character() {
    for line in WRONG.lines() {
        let [expression, field, text, said] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let expected =
            format!("bad_cron: {field} of {expression:?} is {text:?}; at character {said}");
        assert_eq!(refusal(expression), expected);
    }
    let blanks = refusal("0  \t  0 * * 9");
    assert!(
        blanks.contains("weekday of \"0  \\t  0 * * 9\" is \"9\"; at character 13: "),
        "{blanks}"
    );
}

#[test]
fn a_wrong_number_of_fields_is_told_with_the_number() {
    for (expression, fields) in
        [("", 0), (" \t ", 0), ("0 0 *", 3), ("* * * *", 4), ("0 0 0 1 1 * 2030", 7)]
    {
        let expected =
            format!("bad_cron: cron expression is {expression:?}; 5 or 6 fields, got {fields}");
        assert_eq!(refusal(expression), expected);
    }
    for (expression, at) in
        [("0 0 \u{2014} * *", 5), ("0 0 * * *\n", 10), ("0\u{a0}0 * * *", 2), ("\0", 1)]
    {
        let expected = format!(
            "bad_cron: cron expression is {expression:?}; character {at} is not allowed: ASCII, blanks and tabs"
        );
        assert_eq!(refusal(expression), expected);
    }
}

/// The same for what other crons have.
const UNSUPPORTED: &str = "\
H * * * * | minute | H | 1: `H`, a number drawn by lot: write one
h/15 * * * * | minute | h/15 | 1: `H`, a number drawn by lot: write one
0 0 1 * +MON | weekday | +MON | 9: `+`, by which both day fields must match
0 0 L-3 * * | day of month | L-3 | 5: days before the last one are not supported: write `L`, or name the days, as in 25-28
0 0 L,LW * * | day of month | L,LW | 5: `L` and `LW` in one list: make two expressions of it
0 0 * * 1-5#2 | weekday | 1-5#2 | 12: `#` follows one weekday, as in 5L or 5#2
0 0 * * MON-FRIL | weekday | MON-FRIL | 16: `L` follows one weekday, as in 5L or 5#2
0 0 * * */2#1 | weekday | */2#1 | 12: `#` follows one weekday, as in 5L or 5#2
0 0 ?/2 * * | day of month | ?/2 | 5: `?` with something else: it stands alone";

#[test]
fn what_only_other_crons_have_is_named() {
    for line in UNSUPPORTED.lines() {
        let [expression, field, text, said] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let expected =
            format!("unsupported: {field} of {expression:?} is {text:?}; at character {said}");
        assert_eq!(refusal(expression), expected);
    }
    for (expression, said) in [
        ("@reboot", "`@reboot` is no time: enqueue the task when the program starts"),
        ("@every 5m", "`@every` is no expression: use an interval"),
        ("@Every", "`@every` is no expression: use an interval"),
    ] {
        let expected = format!("unsupported: cron expression is {expression:?}; {said}");
        assert_eq!(refusal(expression), expected);
    }
}

#[test]
fn a_nickname_stands_for_a_whole_expression_and_alone() {
    for (nickname, expression) in [
        ("@yearly", "0 0 1 1 *"),
        ("@Annually", "0 0 1 1 *"),
        ("@MONTHLY", "0 0 1 * *"),
        (" @weekly\t", "0 0 * * SUN"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ] {
        let (nickname, expression) = (cron(nickname), cron(expression));
        assert_eq!(nickname.plan.fields, expression.plan.fields);
        assert_ne!(nickname, expression, "another text is another expression");
    }
    let refused = refusal("@dayly");
    assert!(refused.contains("@midnight, @hourly; did you mean @daily"), "{refused}");
    assert!(refusal("@daily 5").ends_with("nothing may follow @daily, but character 8 does"));
    assert!(refusal("0 @daily 1 2 3").contains("hour of"));
}

#[test]
fn what_is_too_long_is_refused() {
    let long = format!("0 0 * * {}", "1".repeat(993));
    assert!(refusal(&long).starts_with("too_long: cron expression is \"0 0 * * 111"));
    assert!(refusal(&long).ends_with("; at most 1000 bytes"));
    let list = |items: usize| format!("{} * * * *", vec!["7"; items].join(","));
    assert!(Cron::new(&list(100)).is_ok());
    assert!(refusal(&list(101)).starts_with("too_long: minute of \"7,7,"));
    assert!(refusal(&list(101)).ends_with("is 101 items; at most 100 in one list"));
}

#[test]
fn days_that_no_calendar_has_never_fire() {
    for expression in [
        "0 0 31 2 *",
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 31W 2 ?",
        "0 0 30-31 2 ?",
        "0 0 31 2 */7",
    ] {
        let expected = format!(
            "never_fires: cron expression is {expression:?}; no day within 30 years is one that it means"
        );
        assert_eq!(refusal(expression), expected);
    }
    // Once in 28 years, where the last day of February is a Sunday and a leap day.
    for expression in ["0 0 29 2 *", "0 0 29 2 */7", "0 0 31 2 MON", "0 0 31 2-12/2 MON#5"] {
        assert!(Cron::new(expression).is_ok(), "{expression}");
    }
}

/// Expressions and what they say.
const WORDS: &str = "\
* * * * * | Every minute
* * * * * * | Every second
*/10 * * * * * | Every 10 seconds
*/5 * * * * | Every 5 minutes
*/7 * * * * | At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour
15 * * * * | At minute 15 of every hour
30 * * * * * | At second 30 of every minute
30 15 * * * * | At second 30 of minute 15 of every hour
30 */5 * * * * | At second 30 of every 5th minute from 0
5,10 0 3 * * * | At seconds 5 and 10 of minute 0 of hour 3
* 0 * * * | Every minute of hour 0
0 */2 * * * | At minute 0 of every 2nd hour from 0
*/15 9-17 * * 1-5 | Every 15 minutes of hours 9 to 17, on Monday to Friday
0 9-17 * * MON-FRI | At minute 0 of hours 9 to 17, on Monday to Friday
30 2 * * * | At 02:30, every day
@midnight | At 00:00, every day
15 30 2 * * * | At 02:30:15, every day
15,45 1-3 * * * | At 01:15, 01:45, 02:15, 02:45, 03:15 and 03:45, every day
0 0 1 1 * | At 00:00, on the 1st, in January
0 0 1,15 * * | At 00:00, on the 1st and the 15th
0 0 1-7,22,23 6-8,12 * | At 00:00, on the 1st to the 7th, the 22nd and the 23rd, in June to August and December
0 12 L * * | At 12:00, on the last day of the month
0 12 LW * ? | At 12:00, on the last of Monday to Friday in the month
0 12 15W * * | At 12:00, on the day of Monday to Friday nearest to the 15th
0 3 * * 0 | At 03:00, on Sunday
0 3 * * 7,6 | At 03:00, on Saturday and Sunday
0 3 * * FRI-SUN | At 03:00, on Friday to Sunday
0 3 * * 5L | At 03:00, on the last Friday of the month
0 3 * * FRI#2,MON#1 | At 03:00, on the 1st Monday of the month and the 2nd Friday of the month
30 0 13 * 5 | At 00:30, on the 13th or on Friday: either
0 0 */2 * MON | At 00:00, on every 2nd day of the month from the 1st and on Monday: both
0 0 */1 * MON | At 00:00, on Monday
0 0 1-31 * MON | At 00:00, on any day of the month or on Monday: either
0 0 1 * 0-6 | At 00:00, on the 1st or on any weekday: either";

#[test]
fn an_expression_in_words_says_what_it_means() {
    for line in WORDS.lines() {
        let (expression, words) = line.split_once(" | ").unwrap();
        assert_eq!(cron(expression).describe(), format!("{words} (UTC)"), "{expression}");
    }
    let berlin = cron_in("0 9 * * *", "Europe/Berlin");
    assert_eq!(berlin.describe(), "At 09:00, every day (Europe/Berlin)");
}

#[test]
fn an_expression_is_its_text_and_its_zone() {
    let nightly = cron_in("30  2 * * *", "Europe/Berlin");
    assert_eq!(nightly.expression(), "30  2 * * *");
    assert_eq!(nightly.zone_of().name(), "Europe/Berlin");
    assert_eq!(nightly, nightly.clone());
    assert_ne!(nightly, cron("30  2 * * *"));
    assert_ne!(nightly, cron_in("30 2 * * *", "Europe/Berlin"));
    assert_eq!("30 2 * * *".parse::<Cron>().unwrap(), cron("30 2 * * *"));
    assert_eq!(format!("{nightly:?}"), "Cron(\"30  2 * * *\", Europe/Berlin)");
}

#[test]
fn names_and_words_are_read_in_any_case() {
    for (a, b) in [
        ("0 0 * jan-Mar mOn", "0 0 * 1-3 1"),
        ("0 0 lw * ?", "0 0 LW * *"),
        ("0 0 15w * *", "0 0 15W * *"),
        ("0 0 * * fril", "0 0 * * 5L"),
        ("0 0 * * sun#l", "0 0 * * 0L"),
        ("0 0 * * 7L", "0 0 * * SUNL"),
        ("0 0 * * 7#3", "0 0 * * SUN#3"),
        ("0 0 * * SAT-SUN", "0 0 * * 6-7"),
        ("0 0 * * SUN-TUE", "0 0 * * 0-2"),
        ("0 0 * * SUN-SUN", "0 0 * * 0"),
        ("00 007 * * *", "0 7 * * *"),
        ("\t0 \t 0\t* * *  ", "0 0 * * *"),
    ] {
        assert_eq!(cron(a).plan.fields, cron(b).plan.fields, "{a} and {b}");
    }
}

#[test]
fn a_plan_for_fixed_hours_is_due_once_for_each_local_time() {
    let berlin = |expression: &str| cron_in(expression, "Europe/Berlin");
    // In spring, 02:00 to 03:00 is skipped: what is due then is due at its end, and several are one.
    let spring = |expression: &str| {
        slots(&berlin(expression), "2026-03-28T22:00:00Z", "2026-03-29T22:00:00Z")
    };
    assert_eq!(spring("30 2 * * *"), ["03-29T01:00Z"]);
    assert_eq!(spring("0,15,30,45 2 * * *"), ["03-29T01:00Z"]);
    assert_eq!(spring("0 2,3 * * *"), ["03-29T01:00Z"]);
    assert_eq!(spring("30 1-3 * * *"), ["03-29T00:30Z", "03-29T01:00Z", "03-29T01:30Z"]);
    // In autumn it comes twice: what is due then is due in the first pass.
    let autumn = |expression: &str| {
        slots(&berlin(expression), "2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z")
    };
    assert_eq!(autumn("30 2 * * *"), ["10-25T00:30Z"]);
    assert_eq!(autumn("0 2,3 * * *"), ["10-25T00:00Z", "10-25T02:00Z"]);
    assert_eq!(
        autumn("*/30 1-3 * * *"),
        [
            "10-24T23:00Z",
            "10-24T23:30Z",
            "10-25T00:00Z",
            "10-25T00:30Z",
            "10-25T02:00Z",
            "10-25T02:30Z"
        ]
    );
}

#[test]
fn a_plan_for_every_hour_keeps_pace_with_the_clock() {
    let berlin = |expression: &str| cron_in(expression, "Europe/Berlin");
    let spring = |expression: &str| {
        slots(&berlin(expression), "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z")
    };
    let autumn = |expression: &str| {
        slots(&berlin(expression), "2026-10-24T23:59:00Z", "2026-10-25T02:00:00Z")
    };
    for hour in ["*", "*/1", "0-23", "0-11,12-23"] {
        assert_eq!(spring(&format!("30 {hour} * * *")), ["03-29T00:30Z", "03-29T01:30Z"]);
        assert_eq!(autumn(&format!("30 {hour} * * *")), ["10-25T00:30Z", "10-25T01:30Z"]);
        assert_eq!(autumn(&format!("0 {hour} * * *")), ["10-25T00:00Z", "10-25T01:00Z"]);
    }
    // From within the second pass, and up to the next day that matches.
    let sundays = berlin("0 * * * SUN");
    assert_eq!(sundays.next_after(at("2026-10-25T01:00:00Z")), Some(at("2026-10-25T02:00:00Z")));
    assert_eq!(sundays.next_after(at("2026-10-25T22:00:00Z")), Some(at("2026-10-31T23:00:00Z")));
    // Just before the clock goes back, though the next time ahead is days away.
    let saturday = cron_in("*/20 * * * SAT", "America/Havana");
    assert_eq!(
        slots(&saturday, "2026-11-01T03:30:00Z", "2026-11-02T00:00:00Z"),
        ["11-01T03:40Z"],
        "Sunday has begun when it goes back"
    );
}

#[test]
fn a_change_by_half_an_hour_and_one_by_a_day_come_out_right() {
    let howe = |expression: &str| cron_in(expression, "Australia/Lord_Howe");
    // 02:00 +11:00 becomes 01:30 +10:30 on 5 April, 02:00 +10:30 becomes 02:30 +11:00 on 4 October.
    let autumn =
        |expression: &str| slots(&howe(expression), "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z");
    assert_eq!(autumn("45 1 * * *"), ["04-04T14:45Z"]);
    assert_eq!(
        autumn("15,45 * * * *"),
        ["04-04T14:15Z", "04-04T14:45Z", "04-04T15:15Z", "04-04T15:45Z", "04-04T16:15Z"]
    );
    let spring =
        |expression: &str| slots(&howe(expression), "2026-10-03T15:00:00Z", "2026-10-03T16:30:00Z");
    assert_eq!(spring("15 2 * * *"), ["10-03T15:30Z"]);
    assert_eq!(
        spring("*/15 * * * *"),
        ["10-03T15:15Z", "10-03T15:30Z", "10-03T15:45Z", "10-03T16:00Z", "10-03T16:15Z"]
    );

    let apia = |expression: &str| {
        let apia = cron_in(expression, "Pacific/Apia");
        slots(&apia, "2011-12-29T09:00:00Z", "2011-12-31T11:00:00Z")
    };
    assert_eq!(apia("0 0 * * *"), ["2011-12-29T10:00Z", "2011-12-30T10:00Z", "2011-12-31T10:00Z"]);
    // The 30th was skipped as a whole.
    assert_eq!(apia("0 9 30 12 *"), ["2011-12-30T10:00Z"]);
    assert_eq!(apia("0 */6 30 12 *"), ["2011-12-30T10:00Z"]);
    assert_eq!(apia("* * 30 12 *"), Vec::<String>::new());
}

#[test]
fn a_slot_is_after_the_moment_and_in_the_range() {
    let every_second = cron("* * * * * *");
    assert_eq!(
        every_second.next_after(at("2026-01-01T00:00:00Z")),
        Some(at("2026-01-01T00:00:01Z"))
    );
    assert_eq!(
        every_second.next_after(at("2026-01-01T00:00:00.999Z")),
        Some(at("2026-01-01T00:00:01Z"))
    );
    assert_eq!(cron("0 0 1 1 *").next_after(Timestamp::MIN), Some(at("1971-01-01T00:00:00Z")));
    assert_eq!(
        every_second.next_after(at("9999-12-31T23:59:58.5Z")),
        Some(at("9999-12-31T23:59:59Z"))
    );
    for zone in ["UTC", "America/New_York", "Pacific/Apia", "Europe/Berlin"] {
        for expression in ["* * * * * *", "0 0 1 1 *", "* * 3 * * *"] {
            let cron = cron_in(expression, zone);
            assert_eq!(cron.next_after(Timestamp::MAX), None, "{cron:?}");
            let late = cron.next_after(at("9998-06-01T00:00:00Z"));
            assert!(late.is_some_and(|slot| slot < Timestamp::MAX), "{cron:?}: {late:?}");
        }
    }
    let rare = cron("0 0 29 2 */7");
    assert_eq!(rare.next_after(at("2026-01-01T00:00:00Z")), Some(at("2032-02-29T00:00:00Z")));
    assert_eq!(rare.next_after(at("2088-02-29T00:00:00Z")), None, "2128 is 40 years away");
    assert_eq!(rare.next_after(at("2100-01-01T00:00:00Z")), Some(at("2128-02-29T00:00:00Z")));
    assert_eq!(cron("0 0 29 2 *").next_after(at("9996-02-29T00:00:00Z")), None);
    assert_eq!(
        cron("0 0 29 2 *").next_after(at("9995-02-28T00:00:00Z")),
        Some(at("9996-02-29T00:00:00Z"))
    );
}

#[test]
fn the_shortest_gap_is_that_of_the_finest_unit() {
    for (expression, seconds) in [
        ("* * * * * *", 1),
        ("*/10 * * * * *", 10),
        ("0,55 * * * * *", 5),
        ("* * * * *", 60),
        ("*/7 * * * *", 4 * 60),
        ("0,59 * * * *", 60),
        ("30 59 23 * * *", 86_400),
        ("0,50 9-17 * * *", 600),
        ("0 0,23 * * *", 3_600),
        ("0 0,23 1 * *", 23 * 3_600),
        ("0 0 * * 1,4", 3 * 86_400),
        ("0 0 1 * *", 28 * 86_400),
        ("0 0 31 * *", 31 * 86_400),
        ("0 0 29 2 *", 1_461 * 86_400),
        ("0 0 29 2 */7", 28 * 1_461 / 4 * 86_400),
        ("0 0 L,1 * *", 86_400),
        ("59 59 23 L * *", 28 * 86_400),
    ] {
        assert_eq!(cron(expression).shortest_gap(), Duration::from_secs(seconds), "{expression}");
    }
}

/// Names of months and weekdays as numbers.
fn plain(text: &str) -> String {
    let months =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let weekdays = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let mut text = text.to_uppercase().replace("-SUN", "-7");
    for (number, name) in (1..).zip(months) {
        text = text.replace(name, &number.to_string());
    }
    for (number, name) in weekdays.into_iter().enumerate() {
        text = text.replace(name, &number.to_string());
    }
    text
}

/// Whether a list of numbers, ranges and steps holds this value; other items do not count.
fn holds(list: &str, value: u32, least: u32, most: u32) -> bool {
    list.split(',').any(|item| {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (least, most),
            Some((from, to)) => match (from.parse(), to.parse()) {
                (Ok(from), Ok(to)) => (from, to),
                _ => return false,
            },
            None => match range.parse() {
                Ok(number) => (number, number),
                Err(_) => return false,
            },
        };
        let Ok(step) = step.parse::<u32>() else { return false };
        (from..=to).contains(&value) && (value - from).is_multiple_of(step)
    })
}

fn day_of_month_holds(list: &str, date: NaiveDate) -> bool {
    let is_working = |date: NaiveDate| !matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
    let is_last = date.succ_opt().unwrap().month() != date.month();
    let in_month = |day: u32| NaiveDate::from_ymd_opt(date.year(), date.month(), day);
    holds(list, date.day(), 1, 31)
        || list.split(',').any(|item| match item {
            "L" => is_last,
            "LW" => {
                let later = (date.day() + 1..=31).filter_map(in_month);
                is_working(date) && !later.into_iter().any(is_working)
            }
            _ => item.strip_suffix('W').is_some_and(|day| {
                let Some(wanted) = in_month(day.parse().unwrap()) else { return false };
                let distance = |day: &NaiveDate| (*day - wanted).num_days().abs();
                let working = (1..=31).filter_map(in_month).filter(|day| is_working(*day));
                working.min_by_key(distance) == Some(date)
            }),
        })
}

fn weekday_holds(list: &str, date: NaiveDate) -> bool {
    let weekday = date.weekday().num_days_from_sunday();
    let same = |number: &str| number.parse::<u32>().unwrap() % 7 == weekday;
    let is_last = (date + TimeDelta::days(7)).month() != date.month();
    holds(list, weekday, 0, 7)
        || weekday == 0 && holds(list, 7, 0, 7)
        || list.split(',').any(|item| match item.split_once('#') {
            Some((number, "L")) => same(number) && is_last,
            Some((number, nth)) => {
                same(number) && nth.parse::<u32>().unwrap() == date.day().div_ceil(7)
            }
            None => item.strip_suffix('L').is_some_and(|number| same(number) && is_last),
        })
}

/// The first time after this one that matches, within so many days; written without looking at the checker.
fn next_by_definition(expression: &str, after: NaiveDateTime, days: i64) -> Option<NaiveDateTime> {
    let plain = plain(expression);
    let mut fields: Vec<&str> = plain.split_whitespace().collect();
    if fields.len() == 5 {
        fields.insert(0, "0");
    }
    let is_open = |field: &str| field.starts_with('*') || field == "?";
    let day_matches = |date: NaiveDate| {
        let (day, weekday) = (day_of_month_holds(fields[3], date), weekday_holds(fields[5], date));
        let both = is_open(fields[3]) || is_open(fields[5]);
        holds(fields[4], date.month(), 1, 12) && if both { day && weekday } else { day || weekday }
    };
    let within = |field: &'_ str, most: u32| -> Vec<u32> {
        (0..=most).filter(|value| holds(field, *value, 0, most)).collect()
    };
    let (seconds, minutes, hours) =
        (within(fields[0], 59), within(fields[1], 59), within(fields[2], 23));
    let dates =
        (0..days).map(|day| after.date() + TimeDelta::days(day)).filter(|d| day_matches(*d));
    let mut all = dates.flat_map(|date| {
        let (minutes, seconds) = (&minutes, &seconds);
        hours.iter().flat_map(move |hour| {
            minutes.iter().flat_map(move |minute| {
                let time = move |second: &u32| date.and_hms_opt(*hour, *minute, *second).unwrap();
                seconds.iter().map(time)
            })
        })
    });
    all.find(|time| *time > after)
}

/// An item of a list: a number or a name, a range, or a step.
fn item(least: u32, most: u32, names: &'static [&'static str]) -> BoxedStrategy<String> {
    let count = most - least + 1;
    let pair = (least..=most, least..=most).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let step = 1..=count.min(most);
    let mut items = vec![
        (least..=most).prop_map(|number| number.to_string()).boxed(),
        pair.clone().prop_map(|(from, to)| format!("{from}-{to}")).boxed(),
        (pair, step.clone()).prop_map(|((from, to), step)| format!("{from}-{to}/{step}")).boxed(),
        step.prop_map(|step| format!("*/{step}")).boxed(),
    ];
    if !names.is_empty() {
        let name = (0..names.len()).prop_map(|index| names[index].to_owned());
        let range = (0..names.len(), 0..names.len())
            .prop_map(|(a, b)| format!("{}-{}", names[a.min(b)], names[a.max(b)]));
        // A range of one Sunday is a week to some.
        items.push(range.prop_filter("one Sunday", |range| range != "SUN-SUN").boxed());
        items.push(name.prop_map(|name| name.to_lowercase()).boxed());
    }
    proptest::strategy::Union::new(items).boxed()
}

fn list(item: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let list = prop::collection::vec(item, 1..4).prop_map(|items| items.join(","));
    prop_oneof![1 => Just("*".to_owned()), 2 => list].boxed()
}

fn expressions() -> impl Strategy<Value = String> {
    const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "NOV", "DEC"];
    const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let days = prop_oneof![
        3 => item(1, 31, &[]),
        1 => Just("L".to_owned()),
        1 => (1..=31_u32).prop_map(|day| format!("{day}W")),
    ];
    let days = prop_oneof![
        6 => list(days.boxed()),
        1 => Just("LW".to_owned()),
        1 => Just("LW,3W,30".to_owned()),
        1 => Just("?".to_owned()),
    ];
    let weekdays = prop_oneof![
        3 => item(0, 7, WEEKDAYS),
        1 => (0..=7_u32).prop_map(|day| format!("{day}L")),
        1 => (0..7_usize, 1..=5_u32).prop_map(|(day, nth)| format!("{}#{nth}", WEEKDAYS[day])),
        1 => (0..7_usize).prop_map(|day| format!("{}#L", WEEKDAYS[day])),
    ];
    let weekdays = prop_oneof![6 => list(weekdays.boxed()), 1 => Just("?".to_owned())];
    let seconds = prop_oneof![2 => Just(None), 1 => list(item(0, 59, &[])).prop_map(Some)];
    let fields = (
        seconds,
        list(item(0, 59, &[])),
        list(item(0, 23, &[])),
        days,
        list(item(1, 12, MONTHS)),
        weekdays,
    );
    fields.prop_map(|(second, minute, hour, day, month, weekday)| {
        let five = format!("{minute} {hour} {day} {month} {weekday}");
        second.map_or(five.clone(), |second| format!("{second} {five}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn what_passes_matches_what_the_definition_says(
        expression in expressions(),
        seconds in 631_152_000_i64..3_786_912_000,
    ) {
        const DAYS: i64 = 800;
        let plan = match Plan::read(&expression) {
            Ok(plan) => plan,
            Err(error) => panic!("{expression}: {error}"),
        };
        let mut local = chrono::DateTime::from_timestamp(seconds, 0).unwrap().naive_utc();
        // What finds the slots understands the text as it was written, too.
        let five: Vec<&str> = expression.split(' ').rev().collect();
        let both = five[0].starts_with('*') || five[2].starts_with('*');
        let parser = CronParser::builder().dom_and_dow(both).build();
        let direct = parser.parse(&expression).unwrap();
        for _ in 0..4 {
            let found = plan.after(local);
            let far = local + TimeDelta::days(DAYS - 1);
            let expected = next_by_definition(&expression, local, DAYS);
            prop_assert_eq!(found.filter(|found| *found < far), expected.filter(|found| *found < far));
            prop_assert_eq!(found, direct.find_next_occurrence(&local, false).ok());
            let Some(found) = found else { break };
            local = found;
        }
    }

    #[test]
    fn no_two_slots_are_nearer_than_the_shortest_gap(
        expression in expressions(),
        seconds in 1_704_067_200_i64..2_500_000_000,
    ) {
        let Ok(cron) = Cron::new(&expression) else { return Ok(()) };
        let mut moment = Timestamp::from_millis(seconds * 1_000).unwrap();
        let shortest = cron.shortest_gap();
        for turn in 0..200 {
            let Some(next) = cron.next_after(moment) else { break };
            prop_assert!(turn == 0 || moment.until(next) >= shortest);
            moment = next;
        }
    }

    #[test]
    fn text_of_these_letters_is_read_or_refused(text in "[0-9*/,\\-LW#?HMONFRI@ \t]{0,30}") {
        match Cron::new(&text) {
            Ok(cron) => prop_assert!(cron.next_after(at("2026-01-01T00:00:00Z")).is_some()),
            Err(error) => {
                let known = ["bad_cron", "unsupported", "too_long", "never_fires"];
                prop_assert!(known.contains(&error.code()), "{}", error);
            }
        }
    }
}
