//! How it is printed: into pipes, onto narrow screens, without colours; and what would steer a terminal does not.

use std::process::Stdio;

use litework::{Filter, Pending};

use crate::desk::{Desk, Ran};
use crate::kinds::{greet, refuse};

/// Each command that prints data, on a queue with something in it.
const LOOKS: &[&[&str]] = &[
    &["status"],
    &["ls"],
    &["ls", "--group", "error"],
    &["show", "1"],
    &["why", "1"],
    &["logs", "1"],
    &["queues"],
    &["workers"],
    &["kinds"],
    &["cron", "ls"],
    &["cron", "next", "@daily"],
    &["prune", "-n", "--min-age=0"],
    &["check", "--print-config"],
    &["retry", "--all", "-n"],
    &["ls", "--group", "queue", "kind:refuse"],
    &["edit", "1", "--priority=1", "-n"],
    &["check"],
    &["migrate"],
    &["vacuum"],
    &["wait", "1"],
    &["watch", "1"],
    #[cfg(feature = "tui")]
    &["top", "--once"],
];

/// What one ends with.
fn code_of(look: &[&str]) -> i32 {
    // The task has failed.
    i32::from(["wait", "watch"].contains(&look[0]))
}

fn desk() -> Desk {
    let desk = Desk::new();
    let client = desk.client();
    client
        .enqueue_many((0..30).map(|n| refuse::with(format!("line {n} of the printer is on fire"))))
        .unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client
        .enqueue(
            greet::with("Ada").name("A name that is so long that it stands on no narrow screen"),
        )
        .unwrap();
    desk
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let desk = desk();
    for format in ["human", "json", "ndjson"] {
        for look in LOOKS.iter().filter(|look| look[0] != "top" || format == "human") {
            let mut command = desk.command(&[look, &["--format", format][..]].concat());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            let ran = Ran::of(&child.wait_with_output().unwrap());
            assert!([0, code_of(look)].contains(&ran.code), "{look:?} {format}: {}", ran.err);
            assert!(!ran.err.contains("panicked"), "{look:?}: {}", ran.err);
        }
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let desk = desk();
    let colours = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = desk.command(&[&["ls"], arguments].concat());
        let ran = command.envs(variables.iter().copied()).output().unwrap();
        Ran::of(&ran).out.contains('\u{1b}')
    };
    assert!(!colours(&[], &[]), "this is no terminal");
    assert!(colours(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(!colours(&[("CLICOLOR_FORCE", "1")], &["--color", "never"]));
    assert!(colours(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(!colours(&[("NO_COLOR", "1")], &[]));
    assert!(!colours(&[("TERM", "dumb")], &[]));
    assert!(!colours(&[("CLICOLOR_FORCE", "1")], &["--json"]));
}

#[test]
fn forty_columns_are_enough_and_one_is_no_panic() {
    let desk = desk();
    for (columns, most) in [("40", 40), ("1", usize::MAX), ("0", usize::MAX), ("x", usize::MAX)] {
        for look in LOOKS {
            let ran = Ran::of(&desk.command(look).env("COLUMNS", columns).output().unwrap());
            assert_eq!(ran.code, code_of(look), "{look:?}: {}", ran.err);
            // Paths and JSON are not broken, so that they can be copied.
            let whole =
                |line: &&str| line.contains('/') || line.contains('"') || line.contains(": ");
            let long = ran.out.lines().filter(|line| line.chars().count() > most && !whole(line));
            assert_eq!(long.collect::<Vec<_>>(), Vec::<&str>::new(), "{look:?} at {columns}");
        }
    }
    let narrow = Ran::of(&desk.command(&["ls", "1"]).env("COLUMNS", "40").output().unwrap());
    assert!(narrow.out.contains("STATE  failed\n"), "{}", narrow.out);
    assert!(
        narrow.out.contains("NOTE   gave up: line 0 of the printer is\n       on fire\n"),
        "{}",
        narrow.out
    );
}

#[test]
fn what_comes_out_of_the_file_steers_no_terminal() {
    let desk = Desk::new();
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\nno";
    let client = desk.client();
    client.enqueue(refuse::with(evil).tag("t\u{202e}")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    let id = client.browse(&Filter::new(), None, 1).unwrap().tasks[0].id.to_string();
    for look in LOOKS {
        for format in ["human", "json", "ndjson"] {
            let ran = desk.run(&[look, &["--format", format][..]].concat());
            let steers = |letter: char| {
                letter.is_control() && letter != '\n' && letter != '\t' || letter == '\u{202e}'
            };
            assert!(!ran.out.contains(steers), "{look:?} {format}: {:?}", ran.out);
            assert!(!ran.err.contains(steers), "{look:?} {format}: {:?}", ran.err);
        }
    }
    let json = desk.json(&["show", &id]);
    assert_eq!(json["arguments"]["text"], evil, "JSON holds it all the same");
    let preview = desk.run(&["retry", "--all"]);
    assert!(!preview.err.contains('\u{202e}') && preview.code == 4);
    let refused = desk.run(&["show", "\u{1b}[2J"]);
    assert!(refused.err.contains(r#"bad_id: id is "\u{1b}[2J""#), "{}", refused.err);
}

#[test]
fn quiet_says_nothing_but_data_and_errors() {
    let desk = desk();
    let quiet = desk.run(&["ls", "--limit=1", "-q"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
    desk.run(&["show", "99", "--quiet"]).fails(3, "not_found");
}

#[test]
fn flags_stand_before_or_after_the_command() {
    let desk = desk();
    let (before, after) = (desk.run(&["--json", "ls", "1"]), desk.run(&["ls", "1", "--json"]));
    assert_eq!(before.json(), after.json());
    let db = desk.db();
    let db = db.to_str().unwrap();
    for arguments in
        [&["--db", db, "queues"][..], &["queues", "--db", db], &["cron", "--db", db, "ls"]]
    {
        assert_eq!(desk.run(arguments).code, 0, "{arguments:?}");
    }
}

#[test]
fn completions_and_the_manual_are_made_of_the_parser() {
    let desk = Desk::bare();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let made = desk.run(&["completions", shell]);
        assert!(made.code == 0 && made.out.contains("fingerprint"), "{shell}");
    }
    let page = desk.run(&["man"]);
    assert!(
        page.out.contains(".SH NAME\nlitework") && page.out.contains("Exit codes"),
        "{}",
        page.out
    );
    let made = desk.run(&["man", "--dir", desk.folder().to_str().unwrap()]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(desk.path("litework-cron-next.1").exists());
    let help = desk.run(&["--help"]);
    assert!(help.out.contains("Exit codes:\n  0    done\n"), "{}", help.out);
}
