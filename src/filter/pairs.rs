//! Watch: a filter as pairs of names and values, as they stand in the query of an address.
//!
//! One grammar for the API, the operator's pages and command lines. What is not understood is refused, with what is
//! allowed; nothing is guessed.

use std::fmt::Debug;

use chrono::DateTime;

use super::{Filter, args};
use crate::error::Error;
use crate::id::TaskId;
use crate::options::check_name;
use crate::redact::Redaction;
use crate::state::State;
use crate::time::Timestamp;
#[cfg(any(feature = "cli", feature = "web"))]
use crate::written::parse_duration;

/// Characters of a text that errors are searched for, and of a value in arguments, at most.
pub const FILTER_ERROR_MAX: usize = 400;
/// Kinds and queues of one filter at most.
const NAMES_MAX: usize = 100;
const TAG_MAX: usize = 64;
const OWNER_MAX: usize = 200;

/// The names of all pairs, in the order in which they are written.
pub(crate) const NAMES: [&str; 14] = [
    "state",
    "kind",
    "queue",
    "owner",
    "tag",
    "batch",
    "id",
    "dismissed",
    "error",
    "arg",
    "created_after",
    "created_before",
    "finished_after",
    "finished_before",
];

impl Filter {
    /// The filter of these pairs. `state`, `kind`, `queue` and `id` may stand there several times, and mean any of their
    /// values; `args`, a path and a value as in `customer.id=42` ([`Filter::args`]; a path with a name in it that is that of
    /// a secret is refused), several times, and means all of them; all others once: `owner`, `tag`, `batch`, `dismissed` (`true` or `false`), `error` (at most
    /// [`FILTER_ERROR_MAX`] characters, of which none has a meaning of its own), and the moments `created_after`,
    /// `created_before`, `finished_after` and `finished_before` in RFC 3339.
    ///
    /// ```
    /// use litework::{Filter, State};
    ///
    /// let filter = Filter::from_pairs([("state", "failed"), ("error", "100%")])?;
    /// assert_eq!(filter, Filter::new().state(State::Failed).error("100%"));
    /// assert_eq!(Filter::from_pairs(filter.pairs())?, filter);
    ///
    /// let refused = Filter::from_pairs([("state", "done")]).unwrap_err().to_string();
    /// assert!(refused.starts_with(r#"bad_state: state is "done"; one of scheduled, waiting, "#));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `unknown_parameter` for another name; `given_twice`; `bad_state`, `bad_kind`, `bad_queue`, `bad_owner`,
    /// `bad_tag`, `bad_id`, `bad_flag`, `bad_text`, `bad_path` and `bad_time` for a value; `out_of_range` for too many of them.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Error> {
        let mut filter = Self::new();
        for (name, value) in pairs {
            filter.add(name.as_ref(), value.as_ref())?;
        }
        filter.checked()?;
        for (place, count) in [
            ("kinds of a filter", filter.kinds.len()),
            ("queues of a filter", filter.queues.len()),
            ("states of a filter", filter.states.len()),
        ] {
            if count > NAMES_MAX {
                return Err(Error::invalid("out_of_range", place, count, "at most 100"));
            }
        }
        Ok(filter)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "state" => self.states.push(state(value)?),
            "kind" => self.kinds.push(named("bad_kind", name, value)?),
            "queue" => self.queues.push(named("bad_queue", name, value)?),
            "id" => self.ids.push(id(name, value)?),
            "owner" => once(name, &mut self.owner, text("bad_owner", name, value, OWNER_MAX)?)?,
            "tag" => once(name, &mut self.tag, text("bad_tag", name, value, TAG_MAX)?)?,
            "error" => {
                once(name, &mut self.error, text("bad_text", name, value, FILTER_ERROR_MAX)?)?;
            }
            "arg" => self.args.push(at_path(value)?),
            "batch" => once(name, &mut self.batch, id(name, value)?)?,
            "dismissed" => once(name, &mut self.dismissed, flag(name, value)?)?,
            "created_after" => once(name, &mut self.created_after, moment(name, value)?)?,
            "created_before" => once(name, &mut self.created_before, moment(name, value)?)?,
            "finished_after" => once(name, &mut self.finished_after, moment(name, value)?)?,
            "finished_before" => once(name, &mut self.finished_before, moment(name, value)?)?,
            _ => return Err(unknown(name, &NAMES)),
        }
        Ok(())
    }

    /// The pairs of this filter, always in the same order: [`Filter::from_pairs`] makes the same filter of them, if
    /// its values are such as can be stored.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        pairs.extend(self.states.iter().map(|state| ("state", state.to_string())));
        pairs.extend(self.kinds.iter().map(|kind| ("kind", kind.clone())));
        pairs.extend(self.queues.iter().map(|queue| ("queue", queue.clone())));
        pairs.extend(self.owner.iter().map(|owner| ("owner", owner.clone())));
        pairs.extend(self.tag.iter().map(|tag| ("tag", tag.clone())));
        pairs.extend(self.batch.iter().map(|batch| ("batch", batch.to_string())));
        pairs.extend(self.ids.iter().map(|id| ("id", id.to_string())));
        pairs.extend(self.dismissed.iter().map(|flag| ("dismissed", flag.to_string())));
        pairs.extend(self.error.iter().map(|text| ("error", text.clone())));
        pairs.extend(self.args.iter().map(|(path, value)| ("arg", format!("{path}={value}"))));
        let moments = [
            ("created_after", self.created_after),
            ("created_before", self.created_before),
            ("finished_after", self.finished_after),
            ("finished_before", self.finished_before),
        ];
        pairs.extend(moments.iter().filter_map(|(name, at)| at.map(|at| (*name, at.to_string()))));
        pairs
    }
}

/// A span before now as the moment that it means; all else as it is.
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) fn resolved(word: &str, value: &str, now: Timestamp) -> String {
    let is_moment = word.ends_with("_after") || word.ends_with("_before");
    match parse_duration(value) {
        Ok(span) if is_moment => {
            let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
            Timestamp::clamped(now.as_millis().saturating_sub(ms)).to_string()
        }
        _ => value.to_owned(),
    }
}

/// Of a name that none of these is.
pub(crate) fn unknown(name: &str, known: &[&str]) -> Error {
    let allowed = match known {
        [] => "none is taken here".to_owned(),
        known => format!("one of {}", known.join(", ")),
    };
    Error::invalid("unknown_parameter", "parameter", name, allowed)
}

/// Sets what may be given once.
pub(crate) fn once<T>(name: &str, to: &mut Option<T>, value: T) -> Result<(), Error>
where
    T: Debug,
{
    match to.replace(value) {
        None => Ok(()),
        Some(first) => Err(Error::invalid("given_twice", name, first, "one value")),
    }
}

fn state(value: &str) -> Result<State, Error> {
    State::from_word(value).ok_or_else(|| {
        let words: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        let allowed = format!("one of {}; give several as state=A&state=B", words.join(", "));
        Error::invalid("bad_state", "state", value, allowed)
    })
}

fn named(code: &'static str, name: &str, value: &str) -> Result<String, Error> {
    check_name(code, name, value)?;
    Ok(value.to_owned())
}

fn id(name: &str, value: &str) -> Result<TaskId, Error> {
    let allowed = "the id of a task, as in 7-3k2j1h4g5f6d7";
    value.parse().map_err(|_| Error::invalid("bad_id", name, value, allowed))
}

fn flag(name: &str, value: &str) -> Result<bool, Error> {
    value.parse().map_err(|_| Error::invalid("bad_flag", name, value, "true or false"))
}

fn text(code: &'static str, name: &str, value: &str, most: usize) -> Result<String, Error> {
    if value.is_empty() || value.chars().count() > most {
        return Err(Error::invalid(code, name, value, format!("1 to {most} characters")));
    }
    Ok(value.to_owned())
}

/// A path into the arguments, and what stands there. Whoever is not shown a secret is not told either whether it is the
/// one that they have in mind.
fn at_path(pair: &str) -> Result<(String, String), Error> {
    let Some((path, value)) = pair.split_once('=') else {
        let allowed = "a path and a value, as in customer.id=42";
        return Err(Error::invalid("bad_path", "arg", pair, allowed));
    };
    args::check(path)?;
    if args::names(path).any(|name| Redaction::default().is_secret(name)) {
        let allowed = "what is no secret; that of a secret is not searched for";
        return Err(Error::invalid("bad_path", "arg", path, allowed));
    }
    if value.chars().count() > FILTER_ERROR_MAX {
        let allowed = format!("at most {FILTER_ERROR_MAX} characters");
        return Err(Error::invalid("bad_text", "arg", value, allowed));
    }
    Ok((path.to_owned(), value.to_owned()))
}

/// A bound: what lies beyond all moments that can be stored bounds them as the first or the last does.
pub(crate) fn moment(name: &str, value: &str) -> Result<Timestamp, Error> {
    let read = DateTime::parse_from_rfc3339(value);
    let ms = read.map(|moment| moment.timestamp_millis()).map_err(|_| {
        let allowed = "a moment with its zone in RFC 3339, as in 2026-01-31T12:00:00Z";
        Error::invalid("bad_time", name, value, allowed)
    })?;
    Ok(Timestamp::clamped(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(name: &str, value: &str) -> String {
        Filter::from_pairs([(name, value)]).expect_err("it is refused").to_string()
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_is_allowed() {
        let states = "scheduled, waiting, ready, running, succeeded, failed, cancelled, skipped";
        for (name, value, text) in [
            (
                "sort",
                "age",
                format!("unknown_parameter: parameter is \"sort\"; one of {}", NAMES.join(", ")),
            ),
            (
                "state",
                "Failed",
                format!(
                    "bad_state: state is \"Failed\"; one of {states}; give several as state=A&state=B"
                ),
            ),
            ("dismissed", "1", "bad_flag: dismissed is \"1\"; true or false".into()),
            (
                "arg",
                "to",
                "bad_path: arg is \"to\"; a path and a value, as in customer.id=42".into(),
            ),
            (
                "arg",
                "mail.password=hunter2",
                "bad_path: arg is \"mail.password\"; what is no secret; that of a secret is not searched for"
                    .into(),
            ),
            ("tag", "", "bad_tag: tag is \"\"; 1 to 64 characters".into()),
            (
                "batch",
                "7",
                "bad_id: batch is \"7\"; the id of a task, as in 7-3k2j1h4g5f6d7".into(),
            ),
        ] {
            assert_eq!(refused(name, value), text);
        }
        for (name, value) in [
            ("kind", "a b"),
            ("kind", "mail.*"),
            ("queue", ""),
            ("id", "' OR 1=1 --"),
            ("created_after", "2026-01-31"),
            ("created_after", "2026-01-31T12:00:00"),
            ("created_after", "2026-02-30T12:00:00Z"),
            ("finished_before", "now"),
            ("", ""),
        ] {
            refused(name, value);
        }
        assert!(refused("error", &"x".repeat(401)).ends_with("1 to 400 characters"));
        let twice = Filter::from_pairs([("tag", "a"), ("tag", "b")]).expect_err("twice");
        assert_eq!(twice.to_string(), "given_twice: tag is \"a\"; one value");
        let many = Filter::from_pairs((0..101).map(|n| ("kind", n.to_string())));
        assert_eq!(many.expect_err("too many").code(), "out_of_range");
    }

    #[test]
    fn a_bound_beyond_all_moments_bounds_nothing() {
        let after = |text: &str| {
            Filter::from_pairs([("created_after", text)]).expect("a filter").created_after
        };
        assert_eq!(after("0001-01-01T00:00:00Z"), Some(Timestamp::MIN));
        assert_eq!(after("9999-12-31T23:59:59.999-10:00"), Some(Timestamp::MAX));
        assert_eq!(after("2026-01-31t12:00:00+02:00"), after("2026-01-31T10:00:00.0004Z"));
    }

    fn ids() -> impl Strategy<Value = TaskId> {
        (1_i64.., any::<i64>()).prop_map(|(row, tag)| TaskId::new(row, tag))
    }

    fn moments() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of((0..=Timestamp::MAX.as_millis()).prop_map(Timestamp::clamped))
    }

    prop_compose! {
        fn filters()(
            states in prop::collection::vec(prop::sample::select(State::ALL), 0..4),
            kinds in prop::collection::vec("[A-Za-z0-9._-]{1,64}", 0..3),
            queues in prop::collection::vec("[A-Za-z0-9._-]{1,64}", 0..3),
            (tag, owner) in (prop::option::of("(?s).{1,64}"), prop::option::of("(?s).{1,200}")),
            error in prop::option::of("(?s).{1,400}"),
            (batch, ids) in (prop::option::of(ids()), prop::collection::vec(ids(), 0..3)),
            dismissed in any::<Option<bool>>(),
            args in prop::collection::vec(("[ab ]{1,3}([.][ab]|\\[[0-9]{1,9}\\]){0,3}", "(?s).{0,400}"), 0..3),
            [created_after, created_before, finished_after, finished_before] in
                [moments(), moments(), moments(), moments()],
        ) -> Filter {
            Filter {
                states, kinds, queues, tag, batch, owner, dismissed, ids,
                created_after, created_before, finished_after, finished_before, error, args,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(filter in filters()) {
            prop_assert_eq!(Filter::from_pairs(filter.pairs()).expect("it is read"), filter);
        }

        #[test]
        fn no_pair_is_too_strange(pairs in prop::collection::vec(
            (prop_oneof![prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), any::<String>()], any::<String>()),
            0..4,
        )) {
            if let Ok(filter) = Filter::from_pairs(pairs) {
                prop_assert_eq!(Filter::from_pairs(filter.pairs()).expect("it is read"), filter);
            }
        }
    }
}
