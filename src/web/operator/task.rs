//! Watch: the page of one task.

use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;

use super::doing::Doing;
use super::frame::{Leaf, Nav, Refresh, made, token};
use super::parts::{Badge, Button, Cli, Hidden, When, took};
use super::seen::{Other, Seen};
use super::text::moment;
use super::text::{self, Long};
use crate::flow::BATCH_KIND;
use crate::shown::command;
use crate::state::State;
use crate::time::Timestamp;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::detail::{Attempt, Line};
use crate::web::fault::Fault;
use crate::web::shape::View;
use crate::web::site::{Site, Visit};
use crate::web::words;

/// A line of the timeline.
struct Event {
    class: &'static str,
    title: String,
    at: Option<Timestamp>,
    took: Option<String>,
    text: Option<String>,
    error: Option<String>,
}

/// A value that stands for itself, and what it is called.
struct Fact {
    name: &'static str,
    value: String,
    href: Option<String>,
}

#[derive(Template)]
#[template(path = "operator/task.html")]
struct TaskPage<'a> {
    base: &'a str,
    seen: &'a Seen,
    view: &'a View,
    facts: Vec<Fact>,
    events: Vec<Event>,
    buttons: Vec<(Button, Cli)>,
    arguments: Option<Long>,
    meta: Option<Long>,
    result: Option<Long>,
    json: Long,
    /// Where it may be copied.
    token: Option<String>,
    copy: Cli,
    is_live: bool,
    all: bool,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let all = visit.query("all").is_some();
    let seen = seen(site, visit, id).await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &seen);
    }
    let long = |json: &str| Long::new(&text::pretty(json), all);
    let json = serde_json::to_string_pretty(&seen).map_err(|error| Fault::internal(&error))?;
    let view = seen.view();
    // What stands for a flow has no copy.
    let may_edit = visit.access.may(Action::Edit) && !refresh.is_on() && view.kind != BATCH_KIND;
    let result = seen.detail().and_then(|detail| detail.result.as_deref());
    let page = TaskPage {
        base: &site.public,
        facts: facts(site, &seen),
        events: events(&seen, site.client.now()),
        buttons: buttons(site, visit, view),
        arguments: seen.arguments().map(long),
        meta: Some(seen.meta.get()).filter(|meta| *meta != "{}").map(long),
        result: result.map(|result| long(result.get())),
        json: Long::new(&json, all),
        token: may_edit.then(|| token(site, &visit.access)),
        copy: Cli::new(&command::of_edit(&view.id, site.client.path())),
        is_live: refresh.is_on(),
        all,
        seen: &seen,
        view,
    };
    let content = made(&page)?;
    Leaf {
        nav: Nav::Tasks,
        title: &text::brief(&view.name, 200),
        content,
        refresh: Some(&refresh),
        above: Some(("tasks", "Tasks")),
        badge: Some(Badge::new(view.state, None)),
        sub: Some(seen.sub()),
    }
    .answer(site, visit)
}

/// A task as an operator is shown it.
pub(crate) async fn seen(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Seen, Fault> {
    let (me, id) = (visit.clone(), id.to_owned());
    site.with(move |site| {
        let snapshot = site.seen(&me.access, &id)?;
        Seen::read(site, &me, &snapshot)
    })
    .await
}

fn facts(site: &Site, seen: &Seen) -> Vec<Fact> {
    let admin = format!("{}/admin", site.public);
    let view = seen.view();
    let tasks =
        |word: &str, value: &str| Some(format!("{admin}/tasks?{}", text::pair(word, value)));
    let fact = |name, value: String, href| Some(Fact { name, value, href });
    let at = |name, at: Option<Timestamp>| fact(name, moment(at?), None);
    let some = |name, text: Option<&str>| fact(name, text::line(text?), None);
    let attempts = format!("{} of {}", view.attempt, view.attempts_max);
    let mut facts = vec![
        fact("Kind", view.kind.clone(), tasks("kind", &view.kind)),
        fact("Attempts", attempts, None),
        at("Enqueued", Some(view.enqueued_at)),
        at("Due", Some(view.due_at)),
        at("Started", view.started_at),
        at("Ended", view.finished_at),
    ];
    let Some(more) = seen.operated() else { return facts.into_iter().flatten().collect() };
    let count = |name, number: u32| {
        let number = (number > 0).then(|| number.to_string())?;
        fact(name, number, None)
    };
    let marks = [
        (seen.at_most_once, "runs at most once"),
        (view.cancel_requested, "asked to stop"),
        (more.stuck, "did not stop at its time-out"),
        (more.dismissed, "off its owner's list"),
    ];
    let marks: Vec<&str> = marks.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    let worker = more.worker.as_ref();
    facts.extend([
        fact("Queue", more.queue.clone(), tasks("queue", &more.queue)),
        fact("Priority", more.priority.to_string(), None),
        more.owner
            .as_deref()
            .and_then(|owner| fact("Owner", text::line(owner), tasks("owner", owner))),
        more.batch
            .as_ref()
            .and_then(|id| fact("Member of", id.clone(), Some(format!("{admin}/t/{id}")))),
        seen.schedule.as_deref().and_then(|name| {
            let href = format!("{admin}/schedule?{}", text::pair("name", name));
            fact("Schedule", text::line(name), Some(href))
        }),
        some("Key", more.key.as_deref()),
        some("Trace", more.trace.as_deref()),
        some("Worker", worker.and_then(|worker| worker.name.as_deref())),
        at("Expires", more.expires_at),
        count("Crashes", more.crashes),
        count("Snoozes", more.snoozes),
        (!marks.is_empty()).then(|| marks.join(", ")).and_then(|text| fact("Marks", text, None)),
    ]);
    facts.into_iter().flatten().collect()
}

fn events(seen: &Seen, now: Timestamp) -> Vec<Event> {
    let view = seen.view();
    let plain = |class, title: &str, at| Event {
        class,
        title: title.to_owned(),
        at,
        took: None,
        text: None,
        error: None,
    };
    let mut events = vec![plain("", "Enqueued", Some(view.enqueued_at))];
    let attempts = seen.detail().map_or(&[][..], |detail| &detail.attempts);
    // What stands for a flow has none.
    let attempts = attempts.iter().filter(|attempt| attempt.n > 0);
    events.extend(attempts.map(|attempt| event(attempt, now)));
    match (view.state, view.reason) {
        (State::Running, _) => {}
        (state, reason) if state.is_final() => {
            let reason = reason.map_or_else(String::new, |reason| {
                format!(" ({})", reason.as_str().replace('_', " "))
            });
            let title = format!("{}{reason}", super::parts::word(state));
            events.push(plain(class_of(state), &title, view.finished_at));
        }
        _ => {
            let mut waits = plain("", "Waits", seen.why.as_ref().and_then(|why| why.until));
            waits.text = seen.why.as_ref().map(|why| why.text.clone());
            events.push(waits);
        }
    }
    events
}

/// What became of an attempt.
fn event(attempt: &Attempt, now: Timestamp) -> Event {
    let (class, came_to) = match attempt.outcome.as_str() {
        "running" => ("lw-running", "runs"),
        "succeeded" => ("lw-succeeded", "succeeded"),
        "retry" => ("lw-failed", "failed, to be tried again"),
        "failed" => ("lw-failed", "failed"),
        "snoozed" => ("", "asked to be run later"),
        "cancelled" => ("", "was cancelled"),
        "crashed" => ("lw-failed", "crashed with its process"),
        other => ("", other),
    };
    let worker = attempt.worker.as_ref().and_then(|worker| worker.name.as_ref());
    let worker = worker.map_or_else(String::new, |worker| format!(" on {worker}"));
    let end = attempt.finished_at.or_else(|| (attempt.outcome == "running").then_some(now));
    Event {
        class,
        title: format!("Attempt {} {came_to}{worker}", attempt.n),
        at: attempt.started_at,
        took: took(attempt.started_at, end),
        text: None,
        error: attempt.error.as_ref().map(|error| {
            let code = error.code.as_ref().map_or_else(String::new, |code| format!("{code}: "));
            text::brief(&format!("{code}{}", error.message), 300)
        }),
    }
}

/// The class of an end in a timeline.
fn class_of(state: State) -> &'static str {
    match state {
        State::Succeeded => "lw-succeeded",
        State::Failed => "lw-failed",
        _ => "",
    }
}

/// The class of a line of the log.
fn class_of_line(line: &Line) -> &'static str {
    match line.level {
        "warning" => "lw-warn",
        "error" => "lw-error",
        _ => "lw-info",
    }
}

/// Other tasks, as a table.
#[derive(Template)]
#[template(path = "operator/others.html")]
struct Others<'a> {
    title: &'a str,
    rows: &'a [Other],
    base: &'a str,
}

impl HtmlSafe for Others<'_> {}

fn others<'a>(title: &'a str, others: &'a [Other], base: &'a str) -> Others<'a> {
    Others { title, rows: others, base }
}

/// What may be done to it as it stands, each with the command line that does the same.
fn buttons(site: &Site, visit: &Visit, view: &View) -> Vec<(Button, Cli)> {
    let fits = |doing: &Doing| {
        let asked = *doing == Doing::Cancel && view.cancel_requested;
        doing.fits(view.state, true) && !asked && visit.access.may(doing.grant())
    };
    let token = token(site, &visit.access);
    let all = Doing::ALL.into_iter().filter(fits).map(|doing| {
        let (class, word) = match doing {
            Doing::Retry if view.state == State::Succeeded => ("", "Run again"),
            Doing::Retry => ("lw-primary", "Retry"),
            Doing::Delete => ("lw-danger", "Delete…"),
            other => ("", other.word()),
        };
        let button = Button {
            path: format!("{}/admin/t/{}/{}", site.public, view.id, doing.as_str()),
            token: token.clone(),
            hidden: Vec::<Hidden>::new(),
            word,
            of: String::new(),
            class,
        };
        let line = command::of_tasks(doing.verb(), [&*view.id], site.client.path());
        (button, Cli::new(&line))
    });
    all.collect()
}
