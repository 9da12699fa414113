//! Contract: schedules that code declares are stored when the file does not have them, and follow the code
//! as far as no person has changed them.

use super::{Agenda, Calendar, change, look, plan, set_next};
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

/// Stores what is new, and notes which schedules of this program are declared no more. Where nothing has
/// changed it only looks.
pub(crate) fn seed(
    calendar: &(impl Calendar + ?Sized),
    now: Timestamp,
    program: &str,
    seeds: &[Seed],
) -> Result<(), Error> {
    let differs = look(calendar, |agenda| {
        for seed in seeds {
            if seeded(agenda, seed)?.is_none_or(|entry| differs(&entry, program, seed)) {
                return Ok(true);
            }
        }
        Ok(!orphans(agenda, program, seeds)?.is_empty())
    })?;
    if !differs {
        return Ok(());
    }
    change(calendar, |desk| {
        let agenda = desk.agenda();
        for seed in seeds {
            put(agenda, now, program, seed)?;
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
    agenda.named(&seed.name)
}

fn differs(entry: &Entry, program: &str, seed: &Seed) -> bool {
    entry.seed.as_ref() != Some(&seed.name)
        || entry.program.as_deref() != Some(program)
        || entry.kind != seed.kind
        || entry.orphaned_at.is_some()
        || entry.standing.damage.is_some()
        || entry.code().ok().as_ref() != Some(&seed.terms.object())
}

fn put(agenda: &mut dyn Agenda, now: Timestamp, program: &str, seed: &Seed) -> Result<(), Error> {
    let code = || serde_json::to_string(&seed.terms.object()).unwrap_or_default();
    let Some(mut entry) = seeded(agenda, seed)? else {
        let entry = Entry {
            name: seed.name.clone(),
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
    if !differs(&entry, program, seed) {
        return Ok(());
    }
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
    let was_off = entry.orphaned_at.take().is_some() || entry.standing.damage.is_some();
    match settle(agenda, &mut entry, before.filter(|_| !was_off).as_ref(), now) {
        // What people have said does not go with what code says now.
        Err(error @ Error::Invalid { .. }) => entry.damage(&error),
        settled => settled?,
    }
    agenda.update(&entry)
}

/// Schedules that the code of this program declared once.
fn orphans(agenda: &mut dyn Agenda, program: &str, seeds: &[Seed]) -> Result<Vec<Entry>, Error> {
    let mut orphans = Vec::new();
    for id in agenda.seeded_by(program)? {
        let Some(entry) = agenda.entry(id)? else { continue };
        let declared = seeds.iter().any(|seed| {
            let names = std::iter::once(&seed.name).chain(&seed.former);
            names.map(Some).any(|name| name == entry.seed.as_ref())
        });
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
    let (terms, slots) = entry.checked()?;
    entry.cron = terms.is_cron();
    entry.id = agenda.add(&entry)?;
    // Its number is part of its jitter.
    plan(agenda, &mut entry, (&terms, &slots), now)?;
    agenda.update(&entry)?;
    Ok(entry)
}

/// After a change: finds the next slot anew, where the change concerns that. One that cannot be used is
/// stopped.
pub(crate) fn settle(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    before: Option<&Terms>,
    now: Timestamp,
) -> Result<(), Error> {
    let (terms, slots) = entry.checked()?;
    if before.is_some_and(|before| before.fires_like(&terms)) {
        return Ok(());
    }
    entry.generation += 1;
    if terms.is_enabled() && before.is_none_or(|before| !before.is_enabled()) {
        (entry.standing.failing_at, entry.standing.failures) = (None, 0);
    }
    plan(agenda, entry, (&terms, &slots), now)
}
