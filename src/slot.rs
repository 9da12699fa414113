//! Words: one moment at which a schedule was to fire, and what became of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::retry::millis;
use crate::time::Timestamp;

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SlotKind {
    /// It made a task on time.
    Due,
    /// It made a task late, as nobody was there in time.
    CatchUp,
    /// Somebody asked for a run.
    Manual,
    /// It made none, as nobody was there in time. One record stands for all that follow each other.
    Missed,
    /// Its task was skipped, as an earlier one had not ended; or none was made, as a task has its unique key.
    Overlap,
}

impl SlotKind {
    const ALL: [Self; 5] = [Self::Due, Self::CatchUp, Self::Manual, Self::Missed, Self::Overlap];

    /// The word for it, such as `catch_up`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::CatchUp => "catch_up",
            Self::Manual => "manual",
            Self::Missed => "missed",
            Self::Overlap => "overlap",
        }
    }

    /// The value of a stored word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl std::fmt::Display for SlotKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The slot that a task was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Slot {
    #[serde(rename = "id")]
    pub(crate) schedule: i64,
    /// The name of the schedule when it fired.
    pub name: String,
    /// The slot: when the schedule was to fire. Of a run that somebody has asked for, when that was.
    pub at: Timestamp,
    /// How much later than that, and than its jitter, the task was stored.
    #[serde(rename = "late_ms", with = "millis")]
    pub late: Duration,
    /// Why: `Due`, `CatchUp` or `Manual`.
    pub kind: SlotKind,
}
