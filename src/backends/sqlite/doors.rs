//! Enqueue and finish: tasks that belong to a transaction. The only place where rusqlite is public.
//!
//! Three doors to enqueue. (a) [`ClientExt::write`]: your statements and your enqueues on the queue's own
//! write connection, one commit. (b) [`ClientExt::enqueue_in`]: a call stored through *your*
//! transaction on the same file; it exists if and only if that commits. (c)
//! [`Client::outbox`](crate::Client::outbox): calls collected now and stored after a commit in
//! another database.
//!
//! And one to finish: [`ContextExt::complete_in`], by which a body's statements, its follow-ups and the
//! end of its task are one commit.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionState};
use serde::Serialize;

use super::core::Core as WriteCore;

use super::ending::Ending;
use super::ends;
use super::errors::{is_busy, not_stored};
use super::finish::finish;
use super::holding::file_key;
use super::holding::{Holding, without_holding};
use super::steps::check_lease;
use super::within::{insert_flow_in, insert_in};
use super::{Sqlite, schema};
use crate::backend::ended_with;
use crate::batch::{Prepared, of_member};
use crate::client::Client;
use crate::context::{Completing, Completion, Context, Output};
use crate::error::Error;
use crate::fault;
use crate::flow::{Batch, Flow};
use crate::handle::Handle;
use crate::hook::Untold;
use crate::hub::{Hub, ended_unrun};
use crate::id::TaskId;
use crate::json;
use crate::options::Durability;
use crate::record::{NewTask, Stored};
use crate::redact::Veiled;
use crate::task::IntoCall;
use crate::time::Timestamp;
use crate::watch::Notice;

/// Transactions with tasks in them, for clients of a queue file.
pub trait ClientExt {
    /// Runs `body` in a transaction of its own on the queue's write connection, and commits it if
    /// `body` returns `Ok`. Other writers wait meanwhile, so keep it short.
    ///
    /// ```
    /// # use litework::{Client, Error, task};
    /// use litework::sqlite::ClientExt;
    /// # #[task]
    /// # fn ship(order: i64) {}
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tasks = Client::builder(dir.path().join("shop.db")).register(ship).open().unwrap();
    /// tasks.write(|tx| {
    ///     tx.connection().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)")?;
    ///     tx.connection().execute("INSERT INTO orders VALUES (7)", [])?;
    ///     tx.enqueue(ship::with(7))?;
    ///     Ok::<_, litework::sqlite::WriteError>(())
    /// }).unwrap();
    /// ```
    ///
    /// A call with `on_commit(false)` does not belong to the transaction: it is stored by itself once
    /// that has ended, also when `body` fails or panics, and its [`Late`] says what became of it.
    ///
    /// # Errors
    /// What `body` returns, and the errors of an enqueue. `Ok` means that the transaction was
    /// committed; on an error nothing of it was stored, unless the code is `unknown_outcome`. A COMMIT inside
    /// of `body` fails and takes everything back, and one that has ended the transaction is answered
    /// `not_stored`.
    fn write<R, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Write<'_>) -> Result<R, E>,
    ) -> Result<R, E>;

    /// Stores one call through the caller's own transaction on the same file.
    ///
    /// Begin that transaction as IMMEDIATE. Call [`Pending::committed`] after its commit, which
    /// wakes the workers at once. Without it they notice by themselves: within some 20 ms on Linux, where
    /// the system reports the write, and within 500 ms elsewhere. In mode `inline` it is what runs the
    /// task: without it the task stays ready until somebody calls `run_pending`, or a pool of another
    /// process takes it.
    ///
    /// # Errors
    /// `bad_transaction` when the connection is on another file, in no transaction, or in a deferred
    /// one that can no longer write. `unsupported` for a call with `on_commit(false)`: nobody here
    /// hears how the caller's transaction ends. `schema_newer` when a newer program has changed the
    /// file.
    fn enqueue_in<C: IntoCall>(&self, tx: &Connection, call: C) -> Result<Pending<C::Task>, Error>;
}

/// The finishing transaction of a task that is kept in a queue file.
pub trait ContextExt {
    /// Ends the task together with what its body writes to this file: the statements made through
    /// [`Write::connection`], the calls given to [`Write::enqueue`], and the success of the task with the
    /// value that `body` returns, are one commit. All of it is there, or nothing, and once for the task,
    /// however often the task is tried. What `body` does outside of this file is not part of it.
    ///
    /// `body` runs on the queue's write connection, so other writers wait meanwhile: do the long work
    /// before. It must return what the task returns, and the task's body returns it in turn; what that
    /// one does after the commit changes nothing any more, not even an error or a panic, which are
    /// logged. Its unique key, its lock and whoever waits for it are let go with the commit, so what the
    /// body does afterwards it does without them. A request to cancel that comes meanwhile comes too late. Follow-ups run after the commit;
    /// in mode `inline` before this returns.
    ///
    /// It commits at the stricter of the client's and the task's durability, as follow-ups are promised
    /// at the client's.
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// use litework::sqlite::{ClientExt, ContextExt};
    /// # use litework::sqlite::WriteError;
    ///
    /// #[task]
    /// fn receipt(order: i64) {}
    ///
    /// /// Books a payment once, whatever crashes when.
    /// #[task]
    /// fn book(ctx: &Context, order: i64, cents: i64) -> Result<i64> {
    ///     ctx.complete_in(|tx| {
    ///         tx.connection().execute("INSERT INTO ledger VALUES (?1, ?2)", (order, cents))?;
    ///         tx.enqueue(receipt::with(order))?;
    ///         Ok(tx.connection().query_row("SELECT sum(cents) FROM ledger", [], |row| row.get(0))?)
    ///     })
    /// }
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("shop.db");
    /// let tasks = Client::builder(path).register(book).register(receipt).open()?;
    /// tasks.write(|tx| {
    ///     tx.connection().execute_batch("CREATE TABLE ledger (number INTEGER, cents INTEGER)")?;
    ///     Ok::<_, WriteError>(())
    /// })?;
    /// assert_eq!(tasks.enqueue(book::with(7, 995))?.value()?, 995);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// What `body` returns; then everything is rolled back, the attempt goes on and may end as any other,
    /// or try again. `lease_lost` when another attempt holds the task: nothing is kept. `wrong_output`
    /// for a value that is not of the type that the task returns, before `body` is called; the codes of
    /// a [`JsonError`](crate::JsonError) for one that does not fit. `reentrant` for a second one in
    /// one attempt, once the first was committed or may have been, and inside a transaction of this
    /// thread. `unsupported` in a detached context and on the engine in memory. `not_stored`, `closed`.
    /// After `unknown_outcome` the task has either succeeded with all of it, or is tried again; a value that
    /// its body returns all the same is not taken for a success.
    fn complete_in<R: Serialize + 'static, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Write<'_>) -> Result<R, E>,
    ) -> Result<R, E>;
}

/// Why a `write` failed, for bodies that have no error type of their own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The queue refused.
    #[error(transparent)]
    Queue(#[from] Error),
    /// A statement failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// What a call inside a transaction came to; see [`Write::enqueue`].
#[derive(Debug)]
pub enum Enqueued<T> {
    /// Stored with the transaction: the task exists if that commits.
    Within(Handle<T>),
    /// Stored by itself once the transaction has ended, as the call asked with `on_commit(false)`.
    After(Late<T>),
}

impl<T> Enqueued<T> {
    /// The handle of a task that is stored with the transaction; none for a late call.
    pub fn handle(self) -> Option<Handle<T>> {
        match self {
            Self::Within(handle) => Some(handle),
            Self::After(_) => None,
        }
    }

    /// The receipt of a late call; none for a task that is stored with the transaction.
    pub fn late(self) -> Option<Late<T>> {
        match self {
            Self::Within(_) => None,
            Self::After(late) => Some(late),
        }
    }
}

/// What becomes of a call that is stored after the transaction; set when it was tried.
type Receipt = Arc<Mutex<Option<Result<Stored, Error>>>>;

/// The receipt of a call with `on_commit(false)`: ask it after `write` has returned.
pub struct Late<T> {
    client: Client,
    receipt: Receipt,
    kind: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Late<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Late").finish_non_exhaustive()
    }
}

impl<T> Late<T> {
    /// The handle of the task, which was stored whatever became of the transaction.
    ///
    /// # Errors
    /// Why it was not stored, as from [`Client::enqueue`]; `reentrant` while the transaction is open.
    pub fn handle(self) -> Result<Handle<T>, Error> {
        let told = self.receipt.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stored = told.unwrap_or(Err(Error::Reentrant {
            what: "the transaction has not ended, so its late calls are not stored yet",
            instead: "ask after `write` has returned",
        }))?;
        Ok(self.client.handle_of(&stored))
    }
}

/// The late calls of a transaction. Dropping them stores them, so that a panic does not lose them.
struct LateCalls<'a> {
    hub: &'a Hub,
    now: Timestamp,
    calls: Vec<(NewTask, Receipt)>,
}

impl Drop for LateCalls<'_> {
    fn drop(&mut self) {
        for (task, receipt) in std::mem::take(&mut self.calls) {
            // Each in a commit of its own: one that is refused does not take others with it.
            let stored = self.hub.store(self.now, vec![task]);
            let stored = stored.and_then(|stored| stored.into_iter().next().ok_or(Error::Closed));
            if let Err(error) = &stored {
                tracing::error!(error = %Veiled(error), "a call with `on_commit(false)` was not stored");
            }
            *receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored);
        }
    }
}

/// An open write transaction; see [`ClientExt::write`] and [`ContextExt::complete_in`].
pub struct Write<'a> {
    core: &'a mut WriteCore,
    client: &'a Client,
    now: Timestamp,
    untold: &'a mut Untold,
    stored: &'a mut Vec<Stored>,
    late: &'a mut Vec<(NewTask, Receipt)>,
}

impl std::fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("enqueued", &self.stored.len()).finish_non_exhaustive()
    }
}

impl Write<'_> {
    /// The connection, inside the transaction. Do not end the transaction on it.
    pub fn connection(&self) -> &Connection {
        &self.core.conn
    }

    /// Stores a call with the transaction. A call with `on_commit(false)` is stored once the
    /// transaction has ended, whatever became of it; its receipt says whether it was.
    ///
    /// # Errors
    /// Whatever is wrong with the call, also with a late one; `key_conflict`, `overloaded` and
    /// `not_stored` from the engine.
    pub fn enqueue<C: IntoCall>(&mut self, call: C) -> Result<Enqueued<C::Task>, Error> {
        let call = call.into_call();
        let hub = &self.client.hub;
        let on_commit = hub.on_commit(&call)?;
        let mut task = hub.prepare(&call, &hub.calling_at(self.now)?)?;
        if !on_commit {
            let receipt = Receipt::default();
            self.late.push((task, Arc::clone(&receipt)));
            let client = self.client.clone();
            return Ok(Enqueued::After(Late { client, receipt, kind: PhantomData }));
        }
        // Not through the memory of lanes: the body may go back to a savepoint of its own.
        let abouts = hub.hooks.enqueuing(std::slice::from_mut(&mut task));
        let stored = insert_in(&self.core.conn, &task, self.now)?;
        self.untold.add((&task.queue, &task.kind), abouts, &stored);
        let handle = self.client.handle_in_transaction(&stored);
        self.stored.push(stored);
        Ok(Enqueued::Within(handle))
    }

    /// Stores a flow with the transaction.
    ///
    /// # Errors
    /// Those of [`Client::enqueue_flow`]. An error after part of it was stored leaves that part in the
    /// transaction, so pass it on with `?`.
    pub fn enqueue_flow(&mut self, flow: Flow) -> Result<Handle<Batch>, Error> {
        let hub = &self.client.hub;
        let Prepared { mut tasks, names } = hub.prepare_flow(flow, &hub.calling_at(self.now)?)?;
        let abouts = hub.hooks.enqueuing(&mut tasks);
        let stored = insert_flow_in(&self.core.conn, &tasks, self.now);
        let stored = stored.map_err(|error| of_member(&names, error))?;
        let mut abouts = abouts.map(Vec::into_iter);
        for (task, stored) in tasks.iter().zip(&stored) {
            let about = abouts.as_mut().map(|abouts| abouts.next().into_iter().collect());
            self.untold.add((&task.queue, &task.kind), about, stored);
        }
        let batch = stored.first().map(|batch| self.client.handle_in_transaction(batch));
        self.stored.extend(stored);
        batch.ok_or(Error::Closed)
    }
}

/// A task stored in a transaction that has not ended yet.
#[must_use = "call `committed` after the commit, so that workers start at once"]
pub struct Pending<T> {
    client: Client,
    stored: Stored,
    now: Timestamp,
    untold: Untold,
    holding: Holding,
    kind: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("id", &self.stored.id).finish_non_exhaustive()
    }
}

impl<T> Pending<T> {
    /// The id the task has if the transaction commits.
    pub fn id(&self) -> TaskId {
        self.stored.id
    }

    /// Says that the transaction was committed: wakes the workers, or runs the task here in mode
    /// `inline`.
    pub fn committed(self) -> Handle<T> {
        let Self { client, stored, now, untold, holding, kind: _ } = self;
        drop(holding);
        client.hub.backend.signal().ring(Notice::Work);
        if let Ok(engine) = sqlite(&client) {
            // Other tasks of the same transaction may still have their marks.
            without_holding(engine.inner.key, || {
                untold.tell(now);
                client.hub.hooks.skipped_within(engine, std::slice::from_ref(&stored));
                run_stored(&client.hub, std::slice::from_ref(&stored));
            });
        }
        client.handle_in_transaction(&stored)
    }

    /// Says that the transaction was rolled back; there is no task.
    pub fn rolled_back(self) {}
}

/// In mode `inline`, runs what a commit has just made due, and what follows those that cannot start.
fn run_stored(hub: &Hub, stored: &[Stored]) {
    let Some(runner) = hub.runner.get() else { return };
    for stored in stored {
        let _in_its_row = runner.run_stored(stored.id);
    }
    for id in ended_unrun(stored) {
        runner.run_followers(id);
    }
}

fn sqlite(client: &Client) -> Result<&Sqlite, Error> {
    client.hub.backend.as_any().downcast_ref::<Sqlite>().ok_or_else(|| {
        Error::invalid("unsupported", "engine", "memory", "a queue file, for its transactions")
    })
}

/// Why nothing was committed.
enum Refused<E> {
    /// The caller's closure said so.
    Theirs(E),
    Ours(Error),
}

impl<E: From<Error>> Refused<E> {
    fn into_theirs(self) -> E {
        match self {
            Self::Theirs(error) => error,
            Self::Ours(error) => error.into(),
        }
    }
}

/// One transaction on the write connection, at the client's durability or a stricter one; then, in
/// mode `inline`, what it has stored is run.
fn in_transaction<R, E>(
    client: &Client,
    durability: Option<Durability>,
    body: impl FnOnce(&mut Write<'_>) -> Result<R, Refused<E>>,
) -> Result<R, Refused<E>> {
    let engine = sqlite(client).map_err(Refused::Ours)?;
    crate::backend::Backend::check_usable(engine).map_err(Refused::Ours)?;
    let level = durability.map_or(engine.durability, |asked| asked.max(engine.durability));
    let now = client.hub.clock.now();
    // Dropped last: what comes after the transaction comes after its answer too.
    let mut late = LateCalls { hub: &client.hub, now, calls: Vec::new() };
    let mut stored = Vec::new();
    let mut untold = client.hub.hooks.untold();
    let mut refused = None;
    let mut spoiled = None;
    let answer = {
        let mut turn = engine.inner.writer.turn().map_err(Refused::Ours)?;
        let _holding = Holding::new(engine.inner.key);
        turn.transaction(level, |core| {
            let (untold, stored, late) = (&mut untold, &mut stored, &mut late.calls);
            let value = body(&mut Write { core, client, now, untold, stored, late });
            let value = value.map_err(|error| {
                refused = Some(error);
                Error::Closed
            })?;
            spoiled = engine.inner.mishaps.transact()?;
            Ok(value)
        })
    };
    let answer = answer.and_then(|value| spoiled.map_or(Ok(value), Err));
    match (answer, refused) {
        (Ok(value), _) => {
            untold.tell(now);
            client.hub.hooks.skipped_within(engine, &stored);
            run_stored(&client.hub, &stored);
            Ok(value)
        }
        (Err(_), Some(refused)) => Err(refused),
        (Err(error), None) => Err(Refused::Ours(error)),
    }
}

impl ClientExt for Client {
    fn write<R, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Write<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.hub.check_open()?;
        let answer = in_transaction(self, None, |write| {
            let ending = Ending::watch(write.connection()).map_err(Refused::Ours)?;
            let answer = body(write);
            write.core.wrote_around();
            let value = answer.map_err(Refused::Theirs)?;
            ending.check().map(|()| value).map_err(Refused::Ours)
        });
        answer.map_err(Refused::into_theirs)
    }

    fn enqueue_in<C: IntoCall>(&self, tx: &Connection, call: C) -> Result<Pending<C::Task>, Error> {
        self.hub.check_open()?;
        let engine = sqlite(self)?;
        check_transaction(engine, tx)?;
        let call = call.into_call();
        if !self.hub.on_commit(&call)? {
            let allowed = "true, as nobody here hears how your transaction ends; store the call with \
                           `client.write`, or by itself after the transaction";
            return Err(Error::invalid("unsupported", "on_commit", false, allowed));
        }
        let now = self.hub.clock.now();
        let mut task = self.hub.prepare(&call, &self.hub.calling_at(now)?)?;
        let abouts = self.hub.hooks.enqueuing(std::slice::from_mut(&mut task));
        let mut untold = self.hub.hooks.untold();
        let stored = insert_in(tx, &task, now).map_err(|error| match error {
            Error::NotStored { source: Some(source), .. }
                if source.downcast_ref::<rusqlite::Error>().is_some_and(is_busy) =>
            {
                bad_transaction("it cannot write any more, as it began with a read")
            }
            error => error,
        })?;
        if fault::planted("enqueue_apart") {
            tx.execute_batch("COMMIT; BEGIN IMMEDIATE").map_err(not_stored)?;
        }
        untold.add((&task.queue, &task.kind), abouts, &stored);
        let holding = Holding::new(engine.inner.key);
        let client = self.clone();
        Ok(Pending { client, stored, now, untold, holding, kind: PhantomData })
    }
}

impl ContextExt for Context {
    fn complete_in<R: Serialize + 'static, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Write<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut completing = self.begin_completion(Output::of::<R>())?;
        let answer = complete(&completing, body);
        match answer {
            Ok((value, stored)) => {
                completing.came_to = stored;
                Ok(value)
            }
            Err(refused) => {
                if matches!(refused, Refused::Ours(Error::Unknown { .. })) {
                    completing.came_to = Completion::Unknown;
                }
                Err(refused.into_theirs())
            }
        }
    }
}

/// The value and what is stored of it, once that is committed.
fn complete<R: Serialize, E>(
    completing: &Completing<'_>,
    body: impl FnOnce(&mut Write<'_>) -> Result<R, E>,
) -> Result<(R, Completion), Refused<E>> {
    let answer = in_transaction(completing.client, completing.hold.durability, |write| {
        // First, so that a body that holds nothing any more is not called.
        check_lease(write.core, completing.hold.id, completing.hold.lease)
            .map_err(Refused::Ours)?;
        let ending = Ending::watch(write.connection()).map_err(Refused::Ours)?;
        let answer = body(write);
        write.core.wrote_around();
        let value = answer.map_err(Refused::Theirs)?;
        ending.check().map_err(Refused::Ours)?;
        drop(ending);
        let stored = end_with(write, completing, &value).map_err(Refused::Ours)?;
        Ok((value, stored))
    });
    if answer.is_ok() {
        fault::point("completed");
    }
    answer
}

/// Records the success in the open transaction, as any other success is recorded.
fn end_with<R: Serialize>(
    write: &mut Write<'_>,
    completing: &Completing<'_>,
    value: &R,
) -> Result<Completion, Error> {
    let hub = &completing.client.hub;
    let result = json::encode(value, hub.limits)?;
    if fault::planted("complete_apart") {
        write.connection().execute_batch("COMMIT; BEGIN IMMEDIATE").map_err(not_stored)?;
    }
    fault::point("completing");
    let now = hub.clock.now();
    let success = completing.success(now, result.clone());
    let came_to = finish(write.core, now, &success)??;
    // Such as its batch.
    ends::settle(write.core)?;
    let changed = &write.core.effects.changed;
    let ended = ended_with(changed, std::slice::from_ref(&success), &[Ok(came_to)]);
    write.core.effects.hear(&ended);
    Ok(Completion::Stored { result, ended })
}

fn bad_transaction(reason: &str) -> Error {
    let allowed = "begin it with BEGIN IMMEDIATE on the queue's own file";
    Error::invalid("bad_transaction", "transaction", reason, allowed)
}

/// The connection must be on the same file and in a transaction that can still write.
fn check_transaction(engine: &Sqlite, tx: &Connection) -> Result<(), Error> {
    engine.inner.check_pid()?;
    let same = tx.path().is_some_and(|path| {
        let path = std::path::Path::new(path);
        path == engine.inner.path || file_key(path) == file_key(&engine.inner.path)
    });
    if !same {
        return Err(bad_transaction("the connection is on another file"));
    }
    if tx.is_autocommit() {
        return Err(bad_transaction("the connection is in no transaction"));
    }
    let state = tx.transaction_state(Some("main")).map_err(not_stored)?;
    if state == TransactionState::Read {
        // A read that still sees the newest commit can be made a write at once; any other never.
        let upgraded = tx
            .prepare_cached("UPDATE litework_meta SET value = value WHERE name = 'schema'")
            .and_then(|mut write| write.execute([]));
        if let Err(error) = upgraded {
            if is_busy(&error) {
                return Err(bad_transaction("it is deferred and has already read"));
            }
            return Err(not_stored(error));
        }
    }
    // The caller's connection knows nothing of versions, and the file may have changed since `open`.
    schema::check_version(tx, &engine.inner.path)
}
