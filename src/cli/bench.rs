//! Operate: how fast litework is on this machine and disk, beside what `SQLite` can do at most: a baseline that others
//! may quote.
//!
//! Some of it is shared with `benches/limits`, which measures more, against bounds; so it knows of the crate only what is
//! public.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times of a benchmark are far from the ends of their types"
)]

mod stats;
mod clock;
mod measure;
mod resize;
mod files;
mod enqueue;
mod drain;
mod latency;
mod helper;
mod cross;
mod spin;
mod deep;
mod mixed;
mod machine;
mod report;
mod compare;
mod workload;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::compare::Compared;
use self::files::Folder;
use self::machine::{Machine, Sync};
use self::measure::Pace;
use self::report::{Report, Skipped};
use self::workload::{Terms, Workload};
use super::code::{Came, Code};
use super::console::{Console, Verb};
use super::signals::{SIGNALLED, signals};
use crate::backends::sqlite::{linked_version, probe, raw};
use crate::error::Error;
use crate::options::Durability;
use crate::range::Range;
use crate::shown::task::SCHEMA;
use crate::time::{Clock, SystemClock};

const BLOCKS: Range<usize> = Range { least: 3, most: 60, text: "3 to 60" };
/// How many there are where nobody says it.
const BLOCKS_DEFAULT: usize = 15;
/// How often a folder is removed in which files are made meanwhile.
const REMOVALS: usize = 100;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    /// A killed process; a power loss may take the newest.
    Normal,
    /// A power loss, on a disk that honours flush.
    Full,
}

/// Measures how fast it is here, beside a loop that is written by hand
///
/// Each workload runs beside a loop over the same tables, of the same durability, in blocks that alternate. A row is
/// quoted with its name, the durability, the machine and the ratio. It takes some minutes, and up to 1.5 GB of the disk, in
/// a folder of its own that is removed at the end.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure [default: all].
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// A folder on the disk that is to be measured [default: this folder].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What a task that was stored survives.
    #[arg(long, value_name = "LEVEL", default_value = "full")]
    durability: Level,
    /// Blocks of each side, 3 to 60 [default: 15, and 3 with --quick].
    #[arg(long, value_name = "N")]
    blocks: Option<usize>,
    /// Only show that everything works: a few short blocks, which measure nothing.
    #[arg(long)]
    quick: bool,
    /// Show what has changed since a run whose --json was written to this file.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

impl Verb for Bench {
    fn run(self, console: &mut Console) -> Came {
        console.check_may_change()?;
        let pace = Pace { quick: self.quick };
        let blocks = self.blocks.unwrap_or_else(|| pace.pick(BLOCKS_DEFAULT, BLOCKS.least));
        BLOCKS.check("out_of_range", || "--blocks".to_owned(), &blocks)?;
        let before = self.compare.as_deref().map(compare::read).transpose()?;
        let folder = folder_in(self.dir.as_deref().unwrap_or(Path::new(".")))?;
        let home = folder.path().to_owned();
        remove_when_interrupted(&home)?;
        console.say.note(format!("in {}, which is removed at the end", home.display()));
        let report = self.report(console, pace, blocks, &folder);
        drop(folder);
        if home.exists() {
            console.say.note(format!("{} could not be removed", home.display()));
        }
        let report = report?;
        let compared = before.map(|before| Compared::new(&before, &report));
        let told = Told { report, compared };
        console.say.data(&told, |width| {
            let compared =
                told.compared.iter().map(|compared| format!("\n{}", compared.text(width)));
            std::iter::once(told.report.text(width)).chain(compared).collect()
        })?;
        Ok(Code::Ok)
    }
}

impl Bench {
    fn report(
        &self,
        console: &Console,
        pace: Pace,
        blocks: usize,
        folder: &Folder,
    ) -> Result<Report, Error> {
        let level = match self.durability {
            Level::Normal => Durability::Normal,
            Level::Full => Durability::Full,
        };
        let machine = Machine::here(folder.path());
        if machine.is_in_memory() {
            console.say.note("this folder is in memory, where a sync costs nothing: say --dir");
        }
        if pace.quick {
            console.say.note("quick: it shows that everything works, and measures nothing");
        }
        let mut report = Report {
            schema: SCHEMA,
            measured_at: SystemClock.now(),
            litework: env!("CARGO_PKG_VERSION").to_owned(),
            sqlite: linked_version().to_owned(),
            machine,
            durability: level,
            sync_us: Sync::measure(folder.path(), pace).map_err(|error| stopped(error.into()))?,
            quick: pace.quick,
            rows: Vec::new(),
            skipped: Vec::new(),
        };
        let terms = Terms { folder, level, pace, blocks };
        for workload in Workload::value_variants() {
            if !self.workloads.is_empty() && !self.workloads.contains(workload) {
                continue;
            }
            let name = workload.name();
            if workload.needs_child() && !console.is_alone() {
                let why = "only the program litework can start itself for it".to_owned();
                console.say.note(format!("{name} is left out: {why}"));
                report.skipped.push(Skipped { name, why });
                continue;
            }
            console.say.note(format!("… {name}"));
            report.rows.extend(workload.measure(&terms).map_err(stopped)?);
        }
        Ok(report)
    }
}

/// A folder of our own in this one.
fn folder_in(parent: &Path) -> Result<Folder, Error> {
    let refused = |allowed: String| {
        Error::invalid("bad_folder", "--dir", parent.display().to_string(), allowed)
    };
    if !parent.is_dir() {
        return Err(refused("a folder that is there".to_owned()));
    }
    let made = Folder::new_in(parent, "litework-bench-");
    made.map_err(|error| refused(format!("a folder in which others can be made: {error}")))
}

/// Whoever interrupts it finds nothing left either.
fn remove_when_interrupted(home: &Path) -> Result<(), Error> {
    let refused = |error: std::io::Error| stopped(error.into());
    let (home, told) = (home.to_owned(), signals().map_err(refused)?);
    let wait = move || {
        let Ok(signal) = told.recv() else { return };
        // What is being measured goes on to make files meanwhile.
        for _ in 0..REMOVALS {
            let removed = std::fs::remove_dir_all(&home);
            if removed.is_ok() || !home.exists() {
                break;
            }
        }
        std::process::exit(SIGNALLED + signal);
    };
    std::thread::Builder::new().spawn(wait).map(drop).map_err(refused)
}

/// Why it was not measured to the end.
fn stopped(error: Box<dyn std::error::Error + Send + std::marker::Sync>) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => {
            let reason = format!("it could not be measured: {other}");
            Error::Storage { reason, source: Some(other) }
        }
    }
}

/// The part of a process that another one has started for a workload; none where it was started by somebody else.
pub(super) fn child() -> Option<ExitCode> {
    let (role, file) = helper::role()?;
    let came = match role.as_str() {
        workload::SERVING => cross::serve(resize::builder(&file)),
        spin::ROLE => spin::serve(&file),
        _ => return None,
    };
    Some(match came {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Its parent tells the rest.
            let _unheard = writeln!(std::io::stderr(), "in a child process: {error}");
            ExitCode::FAILURE
        }
    })
}
