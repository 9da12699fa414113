//! Finish: removes what ended long ago.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::ask::confirmed;
use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::table::{Cell, Table};
use crate::cli::value;
use crate::error::Error;
use crate::options::{QUEUE_DEFAULT, check_name};
use crate::retention::{Keep, Prune as Wish, Pruned, Retention};
use crate::shown::task::SCHEMA;
use crate::shown::text::tasks;
use crate::state::State;

/// Removes tasks that ended long ago, with their arguments, results and errors
///
/// Without an age, by the retention of the settings: what failed goes 30 days after its end, the rest after 7. What has
/// not ended, what others wait for, and the newest task of all stay.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Only in these queues, separated by commas; * for all.
    #[arg(long, value_name = "QUEUES", default_value = QUEUE_DEFAULT, value_delimiter = ',')]
    queue: Vec<String>,
    /// What ended so long ago or longer, such as 14d; 0s for all that has ended.
    #[arg(long, value_name = "SPAN", value_parser = age)]
    min_age: Option<Duration>,
    /// The same for what failed [default: --min-age].
    #[arg(long, value_name = "SPAN", value_parser = age)]
    failed_min_age: Option<Duration>,
    /// Only count it.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// The machine's time is right, although its clock has jumped.
    #[arg(long)]
    clock_is_right: bool,
}

/// A span; plain 0 is one too.
fn age(text: &str) -> Result<Duration, Error> {
    if text == "0" { Ok(Duration::ZERO) } else { value::span(text) }
}

#[derive(Debug, Serialize)]
struct Told {
    schema: u8,
    dry_run: bool,
    total: u64,
    items: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    queue: String,
    state: State,
    count: u64,
}

impl Told {
    fn new(pruned: &Pruned) -> Self {
        let items = pruned.tasks.iter().map(|((queue, state), count)| Row {
            queue: queue.clone(),
            state: *state,
            count: *count,
        });
        let items = items.collect();
        Self { schema: SCHEMA, dry_run: pruned.dry_run, total: pruned.total(), items }
    }

    fn text(&self, width: Option<usize>) -> String {
        let what = if self.dry_run { "would be removed" } else { "removed" };
        let mut text = format!("{} {what}\n", tasks(self.total));
        if !self.items.is_empty() {
            let mut table = Table::new(["QUEUE", "STATE", "COUNT"]);
            for row in &self.items {
                table.row([Cell::new(&row.queue), Cell::state(row.state), Cell::number(row.count)]);
            }
            text.push_str(&table.text(width));
        }
        text
    }
}

impl Verb for Prune {
    fn run(self, console: &mut Console) -> Came {
        let wish = self.wish()?;
        let client = if self.dry_run { console.open()? } else { console.open_to_change()? };
        let would = client.prune(wish.clone().dry_run())?;
        if self.dry_run || would.total() == 0 {
            let told = Told::new(&Pruned { dry_run: self.dry_run, ..would });
            console.say.data(&told, |width| told.text(width))?;
            return Ok(Code::Ok);
        }
        confirmed(console, &format!("Remove {}?", tasks(would.total())))?;
        let told = Told::new(&client.prune(wish)?);
        console.say.data(&told, |width| told.text(width))?;
        Ok(Code::Ok)
    }
}

impl Prune {
    fn wish(&self) -> Result<Wish, Error> {
        let mut wish = match (self.min_age, self.failed_min_age) {
            (None, None) => Wish::new(),
            (Some(age), failed) => {
                let failed = Keep::age(failed.unwrap_or(age));
                Wish::by(Retention::all(Keep::age(age)).failed(failed))
            }
            (None, Some(failed)) => Wish::by(Retention::default().failed(Keep::age(failed))),
        };
        if self.queue.iter().any(|queue| queue == "*") {
            if self.queue.len() > 1 {
                let allowed = "* alone, or the names of queues";
                return Err(Error::invalid("bad_queue", "--queue", self.queue.join(","), allowed));
            }
        } else {
            for queue in &self.queue {
                check_name("bad_queue", "queue name", queue)?;
                wish = wish.queue(queue);
            }
        }
        Ok(if self.clock_is_right { wish.confirmed() } else { wish })
    }
}
