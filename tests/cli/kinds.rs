//! The tasks of a small shop, for tests of its commands.

use litework::{Builder, Client, Context, Failure, Result, task};

/// Says hello.
#[task(called = "Hello {name}")]
pub(crate) fn greet(name: &str) -> String {
    format!("hello {name}")
}

/// Fails for good.
#[task(attempts = 1)]
pub(crate) fn refuse(text: &str) -> Result<()> {
    Err(Failure::give_up(text.to_owned()))
}

/// Counts, and says so.
#[task(queue = "slow")]
pub(crate) fn count(ctx: &Context, to: u64) -> u64 {
    ctx.progress().total(to).unit("sheep").stage("counting");
    for sheep in 1..=to {
        ctx.progress().advance(1);
        ctx.log(format!("sheep {sheep}"));
    }
    to
}

/// Holds a secret.
#[task]
pub(crate) fn login(user: &str, password: &str) -> usize {
    user.len() + password.len()
}

/// Runs until its process is killed.
#[task(queue = "slow")]
pub(crate) fn stay() {
    println!("it runs");
    loop {
        std::thread::park();
    }
}

/// Greets whoever gets a letter, through the queue of greetings.
#[task(client = "mail")]
pub(crate) fn post(ctx: &Context, to: &str) -> Result<()> {
    ctx.clients()?.enqueue(greet::with(to))?;
    Ok(())
}

/// A client of these kinds, as the program of the shop has it.
pub(crate) fn builder(db: impl Into<std::path::PathBuf>) -> Builder {
    Client::builder(db)
        .register(greet)
        .register(refuse)
        .register(count)
        .register(login)
        .register(stay)
}
