//! Enqueue: stores a task of a kind that this program knows, or of any other.

use std::time::Duration;

use clap::Args;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
#[cfg(unix)]
use crate::cli::exec::Call;
use crate::cli::look::{task, wait};
use crate::cli::say::print;
use crate::cli::value;
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::near::{did_you_mean, nearest};
use crate::options::Options;
use crate::task::{CallOptions, Due};
use crate::ties::Links;
use crate::unique::Unique;
use crate::untyped::nameable;
use crate::zone::Zone;

/// Stores a task and prints its id
///
/// Where this program does not know the kind, the task is stored as it is given: unique keys, locks and limits per key
/// that the kind has in the program that runs it hold for calls of that program only. To leave the call to that
/// program, with all that the kind has, write a row into the table `litework_inbox` instead.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What kind of task.
    #[arg(value_name = "KIND", required_unless_present = "exec")]
    kind: Option<String>,
    #[cfg(unix)]
    #[command(flatten)]
    call: Call,
    /// Its arguments, a JSON object by parameter name: as it stands, @FILE, or - for standard input.
    #[arg(
        long,
        short = 'a',
        value_name = "JSON",
        default_value = "{}",
        allow_hyphen_values = true
    )]
    args: String,
    /// Run it after this span, such as 5m.
    #[arg(long = "in", value_name = "SPAN", value_parser = value::span, conflicts_with = "at")]
    after: Option<Duration>,
    /// Run it at this moment: RFC 3339 with an offset, or local time of --zone.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The time zone of --at, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", value_parser = value::zone, requires = "at")]
    zone: Option<Zone>,
    /// Its queue [default: the kind's, or that of the newest task of the kind].
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// -100 to 100; higher runs first.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// How many attempts it may have, 1 to 1000.
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// How long each attempt may take: it is told to stop then, and a program of --exec is ended [default: the kind's, or no
    /// limit].
    #[arg(long, value_name = "SPAN", value_parser = value::span)]
    time_limit: Option<Duration>,
    /// At most one task of the kind with this key that has not ended; another call gives that one.
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Idempotency key: while a task with it is kept, the same call is that task again.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Whose task it is.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// What people call it.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A word to find it by; may be said several times.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Wait until it has ended; the exit code tells how.
    #[arg(long)]
    wait: bool,
}

impl Verb for Add {
    fn run(self, console: &mut Console) -> Came {
        console.check_may_change()?;
        self.check_patience(console)?;
        let arguments = value::object(&self.arguments()?, console.limits())?;
        let due = self.due()?;
        let client = console.open_to_change()?;
        let is_known = client.hub.catalog.get(self.kind()).is_ok();
        let with = self.call(&client, due, is_known)?;
        let stored = client.store_named(self.kind(), &with, &arguments)?;
        let say = console.say;
        if stored.existing {
            say.note("it is there already: the task that has its key");
        }
        if !is_known && self.kind.is_some() {
            let known = client.kinds().into_iter().map(|kind| kind.name).collect::<Vec<_>>();
            let near = did_you_mean(&nearest(self.kind(), known.iter().map(String::as_str)));
            let kind = self.kind();
            say.note(format!("this program does not know {kind:?}{near}: stored as it is given"));
        }
        if !self.wait {
            let item = task::item_of(&client, stored.id)?;
            say.data(&item, |_| format!("{}\n", stored.id))?;
            return Ok(Code::Ok);
        }
        if say.is_human() {
            print(&format!("{}\n", stored.id))?;
        }
        wait::until_ended(console, &client, &[stored.id])
    }
}

impl Add {
    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("exec")
    }

    /// How long it may take is another flag than how long it is waited for.
    fn check_patience(&self, console: &Console) -> Result<(), Error> {
        match console.global.timeout {
            Some(timeout) if !self.wait => {
                let allowed =
                    "with --wait, how long to wait; --time-limit says how long an attempt may take";
                Err(Error::invalid("not_waited_for", "timeout", format!("{timeout:?}"), allowed))
            }
            _ => Ok(()),
        }
    }

    #[cfg(unix)]
    fn arguments(&self) -> Result<String, Error> {
        Ok(self.call.arguments()?.unwrap_or_else(|| self.args.clone()))
    }

    /// The program and its arguments as one line.
    #[cfg(unix)]
    fn line(&self) -> Option<String> {
        self.call.line()
    }

    #[cfg(not(unix))]
    fn arguments(&self) -> Result<String, Error> {
        Ok(self.args.clone())
    }

    #[cfg(not(unix))]
    fn line(&self) -> Option<String> {
        None
    }

    fn due(&self) -> Result<Due, Error> {
        Ok(match (self.after, &self.at) {
            (Some(span), _) => Due::After(span),
            (None, Some(at)) => Due::At(value::moment(at, self.zone)?.as_millis()),
            (None, None) => Due::Now,
        })
    }

    fn call(&self, client: &Client, due: Due, is_known: bool) -> Result<CallOptions, Error> {
        let mut options = Options::new();
        let queue = self.queue.clone();
        if let Some(queue) = queue
            .map_or_else(|| usual_queue(client, self.kind(), is_known), |queue| Ok(Some(queue)))?
        {
            options = options.queue(queue);
        }
        if let Some(priority) = self.priority {
            options = options.priority(priority);
        }
        // A program that has run may have done anything: nobody runs it again who was not told to.
        let once = self.kind.is_none().then_some(1);
        if let Some(attempts) = self.attempts.or(once) {
            options = options.attempts(attempts);
        }
        if let Some(limit) = self.time_limit {
            options = options.timeout(limit);
        }
        if let Some(key) = &self.unique {
            options = options.unique(Unique::key(key.clone()));
        }
        // With a key of its own a call whose outcome is not known can be sent again.
        let own = || format!("cli-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let name = self.name.clone().or_else(|| nameable(&self.line()?));
        let links = name.map(|name| Box::new(Links { name: Some(name), ..Links::default() }));
        Ok(CallOptions {
            options,
            due,
            key: Some(self.key.clone().unwrap_or_else(own)),
            owner: self.owner.clone(),
            tags: self.tag.iter().cloned().map(Into::into).collect(),
            links,
            ..CallOptions::default()
        })
    }
}

/// Where the kind is not known: the queue of its newest task, if there is one.
fn usual_queue(client: &Client, kind: &str, is_known: bool) -> Result<Option<String>, Error> {
    if is_known {
        return Ok(None);
    }
    let newest = client.browse(&Filter::new().kind(kind), None, 1)?.tasks;
    Ok(newest.into_iter().next().map(|task| task.queue))
}
