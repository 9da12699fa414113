//! Operate: what a person changes of a schedule.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::edits::{self, is_cron};
use super::entry::Entry;
use super::{Missed, Overlap, Terms, check_schedule_name};
use crate::error::Error;
use crate::options::Options;
use crate::task::Due;
use crate::time::{AsMoment, Timestamp};
use crate::timing::Timing;

/// What a schedule is to be from now on; see [`Schedules::edit`](crate::Schedules::edit). What is not said
/// stays as it is, and of what is said twice the later holds. What is as in code is no edit any more.
///
/// It is switched on and off by [`Schedules::enable`](crate::Schedules::enable) and
/// [`disable`](crate::Schedules::disable).
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
    /// Milliseconds that are no moment, each with its place.
    bad_moments: Vec<(&'static str, i64)>,
}

impl ScheduleEdit {
    fn terms(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }

    /// The same for what may also be taken away.
    fn given(mut self, key: &'static str, change: impl FnOnce(&mut Terms)) -> Self {
        self.without.retain(|without| *without != key);
        self.terms(change)
    }

    fn without(mut self, key: &'static str) -> Self {
        self.without.push(key);
        self.bad_moments.retain(|(place, _)| *place != key);
        self
    }

    /// A moment; what is none is told when it is applied.
    fn moment(&mut self, place: &'static str, ms: i64) -> Option<Timestamp> {
        let moment = Timestamp::from_millis(ms);
        self.bad_moments.retain(|(other, _)| *other != place);
        self.bad_moments.extend(moment.is_none().then_some((place, ms)));
        moment
    }

    fn timing(mut self, timing: Timing) -> Self {
        if !matches!(timing, Timing::Once { .. }) {
            self.bad_moments.retain(|(place, _)| *place != "once");
        }
        (self.timing, self.expression, self.zone) = (Some(timing), None, None);
        self
    }

    /// Another name. It stays the same schedule, with its history, and code still finds it.
    pub fn rename(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Another expression, in the zone that it has or that its code names, or in UTC; see [`Schedule::cron`](crate::Schedule::cron).
    #[cfg(feature = "cron")]
    pub fn cron(mut self, expression: impl Into<String>) -> Self {
        self.expression = Some(expression.into());
        self.timing = None;
        self.bad_moments.retain(|(place, _)| *place != "once");
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
        let at = self.moment("once", at.as_unix_millis()).unwrap_or_default();
        self.timing(Timing::Once { at })
    }

    /// See [`Schedule::describe`](crate::Schedule::describe).
    pub fn describe(self, text: impl Into<String>) -> Self {
        self.terms(|terms| terms.description = Some(text.into()))
    }

    /// See [`Schedule::starting`](crate::Schedule::starting).
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn starting(mut self, at: impl AsMoment) -> Self {
        let moment = self.moment("starts_at", at.as_unix_millis());
        self.given("starts_at", |terms| terms.starts_at = moment)
    }

    /// See [`Schedule::ending`](crate::Schedule::ending).
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn ending(mut self, at: impl AsMoment) -> Self {
        let moment = self.moment("ends_at", at.as_unix_millis());
        self.given("ends_at", |terms| terms.ends_at = moment)
    }

    /// It has no end.
    pub fn without_end(self) -> Self {
        self.without("ends_at")
    }

    /// It has no start: slots are from now on.
    pub fn without_start(self) -> Self {
        self.without("starts_at")
    }

    /// It goes on however often it has run.
    pub fn without_times(self) -> Self {
        self.without("times")
    }

    /// It goes on however many tasks in a row have failed.
    pub fn without_stop(self) -> Self {
        self.without("failures_max")
    }

    /// See [`Schedule::frequent`](crate::Schedule::frequent).
    pub fn frequent(self) -> Self {
        self.given("frequent", |terms| terms.frequent = true)
    }

    /// Its slots are 5 s apart or more, as usual.
    pub fn without_frequent(self) -> Self {
        self.without("frequent")
    }

    /// See [`Schedule::times`](crate::Schedule::times).
    pub fn times(self, runs: u64) -> Self {
        self.given("times", |terms| terms.times = Some(runs))
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
        self.given("failures_max", |terms| terms.failures_max = Some(failures))
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

    /// Whether it says anything of arguments.
    #[cfg(feature = "web")]
    pub(crate) fn has_arguments(&self) -> bool {
        !self.arguments.is_empty()
    }

    /// Its calls have arguments, and there are none.
    #[cfg(feature = "web")]
    pub(crate) fn no_arguments(self) -> Self {
        self.terms(|terms| terms.arguments = Some(Map::new()))
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
        if let Some((_, ms)) = self.bad_moments.first() {
            Due::At(*ms).moment(Timestamp::MIN)?;
        }
        // What no one here can read would make it stay useless whatever is edited.
        let mut known = entry.readable_edits();
        entry.edits = Value::Object(known.clone()).to_string();
        let code = entry.code().unwrap_or_default();
        let old = entry.terms().unwrap_or_default().timing;
        let timing = match (self.timing, self.expression, self.zone) {
            (timing, None, None) => timing.map(|timing| json!(timing)),
            (None, expression, zone) if expression.is_some() || is_expression(old.as_ref()) => {
                // What neither code nor people say of it yet.
                let alone = !is_cron(&code) && !is_cron(&known);
                let zone = zone.or_else(|| alone.then(|| "UTC".to_owned()));
                Some(cron(expression, zone))
            }
            (_, _, zone) => {
                let allowed = "`zone` goes with a cron expression only";
                let zone = zone.unwrap_or_default();
                return Err(Error::invalid("bad_schedule", "zone of the schedule", zone, allowed));
            }
        };
        let mut said = Terms { options: self.options, ..self.terms }.object();
        said.extend(timing.map(|timing| ("timing".to_owned(), timing)));
        said.extend(self.without.into_iter().map(|key| (key.to_owned(), Value::Null)));
        edits::add(&mut known, said);
        edits::argue(&mut known, self.arguments);
        // Where no code declares it, what people say is all there is.
        let edits = match entry.code {
            Some(_) => edits::differing(&code, &known),
            None => edits::merged(&code, &known),
        };
        entry.edits = Value::Object(edits).to_string();
        entry.edited_at = Some(now);
        if let Some(name) = self.name {
            check_schedule_name("schedule name", &name)?;
            entry.name = name;
        }
        Ok(())
    }
}

fn is_expression(timing: Option<&Timing>) -> bool {
    matches!(timing, Some(Timing::Cron { .. }))
}

/// A timing by expression, as far as it is said.
fn cron(expression: Option<String>, zone: Option<String>) -> Value {
    let said = [("expression", expression), ("zone", zone)].into_iter();
    let said = said.filter_map(|(key, text)| Some((key.to_owned(), text?.into())));
    json!({ "cron": said.collect::<Map<String, Value>>() })
}
