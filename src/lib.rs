//! Background tasks for Rust programs in one `SQLite` file: no broker, no server, no async runtime.
//!
//! Worker threads live inside the program that enqueues. Leave them out, and the same program runs
//! each task in the caller: same row, same accounting, same result. This shrinks one picture in the background, and says
//! where it was put:
//!
//! ```
//! use litework::{Client, Context, Result, task};
//! use std::time::Duration;
//!
//! #[task(queue = "images", attempts = 3, timeout = "20s")]
//! fn shrink(ctx: &Context, path: &str, width: u32) -> Result<String> {
//!     ctx.check()?; // ends here if somebody cancelled it
//!     Ok(format!("{path}.{width}.png")) // `?` on any error means "try again"
//! }
//!
//! fn main() -> Result<()> {
//!     # let dir = tempfile::tempdir()?;
//!     # std::env::set_current_dir(dir.path())?;
//!     let tasks = Client::builder("tasks.db").register(shrink).workers(4).open()?;
//!     let handle = tasks.enqueue(shrink::with("cat", 640).priority(10))?;
//!     println!("{}", handle.wait(Duration::from_secs(5))?); // typed: String
//!     tasks.shutdown(Duration::from_secs(10))?;
//!     Ok(())
//! }
//! ```
//!
//! # The journey of a task
//!
//! define → enqueue → store → claim → run → finish → watch. The modules stand in this order, and
//! each knows only those before it; whoever operates the queue looks from outside.
//!
//! - **Define**: [`task`] on a function, or [`Task`] on a type; [`Options`], [`Retry`]; what is there once
//!   ([`Unique`]), runs alone ([`Exclusive`]), or so many at once or in a time ([`Limit`], [`Rate`]); a [`Client`],
//!   or several by name as [`Clients`], from code or from a [`ClientsConfig`].
//! - **Enqueue**: [`Client::enqueue`] one [`Call`], [`Client::enqueue_many`], a [`Flow`] of tasks that wait
//!   for each other, or through a transaction with the traits of `litework::sqlite`; other languages write
//!   to its `inbox`.
//!   A [`Schedule`] makes a call again and again; [`guide::schedules`] explains it.
//! - **Run**: [`Context`] in the body; what is done once however often it is tried ([`Context::step`]); an end in
//!   one commit with the body's own writes ([`complete_in`](sqlite::ContextExt::complete_in)); [`Failure`] as its
//!   verdict.
//! - **Watch**: [`Handle::wait`] or `.await`; [`Client::get`], [`Client::list`]; [`Client::watch`] for snapshots as they
//!   change; [`Builder::on`].
//! - **Operate**: [`Client::why`] a task is not running; [`Client::pause`] a queue or a kind; [`Client::bulk`] for all
//!   that pass a [`Filter`]; [`Retention`] for how long what has ended is kept; [`Client::doctor`] says what is
//!   wrong, [`Client::backup`] copies a queue at work, [`Client::export`] and [`Client::import`] carry tasks elsewhere.
//!
//! # Events, log and trace
//!
//! [`Builder::on`] calls a program's own receivers with each [`Event`], after its commit. The log tells
//! the same through `tracing`. Each body runs in the span `task` (INFO: `id`, `kind`, `queue`, `attempt`,
//! `trace`), and these lines, of target `litework::hook`, say what became of a task:
//!
//! | Message | Level | Fields besides `id`, `kind`, `queue`, `trace` |
//! |---|---|---|
//! | `task enqueued` | DEBUG | `state`, `due_at`, `existing` |
//! | `task started` | DEBUG | `attempt` |
//! | `task succeeded` | INFO | `attempt` |
//! | `task will be tried again` | WARN; INFO if expected | `attempt`, `reason`, `error`, `due_at` |
//! | `task failed` | ERROR; INFO if expected | `attempt`, `reason`, `error` |
//! | `task snoozed` | DEBUG | `attempt`, `reason`, `due_at` |
//! | `task cancelled`, `task skipped` | INFO | `attempt`, `reason`, `error` |
//! | `task handed back` | DEBUG | `attempt` |
//!
//! A field that has no value is left out. So at INFO there is one line for each end. What stands in
//! the way of the queue itself is a WARN or an ERROR, with the field `error`. A program sees none of it until it
//! has a subscriber, such as that of the crate `tracing-subscriber`.
//!
//! A task may belong to a trace, a W3C `traceparent` that is stored with it: [`Call::trace`],
//! [`Builder::trace_context`]. Its body reads it ([`Context::trace`]), and what that enqueues has it too.
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `sqlite` | yes | the engine that keeps a file |
//! | `bundled` | yes | `SQLite` compiled in; without it the system's, 3.51.3 or newer |
//! | `macros` | yes | `#[task]` |
//! | `inventory` | no | `Builder::register_all`: every `#[task]` without naming it |
//! | `tokio` | no | `async fn` tasks; `Client::enqueue_async`; awaiting without blocking a runtime |
//! | `cron` | no | schedules by cron expression and time zone |
//! | `stream` | no | [`Watcher`] as a `Stream` |
//! | `web` | no | `litework::web`: status pages, JSON, events and a dashboard, as a tower service |
//! | `axum` | no | the same as an axum 0.8 router |
//! | `cli` | no | the program `litework`, and `litework::cli`: its commands as a part of a program's own |
//! | `testing` | no | a kit for tests: a clock moved by hand, draining, assertions, faults |
//!
//! # Crates in the interface
//!
//! | Crate | Version | Where |
//! |---|---|---|
//! | `serde` | 1 | arguments and results: `#[derive(Serialize, Deserialize)]` |
//! | `serde_json` | 1 | `Value` in [`Call::meta`], [`Failure::data`] and the like |
//! | `chrono` | 0.4 | `DateTime` in [`Call::run_at`] and the like, where a [`Timestamp`] does as well |
//! | `clap` | 4 | with `cli`: the group of commands is a set of arguments |
//! | `crossbeam-channel` | 0.5 | [`Watcher::receiver`], to be selected from |
//! | `futures-core` | 0.3 | with `stream`: [`Watcher`] is a `Stream` |
//! | `rusqlite` | 0.39 or 0.40, the one that is built with litework | transactions and connections in `litework::sqlite` |
//! | `tracing` | 0.1 | what a program's subscriber is given |
//!
//! # What is stored as what
//!
//! Arguments and results are JSON, as `serde_json` writes it; [`JsonLimits`] says how each type of Rust
//! looks there, and how much one text may hold.

#![cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "some words are only used by the engine that keeps a file")
)]

// What `benches/limits` shares names the crate as its users do.
#[cfg(any(feature = "cli", test))]
extern crate self as litework;

/// The README's example compiles as it is shown; the one above is the same text, and runs.
#[cfg(all(doctest, feature = "axum", feature = "macros", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;

// In the order of the journey; `tests/tidy.rs` holds each to those before it.
mod fault;
mod near;
#[cfg(any(feature = "sqlite", feature = "web"))]
mod shell;
mod id;
mod time;
mod json;
mod retry;
mod state;
mod outcome;
mod panics;
mod settle;
mod error;
mod redact;
mod range;
mod written;
#[cfg(feature = "cron")]
mod zone;
#[cfg(feature = "cron")]
mod cron;
mod table;
mod event;
mod mode;
mod mishap;
mod key;
mod unique;
mod gate;
mod follow;
mod slot;
mod timing;
mod ties;
mod deed;
mod capability;
mod options;
mod rule;
mod route;
mod task;
mod untyped;
mod schedule;
mod flow;
mod quota;
mod retention;
mod steady;
mod progress;
mod artifact;
mod counters;
mod record;
mod snapshot;
mod filter;
mod audit;
mod overview;
mod presence;
mod why;
mod inbox;
mod finding;
mod portable;
#[cfg(feature = "sqlite")]
mod inspection;
mod watch;
mod telling;
mod shelf;
mod calendar;
mod meter;
mod upkeep;
mod backend;
mod scribe;
mod watching;
mod unserved;
mod catalog;
mod pruner;
mod inside;
mod hook;
mod hub;
mod handle;
mod client;
#[cfg(any(feature = "cli", feature = "web"))]
mod named;
mod heard;
mod artifacts;
mod counted;
mod overviews;
mod outbox;
mod batch;
mod operate;
mod bulk;
mod schedules;
mod auditing;
mod metrics;
mod backups;
mod doctor;
mod porting;
#[cfg(any(feature = "cli", feature = "web"))]
mod doing;
#[cfg(any(feature = "cli", feature = "web"))]
mod shown;
mod intake;
mod ticker;
mod context;
mod prior;
mod registry;
mod mailer;
mod attempt;
mod backends;
mod worker;
mod config;
mod builder;
mod clients;
#[cfg(feature = "sqlite")]
mod offline;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "web")]
pub mod web;
#[cfg(feature = "cli")]
pub mod cli;

pub use artifact::{ARTIFACT_TEXT_BYTES_MAX, ARTIFACTS_MAX, Artifact, ArtifactKind};
pub use artifacts::ArtifactReader;
pub use audit::{ACTOR_BYTES_MAX, AuditPage, AuditRecord};
pub use backend::{Cancelled, STEPS_MAX};
pub use builder::Builder;
pub use bulk::{Bulk, Bulked, Erased};
pub use capability::{Capabilities, Capability};
pub use catalog::{CLIENT_DEFAULT, KindInfo};
pub use client::{AsTaskId, BATCH_MAX, Client};
pub use clients::{Clients, ClientsBuilder};
pub use config::{ClientsConfig, Config, Preset, QueueFor, QueueRate, Route};
pub use context::{ArtifactWriter, Context, Leaving, Reporter, StopReason};
pub use counters::{Bucket, Counts, HISTOGRAM_BOUNDS, Histogram, LaneCounts, SERIES_MAX, Series};
#[cfg(feature = "cron")]
pub use cron::Cron;
pub use error::Error;
pub use event::{Event, EventKind, EventRecord};
pub use filter::{FILTER_ERROR_MAX, FILTER_IDS_MAX, Filter};
pub use finding::{Finding, Severity};
pub use flow::{Batch, FLOW_EDGES_MAX, FLOW_MAX, Flow, Sum};
pub use follow::FOLLOWS_MAX;
pub use gate::{Exclusive, Limit, Limits, Rate};
pub use handle::Handle;
pub use hub::{GRACE_DEFAULT, Pending, Ran, Stopped};
pub use id::{BadId, TaskId};
pub use inbox::{Inbox, InboxKind, InboxWriter};
pub use json::{JsonError, JsonLimits};
pub use key::KEY_BYTES_MAX;
#[cfg(feature = "macros")]
pub use litework_macros::task;
pub use mailer::{FailureNotice, Notice};
pub use metrics::Health;
pub use mode::Mode;
pub use operate::Edit;
pub use options::{
    ATTEMPTS_DEFAULT, ATTEMPTS_MAX, Durability, NAME_BYTES_MAX, Options, PRIORITY_MAX,
    PRIORITY_MIN, QUEUE_DEFAULT, TIMEOUT_MAX,
};
pub use outbox::Outbox;
pub use outcome::{Failure, REPORT_TEXT_BYTES_MAX, Report, Result};
pub use overview::{
    Browsed, COUNT_MAX, Capped, FAILURES_MAX, FailureGroup, Failures, Overview, Place,
    QueueOverview,
};
pub use portable::LINE_BYTES_MAX;
pub use porting::{Export, Exported, Import, Imported};
pub use presence::{RunningTask, WorkerRecord};
pub use progress::{LOG_LINES_MAX, LogLevel, LogLine, MESSAGE_MAX, Progress, STAGE_MAX, UNIT_MAX};
pub use record::{AttemptRecord, BadRow, Cursor, Page, Prior, StepRecord, TaskRecord};
pub use registry::{Definition, Layer, Next, Task};
pub use retention::{Keep, Prune, Pruned, Retention};
pub use retry::{RETRY_DELAY_MAX, Retry};
pub use rule::{Limited, Paused, Scope};
pub use schedule::{
    Edited, Missed, Origin, Overlap, Schedule, ScheduleEdit, ScheduleRecord, ScheduleState,
    SlotRecord,
};
pub use schedules::{Schedules, Switch};
pub use settle::CRASHES_MAX;
pub use slot::{Slot, SlotKind};
pub use snapshot::Snapshot;
pub use state::{Reason, State};
pub use task::{Call, IntoCall, OWNER_BYTES_MAX, Signature, TAG_BYTES_MAX, TAGS_MAX, TaskRef};
pub use ties::AFTER_MAX;
pub use time::{AsMoment, Clock, SPAN_MAX, SystemClock, Timestamp};
pub use timing::{SCHEDULE_GAP_MIN, Timing};
pub use unique::{Replace, Unique};
pub use unserved::Unserved;
pub use upkeep::{BackedUp, BackupProgress, Vacuum, Vacuumed};
pub use watching::{WATCH_IDS_MAX, Watch, Watcher, Watching};
pub use why::{Cause, Why};
pub use written::parse_duration;
#[cfg(feature = "cron")]
pub use zone::Zone;

/// Pages that explain a part as a whole.
pub mod guide {
    #[doc = include_str!("schedule/guide.md")]
    pub mod schedules {}
    #[cfg(feature = "web")]
    #[doc = include_str!("web/guide/status.picture.md")]
    #[doc = include_str!("web/guide/status_pages.md")]
    pub mod status_pages {}
    #[cfg(feature = "web")]
    #[doc = include_str!("web/guide/overview.picture.md")]
    #[doc = include_str!("web/guide/dashboard.md")]
    pub mod dashboard {}
    #[cfg(feature = "web")]
    #[doc = include_str!("web/guide/access.picture.md")]
    #[doc = include_str!("web/guide/access.md")]
    pub mod access {}
    #[cfg(feature = "web")]
    #[doc = include_str!("web/guide/api.md")]
    pub mod api {}
    #[cfg(feature = "cli")]
    #[doc = include_str!("cli/bench.md")]
    pub mod baseline {}
}

/// What only a queue file can do: tasks that belong to a transaction, and a look at a file that nobody opens.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use crate::backends::sqlite::doors::{
        ClientExt, ContextExt, Enqueued, Late, Pending, Write, WriteError,
    };
    pub use crate::inspection::{Inspection, Standing};
    pub use crate::offline::{doctor, inspect};

    #[doc = include_str!("backends/sqlite/inbox.md")]
    pub mod inbox {}
}

/// For the code that `#[task]` writes; not part of the interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "inventory")]
    pub use crate::registry::Entry;
    pub use crate::untyped::Steps;
    #[cfg(feature = "inventory")]
    pub use inventory;
    pub use serde;
}
