//! Claim, finish: rows that hold what no program of ours has written. They end as failed with the
//! reason `bad_row`, as far as the schema lets them, and never stop the others.
//!
//! Most are met where they would be used. Those that no index leads to, such as a task in a lane that
//! does not exist, are looked for at open and by the first pass of the pruner.

use std::time::{Duration, Instant};

use rusqlite::Connection;

pub(super) use super::bad_row::end_row;
use super::core::{Core, NextDue};
use super::ends;
use super::errors::not_stored;
use crate::error::Error;
use crate::record::Lease;
use crate::redact::Veiled;
use crate::time::Timestamp;

/// Rows that are looked at in one go.
const PAGE: u32 = 5_000;
/// Rows that nobody runs, and rows of each gap between two lanes, that one open ends at most.
const SWEPT: u32 = 1_000;
/// How long a slice of what was found holds the lock, but for its last row.
const SLICE: Duration = Duration::from_millis(2);

/// Served by the primary key.
const LAST: &str = "SELECT max(id) FROM \
     (SELECT id FROM litework_task WHERE id > ?1 ORDER BY id LIMIT +?2)";

/// Served by the primary key. A state that is none; an end where there is none, or none where there
/// is; and of what has not ended: no such lane, attempts that cannot be, or nobody who runs it.
const FIND: &str = "SELECT id FROM litework_task WHERE id > ?1 AND id <= ?2 AND CASE \
     WHEN state IN ('ready', 'running', 'scheduled', 'waiting') THEN \
       finished_at IS NOT NULL OR attempts_max < 1 OR attempt NOT BETWEEN 0 AND attempts_max + 1 \
       OR (worker IS NULL AND state = 'running') OR lane NOT IN (SELECT id FROM litework_lane) \
     WHEN state IN ('succeeded', 'failed', 'cancelled', 'skipped') THEN finished_at IS NULL \
     ELSE 1 END";

/// Served by `litework_task_running`.
const UNOWNED: &str =
    "SELECT id FROM litework_task WHERE state = 'running' AND worker IS NULL LIMIT +?1";

/// Served by `litework_task_ready`.
const BETWEEN_LANES: &str = "SELECT id FROM litework_task \
     WHERE state = 'ready' AND lane > ?1 AND lane < ?2 LIMIT +?3";

/// Ends a damaged row that may be remembered as ready, and for which others may wait.
pub(super) fn end(core: &mut Core, row: i64, now: Timestamp) -> Result<(), Error> {
    end_row(&core.conn, row, now).map_err(not_stored)?;
    left(core, row, now)?;
    core.effects.changed.push(row);
    core.lanes.forget();
    core.next_due = NextDue::Unknown;
    Ok(())
}

/// What it means to others that a damaged row has ended, as far as it can be told: what ties it to them may
/// be damaged too.
pub(super) fn left(core: &mut Core, row: i64, now: Timestamp) -> Result<(), Error> {
    match ends::left(core, now, row) {
        Err(error) if core.lost_transaction() => Err(error),
        Err(error) => {
            tracing::warn!(row, error = %Veiled(&error), "what a damaged task means to others cannot be told");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Ends the damaged row that a lease holds.
pub(super) fn end_lease(core: &mut Core, lease: Lease, now: Timestamp) -> Result<(), Error> {
    if core.holds(lease)? { end(core, lease.row, now) } else { Ok(()) }
}

/// Damaged rows after this one, and the last that was looked at; none after the end.
pub(super) fn find(conn: &Connection, after: i64) -> rusqlite::Result<(Option<i64>, Vec<i64>)> {
    let last: Option<i64> =
        conn.prepare_cached(LAST)?.query_row((after, PAGE), |row| row.get(0))?;
    let Some(last) = last else { return Ok((None, Vec::new())) };
    let mut read = conn.prepare_cached(FIND)?;
    let rows = read.query_map((after, last), |row| row.get(0))?;
    Ok((Some(last), rows.collect::<rusqlite::Result<_>>()?))
}

/// Ends those of these rows that are still found damaged, as many as there is time for; says at how many it
/// has looked.
pub(super) fn end_all(core: &mut Core, rows: &[i64], now: Timestamp) -> Result<usize, Error> {
    let began = Instant::now();
    let mut seen = 0;
    for row in rows {
        if seen > 0 && began.elapsed() >= SLICE {
            break;
        }
        seen += 1;
        let found = core
            .conn
            .prepare_cached(FIND)
            .and_then(|mut read| read.exists((row.saturating_sub(1), row)))
            .map_err(not_stored)?;
        if found {
            end(core, *row, now)?;
        }
    }
    Ok(seen)
}

/// At open: ends what runs for nobody, and what is ready in a lane that does not exist.
pub(super) fn sweep(core: &mut Core, now: Timestamp) -> Result<(), Error> {
    let mut rows = numbers(&core.conn, UNOWNED, [SWEPT])?;
    let mut lanes = numbers(&core.conn, "SELECT id FROM litework_lane ORDER BY id", [])?;
    lanes.insert(0, i64::MIN);
    lanes.push(i64::MAX);
    for pair in lanes.windows(2) {
        if let [before, after] = *pair
            && after.saturating_sub(before) > 1
        {
            rows.extend(numbers(&core.conn, BETWEEN_LANES, (before, after, SWEPT))?);
        }
    }
    rows.into_iter().try_for_each(|row| end(core, row, now))
}

fn numbers(conn: &Connection, sql: &str, given: impl rusqlite::Params) -> Result<Vec<i64>, Error> {
    let mut read = conn.prepare_cached(sql).map_err(not_stored)?;
    let rows = read.query_map(given, |row| row.get(0)).map_err(not_stored)?;
    rows.collect::<rusqlite::Result<_>>().map_err(not_stored)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::tests::{Bench, NOW, at, success, task};
    use crate::backend::{Backend, Operate};
    use crate::deed::Deed;
    use crate::error::Error;
    use crate::event::EventKind;
    use crate::filter::Filter;
    use crate::follow::Follow;
    use crate::gate::{Gate, Limits, Rate};
    use crate::id::TaskId;
    use crate::outcome::{Outcome, Report};
    use crate::record::{Finish, Member, NewTask};
    use crate::retention::{Prune, Retention, Step, Walk};
    use crate::rule::Scope;
    use crate::state::{Reason, State};
    use crate::ties::{Before, Extra, Policy, Ref, Ties};

    const ENDED: (State, Option<Reason>) = (State::Failed, Some(Reason::BadRow));

    fn inspect(bench: &Bench) {
        let mut walk =
            Walk::new(at(NOW), Prune::new(), &Retention::forever().into(), &Arc::default());
        walk.step = Step::Inspect { after: i64::MIN };
        while !walk.is_done() {
            bench.engine.prune(&mut walk).expect("it answers");
        }
        assert_eq!(walk.pruned.total(), 0);
    }

    fn ready_after(bench: &Bench, sound: &[TaskId]) {
        let claimed = bench.exchange(NOW, &[]).claimed;
        let ids: Vec<TaskId> = claimed.iter().map(|task| task.id).collect();
        assert_eq!(ids, sound, "the sound ones run");
    }

    #[test]
    fn what_no_index_leads_to_is_found_by_looking_at_all_rows() {
        let bench = Bench::new();
        let ids = bench.store(6, NOW);
        bench.damage("state = 'asleep'", ids[0]);
        bench.damage("lane = 99", ids[1]);
        bench.damage("state = 'succeeded'", ids[2]);
        bench.damage("state = 'running'", ids[3]);
        bench.damage("state = 'waiting', reason = 'lock', attempt = -1", ids[4]);
        inspect(&bench);
        assert_eq!(bench.states(&ids[..1]), [ENDED]);
        assert_eq!(bench.states(&ids[2..5]), [ENDED; 3]);
        let unreadable =
            |id: TaskId| bench.engine.get(id).expect_err("it cannot be read").to_string();
        let row = ids[1].row();
        assert_eq!(
            unreadable(ids[1]),
            format!("bad_row: task row {row}, column lane: there is no such lane")
        );
        let open = "SELECT count(*) FROM litework_task WHERE finished_at IS NULL";
        let open: i64 = bench.stranger.query_row(open, [], |row| row.get(0)).expect("it answers");
        assert_eq!(open, 1);
        ready_after(&bench, &ids[5..]);
        let transactions = bench.transactions();
        inspect(&bench);
        assert_eq!(
            bench.transactions(),
            transactions,
            "nothing was written where nothing is damaged"
        );
    }

    #[test]
    fn many_damaged_rows_are_ended_in_slices() {
        let bench = Bench::new();
        let ids = bench.store(3_000, NOW);
        bench.run("UPDATE litework_task SET attempt = -1");
        let transactions = bench.transactions();
        inspect(&bench);
        assert!(bench.transactions() > transactions + 1, "others had their turn between them");
        for end in [&ids[..1], &ids[2_999..]] {
            assert_eq!(bench.states(end), [ENDED]);
        }
        let open = "SELECT count(*) FROM litework_task WHERE finished_at IS NULL";
        let open: i64 = bench.stranger.query_row(open, [], |row| row.get(0)).expect("it answers");
        assert_eq!(open, 0, "and none was passed by");
    }

    #[test]
    fn a_list_tells_what_cannot_be_read_and_goes_on_with_the_rest() {
        let bench = Bench::new();
        let ids = bench.store(5, NOW);
        bench.damage("state = 'asleep'", ids[1]);
        bench.damage("tags = CAST(x'22ff22' AS TEXT)", ids[3]);
        let list = |from, size| bench.engine.list(&Filter::new(), from, size).expect("it answers");
        let page = list(None, 9);
        let rows: Vec<i64> = page.tasks.iter().map(|task| task.id.row()).collect();
        assert_eq!(rows, [ids[4], ids[2], ids[0]].map(TaskId::row));
        let bad: Vec<_> = page.bad.iter().map(|bad| (bad.row, bad.column)).collect();
        assert_eq!(bad, [(ids[3].row(), "tags"), (ids[1].row(), "state")]);
        assert_eq!(page.next, None);
        // They count for the size of a page, so that one of bad rows only is no endless one.
        let mut from = None;
        let mut sizes = Vec::new();
        loop {
            let page = list(from, 2);
            sizes.push((page.tasks.len(), page.bad.len()));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [(1, 1), (1, 1), (1, 0)]);
    }

    #[test]
    fn a_running_row_that_cannot_take_its_end_is_ended_as_damaged() {
        let bench = Bench::new();
        let ids = bench.store(4, NOW);
        let claimed = bench.exchange(NOW, &[]).claimed;
        bench.damage("reason = 'delayed'", ids[0]);
        bench.damage("finished_at = 5", ids[1]);
        bench.damage("attempts_max = -3", ids[2]);
        let failed = |task: &crate::record::Claimed| {
            let report = Box::new(Report::new("Broken", "as it must"));
            let outcome = Outcome::Retry { reason: Reason::Error, report, after: None };
            Finish { outcome, ..success(task) }
        };
        let finishes =
            [success(&claimed[0]), failed(&claimed[1]), failed(&claimed[2]), success(&claimed[3])];
        let answers = bench.exchange(NOW, &finishes).finished;
        let codes: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().map_err(Error::code).err()).collect();
        assert_eq!(codes, [Some("bad_row"), None, Some("bad_row"), None]);
        assert_eq!(bench.states(&ids[..1]), [ENDED]);
        let running = "SELECT count(*) FROM litework_task WHERE state = 'running'";
        let running: i64 =
            bench.stranger.query_row(running, [], |row| row.get(0)).expect("it answers");
        assert_eq!(running, 0, "none is left that runs for ever");
    }

    #[test]
    fn a_dead_owner_with_a_damaged_row_does_not_stop_the_rescue() {
        let bench = Bench::new();
        let ids = bench.store(3, NOW);
        assert_eq!(bench.exchange(NOW, &[]).claimed.len(), 3);
        bench.damage("attempt = -1", ids[0]);
        bench.damage("started_at = NULL", ids[1]);
        // The owner has no row, so it is taken for one that had left.
        let rescued = bench.engine.rescue(at(NOW), 0).expect("it answers");
        assert_eq!(rescued.tasks, 3);
        assert_eq!(bench.states(&ids[1..]), [(State::Ready, None); 2]);
        let state = "SELECT state || ' ' || reason FROM litework_task WHERE id = ?1";
        let state: String =
            bench.stranger.query_row(state, [ids[0].row()], |row| row.get(0)).expect("it is there");
        assert_eq!(state, "failed bad_row");
    }

    #[test]
    fn an_open_ends_what_runs_for_nobody_and_what_is_ready_in_no_lane() {
        let bench = Bench::new();
        let ids = bench.store(3, NOW);
        bench.damage("state = 'running'", ids[0]);
        bench.damage("lane = -7", ids[1]);
        bench.engine.rescue(at(NOW), 0).expect("it answers");
        assert_eq!(bench.states(&ids[..1]), [ENDED]);
        let state = "SELECT state FROM litework_task WHERE id = ?1";
        let state: String =
            bench.stranger.query_row(state, [ids[1].row()], |row| row.get(0)).expect("it is there");
        assert_eq!(state, "failed");
        ready_after(&bench, &ids[2..]);
    }

    #[test]
    fn what_is_due_in_no_lane_or_has_attempts_that_cannot_be_does_not_stop_the_rest() {
        let bench = Bench::new();
        let due = bench.store(2, NOW + 1);
        let ready = bench.store(4, NOW);
        bench.damage("lane = 99", due[0]);
        bench.damage("attempt = -1", ready[0]);
        bench.damage("attempt = 2", ready[1]);
        bench.damage("attempt = 9223372036854775807", ready[2]);
        let claimed = bench.exchange(NOW + 1, &[]).claimed;
        let mut rows: Vec<i64> = claimed.iter().map(|task| task.lease.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, [due[1].row(), ready[3].row()]);
        let left =
            "SELECT count(*) FROM litework_task WHERE state <> 'running' AND reason = 'bad_row'";
        let left: i64 = bench.stranger.query_row(left, [], |row| row.get(0)).expect("it answers");
        assert_eq!(left, 4);
        let plain: NewTask = task(NOW);
        assert_eq!(plain.attempts_max, 1, "so that two attempts are too many");
    }

    /// A task that waits for others, ready for more ties.
    fn after(before: &[TaskId]) -> NewTask {
        let policy = Policy::Success;
        let after = before.iter().map(|id| Before { what: Ref::Task(*id), policy }).collect();
        NewTask { extra: Some(Box::new(Extra { after, ..Extra::default() })), ..task(NOW) }
    }

    fn enqueue(bench: &Bench, task: NewTask) -> TaskId {
        bench.engine.enqueue(at(NOW), vec![task], None).expect("it is stored")[0].id
    }

    const DOOMED: (State, Option<Reason>) = (State::Failed, Some(Reason::Parent));

    #[test]
    fn a_gate_that_cannot_be_read_does_not_stop_the_claims() {
        for change in ["wait_key = CAST(x'ff' AS TEXT)", "ties = CAST(x'ff' AS TEXT)"] {
            let bench = Bench::new();
            let gated = enqueue(&bench, at_gate(Gate::Limit { max: 9 }));
            let sound = bench.store(1, NOW);
            bench.damage(change, gated);
            ready_after(&bench, &sound);
            let state = "SELECT state || ' ' || reason FROM litework_task WHERE id = ?1";
            let state: String =
                bench.stranger.query_row(state, [gated.row()], |row| row.get(0)).expect("there");
            assert_eq!(state, "failed bad_row", "{change}");
        }
    }

    /// How many have not ended.
    fn open(bench: &Bench) -> i64 {
        let sql = "SELECT count(*) FROM litework_task WHERE finished_at IS NULL";
        bench.stranger.query_row(sql, [], |row| row.get(0)).expect("a count")
    }

    fn at_gate(gate: Gate) -> NewTask {
        let ties = Ties { gate: Some(gate), ..Ties::default() };
        let extra = Extra { wait_key: Some("a".to_owned()), ties, ..Extra::default() };
        NewTask { extra: Some(Box::new(extra)), ..task(NOW) }
    }

    #[test]
    fn a_damaged_row_that_waits_at_a_gate_stops_neither_the_gate_nor_the_pool() {
        let rate = Gate::Rate(Rate::per(1, Duration::from_millis(1)));
        for gate in [Gate::TURN, Gate::Limit { max: 1 }, rate] {
            for change in ["priority = 256", "due_at = -7", "ties = CAST(x'ff' AS TEXT)"] {
                let bench = Bench::new();
                let ids: Vec<_> = (0..3).map(|_| enqueue(&bench, at_gate(gate))).collect();
                let waiter = enqueue(&bench, after(&ids[1..2]));
                bench.damage(change, ids[1]);
                let mut finishes = Vec::new();
                for now in NOW..NOW + 9 {
                    let done = bench.exchange(now, &finishes);
                    assert!(done.finished.iter().all(Result::is_ok), "{gate:?}, {change}");
                    finishes = done.claimed.iter().map(success).collect();
                }
                assert_eq!(open(&bench), 0, "{gate:?}, {change}");
                assert_eq!(bench.states(&[ids[2]]), [(State::Succeeded, None)]);
                if change == "priority = 256" {
                    assert_eq!(bench.states(&[ids[1], waiter]), [ENDED, DOOMED], "{gate:?}");
                }
            }
        }
    }

    #[test]
    fn those_whose_gate_is_no_text_are_ended_by_the_look_at_gates() {
        let bench = Bench::new();
        let ids: Vec<_> = (0..4).map(|_| enqueue(&bench, at_gate(Gate::TURN))).collect();
        bench.damage("wait_key = CAST(x'61ff' AS TEXT)", ids[1]);
        bench.damage("wait_key = CAST(x'61ff' AS TEXT)", ids[2]);
        bench.damage("wait_key = 'b'", ids[3]);
        bench.engine.open_gates(at(NOW)).expect("it looks");
        assert_eq!(open(&bench), 2);
        let state = "SELECT state FROM litework_task WHERE id = ?1";
        let state: String =
            bench.stranger.query_row(state, [ids[3].row()], |row| row.get(0)).expect("there");
        assert_eq!(state, "ready", "and the one behind them goes on");
    }

    #[test]
    fn a_damaged_batch_or_one_that_comes_after_it_does_not_stop_the_end_of_its_last_member() {
        for change in ["finished_at = 5", "priority = 256", "due_at = -7"] {
            for of_batch in [true, false] {
                let bench = Bench::new();
                let batch = bench.group(1);
                let waiter = enqueue(&bench, after(&[batch]));
                let damaged = if of_batch { batch } else { waiter };
                bench.damage(change, damaged);
                let claimed = bench.exchange(NOW, &[]).claimed;
                let done = bench.exchange(NOW, &[success(&claimed[0])]);
                assert!(done.finished[0].is_ok(), "{change}: {:?}", done.finished);
                let finishes: Vec<_> = done.claimed.iter().map(success).collect();
                bench.exchange(NOW, &finishes);
                assert_eq!(open(&bench), 0, "{change}");
            }
        }
    }

    #[test]
    fn what_waits_for_a_damaged_task_ends_with_it() {
        // Read while it is claimed; found as it becomes due; met as it ends.
        for (due_at, change) in [
            (NOW, "trace = CAST(x'ff' AS TEXT)"),
            (NOW, "attempt = -1"),
            (NOW + 1, "lane = 99"),
            (NOW + 1, "finished_at = 1"),
        ] {
            let bench = Bench::new();
            let ids = bench.store(2, due_at);
            let waiter = enqueue(&bench, after(&ids[1..]));
            bench.damage(change, ids[1]);
            assert_eq!(bench.exchange(NOW + 1, &[]).claimed.len(), 1);
            assert_eq!(bench.states(&[waiter]), [DOOMED], "{change}");
        }
    }

    #[test]
    fn an_end_is_kept_whatever_ties_those_after_it() {
        for change in ["ties = CAST(x'ff' AS TEXT)", "ties = '{'"] {
            let bench = Bench::new();
            let first = bench.store(1, NOW)[0];
            let waiter = enqueue(&bench, after(&[first]));
            bench.damage(change, waiter);
            let claimed = bench.exchange(NOW, &[]).claimed;
            let ended = bench.exchange(NOW, &[success(&claimed[0])]);
            assert!(ended.finished[0].is_ok(), "{change}: {:?}", ended.finished);
            assert_eq!(bench.states(&[first]), [(State::Succeeded, None)]);
            let open = "SELECT count(*) FROM litework_task WHERE finished_at IS NULL";
            let open: i64 = bench.stranger.query_row(open, [], |row| row.get(0)).expect("a count");
            assert_eq!(open, 0, "{change}: it does not wait for ever");
        }
    }

    #[test]
    fn those_after_a_task_whose_ties_are_damaged_do_not_wait_for_ever() {
        let rate =
            r#"ties = '{"gate":{"rate":{"count":1,"period_ms":18446744073709551615,"burst":1}}}'"#;
        for change in ["ties = CAST(x'ff' AS TEXT)", "ties = '{'", rate] {
            for is_running in [true, false] {
                let bench = Bench::new();
                let first = bench.store(1, NOW)[0];
                enqueue(&bench, after(&[first]));
                let mut finishes = Vec::new();
                if is_running {
                    finishes.extend(bench.exchange(NOW, &[]).claimed.iter().map(success));
                }
                bench.damage(change, first);
                for _ in 0..3 {
                    let claimed = bench.exchange(NOW, &finishes).claimed;
                    finishes = claimed.iter().map(success).collect();
                }
                assert_eq!(open(&bench), 0, "{change}, {is_running}");
            }
        }
    }

    #[test]
    fn a_batch_is_summed_up_whatever_ties_its_members() {
        for change in ["ties = '{'", "ties = CAST(x'ff' AS TEXT)"] {
            let bench = Bench::new();
            let batch = bench.group(2);
            let claimed = bench.exchange(NOW, &[]).claimed;
            let report = Box::new(Report::new("Broken", "as it must"));
            let outcome = Outcome::Failed { reason: Reason::GaveUp, report };
            bench.exchange(NOW, &[Finish { outcome, ..success(&claimed[0]) }]);
            bench.damage(change, claimed[0].id);
            let ended = bench.exchange(NOW, &[success(&claimed[1])]);
            assert!(ended.finished[0].is_ok(), "{change}: {:?}", ended.finished);
            assert_eq!(bench.states(&[batch]), [DOOMED], "{change}");
            assert_eq!(bench.engine.retry_batch(at(NOW), batch).expect("it answers"), 1);
        }
    }

    #[test]
    fn a_member_is_retried_whatever_ties_its_batch() {
        for change in ["ties = '{'", "ties = CAST(x'ff' AS TEXT)", "ties = NULL"] {
            let bench = Bench::new();
            let batch = bench.group(1);
            let claimed = bench.exchange(NOW, &[]).claimed;
            let report = Box::new(Report::new("Broken", "as it must"));
            let outcome = Outcome::Failed { reason: Reason::GaveUp, report };
            bench.exchange(NOW, &[Finish { outcome, ..success(&claimed[0]) }]);
            bench.damage(change, batch);
            bench.engine.act(at(NOW), claimed[0].id, Deed::Retry).expect("it is retried");
            assert_eq!(bench.states(&[claimed[0].id]), [(State::Ready, None)], "{change}");
        }
    }

    #[test]
    fn a_filter_passes_over_what_cannot_be_read() {
        let bench = Bench::new();
        let tagged = || NewTask { tags: Some(r#"["t"]"#.to_owned()), ..task(NOW) };
        let stored = bench.engine.enqueue(at(NOW), vec![tagged(), tagged()], None).expect("stored");
        let ids: Vec<TaskId> = stored.iter().map(|task| task.id).collect();
        let report = Box::new(Report::new("Broken", "as it must"));
        let failed = |task: &crate::record::Claimed| {
            let outcome = Outcome::Failed { reason: Reason::GaveUp, report: report.clone() };
            Finish { outcome, ..success(task) }
        };
        let ends: Vec<Finish> = bench.exchange(NOW, &[]).claimed.iter().map(failed).collect();
        bench.exchange(NOW, &ends);
        bench.damage("tags = '{'", ids[0]);
        bench
            .run(&format!("UPDATE litework_error SET report = '{{' WHERE task = {}", ids[0].row()));
        for filter in [Filter::new().tag("t"), Filter::new().error("it must")] {
            let found = bench.engine.rows(&filter, 0, i64::MAX).expect("it answers");
            assert_eq!(found, [ids[1].row()], "{filter:?}");
        }
    }

    /// A task of whose end a notice tells.
    fn told() -> NewTask {
        let notice = Follow {
            on: vec![EventKind::Finished],
            kind: "notice".to_owned(),
            queue: "q".to_owned(),
            priority: 0,
            attempts: 1,
            at_most_once: false,
            expires_ms: None,
            every_ms: Some(1_000),
            then: Vec::new(),
        };
        let ties = Ties { follow: vec![notice], ..Ties::default() };
        let extra = Extra { ties, ..Extra::default() };
        NewTask { extra: Some(Box::new(extra)), ..task(NOW) }
    }

    #[test]
    fn a_lane_that_an_end_has_made_anew_is_found_by_those_who_enqueue() {
        let bench = Bench::new();
        enqueue(&bench, told());
        bench.run(
            "DELETE FROM litework_lane WHERE kind = 'notice'; INSERT INTO litework_rule \
             (scope, name, closed_until) VALUES ('key', 'notice/k', 253402300799000)",
        );
        // What was remembered of lanes goes with a transaction that is given up.
        let key = Some("a".to_owned());
        let other = NewTask { key: key.clone(), arguments: "[]".to_owned(), ..task(NOW) };
        let two = vec![NewTask { key, ..task(NOW) }, other];
        bench.engine.enqueue(at(NOW), two, None).expect_err("the key is taken");
        let claimed = bench.exchange(NOW, &[]).claimed;
        let ended = bench.engine.exchange(at(NOW), &[success(&claimed[0])], None);
        assert!(ended.expect("it answers").finished[0].is_ok());
        enqueue(&bench, NewTask::plain("q", "notice"));
    }

    #[test]
    fn a_count_of_ends_that_cannot_be_read_is_begun_anew() {
        let bench = Bench::new();
        let stored = bench.engine.enqueue(at(NOW), vec![told(); 2], None).expect("it is stored");
        let claimed = bench.exchange(NOW, &[]).claimed;
        let end = |which: usize| {
            let done = bench.engine.exchange(at(NOW), &[success(&claimed[which])], None);
            let answer = done.expect("it answers").finished.remove(0);
            answer.expect("the end is kept");
        };
        end(0);
        let notice = bench.engine.followers(stored[0].id).expect("it answers")[0];
        bench.damage("meta = '{'", notice);
        end(1);
        let meta = bench.engine.get(notice).expect("it answers").expect("it is there").meta;
        assert_eq!(meta["more"], 1);
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_none() {
        let bench = Bench::new();
        let ids = bench.store(2, NOW);
        bench.run(
            "INSERT INTO litework_rule (scope, name, max_running) VALUES ('kind', 'k', -1), \
             ('queue', CAST(x'ff' AS TEXT), 1)",
        );
        let claimed = bench.exchange(NOW, &[]).claimed;
        assert_eq!(claimed.len(), ids.len());
    }

    #[test]
    fn a_damaged_row_beside_the_tasks_concerns_itself_alone() {
        let ff = "CAST(x'ff' AS TEXT)";
        let changes = [
            format!("INSERT INTO litework_lane VALUES (70, {ff}, 'k'), (71, 'q', {ff})"),
            format!("UPDATE litework_worker SET boot = {ff}"),
            format!("UPDATE litework_worker SET file = {ff}"),
            format!(
                "UPDATE litework_worker SET name = {ff}, kinds = {ff}, queues = '{{', pid = -1"
            ),
            "INSERT INTO litework_rule (scope, name, max_running) VALUES ('kind', 'k', -1)".into(),
            "INSERT INTO litework_rule (scope, name, rate_count, rate_ms, rate_burst) \
             VALUES ('kind', 'k', 1000, 1, 1000000000000000000)"
                .into(),
            format!(
                "INSERT INTO litework_rule (scope, name, max_running) VALUES ('queue', {ff}, 1)"
            ),
        ];
        for change in changes {
            let bench = Bench::new();
            let member = Member { name: "w".to_owned(), threads: 1, ..Member::default() };
            let live = bench.engine.join(at(NOW), &member).expect("it joins");
            assert_eq!(live, 1, "the owner of what the bench claims");
            let running = bench.store(1, NOW);
            assert_eq!(bench.exchange(NOW, &[]).claimed.len(), 1);
            bench.run(&change);
            bench.engine.rescue(at(NOW), 0).expect("an open looks for the dead");
            bench.engine.rescue(at(NOW), 7).expect("others look for them");
            assert_eq!(bench.states(&running), [(State::Running, None)], "{change}");
            assert_eq!(bench.engine.workers().expect("it lists them").len(), 1, "{change}");
            bench.engine.serves("q", "k").expect("it answers");
            bench.engine.limits().expect("it lists them");
            bench.engine.paused().expect("it lists them");
            let limits = [(Scope::kind("k"), Limits::none().max_running(9))];
            bench.engine.declare(&limits).expect("it is declared");
            bench.engine.lanes_with_work(at(NOW)).expect("it lists them");
            let ids = bench.store(2, NOW);
            ready_after(&bench, &ids);
            bench.engine.facts(at(NOW), ids[0]).expect("it answers");
        }
    }

    #[test]
    fn numbers_of_holders_begin_anew_where_their_count_is_gone_or_at_its_end() {
        for change in [
            "DELETE FROM litework_meta WHERE name = 'fence'",
            "UPDATE litework_meta SET value = 9223372036854775800 WHERE name = 'fence'",
            "UPDATE litework_meta SET value = 'x' WHERE name = 'fence'",
            "UPDATE litework_meta SET value = -5 WHERE name = 'fence'",
        ] {
            let bench = Bench::new();
            bench.run(change);
            let mut before = None;
            for _ in 0..3 {
                let id = enqueue(&bench, at_gate(Gate::TURN));
                let claimed = bench.exchange(NOW, &[]).claimed;
                assert_eq!(claimed[0].id, id, "{change}");
                let fence = claimed[0].extra.as_ref().and_then(|extra| extra.fence);
                assert!(fence > before && fence >= Some(NOW), "{change}: {fence:?}");
                before = fence;
                bench.exchange(NOW, &[success(&claimed[0])]);
            }
        }
    }

    #[test]
    fn a_deed_done_to_many_passes_by_what_cannot_be_read() {
        let bench = Bench::new();
        let ids = bench.store(3, NOW);
        bench.damage("attempts_max = -3", ids[1]);
        let rows: Vec<i64> = ids.iter().map(|id| id.row()).collect();
        let done = bench.engine.act_on(at(NOW), Deed::Cancel, &Filter::new(), &rows);
        let (tally, _) = done.expect("it answers");
        assert_eq!((tally.done, tally.left), (2, 1));
    }

    #[test]
    fn copies_pass_by_what_was_damaged_after_it_was_read() {
        let bench = Bench::new();
        let ids = bench.store(3, NOW);
        let copies: Vec<_> = ids.iter().map(|id| (id.row(), Some(task(NOW)))).collect();
        bench.damage("attempts_max = -3", ids[1]);
        let done = bench.engine.replace_each(at(NOW), &Filter::new(), &copies);
        let (tally, _) = done.expect("it answers");
        assert_eq!((tally.done, tally.left), (2, 1));
    }

    #[test]
    fn people_may_end_what_is_tied_by_no_text() {
        for deed in [Deed::Cancel, Deed::Delete] {
            let bench = Bench::new();
            let ids = bench.store(2, NOW);
            bench.damage("ties = CAST(x'ff' AS TEXT)", ids[0]);
            bench.engine.act(at(NOW), ids[0], deed).expect("it is done");
            ready_after(&bench, &ids[1..]);
        }
    }

    #[test]
    fn who_asks_for_a_damaged_row_is_told_which_and_where() {
        for (column, change) in [
            ("options", "options = CAST(x'ff' AS TEXT)"),
            ("tags", "tags = CAST(x'ff' AS TEXT)"),
            ("attempts_max", "attempts_max = -3"),
        ] {
            let bench = Bench::new();
            let id = bench.store(1, NOW)[0];
            bench.damage(change, id);
            let copied = bench.engine.template(id).expect_err("it cannot be copied");
            let Error::BadRow { row, column: told, .. } = copied else { panic!("{copied:?}") };
            assert_eq!((row, told), (id.row(), column));
            let why = bench.engine.facts(at(NOW), id);
            let code = why.map_err(|error| error.code()).err();
            assert_eq!(code, (column != "options").then_some("bad_row"), "{column}");
        }
    }

    #[test]
    fn a_number_that_can_grow_no_more_ends_its_row() {
        let bench = Bench::new();
        let ids = bench.store(1, NOW);
        let claimed = bench.exchange(NOW, &[]).claimed;
        bench.damage("snoozes = 9223372036854775807", ids[0]);
        let outcome = Outcome::Snoozed { after: Duration::from_secs(1) };
        let end = Finish { outcome, ..success(&claimed[0]) };
        let mut done = bench.exchange(NOW, &[end]);
        let ended = done.finished.remove(0);
        assert_eq!(ended.expect_err("it is not kept").code(), "bad_row");
        assert_eq!(bench.states(&ids), [ENDED]);
        assert_eq!(done.ended, [ids[0].row()], "and is told as what it has become");
    }
}
