//! Enqueue and finish: schedules and their slots, as rows. What becomes of them is decided in `calendar`.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, RowIndex, params};

use super::errors::not_stored;
use crate::calendar::{Agenda, Known};
use crate::error::Error;
use crate::fault;
use crate::id::TaskId;
use crate::schedule::{Entry, OpenSlot, SLOTS_KEPT, SlotRecord, Standing};
use crate::slot::SlotKind;
use crate::state::State;
use crate::time::Timestamp;

/// Served by the primary key.
const ENTRY: &str = "SELECT * FROM litework_schedule WHERE id = ?1";
/// Served by the unique index of names.
const NAMED: &str = "SELECT * FROM litework_schedule WHERE name = ?1";
/// Served by the unique index of names in code.
const SEEDED: &str = "SELECT * FROM litework_schedule WHERE seed = ?1";
/// In the order of the unique index of names.
pub(super) const LIST: &str =
    "SELECT * FROM litework_schedule WHERE name > ?1 ORDER BY name LIMIT +?2";
/// Served by `litework_schedule_due`.
pub(super) const DUE_SLOTS: &str = "SELECT due_at, id FROM litework_schedule WHERE kind = ?1 AND cron = ?2 AND due_at <= ?3 AND held = 0 ORDER BY due_at LIMIT +?4";
/// Served by `litework_schedule_held`.
pub(super) const HELD_BACK: &str = "SELECT * FROM litework_schedule WHERE kind = ?1 AND held = 1 AND id > ?2 AND cron <= ?3 ORDER BY id LIMIT +?4";
/// Served by `litework_schedule_planned`.
pub(super) const PLANNED_AFTER: &str = "SELECT * FROM litework_schedule \
     WHERE planned_at > ?1 AND cron <= ?2 AND kind = ?4 ORDER BY planned_at LIMIT +?3";

/// Served by `litework_schedule_due`.
pub(super) const NEXT_SLOT: &str = "SELECT due_at FROM litework_schedule \
     WHERE kind = ?1 AND cron = ?2 AND due_at IS NOT NULL AND held = 0 ORDER BY due_at LIMIT 1";

/// Served by `litework_schedule_program`.
pub(super) const SEEDED_BY: &str = "SELECT id FROM litework_schedule WHERE program = ?1";

/// Served by `litework_schedule_idle`.
pub(super) const IDLE: &str = "SELECT * FROM litework_schedule \
     WHERE next_at IS NULL AND orphaned_at IS NULL ORDER BY id";

/// Served by the primary key of `litework_meta`.
const EDITION: &str = "SELECT value FROM litework_meta WHERE name = 'schedules'";
const NOTE_EDITION: &str = "INSERT INTO litework_meta (name, value) VALUES ('schedules', 1) \
     ON CONFLICT (name) DO UPDATE SET value = value + 1";

const ADD: &str = "INSERT INTO litework_schedule (name, seed, program, kind, cron, code, edits, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
/// Served by the primary key.
const UPDATE: &str = "UPDATE litework_schedule SET name = ?2, seed = ?3, program = ?4, kind = ?5, cron = ?6, \
     code = ?7, edits = ?8, generation = ?9, edited_at = ?10, orphaned_at = ?11 WHERE id = ?1";
/// Served by the primary key. What stands in the other columns may be damaged, and is not written again.
const UPDATE_STANDING: &str = "UPDATE litework_schedule SET next_at = ?2, due_at = ?3, held = ?4, planned_at = ?5, \
     fired = ?6, runs = ?7, missed = ?8, overlapped = ?9, failures = ?10, failing_at = ?11, damage = ?12 \
     WHERE id = ?1";
/// Served by the primary key.
const REMOVE: &str = "DELETE FROM litework_schedule WHERE id = ?1";
/// Served by the unique index of slots.
const REMOVE_SLOTS: &str = "DELETE FROM litework_slot WHERE schedule = ?1";

/// Served by the unique index of slots, backwards.
pub(super) const SLOTS: &str = "SELECT at, kind, count, fired_at, task, tag, state, finished_at \
     FROM litework_slot WHERE schedule = ?1 AND at < ?2 ORDER BY at DESC LIMIT +?3";
/// Served by `litework_slot_order`, backwards.
pub(super) const LAST: &str = "SELECT at, kind, count, fired_at, task, tag, state, finished_at \
     FROM litework_slot WHERE schedule = ?1 AND kind NOT IN ('missed', 'overlap') ORDER BY id DESC LIMIT 1";
/// Served by the unique index of slots: few of a schedule are kept.
pub(super) const OPEN: &str = "SELECT at, task, tag FROM litework_slot \
     WHERE schedule = ?1 AND finished_at IS NULL AND task IS NOT NULL AND tag IS NOT NULL ORDER BY at";
/// Served by the unique index of slots.
const HAS_SLOT: &str =
    "SELECT 1 FROM litework_slot WHERE schedule = ?1 AND at = ?2 AND kind <> 'missed'";
/// Served by the unique index of slots.
const NOT_MISSED: &str =
    "DELETE FROM litework_slot WHERE schedule = ?1 AND at = ?2 AND kind = 'missed'";
const PUT_SLOT: &str = "INSERT INTO litework_slot \
     (schedule, at, kind, count, fired_at, task, tag, state, finished_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
/// Served by the unique index of slots.
const END_SLOT: &str =
    "UPDATE litework_slot SET finished_at = ?3, state = ?4 WHERE schedule = ?1 AND at = ?2";
/// The first that is too many. Served by `litework_slot_order`, backwards.
pub(super) const OLD: &str = "SELECT id FROM litework_slot WHERE schedule = ?1 \
     ORDER BY id DESC LIMIT 1 OFFSET ?2";
/// Served by `litework_slot_order`.
pub(super) const TRIM: &str = "DELETE FROM litework_slot \
     WHERE schedule = ?1 AND id <= ?2 AND finished_at IS NOT NULL";

/// Served by the primary key of the rules.
const IS_PAUSED: &str = "SELECT EXISTS (SELECT 1 FROM litework_rule \
     WHERE scope = 'queue' AND name = ?1 AND paused_at IS NOT NULL) \
     OR EXISTS (SELECT 1 FROM litework_rule WHERE scope = 'kind' AND name = ?2 AND paused_at IS NOT NULL)";

/// Served by the primary key.
const STATE: &str = "SELECT state FROM litework_task WHERE id = ?1 AND tag = ?2";

/// Served by the primary key.
const HAS_STARTED: &str =
    "SELECT started_at IS NOT NULL FROM litework_task WHERE id = ?1 AND tag = ?2";

/// A connection on which schedules are read, and changed within a transaction.
pub(super) trait OnConnection {
    fn conn(&self) -> &Connection;
    /// What an error of `SQLite` means here.
    fn error(&self, error: rusqlite::Error) -> Error;
    fn note_edited(&mut self);

    fn all<R>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<R>,
    ) -> Result<Vec<R>, Error> {
        let rows = |mut find: CachedStatement<'_>| find.query_map(values, read)?.collect();
        self.conn().prepare_cached(sql).and_then(rows).map_err(|error| self.error(error))
    }

    fn one<R>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<R>,
    ) -> Result<Option<R>, Error> {
        let row = |mut find: CachedStatement<'_>| find.query_row(values, read).optional();
        self.conn().prepare_cached(sql).and_then(row).map_err(|error| self.error(error))
    }

    fn run(&self, sql: &str, values: impl Params) -> Result<(), Error> {
        let run = |mut change: CachedStatement<'_>| change.execute(values).map(drop);
        self.conn().prepare_cached(sql).and_then(run).map_err(|error| self.error(error))
    }
}

/// Text, also where another program has written what is none.
fn text(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null()?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

fn moment(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::clamped))
}

fn count(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0).unsigned_abs())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let needed = |column| Ok::<_, rusqlite::Error>(text(row, column)?.unwrap_or_default());
    let stretches: Result<Vec<(i64, i64)>, _> = serde_json::from_str(&needed("fired")?);
    let mut damage = text(row, "damage")?;
    if let (Err(error), None) = (&stretches, &damage) {
        damage = Some(format!("bad_row: what has fired cannot be read: {error}"));
    }
    let stretches = stretches.unwrap_or_default().into_iter();
    let clamped = |(first, last)| (Timestamp::clamped(first), Timestamp::clamped(last));
    Ok(Entry {
        id: row.get("id")?,
        name: needed("name")?,
        seed: text(row, "seed")?,
        program: text(row, "program")?,
        kind: needed("kind")?,
        cron: row.get("cron")?,
        code: text(row, "code")?,
        edits: needed("edits")?,
        generation: row.get("generation")?,
        created_at: moment(row, "created_at")?.unwrap_or_default(),
        edited_at: moment(row, "edited_at")?,
        orphaned_at: moment(row, "orphaned_at")?,
        standing: Standing {
            next_at: moment(row, "next_at")?,
            due_at: moment(row, "due_at")?,
            held: row.get("held")?,
            planned_at: moment(row, "planned_at")?,
            fired: stretches.map(clamped).collect(),
            runs: count(row, "runs")?,
            missed: count(row, "missed")?,
            overlapped: count(row, "overlapped")?,
            failures: count(row, "failures")?,
            failing_at: moment(row, "failing_at")?,
            damage,
        },
    })
}

fn slot(row: &Row<'_>) -> rusqlite::Result<SlotRecord> {
    let kind = text(row, 1)?.and_then(|word| SlotKind::from_word(&word));
    let task = row.get::<_, Option<i64>>(4)?.zip(row.get(5)?);
    Ok(SlotRecord {
        at: moment(row, 0)?.unwrap_or_default(),
        kind: kind.unwrap_or(SlotKind::Due),
        count: count(row, 2)?,
        fired_at: moment(row, 3)?.unwrap_or_default(),
        task: task.map(|(row, tag)| TaskId::new(row, tag)),
        state: text(row, 6)?.and_then(|word| State::from_word(&word)),
        finished_at: moment(row, 7)?,
    })
}

fn ms(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millis)
}

fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The timings that a program can tell the slots of.
fn readable(known: &Known) -> &'static [bool] {
    if known.cron { &[false, true] } else { &[false] }
}

impl<C: OnConnection> Agenda for C {
    fn entry(&mut self, id: i64) -> Result<Option<Entry>, Error> {
        self.one(ENTRY, [id], entry)
    }

    fn named(&mut self, name: &str) -> Result<Option<Entry>, Error> {
        self.one(NAMED, [name], entry)
    }

    fn seeded(&mut self, seed: &str) -> Result<Option<Entry>, Error> {
        self.one(SEEDED, [seed], entry)
    }

    fn seeded_by(&mut self, program: &str) -> Result<Vec<i64>, Error> {
        self.all(SEEDED_BY, [program], |row| row.get(0))
    }

    fn list(&mut self, after: &str, size: usize) -> Result<Vec<Entry>, Error> {
        self.all(LIST, (after, number(size)), entry)
    }

    fn next_due(&mut self, known: &Known) -> Result<Option<Timestamp>, Error> {
        let mut next: Option<Timestamp> = None;
        for kind in &*known.kinds {
            for cron in readable(known) {
                let due_at = self.one(NEXT_SLOT, (kind, cron), |row| moment(row, 0))?.flatten();
                next = next.into_iter().chain(due_at).min();
            }
        }
        Ok(next)
    }

    fn due(&mut self, now: Timestamp, known: &Known, size: usize) -> Result<Vec<Entry>, Error> {
        let mut due = Vec::new();
        for kind in &*known.kinds {
            for cron in readable(known) {
                let values = (kind, cron, now.as_millis(), number(size));
                let place = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
                due.extend(self.all(DUE_SLOTS, values, place)?);
            }
        }
        due.sort_unstable();
        due.truncate(size);
        let entries = due.into_iter().map(|(_, id)| self.one(ENTRY, [id], entry).transpose());
        entries.flatten().collect()
    }

    fn held(&mut self, after: i64, known: &Known, size: usize) -> Result<Vec<Entry>, Error> {
        let mut held = Vec::new();
        for kind in &*known.kinds {
            held.extend(self.all(HELD_BACK, (kind, after, known.cron, number(size)), entry)?);
        }
        held.sort_by_key(|entry| entry.id);
        held.truncate(size);
        Ok(held)
    }

    fn planned_after(
        &mut self,
        moment: Timestamp,
        known: &Known,
        size: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut planned = Vec::new();
        for kind in &*known.kinds {
            let values = (moment.as_millis(), known.cron, number(size), kind);
            planned.extend(self.all(PLANNED_AFTER, values, entry)?);
        }
        planned.sort_by_key(|entry| (entry.standing.planned_at, entry.id));
        planned.truncate(size);
        Ok(planned)
    }

    fn idle(&mut self) -> Result<Vec<Entry>, Error> {
        self.all(IDLE, [], entry)
    }

    fn edition(&mut self) -> Result<i64, Error> {
        Ok(self.one(EDITION, [], |row| row.get(0))?.unwrap_or_default())
    }

    fn slots(&mut self, id: i64, before: Timestamp, size: usize) -> Result<Vec<SlotRecord>, Error> {
        self.all(SLOTS, (id, before.as_millis(), number(size)), slot)
    }

    fn last_run(&mut self, id: i64) -> Result<Option<SlotRecord>, Error> {
        self.one(LAST, [id], slot)
    }

    fn open_slots(&mut self, id: i64) -> Result<Vec<OpenSlot>, Error> {
        self.all(OPEN, [id], |row| {
            let task = TaskId::new(row.get(1)?, row.get(2)?);
            Ok(OpenSlot { at: moment(row, 0)?.unwrap_or_default(), task })
        })
    }

    fn is_paused(&mut self, queue: &str, kind: &str) -> Result<bool, Error> {
        Ok(self.one(IS_PAUSED, (queue, kind), |row| row.get(0))?.unwrap_or_default())
    }

    fn state_of(&mut self, task: TaskId) -> Result<Option<State>, Error> {
        let word = self.one(STATE, (task.row(), task.tag()), |row| text(row, 0))?.flatten();
        Ok(word.and_then(|word| State::from_word(&word)))
    }

    fn has_started(&mut self, task: TaskId) -> Result<bool, Error> {
        let known = self.one(HAS_STARTED, (task.row(), task.tag()), |row| row.get(0))?;
        Ok(known.unwrap_or_default())
    }

    fn add(&mut self, entry: &Entry) -> Result<i64, Error> {
        let Entry { name, seed, program, kind, cron, code, edits, created_at, .. } = entry;
        let created_at = created_at.as_millis();
        self.run(ADD, params![name, seed, program, kind, cron, code, edits, created_at])?;
        Ok(self.conn().last_insert_rowid())
    }

    fn update(&mut self, entry: &Entry) -> Result<(), Error> {
        let row = params![
            entry.id,
            entry.name,
            entry.seed,
            entry.program,
            entry.kind,
            entry.cron,
            entry.code,
            entry.edits,
            entry.generation,
            ms(entry.edited_at),
            ms(entry.orphaned_at),
        ];
        self.run(UPDATE, row)?;
        self.update_standing(entry)
    }

    fn update_standing(&mut self, entry: &Entry) -> Result<(), Error> {
        if fault::planted("slot_off") && entry.standing.runs > 0 {
            return Ok(());
        }
        let standing = &entry.standing;
        let stretches =
            standing.fired.iter().map(|(first, last)| (first.as_millis(), last.as_millis()));
        // Pairs of numbers always encode.
        let fired = serde_json::to_string(&stretches.collect::<Vec<_>>()).unwrap_or_default();
        let row = params![
            entry.id,
            ms(standing.next_at),
            ms(standing.due_at),
            standing.held,
            ms(standing.planned_at),
            fired,
            stored_count(standing.runs),
            stored_count(standing.missed),
            stored_count(standing.overlapped),
            stored_count(standing.failures),
            ms(standing.failing_at),
            standing.damage,
        ];
        self.run(UPDATE_STANDING, row)
    }

    fn remove(&mut self, id: i64) -> Result<(), Error> {
        self.run(REMOVE_SLOTS, [id])?;
        self.run(REMOVE, [id])
    }

    fn note_edition(&mut self) -> Result<(), Error> {
        self.note_edited();
        self.run(NOTE_EDITION, [])
    }

    fn has_slot(&mut self, id: i64, at: Timestamp) -> Result<bool, Error> {
        if fault::planted("slot_off") {
            return Ok(false);
        }
        Ok(self.one(HAS_SLOT, (id, at.as_millis()), |_| Ok(()))?.is_some())
    }

    fn put_slot(&mut self, id: i64, slot: &SlotRecord) -> Result<(), Error> {
        if fault::planted("slot_off") {
            return Ok(());
        }
        let task = slot.task;
        let row = params![
            id,
            slot.at.as_millis(),
            slot.kind.as_str(),
            stored_count(slot.count),
            slot.fired_at.as_millis(),
            task.map(TaskId::row),
            task.map(TaskId::tag),
            slot.state.map(State::as_str),
            ms(slot.finished_at),
        ];
        self.run(NOT_MISSED, (id, slot.at.as_millis()))?;
        self.run(PUT_SLOT, row)
    }

    fn end_slot(
        &mut self,
        id: i64,
        at: Timestamp,
        end: Option<(Timestamp, State)>,
    ) -> Result<(), Error> {
        let (finished_at, state) = end.unzip();
        self.run(END_SLOT, (id, at.as_millis(), ms(finished_at), state.map(State::as_str)))
    }

    fn trim_slots(&mut self, id: i64) -> Result<(), Error> {
        match self.one(OLD, (id, number(SLOTS_KEPT)), |row| row.get::<_, i64>(0))? {
            Some(old) => self.run(TRIM, (id, old)),
            None => Ok(()),
        }
    }
}

/// Schedules through a connection that is not ours, or within a transaction that is about ends.
pub(super) struct Rows<'a> {
    pub(super) conn: &'a Connection,
    /// Whether the next slot of a schedule may be another now.
    pub(super) edited: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(conn: &'a Connection) -> Self {
        Self { conn, edited: false }
    }
}

impl OnConnection for Rows<'_> {
    fn conn(&self) -> &Connection {
        self.conn
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        not_stored(error)
    }

    fn note_edited(&mut self) {
        self.edited = true;
    }
}

/// Schedules through a reading connection.
pub(super) struct Look<'a> {
    pub(super) conn: &'a Connection,
}

impl OnConnection for Look<'_> {
    fn conn(&self) -> &Connection {
        self.conn
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        let reason = format!("schedules cannot be read: {error}");
        Error::Storage { reason, source: Some(error.into()) }
    }

    fn note_edited(&mut self) {}
}
