//! Operate: the flags that every command has, before it or after it.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::value;
use crate::catalog::CLIENT_DEFAULT;

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people; they may change.
    #[default]
    Human,
    /// One JSON document; fields are only added.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says no; `CLICOLOR_FORCE` says yes.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

// No doc comment: it would be taken for the help of whatever this is part of.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Global {
    /// The queue file [default: `LITEWORK_DB`, or `db` of a litework.toml here or in a folder above].
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(crate) db: Option<PathBuf>,
    /// Which client, in a program that has several.
    #[arg(long, global = true, value_name = "NAME", default_value = CLIENT_DEFAULT, help_heading = "Global options")]
    pub(crate) client: String,
    /// Print JSON: the same as --format json.
    #[arg(long, global = true, conflicts_with = "format", help_heading = "Global options")]
    pub(crate) json: bool,
    /// How to print data: tables for people, one JSON document, or one JSON object a line.
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) format: Option<Format>,
    /// Say nothing but data and errors.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Say more: the causes of errors.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// When to use colours.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub(crate) color: Color,
    /// Never ask: what would be asked for is refused unless --yes is said.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_input: bool,
    /// Yes to whatever would be asked.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) yes: bool,
    /// How long to wait for tasks at most, such as 90s or 1h30m [default: no limit].
    #[arg(long, global = true, value_name = "SPAN", value_parser = value::span, help_heading = "Global options")]
    pub(crate) timeout: Option<Duration>,
    /// Show moments in UTC instead of local time.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) utc: bool,
    /// Refuse commands that change anything.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) read_only: bool,
}

impl Global {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format.unwrap_or_default() }
    }
}
