//! Watch: texts of tasks as an operator may look at them: inert, and no longer than a page can bear.

pub(crate) use crate::shown::text::{exact, inert, line, pretty, rough};
use crate::time::Timestamp;

/// Characters of a text that are shown at once, unless all of it is asked for.
const SHOWN_MAX: usize = 4_000;
/// … and lines.
const LINES_MAX: usize = 60;

/// A line of at most so many characters, with a mark where it was cut.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let first = line(text.lines().next().unwrap_or_default());
    match first.char_indices().nth(most) {
        None => first,
        Some((end, _)) => format!("{}…", &first[..end]),
    }
}

/// A long text, cut unless all of it is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Long {
    pub(crate) text: String,
    /// How many characters it has, where it was cut.
    pub(crate) cut: Option<usize>,
}

impl Long {
    pub(crate) fn new(text: &str, all: bool) -> Self {
        let text = inert(text);
        if all {
            return Self { text, cut: None };
        }
        let by_lines = text.match_indices('\n').nth(LINES_MAX - 1).map(|(at, _)| at);
        let by_letters = text.char_indices().nth(SHOWN_MAX).map(|(at, _)| at);
        let ends = by_lines.into_iter().chain(by_letters);
        let Some(end) = ends.min() else { return Self { text, cut: None } };
        let cut = Some(text.chars().count());
        Self { text: text[..end].to_owned(), cut }
    }
}

/// A moment to the second.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Pairs as the query of a link.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    query.finish()
}

/// One pair as the query of a link.
pub(crate) fn pair(name: &str, value: impl AsRef<str>) -> String {
    query([(name, value.as_ref())])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[test]
    fn what_would_steer_the_eye_is_shown_itself() {
        assert_eq!(inert("a\u{202e}b\u{1b}[31m\r\n\tc"), "a\\u{202e}b\\u{1b}[31m\\u{d}\n\tc");
        assert_eq!(line("a\nb\tc"), "a b c");
        let json = "{\"a\":\"\u{202e}b\"}";
        assert_eq!(pretty(json), "{\n  \"a\": \"\\u202eb\"\n}");
        assert_eq!(
            serde_json::from_str::<Value>(&pretty(json)).ok(),
            serde_json::from_str(json).ok()
        );
        assert_eq!(pretty("no JSON"), "no JSON");
        assert_eq!(brief("größer\nals", 4), "größ…");
        assert_eq!(brief("größer\nals", 6), "größer");
    }

    #[test]
    fn a_long_text_is_cut_at_a_line_or_a_character() {
        let long = Long::new(&"line\n".repeat(10_000), false);
        assert_eq!((long.text.lines().count(), long.cut), (LINES_MAX, Some(50_000)));
        let wide = Long::new(&"ü".repeat(10_000), false);
        assert_eq!((wide.text.chars().count(), wide.cut), (SHOWN_MAX, Some(10_000)));
        assert_eq!(Long::new(&"ü".repeat(10_000), true).cut, None);
        assert_eq!(Long::new("short", false).cut, None);
    }

    #[test]
    fn spans_read_as_people_say_them() {
        for (micros, text) in [
            (7, "7 µs"),
            (7_000, "7 ms"),
            (1_449_000, "1.4 s"),
            (61_000_000, "1 min 1 s"),
            (3_660_000_000, "1 h 1 min"),
            (200_000_000_000, "2 days"),
        ] {
            assert_eq!(exact(Duration::from_micros(micros)), text);
        }
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (119, "1 min"), (3_660, "1 h 1 min"), (200_000, "2 days")]
        {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }
}
