//! Claim and finish: what ties tasks to each other: unique keys, gates, rules.
//!
//! As in a file, whoever runs has passed its gate, and the rest wait outside of what is ready.

use std::collections::{BTreeMap, BTreeSet};

use super::task::Task;
use super::{Book, put};
use crate::calendar;
use crate::deed::Standing;
use crate::error::Error;
use crate::gate::{Gate, Limits, Rate, closed};
use crate::id::TaskId;
use crate::record::{NewTask, Stored, TaskRecord};
use crate::rule::{Admits, Rule, Scope};
use crate::settle::already_running;
use crate::state::{Reason, State, rank};
use crate::time::Timestamp;
use crate::unique::{Claim, Held, OnConflict, Replace};

/// What ties the tasks of a book.
#[derive(Default)]
pub(super) struct Ties {
    pub(super) kept: Kept,
    /// By gate, those that wait there: (rank, row).
    waiting: BTreeMap<String, BTreeSet<(i64, i64)>>,
    /// By gate, those that are ready, run, or are scheduled by their rate.
    beyond: BTreeMap<String, BTreeSet<i64>>,
}

/// What does not follow from the tasks alone.
#[derive(Default, Clone)]
pub(super) struct Kept {
    /// Who has a unique key.
    pub(super) unique: BTreeMap<String, i64>,
    /// By key: when the rate is even again, and until when it is closed.
    rates: BTreeMap<String, (i64, Timestamp)>,
    /// By key: the newest of those that are summed up.
    pub(super) summed: BTreeMap<String, i64>,
    fence: i64,
    pub(super) rules: BTreeMap<Scope, Rule>,
}

/// Whether a task may pass its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Open,
    Held(Option<TaskId>),
    Later(Timestamp),
}

impl Ties {
    pub(super) fn index(&mut self, task: &Task, stands: bool) {
        let Some((key, _)) = task.extra.as_ref().and_then(|extra| extra.gate()) else { return };
        let row = task.record.id.row();
        match (task.record.state, task.record.reason) {
            (State::Waiting, _) => {
                put(self.waiting.entry(key.to_owned()).or_default(), (task.rank, row), stands);
            }
            (State::Ready | State::Running, _) | (State::Scheduled, Some(Reason::Rate)) => {
                put(self.beyond.entry(key.to_owned()).or_default(), row, stands);
            }
            _ => {}
        }
    }

    fn opens_at(&self, now: Timestamp, key: &str, rate: Rate) -> Timestamp {
        let (next_at, closed_until) = self.kept.rates.get(key).copied().unwrap_or_default();
        rate.opens_at(next_at, now).max(closed(Some(closed_until), now))
    }
}

/// Whether the unique key of a task is free for others.
fn is_over(task: &Task, now: Timestamp) -> bool {
    let unique = task.extra.as_ref().and_then(|extra| extra.ties.unique.as_ref());
    unique.is_none_or(|key| key.held.is_over(task.record.state, task.record.enqueued_at, now))
}

impl Book {
    /// The tasks of a gate in this state that hold a place of it.
    pub(super) fn holders(
        &self,
        key: &str,
        state: State,
        now: Timestamp,
    ) -> impl Iterator<Item = &Task> {
        let rows = self.ties.beyond.get(key).into_iter().flatten();
        let tasks = rows.filter_map(|row| self.tasks.get(row));
        tasks.filter(move |task| {
            let gate = task.extra.as_ref().and_then(|extra| extra.ties.gate);
            let since = task.record.started_at.unwrap_or(now);
            task.record.state == state
                && (state != State::Running || gate.is_none_or(|gate| gate.is_held(since, now)))
        })
    }

    fn count(&self, key: &str, state: State, now: Timestamp) -> u32 {
        u32::try_from(self.holders(key, state, now).count()).unwrap_or(u32::MAX)
    }

    /// Whether one is scheduled by its rate.
    fn put_off(&self, key: &str, rate: Rate, now: Timestamp) -> bool {
        let latest = rate.latest_due(now);
        self.holders(key, State::Scheduled, now).any(|task| task.record.due_at <= latest)
    }

    /// Whether a task that is about to start may.
    pub(super) fn pass(&self, now: Timestamp, key: &str, gate: Gate) -> Pass {
        if let Gate::Rate(rate) = gate {
            let opens_at = self.ties.opens_at(now, key, rate);
            return if opens_at > now { Pass::Later(opens_at) } else { Pass::Open };
        }
        let mut holders = self.holders(key, State::Running, now).map(|task| task.record.id);
        match gate {
            Gate::Lock { .. } => {
                holders.next().map_or(Pass::Open, |holder| Pass::Held(Some(holder)))
            }
            _ if self.count(key, State::Running, now) < gate.places() => Pass::Open,
            _ => Pass::Held(None),
        }
    }

    /// The same for a new task, which also stands behind those that are ready.
    pub(super) fn pass_new(&self, now: Timestamp, key: &str, gate: Gate) -> Pass {
        let waiting = self.ties.waiting.get(key).is_some_and(|waiting| !waiting.is_empty());
        let ready = self.count(key, State::Ready, now);
        let before = match gate {
            Gate::Rate(rate) => waiting || ready > 0 || self.put_off(key, rate, now),
            Gate::Lock { wait: false, .. } => false,
            Gate::Lock { .. } | Gate::Limit { .. } => {
                self.count(key, State::Running, now) + ready >= gate.places()
            }
        };
        if before { Pass::Held(None) } else { self.pass(now, key, gate) }
    }

    /// Notes that a task has passed its gate; the number of a lock's holder.
    pub(super) fn passed(&mut self, now: Timestamp, key: &str, gate: Gate) -> Option<i64> {
        match gate {
            Gate::Limit { .. } => None,
            Gate::Lock { .. } => {
                self.ties.kept.fence += 1;
                Some(self.ties.kept.fence)
            }
            Gate::Rate(rate) => {
                let state = self.ties.kept.rates.entry(key.to_owned()).or_default();
                state.0 = rate.after_start(state.0, now);
                None
            }
        }
    }

    /// Lets those that wait at a gate go on, as far as there are places; where only those stand before them that
    /// may not be able to start, the first that could.
    pub(super) fn release(&mut self, now: Timestamp, key: &str) {
        let mut is_first = true;
        loop {
            let first = self.ties.waiting.get(key).and_then(|waiting| waiting.first());
            let Some((_, row)) = first.copied() else { return };
            let gate = self.tasks.get(&row).and_then(|task| task.extra.as_ref()?.ties.gate);
            let gate = gate.unwrap_or(Gate::TURN);
            let ready = self.count(key, State::Ready, now);
            let is_free = match gate {
                Gate::Rate(rate) => ready == 0 && !self.put_off(key, rate, now),
                _ => ready + self.count(key, State::Running, now) < gate.places(),
            };
            let next = if is_free {
                Some(row)
            } else {
                self.next_past(now, key, gate).filter(|_| is_first)
            };
            let Some(row) = next else { return };
            let gate = self.tasks.get(&row).and_then(|task| task.extra.as_ref()?.ties.gate);
            let opens = match gate {
                Some(gate @ Gate::Rate(_)) => self.pass(now, key, gate),
                _ => Pass::Open,
            };
            self.effects.work |= !is_free || matches!(gate, Some(Gate::Rate(_)));
            if let Pass::Later(opens_at) = opens {
                return self.postpone(row, opens_at);
            }
            self.pass_next(row);
            if !is_free {
                return;
            }
            is_first = false;
        }
    }

    fn pass_next(&mut self, row: i64) {
        self.may_start = true;
        self.let_go_on.push(row);
        self.edit(row, |task| {
            task.record.state = State::Ready;
            task.record.reason = None;
        });
    }

    /// The first that waits at a gate of which nobody who runs takes a place, and is of another lane than all
    /// that may pass next: theirs may be shut.
    fn next_past(&self, now: Timestamp, key: &str, gate: Gate) -> Option<i64> {
        let waiting = self.ties.waiting.get(key)?;
        if let Gate::Rate(rate) = gate {
            let latest = rate.latest_due(now);
            let mut put_off = self.holders(key, State::Scheduled, now);
            let far_off = put_off.find(|task| task.record.due_at > latest);
            if far_off.is_some() || self.put_off(key, rate, now) {
                return far_off.map(|task| task.record.id.row());
            }
        } else if self.count(key, State::Running, now) >= gate.places() {
            return None;
        }
        let lined_up: Vec<_> =
            self.holders(key, State::Ready, now).map(|task| &task.lane).collect();
        let mut rows = waiting.iter().take(1_000).map(|(_, row)| *row);
        rows.find(|row| self.tasks.get(row).is_some_and(|task| !lined_up.contains(&&task.lane)))
    }

    /// Schedules a task for the moment at which its rate admits it.
    pub(super) fn postpone(&mut self, row: i64, until: Timestamp) {
        let step_ms = self.step_ms;
        self.edit(row, |task| {
            task.record.state = State::Scheduled;
            task.record.reason = Some(Reason::Rate);
            task.record.due_at = until;
            task.rank = rank(until, task.record.priority, step_ms);
        });
    }

    /// Lets others go on that a row has kept waiting.
    pub(super) fn left(&mut self, now: Timestamp, row: i64) {
        let mut rows = vec![row];
        while let Some(row) = rows.pop() {
            self.left_alone(now, row);
            if self.tasks.get(&row).is_some_and(|task| task.record.state.is_final()) {
                self.end_slot_of(now, row);
                self.follow(now, row);
                rows.extend(self.close(now, row));
            }
        }
    }

    fn left_alone(&mut self, now: Timestamp, row: i64) {
        let Some(task) = self.tasks.get(&row) else { return };
        let Some(extra) = &task.extra else { return };
        let outlives =
            matches!(extra.ties.unique.as_ref().map(|key| key.held), Some(Held::Until(_)));
        let ended = task.record.state.is_final();
        let wait_key = extra.wait_key.clone();
        if ended && !outlives {
            self.let_go(row);
        }
        if let Some(key) = wait_key {
            self.left_gates.insert(key, now);
        }
    }

    /// Tells the schedule of a task that it has ended.
    fn end_slot_of(&mut self, now: Timestamp, row: i64) {
        let Some(task) = self.tasks.get(&row) else { return };
        let slot = task.extra.as_ref().and_then(|extra| extra.ties.slot.clone());
        if let Some(slot) = slot {
            let state = task.record.state;
            // Nothing here can fail.
            let _always = calendar::ended(self, now, &slot, state);
        }
    }

    /// Lets those go on that wait at gates which somebody has left, once for all that have.
    pub(super) fn open_left_gates(&mut self) {
        while let Some((key, now)) = self.left_gates.pop_first() {
            self.release(now, &key);
        }
    }

    /// A task leaves the states that its unique key covers.
    pub(super) fn let_go(&mut self, row: i64) {
        let key = self.key_of(row);
        if let Some(key) = key.filter(|key| self.ties.kept.unique.get(key) == Some(&row)) {
            self.ties.kept.unique.remove(&key);
        }
    }

    fn key_of(&self, row: i64) -> Option<String> {
        let extra = self.tasks.get(&row)?.extra.as_ref()?;
        Some(extra.ties.unique.as_ref()?.key.clone())
    }

    /// The key that a task has let go when it started.
    pub(super) fn key_let_go(&self, row: i64) -> Option<String> {
        let extra = self.tasks.get(&row)?.extra.as_ref()?;
        let unique = extra.ties.unique.as_ref()?;
        (unique.held == Held::Start).then(|| unique.key.clone())
    }

    /// What becomes of a call where there is a task with its unique key.
    /// A flow shares none of its members with others.
    pub(super) fn meet(
        &mut self,
        now: Timestamp,
        new: &NewTask,
        is_member: bool,
    ) -> Result<Option<Stored>, Error> {
        let Some(claim) = new.claim().cloned() else { return Ok(None) };
        let Some(row) = self.ties.kept.unique.get(&claim.key).copied() else { return Ok(None) };
        let Some(task) = self.tasks.get(&row) else { return Ok(None) };
        let state = task.record.state;
        if is_over(task, now) {
            self.ties.kept.unique.remove(&claim.key);
            return Ok(None);
        }
        let (id, waits) =
            (task.record.id, matches!(state, State::Scheduled | State::Waiting | State::Ready));
        match claim.on_conflict {
            _ if is_member => return Err(Error::NotUnique { existing: id }),
            OnConflict::Refuse => return Err(Error::NotUnique { existing: id }),
            OnConflict::Replace(what) if waits => self.replace(now, row, new, what),
            OnConflict::Existing | OnConflict::Replace(_) => {}
        }
        let task = self.tasks.get(&row).map(|task| (task.record.state, task.record.due_at));
        let (state, due_at) = task.unwrap_or((state, new.due_at));
        Ok(Some(Stored { id, state, due_at, existing: true, claimed: None }))
    }

    /// Puts what a call says in the place of what is stored, and lets those go on that it has kept waiting.
    fn replace(&mut self, now: Timestamp, row: i64, new: &NewTask, what: Replace) {
        let Some(task) = self.tasks.get(&row) else { return };
        let gate = task.extra.as_ref().and_then(|extra| extra.gate_in_the_end());
        let other_gate = what.arguments && gate != new.gate();
        let old_key = gate.map(|(key, _)| key.to_owned());
        let TaskRecord { state, reason, due_at, .. } = task.record;
        let stands = Standing { state, reason, due_at, gate: gate.map(|(_, gate)| gate) };
        let after = stands.replaced(what, (new.due_at, now), other_gate);
        let (step_ms, had_before) = (self.step_ms, self.edges.has_before(row));
        self.edit(row, |task| {
            let record = &mut task.record;
            if what.arguments {
                record.arguments.clone_from(&new.arguments);
            }
            if what.priority {
                record.priority = new.priority;
            }
            if what.due {
                record.expires_at = new.expires_at;
            }
            record.due_at = after.due_at;
            // One that begins anew stands at no gate until the old one is left.
            (record.state, record.reason) =
                after.state.unwrap_or((State::Scheduled, Some(Reason::Delayed)));
            task.rank = rank(record.due_at, record.priority, step_ms);
            if let Some(extra) = task.extra.as_mut().filter(|_| other_gate) {
                extra.stand_at(new.gate(), reason == Some(Reason::Parents), had_before);
            }
        });
        self.effects.work = true;
        if let Some(key) = old_key.filter(|_| after.leaves_gate) {
            self.release(now, &key);
        }
        if after.state.is_none() {
            self.begin_anew(now, row, new);
        }
    }

    /// Lets a due task that stands at no gate begin at that of a call.
    fn begin_anew(&mut self, now: Timestamp, row: i64, new: &NewTask) {
        let gate = new.gate();
        let pass = gate.map_or(Pass::Open, |(key, gate)| self.pass_new(now, key, gate));
        let (state, reason) = match (pass, gate) {
            (Pass::Later(opens_at), _) => return self.postpone(row, opens_at),
            (Pass::Held(_), Some((_, gate))) if !gate.skips() => {
                (State::Waiting, Some(gate.reason()))
            }
            _ => (State::Ready, None),
        };
        self.edit(row, |task| (task.record.state, task.record.reason) = (state, reason));
    }

    /// Notes who has a unique key from now on.
    pub(super) fn hold_key(&mut self, claim: &Claim, row: i64) {
        self.ties.kept.unique.insert(claim.key.clone(), row);
    }

    /// The other task that has a key by now.
    pub(super) fn taken_by(&self, now: Timestamp, row: i64, key: &str) -> Option<TaskId> {
        let other = self.ties.kept.unique.get(key).filter(|holder| **holder != row)?;
        let other = self.tasks.get(other).filter(|task| !is_over(task, now))?;
        Some(other.record.id)
    }

    /// Ends a task that has found its lock held.
    pub(super) fn skip(&mut self, now: Timestamp, row: i64, holder: Option<TaskId>) {
        self.edit(row, |task| {
            task.record.state = State::Skipped;
            task.record.reason = Some(Reason::Locked);
            task.record.finished_at = Some(now);
            if let Some(holder) = holder {
                task.record_untried(now, already_running(holder, Reason::Locked));
            }
        });
        self.effects.changed.push(row);
    }

    /// Whether a task of this queue and kind may start now.
    pub(super) fn admit(&self, queue: &str, kind: &str, now: Timestamp) -> Admits {
        let rules = self.ties.kept.rules.iter().filter(|(scope, _)| scope.covers(queue, kind));
        rules.fold(Admits::Yes, |admits, (scope, rule)| {
            let running = self.running.iter().filter_map(|(_, row)| self.tasks.get(row));
            let running = running.filter(|task| scope.covers(&task.lane.0, &task.lane.1)).count();
            admits.and(rule.admits(u32::try_from(running).unwrap_or(u32::MAX), now))
        })
    }

    /// Whether tasks of this queue and kind are not to be held ahead of a free thread.
    pub(super) fn are_scarce(&self, queue: &str, kind: &str) -> bool {
        let mut rules = self.ties.kept.rules.iter();
        rules.any(|(scope, rule)| scope.covers(queue, kind) && rule.is_scarce())
    }

    /// Whether any rule limits how many run.
    pub(super) fn limits_running(&self) -> bool {
        self.ties.kept.rules.values().any(|rule| rule.max_running.is_some())
    }

    /// Counts a start.
    pub(super) fn started(&mut self, queue: &str, kind: &str, now: Timestamp) {
        for (scope, rule) in &mut self.ties.kept.rules {
            if scope.covers(queue, kind) {
                rule.start(now);
            }
        }
    }

    /// The program's wishes; what a person has set stays.
    pub(super) fn declare(&mut self, limits: &[(Scope, Limits)]) {
        for (scope, limits) in limits {
            let rule = self.ties.kept.rules.entry(scope.clone()).or_default();
            if rule.edited_at.is_some() {
                continue;
            }
            let before = Limits { max_running: rule.max_running, rate: rule.rate };
            self.effects.work |= before != *limits;
            (rule.max_running, rule.rate) = (limits.max_running, limits.rate);
        }
        self.ties.kept.rules.retain(|_, rule| *rule != Rule::default());
    }

    /// Lets those go on whose lock has expired, or who wait only behind tasks that may not be able to start.
    pub(super) fn open_gates(&mut self, now: Timestamp) {
        let keys: Vec<String> = self.ties.waiting.keys().cloned().collect();
        for key in keys {
            self.release(now, &key);
        }
    }

    /// A task said that nothing of its key, or of its queue, is to start before this moment.
    pub(super) fn close_until(&mut self, row: i64, until: Timestamp) {
        let Some(task) = self.tasks.get(&row) else { return };
        let gate = task.extra.as_ref().and_then(|extra| extra.gate());
        if let Some((key, Gate::Rate(_))) = gate {
            let state = self.ties.kept.rates.entry(key.to_owned()).or_default();
            state.1 = closed(Some(state.1), until).max(until);
        } else {
            let scope = Scope::queue(&*task.lane.0);
            let rule = self.ties.kept.rules.entry(scope).or_default();
            rule.closed_until = Some(closed(rule.closed_until, until).max(until));
        }
    }
}
