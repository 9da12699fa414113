//! A task that follows another is stored with the end of that one: once for each end, whichever it is.

use std::time::Duration;

use litework::sqlite::ClientExt;
use litework::{
    Builder, Client, Context, Definition, EventKind, EventRecord, Exclusive, Failure,
    FailureNotice, Filter, Flow, Notice, Reason, Result, State, TaskId, TaskRecord, task,
};
use serde_json::Value;

use crate::common::{LONG, Lab, Log, Runs, eventually};

crate::everywhere! {
    each_end_is_followed_once_and_told_as_it_is,
    only_the_ends_that_were_asked_for_are_followed,
    a_failure_that_is_tried_again_is_no_end,
    a_task_that_expires_is_followed,
    a_task_that_is_skipped_is_followed,
    what_follows_a_task_that_cannot_start_runs_at_once_by_whichever_door_it_came,
    a_task_that_never_started_is_followed_where_it_is_cancelled_or_deleted,
    a_task_that_ends_with_another_is_followed,
    each_end_of_a_retried_task_is_an_event_of_its_own,
    a_follow_up_may_be_followed,
    what_follows_has_the_options_of_its_definition,
    a_call_may_say_what_follows_it,
    what_is_erased_is_followed_by_nothing,
    a_long_error_is_cut_with_a_mark,
    wrong_follow_ups_are_refused,
    a_failure_is_told_and_those_after_it_are_summed_up,
    each_kind_has_a_minute_of_its_own,
    what_a_notice_tells_of_an_error_is_cut_with_a_mark,
    a_notice_that_cannot_be_sent_is_sent_later,
    only_failures_of_kinds_that_match_are_told,
    a_failure_in_a_flow_is_told_once_with_its_cause,
}

const MINUTE: Duration = Duration::from_secs(60);

#[task(attempts = 1)]
fn work(how: &str) -> Result<u32> {
    match how {
        "well" => Ok(7),
        "badly" => Err(Failure::give_up(std::io::Error::other("no carrier")).code("carrier")),
        "long" => Err(Failure::give_up("x".repeat(6_000))),
        "deep" => Err(Failure::give_up(Layer(9))),
        _ => Err(Failure::cancelled()),
    }
}

/// An error with so many causes, a thousand characters each.
#[derive(Debug)]
struct Layer(u32);

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:0>1000}", self.0)
    }
}

impl std::error::Error for Layer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        const LAYERS: &[Layer] = &[Layer(0), Layer(1), Layer(2), Layer(3), Layer(4), Layer(5)];
        let below = self.0.checked_sub(1)?;
        Some(&LAYERS[usize::try_from(below).ok()?.min(LAYERS.len() - 1)])
    }
}

#[task(attempts = 2, retry = [60s])]
fn falter() -> Result<()> {
    Err("again".into())
}

#[task]
fn hear(ctx: &Context, event: EventRecord) -> Result<()> {
    let EventRecord { kind, what, owner, .. } = event;
    assert_eq!(ctx.owner(), owner.as_deref());
    ctx.state::<Log>()?.note(format!("{kind} {what}"));
    Ok(())
}

#[task(queue = "late", priority = 7, attempts = 2)]
fn hear_too(ctx: &Context, event: EventRecord) -> Result<()> {
    let EventRecord { kind, what, .. } = event;
    ctx.state::<Log>()?.note(format!("too: {kind} {what}"));
    Ok(())
}

fn followed(task: impl Into<Definition>, ends: &'static [EventKind]) -> Definition {
    task.into().with(|options| options.follow(ends.iter().copied(), "hear"))
}

const ANY: &[EventKind] = &[EventKind::Finished];

fn hearing(lab: &Lab, log: &Log, ends: &'static [EventKind]) -> Builder {
    let builder = lab.builder().state(log.clone()).register(hear).register(hear_too);
    builder.register(followed(work, ends)).register(followed(falter, ends))
}

/// What has followed so far, once that many have and have ended.
fn follow_ups(lab: &Lab, client: &Client, kind: &str, count: usize) -> Vec<TaskRecord> {
    let found = || client.list(&Filter::new().kind(kind), None, 100).unwrap().tasks;
    lab.settle(client);
    eventually("what follows has ended", || {
        let found = found();
        found.len() == count && found.iter().all(|task| task.state.is_final())
    });
    let mut found = found();
    found.reverse();
    found
}

fn events(tasks: &[TaskRecord]) -> Vec<EventRecord> {
    let event = |task: &TaskRecord| {
        let mut arguments: Value = serde_json::from_str(&task.arguments).unwrap();
        serde_json::from_value(arguments["event"].take()).unwrap()
    };
    tasks.iter().map(event).collect()
}

fn each_end_is_followed_once_and_told_as_it_is(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    let mut ids: Vec<TaskId> = Vec::new();
    for (number, how) in ["well", "badly", "stop"].into_iter().enumerate() {
        let call = work::with(how).owner("ada").name(format!("job {how}"));
        let handle = client.enqueue(call).unwrap();
        ids.push(lab.ended(&client, &handle).id);
        follow_ups(lab, &client, "hear", number + 1);
    }
    assert_eq!(log.words(), ["work succeeded", "work failed", "work cancelled"]);
    let tasks = follow_ups(lab, &client, "hear", 3);
    let told = events(&tasks);
    let of: Vec<_> = told.iter().map(|event| (event.task, event.what, event.state)).collect();
    let ends = [
        (ids[0], EventKind::Succeeded, State::Succeeded),
        (ids[1], EventKind::Failed, State::Failed),
        (ids[2], EventKind::Cancelled, State::Cancelled),
    ];
    assert_eq!(of, ends);
    let failed = &told[1];
    assert_eq!(failed.id, format!("{}/1", ids[1]));
    assert_eq!((failed.kind.as_str(), failed.queue.as_str()), ("work", "default"));
    assert_eq!((failed.reason, failed.attempt), (Some(Reason::GaveUp), 1));
    assert_eq!((failed.owner.as_deref(), failed.name.as_deref()), (Some("ada"), Some("job badly")));
    assert_eq!(Some(failed.finished_at), client.get(ids[1]).unwrap().finished_at);
    let error = failed.error.as_ref().unwrap();
    assert_eq!((error.message.as_str(), error.code.as_deref()), ("no carrier", Some("carrier")));
    assert_eq!(told[0].error, None);
    assert!(tasks.iter().all(|task| task.owner.as_deref() == Some("ada")));
}

fn only_the_ends_that_were_asked_for_are_followed(lab: &Lab) {
    let log = Log::default();
    let ends = &[EventKind::Failed, EventKind::Skipped];
    let client = hearing(lab, &log, ends).open().unwrap();
    for how in ["well", "stop", "badly"] {
        lab.ended(&client, &client.enqueue(work::with(how)).unwrap());
    }
    follow_ups(lab, &client, "hear", 1);
    assert_eq!(log.words(), ["work failed"]);
}

fn a_failure_that_is_tried_again_is_no_end(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).retry_in_place(false).open().unwrap();
    let handle = client.enqueue(falter::with()).unwrap();
    lab.settle(&client);
    eventually("it has failed once", || handle.refresh().unwrap().reason == Some(Reason::Retry));
    assert_eq!(client.count(&Filter::new().kind("hear")).unwrap(), 0);
    lab.advance(&client, MINUTE);
    lab.ended(&client, &handle);
    follow_ups(lab, &client, "hear", 1);
    assert_eq!(log.words(), ["falter failed"]);
}

fn a_task_that_expires_is_followed(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    let call = work::with("well").run_after(MINUTE).expires_after(MINUTE);
    let handle = client.enqueue(call).unwrap();
    lab.advance(&client, 3 * MINUTE);
    lab.ended(&client, &handle);
    let told = events(&follow_ups(lab, &client, "hear", 1));
    assert_eq!((told[0].reason, &told[0].error), (Some(Reason::Expired), &None));
    assert_eq!((told[0].attempt, told[0].task), (0, handle.id()));
}

/// Runs only while nobody else does, and has another of itself enqueued.
#[task]
fn alone(ctx: &Context, again: bool) {
    if again {
        let handle = ctx.client().unwrap().enqueue(alone::with(false)).unwrap();
        eventually("it is skipped", || {
            handle.refresh().is_ok_and(|task| task.state == State::Skipped)
                || ctx.client().unwrap().mode() == litework::Mode::Hold
        });
    }
}

fn a_task_that_is_skipped_is_followed(lab: &Lab) {
    if lab.runs(Runs::RunPending) {
        return; // Nobody runs the second while the first runs.
    }
    let log = Log::default();
    let lone = Definition::from(alone).with(|options| {
        options.exclusive(Exclusive::lock("one")).follow([EventKind::Skipped], "hear")
    });
    let client = hearing(lab, &log, ANY).register(lone).open().unwrap();
    let handle = client.enqueue(alone::with(true)).unwrap();
    lab.ended(&client, &handle);
    let told = events(&follow_ups(lab, &client, "hear", 1));
    assert_eq!((told[0].what, told[0].reason), (EventKind::Skipped, Some(Reason::Locked)));
    assert_eq!(told[0].error.as_ref().unwrap().message, "already running");
    assert_eq!(log.words(), ["alone skipped"]);
}

/// Where the caller runs its tasks, it runs what follows them too, by whichever door they came in.
fn what_follows_a_task_that_cannot_start_runs_at_once_by_whichever_door_it_came(lab: &Lab) {
    if !lab.runs(Runs::Inline) {
        return; // Elsewhere somebody else runs it.
    }
    let log = Log::default();
    let client = hearing(lab, &log, &[EventKind::Failed]).open().unwrap();
    let failed = client.enqueue(work::with("badly")).unwrap();
    let stillborn = || work::with("well").after([failed.id()]);
    let heard = |door: &str| {
        assert_eq!(log.words(), ["work failed"], "{door}");
        log.clear();
    };
    heard("a call");
    client.enqueue(stillborn()).unwrap();
    heard("a call after one that has failed");
    let mut outbox = client.outbox();
    outbox.enqueue(stillborn()).unwrap();
    outbox.send().unwrap();
    heard("outbox");
    client.enqueue_flow(Flow::new("flow").add("one", stillborn())).unwrap();
    heard("flow");
    if lab.keeps_tasks() {
        client.write(|tx| tx.enqueue(stillborn()).map(drop)).unwrap();
        heard("transaction");
        client.write(|tx| tx.enqueue(stillborn().on_commit(false)).map(drop)).unwrap();
        heard("late call");
    }
}

fn a_task_that_never_started_is_followed_where_it_is_cancelled_or_deleted(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    let later = || client.enqueue(work::with("well").run_after(MINUTE)).unwrap();
    let (cancelled, deleted) = (later(), later());
    client.cancel(cancelled.id()).unwrap();
    follow_ups(lab, &client, "hear", 1);
    client.delete(deleted.id()).unwrap();
    follow_ups(lab, &client, "hear", 2);
    later();
    later();
    let bulk = client.bulk(&Filter::new().kind("work").state(State::Scheduled));
    assert_eq!(bulk.cancel().unwrap().done, 2);
    let told = events(&follow_ups(lab, &client, "hear", 4));
    assert!(told.iter().all(|event| event.what == EventKind::Cancelled));
    assert_eq!((told[0].task, told[1].task), (cancelled.id(), deleted.id()));
}

fn a_task_that_ends_with_another_is_followed(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    let first = client.enqueue(work::with("badly").run_after(MINUTE)).unwrap();
    let second = client.enqueue(work::with("well").after([first.id()])).unwrap();
    lab.advance(&client, MINUTE);
    lab.ended(&client, &second);
    // The first has failed, so this one ends as it is stored.
    let third = client.enqueue(work::with("well").after([first.id()])).unwrap();
    assert_eq!(third.refresh().unwrap().reason, Some(Reason::Parent));
    let told = events(&follow_ups(lab, &client, "hear", 3));
    let mut of: Vec<_> = told.iter().map(|event| (event.task.to_string(), event.reason)).collect();
    let parent = Some(Reason::Parent);
    let mut expected =
        [(first.id(), Some(Reason::GaveUp)), (second.id(), parent), (third.id(), parent)]
            .map(|(id, reason)| (id.to_string(), reason));
    of.sort();
    expected.sort();
    assert_eq!(of, expected);
}

fn each_end_of_a_retried_task_is_an_event_of_its_own(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    let handle = client.enqueue(work::with("badly")).unwrap();
    lab.ended(&client, &handle);
    follow_ups(lab, &client, "hear", 1);
    client.retry(handle.id()).unwrap();
    lab.ended(&client, &handle);
    let told = events(&follow_ups(lab, &client, "hear", 2));
    let ids: Vec<&str> = told.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, [format!("{}/1", handle.id()), format!("{}/2", handle.id())]);
    assert_eq!((told[0].attempt, told[1].attempt), (1, 2));
}

fn a_follow_up_may_be_followed(lab: &Lab) {
    let log = Log::default();
    let builder = lab.builder().state(log.clone()).register(hear_too).register(followed(work, ANY));
    let heard =
        Definition::from(hear).with(|options| options.follow(EventKind::Succeeded, "hear_too"));
    let client = builder.register(heard).open().unwrap();
    lab.ended(&client, &client.enqueue(work::with("well")).unwrap());
    follow_ups(lab, &client, "hear_too", 1);
    assert_eq!(log.words(), ["work succeeded", "too: hear succeeded"]);
}

fn what_follows_has_the_options_of_its_definition(lab: &Lab) {
    let log = Log::default();
    let defined = Definition::from(self::work)
        .with(|options| options.follow(ANY.iter().copied(), "hear_too"));
    let client = lab.builder().state(log).register(hear_too).register(defined).open().unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let call = work::with("well").trace(trace);
    lab.ended(&client, &client.enqueue(call).unwrap());
    let found = follow_ups(lab, &client, "hear_too", 1).remove(0);
    assert_eq!((found.queue.as_str(), found.priority, found.attempts_max), ("late", 7, 2));
    assert_eq!(found.trace.as_deref(), Some(trace));
}

fn a_call_may_say_what_follows_it(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    let call = work::with("well").follow(EventKind::Succeeded, "hear_too");
    lab.ended(&client, &client.enqueue(call).unwrap());
    follow_ups(lab, &client, "hear_too", 1);
    assert_eq!(log.words(), ["too: work succeeded"], "in the place of the definition's");
    let unknown = client.enqueue(work::with("well").follow(EventKind::Failed, "hears"));
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "unknown_kind: \"hears\" is not registered; did you mean hear?"
    );
    let itself = client.enqueue(work::with("well").follow(EventKind::Failed, "work"));
    assert_eq!(itself.unwrap_err().code(), "follows_itself");
}

fn what_is_erased_is_followed_by_nothing(lab: &Lab) {
    let log = Log::default();
    let client = hearing(lab, &log, ANY).open().unwrap();
    client.enqueue(work::with("well").run_after(MINUTE).owner("ada")).unwrap();
    lab.ended(&client, &client.enqueue(work::with("well").owner("ada")).unwrap());
    follow_ups(lab, &client, "hear", 1);
    assert_eq!(client.erase("ada").unwrap().tasks, 3, "what has followed is hers too");
    assert_eq!(client.count(&Filter::new()).unwrap(), 0);
}

fn a_long_error_is_cut_with_a_mark(lab: &Lab) {
    let client = hearing(lab, &Log::default(), ANY).open().unwrap();
    lab.ended(&client, &client.enqueue(work::with("long")).unwrap());
    let told = events(&follow_ups(lab, &client, "hear", 1));
    let message = &told[0].error.as_ref().unwrap().message;
    assert_eq!(*message, format!("{}… (cut, 6000 characters)", "x".repeat(5_000)));
}

fn wrong_follow_ups_are_refused(lab: &Lab) {
    let refused = |builder: Builder| builder.open().unwrap_err().to_string();
    let builder = || lab.builder().register(hear_too);
    let to = |kind: &'static str, on: &'static [EventKind]| {
        Definition::from(work).with(|options| options.follow(on.iter().copied(), kind))
    };
    assert_eq!(
        refused(builder().register(to("hear_to", ANY))),
        "unknown_kind: \"hear_to\" is not registered; did you mean hear_too?"
    );
    assert_eq!(
        refused(builder().register(to("hear_too", &[EventKind::Started]))),
        "bad_follow: ends that hear_too follows is \"started\"; succeeded, failed, cancelled, \
         skipped or finished, and at least one"
    );
    assert_eq!(
        refused(builder().register(to("work", ANY))),
        "follows_itself: kinds that follow work is \"work → work\"; kinds of which none leads back \
         to itself"
    );
    let back = Definition::from(hear).with(|options| options.follow(ANY.iter().copied(), "work"));
    let circle = refused(builder().register(to("hear", ANY)).register(back));
    assert!(circle.starts_with("follows_itself: "), "{circle}");
    let lone = Definition::from(hear).with(|options| options.exclusive(Exclusive::lock("one")));
    let gated = refused(builder().register(to("hear", ANY)).register(lone));
    assert!(gated.starts_with("bad_follow: kinds that follow work is \"hear\""), "{gated}");
}

fn sending(log: &Log, failures: u32) -> Notice {
    let (log, left) = (log.clone(), std::sync::Mutex::new(failures));
    Notice::mailer(move |notice: &FailureNotice| {
        let mut left = left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err("the mail server is down".into());
        }
        assert_eq!(notice.more > 0, notice.since.is_some());
        let first = notice.traceback.lines().next().unwrap_or_default();
        log.note(format!("{}: {first} and {} more", notice.title, notice.more));
        Ok(())
    })
}

fn fail(lab: &Lab, client: &Client, times: u32) {
    for _ in 0..times {
        lab.ended(client, &client.enqueue(work::with("badly")).unwrap());
    }
}

fn a_failure_is_told_and_those_after_it_are_summed_up(lab: &Lab) {
    let sent = Log::default();
    let client = lab.builder().register(work).failure_notice(sending(&sent, 0)).open().unwrap();
    fail(lab, &client, 1);
    follow_ups(lab, &client, "litework.notice", 1);
    let first = "Error in work: std::io::error::Error: no carrier [carrier] and 0 more";
    assert_eq!(sent.words(), [first]);
    fail(lab, &client, 42);
    assert_eq!(client.count(&Filter::new().kind("litework.notice")).unwrap(), 2);
    assert_eq!(sent.len(), 1, "a minute has not passed");
    lab.advance(&client, MINUTE);
    follow_ups(lab, &client, "litework.notice", 2);
    let second = "Error in work: std::io::error::Error: no carrier [carrier] and 41 more";
    assert_eq!(sent.words()[1..], [second]);
    lab.ended(&client, &client.enqueue(work::with("well")).unwrap());
    assert_eq!(sent.len(), 2);
}

fn each_kind_has_a_minute_of_its_own(lab: &Lab) {
    let sent = Log::default();
    let builder = lab.builder().register(work).register(falter);
    let client = builder.failure_notice(sending(&sent, 0)).open().unwrap();
    let told = |count: usize| {
        eventually("so many are told", || {
            lab.settle(&client);
            sent.len() == count
        });
    };
    fail(lab, &client, 1);
    told(1);
    fail(lab, &client, 1);
    lab.ended(&client, &client.enqueue(falter::with().attempts(1)).unwrap());
    told(2);
    assert_eq!(sent.words()[1], "Error in falter: again and 0 more", "the other kind waits");
    lab.advance(&client, MINUTE);
    told(3);
    let last = "Error in work: std::io::error::Error: no carrier [carrier] and 0 more";
    assert_eq!(sent.words()[2], last);
}

fn what_a_notice_tells_of_an_error_is_cut_with_a_mark(lab: &Lab) {
    let sent = Log::default();
    let log = sent.clone();
    let notice = Notice::mailer(move |notice: &FailureNotice| {
        log.note(notice.traceback.as_str());
        Ok(())
    });
    let client = lab.builder().register(work).failure_notice(notice).open().unwrap();
    for (number, how) in ["long", "deep"].into_iter().enumerate() {
        lab.ended(&client, &client.enqueue(work::with(how)).unwrap());
        follow_ups(lab, &client, "litework.notice", number + 1);
        lab.advance(&client, MINUTE);
    }
    let told = sent.words();
    // Where programs have backtraces on, there is one behind it.
    let is_on = std::env::var("RUST_BACKTRACE").is_ok_and(|on| on != "0");
    let check = |told: &str, kept: &str, count: usize| {
        let mark = told.strip_prefix(kept).and_then(|rest| rest.strip_prefix("… (cut, "));
        let cut = mark.and_then(|mark| mark.strip_suffix(" characters)")).unwrap_or_default();
        let cut: usize = cut.parse().unwrap();
        assert!(if is_on { cut >= count } else { cut == count }, "{cut} of {count}");
    };
    check(&told[0], &"x".repeat(5_000), 6_000);
    let name = std::any::type_name::<Layer>();
    let causes = (0..6).rev().map(|layer| format!("\n  caused by: {layer:0>1000}"));
    let whole = format!("{name}: {:0>1000}{}", 9, causes.collect::<String>());
    let (kept, count) = (whole.chars().take(5_000).collect::<String>(), whole.chars().count());
    check(&told[1], &kept, count);
}

fn a_notice_that_cannot_be_sent_is_sent_later(lab: &Lab) {
    let sent = Log::default();
    let notice = sending(&sent, 1).every(Duration::from_secs(1));
    let client = lab.builder().register(work).failure_notice(notice).open().unwrap();
    fail(lab, &client, 1);
    lab.settle(&client);
    let notices = || client.list(&Filter::new().kind("litework.notice"), None, 9).unwrap().tasks;
    eventually("it could not be sent", || notices()[0].error.is_some());
    fail(lab, &client, 2);
    assert_eq!(notices().len(), 1, "they are told by the one that is tried again");
    lab.advance(&client, MINUTE);
    follow_ups(lab, &client, "litework.notice", 1);
    let told = "Error in work: std::io::error::Error: no carrier [carrier] and 2 more";
    assert_eq!(sent.words(), [told]);
}

fn only_failures_of_kinds_that_match_are_told(lab: &Lab) {
    let sent = Log::default();
    let notice = sending(&sent, 0).kinds("fal*");
    let client = lab.builder().register(work).register(falter).failure_notice(notice);
    let client = client.open().unwrap();
    fail(lab, &client, 1);
    let handle = client.enqueue(falter::with().attempts(1)).unwrap();
    lab.ended(&client, &handle);
    follow_ups(lab, &client, "litework.notice", 1);
    assert_eq!(sent.words().len(), 1);
    assert_eq!(sent.words(), ["Error in falter: again and 0 more"], "a plain text has no type");
}

/// What ends because of it, and the flow as a whole, would say less, and might be all that is sent.
fn a_failure_in_a_flow_is_told_once_with_its_cause(lab: &Lab) {
    let sent = Log::default();
    let client = lab.builder().register(work).failure_notice(sending(&sent, 0)).open().unwrap();
    let steps = ["badly", "well", "well"].map(work::with);
    let flow = Flow::chain("steps", steps).on_finish(work::with("well"));
    let batch = client.enqueue_flow(flow).unwrap();
    lab.settle(&client);
    assert_eq!(batch.wait(LONG).unwrap_err().code(), "failed");
    follow_ups(lab, &client, "litework.notice", 1);
    let told = "Error in work: std::io::error::Error: no carrier [carrier] and 0 more";
    assert_eq!(sent.words(), [told]);
}
