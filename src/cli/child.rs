//! Front: one program while it runs, with all that it has started: a group of processes.
//!
//! Two threads read what it writes, a third waits for its end; the body's own thread hears of both on one channel
//! and looks between whether it is to stop. The group is killed before its first process is forgotten, so
//! that no number of a process is used which may be another's by now.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::context::{Context, StopReason};
use crate::outcome::{Failure, Result};
use crate::progress::LogLevel;

/// How soon a program hears that its task is to stop.
const LOOK: Duration = Duration::from_millis(50);
/// How long it has to end by itself then …
const GRACE: Duration = Duration::from_secs(5);
/// … and where its worker ends, which waits for 1 s.
const GRACE_AT_SHUTDOWN: Duration = Duration::from_millis(500);
/// How long the rest of the output is waited for, once the program has ended.
const REST: Duration = Duration::from_secs(1);
/// What is kept of the end of the output.
const TAIL_BYTES: usize = 64 * 1024;
/// A longer line is several.
const LINE_BYTES: u64 = 8 * 1024;

/// What is to be run.
pub(super) struct Program<'a> {
    pub(super) file: &'a Path,
    /// What it is called, then its arguments.
    pub(super) argv: &'a [String],
    pub(super) dir: Option<&'a str>,
    /// All that it finds in its environment; the last of a name counts.
    pub(super) env: Vec<(&'a str, &'a str)>,
}

/// What a program has come to.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// All that it has written.
    pub(super) bytes: u64,
    tail: VecDeque<u8>,
}

impl Ended {
    /// Leaves the end of the output as an artifact.
    pub(super) fn left(&self, ctx: &Context) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        let (first, second) = self.tail.as_slices();
        let tail = String::from_utf8_lossy(&[first, second].concat()).into_owned();
        let missing = self.bytes - self.tail.len() as u64;
        let text = match missing {
            0 => tail,
            missing => format!("[{missing} bytes before this are not kept]\n{tail}"),
        };
        ctx.artifact("output.txt").media_type("text/plain; charset=utf-8").text(text)?;
        Ok(())
    }
}

/// What the threads beside it tell.
enum News {
    Line(LogLevel, Vec<u8>),
    /// Nothing more comes out of one of its two pipes.
    Dry,
    Over,
}

/// Runs it to its end, or to that of its task.
pub(super) fn run(ctx: &Context, program: &Program<'_>) -> Result<Ended> {
    let begun = Group::begin(&mut command(ctx, program));
    let (group, mut child) = begun.map_err(|error| {
        let told = format!("cannot_start: argv[0] is {:?}: {error}", program.argv[0]);
        Failure::give_up(told).code("cannot_start").expected()
    })?;
    let (tell, heard) = bounded(64);
    read(child.stdout.take(), LogLevel::Info, &tell);
    read(child.stderr.take(), LogLevel::Warning, &tell);
    group.await_end(tell);
    let mut ended = Ended { code: None, signal: None, bytes: 0, tail: VecDeque::new() };
    let stopped = attend(ctx, &group, &heard, &mut ended);
    // What it has left behind ends with it.
    group.kill();
    drain(ctx, &heard, &mut ended);
    let status = group.end(&mut child)?;
    ended.code = status.code();
    ended.signal = status.signal();
    match stopped {
        Some(_) => ctx.check().map(|()| ended),
        None => Ok(ended),
    }
}

fn command(ctx: &Context, program: &Program<'_>) -> Command {
    let mut command = Command::new(program.file);
    command
        .arg0(&program.argv[0])
        .args(&program.argv[1..])
        .env_clear()
        .envs(program.env.iter().copied());
    command.env("LITEWORK_ATTEMPT", ctx.attempt().to_string());
    if let Some(id) = ctx.id() {
        command.env("LITEWORK_TASK", id.to_string());
    }
    if let Some(dir) = program.dir {
        command.current_dir(dir);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    command
}

/// Reads one of its pipes, line by line, on a thread of its own.
fn read(pipe: Option<impl Read + Send + 'static>, level: LogLevel, tell: &Sender<News>) {
    let tell = tell.clone();
    let body = move || {
        let mut lines = pipe.map(BufReader::new);
        while let Some(line) = lines.as_mut().and_then(next_line) {
            if tell.send(News::Line(level, line)).is_err() {
                return;
            }
        }
        // Whoever has heard enough is not there any more.
        let _gone = tell.send(News::Dry);
    };
    std::thread::spawn(body);
}

/// The next line with its end; none at the end of all.
fn next_line(lines: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = lines.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).ok()?;
    (read > 0).then_some(line)
}

/// Hears it out until it has ended; says why where it was stopped.
fn attend(
    ctx: &Context,
    group: &Group,
    heard: &Receiver<News>,
    ended: &mut Ended,
) -> Option<StopReason> {
    let mut asked: Option<(StopReason, Instant)> = None;
    loop {
        match heard.recv_timeout(LOOK) {
            Ok(News::Line(level, line)) => ended.note(ctx, level, &line),
            Ok(News::Dry) | Err(RecvTimeoutError::Timeout) => {}
            Ok(News::Over) | Err(RecvTimeoutError::Disconnected) => break,
        }
        match (asked, ctx.stop_reason()) {
            (None, Some(reason)) => {
                group.ask();
                asked = Some((reason, Instant::now() + grace(reason)));
            }
            (Some((_, until)), _) if Instant::now() >= until => group.kill(),
            _ => {}
        }
    }
    asked.map(|(reason, _)| reason)
}

fn grace(reason: StopReason) -> Duration {
    match reason {
        StopReason::Shutdown => GRACE_AT_SHUTDOWN,
        StopReason::Cancelled | StopReason::Timeout | StopReason::LeaseLost => GRACE,
    }
}

/// What was written before the end and not read yet.
fn drain(ctx: &Context, heard: &Receiver<News>, ended: &mut Ended) {
    let until = Instant::now() + REST;
    while let Ok(news) = heard.recv_deadline(until) {
        if let News::Line(level, line) = news {
            ended.note(ctx, level, &line);
        }
    }
}

impl Ended {
    fn note(&mut self, ctx: &Context, level: LogLevel, line: &[u8]) {
        self.bytes += line.len() as u64;
        self.tail.extend(line);
        let over = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        let text = String::from_utf8_lossy(line);
        ctx.log_at(level, text.trim_end_matches(['\n', '\r']));
    }
}

/// All that run now.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all programs with what they have started, as this process is about to end. None begins as long as the answer is
/// kept.
pub(super) fn kill_all() -> impl Drop {
    let groups = groups();
    for group in &*groups {
        // It has ended by itself.
        let _gone = kill_process_group(*group, Signal::KILL);
    }
    groups
}

/// The processes of one program. Its number is nobody else's until the first of them is waited for.
struct Group(Option<Pid>);

impl Group {
    fn begin(command: &mut Command) -> std::io::Result<(Self, Child)> {
        let mut groups = groups();
        let child = command.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        groups.extend(group);
        Ok((Self(group), child))
    }

    /// Takes what is left of the first of them; its number may be another's from then on.
    fn end(self, child: &mut Child) -> std::io::Result<ExitStatus> {
        groups().retain(|group| Some(*group) != self.0);
        child.wait()
    }

    /// Tells when the first of them has ended, which stays to be waited for.
    fn await_end(&self, tell: Sender<News>) {
        let first = self.0;
        std::thread::spawn(move || {
            let still = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            if let Some(first) = first {
                while matches!(waitid(WaitId::Pid(first), still), Err(Errno::INTR)) {}
            }
            let _gone = tell.send(News::Over);
        });
    }

    /// Asks all of them to end.
    fn ask(&self) {
        self.signal(Signal::TERM);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // None of them is left, or it has become somebody else's: nothing to be done about either.
            let _gone = kill_process_group(group, signal);
        }
    }
}
