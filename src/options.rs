//! Define: what can be said of a task besides its arguments.
//!
//! The same [`Options`] are given at definition and, as overrides, at one call. They are plain
//! values: nothing is checked until [`Options::checked`] has seen the whole, so a chain of overrides
//! reports one clear error. [`Plan`] is what remains when every gap is filled with its default.

mod copy;
mod run;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::run::{RunOptions, stored_keep_for};
use crate::capability::Capability;
use crate::error::Error;
use crate::event::EventKind;
use crate::follow::FollowOption;
use crate::gate::{Exclusive, GateOption, Limit, Limits, Rate};
use crate::key::Pattern;
use crate::range::SPAN;
use crate::redact::Redaction;
use crate::retry::{Retry, millis_opt};
use crate::ties::TiesOption;
use crate::unique::Unique;

/// The queue of a task that names none.
pub const QUEUE_DEFAULT: &str = "default";
/// Names of queues and kinds have at most this many bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// The lowest priority; it runs last.
pub const PRIORITY_MIN: i8 = -100;
/// The highest priority; it runs first.
pub const PRIORITY_MAX: i8 = 100;
/// Attempts of a task that names no number.
pub const ATTEMPTS_DEFAULT: u32 = 5;
/// No task may have more attempts.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// No time-out is longer: 365 days.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What an answered call survives.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// A killed process; a power loss may take the newest commits, always a tail, never a hole.
    Normal,
    /// A power loss, on a disk that honours flush.
    #[default]
    Full,
}

/// Options of a task or of one call; whatever is not set keeps its default.
///
/// Nothing is refused here: a value outside its range is an error where the task is registered, from
/// [`Builder::open`](crate::Builder::open), or where the call is enqueued; its code stands in
/// parentheses below.
///
/// ```
/// use litework::Options;
/// use std::time::Duration;
///
/// let options = Options::new().queue("images").priority(10).timeout(Duration::from_secs(20));
/// let calmer = options.clone().priority(-5); // the original is unchanged
/// assert_ne!(options, calmer);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    #[serde(skip)]
    description: Option<Cow<'static, str>>,
    #[serde(skip)]
    aliases: Vec<Cow<'static, str>>,
    #[serde(skip)]
    client: Option<Cow<'static, str>>,
    #[serde(skip)]
    needs: Vec<Capability>,
    #[serde(skip)]
    redaction: Redaction,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip)]
    on_commit: Option<bool>,
    #[serde(
        rename = "expires_after_ms",
        with = "millis_opt",
        skip_serializing_if = "Option::is_none"
    )]
    expires_after: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most_once: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<Unique>,
    /// At most one may be given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gates: Vec<GateOption>,
    /// What holds for all tasks of the kind together.
    #[serde(skip)]
    limits: Limits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    follow: Vec<FollowOption>,
    #[serde(skip)]
    notice_ms: Option<u64>,
    #[serde(skip_serializing_if = "RunOptions::is_plain")]
    run: RunOptions,
}

impl Options {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// One paragraph for people, shown beside the name.
    #[must_use]
    pub fn description(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// A former name: stored tasks of that name run as this one.
    #[must_use]
    pub fn alias(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// The client of a set that stores its calls, by name, 1–64 of `A–Z a–z 0–9 . _ -` (`bad_name`);
    /// see [`Clients`](crate::Clients). A name that is not in the set is refused when the set is opened
    /// (`unknown_client`). A client that was opened by itself takes every task, whichever client it
    /// names. Default: as the set routes it.
    #[must_use]
    pub fn client(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.client = Some(name.into());
        self
    }

    /// What the task cannot do without: a client that lacks it refuses to be opened with this task
    /// (`unsupported`). A priority at definition needs
    /// [`Priority`](crate::Capability::Priority) by itself.
    ///
    /// ```
    /// # use litework::{Capability, Client, Definition, task};
    /// #[task]
    /// fn charge(order: u64) {}
    ///
    /// let careful = Definition::from(charge).with(|options| options.needs(Capability::Durable));
    /// let refused = Client::in_memory().register(careful).open().unwrap_err().to_string();
    /// assert!(refused.starts_with("unsupported: durable of client \"default\" is false; task charge"));
    /// ```
    #[must_use]
    pub fn needs(mut self, capability: Capability) -> Self {
        self.needs.push(capability);
        self
    }

    /// Hides values from people who look at tasks of this kind: in arguments, results, errors and logs, wherever these
    /// are shown, what goes by a name with this in it, in whichever notation (`iban` hides `customerIban`). Passwords, tokens,
    /// keys and the like are hidden without it; see [`Builder::redact`](crate::Builder::redact).
    #[must_use]
    pub fn redact(mut self, name: impl AsRef<str>) -> Self {
        self.redaction.hide(name.as_ref());
        self
    }

    /// Shows what goes by exactly this name, in whichever notation, where it would be hidden: `token_count`, say.
    #[must_use]
    pub fn show(mut self, name: impl AsRef<str>) -> Self {
        self.redaction.show(name.as_ref());
        self
    }

    /// The queue, 1–64 of `A–Z a–z 0–9 . _ -` (`bad_queue`). Default: `default`. With
    /// [`Builder::allow_queues`](crate::Builder::allow_queues) it must be one of those
    /// (`unknown_queue`).
    #[must_use]
    pub fn queue(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// −100 to 100 (`out_of_range`); higher runs first. Default: 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How often the task is tried in all, 1 to 1,000 (`out_of_range`). Default: 5.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// The delay between attempts: a back-off whose first bound is at most its cap, or a ladder of at
    /// most 64 steps (`out_of_range`). Default: [`Retry::default`], exponential from 2 s to 1 h.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.run.retry = Some(retry);
        self
    }

    /// How long one attempt may run before its token is set: 1 ms to 365 days (`out_of_range`).
    /// Default: no limit.
    ///
    /// The token is what [`Context::check`](crate::Context::check) looks at. A body of a pool that has
    /// not ended 10 s later loses its lease: the attempt is settled as timed out and is tried again
    /// or fails, the row is marked `stuck`, what the body still returns is not kept, and its thread
    /// stays occupied until it does. In the caller, that is in mode `inline` and in `run_pending`,
    /// a body keeps its lease however late it ends, as its caller waits for it anyway.
    ///
    /// A value that comes after the time-out but before the loss of the lease is kept as a success.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.run.timeout = Some(timeout);
        self
    }

    /// How long after its due time a task may still be started, 1 ms to 100 years (`out_of_range`);
    /// then it fails as `expired`. Default: for ever.
    #[must_use]
    pub fn expires_after(mut self, span: Duration) -> Self {
        self.expires_after = Some(span);
        self
    }

    /// How long the task is kept after its end, 0 to 100 years (`out_of_range`), whatever the client's
    /// [`Retention`](crate::Retention) says of its outcome and queue. Default: what that says.
    #[must_use]
    pub fn keep_for(mut self, span: Duration) -> Self {
        self.run.keep_for = Some(span);
        self
    }

    /// Commit each finish at once instead of within 5 ms together with others. Default: false.
    #[must_use]
    pub fn finish_sync(mut self, sync: bool) -> Self {
        self.run.finish_sync = Some(sync);
        self
    }

    /// What the commit of the finish survives. Default: the client's level.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.run.durability = Some(durability);
        self
    }

    /// Inside `client.write`, whether the task is stored with the transaction (true), or by itself
    /// once that has ended, whatever became of it (false). Default: true.
    #[must_use]
    pub fn on_commit(mut self, on_commit: bool) -> Self {
        self.on_commit = Some(on_commit);
        self
    }

    /// Run the body at most once: the start is flushed to disk before it, a failure ends the task, and a
    /// crash ends it as `lost`. Only a body that answers with [`Failure::snooze`](crate::Failure::snooze)
    /// is started again. It is claimed only where a thread is free, so a crash spares what waits. Default: false.
    #[must_use]
    pub fn at_most_once(mut self, at_most_once: bool) -> Self {
        self.at_most_once = Some(at_most_once);
        self
    }

    /// At most one task of this kind with the same key; see [`Unique`]. Default: any number.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Runs only while it holds a lock; see [`Exclusive`]. A task has at most one of `exclusive`,
    /// `limit` and `rate_per_key` (`one_gate`); one that a call names takes the place of the
    /// definition's. Default: none.
    #[must_use]
    pub fn exclusive(mut self, exclusive: Exclusive) -> Self {
        self.gates.push(GateOption::Exclusive(exclusive));
        self
    }

    /// How many tasks of a key run at once; see [`Limit`]. Default: any number.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.gates.push(GateOption::Limit(limit));
        self
    }

    /// How many tasks of a key start in a period; see [`Rate`]. The key is 1 to 200 bytes without
    /// control characters (`bad_key`); `{name}` stands for the argument of that name. A task that is not
    /// admitted yet is stored as `scheduled` or, behind others, as `waiting`, and stands in nobody's
    /// way. Default: any number.
    #[must_use]
    pub fn rate_per_key(mut self, key: impl Into<Cow<'static, str>>, rate: Rate) -> Self {
        self.gates.push(GateOption::Rate(Pattern::new(key), rate));
        self
    }

    /// How many tasks of this kind run at once in all processes, 1 to 1,000,000 (`out_of_range`). It is
    /// an option of the definition; what people have set in the file goes before it. Default: any
    /// number.
    #[must_use]
    pub fn max_running(mut self, tasks: u32) -> Self {
        self.limits.max_running = Some(tasks);
        self
    }

    /// How many tasks of this kind start in a period, in all processes; see [`Rate`]. It is an option
    /// of the definition; what people have set in the file goes before it. Default: any number.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.limits.rate = Some(rate);
        self
    }

    /// Stores a task of `kind` when this one has ended so: one [`EventKind`] or several of `Succeeded`,
    /// `Failed`, `Cancelled`, `Skipped` and `Finished` (in any way), else `bad_follow`. `Failed` means for good
    /// here: an attempt that is tried again is followed by nothing, though receivers of
    /// [`Builder::on`](crate::Builder::on) hear of it. May be said several times; what a call says takes the
    /// place of the definition's. Default: none.
    ///
    /// The follow-up is stored **in the transaction that ends the task**: it exists if and only if the end
    /// does, whoever ends it: a body, a cancel, an expiry, a damaged row, or the death of its process. Like any
    /// task it then runs at least once. Its one argument is `event`, an [`EventRecord`](crate::EventRecord).
    /// A task that is run again by [`Client::retry`](crate::Client::retry) has a new event at its next end.
    ///
    /// The kind has to be known to whoever enqueues, registered or declared (`unknown_kind`); queue, priority,
    /// attempts, expiry and `at_most_once` are those of its definition there. It has no unique key and no gate
    /// (`bad_follow`), and does not lead back to itself (`follows_itself`). It may be followed in turn, by 64
    /// in all (`too_many_follows`). It belongs to the owner and the trace of the task that ended. In mode
    /// `inline` it runs within the call that ended the task. What is erased with its owner
    /// is followed by nothing.
    ///
    /// ```
    /// # use litework::{Client, Definition, EventKind, EventRecord, Failure, Filter, Result, task};
    /// #[task]
    /// fn tidy_up(event: EventRecord) -> Result<String> {
    ///     let error = event.error.map(|error| error.message).unwrap_or_default();
    ///     Ok(format!("{} {}: {error}", event.kind, event.what))
    /// }
    ///
    /// #[task(attempts = 1)]
    /// fn import(path: &str) -> Result<()> {
    ///     Err(Failure::give_up(format!("{path} is empty")))
    /// }
    ///
    /// let import_and_tidy =
    ///     Definition::from(import).with(|options| options.follow(EventKind::Failed, "tidy_up"));
    /// let tasks = Client::in_memory().register(import_and_tidy).register(tidy_up).open()?;
    /// tasks.enqueue(import::with("a.csv"))?;
    /// let tidied = tasks.list(&Filter::new().kind("tidy_up"), None, 10)?.tasks;
    /// assert_eq!(tidied[0].result.as_deref(), Some(r#""import failed: a.csv is empty""#));
    /// # Ok::<(), litework::Error>(())
    /// ```
    #[must_use]
    pub fn follow(
        mut self,
        ends: impl IntoIterator<Item = EventKind>,
        kind: impl Into<Cow<'static, str>>,
    ) -> Self {
        let on = ends.into_iter().collect();
        self.follow.push(FollowOption { on, kind: kind.into() });
        self
    }

    /// Its failures are told by notices, at most one in so long.
    pub(crate) fn noticed(mut self, every: Duration) -> Self {
        self.notice_ms = Some(u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        self
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// These overrides over the definition's options.
    pub(crate) fn over(&self, base: &Self) -> Self {
        Self {
            description: base.description.clone(),
            aliases: base.aliases.clone(),
            client: self.client.clone().or_else(|| base.client.clone()),
            redaction: base.redaction.clone(),
            needs: base.needs.clone(),
            queue: self.queue.clone().or_else(|| base.queue.clone()),
            priority: self.priority.or(base.priority),
            on_commit: self.on_commit.or(base.on_commit),
            expires_after: self.expires_after.or(base.expires_after),
            attempts: self.attempts.or(base.attempts),
            at_most_once: self.at_most_once.or(base.at_most_once),
            unique: self.unique.clone().or_else(|| base.unique.clone()),
            gates: if self.gates.is_empty() { base.gates.clone() } else { self.gates.clone() },
            limits: self.limits.over(base.limits),
            follow: if self.follow.is_empty() { base.follow.clone() } else { self.follow.clone() },
            notice_ms: base.notice_ms,
            run: self.run.over(&base.run),
        }
    }

    /// What the overrides change for the running process, as JSON to be stored with the task.
    pub(crate) fn stored(&self) -> Option<String> {
        self.run.stored()
    }

    /// The stored overrides of one task over this definition.
    pub(crate) fn with_stored(&self, text: &str) -> Result<RunOptions, serde_json::Error> {
        self.run.with_stored(text)
    }

    /// Every option in its range, every gap filled.
    pub(crate) fn checked(&self) -> Result<Plan, Error> {
        let queue = self.queue.clone().unwrap_or(Cow::Borrowed(QUEUE_DEFAULT));
        check_name("bad_queue", "queue name", &queue)?;
        for alias in &self.aliases {
            check_name("bad_name", "alias", alias)?;
        }
        if let Some(client) = &self.client {
            check_name("bad_name", "client name", client)?;
        }
        let attempts = self.attempts.unwrap_or(ATTEMPTS_DEFAULT);
        if !(1..=ATTEMPTS_MAX).contains(&attempts) {
            return Err(Error::invalid("out_of_range", "attempts", attempts, "1 to 1000"));
        }
        self.run.check()?;
        if let Some(span) = &self.expires_after {
            SPAN.check("out_of_range", || "expires_after".to_owned(), span)?;
        }
        Ok(Plan {
            queue: queue.into(),
            priority: check_priority(self.priority.unwrap_or(0))?,
            attempts_max: attempts,
            expires_after: self.expires_after,
            on_commit: self.on_commit.unwrap_or(true),
            at_most_once: self.at_most_once.unwrap_or(false),
            ties: self.checked_ties()?,
        })
    }

    fn checked_ties(&self) -> Result<Option<Arc<TiesOption>>, Error> {
        self.limits.check("max_running")?;
        let follows = !self.follow.is_empty() || self.notice_ms.is_some();
        if self.unique.is_none() && self.gates.is_empty() && !follows {
            return Ok(None);
        }
        let given =
            self.gates.len() + usize::from(self.unique.as_ref().is_some_and(Unique::is_last));
        if given > 1 {
            let allowed = "one of exclusive, limit, rate_per_key and a unique key with `last`";
            return Err(Error::invalid("one_gate", "number of gates", given, allowed));
        }
        self.unique.as_ref().map_or(Ok(()), Unique::check)?;
        self.gates.iter().try_for_each(GateOption::check)?;
        let gate = self.gates.first().cloned();
        self.follow.iter().try_for_each(|follow| {
            check_name("bad_name", "kind that follows", &follow.kind)?;
            follow.check()
        })?;
        let (unique, follow) = (self.unique.clone(), self.follow.clone());
        Ok(Some(Arc::new(TiesOption { unique, gate, follow, notice_ms: self.notice_ms })))
    }

    /// What holds for all tasks of this kind together.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn aliases(&self) -> &[Cow<'static, str>] {
        &self.aliases
    }

    /// The client of a set that is named.
    pub(crate) fn named_client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    pub(crate) fn named_queue(&self) -> Option<&str> {
        self.queue.as_deref()
    }

    pub(crate) fn named_priority(&self) -> Option<i32> {
        self.priority
    }

    pub(crate) fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    /// What is needed in so many words, and what follows from the rest.
    pub(crate) fn needed(&self) -> impl Iterator<Item = Capability> {
        let priority = self.priority.filter(|priority| *priority != 0);
        self.needs.iter().copied().chain(priority.map(|_| Capability::Priority))
    }

    pub(crate) fn run_options(&self) -> &RunOptions {
        &self.run
    }

    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    pub(crate) fn described(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

/// Options that have been checked, every gap filled: what enqueuing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) queue: Arc<str>,
    pub(crate) priority: i8,
    pub(crate) attempts_max: u32,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) on_commit: bool,
    pub(crate) at_most_once: bool,
    /// None for a plain task.
    pub(crate) ties: Option<Arc<TiesOption>>,
}

/// 1–64 of `A–Z a–z 0–9 . _ -`.
pub(crate) fn check_name(code: &'static str, place: &str, name: &str) -> Result<(), Error> {
    const ALLOWED: &str = "1–64 of A–Z a–z 0–9 . _ -";
    let bad =
        name.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    let reason = match (name.len(), bad) {
        (0, _) => "is empty".to_owned(),
        (_, Some(at)) => format!("has a character at byte {at} that is not allowed"),
        (length, None) if length > NAME_BYTES_MAX => format!("has {length} bytes"),
        _ => return Ok(()),
    };
    Err(Error::invalid(code, place, name, format!("it {reason}; {ALLOWED}")))
}

pub(crate) fn check_priority(priority: i32) -> Result<i8, Error> {
    i8::try_from(priority)
        .ok()
        .filter(|priority| (PRIORITY_MIN..=PRIORITY_MAX).contains(priority))
        .ok_or_else(|| Error::invalid("out_of_range", "priority", priority, "-100 to 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_with_the_byte_named() {
        let text =
            |name: &str| check_name("bad_queue", "queue name", name).map_err(|e| e.to_string());
        assert_eq!(text("mail.out_1-A"), Ok(()));
        assert_eq!(
            text("a b").expect_err("space"),
            "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; \
             1–64 of A–Z a–z 0–9 . _ -"
        );
        assert!(text("").is_err() && text(&"x".repeat(65)).is_err() && text("é").is_err());
    }

    #[test]
    fn a_back_off_does_not_begin_above_its_cap() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let checked = |base, cap| Options::new().retry(Retry::exponential(base, cap)).checked();
        assert!(checked(second, second).is_ok());
        assert_eq!(
            checked(hour, second).expect_err("upside down").to_string(),
            "out_of_range: longest delay is 1s; at least 3600s, the bound of the first"
        );
    }

    #[test]
    fn overrides_are_stored_only_where_they_differ() {
        assert_eq!(Options::new().queue("x").priority(3).stored(), None);
        let call = Options::new().timeout(Duration::from_secs(2));
        assert_eq!(call.stored().as_deref(), Some(r#"{"timeout_ms":2000}"#));
        let merged = Options::new().retry(Retry::ladder([])).with_stored(r#"{"timeout_ms":2000}"#);
        let merged = merged.expect("stored by us");
        assert_eq!(
            (merged.retry, merged.timeout),
            (Some(Retry::ladder([])), Some(Duration::from_secs(2)))
        );
    }
}
