//! Words: where in a text a secret stands by the name before it, in whichever notation: `name=…`, `name: …`,
//! `"name":"…"`, `--name …`, `("name", "…")`, `name: "…", value: "…"`, the query of an address, a header.

use std::ops::Range;

use super::{Span, find_in, looked};

/// The word before says what a value is called …
const LABELS: [&str; 4] = ["name", "key", "header", "field"];
/// … that stands behind one of these.
const VALUES: [&str; 2] = ["value", "val"];
/// Bytes of the second of a pair that are looked at, to see whether it is one.
const PAIR_MAX: usize = 1_000;

/// The values of all names that are those of secrets.
pub(super) fn after(text: &str, is_secret: &dyn Fn(&str) -> bool, layers: usize) -> Vec<Span> {
    let mut reader = Reader { text, is_secret, layers, before: 0..0, is_named: false };
    let (mut spans, mut at) = (Vec::new(), 0);
    while let Some(skipped) = text[at..].find(is_part) {
        let start = at + skipped;
        let word = text[start..].split(|letter| !is_part(letter)).next().unwrap_or_default();
        let end = start + word.len();
        looked(2 * (end - at));
        let found = reader.read(start..end);
        at = found.as_ref().map_or(end, |span| span.end);
        spans.extend(found);
    }
    spans
}

fn is_part(letter: char) -> bool {
    letter.is_alphanumeric() || "_-.%".contains(letter)
}

/// Reads a text word by word.
struct Reader<'a> {
    text: &'a str,
    is_secret: &'a dyn Fn(&str) -> bool,
    layers: usize,
    /// The word before.
    before: Range<usize>,
    /// A label has said that the next value is a secret.
    is_named: bool,
}

impl Reader<'_> {
    /// What is hidden because of this word.
    fn read(&mut self, at: Range<usize>) -> Option<Span> {
        let before = std::mem::replace(&mut self.before, at.clone());
        let word = &self.text[at.clone()];
        let plain = decoded(word);
        if let Some(inside) = &plain
            && self.layers > 0
            && !find_in(inside, self.is_secret, self.layers - 1).is_empty()
        {
            // It is a text of its own, of which no place stands here.
            return Some(at);
        }
        let name = plain.as_deref().unwrap_or(word);
        let is_secret = self.is_secret_by(&before, &at, name);
        self.note_label(&before, &at, is_secret);
        let is_value = self.is_named && is_one_of(word, &VALUES);
        if !(is_secret || is_value) {
            return None;
        }
        let found = self.value(at.end, Kind::of(name));
        let found = found.or_else(|| self.second(&at)).or_else(|| self.misread(at.end));
        self.is_named &= !is_value;
        found
    }

    /// Some names are two words, of which neither says it: an API key.
    fn is_secret_by(&self, before: &Range<usize>, at: &Range<usize>, name: &str) -> bool {
        let is_pair = &self.text[before.end..at.start] == " " && !before.is_empty();
        (self.is_secret)(name)
            || is_pair
                && !(self.is_secret)(&self.text[before.clone()])
                && (self.is_secret)(&self.text[before.start..at.end])
    }

    fn note_label(&mut self, before: &Range<usize>, at: &Range<usize>, is_secret: bool) {
        let gap = &self.text[before.end..at.start];
        looked(gap.len());
        let assigns = gap.contains([':', '=']) && gap.chars().all(|c| "\"'`\\ \t:=>(".contains(c));
        if assigns && is_one_of(&self.text[before.clone()], &LABELS) {
            self.is_named = is_secret;
        } else if gap.contains(['{', '}', '\n']) {
            self.is_named = false;
        }
    }

    /// The value that is given to the name that ends here.
    fn value(&self, at: usize, kind: Kind) -> Option<Span> {
        let start = at + value_start(&self.text[at..], kind)?;
        let end = start + value_length(&self.text[start..], kind);
        looked(2 * (end - at));
        (end > start).then_some(start..end)
    }

    /// The second of a pair of which this is the first: `("name", "…")`.
    fn second(&self, at: &Range<usize>) -> Option<Span> {
        let quotes = ['"', '\'', '`', '\\'];
        let opened = self.text[..at.start].trim_end_matches(quotes);
        let closed = self.text[at.end..].trim_start_matches(quotes);
        let is_quoted = opened.len() < at.start && closed.len() < self.text.len() - at.end;
        if !is_quoted || !opened.ends_with(['(', '[']) {
            return None;
        }
        let rest = closed.strip_prefix(',')?.trim_start_matches(' ');
        let start = self.text.len() - rest.len();
        let most = rest.char_indices().map(|(at, _)| at).take_while(|at| *at <= PAIR_MAX).last();
        let shown = if rest.len() > PAIR_MAX { &rest[..most.unwrap_or(0)] } else { rest };
        let length = value_length(shown, Kind::Plain);
        looked(2 * shown.len().min(length));
        // A longer one is hidden before it is read to its end.
        let is_pair = length >= shown.len() || rest[length..].starts_with([')', ']']);
        (is_pair && length > 0).then_some(start..start + length)
    }
}

impl Reader<'_> {
    /// What stood there in the place of what was expected, as an error of reading JSON tells it of a path:
    /// `$.password at byte 12: invalid type: string "…", expected u32`.
    fn misread(&self, at: usize) -> Option<Span> {
        let rest = self.text[at..].strip_prefix(" at byte ")?;
        let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let rest = rest.strip_prefix(": ")?;
        let of_type = ["invalid type: ", "invalid value: "];
        let found = match of_type.iter().find_map(|told| rest.strip_prefix(told)) {
            Some(told) => told.split_once(' ')?.1,
            None => rest.strip_prefix("unknown variant ")?,
        };
        let quote = found.chars().next().filter(|quote| "\"`'".contains(*quote))?;
        let start = self.text.len() - found.len();
        let end = start + quoted_length(found, quote);
        looked(end - at);
        Some(start..end)
    }
}

fn is_one_of(word: &str, known: &[&str]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// A text as it was before it was encoded for an address; none where it was not.
fn decoded(word: &str) -> Option<String> {
    if !word.contains('%') {
        return None;
    }
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (bytes, mut plain, mut at) = (word.as_bytes(), Vec::with_capacity(word.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1).and_then(digit).zip(bytes.get(at + 2).and_then(digit));
        match pair.filter(|_| *byte == b'%') {
            Some((high, low)) => plain.push(16 * high + low),
            None => plain.push(*byte),
        }
        at += if *byte == b'%' && pair.is_some() { 3 } else { 1 };
    }
    looked(word.len());
    (plain.len() < bytes.len()).then(|| String::from_utf8_lossy(&plain).into_owned())
}

/// How a value follows its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// `--name …`
    Option,
    /// Its value has blanks in it, and may go on on the next line.
    Header,
}

impl Kind {
    fn of(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        if lower.contains("authorization") || lower.contains("cookie") {
            return Self::Header;
        }
        if name.starts_with('-') { Self::Option } else { Self::Plain }
    }
}

fn is_blank(letter: char) -> bool {
    letter == ' ' || letter == '\t'
}

/// Where the value begins after a name; none where no value follows.
fn value_start(rest: &str, kind: Kind) -> Option<usize> {
    let after_quotes = rest.trim_start_matches(['"', '\'', '`', '\\', ']']);
    let after = after_quotes.trim_start_matches(is_blank);
    looked(rest.len() - after.len());
    let mut value = match after.trim_start_matches([':', '=', '>']) {
        value if value.len() < after.len() => value.trim_start_matches(is_blank),
        _ if kind == Kind::Option && after.len() < after_quotes.len() => after,
        _ => return None,
    };
    while let Some(more) = Some(kind).filter(|kind| *kind == Kind::Header).and(unfolded(value)) {
        value = more;
    }
    Some(rest.len() - value.len())
}

/// What follows the end of a line that goes on; the end may be escaped, as in a text that was written by a program.
fn unfolded(value: &str) -> Option<&str> {
    let next = ["\r\n", "\n", "\\r\\n", "\\n"].iter().find_map(|end| value.strip_prefix(end))?;
    let more = next.trim_start_matches(is_blank);
    (more.len() < next.len()).then_some(more)
}

/// How long a value is: to its closing quote or bracket, else to the next blank, `&` or comma after a quote.
fn value_length(text: &str, kind: Kind) -> usize {
    match text.trim_start_matches('\\').chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => quoted_length(text, quote),
        Some(open @ ('{' | '[')) => bracketed_length(text, open),
        _ if kind == Kind::Header => header_length(text),
        _ => plain_length(text),
    }
}

/// To the end of the line that no other continues.
fn header_length(text: &str) -> usize {
    let goes_on = |end: usize| text[end + 1..].starts_with(is_blank);
    let end = text.match_indices('\n').map(|(end, _)| end).find(|end| !goes_on(*end));
    let end = end.unwrap_or(text.len());
    if text[..end].ends_with('\r') { end - 1 } else { end }
}

/// Up to and with the closing quote; where the opening one is escaped, so is that.
fn quoted_length(text: &str, quote: char) -> usize {
    let escapes = text.len() - text.trim_start_matches('\\').len();
    let mut slashes = 0;
    for (at, letter) in text.char_indices().skip(escapes + 1) {
        match letter {
            '\\' => slashes += 1,
            _ if letter == quote && slashes <= escapes && (escapes > 0 || slashes % 2 == 0) => {
                return at + letter.len_utf8();
            }
            _ => slashes = 0,
        }
    }
    text.len()
}

/// Up to and with the bracket that closes the first.
fn bracketed_length(text: &str, open: char) -> usize {
    let close = if open == '{' { '}' } else { ']' };
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        if letter == open {
            depth += 1;
        } else if letter == close {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    text.len()
}

/// Up to a blank or an `&`; what is in quotes on the way belongs to it.
fn plain_length(text: &str) -> usize {
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        match letter {
            '"' | '\'' | '`' => at += quoted_length(&text[at..], letter),
            '&' => break,
            _ if letter.is_whitespace() => break,
            _ => at += letter.len_utf8(),
        }
    }
    at
}
