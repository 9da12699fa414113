//! Enqueue: whether there is room for one more task, where the program has set a limit.
//!
//! The waiting tasks of a queue are counted once and then only estimated: as many as were counted and rows
//! have come since, whoever stored them, and the newest row tells how many came. So they are counted
//! again only when that many would be too many. What ran or had ended at the count and waits again since
//! (a back-off, a snooze, a hand-back, a retry) is no new row, so by that many a limit may be passed until the
//! next count; such a task is never refused either. A count that took long is not repeated for ten
//! times as long, and the queue is taken to be full until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Params};

use crate::backend::queue_full;
use crate::error::Error;
use crate::record::NewTask;

/// A count that took less than this may be repeated at once …
const QUICK: Duration = Duration::from_millis(1);
/// … and so may one in a file that never had more rows than this, however busy the machine was.
const FEW_ROWS: u64 = 10_000;

/// Served by `litework_task_ready`; the others by the index of their state, which holds few or is
/// walked once.
const COUNT: &str = "SELECT count(*) FROM (\
     SELECT 1 FROM litework_lane l CROSS JOIN litework_task t \
       WHERE l.queue = ?1 AND t.lane = l.id AND t.state = 'ready' \
     UNION ALL SELECT 1 FROM litework_task t CROSS JOIN litework_lane l \
       WHERE t.state = 'scheduled' AND l.id = t.lane AND l.queue = ?1 \
     UNION ALL SELECT 1 FROM litework_task t CROSS JOIN litework_lane l \
       WHERE t.state = 'waiting' AND l.id = t.lane AND l.queue = ?1 LIMIT +?2)";

/// Served by the primary key.
const NEWEST: &str =
    "SELECT coalesce((SELECT id FROM litework_task WHERE id <= ?1 ORDER BY id DESC LIMIT 1), 0)";

const BYTES_USED: &str = "SELECT (page_count - freelist_count) * page_size \
     FROM pragma_page_count, pragma_freelist_count, pragma_page_size";

/// What is known of queues that have a limit. A rollback makes it untrue, as rows that were counted
/// are gone then.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: HashMap<Arc<str>, Counted>,
}

#[derive(Debug)]
struct Counted {
    /// How many waited; counting stopped at the limit.
    found: u64,
    limit: u64,
    /// The newest row then.
    newest: u64,
    again_at: Instant,
}

impl Waiting {
    /// Why a task is refused for want of room, if it is; `waits`: it does not start at once.
    pub(super) fn refusal(
        &mut self,
        conn: &Connection,
        task: &NewTask,
        waits: bool,
    ) -> rusqlite::Result<Option<Error>> {
        if let Some(limit) = task.quota.file_bytes {
            let used = number(conn, BYTES_USED, [])?;
            if used.saturating_add(task.arguments.len() as u64) > limit {
                let what = "the file (bytes in use)".to_owned();
                let instead = "raise the limit or begin another file";
                let (found, allowed, passes) = (used, limit, false);
                return Ok(Some(Error::Overloaded { what, found, allowed, instead, passes }));
            }
        }
        let Some(limit) = task.quota.waiting.filter(|_| waits) else { return Ok(None) };
        Ok(self.is_full(conn, &task.queue, limit)?.then(|| queue_full(&task.queue, limit)))
    }

    fn is_full(
        &mut self,
        conn: &Connection,
        queue: &Arc<str>,
        limit: u64,
    ) -> rusqlite::Result<bool> {
        let newest = number(conn, NEWEST, [i64::MAX])?;
        if let Some(known) = self.queues.get(queue).filter(|known| known.limit == limit) {
            if known.found + newest.saturating_sub(known.newest) < limit {
                return Ok(false);
            }
            if Instant::now() < known.again_at {
                return Ok(true);
            }
        }
        let began = Instant::now();
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = number(conn, COUNT, (&**queue, most))?;
        let took = began.elapsed();
        let quick = took < QUICK || newest <= FEW_ROWS;
        let pause = if quick { Duration::ZERO } else { took * 10 };
        let counted = Counted { found, limit, newest, again_at: began + took + pause };
        self.queues.insert(Arc::clone(queue), counted);
        Ok(found >= limit)
    }
}

fn number(conn: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<u64> {
    let mut read = conn.prepare_cached(sql)?;
    read.query_row(params, |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: &str = "INSERT INTO litework_lane VALUES (1, 'mail', 'a'), (2, 'sms', 'a')";

    fn store(conn: &Connection, lane: i64, state: &str) {
        let sql = "INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, \
                   enqueued_at, attempts_max, arguments) \
                   VALUES (0, ?1, ?2, iif(?2 = 'scheduled', 'delayed', NULL), 0, 0, 0, 0, 1, '{}')";
        conn.execute(sql, (lane, state)).expect("a row");
    }

    fn queue() -> (Connection, Arc<str>) {
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch(include_str!("schema.sql")).expect("the schema");
        conn.execute_batch(LANE).expect("lanes");
        (conn, "mail".into())
    }

    fn is_full(waiting: &mut Waiting, conn: &Connection, queue: &Arc<str>, limit: u64) -> bool {
        waiting.is_full(conn, queue, limit).expect("a count")
    }

    #[test]
    fn tasks_are_counted_again_only_when_too_many_may_have_come() {
        let (conn, mail) = queue();
        let mut waiting = Waiting::default();
        let counted_at = |waiting: &Waiting| waiting.queues[&mail].newest;
        assert!(!is_full(&mut waiting, &conn, &mail, 3));
        store(&conn, 1, "ready");
        store(&conn, 2, "ready");
        assert!(!is_full(&mut waiting, &conn, &mail, 3));
        assert_eq!(counted_at(&waiting), 0, "two rows have come, so there is room for a third");
        store(&conn, 1, "scheduled");
        assert!(!is_full(&mut waiting, &conn, &mail, 3));
        assert_eq!(counted_at(&waiting), 3, "three have come, but one is another queue's");
        store(&conn, 1, "ready");
        assert!(is_full(&mut waiting, &conn, &mail, 3));
        assert!(!is_full(&mut waiting, &conn, &mail, 4), "another limit, another count");
    }

    #[test]
    fn a_count_that_took_long_is_not_repeated_at_once() {
        let (conn, mail) = queue();
        let again_at = Instant::now() + Duration::from_secs(3_600);
        let counted = Counted { found: 3, limit: 3, newest: 0, again_at };
        let mut waiting = Waiting { queues: HashMap::from([(Arc::clone(&mail), counted)]) };
        assert!(is_full(&mut waiting, &conn, &mail, 3), "though nothing waits by now");
        assert!(!is_full(&mut waiting, &conn, &"sms".into(), 3));
    }
}
