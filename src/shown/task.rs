//! Watch: a task as people and their programs see it, in JSON: the same on pages, in the API and on command lines.
//!
//! Arguments, results and an operator's errors are not part of it. Fields may be added, none is taken away.

use serde::Serialize;

use crate::artifact::Artifact;
use crate::client::Client;
use crate::error::Error;
use crate::flow::{BATCH_KIND, Batch};
use crate::outcome::Report;
use crate::progress::Progress;
use crate::redact::Redaction;
use crate::snapshot::Snapshot;
use crate::state::{Reason, State};
use crate::time::Timestamp;
use crate::why::{Cause, Why};

/// What the shape is called; it grows when a field changes its meaning.
pub(crate) const SCHEMA: u8 = 1;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct View {
    pub(crate) schema: u8,
    pub(crate) id: String,
    pub(crate) rev: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) ended: bool,
    pub(crate) progress: Option<Bar>,
    pub(crate) attempt: u32,
    pub(crate) attempts_max: u32,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) enqueued_at: Timestamp,
    pub(crate) due_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) cancel_requested: bool,
    pub(crate) message: Option<Message>,
    pub(crate) error: Option<Fail>,
    pub(crate) artifacts: Vec<Left>,
    pub(crate) children: Option<Children>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    pub(crate) unit: Option<String>,
    pub(crate) percent: Option<u8>,
    pub(crate) eta_ms: Option<u64>,
    pub(crate) stage: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Waiting {
    pub(crate) cause: &'static str,
    pub(crate) text: String,
    pub(crate) ahead: Option<u64>,
    pub(crate) until: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) level: &'static str,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fail {
    pub(crate) code: String,
    pub(crate) reference: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Left {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    /// Where it is had; empty where there are no addresses.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) href: String,
    pub(crate) expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Children {
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) open: u64,
}

/// In which words a task is told of.
pub(crate) trait Tongue {
    /// What stands in its way.
    fn waits(&self, why: &Why) -> String;

    /// What is told of a failure; none where nothing may be.
    fn failed(&self, report: Option<&Report>) -> Option<String>;
}

impl View {
    /// A task as it is told in these words.
    pub(crate) fn of(
        client: &Client,
        snapshot: &Snapshot,
        tongue: &dyn Tongue,
    ) -> Result<Self, Error> {
        let task = &snapshot.task;
        let now = client.now();
        Ok(Self {
            schema: SCHEMA,
            id: task.id.to_string(),
            rev: format!("{:x}", snapshot.revision()),
            kind: task.kind.clone(),
            name: task.name.clone().unwrap_or_else(|| task.kind.clone()),
            state: task.state,
            reason: task.reason,
            ended: task.state.is_final(),
            progress: snapshot.progress.as_ref().map(|progress| bar(progress, task.state, now)),
            attempt: task.attempt,
            attempts_max: task.attempts_max,
            waiting: waiting(client, snapshot, tongue)?,
            enqueued_at: task.enqueued_at,
            due_at: task.due_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
            cancel_requested: task.cancel_requested,
            message: message(snapshot, tongue),
            error: (task.state == State::Failed).then(|| fail(snapshot)),
            artifacts: snapshot.artifacts.iter().map(left).collect(),
            children: children(client, snapshot)?,
        })
    }

    /// What was said to its person may hold what was meant for nobody else.
    pub(crate) fn hide(&mut self, redaction: &Redaction) {
        self.name = redaction.text(&self.name);
        if let Some(message) = &mut self.message {
            message.text = redaction.text(&message.text);
        }
        if let Some(unit) = self.progress.as_mut().and_then(|bar| bar.unit.as_mut()) {
            *unit = redaction.text(unit);
        }
        if let Some(error) = &mut self.error {
            error.code = redaction.text(&error.code);
        }
        if let Some(stage) = self.progress.as_mut().and_then(|bar| bar.stage.as_mut()) {
            *stage = redaction.text(stage);
        }
        for artifact in &mut self.artifacts {
            artifact.name = redaction.text(&artifact.name);
        }
    }
}

/// What stands in the way of a task that has not started.
fn waiting(
    client: &Client,
    snapshot: &Snapshot,
    tongue: &dyn Tongue,
) -> Result<Option<Waiting>, Error> {
    let task = &snapshot.task;
    if task.state.is_final() || task.state == State::Running {
        return Ok(None);
    }
    let why = match client.why(task.id) {
        Err(error) if error.is_not_found() => return Ok(None),
        why => why?,
    };
    let ahead = match why.cause {
        Cause::Ahead { tasks } => Some(tasks),
        _ => None,
    };
    let (cause, text) = (word_of(&why.cause), tongue.waits(&why));
    Ok(Some(Waiting { cause, text, ahead, until: why.until }))
}

/// The word of what stands in the way of a task that has not started.
pub(crate) fn word_of(cause: &Cause) -> &'static str {
    match cause {
        Cause::Parents { .. } => "parents",
        Cause::Lock { .. } => "lock",
        Cause::Limit { .. } => "limit",
        Cause::Rate { .. } => "rate",
        Cause::BackOff { .. } => "back_off",
        Cause::Snoozed => "snoozed",
        Cause::NotDue => "not_due",
        Cause::Paused { .. } => "paused",
        Cause::NoWorker => "no_worker",
        Cause::NoHandler => "no_handler",
        Cause::Ahead { .. } => "ahead",
        Cause::Busy { .. } => "busy",
        // It has started, or ended, since it was read.
        Cause::Next | Cause::Running { .. } | Cause::Ended { .. } => "next",
    }
}

/// What its person is told, apart from what an operator reads.
fn message(snapshot: &Snapshot, tongue: &dyn Tongue) -> Option<Message> {
    let task = &snapshot.task;
    let (level, text) = if task.state == State::Failed {
        ("error", tongue.failed(task.error.as_ref())?)
    } else {
        ("info", snapshot.progress.as_ref()?.message.clone()?)
    };
    Some(Message { level, text: calm(&text) })
}

fn children(client: &Client, snapshot: &Snapshot) -> Result<Option<Children>, Error> {
    if snapshot.task.kind != BATCH_KIND {
        return Ok(None);
    }
    let sum = match client.handle::<Batch>(snapshot.task.id).and_then(|batch| batch.sum()) {
        Err(error) if error.is_not_found() => return Ok(None),
        sum => sum?,
    };
    let (total, succeeded, failed) = (sum.total, sum.succeeded, sum.failed);
    Ok(Some(Children { total, succeeded, failed, open: sum.open() }))
}

/// A text that steers nothing: of what is no letter only line breaks and tabs stay.
fn calm(text: &str) -> String {
    let is_odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if is_odd(letter) { ' ' } else { letter }).collect()
}

/// A bar that does not lie: it is full only once the task has succeeded.
fn bar(progress: &Progress, state: State, now: Timestamp) -> Bar {
    let percent = progress.percent();
    let percent = match state {
        State::Succeeded => percent.map(|_| 100),
        _ => percent.map(|percent| percent.min(99)),
    };
    let eta = progress.eta(now).filter(|_| state == State::Running);
    Bar {
        done: progress.done,
        total: progress.total,
        unit: progress.unit.as_deref().map(calm),
        percent,
        eta_ms: eta.map(|eta| u64::try_from(eta.as_millis()).unwrap_or(u64::MAX)),
        stage: progress.stage.as_deref().map(calm).filter(|_| state == State::Running),
    }
}

fn fail(snapshot: &Snapshot) -> Fail {
    let report = snapshot.task.error.as_ref();
    let code = report.and_then(|report| report.code.clone());
    let code = code.or_else(|| snapshot.task.reason.map(|reason| reason.to_string()));
    Fail { code: code.unwrap_or_default(), reference: snapshot.task.id.to_string() }
}

fn left(artifact: &Artifact) -> Left {
    Left {
        number: artifact.number,
        name: calm(&artifact.name),
        kind: artifact.kind.as_str(),
        media_type: artifact.media_type.clone(),
        size: artifact.size,
        href: String::new(),
        expires_at: artifact.expires_at,
    }
}
