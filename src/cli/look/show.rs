//! Watch: all of one task.

use clap::Args;
use serde_json::value::RawValue;

use super::task;
use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::{Say, ago, lines};
use crate::cli::table::{Cell, HEAD, Table, pairs, style_of};
use crate::cli::value;
use crate::client::Client;
use crate::error::Error;
use crate::shown::detail::{Detail, Operated, Wrong};
use crate::shown::seen::Seen;
use crate::shown::task::{Bar, View};
use crate::shown::text::{exact, inert, pretty, weighed};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// Lines of the log that are shown.
const LINES: usize = 20;

/// Shows all of one task: what it is, why it does not run, its attempts and errors
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The task: its id, or the part before the dash.
    #[arg(value_name = "ID")]
    id: String,
}

impl Verb for Show {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let id = value::id(&client, &self.id)?;
        let seen = seen(&client, &client.snapshot(id)?)?;
        let say = console.say;
        say.data(&seen, |width| Page { say, seen: &seen, now: client.now(), width }.text())?;
        Ok(Code::Ok)
    }
}

fn seen(client: &Client, snapshot: &Snapshot) -> Result<Seen<View>, Error> {
    Seen::of(client, &snapshot.task, task::view(client, snapshot)?)
}

/// All of one task, as text without styles.
#[cfg(feature = "tui")]
pub(crate) fn plain(say: Say, client: &Client, snapshot: &Snapshot) -> Result<String, Error> {
    let seen = seen(client, snapshot)?;
    let text = Page { say, seen: &seen, now: client.now(), width: None }.text();
    Ok(anstream::adapter::strip_str(&text).to_string())
}

/// What people read of it.
struct Page<'a> {
    say: Say,
    seen: &'a Seen<View>,
    now: Timestamp,
    width: Option<usize>,
}

impl Page<'_> {
    fn text(&self) -> String {
        let mut text = pairs(self.facts(), self.width);
        let detail = self.seen.whole.detail.as_ref();
        let error = detail.and_then(|detail| {
            detail.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())
        });
        if let Some(error) = error {
            text.push_str(&headed("Error", &wrong(error)));
        }
        if let Some(detail) = detail {
            text.push_str(&headed("Arguments", &json(detail.arguments.as_deref())));
            if let Some(result) = &detail.result {
                text.push_str(&headed("Result", &json(Some(result))));
            }
            text.push_str(&self.attempts(detail));
            text.push_str(&self.log(detail));
        }
        text.push_str(&self.rest());
        text
    }

    fn at(&self, at: Option<Timestamp>) -> Option<Cell> {
        let at = at?;
        Some(Cell::new(format!("{}, {}", self.say.moment(at), ago(at, self.now))))
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let seen = self.seen;
        let view = &seen.whole.item.view;
        let reason = view.reason.map(|reason| format!(" ({})", reason.as_str().replace('_', " ")));
        let state = format!("{}{}", view.state, reason.unwrap_or_default());
        let why = seen.why.as_ref().map(|why| Cell::new(&why.text));
        let took = view.started_at.zip(view.finished_at).map(|(from, to)| from.until(to));
        let name = (view.name != view.kind).then(|| Cell::new(&view.name));
        let facts = [
            ("id", Some(Cell::new(&view.id))),
            ("kind", Some(Cell::new(&view.kind))),
            ("name", name),
            ("state", Some(Cell::new(state).styled(style_of(view.state)))),
            ("why", why),
            ("progress", view.progress.as_ref().map(|bar| Cell::new(progress(bar)))),
            ("message", view.message.as_ref().map(|message| Cell::new(&message.text))),
            ("attempt", Some(Cell::new(format!("{} of {}", view.attempt, view.attempts_max)))),
            ("enqueued", self.at(Some(view.enqueued_at))),
            ("due", self.at(Some(view.due_at).filter(|_| view.started_at.is_none()))),
            ("started", self.at(view.started_at)),
            ("ended", self.at(view.finished_at)),
            ("took", took.map(|took| Cell::new(exact(took)))),
            ("schedule", seen.schedule.as_ref().map(Cell::new)),
        ];
        let operated = seen.whole.item.operated.as_ref().map(|told| self.operated(told));
        let facts = facts.into_iter().chain(operated.into_iter().flatten());
        facts.filter_map(|(name, cell)| Some((name, cell?))).collect()
    }

    fn operated(&self, told: &Operated) -> Vec<(&'static str, Option<Cell>)> {
        let count = |count: u32| Some(count).filter(|count| *count > 0).map(Cell::number);
        let worker = told.worker.as_ref().map(|worker| match &worker.name {
            Some(name) => format!("{name} ({})", worker.id),
            None => worker.id.to_string(),
        });
        vec![
            ("queue", Some(Cell::new(&told.queue))),
            ("priority", Some(Cell::number(told.priority))),
            ("owner", told.owner.as_ref().map(Cell::new)),
            ("tags", Some(told.tags.join(", ")).filter(|tags| !tags.is_empty()).map(Cell::new)),
            ("key", told.key.as_ref().map(Cell::new)),
            ("trace", told.trace.as_ref().map(Cell::new)),
            ("batch", told.batch.as_ref().map(Cell::new)),
            ("worker", worker.map(Cell::new)),
            ("expires", self.at(told.expires_at)),
            ("crashes", count(told.crashes)),
            ("snoozes", count(told.snoozes)),
            ("stuck", told.stuck.then(|| Cell::new("it did not stop at its time-out"))),
        ]
    }

    fn attempts(&self, detail: &Detail) -> String {
        let mut table = Table::new(["ATTEMPT", "OUTCOME", "STARTED", "TOOK", "ERROR"]);
        for attempt in &detail.attempts {
            let took = attempt.started_at.zip(attempt.finished_at);
            table.row([
                Cell::number(attempt.n),
                Cell::new(&attempt.outcome),
                Cell::maybe(attempt.started_at.map(|at| self.say.moment(at))),
                Cell::maybe(took.map(|(from, to)| exact(from.until(to)))),
                Cell::maybe(attempt.error.as_ref().map(|error| &error.message)),
            ]);
        }
        let is_plain = detail.attempts.len() < 2;
        if is_plain { String::new() } else { headed("Attempts", &table.text(self.width)) }
    }

    fn log(&self, detail: &Detail) -> String {
        let newest = detail.log.iter().skip(detail.log.len().saturating_sub(LINES));
        let lines = newest.map(|line| {
            let at = self.say.moment(line.at);
            format!("{at} {}: {}\n", line.level, crate::shown::text::line(&line.text))
        });
        headed("Log", &lines.collect::<String>())
    }

    /// Steps, what it has left, and the flow that it stands for.
    fn rest(&self) -> String {
        let mut steps = Table::new(["STEP", "STORED", "VALUE"]);
        for step in &self.seen.steps {
            let stored = self.say.moment(step.stored_at);
            steps.row([Cell::new(&step.name), Cell::new(stored), Cell::new(&step.value)]);
        }
        let mut left = Table::new(["ARTIFACT", "KIND", "SIZE", "TYPE"]);
        for artifact in &self.seen.whole.item.view.artifacts {
            left.row([
                Cell::new(&artifact.name),
                Cell::new(artifact.kind),
                Cell::new(weighed(artifact.size)).right(),
                Cell::new(&artifact.media_type),
            ]);
        }
        let mut members = Table::new(["MEMBER", "STATE", "NAME"]);
        for member in self.seen.flow.iter().flat_map(|flow| &flow.members) {
            members.row([
                Cell::new(&member.id),
                Cell::state(member.state),
                Cell::new(&member.name),
            ]);
        }
        let tables = [("Steps", steps), ("Artifacts", left), ("Flow", members)];
        let shown = tables.iter().filter(|(_, table)| !table.is_empty());
        shown.map(|(head, table)| headed(head, &table.text(self.width))).collect()
    }
}

fn headed(head: &str, body: &str) -> String {
    if body.is_empty() { String::new() } else { format!("\n{HEAD}{head}{HEAD:#}\n{body}") }
}

/// How far it is, as in `40 of 90 pages, 44 %, about 3 min left: reading`.
pub(crate) fn progress(bar: &Bar) -> String {
    let of = bar.total.map(|total| format!(" of {total}")).unwrap_or_default();
    let unit = bar.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let percent = bar.percent.map(|percent| format!(", {percent} %")).unwrap_or_default();
    let left = bar.eta_ms.map(|ms| {
        let span = crate::shown::text::rough(std::time::Duration::from_millis(ms));
        format!(", about {span} left")
    });
    let stage = bar.stage.as_ref().map(|stage| format!(": {stage}")).unwrap_or_default();
    format!("{}{of}{unit}{percent}{}{stage}", bar.done, left.unwrap_or_default())
}

fn wrong(error: &Wrong) -> String {
    let code = error.code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
    let what = format!("{}{code}: {}", error.kind, error.message);
    let causes = error.causes.iter().map(|cause| format!("  because: {cause}"));
    let group = format!("  group: {}", error.fingerprint);
    let frames = error.backtrace.as_ref().map(|frames| frames.trim_end().to_owned());
    let all = std::iter::once(what).chain(causes).chain([group]).chain(frames);
    lines(all.map(|text| inert(&text)))
}

fn json(raw: Option<&RawValue>) -> String {
    raw.map_or_else(
        || "(too long to be shown)\n".to_owned(),
        |raw| format!("{}\n", pretty(raw.get())),
    )
}
