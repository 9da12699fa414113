//! Operate: what `top` reads of the file: a table for each tab, or all of one task.

use std::collections::BTreeSet;

use super::rows::{Data, Key, Row};
use super::screen::{Above, Screen, Tab};
use crate::cli::look::{show, task};
use crate::cli::say::{Say, ago};
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::record::TaskRecord;
use crate::shown::queues::queues;
use crate::shown::schedules::ScheduleView;
use crate::shown::text::{grouped, line, weighed};
use crate::shown::workers::WorkerView;
use crate::state::State;

/// Rows of a table: nobody reads more.
const ROWS: usize = 200;
/// Scheduled tasks among which those are found that are tried again.
const LOOKED_AT: usize = 1_000;

/// What the screen is to show.
pub(super) fn data(client: &Client, screen: &Screen, say: Say) -> Result<Data, Error> {
    let mut data = match screen.tab {
        Tab::Overview => overview(client)?,
        Tab::Running => tasks(client, &[State::Running])?,
        Tab::Queued => tasks(client, &[State::Ready, State::Waiting])?,
        Tab::Scheduled => scheduled(client, false)?,
        Tab::Retrying => scheduled(client, true)?,
        Tab::Failed => tasks(client, &[State::Failed])?,
        Tab::Workers => workers(client)?,
        Tab::Schedules => schedules(client)?,
    };
    data.status = status(client)?;
    if let Above::Detail(id) = screen.above {
        data.detail = Some(match client.snapshot(id) {
            Ok(snapshot) => show::plain(say, client, &snapshot)?,
            Err(error) => error.to_string(),
        });
    }
    Ok(data)
}

fn status(client: &Client) -> Result<String, Error> {
    let overview = client.overview()?;
    let sum = |state| overview.queues.iter().map(|queue| queue.depth(state).count).sum::<u64>();
    let file = overview.file_bytes.map_or_else(|| "memory".to_owned(), weighed);
    let unserved = client.unserved()?.into_iter().next();
    let unserved = unserved.map(|first| format!("  nobody runs {}", first.kind));
    Ok(format!(
        "{file}  running {}  ready {}  scheduled {}  waiting {}  failed {}{}",
        grouped(sum(State::Running)),
        grouped(sum(State::Ready)),
        grouped(sum(State::Scheduled)),
        grouped(sum(State::Waiting)),
        grouped(sum(State::Failed)),
        unserved.unwrap_or_default(),
    ))
}

fn overview(client: &Client) -> Result<Data, Error> {
    let overview = client.overview()?;
    let rows = queues(client, &overview)?.into_iter().map(|queue| {
        let depth = |state| queue.depth(state).to_string();
        let cells = vec![
            queue.name.clone(),
            depth(State::Ready),
            depth(State::Running),
            depth(State::Scheduled),
            depth(State::Waiting),
            depth(State::Failed),
            queue.oldest().unwrap_or_default(),
            queue.rate(),
            queue.paused_at.map_or("", |_| "paused").to_owned(),
        ];
        let paused = queue.paused_at.is_some();
        Row { key: Key::Queue { name: queue.name, paused }, cells, alert: paused }
    });
    let head = vec!["QUEUE", "READY", "RUN", "SCHED", "WAIT", "FAILED", "OLDEST", "ENDED/MIN", ""];
    Ok(Data { head, rows: rows.collect(), ..Data::default() })
}

fn tasks(client: &Client, states: &[State]) -> Result<Data, Error> {
    let filter = states.iter().fold(Filter::new(), |filter, state| filter.state(*state));
    let page = client.browse(&filter, None, ROWS)?;
    listed(client, &page.tasks, page.next.is_some())
}

/// Those that are tried again, or all others that wait for their time.
fn scheduled(client: &Client, again: bool) -> Result<Data, Error> {
    let page = client.browse(&Filter::new().state(State::Scheduled), None, LOOKED_AT)?;
    let wanted = page.tasks.into_iter().filter(|task| (task.attempt > 0) == again);
    let mut wanted: Vec<TaskRecord> = wanted.collect();
    wanted.sort_by_key(|task| task.due_at);
    let more = page.next.is_some() || wanted.len() > ROWS;
    wanted.truncate(ROWS);
    listed(client, &wanted, more)
}

fn listed(client: &Client, found: &[TaskRecord], more: bool) -> Result<Data, Error> {
    let now = client.now();
    let mut rows = Vec::with_capacity(found.len());
    for of in found {
        let snapshot = match client.snapshot(of.id) {
            // It has gone since it was listed.
            Err(error) if error.is_not_found() => continue,
            snapshot => snapshot?,
        };
        let view = task::view(client, &snapshot)?;
        let of = &snapshot.task;
        let when = match of.state {
            State::Scheduled => of.due_at,
            _ => of.finished_at.or(of.started_at).unwrap_or(of.enqueued_at),
        };
        let note = match &view.progress {
            Some(bar) if of.state == State::Running => show::progress(bar),
            _ => task::note(client, &snapshot),
        };
        rows.push(Row {
            key: Key::Task(of.id),
            cells: vec![
                of.id.to_string(),
                line(&view.name),
                of.queue.clone(),
                of.priority.to_string(),
                format!("{}/{}", of.attempt, of.attempts_max),
                ago(when, now),
                line(&note),
            ],
            alert: of.stuck,
        });
    }
    let head = vec!["ID", "TASK", "QUEUE", "PRI", "TRY", "WHEN", "NOTE"];
    Ok(Data { head, rows, more, ..Data::default() })
}

fn workers(client: &Client) -> Result<Data, Error> {
    let now = client.now();
    let rows = client.workers()?.into_iter().map(|worker| {
        let view = WorkerView::of(&worker);
        let kinds: BTreeSet<&str> =
            view.running.iter().map(|running| running.kind.as_str()).collect();
        let cells = vec![
            view.id.to_string(),
            line(&view.name),
            view.pid.to_string(),
            format!("{}/{}", view.busy(), view.threads),
            ago(view.since, now),
            view.serves_words(),
            line(&kinds.into_iter().collect::<Vec<_>>().join(", ")),
        ];
        Row { key: Key::Other, cells, alert: false }
    });
    let head = vec!["WORKER", "NAME", "PID", "BUSY", "SINCE", "SERVES", "RUNS"];
    Ok(Data { head, rows: rows.collect(), ..Data::default() })
}

fn schedules(client: &Client) -> Result<Data, Error> {
    let now = client.now();
    let page = client.schedules().list("", ROWS)?;
    let rows = page.iter().map(|record| {
        let view = ScheduleView::of(client, record, now);
        let state = if view.overdue { "overdue".to_owned() } else { view.state.to_string() };
        let cells = vec![
            line(&view.name),
            state,
            view.next_at.map(|at| ago(at, now)).unwrap_or_default(),
            view.last.as_ref().map(|last| ago(last.fired_at, now)).unwrap_or_default(),
            view.kind.clone(),
            line(&view.timing_text.clone().unwrap_or_default()),
        ];
        Row { key: Key::Other, cells, alert: view.overdue || view.damage.is_some() }
    });
    let head = vec!["SCHEDULE", "STATE", "NEXT", "LAST", "KIND", "TIMING"];
    Ok(Data { head, rows: rows.collect(), more: page.len() == ROWS, ..Data::default() })
}
