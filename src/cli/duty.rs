//! Operate: a worker on duty: what it says of its tasks, what it has done, and how signals end it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

#[cfg(unix)]
use super::child;
use super::code::Code;
use super::say::Say;
use super::shift::{BUSY, TRY_AGAIN, is_busy};
use super::signals::SIGNALLED;
use crate::builder::{Builder, Worker};
use crate::client::Client;
use crate::error::Error;
use crate::event::{Event, EventKind};
use crate::hub::Stopped;
use crate::outcome::Report;
use crate::presence::WorkerRecord;
use crate::shown::text::{exact, rough, tasks};

/// What the attempts of a worker came to, as they were told.
#[derive(Debug, Default)]
struct Tally {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
    postponed: AtomicUsize,
    cancelled: AtomicUsize,
    skipped: AtomicUsize,
}

impl Tally {
    fn count(&self, what: EventKind) {
        let number = match what {
            EventKind::Succeeded => &self.succeeded,
            EventKind::Failed => &self.failed,
            EventKind::Snoozed => &self.postponed,
            EventKind::Cancelled => &self.cancelled,
            EventKind::Skipped => &self.skipped,
            EventKind::Enqueued | EventKind::Started | EventKind::Finished => return,
        };
        number.fetch_add(1, Ordering::SeqCst);
    }

    /// As people say it, as in `2 succeeded, 1 failed`.
    fn text(&self) -> String {
        let mut text = String::new();
        for (number, word) in [
            (&self.succeeded, "succeeded"),
            (&self.failed, "failed"),
            (&self.postponed, "put off"),
            (&self.cancelled, "cancelled"),
            (&self.skipped, "skipped"),
        ] {
            let number = number.load(Ordering::SeqCst);
            if number > 0 {
                let comma = if text.is_empty() { "" } else { ", " };
                // Writing to a text cannot fail.
                let _never = write!(text, "{comma}{number} {word}");
            }
        }
        if text.is_empty() { "nothing was done".to_owned() } else { text }
    }
}

/// How a worker works, whoever has said so.
#[derive(Debug, Clone)]
pub(super) struct Duty {
    say: Say,
    verbosity: u8,
    grace: Duration,
    tally: Arc<Tally>,
}

impl Duty {
    pub(super) fn new(say: Say, verbosity: u8, grace: Duration) -> Self {
        Self { say, verbosity, grace, tally: Arc::default() }
    }

    /// The voice for what is told at level 1, if it is.
    pub(super) fn voice(&self) -> Option<Say> {
        (self.verbosity >= 1).then_some(self.say)
    }

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if let Some(say) = self.voice() {
            say.note(text());
        }
    }

    /// Has the events of tasks told.
    pub(super) fn telling(&self, builder: Builder) -> Builder {
        let Some(say) = self.voice() else { return builder };
        let mut kinds = vec![EventKind::Succeeded, EventKind::Failed, EventKind::Cancelled];
        kinds.extend([EventKind::Snoozed, EventKind::Skipped]);
        if self.verbosity >= 2 {
            kinds.push(EventKind::Started);
        }
        let tally = Arc::clone(&self.tally);
        builder.on(kinds, move |client, event| {
            tally.count(event.what);
            say.note(line(client, event));
        })
    }

    pub(super) fn greet(&self, client: &Client, worker: &Worker) {
        self.note(|| {
            let path = client.path().unwrap_or_else(|| std::path::Path::new("memory")).display();
            format!("working on {path}, {}; Ctrl-C lets what runs end", worker.served)
        });
        for other in self.namesakes(client, worker) {
            let (name, here) = (&other.name, std::process::id());
            self.note(|| {
                format!(
                    "warning: two workers are called {name}: process {} and this one, process {here}; \
                     --worker-name tells them apart",
                    other.pid
                )
            });
        }
    }

    /// Others that live and are called as this one, where somebody has called it so.
    fn namesakes(&self, client: &Client, worker: &Worker) -> Vec<WorkerRecord> {
        let Some(name) = worker.name.as_ref().filter(|_| self.voice().is_some()) else {
            return Vec::new();
        };
        // Who cannot be read is no reason not to work.
        let live = client.workers().unwrap_or_default().into_iter();
        live.filter(|one| one.name == *name && one.pid != std::process::id()).collect()
    }

    /// The end that nobody has asked for: what was done is stored, however long another program holds the file, until a
    /// signal comes.
    pub(super) fn close(&self, client: &Client, signals: &Receiver<i32>) -> Result<(), Error> {
        let mut told = false;
        while let Err(error) = client.shutdown(self.grace) {
            if !is_busy(&error) || signals.recv_timeout(TRY_AGAIN) != Err(RecvTimeoutError::Timeout)
            {
                return Err(error);
            }
            if !std::mem::replace(&mut told, true) {
                self.note(|| BUSY.to_owned());
            }
        }
        Ok(())
    }

    /// Ends at this signal, within the grace or as fast as further signals say.
    pub(super) fn end(
        &self,
        client: &Client,
        signals: &Receiver<i32>,
        first: i32,
    ) -> Result<Code, Error> {
        self.note(|| {
            let running = tasks(client.hub.bodies() as u64);
            let grace = self.grace;
            let grace = if grace.as_secs() == 0 { exact(grace) } else { rough(grace) };
            format!("draining {running}: {grace} for what runs; Ctrl-C again hands it back")
        });
        let last = Arc::new(AtomicI32::new(first));
        let (duty, signals, hurried) = (self.clone(), signals.clone(), client.clone());
        let decided = Arc::clone(&last);
        std::thread::spawn(move || {
            for (number, signal) in signals.iter().enumerate() {
                if number > 0 {
                    #[cfg(unix)]
                    let _none_begins = child::kill_all();
                    std::process::exit(SIGNALLED + signal);
                }
                decided.store(signal, Ordering::SeqCst);
                duty.note(|| "handing back what runs; Ctrl-C again ends at once".to_owned());
                let hurried = hurried.clone();
                // The next signal is heard meanwhile, and the answer is that of the first call.
                std::thread::spawn(move || hurried.shutdown(Duration::ZERO));
            }
        });
        let stopped = client.shutdown(self.grace)?;
        Ok(self.farewell(stopped, last.load(Ordering::SeqCst)))
    }

    /// What it came to. A worker that had to hand tasks back was ended by its signal.
    fn farewell(&self, stopped: Stopped, signal: i32) -> Code {
        let Stopped { handed_back, still_running, .. } = stopped;
        self.note(|| {
            let ended = format!("ended: {}; {handed_back} handed back", self.tally.text());
            match still_running {
                0 => ended,
                bodies => {
                    format!("{ended}; {bodies} bodies did not stop and end with this program")
                }
            }
        });
        if handed_back + still_running == 0 { Code::Ok } else { Code::of_signal(signal) }
    }
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
