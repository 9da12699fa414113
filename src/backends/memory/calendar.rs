//! Enqueue and finish: schedules and their slots. What becomes of them is decided in `calendar`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Book, Memory};
use crate::backend::Cancelled;
use crate::calendar::{Agenda, Apart, Calendar, Known, Look, Maker};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::{NewTask, Stored};
use crate::rule::Scope;
use crate::schedule::{Entry, OpenSlot, SLOTS_KEPT, SlotRecord};
use crate::slot::SlotKind;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// The schedules of a book.
#[derive(Default)]
pub(super) struct Schedules {
    entries: BTreeMap<i64, Entry>,
    slots: BTreeMap<(i64, Timestamp), Noted>,
    edition: i64,
    /// Of the slots that were noted, the last.
    noted: u64,
    /// The newest number that was given.
    newest: i64,
}

/// A slot, and as which of all it was noted.
struct Noted {
    number: u64,
    slot: SlotRecord,
}

impl Schedules {
    fn find(&self, is: impl Fn(&&Entry) -> bool) -> Option<Entry> {
        self.entries.values().find(is).cloned()
    }

    fn all(&self, is: impl Fn(&&Entry) -> bool) -> Vec<Entry> {
        self.entries.values().filter(is).cloned().collect()
    }

    fn slots_of(&self, id: i64) -> impl DoubleEndedIterator<Item = &Noted> {
        self.slots.range((id, Timestamp::MIN)..=(id, Timestamp::MAX)).map(|(_, noted)| noted)
    }

    pub(super) fn note_edition(&mut self) {
        self.edition += 1;
    }
}

fn is_readable(entry: &Entry, known: &Known) -> bool {
    known.kinds.iter().any(|kind| **kind == *entry.kind) && (known.cron || !entry.cron)
}

impl Agenda for Book {
    fn entry(&mut self, id: i64) -> Result<Option<Entry>, Error> {
        Ok(self.schedules.entries.get(&id).cloned())
    }

    fn named(&mut self, name: &str) -> Result<Option<Entry>, Error> {
        Ok(self.schedules.find(|entry| entry.name == name))
    }

    fn seeded(&mut self, seed: &str) -> Result<Option<Entry>, Error> {
        Ok(self.schedules.find(|entry| entry.seed.as_deref() == Some(seed)))
    }

    fn seeded_by(&mut self, program: &str) -> Result<Vec<i64>, Error> {
        let of = |entry: &&Entry| entry.program.as_deref() == Some(program);
        Ok(self.schedules.all(of).into_iter().map(|entry| entry.id).collect())
    }

    fn list(&mut self, after: &str, size: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = self.schedules.all(|entry| entry.name.as_str() > after);
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.truncate(size);
        Ok(entries)
    }

    fn next_due(&mut self, known: &Known) -> Result<Option<Timestamp>, Error> {
        let entries = self.schedules.entries.values();
        let waiting = entries.filter(|entry| !entry.standing.held && is_readable(entry, known));
        Ok(waiting.filter_map(|entry| entry.standing.due_at).min())
    }

    fn due(&mut self, now: Timestamp, known: &Known, size: usize) -> Result<Vec<Entry>, Error> {
        let entries = &self.schedules.entries;
        let waiting = entries
            .values()
            .filter(|entry| !entry.standing.held && is_readable(entry, known))
            .filter_map(|entry| Some((entry.standing.due_at?, entry.id)));
        let mut due: Vec<_> = waiting.filter(|(at, _)| *at <= now).collect();
        due.sort_unstable();
        due.truncate(size);
        Ok(due.iter().filter_map(|(_, id)| entries.get(id).cloned()).collect())
    }

    fn held(&mut self, after: i64, known: &Known, size: usize) -> Result<Vec<Entry>, Error> {
        let held =
            |entry: &&Entry| entry.standing.held && entry.id > after && is_readable(entry, known);
        let mut held = self.schedules.all(held);
        held.truncate(size);
        Ok(held)
    }

    fn planned_after(
        &mut self,
        moment: Timestamp,
        known: &Known,
        size: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut planned = self.schedules.all(|entry| {
            let is_after = entry.standing.planned_at.is_some_and(|at| at > moment);
            is_after && is_readable(entry, known)
        });
        planned.sort_by_key(|entry| entry.standing.planned_at);
        planned.truncate(size);
        Ok(planned)
    }

    fn idle(&mut self) -> Result<Vec<Entry>, Error> {
        let is_idle =
            |entry: &&Entry| entry.standing.next_at.is_none() && entry.orphaned_at.is_none();
        Ok(self.schedules.all(is_idle))
    }

    fn edition(&mut self) -> Result<i64, Error> {
        Ok(self.schedules.edition)
    }

    fn slots(&mut self, id: i64, before: Timestamp, size: usize) -> Result<Vec<SlotRecord>, Error> {
        let slots = self.schedules.slots.range((id, Timestamp::MIN)..(id, before)).rev();
        Ok(slots.take(size).map(|(_, noted)| noted.slot.clone()).collect())
    }

    fn last_run(&mut self, id: i64) -> Result<Option<SlotRecord>, Error> {
        let made =
            |noted: &&Noted| !matches!(noted.slot.kind, SlotKind::Missed | SlotKind::Overlap);
        let last = self.schedules.slots_of(id).filter(made).max_by_key(|noted| noted.number);
        Ok(last.map(|noted| noted.slot.clone()))
    }

    fn open_slots(&mut self, id: i64) -> Result<Vec<OpenSlot>, Error> {
        let slots = self.schedules.slots_of(id).map(|noted| &noted.slot);
        let open = slots.filter(|slot| slot.finished_at.is_none());
        Ok(open.filter_map(|slot| Some(OpenSlot { at: slot.at, task: slot.task? })).collect())
    }

    fn is_paused(&mut self, queue: &str, kind: &str) -> Result<bool, Error> {
        let paused = |scope| {
            let rule = self.ties.kept.rules.get(&scope);
            rule.is_some_and(|rule| rule.paused_at.is_some())
        };
        Ok(paused(Scope::queue(queue)) || paused(Scope::kind(kind)))
    }

    fn state_of(&mut self, task: TaskId) -> Result<Option<State>, Error> {
        Ok(self.by_id(task).map(|task| task.record.state))
    }

    fn has_started(&mut self, task: TaskId) -> Result<bool, Error> {
        Ok(self.by_id(task).is_some_and(|task| task.record.started_at.is_some()))
    }

    fn add(&mut self, entry: &Entry) -> Result<i64, Error> {
        let schedules = &mut self.schedules;
        schedules.newest += 1;
        let entry = Entry { id: schedules.newest, ..entry.clone() };
        schedules.entries.insert(entry.id, entry);
        Ok(schedules.newest)
    }

    fn update(&mut self, entry: &Entry) -> Result<(), Error> {
        self.schedules.entries.insert(entry.id, entry.clone());
        Ok(())
    }

    fn update_standing(&mut self, entry: &Entry) -> Result<(), Error> {
        self.update(entry)
    }

    fn remove(&mut self, id: i64) -> Result<(), Error> {
        self.schedules.entries.remove(&id);
        self.schedules.slots.retain(|(schedule, _), _| *schedule != id);
        Ok(())
    }

    fn note_edition(&mut self) -> Result<(), Error> {
        self.schedules.note_edition();
        self.effects.schedules = true;
        Ok(())
    }

    fn has_slot(&mut self, id: i64, at: Timestamp) -> Result<bool, Error> {
        let slot = self.schedules.slots.get(&(id, at));
        Ok(slot.is_some_and(|noted| noted.slot.kind != SlotKind::Missed))
    }

    fn put_slot(&mut self, id: i64, slot: &SlotRecord) -> Result<(), Error> {
        self.schedules.noted += 1;
        let noted = Noted { number: self.schedules.noted, slot: slot.clone() };
        self.schedules.slots.insert((id, slot.at), noted);
        Ok(())
    }

    fn end_slot(
        &mut self,
        id: i64,
        at: Timestamp,
        end: Option<(Timestamp, State)>,
    ) -> Result<(), Error> {
        if let Some(noted) = self.schedules.slots.get_mut(&(id, at)) {
            (noted.slot.finished_at, noted.slot.state) = end.unzip();
        }
        Ok(())
    }

    fn trim_slots(&mut self, id: i64) -> Result<(), Error> {
        let mut slots: Vec<&Noted> = self.schedules.slots_of(id).collect();
        slots.sort_by_key(|noted| Reverse(noted.number));
        let old = slots.into_iter().skip(SLOTS_KEPT).map(|noted| &noted.slot);
        let old: Vec<_> =
            old.filter(|slot| slot.finished_at.is_some()).map(|slot| slot.at).collect();
        for at in old {
            self.schedules.slots.remove(&(id, at));
        }
        Ok(())
    }
}

impl Maker for Book {
    fn store(&mut self, now: Timestamp, task: NewTask) -> Result<Stored, Error> {
        let mut stored = self.store_all(now, vec![task])?;
        stored.pop().ok_or(Error::Closed)
    }

    fn store_all(&mut self, now: Timestamp, tasks: Vec<NewTask>) -> Result<Vec<Stored>, Error> {
        // One that is refused leaves nothing behind, and takes back nothing of what was done before.
        let before = std::mem::take(&mut self.effects);
        let stored = self.enqueue(now, tasks, None).map_err(Error::of_one);
        let own = std::mem::replace(&mut self.effects, before);
        self.effects.add(own);
        self.sum_up(now);
        stored
    }

    fn cancel(&mut self, now: Timestamp, task: TaskId) -> Result<bool, Error> {
        let answer = self.cancel_for(now, task, Reason::Overlap)?;
        self.sum_up(now);
        Ok(answer == Cancelled::Now)
    }

    fn apart(&mut self, work: Apart<'_>) -> Result<Option<Error>, Error> {
        // There are no rows that could refuse it.
        work(self).map(|()| None)
    }

    fn is_lost(&self) -> bool {
        false
    }

    fn agenda(&mut self) -> &mut dyn Agenda {
        self
    }
}

impl Calendar for Memory {
    fn change(
        &self,
        work: &mut dyn FnMut(&mut dyn Maker) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // An error comes before anything is changed: what may be refused is asked first.
        self.with(|book| {
            work(book)?;
            book.note_deed(&());
            Ok(())
        })
    }

    fn look(&self, look: Look<'_>) -> Result<(), Error> {
        self.with(|book| look(book))
    }
}
