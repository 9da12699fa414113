//! What failures of the kit say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use litework::testing::{Drain, Expected, ManualClock, NotPerformed, drain, no_leftovers, perform};
use litework::{
    Builder, Client, Context, Failure, Mode, Result, State, assert_enqueued, assert_no_leftovers,
    refute_enqueued,
};

use crate::registry::Task;

/// The text with which it panics; empty when it does not.
fn told(body: impl FnOnce()) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(body)) else { return String::new() };
    let text = panic.downcast::<String>().map(|text| *text);
    text.unwrap_or_else(|panic| panic.downcast::<&str>().expect("a text").to_string())
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Shrink {
    path: String,
    size: Size,
    r#type: Vec<u32>,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Size {
    width: f32,
    height: u32,
}

impl Task for Shrink {
    const NAME: &'static str = "shrink";
    type Output = ();
    fn run(self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Tick {}

/// Never comes to an end.
impl Task for Tick {
    const NAME: &'static str = "tick";
    type Output = ();
    fn run(self, ctx: &Context) -> Result<()> {
        ctx.enqueue(Tick {})?;
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Fail {
    expected: bool,
}

impl Task for Fail {
    const NAME: &'static str = "fail";
    type Output = ();
    fn run(self, _: &Context) -> Result<()> {
        let failure = Failure::give_up("no paper");
        Err(if self.expected { failure.expected() } else { failure })
    }
}

fn builder() -> Builder {
    let builder = Client::in_memory().environment([] as [(&str, &str); 0]).mode(Mode::Hold);
    builder.register(Shrink::define()).register(Tick::define()).register(Fail::define())
}

fn open() -> Client {
    builder().open().expect("it opens")
}

fn cat() -> Shrink {
    let size = Size { width: 0.1, height: 2 };
    Shrink { path: "cat".to_owned(), size, r#type: vec![1, 2] }
}

#[test]
fn a_task_that_is_as_expected_is_found_and_given() {
    let tasks = open();
    let owner = Shrink::call(cat()).owner("ada").key("k").tag("a").tag("b");
    let handle = tasks.enqueue(owner.run_after(Duration::from_secs(60))).expect("stored");
    let size = serde_json::json!({ "width": 0.1 });
    let found = assert_enqueued!(
        tasks,
        Shrink { path: "cat", size: size, r#type: [1, 2], .. },
        owner = "ada",
        key = "k",
        tag = "a",
        tag = "b",
        run_after = Duration::from_secs(60),
        state = State::Scheduled,
        count = 1,
    );
    assert_eq!(found[0].id, handle.id());
    assert_enqueued!(tasks, Shrink { path: "cat", size: cat().size, r#type: [1.0, 2.0] });
    assert_enqueued!(tasks, Shrink { .. }, due_at = handle.due_at());
    assert_enqueued!(&tasks, Tick, count = 0);
    refute_enqueued!(tasks, Tick {});
    refute_enqueued!(tasks, Shrink { path: "cat" });
}

#[test]
fn a_failure_lists_the_nearest_tasks_and_what_differs() {
    let tasks = open();
    let dog = Shrink { path: "dog".to_owned(), ..cat() };
    let far = tasks.enqueue(Shrink::call(dog).queue("images")).expect("stored");
    let near = tasks.enqueue(cat()).expect("stored");
    let text = told(|| {
        assert_enqueued!(tasks, Shrink { path: "cow", size: Size { width: 0.1, height: 2 }, .. });
    });
    let (first, second) = (near.id(), far.id());
    assert_eq!(
        text,
        format!(
            "0 tasks instead of 1 or more: shrink {{ path: \"cow\", size: {{\"height\":2,\"width\":0.1}}, .. }}\n  \
             {first} (ready): path: \"cat\" instead of \"cow\"\n  \
             {second} (ready): path: \"dog\" instead of \"cow\""
        )
    );
    let text = told(|| {
        assert_enqueued!(
            tasks,
            Shrink { path: "cat", size: serde_json::json!({ "depth": 1 }), r#type: [1] },
            queue = "mail",
            priority = 3
        );
    });
    let expected = "path: \"dog\" instead of \"cat\"; size.depth: missing instead of 1; size.height: 2 was \
                    not expected; size.width: 0.1 was not expected; type: [1,2] instead of [1]; queue: \
                    \"images\" instead of \"mail\"; priority: 0 instead of 3";
    assert!(text.contains(&format!("\n  {second} (ready): {expected}")), "{text}");
}

#[test]
fn a_failure_says_when_there_is_none_of_the_kind_or_none_at_all() {
    let tasks = open();
    let nothing = told(|| drop(assert_enqueued!(tasks, Shrink)));
    assert_eq!(nothing, "0 tasks instead of 1 or more: shrink\n  there is no task at all");
    tasks.enqueue(Tick {}).expect("stored");
    let others = told(|| drop(assert_enqueued!(tasks, Shrink, queue = "images", count = 2)));
    let told_others = "0 tasks instead of 2: shrink, queue = \"images\"\n  there is none of this kind; tasks \
                       by kind: tick 1";
    assert_eq!(others, told_others);
    let client = Client::dummy().environment([] as [(&str, &str); 0]).open().expect("it opens");
    let unknown = told(|| drop(assert_enqueued!(client, Shrink)));
    let told_unknown = "assert_enqueued!(shrink): unknown_kind: \"shrink\" is not registered; ";
    assert!(unknown.starts_with(told_unknown), "{unknown}");
}

#[test]
fn at_most_ten_tasks_are_listed_and_those_that_are_too_many_are_named() {
    let tasks = open();
    let handles = tasks.enqueue_many((0..12).map(|_| Tick {})).expect("stored");
    let text = told(|| refute_enqueued!(tasks, Tick));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "12 tasks should not be there: tick");
    assert_eq!(lines[1], format!("  {} tick (ready): {{}}", handles[0].id()));
    assert_eq!((lines.len(), lines[11]), (12, "  … and 2 more"));
    let text = told(|| drop(assert_enqueued!(tasks, Tick, count = 11)));
    assert!(text.starts_with("12 tasks instead of 11: tick\n"), "{text}");
    let text = told(|| refute_enqueued!(tasks, Tick, count = 1));
    assert!(text.starts_with("refute_enqueued!: `count`"), "{text}");
}

#[test]
fn a_task_that_has_ended_does_not_count_unless_its_state_is_asked_for() {
    let tasks = open();
    let handle = tasks.enqueue(cat()).expect("stored");
    drain(&tasks, &Drain::new()).expect("it runs");
    let text = told(|| drop(assert_enqueued!(tasks, Shrink)));
    let difference = "state: succeeded instead of scheduled or waiting or ready or running";
    assert_eq!(
        text,
        format!(
            "0 tasks instead of 1 or more: shrink\n  {} (succeeded): {difference}",
            handle.id()
        )
    );
    assert_enqueued!(tasks, Shrink, state = State::Succeeded);
}

#[test]
fn leftovers_are_listed_with_their_state_and_failures_that_were_expected_are_none() {
    let tasks = open();
    let expected = tasks.enqueue(Fail { expected: true }).expect("stored");
    drain(&tasks, &Drain::new()).expect("it runs");
    assert_eq!(expected.refresh().expect("there").state, State::Failed);
    assert_no_leftovers!(tasks);
    let failed = tasks.enqueue(Fail { expected: false }).expect("stored");
    drain(&tasks, &Drain::new()).expect("it runs");
    let later =
        tasks.enqueue(Tick::call(Tick {}).run_after(Duration::from_secs(1))).expect("stored");
    let due = later.due_at();
    let text = format!(
        "2 tasks left over:\n  {} fail (failed: gave_up): no paper\n  {} tick (scheduled: delayed, due {due}): {{}}",
        failed.id(),
        later.id()
    );
    assert_eq!(told(|| assert_no_leftovers!(tasks)), text);
    assert_eq!(told(|| drop(no_leftovers(&tasks))), text);
    let first = told(|| {
        let _all_done = no_leftovers(&tasks);
        panic!("the test's own");
    });
    assert_eq!(first, "the test's own", "a test that fails already is told nothing more");
}

#[test]
fn a_drain_without_end_names_the_kinds_that_go_round() {
    let tasks = open();
    tasks.enqueue(Tick {}).expect("stored");
    tasks.enqueue(cat()).expect("stored");
    let limited = Drain::new().limit(20);
    let text = told(|| drop(drain(&tasks, &limited)));
    let told = "drain: it did not come to an end within 20 attempts; tasks that have not ended: 1; attempts \
                by kind: tick 20, shrink 1";
    assert_eq!(text, told);
    let tasks = open();
    tasks.enqueue_many((0..20).map(|_| cat())).expect("stored");
    assert_eq!(drain(&tasks, &limited).expect("just as many").succeeded, 20);
}

#[test]
fn a_drain_is_refused_where_it_could_not_keep_its_word() {
    let pool = builder().mode(Mode::Pool).workers(1).open().expect("it opens");
    let error = drain(&pool, &Drain::new()).expect_err("refused");
    assert_eq!(error.code(), "unsupported");
    assert!(error.to_string().contains("wait for the handles"), "{error}");
    let inline = builder().mode(Mode::Inline).open().expect("it opens");
    let error = drain(&inline, &Drain::new().chained(false)).expect_err("refused");
    assert_eq!(error.code(), "unsupported");
    let error = drain(&inline, &Drain::new().delayed(&ManualClock::new())).expect_err("refused");
    assert_eq!(error.code(), "other_clock");
    let error = drain(&inline, &Drain::new().only("shrnk")).expect_err("refused");
    assert_eq!(error.code(), "unknown_kind");
    inline.shutdown(Duration::from_secs(5)).expect("it ends");
    assert_eq!(drain(&inline, &Drain::new()).expect_err("refused").code(), "closed");
}

#[test]
fn an_expectation_is_shown_as_it_is_written() {
    let expected = Expected::of::<Shrink>().argument("path", "cat").queue("images").priority(3);
    let expected = expected.key("k").owner("ada").tag("t").run_after(Duration::from_secs(1));
    let shown = "shrink { path: \"cat\", .. }, queue = \"images\", priority = 3, key = \"k\", owner = \"ada\", \
                 tag = \"t\", run_after = 1s, state = ready";
    assert_eq!(expected.state(State::Ready).to_string(), shown);
    assert_eq!(Expected::of::<Tick>().exact().to_string(), "tick {}");
}

#[test]
fn a_body_that_is_performed_tells_what_it_came_to() {
    let tasks = open();
    perform(&tasks, cat()).expect("done");
    match perform(&tasks, Fail { expected: false }).expect_err("it fails") {
        NotPerformed::Failed { report, .. } => assert_eq!(report.message, "no paper"),
        other => panic!("{other}"),
    }
    let refused = perform(&tasks, Shrink::call(cat()).priority(101)).expect_err("refused");
    assert!(
        matches!(refused, NotPerformed::Refused(ref error) if error.code() == "out_of_range"),
        "{refused}"
    );
    let elsewhere = Client::dummy().environment([] as [(&str, &str); 0]).declare::<Shrink>();
    let elsewhere = elsewhere.open().expect("it opens");
    let refused = perform(&elsewhere, cat()).expect_err("refused");
    assert!(refused.to_string().starts_with("unsupported: task is \"shrink\""), "{refused}");
    assert_eq!(tasks.count(&litework::Filter::new()).expect("counted"), 0, "nothing was stored");
}
