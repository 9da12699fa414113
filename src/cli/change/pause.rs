//! Operate: pauses queues and kinds, and ends that.

use clap::Args;
use serde::Serialize;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::client::Client;
use crate::error::Error;
use crate::near::{did_you_mean, nearest};
use crate::rule::Scope;

// No doc comment: it would be taken for the help of whatever this is part of.
#[derive(Debug, Args)]
pub(crate) struct Scopes {
    /// The queues.
    #[arg(value_name = "QUEUE", required_unless_present = "kind")]
    queues: Vec<String>,
    /// Tasks of this kind, in whichever queue; may be said several times.
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
}

/// Starts no task of these queues or kinds any more, in any process, until they are resumed
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    scopes: Scopes,
}

/// Ends the pause of queues or kinds
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    scopes: Scopes,
}

/// What became of one.
#[derive(Debug, Serialize)]
struct Told {
    scope: &'static str,
    name: String,
    paused: bool,
    /// Whether it was otherwise before.
    changed: bool,
}

impl Verb for Pause {
    fn run(self, console: &mut Console) -> Came {
        set(console, &self.scopes, true)
    }
}

impl Verb for Resume {
    fn run(self, console: &mut Console) -> Came {
        set(console, &self.scopes, false)
    }
}

fn set(console: &mut Console, scopes: &Scopes, paused: bool) -> Came {
    let client = console.open_to_change()?;
    let queues = scopes.queues.iter().map(Scope::queue);
    let scopes: Vec<Scope> = queues.chain(scopes.kind.iter().map(Scope::kind)).collect();
    scopes.iter().try_for_each(Scope::checked)?;
    let mut told = Vec::new();
    for scope in &scopes {
        let changed = if paused { client.pause(scope)? } else { client.resume(scope)? };
        let name = scope.name().to_owned();
        told.push(Told { scope: scope.word(), name, paused, changed });
    }
    console.say.list(&told, &[], |_| told.iter().map(words).collect())?;
    for scope in &scopes {
        unknown(console, &client, scope)?;
    }
    Ok(Code::Ok)
}

fn words(told: &Told) -> String {
    let state = match (told.paused, told.changed) {
        (true, true) => "is paused",
        (true, false) => "was paused already",
        (false, true) => "goes on",
        (false, false) => "was not paused",
    };
    format!("{} {} {state}\n", told.scope, told.name)
}

/// A queue that nobody has used yet may be a slip of the pen.
fn unknown(console: &Console, client: &Client, scope: &Scope) -> Result<(), Error> {
    let Scope::Queue(name) = scope else { return Ok(()) };
    let overview = client.overview()?;
    let known: Vec<&str> = overview.queues.iter().map(|queue| queue.queue.as_str()).collect();
    if !known.contains(&name.as_str()) {
        let near = did_you_mean(&nearest(name, known));
        console.say.note(format!("there was never a task in queue {name}{near}"));
    }
    Ok(())
}
