//! Contract: schedules that code declares are stored when the file does not have them, and follow the code
//! as far as no person has changed them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Agenda, Calendar, change, glance, may_fire, plan, set_next};
use crate::error::Error;
use crate::schedule::{Entry, Terms};
use crate::time::Timestamp;

/// What the code of a program says of one schedule.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) name: String,
    /// Names that it had before.
    pub(crate) former: Vec<String>,
    pub(crate) kind: String,
    pub(crate) terms: Terms,
}

/// Whether the arguments of a schedule go with what code says of them, for a kind of this program.
pub(crate) type Fits<'a> = &'a dyn Fn(&Terms, &Seed) -> bool;

/// The schedules that an open client declares, as far as they have not been orphaned by another.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    names: Mutex<BTreeSet<String>>,
    /// When it was last looked, as the number of a change.
    looked: AtomicI64,
}

impl Declared {
    pub(crate) fn set(&self, names: impl IntoIterator<Item = String>) {
        self.locked().extend(names);
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns of those that another client has orphaned meanwhile, once of each; looks only after a change, of
    /// which this is the number.
    pub(crate) fn look(
        &self,
        calendar: &(impl Calendar + ?Sized),
        edition: i64,
    ) -> Result<(), Error> {
        let names: Vec<String> = self.locked().iter().cloned().collect();
        if self.looked.swap(edition, Ordering::Relaxed) == edition || names.is_empty() {
            return Ok(());
        }
        let orphaned = glance(calendar, |agenda| {
            let mut orphaned = Vec::new();
            for name in &names {
                let entry = agenda.seeded(name)?.filter(|entry| entry.orphaned_at.is_some());
                orphaned.extend(entry.map(|entry| (name.clone(), entry.name)));
            }
            Ok(orphaned)
        })?;
        for (name, schedule) in orphaned {
            if self.locked().remove(&name) {
                tracing::warn!(
                    schedule,
                    "a schedule does not fire any more, as another client of this program's name does not declare it"
                );
            }
        }
        Ok(())
    }
}

/// Stores what is new, and notes which schedules of this program are declared no more. Where nothing has
/// changed it only looks.
pub(crate) fn seed(
    calendar: &(impl Calendar + ?Sized),
    now: Timestamp,
    program: &str,
    seeds: &[Seed],
    fits: Fits<'_>,
) -> Result<(), Error> {
    let differs = glance(calendar, |agenda| {
        for seed in seeds {
            let Some(entry) = seeded(agenda, seed)? else { return Ok(true) };
            if differs(&entry, program, seed)
                || !misfits(&entry, seed, fits).is_empty()
                || has_stalled(agenda, &entry)?
            {
                return Ok(true);
            }
        }
        Ok(!orphans(agenda, program, seeds)?.is_empty())
    })?;
    if !differs {
        return Ok(());
    }
    change(calendar, |maker| {
        let agenda = maker.agenda();
        for seed in seeds {
            put(agenda, now, (program, seed), fits)?;
        }
        for mut entry in orphans(agenda, program, seeds)? {
            entry.orphaned_at = Some(now);
            // Its terms may be damaged, and make no difference where it has no next slot.
            set_next(&mut entry, &Terms::default(), None, now);
            agenda.update(&entry)?;
            tracing::warn!(
                schedule = entry.name,
                "a schedule is not declared any more, and does not fire"
            );
        }
        agenda.note_edition()
    })
}

/// The schedule that a seed means: of its name in code, now or before; else one that somebody has made under
/// that name.
fn seeded(agenda: &mut dyn Agenda, seed: &Seed) -> Result<Option<Entry>, Error> {
    for name in std::iter::once(&seed.name).chain(&seed.former) {
        if let Some(entry) = agenda.seeded(name)? {
            return Ok(Some(entry));
        }
    }
    Ok(agenda.named(&seed.name)?.filter(|entry| entry.seed.is_none()))
}

/// Whether it waits for the end of a task that has gone.
fn has_stalled(agenda: &mut dyn Agenda, entry: &Entry) -> Result<bool, Error> {
    let Ok(terms) = entry.terms() else { return Ok(false) };
    if !terms.is_free() || entry.standing.next_at.is_some() || !may_fire(entry, &terms) {
        return Ok(false);
    }
    for open in agenda.open_slots(entry.id)? {
        if agenda.state_of(open.task)?.is_some_and(|state| !state.is_final()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A name that no schedule has: this one, or with a number behind it.
fn free_name(agenda: &mut dyn Agenda, name: &str) -> Result<String, Error> {
    let mut free = name.to_owned();
    let mut number = 2;
    while agenda.named(&free)?.is_some() {
        free = format!("{name} ({number})");
        number += 1;
    }
    Ok(free)
}

fn differs(entry: &Entry, program: &str, seed: &Seed) -> bool {
    entry.seed.as_ref() != Some(&seed.name)
        || entry.program.as_deref() != Some(program)
        || entry.kind != seed.kind
        || entry.orphaned_at.is_some()
        || entry.standing.damage.is_some()
        || entry.code().ok().as_ref() != Some(&seed.terms.object())
}

/// Refuses a name that another program declares for something else.
fn check_owner(entry: &Entry, program: &str, seed: &Seed) -> Result<(), Error> {
    let Some(other) = entry.program.as_deref().filter(|other| *other != program) else {
        return Ok(());
    };
    if entry.kind != seed.kind && entry.orphaned_at.is_none() {
        let allowed = format!(
            "another name, as the program {other} declares a schedule of this one with calls of {}",
            entry.kind
        );
        let error = Error::invalid("duplicate_schedule", "schedule name", &seed.name, allowed);
        return Err(error.in_schedule(&seed.name));
    }
    Ok(())
}

/// The parameters whose edited arguments do not go with what code says now.
fn misfits(entry: &Entry, seed: &Seed, fits: Fits<'_>) -> Vec<String> {
    let names = entry.edited_parameters();
    let goes = |keep: &dyn Fn(&String) -> bool| {
        let mut entry = entry.clone();
        let others: Vec<String> = names.iter().filter(|name| !keep(name)).cloned().collect();
        entry.forget_parameters(&others);
        entry.terms().is_ok_and(|terms| fits(&terms, seed))
    };
    if names.is_empty() || entry.terms().is_err() || goes(&|_| true) {
        return Vec::new();
    }
    let alone = |name: &String| goes(&|other| other == name);
    let (good, bad): (Vec<String>, Vec<String>) = names.iter().cloned().partition(alone);
    if goes(&|name| good.contains(name)) { bad } else { names }
}

fn put(
    agenda: &mut dyn Agenda,
    now: Timestamp,
    (program, seed): (&str, &Seed),
    fits: Fits<'_>,
) -> Result<(), Error> {
    let code = || serde_json::to_string(&seed.terms.object()).unwrap_or_default();
    let Some(mut entry) = seeded(agenda, seed)? else {
        let entry = Entry {
            // Somebody may have renamed another one to this.
            name: free_name(agenda, &seed.name)?,
            seed: Some(seed.name.clone()),
            program: Some(program.to_owned()),
            kind: seed.kind.clone(),
            code: Some(code()),
            edits: "{}".to_owned(),
            created_at: now,
            ..Entry::default()
        };
        return store_new(agenda, entry, now).map(drop);
    };
    let has_stalled = has_stalled(agenda, &entry)?;
    if !differs(&entry, program, seed) && misfits(&entry, seed, fits).is_empty() && !has_stalled {
        return Ok(());
    }
    check_owner(&entry, program, seed)?;
    let before = entry.terms().ok();
    // What somebody has said who made it before goes before what code says.
    if entry.name == *entry.seed.as_ref().unwrap_or(&entry.name)
        && entry.name != seed.name
        && agenda.named(&seed.name)?.is_none()
    {
        // Nobody has renamed it, so it is called as in code.
        entry.name.clone_from(&seed.name);
    }
    entry.seed = Some(seed.name.clone());
    entry.program = Some(program.to_owned());
    entry.kind.clone_from(&seed.kind);
    entry.code = Some(code());
    let misfits = misfits(&entry, seed, fits);
    if !misfits.is_empty() {
        entry.forget_parameters(&misfits);
        tracing::warn!(
            schedule = entry.name,
            parameters = ?misfits,
            "edited arguments do not go with the code any more, which is followed"
        );
    }
    let was_off =
        entry.orphaned_at.take().is_some() || entry.standing.damage.is_some() || has_stalled;
    match settle(agenda, &mut entry, before.filter(|_| !was_off).as_ref(), now) {
        // What people have said does not go with what code says now.
        Err(error @ Error::Invalid { .. }) => entry.damage(&error.to_string()),
        settled => settled?,
    }
    agenda.update(&entry)
}

/// Schedules that the code of this program declared once.
fn orphans(agenda: &mut dyn Agenda, program: &str, seeds: &[Seed]) -> Result<Vec<Entry>, Error> {
    let mut orphans = Vec::new();
    for id in agenda.seeded_by(program)? {
        let Some(entry) = agenda.entry(id)? else { continue };
        let declared = seeds.iter().any(|seed| Some(&seed.name) == entry.seed.as_ref());
        if !declared && entry.orphaned_at.is_none() {
            orphans.push(entry);
        }
    }
    Ok(orphans)
}

/// Stores a new schedule with its first slot.
pub(crate) fn store_new(
    agenda: &mut dyn Agenda,
    mut entry: Entry,
    now: Timestamp,
) -> Result<Entry, Error> {
    let terms = entry.terms()?;
    let slots = terms.checked(entry.created_at)?;
    entry.cron = terms.is_cron();
    entry.id = agenda.add(&entry)?;
    // Its number is part of its jitter.
    plan(agenda, &mut entry, (&terms, &slots), now)?;
    agenda.update(&entry)?;
    if may_fire(&entry, &terms) && entry.standing.next_at.is_none() {
        let schedule = &*entry.name;
        tracing::warn!(schedule, "a schedule has no slot ahead, and does not fire");
    }
    Ok(entry)
}

/// After a change: refuses what is out of its range, and finds the next slot anew unless the schedule fires as
/// it did `before`.
pub(crate) fn settle(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    before: Option<&Terms>,
    now: Timestamp,
) -> Result<(), Error> {
    let terms = entry.terms()?;
    let slots = terms.checked(entry.created_at)?;
    if before.is_some_and(|before| before.fires_like(&terms)) {
        return Ok(());
    }
    entry.generation += 1;
    if terms.is_enabled() && before.is_none_or(|before| !before.is_enabled()) {
        (entry.standing.failing_at, entry.standing.failures) = (None, 0);
    }
    plan(agenda, entry, (&terms, &slots), now)
}
