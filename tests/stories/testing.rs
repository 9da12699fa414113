//! How a program is tested with the kit: what it enqueues is looked at, run when the test says so, and
//! made to fail where that matters.

use std::time::Duration;

use litework::sqlite::{ClientExt, ContextExt, WriteError};
use litework::testing::{Drain, WriteFault, WritePoint, drain, fail_writes, no_leftovers};
use litework::{
    Client, Context, Error, Mode, Result, assert_enqueued, assert_no_leftovers, refute_enqueued,
    task,
};

use crate::common::{Lab, Log, Runs};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Books an order and reminds of it.
#[task]
fn order(ctx: &Context, number: u32) -> Result<()> {
    ctx.enqueue(remind::with(number, "ada").run_after(DAY).tag("reminder"))?;
    Ok(())
}

#[task(queue = "mail")]
fn remind(ctx: &Context, number: u32, who: &str) -> Result<()> {
    ctx.state::<Log>()?.note(format!("{who}: {number}"));
    Ok(())
}

#[task]
fn book(ctx: &Context, cents: i64) -> Result<i64> {
    ctx.complete_in(|tx| {
        tx.connection().execute("INSERT INTO ledger VALUES (?1)", [cents])?;
        tx.enqueue(remind::with(1, "ada").run_after(DAY))?;
        Ok(cents)
    })
}

fn builder(lab: &Lab, log: &Log) -> litework::Builder {
    lab.builder().register(order).register(remind).register(book).state(log.clone())
}

fn rows(client: &Client) -> i64 {
    let count = client.write(|tx| {
        Ok::<_, WriteError>(tx.connection().query_row(
            "SELECT count(*) FROM ledger",
            [],
            |row| row.get(0),
        )?)
    });
    count.unwrap()
}

#[test]
fn a_program_is_tested_from_what_it_enqueues_to_what_comes_of_it_a_day_later() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let _all_done = no_leftovers(&client);
        let ordered = client.enqueue(order::with(7)).unwrap();
        lab.ended(&client, &ordered);
        let found = assert_enqueued!(
            client,
            remind { number: 7, .. },
            queue = "mail",
            tag = "reminder",
            run_after = DAY,
            count = 1
        );
        refute_enqueued!(client, remind { who: "grace", .. });
        assert_eq!(lab.clock.advance_to_next(&client).unwrap(), Some(found[0].due_at));
        lab.ended(&client, &client.handle::<remind>(found[0].id).unwrap());
        assert_eq!(log.words(), ["ada: 7"]);
    });
}

/// A drain is for modes in which nobody else runs what is due.
#[test]
fn a_drain_goes_on_where_no_thread_does_and_is_refused_beside_a_pool() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let ordered = client.enqueue(order::with(7)).unwrap();
        let drained = drain(&client, &Drain::new().delayed(&lab.clock));
        match lab.place.runs {
            Runs::Pool => assert_eq!(drained.unwrap_err().code(), "unsupported"),
            // The caller has run the first by itself.
            Runs::Inline => assert_eq!(drained.unwrap().succeeded, 1),
            Runs::RunPending => assert_eq!(drained.unwrap().succeeded, 2),
        }
        lab.ended(&client, &ordered);
    });
}

#[test]
fn a_transaction_that_fails_leaves_nothing_and_one_of_unknown_outcome_may_leave_all() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let enqueue = || {
            client.write(|tx| {
                tx.connection()
                    .execute_batch("CREATE TABLE IF NOT EXISTS ledger (cents INTEGER)")?;
                tx.connection().execute("INSERT INTO ledger VALUES (1)", [])?;
                tx.enqueue(remind::with(1, "ada").run_after(DAY))?;
                Ok::<_, WriteError>(())
            })
        };
        enqueue().unwrap();
        for (fault, code, stored) in [
            (WriteFault::NotStored, "not_stored", 0),
            (WriteFault::UnknownLost, "unknown_outcome", 0),
            (WriteFault::UnknownStored, "unknown_outcome", 1),
        ] {
            let before = rows(&client);
            fail_writes(&client, WritePoint::Transaction, fault, 1);
            match enqueue().unwrap_err() {
                WriteError::Queue(error) => assert_eq!(error.code(), code),
                other => panic!("{other}"),
            }
            assert_eq!(rows(&client) - before, stored, "{fault:?}");
        }
        assert_enqueued!(client, remind, count = 2);
    });
}

/// G6: whatever becomes of its commits, a payment is booked once.
#[test]
fn a_finishing_transaction_that_fails_is_tried_again_and_books_once() {
    Lab::each_way(|lab| {
        for fault in [WriteFault::NotStored, WriteFault::UnknownLost, WriteFault::UnknownStored] {
            let log = Log::default();
            let client = builder(lab, &log).open().unwrap();
            client
                .write(|tx| {
                    tx.connection().execute_batch(
                        "DROP TABLE IF EXISTS ledger; CREATE TABLE ledger (cents INTEGER)",
                    )?;
                    Ok::<_, WriteError>(())
                })
                .unwrap();
            fail_writes(&client, WritePoint::Transaction, fault, 1);
            let booked =
                client.enqueue(book::with(995).retry(litework::Retry::ladder([]))).unwrap();
            assert_eq!(lab.wait(&client, &booked).unwrap(), 995, "{fault:?}");
            assert_eq!(rows(&client), 1, "{fault:?}");
        }
    });
}

/// Only a client that runs nothing shows what a program does when the disk is full.
#[test]
fn a_program_that_sends_again_under_a_key_stores_one_task() {
    let lab = Lab::pool();
    let client = builder(&lab, &Log::default()).mode(Mode::Hold).open().unwrap();
    let place_order = |number: u32| -> Result<(), Error> {
        let call = || order::with(number).key(format!("order-{number}"));
        match client.enqueue(call()) {
            Err(error) if error.code() == "unknown_outcome" => client.enqueue(call()).map(drop),
            answer => answer.map(drop),
        }
    };
    fail_writes(&client, WritePoint::Enqueue, WriteFault::UnknownStored, 1);
    place_order(1).unwrap();
    fail_writes(&client, WritePoint::Enqueue, WriteFault::UnknownLost, 1);
    place_order(2).unwrap();
    fail_writes(&client, WritePoint::Enqueue, WriteFault::NotStored, 1);
    assert_eq!(place_order(3).unwrap_err().code(), "not_stored");
    assert_enqueued!(client, order, count = 2);
    drain(&client, &Drain::new().delayed(&lab.clock)).unwrap();
    assert_no_leftovers!(client);
}
