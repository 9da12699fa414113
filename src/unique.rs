//! Define: a task that is there once. Its key is made from the call, an index of the file holds it, and
//! what becomes of a second call with the same key is decided in the transaction that stores it.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::key::{Pattern, no_argument};
use crate::range::SPAN;
use crate::retry::millis;
use crate::state::State;
use crate::time::Timestamp;

/// Bytes of a key that is made from arguments as they are.
const ARGUMENTS_BYTES_MAX: usize = 1_024;

/// What makes two calls the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Arguments,
    Chosen(Vec<Cow<'static, str>>),
    Pattern(Pattern),
}

/// How long a task keeps its key, where the option says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cover {
    Start,
    Span(#[serde(with = "millis")] Duration),
}

impl Cover {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "until_start",
            Self::Span(_) => "within",
        }
    }
}

/// What a second call comes to, where the option says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Second {
    Refused,
    Replaces(Replace),
    Debounced(#[serde(with = "millis")] Duration),
    Last,
}

impl Second {
    const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Replaces(_) => "replacing",
            Self::Debounced(_) => "debounced",
            Self::Last => "last",
        }
    }

    /// Whether it only makes sense where the key is let go at the start.
    const fn needs_start(self) -> bool {
        matches!(self, Self::Debounced(_) | Self::Last)
    }
}

/// What a second call puts in the place of what was stored; see [`Unique::replacing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Replace {
    /// The arguments, and with them the lock, limit or rate of the new call, or that it has none: the
    /// task leaves its place at the old one and stands at the new one like a new task.
    pub arguments: bool,
    /// When it is due, and when it expires. A task that waits in line for a lock, a limit or a rate
    /// leaves the line for a later moment, and keeps its place for one that has come.
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
///
/// How long the key holds is said by one of [`until_start`](Self::until_start) and
/// [`within`](Self::within), and what becomes of a second call by one of `refused`, `replacing`,
/// `debounced` and `last`. `debounced` and `last` let the key go when the task starts, so they do not go
/// with `within`. Two words that contradict each other are refused as `contradiction`, and both are
/// named. A word that comes twice counts with its last value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "give it to `unique`"]
pub struct Unique {
    by: By,
    /// None: until it ends.
    cover: Option<Cover>,
    /// None: the task that is there is the answer.
    second: Option<Second>,
    /// The first two words of which one says what the other does not admit.
    #[serde(skip)]
    clash: Option<(&'static str, &'static str)>,
}

impl Unique {
    fn new(by: By) -> Self {
        Self { by, cover: None, second: None, clash: None }
    }

    fn cover(mut self, cover: Cover) -> Self {
        self.note_clash(self.cover.map(Cover::word), cover.word());
        self.cover = Some(cover);
        self
    }

    fn second(mut self, second: Second) -> Self {
        self.note_clash(self.second.map(Second::word), second.word());
        self.second = Some(second);
        self
    }

    /// The same word again says the same of another value, so the last one counts.
    fn note_clash(&mut self, before: Option<&'static str>, word: &'static str) {
        let clash = before.filter(|before| *before != word).map(|before| (before, word));
        self.clash = self.clash.or(clash);
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
    ///
    /// ```
    /// # use litework::{Client, Context, Result, Unique, task};
    /// #[task]
    /// fn tidy(ctx: &Context, round: u32) -> Result<bool> {
    ///     let Some(tasks) = ctx.client().filter(|_| round == 1) else { return Ok(false) };
    ///     // This one has started, so what comes from now on is another task.
    ///     let next = tasks.enqueue(tidy::with(2).unique(Unique::key("tidy").until_start()))?;
    ///     Ok(!next.is_existing())
    /// }
    ///
    /// let tasks = Client::in_memory().register(tidy).open()?;
    /// let first = tasks.enqueue(tidy::with(1).unique(Unique::key("tidy").until_start()))?;
    /// assert!(first.value()?);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn until_start(self) -> Self {
        self.cover(Cover::Start)
    }

    /// Keeps the key for this long after the task was stored, also when it has ended by then, 1 ms to
    /// 100 years (`out_of_range`): a throttle.
    ///
    /// ```
    /// # use litework::{Client, Unique, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn remind(user: u32) {}
    ///
    /// let tasks = Client::in_memory().register(remind).open()?;
    /// let hourly = || Unique::arguments().within(Duration::from_secs(3_600));
    /// let first = tasks.enqueue(remind::with(7).unique(hourly()))?;
    /// assert!(first.has_ended()?); // it has run, and holds the key all the same
    /// let second = tasks.enqueue(remind::with(7).unique(hourly()))?;
    /// assert!(second.is_existing() && second.id() == first.id());
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn within(self, span: Duration) -> Self {
        self.cover(Cover::Span(span))
    }

    /// Refuses a second call as `not_unique`.
    ///
    /// ```
    /// # use litework::{Client, Error, Mode, Unique, task};
    /// #[task]
    /// fn close_month(month: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(close_month).open()?;
    /// let once = || close_month::with("2026-03").unique(Unique::arguments().refused());
    /// let first = tasks.enqueue(once())?;
    /// let second = tasks.enqueue(once());
    /// assert!(matches!(second, Err(Error::NotUnique { existing, .. }) if existing == first.id()));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn refused(self) -> Self {
        self.second(Second::Refused)
    }

    /// A second call changes the task that is there, as long as it does not run: it takes over what
    /// [`Replace`] says of the call.
    ///
    /// ```
    /// # use litework::{Client, Mode, Replace, Unique, task};
    /// #[task]
    /// fn publish(page: u32, text: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(publish).open()?;
    /// let newest = || Unique::key("page/{page}").replacing(Replace::ARGUMENTS);
    /// let first = tasks.enqueue(publish::with(7, "draft").unique(newest()))?;
    /// let second = tasks.enqueue(publish::with(7, "final").unique(newest()))?;
    /// assert_eq!(second.id(), first.id());
    /// assert_eq!(first.refresh()?.arguments, r#"{"page":7,"text":"final"}"#);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn replacing(self, what: Replace) -> Self {
        self.second(Second::Replaces(what))
    }

    /// The task runs once no call has come for this long, 1 ms to 100 years (`out_of_range`), with the
    /// arguments of the last and at its lock, limit or rate. A call that comes while it runs stores the
    /// next.
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, State, Unique, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn search(text: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(search).open()?;
    /// let typed = |text| {
    ///     search::with(text).unique(Unique::key("search").debounced(Duration::from_secs(60)))
    /// };
    /// let first = tasks.enqueue(typed("li"))?;
    /// let second = tasks.enqueue(typed("lite"))?;
    /// assert_eq!(second.id(), first.id());
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 0); // not before a minute without a call
    /// let task = first.refresh()?;
    /// assert_eq!((task.state, task.arguments.as_str()), (State::Scheduled, r#"{"text":"lite"}"#));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn debounced(self, quiet: Duration) -> Self {
        self.second(Second::Debounced(quiet))
    }

    /// A call that comes while the task runs stores one more, which runs after it, with the arguments
    /// of the last call: for "index again when it was saved again". Needs no `exclusive`, and admits
    /// none.
    ///
    /// ```
    /// # use litework::{Client, Context, Pending, Reason, Result, Unique, task};
    /// #[task]
    /// fn reindex(ctx: &Context, version: u32) -> Result<u32> {
    ///     if version == 1 {
    ///         let tasks = ctx.client().expect("it runs in a queue");
    ///         // It was saved twice meanwhile.
    ///         let next = tasks.enqueue(reindex::with(2).unique(Unique::key("doc").last()))?;
    ///         assert_eq!(next.refresh()?.reason, Some(Reason::Lock)); // it waits for this one
    ///         let same = tasks.enqueue(reindex::with(3).unique(Unique::key("doc").last()))?;
    ///         assert_eq!(same.id(), next.id());
    ///     }
    ///     Ok(version)
    /// }
    ///
    /// let tasks = Client::in_memory().register(reindex).open()?;
    /// let first = tasks.enqueue(reindex::with(1).unique(Unique::key("doc").last()))?;
    /// assert_eq!(first.value()?, 1);
    /// # let all = tasks.list(&litework::Filter::new(), None, 9)?.tasks;
    /// # tasks.run_pending(&Pending::all())?;
    /// # assert_eq!((all.len(), all[0].arguments.as_str()), (2, r#"{"version":3}"#));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn last(self) -> Self {
        self.second(Second::Last)
    }

    /// Whether a newer task of its key runs after it.
    pub(crate) fn is_last(&self) -> bool {
        self.second == Some(Second::Last)
    }

    /// Two words of which each says what the other does not admit.
    fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let span = self.cover.filter(|cover| matches!(cover, Cover::Span(_)));
        let start = self.second.filter(|second| second.needs_start());
        self.clash.or_else(|| Some((span?.word(), start?.word())))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let By::Pattern(pattern) = &self.by {
            pattern.check("unique key")?;
        }
        if let Some((one, other)) = self.contradiction() {
            let allowed = "one of the two: `until_start` or `within`, each with `refused` or \
                           `replacing` or neither; or `debounced` or `last`";
            let both = format!("{one}, {other}");
            return Err(Error::invalid("contradiction", "words of a unique key", both, allowed));
        }
        let spans = [
            (
                "span of `within`",
                if let Some(Cover::Span(span)) = self.cover { Some(span) } else { None },
            ),
            (
                "span of `debounced`",
                if let Some(Second::Debounced(span)) = self.second { Some(span) } else { None },
            ),
        ];
        for (place, span) in spans {
            if let Some(span) = &span {
                SPAN.check("out_of_range", || place.to_owned(), span)?;
            }
        }
        Ok(())
    }

    /// Whether its key may be made from the argument of this name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        match &self.by {
            By::Arguments => true,
            By::Chosen(names) => names.iter().any(|chosen| chosen == name),
            By::Pattern(pattern) => pattern.wants(name),
        }
    }

    /// Whether the key is made of all arguments.
    pub(crate) fn is_by_arguments(&self) -> bool {
        matches!(self.by, By::Arguments)
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
        let held = match (self.cover, self.second) {
            (Some(Cover::Span(span)), _) => Held::Until(now.after(span).as_millis()),
            (Some(Cover::Start), _) => Held::Start,
            (None, Some(second)) if second.needs_start() => Held::Start,
            (None, _) => Held::End,
        };
        let (on_conflict, delay) = match self.second {
            None => (OnConflict::Existing, None),
            Some(Second::Refused) => (OnConflict::Refuse, None),
            Some(Second::Replaces(what)) => (OnConflict::Replace(what), None),
            Some(Second::Last) => (OnConflict::Replace(Replace::ALL), None),
            Some(Second::Debounced(quiet)) => (OnConflict::Replace(Replace::ALL), Some(quiet)),
        };
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

/// A clock that is set back by no more takes no span away.
const CLOCK_SLACK: Duration = Duration::from_secs(3_600);

/// How long a stored task keeps its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    Start,
    End,
    /// Up to this moment, in milliseconds, whatever becomes of it.
    Until(i64),
}

impl Held {
    /// Whether the key is free for others. A span that was said more than an hour later than it is now was said
    /// by a clock that has been set back since, and would last until that time comes again.
    pub(crate) fn is_over(self, state: State, said_at: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Until(moment) => moment <= now.as_millis() || said_at > now.after(CLOCK_SLACK),
            Self::Start | Self::End => state.is_final(),
        }
    }
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

    #[test]
    fn words_that_contradict_each_other_are_refused_and_both_named() {
        let minute = Duration::from_secs(60);
        let all = Replace::ALL;
        let key = Unique::arguments;
        let refused = [
            (key().within(minute).debounced(minute), "within, debounced"),
            (key().debounced(minute).within(minute), "within, debounced"),
            (key().within(minute).last(), "within, last"),
            (key().within(minute).until_start(), "within, until_start"),
            (key().until_start().within(minute), "until_start, within"),
            (key().refused().replacing(all), "refused, replacing"),
            (key().replacing(all).debounced(minute), "replacing, debounced"),
            (key().debounced(minute).last(), "debounced, last"),
            (key().last().refused().last(), "last, refused"),
        ];
        for (unique, words) in refused {
            let error = unique.check().expect_err(words);
            assert_eq!(error.code(), "contradiction");
            assert!(error.to_string().contains(&format!("is \"{words}\";")), "{error}");
        }
        let admitted = [
            key().within(minute).refused(),
            key().within(minute).replacing(all),
            key().until_start().refused(),
            key().until_start().replacing(all),
            // They say the same of the start, and a word that comes again the same of another value.
            key().until_start().debounced(minute),
            key().last().until_start(),
            key().within(minute).within(minute * 2),
        ];
        for unique in admitted {
            unique.check().expect("it can be meant");
        }
    }
}
