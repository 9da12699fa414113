//! Words: a task as one line of text, to be carried from one queue to another.
//!
//! A line is a JSON object with a number for its form, `schema`. What stands in it as JSON is written as it is stored, so
//! that no number is rounded.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, shorten};
use crate::flow::BATCH_KIND;
use crate::id::TaskId;
use crate::json::{self, JsonLimits};
use crate::key::KEY_BYTES_MAX;
use crate::options::{Options, check_name, check_priority};
use crate::outcome::Report;
use crate::redact::Redaction;
use crate::slot::Slot;
use crate::state::{Reason, State};
use crate::task::{TAG_BYTES_MAX, TAGS_MAX, check_owner, checked_trace};
use crate::ties::{Policy, Ties, check_task_name};
use crate::time::Timestamp;

/// The form of a line; it grows when a field changes its meaning.
pub(crate) const LINE_SCHEMA: u32 = 1;

/// Bytes of one line at most, its end included. A task with more, as of many large steps, is not exported: it is counted
/// among the rows that cannot be read. A [copy](crate::Client::backup) has it.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a task is not exported.
pub(crate) const LINE_TOO_LONG: &str =
    "with them its line would have more than 64 MiB, which no queue imports";

/// No row has a greater number: two of a payload are made of it.
const ROW_MAX: i64 = 1 << 52;
/// Crashes and snoozes of a task that are believed.
const COUNT_MAX: u32 = 1_000_000_000;
/// Bytes of the key of a gate, and of one that is made of arguments.
const LONG_KEY_BYTES_MAX: usize = 8 * KEY_BYTES_MAX;

/// A task, and what belongs to nobody else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are marks, each by itself")]
pub(crate) struct Portable {
    pub(crate) schema: u32,
    /// Something may be hidden in it, so that it is no task any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) redacted: bool,
    pub(crate) id: TaskId,
    pub(crate) kind: String,
    pub(crate) queue: String,
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) priority: i32,
    pub(crate) due_at: Timestamp,
    pub(crate) enqueued_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) attempt: u32,
    pub(crate) attempts_max: u32,
    pub(crate) crashes: u32,
    pub(crate) snoozes: u32,
    pub(crate) at_most_once: bool,
    pub(crate) cancel_requested: bool,
    pub(crate) stuck: bool,
    pub(crate) dismissed: bool,
    pub(crate) key: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) trace: Option<String>,
    pub(crate) batch: Option<TaskId>,
    pub(crate) slot: Option<Slot>,
    pub(crate) tags: Vec<String>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<Box<RawValue>>,
    pub(crate) arguments: Box<RawValue>,
    /// Left out where there is none, as `null` is one.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Box<RawValue>>,
    /// That of the newest attempt that had one; what is read again are the attempts.
    pub(crate) error: Option<Report>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attempts: Vec<PortableAttempt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<PortableStep>,
    /// What must end before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<PortableEdge>,
    /// How it differs from its definition.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unique_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wait_key: Option<String>,
    /// What its start or end means to others.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) ties: Option<Box<RawValue>>,
}

/// One attempt that did not simply succeed, or a retry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortableAttempt {
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) error: Option<Report>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortableStep {
    pub(crate) name: String,
    pub(crate) value: Box<RawValue>,
    pub(crate) stored_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortableEdge {
    pub(crate) id: TaskId,
    /// `success` or `finish`.
    pub(crate) policy: String,
    pub(crate) open: bool,
}

/// A value that is there, also where it is `null`.
fn some<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// A stored text of JSON on one line; none where it is no JSON.
pub(crate) fn raw(text: String) -> Option<Box<RawValue>> {
    // In JSON a line ends only between two words.
    let line = if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text };
    RawValue::from_string(line).ok()
}

fn bad(place: &str, value: impl std::fmt::Debug, allowed: &str) -> Error {
    Error::invalid("bad_line", place, value, allowed)
}

impl Portable {
    /// Reads a line. Whether it may be stored says [`Portable::check`].
    pub(crate) fn of_line(line: &[u8]) -> Result<Self, Error> {
        let task: Self = serde_json::from_slice(line).map_err(|error| {
            let (value, allowed) = (shorten(&error.to_string()), "one task as `export` writes it");
            Error::Invalid {
                code: "bad_line",
                place: "the line".to_owned(),
                value,
                allowed: allowed.to_owned(),
            }
        })?;
        if task.schema != LINE_SCHEMA {
            let allowed = "1; a newer program has written it, so read it with that one";
            return Err(bad("schema", task.schema, allowed));
        }
        if task.redacted {
            let allowed = "false: what was hidden is lost; export it again with its secrets";
            return Err(Error::invalid("redacted", "redacted", true, allowed));
        }
        Ok(task)
    }

    /// The line, without its end.
    pub(crate) fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Hides what nobody is to read. What is left can be read by people, and is no task any more.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        self.redacted = true;
        let hide = |raw: &mut Box<RawValue>| {
            if let Ok(hidden) = RawValue::from_string(redaction.json(raw.get())) {
                *raw = hidden;
            }
        };
        hide(&mut self.arguments);
        self.meta.iter_mut().chain(&mut self.result).for_each(hide);
        self.steps.iter_mut().for_each(|step| hide(&mut step.value));
        for text in self.key.iter_mut().chain(&mut self.name).chain(&mut self.tags) {
            *text = redaction.text(text);
        }
        let errors = self.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut());
        for error in errors.chain(&mut self.error) {
            *error = redaction.report(error);
        }
        // They may be made of arguments, or hold some.
        (self.options, self.unique_key, self.wait_key, self.ties) = (None, None, None, None);
    }

    /// Whether it stands for a flow that has not ended.
    pub(crate) fn is_open_batch(&self) -> bool {
        self.kind == BATCH_KIND && !self.state.is_final()
    }

    /// Its ties, without the slot of a schedule: that of its number may be another here.
    pub(crate) fn ties(&self) -> Result<Option<Ties>, Error> {
        let Some(raw) = &self.ties else { return Ok(None) };
        let ties: Ties = serde_json::from_str(raw.get())
            .map_err(|error| bad("ties", error.to_string(), "what `export` has written"))?;
        let ties = Ties { slot: None, ..ties };
        Ok((!ties.are_none()).then_some(ties))
    }

    /// Refuses what no queue would hold.
    pub(crate) fn check(&self, limits: JsonLimits) -> Result<(), Error> {
        if self.id.row() > ROW_MAX {
            return Err(bad("row of the id", self.id.row(), "at most 2^52"));
        }
        check_name("bad_name", "kind", &self.kind)?;
        check_name("bad_queue", "queue", &self.queue)?;
        if !self.state.admits(self.reason) {
            return Err(bad("reason", self.reason.map(Reason::as_str), "one that the state has"));
        }
        if self.state.is_final() != self.finished_at.is_some() {
            let allowed = "a moment where it has ended, and nowhere else";
            return Err(bad("finished_at", self.finished_at, allowed));
        }
        check_priority(self.priority)?;
        // One that was retried has more than it was given.
        if !(1..=COUNT_MAX).contains(&self.attempts_max) {
            return Err(bad("attempts_max", self.attempts_max, "1 to 1000000000"));
        }
        let begun = u32::from(self.state == State::Running);
        if self.attempt < begun || self.attempt > self.attempts_max.saturating_add(1) {
            return Err(bad("attempt", self.attempt, "those it has begun, of those it may have"));
        }
        if self.crashes > COUNT_MAX || self.snoozes > COUNT_MAX {
            let allowed = "at most 1000000000";
            return Err(bad("crashes or snoozes", self.crashes.max(self.snoozes), allowed));
        }
        self.check_texts()?;
        self.check_json(limits)
    }

    fn check_texts(&self) -> Result<(), Error> {
        let key = |place: &str, key: &Option<String>, most: usize| match key {
            Some(key) if key.is_empty() || key.len() > most || key.contains('\0') => {
                Err(bad(place, key, &format!("1 to {most} bytes")))
            }
            _ => Ok(()),
        };
        key("key", &self.key, KEY_BYTES_MAX)?;
        key("unique_key", &self.unique_key, LONG_KEY_BYTES_MAX)?;
        key("wait_key", &self.wait_key, LONG_KEY_BYTES_MAX)?;
        self.owner.as_deref().map_or(Ok(()), |owner| check_owner(owner).map(drop))?;
        self.name.as_deref().map_or(Ok(()), |name| check_task_name("name", name))?;
        self.trace.as_deref().map_or(Ok(()), |trace| checked_trace(trace, "trace").map(drop))?;
        if self.tags.len() > TAGS_MAX {
            return Err(bad("number of tags", self.tags.len(), "at most 32"));
        }
        if let Some(tag) = self.tags.iter().find(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX)
        {
            return Err(bad("tag", tag, "1 to 64 bytes"));
        }
        if let Some(batch) = self.batch.filter(|batch| batch.row() >= self.id.row()) {
            return Err(bad("what sums it up", batch, "a task of a smaller number"));
        }
        for attempt in &self.attempts {
            check_name("bad_line", "outcome of an attempt", &attempt.outcome)?;
        }
        let mut steps = BTreeSet::new();
        if let Some(step) = self.steps.iter().find(|step| !steps.insert(&step.name)) {
            return Err(bad("name of a step", &step.name, "each once"));
        }
        let mut before = BTreeSet::new();
        if let Some(edge) = self.after.iter().find(|edge| !before.insert(edge.id.row())) {
            return Err(bad("what is before it", edge.id, "each once"));
        }
        for edge in &self.after {
            if Policy::from_word(&edge.policy).as_str() != edge.policy {
                return Err(bad("policy of what is before it", &edge.policy, "success or finish"));
            }
            if edge.id.row() >= self.id.row() {
                return Err(bad("what is before it", edge.id, "a task of a smaller number"));
            }
        }
        self.steps
            .iter()
            .try_for_each(|step| key("name of a step", &Some(step.name.clone()), KEY_BYTES_MAX))
    }

    fn check_json(&self, limits: JsonLimits) -> Result<(), Error> {
        let (arguments, size) = (self.arguments.get(), limits.size_bytes);
        if arguments != "null" {
            json::only_object(arguments)?;
        }
        let steps = self.steps.iter().map(|step| &step.value);
        let texts =
            [&self.arguments].into_iter().chain(&self.result).chain(&self.meta).chain(steps);
        for text in texts {
            if text.get().len() > size {
                return Err(json::too_large(text.get().len(), limits).into());
            }
        }
        if let Some(meta) = &self.meta {
            json::only_object(meta.get())?;
        }
        let options = Options::new().with_run(self.options.as_ref().map(|raw| raw.get()));
        options.map_err(|error| bad("options", error.to_string(), "what `export` has written"))?;
        let ties = self.ties()?;
        let sums = ties.as_ref().is_some_and(|ties| ties.sums);
        if sums != (self.kind == BATCH_KIND) {
            return Err(bad(
                "kind",
                &self.kind,
                "that of a batch for a batch, and for nothing else",
            ));
        }
        Ok(())
    }

    /// What ran when it was written runs nowhere now: it is ready again, as if it had been handed back. Of one that must
    /// not start twice it cannot be told whether it has, so that one is lost. Says whether it has ended by that.
    pub(crate) fn land(&mut self, now: Timestamp) -> bool {
        self.stuck &= self.state.is_final();
        if self.state != State::Running {
            return false;
        }
        if self.cancel_requested {
            (self.state, self.reason) = (State::Cancelled, Some(Reason::Asked));
        } else if self.at_most_once {
            (self.state, self.reason) = (State::Failed, Some(Reason::Lost));
            self.crashes += 1;
            self.attempts.push(PortableAttempt {
                attempt: self.attempt,
                outcome: "crashed".to_owned(),
                started_at: self.started_at,
                finished_at: Some(now),
                error: Some(Report::new("crash", "it ran in another queue when it was exported")),
            });
        } else {
            self.state = State::Ready;
            self.attempt -= 1;
            return false;
        }
        self.finished_at = Some(now);
        self.unique_key = None;
        true
    }

    /// Ends as one before it has; the report says which.
    pub(crate) fn end_with(&mut self, state: State, report: Report, now: Timestamp) {
        self.attempts.push(PortableAttempt {
            attempt: self.attempt,
            outcome: state.as_str().to_owned(),
            started_at: None,
            finished_at: Some(now),
            error: Some(report),
        });
        (self.state, self.reason) = (state, Some(Reason::Parent));
        self.finished_at = Some(now);
        self.unique_key = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"schema":1,"id":"7-0000000000007","kind":"send","queue":"mail","state":"failed",
        "reason":"error","priority":3,"due_at":"2026-01-01T00:00:00.000Z","enqueued_at":"2026-01-01T00:00:00.000Z",
        "started_at":"2026-01-01T00:00:01.000Z","finished_at":"2026-01-01T00:00:02.000Z","expires_at":null,
        "attempt":1,"attempts_max":1,"crashes":0,"snoozes":0,"at_most_once":false,"cancel_requested":false,
        "stuck":false,"dismissed":false,"key":null,"owner":null,"name":null,"trace":null,"batch":null,"slot":null,
        "tags":["a"],"meta":{"n":1.50},"arguments":{"n":340282366920938463463374607431768211455},"error":null}"#;

    fn line() -> String {
        LINE.replace('\n', " ")
    }

    #[test]
    fn a_line_that_is_read_is_written_as_it_was() {
        let task = Portable::of_line(line().as_bytes()).expect("a task");
        task.check(JsonLimits::default()).expect("it is sound");
        let again = task.line().expect("it is JSON");
        assert_eq!(again, line().split_whitespace().collect::<Vec<_>>().join(""));
        assert!(
            again.contains("340282366920938463463374607431768211455") && again.contains("1.50")
        );
    }

    #[test]
    fn a_result_that_is_null_is_one() {
        let text = line().replace(r#""arguments""#, r#""result":null,"arguments""#);
        let task = Portable::of_line(text.as_bytes()).expect("a task");
        assert_eq!(task.result.as_ref().map(|raw| raw.get()), Some("null"));
        assert!(task.line().expect("it is JSON").contains(r#""result":null"#));
    }

    #[test]
    fn what_no_queue_would_hold_is_refused_with_its_place() {
        let refused = |from: &str, to: &str| {
            let text = line().replacen(from, to, 1);
            assert_ne!(text, line(), "{from}");
            let read = Portable::of_line(text.as_bytes());
            let checked = read.and_then(|task| task.check(JsonLimits::default()));
            checked.expect_err(to).to_string()
        };
        for (from, to, told) in [
            (r#""schema":1"#, r#""schema":2"#, "bad_line: schema is 2; 1; a newer program"),
            (r#""schema":1"#, r#""schema":1,"redacted":true"#, "redacted: redacted is true; false"),
            (
                r#""schema":1"#,
                r#""schema":1,"what":7"#,
                "bad_line: the line is unknown field `what`",
            ),
            ("7-0000000000007", "7-7", "bad_id"),
            (r#""send""#, r#""""#, "bad_name: kind is \"\""),
            (r#""mail""#, r#""m ail""#, "bad_queue: queue is"),
            (r#""failed""#, r#""asleep""#, "unknown variant `asleep`"),
            (r#""reason":"error""#, r#""reason":"delayed""#, "bad_line: reason is"),
            (r#""state":"failed""#, r#""state":"ready""#, "bad_line: reason is"),
            (r#""priority":3"#, r#""priority":101"#, "out_of_range: priority is 101"),
            (
                r#""attempts_max":1"#,
                r#""attempts_max":0"#,
                "bad_line: attempts_max is 0; 1 to 1000000000",
            ),
            (r#""attempt":1"#, r#""attempt":9"#, "bad_line: attempt is 9"),
            ("2026-01-01T00:00:02.000Z", "yesterday", "an RFC 3339 moment from 1970 to 9999"),
            (r#""tags":["a"]"#, r#""tags":[""]"#, "bad_line: tag is \"\"; 1 to 64 bytes"),
            (r#""owner":null"#, r#""owner":"a\u0007""#, "bad_owner"),
            (r#""trace":null"#, r#""trace":"t""#, "bad_trace"),
            (r#"{"n":3402"#, r#"[{"n":3402"#, "bad_line"),
            (
                r#""arguments":{"n":340282366920938463463374607431768211455}"#,
                r#""arguments":7"#,
                "bad_json",
            ),
            (
                r#""batch":null"#,
                r#""batch":null,"ties":{"sums":true}"#,
                "bad_line: kind is \"send\"",
            ),
            (r#""batch":null"#, r#""batch":null,"ties":{"sum":1}"#, "bad_line: ties is"),
            (
                r#""batch":null"#,
                r#""batch":null,"after":[{"id":"9-0000000000007","policy":"finish","open":true}]"#,
                "bad_line: what is before it is",
            ),
            (r#""batch":null"#, r#""batch":"7-0000000000007""#, "bad_line: what sums it up is"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(told), "{to}: {error}");
        }
    }

    #[test]
    fn a_hidden_line_holds_no_secret_and_no_key_that_is_made_of_arguments() {
        let text = line()
            .replace(
                r#""arguments":{"#,
                r#""unique_key":"k:hunter2","arguments":{"password":"hunter2","#,
            )
            .replace(r#""meta":{"#, r#""meta":{"token":"hunter2","#)
            .replace(r#""key":null"#, r#""key":"password=hunter2""#);
        let mut task = Portable::of_line(text.as_bytes()).expect("a task");
        assert!(task.line().expect("it is JSON").contains("hunter2"));
        task.redact(&Redaction::default());
        let hidden = task.line().expect("it is JSON");
        assert!(!hidden.contains("hunter2"), "{hidden}");
        let refused = Portable::of_line(hidden.as_bytes()).expect_err("it is no task any more");
        assert_eq!(refused.code(), "redacted");
    }

    #[test]
    fn what_ran_lands_as_it_would_be_handed_back() {
        let running = |more: &str| {
            let text = line()
                .replace(r#""state":"failed","#, r#""state":"running","#)
                .replace(r#""reason":"error""#, r#""reason":null"#)
                .replace(r#""finished_at":"2026-01-01T00:00:02.000Z""#, r#""finished_at":null"#)
                .replace(&format!(r#""{more}":false"#), &format!(r#""{more}":true"#));
            let mut task = Portable::of_line(text.as_bytes()).expect("a task");
            task.check(JsonLimits::default()).expect("it is sound");
            let has_ended = task.land(Timestamp::MAX);
            assert_eq!(has_ended, task.state.is_final());
            task.check(JsonLimits::default()).expect("it still is");
            (task.state, task.reason, task.attempt, task.attempts.len())
        };
        assert_eq!(running("none"), (State::Ready, None, 0, 0));
        assert_eq!(running("at_most_once"), (State::Failed, Some(Reason::Lost), 1, 1));
        assert_eq!(running("cancel_requested"), (State::Cancelled, Some(Reason::Asked), 1, 0));
    }
}
