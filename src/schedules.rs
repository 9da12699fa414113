//! Every step of the journey: what people do with schedules: see them, change them, run them now.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::audit;
use crate::calendar::{self, Agenda};
use crate::capability::Capability;
use crate::client::Client;
use crate::error::{Error, shorten};
use crate::id::TaskId;
use crate::record::TaskRecord;
#[cfg(feature = "web")]
use crate::schedule::check_schedule_name;
use crate::schedule::{
    Entry, Schedule, ScheduleEdit, ScheduleRecord, SlotRecord, Terms, makes_later,
};
use crate::slot::{Slot, SlotKind};
use crate::time::Timestamp;

/// Slots that are shown ahead at most.
const PREVIEW_MAX: usize = 1_000;

impl Client {
    /// The schedules of this queue: list them, change them, run them;
    /// [`guide::schedules`](crate::guide::schedules) explains them.
    ///
    /// ```
    /// # use litework::{Client, Mode, Schedule, ScheduleState, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn sync(folder: &str) {}
    ///
    /// let hourly = Schedule::every("sync", Duration::from_secs(3_600), sync::with("docs"));
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(sync).schedule(hourly).open()?;
    /// let schedules = tasks.schedules();
    /// schedules.edit("sync", |edit| edit.every(Duration::from_secs(600)).argument("folder", "mail"))?;
    /// let known = schedules.get("sync")?;
    /// assert_eq!(known.arguments, r#"{"folder":"mail"}"#);
    /// assert_eq!(known.edited.len(), 2); // and what code says instead
    /// schedules.reset("sync")?;
    /// assert!(schedules.get("sync")?.edited.is_empty());
    /// schedules.disable("sync")?;
    /// assert_eq!(schedules.get("sync")?.state, ScheduleState::Disabled);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules { client: self }
    }
}

/// What is done with schedules; see [`Client::schedules`].
#[derive(Debug, Clone)]
pub struct Schedules<'a> {
    client: &'a Client,
}

/// What is done to schedules that are on or off; see [`Schedules::switch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On, whatever they are.
    On,
    /// Off, whatever they are.
    Off,
    /// On those that are off, off those that are on.
    Toggle,
}

impl Switch {
    fn from(self, is_on: bool) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Toggle => !is_on,
        }
    }
}

fn no_schedule(name: &str) -> Error {
    let allowed = "the name of a schedule that is stored";
    Error::invalid("no_schedule", "schedule", shorten(name), allowed)
}

/// The schedule of this name.
fn named(agenda: &mut dyn Agenda, name: &str) -> Result<Entry, Error> {
    if let Some(entry) = agenda.named(name)? {
        return Ok(entry);
    }
    match agenda.seeded(name)? {
        Some(entry) => {
            let allowed = format!("{:?}, as somebody has renamed what code calls so", entry.name);
            Err(Error::invalid("no_schedule", "schedule", shorten(name), allowed))
        }
        None => Err(no_schedule(name)),
    }
}

fn taken(name: &str) -> Error {
    let allowed = "a name that no other schedule has";
    Error::invalid("duplicate_schedule", "schedule name", name, allowed)
}

/// The schedules of these names, all of them.
fn found<S: AsRef<str>>(agenda: &mut dyn Agenda, names: &[S]) -> Result<Vec<Entry>, Error> {
    names.iter().map(|name| named(agenda, name.as_ref())).collect()
}

fn record(agenda: &mut dyn Agenda, entry: Entry) -> Result<ScheduleRecord, Error> {
    let last = agenda.last_run(entry.id)?;
    let open = agenda.open_slots(entry.id)?.len();
    Ok(entry.into_record(last, open))
}

impl Schedules<'_> {
    fn now(&self) -> Timestamp {
        self.client.hub.clock.now()
    }

    /// A page of schedules by name, 1 to 1,000 (`out_of_range`), from after this name on; with an empty one
    /// from the first on.
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn list(&self, after: &str, size: usize) -> Result<Vec<ScheduleRecord>, Error> {
        if !(1..=1_000).contains(&size) {
            return Err(Error::invalid("out_of_range", "page size", size, "1 to 1000"));
        }
        calendar::look(&*self.client.hub.backend, |agenda| {
            let entries = agenda.list(after, size)?;
            entries.into_iter().map(|entry| record(agenda, entry)).collect()
        })
    }

    /// One schedule.
    ///
    /// # Errors
    /// `no_schedule`; `storage` where it cannot be read.
    pub fn get(&self, name: &str) -> Result<ScheduleRecord, Error> {
        calendar::look(&*self.client.hub.backend, |agenda| {
            let entry = named(agenda, name)?;
            record(agenda, entry)
        })
    }

    /// What became of its slots, newest first, from before this moment on: 1 to 1,000 (`out_of_range`). The
    /// newest 100 are kept, also when their tasks are pruned.
    ///
    /// # Errors
    /// Those of [`Schedules::get`].
    pub fn history(
        &self,
        name: &str,
        before: Timestamp,
        size: usize,
    ) -> Result<Vec<SlotRecord>, Error> {
        if !(1..=1_000).contains(&size) {
            return Err(Error::invalid("out_of_range", "page size", size, "1 to 1000"));
        }
        calendar::look(&*self.client.hub.backend, |agenda| {
            let entry = named(agenda, name)?;
            agenda.slots(entry.id, before, size)
        })
    }

    /// The next slots, at most so many, 1 to 1,000 (`out_of_range`), without their jitter. One whose runs
    /// follow each other has at most one. One that does not fire has none.
    ///
    /// # Errors
    /// Those of [`Schedules::get`]; those of its terms where it is damaged.
    pub fn preview(&self, name: &str, count: usize) -> Result<Vec<Timestamp>, Error> {
        if !(1..=PREVIEW_MAX).contains(&count) {
            return Err(Error::invalid("out_of_range", "slots ahead", count, "1 to 1000"));
        }
        let entry = calendar::look(&*self.client.hub.backend, |agenda| named(agenda, name))?;
        let (terms, slots) = entry.checked()?;
        let left = terms.times.map_or(u64::MAX, |times| times.saturating_sub(entry.standing.runs));
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        let mut ahead = Vec::new();
        let mut next = entry.standing.next_at;
        while let Some(slot) = next.filter(|_| ahead.len() < count) {
            ahead.push(slot);
            next = entry.standing.next_unfired(&slots, slot);
        }
        Ok(ahead)
    }

    /// The next slots if it were edited so, from now on; nothing is stored.
    #[cfg(feature = "web")]
    pub(crate) fn preview_edit(
        &self,
        name: &str,
        edit: ScheduleEdit,
        count: usize,
    ) -> Result<Vec<Timestamp>, Error> {
        let now = self.now();
        let mut entry = calendar::look(&*self.client.hub.backend, |agenda| named(agenda, name))?;
        edit.apply(&mut entry, now)?;
        let (_, slots) = entry.checked()?;
        let next = |from| entry.standing.next_unfired(&slots, from);
        Ok(std::iter::successors(next(now), |slot| next(*slot)).take(count).collect())
    }

    /// Stores a schedule that no code declares. It stays until it is [removed](Self::remove).
    ///
    /// # Errors
    /// `duplicate_schedule` where there is one of this name; whatever is wrong with it; `closed`,
    /// `reentrant`; `not_stored` and `unknown_outcome` from the engine.
    pub fn add(&self, schedule: Schedule) -> Result<ScheduleRecord, Error> {
        self.client.check_open()?;
        let (name, kind) = (schedule.name.clone(), schedule.kind());
        if let Some(former) = schedule.former.first() {
            let allowed = "none: only code has other names for what is stored";
            return Err(Error::invalid(
                "unsupported",
                "former name of the schedule",
                former,
                allowed,
            ));
        }
        let terms = schedule.into_terms(self.client.hub.limits)?;
        let entry = Entry {
            name,
            kind: kind.to_owned(),
            edits: serde_json::to_string(&terms.object()).unwrap_or_default(),
            created_at: self.now(),
            ..Entry::default()
        };
        let known = terms.arguments.clone().unwrap_or_default();
        self.check_new(&entry, &terms, &known)?;
        self.store(&entry)
    }

    /// The same of a kind that this program knows, as somebody has said it who has no call of it at hand.
    #[cfg(feature = "web")]
    pub(crate) fn add_said(
        &self,
        name: &str,
        kind: &str,
        said: ScheduleEdit,
    ) -> Result<ScheduleRecord, Error> {
        self.client.check_open()?;
        self.store(&self.said(name, kind, said)?)
    }

    /// The slots that it would have then; nothing is stored.
    #[cfg(feature = "web")]
    pub(crate) fn preview_said(
        &self,
        name: &str,
        kind: &str,
        said: ScheduleEdit,
        count: usize,
    ) -> Result<Vec<Timestamp>, Error> {
        let entry = self.said(name, kind, said)?;
        let is_taken = |agenda: &mut dyn Agenda| Ok(agenda.named(name)?.is_some());
        if calendar::look(&*self.client.hub.backend, is_taken)? {
            return Err(taken(name));
        }
        let (_, slots) = entry.checked()?;
        slots.check_any(Some(entry.created_at))?;
        let next = |from| entry.standing.next_unfired(&slots, from);
        Ok(std::iter::successors(next(entry.created_at), |slot| next(*slot)).take(count).collect())
    }

    /// What would be stored, checked as what code adds is.
    #[cfg(feature = "web")]
    fn said(&self, name: &str, kind: &str, said: ScheduleEdit) -> Result<Entry, Error> {
        let hub = &self.client.hub;
        let (kind, now) = (hub.catalog.get(kind)?, self.now());
        check_schedule_name("schedule name", name)?;
        let mut entry = Entry {
            name: name.to_owned(),
            kind: kind.name.to_string(),
            edits: "{}".to_owned(),
            created_at: now,
            ..Entry::default()
        };
        let takes =
            |text: &str| kind.reads.rewrite.is_none_or(|read| read(text, hub.limits).is_ok());
        // Of a kind without parameters, or of which each has a default; a type without fields is `null`.
        let said = if said.has_arguments() || !takes("{}") { said } else { said.no_arguments() };
        said.apply(&mut entry, now)?;
        entry.edited_at = None;
        self.check_new(&entry, &entry.terms()?, &Map::new())?;
        Ok(entry)
    }

    /// Refuses what could not fire, or whose calls could not be made; `known` are parameters that need not be looked
    /// for.
    fn check_new(
        &self,
        entry: &Entry,
        terms: &Terms,
        known: &Map<String, Value>,
    ) -> Result<(), Error> {
        let hub = &self.client.hub;
        hub.catalog.require(Capability::Defer, || makes_later(&entry.name))?;
        terms.checked(entry.created_at)?;
        self.check_call(entry, terms, entry.created_at)?;
        hub.check_arguments(&entry.kind, terms, known)
    }

    /// Stores a new one.
    fn store(&self, entry: &Entry) -> Result<ScheduleRecord, Error> {
        self.changed("add_schedule", &[&entry.name], |maker| {
            let agenda = maker.agenda();
            if agenda.named(&entry.name)?.is_some() {
                return Err(taken(&entry.name));
            }
            let entry = calendar::store_new(agenda, entry.clone(), entry.created_at)?;
            agenda.note_edition()?;
            record(agenda, entry)
        })
    }

    /// Changes a schedule, in the name of a person: from now on that goes before what code says. What it has
    /// missed until now stays missed, and its next slot is the first from now on.
    ///
    /// # Errors
    /// Those of [`Schedules::add`]; `no_schedule`; `bad_arguments` where the task does not take them, if its body
    /// is in this program.
    pub fn edit(
        &self,
        name: &str,
        change: impl FnOnce(ScheduleEdit) -> ScheduleEdit,
    ) -> Result<ScheduleRecord, Error> {
        let mut edit = Some(change(ScheduleEdit::default()));
        let now = self.now();
        self.revise("edit_schedule", name, now, |_agenda, entry| {
            edit.take().map_or(Ok(()), |edit| edit.apply(entry, now))
        })
    }

    /// Takes back what people have changed of a schedule that code declares, also its name; where another one
    /// has that by now, it keeps the one it has.
    ///
    /// # Errors
    /// Those of [`Schedules::edit`]; `unsupported` for one that no code declares.
    pub fn reset(&self, name: &str) -> Result<ScheduleRecord, Error> {
        self.revise("reset_schedule", name, self.now(), |agenda, entry| {
            if entry.code.is_none() {
                let allowed = "one that code declares; this one is as it was added and edited";
                return Err(Error::invalid("unsupported", "schedule to reset", name, allowed));
            }
            "{}".clone_into(&mut entry.edits);
            entry.edited_at = None;
            if let Some(seed) = &entry.seed
                && agenda.named(seed)?.is_none()
            {
                entry.name.clone_from(seed);
            }
            Ok(())
        })
    }

    /// Switches a schedule on. One that was stopped by failures begins to count anew.
    ///
    /// # Errors
    /// Those of [`Schedules::edit`].
    pub fn enable(&self, name: &str) -> Result<ScheduleRecord, Error> {
        self.switch_one(name, Switch::On)
    }

    /// Switches a schedule off.
    ///
    /// # Errors
    /// Those of [`Schedules::edit`].
    pub fn disable(&self, name: &str) -> Result<ScheduleRecord, Error> {
        self.switch_one(name, Switch::Off)
    }

    /// Switches a schedule on that is off or was stopped by failures, and off that is on.
    ///
    /// # Errors
    /// Those of [`Schedules::edit`].
    pub fn toggle(&self, name: &str) -> Result<ScheduleRecord, Error> {
        self.switch_one(name, Switch::Toggle)
    }

    fn switch_one(&self, name: &str, to: Switch) -> Result<ScheduleRecord, Error> {
        self.switch(&[name], to)?.pop().ok_or_else(|| no_schedule(name))
    }

    /// Switches several on or off in one commit: all of them or, where one is not there or cannot be used,
    /// none.
    ///
    /// # Errors
    /// Those of [`Schedules::edit`].
    pub fn switch<S: AsRef<str>>(
        &self,
        names: &[S],
        to: Switch,
    ) -> Result<Vec<ScheduleRecord>, Error> {
        self.client.check_open()?;
        let now = self.now();
        let action = match to {
            Switch::On => "enable_schedule",
            Switch::Off => "disable_schedule",
            Switch::Toggle => "toggle_schedule",
        };
        let all: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        self.changed(action, &all, |maker| {
            let agenda = maker.agenda();
            let mut all = Vec::with_capacity(names.len());
            for entry in found(agenda, names)? {
                let mut entry = entry;
                let before = entry.clone();
                let failing = entry.standing.failing_at.is_some();
                let is_on = entry.terms()?.is_enabled() && !failing;
                let enabled = to.from(is_on);
                if enabled {
                    (entry.standing.failing_at, entry.standing.failures) = (None, 0);
                }
                if entry.terms()?.is_enabled() != enabled {
                    ScheduleEdit::default().enabled(enabled).apply(&mut entry, now)?;
                }
                self.settle(agenda, &mut entry, &before, now)?;
                all.push(entry);
            }
            all.iter().try_for_each(|entry| agenda.update(entry))?;
            agenda.note_edition()?;
            all.into_iter().map(|entry| record(agenda, entry)).collect()
        })
    }

    /// Forgets a schedule and its history. Its tasks stay.
    ///
    /// # Errors
    /// `declared` for one that the code of this program declares, which would store it again: disable it. Those of
    /// [`Schedules::edit`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.client.check_open()?;
        self.changed("remove_schedule", &[name], |maker| {
            let agenda = maker.agenda();
            let entry = named(agenda, name)?;
            let own = entry.program.as_deref() == Some(&*self.client.hub.program);
            if entry.seed.is_some() && entry.orphaned_at.is_none() && own {
                let allowed = "one that no code declares, as that would store it again; disable it";
                return Err(Error::invalid("declared", "schedule to remove", name, allowed));
            }
            agenda.remove(entry.id)?;
            agenda.note_edition()
        })
    }

    /// Makes a task now, also where the schedule is switched off or another has not ended. Its slots stay as they
    /// are, but one that comes while this task runs finds it there ([`Overlap`](crate::Overlap)).
    ///
    /// ```
    /// # use litework::{Client, Schedule, State, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn sync(folder: &str) {}
    ///
    /// let daily = Schedule::every("sync", Duration::from_secs(86_400), sync::with("docs"));
    /// let tasks = Client::in_memory().register(sync).schedule(daily).open()?;
    /// let task = tasks.schedules().run_now("sync")?;
    /// assert_eq!(task.state, State::Succeeded); // it runs in the caller
    /// assert_eq!(task.slot.map(|slot| slot.name).as_deref(), Some("sync"));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `no_schedule`; `unknown_kind` where this program does not know its kind; else those of
    /// [`Client::enqueue`].
    pub fn run_now(&self, name: &str) -> Result<TaskRecord, Error> {
        self.run_all_now(&[name])?.pop().ok_or_else(|| no_schedule(name))
    }

    /// The same for several, in one commit: a task of each or, where one is not there or its kind is not known
    /// here, none.
    ///
    /// # Errors
    /// Those of [`Schedules::run_now`].
    pub fn run_all_now<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<TaskRecord>, Error> {
        self.client.check_open()?;
        let hub = &self.client.hub;
        hub.backend.check_usable()?;
        let now = self.now();
        let prepare =
            |entry: &Entry, terms: &Terms, slot| hub.prepare_slot(entry, terms, slot, now);
        let mut entries = |agenda: &mut dyn Agenda| found(agenda, names);
        let all: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let by = self.entry("run_schedule", &all);
        let run = || calendar::run_now(&*hub.backend, now, &mut entries, &prepare);
        let stored = audit::during(by.as_ref(), run)?;
        hub.tell_stored(&stored, now);
        let ids: Vec<TaskId> = stored.iter().map(|stored| stored.id).collect();
        self.client.run_in_caller(&ids);
        ids.into_iter().map(|id| self.client.get(id)).collect()
    }

    /// Changes a stored schedule and finds its next slot, in one commit. Nothing is stored of a schedule that
    /// could not fire.
    fn revise(
        &self,
        action: &'static str,
        name: &str,
        now: Timestamp,
        mut change: impl FnMut(&mut dyn Agenda, &mut Entry) -> Result<(), Error>,
    ) -> Result<ScheduleRecord, Error> {
        self.client.check_open()?;
        self.changed(action, &[name], |maker| {
            let agenda = maker.agenda();
            let mut entry = named(agenda, name)?;
            let before = entry.clone();
            change(agenda, &mut entry)?;
            if entry.name != name && agenda.named(&entry.name)?.is_some() {
                return Err(taken(&entry.name));
            }
            self.settle(agenda, &mut entry, &before, now)?;
            agenda.update(&entry)?;
            agenda.note_edition()?;
            record(agenda, entry)
        })
    }

    /// After a change: refuses what could not fire, and finds the next slot.
    fn settle(
        &self,
        agenda: &mut dyn Agenda,
        entry: &mut Entry,
        before: &Entry,
        now: Timestamp,
    ) -> Result<(), Error> {
        let terms = entry.terms()?;
        self.check_call(entry, &terms, now)?;
        let old = before.terms().ok().and_then(|terms| terms.arguments);
        if old != terms.arguments && self.client.hub.catalog.get(&entry.kind).is_ok() {
            self.client.hub.check_arguments(&entry.kind, &terms, &old.unwrap_or_default())?;
        }
        let stood =
            |entry: &Entry| (entry.standing.failing_at.is_some(), entry.standing.damage.is_some());
        let known = before.terms().ok().filter(|_| stood(before) == (stood(entry).0, false));
        // What is due by now is not made up for under other terms.
        let is_late = before.standing.due_at.is_some_and(|at| at <= now);
        let known = known.filter(|known| !is_late || known.calls_like(&terms));
        calendar::settle(agenda, entry, (before, known.as_ref()), now)
    }

    /// Changes schedules of these names, in one commit.
    fn changed<R>(
        &self,
        action: &'static str,
        names: &[&str],
        work: impl FnMut(&mut dyn calendar::Maker) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.client.hub.backend.check_usable()?;
        let by = self.entry(action, names);
        audit::during(by.as_ref(), || calendar::change(&*self.client.hub.backend, work))
    }

    fn entry(&self, action: &'static str, names: &[&str]) -> Option<Arc<audit::Entry>> {
        self.client.entry(action, || serde_json::json!({ "schedules": names }))
    }

    /// Whether its calls could be made, where this program knows its kind.
    fn check_call(&self, entry: &Entry, terms: &Terms, now: Timestamp) -> Result<(), Error> {
        let hub = &self.client.hub;
        if hub.catalog.get(&entry.kind).is_err() && entry.id != 0 {
            return Ok(());
        }
        let (name, late) = (entry.name.clone(), std::time::Duration::ZERO);
        let slot = Slot { schedule: entry.id, name, at: now, late, kind: SlotKind::Due };
        hub.prepare_slot(entry, terms, slot, now).map(drop)
    }
}
