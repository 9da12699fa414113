//! Watch: what is wrong with a file, seen from outside: with its disk, its log and its tables. Nothing is changed, so it
//! may be in use, and need not be one that can be opened.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::differs::{Difference, differences, index_sql};
use super::exam::{Bounds, Exam};
use super::inspect::{beside, inspect, look};
use super::pinned;
use super::query::ReadError;
use super::schema::{self, SQLITE_MIN, bad_file};
use super::signs;
use crate::error::Error;
use crate::finding::{Finding, Severity};
use crate::inspection::{Inspection, Standing};
use crate::options::Durability;
use crate::shell::quoted;
use crate::time::Timestamp;

/// A question about the tables.
type Ask = fn(&mut Exam<'_>, &Connection) -> Result<(), ReadError>;

/// All that is wrong, the worst first.
pub(crate) fn examine(
    path: &Path,
    now: Timestamp,
    durability: Durability,
    bounds: Bounds,
) -> Result<Vec<Finding>, Error> {
    let found = inspect(path)?;
    if matches!(found.standing, Standing::Missing | Standing::Empty) {
        let reason = "there is no queue yet; a program makes it as it opens it";
        return Err(bad_file("no_queue_at", path, reason, None));
    }
    let mut exam = Exam { path, now, durability, bounds, findings: Vec::new() };
    exam.file(&found);
    exam.disk(&found);
    exam.log(found.wal_bytes);
    if matches!(found.standing, Standing::Current | Standing::Differs) {
        let conn = look(path).map_err(|error| schema::unreadable(path, error))?;
        exam.tables(&conn, found.standing == Standing::Current)?;
    }
    exam.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(exam.findings)
}

impl Exam<'_> {
    /// Whether it can be opened at all.
    fn file(&mut self, found: &Inspection) {
        let reason = found.reason.clone().unwrap_or_default();
        if rusqlite::version_number() < SQLITE_MIN {
            let what = format!(
                "this program is built with SQLite {}, whose log may be lost: 3.51.3 or newer is needed",
                found.sqlite_version
            );
            self.find("old_sqlite", Severity::Error, what, "sqlite3 --version");
        }
        if found.links > 1 {
            let what = format!(
                "the file has {} names (hard links): each would have a log of its own, so it cannot be opened",
                found.links
            );
            let next = self.shown("find / -xdev -samefile");
            self.find("hard_link", Severity::Error, what, next);
        }
        match found.standing {
            Standing::Foreign => {
                self.find("not_a_queue", Severity::Error, reason, self.shown("file"));
            }
            Standing::Damaged => self.damaged(&reason),
            Standing::Newer => {
                let schema = found.schema.max(found.min_writer).unwrap_or_default();
                let what = format!(
                    "a newer program has made it (schema {schema}); this one knows {}, and may not write to it",
                    found.schema_known
                );
                self.find("schema_newer", Severity::Error, what, "litework --version");
            }
            Standing::Older => {
                let what = "an older program has made it; it has to be brought up to date";
                self.find("schema_older", Severity::Warning, what, self.ours("migrate"));
            }
            _ => {}
        }
        if found.standing == Standing::Current && found.journal_mode != "wal" {
            let what = format!(
                "its journal mode is {}, so readers and writers wait for each other; the next program that opens \
                 it changes that, or refuses it",
                found.journal_mode
            );
            self.find(
                "not_wal",
                Severity::Warning,
                what,
                self.sqlite3("PRAGMA journal_mode = WAL"),
            );
        }
        self.copy(found);
    }

    /// A copy beside the file that it was made of.
    fn copy(&mut self, found: &Inspection) {
        let Some(first) = &found.copy_of else { return };
        let here = std::fs::canonicalize(self.path).ok();
        let there = std::fs::canonicalize(first).ok();
        if there.is_none() || here == there {
            return;
        }
        let at = found.copied_at.map(|at| format!(" of {at}")).unwrap_or_default();
        let what = format!(
            "it is a copy{at} of {first}, which is still there: what had not ended then runs in both, where both are used"
        );
        let next = format!("litework --db {} status", quoted(first));
        self.find("copy_in_use", Severity::Warning, what, next);
    }

    fn disk(&mut self, found: &Inspection) {
        let kind = found.file_system.clone().unwrap_or_default();
        let next = self.shown("findmnt --target");
        if found.shared_disk {
            let what = format!(
                "it lies on a disk that other hosts may share ({kind}): two of them would damage it without an error"
            );
            self.find("network_filesystem", Severity::Error, what, next.clone());
        }
        if found.memory_disk && self.durability > Durability::Normal {
            let what = format!(
                "its programs are to survive power loss, but it lies in memory ({kind}), of which nothing does"
            );
            self.find("durability_below", Severity::Warning, what, next);
        }
        let Some((free, total)) = room(self.path) else { return };
        if u128::from(free) * 1_000 < u128::from(total) * u128::from(self.bounds.free_permille) {
            let of = |bytes: u64| bytes / (1 << 20);
            let what = format!(
                "of its disk {} MiB of {} MiB are free: once it is full, nothing is stored any more",
                of(free),
                of(total)
            );
            self.find(
                "disk_full",
                Severity::Warning,
                what,
                self.ours("prune --queue '*' --dry-run"),
            );
        }
    }

    fn log(&mut self, bytes: u64) {
        if bytes <= self.bounds.wal_bytes {
            return;
        }
        let mib = bytes / (1 << 20);
        let readers = pinned::readers(&beside(self.path, "-shm"));
        if readers.is_empty() {
            let what = format!(
                "the write-ahead log has grown to {mib} MiB and was not begun anew; somebody may have read all the time"
            );
            return self.find("wal_large", Severity::Warning, what, self.shown("fuser -v"));
        }
        let pids: Vec<String> = readers.iter().map(ToString::to_string).collect();
        let what = format!(
            "the write-ahead log has grown to {mib} MiB and cannot be begun anew, as process {} reads from it",
            pids.join(", ")
        );
        self.find("wal_pinned", Severity::Warning, what, format!("ps -fp {}", pids.join(",")));
    }

    /// What the tables tell. Where they are not as we made them, or are torn, a question may have no answer.
    fn tables(&mut self, conn: &Connection, is_whole: bool) -> Result<(), Error> {
        let asked: [Ask; 7] = [
            schema_differs,
            signs::integrity,
            signs::rows,
            signs::twice,
            signs::old_writers,
            signs::unserved,
            signs::late,
        ];
        signs::left_seats(self);
        for ask in asked {
            match ask(self, conn) {
                Ok(()) => {}
                Err(_) if !is_whole || self.is_damaged() => {}
                Err(ReadError::Theirs(error))
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) =>
                {
                    self.damaged(&error.to_string());
                }
                Err(ReadError::Ours(error)) => return Err(error),
                Err(ReadError::Theirs(error)) => {
                    return Err(schema::unreadable(self.path, error));
                }
            }
        }
        Ok(())
    }
}

fn schema_differs(exam: &mut Exam<'_>, conn: &Connection) -> Result<(), ReadError> {
    for difference in differences(conn)? {
        let what = format!("the {difference}, so the file cannot be opened");
        let next = exam.sqlite3(&mending(&difference));
        exam.find("schema_differs", Severity::Error, what, next);
    }
    Ok(())
}

/// What undoes a change, where that is a matter of one statement; else what shows it.
fn mending(difference: &Difference) -> String {
    let Difference { kind, name, what } = difference;
    match (kind.as_str(), *what, index_sql(name)) {
        ("index", "is missing", Some(sql)) => sql,
        ("index", _, Some(sql)) => format!("DROP INDEX {name}; {sql}"),
        _ => format!(".schema {name}"),
    }
}

/// Bytes of the disk that a program may still use, and of all of it.
#[cfg(target_os = "linux")]
fn room(path: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

#[cfg(not(target_os = "linux"))]
fn room(_path: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::{NOW, at, task};
    use super::super::{Settings, Sqlite, seats};
    use super::*;
    use crate::backend::Backend;
    use crate::record::{Member, NewTask};
    use crate::retention::{Prune, Retention, Walk};
    use crate::upkeep::Upkeep;

    const FULL: Durability = Durability::Full;
    /// Whatever the disk is on which tests run.
    const LAX: Bounds = Bounds { wal_bytes: 1 << 30, free_permille: 0 };

    /// A file that may fall ill, on a disk and not in memory.
    struct Ward {
        engine: Option<Sqlite>,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Ward {
        fn new() -> Self {
            let own = std::env::current_exe().expect("it has a file");
            let disk = own.parent().expect("in a folder");
            let folder = tempfile::tempdir_in(disk).expect("a folder");
            let path = folder.path().join("queue.db");
            let engine = Sqlite::open(&path, &Settings::default()).expect("a new file");
            Self { engine: Some(engine), path, _folder: folder }
        }

        fn engine(&self) -> &Sqlite {
            self.engine.as_ref().expect("it is open")
        }

        /// A pool that knows these kinds.
        fn pool(&self, kinds: &[&str]) -> i64 {
            let kinds = kinds.iter().map(|&kind| kind.to_owned()).collect();
            let member = Member { name: "web".into(), serves: true, kinds, ..Member::default() };
            self.engine().join(at(NOW), &member).expect("it joins")
        }

        fn store(&self, tasks: Vec<NewTask>) {
            self.engine().enqueue(at(NOW), tasks, None).expect("it is stored");
        }

        fn stranger(&self) -> Connection {
            let conn = Connection::open(&self.path).expect("it is there");
            conn.pragma_update(None, "ignore_check_constraints", true).expect("it may");
            conn
        }

        fn run(&self, sql: &str) {
            self.stranger().execute_batch(sql).expect("it is written");
        }

        fn findings(&self, bounds: Bounds) -> Vec<Finding> {
            examine(&self.path, at(NOW), FULL, bounds).expect("it can be looked at")
        }

        fn codes(&self) -> Vec<&'static str> {
            self.findings(LAX).iter().map(|finding| finding.code).collect()
        }

        /// The one finding, and that its command names the file.
        fn only(&self, code: &str) -> Finding {
            let [finding] = self.findings(LAX).try_into().expect("one finding");
            assert_eq!(finding.code, code, "{finding:?}");
            finding
        }

        /// Closes it.
        fn close(&mut self) {
            drop(self.engine.take());
        }
    }

    fn none() -> Vec<&'static str> {
        Vec::new()
    }

    #[test]
    fn a_sound_file_has_no_finding_while_it_is_used_and_afterwards() {
        let mut ward = Ward::new();
        assert_eq!(ward.codes(), none());
        let owner = ward.pool(&["k"]);
        ward.store(vec![task(NOW); 40]);
        ward.store(vec![NewTask { key: Some("a".into()), ..task(NOW + 9_000) }]);
        ward.run("INSERT INTO litework_inbox (kind) VALUES ('k')");
        assert_eq!(ward.codes(), none());
        let exam = ward.engine().examine(at(NOW)).expect("it answers");
        assert!(exam.iter().all(|finding| finding.code == "disk_full"), "{exam:?}");
        let mut walk = Walk::new(
            at(NOW),
            Prune::new(),
            &Retention::default().into(),
            &std::sync::Arc::default(),
        );
        while !walk.is_done() {
            ward.engine().prune(&mut walk).expect("it answers");
        }
        ward.engine().leave(at(NOW), owner).expect("it leaves");
        ward.run("UPDATE litework_task SET state = 'succeeded', reason = NULL, finished_at = 1, attempt = 1");
        assert_eq!(ward.codes(), none());
        ward.close();
        assert_eq!(ward.codes(), none());
    }

    #[test]
    fn ready_work_without_a_worker_and_a_parked_kind_are_told_apart() {
        let ward = Ward::new();
        ward.store(vec![NewTask::plain("mail", "send")]);
        let nobody = ward.only("no_worker");
        assert!(nobody.what.contains("tasks send in queue mail are ready"), "{nobody:?}");
        assert!(nobody.next.ends_with(" workers"), "{nobody:?}");
        ward.pool(&["print"]);
        let parked = ward.only("parked_kind");
        let next = format!(
            "litework --db {} ls --state ready --queue mail --kind send",
            ward.path.display()
        );
        assert_eq!(parked.next, next);
        ward.run("INSERT INTO litework_rule (scope, name, paused_at) VALUES ('kind', 'send', 1)");
        assert_eq!(ward.codes(), none(), "somebody wants it so");
        ward.run("DELETE FROM litework_rule");
        ward.pool(&["send"]);
        assert_eq!(ward.codes(), none());
    }

    #[test]
    fn a_task_that_is_marked_as_stuck_is_named() {
        let ward = Ward::new();
        let owner = ward.pool(&["k"]);
        ward.store(vec![task(NOW)]);
        ward.run(&format!(
            "UPDATE litework_task SET state = 'running', attempt = 1, worker = {owner}, started_at = 1, stuck = 1"
        ));
        let stuck = ward.only("stuck_task");
        assert!(
            stuck.what.contains("of process web (") && stuck.next.contains(" show 1-"),
            "{stuck:?}"
        );
        ward.run("UPDATE litework_task SET state = 'failed', reason = 'timeout', finished_at = 9");
        ward.only("stuck_task");
        ward.engine().leave(at(NOW), owner).expect("it leaves");
        assert_eq!(ward.codes(), none(), "no thread is kept any more");
    }

    #[test]
    fn each_who_holds_a_running_task_is_known_however_many_there_are() {
        let ward = Ward::new();
        assert_eq!(ward.engine().holders().expect("it is read"), []);
        let owner = ward.pool(&["k"]);
        ward.store(vec![task(NOW); 1_100]);
        let running = "state = 'running', attempt = 1, started_at = 1";
        ward.run(&format!("UPDATE litework_task SET {running}, worker = {owner}"));
        assert_eq!(ward.engine().holders().expect("it is read"), [Some(owner)]);
        ward.run("UPDATE litework_task SET worker = 99 WHERE id = 1");
        assert_eq!(ward.engine().holders().expect("it is read"), [Some(owner), Some(99)]);
    }

    #[test]
    fn a_writer_with_an_old_sqlite_is_told_with_its_version() {
        let ward = Ward::new();
        ward.run("INSERT INTO litework_inbox (kind, sqlite_version) VALUES ('k', '3.40.1'), ('k', '3.51.2')");
        let old = ward.only("old_sqlite_writer");
        assert_eq!(old.severity, Severity::Error);
        assert!(old.what.contains("SQLite 3.40.1, 3.51.2"), "{old:?}");
        ward.run("DELETE FROM litework_inbox");
        assert_eq!(ward.codes(), none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_keeps_a_large_log_from_being_begun_anew_is_named() {
        let ward = Ward::new();
        let now = inspect(&ward.path).expect("it is there").wal_bytes;
        let small = Bounds { wal_bytes: now + 100_000, ..LAX };
        let told =
            || -> Vec<&str> { ward.findings(small).iter().map(|finding| finding.code).collect() };
        let reader = ward.stranger();
        let read = |sql| reader.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
        reader.execute_batch("BEGIN").expect("it may");
        read("SELECT count(*) FROM litework_task");
        assert_eq!(told(), none());
        let late =
            NewTask { arguments: format!("\"{}\"", "x".repeat(50_000)), ..task(NOW + 9_000) };
        ward.store(vec![late; 4]);
        let [pinned] = ward.findings(small).try_into().expect("one finding");
        assert_eq!(pinned.code, "wal_pinned");
        let own = std::process::id();
        assert!(pinned.what.contains(&format!("process {own} reads")), "{pinned:?}");
        assert_eq!(pinned.next, format!("ps -fp {own}"));
        reader.execute_batch("COMMIT").expect("it ends");
        assert_eq!(told(), ["wal_large"]);
        assert_eq!(ward.codes(), none(), "it is no GiB");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_nearly_full_is_told() {
        let ward = Ward::new();
        let strict = Bounds { free_permille: 1_001, ..LAX };
        let [full] = ward.findings(strict).try_into().expect("one finding");
        assert_eq!((full.code, full.severity), ("disk_full", Severity::Warning));
        assert!(full.next.ends_with("prune --queue '*' --dry-run"), "{full:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_two_names_is_told_though_it_cannot_be_opened() {
        let mut ward = Ward::new();
        ward.close();
        let second = ward.path.with_file_name("second.db");
        std::fs::hard_link(&ward.path, &second).expect("a link");
        let linked = ward.only("hard_link");
        assert!(linked.what.contains("2 names"), "{linked:?}");
        std::fs::remove_file(second).expect("it was there");
        assert_eq!(ward.codes(), none());
    }

    #[test]
    fn a_missing_index_is_told_with_the_statement_that_makes_it_again() {
        let mut ward = Ward::new();
        ward.store(vec![NewTask { key: Some("a".into()), due_at: at(NOW + 9), ..task(NOW) }]);
        ward.run("DROP INDEX litework_task_ready; CREATE TRIGGER theirs AFTER DELETE ON litework_task BEGIN SELECT 1; END");
        ward.close();
        let found = ward.findings(LAX);
        let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["schema_differs", "schema_differs"]);
        assert!(found[1].next.contains(".schema theirs"), "{found:?}");
        let (_, sql) = found[0].next.split_once(" '").expect("a statement");
        let sql = sql.strip_suffix('\'').expect("it is one word").replace(r"'\''", "'");
        ward.run(&format!("{sql}; DROP TRIGGER theirs"));
        assert_eq!(ward.codes(), none());
        Sqlite::open(&ward.path, &Settings::default()).expect("it is whole again");
    }

    #[test]
    fn keys_that_two_tasks_hold_are_counted_and_not_shown() {
        let mut ward = Ward::new();
        let keyed = |key: &str| NewTask { key: Some(key.into()), due_at: at(NOW + 9), ..task(NOW) };
        ward.store(vec![keyed("canary"), keyed("b")]);
        ward.close();
        ward.run("DROP INDEX litework_task_key; UPDATE litework_task SET key = 'canary'");
        let found = ward.findings(LAX);
        let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["schema_differs", "duplicate_keys"]);
        assert!(
            found[1].what.starts_with("1 idempotency key is held by more than one"),
            "{found:?}"
        );
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    }

    #[test]
    fn rows_that_no_program_of_ours_has_written_are_counted() {
        let ward = Ward::new();
        ward.store(vec![task(NOW + 9_000); 9]);
        ward.run("UPDATE litework_task SET state = 'asleep' WHERE id = 2; UPDATE litework_task SET meta = '{' WHERE id > 3");
        let bad = ward.only("bad_rows");
        assert!(
            bad.what.starts_with("7 tasks hold") && bad.what.contains("(rows 2, 4, 5, 6, 7, …)"),
            "{bad:?}"
        );
        assert!(bad.next.ends_with("'SELECT * FROM litework_task WHERE id = 2'"), "{bad:?}");
    }

    #[test]
    fn seats_of_the_dead_are_told_and_those_of_the_living_are_not() {
        let ward = Ward::new();
        ward.pool(&["k"]);
        let folder = seats::folder(&ward.path);
        for name in [
            "0123456789abcdef.lock",
            "0123456789abcdef.slots",
            "fedcba9876543210.slots",
            "theirs.slots",
        ] {
            std::fs::write(folder.join(name), "").expect("a file");
        }
        let dead = ward.only("dead_seat");
        assert!(dead.what.contains("0123456789abcdef, fedcba9876543210"), "{dead:?}");
    }

    #[test]
    fn a_damaged_file_and_one_of_another_version_are_told() {
        let mut ward = Ward::new();
        let calls = (0..2_000)
            .map(|n| NewTask { arguments: format!(r#"{{"needle":{n}}}"#), ..task(NOW + 9_000) });
        ward.store(calls.collect());
        ward.close();
        let whole = std::fs::read(&ward.path).expect("it is closed");
        let needle: &[u8] = br#"{"needle":1000}"#;
        let at_needle = whole.windows(needle.len()).position(|bytes| bytes == needle);
        // A page of tasks, and whichever lies in the middle.
        for place in [at_needle.expect("it is stored"), whole.len() / 2] {
            let mut torn = whole.clone();
            let page = place / 4_096 * 4_096;
            torn[page..page + 4_096].fill(0x5a);
            std::fs::write(&ward.path, torn).expect("it is closed");
            assert!(ward.codes().contains(&"damaged_file"), "{:?}", ward.findings(LAX));
        }
        std::fs::write(&ward.path, whole).expect("it is closed");
        ward.run("UPDATE litework_meta SET value = 7 WHERE name = 'min_writer'");
        assert!(ward.only("schema_newer").what.contains("(schema 7)"));
        ward.run("UPDATE litework_meta SET value = 0 WHERE name IN ('min_writer', 'schema')");
        assert!(ward.only("schema_older").next.ends_with(" migrate"));
        let absent = ward.path.with_file_name("absent.db");
        let error = examine(&absent, at(NOW), FULL, LAX).expect_err("there is none");
        assert_eq!(error.code(), "no_queue_at");
        assert!(!absent.exists());
    }

    #[test]
    fn a_copy_beside_its_first_is_told() {
        let mut ward = Ward::new();
        let copy = ward.path.with_file_name("copy of it.db");
        let mut tell = |_| Ok(std::ops::ControlFlow::Continue(()));
        ward.engine().back_up(&|| at(NOW), &copy, &mut tell).expect("it is copied");
        let found = examine(&copy, at(NOW), FULL, LAX).expect("it can be looked at");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, "copy_in_use");
        assert_eq!(ward.codes(), none());
        ward.close();
        std::fs::rename(&copy, &ward.path).expect("it takes its place");
        assert_eq!(ward.codes(), none());
    }
}
