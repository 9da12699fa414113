//! Watch: shows how far tasks are, until they have ended.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::show::progress;
use super::task;
use super::wait::{Patience, known, outcome};
use crate::cli::code::{Came, Stop};
use crate::cli::console::{Console, Verb};
use crate::cli::global::Format;
use crate::cli::say::json_line;
use crate::client::Client;
use crate::id::TaskId;
use crate::shown::task::View;
use crate::shown::text::line;
use crate::snapshot::Snapshot;
use crate::watching::Watch as What;

/// Shows how far tasks are until they have ended: bars on a terminal, else a line for each change
///
/// With --format ndjson each change is a task on standard output. The exit code is 0 only if all have succeeded.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The tasks, by their ids or the parts before the dash.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl Verb for Watch {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let ids = known(&client, &self.ids)?;
        let watcher = client.watch(What::tasks(ids.iter().copied()))?;
        let patience = Patience::new(console);
        let mut board = Board::new(console);
        let mut last: BTreeMap<TaskId, Snapshot> = BTreeMap::new();
        while let Some(snapshot) = patience.next(&watcher) {
            board.show(&client, &snapshot)?;
            last.insert(snapshot.task.id, snapshot);
        }
        board.close();
        if console.say.format == Format::Json {
            let items: Result<Vec<_>, _> =
                last.values().map(|snapshot| task::item(&client, snapshot)).collect();
            console.say.list(&items?, &[], |_| String::new())?;
        }
        outcome(&client, &ids, &patience)
    }
}

/// Where it is shown.
struct Board<'a> {
    console: &'a Console,
    /// On a terminal, and for people.
    bars: Option<(MultiProgress, BTreeMap<TaskId, ProgressBar>)>,
}

impl<'a> Board<'a> {
    fn new(console: &'a Console) -> Self {
        let draws = console.say.is_human() && console.say.is_watched();
        Self { console, bars: draws.then(|| (MultiProgress::new(), BTreeMap::new())) }
    }

    fn show(&mut self, client: &Client, snapshot: &Snapshot) -> Result<(), Stop> {
        let say = self.console.say;
        match say.format {
            Format::Ndjson => return json_line(&task::item(client, snapshot)?),
            Format::Json => return Ok(()),
            Format::Human => {}
        }
        let view = task::view(client, snapshot)?;
        let Some((all, bars)) = &mut self.bars else {
            say.note(words(&view));
            return Ok(());
        };
        let bar = bars.entry(snapshot.task.id).or_insert_with(|| all.add(plain(&view.id)));
        draw(bar, &view);
        Ok(())
    }

    /// What comes next begins on a line of its own.
    fn close(self) {
        if self.bars.is_some() {
            self.console.say.note("");
        }
    }
}

fn plain(id: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:20}] {msg}");
    let bar = ProgressBar::new(100).with_prefix(id.to_owned());
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn draw(bar: &ProgressBar, view: &View) {
    let percent = view.progress.as_ref().and_then(|progress| progress.percent);
    bar.set_position(u64::from(percent.unwrap_or(0)));
    let message = format!("{} {}", line(&view.name), told(view));
    if view.ended {
        bar.abandon_with_message(message);
    } else {
        bar.set_message(message);
    }
}

/// One line for one change.
fn words(view: &View) -> String {
    line(&format!("{} {} {}", view.id, view.name, told(view)))
}

fn told(view: &View) -> String {
    let far = view.progress.as_ref().map(|bar| format!(", {}", progress(bar)));
    let why = view.waiting.as_ref().map(|waiting| format!(": {}", waiting.text));
    line(&format!("{}{}{}", view.state, far.unwrap_or_default(), why.unwrap_or_default()))
}
