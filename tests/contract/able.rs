//! What a client can do is said by its flags, and what it cannot is refused, at definition where that is possible.

use std::time::Duration;

use litework::{Capability, Definition, Filter, State, Unique, task};

use crate::common::{Gate, Lab};

crate::everywhere! {
    flags_say_what_the_place_can_do,
    a_task_that_needs_more_is_refused_at_definition,
    a_kind_without_a_queue_waits_where_the_first_pattern_leads,
    what_does_not_run_can_be_cleared_in_memory_and_nowhere_else,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn double(n: u32) -> u32 {
    2 * n
}

#[task(name = "mail.send")]
fn send(n: u32) -> u32 {
    n
}

#[task(name = "mail.slow", queue = "own")]
fn slow(n: u32) -> u32 {
    n
}

#[task]
fn hold(ctx: &litework::Context) -> litework::Result<u32> {
    ctx.state::<Gate>()?.pass();
    Ok(7)
}

fn flags_say_what_the_place_can_do(lab: &Lab) {
    let client = lab.builder().register(double).open().unwrap();
    let can = client.capabilities();
    let file = lab.keeps_tasks();
    assert_eq!(
        (can.durable, can.shared, can.supports_transactions, can.supports_clear),
        (file, file, file, !file)
    );
    assert!(can.supports_defer && can.supports_get_result && can.supports_priority);
    assert_eq!(can.supports_async_task, cfg!(feature = "tokio"));
    // What the flags say is so.
    let later = client.enqueue(double::with(21).priority(3).run_after(HOUR)).unwrap();
    assert_eq!(later.refresh().unwrap().state, State::Scheduled);
    lab.advance(&client, HOUR);
    assert_eq!(lab.wait(&client, &later).unwrap(), 42);
}

fn a_task_that_needs_more_is_refused_at_definition(lab: &Lab) {
    let can = lab.builder().open().unwrap().capabilities();
    for &one in Capability::ALL {
        let task = Definition::from(double).with(|options| options.needs(one));
        let opened = lab.builder().register(task).open();
        match opened {
            Ok(_) => assert!(can.has(one), "{one}"),
            Err(error) => {
                assert!(!can.has(one), "{one}");
                let expected = format!(
                    "unsupported: {one} of client \"default\" is false; task double needs it"
                );
                assert_eq!(error.to_string(), expected);
            }
        }
    }
}

fn a_kind_without_a_queue_waits_where_the_first_pattern_leads(lab: &Lab) {
    let builder = lab.builder().register(double).register(send).register(slow);
    let builder = builder.queue_for("mail.*", "mail").queue_for("*", "rest");
    let client = builder.open().unwrap();
    let handles = [
        client.enqueue(send::with(7).run_after(HOUR)).unwrap().id(),
        client.enqueue(slow::with(7).run_after(HOUR)).unwrap().id(),
        client.enqueue(double::with(7).run_after(HOUR)).unwrap().id(),
        client.enqueue(send::with(7).queue("here").run_after(HOUR)).unwrap().id(),
        client.enqueue_json("mail.send", br#"{"n":7}"#).unwrap().id,
    ];
    let queues = handles.map(|id| client.get(id).unwrap().queue);
    assert_eq!(queues, ["mail", "own", "rest", "here", "mail"]);
    let of_kind = |name: &str| client.kinds().into_iter().find(|kind| kind.name == name).unwrap();
    assert_eq!(
        (of_kind("mail.send").queue, of_kind("double").queue),
        ("mail".into(), "rest".into())
    );
    let sent = client.enqueue(send::with(9)).unwrap();
    assert_eq!(lab.wait(&client, &sent).unwrap(), 9);
    for (kinds, queue, code) in
        [("*", "a b", "bad_queue"), ("", "q", "bad_glob"), ("*", "q", "unknown_queue")]
    {
        let builder = lab.builder().allow_queues(["default"]).queue_for(kinds, queue);
        assert_eq!(builder.open().map(drop).unwrap_err().code(), code);
    }
}

fn what_does_not_run_can_be_cleared_in_memory_and_nowhere_else(lab: &Lab) {
    let gate = Gate::default();
    let builder = lab.builder().register(double).register(hold).declare::<Parked>();
    let client = builder.state(gate.clone()).open().unwrap();
    let ended = client.enqueue(double::with(21)).unwrap();
    assert_eq!(lab.wait(&client, &ended).unwrap(), 42);
    let keyed = client.enqueue(double::with(1).run_after(HOUR).key("k")).unwrap();
    let only = || double::with(3).run_after(HOUR).unique(Unique::key("u"));
    let unique = client.enqueue(only()).unwrap();
    let parked = client.enqueue(Parked {}).unwrap();
    if lab.keeps_tasks() {
        let error = client.clear().unwrap_err().to_string();
        let expected = "unsupported: supports_clear of client \"default\" is false; \
                        a file is not cleared as a whole";
        assert_eq!(error, expected);
        assert_eq!(client.count(&Filter::new()).unwrap(), 4);
        return;
    }
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let handle = client.enqueue(hold::with()).unwrap();
            lab.wait(&client, &handle).unwrap()
        });
        gate.wait_for(1);
        assert_eq!(client.clear().unwrap(), 4);
        assert_eq!(client.count(&Filter::new()).unwrap(), 1, "what runs stays");
        gate.open();
        assert_eq!(running.join().unwrap(), 7);
    });
    for id in [ended.id(), keyed.id(), unique.id(), parked.id()] {
        assert_eq!(client.get(id).unwrap_err().code(), "not_found");
    }
    let again = client.enqueue(double::with(2).run_after(HOUR).key("k")).unwrap();
    assert!(!again.is_existing() && !client.enqueue(only()).unwrap().is_existing());
    lab.advance(&client, HOUR);
    assert_eq!(lab.wait(&client, &again).unwrap(), 4);
    client.shutdown(HOUR).unwrap();
    assert_eq!(client.clear().unwrap_err().code(), "closed");
}

/// Nobody has a body for it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Parked {}

impl litework::Signature for Parked {
    const NAME: &'static str = "parked";
    type Output = ();
}
