//! Operate: workload `latency_cross_process`: from the call of `enqueue` to the start of the body in another process,
//! while nothing else is to do.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use litework::{Builder, Client, Context, Durability, Mode, Result, Task};
use serde::{Deserialize, Serialize};

use super::clock::wall_nanos;
use super::helper::{self, Helper};
use super::measure::Measured;
use super::resize::{Resize, builder};

/// Longer than any child takes for a line.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells how long ago it was called, by the clock that both processes share.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cross {
    called: u64,
    args: Resize,
}

impl Cross {
    pub(crate) fn now() -> Self {
        Self { called: wall_nanos(), args: Resize::sample(1) }
    }

    /// The nanoseconds since it was called.
    pub(crate) fn arrive(self) -> u64 {
        let took = wall_nanos().saturating_sub(self.called);
        drop(self.args);
        took
    }
}

impl Task for Cross {
    const NAME: &'static str = "cross";
    type Output = ();

    fn run(self, _: &Context) -> Result<()> {
        Ok(say(self.arrive())?)
    }
}

/// A line of a child to its parent.
pub(crate) fn say(what: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{what}")
}

/// The child: has the workers.
pub(crate) fn serve(builder: Builder) -> Measured<()> {
    let builder = builder.register(Cross::define()).workers(2).durability(helper::level());
    let client = builder.open()?;
    say("open")?;
    helper::await_parent();
    client.shutdown(Duration::from_secs(1))?;
    Ok(())
}

/// Both ends.
pub(crate) struct Crossing {
    client: Client,
    pub(crate) helper: Helper,
}

impl Crossing {
    /// Starts the child, in a role in which it serves.
    pub(crate) fn new(role: &str, file: &Path, level: Durability) -> Measured<Self> {
        let client =
            builder(file).declare::<Cross>().mode(Mode::Enqueue).durability(level).open()?;
        let helper = Helper::start(role, file, level)?;
        await_open(&helper)?;
        Ok(Self { client, helper })
    }

    /// How many milliseconds one takes.
    pub(crate) fn milliseconds(&self) -> Measured<f64> {
        self.client.enqueue(Cross::now())?;
        arrived(&self.helper)
    }
}

/// Waits until a child has its file open.
pub(crate) fn await_open(helper: &Helper) -> Measured<()> {
    match helper.line(PATIENCE).as_deref() {
        Some("open") => Ok(()),
        other => Err(format!("a child process was to open the file, and said {other:?}").into()),
    }
}

/// What a child tells of a task, in milliseconds.
pub(crate) fn arrived(helper: &Helper) -> Measured<f64> {
    let line = helper.line(PATIENCE).ok_or("a child process has not run its task")?;
    Ok(line.parse::<f64>()? / 1e6)
}
