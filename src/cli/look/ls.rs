//! Watch: lists tasks.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::task;
use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::filter::{self, FilterFlags};
use crate::cli::say::{ago, json_line};
use crate::cli::table::{Cell, Table};
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::overview::Browsed;
use crate::shown::failures::Group;
use crate::snapshot::Snapshot;

/// Tasks that are read at once.
const PAGE: usize = 1_000;

/// Lists tasks, newest first: those that pass all of the filter
///
/// Terms such as `state:failed kind:mail since:6h` and the flags below mean the same. Where only ended states are named,
/// what has ended last comes first.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Terms of the filter, such as state:failed, or ids.
    #[arg(value_name = "FILTER")]
    words: Vec<String>,
    #[command(flatten)]
    flags: FilterFlags,
    /// At most so many tasks; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// Go on where an earlier list has ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Group failed tasks instead, the newest 10,000 of those that pass the filter, by what they have in common.
    #[arg(long, value_name = "BY", conflicts_with = "cursor")]
    group: Option<By>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Errors that look alike.
    Error,
    /// The kind.
    Kind,
    /// The queue.
    Queue,
}

impl Verb for Ls {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let meant = filter::meant(&client, &self.words, &self.flags)?;
        if let Some(by) = self.group {
            return groups(console, &client, (by, meant.filter), self.limit);
        }
        let filter = &meant.filter;
        let mut from = self.cursor.as_deref().map(str::parse).transpose()?;
        let mut left = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut shown: Vec<Snapshot> = Vec::new();
        let mut any = self.cursor.is_some();
        let say = console.say;
        while left > 0 {
            let page = client.browse(filter, from, left.min(PAGE))?;
            unreadable(console, &page);
            any |= !(page.tasks.is_empty() && page.bad.is_empty());
            let found = snapshots(&client, &page)?;
            left = left.saturating_sub(page.tasks.len() + page.bad.len());
            from = page.next;
            if say.format == crate::cli::global::Format::Ndjson {
                // As they come: there may be very many.
                for snapshot in &found {
                    json_line(&task::item(&client, snapshot)?)?;
                }
            } else {
                shown.extend(found);
            }
            if from.is_none() {
                break;
            }
        }
        meant.check_found(any)?;
        let next = from.map(|from| from.to_string());
        if say.format != crate::cli::global::Format::Ndjson {
            let items = shown.iter().map(|snapshot| task::item(&client, snapshot));
            let items = items.collect::<Result<Vec<_>, Error>>()?;
            say.list(&items, &[("next", next.clone().into())], |width| {
                table(&client, &shown).text(width)
            })?;
        }
        if let Some(next) = next {
            say.note(format!("there are more: --cursor {next}, or --limit 0 for all"));
        }
        inbox(console, &client)?;
        Ok(Code::Ok)
    }
}

/// Rows that another program has written or damaged are no tasks, but whoever looks should know of them.
fn unreadable(console: &Console, page: &Browsed) {
    for bad in &page.bad {
        console.say.note(format!("row {} cannot be read: {}: {}", bad.row, bad.column, bad.reason));
    }
}

fn snapshots(client: &Client, page: &Browsed) -> Result<Vec<Snapshot>, Error> {
    let mut found = Vec::with_capacity(page.tasks.len());
    for task in &page.tasks {
        match client.snapshot(task.id) {
            // It has gone since it was listed.
            Err(error) if error.is_not_found() => {}
            snapshot => found.push(snapshot?),
        }
    }
    Ok(found)
}

/// What other languages have asked for and nobody has taken yet.
fn inbox(console: &Console, client: &Client) -> Result<(), Error> {
    for waiting in client.inbox()?.waiting {
        let (rows, kind) = (waiting.rows, waiting.kind);
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        let text =
            format!("{rows} of kind {kind} in the inbox: a program that knows it takes them");
        console.say.note(text);
    }
    Ok(())
}

fn table(client: &Client, shown: &[Snapshot]) -> Table {
    let now = client.now();
    let mut table = Table::new(["ID", "STATE", "KIND", "QUEUE", "PRI", "TRY", "AGE", "NOTE"]);
    for snapshot in shown {
        let of = &snapshot.task;
        table.row([
            Cell::new(of.id.to_string()),
            Cell::state(of.state),
            Cell::new(of.name.as_deref().map_or_else(
                || of.kind.clone(),
                |name| format!("{} ({})", of.kind, client.redacted_text(&of.kind, name)),
            )),
            Cell::new(&of.queue),
            Cell::number(of.priority),
            Cell::new(format!("{}/{}", of.attempt, of.attempts_max)).right(),
            Cell::new(ago(of.finished_at.unwrap_or(of.enqueued_at), now).replace(" ago", "")),
            Cell::new(task::note(client, snapshot)),
        ]);
    }
    table
}

/// Failed tasks of one kind or queue.
#[derive(Debug, Serialize)]
struct Sum {
    name: String,
    count: u64,
}

fn groups(console: &Console, client: &Client, (by, filter): (By, Filter), limit: usize) -> Came {
    let most = if limit == 0 { usize::MAX } else { limit };
    let failures = client.failures_among(&filter)?;
    let looked_at = failures.looked_at.to_string();
    let groups = failures.groups.iter().map(|group| Group::of(client, group));
    let groups: Vec<Group> = groups.collect();
    let now = client.now();
    if by == By::Error {
        let shown = &groups[..groups.len().min(most)];
        console.say.list(shown, &[("looked_at", looked_at.into())], |width| {
            let mut table = Table::new(["GROUP", "COUNT", "KIND", "LAST", "ERROR"]);
            for group in shown {
                table.row([
                    Cell::new(&group.fingerprint),
                    Cell::number(group.count),
                    Cell::new(&group.kind),
                    Cell::new(ago(group.last_at, now)),
                    Cell::new(format!("{}: {}", group.error, group.text)),
                ]);
            }
            table.text(width)
        })?;
        return Ok(Code::Ok);
    }
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for group in &groups {
        let name = if by == By::Kind { &group.kind } else { &group.queue };
        *sums.entry(name).or_default() += group.count;
    }
    let sums = sums.into_iter().map(|(name, count)| Sum { name: name.to_owned(), count });
    let mut sums: Vec<Sum> = sums.collect();
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.count));
    sums.truncate(most);
    console.say.list(&sums, &[("looked_at", looked_at.into())], |width| {
        let mut table = Table::new(["NAME", "FAILED"]);
        for sum in &sums {
            table.row([Cell::new(&sum.name), Cell::number(sum.count)]);
        }
        table.text(width)
    })?;
    Ok(Code::Ok)
}
