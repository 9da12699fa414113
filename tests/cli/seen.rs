//! A terminal, as far as a command can tell, and what stands on it.

use std::io::{Read as _, Write as _};
use std::process::Child;

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::desk::Desk;

/// A command of `litework` on a terminal of its own.
pub(crate) struct Seen {
    pty: Pty,
    pub(crate) child: Child,
    screen: vt100::Parser,
}

impl Seen {
    pub(crate) fn start(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let command = Command::new("/usr/bin/env")
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_litework")])
            .args(arguments)
            .env_clear()
            .envs([("TERM", "xterm-256color"), ("TZ", "UTC"), ("USER", "ada")])
            .envs(variables.iter().copied())
            .env("LITEWORK_DB", desk.db())
            .current_dir(desk.folder());
        let child = command.spawn(pts).unwrap();
        Self { pty, child, screen: vt100::Parser::new(24, 80, 0) }
    }

    pub(crate) fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Takes in what is drawn next; whether there was anything.
    pub(crate) fn look(&mut self) -> bool {
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
    pub(crate) fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            assert!(self.look(), "{text:?} was never shown:\n{}", self.text());
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    /// Its exit code, once the terminal is as it was before.
    pub(crate) fn end(mut self) -> i32 {
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
