//! Waiting for a task blocks a thread or suspends a future, whoever ends the task, and never polls.

use std::time::Duration;

use litework::{
    Client, Context, Error, Failure, Filter, Mode, Pending, Reason, Result, State, TaskId,
    Timestamp, task,
};

use crate::common::{Gate, LONG, Lab, Log, Runs, block_on, eventually};
use crate::under_way::{begin, newest};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn double(n: u32) -> u32 {
    2 * n
}

#[task]
fn hold(ctx: &Context) -> Result<u32> {
    ctx.state::<Gate>()?.pass();
    Ok(7)
}

#[task(attempts = 1)]
fn fail() -> Result<()> {
    Err("no")?
}

fn client(lab: &Lab, gate: &Gate) -> Client {
    let builder = lab.builder().register(double).register(hold).register(fail);
    builder.state(gate.clone()).open().unwrap()
}

#[test]
fn a_handle_can_be_awaited_on_any_executor() {
    Lab::each_way(|lab| {
        let client = client(lab, &Gate::default());
        let handle = client.enqueue(double::with(21)).unwrap();
        let bad = client.enqueue(fail::with()).unwrap();
        lab.settle(&client);
        assert_eq!(block_on(async { handle.await }).unwrap(), 42);
        assert_eq!(block_on(async { bad.await }).unwrap_err().code(), "failed");
    });
}

#[test]
fn an_awaited_handle_wakes_when_the_task_ends() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let client = client(lab, &gate);
        std::thread::scope(|scope| {
            begin(scope, lab, &client, hold::with());
            gate.wait_for(1);
            let handle = client.handle::<hold>(newest(&client, "hold").id).unwrap();
            let awaiting: Vec<_> = (0..4)
                .map(|_| {
                    let handle = handle.clone();
                    scope.spawn(move || block_on(async { handle.await }))
                })
                .collect();
            gate.open();
            for waiting in awaiting {
                assert_eq!(waiting.join().unwrap().unwrap(), 7);
            }
        });
    });
}

#[test]
fn many_threads_wait_for_one_task() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let client = client(lab, &gate);
        std::thread::scope(|scope| {
            begin(scope, lab, &client, hold::with());
            gate.wait_for(1);
            let handle = client.handle::<hold>(newest(&client, "hold").id).unwrap();
            let late = handle.wait(Duration::ZERO).unwrap_err().to_string();
            let id = handle.id();
            assert_eq!(late, format!("timeout: task {id} has not ended within 0 ms; it goes on"));
            let wait = || {
                let handle = handle.clone();
                scope.spawn(move || handle.wait(LONG))
            };
            let waiting: Vec<_> = (0..8).map(|_| wait()).collect();
            gate.open();
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap().unwrap(), 7);
            }
        });
    });
}

/// A pool in another client, so that waiting makes sense also where nobody runs what is delayed.
fn pool_beside(lab: &Lab) -> Client {
    let builder = lab.builder().mode(Mode::Pool).workers(1).register(double).register(hold);
    builder.state(Gate::default()).open().unwrap()
}

#[test]
fn a_waiter_hears_that_the_task_was_cancelled_or_the_client_closed() {
    Lab::each_way(|lab| {
        let client = client(lab, &Gate::default());
        let beside = (!lab.runs(Runs::Pool)).then(|| pool_beside(lab));
        let cancelled = client.enqueue(double::with(1).run_after(HOUR)).unwrap();
        let orphan = client.enqueue(double::with(2).run_after(HOUR)).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cancelled.wait(LONG));
            cancelled.cancel().unwrap();
            assert_eq!(waiting.join().unwrap().unwrap_err().code(), "cancelled");
            let waiting = scope.spawn(|| orphan.wait(LONG));
            let awaiting = scope.spawn(|| block_on(async { orphan.clone().await }));
            client.shutdown(LONG).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap_err().code(), "closed");
            assert_eq!(awaiting.join().unwrap().unwrap_err().code(), "closed");
        });
        drop(beside);
    });
}

#[test]
fn a_waiter_gets_what_ends_while_the_client_shuts_down() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let client = client(lab, &gate);
        let later = client.enqueue(double::with(1).run_after(HOUR)).unwrap();
        let handle = std::thread::scope(|scope| {
            begin(scope, lab, &client, hold::with());
            gate.wait_for(1);
            let handle = client.handle::<hold>(newest(&client, "hold").id).unwrap();
            let wait = || {
                let handle = handle.clone();
                scope.spawn(move || handle.wait(LONG))
            };
            let (waiting, awaited) = (wait(), handle.clone());
            let awaiting = scope.spawn(|| block_on(async { awaited.await }));
            let stopping = scope.spawn(|| client.shutdown(LONG).unwrap());
            let refused = |error: Error| error.code() == "closed";
            eventually("it is closed", || client.cancel(handle.id()).is_err_and(refused));
            // Whoever comes only now waits as well.
            let late = wait();
            assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
            gate.open();
            for waiting in [waiting, awaiting, late] {
                assert_eq!(waiting.join().unwrap().unwrap(), 7);
            }
            stopping.join().unwrap();
            handle
        });
        // What has ended can be read; what has not, nobody runs any more.
        assert_eq!(handle.wait(LONG).unwrap(), 7);
        assert_eq!(handle.value().unwrap(), 7);
        assert!(handle.has_ended().unwrap() && !later.has_ended().unwrap());
        assert_eq!(later.wait(LONG).unwrap_err().code(), "closed");
        assert_eq!(later.cancel().unwrap_err().code(), "closed");
        drop(client);
        assert_eq!(handle.value().unwrap_err().code(), "closed");
    });
}

#[test]
fn a_delayed_task_needs_a_runner_and_waiting_for_it_says_so_at_once() {
    Lab::each_way(|lab| {
        let client = client(lab, &Gate::default());
        let handle = client.enqueue(double::with(4).run_after(HOUR)).unwrap();
        assert_eq!(handle.needs_runner(), !lab.runs(Runs::Pool));
        assert_eq!(handle.due_at(), lab.now().after(HOUR));
        if lab.runs(Runs::Pool) {
            assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
        } else {
            match handle.wait(LONG).unwrap_err() {
                Error::NobodyRuns { due_at, .. } => assert_eq!(due_at, lab.now().after(HOUR)),
                other => panic!("{other}"),
            }
        }
        lab.advance(&client, HOUR);
        assert_eq!(handle.wait(LONG).unwrap(), 8);
    });
}

#[test]
fn waiting_for_a_delayed_task_goes_on_while_a_pool_serves_its_kind() {
    Lab::each_way(|lab| {
        let client = client(lab, &Gate::default());
        let beside = pool_beside(lab);
        let handle = client.enqueue(double::with(4).run_after(HOUR)).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| handle.wait(LONG));
            lab.clock.advance(HOUR);
            assert_eq!(waiting.join().unwrap().unwrap(), 8);
        });
        beside.shutdown(LONG).unwrap();
        drop(beside);
        let handle = client.enqueue(double::with(5).run_after(HOUR)).unwrap();
        if lab.runs(Runs::Pool) {
            assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
        } else {
            assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
        }
    });
}

#[task]
fn doze(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Err(Failure::snooze(HOUR))
}

#[test]
fn a_snoozed_task_needs_a_runner_and_the_reply_says_so() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        gate.open();
        let client = lab.builder().register(doze).state(gate).open().unwrap();
        let handle = client.enqueue(doze::with()).unwrap();
        if lab.runs(Runs::Inline) {
            assert_eq!(handle.due_at(), lab.now().after(HOUR), "it has run before the reply");
        }
        assert_eq!(handle.needs_runner(), !lab.runs(Runs::Pool));
        lab.settle(&client);
        eventually("it is put off", || handle.refresh().unwrap().reason == Some(Reason::Snoozed));
        let task = handle.refresh().unwrap();
        assert_eq!((task.state, task.due_at), (State::Scheduled, lab.now().after(HOUR)));
        if lab.runs(Runs::Pool) {
            assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
        } else {
            assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
        }
    });
}

#[test]
fn whoever_waits_hears_that_the_rest_needs_a_runner() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let client = lab.builder().register(doze).state(gate.clone()).open().unwrap();
        std::thread::scope(|scope| {
            begin(scope, lab, &client, doze::with());
            gate.wait_for(1);
            let id = newest(&client, "doze").id;
            let handle = client.handle::<doze>(id).unwrap();
            let waiting = scope.spawn(move || handle.wait(LONG).unwrap_err().code());
            gate.open();
            if lab.runs(Runs::Pool) {
                // The pool would run the rest, so whoever waits goes on until it is cancelled.
                let scheduled = Filter::new().state(State::Scheduled);
                eventually("it is put off", || client.count(&scheduled).unwrap() == 1);
                client.cancel(id).unwrap();
            }
            let hears = if lab.runs(Runs::Pool) { "cancelled" } else { "nobody_runs" };
            assert_eq!(waiting.join().unwrap(), hears);
        });
    });
}

#[test]
fn a_task_takes_the_id_of_another_and_a_moment_as_arguments() {
    #[task]
    fn add_one(ctx: &Context, other: TaskId, at: Timestamp) -> Result<(u32, Timestamp)> {
        let client = ctx.client().ok_or("no client")?;
        Ok((client.handle::<double>(other)?.value()? + 1, at))
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(double).register(add_one).open().unwrap();
        let first = client.enqueue(double::with(4)).unwrap();
        lab.wait(&client, &first).unwrap();
        let second = client.enqueue(add_one::with(first.id(), lab.now())).unwrap();
        assert_eq!(lab.wait(&client, &second).unwrap(), (9, lab.now()));
        let arguments: serde_json::Value =
            serde_json::from_str(&second.refresh().unwrap().arguments).unwrap();
        let (other, at) = (first.id().to_string(), lab.now().to_string());
        assert_eq!(arguments, serde_json::json!({"other": other, "at": at}));
    });
}

#[test]
fn two_clients_of_one_file_see_the_same_tasks() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let (here, there) = (client(lab, &gate), client(lab, &gate));
        let handle = here.enqueue(double::with(4).key("four")).unwrap();
        lab.settle(&there);
        assert_eq!(handle.wait(LONG).unwrap(), 8);
        assert_eq!(there.find("four").unwrap().unwrap().id, handle.id());
        assert!(there.enqueue(double::with(4).key("four")).unwrap().is_existing());
        here.shutdown(LONG).unwrap();
        drop(here);
        let after = there.enqueue(double::with(5)).unwrap();
        assert_eq!(lab.wait(&there, &after).unwrap(), 10);
        assert_eq!(there.get(handle.id()).unwrap().state, State::Succeeded);
    });
}

#[test]
fn a_waiter_in_another_client_wakes_when_the_task_ends() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let runner = client(lab, &gate);
        let web = lab.builder().mode(Mode::Enqueue).register(hold).open().unwrap();
        let handle = web.enqueue(hold::with()).unwrap();
        std::thread::scope(|scope| {
            if !lab.runs(Runs::Pool) {
                scope.spawn(|| runner.run_pending(&Pending::all()).unwrap());
            }
            gate.wait_for(1);
            let waiting = scope.spawn(|| handle.wait(LONG));
            gate.open();
            assert_eq!(waiting.join().unwrap().unwrap(), 7);
        });
    });
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    #[task]
    async fn later(ctx: &Context, word: &str) -> Result<String> {
        ctx.state::<Log>()?.note(word);
        tokio::task::yield_now().await;
        Ok(word.to_uppercase())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn open(lab: &Lab, log: &Log) -> Client {
        lab.builder().register(later).register(double).state(log.clone()).open().unwrap()
    }

    #[test]
    fn an_async_body_runs_wherever_tasks_run() {
        Lab::each_way(|lab| {
            let log = Log::default();
            let client = open(lab, &log);
            let handle = client.enqueue(later::with("word")).unwrap();
            assert_eq!(lab.wait(&client, &handle).unwrap(), "WORD");
        });
    }

    /// Runs what is due where nobody does it by himself, on a thread that may block.
    async fn settle(lab: &Lab, client: &Client) {
        if lab.runs(Runs::RunPending) {
            let client = client.clone();
            let running = tokio::task::spawn_blocking(move || client.run_pending(&Pending::all()));
            running.await.unwrap().unwrap();
        }
    }

    #[test]
    fn callers_enqueue_and_await_inside_a_runtime() {
        Lab::each_way(|lab| {
            let log = Log::default();
            runtime().block_on(async {
                let client = open(lab, &log);
                let handle = client.enqueue_async(double::with(21)).await.unwrap();
                settle(lab, &client).await;
                assert_eq!(handle.await.unwrap(), 42);
                let handle = client.enqueue_async(later::with("word")).await.unwrap();
                settle(lab, &client).await;
                assert_eq!(handle.await.unwrap(), "WORD");
                let many = client.enqueue_many_async((1..=3).map(double::with)).await.unwrap();
                settle(lab, &client).await;
                let mut values = Vec::new();
                for handle in many {
                    values.push(handle.await.unwrap());
                }
                assert_eq!(values, [2, 4, 6]);
            });
        });
    }

    /// While another program holds the file's write lock, what is enqueued waits for it. The lock is let
    /// go by another future of the one thread, so a call that blocks that thread would wait in vain.
    #[test]
    fn a_runtime_goes_on_while_what_is_enqueued_waits_for_the_file() {
        Lab::each_way(|lab| {
            let client = open(lab, &Log::default());
            let conn = rusqlite::Connection::open(lab.path()).unwrap();
            runtime().block_on(async {
                for many in [false, true] {
                    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
                    let client_there = client.clone();
                    let storing = tokio::spawn(async move {
                        let call = double::with(21);
                        if many {
                            client_there
                                .enqueue_many_async([call])
                                .await
                                .map(|mut many| many.remove(0))
                        } else {
                            client_there.enqueue_async(call).await
                        }
                    });
                    // It begins to wait, and this future goes on.
                    tokio::task::yield_now().await;
                    assert!(!storing.is_finished());
                    conn.execute_batch("COMMIT").unwrap();
                    let handle = storing.await.unwrap().unwrap();
                    settle(lab, &client).await;
                    assert_eq!(handle.await.unwrap(), 42);
                }
            });
        });
    }

    #[test]
    fn an_async_body_that_runs_in_a_caller_inside_a_runtime_does_not_panic() {
        Lab::each_way(|lab| {
            let log = Log::default();
            runtime().block_on(async {
                let client = open(lab, &log);
                // Refused at once or run: but never charged with a panic that is not its own.
                match client.enqueue(later::with("word").attempts(1)) {
                    Ok(handle) => {
                        lab.settle(&client);
                        assert_eq!(handle.await.unwrap(), "WORD");
                    }
                    Err(error) => assert_eq!(error.code(), "reentrant"),
                }
            });
        });
    }
}
