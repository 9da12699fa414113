//! Operate: the rows of a benchmark: as one document, which a later run can be compared with, and as tables for people.

use serde::{Deserialize, Serialize};

use super::machine::{Machine, Sync};
use super::stats::{Interval, Pair, bootstrap, median, median_ratio, number};
use crate::cli::table::{Cell, Table, pairs};
use crate::options::Durability;
use crate::time::Timestamp;

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) schema: u8,
    pub(super) measured_at: Timestamp,
    pub(super) litework: String,
    pub(super) sqlite: String,
    pub(super) machine: Machine,
    pub(super) durability: Durability,
    /// Microseconds.
    pub(super) sync_us: Sync,
    /// Nothing was measured; it was only shown that it works.
    pub(super) quick: bool,
    pub(super) rows: Vec<Row>,
    /// What could not be measured here, and why.
    pub(super) skipped: Vec<Skipped>,
}

/// What a row is measured in, which also says whether more or less of it is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unit {
    #[serde(rename = "tasks/s")]
    TasksPerSecond,
    #[serde(rename = "us")]
    Microseconds,
}

impl Unit {
    pub(super) fn more_is_better(self) -> bool {
        self == Self::TasksPerSecond
    }

    /// What stands above rows of it.
    fn head(self) -> &'static str {
        match self {
            Self::TasksPerSecond => "TASKS A SECOND",
            Self::Microseconds => "MICROSECONDS",
        }
    }
}

/// Medians of blocks, and the ends of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// The median of the ratios of pairs of blocks, and the interval that holds it at 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) blocks: usize,
    pub(super) litework: Spread,
    /// The limit: a loop by hand.
    pub(super) sqlite: Spread,
    pub(super) ratio: Ratio,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) name: String,
    pub(super) why: String,
}

impl Row {
    pub(super) fn new(name: &str, unit: Unit, blocks: &[Pair]) -> Self {
        let Interval { mid, lo, hi } = bootstrap(blocks, median_ratio);
        Self {
            name: name.to_owned(),
            unit,
            blocks: blocks.len(),
            litework: Spread::of(blocks.iter().map(|block| block.0)),
            sqlite: Spread::of(blocks.iter().map(|block| block.1)),
            ratio: Ratio { median: mid, low: lo, high: hi },
        }
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        Self {
            min: values.clone().fold(f64::INFINITY, f64::min),
            max: values.clone().fold(f64::NEG_INFINITY, f64::max),
            median: median(values),
        }
    }

    fn text(self) -> String {
        format!("{}–{}", brief(self.min), brief(self.max))
    }
}

impl Ratio {
    pub(super) fn text(self) -> String {
        format!("{:.2} [{:.2} {:.2}]", self.median, self.low, self.high)
    }
}

/// Two or three digits that count.
fn brief(value: f64) -> String {
    let (value, unit) = match value {
        999_500.0.. => (value / 1e6, "M"),
        1_000.0.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$}{unit}")
}

impl Report {
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let level = level_word(self.durability);
        let Sync { median, p95 } = self.sync_us;
        let quick = self.quick.then(|| ("quick", "nothing was measured".to_owned()));
        let meaning =
            "litework by SQLite: more is better where tasks are counted, less where time is";
        let facts = [
            ("litework", format!("{}, SQLite {}, durability {level}", self.litework, self.sqlite)),
            ("machine", self.machine.text()),
            ("sync", format!("4 KiB: median {} µs, p95 {} µs", number(median), number(p95))),
            ("ratio", meaning.to_owned()),
        ];
        let facts = facts.into_iter().chain(quick);
        let mut text = pairs(facts.map(|(name, fact)| (name, Cell::new(fact))), width);
        for unit in [Unit::TasksPerSecond, Unit::Microseconds] {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.unit == unit).collect();
            if !rows.is_empty() {
                text.push('\n');
                text.push_str(&table(unit, &rows).text(width));
            }
        }
        text
    }
}

fn table(unit: Unit, rows: &[&Row]) -> Table {
    let heads = ["LITEWORK", "MIN–MAX", "SQLITE", "MIN–MAX", "RATIO [95 %]"];
    let mut table = Table::new(std::iter::once(unit.head()).chain(heads));
    for row in rows {
        table.row([
            Cell::new(&row.name),
            Cell::number(&*number(row.litework.median)),
            Cell::number(&*row.litework.text()),
            Cell::number(&*number(row.sqlite.median)),
            Cell::number(&*row.sqlite.text()),
            Cell::new(row.ratio.text()),
        ]);
    }
    table
}

/// The word of a level, as on the command line.
pub(super) fn level_word(level: Durability) -> &'static str {
    match level {
        Durability::Normal => "normal",
        Durability::Full => "full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_ends_and_the_ratio_of_pairs() {
        let blocks = [(90.0, 100.0), (110.0, 100.0), (100.0, 100.0)];
        let row = Row::new("drain", Unit::TasksPerSecond, &blocks);
        assert_eq!(row.litework, Spread { median: 100.0, min: 90.0, max: 110.0 });
        assert_eq!((row.ratio.median, row.ratio.low, row.ratio.high), (1.0, 0.9, 1.1));
        assert_eq!(row.ratio.text(), "1.00 [0.90 1.10]");
    }

    #[test]
    fn what_is_brief_keeps_the_digits_that_count() {
        let texts = [0.97, 9.94, 9.96, 85.3, 999.4, 1_234.0, 65_432.0, 412_345.0, 999_600.0];
        let texts = texts.map(brief);
        assert_eq!(texts, ["1.0", "9.9", "10", "85", "999", "1.2k", "65k", "412k", "1.0M"]);
    }

    #[test]
    fn the_longest_row_fits_into_80_columns() {
        let blocks = [(1_234.0, 1_234.0), (9_876.0, 9_876.0), (5_432.0, 5_432.0)];
        let row = Row::new("latency_in_process_p95", Unit::Microseconds, &blocks);
        let text = table(Unit::Microseconds, &[&row]).text(Some(80));
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
