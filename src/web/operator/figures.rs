//! Watch: numbers of queues, as several pages and their JSON show them.

use super::text;
use crate::overview::{COUNT_MAX, Capped};
pub(crate) use crate::shown::queues::{Count, QueueView, queues};
use crate::state::State;
use crate::web::words::grouped;

/// A number of tasks in words, as a question or an answer has it: `3`, `more than 10,000`.
pub(crate) fn amount(count: Capped) -> String {
    match count {
        Capped { capped: false, count } => grouped(count),
        Capped { count: 0, .. } => "an uncounted number of".to_owned(),
        Capped { count: COUNT_MAX.., .. } => format!("more than {}", grouped(count.count)),
        Capped { count, .. } => format!("at least {}", grouped(count)),
    }
}

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
