//! A task gives its return value back, exactly, whatever its size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use litework::{Context, Filter, Reason, Result, State, task};

use crate::common::{Lab, Log, Runs};

crate::everywhere! {
    a_return_value_comes_back,
    a_task_without_a_value_succeeds_with_null,
    arguments_and_results_of_any_size_come_back,
    arguments_may_fill_the_limit_and_not_pass_it,
    a_result_may_fill_the_limit_and_not_pass_it,
    integers_of_every_width_are_exact,
    nan_is_refused_with_the_path_to_it,
    a_result_with_nan_fails_the_task_once,
    paths_bytes_durations_and_maps_come_back,
    at_most_once_runs_once,
    at_most_once_is_under_way_only_where_it_begins_at_once,
}

const LIMIT: usize = 1_048_576;

#[task]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task]
fn nothing() {}

#[task]
fn echo(text: String) -> String {
    text
}

#[task]
fn letters(count: usize) -> String {
    "x".repeat(count)
}

#[task]
fn wide(small: i128, large: u128) -> (i128, u128) {
    (small, large)
}

#[task]
fn mean(values: &[f64]) -> f64 {
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    values.iter().sum::<f64>() / f64::from(count)
}

type Forms = (PathBuf, Vec<u8>, Duration, BTreeMap<i64, Option<String>>);

#[task]
fn forms(path: &Path, bytes: &[u8], span: Duration, map: BTreeMap<i64, Option<String>>) -> Forms {
    (path.to_owned(), bytes.to_owned(), span, map)
}

#[task(at_most_once)]
fn charge(cents: u32) -> u32 {
    cents
}

/// How many of its kind are under way, or have been, beyond those whose body has begun.
#[task(at_most_once)]
fn book(ctx: &Context) -> Result<usize> {
    let log = ctx.state::<Log>()?;
    log.note("book");
    let begun = Filter::new().kind("book").state(State::Running).state(State::Succeeded);
    let claimed = ctx.client().ok_or("it is stored")?.count(&begun)?;
    Ok(usize::try_from(claimed)?.saturating_sub(log.len()))
}

fn a_return_value_comes_back(lab: &Lab) {
    let client = lab.builder().register(add).open().unwrap();
    let handle = client.enqueue(add::with(2, 3)).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), 5);
    assert_eq!(handle.value().unwrap(), 5);
    let task = client.get(handle.id()).unwrap();
    assert_eq!((task.state, task.reason, task.attempt), (State::Succeeded, None, 1));
    assert_eq!((task.kind.as_str(), task.queue.as_str()), ("add", "default"));
    assert_eq!(task.arguments, r#"{"a":2,"b":3}"#);
    assert_eq!(task.result.as_deref(), Some("5"));
    assert_eq!((task.crashes, task.snoozes, &task.error), (0, 0, &None));
    assert_eq!((task.enqueued_at, task.due_at), (lab.now(), lab.now()));
    assert_eq!((task.started_at, task.finished_at), (Some(lab.now()), Some(lab.now())));
    let attempts = client.attempts(handle.id()).unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].attempt, attempts[0].outcome.as_str()), (1, "succeeded"));
    assert_eq!(attempts[0].worker, task.worker);
    assert!(task.worker.is_some() && attempts[0].error.is_none());
}

fn a_task_without_a_value_succeeds_with_null(lab: &Lab) {
    let client = lab.builder().register(nothing).open().unwrap();
    let handle = client.enqueue(nothing::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    let task = handle.refresh().unwrap();
    assert_eq!((task.arguments.as_str(), task.result.as_deref()), ("{}", Some("null")));
}

fn arguments_and_results_of_any_size_come_back(lab: &Lab) {
    let client = lab.builder().register(echo).open().unwrap();
    for bytes in [0, 2_000, 2_046, 2_047, 2_048, 2_049, 3_000, 200_000] {
        let text = "ü".repeat(bytes / 2) + &"x".repeat(bytes % 2);
        let handle = client.enqueue(echo::with(text.clone())).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), text, "{bytes} bytes");
        let task = handle.refresh().unwrap();
        assert_eq!(task.arguments, format!(r#"{{"text":"{text}"}}"#));
        assert_eq!(task.result, Some(format!(r#""{text}""#)));
    }
}

fn arguments_may_fill_the_limit_and_not_pass_it(lab: &Lab) {
    let client = lab.builder().register(echo).open().unwrap();
    let fits = LIMIT - r#"{"text":""}"#.len();
    let refused = client.enqueue(echo::with("x".repeat(fits + 1))).unwrap_err();
    assert_eq!(refused.code(), "payload_too_large");
    assert_eq!(client.count(&litework::Filter::new()).unwrap(), 0);
    let handle = client.enqueue(echo::with("x".repeat(fits))).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap().len(), fits);
}

fn a_result_may_fill_the_limit_and_not_pass_it(lab: &Lab) {
    let client = lab.builder().register(letters).open().unwrap();
    let fits = LIMIT - 2;
    let handle = client.enqueue(letters::with(fits)).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap().len(), fits);
    let handle = client.enqueue(letters::with(fits + 1)).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::ResultTooLarge)));
    assert_eq!((task.attempt, task.result), (1, None));
    assert!(task.error.unwrap().message.contains("payload_too_large"));
}

fn integers_of_every_width_are_exact(lab: &Lab) {
    let client = lab.builder().register(wide).open().unwrap();
    for pair in [(i128::MIN, u128::MAX), (i128::MAX, 0), (-1, 9_007_199_254_740_993)] {
        let handle = client.enqueue(wide::with(pair.0, pair.1)).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), pair);
    }
}

fn nan_is_refused_with_the_path_to_it(lab: &Lab) {
    let client = lab.builder().register(mean).open().unwrap();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = client.enqueue(mean::with([1.0, bad])).unwrap_err();
        assert_eq!(refused.code(), "number_out_of_range");
        assert!(refused.to_string().contains("$.values[1]"), "{refused}");
    }
    assert_eq!(client.count(&litework::Filter::new()).unwrap(), 0);
    let exact = [0.1, f64::MIN_POSITIVE, -0.0];
    let handle = client.enqueue(mean::with(exact)).unwrap();
    let expected = mean(&exact);
    assert_eq!(lab.wait(&client, &handle).unwrap().to_bits(), expected.to_bits());
}

fn a_result_with_nan_fails_the_task_once(lab: &Lab) {
    let client = lab.builder().register(mean).open().unwrap();
    let handle = client.enqueue(mean::with([])).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.attempt), (State::Failed, 1));
    let message = task.error.unwrap().message;
    assert!(message.contains("number_out_of_range") && message.contains('$'), "{message}");
}

fn paths_bytes_durations_and_maps_come_back(lab: &Lab) {
    let client = lab.builder().register(forms).open().unwrap();
    let map = BTreeMap::from([(-3, None), (7, Some("sieben".to_owned()))]);
    let span = Duration::new(3, 7);
    let call = forms::with(Path::new("a/ö.png"), [0_u8, 255], span, map.clone());
    let handle = client.enqueue(call).unwrap();
    let (path, bytes, back, maps) = lab.wait(&client, &handle).unwrap();
    assert_eq!((path.as_path(), bytes.as_slice()), (Path::new("a/ö.png"), &[0, 255][..]));
    assert_eq!((back, maps), (span, map));
}

fn at_most_once_runs_once(lab: &Lab) {
    let client = lab.builder().register(charge).open().unwrap();
    let handle = client.enqueue(charge::with(995)).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), 995);
    let task = handle.refresh().unwrap();
    assert_eq!((task.at_most_once, task.attempt), (true, 1));
}

/// A crash ends what is under way as `lost`, so nothing is that merely waits for its turn.
fn at_most_once_is_under_way_only_where_it_begins_at_once(lab: &Lab) {
    let client = lab.builder().register(book).state(Log::default()).open().unwrap();
    let threads = if lab.runs(Runs::Pool) { 2 } else { 1 };
    // In the second round a pool knows how short they are.
    for _ in 0..2 {
        let many = client.enqueue_many((0..20).map(|_| book::with())).unwrap();
        for handle in &many {
            let waiting = lab.wait(&client, handle).unwrap();
            assert!(waiting < threads, "{waiting} were claimed that had not begun");
        }
    }
}
