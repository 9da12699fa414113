//! Programs in other languages enqueue by SQL: what they write becomes a task that was checked like any
//! other, or is refused with a reason that they can read.

use std::time::Duration;

use litework::{
    Builder, Client, Context, Definition, EventKind, EventRecord, Exclusive, Filter, Limit, Mode,
    Options, Pending, Reason, Result, State, TaskRecord, Timestamp, Unique, task,
};
use rusqlite::{Connection, Params};

use crate::common::{Events, Gate, LONG, Lab, Log, Place, Runs, eventually};
use crate::under_way::begin;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task(queue = "post", priority = 7, attempts = 3, aliases = ["mail.old"])]
fn mail(ctx: &Context, to: &str) -> Result<String> {
    ctx.state::<Log>()?.note(to);
    Ok(format!("sent to {to}"))
}

#[task]
fn count(ctx: &Context, n: i64) -> Result<i64> {
    ctx.state::<Log>()?.note(n.to_string());
    Ok(n + 1)
}

fn builder(lab: &Lab, log: &Log) -> Builder {
    lab.builder().register(mail).register(count).state(log.clone())
}

fn on_demand() -> Lab {
    Lab::new(Place::file(Runs::RunPending))
}

/// Another program.
struct Theirs(Connection);

impl Theirs {
    fn new(lab: &Lab) -> Self {
        let conn = Connection::open(lab.path()).unwrap();
        conn.busy_timeout(LONG).unwrap();
        Self(conn)
    }

    /// Writes a row and gives its number.
    fn write(&self, columns: &str, values: impl Params) -> i64 {
        self.try_write(columns, values).unwrap()
    }

    fn try_write(&self, columns: &str, values: impl Params) -> rusqlite::Result<i64> {
        let marks = vec!["?"; columns.split(',').count()].join(", ");
        let sql = format!("INSERT INTO litework_inbox ({columns}) VALUES ({marks}) RETURNING id");
        self.0.query_row(&sql, values, |row| row.get(0))
    }

    fn mail_to(&self, to: &str) -> i64 {
        self.write("kind, args", ("mail", format!(r#"{{"to":"{to}"}}"#)))
    }

    /// What became of a row: the id of its task, and why it was refused.
    fn fate(&self, row: i64) -> (Option<String>, Option<String>) {
        let sql = "SELECT task, error FROM litework_inbox WHERE id = ?1";
        self.0.query_row(sql, [row], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// The task that a row has become, once it has ended.
fn ended(lab: &Lab, client: &Client, theirs: &Theirs, row: i64) -> TaskRecord {
    lab.settle(client);
    eventually("the row is a task", || theirs.fate(row).0.is_some());
    lab.settle(client);
    let id = theirs.fate(row).0.unwrap();
    eventually("the task has ended", || client.get(&id).unwrap().state.is_final());
    client.get(&id).unwrap()
}

/// Why a row was refused, once it was.
fn refusal(lab: &Lab, client: &Client, theirs: &Theirs, row: i64) -> String {
    lab.settle(client);
    eventually("the row is refused", || theirs.fate(row).1.is_some());
    let (task, error) = theirs.fate(row);
    assert_eq!(task, None);
    error.unwrap()
}

#[test]
fn a_row_becomes_a_task_with_the_options_of_its_kind() {
    Lab::each_way(|lab| {
        let log = Log::default();
        drop(builder(lab, &log).open().unwrap());
        let theirs = Theirs::new(lab);
        let before = theirs.mail_to("Ada");
        assert_eq!(theirs.fate(before), (None, None), "while no program runs, it waits");
        let client = builder(lab, &log).open().unwrap();
        let meanwhile = theirs.mail_to("Grace");
        for (row, to) in [(before, "Ada"), (meanwhile, "Grace")] {
            let task = ended(lab, &client, &theirs, row);
            assert_eq!((task.state, task.attempt), (State::Succeeded, 1));
            assert_eq!((task.kind.as_str(), task.queue.as_str()), ("mail", "post"));
            assert_eq!((task.priority, task.attempts_max), (7, 3));
            assert_eq!(task.result, Some(format!("\"sent to {to}\"")));
        }
        assert_eq!(client.count(&Filter::new()).unwrap(), 2);
        let left = "SELECT count(*) FROM litework_inbox WHERE args = '{}' AND settled_at > 0";
        assert_eq!(theirs.number(left), 2, "the arguments are the tasks' now");
    });
}

#[test]
fn a_row_may_say_what_a_call_may() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let theirs = Theirs::new(lab);
        let columns = "kind, args, queue, priority, attempts, key, tags";
        let tags = r#"["night","eu","night"]"#;
        let all = ("mail.old", r#"{"to":"Ada"}"#, "slow", -5, 1, "once", tags);
        let task = ended(lab, &client, &theirs, theirs.write(columns, all));
        assert_eq!((task.kind.as_str(), task.queue.as_str()), ("mail", "slow"));
        assert_eq!((task.priority, task.attempts_max), (-5, 1));
        assert_eq!(
            (task.key.as_deref(), task.tags),
            (Some("once"), vec!["eu".into(), "night".into()])
        );
        let again = ended(lab, &client, &theirs, theirs.write(columns, all));
        assert_eq!(again.id, task.id, "the same call is the same task");
        let other = theirs.write("kind, args, key", ("mail", r#"{"to":"Eve"}"#, "once"));
        let told = refusal(lab, &client, &theirs, other);
        assert_eq!(
            told,
            format!("key_conflict: task {} already has this key with other arguments", task.id)
        );
        assert_eq!(log.words(), ["Ada"]);
    });
}

/// Waits at the gate.
#[task]
fn import(ctx: &Context, source: &str) -> Result<()> {
    ctx.state::<Log>()?.note(source);
    ctx.state::<Gate>()?.pass();
    Ok(())
}

#[task]
fn bill(ctx: &Context, tenant: i64) -> Result<()> {
    ctx.state::<Log>()?.note(tenant.to_string());
    ctx.state::<Gate>()?.pass();
    Ok(())
}

#[task]
fn tidy(ctx: &Context, event: EventRecord) -> Result<()> {
    let EventRecord { kind, .. } = event;
    ctx.state::<Log>()?.note(format!("after {kind}"));
    Ok(())
}

/// Each kind asks for something else.
fn asking(lab: &Lab, log: &Log, gate: &Gate) -> Client {
    let unique = |options: Options| options.unique(Unique::key("to/{to}"));
    let alone = |options: Options| options.exclusive(Exclusive::lock("import/{source}"));
    let limited = |options: Options| options.limit(Limit::per_key("tenant/{tenant}", 1));
    let followed = |options: Options| options.follow(EventKind::Succeeded, "tidy");
    let builder = lab.builder().register(Definition::from(mail).with(unique)).register(tidy);
    let builder = builder.register(Definition::from(import).with(alone));
    let builder = builder.register(Definition::from(bill).with(limited));
    let builder = builder.register(Definition::from(count).with(followed));
    builder.state(log.clone()).state(gate.clone()).open().unwrap()
}

#[test]
fn what_a_kind_asks_for_holds_for_its_rows_too() {
    Lab::each_way(|lab| {
        let (log, gate) = (Log::default(), Gate::default());
        let client = asking(lab, &log, &gate);
        let theirs = Theirs::new(lab);
        let later = lab.now().after(HOUR).as_millis();
        let [first, second] = [3, 4].map(|priority| {
            let values = ("mail", r#"{"to":"Ada"}"#, later, priority);
            theirs.write("kind, args, run_at, priority", values)
        });
        let of = |kind: &str, args: &str| theirs.write("kind, args", (kind, args));
        std::thread::scope(|scope| {
            let importing = begin(scope, lab, &client, import::with("uk"));
            gate.wait_for(1);
            let skipped = ended(lab, &client, &theirs, of("import", r#"{"source":"uk"}"#));
            assert_eq!((skipped.state, skipped.reason), (State::Skipped, Some(Reason::Locked)));
            let billing = begin(scope, lab, &client, bill::with(7));
            gate.wait_for(2);
            let row = of("bill", r#"{"tenant":7}"#);
            lab.settle(&client);
            eventually("it is a task", || theirs.fate(row).0.is_some());
            let waits = client.get(theirs.fate(row).0.unwrap()).unwrap();
            assert_eq!((waits.state, waits.reason), (State::Waiting, Some(Reason::Limit)));
            gate.open();
            importing.join().unwrap();
            lab.ended(&client, &billing.join().unwrap());
            assert_eq!(ended(lab, &client, &theirs, row).state, State::Succeeded);
        });
        let met = [first, second].map(|row| theirs.fate(row).0.unwrap());
        assert_eq!(met[0], met[1], "the second is the task that is there");
        assert_eq!(client.get(&met[0]).unwrap().priority, 3);
        ended(lab, &client, &theirs, of("count", r#"{"n":1}"#));
        eventually("what follows it has run", || log.words().contains(&"after count".to_owned()));
    });
}

#[test]
fn a_row_that_is_to_run_later_waits_for_its_moment() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let theirs = Theirs::new(lab);
        let at = lab.now().after(HOUR);
        let sqlite = at.to_chrono().format("%Y-%m-%d %H:%M:%S%.3f").to_string();
        // Some languages have no whole numbers.
        #[allow(clippy::cast_precision_loss, reason = "milliseconds fit")]
        let real = at.as_millis() as f64;
        let columns = "kind, args, run_at";
        let rows = [
            theirs.write(columns, ("count", r#"{"n":1}"#, at.as_millis())),
            theirs.write(columns, ("count", r#"{"n":2}"#, real)),
            theirs.write(columns, ("count", r#"{"n":3}"#, sqlite)),
            theirs.write(columns, ("count", r#"{"n":4}"#, at.to_string())),
        ];
        lab.settle(&client);
        for row in rows {
            eventually("it is a task", || theirs.fate(row).0.is_some());
            let task = client.get(theirs.fate(row).0.unwrap()).unwrap();
            assert_eq!((task.state, task.due_at), (State::Scheduled, at));
        }
        lab.advance(&client, HOUR);
        eventually("they have run", || log.len() == 4);
    });
}

/// A wrong value of each column, and what its writer reads.
const WRONG: &[(&str, &str, &str)] = &[
    ("args", "'{'", "bad_json: $ at byte 1: expected a key, found the end"),
    ("args", "''", "bad_json: $ at byte 0: empty; expected a value"),
    ("args", "'[1]'", "bad_json: $ is an array; an object by parameter name"),
    ("args", "'1'", "bad_json: $ is a number; an object by parameter name"),
    ("args", "'\"one\"'", "bad_json: $ is a text; an object by parameter name"),
    ("args", "'null'", "bad_json: $ is null; an object by parameter name"),
    (
        "args",
        r#"'{"n":1,"n":2}'"#,
        "duplicate_key: $ at byte 7: \"n\" is there twice; at most once",
    ),
    ("args", "CAST(x'7b22ff' AS TEXT)", "bad_json: $ at byte 2: expected UTF-8"),
    (
        "args",
        "'[\"' || printf('%.*c', 2000000, 'x') || '\"]'",
        "payload_too_large: $ is 2000004 bytes; at most 1048576",
    ),
    ("args", r#"'{"n":1e400}'"#, "number_out_of_range: "),
    ("contract", "2", "unsupported: contract is 2; 1, which is all that this program knows"),
    (
        "queue",
        "'a b'",
        "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; \
         1–64 of A–Z a–z 0–9 . _ -",
    ),
    ("queue", "''", "bad_queue: queue name is \"\"; it is empty; 1–64 of A–Z a–z 0–9 . _ -"),
    ("queue", "CAST(x'ff' AS TEXT)", "bad_queue: queue name is \"\u{fffd}\"; it must be UTF-8"),
    ("priority", "101", "out_of_range: priority is 101; -100 to 100"),
    (
        "priority",
        "-9223372036854775808",
        "out_of_range: priority is -9223372036854775808; -100 to 100",
    ),
    ("attempts", "0", "out_of_range: attempts is 0; 1 to 1000"),
    ("attempts", "-1", "out_of_range: attempts is -1; 1 to 1000"),
    ("attempts", "1001", "out_of_range: attempts is 1001; 1 to 1000"),
    (
        "run_at",
        "'tomorrow'",
        "bad_time: run_at is \"tomorrow\"; milliseconds since 1970 as a whole number, or text such as \
         2026-01-31T08:00:00Z or 2026-01-31 08:00:00 (UTC)",
    ),
    (
        "run_at",
        "1769846400123.5",
        "bad_time: run_at is \"1769846400123.5\"; milliseconds since 1970 as",
    ),
    ("run_at", "x'00'", "bad_time: run_at is \"1 bytes\"; milliseconds since 1970 as"),
    (
        "run_at",
        "1769846400",
        "bad_time: run_at is 1769846400; a number counts milliseconds since 1970",
    ),
    (
        "run_at",
        "253402300800000",
        "time_out_of_range: due time is 253402300800000; 1970-01-01 to 9999-12-31, 0 to 253402300799999 ms",
    ),
    ("run_at", "'1969-12-31 23:59:59'", "time_out_of_range: due time is -1000; 1970-01-01 to"),
    ("key", "''", "bad_key: idempotency key is \"\"; 1 to 200 bytes without control characters"),
    ("key", "char(7)", "bad_key: idempotency key is \"\\u{7}\"; 1 to 200 bytes without control"),
    ("key", "CAST(x'ff' AS TEXT)", "bad_key: idempotency key is \"\u{fffd}\"; it must be UTF-8"),
    (
        "tags",
        "'night'",
        "bad_tag: tags is \"night\"; a JSON array of text, such as [\"nightly\",\"eu\"]",
    ),
    ("tags", "'[1]'", "bad_tag: tags is \"[1]\"; a JSON array of text, such as"),
    ("tags", "'[\"\"]'", "bad_tag: tag is \"\"; 1 to 64 bytes"),
];

/// And what does not even get into the table.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    ("kind", "NULL", "NOT NULL constraint failed: litework_inbox.kind"),
    ("kind", "''", "CHECK constraint failed: kind must be 1 to 64 of A-Z a-z 0-9 . _ -"),
    ("kind", "'two words'", "CHECK constraint failed: kind must be 1 to 64 of A-Z a-z 0-9 . _ -"),
    ("kind", "printf('%.*c', 65, 'x')", "CHECK constraint failed: kind must be 1 to 64"),
    ("kind", "'caf\u{e9}'", "CHECK constraint failed: kind must be 1 to 64"),
    ("kind", "x'6d61696c'", "cannot store BLOB value in TEXT column litework_inbox.kind"),
    ("args", "NULL", "NOT NULL constraint failed: litework_inbox.args"),
    ("args", "x'7b7d'", "cannot store BLOB value in TEXT column litework_inbox.args"),
    ("priority", "'high'", "cannot store TEXT value in INTEGER column litework_inbox.priority"),
    ("attempts", "1.5", "cannot store REAL value in INTEGER column litework_inbox.attempts"),
    ("contract", "NULL", "NOT NULL constraint failed: litework_inbox.contract"),
    ("no_such", "1", "table litework_inbox has no column named no_such"),
];

fn insert(theirs: &Theirs, column: &str, value: &str) -> rusqlite::Result<i64> {
    let sql = match column {
        "kind" => format!("INSERT INTO litework_inbox (kind) VALUES ({value}) RETURNING id"),
        _ => format!(
            "INSERT INTO litework_inbox (kind, {column}) VALUES ('count', {value}) RETURNING id"
        ),
    };
    theirs.0.query_row(&sql, [], |row| row.get(0))
}

#[test]
fn a_wrong_value_is_refused_with_a_reason_and_the_rest_goes_on() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let theirs = Theirs::new(lab);
        let first = theirs.mail_to("first");
        let rows = WRONG.iter().map(|(column, value, _)| insert(&theirs, column, value).unwrap());
        let rows: Vec<i64> = rows.collect();
        let last = theirs.mail_to("last");
        for row in [first, last] {
            assert_eq!(ended(lab, &client, &theirs, row).state, State::Succeeded);
        }
        let mut surprises = Vec::new();
        for ((column, value, expected), row) in WRONG.iter().zip(rows) {
            let told = refusal(lab, &client, &theirs, row);
            if !told.starts_with(expected) {
                surprises.push(format!("{column} = {value}: {told}"));
            }
        }
        assert!(surprises.is_empty(), "{surprises:#?}");
        for (column, value, expected) in IMPOSSIBLE {
            let told = insert(&theirs, column, value).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{column} = {value}: {told}");
        }
        let inbox = client.inbox().unwrap();
        assert_eq!((inbox.waiting.len(), inbox.refused), (0, WRONG.len() as u64));
        assert_eq!(client.count(&Filter::new()).unwrap(), 2);
    });
}

/// Only on demand: the words do not depend on who takes the row.
#[test]
fn a_row_is_refused_in_the_words_of_the_same_call() {
    let (lab, log) = (on_demand(), Log::default());
    let client = builder(&lab, &log).open().unwrap();
    let theirs = Theirs::new(&lab);
    let call = || count::with(1);
    let pairs = [
        (("priority", "101"), client.enqueue(call().priority(101))),
        (("attempts", "0"), client.enqueue(call().attempts(0))),
        (("queue", "'a b'"), client.enqueue(call().queue("a b"))),
        (("key", "''"), client.enqueue(call().key(""))),
        (("tags", "'[\"\"]'"), client.enqueue(call().tag(""))),
    ];
    for ((column, value), answer) in pairs {
        let row = insert(&theirs, column, value).unwrap();
        assert_eq!(refusal(&lab, &client, &theirs, row), answer.unwrap_err().to_string());
    }
    let row = theirs.write("kind, args", ("count", "[1,"));
    let error = client.enqueue_json("count", b"[1,").unwrap_err();
    assert_eq!(refusal(&lab, &client, &theirs, row), error.to_string());
}

#[test]
fn a_row_that_was_corrected_is_looked_at_again() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let theirs = Theirs::new(lab);
        let row = theirs.write("kind, args, priority", ("count", r#"{"n":1}"#, 1_000));
        let told = refusal(lab, &client, &theirs, row);
        assert_eq!(told, "out_of_range: priority is 1000; -100 to 100");
        let sql = "UPDATE litework_inbox SET priority = 100, error = NULL WHERE id = ?1";
        theirs.0.execute(sql, [row]).unwrap();
        let task = ended(lab, &client, &theirs, row);
        assert_eq!((task.priority, task.result.as_deref()), (100, Some("2")));
        assert_eq!(theirs.fate(row).1, None);
    });
}

#[test]
fn a_row_exists_if_and_only_if_its_transaction_commits() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = builder(lab, &log).open().unwrap();
        let theirs = Theirs::new(lab);
        theirs.0.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
        let order = |to: &str, end: &str| {
            theirs.0.execute_batch("BEGIN IMMEDIATE; INSERT INTO orders VALUES (NULL)").unwrap();
            theirs.mail_to(to);
            theirs.0.execute_batch(end).unwrap();
        };
        order("nobody", "ROLLBACK");
        order("Ada", "COMMIT");
        lab.settle(&client);
        eventually("the mail is sent", || log.len() == 1);
        lab.settle(&client);
        assert_eq!(log.words(), ["Ada"]);
        assert_eq!(client.count(&Filter::new()).unwrap(), 1);
        assert_eq!(theirs.number("SELECT count(*) FROM orders"), 1);
    });
}

#[test]
fn a_kind_that_a_program_does_not_know_waits_for_one_that_does() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let stranger = lab.builder().register(count).state(log.clone()).open().unwrap();
        let theirs = Theirs::new(lab);
        let unknown = theirs.mail_to("Ada");
        let known = theirs.write("kind, args", ("count", r#"{"n":1}"#));
        assert_eq!(ended(lab, &stranger, &theirs, known).state, State::Succeeded);
        assert_eq!(theirs.fate(unknown), (None, None), "it is neither taken nor refused");
        let waiting = stranger.inbox().unwrap().waiting;
        let shown: Vec<_> = waiting.iter().map(|w| (w.kind.as_str(), w.rows, w.known)).collect();
        assert_eq!(shown, [("mail", 1, false)]);
        drop(stranger);
        let client = builder(lab, &log).open().unwrap();
        assert_eq!(ended(lab, &client, &theirs, unknown).state, State::Succeeded);
        assert!(client.inbox().unwrap().waiting.is_empty());
    });
}

/// Only on demand, where it can be told when room comes; a pool has the next story.
#[test]
fn a_full_queue_keeps_its_rows_waiting_and_no_others() {
    let (lab, log) = (on_demand(), Log::default());
    let client = builder(&lab, &log).max_waiting("post", 300).open().unwrap();
    let theirs = Theirs::new(&lab);
    let columns = "kind, args, run_at";
    let later = lab.now().after(HOUR).as_millis();
    theirs.0.execute_batch("BEGIN").unwrap();
    let rows: Vec<i64> =
        (0..1_200).map(|n| theirs.write(columns, ("mail", r#"{"to":"x"}"#, later + n))).collect();
    let other = theirs.write("kind, args", ("count", r#"{"n":1}"#));
    theirs.0.execute_batch("COMMIT").unwrap();
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 1);
    assert!(theirs.fate(other).0.is_some(), "those of another kind do not stand behind them");
    let taken = |rows: &[i64]| rows.iter().filter(|row| theirs.fate(**row).0.is_some()).count();
    assert_eq!(
        (taken(&rows), taken(&rows[..300])),
        (300, 300),
        "as many as may wait, the first of them"
    );
    assert_eq!(client.inbox().unwrap().refused, 0);
    let waiting = client.inbox().unwrap().waiting;
    assert_eq!((waiting[0].kind.as_str(), waiting[0].rows, waiting[0].known), ("mail", 900, true));
    lab.clock.advance(2 * HOUR);
    assert_eq!(
        client.run_pending(&Pending::all()).unwrap().succeeded,
        1_200,
        "room comes as they run"
    );
    assert!(client.inbox().unwrap().waiting.is_empty());
}

/// Only a pool: it tries again by itself.
#[test]
fn a_pool_takes_what_a_full_queue_held_back_as_it_makes_room() {
    let (lab, log) = (Lab::pool(), Log::default());
    let client = builder(&lab, &log).max_waiting("post", 2).open().unwrap();
    let theirs = Theirs::new(&lab);
    theirs.0.execute_batch("BEGIN").unwrap();
    for n in 0..20 {
        theirs.mail_to(&n.to_string());
    }
    theirs.0.execute_batch("COMMIT").unwrap();
    eventually("all are sent", || log.len() == 20);
    let sent: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let mut words = log.words();
    words.sort_by_key(|word| word.parse::<u32>().unwrap());
    assert_eq!(words, sent);
    drop(client);
}

/// Only on demand: one thread, so that the order of running is that of taking.
#[test]
fn rows_are_taken_by_their_numbers_whatever_their_kinds() {
    let (lab, log) = (on_demand(), Log::default());
    let client = builder(&lab, &log).open().unwrap();
    let theirs = Theirs::new(&lab);
    theirs.0.execute_batch("BEGIN").unwrap();
    for n in 0..1_300 {
        if n % 3 == 0 {
            theirs.write("kind, args, priority", ("mail", format!(r#"{{"to":"{n}"}}"#), 0));
        } else {
            theirs.write("kind, args", ("count", format!(r#"{{"n":{n}}}"#)));
        }
    }
    theirs.0.execute_batch("COMMIT").unwrap();
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 1_300);
    let expected: Vec<String> = (0..1_300).map(|n| n.to_string()).collect();
    assert_eq!(log.words(), expected);
}

/// Only on demand, so that slices are as large as they can be; the engine forgets, whoever takes.
#[test]
fn what_is_left_of_settled_rows_is_bounded_whatever_the_clock_does() {
    let (lab, log) = (on_demand(), Log::default());
    let client = builder(&lab, &log).open().unwrap();
    let theirs = Theirs::new(&lab);
    let waits_long = theirs.write("kind, args", ("later", "{}"));
    let write = |good: bool, rows: usize| {
        theirs.0.execute_batch("BEGIN").unwrap();
        let args = if good { r#"{"n":1}"# } else { "no" };
        let run_at = lab.now().after(HOUR).as_millis();
        let columns = "kind, args, run_at";
        let rows = (0..rows).map(|_| theirs.write(columns, ("count", args, run_at))).collect();
        theirs.0.execute_batch("COMMIT").unwrap();
        client.run_pending(&Pending::all()).unwrap();
        rows
    };
    let mut taken: Vec<i64> = write(true, 1_700);
    let mut refused: Vec<i64> = write(false, 1_200);
    lab.clock.set(Timestamp::from_millis(lab.now().as_millis() - 86_400_000).unwrap());
    taken.extend(write(true, 30));
    refused.extend(write(false, 30));
    let left = |of: &str| {
        let sql = format!("SELECT id FROM litework_inbox WHERE {of} IS NOT NULL ORDER BY id");
        let mut read = theirs.0.prepare(&sql).unwrap();
        let rows = read.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|row| row.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(left("task"), taken[730..], "the newest 1,000, though a slice is cut in two");
    assert_eq!(left("error"), refused[230..]);
    assert_eq!(theirs.fate(waits_long), (None, None), "what waits is never forgotten");
    theirs.0.execute("DELETE FROM litework_inbox", []).unwrap();
    let next = theirs.mail_to("Ada");
    assert!(next > *refused.last().unwrap(), "numbers are never given twice");
}

/// Only on demand: the warning comes on the thread that listens.
#[test]
fn a_writer_whose_sqlite_may_damage_the_file_is_named() {
    let (lab, log) = (on_demand(), Log::default());
    let client = builder(&lab, &log).open().unwrap();
    let theirs = Theirs::new(&lab);
    let columns = "kind, args, sqlite_version, created_at";
    let good = theirs.mail_to("Ada");
    theirs.write(columns, ("count", r#"{"n":1}"#, "3.40.1", 5_000));
    theirs.write(columns, ("count", r#"{"n":2}"#, "3.40.1", 4_000));
    let version = "SELECT sqlite_version FROM litework_inbox WHERE id = ?1";
    let version: String = theirs.0.query_row(version, [good], |row| row.get(0)).unwrap();
    assert_eq!(version, rusqlite::version(), "the writer need not say it");
    let warnings = |lab: &Lab| {
        let told = Events::of(|| lab.settle(&client));
        told.into_iter().filter(|(_, told)| told.contains("SQLite older than 3.51.3")).count()
    };
    assert_eq!(warnings(&lab), 1, "once for each version");
    theirs.write(columns, ("count", r#"{"n":3}"#, "3.40.1", 6_000));
    assert_eq!(warnings(&lab), 0, "and not again");
    assert_eq!(log.len(), 4, "its rows are taken all the same");
    let writers = client.inbox().unwrap().writers;
    let old: Vec<_> = writers.iter().filter(|writer| writer.outdated).collect();
    assert_eq!(old.len(), 1);
    assert_eq!((old[0].sqlite_version.as_str(), old[0].rows), ("3.40.1", 3));
    assert_eq!(old[0].newest_at.as_millis(), 6_000);
    assert!(writers.iter().any(|writer| !writer.outdated && writer.rows == 1));
}

/// Only one place, as it goes through the modes by itself.
#[test]
fn every_mode_takes_what_waits_when_it_opens_the_file() {
    for mode in [Mode::Pool, Mode::Inline, Mode::Enqueue, Mode::Hold] {
        let (lab, log) = (on_demand(), Log::default());
        drop(builder(&lab, &log).open().unwrap());
        let theirs = Theirs::new(&lab);
        let row = theirs.mail_to("Ada");
        let client = builder(&lab, &log).mode(mode).workers(1).open().unwrap();
        eventually("it is taken", || theirs.fate(row).0.is_some());
        let task = client.get(theirs.fate(row).0.unwrap()).unwrap();
        if mode == Mode::Pool {
            eventually("it has run", || log.len() == 1);
        } else {
            assert_eq!((task.state, log.len()), (State::Ready, 0), "{mode}: to be run when asked");
        }
    }
}

/// Only memory.
#[test]
fn memory_has_an_empty_inbox() {
    let client = Client::in_memory().mode(Mode::Hold).register(count).open().unwrap();
    assert_eq!(client.inbox().unwrap(), litework::Inbox::default());
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 0);
}

/// The table of the contract names each column of the schema with its type, and no other. Only the file's schema is looked at.
#[test]
fn the_contract_names_each_column_of_the_table() {
    let (lab, log) = (on_demand(), Log::default());
    drop(builder(&lab, &log).open().unwrap());
    let text = include_str!("../../src/backends/sqlite/inbox.md");
    let table = text.split("| Column | Type |").nth(1).unwrap().lines().skip(2);
    let rows = table.map_while(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        let default = cells[2].trim_matches('`').to_owned();
        Some((cells[0].trim_end_matches('`').to_owned(), cells[1].to_owned(), default))
    });
    let documented: Vec<(String, String, String)> = rows.collect();
    let theirs = Theirs::new(&lab);
    let mut read = theirs
        .0
        .prepare("SELECT name, type, dflt_value FROM pragma_table_info('litework_inbox')")
        .unwrap();
    let columns = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let columns: Vec<(String, String, Option<String>)> = columns.map(|row| row.unwrap()).collect();
    let mut known: Vec<_> = columns.iter().map(|(name, kind, _)| (name, kind)).collect();
    let mut told: Vec<_> = documented.iter().map(|(name, kind, _)| (name, kind)).collect();
    known.sort();
    told.sort();
    assert_eq!(told, known);
    for (name, _, default) in &columns {
        let told = &documented.iter().find(|(known, _, _)| known == name).unwrap().2;
        if let Some(literal) = default.as_ref().filter(|text| !text.contains('(')) {
            assert_eq!(told, literal, "{name}");
        }
    }
}
