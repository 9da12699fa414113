//! Watch: what people and their programs are shown, on pages, over the API and on command lines alike.
//!
//! Each is a struct that is written as JSON; what one of them adds for itself stands beside it there.

#[cfg(feature = "web")]
pub(crate) mod command;
pub(crate) mod detail;
pub(crate) mod failures;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod seen;
pub(crate) mod task;
pub(crate) mod text;
pub(crate) mod workers;
