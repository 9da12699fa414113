//! Operate: whether a queue can be used as the settings say.

use clap::Args;
use serde::Serialize;

use super::code::{Came, Code};
use super::console::{Console, Verb};
use super::origins::{Said, origins};
use super::table::{Cell, Table};
use crate::shown::task::SCHEMA;

/// Checks the settings, the file and its tables, and says what is wrong by its exit code
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Print each setting, and who has said it: the command line, the environment, a file, or nobody.
    #[arg(long)]
    print_config: bool,
}

#[derive(Debug, Serialize)]
struct Told {
    schema: u8,
    ok: bool,
    file: String,
    kinds: usize,
    config: Vec<Said>,
}

impl Verb for Check {
    fn run(self, console: &mut Console) -> Came {
        let alone = console.is_alone();
        let config = if self.print_config { origins(console)? } else { Vec::new() };
        let client = console.open()?;
        // Each table is looked into once.
        client.overview()?;
        client.schedules().list("", 1)?;
        client.audit(None, 1)?;
        client.inbox()?;
        let file = client.path().map(|path| path.display().to_string()).unwrap_or_default();
        let kinds = client.kinds().len();
        let told = Told { schema: SCHEMA, ok: true, file, kinds, config };
        console.say.data(&told, |width| {
            let mut text = format!("ok: {}\n", crate::shown::text::line(&told.file));
            if self.print_config {
                let mut table = Table::new(["KEY", "VALUE", "FROM"]);
                for said in &told.config {
                    table.row([&said.key, &said.value, &said.from].map(Cell::new));
                }
                text.push_str(&table.text(width));
            }
            text
        })?;
        if !alone && self.print_config {
            console.say.note("what this program's code says of its queue is not listed");
        }
        Ok(Code::Ok)
    }
}
