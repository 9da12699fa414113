//! A task that is there once: what a second call comes to, how long the key holds, and what happens when
//! a task that has let its key go has to start again.

use std::time::Duration;

use litework::sqlite::ClientExt;
use litework::{
    Call, Client, Context, Error, Failure, Mode, Reason, Replace, Result, State, TaskRef, Unique,
    task,
};

use crate::common::{Gate, Lab, Log, Runs};
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

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().register(index).register(stumble).retry_in_place(false);
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
    Lab::each_way(|lab| {
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
    Lab::each_way(|lab| {
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
    Lab::each_way(|lab| {
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
    Lab::each_way(|lab| {
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
    let both = index::with("docs", 1)
        .unique(Unique::arguments().last())
        .exclusive(litework::Exclusive::lock("x"));
    assert_eq!(
        client.enqueue(both).unwrap_err().to_string(),
        "one_gate: number of gates is 2; one of exclusive, limit, rate_per_key and a unique key with \
         `last`"
    );
}
