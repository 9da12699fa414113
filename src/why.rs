//! Watch: the first cause that a task is not running, and when it will clear.
//!
//! Engines gather [`Facts`]; what they mean is decided here, once for all of them.

use std::time::Duration;

use crate::gate::Gate;
use crate::id::TaskId;
use crate::presence::WorkerRecord;
use crate::record::TaskRecord;
use crate::rule::{Admits, Rule, Scope};
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Tasks ahead are counted up to this many.
pub(crate) const AHEAD_MAX: u64 = 10_000;

/// Why a task is not running: the first of these that holds, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// It has ended.
    Ended {
        /// How.
        state: State,
    },
    /// It is running.
    Running {
        /// The name of the process that has it in hand.
        worker: Option<String>,
        /// Whether it was asked to stop and has not yet.
        stopping: bool,
    },
    /// It waits for other tasks to end; a [`Batch`](crate::Batch) does for its members.
    Parents {
        /// How many have not ended.
        open: u64,
    },
    /// It waits for a lock.
    Lock {
        /// The lock.
        name: String,
        /// The task that holds it.
        holder: Option<TaskId>,
    },
    /// As many tasks of its key, kind or queue run as may.
    Limit {
        /// What the limit holds for, such as `queue mail`.
        name: String,
    },
    /// Its key or queue may start the next task later: by its rate, or because a task was told so
    /// ([`Failure::rate_limited`](crate::Failure::rate_limited)).
    Rate {
        /// What that holds for, such as `queue mail`.
        name: String,
    },
    /// An attempt failed, and the next waits for its back-off.
    BackOff {
        /// Attempts spent.
        attempt: u32,
    },
    /// It asked to be run later.
    Snoozed,
    /// Its time has not come.
    NotDue,
    /// Its queue or its kind is paused.
    Paused {
        /// What is paused.
        scope: Scope,
        /// Since when.
        since: Timestamp,
    },
    /// No live process runs tasks of its queue by itself.
    NoWorker,
    /// Live processes run tasks of its queue, but none knows its kind.
    NoHandler,
    /// Other ready tasks go before it.
    Ahead {
        /// How many, at least; counted up to 10,000.
        tasks: u64,
    },
    /// It is the next, and all threads that could run it are busy.
    Busy {
        /// How many threads there are.
        threads: usize,
    },
    /// Nothing stands in its way: it is about to be started.
    Next,
}

/// What [`Client::why`](crate::Client::why) says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Why {
    /// The first cause.
    pub cause: Cause,
    /// When it clears by itself, where that is known.
    pub until: Option<Timestamp>,
    /// The same as a sentence for people; the wording may improve.
    pub text: String,
}

/// What an engine knows of a task and of what may stand in its way.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) task: TaskRecord,
    /// All rules, and how many run under each; queues first, by name.
    pub(crate) rules: Vec<(Scope, Rule, u32)>,
    /// Its gate, where it has one.
    pub(crate) gate: Option<Blocker>,
    /// How many tasks it waits for, the members of a batch included.
    pub(crate) parents: u64,
    pub(crate) workers: Vec<WorkerRecord>,
    /// Ready tasks that go before it and may be started.
    pub(crate) ahead: u64,
}

/// What a task waits for with others of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocker {
    name: String,
    is_rate: bool,
    /// The task that runs behind it, if that is one.
    holder: Option<TaskId>,
    /// When it opens, if that is known.
    opens_at: Option<Timestamp>,
}

impl Blocker {
    /// The gate of this key, which begins with a word for what it is.
    pub(crate) fn new(key: &str, gate: Gate) -> Self {
        let name = key.split_once(':').map_or(key, |(_, name)| name).to_owned();
        Self { name, is_rate: matches!(gate, Gate::Rate(_)), holder: None, opens_at: None }
    }

    /// A lock is held by a task that runs since then.
    pub(crate) fn held_by(&mut self, holder: TaskId, gate: Gate, since: Timestamp) {
        self.holder = Some(holder);
        if let Gate::Lock { expires_ms: Some(span), .. } = gate {
            self.opens_at = Some(since.after(Duration::from_millis(span)));
        }
    }
}

impl Facts {
    /// The first cause, in the order of [`Cause`].
    pub(crate) fn judge(self, now: Timestamp) -> Why {
        let (cause, until) = self.first_cause(now);
        let text = say(&cause, until, now);
        Why { cause, until, text }
    }

    fn first_cause(self, now: Timestamp) -> (Cause, Option<Timestamp>) {
        let task = &self.task;
        match (task.state, task.reason) {
            (State::Running, _) => {
                let worker = task.worker_name.clone();
                return (Cause::Running { worker, stopping: task.cancel_requested }, None);
            }
            (state, _) if state.is_final() => return (Cause::Ended { state }, None),
            (State::Waiting, Some(Reason::Parents)) => {
                return (Cause::Parents { open: self.parents }, None);
            }
            (State::Waiting, reason) => return self.blocked(reason),
            (State::Scheduled, reason) if task.due_at > now => {
                let cause = match reason {
                    Some(Reason::Retry) => Cause::BackOff { attempt: task.attempt },
                    Some(Reason::Snoozed) => Cause::Snoozed,
                    Some(Reason::Rate) => Cause::Rate { name: self.closed_name() },
                    _ => Cause::NotDue,
                };
                return (cause, Some(task.due_at));
            }
            _ => {}
        }
        self.cause_of_ready(now)
    }

    fn gate_name(&self) -> String {
        self.gate.as_ref().map_or_else(String::new, |gate| gate.name.clone())
    }

    /// What a task closes that is told to come again later: the rate it stands at, or else its queue.
    fn closed_name(&self) -> String {
        let rate = self.gate.as_ref().filter(|gate| gate.is_rate);
        rate.map_or_else(|| Scope::queue(&*self.task.queue).to_string(), |gate| gate.name.clone())
    }

    fn blocked(&self, reason: Option<Reason>) -> (Cause, Option<Timestamp>) {
        let name = self.gate_name();
        let gate = self.gate.as_ref();
        let cause = match reason {
            Some(Reason::Lock) => Cause::Lock { name, holder: gate.and_then(|gate| gate.holder) },
            _ if gate.is_some_and(|gate| gate.is_rate) => Cause::Rate { name },
            _ => Cause::Limit { name },
        };
        (cause, gate.and_then(|gate| gate.opens_at))
    }

    /// Whether all rules admit a task of this queue and kind.
    pub(crate) fn are_open(&self, queue: &str, kind: &str, now: Timestamp) -> bool {
        let mut rules = self.rules.iter().filter(|(scope, ..)| scope.covers(queue, kind));
        rules.all(|(_, rule, running)| rule.admits(*running, now) == Admits::Yes)
    }

    /// For a task that may be claimed: first what people have set, then who could run it.
    fn cause_of_ready(self, now: Timestamp) -> (Cause, Option<Timestamp>) {
        let Self { task, rules, workers, ahead, .. } = self;
        let of_it = |(scope, ..): &&(Scope, Rule, u32)| scope.covers(&task.queue, &task.kind);
        for (scope, rule, _) in rules.iter().filter(of_it) {
            if let Some(since) = rule.paused_at {
                return (Cause::Paused { scope: scope.clone(), since }, None);
            }
        }
        for (scope, rule, running) in rules.iter().filter(of_it) {
            let name = scope.to_string();
            match rule.admits(*running, now) {
                Admits::Yes => {}
                Admits::No(None) => return (Cause::Limit { name }, None),
                Admits::No(until) => return (Cause::Rate { name }, until),
            }
        }
        (who_could_run(&task, &workers, ahead), None)
    }
}

fn who_could_run(task: &TaskRecord, workers: &[WorkerRecord], ahead: u64) -> Cause {
    if !workers.iter().any(|worker| worker.takes_queue(&task.queue)) {
        return Cause::NoWorker;
    }
    let serving = workers.iter().filter(|worker| worker.takes(&task.queue, &task.kind));
    let serving: Vec<&WorkerRecord> = serving.collect();
    if serving.is_empty() {
        return Cause::NoHandler;
    }
    if ahead > 0 {
        return Cause::Ahead { tasks: ahead };
    }
    if serving.iter().all(|worker| worker.running.len() >= worker.threads) {
        return Cause::Busy { threads: serving.iter().map(|worker| worker.threads).sum() };
    }
    Cause::Next
}

fn say(cause: &Cause, until: Option<Timestamp>, now: Timestamp) -> String {
    let when = until.map_or_else(String::new, |at| format!(" until {at}, {}", span(now.until(at))));
    match cause {
        Cause::Ended { state } => format!("it has ended: {state}"),
        Cause::Running { worker, stopping } => {
            let worker = worker.as_deref().unwrap_or("a process");
            let stop = if *stopping { ", and was asked to stop" } else { "" };
            format!("{worker} is running it{stop}")
        }
        Cause::Parents { open: 1 } => "it waits for 1 task to end".to_owned(),
        Cause::Parents { open } => format!("it waits for {open} tasks to end"),
        Cause::Lock { name, holder: Some(holder) } => {
            format!("it waits for the lock {name}, which task {holder} holds{when}")
        }
        Cause::Lock { name, holder: None } => format!("it waits for the lock {name}{when}"),
        Cause::Limit { name } => format!("as many tasks of {name} run as may{when}"),
        Cause::Rate { name } => format!("the rate of {name} lets no task start{when}"),
        Cause::BackOff { attempt } => format!("attempt {attempt} failed, and it backs off{when}"),
        Cause::Snoozed => format!("it asked to be run later: it sleeps{when}"),
        Cause::NotDue => format!("it is not due{when}"),
        Cause::Paused { scope, since } => format!("the {scope} is paused since {since}"),
        Cause::NoWorker => "no live process runs tasks of its queue; start a pool".to_owned(),
        Cause::NoHandler => {
            "live processes serve its queue, but none knows its kind; register it there".to_owned()
        }
        Cause::Ahead { tasks } if *tasks >= AHEAD_MAX => {
            format!("{AHEAD_MAX} ready tasks or more go before it")
        }
        Cause::Ahead { tasks: 1 } => "1 ready task goes before it".to_owned(),
        Cause::Ahead { tasks } => format!("{tasks} ready tasks go before it"),
        Cause::Busy { threads: 1 } => "it is the next, and the one thread is busy".to_owned(),
        Cause::Busy { threads } => format!("it is the next, and all {threads} threads are busy"),
        Cause::Next => "it is about to be started".to_owned(),
    }
}

/// `in 90 s`, in whole seconds, at least one.
fn span(left: Duration) -> String {
    format!("in {} s", left.as_secs().max(1))
}
