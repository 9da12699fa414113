//! Watch: who is told of events in this process: receivers, and the log.
//!
//! Told after the commit, at most once, on the thread that committed, outside all locks. A commit that
//! failed, or whose outcome is unknown, is told to nobody. Receivers are called in the order they were
//! added, each by itself: one that panics harms neither the others nor the task nor the thread.
//!
//! The events of one task come in order, also where several threads tell of it: a thread that has
//! something to tell of a task waits while another is telling, but not from inside a receiver, so that
//! no two can wait for each other. Where nobody listens, all this is one branch.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tracing::Level;

use crate::backend::{Backend, Over};
use crate::catalog::Catalog;
use crate::counters::LaneNumber;
use crate::error::Error;
use crate::event::{About, Event, EventKind, Ledger};
use crate::id::TaskId;
use crate::inside::{self, Inside};
use crate::meter::{End, Meter};
use crate::outcome::Outcome;
use crate::panics;
use crate::record::{Claimed, Finish, Finished, NewTask, Stored, TaskRecord};
use crate::redact::Veiled;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Receivers that cause events cause calls of receivers, down to this depth.
const DEPTH_MAX: u32 = 32;

/// Kinds of events, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u16);

impl Kinds {
    /// What the end of an attempt may come to.
    const ENDS: Self = Self(
        Self::bit(EventKind::Succeeded)
            | Self::bit(EventKind::Failed)
            | Self::bit(EventKind::Snoozed)
            | Self::bit(EventKind::Cancelled)
            | Self::bit(EventKind::Skipped)
            | Self::bit(EventKind::Finished),
    );

    const fn bit(kind: EventKind) -> u16 {
        1 << kind as u16
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn has(self, kind: EventKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

impl FromIterator<EventKind> for Kinds {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | Self::bit(kind)))
    }
}

/// Called with each event of its kinds.
pub(crate) struct Receiver {
    pub(crate) kinds: Kinds,
    pub(crate) call: Box<dyn Fn(&Event) + Send + Sync>,
}

/// The receivers of a client.
pub(crate) struct Hooks {
    /// The address of the hub they belong to.
    hub: usize,
    receivers: Vec<Receiver>,
    /// What any of them listens to.
    heard: Kinds,
    line: Arc<Line>,
    /// What is told is counted too.
    meter: Arc<Meter>,
    /// It says what the log leaves out.
    catalog: Arc<Catalog>,
}

impl About {
    pub(crate) fn claimed(task: &Claimed) -> Self {
        Self {
            kind: Arc::clone(&task.kind),
            queue: Arc::clone(&task.queue),
            trace: task.trace.clone(),
        }
    }

    pub(crate) fn new_task(task: &NewTask) -> Self {
        Self {
            kind: Arc::clone(&task.kind),
            queue: Arc::clone(&task.queue),
            trace: task.trace.clone(),
        }
    }
}

impl Event {
    /// What an engine notes of a task that it has stored.
    pub(crate) fn enqueued(
        id: TaskId,
        about: &About,
        (state, reason): (State, Option<Reason>),
        due_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let due_at = Some(due_at).filter(|_| !state.is_final());
        Self { state, reason, due_at, ..Self::new(EventKind::Enqueued, id, about, now) }
    }

    /// What an attempt came to, if that is an event.
    fn ended(finish: &Finish, about: &About, came_to: Finished) -> Option<Self> {
        let what = EventKind::of(came_to.state, came_to.reason)?;
        Some(Self {
            attempt: finish.lease.attempt,
            state: came_to.state,
            reason: came_to.reason,
            due_at: came_to.due_at,
            error: finish.outcome.report().cloned(),
            ..Self::new(what, finish.id, about, finish.finished_at)
        })
    }

    /// The end of a task that no attempt has ended.
    fn ended_unrun(task: TaskRecord) -> Option<Self> {
        let at = task.finished_at?;
        let what = EventKind::of(task.state, task.reason)?;
        let trace = task.trace.map(Arc::from);
        let about = About { kind: task.kind.into(), queue: task.queue.into(), trace };
        Some(Self {
            attempt: task.attempt,
            state: task.state,
            reason: task.reason,
            // Who holds the lock, or what came before it; any other is that of an earlier attempt.
            error: task
                .error
                .filter(|_| task.state == State::Skipped || task.reason == Some(Reason::Parent)),
            ..Self::new(what, task.id, &about, at)
        })
    }
}

impl Hooks {
    pub(crate) fn new(
        hub: usize,
        receivers: Vec<Receiver>,
        meter: Arc<Meter>,
        catalog: Arc<Catalog>,
    ) -> Arc<Self> {
        let heard = receivers.iter().fold(0, |bits, receiver| bits | receiver.kinds.0);
        Arc::new(Self { hub, receivers, heard: Kinds(heard), line: Arc::default(), meter, catalog })
    }

    /// Whether there are receivers at all.
    pub(crate) fn call_receivers(&self) -> bool {
        !self.heard.is_empty()
    }

    /// What must be known of an attempt's task when its end is told; none where nobody would hear of
    /// it. What is not a success is logged in any case.
    pub(crate) fn about(&self, task: &Claimed, outcome: &Outcome) -> Option<Box<About>> {
        let quiet = matches!(outcome, Outcome::Succeeded { .. })
            && !self.heard.has_any(Kinds::ENDS)
            && !tracing::enabled!(Level::INFO);
        (!quiet).then(|| Box::new(About::claimed(task)))
    }

    /// Whether anybody hears of tasks that are stored.
    pub(crate) fn tells_stored(&self) -> bool {
        self.heard.has(EventKind::Enqueued) || tracing::enabled!(Level::DEBUG)
    }

    /// Before new tasks are given to the engine; none where nobody would hear of them.
    pub(crate) fn enqueuing(&self, tasks: &mut [NewTask]) -> Option<Vec<About>> {
        if self.heard.has(EventKind::Enqueued) {
            let ledger = Arc::clone(&self.line) as Arc<dyn Ledger>;
            for task in tasks.iter_mut() {
                task.ledger = Some(Arc::clone(&ledger));
            }
        }
        if !self.tells_stored() {
            return None;
        }
        Some(tasks.iter().map(About::new_task).collect())
    }

    /// The calls are stored.
    pub(crate) fn enqueued(&self, abouts: &[About], stored: &[Stored], now: Timestamp) {
        let hears = self.heard.has(EventKind::Enqueued);
        for (about, stored) in abouts.iter().zip(stored) {
            let event = Event::enqueued(stored.id, about, (stored.state, None), stored.due_at, now);
            let event = Event { existing: stored.existing, ..event };
            log_enqueued(&event);
            if hears && stored.existing {
                self.call(&event);
            } else if hears && let Some(noted) = self.line.take(stored.id, is_patient()) {
                self.call(&noted);
                self.line.leave(stored.id);
            }
        }
    }

    /// Some of what was stored may have ended already, as another task holds its lock, or with one before
    /// it. The engine has counted it.
    pub(crate) fn skipped(&self, backend: &dyn Backend, stored: &[Stored]) {
        self.tell_unrun(backend, &over(stored));
    }

    /// The same of what was stored past the engine, which then has not counted it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn skipped_within(&self, backend: &dyn Backend, stored: &[Stored]) {
        let rows = over(stored);
        if rows.is_empty() {
            return;
        }
        match backend.ends(&rows) {
            Ok(ends) => self.meter.ended(&ends),
            Err(error) => tracing::warn!(%error, "tasks that ended could not be counted"),
        }
        self.tell_unrun(backend, &rows);
    }

    /// A body is about to begin; says where what it comes to is counted.
    pub(crate) fn started(&self, task: &Claimed, now: Timestamp) -> LaneNumber {
        let lane = self.meter.begin(task, now);
        tracing::debug!(
            id = %task.id, kind = &*task.kind, queue = &*task.queue, attempt = task.lease.attempt,
            trace = task.trace.as_deref(), "task started"
        );
        if self.heard.is_empty() {
            return lane;
        }
        // Also where nobody listens to this kind: what is told of the task before comes before the body.
        let entered = self.enter(task.id, true);
        if self.heard.has(EventKind::Started) {
            let event = Event::new(EventKind::Started, task.id, &About::claimed(task), now);
            self.call(&Event { attempt: task.lease.attempt, ..event });
        }
        self.leave(task.id, entered);
        lane
    }

    /// Before the ends of attempts are given to the engine.
    pub(crate) fn ending(&self, finishes: &[Finish]) -> Telling<'_> {
        let entered = if self.heard.is_empty() {
            Vec::new()
        } else {
            let enter = |finish: &Finish| self.enter(finish.id, false).then_some(finish.id);
            finishes.iter().map(enter).collect()
        };
        Telling { hooks: self, entered }
    }

    /// An attempt whose own transaction has recorded its end.
    pub(crate) fn ended_by_itself(&self, finish: &Finish, came_to: Finished) {
        let telling = self.ending(std::slice::from_ref(finish));
        telling.tell(std::slice::from_ref(finish), &[Ok(came_to)], |_, _| {});
    }

    /// These rows have ended without an attempt: they were cancelled, had expired, or are damaged. The engine has counted
    /// them.
    pub(crate) fn tell_unrun(&self, backend: &dyn Backend, rows: &[i64]) {
        if self.heard.is_empty() && !tracing::enabled!(Level::ERROR) {
            return;
        }
        for row in rows {
            match backend.by_row(*row) {
                Ok(Some(task)) => self.one_ended_unrun(task),
                Ok(None) => tracing::debug!(row, "a task that ended is gone, so nobody is told"),
                Err(error) => {
                    let error = Veiled(&error);
                    tracing::warn!(row, %error, "a task that ended is unreadable, so nobody is told");
                }
            }
        }
    }

    /// What people did has ended these.
    pub(crate) fn ended_by_deed(&self, backend: &dyn Backend, over: &Over) {
        let ends: Vec<End> = over.gone.iter().filter_map(End::of).collect();
        self.meter.ended(&ends);
        for task in &over.gone {
            self.one_ended_unrun(task.clone());
        }
        self.tell_unrun(backend, &over.rows);
    }

    fn one_ended_unrun(&self, task: TaskRecord) {
        let Some(event) = Event::ended_unrun(task) else { return };
        self.log_ended(&event);
        if self.heard.is_empty() {
            return;
        }
        let entered = self.enter(event.id, true);
        let id = event.id;
        self.call_ended(event);
        self.leave(id, entered);
    }

    /// One line at each end: an error that was not expected is an error, and a warning where the task is
    /// tried again; the rest is information.
    fn log_ended(&self, event: &Event) {
        let redaction = event.error.as_ref().map(|_| self.catalog.redaction_of(&event.kind));
        let error = event.error.as_ref().zip(redaction.as_ref());
        let error = error.map(|(error, redaction)| redaction.told(error));
        macro_rules! say {
            ($level:ident, $message:literal) => {
                ::tracing::$level!(
                    id = %event.id, kind = &*event.kind, queue = &*event.queue, attempt = event.attempt,
                    reason = event.reason.map(Reason::as_str),
                    error = error.as_ref().map(tracing::field::display),
                    due_at = event.due_at.map(tracing::field::display),
                    trace = event.trace.as_deref(), $message
                )
            };
        }
        let expected = event.error.as_ref().is_some_and(|error| error.expected);
        let (failed, again) = (event.what == EventKind::Failed, event.will_retry());
        match event.what {
            _ if failed && again && !expected => say!(warn, "task will be tried again"),
            _ if failed && again => say!(info, "task will be tried again"),
            _ if failed && !expected => say!(error, "task failed"),
            _ if failed => say!(info, "task failed"),
            EventKind::Succeeded => say!(info, "task succeeded"),
            EventKind::Snoozed => say!(debug, "task snoozed"),
            EventKind::Cancelled => say!(info, "task cancelled"),
            EventKind::Skipped => say!(info, "task skipped"),
            _ => {}
        }
    }

    /// What was stored in a transaction that has not ended.
    pub(crate) fn untold(self: &Arc<Self>) -> Untold {
        Untold { hooks: Arc::clone(self), tasks: Vec::new(), lanes: Vec::new() }
    }

    /// Makes this thread the one that tells of a task, once what was noted of it is told; false
    /// where another is telling and this one does not wait.
    fn enter(&self, id: TaskId, patient: bool) -> bool {
        let (noted, entered) = self.line.enter(id, patient && is_patient());
        if let Some(noted) = noted {
            self.call(&noted);
        }
        entered
    }

    fn leave(&self, id: TaskId, entered: bool) {
        if entered {
            self.line.leave(id);
        }
    }

    fn call_ended(&self, event: Event) {
        self.call(&event);
        if event.state.is_final() {
            self.call(&Event { what: EventKind::Finished, ..event });
        }
    }

    fn call(&self, event: &Event) {
        if !self.heard.has(event.what) {
            return;
        }
        if inside::receivers() >= DEPTH_MAX {
            tracing::error!(
                id = %event.id, kind = &*event.kind, event = event.what.as_str(),
                "receivers of events cause each other's calls; this event is told to none"
            );
            return;
        }
        for receiver in self.receivers.iter().filter(|receiver| receiver.kinds.has(event.what)) {
            let trace = event.trace.clone();
            let place = Inside { hub: self.hub, id: event.id, trace, receiver: true };
            let answer = inside::enter(place, || panics::caught(|| (receiver.call)(event)));
            if let Err(error) = answer {
                let redaction = self.catalog.redaction_of(&event.kind);
                tracing::error!(
                    id = %event.id, kind = &*event.kind, event = event.what.as_str(),
                    error = %redaction.told(&error), "a receiver of events panicked"
                );
            }
        }
    }
}

/// Those that had ended when they were stored.
fn over(stored: &[Stored]) -> Vec<i64> {
    let over = stored.iter().filter(|stored| stored.state.is_final() && !stored.existing);
    over.map(|stored| stored.id.row()).collect()
}

/// Ends of attempts that are being committed. Dropped untold, nobody hears of them.
pub(crate) struct Telling<'a> {
    hooks: &'a Hooks,
    /// Those of which this thread tells, in the order of the finishes.
    entered: Vec<Option<TaskId>>,
}

impl Telling<'_> {
    /// Tells what was kept; says for each finish that was not why.
    pub(crate) fn tell(
        mut self,
        finishes: &[Finish],
        answers: &[Result<Finished, Error>],
        mut lost: impl FnMut(&Finish, &Error),
    ) {
        self.hooks.meter.end(finishes, answers);
        for (at, (finish, answer)) in finishes.iter().zip(answers).enumerate() {
            match answer {
                Ok(came_to) => self.tell_one(finish, *came_to),
                Err(error) => lost(finish, error),
            }
            if let Some(id) = self.entered.get_mut(at).and_then(Option::take) {
                self.hooks.line.leave(id);
            }
        }
    }

    fn tell_one(&self, finish: &Finish, came_to: Finished) {
        let Some(about) = &finish.about else { return };
        if let Some(event) = Event::ended(finish, about, came_to) {
            self.hooks.log_ended(&event);
            self.hooks.call_ended(event);
        } else {
            tracing::debug!(
                id = %finish.id, kind = &*about.kind, queue = &*about.queue,
                attempt = finish.lease.attempt, trace = about.trace.as_deref(), "task handed back"
            );
        }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.entered.drain(..).flatten().for_each(|id| self.hooks.line.leave(id));
    }
}

/// Calls stored in a transaction that has not ended: told when it has committed, else forgotten.
pub(crate) struct Untold {
    hooks: Arc<Hooks>,
    tasks: Vec<(About, Stored)>,
    /// Their queues and kinds.
    lanes: Vec<(Arc<str>, Arc<str>)>,
}

impl Untold {
    /// One more call of the transaction, with what [`Hooks::enqueuing`] said of it.
    pub(crate) fn add(
        &mut self,
        (queue, kind): (&Arc<str>, &Arc<str>),
        abouts: Option<Vec<About>>,
        stored: &Stored,
    ) {
        if !stored.existing {
            self.lanes.push((Arc::clone(queue), Arc::clone(kind)));
        }
        let about = abouts.into_iter().flatten();
        self.tasks.extend(about.map(|about| (about, stored.clone())));
    }

    /// The transaction was committed.
    pub(crate) fn tell(mut self, now: Timestamp) {
        if !self.lanes.is_empty() {
            let lanes = &self.lanes;
            self.hooks.meter.count(|book| {
                for (queue, kind) in lanes {
                    book.enqueued(queue, kind, now, 1);
                }
            });
        }
        for (about, stored) in std::mem::take(&mut self.tasks) {
            self.hooks.enqueued(&[about], &[stored], now);
        }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(|(_, stored)| self.hooks.line.forget(stored.id));
    }
}

/// Whether this thread may wait for another that is telling.
fn is_patient() -> bool {
    inside::receivers() == 0
}

/// Of which tasks something is being told, or is still to be.
#[derive(Default)]
struct Line {
    places: Mutex<HashMap<TaskId, Place>>,
    moved: Condvar,
}

enum Place {
    /// Stored, and told by whoever comes first.
    Noted(Box<Event>),
    /// A thread is telling, or committing what it is going to tell.
    Busy,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Ledger for Line {
    fn note(&self, enqueued: Event) {
        self.places().insert(enqueued.id, Place::Noted(Box::new(enqueued)));
    }
}

impl Line {
    fn places(&self) -> MutexGuard<'_, HashMap<TaskId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same once nobody else tells of this task, if the caller is patient.
    fn places_for(&self, id: TaskId, patient: bool) -> MutexGuard<'_, HashMap<TaskId, Place>> {
        let busy = |places: &mut HashMap<TaskId, Place>| {
            patient && matches!(places.get(&id), Some(Place::Busy))
        };
        let waited = self.moved.wait_while(self.places(), busy);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of a task: what was noted of it, to be told first, and whether it was free.
    fn enter(&self, id: TaskId, patient: bool) -> (Option<Box<Event>>, bool) {
        match self.places_for(id, patient).insert(id, Place::Busy) {
            None => (None, true),
            Some(Place::Noted(event)) => (Some(event), true),
            Some(Place::Busy) => (None, false),
        }
    }

    /// What was noted of a task, with its place, if nobody else has told it or is telling.
    fn take(&self, id: TaskId, patient: bool) -> Option<Box<Event>> {
        let mut places = self.places_for(id, patient);
        match places.get_mut(&id).map(|place| std::mem::replace(place, Place::Busy)) {
            Some(Place::Noted(event)) => Some(event),
            Some(Place::Busy) | None => None,
        }
    }

    fn leave(&self, id: TaskId) {
        self.places().remove(&id);
        self.moved.notify_all();
    }

    /// Its transaction was not committed.
    fn forget(&self, id: TaskId) {
        let mut places = self.places();
        if matches!(places.get(&id), Some(Place::Noted(_))) {
            places.remove(&id);
        }
    }
}

fn log_enqueued(event: &Event) {
    tracing::debug!(
        id = %event.id, kind = &*event.kind, queue = &*event.queue, state = event.state.as_str(),
        due_at = event.due_at.map(tracing::field::display), existing = event.existing,
        trace = event.trace.as_deref(), "task enqueued"
    );
}
