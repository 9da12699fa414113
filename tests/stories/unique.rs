//! A task that is there once: what a second call comes to, how long the key holds, and what happens when
//! a task that has let its key go has to start again.

use std::time::Duration;

use litework::sqlite::ClientExt;
use litework::{
    Call, Client, Context, Error, Exclusive, Failure, Handle, Limit, Mode, Options, Rate, Reason,
    Replace, Result, Scope, State, Task, TaskRef, Unique, task,
};
use rusqlite::TransactionBehavior;
use serde::{Deserialize, Serialize};

use crate::common::{Gate, LONG, Lab, Log, Runs, eventually};
use crate::under_way::{begin, newest};

const MINUTE: Duration = Duration::from_secs(60);

#[task]
fn index(ctx: &Context, folder: &str, pass: u32) -> Result<u32> {
    ctx.state::<Log>()?.note(format!("{folder}/{pass}"));
    Ok(pass)
}

/// Waits at the gate on its first attempt, and fails.
#[task]
fn stumble(ctx: &Context, pass: u32) -> Result<u32> {
    ctx.state::<Log>()?.note(format!("stumble/{pass}"));
    if pass == 1 {
        ctx.state::<Gate>()?.pass();
        return Err(Failure::retry_after(MINUTE, "the first one fails"));
    }
    Ok(pass)
}

/// Waits at the gate on its first pass.
#[task]
fn sync(ctx: &Context, source: &str, pass: u32) -> Result<u32> {
    ctx.state::<Log>()?.note(format!("{source}/{pass}"));
    if pass == 1 {
        ctx.state::<Gate>()?.pass();
    }
    Ok(pass)
}

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().register(index).register(stumble).register(sync);
    let builder = builder.retry_in_place(false);
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

type Index = <index as TaskRef>::Task;

fn once(folder: &str, pass: u32) -> Call<Index> {
    index::with(folder, pass).unique(Unique::key("{folder}"))
}

fn later(call: Call<Index>) -> Call<Index> {
    call.run_after(MINUTE)
}

#[test]
fn a_second_call_is_answered_with_the_task_that_is_there() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let first = client.enqueue(later(once("docs", 1))).unwrap();
        let second = client.enqueue(later(once("docs", 2))).unwrap();
        assert!(second.is_existing() && !first.is_existing());
        assert_eq!(first.id(), second.id());
        let other = client.enqueue(later(once("music", 3))).unwrap();
        assert!(!other.is_existing(), "another key is another task");
        lab.advance(&client, MINUTE);
        assert_eq!(lab.wait(&client, &second).unwrap(), 1);
        lab.ended(&client, &other);
        let third = client.enqueue(once("docs", 4)).unwrap();
        assert!(!third.is_existing(), "the first has ended");
        assert_eq!(lab.wait(&client, &third).unwrap(), 4);
        assert_eq!(log.len(), 3);
    });
}

#[test]
fn a_call_may_ask_to_be_refused() {
    Lab::everywhere(|lab| {
        let client = client(lab, &Log::default(), &Gate::default());
        let refused = |pass| later(index::with("docs", pass)).unique(Unique::key("x").refused());
        let first = client.enqueue(refused(1)).unwrap();
        let error = client.enqueue(refused(2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("not_unique: task {} has the same unique key", first.id())
        );
        let batch = client.enqueue_many([later(once("a", 1)), refused(2)]).unwrap_err();
        assert!(matches!(&batch, Error::Item { index: 1, .. }), "{batch}");
        assert_eq!(client.count(&litework::Filter::new()).unwrap(), 1, "nothing of it was stored");
    });
}

#[test]
fn in_bulk_and_in_a_transaction_the_key_holds_as_well() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default(), &Gate::default());
        let calls = (0..40).map(|pass| later(once(["a", "b"][pass % 2], 7)));
        let handles = client.enqueue_many(calls).unwrap();
        assert_eq!(handles.iter().filter(|handle| !handle.is_existing()).count(), 2);
        let within = client
            .write(|tx| {
                let known = tx.enqueue(later(once("a", 8)))?.handle();
                let new = tx.enqueue(later(once("c", 9)))?.handle();
                let again = tx.enqueue(later(once("c", 10)))?.handle();
                Ok::<_, Error>([known, new, again].map(|handle| handle.unwrap()))
            })
            .unwrap();
        assert_eq!(within[0].id(), handles[0].id());
        assert_eq!(within[1].id(), within[2].id());
        assert_eq!(client.count(&litework::Filter::new()).unwrap(), 3);
    });
}

#[test]
fn in_the_callers_own_transaction_the_key_holds_as_well() {
    Lab::each_way(|lab| {
        let client = client(lab, &Log::default(), &Gate::default());
        let mut conn = rusqlite::Connection::open(lab.path()).unwrap();
        conn.busy_timeout(LONG).unwrap();
        conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
        let stored = || client.count(&litework::Filter::new()).unwrap();
        let by = |pass, unique: Unique| later(index::with("docs", pass)).unique(unique);
        let replacing = || Unique::key("{folder}").replacing(Replace::ALL);

        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let lost = client.enqueue_in(&tx, later(once("docs", 1))).unwrap();
        let same = client.enqueue_in(&tx, later(once("docs", 2))).unwrap();
        assert_eq!(same.id(), lost.id());
        tx.rollback().unwrap();
        lost.rolled_back();
        same.rolled_back();
        let first = client.enqueue(later(once("docs", 3))).unwrap();
        assert_eq!((first.is_existing(), stored()), (false, 1), "the key was free again");

        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let replaced = client.enqueue_in(&tx, by(4, replacing())).unwrap();
        assert_eq!(replaced.id(), first.id());
        tx.rollback().unwrap();
        replaced.rolled_back();
        assert_eq!(first.refresh().unwrap().arguments, r#"{"folder":"docs","pass":3}"#);

        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        tx.execute("INSERT INTO orders VALUES (1)", []).unwrap();
        let clash = by(5, Unique::key("{folder}").refused());
        let clash = client.enqueue_in(&tx, clash).map(|_| ()).unwrap_err();
        assert!(matches!(&clash, Error::NotUnique { existing, .. } if *existing == first.id()));
        let replaced = client.enqueue_in(&tx, by(6, replacing())).unwrap();
        let other = client.enqueue_in(&tx, later(once("music", 7))).unwrap();
        tx.execute("INSERT INTO orders VALUES (2)", []).unwrap();
        tx.commit().unwrap();
        let (replaced, other) = (replaced.committed(), other.committed());
        let orders = conn.query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0));
        assert_eq!((orders.unwrap(), stored()), (2, 2), "the clash ended nothing");
        assert_eq!(replaced.id(), first.id());
        lab.advance(&client, MINUTE);
        assert_eq!(lab.wait(&client, &first).unwrap(), 6);
        assert_eq!(lab.wait(&client, &other).unwrap(), 7);
    });
}

#[test]
fn in_an_outbox_the_key_holds_when_it_is_sent() {
    Lab::everywhere(|lab| {
        let client = client(lab, &Log::default(), &Gate::default());
        let stored = || client.count(&litework::Filter::new()).unwrap();
        let send = |calls: Vec<Call<Index>>| {
            let mut outbox = client.outbox();
            for call in calls {
                outbox.enqueue(call).unwrap();
            }
            outbox.send()
        };
        let mut dropped = client.outbox();
        dropped.enqueue(later(once("docs", 1))).unwrap();
        drop(dropped);
        let first = client.enqueue(later(once("docs", 2))).unwrap();
        assert!(!first.is_existing(), "what is not sent has no key");
        let ids = send(["docs", "music", "music"].map(|folder| later(once(folder, 3))).into());
        let ids = ids.unwrap();
        assert_eq!((ids[0], ids[1], stored()), (first.id(), ids[2], 2));
        let refused = later(index::with("docs", 4)).unique(Unique::key("{folder}").refused());
        let clash = send(vec![later(once("films", 5)), refused]).unwrap_err();
        assert_eq!(clash.code(), "not_unique");
        assert!(matches!(&clash, Error::Item { index: 1, .. }), "{clash}");
        assert_eq!(stored(), 2, "all of it or nothing");
    });
}

#[test]
fn a_call_may_replace_what_waits() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let big = "x".repeat(5_000);
        let all = |folder: &str, pass, priority| {
            let unique = Unique::key("only").replacing(Replace::ALL);
            index::with(folder, pass).unique(unique).priority(priority).run_after(MINUTE)
        };
        let first = client.enqueue(all(&big, 1, 0)).unwrap();
        let second = client.enqueue(all("small", 2, 7)).unwrap();
        assert_eq!(first.id(), second.id());
        let task = first.refresh().unwrap();
        assert_eq!(task.arguments, r#"{"folder":"small","pass":2}"#);
        assert_eq!((task.priority, task.state), (7, State::Scheduled));
        lab.clock.advance(MINUTE / 2);
        let soon = index::with("soon", 3).unique(Unique::key("only").replacing(Replace::DUE));
        client.enqueue(soon).unwrap();
        assert_eq!(lab.wait(&client, &first).unwrap(), 2, "it runs now, with what it had");
        assert_eq!(log.words(), ["small/2"]);
    });
}

#[test]
fn a_debounced_task_runs_when_the_calls_have_stopped() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let quiet = Unique::key("{folder}").debounced(MINUTE);
        let call = |pass| index::with("docs", pass).unique(quiet.clone());
        let first = client.enqueue(call(1)).unwrap();
        lab.advance(&client, MINUTE / 2);
        client.enqueue(call(2)).unwrap();
        lab.advance(&client, MINUTE * 3 / 4);
        assert_eq!(log.len(), 0, "a call came less than a minute ago");
        client.enqueue(call(3)).unwrap();
        lab.advance(&client, MINUTE);
        assert_eq!(lab.wait(&client, &first).unwrap(), 3);
        assert!(!client.enqueue(call(4)).unwrap().is_existing());
    });
}

type Sync = <sync as TaskRef>::Task;

fn locked(source: &str, pass: u32) -> Call<Sync> {
    sync::with(source, pass).exclusive(Exclusive::lock("import/{source}").wait())
}

fn newest_call(call: Call<Sync>) -> Call<Sync> {
    call.unique(Unique::key("sync").replacing(Replace::ALL))
}

fn stands(handle: &Handle<Sync>) -> (State, Option<Reason>) {
    let task = handle.refresh().unwrap();
    (task.state, task.reason)
}

#[test]
fn what_takes_over_the_arguments_waits_for_the_lock_that_they_name() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            let holder = begin(scope, lab, &client, locked("b", 1));
            gate.wait_for(1);
            let first = client.enqueue(newest_call(locked("a", 2)).run_after(MINUTE)).unwrap();
            let second = client.enqueue(newest_call(locked("b", 3))).unwrap();
            assert_eq!(first.id(), second.id());
            assert_eq!(stands(&second), (State::Waiting, Some(Reason::Lock)));
            let third = client.enqueue(newest_call(locked("c", 4))).unwrap();
            assert_eq!(lab.wait(&client, &third).unwrap(), 4, "nobody holds the third lock");
            assert_eq!(log.words(), ["b/1", "c/4"]);
            gate.open();
            holder.join().unwrap();
        });
    });
}

#[test]
fn what_takes_over_the_arguments_leaves_its_place_at_the_old_gate() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        // What is paused stands at its gate and goes no further.
        client.pause(&Scope::kind("sync")).unwrap();
        let first = client.enqueue(newest_call(locked("a", 2))).unwrap();
        let behind = client.enqueue(locked("a", 3)).unwrap();
        let other = client.enqueue(locked("b", 4)).unwrap();
        assert_eq!(stands(&behind), (State::Waiting, Some(Reason::Lock)));
        client.enqueue(newest_call(locked("b", 5))).unwrap();
        assert_eq!(stands(&first), (State::Waiting, Some(Reason::Lock)), "behind that of b");
        assert_eq!(stands(&behind), (State::Ready, None), "it is the next of a now");
        // The gate may be one of another sort, or none.
        let few = newest_call(sync::with("b", 6)).limit(Limit::per_key("tenant/{source}", 1));
        client.enqueue(few).unwrap();
        assert_eq!(stands(&first), (State::Ready, None));
        client.enqueue(newest_call(sync::with("b", 7))).unwrap();
        assert_eq!(stands(&first), (State::Ready, None));
        // Only the arguments take the gate along.
        let due = Unique::key("sync").replacing(Replace::DUE);
        client.enqueue(locked("b", 8).unique(due)).unwrap();
        assert_eq!(stands(&first), (State::Ready, None));
        client.resume(&Scope::kind("sync")).unwrap();
        for (handle, pass) in [(&behind, 3), (&other, 4), (&first, 7)] {
            assert_eq!(lab.wait(&client, handle).unwrap(), pass);
        }
    });
}

#[test]
fn what_takes_over_the_arguments_starts_as_the_new_rate_admits_it() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let rated = |source: &str, pass| {
            sync::with(source, pass).rate_per_key("host/{source}", Rate::per(1, MINUTE))
        };
        for source in ["a", "b"] {
            let started = client.enqueue(rated(source, 0)).unwrap();
            lab.ended(&client, &started);
        }
        let first = client.enqueue(newest_call(rated("a", 2))).unwrap();
        let behind = client.enqueue(rated("a", 3)).unwrap();
        assert_eq!(stands(&first), (State::Scheduled, Some(Reason::Rate)));
        assert_eq!(stands(&behind), (State::Waiting, Some(Reason::Limit)));
        client.enqueue(newest_call(rated("b", 4))).unwrap();
        assert_eq!(stands(&first), (State::Scheduled, Some(Reason::Rate)), "that of b");
        assert_eq!(stands(&behind), (State::Scheduled, Some(Reason::Rate)), "the next of a");
        let only_arguments = Unique::key("sync").replacing(Replace::ARGUMENTS);
        client.enqueue(rated("c", 5).unique(only_arguments)).unwrap();
        assert_eq!(lab.wait(&client, &first).unwrap(), 5, "its own time had come");
        lab.advance(&client, MINUTE);
        assert_eq!(lab.wait(&client, &behind).unwrap(), 3);
    });
}

#[test]
fn what_waits_for_others_stands_at_the_new_gate_once_they_have_ended() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            let holder = begin(scope, lab, &client, locked("b", 1));
            gate.wait_for(1);
            let before = client.enqueue(later(once("docs", 9))).unwrap();
            let after = client.enqueue(newest_call(locked("a", 2)).after([before.id()])).unwrap();
            client.enqueue(newest_call(locked("b", 3))).unwrap();
            assert_eq!(stands(&after), (State::Waiting, Some(Reason::Parents)));
            lab.advance(&client, MINUTE);
            lab.ended(&client, &before);
            eventually("it stands at the gate", || {
                stands(&after) == (State::Waiting, Some(Reason::Lock))
            });
            assert_eq!(log.words(), ["b/1", "docs/9"]);
            gate.open();
            holder.join().unwrap();
            assert_eq!(lab.wait(&client, &after).unwrap(), 3);
        });
    });
}

#[test]
fn a_debounced_task_that_waits_for_a_lock_waits_again_until_the_calls_have_stopped() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |pass| locked("b", pass).unique(Unique::key("{source}").debounced(MINUTE));
        std::thread::scope(|scope| {
            let holder = begin(scope, lab, &client, locked("b", 1));
            gate.wait_for(1);
            let first = client.enqueue(call(2)).unwrap();
            lab.advance(&client, MINUTE);
            eventually("it waits for the lock", || {
                stands(&first) == (State::Waiting, Some(Reason::Lock))
            });
            assert_eq!(client.enqueue(call(3)).unwrap().id(), first.id());
            gate.open();
            let holder = holder.join().unwrap();
            lab.ended(&client, &holder);
            lab.settle(&client);
            assert_eq!(stands(&first), (State::Scheduled, Some(Reason::Delayed)));
            assert_eq!(first.refresh().unwrap().due_at, lab.now().after(MINUTE));
            lab.advance(&client, MINUTE);
            assert_eq!(lab.wait(&client, &first).unwrap(), 3);
        });
    });
}

#[test]
fn a_due_time_that_replaces_another_lets_those_go_on_that_stood_behind() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        client.pause(&Scope::kind("sync")).unwrap();
        let by_due = |call: Call<Sync>| call.unique(Unique::key("sync").replacing(Replace::DUE));
        let of = |pass, max| sync::with("a", pass).limit(Limit::per_key("tenant/{source}", max));
        let ready = client.enqueue_many([of(2, 2), of(2, 2)]).unwrap();
        let first = client.enqueue(by_due(of(3, 1)).priority(1)).unwrap();
        let behind = client.enqueue(of(4, 2)).unwrap();
        ready[1].cancel().unwrap();
        let waits = (State::Waiting, Some(Reason::Limit));
        assert_eq!((stands(&first), stands(&behind)), (waits, waits), "the first wants it alone");
        // A moment that has come leaves it in its line.
        client.enqueue(by_due(of(5, 1))).unwrap();
        assert_eq!((stands(&first), stands(&behind)), (waits, waits));
        client.enqueue(by_due(of(6, 1)).run_after(MINUTE)).unwrap();
        assert_eq!(stands(&first), (State::Scheduled, Some(Reason::Delayed)));
        assert_eq!(stands(&behind), (State::Ready, None));
        client.resume(&Scope::kind("sync")).unwrap();
        lab.advance(&client, MINUTE);
        assert_eq!(lab.wait(&client, &first).unwrap(), 3, "the arguments stay");
    });
}

#[test]
fn a_throttled_task_runs_once_in_its_span_though_it_has_ended() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |pass| index::with("docs", pass).unique(Unique::key("{folder}").within(MINUTE));
        let first = client.enqueue(call(1)).unwrap();
        lab.ended(&client, &first);
        let second = client.enqueue(call(2)).unwrap();
        assert_eq!(second.id(), first.id());
        lab.clock.advance(MINUTE);
        let third = client.enqueue(call(3)).unwrap();
        assert!(!third.is_existing());
        assert_eq!(lab.wait(&client, &third).unwrap(), 3);
        assert_eq!(log.words(), ["docs/1", "docs/3"]);
    });
}

#[test]
fn what_starts_again_ends_where_a_newer_task_has_its_key() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |pass| stumble::with(pass).unique(Unique::key("k").until_start());
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, call(1));
            gate.wait_for(1);
            let second = client.enqueue(call(2).run_after(MINUTE * 2)).unwrap();
            assert!(!second.is_existing(), "the first has let the key go");
            gate.open();
            let first = first.join().unwrap();
            let ended = lab.ended(&client, &first);
            assert_eq!((ended.state, ended.reason), (State::Cancelled, Some(Reason::Superseded)));
            lab.advance(&client, MINUTE * 2);
            assert_eq!(lab.wait(&client, &second).unwrap(), 2);
        });
    });
}

#[test]
fn what_starts_again_takes_its_key_again() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        gate.open();
        let client = client(lab, &log, &gate);
        let call = |pass| stumble::with(pass).unique(Unique::key("k").until_start());
        let first = client.enqueue(call(1)).unwrap();
        lab.settle(&client);
        crate::common::eventually("it waits to be tried again", || {
            first.refresh().unwrap().reason == Some(Reason::Retry)
        });
        let second = client.enqueue(call(2)).unwrap();
        assert_eq!(second.id(), first.id());
    });
}

#[test]
fn the_last_of_many_calls_follows_the_task_that_runs() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |pass| {
            let task = if pass == 1 { stumble::with(1).attempts(1) } else { stumble::with(pass) };
            task.unique(Unique::key("k").last())
        };
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, call(1));
            gate.wait_for(1);
            let follows: Vec<_> = (2..6).map(|pass| client.enqueue(call(pass)).unwrap()).collect();
            assert!(follows.iter().all(|follow| follow.id() == follows[0].id()));
            let waiting = newest(&client, "stumble");
            assert_eq!((waiting.state, waiting.reason), (State::Waiting, Some(Reason::Lock)));
            gate.open();
            let first = first.join().unwrap();
            assert_eq!(lab.ended(&client, &first).state, State::Failed);
            assert_eq!(lab.wait(&client, &follows[0]).unwrap(), 5);
        });
        assert_eq!(log.words(), ["stumble/1", "stumble/5"]);
    });
}

#[test]
fn calls_that_meet_a_task_that_runs_keep_no_room_from_others() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |pass| sync::with("mail", pass).unique(Unique::key("{source}"));
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, call(1));
            gate.wait_for(1);
            for pass in 2..300 {
                assert!(client.enqueue(call(pass)).unwrap().is_existing());
            }
            let other = begin(scope, lab, &client, index::with("docs", 1)).join().unwrap();
            assert_eq!(lab.wait(&client, &other).unwrap(), 1);
            gate.open();
            assert_eq!(lab.wait(&client, &first.join().unwrap()).unwrap(), 1);
        });
        assert_eq!(log.words(), ["mail/1", "docs/1"]);
    });
}

#[test]
fn a_cancelled_task_lets_its_key_go() {
    Lab::everywhere(|lab| {
        let client = client(lab, &Log::default(), &Gate::default());
        let first = client.enqueue(later(once("docs", 1))).unwrap();
        first.cancel().unwrap();
        assert!(!client.enqueue(later(once("docs", 2))).unwrap().is_existing());
    });
}

#[test]
fn an_option_of_the_definition_holds_for_each_call() {
    Lab::everywhere(|lab| {
        let builder = lab.builder().state(Log::default());
        let by_folder =
            |options: litework::Options| options.unique(Unique::arguments_of(["folder"]));
        let definition = litework::Definition::from(index).with(by_folder);
        let client = builder.register(definition).open().unwrap();
        let first = client.enqueue(later(index::with("a", 1))).unwrap();
        assert_eq!(client.enqueue(later(index::with("a", 2))).unwrap().id(), first.id());
        assert_ne!(client.enqueue(later(index::with("b", 2))).unwrap().id(), first.id());
    });
}

/// The attribute says the same as the options.
#[task(unique = "mirror/{folder}", exclusive = litework::Exclusive::lock("mirror").wait())]
fn mirror(folder: &str, pass: u32) -> u32 {
    u32::try_from(folder.len()).unwrap() + pass
}

#[task(unique, max_running = 2, rate = litework::Rate::per(100, MINUTE))]
fn alike(pass: u32) -> u32 {
    pass
}

#[test]
fn the_attribute_may_say_so() {
    Lab::everywhere(|lab| {
        let client = lab.builder().register(mirror).register(alike).open().unwrap();
        let first = client.enqueue(mirror::with("a", 1).run_after(MINUTE)).unwrap();
        let second = client.enqueue(mirror::with("a", 2).run_after(MINUTE)).unwrap();
        assert_eq!(first.id(), second.id());
        let one = client.enqueue(alike::with(1).run_after(MINUTE)).unwrap();
        let other = client.enqueue(alike::with(2).run_after(MINUTE)).unwrap();
        let again = client.enqueue(alike::with(1).run_after(MINUTE)).unwrap();
        assert!(one.id() == again.id() && one.id() != other.id());
        lab.advance(&client, MINUTE);
        assert_eq!(lab.wait(&client, &first).unwrap(), 2);
    });
}

/// Only refused: nothing is stored that anybody could run.
#[test]
fn what_cannot_be_a_key_is_refused_and_named() {
    let lab = Lab::new(crate::common::Place::file(Runs::RunPending));
    let client = lab.builder().mode(Mode::Hold).register(index).open().unwrap();
    let refused = |unique| {
        let call = index::with("docs", 1).unique(unique);
        client.enqueue(call).unwrap_err().to_string()
    };
    assert_eq!(
        refused(Unique::key("{fodder}")),
        "bad_key: argument in the unique key is \"fodder\"; one of: folder, pass"
    );
    assert_eq!(
        refused(Unique::key("")),
        "bad_key: unique key is \"\"; 1 to 200 bytes without control characters"
    );
    assert_eq!(
        refused(Unique::arguments().within(MINUTE).debounced(MINUTE)),
        "contradiction: words of a unique key is \"within, debounced\"; one of the two: `until_start` or \
         `within`, each with `refused` or `replacing` or neither; or `debounced` or `last`"
    );
    let both = index::with("docs", 1)
        .unique(Unique::arguments().last())
        .exclusive(litework::Exclusive::lock("x"));
    assert_eq!(
        client.enqueue(both).unwrap_err().to_string(),
        "one_gate: number of gates is 2; one of exclusive, limit, rate_per_key and a unique key with \
         `last`"
    );
}

/// Unique by its arguments.
#[task(unique)]
fn scan(ctx: &Context, folder: &str) -> Result<()> {
    ctx.state::<Log>()?.note(folder);
    Ok(())
}

/// Written as an array, so its arguments have no names.
#[derive(Serialize, Deserialize)]
struct Merge(u32, u32);

impl Task for Merge {
    const NAME: &'static str = "merge";
    type Output = ();

    fn options() -> Options {
        Options::new().unique(Unique::arguments())
    }

    fn run(self, _: &Context) -> Result<()> {
        Ok(())
    }
}

/// Written as `null`: all calls are the same.
#[derive(Serialize, Deserialize)]
struct Sweep;

impl Task for Sweep {
    const NAME: &'static str = "sweep";
    type Output = ();

    fn options() -> Options {
        Options::new().unique(Unique::arguments())
    }

    fn run(self, _: &Context) -> Result<()> {
        Ok(())
    }
}

/// Only what is stored is looked at: nothing runs.
#[test]
fn arguments_without_names_are_never_taken_for_others() {
    let lab = Lab::inline();
    let client = lab.builder().mode(Mode::Hold).register(scan);
    let client = client.declare::<Merge>().declare::<Sweep>().open().unwrap();
    for text in [r#"["docs"]"#, r#"["music"]"#, "7", r#""docs""#, "null", "true"] {
        let error = client.enqueue_json("scan", text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "bad_json", "{text}");
        assert!(error.to_string().ends_with("; an object by parameter name"), "{error}");
    }
    let docs = client.enqueue_json("scan", br#"{"folder":"docs"}"#).unwrap().id;
    let music = client.enqueue_json("scan", br#" {"folder":"music"}"#).unwrap().id;
    assert_ne!(docs, music);
    assert_eq!(client.enqueue(scan::with("docs")).unwrap().id(), docs);
    let error = client.enqueue(Merge(1, 2)).unwrap_err();
    assert_eq!(error.to_string(), "bad_json: $ is an array; an object by parameter name");
    let first = client.enqueue(Sweep).unwrap().id();
    assert_eq!(client.enqueue(Sweep).unwrap().id(), first);
}
