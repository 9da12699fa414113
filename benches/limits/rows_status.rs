//! Row `status_1m`: how long the command `litework status` takes as a whole, from the start of its process, with a file of a
//! million tasks that have ended, a hundred thousand that are ready and twenty thousand that have failed.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bench::Bench;
use crate::report::Row;
use crate::rows_depth::many_of_all;
use crate::stats::quantile;
use crate::target::Target;

/// How often it is asked.
const TIMES: usize = 30;
const TOOL: Option<&str> = option_env!("CARGO_BIN_EXE_litework");

pub(crate) fn status(bench: &Bench) -> Vec<Row> {
    let program = TOOL.expect("the program is built with the feature that this row asks for");
    let file = many_of_all(bench, bench.pick(1_000_000, 20_000));
    let ask = |words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).arg("--db").arg(file.path()).stdout(Stdio::null());
        let began = Instant::now();
        let ended = command.status().expect("it starts");
        assert!(ended.success(), "litework {words:?} ends with {ended}");
        began.elapsed().as_secs_f64() * 1e3
    };
    let times = bench.pick(TIMES, 3);
    let quantiles = |words: &[&str]| {
        let mut took: Vec<f64> = (0..times).map(|_| ask(words)).collect();
        (quantile(&mut took, 0.95), quantile(&mut took, 0.5))
    };
    let (ours, middle) = quantiles(&["status", "--json"]);
    let (_, alone) = quantiles(&["cron", "next", "@daily"]);
    let note =
        format!("median {middle:.1}, of which a process that opens no file takes {alone:.1}");
    vec![Row::fixed("status_1m", ours, "ms p95", Target::AtMost(100.0)).note(note)]
}
