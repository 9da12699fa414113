//! Enqueue: makes tasks of schedules now.

use clap::Args;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::look::task;
use crate::cli::say::lines;
use crate::error::Error;

/// Makes a task of each of these schedules now; their slots stay as they are
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The schedules, by name.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Verb for Run {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open_to_change()?;
        let made = client.schedules().run_all_now(&self.names)?;
        let items = made.iter().map(|made| task::item_of(&client, made.id));
        let items = items.collect::<Result<Vec<_>, Error>>()?;
        console.say.list(&items, &[], |_| lines(made.iter().map(|made| made.id)))?;
        Ok(Code::Ok)
    }
}
