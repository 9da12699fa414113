//! Watch: pages of tasks that cost little however many there are, for lists that people look at.
//!
//! Each page goes along an index, or along the numbers of tasks, and passes over a bounded number of tasks that are
//! not meant. What has ended is walked along the time of its end, newest first; of a state that is not final and
//! of which a task may be anywhere, the numbers are found in its index before any row is read.

use rusqlite::{Connection, OptionalExtension, ToSql};

use super::query::{
    ReadError, conditions, in_lanes, newest_in_state, page_by_end, page_by_number, page_in_state,
};
use super::row;
use crate::error::Error;
use crate::filter::Filter;
use crate::overview::{At, Browsed, Order, Place};
use crate::record::BadRow;
use crate::state::State;
use crate::time::Timestamp;

/// Tasks that one page passes over at most. Few under test, so that it stops.
const LOOK: i64 = if cfg!(test) { 8 } else { 50_000 };

/// Where a page of ended tasks stops. Served by `litework_task_finished`.
const STOP: &str = "SELECT finished_at, id FROM litework_task WHERE finished_at IS NOT NULL \
     AND (finished_at, id) < (?1, ?2) ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET +?3";

/// The same of failed ones. Served by `litework_task_failed`.
const STOP_FAILED: &str = "SELECT finished_at, id FROM litework_task WHERE state = 'failed' \
     AND (finished_at, id) < (?1, ?2) ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET +?3";

/// Served by the primary key.
const NEWEST: &str = "SELECT id FROM litework_task WHERE id < ?1 ORDER BY id DESC LIMIT 1";

type Values = Vec<Box<dyn ToSql>>;
type Read<T> = Result<T, ReadError>;

/// A look at a page.
struct Look<'a> {
    conn: &'a Connection,
    order: Order,
    size: usize,
}

pub(super) fn browse(
    conn: &Connection,
    filter: &Filter,
    order: Order,
    from: Option<At>,
    size: usize,
) -> Read<Browsed> {
    let look = Look { conn, order, size };
    match order {
        Order::Ended => look.ended(filter, from),
        Order::Stored => {
            let from = match from {
                Some(At::Row(row)) => row,
                _ => i64::MAX,
            };
            let narrow = filter.owner.is_some() || filter.batch.is_some() || !filter.ids.is_empty();
            match (narrow, live_state(filter)) {
                (true, _) => look.stored(filter, from, None),
                (false, Some(state)) if is_plain(filter) => look.in_state(filter, state, from),
                (false, state) => look.window(filter, state, from),
            }
        }
    }
}

/// The one state that is asked for, where it is not final.
fn live_state(filter: &Filter) -> Option<State> {
    match filter.states.as_slice() {
        [state] if !state.is_final() => Some(*state),
        _ => None,
    }
}

/// Whether it asks for nothing but states, queues and kinds.
fn is_plain(filter: &Filter) -> bool {
    let Filter { states, kinds, queues, .. } = filter.clone();
    *filter == Filter { states, kinds, queues, ..Filter::default() }
}

impl Look<'_> {
    /// All of one state: first their numbers alone.
    fn in_state(&self, filter: &Filter, state: State, from: i64) -> Read<Browsed> {
        let (clauses, mut values) = in_lanes(filter, state);
        values.push(Box::new(from));
        let sql = page_in_state(&clauses);
        self.page(&sql, values, None)
    }

    /// Of as many numbers as one page looks at; it begins at the newest of the state.
    fn window(&self, filter: &Filter, state: Option<State>, from: i64) -> Read<Browsed> {
        let newest = match state {
            None => {
                self.conn.prepare_cached(NEWEST)?.query_row([from], |row| row.get(0)).optional()?
            }
            Some(state) => {
                let (clauses, mut values) = in_lanes(filter, state);
                values.push(Box::new(from));
                let sql = newest_in_state(&clauses);
                let values = rusqlite::params_from_iter(values.iter());
                self.conn.prepare_cached(&sql)?.query_row(values, |row| row.get(0))?
            }
        };
        let Some(newest) = newest else { return Ok(Browsed::default()) };
        self.stored(filter, from, Some(i64::saturating_sub(newest, LOOK - 1)))
    }

    /// From `from` down to `least`, where that is given.
    fn stored(&self, filter: &Filter, from: i64, least: Option<i64>) -> Read<Browsed> {
        let (mut clauses, mut values) = conditions(filter);
        clauses.push("t.id < ?".to_owned());
        values.push(Box::new(from));
        if let Some(least) = least {
            clauses.push("t.id >= ?".to_owned());
            values.push(Box::new(least));
        }
        let sql = page_by_number(&clauses);
        let older = |least: &i64| {
            let mut read = self.conn.prepare_cached(NEWEST)?;
            read.exists([*least]).map(|any| any.then_some(At::Row(*least)))
        };
        let stop = least.as_ref().map(older).transpose()?.flatten();
        self.page(&sql, values, stop)
    }

    fn ended(&self, filter: &Filter, from: Option<At>) -> Read<Browsed> {
        let (at, number) = match from {
            Some(At::End(at, number)) => (at.as_millis(), number),
            _ => (i64::MAX, i64::MAX),
        };
        let failed = filter.states == [State::Failed];
        let (index, stop) = if failed {
            ("litework_task_failed", STOP_FAILED)
        } else {
            ("litework_task_finished", STOP)
        };
        let stop: Option<(i64, i64)> = self
            .conn
            .prepare_cached(stop)?
            .query_row((at, number, LOOK - 1), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (mut clauses, mut values) = conditions(filter);
        clauses.push("t.finished_at IS NOT NULL AND (t.finished_at, t.id) < (?, ?)".to_owned());
        values.extend([at, number].map(|value| Box::new(value) as Box<dyn ToSql>));
        if let Some((at, number)) = stop {
            clauses.push("(t.finished_at, t.id) >= (?, ?)".to_owned());
            values.extend([at, number].map(|value| Box::new(value) as Box<dyn ToSql>));
        }
        let sql = page_by_end(index, &clauses);
        let stop = stop.map(|(at, number)| At::End(Timestamp::clamped(at), number));
        self.page(&sql, values, stop)
    }

    /// Reads a page. Where it ends before it is full, `stop` is where there may be more.
    fn page(&self, sql: &str, mut values: Values, stop: Option<At>) -> Read<Browsed> {
        values.push(Box::new(i64::try_from(self.size + 1).unwrap_or(i64::MAX)));
        let mut read = self.conn.prepare_cached(sql)?;
        let mut rows = read.query(rusqlite::params_from_iter(values.iter()))?;
        let mut page = Browsed::default();
        let mut last = None;
        while let Some(found) = rows.next()? {
            if page.tasks.len() + page.bad.len() == self.size {
                page.next = last.map(Place);
                return Ok(page);
            }
            let number: i64 = found.get(0)?;
            match row::task(found) {
                Ok(task) => {
                    last = Some(At::of(self.order, &task));
                    page.tasks.push(task);
                }
                Err(Error::BadRow { row, column, reason }) => {
                    let ended = found.get::<_, Option<i64>>("finished_at").ok().flatten();
                    last = Some(match (self.order, ended) {
                        (Order::Ended, Some(at)) => At::End(Timestamp::clamped(at), number),
                        _ => At::Row(number),
                    });
                    page.bad.push(BadRow { row, column, reason });
                }
                Err(error) => return Err(error.into()),
            }
        }
        page.stopped = stop.is_some();
        page.next = stop.map(Place);
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;
    use crate::backend::Backend;
    use crate::record::NewTask;

    fn browse(bench: &Bench, filter: &Filter, from: Option<Place>) -> Browsed {
        let order = Order::of(filter);
        bench.engine.browse(filter, order, from.map(|place| place.0), 3).expect("it answers")
    }

    /// The rows of all pages, and how often a look stopped.
    fn all(bench: &Bench, filter: &Filter) -> (Vec<i64>, usize) {
        let (mut rows, mut stops, mut from) = (Vec::new(), 0, None);
        loop {
            let page = browse(bench, filter, from);
            rows.extend(page.tasks.iter().map(|task| task.id.row()));
            stops += usize::from(page.stopped);
            from = page.next;
            if from.is_none() {
                return (rows, stops);
            }
        }
    }

    #[test]
    fn a_look_stops_and_goes_on_until_all_is_found() {
        let bench = Bench::new();
        let now = Timestamp::clamped(1_000);
        for row in 1..=30 {
            let mut task = NewTask::plain("q", if row % 15 == 0 { "rare" } else { "k" });
            task.tags = (row % 10 == 0).then(|| r#"["red"]"#.to_owned());
            bench.engine.enqueue(now, vec![task], None).expect("stored");
        }
        let rare = Filter::new().kind("rare");
        assert_eq!(all(&bench, &rare), (vec![30, 15], 3));
        assert_eq!(
            all(&bench, &rare.clone().state(State::Ready)),
            (vec![30, 15], 0),
            "by its index"
        );
        let red = Filter::new().tag("red").state(State::Ready);
        assert_eq!(all(&bench, &red).0, [30, 20, 10]);
        assert_eq!(all(&bench, &red.state(State::Waiting)).0, [30, 20, 10]);
        for row in 1..=29 {
            let id = bench.engine.by_row(row).expect("it answers").expect("it is there").id;
            let at = Timestamp::clamped(2_000 - row);
            bench.engine.cancel(at, id).expect("cancelled");
        }
        let cancelled = Filter::new().state(State::Cancelled);
        assert_eq!(all(&bench, &cancelled), ((1..=29).collect(), 0));
        let (rows, stops) = all(&bench, &cancelled.kind("rare"));
        assert_eq!((rows, stops), (vec![15], 3));
        assert_eq!(all(&bench, &Filter::new().state(State::Failed)), (vec![], 0));
        assert_eq!(all(&bench, &Filter::new().state(State::Ready)), (vec![30], 0));
    }
}
