//! Every step of the journey: what people do to tasks, to queues and kinds, from outside; and what may
//! stand in the way of a task.

use std::sync::Arc;

use super::{Book, Memory};
use crate::audit::{AuditRecord, Times};
use crate::backend::{LaneName, Operate, Over};
use crate::calendar;
use crate::deed::{Copied, Deed, Done, Tally};
use crate::error::Error;
use crate::filter::Filter;
use crate::gate::Gate;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::presence::{RUNNING_SHOWN_MAX, RunningTask, WorkerRecord};
use crate::record::{NewTask, Stored, TaskRecord};
use crate::rule::{Limited, Paused, Rule, Scope};
use crate::state::{State, rank};
use crate::time::Timestamp;
use crate::unique::Held;
use crate::why::{AHEAD_MAX, Blocker, Facts};

/// Rows of one page.
const ROWS: usize = 500;

impl Book {
    /// Does something, and says what has ended by it.
    pub(super) fn telling<R: Times>(
        &mut self,
        now: Timestamp,
        body: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<(R, Over), Error> {
        let told = self.effects.changed.len();
        let answer = body(self);
        self.sum_up(now);
        let gone = std::mem::take(&mut self.effects.gone);
        if let Ok(done) = &answer {
            self.note_deed(done);
        }
        let over = Over::new(&self.effects.changed[told..], gone);
        self.effects.hear(&over.rows);
        Ok((answer?, over))
    }

    fn act(&mut self, now: Timestamp, id: TaskId, deed: Deed) -> Result<Done, Error> {
        let state = self.by_id(id).ok_or_else(|| Error::not_found(id))?.record.state;
        if let Some(refusal) = deed.refusal(id, state) {
            return Err(refusal);
        }
        if deed == Deed::Erase
            && let Some(extra) = self.tasks.get_mut(&id.row()).and_then(|task| task.extra.as_mut())
        {
            // What is erased is told to nobody.
            extra.ties.follow.clear();
        }
        if self.is_batch(id.row()) && (deed == Deed::Retry || !state.is_final()) {
            return self.act_on_batch(now, id, deed);
        }
        match deed {
            Deed::Retry => self.retry(now, id.row())?,
            Deed::Reschedule(at) => self.reschedule(now, id.row(), at),
            Deed::Cancel | Deed::Erase if state == State::Running => {
                self.cancel(now, id)?;
                return Ok(Done::Asked);
            }
            Deed::Cancel => drop(self.cancel(now, id)?),
            Deed::Dismiss => self.edit(id.row(), |task| task.record.dismissed = true),
            Deed::Delete | Deed::Erase => {
                let mut as_it_ended = None;
                if !state.is_final() {
                    self.cancel(now, id)?;
                    as_it_ended = self.tasks.get(&id.row()).map(|task| task.record.clone());
                }
                self.effects.gone.insert(id.row(), as_it_ended);
                // Its flow is not to succeed for its being gone.
                self.lose(id.row());
                self.forget(id.row());
            }
        }
        Ok(Done::Done)
    }

    /// A batch ends and runs again with its members; what comes after it is told first.
    fn act_on_batch(&mut self, now: Timestamp, id: TaskId, deed: Deed) -> Result<Done, Error> {
        match deed {
            Deed::Retry => drop(self.retry_batch(now, id)?),
            // It has no time of its own.
            Deed::Reschedule(_) | Deed::Dismiss => {}
            Deed::Cancel | Deed::Delete | Deed::Erase => {
                self.cancel(now, id)?;
                self.sum_up(now);
                if !self.by_id(id).is_some_and(|task| task.record.state.is_final()) {
                    return Ok(Done::Asked);
                }
                if deed != Deed::Cancel {
                    let as_it_ended = self.by_id(id).map(|task| task.record.clone());
                    self.effects.gone.insert(id.row(), as_it_ended);
                    self.forget(id.row());
                }
            }
        }
        Ok(Done::Done)
    }

    /// Stores a task in the place of another.
    fn put_in_place(&mut self, now: Timestamp, id: TaskId, with: NewTask) -> Result<Stored, Error> {
        let state = self.may_be_copied(id)?;
        let stored = self.enqueue(now, vec![with], None)?;
        if !state.is_final() && state != State::Running {
            self.cancel(now, id)?;
        }
        stored.into_iter().next().ok_or(Error::Closed)
    }

    fn put_each_in_place(
        &mut self,
        now: Timestamp,
        filter: &Filter,
        copies: &[(i64, Option<NewTask>)],
    ) -> Result<Tally, Error> {
        let mut slice = Tally { seen: copies.len(), ..Tally::default() };
        for (row, copy) in copies {
            let task = self.tasks.get(row).filter(|task| filter.passes(&task.record));
            match (task.map(|task| task.record.id), copy) {
                (None, _) => {}
                (Some(_), None) => slice.left += 1,
                (Some(id), Some(copy)) => {
                    let stored = self.put_in_place(now, id, copy.clone());
                    slice.count_copy(stored.map(|stored| stored.id))?;
                }
            }
        }
        Ok(slice)
    }

    fn retry(&mut self, now: Timestamp, row: i64) -> Result<(), Error> {
        self.take_key_again(now, row)?;
        let step_ms = self.step_ms;
        let waits = self.stand_behind(row);
        let before = self.tasks.get(&row).map_or(State::Failed, |task| task.record.state);
        self.edit(row, |task| {
            let spent = task.record.attempt;
            let base = std::mem::replace(&mut task.retried_at, spent);
            task.retried += 1;
            if task.record.state == State::Succeeded {
                task.steps.clear();
            }
            let record = &mut task.record;
            record.state = State::Ready;
            record.reason = None;
            record.finished_at = None;
            record.due_at = now;
            record.attempts_max = Deed::allowance(spent, record.attempts_max, base);
            record.cancel_requested = false;
            record.stuck = false;
            record.dismissed = false;
            record.result = None;
            record.expires_at = record.expires_at.filter(|at| *at > now);
            task.rank = rank(now, record.priority, step_ms);
            task.stand_again(waits);
        });
        self.take_along(now, row);
        self.effects.work |= !waits;
        let slot = self.tasks.get(&row).and_then(|task| task.extra.as_ref()?.ties.slot.clone());
        slot.map_or(Ok(()), |slot| calendar::reopened(self, &slot, before))
    }

    /// A retried task is the only one of its unique key again, or is not retried.
    fn take_key_again(&mut self, now: Timestamp, row: i64) -> Result<(), Error> {
        let extra = self.tasks.get(&row).and_then(|task| task.extra.as_ref());
        let unique = extra.and_then(|extra| extra.ties.unique.clone());
        let Some(unique) = unique.filter(|unique| !matches!(unique.held, Held::Until(_))) else {
            return Ok(());
        };
        if let Some(existing) = self.taken_by(now, row, &unique.key) {
            return Err(Error::NotUnique { existing });
        }
        self.ties.kept.unique.insert(unique.key, row);
        Ok(())
    }

    fn reschedule(&mut self, now: Timestamp, row: i64, at: Timestamp) {
        let step_ms = self.step_ms;
        self.edit(row, |task| {
            let record = &mut task.record;
            (record.state, record.reason) = Deed::moved_to(record.state, record.reason, at > now);
            let from = record.due_at.max(record.enqueued_at);
            record.expires_at = Deed::moved_expiry(record.expires_at, from, at.max(now));
            record.due_at = at;
            task.rank = rank(at, record.priority, step_ms);
        });
        self.effects.work = true;
        // It may have kept others waiting.
        self.left(now, row);
    }

    /// The state of a task that may be copied.
    fn may_be_copied(&self, id: TaskId) -> Result<State, Error> {
        let task = self.by_id(id).ok_or_else(|| Error::not_found(id))?;
        let TaskRecord { state, reason, .. } = task.record;
        let copied = Copied {
            id,
            state,
            reason,
            ties: task.extra.as_ref().map(|extra| &extra.ties),
            is_member: task.record.batch.is_some(),
            is_awaited: self.is_awaited(id.row()),
        };
        copied.refusal().map_or(Ok(state), Err)
    }

    fn forget(&mut self, row: i64) {
        self.let_go(row);
        self.cleared = self.cleared.max(row);
        self.let_artifacts_go(row);
        if let Some(task) = self.tasks.remove(&row) {
            self.index(&task, false);
            self.forget_edges(&task.record);
            if let Some(key) = &task.record.key {
                self.keys.remove(key);
            }
            self.effects.changed.push(row);
        }
    }

    fn workers(&self) -> Vec<WorkerRecord> {
        let members = self.members.iter();
        members
            .map(|(id, seat)| WorkerRecord {
                id: *id,
                name: seat.member.name.clone(),
                pid: std::process::id(),
                boot: String::new(),
                threads: seat.member.threads,
                serves: seat.member.serves,
                kinds: seat.member.kinds.clone(),
                queues: seat.member.queues.clone(),
                excluded: seat.member.exclude.clone(),
                since: seat.since,
                beats: 0,
                running: self.held_by(*id).take(RUNNING_SHOWN_MAX).map(running).collect(),
            })
            .collect()
    }

    fn paused(&self) -> Vec<Paused> {
        let rules = self.ties.kept.rules.iter();
        let paused = |(scope, rule): (&Scope, &Rule)| {
            Some(Paused { scope: scope.clone(), since: rule.paused_at? })
        };
        rules.filter_map(paused).collect()
    }

    /// All rules, and how many run under each that counts them.
    fn rules(&self) -> Vec<(Scope, Rule, u32)> {
        let rules = self.ties.kept.rules.iter();
        let counted = |(scope, rule): (&Scope, &Rule)| {
            let running = self.running.iter().filter_map(|(_, row)| self.tasks.get(row));
            let running = running.filter(|task| scope.covers(&task.lane.0, &task.lane.1)).count();
            (scope.clone(), rule.clone(), u32::try_from(running).unwrap_or(u32::MAX))
        };
        rules.map(counted).collect()
    }

    /// Ready tasks that go before a place, in the lanes that are open, of the processes that take it.
    fn ahead(&self, now: Timestamp, facts: &Facts, place: (i64, i64)) -> u64 {
        let task = &facts.task;
        let serving = |worker: &&WorkerRecord| worker.takes(&task.queue, &task.kind);
        let serving: Vec<&WorkerRecord> = facts.workers.iter().filter(serving).collect();
        let open = self.lanes.iter().filter(|((queue, kind), _)| {
            serving.iter().any(|worker| worker.takes(queue, kind))
                && facts.are_open(queue, kind, now)
        });
        let ahead: usize = open.map(|(_, lane)| lane.ready.range(..place).count()).sum();
        (ahead as u64).min(AHEAD_MAX)
    }

    /// What a task of this gate waits for.
    fn blocker(&self, now: Timestamp, key: &str, gate: Gate) -> Blocker {
        let mut blocker = Blocker::new(key, gate);
        if matches!(gate, Gate::Lock { .. }) {
            let holder = self.holders(key, State::Running, now).last();
            if let Some(holder) = holder {
                let gate = holder.extra.as_ref().and_then(|extra| extra.ties.gate);
                let since = holder.record.started_at.unwrap_or(now);
                blocker.held_by(holder.record.id, gate.unwrap_or(Gate::TURN), since);
            }
        }
        blocker
    }

    fn facts(&self, now: Timestamp, id: TaskId) -> Option<Facts> {
        let task = self.by_id(id)?;
        let due = task.record.state == State::Scheduled && task.record.due_at <= now;
        let gate = task.extra.as_ref().and_then(|extra| extra.gate());
        let mut facts = Facts {
            task: task.record.clone(),
            rules: self.rules(),
            gate: gate.map(|(key, gate)| self.blocker(now, key, gate)),
            parents: self.edges.open_before(id.row()),
            workers: self.workers(),
            ahead: 0,
        };
        if task.record.state == State::Ready || due {
            facts.ahead = self.ahead(now, &facts, (task.rank, id.row()));
        }
        Some(facts)
    }
}

fn running(task: &TaskRecord) -> RunningTask {
    RunningTask {
        id: task.id,
        kind: task.kind.clone(),
        started_at: task.started_at.unwrap_or_default(),
    }
}

impl Operate for Memory {
    fn act(&self, now: Timestamp, id: TaskId, deed: Deed) -> Result<(Done, Over), Error> {
        self.with(|book| book.telling(now, |book| book.act(now, id, deed)))
    }

    fn rows(&self, filter: &Filter, after: i64, last: i64) -> Result<Vec<i64>, Error> {
        Ok(self.with(|book| {
            let tasks = book.tasks.range(after.saturating_add(1)..);
            let tasks = tasks.take_while(|(row, _)| **row <= last);
            let found = tasks.filter(|(_, task)| filter.passes(&task.record));
            found.map(|(row, _)| *row).take(ROWS).collect()
        }))
    }

    fn act_on(
        &self,
        now: Timestamp,
        deed: Deed,
        filter: &Filter,
        rows: &[i64],
    ) -> Result<(Tally, Over), Error> {
        self.with(|book| {
            book.telling(now, |book| {
                let mut slice = Tally { seen: rows.len(), ..Tally::default() };
                for row in rows {
                    let task = book.tasks.get(row).filter(|task| filter.passes(&task.record));
                    if let Some(id) = task.map(|task| task.record.id) {
                        let answer = book.act(now, id, deed);
                        slice.count(deed, id, answer)?;
                    }
                }
                Ok(slice)
            })
        })
    }

    fn template(&self, id: TaskId) -> Result<Option<NewTask>, Error> {
        Ok(self.with(|book| book.by_id(id).map(super::task::Task::template)))
    }

    fn replace(&self, now: Timestamp, id: TaskId, with: NewTask) -> Result<(Stored, Over), Error> {
        self.with(|book| book.telling(now, |book| book.put_in_place(now, id, with)))
    }

    fn replace_each(
        &self,
        now: Timestamp,
        filter: &Filter,
        copies: &[(i64, Option<NewTask>)],
    ) -> Result<(Tally, Over), Error> {
        self.with(|book| {
            book.telling(now, |book| {
                book.as_a_whole(None, |book| book.put_each_in_place(now, filter, copies))
            })
        })
    }

    fn pause(&self, scope: &Scope, since: Option<Timestamp>) -> Result<bool, Error> {
        Ok(self.with(|book| {
            let rule = book.ties.kept.rules.entry(scope.clone()).or_default();
            let changed = rule.paused_at.is_some() != since.is_some();
            if changed {
                rule.paused_at = since;
            }
            if *rule == Rule::default() {
                book.ties.kept.rules.remove(scope);
            }
            book.effects.work |= changed;
            if changed {
                // Whoever was held back by it may fire.
                book.schedules.note_edition();
                book.effects.schedules = true;
            }
            book.note_deed(&changed);
            changed
        }))
    }

    fn paused(&self) -> Result<Vec<Paused>, Error> {
        Ok(self.with(|book| book.paused()))
    }

    fn set_limits(
        &self,
        now: Timestamp,
        scope: &Scope,
        limits: Option<Limits>,
    ) -> Result<(), Error> {
        self.with(|book| {
            let rule = book.ties.kept.rules.entry(scope.clone()).or_default();
            let set = limits.unwrap_or_default();
            (rule.max_running, rule.rate) = (set.max_running, set.rate);
            rule.edited_at = limits.map(|_| now);
            if *rule == Rule::default() {
                book.ties.kept.rules.remove(scope);
            }
            book.effects.work = true;
            book.note_deed(&());
        });
        Ok(())
    }

    fn limits(&self) -> Result<Vec<Limited>, Error> {
        Ok(self.with(|book| {
            let rules = book.ties.kept.rules.iter();
            let limited = rules.map(|(scope, rule)| Limited {
                scope: scope.clone(),
                limits: Limits { max_running: rule.max_running, rate: rule.rate },
                edited_at: rule.edited_at,
            });
            limited.filter(|of| of.edited_at.is_some() || of.limits != Limits::none()).collect()
        }))
    }

    fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        Ok(self.with(|book| book.workers()))
    }

    fn set_threads(&self, owner: i64, threads: usize) -> Result<(), Error> {
        self.with(|book| {
            if let Some(seat) = book.members.get_mut(&owner) {
                seat.member.threads = threads;
            }
            book.note_deed(&());
        });
        Ok(())
    }

    fn facts(&self, now: Timestamp, id: TaskId) -> Result<Option<Facts>, Error> {
        Ok(self.with(|book| book.facts(now, id)))
    }

    fn lanes_with_work(&self, now: Timestamp) -> Result<Vec<LaneName>, Error> {
        Ok(self.with(|book| {
            let due = book.scheduled.iter().take_while(|(due_at, _)| *due_at <= now);
            let due: Vec<_> =
                due.filter_map(|(_, row)| Some(book.tasks.get(row)?.lane.clone())).collect();
            let with_work = |lane: &super::Lane, name: &super::task::LaneName| {
                !lane.ready.is_empty() || due.contains(name)
            };
            let lanes = book.lanes.iter().filter(|(name, lane)| with_work(lane, name));
            let text = |name: &Arc<str>| name.to_string();
            lanes.map(|((queue, kind), _)| (text(queue), text(kind))).collect()
        }))
    }

    fn audit(&self, before: i64, size: usize) -> Result<Vec<(i64, AuditRecord)>, Error> {
        Ok(self.with(|book| book.audit(before, size)))
    }

    fn wipe(&self) -> Result<bool, Error> {
        Ok(true)
    }
}
