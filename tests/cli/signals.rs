//! A worker is told to end: by whom, how often, and what becomes of the programs that it runs.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;

use litework::{State, TaskId};

use crate::desk::Desk;
use crate::work::{signal, start, until};

/// What stays alive as long as nobody ends it: a process that the task's own program has started.
struct Grandchild {
    pid: String,
    /// Open as long as it lives.
    life: BufReader<File>,
}

/// A task whose program starts another and waits for it; both may be deaf to SIGTERM.
fn endless(desk: &Desk, deaf: bool) -> TaskId {
    let made = Command::new("mkfifo").arg(desk.path("life")).status().unwrap();
    assert!(made.success());
    let trap = if deaf { "trap '' TERM; " } else { "" };
    let program = format!("{trap}sh -c 'echo $$; exec sleep 1000' >life & wait");
    desk.add(&["--exec", "--", "sh", "-c", &program])
}

impl Grandchild {
    /// Waits until it lives.
    fn of(desk: &Desk) -> Self {
        let mut life = BufReader::new(File::open(desk.path("life")).unwrap());
        let mut pid = String::new();
        life.read_line(&mut pid).unwrap();
        Self { pid: pid.trim().to_owned(), life }
    }

    /// Until it is gone, or a corpse that nobody has fetched.
    fn gone(mut self) {
        self.life.read_to_end(&mut Vec::new()).unwrap();
        let stat = format!("/proc/{}/stat", self.pid);
        let state = || fs::read_to_string(&stat).unwrap_or_else(|_| ") Z".to_owned());
        while !state().rsplit(") ").next().unwrap().starts_with(['Z', 'X']) {
            std::thread::yield_now();
        }
    }
}

fn task(desk: &Desk, id: TaskId) -> (State, u32) {
    let task = desk.client().get(id).unwrap();
    (task.state, task.attempt)
}

#[test]
fn a_cancelled_task_takes_all_that_its_program_has_started_with_it() {
    let desk = Desk::new();
    let id = endless(&desk, false);
    let (mut worker, mut said) = start(&desk, &[]);
    let grandchild = Grandchild::of(&desk);
    assert_eq!(desk.run(&["cancel", &id.to_string()]).code, 0);
    until(&mut said, "cancelled");
    grandchild.gone();
    signal(&worker, "TERM");
    assert_eq!(worker.wait().unwrap().code(), Some(0), "nothing had to be handed back");
}

#[test]
fn the_second_signal_leaves_nothing_of_a_program_and_is_what_the_exit_code_says() {
    for (signals, code) in [
        (["INT", "INT"], 130),
        (["TERM", "TERM"], 143),
        (["QUIT", "QUIT"], 131),
        (["HUP", "HUP"], 129),
        (["INT", "TERM"], 143),
    ] {
        let desk = Desk::new();
        let id = endless(&desk, code == 143);
        let (mut worker, mut said) = start(&desk, &[]);
        let grandchild = Grandchild::of(&desk);
        signal(&worker, signals[0]);
        until(&mut said, "draining 1 task");
        signal(&worker, signals[1]);
        until(&mut said, "handing back");
        until(&mut said, "1 handed back");
        assert_eq!(worker.wait().unwrap().code(), Some(code), "{signals:?}");
        grandchild.gone();
        assert_eq!(task(&desk, id), (State::Ready, 0), "its attempt is not charged");
    }
}

#[test]
fn the_grace_has_an_end_without_a_second_signal() {
    let desk = Desk::new();
    let id = endless(&desk, true);
    let (mut worker, mut said) = start(&desk, &["--grace", "10ms"]);
    let grandchild = Grandchild::of(&desk);
    signal(&worker, "TERM");
    until(&mut said, "draining 1 task: 10 ms");
    until(&mut said, "1 handed back");
    assert_eq!(worker.wait().unwrap().code(), Some(143));
    grandchild.gone();
    assert_eq!(task(&desk, id), (State::Ready, 0));
}

#[test]
fn the_third_signal_ends_the_worker_at_once_and_what_it_runs() {
    let desk = Desk::new();
    let id = endless(&desk, true);
    let (mut worker, mut said) = start(&desk, &[]);
    let grandchild = Grandchild::of(&desk);
    signal(&worker, "INT");
    until(&mut said, "draining");
    signal(&worker, "INT");
    until(&mut said, "handing back");
    signal(&worker, "TERM");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(143));
    assert!(!rest.contains("ended"), "{rest}");
    grandchild.gone();
    assert_eq!(task(&desk, id).1, 1, "its attempt has been one");
}

#[test]
fn an_idle_worker_ends_well_at_any_signal() {
    for name in ["INT", "TERM", "QUIT", "HUP"] {
        for flags in [&[][..], &["--max-tasks", "9"]] {
            let desk = Desk::new();
            let (mut worker, mut said) = start(&desk, flags);
            signal(&worker, name);
            until(&mut said, "ended: nothing was done");
            assert_eq!(worker.wait().unwrap().code(), Some(0), "{name} {flags:?}");
        }
    }
}

#[test]
fn a_shift_hears_signals_like_a_pool() {
    let desk = Desk::new();
    let waits = "until [ -e go ]; do sleep 0.01; done";
    let first = desk.add(&["--exec", "--", "sh", "-c", waits]);
    let flags = ["--batch", "--concurrency", "1"];
    let (mut worker, mut said) = start(&desk, &flags);
    until(&mut said, "started");
    let second = endless(&desk, false);
    signal(&worker, "TERM");
    until(&mut said, "draining 1 task");
    fs::write(desk.path("go"), "").unwrap();
    until(&mut said, "ended: 1 succeeded; 0 handed back");
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    assert_eq!(task(&desk, first).0, State::Succeeded);
    assert_eq!(task(&desk, second), (State::Ready, 0), "nothing more is begun");
    let (mut worker, mut said) = start(&desk, &flags);
    let grandchild = Grandchild::of(&desk);
    signal(&worker, "INT");
    until(&mut said, "draining");
    signal(&worker, "INT");
    until(&mut said, "ended: nothing was done; 1 handed back");
    assert_eq!(worker.wait().unwrap().code(), Some(130));
    grandchild.gone();
    assert_eq!(task(&desk, second), (State::Ready, 0));
}

#[test]
fn what_was_done_is_summed_up_at_the_end() {
    let desk = Desk::new();
    for words in [&["true"][..], &["true"], &["false"]] {
        desk.add(&[&["--exec", "--"], words].concat());
    }
    let (mut worker, mut said) = start(&desk, &["--concurrency", "1"]);
    until(&mut said, "failed");
    signal(&worker, "TERM");
    until(&mut said, "ended: 2 succeeded, 1 failed; 0 handed back");
    assert_eq!(worker.wait().unwrap().code(), Some(0));
}
