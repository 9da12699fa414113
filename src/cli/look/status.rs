//! Watch: one screen: what waits, what fails, who works, what is due; and what to look at next.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::queues;
use crate::backends::sqlite::exam::Bounds;
use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::lines;
use crate::cli::table::{ALERT, Cell, pairs, wrapped};
use crate::client::Client;
use crate::counters::Counts;
use crate::error::Error;
use crate::overview::Overview;
use crate::schedule::ScheduleState;
use crate::shown::queues::{QueueView, queues as views};
use crate::shown::task::SCHEMA;
use crate::shown::text::{grouped, line, rough, tasks, weighed};
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Schedules that are read at once.
const PAGE: usize = 1_000;

/// Shows on one screen what waits, what fails, who works, and what to look at next
#[derive(Debug, Args)]
pub(crate) struct Status {}

#[derive(Debug, Default, Serialize)]
struct WorkersSum {
    processes: usize,
    threads: usize,
    running: usize,
}

#[derive(Debug, Default, Serialize)]
struct SchedulesSum {
    total: usize,
    /// Those that fire.
    active: usize,
    overdue: usize,
    /// Those that need somebody: they were stopped by failures, are damaged or declared by no code any more.
    faulty: usize,
    missed_slots: u64,
    next_at: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize)]
struct InboxSum {
    waiting: u64,
    refused: u64,
}

/// What somebody should look at, and by which command.
#[derive(Debug, Serialize)]
struct Warning {
    code: &'static str,
    text: String,
    next: &'static str,
}

#[derive(Debug, Serialize)]
struct View {
    schema: u8,
    at: Timestamp,
    file: Option<String>,
    file_bytes: Option<u64>,
    wal_bytes: Option<u64>,
    oldest_ready_ms: Option<u64>,
    queues: Vec<QueueView>,
    succeeded_1h: u64,
    succeeded_24h: u64,
    failed_1h: u64,
    failed_24h: u64,
    workers: WorkersSum,
    schedules: SchedulesSum,
    inbox: InboxSum,
    warnings: Vec<Warning>,
}

impl Verb for Status {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let view = View::read(&client)?;
        console.say.data(&view, |width| view.text(width))?;
        Ok(Code::Ok)
    }
}

impl View {
    fn read(client: &Client) -> Result<Self, Error> {
        let overview = client.overview()?;
        let (at, queues) = (overview.at, views(client, &overview)?);
        let hour = ended_since(client, at, HOUR)?;
        let day = ended_since(client, at, DAY)?;
        let workers = client.workers()?.into_iter().fold(WorkersSum::default(), |sum, worker| {
            let pool = usize::from(worker.serves);
            WorkersSum {
                processes: sum.processes + pool,
                threads: sum.threads + pool * worker.threads,
                running: sum.running + worker.running.len(),
            }
        });
        let inbox = client.inbox()?;
        let waiting = inbox.waiting.iter().map(|kind| kind.rows).sum();
        let mut view = Self {
            schema: SCHEMA,
            at,
            file: client.path().map(|path| path.to_string_lossy().into_owned()),
            file_bytes: overview.file_bytes,
            wal_bytes: overview.wal_bytes,
            oldest_ready_ms: queues.iter().filter_map(|queue| queue.oldest_ready_ms).max(),
            queues,
            succeeded_1h: hour.succeeded,
            succeeded_24h: day.succeeded,
            failed_1h: hour.failed,
            failed_24h: day.failed,
            workers,
            schedules: schedules(client, at)?,
            inbox: InboxSum { waiting, refused: inbox.refused },
            warnings: Vec::new(),
        };
        view.warnings = view.warned(client, &overview)?;
        Ok(view)
    }

    /// What needs somebody, and the command that tells more of it.
    fn warned(&self, client: &Client, overview: &Overview) -> Result<Vec<Warning>, Error> {
        let mut warnings = Vec::new();
        let mut warn = |code, text: String, next| warnings.push(Warning { code, text, next });
        let unserved = client.unserved()?;
        if let Some(first) = unserved.first() {
            let more = if unserved.len() > 1 { " and others" } else { "" };
            let text =
                format!("nobody runs tasks of kind {} in queue {}{more}", first.kind, first.queue);
            warn("unserved", text, "litework workers");
        }
        if self.failed_1h > 0 {
            let text = format!("{} failed in the last hour", tasks(self.failed_1h));
            warn("failures", text, "litework ls --group error");
        }
        for queue in overview.queues.iter().filter(|queue| queue.paused_at.is_some()) {
            warn("paused", format!("queue {} is paused", queue.queue), "litework queues");
        }
        let SchedulesSum { overdue, faulty, .. } = self.schedules;
        if overdue > 0 {
            warn("overdue", format!("{overdue} schedules are overdue"), "litework cron ls");
        }
        if faulty > 0 {
            warn("schedules", format!("{faulty} schedules do not fire"), "litework cron ls");
        }
        if self.inbox.refused > 0 {
            let text = format!("{} rows of the inbox were refused", self.inbox.refused);
            warn(
                "inbox",
                text,
                "sqlite3 -readonly FILE 'SELECT id, error FROM litework_inbox WHERE error IS NOT NULL'",
            );
        }
        if let Some(bytes) = self.wal_bytes.filter(|bytes| *bytes > Bounds::default().wal_bytes) {
            let text = format!("the log beside the file has {}", weighed(bytes));
            warn("wal", text, "litework doctor");
        }
        Ok(warnings)
    }

    fn facts(&self) -> [(&'static str, Cell); 7] {
        let size = |bytes: Option<u64>| bytes.map_or_else(String::new, weighed);
        let log = self
            .wal_bytes
            .filter(|bytes| *bytes > 0)
            .map(|bytes| format!(", log {}", weighed(bytes)));
        let file = self.file.as_deref().unwrap_or_default();
        let workers = &self.workers;
        let schedules = &self.schedules;
        let next =
            schedules.next_at.map(|at| format!(", next {}", crate::cli::say::ago(at, self.at)));
        let oldest = self.oldest_ready_ms.map(|ms| rough(Duration::from_millis(ms)));
        let failed = Cell::new(format!(
            "{} in 1 h, {} in 24 h",
            grouped(self.failed_1h),
            grouped(self.failed_24h)
        ));
        let failed = if self.failed_1h > 0 { failed.styled(ALERT) } else { failed };
        [
            (
                "file",
                Cell::new(format!("{file} ({}{})", size(self.file_bytes), log.unwrap_or_default())),
            ),
            ("oldest ready", Cell::new(oldest.as_deref().unwrap_or("none waits"))),
            (
                "workers",
                Cell::new(format!(
                    "{}, {}, {} running",
                    counted(workers.processes, "process", "processes"),
                    counted(workers.threads, "thread", "threads"),
                    counted(workers.running, "task", "tasks"),
                )),
            ),
            (
                "succeeded",
                Cell::new(format!(
                    "{} in 1 h, {} in 24 h",
                    grouped(self.succeeded_1h),
                    grouped(self.succeeded_24h)
                )),
            ),
            ("failed", failed),
            (
                "schedules",
                Cell::new(format!(
                    "{} of {} active{}, {} overdue, {} slots missed",
                    schedules.active,
                    schedules.total,
                    next.unwrap_or_default(),
                    schedules.overdue,
                    schedules.missed_slots
                )),
            ),
            (
                "inbox",
                Cell::new(format!(
                    "{} waiting, {} refused",
                    self.inbox.waiting, self.inbox.refused
                )),
            ),
        ]
    }

    fn text(&self, width: Option<usize>) -> String {
        let mut text = pairs(self.facts(), width);
        if !self.queues.is_empty() {
            text.push('\n');
            text.push_str(&queues::table(&self.queues, self.at).text(width));
        }
        text.push_str(&lines(self.warnings.iter().map(|warning| {
            let told = wrapped(&line(&warning.text), width.map(|width| width.saturating_sub(2)));
            format!("\n{ALERT}!{ALERT:#} {}\n  next: {}", told.join("\n  "), warning.next)
        })));
        text
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
}

/// What has ended within this span.
fn ended_since(client: &Client, now: Timestamp, span: Duration) -> Result<Counts, Error> {
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let since = Timestamp::clamped(now.as_millis().saturating_sub(ms));
    let counted: BTreeMap<String, Counts> =
        client.counts_by_queue(since, now.after(Duration::from_millis(1)))?;
    let mut sum = Counts::default();
    for counts in counted.values() {
        sum.succeeded += counts.succeeded;
        sum.failed += counts.failed;
    }
    Ok(sum)
}

fn schedules(client: &Client, now: Timestamp) -> Result<SchedulesSum, Error> {
    let mut sum = SchedulesSum::default();
    let mut after = String::new();
    loop {
        let page = client.schedules().list(&after, PAGE)?;
        for record in &page {
            sum.total += 1;
            sum.missed_slots += record.missed_slots;
            match record.state {
                ScheduleState::Active => {
                    sum.active += 1;
                    sum.overdue += usize::from(record.is_overdue(now));
                    let next = sum.next_at.into_iter().chain(record.next_at).min();
                    sum.next_at = next;
                }
                ScheduleState::Failing | ScheduleState::Damaged | ScheduleState::Orphaned => {
                    sum.faulty += 1;
                }
                _ => {}
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(&last.name),
            _ => return Ok(sum),
        }
    }
}
