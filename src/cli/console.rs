//! Operate: what each command has at hand: the flags, a voice, and the queue, which is opened when it is needed.

use std::path::PathBuf;

use super::code::Came;
use super::global::Global;
use super::place;
use super::say::Say;
use crate::audit::ACTOR_BYTES_MAX;
use crate::builder::Builder;
use crate::client::Client;
use crate::error::Error;
use crate::json::JsonLimits;
use crate::mode::Mode;
use crate::options::Durability;

/// Whose commands these are.
pub(crate) enum Home {
    /// A program's own, on the queue that it has.
    Program(Box<Builder>),
    /// Of `litework` itself, on any queue.
    Alone,
}

pub(crate) struct Console {
    pub(crate) global: Global,
    pub(crate) say: Say,
    home: Option<Home>,
}

impl Console {
    pub(crate) fn new(global: Global, home: Home) -> Self {
        let say = Say::new(&global);
        Self { global, say, home: Some(home) }
    }

    /// Whether it is `litework` itself, which knows no kinds.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.home, Some(Home::Alone))
    }

    /// How large arguments may be.
    pub(crate) fn limits(&self) -> JsonLimits {
        match &self.home {
            Some(Home::Program(builder)) => builder.limits_of_json(),
            _ => JsonLimits::default(),
        }
    }

    /// What opens the queue: of this file, or of the one that is named elsewhere.
    pub(crate) fn builder(&mut self, file: Option<PathBuf>) -> Result<Builder, Error> {
        match self.home.take() {
            Some(Home::Program(builder)) => {
                builder.for_operator(file.or_else(|| self.global.db.clone()))
            }
            _ => place::builder(&self.global, file),
        }
    }

    /// What opens the queue to run its tasks in this way, on so many threads.
    pub(crate) fn worker(&mut self, mode: Mode, threads: Option<usize>) -> Result<Builder, Error> {
        self.check_may_change()?;
        let (builder, file) = match self.home.take() {
            Some(Home::Program(builder)) => (*builder, self.global.db.clone()),
            _ => place::found(&self.global, None)?,
        };
        builder.for_worker(file, mode, threads)
    }

    /// The file that is meant, which is not opened, and what its program wants it to survive.
    pub(crate) fn file(&mut self) -> Result<(PathBuf, Durability), Error> {
        self.builder(None)?.file_of_operator()
    }

    /// The queue, to look at.
    pub(crate) fn open(&mut self) -> Result<Client, Error> {
        self.builder(None)?.open()
    }

    /// The queue, to change it in the name of whoever has started this program.
    pub(crate) fn open_to_change(&mut self) -> Result<Client, Error> {
        self.check_may_change()?;
        self.open()?.acting_as(&actor())
    }

    /// Refuses what changes something where only looking is allowed.
    pub(crate) fn check_may_change(&self) -> Result<(), Error> {
        if self.global.read_only {
            let allowed = "commands that change nothing";
            return Err(Error::invalid("read_only", "flag", "--read-only", allowed));
        }
        Ok(())
    }
}

/// Who acts, as it is noted in the audit.
pub(crate) fn actor() -> String {
    let names = ["USER", "LOGNAME", "USERNAME"];
    let name =
        names.iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    let mut actor = format!("cli:{}", name.as_deref().unwrap_or("somebody"));
    actor.retain(|letter| !letter.is_control());
    let end = (0..=ACTOR_BYTES_MAX.min(actor.len())).rev().find(|at| actor.is_char_boundary(*at));
    actor.truncate(end.unwrap_or(0));
    actor
}

/// What a command does.
pub(crate) trait Verb {
    fn run(self, console: &mut Console) -> Came;
}
