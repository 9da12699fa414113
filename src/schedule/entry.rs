//! Store: a schedule as it is kept, what is known of its past, and both as people see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Terms;
use super::edits::{self, Edited, compare, merged};
use crate::error::{Error, shorten};
use crate::id::TaskId;
use crate::redact::Redaction;
use crate::slot::SlotKind;
use crate::state::State;
use crate::time::Timestamp;
use crate::timing::{Slots, Timing};

/// Slots of one schedule that are kept as its history, those not counted whose tasks have not ended.
pub(crate) const SLOTS_KEPT: usize = 100;
/// Stretches of slots that have fired, which are remembered of a schedule whose clock was set.
const STRETCHES_MAX: usize = 16;

/// Who has made a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The code of a program, which is shown by this name; see
    /// [`Builder::schedule`](crate::Builder::schedule).
    Code {
        /// What the program is called: [`Builder::name`](crate::Builder::name).
        program: String,
    },
    /// Somebody, while a program ran; see [`Schedules::add`](crate::Schedules::add).
    Made,
}

/// Whether a schedule fires, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleState {
    /// It fires, or waits for the end of its run.
    Active,
    /// Its queue or its kind is paused, or no program that is there can make its call: what it misses until
    /// that ends is treated like any slot that was missed.
    Paused,
    /// Somebody has switched it off, or its code does.
    Disabled,
    /// Too many of its tasks have failed in a row.
    Failing,
    /// Its code does not declare it any more.
    Orphaned,
    /// It has no slot any more.
    Ended,
    /// What is stored of it cannot be used; the reason stands in [`ScheduleRecord::damage`].
    Damaged,
}

impl ScheduleState {
    /// The word for it, such as `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Failing => "failing",
            Self::Orphaned => "orphaned",
            Self::Ended => "ended",
            Self::Damaged => "damaged",
        }
    }
}

impl std::fmt::Display for ScheduleState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One slot of a schedule's history; it is kept when the task is pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotRecord {
    /// The slot; of several that were missed the last.
    pub at: Timestamp,
    /// What became of it.
    pub kind: SlotKind,
    /// How many slots it stands for; more than one only where they were missed.
    pub count: u64,
    /// When that was decided.
    pub fired_at: Timestamp,
    /// Its task, which may have been pruned since.
    pub task: Option<TaskId>,
    /// How the task ended; none while it has not.
    pub state: Option<State>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A slot whose task has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSlot {
    pub(crate) at: Timestamp,
    pub(crate) task: TaskId,
}

/// What is known of a schedule's past, and of its next slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The next slot; none where it does not fire, or waits for the end of its run.
    pub(crate) next_at: Option<Timestamp>,
    /// When that is to be made a task: with its jitter.
    pub(crate) due_at: Option<Timestamp>,
    /// It was due while its queue or kind was paused, or nobody could make its call.
    pub(crate) held: bool,
    /// When the next slot was found: a clock that shows less was set back since.
    pub(crate) planned_at: Option<Timestamp>,
    /// Stretches of slots that have fired, first and last of each: those do not fire again.
    pub(crate) fired: Vec<(Timestamp, Timestamp)>,
    pub(crate) runs: u64,
    pub(crate) missed: u64,
    pub(crate) overlapped: u64,
    /// Tasks in a row that have failed for good.
    pub(crate) failures: u64,
    pub(crate) failing_at: Option<Timestamp>,
    /// Why it cannot be used.
    pub(crate) damage: Option<String>,
}

impl Standing {
    /// Notes that a slot has fired; `follows`: it is the one after the last that has.
    pub(crate) fn note_fired(&mut self, slot: Timestamp, follows: bool) {
        match self.fired.last_mut() {
            Some(last) if follows => last.1 = slot,
            _ => self.fired.push((slot, slot)),
        }
        if self.fired.len() > STRETCHES_MAX {
            self.join_nearest();
        }
    }

    /// Makes one stretch of the two that are nearest to each other, as none may be forgotten: what lies between
    /// them was passed over, and stays so when its time comes again. Not of two around the newest, where slots
    /// are yet to come.
    fn join_nearest(&mut self) {
        let Some(newest) = self.fired.pop() else { return };
        self.fired.sort_unstable();
        let pairs = self.fired.iter().zip(self.fired.iter().skip(1)).enumerate();
        let gaps = pairs.filter(|(_, ((_, last), (next, _)))| newest.0 < *last || newest.0 > *next);
        let nearest = gaps.min_by_key(|(_, ((_, last), (next, _)))| last.until(*next));
        if let Some(at) = nearest.map(|(at, _)| at) {
            let (_, last) = self.fired.remove(at + 1);
            self.fired[at].1 = self.fired[at].1.max(last);
        }
        self.fired.push(newest);
    }

    /// The first slot after a moment that has not fired.
    pub(crate) fn next_unfired(&self, slots: &Slots, moment: Timestamp) -> Option<Timestamp> {
        let mut next = slots.after(moment)?;
        while let Some((_, last)) = self.stretch_of(next) {
            next = slots.after(last)?;
        }
        Some(next)
    }

    pub(crate) fn has_fired(&self, slot: Timestamp) -> bool {
        self.stretch_of(slot).is_some()
    }

    /// How many slots from `first` to `last`, both of which are slots, have fired; counted up to `most`.
    pub(crate) fn fired_within(
        &self,
        slots: &Slots,
        first: Timestamp,
        last: Timestamp,
        most: u64,
    ) -> u64 {
        let within = self.fired.iter().filter(|(begin, end)| *begin <= last && *end >= first);
        within.fold(0, |counted, (begin, end)| {
            let before = Timestamp::clamped((*begin).max(first).as_millis() - 1);
            let left = most.saturating_sub(counted);
            let count = |begin| slots.count(begin, (*end).min(last), left);
            counted.saturating_add(slots.after(before).map_or(0, count))
        })
    }

    fn stretch_of(&self, slot: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.fired.iter().copied().find(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// A schedule as it is stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Entry {
    /// 0 for one that is yet to be stored; never used again.
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Its name in code; none where no code declares it.
    pub(crate) seed: Option<String>,
    /// The program whose code declares it.
    pub(crate) program: Option<String>,
    pub(crate) kind: String,
    /// Its timing is an expression, which not each program can read.
    pub(crate) cron: bool,
    /// What code says of it, a JSON object.
    pub(crate) code: Option<String>,
    /// What people say, likewise; see [`edits`](super::edits).
    pub(crate) edits: String,
    /// Counts the changes of its timing and of its calls.
    pub(crate) generation: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) edited_at: Option<Timestamp>,
    pub(crate) orphaned_at: Option<Timestamp>,
    pub(crate) standing: Standing,
}

fn object(column: &str, text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|error| {
        let allowed = format!("a JSON object as it was stored ({error})");
        Error::invalid("bad_schedule", column, shorten(text), allowed)
    })
}

impl Entry {
    pub(crate) fn code(&self) -> Result<Map<String, Value>, Error> {
        self.code.as_deref().map_or(Ok(Map::new()), |text| object("what code says", text))
    }

    pub(crate) fn edits(&self) -> Result<Map<String, Value>, Error> {
        object("what was edited", &self.edits)
    }

    /// The parameters of which people have edited the arguments.
    pub(crate) fn edited_parameters(&self) -> Vec<String> {
        self.edits().map(|edits| edits::parameters(&edits)).unwrap_or_default()
    }

    /// Takes back what people say of these parameters.
    pub(crate) fn forget_parameters(&mut self, names: &[String]) {
        let (Ok(code), Ok(mut edits)) = (self.code(), self.edits()) else { return };
        edits::forget(&mut edits, names);
        self.edits = Value::Object(edits::differing(&code, &edits)).to_string();
    }

    /// What people say that this program can read, key by key.
    pub(crate) fn readable_edits(&self) -> Map<String, Value> {
        let reads = |key: &str, value: &Value| {
            let alone = Map::from_iter([(key.to_owned(), value.clone())]);
            value.is_null() || serde_json::from_value::<Terms>(Value::Object(alone)).is_ok()
        };
        let in_options = |(key, value): &(String, Value)| {
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            reads(edits::OPTIONS, &Value::Object(alone)) || value.is_null()
        };
        let mut all = self.edits().unwrap_or_default();
        if let Some(Value::Object(options)) = all.get_mut(edits::OPTIONS) {
            *options = std::mem::take(options).into_iter().filter(in_options).collect();
        }
        all.retain(|key, value| {
            let is_readable = edits::is_partial(key, value) || reads(key, value);
            if !is_readable {
                let named = serde_json::json!({ key.as_str(): value }).to_string();
                let edited = Redaction::default().json(&named);
                tracing::warn!(
                    schedule = self.name,
                    edited,
                    "what cannot be read was taken out of an edited schedule"
                );
            }
            is_readable
        });
        all
    }

    /// What holds.
    pub(crate) fn terms(&self) -> Result<Terms, Error> {
        let all = merged(&self.code()?, &self.edits()?);
        serde_json::from_value(Value::Object(all)).map_err(|error| {
            let allowed = "what this version of litework has stored";
            Error::invalid("bad_schedule", "terms of the schedule", error.to_string(), allowed)
        })
    }

    /// What holds, and its slots.
    pub(crate) fn checked(&self) -> Result<(Terms, Slots), Error> {
        let terms = self.terms()?;
        let slots = terms.slots(self.created_at)?;
        Ok((terms, slots))
    }

    /// Whether what is stored of it is whole, but not for this program to read: another version has stored
    /// what this one does not know, or it was built without the zone, or without expressions.
    pub(crate) fn is_foreign(&self) -> bool {
        let is_whole = self.code().is_ok() && self.edits().is_ok();
        let Ok(terms) = self.terms() else { return is_whole };
        let slots = terms.slots(self.created_at);
        slots.is_err_and(|error| matches!(error.code(), "unknown_zone" | "unsupported"))
    }

    /// It does not fire any more, as it cannot be used.
    pub(crate) fn damage(&mut self, error: &str) {
        self.standing.next_at = None;
        self.standing.due_at = None;
        self.standing.held = false;
        self.standing.damage = Some(error.to_owned());
    }

    fn state(&self, terms: Option<&Terms>) -> ScheduleState {
        let standing = &self.standing;
        if standing.damage.is_some() || terms.is_none() {
            ScheduleState::Damaged
        } else if self.orphaned_at.is_some() {
            ScheduleState::Orphaned
        } else if !terms.is_none_or(Terms::is_enabled) {
            ScheduleState::Disabled
        } else if standing.failing_at.is_some() {
            ScheduleState::Failing
        } else if standing.held {
            ScheduleState::Paused
        } else if standing.next_at.is_some() {
            ScheduleState::Active
        } else {
            ScheduleState::Ended
        }
    }

    /// As people see it; `last` is its newest slot that made a task, `open` how many have not ended.
    pub(crate) fn into_record(self, last: Option<SlotRecord>, open: usize) -> ScheduleRecord {
        let terms = self.terms();
        let mut state = self.state(terms.as_ref().ok());
        let damage = self.standing.damage.clone();
        let damage = damage.or_else(|| self.checked().err().map(|error| error.to_string()));
        let terms = terms.unwrap_or_default();
        // It has its next slot when its run has ended.
        let follows = matches!(terms.timing, Some(Timing::AfterFinish { .. }));
        if state == ScheduleState::Ended && follows && open > 0 {
            state = ScheduleState::Active;
        }
        let grace = terms.grace();
        let mut edited = Vec::new();
        if let Some(code) = self.seed.as_ref().filter(|seed| **seed != self.name) {
            let (field, edited_name) = ("name".to_owned(), self.name.clone().into());
            edited.push(Edited { field, code: code.clone().into(), edited: edited_name });
        }
        if let (Some(_), Ok(code), Ok(edits)) = (&self.code, self.code(), self.edits()) {
            edited.extend(compare(&code, &edits));
        }
        let origin = match self.program {
            Some(program) => Origin::Code { program },
            None => Origin::Made,
        };
        ScheduleRecord {
            name: self.name,
            code_name: self.seed,
            kind: self.kind,
            state,
            damage,
            origin,
            enabled: terms.is_enabled(),
            description: terms.description,
            timing: terms.timing,
            missed: terms.missed.unwrap_or_default(),
            overlap: terms.overlap.unwrap_or_default(),
            queue: terms.options.named_queue().map(str::to_owned),
            priority: terms.options.named_priority(),
            times: terms.times,
            jitter: terms.jitter.unwrap_or_default(),
            grace,
            stop_after_failures: terms.failures_max,
            arguments: Value::Object(terms.arguments.unwrap_or_default()).to_string(),
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            next_at: self.standing.next_at,
            last,
            open,
            runs: self.standing.runs,
            missed_slots: self.standing.missed,
            overlapped_slots: self.standing.overlapped,
            failures: self.standing.failures,
            edited,
            edited_at: self.edited_at,
            generation: self.generation.unsigned_abs(),
            created_at: self.created_at,
        }
    }
}

/// A schedule as it was when it was read; it does not change by itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScheduleRecord {
    /// Its name, the only one of that name.
    pub name: String,
    /// What code calls it; none where no code declares it.
    pub code_name: Option<String>,
    /// The kind of its tasks.
    pub kind: String,
    /// Whether it fires.
    pub state: ScheduleState,
    /// Why it cannot be used, or not by this program, if it cannot.
    pub damage: Option<String>,
    /// Who has made it.
    pub origin: Origin,
    /// Whether it is switched on.
    pub enabled: bool,
    /// One paragraph for people.
    pub description: Option<String>,
    /// When it fires; its `to_string()` is a text for people. None where it is damaged.
    pub timing: Option<Timing>,
    /// What becomes of slots that were missed.
    pub missed: super::Missed,
    /// What becomes of a slot while an earlier task has not ended.
    pub overlap: super::Overlap,
    /// The queue of its calls, where they name one.
    pub queue: Option<String>,
    /// The priority of its calls, where they name one.
    pub priority: Option<i32>,
    /// It ends when it has made so many tasks.
    pub times: Option<u64>,
    /// Each task comes up to so much later than its slot.
    pub jitter: Duration,
    /// How late a task may come and still be on time.
    pub grace: Duration,
    /// It stops when so many tasks in a row have failed for good.
    pub stop_after_failures: Option<u64>,
    /// The arguments of its calls, a JSON object.
    pub arguments: String,
    /// No slot is before this moment.
    pub starts_at: Option<Timestamp>,
    /// No slot is after this moment.
    pub ends_at: Option<Timestamp>,
    /// Its next slot.
    pub next_at: Option<Timestamp>,
    /// The newest slot that has made a task, with its outcome.
    pub last: Option<SlotRecord>,
    /// How many of its tasks have not ended.
    pub open: usize,
    /// How many tasks it has made, those not counted that somebody asked for.
    pub runs: u64,
    /// How many slots were missed; of one stretch of a cron expression at most 1,000 are counted.
    pub missed_slots: u64,
    /// How many slots were skipped, as an earlier task had not ended.
    pub overlapped_slots: u64,
    /// How many of its tasks have failed for good since the last success, those not counted that somebody asked
    /// for.
    pub failures: u64,
    /// Where a person's word goes before that of code.
    pub edited: Vec<Edited>,
    /// When somebody last changed it.
    pub edited_at: Option<Timestamp>,
    /// Grows with each change of its timing or of its calls.
    pub generation: u64,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl ScheduleRecord {
    /// Whether nobody has fired it in time: it is on, and its next slot, with its jitter and its grace, has
    /// passed at this moment, such as [`SystemClock`](crate::SystemClock)'s. Then no pool that knows its kind
    /// lives, and nobody calls [`Client::run_pending`](crate::Client::run_pending).
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        let latest = self.next_at.map(|slot| slot.after(self.jitter).after(self.grace));
        self.state == ScheduleState::Active && latest.is_some_and(|latest| latest < now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Bounds;
    use std::time::Duration;

    fn at(ms: i64) -> Timestamp {
        Timestamp::clamped(ms)
    }

    #[test]
    fn a_slot_that_has_fired_is_passed_over_when_its_time_comes_again() {
        let timing = Timing::Every { interval: Duration::from_secs(10) };
        let slots = timing.slots(at(0), Bounds::default(), false).expect("in range");
        let mut standing = Standing::default();
        for slot in [20_000, 30_000, 40_000] {
            standing.note_fired(at(slot), slot > 20_000);
        }
        standing.note_fired(at(90_000), false);
        assert_eq!(standing.fired, [(at(20_000), at(40_000)), (at(90_000), at(90_000))]);
        let next = |moment| standing.next_unfired(&slots, at(moment));
        assert_eq!(next(0), Some(at(10_000)));
        assert_eq!(next(15_000), Some(at(50_000)));
        assert_eq!(next(85_000), Some(at(100_000)));
    }

    #[test]
    fn no_slot_that_has_fired_is_forgotten_however_many_stretches_there_are() {
        let mut standing = Standing::default();
        let mut noted = Vec::new();
        // Further and further apart, and then back before all of them.
        for number in (1..40).map(|number| number * number).chain([0]) {
            noted.push(at(1_000_000 + number * 10_000));
            standing.note_fired(at(1_000_000 + number * 10_000), false);
            assert!(standing.fired.len() <= STRETCHES_MAX);
            assert!(noted.iter().all(|slot| standing.has_fired(*slot)), "{:?}", standing.fired);
        }
        assert_eq!(standing.fired.last(), Some(&(at(1_000_000), at(1_000_000))));
        assert!(!standing.has_fired(at(1_005_000)), "it is yet to come");
    }
}
