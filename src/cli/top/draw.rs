//! Operate: `top` on the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState, Tabs, Wrap};

use super::screen::{Above, Screen, Tab};
use crate::cli::table::wrapped;

const HELP: &str = "\
  ← → or Tab     another tab
  j k or ↓ ↑     another row
  h l            a page up or down; g and G: the first and the last row
  Enter          all of one task; Esc goes back
  /              only rows with a text in them; Esc ends that
  x              mark a task, to do something to several
  A              mark all that are listed, or none
  r              retry the marked tasks, or the one you are at
  C              cancel them            Shift is to say
  D              delete them            that you are sure:
  P              pause a queue, or      there is no other
                 let it go on           question
  q              leave";

/// Draws all of it.
pub(super) fn screen(frame: &mut Frame<'_>, screen: &mut Screen) {
    let [tabs, status, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let at = Tab::ALL.iter().position(|tab| *tab == screen.tab);
    let titles = Tab::ALL.iter().map(|tab| tab.title());
    let marked = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(
        Tabs::new(titles).select(at).highlight_style(marked).padding("", "").divider("  "),
        tabs,
    );
    frame.render_widget(Line::from(screen.data.status.as_str()).dim(), status);
    table(frame, screen, body);
    frame.render_widget(below(screen), foot);
    match (&screen.above, &screen.data.detail) {
        (Above::Help, _) => above(frame, "Keys", HELP, 0),
        (Above::Detail(id), Some(text)) => {
            above(frame, &format!("Task {id}"), text, screen.scrolled);
        }
        _ => {}
    }
}

fn table(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    // One line is the head.
    screen.room = usize::from(area.height.saturating_sub(1)).max(1);
    let rows: Vec<_> = screen.rows().collect();
    if rows.is_empty() {
        let text = if screen.filter.is_empty() { "nothing here" } else { "nothing like that" };
        frame.render_widget(Line::from(text).dim().centered(), area);
        return;
    }
    let columns = screen.data.head.len();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        let widest = cells.map(|cell| Line::from(cell.as_str()).width()).max().unwrap_or(0);
        let widest = widest.max(screen.data.head[column].len()).min(40);
        u16::try_from(widest).unwrap_or(40)
    };
    let mut widths: Vec<Constraint> = (0..columns).map(width).map(Constraint::Length).collect();
    if let Some(last) = widths.last_mut() {
        *last = Constraint::Min(4);
    }
    let shown = rows.iter().map(|row| {
        let is_marked =
            matches!(&row.key, super::rows::Key::Task(id) if screen.marked.contains(id));
        let mut style = Style::new();
        if row.alert {
            style = style.red();
        }
        if is_marked {
            style = style.bold().yellow();
        }
        Row::new(row.cells.iter().map(String::as_str)).style(style)
    });
    let head = Row::new(screen.data.head.iter().copied()).bold();
    let pointed = Style::new().add_modifier(Modifier::REVERSED);
    let table = Table::new(shown, widths).header(head).row_highlight_style(pointed);
    let mut state = TableState::new().with_selected(screen.row);
    frame.render_stateful_widget(table, area, &mut state);
}

fn below(screen: &Screen) -> Line<'_> {
    if screen.is_writing {
        return Line::from(format!("/{}▏", screen.filter));
    }
    if !screen.told.is_empty() {
        return Line::from(screen.told.as_str()).yellow();
    }
    let mut told = vec!["? keys".to_owned(), "q leave".to_owned()];
    if !screen.filter.is_empty() {
        told.push(format!("only {:?}", screen.filter));
    }
    if !screen.marked.is_empty() {
        told.push(format!("{} marked", screen.marked.len()));
    }
    if screen.data.more {
        told.push("there are more than are shown".to_owned());
    }
    Line::from(told.join("  ")).dim()
}

/// Something that lies above the rest, with a margin where there is room for one.
fn above(frame: &mut Frame<'_>, title: &str, text: &str, scrolled: u16) {
    let whole = frame.area();
    let margin = |length: u16| if length > 60 { 2 } else { 0 };
    let (wide, high) = (margin(whole.width), u16::from(whole.height > 12));
    let width = whole.width - 2 * wide;
    // No higher than its text and the frame around it.
    let within = Some(usize::from(width.saturating_sub(2)));
    let lines: usize = text.lines().map(|line| wrapped(line, within).len()).sum();
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX).min(whole.height - 2 * high);
    let area = Rect { x: whole.x + wide, y: whole.y + high, width, height };
    let text = Paragraph::new(Text::from(text.to_owned()))
        .wrap(Wrap { trim: false })
        .scroll((scrolled, 0))
        .block(Block::bordered().title(title.to_owned()));
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}
