//! What is said of a task once, at its definition, holds for every call that does not say otherwise.

use std::time::Duration;

use litework::{Client, Context, Failure, Reason, Result, State, Task, task};
use serde::{Deserialize, Serialize};

use crate::common::{Lab, Log};

crate::everywhere! {
    both_forms_share_a_client,
    options_at_definition_and_overrides_at_the_call,
    a_renamed_task_runs_what_was_stored_under_its_old_name,
    an_unknown_kind_is_parked_until_a_handler_appears,
    parked_tasks_slow_nobody,
    a_declared_task_is_enqueued_without_a_body,
    arguments_that_no_longer_fit_fail_the_task_once,
    a_new_argument_with_a_default_stays_compatible,
    layers_wrap_every_body,
    a_layer_may_refuse,
    state_is_found_by_its_type,
    missing_state_fails_the_task_once,
    a_task_may_enqueue_another,
    a_call_of_json_text_is_the_same_call,
    the_kinds_can_be_listed,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Adds.
#[task(name = "sum", queue = "maths", priority = 3, attempts = 7)]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Double {
    n: i64,
}

impl Task for Double {
    const NAME: &'static str = "double";
    type Output = i64;

    fn run(self, _: &Context) -> Result<i64> {
        Ok(2 * self.n)
    }
}

/// The same task after a release: another name, and one more argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Times {
    n: i64,
    #[serde(default = "two")]
    by: i64,
}

fn two() -> i64 {
    2
}

impl Task for Times {
    const NAME: &'static str = "times";
    type Output = i64;

    fn options() -> litework::Options {
        litework::Options::new().alias("double")
    }

    fn run(self, _: &Context) -> Result<i64> {
        Ok(self.by * self.n)
    }
}

/// The same name with arguments that do not fit what was stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct DoubleText {
    text: String,
}

impl Task for DoubleText {
    const NAME: &'static str = "double";
    type Output = String;

    fn run(self, _: &Context) -> Result<String> {
        Ok(self.text.repeat(2))
    }
}

#[task]
fn note(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

#[task]
fn parent(ctx: &Context, words: &[String]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for word in words {
        ids.push(ctx.enqueue(note::with(word.clone()))?.id().to_string());
    }
    Ok(ids)
}

fn both_forms_share_a_client(lab: &Lab) {
    assert_eq!(add(2, 3), 5);
    assert_eq!(Double { n: 4 }.run(&Context::detached()).unwrap(), 8);
    let client = lab.builder().register(add).register(Double::define()).open().unwrap();
    let sum = client.enqueue(add::with(2, 3)).unwrap();
    let twice = client.enqueue(Double { n: 4 }).unwrap();
    assert_eq!(lab.wait(&client, &sum).unwrap(), 5);
    assert_eq!(lab.wait(&client, &twice).unwrap(), 8);
}

fn options_at_definition_and_overrides_at_the_call(lab: &Lab) {
    let client = lab.builder().register(add).open().unwrap();
    let call = add::with(2, 3).run_after(HOUR);
    let changed = call.clone().queue("other").priority(-100).attempts(1).expires_after(HOUR);
    let (plain, changed) = (client.enqueue(call).unwrap(), client.enqueue(changed).unwrap());
    let task = plain.refresh().unwrap();
    assert_eq!((task.queue.as_str(), task.priority, task.attempts_max), ("maths", 3, 7));
    assert_eq!(task.expires_at, None);
    let task = changed.refresh().unwrap();
    assert_eq!((task.queue.as_str(), task.priority, task.attempts_max), ("other", -100, 1));
    assert_eq!(task.expires_at, Some(lab.now().after(2 * HOUR)));
    let here = lab.builder().register(litework::Definition::from(add).with(|o| o.queue("here")));
    if lab.keeps_tasks() {
        let here = here.open().unwrap();
        let third = here.enqueue(add::with(1, 1).run_after(HOUR)).unwrap();
        assert_eq!(third.refresh().unwrap().queue, "here");
    }
}

fn a_renamed_task_runs_what_was_stored_under_its_old_name(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let old = lab.builder().register(Double::define()).open().unwrap();
    let id = old.enqueue(Double { n: 21 }.call().run_after(HOUR)).unwrap().id();
    old.shutdown(HOUR).unwrap();
    drop(old);
    let new = lab.builder().register(Times::define()).open().unwrap();
    let handle = new.handle::<Times>(id).unwrap();
    lab.advance(&new, HOUR);
    assert_eq!(lab.wait(&new, &handle).unwrap(), 42);
    assert_eq!(handle.refresh().unwrap().kind, "double");
    let fresh = new.enqueue(Times { n: 5, by: 3 }).unwrap();
    assert_eq!(lab.wait(&new, &fresh).unwrap(), 15);
    assert_eq!(fresh.refresh().unwrap().kind, "times");
}

/// A client that may enqueue `Double` and has no body for it.
fn without_body(lab: &Lab, log: &Log) -> Client {
    let builder = lab.builder().declare::<Double>().register(note);
    builder.state(log.clone()).open().unwrap()
}

fn an_unknown_kind_is_parked_until_a_handler_appears(lab: &Lab) {
    let client = without_body(lab, &Log::default());
    let parked = client.enqueue(Double { n: 21 }).unwrap();
    let after = client.enqueue(note::with("after")).unwrap();
    lab.wait(&client, &after).unwrap();
    let task = parked.refresh().unwrap();
    assert_eq!((task.state, task.reason, task.attempt), (State::Ready, None, 0));
    assert_eq!(client.attempts(parked.id()).unwrap(), []);
    if lab.keeps_tasks() {
        let id = parked.id();
        client.shutdown(HOUR).unwrap();
        drop(client);
        let client = lab.builder().register(Double::define()).open().unwrap();
        let handle = client.handle::<Double>(id).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 42);
        assert_eq!(handle.refresh().unwrap().attempt, 1);
    }
}

fn parked_tasks_slow_nobody(lab: &Lab) {
    let log = Log::default();
    let client = without_body(lab, &log);
    client.enqueue_many((0..300).map(|n| Double { n }.call().priority(100))).unwrap();
    let handles = client.enqueue_many(["a", "b"].map(note::with)).unwrap();
    for handle in &handles {
        lab.wait(&client, handle).unwrap();
    }
    assert_eq!(log.len(), 2);
    let parked = litework::Filter::new().state(State::Ready).kind("double");
    assert_eq!(client.count(&parked).unwrap(), 300);
}

fn a_declared_task_is_enqueued_without_a_body(lab: &Lab) {
    let client = without_body(lab, &Log::default());
    let handle = client.enqueue(Double { n: 21 }).unwrap();
    assert_eq!(handle.cancel().unwrap(), litework::Cancelled::Now);
    let unknown = lab.builder().register(note).open().unwrap();
    let refused = unknown.enqueue(Double { n: 21 }).unwrap_err();
    assert_eq!(refused.code(), "unknown_kind");
}

fn arguments_that_no_longer_fit_fail_the_task_once(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let old = lab.builder().register(Double::define()).open().unwrap();
    let id = old.enqueue(Double { n: 21 }.call().run_after(HOUR)).unwrap().id();
    drop(old);
    let new = lab.builder().register(DoubleText::define()).open().unwrap();
    lab.advance(&new, HOUR);
    let handle = new.handle::<DoubleText>(id).unwrap();
    let task = lab.ended(&new, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::BadArguments)));
    assert_eq!((task.attempt, task.arguments.as_str()), (1, r#"{"n":21}"#));
    let message = task.error.unwrap().message;
    assert!(message.contains("text"), "it names the argument: {message}");
}

fn a_new_argument_with_a_default_stays_compatible(lab: &Lab) {
    let client = lab.builder().register(Times::define()).open().unwrap();
    let task = client.enqueue_json("times", br#"{"n": 4}"#).unwrap();
    let handle = client.handle::<Times>(task.id).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), 8);
}

fn layers_wrap_every_body(lab: &Lab) {
    let log = Log::default();
    let (outer, inner) = (log.clone(), log.clone());
    let builder = lab.builder().register(note).state(log.clone());
    let builder = builder.layer(move |ctx, next| {
        outer.note(format!("> {} {}", ctx.kind(), ctx.attempt()));
        let answer = next.run(ctx);
        outer.note(if answer.is_ok() { "< ok" } else { "< error" });
        answer
    });
    let builder = builder.layer(move |ctx, next| {
        inner.note(">>");
        next.run(ctx).inspect(|()| inner.note("<<"))
    });
    let client = builder.open().unwrap();
    let handle = client.enqueue(note::with("body")).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(log.words(), ["> note 1", ">>", "body", "<<", "< ok"]);
}

fn a_layer_may_refuse(lab: &Lab) {
    let log = Log::default();
    let builder = lab.builder().register(note).register(add).state(log.clone());
    let builder = builder.layer(|ctx, next| {
        if ctx.kind() == "note" {
            return Err(Failure::give_up("not today").code("closed_on_sundays"));
        }
        next.run(ctx)
    });
    let client = builder.open().unwrap();
    let refused = client.enqueue(note::with("body")).unwrap();
    let task = lab.ended(&client, &refused);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::GaveUp)));
    assert_eq!(task.error.unwrap().code.as_deref(), Some("closed_on_sundays"));
    let sum = client.enqueue(add::with(2, 3)).unwrap();
    assert_eq!(lab.wait(&client, &sum).unwrap(), 5);
    assert_eq!(log.len(), 0);
}

fn state_is_found_by_its_type(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(note).state(7_u32).state(log.clone()).open().unwrap();
    let handle = client.enqueue(note::with("found")).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(log.words(), ["found"]);
}

fn missing_state_fails_the_task_once(lab: &Lab) {
    let client = lab.builder().register(note).open().unwrap();
    let handle = client.enqueue(note::with("lost")).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason, task.attempt), (State::Failed, Some(Reason::GaveUp), 1));
    let report = task.error.unwrap();
    assert_eq!(report.code.as_deref(), Some("no_state"));
    assert!(report.message.contains("Log"), "{}", report.message);
}

fn a_task_may_enqueue_another(lab: &Lab) {
    let log = Log::default();
    let builder = lab.builder().register(note).register(parent);
    let client = builder.state(log.clone()).open().unwrap();
    let handle = client.enqueue(parent::with(["a".to_owned(), "b".to_owned()])).unwrap();
    let ids = lab.wait(&client, &handle).unwrap();
    lab.settle(&client);
    for id in &ids {
        crate::common::eventually("the child has run", || {
            client.get(id).unwrap().state == State::Succeeded
        });
    }
    let mut words = log.words();
    words.sort();
    assert_eq!(words, ["a", "b"]);
}

fn a_call_of_json_text_is_the_same_call(lab: &Lab) {
    let client = lab.builder().register(add).register(Times::define()).open().unwrap();
    let task = client.enqueue_json("sum", br#"{"a":2,"b":3}"#).unwrap();
    assert_eq!((task.kind.as_str(), task.queue.as_str(), task.priority), ("sum", "maths", 3));
    let task = client.enqueue_json("double", br#"{"n":4}"#).unwrap();
    assert_eq!(task.kind, "times");
    lab.settle(&client);
    let handle = client.handle::<Times>(task.id).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), 8);
    for (bad, code) in [
        (&br#"{"n":4,"n":5}"#[..], "duplicate_key"),
        (br#"{"n":4"#, "bad_json"),
        (b"\xff", "bad_json"),
        (br#"{"n":1e999}"#, "number_out_of_range"),
    ] {
        assert_eq!(client.enqueue_json("times", bad).unwrap_err().code(), code);
    }
    assert_eq!(client.enqueue_json("time", b"{}").unwrap_err().code(), "unknown_kind");
}

fn the_kinds_can_be_listed(lab: &Lab) {
    let client = lab.builder().register(add).register(Times::define()).open().unwrap();
    let kinds = client.kinds();
    let names: Vec<_> = kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["sum", "times"]);
    assert_eq!(kinds[0].description.as_deref(), Some("Adds."));
    assert_eq!((kinds[0].queue.as_str(), kinds[1].queue.as_str()), ("maths", "default"));
    assert_eq!(kinds[1].aliases, ["double"]);
}
