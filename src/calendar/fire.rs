//! Contract: schedules that are due make their tasks.

use super::{
    Agenda, Calendar, Known, Maker, Prepare, SLICE, change, glance, may_fire, next_free, noted,
    passed, set_next, still_open,
};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::{NewTask, Stored};
use crate::redact::Veiled;
use crate::schedule::{Entry, Missed, OpenSlot, Overlap, Terms};
use crate::slot::{Slot, SlotKind};
use crate::state::State;
use crate::ties::{Before, Policy, Ref};
use crate::time::{Clock, Timestamp};
use crate::timing::Slots;
use std::time::Duration;

/// Slots of one stretch that was missed are counted up to this many.
pub(super) const COUNTED_MAX: u64 = 1_000;
/// A transaction that has counted so many slots, one after the other, leaves the rest to the next.
const COUNTED_SLICE: u64 = 2_000;
/// Slots that may have their jitter before them, at most: a jitter is no longer than from one slot to the next,
/// but when clocks go forward some fixed times come nearer to each other.
const NEAR_MAX: usize = 16;
/// A transaction that has made so many tasks leaves the rest to the next, also of one schedule.
const TASKS_MAX: usize = 200;
/// A clock that shows so much less than it did was set back; less is what clocks are put right by.
const SET_BACK: Duration = Duration::from_secs(1);

/// Makes the task of a slot at a moment.
type PrepareAt<'a> = &'a dyn Fn(&Entry, &Terms, Slot, Timestamp) -> Result<NewTask, Error>;

/// What one slice has done.
#[derive(Debug, Default)]
pub(crate) struct Fired {
    /// What the clock showed when the lock was held.
    pub(crate) now: Timestamp,
    pub(crate) stored: Vec<Stored>,
    /// Rows of tasks that were cancelled for the sake of later ones.
    pub(crate) ended: Vec<i64>,
    /// Whether there is more to do.
    pub(crate) more: bool,
    /// Of those that are held back, the last that was looked at.
    pub(crate) held: i64,
    /// Schedules that are due, and of which nothing can be stored.
    pub(crate) stuck: usize,
    /// Slots that were counted one after the other.
    counted: u64,
}

/// What one look has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) edition: i64,
    /// When the next slot is due.
    pub(crate) next: Option<Timestamp>,
    /// Whether a schedule is held back.
    pub(crate) held: bool,
}

/// When the next slot is due, and what else there is to do.
pub(crate) fn next_due(
    calendar: &(impl Calendar + ?Sized),
    now: Timestamp,
    known: &Known,
) -> Result<Seen, Error> {
    glance(calendar, |agenda| {
        // First, so that a change that comes meanwhile is looked at again.
        let edition = agenda.edition()?;
        let set_back = !agenda.planned_after(now.after(SET_BACK), known, 1)?.is_empty();
        let next = if set_back { Some(now) } else { agenda.next_due(known)? };
        let held = !agenda.held(0, known, 1)?.is_empty();
        Ok(Seen { edition, next, held })
    })
}

/// One slice: plans anew what was planned by a clock that was set back, and makes the tasks of what is due.
/// `held`: those that were held back and have a number above this are looked at too.
pub(crate) fn fire(
    calendar: &(impl Calendar + ?Sized),
    clock: &dyn Clock,
    known: &Known,
    held: Option<i64>,
    prepare: PrepareAt<'_>,
) -> Result<Fired, Error> {
    change(calendar, |maker| {
        // Not before: whoever waits for the lock may wait for long.
        let now = clock.now();
        let prepare = |entry: &Entry, terms: &Terms, slot| prepare(entry, terms, slot, now);
        let mut fired = Fired { now, ..Fired::default() };
        let ahead = maker.planned_after(now.after(SET_BACK), known, SLICE)?;
        fired.more = ahead.len() == SLICE;
        for entry in ahead {
            apart(maker, now, &entry, &mut fired, &mut |maker, _| {
                replan(maker.agenda(), entry.clone(), now)
            })?;
        }
        let mut due = maker.due(now, known, SLICE)?;
        fired.more |= due.len() == SLICE;
        if let Some(after) = held {
            fired.held = after;
            let waiting = maker.held(after, known, SLICE)?;
            fired.more |= waiting.len() == SLICE;
            due.extend(waiting);
        }
        for entry in due {
            if fired.stored.len() >= TASKS_MAX || fired.counted >= COUNTED_SLICE {
                fired.more = true;
                break;
            }
            if entry.standing.held {
                fired.held = entry.id;
            }
            apart(maker, now, &entry, &mut fired, &mut |maker, fired| {
                fire_one(maker, now, entry.clone(), &prepare, fired)
            })?;
        }
        // What is stuck comes again and again.
        fired.more &= fired.stuck < SLICE;
        Ok(fired)
    })
}

/// Does what concerns one schedule. Where its rows refuse that, it alone is stopped, and what was done of it is
/// taken back.
fn apart(
    maker: &mut dyn Maker,
    now: Timestamp,
    entry: &Entry,
    fired: &mut Fired,
    work: &mut dyn FnMut(&mut dyn Maker, &mut Fired) -> Result<(), Error>,
) -> Result<(), Error> {
    let (stored, ended) = (fired.stored.len(), fired.ended.len());
    let Some(error) = maker.apart(&mut |maker| work(maker, fired))? else { return Ok(()) };
    fired.stored.truncate(stored);
    fired.ended.truncate(ended);
    let mut entry = entry.clone();
    damaged(&mut entry, &error.to_string(), now);
    if let Some(error) = maker.apart(&mut |maker| maker.update_standing(&entry))? {
        let error = Veiled(&error);
        tracing::error!(schedule = entry.name, %error, "a schedule cannot even be stopped");
        fired.stuck += 1;
    }
    Ok(())
}

/// A clock was set back: the next slot is the first from now on that has not fired, if that is sooner.
fn replan(agenda: &mut dyn Agenda, mut entry: Entry, now: Timestamp) -> Result<(), Error> {
    match entry.checked() {
        Ok((terms, slots)) => {
            let known = entry.standing.next_at;
            let next = if !may_fire(&entry, &terms) {
                None
            } else if slots.are_free() {
                let soon = next_free(agenda, &entry, (&terms, &slots), now)?;
                known.map_or(soon, |known| soon.map(|soon| soon.min(known)))
            } else {
                let next = entry.standing.next_unfired(&slots, now);
                next.into_iter().chain(known).min()
            };
            set_next(&mut entry, &terms, next, now);
        }
        Err(error) if entry.is_foreign() => {
            hold_back(agenda, &mut entry, &error)?;
            entry.standing.planned_at = Some(now);
        }
        Err(error) => damaged(&mut entry, &error.to_string(), now),
    }
    agenda.update_standing(&entry)
}

/// Another program may be able to: whoever looks next at what is held back tries it, and finds its slot anew.
pub(super) fn hold_back(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    error: &Error,
) -> Result<(), Error> {
    if entry.standing.held {
        return Ok(());
    }
    let error = Veiled(error);
    tracing::warn!(schedule = entry.name, %error, "a schedule is left to a program that can make its call");
    entry.standing.held = true;
    agenda.note_edition()
}

fn damaged(entry: &mut Entry, error: &str, now: Timestamp) {
    let told = Veiled(error);
    tracing::error!(schedule = entry.name, error = %told, "a schedule cannot be used, and was stopped");
    entry.damage(error);
    entry.standing.planned_at = Some(now);
}

/// What a schedule that is due comes to.
struct Turn {
    /// The slots that make tasks, oldest first.
    run: Vec<Timestamp>,
    /// Those before them that were missed.
    missed: u64,
    /// The last of these.
    last_missed: Option<Timestamp>,
    /// The newest slot that is due.
    newest: Timestamp,
    /// The first of those that are left to the next slice.
    rest: Option<Timestamp>,
    /// Slots that were counted one after the other.
    counted: u64,
}

/// How late the task of a slot comes.
fn late(entry: &Entry, terms: &Terms, slot: Timestamp, now: Timestamp) -> Duration {
    slot.after(terms.delay(entry.id, slot)).until(now)
}

/// `room`: how many tasks it may make, and one more where that is the last.
fn turn(
    entry: &Entry,
    (terms, slots): (&Terms, &Slots),
    now: Timestamp,
    room: usize,
) -> Option<Turn> {
    let first = entry.standing.next_at?;
    let policy = terms.missed.unwrap_or_default();
    let most = if let Missed::All { most, .. } = policy { most.max(1) } else { 1 };
    let is_due = |slot: &Timestamp| slot.after(terms.delay(entry.id, *slot)) <= now;
    let mut due = if slots.are_free() {
        vec![first]
    } else {
        // Some more, as the last may have their jitter before them.
        slots.newest(first, now, most as usize + NEAR_MAX)
    };
    // One that is yet to come keeps those after it waiting, so that none is passed over.
    let begun = due.iter().position(|slot| !is_due(slot)).unwrap_or(due.len());
    let waits = (due.len() - begun) as u64;
    due.truncate(begun);
    let newest = *due.last()?;
    let (passed, counted) = if slots.are_free() {
        (1, 0)
    } else {
        let all = slots.count(first, now, COUNTED_MAX);
        let fired = entry.standing.fired_within(slots, first, newest, COUNTED_MAX);
        let counted = if slots.are_stepwise() { all + fired } else { 0 };
        (all.saturating_sub(waits).saturating_sub(fired), counted)
    };
    due.drain(..due.len().saturating_sub(most as usize));
    // Where the clock was set back, some of these have fired; older ones do not run in their place.
    due.retain(|slot| !entry.standing.has_fired(*slot));
    let on_time = |slot: &Timestamp| late(entry, terms, *slot, now) <= terms.grace();
    match policy {
        Missed::Skip => due.retain(on_time),
        Missed::Last => {}
        Missed::All { within, .. } => {
            due.retain(|slot| on_time(slot) || late(entry, terms, *slot, now) <= within);
        }
    }
    if let Some(times) = terms.times {
        due.truncate(usize::try_from(times - entry.standing.runs.min(times)).unwrap_or(usize::MAX));
    }
    let missed = passed.saturating_sub(due.len() as u64);
    let last_missed = match due.first() {
        _ if missed == 0 => None,
        None => Some(newest),
        Some(run) => last_before(slots, first, *run),
    };
    // The last is on time, so it would be skipped for the sake of those before it if it came alone.
    let rest = if due.len() > room + 1 { due.split_off(room) } else { Vec::new() };
    Some(Turn { run: due, missed, last_missed, newest, rest: rest.first().copied(), counted })
}

/// The last slot before another.
fn last_before(slots: &Slots, first: Timestamp, slot: Timestamp) -> Option<Timestamp> {
    let until = Timestamp::clamped(slot.as_millis() - 1);
    slots.newest(first, until, 1).pop()
}

fn fire_one(
    maker: &mut dyn Maker,
    now: Timestamp,
    mut entry: Entry,
    prepare: Prepare<'_>,
    into: &mut Fired,
) -> Result<(), Error> {
    let before = entry.clone();
    let fired = match (&entry.standing.damage, entry.checked()) {
        (Some(damage), _) => Err(Refused::Unusable(damage.clone())),
        (None, Err(error)) if entry.is_foreign() => Err(Refused::Here(error)),
        (None, Err(error)) => Err(Refused::Unusable(error.to_string())),
        (None, Ok((terms, slots))) => make(maker, now, &mut entry, (&terms, &slots), prepare, into),
    };
    match fired {
        Ok(()) => {}
        Err(Refused::Unusable(error)) => damaged(&mut entry, &error, now),
        Err(Refused::Here(error)) => hold_back(maker.agenda(), &mut entry, &error)?,
        Err(Refused::All(error)) => return Err(error),
    }
    if entry == before { Ok(()) } else { maker.update_standing(&entry) }
}

/// Why a schedule could not fire.
enum Refused {
    /// What is stored of it cannot be used.
    Unusable(String),
    /// It cannot be read, or its call not be made, by this program.
    Here(Error),
    /// The whole transaction has failed.
    All(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::All(error)
    }
}

fn make(
    maker: &mut dyn Maker,
    now: Timestamp,
    entry: &mut Entry,
    (terms, slots): (&Terms, &Slots),
    prepare: Prepare<'_>,
    into: &mut Fired,
) -> Result<(), Refused> {
    let room = TASKS_MAX.saturating_sub(into.stored.len()).max(1);
    let Some(turn) = turn(entry, (terms, slots), now, room) else {
        // What is stored beside each other contradicts itself: the next slot is found anew.
        let next = if slots.are_free() {
            next_free(maker.agenda(), entry, (terms, slots), now)?
        } else {
            entry.standing.next_unfired(slots, now)
        };
        set_next(entry, terms, next.filter(|_| may_fire(entry, terms)), now);
        return Ok(());
    };
    into.counted += turn.counted;
    let slot = |at: Timestamp, entry: &Entry| {
        let late = late(entry, terms, at, now);
        let is_late = at != turn.newest || late > terms.grace();
        let kind = if is_late { SlotKind::CatchUp } else { SlotKind::Due };
        Slot { schedule: entry.id, name: entry.name.clone(), at, late, kind }
    };
    let mut tasks = Vec::with_capacity(turn.run.len());
    for at in &turn.run {
        let slot = slot(*at, entry);
        tasks.push((slot.clone(), prepare(entry, terms, slot).map_err(Refused::Here)?));
    }
    let (queue, kind) = if let Some((_, task)) = tasks.first() {
        (task.queue.clone(), task.kind.clone())
    } else {
        let task = prepare(entry, terms, slot(turn.newest, entry)).map_err(Refused::Here)?;
        (task.queue, task.kind)
    };
    if maker.is_paused(&queue, &kind)? {
        entry.standing.held = true;
        return Ok(());
    }
    turn.last_missed
        .map_or(Ok(()), |last| note_missed(maker.agenda(), entry, (last, turn.missed), now))?;
    let open = still_open(maker.agenda(), entry.id, now)?;
    let all = matches!(terms.missed, Some(Missed::All { .. }));
    let mut around = Around { before: open, last: None, all };
    let overlap = terms.overlap.unwrap_or_default();
    for (slot, task) in tasks {
        if maker.has_slot(entry.id, slot.at)? {
            continue;
        }
        // Where it is refused, what came before is not counted again.
        entry.standing.next_at = Some(slot.at);
        let made = around.store(maker, now, (overlap, &slot), task, &mut into.ended)?;
        let follows = entry.standing.fired.last().and_then(|(_, last)| slots.after(*last));
        entry.standing.note_fired(slot.at, follows == Some(slot.at));
        entry.standing.runs += u64::from(!made.overlapped);
        entry.standing.overlapped += u64::from(made.overlapped);
        into.stored.extend(made.stored);
    }
    crate::fault::point("slot_fired");
    maker.trim_slots(entry.id)?;
    into.more |= turn.rest.is_some();
    let next = next_after(maker.agenda(), entry, (terms, slots), &turn, now)?;
    set_next(entry, terms, next, now);
    Ok(())
}

/// The slot after those of a turn: always a later one, or there would be no end of it.
fn next_after(
    agenda: &mut dyn Agenda,
    entry: &Entry,
    (terms, slots): (&Terms, &Slots),
    turn: &Turn,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    if !may_fire(entry, terms) {
        return Ok(None);
    }
    if turn.rest.is_some() {
        return Ok(turn.rest);
    }
    if !slots.are_free() {
        return Ok(entry.standing.next_unfired(slots, turn.newest));
    }
    // A task that ended where it began tells nobody of its end. A slot that made none has a pause after it too.
    let next = next_free(agenda, entry, (terms, slots), now)?;
    let as_if = if turn.run.is_empty() { State::Succeeded } else { State::Skipped };
    let is_later = |at: &Timestamp| *at > now;
    let after_pause = now.after(terms.pause_after(as_if));
    Ok(next.and_then(|at| slots.free(Some(at).filter(is_later).unwrap_or(after_pause))))
}

/// Notes so many slots that were missed, and the last of them.
pub(super) fn note_missed(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    (last, count): (Timestamp, u64),
    now: Timestamp,
) -> Result<(), Error> {
    entry.standing.missed = entry.standing.missed.saturating_add(count);
    if agenda.has_slot(entry.id, last)? {
        return Ok(());
    }
    agenda.put_slot(entry.id, &passed(SlotKind::Missed, last, count, now))
}

/// The tasks of a schedule that have not ended, while it fires.
struct Around {
    before: Vec<OpenSlot>,
    /// The task of the slot before, in the same turn.
    last: Option<TaskId>,
    /// Whether late slots are to run, each of them.
    all: bool,
}

struct Made {
    stored: Option<Stored>,
    overlapped: bool,
}

impl Around {
    fn store(
        &mut self,
        maker: &mut dyn Maker,
        now: Timestamp,
        (overlap, slot): (Overlap, &Slot),
        mut task: NewTask,
        ended: &mut Vec<i64>,
    ) -> Result<Made, Refused> {
        let mut waits_for = Vec::new();
        let mut holder = None;
        match (overlap, self.last) {
            (Overlap::Allow, _) => {}
            // Late runs of one turn follow each other.
            (_, Some(last)) => waits_for.push(last),
            (_, None) if self.before.is_empty() => {}
            // Skipped they would be lost, as after a crash, whose task has not ended yet.
            (Overlap::Skip | Overlap::BufferOne, None)
                if self.all && slot.kind == SlotKind::CatchUp =>
            {
                waits_for.extend(self.before.iter().map(|open| open.task));
            }
            (Overlap::Skip, None) => holder = self.before.first().map(|open| open.task),
            (Overlap::BufferOne, None) => {
                holder = self.waiting(maker.agenda())?;
                waits_for.extend(self.before.iter().map(|open| open.task));
            }
            (Overlap::CancelRunning, None) => {
                for open in &self.before {
                    if maker.cancel(now, open.task)? {
                        ended.push(open.task.row());
                    } else {
                        waits_for.push(open.task);
                    }
                }
            }
        }
        let extra = task.extra.get_or_insert_default();
        extra.overlaps = holder;
        if holder.is_none() && !waits_for.is_empty() {
            extra.after = waits_for
                .into_iter()
                .map(|id| Before { what: Ref::Task(id), policy: Policy::Finish })
                .collect();
            extra.ties.held_key.clone_from(&extra.wait_key);
        }
        self.stored(maker, now, slot, task, holder.is_some())
    }

    fn stored(
        &mut self,
        maker: &mut dyn Maker,
        now: Timestamp,
        slot: &Slot,
        task: NewTask,
        skipped: bool,
    ) -> Result<Made, Refused> {
        let mut slot = slot.clone();
        let (stored, task) = match maker.store(now, task) {
            Ok(stored) if stored.existing => (None, Some(stored.id)),
            // Its unique key belongs to a task that is there.
            Err(Error::NotUnique { existing }) => (None, Some(existing)),
            Ok(stored) => {
                let id = stored.id;
                (Some(stored), Some(id))
            }
            Err(error) if maker.is_lost() => return Err(Refused::All(error)),
            Err(error) => return Err(Refused::Here(error)),
        };
        let overlapped = skipped || stored.is_none();
        if overlapped {
            slot.kind = SlotKind::Overlap;
        }
        let mut record = noted(&slot, now, stored.as_ref());
        if stored.is_none() {
            (record.task, record.finished_at) = (task, Some(now));
        } else if !overlapped {
            self.last = task;
        }
        maker.put_slot(slot.schedule, &record)?;
        Ok(Made { stored, overlapped })
    }

    /// The one that waits for the end of another, or to be started at all. A task that has begun and waits for
    /// its next attempt is the one that is waited for.
    fn waiting(&self, agenda: &mut dyn Agenda) -> Result<Option<TaskId>, Error> {
        let [.., newest] = self.before.as_slice() else { return Ok(None) };
        let waits = self.before.len() > 1 || !agenda.has_started(newest.task)?;
        Ok(waits.then_some(newest.task))
    }
}

/// Finds the schedules that are meant.
type Find<'a> = &'a mut dyn FnMut(&mut dyn Agenda) -> Result<Vec<Entry>, Error>;

/// Makes a task of each of these now, as somebody wishes, or none; the slots stay as they are.
pub(crate) fn run_now(
    calendar: &(impl Calendar + ?Sized),
    now: Timestamp,
    find: Find<'_>,
    prepare: Prepare<'_>,
) -> Result<Vec<Stored>, Error> {
    change(calendar, |maker| {
        let mut slots: Vec<Slot> = Vec::new();
        let mut tasks = Vec::new();
        for entry in find(maker.agenda())? {
            let (terms, own) = entry.checked()?;
            let mut at = now;
            let taken = |at: Timestamp| {
                let before = Timestamp::clamped(at.as_millis() - 1);
                slots.iter().any(|slot| slot.schedule == entry.id && slot.at == at)
                    || own.after(before) == Some(at)
            };
            // No slot of its own, which is yet to fire.
            while taken(at) || maker.has_slot(entry.id, at)? {
                at = at.after(Duration::from_millis(1));
            }
            let (name, late) = (entry.name.clone(), Duration::ZERO);
            let slot = Slot { schedule: entry.id, name, at, late, kind: SlotKind::Manual };
            tasks.push(prepare(&entry, &terms, slot.clone())?);
            slots.push(slot);
        }
        let made = maker.store_all(now, tasks)?;
        for (slot, stored) in slots.iter().zip(&made) {
            if !stored.existing {
                maker.put_slot(slot.schedule, &noted(slot, now, Some(stored)))?;
                maker.trim_slots(slot.schedule)?;
            }
        }
        Ok(made)
    })
}
