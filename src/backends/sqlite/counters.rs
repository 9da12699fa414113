//! Watch: what was counted of tasks, by minute and hour and in all, a row for each lane.
//!
//! Kept without a sync and in one commit: a few rows for each lane that was busy. In the same commit a slice of
//! what is old is made hours, or removed.

use rusqlite::{Connection, OptionalExtension};

use super::Sqlite;
use super::core::Core;
use super::errors::not_stored;
use super::row::text;
use crate::counters::{
    Counts, HOUR_MS, HOURS_KEPT_MS, LaneCounts, MINUTE_MS, MINUTES_KEPT_MS, begin_of,
};
use crate::error::Error;
use crate::meter::{Counting, EachCount, End, Meter, News};
use crate::options::Durability;
use crate::state::State;
use crate::time::Timestamp;

/// The span of what is counted for all time.
const EVER: i64 = 0;
/// Rows that one commit makes hours of, or removes. Few under test, so that some are left for the next.
const SLICE: u32 = if cfg!(test) { 4 } else { 500 };

/// Served by the primary key.
const READ: &str = "SELECT counts FROM litework_counter WHERE span = ?1 AND at = ?2 AND lane = ?3";

const PUT: &str = "INSERT INTO litework_counter (span, at, lane, counts) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (span, at, lane) DO UPDATE SET counts = ?4";

/// Served by the primary key.
const OLD: &str = "SELECT at, lane, counts FROM litework_counter WHERE span = ?1 AND at < ?2 \
     ORDER BY at, lane LIMIT +?3";

/// Served by the primary key.
const REMOVE: &str = "DELETE FROM litework_counter WHERE span = ?1 AND at = ?2 AND lane = ?3";

/// Served by the primary key.
const EACH: &str = "SELECT l.queue, l.kind, c.at, c.counts FROM litework_counter c \
     JOIN litework_lane l ON l.id = c.lane WHERE c.span = ?1 AND c.at >= ?2 AND c.at < ?3";

/// Served by the primary key.
const ENDS: &str = "SELECT l.queue, l.kind, t.state, t.finished_at FROM json_each(?1) j \
     CROSS JOIN litework_task t ON t.id = j.value JOIN litework_lane l ON l.id = t.lane \
     WHERE t.finished_at IS NOT NULL";

impl Counting for Sqlite {
    fn meter(&self) -> &std::sync::Arc<Meter> {
        &self.inner.meter
    }

    fn keep_counts(&self, now: Timestamp, news: &[News]) -> Result<(), Error> {
        self.transaction(Durability::Normal, |core| {
            for one in news {
                keep(core, one)?;
            }
            fold(&core.conn, now).map_err(not_stored)
        })
    }

    fn each_count(
        &self,
        since: Timestamp,
        until: Timestamp,
        each: EachCount<'_>,
    ) -> Result<(), Error> {
        self.read("counters", |conn| {
            let mut read = conn.prepare_cached(EACH)?;
            for span in [MINUTE_MS, HOUR_MS] {
                let mut rows = read.query((span, since.as_millis(), until.as_millis()))?;
                while let Some(row) = rows.next()? {
                    let (Some(queue), Some(kind), Some(counts)) =
                        (text(row, 0), text(row, 1), text(row, 3))
                    else {
                        continue;
                    };
                    each(&queue, &kind, Timestamp::clamped(row.get(2)?), &Counts::of_text(&counts));
                }
            }
            Ok(())
        })
    }

    fn totals(&self) -> Result<Vec<LaneCounts>, Error> {
        self.read("counters", |conn| {
            let mut read = conn.prepare_cached(EACH)?;
            let mut rows = read.query((EVER, 0, 1))?;
            let mut totals = Vec::new();
            while let Some(row) = rows.next()? {
                if let (Some(queue), Some(kind), Some(counts)) =
                    (text(row, 0), text(row, 1), text(row, 3))
                {
                    totals.push(LaneCounts { queue, kind, counts: Counts::of_text(&counts) });
                }
            }
            Ok(totals)
        })
    }

    fn ends(&self, rows: &[i64]) -> Result<Vec<End>, Error> {
        self.read("tasks that ended", |conn| Ok(ends(conn, rows)?))
    }
}

/// Those of these rows that have ended.
pub(super) fn ends(conn: &Connection, rows: &[i64]) -> rusqlite::Result<Vec<End>> {
    // A list of numbers always encodes.
    let rows = serde_json::to_string(rows).unwrap_or_default();
    let mut read = conn.prepare_cached(ENDS)?;
    let mut found = read.query([rows])?;
    let mut ends = Vec::new();
    while let Some(row) = found.next()? {
        let state = text(row, 2).and_then(|word| State::from_word(&word));
        if let (Some(queue), Some(kind), Some(state)) = (text(row, 0), text(row, 1), state) {
            let at = Timestamp::clamped(row.get(3)?);
            ends.push(End { queue: queue.into(), kind: kind.into(), state, at });
        }
    }
    Ok(ends)
}

fn keep(core: &mut Core, news: &News) -> Result<(), Error> {
    let lane = core.lanes.of(&core.conn, &news.queue, &news.kind)?;
    let lane = core.lanes.get(lane).id;
    for place in [(MINUTE_MS, news.at.as_millis(), lane), (EVER, 0, lane)] {
        add(&core.conn, place, &news.counts).map_err(not_stored)?;
    }
    Ok(())
}

fn add(conn: &Connection, place: (i64, i64, i64), more: &Counts) -> rusqlite::Result<()> {
    let kept =
        conn.prepare_cached(READ)?.query_row(place, |row| Ok(text(row, 0))).optional()?.flatten();
    let mut counts = kept.map(|kept| Counts::of_text(&kept)).unwrap_or_default();
    counts.add(more);
    let (span, at, lane) = place;
    conn.prepare_cached(PUT)?.execute((span, at, lane, counts.text()))?;
    Ok(())
}

/// Makes hours of minutes that are old, and removes hours that are.
fn fold(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let hour = begin_of(HOUR_MS, now);
    for (at, lane, counts) in old(conn, MINUTE_MS, hour - MINUTES_KEPT_MS)? {
        let hour = begin_of(HOUR_MS, Timestamp::clamped(at));
        add(conn, (HOUR_MS, hour, lane), &Counts::of_text(&counts))?;
        conn.prepare_cached(REMOVE)?.execute((MINUTE_MS, at, lane))?;
    }
    for (at, lane, _) in old(conn, HOUR_MS, hour - HOURS_KEPT_MS)? {
        conn.prepare_cached(REMOVE)?.execute((HOUR_MS, at, lane))?;
    }
    Ok(())
}

fn old(conn: &Connection, span: i64, before: i64) -> rusqlite::Result<Vec<(i64, i64, String)>> {
    let mut read = conn.prepare_cached(OLD)?;
    let rows = read.query_map((span, before, SLICE), |row| {
        Ok((row.get(0)?, row.get(1)?, text(row, 2).unwrap_or_default()))
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, NOW, at, task};
    use super::*;
    use crate::backend::Backend;
    use crate::record::NewTask;

    fn counted(bench: &Bench) -> Counts {
        let mut all = Counts::default();
        bench.engine.meter().news().iter().for_each(|news| all.add(&news.counts));
        all
    }

    #[test]
    fn what_a_dead_process_ran_is_counted_by_whoever_finds_it() {
        let bench = Bench::new();
        let once = NewTask { at_most_once: true, ..task(NOW) };
        bench.engine.enqueue(at(NOW), vec![once, task(NOW)], None).expect("it is stored");
        assert_eq!(bench.exchange(NOW, &[]).claimed.len(), 2);
        // The owner has no row, so it is taken for one that had left: what may start again has not begun.
        assert_eq!(bench.engine.rescue(at(NOW), 0).expect("it answers").tasks, 2);
        let Counts { enqueued, interrupted, failed, started, .. } = counted(&bench);
        assert_eq!((enqueued, interrupted, failed, started), (2, 1, 1, 0));
    }

    #[test]
    fn what_is_old_is_folded_a_slice_at_a_time() {
        let bench = Bench::new();
        let rows = |span: i64| -> i64 {
            let sql = "SELECT count(*) FROM litework_counter WHERE span = ?1";
            bench.stranger.query_row(sql, [span], |row| row.get(0)).expect("it is there")
        };
        let keep = |minute: i64| {
            let (queue, kind) = ("q".into(), "k".into());
            let now = at(minute * MINUTE_MS);
            bench.engine.meter().count(|book| book.enqueued(&queue, &kind, now, 1));
            bench.engine.meter().keep(&bench.engine, now).expect("kept");
        };
        (0..10).for_each(keep);
        assert_eq!((rows(MINUTE_MS), rows(HOUR_MS), rows(EVER)), (10, 0, 1));
        let later = 26 * 60;
        keep(later);
        assert_eq!((rows(MINUTE_MS), rows(HOUR_MS)), (7, 1), "four are folded, one is new");
        (1..3).for_each(|minute| keep(later + minute));
        assert_eq!((rows(MINUTE_MS), rows(HOUR_MS), rows(EVER)), (3, 1, 1));
        let totals = bench.engine.totals().expect("it answers");
        assert_eq!(totals[0].counts.enqueued, 13);
    }
}
