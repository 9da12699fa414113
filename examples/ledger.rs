//! Books payments exactly once, while the worker that books them is killed again and again: the row of
//! the ledger, the receipt to be sent and the end of the task are one commit.
//!
//!     cargo run --release --example ledger [-- PAYMENTS]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use litework::sqlite::{ClientExt, ContextExt, WriteError};
use litework::{Client, Context, Filter, Mode, Result, State, task};

const USAGE: &str = "usage: ledger [PAYMENTS], a whole number, 400 unless it is said";

/// Asks the bank, which takes a moment, and books what it says.
#[task(attempts = 20)]
pub fn pay(ctx: &Context, number: i64, cents: i64) -> Result<i64> {
    // Asked once more only by an attempt whose process dies before the answer is stored.
    let fee = ctx.step("ask-the-bank", || {
        std::thread::sleep(Duration::from_millis(1));
        Ok(cents / 100)
    })?;
    let booked = ctx.complete_in(|tx| -> Result<i64> {
        let row = "INSERT INTO ledger (number, cents) VALUES (?1, ?2)";
        tx.connection().execute(row, (number, cents - fee))?;
        tx.enqueue(receipt::with(number))?;
        Ok(cents - fee)
    })?;
    println!("booked {number}");
    Ok(booked)
}

/// Would send a mail.
#[task]
pub fn receipt(number: i64) {
    let _mail = format!("payment {number} was booked");
}

/// What has not ended yet.
fn unfinished() -> Filter {
    Filter::new().state(State::Ready).state(State::Scheduled).state(State::Running)
}

fn open(path: &Path, mode: Mode) -> Result<Client> {
    let builder = Client::builder(path).register(pay).register(receipt);
    Ok(builder.mode(mode).workers(2).open()?)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, path] = arguments.as_slice()
        && word == "work"
    {
        return work(Path::new(path));
    }
    let payments = match arguments.as_slice() {
        [] => 400,
        [word] if word == "--help" || word == "-h" => {
            println!("{USAGE}");
            return Ok(());
        }
        [number] => number.parse().map_err(|_| format!("{number:?} is no number; {USAGE}"))?,
        _ => Err(USAGE)?,
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.db");
    let tasks = open(&path, Mode::Enqueue)?;
    tasks.write(|tx| {
        tx.connection().execute_batch("CREATE TABLE ledger (number INTEGER, cents INTEGER)")?;
        Ok::<_, WriteError>(())
    })?;
    tasks.enqueue_many((0..payments).map(|number| pay::with(number, 1_000 + number)))?;
    let kills = kill_workers_until_all_is_done(&tasks, &path)?;
    let (rows, numbers) = tasks.write(|tx| {
        let sql = "SELECT count(*), count(DISTINCT number) FROM ledger";
        let counted = tx.connection().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok::<(i64, i64), WriteError>(counted)
    })?;
    let paid = tasks.count(&Filter::new().kind("pay").state(State::Succeeded))?;
    let receipts = tasks.count(&Filter::new().kind("receipt"))?;
    println!("workers killed       {kills}");
    println!("payments succeeded   {paid}");
    println!("rows of the ledger   {rows}, of {numbers} payments");
    println!("receipts             {receipts}");
    Ok(())
}

/// A worker: works until nothing is left, or until it is killed.
fn work(path: &Path) -> Result<()> {
    let tasks = open(path, Mode::Pool)?;
    while tasks.count(&unfinished())? > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    tasks.shutdown(Duration::from_secs(10))?;
    Ok(())
}

/// Each worker may book some 5 to 25 payments.
fn kill_workers_until_all_is_done(tasks: &Client, path: &Path) -> Result<usize> {
    let mut kills = 0;
    while tasks.count(&unfinished())? > 0 {
        let mut command = Command::new(std::env::current_exe()?);
        let mut worker = command.arg("work").arg(path).stdout(Stdio::piped()).spawn()?;
        let said = worker.stdout.take().map(BufReader::new);
        let booked = said.map_or(0, |said| said.lines().take(5 + 7 * kills % 21).count());
        println!("a worker booked {booked} payments and was killed");
        worker.kill()?;
        worker.wait()?;
        kills += 1;
    }
    Ok(kills)
}
