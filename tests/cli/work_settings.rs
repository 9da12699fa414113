//! Whose word counts when a worker starts: its flags, then the environment, then the settings, then its program.

use std::fs;
use std::process::Command;

use litework::{State, TaskId};

use crate::desk::{Desk, Ran};

/// A program that does nothing, to be run in a queue.
fn nothing(desk: &Desk, queue: &str) -> TaskId {
    desk.add(&["--queue", queue, "--exec", "--", "true"])
}

fn done(desk: &Desk, id: TaskId) -> bool {
    desk.client().get(id).unwrap().state == State::Succeeded
}

fn settings(desk: &Desk, text: &str) {
    fs::write(desk.path("litework.toml"), text).unwrap();
}

fn batch(desk: &Desk, flags: &[&str]) -> Command {
    desk.command(&[&["work", "--batch", "--exec-any"], flags].concat())
}

/// Who lives, and what is said of it: name, number of threads, queues, and those that are left alone.
fn worker(desk: &Desk) -> (String, u64, String, String) {
    let told = desk.json(&["workers"]);
    let worker = &told["items"][0];
    let text = |key: &str| worker[key].to_string();
    let name = worker["name"].as_str().unwrap().to_owned();
    (name, worker["threads"].as_u64().unwrap(), text("queues"), text("excluded"))
}

#[test]
fn the_queues_of_a_shift_are_those_of_the_flags_or_else_of_the_settings() {
    let desk = Desk::new();
    settings(&desk, "serve = [\"a\"]\n");
    let mut left: Vec<&str> = Vec::new();
    let mut ids = Vec::new();
    for queue in ["a", "b", "c", "d"] {
        ids.push((queue, nothing(&desk, queue)));
        left.push(queue);
    }
    for (variable, flags, ran) in [
        ("", &[][..], "a"),
        ("b", &[], "b"),
        ("b", &["--queues", "c"], "c"),
        ("b", &["--exclude", "d"], ""),
        ("b", &["--queues", "*"], "d"),
    ] {
        let ended =
            Ran::of(&batch(&desk, flags).env("LITEWORK_QUEUES", variable).output().unwrap());
        assert_eq!(ended.code, 0, "{}", ended.err);
        left.retain(|queue| *queue != ran);
        let open = ids.iter().filter(|(_, id)| !done(&desk, *id)).map(|(queue, _)| *queue);
        assert_eq!(open.collect::<Vec<_>>(), left, "{variable:?} {flags:?}");
    }
}

#[test]
fn the_variable_may_say_all_and_is_checked_like_the_flag() {
    let desk = Desk::new();
    settings(&desk, "serve = [\"a\"]\nserve_all_but = [\"b\"]\n");
    let id = nothing(&desk, "b");
    let with =
        |value: &str| Ran::of(&batch(&desk, &[]).env("LITEWORK_QUEUES", value).output().unwrap());
    with("a b").fails(2, "LITEWORK_QUEUES is \"a b\"; it has a character at byte 1");
    with("a,*").fails(2, "LITEWORK_QUEUES is \"a,*\"; * alone, or names of queues");
    with("a,,b").fails(2, "LITEWORK_QUEUES is \"\"; it is empty");
    let ended = with("*");
    assert!(ended.err.contains("working on") && ended.err.contains("all queues"), "{}", ended.err);
    assert!(done(&desk, id));
}

#[test]
fn a_program_that_serves_one_queue_is_told_to_serve_others() {
    let desk = Desk::new();
    let hello = desk.add(&["greet", "--args", r#"{"name":"Ada"}"#]);
    let sheep = desk.add(&["count", "--args", r#"{"to":2}"#, "--queue", "slow"]);
    let ran = desk.night(&["work", "--batch"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("queues slow"), "{}", ran.err);
    assert_eq!((done(&desk, hello), done(&desk, sheep)), (false, true));
    assert_eq!(desk.night(&["work", "--batch", "--queues", "*"]).code, 0);
    assert!(done(&desk, hello));
}

#[test]
fn a_shift_has_as_many_threads_as_the_settings_say() {
    let desk = Desk::new();
    settings(&desk, "workers = 3\n");
    // Each waits for the others.
    for name in ["a", "b", "c"] {
        let all = format!("touch {name}; until [ -e a -a -e b -a -e c ]; do sleep 0.01; done");
        desk.add(&["--exec", "--", "sh", "-c", &all]);
    }
    let ran = Ran::of(&batch(&desk, &[]).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
#[cfg(target_os = "linux")]
fn a_pool_is_what_its_flags_say() {
    let desk = Desk::new();
    settings(&desk, "serve = [\"a\"]\nname = \"file\"\nworkers = 3\n");
    let told = |flags: &[&str]| {
        let (mut worker, mut said) = crate::work::start(&desk, flags);
        let told = self::worker(&desk);
        crate::work::signal(&worker, "TERM");
        crate::work::until(&mut said, "ended");
        assert_eq!(worker.wait().unwrap().code(), Some(0));
        told
    };
    let is = |name: &str, threads, queues: &str, excluded: &str| {
        (name.to_owned(), threads, queues.to_owned(), excluded.to_owned())
    };
    assert_eq!(told(&[]), is("file", 3, r#"["a"]"#, "[]"));
    let flags = ["--queues", "b,c", "--worker-name", "till", "--concurrency", "2"];
    assert_eq!(told(&flags), is("till", 2, r#"["b","c"]"#, "[]"));
    assert_eq!(told(&["--queues", "*"]), is("file", 3, "[]", "[]"));
    assert_eq!(told(&["--exclude", "d"]), is("file", 3, "[]", r#"["d"]"#));
}
