//! Watch: the live processes that run tasks, and what each has in hand.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;

use super::frame::{Leaf, Nav, Refresh, back, made, token};
use super::parts::When;
use super::{check_may, text};
use crate::mode::Mode;
use crate::shown::workers::{Running, WorkerView};
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};

/// Tasks of one process that are shown.
const SHOWN: usize = 20;

struct Shown<'a> {
    worker: &'a WorkerView,
    since: When,
    running: Vec<(&'a Running, When)>,
    more: usize,
}

#[derive(Template)]
#[template(path = "operator/workers.html")]
struct WorkersPage<'a> {
    base: &'a str,
    workers: Vec<Shown<'a>>,
    /// Where the threads of this process may be set.
    token: Option<String>,
    threads: usize,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let (workers, now) = site.with(|site| Ok((site.client.workers()?, site.client.now()))).await?;
    let views: Vec<WorkerView> = workers.iter().map(WorkerView::of).collect();
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &serde_json::json!({ "items": views }));
    }
    let shown = views.iter().map(|worker| Shown {
        since: When::new(worker.since, now),
        running: worker
            .running
            .iter()
            .take(SHOWN)
            .map(|task| (task, When::new(task.started_at, now)))
            .collect(),
        more: worker.running.len().saturating_sub(SHOWN),
        worker,
    });
    let is_pool = site.client.mode() == Mode::Pool;
    let may = is_pool && visit.access.may(Action::Pause) && !refresh.is_on();
    let content = made(&WorkersPage {
        base: &site.public,
        workers: shown.collect(),
        token: may.then(|| token(site, &visit.access)),
        threads: views.iter().find(|view| view.here && view.serves).map_or(1, |view| view.threads),
    })?;
    Leaf {
        nav: Nav::Workers,
        title: "Workers",
        content,
        refresh: Some(&refresh),
        ..Leaf::default()
    }
    .answer(site, visit)
}

/// Gives this process another number of threads.
pub(crate) async fn act(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    check_may(visit, Action::Pause)?;
    let given = visit.field("threads").unwrap_or_default();
    let threads: usize = given.trim().parse().map_err(|_| {
        let detail = format!("threads is {:?}; 1 to 1024", text::brief(&given, 40));
        Fault::bad_request("bad_threads", detail)
    })?;
    let (client, by) = (site.acting(visit)?, visit.access.actor().to_owned());
    site.with(move |_| {
        client.set_workers(threads)?;
        tracing::info!(target: "litework::web", threads, by, "done by a person");
        Ok(())
    })
    .await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &serde_json::json!({ "threads": threads }));
    }
    Ok(back(site, "workers", "threads", Some(threads as u64)))
}
