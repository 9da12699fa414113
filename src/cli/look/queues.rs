//! Watch: the queues: how deep, how old, how fast, and what is paused.

use clap::Args;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::ago;
use crate::cli::table::{ALERT, Cell, Table};
use crate::rule::Scope;
use crate::shown::queues::{QueueView, queues};
use crate::state::State;
use crate::time::Timestamp;

/// Lists the queues: how deep they are, how long the oldest task waits, what is paused
#[derive(Debug, Args)]
pub(crate) struct Queues {}

impl Verb for Queues {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let overview = client.overview()?;
        let views = queues(&client, &overview)?;
        console.say.list(&views, &[], |width| table(&views, overview.at).text(width))?;
        for paused in client.paused()? {
            if let Scope::Kind(kind) = &paused.scope {
                console.say.note(format!(
                    "kind {kind} is paused since {}",
                    console.say.moment(paused.since)
                ));
            }
        }
        Ok(Code::Ok)
    }
}

/// What the command `status` shows too.
pub(crate) fn table(views: &[QueueView], now: Timestamp) -> Table {
    let mut table =
        Table::new(["QUEUE", "READY", "RUNNING", "LATER", "FAILED", "OLDEST", "PER MIN", "NOTE"]);
    for queue in views {
        let depth = |state| Cell::number(queue.depth(state));
        let later = [State::Scheduled, State::Waiting].map(|state| queue.depth(state));
        let is_capped = later.iter().any(|count| count.capped);
        let later = later.iter().map(|count| count.count).sum::<u64>();
        let failed = queue.depth(State::Failed);
        let failed = match failed.count {
            0 => Cell::number(0),
            _ => Cell::number(failed).styled(ALERT),
        };
        let paused = queue.paused_at.map(|since| format!("paused since {}", ago(since, now)));
        table.row([
            Cell::new(&queue.name),
            depth(State::Ready),
            depth(State::Running),
            Cell::new(format!("{later}{}", if is_capped { "+" } else { "" })).right(),
            failed,
            Cell::maybe(queue.oldest()),
            Cell::new(queue.rate()).right(),
            Cell::maybe(paused),
        ]);
    }
    table
}
