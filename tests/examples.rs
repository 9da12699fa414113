//! What a user sees who runs the examples: a worker that is stopped by Ctrl-C, once and twice, a ledger
//! whose workers are killed, and a quickstart that meets a file it cannot name in JSON.
//!
//! The programs are those that `cargo test` has built; one that is missing or older than its source,
//! as after `cargo test --test examples`, is built here.
#![cfg(all(feature = "macros", feature = "sqlite", unix))]
#![allow(clippy::unwrap_used)]

mod child;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use child::{Child, Field};
use litework::{Client, Filter, Mode, State};

/// Where cargo puts an example: beside the folder of this test program.
fn example(name: &str) -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let profile = built.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(name);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let sources = [examples.join(format!("{name}.rs")), examples.join(name).join("main.rs")];
    let source = sources.into_iter().find(|source| source.exists()).unwrap();
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    if changed(&program) < changed(&source) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--all-features", "--example", name]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.env("CARGO_TARGET_DIR", profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the example {name} does not build");
    }
    program
}

/// A worker whose tasks run this long.
fn start(field: &Field, seconds: u64) -> Child {
    let mut command = Command::new(example("worker"));
    command.arg(field.db()).arg(seconds.to_string());
    command.env_remove("LITEWORK_MODE").env_remove("LITEWORK_WORKERS").env_remove("LITEWORK_DB");
    Child::from_command(command, "worker", &[])
}

/// The same, when its first two tasks have started.
fn worker(field: &Field, seconds: u64) -> Child {
    let mut child = start(field, seconds);
    child.expect("started picture-1");
    child.expect("started picture-2");
    child
}

/// How many tasks are in these states, and how many crashes are on record.
fn found(field: &Field, states: &[State]) -> (u64, u32) {
    let client = Client::builder(field.db()).mode(Mode::Hold).open().unwrap();
    let filter = states.iter().fold(Filter::new(), |filter, state| filter.state(*state));
    let tasks = client.list(&Filter::new(), None, 100).unwrap().tasks;
    (client.count(&filter).unwrap(), tasks.iter().map(|task| task.crashes).sum())
}

/// How many attempts have been charged.
fn attempts(field: &Field) -> u32 {
    let client = Client::builder(field.db()).mode(Mode::Hold).open().unwrap();
    let tasks = client.list(&Filter::new(), None, 100).unwrap().tasks;
    tasks.iter().map(|task| task.attempt).sum()
}

#[test]
fn the_first_ctrl_c_lets_running_tasks_end_and_leaves_the_rest() {
    let field = Field::default();
    let mut child = worker(&field, 3);
    child.signal("INT");
    child.expect("stopping: 10 s for what runs");
    child.expect("ended picture-1");
    child.expect("2 running tasks ended by themselves");
    child.expect("0 tasks were handed back");
    child.expect("4 tasks are left for the next start");
    assert_eq!(child.wait().code(), Some(0));
    assert_eq!(found(&field, &[State::Succeeded]), (2, 0));
    assert_eq!(found(&field, &[State::Ready]), (4, 0));
}

/// Whoever presses Ctrl-C again does not wait, and what runs has not been tried.
#[test]
fn the_second_ctrl_c_hands_back_what_runs_and_ends_the_program() {
    // On an idle machine it is a tenth of that; half of it are the looks of bodies, 20 ms apart.
    let in_time = child::within(Duration::from_secs(1), || {
        let field = Field::default();
        let mut child = worker(&field, 600);
        child.signal("INT");
        child.expect("stopping: 10 s for what runs");
        child.signal("INT");
        let began = Instant::now();
        assert_eq!(child.wait().code(), Some(130));
        let took = began.elapsed();
        child.expect("0 running tasks ended by themselves");
        child.expect("2 tasks were handed back");
        assert_eq!(found(&field, &[State::Ready]), (6, 0));
        assert_eq!(attempts(&field), 0);
        let mut again = start(&field, 600);
        again.expect("6 tasks in ");
        again.expect("started picture-");
        took
    });
    in_time.unwrap();
}

/// G13: a program that is killed may have done something, so what ran is charged; the rest is not.
#[test]
fn a_program_that_is_killed_is_charged_for_what_ran() {
    let field = Field::default();
    let mut child = worker(&field, 600);
    child.kill();
    assert_eq!(found(&field, &[State::Ready]), (6, 2));
    assert_eq!(attempts(&field), 2);
}

#[test]
fn a_worker_that_has_run_everything_ends_at_the_word_of_a_service_manager() {
    let field = Field::default();
    let mut child = worker(&field, 0);
    for number in 1..=6 {
        child.expect(&format!("ended picture-{number}"));
    }
    child.signal("TERM");
    child.expect("0 tasks are left for the next start");
    assert_eq!(child.wait().code(), Some(0));
    assert_eq!(found(&field, &[State::Succeeded]), (6, 0));
}

/// G6.
#[test]
fn the_ledger_is_exact_though_its_workers_are_killed() {
    let field = Field::default();
    let mut command = Command::new(example("ledger"));
    command.arg("300").env("TMPDIR", field.path(""));
    command.env_remove("LITEWORK_MODE").env_remove("LITEWORK_WORKERS");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("payments succeeded   300\n"), "{told}");
    assert!(told.contains("rows of the ledger   300, of 300 payments\n"), "{told}");
    assert!(told.contains("receipts             300\n"), "{told}");
}

#[test]
fn quickstart_names_a_file_it_cannot_count_and_counts_the_rest() {
    let field = Field::default();
    let folder = field.path("texts");
    fs::create_dir(&folder).unwrap();
    for number in 0..1_001 {
        fs::write(folder.join(format!("{number}.txt")), "two words\n").unwrap();
    }
    let odd = folder.join(OsStr::from_bytes(b"odd-\xff.txt"));
    if fs::write(&odd, "not counted\n").is_err() {
        // Not every file system has such names, and then none can be met.
        return;
    }
    let mut command = Command::new(example("quickstart"));
    command.arg(&folder).env("TMPDIR", field.path(""));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("left out") && told.contains(r"odd-\xff.txt"), "{told}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("  files                 1001\n"), "{table}");
    assert!(table.contains("  words                 2002\n"), "{table}");
}

/// A line that the example says of a run, which stands behind the time of its slot.
#[cfg(feature = "cron")]
fn runs_said(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

/// What was missed while the program was off runs once, late, and the rest goes on.
#[cfg(feature = "cron")]
#[test]
fn routine_work_fires_and_makes_up_for_what_was_missed() {
    let field = Field::default();
    let start = |seconds: &str| {
        let mut command = Command::new(example("routine"));
        command.arg(field.db()).arg(seconds);
        command.env_remove("LITEWORK_MODE").env_remove("LITEWORK_WORKERS");
        Child::from_command(command, "routine", &[])
    };
    let mut child = start("600");
    child.expect("schedules in ");
    child.listen_until(|lines| {
        ["fetched inbox, on time", "tidied downloads, on time", "sent the report, on time"]
            .iter()
            .all(|what| runs_said(lines, what) > 0)
    });
    child.kill();
    // As if a day had passed since.
    let conn = child::look_into(&field.db());
    let day = 86_400_000;
    conn.execute(
        "UPDATE litework_schedule SET next_at = next_at - ?1, due_at = due_at - ?1",
        [day],
    )
    .unwrap();
    drop(conn);
    let mut child = start("600");
    child.expect("schedules in ");
    let client = Client::builder(field.db()).mode(Mode::Hold).open().unwrap();
    let missed = |name: &str| client.schedules().get(name).unwrap().missed_slots;
    let until = Instant::now() + child::PATIENCE;
    while missed("tidy") == 0 || missed("report") == 0 {
        assert!(Instant::now() < until, "missed: {}, {}", missed("tidy"), missed("report"));
        child.listen_for(Duration::from_millis(20));
    }
    // A day of slots that are 5 s apart; those of an expression are counted up to a bound.
    assert!((17_270..17_300).contains(&missed("tidy")), "{}", missed("tidy"));
    assert!((990..1_001).contains(&missed("report")), "{}", missed("report"));
    child.expect("  "); // it goes on
}

/// Somebody asks the shop for a page, and for one that is none of their business.
#[cfg(all(feature = "axum", feature = "tokio"))]
#[test]
fn the_shop_serves_its_pages_and_ends_at_the_word_of_a_service_manager() {
    use std::io::{Read, Write};

    let field = Field::default();
    let mut command = Command::new(example("webapp"));
    command.args(["--port", "0", "--db"]).arg(field.db());
    command.env_remove("LITEWORK_MODE").env_remove("LITEWORK_WORKERS").env_remove("LITEWORK_DB");
    let mut child = Child::from_command(command, "webapp", &[]);
    let line = child.expect("listening on ");
    let port = line.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(child::PATIENCE)).unwrap();
        let close = "host: localhost\r\nconnection: close\r\n\r\n";
        write!(stream, "GET {path} HTTP/1.1\r\n{close}").unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        told
    };
    let start = ask("/");
    assert!(start.starts_with("HTTP/1.1 200") && start.contains("A shop with tasks"), "{start}");
    let tasks = ask("/tasks/");
    assert!(tasks.contains("303") && tasks.contains("/login?next=%2Ftasks%2F"), "{tasks}");
    child.signal("TERM");
    child.expect("0 tasks were handed back");
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn quickstart_and_the_shop_have_the_commands_for_their_own_queues() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(example(name));
        command.args(arguments).env("TMPDIR", folder.path()).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::write(folder.path().join("a.txt"), "one two\n").unwrap();
    let said = run("quickstart", &["--inline", "."]);
    let db = said.lines().find_map(|line| line.strip_prefix("queue file, which stays: ")).unwrap();
    let listed = run("quickstart", &["tasks", "ls", "--db", db]);
    assert!(listed.contains("quickstart.count") && listed.contains("succeeded"), "{listed}");
    run("webapp", &["tasks", "init"]);
    let id = run(
        "webapp",
        &[
            "tasks",
            "add",
            "export_orders",
            "--args",
            r#"{"title":"May","pages":1,"ending":"well"}"#,
        ],
    );
    run("webapp", &["tasks", "work", "--batch"]);
    let shown = run("webapp", &["tasks", "show", id.trim()]);
    assert!(shown.contains("Export of May") && shown.contains("orders.csv"), "{shown}");
}

#[test]
fn the_examples_say_what_they_take() {
    let run = |name: &str, argument: &str| {
        let output = Command::new(example(name)).arg(argument).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).unwrap())
    };
    for name in ["worker", "ledger", "quickstart"] {
        let (ended_well, told) = run(name, "--help");
        assert!(ended_well && told.starts_with(&format!("usage: {name} [")), "{told}");
    }
    for (name, argument) in [("ledger", "abc"), ("worker", "--now"), ("quickstart", "--now")] {
        let (ended_well, told) = run(name, argument);
        assert!(!ended_well && told.contains(argument) && told.contains("usage: "), "{told}");
    }
    #[cfg(all(feature = "axum", feature = "tokio"))]
    {
        let (ended_well, told) = run("webapp", "--help");
        assert!(ended_well && told.starts_with("usage: webapp ["), "{told}");
        let (ended_well, told) = run("webapp", "--now");
        assert!(!ended_well && told.contains("--now") && told.contains("usage: "), "{told}");
    }
    #[cfg(feature = "cron")]
    {
        let (ended_well, told) = run("routine", "--help");
        assert!(ended_well && told.starts_with("usage: routine ["), "{told}");
        let (ended_well, told) = run("routine", "--now");
        assert!(!ended_well && told.contains("--now") && told.contains("usage: "), "{told}");
    }
}

/// Sends a form to a server on this machine; the headers of its answer.
#[cfg(all(feature = "axum", feature = "tokio"))]
fn posted(port: &str, path: &str, form: &str) -> String {
    use std::io::{Read, Write};

    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split("\r\n\r\n").next().unwrap().to_owned()
}

/// A link to the shop's own login must not lead on to another site.
#[cfg(all(feature = "axum", feature = "tokio"))]
#[test]
fn the_shop_leads_nobody_to_another_site_after_the_login() {
    let field = Field::default();
    let mut command = Command::new(example("webapp"));
    command.args(["--port", "0", "--db"]).arg(field.db());
    let mut shop = Child::from_command(command, "webapp", &[]);
    let told = shop.expect("listening on http://127.0.0.1:");
    let port = told.rsplit(':').next().unwrap().trim();
    for (next, leads) in [
        ("%2Forders", "/orders"),
        ("%2Ftasks%2Ft%2F7-x%3Ffollow%3D1", "/tasks/t/7-x?follow=1"),
        ("https%3A%2F%2Fevil.example", "/orders"),
        ("%2F%2Fevil.example", "/orders"),
        ("%2F%5Cevil.example", "/orders"),
        ("%5C%5Cevil.example", "/orders"),
        ("%2F%09%2Fevil.example", "/orders"),
        ("javascript%3Aalert(1)", "/orders"),
        ("%2F%0D%0Aset-cookie%3Aa%3Db", "/orders"),
        ("", "/orders"),
    ] {
        let answer = posted(port, "/login", &format!("name=ada&next={next}"));
        let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
        assert_eq!(location, Some(leads), "{next}: {answer}");
        assert_eq!(answer.matches("set-cookie").count(), 1, "{next}: {answer}");
    }
}
