//! Enqueue: tasks that another queue has exported.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::value;
use crate::error::Error;
use crate::porting::Import as Wish;
use crate::shown::task::SCHEMA;
use crate::shown::text::tasks;

/// What a file of `SQLite` begins with.
const DATABASE: &[u8] = b"SQLite format 3\0";

/// Stores tasks that `litework export --with-secrets` has printed, with their ids, as they were
///
/// The first line that is refused ends it, and is named; what stands before it stays stored, so go on with --skip-existing.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file of lines; - for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    from: PathBuf,
    /// Pass over tasks whose ids are stored already.
    #[arg(long)]
    skip_existing: bool,
}

impl Verb for Import {
    fn run(self, console: &mut Console) -> Came {
        console.check_may_change()?;
        // Before the queue is open: a file that is the queue itself must not be opened beside it, nor closed.
        let lines = self.lines()?;
        let client = console.open_to_change()?;
        let wish = if self.skip_existing { Wish::new().skip_existing() } else { Wish::new() };
        let done = client.import_with(wish, lines)?;
        let told = json!({
            "schema": SCHEMA,
            "tasks": done.tasks,
            "skipped": done.skipped,
            "absent": done.absent,
        });
        console.say.data(&told, |_| {
            let skipped = format!(", {} stored already", done.skipped);
            let skipped = if done.skipped > 0 { skipped } else { String::new() };
            format!("{} imported{skipped}\n", tasks(done.tasks))
        })?;
        if done.absent > 0 {
            let what =
                "times a task waits for one that is not there: cancel it, or import that too";
            console.say.note(format_args!("{} {what}", done.absent));
        }
        Ok(Code::Ok)
    }
}

impl Import {
    fn lines(&self) -> Result<Box<dyn Read>, Error> {
        let shown = self.from.display().to_string();
        if shown == "-" {
            if io::stdin().is_terminal() {
                let allowed = "a file, or lines from a pipe; standard input is a terminal";
                return Err(Error::invalid("no_lines", "lines to import", "-", allowed));
            }
            return Ok(Box::new(io::stdin().lock()));
        }
        let mut lines = BufReader::new(value::opened(&self.from, "file of lines")?);
        // Whatever cannot be read here fails once more, and is told there.
        if lines.fill_buf().is_ok_and(|begin| begin.starts_with(DATABASE)) {
            let allowed = "lines that `litework export --with-secrets` has printed, and no queue";
            return Err(Error::invalid("no_lines", "file of lines", shown, allowed));
        }
        Ok(Box::new(lines))
    }
}
