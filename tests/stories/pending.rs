//! `run_pending` runs what is due in the calling thread and returns: for cron jobs, scripts, tests.
//! Only `run_pending` is told of here, so that most stories run in no other way.

use std::time::Duration;

use litework::testing::{WriteFault, WritePoint, fail_writes};
use litework::{Context, EventKind, Failure, Mode, Pending, Result, State, task};

use crate::common::{Gate, LONG, Lab, Log, Place, Runs, eventually};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MOMENT: Duration = Duration::from_millis(1);

#[task]
fn good(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

#[task(attempts = 1, aliases = ["old_bad"])]
fn bad(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("bad");
    Err("no")?
}

#[task]
fn nap(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("nap");
    Err(Failure::snooze(HOUR))
}

#[task]
fn chain(ctx: &Context, left: u32) -> Result<()> {
    ctx.state::<Log>()?.note(left.to_string());
    if left > 0 {
        ctx.enqueue(chain::with(left - 1))?;
    }
    Ok(())
}

fn lab() -> Lab {
    Lab::new(Place::file(Runs::RunPending))
}

fn client(lab: &Lab, log: &Log) -> litework::Client {
    let builder = lab.builder().register(good).register(bad).register(nap).register(chain);
    builder.state(log.clone()).open().unwrap()
}

#[test]
fn it_runs_what_is_due_and_counts_what_it_did() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(good::with("a")).unwrap();
    client.enqueue(bad::with()).unwrap();
    client.enqueue(nap::with()).unwrap();
    client.enqueue(good::with("b")).unwrap();
    client.enqueue(good::with("later").run_after(HOUR)).unwrap();
    let ran = client.run_pending(&Pending::all()).unwrap();
    assert_eq!((ran.succeeded, ran.failed, ran.postponed), (2, 1, 1));
    assert_eq!(log.words(), ["a", "bad", "nap", "b"], "one failing kind does not stop the rest");
    let ran = client.run_pending(&Pending::all()).unwrap();
    assert_eq!((ran.succeeded, ran.failed, ran.postponed), (0, 0, 0));
    lab.clock.advance(HOUR);
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 1);
}

#[test]
fn it_runs_only_some_kinds_or_all_but_some() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(bad::with()).unwrap();
    client.enqueue(good::with("a")).unwrap();
    client.enqueue(nap::with()).unwrap();
    for unknown in [Pending::all().only("goood"), Pending::all().except("goood")] {
        let error = client.run_pending(&unknown).unwrap_err();
        let told = "unknown_kind: \"goood\" is not registered; did you mean good?";
        assert_eq!(error.to_string(), told);
    }
    assert_eq!(log.len(), 0);
    client.run_pending(&Pending::all().except("bad").except("nap")).unwrap();
    assert_eq!(log.words(), ["a"]);
    client.run_pending(&Pending::all().only("bad").only("nap").except("nap")).unwrap();
    assert_eq!(log.words(), ["a", "bad"]);
    client.run_pending(&Pending::all().only("nap")).unwrap();
    assert_eq!(log.words(), ["a", "bad", "nap"]);
}

#[test]
fn it_runs_only_some_queues_or_all_but_some() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    let of_queue = |word: &'static str, queue: &'static str| {
        client.enqueue(good::with(word).queue(queue)).unwrap();
    };
    of_queue("a", "mail");
    of_queue("b", "files");
    of_queue("c", "default");
    client.run_pending(&Pending::all().queue("nowhere")).unwrap();
    assert_eq!(log.len(), 0);
    client.run_pending(&Pending::all().queue("mail").queue("files").except_queue("mail")).unwrap();
    assert_eq!(log.words(), ["b"]);
    client.run_pending(&Pending::all().except_queue("mail")).unwrap();
    assert_eq!(log.words(), ["b", "c"]);
    client.run_pending(&Pending::all().queue("mail")).unwrap();
    assert_eq!(log.words(), ["b", "c", "a"]);
}

#[test]
fn it_begins_no_more_than_it_was_told() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(bad::with()).unwrap();
    client.enqueue(chain::with(50)).unwrap();
    let some = |most| {
        let ran = client.run_pending(&Pending::all().at_most(most)).unwrap();
        (ran.succeeded, ran.failed)
    };
    assert_eq!(some(0), (0, 0));
    assert_eq!(log.len(), 0);
    assert_eq!(some(3), (2, 1), "those that fail count too");
    assert_eq!(log.words(), ["bad", "50", "49"]);
    assert_eq!(some(100), (49, 0));
}

#[test]
fn it_goes_on_with_what_its_tasks_enqueue() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(chain::with(50)).unwrap();
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 51);
    assert_eq!(log.len(), 51);
}

#[test]
fn it_works_beside_a_pool_and_in_every_mode() {
    for mode in [Mode::Pool, Mode::Inline, Mode::Enqueue, Mode::Hold] {
        let (lab, log) = (lab(), Log::default());
        let builder = lab.builder().mode(mode).workers(1).register(good).state(log.clone());
        let client = builder.open().unwrap();
        let handle = client.enqueue(good::with("a").run_after(HOUR)).unwrap();
        lab.clock.advance(HOUR);
        client.run_pending(&Pending::all()).unwrap();
        handle.wait(LONG).unwrap();
        assert_eq!(log.words(), ["a"], "{mode:?}");
    }
}

#[test]
fn a_body_may_call_it() {
    #[task]
    fn drain(ctx: &Context) -> Result<usize> {
        let client = ctx.client().ok_or("no client")?;
        Ok(client.run_pending(&Pending::all())?.succeeded)
    }
    Lab::each_way(|lab| {
        let log = Log::default();
        let storing = lab.builder().mode(Mode::Hold).register(good).register(drain).open().unwrap();
        let draining = storing.enqueue(drain::with().priority(1)).unwrap();
        let last = storing.enqueue_many(["a", "b"].map(good::with)).unwrap();
        let builder = lab.builder().workers(1).register(good).register(drain).state(log.clone());
        let client = builder.open().unwrap();
        lab.settle(&client);
        // A pool may have claimed one of them ahead.
        let drained = draining.wait(LONG).unwrap();
        assert!(drained == 2 || lab.runs(Runs::Pool), "{drained}");
        last[1].wait(LONG).unwrap();
        assert_eq!(log.words(), ["a", "b"]);
    });
}

#[test]
fn it_leaves_no_runner_behind_in_the_file() {
    Lab::each_way(|lab| {
        let log = Log::default();
        for _ in 0..3 {
            let client = client(lab, &log);
            let handle = client.enqueue(good::with("a")).unwrap();
            lab.wait(&client, &handle).unwrap();
            client.run_pending(&Pending::all()).unwrap();
            client.shutdown(LONG).unwrap();
        }
        let theirs = rusqlite::Connection::open(lab.path()).unwrap();
        let sql = "SELECT count(*) FROM litework_worker WHERE left_at IS NULL";
        let here: i64 = theirs.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(here, 0, "runners that have gone have said so");
    });
}

#[test]
fn a_kind_is_chosen_by_its_name_and_its_former_names_come_along() {
    let (lab, log) = (lab(), Log::default());
    client(&lab, &log).enqueue(bad::with()).unwrap();
    let theirs = rusqlite::Connection::open(lab.path()).unwrap();
    theirs.execute("UPDATE litework_lane SET kind = 'old_bad' WHERE kind = 'bad'", []).unwrap();
    let client = client(&lab, &log);
    assert_eq!(client.run_pending(&Pending::all().only("bad")).unwrap().failed, 1);
}

/// Comes round again after a moment, under the number of its first attempt, and then waits at the gate
/// or for the word to stop.
#[task]
fn round(ctx: &Context) -> Result<u32> {
    let log = ctx.state::<Log>()?;
    log.note("round");
    if log.words().iter().filter(|word| *word == "round").count() == 1 {
        return Err(Failure::snooze(MOMENT));
    }
    let gate = ctx.state::<Gate>()?;
    gate.enter();
    let mut stopped = Ok(());
    eventually("it is let go or asked to stop", || {
        stopped = ctx.check();
        stopped.is_err() || gate.is_open()
    });
    stopped.map(|()| ctx.attempt())
}

struct First(Gate);

#[task]
fn hold(ctx: &Context) -> Result<()> {
    ctx.state::<First>()?.0.pass();
    Ok(())
}

#[test]
fn a_task_that_comes_round_in_another_thread_can_still_be_cancelled_there() {
    let (lab, log, gate, told) = (lab(), Log::default(), Gate::default(), Gate::default());
    let slow = told.clone();
    let builder = lab.builder().on([EventKind::Snoozed], move |_, _| slow.pass());
    let builder = builder.register(round).state(log).state(gate.clone());
    let client = builder.open().unwrap();
    let handle = client.enqueue(round::with()).unwrap();
    std::thread::scope(|scope| {
        let run = || client.run_pending(&Pending::all()).unwrap();
        let first = scope.spawn(run);
        told.wait_for(1);
        lab.clock.advance(MOMENT);
        let second = scope.spawn(run);
        let running = || handle.refresh().unwrap().state == State::Running;
        eventually("the second thread has it", running);
        told.open();
        assert_eq!(first.join().unwrap().postponed, 1);
        gate.wait_for(1);
        client.cancel(handle.id()).unwrap();
        assert_eq!(second.join().unwrap().failed, 1);
    });
    assert_eq!(handle.refresh().unwrap().state, State::Cancelled);
}

#[test]
fn an_end_that_was_stored_after_all_does_not_end_the_next_attempt() {
    let (lab, log, gate, first) = (lab(), Log::default(), Gate::default(), Gate::default());
    let builder = lab.builder().register(round).register(hold);
    let builder = builder.state(log.clone()).state(gate.clone()).state(First(first.clone()));
    let client = builder.open().unwrap();
    client.enqueue(hold::with().priority(1)).unwrap();
    let handle = client.enqueue(round::with()).unwrap();
    let state = || handle.refresh().unwrap().state;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| client.run_pending(&Pending::all()).unwrap());
        first.wait_for(1);
        fail_writes(&client, WritePoint::Finish, WriteFault::UnknownStored, 1);
        let error = client.run_pending(&Pending::all()).unwrap_err();
        assert_eq!((error.code(), state()), ("unknown_outcome", State::Scheduled));
        lab.clock.advance(MOMENT);
        first.open();
        gate.wait_for(1);
        // The first thread would store its end again, if it were not known to be stored.
        let ran = client.run_pending(&Pending::all()).unwrap();
        assert_eq!((ran.postponed, state()), (0, State::Running));
        gate.open();
        assert_eq!(other.join().unwrap().succeeded, 2);
    });
    assert_eq!((state(), log.len()), (State::Succeeded, 2));
}
