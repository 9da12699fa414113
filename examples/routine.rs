//! Routine work: three schedules that code seeds, and what becomes of them while the program runs. Stop it
//! with Ctrl-C, wait a little and start it again on the same file: what was missed meanwhile runs once, late.
//!
//!     cargo run --release --features cron --example routine [-- QUEUE_FILE [SECONDS]]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use litework::{
    Client, Clock, Context, Result, Schedule, ScheduleRecord, SlotKind, SystemClock, Timestamp,
    task,
};

const USAGE: &str = "usage: routine [QUEUE_FILE [SECONDS]]";

/// Removes what nobody needs.
#[task(name = "routine.tidy")]
fn tidy(ctx: &Context, folder: &str) {
    tell(ctx, &format!("tidied {folder}"));
}

/// Asks a mailbox for new mail.
#[task(name = "routine.fetch")]
fn fetch(ctx: &Context, mailbox: &str) {
    tell(ctx, &format!("fetched {mailbox}"));
}

/// Sends the report of the day.
#[task(name = "routine.report")]
fn report(ctx: &Context) {
    tell(ctx, "sent the report");
}

/// One line for each run: when it ran, which schedule, and how late it was where nobody was there in time.
fn tell(ctx: &Context, what: &str) {
    let Some(slot) = ctx.slot() else { return };
    let when = match slot.kind {
        SlotKind::CatchUp => {
            format!("late by {} s: its slot was {}", slot.late.as_secs(), time(slot.at))
        }
        _ => "on time".to_owned(),
    };
    println!("  {}  {:<8}{what}, {when}", time(SystemClock.now()), slot.name);
}

fn main() -> Result<()> {
    let Some((queue, span)) = arguments()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let second = Duration::from_secs(1);
    // The usual minute would call late runs on time, as the slots are so near to each other here.
    let grace = 3 * second;
    let tasks = Client::builder(&queue)
        .register(tidy)
        .register(fetch)
        .register(report)
        .workers(2)
        .schedule(
            Schedule::every("tidy", 5 * second, tidy::with("downloads"))
                .describe("Removes what nobody needs")
                .grace(grace),
        )
        .schedule(Schedule::after_finish("fetch", 7 * second, fetch::with("inbox")).grace(grace))
        // Every ten seconds here, so that there is something to see; at seven on workdays: `0 7 * * MON-FRI`.
        .schedule(
            Schedule::cron("report", "*/10 * * * * *", report::with())
                .zone("Europe/Berlin")
                .grace(grace),
        )
        .open()?;

    println!("schedules in {}:", queue.display());
    for schedule in tasks.schedules().list("", 10)? {
        let timing = schedule.timing.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("  {:<8}{timing}; next: {}", schedule.name, next(&schedule));
    }
    println!("what they do in the next {} s (times in UTC):", span.as_secs());
    let began = Instant::now();
    while began.elapsed() < span {
        std::thread::sleep(span.saturating_sub(began.elapsed()).min(second));
    }
    println!("in all:");
    for schedule in tasks.schedules().list("", 10)? {
        println!("  {}", summary(&schedule));
    }
    tasks.shutdown(Duration::from_secs(5))?;
    Ok(())
}

/// Its next slot, which has passed where nobody was there.
fn next(schedule: &ScheduleRecord) -> String {
    match schedule.next_at {
        None => "after its run".to_owned(),
        Some(at) if schedule.is_overdue(SystemClock.now()) => format!("{}, overdue", time(at)),
        Some(at) => time(at),
    }
}

fn summary(schedule: &ScheduleRecord) -> String {
    let last = schedule.last.as_ref().map_or("never".to_owned(), |last| time(last.fired_at));
    format!(
        "{:<8}{} runs, {} missed, {} skipped; last: {last}",
        schedule.name, schedule.runs, schedule.missed_slots, schedule.overlapped_slots
    )
}

fn time(at: Timestamp) -> String {
    at.to_chrono().format("%H:%M:%S").to_string()
}

/// None where somebody asks what they are.
fn arguments() -> Result<Option<(PathBuf, Duration)>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (queue, seconds) = match words[..] {
        ["--help" | "-h"] => return Ok(None),
        [] => (None, "21"),
        [queue] => (Some(queue), "21"),
        [queue, seconds] => (Some(queue), seconds),
        _ => Err(format!("{} arguments are too many; {USAGE}", words.len()))?,
    };
    if let Some(option) = queue.filter(|queue| queue.starts_with('-')) {
        Err(format!("{option:?} is no option; {USAGE}"))?;
    }
    let seconds =
        seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds; {USAGE}"))?;
    let queue =
        queue.map_or_else(|| std::env::temp_dir().join("litework-routine.db"), PathBuf::from);
    Ok(Some((queue, Duration::from_secs(seconds))))
}
