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
    with("a,,b").fails(2, "LITEWORK_QUEUES is \"a,,b\"; names of queues, with commas");
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

#[test]
#[cfg(target_os = "linux")]
fn grace_and_what_is_told_come_from_the_environment_where_no_flag_says_them() {
    let desk = Desk::new();
    let with = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = desk.hearing(&[&["work"], flags].concat());
        command.envs(variables.iter().copied()).stderr(std::process::Stdio::piped());
        let mut worker = command.spawn().unwrap();
        let mut said = std::io::BufReader::new(worker.stderr.take().unwrap());
        crate::work::until(&mut said, "working on");
        crate::work::signal(&worker, "TERM");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
        assert_eq!(worker.wait().unwrap().code(), Some(0));
        rest
    };
    let variable = [("LITEWORK_GRACE", "5s")];
    assert!(with(&[], &[]).contains(": 30 s for what runs"));
    assert!(with(&variable, &[]).contains(": 5 s for what runs"));
    assert!(with(&variable, &["--grace", "7s"]).contains(": 7 s for what runs"));
    let refused = |name: &str, value: &str, told: &str| {
        let mut command = desk.command(&["work", "--batch"]);
        Ran::of(&command.env(name, value).output().unwrap()).fails(2, told);
    };
    refused("LITEWORK_GRACE", "5x", "bad_duration: LITEWORK_GRACE is \"5x\"; a unit");
    refused("LITEWORK_LOG", "debug", "out_of_range: LITEWORK_LOG is \"debug\"; 0, 1 or 2");
    refused("LITEWORK_GRAZE", "5s", "did you mean LITEWORK_GRACE?");
    let silent = |flags: &[&str]| {
        let mut command = desk.command(&[&["work", "--batch"], flags].concat());
        Ran::of(&command.env("LITEWORK_LOG", "0").output().unwrap()).err.is_empty()
    };
    assert_eq!((silent(&[]), silent(&["--verbosity", "1"])), (true, false));
}

#[test]
fn each_client_of_a_program_has_variables_of_its_own() {
    let desk = Desk::new();
    desk.branches(&["init", "--client", "mail"]);
    let told = |name: &str| {
        let mut command = desk.branches_command(&["--client", "mail", "work", "--batch"]);
        Ran::of(&command.env(name, "9").output().unwrap())
    };
    told("LITEWORK_MAIL_LOG").fails(2, "LITEWORK_MAIL_LOG is \"9\"; 0, 1 or 2");
    assert_eq!(told("LITEWORK_LOG").code, 0);
}

#[test]
fn no_queue_at_all_is_refused() {
    let desk = Desk::new();
    for (flags, said) in [
        (["--queues", ""], "bad_queue: queues is \"\"; names of queues"),
        (["--queues", "a,,b"], "bad_queue: queues is \"a,,b\"; names of queues"),
        (["--exclude", ""], "bad_queue: exclude is \"\"; names of queues"),
        (["--exclude", "a,"], "one is empty"),
    ] {
        desk.run(&[&["work", "--batch"], &flags[..]].concat()).fails(2, said);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn two_workers_of_one_name_are_both_named() {
    let desk = Desk::new();
    let name = ["--worker-name", "till"];
    let (mut first, _said) = crate::work::start(&desk, &name);
    for flags in [&["--batch"][..], &[]] {
        let (mut second, mut said) = crate::work::start(&desk, &[&name, flags].concat());
        let both = format!("process {} and this one, process {}", first.id(), second.id());
        crate::work::until(&mut said, &format!("warning: two workers are called till: {both}"));
        if flags.is_empty() {
            crate::work::signal(&second, "TERM");
        }
        assert_eq!(second.wait().unwrap().code(), Some(0));
    }
    let other = desk.run(&["work", "--batch", "--worker-name", "desk"]);
    assert!(!other.err.contains("warning"), "{}", other.err);
    crate::work::signal(&first, "TERM");
    first.wait().unwrap();
}
