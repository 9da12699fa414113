//! Machines read numbers in the text format of Prometheus, and whether all is well.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use litework::{Client, Failure, Result, Schedule, Scope, Timestamp, task};

use crate::common::{Lab, Runs, eventually};

crate::everywhere! {
    what_is_told_keeps_to_the_format,
    numbers_are_those_of_the_file_and_outlive_a_restart,
    gauges_tell_what_there_is,
    an_open_client_is_ready_and_one_that_is_shut_down_is_not,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task(queue = "work", attempts = 1)]
fn act(how: &str) -> Result<()> {
    if how == "fail" { Err(Failure::from("it fails")) } else { Ok(()) }
}

#[task(queue = "mail")]
fn send() {}

fn open(lab: &Lab) -> Client {
    let hourly = Schedule::every("hourly", HOUR, send::with());
    lab.builder().register(act).register(send).schedule(hourly).open().unwrap()
}

/// Runs some tasks of each kind, and keeps what was counted.
fn busy(lab: &Lab) -> Client {
    let client = open(lab);
    for how in ["go", "go", "fail"] {
        let handle = client.enqueue(act::with(how)).unwrap();
        lab.ended(&client, &handle);
    }
    client.schedules().run_now("hourly").unwrap();
    lab.settle(&client);
    eventually("all is counted", || {
        let totals = client.totals().unwrap();
        totals.iter().map(|lane| lane.counts.finished()).sum::<u64>() == 4
    });
    client.flush_counters().unwrap();
    client
}

/// A sample: its labels and its value.
type Sample = (BTreeMap<String, String>, f64);

#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// By the name of the sample.
    samples: Vec<(String, Sample)>,
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// `{a="b",…}` without its braces.
fn labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        assert!(is_name(name) && !name.starts_with("__"), "{name:?} is no name of a label");
        let (mut value, mut end) = (String::new(), None);
        let mut characters = rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = Some(at);
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, '\\')) => value.push('\\'),
                    Some((_, '"')) => value.push('"'),
                    Some((_, 'n')) => value.push('\n'),
                    other => panic!("{other:?} is not escaped so: {text}"),
                },
                character => value.push(character),
            }
        }
        text = &rest[end.unwrap_or_else(|| panic!("no end: {text}")) + 1..];
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} stands twice");
        match text.strip_prefix(',') {
            Some(more) => text = more,
            None => assert!(text.is_empty(), "{text:?} stands behind a label"),
        }
    }
    labels
}

fn sample(line: &str) -> (String, Sample) {
    let (left, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("{value:?} is no number: {line}"));
    let (name, found) = match left.split_once('{') {
        None => (left, BTreeMap::new()),
        Some((name, rest)) => {
            let inside = rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {line}"));
            assert!(!inside.is_empty(), "braces without labels: {line}");
            (name, labels(inside))
        }
    };
    assert!(is_name(name), "{name:?} is no name");
    (name.to_owned(), (found, value))
}

/// Reads a page, and refuses whatever the format does not admit.
fn read(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut helped) = (String::new(), String::new());
    let mut seen = HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !families.contains_key(name), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = Family { kind: kind.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is told twice");
            name.clone_into(&mut current);
        } else {
            let (name, (labels, value)) = sample(line);
            let family = families.get_mut(&current).unwrap();
            let own = if family.kind == "histogram" {
                let part = name.strip_prefix(&current).unwrap_or_default();
                ["_bucket", "_sum", "_count"].contains(&part)
            } else {
                name == current
            };
            assert!(own, "{name} stands in the family {current}");
            assert_eq!(current.ends_with("_total"), family.kind == "counter", "{current}");
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert!(seen.insert((name.clone(), labels.clone())), "{line} stands twice");
            family.samples.push((name, (labels, value)));
        }
    }
    families
}

/// Buckets grow, the last is `+Inf`, and that is the count.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut sums, mut counts) = (BTreeMap::new(), BTreeMap::new());
    for (sample, (labels, value)) in &family.samples {
        let mut labels = labels.clone();
        match sample.strip_prefix(name).unwrap() {
            "_bucket" => {
                let bound: f64 = labels.remove("le").unwrap().parse().unwrap();
                series.entry(labels).or_default().push((bound, *value));
            }
            "_sum" => assert!(sums.insert(labels, *value).is_none()),
            _ => assert!(counts.insert(labels, *value).is_none()),
        }
    }
    assert!(!series.is_empty(), "{name}");
    assert!(series.keys().eq(counts.keys()) && series.keys().eq(sums.keys()), "{name}");
    for (labels, buckets) in series {
        let grows = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        assert!(buckets.windows(2).all(grows), "{name} {labels:?}: {buckets:?}");
        let (bound, last) = buckets[buckets.len() - 1];
        assert!(bound.is_infinite(), "{name} has no +Inf");
        assert!((last - counts[&labels]).abs() < f64::EPSILON, "{name} {labels:?}");
    }
}

fn value(families: &BTreeMap<String, Family>, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let has = |labels: &BTreeMap<String, String>| {
        labels.len() == wanted.len()
            && wanted.iter().all(|(label, text)| labels.get(*label).is_some_and(|it| it == text))
    };
    let mut all = families.values().flat_map(|family| &family.samples);
    let found = all.find(|(it, (labels, _))| it == name && has(labels));
    found.unwrap_or_else(|| panic!("no {name} {wanted:?}: {families:?}")).1.1
}

fn assert_value(client: &Client, name: &str, wanted: &[(&str, &str)], expected: f64) {
    let found = value(&read(&client.metrics().unwrap()), name, wanted);
    assert!((found - expected).abs() < 1e-6, "{name} {wanted:?}: {found}");
}

fn what_is_told_keeps_to_the_format(lab: &Lab) {
    let client = busy(lab);
    let families = read(&client.metrics().unwrap());
    for (name, family) in families.iter().filter(|(_, family)| family.kind == "histogram") {
        check_histogram(name, family);
    }
    let histograms = families.values().filter(|family| family.kind == "histogram").count();
    assert_eq!(histograms, 2);
    assert!(families.keys().all(|name| name.starts_with("litework_")), "{:?}", families.keys());
    let known = ["queue", "kind", "outcome", "result", "state", "schedule", "version", "le"]
        .map(String::from);
    let all = families.values().flat_map(|family| &family.samples);
    let mut labels = all.flat_map(|(_, (labels, _))| labels.keys());
    assert!(labels.all(|label| known.contains(label)), "labels are bounded");
    // Before anything has ever happened it is a page too.
    let empty = lab.builder();
    drop(client);
    let client = if lab.keeps_tasks() { empty.open() } else { Client::in_memory().open() };
    read(&client.unwrap().metrics().unwrap());
}

fn numbers_are_those_of_the_file_and_outlive_a_restart(lab: &Lab) {
    let check = |client: &Client| {
        let lane = [("queue", "work"), ("kind", "act")];
        assert_value(client, "litework_tasks_enqueued_total", &lane, 3.0);
        let outcome = |word| [lane[0], lane[1], ("outcome", word)];
        assert_value(client, "litework_tasks_finished_total", &outcome("succeeded"), 2.0);
        assert_value(client, "litework_tasks_finished_total", &outcome("failed"), 1.0);
        assert_value(client, "litework_tasks_finished_total", &outcome("skipped"), 0.0);
        let result = |word| [lane[0], lane[1], ("result", word)];
        assert_value(client, "litework_task_attempts_total", &result("ok"), 2.0);
        assert_value(client, "litework_task_attempts_total", &result("error"), 1.0);
        assert_value(client, "litework_task_run_seconds_count", &lane, 3.0);
        assert_value(client, "litework_task_wait_seconds_count", &[("queue", "mail")], 1.0);
    };
    let client = busy(lab);
    check(&client);
    if lab.keeps_tasks() {
        drop(client);
        check(&open(lab));
    }
}

fn gauges_tell_what_there_is(lab: &Lab) {
    let client = busy(lab);
    assert_value(&client, "litework_tasks", &[("queue", "work"), ("state", "failed")], 1.0);
    assert_value(&client, "litework_queue_paused", &[("queue", "mail")], 0.0);
    client.pause(&Scope::queue("mail")).unwrap();
    client.enqueue(send::with()).unwrap();
    lab.clock.advance(Duration::from_secs(90));
    assert_value(&client, "litework_queue_paused", &[("queue", "mail")], 1.0);
    assert_value(&client, "litework_queue_oldest_age_seconds", &[("queue", "mail")], 90.0);
    assert_value(&client, "litework_queue_oldest_age_seconds", &[("queue", "work")], 0.0);
    assert_value(&client, "litework_tasks", &[("queue", "mail"), ("state", "ready")], 1.0);
    let slots = if lab.runs(Runs::Pool) { 2.0 } else { 0.0 };
    assert_value(&client, "litework_worker_slots", &[], slots);
    assert_value(&client, "litework_worker_slots_busy", &[], 0.0);
    let began = Timestamp::MIN.until(lab.now()).as_secs_f64() - 90.0;
    let hourly = [("schedule", "hourly")];
    assert_value(&client, "litework_schedule_last_run_timestamp_seconds", &hourly, began);
    assert_value(&client, "litework_schedule_missed_total", &[], 0.0);
    assert_value(&client, "litework_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let families = read(&client.metrics().unwrap());
    assert_eq!(families.contains_key("litework_db_size_bytes"), lab.keeps_tasks());
    assert_eq!(families.contains_key("litework_db_busy_total"), lab.keeps_tasks());
}

fn an_open_client_is_ready_and_one_that_is_shut_down_is_not(lab: &Lab) {
    let client = open(lab);
    let health = client.health();
    assert_eq!((health.live, health.ready, health.reason), (true, true, None));
    client.shutdown(Duration::from_secs(5)).unwrap();
    let health = client.health();
    assert_eq!((health.live, health.ready), (false, false));
    assert_eq!(health.reason.as_deref(), Some("the client is shut down"));
}

/// Another program holds the lock while this one is about to write.
#[test]
fn a_write_that_finds_the_file_locked_is_counted_and_one_that_does_not_is_not() {
    let lab = Lab::inline();
    let client = busy(&lab);
    let waits = || value(&read(&client.metrics().unwrap()), "litework_db_busy_total", &[]);
    assert_value(&client, "litework_db_busy_total", &[], 0.0);
    let theirs = rusqlite::Connection::open(lab.path()).unwrap();
    let mut tries = 0_u32;
    while waits() < 1.0 {
        theirs.execute_batch("BEGIN IMMEDIATE").unwrap();
        tries += 1;
        std::thread::scope(|scope| {
            let (begins, begun) = std::sync::mpsc::channel();
            let client = &client;
            scope.spawn(move || {
                begins.send(()).unwrap();
                client.enqueue(send::with()).unwrap();
            });
            begun.recv().unwrap();
            // It asks for the lock within less than these looks take, in most tries.
            (0..20).for_each(|_| drop(client.metrics().unwrap()));
            theirs.execute_batch("COMMIT").unwrap();
        });
    }
    // In mode `inline` a call is two writes, of which the second may wait for nobody.
    assert!(waits() <= 2.0 * f64::from(tries), "{} of {tries}", waits());
}

/// The files for those who watch, as they lie beside the examples.
fn for_monitoring(file: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/monitoring/");
    std::fs::read_to_string(format!("{folder}{file}")).unwrap()
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let ends = |letter: char| !(letter.is_ascii_lowercase() || letter == '_');
    let found = text.match_indices("litework_");
    let found = found.map(|(at, _)| text[at..].split(ends).next().unwrap_or_default().to_owned());
    found.collect()
}

#[test]
fn the_alerts_and_the_dashboard_name_only_what_is_told() {
    let lab = Lab::pool();
    let client = busy(&lab);
    let told: BTreeSet<String> = read(&client.metrics().unwrap())
        .into_iter()
        .flat_map(|(name, family)| {
            let samples = family.samples.into_iter().map(|(sample, _)| sample);
            samples.chain([name]).collect::<Vec<_>>()
        })
        .collect();
    let (alerts, dashboard) = (for_monitoring("alerts.yaml"), for_monitoring("dashboard.json"));
    for text in [&alerts, &dashboard] {
        let unknown: Vec<String> = named(text).difference(&told).cloned().collect();
        assert!(unknown.is_empty() && named(text).len() >= 6, "{unknown:?}");
    }
    let families = told.iter().filter(|name| {
        !["_bucket", "_sum", "_count"].iter().any(|part| name.ends_with(part))
            && !told.contains(&format!("{name}_bucket"))
    });
    let shown = named(&dashboard);
    let missing: Vec<&String> = families.filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "the dashboard leaves out {missing:?}");

    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && !panel["title"].as_str().unwrap().is_empty(), "{panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(!named(target["expr"].as_str().unwrap()).is_empty(), "{target}");
        }
    }
}

fn promtool(arguments: &[&str], fed: &[u8]) {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let mut promtool = Command::new("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut promtool = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(fed).unwrap();
    let answer = promtool.wait_with_output().unwrap();
    let told = [&answer.stdout, &answer.stderr].map(|told| String::from_utf8_lossy(told));
    assert!(answer.status.success() && told[1].is_empty(), "{arguments:?}: {told:?}");
}

/// What Prometheus itself says of it.
#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_to_say() {
    let client = busy(&Lab::pool());
    promtool(&["check", "metrics"], client.metrics().unwrap().as_bytes());
}

/// … and of the alerts, each of which is raised by numbers that are to raise it, and by no others.
#[test]
#[ignore = "needs promtool"]
fn promtool_raises_the_alerts_when_they_are_due() {
    promtool(&["check", "rules", "examples/monitoring/alerts.yaml"], b"");
    promtool(&["test", "rules", "tests/contract/alerts.yaml"], b"");
}
