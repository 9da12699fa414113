//! Tasks that do what they are told, in a child only; in the test program itself they are harmless.

use std::time::Duration;

use litework::{Builder, Client, Context, Failure, Handle, Mode, Pending, Result, Task};
use serde::{Deserialize, Serialize};

use super::child::{
    Child, Field, PATIENCE, append, number, read_word, rest, role, say, var, wait_for_word,
};

/// A task whose arguments say what it does to its process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) what: String,
}

pub(crate) fn deed(what: &str) -> Deed {
    Deed { what: what.to_owned() }
}

impl Task for Deed {
    const NAME: &'static str = "deed";
    type Output = String;

    fn run(self, ctx: &Context) -> Result<String> {
        if let Some(log) = var("LW_LOG") {
            let line = format!("run {} {} {}", ctx.id().unwrap(), self.what, ctx.attempt());
            append(log.as_ref(), &line);
        }
        if role().is_some() {
            act(self.what.trim_end(), ctx)?;
        }
        Ok(format!("{} by {}", self.what, std::process::id()))
    }
}

fn act(what: &str, ctx: &Context) -> Result<()> {
    match what {
        "panic" => panic!("the deed is done"),
        "fail" => return Err(std::io::Error::other("the deed was not done").into()),
        "abort" => std::process::abort(),
        "exit 0" => std::process::exit(0),
        "exit 3" => std::process::exit(3),
        "overflow" => {
            overflow(0);
        }
        "allocate" => {
            let hoard: Vec<u8> = vec![1; 4 << 30];
            std::hint::black_box(&hoard);
        }
        "loop" => {
            say("at body");
            loop {
                std::hint::spin_loop();
            }
        }
        "wait" => {
            say("at body");
            wait_for_word();
        }
        "read" => {
            say("at body");
            read_word();
        }
        "until stopped" => return until_stopped(ctx),
        _ => {}
    }
    Ok(())
}

fn until_stopped(ctx: &Context) -> Result<()> {
    say("at body");
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if ctx.is_stopping() {
            say("told to stop");
            return Err(Failure::cancelled());
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + room[7]
}

/// Arguments that panic when they are dropped.
#[derive(Serialize, Deserialize)]
pub(crate) struct BadArguments {
    pub(crate) text: String,
}

impl Drop for BadArguments {
    fn drop(&mut self) {
        assert!(role().is_none(), "the arguments went down with {}", self.text);
    }
}

impl Task for BadArguments {
    const NAME: &'static str = "bad_arguments";
    type Output = ();

    fn run(self, _ctx: &Context) -> Result<()> {
        Ok(())
    }
}

/// A return value that panics when it is dropped.
#[derive(Serialize, Deserialize)]
pub(crate) struct BadResult;

#[derive(Serialize, Deserialize)]
pub(crate) struct Loud(u8);

impl Drop for Loud {
    fn drop(&mut self) {
        assert!(role().is_none(), "the result went down with {}", self.0);
    }
}

impl Task for BadResult {
    const NAME: &'static str = "bad_result";
    type Output = Loud;

    fn run(self, _ctx: &Context) -> Result<Loud> {
        Ok(Loud(7))
    }
}

/// A builder that knows all of them, in this process.
pub(crate) fn builder(field: &Field) -> Builder {
    known(Client::builder(field.db()))
}

fn known(builder: Builder) -> Builder {
    builder.register(Deed::define()).register(BadArguments::define()).register(BadResult::define())
}

/// A child: opens the file, enqueues what it is told to, and rests.
pub(crate) fn serve() {
    let mut builder = known(Client::builder(var("LW_DB").unwrap()));
    if number("LW_APPLICATION") > 0 {
        builder = builder.application_file();
    }
    let client = match role().as_deref() {
        Some("inline") => builder,
        Some("enqueue") => builder.mode(Mode::Enqueue),
        _ => builder.workers(usize::try_from(number("LW_THREADS").max(1)).unwrap()),
    };
    let client = client.open().unwrap();
    say("ready");
    if number("LW_LATER") > 0 {
        read_word();
    }
    for _ in 0..number("LW_MANY") {
        client.enqueue(deed("nothing").call().at_most_once(number("LW_ONCE") > 0)).unwrap();
    }
    if let Some(what) = var("LW_DEED") {
        let attempts = u32::try_from(number("LW_ATTEMPTS")).unwrap();
        let call = deed(&what).call().at_most_once(number("LW_ONCE") > 0);
        answered(client.enqueue(call.attempts(if attempts > 0 { attempts } else { 5 })));
    }
    if let Some(what) = var("LW_THEN") {
        answered(client.enqueue(deed(&what)));
    }
    if number("LW_PENDING") > 0 {
        client.run_pending(&Pending::all()).unwrap();
        say("ran");
    }
    rest();
    client.shutdown(Duration::ZERO).unwrap();
    say("shut down");
}

fn answered(handle: Result<Handle<Deed>, litework::Error>) {
    match handle {
        Ok(handle) => say(&format!("enqueued {}", handle.id())),
        Err(error) => say(&format!("refused {error}")),
    }
}

/// A child with a pool of one thread.
pub(crate) fn pool(field: &Field, more: &[(&'static str, String)]) -> Child {
    start("pool", field, more)
}

/// A child that runs its tasks in its own call, and what others have left to it when it has none.
pub(crate) fn inline(field: &Field, more: &[(&'static str, String)]) -> Child {
    let mut variables = vec![("LW_PENDING", "1".to_owned())];
    variables.extend_from_slice(more);
    start("inline", field, &variables)
}

pub(crate) fn start(role: &str, field: &Field, more: &[(&'static str, String)]) -> Child {
    let mut variables = field.variables();
    variables.extend_from_slice(more);
    Child::start(role, &variables)
}

pub(crate) fn does(what: &str) -> (&'static str, String) {
    ("LW_DEED", what.to_owned())
}

pub(crate) fn once() -> (&'static str, String) {
    ("LW_ONCE", "1".to_owned())
}
