//! Watch: one schedule: what it is, its next slots and its past; and how people change it.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::form::Form;
use super::frame::{Leaf, Nav, Refresh, back, made, token};
use super::parts::{Badge, Button, Cli, Hidden, When};
use super::schedules::{ScheduleView, SlotView};
use super::{check_may, text};
use crate::client::Client;
use crate::error::Error;
use crate::schedule::{ScheduleRecord, ScheduleState};
use crate::schedules::Switch;
use crate::shown::command;
use crate::time::Timestamp;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words::grouped;

/// Slots that are shown ahead.
pub(super) const AHEAD: usize = 5;
/// … and back.
const BACK: usize = 30;
/// Schedules that are changed at once, at most.
const NAMES_MAX: usize = 1_000;

#[derive(Debug, Serialize)]
struct View {
    #[serde(flatten)]
    schedule: ScheduleView,
    /// The paragraph on its kind, where this program knows it.
    kind_description: Option<String>,
    ahead: Vec<Timestamp>,
    history: Vec<SlotView>,
}

struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "operator/schedule.html")]
struct SchedulePage<'a> {
    base: &'a str,
    view: &'a View,
    facts: Vec<Fact>,
    ahead: Vec<When>,
    history: Vec<(&'a SlotView, When)>,
    arguments: String,
    buttons: Vec<Button>,
    form: Option<(Form, String)>,
    /// Slots that it would have as the form says, where that was asked.
    would: Option<Vec<When>>,
    cli: Vec<Cli>,
}

/// The schedule that is meant.
fn name_of(visit: &Visit) -> Result<String, Fault> {
    visit.query("name").or_else(|| visit.field("name")).ok_or_else(Fault::not_found)
}

/// Of a schedule that is not there, only that.
fn found<R>(read: Result<R, Error>) -> Result<R, Error> {
    read.map_err(|error| match error.code() {
        "no_schedule" => Error::NotFound { id: "schedule".to_owned() },
        _ => error,
    })
}

fn read(client: &Client, name: &str) -> Result<(ScheduleRecord, View), Error> {
    let (schedules, now) = (client.schedules(), client.now());
    let record = found(schedules.get(name))?;
    let history = found(schedules.history(name, Timestamp::MAX, BACK))?;
    // One that cannot be used has no slots.
    let ahead = schedules.preview(name, AHEAD).unwrap_or_default();
    let kind = client.kinds().into_iter().find(|kind| kind.name == record.kind);
    let view = View {
        schedule: ScheduleView::of(client, &record, now),
        kind_description: kind.and_then(|kind| kind.description),
        ahead,
        history: history.iter().map(SlotView::of).collect(),
    };
    Ok((record, view))
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let name = name_of(visit)?;
    let (record, view) = site.with(move |site| read(&site.client, &name)).await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &view);
    }
    let form = Form::of(&record, &view.schedule);
    show(site, visit, &record, &view, form, None)
}

fn show(
    site: &Arc<Site>,
    visit: &Visit,
    record: &ScheduleRecord,
    view: &View,
    form: Form,
    would: Option<Vec<Timestamp>>,
) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let now = site.client.now();
    let may = visit.access.may(Action::Schedule) && !refresh.is_on();
    let when = |at: &Timestamp| When::exact(*at);
    let schedule = &view.schedule;
    let page = SchedulePage {
        base: &site.public,
        facts: facts(view),
        ahead: view.ahead.iter().map(when).collect(),
        history: view.history.iter().map(|slot| (slot, When::new(slot.at, now))).collect(),
        arguments: text::inert(&text::pretty(schedule.arguments.get())),
        buttons: if may { buttons(site, visit, record) } else { Vec::new() },
        form: may.then(|| (form, token(site, &visit.access))),
        would: would.map(|would| would.iter().map(when).collect()),
        cli: if may { commands(site, record) } else { Vec::new() },
        view,
    };
    let content = made(&page)?;
    // A page with a form does not look again by itself.
    Leaf {
        nav: Nav::Schedules,
        title: &schedule.called(),
        content,
        above: Some(("schedules", "Schedules")),
        badge: Some(Badge::of(schedule.class(), schedule.word())),
        sub: schedule.description.as_deref().map(text::inert),
        ..Leaf::default()
    }
    .answer(site, visit)
}

fn facts(view: &View) -> Vec<Fact> {
    let schedule = &view.schedule;
    let fact = |name, value: Option<String>| value.map(|value| Fact { name, value });
    let at = |at: Option<Timestamp>| at.map(text::moment);
    let kind = match &view.kind_description {
        Some(description) => format!("{}: {}", schedule.kind, text::inert(description)),
        None => schedule.kind.clone(),
    };
    let from = schedule.program.as_ref().map_or_else(
        || "somebody, while a program ran".to_owned(),
        |program| format!("the code of {program}"),
    );
    let all = [
        fact("When", schedule.timing_text.as_deref().map(text::line)),
        fact("Kind", Some(kind)),
        fact("Made by", Some(from)),
        fact(
            "Called in code",
            schedule
                .code_name
                .clone()
                .filter(|name| *name != schedule.name)
                .map(|name| text::line(&name)),
        ),
        fact("Next", at(schedule.next_at)),
        fact("Queue", schedule.queue.clone()),
        fact("Priority", schedule.priority.map(|priority| priority.to_string())),
        fact("If missed", said(&schedule.missed)),
        fact("If another runs", said(&schedule.overlap)),
        fact("Tasks made", Some(grouped(schedule.runs))),
        fact("Have not ended", Some(schedule.open.to_string())),
        fact("Slots missed", Some(grouped(schedule.missed_slots))),
        fact("Skipped, as another ran", Some(grouped(schedule.overlapped_slots))),
        fact("Failures in a row", Some(grouped(schedule.failures))),
        fact("Stored", at(Some(schedule.created_at))),
        fact("Last changed", at(schedule.edited_at)),
    ];
    all.into_iter().flatten().collect()
}

/// A setting in words.
fn said(value: &impl Serialize) -> Option<String> {
    Some(match serde_json::to_value(value).ok()? {
        serde_json::Value::String(word) => word.replace('_', " "),
        other => other.to_string(),
    })
}

fn buttons(site: &Site, visit: &Visit, record: &ScheduleRecord) -> Vec<Button> {
    let button = |verb: &str, word: &'static str, class: &'static str| Button {
        path: format!("{}/admin/schedules/{verb}", site.public),
        token: token(site, &visit.access),
        hidden: vec![Hidden::new("name", record.name.as_str()), Hidden::new("stay", "yes")],
        word,
        of: String::new(),
        class,
    };
    let on = record.enabled && record.state != ScheduleState::Failing;
    let switch =
        if on { button("disable", "Switch off", "") } else { button("enable", "Switch on", "") };
    let can_reset = record.code_name.is_some() && !record.edited.is_empty();
    let reset = can_reset.then(|| button("reset", "Reset to code", ""));
    let stays = record.code_name.is_some() && record.state != ScheduleState::Orphaned;
    let remove = (!stays).then(|| button("remove", "Remove…", "lw-danger"));
    [Some(button("run", "Run now", "lw-primary")), Some(switch), reset, remove]
        .into_iter()
        .flatten()
        .collect()
}

fn commands(site: &Site, record: &ScheduleRecord) -> Vec<Cli> {
    let switch = if record.enabled { "pause" } else { "resume" };
    let line = |verb| Cli::new(&command::of_schedule(verb, &record.name, site.client.path()));
    ["run", switch, "next"].map(line).into()
}

/// The schedules of a form.
fn names(visit: &Visit) -> Result<Vec<String>, Fault> {
    let fields = visit.fields().into_iter();
    let names: Vec<String> =
        fields.filter(|(field, _)| field == "name").map(|(_, name)| name).collect();
    if names.is_empty() || names.len() > NAMES_MAX {
        let detail = format!("{} schedules are selected; 1 to {NAMES_MAX}", names.len());
        return Err(Fault::bad_request("bad_schedule", detail));
    }
    Ok(names)
}

pub(crate) async fn act(site: &Arc<Site>, visit: &Visit, word: &str) -> Result<Answer, Fault> {
    check_may(visit, Action::Schedule)?;
    match word {
        "edit" => edit(site, visit).await,
        "reset" | "remove" => one(site, visit, word).await,
        _ => several(site, visit, word).await,
    }
}

/// Runs several, or switches them.
async fn several(site: &Arc<Site>, visit: &Visit, word: &str) -> Result<Answer, Fault> {
    let names = names(visit)?;
    let (client, verb, count) = (site.acting(visit)?, word.to_owned(), names.len() as u64);
    let by = visit.access.actor().to_owned();
    let stay = visit.field("stay").map(|_| names[0].clone());
    let made = site
        .with(move |_| {
            let schedules = client.schedules();
            let made = match verb.as_str() {
                "run" => found(schedules.run_all_now(&names))?,
                "enable" => found(schedules.switch(&names, Switch::On)).map(|_| Vec::new())?,
                _ => found(schedules.switch(&names, Switch::Off)).map(|_| Vec::new())?,
            };
            tracing::info!(target: "litework::web", schedules = ?names, verb, by, "done by a person");
            Ok(made.iter().map(|task| task.id.to_string()).collect::<Vec<_>>())
        })
        .await?;
    if visit.wants_json() {
        return answer::json(
            StatusCode::OK,
            &serde_json::json!({ "schedules": count, "tasks": made }),
        );
    }
    let notice = match word {
        "run" if count == 1 => "schedule_run",
        "run" => "schedules_run",
        "enable" => "enabled",
        _ => "disabled",
    };
    Ok(back(site, &place(stay.as_deref()), notice, Some(count)))
}

/// The page of a schedule, or of all.
pub(super) fn place(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("schedule?{}", text::query([("name", name)])),
        None => "schedules".to_owned(),
    }
}

#[derive(Template)]
#[template(path = "operator/remove.html")]
struct RemovePage<'a> {
    called: String,
    name: &'a str,
    path: String,
    token: String,
    page: String,
}

async fn one(site: &Arc<Site>, visit: &Visit, word: &str) -> Result<Answer, Fault> {
    let name = name_of(visit)?;
    let removes = word == "remove";
    if removes && visit.field("confirmed").as_deref() != Some("yes") && !visit.wants_json() {
        let asked = name.clone();
        let (_, view) = site.with(move |site| read(&site.client, &asked)).await?;
        let content = made(&RemovePage {
            called: view.schedule.called(),
            name: &name,
            path: format!("{}/admin/schedules/remove", site.public),
            token: token(site, &visit.access),
            page: format!("{}/admin/{}", site.public, place(Some(&name))),
        })?;
        return Leaf {
            nav: Nav::Schedules,
            title: "Remove 1 schedule?",
            content,
            ..Leaf::default()
        }
        .answer(site, visit);
    }
    let client = site.acting(visit)?;
    let by = visit.access.actor().to_owned();
    // What code calls it is its name again.
    let stays = site
        .with(move |_| {
            tracing::info!(target: "litework::web", schedule = name, removes, by, "asked for by a person");
            if removes {
                return found(client.schedules().remove(&name)).map(|()| None);
            }
            found(client.schedules().reset(&name)).map(|record| Some(record.name))
        })
        .await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &serde_json::json!({ "schedule": stays }));
    }
    let notice = if removes { "removed" } else { "reset" };
    Ok(back(site, &place(stays.as_deref()), notice, None))
}

/// Changes a schedule as its form says, or only shows what its slots would be.
async fn edit(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let name = name_of(visit)?;
    let asked = name.clone();
    let (record, view) = site.with(move |site| read(&site.client, &asked)).await?;
    let (form, now) = (Form::sent(visit), site.client.now());
    let change = form.edit(&record, &view.schedule, now)?;
    let client = site.acting(visit)?;
    // What is refused may name a value that the form has hidden.
    let veiled = |fault: Fault| fault.veiled(&site.client, &record.kind);
    if visit.field("go").as_deref() == Some("preview") {
        let would = site.with(move |_| client.schedules().preview_edit(&name, change, AHEAD));
        let would = would.await.map_err(veiled)?;
        if visit.wants_json() {
            return answer::json(StatusCode::OK, &serde_json::json!({ "ahead": would }));
        }
        return show(site, visit, &record, &view, form, Some(would));
    }
    let by = visit.access.actor().to_owned();
    let changed = site
        .with(move |_| {
            let changed = found(client.schedules().edit(&name, |_| change))?;
            tracing::info!(target: "litework::web", schedule = name, by, "edited by a person");
            Ok(changed)
        })
        .await
        .map_err(veiled)?;
    if visit.wants_json() {
        let view = ScheduleView::of(&site.client, &changed, site.client.now());
        return answer::json(StatusCode::OK, &view);
    }
    Ok(back(site, &place(Some(&changed.name)), "edited", None))
}
