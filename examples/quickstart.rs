//! Counts the lines, words and bytes of every file in a folder: one task a file, on 4 threads, with
//! a progress bar; `--inline` runs the same tasks in this thread, without a pool. A file whose name is
//! not UTF-8 cannot be an argument of a task, which is JSON: it is named and left out.
//!
//!     cargo run --release --example quickstart [-- [--inline] [FOLDER]]
//!
//! With the feature `cli` it has the commands of `litework` too, for the file that it has left:
//!
//!     cargo run --release --features cli --example quickstart -- tasks ls --db FILE

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use litework::{Client, Handle, Result, Signature, task};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: quickstart [--inline] [FOLDER]";
const THREADS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);
/// Tasks sent in one transaction; a folder may hold more than one call takes.
const CHUNK: usize = 1_000;
/// The same where they run before the call returns, so that the bar moves.
const CHUNK_INLINE: usize = 16;

/// What one file holds, or all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
    longest_line: u64,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self { bytes: text.len() as u64, ..Self::default() };
        for line in text.lines() {
            counts.lines += 1;
            counts.words += line.split_whitespace().count() as u64;
            counts.longest_line = counts.longest_line.max(line.chars().count() as u64);
        }
        counts
    }

    fn add(self, other: Self) -> Self {
        Self {
            lines: self.lines + other.lines,
            words: self.words + other.words,
            bytes: self.bytes + other.bytes,
            longest_line: self.longest_line.max(other.longest_line),
        }
    }
}

/// Counts one file; bytes that are not UTF-8 are counted as they are shown.
#[task(name = "quickstart.count", attempts = 3)]
pub fn count(path: &Path) -> Result<Counts> {
    Ok(Counts::of(&String::from_utf8_lossy(&fs::read(path)?)))
}

fn main() -> Result<ExitCode> {
    #[cfg(feature = "cli")]
    if let Some(code) = commands::run() {
        return Ok(code);
    }
    let (inline, folder) = arguments()?;
    let (files, unnamed): (Vec<PathBuf>, Vec<PathBuf>) =
        files_in(&folder)?.into_iter().partition(|path| path.to_str().is_some());
    for path in &unnamed {
        let name = path.as_os_str().as_encoded_bytes().escape_ascii();
        eprintln!("left out, as its name is not UTF-8: {name}");
    }
    let queue = std::env::temp_dir().join(format!("quickstart-{}.db", std::process::id()));

    let mut builder = Client::builder(&queue).register(count);
    if !inline {
        builder = builder.workers(THREADS);
    }
    let tasks = builder.open()?;

    let began = Instant::now();
    let bar = ProgressBar::new(files.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} files")
            .unwrap_or(ProgressStyle::default_bar()),
    );
    let mut handles = Vec::with_capacity(files.len());
    for chunk in files.chunks(if inline { CHUNK_INLINE } else { CHUNK }) {
        handles.extend(tasks.enqueue_many(chunk.iter().map(|path| count::with(path.clone())))?);
        if inline {
            bar.inc(chunk.len() as u64); // they have run
        }
    }
    let (totals, failed) = collect(&files, &handles, &bar);
    let took = began.elapsed();
    bar.finish_and_clear();

    print_totals(&folder, handles.len(), totals);
    let rate = handles.len() as u128 * 1_000_000 / took.as_micros().max(1);
    let who = if inline { "in this thread".to_owned() } else { format!("on {THREADS} threads") };
    let tasks_run = if handles.len() == 1 { "task" } else { "tasks" };
    let millis = took.as_secs_f64() * 1e3;
    println!("{} {tasks_run} {who} in {millis:.1} ms: {rate} tasks/s", handles.len());
    println!("queue file, which stays: {}", queue.display());
    tasks.shutdown(Duration::from_secs(10))?;
    if failed > 0 {
        Err(format!("{failed} files could not be counted"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `quickstart tasks …`: what `litework` does, where the kinds of this program are known.
#[cfg(feature = "cli")]
mod commands {
    use std::process::ExitCode;

    use clap::Parser;

    #[derive(Parser)]
    enum Program {
        /// Looks after the queue of an earlier run
        Tasks(litework::cli::Group),
    }

    pub(crate) fn run() -> Option<ExitCode> {
        let asks = std::env::args_os().nth(1).is_some_and(|word| word == "tasks");
        asks.then(|| {
            let Program::Tasks(group) = Program::parse();
            group.run(litework::Client::builder("quickstart.db").register(super::count))
        })
    }
}

/// Adds up the results; a file that failed is named and the rest goes on.
fn collect<T: Signature<Output = Counts>>(
    files: &[PathBuf],
    handles: &[Handle<T>],
    bar: &ProgressBar,
) -> (Counts, usize) {
    let mut totals = Counts::default();
    let mut failed = 0;
    for (number, (path, handle)) in (1..).zip(files.iter().zip(handles)) {
        match handle.wait(PATIENCE) {
            Ok(counts) => totals = totals.add(counts),
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("{}: {error}", path.display()));
            }
        }
        bar.set_position(bar.position().max(number));
    }
    (totals, failed)
}

fn print_totals(folder: &Path, files: usize, totals: Counts) {
    println!("{}", folder.display());
    let rows = [
        ("files", files as u64),
        ("lines", totals.lines),
        ("words", totals.words),
        ("bytes", totals.bytes),
        ("longest line", totals.longest_line),
    ];
    for (name, value) in rows {
        println!("  {name:<14}{value:>12}");
    }
}

/// `[--inline] [FOLDER]`, the folder being this crate's own sources unless it is named.
fn arguments() -> Result<(bool, PathBuf)> {
    let mut inline = false;
    let mut folder = None;
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--inline") => inline = true,
            Some("--help" | "-h") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            Some(flag) if flag.starts_with('-') => {
                Err(format!("unknown flag {flag}; {USAGE}"))?;
            }
            _ if folder.is_none() => folder = Some(PathBuf::from(argument)),
            _ => Err(format!("one folder at most; {USAGE}"))?,
        }
    }
    let own = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    Ok((inline, folder.unwrap_or_else(own)))
}

/// Every regular file below a folder, in the order of their names; links are not followed.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
