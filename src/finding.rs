//! Words: what is wrong with a queue, and what to do about it.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Tasks wait, or will, until somebody does something about it.
    Warning,
    /// Tasks can be lost or run twice, or the file cannot be opened.
    Error,
}

impl Severity {
    /// The word for it, such as `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that is wrong with a queue; see [`Client::doctor`](crate::Client::doctor).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// A stable word for it, such as `no_worker`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, and what it means.
    pub what: String,
    /// The command line to type next: one that looks closer where that is possible, rather than one that changes
    /// something.
    pub next: String,
}

#[cfg(feature = "sqlite")]
impl Finding {
    pub(crate) fn new(
        code: &'static str,
        severity: Severity,
        what: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { code, severity, what: what.into(), next: next.into() }
    }
}
