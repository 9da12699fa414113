//! Other programs read what is printed, and write what is listed.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use litework::{Pending, Schedule};

use crate::desk::Desk;
use crate::kinds::{greet, refuse};

/// What `jq` makes of a text.
fn jq(text: &str, program: &str) -> String {
    let mut command = Command::new("jq");
    command.args(["-cr", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut jq = command.spawn().unwrap();
    jq.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = jq.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} of {text}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "needs jq"]
fn jq_reads_every_json_that_is_printed() {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue(refuse::with("\u{1b}[31m \u{9b} \u{202e} \"quoted\"")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("Ada").run_after(Duration::from_secs(60))).unwrap();
    client
        .schedules()
        .add(Schedule::every("hourly", Duration::from_secs(3_600), greet::with("A")))
        .unwrap();
    for (arguments, program, answer) in [
        (&["status"][..], ".schema", "1"),
        (&["ls"], ".items | map(.kind) | join(\",\")", "greet,refuse"),
        (&["ls", "--group", "error"], ".items[0].count", "1"),
        (&["show", "1"], ".state, .priority", "failed\n0"),
        (&["why", "2"], ".cause", "not_due"),
        (&["logs", "1"], ".items | length", "0"),
        (&["queues"], ".items[0].name", "default"),
        (&["workers"], ".items[0].serves", "false"),
        (&["kinds"], ".items | length > 0", "true"),
        (&["metrics"], ".text | length > 100", "true"),
        (&["cron", "ls"], ".items[0].name", "hourly"),
        (
            &["cron", "next", "@hourly", "--from=2026-01-01T00:00:00Z", "-n1"],
            ".next[0]",
            "2026-01-01T01:00:00.000Z",
        ),
        (&["add", "greet"], ".state", "ready"),
        (&["edit", "3", "--priority=1"], ".priority", "1"),
        (&["run", "2"], ".done", "1"),
        (&["retry", "1"], ".action", "retry"),
        (&["cancel", "1"], ".done", "1"),
        (&["rm", "1", "-y"], ".done", "1"),
        (&["pause", "default"], ".items[0].changed", "true"),
        (&["resume", "default"], ".items[0].paused", "false"),
        (&["cron", "run", "hourly"], ".items[0].kind", "greet"),
        (&["cron", "pause", "hourly"], ".items[0].state", "disabled"),
        (&["cron", "resume", "hourly"], ".items[0].enabled", "true"),
        (&["prune", "-n"], ".total", "0"),
        (&["check", "--print-config"], ".config[0].key", "db"),
        (&["init"], ".file | endswith(\"shop.db\")", "true"),
    ] {
        for format in ["json", "ndjson"] {
            if format == "ndjson" && (program.contains(".items") || arguments[0] == "rm") {
                continue;
            }
            if format == "ndjson"
                && ["add", "edit", "run", "retry", "cancel"].contains(&arguments[0])
            {
                continue;
            }
            let ran = desk.run(&[arguments, &["--format", format][..]].concat());
            assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
            assert_eq!(jq(&ran.out, program), answer, "{arguments:?} {format}");
        }
    }
    let lines = desk.run(&["ls", "--format", "ndjson"]);
    assert_eq!(jq(&lines.out, ".id").lines().count(), lines.out.lines().count());
}

#[test]
#[ignore = "needs jq"]
fn jq_reads_what_upkeep_and_waiting_print() {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue(greet::with("Ada")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("Grace")).unwrap();
    drop(client);
    let lines = desk.run(&["export", "--with-secrets", "--json"]).out;
    assert_eq!(jq(&lines, ".arguments.name"), "Ada\nGrace");
    std::fs::write(desk.path("tasks.ndjson"), &lines).unwrap();
    assert_eq!(desk.run(&["init", "other.db"]).code, 0);
    let other = desk.path("other.db");
    let other = other.to_str().unwrap();
    for (arguments, code, program, answer) in [
        (&["doctor"][..], 1, ".items[0].code", "no_worker"),
        (&["backup", "copy.db"], 0, ".bytes > 0", "true"),
        (&["vacuum"], 0, ".log_emptied", "true"),
        (&["migrate"], 0, ".was == .is", "true"),
        (&["import", "tasks.ndjson", "--db", other, "-y"], 0, ".tasks", "2"),
        (&["wait", "1"], 0, ".items[0].state", "succeeded"),
        (&["watch", "1"], 0, ".items[0].ended", "true"),
        (&["wait", "2", "--timeout=10ms"], 124, ".items | length", "0"),
        (&["add", "greet", "--wait", "--timeout=10ms"], 124, ".items | length", "0"),
    ] {
        let ran = desk.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert_eq!(jq(&ran.out, program), answer, "{arguments:?}");
    }
    let mut served = desk.command(&["serve", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = std::io::BufReader::new(served.stdout.take().unwrap());
    let mut told = String::new();
    while !told.ends_with("}\n") {
        assert!(std::io::BufRead::read_line(&mut heard, &mut told).unwrap() > 0, "{told}");
    }
    served.kill().unwrap();
    served.wait().unwrap();
    assert_eq!(jq(&told, ".url | startswith(\"http://127.0.0.1:\")"), "true");
}

#[test]
#[ignore = "needs sqlite3"]
fn the_sqlite3_shell_enqueues_and_reads_and_ls_shows_it() {
    let desk = Desk::new();
    let shell = |sql: &str| {
        let output = Command::new("sqlite3")
            .args(["-cmd", ".timeout 5000"])
            .arg(desk.db())
            .arg(sql)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    shell(
        "INSERT INTO litework_inbox (kind, args, priority) VALUES ('greet', '{\"name\": \"Ada\"}', 9)",
    );
    let told = desk.run(&["ls"]);
    assert!(told.err.contains("1 row of kind greet in the inbox"), "{}", told.err);
    desk.shop(&["ls"]).says("greet (Hello Ada)");
    let id = shell("SELECT task FROM litework_inbox");
    assert_eq!(desk.json(&["show", &id])["priority"], 9);
    let stored = desk.add(&["greet", "--priority=4"]);
    assert_eq!(
        shell(&format!("SELECT priority FROM litework_task WHERE id = {}", stored.row())),
        "4"
    );
}
