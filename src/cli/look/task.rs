//! Watch: a task as the command line shows it: the shape that all know, for an operator.

use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::outcome::Report;
use crate::shown::detail::Item;
use crate::shown::task::{Tongue, View};
use crate::snapshot::Snapshot;
use crate::why::Why;

/// In the words of operators.
struct OfOperator;

impl Tongue for OfOperator {
    fn waits(&self, why: &Why) -> String {
        why.text.clone()
    }

    fn failed(&self, report: Option<&Report>) -> Option<String> {
        report.and_then(|report| report.user_message.clone())
    }
}

/// A task, without its secrets.
pub(crate) fn view(client: &Client, snapshot: &Snapshot) -> Result<View, Error> {
    let mut view = View::of(client, snapshot, &OfOperator)?;
    view.hide(&client.hub.catalog.redaction_of(&snapshot.task.kind));
    Ok(view)
}

/// The same with what operators are told besides.
pub(crate) fn item(client: &Client, snapshot: &Snapshot) -> Result<Item<View>, Error> {
    Ok(Item::new(client, &snapshot.task, view(client, snapshot)?, true))
}

/// A task by its id, as part of a list.
pub(crate) fn item_of(client: &Client, id: TaskId) -> Result<Item<View>, Error> {
    item(client, &client.snapshot(id)?)
}

/// Why it does not run, or what it failed with, in few words.
pub(crate) fn note(client: &Client, snapshot: &Snapshot) -> String {
    let task = &snapshot.task;
    let reason = task.reason.map(|reason| reason.as_str().replace('_', " "));
    let said = task.error.as_ref().map(|report| client.redacted_text(&task.kind, &report.message));
    match (reason, said) {
        (Some(reason), Some(said)) => format!("{reason}: {said}"),
        (reason, said) => reason.or(said).unwrap_or_default(),
    }
}
