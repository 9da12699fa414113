//! A worker program that ends well: Ctrl-C once lets running tasks end for 10 s and hands back the
//! rest; Ctrl-C twice ends at once, with exit code 130. A service manager's SIGTERM counts as well.
//!
//!     cargo run --release --example worker [-- QUEUE_FILE [SECONDS_A_TASK]]

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use litework::{Client, Context, Filter, Result, State, task};

const USAGE: &str = "usage: worker [QUEUE_FILE [SECONDS_A_TASK]]";
const THREADS: usize = 2;
const TASKS: usize = 6;
/// How long running tasks may go on after the first Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// What a shell reports for a program that Ctrl-C has ended: 128 and the number of the signal.
const EXIT_INTERRUPTED: i32 = 130;

/// Stands in for work that takes a while. It looks often at whether it is asked to stop.
#[task(name = "worker.convert", attempts = 3)]
fn convert(ctx: &Context, picture: &str, seconds: u64) -> Result<String> {
    println!("started {picture}");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        ctx.check()?; // after the grace this ends the body, and the task is handed back
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("ended {picture}");
    Ok(format!("{picture}.png"))
}

fn main() -> Result<()> {
    let Some((queue, seconds)) = arguments()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let interrupted = interrupts()?;
    let tasks = Client::builder(&queue).register(convert).workers(THREADS).open()?;
    if unfinished(&tasks)? == 0 {
        let names = (1..=TASKS).map(|number| format!("picture-{number}"));
        tasks.enqueue_many(names.map(|name| convert::with(name, seconds)))?;
    }
    println!("{} tasks in {}; Ctrl-C ends this program", unfinished(&tasks)?, queue.display());

    interrupted.recv()?;
    println!("stopping: {} s for what runs; Ctrl-C again ends at once", GRACE.as_secs());
    let stopped = tasks.shutdown(GRACE)?;
    println!("{} running tasks ended by themselves", stopped.finished);
    println!("{} tasks were handed back and will run again", stopped.handed_back);
    if stopped.still_running > 0 {
        println!("{} bodies did not stop; they end with this program", stopped.still_running);
    }
    println!("{} tasks are left for the next start", unfinished(&tasks)?);
    Ok(())
}

/// The first Ctrl-C is told to `main`; the second ends the program. The library itself installs no
/// handler: what a signal means is the program's to say.
fn interrupts() -> Result<Receiver<()>> {
    let (tell, interrupted) = channel();
    let mut first = true;
    ctrlc::set_handler(move || {
        if !std::mem::take(&mut first) {
            // Tasks that run count as crashed: whoever opens the file next runs them again.
            eprintln!("ended at once");
            std::process::exit(EXIT_INTERRUPTED);
        }
        // Where nobody listens any more, the program is ending by itself.
        let _ending = tell.send(());
    })?;
    Ok(interrupted)
}

fn unfinished(tasks: &Client) -> Result<u64> {
    let states = State::ALL.iter().filter(|state| !state.is_final());
    let filter = states.fold(Filter::new(), |filter, state| filter.state(*state));
    Ok(tasks.count(&filter)?)
}

/// `[QUEUE_FILE [SECONDS_A_TASK]]`: `worker.db` in the temporary folder, and 3 s. None where help is asked for.
fn arguments() -> Result<Option<(PathBuf, u64)>> {
    let mut given = std::env::args_os().skip(1).peekable();
    match given.peek().and_then(|first| first.to_str()) {
        Some("--help" | "-h") => return Ok(None),
        Some(flag) if flag.starts_with('-') => Err(format!("unknown flag {flag}; {USAGE}"))?,
        _ => {}
    }
    let queue = given.next().map_or_else(|| std::env::temp_dir().join("worker.db"), PathBuf::from);
    let seconds = match given.next() {
        None => 3,
        Some(text) => text.to_str().and_then(|text| text.parse().ok()).ok_or(USAGE)?,
    };
    match given.next() {
        None => Ok(Some((queue, seconds))),
        Some(_) => Err(USAGE)?,
    }
}
