//! A program built with `panic = "abort"`, whose tasks panic: `panic_abort QUEUE_FILE [once|again]`.
//!
//! It opens the file with a pool of one thread, enqueues a task where it is told to, and serves until its
//! standard input is closed. A program that does not deserve its name ends with 3.

use std::io::Read;

use litework::{Client, Result, task};

/// Takes its process along.
#[task(name = "abort.panic")]
fn panics() -> Result<()> {
    panic!("the process goes down with its task")
}

fn main() -> Result<()> {
    if cfg!(panic = "unwind") {
        eprintln!("built with panic = \"unwind\"; try `cargo build --profile abort`");
        std::process::exit(3);
    }
    let mut given = std::env::args().skip(1);
    let db = given.next().ok_or("usage: panic_abort QUEUE_FILE [once|again]")?;
    let tasks = Client::builder(db).register(panics).workers(1).open()?;
    match given.next().as_deref() {
        Some("once") => drop(tasks.enqueue(panics::with().at_most_once(true))?),
        Some("again") => drop(tasks.enqueue(panics::with())?),
        _ => {}
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
