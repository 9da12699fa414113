//! Watch: what is asked about a file, and what was found.

use std::path::Path;

use crate::finding::{Finding, Severity};
use crate::options::Durability;
use crate::shell::quoted;
use crate::time::Timestamp;

/// The code of what is found where the file itself is torn.
const DAMAGED: &str = "damaged_file";

/// From when on something is too much, or too little.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of the write-ahead log.
    pub(crate) wal_bytes: u64,
    /// Of a thousand parts of the disk so many must be free.
    pub(crate) free_permille: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { wal_bytes: 1 << 30, free_permille: 50 }
    }
}

/// What is asked about a file.
pub(super) struct Exam<'a> {
    pub(super) path: &'a Path,
    pub(super) now: Timestamp,
    /// What its programs are to survive.
    pub(super) durability: Durability,
    pub(super) bounds: Bounds,
    pub(super) findings: Vec<Finding>,
}

impl Exam<'_> {
    pub(super) fn find(
        &mut self,
        code: &'static str,
        severity: Severity,
        what: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.findings.push(Finding::new(code, severity, what, next));
    }

    /// A command of ours about this file.
    pub(super) fn ours(&self, verb: &str) -> String {
        format!("litework --db {} {verb}", self.named())
    }

    /// A statement for the shell of `SQLite`.
    pub(super) fn sqlite3(&self, sql: &str) -> String {
        format!("sqlite3 {} {}", self.named(), quoted(sql))
    }

    /// A command of the system's about this file.
    pub(super) fn shown(&self, command: &str) -> String {
        format!("{command} {}", self.named())
    }

    /// The file, as a word that no command takes for an option.
    pub(super) fn named(&self) -> String {
        let path = self.path.display().to_string();
        quoted(&if path.starts_with('-') { format!("./{path}") } else { path })
    }

    /// Whether damage was found; what else is asked of the tables may have no answer then.
    pub(super) fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == DAMAGED)
    }

    pub(super) fn damaged(&mut self, what: &str) {
        let what =
            format!("the database is damaged: {what}; restore a copy, or save what can be read");
        self.find(DAMAGED, Severity::Error, what, self.sqlite3(".recover"));
    }
}
