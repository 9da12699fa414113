//! Define and finish: tasks that are stored when another ends, in the transaction that ends it.
//!
//! What a task is followed by is stored with it, in full, so that whoever ends it needs no definition.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Error;
use crate::event::{EventKind, EventRecord};
use crate::gate::{Gate, Rate};
use crate::key::EVENT_PREFIX;
use crate::outcome::{Report, cut_characters};
use crate::state::Reason;

/// Tasks that follow one, and those that follow these, at most.
pub const FOLLOWS_MAX: usize = 64;
/// Each text of an error is cut at so many characters.
pub(crate) const TEXT_CHARS_MAX: usize = 5_000;
/// So many causes of an error are told.
const CAUSES_MAX: usize = 16;

/// What a definition or a call asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowOption {
    pub(crate) on: Vec<EventKind>,
    pub(crate) kind: Cow<'static, str>,
}

impl FollowOption {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let allowed = "succeeded, failed, cancelled, skipped or finished, and at least one";
        let place = || format!("ends that {} follows", self.kind);
        if self.on.is_empty() {
            return Err(Error::invalid("bad_follow", place(), "none", allowed));
        }
        match self.on.iter().find(|what| !is_end(**what)) {
            Some(what) => Err(Error::invalid("bad_follow", place(), what.as_str(), allowed)),
            None => Ok(()),
        }
    }
}

fn is_end(what: EventKind) -> bool {
    matches!(
        what,
        EventKind::Succeeded
            | EventKind::Failed
            | EventKind::Cancelled
            | EventKind::Skipped
            | EventKind::Finished
    )
}

/// A task that is to be stored when another ends, as it is kept with that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    pub(crate) on: Vec<EventKind>,
    pub(crate) kind: String,
    pub(crate) queue: String,
    pub(crate) priority: i8,
    pub(crate) attempts: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) at_most_once: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_ms: Option<u64>,
    /// At most one in so long for each kind that ends; what comes meanwhile is counted in the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) every_ms: Option<u64>,
    /// What follows it in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) then: Vec<Self>,
}

impl Follow {
    /// Whether it is stored at this end. A notice is not where the end comes from that of another task, which
    /// has one of its own and tells the cause.
    pub(crate) fn hears(&self, event: &EventRecord) -> bool {
        if self.every_ms.is_some() && event.reason == Some(Reason::Parent) {
            return false;
        }
        self.on.iter().any(|on| *on == event.what || *on == EventKind::Finished)
    }

    /// The idempotency key of what is stored, so that it is stored once.
    pub(crate) fn key(&self, event: &EventRecord) -> String {
        format!("{}{}/{}", key_prefix(""), event.id, self.kind)
    }

    /// The arguments of what is stored. Text and numbers always encode.
    pub(crate) fn arguments(event: &EventRecord) -> String {
        json!({ "event": event }).to_string()
    }

    /// Where it is one of those that are summed up: the key that the newest of a kind has, and its gate.
    pub(crate) fn summed(&self, kind: &str) -> Option<(String, Gate)> {
        let every = Duration::from_millis(self.every_ms?);
        Some((format!("{}/{kind}", self.kind), Gate::Rate(Rate::per(1, every))))
    }
}

/// What the keys of those begin with that follow a task.
pub(crate) fn key_prefix(task: &str) -> String {
    if task.is_empty() { EVENT_PREFIX.to_owned() } else { format!("{EVENT_PREFIX}{task}/") }
}

/// The id of an end: that of the task, and which of its runs it was.
pub(crate) fn event_id(task: crate::id::TaskId, retried: u64) -> String {
    format!("{task}/{}", retried.saturating_add(1))
}

/// An error as it is told.
pub(crate) fn told(error: Report) -> Report {
    let cut = |text: &String| cut_characters(text, TEXT_CHARS_MAX);
    Report {
        message: cut(&error.message),
        code: error.code.as_ref().map(cut),
        causes: error.causes.iter().take(CAUSES_MAX).map(cut).collect(),
        backtrace: error.backtrace.as_ref().map(cut),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_with_a_mark_only_where_something_is_cut() {
        let whole = "é".repeat(TEXT_CHARS_MAX);
        assert_eq!(cut_characters(&whole, TEXT_CHARS_MAX), whole);
        let longer = format!("{whole}x");
        assert_eq!(
            cut_characters(&longer, TEXT_CHARS_MAX),
            format!("{whole}… (cut, 5001 characters)")
        );
    }

    #[test]
    fn what_is_no_end_cannot_be_followed() {
        let option = |on: &[EventKind]| FollowOption { on: on.to_vec(), kind: "mail".into() };
        assert!(option(&[EventKind::Finished]).check().is_ok());
        let refused = option(&[EventKind::Failed, EventKind::Started]).check().expect_err("no end");
        assert_eq!(
            refused.to_string(),
            "bad_follow: ends that mail follows is \"started\"; succeeded, failed, cancelled, \
             skipped or finished, and at least one"
        );
        assert!(option(&[]).check().is_err());
    }
}
