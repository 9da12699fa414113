//! A program of one's own works on its tasks, and `litework` on programs.

use std::io::{BufRead as _, BufReader, Chain, Cursor, Read as _};
use std::process::{Child, ChildStderr, Stdio};

use litework::{State, TaskId};

use crate::desk::Desk;

fn state(desk: &Desk, id: TaskId) -> State {
    desk.client().get(id).unwrap().state
}

fn greet(desk: &Desk, name: &str) -> TaskId {
    desk.add(&["greet", "--args", &format!(r#"{{"name":"{name}"}}"#)])
}

#[test]
fn a_batch_runs_what_is_ready_and_ends() {
    let desk = Desk::new();
    let good = ["Ada", "Bob", "Cyd"].map(|name| greet(&desk, name));
    let bad = desk.add(&["refuse", "--args", r#"{"text":"no"}"#]);
    let later = desk.add(&["greet", "--args", r#"{"name":"Eve"}"#, "--in", "1h"]);
    let ran = desk.shop(&["work", "--batch"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert!(good.iter().all(|id| state(&desk, *id) == State::Succeeded), "{}", ran.err);
    assert_eq!((state(&desk, bad), state(&desk, later)), (State::Failed, State::Scheduled));
    assert!(ran.err.contains("4 attempts made"), "{}", ran.err);
    let again = desk.shop(&["work", "--batch", "--verbosity", "0"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "an empty queue ends at once");
}

#[test]
fn so_many_tasks_run_and_no_more() {
    let desk = Desk::new();
    let all = ["a", "b", "c", "d", "e"].map(|name| greet(&desk, name));
    let left = || all.iter().filter(|id| state(&desk, **id) == State::Ready).count();
    for (most, rest) in [("0", 5), ("2", 3), ("1", 2)] {
        let ran = desk.shop(&["work", "--max-tasks", most, "--concurrency", "4"]);
        assert_eq!((ran.code, left()), (0, rest), "{}", ran.err);
    }
    assert_eq!(desk.shop(&["work", "--max-tasks", "9", "--batch"]).code, 0);
    assert_eq!(left(), 0);
}

#[test]
fn only_some_queues_are_served_or_all_but_some() {
    let desk = Desk::new();
    let fast = greet(&desk, "Ada");
    let slow = desk.add(&["count", "--args", r#"{"to":2}"#, "--queue", "slow"]);
    assert_eq!(desk.shop(&["work", "--batch", "--queues", "nobody"]).code, 0);
    assert_eq!(state(&desk, fast), State::Ready);
    assert_eq!(desk.shop(&["work", "--batch", "--exclude", "slow,unknown"]).code, 0);
    assert_eq!((state(&desk, fast), state(&desk, slow)), (State::Succeeded, State::Ready));
    assert_eq!(desk.shop(&["work", "--batch", "--queues", "slow"]).code, 0);
    assert_eq!(state(&desk, slow), State::Succeeded);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    let desk = Desk::new();
    let id = greet(&desk, "Ada");
    let long = "x".repeat(65);
    for (flags, told) in [
        (&["--queues", "mail", "--exclude", "slow"][..], "only together with --queues '*'"),
        (&["--queues", "*,mail"], "* alone"),
        (&["--queues", "a b"], "bad_queue"),
        (&["--interval", "-1"], "seconds, 0 to 86400"),
        (&["--interval", "inf"], "seconds, 0 to 86400"),
        (&["--interval", "nan"], "seconds, 0 to 86400"),
        (&["--max-tasks", "-1"], "--max-tasks"),
        (&["--concurrency", "0"], "1 to 1024"),
        (&["--concurrency", "10000"], "1 to 1024"),
        (&["--worker-name", ""], "1–64"),
        (&["--worker-name", &long], "1–64"),
        (&["--exec"], "--allow"),
        (&["--exec-any", "--allow", "ls"], "--exec-any"),
    ] {
        let ran = desk.shop(&[&["work", "--batch"], flags].concat());
        assert_eq!(ran.code, 2, "{flags:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(told), "{flags:?}: {}", ran.err);
    }
    assert_eq!(desk.shop(&["work", "--max-tasks", "0", "--interval", "0"]).code, 0);
    assert_eq!(state(&desk, id), State::Ready);
}

#[test]
fn programs_are_run_where_that_is_permitted() {
    let desk = Desk::new();
    let exec =
        |words: &[&str]| desk.add(&[&["--exec", "--env", "WHOM=world", "--"], words].concat());
    let hello = exec(&["sh", "-c", "echo hello $WHOM; echo $LITEWORK_TASK >&2; pwd"]);
    let fails = exec(&["sh", "-c", "exit 3"]);
    let missing = exec(&["no-such-program"]);
    let refused = exec(&["ls"]);
    assert_eq!(desk.run(&["work", "--batch"]).code, 0, "no program is run");
    assert_eq!(state(&desk, hello), State::Ready);
    let flags = ["--exec", "--allow", "sh", "--allow", "no-such-program"];
    assert_eq!(desk.run(&[&["work", "--batch"], &flags[..]].concat()).code, 0);
    let client = desk.client();
    let code = |id| client.get(id).unwrap().error.unwrap().code;
    assert_eq!(state(&desk, hello), State::Succeeded);
    assert_eq!(code(fails).as_deref(), Some("exit_code"));
    assert_eq!(code(missing).as_deref(), Some("cannot_start"));
    assert_eq!(code(refused).as_deref(), Some("not_allowed"));
    let log: Vec<String> = client.log(hello).unwrap().into_iter().map(|line| line.text).collect();
    assert!(log.contains(&"hello world".to_owned()), "{log:?}");
    assert!(log.contains(&hello.to_string()), "{log:?}");
    let left = client.artifacts(hello).unwrap();
    let mut tail = String::new();
    let mut output = client.open_artifact(hello, left[0].number).unwrap();
    output.read_to_string(&mut tail).unwrap();
    assert!(tail.contains("hello world\n"), "{tail}");
    let words = desk.json(&["show", &hello.to_string()])["arguments"]["argv"].to_string();
    assert!(words.contains(r#""sh","-c""#), "no shell has read it: {words}");
}

/// Whoever may write the file says what an allowed program is given, and not which program that is.
#[test]
fn a_task_does_not_say_what_an_allowed_program_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new();
    let evil = desk.path("hostname");
    std::fs::write(&evil, "#!/bin/sh\ntouch evil\n").unwrap();
    std::fs::set_permissions(&evil, std::fs::Permissions::from_mode(0o755)).unwrap();
    let folder = desk.folder().display().to_string();
    let exec = |flags: &[&str], word: &str| {
        desk.add(&[&["--exec", "--dir", &folder], flags, &["--", word]].concat())
    };
    let path = format!("PATH={folder}");
    let refused = [path.as_str(), "LD_PRELOAD=evil.so", "DYLD_INSERT_LIBRARIES=evil.so"]
        .map(|variable| exec(&["--env", variable], "hostname"));
    let plain = exec(&[], "hostname");
    let near = exec(&[], "./hostname");
    let flags = ["work", "--batch", "--exec", "--allow", "hostname"];
    assert_eq!(desk.run(&flags).code, 0);
    let client = desk.client();
    let code = |id| client.get(id).unwrap().error.map(|error| error.code.unwrap());
    for id in refused.into_iter().chain([near]) {
        assert_eq!(code(id).as_deref(), Some("not_allowed"));
    }
    assert_ne!(code(plain).as_deref(), Some("not_allowed"));
    assert!(!desk.path("evil").exists(), "another program has run");
}

#[test]
fn a_command_of_any_length_and_shape_has_a_name() {
    let desk = Desk::new();
    let id = desk.add(&["--exec", "--", "sh", "-c", "true\ntrue", &"x".repeat(500)]);
    assert_eq!(desk.run(&["work", "--batch", "--exec-any"]).code, 0);
    let task = desk.client().get(id).unwrap();
    assert_eq!(task.state, State::Succeeded);
    let name = task.name.unwrap();
    assert!(name.starts_with("sh -c true true xxx") && name.ends_with('…'), "{name}");
}

#[test]
fn what_a_worker_says_holds_no_secret() {
    let desk = Desk::new();
    let id = desk.add(&["--exec", "--", "/no/password=hunter2"]);
    let ran = desk.run(&["work", "--batch", "--exec-any"]);
    assert!(ran.err.contains(&format!("{id} exec attempt 1 failed: cannot_start")), "{}", ran.err);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

/// All that a worker says.
pub(crate) type Said = Chain<Cursor<Vec<u8>>, BufReader<ChildStderr>>;

/// A worker that runs until it is told to end, and has said that it works.
pub(crate) fn start(desk: &Desk, flags: &[&str]) -> (Child, Said) {
    start_with(desk, flags, &[])
}

/// The same with these variables. It may have begun with a task before it says that it works, so that is said anew.
pub(crate) fn start_with(desk: &Desk, flags: &[&str], variables: &[(&str, &str)]) -> (Child, Said) {
    let mut command = desk.hearing(&[&["work", "--exec-any", "--verbosity", "2"], flags].concat());
    command.envs(variables.iter().copied()).stderr(Stdio::piped());
    let mut worker = command.spawn().unwrap();
    let mut said = BufReader::new(worker.stderr.take().unwrap());
    let mut before = String::new();
    while !before.contains("working on") {
        assert!(said.read_line(&mut before).unwrap() > 0, "it does not work: {before}");
    }
    (worker, Cursor::new(before.into_bytes()).chain(said))
}

pub(crate) fn until(said: &mut impl std::io::BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended without saying {text:?}");
    }
}

pub(crate) fn signal(worker: &Child, name: &str) {
    let pid = worker.id().to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args([format!("-{name}"), pid]).status().unwrap().success());
}

#[test]
#[cfg(target_os = "linux")]
fn the_first_signal_lets_what_runs_end() {
    let desk = Desk::new();
    let (mut idle, mut said) = start(&desk, &[]);
    signal(&idle, "TERM");
    until(&mut said, "0 handed back");
    assert_eq!(idle.wait().unwrap().code(), Some(0));
    let go = desk.path("go");
    let waits = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
    let id = desk.add(&["--exec", "--", "sh", "-c", &waits]);
    let (mut busy, mut said) = start(&desk, &[]);
    until(&mut said, "started");
    signal(&busy, "INT");
    until(&mut said, "draining");
    std::fs::write(go, "").unwrap();
    assert_eq!(busy.wait().unwrap().code(), Some(0));
    assert_eq!(state(&desk, id), State::Succeeded);
}

#[test]
#[cfg(target_os = "linux")]
fn the_second_signal_hands_back_what_runs_with_all_that_it_has_started() {
    let desk = Desk::new();
    let id = desk.add(&["--exec", "--", "sh", "-c", "sleep 1000 & echo $!; wait"]);
    let (mut worker, mut said) = start(&desk, &[]);
    until(&mut said, "started");
    signal(&worker, "INT");
    until(&mut said, "draining");
    signal(&worker, "INT");
    assert_eq!(worker.wait().unwrap().code(), Some(130));
    let task = desk.client().get(id).unwrap();
    assert_eq!((task.state, task.attempt), (State::Ready, 0), "its attempt is not charged");
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_ends_when_its_task_is_cancelled() {
    let desk = Desk::new();
    let id = desk.add(&["--exec", "--", "sh", "-c", "sleep 1000 & sleep 1000"]);
    let (mut worker, mut said) = start(&desk, &[]);
    until(&mut said, "started");
    assert_eq!(desk.run(&["cancel", &id.to_string()]).code, 0);
    until(&mut said, "cancelled");
    assert_eq!(state(&desk, id), State::Cancelled);
    signal(&worker, "TERM");
    assert_eq!(worker.wait().unwrap().code(), Some(0));
}
