//! Watch: a copy of the queue, made while it works.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::Say;
use crate::shown::task::SCHEMA;
use crate::shown::text::{line, weighed};
use crate::upkeep::{BackedUp, BackupProgress};

/// Copies the queue as it is now into a new file, while all that use it go on
///
/// The copy was checked, and has its name only once it is whole. What runs now is handed back where the copy is opened, so
/// open it in the place of the first, not beside it: remove the -wal and -shm which the first has left, then move the copy
/// there. Artifacts in a folder beside the file are not copied.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The copy; there must be nothing of this name yet.
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Serialize)]
struct Told {
    schema: u8,
    #[serde(flatten)]
    made: BackedUp,
}

impl Verb for Backup {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let bar = bar(console.say);
        let made = client.backup_with(&self.to, |so_far| {
            show(&bar, so_far);
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        let made = made?;
        let beside = made.artifacts_beside;
        let told = Told { schema: SCHEMA, made };
        console.say.data(&told, |_| {
            let path = told.made.path.display().to_string();
            format!("{} ({})\n", line(&path), weighed(told.made.bytes))
        })?;
        if beside > 0 {
            let what = "artifacts that it names lie in the folder beside the queue; copy that too";
            console.say.note(format_args!("{beside} {what}"));
        }
        Ok(Code::Ok)
    }
}

/// On a terminal only.
fn bar(say: Say) -> ProgressBar {
    if !say.is_watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent} %");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, so_far: BackupProgress) {
    bar.set_length(so_far.total);
    bar.set_position(so_far.done);
}
