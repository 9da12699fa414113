//! Watch: the pages of whoever waits, and the frame that all pages stand in.
//!
//! Every value passes the escaping of the templates; only what a template has made stands as it is.

use std::fmt;
use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;

use super::shape::{Bar, View};
use super::words::{Words, grouped, spoken};
use crate::time::Timestamp;

/// What a template has made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Markup(String);

impl Markup {
    pub(crate) fn of(template: &impl Template) -> Result<Self, askama::Error> {
        template.render().map(Self)
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

/// The parts of a page, for a program that puts them into a frame of its own: see
/// `WebBuilder::frame`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Frame {
    /// The title, as plain text.
    pub title: String,
    /// What belongs into `<head>`: style sheet and module, as HTML.
    pub head: String,
    /// What belongs into `<body>`, as HTML: one `<main>`, on an operator's page after a `<header>`.
    pub body: String,
}

pub(crate) type Framing = Arc<dyn Fn(&Frame) -> String + Send + Sync>;

/// What all pages have in common.
pub(crate) struct Shell<'a> {
    pub(crate) base: &'a str,
    pub(crate) words: &'a Words,
    pub(crate) extra_css: &'a [String],
    pub(crate) framing: Option<&'a Framing>,
}

#[derive(Template)]
#[template(path = "shell.html")]
struct ShellPage<'a> {
    words: &'a Words,
    title: &'a str,
    head: Markup,
    body: Markup,
}

#[derive(Template)]
#[template(path = "head.html")]
struct Head<'a> {
    css: String,
    js: String,
    extra_css: &'a [String],
    refresh: Option<u32>,
}

impl Shell<'_> {
    /// A whole page; `refresh` is after how many seconds it looks again where there are no scripts.
    pub(crate) fn page(
        &self,
        title: &str,
        body: Markup,
        refresh: Option<u32>,
    ) -> Result<String, askama::Error> {
        let asset = |name: &str| format!("{}/assets/{}/{name}", self.base, super::assets::hash());
        let head = Head {
            css: asset("litework.css"),
            js: asset("litework.js"),
            extra_css: self.extra_css,
            refresh,
        };
        let head = Markup::of(&head)?;
        match self.framing {
            Some(framing) => {
                let (title, head, body) = (title.to_owned(), head.into_text(), body.into_text());
                Ok(framing(&Frame { title, head, body }))
            }
            None => ShellPage { words: self.words, title, head, body }.render(),
        }
    }
}

#[derive(Template)]
#[template(path = "task.html")]
struct TaskBlock<'a> {
    view: &'a View,
    words: &'a Words,
    linked: bool,
    class: &'a str,
    state: &'a str,
    bar: Option<&'a Bar>,
    stage: Option<&'a str>,
    attempt: String,
    count: Option<String>,
    eta: Option<String>,
    children: Option<String>,
    reference: Option<String>,
    acts: Vec<(String, &'a str)>,
    token: &'a str,
}

/// The block of a task, as it stands on pages and comes as a fragment.
pub(crate) fn task_block(
    view: &View,
    words: &Words,
    token: &str,
    linked: bool,
) -> Result<Markup, askama::Error> {
    // Of what has not begun, no bar says more than its state.
    let bar = view.progress.as_ref().filter(|_| view.started_at.is_some());
    let (class, state) = badge(view, words);
    let unit = bar.and_then(|bar| bar.unit.as_deref()).unwrap_or_default();
    let count = bar.filter(|bar| bar.total.is_some() || bar.done > 0).map(|bar| {
        let text = if bar.total.is_some() { &words.count_of } else { &words.count };
        let total = grouped(bar.total.unwrap_or_default());
        let text = text.replace("{done}", &grouped(bar.done)).replace("{total}", &total);
        text.replace("{unit}", unit).trim_end().to_owned()
    });
    let eta = bar
        .and_then(|bar| bar.eta_ms)
        .map(|ms| words.eta.replace("{time}", &spoken(std::time::Duration::from_millis(ms))));
    let children = view.children.as_ref().map(|children| {
        let done = grouped(children.total - children.open);
        let total = grouped(children.total);
        let mut text = words.children.replace("{done}", &done).replace("{total}", &total);
        if children.failed > 0 {
            let failed = words.children_failed.replace("{n}", &grouped(children.failed));
            text = format!("{text}, {failed}");
        }
        text
    });
    let block = TaskBlock {
        linked,
        class,
        state,
        bar,
        stage: bar.and_then(|bar| bar.stage.as_deref()),
        attempt: words
            .attempt
            .replace("{n}", &view.attempt.to_string())
            .replace("{max}", &view.attempts_max.to_string()),
        count,
        eta,
        children,
        reference: view
            .error
            .as_ref()
            .map(|error| words.reference.replace("{id}", &error.reference)),
        acts: acts(view, words),
        token,
        view,
        words,
    };
    Markup::of(&block)
}

/// The class and the word of a state.
fn badge<'a>(view: &'a View, words: &'a Words) -> (&'a str, &'a str) {
    use crate::state::{Reason, State};
    match (view.state, view.reason) {
        (state, _) if view.cancel_requested && !view.ended => (state.as_str(), &words.stopping),
        (State::Scheduled, Some(Reason::Retry)) => ("scheduled", &words.retrying),
        (state, _) => (state.as_str(), words.state(state)),
    }
}

/// Where the buttons of a task lead.
fn acts<'a>(view: &View, words: &'a Words) -> Vec<(String, &'a str)> {
    let word = |action: &str| match action {
        "cancel" => Some(&*words.cancel),
        "retry" => Some(&*words.retry),
        "dismiss" => Some(&*words.dismiss),
        _ => None,
    };
    let acts = view.actions.iter();
    acts.filter_map(|act| word(act).map(|word| (format!("{}/{act}", view.links.this), word)))
        .collect()
}

#[derive(Template)]
#[template(path = "status.html")]
pub(crate) struct StatusPage<'a> {
    pub(crate) words: &'a Words,
    pub(crate) base: &'a str,
    pub(crate) page: &'a str,
    /// What the task is called.
    pub(crate) name: &'a str,
    pub(crate) can_list: bool,
    pub(crate) block: Markup,
    pub(crate) asked_before: &'a str,
    pub(crate) asked_after: &'a str,
    pub(crate) enqueued_at: Timestamp,
    pub(crate) ended: bool,
    pub(crate) refreshes: bool,
}

#[derive(Template)]
#[template(path = "mine.html")]
pub(crate) struct MinePage<'a> {
    pub(crate) words: &'a Words,
    pub(crate) base: &'a str,
    pub(crate) blocks: Vec<Markup>,
    pub(crate) is_later: bool,
    pub(crate) next: Option<String>,
}

#[derive(Template)]
#[template(path = "fault.html")]
pub(crate) struct FaultPage<'a> {
    pub(crate) words: &'a Words,
    pub(crate) base: &'a str,
    pub(crate) can_list: bool,
    pub(crate) title: &'a str,
    pub(crate) detail: &'a str,
    /// The task that it is about.
    pub(crate) block: Option<Markup>,
}
