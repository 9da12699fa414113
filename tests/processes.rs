//! What a user sees when a program misbehaves or several share one file: how each kind of death
//! ends a task, how long others need to notice, and that neither a stale runner nor a newer schema
//! nor a crowd at the first open can harm the file.
//!
//! Each test starts real child processes. Two ways to die are stood in for. A test program cannot be
//! built with `panic = "abort"`, so its body calls `std::process::abort`, which is what such a panic does
//! in the end; `panic_abort.rs` builds a program that really is. And a system that is out of memory kills
//! with signal 9, as `crash.rs` does at every moment; to have the kernel do it takes a control group of
//! one's own, which few machines give a test. Here the child runs under `ulimit -v`: an allocation fails,
//! and Rust aborts.
#![cfg(all(feature = "__fault", feature = "sqlite", unix))]
#![allow(clippy::unwrap_used)]

mod child;

#[path = "crash/copies.rs"]
mod copies;
#[path = "crash/deeds.rs"]
mod deeds;
#[path = "crash/flows.rs"]
mod flows;
#[path = "crash/follows.rs"]
mod follows;
#[path = "crash/found.rs"]
mod found;
#[path = "crash/gates.rs"]
mod gates;
#[path = "crash/ledger.rs"]
mod ledger;
#[path = "crash/neighbours.rs"]
mod neighbours;
#[path = "crash/plants.rs"]
mod plants;
#[path = "crash/prunes.rs"]
mod prunes;
#[path = "crash/shares.rs"]
mod shares;
#[path = "crash/slots.rs"]
mod slots;
#[path = "crash/voices.rs"]
mod voices;
#[path = "crash/ways_to_die.rs"]
mod ways_to_die;

/// The body of every child; in the test program itself it returns at once.
#[test]
fn a_child_process_does_its_part() {
    match child::role().as_deref() {
        None => {}
        Some("copier") => copies::copy(),
        Some("examiner") => copies::examine(),
        Some("importer") => copies::import(),
        Some("opener") => neighbours::open_again_and_again(),
        Some("pruner") => prunes::prune_on(),
        Some("sharer") => shares::share(),
        Some("ledger") => ledger::serve(),
        Some("gate storer") => gates::store(),
        Some("gate pool") => gates::serve(),
        Some("once") => gates::store_once(),
        Some("planted") => plants::act(),
        Some("slot firer") => slots::serve(),
        Some("talker") => voices::serve(),
        Some(_) => deeds::serve(),
    }
}
