//! Watch: the schedules: when each fires next, what became of its last slot, and what it has missed.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::frame::{Leaf, Nav, Refresh, made, token};
use super::parts::{Badge, Cli, When};
use super::{command, text};
use crate::client::Client;
use crate::schedule::{Missed, Origin, Overlap, ScheduleRecord, ScheduleState, SlotRecord};
use crate::slot::SlotKind;
use crate::state::State;
use crate::time::Timestamp;
use crate::timing::Timing;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;

/// Schedules on one page.
const PAGE: usize = 50;

/// What became of a slot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SlotView {
    pub(crate) at: Timestamp,
    pub(crate) kind: SlotKind,
    pub(crate) count: u64,
    pub(crate) fired_at: Timestamp,
    pub(crate) task: Option<String>,
    pub(crate) state: Option<State>,
    pub(crate) finished_at: Option<Timestamp>,
}

impl SlotView {
    pub(crate) fn of(slot: &SlotRecord) -> Self {
        Self {
            at: slot.at,
            kind: slot.kind,
            count: slot.count,
            fired_at: slot.fired_at,
            task: slot.task.map(|task| task.to_string()),
            state: slot.state,
            finished_at: slot.finished_at,
        }
    }

    /// In a word.
    pub(crate) fn word(&self) -> String {
        self.kind.as_str().replace('_', " ")
    }
}

/// Where a person's word goes before that of code.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EditedView {
    pub(crate) field: String,
    pub(crate) code: String,
    pub(crate) edited: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScheduleView {
    pub(crate) name: String,
    pub(crate) code_name: Option<String>,
    pub(crate) kind: String,
    pub(crate) state: ScheduleState,
    pub(crate) damage: Option<String>,
    /// The program whose code declares it.
    pub(crate) program: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) description: Option<String>,
    pub(crate) timing: Option<Timing>,
    pub(crate) timing_text: Option<String>,
    pub(crate) missed: Missed,
    pub(crate) overlap: Overlap,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) arguments: Box<RawValue>,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) last: Option<SlotView>,
    pub(crate) open: usize,
    pub(crate) runs: u64,
    pub(crate) missed_slots: u64,
    pub(crate) overlapped_slots: u64,
    pub(crate) failures: u64,
    pub(crate) overdue: bool,
    pub(crate) edited: Vec<EditedView>,
    pub(crate) edited_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

impl ScheduleView {
    pub(crate) fn of(client: &Client, record: &ScheduleRecord, now: Timestamp) -> Self {
        let kind = &record.kind;
        let arguments = client.redacted_json(kind, &record.arguments);
        let edited = record.edited.iter().map(|one| {
            // Under its own name, so that an argument that is a secret is hidden.
            let veiled = |value: &serde_json::Value| {
                let named = serde_json::json!({ one.field.as_str(): value }).to_string();
                let shown = client.redacted_json(kind, &named);
                let shown: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
                shown.get(&one.field).map_or_else(String::new, ToString::to_string)
            };
            EditedView {
                field: one.field.clone(),
                code: veiled(&one.code),
                edited: veiled(&one.edited),
            }
        });
        Self {
            name: record.name.clone(),
            code_name: record.code_name.clone(),
            kind: kind.clone(),
            state: record.state,
            damage: record.damage.as_deref().map(|told| client.redacted_text(kind, told)),
            program: match &record.origin {
                Origin::Code { program } => Some(program.clone()),
                Origin::Made => None,
            },
            enabled: record.enabled,
            description: record.description.as_deref().map(|told| client.redacted_text(kind, told)),
            timing: record.timing.clone(),
            timing_text: record.timing.as_ref().map(ToString::to_string),
            missed: record.missed,
            overlap: record.overlap,
            queue: record.queue.clone(),
            priority: record.priority,
            arguments: RawValue::from_string(arguments)
                .unwrap_or_else(|_| RawValue::NULL.to_owned()),
            next_at: record.next_at,
            last: record.last.as_ref().map(SlotView::of),
            open: record.open,
            runs: record.runs,
            missed_slots: record.missed_slots,
            overlapped_slots: record.overlapped_slots,
            failures: record.failures,
            overdue: record.is_overdue(now),
            edited: edited.collect(),
            edited_at: record.edited_at,
            created_at: record.created_at,
        }
    }

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
        cli: Cli::new(&command::line(["cron", "ls"], site.client.path())),
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
