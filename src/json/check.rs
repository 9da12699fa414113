//! The validator behind `json::check`: one pass over the bytes with its own stack.

use std::borrow::Cow;

use super::{
    BAD_JSON, DUPLICATE, Ended, JsonError, JsonLimits, NUMBER, TOO_DEEP, TOO_MANY, path_at,
    shorten, too_large,
};

/// Any `f64` can be told from its neighbours by this many decimal digits; more are rounded away.
const FLOAT_DIGITS: usize = 17;

pub(super) fn check(bytes: &[u8], limits: JsonLimits) -> Result<&str, JsonError> {
    if bytes.len() > limits.size_bytes {
        return Err(too_large(bytes.len(), limits));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let path = path_at(&bytes[..at], Ended::Left);
        JsonError::new(BAD_JSON, format!("{path} at byte {at}: expected UTF-8"))
    })?;
    check_inside(text, limits.readable(), 0, 0)?;
    Ok(text)
}

/// Checks text that stands inside `depth` arrays and objects after `nodes` values; returns the new
/// number of values.
pub(super) fn check_inside(
    text: &str,
    limits: JsonLimits,
    depth: usize,
    nodes: usize,
) -> Result<usize, JsonError> {
    let (open, keys) = (Vec::new(), Vec::new());
    let mut checker = Checker { text, at: 0, open, keys, outside: depth, nodes, limits };
    checker.document()?;
    Ok(checker.nodes)
}

type Done = Result<(), JsonError>;

struct Checker<'a> {
    text: &'a str,
    at: usize,
    /// The open arrays (`None`) and objects (where their keys start in `keys`).
    open: Vec<Option<usize>>,
    /// The keys of the open objects, escapes resolved, and the byte each stands at.
    keys: Vec<(Cow<'a, str>, usize)>,
    outside: usize,
    nodes: usize,
    limits: JsonLimits,
}

impl Checker<'_> {
    fn document(&mut self) -> Done {
        if self.text.starts_with('\u{feff}') {
            return Err(self.fault(BAD_JSON, 0, "byte order mark; expected UTF-8 without one"));
        }
        self.space();
        if self.peek().is_none() {
            return Err(self.fault(BAD_JSON, self.at, "empty; expected a value"));
        }
        while self.value()? || self.after_value()? {}
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    /// Reads a scalar or opens an array or object. True where another value follows at once.
    fn value(&mut self) -> Result<bool, JsonError> {
        self.space();
        let limit = self.limits.nodes;
        if self.nodes >= limit {
            let what = format!("value {}; at most {limit}", limit.saturating_add(1));
            return Err(self.fault(TOO_MANY, self.at, &what));
        }
        self.nodes += 1;
        match self.peek() {
            Some(b'[') => {
                self.open(None)?;
                return Ok(self.peek() != Some(b']'));
            }
            Some(b'{') => {
                self.open(Some(self.keys.len()))?;
                let filled = self.peek() != Some(b'}');
                if filled {
                    self.key()?;
                }
                return Ok(filled);
            }
            Some(b'"') => self.string().map(drop)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        }
        Ok(false)
    }

    /// Closes what ends here. True where a comma announces another value.
    fn after_value(&mut self) -> Result<bool, JsonError> {
        loop {
            self.space();
            let Some(&object) = self.open.last() else { return Ok(false) };
            match (self.peek(), object) {
                (Some(b','), _) => {
                    self.at += 1;
                    if object.is_some() {
                        self.space();
                        self.key()?;
                    }
                    return Ok(true);
                }
                (Some(b']'), None) => {}
                (Some(b'}'), Some(first_key)) => self.distinct_keys(first_key)?,
                (_, None) => return Err(self.expected("',' or ']'")),
                (_, Some(_)) => return Err(self.expected("',' or '}'")),
            }
            self.open.pop();
            self.at += 1;
        }
    }

    fn open(&mut self, first_key: Option<usize>) -> Done {
        let (depth, limit) = (self.outside + self.open.len(), self.limits.depth);
        if depth >= limit {
            let what = format!("nested {} deep; at most {limit}", depth + 1);
            return Err(self.fault(TOO_DEEP, self.at, &what));
        }
        self.open.push(first_key);
        self.at += 1;
        self.space();
        Ok(())
    }

    fn key(&mut self) -> Done {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        let escaped = self.string()?;
        let quoted = &self.text[start..self.at];
        let key = if escaped {
            let key = serde_json::from_str(quoted);
            Cow::Owned(key.map_err(|error| self.fault(BAD_JSON, start, &error.to_string()))?)
        } else {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        };
        self.keys.push((key, start));
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.expected("':'"));
        }
        self.at += 1;
        Ok(())
    }

    /// Refuses equal keys in the object that closes here. Sorted objects are not sorted again.
    fn distinct_keys(&mut self, first: usize) -> Done {
        let keys = &mut self.keys[first..];
        if !keys.is_sorted_by(|(a, _), (b, _)| a < b) {
            keys.sort_unstable();
            let twice = keys.windows(2).find(|pair| pair[0].0 == pair[1].0);
            if let Some((at, key)) = twice.map(|pair| (pair[1].1, shorten(&pair[1].0))) {
                let what = format!("{key:?} is there twice; at most once");
                return Err(self.fault(DUPLICATE, at, &what));
            }
        }
        self.keys.truncate(first);
        Ok(())
    }

    /// Reads a string; true if it has escapes.
    fn string(&mut self) -> Result<bool, JsonError> {
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) => {
                    return Err(self.fault(
                        BAD_JSON,
                        self.at,
                        "expected control characters escaped",
                    ));
                }
                Some(_) => self.at += 1,
                None => return Err(self.expected("'\"'")),
            }
        }
        self.at += 1;
        Ok(escaped)
    }

    fn escape(&mut self) -> Done {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.unit()?;
                let high = (0xd800..0xdc00).contains(&unit);
                let low = (0xdc00..0xe000).contains(&unit);
                let paired = high && self.text.as_bytes()[self.at..].starts_with(b"\\u") && {
                    self.at += 1;
                    (0xdc00..0xe000).contains(&self.unit()?)
                };
                if low || high && !paired {
                    let what = format!("lone surrogate \\u{unit:04x}; expected a pair");
                    return Err(self.fault(BAD_JSON, start, &what));
                }
            }
            _ => return Err(self.expected("an escape")),
        }
        Ok(())
    }

    /// Reads the `u` of an escape and its four hex digits.
    fn unit(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            self.at += 1;
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.expected("a hex digit"))?;
        }
        self.at += 1;
        Ok(unit)
    }

    fn word(&mut self) -> Done {
        let rest = &self.text.as_bytes()[self.at..];
        match ["true", "false", "null"].iter().find(|word| rest.starts_with(word.as_bytes())) {
            Some(word) => self.at += word.len(),
            None => return Err(self.expected("a value")),
        }
        Ok(())
    }

    fn number(&mut self) -> Done {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let integer_end = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mantissa_end = self.at;
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        let refusal = if self.at == integer_end {
            integer_refusal(text)
        } else {
            float_refusal(text, &self.text[start..mantissa_end])
        };
        match refusal {
            None => Ok(()),
            Some(why) => {
                let what = format!("{} {why}; send it as a string", shorten(text));
                Err(self.fault(NUMBER, start, &what))
            }
        }
    }

    fn digits(&mut self) -> Done {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn expected(&self, what: &str) -> JsonError {
        let found = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        let found = found.map_or("the end".into(), |found| format!("{found:?}"));
        self.fault(BAD_JSON, self.at, &format!("expected {what}, found {found}"))
    }

    #[cold]
    fn fault(&self, code: &'static str, at: usize, what: &str) -> JsonError {
        let path = path_at(&self.text.as_bytes()[..at], Ended::Left);
        JsonError::new(code, format!("{path} at byte {at}: {what}"))
    }
}

fn integer_refusal(text: &str) -> Option<&'static str> {
    let fits = if text.starts_with('-') {
        text.parse::<i64>().is_ok()
    } else {
        text.parse::<u64>().is_ok()
    };
    (!fits).then_some("is outside -9223372036854775808 to 18446744073709551615")
}

fn float_refusal(text: &str, mantissa: &str) -> Option<&'static str> {
    let digits = || mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|&digit| digit == b'0');
    let significant = digits().enumerate().filter(|&(_, digit)| digit != b'0').last();
    match (text.parse::<f64>(), significant) {
        (Ok(value), _) if value.is_infinite() => Some("is beyond the largest float"),
        (Ok(0.0), Some(_)) => Some("would be rounded to zero"),
        (Ok(_), Some((last, _))) if last >= FLOAT_DIGITS => Some("would be rounded"),
        (Ok(_), _) => None,
        (Err(_), _) => Some("is not a float"),
    }
}
