//! Watch: which tasks a filter bar means: the words of [`Filter::from_pairs`], in the query of a page, in forms and on
//! the command line. A moment may also be given as a span before now, as in `6h`.

use super::text;
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::filter::pairs::{NAMES, resolved, unknown};
use crate::shown::command;
use crate::time::Timestamp;

/// What a page has in its query besides.
const OWN: [&str; 5] = ["from", "size", "refresh", "notice", "n"];

/// What is asked for, and which tasks that means.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Word and value, as they were given; empty ones left out, as a form sends all of its fields.
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) filter: Filter,
}

impl Asked {
    /// The filter of these pairs and of none else.
    pub(crate) fn of(
        pairs: impl IntoIterator<Item = (String, String)>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let pairs: Vec<(String, String)> =
            pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let at = pairs.iter().map(|(word, value)| (word.as_str(), resolved(word, value, now)));
        let filter = Filter::from_pairs(at)?;
        Ok(Self { pairs, filter })
    }

    /// The filter in the query of a page, which may have more in it.
    pub(crate) fn of_query(
        pairs: impl IntoIterator<Item = (String, String)>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let known = [NAMES.as_slice(), OWN.as_slice()].concat();
        let mut mine = Vec::new();
        for (word, value) in pairs {
            if !known.contains(&word.as_str()) {
                return Err(unknown(&word, &known));
            }
            mine.extend(NAMES.contains(&word.as_str()).then_some((word, value)));
        }
        Self::of(mine, now)
    }

    /// The filter among the fields of a form, which has others too.
    pub(crate) fn of_form(fields: &[(String, String)], now: Timestamp) -> Result<Self, Error> {
        let mine = fields.iter().filter(|(word, _)| NAMES.contains(&word.as_str()));
        Self::of(mine.cloned(), now)
    }

    /// What was given for a word.
    pub(crate) fn value(&self, word: &str) -> &str {
        let found = self.pairs.iter().find(|(known, _)| known == word);
        found.map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// As the query of a link.
    pub(crate) fn query(&self) -> String {
        text::query(self.pairs.iter().map(|(word, value)| (word.as_str(), value.as_str())))
    }

    /// In words for people.
    pub(crate) fn words(&self) -> String {
        if self.pairs.is_empty() {
            return "all tasks".to_owned();
        }
        let said = self
            .pairs
            .iter()
            .map(|(word, value)| format!("{} {}", word.replace('_', " "), text::brief(value, 80)));
        format!("tasks with {}", said.collect::<Vec<_>>().join(", "))
    }

    /// The command line that does this to them.
    pub(crate) fn command(&self, verb: &'static str, client: &Client) -> String {
        command::of_filter(verb, &self.pairs, client.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, Error> {
        let pairs = pairs.iter().map(|(word, value)| ((*word).to_owned(), (*value).to_owned()));
        Asked::of_query(pairs, Timestamp::clamped(10 * 60_000))
    }

    #[test]
    fn a_span_is_a_moment_before_now_and_only_where_a_moment_is_meant() {
        let filter = asked(&[("created_after", "4m"), ("tag", "4m"), ("kind", "")]).expect("read");
        assert_eq!(filter.filter.created_after, Some(Timestamp::clamped(6 * 60_000)));
        assert_eq!((filter.filter.tag.as_deref(), filter.pairs.len()), (Some("4m"), 2));
        assert_eq!(filter.query(), "created_after=4m&tag=4m");
        assert_eq!(filter.words(), "tasks with created after 4m, tag 4m");
    }

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        assert_eq!(asked(&[("sort", "age")]).expect_err("no word").code(), "unknown_parameter");
        assert!(asked(&[("from", "r7"), ("size", "5")]).expect("a page's own").is_empty());
    }
}
