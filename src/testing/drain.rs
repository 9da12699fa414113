//! Tests of programs: runs what is due in the calling thread, until nothing is.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::clock::ManualClock;
use super::due::{every, live, next_due, next_slots};
use crate::client::Client;
use crate::error::Error;
use crate::hub::{Came, Pending, Ran, Stepped, Stepper};
use crate::id::TaskId;
use crate::mode::Mode;
use crate::time::Timestamp;

/// Attempts of one drain at most, where it says nothing else.
pub const DRAIN_LIMIT_DEFAULT: usize = 10_000;

/// What [`drain`] runs, and how far it goes.
#[derive(Debug, Clone)]
#[must_use = "it says what `drain` does"]
pub struct Drain {
    clock: Option<Arc<ManualClock>>,
    chained: bool,
    limit: usize,
    pending: Pending,
}

impl Default for Drain {
    fn default() -> Self {
        Self { clock: None, chained: true, limit: DRAIN_LIMIT_DEFAULT, pending: Pending::all() }
    }
}

impl Drain {
    /// What is due now, and what its bodies enqueue; at most [`DRAIN_LIMIT_DEFAULT`] (10,000) attempts.
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes due later too, such as delayed tasks, retries and snoozes: whenever nothing is due,
    /// the clock, which must be the client's, is moved on to the moment at which something is. Slots of
    /// schedules count too, but only the next of each, as most schedules have no end. Default: the clock stays.
    pub fn delayed(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// With `false` only tasks that are stored when the drain begins, not what their bodies enqueue, nor what
    /// schedules make later: in order of priority, due time and enqueuing. Default: true.
    pub fn chained(mut self, chained: bool) -> Self {
        self.chained = chained;
        self
    }

    /// Panics when it takes more attempts than this, as tasks that enqueue one another never come to an end. Moves of
    /// the clock count too. Default: [`DRAIN_LIMIT_DEFAULT`] (10,000).
    pub fn limit(mut self, attempts: usize) -> Self {
        self.limit = attempts;
        self
    }

    /// Only this kind, or one of those given.
    pub fn only(mut self, kind: impl Into<String>) -> Self {
        self.pending = self.pending.only(kind);
        self
    }

    /// All but this kind, or those given.
    pub fn except(mut self, kind: impl Into<String>) -> Self {
        self.pending = self.pending.except(kind);
        self
    }
}

/// What [`drain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Attempts that ended with a return value.
    pub succeeded: usize,
    /// Attempts after which the task is final without one.
    pub failed: usize,
    /// Attempts after which the task goes on later.
    pub postponed: usize,
    /// Tasks of the client, of whatever kind, that have not ended.
    pub left: usize,
}

/// Runs what is due in this thread, best first, until nothing more is: as
/// [`run_pending`](Client::run_pending) does, but never without end, and with a clock that it may move.
/// A task that fails does not stop the rest. When another thread shuts the client down meanwhile, it begins
/// nothing more and says what it did until then.
///
/// ```
/// use litework::testing::{Drain, ManualClock, drain};
/// use litework::{Client, Context, Mode, Result, task};
/// use std::time::Duration;
///
/// #[task]
/// fn invite(ctx: &Context, who: &str) -> Result<()> {
///     ctx.enqueue(remind::with(who).run_after(Duration::from_secs(86_400)))?;
///     Ok(())
/// }
///
/// #[task]
/// fn remind(who: &str) {}
///
/// let clock = ManualClock::new();
/// let builder = Client::in_memory().mode(Mode::Hold).clock(clock.clone());
/// let tasks = builder.register(invite).register(remind).open()?;
/// tasks.enqueue(invite::with("Ada"))?;
/// let drained = drain(&tasks, &Drain::new())?;
/// assert_eq!((drained.succeeded, drained.left), (1, 1)); // the reminder is due tomorrow
/// let drained = drain(&tasks, &Drain::new().delayed(&clock))?;
/// assert_eq!((drained.succeeded, drained.left), (1, 0));
/// # Ok::<(), litework::Error>(())
/// ```
///
/// # Errors
/// `unsupported` in mode `pool`, whose threads run what is due, and in mode `inline` with
/// [`chained(false)`](Drain::chained), as there bodies run what they enqueue; `other_clock` when the clock
/// is not the client's; `unknown_kind`; those of [`run_pending`](Client::run_pending). What a task
/// fails with is no error here, but is counted.
///
/// # Panics
/// When the [limit](Drain::limit) is passed; it names the kinds that ran most often.
#[track_caller]
pub fn drain(client: &Client, drain: &Drain) -> Result<Drained, Error> {
    check(client, drain)?;
    let mut run =
        Run { drain, ran: Ran::default(), steps: 0, kinds: BTreeMap::new(), slots: HashSet::new() };
    let mut reached = false;
    if let Some(runner) = client.hub.pending.get() {
        reached = run.go_on(client, runner.stepper())?;
    }
    // Here and not deeper, so that the panic names the caller's line.
    assert!(!reached, "{}", run.goes_round(client));
    let left = usize::try_from(client.count(&live())?).unwrap_or(usize::MAX);
    let Ran { succeeded, failed, postponed } = run.ran;
    Ok(Drained { succeeded, failed, postponed, left })
}

fn check(client: &Client, drain: &Drain) -> Result<(), Error> {
    client.check_open()?;
    if client.mode() == Mode::Pool {
        let allowed = "hold, enqueue or inline; the threads of a pool run what is due by themselves, so \
                       wait for the handles";
        return Err(Error::invalid("unsupported", "mode", "pool", allowed));
    }
    if client.mode() == Mode::Inline && !drain.chained {
        let allowed = "true in mode inline, where bodies run what they enqueue; use mode hold";
        return Err(Error::invalid("unsupported", "chained", false, allowed));
    }
    if let Some(clock) = &drain.clock {
        clock.check_drives(client)?;
    }
    let Pending { only, except, .. } = &drain.pending;
    only.iter().chain(except).try_for_each(|kind| client.hub.catalog.get(kind).map(|_| ()))
}

/// A drain under way.
struct Run<'a> {
    drain: &'a Drain,
    ran: Ran,
    /// Attempts, and moves of the clock.
    steps: usize,
    kinds: BTreeMap<Arc<str>, usize>,
    /// Schedules to whose next slot the clock was moved.
    slots: HashSet<i64>,
}

impl Run<'_> {
    /// Whether the limit was reached before the end.
    fn go_on(&mut self, client: &Client, runner: &dyn Stepper) -> Result<bool, Error> {
        let drain = self.drain;
        let mut held_back = runner.gather()?;
        let ids = if drain.chained { None } else { Some(self.there(client)?) };
        loop {
            let before = self.steps;
            let reached = match &ids {
                None => self.run_all(runner)?,
                Some(ids) => self.run_these(ids, runner)?,
            };
            if client.check_open().is_err() {
                return Ok(false);
            }
            if held_back && !reached && self.steps > before && drain.chained {
                // What has run has made room.
                held_back = runner.gather()?;
                continue;
            }
            let Some(clock) = drain.clock.as_ref().filter(|_| !reached) else {
                return Ok(reached);
            };
            let Some(next) = self.next(client, ids.as_deref())? else { return Ok(false) };
            self.steps += 1;
            if self.steps > drain.limit {
                return Ok(true);
            }
            clock.advance(clock.now().until(next));
            if drain.chained {
                held_back = runner.gather()?;
            }
        }
    }

    /// When the next of what is asked for is due.
    fn next(
        &mut self,
        client: &Client,
        ids: Option<&[TaskId]>,
    ) -> Result<Option<Timestamp>, Error> {
        let drain = self.drain;
        let task = next_due(client, ids, |task| chosen(client, drain, &task.kind))?;
        if ids.is_some() {
            return Ok(task);
        }
        let mut slots = next_slots(client, |kind| chosen(client, drain, kind))?;
        slots.retain(|(schedule, _)| !self.slots.contains(schedule));
        let next = slots.iter().map(|(_, at)| *at).chain(task).min();
        let reached = slots.into_iter().filter(|(_, at)| next.is_some_and(|next| *at <= next));
        self.slots.extend(reached.map(|(schedule, _)| schedule));
        Ok(next)
    }

    fn run_all(&mut self, runner: &dyn Stepper) -> Result<bool, Error> {
        while let Some(came) = runner.run_next(&self.drain.pending)? {
            self.note(&came);
            if self.steps > self.drain.limit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Round after round, as the end of one may let another go on.
    fn run_these(&mut self, ids: &[TaskId], runner: &dyn Stepper) -> Result<bool, Error> {
        loop {
            let mut moved = false;
            for id in ids {
                match runner.run_one(*id)? {
                    Stepped::Ran(came) => self.note(&came),
                    Stepped::Ended => {}
                    Stepped::NotNow => continue,
                }
                moved = true;
                if self.steps > self.drain.limit {
                    return Ok(true);
                }
            }
            if !moved {
                return Ok(false);
            }
        }
    }

    /// Counts an attempt. One that was handed back counts too: it may have been cancelled before it began,
    /// and while the client shuts down nothing more is found.
    fn note(&mut self, came: &Came) {
        self.steps += 1;
        *self.kinds.entry(Arc::clone(&came.kind)).or_default() += 1;
        self.ran.succeeded += came.ran.succeeded;
        self.ran.failed += came.ran.failed;
        self.ran.postponed += came.ran.postponed;
    }

    /// What has not ended, in the order in which it is run.
    fn there(&self, client: &Client) -> Result<Vec<TaskId>, Error> {
        let (mut tasks, _bad) = every(client, &live())?;
        tasks.retain(|task| chosen(client, self.drain, &task.kind));
        tasks.sort_by_key(|task| (std::cmp::Reverse(task.priority), task.due_at, task.id.row()));
        Ok(tasks.into_iter().map(|task| task.id).collect())
    }

    fn goes_round(&self, client: &Client) -> String {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, attempts)| std::cmp::Reverse(**attempts));
        let mut text =
            format!("drain: it did not come to an end within {} attempts; ", self.drain.limit);
        let left = client.count(&live()).map_or_else(|_| "?".to_owned(), |left| left.to_string());
        // Writing to a text does not fail.
        let _written = write!(text, "tasks that have not ended: {left}; attempts by kind: ");
        for (at, (kind, attempts)) in kinds.iter().take(10).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let _written = write!(text, "{comma}{kind} {attempts}");
        }
        text
    }
}

fn chosen(client: &Client, drain: &Drain, kind: &str) -> bool {
    let is = |name: &String| client.hub.catalog.is_same(name, kind);
    let Pending { only, except, .. } = &drain.pending;
    (only.is_empty() || only.iter().any(is)) && !except.iter().any(is)
}
