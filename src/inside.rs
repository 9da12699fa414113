//! Run: what a thread is inside of: bodies, and receivers of events.
//!
//! A call that would wait for what it is called in can so be refused, and what a body enqueues
//! belongs to the body's trace.

use std::cell::RefCell;
use std::sync::Arc;

use crate::id::TaskId;

/// A body, or a receiver of events, that a thread is inside of.
pub(crate) struct Inside {
    /// The address of its hub, which outlives it.
    pub(crate) hub: usize,
    /// The task that runs, or that the event is about.
    pub(crate) id: TaskId,
    /// The trace of that task.
    pub(crate) trace: Option<Arc<str>>,
    /// A receiver, not a body.
    pub(crate) receiver: bool,
}

thread_local! {
    /// Innermost last.
    static INSIDE: RefCell<Vec<Inside>> = const { RefCell::new(Vec::new()) };
}

/// A thread that is going away, and may drop a client as it goes, is inside of nothing.
fn with<R: Default>(look: impl FnOnce(&mut Vec<Inside>) -> R) -> R {
    INSIDE.try_with(|inside| look(&mut inside.borrow_mut())).unwrap_or_default()
}

/// Runs what does not unwind, so that the thread knows what it is inside of.
pub(crate) fn enter<R>(place: Inside, body: impl FnOnce() -> R) -> R {
    with(|inside| inside.push(place));
    let answer = body();
    with(Vec::pop);
    answer
}

/// Whether this thread is inside anything.
pub(crate) fn is_any() -> bool {
    with(|inside| !inside.is_empty())
}

/// Whether this thread is inside a body or a receiver of this hub.
pub(crate) fn is_of(hub: usize) -> bool {
    with(|inside| inside.iter().any(|place| place.hub == hub))
}

/// Whether this thread is inside the body of that task.
pub(crate) fn is_body(id: TaskId) -> bool {
    with(|inside| inside.iter().any(|place| !place.receiver && place.id == id))
}

/// How many receivers this thread is inside of.
pub(crate) fn receivers() -> u32 {
    with(|inside| {
        let receivers = inside.iter().filter(|place| place.receiver).count();
        u32::try_from(receivers).unwrap_or(u32::MAX)
    })
}

/// The trace of what this thread is innermost inside of.
pub(crate) fn trace() -> Option<Arc<str>> {
    with(|inside| inside.last()?.trace.clone())
}
