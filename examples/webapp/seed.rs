//! Some history, so that lists and the dashboard have something to show: tasks in each state, some with names that
//! nobody would choose.

use std::time::Duration;

use litework::{Client, Context, Exclusive, Failure, Result, Schedule, Scope, task};

/// Names that a page which forgets to escape would trip over.
const HOSTILE: [&str; 8] = [
    "<script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    "\"><svg onload=document.title='hacked'>",
    "'; DROP TABLE litework_task; --",
    "{{ 7 * 7 }} ${7 * 7} <%= 7 * 7 %> &lt;b&gt;",
    "\u{202e}txt.exe \u{202d}\u{2066}\u{200f}שלום",
    "a_name_without_any_place_to_break_it_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘ 👩‍👩‍👧‍👦 ﷽",
];
const SUCCEEDED: usize = 240;
const FAILED: usize = 60;
const CANCELLED: usize = 30;
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Ends as it is told.
#[task(name = "shop.history", called = "{name}", attempts = 1, steps = 10_u32)]
pub(crate) fn history(ctx: &Context, name: &str, ending: &str) -> Result<String> {
    ctx.progress().unit("boxes").reach(4).stage(name).message(name);
    match ending {
        "told" => Err(Failure::give_up(format!("refused: {name}")).code("refused").for_user(name)),
        "broken" => Err(format!("10.0.0.7 timed out: {name}"))?,
        "lingers" => loop {
            ctx.check()?;
            std::thread::sleep(Duration::from_millis(100));
        },
        _ => {
            ctx.artifact(format!("{ending}.txt")).text(name)?;
            ctx.progress().reach(10);
            Ok(name.to_owned())
        }
    }
}

pub(crate) fn fill(tasks: &Client) -> Result<()> {
    let names = || HOSTILE.into_iter().chain((1..).map(|_| "Delivery of the day"));
    let owner = |number: usize| if number.is_multiple_of(2) { "ada" } else { "bob" };
    let many = |ending: &'static str, count: usize| {
        let numbered = names().take(count).enumerate();
        numbered.map(move |(number, name)| history::with(name, ending).owner(owner(number / 2)))
    };
    let told: Vec<_> = many("told", FAILED / 2).collect();
    let broken = many("broken", FAILED / 2);
    let ended = tasks.enqueue_many(many("well", SUCCEEDED).chain(told).chain(broken))?;
    for handle in &ended {
        // Some fail, as they should.
        let _end = handle.wait(Duration::from_secs(60));
    }
    // One holds the lock; the second finds it held, and is skipped.
    let locked = || Exclusive::lock("stocktaking");
    for _ in 0..2 {
        let call = history::with("Stocktaking", "lingers").owner("ada").exclusive(locked());
        tasks.enqueue(call)?;
    }
    let later = |call: litework::Call<_>| call.run_after(A_DAY);
    let scheduled = tasks.enqueue_many(many("well", 20).map(later))?;
    let after = scheduled.iter().map(litework::Handle::id).take(1);
    tasks.enqueue(history::with("Invoice after the delivery", "well").owner("ada").after(after))?;
    for handle in tasks.enqueue_many(many("well", CANCELLED).map(later))? {
        handle.cancel()?;
    }
    tasks.pause(&Scope::queue("nightly"))?;
    tasks.enqueue_many(many("well", 20).map(|call| call.queue("nightly")))?;
    plan(tasks)
}

/// Schedules as people add and change them.
fn plan(tasks: &Client) -> Result<()> {
    let schedules = tasks.schedules();
    for (name, described) in
        [("stocktaking", "Counts what is in the warehouse"), (HOSTILE[3], HOSTILE[1])]
    {
        if schedules.get(name).is_err_and(|error| error.code() == "no_schedule") {
            let call = history::with(described, "well").owner("ada");
            schedules.add(Schedule::every(name, A_DAY, call).describe(described))?;
            schedules.run_now(name)?;
        }
    }
    Ok(())
}
