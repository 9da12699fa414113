//! Watch: the form in which a schedule is changed: filled with what holds, and read back as what differs from it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schedules::ScheduleView;
use super::{masked, text};
use crate::error::Error;
use crate::json::{self, JsonLimits};
use crate::schedule::{Missed, Overlap, ScheduleEdit, ScheduleRecord};
use crate::time::{Timestamp, span_text};
use crate::timing::Timing;
use crate::web::fault::Fault;
use crate::web::site::Visit;

/// The fields, as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) description: String,
    /// `cron`, `every`, `after_finish` or `once`.
    pub(crate) when: String,
    pub(crate) expression: String,
    pub(crate) zone: String,
    pub(crate) interval: String,
    pub(crate) after_error: String,
    pub(crate) at: String,
    pub(crate) missed: String,
    pub(crate) missed_most: String,
    pub(crate) missed_within: String,
    pub(crate) overlap: String,
    pub(crate) queue: String,
    pub(crate) priority: String,
    pub(crate) jitter: String,
    pub(crate) grace: String,
    pub(crate) times: String,
    pub(crate) stop_after: String,
    pub(crate) starts_at: String,
    pub(crate) ends_at: String,
    pub(crate) arguments: String,
}

fn bad(field: &str, value: &str, allowed: &str) -> Fault {
    let detail = format!("{field} is {:?}; {allowed}", text::brief(value, 80));
    Fault::bad_request("bad_schedule", detail)
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn read<T: DeserializeOwned>(field: &str, value: &str, allowed: &str) -> Result<T, Fault> {
    serde_json::from_value(value.into()).map_err(|_| bad(field, value, allowed))
}

fn number<T: std::str::FromStr>(field: &str, value: &str) -> Result<T, Fault> {
    value.trim().parse().map_err(|_| bad(field, value, "a number"))
}

fn span(value: &str) -> Result<Duration, Fault> {
    Ok(crate::written::parse_duration(value.trim())?)
}

impl Form {
    /// The fields by name.
    pub(crate) const NAMES: [&'static str; 20] = [
        "description",
        "when",
        "expression",
        "zone",
        "interval",
        "after_error",
        "at",
        "missed",
        "missed_most",
        "missed_within",
        "overlap",
        "queue",
        "priority",
        "jitter",
        "grace",
        "times",
        "stop_after",
        "starts_at",
        "ends_at",
        "arguments",
    ];

    /// What holds, with secrets hidden as in what is shown of it.
    pub(crate) fn of(record: &ScheduleRecord, view: &ScheduleView) -> Self {
        let text = |value: Option<String>| value.unwrap_or_default();
        let mut form = Self {
            description: text(view.description.clone()),
            overlap: word(&record.overlap),
            queue: text(record.queue.clone()),
            priority: text(record.priority.map(|priority| priority.to_string())),
            jitter: span_text(record.jitter),
            grace: span_text(record.grace),
            times: text(record.times.map(|times| times.to_string())),
            stop_after: text(record.stop_after_failures.map(|failures| failures.to_string())),
            starts_at: text(record.starts_at.map(|at| at.to_string())),
            ends_at: text(record.ends_at.map(|at| at.to_string())),
            arguments: text::pretty(view.arguments.get()),
            ..Self::default()
        };
        match &record.missed {
            Missed::Skip => "skip".clone_into(&mut form.missed),
            Missed::Last => "last".clone_into(&mut form.missed),
            Missed::All { most, within } => {
                "all".clone_into(&mut form.missed);
                (form.missed_most, form.missed_within) = (most.to_string(), span_text(*within));
            }
        }
        let when = match &record.timing {
            Some(Timing::Cron { expression, zone }) => {
                (form.expression, form.zone) = (expression.clone(), zone.clone());
                "cron"
            }
            Some(Timing::AfterFinish { pause, pause_after_error }) => {
                form.interval = span_text(*pause);
                form.after_error = span_text(*pause_after_error);
                "after_finish"
            }
            Some(Timing::Once { at }) => {
                form.at = at.to_string();
                "once"
            }
            Some(Timing::Every { interval }) => {
                form.interval = span_text(*interval);
                "every"
            }
            None => "every",
        };
        when.clone_into(&mut form.when);
        form
    }

    /// What holds of one of which nothing is said.
    pub(crate) fn usual() -> Self {
        Self { overlap: word(&Overlap::default()), missed: "last".to_owned(), ..Self::default() }
    }

    /// What was sent.
    pub(crate) fn sent(visit: &Visit) -> Self {
        Self::filled(&|name| visit.field(name).unwrap_or_default())
    }

    /// Each field by its name.
    pub(crate) fn filled(given: &dyn Fn(&str) -> String) -> Self {
        // Browsers end lines otherwise than we do.
        let field = |name: &str| given(name).replace("\r\n", "\n");
        Self {
            description: field("description"),
            when: field("when"),
            expression: field("expression"),
            zone: field("zone"),
            interval: field("interval"),
            after_error: field("after_error"),
            at: field("at"),
            missed: field("missed"),
            missed_most: field("missed_most"),
            missed_within: field("missed_within"),
            overlap: field("overlap"),
            queue: field("queue"),
            priority: field("priority"),
            jitter: field("jitter"),
            grace: field("grace"),
            times: field("times"),
            stop_after: field("stop_after"),
            starts_at: field("starts_at"),
            ends_at: field("ends_at"),
            arguments: field("arguments"),
        }
    }

    /// What differs from what holds.
    pub(crate) fn edit(
        &self,
        record: &ScheduleRecord,
        view: &ScheduleView,
        now: Timestamp,
    ) -> Result<ScheduleEdit, Fault> {
        let edit = self.differing(&Self::of(record, view), now)?;
        self.argued(record, view.arguments.get(), edit)
    }

    /// What is said of a new one, but for its arguments, which are to be an object.
    pub(crate) fn said(&self, limits: JsonLimits, now: Timestamp) -> Result<ScheduleEdit, Fault> {
        let said = self.differing(&Self::usual(), now)?;
        if self.arguments.trim().is_empty() {
            return Ok(said);
        }
        let arguments =
            json::check_object(self.arguments.as_bytes(), limits).map_err(Error::from)?;
        let arguments: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(arguments).unwrap_or_default();
        Ok(arguments.into_iter().fold(said, |said, (name, value)| said.argument(name, value)))
    }

    fn differing(&self, before: &Self, now: Timestamp) -> Result<ScheduleEdit, Fault> {
        let differs = |field: fn(&Self) -> &String| field(self) != field(before);
        let mut edit = self.timed(before, now, ScheduleEdit::default())?;
        if differs(|form| &form.description) {
            edit = edit.describe(self.description.as_str());
        }
        if differs(|form| &form.overlap) {
            let allowed = "allow, skip, buffer_one or cancel_running";
            edit = edit.overlap(read("overlap", &self.overlap, allowed)?);
        }
        if [&self.missed, &self.missed_most, &self.missed_within]
            != [&before.missed, &before.missed_most, &before.missed_within]
        {
            edit = edit.missed(self.missed()?);
        }
        // What is left empty stays as it is: only a reset takes a queue away.
        if differs(|form| &form.queue) && !self.queue.is_empty() {
            edit = edit.queue(self.queue.clone());
        }
        if differs(|form| &form.priority) && !self.priority.is_empty() {
            edit = edit.priority(number("priority", &self.priority)?);
        }
        if differs(|form| &form.jitter) {
            edit = edit.jitter(span(&self.jitter)?);
        }
        if differs(|form| &form.grace) {
            edit = edit.grace(span(&self.grace)?);
        }
        self.bounded(before, now, edit)
    }

    fn timed(
        &self,
        before: &Self,
        now: Timestamp,
        edit: ScheduleEdit,
    ) -> Result<ScheduleEdit, Fault> {
        let timing = |form: &Self| {
            [&form.when, &form.expression, &form.zone, &form.interval, &form.after_error, &form.at]
                .map(String::clone)
        };
        if timing(self) == timing(before) {
            return Ok(edit);
        }
        Ok(match self.when.as_str() {
            #[cfg(feature = "cron")]
            "cron" => {
                let edit = edit.cron(self.expression.trim());
                if self.zone.trim().is_empty() { edit } else { edit.zone(self.zone.trim()) }
            }
            "every" => edit.every(span(&self.interval)?),
            "after_finish" => {
                let pause = span(&self.interval)?;
                let after_error = self.after_error.trim();
                let after_error = if after_error.is_empty() { pause } else { span(after_error)? };
                edit.after_finish(pause, after_error)
            }
            "once" => edit.once(super::deeds::moment(&self.at, now)?),
            other => return Err(bad("when", other, "cron, every, after_finish or once")),
        })
    }

    fn missed(&self) -> Result<Missed, Fault> {
        Ok(match self.missed.as_str() {
            "skip" => Missed::Skip,
            "last" => Missed::Last,
            "all" => {
                let most = if self.missed_most.is_empty() { "100" } else { &self.missed_most };
                let within = if self.missed_within.is_empty() { "1d" } else { &self.missed_within };
                Missed::all(number("missed_most", most)?, span(within)?)
            }
            other => return Err(bad("missed", other, "skip, last or all")),
        })
    }

    /// When it begins and ends.
    fn bounded(
        &self,
        before: &Self,
        now: Timestamp,
        mut edit: ScheduleEdit,
    ) -> Result<ScheduleEdit, Fault> {
        if self.times != before.times {
            edit = match self.times.trim() {
                "" => edit.without_times(),
                times => edit.times(number("times", times)?),
            };
        }
        if self.stop_after != before.stop_after {
            edit = match self.stop_after.trim() {
                "" => edit.without_stop(),
                failures => edit.stop_after_failures(number("stop_after", failures)?),
            };
        }
        if self.starts_at != before.starts_at {
            edit = match self.starts_at.trim() {
                "" => edit.without_start(),
                at => edit.starting(super::deeds::moment(at, now)?),
            };
        }
        if self.ends_at != before.ends_at {
            edit = match self.ends_at.trim() {
                "" => edit.without_end(),
                at => edit.ending(super::deeds::moment(at, now)?),
            };
        }
        Ok(edit)
    }

    /// Arguments that differ; what is hidden stays as it is stored.
    fn argued(
        &self,
        record: &ScheduleRecord,
        shown: &str,
        mut edit: ScheduleEdit,
    ) -> Result<ScheduleEdit, Fault> {
        if self.arguments.trim().is_empty() {
            return Ok(edit);
        }
        let meant = masked::meant(&self.arguments, shown, &record.arguments)?;
        let stored: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&record.arguments).unwrap_or_default();
        for name in stored.keys().filter(|name| !meant.contains_key(*name)) {
            edit = edit.without_argument(name);
        }
        for (name, value) in meant {
            if stored.get(&name) != Some(&value) {
                edit = edit.argument(name, value);
            }
        }
        Ok(edit)
    }
}
