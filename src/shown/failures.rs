//! Watch: what has failed, grouped by what it failed with, as people and programs are shown it.

use serde::Serialize;

use super::text::line;
use crate::client::Client;
use crate::overview::{FailureGroup, GROUP_TEXT_MAX};
use crate::time::Timestamp;

/// Tasks of a group that are named.
const NAMED: usize = 3;

/// Failed tasks that look alike.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Group {
    pub(crate) fingerprint: String,
    pub(crate) kind: String,
    pub(crate) queue: String,
    pub(crate) error: String,
    pub(crate) text: String,
    pub(crate) count: u64,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) newest: Vec<String>,
}

/// Without the last word where the text was cut: half a secret looks like none.
fn whole_words(text: &str) -> &str {
    if text.chars().count() < GROUP_TEXT_MAX {
        return text;
    }
    text.rfind(char::is_whitespace).map_or("", |at| &text[..at])
}

impl Group {
    pub(crate) fn of(client: &Client, group: &FailureGroup) -> Self {
        let veiled = |told: &str| line(&client.redacted_text(&group.kind, told));
        Self {
            fingerprint: group.fingerprint.clone(),
            kind: group.kind.clone(),
            queue: group.queue.clone(),
            error: veiled(&group.error),
            text: veiled(whole_words(&group.text)),
            count: group.count,
            first_at: group.first_at,
            last_at: group.last_at,
            newest: group.ids.iter().take(NAMED).map(ToString::to_string).collect(),
        }
    }
}
