//! Row `weight`: what a program takes on with this crate.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::bench::Bench;
use crate::report::Row;
use crate::stats::median;
use crate::target::Target;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn weight(bench: &Bench) -> Vec<Row> {
    let crates = crates(&["tree", "-e", "normal", "--prefix", "none", "--no-dedupe"]);
    let rusqlite = crates.iter().find_map(|name| name.strip_prefix("rusqlite v"));
    let version = rusqlite.expect("rusqlite is a dependency").to_owned();
    let others = crates.iter().filter(|name| !name.starts_with("litework v")).count();
    let row = Row::fixed("weight", others as f64, "crates", Target::AtMost(70.0));
    let mut rows = vec![row.note("default features")];
    if bench.cold || !bench.pace.quick {
        rows.push(cold_builds(bench, &version));
    }
    rows
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder).env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    cargo
}

/// The crates that the command lists, each with its version, each once.
fn crates(command: &[&str]) -> BTreeSet<String> {
    let listed = cargo(Path::new(ROOT)).args(command).output().expect("cargo runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    text.lines().filter_map(name).collect()
}

/// Debug builds from nothing, against one of rusqlite alone.
fn cold_builds(bench: &Bench, version: &str) -> Row {
    let alone = bench.scratch();
    let manifest = format!(
        "[package]\nname = \"alone\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         rusqlite = {{ version = \"={version}\", default-features = false, \
         features = [\"bundled\", \"cache\", \"limits\", \"hooks\", \"modern_sqlite\"] }}\n"
    );
    std::fs::create_dir(alone.path().join("src")).expect("the folder is empty");
    std::fs::write(alone.path().join("src/lib.rs"), "").expect("there is room");
    std::fs::write(alone.path().join("Cargo.toml"), manifest).expect("there is room");
    let pairs: Vec<(f64, f64)> = (0..bench.pick(3, 1))
        .map(|_| (seconds(bench, Path::new(ROOT)), seconds(bench, alone.path())))
        .collect();
    let ours = median(pairs.iter().map(|pair| pair.0));
    let limit = median(pairs.iter().map(|pair| pair.1));
    let ratio = crate::stats::bootstrap(&pairs, crate::stats::median_ratio);
    Row::beside("weight_build", (ours, limit), "s", ratio, Target::AtMost(2.0))
        .note(format!("cold debug, {} builds", pairs.len()))
}

fn seconds(bench: &Bench, folder: &Path) -> f64 {
    let target = bench.scratch();
    let began = Instant::now();
    let mut build = cargo(folder);
    build.args(["build", "--lib", "--offline", "--quiet"]).env("CARGO_TARGET_DIR", target.path());
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "cargo build in {}", folder.display());
    began.elapsed().as_secs_f64()
}
