//! Watch: one task with all that an operator is shown of it: what programs are told, and what stands around it.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::detail::{Detail, Item, Whole};
use super::text::line;
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::{BATCH_KIND, Batch};
use crate::record::{StepRecord, TaskRecord};
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Steps, members and callbacks that are shown: the newest.
const NEWEST: usize = 100;

#[derive(Debug, Serialize)]
pub(crate) struct StepView {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) stored_at: Timestamp,
}

/// Another task that this one has to do with.
#[derive(Debug, Serialize)]
pub(crate) struct Other {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
}

/// What stands for a flow.
#[derive(Debug, Serialize)]
pub(crate) struct FlowView {
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) skipped: u64,
    pub(crate) open: u64,
    pub(crate) members: Vec<Other>,
    /// What was to come after all of them.
    pub(crate) callbacks: Vec<Other>,
}

#[derive(Debug, Serialize)]
pub(crate) struct WhyView {
    pub(crate) text: String,
    pub(crate) until: Option<Timestamp>,
}

/// A task as it is told to programs, and more.
#[derive(Debug, Serialize)]
pub(crate) struct Seen<V> {
    #[serde(flatten)]
    pub(crate) whole: Whole<V>,
    pub(crate) at_most_once: bool,
    /// The schedule that has made it.
    pub(crate) schedule: Option<String>,
    /// Why it does not run, in words for operators.
    pub(crate) why: Option<WhyView>,
    pub(crate) meta: Box<RawValue>,
    pub(crate) steps: Vec<StepView>,
    /// What it stands for, where it is the batch of a flow.
    pub(crate) flow: Option<FlowView>,
}

impl<V> Seen<V> {
    /// A task in one of its shapes, with all the rest.
    pub(crate) fn of(client: &Client, task: &TaskRecord, view: V) -> Result<Self, Error> {
        let steps = client.steps(task.id)?;
        let newest = steps.iter().skip(steps.len().saturating_sub(NEWEST));
        let meta = Value::Object(task.meta.clone()).to_string();
        Ok(Self {
            whole: Whole {
                item: Item::new(client, task, view, true),
                detail: Some(Detail::of(client, task)?),
            },
            at_most_once: task.at_most_once,
            schedule: task.slot.as_ref().map(|slot| slot.name.clone()),
            why: why(client, task)?,
            meta: raw(client.redacted_json(&task.kind, &meta)),
            steps: newest.map(|step| seen_step(client, task, step)).collect(),
            flow: if task.kind == BATCH_KIND { flow(client, task)? } else { None },
        })
    }
}

/// What stands in the way of a task that has not ended.
fn why(client: &Client, task: &TaskRecord) -> Result<Option<WhyView>, Error> {
    if task.state.is_final() {
        return Ok(None);
    }
    match client.why(task.id) {
        Err(error) if error.is_not_found() => Ok(None),
        why => why.map(|why| Some(WhyView { text: line(&why.text), until: why.until })),
    }
}

/// A step that is called as a secret holds one.
fn seen_step(client: &Client, task: &TaskRecord, step: &StepRecord) -> StepView {
    let named = serde_json::json!({ step.name.as_str(): raw(step.value.clone()) }).to_string();
    let shown = client.redacted_json(&task.kind, &named);
    let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    let value = shown.as_object().and_then(|shown| shown.values().next());
    StepView {
        name: client.redacted_text(&task.kind, &step.name),
        value: value.map_or_else(String::new, Value::to_string),
        stored_at: step.stored_at,
    }
}

fn flow(client: &Client, task: &TaskRecord) -> Result<Option<FlowView>, Error> {
    let handle = match client.handle::<Batch>(task.id) {
        Err(error) if error.is_not_found() => return Ok(None),
        handle => handle?,
    };
    let sum = handle.sum()?;
    let members = client.list(&Filter::new().batch(task.id), None, NEWEST)?.tasks;
    let callbacks = handle.callbacks()?;
    let other = |task: &TaskRecord| Other {
        id: task.id.to_string(),
        name: client.redacted_text(&task.kind, task.name.as_deref().unwrap_or(&task.kind)),
        state: task.state,
        reason: task.reason,
    };
    Ok(Some(FlowView {
        total: sum.total,
        succeeded: sum.succeeded,
        failed: sum.failed,
        cancelled: sum.cancelled,
        skipped: sum.skipped,
        open: sum.open(),
        members: members.iter().map(other).collect(),
        callbacks: callbacks.iter().take(NEWEST).map(other).collect(),
    }))
}

/// JSON as it stands; what is none is `null`.
fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
