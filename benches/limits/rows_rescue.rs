//! Row `rescue`: from the death of a process to the start of its task in another, which has nothing else to do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use litework::{Client, Context, Durability, Result, Task};
use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::helper::{self, Helper};
use crate::report::Row;
use crate::stats::quantile;
use crate::target::Target;

const LEVEL: Durability = Durability::Full;
/// Longer than a lease.
const PATIENCE: Duration = Duration::from_secs(60);
/// The living look this often, so a death falls anywhere in it.
const LOOK_MS: u64 = 500;

/// Tells that it begins; in the child it then waits to be killed.
#[derive(Debug, Serialize, Deserialize)]
struct Survive {}

/// Where a body says when it began.
struct Began(Sender<Instant>);

impl Task for Survive {
    const NAME: &'static str = "survive";
    type Output = ();

    fn run(self, ctx: &Context) -> Result<()> {
        if helper::role().is_some() {
            println!("begun");
            loop {
                std::thread::park();
            }
        }
        ctx.state::<Began>()?.0.send(Instant::now())?;
        Ok(())
    }
}

/// The child: begins a task, and never ends it.
pub(crate) fn child(file: &std::path::Path) {
    let builder = Client::builder(file).register(Survive::define()).workers(1);
    let client = builder.durability(helper::level()).open().expect("the file is ours");
    client.enqueue(Survive {}).expect("there is room");
    helper::await_parent();
}

/// Kills such children, one after the other, at any time between two looks of the pool of this process.
pub(crate) fn rescue(bench: &Bench) -> Vec<Row> {
    let file = bench.empty();
    let (tell, heard) = channel();
    let builder = Client::builder(file.path()).register(Survive::define()).workers(1);
    let builder = builder.state(Began(tell)).durability(LEVEL);
    let client = builder.open().expect("the file is ours");
    let mut random = fastrand::Rng::with_seed(1);
    let mut found: Vec<f64> = (0..bench.pick(60, 4))
        .map(|_| {
            let victim = Helper::start("victim", &file.path(), LEVEL).expect("it starts");
            assert_eq!(victim.line(PATIENCE).as_deref(), Some("begun"), "the child begins");
            std::thread::sleep(Duration::from_millis(random.u64(0..LOOK_MS)));
            milliseconds(victim, &heard)
        })
        .collect();
    client.shutdown(Duration::from_secs(1)).expect("nothing runs");
    let count = found.len();
    let (p50, p99) = (quantile(&mut found, 0.5), quantile(&mut found, 0.99));
    let note = format!("{count} kills, p50 {p50:.0}, max {:.0}", found[count - 1]);
    vec![Row::fixed("rescue", p99, "ms p99", Target::AtMost(1_000.0)).at(LEVEL).note(note)]
}

/// From the kill to the start of its task here.
fn milliseconds(mut victim: Helper, heard: &Receiver<Instant>) -> f64 {
    let killed = Instant::now();
    victim.child.kill().expect("it lives");
    let began = heard.recv_timeout(PATIENCE).expect("this process takes the task over");
    began.saturating_duration_since(killed).as_secs_f64() * 1e3
}
