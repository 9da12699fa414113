//! Watch: the schedules: when each fires next, what became of its last slot, and what it has missed.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::frame::{Leaf, Nav, Refresh, made, token};
use super::parts::{Badge, Cli, When};
use super::text;
use crate::schedule::ScheduleState;
use crate::shown::command;
pub(crate) use crate::shown::schedules::{ScheduleView, SlotView};
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;

/// Schedules on one page.
const PAGE: usize = 50;

impl SlotView {
    /// In a word.
    pub(crate) fn word(&self) -> String {
        self.kind.as_str().replace('_', " ")
    }
}

impl ScheduleView {
    pub(crate) fn called(&self) -> String {
        text::brief(&self.name, 100)
    }

    pub(crate) fn query(&self) -> String {
        text::query([("name", self.name.as_str())])
    }

    /// The class of its badge.
    pub(crate) fn class(&self) -> &'static str {
        match self.state {
            ScheduleState::Active if self.overdue => "lw-bad",
            ScheduleState::Active => "lw-good",
            ScheduleState::Paused => "lw-paused",
            ScheduleState::Disabled => "lw-skipped",
            ScheduleState::Ended => "lw-cancelled",
            ScheduleState::Failing | ScheduleState::Orphaned | ScheduleState::Damaged => "lw-bad",
        }
    }

    pub(crate) fn word(&self) -> String {
        let mut word = if self.overdue { "overdue".to_owned() } else { self.state.to_string() };
        word[..1].make_ascii_uppercase();
        word
    }
}

#[derive(Debug, Serialize)]
struct List {
    items: Vec<ScheduleView>,
    /// The page after this begins after this name.
    next: Option<String>,
}

struct Shown<'a> {
    view: &'a ScheduleView,
    next: Option<When>,
    last: Option<When>,
}

#[derive(Template)]
#[template(path = "operator/schedules.html")]
struct SchedulesPage<'a> {
    base: &'a str,
    schedules: Vec<Shown<'a>>,
    next: Option<String>,
    is_later: bool,
    /// Where something may be done to them.
    token: Option<String>,
    /// Whether another may be added.
    may_add: bool,
    cli: Cli,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let after = visit.query("after").unwrap_or_default();
    let from = after.clone();
    let (mut records, now) = site
        .with(move |site| Ok((site.client.schedules().list(&from, PAGE + 1)?, site.client.now())))
        .await?;
    let more = records.len() > PAGE;
    records.truncate(PAGE);
    let items: Vec<ScheduleView> =
        records.iter().map(|record| ScheduleView::of(&site.client, record, now)).collect();
    let next = items.last().filter(|_| more).map(|last| last.name.clone());
    let list = List { items, next };
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &list);
    }
    let may = visit.access.may(Action::Schedule) && !refresh.is_on();
    let shown = list.items.iter().map(|view| Shown {
        next: view.next_at.map(|at| When::new(at, now)),
        last: view.last.as_ref().map(|last| When::new(last.fired_at, now)),
        view,
    });
    let content = made(&SchedulesPage {
        base: &site.public,
        schedules: shown.collect(),
        next: list.next.as_deref().map(|next| text::query([("after", next)])),
        is_later: !after.is_empty(),
        token: (may && !list.items.is_empty()).then(|| token(site, &visit.access)),
        may_add: may,
        cli: Cli::new(&command::of_schedules(site.client.path())),
    })?;
    Leaf {
        nav: Nav::Schedules,
        title: "Schedules",
        content,
        refresh: Some(&refresh),
        ..Leaf::default()
    }
    .answer(site, visit)
}
