//! A body ends its task together with what it writes to the same file: once, whatever happens when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use litework::sqlite::{ContextExt, Late, WriteError};
use litework::{
    Cancelled, Client, Context, Error, Exclusive, Failure, Filter, Pending, Reason, Result, State,
    TaskRecord, Unique, task,
};
use rusqlite::Connection;
use tracing::Level;

use crate::common::{Events, Gate, LONG, Lab, Log, Runs, eventually};
use crate::under_way::{begin, newest};

#[task]
fn receipt(ctx: &Context, order: i64) -> Result<()> {
    ctx.state::<Log>()?.note(format!("receipt {order}"));
    Ok(())
}

/// What the body of `book` does.
type Part = fn(&Context, i64) -> Result<i64>;

/// Does whatever its story gives it.
#[task(attempts = 3, retry = [0s])]
fn book(ctx: &Context, order: i64) -> Result<i64> {
    ctx.state::<Events>()?.collect();
    ctx.state::<Log>()?.note(format!("attempt {}", ctx.attempt()));
    ctx.state::<Part>()?(ctx, order)
}

/// One row of the ledger, one follow-up, one end.
fn enter(ctx: &Context, order: i64) -> Result<i64> {
    ctx.complete_in(|tx| {
        tx.connection().execute("INSERT INTO ledger VALUES (?1, 1)", [order])?;
        tx.enqueue(receipt::with(order))?;
        Ok(10 * order)
    })
}

struct Shop {
    client: Client,
    log: Log,
    gate: Gate,
    events: Events,
    conn: Connection,
}

/// The application's own connection.
#[derive(Clone)]
struct Theirs(Arc<Mutex<Connection>>);

impl Shop {
    fn open(lab: &Lab, part: Part) -> Self {
        let connect = || {
            let conn = Connection::open(lab.path()).unwrap();
            conn.busy_timeout(LONG).unwrap();
            conn
        };
        let (log, gate, events) = (Log::default(), Gate::default(), Events::default());
        let builder = lab.builder().register(book).register(receipt).state(part);
        let builder = builder.state(log.clone()).state(gate.clone()).state(events.clone());
        let theirs = Theirs(Arc::new(Mutex::new(Connection::open_in_memory().unwrap())));
        let client = builder.state(theirs.clone()).open().unwrap();
        *theirs.0.lock().unwrap() = connect();
        let conn = connect();
        conn.execute_batch("CREATE TABLE ledger (number INTEGER, cents INTEGER)").unwrap();
        Self { client, log, gate, events, conn }
    }

    fn book(&self, lab: &Lab) -> TaskRecord {
        let handle = self.client.enqueue(book::with(7)).unwrap();
        lab.ended(&self.client, &handle)
    }

    /// Rows of the ledger, and follow-ups.
    fn kept(&self) -> (i64, u64) {
        let sql = "SELECT count(*) FROM ledger";
        let rows = self.conn.query_row(sql, [], |row| row.get(0)).unwrap();
        (rows, self.client.count(&Filter::new().kind("receipt")).unwrap())
    }

    /// It succeeded, and its writes and its follow-up are there once.
    fn assert_booked_once(&self, lab: &Lab, task: &TaskRecord, attempts: u32) {
        assert_eq!((task.state, task.reason), (State::Succeeded, None), "{task:?}");
        assert_eq!((task.result.as_deref(), task.attempt), (Some("70"), attempts));
        assert_eq!(self.kept(), (1, 1));
        lab.settle(&self.client);
        eventually("the follow-up has run", || {
            self.log.words().iter().any(|word| word == "receipt 7")
        });
    }
}

/// G6.
#[test]
fn a_bodys_writes_its_follow_ups_and_its_end_are_one_commit() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, enter);
        let task = shop.book(lab);
        shop.assert_booked_once(lab, &task, 1);
        assert_eq!(shop.client.handle::<book>(task.id).unwrap().value().unwrap(), 70);
        assert_eq!((task.started_at, task.finished_at), (Some(lab.now()), Some(lab.now())));
        let attempts = shop.client.attempts(task.id).unwrap();
        assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "succeeded"));
        assert_eq!(shop.log.words(), ["attempt 1", "receipt 7"]);
    });
}

/// G6: a transaction that fails or panics leaves nothing, and the attempt ends as any other.
#[test]
fn a_transaction_that_fails_keeps_nothing_and_the_next_attempt_does_it_once() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, |ctx, order| {
            ctx.complete_in(|tx| {
                tx.connection().execute("INSERT INTO ledger VALUES (?1, 1)", [order])?;
                tx.enqueue(receipt::with(order))?;
                match ctx.attempt() {
                    1 => Err(Failure::from("the drawer is stuck").code("stuck")),
                    2 => panic!("in the middle"),
                    _ => Ok(70),
                }
            })
        });
        let task = shop.book(lab);
        shop.assert_booked_once(lab, &task, 3);
        let attempts = shop.client.attempts(task.id).unwrap();
        let errors: Vec<_> = attempts.iter().filter_map(|attempt| attempt.error.as_ref()).collect();
        assert_eq!(errors[0].code.as_deref(), Some("stuck"));
        assert!(errors[1].message.ends_with("in the middle"), "{}", errors[1]);
    });
}

#[test]
fn a_transaction_that_failed_may_be_tried_again_in_the_same_attempt() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, |ctx, order| {
            let failed = ctx.complete_in(|tx| -> std::result::Result<i64, WriteError> {
                tx.connection().execute("INSERT INTO ledger VALUES (?1, 1)", [order])?;
                tx.connection().execute("INSERT INTO nowhere VALUES (1)", [])?;
                Ok(0)
            });
            assert!(matches!(failed, Err(WriteError::Sqlite(_))));
            let seat = ctx.step("seat", || Ok(order))?;
            enter(ctx, seat)
        });
        let task = shop.book(lab);
        shop.assert_booked_once(lab, &task, 1);
    });
}

const FAILED: &str = "the body failed after its finishing transaction; the task has succeeded";

/// What bodies do after their end, and what is said of it.
const AFTERWARDS: [(Part, Option<&str>); 5] = [
    (enter, None),
    (
        |ctx, order| Ok(enter(ctx, order)? + 1),
        Some("the body returned another value than its finishing transaction stored"),
    ),
    (|ctx, order| enter(ctx, order).and(Err("and then it fell".into())), Some(FAILED)),
    (|ctx, order| enter(ctx, order).map(|_| panic!("and then it fell")), Some(FAILED)),
    (|ctx, order| enter(ctx, order).and(Err(Failure::snooze(LONG))), Some(FAILED)),
];

/// G6: the completion stands, and what comes after it is said in the log of the program.
#[test]
fn what_a_body_does_after_its_end_changes_nothing() {
    Lab::each_way(|lab| {
        for (part, warning) in AFTERWARDS {
            let lab = Lab::new(lab.place);
            let shop = Shop::open(&lab, part);
            let task = shop.book(&lab);
            shop.assert_booked_once(&lab, &task, 1);
            // In a pool the body may still be on its way.
            shop.client.shutdown(LONG).unwrap();
            assert_eq!(shop.client.get(task.id).unwrap(), task, "{warning:?}");
            let warnings = shop.events.take().into_iter().filter(|event| event.0 == Level::WARN);
            let warnings: Vec<String> = warnings.map(|(_, text)| text).collect();
            assert_eq!(warnings, Vec::from_iter(warning));
        }
    });
}

/// A value of another type than the task returns is refused before anything is done.
#[test]
fn the_value_is_what_the_task_returns_and_fits_its_limits() {
    #[task(attempts = 1)]
    fn mean(ctx: &Context, typed: bool) -> Result<f64> {
        ctx.complete_in(|tx| -> Result<String> {
            tx.connection().execute("INSERT INTO ledger VALUES (1, 1)", [])?;
            Ok("7".to_owned())
        })
        .map(drop)
        .or_else(|refused| if typed { Ok(()) } else { Err(refused) })?;
        ctx.complete_in(|tx| {
            tx.connection().execute("INSERT INTO ledger VALUES (1, 1)", [])?;
            Ok(f64::NAN)
        })
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(mean).open().unwrap();
        let conn = Connection::open(lab.path()).unwrap();
        conn.execute_batch("CREATE TABLE ledger (number INTEGER, cents INTEGER)").unwrap();
        let expected = [
            "wrong_output: return type is \"alloc::string::String\"; f64, as the task returns",
            "number_out_of_range",
        ];
        for (typed, expected) in [false, true].into_iter().zip(expected) {
            let handle = client.enqueue(mean::with(typed)).unwrap();
            let task = lab.ended(&client, &handle);
            assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Error)));
            let message = task.error.unwrap().message;
            assert!(message.starts_with(expected), "{message}");
        }
        let rows: i64 =
            conn.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
    });
}

#[test]
fn a_large_value_comes_back() {
    #[task]
    fn letters(ctx: &Context, count: usize) -> Result<String> {
        ctx.complete_in(|_tx| Ok::<_, Error>("x".repeat(count))).map_err(Into::into)
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(letters).open().unwrap();
        for count in [0, 2_046, 2_047, 200_000] {
            let handle = client.enqueue(letters::with(count)).unwrap();
            assert_eq!(lab.wait(&client, &handle).unwrap().len(), count);
        }
    });
}

/// A part that must not be run.
fn noted(log: &Log, word: &str) -> i64 {
    log.note(word);
    0
}

/// Says what each of these calls was answered, and goes on.
fn codes(ctx: &Context) -> Result<i64> {
    let log = ctx.state::<Log>()?;
    let client = ctx.client().unwrap();
    let code = |error: &Failure| error.report().message.split(':').next().unwrap().to_owned();
    let value = ctx.complete_in(|tx| -> Result<i64> {
        let inside = [
            ctx.complete_in(|_| Ok(1_i64)).map(drop).map_err(|error: Failure| code(&error)),
            ctx.step("inside", || Ok(noted(log, "run inside")))
                .map(drop)
                .map_err(|error| code(&error)),
            client.enqueue(receipt::with(1)).map(drop).map_err(|error| error.code().to_owned()),
        ];
        for answer in inside {
            log.note(format!("inside {answer:?}"));
        }
        tx.enqueue(receipt::with(7))?;
        tx.connection().execute("INSERT INTO ledger VALUES (7, 1)", [])?;
        Ok(70)
    })?;
    let after = [
        ctx.complete_in(|_| Ok(noted(log, "run again")))
            .map(drop)
            .map_err(|error: Failure| code(&error)),
        ctx.step("after", || Ok(noted(log, "run after"))).map(drop).map_err(|error| code(&error)),
        ctx.sleep("nap", LONG).map_err(|error| code(&error)),
    ];
    for answer in after {
        log.note(format!("after {answer:?}"));
    }
    Ok(value)
}

#[test]
fn nothing_else_is_done_inside_or_after_the_end() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, |ctx, _| codes(ctx));
        let task = shop.book(lab);
        shop.assert_booked_once(lab, &task, 1);
        shop.client.shutdown(LONG).unwrap();
        let words = shop.log.words();
        let told = |when: &str| words.iter().filter(|word| word.starts_with(when)).count();
        assert_eq!((told("inside Err(\"reentrant\")"), told("after Err(\"reentrant\")")), (3, 3));
        assert_eq!(told("run"), 0, "{words:?}");
    });
}

/// Stands at the gate inside the transaction that ends it.
fn held_inside(ctx: &Context, order: i64) -> Result<i64> {
    let gate = ctx.state::<Gate>()?;
    ctx.step("before", || Ok(()))?;
    gate.pass();
    assert!(ctx.is_stopping());
    enter(ctx, order)
}

#[test]
fn an_end_wins_over_a_request_to_cancel() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, held_inside);
        std::thread::scope(|scope| {
            let running = begin(scope, lab, &shop.client, book::with(7));
            shop.gate.wait_for(1);
            let id = newest(&shop.client, "book").id;
            assert_eq!(shop.client.cancel(id).unwrap(), Cancelled::Requested);
            shop.gate.open();
            let handle = running.join().unwrap();
            let task = lab.ended(&shop.client, &handle);
            shop.assert_booked_once(lab, &task, 1);
            assert!(task.cancel_requested);
        });
    });
}

/// Goes on after its end until its story lets it go.
fn held_after(ctx: &Context, order: i64) -> Result<i64> {
    let value = enter(ctx, order)?;
    ctx.state::<Gate>()?.pass();
    ctx.state::<Log>()?.note("let go");
    Ok(value)
}

#[test]
fn whoever_waits_hears_of_the_end_at_its_commit() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, held_after);
        std::thread::scope(|scope| {
            let running = begin(scope, lab, &shop.client, book::with(7));
            shop.gate.wait_for(1);
            let task = newest(&shop.client, "book");
            let handle = shop.client.handle::<book>(task.id).unwrap();
            assert_eq!(handle.wait(LONG).unwrap(), 70);
            assert!(!shop.log.words().contains(&"let go".to_owned()));
            shop.gate.open();
            running.join().unwrap();
            shop.assert_booked_once(lab, &task, 1);
        });
    });
}

#[test]
fn keys_and_locks_are_let_go_with_the_commit() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, held_after);
        let call = || {
            let desk = Exclusive::lock("desk").wait();
            book::with(7).unique(Unique::key("order/{order}")).exclusive(desk)
        };
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &shop.client, call());
            shop.gate.wait_for(1);
            let second = begin(scope, lab, &shop.client, call());
            shop.gate.wait_for(2);
            assert_eq!(shop.kept(), (2, 2), "both have ended, and both bodies go on");
            shop.gate.open();
            assert!(!first.join().unwrap().is_existing() && !second.join().unwrap().is_existing());
        });
    });
}

#[test]
fn a_body_that_has_the_grace_to_end_may_end_itself() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, |ctx, order| {
            ctx.state::<Gate>()?.pass();
            enter(ctx, order)
        });
        std::thread::scope(|scope| {
            let running = begin(scope, lab, &shop.client, book::with(7));
            shop.gate.wait_for(1);
            let closing = scope.spawn(|| shop.client.shutdown(LONG).unwrap());
            eventually("it is closed to others", || {
                shop.client.cancel("no such task").is_err_and(|error| error.code() == "closed")
            });
            shop.gate.open();
            let stopped = closing.join().unwrap();
            assert_eq!((stopped.finished, stopped.still_running), (1, 0));
            running.join().unwrap();
        });
        let task = newest(&shop.client, "book");
        assert_eq!((task.state, task.result.as_deref()), (State::Succeeded, Some("70")));
        assert_eq!(newest(&shop.client, "receipt").state, State::Ready, "for the next program");
    });
}

/// G4, G6: an attempt that holds its task no longer.
#[test]
fn an_attempt_that_has_lost_its_task_makes_no_step_and_ends_nothing() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, |ctx, order| {
            let row = ctx.id().unwrap().row();
            let theirs = &ctx.state::<Theirs>()?.0;
            let taken = "UPDATE litework_task SET attempt = 2 WHERE id = ?1";
            theirs.lock().unwrap().execute(taken, [row])?;
            let log = ctx.state::<Log>()?;
            let step = ctx.step("charge", || Ok(noted(log, "charged"))).unwrap_err();
            log.note(step.report().code.clone().unwrap());
            let ended = ctx.complete_in(|_| Ok(noted(log, "called")));
            let ended: Error = ended.unwrap_err();
            log.note(ended.code());
            enter(ctx, order)
        });
        let handle = shop.client.enqueue(book::with(7)).unwrap();
        lab.settle(&shop.client);
        eventually("it has been refused", || shop.log.len() == 3);
        assert_eq!(shop.log.words(), ["attempt 1", "lease_lost", "lease_lost"]);
        assert_eq!(shop.client.get(handle.id()).unwrap().state, State::Running);
        assert_eq!(shop.kept(), (0, 0));
        assert!(shop.client.steps(handle.id()).unwrap().is_empty());
    });
}

/// Only what ends itself is due, so a place that is not given back, or an end that is not counted, shows.
#[test]
fn tasks_that_end_themselves_give_their_places_back_and_are_counted() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, enter);
        let handles = shop.client.enqueue_many((0..40).map(book::with)).unwrap();
        if lab.runs(Runs::RunPending) {
            let ran = shop.client.run_pending(&Pending::all()).unwrap();
            assert_eq!((ran.succeeded, ran.failed, ran.postponed), (80, 0, 0));
        }
        for (order, handle) in (0..40).zip(&handles) {
            assert_eq!(lab.wait(&shop.client, handle).unwrap(), 10 * order);
        }
        assert_eq!(shop.kept(), (40, 40));
        eventually("the follow-ups have run", || shop.log.len() == 80);
    });
}

#[test]
fn a_late_call_in_the_transaction_is_stored_though_that_fails() {
    Lab::each_way(|lab| {
        let shop = Shop::open(lab, |ctx, order| {
            let mut late = None;
            let failed = ctx.complete_in(|tx| {
                late = tx.enqueue(receipt::with(1).on_commit(false))?.late();
                Err::<i64, Error>(Error::Closed)
            });
            assert_eq!(failed.unwrap_err().code(), "closed");
            late.map(Late::handle).unwrap()?;
            enter(ctx, order)
        });
        let task = shop.book(lab);
        assert_eq!(task.state, State::Succeeded);
        assert_eq!(shop.kept(), (1, 2));
    });
}

#[test]
#[cfg(feature = "tokio")]
fn an_async_body_may_end_itself() {
    #[task]
    async fn later(ctx: &Context) -> Result<i64> {
        let seat = ctx.step("seat", || Ok(7))?;
        std::future::ready(()).await;
        ctx.complete_in(|_| Ok::<i64, Error>(seat)).map_err(Into::into)
    }
    Lab::each_way(|lab| {
        let client = lab.builder().register(later).open().unwrap();
        let handle = client.enqueue(later::with()).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 7);
        assert_eq!(client.attempts(handle.id()).unwrap().len(), 1);
    });
}

/// Only a file has transactions, and only a task that runs has an end.
#[test]
fn without_a_file_or_a_task_there_is_no_transaction_and_steps_just_run() {
    let detached = Context::detached();
    let refused = detached.complete_in(|_| Ok::<(), Error>(())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "unsupported: context is \"detached\"; the context of a task that runs, as a finishing \
         transaction needs its queue"
    );
    assert_eq!(detached.step("seat", || Ok(7)).unwrap(), 7);
    detached.sleep("nap", Duration::from_secs(3_600)).unwrap();
    for name in ["seat", "two words"] {
        detached.step(name, || -> Result<()> { unreachable!("it is refused") }).unwrap_err();
    }
    #[task]
    fn alone(ctx: &Context) -> Result<()> {
        let refused = ctx.complete_in(|_| Ok::<(), Error>(())).unwrap_err();
        assert_eq!(refused.code(), "unsupported");
        ctx.step("goes-on", || Ok(()))
    }
    let client = Client::in_memory().register(alone).open().unwrap();
    client.enqueue(alone::with()).unwrap().value().unwrap();
}
