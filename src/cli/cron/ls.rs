//! Watch: lists schedules.

use clap::Args;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::say::ago;
use crate::cli::table::{ALERT, Cell, Table};
use crate::schedule::ScheduleState;
use crate::shown::schedules::ScheduleView;
use crate::time::Timestamp;

/// Schedules that are read at once.
const PAGE: usize = 1_000;

/// Lists schedules by name: when each fires next, and what became of its last slot
#[derive(Debug, Args)]
pub(crate) struct Ls {}

impl Verb for Ls {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let now = client.now();
        let (mut views, mut after) = (Vec::new(), String::new());
        loop {
            let page = client.schedules().list(&after, PAGE)?;
            views.extend(page.iter().map(|record| ScheduleView::of(&client, record, now)));
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => break,
            }
        }
        console.say.list(&views, &[], |width| table(&views, now).text(width))?;
        Ok(Code::Ok)
    }
}

fn table(views: &[ScheduleView], now: Timestamp) -> Table {
    let mut table = Table::new(["NAME", "STATE", "NEXT", "LAST", "KIND", "WHEN"]);
    for view in views {
        let state = if view.overdue { "overdue".to_owned() } else { view.state.to_string() };
        let state = Cell::new(state);
        let is_good = view.state == ScheduleState::Active && !view.overdue;
        let last = view.last.as_ref().map(|last| {
            let state = last.state.map(|state| format!(" {state}")).unwrap_or_default();
            format!("{}{state}", ago(last.fired_at, now))
        });
        table.row([
            Cell::new(&view.name),
            if is_good { state } else { state.styled(ALERT) },
            Cell::maybe(view.next_at.map(|at| ago(at, now))),
            Cell::maybe(last),
            Cell::new(&view.kind),
            Cell::maybe(view.timing_text.as_ref()),
        ]);
    }
    table
}
