//! Enqueue: what is known of a task that was stored, to those who listen and to whoever has sent it.

use std::sync::Arc;

use super::enqueue::{Fate, Insert, Start};
use crate::error::Error;
use crate::event::{About, Event};
use crate::id::TaskId;
use crate::record::{Claimed, Lease, Stored};

impl Insert {
    /// Notes for those who listen that it was stored: before the write connection is let go, so before
    /// anybody of this process can claim it.
    pub(super) fn note_stored(&self) {
        let (Some(ledger), Fate::Placed(placed)) = (&self.task.ledger, &self.fate) else { return };
        let task = &self.task;
        let about = About {
            kind: Arc::clone(&task.kind),
            queue: Arc::clone(&task.queue),
            trace: task.trace.clone(),
        };
        let id = TaskId::new(placed.row, placed.tag);
        ledger.note(Event::enqueued(id, &about, placed.start.state(), task.due_at, self.now));
    }

    /// Its id, if it was not there before.
    pub(super) fn new_id(&self) -> Option<TaskId> {
        match self.fate {
            Fate::Placed(placed) => Some(TaskId::new(placed.row, placed.tag)),
            _ => None,
        }
    }

    /// What this transaction has made of it, where nobody was offered.
    pub(super) fn as_stored(&mut self) -> Result<Stored, Error> {
        if let Some(refusal) = self.take_refusal() {
            return Err(refusal);
        }
        match &self.fate {
            Fate::Existing(stored) => Ok(stored.clone()),
            Fate::Placed(placed) => {
                let id = TaskId::new(placed.row, placed.tag);
                let (state, due_at) = (placed.start.state().0, self.task.due_at);
                Ok(Stored { id, state, due_at, existing: false, claimed: None })
            }
            Fate::Open | Fate::Refused(_) => Err(Error::Closed),
        }
    }

    /// The answer, once the transaction is committed.
    pub(super) fn into_stored(self) -> Result<Stored, Error> {
        let placed = match self.fate {
            Fate::Placed(placed) => placed,
            Fate::Existing(stored) => return Ok(stored),
            Fate::Refused(error) => return Err(error),
            Fate::Open => {
                let reason = "its transaction ended before it".to_owned();
                return Err(Error::NotStored { reason, source: None });
            }
        };
        let task = self.task;
        let id = TaskId::new(placed.row, placed.tag);
        let (state, _) = placed.start.state();
        let due_at = task.due_at;
        let claimed = match placed.start {
            Start::HandedOver { owner, fence } => {
                let mut extra = task.extra;
                if let Some(extra) = &mut extra {
                    extra.fence = fence;
                }
                Some(Claimed {
                    lease: Lease { row: placed.row, attempt: 1, owner },
                    id,
                    kind: task.kind,
                    queue: task.queue,
                    rank: placed.rank,
                    priority: task.priority,
                    attempts_max: task.attempts_max,
                    crashes: 0,
                    at_most_once: task.at_most_once,
                    started_at: self.now,
                    trace: task.trace,
                    options: task.options,
                    arguments: task.arguments,
                    extra,
                })
            }
            _ => None,
        };
        Ok(Stored { id, state, due_at, existing: false, claimed })
    }
}
