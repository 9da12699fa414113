//! Finish and watch: a notice to a person of each task that has failed for good.
//!
//! It is a task that follows the one that failed, stored with its end. So none is lost when a process dies, and
//! the program that sends it need not be the one that failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::NOTICE;
use crate::context::Context;
use crate::event::EventRecord;
use crate::follow::TEXT_CHARS_MAX;
use crate::id::TaskId;
use crate::outcome::{Report, Result, cut_characters};
use crate::registry::Task;
use crate::state::Reason;
use crate::time::Timestamp;

/// At most one notice of a kind in so long, unless it is said otherwise.
pub(crate) const EVERY_DEFAULT: Duration = Duration::from_secs(60);
/// The first line of a description, as a title, is cut at so many characters.
const TITLE_CHARS_MAX: usize = 120;

/// The types of errors that are nothing but a text.
const PLAIN_TEXTS: [&str; 3] = ["&str", "alloc::string::String", "alloc::borrow::Cow<str>"];

type Send = dyn Fn(&FailureNotice) -> Result<()> + std::marker::Send + Sync;

/// Which failures are told, how often, and by whom: see
/// [`Builder::failure_notice`](crate::Builder::failure_notice).
pub struct Notice {
    pub(crate) kinds: Vec<String>,
    pub(crate) every: Duration,
    pub(crate) mailer: Option<Mailer>,
}

/// What sends notices, as the body finds it.
#[derive(Clone)]
pub(crate) struct Mailer(Arc<Send>);

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice")
            .field("kinds", &self.kinds)
            .field("every", &self.every)
            .field("sends_here", &self.mailer.is_some())
            .finish()
    }
}

impl Notice {
    /// Notices that this function sends: by mail, by chat, or to a file. It is the body of a task, so an error
    /// means "try again", and it may be called again for one that it has sent, if its process dies before
    /// that is stored.
    pub fn mailer(
        send: impl Fn(&FailureNotice) -> Result<()> + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self { mailer: Some(Mailer(Arc::new(send))), ..Self::elsewhere() }
    }

    /// Notices that another program sends, which has the same file open: this one only has them stored.
    pub fn elsewhere() -> Self {
        Self { kinds: Vec::new(), every: EVERY_DEFAULT, mailer: None }
    }

    /// Only of kinds that this pattern matches: `*` for any text, `?` for one character (`bad_glob`). May be
    /// said several times. Default: of all.
    #[must_use]
    pub fn kinds(mut self, pattern: impl Into<String>) -> Self {
        self.kinds.push(pattern.into());
        self
    }

    /// At most one notice in so long for each kind, 1 ms to 100 years (`out_of_range`), attempts to send it
    /// counted. Default: 1 minute.
    #[must_use]
    pub fn every(mut self, span: Duration) -> Self {
        self.every = span;
        self
    }
}

/// One notice: a task that has failed for good, and how many others of its kind have since.
///
/// `to_string()` is a text for people, ready to be sent. What [`Builder::redact`](crate::Builder::redact) and
/// [`Options::redact`](crate::Options::redact) hide is not in it, nor in its fields.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FailureNotice {
    /// "Error in " and the first line of the kind's description, where the program that sends knows one, else
    /// its name.
    pub title: String,
    /// The task.
    pub task: TaskId,
    /// Its name in the program.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// What people call it, where that is not its kind.
    pub name: Option<String>,
    /// Whose task it is.
    pub owner: Option<String>,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// How many attempts it had.
    pub attempts: u32,
    /// When it ended.
    pub failed_at: Timestamp,
    /// The error that it ended with. One that has expired has none.
    pub error: Option<Report>,
    /// The error with its causes and its backtrace, cut at 5,000 characters; a mark says so exactly where
    /// something was cut.
    pub traceback: String,
    /// How many tasks of the kind have failed after it that are told by this notice only.
    pub more: u64,
    /// When the first of these failed.
    pub since: Option<Timestamp>,
}

impl fmt::Display for FailureNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let name = self.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        writeln!(f, "Task {} of kind {}{name} failed at {}", self.task, self.kind, self.failed_at)?;
        let reason = self.reason.map_or("error", Reason::as_str);
        writeln!(f, "Reason: {reason}; attempts: {}", self.attempts)?;
        if let Some(since) = self.since.filter(|_| self.more > 0) {
            writeln!(f, "… and {} more since {since}", self.more)?;
        }
        if self.traceback.is_empty() { Ok(()) } else { write!(f, "\n{}", self.traceback) }
    }
}

/// The error, each cause on a line, and where it happened.
fn traceback(error: &Report) -> String {
    let mut text = match error.kind.as_str() {
        // What `Err("..")` or `Failure::give_up("..")` is made of says nothing of the error.
        kind if PLAIN_TEXTS.contains(&kind) => error.message.clone(),
        kind => format!("{kind}: {}", error.message),
    };
    if let Some(code) = &error.code {
        text.push_str(&[" [", code, "]"].concat());
    }
    for cause in error.untold_causes() {
        text.push_str("\n  caused by: ");
        text.push_str(cause);
    }
    if let Some(backtrace) = &error.backtrace {
        text.push_str("\n\n");
        text.push_str(backtrace);
    }
    cut_characters(&text, TEXT_CHARS_MAX)
}

/// The task that sends one notice.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    event: EventRecord,
}

impl Task for Told {
    const NAME: &'static str = NOTICE;
    type Output = ();

    fn run(self, ctx: &Context) -> Result<()> {
        let Mailer(send) = ctx.state::<Mailer>()?;
        send(&self.notice(ctx)?)
    }
}

impl Told {
    fn notice(self, ctx: &Context) -> Result<FailureNotice> {
        let Self { event } = self;
        let known =
            ctx.client().and_then(|client| client.hub.catalog.get(&event.kind).ok().cloned());
        let described = known.as_ref().and_then(|kind| kind.options.described()?.lines().next());
        let called = cut_characters(described.unwrap_or(&event.kind), TITLE_CHARS_MAX);
        // Counted in its row while it waited, also after it was stored.
        let own = match (ctx.client(), ctx.id()) {
            (Some(client), Some(id)) => Some(client.get(id)?.meta),
            _ => None,
        };
        let counted = |name: &str| own.as_ref().and_then(|meta| meta.get(name));
        // It leaves the program, for people to read.
        let redaction = ctx.client().map(|client| client.hub.catalog.redaction_of(&event.kind));
        let redaction = redaction.unwrap_or_default();
        let error = event.error.map(|error| redaction.report(&error));
        Ok(FailureNotice {
            title: format!("Error in {called}"),
            task: event.task,
            kind: event.kind,
            queue: event.queue,
            name: event.name.map(|name| redaction.whole(&name)),
            owner: event.owner,
            reason: event.reason,
            attempts: event.attempt,
            failed_at: event.finished_at,
            traceback: error.as_ref().map(traceback).unwrap_or_default(),
            error,
            more: counted("more").and_then(serde_json::Value::as_u64).unwrap_or_default(),
            since: counted("since")
                .and_then(serde_json::Value::as_i64)
                .and_then(Timestamp::from_millis),
        })
    }
}
