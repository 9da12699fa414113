//! Operate: `work`: runs tasks until it is told to end, or until its shift is over.
//!
//! ```text
//!   1st signal   nothing more is claimed; what runs may end within the grace
//!   2nd          what runs is asked to stop, and handed back, its attempt not charged
//!   3rd          the process ends at once, with the programs that it runs; what ran counts as crashed
//! ```
//!
//! `duty` is what it says and how it ends, `shift` how it works where it ends by itself.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::code::{Came, Code};
use super::console::{Console, Verb};
use super::duty::Duty;
#[cfg(unix)]
use super::exec::{Exec, Permits};
use super::shift::{Crew, Shift};
use super::signals::{TERMINATE, signals};
use super::value;
use crate::builder::{Builder, Served, Worker, Works};
use crate::client::Client;
use crate::error::Error;
use crate::hub::Pending;
use crate::mode::Mode;
use crate::options::check_name;
#[cfg(unix)]
use crate::registry::Task;

/// Runs tasks of this program until it is told to end
///
/// The first signal lets what runs end within the grace, the second hands it back, the third ends at once. With --exec or
/// --exec-any it also runs the programs that `add --exec` has stored.
#[derive(Debug, clap::Args)]
pub(crate) struct Work {
    /// Serve only these queues, several with commas; `*` is all of them [default: `LITEWORK_QUEUES`, or as the settings say,
    /// or all].
    #[arg(long, value_name = "QUEUES", value_delimiter = ',')]
    queues: Vec<String>,
    /// Serve all queues but these, several with commas; `*` alone goes with it.
    #[arg(long, value_name = "QUEUES", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Tasks at a time, 1 to 1024 [default: `LITEWORK_WORKERS`, or as the settings say, or one for each core].
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// End when nothing is ready.
    #[arg(long)]
    batch: bool,
    /// End after so many attempts; 0 runs none.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_tasks: Option<usize>,
    /// Seconds between two looks for what other programs have written, 0 to 86400; 0 looks a thousand times a second. Used
    /// only where the system does not report that a file has changed; Linux does [default: 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = interval, allow_negative_numbers = true)]
    interval: Option<Duration>,
    /// What this worker is called, 1 to 64 of A-Z a-z 0-9 . _ - [default: as the settings say, or the program's name].
    #[arg(long, value_name = "NAME", alias = "worker-id")]
    worker_name: Option<String>,
    /// How long what runs may go on after the first signal [default: `LITEWORK_GRACE`, or 30s].
    #[arg(long, value_name = "SPAN", value_parser = value::span)]
    grace: Option<Duration>,
    /// What is told: 0 nothing, 1 how the worker and each task end, 2 also what begins [default: `LITEWORK_LOG`, or 1].
    #[arg(long, value_name = "LEVEL", value_parser = verbosity)]
    verbosity: Option<u8>,
    #[cfg(unix)]
    #[command(flatten)]
    permits: Permits,
}

/// What holds where neither a flag nor a variable says anything.
pub(super) const DEFAULTS: &[(&str, &str)] = &[("grace", GRACE), ("log", VERBOSITY)];
const GRACE: &str = "30s";
const VERBOSITY: &str = "1";

/// How much is told.
fn verbosity(text: &str) -> Result<u8, Error> {
    let level = text.parse().ok().filter(|level| (0..=2).contains(level));
    level.ok_or_else(|| Error::invalid("out_of_range", "verbosity", text, "0, 1 or 2"))
}

/// What a flag says, or else a variable, or else nobody.
fn said<T: Copy>(
    console: &Console,
    flag: Option<T>,
    word: &str,
    read: impl Fn(&str) -> Result<T, Error>,
    default: &str,
) -> Result<T, Error> {
    if let Some(said) = flag {
        return Ok(said);
    }
    let Some((name, text)) = console.variable(word)? else { return read(default) };
    read(&text).map_err(|error| match error {
        Error::Invalid { code, value, allowed, .. } => {
            Error::Invalid { code, place: name, value, allowed }
        }
        error => error,
    })
}

/// Seconds, with a fraction if need be.
fn interval(text: &str) -> Result<Duration, Error> {
    let allowed = "seconds, 0 to 86400, as in 0.5";
    let refused = || Error::invalid("out_of_range", "interval", text, allowed);
    let seconds: f64 = text.parse().map_err(|_| refused())?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(refused());
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl Verb for Work {
    /// Runs the tasks that the program has registered, and programs where that is permitted.
    fn run(self, console: &mut Console) -> Came {
        let served = self.served()?;
        if let Some(name) = &self.worker_name {
            check_name("bad_name", "worker name", name)?;
        }
        let is_shift = self.batch || self.max_tasks.is_some();
        let mode = if is_shift { Mode::Hold } else { Mode::Pool };
        // Signals that come from here on are heard, whatever is still being opened.
        let signals = signals()?;
        let duty = self.duty(console)?;
        let (threads, name) = (self.concurrency, self.worker_name.clone());
        let look_every = self.interval;
        let works = Works { threads, served, name, look_every, ..Works::of_mode(mode) };
        let told = Arc::clone(&works.told);
        let client = console.open_to_work(works, |builder| {
            #[cfg(unix)]
            let builder = self.permitted(builder)?;
            Ok(duty.telling(builder))
        })?;
        let worker = told.get().expect("a client that is open has told it");
        duty.greet(&client, worker);
        if is_shift {
            return self.shift(&duty, &client, worker, &signals);
        }
        let signal = signals.recv().unwrap_or(TERMINATE);
        Ok(duty.end(&client, &signals, signal)?)
    }
}

impl Work {
    fn duty(&self, console: &Console) -> Result<Duty, Error> {
        let grace = said(console, self.grace, "GRACE", value::span, GRACE)?;
        let verbosity = said(console, self.verbosity, "LOG", verbosity, VERBOSITY)?;
        Ok(Duty::new(console.say, verbosity, grace))
    }

    #[cfg(unix)]
    fn permitted(&self, builder: Builder) -> Result<Builder, Error> {
        Ok(match self.permits.allowed()? {
            Some(allowed) => builder.register(Exec::define()).state(allowed),
            None => builder,
        })
    }

    /// Works until nothing is ready, or so many attempts have been made.
    fn shift(
        &self,
        duty: &Duty,
        client: &Client,
        worker: &Worker,
        signals: &Receiver<i32>,
    ) -> Came {
        let crew = Arc::new(Crew::new(Shift {
            pending: pending(&worker.served),
            threads: worker.threads,
            batch: self.batch,
            max_tasks: self.max_tasks,
            say: duty.voice(),
        }));
        let (tell, over) = bounded(1);
        std::thread::spawn({
            let (crew, client) = (Arc::clone(&crew), client.clone());
            move || tell.send(crew.work(&client))
        });
        let signal = crossbeam_channel::select! {
            recv(over) -> ran => {
                let count = ran.unwrap_or(Err(Error::Closed))?.attempts();
                duty.close(client, signals)?;
                duty.note(|| match count {
                    1 => "1 attempt made; nothing more is to be done".to_owned(),
                    count => format!("{count} attempts made; nothing more is to be done"),
                });
                return Ok(Code::Ok);
            }
            recv(signals) -> signal => signal.unwrap_or(TERMINATE),
        };
        crew.end();
        Ok(duty.end(client, signals, signal)?)
    }

    /// The queues that the flags name, if they do.
    fn served(&self) -> Result<Option<Served>, Error> {
        if self.queues.is_empty() && self.exclude.is_empty() {
            return Ok(None);
        }
        let mut served = Served::read("queues", &self.queues)?;
        if !served.only.is_empty() && !self.exclude.is_empty() {
            let allowed = "only together with --queues '*'";
            return Err(Error::invalid("bad_queue", "exclude", self.exclude.join(","), allowed));
        }
        served.except = Served::read("exclude", &self.exclude)?.only;
        Ok(Some(served))
    }
}

fn pending(served: &Served) -> Pending {
    let pending = served.only.iter().cloned().fold(Pending::all(), Pending::queue);
    served.except.iter().cloned().fold(pending, Pending::except_queue)
}
