//! Watch: the pages of whoever waits, and the frame that all pages stand in.
//!
//! Every value passes the escaping of the templates; only what a template has made stands as it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use super::shape::{Bar, View};
use super::words::{Words, around};
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

/// What forms, links and blocks of ours need in the head of a page.
#[derive(Template)]
#[template(path = "links.html")]
struct Links {
    css: String,
    js: String,
    words: String,
}

/// Style sheet, module, and what the module says in these words.
pub(crate) fn links(base: &str, words: &Words) -> Result<Markup, askama::Error> {
    let asset = |name: &str| format!("{base}/assets/{}/{name}", super::assets::hash());
    let (css, js) = (asset("litework.css"), asset("litework.js"));
    Markup::of(&Links { css, js, words: words.of_module() })
}

#[derive(Template)]
#[template(path = "head.html")]
struct Head<'a> {
    links: Markup,
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
        let links = links(self.base, self.words)?;
        let head = Markup::of(&Head { links, extra_css: self.extra_css, refresh })?;
        match self.framing {
            Some(framing) => {
                let (title, head, body) = (title.to_owned(), head.into_text(), body.into_text());
                Ok(framing(&Frame { title, head, body }))
            }
            None => ShellPage { words: self.words, title, head, body }.render(),
        }
    }
}

/// How a block stands on its page.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stand {
    /// Its name leads to its own page.
    pub(crate) linked: bool,
    /// The module leaves it as it is.
    pub(crate) still: bool,
    /// htmx asks for it anew after so many seconds, until its task has ended.
    pub(crate) every: Option<u32>,
}

#[derive(Template)]
#[template(path = "task.html")]
struct TaskBlock<'a> {
    view: &'a View,
    words: &'a Words,
    stand: Stand,
    /// Before and after the moment at which a result will be gone.
    until: (&'a str, &'a str),
    class: &'a str,
    state: &'a str,
    bar: Option<&'a Bar>,
    stage: Option<&'a str>,
    attempt: String,
    count: Option<String>,
    eta: Option<String>,
    children: Option<String>,
    reference: Option<String>,
    acts: Vec<(&'a str, &'a str)>,
    token: &'a str,
}

/// The block of a task, as it stands on pages and comes as a fragment.
pub(crate) fn task_block(
    view: &View,
    words: &Words,
    token: &str,
    stand: Stand,
) -> Result<Markup, askama::Error> {
    // Of what has not begun, no bar says more than its state.
    let bar = view.progress.as_ref().filter(|_| view.started_at.is_some());
    let (class, state) = badge(view, words);
    let unit = bar.and_then(|bar| bar.unit.as_deref()).unwrap_or_default();
    let count = bar.filter(|bar| bar.total.is_some() || bar.done > 0).map(|bar| {
        let text = if bar.total.is_some() { &words.count_of } else { &words.count };
        let total = words.number(bar.total.unwrap_or_default());
        let text = text.replace("{done}", &words.number(bar.done)).replace("{total}", &total);
        text.replace("{unit}", unit).trim_end().to_owned()
    });
    let eta = bar
        .and_then(|bar| bar.eta_ms)
        .map(|ms| words.eta.replace("{time}", &words.span(Duration::from_millis(ms))));
    let children = view.children.as_ref().map(|children| {
        let done = words.number(children.total - children.open);
        let total = words.number(children.total);
        let mut text = words.children.replace("{done}", &done).replace("{total}", &total);
        if children.failed > 0 {
            let failed = words.children_failed.replace("{n}", &words.number(children.failed));
            text = format!("{text}, {failed}");
        }
        text
    });
    let block = TaskBlock {
        stand: Stand { every: stand.every.filter(|_| !view.ended), ..stand },
        until: around(&words.until),
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

/// What can be done to a task by a button, and what stands on it.
fn acts<'a>(view: &'a View, words: &'a Words) -> Vec<(&'a str, &'a str)> {
    let word = |action: &str| match action {
        "cancel" => Some(&*words.cancel),
        "retry" => Some(&*words.retry),
        "dismiss" => Some(&*words.dismiss),
        _ => None,
    };
    view.actions.iter().filter_map(|act| word(act).map(|word| (*act, word))).collect()
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
    /// Before and after the moment at which it was asked for.
    pub(crate) asked: (&'a str, &'a str),
    pub(crate) enqueued_at: Timestamp,
    /// … and at which it ended.
    pub(crate) ended: (&'a str, &'a str),
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) refreshes: bool,
}

#[derive(Template)]
#[template(path = "mine.html")]
pub(crate) struct MinePage<'a> {
    pub(crate) words: &'a Words,
    pub(crate) blocks: Vec<Markup>,
    /// Nothing on it changes by itself.
    pub(crate) still: bool,
    /// Where that is the other way round; none where nothing will change.
    pub(crate) toggle: Option<String>,
    pub(crate) newest: Option<String>,
    pub(crate) older: Option<String>,
}

/// The last block of a task that is not there any more, or not theirs.
#[derive(Template)]
#[template(path = "gone.html")]
pub(crate) struct GonePage<'a> {
    pub(crate) words: &'a Words,
}

#[derive(Template)]
#[template(path = "fault.html")]
pub(crate) struct FaultPage<'a> {
    /// Where its reader goes on, and what that is called.
    pub(crate) home: Option<(String, &'a str)>,
    pub(crate) title: &'a str,
    pub(crate) detail: &'a str,
    /// The task that it is about.
    pub(crate) block: Option<Markup>,
}
