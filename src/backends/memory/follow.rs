//! Finish: what follows the end of a task is stored with it.

use std::sync::Arc;

use super::Book;
use crate::event::{EventKind, EventRecord};
use crate::follow::{Follow, event_id, key_prefix, told};
use crate::id::TaskId;
use crate::record::NewTask;
use crate::redact::Veiled;
use crate::state::State;
use crate::time::Timestamp;

impl Book {
    /// Stores what follows a task, if it has ended.
    pub(super) fn follow(&mut self, now: Timestamp, row: i64) {
        let Some(task) = self.tasks.get(&row) else { return };
        let Some(extra) = task.extra.as_ref().filter(|extra| !extra.ties.follow.is_empty()) else {
            return;
        };
        let Some(event) = self.event(row) else { return };
        let trace: Option<Arc<str>> = task.record.trace.as_deref().map(Arc::from);
        let follows: Vec<Follow> =
            extra.ties.follow.iter().filter(|follow| follow.hears(&event)).cloned().collect();
        for follow in &follows {
            self.store_follow(now, follow, &event, trace.clone());
        }
    }

    /// What is told of the end of a task, if it has ended.
    fn event(&self, row: i64) -> Option<EventRecord> {
        let task = self.tasks.get(&row)?;
        let record = &task.record;
        let what =
            EventKind::of(record.state, record.reason).filter(|_| record.state.is_final())?;
        let finished_at = record.finished_at?;
        Some(EventRecord {
            id: event_id(record.id, task.retried),
            what,
            task: record.id,
            kind: record.kind.clone(),
            queue: record.queue.clone(),
            name: record.name.clone(),
            owner: record.owner.clone(),
            state: record.state,
            reason: record.reason,
            attempt: record.attempt,
            finished_at,
            error: task.error_at(finished_at).map(told),
        })
    }

    fn store_follow(
        &mut self,
        now: Timestamp,
        follow: &Follow,
        event: &EventRecord,
        trace: Option<Arc<str>>,
    ) {
        let mut new = NewTask::following(follow, event, trace, now);
        if self.keys.contains_key(&follow.key(event)) {
            return;
        }
        if let Some((key, _)) = follow.summed(&event.kind) {
            if self.is_counted(now, &key) {
                return;
            }
            self.ties.kept.summed.insert(key, self.next_row());
            // Noted above, apart from the keys of calls.
            if let Some(extra) = &mut new.extra {
                extra.claim = None;
            }
        }
        match self.insert(now, new, None, &[]) {
            Ok(stored) => self.may_start |= stored.state == State::Ready,
            Err(error) => {
                let error = Veiled(&error);
                tracing::error!(%error, kind = follow.kind, "what follows a task could not be stored");
            }
        }
    }

    /// Whether one that waits tells of this end too.
    fn is_counted(&mut self, now: Timestamp, key: &str) -> bool {
        let Some(row) = self.ties.kept.summed.get(key).copied() else { return false };
        let waits = |state: State| !state.is_final() && state != State::Running;
        if !self.tasks.get(&row).is_some_and(|task| waits(task.record.state)) {
            return false;
        }
        self.edit(row, |task| {
            let meta = &mut task.record.meta;
            let more = meta.get("more").and_then(serde_json::Value::as_u64).unwrap_or_default();
            meta.insert("more".to_owned(), (more + 1).into());
            meta.entry("since").or_insert_with(|| now.as_millis().into());
        });
        true
    }

    /// Those that follow a task and are ready.
    pub(super) fn ready_after(&self, task: TaskId) -> Vec<TaskId> {
        let prefix = key_prefix(&task.to_string());
        let rows = self.keys.range(prefix.clone()..);
        let rows = rows.take_while(|(key, _)| key.starts_with(&prefix));
        let tasks = rows.filter_map(|(_, row)| self.tasks.get(row)).map(|task| &task.record);
        let mut ready: Vec<TaskId> =
            tasks.filter(|task| task.state == State::Ready).map(|task| task.id).collect();
        ready.sort_by_key(|id| id.row());
        ready
    }
}
