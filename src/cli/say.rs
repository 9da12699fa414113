//! Operate: what a command prints: data on standard output, for people or as JSON, and words on standard error.
//!
//! Whatever comes out of the file is inert: nothing of it steers a terminal. Whoever reads no more ends the command
//! without a word.

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal, Write as _};

use serde::Serialize;

use super::code::{Code, Stop, hint};
use super::global::{Color, Format, Global};
use super::table::ALERT;
use crate::error::Error;
use crate::shown::text::{inert, inert_json, rough};
use crate::time::Timestamp;

/// How this program prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Say {
    pub(crate) format: Format,
    quiet: bool,
    verbose: bool,
    utc: bool,
}

impl Say {
    pub(crate) fn new(global: &Global) -> Self {
        let choice = match global.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Self {
            format: global.format(),
            quiet: global.quiet,
            verbose: global.verbose,
            utc: global.utc,
        }
    }

    pub(crate) fn is_human(self) -> bool {
        self.format == Format::Human
    }

    /// Columns of the terminal; none where what is printed goes elsewhere. `COLUMNS` goes before.
    pub(crate) fn width(self) -> Option<usize> {
        if !self.is_human() {
            return None;
        }
        let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse::<usize>().ok());
        said.filter(|width| *width > 0).or_else(|| {
            let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
            Some(usize::from(width.0))
        })
    }

    /// Text for people, or one document.
    pub(crate) fn data(
        self,
        value: &impl Serialize,
        human: impl FnOnce(Option<usize>) -> String,
    ) -> Result<(), Stop> {
        match self.format {
            Format::Human => print(&human(self.width())),
            Format::Json => document(value),
            Format::Ndjson => json_line(value),
        }
    }

    /// Several of a kind: a table, one document with `items`, or a line each.
    pub(crate) fn list<T: Serialize>(
        self,
        items: &[T],
        more: &[(&'static str, serde_json::Value)],
        human: impl FnOnce(Option<usize>) -> String,
    ) -> Result<(), Stop> {
        match self.format {
            Format::Human => print(&human(self.width())),
            Format::Json => {
                let more: std::collections::BTreeMap<_, _> =
                    more.iter().map(|(name, value)| (*name, value)).collect();
                document(&List { schema: crate::shown::task::SCHEMA, items, more })
            }
            Format::Ndjson => items.iter().try_for_each(|item| json_line(item)),
        }
    }

    /// Words beside the data. Where nobody hears them, nothing is lost.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            word("", &text.to_string());
        }
    }

    /// An error, and what to do next; gives its code.
    pub(crate) fn error(self, error: &Error) -> Code {
        word(&format!("{ALERT}error{ALERT:#}: "), &error.to_string());
        let mut cause = std::error::Error::source(error).filter(|_| self.verbose);
        while let Some(source) = cause {
            word("  because: ", &source.to_string());
            cause = source.source();
        }
        if let Some(hint) = hint(error) {
            word("hint: ", hint);
        }
        Code::of(error)
    }

    /// Whether somebody looks at standard error.
    pub(crate) fn is_watched(self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// A moment to the second, in the zone of the reader.
    pub(crate) fn moment(self, at: Timestamp) -> String {
        let utc = at.to_chrono();
        if self.utc {
            return utc.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        }
        utc.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S %z").to_string()
    }
}

/// Text that is inert but for styles, which go where there are no colours.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn document(value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    print(&format!("{}\n", inert_json(&text)))
}

/// One object as a line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string(value).map_err(std::io::Error::from)?;
    print(&format!("{}\n", inert_json(&text)))
}

/// What is printed cannot be written, by a command that may have changed something or not.
pub(crate) fn unwritten(error: &std::io::Error, changes: bool) -> Code {
    word(&format!("{ALERT}error{ALERT:#}: "), &format!("not written: {error}"));
    if !changes {
        return Code::Failed;
    }
    word("hint: ", "it may be done all the same: look with `litework ls`, then try again");
    Code::Unknown
}

/// A line of its own for each.
pub(crate) fn lines<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut lines = String::new();
    for one in all {
        // Writing to a text cannot fail.
        let _never = writeln!(lines, "{one}");
    }
    lines
}

/// A word that is said in any case.
fn word(before: &str, text: &str) {
    let mut out = anstream::stderr().lock();
    let _unheard = writeln!(out, "{before}{}", inert(text));
}

/// How long ago a moment was, or when it will be.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    match (at.until(now), now.until(at)) {
        (past, _) if past.as_millis() >= 1_000 => format!("{} ago", rough(past)),
        (_, ahead) if ahead.as_millis() >= 1_000 => format!("in {}", rough(ahead)),
        _ => "now".to_owned(),
    }
}

#[derive(Serialize)]
struct List<'a, T> {
    schema: u8,
    items: &'a [T],
    #[serde(flatten)]
    more: std::collections::BTreeMap<&'static str, &'a serde_json::Value>,
}
