//! Watch: small parts of the operator's pages, each made by a template.

use std::borrow::Borrow;

use askama::Template;
use askama::filters::HtmlSafe;

use super::text::{exact, rough};
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// A moment: how long ago it was, or when it will be, with the moment itself for whoever points at it.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<time datetime="{{ at }}" title="{{ at }}">{{ text }}</time>"#,
    ext = "html"
)]
pub(crate) struct When {
    at: Timestamp,
    text: String,
}

impl HtmlSafe for When {}

impl When {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        let text = match (at.until(now), now.until(at)) {
            (past, _) if past.as_millis() >= 1_000 => format!("{} ago", rough(past)),
            (_, ahead) if ahead.as_millis() >= 1_000 => format!("in {}", rough(ahead)),
            _ => "now".to_owned(),
        };
        Self { at, text }
    }

    /// The moment itself, as people read it.
    pub(crate) fn exact(at: impl Borrow<Timestamp>) -> Self {
        let at = *at.borrow();
        Self { at, text: super::text::moment(at) }
    }
}

/// The word for a state, in its colour.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<span class="lw-badge {{ class }}">{{ word }}</span>{% if let Some(reason) = reason %} <span class="lw-muted">{{ reason }}</span>{% endif %}"#,
    ext = "html"
)]
pub(crate) struct Badge {
    class: &'static str,
    word: String,
    reason: Option<String>,
}

impl HtmlSafe for Badge {}

impl Badge {
    pub(crate) fn new(state: impl Borrow<State>, reason: Option<Reason>) -> Self {
        let state = *state.borrow();
        let class = match (state, reason) {
            (State::Scheduled, Some(Reason::Retry)) => "lw-retry",
            (State::Scheduled, _) => "lw-scheduled",
            (State::Waiting, _) => "lw-waiting",
            (State::Ready, _) => "lw-ready",
            (State::Running, _) => "lw-running",
            (State::Succeeded, _) => "lw-succeeded",
            (State::Failed, _) => "lw-failed",
            (State::Cancelled, _) => "lw-cancelled",
            (State::Skipped, _) => "lw-skipped",
        };
        let reason = reason.map(|reason| reason.as_str().replace('_', " "));
        Self { class, word: word(state).to_owned(), reason }
    }

    /// Another word, in the colour of a class.
    pub(crate) fn of(class: &'static str, word: String) -> Self {
        Self { class, word, reason: None }
    }
}

/// A state, as it stands on a page of its own language: the operator's pages are in English.
pub(crate) fn word(state: impl Borrow<State>) -> &'static str {
    match state.borrow() {
        State::Scheduled => "Scheduled",
        State::Waiting => "Waiting",
        State::Ready => "Ready",
        State::Running => "Running",
        State::Succeeded => "Succeeded",
        State::Failed => "Failed",
        State::Cancelled => "Cancelled",
        State::Skipped => "Skipped",
    }
}

/// The command line that does what a button does.
#[derive(Debug, Clone, Template)]
#[template(source = r#"<code class="lw-cli">{{ line }}</code>"#, ext = "html")]
pub(crate) struct Cli {
    line: String,
}

impl HtmlSafe for Cli {}

impl Cli {
    pub(crate) fn new(line: &str) -> Self {
        Self { line: super::text::line(line) }
    }
}

/// A hidden field of a form.
#[derive(Debug, Clone)]
pub(crate) struct Hidden {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Hidden {
    pub(crate) fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

/// A form of one button.
#[derive(Debug, Clone, Template)]
#[template(path = "operator/button.html")]
pub(crate) struct Button {
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) hidden: Vec<Hidden>,
    pub(crate) word: &'static str,
    /// What tells it from others of its word, for those who do not see what stands beside it.
    pub(crate) of: String,
    /// `lw-danger`, `lw-primary` or nothing.
    pub(crate) class: &'static str,
}

impl HtmlSafe for Button {}

/// How long something took or takes, where that is known.
pub(crate) fn took(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    Some(exact(from?.until(to?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_never_a_negative_time() {
        let at = |ms: i64| Timestamp::clamped(1_767_225_600_000 + ms);
        for (then, text) in
            [(0, "now"), (-400, "now"), (-90_000, "1 min ago"), (5_000, "in 5 s"), (700, "now")]
        {
            assert_eq!(When::new(at(then), at(0)).text, text);
        }
        let shown = When::new(at(-90_000), at(0)).to_string();
        let told = "2025-12-31T23:58:30.000Z";
        assert_eq!(shown, format!("<time datetime=\"{told}\" title=\"{told}\">1 min ago</time>"));
    }
}
