//! Whoever stores a flow finds its tasks run in their order, whoever runs them, and its batch true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use litework::sqlite::ClientExt;
use litework::{
    Batch, Cancelled, Client, Context, Error, Failure, Flow, Mode, Pending, Reason, Result, State,
    TaskRecord, task,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{Keeps, LONG, Lab, Log, Place, eventually};

/// Fails as long as it is told to, and nothing is repaired.
#[task(attempts = 1)]
fn visit(ctx: &Context, number: usize, fails: bool) -> Result<usize> {
    ctx.state::<Log>()?.note(number.to_string());
    if fails && !ctx.state::<Arc<AtomicBool>>()?.load(Ordering::SeqCst) {
        return Err(Failure::give_up("it was told to").expected());
    }
    Ok(number)
}

/// A member of a random graph: whether it fails, whether that is passed over, and whom it waits for, by
/// which policy.
#[derive(Debug, Clone)]
struct Node {
    fails: bool,
    ignored: bool,
    before: BTreeMap<usize, bool>,
}

/// Members wait for those of lower numbers only, so there is no circle; they are added in any order.
fn graphs() -> impl Strategy<Value = (Vec<Node>, Vec<usize>)> {
    (1..12_usize).prop_flat_map(|count| {
        let node = |number: usize| {
            let before = prop::collection::btree_map(0..number.max(1), any::<bool>(), 0..4_usize);
            let flags = (prop::bool::weighted(0.25), prop::bool::weighted(0.3));
            (flags, before).prop_map(move |((fails, ignored), mut before)| {
                before.retain(|other, _| *other < number);
                Node { fails, ignored, before }
            })
        };
        let order = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
        ((0..count).map(node).collect::<Vec<_>>(), order)
    })
}

/// What becomes of each member.
fn model(graph: &[Node]) -> Vec<(State, Option<Reason>)> {
    let mut ends: Vec<(State, Option<Reason>)> = Vec::new();
    for node in graph {
        let doomed = node.before.iter().any(|(other, success)| {
            *success && !graph[*other].ignored && ends[*other].0 == State::Failed
        });
        ends.push(match (doomed, node.fails) {
            (true, _) => (State::Failed, Some(Reason::Parent)),
            (false, true) => (State::Failed, Some(Reason::GaveUp)),
            (false, false) => (State::Succeeded, None),
        });
    }
    ends
}

fn flow_of(graph: &[Node], order: &[usize]) -> Flow {
    let mut flow = Flow::new("random");
    for number in order {
        let call = visit::with(*number, graph[*number].fails);
        let call = if graph[*number].ignored { call.ignore_failure() } else { call };
        flow = flow.add(number.to_string(), call);
    }
    for (number, node) in graph.iter().enumerate() {
        for (other, success) in &node.before {
            let before = [other.to_string()];
            flow = match success {
                true => flow.after(number.to_string(), before),
                false => flow.after_finished(number.to_string(), before),
            };
        }
    }
    flow
}

fn by_number(members: &[TaskRecord]) -> BTreeMap<usize, (State, Option<Reason>)> {
    let number = |task: &TaskRecord| task.name.as_deref().unwrap().parse().unwrap();
    members.iter().map(|task| (number(task), (task.state, task.reason))).collect()
}

/// Each that was to run ran once, after all that it waits for.
fn check_runs(graph: &[Node], runs: &[String], ends: &[(State, Option<Reason>)]) {
    let runs: Vec<usize> = runs.iter().map(|run| run.parse().unwrap()).collect();
    let place = |number: usize| runs.iter().position(|run| *run == number);
    for (number, node) in graph.iter().enumerate() {
        let ran = runs.iter().filter(|run| **run == number).count();
        assert_eq!(ran, usize::from(ends[number].1 != Some(Reason::Parent)), "{number}: {runs:?}");
        for other in node.before.keys().filter(|other| place(**other).is_some()) {
            assert!(ran == 0 || place(*other) < place(number), "{other} before {number}: {runs:?}");
        }
    }
}

fn run_graph(place: Place, graph: &[Node], order: &[usize]) {
    let lab = Lab::new(place);
    let (log, repaired) = (Log::default(), Arc::new(AtomicBool::new(false)));
    let builder = lab.builder().register(visit).state(log.clone()).state(Arc::clone(&repaired));
    let client = builder.open().unwrap();
    let batch = client.enqueue_flow(flow_of(graph, order)).unwrap();
    let ends = model(graph);
    let record = lab.ended(&client, &batch);
    let found = by_number(&batch.members().unwrap());
    assert_eq!(found, ends.iter().copied().enumerate().collect());
    check_runs(graph, &log.words(), &ends);
    let failed = ends.iter().filter(|(state, _)| *state == State::Failed).count();
    let counts =
        |(node, end): (&Node, &(State, Option<Reason>))| !node.ignored && end.0 == State::Failed;
    let fails = graph.iter().zip(&ends).any(counts);
    let expected =
        if fails { (State::Failed, Some(Reason::Parent)) } else { (State::Succeeded, None) };
    assert_eq!((record.state, record.reason), expected);
    let sum = batch.sum().unwrap();
    assert_eq!((sum.total, sum.failed, sum.open()), (graph.len() as u64, failed as u64, 0));
    // Repaired, the rest runs, and nothing else.
    repaired.store(true, Ordering::SeqCst);
    let before = log.len();
    assert_eq!(batch.retry().unwrap(), failed as u64);
    client.run_pending(&Pending::all()).unwrap();
    assert_eq!(lab.ended(&client, &batch).state, State::Succeeded);
    assert_eq!(batch.sum().unwrap().succeeded, graph.len() as u64);
    assert_eq!(log.len() - before, failed);
}

#[test]
fn random_graphs_end_as_the_model_says() {
    Lab::each_way(|lab| {
        let cases = Config { cases: 32, failure_persistence: None, ..Config::default() };
        let runs = lab.place.runs;
        let run = |(graph, order): (Vec<Node>, Vec<usize>)| {
            run_graph(Place::file(runs), &graph, &order);
            run_graph(Place { keeps: Keeps::Memory, runs }, &graph, &order);
            Ok(())
        };
        TestRunner::new(cases).run(&graphs(), run).unwrap();
    });
}

/// Says that it runs, and waits to be stopped.
#[task(attempts = 1)]
fn patient(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("patient");
    let began = Instant::now();
    while began.elapsed() < LONG {
        ctx.check()?;
        std::thread::yield_now();
    }
    Ok(())
}

fn client(lab: &Lab, log: &Log) -> Client {
    let builder = lab.builder().register(visit).register(patient).state(log.clone());
    builder.state(Arc::new(AtomicBool::new(false))).open().unwrap()
}

#[test]
fn the_members_that_run_are_asked_to_stop_when_their_flow_is_cancelled() {
    Lab::each_engine(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        std::thread::scope(|scope| {
            let enqueued = scope.spawn(|| {
                let flow = Flow::new("stopped")
                    .add("runs", patient::with())
                    .add("waits", visit::with(1, false))
                    .add("is later", visit::with(2, false).run_after(LONG))
                    .after("waits", ["runs"])
                    .on_success(visit::with(3, false))
                    .on_finish(visit::with(4, false));
                let batch = client.enqueue_flow(flow).unwrap();
                lab.settle(&client);
                batch
            });
            eventually("it runs", || log.len() == 1);
            let filter = litework::Filter::new().kind("litework.batch");
            let id = client.list(&filter, None, 1).unwrap().tasks[0].id;
            let batch = client.handle::<Batch>(id).unwrap();
            assert_eq!(batch.cancel().unwrap(), Cancelled::Requested);
            enqueued.join().unwrap();
            let record = lab.ended(&client, &batch);
            assert_eq!((record.state, record.reason), (State::Cancelled, Some(Reason::Asked)));
            let sum = batch.sum().unwrap();
            assert_eq!((sum.total, sum.cancelled), (3, 3));
            let last = batch.callbacks().unwrap()[1].id;
            lab.wait(&client, &client.handle::<visit>(last).unwrap()).unwrap();
            assert_eq!(log.words(), ["patient", "4"]);
        });
    });
}

#[test]
fn a_flow_belongs_to_the_transaction_it_is_stored_in() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let flow = || Flow::chain("within", [visit::with(1, false), visit::with(2, false)]);
        let refused = client.write(|tx| {
            tx.enqueue_flow(flow())?;
            Err::<(), Error>(Error::Closed)
        });
        assert_eq!(refused.unwrap_err().code(), "closed");
        assert_eq!(client.count(&litework::Filter::new()).unwrap(), 0);
        let (batch, empty) = client
            .write(|tx| {
                let empty =
                    tx.enqueue_flow(Flow::new("empty").on_success(visit::with(3, false)))?;
                Ok::<_, Error>((tx.enqueue_flow(flow())?, empty))
            })
            .unwrap();
        assert_eq!(lab.ended(&client, &batch).state, State::Succeeded);
        assert_eq!(empty.value().unwrap().total, 0);
        let after = client.handle::<visit>(empty.callbacks().unwrap()[0].id).unwrap();
        assert_eq!(lab.wait(&client, &after).unwrap(), 3);
        let mut words = log.words();
        words.sort();
        assert_eq!(words, ["1", "2", "3"]);
        let bad = client.write(|tx| {
            tx.enqueue_flow(Flow::new("bad").add("a", visit::with(1, false)).after("a", ["b"]))
        });
        assert_eq!(
            bad.unwrap_err().to_string(),
            "not_found: there is no task \"b\" in the flow \"bad\"; did you mean a?"
        );
    });
}

#[test]
fn a_flow_is_awaited_by_another_client() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let runner = client(lab, &log);
        let other = lab.builder().mode(Mode::Enqueue).register(visit).open().unwrap();
        let call = visit::with(1, false).run_after(Duration::from_secs(60));
        let batch =
            other.enqueue_flow(Flow::chain("far", [call]).then(visit::with(2, false))).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| batch.wait(LONG));
            lab.advance(&runner, Duration::from_secs(60));
            assert_eq!(waiting.join().unwrap().unwrap().succeeded, 2);
        });
        assert_eq!(log.words(), ["1", "2"]);
    });
}

#[test]
fn ten_thousand_that_wait_stand_in_nobodys_way() {
    Lab::each_engine(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let hour = Duration::from_secs(3_600);
        let first = client.enqueue(visit::with(0, false).run_after(hour)).unwrap();
        // Better rank than what comes later, had they a place in the order at all.
        let waits =
            (1..=10_000).map(|number| visit::with(number, false).priority(100).after([first.id()]));
        client.enqueue_many(waits).unwrap();
        let ready = client.enqueue(visit::with(77_777, false)).unwrap();
        assert_eq!(lab.wait(&client, &ready).unwrap(), 77_777);
        assert_eq!(log.words(), ["77777"]);
        let waiting = litework::Filter::new().state(State::Waiting);
        assert_eq!(client.count(&waiting).unwrap(), 10_000);
        lab.advance(&client, hour);
        eventually("all have run", || log.len() == 10_002);
        assert_eq!(client.count(&waiting).unwrap(), 0);
    });
}

#[test]
fn ten_thousand_members_sum_up_and_hand_their_results_on() {
    #[task]
    fn total(numbers: Vec<usize>) -> usize {
        numbers.into_iter().sum()
    }
    Lab::each_engine(|lab| {
        let log = Log::default();
        let builder = lab.builder().register(visit).register(total).state(log.clone());
        let client = builder.state(Arc::new(AtomicBool::new(false))).open().unwrap();
        let count = 10_000;
        let group = Flow::group("many", (0..count).map(|number| visit::with(number, false)))
            .on_success(total::with(vec![]).takes_result("numbers"));
        let batch = client.enqueue_flow(group).unwrap();
        lab.settle(&client);
        assert_eq!(batch.wait(LONG * 3).unwrap().succeeded, count as u64);
        let sum = client.handle::<total>(batch.callbacks().unwrap()[0].id).unwrap();
        assert_eq!(lab.wait(&client, &sum).unwrap(), count * (count - 1) / 2);
        assert_eq!(log.len(), count);
    });
}

/// The limit itself is admitted, and told when it is passed.
#[test]
fn a_task_may_wait_for_ten_thousand_others() {
    Lab::each_engine(|lab| {
        let log = Log::default();
        let client = client(lab, &log);
        let count = 10_000;
        let mut flow = Flow::group("wide", (0..count).map(|number| visit::with(number, false)));
        let names: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
        flow = flow.add("last", visit::with(count, false)).after("last", names);
        let batch = client.enqueue_flow(flow).unwrap();
        lab.settle(&client);
        assert_eq!(batch.wait(LONG * 3).unwrap().succeeded, count as u64 + 1);
        assert_eq!(log.words().last().unwrap(), &count.to_string());
    });
}
