//! Claim: what holds for a whole queue or kind: paused, closed for a while, so many at once, so many in a
//! period.
//!
//! A rule decides which lanes are open; no task is ever written for it. Rules are remembered until another
//! connection commits; how many run is read from the running rows each time, but only where a rule asks.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};

use super::errors::{is_decode_error, not_stored};
use super::row::text;
use crate::error::Error;
use crate::gate::{Limits, Rate};
use crate::rule::{Admits, Limited, Rule, Scope};
use crate::time::Timestamp;

/// Served by the primary key of `litework_rule`.
const RULES: &str = "SELECT scope, name, paused_at, max_running, rate_count, rate_ms, rate_burst, \
     next_at, closed_until FROM litework_rule WHERE scope = 'kind' OR scope = 'queue'";

/// What runs. Served by `litework_task_running`.
const RUNNING: &str = "SELECT l.queue, l.kind FROM litework_task t \
     CROSS JOIN litework_lane l ON l.id = t.lane WHERE t.state = 'running'";

const STARTED: &str = "UPDATE litework_rule SET next_at = ?3 WHERE scope = ?1 AND name = ?2";

/// One rule, as it is remembered.
#[derive(Debug)]
struct Known {
    rule: Rule,
    /// How many run, as counted in this transaction.
    running: u32,
    /// `next_at` is not written yet.
    moved: bool,
}

/// The rules of a file.
#[derive(Debug, Default)]
pub(super) struct Rules {
    known: bool,
    queues: HashMap<String, Known>,
    kinds: HashMap<String, Known>,
    /// Whether any limits how many run.
    counts: bool,
    /// The next moment at which a lane opens that was found shut.
    opens_at: Option<Timestamp>,
}

impl Rules {
    /// Others may have changed them.
    pub(super) fn forget(&mut self) {
        self.known = false;
    }

    /// Whether there are none, which is what most files have.
    pub(super) fn are_none(&self) -> bool {
        self.queues.is_empty() && self.kinds.is_empty()
    }

    /// Reads what a transaction needs that is going to start tasks.
    pub(super) fn prepare(&mut self, conn: &Connection) -> Result<(), Error> {
        self.opens_at = None;
        if self.limits_running(conn)? { self.count(conn).map_err(not_stored) } else { Ok(()) }
    }

    /// Whether any limits how many run, so that the end of one may let another start.
    pub(super) fn limits_running(&mut self, conn: &Connection) -> Result<bool, Error> {
        if !self.known {
            self.read(conn).map_err(not_stored)?;
        }
        Ok(self.counts)
    }

    fn read(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        (self.queues, self.kinds) = (HashMap::new(), HashMap::new());
        let mut read = conn.prepare_cached(RULES)?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let (scope, name, rule) = match scoped(row) {
                Ok(read) => read,
                Err(error) if is_decode_error(&error) => {
                    tracing::warn!(%error, "a rule that cannot be read is taken for none");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let rules = if scope == "queue" { &mut self.queues } else { &mut self.kinds };
            rules.insert(name, Known { rule, running: 0, moved: false });
        }
        let mut all = self.queues.values().chain(self.kinds.values());
        self.counts = all.any(|known| known.rule.max_running.is_some());
        self.known = true;
        Ok(())
    }

    fn count(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let all = self.queues.values_mut().chain(self.kinds.values_mut());
        all.for_each(|known| known.running = 0);
        let mut read = conn.prepare_cached(RUNNING)?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            // What has no name is limited by no rule.
            let (queue, kind) =
                (text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default());
            for known in self.of(&queue, &kind) {
                known.running += 1;
            }
        }
        Ok(())
    }

    fn of(&mut self, queue: &str, kind: &str) -> impl Iterator<Item = &mut Known> {
        self.queues.get_mut(queue).into_iter().chain(self.kinds.get_mut(kind))
    }

    /// Whether a task of this queue and kind may start now.
    pub(super) fn admit(&mut self, queue: &str, kind: &str, now: Timestamp) -> Admits {
        if self.are_none() {
            return Admits::Yes;
        }
        let verdicts = self.of(queue, kind).map(|known| known.rule.admits(known.running, now));
        let verdict = verdicts.fold(Admits::Yes, Admits::and);
        if let Admits::No(Some(until)) = verdict {
            self.opens_at = Some(self.opens_at.map_or(until, |known| known.min(until)));
        }
        verdict
    }

    /// Whether tasks of this queue and kind are not to be held ahead of a free thread: each that is held
    /// counts as running.
    pub(super) fn are_scarce(&mut self, queue: &str, kind: &str) -> bool {
        !self.are_none() && self.of(queue, kind).any(|known| known.rule.is_scarce())
    }

    /// Counts a start.
    pub(super) fn started(&mut self, queue: &str, kind: &str, now: Timestamp) {
        if self.are_none() {
            return;
        }
        for known in self.of(queue, kind) {
            known.running += 1;
            known.moved |= known.rule.start(now);
        }
    }

    /// When the first of the lanes opens that were found shut.
    pub(super) fn opens_at(&self) -> Option<Timestamp> {
        self.opens_at
    }

    /// Writes what the starts of this transaction have changed.
    pub(super) fn write(&mut self, conn: &Connection) -> Result<(), Error> {
        if self.are_none() {
            return Ok(());
        }
        let queues = self.queues.iter_mut().map(|(name, known)| ("queue", name, known));
        let kinds = self.kinds.iter_mut().map(|(name, known)| ("kind", name, known));
        for (scope, name, known) in queues.chain(kinds).filter(|(_, _, known)| known.moved) {
            conn.prepare_cached(STARTED)
                .and_then(|mut update| update.execute((scope, name, known.rule.next_at)))
                .map_err(not_stored)?;
            known.moved = false;
        }
        Ok(())
    }
}

/// All rules, and how many run under each, as a reader sees them.
pub(super) fn stored(conn: &Connection) -> rusqlite::Result<Vec<(Scope, Rule, u32)>> {
    let mut rules = Rules::default();
    rules.read(conn)?;
    if rules.counts {
        rules.count(conn)?;
    }
    let queues = rules.queues.into_iter().map(|(name, known)| (Scope::Queue(name), known));
    let kinds = rules.kinds.into_iter().map(|(name, known)| (Scope::Kind(name), known));
    let all = queues.chain(kinds).map(|(scope, known)| (scope, known.rule, known.running));
    let mut all: Vec<_> = all.collect();
    all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    Ok(all)
}

/// Served by the primary key of `litework_rule`.
const DECLARED: &str = "SELECT max_running, rate_count, rate_ms, rate_burst, edited_at \
     FROM litework_rule WHERE scope = ?1 AND name = ?2";

const DECLARE: &str = "INSERT INTO litework_rule \
     (scope, name, max_running, rate_count, rate_ms, rate_burst) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
     ON CONFLICT (scope, name) DO UPDATE SET max_running = excluded.max_running, \
     rate_count = excluded.rate_count, rate_ms = excluded.rate_ms, \
     rate_burst = excluded.rate_burst WHERE edited_at IS NULL";

/// Whether the file has other limits than a program declares.
pub(super) fn differ(conn: &Connection, limits: &[(Scope, Limits)]) -> rusqlite::Result<bool> {
    let mut read = conn.prepare_cached(DECLARED)?;
    for (scope, wanted) in limits {
        let found = read
            .query_row((scope.word(), scope.name()), |row| {
                let edited = row.get::<_, Option<i64>>(4)?.is_some();
                Ok((edited, Limits { max_running: number(row, 0), rate: rate(row, 1) }))
            })
            .optional()?;
        let (edited, found) = found.unwrap_or_default();
        if !edited && found != *wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the limits that a program declares, but for those that a person has edited.
pub(super) fn declare(conn: &Connection, limits: &[(Scope, Limits)]) -> Result<(), Error> {
    for (scope, limits) in limits {
        let rate = limits.rate.map(Rate::parts);
        conn.prepare_cached(DECLARE)
            .and_then(|mut declare| {
                declare.execute(rusqlite::params![
                    scope.word(),
                    scope.name(),
                    limits.max_running,
                    rate.map(|(count, _, _)| count),
                    rate.map(|(_, period_ms, _)| i64::try_from(period_ms).unwrap_or(i64::MAX)),
                    rate.map(|(_, _, burst)| burst),
                ])
            })
            .map_err(not_stored)?;
    }
    Ok(())
}

const SET: &str = "INSERT INTO litework_rule \
     (scope, name, max_running, rate_count, rate_ms, rate_burst, edited_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (scope, name) DO UPDATE \
     SET max_running = excluded.max_running, rate_count = excluded.rate_count, \
     rate_ms = excluded.rate_ms, rate_burst = excluded.rate_burst, edited_at = excluded.edited_at";

/// Served by the primary key of `litework_rule`.
const LIMITS: &str = "SELECT scope, name, max_running, rate_count, rate_ms, rate_burst, edited_at \
     FROM litework_rule WHERE (scope = 'kind' OR scope = 'queue') \
     AND (max_running IS NOT NULL OR rate_count IS NOT NULL OR edited_at IS NOT NULL)";

/// Writes limits in the name of a person; none: what programs declare counts again.
pub(super) fn set(
    conn: &Connection,
    now: Timestamp,
    scope: &Scope,
    limits: Option<Limits>,
) -> Result<(), Error> {
    let set = limits.unwrap_or_default();
    let rate = set.rate.map(Rate::parts);
    let row = rusqlite::params![
        scope.word(),
        scope.name(),
        set.max_running,
        rate.map(|(count, _, _)| count),
        rate.map(|(_, period_ms, _)| i64::try_from(period_ms).unwrap_or(i64::MAX)),
        rate.map(|(_, _, burst)| burst),
        limits.map(|_| now.as_millis()),
    ];
    conn.prepare_cached(SET).and_then(|mut set| set.execute(row)).map(drop).map_err(not_stored)
}

/// The limits that hold, queues first, by name.
pub(super) fn limits(conn: &Connection) -> rusqlite::Result<Vec<Limited>> {
    let mut read = conn.prepare_cached(LIMITS)?;
    let mut rows = read.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (Some(scope), Some(name)) = (text(row, 0), text(row, 1)) else { continue };
        let scope = if scope == "queue" { Scope::Queue(name) } else { Scope::Kind(name) };
        let limits = Limits { max_running: number(row, 2), rate: rate(row, 3) };
        let edited_at = row.get::<_, Option<i64>>(6)?.map(Timestamp::clamped);
        found.push(Limited { scope, limits, edited_at });
    }
    found.sort_by(|one, other| one.scope.cmp(&other.scope));
    Ok(found)
}

/// Reads a row of [`RULES`]: its scope, its name, and what holds.
fn scoped(row: &Row<'_>) -> rusqlite::Result<(String, String, Rule)> {
    Ok((row.get(0)?, row.get(1)?, rule(row)?))
}

/// A number or a rate that is not in its range is none.
fn rule(row: &Row<'_>) -> rusqlite::Result<Rule> {
    let moment = |at| row.get::<_, Option<i64>>(at).map(|ms| ms.map(Timestamp::clamped));
    Ok(Rule {
        paused_at: moment(2)?,
        max_running: number(row, 3),
        rate: rate(row, 4),
        next_at: row.get(7)?,
        closed_until: moment(8)?,
        edited_at: None,
    })
}

/// A rate as it stands in the file, in three columns from this one on.
fn rate(row: &Row<'_>, first: usize) -> Option<Rate> {
    let period_ms = row.get::<_, Option<i64>>(first + 1).ok().flatten()?;
    let period = Duration::from_millis(u64::try_from(period_ms).ok()?);
    let burst = number(row, first + 2).unwrap_or(1);
    Rate::per(number(row, first)?, period).burst(burst).check().ok()
}

fn number(row: &Row<'_>, column: usize) -> Option<u32> {
    row.get(column).ok().flatten()
}
