//! Bodies that fail: late, deaf to the word to stop, as expected, and with whatever error.

use std::time::Duration;

use litework::{
    Client, Context, Error, Failure, Filter, Mode, Pending, Reason, Result, State, task,
};

use crate::common::{Gate, LONG, Lab, Log, Runs, eventually};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Hears that it is to stop, and does not.
#[task(attempts = 2, timeout = "5ms", retry = [0s])]
fn deaf(ctx: &Context) -> Result<u32> {
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
    ctx.state::<Log>()?.note(format!("{:?}", ctx.stop_reason()));
    ctx.state::<Gate>()?.pass();
    Ok(ctx.attempt())
}

#[task]
fn quick(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("quick");
    Ok(())
}

/// Fails, but only after its time is up.
#[task(attempts = 1, timeout = "1ms")]
fn late(ctx: &Context) -> Result<()> {
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
    let error = std::io::Error::other("the shop is closed");
    let again = Failure::retry_after(60_000 * MILLISECOND, error);
    Err(again.code("closed").data(7.into()).expected())
}

/// Panics and goes on.
#[task]
fn brave() {
    assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
}

/// Hands on a panic that never went through the hook.
#[task(attempts = 1)]
fn hand_on() {
    std::panic::resume_unwind(Box::new("from elsewhere"));
}

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().stuck_after(MILLISECOND).register(deaf).register(quick);
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

/// Only a pool takes a lease away; in the caller a body keeps it however late it ends.
#[test]
fn a_body_that_ignores_its_time_out_loses_its_lease_and_is_marked_stuck() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let client = client(&lab, &log, &gate);
    let handle = client.enqueue(deaf::with()).unwrap();
    // The first attempt is given up while its thread still stands at the gate, so the second begins
    // beside it.
    gate.wait_for(2);
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "failed");
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Timeout)));
    assert!(task.stuck && task.attempt == 2);
    assert_eq!(log.words(), ["Some(Timeout)"; 2], "the token came first");
    gate.open();
    let stopped = client.shutdown(LONG).unwrap();
    assert_eq!(stopped.still_running, 0);
    let after = handle.refresh().unwrap();
    assert_eq!((after.state, after.result), (State::Failed, None), "a late answer is not kept");
}

/// Only a pool marks a task as stuck.
#[test]
fn a_task_with_a_crash_on_record_starts_when_the_stuck_one_before_it_has_gone() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let storing = lab.builder().mode(Mode::Hold).register(deaf).register(quick).open().unwrap();
    let first = storing.enqueue(deaf::with().priority(1).attempts(1)).unwrap();
    let second = storing.enqueue(quick::with()).unwrap();
    let theirs = rusqlite::Connection::open(lab.path()).unwrap();
    theirs.execute("UPDATE litework_task SET crashes = 1", []).unwrap();
    let client = client(&lab, &log, &gate);
    gate.wait_for(1);
    eventually("it is given up", || client.get(first.id()).unwrap().stuck);
    let ready = Filter::new().state(State::Ready);
    assert_eq!(client.count(&ready).unwrap(), 1, "no two such tasks run side by side");
    gate.open();
    eventually("the other has run", || client.get(second.id()).unwrap().state.is_final());
    assert_eq!(log.words(), ["Some(Timeout)", "quick"]);
}

#[test]
fn a_value_that_comes_after_the_time_out_is_kept_as_long_as_the_lease_is() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        gate.open();
        let builder = lab.builder().register(deaf).state(log.clone()).state(gate);
        // Only a pool would take the lease away, and that not before 10 s.
        let pool = lab.runs(Runs::Pool);
        let builder = if pool { builder } else { builder.stuck_after(MILLISECOND) };
        let client = builder.open().unwrap();
        let handle = client.enqueue(deaf::with()).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 1);
        let task = handle.refresh().unwrap();
        assert_eq!((task.state, task.stuck, task.attempt), (State::Succeeded, false, 1));
        assert_eq!(log.words(), ["Some(Timeout)"]);
    });
}

#[test]
fn an_error_that_comes_after_the_time_out_is_kept_whole() {
    Lab::each_way(|lab| {
        let client = lab.builder().register(late).open().unwrap();
        let handle = client.enqueue(late::with()).unwrap();
        let task = lab.ended(&client, &handle);
        assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Timeout)));
        let report = task.error.unwrap();
        assert_eq!(report.to_string(), "it ran longer than 1 ms: the shop is closed");
        assert_eq!(report.kind, "std::io::error::Error");
        assert_eq!((report.code.as_deref(), report.data), (Some("closed"), Some(7.into())));
        assert!(report.expected);
        // What it asks for holds as well.
        let handle = client.enqueue(late::with().attempts(2)).unwrap();
        lab.settle(&client);
        eventually("it waits", || handle.refresh().unwrap().state == State::Scheduled);
        let due_at = handle.refresh().unwrap().due_at;
        assert_eq!(lab.now().until(due_at), 60_000 * MILLISECOND);
    });
}

#[test]
fn a_panic_that_was_caught_lends_its_place_to_no_other() {
    Lab::each_way(|lab| {
        // One thread runs both, so that one could lend to the other.
        let builder = lab.builder().workers(1).register(brave).register(hand_on);
        let client = builder.open().unwrap();
        let first = client.enqueue(brave::with()).unwrap();
        lab.wait(&client, &first).unwrap();
        let handle = client.enqueue(hand_on::with()).unwrap();
        let report = lab.ended(&client, &handle).error.unwrap();
        let told = (report.message.as_str(), report.backtrace);
        assert_eq!(told, ("panicked: from elsewhere", None));
    });
}

#[test]
fn a_snooze_without_a_span_does_not_go_round_for_ever() {
    #[task]
    fn nap(ctx: &Context) -> Result<()> {
        ctx.state::<Log>()?.note("nap");
        Err(Failure::snooze(Duration::ZERO))
    }
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = lab.builder().register(nap).state(log.clone()).open().unwrap();
        let handle = client.enqueue(nap::with()).unwrap();
        if lab.runs(Runs::RunPending) {
            assert_eq!(client.run_pending(&Pending::all()).unwrap().postponed, 1);
        }
        let napped = || handle.refresh().unwrap().reason == Some(Reason::Snoozed);
        eventually("it has been put off", napped);
        let task = handle.refresh().unwrap();
        assert_eq!((task.state, lab.now().until(task.due_at)), (State::Scheduled, MILLISECOND));
        assert_eq!(log.words(), ["nap"]);
    });
}

#[test]
fn a_panic_is_recorded_and_the_handle_returned() {
    #[task]
    fn burst() {
        panic!("it burst");
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(burst).open().unwrap();
        let handle = client.enqueue(burst::with().attempts(1)).unwrap();
        assert!(handle.has_ended().unwrap() || !lab.runs(Runs::Inline));
        lab.ended(&client, &handle);
        match handle.value().unwrap_err() {
            Error::Failed { report, .. } => assert_eq!(report.kind, "panic"),
            other => panic!("{other}"),
        }
    });
}
