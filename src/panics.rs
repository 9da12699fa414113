//! Run: what is known of a panic that was caught: its text and the place it came from.
//!
//! A hook in front of the program's own notes the place while the stack still stands. It does so
//! only inside bodies and receivers of events; panics elsewhere are none of our business.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::outcome::Report;

/// Calls what may panic, and makes an error of the panic.
pub(crate) fn caught<R>(call: impl FnOnce() -> R) -> Result<R, Box<Report>> {
    let (answer, place) = noting(|| catch_unwind(AssertUnwindSafe(call)));
    answer.map_err(|panic| Box::new(report(panic, place)))
}

/// Where a panic on this thread came from, noted while the stack still stands.
pub(crate) struct Place {
    place: String,
    backtrace: String,
}

thread_local! {
    /// How many bodies this thread is inside of.
    static BODIES: Cell<u32> = const { Cell::new(0) };
    /// Where the latest panic in its innermost body came from.
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Marks this thread as being inside a body, which does not unwind past its own boundary, and says
/// where its latest panic came from. What a body before it, or around it, has noted is not its own.
pub(crate) fn noting<R>(body: impl FnOnce() -> R) -> (R, Option<Place>) {
    install_hook();
    let around = exchange(None);
    count(|bodies| bodies + 1);
    let answer = body();
    count(|bodies| bodies - 1);
    (answer, exchange(around))
}

/// A thread that is going away, and may drop a client as it goes, notes nothing.
fn exchange(place: Option<Place>) -> Option<Place> {
    PLACE.try_with(|kept| kept.replace(place)).ok().flatten()
}

fn count(change: impl FnOnce(u32) -> u32) {
    let _going = BODIES.try_with(|bodies| bodies.set(change(bodies.get())));
}

/// Puts a hook in front of the program's own that notes where a body panicked. The program's hook
/// still runs; panics outside bodies are none of our business.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let theirs = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let in_body = BODIES.try_with(|bodies| bodies.get() > 0).unwrap_or(false);
            if in_body {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let backtrace = std::backtrace::Backtrace::force_capture().to_string();
                // A thread that is going away keeps no place.
                let _going = PLACE.try_with(|kept| {
                    kept.replace(Some(Place { place, backtrace }));
                });
            }
            theirs(info);
        }));
    });
}

/// The error of an attempt, or of a receiver, that panicked.
pub(crate) fn report(panic: Box<dyn Any + Send>, place: Option<Place>) -> Report {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the panic carries no text".to_owned());
    drop_quietly(panic);
    let message = match &place {
        Some(place) => format!("panicked at {}: {text}", place.place),
        None => format!("panicked: {text}"),
    };
    Report::new("panic", message).with_backtrace(place.map(|place| place.backtrace))
}

/// The payload of a panic may panic when it is dropped.
fn drop_quietly(value: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        std::mem::forget(again);
    }
}
