//! Enqueue: tasks that were exported from a queue are stored as they were, a slice in each commit.
//!
//! Whatever refuses one is asked before anything of it is written, so that those before it stay.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::core::Core;
use super::edges::{self, ends_with};
use super::ends;
use super::errors::not_stored;
use super::payload::{INLINE_BYTES_MAX, INSERT_PAYLOAD};
use super::query::ReadError;
use super::row::text;
use crate::error::Error;
use crate::fault;
use crate::flow::before_ended;
use crate::id::TaskId;
use crate::portable::{Portable, PortableEdge};
use crate::state::{Reason, State, rank};
use crate::ties::{Policy, Ties};
use crate::time::Timestamp;
use crate::upkeep::TakenIn;

/// How long a slice holds the lock, but for its last task.
const SLICE: Duration = Duration::from_millis(20);

/// Served by the primary key.
const FOUND: &str = "SELECT tag, state, name FROM litework_task WHERE id = ?1";

/// Served by `litework_task_key`.
const OF_KEY: &str = "SELECT id, tag FROM litework_task WHERE key = ?1";

/// Served by `litework_task_unique`.
const OF_UNIQUE: &str = "SELECT id, tag FROM litework_task WHERE unique_key = ?1";

const STORE: &str = "INSERT INTO litework_task (id, tag, lane, state, reason, rank, priority, due_at, \
     enqueued_at, started_at, finished_at, expires_at, attempt, attempts_max, crashes, snoozes, \
     at_most_once, cancel_requested, stuck, dismissed, batch, owner, key, unique_key, wait_key, ties, \
     name, trace, tags, meta, options, arguments, result) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
     ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)";

const STORE_ATTEMPT: &str = "INSERT INTO litework_error \
     (task, attempt, outcome, started_at, finished_at, report) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const STORE_STEP: &str =
    "INSERT INTO litework_step (task, name, value, stored_at) VALUES (?1, ?2, ?3, ?4)";

const STORE_EDGE: &str = "INSERT INTO litework_edge (before, after, policy, open, place) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Edges to tasks that wait for what is not there. Served by the primary key.
const ABSENT: &str = "SELECT count(*) FROM litework_edge e CROSS JOIN litework_task t ON t.id = e.after \
     WHERE e.open = 1 AND t.state = 'waiting' AND t.reason = 'parents' \
     AND NOT EXISTS (SELECT 1 FROM litework_task b WHERE b.id = e.before)";

/// Stores the first of these, as many as fit into one slice, up to one that is refused.
pub(super) fn take_in(
    core: &mut Core,
    now: Timestamp,
    tasks: &[Portable],
    skips: bool,
) -> Result<TakenIn, Error> {
    let began = Instant::now();
    let mut taken = TakenIn::default();
    for task in tasks {
        if taken.seen > 0 && began.elapsed() >= SLICE {
            break;
        }
        match one(core, now, task, skips) {
            Ok(Some(has_ended)) => {
                taken.stored += 1;
                taken.ended.extend(has_ended.then(|| task.id.row()));
            }
            Ok(None) => taken.skipped += 1,
            Err(error @ (Error::NotStored { .. } | Error::Unknown { .. })) => return Err(error),
            Err(refused) => {
                taken.refused = Some(refused);
                break;
            }
        }
        taken.seen += 1;
    }
    if taken.stored > 0 {
        // It was written past what is remembered of ready and due tasks.
        core.wrote_around();
    }
    fault::point("in_import");
    Ok(taken)
}

/// Whether it has ended here as it was stored; nothing where it was there already.
fn one(
    core: &mut Core,
    now: Timestamp,
    task: &Portable,
    skips: bool,
) -> Result<Option<bool>, Error> {
    let mut task = task.clone();
    let mut has_ended = task.land(now);
    let ties = task.ties()?;
    match found(&core.conn, task.id.row())? {
        Some(here) if here.tag != task.id.tag() => {
            let allowed =
                "an id whose number no other task of this queue has; import into a new file";
            return Err(Error::invalid("id_taken", "id", task.id, allowed));
        }
        Some(_) if skips => return Ok(None),
        Some(_) => {
            let allowed = "an id that is not stored yet; those that are can be skipped";
            return Err(Error::invalid("already_stored", "id", task.id, allowed));
        }
        None => {}
    }
    if let Some(existing) = holder(&core.conn, OF_KEY, task.key.as_ref())? {
        return Err(Error::KeyConflict { existing });
    }
    if let Some(existing) = holder(&core.conn, OF_UNIQUE, task.unique_key.as_ref())? {
        return Err(Error::NotUnique { existing });
    }
    let (queue, kind) = (task.queue.as_str().into(), task.kind.as_str().into());
    let lane = core.lanes.of(&core.conn, &queue, &kind)?;
    let lane = core.lanes.get(lane).id;
    for follow in ties.iter().flat_map(|ties| &ties.follow) {
        let (queue, kind) = (follow.queue.as_str().into(), follow.kind.as_str().into());
        core.lanes.of(&core.conn, &queue, &kind)?;
    }
    let before = before(&core.conn, &task)?;
    let sums = ties.as_ref().is_some_and(|ties| ties.sums);
    if !sums && (task.state, task.reason) == (State::Waiting, Some(Reason::Parents)) {
        has_ended = go_on(&mut task, &before, ties.as_ref(), now);
        core.left_gates.extend(task.wait_key.clone().map(|key| (key, now)));
    }
    store(core, &task, lane, ties.as_ref())
        .and_then(|()| store_rest(&core.conn, &task, &before))
        .map_err(not_stored)?;
    tie(core, now, &task, &before, has_ended)?;
    if sums && !task.state.is_final() {
        core.unsummed.insert(task.id.row(), now);
    }
    Ok(Some(has_ended))
}

/// A task that is stored here.
struct Here {
    tag: i64,
    state: State,
    name: String,
}

fn found(conn: &Connection, row: i64) -> Result<Option<Here>, Error> {
    conn.prepare_cached(FOUND)
        .and_then(|mut read| {
            let here = |found: &rusqlite::Row<'_>| {
                let state = text(found, 1).and_then(|word| State::from_word(&word));
                let (tag, state) = (found.get(0)?, state.unwrap_or(State::Failed));
                Ok(Here { tag, state, name: text(found, 2).unwrap_or_default() })
            };
            read.query_row([row], here).optional()
        })
        .map_err(not_stored)
}

/// The task of this id, if it is here already. Another one of its number is refused.
fn found_as(conn: &Connection, id: TaskId, place: &str) -> Result<Option<Here>, Error> {
    let here = found(conn, id.row())?;
    if here.as_ref().is_some_and(|here| here.tag != id.tag()) {
        let allowed = "a task of this queue, or one that is still to be imported";
        return Err(Error::invalid("id_taken", place, id, allowed));
    }
    Ok(here)
}

fn holder(conn: &Connection, sql: &str, key: Option<&String>) -> Result<Option<TaskId>, Error> {
    let Some(key) = key else { return Ok(None) };
    conn.prepare_cached(sql)
        .and_then(|mut read| {
            let id = |found: &rusqlite::Row<'_>| Ok(TaskId::new(found.get(0)?, found.get(1)?));
            read.query_row([key], id).optional()
        })
        .map_err(not_stored)
}

/// Each that comes before it, as it stands here. What is not here yet may come.
fn before(conn: &Connection, task: &Portable) -> Result<Vec<Option<Here>>, Error> {
    if let Some(batch) = task.batch {
        found_as(conn, batch, "what sums it up")?;
    }
    task.after.iter().map(|edge| found_as(conn, edge.id, "what is before it")).collect()
}

/// Those it waited for, and whether each has ended here.
fn open<'a>(
    task: &'a Portable,
    before: &'a [Option<Here>],
) -> impl Iterator<Item = (&'a PortableEdge, Option<&'a Here>)> {
    let edges = task.after.iter().zip(before).filter(|(edge, _)| edge.open);
    edges.map(|(edge, here)| (edge, here.as_ref()))
}

/// What becomes of one that waited for others: it ends with one of them, waits on, or goes on if all of them have ended.
/// Says whether it has ended.
fn go_on(
    task: &mut Portable,
    before: &[Option<Here>],
    ties: Option<&Ties>,
    now: Timestamp,
) -> bool {
    let ends = |(edge, here): &(&PortableEdge, Option<&Here>)| {
        here.is_some_and(|here| ends_with(here.state, Policy::from_word(&edge.policy)))
    };
    let doom = open(task, before).find(ends);
    if let Some((id, here)) = doom.and_then(|(edge, here)| Some((edge.id, here?))) {
        let report = before_ended(id, &here.name, here.state);
        task.end_with(here.state, report, now);
        return true;
    }
    if open(task, before).any(|(_, here)| here.is_none_or(|here| !here.state.is_final())) {
        return false;
    }
    task.wait_key = ties.and_then(|ties| ties.held_key.clone());
    let gate = ties.and_then(|ties| ties.gate).filter(|gate| !gate.skips());
    (task.state, task.reason) = match gate.filter(|_| task.wait_key.is_some()) {
        _ if task.due_at > now => (State::Scheduled, Some(Reason::Delayed)),
        Some(gate) => (State::Waiting, Some(gate.reason())),
        None => (State::Ready, None),
    };
    false
}

/// Tells those before it that it waits for them, and lets those go on that came before it and wait for it.
fn tie(
    core: &mut Core,
    now: Timestamp,
    task: &Portable,
    before: &[Option<Here>],
    has_ended: bool,
) -> Result<(), Error> {
    let row = task.id.row();
    for (edge, here) in open(task, before) {
        if here.is_some_and(|here| !here.state.is_final()) {
            edges::tell(&core.conn, edge.id.row())?;
        }
    }
    if has_ended || !edges::is_awaited(&core.conn, row)? {
        return Ok(());
    }
    if task.state.is_final() {
        return ends::came(core, now, (row, task.state));
    }
    edges::tell(&core.conn, row)
}

fn store(core: &Core, task: &Portable, lane: i64, ties: Option<&Ties>) -> rusqlite::Result<()> {
    let (row, ms) = (task.id.row(), |moment: Option<Timestamp>| moment.map(Timestamp::as_millis));
    // Checked before.
    let priority = i8::try_from(task.priority).unwrap_or_default();
    let arguments = task.arguments.get();
    let result = task.result.as_ref().map(|raw| raw.get());
    let tags =
        (!task.tags.is_empty()).then(|| serde_json::to_string(&task.tags).unwrap_or_default());
    let inline = |text: &&str| text.len() <= INLINE_BYTES_MAX;
    core.conn.prepare_cached(STORE)?.execute(params![
        row,
        task.id.tag(),
        lane,
        task.state.as_str(),
        task.reason.map(Reason::as_str),
        rank(task.due_at, priority, core.step_ms),
        priority,
        task.due_at.as_millis(),
        task.enqueued_at.as_millis(),
        ms(task.started_at),
        ms(task.finished_at),
        ms(task.expires_at),
        task.attempt,
        task.attempts_max,
        task.crashes,
        task.snoozes,
        task.at_most_once,
        task.cancel_requested,
        task.stuck,
        task.dismissed,
        task.batch.map(TaskId::row),
        task.owner,
        task.key,
        task.unique_key,
        task.wait_key,
        ties.map(Ties::text),
        task.name,
        task.trace,
        tags,
        task.meta.as_ref().map(|raw| raw.get()),
        task.options.as_ref().map(|raw| raw.get()),
        Some(arguments).filter(inline),
        result.filter(inline),
    ])?;
    let large = [(row * 2, Some(arguments)), (row * 2 + 1, result)];
    for (id, text) in large {
        if let Some(text) = text.filter(|text| !inline(text)) {
            core.conn.prepare_cached(INSERT_PAYLOAD)?.execute((id, text))?;
        }
    }
    Ok(())
}

/// What stands in other tables. An edge to one that has ended here is closed.
fn store_rest(conn: &Connection, task: &Portable, before: &[Option<Here>]) -> rusqlite::Result<()> {
    let row = task.id.row();
    for (place, (edge, here)) in task.after.iter().zip(before).enumerate() {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        let open = edge.open && here.as_ref().is_none_or(|here| !here.state.is_final());
        let values = (edge.id.row(), row, &edge.policy, open, place);
        conn.prepare_cached(STORE_EDGE)?.execute(values)?;
    }
    let ms = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
    for attempt in &task.attempts {
        let report = attempt.error.as_ref().and_then(|report| serde_json::to_string(report).ok());
        conn.prepare_cached(STORE_ATTEMPT)?.execute((
            row,
            attempt.attempt,
            &attempt.outcome,
            ms(attempt.started_at),
            ms(attempt.finished_at),
            report,
        ))?;
    }
    for step in &task.steps {
        let values = (row, &step.name, step.value.get(), step.stored_at.as_millis());
        conn.prepare_cached(STORE_STEP)?.execute(values)?;
    }
    Ok(())
}

/// What it means to others that these have ended as they were taken in. That may store tasks, and those are numbered behind
/// all that have come.
pub(super) fn taken(core: &mut Core, now: Timestamp, ended: &[i64]) {
    core.stillborn.extend(ended.iter().rev().map(|row| (*row, now)));
}

/// How often a task waits for another that is not there.
pub(super) fn absent(conn: &Connection) -> Result<u64, ReadError> {
    let counted: i64 = conn.prepare_cached(ABSENT)?.query_row([], |row| row.get(0))?;
    Ok(counted.unsigned_abs())
}
