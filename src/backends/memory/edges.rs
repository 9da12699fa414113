//! Enqueue and finish: tasks that wait for the end of others, and batches that sum up their members.

use std::collections::{BTreeMap, BTreeSet};

use super::task::Start;
use super::{Book, put};
use crate::deed::Deed;
use crate::error::Error;
use crate::flow::{FirstFailure, Sum, before_ended, members_ended};
use crate::id::TaskId;
use crate::record::{NewTask, Prior, Stored, TaskRecord};
use crate::state::{Reason, State, rank};
use crate::ties::{Policy, Ref};
use crate::time::Timestamp;
use crate::unique::Held;

/// What orders the tasks of a book.
#[derive(Default)]
pub(super) struct Edges {
    /// By task: those before it, in the order in which they were named.
    before: BTreeMap<i64, Vec<i64>>,
    /// By task: those after it.
    after: BTreeMap<i64, BTreeMap<i64, Edge>>,
    /// By task: how many before it have not ended.
    open: BTreeMap<i64, usize>,
    /// By batch.
    members: BTreeMap<i64, BTreeSet<i64>>,
    /// By batch: those members that have not ended.
    open_members: BTreeMap<i64, BTreeSet<i64>>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    policy: Policy,
    is_open: bool,
}

/// One that must end before a new task.
pub(super) struct Bond {
    row: i64,
    state: State,
    policy: Policy,
}

/// Whether this end of a task is that of those after it too.
fn ends_with(state: State, policy: Policy) -> bool {
    policy == Policy::Success && matches!(state, State::Failed | State::Cancelled)
}

/// Where a new task begins on account of others.
pub(super) fn start_of(bonds: &[Bond]) -> Option<Start> {
    match bonds.iter().find(|bond| ends_with(bond.state, bond.policy)) {
        Some(bond) => Some(Start::Ended(bond.state)),
        None if bonds.iter().all(|bond| bond.state.is_final()) => None,
        None => Some(Start::Waiting(Reason::Parents)),
    }
}

impl Edges {
    pub(super) fn index(&mut self, task: &TaskRecord, stands: bool) {
        let open = task.batch.filter(|_| !task.state.is_final());
        if let Some(batch) = open {
            let open = self.open_members.entry(batch.row()).or_default();
            put(open, task.id.row(), stands);
        }
    }

    /// How many tasks this one waits for, the members of a batch included.
    pub(super) fn open_before(&self, row: i64) -> u64 {
        let before = self.open.get(&row).copied().unwrap_or_default();
        (before + self.open_members.get(&row).map_or(0, BTreeSet::len)) as u64
    }

    /// Whether others come before a task, whether they have ended or not.
    pub(super) fn has_before(&self, row: i64) -> bool {
        self.before.get(&row).is_some_and(|before| !before.is_empty())
    }

    /// A task is no longer kept.
    fn forget(&mut self, task: &TaskRecord) {
        let row = task.id.row();
        for before in self.before.remove(&row).unwrap_or_default() {
            self.after.get_mut(&before).map(|after| after.remove(&row));
        }
        self.after.remove(&row);
        self.open.remove(&row);
        let members = task.batch.and_then(|batch| self.members.get_mut(&batch.row()));
        members.map(|members| members.remove(&row));
    }

    /// Takes out all that was stored from this row on.
    pub(super) fn undo(&mut self, first_row: i64) {
        drop(self.before.split_off(&first_row));
        drop(self.open.split_off(&first_row));
        drop(self.after.split_off(&first_row));
        drop(self.members.split_off(&first_row));
        drop(self.open_members.split_off(&first_row));
        for after in self.after.values_mut() {
            drop(after.split_off(&first_row));
        }
    }
}

impl Book {
    /// Those that a new task waits for; `items` are those of the same call, as they were stored.
    pub(super) fn bonds(&self, new: &NewTask, items: &[Stored]) -> Result<Vec<Bond>, Error> {
        let Some(extra) = &new.extra else { return Ok(Vec::new()) };
        let bond = |before: &crate::ties::Before| {
            let id = match before.what {
                Ref::Task(id) => id,
                Ref::Item(number) => items.get(number).ok_or_else(|| Error::not_found(number))?.id,
            };
            let task = self.by_id(id).ok_or_else(|| Error::not_found(id))?;
            Ok(Bond { row: id.row(), state: task.record.state, policy: before.policy })
        };
        extra.after.iter().map(bond).collect()
    }

    /// A task is no longer kept, and sums nobody up.
    pub(super) fn forget_edges(&mut self, task: &TaskRecord) {
        for member in self.edges.members.remove(&task.id.row()).unwrap_or_default() {
            self.edit(member, |member| member.record.batch = None);
        }
        self.edges.forget(task);
    }

    /// Enters a new task.
    pub(super) fn join(&mut self, now: Timestamp, row: i64, bonds: &[Bond]) {
        for bond in bonds {
            let edge = Edge { policy: bond.policy, is_open: !bond.state.is_final() };
            self.edges.after.entry(bond.row).or_default().insert(row, edge);
            self.edges.before.entry(row).or_default().push(bond.row);
            *self.edges.open.entry(row).or_default() += usize::from(edge.is_open);
            if let Some(task) = self.tasks.get_mut(&bond.row) {
                task.extra.get_or_insert_default().ties.awaited = true;
            }
        }
        if let Some(doom) = bonds.iter().find(|bond| ends_with(bond.state, bond.policy)) {
            self.record_end(now, row, doom.row, doom.state);
        }
        let Some(task) = self.tasks.get(&row) else { return };
        if let Some(batch) = task.record.batch {
            self.edges.members.entry(batch.row()).or_default().insert(row);
        }
    }

    fn record_end(&mut self, now: Timestamp, row: i64, before: i64, state: State) {
        let Some(before) = self.tasks.get(&before).map(|task| &task.record) else { return };
        let report = before_ended(before.id, before.name.as_deref().unwrap_or_default(), state);
        if let Some(task) = self.tasks.get_mut(&row) {
            task.record_untried(now, report);
        }
    }

    /// Closes the edges from a row that has ended; returns the rows that have ended with it.
    pub(super) fn close(&mut self, now: Timestamp, row: i64) -> Vec<i64> {
        let Some(task) = self.tasks.get(&row) else { return Vec::new() };
        let (state, batch) = (task.record.state, task.record.batch);
        if let Some(batch) = batch.map(TaskId::row) {
            self.unsummed.insert(batch);
        }
        let Some(edges) = self.edges.after.get_mut(&row) else { return Vec::new() };
        let mut waiters = Vec::new();
        for (after, edge) in edges.iter_mut().filter(|(_, edge)| edge.is_open) {
            edge.is_open = false;
            waiters.push((*after, edge.policy));
        }
        let mut ended = Vec::new();
        for (after, policy) in waiters {
            let open = self.edges.open.entry(after).or_default();
            *open = open.saturating_sub(1);
            let is_blocked = *open > 0;
            let waits = self
                .tasks
                .get(&after)
                .is_some_and(|task| task.record.reason == Some(Reason::Parents));
            if !waits {
                continue;
            }
            if ends_with(state, policy) {
                self.end_with(now, after, state);
                self.record_end(now, after, row, state);
                ended.push(after);
            } else if !is_blocked {
                self.let_go_on(now, after);
            }
        }
        ended
    }

    /// Ends a task that has not started together with another.
    fn end_with(&mut self, now: Timestamp, row: i64, state: State) {
        self.edit(row, |task| {
            task.record.state = state;
            task.record.reason = Some(Reason::Parent);
            task.record.finished_at = Some(now);
        });
        self.effects.changed.push(row);
    }

    /// All before it have ended: it is ready, due later, or stands at its gate from now on.
    fn let_go_on(&mut self, now: Timestamp, row: i64) {
        let Some(task) = self.tasks.get(&row) else { return };
        let due_at = task.record.due_at;
        self.may_start |= due_at <= now;
        let ties = task.extra.as_ref().map(|extra| &extra.ties);
        let key = ties.and_then(|ties| ties.held_key.clone());
        let gate = ties.and_then(|ties| ties.gate).filter(|gate| !gate.skips() && key.is_some());
        let (state, reason) = match gate {
            _ if due_at > now => (State::Scheduled, Some(Reason::Delayed)),
            Some(gate) => (State::Waiting, Some(gate.reason())),
            None => (State::Ready, None),
        };
        let at_gate = key.clone();
        self.edit(row, |task| {
            (task.record.state, task.record.reason) = (state, reason);
            if let Some(extra) = &mut task.extra {
                extra.wait_key = at_gate;
            }
        });
        self.effects.work |= state != State::Waiting;
        if let (State::Waiting, Some(key)) = (state, key) {
            self.left_gates.insert(key, now);
        }
    }

    /// Ends the batches whose last member has ended, and what that means to others.
    pub(super) fn sum_up(&mut self, now: Timestamp) {
        for (now, row) in std::mem::take(&mut self.stillborn) {
            self.left(now, row);
        }
        while let Some(batch) = self.unsummed.pop_first() {
            let open = self.edges.open_members.get(&batch).is_some_and(|open| !open.is_empty());
            let waits = self
                .tasks
                .get(&batch)
                .is_some_and(|task| task.record.reason == Some(Reason::Parents));
            if open || !waits {
                continue;
            }
            let sum = self.sum(batch);
            let (failed, against) = self.against(batch);
            let first = self.first_failure(batch);
            self.edit(batch, |task| {
                let record = &mut task.record;
                (record.state, record.reason) =
                    sum.verdict(record.cancel_requested, failed, against);
                record.finished_at = Some(now);
                if record.state == State::Succeeded {
                    // Five numbers always encode.
                    record.result = serde_json::to_string(&sum).ok();
                }
                if record.reason == Some(Reason::Parent) {
                    task.record_untried(now, members_ended(&sum, first));
                }
            });
            self.effects.changed.push(batch);
            self.left(now, batch);
        }
    }

    pub(super) fn sum(&self, batch: i64) -> Sum {
        let mut sum = Sum::default();
        for task in self.members_of(batch) {
            sum.add(task.state);
        }
        sum.add_lost(self.lost(batch));
        sum
    }

    fn lost(&self, batch: i64) -> u64 {
        let extra = self.tasks.get(&batch).and_then(|task| task.extra.as_ref());
        extra.map_or(0, |extra| extra.ties.lost as u64)
    }

    /// Notes in the batch of a member, which is about to be deleted, that its end counts against it.
    pub(super) fn lose(&mut self, member: i64) {
        let Some(task) = self.tasks.get(&member) else { return };
        let ignored = task.extra.as_ref().is_some_and(|extra| extra.ties.ignored);
        let counts = matches!(task.record.state, State::Failed | State::Cancelled) && !ignored;
        let batch = task.record.batch.filter(|_| counts).map(TaskId::row);
        let batch = batch.and_then(|batch| self.tasks.get_mut(&batch));
        if let Some(batch) = batch.filter(|batch| !batch.record.state.is_final())
            && let Some(extra) = batch.extra.as_mut()
        {
            extra.ties.lost += 1;
        }
    }

    /// Lets a batch that is run again succeed without those that were deleted.
    fn forgive(&mut self, batch: i64) {
        if let Some(extra) = self.tasks.get_mut(&batch).and_then(|task| task.extra.as_mut()) {
            extra.ties.lost = 0;
        }
    }

    fn members_of(&self, batch: i64) -> impl Iterator<Item = &TaskRecord> {
        let rows = self.edges.members.get(&batch).into_iter().flatten();
        rows.filter_map(|row| self.tasks.get(row)).map(|task| &task.record)
    }

    /// The member that was the first to fail for a reason of its own; one whose failures are ignored only
    /// where there is no other.
    fn first_failure(&self, batch: i64) -> Option<FirstFailure> {
        let own =
            |task: &&TaskRecord| task.state == State::Failed && task.reason != Some(Reason::Parent);
        let first = self
            .members_of(batch)
            .filter(own)
            .min_by_key(|task| (self.is_ignored(task.id.row()), task.finished_at, task.id.row()))?;
        let error = first
            .finished_at
            .and_then(|ended_at| self.tasks.get(&first.id.row())?.error_at(ended_at));
        let name = first.name.clone().unwrap_or_else(|| first.kind.clone());
        Some(FirstFailure { name, reason: first.reason.unwrap_or(Reason::Error), error })
    }

    fn is_ignored(&self, row: i64) -> bool {
        let extra = self.tasks.get(&row).and_then(|task| task.extra.as_ref());
        extra.is_some_and(|extra| extra.ties.ignored)
    }

    /// Failures, and all ends, that count against a batch.
    fn against(&self, batch: i64) -> (u64, u64) {
        let (mut failed, mut against) = (0, self.lost(batch));
        for member in self.members_of(batch) {
            let counts = !self.is_ignored(member.id.row());
            failed += u64::from(counts && member.state == State::Failed);
            against +=
                u64::from(counts && matches!(member.state, State::Failed | State::Cancelled));
        }
        (failed, against)
    }

    /// Cancels the members of a batch that have not started, and asks the others to stop; says whether
    /// there are such.
    pub(super) fn cancel_batch(&mut self, now: Timestamp, batch: i64) -> bool {
        let open = self.edges.open_members.get(&batch).cloned().unwrap_or_default();
        let mut asked = false;
        let mut ended = Vec::new();
        for row in open {
            let runs = self.tasks.get(&row).is_some_and(|t| t.record.state == State::Running);
            self.edit(row, |task| task.record.cancel_requested = true);
            if runs {
                asked = true;
                self.effects.cancel.push(row);
            } else {
                self.end_with(now, row, State::Cancelled);
                ended.push(row);
            }
        }
        self.edit(batch, |task| task.record.cancel_requested = true);
        for row in ended {
            self.left(now, row);
        }
        self.unsummed.insert(batch);
        asked
    }

    /// Lets the members of a batch run again that did not succeed, and what has ended with them.
    pub(super) fn retry_batch(&mut self, now: Timestamp, id: TaskId) -> Result<u64, Error> {
        let task = self.by_id(id).filter(|task| task.extra.as_ref().is_some_and(|e| e.ties.sums));
        let state = task.ok_or_else(|| Error::not_found(id))?.record.state;
        if !state.is_final() {
            return Err(Error::NotFinished { id, state });
        }
        let lost = |task: &&TaskRecord| matches!(task.state, State::Failed | State::Cancelled);
        let mut open: BTreeSet<i64> =
            self.members_of(id.row()).filter(lost).map(|task| task.id.row()).collect();
        if open.is_empty() && state == State::Succeeded {
            return Ok(0);
        }
        self.forgive(id.row());
        self.reopen_batch(now, id.row(), &mut open);
        self.effects.work = true;
        Ok(self.go_on(now, open))
    }

    /// A task was made ready: what has ended only because of it runs again after it, and its batch waits
    /// for it, unless that has succeeded.
    pub(super) fn take_along(&mut self, now: Timestamp, row: i64) {
        let mut open = BTreeSet::new();
        self.note_ended_with(now, row, &mut open);
        self.go_on(now, open);
    }

    /// Lets a batch wait for its members again, and notes what has ended with it.
    fn reopen_batch(&mut self, now: Timestamp, batch: i64, open: &mut BTreeSet<i64>) {
        self.reset(now, batch, true);
        self.unsummed.insert(batch);
        open.extend(self.ended_with(batch));
    }

    /// Notes what has ended with a row that runs again, or with its batch.
    fn note_ended_with(&mut self, now: Timestamp, row: i64, open: &mut BTreeSet<i64>) {
        open.extend(self.ended_with(row));
        let batch = self.tasks.get(&row).and_then(|task| task.record.batch).map(TaskId::row);
        let state = batch.and_then(|batch| self.tasks.get(&batch)).map(|task| task.record.state);
        if let (Some(batch), Some(State::Failed | State::Cancelled)) = (batch, state) {
            self.reopen_batch(now, batch, open);
        }
    }

    /// Lets those run again that have ended with others, and what has ended with them; says how many.
    fn go_on(&mut self, now: Timestamp, mut open: BTreeSet<i64>) -> u64 {
        let mut count = 0;
        while let Some(row) = open.pop_first() {
            if self.run_again(now, row) {
                count += 1;
                self.note_ended_with(now, row, &mut open);
            }
        }
        count
    }

    fn ended_with(&self, row: i64) -> Vec<i64> {
        let after = self.edges.after.get(&row).into_iter().flatten().map(|(after, _)| *after);
        let ended = after.filter(|after| {
            self.tasks.get(after).is_some_and(|task| task.record.reason == Some(Reason::Parent))
        });
        ended.collect()
    }

    /// Whether a task can run again; if so, it does.
    fn run_again(&mut self, now: Timestamp, row: i64) -> bool {
        let mut before = self.edges.before.get(&row).into_iter().flatten();
        let doomed = before.any(|one| {
            let state = self.tasks.get(one).map(|task| task.record.state);
            let edge = self.edges.after.get(one).and_then(|after| after.get(&row));
            state.zip(edge).is_some_and(|(state, edge)| ends_with(state, edge.policy))
        });
        if doomed {
            return false;
        }
        let unique = self.tasks.get(&row).and_then(|task| task.extra.as_ref()?.ties.unique.clone());
        if let Some(unique) = unique.filter(|unique| !matches!(unique.held, Held::Until(_))) {
            if self.taken_by(now, row, &unique.key).is_some() {
                return false;
            }
            self.ties.kept.unique.insert(unique.key, row);
        }
        let waits = self.stand_behind(row);
        self.reset(now, row, waits);
        true
    }

    /// Lets a row wait for those before it that have not ended; says whether there are such.
    pub(super) fn stand_behind(&mut self, row: i64) -> bool {
        let before = self.edges.before.get(&row).into_iter().flatten();
        let is_open =
            |one: &&i64| self.tasks.get(*one).is_some_and(|task| !task.record.state.is_final());
        let open: Vec<i64> = before.filter(is_open).copied().collect();
        for one in &open {
            let edge = self.edges.after.get_mut(one).and_then(|after| after.get_mut(&row));
            if let Some(edge) = edge.filter(|edge| !edge.is_open) {
                edge.is_open = true;
                *self.edges.open.entry(row).or_default() += 1;
            }
        }
        !open.is_empty()
    }

    /// Makes a row ready, or lets it wait for those before it.
    fn reset(&mut self, now: Timestamp, row: i64, waits: bool) {
        let step_ms = self.step_ms;
        self.edit(row, |task| {
            let record = &mut task.record;
            (record.finished_at, record.result) = (None, None);
            record.expires_at = record.expires_at.filter(|at| *at > now);
            (record.cancel_requested, record.stuck) = (false, false);
            record.dismissed = false;
            record.due_at = now;
            let spent = record.attempt;
            let base = std::mem::replace(&mut task.retried_at, spent);
            task.retried += 1;
            record.attempts_max = Deed::allowance(spent, record.attempts_max, base);
            task.rank = rank(now, record.priority, step_ms);
            task.stand_again(waits);
        });
    }

    /// Whether a task that has not ended needs an ended one: its batch, a member of it, or what comes after
    /// it or its batch and may take its result.
    pub(super) fn is_needed(&self, row: i64) -> bool {
        let is_open =
            |row: &i64| self.tasks.get(row).is_some_and(|task| !task.record.state.is_final());
        let batch = self.tasks.get(&row).and_then(|task| task.record.batch).map(TaskId::row);
        let is_awaited =
            |row: i64| self.edges.after.get(&row).is_some_and(|after| after.keys().any(is_open));
        self.edges.open_members.get(&row).is_some_and(|open| !open.is_empty())
            || is_awaited(row)
            || batch.is_some_and(|batch| is_open(&batch) || is_awaited(batch))
    }

    /// Whether a task waits for this one.
    pub(super) fn is_awaited(&self, row: i64) -> bool {
        let waits = |row: &i64| {
            let reason = self.tasks.get(row).and_then(|task| task.record.reason);
            reason == Some(Reason::Parents)
        };
        let mut after = self.edges.after.get(&row).into_iter().flatten();
        after.any(|(after, edge)| edge.is_open && waits(after))
    }

    pub(super) fn is_batch(&self, row: i64) -> bool {
        let extra = self.tasks.get(&row).and_then(|task| task.extra.as_ref());
        extra.is_some_and(|extra| extra.ties.sums)
    }

    /// What came before a task, in the order in which that was named.
    pub(super) fn before(&self, id: TaskId) -> Vec<Option<Prior>> {
        let rows = self.edges.before.get(&id.row()).into_iter().flatten();
        rows.map(|row| self.tasks.get(row).map(|task| self.prior(&task.record))).collect()
    }

    fn prior(&self, task: &TaskRecord) -> Prior {
        Prior {
            id: task.id,
            kind: task.kind.clone(),
            name: task.name.clone(),
            state: task.state,
            result: task.result.clone(),
            members: self.members_of(task.id.row()).map(|task| self.prior(task)).collect(),
        }
    }

    /// What comes after a task.
    pub(super) fn after(&self, id: TaskId) -> Vec<TaskRecord> {
        let rows = self.edges.after.get(&id.row()).into_iter().flatten();
        rows.filter_map(|(row, _)| self.tasks.get(row)).map(|task| task.record.clone()).collect()
    }
}
