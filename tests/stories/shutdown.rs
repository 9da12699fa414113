//! A program that ends loses nothing: what runs may end, what has not started goes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use litework::sqlite::{ClientExt, WriteError};
use litework::{Client, Context, Filter, Mode, Pending, Result, State, Stopped, task};
use rusqlite::Connection;

use crate::common::{Gate, LONG, Lab, Log, Place, Runs, eventually};
use crate::under_way::{begin, newest};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn hold(ctx: &Context) -> Result<u32> {
    ctx.state::<Gate>()?.pass();
    Ok(ctx.attempt())
}

#[task]
fn quick(ctx: &Context) -> Result<u32> {
    ctx.state::<Log>()?.note("quick");
    Ok(ctx.attempt())
}

/// Ends as soon as it is asked to.
#[task]
fn polite(ctx: &Context) -> Result<u32> {
    ctx.state::<Log>()?.note("polite");
    let began = std::time::Instant::now();
    while ctx.attempt() == 1 && ctx.state::<Log>()?.len() == 1 && began.elapsed() < LONG {
        ctx.check()?;
        std::thread::yield_now();
    }
    Ok(ctx.attempt())
}

/// The first of a batch waits at the gate.
#[task]
fn step(ctx: &Context, n: u32) -> Result<u32> {
    ctx.state::<Log>()?.note(n.to_string());
    if n == 0 {
        ctx.state::<Gate>()?.pass();
    }
    Ok(ctx.attempt())
}

/// Enqueues what comes next as the last thing it does.
#[task]
fn lead(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    ctx.enqueue(quick::with())?;
    Ok(())
}

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().workers(1).register(hold).register(quick).register(polite);
    let builder = builder.register(step).register(lead);
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

/// Waits until the client takes no calls any more.
fn until_closed(client: &Client) {
    eventually("it is closed", || {
        client.cancel("1-0000000000000").is_err_and(|error| error.code() == "closed")
    });
}

fn counts(stopped: Stopped) -> (usize, usize, usize) {
    (stopped.finished, stopped.handed_back, stopped.still_running)
}

#[test]
fn what_runs_may_end() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let stopped = std::thread::scope(|scope| {
            begin(scope, lab, &client, hold::with());
            gate.wait_for(1);
            let stopping = scope.spawn(|| client.shutdown(LONG).unwrap());
            until_closed(&client);
            gate.open();
            stopping.join().unwrap()
        });
        assert_eq!(counts(stopped), (1, 0, 0));
        assert_eq!(newest(&client, "hold").state, State::Succeeded);
        assert_eq!(client.shutdown(LONG).unwrap(), stopped, "once is enough");
    });
}

#[test]
fn two_threads_that_shut_down_wait_for_the_same_end() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            begin(scope, lab, &client, hold::with());
            gate.wait_for(1);
            let shut_down = || {
                let stopped = client.shutdown(LONG).unwrap();
                (counts(stopped), newest(&client, "hold").state)
            };
            let stopping = [scope.spawn(shut_down), scope.spawn(shut_down)];
            until_closed(&client);
            gate.open();
            for stopping in stopping {
                assert_eq!(stopping.join().unwrap(), ((1, 0, 0), State::Succeeded));
            }
        });
    });
}

#[test]
fn one_who_has_no_patience_cuts_the_grace_of_another_short() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            begin(scope, lab, &client, polite::with());
            eventually("it runs", || log.len() == 1);
            let patient = scope.spawn(|| client.shutdown(LONG).unwrap());
            until_closed(&client);
            let stopped = client.shutdown(Duration::ZERO).unwrap();
            assert_eq!(counts(stopped), (0, 1, 0), "it has not waited for its end");
            assert_eq!(patient.join().unwrap(), stopped);
        });
        let task = newest(&client, "polite");
        assert_eq!((task.state, task.attempt), (State::Ready, 0));
    });
}

#[test]
fn what_runs_may_enqueue_its_next_step_while_it_has_the_grace() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let first = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            begin(scope, lab, &first, lead::with());
            gate.wait_for(1);
            let stopping = scope.spawn(|| first.shutdown(LONG).unwrap());
            until_closed(&first);
            assert_eq!(first.enqueue(quick::with()).unwrap_err().code(), "closed");
            gate.open();
            assert_eq!(counts(stopping.join().unwrap()), (1, 0, 0));
        });
        assert_eq!(newest(&first, "lead").state, State::Succeeded);
        assert_eq!((newest(&first, "quick").state, log.len()), (State::Ready, 0));
        drop(first);
        let second = client(lab, &log, &gate);
        lab.settle(&second);
        eventually("the next program runs it", || newest(&second, "quick").state.is_final());
    });
}

#[test]
fn a_body_that_would_shut_down_its_own_client_is_refused() {
    #[task]
    fn shut_own_client(ctx: &Context) -> Result<String> {
        let error = ctx.client().ok_or("no client")?.shutdown(LONG).err().ok_or("it went on")?;
        Ok(format!("{}: {error}", error.code()))
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(shut_own_client).register(quick).state(Log::default());
        let client = client.open().unwrap();
        let handle = client.enqueue(shut_own_client::with()).unwrap();
        let answer = lab.wait(&client, &handle).unwrap();
        assert!(answer.starts_with("reentrant: "), "{answer}");
        assert!(answer.contains("another thread"), "it says what to do instead: {answer}");
        let after = client.enqueue(quick::with()).unwrap();
        lab.wait(&client, &after).unwrap();
    });
}

#[test]
fn a_body_may_shut_down_a_client_of_its_own() {
    #[task]
    fn visit(ctx: &Context) -> Result<()> {
        let path = ctx.state::<std::path::PathBuf>()?;
        let other = Client::builder(path).register(quick).mode(Mode::Hold).open()?;
        other.enqueue(quick::with())?;
        other.shutdown(LONG)?;
        Ok(())
    }
    Lab::each_way(|lab| {
        let elsewhere = lab.path().with_file_name("elsewhere.db");
        let client = lab.builder().register(visit).state(elsewhere).open().unwrap();
        let handle = client.enqueue(visit::with()).unwrap();
        lab.wait(&client, &handle).unwrap();
    });
}

#[test]
fn a_shutdown_inside_a_write_transaction_is_refused_and_changes_nothing() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log, &Gate::default());
        let code = client.write(|tx| {
            tx.enqueue(quick::with())?;
            Ok::<_, WriteError>(client.shutdown(LONG).unwrap_err().code())
        });
        assert_eq!(code.unwrap(), "reentrant");
        lab.settle(&client);
        eventually("whoever runs goes on", || log.len() == 1);
    });
}

/// A client of each mode, in which `run_pending` alone runs tasks.
fn each_mode(story: fn(&Lab, &Client, &Log, &Gate)) {
    for mode in [Mode::Pool, Mode::Inline, Mode::Enqueue, Mode::Hold] {
        let (lab, log, gate) =
            (Lab::new(Place::file(Runs::RunPending)), Log::default(), Gate::default());
        let builder = lab.builder().mode(mode).workers(1).serve(["none"]).register(step);
        let client = builder.state(log.clone()).state(gate.clone()).open().unwrap();
        println!("{mode:?}");
        story(&lab, &client, &log, &gate);
    }
}

/// Only in `run_pending`, in each mode; for a pool see `what_is_held_and_has_not_started_goes_back…`.
#[test]
fn run_pending_stops_claiming_when_another_thread_shuts_down() {
    each_mode(|lab, client, log, gate| {
        let later = |n| step::with(n).run_after(HOUR);
        let handles = client.enqueue_many((0..4).map(later)).unwrap();
        lab.clock.advance(HOUR);
        let (ran, stopped) = std::thread::scope(|scope| {
            let running = scope.spawn(|| client.run_pending(&Pending::all()).unwrap());
            gate.wait_for(1);
            let stopping = scope.spawn(|| client.shutdown(LONG).unwrap());
            until_closed(client);
            gate.open();
            (running.join().unwrap(), stopping.join().unwrap())
        });
        assert_eq!(counts(stopped), (1, 0, 0));
        assert_eq!((ran.succeeded, ran.failed, ran.postponed), (1, 0, 0));
        assert_eq!(log.words(), ["0"]);
        assert_eq!(client.get(handles[0].id()).unwrap().state, State::Succeeded);
        for handle in &handles[1..] {
            let task = client.get(handle.id()).unwrap();
            assert_eq!((task.state, task.attempt), (State::Ready, 0));
        }
        let error = client.run_pending(&Pending::all()).unwrap_err();
        assert_eq!(error.code(), "closed");
    });
}

/// Only in `run_pending`, in each mode; the rest is `a_body_that_stops_when_it_is_asked…`.
#[test]
fn run_pending_asks_its_bodies_to_stop_when_the_grace_is_over() {
    for mode in [Mode::Pool, Mode::Inline, Mode::Enqueue, Mode::Hold] {
        let (lab, log) = (Lab::new(Place::file(Runs::RunPending)), Log::default());
        let builder = lab.builder().mode(mode).workers(1).serve(["none"]).register(polite);
        let client = builder.state(log.clone()).open().unwrap();
        client.enqueue(polite::with().run_after(HOUR)).unwrap();
        lab.clock.advance(HOUR);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| client.run_pending(&Pending::all()).unwrap());
            eventually("it runs", || log.len() == 1);
            assert_eq!(counts(client.shutdown(Duration::ZERO).unwrap()), (0, 1, 0), "{mode:?}");
            assert_eq!(running.join().unwrap(), litework::Ran::default());
        });
        let task = newest(&client, "polite");
        assert_eq!((task.state, task.attempt), (State::Ready, 0), "{mode:?}");
    }
}

/// Only a caller holds a batch that it has not begun.
#[test]
fn a_batch_in_the_caller_stops_too() {
    let (lab, log, gate) = (Lab::inline(), Log::default(), Gate::default());
    let client = client(&lab, &log, &gate);
    let handles = std::thread::scope(|scope| {
        let batch = scope.spawn(|| client.enqueue_many((0..4).map(step::with)).unwrap());
        gate.wait_for(1);
        let stopping = scope.spawn(|| client.shutdown(LONG).unwrap());
        until_closed(&client);
        gate.open();
        assert_eq!(counts(stopping.join().unwrap()), (1, 3, 0));
        batch.join().unwrap()
    });
    assert_eq!(log.words(), ["0"]);
    assert_eq!(client.get(handles[0].id()).unwrap().state, State::Succeeded);
    for handle in &handles[1..] {
        let task = client.get(handle.id()).unwrap();
        assert_eq!((task.state, task.attempt), (State::Ready, 0));
        assert!(handle.needs_runner(), "the reply says that it was not run");
    }
}

/// Somebody else's connection on the same file.
fn theirs(lab: &Lab) -> Connection {
    Connection::open(lab.path()).unwrap()
}

fn live_runners(lab: &Lab) -> i64 {
    let sql = "SELECT count(*) FROM litework_worker WHERE left_at IS NULL";
    theirs(lab).query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_shutdown_that_could_not_write_its_end_may_be_repeated() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default(), &Gate::default());
        let handle = client.enqueue(quick::with()).unwrap();
        lab.wait(&client, &handle).unwrap();
        let sql = "CREATE TRIGGER stay BEFORE UPDATE OF left_at ON litework_worker
                   BEGIN SELECT RAISE(ABORT, 'not now'); END";
        theirs(lab).execute_batch(sql).unwrap();
        assert_eq!(client.shutdown(LONG).unwrap_err().code(), "not_stored");
        assert_eq!(live_runners(lab), 1);
        theirs(lab).execute_batch("DROP TRIGGER stay").unwrap();
        client.shutdown(LONG).unwrap();
        assert_eq!(live_runners(lab), 0);
    });
}

#[test]
fn an_end_that_could_not_be_stored_is_stored_by_the_shutdown() {
    #[task]
    fn obstruct(ctx: &Context) -> Result<()> {
        let sql = "CREATE TRIGGER full BEFORE UPDATE OF state ON litework_task
                   WHEN NEW.state = 'succeeded' BEGIN SELECT RAISE(ROLLBACK, 'no room'); END";
        Connection::open(ctx.state::<std::path::PathBuf>()?)?.execute_batch(sql)?;
        ctx.state::<Log>()?.note("done");
        Ok(())
    }
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = lab.builder().register(obstruct).state(lab.path()).state(log.clone());
        let client = client.open().unwrap();
        let id = client.enqueue(obstruct::with()).unwrap().id();
        if lab.runs(Runs::RunPending) {
            assert_eq!(client.run_pending(&Pending::all()).unwrap_err().code(), "not_stored");
        }
        eventually("its body has done its work", || log.len() == 1);
        assert_eq!(client.shutdown(LONG).unwrap_err().code(), "not_stored");
        assert_eq!(client.get(id).unwrap().state, State::Running, "its lease is kept");
        theirs(lab).execute_batch("DROP TRIGGER full").unwrap();
        client.shutdown(LONG).unwrap();
        let task = client.get(id).unwrap();
        assert_eq!((task.state, task.attempt), (State::Succeeded, 1));
        assert_eq!(live_runners(lab), 0);
    });
}

/// Only a pool takes tasks ahead; what a caller holds is in `a_batch_in_the_caller_stops_too`.
#[test]
fn what_is_held_and_has_not_started_goes_back_with_its_attempt() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let first = client(&lab, &log, &gate);
    for handle in first.enqueue_many(vec![quick::with(); 40]).unwrap() {
        handle.wait(LONG).unwrap();
    }
    first.enqueue(hold::with()).unwrap();
    gate.wait_for(1);
    let handles = first.enqueue_many(vec![quick::with(); 3]).unwrap();
    let held = || first.count(&Filter::new().kind("quick").state(State::Running)).unwrap();
    let held = usize::try_from(held()).unwrap();
    assert!(held > 0, "the pool takes quick tasks ahead");
    let stopped = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| first.shutdown(LONG).unwrap());
        until_closed(&first);
        gate.open();
        stopping.join().unwrap()
    });
    assert_eq!(counts(stopped), (1, held, 0));
    for handle in &handles {
        let task = first.get(handle.id()).unwrap();
        assert_eq!((task.state, task.attempt), (State::Ready, 0));
    }
    drop(first);
    let second = client(&lab, &log, &gate);
    for handle in &handles {
        eventually("it has run", || second.get(handle.id()).unwrap().state.is_final());
        assert_eq!(second.get(handle.id()).unwrap().value::<u32>().unwrap(), 1);
    }
}

#[test]
fn a_body_that_stops_when_it_is_asked_is_handed_back_and_counted_so() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let first = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            begin(scope, lab, &first, polite::with());
            eventually("it runs", || log.len() == 1);
            assert_eq!(counts(first.shutdown(Duration::ZERO).unwrap()), (0, 1, 0));
        });
        let task = newest(&first, "polite");
        assert_eq!((task.state, task.attempt), (State::Ready, 0));
        drop(first);
        let second = client(lab, &log, &gate);
        lab.settle(&second);
        eventually("it has run", || second.get(task.id).unwrap().state.is_final());
        assert_eq!(second.get(task.id).unwrap().value::<u32>().unwrap(), 1);
    });
}

#[test]
fn a_body_that_ignores_the_word_loses_its_lease_and_is_counted() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let first = client(lab, &log, &gate);
        let handle = std::thread::scope(|scope| {
            let handle = begin(scope, lab, &first, hold::with());
            gate.wait_for(1);
            assert_eq!(counts(first.shutdown(Duration::ZERO).unwrap()), (0, 1, 1));
            let task = newest(&first, "hold");
            assert_eq!((task.state, task.attempt), (State::Ready, 0));
            gate.open();
            handle.join().unwrap()
        });
        assert_eq!(handle.wait(LONG).unwrap_err().code(), "closed");
        drop(first);
        let second = client(lab, &log, &gate);
        lab.settle(&second);
        eventually("it has run", || second.get(handle.id()).unwrap().state.is_final());
        let task = second.get(handle.id()).unwrap();
        assert_eq!((task.value::<u32>().unwrap(), task.attempt), (1, 1));
    });
}

/// Only a pool runs on when its client goes: a caller holds the client until its task has ended.
#[test]
fn dropping_the_client_lets_what_runs_end() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let first = client(&lab, &log, &gate);
    let handle = first.enqueue(hold::with()).unwrap();
    let later = first.enqueue(quick::with().run_after(LONG)).unwrap();
    gate.wait_for(1);
    std::thread::scope(|scope| {
        let dropping = scope.spawn(move || drop(first));
        eventually("it is closed", || later.cancel().is_err_and(|error| error.code() == "closed"));
        gate.open();
        dropping.join().unwrap();
    });
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "closed");
    let second = client(&lab, &log, &gate);
    assert_eq!(second.get(handle.id()).unwrap().state, State::Succeeded);
}

/// Only the thread that goes away with its client matters here.
///
/// What stands in a thread's own store is dropped after much else of the thread has gone.
#[test]
fn a_client_may_go_with_the_thread_that_keeps_it() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Client>> = const { std::cell::RefCell::new(None) };
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let open = || Client::builder(&path).state(Log::default()).register(quick).open().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            KEPT.with_borrow_mut(|kept| *kept = Some(open()));
            KEPT.with_borrow(|kept| {
                let tasks = kept.as_ref().unwrap().acting_as("ada").unwrap();
                let id = tasks.enqueue(quick::with()).unwrap().id();
                tasks.retry(id).unwrap();
            });
        });
    });
    let tasks = open();
    let counted: u64 = tasks.totals().unwrap().iter().map(|lane| lane.counts.enqueued).sum();
    assert_eq!(counted, 1, "what it has counted was written as it went");
    assert_eq!(tasks.audit(None, 9).unwrap().entries.len(), 1);
}

/// Where a body finds the last client there is.
#[derive(Clone, Default)]
struct Last(Arc<Mutex<Option<Client>>>);

/// Only a pool, for the same reason.
#[test]
fn a_body_may_drop_the_last_client() {
    #[task]
    fn let_go(ctx: &Context) -> Result<()> {
        ctx.state::<Gate>()?.pass();
        drop(ctx.state::<Last>()?.0.lock().map_err(|_| "poisoned")?.take());
        Ok(())
    }
    let (lab, gate, last) = (Lab::pool(), Gate::default(), Last::default());
    let builder = lab.builder().register(let_go).state(gate.clone()).state(last.clone());
    let client = builder.open().unwrap();
    let id = client.enqueue(let_go::with()).unwrap().id();
    gate.wait_for(1);
    *last.0.lock().unwrap() = Some(client);
    gate.open();
    let other = lab.builder().mode(litework::Mode::Hold).open().unwrap();
    eventually("its end is kept", || other.get(id).unwrap().state == State::Succeeded);
    let theirs = rusqlite::Connection::open(lab.path()).unwrap();
    eventually("the pool has left", || {
        let sql = "SELECT count(*) FROM litework_worker WHERE left_at IS NULL";
        theirs.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 0
    });
}

#[test]
fn what_takes_its_time_may_end_while_another_thread_shuts_down() {
    #[task]
    fn outlast(ctx: &Context) -> Result<u32> {
        let client = ctx.client().ok_or("no client")?;
        ctx.state::<Gate>()?.pass();
        eventually("nothing more is claimed", || {
            client.run_pending(&Pending::all()).is_err_and(|error| error.code() == "closed")
        });
        // As many looks as a shutdown that does not wait would need to take the lease away.
        let id = ctx.id().ok_or("no id")?;
        (0..300).try_for_each(|_| client.get(id).map(|_| ()))?;
        Ok(ctx.attempt())
    }
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let client = lab.builder().register(outlast).state(gate.clone()).open().unwrap();
        gate.open();
        std::thread::scope(|scope| {
            begin(scope, lab, &client, outlast::with());
            gate.wait_for(1);
            client.shutdown(LONG).unwrap();
        });
        let task = newest(&client, "outlast");
        assert_eq!(task.state, State::Succeeded, "what ran may end, and its end is kept");
    });
}

#[test]
fn nothing_is_left_beside_the_file() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let handle = client.enqueue(quick::with()).unwrap();
        lab.wait(&client, &handle).unwrap();
        client.shutdown(LONG).unwrap();
        drop(client);
        let folder = lab.path().with_file_name("tasks.db-litework");
        eventually("the folder of seats is gone", || !folder.exists());
    });
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    #[task]
    async fn shut_own_client(ctx: &Context) -> Result<String> {
        let client = ctx.client().ok_or("no client")?;
        Ok(client.shutdown_async(LONG).await.err().ok_or("it went on")?.code().to_owned())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_shutdown_inside_a_runtime_waits_for_what_runs() {
        Lab::each_way(|lab| {
            let (log, gate) = (Log::default(), Gate::default());
            let client = client(lab, &log, &gate);
            std::thread::scope(|scope| {
                begin(scope, lab, &client, hold::with());
                gate.wait_for(1);
                runtime().block_on(async {
                    let other = client.clone();
                    let stopping = tokio::spawn(async move { other.shutdown_async(LONG).await });
                    let closed = |error: litework::Error| error.code() == "closed";
                    while !client.cancel("1-0000000000000").is_err_and(closed) {
                        tokio::task::yield_now().await;
                    }
                    gate.open();
                    assert_eq!(counts(stopping.await.unwrap().unwrap()), (1, 0, 0));
                    assert_eq!(newest(&client, "hold").state, State::Succeeded);
                });
            });
        });
    }

    #[test]
    fn an_async_body_that_would_shut_down_its_own_client_is_refused() {
        Lab::each_way(|lab| {
            let client = lab.builder().register(shut_own_client).open().unwrap();
            let handle = client.enqueue(shut_own_client::with()).unwrap();
            assert_eq!(lab.wait(&client, &handle).unwrap(), "reentrant");
        });
    }
}
