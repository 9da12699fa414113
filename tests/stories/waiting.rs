//! Waiting for a task blocks a thread or suspends a future, whoever ends the task, and never polls.

use std::time::Duration;

use litework::{Client, Context, Mode, Pending, Result, State, TaskId, Timestamp, task};

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
            assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
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

#[test]
fn a_waiter_hears_that_the_task_was_cancelled_or_the_client_closed() {
    let lab = Lab::pool();
    let client = client(&lab, &Gate::default());
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
}

#[test]
fn a_waiter_gets_what_ends_while_the_client_shuts_down() {
    let (lab, gate) = (Lab::pool(), Gate::default());
    let client = client(&lab, &gate);
    let handle = client.enqueue(hold::with()).unwrap();
    let later = client.enqueue(double::with(1).run_after(HOUR)).unwrap();
    gate.wait_for(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.wait(LONG));
        let awaiting = scope.spawn(|| block_on(async { handle.clone().await }));
        let stopping = scope.spawn(|| client.shutdown(LONG).unwrap());
        let refused = |error: litework::Error| error.code() == "closed";
        eventually("it is closed", || client.cancel(handle.id()).is_err_and(refused));
        // Whoever comes only now waits as well.
        let late = scope.spawn(|| handle.wait(LONG));
        assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
        gate.open();
        for waiting in [waiting, awaiting, late] {
            assert_eq!(waiting.join().unwrap().unwrap(), 7);
        }
        stopping.join().unwrap();
    });
    // What has ended can be read; what has not, nobody runs any more.
    assert_eq!(handle.wait(LONG).unwrap(), 7);
    assert_eq!(handle.value().unwrap(), 7);
    assert!(handle.ready().unwrap() && !later.ready().unwrap());
    assert_eq!(later.wait(LONG).unwrap_err().code(), "closed");
    assert_eq!(later.cancel().unwrap_err().code(), "closed");
    drop(client);
    assert_eq!(handle.value().unwrap_err().code(), "closed");
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

    #[test]
    fn callers_enqueue_and_await_inside_a_runtime() {
        for lab in [Lab::pool(), Lab::inline()] {
            let log = Log::default();
            runtime().block_on(async {
                let client = open(&lab, &log);
                let handle = client.enqueue_async(double::with(21)).await.unwrap();
                assert_eq!(handle.await.unwrap(), 42);
                let handle = client.enqueue_async(later::with("word")).await.unwrap();
                assert_eq!(handle.await.unwrap(), "WORD", "{:?}", lab.place.runs);
                let many = client.enqueue_many_async((1..=3).map(double::with)).await.unwrap();
                let mut values = Vec::new();
                for handle in many {
                    values.push(handle.await.unwrap());
                }
                assert_eq!(values, [2, 4, 6], "{:?}", lab.place.runs);
            });
        }
    }

    #[test]
    fn an_async_body_that_runs_in_a_caller_inside_a_runtime_does_not_panic() {
        let (lab, log) = (Lab::inline(), Log::default());
        runtime().block_on(async {
            let client = open(&lab, &log);
            // Refused at once or run: but never charged with a panic that is not its own.
            match client.enqueue(later::with("word").attempts(1)) {
                Ok(handle) => assert_eq!(handle.await.unwrap(), "WORD"),
                Err(error) => assert_eq!(error.code(), "reentrant"),
            }
        });
    }
}
