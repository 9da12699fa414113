//! Run: what tasks say while they run: how far they have come, and lines of their log.

use std::collections::{BTreeMap, VecDeque};

use super::{Book, Memory};
use crate::error::Error;
use crate::id::TaskId;
use crate::progress::{LOG_LINES_MAX, LogLine, Progress};
use crate::record::Said;
use crate::telling::Telling;
use crate::time::Timestamp;

/// What a task has said.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    progress: Option<Progress>,
    /// By attempt and number.
    log: BTreeMap<(u32, u64), LogLine>,
}

impl Telling for Memory {
    fn tell(&self, now: Timestamp, said: &[Said]) -> Result<(), Error> {
        self.with(|book| {
            for one in said {
                let held = |task: &super::Task| task.is_held_by(one.lease);
                if book.tasks.get(&one.lease.row).is_some_and(held) {
                    book.keep_said(now, one);
                }
            }
        });
        Ok(())
    }

    fn progress(&self, id: TaskId) -> Result<Option<Progress>, Error> {
        Ok(self.with(|book| book.by_id(id).and_then(|task| task.told.progress.clone())))
    }

    fn log(&self, id: TaskId, most: usize) -> Result<Vec<LogLine>, Error> {
        Ok(self.with(|book| {
            let lines = book.by_id(id).into_iter().flat_map(|task| task.told.log.values());
            let mut newest: Vec<LogLine> = lines.rev().take(most).cloned().collect();
            newest.reverse();
            newest
        }))
    }
}

impl Book {
    /// Keeps what an attempt has said that holds its task, or ends it in this call.
    pub(super) fn keep_said(&mut self, now: Timestamp, said: &Said) {
        let row = said.lease.row;
        if let Some(progress) = &said.progress {
            self.put_progress(now, row, progress);
        }
        // What is said stands in no index, so none has to be told.
        if let Some(task) = self.tasks.get_mut(&row) {
            task.told.add(&said.lines);
        }
        self.effects.told.push(row);
    }

    /// Notes of a new task how many steps it will have.
    pub(super) fn expect_steps(&mut self, now: Timestamp, row: i64, steps: u64) {
        let progress = Progress { total: Some(steps), told_at: now, ..Progress::default() };
        self.put_progress(now, row, &progress);
    }

    fn put_progress(&mut self, now: Timestamp, row: i64, progress: &Progress) {
        let Some(task) = self.tasks.get_mut(&row) else { return };
        let batch = task.record.batch;
        let before = task.told.put(progress);
        let Some(batch) = batch.and_then(|batch| self.tasks.get_mut(&batch.row())) else { return };
        let more = |new: u64, old: u64| i128::from(new) - i128::from(old);
        let done = more(progress.done, before.done);
        let total = more(progress.total.unwrap_or(0), before.total.unwrap_or(0));
        if done != 0 || total != 0 {
            batch.told.add_steps(now, done, total);
            self.effects.told.push(batch.record.id.row());
        }
    }
}

impl Told {
    /// Puts this in the place of what was there, and returns that.
    fn put(&mut self, progress: &Progress) -> Progress {
        let before = self.progress.take().unwrap_or_default();
        self.progress = Some(Progress { revision: before.revision + 1, ..progress.clone() });
        before
    }

    fn add_steps(&mut self, now: Timestamp, done: i128, total: i128) {
        let added = |count: u64, more: i128| {
            u64::try_from((i128::from(count) + more).max(0)).unwrap_or(u64::MAX)
        };
        let sum = self.progress.get_or_insert_default();
        sum.revision += 1;
        sum.done = added(sum.done, done);
        sum.total = Some(added(sum.total.unwrap_or(0), total));
        sum.told_at = sum.told_at.max(now);
    }

    fn add(&mut self, lines: &VecDeque<LogLine>) {
        for line in lines {
            // What is sent again is there already.
            self.log.entry((line.attempt, line.number)).or_insert_with(|| line.clone());
        }
        let Some(newest) = lines.back() else { return };
        let gone = newest.number.saturating_sub(LOG_LINES_MAX as u64);
        self.log.retain(|(attempt, number), _| *attempt != newest.attempt || *number > gone);
    }
}
