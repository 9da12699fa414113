//! What the shop does in the background.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use litework::{Builder, Context, Failure, Result, task};
use serde_json::{Value, json};

/// Exports the orders of a customer.
#[task(called = "Export of {customer}", steps = u64::from(*pages))]
pub(crate) fn export(ctx: &Context, customer: &str, pages: u32) -> Result<u32> {
    ctx.progress().unit("pages").stage(format!("writing the orders of {customer}"));
    for page in 0..pages {
        ctx.check()?;
        ctx.progress().advance(1).message(format!("page {page} is written"));
    }
    ctx.artifact("orders.csv").media_type("text/csv").copy("a;b\n1;2\n".as_bytes())?;
    ctx.artifact("summary").text("two orders")?;
    ctx.artifact("counts").json(&serde_json::json!({ "orders": 2 }))?;
    ctx.artifact("shop").url("/orders")?;
    Ok(pages)
}

/// Fails for good, and says something to its user where it is asked to.
#[task(attempts = 1)]
pub(crate) fn refuse(code: &str, told: Option<&str>) -> Result<()> {
    let failure = Failure::give_up("SMTP 550 at mx1.internal: password=hunter2").code(code);
    Err(match told {
        Some(text) => failure.for_user(text),
        None => failure,
    })
}

/// Tells all it knows to everybody.
#[task(attempts = 1)]
pub(crate) fn leak(
    ctx: &Context,
    letter: serde_json::Value,
    fails: bool,
) -> Result<serde_json::Value> {
    let plain = letter["plain"].as_str().unwrap_or_default();
    ctx.log(format!("it is told token={plain}"));
    ctx.progress().stage(format!("with {plain}")).message(format!("password: {plain}"));
    if fails {
        let failure = Failure::give_up(format!("refused: password={plain}")).code("refused");
        return Err(failure.data(letter));
    }
    Ok(letter)
}

/// Leaves what it is told to, under the name that it is told.
#[task(called = "{name}", attempts = 1)]
pub(crate) fn stash(ctx: &Context, name: &str, artifact: &str, text: &str) -> Result<()> {
    let _ = name;
    ctx.progress().message(text);
    ctx.log(text);
    ctx.artifact(artifact).media_type("text/html").copy(text.as_bytes())?;
    Ok(())
}

/// Fails at length.
#[task(attempts = 1)]
pub(crate) fn ramble(lines: u32) -> Result<()> {
    let told: Vec<String> = (0..lines).map(|line| format!("line {line} of it")).collect();
    Err(Failure::give_up(told.join("\n")))
}

/// Leaves something for an hour.
#[task]
pub(crate) fn lend(ctx: &Context) -> Result<()> {
    ctx.artifact("loan.txt").expires_after(Duration::from_secs(3_600)).copy("a".as_bytes())?;
    ctx.artifact("receipt").text("lent")?;
    Ok(())
}

/// What a test says to a task that lingers.
pub(crate) struct Words {
    pub(crate) said: Mutex<Receiver<&'static str>>,
}

/// Does what it is told, until it is cancelled or nobody says more.
#[task]
pub(crate) fn linger(ctx: &Context) -> Result<()> {
    let said = ctx.state::<Words>()?.said.lock().unwrap();
    ctx.progress().total(100);
    loop {
        match said.recv_timeout(Duration::from_millis(5)) {
            Ok("half") => {
                ctx.progress().reach(50).stage("half of it");
            }
            Ok(stage) => {
                ctx.progress().stage(stage);
            }
            Err(RecvTimeoutError::Timeout) => ctx.check()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// One at a time.
#[task(exclusive = "till")]
pub(crate) fn count_till() {}

/// Pays somebody, and tells more of it than it should.
#[task(attempts = 1, queue = "money")]
pub(crate) fn pay(ctx: &Context, to: &str, password: &str, fails: bool) -> Result<Value> {
    ctx.step("look up the account", || Ok(json!({ "secret": password })))?;
    ctx.step("api_token", || Ok(password.to_owned()))?;
    ctx.progress().total(2).advance(1).stage(format!("paying {to}"));
    ctx.log(format!("signing in to {to} with password={password}"));
    ctx.artifact(format!("receipt of {to}")).text("paid")?;
    if fails {
        let failure = Failure::give_up(format!("{to} refused password={password}"));
        return Err(failure.data(json!({ "token": password, "to": to })));
    }
    Ok(json!({ "cookie": password }))
}

/// Fails with what it is told.
#[task(attempts = 1)]
pub(crate) fn stumble(text: &str) -> Result<()> {
    Err(Failure::give_up(text))
}

pub(crate) fn registered(builder: Builder) -> Builder {
    builder
        .register(export)
        .register(refuse)
        .register(leak)
        .register(stash)
        .register(ramble)
        .register(lend)
        .register(linger)
        .register(count_till)
        .register(pay)
        .register(stumble)
}
