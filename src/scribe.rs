//! Run: keeps what bodies say while they run, and what is counted, without letting anybody wait for it.
//!
//! A body changes a [`Voice`] in memory. The scribe, one thread of a client, writes what is new: of each task
//! at most twice a second, and of all tasks that are due in one commit. It is started by the first word and
//! sleeps while there is nothing to write. What was said last goes with the end of the attempt, so
//! that it is never lost to a word that comes later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::backend::Backend;
use crate::error::Error;
use crate::id::TaskId;
use crate::meter::Keeper;
use crate::outcome::cut_characters;
use crate::progress::{LOG_LINES_MAX, LogLevel, LogLine, MESSAGE_MAX, Progress};
use crate::record::{Lease, Said};
use crate::time::{Clock, Timestamp};

/// What one task says is written at most this often.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// What is counted is written at most this often.
const COUNTS_EVERY: Duration = Duration::from_secs(10);

/// A voice, and when to write what it says.
type Waiting = (Instant, Arc<Voice>);

/// What is to be written at a moment.
enum Later {
    Said(Waiting),
    Counts(Instant),
}

/// Writes for all tasks of a client.
pub(crate) struct Scribe {
    backend: Weak<dyn Backend>,
    clock: Arc<dyn Clock>,
    line: OnceLock<Sender<Later>>,
    /// Those that may still say something.
    voices: Mutex<HashMap<TaskId, Weak<Voice>>>,
}

impl Scribe {
    pub(crate) fn new(backend: &Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (line, voices) = (OnceLock::new(), Mutex::default());
        let scribe = Arc::new(Self { backend: Arc::downgrade(backend), clock, line, voices });
        backend.meter().kept_by(Arc::downgrade(&scribe) as Weak<dyn Keeper>);
        scribe
    }

    /// A voice for one attempt, whose total may be known from its arguments.
    pub(crate) fn voice(
        self: &Arc<Self>,
        id: TaskId,
        lease: Lease,
        total: Option<u64>,
    ) -> Arc<Voice> {
        let at = Some(Place { scribe: Arc::clone(self), id, lease });
        let voice = Arc::new(Voice::new(at, lease.attempt, total));
        self.voices().insert(id, Arc::downgrade(&voice));
        voice
    }

    fn voices(&self) -> MutexGuard<'_, HashMap<TaskId, Weak<Voice>>> {
        self.voices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a task says that runs here, though it may not be written yet.
    pub(crate) fn live(&self, id: TaskId) -> Option<Progress> {
        let voice = self.voices().get(&id)?.upgrade()?;
        Some(voice.progress())
    }

    /// Tells those who watch that somebody has said something.
    fn touch(&self) {
        if let Some(backend) = self.backend.upgrade() {
            backend.signal().touch();
        }
    }

    /// Writes what is counted and not kept, now.
    pub(crate) fn keep_counts(&self) -> Result<(), Error> {
        match self.backend.upgrade() {
            Some(backend) => backend.meter().keep(&*backend, self.clock.now()),
            None => Ok(()),
        }
    }

    fn write_later(&self, later: Later) {
        let line = self.line.get_or_init(|| {
            let (sender, receiver) = crossbeam_channel::unbounded();
            let (backend, clock) = (Weak::clone(&self.backend), Arc::clone(&self.clock));
            // Without the thread what was said is kept with the end of the attempt.
            let _started = std::thread::Builder::new()
                .name("litework-scribe".into())
                .spawn(move || write(&receiver, &backend, &*clock));
            sender
        });
        let _no_thread = line.send(later);
    }
}

impl Keeper for Scribe {
    fn keep_later(&self) {
        self.write_later(Later::Counts(Instant::now() + COUNTS_EVERY));
    }
}

/// The life of the thread: it ends with its client. Whoever waits here holds on to the other end of the line.
fn write(line: &Receiver<Later>, backend: &Weak<dyn Backend>, clock: &dyn Clock) {
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut counts_at: Option<Instant> = None;
    loop {
        let heard = match waiting.iter().map(|(at, _)| *at).chain(counts_at).min() {
            None => line.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => line.recv_deadline(at),
        };
        match heard {
            Ok(Later::Said(one)) => waiting.push(one),
            Ok(Later::Counts(at)) => counts_at = Some(at),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(at, _)| *at <= now);
        waiting = later;
        let counts_due = counts_at.take_if(|at| *at <= now).is_some();
        if due.is_empty() && !counts_due {
            continue;
        }
        let Some(backend) = backend.upgrade() else { return };
        if counts_due && let Err(error) = backend.meter().keep(&*backend, clock.now()) {
            tracing::warn!(%error, "what was counted could not be kept; trying again");
        }
        let said: Vec<Said> = due.iter().filter_map(|(_, voice)| voice.begin(now)).collect();
        if said.is_empty() {
            continue;
        }
        match Error::caught(|| backend.tell(clock.now(), &said)) {
            Ok(()) => {
                for (_, voice) in &due {
                    voice.kept(&said);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what tasks say could not be kept; trying again");
                for (_, voice) in &due {
                    voice.say_again();
                }
            }
        }
    }
}

/// Whose voice it is.
struct Place {
    scribe: Arc<Scribe>,
    id: TaskId,
    lease: Lease,
}

/// What one attempt says.
pub(crate) struct Voice {
    /// None without a queue.
    place: Option<Place>,
    attempt: u32,
    speech: Mutex<Speech>,
}

struct Speech {
    progress: Progress,
    /// How often it was changed,
    changes: u64,
    /// with how many of them it is being written,
    sent: u64,
    /// and with how many it is known to be. Until then it goes with the end of the attempt, as that may be
    /// written first.
    kept: u64,
    /// Lines that are not known to be written.
    lines: VecDeque<LogLine>,
    lines_ever: u64,
    /// The thread will come to it.
    queued: bool,
    written_at: Option<Instant>,
    /// The attempt has ended, and its end tells the rest.
    over: bool,
}

impl Voice {
    fn new(place: Option<Place>, attempt: u32, total: Option<u64>) -> Self {
        let speech = Speech {
            progress: Progress::of_attempt(attempt, total),
            changes: 0,
            sent: 0,
            kept: 0,
            lines: VecDeque::new(),
            lines_ever: 0,
            queued: false,
            written_at: None,
            over: false,
        };
        Self { place, attempt, speech: Mutex::new(speech) }
    }

    /// A voice that only its own body hears.
    pub(crate) fn detached() -> Arc<Self> {
        Arc::new(Self::new(None, 1, None))
    }

    fn speech(&self) -> MutexGuard<'_, Speech> {
        self.speech.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.place.as_ref().map_or_else(Timestamp::default, |place| place.scribe.clock.now())
    }

    /// What has been said until now, written or not.
    pub(crate) fn progress(&self) -> Progress {
        self.speech().progress.clone()
    }

    /// Lines that are not known to be written; all of them without a queue.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.speech().lines.iter().cloned().collect()
    }

    /// Says more of how far it has come.
    pub(crate) fn change(self: &Arc<Self>, change: impl FnOnce(&mut Progress, Timestamp)) {
        let now = self.now();
        let mut speech = self.speech();
        change(&mut speech.progress, now);
        speech.progress.told_at = now;
        speech.changes += 1;
        self.ask_to_write(&mut speech);
        drop(speech);
        if let Some(place) = &self.place {
            place.scribe.touch();
        }
    }

    /// Adds a line to the log of the task.
    pub(crate) fn log(self: &Arc<Self>, level: LogLevel, text: &str) {
        let at = self.now();
        let text = cut_characters(text, MESSAGE_MAX);
        let mut speech = self.speech();
        speech.lines_ever += 1;
        let line = LogLine { attempt: self.attempt, number: speech.lines_ever, at, level, text };
        speech.lines.push_back(line);
        if speech.lines.len() > LOG_LINES_MAX {
            speech.lines.pop_front();
        }
        self.ask_to_write(&mut speech);
    }

    fn ask_to_write(self: &Arc<Self>, speech: &mut Speech) {
        let Some(place) = self.place.as_ref().filter(|_| !speech.queued && !speech.over) else {
            return;
        };
        speech.queued = true;
        let now = Instant::now();
        let at = speech.written_at.map_or(now, |at| now.max(at + WRITE_EVERY));
        place.scribe.write_later(Later::Said((at, Arc::clone(self))));
    }

    /// What is to be written now.
    fn begin(&self, now: Instant) -> Option<Said> {
        let mut speech = self.speech();
        speech.queued = false;
        let said = self.unwritten(&speech).filter(|_| !speech.over)?;
        speech.sent = speech.changes;
        speech.written_at = Some(now);
        Some(said)
    }

    fn unwritten(&self, speech: &Speech) -> Option<Said> {
        let Place { id, lease, .. } = *self.place.as_ref()?;
        let is_new = speech.changes > speech.kept;
        let progress = is_new.then(|| speech.progress.clone());
        let some = progress.is_some() || !speech.lines.is_empty();
        some.then(|| Said { id, lease, progress, lines: speech.lines.clone() })
    }

    /// What was written need not be written again.
    fn kept(&self, said: &[Said]) {
        let Some(place) = &self.place else { return };
        let Some(own) = said.iter().find(|said| said.lease == place.lease) else { return };
        let mut speech = self.speech();
        speech.kept = speech.sent;
        let Some(last) = own.lines.back() else { return };
        while speech.lines.front().is_some_and(|line| line.number <= last.number) {
            speech.lines.pop_front();
        }
    }

    fn say_again(self: &Arc<Self>) {
        self.ask_to_write(&mut self.speech());
    }

    /// What goes with an end of the attempt that is about to be written. More may still be said, if it fails.
    pub(crate) fn last_words(&self, succeeded: bool) -> Option<Box<Said>> {
        let speech = self.speech();
        let said = self.unwritten(&speech);
        if !succeeded || speech.progress.is_filled() {
            return said.map(Box::new);
        }
        let Place { id, lease, .. } = *self.place.as_ref()?;
        let progress = Some(speech.progress.clone().filled());
        Some(Box::new(Said { id, lease, progress, lines: speech.lines.clone() }))
    }

    /// The same where the attempt has ended: from here on nothing is written but that.
    pub(crate) fn end(&self, succeeded: bool) -> Option<Box<Said>> {
        let said = self.last_words(succeeded);
        self.speech().over = true;
        if let Some(place) = &self.place {
            let mut voices = place.scribe.voices();
            // An attempt that has lost its lease may end while the next one speaks.
            if voices.get(&place.id).is_some_and(|voice| std::ptr::eq(voice.as_ptr(), self)) {
                voices.remove(&place.id);
            }
        }
        said
    }
}
