//! `cargo bench --bench limits [-- [--quick] [--cold] [--json PATH] [ROW]...]`: each promise of
//! speed beside its limit.
//!
//! Wherever there is one, the limit is a hand-written loop on raw SQLite, measured in alternating
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
mod raw;
mod report;
mod rows_drain;
mod rows_enqueue;
mod stats;
mod work;

use std::path::{Path, PathBuf};

use bench::Bench;
use report::Row;

/// The part of a name that chooses them, and what measures these rows.
const ROWS: &[(&str, fn(&Bench) -> Vec<Row>)] = &[
    ("enqueue_1", rows_enqueue::one),
    ("enqueue_8", rows_enqueue::eight),
    ("enqueue_64", rows_enqueue::sixty_four),
    ("enqueue_bulk", rows_enqueue::bulk),
    ("drain", rows_drain::drain),
    ("end_to_end", rows_drain::end_to_end),
];

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

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| name.contains(part.as_str()))
    }

    /// A quick run must not overwrite a real one.
    fn json(&self) -> PathBuf {
        let name = if self.quick { "limits.quick.json" } else { "limits.json" };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target"));
        self.json.clone().unwrap_or_else(|| target.join(name))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::read()?;
    let bench = Bench::new(arguments.quick, arguments.cold)?;
    println!("{}", report::head());
    let mut rows = Vec::new();
    for (name, measure) in ROWS.iter().filter(|(name, _)| arguments.wants(name)) {
        eprintln!("… {name}");
        for row in measure(&bench) {
            println!("{}", row.line());
            rows.push(row);
        }
    }
    report::write_json(&arguments.json(), &rows)?;
    Ok(())
}
