//! Enqueue and watch: flows and the batches that stand for them, as programs hold them.

use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::{BATCH_KIND, BATCH_QUEUE, Batch, Flow, Plan, Planned, Sum};
use crate::handle::Handle;
#[cfg(feature = "tokio")]
use crate::handle::off_runtime;
use crate::hub::{Calling, Hub};
use crate::json;
use crate::key::check_idempotency_key;
use crate::quota::Quota;
use crate::record::{NewTask, TaskRecord};
use crate::ties::{Extra, Ref, Ties};
use crate::time::Timestamp;

impl Client {
    /// Stores a flow in one transaction: all of it or nothing. In mode `inline` its tasks have run when
    /// this returns, each after those it waits for, as far as they were due and did not have to be tried
    /// again later.
    ///
    /// # Errors
    /// Those of [`Client::enqueue`], in an [`Error::Member`] with the name of the member where one
    /// is to blame; `dependency_cycle`, `not_found`, `duplicate_name`, `flow_too_large` and the like
    /// for the flow itself; `not_unique` where a member's unique key is taken.
    pub fn enqueue_flow(&self, flow: Flow) -> Result<Handle<Batch>, Error> {
        let calling = self.hub.calling()?;
        let Prepared { tasks, names } = self.hub.prepare_flow(flow, &calling)?;
        self.check_open()?;
        let stored =
            self.hub.store_flow(calling.now, tasks).map_err(|error| of_member(&names, error))?;
        stored.first().map(|batch| self.handle_of(batch)).ok_or(Error::Closed)
    }
}

#[cfg(feature = "tokio")]
impl Client {
    /// [`Client::enqueue_flow`] on a thread where blocking is allowed. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Client::enqueue_flow`].
    pub async fn enqueue_flow_async(&self, flow: Flow) -> Result<Handle<Batch>, Error> {
        let client = self.clone();
        off_runtime(move || client.enqueue_flow(flow)).await
    }
}

/// A flow on its way into the store.
pub(crate) struct Prepared {
    /// Its batch first.
    pub(crate) tasks: Vec<NewTask>,
    /// What errors call the others.
    pub(crate) names: Vec<String>,
}

/// The engine knows positions only; that of the batch is 0.
pub(crate) fn of_member(names: &[String], error: Error) -> Error {
    match error {
        Error::Item { index: 0, source } => *source,
        Error::Item { index, source } => {
            let name = names.get(index - 1).cloned().unwrap_or_default();
            Error::Member { name, source }
        }
        error => error,
    }
}

impl Handle<Batch> {
    /// What the members came to until now.
    ///
    /// # Errors
    /// `not_found` when it was pruned; `storage`; `closed` when the last client has been dropped.
    pub fn sum(&self) -> Result<Sum, Error> {
        self.hub()?.backend.sum(self.id())
    }

    /// The members, in the order in which they were stored: each after those that it waits for, otherwise
    /// as they were added. For a part of many, list by [`Filter::batch`].
    ///
    /// # Errors
    /// `storage`, `bad_row`; `closed` when the last client has been dropped.
    pub fn members(&self) -> Result<Vec<TaskRecord>, Error> {
        let hub = self.hub()?;
        let filter = Filter::new().batch(self.id());
        let (mut members, mut from) = (Vec::new(), None);
        loop {
            let page = hub.backend.list(&filter, from, 1_000)?;
            members.extend(page.tasks);
            from = page.next;
            if from.is_none() {
                members.reverse();
                return Ok(members);
            }
        }
    }

    /// What was to come after all members: [`Flow::on_success`], [`Flow::on_finish`], and calls that were
    /// stored after this batch by its id.
    ///
    /// # Errors
    /// Those of [`members`](Self::members).
    pub fn callbacks(&self) -> Result<Vec<TaskRecord>, Error> {
        self.hub()?.backend.after(self.id())
    }

    /// Runs those members again that have failed or were cancelled, and what has ended with them, the
    /// calls of [`Flow::on_success`] included; each has as many attempts as it had at first. Members that
    /// have succeeded stay as they are, and their results are there for those that run again. A member
    /// whose unique key is taken by now stays as it is too. The answer is how many tasks those are, batches
    /// not counted; 0 where the flow has succeeded without a failure.
    ///
    /// A flow that has failed, and none of whose members has by now, since that one was deleted, goes on to
    /// what comes after it. To run one member again alone, [`retry`](Client::retry) it: the batch waits for
    /// that one, as here.
    ///
    /// In mode `inline` they are left to `run_pending`.
    ///
    /// ```
    /// # use litework::{Client, Context, Flow, Failure, Mode, Pending, Result, State, task};
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// #[task(attempts = 1)]
    /// fn import(ctx: &Context, file: &str) -> Result<()> {
    ///     let repaired = ctx.state::<AtomicBool>()?.load(Ordering::SeqCst);
    ///     if file == "b" && !repaired {
    ///         return Err(Failure::give_up("it cannot be read"));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let builder = Client::in_memory().mode(Mode::Hold).register(import);
    /// let tasks = builder.state(AtomicBool::new(false)).open()?;
    /// let batch = tasks.enqueue_flow(Flow::group("import", ["a", "b", "c"].map(import::with)))?;
    /// tasks.run_pending(&Pending::all())?;
    /// assert_eq!((batch.refresh()?.state, batch.sum()?.failed), (State::Failed, 1));
    /// assert_eq!(batch.retry()?, 1); // `b` alone
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `not_finished` before it has ended; `not_found`, `not_stored`, `unknown_outcome`; `closed` once the
    /// client was shut down.
    pub fn retry(&self) -> Result<u64, Error> {
        let hub = self.hub()?;
        hub.check_open()?;
        hub.backend.retry_batch(hub.clock.now(), self.id())
    }
}

impl Hub {
    /// Checks a flow and encodes it: its batch, its members in an order in which each stands behind those
    /// that it waits for, and what comes after them.
    pub(crate) fn prepare_flow(&self, flow: Flow, calling: &Calling) -> Result<Prepared, Error> {
        let Plan { name, key, members, tasks: planned } = flow.plan()?;
        let mut tasks = Vec::with_capacity(planned.len() + 1);
        let mut names = Vec::with_capacity(planned.len());
        tasks.push(self.batch(calling.now, name, members));
        for mut planned in planned {
            let name = std::mem::take(&mut planned.name);
            match self.prepare_planned(planned, calling) {
                Ok(task) => tasks.push(task),
                Err(source) => return Err(Error::Member { name, source: Box::new(source) }),
            }
            names.push(name);
        }
        if let Some(key) = key {
            check_idempotency_key(&key)?;
            let batch = Batch::new(members, Some(print(&tasks[1..])));
            tasks[0].arguments = json::encode(&batch, self.limits)?;
            tasks[0].key = Some(key);
        }
        Ok(Prepared { tasks, names })
    }

    fn prepare_planned(&self, planned: Planned, calling: &Calling) -> Result<NewTask, Error> {
        let Planned { call, before, is_member, .. } = planned;
        let kind = self.catalog.get(call.kind)?;
        let arguments = (call.encode)(self.limits)?;
        let mut task =
            self.prepare_captioned(kind, &call.with, (arguments, call.caption), calling, &before)?;
        let ignored = call.with.links.as_ref().is_some_and(|links| links.ignore_failure);
        if ignored && !is_member {
            let allowed = "false for what comes after a flow";
            return Err(Error::invalid("unsupported", "ignore_failure", true, allowed));
        }
        if is_member {
            let extra = task.extra.get_or_insert_default();
            extra.member_of = Some(0);
            extra.ties.awaited = true;
            extra.ties.ignored = ignored;
        }
        Ok(task)
    }

    fn batch(&self, now: Timestamp, name: String, members: usize) -> NewTask {
        let ties = Ties { awaited: true, sums: true, ..Ties::default() };
        let extra = Extra { name: Some(name), ties, ..Extra::default() };
        NewTask {
            kind: BATCH_KIND.into(),
            queue: BATCH_QUEUE.into(),
            priority: 0,
            due_at: now,
            expires_at: None,
            attempts_max: 1,
            at_most_once: false,
            // Two fields of plain data always encode.
            arguments: json::encode(&Batch::new(members, None), self.limits).unwrap_or_default(),
            key: None,
            tags: None,
            meta: None,
            options: None,
            quota: Quota::default(),
            extra: Some(Box::new(extra)),
            ledger: None,
            trace: None,
        }
    }
}

/// A number for what a flow consists of (FNV-1a with 64 bits), the same in every process.
fn print(tasks: &[NewTask]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for task in tasks {
        add(task.kind.as_bytes());
        add(task.arguments.as_bytes());
        let Some(extra) = &task.extra else { continue };
        add(extra.name.as_deref().unwrap_or_default().as_bytes());
        add(extra.ties.takes.as_deref().unwrap_or_default().as_bytes());
        for before in &extra.after {
            match before.what {
                Ref::Task(id) => add(id.to_string().as_bytes()),
                Ref::Item(number) => add(&number.to_le_bytes()),
            }
            add(before.policy.as_str().as_bytes());
        }
    }
    format!("{hash:016x}")
}
