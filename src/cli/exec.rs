//! Front: programs as tasks, a list of commands that survives whoever runs them. The words; `child` runs one.
//!
//! ```text
//!   add --exec -- convert a.png a.jpg  ──►  {"argv": ["convert", "a.png", "a.jpg"]}, stored
//!   work --exec --allow convert        ──►  no shell; its output is the log, its tail an artifact
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::child::{self, Ended, Program};
use crate::context::Context;
use crate::error::Error;
use crate::options::Options;
use crate::outcome::{Failure, Result};
use crate::registry::Task;

/// The words of one call: the program and what it is given.
const ARGV_MAX: usize = 1_000;
/// What a program finds of its worker's environment, unless the worker allows more.
const ENVIRONMENT: [&str; 7] = ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TZ", "USER"];

/// Where programs are looked for by a worker that has no `PATH`, as `execvp` does.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// One program to be run, as it is stored: no shell reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    /// The program, then each of its arguments.
    pub(super) argv: Vec<String>,
    /// The folder it starts in; that of the worker where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dir: Option<String>,
    /// What it finds in its environment beside what its worker hands on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
}

/// What became of a program that has ended well.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Exit {
    code: i32,
    /// Bytes that it has written, in all.
    output: u64,
}

impl Task for Exec {
    const NAME: &'static str = "exec";
    type Output = Exit;

    /// A program that has run may have done anything, so nobody runs it again who was not told to.
    fn options() -> Options {
        Options::new().attempts(1).description("A program, run by `litework work --exec`")
    }

    fn called(&self) -> Option<String> {
        Some(self.argv.join(" "))
    }

    fn run(self, ctx: &Context) -> Result<Exit> {
        self.check().map_err(|error| Failure::give_up(error).code("bad_command"))?;
        let allowed = ctx.state::<Allowed>()?;
        allowed.check(&self)?;
        let handed = allowed.environment();
        let env = handed.iter().chain(&self.env).map(|(name, value)| (&**name, &**value));
        let (dir, env) = (self.dir.as_deref(), env.collect());
        let file = allowed.file_of(&self.argv[0])?;
        let ended = child::run(ctx, &Program { file, argv: &self.argv, dir, env })?;
        ended.left(ctx)?;
        self.exit(&ended)
    }
}

impl Exec {
    /// Whether it can be stored and run at all.
    pub(super) fn check(&self) -> std::result::Result<(), Error> {
        let refuse = |place: String, found: &str, allowed| {
            Err(Error::invalid("bad_command", place, found, allowed))
        };
        if self.argv.first().is_none_or(String::is_empty) {
            return refuse("argv".to_owned(), "empty", "the program, then its arguments");
        }
        if self.argv.len() > ARGV_MAX {
            return refuse("argv".to_owned(), "longer", "at most 1000 words");
        }
        if let Some(place) = self.argv.iter().position(|word| word.contains('\0')) {
            return refuse(format!("argv[{place}]"), &self.argv[place], "text without NUL");
        }
        let sound = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        let mut env = self.env.iter();
        match env.find(|(name, value)| !sound(name) || value.contains('\0')) {
            Some((name, _)) => refuse("env".to_owned(), name, "names without = and NUL"),
            None => Ok(()),
        }
    }

    fn exit(&self, ended: &Ended) -> Result<Exit> {
        let program = &self.argv[0];
        match (ended.code, ended.signal) {
            (Some(0), _) => Ok(Exit { code: 0, output: ended.bytes }),
            (Some(code), _) => Err(Failure::from(format!("{program} has ended with code {code}"))
                .code("exit_code")
                .data(json!({ "code": code }))
                .expected()),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Err(Failure::from(format!("{program} was ended by signal {signal}"))
                    .code("signal")
                    .data(json!({ "signal": signal }))
                    .expected())
            }
        }
    }
}

// No doc comment: it would be taken for the help of whatever this is part of.
#[derive(Debug, clap::Args)]
pub(crate) struct Call {
    /// Store a program to be run, which stands behind `--` with its arguments: `litework work --exec` runs it, and no shell.
    #[arg(long, requires = "argv", conflicts_with_all = ["kind", "args"])]
    exec: bool,
    /// With --exec: the folder it starts in [default: that of the worker].
    #[arg(long, value_name = "DIR", requires = "exec")]
    dir: Option<String>,
    /// With --exec: a variable of its environment; may be said several times.
    #[arg(long, value_name = "NAME=VALUE", requires = "exec")]
    env: Vec<String>,
    /// With --exec: the program and its arguments.
    #[arg(last = true, value_name = "PROGRAM", requires = "exec")]
    argv: Vec<String>,
}

impl Call {
    /// As they are stored; none where it is no program that is to be run.
    pub(crate) fn arguments(&self) -> std::result::Result<Option<String>, Error> {
        if !self.exec {
            return Ok(None);
        }
        let pair = |text: &String| {
            let allowed = "NAME=VALUE";
            let pair =
                text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            pair.ok_or_else(|| Error::invalid("bad_variable", "env", text.as_str(), allowed))
        };
        let env = self.env.iter().map(pair).collect::<std::result::Result<_, _>>()?;
        let exec = Exec { argv: self.argv.clone(), dir: self.dir.clone(), env };
        exec.check()?;
        serde_json::to_string(&exec)
            .map(Some)
            .map_err(|error| Error::invalid("bad_json", "command", error, "text"))
    }

    /// On one line, for people.
    pub(crate) fn line(&self) -> Option<String> {
        self.exec.then(|| self.argv.join(" "))
    }
}

/// Which programs a worker runs; none unless it is said.
#[derive(Debug, clap::Args)]
pub(crate) struct Permits {
    /// Run programs that `add --exec` has stored: those that --allow names.
    #[arg(long, requires = "allow")]
    exec: bool,
    /// With --exec: a program that may be run, as it stands first in its command; may be given several times. Where it lies
    /// is looked up once, when the worker starts; what it is given is whatever the task says.
    #[arg(long, value_name = "PROGRAM", requires = "exec")]
    allow: Vec<String>,
    /// Run any program: whoever may write the file may then run anything as this user.
    #[arg(long, conflicts_with_all = ["exec", "allow"])]
    exec_any: bool,
    /// Hand on this variable of the worker to the programs it runs; may be given several times.
    #[arg(long, value_name = "NAME")]
    pass_env: Vec<String>,
}

impl Permits {
    /// What may be run; none where no program may.
    pub(super) fn allowed(&self) -> std::result::Result<Option<Allowed>, Error> {
        let is_name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(name) = self.pass_env.iter().find(|name| !is_name(name)) {
            let allowed = "the name of a variable, without = and NUL";
            return Err(Error::invalid("bad_variable", "pass-env", name.as_str(), allowed));
        }
        let variables = self.pass_env.clone();
        Ok(match (self.exec, self.exec_any) {
            (false, false) => None,
            (true, _) => {
                let found = self.allow.iter().map(|word| (word.clone(), found(word)));
                Some(Allowed { programs: Some(found.collect()), variables })
            }
            (false, true) => Some(Allowed { programs: None, variables }),
        })
    }
}

/// Where a program lies, as a shell of the worker would find it.
fn found(word: &str) -> Option<PathBuf> {
    if word.contains('/') {
        return std::path::absolute(word).ok();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(word)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// Whether a variable decides which program it is that runs.
fn decides(name: &str) -> bool {
    name == "PATH" || name.starts_with("LD_") || name.starts_with("DYLD_")
}

/// What a worker runs: a state of its client.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    /// As they stand first in `argv`, and where each lies, if it lies anywhere; none: any.
    pub(super) programs: Option<BTreeMap<String, Option<PathBuf>>>,
    /// Variables of the worker that are handed on beside the usual ones.
    pub(super) variables: Vec<String>,
}

impl Allowed {
    fn check(&self, exec: &Exec) -> Result<()> {
        let program = &exec.argv[0];
        let Some(programs) = &self.programs else { return Ok(()) };
        let refuse = |told: String| Err(Failure::give_up(told).code("not_allowed").expected());
        if !programs.contains_key(program) {
            let allowed = programs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let told = format!("not_allowed: argv[0] is {program:?}; this worker runs {allowed}");
            return refuse(told);
        }
        if let Some(name) = exec.env.keys().find(|name| decides(name)) {
            let told = format!(
                "not_allowed: env has {name:?}, which decides what runs; only a worker with --exec-any takes it"
            );
            return refuse(told);
        }
        Ok(())
    }

    /// The file that runs for this word.
    fn file_of<'a>(&'a self, word: &'a str) -> Result<&'a Path> {
        let Some(programs) = &self.programs else { return Ok(Path::new(word)) };
        let file = programs.get(word).and_then(Option::as_deref);
        file.ok_or_else(|| {
            let told =
                format!("cannot_start: argv[0] is {word:?}: the worker has found no such program");
            Failure::give_up(told).code("cannot_start").expected()
        })
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let names = ENVIRONMENT.into_iter().chain(self.variables.iter().map(String::as_str));
        names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
    }
}
