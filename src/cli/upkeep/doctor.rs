//! Watch: what is wrong with a queue file, and what to type next.

use std::path::Path;

use anstyle::Style;
use clap::Args;
use serde_json::json;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::lines;
use crate::cli::table::{ALERT, HEAD, wrapped};
use crate::finding::{Finding, Severity};
use crate::offline;
use crate::shown::text::line;

/// Looks for what is wrong with the file, its disk, its tasks and those who work on it
///
/// Each finding says what it means and which command to type next. The whole file is read once; nothing is changed, and nobody
/// waits for it. It looks into files that cannot be opened too. The exit code is 1 where there is more than notes.
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

impl Verb for Doctor {
    fn run(self, console: &mut Console) -> Came {
        let (file, durability) = console.file()?;
        let findings = offline::doctor(&file, durability)?;
        let said = [("file", json!(file.display().to_string()))];
        console.say.list(&findings, &said, |width| text(&file, &findings, width))?;
        let is_bad = findings.iter().any(|finding| finding.severity > Severity::Note);
        Ok(if is_bad { Code::Failed } else { Code::Ok })
    }
}

fn text(file: &Path, findings: &[Finding], width: Option<usize>) -> String {
    if findings.is_empty() {
        return format!("nothing is wrong: {}\n", line(&file.display().to_string()));
    }
    lines(findings.iter().map(|finding| paragraph(finding, width)))
}

/// What is wrong, and below it the next command.
fn paragraph(finding: &Finding, width: Option<usize>) -> String {
    let style = style_of(finding.severity);
    let head = format!("{}: {}", finding.severity, finding.code);
    let told = wrapped(&line(&finding.what), width.map(|width| width.saturating_sub(2)));
    format!("{style}{head}{style:#}\n  {}\n  next: {}", told.join("\n  "), line(&finding.next))
}

fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Error => ALERT,
        Severity::Warning => HEAD,
        Severity::Note => Style::new(),
    }
}
