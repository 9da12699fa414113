//! Words: where in a text a secret stands, by its shape or by the name before it.

use std::ops::Range;

type Span = Range<usize>;

/// A text that is shorter is not random enough to tell.
const RANDOM_MIN: usize = 24;

/// The places of all secrets, in no order; some may overlap.
pub(super) fn find(text: &str, is_secret: &dyn Fn(&str) -> bool) -> Vec<Span> {
    let mut spans = keys_in_pem(text);
    spans.extend(users_of_addresses(text));
    spans.extend(tokens(text));
    spans.extend(after_schemes(text));
    spans.extend(after_names(text, is_secret));
    spans
}

/// From `-----BEGIN …` to the end of `-----END …-----`, or of the text.
fn keys_in_pem(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (start, begin) in text.match_indices("-----BEGIN ") {
        if spans.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let after = start + begin.len();
        let end = text[after..].find("-----END ").map(|at| after + at + "-----END ".len());
        let end = end.and_then(|at| text[at..].find("-----").map(|dashes| at + dashes + 5));
        spans.push(start..end.unwrap_or(text.len()));
    }
    spans
}

/// Bytes of an address at most.
const ADDRESS_MAX: usize = 2_048;

/// What stands before the `@` of an address.
fn users_of_addresses(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        let ends = |letter: char| letter.is_whitespace() || "\"'<>`".contains(letter);
        // A longer one is none that anybody types; to look on from each of many marks would take for ever.
        let limit = (start + ADDRESS_MAX).min(text.len());
        let limit = (limit..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(start);
        let address = text[start..limit].split(ends).next().unwrap_or_default();
        let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
        // A password may have a slash in it; what then looks like a port is no number.
        let port = authority.split_once(':').map_or("", |(_, port)| port);
        let has_password = !port.bytes().all(|byte| byte.is_ascii_digit());
        let user = match authority.rfind('@') {
            None if has_password => address.rfind('@'),
            user => user,
        };
        spans.extend(user.filter(|end| *end > 0).map(|end| start..start + end));
    }
    spans
}

/// Web tokens and long random texts.
fn tokens(text: &str) -> Vec<Span> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+/_-.".contains(&byte);
    let (bytes, mut spans, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|byte| is_part(**byte)).count();
        let run = at..at + length;
        at = run.end + 1;
        if length < RANDOM_MIN {
            continue;
        }
        let word = &text[run.clone()];
        let is_web_token = word.starts_with("eyJ") && word.matches('.').count() >= 2;
        // A path is looked at part by part, as one may have a digest in it.
        let parts: &[char] = if word.starts_with('/') { &['.', '/'] } else { &['.'] };
        if is_web_token {
            spans.push(run);
        } else {
            let mut start = run.start;
            for part in word.split(parts) {
                if is_random(part.as_bytes()) {
                    spans.push(start..start + part.len());
                }
                start += part.len() + 1;
            }
        }
    }
    spans
}

/// Whether letters and digits change places as often as they do by chance, and seldom in words.
fn is_random(text: &[u8]) -> bool {
    let class = |byte: u8| match byte {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        _ => None,
    };
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let neighbours = text.windows(2).filter_map(|two| class(two[0]).zip(class(two[1])));
    let (mut pairs, mut changes) = (0, 0);
    for (one, other) in neighbours {
        pairs += 1;
        changes += usize::from(one != other);
    }
    let is_mixed = digits >= 2 && letters >= 2 && pairs >= RANDOM_MIN / 2;
    text.len() >= RANDOM_MIN && is_mixed && changes * 5 >= pairs && !is_uuid(text)
}

/// Five groups of hexadecimal digits: a name, and seldom a secret.
fn is_uuid(text: &[u8]) -> bool {
    let lengths = text.split(|byte| *byte == b'-').map(<[u8]>::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

/// What follows `Bearer` and `Basic`, where it looks like no word.
fn after_schemes(text: &str) -> Vec<Span> {
    let lower = text.to_ascii_lowercase();
    let schemes = ["bearer ", "basic "].into_iter().flat_map(|word| lower.match_indices(word));
    let mut spans = Vec::new();
    for (at, scheme) in schemes {
        let start = at + scheme.len();
        let token = text[start..].split(|c: char| c.is_whitespace() || "\"',".contains(c)).next();
        let token = token.unwrap_or_default();
        let is_word = token.chars().skip(1).all(|letter| letter.is_ascii_lowercase());
        if token.len() >= 8 && (!is_word || token.len() >= RANDOM_MIN) {
            spans.push(start..start + token.len());
        }
    }
    spans
}

/// What follows the name of a secret, as in `name=…`, `name: …`, `"name":"…"` and `--name …`.
fn after_names(text: &str, is_secret: &dyn Fn(&str) -> bool) -> Vec<Span> {
    let is_part = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    let (mut spans, mut at, mut before) = (Vec::new(), 0, 0..0);
    while let Some(skipped) = text[at..].find(is_part) {
        let start = at + skipped;
        let word = text[start..].split(|letter| !is_part(letter)).next().unwrap_or_default();
        at = start + word.len();
        // Some names are two words, of which neither says it: an API key.
        let pair = &text[before.start..at];
        let is_pair = &text[before.end..start] == " " && !is_secret(&text[before]);
        before = start..at;
        if !(is_secret(word) || is_pair && is_secret(pair)) {
            continue;
        }
        let value = value_start(&text[at..], word.starts_with('-')).map(|skipped| at + skipped);
        if let Some(start) = value {
            let end = start + value_length(&text[start..], to_line_end(word));
            if end > start {
                spans.push(start..end);
                at = end;
            }
        }
    }
    spans
}

/// Headers whose values have blanks in them.
fn to_line_end(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("authorization") || name.contains("cookie")
}

/// Where the value begins after a name; none where no value follows.
fn value_start(rest: &str, is_option: bool) -> Option<usize> {
    let blank = |c: char| c == ' ' || c == '\t';
    let after_quotes = rest.trim_start_matches(['"', '\'', '`', '\\', ']']);
    let after = after_quotes.trim_start_matches(blank);
    let value = match after.trim_start_matches([':', '=', '>']) {
        value if value.len() < after.len() => value.trim_start_matches(blank),
        _ if is_option && after.len() < after_quotes.len() => after,
        _ => return None,
    };
    Some(rest.len() - value.len())
}

/// How long a value is: to its closing quote or bracket, else to the next blank, `&` or comma after a quote.
fn value_length(text: &str, to_line_end: bool) -> usize {
    if to_line_end && !text.starts_with(['"', '\'', '\\', '{', '[']) {
        return text.find('\n').unwrap_or(text.len());
    }
    let opening = text.trim_start_matches('\\');
    match opening.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => quoted_length(text, quote),
        Some(open @ ('{' | '[')) => bracketed_length(text, open),
        _ => plain_length(text),
    }
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
