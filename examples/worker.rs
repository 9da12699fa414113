//! A worker program that ends well: Ctrl-C once lets running tasks end for 10 s and hands back the
//! rest; Ctrl-C twice hands back what runs, too, as if it had not begun, with exit code 130. A service manager's SIGTERM
//! counts as well.
//!
//!     cargo run --release --example worker [-- QUEUE_FILE [SECONDS_A_TASK]]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use litework::{Client, Context, Error, Filter, Result, State, Stopped, task};

const USAGE: &str = "usage: worker [QUEUE_FILE [SECONDS_A_TASK]]";
const THREADS: usize = 2;
const TASKS: usize = 6;
/// How long running tasks may go on after the first Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// What a shell reports for a program that Ctrl-C has ended: 128 and the number of the signal.
const EXIT_INTERRUPTED: u8 = 130;

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

/// What `main` waits for.
enum Word {
    Interrupt,
    Stopped(Result<Stopped, Error>),
}

fn main() -> Result<ExitCode> {
    let Some((queue, seconds)) = arguments()? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let (tell, words) = channel();
    tell_of_interrupts(tell.clone())?;
    let tasks = Client::builder(&queue).register(convert).workers(THREADS).open()?;
    if unfinished(&tasks)? == 0 {
        let names = (1..=TASKS).map(|number| format!("picture-{number}"));
        tasks.enqueue_many(names.map(|name| convert::with(name, seconds)))?;
    }
    println!("{} tasks in {}; Ctrl-C ends this program", unfinished(&tasks)?, queue.display());

    words.recv()?;
    println!("stopping: {} s for what runs; Ctrl-C again hands it back", GRACE.as_secs());
    let patient = tasks.clone();
    std::thread::spawn(move || tell.send(Word::Stopped(patient.shutdown(GRACE))));
    let (stopped, code) = match words.recv()? {
        Word::Stopped(stopped) => (stopped?, ExitCode::SUCCESS),
        // It cuts the other's grace short.
        Word::Interrupt => (tasks.shutdown(Duration::ZERO)?, ExitCode::from(EXIT_INTERRUPTED)),
    };
    println!("{} running tasks ended by themselves", stopped.finished);
    println!("{} tasks were handed back and will run again", stopped.handed_back);
    if stopped.still_running > 0 {
        println!("{} bodies did not stop; they end with this program", stopped.still_running);
    }
    println!("{} tasks are left for the next start", unfinished(&tasks)?);
    Ok(code)
}

/// The first Ctrl-C and the second are told to `main`; the third ends the program. The library itself installs no
/// handler: what a signal means is the program's to say.
fn tell_of_interrupts(tell: Sender<Word>) -> Result<()> {
    let mut count = 0;
    ctrlc::set_handler(move || {
        count += 1;
        if count > 2 {
            // Tasks that run count as crashed: whoever opens the file next runs them again.
            std::process::exit(EXIT_INTERRUPTED.into());
        }
        // Where nobody listens any more, the program is ending by itself.
        let _ending = tell.send(Word::Interrupt);
    })?;
    Ok(())
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
