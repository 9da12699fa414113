//! Flows: order, results handed on, sums, and what a failure, a cancel or a retry means to the rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litework::{
    Batch, Cancelled, Client, Context, Error, Failure, Filter, Flow, Handle, Limit, Mode, Pending,
    Reason, Result, State, TaskId, TaskRecord, Unique, task,
};

use crate::common::{LONG, Lab, Log, Runs};

/// Whether what fails is repaired by now.
#[derive(Default)]
struct Repaired(AtomicBool);

/// Notes its name and returns it; `bad…` fails until it is repaired.
#[task(attempts = 1)]
fn step(ctx: &Context, name: &str) -> Result<String> {
    ctx.state::<Log>()?.note(name);
    if name.starts_with("bad") && !ctx.state::<Repaired>()?.0.load(Ordering::SeqCst) {
        return Err(Failure::give_up("broken").expected());
    }
    Ok(name.to_owned())
}

/// Puts a word to what came before.
#[task(attempts = 1)]
fn append(ctx: &Context, text: &str, word: &str) -> Result<String> {
    ctx.state::<Log>()?.note(word);
    Ok(format!("{text}{word}"))
}

#[task(attempts = 1)]
fn gather(ctx: &Context, words: Vec<Option<String>>) -> Result<String> {
    ctx.state::<Log>()?.note("gather");
    Ok(words.into_iter().map(|word| word.unwrap_or_else(|| "-".to_owned())).collect())
}

/// Fails at first.
#[task(attempts = 3)]
fn stumbles(ctx: &Context) -> Result<u32> {
    ctx.state::<Log>()?.note(format!("stumbles {}", ctx.attempt()));
    if ctx.attempt() == 1 { Err("once".into()) } else { Ok(ctx.attempt()) }
}

crate::everywhere!(
    a_chain_hands_results_on,
    what_comes_after_a_group_takes_its_results_in_order,
    a_flow_without_members_ends_at_once,
    a_failure_ends_what_comes_after_it_and_nothing_else,
    a_failure_may_be_passed_over,
    a_graph_runs_in_its_order,
    a_member_that_is_tried_again_keeps_the_others_waiting,
    a_call_may_come_after_stored_tasks,
    a_member_waits_for_its_time_and_its_gate_after_those_before_it,
    a_cancelled_flow_runs_no_more,
    a_flow_does_not_succeed_for_a_member_that_was_deleted,
    a_failed_flow_is_run_again_where_it_failed,
    a_flow_with_a_key_is_stored_once,
    a_member_whose_unique_key_is_taken_refuses_the_flow,
    a_result_that_does_not_fit_is_told,
    large_results_are_handed_on,
);

fn client(lab: &Lab) -> (Client, Log) {
    let log = Log::default();
    let builder = lab.builder().register(step).register(append).register(gather);
    let builder = builder.register(stumbles).state(log.clone()).state(Repaired::default());
    (builder.open().unwrap(), log)
}

/// The batch when it and what comes after it have ended.
fn ended(lab: &Lab, client: &Client, batch: &Handle<Batch>) -> TaskRecord {
    let record = lab.ended(client, batch);
    for callback in batch.callbacks().unwrap() {
        let _ended = match &*callback.kind {
            "step" => client.handle::<step>(callback.id).unwrap().wait(LONG).map(drop),
            _ => client.handle::<gather>(callback.id).unwrap().wait(LONG).map(drop),
        };
    }
    record
}

fn states(tasks: &[TaskRecord]) -> Vec<(State, Option<Reason>)> {
    tasks.iter().map(|task| (task.state, task.reason)).collect()
}

const SUCCEEDED: (State, Option<Reason>) = (State::Succeeded, None);
const WITH_PARENT: (State, Option<Reason>) = (State::Failed, Some(Reason::Parent));

fn a_chain_hands_results_on(lab: &Lab) {
    let (client, log) = client(lab);
    let chain =
        Flow::chain("abc", [append::with("", "a"), append::with("", "b").takes_result("text")])
            .then(append::with("", "c").takes_result("text").name("last"));
    let batch = client.enqueue_flow(chain).unwrap();
    let record = ended(lab, &client, &batch);
    assert_eq!((record.kind.as_str(), record.name.as_deref()), ("litework.batch", Some("abc")));
    let sum = batch.value().unwrap();
    assert_eq!((sum.total, sum.succeeded, sum.open()), (3, 3, 0));
    assert_eq!(
        record.result.as_deref(),
        Some(r#"{"total":3,"succeeded":3,"failed":0,"cancelled":0,"skipped":0}"#)
    );
    assert_eq!(log.words(), ["a", "b", "c"]);
    let members = batch.members().unwrap();
    assert_eq!(members[2].value::<String>().unwrap(), "abc");
    assert_eq!((members[2].name.as_deref(), members[2].batch), (Some("last"), Some(batch.id())));
    assert_eq!(members[2].arguments, r#"{"text":"","word":"c"}"#, "what was given stays");
    let again: Handle<Batch> = client.handle::<Batch>(batch.id()).unwrap();
    assert_eq!(again.sum().unwrap(), sum);
}

fn what_comes_after_a_group_takes_its_results_in_order(lab: &Lab) {
    let (client, log) = client(lab);
    let group = Flow::group("words", ["a", "b", "c", "d"].map(step::with))
        .on_success(gather::with(vec![]).takes_result("words"))
        .on_finish(step::with("over"));
    let batch = client.enqueue_flow(group).unwrap();
    assert_eq!(ended(lab, &client, &batch).state, State::Succeeded);
    let callbacks = batch.callbacks().unwrap();
    assert_eq!(callbacks[0].value::<String>().unwrap(), "abcd");
    assert_eq!(states(&callbacks), [SUCCEEDED, SUCCEEDED]);
    let mut words = log.words();
    let mut last = words.split_off(4);
    words.sort();
    last.sort();
    assert_eq!((words, last), (to_words("a b c d"), to_words("gather over")));
}

fn to_words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn a_flow_without_members_ends_at_once(lab: &Lab) {
    let (client, _) = client(lab);
    let alone = client.enqueue_flow(Flow::new("nothing")).unwrap();
    assert_eq!(alone.value().unwrap().total, 0);
    let none: [&str; 0] = [];
    let chord = Flow::group("nothing", none.map(step::with))
        .on_success(gather::with(vec![]).takes_result("words"))
        .on_finish(step::with("over"));
    let batch = client.enqueue_flow(chord).unwrap();
    assert_eq!(batch.refresh().unwrap().state, State::Succeeded);
    ended(lab, &client, &batch);
    let callbacks = batch.callbacks().unwrap();
    assert_eq!(states(&callbacks), [SUCCEEDED, SUCCEEDED]);
    assert_eq!(callbacks[0].value::<String>().unwrap(), "");
}

fn a_failure_ends_what_comes_after_it_and_nothing_else(lab: &Lab) {
    let (client, log) = client(lab);
    let flow = Flow::new("partly")
        .add("bad", step::with("bad"))
        .add("next", step::with("next"))
        .add("last", step::with("last"))
        .add("cleanup", step::with("cleanup"))
        .add("other", step::with("other"))
        .after("next", ["bad"])
        .after("last", ["next", "other"])
        .after_finished("cleanup", ["last"])
        .on_success(gather::with(vec![]))
        .on_finish(step::with("over"));
    let batch = client.enqueue_flow(flow).unwrap();
    let record = ended(lab, &client, &batch);
    assert_eq!((record.state, record.reason), WITH_PARENT);
    let error = record.error.unwrap();
    assert_eq!(error.to_string(), "of 5 members, 3 failed: member \"bad\": broken");
    assert_eq!(error.causes, ["member \"bad\": broken"]);
    let sum = batch.sum().unwrap();
    assert_eq!((sum.total, sum.succeeded, sum.failed, sum.open()), (5, 2, 3, 0));
    assert_eq!(batch.wait(LONG).unwrap_err().code(), "failed");
    let members = batch.members().unwrap();
    let find = |name: &str| members.iter().find(|task| task.name.as_deref() == Some(name)).unwrap();
    assert_eq!(states(&[find("next").clone(), find("last").clone()]), [WITH_PARENT, WITH_PARENT]);
    let told = find("next").error.clone().unwrap();
    assert_eq!(told.message, "the task \"bad\" before it failed");
    assert_eq!(told.data.unwrap()["before"], find("bad").id.to_string());
    assert_eq!(states(&batch.callbacks().unwrap()), [WITH_PARENT, SUCCEEDED]);
    let mut words = log.words();
    words.sort();
    assert_eq!(words, to_words("bad cleanup other over"));
}

fn a_failure_may_be_passed_over(lab: &Lab) {
    let (client, log) = client(lab);
    let flow = Flow::chain("bold", [step::with("bad").ignore_failure()])
        .then(gather::with(vec![]).takes_result("words"))
        .then(step::with("end"))
        .on_success(step::with("over"));
    // One result, and none at that: `null` is no list.
    let batch = client.enqueue_flow(flow).unwrap();
    let record = ended(lab, &client, &batch);
    assert_eq!(record.state, State::Failed);
    let told = record.error.unwrap().causes.remove(0);
    assert!(!told.contains("broken"), "the failure that counts is another: {told}");
    let flow = Flow::new("bold")
        .add("bad", step::with("bad").ignore_failure())
        .add("good", step::with("good"))
        .add("gather", gather::with(vec![]).takes_result("words"))
        .after("gather", ["good", "bad"])
        .on_success(step::with("over"));
    let batch = client.enqueue_flow(flow).unwrap();
    assert_eq!(ended(lab, &client, &batch).state, State::Succeeded);
    let sum = batch.value().unwrap();
    assert_eq!((sum.total, sum.succeeded, sum.failed), (3, 2, 1));
    assert_eq!(batch.members().unwrap()[2].value::<String>().unwrap(), "good-");
    assert_eq!(log.words().last().unwrap(), "over");
}

fn a_graph_runs_in_its_order(lab: &Lab) {
    let (client, log) = client(lab);
    let flow = Flow::new("diamond")
        .add("end", gather::with(vec![]).takes_result("words"))
        .add("left", append::with("", "l").takes_result("text"))
        .add("right", append::with("", "r").takes_result("text"))
        .add("top", step::with("t"))
        .after("end", ["right", "left"])
        .after("left", ["top"])
        .after("right", ["top"]);
    let batch = client.enqueue_flow(flow).unwrap();
    ended(lab, &client, &batch);
    let members = batch.members().unwrap();
    let names: Vec<_> = members.iter().map(|task| task.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["top", "left", "right", "end"]);
    assert_eq!(members[3].value::<String>().unwrap(), "trtl", "in the order of `after`");
    let words = log.words();
    assert_eq!((words[0].as_str(), words[3].as_str(), words.len()), ("t", "gather", 4));
}

fn a_member_that_is_tried_again_keeps_the_others_waiting(lab: &Lab) {
    let (client, log) = client(lab);
    let flow = Flow::chain("uneven", [stumbles::with()]).then(step::with("after"));
    let batch = client.enqueue_flow(flow).unwrap();
    lab.settle(&client);
    if lab.runs(Runs::Pool) {
        crate::common::eventually("it has failed once", || {
            batch.members().unwrap()[0].state == State::Scheduled
        });
    }
    if !lab.runs(Runs::Inline) {
        assert_eq!(batch.members().unwrap()[1].reason, Some(Reason::Parents));
        assert_eq!(batch.refresh().unwrap().reason, Some(Reason::Parents));
        assert_eq!(batch.sum().unwrap().open(), 2);
        lab.advance(&client, Duration::from_secs(60));
    }
    assert_eq!(ended(lab, &client, &batch).state, State::Succeeded);
    assert_eq!(log.words(), ["stumbles 1", "stumbles 2", "after"]);
}

fn a_call_may_come_after_stored_tasks(lab: &Lab) {
    let (client, _) = client(lab);
    let hour = Duration::from_secs(3_600);
    let first = client.enqueue(step::with("a").run_after(hour)).unwrap();
    let second = client.enqueue(step::with("bad").run_after(hour)).unwrap();
    let after =
        client.enqueue(append::with("", "!").after([first.id()]).takes_result("text")).unwrap();
    let both = client.enqueue(step::with("both").after([first.id(), second.id()])).unwrap();
    let any = client.enqueue(step::with("any").after_finished([first.id(), second.id()])).unwrap();
    let waits = (State::Waiting, Some(Reason::Parents));
    for handle in [after.refresh(), both.refresh(), any.refresh()] {
        assert_eq!(states(&[handle.unwrap()]), [waits]);
    }
    lab.advance(&client, hour);
    assert_eq!(lab.wait(&client, &after).unwrap(), "a!");
    assert_eq!(states(&[lab.ended(&client, &both)]), [WITH_PARENT]);
    assert_eq!(lab.wait(&client, &any).unwrap(), "any");
    // What has ended counts at once.
    let late =
        client.enqueue(append::with("", "?").after([first.id()]).takes_result("text")).unwrap();
    assert_eq!(lab.wait(&client, &late).unwrap(), "a?");
    let doomed = client.enqueue(step::with("never").after([second.id()])).unwrap();
    assert_eq!(states(&[doomed.refresh().unwrap()]), [WITH_PARENT]);
    // A cancel goes the same way.
    let cancelled = client.enqueue(step::with("x").run_after(hour)).unwrap();
    let after = client.enqueue(step::with("y").after([cancelled.id()])).unwrap();
    assert_eq!(cancelled.cancel().unwrap(), Cancelled::Now);
    let parent = (State::Cancelled, Some(Reason::Parent));
    assert_eq!(states(&[after.refresh().unwrap()]), [parent]);
    let unknown = "1-0000000000000".parse().unwrap();
    let error = client.enqueue(step::with("z").after([unknown])).unwrap_err();
    assert_eq!(error.to_string(), "not_found: there is no task 1-0000000000000");
}

fn a_member_waits_for_its_time_and_its_gate_after_those_before_it(lab: &Lab) {
    let (client, log) = client(lab);
    let hour = Duration::from_secs(3_600);
    let one = || Limit::per_key("one", 1);
    let flow = Flow::new("late")
        .add("first", step::with("first").limit(one()))
        .add("later", step::with("later").run_after(hour))
        .add("gated", step::with("gated").limit(one()))
        .add("gated too", step::with("gated too").limit(one()))
        .after("later", ["first"])
        .after("gated", ["first"])
        .after("gated too", ["first"]);
    let batch = client.enqueue_flow(flow).unwrap();
    lab.settle(&client);
    crate::common::eventually("those that are due have ended", || {
        lab.settle(&client);
        batch.sum().unwrap().open() == 1
    });
    let later = batch.members().unwrap().into_iter().find(|task| !task.state.is_final()).unwrap();
    assert_eq!((later.state, later.reason), (State::Scheduled, Some(Reason::Delayed)));
    lab.advance(&client, hour);
    assert_eq!(ended(lab, &client, &batch).state, State::Succeeded);
    let words = log.words();
    assert_eq!((words[0].as_str(), words[3].as_str()), ("first", "later"));
}

fn a_cancelled_flow_runs_no_more(lab: &Lab) {
    let (client, log) = client(lab);
    let hour = Duration::from_secs(3_600);
    let flow = Flow::chain("long", [step::with("first").run_after(hour)])
        .then(step::with("second"))
        .then(step::with("third"))
        .on_success(gather::with(vec![]))
        .on_finish(step::with("over"));
    let batch = client.enqueue_flow(flow).unwrap();
    assert_eq!(batch.cancel().unwrap(), Cancelled::Now);
    lab.advance(&client, hour);
    let record = ended(lab, &client, &batch);
    assert_eq!((record.state, record.reason), (State::Cancelled, Some(Reason::Asked)));
    assert_eq!(batch.sum().unwrap().cancelled, 3);
    let parent = (State::Cancelled, Some(Reason::Parent));
    assert_eq!(states(&batch.members().unwrap()), [parent; 3]);
    assert_eq!(states(&batch.callbacks().unwrap()), [parent, SUCCEEDED]);
    assert_eq!(log.words(), ["over"]);
    assert_eq!(batch.cancel().unwrap(), Cancelled::AlreadyFinished);
}

fn a_flow_does_not_succeed_for_a_member_that_was_deleted(lab: &Lab) {
    let (client, log) = client(lab);
    let hour = Duration::from_secs(3_600);
    let deletes: [fn(&Client, TaskId); 3] = [
        |client, id| client.delete(id).unwrap(),
        |client, id| assert_eq!(client.bulk(&Filter::new().id(id)).delete().unwrap().done, 1),
        |client, _| assert_eq!(client.erase("Ada").unwrap().tasks, 1),
    ];
    for delete in deletes {
        for is_last in [false, true] {
            let flow = Flow::new("order")
                .add("stays", step::with("stays").run_after(if is_last { LONG } else { hour }))
                .add("goes", step::with("goes").run_after(hour).owner("Ada"))
                .on_success(step::with("ship"))
                .on_finish(step::with("over"));
            let batch = client.enqueue_flow(flow).unwrap();
            if is_last {
                lab.advance(&client, LONG);
                client.handle::<step>(batch.members().unwrap()[0].id).unwrap().wait(LONG).unwrap();
            }
            delete(&client, batch.members().unwrap()[1].id);
            lab.advance(&client, hour);
            let record = ended(lab, &client, &batch);
            assert_eq!((record.state, record.reason), (State::Cancelled, Some(Reason::Parent)));
            let sum = batch.sum().unwrap();
            assert_eq!((sum.total, sum.succeeded, sum.cancelled), (2, 1, 1));
            assert_eq!(log.words(), ["stays", "over"]);
            log.clear();
            // Whoever runs it again means it to succeed without.
            assert_eq!(batch.retry().unwrap(), 1);
            lab.settle(&client);
            assert_eq!(lab.ended(&client, &batch).state, State::Succeeded);
            let ship = batch.callbacks().unwrap()[0].id;
            client.handle::<step>(ship).unwrap().wait(LONG).unwrap();
            assert_eq!(log.words(), ["ship"]);
            log.clear();
        }
    }
}

fn a_failed_flow_is_run_again_where_it_failed(lab: &Lab) {
    let log = Log::default();
    let repaired = std::sync::Arc::new(Repaired::default());
    #[task(attempts = 2)]
    fn fragile(ctx: &Context, name: &str) -> Result<String> {
        ctx.state::<Log>()?.note(name);
        let repaired = ctx.state::<std::sync::Arc<Repaired>>()?.0.load(Ordering::SeqCst);
        if name.starts_with("bad") && !repaired {
            return Err(Failure::give_up("broken").expected());
        }
        Ok(name.to_owned())
    }
    let builder = lab.builder().register(fragile).register(gather).state(log.clone());
    let client = builder.state(std::sync::Arc::clone(&repaired)).open().unwrap();
    let flow = Flow::new("repaired")
        .add("good", fragile::with("good"))
        .add("bad", fragile::with("bad"))
        .add("after", gather::with(vec![]).takes_result("words"))
        .add("last", fragile::with("last"))
        .after("after", ["good", "bad"])
        .after("last", ["after"])
        .on_success(gather::with(vec![]).takes_result("words"));
    let batch = client.enqueue_flow(flow).unwrap();
    lab.ended(&client, &batch);
    let mut words = log.words();
    words.sort();
    assert_eq!(words, to_words("bad good"));
    repaired.0.store(true, Ordering::SeqCst);
    let other = client.enqueue(fragile::with("other")).unwrap();
    assert_eq!(client.handle::<Batch>(other.id()).unwrap_err().code(), "mismatch");
    lab.wait(&client, &other).unwrap();
    assert_eq!(batch.retry().unwrap(), 4, "bad, after, last and what comes after all");
    if lab.runs(Runs::Inline) {
        client.run_pending(&Pending::all()).unwrap();
    }
    assert_eq!(lab.ended(&client, &batch).state, State::Succeeded);
    let members = batch.members().unwrap();
    assert_eq!(members[2].value::<String>().unwrap(), "goodbad");
    let last = batch.callbacks().unwrap()[0].id;
    let last = client.handle::<gather>(last).unwrap();
    assert_eq!(lab.wait(&client, &last).unwrap(), "goodbadgoodbadlast");
    assert_eq!(log.words().iter().filter(|word| *word == "good").count(), 1, "it stays as it was");
    let bad = members.iter().find(|task| task.name.as_deref() == Some("bad")).unwrap();
    assert_eq!((bad.attempt, bad.attempts_max), (2, 3), "as many attempts as at first");
    assert_eq!(batch.retry().unwrap(), 0, "nothing has failed");
    let open =
        client.enqueue_flow(Flow::group("open", [fragile::with("x").run_after(LONG)])).unwrap();
    assert_eq!(open.retry().unwrap_err().code(), "not_finished");
}

fn a_flow_with_a_key_is_stored_once(lab: &Lab) {
    let (client, log) = client(lab);
    let flow =
        |word: &'static str| Flow::chain("once", [step::with("a"), step::with(word)]).key("k");
    let batch = client.enqueue_flow(flow("b")).unwrap();
    ended(lab, &client, &batch);
    let again = client.enqueue_flow(flow("b")).unwrap();
    assert!(again.is_existing() && !batch.is_existing());
    assert_eq!(again.id(), batch.id());
    assert_eq!(client.enqueue_flow(flow("c")).unwrap_err().code(), "key_conflict");
    lab.settle(&client);
    assert_eq!(log.words(), ["a", "b"]);
}

fn a_member_whose_unique_key_is_taken_refuses_the_flow(lab: &Lab) {
    let (client, _) = client(lab);
    let unique = |name: &'static str| step::with(name).unique(Unique::key("one"));
    let first = client.enqueue(unique("a").run_after(LONG)).unwrap();
    let flow = Flow::new("taken").add("free", step::with("b")).add("taken", unique("a"));
    let error = client.enqueue_flow(flow).unwrap_err();
    let Error::Member { name, source, .. } = &error else { panic!("{error}") };
    assert_eq!((name.as_str(), source.code()), ("taken", "not_unique"));
    let all = client.list(&litework::Filter::new(), None, 10).unwrap();
    assert_eq!(all.tasks.len(), 1, "nothing of it was stored");
    assert_eq!(all.tasks[0].id, first.id());
}

fn a_result_that_does_not_fit_is_told(lab: &Lab) {
    let (client, _) = client(lab);
    let flow =
        Flow::chain("misfit", [step::with("a")]).then(gather::with(vec![]).takes_result("words"));
    let batch = client.enqueue_flow(flow).unwrap();
    ended(lab, &client, &batch);
    let misfit = batch.members().unwrap().pop().unwrap();
    assert_eq!(misfit.reason, Some(Reason::BadArguments));
    let told = misfit.error.unwrap().message;
    assert!(told.ends_with("; the parameter \"words\" takes a result"), "{told}");
    let unknown =
        Flow::chain("misfit", [step::with("a")]).then(step::with("b").takes_result("nam"));
    assert_eq!(
        client.enqueue_flow(unknown).unwrap_err().to_string(),
        "member \"2\" of the flow: no_parameter: parameter that takes a result is \"nam\"; \
         one of the parameters that the call gives: name"
    );
}

fn large_results_are_handed_on(lab: &Lab) {
    let (client, _) = client(lab);
    let large = "x".repeat(10_000);
    let flow = Flow::chain("large", [append::with(large.clone(), "y")])
        .then(append::with("", "z").takes_result("text"));
    let batch = client.enqueue_flow(flow).unwrap();
    assert_eq!(ended(lab, &client, &batch).state, State::Succeeded);
    let last = batch.members().unwrap().pop().unwrap();
    assert_eq!(last.value::<String>().unwrap(), format!("{large}yz"));
}

#[test]
fn a_waiter_is_told_that_nobody_runs_a_flow() {
    let lab = Lab::new(crate::common::Place::file(Runs::RunPending));
    let (client, _) = client(&lab);
    let batch = client.enqueue_flow(Flow::group("held", [step::with("a")])).unwrap();
    assert_eq!(client.mode(), Mode::Hold);
    assert_eq!(batch.wait(LONG).unwrap_err().code(), "nobody_runs");
}
