//! Watch: a task as people and their programs see it, in JSON and on pages alike.
//!
//! Arguments, results and an operator's errors are not part of it. Fields may be added, none is taken away.

use std::time::Duration;

use serde::Serialize;

use super::access::{Access, Action};
use super::way::Way;
use super::words::Words;
use crate::artifact::{Artifact, ArtifactKind};
use crate::client::Client;
use crate::error::Error;
use crate::flow::{BATCH_KIND, Batch};
use crate::progress::Progress;
use crate::redact::Redaction;
use crate::snapshot::Snapshot;
use crate::state::{Reason, State};
use crate::time::Timestamp;
use crate::why::Cause;

/// What the shape is called; it grows when a field changes its meaning.
const SCHEMA: u8 = 1;
/// A task with so many before it, or so long before its time, is asked for less often.
const MANY_AHEAD: u64 = 10;
const FAR_OFF: Duration = Duration::from_secs(10);

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
    pub(crate) redirect: Option<String>,
    pub(crate) artifacts: Vec<Left>,
    pub(crate) children: Option<Children>,
    pub(crate) actions: Vec<&'static str>,
    pub(crate) links: Links,
    pub(crate) poll_ms: Option<u64>,
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

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Links {
    #[serde(rename = "self")]
    pub(crate) this: String,
    pub(crate) page: String,
    pub(crate) fragment: String,
    pub(crate) events: String,
}

/// What is asked about each task that is shown.
pub(crate) struct Looker<'a> {
    pub(crate) client: &'a Client,
    pub(crate) base: &'a str,
    pub(crate) access: &'a Access,
    pub(crate) words: &'a Words,
}

impl Looker<'_> {
    /// A task as its viewer sees it.
    pub(crate) fn view(&self, snapshot: &Snapshot) -> Result<View, Error> {
        let task = &snapshot.task;
        let now = self.client.now();
        let id = task.id.to_string();
        let ended = task.state.is_final();
        let page = format!("{}/t/{id}", self.base);
        let artifacts: Vec<Left> =
            snapshot.artifacts.iter().map(|artifact| left(&page, artifact)).collect();
        let way = Way::of(task);
        let waiting = self.waiting(snapshot)?;
        let file = artifacts.iter().find(|left| left.kind == ArtifactKind::File.as_str());
        let mut view = View {
            schema: SCHEMA,
            rev: format!("{:x}", snapshot.revision()),
            kind: task.kind.clone(),
            name: task.name.clone().unwrap_or_else(|| task.kind.clone()),
            state: task.state,
            reason: task.reason,
            ended,
            progress: snapshot.progress.as_ref().map(|progress| bar(progress, task.state, now)),
            attempt: task.attempt,
            attempts_max: task.attempts_max,
            enqueued_at: task.enqueued_at,
            due_at: task.due_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
            cancel_requested: task.cancel_requested,
            message: self.message(snapshot, &way),
            error: (task.state == State::Failed).then(|| fail(snapshot)),
            redirect: way.target(task, file.map(|file| file.href.as_str())),
            artifacts,
            children: self.children(snapshot)?,
            actions: self.actions(snapshot),
            links: Links {
                this: page.clone(),
                fragment: format!("{page}/fragment"),
                events: format!("{}/events?ids={id}", self.base),
                page,
            },
            poll_ms: (!ended).then(|| pace(task.enqueued_at.until(now), waiting.as_ref(), now)),
            waiting,
            id,
        };
        if self.access.is_operator() {
            hide(&self.client.hub.catalog.redaction_of(&task.kind), &mut view);
        }
        Ok(view)
    }

    /// What stands in the way of a task that has not started, in words for whoever waits.
    fn waiting(&self, snapshot: &Snapshot) -> Result<Option<Waiting>, Error> {
        let task = &snapshot.task;
        if task.state.is_final() || task.state == State::Running {
            return Ok(None);
        }
        let why = match self.client.why(task.id) {
            Err(error) if error.is_not_found() => return Ok(None),
            why => why?,
        };
        let words = self.words;
        let (cause, text) = match &why.cause {
            Cause::Parents { .. } => ("parents", words.waits_for_others.to_string()),
            Cause::Lock { .. } => ("lock", words.waits_for_turn.to_string()),
            Cause::Limit { .. } => ("limit", words.waits_for_turn.to_string()),
            Cause::Rate { .. } => ("rate", words.waits_for_turn.to_string()),
            Cause::BackOff { .. } => ("back_off", words.tries_again.to_string()),
            Cause::Snoozed => ("snoozed", words.goes_on_later.to_string()),
            Cause::NotDue => ("not_due", words.starts_later.to_string()),
            Cause::Paused { .. } => ("paused", words.is_paused.to_string()),
            Cause::NoWorker => ("no_worker", words.nobody_works.to_string()),
            Cause::NoHandler => ("no_handler", words.nobody_works.to_string()),
            Cause::Ahead { tasks } => ("ahead", words.ahead(*tasks)),
            Cause::Busy { .. } => ("busy", words.is_next.to_string()),
            // It has started, or ended, since it was read.
            Cause::Next | Cause::Running { .. } | Cause::Ended { .. } => {
                ("next", words.is_next.to_string())
            }
        };
        let ahead = match why.cause {
            Cause::Ahead { tasks } => Some(tasks),
            _ => None,
        };
        Ok(Some(Waiting { cause, text, ahead, until: why.until }))
    }

    /// What its person is told, apart from what an operator reads.
    fn message(&self, snapshot: &Snapshot, way: &Way) -> Option<Message> {
        let task = &snapshot.task;
        if task.state == State::Failed {
            let report = task.error.as_ref();
            let code = report.and_then(|report| report.code.as_ref());
            let allowed = code.and_then(|code| way.messages.get(code)).cloned();
            let told = report.and_then(|report| report.user_message.clone());
            let text = allowed.or(told).unwrap_or_else(|| self.words.failed_text.to_string());
            return Some(Message { level: "error", text: calm(&text) });
        }
        let told = snapshot.progress.as_ref()?.message.clone()?;
        Some(Message { level: "info", text: calm(&told) })
    }

    fn children(&self, snapshot: &Snapshot) -> Result<Option<Children>, Error> {
        if snapshot.task.kind != BATCH_KIND {
            return Ok(None);
        }
        let sum = match self.client.handle::<Batch>(snapshot.task.id).and_then(|batch| batch.sum())
        {
            Err(error) if error.is_not_found() => return Ok(None),
            sum => sum?,
        };
        let (total, succeeded, failed) = (sum.total, sum.succeeded, sum.failed);
        Ok(Some(Children { total, succeeded, failed, open: sum.open() }))
    }

    /// What this viewer may do to it as it stands.
    fn actions(&self, snapshot: &Snapshot) -> Vec<&'static str> {
        let task = &snapshot.task;
        let fits = |action: &Action| match action {
            Action::Cancel => !task.state.is_final() && !task.cancel_requested,
            Action::Retry => matches!(task.state, State::Failed | State::Cancelled),
            Action::Dismiss => {
                task.state.is_final() && !task.dismissed && self.access.own().is_some()
            }
            Action::Delete => task.state != State::Running,
            _ => false,
        };
        let mine = Action::ALL.iter().filter(|action| self.access.may(**action) && fits(action));
        mine.map(|action| action.as_str()).collect()
    }
}

/// A text that steers nothing: of what is no letter only line breaks and tabs stay.
fn calm(text: &str) -> String {
    let is_odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if is_odd(letter) { ' ' } else { letter }).collect()
}

/// What was said to its person may hold what was meant for nobody else.
fn hide(redaction: &Redaction, view: &mut View) {
    view.name = redaction.text(&view.name);
    if let Some(message) = &mut view.message {
        message.text = redaction.text(&message.text);
    }
    if let Some(unit) = view.progress.as_mut().and_then(|bar| bar.unit.as_mut()) {
        *unit = redaction.text(unit);
    }
    if let Some(error) = &mut view.error {
        error.code = redaction.text(&error.code);
    }
    if let Some(stage) = view.progress.as_mut().and_then(|bar| bar.stage.as_mut()) {
        *stage = redaction.text(stage);
    }
    view.redirect = view.redirect.as_deref().map(|path| redaction.text(path));
    for artifact in &mut view.artifacts {
        artifact.name = redaction.text(&artifact.name);
    }
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

fn left(page: &str, artifact: &Artifact) -> Left {
    Left {
        number: artifact.number,
        name: calm(&artifact.name),
        kind: artifact.kind.as_str(),
        media_type: artifact.media_type.clone(),
        size: artifact.size,
        href: format!("{page}/a/{}", artifact.number),
        expires_at: artifact.expires_at,
    }
}

/// How soon whoever polls should ask again: often in the beginning, when most tasks end, and less often
/// while many are before it or its time has not come.
fn pace(age: Duration, waiting: Option<&Waiting>, now: Timestamp) -> u64 {
    let is_far = waiting.is_some_and(|waiting| {
        let later = waiting.until.is_some_and(|until| now.until(until) > FAR_OFF);
        later || waiting.ahead.is_some_and(|ahead| ahead >= MANY_AHEAD)
    });
    let soon = if is_far { 2_000 } else { 0 };
    soon.max(match age.as_secs() {
        0..2 => 250,
        2..15 => 500,
        15..120 => 1_000,
        120..600 => 2_000,
        _ => 5_000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::MIN;

    fn waiting(ahead: Option<u64>, until: Option<u64>) -> Waiting {
        let until = until.map(|seconds| NOW.after(Duration::from_secs(seconds)));
        Waiting { cause: "ahead", text: String::new(), ahead, until }
    }

    fn paced(age_ms: u64, waiting: Option<&Waiting>) -> u64 {
        pace(Duration::from_millis(age_ms), waiting, NOW)
    }

    /// Most tasks end soon; who waits for one that takes an hour need not ask four times a second.
    #[test]
    fn the_older_a_task_the_less_often_it_is_asked_for() {
        for (age_ms, every_ms) in [
            (0, 250),
            (1_999, 250),
            (2_000, 500),
            (14_999, 500),
            (15_000, 1_000),
            (119_999, 1_000),
            (120_000, 2_000),
            (599_999, 2_000),
            (600_000, 5_000),
            (u64::MAX, 5_000),
        ] {
            assert_eq!(paced(age_ms, None), every_ms, "{age_ms}");
        }
    }

    #[test]
    fn who_stands_far_back_in_line_asks_every_two_seconds_at_most() {
        for (ahead, until, every_ms) in [
            (Some(9), None, 250),
            (Some(10), None, 2_000),
            (Some(1_000_000), None, 2_000),
            (None, Some(10), 250),
            (None, Some(11), 2_000),
        ] {
            let waiting = waiting(ahead, until);
            assert_eq!(paced(0, Some(&waiting)), every_ms, "{ahead:?} {until:?}");
            assert_eq!(paced(3_600_000, Some(&waiting)), 5_000, "an old one");
        }
    }
}
