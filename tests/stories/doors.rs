//! A task can belong to a transaction: it exists if and only if that commits.

use std::time::Duration;

use litework::sqlite::{ClientExt, Late, WriteError};
use litework::{Client, Context, Error, Filter, Result, State, task};
use rusqlite::{Connection, TransactionBehavior};

use crate::common::{LONG, Lab, Log, Runs};

#[task]
fn ship(ctx: &Context, order: i64) -> Result<i64> {
    ctx.state::<Log>()?.note(order.to_string());
    Ok(order)
}

#[task]
fn bill(order: i64) -> i64 {
    order
}

fn client(lab: &Lab, log: &Log) -> Client {
    lab.builder().register(ship).register(bill).state(log.clone()).open().unwrap()
}

/// The application's own connection.
fn theirs(lab: &Lab) -> Connection {
    let conn = Connection::open(lab.path()).unwrap();
    conn.busy_timeout(LONG).unwrap();
    conn.execute_batch("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)").unwrap();
    conn
}

fn orders(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
}

fn tasks(client: &Client) -> u64 {
    client.count(&Filter::new()).unwrap()
}

/// G7: what is written and what is to be done about it come with one commit.
#[test]
fn write_commits_statements_and_tasks_together() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let conn = theirs(lab);
        let written = client.write(|tx| {
            tx.connection().execute("INSERT INTO orders VALUES (7)", [])?;
            let first = tx.enqueue(ship::with(7))?.handle().unwrap();
            let second = tx.enqueue(bill::with(7))?.handle().unwrap();
            Ok::<_, WriteError>((first, second))
        });
        let (first, second) = written.unwrap();
        assert_eq!(orders(&conn), 1);
        assert_eq!(lab.wait(&client, &first).unwrap(), 7);
        assert_eq!(lab.wait(&client, &second).unwrap(), 7);
        assert_eq!(log.words(), ["7"]);
    });
}

/// G7: and neither comes without the other.
#[test]
fn write_keeps_nothing_when_its_body_fails_or_panics() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let conn = theirs(lab);
        let failed = client.write(|tx| {
            tx.connection().execute("INSERT INTO orders VALUES (7)", [])?;
            tx.enqueue(ship::with(7))?;
            tx.connection().execute("INSERT INTO nowhere VALUES (7)", [])?;
            Ok::<_, WriteError>(())
        });
        assert!(matches!(failed.unwrap_err(), WriteError::Sqlite(_)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            client.write(|tx| -> std::result::Result<(), WriteError> {
                tx.enqueue(ship::with(8))?;
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        lab.settle(&client);
        assert_eq!((orders(&conn), tasks(&client), log.len()), (0, 0, 0));
        let good = client.enqueue(ship::with(9)).unwrap();
        assert_eq!(lab.wait(&client, &good).unwrap(), 9);
    });
}

#[test]
fn a_kind_first_named_in_a_transaction_that_failed_can_be_used_afterwards() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let failed = client.write(|tx| {
            tx.enqueue(ship::with(7))?;
            Err::<(), WriteError>(Error::Closed.into())
        });
        failed.unwrap_err();
        let second = client.enqueue(bill::with(1)).unwrap();
        let first = client.enqueue(ship::with(2)).unwrap();
        assert_eq!(client.get(first.id()).unwrap().kind, "ship");
        assert_eq!(lab.wait(&client, &first).unwrap(), 2);
        assert_eq!(lab.wait(&client, &second).unwrap(), 1);
    });
}

#[test]
fn write_keeps_nothing_when_its_body_ends_the_transaction() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let conn = theirs(lab);
        for sql in ["COMMIT", "ROLLBACK", "ROLLBACK; BEGIN IMMEDIATE"] {
            let answer = client.write(|tx| {
                tx.connection().execute("INSERT INTO orders VALUES (7)", [])?;
                tx.enqueue(ship::with(7))?;
                let ended = tx.connection().execute_batch(sql);
                assert_eq!(ended.is_err(), sql == "COMMIT", "{ended:?}");
                Ok::<_, WriteError>(())
            });
            let WriteError::Queue(refused) = answer.unwrap_err() else { panic!("it is ours") };
            assert_eq!(refused.code(), "not_stored", "{sql}: {refused}");
            assert_eq!((orders(&conn), tasks(&client)), (0, 0), "{sql}");
        }
        client.write(|tx| tx.enqueue(ship::with(8)).map(drop)).unwrap();
        assert_eq!(tasks(&client), 1);
    });
}

#[test]
fn write_follows_savepoints() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let written = client.write(|tx| {
            tx.connection().execute_batch("SAVEPOINT a")?;
            tx.enqueue(ship::with(1))?;
            tx.connection().execute_batch("ROLLBACK TO a; RELEASE a")?;
            tx.enqueue(bill::with(2))?;
            tx.enqueue(ship::with(3))?;
            Ok::<_, WriteError>(())
        });
        written.unwrap();
        let late = client.enqueue(ship::with(4)).unwrap();
        assert_eq!(lab.wait(&client, &late).unwrap(), 4);
        let listed = client.list(&Filter::new(), None, 9).unwrap().tasks;
        let kinds: Vec<_> = listed.iter().rev().map(|task| task.kind.as_str()).collect();
        assert_eq!(kinds, ["bill", "ship", "ship"]);
    });
}

#[test]
fn a_clash_of_keys_does_not_end_the_transaction() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let mut conn = theirs(lab);
        client.enqueue(ship::with(1).key("a")).unwrap();
        let written = client.write(|tx| {
            tx.connection().execute("INSERT INTO orders VALUES (1)", [])?;
            let clash = tx.enqueue(ship::with(2).key("a")).map(|_| ()).unwrap_err();
            assert_eq!(clash.code(), "key_conflict");
            let again = tx.enqueue(ship::with(1).key("a"))?.handle().unwrap();
            assert!(again.is_existing());
            tx.enqueue(ship::with(3))?;
            Ok::<_, WriteError>(())
        });
        written.unwrap();
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        tx.execute("INSERT INTO orders VALUES (2)", []).unwrap();
        let clash = client.enqueue_in(&tx, ship::with(2).key("a")).map(|_| ()).unwrap_err();
        assert_eq!(clash.code(), "key_conflict");
        let pending = client.enqueue_in(&tx, ship::with(4)).unwrap();
        tx.commit().unwrap();
        let handle = pending.committed();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 4);
        assert_eq!((orders(&conn), tasks(&client)), (2, 3));
    });
}

/// G7: through the application's own connection, the commit is the application's.
#[test]
fn a_task_in_the_callers_own_transaction_exists_once_it_commits() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        tx.execute("INSERT INTO orders VALUES (7)", []).unwrap();
        let pending = client.enqueue_in(&tx, ship::with(7)).unwrap();
        let id = pending.id();
        assert!(client.get(id).unwrap_err().is_not_found(), "nobody sees it yet");
        tx.commit().unwrap();
        let handle = pending.committed();
        assert_eq!(handle.id(), id);
        assert_eq!(handle.needs_runner(), lab.runs(Runs::RunPending));
        assert_eq!(lab.wait(&client, &handle).unwrap(), 7);
        assert_eq!((orders(&conn), log.words()), (1, vec!["7".to_owned()]));
    });
}

#[test]
fn several_tasks_of_one_transaction_all_run() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let first = client.enqueue_in(&tx, ship::with(1)).unwrap();
        let second = client.enqueue_in(&tx, ship::with(2)).unwrap();
        tx.commit().unwrap();
        let handles = [first.committed(), second.committed()];
        if lab.runs(Runs::Inline) {
            assert_eq!(log.words(), ["1", "2"], "both ran when `committed` returned");
        }
        for handle in &handles {
            lab.wait(&client, handle).unwrap();
        }
    });
}

/// G7: also where only a savepoint is taken back.
#[test]
fn a_task_in_a_transaction_that_is_rolled_back_does_not_exist() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let pending = client.enqueue_in(&tx, ship::with(7)).unwrap();
        let id = pending.id();
        tx.rollback().unwrap();
        pending.rolled_back();
        assert!(client.get(id).unwrap_err().is_not_found());
        let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let inner = tx.savepoint().unwrap();
        let lost = client.enqueue_in(&inner, ship::with(8)).unwrap();
        inner.finish().unwrap();
        lost.rolled_back();
        let kept = client.enqueue_in(&tx, bill::with(9)).unwrap();
        tx.commit().unwrap();
        let handle = kept.committed();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 9);
        assert_eq!((tasks(&client), log.len()), (1, 0));
    });
}

#[test]
fn a_forgotten_pending_is_noticed_all_the_same() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let id = client.enqueue_in(&tx, ship::with(7)).unwrap().id();
        tx.commit().unwrap();
        lab.settle(&client);
        crate::common::eventually("whoever runs has seen it", || {
            client.get(id).unwrap().state == State::Succeeded
        });
        assert_eq!(log.words(), ["7"]);
    });
}

#[test]
fn a_task_of_a_transaction_runs_after_its_commit() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let written = client.write(|tx| {
            let handle = tx.enqueue(ship::with(7))?.handle().unwrap();
            log.note("committing");
            Ok::<_, WriteError>(handle)
        });
        let handle = written.unwrap();
        if lab.runs(Runs::Inline) {
            assert!(handle.has_ended().unwrap(), "it has run when `write` returns");
        }
        assert_eq!(handle.needs_runner(), lab.runs(Runs::RunPending));
        assert_eq!(lab.wait(&client, &handle).unwrap(), 7);
        assert_eq!(log.words(), ["committing", "7"]);
    });
}

/// G7.
#[test]
fn a_task_of_a_transaction_that_is_rolled_back_never_runs() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let answer = client.write(|tx| {
            tx.enqueue(ship::with(7))?;
            Err::<(), WriteError>(Error::Closed.into())
        });
        answer.unwrap_err();
        lab.settle(&client);
        assert_eq!((log.len(), tasks(&client)), (0, 0));
        let next = client.enqueue(ship::with(8)).unwrap();
        assert_eq!(lab.wait(&client, &next).unwrap(), 8);
        assert_eq!(log.words(), ["8"]);
    });
}

#[test]
fn a_transaction_that_cannot_write_is_refused_at_once() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let mut conn = theirs(lab);
        let code = |conn: &Connection| {
            client.enqueue_in(conn, ship::with(7)).map(|_| ()).unwrap_err().code()
        };
        assert_eq!(code(&conn), "bad_transaction", "no transaction");
        let elsewhere = Connection::open_in_memory().unwrap();
        elsewhere.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(code(&elsewhere), "bad_transaction", "another file");
        let tx = conn.transaction().unwrap();
        assert_eq!(orders(&tx), 0);
        let first = client.enqueue(ship::with(1)).unwrap();
        assert_eq!(code(&tx), "bad_transaction", "it has read what is old by now");
        drop(tx);
        assert_eq!(lab.wait(&client, &first).unwrap(), 1);
        let tx = conn.transaction().unwrap();
        let pending = client.enqueue_in(&tx, ship::with(2)).unwrap();
        tx.commit().unwrap();
        let handle = pending.committed();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 2);
    });
}

#[test]
fn a_plain_enqueue_inside_the_threads_own_transaction_is_refused_at_once() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let pending = client.enqueue_in(&tx, ship::with(1)).unwrap();
        assert_eq!(client.enqueue(ship::with(2)).unwrap_err().code(), "reentrant");
        assert_eq!(client.enqueue_many([ship::with(2)]).unwrap_err().code(), "reentrant");
        tx.commit().unwrap();
        pending.committed();
        let inside = client.write(|tx| {
            assert_eq!(client.enqueue(ship::with(3)).unwrap_err().code(), "reentrant");
            assert_eq!(
                client.run_pending(&litework::Pending::all()).unwrap_err().code(),
                "reentrant"
            );
            let nested = client.write(|_| Ok::<_, WriteError>(())).unwrap_err();
            assert!(matches!(nested, WriteError::Queue(Error::Reentrant { .. })));
            tx.enqueue(ship::with(4))?;
            Ok::<_, WriteError>(())
        });
        inside.unwrap();
        let after = client.enqueue(ship::with(5)).unwrap();
        assert_eq!(lab.wait(&client, &after).unwrap(), 5);
        assert_eq!(tasks(&client), 3);
    });
}

#[test]
fn a_transaction_on_one_file_does_not_shut_another() {
    Lab::each_way(|lab| {
        let (log, other) = (Log::default(), Lab::new(lab.place));
        let (here, there) = (client(lab, &log), client(&other, &log));
        let written = here.write(|tx| {
            tx.enqueue(ship::with(1))?;
            Ok::<_, WriteError>(there.enqueue(ship::with(2))?)
        });
        let handle = written.unwrap();
        assert_eq!(other.wait(&there, &handle).unwrap(), 2);
    });
}

#[test]
fn an_outbox_stores_all_when_it_is_sent_and_nothing_when_it_is_dropped() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let mut dropped = client.outbox();
        dropped.enqueue(ship::with(1)).unwrap();
        drop(dropped);
        let mut outbox = client.outbox();
        assert!(outbox.is_empty());
        outbox.enqueue(ship::with(2)).unwrap();
        outbox.enqueue(ship::with(3)).unwrap();
        assert_eq!(outbox.enqueue(ship::with(4).priority(101)).unwrap_err().code(), "out_of_range");
        assert_eq!((outbox.len(), tasks(&client)), (2, 0));
        let ids = outbox.send().unwrap();
        lab.settle(&client);
        for id in &ids {
            crate::common::eventually("it has run", || {
                client.get(*id).unwrap().state == State::Succeeded
            });
        }
        assert_eq!((ids.len(), log.len(), tasks(&client)), (2, 2, 2));
        assert!(client.outbox().send().unwrap().is_empty());
    });
}

#[test]
fn a_task_with_on_commit_off_is_stored_whatever_becomes_of_the_transaction() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let mut late = None;
        let failed = client.write(|tx| {
            tx.enqueue(ship::with(1))?;
            late = tx.enqueue(ship::with(2).on_commit(false))?.late();
            Err::<(), WriteError>(Error::Closed.into())
        });
        assert!(matches!(failed.unwrap_err(), WriteError::Queue(Error::Closed)));
        lab.settle(&client);
        let late = late.unwrap().handle().unwrap();
        assert_eq!(lab.wait(&client, &late).unwrap(), 2);
        assert_eq!((tasks(&client), log.words()), (1, vec!["2".to_owned()]));
    });
}

#[test]
fn a_late_call_that_is_refused_does_not_deny_what_was_committed() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let conn = theirs(lab);
        client.enqueue(ship::with(1).key("a")).unwrap();
        let written = client.write(|tx| {
            tx.connection().execute("INSERT INTO orders VALUES (7)", [])?;
            let refused = tx.enqueue(ship::with(2).key("a").on_commit(false))?.late();
            let stored = tx.enqueue(bill::with(3).on_commit(false))?.late();
            let early = tx.enqueue(bill::with(4).on_commit(false))?.late().map(Late::handle);
            assert_eq!(early.unwrap().map(|_| ()).unwrap_err().code(), "reentrant");
            Ok::<_, WriteError>((refused.unwrap(), stored.unwrap()))
        });
        let (refused, stored) = written.expect("the transaction was committed");
        assert_eq!(orders(&conn), 1);
        assert_eq!(refused.handle().map(|_| ()).unwrap_err().code(), "key_conflict");
        assert_eq!(lab.wait(&client, &stored.handle().unwrap()).unwrap(), 3);
        assert_eq!(tasks(&client), 3);
    });
}

#[test]
fn a_late_call_is_stored_though_the_body_panics() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let mut late = None;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            client.write(|tx| -> std::result::Result<(), WriteError> {
                tx.enqueue(ship::with(1))?;
                late = tx.enqueue(bill::with(2).on_commit(false))?.late();
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        let handle = late.unwrap().handle().unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 2);
        assert_eq!(tasks(&client), 1);
    });
}

#[test]
fn a_late_call_in_the_callers_own_transaction_is_refused() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let mut conn = theirs(lab);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let call = ship::with(7).on_commit(false);
        let refused = client.enqueue_in(&tx, call).map(|_| ()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "unsupported: on_commit is false; true, as nobody here hears how your transaction ends; \
             store the call with `client.write`, or by itself after the transaction"
        );
        tx.commit().unwrap();
        assert_eq!(tasks(&client), 0);
    });
}

/// Only a refusal: nothing is stored that anybody could run.
#[test]
fn memory_has_no_transactions_and_says_so() {
    let client = Client::in_memory().register(bill).open().unwrap();
    let answer = client.write(|_| Ok::<_, WriteError>(()));
    assert!(
        matches!(answer.unwrap_err(), WriteError::Queue(error) if error.code() == "unsupported")
    );
    let conn = Connection::open_in_memory().unwrap();
    let refused = client.enqueue_in(&conn, bill::with(1)).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), "unsupported");
}

#[test]
fn a_closed_client_stores_nothing_through_any_door() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default());
        let mut outbox = client.outbox();
        outbox.enqueue(ship::with(1)).unwrap();
        client.shutdown(Duration::ZERO).unwrap();
        let answer = client.write(|_| Ok::<_, WriteError>(()));
        assert!(matches!(answer.unwrap_err(), WriteError::Queue(Error::Closed)));
        assert_eq!(outbox.send().unwrap_err().code(), "closed");
        let conn = theirs(lab);
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = client.enqueue_in(&conn, ship::with(1)).map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), "closed");
    });
}
