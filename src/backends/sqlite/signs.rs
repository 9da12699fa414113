//! Watch: what the tables of a file tell of what is wrong: with rows, with who works, with what is late.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::calendar::Look;
use super::exam::Exam;
use super::query::ReadError;
use super::row::text;
use super::{damaged, inbox, presence, seats, why};
use crate::calendar::Agenda;
use crate::finding::Severity;
use crate::id::TaskId;
use crate::schedule::Entry;
use crate::time::Timestamp;
use crate::unserved;

/// Of what there may be many, so many are told of by name.
const SHOWN: usize = 5;
/// So many that were found of one kind are counted.
const FOUND_MAX: u32 = 1_000;
/// Schedules that are read at a time.
const PAGE: usize = 1_000;

/// Texts that are not JSON where they are to be. Served by the primary key.
const NO_JSON: &str = "SELECT id FROM litework_task WHERE id > ?1 AND id <= ?2 \
     AND NOT (coalesce(json_valid(arguments), 1) AND coalesce(json_valid(tags), 1) \
     AND coalesce(json_valid(meta), 1) AND coalesce(json_valid(options), 1) \
     AND coalesce(json_valid(ties), 1))";

/// Served by `litework_task_key`.
const KEY_TWICE: &str = "SELECT key FROM litework_task WHERE key IS NOT NULL \
     GROUP BY key HAVING count(*) > 1 LIMIT +?1";

/// Served by `litework_task_unique`.
const UNIQUE_TWICE: &str = "SELECT unique_key FROM litework_task WHERE unique_key IS NOT NULL \
     GROUP BY unique_key HAVING count(*) > 1 LIMIT +?1";

/// Served by the primary key.
const STUCK: &str = "SELECT t.id, t.tag, l.kind, t.worker FROM litework_task t \
     CROSS JOIN litework_lane l ON l.id = t.lane WHERE t.id > ?1 AND t.id <= ?2 AND t.stuck = 1";

/// For people. Served by the primary key.
const SHOW_ROW: &str = "SELECT * FROM litework_task WHERE id = ?1";

/// For people.
const SHOW_WRITERS: &str = "SELECT id, kind, sqlite_version FROM litework_inbox";

type Asked = Result<(), ReadError>;

pub(super) fn integrity(exam: &mut Exam<'_>, conn: &Connection) -> Asked {
    // A row that the schema does not admit is a bad row, and no damage.
    conn.execute_batch("PRAGMA ignore_check_constraints = ON;")?;
    let mut read = conn.prepare("PRAGMA quick_check(5)")?;
    let told = read.query_map([], |row| row.get::<_, String>(0))?;
    let told: Vec<String> = told.collect::<rusqlite::Result<_>>()?;
    if told != ["ok"] {
        exam.damaged(&told.join("; "));
    }
    Ok(())
}

/// Rows that no program of ours has written, and bodies that did not stop at their time-out: all tasks are looked at,
/// page by page.
pub(super) fn rows(exam: &mut Exam<'_>, conn: &Connection) -> Asked {
    let (mut after, mut bad, mut stuck) = (i64::MIN, Vec::new(), Vec::new());
    loop {
        let (last, found) = damaged::find(conn, after)?;
        let Some(last) = last else { break };
        bad.extend(found);
        let mut read = conn.prepare_cached(NO_JSON)?;
        let rows = read.query_map((after, last), |row| row.get(0))?;
        bad.extend(rows.collect::<rusqlite::Result<Vec<i64>>>()?);
        let mut read = conn.prepare_cached(STUCK)?;
        let rows = read.query_map((after, last), |row| {
            let id = TaskId::new(row.get(0)?, row.get(1)?);
            Ok(Stuck { id, kind: text(row, 2).unwrap_or_default(), worker: row.get(3)? })
        })?;
        stuck.extend(rows.collect::<rusqlite::Result<Vec<Stuck>>>()?);
        after = last;
    }
    bad.sort_unstable();
    bad.dedup();
    if let Some(first) = bad.first() {
        let what = format!(
            "{} hold what no program of litework has written (rows {}): they end as bad_row as soon as they are met",
            tasks(bad.len()),
            shown(&bad)
        );
        let next = exam.sqlite3(&SHOW_ROW.replace("?1", &first.to_string()));
        exam.find("bad_rows", Severity::Warning, what, next);
    }
    stuck_tasks(exam, conn, &stuck)
}

/// A task whose newest attempt did not stop at its time-out.
struct Stuck {
    id: TaskId,
    kind: String,
    worker: Option<i64>,
}

/// The body keeps a thread for as long as its process lives.
fn stuck_tasks(exam: &mut Exam<'_>, conn: &Connection, stuck: &[Stuck]) -> Asked {
    if stuck.is_empty() {
        return Ok(());
    }
    let live = presence::alive(conn, &seats::folder(exam.path), &|_| false)?;
    for Stuck { id, kind, worker } in stuck {
        let Some(worker) = live.iter().find(|live| Some(live.id) == *worker) else { continue };
        let what = format!(
            "task {id} ({kind}) has not stopped at its time-out, and keeps a thread of process {} ({}), which only its \
             restart frees",
            worker.name, worker.pid
        );
        let next = exam.ours(&format!("show {id}"));
        exam.find("stuck_task", Severity::Warning, what, next);
    }
    Ok(())
}

/// Keys that two tasks have, as there can be where an index was removed for a time.
pub(super) fn twice(exam: &mut Exam<'_>, conn: &Connection) -> Asked {
    for (sql, name) in [(KEY_TWICE, "idempotency key"), (UNIQUE_TWICE, "unique key")] {
        let mut read = conn.prepare_cached(sql)?;
        let keys = read.query_map([FOUND_MAX], |row| Ok(text(row, 0).unwrap_or_default()))?;
        let keys: Vec<String> = keys.collect::<rusqlite::Result<_>>()?;
        if keys.is_empty() {
            continue;
        }
        // What stands in a key may be a secret, so it is not shown.
        let what = format!(
            "{} {} held by more than one task, as its index was removed for a time",
            counted(keys.len(), name),
            if keys.len() == 1 { "is" } else { "are" }
        );
        let column = if sql == KEY_TWICE { "key" } else { "unique_key" };
        let sql = sql.trim_end_matches(" LIMIT +?1");
        let next = exam.sqlite3(&sql.replacen(column, &format!("{column}, group_concat(id)"), 1));
        exam.find("duplicate_keys", Severity::Error, what, next);
    }
    Ok(())
}

/// Programs that write to the inbox with an `SQLite` that may damage the file.
pub(super) fn old_writers(exam: &mut Exam<'_>, conn: &Connection) -> Asked {
    let writers = inbox::report(conn)?.writers;
    let old = writers.into_iter().filter(|writer| writer.outdated);
    let old: Vec<String> = old.map(|writer| writer.sqlite_version).collect();
    if !old.is_empty() {
        let what = format!(
            "a program writes to litework_inbox with SQLite {}, which may damage the file: it needs 3.51.3 or newer",
            shown(&old)
        );
        let next = exam.sqlite3(SHOW_WRITERS);
        exam.find("old_sqlite_writer", Severity::Error, what, next);
    }
    Ok(())
}

/// Ready work that no live process runs.
pub(super) fn unserved(exam: &mut Exam<'_>, conn: &Connection) -> Asked {
    let lanes = why::lanes_with_work(conn, exam.now)?;
    let lanes: BTreeMap<_, _> = lanes.into_iter().map(|lane| (lane, Vec::new())).collect();
    let workers = presence::alive(conn, &seats::folder(exam.path), &|_| false)?;
    for lane in unserved::of(lanes, &workers, &why::paused(conn)?) {
        let (queue, kind) = (&lane.queue, &lane.kind);
        if lane.queue_is_served {
            let what = format!(
                "tasks {kind} in queue {queue} are ready, and no live process knows that kind (parked): \
                 a program that runs it is missing, or its name was changed without an alias"
            );
            let next = exam.ours(&format!("ls --state ready --queue {queue} --kind {kind}"));
            exam.find("parked_kind", Severity::Warning, what, next);
        } else {
            let what = format!(
                "tasks {kind} in queue {queue} are ready, and no live process takes tasks of that queue"
            );
            let next = exam.ours("workers");
            exam.find("no_worker", Severity::Warning, what, next);
        }
    }
    Ok(())
}

/// Lock files and slots files of processes that have died.
pub(super) fn left_seats(exam: &mut Exam<'_>) {
    let folder = seats::folder(exam.path);
    let dead = seats::left_behind(&folder);
    if dead.is_empty() {
        return;
    }
    let what = format!(
        "{} in {} of processes that have died ({}): what they ran comes back as soon as any program opens the queue",
        counted(dead.len(), "lock file"),
        folder.display(),
        shown(&dead)
    );
    let next = exam.ours("workers");
    exam.find("dead_seat", Severity::Note, what, next);
}

/// Schedules of which nobody has fired the last three slots.
pub(super) fn late(exam: &mut Exam<'_>, conn: &Connection) -> Asked {
    let (mut agenda, mut after) = (Look { conn }, String::new());
    loop {
        let page = agenda.list(&after, PAGE)?;
        for entry in &page {
            if let Some(since) = late_since(entry, exam.now) {
                let what = format!(
                    "schedule {} is three slots late, since {since}: no program that is there fires it",
                    entry.name
                );
                let next = exam.ours("cron ls");
                exam.find("schedule_late", Severity::Warning, what, next);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(&last.name),
            _ => return Ok(()),
        }
    }
}

/// Its first slot that was not fired, where two more have passed. One that is held back waits for a person.
fn late_since(entry: &Entry, now: Timestamp) -> Option<Timestamp> {
    let first = entry.standing.next_at.filter(|_| !entry.standing.held)?;
    let (_, slots) = entry.checked().ok()?;
    let second = entry.standing.next_unfired(&slots, first)?;
    let third = entry.standing.next_unfired(&slots, second)?;
    (third <= now).then_some(first)
}

fn tasks(count: usize) -> String {
    counted(count, "task")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The first of these.
fn shown(all: &[impl std::fmt::Display]) -> String {
    let first: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    first.join(", ") + more
}
