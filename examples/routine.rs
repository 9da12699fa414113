//! Routine work: three schedules that code seeds, and what becomes of them while the program runs. Stop it
//! with Ctrl-C, wait a little and start it again on the same file: what was missed meanwhile runs once, late.
//!
//!     cargo run --release --features cron --example routine [-- QUEUE_FILE [SECONDS]]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use litework::{Client, Context, Result, Schedule, ScheduleRecord, SlotKind, Timestamp, task};

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

/// One line for each run: when, which schedule, and whether it was on time.
fn tell(ctx: &Context, what: &str) {
    let Some(slot) = ctx.slot() else { return };
    let when = match slot.kind {
        SlotKind::CatchUp => format!("late by {} s, as nobody was there", slot.late.as_secs()),
        _ => "on time".to_owned(),
    };
    println!("  {}  {:<8}{what}, {when}", time(slot.at), slot.name);
}

fn main() -> Result<()> {
    let (queue, span) = arguments()?;
    let second = Duration::from_secs(1);
    let tasks = Client::builder(&queue)
        .register(tidy)
        .register(fetch)
        .register(report)
        .workers(2)
        .schedule(
            Schedule::every("tidy", 5 * second, tidy::with("downloads"))
                .describe("Removes what nobody needs"),
        )
        .schedule(Schedule::after_finish("fetch", 7 * second, fetch::with("inbox")))
        // Every ten seconds here, so that there is something to see; at seven on workdays: `0 7 * * MON-FRI`.
        .schedule(
            Schedule::cron("report", "*/10 * * * * *", report::with())
                .zone("Europe/Berlin")
                .grace(5 * second),
        )
        .open()?;

    println!("schedules in {}:", queue.display());
    for schedule in tasks.schedules().list("", 10)? {
        let timing = schedule.timing.as_ref().map(ToString::to_string).unwrap_or_default();
        let next = schedule.next_at.map_or("after its run".to_owned(), time);
        println!("  {:<8}{timing}; next: {next}", schedule.name);
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

fn summary(schedule: &ScheduleRecord) -> String {
    let last = schedule.last.as_ref().map_or("never".to_owned(), |last| time(last.at));
    format!(
        "{:<8}{} runs, {} missed, {} skipped; last: {last}",
        schedule.name, schedule.runs, schedule.missed_slots, schedule.overlapped_slots
    )
}

fn time(at: Timestamp) -> String {
    at.to_chrono().format("%H:%M:%S").to_string()
}

fn arguments() -> Result<(PathBuf, Duration)> {
    let mut arguments = std::env::args().skip(1);
    let queue = arguments.next().map(PathBuf::from);
    let seconds = arguments.next().map_or(Ok(21), |text| text.parse())?;
    let queue = queue.unwrap_or_else(|| std::env::temp_dir().join("litework-routine.db"));
    Ok((queue, Duration::from_secs(seconds)))
}
