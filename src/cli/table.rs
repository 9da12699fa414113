//! Operate: tables for people: as wide as they need to be, and no wider than the terminal. What does not fit side by
//! side stands one below the other.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::shown::text::line;
use crate::state::State;

/// Between two columns.
const GAP: usize = 2;
/// The last column is cut down to this before rows are stacked.
const LAST_MIN: usize = 16;
/// No terminal is taken for narrower.
const WIDTH_MIN: usize = 20;

/// One value of a row: inert, and on one line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { text: line(text.as_ref()), ..Self::default() }
    }

    /// A number stands at the right.
    pub(crate) fn number(number: impl Display + Copy) -> Self {
        Self::new(number.to_string()).right()
    }

    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// Nothing where there is nothing.
    pub(crate) fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(Self::default, Self::new)
    }

    pub(crate) fn state(state: State) -> Self {
        Self::new(state.as_str()).styled(style_of(state))
    }

    pub(crate) fn styled(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    fn width(&self) -> usize {
        self.text.width()
    }

    /// With blanks up to this width, unless it is the last of its line.
    fn padded(&self, width: usize, is_last: bool) -> String {
        let (text, style) = (&self.text, self.style);
        let blanks = " ".repeat(width.saturating_sub(self.width()));
        let shown = format!("{style}{text}{style:#}");
        match (self.right, is_last) {
            (true, _) => format!("{blanks}{shown}"),
            (false, true) => shown,
            (false, false) => format!("{shown}{blanks}"),
        }
    }
}

pub(crate) fn style_of(state: State) -> Style {
    let color = match state {
        State::Succeeded => AnsiColor::Green,
        State::Failed => AnsiColor::Red,
        State::Running => AnsiColor::Cyan,
        State::Ready => AnsiColor::Blue,
        State::Scheduled | State::Waiting => AnsiColor::Yellow,
        State::Cancelled | State::Skipped => AnsiColor::BrightBlack,
    };
    color.on_default()
}

/// What needs somebody.
pub(crate) const ALERT: Style = AnsiColor::Red.on_default();
/// What stands above columns and beside values.
pub(crate) const HEAD: Style = Style::new().bold();

/// Rows of the same columns.
#[derive(Debug, Default)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(heads: impl IntoIterator<Item = &'static str>) -> Self {
        Self { heads: heads.into_iter().collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its lines; `width` is that of the terminal, if there is one.
    pub(crate) fn text(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.width()).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell.width());
            }
        }
        let Some(most) = width.map(|width| width.max(WIDTH_MIN)) else {
            return self.columns(&widths);
        };
        let needed = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let over = needed.saturating_sub(most);
        match widths.last_mut() {
            Some(last) if over > 0 && last.saturating_sub(over) >= LAST_MIN => *last -= over,
            _ if over > 0 => return self.stacked(most),
            _ => {}
        }
        self.columns(&widths)
    }

    fn columns(&self, widths: &[usize]) -> String {
        let gap = " ".repeat(GAP);
        let line = |cells: &[Cell]| {
            let shown = cells.iter().zip(widths).enumerate().map(|(at, (cell, width))| {
                cut(cell, *width).padded(*width, at + 1 == widths.len())
            });
            let line = shown.collect::<Vec<_>>().join(&gap);
            format!("{}\n", line.trim_end())
        };
        let right = |at: usize| self.rows.iter().any(|row| row.get(at).is_some_and(|c| c.right));
        let heads = self.heads.iter().enumerate().map(|(at, head)| Cell {
            text: (*head).to_owned(),
            style: HEAD,
            right: right(at),
        });
        let heads: Vec<Cell> = heads.collect();
        let rows = self.rows.iter().map(|row| line(row));
        std::iter::once(line(&heads)).chain(rows).collect()
    }

    /// One row below the other, a line for each value that there is.
    fn stacked(&self, width: usize) -> String {
        let blocks = self.rows.iter().map(|row| {
            let values = self.heads.iter().zip(row).filter(|(_, cell)| !cell.text.is_empty());
            pairs(values.map(|(head, cell)| (*head, cell.clone())), Some(width))
        });
        blocks.collect::<Vec<_>>().join("\n")
    }
}

/// A cell that is no wider, with a mark where it was cut.
fn cut(cell: &Cell, width: usize) -> Cell {
    if cell.width() <= width {
        return cell.clone();
    }
    let mut text = String::new();
    for letter in cell.text.chars() {
        text.push(letter);
        if text.width() >= width {
            text.pop();
            break;
        }
    }
    text.push('…');
    Cell { text, ..cell.clone() }
}

/// Names and values, a line each; long values go on below.
pub(crate) fn pairs<'a>(
    pairs: impl IntoIterator<Item = (&'a str, Cell)>,
    width: Option<usize>,
) -> String {
    let pairs: Vec<(&str, Cell)> = pairs.into_iter().collect();
    let names = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let most = width.map(|width| width.max(WIDTH_MIN).saturating_sub(names + GAP).max(1));
    let mut shown = String::new();
    for (name, cell) in pairs {
        let name = Cell { text: name.to_owned(), style: HEAD, right: false };
        let mut before = name.padded(names + GAP, false);
        for part in wrapped(&cell.text, most) {
            let part = Cell { text: part, style: cell.style, right: false };
            shown.push_str(format!("{before}{}", part.padded(0, true)).trim_end());
            shown.push('\n');
            before = " ".repeat(names + GAP);
        }
    }
    shown
}

/// A text in lines of at most this width, broken between words where that goes.
pub(crate) fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest = word;
        loop {
            let last = lines.last_mut().expect("there is always one");
            let blank = usize::from(!last.is_empty());
            if last.width() + blank + rest.width() <= width {
                last.push_str(&" "[..blank]);
                last.push_str(rest);
                break;
            }
            if !last.is_empty() {
                lines.push(String::new());
                continue;
            }
            let end = fitting(rest, width);
            last.push_str(&rest[..end]);
            rest = &rest[end..];
            lines.push(String::new());
        }
    }
    if lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// How many bytes of it fit; at least one character.
fn fitting(text: &str, width: usize) -> usize {
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let mut best = text.chars().next().map_or(0, char::len_utf8);
    for end in ends {
        if text[..end].width() > width {
            break;
        }
        best = best.max(end);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn table() -> Table {
        let mut table = Table::new(["ID", "STATE", "COUNT", "ERROR"]);
        table.row([
            Cell::new("7-3k2j1h4g5f6d7"),
            Cell::state(State::Failed),
            Cell::number(12),
            Cell::new("connection refused by\nthe server"),
        ]);
        table.row([Cell::new("8"), Cell::state(State::Ready), Cell::number(7), Cell::default()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        assert_eq!(
            plain(&table().text(None)),
            "ID               STATE   COUNT  ERROR\n\
             7-3k2j1h4g5f6d7  failed     12  connection refused by the server\n\
             8                ready       7\n"
        );
    }

    #[test]
    fn the_last_column_is_cut_first_and_then_rows_are_stacked() {
        let cut = plain(&table().text(Some(54)));
        assert!(cut.contains("12  connection refused by…\n"), "{cut}");
        let stacked = plain(&table().text(Some(40)));
        assert_eq!(
            stacked,
            "ID     7-3k2j1h4g5f6d7\nSTATE  failed\nCOUNT  12\nERROR  connection refused by the server\n\
             \nID     8\nSTATE  ready\nCOUNT  7\n"
        );
        for width in 0..70 {
            let most = width.max(WIDTH_MIN);
            let text = plain(&table().text(Some(width)));
            assert!(text.lines().all(|line| line.width() <= most), "{width}: {text}");
        }
    }

    #[test]
    fn a_word_that_fits_nowhere_is_broken() {
        assert_eq!(wrapped("a bcdefgh i", Some(4)), ["a", "bcde", "fgh", "i"]);
        assert_eq!(wrapped("", Some(4)), [""]);
        assert_eq!(wrapped("日本語", Some(1)), ["日", "本", "語"]);
    }
}
