//! Operate: what `top` shows: rows of a table, and what each is about.

use crate::id::TaskId;

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Task(TaskId),
    Queue { name: String, paused: bool },
    Other,
}

impl Key {
    /// Whether both mean the same, whatever has become of it.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Task(one), Self::Task(other)) => one == other,
            (Self::Queue { name: one, .. }, Self::Queue { name: other, .. }) => one == other,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) cells: Vec<String>,
    /// Somebody should look at it.
    pub(super) alert: bool,
}

/// What is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Data {
    /// One line about the file.
    pub(super) status: String,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Row>,
    /// There are more than that.
    pub(super) more: bool,
    /// All of one task, as lines.
    pub(super) detail: Option<String>,
}
