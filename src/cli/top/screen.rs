//! Operate: what `top` shows, and what keys do to it. A capital letter cannot be taken back: Shift says "I am sure".

use std::collections::BTreeSet;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::{Data, Key, Row};
use crate::client::Client;
use crate::doing::Doing;
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::rule::Scope;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Running,
    Queued,
    Scheduled,
    Retrying,
    Failed,
    Workers,
    Schedules,
}

impl Tab {
    pub(super) const ALL: [Self; 8] = [
        Self::Overview,
        Self::Running,
        Self::Queued,
        Self::Scheduled,
        Self::Retrying,
        Self::Failed,
        Self::Workers,
        Self::Schedules,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Running => "Running",
            Self::Queued => "Queued",
            Self::Scheduled => "Scheduled",
            Self::Retrying => "Retrying",
            Self::Failed => "Failed",
            Self::Workers => "Workers",
            Self::Schedules => "Schedules",
        }
    }

    fn moved(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    /// The file is to be looked at again, now.
    Look,
    Leave,
    Do(Deed),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Tasks(Doing, Vec<TaskId>),
    /// Pauses it, or lets it go on.
    Queue {
        name: String,
        pause: bool,
    },
}

impl Deed {
    /// What it came to, in words.
    pub(super) fn done(self, client: &Client) -> Result<String, Error> {
        match self {
            Self::Tasks(doing, ids) => {
                let filter = ids.into_iter().fold(Filter::new(), Filter::id);
                let Some(filter) = doing.narrowed(&filter) else { return Ok(String::new()) };
                let came = doing.act(client.bulk(&filter), client.now())?;
                let mut told = vec![format!("{} {}", came.done, doing.done())];
                if came.asked > 0 {
                    told.push(format!("{} asked to stop", came.asked));
                }
                if came.left > 0 {
                    told.push(format!("{} left as they are", came.left));
                }
                Ok(told.join(", "))
            }
            Self::Queue { name, pause: true } => {
                client.pause(&Scope::queue(&name))?;
                Ok(format!("queue {name} is paused"))
            }
            Self::Queue { name, pause: false } => {
                client.resume(&Scope::queue(&name))?;
                Ok(format!("queue {name} goes on"))
            }
        }
    }
}

/// What lies above the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Above {
    Nothing,
    Help,
    /// All of one task.
    Detail(TaskId),
}

#[derive(Debug)]
pub(super) struct Screen {
    pub(super) tab: Tab,
    pub(super) above: Above,
    pub(super) data: Data,
    /// The row that is pointed at.
    pub(super) row: usize,
    /// Lines of a detail that have gone by.
    pub(super) scrolled: u16,
    /// Tasks that are marked.
    pub(super) marked: BTreeSet<TaskId>,
    /// Only rows with this text in them.
    pub(super) filter: String,
    /// That text is being written.
    pub(super) is_writing: bool,
    /// What was told last.
    pub(super) told: String,
    /// Rows that there is room for, as it was drawn last.
    pub(super) room: usize,
    may_act: bool,
}

impl Screen {
    pub(super) fn new(may_act: bool) -> Self {
        Self {
            tab: Tab::Overview,
            above: Above::Nothing,
            data: Data::default(),
            row: 0,
            scrolled: 0,
            marked: BTreeSet::new(),
            filter: String::new(),
            is_writing: false,
            told: String::new(),
            room: 1,
            may_act,
        }
    }

    /// Shows what was read; whether it differs from what is shown.
    pub(super) fn take(&mut self, data: Data) -> bool {
        let is_new = self.data != data;
        let pointed = self.pointed().cloned();
        self.data = data;
        // Who points at a task goes on pointing at it, wherever it stands now.
        let again = pointed.and_then(|key| self.rows().position(|row| row.key.is_of(&key)));
        let last = self.rows().count().saturating_sub(1);
        self.row = again.unwrap_or_else(|| self.row.min(last));
        is_new
    }

    /// Tells something below the lists.
    pub(super) fn tell(&mut self, text: String) -> bool {
        let is_new = self.told != text;
        self.told = text;
        is_new
    }

    /// The rows that pass the filter.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        let wanted = self.filter.to_lowercase();
        let passes = move |row: &&Row| {
            wanted.is_empty() || row.cells.iter().any(|cell| cell.to_lowercase().contains(&wanted))
        };
        self.data.rows.iter().filter(passes)
    }

    fn pointed(&self) -> Option<&Key> {
        self.rows().nth(self.row).map(|row| &row.key)
    }

    /// The marked tasks, else the one that is pointed at.
    fn meant(&self) -> Vec<TaskId> {
        if let Above::Detail(id) = self.above {
            return vec![id];
        }
        if !self.marked.is_empty() {
            return self.marked.iter().copied().collect();
        }
        match self.pointed() {
            Some(Key::Task(id)) => vec![*id],
            _ => Vec::new(),
        }
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Next::Leave } else { Next::Stay };
        }
        if self.is_writing {
            self.write(key.code);
            return Next::Stay;
        }
        self.told.clear();
        match key.code {
            KeyCode::Char('q') => Next::Leave,
            KeyCode::Esc => self.back(),
            KeyCode::Char('?') => self.lay(Above::Help),
            KeyCode::Char('/') if self.above == Above::Nothing => {
                self.is_writing = true;
                Next::Stay
            }
            KeyCode::Right | KeyCode::Tab => self.go(1),
            KeyCode::Left | KeyCode::BackTab => self.go(Tab::ALL.len() - 1),
            KeyCode::Char('j') | KeyCode::Down => self.step(1),
            KeyCode::Char('k') | KeyCode::Up => self.step(-1),
            KeyCode::Char('l') | KeyCode::PageDown => self.step(self.page()),
            KeyCode::Char('h') | KeyCode::PageUp => self.step(-self.page()),
            KeyCode::Char('g') | KeyCode::Home => self.step(isize::MIN),
            KeyCode::Char('G') | KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => match self.pointed() {
                Some(Key::Task(id)) => self.lay(Above::Detail(*id)),
                _ => Next::Stay,
            },
            KeyCode::Char('x' | ' ') => self.mark(),
            KeyCode::Char('A') => self.mark_all(),
            KeyCode::Char('r') => self.act(Doing::Retry),
            KeyCode::Char('C') => self.act(Doing::Cancel),
            KeyCode::Char('D') => self.act(Doing::Delete),
            KeyCode::Char('P') => self.pause(),
            _ => Next::Stay,
        }
    }

    /// A key while the filter is written.
    fn write(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_writing = false,
            KeyCode::Esc => {
                self.is_writing = false;
                self.filter.clear();
            }
            _ => {}
        }
        self.row = 0;
    }

    /// One step back: from what lies above, from what is marked, from the filter.
    fn back(&mut self) -> Next {
        if self.above != Above::Nothing {
            return self.lay(Above::Nothing);
        }
        self.marked.clear();
        self.filter.clear();
        Next::Stay
    }

    fn lay(&mut self, above: Above) -> Next {
        self.scrolled = 0;
        self.above = if self.above == above { Above::Nothing } else { above };
        Next::Look
    }

    fn go(&mut self, by: usize) -> Next {
        self.tab = self.tab.moved(by);
        self.above = Above::Nothing;
        self.data = Data::default();
        self.row = 0;
        self.marked.clear();
        Next::Look
    }

    fn page(&self) -> isize {
        isize::try_from(self.room).unwrap_or(1).max(1)
    }

    fn step(&mut self, by: isize) -> Next {
        if self.above == Above::Nothing {
            let last = self.rows().count().saturating_sub(1);
            self.row = self.row.saturating_add_signed(by).min(last);
        } else {
            let by = i16::try_from(by.clamp(-1_000, 1_000)).unwrap_or(0);
            self.scrolled = self.scrolled.saturating_add_signed(by);
        }
        Next::Stay
    }

    fn mark(&mut self) -> Next {
        if let Some(Key::Task(id)) = self.pointed().cloned() {
            if !self.marked.remove(&id) {
                self.marked.insert(id);
            }
            self.step(1);
        }
        Next::Stay
    }

    /// Marks all rows, or none if all are marked.
    fn mark_all(&mut self) -> Next {
        let tasks = self.rows().filter_map(|row| match row.key {
            Key::Task(id) => Some(id),
            _ => None,
        });
        let tasks: BTreeSet<TaskId> = tasks.collect();
        self.marked = if self.marked == tasks { BTreeSet::new() } else { tasks };
        Next::Stay
    }

    fn may_act(&mut self) -> bool {
        if !self.may_act {
            "only looking is allowed (--read-only)".clone_into(&mut self.told);
        }
        self.may_act
    }

    fn act(&mut self, doing: Doing) -> Next {
        let meant = self.meant();
        if meant.is_empty() || !self.may_act() {
            return Next::Stay;
        }
        self.marked.clear();
        Next::Do(Deed::Tasks(doing, meant))
    }

    fn pause(&mut self) -> Next {
        let Some(Key::Queue { name, paused }) = self.pointed().cloned() else { return Next::Stay };
        if !self.may_act() {
            return Next::Stay;
        }
        Next::Do(Deed::Queue { name, pause: !paused })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Row;
    use super::*;

    fn list(rows: &[i64]) -> Data {
        let key = |row: &i64| format!("{row}-0000000000000").parse().map(Key::Task).expect("an id");
        let row = |at| Row { key: key(at), cells: vec![at.to_string()], alert: false };
        Data { head: vec!["ID"], rows: rows.iter().map(row).collect(), ..Data::default() }
    }

    #[test]
    fn whoever_points_at_a_task_points_at_it_when_others_have_come() {
        let mut screen = Screen::new(true);
        screen.take(list(&[3, 2, 1]));
        screen.step(1);
        screen.take(list(&[5, 4, 3, 2, 1]));
        assert_eq!(screen.meant()[0].row(), 2);
        screen.take(list(&[5, 4, 3]));
        assert_eq!(screen.meant()[0].row(), 3, "it is gone; the row stays where there is one");
        screen.take(list(&[]));
        assert!(screen.meant().is_empty());
    }
}
