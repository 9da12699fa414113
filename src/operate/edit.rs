//! Every step of the journey: what a copy of a task differs in.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::json::{self, JsonLimits};
use crate::options::Options;
use crate::task::{CallOptions, Due};
use crate::time::AsMoment;

/// What a copy differs in; see [`Client::edit_as_copy`](crate::Client::edit_as_copy).
#[derive(Debug)]
#[must_use = "give it back"]
pub struct Edit {
    pub(super) arguments: Map<String, Value>,
    pub(super) with: CallOptions,
}

impl Edit {
    /// The arguments of a copy: each as it stands where it was not edited, as a number may have more digits than one
    /// in memory.
    pub(super) fn arguments_of(&self, old: &str, limits: JsonLimits) -> Result<String, Error> {
        let before: Map<String, Value> = serde_json::from_str(old).unwrap_or_default();
        if before == self.arguments {
            return Ok(old.to_owned());
        }
        let written = json::encode(&self.arguments, limits)?;
        let stored: BTreeMap<String, &RawValue> = serde_json::from_str(old).unwrap_or_default();
        let is_kept = |name: &String| before.get(name) == self.arguments.get(name);
        if !stored.keys().any(is_kept) {
            return Ok(written);
        }
        let entries = self.arguments.iter().map(|(name, value)| {
            let kept = stored.get(name).filter(|_| is_kept(name));
            let text = kept.map_or_else(|| value.to_string(), |kept| kept.get().to_owned());
            format!("{}:{text}", Value::from(name.as_str()))
        });
        Ok(format!("{{{}}}", entries.collect::<Vec<_>>().join(",")))
    }

    /// Sets the argument of this parameter.
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }

    /// These arguments in the place of all.
    #[cfg(feature = "cli")]
    pub(crate) fn with_arguments(mut self, arguments: Map<String, Value>) -> Self {
        self.arguments = arguments;
        self
    }

    /// Takes an argument away, so that the parameter's default holds.
    pub fn without_argument(mut self, name: &str) -> Self {
        self.arguments.remove(name);
        self
    }

    /// Changes options: `queue`, `priority`, `attempts`, `at_most_once`, `expires_after` (which counts from
    /// the copy's due time), `retry`, `timeout`, `keep_for`, `finish_sync` and `durability`. Those that are
    /// not set stay as they were. Any other is refused (`unsupported`), as it belongs to the kind or ties a
    /// task to others; enqueue a new call for that.
    pub fn options(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.with.options = change(self.with.options);
        self
    }

    /// See [`Options::queue`].
    pub fn queue(self, name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.options(|options| options.queue(name))
    }

    /// See [`Options::priority`].
    pub fn priority(self, priority: i32) -> Self {
        self.options(|options| options.priority(priority))
    }

    /// See [`Options::attempts`].
    pub fn attempts(self, attempts: u32) -> Self {
        self.options(|options| options.attempts(attempts))
    }

    /// See [`Call::run_at`](crate::Call::run_at). An expiry that the task has moves along, as with
    /// [`Client::reschedule`](crate::Client::reschedule), unless a new `expires_after` is given.
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn run_at(mut self, moment: impl AsMoment) -> Self {
        self.with.due = Due::At(moment.as_unix_millis());
        self
    }

    /// See [`Call::run_after`](crate::Call::run_after). An expiry moves along, as in
    /// [`run_at`](Self::run_at).
    pub fn run_after(mut self, span: std::time::Duration) -> Self {
        self.with.due = Due::After(span);
        self
    }

    /// See [`Call::owner`](crate::Call::owner).
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.with.owner = Some(owner.into());
        self
    }

    /// One more tag; see [`Call::tag`](crate::Call::tag).
    pub fn tag(mut self, tag: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.with.tags.push(tag.into());
        self
    }
}
