//! Tests of programs: which tasks should have been enqueued, and how one differs from that.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::due::LIVE;
use crate::client::Client;
use crate::error::shorten;
use crate::json::{self, JsonLimits};
use crate::record::TaskRecord;
use crate::state::State;
use crate::task::{Signature, TaskRef};
use crate::time::Timestamp;

/// A task as a test expects it; what is not said may be anything. Made by
/// [`assert_enqueued!`](crate::assert_enqueued), whose options are these methods.
///
/// ```
/// use litework::testing::{Expected, assert_enqueued};
/// use litework::{Client, task};
///
/// #[task]
/// fn mail(to: &str, copies: u32) {}
///
/// let tasks = Client::dummy().register(mail).open()?;
/// tasks.enqueue(mail::with("ada", 2).priority(3))?;
/// let expected = Expected::of::<mail>().argument("to", "ada").priority(3);
/// assert_eq!(assert_enqueued(&tasks, &expected).len(), 1);
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "an expectation asserts nothing by itself"]
pub struct Expected {
    pub(super) kind: &'static str,
    arguments: Map<String, Value>,
    exact: bool,
    queue: Option<String>,
    priority: Option<i32>,
    key: Option<String>,
    owner: Option<String>,
    tags: Vec<String>,
    due_at: Option<Timestamp>,
    run_after: Option<Duration>,
    states: Vec<State>,
    pub(super) count: Option<usize>,
}

impl Expected {
    /// Any task of this kind that has not ended: the name of a `#[task]` function, or the type of the
    /// arguments.
    pub fn of<T: TaskRef>() -> Self {
        Self {
            kind: <T::Task as Signature>::NAME,
            arguments: Map::new(),
            exact: false,
            queue: None,
            priority: None,
            key: None,
            owner: None,
            tags: Vec::new(),
            due_at: None,
            run_after: None,
            states: Vec::new(),
            count: None,
        }
    }

    /// With this argument, compared as JSON: objects inside of it may have more entries, unless it must be
    /// [exact](Self::exact); arrays are as long, and alike item by item; `1` and `1.0` are the same.
    pub fn argument(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        let text = json::encode(&value, JsonLimits::default())
            .unwrap_or_else(|error| panic!("the expected argument {name:?}: {error}"));
        let value = serde_json::from_str(&text).expect("it was just encoded");
        self.arguments.insert(name, value);
        self
    }

    /// With these arguments and no others.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// In this queue.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// With this priority.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// With this idempotency key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Of this owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// With this tag, and with each of those given.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Due at this moment.
    pub fn due_at(mut self, moment: Timestamp) -> Self {
        self.due_at = Some(moment);
        self
    }

    /// Due this long after it was enqueued.
    pub fn run_after(mut self, span: Duration) -> Self {
        self.run_after = Some(span);
        self
    }

    /// In this state, or in one of those given. Default: any that is not final; in mode `inline` a task has
    /// ended when `enqueue` returns, so give `State::Succeeded` there.
    pub fn state(mut self, state: State) -> Self {
        self.states.push(state);
        self
    }

    /// Exactly this many tasks, also 0. Default: at least one.
    pub fn count(mut self, tasks: usize) -> Self {
        self.count = Some(tasks);
        self
    }

    pub(super) fn is_of(&self, client: &Client, task: &TaskRecord) -> bool {
        client.hub.catalog.is_same(self.kind, &task.kind)
    }

    /// In what a task of the kind differs, most telling first; nothing when it is as expected.
    pub(super) fn differences(&self, task: &TaskRecord) -> Vec<String> {
        let mut found = Vec::new();
        let arguments = serde_json::from_str(&task.arguments).unwrap_or(Value::Null);
        match &arguments {
            Value::Object(entries) => {
                self.compare_entries("", &self.arguments, entries, &mut found);
            }
            _ => found.push(format!("arguments: {}", shorten(&task.arguments))),
        }
        let mut field = |name: &str, wanted: Option<String>, is: String| {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
                found.push(format!("{name}: {is} instead of {wanted}"));
            }
        };
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
        let or_none = |text: &Option<String>| quoted(text).unwrap_or_else(|| "none".to_owned());
        field("queue", quoted(&self.queue), format!("{:?}", task.queue));
        field("priority", self.priority.map(|p| p.to_string()), task.priority.to_string());
        field("key", quoted(&self.key), or_none(&task.key));
        field("owner", quoted(&self.owner), or_none(&task.owner));
        field("due_at", self.due_at.map(|at| at.to_string()), task.due_at.to_string());
        let run_after = self.run_after.map(|span| task.enqueued_at.after(span));
        field("due_at", run_after.map(|at| at.to_string()), task.due_at.to_string());
        for tag in self.tags.iter().filter(|tag| !task.tags.contains(tag)) {
            found.push(format!("tags: {:?} without {tag:?}", task.tags));
        }
        let states = if self.states.is_empty() { &LIVE[..] } else { &self.states };
        if !states.contains(&task.state) {
            let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
            found.push(format!("state: {} instead of {}", task.state, words.join(" or ")));
        }
        found
    }

    fn compare_entries(
        &self,
        path: &str,
        wanted: &Map<String, Value>,
        is: &Map<String, Value>,
        found: &mut Vec<String>,
    ) {
        let inside =
            |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for (name, wanted) in wanted {
            match is.get(name) {
                Some(is) => self.compare(&inside(name), wanted, is, found),
                None => {
                    found.push(format!("{}: missing instead of {}", inside(name), short(wanted)));
                }
            }
        }
        for (name, is) in is.iter().filter(|(name, _)| self.exact && !wanted.contains_key(*name)) {
            found.push(format!("{}: {} was not expected", inside(name), short(is)));
        }
    }

    fn compare(&self, path: &str, wanted: &Value, is: &Value, found: &mut Vec<String>) {
        match (wanted, is) {
            (Value::Object(wanted), Value::Object(is)) => {
                self.compare_entries(path, wanted, is, found);
            }
            (Value::Array(wanted), Value::Array(is)) if wanted.len() == is.len() => {
                for (at, (wanted, is)) in wanted.iter().zip(is).enumerate() {
                    self.compare(&format!("{path}[{at}]"), wanted, is, found);
                }
            }
            (Value::Number(wanted), Value::Number(is))
                if (wanted.is_f64() || is.is_f64()) && wanted.as_f64() == is.as_f64() => {}
            _ if wanted == is => {}
            _ => found.push(format!("{path}: {} instead of {}", short(is), short(wanted))),
        }
    }
}

fn short(value: &Value) -> String {
    shorten(&value.to_string())
}

/// As it is written in the macros.
impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)?;
        if self.exact || !self.arguments.is_empty() {
            let mut parts: Vec<String> = self
                .arguments
                .iter()
                .map(|(name, value)| format!("{name}: {}", short(value)))
                .collect();
            if !self.exact {
                parts.push("..".to_owned());
            }
            match parts.join(", ").as_str() {
                "" => f.write_str(" {}")?,
                parts => write!(f, " {{ {parts} }}")?,
            }
        }
        let text = |f: &mut std::fmt::Formatter<'_>, name: &str, value: &Option<String>| {
            value.as_ref().map_or(Ok(()), |value| write!(f, ", {name} = {value:?}"))
        };
        text(f, "queue", &self.queue)?;
        self.priority.map_or(Ok(()), |priority| write!(f, ", priority = {priority}"))?;
        text(f, "key", &self.key)?;
        text(f, "owner", &self.owner)?;
        self.tags.iter().try_for_each(|tag| write!(f, ", tag = {tag:?}"))?;
        self.due_at.map_or(Ok(()), |at| write!(f, ", due_at = {at}"))?;
        self.run_after.map_or(Ok(()), |span| write!(f, ", run_after = {span:?}"))?;
        self.states.iter().try_for_each(|state| write!(f, ", state = {state}"))
    }
}
