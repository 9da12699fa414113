//! What a task must pass before it starts: a lock, a limit of tasks that run at once, a rate; and the
//! limits of whole queues and kinds.

use std::time::Duration;

use litework::{
    Builder, Call, Client, Context, Error, Exclusive, Failure, Filter, Handle, Limit, Limits,
    Pending, Rate, Reason, Result, Scope, State, TaskRef, task,
};

use crate::common::{Gate, Keeps, LONG, Lab, Log, Place, Runs, eventually};
use crate::under_way::begin;

const MINUTE: Duration = Duration::from_secs(60);

/// Waits at the gate.
#[task]
fn hold(ctx: &Context, source: &str) -> Result<Option<u64>> {
    ctx.state::<Log>()?.note(source);
    ctx.state::<Gate>()?.pass();
    Ok(ctx.fence())
}

#[task]
fn quick(ctx: &Context, word: &str) -> Result<Option<u64>> {
    ctx.state::<Log>()?.note(word);
    Ok(ctx.fence())
}

/// Asks to be left alone once.
#[task(queue = "api")]
fn fetch(ctx: &Context, page: &str) -> Result<()> {
    let log = ctx.state::<Log>()?;
    log.note(page);
    if log.len() == 1 { Err(Failure::rate_limited(MINUTE)) } else { Ok(()) }
}

fn client(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let builder = lab.builder().register(hold).register(quick).register(fetch);
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

type Hold = <hold as TaskRef>::Task;

fn locked(source: &str) -> Call<Hold> {
    hold::with(source).exclusive(Exclusive::lock("import/{source}"))
}

fn waiting(source: &str) -> Call<Hold> {
    hold::with(source).exclusive(Exclusive::lock("import/{source}").wait())
}

#[test]
fn a_task_that_finds_its_lock_held_says_already_running() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, locked("uk"));
            gate.wait_for(1);
            let second = client.enqueue(locked("uk")).unwrap();
            let ended = lab.ended(&client, &second);
            assert_eq!((ended.state, ended.reason), (State::Skipped, Some(Reason::Locked)));
            let holder = client.list(&Filter::new().state(State::Running), None, 9).unwrap();
            let report = ended.error.unwrap();
            assert_eq!(report.message, "already running");
            assert_eq!(report.data.unwrap()["holder"], holder.tasks[0].id.to_string());
            assert_eq!(second.value().unwrap_err().code(), "skipped");
            // Another lock is free, and so is a kind without one.
            let other = client.enqueue(quick::with("uk")).unwrap();
            lab.ended(&client, &other);
            gate.open();
            assert_eq!(lab.ended(&client, &first.join().unwrap()).state, State::Succeeded);
        });
        let again = client.enqueue(locked("uk")).unwrap();
        assert_eq!(lab.ended(&client, &again).state, State::Succeeded, "the lock is free again");
    });
}

#[test]
fn tasks_wait_for_a_lock_in_order_and_each_has_a_greater_number() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, waiting("uk"));
            gate.wait_for(1);
            let low = client.enqueue(waiting("uk").priority(-1)).unwrap();
            let high = client.enqueue(waiting("uk").priority(1)).unwrap();
            for handle in [&low, &high] {
                let task = handle.refresh().unwrap();
                assert_eq!((task.state, task.reason), (State::Waiting, Some(Reason::Lock)));
            }
            gate.open();
            let first = first.join().unwrap();
            let numbers =
                [&first, &high, &low].map(|handle| lab.wait(&client, handle).unwrap().unwrap());
            assert!(numbers.is_sorted(), "{numbers:?}");
            let started = [&high, &low].map(|handle| handle.refresh().unwrap().started_at);
            assert!(started[0] <= started[1], "the better one went first");
        });
        assert_eq!(log.len(), 3);
    });
}

#[test]
fn a_lock_is_free_when_its_holder_fails_or_is_cancelled() {
    Lab::everywhere(|lab| {
        #[task]
        fn fail(ctx: &Context) -> Result<()> {
            ctx.state::<Log>()?.note("fail");
            Err(Failure::retry_after(MINUTE, "it fails"))
        }
        let log = Log::default();
        let builder = lab.builder().register(fail).state(log.clone()).retry_in_place(false);
        let client = builder.open().unwrap();
        let call = || fail::with().exclusive(Exclusive::lock("one").wait()).attempts(2);
        let first = client.enqueue(call()).unwrap();
        lab.settle(&client);
        eventually("the first waits to be tried again", || {
            first.refresh().unwrap().reason == Some(Reason::Retry)
        });
        let second = client.enqueue(call()).unwrap();
        lab.settle(&client);
        eventually("the lock is free between attempts", || {
            second.refresh().unwrap().reason == Some(Reason::Retry)
        });
        first.cancel().unwrap();
        lab.advance(&client, MINUTE);
        assert_eq!(lab.ended(&client, &second).attempt, 2);
        assert_eq!(log.len(), 3);
    });
}

#[test]
fn an_expired_lock_is_taken_though_its_holder_runs_on() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let brief = || Exclusive::lock("brief").expires_after(MINUTE);
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, hold::with("a").exclusive(brief()));
            gate.wait_for(1);
            let skipped = client.enqueue(quick::with("b").exclusive(brief())).unwrap();
            assert_eq!(lab.ended(&client, &skipped).state, State::Skipped);
            lab.clock.advance(MINUTE);
            let second = client.enqueue(quick::with("c").exclusive(brief())).unwrap();
            let second = lab.wait(&client, &second).unwrap();
            gate.open();
            let first = lab.wait(&client, &first.join().unwrap()).unwrap();
            assert!(first < second, "the number tells who came later: {first:?} {second:?}");
        });
    });
}

/// Only where the program says when: a pool looks by itself, every 10 s, and in the caller nothing runs later.
#[test]
fn who_cannot_start_keeps_a_lock_from_nobody_where_the_program_says_when_to_run() {
    for keeps in [Keeps::Memory, Place::file(Runs::RunPending).keeps] {
        for drains in [false, true] {
            let lab = Lab::new(Place { keeps, runs: Runs::RunPending });
            let (log, gate) = (Log::default(), Gate::default());
            let client = client(&lab, &log, &gate);
            client.pause(&Scope::queue("shut")).unwrap();
            let locked = |word| quick::with(word).exclusive(Exclusive::lock("door").wait());
            client.enqueue(locked("first").queue("shut")).unwrap();
            let second = client.enqueue(locked("second")).unwrap();
            assert_eq!(second.refresh().unwrap().reason, Some(Reason::Lock));
            if drains {
                lab.settle(&client);
            } else {
                client.run_pending(&Pending::all()).unwrap();
            }
            assert_eq!(log.words(), ["second"], "{}", lab.place);
        }
    }
}

#[test]
fn no_more_tasks_of_a_key_run_than_may_and_the_rest_stands_in_nobodys_way() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |source: &str| hold::with(source).limit(Limit::per_key("tenant/7", 1));
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &client, call("a"));
            gate.wait_for(1);
            let rest = client.enqueue_many((0..50).map(|_| call("rest"))).unwrap();
            let task = rest[0].refresh().unwrap();
            assert_eq!((task.state, task.reason), (State::Waiting, Some(Reason::Limit)));
            let other = client.enqueue(quick::with("other")).unwrap();
            lab.ended(&client, &other);
            assert_eq!(log.words(), ["a", "other"]);
            gate.open();
            first.join().unwrap();
            for handle in &rest {
                lab.ended(&client, handle);
            }
        });
        assert_eq!(log.len(), 52);
    });
}

#[test]
fn a_limit_is_reached() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let call = |source: &str| hold::with(source).limit(Limit::per_key("pair", 2));
        std::thread::scope(|scope| {
            // Where the callers run it, each has a thread of its own.
            let callers = ["a", "b"].map(|source| begin(scope, lab, &client, call(source)));
            gate.wait_for(2);
            let third = client.enqueue(call("c")).unwrap();
            assert_eq!(third.refresh().unwrap().state, State::Waiting);
            gate.open();
            for caller in callers {
                lab.ended(&client, &caller.join().unwrap());
            }
            lab.ended(&client, &third);
        });
    });
}

/// Only a pool looks for work by itself.
#[test]
fn the_end_of_a_task_makes_room_in_another_pool_of_the_program() {
    let lab = Lab::pool();
    let (log, gate) = (Log::default(), Gate::default());
    let open = |builder: Builder| {
        let builder = builder.max_running("narrow", 1).state(log.clone());
        builder.state(gate.clone()).open().unwrap()
    };
    let slow = open(lab.builder().register(hold));
    let fast = open(lab.builder().register(quick));
    let first = slow.enqueue(hold::with("a").queue("narrow")).unwrap();
    gate.wait_for(1);
    let second = fast.enqueue(quick::with("b").queue("narrow")).unwrap();
    assert_eq!(second.refresh().unwrap().state, State::Ready);
    gate.open();
    lab.ended(&fast, &second);
    lab.ended(&slow, &first);
}

#[test]
fn a_rate_by_key_spreads_the_starts() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab, &log, &gate);
        let rate = Rate::per(2, MINUTE);
        let call = |word: &str| quick::with(word).rate_per_key("host/a", rate);
        let handles = client.enqueue_many(["a", "b", "c"].map(call)).unwrap();
        lab.ended(&client, &handles[0]);
        eventually("the second is scheduled", || {
            handles[1].refresh().unwrap().reason == Some(Reason::Rate)
        });
        assert_eq!(handles[2].refresh().unwrap().reason, Some(Reason::Limit));
        if !lab.runs(Runs::Pool) {
            assert!(handles[1..].iter().all(Handle::needs_runner), "the reply says so");
            match handles[1].wait(LONG).unwrap_err() {
                Error::NobodyRuns { due_at, .. } => assert_eq!(due_at, lab.now().after(MINUTE / 2)),
                other => panic!("{other}"),
            }
        }
        let other = client.enqueue(quick::with("d").rate_per_key("host/b", rate)).unwrap();
        lab.ended(&client, &other);
        lab.advance(&client, MINUTE / 2);
        lab.ended(&client, &handles[1]);
        assert!(!handles[2].has_ended().unwrap());
        lab.advance(&client, MINUTE / 2);
        lab.ended(&client, &handles[2]);
        assert_eq!(log.words(), ["a", "d", "b", "c"]);
    });
}

#[test]
fn a_queue_may_have_a_rate_and_a_kind_a_limit() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        gate.open();
        let builder = lab.builder().register(quick).state(log.clone()).state(gate);
        let client = builder.rate("slow", Rate::per(60, MINUTE).burst(2)).open().unwrap();
        let call = |word: &str| quick::with(word).queue("slow");
        let handles: Vec<_> =
            ["a", "b", "c"].map(|word| client.enqueue(call(word)).unwrap()).into();
        handles[..2].iter().for_each(|handle| drop(lab.ended(&client, handle)));
        assert_eq!(handles[2].refresh().unwrap().state, State::Ready);
        let other = client.enqueue(quick::with("d")).unwrap();
        lab.ended(&client, &other);
        lab.advance(&client, Duration::from_secs(1));
        lab.ended(&client, &handles[2]);
        assert_eq!(log.words(), ["a", "b", "d", "c"]);
    });
}

#[test]
fn a_kind_runs_no_more_than_it_may_in_all_clients_together() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let open = || {
            let one = |options: litework::Options| options.max_running(1);
            let definition = litework::Definition::from(hold).with(one);
            let builder = lab.builder().register(definition).register(quick);
            builder.state(log.clone()).state(gate.clone()).open().unwrap()
        };
        let here = open();
        // Tasks in memory have one client.
        let there = if lab.keeps_tasks() { open() } else { here.clone() };
        std::thread::scope(|scope| {
            let first = begin(scope, lab, &here, hold::with("a"));
            gate.wait_for(1);
            let second = there.enqueue(hold::with("b")).unwrap();
            lab.settle(&there);
            let other = there.enqueue(quick::with("c")).unwrap();
            lab.ended(&there, &other);
            assert_eq!(second.refresh().unwrap().state, State::Ready);
            gate.open();
            first.join().unwrap();
            lab.ended(&there, &second);
        });
        assert_eq!(log.words(), ["a", "c", "b"]);
    });
}

#[test]
fn a_person_sets_other_limits_than_the_program_declares() {
    Lab::everywhere(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let open = || {
            let builder = lab.builder().register(hold).register(quick).max_running("slow", 5);
            builder.state(log.clone()).state(gate.clone()).open().unwrap()
        };
        let client = open();
        let slow = Scope::queue("slow");
        let limits = client.limits().unwrap();
        assert_eq!((&limits[0].scope, limits[0].edited_at), (&slow, None));
        assert_eq!(limits[0].limits, Limits::none().max_running(5));
        client.set_limits(&slow, Limits::none().rate(Rate::per(1, MINUTE))).unwrap();
        let call = |word: &str| quick::with(word).queue("slow");
        let handles = ["a", "b"].map(|word| client.enqueue(call(word)).unwrap());
        lab.ended(&client, &handles[0]);
        assert_eq!(handles[1].refresh().unwrap().state, State::Ready);
        if lab.keeps_tasks() {
            let again = open();
            assert_eq!(again.limits().unwrap(), client.limits().unwrap(), "the edit stays");
        }
        client.set_limits(&slow, Limits::none()).unwrap();
        lab.ended(&client, &handles[1]);
        client.reset_limits(&slow).unwrap();
        assert_eq!(client.limits().unwrap(), []);
        let refused = client.set_limits(&slow, Limits::none().max_running(0)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "out_of_range: max_running of queue slow is 0; 1 to 1000000"
        );
    });
}

#[test]
fn a_refusal_from_elsewhere_closes_the_queue_and_costs_no_attempt() {
    Lab::everywhere(|lab| {
        let log = Log::default();
        let client = client(lab, &log, &Gate::default());
        let first = client.enqueue(fetch::with("a")).unwrap();
        lab.settle(&client);
        eventually("it was put off", || first.refresh().unwrap().reason == Some(Reason::Rate));
        assert_eq!(first.refresh().unwrap().attempt, 0);
        let second = client.enqueue(fetch::with("b")).unwrap();
        lab.settle(&client);
        let other = client.enqueue(quick::with("c")).unwrap();
        lab.ended(&client, &other);
        assert_eq!(second.refresh().unwrap().state, State::Ready, "its queue is closed");
        lab.advance(&client, MINUTE);
        lab.ended(&client, &first);
        lab.ended(&client, &second);
        assert_eq!(log.len(), 4);
    });
}

#[test]
fn a_refusal_from_elsewhere_closes_the_key_of_its_rate_and_no_other() {
    Lab::everywhere(|lab| {
        let log = Log::default();
        let client = client(lab, &log, &Gate::default());
        let rate = || Rate::per(9, MINUTE).burst(9);
        let call = |page: &'static str, site: &str| {
            fetch::with(page).rate_per_key(format!("site/{site}"), rate())
        };
        let first = client.enqueue(call("a", "one")).unwrap();
        lab.settle(&client);
        eventually("it was put off", || first.refresh().unwrap().reason == Some(Reason::Rate));
        assert_eq!(first.refresh().unwrap().attempt, 0);
        let second = client.enqueue(call("b", "one")).unwrap();
        lab.settle(&client);
        let other = client.enqueue(call("c", "two")).unwrap();
        lab.ended(&client, &other);
        assert!(
            !second.has_ended().unwrap(),
            "its key is closed, for which it would be early enough"
        );
        assert_eq!(log.words(), ["a", "c"], "their queue is not");
        lab.advance(&client, MINUTE);
        lab.ended(&client, &first);
        lab.ended(&client, &second);
        // A pool runs both at once.
        let mut again = log.words().split_off(2);
        again.sort();
        assert_eq!(again, ["a", "b"]);
    });
}

/// Only refused: nothing is stored that anybody could run.
#[test]
fn what_a_task_must_pass_is_checked() {
    let lab = Lab::new(crate::common::Place::file(Runs::RunPending));
    let client = client(&lab, &Log::default(), &Gate::default());
    let refused = |call: Call<Hold>| client.enqueue(call).unwrap_err().to_string();
    assert_eq!(
        refused(hold::with("a").limit(Limit::per_key("k", 0))),
        "out_of_range: limit is 0; 1 to 1000000"
    );
    assert_eq!(
        refused(hold::with("a").rate_per_key("k{", Rate::per(1, MINUTE))),
        "bad_key: key of the rate is \"k{\"; it has a `{` without its `}`; write `{name}` for an \
         argument, `{{` for a brace"
    );
    assert_eq!(
        refused(hold::with("\n").exclusive(Exclusive::lock("{source}"))),
        "bad_key: lock is \"\\n\"; 1 to 200 bytes without control characters"
    );
    let builder = lab.builder().max_running("mail", 0).open();
    assert_eq!(
        builder.unwrap_err().to_string(),
        "out_of_range: max_running of queue mail is 0; 1 to 1000000"
    );
}
