//! Watch: what is done to one task.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;

use super::doing::Doing;
use super::frame::{Leaf, Nav, back, made, token};
use super::parts::{Badge, Cli};
use super::{check_may, masked, task, text};
use crate::backend::Cancelled;
use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::operate::Edit;
use crate::record::TaskRecord;
use crate::shown::command;
use crate::time::Timestamp;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::person;
use crate::web::site::{Site, Visit};

/// What was asked for.
enum Wish {
    Retry,
    Cancel,
    Delete,
    Run,
    Reschedule(Timestamp),
    Copy(Changes),
}

/// What a copy differs in.
struct Changes {
    arguments: Option<String>,
    queue: Option<String>,
    priority: Option<i32>,
    at: Option<Timestamp>,
}

impl Wish {
    const fn grant(&self) -> Action {
        match self {
            Self::Retry => Action::Retry,
            Self::Cancel => Action::Cancel,
            Self::Delete => Action::Delete,
            Self::Run | Self::Reschedule(_) | Self::Copy(_) => Action::Edit,
        }
    }

    fn of(word: &str, visit: &Visit, now: Timestamp) -> Result<Self, Fault> {
        let given = |name: &str| visit.field(name).filter(|value| !value.trim().is_empty());
        let moment = |name: &str| given(name).map(|value| moment(&value, now)).transpose();
        Ok(match word {
            "retry" => Self::Retry,
            "cancel" => Self::Cancel,
            "delete" => Self::Delete,
            "run" => Self::Run,
            "reschedule" => {
                let none = || Fault::bad_request("bad_time", "at is missing: a span or a moment");
                Self::Reschedule(moment("at")?.ok_or_else(none)?)
            }
            "copy" => Self::Copy(Changes {
                arguments: given("arguments"),
                queue: given("queue"),
                priority: given("priority").map(|text| number(&text)).transpose()?,
                at: moment("at")?,
            }),
            _ => return Err(Fault::not_found()),
        })
    }
}

fn number(value: &str) -> Result<i32, Fault> {
    value.trim().parse().map_err(|_| {
        let detail = format!("priority is {:?}; -100 to 100", text::brief(value, 40));
        Fault::bad_request("bad_priority", detail)
    })
}

/// A span from now, or a moment.
pub(crate) fn moment(value: &str, now: Timestamp) -> Result<Timestamp, Fault> {
    let value = value.trim();
    if let Ok(span) = crate::written::parse_duration(value) {
        return Ok(now.after(span));
    }
    serde_json::from_value(value.into()).map_err(|_| {
        let allowed = "a span from now such as 30m, or a moment such as 2026-01-31T08:00:00Z";
        Fault::bad_request("bad_time", format!("at is {:?}; {allowed}", text::brief(value, 40)))
    })
}

/// What came of it: the word of the notice, and the task to be shown; none where it is gone.
type Came = (&'static str, Option<TaskId>);

/// Does it, if this visitor may.
pub(crate) async fn act(
    site: &Arc<Site>,
    visit: &Visit,
    id: &str,
    word: &str,
) -> Result<Answer, Fault> {
    let wish = Wish::of(word, visit, site.client.now())?;
    check_may(visit, wish.grant())?;
    if matches!(wish, Wish::Delete)
        && visit.field("confirmed").as_deref() != Some("yes")
        && !visit.wants_json()
    {
        return ask(site, visit, id).await;
    }
    let (access, asked, client) = (visit.access.clone(), id.to_owned(), site.acting(visit)?);
    let done = site
        .with(move |site| {
            let task = site.seen(&access, &asked)?.task;
            let came = done(&client, &task, wish);
            tracing::info!(
                target: "litework::web", id = %task.id, by = access.actor(),
                failed = came.is_err(), "asked for by a person"
            );
            // What is wrong with arguments is found outside of the client.
            Ok(came)
        })
        .await?;
    let (notice, shown) = match done {
        Ok(done) => done,
        Err(fault) => return Err(person::as_it_stands(site, visit, id, fault).await),
    };
    let Some(shown) = shown.map(|id| id.to_string()) else {
        if visit.wants_json() {
            return answer::json(StatusCode::OK, &serde_json::json!({ "deleted": id }));
        }
        return Ok(back(site, "tasks", notice, None));
    };
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &task::seen(site, visit, &shown).await?);
    }
    Ok(back(site, &format!("t/{shown}"), notice, None))
}

fn done(client: &Client, task: &TaskRecord, wish: Wish) -> Result<Came, Fault> {
    let id = task.id;
    let notice = match wish {
        Wish::Retry => client.retry(id).map(|()| "retried")?,
        Wish::Cancel => match client.cancel(id)? {
            Cancelled::Now => "cancelled",
            Cancelled::Requested => "asked",
            Cancelled::AlreadyFinished => "had_ended",
        },
        Wish::Delete => {
            client.delete(id)?;
            return Ok(("deleted", None));
        }
        Wish::Run => client.reschedule(id, client.now()).map(|()| "due_now")?,
        Wish::Reschedule(at) => client.reschedule(id, at).map(|()| "rescheduled")?,
        Wish::Copy(changes) => {
            let copy = copy(client, task, changes)?;
            return Ok(("copied", Some(copy.id)));
        }
    };
    Ok((notice, Some(id)))
}

fn copy(client: &Client, task: &TaskRecord, changes: Changes) -> Result<TaskRecord, Fault> {
    let meant = changes.arguments.as_deref().map(|sent| {
        let shown = client.redacted_json(&task.kind, &task.arguments);
        masked::meant(sent, &shown, &task.arguments)
    });
    let (meant, stored) = (meant.transpose()?, &task.arguments);
    let gone: Vec<String> = match (&meant, serde_json::from_str(stored)) {
        (Some(meant), Ok(serde_json::Value::Object(stored))) => {
            stored.keys().filter(|name| !meant.contains_key(*name)).cloned().collect()
        }
        _ => Vec::new(),
    };
    let change = |edit: Edit| {
        let edit = gone.iter().fold(edit, |edit, name| edit.without_argument(name));
        let edit = meant
            .into_iter()
            .flatten()
            .fold(edit, |edit, (name, value)| edit.argument(name, value));
        // What is as it was is not said, so that what is not known here may stay.
        let queue = changes.queue.filter(|queue| *queue != task.queue);
        let edit = queue.into_iter().fold(edit, Edit::queue);
        let priority = changes.priority.filter(|priority| *priority != i32::from(task.priority));
        let edit = priority.into_iter().fold(edit, Edit::priority);
        changes.at.into_iter().fold(edit, Edit::run_at)
    };
    let copied: Result<TaskRecord, Error> = client.edit_as_copy(task.id, change);
    Ok(copied?)
}

#[derive(Template)]
#[template(path = "operator/delete.html")]
struct DeletePage {
    called: String,
    badge: Badge,
    path: String,
    token: String,
    page: String,
    waits: bool,
    cli: Cli,
}

/// Asks before a task is deleted.
async fn ask(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Answer, Fault> {
    let seen = task::seen(site, visit, id).await?;
    let view = seen.view();
    if !Doing::Delete.fits(view.state, true) {
        let detail = "It runs. Cancel it first; it can be deleted when it has ended.";
        let fault = Fault::new(StatusCode::CONFLICT, "running", detail);
        return Err(person::as_it_stands(site, visit, id, fault).await);
    }
    let page = format!("{}/admin/t/{}", site.public, view.id);
    let content = made(&DeletePage {
        called: text::brief(&view.name, 200),
        badge: Badge::new(view.state, view.reason),
        path: format!("{page}/delete"),
        token: token(site, &visit.access),
        page,
        waits: !view.ended,
        cli: Cli::new(&command::of_tasks("rm", [&*view.id], site.client.path())),
    })?;
    Leaf {
        nav: Nav::Tasks,
        title: "Delete 1 task?",
        content,
        above: Some(("tasks", "Tasks")),
        ..Leaf::default()
    }
    .answer(site, visit)
}
