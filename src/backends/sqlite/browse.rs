//! Watch: pages of tasks that cost little however many there are, for lists that people look at.
//!
//! Each page goes along an index, or along the numbers of tasks, and passes over a bounded number of tasks that are
//! not meant. What has ended is walked along the time of its end, newest first; of a state that is not final and
//! of which a task may be anywhere, the numbers are found in its index before any row is read.

use rusqlite::{Connection, OptionalExtension, ToSql};

use super::meant::conditions;
use super::query::{
    ReadError, in_lanes, newest_in_state, page_by_end, page_by_number, page_in_state,
};
#[cfg(feature = "web")]
use super::query::{count_in_state, counted};
use super::row;
use crate::error::Error;
use crate::filter::Filter;
#[cfg(feature = "web")]
use crate::overview::Capped;
use crate::overview::{At, Browsed, Order, Place};
use crate::record::BadRow;
use crate::state::State;
use crate::time::Timestamp;

/// Tasks that one page passes over at most. Few under test, so that it stops.
const LOOK: i64 = if cfg!(test) { 8 } else { 30_000 };

/// Where a page of ended tasks stops. Served by `litework_task_finished`.
const STOP: &str = "SELECT finished_at, id FROM litework_task WHERE finished_at IS NOT NULL \
     AND (finished_at, id) < (?1, ?2) ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET +?3";

/// The same of failed ones. Served by `litework_task_failed`.
const STOP_FAILED: &str = "SELECT finished_at, id FROM litework_task WHERE state = 'failed' \
     AND (finished_at, id) < (?1, ?2) ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET +?3";

/// Served by the primary key.
const NEWEST: &str = "SELECT id FROM litework_task WHERE id < ?1 ORDER BY id DESC LIMIT 1";

/// How many are passed over for this filter: an error is read from a table of its own, which costs three times as much, and
/// arguments are parsed.
fn look(filter: &Filter) -> i64 {
    if filter.error.is_some() || !filter.args.is_empty() { LOOK / 3 } else { LOOK }
}

type Values = Vec<Box<dyn ToSql>>;
type Read<T> = Result<T, ReadError>;

/// How a look finds the tasks that are meant.
struct Way {
    sql: String,
    values: Values,
    /// Where it ends although there may be more.
    stop: Option<At>,
}

pub(super) fn browse(
    conn: &Connection,
    filter: &Filter,
    order: Order,
    from: Option<At>,
    size: usize,
) -> Read<Browsed> {
    match way(conn, filter, order, from)? {
        Some(way) => page(conn, way, order, size),
        None => Ok(Browsed::default()),
    }
}

/// How many tasks pass the filter, up to `most`, as far as one look tells: as many rows as one page looks at.
#[cfg(feature = "web")]
pub(super) fn count(conn: &Connection, filter: &Filter, most: u64) -> Read<Capped> {
    // Numbers alone need no order.
    let plain = live_state(filter).filter(|_| is_plain(filter));
    let way = match plain {
        Some(state) => {
            let (clauses, values) = in_lanes(filter, state);
            Some(Way { sql: count_in_state(&clauses), values, stop: None })
        }
        None => way(conn, filter, Order::of(filter), None)?
            .map(|way| Way { sql: counted(&way.sql), ..way }),
    };
    let Some(Way { sql, mut values, stop }) = way else { return Ok(Capped::default()) };
    values.push(Box::new(i64::try_from(most.saturating_add(1)).unwrap_or(i64::MAX)));
    let mut read = conn.prepare_cached(&sql)?;
    let found: i64 = read.query_row(rusqlite::params_from_iter(values.iter()), |row| row.get(0))?;
    let found = Capped::of(found.unsigned_abs(), most);
    Ok(Capped { capped: found.capped || stop.is_some(), ..found })
}

fn way(conn: &Connection, filter: &Filter, order: Order, from: Option<At>) -> Read<Option<Way>> {
    if order == Order::Ended {
        return ended(conn, filter, from).map(Some);
    }
    let from = match from {
        Some(At::Row(row)) => row,
        _ => i64::MAX,
    };
    let narrow = filter.owner.is_some() || filter.batch.is_some() || !filter.ids.is_empty();
    match (narrow, live_state(filter)) {
        (true, _) => stored(conn, filter, from, None).map(Some),
        (false, Some(state)) if is_plain(filter) => Ok(Some(in_state(filter, state, from))),
        (false, state) => window(conn, filter, state, from),
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

/// All of one state: first their numbers alone.
fn in_state(filter: &Filter, state: State, from: i64) -> Way {
    let (clauses, mut values) = in_lanes(filter, state);
    values.push(Box::new(from));
    Way { sql: page_in_state(&clauses), values, stop: None }
}

/// Of as many numbers as one page looks at; it begins at the newest of the state.
fn window(
    conn: &Connection,
    filter: &Filter,
    state: Option<State>,
    from: i64,
) -> Read<Option<Way>> {
    let newest = match state {
        None => conn.prepare_cached(NEWEST)?.query_row([from], |row| row.get(0)).optional()?,
        Some(state) => {
            let (clauses, mut values) = in_lanes(filter, state);
            values.push(Box::new(from));
            let sql = newest_in_state(&clauses);
            let values = rusqlite::params_from_iter(values.iter());
            conn.prepare_cached(&sql)?.query_row(values, |row| row.get(0))?
        }
    };
    let Some(newest) = newest else { return Ok(None) };
    stored(conn, filter, from, Some(i64::saturating_sub(newest, look(filter) - 1))).map(Some)
}

/// From `from` down to `least`, where that is given.
fn stored(conn: &Connection, filter: &Filter, from: i64, least: Option<i64>) -> Read<Way> {
    let (mut clauses, mut values) = conditions(filter);
    clauses.push("t.id < ?".to_owned());
    values.push(Box::new(from));
    if let Some(least) = least {
        clauses.push("t.id >= ?".to_owned());
        values.push(Box::new(least));
    }
    let older = |least: &i64| {
        let mut read = conn.prepare_cached(NEWEST)?;
        read.exists([*least]).map(|any| any.then_some(At::Row(*least)))
    };
    let stop = least.as_ref().map(older).transpose()?.flatten();
    Ok(Way { sql: page_by_number(&clauses), values, stop })
}

fn ended(conn: &Connection, filter: &Filter, from: Option<At>) -> Read<Way> {
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
    let stop: Option<(i64, i64)> = conn
        .prepare_cached(stop)?
        .query_row((at, number, look(filter) - 1), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (mut clauses, mut values) = conditions(filter);
    clauses.push("t.finished_at IS NOT NULL AND (t.finished_at, t.id) < (?, ?)".to_owned());
    values.extend([at, number].map(|value| Box::new(value) as Box<dyn ToSql>));
    if let Some((at, number)) = stop {
        clauses.push("(t.finished_at, t.id) >= (?, ?)".to_owned());
        values.extend([at, number].map(|value| Box::new(value) as Box<dyn ToSql>));
    }
    let stop = stop.map(|(at, number)| At::End(Timestamp::clamped(at), number));
    Ok(Way { sql: page_by_end(index, &clauses), values, stop })
}

/// Reads a page. Where it ends before it is full, `stop` is where there may be more.
fn page(conn: &Connection, way: Way, order: Order, size: usize) -> Read<Browsed> {
    let Way { sql, mut values, stop } = way;
    values.push(Box::new(i64::try_from(size + 1).unwrap_or(i64::MAX)));
    let mut read = conn.prepare_cached(&sql)?;
    let mut rows = read.query(rusqlite::params_from_iter(values.iter()))?;
    let mut page = Browsed::default();
    let mut last = None;
    while let Some(found) = rows.next()? {
        if page.tasks.len() + page.bad.len() == size {
            page.next = last.map(Place);
            return Ok(page);
        }
        let number: i64 = found.get(0)?;
        match row::task(found) {
            Ok(task) => {
                last = Some(At::of(order, &task));
                page.tasks.push(task);
            }
            Err(Error::BadRow { row, column, reason }) => {
                let ended = found.get::<_, Option<i64>>("finished_at").ok().flatten();
                last = Some(match (order, ended) {
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

    #[cfg(feature = "web")]
    #[test]
    fn a_count_tells_no_more_than_one_look_has_seen() {
        let bench = Bench::new();
        let now = Timestamp::clamped(1_000);
        for row in 1..=30 {
            let task = NewTask::plain("q", if row == 2 || row == 29 { "rare" } else { "k" });
            bench.engine.enqueue(now, vec![task], None).expect("stored");
        }
        let count = |filter: &Filter, most: u64| {
            bench.engine.count_in_a_look(filter, most).expect("it answers").to_string()
        };
        let all = Filter::new();
        assert_eq!((count(&all, 5), count(&all, 100)), ("5+".to_owned(), "8+".to_owned()));
        let ready = all.clone().state(State::Ready);
        assert_eq!((count(&ready, 29), count(&ready, 30)), ("29+".to_owned(), "30".to_owned()));
        assert_eq!(count(&ready.kind("rare"), 9), "2", "by its index");
        assert_eq!(count(&all.clone().kind("rare"), 9), "1+", "the other is beyond the look");
        assert_eq!(count(&all.clone().state(State::Failed), 9), "0");
        let old = bench.engine.by_row(2).expect("it answers").expect("it is there").id;
        assert_eq!(count(&all.clone().id(old).kind("rare"), 9), "1");
        for row in 1..=29 {
            let id = bench.engine.by_row(row).expect("it answers").expect("it is there").id;
            bench.engine.cancel(Timestamp::clamped(2_000 + row), id).expect("cancelled");
        }
        let cancelled = all.state(State::Cancelled);
        assert_eq!(count(&cancelled, 100), "8+");
        assert_eq!(count(&cancelled.kind("rare"), 100), "1+");
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
