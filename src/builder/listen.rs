//! Define: who is told of events, and which trace calls belong to.

use std::any::TypeId;
use std::sync::{Arc, Weak};

use super::Builder;
use crate::catalog::Catalog;
use crate::client::Client;
use crate::error::Error;
use crate::event::{Event, EventKind};
use crate::hook::{Hooks, Kinds, Receiver};
use crate::hub::Hub;
use crate::mailer::{Mailer, Notice, Told};
use crate::meter::Meter;
use crate::range::SPAN;
use crate::registry::Definition;
use crate::route::Glob;

/// What the program is called by.
type Call = Box<dyn Fn(&Client, &Event) + Send + Sync>;

/// A receiver that waits for its client.
pub(super) struct Listener {
    kinds: Kinds,
    call: Call,
}

impl Builder {
    /// Calls `receiver` with each event of these kinds: one [`EventKind`], an array of them, or
    /// [`EventKind::ALL`]. Receivers are called in the order they were added.
    ///
    /// ```
    /// # use litework::{Client, EventKind, Failure, Result, task};
    /// # use std::sync::{Arc, Mutex};
    /// #[task]
    /// fn alert(text: String) {
    ///     println!("{text}");
    /// }
    ///
    /// #[task(attempts = 1)]
    /// fn bill(order: u32) -> Result<()> {
    ///     Err(Failure::give_up(format!("order {order} has no address")))
    /// }
    ///
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = Arc::clone(&seen);
    /// let tasks = Client::in_memory()
    ///     .register(alert)
    ///     .register(bill)
    ///     .on(EventKind::ALL, move |_, event| {
    ///         log.lock().unwrap().push(format!("{} {}", event.kind, event.what));
    ///     })
    ///     .on(EventKind::Failed, |client, event| {
    ///         // Not for its own failures: each would cause the next.
    ///         if !event.will_retry() && &*event.kind != "alert" {
    ///             let text = format!("{} failed", event.kind);
    ///             let _not_stored = client.enqueue(alert::with(text));
    ///         }
    ///     })
    ///     .open()?;
    /// tasks.enqueue(bill::with(7))?;
    /// assert_eq!(
    ///     *seen.lock().unwrap(),
    ///     [
    ///         "bill enqueued", "bill started", "bill failed",
    ///         "alert enqueued", "alert started", "alert succeeded", "alert finished",
    ///         "bill finished",
    ///     ]
    /// );
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// `Failed` is told of **each** attempt that fails, also of one that is tried again:
    /// [`Event::will_retry`] says which, and only after the last there is `Finished`. A task that is to be
    /// stored for failures for good alone is an [`Options::follow`](crate::Options::follow).
    ///
    /// # What is told, when and where
    ///
    /// Each event is told after the commit that made it so, **at most once**, by the thread that
    /// committed: whoever stores, cancels or runs through this client. Nobody is told of a commit that
    /// failed or whose outcome is unknown, of what other clients and processes do, of rows
    /// that are taken from the inbox, of tasks that are
    /// taken back from a dead process, or of what happens when this process dies in between. What
    /// must not be missed is told by a task: [`Options::follow`](crate::Options::follow).
    ///
    /// | Event | Told by | When |
    /// |---|---|---|
    /// | `Enqueued` | the caller, before the call returns | `enqueue` and its siblings, for each call of a batch, once all are stored; [`Outbox::send`](crate::Outbox::send); `client.write` after its commit; `enqueue_in` at `committed` |
    /// | | the thread that fires a schedule, after its commit | each slot that makes a task |
    /// | `Started` | the thread that runs the body, before it | each attempt, also those that follow in place |
    /// | `Succeeded`, `Failed`, `Snoozed` | pool: the worker that commits, before anything more is claimed; else the caller | each attempt |
    /// | `Cancelled` | the canceller where the task had not begun, also by `delete`, `bulk` and `edit_as_copy`; else as above | |
    /// | `Finished` | the same thread, next | after whichever event is the last of a task |
    ///
    /// A task that follows another ([`Options::follow`](crate::Options::follow)) and a notice have no
    /// `Enqueued`, as no call stores them: their first event is `Started`.
    ///
    /// An attempt that is handed back, at a shutdown say, has no event but its `Started`. A task that a
    /// claim finds to have expired or damaged has `Failed` and `Finished` from the one who claims. The events
    /// of one task come in order, and while one of its events is told no other thread tells the next; where a pool
    /// gets hold of a task before its caller has told, the worker tells `Enqueued` itself. Events of different tasks
    /// may be told at the same time.
    ///
    /// # What a receiver may do
    ///
    /// - It holds up the thread that calls it, and in a pool the next commit of all workers: take
    ///   milliseconds, and leave the rest to a task or a channel.
    /// - It may call the client, also to enqueue. In mode `inline` such a task runs within the receiver, down
    ///   to 32 deep, tasks and receivers counted together; deeper ones are stored. Events that receivers cause
    ///   are told 32 deep; deeper ones are logged as an error, and told to none.
    /// - To wait for a task that has not ended, and to shut the client down, is refused as `reentrant`: it
    ///   would wait for itself.
    /// - A panic is logged with its text and place, and goes no further; the other receivers are called.
    ///
    /// At `open`, a receiver of no kind at all is refused (`bad_config`).
    pub fn on(
        mut self,
        events: impl IntoIterator<Item = EventKind>,
        receiver: impl Fn(&Client, &Event) + Send + Sync + 'static,
    ) -> Self {
        let kinds = events.into_iter().collect();
        self.listeners.push(Listener { kinds, call: Box::new(receiver) });
        self
    }

    /// Tells a person of each task that has failed for good. See [`FailureNotice`](crate::FailureNotice) for
    /// what is told. Default: nobody is told.
    ///
    /// The notice is a task of the kind `litework.notice` that is stored **in the transaction that ends the
    /// failed task**, like any [`Options::follow`](crate::Options::follow): none is lost when a process dies,
    /// and one that cannot be sent is tried again. Whoever *stores* a task decides: its failure is told,
    /// whichever program runs it, and sent by any that has a [`Notice::mailer`](crate::Notice::mailer). A
    /// program that stores tasks and sends nothing says [`Notice::elsewhere`](crate::Notice::elsewhere). What
    /// other programs have stored is told as they say.
    ///
    /// Of each kind, one notice is sent in a minute (see [`Notice::every`](crate::Notice::every)). Failures that
    /// come while one waits are counted in it: "and 41 more since …". A notice that fails itself is told to
    /// nobody. What ends because a task before it has failed is a failure of its own.
    ///
    /// In mode `inline` the notice is sent within the call whose task failed; one that has to wait for its
    /// minute is sent by [`Client::run_pending`]. A task of these kinds costs more than a plain one, as its row
    /// says what follows it.
    ///
    /// ```
    /// # use litework::{Client, Failure, Notice, Result, task};
    /// # use std::sync::{Arc, Mutex};
    /// /// Import of a price list
    /// #[task(attempts = 1)]
    /// fn import(path: String) -> Result<()> {
    ///     Err(Failure::give_up(format!("{path} is empty")))
    /// }
    ///
    /// let sent = Arc::new(Mutex::new(Vec::new()));
    /// let outbox = Arc::clone(&sent);
    /// let notice = Notice::mailer(move |notice| {
    ///     outbox.lock().unwrap().push((notice.title.clone(), notice.to_string()));
    ///     Ok(())
    /// });
    /// let tasks = Client::in_memory().register(import).failure_notice(notice).open()?;
    /// tasks.enqueue(import::with("a.csv"))?;
    /// let (title, text) = sent.lock().unwrap()[0].clone();
    /// assert_eq!(title, "Error in Import of a price list");
    /// assert!(text.contains("a.csv is empty"));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// Notices wait in the queue `default`; with [`Builder::allow_queues`] that does not allow it, name one
    /// with `queue_for("litework.notice", "mail")`.
    ///
    /// At `open`: `bad_glob`, `out_of_range`, `unknown_queue`, and `duplicate_name` where a task of the program
    /// has that name.
    pub fn failure_notice(mut self, notice: Notice) -> Self {
        self.notice = Some(notice);
        self
    }

    /// Makes the kind known whose tasks are notices, and says which kinds they tell of.
    pub(super) fn give_notice(&mut self, catalog: &mut Catalog) -> Result<(), Error> {
        let Some(Notice { kinds, every, mailer }) = self.notice.take() else { return Ok(()) };
        SPAN.check("out_of_range", || "time between notices".to_owned(), &every)?;
        let all = ["*".to_owned()];
        for pattern in if kinds.is_empty() { &all[..] } else { &kinds } {
            catalog.notices.add(Glob::checked("bad_glob", "kinds of `Notice`", pattern)?, every);
        }
        let Some(mailer) = mailer else {
            self.definitions.push(Definition::declare::<Told>());
            return Ok(());
        };
        self.states.insert(TypeId::of::<Mailer>(), Arc::new(mailer));
        self.definitions.push(Definition::of::<Told>());
        Ok(())
    }

    /// Says which trace calls belong to that name none: a W3C `traceparent`, or none. Asked once for
    /// each enqueue call, in its thread; an answer of another form refuses the call (`bad_trace`). Inside a
    /// body it counts only if it is of the body's own trace, such as a span within it; else the body's trace
    /// is given on.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// # #[task]
    /// # fn greet(name: &str) {}
    /// let current = || Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    /// let tasks = Client::in_memory().register(greet).trace_context(current).open()?;
    /// let task = tasks.enqueue(greet::with("Ada"))?.refresh()?;
    /// assert_eq!(task.trace, current());
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn trace_context(
        mut self,
        current: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.trace = Some(Box::new(current));
        self
    }

    pub(super) fn check_listeners(&self) -> Result<(), Error> {
        match self.listeners.iter().position(|listener| listener.kinds.is_empty()) {
            None => Ok(()),
            Some(at) => {
                let place = format!("events of receiver {}", at + 1);
                Err(Error::invalid("bad_config", place, "none", "at least one kind of event"))
            }
        }
    }
}

/// The receivers, each with the client that it is called with. The hub is still being made.
pub(super) fn hooks(
    hub: &Weak<Hub>,
    listeners: Vec<Listener>,
    meter: Arc<Meter>,
    catalog: Arc<Catalog>,
) -> Arc<Hooks> {
    let receivers = listeners.into_iter().map(|listener| {
        let Listener { kinds, call } = listener;
        let hub = Weak::clone(hub);
        let call = Box::new(move |event: &Event| {
            // Once it is gone, there is no client that anybody could call.
            if let Some(hub) = hub.upgrade() {
                call(&Client::inner(hub), event);
            }
        });
        Receiver { kinds, call }
    });
    Hooks::new(hub.as_ptr().addr(), receivers.collect(), meter, catalog)
}
