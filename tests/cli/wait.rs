//! Waiting for tasks: the exit code tells how they have ended.

use std::time::Duration;

#[cfg(unix)]
use crossbeam_channel::Receiver;
#[cfg(unix)]
use litework::{Context, Result, task};
use serde_json::json;

use crate::desk::Desk;
use crate::kinds::{self, greet, refuse};
#[cfg(unix)]
use crate::seen::Seen;

#[test]
fn wait_ends_with_0_only_if_all_have_succeeded() {
    let desk = Desk::new();
    let pool = kinds::builder(desk.db()).environment([("", ""); 0]).workers(1).open().unwrap();
    let good = pool.enqueue(greet::with("Ada")).unwrap().id().to_string();
    let bad = pool.enqueue(refuse::with("no paper")).unwrap().id().to_string();
    let waited = desk.run(&["wait", &good]);
    waited.says(&format!("{good} greet succeeded\n"));
    let waited = desk.run(&["wait", &good, &bad]);
    assert_eq!(waited.code, 1);
    assert!(waited.out.contains(&format!("{bad} refuse failed (gave up: no paper)\n")));
    let waited = desk.run(&["wait", &good, &bad, "--json"]);
    assert_eq!(waited.code, 1);
    let json: serde_json::Value = serde_json::from_str(&waited.out).unwrap();
    assert_eq!(
        (&json["items"][0]["state"], &json["items"][1]["state"]),
        (&json!("succeeded"), &json!("failed"))
    );
    let lines = desk.run(&["watch", &good, &bad, "--format", "ndjson"]);
    assert_eq!((lines.code, lines.out.lines().count()), (1, 2));
    pool.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn patience_has_an_end() {
    let desk = Desk::new();
    let id = desk.add(&["greet", "--in", "1h"]).to_string();
    for command in ["wait", "watch"] {
        let waited = desk.run(&[command, &id, "--timeout", "50ms"]);
        assert_eq!(waited.code, 124, "{}", waited.err);
        assert!(waited.err.contains(&format!("error: timeout: task {id} has not ended within")));
    }
    let told = desk.run(&["wait", &id, "--timeout", "50ms"]);
    assert!(told.err.contains("no live process runs 1 of them"), "{}", told.err);
    assert_eq!(desk.run(&["logs", &id, "--follow", "--timeout", "50ms"]).code, 124);
}

#[test]
fn whoever_adds_a_task_may_wait_for_it() {
    let desk = Desk::new();
    let pool = kinds::builder(desk.db()).environment([("", ""); 0]).workers(1).open().unwrap();
    let added = desk.run(&["add", "greet", "--args", r#"{"name":"Ada"}"#, "--wait"]);
    added.says(" greet succeeded\n");
    assert_eq!(added.out.lines().count(), 2);
    let added = desk.run(&["add", "refuse", "--args", r#"{"text":"no"}"#, "--wait", "--json"]);
    assert_eq!(added.code, 1, "{}", added.err);
    let bars = desk.run(&["watch", "1"]);
    assert_eq!((bars.code, bars.out.as_str()), (0, ""));
    assert!(bars.err.contains("greet succeeded"), "{}", bars.err);
    pool.shutdown(Duration::from_secs(10)).unwrap();
}

/// Paints a quarter, and the rest when it is told to.
#[cfg(unix)]
#[task]
fn paint(ctx: &Context) -> Result<()> {
    ctx.progress().total(8).unit("walls").stage("the cellar").advance(2);
    ctx.state::<Receiver<()>>()?.recv()?;
    ctx.progress().stage("the roof").advance(6);
    Ok(())
}

#[test]
#[cfg(unix)]
fn whoever_watches_on_a_terminal_sees_bars() {
    let desk = Desk::new();
    let (go_on, told) = crossbeam_channel::bounded(1);
    let pool = kinds::builder(desk.db()).environment([("", ""); 0]).register(paint).state(told);
    let pool = pool.workers(1).open().unwrap();
    let id = pool.enqueue(paint::with()).unwrap().id().to_string();
    let mut watch = Seen::start(&desk, &["watch", &id], &[]);
    watch.until("[=====>");
    watch.until("2 of 8 walls, 25 %");
    go_on.send(()).unwrap();
    watch.until("[====================]");
    watch.until("paint succeeded");
    assert!(!watch.text().contains("cellar"), "one line a task:\n{}", watch.text());
    assert_eq!(watch.end(), 0);
    pool.shutdown(Duration::from_secs(10)).unwrap();
}
