//! A task that is run again takes along what has ended only because of it: what comes after it, its
//! flow, and what comes after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litework::{
    Batch, Client, Context, Failure, Filter, Flow, Handle, Reason, Result, State, TaskId,
    TaskRecord, task,
};

use crate::common::{Lab, Log, Runs};

crate::everywhere! {
    a_member_that_is_run_again_opens_its_flow_again,
    many_that_are_run_again_open_their_flow_again,
    a_flow_fails_again_while_another_member_has_failed,
    what_waits_for_two_waits_for_both_that_run_again,
    a_flow_that_has_succeeded_stays_so,
    a_cancelled_flow_goes_on_where_a_member_is_run_again,
    a_flow_that_lost_its_failed_member_is_run_again_and_succeeds,
    what_came_after_a_failed_task_runs_when_that_is_run_again,
    a_member_that_waits_for_a_task_of_another_flow_opens_its_own,
    what_is_run_again_waits_for_what_runs_again_before_it,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const SUCCEEDED: (State, Option<Reason>) = (State::Succeeded, None);
const WITH_PARENT: (State, Option<Reason>) = (State::Failed, Some(Reason::Parent));
const WAITS: (State, Option<Reason>) = (State::Waiting, Some(Reason::Parents));

/// Whether the next attempts succeed.
#[derive(Debug, Clone, Default)]
struct Repaired(Arc<AtomicBool>);

/// Notes its name and returns it; `bad…` fails until it is repaired.
#[task(attempts = 1)]
fn step(ctx: &Context, name: &str) -> Result<String> {
    ctx.state::<Log>()?.note(name);
    if name.starts_with("bad") && !ctx.state::<Repaired>()?.0.load(Ordering::SeqCst) {
        return Err(Failure::give_up("broken").expected());
    }
    Ok(name.to_owned())
}

#[task(attempts = 1)]
fn gather(ctx: &Context, words: Vec<Option<String>>) -> Result<String> {
    ctx.state::<Log>()?.note("gather");
    Ok(words.into_iter().map(|word| word.unwrap_or_else(|| "-".to_owned())).collect())
}

struct Yard {
    client: Client,
    log: Log,
    repaired: Repaired,
}

fn yard(lab: &Lab) -> Yard {
    let (log, repaired) = (Log::default(), Repaired::default());
    let builder = lab.builder().register(step).register(gather).state(log.clone());
    Yard { client: builder.state(repaired.clone()).open().unwrap(), log, repaired }
}

impl Yard {
    fn enqueue(&self, flow: Flow) -> Handle<Batch> {
        self.client.enqueue_flow(flow).unwrap()
    }

    /// From now on nothing is broken, and only what is run from now on is noted.
    fn repair(&self) {
        self.repaired.0.store(true, Ordering::SeqCst);
        self.log.clear();
    }

    /// The flow and what comes after it, when they have ended.
    fn ended(&self, lab: &Lab, batch: &Handle<Batch>) -> Vec<(State, Option<Reason>)> {
        let mut ends = vec![end_of(&lab.ended(&self.client, batch))];
        for callback in batch.callbacks().unwrap() {
            ends.push(self.end(lab, &callback));
        }
        ends
    }

    fn end(&self, lab: &Lab, task: &TaskRecord) -> (State, Option<Reason>) {
        if task.kind == "step" {
            return end_of(&lab.ended(&self.client, &self.client.handle::<step>(task.id).unwrap()));
        }
        end_of(&lab.ended(&self.client, &self.client.handle::<gather>(task.id).unwrap()))
    }

    fn state(&self, id: TaskId) -> (State, Option<Reason>) {
        end_of(&self.client.get(id).unwrap())
    }

    fn noted(&self) -> Vec<String> {
        let mut words = self.log.words();
        words.sort();
        words
    }
}

fn end_of(task: &TaskRecord) -> (State, Option<Reason>) {
    (task.state, task.reason)
}

fn member(batch: &Handle<Batch>, name: &str) -> TaskRecord {
    let mut members = batch.members().unwrap().into_iter();
    members.find(|task| task.name.as_deref() == Some(name)).unwrap()
}

fn broken() -> Flow {
    Flow::new("broken")
        .add("good", step::with("good"))
        .add("bad", step::with("bad"))
        .add("after", gather::with(vec![]).takes_result("words"))
        .add("last", step::with("last"))
        .after("after", ["good", "bad"])
        .after("last", ["after"])
        .on_success(gather::with(vec![]).takes_result("words"))
        .on_finish(step::with("over"))
}

fn a_member_that_is_run_again_opens_its_flow_again(lab: &Lab) {
    let yard = yard(lab);
    let batch = yard.enqueue(broken());
    assert_eq!(yard.ended(lab, &batch), [WITH_PARENT, WITH_PARENT, SUCCEEDED]);
    yard.repair();
    yard.client.retry(member(&batch, "bad").id).unwrap();
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED; 3]);
    assert_eq!(yard.noted(), ["bad", "gather", "gather", "last"], "`over` has run, once");
    let sum = batch.value().unwrap();
    assert_eq!((sum.total, sum.succeeded), (4, 4));
    assert_eq!(member(&batch, "after").value::<String>().unwrap(), "goodbad");
    let last = batch.callbacks().unwrap().swap_remove(0);
    assert_eq!(last.value::<String>().unwrap(), "goodbadgoodbadlast");
    assert_eq!(batch.retry().unwrap(), 0, "nothing has failed");
}

fn many_that_are_run_again_open_their_flow_again(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::group("many", ["bad a", "good", "bad b"].map(step::with))
        .on_success(gather::with(vec![]).takes_result("words"));
    let batch = yard.enqueue(flow);
    assert_eq!(yard.ended(lab, &batch), [WITH_PARENT; 2]);
    yard.repair();
    let retried = yard.client.bulk(&Filter::new().kind("step")).retry().unwrap();
    assert_eq!((retried.done, retried.left), (2, 0));
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED; 2]);
    assert_eq!(batch.callbacks().unwrap()[0].value::<String>().unwrap(), "bad agoodbad b");
}

fn a_flow_fails_again_while_another_member_has_failed(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::new("two")
        .add("bad a", step::with("bad a"))
        .add("bad b", step::with("bad b"))
        .add("both", step::with("both"))
        .after("both", ["bad a", "bad b"])
        .on_success(step::with("done"));
    let batch = yard.enqueue(flow);
    assert_eq!(yard.ended(lab, &batch), [WITH_PARENT; 2]);
    yard.repair();
    yard.client.retry(member(&batch, "bad a").id).unwrap();
    assert_eq!(yard.ended(lab, &batch), [WITH_PARENT; 2]);
    assert_eq!(end_of(&member(&batch, "both")), WITH_PARENT);
    let sum = batch.sum().unwrap();
    assert_eq!((sum.succeeded, sum.failed), (1, 2));
    yard.client.retry(member(&batch, "bad b").id).unwrap();
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED; 2]);
    assert_eq!(yard.noted(), ["bad a", "bad b", "both", "done"]);
}

/// The first is not run meanwhile, as its queue is paused.
fn what_waits_for_two_waits_for_both_that_run_again(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::new("two")
        .add("bad a", step::with("bad a").queue("slow"))
        .add("bad b", step::with("bad b"))
        .add("both", gather::with(vec![]).takes_result("words"))
        .after("both", ["bad a", "bad b"]);
    let batch = yard.enqueue(flow);
    yard.ended(lab, &batch);
    yard.repair();
    yard.client.pause(&litework::Scope::queue("slow")).unwrap();
    let [a, b, both] = ["bad a", "bad b", "both"].map(|name| member(&batch, name));
    yard.client.retry(a.id).unwrap();
    yard.client.retry(b.id).unwrap();
    assert_eq!(yard.end(lab, &b), SUCCEEDED);
    assert_eq!((yard.state(both.id), yard.state(batch.id())), (WAITS, WAITS));
    yard.client.resume(&litework::Scope::queue("slow")).unwrap();
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED]);
    assert_eq!(member(&batch, "both").value::<String>().unwrap(), "bad abad b");
}

fn a_flow_that_has_succeeded_stays_so(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::group("bold", [step::with("bad").ignore_failure(), step::with("good")])
        .on_success(step::with("done"));
    let batch = yard.enqueue(flow);
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED; 2]);
    let value = batch.value().unwrap();
    yard.repair();
    let bad = batch.members().unwrap().swap_remove(0);
    yard.client.retry(bad.id).unwrap();
    assert_eq!(yard.state(batch.id()), SUCCEEDED);
    assert_eq!(yard.end(lab, &bad), SUCCEEDED);
    assert_eq!((batch.value().unwrap(), batch.sum().unwrap().failed), (value, 0));
    assert_eq!(yard.noted(), ["bad"]);
}

fn a_cancelled_flow_goes_on_where_a_member_is_run_again(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::chain("long", [step::with("first").run_after(HOUR)])
        .then(step::with("second"))
        .on_success(step::with("done"))
        .on_finish(step::with("over"));
    let batch = yard.enqueue(flow);
    batch.cancel().unwrap();
    let cancelled = (State::Cancelled, Some(Reason::Asked));
    let parent = (State::Cancelled, Some(Reason::Parent));
    assert_eq!(yard.ended(lab, &batch), [cancelled, parent, SUCCEEDED]);
    yard.repair();
    yard.client.retry(batch.members().unwrap()[0].id).unwrap();
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED; 3]);
    assert_eq!(yard.log.words(), ["first", "second", "done"]);
}

fn a_flow_that_lost_its_failed_member_is_run_again_and_succeeds(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::group("lost", ["good", "bad"].map(step::with)).on_success(step::with("done"));
    let batch = yard.enqueue(flow);
    assert_eq!(yard.ended(lab, &batch), [WITH_PARENT; 2]);
    yard.repair();
    yard.client.delete(batch.members().unwrap()[1].id).unwrap();
    assert_eq!(batch.retry().unwrap(), 1, "what comes after it");
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED; 2]);
    assert_eq!((batch.value().unwrap().total, yard.noted()), (1, vec!["done".to_owned()]));
    assert_eq!(batch.retry().unwrap(), 0);
}

/// Also what was stored when it had failed already.
fn what_came_after_a_failed_task_runs_when_that_is_run_again(lab: &Lab) {
    let yard = yard(lab);
    let bad = yard.client.enqueue(step::with("bad").run_after(HOUR)).unwrap();
    let call = |word| step::with(word).after([bad.id()]);
    let early = yard.client.enqueue(call("early")).unwrap();
    let next = yard.client.enqueue(step::with("next").after([early.id()])).unwrap();
    let any = yard.client.enqueue(step::with("any").after_finished([bad.id()])).unwrap();
    lab.advance(&yard.client, HOUR);
    lab.ended(&yard.client, &bad);
    assert_eq!(end_of(&lab.ended(&yard.client, &next)), WITH_PARENT);
    assert_eq!(end_of(&lab.ended(&yard.client, &any)), SUCCEEDED);
    let late = yard.client.enqueue(call("late")).unwrap();
    assert_eq!(yard.state(late.id()), WITH_PARENT);
    yard.repair();
    yard.client.retry(bad.id()).unwrap();
    for handle in [&early, &next, &late] {
        assert_eq!(end_of(&lab.ended(&yard.client, handle)), SUCCEEDED);
    }
    assert_eq!(yard.noted(), ["bad", "early", "late", "next"]);
}

fn a_member_that_waits_for_a_task_of_another_flow_opens_its_own(lab: &Lab) {
    let yard = yard(lab);
    let first = yard.enqueue(Flow::group("first", [step::with("bad").run_after(HOUR)]));
    let bad = first.members().unwrap()[0].id;
    let second = Flow::group("second", [step::with("waits").after([bad]), step::with("free")])
        .on_success(gather::with(vec![]).takes_result("words"));
    let second = yard.enqueue(second);
    let third = yard.client.enqueue(step::with("third").after([second.id()])).unwrap();
    lab.advance(&yard.client, HOUR);
    assert_eq!(yard.ended(lab, &first), [WITH_PARENT]);
    assert_eq!(yard.ended(lab, &second), [WITH_PARENT; 3]);
    yard.repair();
    assert_eq!(first.retry().unwrap(), 4, "bad, waits, what comes after the second, third");
    lab.settle(&yard.client);
    assert_eq!(yard.ended(lab, &first), [SUCCEEDED]);
    assert_eq!(yard.ended(lab, &second), [SUCCEEDED; 3]);
    assert_eq!(third.value().unwrap(), "third");
}

/// Whoever is run again by name alone does not run beside what it was to come after.
fn what_is_run_again_waits_for_what_runs_again_before_it(lab: &Lab) {
    let yard = yard(lab);
    let flow = Flow::chain("order", [step::with("first").queue("slow")]).then(step::with("bad"));
    let batch = yard.enqueue(flow);
    yard.ended(lab, &batch);
    yard.repair();
    yard.client.pause(&litework::Scope::queue("slow")).unwrap();
    let members = batch.members().unwrap();
    yard.client.retry(members[0].id).unwrap();
    yard.client.retry(members[1].id).unwrap();
    assert_eq!(yard.state(members[1].id), WAITS);
    if !lab.runs(Runs::Pool) {
        lab.settle(&yard.client);
    }
    yard.client.resume(&litework::Scope::queue("slow")).unwrap();
    assert_eq!(yard.ended(lab, &batch), [SUCCEEDED]);
    assert_eq!(yard.log.words(), ["first", "bad"]);
}
