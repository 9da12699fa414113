//! Somebody sits at a terminal: he is asked, and told where something was to be piped in.
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};

use pty_process::blocking::{Command, open};

use crate::desk::Desk;

/// What a command says on a terminal of its own to one who types this once he is asked, and what it ends with.
fn typed(desk: &Desk, arguments: &[&str], asked: &str, answer: &str) -> (String, Option<i32>) {
    let (mut pty, pts) = open().unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_litework")).args(arguments).env_clear();
    let command = command.env("LITEWORK_DB", desk.db()).env("USER", "ada").env("TERM", "dumb");
    let mut child = command.current_dir(desk.folder()).spawn(pts).unwrap();
    let (mut said, mut is_answered) = (String::new(), false);
    let mut bytes = [0; 4_096];
    // A terminal that nobody has open any more cannot be read.
    while let Some(read) = pty.read(&mut bytes).ok().filter(|read| *read > 0) {
        said.push_str(&String::from_utf8_lossy(&bytes[..read]));
        if !is_answered && said.contains(asked) {
            is_answered = true;
            pty.write_all(answer.as_bytes()).unwrap();
        }
    }
    (said, child.wait().unwrap().code())
}

#[test]
fn what_was_to_be_piped_in_is_not_waited_for_at_a_terminal() {
    let desk = Desk::new();
    let (said, code) = typed(&desk, &["add", "greet", "--args", "-"], "never", "");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("from a pipe or a file, as in `< args.json`; standard input is a terminal")
    );
    assert_eq!(desk.json(&["ls"])["items"].as_array().unwrap().len(), 0);
}

#[test]
fn who_is_asked_may_say_no() {
    let desk = Desk::new();
    desk.add(&["greet"]);
    let left = || desk.json(&["ls"])["items"].as_array().unwrap().len();
    for no in ["n\n", "\n", "\x04"] {
        let (said, code) = typed(&desk, &["rm", "--all"], "Delete 1 task? [y/N] ", no);
        assert_eq!((code, left()), (Some(4), 1), "{no:?}: {said}");
        assert!(said.contains("not_confirmed"), "{said}");
    }
    let (said, code) = typed(&desk, &["rm", "--all", "--no-input"], "never", "");
    assert_eq!((code, left()), (Some(4), 1), "{said}");
    let (said, code) = typed(&desk, &["rm", "--all"], "Delete 1 task? [y/N] ", "y\n");
    assert_eq!((code, left()), (Some(0), 0), "{said}");
}
