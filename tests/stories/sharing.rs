//! Queues share a pool, and programs share a file: by name, by threads, by weight, by age.

use std::time::Duration;

use litework::{Builder, Client, Context, Mode, Result, State, task};

use crate::common::{Gate, LONG, Lab, Log, eventually};
use crate::under_way::begin;

const SECOND: Duration = Duration::from_secs(1);

#[task]
fn note(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

#[task]
fn hold(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("held");
    ctx.state::<Gate>()?.pass();
    Ok(())
}

fn client(builder: Builder, log: &Log, gate: &Gate) -> Client {
    let builder = builder.register(note).register(hold);
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

/// Stores without running; what is stored is due in a second.
fn store(lab: &Lab) -> Client {
    lab.builder().mode(Mode::Hold).register(note).register(hold).open().unwrap()
}

/// Only a pool serves some queues; `run_pending` chooses by kind.
#[test]
fn a_pool_serves_only_the_queues_it_names() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let mail = client(lab.builder().serve(["mail", "sms"]), &log, &gate);
    let other = mail.enqueue(note::with("other")).unwrap();
    let served = mail.enqueue(note::with("mail").queue("mail")).unwrap();
    served.wait(LONG).unwrap();
    assert_eq!(other.refresh().unwrap().state, State::Ready);
    let rest = client(lab.builder().serve_all_but(["mail", "sms"]), &log, &gate);
    other.wait(LONG).unwrap();
    mail.shutdown(LONG).unwrap();
    let sms = rest.enqueue(note::with("sms").queue("sms")).unwrap();
    let third = rest.enqueue(note::with("third").queue("third")).unwrap();
    third.wait(LONG).unwrap();
    assert_eq!(sms.refresh().unwrap().state, State::Ready);
    assert_eq!(log.words(), ["mail", "other", "third"]);
}

/// Only a pool has threads to share.
#[test]
fn a_queue_takes_no_more_threads_than_it_may() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let builder = lab.builder().workers(3).threads_for("slow", 2);
    let client = client(builder, &log, &gate);
    let slow = client.enqueue_many(vec![hold::with().queue("slow"); 5]).unwrap();
    gate.wait_for(2);
    for _ in 0..20 {
        let handle = client.enqueue(note::with("quick").priority(-100)).unwrap();
        handle.wait(LONG).unwrap();
    }
    assert_eq!(log.words().iter().filter(|word| *word == "held").count(), 2);
    gate.open();
    for handle in &slow {
        handle.wait(LONG).unwrap();
    }
}

/// Runs what was stored in both queues on one thread and says in which order the queues came.
fn order_of(lab: &Lab, client: &Client, log: &Log, gate: &Gate, each: usize) -> Vec<String> {
    let before = log.len();
    let store = store(lab);
    let mut handles = Vec::new();
    std::thread::scope(|scope| {
        let holding = begin(scope, lab, client, hold::with().priority(100));
        gate.wait_for(1);
        for queue in ["a", "b"] {
            handles.extend(store.enqueue_many(vec![note::with(queue).queue(queue); each]).unwrap());
        }
        gate.open();
        holding.join().unwrap().wait(LONG).unwrap();
    });
    lab.settle(client);
    for handle in handles {
        handle.wait(LONG).unwrap();
    }
    log.words().split_off(before + 1)
}

fn count(words: &[String], word: &str) -> usize {
    words.iter().filter(|known| *known == word).count()
}

/// Only a pool has weights.
#[test]
fn queues_share_a_pool_by_weight() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let builder = lab.builder().workers(1).weight("a", 3).weight("b", 1);
    let pool = client(builder, &log, &gate);
    let order = order_of(&lab, &pool, &log, &gate, 40);
    let first = &order[..40];
    let share = count(first, "a");
    assert!((28..=32).contains(&share), "{share} of 40: {first:?}");
}

/// Only a pool has weights.
#[test]
fn a_queue_that_was_idle_does_not_make_up_for_it() {
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let builder = lab.builder().workers(1).weight("a", 1).weight("b", 1);
    let pool = client(builder, &log, &gate);
    pool.enqueue(note::with("b").queue("b")).unwrap().wait(LONG).unwrap();
    let storing = store(&lab);
    for handle in storing.enqueue_many(vec![note::with("a").queue("a"); 200]).unwrap() {
        handle.wait(LONG).unwrap();
    }
    let order = order_of(&lab, &pool, &log, &gate, 20);
    let share = count(&order[..20], "a");
    assert!((8..=12).contains(&share), "{share} of 20: {order:?}");
}

#[test]
fn without_weights_rank_alone_decides() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = client(lab.builder().workers(1), &log, &gate);
        let order = order_of(lab, &client, &log, &gate, 10);
        assert_eq!((count(&order[..10], "a"), count(&order[10..], "b")), (10, 10));
    });
}

#[test]
fn with_ageing_a_long_wait_outweighs_priority() {
    Lab::each_way(|lab| check_ageing(lab, Some(SECOND), ["old", "high"]));
}

#[test]
fn without_ageing_priority_is_strict() {
    Lab::each_way(|lab| check_ageing(lab, None, ["high", "old"]));
}

#[test]
fn a_queue_in_memory_ages_as_well() {
    Lab::everywhere(|lab| {
        let log = Log::default();
        let builder = lab.builder().workers(1).ageing(SECOND).register(note).state(log.clone());
        let client = builder.open().unwrap();
        client.enqueue(note::with("old").run_after(SECOND)).unwrap();
        client.enqueue(note::with("high").priority(5).run_after(11 * SECOND)).unwrap();
        lab.advance(&client, 11 * SECOND);
        eventually("both have run", || log.len() == 2);
        assert_eq!(log.words(), ["old", "high"]);
    });
}

#[test]
fn the_ageing_of_a_file_is_fixed_when_it_is_made() {
    Lab::each_way(|lab| {
        let open = |ageing: Option<Duration>| {
            let builder = lab.builder().register(note);
            ageing.map_or(lab.builder().register(note), |span| builder.ageing(span)).open()
        };
        let first = open(Some(SECOND)).unwrap();
        let refused = || {
            let error = open(Some(2 * SECOND)).unwrap_err();
            assert_eq!(error.code(), "other_ageing");
            let told = "priority is worth 1000 ms a point in it, not worth 2000 ms a point";
            assert!(error.to_string().contains(told), "{error}");
        };
        // Alike while this program has it open and afterwards.
        refused();
        drop(first);
        open(Some(SECOND)).unwrap();
        open(None).unwrap();
        refused();
        let strict = Lab::new(lab.place);
        strict.builder().open().unwrap();
        let error = strict.builder().ageing(SECOND).open().unwrap_err();
        assert!(error.to_string().contains("is strict in it, not worth 1000 ms"), "{error}");
    });
}

#[test]
fn a_program_names_only_queues_that_may_be_used() {
    Lab::each_way(|lab| {
        let builder = || lab.builder().allow_queues(["default", "mail"]);
        let refused = [
            builder().serve(["mial"]),
            builder().serve_all_but(["mial"]),
            builder().threads_for("mial", 1),
            builder().weight("mial", 1),
        ];
        for builder in refused {
            let error = builder.open().unwrap_err().to_string();
            assert_eq!(error, "unknown_queue: queue name is \"mial\"; one of default, mail");
        }
        builder().serve(["mail"]).threads_for("mail", 1).open().unwrap();
    });
}

fn check_ageing(lab: &Lab, ageing: Option<Duration>, expected: [&str; 2]) {
    let log = Log::default();
    let with = |builder: Builder| match ageing {
        Some(span) => builder.ageing(span),
        None => builder,
    };
    let storing = with(lab.builder().mode(Mode::Hold)).register(note).open().unwrap();
    storing.enqueue(note::with("old")).unwrap();
    lab.clock.advance(10 * SECOND);
    storing.enqueue(note::with("high").priority(5)).unwrap();
    let client = with(lab.builder().workers(1)).register(note).state(log.clone()).open().unwrap();
    lab.settle(&client);
    eventually("both have run", || log.len() == 2);
    assert_eq!(log.words(), expected);
}

#[test]
fn two_programs_share_the_work_and_run_each_task_once() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let first = client(lab.builder().name("first"), &log, &gate);
        let second = client(lab.builder().name("second"), &log, &gate);
        let work = |client: &Client| {
            let calls = (0..100).map(|n| note::with(n.to_string()));
            let handles = client.enqueue_many(calls).unwrap();
            lab.settle(client);
            handles
        };
        let handles = std::thread::scope(|scope| {
            let other = scope.spawn(|| work(&second));
            [work(&first), other.join().unwrap()].concat()
        });
        for handle in &handles {
            handle.wait(LONG).unwrap();
            assert_eq!(handle.refresh().unwrap().attempt, 1);
        }
        assert_eq!(log.len(), 200);
    });
}

#[test]
fn two_programs_hold_up_to_their_threads_together() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let first = client(lab.builder().workers(1), &log, &gate);
        let second = client(lab.builder().workers(1), &log, &gate);
        let store = store(lab);
        let handles = store.enqueue_many(vec![hold::with(); 2]).unwrap();
        std::thread::scope(|scope| {
            for program in [&first, &second] {
                scope.spawn(|| lab.settle(program));
            }
            gate.wait_for(2);
            gate.open();
        });
        for handle in &handles {
            handle.wait(LONG).unwrap();
        }
        let workers: std::collections::HashSet<_> =
            handles.iter().map(|handle| handle.refresh().unwrap().worker).collect();
        assert_eq!(workers.len(), 2);
    });
}
