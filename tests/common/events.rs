//! What the library says through `tracing`, collected on one thread.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Level and message of each event, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<(Level, String)>>>);

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

    /// What was collected since it was last taken.
    pub(crate) fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn collector(&self) -> Collector {
        Collector { events: self.clone(), spans: AtomicU64::new(1) }
    }
}

struct Collector {
    events: Events,
    spans: AtomicU64,
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("litework")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::SeqCst))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.events.0.lock().unwrap().push((*event.metadata().level(), message.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
