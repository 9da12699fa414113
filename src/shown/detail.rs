//! Watch: what operators are told of a task besides what its person is: never a secret that can be told by its name or
//! its shape.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::outcome::Report;
use crate::overview::fingerprint_of;
use crate::record::{AttemptRecord, TaskRecord};
use crate::redact::Redaction;
use crate::time::Timestamp;

/// Attempts, and lines of a log, that are shown at most: the newest.
const NEWEST: usize = 100;
/// Bytes of arguments and of a result that are shown at most.
const JSON_BYTES_MAX: usize = 64 * 1024;

/// A task in a list, in one of its shapes.
#[derive(Debug, Serialize)]
pub(crate) struct Item<V> {
    #[serde(flatten)]
    pub(crate) view: V,
    /// None for its person.
    #[serde(flatten)]
    pub(crate) operated: Option<Operated>,
}

/// A task by itself.
#[derive(Debug, Serialize)]
pub(crate) struct Whole<V> {
    #[serde(flatten)]
    pub(crate) item: Item<V>,
    /// None for its person.
    #[serde(flatten)]
    pub(crate) detail: Option<Detail>,
}

/// What a list can afford to say.
#[derive(Debug, Serialize)]
pub(crate) struct Operated {
    pub(crate) queue: String,
    pub(crate) priority: i8,
    pub(crate) owner: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) key: Option<String>,
    pub(crate) trace: Option<String>,
    pub(crate) batch: Option<String>,
    pub(crate) worker: Option<Worker>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) crashes: u32,
    pub(crate) snoozes: u32,
    pub(crate) stuck: bool,
    pub(crate) dismissed: bool,
}

/// The process that ran, or runs, an attempt.
#[derive(Debug, Serialize)]
pub(crate) struct Worker {
    pub(crate) id: i64,
    pub(crate) name: Option<String>,
}

/// What is said of one task alone.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    /// None where they are too long to be shown.
    pub(crate) arguments: Option<Box<RawValue>>,
    pub(crate) result: Option<Box<RawValue>>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) log: Vec<Line>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Attempt {
    pub(crate) n: u32,
    pub(crate) outcome: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) worker: Option<Worker>,
    pub(crate) error: Option<Wrong>,
}

/// The error of an attempt.
#[derive(Debug, Serialize)]
pub(crate) struct Wrong {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    /// The same for all errors that look alike.
    pub(crate) fingerprint: String,
    pub(crate) data: Option<Box<RawValue>>,
    /// Of the newest attempt only.
    pub(crate) backtrace: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) attempt: u32,
    pub(crate) at: Timestamp,
    pub(crate) level: &'static str,
    pub(crate) text: String,
}

impl<V> Item<V> {
    /// As its viewer sees it, who may be an operator.
    pub(crate) fn new(client: &Client, task: &TaskRecord, view: V, is_operator: bool) -> Self {
        if !is_operator {
            return Self { view, operated: None };
        }
        let redaction = client.hub.catalog.redaction_of(&task.kind);
        let operated = Operated {
            queue: task.queue.clone(),
            priority: task.priority,
            owner: task.owner.clone(),
            tags: task.tags.iter().map(|tag| redaction.text(tag)).collect(),
            key: task.key.clone(),
            trace: task.trace.clone(),
            batch: task.batch.map(|id| id.to_string()),
            worker: worker(task.worker, task.worker_name.as_deref()),
            expires_at: task.expires_at,
            crashes: task.crashes,
            snoozes: task.snoozes,
            stuck: task.stuck,
            dismissed: task.dismissed,
        };
        Self { view, operated: Some(operated) }
    }
}

impl Detail {
    pub(crate) fn of(client: &Client, task: &TaskRecord) -> Result<Self, Error> {
        let redaction = client.hub.catalog.redaction_of(&task.kind);
        let attempts = client.attempts(task.id)?;
        let newest = attempts.len().saturating_sub(1);
        let shown = attempts.iter().enumerate().skip(attempts.len().saturating_sub(NEWEST));
        let result = task.result.as_deref();
        Ok(Self {
            arguments: readable(&redaction, &task.arguments),
            result: result.and_then(|result| readable(&redaction, result)),
            attempts: shown
                .map(|(at, attempt)| Attempt::of(&redaction, task, attempt, at == newest))
                .collect(),
            log: log(client, task.id, &redaction)?,
        })
    }
}

impl Attempt {
    fn of(
        redaction: &Redaction,
        task: &TaskRecord,
        attempt: &AttemptRecord,
        is_newest: bool,
    ) -> Self {
        let error = attempt.error.as_ref();
        Self {
            n: attempt.attempt,
            outcome: attempt.outcome.clone(),
            started_at: attempt.started_at,
            finished_at: attempt.finished_at,
            worker: worker(attempt.worker, attempt.worker_name.as_deref()),
            error: error.map(|report| wrong(redaction, task, report, is_newest)),
        }
    }
}

fn wrong(redaction: &Redaction, task: &TaskRecord, report: &Report, is_newest: bool) -> Wrong {
    let data = report.data.as_ref().map(ToString::to_string);
    // The newest is what people look into: all of it, where the older ones are cut.
    let told = |text: &str| if is_newest { redaction.whole(text) } else { redaction.text(text) };
    Wrong {
        kind: report.kind.clone(),
        code: report.code.as_deref().map(|code| redaction.text(code)),
        message: told(&report.message),
        fingerprint: fingerprint_of(&task.kind, report, task.reason),
        causes: report.causes.iter().map(|cause| told(cause)).collect(),
        data: data.and_then(|data| readable(redaction, &data)),
        backtrace: report.backtrace.as_deref().filter(|_| is_newest).map(told),
    }
}

fn log(client: &Client, id: TaskId, redaction: &Redaction) -> Result<Vec<Line>, Error> {
    let lines = client.log(id)?;
    let newest = lines.iter().skip(lines.len().saturating_sub(NEWEST));
    let shown = newest.map(|line| Line {
        attempt: line.attempt,
        at: line.at,
        level: line.level.as_str(),
        text: redaction.text(&line.text),
    });
    Ok(shown.collect())
}

fn worker(id: Option<i64>, name: Option<&str>) -> Option<Worker> {
    id.map(|id| Worker { id, name: name.map(str::to_owned) })
}

/// JSON without its secrets, where it is not too long.
fn readable(redaction: &Redaction, json: &str) -> Option<Box<RawValue>> {
    let shown = redaction.json(json);
    if shown.len() > JSON_BYTES_MAX { None } else { RawValue::from_string(shown).ok() }
}
