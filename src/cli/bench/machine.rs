//! Operate: what a benchmark was measured on.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::measure::Pace;
use super::stats::quantile;
use crate::backends::sqlite::mounts;

/// Bytes of one write, how many are measured, and how many there are room for at least.
const BYTES: usize = 4_096;
const WRITES: usize = 200;
const WRITES_MIN: usize = 20;
/// A slow disk is measured for no longer.
const LONG: Duration = Duration::from_secs(4);

/// The machine, and the disk that the folder is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) os: String,
    /// The kind of the folder's file system, where the system tells it.
    pub(super) file_system: Option<String>,
}

impl Machine {
    pub(super) fn here(folder: &Path) -> Self {
        let kernel = told("/proc/sys/kernel/osrelease").unwrap_or_default();
        let words = [std::env::consts::OS, kernel.trim(), std::env::consts::ARCH];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        Self {
            cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            os: words.join(" "),
            file_system: mounts::kind_of(&folder.join("file")),
        }
    }

    /// Whether what is written there is nowhere but in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.file_system.as_deref(), Some("tmpfs" | "ramfs"))
    }

    /// On one line.
    pub(super) fn text(&self) -> String {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        let disk = self.file_system.as_deref().unwrap_or("unknown file system");
        format!("{}, {} {cores}, {}, {disk}", self.cpu, self.cores, self.os)
    }
}

/// The name of the processor.
fn cpu() -> Option<String> {
    let linux = || {
        let told = told("/proc/cpuinfo")?;
        let line = told.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.to_owned())
    };
    let mac = || {
        let mut ask = Command::new("sysctl");
        let told = ask.args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        told.status.success().then(|| String::from_utf8_lossy(&told.stdout).into_owned())
    };
    let windows = || std::env::var("PROCESSOR_IDENTIFIER").ok();
    let name = match std::env::consts::OS {
        "macos" => mac(),
        "windows" => windows(),
        _ => linux(),
    };
    // Some pad it with blanks.
    let name = name?.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(name).filter(|name| !name.is_empty())
}

/// A file in which the system tells something.
fn told(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// What a sync costs in a folder: microseconds of a write of 4 KiB and the sync of its data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Sync {
    pub(super) median: f64,
    pub(super) p95: f64,
}

impl Sync {
    pub(super) fn measure(folder: &Path, pace: Pace) -> io::Result<Self> {
        let (mut file, block) = (File::create(folder.join("sync"))?, [b'x'; BYTES]);
        let writes = pace.pick(WRITES, WRITES_MIN);
        // The file has its length before, so that only data is written, as in a log that has been in use.
        for _ in 0..writes {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        let (began, mut found) = (Instant::now(), Vec::new());
        while found.len() < writes && (found.len() < WRITES_MIN || began.elapsed() < LONG) {
            let called = Instant::now();
            file.write_all(&block)?;
            file.sync_data()?;
            found.push(called.elapsed().as_secs_f64() * 1e6);
        }
        Ok(Self { median: quantile(&mut found, 0.5), p95: quantile(&mut found, 0.95) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_on_one_line() {
        let machine = Machine {
            cpu: "Some CPU".to_owned(),
            cores: 2,
            os: "linux 6.1 x86_64".to_owned(),
            file_system: Some("ext4".to_owned()),
        };
        assert_eq!(machine.text(), "Some CPU, 2 cores, linux 6.1 x86_64, ext4");
        let here = Machine::here(Path::new("."));
        assert!(!here.text().contains('\n') && here.cores > 0, "{here:?}");
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        let on = |kind: &str| {
            let file_system = Some(kind.to_owned());
            Machine { cpu: String::new(), cores: 1, os: String::new(), file_system }.is_in_memory()
        };
        assert!(on("tmpfs") && !on("ext4"));
    }
}
