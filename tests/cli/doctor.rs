//! Faults are planted, and the doctor finds each, names the next command, and changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use litework::testing::ManualClock;
use litework::{Context, Mode, Schedule, Timestamp, task};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, Ran};
use crate::kinds::{self, greet};

/// What the doctor says, in JSON; whatever the disk is on which tests run.
fn findings(ran: &Ran) -> Vec<Value> {
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    let found = told["items"].as_array().unwrap().iter();
    found.filter(|finding| finding["code"] != "disk_full").cloned().collect()
}

fn codes(desk: &Desk) -> Vec<String> {
    let ran = desk.run(&["doctor", "--json"]);
    findings(&ran).iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// The only finding, and the command that is to be typed next.
#[track_caller]
fn only(desk: &Desk, code: &str) -> String {
    let ran = desk.run(&["doctor", "--json"]);
    let found = findings(&ran);
    let [finding] = found.as_slice() else { panic!("{code} alone: {found:?}") };
    assert_eq!(finding["code"], code, "{finding}");
    let is_bad = finding["severity"] != "note";
    assert_eq!(ran.code, i32::from(is_bad), "{finding}");
    finding["next"].as_str().unwrap().to_owned()
}

fn change(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_sound_queue_has_nothing_wrong() {
    let desk = Desk::new();
    let before = std::fs::read(desk.db()).unwrap();
    assert_eq!(codes(&desk), [""; 0]);
    assert!(std::fs::read(desk.db()).unwrap() == before, "it was changed");
    desk.run(&["doctor", "--db", "none.db"]).fails(7, "no_queue_at: none.db");
    assert!(!desk.path("none.db").exists());
}

#[test]
fn ready_work_without_a_worker_and_a_parked_kind_are_found() {
    let desk = Desk::new();
    desk.client().enqueue(greet::with("Ada")).unwrap();
    assert!(only(&desk, "no_worker").ends_with(" workers"), "{}", only(&desk, "no_worker"));
    // A program that serves the queue and knows another kind.
    let other = litework::Client::builder(desk.db()).environment([("", ""); 0]);
    let other = other.register(hang).state(Gate::default()).workers(1).open().unwrap();
    assert!(only(&desk, "parked_kind").contains(" ls --state ready --queue default --kind greet"));
    drop(other);
}

#[test]
fn an_old_writer_and_a_missing_index_are_found() {
    let desk = Desk::new();
    let plant = "INSERT INTO litework_inbox (kind, sqlite_version) VALUES ('greet', '3.40.1')";
    change(&desk.db(), plant);
    assert!(only(&desk, "old_sqlite_writer").starts_with("sqlite3 "));
    change(&desk.db(), "DELETE FROM litework_inbox; DROP INDEX litework_task_ready");
    let mends = only(&desk, "schema_differs");
    assert!(mends.contains("CREATE INDEX"), "{mends}");
    desk.run(&["status"]).fails(7, "litework_task_ready");
}

#[test]
#[cfg(unix)]
fn a_hard_link_is_found_though_the_file_does_not_open() {
    let desk = Desk::new();
    std::fs::hard_link(desk.db(), desk.path("second.db")).unwrap();
    desk.run(&["status"]).fails(7, "not_a_queue_file");
    assert!(only(&desk, "hard_link").starts_with("find / "));
}

#[test]
#[cfg(target_os = "linux")]
fn a_network_disk_and_one_below_the_durability_are_found() {
    let desk = Desk::new();
    let on = |kind: &str| {
        let table = format!("22 1 0:21 / / rw shared:1 - {kind} a:/b rw\n");
        std::fs::write(desk.path("mounts"), table).unwrap();
        let mut command = desk.command(&["doctor", "--json"]);
        let found = findings(&Ran::of(
            &command.env("LITEWORK_MOUNTS", desk.path("mounts")).output().unwrap(),
        ));
        found.iter().map(|finding| finding["code"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(on("nfs4"), [json!("network_filesystem")]);
    assert_eq!(on("tmpfs"), [json!("durability_below")]);
    assert_eq!(on("ext4"), [] as [Value; 0]);
    std::fs::write(desk.path("litework.toml"), "durability = \"normal\"\n").unwrap();
    assert_eq!(on("tmpfs"), [] as [Value; 0], "no more was asked for");
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_killed_process_has_left_is_found() {
    use std::io::BufRead as _;
    let desk = Desk::new();
    desk.add(&["stay"]);
    let mut worker = desk.worker().stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(worker.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    assert_eq!(codes(&desk), [""; 0]);
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(codes(&desk).contains(&"dead_seat".to_owned()), "{:?}", codes(&desk));
}

/// What a body waits at.
#[derive(Clone, Default)]
struct Gate(Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Does not stop at its time-out.
#[task(timeout = "1ms", attempts = 1)]
fn hang(ctx: &Context) -> litework::Result<()> {
    let gate = ctx.state::<Gate>()?;
    let open = gate.0.0.lock().expect("nobody panics");
    drop(gate.0.1.wait_while(open, |open| !*open).expect("nobody panics"));
    Ok(())
}

#[test]
fn a_task_that_does_not_stop_is_found() {
    let (desk, gate) = (Desk::new(), Gate::default());
    let builder = litework::Client::builder(desk.db()).environment([("", ""); 0]).register(hang);
    let builder = builder.state(gate.clone()).stuck_after(Duration::from_millis(1)).workers(1);
    let client = builder.open().unwrap();
    let watcher = client.watch(litework::Watch::all()).unwrap();
    let id = client.enqueue(hang::with()).unwrap().id();
    assert!(watcher.iter().any(|snapshot| snapshot.task.stuck), "it is taken for stuck");
    assert!(only(&desk, "stuck_task").ends_with(&format!(" show {id}")));
    gate.open();
    client.shutdown(Duration::from_secs(60)).unwrap();
}

#[test]
fn a_schedule_that_nobody_fires_is_found() {
    let desk = Desk::new();
    let hour = Duration::from_secs(3_600);
    let clock = ManualClock::new();
    let past = desk.client().overview().unwrap().at.as_millis() - 7 * 1_800_000;
    clock.set(Timestamp::from_millis(past).unwrap());
    let client = kinds::builder(desk.db()).environment([("", ""); 0]).mode(Mode::Hold);
    let client = client.clock(clock).open().unwrap();
    client.schedules().add(Schedule::every("hourly", hour, greet::with("A"))).unwrap();
    let found = codes(&desk);
    assert!(found.contains(&"schedule_late".to_owned()), "{found:?}");
}

#[test]
fn people_read_each_finding_with_its_next_command() {
    let desk = Desk::new();
    desk.client().enqueue(greet::with("Ada")).unwrap();
    change(&desk.db(), "INSERT INTO litework_inbox (kind, sqlite_version) VALUES ('a', '3.40.1')");
    let mut command = desk.command(&["doctor"]);
    let told = Ran::of(&command.env("COLUMNS", "60").output().unwrap());
    assert_eq!(told.code, 1);
    let at = |text: &str| told.out.find(text).unwrap_or_else(|| panic!("{text}: {}", told.out));
    assert!(at("error: old_sqlite_writer\n  a program writes") < at("warning: no_worker\n  "));
    assert_eq!(told.out.matches("\n  next: ").count(), 2 + told.out.matches("disk_full").count());
    let told = told.out.lines().filter(|line| !line.contains("next: "));
    assert!(told.clone().all(|line| line.chars().count() <= 60), "{:?}", told.collect::<Vec<_>>());
}

/// A disk of 8 MiB, until it is dropped.
#[cfg(target_os = "linux")]
struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(path: std::path::PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&path).status();
        assert!(done.unwrap().success(), "mount needs root");
        Self(path)
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs root"]
fn a_disk_that_is_nearly_full_is_found() {
    let desk = Desk::bare();
    let small = SmallDisk::mount(desk.path("disk"));
    let db = small.0.join("tasks.db").display().to_string();
    desk.run(&["init", &db]).says("tasks.db");
    let found = || {
        let told: Value =
            serde_json::from_str(&desk.run(&["doctor", "--db", &db, "--json"]).out).unwrap();
        let codes = told["items"].as_array().unwrap().iter().map(|finding| finding["code"].clone());
        codes.collect::<Vec<_>>()
    };
    assert_eq!(found(), [json!("durability_below")], "it lies in memory");
    std::fs::write(small.0.join("filler"), vec![0; 7_900_000]).unwrap();
    assert!(found().contains(&json!("disk_full")), "{:?}", found());
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs minutes"]
fn a_log_of_more_than_a_gigabyte_is_found_with_who_reads_from_it() {
    let desk = Desk::new();
    change(&desk.db(), "CREATE TABLE theirs (bytes BLOB)");
    let reader = Connection::open(desk.db()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM litework_task").unwrap();
    let writer = Connection::open(desk.db()).unwrap();
    writer.execute_batch("PRAGMA synchronous = OFF").unwrap();
    for _ in 0..11 {
        writer.execute("INSERT INTO theirs VALUES (zeroblob(100000000))", []).unwrap();
    }
    let next = only(&desk, "wal_pinned");
    assert_eq!(next, format!("ps -fp {}", std::process::id()));
}
