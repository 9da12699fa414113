//! Run: processes join, renew their lease, leave, and take back what the dead have held.
//!
//! An owner number is a row of `litework_worker` and is never reused, so a process that was given
//! up can never write under its old leases.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{ErrorCode, OptionalExtension, Row};

use super::core::{Core, Counted};
use super::damaged;
use super::errors::not_stored;
use super::finish::finish;
use super::row::text;
use super::seats::{self, Beats, Life};
use crate::backend::Rescued;
use crate::error::Error;
use crate::fault;
use crate::id::TaskId;
use crate::outcome::{Outcome, Report};
use crate::record::{Finish, Lease, Member};
use crate::time::Timestamp;

/// Leases read at a time.
const SLICE: u32 = 1_000;
/// Rows of processes that have left are kept, to name them in the list of attempts, up to this many.
const LEFT_KEPT: i64 = 1_000;

pub(super) fn join(
    core: &mut Core,
    now: Timestamp,
    member: &Member,
    stem: &str,
) -> Result<i64, Error> {
    // Lists of names always encode.
    let list = |names: &[String]| serde_json::to_string(names).unwrap_or_default();
    core.conn
        .prepare_cached(
            "INSERT INTO litework_worker \
             (name, file, boot, pid, threads, serves, kinds, queues, excluded, joined_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut insert| {
            insert.insert(rusqlite::params![
                member.name,
                stem,
                seats::boot(),
                std::process::id(),
                i64::try_from(member.threads).unwrap_or(i64::MAX),
                member.serves,
                list(&member.kinds),
                list(&member.queues),
                list(&member.exclude),
                now.as_millis(),
            ])
        })
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) if has_no_number(core) => {
                let reason = "id_space_exhausted: the file has no number left for another process, as \
                              another program has set its count in sqlite_sequence to the last";
                Error::NotStored { reason: reason.to_owned(), source: Some(error.into()) }
            }
            _ => not_stored(error),
        })
}

/// `SQLite` calls a count that has come to its end a full disk.
fn has_no_number(core: &Core) -> bool {
    let sql = "SELECT 1 FROM sqlite_sequence WHERE name = 'litework_worker' AND seq = ?1";
    core.conn.prepare(sql).and_then(|mut read| read.exists([i64::MAX])).unwrap_or_default()
}

/// Shows that an owner is alive; false when it was given up.
pub(super) fn renew(core: &mut Core, owner: i64) -> Result<bool, Error> {
    core.conn
        .prepare_cached(
            "UPDATE litework_worker SET beat = beat + 1 WHERE id = ?1 AND left_at IS NULL",
        )
        .and_then(|mut renew| renew.execute([owner]))
        .map(|changed| changed == 1)
        .map_err(not_stored)
}

/// Ends an owner. The caller has handed back its tasks, or they are taken back here.
pub(super) fn leave(core: &mut Core, now: Timestamp, owner: i64) -> Result<(), Error> {
    end_all(core, now, owner, |held| {
        if held.at_most_once {
            let report = Box::new(Report::new("crash", "its process left it running"));
            Outcome::Crashed { report }
        } else {
            Outcome::GivenBack
        }
    })?;
    core.conn
        .prepare_cached("UPDATE litework_worker SET left_at = ?2 WHERE id = ?1 AND left_at IS NULL")
        .and_then(|mut leave| leave.execute((owner, now.as_millis())))
        .map_err(not_stored)?;
    core.conn
        .prepare_cached("DELETE FROM litework_worker WHERE left_at IS NOT NULL AND id <= ?1")
        .and_then(|mut delete| delete.execute([owner - LEFT_KEPT]))
        .map_err(not_stored)?;
    Ok(())
}

/// Gives back what a commit of unknown outcome may have claimed: nobody runs it, and its lease would
/// hold for as long as this process lives.
pub(super) fn give_back_doubts(core: &mut Core) -> Result<(), Error> {
    for doubt in core.doubts.clone() {
        // The number may have gone to another task meanwhile, if that commit did not happen.
        // Served by the primary key.
        let stored = core
            .conn
            .prepare_cached("SELECT 1 FROM litework_task WHERE id = ?1 AND tag = ?2")
            .and_then(|mut read| read.exists((doubt.id.row(), doubt.id.tag())))
            .map_err(not_stored)?;
        if !stored {
            continue;
        }
        let started_at = doubt.claimed_at;
        let held = Held { lease: doubt.lease, at_most_once: false, started_at, lane: 0 };
        let end = end_of(held, started_at, Outcome::GivenBack);
        // A lease that does not hold was not stored; a row that is damaged must not keep others away.
        let given = finish(core, started_at, &end);
        if let Err(error) = given
            && core.lost_transaction()
        {
            return Err(error);
        }
    }
    Ok(())
}

struct Other {
    worker: i64,
    seat: Option<Told>,
}

/// What the row of a process says of it. Where another program has damaged it, its lock and its lease alone
/// tell whether it lives.
struct Told {
    stem: String,
    boot: Option<String>,
    beat: i64,
}

impl Told {
    fn is_of_another_boot(&self) -> bool {
        self.boot.as_ref().is_some_and(|boot| *boot != seats::boot())
    }
}

/// Reads `file, boot, beat` from this column on.
fn told(row: &Row<'_>, first: usize) -> rusqlite::Result<Told> {
    let (stem, boot) = (text(row, first).unwrap_or_default(), text(row, first + 1));
    Ok(Told { stem, boot, beat: row.get(first + 2)? })
}

/// The owners of running tasks, but for this one.
fn others(core: &Core, owner: i64) -> Result<Vec<Other>, Error> {
    let mut found = Vec::new();
    let mut after = i64::MIN;
    // Served by `litework_task_running`: one step for each owner, however many tasks it holds.
    let mut next = core
        .conn
        .prepare_cached(
            "SELECT worker FROM litework_task WHERE state = 'running' AND worker > ?1 \
             ORDER BY worker LIMIT 1",
        )
        .map_err(not_stored)?;
    let mut seat = core
        .conn
        .prepare_cached(
            "SELECT file, boot, beat FROM litework_worker WHERE id = ?1 AND left_at IS NULL",
        )
        .map_err(not_stored)?;
    while let Some(worker) =
        next.query_row([after], |row| row.get(0)).optional().map_err(not_stored)?
    {
        after = worker;
        if worker != owner {
            let seat =
                seat.query_row([worker], |row| told(row, 0)).optional().map_err(not_stored)?;
            found.push(Other { worker, seat });
        }
    }
    Ok(found)
}

/// What is to be done about another process.
enum Verdict {
    Leave,
    Dead { charged: bool, stem: Option<String>, why: &'static str },
}

fn judge(other: &Other, folder: &Path, beats: &mut Beats) -> Verdict {
    let Some(told) = &other.seat else {
        return Verdict::Dead { charged: false, stem: None, why: "its process had left" };
    };
    let stem = Some(told.stem.clone());
    if told.is_of_another_boot() {
        return Verdict::Dead { charged: false, stem, why: "the machine was restarted" };
    }
    match seats::look(folder, stem.as_deref().unwrap_or_default()) {
        Life::Dead => Verdict::Dead { charged: true, stem, why: "its process died" },
        Life::Alive if beats.is_stale(other.worker, told.beat) => {
            Verdict::Dead { charged: true, stem, why: "its process hung for 30 s" }
        }
        Life::Unknown if beats.is_stale(other.worker, told.beat) => {
            Verdict::Dead { charged: false, stem, why: "its lease was not renewed for 30 s" }
        }
        Life::Alive | Life::Unknown => Verdict::Leave,
    }
}

/// Takes back the tasks of dead and hung processes.
pub(super) fn rescue(
    core: &mut Core,
    now: Timestamp,
    owner: i64,
    folder: &Path,
    beats: &mut Beats,
    ended: &mut Vec<String>,
) -> Result<Rescued, Error> {
    let mut rescued = Rescued::default();
    let others = others(core, owner)?;
    beats.keep_only(|worker| others.iter().any(|other| other.worker == worker));
    for other in others {
        match judge(&other, folder, beats) {
            Verdict::Leave => rescued.others_running = true,
            Verdict::Dead { charged, stem, why } => {
                let stem = stem.as_deref();
                let started = match stem {
                    Some(stem) if charged => seats::started(folder, stem),
                    _ => HashSet::default(),
                };
                rescued.tasks += end_all(core, now, other.worker, |held| {
                    // A task that must never start twice is taken to have started, even if it is in
                    // no slot: the next may have taken its slot before its finish was committed.
                    let started = started.contains(&(held.lease.row, held.lease.attempt))
                        || fault::planted("charge_all_held");
                    if started || held.at_most_once {
                        Outcome::Crashed { report: Box::new(Report::new("crash", why)) }
                    } else {
                        Outcome::GivenBack
                    }
                })?;
                fault::point("in_rescue");
                leave(core, now, other.worker)?;
                beats.forget(other.worker);
                ended.extend(stem.map(str::to_owned));
            }
        }
    }
    if owner == 0 {
        sweep(core, now, folder, ended)?;
    }
    Ok(rescued)
}

/// At open: ends the rows of processes that died with nothing running, which no rescue meets, and
/// removes the files of those that died before they had a row, or after it had ended.
fn sweep(
    core: &mut Core,
    now: Timestamp,
    folder: &Path,
    ended: &mut Vec<String>,
) -> Result<(), Error> {
    // Served by `litework_worker_live`.
    let rows: Vec<(i64, Told)> = core
        .conn
        .prepare_cached("SELECT id, file, boot, beat FROM litework_worker WHERE left_at IS NULL")
        .and_then(|mut read| {
            let rows = read.query_map([], |row| Ok((row.get(0)?, told(row, 1)?)))?;
            rows.collect()
        })
        .map_err(not_stored)?;
    let known: HashSet<String> =
        rows.iter().map(|(_, told)| told.stem.clone()).chain(ended.iter().cloned()).collect();
    seats::sweep(folder, &known);
    damaged::sweep(core, now)?;
    for (worker, told) in rows {
        if told.is_of_another_boot() || seats::look(folder, &told.stem) == Life::Dead {
            leave(core, now, worker)?;
            ended.push(told.stem);
        }
    }
    Ok(())
}

/// Ends all that an owner holds, each in its own way; returns how many there were.
fn end_all(
    core: &mut Core,
    now: Timestamp,
    owner: i64,
    outcome: impl Fn(Held) -> Outcome,
) -> Result<usize, Error> {
    let mut ended = 0;
    if fault::planted("rescue_off") {
        return Ok(ended);
    }
    loop {
        let holds = held(core, owner)?;
        let before = ended;
        let (holds, damaged) = holds;
        for row in damaged {
            damaged::end(core, row, now)?;
            ended += 1;
        }
        for held in holds {
            let end = end_of(held, now, outcome(held));
            let kept = finish(core, now, &end)?.is_ok();
            ended += usize::from(kept);
            if kept && matches!(end.outcome, Outcome::Crashed { .. }) {
                core.effects.counted.push(Counted { lane: held.lane, at: now, stored: 0 });
            }
        }
        // A row that cannot be ended stays for the next look, so it is no reason to go round.
        if ended == before {
            return Ok(ended);
        }
    }
}

/// A task that an owner holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    lease: Lease,
    at_most_once: bool,
    started_at: Timestamp,
    lane: i64,
}

/// What an owner holds, a slice at a time, and the rows that no lease can hold. Served by
/// `litework_task_running`.
fn held(core: &Core, owner: i64) -> Result<(Vec<Held>, Vec<i64>), Error> {
    core.conn
        .prepare_cached(
            "SELECT id, attempt, at_most_once, started_at, lane FROM litework_task \
             WHERE state = 'running' AND worker = ?1 LIMIT +?2",
        )
        .and_then(|mut read| {
            let (mut holds, mut damaged) = (Vec::new(), Vec::new());
            let mut rows = read.query((owner, SLICE))?;
            while let Some(row) = rows.next()? {
                let number = row.get(0)?;
                let attempt = u32::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                if attempt == 0 {
                    damaged.push(number);
                    continue;
                }
                let started_at: Option<i64> = row.get(3)?;
                let started_at = Timestamp::clamped(started_at.unwrap_or(0));
                let lease = Lease { row: number, attempt, owner };
                let (at_most_once, lane) = (row.get(2)?, row.get(4)?);
                holds.push(Held { lease, at_most_once, started_at, lane });
            }
            Ok((holds, damaged))
        })
        .map_err(not_stored)
}

fn end_of(held: Held, now: Timestamp, outcome: Outcome) -> Finish {
    let id = TaskId::new(held.lease.row, 0);
    Finish::plain(id, held.lease, held.started_at, now, outcome)
}

/// Served by the primary key of the workers.
pub(super) fn set_threads(core: &mut Core, owner: i64, threads: usize) -> Result<(), Error> {
    core.conn
        .prepare_cached("UPDATE litework_worker SET threads = ?2 WHERE id = ?1")
        .and_then(|mut update| update.execute((owner, i64::try_from(threads).unwrap_or(i64::MAX))))
        .map(drop)
        .map_err(not_stored)
}
