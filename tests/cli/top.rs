//! An operator looks at the whole terminal: a real one, as far as the program can tell.

use std::io::{Read as _, Write as _};
use std::process::Child;

use litework::{Pending, Scope, State};
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::desk::Desk;
use crate::kinds::{greet, refuse};

/// `litework top` on a terminal of its own.
struct Seen {
    pty: Pty,
    child: Child,
    screen: vt100::Parser,
}

impl Seen {
    fn start(desk: &Desk, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let command = Command::new("/usr/bin/env")
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_litework"), "top"])
            .args(flags)
            .env_clear()
            .envs([("TERM", "xterm-256color"), ("TZ", "UTC"), ("USER", "ada")])
            .envs(variables.iter().copied())
            .env("LITEWORK_DB", desk.db())
            .current_dir(desk.folder());
        let child = command.spawn(pts).unwrap();
        Self { pty, child, screen: vt100::Parser::new(24, 80, 0) }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Takes in what is drawn next; whether there was anything.
    fn look(&mut self) -> bool {
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let heard = poll(&mut [PollFd::new(&self.pty, PollFlags::IN)], Some(&patience)).unwrap();
        assert!(heard > 0, "nothing more is drawn:\n{}", self.text());
        let mut bytes = [0; 4_096];
        // A terminal that nobody has open any more cannot be read.
        let read = self.pty.read(&mut bytes).unwrap_or(0);
        self.screen.process(&bytes[..read]);
        read > 0
    }

    #[track_caller]
    fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            assert!(self.look(), "{text:?} was never shown:\n{}", self.text());
        }
    }

    fn press(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    /// Its exit code, once the terminal is as it was before.
    fn end(mut self) -> i32 {
        while self.look() {}
        let code = self.child.wait().unwrap().code().unwrap();
        assert!(!self.screen.screen().alternate_screen(), "what stood there before is not back");
        assert!(!self.screen.screen().hide_cursor());
        let modes = rustix::termios::tcgetattr(&self.pty).unwrap().local_modes;
        let usual = rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO;
        assert!(modes.contains(usual), "{modes:?}");
        code
    }
}

/// One that waits, and one that has failed.
fn desk() -> Desk {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue(refuse::with("the printer is on fire")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("Ada")).unwrap();
    desk
}

#[test]
fn all_is_shown_and_keys_do_what_the_help_says() {
    let desk = desk();
    let mut top = Seen::start(&desk, &["--every", "200ms"], &[]);
    top.until("default");
    top.until("Schedules");
    top.press("?");
    top.until("mark a task, to do something to several");
    top.press("?\t\t");
    top.until("Hello Ada");
    top.press("\r");
    top.until("Arguments");
    top.press("\x1b");
    desk.client().enqueue(greet::with("Bob")).unwrap();
    top.until("Hello Bob");
    top.press("/bob\r");
    while top.text().contains("Hello Ada") {
        assert!(top.look());
    }
    top.press("C");
    top.until("1 cancelled");
    let tasks = desk.client().list(&litework::Filter::new(), None, 9).unwrap().tasks;
    let states: Vec<State> = tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [State::Cancelled, State::Ready, State::Failed]);
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn what_failed_is_retried_and_a_queue_is_paused() {
    let desk = desk();
    let mut top = Seen::start(&desk, &["--every", "200ms"], &[]);
    top.until("default");
    top.press("P");
    top.until("queue default is paused");
    assert_eq!(desk.client().paused().unwrap()[0].scope, Scope::queue("default"));
    top.press("\x1b[D\x1b[D\x1b[D");
    top.until("the printer is on fire");
    top.press("r");
    top.until("1 retried");
    assert_eq!(desk.client().audit(None, 1).unwrap().entries[0].actor, "cli:ada");
    top.press("\x03");
    assert_eq!(top.end(), 0);
}

#[test]
fn who_only_looks_changes_nothing() {
    let desk = desk();
    let mut top = Seen::start(&desk, &["--read-only"], &[]);
    top.until("default");
    top.press("P");
    top.until("only looking is allowed");
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn the_terminal_is_given_back_after_a_panic_and_a_signal() {
    let desk = desk();
    let top = Seen::start(&desk, &[], &[("LITEWORK_PLANT", "top_panics")]);
    assert_eq!(top.end(), 101);
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        let mut top = Seen::start(&desk, &[], &[]);
        top.until("default");
        crate::work::signal(&top.child, signal);
        assert_eq!(top.end(), code);
    }
}

#[test]
fn one_frame_needs_no_terminal() {
    let desk = desk();
    desk.run(&["top", "--once"]).says("Overview");
    desk.run(&["top"]).fails(2, "no_terminal");
    desk.run(&["top", "--every", "1ms"]).fails(2, "200ms or more");
}
