//! Contract: what becomes of schedules, in one transaction each: seeded by code, changed by people, fired
//! when they are due, told of the ends of their tasks.
//!
//! All of it is decided here, once for all engines, which only keep rows: an [`Agenda`] of schedules and
//! slots, and a [`Maker`] that also stores tasks. A slot is noted in the transaction that stores its task and
//! finds the next one, so there is one task for a slot, whoever fires and whenever he dies.

mod fire;
mod seed;

use std::sync::Arc;

pub(crate) use self::fire::{Fired, fire, next_due, run_now};
pub(crate) use self::seed::{Declared, Program, Seed, revive, seed, settle, store_new};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::{NewTask, Stored};
use crate::schedule::{Entry, OpenSlot, SlotRecord, Terms};
use crate::slot::{Slot, SlotKind};
use crate::state::State;
use crate::time::Timestamp;
use crate::timing::Slots;

/// Schedules that one transaction fires at most: some milliseconds of work under the lock.
pub(crate) const SLICE: usize = 100;

/// Which schedules a program may fire: those of the kinds that it knows, and of the timings that it can read.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) kinds: Arc<[Arc<str>]>,
    pub(crate) cron: bool,
}

/// Schedules and their slots, within one transaction or one look.
pub(crate) trait Agenda {
    /// One schedule.
    fn entry(&mut self, id: i64) -> Result<Option<Entry>, Error>;
    /// The one of this name.
    fn named(&mut self, name: &str) -> Result<Option<Entry>, Error>;
    /// The one that code declares under this name.
    fn seeded(&mut self, seed: &str) -> Result<Option<Entry>, Error>;
    /// Those that the code of this program declares, or did.
    fn seeded_by(&mut self, program: &str) -> Result<Vec<i64>, Error>;
    /// Schedules by name, from after this one on.
    fn list(&mut self, after: &str, size: usize) -> Result<Vec<Entry>, Error>;
    /// When the next of these is due.
    fn next_due(&mut self, known: &Known) -> Result<Option<Timestamp>, Error>;
    /// Those that are due, the longest first.
    fn due(&mut self, now: Timestamp, known: &Known, size: usize) -> Result<Vec<Entry>, Error>;
    /// Those of these that were held back, by their numbers, from after this one on.
    fn held(&mut self, after: i64, known: &Known, size: usize) -> Result<Vec<Entry>, Error>;
    /// Those of these whose next slot was found at a moment after this one.
    fn planned_after(
        &mut self,
        moment: Timestamp,
        known: &Known,
        size: usize,
    ) -> Result<Vec<Entry>, Error>;
    /// Those that have no next slot, and may wait for the end of a task.
    fn idle(&mut self) -> Result<Vec<Entry>, Error>;
    /// A number that changes with each change of a schedule, but for its firing.
    fn edition(&mut self) -> Result<i64, Error>;
    /// The slots of a schedule, newest first, from before this one on.
    fn slots(&mut self, id: i64, before: Timestamp, size: usize) -> Result<Vec<SlotRecord>, Error>;
    /// Of those that made a task the one that was noted last, whatever the clock showed.
    fn last_run(&mut self, id: i64) -> Result<Option<SlotRecord>, Error>;
    /// Its slots whose tasks have not ended, oldest first.
    fn open_slots(&mut self, id: i64) -> Result<Vec<OpenSlot>, Error>;
    /// Whether tasks of this queue or kind are not started.
    fn is_paused(&mut self, queue: &str, kind: &str) -> Result<bool, Error>;
    /// The state of a task.
    fn state_of(&mut self, task: TaskId) -> Result<Option<State>, Error>;
    /// Whether an attempt of a task has begun.
    fn has_started(&mut self, task: TaskId) -> Result<bool, Error>;

    /// Stores a new schedule and gives its number.
    fn add(&mut self, entry: &Entry) -> Result<i64, Error>;
    /// Stores what has changed of one.
    fn update(&mut self, entry: &Entry) -> Result<(), Error>;
    /// Stores what has changed of its standing, and touches nothing else of it.
    fn update_standing(&mut self, entry: &Entry) -> Result<(), Error>;
    /// Forgets one, with its slots.
    fn remove(&mut self, id: i64) -> Result<(), Error>;
    /// Tells all who wait for the next slot that it may be another.
    fn note_edition(&mut self) -> Result<(), Error>;
    /// Whether a slot of this moment is noted, and not as missed: by a clock that was set back since, it may
    /// be due yet.
    fn has_slot(&mut self, id: i64, at: Timestamp) -> Result<bool, Error>;
    /// Notes a slot, of which there is none of this moment yet, or one that was missed.
    fn put_slot(&mut self, id: i64, slot: &SlotRecord) -> Result<(), Error>;
    /// The task of a slot has ended; or, without a moment, runs again.
    fn end_slot(
        &mut self,
        id: i64,
        at: Timestamp,
        end: Option<(Timestamp, State)>,
    ) -> Result<(), Error>;
    /// Forgets slots that are too many, those first that were noted first.
    fn trim_slots(&mut self, id: i64) -> Result<(), Error>;
}

/// The same where tasks can be stored.
pub(crate) trait Maker: Agenda {
    /// Stores a task. Refused before anything of it is written.
    fn store(&mut self, now: Timestamp, task: NewTask) -> Result<Stored, Error>;
    /// Stores all or none of these.
    fn store_all(&mut self, now: Timestamp, tasks: Vec<NewTask>) -> Result<Vec<Stored>, Error>;
    /// Cancels a task, or asks it to stop, for the sake of a later one; whether it has ended now.
    fn cancel(&mut self, now: Timestamp, task: TaskId) -> Result<bool, Error>;
    /// Does this work, and takes back all of it where rows refuse it: then that is the answer. Any other
    /// error is one of the whole transaction.
    fn apart(&mut self, work: Apart<'_>) -> Result<Option<Error>, Error>;
    /// Whether the whole transaction is lost, and not only what was refused.
    fn is_lost(&self) -> bool;
    /// The trait that is behind it.
    fn agenda(&mut self) -> &mut dyn Agenda;
}

/// What is done apart from the rest of a transaction.
pub(crate) type Apart<'a> = &'a mut dyn FnMut(&mut dyn Maker) -> Result<(), Error>;

/// Makes the task of a slot.
pub(crate) type Prepare<'a> = &'a dyn Fn(&Entry, &Terms, Slot) -> Result<NewTask, Error>;

/// What an engine does with schedules: one transaction, or one look.
pub(crate) trait Calendar: Send + Sync {
    /// Runs this in one transaction; an error takes all of it back.
    fn change(
        &self,
        work: &mut dyn FnMut(&mut dyn Maker) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Runs this as one look; what it would change is lost or refused.
    fn look(&self, look: Look<'_>) -> Result<(), Error>;

    /// The same for whoever looks often, or while the store is being opened: what it needs is there already.
    fn glance(&self, look: Look<'_>) -> Result<(), Error> {
        self.look(look)
    }
}

/// What is looked at.
pub(crate) type Look<'a> = &'a mut dyn FnMut(&mut dyn Agenda) -> Result<(), Error>;

/// [`Calendar::change`] with an answer.
pub(crate) fn change<R>(
    calendar: &(impl Calendar + ?Sized),
    mut work: impl FnMut(&mut dyn Maker) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut answer = None;
    calendar.change(&mut |maker| {
        answer = Some(work(maker)?);
        Ok(())
    })?;
    answer.ok_or(Error::Closed)
}

/// [`Calendar::look`] with an answer.
pub(crate) fn look<R>(
    calendar: &(impl Calendar + ?Sized),
    mut look: impl FnMut(&mut dyn Agenda) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut answer = None;
    calendar.look(&mut |agenda| {
        answer = Some(look(agenda)?);
        Ok(())
    })?;
    answer.ok_or(Error::Closed)
}

/// Sets the next slot of a schedule.
fn set_next(entry: &mut Entry, terms: &Terms, next: Option<Timestamp>, now: Timestamp) {
    let standing = &mut entry.standing;
    standing.next_at = next;
    standing.due_at = next.map(|slot| slot.after(terms.delay(entry.id, slot)));
    standing.planned_at = Some(now);
    standing.held = false;
}

/// Whether it fires at all.
fn may_fire(entry: &Entry, terms: &Terms) -> bool {
    terms.is_enabled()
        && entry.orphaned_at.is_none()
        && entry.standing.failing_at.is_none()
        && terms.times.is_none_or(|times| entry.standing.runs < times)
}

/// Finds the next slot anew, from now on: never one that has passed.
fn plan(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    (terms, slots): (&Terms, &Slots),
    now: Timestamp,
) -> Result<(), Error> {
    entry.standing.damage = None;
    entry.cron = terms.is_cron();
    let next = if !may_fire(entry, terms) {
        None
    } else if slots.are_free() {
        next_free(agenda, entry, (terms, slots), now)?
    } else {
        // One that has its only slot within its grace is on time.
        let from = if slots.is_once() { before(now, terms) } else { now };
        entry.standing.next_unfired(slots, from)
    };
    set_next(entry, terms, next, now);
    Ok(())
}

/// The next slot of a schedule whose runs follow each other: a pause after its last end, or none while it runs.
fn next_free(
    agenda: &mut dyn Agenda,
    entry: &Entry,
    (terms, slots): (&Terms, &Slots),
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    if !still_open(agenda, entry.id, now)?.is_empty() {
        return Ok(None);
    }
    let last = agenda.last_run(entry.id)?;
    let end = last.and_then(|last| Some((last.finished_at?, last.state?)));
    let after = end.map_or(now, |(at, state)| at.after(terms.pause_after(state)));
    // An end that lies ahead was told by a clock that was set back since.
    let latest =
        now.after(terms.pause_after(State::Failed).max(terms.pause_after(State::Succeeded)));
    Ok(slots.free(after.clamp(now, latest)))
}

/// The slots of a schedule whose tasks have not ended. Those whose tasks have gone or ended without a word are
/// closed.
fn still_open(agenda: &mut dyn Agenda, id: i64, now: Timestamp) -> Result<Vec<OpenSlot>, Error> {
    let mut open = Vec::new();
    for slot in agenda.open_slots(id)? {
        match agenda.state_of(slot.task)? {
            Some(state) if !state.is_final() => open.push(slot),
            state => {
                let end = (now, state.unwrap_or(State::Cancelled));
                agenda.end_slot(id, slot.at, Some(end))?;
            }
        }
    }
    Ok(open)
}

fn before(now: Timestamp, terms: &Terms) -> Timestamp {
    let grace = i64::try_from(terms.grace().as_millis()).unwrap_or(i64::MAX);
    Timestamp::clamped(now.as_millis().saturating_sub(grace))
}

/// The task of a slot has ended: notes how, counts failures, and finds the next slot of a schedule whose runs
/// follow each other.
pub(crate) fn ended(
    agenda: &mut dyn Agenda,
    now: Timestamp,
    slot: &Slot,
    state: State,
) -> Result<(), Error> {
    agenda.end_slot(slot.schedule, slot.at, Some((now, state)))?;
    let Some(mut entry) = agenda.entry(slot.schedule)? else { return Ok(()) };
    let before = entry.standing.clone();
    // Somebody who has asked for a run sees himself what became of it.
    let counts = state == State::Failed && slot.kind != SlotKind::Manual;
    match state {
        State::Failed if counts => entry.standing.failures += 1,
        State::Succeeded => entry.standing.failures = 0,
        _ => {}
    }
    // What cannot be read is told when it fires.
    if let Ok(terms) = entry.terms() {
        let failures = entry.standing.failures;
        if counts
            && terms.failures_max.is_some_and(|most| failures >= most)
            && entry.standing.failing_at.is_none()
        {
            entry.standing.failing_at = Some(now);
            set_next(&mut entry, &terms, None, now);
            tracing::error!(
                schedule = entry.name,
                failures,
                "a schedule was stopped, as its tasks fail"
            );
        }
        let waits = terms.is_free() && entry.standing.next_at.is_none();
        if waits && may_fire(&entry, &terms) && still_open(agenda, entry.id, now)?.is_empty() {
            let slots = terms.slots(entry.created_at)?;
            let next = slots.free(now.after(terms.pause_after(state)));
            set_next(&mut entry, &terms, next, now);
            agenda.note_edition()?;
        }
    }
    if entry.standing != before {
        agenda.update_standing(&entry)?;
    }
    Ok(())
}

/// The task of a slot, which has ended so, runs again: then its slot has not failed, until it does again.
pub(crate) fn reopened(agenda: &mut dyn Agenda, slot: &Slot, before: State) -> Result<(), Error> {
    agenda.end_slot(slot.schedule, slot.at, None)?;
    if before != State::Failed {
        return Ok(());
    }
    let Some(mut entry) = agenda.entry(slot.schedule)? else { return Ok(()) };
    entry.standing.failures = entry.standing.failures.saturating_sub(1);
    agenda.update_standing(&entry)
}

/// [`Calendar::glance`] with an answer.
pub(crate) fn glance<R>(
    calendar: &(impl Calendar + ?Sized),
    mut look: impl FnMut(&mut dyn Agenda) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut answer = None;
    calendar.glance(&mut |agenda| {
        answer = Some(look(agenda)?);
        Ok(())
    })?;
    answer.ok_or(Error::Closed)
}

/// A slot as it is noted.
fn noted(slot: &Slot, now: Timestamp, stored: Option<&Stored>) -> SlotRecord {
    let over = stored.map(|stored| stored.state).filter(|state| state.is_final());
    SlotRecord {
        at: slot.at,
        kind: slot.kind,
        count: 1,
        fired_at: now,
        task: stored.map(|stored| stored.id),
        state: over,
        finished_at: over.map(|_| now),
    }
}

/// Slots that made no task, one record for all.
fn passed(kind: SlotKind, at: Timestamp, count: u64, now: Timestamp) -> SlotRecord {
    SlotRecord { at, kind, count, fired_at: now, task: None, state: None, finished_at: Some(now) }
}
