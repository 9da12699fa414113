//! Enqueue: what a client and its handles share: engine, catalog, clock, and whoever runs.
//!
//! It checks calls, encodes their arguments and gives them to the engine. It knows that there may
//! be a runner, not which: the builder puts one in.

mod life;
mod pending;
mod served;
mod stored;

use std::iter::Sum;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use self::life::Life;
use self::life::{Closing, Phase};
pub use self::pending::Pending;
pub(crate) use self::stored::ended_unrun;
use self::stored::note_ran;
use crate::artifact::ArtifactQuota;
use crate::audit::{self, Entry};
use crate::backend::{Backend, Offer, SuspectPlace};
use crate::calendar::Declared;
use crate::catalog::{Catalog, Kind};
use crate::error::Error;
use crate::hook::Hooks;
use crate::id::TaskId;
use crate::inside::{self, Inside};
use crate::json::{self, JsonLimits};
use crate::mode::Mode;
#[cfg(feature = "testing")]
use crate::outcome::Outcome;
use crate::pruner::Pruner;
use crate::quota::Quotas;
use crate::record::{Claimed, Finished, NewTask, Stored};
use crate::scribe::Scribe;
use crate::state::State;
use crate::task::{Call, CallOptions, Signature, checked_trace, trace_id};
use crate::ties::{Before, Extra, Links};
use crate::time::{Clock, Timestamp};
use crate::unserved::Warner;
use crate::untyped::Caption;
use crate::watching::Desk;

/// What [`Client::shutdown`](crate::Client::shutdown) came to, over all that ran: the pool, callers
/// in mode `inline`, and `run_pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Attempts that were running and ended by themselves.
    pub finished: usize,
    /// Tasks handed back, their attempts refunded.
    pub handed_back: usize,
    /// Bodies that did not stop; their threads are left behind and their leases are gone.
    pub still_running: usize,
}

impl Sum for Stopped {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            finished: sum.finished + one.finished,
            handed_back: sum.handed_back + one.handed_back,
            still_running: sum.still_running + one.still_running,
        })
    }
}

/// What [`Client::run_pending`](crate::Client::run_pending) did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// Attempts that ended with a return value.
    pub succeeded: usize,
    /// Attempts after which the task is final without one.
    pub failed: usize,
    /// Attempts after which the task goes on later.
    pub postponed: usize,
}

/// Runs what was enqueued: the pool, or the caller itself.
pub(crate) trait Runner: Send + Sync {
    /// What it could start at once, on this thread's behalf.
    fn offer(&self) -> Result<Option<Arc<dyn Offer>>, Error>;
    /// Takes tasks that were handed over; says what became of those that it has run already.
    fn take(&self, claimed: Vec<Claimed>) -> Vec<(TaskId, Finished)>;
    /// Runs one stored task now, if this runner is one that runs in the caller; says what became of it.
    fn run_stored(&self, id: TaskId) -> Option<Finished>;
    /// Runs what follows a task that has ended, likewise.
    fn run_followers(&self, _id: TaskId) {}
    /// Runs so many tasks at a time from now on; false where the runner has no threads of its own.
    fn resize(self: Arc<Self>, _threads: usize) -> Result<bool, Error> {
        Ok(false)
    }
    /// How long ago it has looked after its tasks, where it has a thread that does.
    fn beat(&self) -> Option<Duration> {
        None
    }
    /// Its own end; none where it is the pending runner too, which every client has.
    fn as_stops(&self) -> Option<&dyn Stops>;
}

/// Runs what is due in the calling thread, and returns.
pub(crate) trait PendingRunner: Stops {
    fn run_pending(&self, pending: &Pending) -> Result<Ran, Error>;
    /// Whether a thread of this client has a task of this row in hand, or is about to try it again.
    fn holds(&self, row: i64) -> bool;
    /// Stores what callers' attempts came to and could not be stored until now.
    fn send_again(&self);
    /// For how long there is nothing to do that nobody tells of.
    #[cfg(feature = "cli")]
    fn rest(&self) -> Result<Duration, Error>;
    /// The same, step by step.
    #[cfg(feature = "testing")]
    fn stepper(&self) -> &dyn Stepper;
}

/// What one attempt came to.
#[cfg(feature = "testing")]
pub(crate) struct Came {
    pub(crate) kind: Arc<str>,
    /// One attempt; none where it does not count, as its lease was lost or it was handed back.
    pub(crate) ran: Ran,
}

/// What came of one task that was to be run.
#[cfg(feature = "testing")]
pub(crate) enum Stepped {
    Ran(Came),
    /// It has ended without an attempt, which may let others run.
    Ended,
    /// It is not due, and nothing is once the client shuts down.
    NotNow,
}

/// Runs one attempt at a time in the calling thread, for tests.
#[cfg(feature = "testing")]
pub(crate) trait Stepper {
    /// Takes what others have left behind or written, as `run_pending` does first; says whether some of it
    /// is held back for want of room.
    fn gather(&self) -> Result<bool, Error>;
    /// One attempt of the best task that is due; none when nothing is, and once the client shuts down.
    fn run_next(&self, pending: &Pending) -> Result<Option<Came>, Error>;
    /// One attempt of this task, if it is due.
    fn run_one(&self, id: TaskId) -> Result<Stepped, Error>;
    /// When something that waits for its time may start next, as far as the engine knows.
    fn next_due(&self) -> Result<Option<Timestamp>, Error>;
    /// Runs the body of a task that is not stored.
    fn rehearse(&self, task: NewTask) -> Result<Outcome, Error>;
}

/// The end of a runner, step by step, so that all runners of a client share one grace.
pub(crate) trait Stops: Send + Sync {
    /// Claims and begins nothing more.
    fn drain(&self);
    /// Waits until nothing runs; false when `until` came first.
    fn wait_idle(&self, until: Instant) -> bool;
    /// Asks the bodies that run to stop.
    fn ask(&self);
    /// How many bodies run.
    #[cfg(feature = "cli")]
    fn bodies(&self) -> usize;
    /// Stores what is left to store, takes the leases of what still runs, and leaves. After an
    /// error it may be called again, and says then what the whole came to.
    fn leave(&self) -> Result<Stopped, Error>;
}

/// Asked once for each enqueue call.
pub(crate) type TraceContext = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What holds for all tasks of one enqueue call.
pub(crate) struct Calling {
    pub(crate) now: Timestamp,
    /// The trace of those that name none.
    trace: Option<Arc<str>>,
}

impl Calling {
    /// A call that belongs to no trace of this program.
    pub(crate) fn untraced(now: Timestamp) -> Self {
        Self { now, trace: None }
    }
}

/// What all handles of one open client share.
pub(crate) struct Hub {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: JsonLimits,
    pub(crate) quotas: Quotas,
    pub(crate) artifacts: ArtifactQuota,
    pub(crate) hooks: Arc<Hooks>,
    /// The trace that calls belong to, where the program knows.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) mode: Mode,
    /// What the program is called.
    pub(crate) program: Arc<str>,
    pub(crate) path: Option<PathBuf>,
    pub(crate) runner: OnceLock<Arc<dyn Runner>>,
    pub(crate) pending: OnceLock<Arc<dyn PendingRunner>>,
    /// Shared by both.
    pub(crate) suspect: Arc<SuspectPlace>,
    pub(crate) life: Arc<Life>,
    pub(crate) pruner: Arc<Pruner>,
    pub(crate) scribe: Arc<Scribe>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) warner: Warner,
    pub(crate) declared: Declared,
}

/// The default grace of a client that is dropped without `shutdown`.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// A grace is at most a year.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Whoever shuts down looks so often whether somebody else has less patience.
const HURRY_EVERY: Duration = Duration::from_millis(20);
/// How long bodies have between the word to stop and the loss of their lease, in a shutdown.
pub(crate) const STOP_DELAY: Duration = Duration::from_secs(1);

impl Drop for Hub {
    fn drop(&mut self) {
        // There is nobody left to tell what happened.
        let _untold = self.close(GRACE_DEFAULT);
    }
}

impl Hub {
    /// Runs a body of this hub, so that the thread knows what it is inside of.
    pub(crate) fn inside<R>(&self, task: &Claimed, body: impl FnOnce() -> R) -> R {
        let trace = task.trace.clone();
        let place = Inside { hub: self.address(), id: task.id, trace, receiver: false };
        inside::enter(place, body)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this thread is inside a body, or a receiver of events, of this hub.
    fn is_inside_own(&self) -> bool {
        inside::is_of(self.address())
    }

    /// `closed` once the client is shut down, but for bodies and receivers of events while they have the
    /// grace to end.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.check_open_to(false)
    }

    /// The same, where the call may come from a body in another thread than its own.
    pub(crate) fn check_open_to(&self, body: bool) -> Result<(), Error> {
        let open = self.life.is(Phase::Open)
            || self.life.is(Phase::Draining) && (body || self.is_inside_own());
        if open { Ok(()) } else { Err(Error::Closed) }
    }

    /// The program holds no client of it any more.
    pub(crate) fn let_go(&self) {
        self.life.let_go.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_let_go(&self) -> bool {
        self.life.let_go.load(Ordering::SeqCst)
    }

    /// Whether it was shut down, to the end.
    pub(crate) fn is_closed(&self) -> bool {
        let closing = self.life.closing.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*closing, Closing::Done(_))
    }

    /// Refuses a shutdown that would wait for the body, or the receiver, it is called in.
    pub(crate) fn check_may_close(&self) -> Result<(), Error> {
        if self.is_inside_own() {
            return Err(Error::Reentrant {
                what: "a task, or a receiver of events, that shuts its own client down would wait for \
                       its own end",
                instead: "let another thread shut it down, and return",
            });
        }
        self.backend.check_usable()
    }

    /// Shuts down; one that comes second waits for the first and has its answer. If it has less grace, that
    /// one has no more.
    pub(crate) fn close(&self, grace: Duration) -> Result<Stopped, Error> {
        if let Err(error @ Error::Forked { .. }) = self.backend.check_usable() {
            // Threads do not come along into a forked child, so nobody there would end them.
            return Err(error);
        }
        let until = Instant::now() + grace.min(GRACE_MAX);
        self.life.hurry(until);
        let mut closer = match self.life.begin_closing() {
            Ok(closer) => closer,
            Err(stopped) => return Ok(stopped),
        };
        // The one before may have failed, and taken its grace along.
        self.life.hurry(until);
        let answer = self.end_runners();
        if let Err(error) = self.scribe.keep_counts() {
            tracing::warn!(%error, "what was counted last could not be kept");
        }
        if let Ok(stopped) = answer {
            closer.answer = Closing::Done(stopped);
        }
        self.life.advance(Phase::Over);
        self.backend.signal().wake_all();
        self.desk.close();
        answer
    }

    /// How many bodies run, in the pool and in callers.
    #[cfg(feature = "cli")]
    pub(crate) fn bodies(&self) -> usize {
        self.runners().into_iter().map(Stops::bodies).sum()
    }

    fn runners(&self) -> Vec<&dyn Stops> {
        let pool = self.runner.get().and_then(|runner| runner.as_stops());
        let callers = self.pending.get().map(|pending| &**pending as &dyn Stops);
        pool.into_iter().chain(callers).collect()
    }

    fn end_runners(&self) -> Result<Stopped, Error> {
        let runners = self.runners();
        for runner in &runners {
            runner.drain();
        }
        // Whoever is told `closed` knows that nothing more is claimed.
        self.life.advance(Phase::Draining);
        if !self.wait_for(&runners) {
            for runner in &runners {
                runner.ask();
            }
            let until = Instant::now() + STOP_DELAY;
            // Those that did not stop lose their leases below.
            let _some_stay = runners.iter().all(|runner| runner.wait_idle(until));
        }
        self.life.advance(Phase::Closed);
        // Each leaves, even if another cannot.
        let answers: Vec<_> = runners.iter().map(|runner| runner.leave()).collect();
        answers.into_iter().sum()
    }

    /// Waits until nothing runs; false when the grace was over before, which may be cut short meanwhile.
    fn wait_for(&self, runners: &[&dyn Stops]) -> bool {
        loop {
            let until = self.life.until().unwrap_or_else(Instant::now);
            let soon = until.min(Instant::now() + HURRY_EVERY);
            if runners.iter().all(|runner| runner.wait_idle(soon)) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }

    /// Whether nothing more comes of waiting for a task that has not ended.
    pub(crate) fn is_over(&self) -> bool {
        self.life.is(Phase::Over)
    }

    /// What holds for the tasks of one enqueue call: read once, at its begin.
    pub(crate) fn calling(&self) -> Result<Calling, Error> {
        self.calling_at(self.clock.now())
    }

    /// The same inside a transaction, whose calls all have its time.
    pub(crate) fn calling_at(&self, now: Timestamp) -> Result<Calling, Error> {
        Ok(Calling { now, trace: self.trace_now()? })
    }

    /// The trace of calls that name none. Inside a body they stay in the body's trace, so what the
    /// program knows counts there only if it is the same trace.
    fn trace_now(&self) -> Result<Option<Arc<str>>, Error> {
        let known = match self.trace.as_ref().and_then(|context| context()) {
            Some(text) => Some(checked_trace(&text, "trace context of the program")?),
            None => None,
        };
        let around = inside::trace();
        let other = known
            .as_ref()
            .zip(around.as_ref())
            .is_some_and(|(known, around)| trace_id(known) != trace_id(around));
        Ok(known.filter(|_| !other).or(around))
    }

    /// Checks a call and encodes it.
    pub(crate) fn prepare<T: Signature>(
        &self,
        call: &Call<T>,
        calling: &Calling,
    ) -> Result<NewTask, Error> {
        let kind = self.catalog.get(T::NAME)?;
        let arguments = json::encode(&call.args, self.limits)?;
        if call.with.links.as_ref().is_some_and(|links| links.ignore_failure) {
            let allowed = "false, but for members of a flow";
            return Err(Error::invalid("unsupported", "ignore_failure", true, allowed));
        }
        self.prepare_captioned(kind, &call.with, (arguments, Caption::of(&call.args)), calling, &[])
    }

    /// Whether a call inside a transaction is stored with it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn on_commit<T: Signature>(&self, call: &Call<T>) -> Result<bool, Error> {
        let kind = self.catalog.get(T::NAME)?;
        Ok(call.with.options.over(&kind.options).checked()?.on_commit)
    }

    /// The same for arguments whose type is not at hand.
    pub(crate) fn prepare_encoded(
        &self,
        kind: &Kind,
        with: &CallOptions,
        arguments: String,
        calling: &Calling,
    ) -> Result<NewTask, Error> {
        let caption = (kind.reads.caption)(&arguments);
        self.prepare_captioned(kind, with, (arguments, caption), calling, &[])
    }

    pub(crate) fn prepare_captioned(
        &self,
        kind: &Kind,
        with: &CallOptions,
        (arguments, caption): (String, Caption),
        calling: &Calling,
        before: &[Before],
    ) -> Result<NewTask, Error> {
        let now = calling.now;
        let (plan, options) = if with.options.is_plain() {
            (kind.plan.clone(), None)
        } else {
            (with.options.over(&kind.options).checked()?, with.options.stored())
        };
        self.catalog.check_queue(&plan.queue)?;
        let mut due_at = with.due.moment(now)?;
        let mut extra: Option<Box<Extra>> = match &plan.ties {
            None => None,
            Some(ties) => Some(Box::new(self.catalog.tie(kind, ties, &arguments, now)?)),
        };
        match &with.links {
            Some(links) => links.tie(before, &arguments, extra.get_or_insert_default())?,
            None if before.is_empty() => {}
            None => {
                Links::default().tie(before, &arguments, extra.get_or_insert_default())?;
            }
        }
        caption.add_to(&mut extra);
        if let Some(quiet) = extra.as_ref().and_then(|extra| extra.claim.as_ref()?.delay) {
            due_at = due_at.max(now.after(quiet));
        }
        self.catalog.check_call(kind, &with.options, due_at > now, plan.priority)?;
        if let Some(owner) = with.checked_owner()? {
            extra.get_or_insert_default().owner = Some(owner.to_owned());
        }
        let meta =
            if with.meta.is_empty() { None } else { Some(json::encode(&with.meta, self.limits)?) };
        Ok(NewTask {
            quota: self.quotas.of(&plan.queue),
            kind: Arc::clone(&kind.name),
            queue: plan.queue,
            priority: plan.priority,
            due_at,
            expires_at: plan.expires_after.map(|span| due_at.max(now).after(span)),
            attempts_max: plan.attempts_max,
            at_most_once: plan.at_most_once,
            arguments,
            key: with.checked_key()?.map(str::to_owned),
            trace: with.checked_trace()?.or_else(|| calling.trace.clone()),
            tags: with.tags_text()?,
            meta,
            options,
            extra,
            ledger: None,
        })
    }

    /// Stores tasks, all or none, and starts those that were handed over. The caller has made sure
    /// that the client is open to him.
    pub(crate) fn store(&self, now: Timestamp, tasks: Vec<NewTask>) -> Result<Vec<Stored>, Error> {
        self.store_noted(now, tasks, None)
    }

    /// The same, noted with this entry.
    pub(crate) fn store_noted(
        &self,
        now: Timestamp,
        mut tasks: Vec<NewTask>,
        by: Option<&Arc<Entry>>,
    ) -> Result<Vec<Stored>, Error> {
        // What a body stores while the client is being shut down stays for the next program.
        let runner = self.runner.get().filter(|_| self.life.is(Phase::Open));
        let offer = match runner {
            Some(runner) => runner.offer()?,
            None => None,
        };
        // In mode `inline` it counts the caller until its tasks are held.
        let _counted = if self.mode == Mode::Inline { offer.clone() } else { None };
        let later = self.begin_later(&tasks);
        let abouts = self.hooks.enqueuing(&mut tasks);
        let mut stored = audit::during(by, || self.backend.enqueue(now, tasks, offer))?;
        if self.mode == Mode::Enqueue {
            self.warner.look(|| self.unserved(now));
        }
        if let Some(abouts) = abouts {
            self.hooks.enqueued(&abouts, &stored, now);
        }
        self.hooks.skipped(&*self.backend, &stored);
        if let Some(runner) = runner {
            let claimed: Vec<Claimed> =
                stored.iter_mut().filter_map(|stored| stored.claimed.take()).collect();
            let over = ended_unrun(&stored);
            let mut ran = if claimed.is_empty() { Vec::new() } else { runner.take(claimed) };
            let ready = |stored: &Stored| stored.state == State::Ready && !stored.existing;
            let later = later.into_iter().filter_map(|at| stored.get(at).filter(|it| ready(it)));
            ran.extend(later.filter_map(|it| Some((it.id, runner.run_stored(it.id)?))));
            note_ran(&mut stored, ran);
            for id in over {
                runner.run_followers(id);
            }
        }
        Ok(stored)
    }

    /// Which of several tasks must not start twice, in mode `inline`: each is claimed only when it is its
    /// turn, so it is stored first.
    fn begin_later(&self, tasks: &[NewTask]) -> Vec<usize> {
        if self.mode != Mode::Inline || tasks.len() == 1 {
            return Vec::new();
        }
        let once = tasks.iter().enumerate().filter(|(_, task)| task.at_most_once);
        once.map(|(at, _)| at).collect()
    }

    /// Stores a flow. In mode `inline` its tasks run here, each once those before it have ended; they stand
    /// in an order in which that goes.
    pub(crate) fn store_flow(
        &self,
        now: Timestamp,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Stored>, Error> {
        let stored = self.store(now, tasks)?;
        if let Some(runner) = self.runner.get() {
            let waits = |stored: &&Stored| stored.state == State::Waiting && !stored.existing;
            for stored in stored.iter().skip(1).filter(waits) {
                let _in_its_row = runner.run_stored(stored.id);
            }
        }
        Ok(stored)
    }
}
