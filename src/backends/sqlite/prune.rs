//! Finish: removing what has ended long ago, a slice at a time.
//!
//! What may go is found on a connection that cannot write, page by page, and is looked at again under
//! the lock before it goes: it may have been started anew, and others may need it. A slice holds the
//! lock for about 2 ms, less while others write, and is begun only where there is something to be removed. It is committed
//! without a flush of its own: what a power loss brings back is removed again.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row};

use super::Sqlite;
use super::audit;
use super::core::Core;
use super::damaged;
use super::errors::not_stored;
use super::query::ReadError;
use super::shelf;
use crate::error::Error;
use crate::fault;
use crate::options::Durability;
use crate::retention::{Ended, Old, Step, Walk};
use crate::state::State;
use crate::time::Timestamp;

/// How long a slice holds the lock, but for its last rows.
const SLICE: Duration = Duration::from_millis(2);
/// The same while others write.
const SLICE_BUSY: Duration = Duration::from_micros(100);
/// How long others are taken to be writing after they were seen to.
const OTHERS_ACTIVE: Duration = Duration::from_millis(100);
/// Rows that are read at a time.
const PAGE: usize = 1_000;
/// Rows that are removed by one set of statements.
const BLOCK: usize = if cfg!(test) { 3 } else { 16 };
/// Pages that are given back at a time.
const SPACE: u32 = 16;
/// A rate that has been even for so long says nothing any more.
const RULE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Served by `litework_task_finished`. A row without its lane is shown too, but for one that was emptied
/// in the place of being deleted.
const PAGE_OF_ENDED: &str = "SELECT t.id, t.finished_at, t.state, l.queue, l.kind, t.options \
     FROM litework_task t LEFT JOIN litework_lane l ON l.id = t.lane \
     WHERE t.finished_at IS NOT NULL AND (t.finished_at, t.id) < (?1, ?2) \
     AND NOT (t.lane = 0 AND t.finished_at = 0) \
     ORDER BY t.finished_at DESC, t.id DESC LIMIT +?3";

/// Served by the primary key; what needs it by `litework_edge`'s own and by `litework_task_batch`.
/// Free is what ended when it was found, is not the newest, is not waited for, whose batch, or the
/// members of which, have ended, and which keeps no unique key for a time of its own.
const IS_FREE: &str = "SELECT 1 FROM litework_task t WHERE t.id = ?1 AND t.finished_at = ?2 \
     AND t.id < (SELECT max(id) FROM litework_task) \
     AND NOT EXISTS (SELECT 1 FROM litework_edge e CROSS JOIN litework_task a \
       WHERE e.before = t.id AND a.id = e.after AND a.finished_at IS NULL) \
     AND NOT EXISTS (SELECT 1 FROM litework_edge e CROSS JOIN litework_task a \
       WHERE e.before = t.batch AND a.id = e.after AND a.finished_at IS NULL) \
     AND NOT EXISTS (SELECT 1 FROM litework_task b WHERE b.id = t.batch AND b.finished_at IS NULL) \
     AND NOT EXISTS (SELECT 1 FROM litework_task m WHERE m.batch = t.id AND m.finished_at IS NULL) \
     AND (t.unique_key IS NULL OR NOT json_valid(t.ties) \
       OR coalesce(json_extract(t.ties, '$.unique.held.until') <= ?3, 1))";

/// What hangs on tasks: their payloads, the records of their attempts, their steps, their edges. Each is given
/// the rows as a JSON list. Served by the primary key of each table, by `litework_error_task` and by
/// `litework_edge_after`.
const REMOVE_PARTS: [&str; 8] = [
    "DELETE FROM litework_payload WHERE id IN (SELECT value * 2 FROM json_each(?1) \
     UNION ALL SELECT value * 2 + 1 FROM json_each(?1))",
    "DELETE FROM litework_error WHERE task IN (SELECT value FROM json_each(?1))",
    "DELETE FROM litework_step WHERE task IN (SELECT value FROM json_each(?1))",
    "DELETE FROM litework_progress WHERE task IN (SELECT value FROM json_each(?1))",
    shelf::LET_GO_OF_TASKS,
    "DELETE FROM litework_log WHERE task IN (SELECT value FROM json_each(?1))",
    "DELETE FROM litework_edge WHERE before IN (SELECT value FROM json_each(?1))",
    "DELETE FROM litework_edge WHERE after IN (SELECT value FROM json_each(?1))",
];

/// Served by the primary key.
const REMOVE: &str = "DELETE FROM litework_task WHERE id IN (SELECT value FROM json_each(?1))";

/// Rate keys, of which nobody has said more, and which no task waits for. Served by
/// `litework_task_gate`, and by the table's own key.
const STALE_RULE: &str = "SELECT name FROM litework_rule WHERE scope = 'key' AND next_at < ?1 \
     AND paused_at IS NULL AND max_running IS NULL AND edited_at IS NULL \
     AND (closed_until IS NULL OR closed_until < ?2) \
     AND NOT EXISTS (SELECT 1 FROM litework_task t WHERE t.wait_key = litework_rule.name \
       AND t.finished_at IS NULL) LIMIT +?3";

/// By the table's own key.
const REMOVE_RULE: &str =
    "DELETE FROM litework_rule WHERE scope = 'key' AND name = ?1 AND next_at < ?2";

const FREE_PAGES: &str = "SELECT freelist_count FROM pragma_freelist_count";

/// Served by `litework_task_finished`.
const NEWEST_END: &str = "SELECT finished_at FROM litework_task WHERE finished_at IS NOT NULL \
     AND finished_at > 0 ORDER BY finished_at DESC LIMIT 1";

/// Served by the primary key.
const NEWEST_START: &str =
    "SELECT enqueued_at FROM litework_task WHERE id <= ?1 AND lane > 0 ORDER BY id DESC LIMIT 1";

type Read<T> = Result<T, ReadError>;

/// What a slice found and has to write; what can be done without writing is done.
enum Found {
    Nothing,
    Damaged(Vec<i64>),
    Old,
    Rules(Vec<String>),
    Artifacts,
    Space,
}

impl Sqlite {
    /// The next slice, a smaller one while others write.
    pub(super) fn prune_beside_others(&self, walk: &mut Walk) -> Result<(), Error> {
        let before = self.inner.writer.transactions();
        // Who writes now and then writes again; at first it is not known.
        let known = walk.others.filter(|(transactions, _)| *transactions == before);
        let seen = known.map_or_else(Instant::now, |(_, seen)| seen);
        walk.busy = seen.elapsed() < OTHERS_ACTIVE;
        let wrote = self.prune_slice(walk)?;
        walk.others = Some((before + wrote, seen));
        Ok(())
    }

    /// The next slice; says how many commits it took.
    fn prune_slice(&self, walk: &mut Walk) -> Result<u64, Error> {
        let found = self.read("what has ended", |conn| find(conn, walk))?;
        let now = walk.now;
        let commit = |body: &mut dyn FnMut(&mut Core) -> Result<(), Error>| {
            self.transaction(Durability::Normal, |core| body(core)).map(|()| 1)
        };
        match found {
            Found::Nothing => Ok(0),
            Found::Damaged(mut rows) => {
                let mut commits = 0;
                while !rows.is_empty() {
                    let mut seen = 0;
                    commits += commit(&mut |core| {
                        seen = damaged::end_all(core, &rows, now)?;
                        Ok(())
                    })?;
                    rows.drain(..seen);
                }
                Ok(commits)
            }
            Found::Rules(names) => commit(&mut |core| remove_rules(core, now, &names)),
            Found::Artifacts => {
                let emptied = self.empty_drawer()?;
                commit(&mut |core| shelf::sweep(core, now, emptied))
            }
            Found::Space => commit(&mut give_space),
            Found::Old => {
                let mut removed = Vec::new();
                let committed = commit(&mut |core| {
                    removed = remove_old(core, walk)?;
                    audit::note(core, &(removed.len() as u64))
                })?;
                for old in &removed {
                    walk.count(old);
                }
                Ok(committed)
            }
        }
    }
}

/// Reads what the next slice is about.
fn find(conn: &Connection, walk: &mut Walk) -> Read<Found> {
    match walk.step {
        Step::Inspect { after } => {
            let (last, damaged) = damaged::find(conn, after)?;
            walk.step = match last {
                Some(after) => Step::Inspect { after },
                None => Step::FIRST,
            };
            Ok(if damaged.is_empty() { Found::Nothing } else { Found::Damaged(damaged) })
        }
        Step::Tasks { .. } if !walk.old.is_empty() => Ok(Found::Old),
        Step::Tasks { before } => find_old(conn, walk, before),
        Step::Rules if walk.is_dry() => {
            walk.step = Step::Done;
            Ok(Found::Nothing)
        }
        Step::Rules => {
            let rules = stale_rules(conn, walk.now)?;
            if rules.is_empty() {
                walk.step = Step::Artifacts;
                return Ok(Found::Nothing);
            }
            Ok(Found::Rules(rules))
        }
        Step::Artifacts => {
            if shelf::is_any_gone(conn, walk.now)? {
                return Ok(Found::Artifacts);
            }
            walk.step = if walk.gives_space { Step::Space } else { Step::Done };
            Ok(Found::Nothing)
        }
        Step::Space => {
            if free_pages(conn)? > 0 {
                return Ok(Found::Space);
            }
            walk.step = Step::Done;
            Ok(Found::Nothing)
        }
        Step::Done => Ok(Found::Nothing),
    }
}

/// Reads the next page of what has ended.
fn find_old(conn: &Connection, walk: &mut Walk, before: (i64, i64)) -> Read<Found> {
    let mut read = conn.prepare_cached(PAGE_OF_ENDED)?;
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let mut rows = read.query((before.0, before.1, page))?;
    let (mut seen, mut damaged) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        seen += 1;
        if !see(row, walk)? {
            damaged.push(row.get(0)?);
        }
    }
    drop(rows);
    // What stays for others' sake needs no lock, nor does a dry run.
    for old in std::mem::take(&mut walk.old) {
        match is_free(conn, &old, walk.now)? {
            true if walk.is_dry() => walk.count(&old),
            true => walk.old.push_back(old),
            false => {}
        }
    }
    if seen < PAGE && walk.old.is_empty() {
        walk.step = Step::Rules;
    }
    Ok(match (damaged.is_empty(), walk.old.is_empty()) {
        (false, _) if !walk.is_dry() => Found::Damaged(damaged),
        (_, false) => Found::Old,
        (_, true) => Found::Nothing,
    })
}

/// Shows a row to the walk; false where its state is none. Texts that cannot be read are taken for
/// none: they concern the rules, not the row.
fn see(row: &Row<'_>, walk: &mut Walk) -> rusqlite::Result<bool> {
    let text = |index| row.get_ref(index).ok().and_then(|cell| cell.as_str().ok());
    let (id, finished_at) = (row.get(0)?, row.get(1)?);
    walk.step = Step::Tasks { before: (finished_at, id) };
    let state = text(2).and_then(State::from_word).filter(|state| state.is_final());
    let Some(state) = state else { return Ok(false) };
    // Beyond the ends of time stands only what was written by hand.
    let Some(finished_at) = Timestamp::from_millis(finished_at) else { return Ok(true) };
    let (queue, kind) = (text(3).unwrap_or_default(), text(4).unwrap_or_default());
    walk.see(Ended { row: id, queue, kind, state, finished_at, options: text(5) });
    Ok(true)
}

fn is_free(conn: &Connection, old: &Old, now: Timestamp) -> rusqlite::Result<bool> {
    let given = (old.row, old.finished_at.as_millis(), now.as_millis());
    conn.prepare_cached(IS_FREE)?.exists(given)
}

fn stale_rules(conn: &Connection, now: Timestamp) -> rusqlite::Result<Vec<String>> {
    let kept = i64::try_from(RULE_KEPT.as_millis()).unwrap_or(i64::MAX);
    let before = now.as_millis().saturating_sub(kept);
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let mut read = conn.prepare_cached(STALE_RULE)?;
    let rows = read.query_map((before.saturating_mul(1_000), before, page), |row| row.get(0))?;
    rows.collect()
}

/// Removes what was found, as much as there is time for. Those that were looked at leave the list.
fn remove_old(core: &mut Core, walk: &mut Walk) -> Result<Vec<Old>, Error> {
    let began = Instant::now();
    let mut removed = Vec::new();
    let slice = if walk.busy { SLICE_BUSY } else { SLICE };
    while !walk.old.is_empty() && began.elapsed() < slice {
        let block: Vec<Old> = walk.old.drain(..walk.old.len().min(BLOCK)).collect();
        let now = walk.now;
        let free =
            block.into_iter().map(|old| is_free(&core.conn, &old, now).map(|free| (old, free)));
        let free: Vec<(Old, bool)> = free.collect::<rusqlite::Result<_>>().map_err(not_stored)?;
        let free: Vec<Old> = free.into_iter().filter_map(|(old, is)| is.then_some(old)).collect();
        if free.is_empty() {
            continue;
        }
        let rows: Vec<i64> = free.iter().map(|old| old.row).collect();
        remove_parts(&core.conn, &rows)?;
        run(&core.conn, REMOVE, &rows)?;
        removed.extend(free);
    }
    Ok(removed)
}

/// Removes what hangs on these tasks, but not the tasks.
pub(super) fn remove_parts(conn: &Connection, rows: &[i64]) -> Result<(), Error> {
    REMOVE_PARTS.into_iter().try_for_each(|sql| run(conn, sql, rows))
}

fn run(conn: &Connection, sql: &str, rows: &[i64]) -> Result<(), Error> {
    let rows = serde_json::to_string(rows).unwrap_or_default();
    conn.prepare_cached(sql).and_then(|mut removal| removal.execute([rows])).map_err(not_stored)?;
    fault::point("in_prune");
    Ok(())
}

fn remove_rules(core: &mut Core, now: Timestamp, names: &[String]) -> Result<(), Error> {
    let began = Instant::now();
    let kept = i64::try_from(RULE_KEPT.as_millis()).unwrap_or(i64::MAX);
    let before = now.as_millis().saturating_sub(kept).saturating_mul(1_000);
    for name in names.iter().take_while(|_| began.elapsed() < SLICE) {
        core.conn
            .prepare_cached(REMOVE_RULE)
            .and_then(|mut remove| remove.execute((name, before)))
            .map_err(not_stored)?;
    }
    Ok(())
}

/// How many pages hold nothing.
pub(super) fn free_pages(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(FREE_PAGES)?.query_row([], |row| row.get(0))
}

/// Gives free pages back to the disk, as many as there is time for.
pub(super) fn give_space(core: &mut Core) -> Result<(), Error> {
    let began = Instant::now();
    while began.elapsed() < SLICE && free_pages(&core.conn).map_err(not_stored)? > 0 {
        give_pages(&core.conn).map_err(not_stored)?;
    }
    Ok(())
}

fn give_pages(conn: &Connection) -> rusqlite::Result<()> {
    let mut give = conn.prepare_cached(&format!("PRAGMA incremental_vacuum({SPACE})"))?;
    let mut rows = give.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

pub(super) fn newest_moment(conn: &Connection) -> Read<Option<Timestamp>> {
    let mut read = conn.prepare_cached(NEWEST_END)?;
    let ended: Option<i64> = read.query_row([], |row| row.get(0)).optional()?;
    let mut read = conn.prepare_cached(NEWEST_START)?;
    let came: Option<i64> = read.query_row([i64::MAX], |row| row.get(0)).optional()?;
    Ok(ended.max(came).map(Timestamp::clamped))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::super::tests::{Bench, NOW, at, success};
    use super::*;
    use crate::backend::Backend;
    use crate::id::TaskId;
    use crate::retention::{Keep, Prune, Retention};

    /// Ends all of these, in this order.
    fn end(bench: &Bench, ids: &[TaskId]) {
        let claimed = bench.exchange(NOW, &[]).claimed;
        assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), ids);
        let finishes: Vec<_> = claimed.iter().map(success).collect();
        assert!(bench.exchange(NOW, &finishes).finished.iter().all(Result::is_ok));
    }

    fn walk() -> Walk {
        let none: Arc<Retention> = Retention::all(Keep::age(Duration::ZERO)).into();
        Walk::new(at(NOW), Prune::new(), &none, &Arc::new(HashMap::new()))
    }

    fn prune(bench: &Bench) -> u64 {
        let mut walk = walk();
        while !walk.is_done() {
            bench.engine.prune(&mut walk).expect("it answers");
        }
        walk.pruned.total()
    }

    fn rows(bench: &Bench, sql: &str) -> Vec<i64> {
        let mut read = bench.stranger.prepare(sql).expect("it is sound");
        let rows = read.query_map([], |row| row.get(0)).expect("it answers");
        rows.collect::<rusqlite::Result<_>>().expect("numbers")
    }

    fn tasks(bench: &Bench) -> Vec<i64> {
        rows(bench, "SELECT id FROM litework_task ORDER BY id")
    }

    #[test]
    fn what_a_task_that_has_not_ended_waits_for_stays_with_its_edge() {
        let bench = Bench::new();
        let ids = bench.store(4, NOW);
        end(&bench, &ids);
        let later = bench.store(2, NOW + 9);
        let [a, b, c, d] = [0, 1, 2, 3].map(|n: usize| ids[n].row());
        let [live, newest] = [later[0].row(), later[1].row()];
        bench.run(&format!(
            "INSERT INTO litework_edge (before, after, policy, open) VALUES \
             ({a}, {live}, 'success', 0), ({a}, {b}, 'finish', 0), \
             ({c}, {d}, 'success', 0), ({live}, {d}, 'finish', 1); \
             INSERT INTO litework_step VALUES ({a}, 's', '1', 1), ({d}, 's', '1', 1);"
        ));
        assert_eq!(prune(&bench), 3);
        assert_eq!(tasks(&bench), [a, live, newest]);
        assert_eq!(rows(&bench, "SELECT after FROM litework_edge"), [live]);
        assert_eq!(rows(&bench, "SELECT task FROM litework_step"), [a]);
        bench.run(&format!(
            "UPDATE litework_task SET state = 'cancelled', reason = 'asked', finished_at = 7 \
             WHERE id = {live}"
        ));
        assert_eq!(prune(&bench), 2);
        assert_eq!(tasks(&bench), [newest]);
        assert_eq!(rows(&bench, "SELECT after FROM litework_edge"), [0; 0]);
    }

    #[test]
    fn a_batch_goes_when_all_of_it_has_ended() {
        let bench = Bench::new();
        let ids = bench.store(5, NOW);
        end(&bench, &ids);
        let later = bench.store(3, NOW + 9);
        let row = |n: usize| ids[n].row();
        let (parent, member, newest) = (later[0].row(), later[1].row(), later[2].row());
        // Two members of a batch that has not ended, and a batch that has, with a member that has not.
        bench.run(&format!(
            "UPDATE litework_task SET batch = {parent} WHERE id IN ({}, {}); \
             UPDATE litework_task SET batch = {} WHERE id IN ({}, {member}); ",
            row(0),
            row(1),
            row(2),
            row(3),
        ));
        assert_eq!(prune(&bench), 2, "the last, and the member that ended of the batch that ended");
        assert_eq!(tasks(&bench), [row(0), row(1), row(2), parent, member, newest]);
        bench.run(&format!(
            "UPDATE litework_task SET state = 'succeeded', reason = NULL, finished_at = 7 \
             WHERE id IN ({parent}, {member})"
        ));
        assert_eq!(prune(&bench), 5);
        assert_eq!(tasks(&bench), [newest]);
    }

    #[test]
    fn nothing_is_written_where_nothing_is_old() {
        let bench = Bench::new();
        let ids = bench.store(3, NOW);
        end(&bench, &ids);
        assert_eq!(prune(&bench), 2);
        let transactions = bench.transactions();
        assert_eq!(prune(&bench), 0);
        assert_eq!(bench.transactions(), transactions);
    }

    #[test]
    fn a_rate_that_nothing_goes_by_any_more_is_forgotten() {
        let bench = Bench::new();
        let ids = bench.store(2, NOW);
        bench.damage("state = 'waiting', reason = 'limit', wait_key = 'used'", ids[0]);
        let day = 24 * 60 * 60 * 1_000;
        bench.run(&format!(
            "INSERT INTO litework_rule (scope, name, next_at, closed_until, edited_at, max_running) \
             VALUES ('key', 'old', {old}, NULL, NULL, NULL), ('key', 'new', {new}, NULL, NULL, NULL), \
             ('key', 'used', {old}, NULL, NULL, NULL), ('key', 'shut', {old}, {NOW}, NULL, NULL), \
             ('key', 'edited', {old}, NULL, 1, NULL), ('key', 'limited', {old}, NULL, NULL, 3), \
             ('kind', 'kind', {old}, NULL, NULL, NULL)",
            old = (NOW - day) * 1_000 - 1,
            new = (NOW - day) * 1_000,
        ));
        prune(&bench);
        let sql = "SELECT group_concat(name ORDER BY name) FROM litework_rule";
        let left: String = bench.stranger.query_row(sql, [], |row| row.get(0)).expect("names");
        assert_eq!(left, "edited,kind,limited,new,shut,used");
    }

    #[test]
    fn an_end_beyond_all_time_is_passed_by() {
        let bench = Bench::new();
        let ids = bench.store(5, NOW);
        end(&bench, &ids);
        bench.damage("finished_at = -5", ids[0]);
        bench.damage("finished_at = 9223372036854775807", ids[1]);
        bench.damage("finished_at = -9223372036854775808", ids[2]);
        assert_eq!(prune(&bench), 1);
        assert_eq!(tasks(&bench), [0, 1, 2, 4].map(|n: usize| ids[n].row()));
    }

    #[test]
    fn a_slice_that_fails_removes_nothing_and_counts_nothing() {
        let bench = Bench::new();
        let ids = bench.store(9, NOW);
        end(&bench, &ids);
        bench.run(&format!(
            "CREATE TRIGGER stay BEFORE DELETE ON litework_task WHEN old.id = {} \
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
            ids[0].row()
        ));
        let mut walk = walk();
        let failed = loop {
            match bench.engine.prune(&mut walk) {
                Ok(()) => assert!(!walk.is_done(), "it was to fail"),
                Err(error) => break error,
            }
        };
        assert_eq!(failed.code(), "not_stored");
        assert_eq!(walk.pruned.total(), 9 - tasks(&bench).len() as u64);
        bench.run("DROP TRIGGER stay");
        prune(&bench);
        assert_eq!(tasks(&bench), [ids[8].row()]);
    }
}
