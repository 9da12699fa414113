//! Watch: texts of tasks as people may look at them: inert, and no longer than they can bear.

use std::borrow::Borrow;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

/// Whether a character changes how those around it are shown, and is to be shown itself instead: controls, and marks
/// that turn the direction of writing.
fn steers(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (letter.is_control() && letter != '\n' && letter != '\t') || turns
}

/// The text with such characters escaped.
pub(crate) fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// The same on one line.
pub(crate) fn line(text: &str) -> String {
    inert(text).replace(['\n', '\t'], " ")
}

/// JSON as people read it, with what would steer the eye escaped as JSON has it, so that it may be sent back; what is
/// no JSON stays as it is.
pub(crate) fn pretty(json: &str) -> String {
    let value = serde_json::from_str::<Value>(json).ok();
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    pretty.map_or_else(|| json.to_owned(), |pretty| inert_json(&pretty))
}

/// JSON with such characters escaped as JSON has it.
pub(crate) fn inert_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if steers(letter) {
            // None of them is beyond the first plane; writing to a text cannot fail.
            let _never = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A span in its greatest unit, or two of them, as in `1 h 5 min`: rounded down, as an age is.
pub(crate) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A span to a tenth of its unit, as in `1.4 s`.
pub(crate) fn exact(span: Duration) -> String {
    let ms = span.as_millis();
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _never = match ms {
        0 => write!(text, "{} µs", span.as_micros()),
        1..1_000 => write!(text, "{ms} ms"),
        1_000..60_000 => write!(text, "{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => write!(text, "{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..172_800_000 => {
            write!(text, "{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000)
        }
        _ => write!(text, "{} days", ms / 86_400_000),
    };
    text
}

/// Digits in groups of three.
pub(crate) fn grouped(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of tasks.
#[cfg(feature = "cli")]
pub(crate) fn tasks(count: u64) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{} tasks", grouped(count)) }
}

/// A size as people say it.
pub(crate) fn weighed(bytes: impl Borrow<u64>) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    let bytes = *bytes.borrow();
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1_000, unit + 1);
    }
    match tenths {
        0..100 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}
