//! Claim: scheduled tasks whose time has come become ready; the best ready tasks become running.
//!
//! A task past its expiry is failed on the spot and costs no attempt.

use std::collections::BTreeSet;

use super::Book;
use super::task::LaneName;
use crate::backend::{Offer, Room};
use crate::id::TaskId;
use crate::record::Claimed;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// How many tasks one exchange promotes at most.
const SLICE: usize = 2_000;
/// And at least.
const SLICE_MIN: usize = 256;

/// What a claimed row turned out to be.
enum Found {
    Task(Box<Claimed>),
    /// Ended without running.
    Ended,
    /// Has crashed a process before, and another such task runs here.
    Suspect,
}

impl Book {
    /// Promotes what is due and returns when the next task is.
    pub(super) fn promote(&mut self, now: Timestamp, offer: &dyn Offer) -> Option<Timestamp> {
        let due = self.scheduled.iter().take_while(|(due_at, _)| *due_at <= now);
        let slice = offer.room().clamp(SLICE_MIN, SLICE);
        let rows: Vec<i64> = due.take(slice).map(|(_, row)| *row).collect();
        for row in rows {
            self.make_ready(row);
        }
        self.scheduled.first().map(|(due_at, _)| *due_at)
    }

    fn make_ready(&mut self, row: i64) {
        self.edit(row, |task| {
            task.record.state = State::Ready;
            task.record.reason = None;
        });
    }

    /// Claims what there is room for. The second value says whether ready work was left behind.
    pub(super) fn claim(&mut self, now: Timestamp, offer: &dyn Offer) -> (Vec<Claimed>, bool) {
        let names = self.lanes.keys();
        let mut open: Vec<LaneName> =
            names.filter(|(queue, kind)| offer.serves(queue, kind)).cloned().collect();
        let mut claimed = Vec::new();
        let mut suspects = BTreeSet::new();
        loop {
            let heads = open.iter().filter_map(|name| {
                let mut ready = self.lanes.get(name)?.ready.iter();
                let head = ready.find(|(_, row)| !suspects.contains(row))?;
                Some((offer.turn_of(&name.0), *head, name))
            });
            let Some((_, (_, row), name)) = heads.min() else { return (claimed, false) };
            let name = name.clone();
            match offer.reserve(&name.0, &name.1, 0) {
                Room::Taken => {}
                Room::QueueFull => {
                    open.retain(|lane| *lane != name);
                    continue;
                }
                Room::Full => return (claimed, true),
            }
            match self.take(now, row, offer) {
                Found::Task(task) => {
                    offer.weigh(task.arguments.len());
                    offer.charge(&name.0);
                    claimed.push(*task);
                    continue;
                }
                Found::Ended => {}
                Found::Suspect => {
                    suspects.insert(row);
                }
            }
            offer.release(&name.0, 0);
        }
    }

    pub(super) fn claim_one(
        &mut self,
        now: Timestamp,
        id: TaskId,
        offer: &dyn Offer,
    ) -> Option<Claimed> {
        let task = &self.by_id(id)?.record;
        if task.state == State::Scheduled && task.due_at <= now {
            self.make_ready(id.row());
        }
        let task = self.by_id(id).filter(|task| task.record.state == State::Ready)?;
        let (queue, kind) = task.lane.clone();
        if offer.reserve(&queue, &kind, 0) != Room::Taken {
            return None;
        }
        match self.take(now, id.row(), offer) {
            Found::Task(task) => {
                offer.weigh(task.arguments.len());
                Some(*task)
            }
            Found::Ended | Found::Suspect => {
                offer.release(&queue, 0);
                None
            }
        }
    }

    /// Turns a ready task into a running one, unless it has expired or must stay alone.
    fn take(&mut self, now: Timestamp, row: i64, offer: &dyn Offer) -> Found {
        let task = self.tasks.get(&row).map(|task| &task.record);
        if task.and_then(|task| task.expires_at).is_some_and(|at| at <= now) {
            self.edit(row, |task| {
                task.record.state = State::Failed;
                task.record.reason = Some(Reason::Expired);
                task.record.finished_at = Some(now);
            });
            self.effects.changed.push(row);
            return Found::Ended;
        }
        let mut found = Found::Suspect;
        if task.is_some_and(|task| task.crashes > 0) && !offer.reserve_suspect() {
            return found;
        }
        let owner = offer.owner();
        let name = self.names.get(&owner).cloned();
        self.edit(row, |task| {
            task.record.state = State::Running;
            task.record.worker = Some(owner);
            task.record.worker_name = name;
            task.record.attempt += 1;
            task.record.started_at = Some(now);
            task.record.stuck = false;
            found = Found::Task(Box::new(task.claimed(owner, now)));
        });
        found
    }
}
