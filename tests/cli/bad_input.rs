//! The catalogue of bad inputs, as far as the command line answers for it: what is typed, what it ends with, and what
//! is said.

use std::fs;
use std::process::Stdio;

use crate::desk::{Desk, Ran};

/// The entry of the catalogue, the arguments, the exit code, and what must be said.
type Row = (u8, &'static [&'static str], i32, &'static str);

/// On a queue with one task, in a folder with the files of [`plant`].
const ROWS: &[Row] = &[
    (30, &["ls", "--db", "missing.db"], 7, "no_queue_at: missing.db: there is no such file"),
    (
        30,
        &["ls", "--db", "empty.db"],
        7,
        "no_queue_at: empty.db: there are no tables of litework in it",
    ),
    (31, &["ls", "--db", "."], 7, "not_a_queue_file: .: it is a directory"),
    (
        31,
        &["ls", "--db", "link.db"],
        7,
        "not_a_queue_file: link.db: it is a link, a device or a socket",
    ),
    (31, &["ls", "--db", "/dev/null"], 7, "not_a_queue_file: /dev/null"),
    (31, &["ls", "--db", "hard.db"], 7, "not_a_queue_file: hard.db: it has several hard links"),
    (32, &["ls", "--db", "text.db"], 7, "not_a_queue: text.db: it is not an SQLite database"),
    (32, &["ls", "--db", "theirs.db"], 7, "other_application_id: theirs.db"),
    (32, &["ls", "--db", "newer.db"], 6, "schema_newer: newer.db: 99 > 1; upgrade the program"),
    (
        33,
        &["init", "no/such/folder/tasks.db"],
        7,
        "cannot_open: no/such/folder/tasks.db: it cannot be created",
    ),
    (35, &["ls", "--stat", "failed"], 2, "a similar argument exists: '--state'"),
    (35, &["ls", "--kind"], 2, "a value is required for '--kind <KIND>'"),
    (35, &["ls", "--owner=a", "--owner=b"], 2, "cannot be used multiple times"),
    (35, &["lss"], 2, "some similar subcommands exist: 'logs', 'ls'"),
    (35, &["show", "--", "-x"], 3, "bad_id: id is \"-x\""),
    (35, &["pause", "--", "-q"], 0, ""),
    (36, &["add", "greet", "--args", "{"], 2, "bad_json: $"),
    (
        36,
        &["add", "greet", "--args", "[1]"],
        2,
        "bad_json: $ is an array; an object by parameter name",
    ),
    (36, &["add", "greet", "--args", r#"{"a": 1, "a": 2}"#], 2, "duplicate_key"),
    (
        36,
        &["add", "greet", "--args", "@missing.json"],
        2,
        "not_found: file of arguments is \"missing.json\"",
    ),
    (36, &["add", "greet", "--args", "@/dev/zero"], 2, "payload_too_large"),
    (36, &["add", "a b"], 2, "bad_name"),
    (36, &["add", "greet", "--priority", "101"], 2, "out_of_range"),
    (
        36,
        &["add", "greet", "--priority", "3.1"],
        2,
        "invalid value '3.1' for '--priority <NUMBER>'",
    ),
    (36, &["add", "greet", "--attempts", "0"], 2, "out_of_range"),
    (36, &["add", "greet", "--queue", ""], 2, "bad_queue"),
    (37, &["show", "7-x!"], 3, "bad_id: id is \"7-x!\"; the id of a task, as in 7-3k2j1h4g5f6d7"),
    (37, &["show", ""], 3, "bad_id: id is \"\""),
    (37, &["show", "1-0000000000000"], 3, "not_found: there is no task 1-0000000000000"),
    (37, &["show", "77"], 3, "not_found: there is no task 77"),
    (37, &["retry", "77", "1"], 3, "not_found"),
    (
        38,
        &["add", "greet", "--in", "5x"],
        2,
        "bad_duration: duration is \"5x\"; a unit (ms, s, m, h or d) is needed at character 2",
    ),
    (38, &["add", "greet", "--in=-1s"], 2, "bad_duration"),
    (38, &["add", "greet", "--in", "1e9h"], 2, "bad_duration"),
    (38, &["add", "greet", "--in", ""], 2, "bad_duration"),
    (38, &["add", "greet", "--in", "5 m"], 2, "at character 2, as in \"1h30m\""),
    (
        39,
        &["add", "greet", "--at", "2026-03-29T02:30:00"],
        2,
        "bad_time: time is \"2026-03-29T02:30:00\"; it has no zone",
    ),
    (39, &["add", "greet", "--at", "2026-02-30T00:00:00Z"], 2, "there is no day 30 in 2026-02"),
    (39, &["add", "greet", "--at", "2026-03-29T24:61:00Z"], 2, "there is no hour 24"),
    (39, &["add", "greet", "--at", "2026-06-30T23:59:60Z"], 2, "leap second"),
    (
        39,
        &["add", "greet", "--at", "2026-03-29 02:30", "--zone", "Europe/Berlin"],
        2,
        "write 2026-03-29T01:59:59+01:00 or 2026-03-29T03:00:00+02:00",
    ),
    (39, &["ls", "--since", "yesterday"], 2, "bad_time: created_after is \"yesterday\""),
    (
        40,
        &["cron", "next", "@daily", "--zone", "Mars/X"],
        2,
        "unknown_zone: time zone is \"Mars/X\"",
    ),
    (40, &["cron", "next", "@daily", "--zone", ""], 2, "unknown_zone"),
    (40, &["cron", "next", "@daily", "--zone", "../../etc"], 2, "unknown_zone"),
    (40, &["cron", "next", "@daily", "--zone", "europe/berlin"], 2, "did you mean Europe/Berlin?"),
    (44, &["rm"], 2, "which_tasks"),
    (44, &["rm", "--all"], 4, "not_confirmed: answer to a question is \"Delete 1 task?\""),
    (44, &["rm", "--all", "--no-input"], 4, "nothing was done"),
    (44, &["prune", "--min-age=0", "--queue=*"], 0, ""),
    (45, &["status", "--format", "yaml"], 2, "[possible values: human, json, ndjson]"),
    (45, &["status", "--json", "--format", "human"], 2, "cannot be used with"),
    (
        45,
        &["ls", "state:done"],
        2,
        "bad_state: state is \"done\"; one of scheduled, waiting, ready",
    ),
    (45, &["ls", "stat:failed"], 2, "unknown_parameter: parameter is \"stat\"; one of state, kind"),
    (45, &["ls", "--cursor", "x"], 2, "bad_cursor"),
    (45, &["ls", "failed"], 3, "bad_id: id is \"failed\"; the id of a task, or state:failed"),
];

/// What stands beside the queue.
fn plant(desk: &Desk) {
    fs::write(desk.path("empty.db"), "").unwrap();
    fs::write(
        desk.path("text.db"),
        "no database at all, though it is long enough for one".repeat(40),
    )
    .unwrap();
    rusqlite::Connection::open(desk.path("theirs.db"))
        .unwrap()
        .execute_batch("CREATE TABLE a (b)")
        .unwrap();
    for name in ["newer.db", "hard.db"] {
        let made = desk.command(&["init", name]).env_remove("LITEWORK_DB").status().unwrap();
        assert!(made.success());
    }
    let newer = rusqlite::Connection::open(desk.path("newer.db")).unwrap();
    newer.execute("UPDATE litework_meta SET value = 99 WHERE name = 'min_writer'", []).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(desk.db(), desk.path("link.db")).unwrap();
    fs::hard_link(desk.path("hard.db"), desk.path("twin.db")).unwrap();
}

#[test]
#[cfg(unix)]
fn a_bad_input_is_refused_with_its_exit_code_and_what_is_allowed() {
    let desk = Desk::new();
    plant(&desk);
    desk.add(&["greet"]);
    let files = || {
        let files = fs::read_dir(desk.folder()).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let mut wrong = Vec::new();
    for (entry, arguments, code, said) in ROWS {
        let ran = desk.run(arguments);
        if ran.code != *code || !ran.err.contains(said) || ran.err.contains("panicked") {
            wrong.push(format!("{entry} {arguments:?}: {} {}{}", ran.code, ran.out, ran.err));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(files(), before, "no file has come or gone");
}

/// 36: standard input that has no end is not read to it, and one that is closed is no object.
#[test]
fn what_is_piped_in_is_read_up_to_its_limit() {
    let desk = Desk::new();
    let mut command = desk.command(&["add", "greet", "--args", "-"]);
    let endless = fs::File::open("/dev/zero").unwrap();
    Ran::of(&command.stdin(Stdio::from(endless)).output().unwrap()).fails(2, "payload_too_large");
    desk.run(&["add", "greet", "--args", "-"]).fails(2, "bad_json");
}

/// 45: what the environment and the settings say is refused with its place.
#[test]
#[cfg(unix)]
fn a_bad_setting_is_told_with_its_place() {
    use std::os::unix::ffi::OsStrExt as _;
    let desk = Desk::new();
    let mut command = desk.command(&["ls"]);
    command.env("LITEWORK_DB", std::ffi::OsStr::from_bytes(b"a\xffb.db"));
    Ran::of(&command.output().unwrap()).fails(2, "bad_config: LITEWORK_DB is ");
    let mut misspelt = desk.command(&["ls"]);
    misspelt.env("LITEWORK_WORKER", "3");
    Ran::of(&misspelt.output().unwrap()).fails(2, "did you mean LITEWORK_WORKERS?");
    for (settings, said) in [
        (
            "db = \"a.db\"\nworker = 3\n",
            "litework.toml:2:1 is \"worker\"; unknown key `worker`; did you mean `workers`?",
        ),
        ("workers = \"three\"\n", "litework.toml:1:11 is \"\\\"three\\\"\"; invalid type"),
        ("db = \"shop.db\"\nworkers = 0\n", "bad_config: workers is 0; 1 to 1024"),
        ("db = [\n", "litework.toml:"),
        ("preset = \"dummy\"\n", "unsupported: queue of this program is \"in memory\""),
    ] {
        fs::write(desk.path("litework.toml"), settings).unwrap();
        let ran = Ran::of(&desk.command(&["ls"]).env_remove("LITEWORK_DB").output().unwrap());
        assert_eq!(ran.code, 2, "{settings}: {}", ran.err);
        assert!(ran.err.contains(said), "{settings}: {}", ran.err);
    }
}

/// 33: a file that this user may not write.
#[test]
#[cfg(unix)]
fn a_file_without_the_right_to_write_is_told_apart() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new();
    let readable = || fs::set_permissions(desk.db(), fs::Permissions::from_mode(0o444)).unwrap();
    readable();
    let ran = desk.run(&["ls"]);
    // Whoever may do everything may do this, too.
    if ran.code != 0 {
        ran.fails(7, "cannot_open: ");
    }
}

/// 33: a user who may write neither into the folder nor into the file. Whoever may do everything becomes somebody else for it.
#[test]
#[cfg(target_os = "linux")]
fn a_folder_or_a_file_that_may_not_be_written_is_told_with_what_is_missing() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    const SOMEBODY: u32 = 65_534;
    let desk = Desk::new();
    let may = |path: &std::path::Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let is_root = rustix::process::geteuid().is_root();
    let run = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        command.env("LITEWORK_DB", "shop.db");
        if is_root {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        Ran::of(&command.output().unwrap())
    };
    let file = desk.db();
    if is_root {
        chown(&file, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let written = "cannot_open: shop.db: it cannot be written: ";
    may(desk.folder(), 0o555);
    let made = run(&["init", "new.db"]);
    made.fails(7, "cannot_open: new.db: it cannot be created: Permission denied");
    for command in [&["work", "--batch"][..], &["ls"]] {
        run(command).fails(7, &format!("{written}this user may not write to its folder"));
    }
    may(desk.folder(), 0o777);
    may(&file, 0o444);
    run(&["work", "--batch"])
        .fails(7, "not_stored: read_only: this program may not write the file");
    assert_eq!(run(&["ls"]).code, 0, "to look at it takes no more");
    may(&file, 0o000);
    run(&["ls"]).fails(7, "cannot_open: shop.db: it cannot be opened: this user may not read it");
}

/// 33: a disk that is mounted to be read only, where whoever runs the tests may mount one for himself.
#[test]
#[cfg(target_os = "linux")]
fn a_read_only_disk_is_told_as_such() {
    let desk = Desk::bare();
    fs::create_dir(desk.path("disk")).unwrap();
    assert_eq!(desk.run(&["init", "--db", "disk/shop.db"]).code, 0);
    let mounted = |then: &str, arguments: &[&str]| {
        let script = format!("mount --bind disk disk && mount -o remount,bind,ro disk && {then}");
        let mut command = std::process::Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        command.arg(env!("CARGO_BIN_EXE_litework")).args(arguments).current_dir(desk.folder());
        command.env_remove("LITEWORK_DB").output().map(|output| Ran::of(&output))
    };
    if !mounted("true", &[]).is_ok_and(|ran| ran.code == 0) {
        return;
    }
    let run = |arguments: &[&str]| mounted("exec \"$0\" \"$@\"", arguments).unwrap();
    let made = run(&["init", "--db", "disk/new.db"]);
    made.fails(7, "cannot_open: disk/new.db: it cannot be created: Read-only file system");
    for command in
        [&["work", "--batch", "--db", "disk/shop.db"][..], &["ls", "--db", "disk/shop.db"]]
    {
        run(command).fails(7, "its disk is mounted read-only");
    }
}

/// A file that another program holds is told apart from one that is broken.
#[test]
#[cfg(feature = "__fault")]
fn a_busy_file_has_an_exit_code_of_its_own() {
    let desk = Desk::new();
    let other = rusqlite::Connection::open(desk.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut command = desk.command(&["pause", "mail"]);
    let ran = Ran::of(&command.env("LITEWORK_BUSY_MS", "50").output().unwrap());
    ran.fails(5, "not_stored: busy: another program held the file");
    assert_eq!(desk.run(&["ls"]).code, 0, "whoever reads waits for nobody");
}

/// 46: a reader that has gone is covered in `output`; a signal ends a command that waits.
#[test]
#[cfg(target_os = "linux")]
fn a_signal_ends_a_command_that_waits() {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    let desk = Desk::new();
    let id = desk.add(&["greet", "--in", "1h"]).to_string();
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let mut waiting = desk.hearing(&["wait", &id]).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("waiting for one that does"), "{said}");
        let pid = waiting.id().to_string();
        assert!(Command::new("kill").args([format!("-{signal}"), pid]).status().unwrap().success());
        assert_eq!(
            waiting.wait().unwrap().signal(),
            Some(number),
            "the shell makes 128 more of it"
        );
    }
}
