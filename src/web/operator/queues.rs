//! Watch: the queues: how deep, how fast, what holds them back, and what people set for them and for kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;
use serde::Serialize;

use super::figures::{self, QueueView};
use super::frame::{Leaf, Nav, Refresh, back, made, token};
use super::parts::{Button, Cli, Hidden, When};
use super::{check_may, text};
use crate::client::Client;
use crate::error::Error;
use crate::gate::{Limits, Rate};
use crate::rule::{Limited, Scope};
use crate::shown::command;
use crate::state::State;
use crate::time::{Timestamp, span_text};
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};

/// What people or programs have set for a queue or a kind.
#[derive(Debug, Clone, Default, Serialize)]
struct RuleView {
    paused_at: Option<Timestamp>,
    max_running: Option<u32>,
    rate: Option<RateView>,
    /// When a person has set the limits.
    edited_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct RateView {
    count: u32,
    period_ms: u64,
    burst: u32,
}

impl RateView {
    fn words(self) -> String {
        let period = std::time::Duration::from_millis(self.period_ms);
        format!("{} in {}, {} of them at once", self.count, span_text(period), self.burst)
    }
}

impl RuleView {
    fn limit(&mut self, limited: &Limited) {
        self.max_running = limited.limits.max_running;
        self.rate = limited.limits.rate.map(|rate| {
            let (count, period_ms, burst) = rate.parts();
            RateView { count, period_ms, burst }
        });
        self.edited_at = limited.edited_at;
    }

    fn words(&self) -> String {
        let running = self.max_running.map(|most| format!("{most} at once"));
        let rate = self.rate.map(RateView::words);
        let words: Vec<String> = running.into_iter().chain(rate).collect();
        if words.is_empty() { "none".to_owned() } else { words.join("; ") }
    }
}

#[derive(Debug, Serialize)]
struct ScopeView {
    scope: &'static str,
    name: String,
    #[serde(flatten)]
    rule: RuleView,
}

#[derive(Debug, Serialize)]
struct View {
    at: Timestamp,
    queues: Vec<QueueView>,
    rules: Vec<ScopeView>,
}

/// Something that can be paused and limited.
struct Shown<'a> {
    name: &'a str,
    queue: Option<&'a QueueView>,
    paused: Option<When>,
    limits: String,
    edited: Option<When>,
    buttons: Vec<Button>,
}

#[derive(Template)]
#[template(path = "operator/queues.html")]
struct QueuesPage<'a> {
    base: &'a str,
    queues: Vec<Shown<'a>>,
    kinds: Vec<Shown<'a>>,
    /// Where limits may be set.
    token: Option<String>,
    cli: [Cli; 2],
}

/// Queues, or kinds, as a table.
#[derive(Template)]
#[template(path = "operator/rules.html")]
struct Rules<'a> {
    id: &'static str,
    title: &'static str,
    is_queues: bool,
    shown: &'a [Shown<'a>],
    base: &'a str,
    acts: bool,
}

impl HtmlSafe for Rules<'_> {}

fn rules<'a>(is_queues: bool, shown: &'a [Shown<'a>], base: &'a str, acts: bool) -> Rules<'a> {
    let (id, title) = if is_queues { ("lw-q", "Queues") } else { ("lw-k", "Kinds") };
    Rules { id, title, is_queues, shown, base, acts }
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let view = site.with(|site| read(&site.client)).await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &view);
    }
    let may = visit.access.may(Action::Pause) && !refresh.is_on();
    let of = |word: &str| {
        let scopes = view.rules.iter().filter(move |scope| scope.scope == word);
        scopes.map(|scope| shown(site, visit, &view, scope, may)).collect()
    };
    let file = site.client.path();
    let page = QueuesPage {
        base: &site.public,
        queues: of("queue"),
        kinds: of("kind"),
        token: may.then(|| token(site, &visit.access)),
        cli: [
            Cli::new(&command::of_queue("pause", "QUEUE", file)),
            Cli::new(&command::of_queue("resume", "QUEUE", file)),
        ],
    };
    let content = made(&page)?;
    Leaf { nav: Nav::Queues, title: "Queues", content, refresh: Some(&refresh), ..Leaf::default() }
        .answer(site, visit)
}

/// All queues and kinds that are known, and whatever is paused or limited.
fn read(client: &Client) -> Result<View, Error> {
    let overview = client.overview()?;
    let queues = figures::queues(client, &overview)?;
    let mut rules: BTreeMap<(bool, String), RuleView> = BTreeMap::new();
    // Queues first.
    let key = |scope: &Scope| (scope.word() == "kind", scope.name().to_owned());
    let known = queues.iter().map(|queue| (false, queue.name.clone()));
    let kinds = client.kinds().into_iter().map(|kind| (true, kind.name));
    rules.extend(known.chain(kinds).map(|known| (known, RuleView::default())));
    for limited in client.limits()? {
        rules.entry(key(&limited.scope)).or_default().limit(&limited);
    }
    for paused in client.paused()? {
        rules.entry(key(&paused.scope)).or_default().paused_at = Some(paused.since);
    }
    let rules = rules.into_iter().map(|((is_kind, name), rule)| {
        let scope = if is_kind { "kind" } else { "queue" };
        ScopeView { scope, name, rule }
    });
    Ok(View { at: overview.at, rules: rules.collect(), queues })
}

fn shown<'a>(
    site: &Site,
    visit: &Visit,
    view: &'a View,
    scope: &'a ScopeView,
    may: bool,
) -> Shown<'a> {
    let rule = &scope.rule;
    let button = |verb: &str, word: &'static str| Button {
        path: format!("{}/admin/queues/{verb}", site.public),
        token: token(site, &visit.access),
        hidden: vec![Hidden::new("scope", scope.scope), Hidden::new("name", scope.name.as_str())],
        word,
        of: format!("{} {}", scope.scope, scope.name),
        class: "lw-quiet",
    };
    let pause = if rule.paused_at.is_some() {
        button("resume", "Resume")
    } else {
        button("pause", "Pause")
    };
    let reset = rule.edited_at.map(|_| button("reset", "Reset limits"));
    let buttons = std::iter::once(pause).chain(reset).filter(|_| may);
    Shown {
        name: &scope.name,
        queue: view.queues.iter().find(|queue| scope.scope == "queue" && queue.name == scope.name),
        paused: rule.paused_at.map(|at| When::new(at, view.at)),
        limits: rule.words(),
        edited: rule.edited_at.map(|at| When::new(at, view.at)),
        buttons: buttons.collect(),
    }
}

fn bad(detail: impl Into<String>) -> Fault {
    Fault::bad_request("bad_limits", detail)
}

/// The queue or the kind that a form names.
fn scope_of(visit: &Visit) -> Result<Scope, Fault> {
    let name = visit.field("name").unwrap_or_default();
    match visit.field("scope").as_deref() {
        Some("queue") => Ok(Scope::queue(name)),
        Some("kind") => Ok(Scope::kind(name)),
        other => {
            let other = text::brief(other.unwrap_or_default(), 40);
            Err(Fault::bad_request("bad_scope", format!("scope is {other:?}; queue or kind")))
        }
    }
}

/// The limits of a form; what is left empty is not limited.
fn limits_of(visit: &Visit) -> Result<Limits, Fault> {
    let given = |name: &str| visit.field(name).filter(|value| !value.trim().is_empty());
    let number = |name: &str| {
        let read = given(name).map(|text| {
            text.trim()
                .parse::<u32>()
                .map_err(|_| bad(format!("{name} is {:?}; a number", text::brief(&text, 40))))
        });
        read.transpose()
    };
    let mut limits = Limits::none();
    if let Some(most) = number("max_running")? {
        limits = limits.max_running(most);
    }
    match (number("count")?, given("period")) {
        (Some(count), Some(period)) => {
            let period = crate::written::parse_duration(period.trim())?;
            let rate = Rate::per(count, period);
            let burst = number("burst")?;
            limits = limits.rate(burst.into_iter().fold(rate, Rate::burst));
        }
        (None, None) => {}
        _ => return Err(bad("a rate needs both: how many, and in which time")),
    }
    Ok(limits)
}

/// Pauses, resumes, and sets limits.
pub(crate) async fn act(site: &Arc<Site>, visit: &Visit, word: &str) -> Result<Answer, Fault> {
    check_may(visit, Action::Pause)?;
    let scope = scope_of(visit)?;
    let limits = if word == "limits" { Some(limits_of(visit)?) } else { None };
    let (client, verb) = (site.acting(visit)?, word.to_owned());
    let by = visit.access.actor().to_owned();
    let notice = site
        .with(move |_| {
            let notice = match (verb.as_str(), limits) {
                ("pause", _) if client.pause(&scope)? => "paused",
                ("pause", _) => "was_paused",
                ("resume", _) if client.resume(&scope)? => "resumed",
                ("resume", _) => "was_not_paused",
                (_, Some(limits)) => client.set_limits(&scope, limits).map(|()| "limited")?,
                (_, None) => client.reset_limits(&scope).map(|()| "limits_reset")?,
            };
            tracing::info!(target: "litework::web", %scope, verb, by, "done by a person");
            Ok(notice)
        })
        .await?;
    if visit.wants_json() {
        let view = site.with(|site| read(&site.client)).await?;
        return answer::json(StatusCode::OK, &view);
    }
    Ok(back(site, "queues", notice, None))
}
