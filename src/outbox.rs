//! Enqueue: calls that belong to a commit in another database: collected now, stored once that is made.

use crate::client::{BATCH_MAX, Client, item_of};
use crate::error::Error;
use crate::id::TaskId;
use crate::record::NewTask;
use crate::task::IntoCall;

impl Client {
    /// Collects calls now and stores them later, in one transaction: for work that belongs to a
    /// commit in another database. What is dropped unsent was never stored.
    ///
    /// ```
    /// # use litework::{Client, Error, task};
    /// # #[task]
    /// # fn greet(name: &str) {}
    /// # let tasks = Client::in_memory().register(greet).open()?;
    /// let mut outbox = tasks.outbox();
    /// outbox.enqueue(greet::with("Ada"))?;
    /// outbox.enqueue(greet::with("Grace"))?; // checked, and not stored yet
    /// // … the other database commits here; without its commit, drop the outbox …
    /// let ids = outbox.send()?;
    /// assert_eq!(ids.len(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// It holds calls, and no [`Flow`](crate::Flow), which the compiler refuses. A flow is a value: keep it
    /// until the other commit is made, and store it then with
    /// [`enqueue_flow`](Client::enqueue_flow).
    ///
    /// ```compile_fail,E0277
    /// # use litework::{Client, Error, Flow};
    /// # let tasks = Client::in_memory().open()?;
    /// tasks.outbox().enqueue(Flow::new("no call"))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outbox(&self) -> Outbox {
        Outbox { client: self.clone(), tasks: Vec::new() }
    }
}

/// Calls that are stored when [`Outbox::send`] is called; see [`Client::outbox`].
#[must_use = "nothing is stored until it is sent"]
#[derive(Debug)]
pub struct Outbox {
    client: Client,
    tasks: Vec<NewTask>,
}

impl Outbox {
    /// Checks a call and keeps it; its time counts from now.
    ///
    /// # Errors
    /// Whatever is wrong with the call; `batch_too_large` when it holds [`BATCH_MAX`] already. What it
    /// held before stays.
    pub fn enqueue<C: IntoCall>(&mut self, call: C) -> Result<(), Error> {
        if self.tasks.len() == BATCH_MAX {
            let allowed = format!("at most {BATCH_MAX}; send them in parts");
            return Err(Error::invalid(
                "batch_too_large",
                "size of the batch",
                BATCH_MAX + 1,
                allowed,
            ));
        }
        let calling = self.client.hub.calling()?;
        self.tasks.push(self.client.hub.prepare(&call.into_call(), &calling)?);
        Ok(())
    }

    /// How many calls it holds.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Stores them all in one transaction, or none. The ids stand in the order of the calls.
    ///
    /// # Errors
    /// `not_stored` and `unknown_outcome` from the engine; `key_conflict`, `not_unique` and `overloaded`
    /// with the position of the call; `closed`.
    pub fn send(self) -> Result<Vec<TaskId>, Error> {
        if self.tasks.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.client.hub.clock.now();
        let single = self.tasks.len() == 1;
        self.client.check_open()?;
        let stored =
            self.client.hub.store(now, self.tasks).map_err(|error| item_of(single, error))?;
        Ok(stored.into_iter().map(|stored| stored.id).collect())
    }
}
