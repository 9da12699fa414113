//! What the fuzz targets check, apart from the engine that drives them: bytes in, a panic where a
//! promise was broken.

use std::cell::RefCell;

use arbitrary::{Arbitrary, Unstructured};
use litework::{
    Client, Context, Cron, Cursor, Durability, Error, Filter, Mode, Pending, Result, SPAN_MAX,
    Task, TaskId, Timestamp, Zone, parse_duration,
};
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

/// A task that takes any JSON and gives it back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Echo(serde_json::Value);

impl Task for Echo {
    const NAME: &'static str = "echo";
    type Output = serde_json::Value;

    fn run(self, _ctx: &Context) -> Result<serde_json::Value> {
        Ok(self.0)
    }
}

/// A task that nothing is wrong with.
#[derive(Debug, Serialize, Deserialize)]
struct Healthy {}

impl Task for Healthy {
    const NAME: &'static str = "healthy";
    type Output = ();

    fn run(self, _ctx: &Context) -> Result<()> {
        Ok(())
    }
}

fn in_memory() -> Client {
    let builder = Client::in_memory().environment([("", ""); 0]).mode(Mode::Hold);
    builder.register(Echo::define()).open().expect("nothing is wrong with these settings")
}

/// Text is refused with a code, or stored byte for byte and read without loss.
pub fn untyped_arguments(data: &[u8]) {
    let client = in_memory();
    match client.enqueue_json("echo", data) {
        Ok(task) => {
            assert_eq!(task.arguments.as_bytes(), data, "stored as it was given");
            let value: serde_json::Value = task.decode_arguments().expect("what is stored is read");
            client.run_pending(&Pending::all()).expect("it runs");
            let result: serde_json::Value =
                client.get(task.id).and_then(|t| t.value()).expect("it is stored");
            assert_eq!(result, value, "what came back is what went in");
        }
        Err(error) => {
            assert!(error.to_string().starts_with(error.code()), "{error}");
            assert!(matches!(error, Error::Json(_)), "{error}");
            assert_eq!(
                client.count(&Filter::new()).expect("it counts"),
                0,
                "refused, so not stored"
            );
        }
    }
}

/// Text is refused, or is exactly the text that its value shows; no text reaches a task that was
/// not given out.
pub fn id_and_cursor(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(id.to_string(), text);
        assert!(text.len() <= 64);
    }
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
    let client = in_memory();
    let stored = client.enqueue_json("echo", b"{}").expect("it is stored");
    match client.get(&*text) {
        Ok(task) => assert_eq!(task.id.to_string(), text),
        Err(error) => assert!(error.is_not_found(), "{error}"),
    }
    let page = match text.parse() {
        Ok(cursor) => client.list(&Filter::new(), Some(cursor), 10).expect("any cursor is a place"),
        Err(_) => {
            client.list(&Filter::new().kind(text.clone()).tag(text), None, 10).expect("a filter")
        }
    };
    assert!(page.tasks.iter().all(|task| task.id == stored.id));
}

/// Where clocks change by an hour, by half an hour, by a day and at midnight.
const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana"];

/// An error that names what it is about, and is short however long that is.
fn is_told(error: &Error) {
    let text = error.to_string();
    assert!(matches!(error, Error::Invalid { .. }) && text.starts_with(error.code()), "{text}");
    assert!(text.len() < 1_000, "{text}");
}

/// The first bytes choose a zone and a moment, the rest is text. It is refused, or has slots that follow each
/// other; so it is with the text of a zone, a moment and a span.
pub fn cron(data: &[u8]) {
    let (head, rest) = data.split_at(data.len().min(9));
    let text = String::from_utf8_lossy(rest);
    let zone = usize::from(head.first().copied().unwrap_or_default()) % ZONES.len();
    let zone: Zone = ZONES[zone].parse().expect("a zone");
    let from = head.iter().skip(1).fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
    let from = from.rem_euclid(Timestamp::MAX.as_millis() / 2);
    match Cron::new(&text) {
        Ok(cron) => slots_follow_each_other(&cron.zone(zone), from),
        Err(error) => is_told(&error),
    }
    match text.parse::<Zone>() {
        Ok(zone) => assert_eq!(zone.name(), text),
        Err(error) => is_told(&error),
    }
    for moment in [text.parse::<Timestamp>(), zone.moment(&text)] {
        match moment {
            Ok(moment) => {
                assert_eq!(moment.to_string().parse::<Timestamp>().expect("its text"), moment)
            }
            Err(error) => is_told(&error),
        }
    }
    match parse_duration(&text) {
        Ok(span) => assert!(span <= SPAN_MAX),
        Err(error) => is_told(&error),
    }
}

fn slots_follow_each_other(cron: &Cron, from: i64) {
    assert!(!cron.describe().is_empty());
    assert!(!cron.shortest_gap().is_zero());
    let mut moment = Timestamp::from_millis(from).expect("it is in range");
    for _ in 0..5 {
        // A leap day that must be a Sunday may be more than 30 years away.
        let Some(next) = cron.next_after(moment) else { return };
        assert!(next > moment && next.as_millis() % 1_000 == 0, "{cron:?}: {moment}, {next}");
        let just_before = Timestamp::from_millis(next.as_millis() - 1).expect("it is in range");
        assert_eq!(cron.next_after(just_before.max(moment)), Some(next), "{cron:?}: {moment}");
        moment = next;
    }
}

/// One value as SQLite knows them.
#[derive(Debug, Arbitrary)]
enum Cell {
    Null,
    Integer(i64),
    Small(i8),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
    /// A word that the library itself writes.
    Word(u8),
}

const WORDS: [&str; 12] = [
    "scheduled",
    "ready",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "error",
    "delayed",
    "{}",
    "null",
    "{\"timeout_ms\":1}",
    "[\"a\"]",
];

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(number),
            Cell::Small(number) => Self::Integer(number.into()),
            Cell::Real(number) => Self::Real(number),
            Cell::Text(text) => Self::Text(text),
            Cell::Blob(bytes) => Self::Blob(bytes),
            Cell::Word(which) => Self::Text(WORDS[usize::from(which) % WORDS.len()].to_owned()),
        }
    }
}

const COLUMNS: [&str; 26] = [
    "tag",
    "lane",
    "state",
    "reason",
    "rank",
    "priority",
    "due_at",
    "enqueued_at",
    "started_at",
    "finished_at",
    "expires_at",
    "attempt",
    "attempts_max",
    "crashes",
    "snoozes",
    "at_most_once",
    "cancel_requested",
    "stuck",
    "dismissed",
    "worker",
    "key",
    "tags",
    "meta",
    "options",
    "arguments",
    "result",
];

/// A few cells of one row, and the report of an error.
#[derive(Debug, Arbitrary)]
struct Damage {
    cells: Vec<(u8, Cell)>,
    report: Option<Cell>,
}

/// A queue in a file, with a second connection that checks nothing.
struct Lab {
    client: Client,
    raw: rusqlite::Connection,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("queue.db");
        let client = Client::builder(&path)
            .environment([("", ""); 0])
            .mode(Mode::Hold)
            .durability(Durability::Normal)
            .register(Echo::define())
            .register(Healthy::define())
            .open()
            .expect("nothing is wrong with these settings");
        let raw = rusqlite::Connection::open(&path).expect("the same file");
        raw.execute_batch("PRAGMA ignore_check_constraints = ON").expect("a setting");
        Self { client, raw, _dir: dir }
    }

    fn damage(&self, row: i64, damage: Damage) {
        for (column, cell) in damage.cells {
            let column = COLUMNS[usize::from(column) % COLUMNS.len()];
            let sql = format!("UPDATE litework_task SET {column} = ?2 WHERE id = ?1");
            // Types and unique keys still hold; what they refuse is not written.
            let _refused = self.raw.execute(&sql, (row, Value::from(cell)));
        }
        if let Some(report) = damage.report {
            let sql = "INSERT INTO litework_error (task, attempt, outcome, report) VALUES (?1, 1, 'x', ?2)";
            let _refused = self.raw.execute(sql, (row, Value::from(report)));
        }
    }

    /// What anybody may ask of a queue; a damaged row may be an error, never a panic.
    fn use_it(&self, id: TaskId) {
        let _bad_row = self.client.get(id);
        let _bad_row = self.client.attempts(id);
        let _bad_row = self.client.list(&Filter::new(), None, 10);
        let _bad_row = self.client.find("k");
        self.client.count(&Filter::new()).expect("counting reads no cells");
        self.client.run_pending(&Pending::all()).expect("a damaged row does not stop the others");
        let _bad_row = self.client.get(id).map(|task| task.value::<serde_json::Value>());
        let _bad_row = self.client.cancel(id);
    }
}

thread_local! {
    static LAB: RefCell<Option<Lab>> = const { RefCell::new(None) };
}

/// Whatever stands in one row, no call panics, and the tasks beside it run.
pub fn stored_row(data: &[u8]) {
    let Ok(damage) = Damage::arbitrary(&mut Unstructured::new(data)) else { return };
    LAB.with_borrow_mut(|lab| {
        let lab = lab.get_or_insert_with(Lab::new);
        lab.raw
            .execute_batch("DELETE FROM litework_task; DELETE FROM litework_error")
            .expect("emptied");
        let bad = lab.client.enqueue_json("echo", b"{\"a\":1}").expect("it is stored");
        lab.damage(bad.id.row(), damage);
        let beside = lab.client.enqueue(Healthy {}).expect("it is stored");
        let behind = lab.client.enqueue_json("echo", b"{\"a\":2}").expect("it is stored");
        lab.use_it(bad.id);
        beside.value().expect("a task of another kind has run");
        let behind = lab.client.get(behind.id).and_then(|task| task.value::<serde_json::Value>());
        assert_eq!(behind.expect("a task of the same kind has run")["a"], 2);
    });
}
