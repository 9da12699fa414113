//! Watch: the operator's first page: is there work that nobody does, how long does it wait, what fails.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::chart::{self, Chart, Span};
use super::failures::Group;
use super::figures::{self, Count, QueueView};
use super::frame::{Leaf, Nav, Refresh, made};
use super::parts::When;
use super::{parts, text};
use crate::client::Client;
use crate::counters::{Bucket, Series};
use crate::error::Error;
use crate::state::State;
use crate::time::Timestamp;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;
use crate::web::words::weighed;

/// Groups of failures that are shown here.
const GROUPS: usize = 5;
/// Warnings that are shown.
const WARNINGS_MAX: usize = 20;

/// What needs somebody.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Warning {
    code: &'static str,
    text: String,
}

#[derive(Debug, Clone, Serialize)]
struct WorkersView {
    processes: usize,
    threads: usize,
    running: usize,
}

#[derive(Debug, Serialize)]
struct Step {
    at: Timestamp,
    enqueued: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    skipped: u64,
    wait_p50_ms: Option<f64>,
    wait_p95_ms: Option<f64>,
    run_p50_ms: Option<f64>,
    run_p95_ms: Option<f64>,
}

impl Step {
    fn of(bucket: &Bucket) -> Self {
        let counts = &bucket.counts;
        let ms = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1_000.0);
        Self {
            at: bucket.at,
            enqueued: counts.enqueued,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            skipped: counts.skipped,
            wait_p50_ms: ms(counts.wait.quantile(0.5)),
            wait_p95_ms: ms(counts.wait.quantile(0.95)),
            run_p50_ms: ms(counts.run.quantile(0.5)),
            run_p95_ms: ms(counts.run.quantile(0.95)),
        }
    }
}

#[derive(Debug, Serialize)]
struct View {
    schema: u8,
    at: Timestamp,
    oldest_ready_ms: Option<u64>,
    queues: Vec<QueueView>,
    failures: Vec<Group>,
    failures_looked_at: Count,
    workers: WorkersView,
    file_bytes: Option<u64>,
    wal_bytes: Option<u64>,
    warnings: Vec<Warning>,
    span: &'static str,
    steps: Vec<Step>,
}

#[derive(Template)]
#[template(path = "operator/overview.html")]
struct OverviewPage<'a> {
    base: &'a str,
    view: &'a View,
    oldest: Option<String>,
    oldest_in: &'a str,
    at: When,
    file: Option<String>,
    wal: Option<String>,
    spans: [Span; 4],
    charts: [[Chart; 2]; 2],
    states: &'a [State],
}

/// The page, or its numbers.
pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let word = visit.query("span").unwrap_or_else(|| Span::ALL[0].word.to_owned());
    let span = Span::from_word(&word).ok_or_else(|| {
        let detail = format!("span is {:?}; 1h, 6h, 24h or 7d", text::brief(&word, 40));
        Fault::bad_request("bad_span", detail)
    })?;
    let (view, buckets) = site.with(move |site| read(&site.client, span)).await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &view);
    }
    let page = OverviewPage {
        base: &site.public,
        oldest_in: view
            .queues
            .iter()
            .max_by_key(|queue| queue.oldest_ready_ms)
            .map_or("", |queue| queue.name.as_str()),
        oldest: view.oldest_ready_ms.map(|ms| text::rough(Duration::from_millis(ms))),
        at: When::exact(view.at),
        file: view.file_bytes.map(weighed),
        wal: view.wal_bytes.map(weighed),
        spans: Span::ALL,
        charts: [
            [chart::arrivals(span, &buckets), chart::throughput(span, &buckets)],
            [
                chart::times(("wait", "Wait", "waited"), span, &buckets, |counts| &counts.wait),
                chart::times(("run", "Run time", "ran"), span, &buckets, |counts| &counts.run),
            ],
        ],
        states: State::ALL,
        view: &view,
    };
    let content = made(&page)?;
    Leaf {
        nav: Nav::Overview,
        title: "Overview",
        content,
        refresh: Some(&refresh),
        ..Leaf::default()
    }
    .answer(site, visit)
}

fn read(client: &Client, span: Span) -> Result<(View, Vec<Bucket>), Error> {
    let overview = client.overview()?;
    let now = overview.at;
    let queues = figures::queues(client, &overview)?;
    let failures = client.failures()?;
    let workers = client.workers()?;
    let back = i64::try_from((span.length.saturating_sub(span.step)).as_millis());
    let since = Timestamp::clamped(now.as_millis().saturating_sub(back.unwrap_or(i64::MAX)));
    let buckets = client
        .counters(&Series::new(since, now.after(Duration::from_millis(1))).step(span.step))?;
    let view = View {
        schema: 1,
        at: now,
        oldest_ready_ms: queues.iter().filter_map(|queue| queue.oldest_ready_ms).max(),
        warnings: warnings(client, &queues)?,
        queues,
        failures: failures
            .groups
            .iter()
            .take(GROUPS)
            .map(|group| Group::of(client, group))
            .collect(),
        failures_looked_at: failures.looked_at.into(),
        workers: WorkersView {
            processes: workers.len(),
            threads: workers.iter().map(|worker| worker.threads).sum(),
            running: workers.iter().map(|worker| worker.running.len()).sum(),
        },
        file_bytes: overview.file_bytes,
        wal_bytes: overview.wal_bytes,
        span: span.word,
        steps: buckets.iter().map(Step::of).collect(),
    };
    Ok((view, buckets))
}

fn warnings(client: &Client, queues: &[QueueView]) -> Result<Vec<Warning>, Error> {
    let unserved = client.unserved()?.into_iter().map(|one| {
        let (queue, kind) = (&one.queue, &one.kind);
        let who = if one.queue_is_served {
            "live processes serve the queue, but none knows the kind; register it there"
        } else {
            "no live process runs them; start a pool"
        };
        let (code, what) = match one.schedules.first() {
            None => ("no_worker", format!("Tasks of queue {queue}, kind {kind}, are ready")),
            Some(first) => {
                let first = text::brief(first, 80);
                ("no_firing", format!("Schedules are due ({first}) of queue {queue}, kind {kind}"))
            }
        };
        Warning { code, text: format!("{what}, and {who}.") }
    });
    let paused = queues.iter().filter_map(|queue| {
        let since = text::moment(queue.paused_at?);
        let waits = queue.oldest_ready_ms.is_some();
        waits.then(|| Warning {
            code: "paused",
            text: format!("Queue {} is paused since {since}, and tasks wait in it.", queue.name),
        })
    });
    Ok(unserved.chain(paused).take(WARNINGS_MAX).collect())
}
