//! What the shop does in the background.

use std::io::Write as _;
use std::time::Duration;

use litework::sqlite::{ContextExt, WriteError};
use litework::{Builder, Context, Failure, Result, task};
use serde::{Deserialize, Serialize};

/// Stands for a database that takes its time.
const A_PAGE_TAKES: Duration = Duration::from_millis(100);
const ORDERS_ON_A_PAGE: u32 = 25;
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn register(builder: Builder) -> Builder {
    let builder = builder.register(export_orders).register(count_orders).register(summarize);
    builder.register(crate::seed::history)
}

/// How an export is to end, so that each end can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    Well,
    /// With an error whose words are meant for people.
    Told,
    /// With one whose words are none of their business.
    Broken,
}

/// Writes all orders into a file, page by page.
#[task(
    called = "Export of {title}",
    steps = u64::from(*pages),
    attempts = 3,
    retry = [1s]
)]
pub(crate) fn export_orders(ctx: &Context, title: &str, pages: u32, ending: Ending) -> Result<u32> {
    let mut file = ctx.artifact("orders.csv").media_type("text/csv").file()?;
    writeln!(file, "number,cents")?;
    ctx.progress().unit("pages").stage("reading the orders");
    for page in 0..pages {
        ctx.check()?; // ends here if somebody cancels it, or the program ends
        std::thread::sleep(A_PAGE_TAKES);
        match ending {
            Ending::Told if page * 2 >= pages => {
                let error = format!("no orders from page {page} on");
                let told =
                    "Half of these orders are still in the warehouse. Please ask for fewer pages.";
                return Err(Failure::give_up(error).code("in_warehouse").for_user(told));
            }
            Ending::Broken if page * 2 >= pages => Err("db-3.internal refused: password=hunter2")?,
            _ => {}
        }
        for order in page * ORDERS_ON_A_PAGE..(page + 1) * ORDERS_ON_A_PAGE {
            writeln!(file, "{},{}", 1_000 + order, 995 + order % 7 * 100)?;
        }
        ctx.progress().advance(1);
    }
    file.finish()?;
    let id = ctx.id().map(|id| id.to_string());
    // The shop's own row and the end of the task are one commit, so there is one row however often it was tried.
    ctx.complete_in(|tx| {
        let row = "INSERT INTO shop_export (task, owner, title, pages) VALUES (?1, ?2, ?3, ?4)";
        tx.connection().execute(row, (id, ctx.owner(), title, pages)).map_err(WriteError::from)?;
        Ok::<_, WriteError>(pages)
    })
    .map_err(Failure::from)
}

/// So quick that nobody sees it wait.
#[task(called = "Count of all orders")]
pub(crate) fn count_orders() -> u32 {
    std::thread::sleep(3 * A_PAGE_TAKES);
    1_234
}

/// Leaves a file to be downloaded. Whoever asks again while it is made is led to the one that is made already.
#[task(called = "Summary for {customer}", unique, steps = 10_u32)]
pub(crate) fn summarize(ctx: &Context, customer: &str) -> Result<()> {
    for _ in 0..10 {
        ctx.check()?;
        std::thread::sleep(A_PAGE_TAKES);
        ctx.progress().advance(1);
    }
    let text = format!("Summary for {customer}\n\n1234 orders\n");
    ctx.artifact("summary.txt")
        .media_type("text/plain")
        .expires_after(A_DAY)
        .copy(text.as_bytes())?;
    Ok(())
}
