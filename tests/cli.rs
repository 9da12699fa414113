//! The command line as operators and scripts use it: each command in a process of its own, for people and as JSON.
#![allow(clippy::unwrap_used)]

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/change.rs"]
mod change;
#[path = "cli/cron.rs"]
mod cron;
#[path = "cli/desk.rs"]
mod desk;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/kinds.rs"]
mod kinds;
#[path = "cli/look.rs"]
mod look;
#[path = "cli/others.rs"]
mod others;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/place.rs"]
mod place;
#[path = "cli/program.rs"]
mod program;
#[cfg(unix)]
#[path = "cli/seen.rs"]
mod seen;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/shift.rs"]
mod shift;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/terminal.rs"]
mod terminal;
#[cfg(all(unix, feature = "tui"))]
#[path = "cli/top.rs"]
mod top;
#[path = "cli/upkeep.rs"]
mod upkeep;
#[path = "cli/wait.rs"]
mod wait;
#[path = "cli/work.rs"]
mod work;
#[path = "cli/work_settings.rs"]
mod work_settings;
