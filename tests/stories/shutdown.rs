//! A program that ends loses nothing: what runs may end, what has not started goes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use litework::{Client, Context, Filter, Result, State, Stopped, task};

use crate::common::{Gate, LONG, Lab, Log, eventually};

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
    while ctx.attempt() == 1 && ctx.state::<Log>()?.len() == 1 {
        ctx.check()?;
        std::thread::yield_now();
    }
    Ok(ctx.attempt())
}

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().workers(1).register(hold).register(quick).register(polite);
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
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let client = client(&lab, &log, &gate);
    let id = client.enqueue(hold::with()).unwrap().id();
    gate.wait_for(1);
    let stopped = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| client.shutdown(LONG).unwrap());
        until_closed(&client);
        gate.open();
        stopping.join().unwrap()
    });
    assert_eq!(counts(stopped), (1, 0, 0));
    assert_eq!(client.get(id).unwrap().state, State::Succeeded);
    assert_eq!(client.shutdown(LONG).unwrap(), Stopped::default(), "once is enough");
}

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
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let first = client(&lab, &log, &gate);
    let id = first.enqueue(polite::with()).unwrap().id();
    eventually("it runs", || log.len() == 1);
    let stopped = first.shutdown(Duration::ZERO).unwrap();
    let task = first.get(id).unwrap();
    assert_eq!((task.state, task.attempt), (State::Ready, 0));
    drop(first);
    let second = client(&lab, &log, &gate);
    eventually("it has run", || second.get(id).unwrap().state.is_final());
    assert_eq!(second.get(id).unwrap().value::<u32>().unwrap(), 1);
    assert_eq!(counts(stopped), (0, 1, 0));
}

#[test]
fn a_body_that_ignores_the_word_loses_its_lease_and_is_counted() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let first = client(&lab, &log, &gate);
    let handle = first.enqueue(hold::with()).unwrap();
    gate.wait_for(1);
    let stopped = first.shutdown(Duration::ZERO).unwrap();
    assert_eq!(counts(stopped), (0, 1, 1));
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "closed");
    let task = first.get(handle.id()).unwrap();
    assert_eq!((task.state, task.attempt), (State::Ready, 0));
    gate.open();
    drop(first);
    let second = client(&lab, &log, &gate);
    eventually("it has run", || second.get(handle.id()).unwrap().state.is_final());
    let task = second.get(handle.id()).unwrap();
    assert_eq!((task.value::<u32>().unwrap(), task.attempt), (1, 1));
}

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

/// Where a body finds the last client there is.
#[derive(Clone, Default)]
struct Last(Arc<Mutex<Option<Client>>>);

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
fn a_task_that_runs_in_its_caller_may_end_while_another_thread_shuts_down() {
    #[task]
    fn outlast(ctx: &Context) -> Result<u32> {
        let client = ctx.client().ok_or("no client")?;
        ctx.state::<Gate>()?.pass();
        until_closed(client);
        // As many looks as a shutdown that does not wait would need to take the lease away.
        let id = ctx.id().ok_or("no id")?;
        (0..300).try_for_each(|_| client.get(id).map(|_| ()))?;
        Ok(ctx.attempt())
    }
    let (lab, gate) = (Lab::inline(), Gate::default());
    let client = lab.builder().register(outlast).state(gate.clone()).open().unwrap();
    gate.open();
    std::thread::scope(|scope| {
        scope.spawn(|| client.enqueue(outlast::with()).map(|_| ()));
        gate.wait_for(1);
        client.shutdown(LONG).unwrap();
    });
    let task = client.list(&Filter::new(), None, 1).unwrap().tasks.remove(0);
    assert_eq!(task.state, State::Succeeded, "what ran may end, and its end is kept");
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
