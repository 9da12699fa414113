//! Watch: commands that change nothing.

pub(super) mod kinds;
pub(super) mod logs;
pub(super) mod ls;
pub(super) mod metrics;
pub(super) mod queues;
pub(super) mod show;
pub(super) mod status;
pub(super) mod task;
pub(super) mod wait;
pub(super) mod watch;
pub(super) mod why;
pub(super) mod workers;
