//! Watch: charts, drawn by the server as SVG without styles, each with its numbers as a table.
//!
//! All looks are in the style sheet: nothing here has a colour.

use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use super::text::exact;
use crate::counters::{Bucket, Counts, Histogram};
use crate::time::Timestamp;
use crate::web::words::grouped;

/// The drawing's own units: where it begins at the left, ends at the right, at its foot and at its top.
const LEFT: u64 = 44;
const RIGHT: u64 = 540;
const FOOT: u64 = 140;
const TOP: u64 = 20;
const HEIGHT: u64 = FOOT - TOP;

/// How far back charts look, and in which steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) word: &'static str,
    pub(crate) name: &'static str,
    pub(crate) length: Duration,
    pub(crate) step: Duration,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

impl Span {
    pub(crate) const ALL: [Self; 4] = [
        Self { word: "1h", name: "1 hour", length: minutes(60), step: minutes(1) },
        Self { word: "6h", name: "6 hours", length: minutes(360), step: minutes(5) },
        Self { word: "24h", name: "24 hours", length: minutes(1_440), step: minutes(20) },
        Self { word: "7d", name: "7 days", length: minutes(10_080), step: minutes(120) },
    ];

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.word == word)
    }

    /// A moment at the foot of a chart.
    fn label(self, at: Timestamp) -> String {
        let form = if self.length > minutes(1_440) { "%b %d %H:%M" } else { "%H:%M" };
        at.to_chrono().format(form).to_string()
    }
}

/// A rectangle, with what it stands for.
struct Bar {
    class: &'static str,
    x: u64,
    y: u64,
    width: u64,
    height: u64,
    told: String,
}

/// A line, in pieces where something is missing.
struct Line {
    class: &'static str,
    path: String,
}

/// A text at an axis.
struct Mark {
    at: u64,
    text: String,
    class: &'static str,
}

/// One chart.
#[derive(Template)]
#[template(path = "operator/chart.html")]
pub(crate) struct Chart {
    id: &'static str,
    title: &'static str,
    /// What it shows, as a sentence.
    told: String,
    heights: Vec<Mark>,
    feet: Vec<Mark>,
    legend: &'static [(&'static str, &'static str)],
    bars: Vec<Bar>,
    lines: Vec<Line>,
    columns: &'static [&'static str],
    rows: Vec<(String, Vec<String>)>,
}

impl HtmlSafe for Chart {}

/// Where the nth of so many begins.
fn left(number: usize, count: usize) -> u64 {
    let part = (number as u64).saturating_mul(RIGHT - LEFT).checked_div(count as u64);
    LEFT + part.unwrap_or_default()
}

/// How high a number is, where `most` is as high as the drawing; what is more than nothing is seen.
fn high(number: u64, most: u64) -> u64 {
    let high = u128::from(number) * u128::from(HEIGHT) / u128::from(most.max(1));
    u64::try_from(high).unwrap_or(HEIGHT).max(u64::from(number > 0)).min(HEIGHT)
}

/// The least number that is not smaller and has three equal parts that are easy to read.
fn ceiling(most: u64) -> u64 {
    let mut scale = 1_u64;
    while scale < u64::MAX / 100 {
        if let Some(fit) =
            [3, 6, 9, 12, 15].iter().map(|part| part * scale).find(|fit| *fit >= most)
        {
            return fit;
        }
        scale *= 10;
    }
    u64::MAX
}

/// What the lines across the drawing stand for.
fn heights(most: u64, text: impl Fn(u64) -> String) -> Vec<Mark> {
    let parts = 1..=3;
    let mark =
        |part| Mark { at: FOOT - HEIGHT / 3 * part, text: text(most / 3 * part), class: "lw-end" };
    parts.map(mark).collect()
}

/// The moments at the foot.
fn feet(span: Span, buckets: &[Bucket]) -> Vec<Mark> {
    let last = buckets.len().saturating_sub(1);
    let places = [(0, ""), (last / 2, "lw-middle"), (last, "lw-end")];
    let marks = places.iter().filter_map(|(number, class)| {
        let at = match *class {
            "" => LEFT,
            "lw-end" => RIGHT,
            _ => left(*number, buckets.len()),
        };
        Some(Mark { at, text: span.label(buckets.get(*number)?.at), class })
    });
    marks.collect()
}

/// Tasks that came, step by step.
pub(crate) fn arrivals(span: Span, buckets: &[Bucket]) -> Chart {
    let parts = |counts: &Counts| vec![counts.enqueued];
    let names = ("arrivals", "Enqueued");
    stacked(names, span, buckets, &[("lw-s-busy", "enqueued")], &["Enqueued"], parts)
}

/// Tasks that have ended, step by step.
pub(crate) fn throughput(span: Span, buckets: &[Bucket]) -> Chart {
    let parts =
        |counts: &Counts| vec![counts.succeeded, counts.failed, counts.cancelled + counts.skipped];
    let legend = &[
        ("lw-s-good", "succeeded"),
        ("lw-s-bad", "failed"),
        ("lw-s-idle", "cancelled or skipped"),
    ];
    let columns = &["Succeeded", "Failed", "Cancelled or skipped"];
    stacked(("throughput", "Ended"), span, buckets, legend, columns, parts)
}

/// Numbers as bars that stand on each other.
fn stacked(
    (id, title): (&'static str, &'static str),
    span: Span,
    buckets: &[Bucket],
    legend: &'static [(&'static str, &'static str)],
    columns: &'static [&'static str],
    parts: impl Fn(&Counts) -> Vec<u64>,
) -> Chart {
    let parts: Vec<Vec<u64>> = buckets.iter().map(|bucket| parts(&bucket.counts)).collect();
    let most = ceiling(parts.iter().map(|parts| parts.iter().sum()).max().unwrap_or(0));
    let said = |numbers: &[u64]| {
        let each = numbers.iter().zip(legend);
        let each = each.map(|(number, (_, word))| format!("{} {word}", grouped(*number)));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut bars = Vec::new();
    for (number, (bucket, parts)) in buckets.iter().zip(&parts).enumerate() {
        let (x, next) = (left(number, buckets.len()), left(number + 1, buckets.len()));
        let told = format!("{}: {}", span.label(bucket.at), said(parts));
        let mut foot = FOOT;
        for ((class, _), part) in legend.iter().zip(parts).filter(|(_, part)| **part > 0) {
            let height = high(*part, most).min(foot - TOP);
            foot -= height;
            let width = (next - x).saturating_sub(2).max(1);
            bars.push(Bar { class, x, y: foot, width, height, told: told.clone() });
        }
    }
    let sums: Vec<u64> =
        (0..legend.len()).map(|part| parts.iter().map(|parts| parts[part]).sum()).collect();
    let rows = buckets
        .iter()
        .zip(&parts)
        .map(|(bucket, parts)| (span.label(bucket.at), parts.iter().map(grouped).collect()));
    Chart {
        id,
        title,
        told: format!("Tasks in the last {}: {}.", span.name, said(&sums)),
        heights: heights(most, grouped),
        feet: feet(span, buckets),
        legend,
        bars,
        lines: Vec::new(),
        columns,
        rows: rows.collect(),
    }
}

/// How long tasks waited or ran: the middle one, and the longest but for one in twenty.
pub(crate) fn times(
    (id, title, verb): (&'static str, &'static str, &str),
    span: Span,
    buckets: &[Bucket],
    of: impl Fn(&Counts) -> &Histogram,
) -> Chart {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let shares = [("lw-s-busy", 0.5), ("lw-dashed lw-s-warn", 0.95)];
    let values: Vec<Vec<Option<Duration>>> = shares
        .iter()
        .map(|(_, share)| {
            buckets.iter().map(|bucket| of(&bucket.counts).quantile(*share)).collect()
        })
        .collect();
    let most = values.iter().flatten().flatten().max().copied().unwrap_or_default();
    let most = ceiling(micros(most));
    let lines = shares.iter().zip(&values).map(|((class, _), values)| {
        let heights = values.iter().map(|value| value.map(|value| high(micros(value), most)));
        Line { class, path: path(&heights.collect::<Vec<_>>()) }
    });
    let mut all = Counts::default();
    for bucket in buckets {
        all.add(&bucket.counts);
    }
    let all = of(&all);
    let told = match (all.quantile(0.5), all.quantile(0.95)) {
        (Some(median), Some(longest)) => format!(
            "In the last {}, of {} half {verb} {} at most, and 95 % {verb} {} at most.",
            span.name,
            grouped(all.count()),
            exact(median),
            exact(longest)
        ),
        _ => format!("In the last {} there was none.", span.name),
    };
    let rows = buckets.iter().enumerate().map(|(number, bucket)| {
        let cell =
            |values: &Vec<Option<Duration>>| values[number].map_or_else(|| "–".to_owned(), exact);
        (span.label(bucket.at), values.iter().map(cell).collect())
    });
    Chart {
        id,
        title,
        told,
        heights: heights(most, |micros| exact(Duration::from_micros(micros))),
        feet: feet(span, buckets),
        legend: &[("lw-s-busy", "median"), ("lw-s-warn", "95 %")],
        bars: Vec::new(),
        rows: rows.collect(),
        lines: lines.collect(),
        columns: &["Median", "95 %"],
    }
}

/// A line through the middles of its steps; a step by itself is a dash.
fn path(heights: &[Option<u64>]) -> String {
    let mut path = String::new();
    let mut drawn = false;
    for (number, height) in heights.iter().enumerate() {
        let Some(height) = height else {
            drawn = false;
            continue;
        };
        let (from, to) = (left(number, heights.len()), left(number + 1, heights.len()));
        let (x, y) = (u64::midpoint(from, to), FOOT - height);
        let alone = !drawn && heights.get(number + 1).copied().flatten().is_none();
        // Writing to a text cannot fail.
        let _never = match (drawn, alone) {
            (true, _) => write!(path, "L{x} {y}"),
            (false, true) => write!(path, "M{from} {y}L{to} {y}"),
            (false, false) => write!(path, "M{x} {y}"),
        };
        drawn = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_where_nothing_was_counted() {
        assert_eq!(
            path(&[Some(0), Some(60), None, Some(120), None]),
            "M93 140L192 80M341 20L440 20"
        );
        assert_eq!(path(&[None, None]), "");
    }

    #[test]
    fn what_is_more_than_nothing_is_seen() {
        assert_eq!((high(0, 10), high(1, 1_000_000), high(10, 10)), (0, 1, HEIGHT));
        assert_eq!(high(u64::MAX, u64::MAX), HEIGHT);
        assert_eq!(high(5, 0), HEIGHT);
    }

    #[test]
    fn the_top_of_a_chart_has_three_equal_parts() {
        for (most, top) in [(0, 3), (3, 3), (4, 6), (16, 30), (61, 90), (1_000, 1_200)] {
            assert_eq!(ceiling(most), top, "{most}");
        }
        assert!(ceiling(u64::MAX) >= u64::MAX / 2);
    }

    #[test]
    fn bars_stand_on_each_other_and_stay_within_the_drawing() {
        let mut buckets: Vec<Bucket> = (0..7).map(|_| Bucket::default()).collect();
        buckets[3].counts.succeeded = 1_000_000;
        buckets[3].counts.failed = 1;
        buckets[6].counts.cancelled = 2;
        let chart = throughput(Span::ALL[0], &buckets);
        assert_eq!(chart.bars.len(), 3);
        assert!(
            chart.bars.iter().all(|bar| bar.y >= TOP
                && bar.y + bar.height <= FOOT
                && bar.x + bar.width <= RIGHT)
        );
        let shown = chart.to_string();
        assert!(
            shown.contains("1,000,000 succeeded, 1 failed, 2 cancelled or skipped")
                && !shown.contains("style")
        );
    }
}
