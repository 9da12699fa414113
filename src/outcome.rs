//! Finish: what a task body may answer, and what one attempt came to.
//!
//! A body answers with a value or a [`Failure`]. `?` on any error makes a failure that means "try
//! again"; a task may also give up, ask to be run later, or say that it was cancelled. The report of
//! an error is taken at once: type, message, the whole chain of causes and the backtrace. Only
//! their text may be cut, and then a mark says so.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::retry::RETRY_DELAY_MAX;
use crate::state::Reason;
use crate::time::Timestamp;

/// Any error that may be boxed as a cause.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a task body returns; `?` works on any error and means "try again".
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Each text of a report is cut at this many bytes, with a mark.
pub const REPORT_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Data of an error is nested at most this deep.
const DATA_DEPTH_MAX: usize = 64;
/// So many causes of an error are kept …
const CHAIN_MAX: usize = 64;
/// … and so many more are counted: nothing keeps an error from being its own cause.
const CHAIN_COUNTED_MAX: usize = 1_000;
/// No snooze is shorter: the least step of due times.
const SNOOZE_MIN: Duration = Duration::from_millis(1);

/// The error of one attempt, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The Rust type of the error, such as `std::io::Error`; `panic` for a panic.
    pub kind: String,
    /// A stable word chosen by the task, to be matched by programs.
    pub code: Option<String>,
    /// The error's own text.
    pub message: String,
    /// What the user is told of it, where the task has said so; nothing else of it is meant for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_message: Option<String>,
    /// The texts of its causes, nearest first: at most 64, then one that says how many more there are.
    pub causes: Vec<String>,
    /// Data the task attached.
    pub data: Option<Value>,
    /// Where it happened, when backtraces are on (`RUST_BACKTRACE=1`) or it was a panic.
    pub backtrace: Option<String>,
    /// Whether the task declared it as expected; such errors are logged lower.
    pub expected: bool,
}

impl Report {
    pub(crate) fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: cut(message.into()), ..Self::default() }
    }

    /// The same error with a sentence before it, of which it is the cause.
    pub(crate) fn in_context(mut self, message: String) -> Self {
        let cause = std::mem::replace(&mut self.message, message);
        self.causes.insert(0, cause);
        self
    }

    /// Its causes, but for those that the text before has told: many an error ends with the text of its
    /// cause, as ours do.
    pub(crate) fn untold_causes(&self) -> impl Iterator<Item = &str> {
        let texts = std::iter::once(&self.message).chain(&self.causes);
        let untold = texts.zip(&self.causes).filter(|(before, cause)| {
            let told = before.strip_suffix(cause.as_str());
            !told.is_some_and(|rest| rest.is_empty() || rest.ends_with(": "))
        });
        untold.map(|(_, cause)| cause.as_str())
    }

    pub(crate) fn with_backtrace(mut self, backtrace: Option<String>) -> Self {
        self.backtrace = backtrace.map(cut);
        self
    }
}

/// What a text that was cut at so many characters may have beyond them, as its mark.
const MARK_BYTES_MAX: usize = 50;

/// Cuts a text at so many characters; where something was cut, a mark says so, once.
pub(crate) fn cut_characters(text: &str, most: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let (kept, rest) = text.split_at(end);
    let is_cut = rest.len() <= MARK_BYTES_MAX
        && rest.starts_with("… (cut, ")
        && rest.ends_with(" characters)");
    let count = || text.chars().count();
    if is_cut { text.to_owned() } else { format!("{kept}… (cut, {} characters)", count()) }
}

/// The message and its causes on one line, each text once. Control characters are shown escaped, so that a text cannot
/// steer a terminal or forge a line of a log; the fields hold it as it was.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.message)?;
        self.untold_causes().try_for_each(|cause| {
            f.write_str(": ")?;
            write_escaped(f, cause)
        })
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.split_inclusive(char::is_control).try_for_each(|part| {
        let plain = part.trim_end_matches(char::is_control);
        f.write_str(plain)?;
        write!(f, "{}", part[plain.len()..].escape_debug())
    })
}

/// Cuts a text at [`REPORT_TEXT_BYTES_MAX`] bytes and says so.
fn cut(text: String) -> String {
    let bytes = text.len();
    if bytes <= REPORT_TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=REPORT_TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… (cut, {bytes} bytes)", &text[..end])
}

/// How many levels a value is nested.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(entries) => entries.values().map(depth).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

/// What the body wants to happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Retry { after: Option<Duration> },
    GiveUp,
    Snooze { after: Duration },
    RateLimited { after: Duration },
    Cancelled,
}

/// Why a body did not return a value, and what is to happen next.
///
/// ```
/// use litework::{Failure, Result};
/// use std::time::Duration;
///
/// fn fetch(status: u16) -> Result<String> {
///     match status {
///         200 => Ok("page".to_owned()),
///         410 => Err(Failure::give_up("the page is gone").code("gone")),
///         429 => Err(Failure::retry_after(Duration::from_secs(60), "too many requests")),
///         _ => Err(std::io::Error::other("no connection"))?, // tried again with back-off
///     }
/// }
/// assert!(fetch(410).is_err());
/// ```
pub struct Failure {
    verdict: Verdict,
    report: Box<Report>,
}

impl Failure {
    fn new(verdict: Verdict, error: impl Into<Self>) -> Self {
        Self { verdict, ..error.into() }
    }

    /// Trying again is useless: the task fails at once.
    pub fn give_up(error: impl Into<Self>) -> Self {
        Self::new(Verdict::GiveUp, error)
    }

    /// Try again, but not before `after` has passed; the attempt counts. From zero to
    /// [`RETRY_DELAY_MAX`]; a longer time counts as that.
    pub fn retry_after(after: Duration, error: impl Into<Self>) -> Self {
        Self::new(Verdict::Retry { after: Some(after.min(RETRY_DELAY_MAX)) }, error)
    }

    /// Nothing went wrong; run me again after this long. The attempt does not count. From 1 ms to
    /// [`RETRY_DELAY_MAX`]; what lies outside counts as the nearest. There is a least one because
    /// nothing else ends a task that snoozes again and again.
    pub fn snooze(after: Duration) -> Self {
        let after = after.clamp(SNOOZE_MIN, RETRY_DELAY_MAX);
        Self::new(Verdict::Snooze { after }, "snoozed")
    }

    /// Somebody else refused me for doing too much: run me again after this long, and until then start
    /// no other task of my key, where I have a [`rate_per_key`](crate::Options::rate_per_key), or else of
    /// my queue. The attempt does not count. From 1 ms to [`RETRY_DELAY_MAX`]; what lies outside counts
    /// as the nearest.
    ///
    /// ```
    /// # use litework::{Client, Failure, Mode, Pending, Result, task};
    /// # use std::time::Duration;
    /// #[task(queue = "api")]
    /// fn fetch(page: u32) -> Result<()> {
    ///     let (status, retry_after) = (429, Duration::from_secs(60)); // what the server answered
    ///     match status {
    ///         429 => Err(Failure::rate_limited(retry_after)),
    ///         _ => Ok(()),
    ///     }
    /// }
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(fetch).open()?;
    /// let pages = tasks.enqueue_many([1, 2].map(fetch::with))?;
    /// tasks.run_pending(&Pending::all())?;
    /// assert_eq!(pages[0].refresh()?.snoozes, 1); // asked once, and again in a minute
    /// assert_eq!(pages[1].refresh()?.started_at, None); // the queue is closed until then
    /// # Ok::<(), Failure>(())
    /// ```
    pub fn rate_limited(after: Duration) -> Self {
        let after = after.clamp(SNOOZE_MIN, RETRY_DELAY_MAX);
        Self::new(Verdict::RateLimited { after }, "rate limited")
    }

    /// I was asked to stop and did.
    pub fn cancelled() -> Self {
        Self::new(Verdict::Cancelled, "cancelled")
    }

    /// Attaches a stable word that programs can match.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.report.code = Some(cut(code.into()));
        self
    }

    /// Attaches data for programs. Data that is nested too deep to be read back, or that is larger
    /// than 64 KiB as text, is kept as its text.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        let text = data.to_string();
        let fits = text.len() <= REPORT_TEXT_BYTES_MAX && depth(&data) <= DATA_DEPTH_MAX;
        self.report.data = Some(if fits { data } else { Value::String(cut(text)) });
        self
    }

    /// Declares the error as expected: it is logged as information, not as an error.
    #[must_use]
    pub fn expected(mut self) -> Self {
        self.report.expected = true;
        self
    }

    /// What the user is told, in words for people; the error itself is for whoever runs the program.
    ///
    /// ```
    /// # use litework::{Client, Failure, Result, task};
    /// #[task(attempts = 1)]
    /// fn import(file: &str) -> Result<()> {
    ///     std::fs::read(file).map_err(|error| {
    ///         Failure::give_up(error).for_user("The file is not there any more. Please upload it again.")
    ///     })?;
    ///     Ok(())
    /// }
    ///
    /// let tasks = Client::in_memory().register(import).open()?;
    /// let error = tasks.enqueue(import::with("/no/such/file"))?.refresh()?.error.unwrap();
    /// let told = error.user_message.as_deref();
    /// assert_eq!(told, Some("The file is not there any more. Please upload it again."));
    /// assert!(error.message.contains("No such file"), "{error}");
    /// # Ok::<(), litework::Error>(())
    /// ```
    #[must_use]
    pub fn for_user(mut self, text: impl Into<String>) -> Self {
        self.report.user_message = Some(cut(text.into()));
        self
    }

    /// The error as it will be stored.
    pub fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        let report = self.report;
        match self.verdict {
            Verdict::Retry { after } => Outcome::Retry { reason: Reason::Error, report, after },
            Verdict::GiveUp => Outcome::Failed { reason: Reason::GaveUp, report },
            Verdict::Snooze { after } => Outcome::Snoozed { after },
            Verdict::RateLimited { after } => Outcome::RateLimited { after },
            Verdict::Cancelled => Outcome::Cancelled { report: None },
        }
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let kind = std::any::type_name::<E>();
        let error: BoxError = error.into();
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let mut chain = std::iter::successors(error.source(), |cause| cause.source());
        let kept = chain.by_ref().take(CHAIN_MAX);
        let mut causes: Vec<String> = kept.map(|cause| cut(cause.to_string())).collect();
        match chain.take(CHAIN_COUNTED_MAX).count() {
            0 => {}
            CHAIN_COUNTED_MAX => causes.push(format!("… (at least {CHAIN_COUNTED_MAX} more)")),
            more => causes.push(format!("… ({more} more)")),
        }
        let report = Report { causes, ..Report::new(kind, error.to_string()) };
        let report = Box::new(report.with_backtrace(backtrace));
        Self { verdict: Verdict::Retry { after: None }, report }
    }
}

impl fmt::Debug for Failure {
    /// One line a cause, as `fn main() -> Result<()>` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report.message)?;
        self.report.untold_causes().try_for_each(|cause| write!(f, "\n  caused by: {cause}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The body returned a value; here as JSON text.
    Succeeded {
        /// The encoded return value.
        result: String,
    },
    /// It failed and may be tried again if attempts are left.
    Retry {
        /// What is stored as the reason when none are.
        reason: Reason,
        /// The error.
        report: Box<Report>,
        /// The delay the task asked for; otherwise its policy decides.
        after: Option<Duration>,
    },
    /// It failed for good.
    Failed {
        /// Why it is final.
        reason: Reason,
        /// The error.
        report: Box<Report>,
    },
    /// It asked to be run later.
    Snoozed {
        /// How much later.
        after: Duration,
    },
    /// It asked to be run later, and that nothing else of its rate or its queue starts before.
    RateLimited {
        /// How much later.
        after: Duration,
    },
    /// It was asked to stop and did.
    Cancelled {
        /// An error it ended with, if any.
        report: Option<Box<Report>>,
    },
    /// It was claimed but handed back: not started, or stopped by a shutdown.
    GivenBack,
    /// Its process died while it ran.
    Crashed {
        /// What is known of the death.
        report: Box<Report>,
    },
}

impl Outcome {
    /// Whether it asked to be run later, at no cost.
    pub(crate) fn is_snooze(&self) -> bool {
        matches!(self, Self::Snoozed { .. } | Self::RateLimited { .. })
    }

    /// Until when it wants its rate or its queue closed.
    pub(crate) fn closes_until(&self, now: Timestamp) -> Option<Timestamp> {
        if let Self::RateLimited { after } = self { Some(now.after(*after)) } else { None }
    }

    /// The error, where there is one.
    pub(crate) fn report(&self) -> Option<&Report> {
        match self {
            Self::Retry { report, .. } | Self::Failed { report, .. } | Self::Crashed { report } => {
                Some(report)
            }
            Self::Cancelled { report } => report.as_deref(),
            Self::Succeeded { .. }
            | Self::Snoozed { .. }
            | Self::RateLimited { .. }
            | Self::GivenBack => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the page did not load")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_question_mark_keeps_type_message_and_causes() {
        fn body() -> Result<()> {
            Err(Outer(std::io::Error::other("refused")))?;
            Ok(())
        }
        let failure = body().expect_err("it fails");
        assert!(failure.report().kind.ends_with("Outer"));
        assert_eq!(failure.to_string(), "the page did not load: refused");
        assert_eq!(format!("{failure:?}"), "the page did not load\n  caused by: refused");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("page 7: {0}")]
    struct Telling(#[source] Outer);

    #[test]
    fn a_cause_that_the_text_before_has_told_is_shown_once() {
        let outer = || Outer(std::io::Error::other("refused"));
        let failure = Failure::from(Telling(outer()));
        assert_eq!(failure.to_string(), "page 7: the page did not load: refused");
        assert_eq!(format!("{failure:?}"), "page 7: the page did not load\n  caused by: refused");
        assert_eq!(failure.report().causes, ["the page did not load", "refused"], "all are kept");
        let same = Failure::from(Link(Some(Box::new(Link(None, false))), false));
        assert_eq!((same.to_string(), format!("{same:?}")), ("link".to_owned(), "link".to_owned()));
    }

    /// An error with so many causes; with none left, its own.
    #[derive(Debug)]
    struct Link(Option<Box<Link>>, bool);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("link")
        }
    }

    impl std::error::Error for Link {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            let next = self.0.as_deref().or(self.1.then_some(self));
            next.map(|link| link as &dyn std::error::Error)
        }
    }

    #[test]
    fn a_chain_of_causes_that_is_cut_says_so() {
        let chain = |causes, endless| {
            let link =
                (0..causes).fold(Link(None, endless), |link, _| Link(Some(Box::new(link)), false));
            Failure::from(link).report.causes
        };
        assert_eq!(chain(64, false), ["link"; 64]);
        let cut = chain(70, false);
        assert_eq!((cut.len(), cut[64].as_str()), (65, "… (6 more)"));
        assert_eq!(chain(0, true)[64], "… (at least 1000 more)");
    }

    #[test]
    fn times_that_a_task_asks_for_stay_in_their_range() {
        let outcome = |failure: Failure| failure.into_outcome();
        let snooze = |after| outcome(Failure::snooze(after));
        assert_eq!(snooze(Duration::ZERO), Outcome::Snoozed { after: SNOOZE_MIN });
        assert_eq!(snooze(Duration::MAX), Outcome::Snoozed { after: RETRY_DELAY_MAX });
        let Outcome::Retry { after, .. } = outcome(Failure::retry_after(Duration::MAX, "busy"))
        else {
            panic!("it is tried again")
        };
        assert_eq!(after, Some(RETRY_DELAY_MAX));
    }

    #[test]
    fn text_is_cut_with_a_mark_and_never_inside_a_character() {
        let failure = Failure::from("é".repeat(REPORT_TEXT_BYTES_MAX));
        let message = &failure.report().message;
        assert!(
            message.len() < REPORT_TEXT_BYTES_MAX + 64 && message.contains("(cut, 131072 bytes)")
        );
    }
}
