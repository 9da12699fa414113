//! Operate: what is done to tasks alike, whether one or many: run again, cancelled, forgotten, made due now.
//!
//! What is done to many is counted first. Then somebody confirms it, and it is done in slices, each noted in the audit.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use clap::Args;
use serde::Serialize;

use crate::backend::Cancelled;
use crate::bulk::Bulked;
use crate::cli::ask::confirmed;
use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::filter::{FilterFlags, Meant, meant};
use crate::client::Client;
use crate::doing::Doing;
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::shown::task::SCHEMA;
use crate::shown::text::{grouped, tasks};

/// Tasks that are named before it is done.
const NAMED: usize = 5;

// No doc comment: it would be taken for the help of whatever this is part of.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The tasks: ids, or the parts before the dash, or terms of a filter such as state:failed.
    #[arg(value_name = "ID")]
    words: Vec<String>,
    #[command(flatten)]
    flags: FilterFlags,
    /// The failed tasks whose errors look alike, as `ls --group error` groups them.
    #[arg(long, value_name = "GROUP")]
    fingerprint: Option<String>,
    /// All tasks.
    #[arg(long)]
    all: bool,
    /// Only count them.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Which tasks these are.
pub(crate) enum Target {
    One(TaskId),
    Many(Box<Meant>),
    Group(String),
}

impl Which {
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Refuses what is not narrowed, unless all are meant.
    pub(crate) fn target(&self, client: &Client) -> Result<Target, Error> {
        let meant = meant(client, &self.words, &self.flags)?;
        let ways = usize::from(meant.is_narrow)
            + usize::from(self.fingerprint.is_some())
            + usize::from(self.all);
        if ways != 1 {
            let allowed = "one of: ids or a filter, --fingerprint, --all";
            let said =
                format_args!("{}", if ways == 0 { "not said" } else { "said in several ways" });
            return Err(Error::invalid("which_tasks", "tasks that are meant", said, allowed));
        }
        if let Some(group) = &self.fingerprint {
            return Ok(Target::Group(group.clone()));
        }
        for id in &meant.named {
            client.get(*id)?;
        }
        let alone = Filter { ids: meant.filter.ids.clone(), ..Filter::new() };
        match meant.named.as_slice() {
            [one] if meant.filter == alone => Ok(Target::One(*one)),
            _ => Ok(Target::Many(Box::new(meant))),
        }
    }
}

/// Runs tasks again that have ended, with what has ended because of them
///
/// One task is run again at once. Of many, those that failed, were cancelled or skipped are counted first; --state
/// succeeded names others.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    which: Which,
}

/// Cancels tasks that have not started, and asks those that run to stop
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    which: Which,
}

/// Forgets tasks that do not run, with their arguments, results and errors
#[derive(Debug, Args)]
pub(crate) struct Rm {
    #[command(flatten)]
    which: Which,
}

/// Makes tasks due now that are scheduled or back off
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    which: Which,
}

impl Verb for Retry {
    fn run(self, console: &mut Console) -> Came {
        act(console, Doing::Retry, &self.which)
    }
}

impl Verb for Cancel {
    fn run(self, console: &mut Console) -> Came {
        act(console, Doing::Cancel, &self.which)
    }
}

impl Verb for Rm {
    fn run(self, console: &mut Console) -> Came {
        act(console, Doing::Delete, &self.which)
    }
}

impl Verb for Run {
    fn run(self, console: &mut Console) -> Came {
        act(console, Doing::Run, &self.which)
    }
}

/// What it came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Deed {
    pub(crate) schema: u8,
    pub(crate) action: &'static str,
    pub(crate) dry_run: bool,
    /// How many there were.
    pub(crate) matched: u64,
    pub(crate) done: u64,
    /// How many run and were asked to stop.
    pub(crate) asked: u64,
    /// How many were in a state in which it cannot be done.
    pub(crate) left: u64,
}

impl Deed {
    pub(crate) fn new(action: &'static str, dry_run: bool, matched: u64, came: Bulked) -> Self {
        let Bulked { done, asked, left, .. } = came;
        Self { schema: SCHEMA, action, dry_run, matched, done, asked, left }
    }

    pub(crate) fn text(&self, done: &str) -> String {
        if self.dry_run {
            return format!("{} would be {done}\n", tasks(self.matched));
        }
        let mut text = format!("{} {done}", tasks(self.done));
        // Writing to a text cannot fail.
        if self.asked > 0 {
            let _never = write!(text, ", {} asked to stop", grouped(self.asked));
        }
        if self.left > 0 {
            let _never = write!(text, ", {} left as they are", grouped(self.left));
        }
        text + "\n"
    }
}

fn act(console: &mut Console, doing: Doing, which: &Which) -> Came {
    let dry = which.is_dry();
    let client = if dry { console.open()? } else { console.open_to_change()? };
    match which.target(&client)? {
        Target::One(id) if !dry => one(console, &client, doing, id),
        Target::One(id) => {
            let filter = Filter::new().id(id);
            many(console, &client, doing, &Meant { filter, named: vec![id], is_narrow: true }, dry)
        }
        Target::Many(meant) => many(console, &client, doing, &meant, dry),
        Target::Group(group) => alike(console, &client, doing, &group, dry),
    }
}

/// To one task it is done at once, unless it cannot be taken back; and it is told why it cannot be done.
fn one(console: &Console, client: &Client, doing: Doing, id: TaskId) -> Came {
    let mut came = Bulked::default();
    match doing {
        Doing::Retry => client.retry(id)?,
        Doing::Run => client.reschedule(id, client.now())?,
        Doing::Delete => {
            let task = client.get(id)?;
            confirmed(console, &format!("Delete task {id} ({}, {})?", task.kind, task.state))?;
            client.delete(id)?;
        }
        Doing::Cancel => match client.cancel(id)? {
            Cancelled::Now => {}
            Cancelled::Requested => came.asked = 1,
            Cancelled::AlreadyFinished => {
                let state = client.get(id)?.state;
                let instead = "there is nothing to cancel";
                let code = "already_finished";
                return Err(Error::WrongState { code, id, state, instead }.into());
            }
        },
    }
    came.done = 1 - came.asked;
    let done = Deed::new(doing.as_str(), false, 1, came);
    console.say.data(&done, |_| match came.asked {
        0 => format!("{id} {}\n", doing.done()),
        _ => format!("{id} runs, and was asked to stop\n"),
    })?;
    Ok(Code::Ok)
}

fn many(console: &Console, client: &Client, doing: Doing, meant: &Meant, dry: bool) -> Came {
    let filter = doing.narrowed(&meant.filter);
    let count = filter.as_ref().map_or(Ok(0), |filter| client.bulk(filter).count())?;
    let wanted = meant.named.len() as u64;
    if dry || count == 0 {
        let left = if dry { 0 } else { wanted };
        let came = Bulked { left, ..Bulked::default() };
        tell(console, doing, Deed::new(doing.as_str(), dry, count, came))?;
        return Ok(if !dry && wanted > 0 { Code::Conflict } else { Code::Ok });
    }
    let Some(filter) = filter else { return Ok(Code::Ok) };
    preview(console, client, &filter, count)?;
    confirmed(console, &format!("{} {}?", capital(doing), tasks(count)))?;
    let so_far = |came: &Bulked| progress(console, count, came);
    let bulk = client.bulk(&filter).expecting(count).on_slice(so_far);
    let came = doing.act(bulk, client.now())?;
    let done = Deed::new(doing.as_str(), false, count, came);
    let missed = wanted > 0 && done.done + done.asked < wanted;
    tell(console, doing, done)?;
    Ok(if missed { Code::Conflict } else { Code::Ok })
}

/// The failed tasks of one group.
fn alike(console: &Console, client: &Client, doing: Doing, group: &str, dry: bool) -> Came {
    let failures = client.failures()?;
    let found = failures.groups.iter().find(|known| known.fingerprint == group);
    let Some(found) = found else {
        return Err(Error::not_found(format_args!("in the group {group:?}")).into());
    };
    let count = found.count;
    if dry {
        tell(console, doing, Deed::new(doing.as_str(), true, count, Bulked::default()))?;
        return Ok(Code::Ok);
    }
    let text = client.redacted_text(&found.kind, &found.text);
    console.say.note(format!("{} of {}: {text}", tasks(count), found.kind));
    confirmed(console, &format!("{} {}?", capital(doing), tasks(count)))?;
    let mut so_far = |came: &Bulked| progress(console, count, came);
    let came = doing.act_on_group(client, group, count, &mut so_far)?;
    tell(console, doing, Deed::new(doing.as_str(), false, count, came))?;
    Ok(Code::Ok)
}

fn tell(console: &Console, doing: Doing, done: Deed) -> Result<(), crate::cli::code::Stop> {
    console.say.data(&done, |_| done.text(doing.done()))
}

fn capital(doing: Doing) -> &'static str {
    match doing {
        Doing::Retry => "Retry",
        Doing::Run => "Make due now",
        Doing::Cancel => "Cancel",
        Doing::Delete => "Delete",
    }
}

/// The first of them, so that somebody sees what is meant.
pub(crate) fn preview(
    console: &Console,
    client: &Client,
    filter: &Filter,
    count: u64,
) -> Result<(), Error> {
    for task in client.browse(filter, None, NAMED)?.tasks {
        let name = task.name.as_deref().map(|name| client.redacted_text(&task.kind, name));
        let name = name.map(|name| format!(" {name:?}")).unwrap_or_default();
        console.say.note(format!("  {} {} {}{name}", task.id, task.state, task.kind));
    }
    if count > NAMED as u64 {
        console.say.note(format!("  and {} more", grouped(count - NAMED as u64)));
    }
    Ok(())
}

/// Whoever waits at a terminal sees that it goes on.
pub(crate) fn progress(console: &Console, count: u64, came: &Bulked) -> ControlFlow<()> {
    let seen = came.done + came.asked + came.left;
    if console.say.is_watched() && seen < count {
        console.say.note(format!("  {} of {}", grouped(seen), grouped(count)));
    }
    ControlFlow::Continue(())
}
