//! Define: a task that is there once. Its key is made from the call, an index of the file holds it, and
//! what becomes of a second call with the same key is decided in the transaction that stores it.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::key::{Pattern, no_argument};
use crate::range::SPAN;
use crate::time::Timestamp;

/// Bytes of a key that is made from arguments as they are.
const ARGUMENTS_BYTES_MAX: usize = 1_024;

/// What makes two calls the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Arguments,
    Chosen(Vec<Cow<'static, str>>),
    Pattern(Pattern),
}

/// How long a task keeps its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    Start,
    End,
    Span(Duration),
}

/// What a second call comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Existing,
    Refused,
    Replaces(Replace),
    Debounced(Duration),
    Last,
}

/// What a second call puts in the place of what was stored; see [`Unique::replacing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replace {
    /// The arguments.
    pub arguments: bool,
    /// When it is due.
    pub due: bool,
    /// The priority.
    pub priority: bool,
}

impl Replace {
    /// Arguments, due time and priority.
    pub const ALL: Self = Self { arguments: true, due: true, priority: true };
    /// Only the arguments: it runs when it would have run.
    pub const ARGUMENTS: Self = Self { arguments: true, due: false, priority: false };
    /// Only the due time.
    pub const DUE: Self = Self { arguments: false, due: true, priority: false };
    /// Only the priority.
    pub const PRIORITY: Self = Self { arguments: false, due: false, priority: true };
}

/// At most one task of a kind with the same key, as an option of a task or a call.
///
/// The key is that of the kind: two kinds never meet. It is held by an index of the file, so it also
/// holds in bulk, inside transactions, and between processes. What becomes of a second call:
///
/// | | A task with the key … | … that has started |
/// |---|---|---|
/// | default | is the answer | is the answer |
/// | [`refused`](Self::refused) | `not_unique` | `not_unique` |
/// | [`replacing`](Self::replacing) | takes over what the call says | is the answer |
/// | [`debounced`](Self::debounced) | takes it over and waits again | has let the key go |
/// | [`last`](Self::last) | takes over what the call says | has let the key go; the new one follows it |
///
/// ```
/// # use litework::{Client, Mode, Unique, task};
/// #[task]
/// fn index(folder: &str, deep: bool) {}
///
/// let tasks = Client::in_memory().mode(Mode::Hold).register(index).open()?;
/// let once = |deep| index::with("docs", deep).unique(Unique::arguments_of(["folder"]));
/// let first = tasks.enqueue(once(true))?;
/// let second = tasks.enqueue(once(false))?;
/// assert!(second.is_existing() && second.id() == first.id());
/// # Ok::<(), litework::Error>(())
/// ```
///
/// A task that lets its key go when it starts may have to start again: after an error, say. Where a
/// newer task has the key by then, the older one ends as `cancelled` with the reason `superseded`, and
/// the newer one runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `unique`"]
pub struct Unique {
    by: By,
    cover: Cover,
    second: Second,
}

impl Unique {
    fn new(by: By) -> Self {
        Self { by, cover: Cover::End, second: Second::Existing }
    }

    /// Calls with the same arguments are the same. As JSON they may have 1,024 bytes (`bad_key`); with
    /// more, choose some.
    pub fn arguments() -> Self {
        Self::new(By::Arguments)
    }

    /// Calls for which these arguments are the same.
    pub fn arguments_of<S: Into<Cow<'static, str>>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::new(By::Chosen(names.into_iter().map(Into::into).collect()))
    }

    /// Calls with the same key, 1 to 200 bytes without control characters (`bad_key`); `{name}` stands
    /// for the argument of that name.
    pub fn key(pattern: impl Into<Cow<'static, str>>) -> Self {
        Self::new(By::Pattern(Pattern::new(pattern)))
    }

    /// Lets the key go when the task starts. Default: when it ends.
    pub fn until_start(mut self) -> Self {
        self.cover = Cover::Start;
        self
    }

    /// Keeps the key for this long after the task was stored, also when it has ended by then, 1 ms to
    /// 100 years (`out_of_range`): a throttle.
    pub fn within(mut self, span: Duration) -> Self {
        self.cover = Cover::Span(span);
        self
    }

    /// Refuses a second call as `not_unique`.
    pub fn refused(mut self) -> Self {
        self.second = Second::Refused;
        self
    }

    /// A second call changes the task that is there, as long as it does not run.
    pub fn replacing(mut self, what: Replace) -> Self {
        self.second = Second::Replaces(what);
        self
    }

    /// The task runs once no call has come for this long, 1 ms to 100 years (`out_of_range`), with the
    /// arguments of the last. A call that comes while it runs stores the next.
    pub fn debounced(mut self, quiet: Duration) -> Self {
        self.second = Second::Debounced(quiet);
        self.cover = Cover::Start;
        self
    }

    /// A call that comes while the task runs stores one more, which runs after it, with the arguments
    /// of the last call: for "index again when it was saved again". Needs no `exclusive`, and admits
    /// none.
    pub fn last(mut self) -> Self {
        self.second = Second::Last;
        self.cover = Cover::Start;
        self
    }

    /// Whether a newer task of its key runs after it.
    pub(crate) fn is_last(&self) -> bool {
        self.second == Second::Last
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let By::Pattern(pattern) = &self.by {
            pattern.check("unique key")?;
        }
        let spans = [
            (
                "span of `within`",
                if let Cover::Span(span) = self.cover { Some(span) } else { None },
            ),
            (
                "span of `debounced`",
                if let Second::Debounced(span) = self.second { Some(span) } else { None },
            ),
        ];
        for (place, span) in spans {
            if let Some(span) = &span {
                SPAN.check("out_of_range", || place.to_owned(), span)?;
            }
        }
        Ok(())
    }

    /// What one call means by it.
    pub(crate) fn resolve(
        &self,
        kind: &str,
        arguments: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Claim, Error> {
        let key = match &self.by {
            By::Pattern(pattern) => pattern.fill("unique key", arguments)?,
            By::Arguments => sorted(arguments.iter().map(|(name, value)| (name.as_str(), value)))?,
            By::Chosen(names) => {
                let chosen: Result<Vec<_>, Error> = names
                    .iter()
                    .map(|name| match arguments.get(&**name) {
                        Some(value) => Ok((&**name, value)),
                        None => Err(no_argument("unique key", name, arguments)),
                    })
                    .collect();
                sorted(chosen?.into_iter())?
            }
        };
        let held = match self.cover {
            Cover::Start => Held::Start,
            Cover::End => Held::End,
            Cover::Span(span) => Held::Until(now.after(span).as_millis()),
        };
        let on_conflict = match self.second {
            Second::Existing => OnConflict::Existing,
            Second::Refused => OnConflict::Refuse,
            Second::Replaces(what) => OnConflict::Replace(what),
            Second::Debounced(_) | Second::Last => OnConflict::Replace(Replace::ALL),
        };
        let delay = if let Second::Debounced(quiet) = self.second { Some(quiet) } else { None };
        Ok(Claim { key: format!("{kind}:{key}"), held, on_conflict, delay })
    }
}

/// As a JSON object in the order of the names.
fn sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a Value)>) -> Result<String, Error> {
    let pairs: std::collections::BTreeMap<_, _> = pairs.collect();
    // Text and JSON always encode.
    let text = serde_json::to_string(&pairs).unwrap_or_default();
    if text.len() <= ARGUMENTS_BYTES_MAX {
        return Ok(text);
    }
    let allowed = "at most 1024; choose some with `Unique::arguments_of`, or make a key of them";
    Err(Error::invalid("bad_key", "bytes of the arguments as unique key", text.len(), allowed))
}

/// The wish of one call to be the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) key: String,
    pub(crate) held: Held,
    pub(crate) on_conflict: OnConflict,
    /// How much later than now it is due.
    pub(crate) delay: Option<Duration>,
}

/// How long a stored task keeps its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    Start,
    End,
    /// Up to this moment, in milliseconds, whatever becomes of it.
    Until(i64),
}

/// What becomes of a call that meets a task with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnConflict {
    Existing,
    Refuse,
    Replace(Replace),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(unique: &Unique, arguments: Value) -> Result<String, String> {
        let Value::Object(arguments) = arguments else { unreachable!("it is an object") };
        let claim = unique.resolve("k", &arguments, Timestamp::MIN);
        claim.map(|claim| claim.key).map_err(|error| error.to_string())
    }

    #[test]
    fn the_order_of_arguments_does_not_matter() {
        let all = Unique::arguments();
        assert_eq!(key(&all, json!({"b": 1, "a": "x"})), Ok(r#"k:{"a":"x","b":1}"#.to_owned()));
        let some = Unique::arguments_of(["b"]);
        assert_eq!(key(&some, json!({"b": 1, "a": "x"})), Ok(r#"k:{"b":1}"#.to_owned()));
        assert_eq!(key(&Unique::key("{a}/{b}"), json!({"b": 1, "a": "x"})), Ok("k:x/1".to_owned()));
    }

    #[test]
    fn an_argument_that_is_not_there_and_too_many_bytes_are_refused() {
        assert_eq!(
            key(&Unique::arguments_of(["c"]), json!({"b": 1, "a": "x"})).expect_err("not there"),
            "bad_key: argument in the unique key is \"c\"; one of: a, b"
        );
        let long = key(&Unique::arguments(), json!({"a": "x".repeat(1_020)})).expect_err("long");
        assert_eq!(
            long,
            "bad_key: bytes of the arguments as unique key is 1028; at most 1024; choose some with \
             `Unique::arguments_of`, or make a key of them"
        );
        let never = Unique::arguments().within(Duration::ZERO).check().expect_err("zero");
        assert_eq!(never.to_string(), "out_of_range: span of `within` is 0ns; 1 ms to 100 years");
    }
}
