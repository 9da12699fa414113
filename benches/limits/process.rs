//! What `/proc` says of a process. The rows that need it are measured on Linux only.

/// The kernel counts the time of a process in hundredths of a second (`USER_HZ`).
const TICKS: f64 = 100.0;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The number behind a name in a status file.
fn status(path: &str, name: &str) -> Option<u64> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Memory of a process that no file backs, in MiB.
pub(crate) fn anonymous_mib(process: u32) -> Option<f64> {
    status(&format!("/proc/{process}/status"), "RssAnon:").map(|kib| kib as f64 / 1024.0)
}

/// Processor time that a process has used, in seconds.
pub(crate) fn processor_seconds(process: u32) -> f64 {
    let text = read(&format!("/proc/{process}/stat"));
    // The name of the program stands in brackets and may hold anything.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS
}

/// How often the threads of a process have gone to sleep.
pub(crate) fn sleeps(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it lives");
    let sleeps = threads.filter_map(|thread| {
        let file = thread.ok()?.path().join("status").display().to_string();
        status(&file, "voluntary_ctxt_switches:")
    });
    sleeps.sum()
}
