//! Contract: schedules that code declares are stored when the file does not have them, and follow the code
//! as far as no person has changed them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use super::fire::{COUNTED_MAX, hold_back, note_missed};
use super::{Agenda, Calendar, change, glance, may_fire, plan, set_next};
use crate::error::{Error, shorten};
use crate::schedule::{Entry, Terms};
use crate::time::Timestamp;

/// The key of the terms that holds the arguments of the calls.
const ARGUMENTS: &str = "arguments";
/// What people have said is kept whole in a description up to this length.
const KEPT_BYTES_MAX: usize = 1_500;

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
        program: &str,
        edition: i64,
    ) -> Result<(), Error> {
        let names: Vec<String> = self.locked().iter().cloned().collect();
        if self.looked.swap(edition, Ordering::Relaxed) == edition || names.is_empty() {
            return Ok(());
        }
        let orphaned = glance(calendar, |agenda| {
            let mut orphaned = Vec::new();
            for name in &names {
                let is_own = |entry: &Entry| entry.program.as_deref() == Some(program);
                let entry = agenda.seeded(name)?.filter(is_own);
                let entry = entry.filter(|entry| entry.orphaned_at.is_some());
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

/// The program whose code declares schedules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    /// Its code says what it is called; else it is called after its file, which may say a version.
    pub(crate) is_named: bool,
}

impl Program<'_> {
    /// Whether another program has declared it and declares it still, as far as is known.
    fn is_guest(&self, entry: &Entry) -> bool {
        let Some(owner) = entry.program.as_deref().filter(|owner| *owner != self.name) else {
            return false;
        };
        let own = if self.is_named { self.name } else { unversioned(self.name) };
        entry.orphaned_at.is_none() && unversioned(owner) != own
    }
}

/// The name of a program without the version that its file's name ends with, as `app` of `app-1.2`.
fn unversioned(name: &str) -> &str {
    let separators = name.char_indices().skip(1).filter(|(_, c)| "-_.".contains(*c));
    let is_version = |rest: &str| {
        let rest = rest.strip_prefix('v').unwrap_or(rest);
        let part = rest.split(['-', '_', '.']).next().unwrap_or_default();
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let begin = separators.map(|(at, _)| at).find(|at| is_version(&name[at + 1..]));
    begin.map_or(name, |begin| &name[..begin])
}

/// Stores what is new, and notes which schedules of this program are declared no more. Where nothing has
/// changed it only looks.
pub(crate) fn seed(
    calendar: &(impl Calendar + ?Sized),
    now: Timestamp,
    program: Program<'_>,
    seeds: &[Seed],
    fits: Fits<'_>,
) -> Result<(), Error> {
    let differs = glance(calendar, |agenda| {
        let mut any = false;
        for seed in seeds {
            any |= match seeded(agenda, program, seed)? {
                None => true,
                Some(entry) if program.is_guest(&entry) => {
                    greet(&entry, seed)?;
                    false
                }
                Some(entry) => {
                    differs(&entry, program, seed)
                        || !misfits(&entry, seed, fits).is_empty()
                        || has_stalled(agenda, &entry)?
                }
            };
        }
        Ok(any || !orphans(agenda, program, seeds)?.is_empty())
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
/// that name, with calls of the same kind.
fn seeded(
    agenda: &mut dyn Agenda,
    program: Program<'_>,
    seed: &Seed,
) -> Result<Option<Entry>, Error> {
    if let Some(entry) = agenda.seeded(&seed.name)? {
        return Ok(Some(entry));
    }
    for name in &seed.former {
        // What another program declares is not renamed.
        if let Some(entry) = agenda.seeded(name)?.filter(|entry| !program.is_guest(entry)) {
            return Ok(Some(entry));
        }
    }
    let is_meant = |entry: &Entry| entry.seed.is_none() && entry.kind == seed.kind;
    Ok(agenda.named(&seed.name)?.filter(is_meant))
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

/// Lets schedules go on that wait for the end of a task which has gone without a word, as somebody has deleted
/// it in the file. Where there is none it only looks.
pub(crate) fn revive(calendar: &(impl Calendar + ?Sized), now: Timestamp) -> Result<(), Error> {
    let waiting = glance(calendar, |agenda| {
        let mut waiting = Vec::new();
        for entry in agenda.idle()? {
            if !agenda.open_slots(entry.id)?.is_empty() && has_stalled(agenda, &entry)? {
                waiting.push(entry.id);
            }
        }
        Ok(waiting)
    })?;
    if waiting.is_empty() {
        return Ok(());
    }
    change(calendar, |maker| {
        let agenda = maker.agenda();
        for id in &waiting {
            let Some(mut entry) = agenda.entry(*id)? else { continue };
            if let (true, Ok((terms, slots))) = (has_stalled(agenda, &entry)?, entry.checked()) {
                plan(agenda, &mut entry, (&terms, &slots), now)?;
                agenda.update(&entry)?;
            }
        }
        agenda.note_edition()
    })
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

fn differs(entry: &Entry, program: Program<'_>, seed: &Seed) -> bool {
    entry.seed.as_ref() != Some(&seed.name)
        || entry.program.as_deref() != Some(program.name)
        || entry.kind != seed.kind
        || entry.orphaned_at.is_some()
        || entry.standing.damage.is_some()
        || entry.code().ok().as_ref() != Some(&seed.terms.object())
}

/// What another program declares stays as that says, or the two would change it in turn. Refuses a name that
/// it declares for something else.
fn greet(entry: &Entry, seed: &Seed) -> Result<(), Error> {
    let owner = entry.program.as_deref().unwrap_or_default();
    if entry.kind != seed.kind {
        let allowed = format!(
            "another name, as the program {owner} declares a schedule of this one with calls of {}",
            entry.kind
        );
        let error = Error::invalid("duplicate_schedule", "schedule name", &seed.name, allowed);
        return Err(error.in_schedule(&seed.name));
    }
    if entry.code().ok().as_ref() != Some(&seed.terms.object()) {
        tracing::warn!(
            schedule = entry.name,
            owner,
            "another program declares a schedule with other terms, which hold until it does so no more"
        );
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

/// A text as it is kept in a description: two of these fit into one.
fn kept(text: &str) -> String {
    if text.len() <= KEPT_BYTES_MAX { text.to_owned() } else { shorten(text) }
}

/// Code makes calls of another kind now. Arguments that somebody has edited go along where it takes those of
/// the same names. Otherwise they would be nonsense, and what code says instead is not what he wished: it is
/// switched off in his name, and its description keeps what he said.
fn set_aside(entry: &mut Entry, seed: &Seed) {
    let (Ok(code), Ok(mut edits)) = (entry.code(), entry.edits()) else { return };
    let Some(Value::Object(edited)) = edits.get(ARGUMENTS) else { return };
    let now = seed.terms.arguments.clone().unwrap_or_default();
    let names = |arguments: &Map<String, Value>| arguments.keys().cloned().collect::<BTreeSet<_>>();
    let before = code.get(ARGUMENTS).and_then(Value::as_object).map(names).unwrap_or_default();
    if before == names(&now) {
        return;
    }
    let parameters: Vec<&String> = edited.keys().collect();
    let edited = Value::Object(edited.clone()).to_string();
    let mut text = format!(
        "Switched off, as its code makes calls of {} now, which do not take what was edited for {}: {}",
        seed.kind,
        entry.kind,
        kept(&edited)
    );
    if let Some(Value::String(theirs)) = edits.get("description") {
        text = format!("{text}\n\n{}", kept(theirs));
    }
    tracing::warn!(
        schedule = entry.name,
        ?parameters,
        "a schedule was switched off, as its code makes other calls now"
    );
    edits.remove(ARGUMENTS);
    edits.insert("enabled".to_owned(), false.into());
    edits.insert("description".to_owned(), text.into());
    entry.edits = Value::Object(edits).to_string();
}

/// Says so where a schedule goes over from another program to this one.
fn note_owner(entry: &Entry, program: Program<'_>) {
    let Some(owner) = entry.program.as_deref().filter(|owner| *owner != program.name) else {
        return;
    };
    if program.is_named {
        tracing::info!(
            schedule = entry.name,
            owner,
            "a schedule was taken over from another program"
        );
    } else {
        tracing::warn!(
            schedule = entry.name,
            owner,
            program = program.name,
            "a schedule was taken over from a program of another name: give this one a name of its own \
             (`Builder::name`), or each new name of its file leaves schedules behind"
        );
    }
}

/// Takes back what was edited of arguments and does not go with what code says now.
fn follow_code(entry: &mut Entry, seed: &Seed, fits: Fits<'_>) {
    let misfits = misfits(entry, seed, fits);
    if misfits.is_empty() {
        return;
    }
    entry.forget_parameters(&misfits);
    tracing::warn!(
        schedule = entry.name,
        parameters = ?misfits,
        "edited arguments do not go with the code any more, which is followed"
    );
}

fn put(
    agenda: &mut dyn Agenda,
    now: Timestamp,
    (program, seed): (Program<'_>, &Seed),
    fits: Fits<'_>,
) -> Result<(), Error> {
    let code = || serde_json::to_string(&seed.terms.object()).unwrap_or_default();
    let Some(mut entry) = seeded(agenda, program, seed)? else {
        let entry = Entry {
            // Somebody may have renamed another one to this.
            name: free_name(agenda, &seed.name)?,
            seed: Some(seed.name.clone()),
            program: Some(program.name.to_owned()),
            kind: seed.kind.clone(),
            code: Some(code()),
            edits: "{}".to_owned(),
            created_at: now,
            ..Entry::default()
        };
        return match store_new(agenda, entry, now) {
            Err(error @ Error::Invalid { .. }) => Err(error.in_schedule(&seed.name)),
            stored => stored.map(drop),
        };
    };
    if program.is_guest(&entry) {
        return Ok(());
    }
    let has_stalled = has_stalled(agenda, &entry)?;
    if !differs(&entry, program, seed) && misfits(&entry, seed, fits).is_empty() && !has_stalled {
        return Ok(());
    }
    note_owner(&entry, program);
    let was = entry.clone();
    let before = was.terms().ok();
    // What somebody has said who made it before goes before what code says.
    if entry.name == *entry.seed.as_ref().unwrap_or(&entry.name)
        && entry.name != seed.name
        && agenda.named(&seed.name)?.is_none()
    {
        // Nobody has renamed it, so it is called as in code.
        entry.name.clone_from(&seed.name);
    }
    entry.seed = Some(seed.name.clone());
    entry.program = Some(program.name.to_owned());
    if entry.kind != seed.kind {
        set_aside(&mut entry, seed);
        entry.kind.clone_from(&seed.kind);
    }
    entry.code = Some(code());
    follow_code(&mut entry, seed, fits);
    let was_off =
        entry.orphaned_at.take().is_some() || entry.standing.damage.is_some() || has_stalled;
    match settle(agenda, &mut entry, (&was, before.filter(|_| !was_off).as_ref()), now) {
        // People have said it with another version, which can read it.
        Err(error @ Error::Invalid { .. }) if entry.is_foreign() => {
            entry.standing.damage = None;
            hold_back(agenda, &mut entry, &error)?;
        }
        // What people have said does not go with what code says now.
        Err(error @ Error::Invalid { .. }) => entry.damage(&error.to_string()),
        settled => settled?,
    }
    agenda.update(&entry)
}

/// Schedules that the code of this program declared once.
fn orphans(
    agenda: &mut dyn Agenda,
    program: Program<'_>,
    seeds: &[Seed],
) -> Result<Vec<Entry>, Error> {
    let mut orphans = Vec::new();
    for id in agenda.seeded_by(program.name)? {
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
    slots.check_any(Some(entry.created_at))?;
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

/// After a change of what `was`: refuses what is out of its range, and finds the next slot anew unless the
/// schedule fires as it did `before`.
pub(crate) fn settle(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    (was, before): (&Entry, Option<&Terms>),
    now: Timestamp,
) -> Result<(), Error> {
    let terms = entry.terms()?;
    let slots = terms.checked(entry.created_at)?;
    slots.check_any(Some(entry.created_at))?;
    let fires_alike = before.is_some_and(|before| before.fires_like(&terms));
    if !fires_alike || before.is_none_or(|before| !before.calls_like(&terms)) {
        entry.generation += 1;
    }
    if fires_alike {
        return Ok(());
    }
    if terms.is_enabled() && before.is_none_or(|before| !before.is_enabled()) {
        (entry.standing.failing_at, entry.standing.failures) = (None, 0);
    }
    plan(agenda, entry, (&terms, &slots), now)?;
    let Some(slot) = was.standing.next_at.filter(|slot| *slot <= now && !slots.are_free()) else {
        return Ok(());
    };
    let waits = was.standing.due_at.is_some_and(|at| at > now);
    let begun = Timestamp::clamped(slot.as_millis() - 1);
    if waits && may_fire(entry, &terms) && slots.after(begun) == Some(slot) {
        // It is yet to come, within its jitter.
        set_next(entry, &terms, Some(slot), now);
        return Ok(());
    }
    drop_slots(agenda, entry, was, slot, now)
}

/// Slots that were due, from this one on, do not fire under other terms: they are missed.
fn drop_slots(
    agenda: &mut dyn Agenda,
    entry: &mut Entry,
    was: &Entry,
    first: Timestamp,
    now: Timestamp,
) -> Result<(), Error> {
    if entry.standing.next_at.is_some_and(|next| next <= now) {
        return Ok(());
    }
    let Ok((_, slots)) = was.checked() else {
        // What cannot be read here had at least this one.
        return note_missed(agenda, entry, (first, 1), now);
    };
    let last = slots.newest(first, now, 1).pop().unwrap_or(first);
    let fired = was.standing.fired_within(&slots, first, last, COUNTED_MAX);
    let count = slots.count(first, now, COUNTED_MAX).saturating_sub(fired).max(1);
    note_missed(agenda, entry, (last, count), now)?;
    agenda.trim_slots(entry.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_no_part_of_a_name() {
        for (name, expected) in [
            ("app", "app"),
            ("app-1", "app"),
            ("app-1.2.3-linux", "app"),
            ("app_v2", "app"),
            ("app.10", "app"),
            ("server-2fa", "server-2fa"),
            ("web-a-3", "web-a"),
            ("-1", "-1"),
            ("", ""),
        ] {
            assert_eq!(unversioned(name), expected, "{name}");
        }
    }
}
