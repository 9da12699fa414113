//! One test for each way in which a body can take its process along, or nearly.
//!
//! Each states what the next process makes of it: taken over by a pool that is alive, by the next
//! program that opens the file inline, after the third crash, and for a task of at most once.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use litework::{Client, Mode, Pending, Reason, Report, State, Task, TaskId, TaskRecord};

use super::child::{Child, Field, PATIENCE, faults, look_into};
use super::deeds::{self, BadArguments, BadResult, Deed, builder, deed, does, once};

/// How a child is started, and how it is brought to its end.
struct Way {
    start: fn(&Field, &[(&'static str, String)]) -> Child,
    end: fn(&mut Child) -> ExitStatus,
}

const BY_ITSELF: Way = Way { start: deeds::pool, end: Child::wait };

/// The same for one that runs the body in its own call.
const INLINE_BY_ITSELF: Way = Way { start: deeds::inline, end: Child::wait };

/// The error of an attempt whose process died.
fn died(report: Option<&Report>) {
    let report = report.unwrap();
    assert_eq!((report.kind.as_str(), report.to_string().as_str()), ("crash", "its process died"));
}

/// Where a task stands: state, reason, attempt, crashes.
fn stand(task: &TaskRecord) -> (State, Option<Reason>, u32, u32) {
    (task.state, task.reason, task.attempt, task.crashes)
}

fn looker(field: &Field) -> Client {
    builder(field).mode(Mode::Enqueue).open().unwrap()
}

/// A child is made to do this, and does not survive it.
fn victim(field: &Field, way: &Way, more: &[(&'static str, String)]) -> ExitStatus {
    (way.end)(&mut (way.start)(field, more))
}

fn only_task(client: &Client) -> TaskRecord {
    let page = client.list(&litework::Filter::new(), None, 10).unwrap();
    assert_eq!(page.tasks.len(), 1);
    page.tasks.into_iter().next().unwrap()
}

/// A pool in this process runs the task again, harmlessly.
fn a_live_pool_takes_over(what: &str, way: &Way) {
    let field = Field::default();
    let client = builder(&field).workers(1).open().unwrap();
    victim(&field, way, &[does(what)]);
    let id = only_task(&client).id;
    client.handle::<Deed>(id).unwrap().wait(PATIENCE).unwrap();
    let task = client.get(id).unwrap();
    assert_eq!(task.state, State::Succeeded);
    client.shutdown(Duration::from_secs(10)).unwrap();
    clean(&field);
}

/// The next program opens the file without a pool and runs what is due.
fn the_next_program_takes_over_inline(what: &str, way: &Way) {
    let field = Field::default();
    victim(&field, way, &[does(what)]);
    let client = builder(&field).open().unwrap();
    let task = only_task(&client);
    assert_eq!(stand(&task), (State::Ready, None, 1, 1), "{what}");
    let attempts = client.attempts(task.id).unwrap();
    assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "crashed"));
    died(attempts[0].error.as_ref());
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 1);
    assert_eq!(stand(&client.get(task.id).unwrap()), (State::Succeeded, None, 2, 1), "{what}");
    client.shutdown(Duration::from_secs(10)).unwrap();
    clean(&field);
}

/// Three processes in a row die of it; there is no fourth.
fn the_third_crash_quarantines(what: &str, way: &Way) {
    let field = Field::default();
    victim(&field, way, &[does(what)]);
    victim(&field, way, &[]);
    victim(&field, way, &[]);
    let client = looker(&field);
    let task = only_task(&client);
    assert_eq!(stand(&task), (State::Failed, Some(Reason::Quarantined), 3, 3), "{what}");
    died(task.error.as_ref());
    let words: Vec<_> = client.attempts(task.id).unwrap();
    assert!(words.iter().all(|attempt| attempt.outcome == "crashed"), "{words:?}");
    drop(client);
    clean(&field);
}

/// G5: at most once, and its process died.
fn at_most_once_is_lost(what: &str, way: &Way) {
    let field = Field::default();
    victim(&field, way, &[does(what), once()]);
    let client = builder(&field).open().unwrap();
    let task = only_task(&client);
    assert_eq!(stand(&task), (State::Failed, Some(Reason::Lost), 1, 1), "{what}");
    died(task.error.as_ref());
    assert_eq!(client.run_pending(&Pending::all()).unwrap(), litework::Ran::default());
    client.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(runs(&field, what), 1);
    clean(&field);
}

fn runs(field: &Field, what: &str) -> usize {
    let mark = format!(" {what} ");
    field.lines().iter().filter(|line| line.starts_with("run ") && line.contains(&mark)).count()
}

fn clean(field: &Field) {
    assert_eq!(faults(&look_into(&field.db())), Vec::<String>::new());
}

fn all_stories(what: &str, way: &Way) {
    a_live_pool_takes_over(what, way);
    the_next_program_takes_over_inline(what, way);
    the_third_crash_quarantines(what, way);
    at_most_once_is_lost(what, way);
}

/// G3, G5: what `panic = "abort"` ends in.
#[test]
fn a_body_that_aborts_is_tried_again_and_quarantined_the_third_time() {
    let field = Field::default();
    assert_eq!(victim(&field, &BY_ITSELF, &[does("abort")]).signal(), Some(6));
    all_stories("abort", &BY_ITSELF);
}

/// G3, G5: a caller that is killed in the middle of its own task leaves it to the next program.
#[test]
fn a_body_that_aborts_in_its_caller_is_tried_again_and_quarantined_the_third_time() {
    let field = Field::default();
    assert_eq!(victim(&field, &INLINE_BY_ITSELF, &[does("abort")]).signal(), Some(6));
    all_stories("abort", &INLINE_BY_ITSELF);
}

/// G3, G5: an exit with success is a crash all the same.
#[test]
fn a_body_that_exits_with_0_has_crashed() {
    let field = Field::default();
    assert_eq!(victim(&field, &BY_ITSELF, &[does("exit 0")]).code(), Some(0));
    all_stories("exit 0", &BY_ITSELF);
}

/// G3, G5.
#[test]
fn a_body_that_exits_with_3_has_crashed() {
    let field = Field::default();
    assert_eq!(victim(&field, &BY_ITSELF, &[does("exit 3")]).code(), Some(3));
    all_stories("exit 3", &BY_ITSELF);
}

/// G3, G5: Rust's guard page turns it into an abort.
#[test]
fn a_body_that_overflows_its_stack_has_crashed() {
    let field = Field::default();
    assert!(victim(&field, &BY_ITSELF, &[does("overflow")]).signal().is_some());
    all_stories("overflow", &BY_ITSELF);
}

/// G3, G5: the operator kills a program whose task never ends.
#[test]
fn an_endless_loop_that_is_killed_has_crashed() {
    let way = Way {
        start: deeds::pool,
        end: |child| {
            child.expect("at body");
            child.signal("KILL");
            child.wait()
        },
    };
    all_stories("loop", &way);
}

/// G3, G5: no memory is left, so an allocation aborts.
#[test]
fn a_body_that_runs_out_of_memory_has_crashed() {
    fn limited(field: &Field, more: &[(&'static str, String)]) -> Child {
        let mut variables = field.variables();
        variables.extend_from_slice(more);
        Child::start_in_shell("ulimit -v 2000000; exec \"$@\"", "pool", &variables)
    }
    let way = Way { start: limited, end: Child::wait };
    let field = Field::default();
    assert_eq!(victim(&field, &way, &[does("allocate")]).signal(), Some(6));
    all_stories("allocate", &way);
}

/// The one attempt of a child's task ended with this error, and the child goes on.
fn fails_without_dying<T: Task>(call: T, text: &str, place: bool) {
    let field = Field::default();
    let client = looker(&field);
    let mut child = deeds::pool(&field, &[]);
    child.expect("ready");
    let handle = client.enqueue(call.call().attempts(1)).unwrap();
    assert!(handle.wait(PATIENCE).is_err());
    let task = handle.refresh().unwrap();
    assert_eq!(stand(&task), (State::Failed, Some(Reason::Error), 1, 0));
    let error = task.error.unwrap();
    assert_eq!(error.kind, "panic");
    assert!(error.message.contains(text), "{error}");
    assert!(error.message.starts_with("panicked at tests/crash/deeds.rs:") || !place, "{error}");
    assert!(error.backtrace.is_some_and(|trace| trace.contains("litework")));
    let next = client.enqueue(deed("nothing")).unwrap();
    assert!(next.wait(PATIENCE).unwrap().ends_with(&child.pid().to_string()));
    assert!(child.end().success());
    clean(&field);
}

/// G3: a panic is the error of its attempt, with its place; the process goes on.
#[test]
fn a_panic_ends_the_attempt_and_not_the_process() {
    fails_without_dying(deed("panic"), "the deed is done", true);
}

/// G3: an error is kept with where it came from; the program says by the variable whether it wants that.
#[test]
fn an_error_that_is_returned_keeps_its_backtrace_where_the_program_has_them_on() {
    for (asked, kept) in [("1", true), ("0", false)] {
        let field = Field::default();
        let client = looker(&field);
        let backtraces = ("RUST_BACKTRACE", asked.to_owned());
        let mut child = deeds::pool(&field, &[backtraces]);
        child.expect("ready");
        let handle = client.enqueue(deed("fail").call().attempts(1)).unwrap();
        assert_eq!(handle.wait(PATIENCE).unwrap_err().code(), "failed");
        let attempts = client.attempts(handle.id()).unwrap();
        let error = attempts[0].error.as_ref().unwrap();
        assert_eq!(error.message, "the deed was not done");
        let found = error.backtrace.as_ref().map(|trace| trace.contains("deeds.rs:"));
        assert_eq!(found, kept.then_some(true), "{asked}: {:?}", error.backtrace);
        assert!(child.end().success());
    }
}

/// G3.
#[test]
fn arguments_that_panic_in_drop_end_the_attempt_and_not_the_process() {
    let call = BadArguments { text: "the ship".to_owned() };
    fails_without_dying(call, "the arguments went down with the ship", true);
}

/// G3.
#[test]
fn a_result_that_panics_in_drop_ends_the_attempt_and_not_the_process() {
    fails_without_dying(BadResult, "the result went down with 7", true);
}

/// G4, G13: stopped for longer than its lease, fenced, and back again.
#[test]
#[ignore = "needs 40 s"]
fn a_process_that_is_stopped_for_longer_than_its_lease_loses_its_tasks() {
    let field = Field::default();
    let mut child = deeds::pool(&field, &[does("wait")]);
    child.expect("at body");
    let id: TaskId = child.expect("enqueued ")[9..].parse().unwrap();
    child.signal("STOP");
    let client = builder(&field).workers(1).open().unwrap();
    let handle = client.handle::<Deed>(id).unwrap();
    let value = handle.wait(Duration::from_secs(60)).unwrap();
    assert!(value.ends_with(&std::process::id().to_string()), "{value}");
    child.signal("CONT");
    child.tell("go on");
    let task = handle.refresh().unwrap();
    assert_eq!(stand(&task), (State::Succeeded, None, 2, 1));
    let attempts = client.attempts(id).unwrap();
    assert_eq!(attempts[0].error.as_ref().unwrap().to_string(), "its process hung for 30 s");
    client.shutdown(Duration::from_secs(10)).unwrap();
    drop(client);
    // The child has joined again: it serves what comes now.
    let client = looker(&field);
    let next = client.enqueue(deed("nothing")).unwrap();
    assert!(next.wait(PATIENCE).unwrap().ends_with(&child.pid().to_string()));
    assert_eq!(client.get(id).unwrap(), task, "the stale finish changed nothing");
    drop(client);
    clean(&field);
}

/// G4, G13: the same for a caller: it has lost its task, and joins again for the next.
#[test]
#[ignore = "needs 40 s"]
fn a_caller_that_is_stopped_for_longer_than_its_lease_loses_its_task_and_joins_again() {
    let field = Field::default();
    let mut child = deeds::inline(&field, &[does("read"), ("LW_THEN", "read".to_owned())]);
    child.expect("at body");
    child.signal("STOP");
    let client = builder(&field).workers(1).open().unwrap();
    let id = only_task(&client).id;
    let value = client.handle::<Deed>(id).unwrap().wait(Duration::from_secs(60)).unwrap();
    assert!(value.ends_with(&std::process::id().to_string()), "{value}");
    let task = client.get(id).unwrap();
    assert_eq!(stand(&task), (State::Succeeded, None, 2, 1));
    client.shutdown(Duration::from_secs(10)).unwrap();
    drop(client);
    child.signal("CONT");
    child.tell("go on");
    // Its next body is under way, and a program that looks for the dead leaves it alone.
    child.expect("at body");
    let client = builder(&field).open().unwrap();
    assert_eq!(client.run_pending(&Pending::all()).unwrap(), litework::Ran::default());
    child.tell("go on");
    child.expect("ran");
    let page = client.list(&litework::Filter::new(), None, 10).unwrap();
    assert_eq!(stand(&page.tasks[0]), (State::Succeeded, None, 1, 0), "the new number holds it");
    assert_eq!(client.get(id).unwrap(), task, "the stale finish changed nothing");
    assert!(child.end().success());
    drop(client);
    clean(&field);
}
