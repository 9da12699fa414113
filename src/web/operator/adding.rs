//! Watch: a schedule that somebody adds while programs run: of a kind that this one knows, with what that does told
//! beside it. Its slots can be seen before it is stored, and what is wrong with it is told above the form, which stays
//! filled.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::form::Form;
use super::frame::{Leaf, Nav, back, made, token};
use super::parts::When;
use super::planned::{AHEAD, place};
use super::schedules::ScheduleView;
use super::{check_may, text};
use crate::client::Client;
use crate::schedule::ScheduleEdit;
use crate::time::Timestamp;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::guard::is_json;
use crate::web::site::{Site, Visit};

/// Characters of a description beside the name of its kind.
const BRIEF: usize = 60;

/// A kind of which a schedule may be made.
#[derive(Debug, Serialize)]
struct Choice {
    kind: String,
    queue: String,
    description: Option<String>,
}

impl Choice {
    fn all(client: &Client) -> Vec<Self> {
        let kinds = client.kinds().into_iter().map(|kind| Self {
            kind: kind.name,
            queue: kind.queue,
            description: kind.description,
        });
        kinds.collect()
    }

    /// Its name and the beginning of its description.
    fn called(&self) -> String {
        match &self.description {
            Some(description) => format!("{}: {}", self.kind, text::brief(description, BRIEF)),
            None => self.kind.clone(),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Wish {
    name: String,
    kind: String,
    form: Form,
    /// Whether it is only to be shown when it would fire.
    is_preview: bool,
}

/// Fields beside those of the form.
const OWN: [&str; 4] = ["name", "kind", "go", "_token"];

impl Wish {
    fn sent(visit: &Visit) -> Result<Self, Fault> {
        if !is_json(&visit.parts.headers) {
            let field = |name: &str| visit.field(name).unwrap_or_default();
            return Ok(Self::of(&field, Form::sent(visit)));
        }
        let bad = |detail: String| Fault::bad_request("bad_schedule", detail);
        let sent: Map<String, Value> =
            serde_json::from_slice(&visit.body).map_err(|error| bad(error.to_string()))?;
        let known =
            |name: &String| OWN.contains(&name.as_str()) || Form::NAMES.contains(&name.as_str());
        if let Some(other) = sent.keys().find(|name| !known(name)) {
            let known = [&["name", "kind", "go"], &Form::NAMES[..]].concat().join(", ");
            return Err(bad(format!("{:?} is no field; {known}", text::brief(other, 40))));
        }
        let field = |name: &str| match sent.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        Ok(Self::of(&field, Form::filled(&field)))
    }

    fn of(field: &dyn Fn(&str) -> String, form: Form) -> Self {
        // A program need not say what is usual.
        let usual = Form::usual();
        let form = Form {
            overlap: if form.overlap.is_empty() { usual.overlap } else { form.overlap },
            missed: if form.missed.is_empty() { usual.missed } else { form.missed },
            ..form
        };
        let (name, kind) = (field("name"), field("kind"));
        Self { name, kind, form, is_preview: field("go") == "preview" }
    }

    fn said(&self, client: &Client) -> Result<ScheduleEdit, Fault> {
        self.form.said(client.hub.limits, client.now())
    }
}

#[derive(Template)]
#[template(path = "operator/new_schedule.html")]
struct NewPage<'a> {
    base: &'a str,
    name: &'a str,
    kind: &'a str,
    choices: Vec<Choice>,
    form: &'a Form,
    token: String,
    /// Slots that it would have, where that was asked.
    would: Option<Vec<When>>,
    /// What is wrong with it.
    fault: Option<&'a str>,
}

/// The empty form.
pub(crate) fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    check_may(visit, Action::Schedule)?;
    if visit.wants_json() {
        let kinds = Choice::all(&site.client);
        return answer::json(StatusCode::OK, &serde_json::json!({ "kinds": kinds }));
    }
    let form = Form { when: "every".to_owned(), ..Form::usual() };
    let kind = visit.query("kind").unwrap_or_default();
    let wish = Wish { name: String::new(), kind, form, is_preview: false };
    show(site, visit, &wish, None, None)
}

fn show(
    site: &Arc<Site>,
    visit: &Visit,
    wish: &Wish,
    would: Option<&[Timestamp]>,
    fault: Option<&str>,
) -> Result<Answer, Fault> {
    let content = made(&NewPage {
        base: &site.public,
        name: &wish.name,
        kind: &wish.kind,
        choices: Choice::all(&site.client),
        form: &wish.form,
        token: token(site, &visit.access),
        would: would.map(|would| would.iter().map(|at| When::exact(*at)).collect()),
        fault,
    })?;
    Leaf {
        nav: Nav::Schedules,
        title: "Add a schedule",
        content,
        above: Some(("schedules", "Schedules")),
        ..Leaf::default()
    }
    .answer(site, visit)
}

/// Stores it, or shows when it would fire.
pub(crate) async fn act(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    check_may(visit, Action::Schedule)?;
    let wish = Wish::sent(visit)?;
    let fault = match carry_out(site, visit, &wish).await {
        Err(fault) if fault.status == StatusCode::BAD_REQUEST => fault,
        done => return done,
    };
    if visit.wants_json() {
        return Err(fault);
    }
    let mut page = show(site, visit, &wish, None, Some(&fault.detail))?;
    *page.status_mut() = fault.status;
    Ok(page)
}

async fn carry_out(site: &Arc<Site>, visit: &Visit, wish: &Wish) -> Result<Answer, Fault> {
    let said = wish.said(&site.client)?;
    let client = site.acting(visit)?;
    let (name, kind) = (wish.name.clone(), wish.kind.clone());
    if wish.is_preview {
        let would =
            site.with(move |_| client.schedules().preview_said(&name, &kind, said, AHEAD)).await?;
        if visit.wants_json() {
            return answer::json(StatusCode::OK, &serde_json::json!({ "ahead": would }));
        }
        return show(site, visit, wish, Some(&would), None);
    }
    let by = visit.access.actor().to_owned();
    let added = site
        .with(move |_| {
            let added = client.schedules().add_said(&name, &kind, said)?;
            tracing::info!(target: "litework::web", schedule = name, kind, by, "added by a person");
            Ok(added)
        })
        .await?;
    if visit.wants_json() {
        let view = ScheduleView::of(&site.client, &added, site.client.now());
        return answer::json(StatusCode::CREATED, &view);
    }
    Ok(back(site, &place(Some(&added.name)), "added", None))
}
