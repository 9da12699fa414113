//! The slots of cron expressions in zones that change their clocks in every odd way, compared with what a
//! program of its own has worked out: `tests/zones/brute.py`, in another language, from another copy of the same
//! time zone database.
//!
//! `tests/zones/slots.txt` holds, for each zone and expression, the number of slots in some years from 1996 to 2040,
//! a hash of them, and in full those within 36 hours of each change of clocks, so that a difference can be
//! looked at.
#![cfg(feature = "cron")]
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use litework::{Cron, Timestamp, Zone};

const STORED: &str = include_str!("zones/slots.txt");
const REQUIREMENTS: &str = include_str!("zones/requirements.txt");

const MINUTE_MS: i64 = 60_000;
/// How far from a change slots are stored.
const NEAR_MIN: i64 = 36 * 60;

/// What is stored for one zone.
struct Stored {
    zone: Zone,
    /// Changes of clocks, as minutes since 1970.
    changes: Vec<i64>,
    expressions: Vec<Expected>,
}

struct Expected {
    expression: String,
    /// In the years from this one up to that.
    years: (i32, i32),
    count: usize,
    hash: String,
    /// The slots around each change.
    near: Vec<String>,
}

fn stored() -> Vec<Stored> {
    let mut zones: Vec<Stored> = Vec::new();
    for line in STORED.lines().filter(|line| !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "zone" {
            let zone = rest.parse().unwrap();
            zones.push(Stored { zone, changes: Vec::new(), expressions: Vec::new() });
            continue;
        }
        let Stored { changes, expressions, .. } = zones.last_mut().unwrap();
        match word {
            "changes" => changes.extend(rest.split(' ').filter_map(|at| at.parse::<i64>().ok())),
            "cron" => expressions.push(Expected {
                expression: rest.to_owned(),
                years: (0, 0),
                count: 0,
                hash: String::new(),
                near: Vec::new(),
            }),
            "years" => {
                let (first, end) = rest.split_once(' ').unwrap();
                let last = expressions.last_mut().unwrap();
                last.years = (first.parse().unwrap(), end.parse().unwrap());
            }
            "slots" => {
                let (count, hash) = rest.split_once(' ').unwrap();
                let last = expressions.last_mut().unwrap();
                (last.count, last.hash) = (count.parse().unwrap(), hash.to_owned());
            }
            "near" => expressions.last_mut().unwrap().near.push(rest.to_owned()),
            _ => panic!("a line that is not known: {line}"),
        }
    }
    zones
}

/// FNV-1a over the milliseconds since 1970, a word of 64 bits each.
fn hash(slots: &[i64]) -> String {
    let value = slots.iter().fold(0xcbf2_9ce4_8422_2325_u64, |value, minute| {
        (value ^ (minute * MINUTE_MS).cast_unsigned()).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{value:016x}")
}

/// The beginning of a year.
fn new_year(year: i32) -> Timestamp {
    format!("{year}-01-01T00:00:00Z").parse().unwrap()
}

/// The slots from one moment up to another, as minutes since 1970.
fn slots(cron: &Cron, first: Timestamp, end: Timestamp) -> Vec<i64> {
    let mut moment = Timestamp::from_millis(first.as_millis() - 1).unwrap();
    let mut slots = Vec::new();
    while let Some(slot) = cron.next_after(moment).filter(|slot| *slot < end) {
        assert_eq!(slot.as_millis() % MINUTE_MS, 0, "{slot} is no full minute");
        slots.push(slot.as_millis() / MINUTE_MS);
        moment = slot;
    }
    slots
}

/// The slots around a change, as they are stored: distances, `30x4` for four of 30 minutes.
fn near(slots: &[i64], change: i64) -> String {
    let place = |minute: i64| slots.partition_point(|slot| *slot < minute);
    let mut runs: Vec<(i64, usize)> = Vec::new();
    let mut last = change - NEAR_MIN;
    for slot in &slots[place(last)..place(change + NEAR_MIN)] {
        match runs.last_mut() {
            Some((step, count)) if *step == slot - last => *count += 1,
            _ => runs.push((slot - last, 1)),
        }
        last = *slot;
    }
    let runs = runs.iter().map(|(step, count)| match count {
        1 => step.to_string(),
        _ => format!("{step}x{count}"),
    });
    let text = runs.collect::<Vec<_>>().join(" ");
    if text.is_empty() { "-".to_owned() } else { text }
}

/// What differs for one expression in one zone.
fn difference(stored: &Stored, expected: &Expected) -> Option<String> {
    let cron = Cron::new(&expected.expression).unwrap().zone(stored.zone);
    let (first, end) = (new_year(expected.years.0), new_year(expected.years.1));
    let slots = slots(&cron, first, end);
    let within = first.as_millis() / MINUTE_MS + NEAR_MIN..end.as_millis() / MINUTE_MS - NEAR_MIN;
    let changes: Vec<&i64> = stored.changes.iter().filter(|at| within.contains(at)).collect();
    assert_eq!(changes.len(), expected.near.len(), "{cron:?}");
    for (change, near_it) in changes.into_iter().zip(&expected.near) {
        let found = near(&slots, *change);
        if found != *near_it {
            let change = Timestamp::from_millis(change * MINUTE_MS).unwrap();
            return Some(format!("{cron:?} around {change}:\n  {found}\nbut  {near_it}"));
        }
    }
    let found = (slots.len(), hash(&slots));
    let same = found == (expected.count, expected.hash.clone());
    (!same).then(|| format!("{cron:?}: {found:?}, but {} {}", expected.count, expected.hash))
}

#[test]
fn slots_are_those_that_another_program_has_worked_out() {
    let zones = stored();
    let all: Vec<(&Stored, &Expected)> =
        zones.iter().flat_map(|zone| zone.expressions.iter().map(move |e| (zone, e))).collect();
    assert!(zones.len() >= 12 && all.len() >= 12 * zones.len(), "{} are stored", all.len());
    let changes: usize = zones.iter().map(|zone| zone.changes.len()).sum();
    assert!(changes > 700, "{changes} changes of clocks are stored");
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || all.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(take).filter_map(|(zone, e)| difference(zone, e)).collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let different: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// The local time of a moment in a zone, as if it were one of UTC.
fn local(zone: Zone, moment: Timestamp) -> Timestamp {
    let zone: chrono_tz::Tz = zone.name().parse().unwrap();
    let local = moment.to_chrono().with_timezone(&zone).naive_local();
    Timestamp::from_millis(local.and_utc().timestamp_millis()).unwrap()
}

/// A sixth field makes each slot two, but for those that clocks skip: these are due together, once, as the gap
/// ends. The slots without it are those that were compared above.
#[test]
fn seconds_follow_the_minutes_through_every_change_of_clocks() {
    let half = 30_000;
    let mut skipped = 0;
    for Stored { zone, .. } in stored() {
        for expression in ["30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "15 * * * *"] {
            let minutes = Cron::new(expression).unwrap().zone(zone);
            let seconds = Cron::new(&format!("0,30 {expression}")).unwrap().zone(zone);
            // Whether it is a time that the expression names, by clocks that never change.
            let names = Cron::new(expression).unwrap();
            let (first, end) = (new_year(2008), new_year(2012));
            let mut at = Timestamp::from_millis(first.as_millis() - 1).unwrap();
            while let Some(slot) = minutes.next_after(at).filter(|slot| *slot < end) {
                assert_eq!(seconds.next_after(at), Some(slot), "{seconds:?}");
                at = slot;
                let shown = local(zone, slot).as_millis();
                let before = Timestamp::from_millis(shown - 1).unwrap();
                if names.next_after(before).is_some_and(|named| named.as_millis() == shown) {
                    let second = Timestamp::from_millis(slot.as_millis() + half).unwrap();
                    assert_eq!(seconds.next_after(at), Some(second), "{seconds:?}");
                    at = second;
                } else {
                    skipped += 1;
                }
            }
        }
    }
    assert!(skipped > 50, "{skipped} slots are skipped times");
}

/// The database is named by year and letter, the package by year and number.
#[test]
fn the_zones_of_the_other_program_are_those_of_this_one() {
    let version = chrono_tz::IANA_TZDB_VERSION;
    let (year, letter) = version.split_at(4);
    let number = letter.bytes().next().unwrap() - b'a' + 1;
    assert_eq!(REQUIREMENTS, format!("tzdata=={year}.{number}\n"));
    assert!(STORED.lines().any(|line| line == format!("# tzdata {version}")));
    assert!(include_str!("zones/brute.py").contains(&format!("VERSION = \"{version}\"\n")));
}

#[test]
#[ignore = "needs python3 and tzdata"]
fn the_other_program_still_says_what_is_stored() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zones/brute.py");
    let output = Command::new("python3").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n");
    let lines = made.lines().zip(STORED.lines()).enumerate();
    for (number, (made, stored)) in lines {
        assert_eq!(made, stored, "line {}", number + 1);
    }
    assert!(made == STORED, "one is longer than the other");
}
