//! What a user of litework may rely on wherever tasks are kept and whoever runs them: one suite over
//! {memory, `SQLite`} × {Full, Normal} × {pool, inline, `run_pending`} × {own file, application's
//! file}.
//!
//! A scenario that fails names the places in which it does.
#![cfg(all(feature = "testing", feature = "sqlite", feature = "macros"))]
#![allow(clippy::unwrap_used)]

mod common;

/// Turns scenarios `fn name(lab: &Lab)` of the module it stands in into tests that run them in
/// every place.
macro_rules! everywhere {
    ($($scenario:ident),+ $(,)?) => {
        mod everywhere {
            $(
                #[test]
                fn $scenario() {
                    crate::common::Lab::everywhere(super::$scenario);
                }
            )+
        }
    };
}
use everywhere;

mod contract {
    mod able;
    mod artifacts;
    mod audit;
    mod backup;
    mod counters;
    mod define;
    mod errors;
    mod flows;
    mod follows;
    mod hooks;
    mod keys;
    mod lookup;
    mod metrics;
    mod operate;
    mod order;
    mod progress;
    mod overview;
    mod porting;
    mod prune;
    mod refusals;
    mod reopen;
    mod results;
    mod schedules;
    mod schedules_clock;
    mod schedules_slots;
    mod steps;
    mod testing;
    mod watching;
    mod why;
}
