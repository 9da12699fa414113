//! A baseline of this machine: what is printed of it, what it is compared with, and that nothing of it stays.

use std::io::BufReader;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::desk::Desk;
use crate::work::{signal, until};

/// What stands in a folder.
fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn names(report: &Value) -> Vec<&str> {
    report["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn rows_stand_beside_their_limits_and_nothing_is_left_in_the_folder() {
    let desk = Desk::bare();
    let report = desk.json(&["bench", "--quick", "enqueue_1", "drain"]);
    assert_eq!(names(&report), ["enqueue_1", "drain"]);
    for row in report["rows"].as_array().unwrap() {
        let number = |side: &str, field: &str| row[side][field].as_f64().unwrap();
        for side in ["litework", "sqlite"] {
            let (min, median, max) =
                (number(side, "min"), number(side, "median"), number(side, "max"));
            assert!(0.0 < min && min <= median && median <= max, "{row}");
        }
        let (low, ratio, high) =
            (number("ratio", "low"), number("ratio", "median"), number("ratio", "high"));
        assert!(0.0 < low && low <= ratio && ratio <= high, "{row}");
        assert_eq!((row["unit"].as_str(), row["blocks"].as_u64()), (Some("tasks/s"), Some(3)));
    }
    assert_eq!((report["schema"].as_u64(), report["durability"].as_str()), (Some(1), Some("full")));
    assert_eq!(report["litework"], env!("CARGO_PKG_VERSION"));
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    let sync = |which: &str| report["sync_us"][which].as_f64().unwrap();
    assert!(sync("p95") >= sync("median"));
    assert_eq!(entries(desk.folder()), [""; 0]);
}

#[test]
fn a_run_is_compared_with_the_one_before() {
    let desk = Desk::bare();
    let before = desk.run(&["bench", "--quick", "enqueue_1", "mixed", "--json"]);
    std::fs::write(desk.path("before.json"), &before.out).unwrap();
    let again = ["bench", "--quick", "enqueue_1", "drain", "--compare", "before.json"];
    let report = desk.json(&again);
    let compared = &report["compared"];
    assert_eq!(compared["measured_at"], before.json()["measured_at"]);
    assert_eq!(compared["differs"], serde_json::json!([]), "it is the same machine");
    let rows = compared["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "only one row was measured both times");
    assert_eq!(rows[0]["was"], before.json()["rows"][0]["ratio"]);
    assert_eq!(rows[0]["is"], report["rows"][0]["ratio"]);

    let mut other = before.json();
    other["machine"]["cores"] = 96.into();
    other["durability"] = "normal".into();
    // It took no time at all.
    for field in ["median", "low", "high"] {
        other["rows"][0]["ratio"][field] = 1e9.into();
    }
    std::fs::write(desk.path("other.json"), other.to_string()).unwrap();
    let told = desk.run(&["bench", "--quick", "enqueue_1", "--compare", "other.json"]);
    told.says("machine differs: it was");
    told.says("durability differs: it was normal, and is full");
    told.says("-100 %  worse");
}

#[test]
fn people_read_it_in_80_columns() {
    let desk = Desk::bare();
    let mut command = desk.command(&["bench", "--quick", "enqueue_bulk", "latency_in_process"]);
    let told = crate::desk::Ran::of(&command.env("COLUMNS", "80").output().unwrap());
    told.says("durability full");
    told.says("TASKS A SECOND");
    told.says("latency_in_process_p95");
    let long = told.out.lines().find(|line| line.chars().count() > 80);
    assert_eq!(long, None);
    assert!(told.err.contains("measures nothing"), "{}", told.err);
}

#[test]
fn a_task_crosses_to_another_process_only_by_the_program_itself() {
    let desk = Desk::bare();
    let arguments = ["bench", "--quick", "latency_cross_process", "--json"];
    let report = desk.run(&arguments).json();
    assert_eq!(names(&report), ["latency_cross_process"]);
    assert_eq!(report["rows"][0]["unit"], "us");
    let shop = desk.shop(&arguments);
    assert!(shop.err.contains("latency_cross_process is left out"), "{}", shop.err);
    assert_eq!(names(&shop.json()), [""; 0]);
    assert_eq!(shop.json()["skipped"][0]["name"], "latency_cross_process");
}

#[test]
fn each_other_workload_runs_at_each_durability() {
    let desk = Desk::bare();
    let arguments =
        ["bench", "--quick", "enqueue_8", "end_to_end", "deep_1m", "--durability", "normal"];
    let report = desk.json(&arguments);
    assert_eq!(names(&report), ["enqueue_8", "end_to_end", "deep_1m"]);
    assert_eq!(report["durability"], "normal");
}

#[test]
fn what_cannot_be_measured_is_told_and_leaves_nothing() {
    let desk = Desk::bare();
    desk.run(&["bench", "enqeue_1"]).fails(2, "enqueue_1");
    desk.run(&["bench", "--blocks", "2"]).fails(2, "3 to 60");
    desk.run(&["bench", "--durability", "none"]).fails(2, "[possible values: normal, full]");
    desk.run(&["bench", "--dir", "nowhere"])
        .fails(2, "--dir is \"nowhere\"; a folder that is there");
    desk.run(&["bench", "--read-only"]).fails(4, "--read-only");
    desk.run(&["bench", "--compare", "none.json"])
        .fails(2, "bad_baseline: --compare is \"none.json\"");
    for (text, said) in [
        ("{\"rows\": 7}", "what `litework bench --json` has printed"),
        ("not JSON", "line 1 column"),
        ("", "line 1 column"),
    ] {
        std::fs::write(desk.path("bad.json"), text).unwrap();
        desk.run(&["bench", "--compare", "bad.json"]).fails(2, said);
    }
    assert_eq!(entries(desk.folder()), ["bad.json"]);
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_interrupts_it_finds_nothing_left() {
    let desk = Desk::bare();
    let mut command = desk.hearing(&["bench", "enqueue_1", "deep_1m"]);
    let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap());
    until(&mut said, "… enqueue_1");
    assert_eq!(entries(desk.folder()).len(), 1);
    signal(&running, "INT");
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(entries(desk.folder()), [""; 0]);
}
