//! Operate: a benchmark beside an earlier one.

use std::path::Path;

use serde::Serialize;

use super::report::{Ratio, Report, Row, level_word};
use crate::cli::table::{ALERT, Cell, Table};
use crate::error::Error;
use crate::shown::task::SCHEMA;
use crate::time::Timestamp;

/// What has changed since.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    /// When the earlier one was measured.
    measured_at: Timestamp,
    /// What else has changed, so that it may be that which the rows show.
    differs: Vec<Difference>,
    rows: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Difference {
    what: &'static str,
    was: String,
    is: String,
}

/// A row that both have.
#[derive(Debug, Serialize)]
struct Change {
    name: String,
    was: Ratio,
    is: Ratio,
    /// The ratio now, by the ratio then.
    ratio: f64,
    /// The same of each side's median.
    litework: f64,
    sqlite: f64,
    /// Whether the intervals do not overlap.
    apart: bool,
    /// Whether litework has come closer to its limit, or is further beyond it.
    better: bool,
}

impl Change {
    fn of(was: &Row, is: &Row) -> Self {
        let (before, now) = (was.ratio, is.ratio);
        let ratio = now.median / before.median;
        Self {
            name: is.name.clone(),
            was: before,
            is: now,
            ratio,
            litework: is.litework.median / was.litework.median,
            sqlite: is.sqlite.median / was.sqlite.median,
            apart: before.high < now.low || now.high < before.low,
            better: (ratio > 1.0) == is.unit.more_is_better(),
        }
    }

    /// What people are to look at.
    fn mark(&self) -> Cell {
        match (self.apart, self.better) {
            (false, _) => Cell::default(),
            (true, true) => Cell::new("better"),
            (true, false) => Cell::new("worse").styled(ALERT),
        }
    }
}

impl Compared {
    pub(super) fn new(was: &Report, is: &Report) -> Self {
        let rows = is.rows.iter().filter_map(|row| {
            let known = was.rows.iter().find(|known| known.name == row.name)?;
            (known.unit == row.unit).then(|| Change::of(known, row))
        });
        Self { measured_at: was.measured_at, differs: differences(was, is), rows: rows.collect() }
    }

    pub(super) fn text(&self, width: Option<usize>) -> String {
        let mut table = Table::new(["SINCE THEN", "WAS [95 %]", "IS [95 %]", "CHANGE", "MARK"]);
        for change in &self.rows {
            table.row([
                Cell::new(&change.name),
                Cell::new(change.was.text()),
                Cell::new(change.is.text()),
                Cell::number(&*format!("{:+.0} %", (change.ratio - 1.0) * 100.0)),
                change.mark(),
            ]);
        }
        let differs = self.differs.iter().map(|Difference { what, was, is }| {
            let (was, is) = (crate::shown::text::line(was), crate::shown::text::line(is));
            format!("{ALERT}!{ALERT:#} {what} differs: it was {was}, and is {is}\n")
        });
        let mut text: String = differs.collect();
        if self.rows.is_empty() {
            text.push_str("no row was measured both times\n");
        } else {
            text.push_str(&table.text(width));
        }
        text
    }
}

fn differences(was: &Report, is: &Report) -> Vec<Difference> {
    let facts = |report: &Report| {
        [
            ("machine", report.machine.text()),
            ("litework", report.litework.clone()),
            ("sqlite", report.sqlite.clone()),
            ("durability", level_word(report.durability).to_owned()),
            ("pace", if report.quick { "quick" } else { "measured" }.to_owned()),
        ]
    };
    let both = facts(was).into_iter().zip(facts(is));
    let differ = both.filter(|((_, was), (_, is))| was != is);
    differ.map(|((what, was), (_, is))| Difference { what, was, is }).collect()
}

/// An earlier run, out of the file that its `--json` was written to.
pub(super) fn read(path: &Path) -> Result<Report, Error> {
    let refused = |why: String| {
        let allowed = format!("what `litework bench --json` has printed: {why}");
        Error::invalid("bad_baseline", "--compare", path.display().to_string(), allowed)
    };
    // It is no queue, and no queue is open.
    let text = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let report: Report =
        serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(refused(format!("its schema is {}, not {SCHEMA}", report.schema)));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::super::report::Unit;
    use super::*;

    fn row(unit: Unit, ours: f64) -> Row {
        let blocks = [(ours * 0.99, 100.0), (ours, 100.0), (ours * 1.01, 100.0)];
        Row::new("drain", unit, &blocks)
    }

    #[test]
    fn rows_are_marked_where_their_intervals_are_apart() {
        let rows = [row(Unit::TasksPerSecond, 100.0), row(Unit::TasksPerSecond, 80.0)];
        let change = Change::of(&rows[0], &rows[1]);
        assert!(change.apart && !change.better && (change.ratio - 0.8).abs() < 1e-9);
        assert!(!Change::of(&rows[0], &rows[0]).apart);
        let rows = [row(Unit::Microseconds, 100.0), row(Unit::Microseconds, 80.0)];
        let change = Change::of(&rows[0], &rows[1]);
        assert!(change.apart && change.better, "less time is better");
    }
}
