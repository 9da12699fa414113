//! `cargo bench --bench limits [-- [--quick] [--cold] [--json PATH] [ROW]...]`: each promise of
//! speed beside its limit.
//!
//! Wherever there is one, the limit is a hand-written loop over the same file, measured in alternating
//! blocks; a ratio is the median of the pairs with its 95 % interval. `ROW` is a part of a row's
//! name. `--quick` only shows that the rows work. The table goes to standard output, the same as
//! JSON to `target/limits.json`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times of a bench are far from the ends of their types"
)]

mod bench;
mod process;
mod report;
#[cfg(feature = "web")]
mod rows_dashboard;
mod rows_depth;
mod rows_drain;
mod rows_enqueue;
mod rows_latency;
mod rows_prune;
mod rows_quiet;
mod rows_rescue;
mod rows_schedules;
#[cfg(feature = "cli")]
mod rows_status;
mod rows_ties;
mod rows_weight;
mod target;
mod work;

// What `litework bench` measures as well.
#[path = "../../src/cli/bench/clock.rs"]
mod clock;
#[path = "../../src/cli/bench/cross.rs"]
mod cross;
#[path = "../../src/cli/bench/drain.rs"]
mod drain;
#[path = "../../src/cli/bench/enqueue.rs"]
mod enqueue;
#[path = "../../src/cli/bench/files.rs"]
mod files;
#[path = "../../src/cli/bench/helper.rs"]
mod helper;
#[path = "../../src/cli/bench/latency.rs"]
mod latency;
#[path = "../../src/cli/bench/measure.rs"]
mod measure;
#[path = "../../src/backends/sqlite/probe.rs"]
mod probe;
#[path = "../../src/backends/sqlite/raw.rs"]
mod raw;
#[path = "../../src/cli/bench/resize.rs"]
mod resize;
#[path = "../../src/cli/bench/stats.rs"]
mod stats;

use std::path::{Path, PathBuf};

use bench::Bench;
use report::Row;

/// The names of rows, and what measures them.
type Rows = [(&'static str, fn(&Bench) -> Vec<Row>)];

const ROWS: &Rows = &[
    ("enqueue_1", rows_enqueue::one),
    ("enqueue_8", rows_enqueue::eight),
    ("enqueue_64", rows_enqueue::sixty_four),
    ("enqueue_bulk", rows_enqueue::bulk),
    ("drain", rows_drain::drain),
    ("end_to_end", rows_drain::end_to_end),
    ("group_10k", rows_drain::group),
    ("latency_in_process_p50 latency_in_process_p95", rows_latency::in_process),
    ("depth_ready_1m", rows_depth::ready),
    ("depth_scheduled_1m", rows_depth::scheduled),
    ("depth_due_1m", rows_depth::due),
    ("depth_paused_1m", rows_depth::paused),
    ("depth_finished_1m", rows_depth::finished),
    ("depth_unknown_100k", rows_depth::unknown),
    ("depth_lanes_200", rows_depth::lanes),
    ("neighbour", rows_quiet::neighbour),
    ("rescue", rows_rescue::rescue),
    ("prune_1m", rows_prune::prune),
    ("schedules_100k", rows_schedules::many),
    ("unique_enqueue", rows_ties::unique),
    ("claims_exclusive_10k", rows_ties::exclusive),
    ("claims_limited_10k", rows_ties::limited),
    ("claims_keys_10k", rows_ties::keys),
    ("weight weight_build", rows_weight::weight),
];

/// Those that ask `/proc`, which only Linux has.
const LINUX_ROWS: &Rows = &[
    ("latency_cross_process idle_two latency_after_silence", rows_latency::cross_process),
    ("inbox_latency inbox_latency_p95", rows_latency::inbox),
    ("idle idle_writes", rows_quiet::idle),
    ("memory memory_large", rows_quiet::memory),
];

/// Those of the pages.
#[cfg(feature = "web")]
const WEB_ROWS: &Rows = &[("dashboard_1m", rows_dashboard::pages)];
#[cfg(not(feature = "web"))]
const WEB_ROWS: &Rows = &[];

/// Those of the command line.
#[cfg(feature = "cli")]
const CLI_ROWS: &Rows = &[("status_1m", rows_status::status)];
#[cfg(not(feature = "cli"))]
const CLI_ROWS: &Rows = &[];

/// All that can be measured here.
fn rows() -> impl Iterator<Item = &'static (&'static str, fn(&Bench) -> Vec<Row>)> {
    let linux: &Rows = if cfg!(target_os = "linux") { LINUX_ROWS } else { &[] };
    ROWS.iter().chain(linux).chain(WEB_ROWS).chain(CLI_ROWS)
}

#[derive(Default)]
struct Arguments {
    quick: bool,
    cold: bool,
    json: Option<PathBuf>,
    wanted: Vec<String>,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut read = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => read.quick = true,
                "--cold" => read.cold = true,
                "--json" => read.json = Some(words.next().ok_or("--json needs a path")?.into()),
                // Cargo says this to every bench.
                "--bench" => {}
                flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
                row => read.wanted.push(row.to_owned()),
            }
        }
        Ok(read)
    }

    /// Whether one of these rows is wanted: by its name, or by a part of it that names no row.
    fn wants(&self, names: &str) -> bool {
        let is_row = |word: &str| rows().any(|(names, _)| names.split(' ').any(|n| n == word));
        let wants = |name: &str, word: &str| name == word || !is_row(word) && name.contains(word);
        self.wanted.is_empty()
            || names.split(' ').any(|name| self.wanted.iter().any(|word| wants(name, word)))
    }

    /// A quick run must not overwrite a real one.
    fn json(&self) -> PathBuf {
        let name = if self.quick { "limits.quick.json" } else { "limits.json" };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target"));
        self.json.clone().unwrap_or_else(|| target.join(name))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some((role, file)) = helper::role() else { return measure(&Arguments::read()?) };
    match role.as_str() {
        "cross" => rows_latency::child(&file),
        "victim" => rows_rescue::child(&file),
        _ => rows_quiet::child(&role, &file),
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let bench = Bench::new(arguments.quick, arguments.cold)?;
    println!("{}", report::head());
    let mut measured = Vec::new();
    for (name, measure) in rows().filter(|(names, _)| arguments.wants(names)) {
        eprintln!("… {name}");
        for row in measure(&bench) {
            println!("{}", row.line());
            measured.push(row);
        }
    }
    report::write_json(&arguments.json(), &measured)?;
    Ok(())
}
