//! Watch: which tasks are meant, when one speaks of many.

pub(crate) mod args;
pub(crate) mod pairs;

pub use self::pairs::FILTER_ERROR_MAX;
use crate::error::Error;
use crate::id::TaskId;
use crate::record::TaskRecord;
use crate::state::State;
use crate::time::Timestamp;

/// Ids of one filter at most.
pub const FILTER_IDS_MAX: usize = 1_000;

/// Values in arguments that one filter names at most.
const FILTER_ARGS_MAX: usize = 10;

/// Which tasks are meant; every field narrows the choice, an empty list allows all.
///
/// A filter by ids, by batch, by owner, or by one state other than `ready` and `succeeded` finds its tasks by an
/// index. All others walk over the tasks in the order of their ids, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// States.
    pub states: Vec<State>,
    /// Names of tasks.
    pub kinds: Vec<String>,
    /// Queues.
    pub queues: Vec<String>,
    /// A tag it must have.
    pub tag: Option<String>,
    /// The batch of the flow that it must be a member of.
    pub batch: Option<TaskId>,
    /// Whose tasks.
    pub owner: Option<String>,
    /// Whether its owner has taken it off their list.
    pub dismissed: Option<bool>,
    /// These tasks, at most [`FILTER_IDS_MAX`].
    pub ids: Vec<TaskId>,
    /// Enqueued at this moment or later.
    pub created_after: Option<Timestamp>,
    /// Enqueued before this moment.
    pub created_before: Option<Timestamp>,
    /// Ended at this moment or later.
    pub finished_after: Option<Timestamp>,
    /// Ended before this moment.
    pub finished_before: Option<Timestamp>,
    /// A text that the message of its newest error contains, in the same case.
    pub error: Option<String>,
    /// Paths into its arguments, and the value that stands at each; see [`Filter::arg`].
    pub args: Vec<(String, String)>,
}

impl Filter {
    /// Every task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this state, or one of those given.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.states.push(state);
        self
    }

    /// Only this kind, or one of those given.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Only this queue, or one of those given.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Only with this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Only members of the flow that this batch stands for.
    #[must_use]
    pub fn batch(mut self, batch: TaskId) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Only tasks of this owner.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only such as their owner has taken off their list, or only such as they have not; see
    /// [`Client::dismiss`](crate::Client::dismiss).
    #[must_use]
    pub fn dismissed(mut self, dismissed: bool) -> Self {
        self.dismissed = Some(dismissed);
        self
    }

    /// Only this task, or one of those given.
    #[must_use]
    pub fn id(mut self, id: TaskId) -> Self {
        self.ids.push(id);
        self
    }

    /// Only what was enqueued at this moment or later.
    #[must_use]
    pub fn created_after(mut self, moment: Timestamp) -> Self {
        self.created_after = Some(moment);
        self
    }

    /// Only what was enqueued before this moment.
    #[must_use]
    pub fn created_before(mut self, moment: Timestamp) -> Self {
        self.created_before = Some(moment);
        self
    }

    /// Only what ended at this moment or later.
    #[must_use]
    pub fn finished_after(mut self, moment: Timestamp) -> Self {
        self.finished_after = Some(moment);
        self
    }

    /// Only what ended before this moment.
    #[must_use]
    pub fn finished_before(mut self, moment: Timestamp) -> Self {
        self.finished_before = Some(moment);
        self
    }

    /// Only where the message of the newest error contains this text, in the same case.
    #[must_use]
    pub fn error(mut self, text: impl Into<String>) -> Self {
        self.error = Some(text.into());
        self
    }

    /// Only where this value stands at this path in the arguments: names, as in `customer.id`, and places in lists, as in
    /// `lines[0].sku`, at most ten of them, and 64 characters of a name. A text is compared as it reads, a number, `true`, `false` and `null` as they
    /// stand in the JSON. Several: only where all of them do.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, task};
    /// #[task]
    /// fn ship(to: &str, boxes: u32) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(ship).open()?;
    /// tasks.enqueue(ship::with("Ada", 2))?;
    /// tasks.enqueue(ship::with("Grace", 2))?;
    /// assert_eq!(tasks.count(&Filter::new().arg("boxes", "2"))?, 2);
    /// assert_eq!(tasks.count(&Filter::new().arg("boxes", "2").arg("to", "Ada"))?, 1);
    /// # Ok::<(), litework::Error>(())
    /// ```
    #[must_use]
    pub fn arg(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.args.push((path.into(), value.into()));
        self
    }

    pub(crate) fn checked(&self) -> Result<(), Error> {
        if self.ids.len() > FILTER_IDS_MAX {
            let allowed = "at most 1000; ask in parts";
            return Err(Error::invalid("out_of_range", "ids of a filter", self.ids.len(), allowed));
        }
        if self.args.len() > FILTER_ARGS_MAX {
            let found = self.args.len();
            return Err(Error::invalid(
                "out_of_range",
                "arguments of a filter",
                found,
                "at most 10",
            ));
        }
        self.args.iter().try_for_each(|(path, _)| args::check(path))
    }

    /// Whether a task is meant: what the file's engine says in SQL.
    pub(crate) fn passes(&self, task: &TaskRecord) -> bool {
        let from = |bound: Option<Timestamp>, at: Option<Timestamp>| {
            bound.is_none_or(|bound| at.is_some_and(|at| at >= bound))
        };
        let before = |bound: Option<Timestamp>, at: Option<Timestamp>| {
            bound.is_none_or(|bound| at.is_some_and(|at| at < bound))
        };
        let message = task.error.as_ref().map(|report| report.message.as_str());
        let says = |text: &String| message.is_some_and(|message| message.contains(text));
        (self.states.is_empty() || self.states.contains(&task.state))
            && (self.kinds.is_empty() || self.kinds.contains(&task.kind))
            && (self.queues.is_empty() || self.queues.contains(&task.queue))
            && self.tag.as_ref().is_none_or(|tag| task.tags.contains(tag))
            && self.batch.is_none_or(|batch| task.batch == Some(batch))
            && (self.owner.is_none() || self.owner == task.owner)
            && self.dismissed.is_none_or(|dismissed| task.dismissed == dismissed)
            && (self.ids.is_empty() || self.ids.contains(&task.id))
            && from(self.created_after, Some(task.enqueued_at))
            && before(self.created_before, Some(task.enqueued_at))
            && from(self.finished_after, task.finished_at)
            && before(self.finished_before, task.finished_at)
            && self.error.as_ref().is_none_or(says)
            && self.args.iter().all(|(path, value)| args::holds(&task.arguments, path, value))
    }
}
