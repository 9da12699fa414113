//! Define: which way a kind goes by the pattern of its name. The first pattern that matches decides.

use crate::error::Error;
use crate::options::NAME_BYTES_MAX;

/// A pattern over the names of kinds: `*` stands for any text, also none; `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    /// A pattern that can match a name, or this code.
    pub(crate) fn checked(code: &'static str, place: &str, text: &str) -> Result<Self, Error> {
        const ALLOWED: &str = "1–64 of A–Z a–z 0–9 . _ - * ?";
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*?".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fits) {
            return Err(Error::invalid(code, place, text, ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }

    /// Goes back to the last `*` only, so its time is at most the product of the two lengths.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let (glob, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut g, mut n) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match glob.get(g) {
                Some(b'*') => {
                    star = Some((g, n));
                    g += 1;
                }
                Some(&byte) if byte == b'?' || byte == name[n] => {
                    g += 1;
                    n += 1;
                }
                _ => {
                    let Some((at, taken)) = star else { return false };
                    star = Some((at, taken + 1));
                    (g, n) = (at + 1, taken + 1);
                }
            }
        }
        glob[g..].iter().all(|byte| *byte == b'*')
    }
}

/// Where kinds go, in the order in which it was said.
#[derive(Debug, Clone)]
pub(crate) struct Routes<T>(Vec<(Glob, T)>);

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Routes<T> {
    pub(crate) fn add(&mut self, glob: Glob, target: T) {
        self.0.push((glob, target));
    }

    /// The target of the first pattern that matches.
    pub(crate) fn find(&self, kind: &str) -> Option<&T> {
        self.0.iter().find(|(glob, _)| glob.matches(kind)).map(|(_, target)| target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::checked("bad_glob", "glob", text).expect("a pattern")
    }

    #[test]
    fn stars_and_question_marks_stand_for_what_is_said() {
        for (pattern, name, matches) in [
            ("mail.*", "mail.send", true),
            ("mail.*", "mail.", true),
            ("mail.*", "mail", false),
            ("mail.*", "email.send", false),
            ("*", "x", true),
            ("*.send", "mail.out.send", true),
            ("m?il", "mail", true),
            ("m?il", "mil", false),
            ("*a*b", "aXbXaXb", true),
            ("*a*b", "aXbX", false),
            ("mail", "Mail", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(glob(pattern).matches(name), matches, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_pattern_that_no_name_can_match_is_refused() {
        for bad in ["", "mail/*", "ä*", "a b", &"x".repeat(65)] {
            let refused = Glob::checked("bad_glob", "glob", bad).expect_err(bad);
            assert_eq!(refused.code(), "bad_glob");
        }
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let mut routes = Routes::default();
        routes.add(glob("mail.urgent"), 1);
        routes.add(glob("mail.*"), 2);
        routes.add(glob("*"), 3);
        let found = ["mail.urgent", "mail.slow", "x"].map(|kind| routes.find(kind).copied());
        assert_eq!(found, [Some(1), Some(2), Some(3)]);
        assert_eq!(Routes::<u8>::default().find("x"), None);
    }

    /// The definition, letter by letter; exponential, so for short texts only.
    fn by_definition(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=name.len()).any(|taken| by_definition(rest, &name[taken..]))
            }
            (Some((byte, glob)), Some((first, name))) => {
                (*byte == b'?' || byte == first) && by_definition(glob, name)
            }
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_matches_what_the_definition_says(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let expected = by_definition(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(glob(&pattern).matches(&name), expected);
        }
    }
}
