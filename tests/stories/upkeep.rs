//! An operator keeps a queue in good order: he copies it while it works, and looks at files before he opens
//! them. Only what a file is and what its copy holds is looked at, whoever runs its tasks.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litework::sqlite::{ClientExt, Inspection, Standing, doctor, inspect};
use litework::{
    Client, Context, Durability, Error, Filter, Finding, Keep, Mode, Result, Retention, Schedule,
    State, Vacuum, task,
};
use rusqlite::Connection;

use crate::common::{Gate, LONG, Lab, eventually};

#[task]
fn double(n: u32) -> u32 {
    2 * n
}

/// Stands at the gate until the test opens it.
#[task]
fn stand(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Ok(())
}

#[task(at_most_once)]
fn stand_once(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Ok(())
}

#[task]
fn store(text: &str) -> usize {
    text.len()
}

/// Does not stop at its time-out.
#[task(timeout = "1ms", attempts = 1)]
fn hang(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Ok(())
}

/// Whatever the disk is on which tests run.
fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code).filter(|code| *code != "disk_full").collect()
}

fn beside(lab: &Lab, name: &str) -> PathBuf {
    lab.path().with_file_name(name)
}

fn look_into(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(LONG).unwrap();
    conn
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What a file and those beside it hold.
fn bytes(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let folder = std::fs::read_dir(lab.path().parent().unwrap()).unwrap();
    let files = folder.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
    let mut files: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_copy_that_is_made_while_the_queue_works_is_of_one_moment() {
    Lab::each_way(|lab| {
        let client = lab.builder().register(double).open().unwrap();
        client.enqueue_many((0..200).map(double::with)).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // Two at a time or none.
                    let two = client.write(|tx| {
                        tx.enqueue(double::with(1))?;
                        tx.enqueue(double::with(2)).map(drop)
                    });
                    two.unwrap();
                }
            });
            for copy in ["one.db", "two.db", "three.db"] {
                let before = client.count(&Filter::new()).unwrap();
                client.backup(beside(lab, copy)).unwrap();
                let conn = look_into(&beside(lab, copy));
                let check: String =
                    conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                assert_eq!(check, "ok");
                let tasks = number(&conn, "SELECT count(*) FROM litework_task");
                assert_eq!(tasks % 2, 0, "half of a transaction");
                assert!(tasks.unsigned_abs() >= before, "what was answered before is there");
            }
            over.store(true, Ordering::SeqCst);
        });
    });
}

/// Only a pool has something running while another thread copies.
#[test]
fn what_runs_while_it_is_copied_is_handed_back_in_the_copy_at_once() {
    let (lab, gate) = (Lab::pool(), Gate::default());
    let builder = || lab.builder().register(stand).register(stand_once).state(gate.clone());
    let client = builder().open().unwrap();
    let plain = client.enqueue(stand::with()).unwrap();
    let once = client.enqueue(stand_once::with()).unwrap();
    gate.wait_for(2);
    client.backup(beside(&lab, "copy.db")).unwrap();
    let copy = Client::builder(beside(&lab, "copy.db")).mode(Mode::Hold);
    let copy = copy.register(stand).register(stand_once).open().unwrap();
    let back = copy.get(plain.id()).unwrap();
    assert_eq!((back.state, back.attempt, back.crashes), (State::Ready, 0, 0));
    assert_eq!(copy.get(once.id()).unwrap().state, State::Failed, "it may have run");
    assert_eq!(client.get(plain.id()).unwrap().state, State::Running, "the first goes on");
    gate.open();
    plain.wait(LONG).unwrap();
    once.wait(LONG).unwrap();
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_a_copy() {
    use std::os::unix::fs::PermissionsExt;
    Lab::each_way(|lab| {
        let client = lab.builder().register(double).open().unwrap();
        client.backup(beside(lab, "copy.db")).unwrap();
        let mode = std::fs::metadata(beside(lab, "copy.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

/// An empty file that only its owner may open, as each copy begins.
fn private(path: &Path) {
    std::fs::write(path, "").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Only one process makes a copy at one place at a time, whoever runs the tasks.
#[test]
fn what_a_killed_copy_has_left_is_taken_over_and_what_is_in_use_is_not() {
    let lab = Lab::inline();
    let client = lab.builder().register(double).open().unwrap();
    client.enqueue(double::with(1)).unwrap();
    let part = beside(&lab, "copy.db.part");
    private(&part);
    let other = look_into(&part);
    other.execute_batch("CREATE TABLE half (a); BEGIN EXCLUSIVE").unwrap();
    let refused = client.backup(beside(&lab, "copy.db")).unwrap_err();
    assert_eq!(refused.code(), "file_busy", "{refused}");
    assert!(part.exists(), "it belongs to the other");
    drop(other);
    std::fs::remove_file(&part).unwrap();
    private(&part);
    let first = std::fs::canonicalize(lab.path()).unwrap();
    let half = "PRAGMA journal_mode = WAL; CREATE TABLE litework_meta (name, value); CREATE TABLE half (a)";
    let left = look_into(&part);
    left.execute_batch(half).unwrap();
    let whose = "INSERT INTO litework_meta VALUES ('copy_of', ?1)";
    left.execute(whose, ["another.db"]).unwrap();
    drop(left);
    let refused = client.backup(beside(&lab, "copy.db")).unwrap_err();
    assert_eq!(refused.code(), "file_exists", "it is a copy of another queue: {refused}");
    let left = look_into(&part);
    left.execute("UPDATE litework_meta SET value = ?1", [first.to_str().unwrap()]).unwrap();
    drop(left);
    client.backup(beside(&lab, "copy.db")).unwrap();
    assert!(!part.exists());
    assert_eq!(inspect(beside(&lab, "copy.db")).unwrap().standing, Standing::Current);
    let theirs = beside(&lab, "their.db.part");
    look_into(&theirs).execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE film (a)").unwrap();
    let refused = client.backup(beside(&lab, "their.db")).unwrap_err();
    assert_eq!(refused.code(), "file_exists", "{refused}");
    assert_eq!(number(&look_into(&theirs), "SELECT count(*) FROM film"), 0, "it is not ours");
    let mode: String =
        look_into(&theirs).query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal", "it is as it was");
    let letter = beside(&lab, "other.db.part");
    private(&letter);
    std::fs::write(&letter, "a letter, and no database at all, of some length").unwrap();
    let refused = client.backup(beside(&lab, "other.db")).unwrap_err();
    assert_eq!(refused.code(), "not_a_queue", "{refused}");
    assert!(letter.exists(), "it is not ours");
}

/// What lies beside a copy is the same whoever runs the tasks.
#[test]
fn a_copy_takes_up_nothing_that_a_dead_queue_has_left() {
    let lab = Lab::inline();
    let client = lab.builder().register(double).open().unwrap();
    client.enqueue(double::with(1)).unwrap();
    let log = std::fs::read(beside(&lab, "tasks.db-wal")).unwrap();
    client.enqueue(double::with(2)).unwrap();
    for suffix in ["-wal", "-journal", "-shm"] {
        let left = beside(&lab, &format!("copy.db{suffix}"));
        std::fs::write(&left, &log).unwrap();
        let refused = client.backup(beside(&lab, "copy.db")).unwrap_err();
        assert_eq!(refused.code(), "file_exists", "{refused}");
        assert!(
            refused.to_string().contains(&format!("copy.db{suffix}: it was left")),
            "{refused}"
        );
        assert!(std::fs::read(&left).unwrap() == log, "it is not ours");
        std::fs::remove_file(&left).unwrap();
        let refused = client.backup(beside(&lab, &format!("other.db{suffix}")));
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), "not_a_queue_file", "{refused}");
    }
    let late = beside(&lab, "copy.db-wal");
    let refused = client.backup_with(beside(&lab, "copy.db"), |_| {
        std::fs::write(&late, &log).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(refused.unwrap_err().code(), "file_exists", "it came in the midst");
    assert!(late.exists() && !beside(&lab, "copy.db").exists());
    assert!(!beside(&lab, "copy.db.part").exists(), "nothing is left of it");
    std::fs::remove_file(&late).unwrap();
    client.backup(beside(&lab, "copy.db")).unwrap();
    let copy = look_into(&beside(&lab, "copy.db"));
    assert_eq!(number(&copy, "SELECT count(*) FROM litework_task"), 2);
}

fn standing(path: &Path) -> (Standing, Option<String>) {
    let Inspection { standing, reason, .. } = inspect(path).unwrap();
    (standing, reason)
}

#[test]
fn a_look_tells_what_a_file_is() {
    let lab = Lab::inline();
    let path = beside(&lab, "a.db");
    assert_eq!(standing(&path), (Standing::Missing, None));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert_eq!(standing(&path), (Standing::Empty, None));
    std::fs::write(&path, "x".repeat(5_000)).unwrap();
    let (foreign, reason) = standing(&path);
    assert_eq!(foreign, Standing::Foreign);
    assert!(reason.unwrap().contains("it is not an SQLite database"));
    std::fs::remove_file(&path).unwrap();
    look_into(&path).execute_batch("CREATE TABLE orders (id)").unwrap();
    let (foreign, reason) = standing(&path);
    assert_eq!(
        (foreign, reason.as_deref()),
        (Standing::Foreign, Some("it has no tables of litework"))
    );
    let wide = beside(&lab, "wide.db");
    let tables = "PRAGMA encoding = 'UTF-16le'; CREATE TABLE litework_meta (name, value)";
    look_into(&wide).execute_batch(tables).unwrap();
    let (foreign, reason) = standing(&wide);
    assert_eq!(
        (foreign, reason.as_deref()),
        (Standing::Foreign, Some("its text encoding is UTF-16le; UTF-8 is needed"))
    );

    let client = lab.builder().register(double).open().unwrap();
    client.enqueue(double::with(1)).unwrap();
    let open = inspect(lab.path()).unwrap();
    assert_eq!(
        (open.standing, open.schema, open.min_writer),
        (Standing::Current, Some(1), Some(1))
    );
    assert_eq!((open.application_id, open.journal_mode.as_str()), (0x6c74_776b, "wal"));
    assert!(open.wal_bytes > 0 && open.file_bytes > 0 && open.pages > 10, "{open:?}");
    assert_eq!((open.differs.as_slice(), open.copy_of), (&[] as &[String], None));
    assert!(open.page_size >= 512 && open.sqlite_version.starts_with("3."), "{}", open.page_size);
    client.shutdown(LONG).unwrap();
    drop(client);

    let theirs = look_into(&lab.path());
    theirs.execute_batch("DROP INDEX litework_task_ready").unwrap();
    let differs = inspect(lab.path()).unwrap();
    assert_eq!(differs.standing, Standing::Differs);
    assert_eq!(differs.differs, ["index litework_task_ready is missing"]);
    theirs.execute_batch("UPDATE litework_meta SET value = 9 WHERE name = 'min_writer'").unwrap();
    assert_eq!(inspect(lab.path()).unwrap().standing, Standing::Newer);
    theirs
        .execute_batch("UPDATE litework_meta SET value = 0 WHERE name IN ('min_writer', 'schema')")
        .unwrap();
    assert_eq!(inspect(lab.path()).unwrap().standing, Standing::Older);
    drop(theirs);

    // The page on which the tables are listed.
    let mut torn = std::fs::read(lab.path()).unwrap();
    torn[100..1_000].fill(0xff);
    std::fs::write(&path, torn).unwrap();
    let (damaged, reason) = standing(&path);
    assert_eq!(damaged, Standing::Damaged, "{reason:?}");
    for (word, code) in [(":memory:", "not_a_queue_file"), ("", "missing")] {
        let answer = inspect(word).map(|found| found.standing.to_string());
        assert_eq!(answer.unwrap_or_else(|error| error.code().to_owned()), code);
    }
    assert_eq!(inspect(lab.path().parent().unwrap()).unwrap_err().code(), "not_a_queue_file");
}

#[test]
fn a_look_changes_nothing() {
    let lab = Lab::inline();
    let client = lab.builder().register(double).open().unwrap();
    client.enqueue_many((0..50).map(double::with)).unwrap();
    let while_open = bytes(&lab);
    inspect(lab.path()).unwrap();
    doctor(lab.path(), Durability::Full).unwrap();
    // What each reader notes of itself stands in the -shm.
    let kept = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(name, _)| !name.ends_with("-shm")).collect()
    };
    // What a dead program leaves: a log that is not moved into the file.
    let left = kept(while_open);
    assert!(kept(bytes(&lab)) == left, "a file was changed");
    client.shutdown(LONG).unwrap();
    drop(client);
    let closed = bytes(&lab);
    eventually("the file is closed", || !beside(&lab, "tasks.db-wal").exists());
    inspect(lab.path()).unwrap();
    assert_eq!(bytes(&lab), closed);
    for (name, content) in &left {
        std::fs::write(beside(&lab, name), content).unwrap();
    }
    assert_eq!(inspect(lab.path()).unwrap().standing, Standing::Current);
    for (name, content) in &left {
        assert!(std::fs::read(beside(&lab, name)).unwrap() == *content, "{name} was changed");
    }
}

#[cfg(unix)]
#[test]
fn a_file_of_two_names_is_told_by_their_number() {
    let lab = Lab::inline();
    drop(lab.builder().register(double).open().unwrap());
    assert_eq!(inspect(lab.path()).unwrap().links, 1);
    std::fs::hard_link(lab.path(), beside(&lab, "second.db")).unwrap();
    assert_eq!(inspect(lab.path()).unwrap().links, 2);
    let refused: Result<Client, Error> = lab.builder().register(double).open();
    assert_eq!(refused.unwrap_err().code(), "not_a_queue_file");
}

/// Only a pool has a thread that a body can keep.
#[test]
fn a_body_that_does_not_stop_is_found_with_its_task() {
    let (lab, gate) = (Lab::pool(), Gate::default());
    let builder =
        lab.builder().register(hang).state(gate.clone()).stuck_after(Duration::from_millis(1));
    let client = builder.open().unwrap();
    assert_eq!(codes(&client.doctor().unwrap()), [] as [&str; 0]);
    let id = client.enqueue(hang::with()).unwrap().id();
    gate.wait_for(1);
    eventually("it is taken for stuck", || {
        lab.clock.advance(Duration::from_secs(1));
        client.get(id).unwrap().stuck
    });
    let found = client.doctor().unwrap();
    assert_eq!(codes(&found), ["stuck_task"]);
    let stuck = found.iter().find(|finding| finding.code == "stuck_task").unwrap();
    assert!(stuck.what.starts_with(&format!("task {id} (hang) has not stopped")), "{stuck:?}");
    gate.open();
    client.shutdown(LONG).unwrap();
    assert_eq!(codes(&client.doctor().unwrap()), [] as [&str; 0]);
}

/// Only who fires schedules makes a difference, and here nobody does.
#[test]
fn a_schedule_that_nobody_fires_is_found_after_three_slots() {
    let lab = Lab::inline();
    let hour = Duration::from_secs(3_600);
    let hourly = Schedule::every("hourly", hour, double::with(1));
    let builder = || lab.builder().register(double).mode(Mode::Enqueue);
    let client = builder().schedule(hourly).open().unwrap();
    lab.clock.advance(2 * hour + hour / 2);
    assert_eq!(codes(&client.doctor().unwrap()), [] as [&str; 0]);
    lab.clock.advance(hour);
    let found = client.doctor().unwrap();
    assert_eq!(codes(&found), ["schedule_late"]);
    let late = found.iter().find(|finding| finding.code == "schedule_late").unwrap();
    assert!(late.what.starts_with("schedule hourly is three slots late, since "), "{late:?}");
    assert!(late.next.ends_with(" cron ls"), "{late:?}");
    client.schedules().disable("hourly").unwrap();
    assert_eq!(codes(&client.doctor().unwrap()), [] as [&str; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_in_memory_is_below_what_its_programs_are_to_survive() {
    Lab::each_way(|_| {
        let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return };
        let path = memory.path().join("tasks.db");
        let client = Client::builder(&path).environment([] as [(&str, &str); 0]).open().unwrap();
        let found = inspect(&path).unwrap();
        assert!(found.memory_disk, "{found:?}");
        assert_eq!(codes(&client.doctor().unwrap()), ["durability_below"]);
        assert_eq!(codes(&doctor(&path, Durability::Normal).unwrap()), [] as [&str; 0]);
    });
}

#[test]
fn a_client_in_memory_has_nothing_to_be_looked_after() {
    Lab::each_way(|_| {
        let client = Client::in_memory().register(double).open().unwrap();
        assert_eq!(client.doctor().unwrap_err().code(), "unsupported");
        assert_eq!(client.vacuum(Vacuum::Full).unwrap_err().code(), "unsupported");
        assert_eq!(doctor("none.db", Durability::Full).unwrap_err().code(), "no_queue_at");
        assert!(!Path::new("none.db").exists());
    });
}

/// A queue of which most was removed.
fn emptied(client: &Client) {
    let long = "x".repeat(100_000);
    client.enqueue_many((0..40).map(|_| store::with(long.as_str()))).unwrap();
    while client.count(&Filter::new().state(State::Ready)).unwrap() > 0 {
        client.run_pending(&litework::Pending::all()).unwrap();
    }
    eventually("all have ended", || {
        client.count(&Filter::new().state(State::Succeeded)).unwrap() == 40
    });
    client.prune(Retention::all(Keep::age(Duration::ZERO))).unwrap();
}

#[test]
fn the_space_of_what_was_removed_is_given_back() {
    Lab::each_way(|lab| {
        let client = lab.builder().register(store).open().unwrap();
        emptied(&client);
        let refused = client.vacuum(Vacuum::Incremental).unwrap_err();
        assert_eq!(refused.code(), "needs_vacuum", "{refused}");
        let newest = client.list(&Filter::new(), None, 2).unwrap().tasks;
        assert_eq!(newest.len(), 1);
        client.shutdown(LONG).unwrap();
        drop(client);
        let client = lab.builder().mode(Mode::Hold).register(store).open().unwrap();
        let done = client.vacuum(Vacuum::Full).unwrap();
        assert!(done.log_emptied && done.after * 4 < done.before, "{done:?}");
        assert_eq!(std::fs::metadata(lab.path()).unwrap().len(), done.after);
        assert_eq!(client.list(&Filter::new(), None, 2).unwrap().tasks, newest);
        assert_eq!(inspect(lab.path()).unwrap().free_pages, 0);
        let id = client.enqueue(store::with("b")).unwrap().id();
        assert_eq!(id.row(), 41, "no number is given out again");
    });
}

#[test]
fn free_pages_are_given_back_while_the_queue_works() {
    Lab::each_way(|lab| {
        drop(lab.builder().incremental_vacuum().register(store).open().unwrap());
        // One that does not give them back by itself.
        let client = lab.builder().register(store).open().unwrap();
        emptied(&client);
        let (before, over) = (inspect(lab.path()).unwrap(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    client.enqueue(store::with("b")).unwrap();
                }
            });
            let done = client.vacuum(Vacuum::Incremental);
            over.store(true, Ordering::SeqCst);
            done.unwrap();
        });
        let after = inspect(lab.path()).unwrap();
        assert!(before.free_pages > 500, "{before:?}");
        assert!(after.pages < before.pages && after.free_pages < 100, "{after:?}");
    });
}

/// Only a pool goes on by itself.
#[test]
fn a_file_is_not_written_anew_while_somebody_works_or_writes() {
    let lab = Lab::pool();
    let pool = lab.builder().name("web").register(store).open().unwrap();
    let refused = pool.vacuum(Vacuum::Full).unwrap_err();
    assert_eq!(refused.code(), "file_in_use");
    assert!(refused.to_string().contains("process web ("), "{refused}");
    pool.shutdown(LONG).unwrap();
    let client = lab.builder().mode(Mode::Hold).register(store).open().unwrap();
    let other = look_into(&lab.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(client.vacuum(Vacuum::Full).unwrap_err().code(), "file_busy");
    other.execute_batch("COMMIT").unwrap();
    client.vacuum(Vacuum::Full).unwrap();
}
