//! Watch: tasks by what stands in their arguments: a path such as `customer.id` or `lines[0].sku`, and the value
//! there.
//!
//! The file's engine is asked in its own JSON paths, and the memory is walked in the same way: a text is compared as it
//! reads, a number, `true`, `false` and `null` as they stand in the JSON, and nothing else is ever equal.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::error::Error;

/// Steps of a path at most …
const STEPS_MAX: usize = 10;
/// … and characters of each name in it.
const NAME_MAX: usize = 64;

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Name(&'a str),
    At(usize),
}

/// The steps of a path; none where it is no path.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let is_name = |name: &str| {
        let bad = |letter: char| "[]=\"\\".contains(letter) || letter.is_control();
        (1..=NAME_MAX).contains(&name.chars().count()) && !name.contains(bad)
    };
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, places) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !is_name(name) {
            return None;
        }
        steps.push(Step::Name(name));
        for place in places.split_inclusive(']') {
            let digits = place.strip_prefix('[')?.strip_suffix(']')?;
            let is_number = digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
            steps.push(Step::At(digits.parse().ok().filter(|_| is_number)?));
        }
    }
    Some(steps).filter(|steps| steps.len() <= STEPS_MAX)
}

/// Refuses what is no path.
pub(crate) fn check(path: &str) -> Result<(), Error> {
    if steps(path).is_some() {
        return Ok(());
    }
    let allowed =
        "1 to 10 names of up to 64 characters and places, as in customer.id or lines[0].sku";
    Err(Error::invalid("bad_path", "arg", path, allowed))
}

/// The names in a path.
pub(crate) fn names(path: &str) -> impl Iterator<Item = &str> {
    steps(path).unwrap_or_default().into_iter().filter_map(|step| match step {
        Step::Name(name) => Some(name),
        Step::At(_) => None,
    })
}

/// The same path in the words of `SQLite`.
#[cfg(feature = "sqlite")]
pub(crate) fn json_path(path: &str) -> String {
    let steps = steps(path).unwrap_or_default().into_iter().map(|step| match step {
        Step::Name(name) => format!(".\"{name}\""),
        Step::At(place) => format!("[{place}]"),
    });
    std::iter::once("$".to_owned()).chain(steps).collect()
}

/// Whether this value stands there.
pub(crate) fn holds(arguments: &str, path: &str, value: &str) -> bool {
    let found = steps(path).and_then(|steps| {
        let whole: &RawValue = serde_json::from_str(arguments).ok()?;
        steps.into_iter().try_fold(whole, step_into)
    });
    found.is_some_and(|found| match found.get().trim_start().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(found.get()).is_ok_and(|text| text == value),
        Some(b'{' | b'[') => false,
        _ => found.get().trim() == value,
    })
}

fn step_into<'a>(from: &'a RawValue, step: Step<'_>) -> Option<&'a RawValue> {
    match step {
        Step::Name(name) => {
            let fields: HashMap<String, &RawValue> = serde_json::from_str(from.get()).ok()?;
            fields.get(name).copied()
        }
        Step::At(place) => {
            let items: Vec<&RawValue> = serde_json::from_str(from.get()).ok()?;
            items.get(place).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_places() {
        for path in ["to", "customer.id", "lines[0].sku", "grid[1][2]", "größe", "a b", "0"] {
            assert!(check(path).is_ok(), "{path}");
        }
        let (long, deep) = ("x".repeat(NAME_MAX + 1), ["x"; STEPS_MAX + 1].join("."));
        for path in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "[0]",
            "a[",
            "a[]",
            "a[x]",
            "a[0]b",
            "a[-1]",
            "a[#-1]",
            "a\"b",
            "a\\b",
            "a]",
            "a[1]]",
            "a[0000000000]",
            "a\0b",
            "a=b",
            &long,
            &deep,
        ] {
            assert_eq!(check(path).expect_err(path).code(), "bad_path", "{path}");
        }
    }

    #[test]
    #[cfg(feature = "sqlite")]
    fn a_path_is_said_in_the_words_of_sqlite() {
        assert_eq!(json_path("lines[0].unit price"), r#"$."lines"[0]."unit price""#);
    }
}
