//! Watch: the kinds of task that this program, live processes or the file know.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::table::{Cell, Table};
use crate::client::Client;
use crate::error::Error;

/// Lists the kinds of task: those that this program knows, live processes run, or the file has counted
#[derive(Debug, Args)]
pub(crate) struct Kinds {}

#[derive(Debug, Default, Serialize)]
struct KindView {
    name: String,
    /// Whether this program knows it.
    known: bool,
    description: Option<String>,
    aliases: Vec<String>,
    /// The queues that its tasks have been in, or are to go to.
    queues: Vec<String>,
    /// Live processes that can run it.
    workers: u64,
    enqueued: u64,
    succeeded: u64,
    failed: u64,
}

impl KindView {
    fn add_queue(&mut self, queue: &str) {
        if !self.queues.iter().any(|known| known == queue) {
            self.queues.push(queue.to_owned());
            self.queues.sort_unstable();
        }
    }
}

impl Verb for Kinds {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let kinds = kinds(&client)?;
        console.say.list(&kinds, &[], |width| {
            let mut table = Table::new([
                "KIND",
                "QUEUES",
                "WORKERS",
                "ENQUEUED",
                "SUCCEEDED",
                "FAILED",
                "ABOUT",
            ]);
            for kind in &kinds {
                table.row([
                    Cell::new(&kind.name),
                    Cell::new(kind.queues.join(", ")),
                    Cell::number(kind.workers),
                    Cell::number(kind.enqueued),
                    Cell::number(kind.succeeded),
                    Cell::number(kind.failed),
                    Cell::maybe(kind.description.as_ref()),
                ]);
            }
            table.text(width)
        })?;
        Ok(Code::Ok)
    }
}

fn kinds(client: &Client) -> Result<Vec<KindView>, Error> {
    let mut kinds: BTreeMap<String, KindView> = BTreeMap::new();
    for known in client.kinds() {
        let kind = kinds.entry(known.name).or_default();
        (kind.known, kind.description, kind.aliases) = (true, known.description, known.aliases);
        kind.add_queue(&known.queue);
    }
    for worker in client.workers()? {
        for name in &worker.kinds {
            kinds.entry(name.clone()).or_default().workers += 1;
        }
    }
    for lane in client.hub.backend.totals()? {
        let kind = kinds.entry(lane.kind).or_default();
        kind.add_queue(&lane.queue);
        kind.enqueued += lane.counts.enqueued;
        kind.succeeded += lane.counts.succeeded;
        kind.failed += lane.counts.failed;
    }
    let named = kinds.into_iter().map(|(name, kind)| KindView { name, ..kind });
    Ok(named.collect())
}
