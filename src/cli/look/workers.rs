//! Watch: the live processes that run tasks, and what each has in hand.

use clap::Args;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::ago;
use crate::cli::table::{Cell, Table};
use crate::shown::workers::WorkerView;

/// Tasks of one process that are named.
const NAMED: usize = 3;

/// Lists the live processes that run tasks, and what each has in hand
#[derive(Debug, Args)]
pub(crate) struct Workers {}

impl Verb for Workers {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let views: Vec<WorkerView> = client.workers()?.iter().map(WorkerView::of).collect();
        let now = client.now();
        console.say.list(&views, &[], |width| {
            let mut table = Table::new(["NAME", "PID", "BUSY", "SINCE", "SERVES", "RUNS"]);
            for worker in &views {
                let runs = worker.running.iter().take(NAMED);
                let runs = runs
                    .map(|task| format!("{} {} {}", task.id, task.kind, ago(task.started_at, now)));
                let more = worker.running.len().saturating_sub(NAMED);
                let more = (more > 0).then(|| format!("{more} more"));
                table.row([
                    Cell::new(&worker.name),
                    Cell::number(worker.pid),
                    Cell::new(format!("{}/{}", worker.busy(), worker.threads)).right(),
                    Cell::new(ago(worker.since, now)),
                    Cell::new(worker.serves_words()),
                    Cell::new(runs.chain(more).collect::<Vec<_>>().join(", ")),
                ]);
            }
            table.text(width)
        })?;
        for unserved in client.unserved()? {
            let (kind, queue) = (unserved.kind, unserved.queue);
            console.say.note(format!("nobody runs tasks of kind {kind} in queue {queue}"));
        }
        Ok(Code::Ok)
    }
}
