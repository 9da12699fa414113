//! Operate: what a person changes of a schedule.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::entry::Entry;
use super::{Missed, Overlap, Terms};
use crate::error::Error;
use crate::options::Options;
use crate::task::Due;
use crate::ties::check_task_name;
use crate::time::{AsMoment, Timestamp};
use crate::timing::Timing;

/// What a schedule is to be from now on; see [`Schedules::edit`](crate::Schedules::edit). What is not said
/// stays as it is.
#[derive(Debug, Default)]
#[must_use = "give it back"]
pub struct ScheduleEdit {
    name: Option<String>,
    timing: Option<Timing>,
    expression: Option<String>,
    zone: Option<String>,
    terms: Terms,
    options: Options,
    arguments: Vec<(String, Option<Value>)>,
    /// Keys of the terms that are to say nothing.
    without: Vec<&'static str>,
}

impl ScheduleEdit {
    fn terms(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }

    fn timing(mut self, timing: Timing) -> Self {
        self.timing = Some(timing);
        self
    }

    /// Another name. It stays the same schedule, with its history, and code still finds it.
    pub fn rename(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Another expression, in the zone that it has; see [`Schedule::cron`](crate::Schedule::cron).
    #[cfg(feature = "cron")]
    pub fn cron(mut self, expression: impl Into<String>) -> Self {
        self.expression = Some(expression.into());
        self
    }

    /// Another zone for its expression.
    #[cfg(feature = "cron")]
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(name.into());
        self
    }

    /// See [`Schedule::every`](crate::Schedule::every).
    pub fn every(self, interval: Duration) -> Self {
        self.timing(Timing::Every { interval })
    }

    /// See [`Schedule::after_finish`](crate::Schedule::after_finish).
    pub fn after_finish(self, pause: Duration, pause_after_error: Duration) -> Self {
        self.timing(Timing::AfterFinish { pause, pause_after_error })
    }

    /// See [`Schedule::once`](crate::Schedule::once).
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn once(mut self, at: impl AsMoment) -> Self {
        let at = self.terms.moment(at.as_unix_millis()).unwrap_or_default();
        self.timing(Timing::Once { at })
    }

    /// See [`Schedule::describe`](crate::Schedule::describe).
    pub fn describe(self, text: impl Into<String>) -> Self {
        self.terms(|terms| terms.description = Some(text.into()))
    }

    /// See [`Schedule::starting`](crate::Schedule::starting).
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn starting(self, at: impl AsMoment) -> Self {
        self.terms(|terms| terms.starts_at = terms.moment(at.as_unix_millis()))
    }

    /// See [`Schedule::ending`](crate::Schedule::ending).
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn ending(self, at: impl AsMoment) -> Self {
        self.terms(|terms| terms.ends_at = terms.moment(at.as_unix_millis()))
    }

    /// It has no end.
    pub fn without_end(mut self) -> Self {
        self.without.push("ends_at");
        self
    }

    /// It has no start: slots are from now on.
    pub fn without_start(mut self) -> Self {
        self.without.push("starts_at");
        self
    }

    /// It goes on however often it has run.
    pub fn without_times(mut self) -> Self {
        self.without.push("times");
        self
    }

    /// It goes on however many tasks in a row have failed.
    pub fn without_stop(mut self) -> Self {
        self.without.push("failures_max");
        self
    }

    /// See [`Schedule::frequent`](crate::Schedule::frequent).
    pub fn frequent(self) -> Self {
        self.terms(|terms| terms.frequent = true)
    }

    /// See [`Schedule::times`](crate::Schedule::times).
    pub fn times(self, runs: u64) -> Self {
        self.terms(|terms| terms.times = Some(runs))
    }

    /// See [`Schedule::jitter`](crate::Schedule::jitter).
    pub fn jitter(self, span: Duration) -> Self {
        self.terms(|terms| terms.jitter = Some(span))
    }

    /// See [`Schedule::grace`](crate::Schedule::grace).
    pub fn grace(self, span: Duration) -> Self {
        self.terms(|terms| terms.grace = Some(span))
    }

    /// See [`Schedule::missed`](crate::Schedule::missed).
    pub fn missed(self, missed: Missed) -> Self {
        self.terms(|terms| terms.missed = Some(missed))
    }

    /// See [`Schedule::overlap`](crate::Schedule::overlap).
    pub fn overlap(self, overlap: Overlap) -> Self {
        self.terms(|terms| terms.overlap = Some(overlap))
    }

    /// See [`Schedule::stop_after_failures`](crate::Schedule::stop_after_failures).
    pub fn stop_after_failures(self, failures: u64) -> Self {
        self.terms(|terms| terms.failures_max = Some(failures))
    }

    /// Sets the argument of this parameter.
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.arguments.push((name.into(), Some(value.into())));
        self
    }

    /// Takes an argument away, so that the parameter's default holds.
    pub fn without_argument(mut self, name: impl Into<String>) -> Self {
        self.arguments.push((name.into(), None));
        self
    }

    /// Changes options of its calls. What belongs to a kind, as `max_running`, is not among them.
    pub fn options(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.options = change(self.options);
        self
    }

    /// See [`Options::queue`].
    pub fn queue(self, name: impl Into<Cow<'static, str>>) -> Self {
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

    /// See [`Options::expires_after`].
    pub fn expires_after(self, span: Duration) -> Self {
        self.options(|options| options.expires_after(span))
    }

    /// Switches it on or off.
    pub(crate) fn enabled(self, enabled: bool) -> Self {
        self.terms(|terms| terms.enabled = Some(enabled))
    }

    /// Changes what people say of a stored schedule; nothing of its range is checked here.
    pub(crate) fn apply(self, entry: &mut Entry, now: Timestamp) -> Result<(), Error> {
        // What no one here can read would make it stay useless whatever is edited.
        let mut edits = entry.readable_edits();
        entry.edits = Value::Object(edits.clone()).to_string();
        let old = entry.terms().unwrap_or_default();
        if let Some(ms) = self.terms.bad_moment {
            Due::At(ms).moment(Timestamp::MIN)?;
        }
        let mut terms = self.terms;
        terms.timing = match (self.timing, self.expression, self.zone) {
            (timing, None, None) => timing,
            (_, expression, zone) => Some(cron(old.timing, expression, zone)?),
        };
        terms.options = self.options;
        if !self.arguments.is_empty() {
            let mut arguments = old.arguments.unwrap_or_default();
            for (name, value) in self.arguments {
                match value {
                    Some(value) => drop(arguments.insert(name, value)),
                    None => drop(arguments.remove(&name)),
                }
            }
            terms.arguments = Some(arguments);
        }
        for (key, value) in terms.object() {
            match (value, edits.get_mut(&key)) {
                (Value::Object(more), Some(Value::Object(known))) if key == "options" => {
                    known.extend(more);
                }
                (value, _) => drop(edits.insert(key, value)),
            }
        }
        for key in self.without {
            edits.insert(key.to_owned(), Value::Null);
        }
        entry.edits = Value::Object(edits).to_string();
        entry.edited_at = Some(now);
        if let Some(name) = self.name {
            check_task_name("schedule name", &name)?;
            entry.name = name;
        }
        Ok(())
    }
}

/// The expression and the zone that hold, where one of the two was changed.
fn cron(
    old: Option<Timing>,
    expression: Option<String>,
    zone: Option<String>,
) -> Result<Timing, Error> {
    let (known, known_zone) = match old {
        Some(Timing::Cron { expression, zone }) => (Some(expression), Some(zone)),
        _ => (None, None),
    };
    let zone = zone.or(known_zone).unwrap_or_else(|| "UTC".to_owned());
    let Some(expression) = expression.or(known) else {
        let allowed = "a zone with a cron expression only";
        return Err(Error::invalid("bad_schedule", "zone of the schedule", zone, allowed));
    };
    Ok(Timing::Cron { expression, zone })
}
