//! Arguments and results as JSON text: the step between a program's values and the text columns of
//! the task file, in both directions, and the gate for JSON text that others wrote.
//!
//! Guarantees: what `encode` accepts is written without loss, byte for byte as `serde_json` writes
//! it; what `check` accepts, `serde_json` reads without loss; every refusal names its place. It
//! never panics on input, never writes past the size limit by more than one value, never turns NaN
//! into `null`, never lets two equal keys of a map through, and never looks at what a value means.
//!
//! The forms are those of `serde_json`; [`JsonLimits`] tells users of them. Floats come back exactly
//! only with the `float_roundtrip` feature of `serde_json`, which this crate asks for.

mod check;
mod encode;
/// Whether two texts, written by [`encode`], say the same: entries of an object may stand in any
/// order, as those of a `HashMap` do; numbers are compared digit by digit.
pub(crate) fn same(one: &str, other: &str) -> bool {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;
    if one == other {
        return true;
    }
    let objects = (
        serde_json::from_str::<BTreeMap<String, &RawValue>>(one),
        serde_json::from_str::<BTreeMap<String, &RawValue>>(other),
    );
    if let (Ok(one), Ok(other)) = objects {
        let pairs = one.iter().zip(&other);
        return one.len() == other.len()
            && pairs.into_iter().all(|(a, b)| a.0 == b.0 && same(a.1.get(), b.1.get()));
    }
    let arrays = (
        serde_json::from_str::<Vec<&RawValue>>(one),
        serde_json::from_str::<Vec<&RawValue>>(other),
    );
    match arrays {
        (Ok(one), Ok(other)) => {
            one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| same(a.get(), b.get()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How large the JSON text of one task's arguments or result may be.
///
/// Text is what `serde_json` writes, with these rules for what JSON has no word for:
///
/// - `None` and `()` are `null`; an enum carries its variant's name outside.
/// - Keys of a map: text as it is; integers, booleans and characters as their text (`{"7":…}` for a
///   `HashMap<u32, _>`, read back as a number); unit variants as their name. Other keys are refused as
///   `bad_key`, and two keys of the same text as `duplicate_key`.
/// - A path is its UTF-8 text; one that is not UTF-8 is refused as `bad_json`.
/// - Bytes are an array of numbers, two to four bytes of text each; where size matters send base64
///   text.
/// - A `Duration` is `{"secs":1,"nanos":0}`.
/// - Integers of every width are exact. Floats come back exactly; NaN and the infinities are refused as
///   `number_out_of_range`.
///
/// ```
/// # use litework::{Client, task};
/// # use std::{collections::BTreeMap, path::PathBuf, time::Duration};
/// #[task]
/// fn keep(sizes: BTreeMap<u32, u64>, path: PathBuf, after: Duration) {}
///
/// let tasks = Client::in_memory().register(keep).open()?;
/// let sizes = BTreeMap::from([(7, u64::MAX)]);
/// let id = tasks.enqueue(keep::with(sizes, "a/b", Duration::from_secs(1)))?.id();
/// let stored = r#"{"sizes":{"7":18446744073709551615},"path":"a/b","after":{"secs":1,"nanos":0}}"#;
/// assert_eq!(tasks.get(id)?.arguments, stored);
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Length of the text in bytes. Default: 1 048 576 (1 MiB).
    pub size_bytes: usize,
    /// Arrays and objects inside one another; `[]` has depth 1. Default: 64. Above 127 it counts as
    /// 127, the deepest text that can be read back.
    pub depth: usize,
    /// Values of any kind: scalars, arrays and objects; keys are not counted. Default: 100 000.
    pub nodes: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { size_bytes: 1_048_576, depth: 64, nodes: 100_000 }
    }
}

impl JsonLimits {
    /// `serde_json` refuses to read deeper text, so it must not be written either.
    #[inline]
    fn readable(self) -> Self {
        Self { depth: self.depth.min(127), ..self }
    }
}

/// Why a value or a text was refused: a stable code, and a sentence with the place (a path such as
/// `$.frames[3].ratio`, for texts also the byte) and what is allowed. Displayed as `code: sentence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    code: &'static str,
    message: String,
}

impl JsonError {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }

    /// One of `payload_too_large`, `payload_too_deep`, `too_many_nodes`, `number_out_of_range`,
    /// `duplicate_key`, `bad_key`, and `bad_json` for everything else.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for JsonError {}

const TOO_LARGE: &str = "payload_too_large";
const TOO_DEEP: &str = "payload_too_deep";
const TOO_MANY: &str = "too_many_nodes";
const NUMBER: &str = "number_out_of_range";
const DUPLICATE: &str = "duplicate_key";
const BAD_JSON: &str = "bad_json";
const BAD_KEY: &str = "bad_key";

/// Writes a value as compact JSON text.
///
/// Map keys: text as it is; integers, booleans and characters as their text; unit variants as their
/// name. Two keys of one map with the same text are refused (`1` and `"1"`, or two flattened structs
/// with a field in common).
///
/// # Errors
///
/// `payload_too_large`, `payload_too_deep`, `too_many_nodes` by `limits`; `number_out_of_range` for
/// NaN and the infinities; `bad_key` for keys of other kinds; `duplicate_key`; `bad_json` where the
/// value's own `Serialize` fails.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    limits: JsonLimits,
) -> Result<String, JsonError> {
    encode::encode(value, limits)
}

/// Reads a value from JSON text. Integers of every width are exact.
///
/// # Errors
///
/// `bad_json`, with the path and the byte at which reading stopped and what was expected there.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    serde_json::from_str(text).map_err(|error| unreadable(text, &error))
}

/// Validates JSON text from outside and returns it unchanged. One pass, no recursion.
///
/// # Errors
///
/// `payload_too_large`, `payload_too_deep`, `too_many_nodes` by `limits`; `duplicate_key` for equal
/// keys in one object, escapes resolved; `number_out_of_range` for integers outside
/// `i64::MIN..=u64::MAX` and for numbers with a fraction or exponent that an `f64` cannot hold: too
/// large, rounded to zero, or more than 17 significant digits; `bad_json` for anything that is not
/// exactly one JSON value in UTF-8, byte order marks and lone surrogates included.
pub(crate) fn check(bytes: &[u8], limits: JsonLimits) -> Result<&str, JsonError> {
    check::check(bytes, limits)
}

/// Validates the arguments of a call that come from outside: an object, as keys are made of its names.
///
/// # Errors
///
/// Those of [`check`]; `bad_json` for any other value.
pub(crate) fn check_object(bytes: &[u8], limits: JsonLimits) -> Result<&str, JsonError> {
    let text = check(bytes, limits)?;
    only_object(text)?;
    Ok(text)
}

/// Refuses a text, known to be JSON, that is no object.
pub(crate) fn only_object(text: &str) -> Result<(), JsonError> {
    let what = match text.trim_start().bytes().next() {
        Some(b'{') => return Ok(()),
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    Err(JsonError::new(BAD_JSON, format!("$ is {what}; an object by parameter name")))
}

/// The error of a text that is not even read.
pub(crate) fn too_large(size: usize, limits: JsonLimits) -> JsonError {
    let limit = limits.size_bytes;
    JsonError::new(TOO_LARGE, format!("$ is {size} bytes; at most {limit}"))
}

fn unreadable(text: &str, error: &serde_json::Error) -> JsonError {
    let (line, column) = (error.line(), error.column());
    let full = error.to_string();
    let place = format!(" at line {line} column {column}");
    let what = full.strip_suffix(&place).unwrap_or(&full);
    if line == 0 {
        return JsonError::new(BAD_JSON, format!("$: {what}"));
    }
    let line_start = match line {
        1 => 0,
        _ => text.match_indices('\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    let at = text.len().min(line_start.saturating_add(column));
    let path = path_at(&text.as_bytes()[..at], Ended::Named);
    JsonError::new(BAD_JSON, format!("{path} at byte {at}: {what}"))
}

/// Which path belongs to a place just after a whole value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// That of the value.
    Named,
    /// That of the array or object around it.
    Left,
}

/// An array or object that is still open: its key or index in progress.
enum Open<'a> {
    Array(usize),
    Object(Option<&'a [u8]>),
}

/// The path of the place where a JSON text was cut off. Reading it from the text keeps paths out of
/// the way of everything that succeeds.
fn path_at(prefix: &[u8], ended: Ended) -> String {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut whole = false;
    let mut at = 0;
    while let Some(&byte) = prefix.get(at) {
        let start = at;
        at += 1;
        match (byte, open.last_mut()) {
            (b'"', parent) => {
                let Some(end) = string_end(prefix, at) else { break };
                at = end;
                match parent {
                    Some(Open::Object(key @ None)) => *key = Some(&prefix[start + 1..end - 1]),
                    _ => whole = true,
                }
            }
            (b'[', _) => open.push(Open::Array(0)),
            (b'{', _) => open.push(Open::Object(None)),
            (b']' | b'}', _) => {
                open.pop();
                whole = true;
            }
            (b',', Some(Open::Array(index))) => (*index, whole) = (*index + 1, false),
            (b',', Some(Open::Object(key))) => (*key, whole) = (None, false),
            (b' ' | b'\n' | b'\r' | b'\t' | b':' | b',', _) => {}
            _ => whole = true,
        }
        if matches!(byte, b'[' | b'{') {
            whole = false;
        }
    }
    if whole && ended == Ended::Left {
        open.pop();
    }
    path_of(&open)
}

fn path_of(open: &[Open<'_>]) -> String {
    let mut path = String::from("$");
    for level in open {
        // Writing to a String cannot fail.
        let _ = match level {
            Open::Array(index) => write!(path, "[{index}]"),
            Open::Object(None) => Ok(()),
            Open::Object(Some(key)) => {
                let key = String::from_utf8_lossy(key);
                let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && key.starts_with(|first: char| !first.is_ascii_digit());
                let key = shorten(&key);
                if plain { write!(path, ".{key}") } else { write!(path, "[\"{key}\"]") }
            }
        };
    }
    path
}

/// The place after the closing quote of a string whose content starts at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Keeps a key or number of any length readable in a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_owned(),
    }
}
