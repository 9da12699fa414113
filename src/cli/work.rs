//! Operate: `work`: runs tasks until it is told to end, or until its shift is over.
//!
//! ```text
//!   1st signal   nothing more is claimed; what runs may end within the grace
//!   2nd          what runs is asked to stop, and handed back, its attempt not charged
//!   3rd          the process ends at once; what ran counts as crashed
//! ```

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::code::{Came, Code};
use super::console::{Console, Verb};
#[cfg(unix)]
use super::exec::{Exec, Permits};
use super::say::Say;
use super::shift::{BUSY, Crew, Shift, TRY_AGAIN, is_busy};
use super::signals::{INTERRUPT, SIGNALLED, TERMINATE, signals};
use super::value;
use crate::builder::{Builder, Served, Worker, Works};
use crate::client::Client;
use crate::error::Error;
use crate::event::{Event, EventKind};
use crate::hub::{Pending, Stopped};
use crate::mode::Mode;
use crate::options::check_name;
use crate::outcome::Report;
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
    /// Seconds between two looks for what other programs have written, 0 to 86400. Used only where the system reports no
    /// change of the file, as Linux does; 0 looks a thousand times a second [default: 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = interval, allow_negative_numbers = true)]
    interval: Option<Duration>,
    /// What this worker is called, 1 to 64 of A-Z a-z 0-9 . _ - [default: as the settings say, or the program's name].
    #[arg(long, value_name = "NAME", alias = "worker-id")]
    worker_name: Option<String>,
    /// How long what runs may go on after the first signal.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = value::span)]
    grace: Duration,
    /// What is told: 0 nothing, 1 how the worker and each task end, 2 also what begins.
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    verbosity: u8,
    #[cfg(unix)]
    #[command(flatten)]
    permits: Permits,
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
        let say = console.say;
        let (threads, name) = (self.concurrency, self.worker_name.clone());
        let look_every = self.interval;
        let works = Works { threads, served, name, look_every, ..Works::of_mode(mode) };
        let told = Arc::clone(&works.told);
        let client = console.open_to_work(works, |builder| {
            #[cfg(unix)]
            let builder = self.permitted(builder)?;
            Ok(self.told(say, builder))
        })?;
        let worker = told.get().expect("a client that is open has told it");
        self.greet(console, &client, worker);
        if is_shift {
            self.shift(console, &client, worker, &signals)
        } else {
            let signal = signals.recv().unwrap_or(TERMINATE);
            let stopped = self.end(console, &client, &signals)?;
            Ok(self.farewell(console, stopped, signal))
        }
    }
}

impl Work {
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
        console: &Console,
        client: &Client,
        worker: &Worker,
        signals: &Receiver<i32>,
    ) -> Came {
        let crew = Arc::new(Crew::new(Shift {
            pending: pending(&worker.served),
            threads: worker.threads,
            batch: self.batch,
            max_tasks: self.max_tasks,
            say: (self.verbosity >= 1).then_some(console.say),
        }));
        let (tell, over) = bounded(1);
        std::thread::spawn({
            let (crew, client) = (Arc::clone(&crew), client.clone());
            move || tell.send(crew.work(&client))
        });
        let signal = crossbeam_channel::select! {
            recv(over) -> ran => {
                let count = ran.unwrap_or(Err(Error::Closed))?.attempts();
                self.close(console, client, signals)?;
                self.say(console, 1, || match count {
                    1 => "1 attempt made; nothing more is to be done".to_owned(),
                    count => format!("{count} attempts made; nothing more is to be done"),
                });
                return Ok(Code::Ok);
            }
            recv(signals) -> signal => signal.unwrap_or(TERMINATE),
        };
        crew.end();
        let stopped = self.end(console, client, signals)?;
        Ok(self.farewell(console, stopped, signal))
    }

    /// The end of a shift: what it came to is stored, however long another program holds the file, until a signal comes.
    fn close(
        &self,
        console: &Console,
        client: &Client,
        signals: &Receiver<i32>,
    ) -> Result<(), Error> {
        let mut told = false;
        while let Err(error) = client.shutdown(self.grace) {
            if !is_busy(&error) || signals.recv_timeout(TRY_AGAIN) != Err(RecvTimeoutError::Timeout)
            {
                return Err(error);
            }
            if !std::mem::replace(&mut told, true) {
                self.say(console, 1, || BUSY.to_owned());
            }
        }
        Ok(())
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
        self.exclude.iter().try_for_each(|name| check_name("bad_queue", "exclude", name))?;
        served.except.clone_from(&self.exclude);
        Ok(Some(served))
    }

    /// Has the events of tasks told.
    fn told(&self, say: Say, builder: Builder) -> Builder {
        let mut kinds = Vec::new();
        if self.verbosity >= 1 {
            kinds.extend([EventKind::Succeeded, EventKind::Failed, EventKind::Cancelled]);
            kinds.extend([EventKind::Snoozed, EventKind::Skipped]);
        }
        if self.verbosity >= 2 {
            kinds.push(EventKind::Started);
        }
        if kinds.is_empty() {
            return builder;
        }
        builder.on(kinds, move |client, event| say.note(line(client, event)))
    }

    fn greet(&self, console: &Console, client: &Client, worker: &Worker) {
        self.say(console, 1, || {
            let path = client.path().unwrap_or_else(|| std::path::Path::new("memory")).display();
            format!("working on {path}, {}; Ctrl-C lets what runs end", worker.served)
        });
    }

    /// Ends, within the grace or as fast as further signals say.
    fn end(
        &self,
        console: &Console,
        client: &Client,
        signals: &Receiver<i32>,
    ) -> Result<Stopped, Error> {
        let grace = self.grace.as_secs();
        self.say(console, 1, || {
            format!("draining: {grace} s for what runs; Ctrl-C again hands it back")
        });
        let (signals, hurried) = (signals.clone(), client.clone());
        let (say, is_told) = (console.say, self.verbosity >= 1);
        std::thread::spawn(move || {
            for (number, signal) in signals.iter().enumerate() {
                if number > 0 {
                    std::process::exit(SIGNALLED + signal);
                }
                if is_told {
                    say.note("handing back what runs; Ctrl-C again ends at once");
                }
                let hurried = hurried.clone();
                // The next signal is heard meanwhile, and the answer is that of the first call.
                std::thread::spawn(move || hurried.shutdown(Duration::ZERO));
            }
        });
        client.shutdown(self.grace)
    }

    /// What it came to. A worker that had to hand tasks back was ended by its signal.
    fn farewell(&self, console: &Console, stopped: Stopped, signal: i32) -> Code {
        let Stopped { finished, handed_back, still_running } = stopped;
        self.say(console, 1, || {
            let ended = format!("ended: {finished} tasks finished, {handed_back} handed back");
            match still_running {
                0 => ended,
                bodies => {
                    format!("{ended}; {bodies} bodies did not stop and end with this program")
                }
            }
        });
        match (handed_back + still_running, signal) {
            (0, _) => Code::Ok,
            (_, INTERRUPT) => Code::Interrupted,
            _ => Code::Terminated,
        }
    }

    fn say(&self, console: &Console, level: u8, text: impl FnOnce() -> String) {
        if self.verbosity >= level {
            console.say.note(text());
        }
    }
}

fn pending(served: &Served) -> Pending {
    let pending = served.only.iter().cloned().fold(Pending::all(), Pending::queue);
    served.except.iter().cloned().fold(pending, Pending::except_queue)
}

/// One event as a line, without secrets: it stands in the log of a service.
fn line(client: &Client, event: &Event) -> String {
    let Event { id, kind, attempt, .. } = event;
    let what = match event.what {
        EventKind::Enqueued => "enqueued",
        EventKind::Started => "started",
        EventKind::Succeeded => "succeeded",
        EventKind::Failed if event.will_retry() => "failed, and is tried again",
        EventKind::Failed => "failed",
        EventKind::Snoozed => "goes on later",
        EventKind::Cancelled => "cancelled",
        EventKind::Skipped => "skipped",
        EventKind::Finished => "finished",
    };
    let told = |report: &Report| format!(": {}", client.redacted_text(kind, &report.message));
    let error = event.error.as_ref().map(told);
    format!("{id} {kind} attempt {attempt} {what}{}", error.unwrap_or_default())
}
