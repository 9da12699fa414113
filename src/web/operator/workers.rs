//! Watch: the live processes that run tasks, and what each has in hand.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::frame::{Leaf, Nav, Refresh, back, made, token};
use super::parts::When;
use super::{check_may, text};
use crate::mode::Mode;
use crate::presence::WorkerRecord;
use crate::time::Timestamp;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};

/// Tasks of one process that are shown.
const SHOWN: usize = 20;

#[derive(Debug, Serialize)]
struct Running {
    id: String,
    kind: String,
    started_at: Timestamp,
}

#[derive(Debug, Serialize)]
struct WorkerView {
    id: i64,
    name: String,
    pid: u32,
    /// Whether this process has made the page.
    here: bool,
    threads: usize,
    /// Whether it runs tasks by itself.
    serves: bool,
    kinds: Vec<String>,
    queues: Vec<String>,
    excluded: Vec<String>,
    since: Timestamp,
    running: Vec<Running>,
}

impl WorkerView {
    fn of(worker: &WorkerRecord) -> Self {
        let running = worker.running.iter().map(|task| Running {
            id: task.id.to_string(),
            kind: task.kind.clone(),
            started_at: task.started_at,
        });
        Self {
            id: worker.id,
            name: worker.name.clone(),
            pid: worker.pid,
            here: worker.pid == std::process::id(),
            threads: worker.threads,
            serves: worker.serves,
            kinds: worker.kinds.clone(),
            queues: worker.queues.clone(),
            excluded: worker.excluded.clone(),
            since: worker.since,
            running: running.collect(),
        }
    }

    /// How many of its threads have something to do.
    fn busy(&self) -> usize {
        self.running.len().min(self.threads)
    }

    /// Whose tasks it runs.
    fn serves_words(&self) -> String {
        match (self.serves, self.queues.is_empty(), self.excluded.is_empty()) {
            (false, ..) => "only what its own calls run".to_owned(),
            (_, true, true) => "all queues".to_owned(),
            (_, true, false) => format!("all queues but {}", self.excluded.join(", ")),
            _ => self.queues.join(", "),
        }
    }
}

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
