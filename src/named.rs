//! Enqueue: calls that are given as the name of their kind and JSON: over the web, and on command lines.

use crate::client::Client;
use crate::error::Error;
use crate::json;
use crate::record::Stored;
use crate::task::CallOptions;

impl Client {
    /// Stores a call, in the name of whoever asks; once more, by its key, where it cannot be told whether it was stored.
    pub(crate) fn store_named(
        &self,
        kind: &str,
        with: &CallOptions,
        arguments: &str,
    ) -> Result<Stored, Error> {
        let hub = &self.hub;
        let kind = hub.catalog.for_call(kind)?;
        // Where the task's type is known, its arguments are those that a program would have written.
        json::only_object(arguments)?;
        let arguments = match kind.reads.rewrite {
            Some(rewrite) => rewrite(arguments, hub.limits)?,
            None => arguments.to_owned(),
        };
        let calling = hub.calling()?;
        let task = hub.prepare_encoded(&kind, with, arguments, &calling)?;
        let by = self.entry("enqueue", || serde_json::json!({ "kind": &*kind.name }));
        let send = |task| {
            self.check_open()?;
            hub.store_noted(calling.now, vec![task], by.as_ref())
        };
        let stored = match send(task.clone()) {
            Err(Error::Unknown { .. }) => send(task)?,
            stored => stored?,
        };
        stored.into_iter().next().ok_or(Error::Closed)
    }
}
