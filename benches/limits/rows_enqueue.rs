//! Rows `enqueue_*`: storing tasks that another process runs.

use litework::Durability;

use crate::bench::{Bench, LEVELS};
use crate::enqueue::{Steady, bulk as bulk_rate, raw_bulk};
use crate::report::Row;
use crate::target::Target;

/// A lone caller against one transaction a task.
pub(crate) fn one(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let both = steady(bench, level);
        let compared = bench.try_compare(Target::AtLeast(0.9), || both.lone(), || both.raw(1));
        compared.expect("there is room").row("enqueue_1", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}

/// Eight callers at once.
pub(crate) fn eight(bench: &Bench) -> Vec<Row> {
    at_once(bench, "enqueue_8", 8)
}

/// Sixty-four callers at once.
pub(crate) fn sixty_four(bench: &Bench) -> Vec<Row> {
    at_once(bench, "enqueue_64", 64)
}

/// Callers at once against a group commit of as many operations.
fn at_once(bench: &Bench, name: &str, callers: usize) -> Vec<Row> {
    let level = Durability::Full;
    let both = steady(bench, level);
    let target = Target::AtLeast(0.9);
    let compared = bench.try_compare(target, || both.at_once(callers), || both.raw(callers));
    vec![compared.expect("there is room").row(name, "tasks/s").at(level)]
}

fn steady(bench: &Bench, level: Durability) -> Steady {
    Steady::new(&bench.folder, bench.pace, level).expect("there is room")
}

/// A thousand tasks a call; each block has new files, which it fills itself.
pub(crate) fn bulk(bench: &Bench) -> Vec<Row> {
    let row = |level| {
        let compared = bench.try_compare(
            Target::AtLeast(0.75),
            || bulk_rate(&bench.folder, bench.pace, level),
            || raw_bulk(&bench.folder, bench.pace, level),
        );
        compared.expect("there is room").row("enqueue_bulk", "tasks/s").at(level)
    };
    LEVELS.into_iter().map(row).collect()
}
