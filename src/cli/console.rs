//! Operate: what each command has at hand: the flags, a voice, and the queue, which is opened when it is needed.

use std::path::PathBuf;

use super::code::{Came, Code};
use super::global::Global;
use super::place;
use super::say::Say;
use crate::audit::ACTOR_BYTES_MAX;
use crate::builder::{Builder, Works};
use crate::catalog::CLIENT_DEFAULT;
use crate::client::Client;
use crate::clients::{Clients, ClientsBuilder};
use crate::error::Error;
use crate::json::JsonLimits;
use crate::options::Durability;

/// The flag that names one of several clients.
const CLIENT: &str = "--client";

/// Whose commands these are.
pub(crate) enum Home {
    /// A program's own, on the queue that it has.
    Program(Box<Builder>),
    /// A program's own, on one of the queues that it has.
    Set(Box<ClientsBuilder>),
    /// Of `litework` itself, on any queue.
    Alone,
}

pub(crate) struct Console {
    pub(crate) global: Global,
    pub(crate) say: Say,
    /// It is taken where a queue is opened, which a command does once.
    home: Option<Home>,
    is_alone: bool,
    /// The set that one of its clients works for.
    set: Option<Clients>,
    /// Whether it may have changed something by now.
    changes: bool,
}

impl Console {
    pub(crate) fn new(global: Global, home: Home) -> Self {
        let say = Say::new(&global);
        let is_alone = matches!(home, Home::Alone);
        Self { global, say, home: Some(home), is_alone, set: None, changes: false }
    }

    /// Whether it is `litework` itself, which knows no kinds.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// What a command has come to whose data could not be written: one that changes something may have done so.
    pub(crate) fn unwritten(&self, error: &std::io::Error) -> Code {
        super::say::unwritten(error, self.changes)
    }

    /// What the environment says to the client that is meant, by this word, with the whole name of the variable. It is asked
    /// before the queue is opened.
    pub(crate) fn variable(&self, word: &str) -> Result<Option<(String, String)>, Error> {
        match &self.home {
            Some(Home::Program(builder)) => builder.variable(word),
            Some(Home::Set(set)) => set.variable(CLIENT, &self.global.client, word),
            Some(Home::Alone) | None => place::variable(word),
        }
    }

    fn home(&mut self) -> Home {
        if self.is_alone {
            return Home::Alone;
        }
        self.home.take().expect("a command opens its queue once")
    }

    /// How large arguments may be.
    pub(crate) fn limits(&self) -> JsonLimits {
        match &self.home {
            Some(Home::Program(builder)) => builder.limits_of_json(),
            _ => JsonLimits::default(),
        }
    }

    /// What opens the queue: of this file, or of the one that is named elsewhere.
    pub(crate) fn builder(&mut self, of: Option<PathBuf>) -> Result<Builder, Error> {
        let home = self.home();
        let file = |file: Option<PathBuf>| file.or_else(|| self.global.db.clone());
        match home {
            Home::Program(builder) => {
                only_default(&self.global.client)?;
                builder.for_operator(file(of))
            }
            Home::Set(set) => set.alone(CLIENT, &self.global.client)?.for_operator(file(of)),
            Home::Alone => {
                only_default(&self.global.client)?;
                place::builder(&self.global, of)
            }
        }
    }

    /// The queue, opened to run its tasks as was said, with what else is made of its builder.
    pub(crate) fn open_to_work(
        &mut self,
        works: Works,
        dress: impl FnOnce(Builder) -> Result<Builder, Error>,
    ) -> Result<Client, Error> {
        self.check_may_change()?;
        let home = self.home();
        let (name, file) = (&self.global.client, self.global.db.clone());
        let (builder, file) = match home {
            Home::Set(set) => {
                let change = |builder: Builder| dress(builder.for_worker(file, works)?);
                let set = set.working(CLIENT, name, change)?.open()?;
                let client = set.get(name)?.clone();
                self.set = Some(set);
                return Ok(client);
            }
            Home::Program(builder) => (*builder, file),
            Home::Alone => place::found(&self.global, None)?,
        };
        only_default(name)?;
        dress(builder.for_worker(file, works)?)?.open()
    }

    /// The file that is meant, which is not opened, and what its program wants it to survive.
    pub(crate) fn file(&mut self) -> Result<(PathBuf, Durability), Error> {
        self.meant().map(|(_, file, durability)| (file, durability))
    }

    /// The same, and what opens it.
    pub(crate) fn meant(&mut self) -> Result<(Builder, PathBuf, Durability), Error> {
        let mut builder = self.builder(None)?;
        let (file, durability) = builder.file_of_operator()?;
        Ok((builder, file, durability))
    }

    /// The queue, to look at.
    pub(crate) fn open(&mut self) -> Result<Client, Error> {
        self.builder(None)?.open()
    }

    /// The queue, to change it in the name of whoever has started this program.
    pub(crate) fn open_to_change(&mut self) -> Result<Client, Error> {
        self.check_may_change()?;
        self.changes = true;
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

/// Whoever has one client calls it so.
fn only_default(name: &str) -> Result<(), Error> {
    if name == CLIENT_DEFAULT {
        return Ok(());
    }
    let allowed = format!("{CLIENT_DEFAULT}; this program has no other");
    Err(Error::invalid("unknown_client", CLIENT, name, allowed))
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
