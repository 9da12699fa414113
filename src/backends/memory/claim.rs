//! Claim: scheduled tasks whose time has come become ready; the best ready tasks become running.
//!
//! A task past its expiry is failed on the spot and costs no attempt.

use std::collections::BTreeSet;

use super::Book;
use super::task::LaneName;
use super::ties::Pass;
use crate::backend::{Offer, Picked, Room};
use crate::gate::Gate;
use crate::id::TaskId;
use crate::record::Claimed;
use crate::rule::Admits;
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
    /// Went back to its gate, or to the moment that its rate admits.
    HeldBack,
    /// It may pass its gate, but no thread is free.
    Crowded,
    /// It must not start twice, so it is not held ahead, and no thread is free.
    NoThread,
    /// Has crashed a process before, and another such task runs here.
    Suspect,
}

impl Book {
    /// Promotes what is due.
    pub(super) fn promote(&mut self, now: Timestamp, offer: &dyn Offer) {
        let due = self.scheduled.iter().take_while(|(due_at, _)| *due_at <= now);
        let slice = offer.room().clamp(SLICE_MIN, SLICE);
        let rows: Vec<i64> = due.take(slice).map(|(_, row)| *row).collect();
        for row in rows {
            self.make_ready(row);
        }
    }

    /// When the next scheduled task is due, or a lane opens that the claim has found shut.
    pub(super) fn next_due(&mut self) -> Option<Timestamp> {
        let due_at = self.scheduled.first().map(|(due_at, _)| *due_at);
        due_at.into_iter().chain(self.opens_at.take()).min()
    }

    fn make_ready(&mut self, row: i64) {
        self.edit(row, |task| {
            task.record.state = State::Ready;
            task.record.reason = None;
        });
    }

    /// Claims what there is room for. The second value says whether ready work was left behind.
    pub(super) fn claim(&mut self, now: Timestamp, offer: &dyn Offer) -> (Vec<Claimed>, bool) {
        let taken = self.take_best(now, offer);
        self.let_others_go_on(now);
        taken
    }

    /// What the claim has ended or started may let others go on.
    fn let_others_go_on(&mut self, now: Timestamp) {
        for row in std::mem::take(&mut self.aside) {
            self.left(now, row);
        }
    }

    fn take_best(&mut self, now: Timestamp, offer: &dyn Offer) -> (Vec<Claimed>, bool) {
        let names = self.lanes.keys();
        let mut open: Vec<LaneName> =
            names.filter(|(queue, kind)| offer.serves(queue, kind)).cloned().collect();
        let mut claimed = Vec::new();
        let mut suspects = BTreeSet::new();
        let mut crowded = false;
        loop {
            let heads = open.iter().filter_map(|name| {
                let mut ready = self.lanes.get(name)?.ready.iter();
                let head = ready.find(|(_, row)| !suspects.contains(row))?;
                Some((offer.turn_of(&name.0), *head, name))
            });
            let Some((_, (_, row), name)) = heads.min() else { return (claimed, crowded) };
            let name = name.clone();
            let free = offer.is_free();
            let admits = self.admit(&name.0, &name.1, now);
            if let Admits::No(Some(until)) = admits {
                self.opens_at = Some(self.opens_at.map_or(until, |known| known.min(until)));
            }
            let shut = admits != Admits::Yes;
            if shut || !free && self.are_scarce(&name.0, &name.1) {
                crowded |= !shut;
                open.retain(|lane| *lane != name);
                continue;
            }
            match offer.reserve(&name.0, &name.1, 0) {
                Room::Taken => {}
                Room::QueueFull => {
                    open.retain(|lane| *lane != name);
                    continue;
                }
                Room::Full => return (claimed, true),
            }
            match self.take(now, row, offer, free) {
                Found::Task(task) => {
                    offer.weigh(task.arguments.len());
                    offer.charge(&name.0);
                    self.started(&name.0, &name.1, now);
                    claimed.push(*task);
                    continue;
                }
                Found::Ended | Found::HeldBack => {}
                Found::Crowded => {
                    crowded = true;
                    open.retain(|lane| *lane != name);
                }
                Found::NoThread => {
                    offer.release(&name.0, 0);
                    return (claimed, true);
                }
                Found::Suspect => {
                    suspects.insert(row);
                }
            }
            offer.release(&name.0, 0);
        }
    }

    pub(super) fn claim_one(&mut self, now: Timestamp, id: TaskId, offer: &dyn Offer) -> Picked {
        let Some(task) = self.by_id(id).map(|task| &task.record) else { return Picked::NotNow };
        if task.state == State::Scheduled && task.due_at <= now {
            self.make_ready(id.row());
        }
        let Some(task) = self.by_id(id).filter(|task| task.record.state == State::Ready) else {
            return Picked::NotNow;
        };
        let (queue, kind) = task.lane.clone();
        if !offer.serves(&queue, &kind) || self.admit(&queue, &kind, now) != Admits::Yes {
            return Picked::NotNow;
        }
        if offer.reserve(&queue, &kind, 0) != Room::Taken {
            return Picked::NotNow;
        }
        let found = self.take(now, id.row(), offer, true);
        self.let_others_go_on(now);
        match found {
            Found::Task(task) => {
                offer.weigh(task.arguments.len());
                self.started(&queue, &kind, now);
                Picked::Task(task)
            }
            found => {
                offer.release(&queue, 0);
                if matches!(found, Found::Ended) {
                    Picked::Ended(Vec::new())
                } else {
                    Picked::NotNow
                }
            }
        }
    }

    /// What becomes of a task that may not pass its gate now; none where it may.
    fn stop_at_gate(&mut self, now: Timestamp, row: i64, free: bool) -> Option<Found> {
        let (key, gate) = self.tasks.get(&row)?.extra.as_ref()?.gate()?;
        match self.pass(now, key, gate) {
            Pass::Open if free => None,
            Pass::Open => Some(Found::Crowded),
            Pass::Held(holder) if gate.skips() => {
                self.skip(now, row, holder);
                self.aside.push(row);
                Some(Found::Ended)
            }
            Pass::Held(_) => {
                self.edit(row, |task| {
                    task.record.state = State::Waiting;
                    task.record.reason = Some(gate.reason());
                });
                Some(Found::HeldBack)
            }
            Pass::Later(opens_at) => {
                self.postpone(row, opens_at);
                Some(Found::HeldBack)
            }
        }
    }

    /// Notes that a task has passed its gate, and lets its unique key go where its start does.
    fn pass_gate(&mut self, now: Timestamp, row: i64) {
        let Some(extra) = self.tasks.get(&row).and_then(|task| task.extra.as_ref()) else { return };
        let gate = extra.gate().map(|(key, gate)| (key.to_owned(), gate));
        if self.key_let_go(row).is_some() {
            self.let_go(row);
        }
        let Some((key, gate)) = gate else { return };
        let fence = self.passed(now, &key, gate);
        if matches!(gate, Gate::Rate(_)) {
            // The next of its rate is to be scheduled.
            self.aside.push(row);
        }
        if let Some(extra) = self.tasks.get_mut(&row).and_then(|task| task.extra.as_mut()) {
            extra.fence = fence;
        }
    }

    /// Turns a ready task into a running one, unless it has expired or must stay alone.
    fn take(&mut self, now: Timestamp, row: i64, offer: &dyn Offer, free: bool) -> Found {
        let task = self.tasks.get(&row).map(|task| &task.record);
        if task.and_then(|task| task.expires_at).is_some_and(|at| at <= now) {
            self.edit(row, |task| {
                task.record.state = State::Failed;
                task.record.reason = Some(Reason::Expired);
                task.record.finished_at = Some(now);
            });
            self.effects.changed.push(row);
            self.aside.push(row);
            return Found::Ended;
        }
        let is_suspect = task.is_some_and(|task| task.crashes > 0);
        let at_most_once = task.is_some_and(|task| task.at_most_once);
        if let Some(stopped) = self.stop_at_gate(now, row, free) {
            return stopped;
        }
        if at_most_once && !free {
            return Found::NoThread;
        }
        let mut found = Found::Suspect;
        if is_suspect && !offer.reserve_suspect() {
            return found;
        }
        self.pass_gate(now, row);
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
