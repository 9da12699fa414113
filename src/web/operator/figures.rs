//! Watch: numbers of queues, as several pages and their JSON show them.

use super::text;
pub(crate) use crate::shown::queues::{Count, QueueView, queues};
use crate::state::State;

impl QueueView {
    /// The tasks of this queue in a state, as a query.
    pub(crate) fn query(&self, state: State) -> String {
        text::query([("state", state.as_str()), ("queue", &self.name)])
    }

    /// The same for all of its tasks.
    pub(crate) fn query_all(&self) -> String {
        text::query([("queue", self.name.as_str())])
    }
}
