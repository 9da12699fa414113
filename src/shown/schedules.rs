//! Watch: schedules, as people and programs are shown them: when each fires next, and what became of its last slot.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::schedule::{Missed, Origin, Overlap, ScheduleRecord, ScheduleState, SlotRecord};
use crate::slot::SlotKind;
use crate::state::State;
use crate::time::Timestamp;
use crate::timing::Timing;

/// What became of a slot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SlotView {
    pub(crate) at: Timestamp,
    pub(crate) kind: SlotKind,
    pub(crate) count: u64,
    pub(crate) fired_at: Timestamp,
    pub(crate) task: Option<String>,
    pub(crate) state: Option<State>,
    pub(crate) finished_at: Option<Timestamp>,
}

impl SlotView {
    pub(crate) fn of(slot: &SlotRecord) -> Self {
        Self {
            at: slot.at,
            kind: slot.kind,
            count: slot.count,
            fired_at: slot.fired_at,
            task: slot.task.map(|task| task.to_string()),
            state: slot.state,
            finished_at: slot.finished_at,
        }
    }
}

/// Where a person's word goes before that of code.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EditedView {
    pub(crate) field: String,
    pub(crate) code: String,
    pub(crate) edited: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScheduleView {
    pub(crate) name: String,
    pub(crate) code_name: Option<String>,
    pub(crate) kind: String,
    pub(crate) state: ScheduleState,
    pub(crate) damage: Option<String>,
    /// The program whose code declares it.
    pub(crate) program: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) description: Option<String>,
    pub(crate) timing: Option<Timing>,
    pub(crate) timing_text: Option<String>,
    pub(crate) missed: Missed,
    pub(crate) overlap: Overlap,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) arguments: Box<RawValue>,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) last: Option<SlotView>,
    pub(crate) open: usize,
    pub(crate) runs: u64,
    pub(crate) missed_slots: u64,
    pub(crate) overlapped_slots: u64,
    pub(crate) failures: u64,
    pub(crate) overdue: bool,
    pub(crate) edited: Vec<EditedView>,
    pub(crate) edited_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

impl ScheduleView {
    pub(crate) fn of(client: &Client, record: &ScheduleRecord, now: Timestamp) -> Self {
        let kind = &record.kind;
        let arguments = client.redacted_json(kind, &record.arguments);
        let edited = record.edited.iter().map(|one| {
            // Under its own name, so that an argument that is a secret is hidden.
            let veiled = |value: &serde_json::Value| {
                let named = serde_json::json!({ one.field.as_str(): value }).to_string();
                let shown = client.redacted_json(kind, &named);
                let shown: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
                shown.get(&one.field).map_or_else(String::new, ToString::to_string)
            };
            EditedView {
                field: one.field.clone(),
                code: veiled(&one.code),
                edited: veiled(&one.edited),
            }
        });
        Self {
            name: record.name.clone(),
            code_name: record.code_name.clone(),
            kind: kind.clone(),
            state: record.state,
            damage: record.damage.as_deref().map(|told| client.redacted_text(kind, told)),
            program: match &record.origin {
                Origin::Code { program } => Some(program.clone()),
                Origin::Made => None,
            },
            enabled: record.enabled,
            description: record.description.as_deref().map(|told| client.redacted_text(kind, told)),
            timing: record.timing.clone(),
            timing_text: record.timing.as_ref().map(ToString::to_string),
            missed: record.missed,
            overlap: record.overlap,
            queue: record.queue.clone(),
            priority: record.priority,
            arguments: RawValue::from_string(arguments)
                .unwrap_or_else(|_| RawValue::NULL.to_owned()),
            next_at: record.next_at,
            last: record.last.as_ref().map(SlotView::of),
            open: record.open,
            runs: record.runs,
            missed_slots: record.missed_slots,
            overlapped_slots: record.overlapped_slots,
            failures: record.failures,
            overdue: record.is_overdue(now),
            edited: edited.collect(),
            edited_at: record.edited_at,
            created_at: record.created_at,
        }
    }
}
