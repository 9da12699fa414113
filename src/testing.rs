//! Tests of programs that use the queue (feature `testing`): a clock that is moved by hand, draining,
//! assertions about what was enqueued and what is left, bodies outside of the queue, and faults.
//!
//! ```
//! use litework::testing::{Drain, ManualClock, drain, no_leftovers};
//! use litework::{Client, Context, Mode, Result, assert_enqueued, refute_enqueued, task};
//! use std::time::Duration;
//!
//! /// Books an order, and reminds of it a day later.
//! #[task]
//! fn order(ctx: &Context, number: u32) -> Result<()> {
//!     ctx.enqueue(remind::with(number, "ada").run_after(Duration::from_secs(86_400)))?;
//!     Ok(())
//! }
//!
//! #[task(queue = "mail")]
//! fn remind(number: u32, who: &str) {}
//!
//! let clock = ManualClock::new();
//! let builder = Client::in_memory().mode(Mode::Hold).environment([] as [(&str, &str); 0]);
//! let tasks = builder.clock(clock.clone()).register(order).register(remind).open()?;
//! let _all_done = no_leftovers(&tasks); // looks at the end
//!
//! // The program enqueues, and nobody runs it …
//! tasks.enqueue(order::with(7))?;
//! assert_enqueued!(tasks, order { number: 7 });
//! refute_enqueued!(tasks, remind);
//!
//! // … until the test says so.
//! drain(&tasks, &Drain::new())?;
//! assert_enqueued!(tasks, remind { number: 7, .. }, queue = "mail", count = 1);
//! drain(&tasks, &Drain::new().delayed(&clock))?; // a day passes at once
//! # Ok::<(), litework::Error>(())
//! ```
//!
//! | To test | Use |
//! |---|---|
//! | code that enqueues | [`Client::dummy`](crate::Client::dummy) or mode `hold`, and [`assert_enqueued!`](crate::assert_enqueued) |
//! | code that needs what its tasks do | [`Client::immediate`](crate::Client::immediate), or mode `hold` and [`drain()`] |
//! | a body by itself | call the function with [`Context::detached`](crate::Context::detached) |
//! | a body with its layers, state, options and JSON | [`perform`] |
//! | delays, retries, snoozes, expiry, schedules | [`ManualClock`], and [`Drain::delayed`] |
//! | what happens when a write fails | [`fail_writes`] |
//! | that a body may be repeated | [`Context::fault_point`](crate::Context::fault_point) and [`panic_at`] |
//! | that nothing is forgotten | [`assert_no_leftovers!`](crate::assert_no_leftovers), or [`no_leftovers`] at the begin of a test |
//!
//! Do not enable the feature in a program that ships: with it, an atomic flag is read at each write.

mod clock;
mod drain;
mod due;
mod enqueued;
mod expect;
mod faults;
mod macros;
mod perform;
#[cfg(test)]
mod tests;

pub use self::clock::ManualClock;
pub use self::drain::{DRAIN_LIMIT_DEFAULT, Drain, Drained, drain};
pub use self::enqueued::{
    NoLeftovers, all_enqueued, assert_enqueued, assert_no_leftovers, no_leftovers, refute_enqueued,
};
pub use self::expect::Expected;
pub use self::faults::{WriteFault, WritePoint, clear_faults, fail_writes, panic_at};
pub use self::perform::{NotPerformed, perform};

/// The name of an argument, without the mark of a raw identifier.
#[doc(hidden)]
pub fn plain_name(name: &str) -> &str {
    name.strip_prefix("r#").unwrap_or(name)
}
