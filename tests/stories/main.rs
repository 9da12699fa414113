//! Stories of users, each on a real file: how tasks are run in a pool, in the caller and on demand,
//! how they belong to transactions, how they are stopped, shared among queues and waited for, and what a
//! step of the wall clock does to them. No test sleeps.
#![cfg(all(feature = "testing", feature = "sqlite", feature = "macros"))]
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod cancel;
mod clients;
mod clock;
mod doors;
mod failing;
mod fairness;
mod file;
mod flows;
mod follows;
mod gates;
mod hooks;
mod inbox;
mod inline;
mod ledger;
mod modes;
mod operate;
mod overload;
mod pending;
mod prune;
mod schedules;
mod sharing;
mod shutdown;
mod testing;
mod under_way;
mod unique;
mod upkeep;
mod waiting;
mod workers;
