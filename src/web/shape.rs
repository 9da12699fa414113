//! Watch: a task as its viewer sees it over the web: the shape that all know, with what leads on from there.

use std::ops::Deref;
use std::time::Duration;

use serde::Serialize;

use super::access::{Access, Action};
use super::way::Way;
use super::words::Words;
use crate::artifact::ArtifactKind;
use crate::client::Client;
use crate::error::Error;
use crate::outcome::Report;
pub(crate) use crate::shown::task::Bar;
use crate::shown::task::{self as shape, Tongue, Waiting};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::time::Timestamp;
use crate::why::{Cause, Why};

/// A task with so many before it, or so long before its time, is asked for less often.
const MANY_AHEAD: u64 = 10;
const FAR_OFF: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct View {
    #[serde(flatten)]
    pub(crate) shape: shape::View,
    pub(crate) redirect: Option<String>,
    pub(crate) actions: Vec<&'static str>,
    pub(crate) links: Links,
    pub(crate) poll_ms: Option<u64>,
}

impl Deref for View {
    type Target = shape::View;

    fn deref(&self) -> &shape::View {
        &self.shape
    }
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
        let page = format!("{}/t/{}", self.base, task.id);
        let way = Way::of(task);
        let tongue = OfPerson { words: self.words, way: &way };
        let mut shape = shape::View::of(self.client, snapshot, &tongue)?;
        for left in &mut shape.artifacts {
            left.href = format!("{page}/a/{}", left.number);
        }
        let file = shape.artifacts.iter().find(|left| left.kind == ArtifactKind::File.as_str());
        let mut redirect = way.target(task, file.map(|file| file.href.as_str()));
        if self.access.is_operator() {
            let redaction = self.client.hub.catalog.redaction_of(&task.kind);
            shape.hide(&redaction);
            redirect = redirect.map(|path| redaction.text(&path));
        }
        let poll = || pace(task.enqueued_at.until(now), shape.waiting.as_ref(), now);
        let poll_ms = (!shape.ended).then(poll);
        Ok(View {
            redirect,
            actions: self.actions(snapshot),
            links: Links {
                this: page.clone(),
                fragment: format!("{page}/fragment"),
                events: format!("{}/events?ids={}", self.base, task.id),
                page,
            },
            poll_ms,
            shape,
        })
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

/// What whoever waits is told, in their language.
struct OfPerson<'a> {
    words: &'a Words,
    way: &'a Way,
}

impl Tongue for OfPerson<'_> {
    fn waits(&self, why: &Why) -> String {
        let words = self.words;
        match &why.cause {
            Cause::Parents { .. } => words.waits_for_others.to_string(),
            Cause::Lock { .. } | Cause::Limit { .. } | Cause::Rate { .. } => {
                words.waits_for_turn.to_string()
            }
            Cause::BackOff { .. } => words.tries_again.to_string(),
            Cause::Snoozed => words.goes_on_later.to_string(),
            Cause::NotDue => words.starts_later.to_string(),
            Cause::Paused { .. } => words.is_paused.to_string(),
            Cause::NoWorker | Cause::NoHandler => words.nobody_works.to_string(),
            Cause::Ahead { tasks } => words.ahead(*tasks),
            // It has started, or ended, since it was read.
            Cause::Busy { .. } | Cause::Next | Cause::Running { .. } | Cause::Ended { .. } => {
                words.is_next.to_string()
            }
        }
    }

    fn failed(&self, report: Option<&Report>) -> Option<String> {
        let code = report.and_then(|report| report.code.as_ref());
        let allowed = code.and_then(|code| self.way.messages.get(code)).cloned();
        let told = report.and_then(|report| report.user_message.clone());
        Some(allowed.or(told).unwrap_or_else(|| self.words.failed_text.to_string()))
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
