//! Define: the signature of a task and one call of it.
//!
//! A [`Signature`] is what enqueuing needs to know: the name, the arguments (the type itself), the
//! type of the return value and the options. How the task runs is another trait, further on, so a
//! program that only enqueues needs no bodies.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::gate::{Exclusive, Limit, Rate};
use crate::id::TaskId;
use crate::key::check_idempotency_key;
use crate::options::Options;
use crate::retry::Retry;
use crate::ties::{Links, Policy};
use crate::time::{AsMoment, Timestamp};
use crate::unique::Unique;

/// Tags of one task at most.
pub const TAGS_MAX: usize = 32;
/// Bytes of one tag at most.
pub const TAG_BYTES_MAX: usize = 64;
/// Bytes of an owner's name at most.
pub const OWNER_BYTES_MAX: usize = 200;
/// Bytes of a trace context at most.
const TRACE_BYTES_MAX: usize = 128;

/// The part of a task that enqueuing needs. Implement [`Task`](crate::Task) instead where the body
/// is in the same program: it brings this along.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no task's arguments",
    note = "a `#[task]` function is enqueued as `name::with(arguments)`"
)]
pub trait Signature: Serialize + DeserializeOwned + Send + 'static {
    /// The stable name, 1–64 of `A–Z a–z 0–9 . _ -`. Stored with every task.
    const NAME: &'static str;
    /// The type of the return value.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The options at definition.
    fn options() -> Options {
        Options::new()
    }
    /// What people call a task with these arguments, see [`Task::called`](crate::Task::called).
    fn called(&self) -> Option<String> {
        None
    }
    /// How many steps a task with these arguments has, see [`Task::steps`](crate::Task::steps).
    fn steps(&self) -> Option<u64> {
        None
    }
}

/// When a task is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Due {
    #[default]
    Now,
    After(Duration),
    /// Milliseconds since 1970, not checked yet.
    At(i64),
}

impl Due {
    pub(crate) fn moment(self, now: Timestamp) -> Result<Timestamp, Error> {
        match self {
            Self::Now => Ok(now),
            Self::After(span) => {
                let late = now
                    .as_millis()
                    .checked_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
                late.and_then(Timestamp::from_millis).ok_or_else(|| time_out_of_range(span))
            }
            Self::At(ms) => Timestamp::from_millis(ms).ok_or_else(|| time_out_of_range(ms)),
        }
    }
}

fn time_out_of_range(value: impl std::fmt::Debug) -> Error {
    Error::invalid(
        "time_out_of_range",
        "due time",
        value,
        "1970-01-01 to 9999-12-31, 0 to 253402300799999 ms",
    )
}

/// Everything about a call but its arguments.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CallOptions {
    pub(crate) options: Options,
    pub(crate) due: Due,
    pub(crate) key: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) trace: Option<String>,
    pub(crate) tags: Vec<Cow<'static, str>>,
    pub(crate) meta: Map<String, Value>,
    /// None where the call says nothing of other tasks.
    pub(crate) links: Option<Box<Links>>,
}

/// One call of a task: the arguments and what is special about this call.
///
/// A call is a value. Each method returns a changed call; clone it first to keep the original.
///
/// ```
/// # use litework::{Call, Context, Result, Task};
/// # use serde::{Deserialize, Serialize};
/// # use std::time::Duration;
/// # #[derive(Clone, Serialize, Deserialize)]
/// # struct Shrink { path: String }
/// # impl Task for Shrink {
/// #     const NAME: &'static str = "shrink";
/// #     type Output = ();
/// #     fn run(self, _: &Context) -> Result<()> { Ok(()) }
/// # }
/// let call = Call::new(Shrink { path: "cat.png".into() });
/// let later = call.clone().priority(10).run_after(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is enqueued"]
pub struct Call<T> {
    pub(crate) args: T,
    pub(crate) with: CallOptions,
}

/// Whatever names a task in a type position: the type of its arguments, or the name of a `#[task]`
/// function, as in `client.handle::<shrink>(id)`.
pub trait TaskRef {
    /// The task that is named.
    type Task: Signature;
}

impl<T: Signature> TaskRef for T {
    type Task = T;
}

/// What can be enqueued: a [`Call`], or just the arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be enqueued",
    note = "a `#[task]` function is enqueued as `name::with(arguments)`"
)]
pub trait IntoCall {
    /// The task that is called.
    type Task: Signature;
    /// The call.
    fn into_call(self) -> Call<Self::Task>;
}

impl<T: Signature> IntoCall for Call<T> {
    type Task = T;
    fn into_call(self) -> Self {
        self
    }
}

impl<T: Signature> IntoCall for T {
    type Task = T;
    fn into_call(self) -> Call<T> {
        Call::new(self)
    }
}

impl<T> Call<T> {
    /// A call with the task's own options.
    pub fn new(args: T) -> Self {
        Self { args, with: CallOptions::default() }
    }

    /// The arguments.
    pub fn args(&self) -> &T {
        &self.args
    }

    fn options(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.with.options = change(self.with.options);
        self
    }

    /// The client of a set that stores this call, before all that its definition and the routes say;
    /// see [`Options::client`] and [`Clients`](crate::Clients).
    pub fn client(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.options(|options| options.client(name))
    }

    /// See [`Options::queue`].
    pub fn queue(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.options(|options| options.queue(name))
    }

    /// See [`Options::priority`].
    pub fn priority(self, priority: i32) -> Self {
        self.options(|options| options.priority(priority))
    }

    /// See [`Options::attempts`].
    pub fn attempts(self, attempts: u32) -> Self {
        self.options(|options| options.attempts(attempts))
    }

    /// See [`Options::retry`].
    pub fn retry(self, retry: Retry) -> Self {
        self.options(|options| options.retry(retry))
    }

    /// See [`Options::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        self.options(|options| options.timeout(timeout))
    }

    /// See [`Options::expires_after`].
    pub fn expires_after(self, span: Duration) -> Self {
        self.options(|options| options.expires_after(span))
    }

    /// See [`Options::keep_for`].
    pub fn keep_for(self, span: Duration) -> Self {
        self.options(|options| options.keep_for(span))
    }

    /// See [`Options::finish_sync`].
    pub fn finish_sync(self, sync: bool) -> Self {
        self.options(|options| options.finish_sync(sync))
    }

    /// See [`Options::durability`].
    pub fn durability(self, durability: crate::options::Durability) -> Self {
        self.options(|options| options.durability(durability))
    }

    /// See [`Options::on_commit`].
    pub fn on_commit(self, on_commit: bool) -> Self {
        self.options(|options| options.on_commit(on_commit))
    }

    /// See [`Options::at_most_once`].
    pub fn at_most_once(self, at_most_once: bool) -> Self {
        self.options(|options| options.at_most_once(at_most_once))
    }

    /// See [`Options::unique`].
    pub fn unique(self, unique: Unique) -> Self {
        self.options(|options| options.unique(unique))
    }

    /// See [`Options::exclusive`].
    pub fn exclusive(self, exclusive: Exclusive) -> Self {
        self.options(|options| options.exclusive(exclusive))
    }

    /// See [`Options::limit`].
    pub fn limit(self, limit: Limit) -> Self {
        self.options(|options| options.limit(limit))
    }

    /// See [`Options::rate_per_key`].
    pub fn rate_per_key(self, key: impl Into<Cow<'static, str>>, rate: Rate) -> Self {
        self.options(|options| options.rate_per_key(key, rate))
    }

    /// Stores another task when this one has ended so; see [`Options::follow`].
    pub fn follow(
        self,
        ends: impl IntoIterator<Item = crate::event::EventKind>,
        kind: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.options(|options| options.follow(ends, kind))
    }

    /// Run it once this much time has passed, from zero up to the end of the year 9999
    /// (`time_out_of_range`).
    pub fn run_after(mut self, span: Duration) -> Self {
        self.with.due = Due::After(span);
        self
    }

    /// Run it at this moment, a [`Timestamp`] or chrono's `DateTime`, from 1970 to 9999
    /// (`time_out_of_range`); a past moment runs it now.
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn run_at(mut self, moment: impl AsMoment) -> Self {
        self.with.due = Due::At(moment.as_unix_millis());
        self
    }

    /// The idempotency key, 1 to 200 bytes without control characters: while a task with this key is kept, the same call
    /// gives that task again, and one with other arguments is a `key_conflict`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.with.key = Some(key.into());
        self
    }

    /// Whose task it is, such as a user or a tenant of the program: 1 to 200 bytes without control
    /// characters. Tasks are listed by it ([`Filter::owner`](crate::Filter::owner)), and all that is
    /// kept of an owner is erased at once ([`Client::erase`](crate::Client::erase)). What a task
    /// enqueues has no owner unless its call names one.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.with.owner = Some(owner.into());
        self
    }

    /// The trace that the task belongs to, as a W3C `traceparent`, such as
    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01` (`bad_trace`): stored with the task, a
    /// field of the span of its attempts, and given on to what its body enqueues. Default: that of
    /// the body around the call, or what [`Builder::trace_context`](crate::Builder::trace_context)
    /// says.
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// #[task]
    /// fn traced(ctx: &Context) -> Option<String> {
    ///     ctx.trace().map(str::to_owned)
    /// }
    ///
    /// let tasks = Client::in_memory().register(traced).open()?;
    /// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let handle = tasks.enqueue(traced::with().trace(parent))?;
    /// assert_eq!(handle.value()?.as_deref(), Some(parent));
    /// assert_eq!(handle.refresh()?.trace.as_deref(), Some(parent));
    /// let refused = tasks.enqueue(traced::with().trace("4bf92f")).unwrap_err();
    /// assert_eq!(refused.code(), "bad_trace");
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn trace(mut self, traceparent: impl Into<String>) -> Self {
        self.with.trace = Some(traceparent.into());
        self
    }

    /// A word to find the task by: 1 to 64 bytes, at most 32 a task.
    pub fn tag(mut self, tag: impl Into<Cow<'static, str>>) -> Self {
        self.with.tags.push(tag.into());
        self
    }

    /// One entry of free JSON that travels with the task.
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with.meta.insert(name.into(), value.into());
        self
    }

    fn links(mut self, change: impl FnOnce(&mut Links)) -> Self {
        change(self.with.links.get_or_insert_default());
        self
    }

    /// What people call this task, where that is not its kind: 1 to 200 bytes without control
    /// characters (`bad_name`). It need not be the only one of its name, but in a
    /// [`Flow`](crate::Flow).
    pub fn name(self, name: impl Into<String>) -> Self {
        self.links(|links| links.name = Some(name.into()))
    }

    /// Run it once these stored tasks have succeeded or were skipped; until then it is `waiting`, and
    /// stands in nobody's way. Where one of them fails or is cancelled, it ends as `failed` or
    /// `cancelled` with the reason `parent`, without running. Those that have ended count at once.
    ///
    /// At most [`AFTER_MAX`](crate::AFTER_MAX) tasks come before one (`too_many_before`), all of them
    /// stored (`not_found`). Tasks that are stored together are put in order with a
    /// [`Flow`](crate::Flow).
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, Reason, task};
    /// # #[task]
    /// # fn fetch(page: u32) -> String { format!("page {page}") }
    /// # #[task]
    /// # fn count(text: String) -> usize { text.len() }
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(fetch).register(count).open()?;
    /// let page = tasks.enqueue(fetch::with(7))?;
    /// // The parameter `text` takes what `fetch` returns.
    /// let call = count::with(String::new()).after([page.id()]).takes_result("text");
    /// let length = tasks.enqueue(call)?;
    /// assert_eq!(length.refresh()?.reason, Some(Reason::Parents));
    /// tasks.run_pending(&Pending::all())?;
    /// assert_eq!(length.value()?, 6);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn after(self, tasks: impl IntoIterator<Item = TaskId>) -> Self {
        let before = tasks.into_iter().map(|id| (id, Policy::Success));
        self.links(|links| links.after.extend(before))
    }

    /// The same, but run it however they have ended.
    pub fn after_finished(self, tasks: impl IntoIterator<Item = TaskId>) -> Self {
        let before = tasks.into_iter().map(|id| (id, Policy::Finish));
        self.links(|links| links.after.extend(before))
    }

    /// The parameter of this name takes the result of the task before it, in the place of what the
    /// call gives, each time the task starts. With several before it the parameter gets an array, in
    /// the order in which they were named; for a [`Flow`](crate::Flow) before it, an array of what its
    /// members returned, in the order in which they were stored. A task that returned nothing, as it
    /// failed, say, gives `null`.
    ///
    /// What does not fit the parameter, or is larger than arguments may be, fails the task as
    /// `bad_arguments` when it starts. A call without a task before it is refused (`nothing_before`), and
    /// one that gives nothing for that parameter, whose place the result could take (`no_parameter`).
    pub fn takes_result(self, parameter: impl Into<String>) -> Self {
        self.links(|links| links.takes = Some(parameter.into()))
    }

    /// As a member of a [`Flow`](crate::Flow): its failure or its cancel fails neither the flow nor
    /// what comes after it. By itself such a call is refused (`unsupported`), and so is one that comes after
    /// the whole flow.
    ///
    /// ```
    /// # use litework::{Client, Failure, Flow, Result, State, task};
    /// #[task(attempts = 1)]
    /// fn thumbnail(image: &str) -> Result<()> {
    ///     Err(Failure::give_up(format!("{image} is no image")))
    /// }
    ///
    /// #[task]
    /// fn publish(page: &str) -> String {
    ///     format!("{page} is out")
    /// }
    ///
    /// let tasks = Client::in_memory().register(thumbnail).register(publish).open()?;
    /// let flow = Flow::chain("page", [thumbnail::with("a.txt").ignore_failure()])
    ///     .then(publish::with("a"));
    /// let batch = tasks.enqueue_flow(flow)?;
    /// let sum = batch.value()?;
    /// assert_eq!((sum.succeeded, sum.failed), (1, 1));
    /// assert_eq!(batch.refresh()?.state, State::Succeeded);
    /// let alone = tasks.enqueue(thumbnail::with("b.txt").ignore_failure());
    /// assert_eq!(alone.unwrap_err().code(), "unsupported");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn ignore_failure(self) -> Self {
        self.links(|links| links.ignore_failure = true)
    }
}

pub(crate) fn check_owner(owner: &str) -> Result<&str, Error> {
    if owner.is_empty() || owner.len() > OWNER_BYTES_MAX || owner.contains(char::is_control) {
        let allowed = "1 to 200 bytes without control characters";
        return Err(Error::invalid("bad_owner", "owner", owner, allowed));
    }
    Ok(owner)
}

impl CallOptions {
    /// The tags as a JSON array, each in its range, each once.
    pub(crate) fn tags_text(&self) -> Result<Option<String>, Error> {
        if self.tags.is_empty() {
            return Ok(None);
        }
        let mut tags: Vec<&str> = self.tags.iter().map(AsRef::as_ref).collect();
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > TAGS_MAX {
            return Err(Error::invalid("bad_tag", "number of tags", tags.len(), "at most 32"));
        }
        if let Some(bad) = tags.iter().find(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX) {
            return Err(Error::invalid("bad_tag", "tag", bad, "1 to 64 bytes"));
        }
        Ok(serde_json::to_string(&tags).ok())
    }

    /// The trace of this call, in its form.
    pub(crate) fn checked_trace(&self) -> Result<Option<Arc<str>>, Error> {
        self.trace.as_deref().map(|text| checked_trace(text, "trace")).transpose()
    }

    /// The key, in its range.
    pub(crate) fn checked_key(&self) -> Result<Option<&str>, Error> {
        let key = self.key.as_deref();
        key.map_or(Ok(()), check_idempotency_key)?;
        Ok(key)
    }

    /// The owner, in its range.
    pub(crate) fn checked_owner(&self) -> Result<Option<&str>, Error> {
        self.owner.as_deref().map(check_owner).transpose()
    }
}

/// A W3C `traceparent`: version, trace id, parent id and flags in lower-case hexadecimal. Later
/// versions may have more after that.
pub(crate) fn checked_trace(text: &str, place: &str) -> Result<Arc<str>, Error> {
    if is_trace(text) {
        return Ok(text.into());
    }
    let allowed = "a W3C traceparent: 00-<32 hex digits>-<16 hex digits>-<2 hex digits> in lower \
                   case, neither id all zeros";
    Err(Error::invalid("bad_trace", place, text, allowed))
}

fn is_trace(text: &str) -> bool {
    const PARTS: [usize; 4] = [2, 32, 16, 2];
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let printable =
        text.len() <= TRACE_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut parts = text.splitn(5, '-');
    let first: [&str; 4] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let [version, trace, parent, _flags] = first;
    let sized = first.iter().zip(PARTS).all(|(part, size)| part.len() == size && hex(part));
    let more = parts.next().is_some();
    printable
        && sized
        && version != "ff"
        && !(more && version == "00")
        && !zero(trace)
        && !zero(parent)
}

/// What all parts of one trace have in common.
pub(crate) fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1)
}
