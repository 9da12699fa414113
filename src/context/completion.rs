//! Finish: how far an attempt is with its finishing transaction, of which it has one.
//!
//! The engine that keeps a file runs it; the runner asks afterwards what became of it.

use std::any::{TypeId, type_name};

use super::Context;
use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::options::Durability;
use crate::outcome::Outcome;
use crate::record::Finish;
use crate::record::{Claimed, Lease};
use crate::time::Timestamp;

/// The type that a body returns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    id: TypeId,
    name: &'static str,
}

impl Output {
    pub(crate) fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

/// What an attempt has of its task, for what it stores before its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) id: TaskId,
    pub(crate) lease: Lease,
    started_at: Timestamp,
    pub(crate) durability: Option<Durability>,
    output: Output,
    tied: bool,
}

impl Hold {
    pub(crate) fn new(task: &Claimed, durability: Option<Durability>, output: Output) -> Self {
        let Claimed { id, lease, started_at, .. } = *task;
        Self { id, lease, started_at, durability, output, tied: task.is_tied() }
    }
}

/// How far an attempt is with its finishing transaction.
#[derive(Debug, Default)]
pub(crate) enum Completion {
    /// It has none, or it was rolled back.
    #[default]
    None,
    UnderWay,
    /// Committed, with this return value; the rows that have ended with the task.
    Stored {
        result: String,
        ended: Vec<i64>,
    },
    /// Its commit may have happened or not.
    Unknown,
}

impl Context {
    /// Begins the finishing transaction of this attempt, of which there is one.
    pub(crate) fn begin_completion(&self, output: Output) -> Result<Completing<'_>, Error> {
        let (Some(client), Some(hold)) = (&self.client, self.hold) else {
            let allowed =
                "the context of a task that runs, as a finishing transaction needs its queue";
            return Err(Error::invalid("unsupported", "context", "detached", allowed));
        };
        if output.id != hold.output.id {
            let allowed = format!("{}, as the task returns", hold.output.name);
            return Err(Error::invalid("wrong_output", "return type", output.name, allowed));
        }
        let mut kept = self.kept();
        self.check_goes_on(&kept)?;
        kept.completion = Completion::UnderWay;
        Ok(Completing { ctx: self, client, hold, came_to: Completion::None })
    }

    /// What became of the finishing transaction.
    pub(crate) fn take_completion(&self) -> Completion {
        std::mem::take(&mut self.kept().completion)
    }
}

/// The finishing transaction of an attempt, under way. Dropped, it has ended as it came to.
pub(crate) struct Completing<'a> {
    ctx: &'a Context,
    pub(crate) client: &'a Client,
    pub(crate) hold: Hold,
    pub(crate) came_to: Completion,
}

impl Completing<'_> {
    /// The end that the transaction records: a success with this value.
    pub(crate) fn success(&self, now: Timestamp, result: String) -> Finish {
        let Hold { id, lease, started_at, durability, tied, .. } = self.hold;
        let plain = Finish::plain(id, lease, started_at, now, Outcome::Succeeded { result });
        Finish { durability, tied, said: self.ctx.last_words(), ..plain }
    }
}

impl Drop for Completing<'_> {
    fn drop(&mut self) {
        self.ctx.kept().completion = std::mem::take(&mut self.came_to);
    }
}
