//! Why a task does not run is answered the same wherever tasks are kept and whoever runs them.

use std::time::Duration;

use litework::{
    Call, Cause, Client, Context, Failure, Flow, Handle, Limit, Limits, Rate, Reason, Result,
    Scope, State, TaskRef, task,
};

use crate::common::{Lab, eventually};

crate::everywhere! {
    what_waits_for_others_says_for_how_many,
    a_batch_says_how_many_of_its_members_have_not_ended,
    what_was_told_to_come_again_later_names_what_was_closed,
    what_finds_as_many_running_as_may_names_its_queue_or_kind,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn step(name: &str) -> usize {
    name.len()
}

/// Is told to come again later.
#[task(queue = "api")]
fn fetch(page: u32) -> Result<u32> {
    if page == 0 { Ok(page) } else { Err(Failure::rate_limited(HOUR)) }
}

/// Asks, while it runs, why the next one does not.
#[task(queue = "narrow", attempts = 1)]
fn ask(ctx: &Context, asks: bool) -> Result<Vec<String>> {
    if !asks {
        return Ok(Vec::new());
    }
    let next = ctx.enqueue(ask::with(false))?;
    let why = ctx.client().expect("it runs").why(next.id())?;
    let Cause::Limit { name } = why.cause else { return Err(why.text.into()) };
    Ok(vec![name, why.text])
}

fn client(lab: &Lab) -> Client {
    lab.builder().register(step).register(fetch).register(ask).open().unwrap()
}

fn what_waits_for_others_says_for_how_many(lab: &Lab) {
    let client = client(lab);
    let before = ["a", "b"].map(|name| client.enqueue(step::with(name).run_after(HOUR)).unwrap());
    let ids = before.each_ref().map(Handle::id);
    let after = client.enqueue(step::with("c").after_finished(ids)).unwrap();
    let why = client.why(after.id()).unwrap();
    assert_eq!((why.cause, why.until), (Cause::Parents { open: 2 }, None));
    assert_eq!(why.text, "it waits for 2 tasks to end");
    before[0].cancel().unwrap();
    let why = client.why(after.id()).unwrap();
    assert_eq!(why.cause, Cause::Parents { open: 1 });
    assert_eq!(why.text, "it waits for 1 task to end");
    before[1].cancel().unwrap();
    lab.wait(&client, &after).unwrap();
    assert_eq!(client.why(after.id()).unwrap().cause, Cause::Ended { state: State::Succeeded });
}

fn a_batch_says_how_many_of_its_members_have_not_ended(lab: &Lab) {
    let client = client(lab);
    let flow = Flow::group("three", ["a", "b"].map(|name| step::with(name).run_after(HOUR)))
        .then(step::with("c"))
        .on_success(step::with("over"));
    let batch = client.enqueue_flow(flow).unwrap();
    let open = |id| match client.why(id).unwrap().cause {
        Cause::Parents { open } => open,
        cause => panic!("{cause:?}"),
    };
    let (members, callbacks) = (batch.members().unwrap(), batch.callbacks().unwrap());
    assert_eq!(open(batch.id()), 3);
    assert_eq!((open(members[2].id), open(callbacks[0].id)), (1, 1));
    client.cancel(members[0].id).unwrap();
    assert_eq!(open(batch.id()), 2);
}

fn what_was_told_to_come_again_later_names_what_was_closed(lab: &Lab) {
    type Fetch = <fetch as TaskRef>::Task;
    let client = client(lab);
    let rate = || Rate::per(9, HOUR).burst(9);
    let calls: [(Call<Fetch>, &str); 3] = [
        (fetch::with(1), "queue api"),
        (fetch::with(2).limit(Limit::per_key("pages", 9)), "queue api"),
        (fetch::with(3).rate_per_key("site", rate()), "site"),
    ];
    // The last one first, as the others close the queue.
    for (call, name) in calls.into_iter().rev() {
        let handle = client.enqueue(call).unwrap();
        lab.settle(&client);
        eventually("it was told so", || handle.refresh().unwrap().reason == Some(Reason::Rate));
        let (why, name) = (client.why(handle.id()).unwrap(), name.to_owned());
        assert_eq!(why.cause, Cause::Rate { name: name.clone() });
        assert_eq!(why.until, Some(lab.now().after(HOUR)));
        assert!(why.text.starts_with(&format!("the rate of {name} lets no task start until ")));
        client.delete(handle.id()).unwrap();
        lab.clock.advance(2 * HOUR);
    }
}

fn what_finds_as_many_running_as_may_names_its_queue_or_kind(lab: &Lab) {
    let client = client(lab);
    for scope in [Scope::queue("narrow"), Scope::kind("ask")] {
        client.set_limits(&scope, Limits::none().max_running(1)).unwrap();
        let asked = client.enqueue(ask::with(true)).unwrap();
        let answer = lab.wait(&client, &asked).unwrap();
        assert_eq!(answer, [scope.to_string(), format!("as many tasks of {scope} run as may")]);
        lab.settle(&client);
        client.reset_limits(&scope).unwrap();
    }
}
