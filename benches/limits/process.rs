//! Child processes of the bench, which are the bench itself in another role, and what `/proc` says
//! of a process. The rows that need it are measured on Linux only.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use litework::Durability;

/// Says which role this process has been started in, and on which file.
const ROLE: &str = "LITEWORK_LIMITS_ROLE";
const FILE: &str = "LITEWORK_LIMITS_FILE";
/// The kernel counts the time of a process in hundredths of a second (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The role and file of this process, if it is a child.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FILE)?.into()))
}

/// What a child does until its parent lets it go: it returns when standard input ends.
pub(crate) fn await_parent() {
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).expect("standard input is a pipe");
}

/// A child that works on a file and says lines.
pub(crate) struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Helper {
    pub(crate) fn start(role: &str, file: &Path, durability: Durability) -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(own)
            .env(ROLE, role)
            .env(FILE, file)
            .env("LITEWORK_LIMITS_LEVEL", format!("{durability:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let stdout = child.stdout.take().expect("it is a pipe");
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as no process can resist.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
    }

    /// Its next line; `None` if there is none in this time.
    pub(crate) fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself now; one that has died already is no loss.
        let _ended = self.child.wait();
    }
}

/// The level a child was started with.
pub(crate) fn level() -> Durability {
    match std::env::var("LITEWORK_LIMITS_LEVEL").as_deref() {
        Ok("Normal") => Durability::Normal,
        _ => Durability::Full,
    }
}

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
