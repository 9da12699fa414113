//! Finish: removing what has ended long ago.
//!
//! The newest task stays, so that its number is not given twice.

use super::Book;
use crate::retention::{Ended, Old, Step, Walk};
use crate::time::Timestamp;
use crate::unique::Held;

/// Tasks that one slice looks at.
const SLICE: usize = 1_000;

impl Book {
    pub(super) fn prune(&mut self, walk: &mut Walk) {
        walk.step = match walk.step {
            // Nobody can damage a row here, and there are no pages to give back.
            Step::Inspect { .. } => Step::FIRST,
            Step::Tasks { before } => {
                self.look(walk, before);
                return;
            }
            Step::Artifacts => {
                self.sweep_artifacts(walk.now);
                Step::Done
            }
            Step::Rules if walk.is_dry() => Step::Done,
            Step::Rules => Step::Artifacts,
            Step::Space | Step::Done => Step::Done,
        };
    }

    fn look(&mut self, walk: &mut Walk, (before, row): (i64, i64)) {
        let before = (Timestamp::clamped(before), row);
        let mut seen = 0;
        for (finished_at, row) in self.finished.range(..before).rev().take(SLICE) {
            seen += 1;
            walk.step = Step::Tasks { before: (finished_at.as_millis(), *row) };
            let Some(task) = self.tasks.get(row) else { continue };
            walk.see(Ended {
                row: *row,
                queue: &task.lane.0,
                kind: &task.lane.1,
                state: task.record.state,
                finished_at: *finished_at,
                options: task.options.as_deref(),
            });
        }
        let mut removed = 0_u64;
        while let Some(old) = walk.old.pop_front() {
            if !self.is_free(&old, walk.now) {
                continue;
            }
            walk.count(&old);
            if !walk.is_dry() {
                self.remove(old.row);
                removed += 1;
            }
        }
        self.note_deed(&removed);
        if seen < SLICE {
            walk.step = Step::Rules;
        }
    }

    /// Whether nothing needs it any more.
    fn is_free(&self, old: &Old, now: Timestamp) -> bool {
        let extra = self.tasks.get(&old.row).and_then(|task| task.extra.as_ref());
        let keeps_key = extra.and_then(|extra| extra.ties.unique.as_ref()).is_some_and(|key| {
            matches!(key.held, Held::Until(moment) if moment > now.as_millis())
                && self.ties.kept.unique.get(&key.key) == Some(&old.row)
        });
        let newest = old.row + 1 == self.next_row();
        !keeps_key && !newest && !self.is_needed(old.row)
    }

    fn remove(&mut self, row: i64) {
        let Some(task) = self.tasks.remove(&row) else { return };
        self.index(&task, false);
        self.let_artifacts_go(row);
        self.forget_edges(&task.record);
        if let Some(key) = &task.record.key {
            self.keys.remove(key);
        }
        let unique = task.extra.as_ref().and_then(|extra| extra.ties.unique.as_ref());
        if let Some(unique) =
            unique.filter(|unique| self.ties.kept.unique.get(&unique.key) == Some(&row))
        {
            self.ties.kept.unique.remove(&unique.key);
        }
    }

    pub(super) fn newest_moment(&self) -> Option<Timestamp> {
        let came = self.tasks.last_key_value().map(|(_, task)| task.record.enqueued_at);
        came.max(self.finished.last().map(|(finished_at, _)| *finished_at))
    }
}
