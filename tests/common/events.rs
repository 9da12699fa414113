//! What the library says through `tracing`, collected on one thread or in the whole program.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use litework::TaskId;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// One event: its level, its message and its other fields. A span that begins is one too, with its
/// name as the message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

/// What was said, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Said>>>);

impl Events {
    /// Runs a part of a test and collects what is said on this thread meanwhile.
    pub(crate) fn of(part: impl FnOnce()) -> Vec<(Level, String)> {
        let events = Self::default();
        tracing::subscriber::with_default(events.collector(), part);
        events.take()
    }

    /// Collects what is said on this thread from now on until the thread ends.
    pub(crate) fn collect(&self) {
        std::mem::forget(tracing::subscriber::set_default(self.collector()));
    }

    /// Collects what is said in the whole program, for a test crate of its own.
    pub(crate) fn everywhere() -> &'static Self {
        static ALL: OnceLock<Events> = OnceLock::new();
        ALL.get_or_init(|| {
            let events = Self::default();
            tracing::subscriber::set_global_default(events.collector()).expect("the only one");
            events
        })
    }

    /// What was said of one task so far.
    pub(crate) fn about(&self, id: TaskId) -> Vec<Said> {
        let id = id.to_string();
        let said = self.0.lock().unwrap();
        said.iter().filter(|said| said.fields.get("id") == Some(&id)).cloned().collect()
    }

    /// All that was said so far.
    pub(crate) fn all(&self) -> Vec<Said> {
        self.0.lock().unwrap().clone()
    }

    /// Level and message of what was collected since it was last taken.
    pub(crate) fn take(&self) -> Vec<(Level, String)> {
        let said = std::mem::take(&mut *self.0.lock().unwrap());
        said.into_iter().map(|said| (said.level, said.message)).collect()
    }

    fn add(&self, level: Level, said: Visited) {
        let Visited { message, fields } = said;
        self.0.lock().unwrap().push(Said { level, message, fields });
    }

    fn collector(&self) -> Collector {
        Collector { events: self.clone(), spans: AtomicU64::new(1) }
    }
}

struct Collector {
    events: Events,
    spans: AtomicU64,
}

#[derive(Default)]
struct Visited {
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Visited {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.insert(field.name(), format!("{value:?}"));
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("litework")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let name = format!("span {}", span.metadata().name());
        let mut visited = Visited { message: name, ..Visited::default() };
        span.record(&mut visited);
        self.events.add(*span.metadata().level(), visited);
        Id::from_u64(self.spans.fetch_add(1, Ordering::SeqCst))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut visited = Visited::default();
        event.record(&mut visited);
        self.events.add(*event.metadata().level(), visited);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
