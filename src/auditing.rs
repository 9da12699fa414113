//! Every step of the journey: acting in somebody's name, and reading who did what.

use std::sync::Arc;

use serde_json::Value;

use crate::audit::{Actor, AuditPage, Entry, check_text};
use crate::client::Client;
use crate::error::Error;
use crate::record::Cursor;

impl Client {
    /// This client in somebody's name: what he does with it to tasks, queues, kinds, limits and schedules is noted
    /// in the file, in the same commit as the deed, so that neither is there without the other. What changes
    /// nothing is not noted. Calls that enqueue, and bodies, are no deeds of his, nor is what is pruned by itself;
    /// only what people enqueue by the web part's API is noted. Entries are kept for 90 days, and removed when the
    /// next one is noted.
    ///
    /// ```
    /// # use litework::{Client, Mode, Scope, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(send).open()?;
    /// let ada = tasks.acting_as("ada@example.com")?.because("the server is being moved")?;
    /// ada.pause(&Scope::queue("mail"))?;
    /// let entry = &tasks.audit(None, 10)?.entries[0];
    /// assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("ada@example.com", "pause"));
    /// assert_eq!(entry.what["queue"], "mail");
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `bad_actor` for a name that is not 1 to 200 bytes without control characters.
    pub fn acting_as(&self, actor: &str) -> Result<Self, Error> {
        check_text("actor", actor)?;
        let actor = Actor { name: actor.into(), note: None };
        let mut client = self.clone();
        client.actor = Some(Arc::new(actor));
        Ok(client)
    }

    /// Why he does what he does from now on: noted with each deed. Without an actor it is passed over.
    ///
    /// # Errors
    /// `bad_actor` for a text that is not 1 to 200 bytes without control characters.
    pub fn because(&self, note: &str) -> Result<Self, Error> {
        check_text("note of an actor", note)?;
        let actor = self.actor.as_ref().map(|actor| {
            Arc::new(Actor { name: Arc::clone(&actor.name), note: Some(note.into()) })
        });
        let mut client = self.clone();
        client.actor = actor;
        Ok(client)
    }

    /// Who did what, newest first, 1 to 1,000 a page; `from` is where the page before ended.
    ///
    /// # Errors
    /// `out_of_range` for the page size; `storage` where it cannot be read.
    pub fn audit(&self, from: Option<Cursor>, size: usize) -> Result<AuditPage, Error> {
        if !(1..=1_000).contains(&size) {
            return Err(Error::invalid("out_of_range", "page size", size, "1 to 1000"));
        }
        let before = from.map_or(i64::MAX, |Cursor(row)| row);
        let mut entries = self.hub.backend.audit(before, size + 1)?;
        let more = entries.len() > size;
        entries.truncate(size);
        let next = entries.last().filter(|_| more).map(|(row, _)| Cursor(*row));
        Ok(AuditPage { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next })
    }

    /// What is noted of a deed; none where nobody is known to act.
    pub(crate) fn entry(
        &self,
        action: &'static str,
        what: impl FnOnce() -> Value,
    ) -> Option<Arc<Entry>> {
        let actor = Actor::clone(self.actor.as_ref()?);
        Some(Entry::new(self.hub.clock.now(), actor, action, what()))
    }
}
