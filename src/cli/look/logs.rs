//! Watch: what a task has logged.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::wait::{Heard, Patience};
use crate::cli::code::{Came, Code, Stop};
use crate::cli::console::{Console, Verb};
use crate::cli::global::Format;
use crate::cli::say::{json_line, print};
use crate::cli::value;
use crate::client::Client;
use crate::id::TaskId;
use crate::progress::LogLine;
use crate::shown::text::line;
use crate::time::Timestamp;

/// What bodies say is written at most twice a second.
const PAUSE: Duration = Duration::from_millis(500);

/// Prints what a task has logged, oldest first
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The task: its id, or the part before the dash.
    #[arg(value_name = "ID")]
    id: String,
    /// Go on until the task has ended; JSON then comes as one object a line.
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    attempt: u32,
    number: u64,
    at: Timestamp,
    level: &'static str,
    text: String,
}

impl Verb for Logs {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let id = value::id(&client, &self.id)?;
        let kind = client.get(id)?.kind;
        let mut printer =
            Printer { console, client: &client, id, kind, told: None, follows: self.follow };
        if !self.follow {
            printer.print()?;
            return Ok(Code::Ok);
        }
        let watcher = client.watch(id)?;
        let patience = Patience::new(console);
        loop {
            printer.print()?;
            match patience.next_within(&watcher, PAUSE) {
                Heard::Change | Heard::Nothing => {}
                Heard::End => break,
            }
        }
        printer.print()?;
        if client.get(id)?.state.is_final() {
            return Ok(Code::Ok);
        }
        Err(patience.over(id).into())
    }
}

/// Prints what is new.
struct Printer<'a> {
    console: &'a Console,
    client: &'a Client,
    id: TaskId,
    kind: String,
    /// The last line that was printed: its attempt and its number there.
    told: Option<(u32, u64)>,
    follows: bool,
}

impl Printer<'_> {
    fn print(&mut self) -> Result<(), Stop> {
        let lines = self.client.log(self.id)?;
        let is_new =
            |line: &&LogLine| self.told.is_none_or(|told| (line.attempt, line.number) > told);
        let new: Vec<Line> = lines.iter().filter(is_new).map(|line| self.line(line)).collect();
        self.told = new.last().map(|line| (line.attempt, line.number)).or(self.told);
        let say = self.console.say;
        match say.format {
            Format::Json if !self.follows => say.list(&new, &[], |_| String::new()),
            Format::Json | Format::Ndjson => new.iter().try_for_each(json_line),
            Format::Human => {
                let shown = new.iter().map(|told| {
                    format!("{} {}: {}\n", say.moment(told.at), told.level, line(&told.text))
                });
                print(&shown.collect::<String>())
            }
        }
    }

    fn line(&self, line: &LogLine) -> Line {
        Line {
            attempt: line.attempt,
            number: line.number,
            at: line.at,
            level: line.level.as_str(),
            text: self.client.redacted_text(&self.kind, &line.text),
        }
    }
}
