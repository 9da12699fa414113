//! Watch: the list of tasks: one filter, one page after the other, and what can be done to those that are meant.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::asked::Asked;
use super::doing::Doing;
use super::figures::Count;
use super::frame::{Leaf, Nav, Refresh, made, token};
use super::parts::{Badge, Cli, When};
use super::{parts, text};
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::overview::{Browsed, COUNT_MAX, Capped, Place};
use crate::record::TaskRecord;
use crate::state::{Reason, State};
use crate::time::Timestamp;
use crate::web::answer::{self, Answer};
use crate::web::cursor;
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;

/// Tasks on one page, unless said otherwise.
const PAGE: usize = 50;
/// Characters of an error in a list.
const ERROR_MAX: usize = 120;

/// A task in a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) queue: String,
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) priority: i8,
    pub(crate) attempt: u32,
    pub(crate) attempts_max: u32,
    pub(crate) owner: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) cancel_requested: bool,
    pub(crate) enqueued_at: Timestamp,
    pub(crate) due_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) error: Option<String>,
}

impl Row {
    pub(crate) fn of(client: &Client, task: &TaskRecord) -> Self {
        let veiled = |told: &str| client.redacted_text(&task.kind, told);
        let error = task.error.as_ref().map(|report| {
            let code = report.code.as_deref().map_or_else(String::new, |code| format!("{code}: "));
            text::brief(&veiled(&format!("{code}{}", report.message)), ERROR_MAX)
        });
        Self {
            id: task.id.to_string(),
            kind: task.kind.clone(),
            name: task.name.as_deref().map(veiled),
            queue: task.queue.clone(),
            state: task.state,
            reason: task.reason,
            priority: task.priority,
            attempt: task.attempt,
            attempts_max: task.attempts_max,
            owner: task.owner.clone(),
            tags: task.tags.iter().map(|tag| veiled(tag)).collect(),
            cancel_requested: task.cancel_requested,
            enqueued_at: task.enqueued_at,
            due_at: task.due_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
            error,
        }
    }

    /// What people call it.
    pub(crate) fn called(&self) -> String {
        text::brief(self.name.as_deref().unwrap_or(&self.kind), 100)
    }

    pub(crate) fn badge(&self) -> Badge {
        Badge::new(self.state, self.reason)
    }

    /// The moment that matters in its state.
    pub(crate) fn when(&self, now: Timestamp) -> When {
        let at = match self.state {
            State::Scheduled | State::Ready => Some(self.due_at),
            State::Running => self.started_at,
            State::Waiting => None,
            _ => self.finished_at,
        };
        When::new(at.unwrap_or(self.enqueued_at), now)
    }

    pub(crate) fn owned(&self) -> Option<String> {
        self.owner.as_deref().map(text::line)
    }

    pub(crate) fn tagged(&self) -> Vec<String> {
        self.tags.iter().map(|tag| text::line(tag)).collect()
    }
}

#[derive(Debug, Serialize)]
struct List {
    items: Vec<Row>,
    next: Option<String>,
    total: Count,
    /// The look has ended early; the rest begins at `next`.
    stopped: bool,
    /// Rows that cannot be read.
    bad: Vec<i64>,
}

/// One of the buttons that do something to many.
struct Act {
    value: &'static str,
    word: &'static str,
    class: &'static str,
}

#[derive(Template)]
#[template(path = "operator/tasks.html")]
struct TasksPage<'a> {
    base: &'a str,
    asked: &'a Asked,
    list: &'a List,
    rows: Vec<(&'a Row, When)>,
    states: &'a [State],
    kinds: Vec<String>,
    acts: Vec<Act>,
    token: String,
    cli: Cli,
    is_later: bool,
    is_live: bool,
    first: String,
    rest: Option<String>,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let now = site.client.now();
    let pairs = visit.pairs()?;
    let asked = Asked::of_query(pairs.iter().cloned(), now)?;
    if pairs.iter().any(|(_, value)| value.is_empty()) {
        // A form sends all of its fields; an address that is passed on should say what is meant.
        let meant = pairs.iter().filter(|(_, value)| !value.is_empty());
        let query = text::query(meant.map(|(name, value)| (name.as_str(), value.as_str())));
        return Ok(answer::see_other(&format!("{}/admin/tasks?{query}", site.public)));
    }
    let most = visit.query("size").map_or(Ok(PAGE), |size| cursor::size(&size))?;
    let from = visit.query("from");
    let place = from.as_deref().map(str::parse::<Place>).transpose().map_err(Fault::from)?;
    let filter = asked.filter.clone();
    let (browsed, total) = site
        .with(move |site| {
            let browsed = site.client.browse(&filter, place, most)?;
            let total = total(&site.client, &filter, &browsed, place.is_none())?;
            Ok((browsed, total))
        })
        .await?;
    let list = List {
        items: browsed.tasks.iter().map(|task| Row::of(&site.client, task)).collect(),
        next: browsed.next.map(|next| next.to_string()),
        total: total.into(),
        stopped: browsed.stopped,
        bad: browsed.bad.iter().map(|bad| bad.row).collect(),
    };
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &list);
    }
    let rest = list.next.as_deref().map(|next| with(&asked, &[("from", next)], visit));
    let page = TasksPage {
        base: &site.public,
        rows: list.items.iter().map(|row| (row, row.when(now))).collect(),
        states: State::ALL,
        kinds: site.client.kinds().into_iter().map(|kind| kind.name).collect(),
        acts: acts(visit, &asked.filter),
        token: token(site, &visit.access),
        cli: Cli::new(&asked.command("ls", &site.client)),
        is_later: from.is_some(),
        is_live: refresh.is_on(),
        first: with(&asked, &[], visit),
        rest,
        asked: &asked,
        list: &list,
    };
    let content = made(&page)?;
    Leaf { nav: Nav::Tasks, title: "Tasks", content, refresh: Some(&refresh), ..Leaf::default() }
        .answer(site, visit)
}

/// The same list from elsewhere.
fn with(asked: &Asked, more: &[(&str, &str)], visit: &Visit) -> String {
    let kept: Vec<(String, String)> = visit
        .queries()
        .into_iter()
        .filter(|(name, _)| name == "size" || name == "refresh")
        .collect();
    let all = asked.pairs.iter().chain(&kept).map(|(name, value)| (name.as_str(), value.as_str()));
    text::query(all.chain(more.iter().copied()))
}

/// How many there are, where that costs little; else as many as were seen, and more.
fn total(
    client: &Client,
    filter: &Filter,
    browsed: &Browsed,
    is_first: bool,
) -> Result<Capped, Error> {
    let seen = (browsed.tasks.len() + browsed.bad.len()) as u64;
    if is_first && browsed.next.is_none() {
        return Ok(Capped { count: seen, capped: false });
    }
    if is_counted(filter) {
        return client.count_up_to(filter, COUNT_MAX);
    }
    Ok(Capped { count: seen, capped: true })
}

/// Whether an index alone finds as many as are counted: without a filter, and by an owner, a batch or ids, or one
/// state, and by nothing else.
fn is_counted(filter: &Filter) -> bool {
    let Filter { states, owner, batch, ids, .. } = filter.clone();
    let narrow = Filter { batch, owner, ids, ..Filter::new() };
    let by_state = matches!(
        states.as_slice(),
        [State::Scheduled
            | State::Waiting
            | State::Running
            | State::Failed
            | State::Cancelled
            | State::Skipped]
    );
    *filter == narrow || (by_state && *filter == Filter { states, ..Filter::new() })
}

/// What may be done, and makes sense where only these states are shown.
fn acts(visit: &Visit, filter: &Filter) -> Vec<Act> {
    let all = Doing::ALL
        .iter()
        .filter(|doing| visit.access.may(doing.grant()) && doing.narrowed(filter).is_some());
    all.map(|doing| Act {
        value: doing.as_str(),
        word: doing.word(),
        class: if *doing == Doing::Delete { "lw-danger" } else { "" },
    })
    .collect()
}
