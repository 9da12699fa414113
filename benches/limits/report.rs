//! The rows as a table for people and as JSON for comparison with later runs.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::stats::{Interval, number};
use crate::target::Target;

/// One line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    durability: String,
    ours: f64,
    limit: Option<f64>,
    unit: String,
    ratio: Option<f64>,
    lo: Option<f64>,
    hi: Option<f64>,
    target: Option<f64>,
    met: Option<bool>,
    /// The target is one that must not be passed.
    at_most: bool,
    /// The interval still leaves it open.
    open: bool,
    note: String,
    /// When it was measured, and of which commit, as rows of several runs stand in one file.
    measured_at: String,
    commit: String,
}

impl Row {
    /// A row that stands beside a limit measured in the same run.
    pub(crate) fn beside(
        name: &str,
        (ours, limit): (f64, f64),
        unit: &str,
        ratio: Interval,
        target: Target,
    ) -> Self {
        Self {
            limit: Some(limit),
            ratio: Some(ratio.mid),
            lo: Some(ratio.lo),
            hi: Some(ratio.hi),
            met: Some(target.is_met(ratio.mid)),
            open: target.is_open(ratio),
            target: Some(target.bound()),
            at_most: matches!(target, Target::AtMost(_)),
            ..Self::plain(name, ours, unit)
        }
    }

    /// A row with a fixed target.
    pub(crate) fn fixed(name: &str, ours: f64, unit: &str, target: Target) -> Self {
        Self {
            met: Some(target.is_met(ours)),
            target: Some(target.bound()),
            at_most: matches!(target, Target::AtMost(_)),
            ..Self::plain(name, ours, unit)
        }
    }

    /// A row without a target.
    pub(crate) fn plain(name: &str, ours: f64, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            durability: "-".to_owned(),
            ours,
            limit: None,
            unit: unit.to_owned(),
            ratio: None,
            lo: None,
            hi: None,
            target: None,
            met: None,
            at_most: false,
            open: false,
            note: String::new(),
            measured_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            commit: commit().to_owned(),
        }
    }

    pub(crate) fn at(mut self, durability: litework::Durability) -> Self {
        self.durability = format!("{durability:?}").to_lowercase();
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The line of the table, without its end.
    pub(crate) fn line(&self) -> String {
        let interval = match (self.ratio, self.lo, self.hi) {
            (Some(ratio), Some(lo), Some(hi)) => format!("{ratio:.2} [{lo:.2} {hi:.2}]"),
            _ => String::new(),
        };
        let sign = if self.at_most { "≤" } else { "≥" };
        let target = self.target.map_or(String::new(), |target| format!("{sign} {target}"));
        let met = match (self.met, self.open) {
            (None, _) => "",
            (Some(true), false) => "yes",
            (Some(true), true) => "yes?",
            (Some(false), true) => "NO?",
            (Some(false), false) => "NO",
        };
        let limit = self.limit.map(number).unwrap_or_default();
        // A note that does not fit stands on a line of its own.
        let gap = if self.note.chars().count() > NOTE { "\n    " } else { "" };
        format!(
            "{:<23}{:<7}{:>9} {:>8} {:<8}{:<18}{:<7}{:<5}{gap}{}",
            self.name,
            self.durability,
            number(self.ours),
            limit,
            self.unit,
            interval,
            target,
            met,
            self.note
        )
        .trim_end()
        .to_owned()
    }
}

/// The commit that is checked out, with a `+` where files were changed since; empty where there is no git.
fn commit() -> &'static str {
    static COMMIT: LazyLock<String> = LazyLock::new(|| {
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            let run = git.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).output().ok()?;
            run.status.success().then(|| String::from_utf8_lossy(&run.stdout).trim().to_owned())
        };
        let changed = git(&["status", "--porcelain"]).is_some_and(|files| !files.is_empty());
        let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
        if changed { commit + "+" } else { commit }
    });
    &COMMIT
}

/// Columns of the last column: the table has 100.
const NOTE: usize = 13;

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<23}{:<7}{:>9} {:>8} {:<8}{:<18}{:<7}{:<5}{}",
        "row", "level", "ours", "limit", "unit", "ratio [95 %]", "target", "met", "note"
    )
}

/// Writes the rows; those of an earlier run stay where this run did not measure them again.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let mut all: Vec<Row> = serde_json::from_str(&known).unwrap_or_default();
    for row in rows {
        let same = |old: &Row| old.name == row.name && old.durability == row.durability;
        match all.iter().position(same) {
            Some(at) => all[at] = row.clone(),
            None => all.push(row.clone()),
        }
    }
    let text = serde_json::to_string_pretty(&all).map_err(std::io::Error::other)?;
    std::fs::write(path, text + "\n")
}
