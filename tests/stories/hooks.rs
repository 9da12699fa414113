//! Receivers of events beside transactions, shutdowns and many threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use litework::sqlite::{ClientExt, ContextExt, WriteError};
use litework::{
    Builder, Client, Context, Event, EventKind, Failure, Filter, Flow, Mode, Result, State, task,
};
use rusqlite::{Connection, TransactionBehavior};

use crate::common::{Gate, LONG, Lab, Log, eventually};
use crate::under_way::{begin, newest};

const MINUTE: Duration = Duration::from_secs(60);

#[task]
fn ship(order: i64) -> i64 {
    order
}

/// Ends only when it is asked to.
#[task]
fn polite(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
    ctx.check()
}

/// Fails once and asks for a minute.
#[task(attempts = 2)]
fn falter(ctx: &Context) -> Result<()> {
    if ctx.attempt() == 1 {
        return Err(Failure::retry_after(MINUTE, "not today"));
    }
    Ok(())
}

fn listening(lab: &Lab, log: &Log) -> Builder {
    let heard = log.clone();
    let builder = lab.builder().register(ship).register(polite).register(falter);
    builder.on(EventKind::ALL, move |_, event| {
        heard.note(format!("{} {}", event.what, event.kind));
    })
}

fn theirs(lab: &Lab) -> Connection {
    let conn = Connection::open(lab.path()).unwrap();
    conn.busy_timeout(LONG).unwrap();
    conn
}

#[test]
fn what_is_stored_in_a_transaction_is_told_once_it_has_committed() {
    const TOLD: [&str; 4] = ["enqueued ship", "started ship", "succeeded ship", "finished ship"];
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = listening(lab, &log).open().unwrap();
        let before = log.clone();
        let stored = client.write(|tx| {
            let handle = tx.enqueue(ship::with(7))?.handle().unwrap();
            assert!(before.words().is_empty(), "it may still fail");
            Ok::<_, WriteError>(handle)
        });
        lab.wait(&client, &stored.unwrap()).unwrap();
        eventually("it is told", || log.len() == 4);
        assert_eq!(log.words(), TOLD);

        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let pending = client.enqueue_in(&tx, ship::with(8)).unwrap();
        assert_eq!(log.len(), 4);
        tx.commit().unwrap();
        let handle = pending.committed();
        lab.wait(&client, &handle).unwrap();
        eventually("it is told", || log.len() == 8);
        assert_eq!(log.words()[4..], TOLD);

        let mut outbox = client.outbox();
        outbox.enqueue(ship::with(9)).unwrap();
        assert_eq!(log.len(), 8, "nothing is stored yet");
        let ids = outbox.send().unwrap();
        lab.wait(&client, &client.handle::<ship>(ids[0]).unwrap()).unwrap();
        eventually("it is told", || log.len() == 12);
        assert_eq!(log.words()[8..], TOLD);
    });
}

/// Ends itself, with what comes next, in one transaction; the first time it does not commit.
#[task]
fn settle(ctx: &Context) -> Result<i64> {
    let failed = ctx.complete_in(|tx| -> Result<i64> {
        tx.enqueue(ship::with(1))?;
        Err(Failure::from("not yet"))
    });
    assert!(failed.is_err());
    ctx.complete_in(|tx| {
        tx.enqueue(ship::with(2).run_after(MINUTE))?;
        Ok(7)
    })
}

#[test]
fn a_body_that_records_its_own_end_is_told_once_and_after_its_commit() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = listening(lab, &log).register(settle).open().unwrap();
        let handle = client.enqueue(settle::with()).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 7);
        client.shutdown(LONG).unwrap();
        let expected = [
            "enqueued settle",
            "started settle",
            "enqueued ship",
            "succeeded settle",
            "finished settle",
        ];
        assert_eq!(log.words(), expected);
    });
}

#[test]
fn a_body_that_records_its_own_end_tells_of_the_flow_that_ends_with_it() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = listening(lab, &log).register(settle).open().unwrap();
        let batch = client.enqueue_flow(Flow::group("one", [settle::with()])).unwrap();
        assert_eq!(lab.ended(&client, &batch).state, State::Succeeded);
        client.shutdown(LONG).unwrap();
        let words = log.words();
        let ends = |word: &&String| word.starts_with("succeeded") || word.starts_with("finished");
        let ends: Vec<_> =
            words.iter().filter(ends).filter(|word| !word.ends_with("ship")).collect();
        let expected = [
            "succeeded settle",
            "finished settle",
            "succeeded litework.batch",
            "finished litework.batch",
        ];
        assert_eq!(ends, expected, "{words:#?}");
    });
}

#[test]
fn what_a_transaction_did_not_keep_is_told_to_nobody() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = listening(lab, &log).open().unwrap();
        let failed = client.write(|tx| {
            tx.enqueue(ship::with(7))?;
            tx.connection().execute("INSERT INTO nowhere VALUES (7)", [])?;
            Ok::<_, WriteError>(())
        });
        failed.unwrap_err();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            client.write(|tx| -> std::result::Result<(), WriteError> {
                tx.enqueue(ship::with(8))?;
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let pending = client.enqueue_in(&tx, ship::with(9)).unwrap();
        tx.rollback().unwrap();
        pending.rolled_back();
        let mut outbox = client.outbox();
        outbox.enqueue(ship::with(10)).unwrap();
        drop(outbox);
        // The rows' numbers are free again; the next task has one of them.
        let handle = client.enqueue(ship::with(11)).unwrap();
        lab.wait(&client, &handle).unwrap();
        client.shutdown(LONG).unwrap();
        assert_eq!(log.len(), 4, "{:?}", log.words());
    });
}

#[test]
fn an_attempt_that_is_handed_back_has_a_start_and_no_end() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        gate.open();
        let client = listening(lab, &log).state(gate.clone()).open().unwrap();
        std::thread::scope(|scope| {
            let running = begin(scope, lab, &client, polite::with());
            gate.wait_for(1);
            client.shutdown(Duration::ZERO).unwrap();
            running.join().unwrap();
        });
        let task = newest(&client, "polite");
        assert_eq!((task.state, task.attempt), (State::Ready, 0));
        assert_eq!(log.words(), ["enqueued polite", "started polite"]);
    });
}

#[test]
fn each_client_is_told_of_what_is_done_through_it() {
    Lab::each_way(|lab| {
        let (log, others) = (Log::default(), Log::default());
        let heard = others.clone();
        let other = lab.builder().mode(Mode::Enqueue).register(ship);
        let other = other.on(EventKind::ALL, move |_, event| heard.note(event.what.as_str()));
        let other = other.open().unwrap();
        let handle = other.enqueue(ship::with(7)).unwrap();
        let client = listening(lab, &log).open().unwrap();
        lab.settle(&client);
        // A look at the file, as the other client knows nobody who would run it in the caller.
        eventually("it has run", || handle.refresh().unwrap().state.is_final());
        client.shutdown(LONG).unwrap();
        other.shutdown(LONG).unwrap();
        assert_eq!(others.words(), ["enqueued"]);
        assert_eq!(log.words(), ["started ship", "succeeded ship", "finished ship"]);
    });
}

/// Cancelling is quick, but what is told of the failure goes first.
#[test]
fn what_another_thread_does_to_a_task_is_told_after_what_is_being_told() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let held = gate.clone();
        let client = listening(lab, &log).on(EventKind::Failed, move |_, _| held.pass());
        let client = client.state(gate.clone()).open().unwrap();
        std::thread::scope(|scope| {
            let running = begin(scope, lab, &client, falter::with());
            gate.wait_for(1);
            let id = newest(&client, "falter").id;
            let canceller = &client;
            let cancelling = scope.spawn(move || canceller.cancel(id).unwrap());
            eventually("it is cancelled", || client.get(id).unwrap().state == State::Cancelled);
            assert_eq!(log.words().last().unwrap(), "failed falter");
            gate.open();
            cancelling.join().unwrap();
            running.join().unwrap();
        });
        let words = log.words();
        let expected = ["failed falter", "cancelled falter", "finished falter"];
        assert_eq!(words[words.len() - 3..], expected);
    });
}

/// Only a pool claims while the caller is still telling: a receiver holds the caller up at the first of
/// two tasks.
#[test]
fn a_worker_that_is_first_tells_of_the_enqueue_and_one_that_is_second_waits() {
    let lab = Lab::pool();
    let (log, gate) = (Log::default(), Gate::default());
    let (heard, held) = (log.clone(), gate.clone());
    let client = lab
        .builder()
        .register(ship)
        .on(EventKind::ALL, move |client, event| {
            let order = client.get(event.id).unwrap().arguments;
            let pool =
                std::thread::current().name().is_some_and(|name| name.starts_with("litework"));
            heard.note(format!("{} {order}{}", event.what, if pool { " by the pool" } else { "" }));
            if event.what == EventKind::Enqueued && order.contains('1') {
                held.pass();
                heard.note(format!("{} {order} and told", event.what));
            }
        })
        .open()
        .unwrap();
    let storer = &client;
    std::thread::scope(|scope| {
        let later = |order| ship::with(order).run_after(MINUTE);
        let storing = scope.spawn(move || storer.enqueue_many((1..=2).map(later)).unwrap());
        gate.wait_for(1);
        lab.clock.advance(MINUTE);
        eventually("the second has run", || {
            log.words().iter().any(|word| word.starts_with("finished"))
        });
        gate.open();
        for handle in storing.join().unwrap() {
            handle.wait(LONG).unwrap();
        }
    });
    client.shutdown(LONG).unwrap();
    let words = log.words();
    let of = |order: &str| -> Vec<String> {
        let name = format!(" {{\"order\":{order}}}");
        let own = words.iter().filter(|word| word.contains(&name));
        own.map(|word| word.replace(&name, "")).collect()
    };
    let pool = |what| format!("{what} by the pool");
    let ran = ["started", "succeeded", "finished"].map(pool);
    let first = ["enqueued", "enqueued and told"].map(str::to_owned);
    assert_eq!(of("1"), [&first[..], &ran[..]].concat());
    assert_eq!(of("2"), [&[pool("enqueued")][..], &ran[..]].concat());
}

/// Only a pool has threads that could tell of one task at the same time.
#[test]
fn the_events_of_each_task_come_in_order_and_once_however_many_threads_tell() {
    use EventKind::{Enqueued, Failed, Finished, Started, Succeeded};
    const EACH: i64 = 100;
    let lab = Lab::pool();
    let told: Arc<Mutex<BTreeMap<_, Vec<_>>>> = Arc::default();
    let heard = Arc::clone(&told);
    let client = lab
        .builder()
        .workers(4)
        .register(ship)
        .register(again)
        .on(EventKind::ALL, move |_, event: &Event| {
            std::thread::yield_now();
            heard.lock().unwrap().entry(event.id).or_default().push((event.what, event.attempt));
            std::thread::yield_now();
        })
        .open()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (client, told) = (&client, &told);
            scope.spawn(move || {
                for n in 0..EACH {
                    let id = if thread == 0 {
                        client.enqueue(again::with()).unwrap().id()
                    } else {
                        client.enqueue(ship::with(n)).unwrap().id()
                    };
                    let first = told.lock().unwrap()[&id][0].0;
                    assert_eq!(first, EventKind::Enqueued, "told before the call returns");
                }
            });
        }
        for _ in 0..EACH {
            client.enqueue_many((0..3).map(ship::with)).unwrap();
        }
    });
    let open = Filter::new().state(State::Ready).state(State::Running).state(State::Scheduled);
    eventually("all have ended", || client.count(&open).unwrap() == 0);
    client.shutdown(LONG).unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), usize::try_from(7 * EACH).unwrap());
    let simple = [(Enqueued, 0), (Started, 1), (Succeeded, 1), (Finished, 1)];
    let twice =
        [(Enqueued, 0), (Started, 1), (Failed, 1), (Started, 2), (Succeeded, 2), (Finished, 2)];
    for events in told.values() {
        assert!(events == &simple || events == &twice, "{events:?}");
    }
}

/// Fails once and is tried again at once.
#[task(attempts = 2, retry = [0s])]
fn again(ctx: &Context) -> Result<()> {
    if ctx.attempt() == 1 {
        return Err(Failure::from("once"));
    }
    Ok(())
}

#[test]
fn a_receiver_that_does_not_return_does_not_keep_the_program_from_ending() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let held = gate.clone();
        let client = listening(lab, &log).on(EventKind::Finished, move |_, _| held.pass());
        let client = client.open().unwrap();
        std::thread::scope(|scope| {
            let running = begin(scope, lab, &client, ship::with(7));
            gate.wait_for(1);
            client.shutdown(Duration::ZERO).unwrap();
            assert_eq!(newest(&client, "ship").state, State::Succeeded, "its end is stored");
            gate.open();
            running.join().unwrap();
        });
    });
}

#[test]
fn a_body_that_enqueues_into_another_file_gives_its_trace_on() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[task]
    fn pass_on(ctx: &Context) -> Result<Option<String>> {
        let elsewhere = ctx.state::<Client>()?;
        let passed = elsewhere.enqueue(ship::with(7).run_after(MINUTE))?;
        Ok(passed.refresh()?.trace)
    }

    Lab::each_way(|lab| {
        let elsewhere = Client::in_memory().mode(Mode::Hold).register(ship).open().unwrap();
        let client = lab.builder().register(pass_on).state(elsewhere).open().unwrap();
        let handle = client.enqueue(pass_on::with().trace(TRACE)).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap().as_deref(), Some(TRACE));
    });
}
