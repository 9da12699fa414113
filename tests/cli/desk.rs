//! A folder with a queue, and an operator who types commands there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use litework::{Client, Mode, TaskId};
use serde_json::Value;

use crate::kinds;

pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

/// What a command has said, and what it ended with.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Desk {
    /// No queue yet.
    pub(crate) fn bare() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A queue without tasks.
    pub(crate) fn new() -> Self {
        let desk = Self::bare();
        desk.client();
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path("shop.db")
    }

    /// The program's own client: it stores, and runs on demand.
    pub(crate) fn client(&self) -> Client {
        kinds::builder(self.db()).environment([("", ""); 0]).mode(Mode::Hold).open().unwrap()
    }

    /// A command of `litework`, not yet run: nothing of this test's environment holds there but what is said.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_litework"));
        self.furnish(&mut command, arguments);
        command.env("LITEWORK_DB", self.db());
        command
    }

    /// The same, which hears signals also where whoever runs the tests lets their children ignore some.
    #[cfg(target_os = "linux")]
    pub(crate) fn hearing(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/env");
        command.arg("--default-signal=INT,TERM,HUP,QUIT").arg(env!("CARGO_BIN_EXE_litework"));
        self.furnish(&mut command, arguments);
        command.env("LITEWORK_DB", self.db());
        command
    }

    /// The same of the shop's own program.
    pub(crate) fn shop_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("shop_commands"));
        self.furnish(&mut command, &[&["tasks"], arguments].concat());
        command
    }

    /// The shop's own program, running tasks.
    pub(crate) fn worker(&self) -> Command {
        let mut command = Command::new(program("shop_commands"));
        self.furnish(&mut command, &["work"]);
        command
    }

    fn furnish(&self, command: &mut Command, arguments: &[&str]) {
        command.args(arguments).env_clear().current_dir(self.folder.path());
        command.envs([("TZ", "UTC"), ("USER", "ada"), ("LANG", "C.UTF-8")]);
        command.stdin(Stdio::null());
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    pub(crate) fn shop(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.shop_command(arguments).output().unwrap())
    }

    /// A command of the shop's program on one of its two queues.
    pub(crate) fn branches(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.branches_command(arguments).output().unwrap())
    }

    /// The same, not yet run.
    pub(crate) fn branches_command(&self, arguments: &[&str]) -> Command {
        self.group("branches", arguments)
    }

    /// A command of the shop's program as its till of the night has it.
    pub(crate) fn night(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.group("night", arguments).output().unwrap())
    }

    fn group(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("shop_commands"));
        self.furnish(&mut command, &[&[name], arguments].concat());
        command
    }

    /// What a command prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    /// Stores a task by the command line, and gives its id.
    pub(crate) fn add(&self, arguments: &[&str]) -> TaskId {
        let ran = self.run(&[&["add"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out.trim().parse().unwrap()
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { out: text(&output.stdout), err: text(&output.stderr), code }
    }

    /// Its data; there is nothing else on standard output.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// That it ended so, and said this.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, said: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(said), "{said:?} is not in {}", self.err);
        assert_eq!(self.out, "");
    }

    #[track_caller]
    pub(crate) fn says(&self, said: &str) {
        assert_eq!(self.code, 0, "{}", self.err);
        assert!(self.out.contains(said), "{said:?} is not in {}", self.out);
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// When something in this folder was last changed.
fn newest(folder: &Path) -> Option<SystemTime> {
    let inside = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    inside.map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max().flatten()
}

/// A program that cargo puts beside the folder of this test program, if it has been built.
fn program(name: &str) -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let profile = built.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if changed(&path) < newest(&root.join("src/cli")).max(changed(&root.join("src/cli.rs"))) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--all-features", "--example", name]);
        cargo.current_dir(root).env("CARGO_TARGET_DIR", profile.parent().unwrap());
        assert!(cargo.status().unwrap().success(), "the program {name} does not build");
    }
    path
}
