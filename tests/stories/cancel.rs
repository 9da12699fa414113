//! Whoever cancels a task stops it: at once before it starts, by its token while it runs.

use std::time::{Duration, Instant};

use litework::{Cancelled, Client, Context, Mode, Reason, Result, State, StopReason, task};

use crate::common::{Gate, LONG, Lab, Log, eventually};
use crate::under_way::{begin, newest};

/// Says that it runs, and waits to be stopped.
#[task(attempts = 1)]
fn patient(ctx: &Context) -> Result<String> {
    ctx.state::<Log>()?.note("runs");
    let began = Instant::now();
    while began.elapsed() < LONG {
        if let Some(reason) = ctx.stop_reason() {
            ctx.state::<Log>()?.note(format!("{reason:?}"));
            ctx.check()?;
        }
        std::thread::yield_now();
    }
    Ok("nobody stopped it".to_owned())
}

#[task]
fn hold(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Ok(())
}

/// Short, but for the one that goes on until it is stopped.
#[task]
fn quick(ctx: &Context, slow: bool) -> Result<bool> {
    if !slow {
        ctx.state::<Log>()?.note("quick");
        return Ok(false);
    }
    ctx.state::<Log>()?.note("slow");
    loop {
        ctx.check()?;
        std::thread::yield_now();
    }
}

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().register(patient).register(hold).register(quick);
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

#[test]
fn another_client_cancels_what_runs() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let runner = client(lab, &log, &Gate::default());
        let other = lab.builder().mode(Mode::Enqueue).register(patient).open().unwrap();
        std::thread::scope(|scope| {
            let enqueued = scope.spawn(|| {
                let handle = runner.enqueue(patient::with()).unwrap();
                lab.settle(&runner);
                handle
            });
            eventually("it runs", || log.len() == 1);
            let id = other.list(&litework::Filter::new(), None, 1).unwrap().tasks[0].id;
            assert_eq!(other.cancel(id).unwrap(), Cancelled::Requested);
            let handle = enqueued.join().unwrap();
            let _ended = handle.wait(LONG);
            assert_eq!(log.words(), ["runs", "Cancelled"]);
            let task = handle.refresh().unwrap();
            assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
            assert!(task.cancel_requested);
        });
    });
}

/// Teaches the pool that `quick` is quick, so that it takes some of it ahead.
fn warm_up(client: &Client) {
    for handle in client.enqueue_many(vec![quick::with(false); 40]).unwrap() {
        handle.wait(LONG).unwrap();
    }
}

/// Only a pool takes tasks ahead; the next story is the caller's.
#[test]
fn a_task_that_a_pool_holds_and_has_not_started_does_not_run_once_cancelled() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let builder = lab.builder().workers(1).register(hold).register(quick);
    let client = builder.state(log.clone()).state(gate.clone()).open().unwrap();
    warm_up(&client);
    let before = log.len();
    let holding = client.enqueue(hold::with()).unwrap();
    gate.wait_for(1);
    let handle = client.enqueue(quick::with(false)).unwrap();
    let asked = handle.cancel().unwrap();
    gate.open();
    holding.wait(LONG).unwrap();
    let answer = handle.wait(LONG);
    let task = handle.refresh().unwrap();
    assert_eq!(task.state, State::Cancelled, "asked: {asked:?}, answer: {answer:?}");
    assert_eq!(log.len(), before, "its body did not run");
}

/// Only a caller holds a batch that it has not begun; the story before is the pool's.
#[test]
fn a_task_of_a_batch_in_the_caller_does_not_run_once_cancelled() {
    #[task]
    fn step(ctx: &Context, n: u32) -> Result<()> {
        ctx.state::<Log>()?.note(n.to_string());
        if n == 0 {
            ctx.state::<Gate>()?.pass();
        }
        Ok(())
    }
    let (lab, log, gate) = (Lab::inline(), Log::default(), Gate::default());
    let builder = lab.builder().register(step).state(log.clone()).state(gate.clone());
    let client = builder.open().unwrap();
    let other = lab.builder().mode(Mode::Enqueue).register(step).open().unwrap();
    std::thread::scope(|scope| {
        let batch = scope.spawn(|| client.enqueue_many((0..4).map(step::with)).unwrap());
        gate.wait_for(1);
        let mut ids: Vec<_> = other.list(&litework::Filter::new(), None, 4).unwrap().tasks;
        ids.reverse();
        assert_eq!(client.cancel(ids[1].id).unwrap(), Cancelled::Requested);
        assert_eq!(other.cancel(ids[3].id).unwrap(), Cancelled::Requested);
        gate.open();
        let handles = batch.join().unwrap();
        assert_eq!(log.words(), ["0", "2"], "their bodies did not run");
        for at in [1, 3] {
            let task = handles[at].refresh().unwrap();
            let stand = (task.state, task.reason, task.attempt);
            assert_eq!(stand, (State::Cancelled, Some(Reason::Asked), 0));
        }
    });
}

/// Only a pool gathers finishes; a caller commits each at once.
#[test]
fn a_slow_task_among_quick_ones_hears_its_token_and_holds_up_no_finish() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let builder = lab.builder().workers(1).register(hold).register(quick);
    let client = builder.state(log.clone()).state(gate.clone()).open().unwrap();
    warm_up(&client);
    client.enqueue(hold::with()).unwrap();
    gate.wait_for(1);
    let calls = (0..20).map(|n| quick::with(n == 5));
    let handles = client.enqueue_many(calls).unwrap();
    gate.open();
    eventually("the slow one runs", || log.words().iter().any(|word| word == "slow"));
    // The slow one does not end before it is told to.
    let first = handles[0].wait(LONG);
    handles[5].cancel().unwrap();
    let slow = handles[5].wait(LONG);
    assert!(first.is_ok(), "what was done before it is kept at once: {first:?}");
    assert_eq!(slow.map(|_| ()).unwrap_err().code(), "cancelled");
}

#[test]
fn a_body_that_is_not_asked_to_stop_sees_no_reason() {
    #[task]
    fn look(ctx: &Context) -> bool {
        ctx.stop_reason().is_none() && !ctx.is_stopping() && ctx.check().is_ok()
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(look).open().unwrap();
        let handle = client.enqueue(look::with().timeout(LONG)).unwrap();
        assert!(lab.wait(&client, &handle).unwrap());
    });
}

#[test]
fn a_time_out_and_a_cancel_are_told_apart_by_the_first() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log, &Gate::default());
        let handle = client.enqueue(patient::with().timeout(Duration::from_millis(30))).unwrap();
        lab.settle(&client);
        let _ended = handle.wait(LONG);
        assert_eq!(log.words(), ["runs", &format!("{:?}", StopReason::Timeout)]);
        assert_eq!(handle.refresh().unwrap().reason, Some(Reason::Timeout));
    });
}

#[test]
fn what_fails_after_it_was_cancelled_is_not_tried_again() {
    #[task(attempts = 3, retry = [0s])]
    fn fail(ctx: &Context) -> Result<()> {
        ctx.state::<Log>()?.note("fails");
        ctx.state::<Gate>()?.pass();
        Err("no")?
    }
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let builder = lab.builder().register(fail).state(log.clone()).state(gate.clone());
        let client = builder.open().unwrap();
        std::thread::scope(|scope| {
            let enqueued = begin(scope, lab, &client, fail::with());
            gate.wait_for(1);
            assert_eq!(client.cancel(newest(&client, "fail").id).unwrap(), Cancelled::Requested);
            gate.open();
            let handle = enqueued.join().unwrap();
            assert_eq!(handle.wait(LONG).unwrap_err().code(), "cancelled");
            let task = handle.refresh().unwrap();
            assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
        });
        assert_eq!(log.words(), ["fails"]);
    });
}
