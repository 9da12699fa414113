//! Every step of the journey: the outside name of a task.
//!
//! An id is opaque text of at most 64 bytes, made of the row's number and a 64-bit tag from the
//! operating system's generator that is stored in the row. Looking one up is a search by number and
//! a comparison of the tag, so no second index is needed and a guessed number finds nothing.
//!
//! Knowing an id grants nothing, and text that is not an id names no task: it is never an error of
//! its own beyond "not found".

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's base 32 in lower case: no `i`, `l`, `o` or `u` to misread.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TAG_DIGITS: usize = 13;
/// No id is longer than this, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 64;

/// The name of one stored task, the same on every attempt.
///
/// Pass it on to outside systems as their idempotency key. Its text form is stable, and is what serde
/// writes and reads, so that a task can take the id of another as an argument:
///
/// ```
/// # use litework::TaskId;
/// let id: TaskId = "1-0000000000007".parse()?;
/// assert_eq!(id.to_string(), "1-0000000000007");
/// # Ok::<(), litework::BadId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    row: i64,
    tag: i64,
}

impl TaskId {
    pub(crate) const fn new(row: i64, tag: i64) -> Self {
        Self { row, tag }
    }

    /// The row's number: the primary key in `litework_task`.
    pub const fn row(self) -> i64 {
        self.row
    }

    pub(crate) const fn tag(self) -> i64 {
        self.tag
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; TAG_DIGITS + 1 + TAG_DIGITS];
        let mut at = text.len();
        write_digits(&mut text, &mut at, self.tag.cast_unsigned(), TAG_DIGITS);
        at -= 1;
        text[at] = b'-';
        write_digits(&mut text, &mut at, self.row.cast_unsigned(), 1);
        f.write_str(std::str::from_utf8(&text[at..]).unwrap_or_default())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

/// Writes `value` in front of `at`, with at least `width` digits.
fn write_digits(text: &mut [u8], at: &mut usize, mut value: u64, width: usize) {
    let end = *at;
    while value > 0 || end - *at < width {
        *at -= 1;
        text[*at] = DIGITS[(value & 31) as usize];
        value >>= 5;
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not the id of any task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad_id: {shown:?} is not a task id (a row, a dash and 13 characters)")]
pub struct BadId {
    shown: String,
}

impl FromStr for TaskId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        parse(text).ok_or_else(|| BadId { shown: text.chars().take(ID_BYTES_MAX).collect() })
    }
}

fn parse(text: &str) -> Option<TaskId> {
    if text.len() > ID_BYTES_MAX {
        return None;
    }
    let (row, tag) = text.split_once('-')?;
    let canonical = !row.starts_with('0') && tag.len() == TAG_DIGITS;
    let row = i64::try_from(read_digits(row)?).ok()?;
    let tag = read_digits(tag)?.cast_signed();
    (canonical && row > 0).then_some(TaskId { row, tag })
}

fn read_digits(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |value, byte| {
        let digit = DIGITS.iter().position(|known| *known == byte)?;
        value.checked_mul(32)?.checked_add(digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(row in 1..=i64::MAX, tag: i64) {
            let id = TaskId::new(row, tag);
            prop_assert!(id.to_string().len() <= ID_BYTES_MAX);
            prop_assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
        }

        #[test]
        fn text_that_parses_is_the_text_that_is_shown(text in "[0-9a-z-]{0,30}") {
            if let Ok(id) = text.parse::<TaskId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn json_holds_an_id_as_its_text() {
        let id = TaskId::new(1, 7);
        assert_eq!(serde_json::to_string(&id).expect("text"), r#""1-0000000000007""#);
        assert_eq!(serde_json::from_str::<TaskId>(r#""1-0000000000007""#).expect("an id"), id);
        let error = serde_json::from_str::<TaskId>(r#""1-7""#).expect_err("too short").to_string();
        assert!(error.starts_with("bad_id: \"1-7\" is not a task id"), "{error}");
        assert!(serde_json::from_str::<TaskId>("1").is_err());
    }

    #[test]
    fn malformed_text_is_refused_and_shown_cut() {
        for text in ["", "1", "1-", "-1", "1-1", "0-0000000000007", "1-000000000000i", "é-0"] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
        let long = "x".repeat(10_000);
        assert!(long.parse::<TaskId>().expect_err("too long").to_string().len() < 200);
    }
}
