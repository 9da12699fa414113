//! Every step of the journey: who did what to tasks, queues and schedules, in whose name.
//!
//! An entry is made where a person's deed begins, and the engine writes it in the commit of the deed. It does not
//! travel through each verb of the engine, as it changes nothing of what that does: it lies with the thread for as
//! long as the verb takes, and whoever commits picks it up.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Map, Value, json};

use crate::deed::{Done, Tally};
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::record::{Cursor, Stored};
use crate::time::Timestamp;

/// Bytes of the name of an actor at most, and of the note on what he does.
pub const ACTOR_BYTES_MAX: usize = 200;

/// Ids of one entry at most.
const IDS_MAX: usize = 100;

/// Entries are kept for so long: 90 days.
pub(crate) const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1_000;

/// What somebody has done; see [`Client::acting_as`](crate::Client::acting_as).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AuditRecord {
    /// When he began.
    pub at: Timestamp,
    /// In whose name.
    pub actor: String,
    /// The method of the client, such as `retry` or `pause`.
    pub action: String,
    /// To what: `ids` (at most 100 of them), or the fields of the filter by which many were meant, or the `queue`,
    /// `kind` or `schedules` by name; and what it is changed to, or by which rules it is pruned.
    pub what: Map<String, Value>,
    /// To how many. A deed to many that was cut short is counted as far as it came.
    pub count: u64,
    /// Why, where that was said.
    pub note: Option<String>,
}

/// Entries of one page, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct AuditPage {
    /// At most the page size asked for.
    pub entries: Vec<AuditRecord>,
    /// Where the next page begins; none after the last.
    pub next: Option<Cursor>,
}

/// Who acts, and why.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) name: Arc<str>,
    pub(crate) note: Option<Arc<str>>,
}

/// What is noted of a deed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) actor: Actor,
    pub(crate) action: &'static str,
    pub(crate) what: Value,
    /// Under which number it stands, once it does: a deed to many goes over several commits.
    row: AtomicI64,
}

impl Entry {
    pub(crate) fn new(at: Timestamp, actor: Actor, action: &'static str, what: Value) -> Arc<Self> {
        Arc::new(Self { at, actor, action, what, row: AtomicI64::new(0) })
    }

    pub(crate) fn row(&self) -> i64 {
        self.row.load(Ordering::Relaxed)
    }

    pub(crate) fn stands_at(&self, row: i64) {
        self.row.store(row, Ordering::Relaxed);
    }

    /// To what it was done.
    pub(crate) fn what_of(&self, done: &impl Times) -> Map<String, Value> {
        let mut what = self.what.as_object().cloned().unwrap_or_default();
        if let (false, Value::Object(ids)) = (done.ids().is_empty(), of_ids(done.ids())) {
            what.extend(ids);
        }
        what
    }
}

thread_local! {
    static NOTING: RefCell<Option<Arc<Entry>>> = const { RefCell::new(None) };
}

/// Does this to the store; what it commits meanwhile is noted with this entry.
pub(crate) fn during<R>(entry: Option<&Arc<Entry>>, deed: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Entry>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            exchange(self.0.take());
        }
    }
    let Some(entry) = entry else { return deed() };
    let _restore = Restore(exchange(Some(Arc::clone(entry))));
    deed()
}

/// A thread that is going away, and may use a client as it goes, notes nothing.
fn exchange(entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
    NOTING.try_with(|noting| noting.replace(entry)).ok().flatten()
}

/// Whether what this thread commits is noted.
pub(crate) fn is_noting() -> bool {
    NOTING.try_with(|noting| noting.borrow().is_some()).unwrap_or(false)
}

/// What is to be noted with the commit of this thread.
pub(crate) fn current() -> Option<Arc<Entry>> {
    NOTING.try_with(|noting| noting.borrow().clone()).ok().flatten()
}

/// How often something was done: what an engine notes.
pub(crate) trait Times {
    fn times(&self) -> u64;

    /// The tasks, where they are known only once it is done.
    fn ids(&self) -> &[TaskId] {
        &[]
    }
}

impl Times for Done {
    fn times(&self) -> u64 {
        1
    }
}

impl Times for () {
    fn times(&self) -> u64 {
        1
    }
}

impl Times for Stored {
    fn times(&self) -> u64 {
        1
    }
}

impl Times for u64 {
    fn times(&self) -> u64 {
        *self
    }
}

/// Those that are stored.
impl Times for Vec<TaskId> {
    fn times(&self) -> u64 {
        self.len() as u64
    }

    fn ids(&self) -> &[TaskId] {
        self
    }
}

impl Times for bool {
    fn times(&self) -> u64 {
        u64::from(*self)
    }
}

impl Times for Tally {
    fn times(&self) -> u64 {
        self.done + self.asked
    }
}

/// What a deed to these tasks is noted with.
pub(crate) fn of_ids(ids: &[TaskId]) -> Value {
    json!({ "ids": ids.iter().take(IDS_MAX).map(ToString::to_string).collect::<Vec<_>>() })
}

/// The same of all that pass a filter.
pub(crate) fn of_filter(filter: &Filter) -> Value {
    let mut what = if filter.ids.is_empty() { json!({}) } else { of_ids(&filter.ids) };
    let words = |words: &[String]| (!words.is_empty()).then(|| json!(words));
    let moment = |at: Option<Timestamp>| at.map(|at| json!(at));
    let states = (!filter.states.is_empty()).then(|| json!(filter.states));
    let args = filter.args.iter().map(|(path, value)| format!("{path}={value}"));
    let args = (!filter.args.is_empty()).then(|| json!(args.collect::<Vec<_>>()));
    for (name, value) in [
        ("states", states),
        ("kinds", words(&filter.kinds)),
        ("queues", words(&filter.queues)),
        ("tag", filter.tag.as_ref().map(|tag| json!(tag))),
        ("batch", filter.batch.map(|batch| json!(batch.to_string()))),
        ("owner", filter.owner.as_ref().map(|owner| json!(owner))),
        ("created_after", moment(filter.created_after)),
        ("created_before", moment(filter.created_before)),
        ("finished_after", moment(filter.finished_after)),
        ("finished_before", moment(filter.finished_before)),
        ("error", filter.error.as_ref().map(|error| json!(error))),
        ("arg", args),
    ] {
        if let Some(value) = value {
            what[name] = value;
        }
    }
    what
}

pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > ACTOR_BYTES_MAX || text.contains(char::is_control) {
        let allowed = "1 to 200 bytes without control characters";
        return Err(Error::invalid("bad_actor", what, text, allowed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &'static str) -> Arc<Entry> {
        let actor = Actor { name: "ada".into(), note: None };
        Entry::new(Timestamp::MIN, actor, action, json!({}))
    }

    #[test]
    fn an_entry_lies_with_its_thread_for_as_long_as_the_deed_takes() {
        let action = || current().map(|entry| entry.action);
        assert_eq!(action(), None);
        during(Some(&entry("pause")), || {
            assert_eq!(action(), Some("pause"));
            std::thread::scope(|scope| scope.spawn(|| assert!(current().is_none())).join())
                .expect("another thread has none");
            during(Some(&entry("retry")), || assert_eq!(action(), Some("retry")));
            during(None, || assert_eq!(action(), Some("pause")));
            assert!(is_noting());
            let panicked = crate::panics::caught(|| during(Some(&entry("cancel")), || panic!("x")));
            assert!(panicked.is_err());
            assert_eq!(action(), Some("pause"));
        });
        assert_eq!((action(), is_noting()), (None, false));
    }

    #[test]
    fn a_filter_is_noted_without_what_it_leaves_open() {
        assert_eq!(of_filter(&Filter::new()), json!({}));
        let id = |row| TaskId::new(row, row);
        let filter = Filter::new()
            .state(crate::State::Failed)
            .kind("send")
            .tag("red")
            .finished_before(Timestamp::clamped(0))
            .id(id(7));
        let expected = json!({
            "ids": [id(7).to_string()], "states": ["failed"], "kinds": ["send"], "tag": "red",
            "finished_before": "1970-01-01T00:00:00.000Z",
        });
        assert_eq!(of_filter(&filter), expected);
        let many: Vec<TaskId> = (1..=500).map(id).collect();
        assert_eq!(of_ids(&many)["ids"].as_array().expect("a list").len(), 100);
    }
}
