//! The values inside the attribute: names, time spans, numbers, and the nearest known word.

use syn::parse::ParseStream;
use syn::{Lit, LitInt, LitStr, Token};

/// Names of tasks and queues are stored; longer ones are refused when the program runs, too.
const NAME_CHARS_MAX: usize = 64;

/// One hundred years: far above any use, far below the overflow of a stored time.
const SPAN_MS_MAX: u64 = 36_500 * DAY_MS;

/// The longest time-out, and the longest delay that a retry policy gives: one year.
pub(crate) const YEAR_MS: u64 = 365 * DAY_MS;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A time span with the place where it was written.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) millis: u64,
    pub(crate) at: proc_macro2::Span,
}

impl Span {
    /// Reads `"20s"` or a bare `20s`.
    pub(crate) fn read(input: ParseStream) -> syn::Result<Self> {
        let literal: Lit = input.parse().map_err(|error| {
            syn::Error::new(error.span(), "a time is a whole number and a unit, such as `20s`")
        })?;
        let at = literal.span();
        let millis = match &literal {
            Lit::Str(text) => millis_of_text(&text.value()),
            Lit::Int(number) => millis_of(number.base10_digits(), number.suffix()),
            _ => Err("a time is a whole number and a unit: `1500ms` for 1.5 s".to_owned()),
        };
        millis.map(|millis| Self { millis, at }).map_err(|text| syn::Error::new(at, text))
    }

    /// Reads a time span that must not be zero.
    pub(crate) fn read_positive(key: &str, input: ParseStream) -> syn::Result<Self> {
        let span = Self::read(input)?;
        if span.millis == 0 {
            let text = format!("`{key}` is zero; leave it out for none, or give at least 1ms");
            return Err(syn::Error::new(span.at, text));
        }
        Ok(span)
    }
}

fn millis_of_text(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    millis_of(&text[..digits], text[digits..].trim_start())
}

fn millis_of(digits: &str, unit: &str) -> Result<u64, String> {
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        "d" => DAY_MS,
        "" if !digits.is_empty() => {
            return Err(format!("a time needs a unit: `{digits}s` (ms, s, m, h or d)"));
        }
        _ => {
            return Err(
                "a time is one whole number and one unit (ms, s, m, h or d), such as `90m`"
                    .to_owned(),
            );
        }
    };
    if digits.is_empty() {
        return Err(format!("a time starts with a whole number, such as `20{unit}`"));
    }
    let millis = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    millis
        .filter(|millis| *millis <= SPAN_MS_MAX)
        .ok_or_else(|| format!("{digits}{unit} is too long; a time is at most 100 years (36500d)"))
}

/// Reads a text that names a task or a queue.
pub(crate) fn read_name(what: &str, input: ParseStream) -> syn::Result<LitStr> {
    let literal: LitStr = input.parse()?;
    check_name(what, &literal.value()).map_err(|text| syn::Error::new(literal.span(), text))?;
    Ok(literal)
}

/// Checks a name as the library does when the program runs.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    const ALLOWED: &str = "1 to 64 characters of A-Z a-z 0-9 . _ -";
    if name.is_empty() {
        return Err(format!("{what} is empty; {ALLOWED}"));
    }
    let bad = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
    if let Some(bad) = bad {
        return Err(format!("{what} {name:?} has {bad:?} in it; {ALLOWED}"));
    }
    if name.len() > NAME_CHARS_MAX {
        return Err(format!("{what} is {} characters long; {ALLOWED}", name.len()));
    }
    Ok(())
}

/// A key with the names of arguments in braces, as the library fills it.
pub(crate) fn check_pattern(pattern: &str, parameters: &[String]) -> Result<(), String> {
    let text = pattern.replace("{{", "").replace("}}", "");
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("the key {pattern:?} has a `{{` without its `}}`"));
        };
        if !parameters.iter().any(|known| known == name) {
            let known = parameters.join(", ");
            return Err(format!("the key names `{name}`, which is no parameter; there is {known}"));
        }
        rest = after;
    }
    Ok(())
}

/// Reads a whole number within a range.
pub(crate) fn read_number(
    key: &str,
    input: ParseStream,
    range: std::ops::RangeInclusive<i64>,
) -> syn::Result<i64> {
    let minus = input.parse::<Option<Token![-]>>()?;
    let literal: LitInt = input.parse()?;
    let allowed = format!("{} to {}", range.start(), range.end());
    if !literal.suffix().is_empty() {
        let text = format!("`{key}` is a plain number, {allowed}");
        return Err(syn::Error::new(literal.span(), text));
    }
    let sign = if minus.is_some() { "-" } else { "" };
    let digits = format!("{sign}{}", literal.base10_digits());
    match digits.parse::<i64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(syn::Error::new(literal.span(), format!("`{key}` is {digits}; {allowed}"))),
    }
}

/// The known word that looks most like a mistyped one.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (best.0 <= (word.len() / 3).max(1)).then_some(best.1)
}

/// Levenshtein's edit distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let replace = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse::Parser;

    fn span(source: &str) -> Result<u64, String> {
        let read = |input: ParseStream<'_>| Span::read(input);
        read.parse_str(source).map(|span| span.millis).map_err(|error| error.to_string())
    }

    #[test]
    fn every_unit_is_read_bare_and_as_text() {
        let cases = [
            ("250ms", 250),
            ("20s", 20_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 7 * DAY_MS),
            ("0s", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(span(text), Ok(millis));
            assert_eq!(span(&format!("{text:?}")), Ok(millis));
        }
        assert_eq!(span("1_500ms"), Ok(1_500));
        assert_eq!(span("\" 90 m \""), Ok(5_400_000));
    }

    #[test]
    fn a_bad_time_says_what_is_missing() {
        let cases = [
            ("20", "needs a unit"),
            ("\"20\"", "needs a unit"),
            ("\"s\"", "starts with a whole number"),
            ("\"\"", "one whole number and one unit"),
            ("\"1h30m\"", "one whole number and one unit"),
            ("20sec", "one whole number and one unit"),
            ("1.5s", "`1500ms` for 1.5 s"),
            ("soon", "a whole number and a unit"),
            ("\"-5s\"", "one whole number and one unit"),
            ("36501d", "at most 100 years"),
            ("18446744073709551615d", "at most 100 years"),
            ("99999999999999999999999s", "at most 100 years"),
        ];
        for (source, part) in cases {
            let message = span(source).expect_err(source);
            assert!(message.contains(part), "{source}: {message}");
        }
    }

    #[test]
    fn names_are_checked_as_at_run_time() {
        for good in ["a", "pictures.shrink", "A-Z_0.9", &"n".repeat(64)] {
            assert_eq!(check_name("name", good), Ok(()));
        }
        for bad in ["", "a b", "schön", "a/b", &"n".repeat(65)] {
            assert!(check_name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let read = |source: &str| {
            let read = |input: ParseStream<'_>| read_number("priority", input, -100..=100);
            read.parse_str(source).map_err(|error| error.to_string())
        };
        assert_eq!(read("-100"), Ok(-100));
        assert_eq!(read("1_00"), Ok(100));
        assert_eq!(read("101"), Err("`priority` is 101; -100 to 100".to_owned()));
        assert_eq!(read("-101"), Err("`priority` is -101; -100 to 100".to_owned()));
        assert!(read("99999999999999999999").is_err());
        assert!(read("5u8").is_err());
        assert!(read("\"5\"").is_err());
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["queue", "priority", "attempts"];
        assert_eq!(nearest("que", &known), None);
        assert_eq!(nearest("queu", &known), Some("queue"));
        assert_eq!(nearest("prioritiy", &known), Some("priority"));
        assert_eq!(nearest("attempt", &known), Some("attempts"));
        assert_eq!(nearest("colour", &known), None);
    }
}
