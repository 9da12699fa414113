//! Watch: tasks as lines of JSON, to be kept or carried to another queue.

use std::io::{self, IsTerminal, Write};

use clap::Args;

use crate::cli::code::{Came, Code, Stop};
use crate::cli::console::{Console, Verb};
use crate::cli::filter::{self, FilterFlags};
use crate::porting::Export as Wish;
use crate::shown::text::{inert_json, tasks};

/// Prints tasks as NDJSON, one object a line, for `import` and for other programs
///
/// Lines hold all of a task but its progress, log and artifacts. Secrets in arguments, results and errors are hidden, and such
/// lines cannot be imported; with --with-secrets they are as they are stored. For a whole queue, its schedules too, take
/// a `backup`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Terms of the filter, such as state:failed, or ids; without one all tasks.
    #[arg(value_name = "FILTER")]
    words: Vec<String>,
    #[command(flatten)]
    flags: FilterFlags,
    /// Hide nothing, so that the lines can be imported.
    #[arg(long)]
    with_secrets: bool,
}

impl Verb for Export {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let meant = filter::meant(&client, &self.words, &self.flags)?;
        let wish = Wish::of(meant.filter.clone());
        let wish = if self.with_secrets { wish.with_secrets() } else { wish };
        let mut outlet = Outlet::new();
        let done = match client.export(wish, &mut outlet) {
            Ok(done) => done,
            Err(error) => {
                return Err(outlet.failed.map_or_else(|| Stop::Error(error), Stop::from));
            }
        };
        meant.check_found(done.tasks + done.bad > 0)?;
        let say = console.say;
        for bad in &done.bad_rows {
            say.note(format!("row {} cannot be read: {}: {}", bad.row, bad.column, bad.reason));
        }
        let unlisted = done.bad.saturating_sub(done.bad_rows.len() as u64);
        if unlisted > 0 {
            say.note(format!("{unlisted} more rows cannot be read"));
        }
        let hidden = "; secrets are hidden: --with-secrets makes lines for `import`";
        let hidden = if self.with_secrets { "" } else { hidden };
        say.note(format!("{} exported{hidden}", tasks(done.tasks)));
        // What is missing may be what was wanted.
        Ok(if done.bad > 0 { Code::Failed } else { Code::Ok })
    }
}

/// Standard output, as it is but on a terminal; it remembers what went wrong there.
struct Outlet {
    out: io::StdoutLock<'static>,
    is_terminal: bool,
    failed: Option<io::Error>,
}

impl Outlet {
    fn new() -> Self {
        let out = io::stdout().lock();
        Self { is_terminal: out.is_terminal(), out, failed: None }
    }

    fn noted<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.inspect_err(|error| self.failed = Some(error.kind().into()))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = if self.is_terminal {
            // Whole lines come.
            let shown = inert_json(&String::from_utf8_lossy(bytes));
            self.out.write_all(shown.as_bytes()).map(|()| bytes.len())
        } else {
            self.out.write(bytes)
        };
        self.noted(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.out.flush();
        self.noted(done)
    }
}
