//! Words: where in a text a secret stands, by its shape or by the name before it.

mod names;

use std::ops::Range;

type Span = Range<usize>;

/// A text that is shorter is not random enough to tell.
const RANDOM_MIN: usize = 24;
/// A text that is encoded so many times for an address is looked into.
const LAYERS_MAX: usize = 3;

/// The places of all secrets, in no order; some may overlap. Looks at each letter a bounded number of times, whatever
/// stands there.
pub(super) fn find(text: &str, is_secret: &dyn Fn(&str) -> bool) -> Vec<Span> {
    find_in(text, is_secret, LAYERS_MAX)
}

fn find_in(text: &str, is_secret: &dyn Fn(&str) -> bool, layers: usize) -> Vec<Span> {
    let mut spans = keys_in_pem(text);
    spans.extend(users_of_addresses(text));
    spans.extend(tokens(text));
    spans.extend(after_schemes(text));
    spans.extend(names::after(text, is_secret, layers));
    spans
}

/// From `-----BEGIN …` to the end of `-----END …-----`, or of the text.
fn keys_in_pem(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    looked(text.len());
    for (start, begin) in text.match_indices("-----BEGIN ") {
        if spans.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let after = start + begin.len();
        let end = text[after..].find("-----END ").map(|at| after + at + "-----END ".len());
        let end = end.and_then(|at| text[at..].find("-----").map(|dashes| at + dashes + 5));
        let end = end.unwrap_or(text.len());
        looked(end - start);
        spans.push(start..end);
    }
    spans
}

/// What stands before the `@` of an address.
fn users_of_addresses(text: &str) -> Vec<Span> {
    let ends = |letter: char| letter.is_whitespace() || "\"'<>`".contains(letter);
    let mut spans = Vec::new();
    looked(text.len());
    // Many marks may stand in one run of letters: its end, and its last `@`, are looked for once.
    let (mut end, mut last) = (0, None);
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        if start > end {
            end = text[start..].find(ends).map_or(text.len(), |length| start + length);
            last = text[start..end].rfind('@').map(|at| start + at);
            looked(2 * (end - start));
        }
        // The next mark has a slash in it, so no letter belongs to two of these.
        let authority = text[start..end].split(['/', '?', '#']).next().unwrap_or_default();
        looked(3 * authority.len());
        // A password may have a slash in it; what then looks like a port is no number.
        let port = authority.split_once(':').map_or("", |(_, port)| port);
        let has_password = !port.bytes().all(|byte| byte.is_ascii_digit());
        let user = match authority.rfind('@') {
            None if has_password => last,
            user => user.map(|length| start + length),
        };
        spans.extend(user.filter(|end| *end > start).map(|end| start..end));
    }
    spans
}

/// Web tokens and long random texts.
fn tokens(text: &str) -> Vec<Span> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+/_-.".contains(&byte);
    let (bytes, mut spans, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|byte| is_part(**byte)).count();
        looked(1 + 2 * length);
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
    looked(3 * text.len());
    let schemes = ["bearer ", "basic "].into_iter().flat_map(|word| lower.match_indices(word));
    let mut spans = Vec::new();
    for (at, scheme) in schemes {
        let start = at + scheme.len();
        let token = text[start..].split(|c: char| c.is_whitespace() || "\"',".contains(c)).next();
        let token = token.unwrap_or_default();
        looked(2 * token.len());
        let is_word = token.chars().skip(1).all(|letter| letter.is_ascii_lowercase());
        if token.len() >= 8 && (!is_word || token.len() >= RANDOM_MIN) {
            spans.push(start..start + token.len());
        }
    }
    spans
}

/// Notes how many letters were looked at, for the test that says how many these may be.
#[cfg(test)]
fn looked(letters: usize) {
    tests::LOOKED.with(|looked| looked.set(looked.get() + letters));
}

#[cfg(not(test))]
fn looked(_: usize) {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static LOOKED: Cell<usize> = const { Cell::new(0) };
    }

    /// How many letters are looked at in a text of this pattern.
    fn cost(pattern: &str, times: usize) -> usize {
        let text = pattern.repeat(times);
        LOOKED.set(0);
        find(&text, &|name| {
            looked(name.len());
            name.to_ascii_lowercase().contains("password")
        });
        LOOKED.get()
    }

    /// A text of a few kilobytes once took seconds, as each address in it was read to the end.
    #[test]
    fn no_text_is_looked_at_more_than_a_few_times_whatever_stands_in_it() {
        for pattern in [
            "://",
            "a://b.example:c",
            "a://b.example:c/d@",
            "x://u.example:p/q ",
            "-----BEGIN ",
            "-----BEGIN -----END ",
            "-----BEGIN a-----END b-----",
            "password",
            "password ",
            "password:",
            "password=\"",
            "password='\"",
            "password=\\",
            "password=\\\"",
            "password={",
            "password=[}",
            "[\"password\",\"",
            "[\"password\",'",
            "(\"password\", {",
            "name: password, value: ",
            "password\"\"\"\"",
            "password%3D",
            "%70assword%253D%25",
            "%",
            "Authorization:\r\n ",
            "Cookie: a\n\t",
            "bearer ",
            "basic bearer ",
            "eyJ.",
            "a1B2c3D4e5F6g7H8i9J0k1L2",
            "api key ",
            "ü=",
            "password at byte 7: invalid type: string \"",
            "\\",
            "\"",
        ] {
            let (few, many) = (cost(pattern, 500), cost(pattern, 4_000));
            assert!(many <= 9 * few, "{pattern:?}: {few}, and {many} of eight times as much");
            let most = 4_000 * pattern.len() * 120;
            assert!(many <= most, "{pattern:?}: {many} of at most {most}");
        }
    }
}
