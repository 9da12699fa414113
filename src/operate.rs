//! Every step of the journey: what people do from outside, and what they ask: run it again, forget it,
//! move it, pause that queue, who runs what, and why does it not run?

mod edit;

use std::sync::Arc;

use serde_json::Value;

pub use self::edit::Edit;
use crate::audit::{self, of_ids};
use crate::client::{AsTaskId, Client};
use crate::deed::{Deed, Done};
use crate::error::Error;
use crate::flow::BATCH_KIND;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::json;
use crate::mode::Mode;
use crate::options::{ATTEMPTS_MAX, Options};
use crate::presence::WorkerRecord;
use crate::range::Range;
use crate::record::{NewTask, TaskRecord};
use crate::rule::{Limited, Paused, Scope};
use crate::task::{CallOptions, Due};
use crate::ties::Extra;
use crate::time::{AsMoment, Timestamp};
use crate::unserved::Unserved;
use crate::why::Why;

/// Threads of a pool at most.
pub(crate) const WORKERS_MAX: usize = 1_024;
/// Threads of a pool.
pub(crate) const WORKERS: Range<usize> = Range { least: 1, most: WORKERS_MAX, text: "1 to 1024" };

/// One task.
impl Client {
    /// Runs an ended task again, whatever its end was, a success too: it is due now, keeps its
    /// errors, and may have as many attempts again as it had in the beginning. A return value is
    /// dropped, and so is an expiry that has passed. Steps that it has done are not done again, but for
    /// those of a success, which begins anew. In mode `inline` it has run when this returns.
    ///
    /// It takes along what has ended only because of it, as `failed` or `cancelled` with the reason
    /// `parent`: tasks that come after it, its [`Batch`](crate::Batch) unless that has succeeded, what comes
    /// after that ([`Flow::on_success`](crate::Flow::on_success)), and so on. They wait for it again, each with
    /// as many attempts as it had in the beginning; in mode `inline` they are left to `run_pending`. What has
    /// ended because of another task too stays as it is until that one is retried, and so does a task whose
    /// unique key is taken by now. Where a task before this one runs again as well, this one waits for it.
    ///
    /// Of the batch of a flow, the members that failed or were cancelled run again, and what has ended with
    /// them; in mode `inline` [`Client::run_pending`] runs them.
    ///
    /// A task that was quarantined keeps its crashes on record: it runs beside no other such task, and
    /// the next crash quarantines it again.
    ///
    /// ```
    /// # use litework::{Client, Failure, Result, State, task};
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// static REPAIRED: AtomicBool = AtomicBool::new(false);
    ///
    /// #[task(attempts = 1)]
    /// fn print() -> Result<()> {
    ///     if REPAIRED.load(Ordering::SeqCst) { Ok(()) } else { Err("no paper")? }
    /// }
    ///
    /// let tasks = Client::in_memory().register(print).open()?;
    /// let handle = tasks.enqueue(print::with())?;
    /// assert_eq!(handle.refresh()?.state, State::Failed);
    /// REPAIRED.store(true, Ordering::SeqCst);
    /// tasks.retry(handle.id())?;
    /// assert_eq!(handle.refresh()?.state, State::Succeeded);
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// `not_found`; `not_finished` for a task that has not ended, which
    /// [`reschedule`](Client::reschedule) makes due now; `not_unique` where its unique key is taken by now;
    /// `closed`, `reentrant`; `not_stored` and `unknown_outcome` from the engine.
    pub fn retry(&self, id: impl AsTaskId) -> Result<(), Error> {
        let id = id.as_task_id()?;
        self.act(id, Deed::Retry)?;
        self.run_in_caller(&[id]);
        Ok(())
    }

    /// Forgets a task, with its arguments, its result, its errors and its steps. One that has not
    /// ended is cancelled first, so whoever waits for it hears of that.
    ///
    /// ```
    /// # use litework::{Client, Mode, task};
    /// #[task]
    /// fn greet(name: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(greet).open()?;
    /// let handle = tasks.enqueue(greet::with("Ada"))?;
    /// tasks.delete(handle.id())?;
    /// assert_eq!(tasks.get(handle.id()).unwrap_err().code(), "not_found");
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `not_found`; `running` for a task that runs, which is to be cancelled first; else those of
    /// [`Client::retry`].
    pub fn delete(&self, id: impl AsTaskId) -> Result<(), Error> {
        self.act(id.as_task_id()?, Deed::Delete).map(drop)
    }

    /// Takes an ended task off the list of whoever waited for it ([`Filter::dismissed`](crate::Filter::dismissed)). It stays
    /// as it is for all others, until it is pruned.
    ///
    /// ```
    /// # use litework::{Client, Filter, task};
    /// #[task]
    /// fn greet(name: &str) {}
    ///
    /// let tasks = Client::in_memory().register(greet).open()?;
    /// let id = tasks.enqueue(greet::with("Ada").owner("ada"))?.id();
    /// tasks.dismiss(id)?;
    /// let mine = Filter::new().owner("ada");
    /// assert_eq!(tasks.count(&mine.clone().dismissed(false))?, 0);
    /// assert_eq!(tasks.count(&mine)?, 1);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `not_found`; `not_finished` for a task that has not ended; else those of [`Client::retry`].
    pub fn dismiss(&self, id: impl AsTaskId) -> Result<(), Error> {
        self.act(id.as_task_id()?, Deed::Dismiss).map(drop)
    }

    /// Makes a task that has not started due at this moment, from 1970 to 9999; a past moment makes it
    /// due now, also where it waited for its next attempt. Its expiry moves along. A task that waits
    /// for others goes on waiting for them.
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, State, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn greet(name: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(greet).open()?;
    /// let handle = tasks.enqueue(greet::with("Ada").run_after(Duration::from_secs(60 * 60)))?;
    /// tasks.reschedule(handle.id(), chrono::Utc::now())?; // now, after all
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 1);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `time_out_of_range`; `unsupported` for a moment yet to come, where the client runs nothing later
    /// ([`Client::immediate`]); `not_found`; `running` and `already_finished` for a task that has started
    /// or ended; else those of [`Client::retry`].
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn reschedule(&self, id: impl AsTaskId, moment: impl AsMoment) -> Result<(), Error> {
        let id = id.as_task_id()?;
        let at = moment_of(&moment)?;
        self.check_may_wait_till(at, || format!("task {id}"))?;
        self.act(id, Deed::Reschedule(at))?;
        self.run_in_caller(&[id]);
        Ok(())
    }

    /// Stores a changed copy of a task, and cancels that one if it has not started, in one commit. One
    /// that runs or has ended stays as it is: what was run stands in its record for good.
    ///
    /// The copy has the task's kind, arguments, options, tags, metadata, owner, and its lock or limit, but
    /// neither its key nor its unique key, and it is due when that one was to be, or now. The kind need
    /// not be registered here.
    ///
    /// What links a task to others is not copied, so that a copy is refused (`linked`) of the batch of a
    /// flow, of a task that takes results, and, as long as it has not started, of one that waits for
    /// others, of one that others wait for, and of a member of a flow. The error says what to do instead.
    ///
    /// ```
    /// # use litework::{Client, Mode, State, task};
    /// #[task]
    /// fn resize(path: &str, width: u32) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(resize).open()?;
    /// let wrong = tasks.enqueue(resize::with("cat.png", 64_000))?;
    /// let copy = tasks.edit_as_copy(wrong.id(), |edit| edit.argument("width", 640).priority(10))?;
    /// assert_eq!(copy.arguments, r#"{"path":"cat.png","width":640}"#);
    /// assert_eq!(wrong.refresh()?.state, State::Cancelled);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `not_found`; `linked`; `unsupported` for an option that a copy cannot change, see [`Edit::options`]; those of
    /// [`Client::enqueue`] for what was changed; else those of [`Client::retry`].
    pub fn edit_as_copy(
        &self,
        id: impl AsTaskId,
        change: impl FnOnce(Edit) -> Edit,
    ) -> Result<TaskRecord, Error> {
        self.check_open()?;
        let id = id.as_task_id()?;
        let now = self.hub.clock.now();
        let new = self.copy_of(id, now, change)?;
        let by = self.entry("edit_as_copy", || of_ids(&[id]));
        let replace = || self.hub.backend.replace(now, id, new);
        let (stored, over) = audit::during(by.as_ref(), replace)?;
        self.hub.tell(&over);
        self.run_in_caller(&[stored.id]);
        self.get(stored.id)
    }

    /// What is stored as a changed copy of a task.
    pub(crate) fn copy_of(
        &self,
        id: TaskId,
        now: Timestamp,
        change: impl FnOnce(Edit) -> Edit,
    ) -> Result<NewTask, Error> {
        let old = self.hub.backend.template(id)?.ok_or_else(|| Error::not_found(id))?;
        let arguments = serde_json::from_str(&old.arguments).map_err(|error| Error::BadRow {
            row: id.row(),
            column: "arguments",
            reason: error.to_string(),
        })?;
        let edit = change(Edit { arguments, with: CallOptions::default() });
        self.edited(id, old, &edit, now)
    }

    fn edited(
        &self,
        id: TaskId,
        old: NewTask,
        edit: &Edit,
        now: Timestamp,
    ) -> Result<NewTask, Error> {
        let stored = Options::new()
            .queue(old.queue.to_string())
            .priority(old.priority.into())
            // One that was retried has more than it was given.
            .attempts(old.attempts_max.clamp(1, ATTEMPTS_MAX))
            .at_most_once(old.at_most_once)
            .with_run(old.options.as_deref());
        let damaged = |reason| Error::BadRow { row: id.row(), column: "options", reason };
        let stored = stored.map_err(|error| damaged(error.to_string()))?;
        edit.with.options.check_for_copy()?;
        let options = edit.with.options.over(&stored);
        // What was out of its range before is not the caller's.
        let plan = options.checked().map_err(|error| match stored.checked() {
            Err(before) => damaged(before.to_string()),
            Ok(_) => error,
        })?;
        // A batch stands in a queue of its own, and the engine says why it has no copy.
        if &*old.kind != BATCH_KIND {
            self.hub.catalog.check_queue(&plan.queue)?;
        }
        let due_at = match edit.with.due {
            Due::Now => old.due_at.max(now),
            due => {
                let moment = due.moment(now)?;
                self.check_may_wait_till(moment, || format!("task {}", old.kind))?;
                moment
            }
        };
        let tags: Vec<String> = old
            .tags
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut with = edit.with.clone();
        with.tags.extend(tags.into_iter().map(Into::into));
        let arguments = edit.arguments_of(&old.arguments, self.hub.limits)?;
        let mut extra = old.extra;
        if !json::same(&arguments, &old.arguments) {
            self.move_gate(&old.kind, &arguments, now, extra.as_deref_mut())?;
        }
        if let Some(owner) = with.checked_owner()? {
            extra.get_or_insert_default().owner = Some(owner.to_owned());
        }
        let expires_at = match plan.expires_after {
            Some(span) => Some(due_at.max(now).after(span)),
            None => Deed::moved_expiry(old.expires_at, old.due_at, due_at.max(now)),
        };
        Ok(NewTask {
            queue: plan.queue,
            priority: plan.priority,
            due_at,
            expires_at,
            attempts_max: plan.attempts_max,
            at_most_once: plan.at_most_once,
            arguments,
            extra,
            tags: with.tags_text()?,
            options: options.stored(),
            ..old
        })
    }

    /// A gate whose key is made from arguments stands elsewhere for others. Where the kind is not known
    /// here, or the gate is the call's own, it stays.
    fn move_gate(
        &self,
        kind: &str,
        arguments: &str,
        now: Timestamp,
        extra: Option<&mut Extra>,
    ) -> Result<(), Error> {
        let kind = self.hub.catalog.get(kind).ok();
        let ties = kind.and_then(|kind| kind.plan.ties.as_ref().map(|ties| (kind, ties)));
        if let (Some(extra), Some((kind, ties))) = (extra, ties)
            && extra.wait_key.is_some()
        {
            let anew = ties.resolve(&kind.name, arguments, now)?;
            if anew.ties.unique.is_none() && anew.wait_key.is_some() {
                (extra.wait_key, extra.ties.gate) = (anew.wait_key, anew.ties.gate);
            }
        }
        Ok(())
    }

    /// Refuses a moment yet to come where the client runs nothing later.
    pub(crate) fn check_may_wait_till(
        &self,
        at: Timestamp,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        self.hub.catalog.check_later(at > self.hub.clock.now(), what)
    }

    fn act(&self, id: TaskId, deed: Deed) -> Result<Done, Error> {
        self.check_open()?;
        let (now, by) =
            (self.hub.clock.now(), self.entry(deed.word(), || deed.what(of_ids(&[id]))));
        let act = || self.hub.backend.act(now, id, deed);
        let (done, over) = audit::during(by.as_ref(), act)?;
        self.hub.tell(&over);
        Ok(done)
    }

    /// In mode `inline` the caller runs what has become ready.
    pub(crate) fn run_in_caller(&self, ids: &[TaskId]) {
        if self.hub.mode == Mode::Inline
            && let Some(runner) = self.hub.runner.get()
        {
            for id in ids {
                let _in_its_row = runner.run_stored(*id);
            }
        }
    }
}

fn of_scope(scope: &Scope) -> Value {
    match scope {
        Scope::Queue(name) => serde_json::json!({ "queue": name }),
        Scope::Kind(name) => serde_json::json!({ "kind": name }),
    }
}

pub(crate) fn moment_of(moment: &impl AsMoment) -> Result<Timestamp, Error> {
    Due::At(moment.as_unix_millis()).moment(Timestamp::MIN)
}

/// Queues, kinds, processes.
impl Client {
    /// Starts no task of a queue or a kind any more, in any process, until it is resumed; this is
    /// stored, and survives all of them. What runs goes on; tasks can be enqueued, cancelled and
    /// deleted as before. False where it was paused already.
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, Scope, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(send).open()?;
    /// tasks.enqueue(send::with("ada@example.com"))?;
    /// tasks.pause(&Scope::queue("mail"))?;
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 0);
    /// tasks.resume(&Scope::queue("mail"))?;
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 1);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `bad_queue` and `bad_name` for the name; `closed`, `reentrant`; `not_stored` and
    /// `unknown_outcome` from the engine.
    pub fn pause(&self, scope: &Scope) -> Result<bool, Error> {
        self.set_paused(scope, Some(self.hub.clock.now()))
    }

    /// Ends a pause; what is due starts at once. False where it was not paused.
    ///
    /// # Errors
    /// Those of [`Client::pause`].
    pub fn resume(&self, scope: &Scope) -> Result<bool, Error> {
        self.set_paused(scope, None)
    }

    fn set_paused(&self, scope: &Scope, since: Option<Timestamp>) -> Result<bool, Error> {
        self.check_open()?;
        scope.checked()?;
        let action = if since.is_some() { "pause" } else { "resume" };
        let by = self.entry(action, || of_scope(scope));
        audit::during(by.as_ref(), || self.hub.backend.pause(scope, since))
    }

    /// What is paused: queues first, by name.
    ///
    /// # Errors
    /// `storage` where it cannot be read.
    pub fn paused(&self) -> Result<Vec<Paused>, Error> {
        self.hub.backend.paused()
    }

    /// Sets the limits of a queue or a kind in the name of a person: they are stored, hold in all
    /// processes at once, and go before what programs declare. What runs goes on.
    ///
    /// ```
    /// # use litework::{Client, Limits, Mode, Rate, Scope, task};
    /// # use std::time::Duration;
    /// # #[task(queue = "mail", max_running = 8)]
    /// # fn send(to: &str) {}
    /// # let tasks = Client::in_memory().mode(Mode::Hold).register(send).open()?;
    /// let calm = Limits::none().max_running(2).rate(Rate::per(60, Duration::from_secs(60)));
    /// tasks.set_limits(&Scope::queue("mail"), calm)?;
    /// assert_eq!(tasks.limits()?.len(), 2); // and what the kind declares
    /// tasks.reset_limits(&Scope::queue("mail"))?;
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `bad_queue` and `bad_name` for the name; `out_of_range`; `closed`, `reentrant`; `not_stored` and
    /// `unknown_outcome` from the engine.
    pub fn set_limits(&self, scope: &Scope, limits: Limits) -> Result<(), Error> {
        limits.check(&format!("max_running of {scope}"))?;
        self.change_limits(scope, Some(limits))
    }

    /// Forgets what a person has set. What programs declare counts again when they open the file next.
    ///
    /// # Errors
    /// Those of [`Client::set_limits`].
    pub fn reset_limits(&self, scope: &Scope) -> Result<(), Error> {
        self.change_limits(scope, None)
    }

    fn change_limits(&self, scope: &Scope, limits: Option<Limits>) -> Result<(), Error> {
        self.check_open()?;
        scope.checked()?;
        let action = if limits.is_some() { "set_limits" } else { "reset_limits" };
        let by = self.entry(action, || {
            let mut what = of_scope(scope);
            if let Some(most) = limits.and_then(|limits| limits.max_running) {
                what["max_running"] = most.into();
            }
            if let Some(rate) = limits.and_then(|limits| limits.rate) {
                what["rate"] = serde_json::to_value(rate).unwrap_or_default();
            }
            what
        });
        let now = self.hub.clock.now();
        audit::during(by.as_ref(), || self.hub.backend.set_limits(now, scope, limits))
    }

    /// The limits of queues and kinds that hold now: queues first, by name.
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn limits(&self) -> Result<Vec<Limited>, Error> {
        self.hub.backend.limits()
    }

    /// Gives the pool of this client so many threads, 1 to 1,024, from now on. New ones start at once;
    /// those that are too many end when their bodies have. It holds until the client is shut down.
    ///
    /// ```
    /// # use litework::Client;
    /// let tasks = Client::in_memory().workers(2).open()?;
    /// tasks.set_workers(8)?;
    /// assert_eq!(tasks.workers()?[0].threads, 8);
    /// assert_eq!(tasks.set_workers(0).unwrap_err().code(), "out_of_range");
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `out_of_range`, also for 0: pause what is not to be run; `no_pool` in every mode but `pool`;
    /// `closed`; `storage` when a thread cannot be started, and then there are as many as could be;
    /// `not_stored` when the number could not be stored for others to see, and then it holds all the
    /// same.
    pub fn set_workers(&self, threads: usize) -> Result<(), Error> {
        self.check_open()?;
        if !(1..=WORKERS_MAX).contains(&threads) {
            let allowed = "1 to 1024; to run nothing, pause the queues";
            return Err(Error::invalid("out_of_range", "workers", threads, allowed));
        }
        let resized = match self.hub.runner.get() {
            Some(runner) => {
                let what =
                    || serde_json::json!({ "program": &*self.hub.program, "threads": threads });
                let by = self.entry("set_workers", what);
                audit::during(by.as_ref(), || Arc::clone(runner).resize(threads))?
            }
            None => false,
        };
        if resized {
            return Ok(());
        }
        let allowed = "mode pool: only a pool has threads";
        Err(Error::invalid("no_pool", "mode", self.hub.mode.as_str(), allowed))
    }

    /// The live processes that run tasks, and what each has in hand.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().name("web").workers(3).register(double).open()?;
    /// let worker = &tasks.workers()?[0];
    /// assert_eq!((worker.name.as_str(), worker.threads, worker.running.len()), ("web", 3, 0));
    /// assert!(worker.serves && worker.knows("double"));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        self.hub.backend.workers()
    }

    /// Queues and kinds of which tasks could be started now, or schedules are due (of the kinds that this
    /// program knows), and which no live process runs by itself; what is paused is not among them.
    ///
    /// Of each there is a warning (`tracing`, level WARN), once for as long as it lasts. A pool looks for
    /// them by itself, whoever has stored the tasks: first 30 to 40 s after its start, then every 30 to 40 s. A
    /// client in mode `enqueue` looks inside of `enqueue`, `enqueue_many` and `enqueue_flow`: the first time, then
    /// once in 30 s at most; it warns of nothing while it enqueues nothing. Modes `inline` and `hold` never warn.
    ///
    /// ```
    /// # use litework::{Client, Mode, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(send).open()?;
    /// assert_eq!(tasks.unserved()?, []);
    /// tasks.enqueue(send::with("ada@example.com"))?;
    /// let unserved = &tasks.unserved()?[0];
    /// assert_eq!((unserved.queue.as_str(), unserved.kind.as_str()), ("mail", "send"));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn unserved(&self) -> Result<Vec<Unserved>, Error> {
        self.hub.unserved(self.hub.clock.now())
    }

    /// Why a task is not running: the first cause, in the order of [`Cause`](crate::Cause), and when
    /// it clears where that is known.
    ///
    /// ```
    /// # use litework::{Cause, Client, Mode, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn greet(name: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(greet).open()?;
    /// let later = tasks.enqueue(greet::with("Ada").run_after(Duration::from_secs(90)))?;
    /// let why = tasks.why(later.id())?;
    /// assert_eq!((why.cause, why.until), (Cause::NotDue, Some(later.refresh()?.due_at)));
    /// let now = tasks.enqueue(greet::with("Grace"))?;
    /// assert_eq!(tasks.why(now.id())?.cause, Cause::NoWorker);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn why(&self, id: impl AsTaskId) -> Result<Why, Error> {
        let id = id.as_task_id()?;
        let now = self.hub.clock.now();
        let facts = self.hub.backend.facts(now, id)?.ok_or_else(|| Error::not_found(id))?;
        Ok(facts.judge(now))
    }
}
