//! Operate: child processes of a benchmark, which are the same program in another role.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use litework::Durability;

use super::measure::Measured;

/// Says which role this process has been started in, on which file and at which level.
const ROLE: &str = "LITEWORK_BENCH_ROLE";
const FILE: &str = "LITEWORK_BENCH_FILE";
const LEVEL: &str = "LITEWORK_BENCH_LEVEL";

/// The role and file of this process, if it is a child.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FILE)?.into()))
}

/// The level a child was started with.
pub(crate) fn level() -> Durability {
    match std::env::var(LEVEL).as_deref() {
        Ok("Normal") => Durability::Normal,
        _ => Durability::Full,
    }
}

/// What a child does until its parent lets it go: it returns when standard input ends.
pub(crate) fn await_parent() {
    let mut nothing = Vec::new();
    // One that cannot be read has ended as well.
    let _ended = std::io::stdin().read_to_end(&mut nothing);
}

/// A child that works on a file and says lines.
pub(crate) struct Helper {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Helper {
    pub(crate) fn start(role: &str, file: &Path, durability: Durability) -> Measured<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, role)
            .env(FILE, file)
            .env(LEVEL, format!("{durability:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (say, lines) = channel();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let helper = Self { child, stdin, lines };
        std::thread::Builder::new().spawn(move || {
            for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                let heard = line.is_ok_and(|line| say.send(line).is_ok());
                if !heard {
                    break;
                }
            }
        })?;
        Ok(helper)
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
