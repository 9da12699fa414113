//! Watch: waits until tasks have ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;

use super::task;
use crate::cli::code::{Came, Code, Stop};
use crate::cli::console::{Console, Verb};
use crate::cli::global::Format;
use crate::cli::say::{json_line, print};
use crate::cli::value;
use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::watching::{WATCH_IDS_MAX, Watch, Watcher};

/// Waits until tasks have ended; the exit code is 0 only if all have succeeded
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The tasks, by their ids or the parts before the dash.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl Verb for Wait {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let ids = known(&client, &self.ids)?;
        until_ended(console, &client, &ids)
    }
}

/// Tasks that are there, each once.
pub(crate) fn known(client: &Client, ids: &[String]) -> Result<Vec<TaskId>, Error> {
    let mut known: Vec<TaskId> = Vec::with_capacity(ids.len());
    for text in ids {
        let id = value::id(client, text)?;
        client.get(id)?;
        if !known.contains(&id) {
            known.push(id);
        }
    }
    if known.len() > WATCH_IDS_MAX {
        let allowed = "at most 1000; wait for them in parts";
        return Err(Error::invalid("too_many_ids", "tasks to wait for", known.len(), allowed));
    }
    Ok(known)
}

/// Prints each as it ends, and says how all have ended.
pub(crate) fn until_ended(console: &Console, client: &Client, ids: &[TaskId]) -> Came {
    let say = console.say;
    let mut ended: BTreeMap<TaskId, Snapshot> = BTreeMap::new();
    let watcher = client.watch(Watch::tasks(ids.iter().copied()))?;
    let alone = nobody_runs(client, ids)?;
    if alone > 0 {
        say.note(format!("no live process runs {alone} of them: waiting for one that does"));
    }
    let patience = Patience::new(console);
    while let Some(snapshot) = patience.next(&watcher) {
        if !snapshot.task.state.is_final() || ended.contains_key(&snapshot.task.id) {
            continue;
        }
        tell(console, client, &snapshot)?;
        ended.insert(snapshot.task.id, snapshot);
    }
    if say.format == Format::Json {
        let items = ended.values().map(|snapshot| task::item(client, snapshot));
        let items = items.collect::<Result<Vec<_>, Error>>()?;
        say.list(&items, &[], |_| String::new())?;
    }
    outcome(client, ids, &patience)
}

fn tell(console: &Console, client: &Client, snapshot: &Snapshot) -> Result<(), Stop> {
    let of = &snapshot.task;
    match console.say.format {
        Format::Json => Ok(()),
        Format::Ndjson => json_line(&task::item(client, snapshot)?),
        Format::Human => {
            let note = task::note(client, snapshot);
            let note = if note.is_empty() { note } else { format!(" ({note})") };
            let line = format!("{} {} {}{note}", of.id, of.kind, of.state);
            print(&format!("{}\n", crate::shown::text::line(&line)))
        }
    }
}

/// How all have ended, as they stand now: one may have gone, or been run again.
pub(crate) fn outcome(client: &Client, ids: &[TaskId], patience: &Patience) -> Came {
    let mut code = Code::Ok;
    for id in ids {
        let state = match client.get(*id) {
            Err(error) if error.is_not_found() => return Err(error.into()),
            task => task?.state,
        };
        if !state.is_final() {
            return Err(patience.over(*id).into());
        }
        if state != State::Succeeded {
            code = Code::Failed;
        }
    }
    Ok(code)
}

/// How many are waiting for a process that is not there.
fn nobody_runs(client: &Client, ids: &[TaskId]) -> Result<usize, Error> {
    let mut alone = 0;
    for id in ids {
        let task = client.get(*id)?;
        alone += usize::from(client.hub.nobody_runs(&task)?);
    }
    Ok(alone)
}

/// How long somebody is ready to wait.
pub(crate) struct Patience {
    began: Instant,
    most: Option<Duration>,
}

impl Patience {
    pub(crate) fn new(console: &Console) -> Self {
        Self { began: Instant::now(), most: console.global.timeout }
    }

    /// What is left of it.
    fn left(&self) -> Option<Duration> {
        self.most.map(|most| most.saturating_sub(self.began.elapsed()))
    }

    /// The next change; none when there will be none, or it is over.
    pub(crate) fn next(&self, watcher: &Watcher) -> Option<Snapshot> {
        match self.left() {
            Some(left) => watcher.recv_timeout(left),
            None => watcher.recv(),
        }
    }

    /// The same, and nothing after this pause; none at the end.
    pub(crate) fn next_within(&self, watcher: &Watcher, pause: Duration) -> Heard {
        let left = self.left();
        match watcher.receiver().recv_timeout(left.map_or(pause, |left| left.min(pause))) {
            Ok(_) => Heard::Change,
            Err(error) if error.is_timeout() && left.is_none_or(|left| left > pause) => {
                Heard::Nothing
            }
            Err(_) => Heard::End,
        }
    }

    pub(crate) fn over(&self, id: TaskId) -> Error {
        Error::Timeout { id, after: self.began.elapsed() }
    }
}

/// What came of waiting for a while.
pub(crate) enum Heard {
    Change,
    Nothing,
    /// There will be no more.
    End,
}
