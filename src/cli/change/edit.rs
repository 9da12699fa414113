//! Operate: stores changed copies of tasks.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::many::{Deed, Target, Which, preview, progress};
use crate::bulk::Bulked;
use crate::cli::ask::confirmed;
use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::look::task;
use crate::cli::value;
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::operate::Edit as Change;
use crate::redact::HIDDEN;
use crate::shown::detail::Item;
use crate::shown::task::View;
use crate::shown::text::tasks;
use crate::state::State;
use crate::time::Timestamp;
use crate::zone::Zone;

/// Stores a changed copy of a task, and cancels that one if it has not started
///
/// What has run stays in the record as it was. The copy is due when the task was to be, or now. Of many, only those are
/// copied that have not started, unless --state names others.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    #[command(flatten)]
    which: Which,
    /// All arguments anew: JSON as it stands, @FILE, or - for standard input.
    #[arg(long, short = 'a', value_name = "JSON", allow_hyphen_values = true)]
    args: Option<String>,
    /// One argument, as in --set width=640: JSON, or else a text; may be said several times.
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "args")]
    set: Vec<String>,
    /// Without this argument, so that the parameter's default holds.
    #[arg(long, value_name = "NAME", conflicts_with = "args")]
    unset: Vec<String>,
    /// In this queue.
    #[arg(long = "to-queue", value_name = "QUEUE")]
    to_queue: Option<String>,
    /// -100 to 100; higher runs first.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// How many attempts it may have, 1 to 1000.
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// Run it after this span, such as 5m.
    #[arg(long = "in", value_name = "SPAN", value_parser = value::span, conflicts_with = "at")]
    after: Option<Duration>,
    /// Run it at this moment: RFC 3339 with an offset, or local time of --zone.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The time zone of --at, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", value_parser = value::zone, requires = "at")]
    zone: Option<Zone>,
}

/// What is changed of each.
#[derive(Debug)]
struct Changes {
    all: Option<Map<String, Value>>,
    set: Vec<(String, Value)>,
    unset: Vec<String>,
    queue: Option<String>,
    priority: Option<i32>,
    attempts: Option<u32>,
    at: Option<Timestamp>,
    after: Option<Duration>,
}

impl Edit {
    fn changes(&self, console: &Console) -> Result<Changes, Error> {
        let all = self.args.as_ref().map(|text| {
            let object = value::object(text, console.limits())?;
            if object.contains(HIDDEN) {
                let allowed = "the value itself; change others one by one with --set NAME=VALUE";
                return Err(Error::invalid("bad_arguments", "hidden argument", HIDDEN, allowed));
            }
            serde_json::from_str(&object).map_err(|error| {
                Error::invalid("bad_json", "arguments", &object, error.to_string())
            })
        });
        let changes = Changes {
            all: all.transpose()?,
            set: self.set.iter().map(|text| argument(text)).collect::<Result<_, _>>()?,
            unset: self.unset.clone(),
            queue: self.to_queue.clone(),
            priority: self.priority,
            attempts: self.attempts,
            at: self.at.as_ref().map(|at| value::moment(at, self.zone)).transpose()?,
            after: self.after,
        };
        if changes.are_none() {
            let allowed =
                "--args, --set, --unset, --to-queue, --priority, --attempts, --in or --at";
            return Err(Error::invalid("no_change", "change", format_args!("not said"), allowed));
        }
        Ok(changes)
    }
}

/// `NAME=VALUE`: what is no JSON is a text.
fn argument(text: &str) -> Result<(String, Value), Error> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        let allowed = "NAME=VALUE, as in width=640";
        return Err(Error::invalid("bad_arguments", "argument", text, allowed));
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

impl Changes {
    fn are_none(&self) -> bool {
        self.all.is_none()
            && self.set.is_empty()
            && self.unset.is_empty()
            && self.queue.is_none()
            && self.priority.is_none()
            && self.attempts.is_none()
            && self.at.is_none()
            && self.after.is_none()
    }

    fn apply(&self, edit: Change) -> Change {
        let edit = match &self.all {
            Some(all) => edit.with_arguments(all.clone()),
            None => edit,
        };
        let edit =
            self.set.iter().fold(edit, |edit, (name, value)| edit.argument(name, value.clone()));
        let edit = self.unset.iter().fold(edit, |edit, name| edit.without_argument(name));
        let edit = self.queue.iter().fold(edit, |edit, queue| edit.queue(queue.clone()));
        let edit = self.priority.into_iter().fold(edit, Change::priority);
        let edit = self.attempts.into_iter().fold(edit, Change::attempts);
        let edit = self.at.into_iter().fold(edit, Change::run_at);
        self.after.into_iter().fold(edit, Change::run_after)
    }
}

/// The copy of one task.
#[derive(Debug, Serialize)]
struct Copy {
    #[serde(flatten)]
    item: Item<View>,
    /// What it is a copy of.
    copy_of: String,
}

impl Verb for Edit {
    fn run(self, console: &mut Console) -> Came {
        if !self.which.is_dry() {
            console.check_may_change()?;
        }
        let changes = self.changes(console)?;
        let client =
            if self.which.is_dry() { console.open()? } else { console.open_to_change()? };
        match self.which.target(&client)? {
            Target::One(id) if !self.which.is_dry() => {
                let copied = client.edit_as_copy(id, |edit| changes.apply(edit))?;
                let item = task::item_of(&client, copied.id)?;
                let copy = Copy { item, copy_of: id.to_string() };
                console.say.data(&copy, |_| format!("{}\n", copied.id))?;
                console.say.note(format!("a copy of {id}"));
                Ok(Code::Ok)
            }
            Target::One(id) => many(console, &client, &changes, Filter::new().id(id), true),
            Target::Many(meant) => {
                many(console, &client, &changes, meant.filter, self.which.is_dry())
            }
            Target::Group(_) => {
                let allowed = "ids or a filter: failed tasks are retried, or copied one by one";
                Err(Error::invalid("unsupported", "flag of edit", "--fingerprint", allowed).into())
            }
        }
    }
}

fn many(
    console: &Console,
    client: &Client,
    changes: &Changes,
    mut filter: Filter,
    dry: bool,
) -> Came {
    if filter.states.is_empty() {
        filter.states = vec![State::Scheduled, State::Ready, State::Waiting];
    }
    let count = client.bulk(&filter).count()?;
    let done = if dry || count == 0 {
        Deed::new("edit", dry, count, Bulked::default())
    } else {
        preview(console, client, &filter, count)?;
        confirmed(console, &format!("Store changed copies of {}?", tasks(count)))?;
        let so_far = |came: &Bulked| progress(console, count, came);
        let bulk = client.bulk(&filter).expecting(count).on_slice(so_far);
        let came = bulk.edit_as_copy(|edit| changes.apply(edit))?;
        Deed::new("edit", false, count, came)
    };
    console.say.data(&done, |_| done.text("copied with changes"))?;
    Ok(Code::Ok)
}
