//! Child processes for tests, and what a checker asks of the file they leave behind.
//!
//! A child is the test program itself, started again with `LW_ROLE` set and only its test
//! `a_child_process_does_its_part` selected. It tells its parent where it is by lines on its standard output, so the
//! parent never has to guess with a sleep, and it waits at its standard input, so it ends with its
//! parent. What has to be remembered beyond a kill is appended to a plain file, one write a line.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

/// Longest wait for anything; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a story takes no longer than it may: its best time counts, as the machine may have other things to do.
pub(crate) fn within(bound: Duration, mut story: impl FnMut() -> Duration) -> Result<(), String> {
    let mut spans = Vec::new();
    while spans.len() < 5 {
        let span = story();
        if span < bound {
            return Ok(());
        }
        spans.push(span);
    }
    Err(format!("not within {bound:?}: {spans:?}"))
}

/// What this process was started for; `None` in the test program itself.
pub(crate) fn role() -> Option<String> {
    std::env::var("LW_ROLE").ok()
}

/// A value given to this child.
pub(crate) fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A number given to this child.
pub(crate) fn number(name: &str) -> u64 {
    var(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Tells the parent something.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{line}").and_then(|()| out.flush()).unwrap();
}

/// Words of the parent that nobody has asked for yet.
static WORDS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Waits for the parent: until it closes the pipe, has gone, or says `shutdown now`. Its words go to the bodies.
pub(crate) fn rest() {
    for word in std::io::stdin().lines().map_while(Result::ok) {
        if word == "shutdown now" {
            return;
        }
        *WORDS.0.lock().unwrap() += 1;
        WORDS.1.notify_all();
    }
}

/// Blocks a body until the parent has said a word, while the main thread rests.
pub(crate) fn wait_for_word() {
    let words = WORDS.0.lock().unwrap();
    *WORDS.1.wait_while(words, |words| *words == 0).unwrap() -= 1;
}

/// Blocks the main thread until the parent has said a word.
pub(crate) fn read_word() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Appends one line with one write, which a kill cannot tear apart.
pub(crate) fn append(log: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Nanoseconds on the one clock that all processes share.
pub(crate) fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// A child process and the lines it says.
pub(crate) struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What was read while something else was waited for.
    pub(crate) heard: Vec<String>,
}

impl Child {
    /// Starts this test program again for a role.
    pub(crate) fn start(role: &str, variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["a_child_process_does_its_part", "--exact", "--nocapture"]);
        Self::from_command(command, role, variables)
    }

    /// The same through a shell line, in which `"$@"` stands for the program.
    pub(crate) fn start_in_shell(line: &str, role: &str, variables: &[(&str, String)]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", line, "sh"]).arg(std::env::current_exe().unwrap());
        command.args(["a_child_process_does_its_part", "--exact", "--nocapture"]);
        Self::from_command(command, role, variables)
    }

    pub(crate) fn from_command(
        mut command: Command,
        role: &str,
        variables: &[(&str, String)],
    ) -> Self {
        command.env("LW_ROLE", role).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        if std::env::var_os("LW_SHOW").is_none() {
            command.stderr(Stdio::null());
        }
        let mut process = command.spawn().unwrap();
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, stdin, lines, heard: Vec::new() }
    }

    /// The child's process number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line that begins so; `None` when the child ended without saying it.
    pub(crate) fn hear(&mut self, beginning: &str) -> Option<String> {
        self.hear_one_of(&[beginning])
    }

    fn hear_one_of(&mut self, beginnings: &[&str]) -> Option<String> {
        let fits = |line: &String| beginnings.iter().any(|begins| line.starts_with(begins));
        if let Some(at) = self.heard.iter().position(fits) {
            return Some(self.heard.remove(at));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if fits(&line) => return Some(line),
                Ok(line) => self.heard.push(line),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no {beginnings:?} within {PATIENCE:?}; heard {:?}", self.heard)
                }
            }
        }
    }

    /// [`hear`](Self::hear) of a line that must come.
    pub(crate) fn expect(&mut self, beginning: &str) -> String {
        self.expect_one_of(&[beginning])
    }

    /// The first line that begins in one of these ways.
    pub(crate) fn expect_one_of(&mut self, beginnings: &[&str]) -> String {
        let line = self.hear_one_of(beginnings);
        line.unwrap_or_else(|| panic!("ended without {beginnings:?}; heard {:?}", self.heard))
    }

    /// Listens for this long, whatever is said.
    pub(crate) fn listen_for(&mut self, span: Duration) {
        let until = Instant::now() + span;
        while let Ok(line) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.heard.push(line);
        }
    }

    /// Listens until what was heard is enough.
    pub(crate) fn listen_until(&mut self, enough: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !enough(&self.heard) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            self.heard.push(line.unwrap_or_else(|_| panic!("not enough: {:?}", self.heard)));
        }
    }

    /// Listens to what a child had still said before its end.
    pub(crate) fn listen_to_the_end(&mut self) {
        self.heard.extend(self.lines.iter());
    }

    /// Tells the child to go on: one line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), pid]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// Kills it with signal 9 and waits until it is gone; returns when the signal was sent.
    pub(crate) fn kill(&mut self) -> u128 {
        let at = nanos();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        at
    }

    /// Closes its standard input and waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that has ended already cannot be killed, and need not be.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A folder with a queue file and the logs beside it.
pub(crate) struct Field {
    folder: tempfile::TempDir,
}

impl Default for Field {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
}

impl Field {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path("tasks.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// The variables every child gets.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        vec![("LW_DB", text(self.db())), ("LW_LOG", text(self.log()))]
    }

    /// The lines of the log.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// What must hold in any file at any moment: each query finds the rows that break it.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "state and reason fit",
        "SELECT id FROM litework_task WHERE (CASE state
           WHEN 'scheduled' THEN reason IN ('delayed', 'retry', 'snoozed', 'rate')
           WHEN 'waiting' THEN reason IN ('parents', 'lock', 'limit')
           WHEN 'failed' THEN reason IS NOT NULL
           WHEN 'cancelled' THEN reason IS NOT NULL
           WHEN 'skipped' THEN reason IS NOT NULL
           ELSE reason IS NULL END) IS NOT TRUE",
    ),
    (
        "finished_at is set exactly in final states",
        "SELECT id FROM litework_task WHERE (finished_at IS NOT NULL)
           <> (state IN ('succeeded', 'failed', 'cancelled', 'skipped'))",
    ),
    (
        "what runs has a live worker",
        "SELECT t.id FROM litework_task t LEFT JOIN litework_worker w ON w.id = t.worker
           WHERE t.state = 'running' AND (w.id IS NULL OR w.left_at IS NOT NULL)",
    ),
    (
        "what runs has begun an attempt",
        "SELECT id FROM litework_task WHERE state = 'running' AND (attempt < 1 OR started_at IS NULL)",
    ),
    (
        "attempts stay in their range",
        "SELECT id FROM litework_task WHERE attempt < 0 OR attempt > attempts_max OR crashes > attempt",
    ),
    (
        "every task has its lane",
        // But for the newest, where that was deleted: it keeps its number from being given out again.
        "SELECT id FROM litework_task WHERE lane NOT IN (SELECT id FROM litework_lane)
           AND NOT (lane = 0 AND finished_at = 0)",
    ),
    (
        "every task has its arguments",
        "SELECT id FROM litework_task WHERE arguments IS NULL
           AND NOT EXISTS (SELECT 1 FROM litework_payload p WHERE p.id = litework_task.id * 2)",
    ),
    (
        "a crash has a record",
        "SELECT id FROM litework_task WHERE crashes <> (SELECT count(*) FROM litework_error e
           WHERE e.task = litework_task.id AND e.outcome = 'crashed')",
    ),
    (
        "every step has its task",
        "SELECT task FROM litework_step WHERE task NOT IN (SELECT id FROM litework_task)",
    ),
    (
        "what was said has its task",
        "SELECT task FROM (SELECT task FROM litework_progress UNION SELECT task FROM litework_log
           UNION SELECT task FROM litework_artifact WHERE state <> 'gone')
           WHERE task NOT IN (SELECT id FROM litework_task)",
    ),
    (
        "every part has its artifact",
        "SELECT id FROM litework_part WHERE id / 4194304 NOT IN (SELECT id FROM litework_artifact)",
    ),
    (
        "the bytes of artifacts are counted",
        "SELECT 1 WHERE (SELECT coalesce(sum(length(body)), 0) FROM litework_part)
           + (SELECT coalesce(sum(size), 0) FROM litework_artifact WHERE beside = 1)
           <> coalesce((SELECT value FROM litework_meta WHERE name = 'artifact_bytes'), 0)",
    ),
    (
        "no key is held twice",
        "SELECT min(id) FROM litework_task WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1",
    ),
];

/// Everything that is wrong with a file; empty when nothing is.
pub(crate) fn faults(conn: &Connection) -> Vec<String> {
    let mut found = Vec::new();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    if check != "ok" {
        found.push(format!("integrity_check: {check}"));
    }
    for (name, sql) in INVARIANTS {
        let mut query = conn.prepare(sql).unwrap();
        let rows = query.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        let rows: Vec<i64> = rows.map(Result::unwrap).collect();
        if !rows.is_empty() {
            found.push(format!("{name}: rows {rows:?}"));
        }
    }
    found
}

/// What threads have noted as started: rows and attempts.
pub(crate) type Noted = HashSet<(i64, u32)>;

/// What stands in the slots files beside a queue file, each 16 bytes of row and attempt, by the stem of the
/// file.
pub(crate) fn slots_by_stem(db: &Path) -> HashMap<String, Noted> {
    let folder = format!("{}-litework", db.display());
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    let slots = paths.filter(|path| path.extension().is_some_and(|end| end == "slots"));
    let number = |slot: &[u8]| {
        let row = i64::from_le_bytes(slot[..8].try_into().unwrap());
        (row, u32::from_le_bytes(slot[8..12].try_into().unwrap()))
    };
    // Whoever has rescued its process may take a file away meanwhile.
    let read = slots.filter_map(|path| {
        let bytes = std::fs::read(&path).ok()?;
        let stem = path.file_stem()?.to_str()?.to_owned();
        Some((stem, bytes.chunks_exact(16).map(number).collect()))
    });
    read.collect()
}

/// The same of all processes together.
pub(crate) fn slots(db: &Path) -> Noted {
    slots_by_stem(db).into_values().flatten().collect()
}

/// What dead processes had noted as started, read as soon as each was dead.
#[derive(Default)]
pub(crate) struct LastNotes {
    left: HashMap<u32, HashMap<String, Noted>>,
}

impl LastNotes {
    /// This process has just been killed.
    pub(crate) fn read(&mut self, pid: u32, db: &Path) {
        self.left.insert(pid, slots_by_stem(db));
    }

    /// Whether this process was killed.
    pub(crate) fn is_dead(&self, pid: u32) -> bool {
        self.left.contains_key(&pid)
    }

    /// What it had noted, in the file whose stem stands in its row; none where another process had rescued it
    /// before that could be read.
    pub(crate) fn of(&self, pid: u32, stem: &str) -> Option<&Noted> {
        self.left.get(&pid)?.get(stem)
    }
}

/// A plain connection for a checker.
pub(crate) fn look_into(db: &Path) -> Connection {
    let conn = Connection::open(db).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    conn
}

/// Tasks by state.
pub(crate) fn states(conn: &Connection) -> HashMap<String, i64> {
    let mut query =
        conn.prepare("SELECT state, count(*) FROM litework_task GROUP BY state").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}
