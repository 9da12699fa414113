//! Whatever a program, an operator or a file brings: each bad input is answered by an error that
//! names the value, the place and what is allowed, and does no harm.
//!
//! One row an entry of the catalogue of bad inputs, by its number. After each row a good call
//! succeeds and the file keeps every invariant. A number without a row fails the last test.
#![cfg(all(unix, feature = "cron", feature = "sqlite", feature = "testing", feature = "__fault"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use litework::sqlite::{ClientExt, ContextExt, doctor};
use litework::testing::ManualClock;
use litework::{
    Builder, Call, Client, Context, Cron, Definition, Durability, Error, Exclusive, Failure,
    Filter, Flow, Limit, Mode, Options, Pending, Rate, Result as TaskResult, Retry, Schedule,
    Signature, Task, TaskId, Timestamp, Unique, Zone,
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Entries of the catalogue that this part of the library answers for.
const ENTRIES: [std::ops::RangeInclusive<u8>; 4] = [1..=34, 38..=40, 47..=54, 55..=61];

/// What is tried, and what must come of it.
enum Answer {
    /// The exact text; `<dir>` stands for the folder of the row, `<id>` for any id.
    Is(fn(&Lab) -> String, &'static str),
    /// The same of what is refused: afterwards the file has as many tasks as before.
    Refuses(fn(&Lab) -> String, &'static str),
    /// What the entry is about does not exist yet: one of [`LATER`].
    NotYet(&'static str),
}
use Answer::{Is, NotYet, Refuses};

/// Parts of the project that do not exist yet. Whoever brings one takes it out here, and turns the rows
/// that wait for it into live ones: a row may wait for nothing else.
const LATER: &[&str] = &["a lease that can be set", "tokens for ending a task from outside"];

/// Entries of which nothing exists yet, so that no row of theirs can be live.
const UNANSWERED: &[u8] = &[];

struct Row(u8, &'static str, Answer);

/// Any JSON as its argument, and what the body does with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Echo {
    value: Value,
}

impl Task for Echo {
    const NAME: &'static str = "echo";
    type Output = Value;

    fn options() -> Options {
        Options::new().attempts(1)
    }

    fn run(self, ctx: &Context) -> TaskResult<Value> {
        let bodies = ctx.state::<Bodies>()?;
        match self.value.as_str().unwrap_or_default() {
            "result of 100 MiB" => Ok(Value::String("x".repeat(100 << 20))),
            "error of 100 MiB" => Err("e".repeat(100 << 20).into()),
            "error with control bytes" => Err("a\u{1b}[2J\u{7}\nb".into()),
            "error with deep data" => Err(Failure::give_up("deep").data(deep(200))),
            "error with large data" => {
                Err(Failure::give_up("large").data(Value::String("d".repeat(4 << 20))))
            }
            "lose the lease" => {
                bodies.take_away(ctx.id().ok_or("it has an id")?)?;
                Ok(self.value)
            }
            "complete twice" => {
                ctx.complete_in(|_tx| Ok::<_, Error>(Value::from(1)))?;
                bodies.say(said(ctx.complete_in(|_tx| Ok::<_, Error>(Value::from(2)))));
                Ok(Value::from(3))
            }
            "complete and fail" => {
                ctx.complete_in(|_tx| Ok::<_, Error>(Value::from(1)))?;
                Err("too late".into())
            }
            "go on without the task" => {
                bodies.take_away(ctx.id().ok_or("it has an id")?)?;
                bodies.say(ctx.step("again", || Ok(1)).unwrap_err().to_string());
                bodies.say(said(ctx.complete_in(|_tx| Ok::<_, Error>(Value::from(2)))));
                Err("too late".into())
            }
            "operate on me" => {
                let (client, id) = (ctx.client().ok_or("a client")?, ctx.id().ok_or("an id")?);
                let moment = Utc::now();
                let answers = [client.retry(id), client.delete(id), client.reschedule(id, moment)];
                for answer in answers {
                    bodies.say(said(answer));
                }
                Ok(self.value)
            }
            "cancel me" => {
                let answer = ctx.client().ok_or("a client")?.cancel(ctx.id().ok_or("an id")?)?;
                bodies.say(format!("{answer:?}"));
                Ok(self.value)
            }
            "meet twice" => {
                bodies.meeting.wait();
                bodies.meeting.wait();
                Ok(self.value)
            }
            "wait for me" => {
                let client = ctx.client().ok_or("a client")?;
                let handle = client.handle::<Self>(ctx.id().ok_or("an id")?)?;
                bodies.say(said(handle.wait(Duration::from_millis(20))));
                Ok(self.value)
            }
            _ => Ok(self.value),
        }
    }
}

/// A kind that this program stores and does not run.
#[derive(Debug, Serialize, Deserialize)]
struct Elsewhere {}

impl Signature for Elsewhere {
    const NAME: &'static str = "elsewhere";
    type Output = ();
}

/// Arguments that only the typed path can hold.
#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    ratio: Vec<f64>,
    wide: i128,
}

impl Signature for Numbers {
    const NAME: &'static str = "numbers";
    type Output = ();
}

/// What bodies need, and what they have to tell the test.
#[derive(Debug, Clone)]
struct Bodies {
    path: PathBuf,
    told: Arc<Mutex<Vec<String>>>,
    /// Where one body and the test meet.
    meeting: Arc<Barrier>,
}

impl Bodies {
    fn new(path: PathBuf) -> Self {
        Self { path, told: Arc::default(), meeting: Arc::new(Barrier::new(2)) }
    }

    fn say(&self, text: String) {
        self.told.lock().unwrap().push(text);
    }

    /// What was said since this was last asked.
    fn told(&self) -> String {
        std::mem::take(&mut *self.told.lock().unwrap()).join(", ")
    }

    /// Gives a task that runs to another attempt.
    fn take_away(&self, id: TaskId) -> rusqlite::Result<usize> {
        let raw = Connection::open(&self.path)?;
        raw.execute("UPDATE litework_task SET attempt = attempt + 1 WHERE id = ?1", [id.row()])
    }
}

/// One queue in a folder of its own.
struct Lab {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    bodies: Bodies,
    client: Client,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let bodies = Bodies::new(dir.path().join("queue.db"));
        let client = builder(&bodies, &clock).open().unwrap();
        Self { dir, clock, bodies, client }
    }

    fn builder(&self) -> Builder {
        builder(&self.bodies, &self.clock)
    }

    fn durations(&self) -> String {
        let texts = ["5x", "-1s", "1e9h", "", "5 m", "99999999999999999999s", "40000d"];
        self.each(&texts, |text| litework::parse_duration(text).map(|span| format!("{span:?}")))
    }

    fn times(&self) -> String {
        let texts = [
            "2026-03-29T02:30:00",
            "2026-02-30T00:00:00Z",
            "2026-03-29T24:61:00Z",
            "2026-06-30T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "tomorrow",
        ];
        let moments = self.each(&texts, |text| text.parse::<Timestamp>().map(|at| at.to_string()));
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let local = ["2026-03-29 02:30", "2026-10-25 02:30"];
        let local = self.each(&local, |text| berlin.moment(text).map(|at| at.to_string()));
        format!("{moments}\n{local}")
    }

    fn zones(&self) -> String {
        let texts = ["Mars/X", "", "../../etc", "europe/berlin", "Europe/Berlim"];
        self.each(&texts, |text| text.parse::<Zone>().map(|zone| zone.name().to_owned()))
    }

    /// What is said of each, a line each.
    fn each(&self, texts: &[&str], read: impl Fn(&str) -> Result<String, Error>) -> String {
        texts.iter().map(|text| self.shown(read(text))).collect::<Vec<_>>().join("\n")
    }

    fn cron(&self, texts: &[&str]) -> String {
        self.each(texts, |text| Cron::new(text).map(|cron| cron.describe()))
    }

    /// As a schedule of the program, and as an edit of a stored one.
    fn cron_fields(&self) -> String {
        let texts = ["", "* * *", "* * * * * * * *"];
        let seeds = self.each(&texts, |text| self.schedule(Schedule::cron("s", text, echo("s"))));
        let schedules = self.client.schedules();
        schedules.add(Schedule::cron("s", "0 0 * * *", echo("s"))).unwrap();
        let edits = self.each(&texts, |text| {
            schedules.edit("s", |edit| edit.cron(text)).map(|_| "ok".to_owned())
        });
        let zone =
            self.shown(schedules.edit("s", |edit| edit.zone("Mars/X")).map(|_| "ok".to_owned()));
        assert!(
            schedules.get("s").unwrap().edited.is_empty()
                && schedules.get("s").unwrap().next_at.is_some()
        );
        format!("{seeds}\n{edits}\n{zone}")
    }

    fn schedule(&self, schedule: Schedule) -> Result<String, Error> {
        let client = self.builder().schedule(schedule).open()?;
        Ok(format!("{} schedules", client.schedules().list("", 10)?.len()))
    }

    fn cron_ranges(&self) -> String {
        self.cron(&[
            "61 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "0 0 31 2 *",
            "0 0 30 2 *",
        ])
    }

    fn cron_torn(&self) -> String {
        self.cron(&[
            "*/0 * * * *",
            "5-1 * * * *",
            "1- * * * *",
            ", * * * *",
            "1,,2 * * * *",
            "1/2/3 * * * *",
            "* * * * MON-",
            "* * * FOO *",
            "10/30 * * * *",
            "* * * * é",
        ])
    }

    fn cron_words(&self) -> String {
        self.cron(&[
            "0 0 L * *",
            "0 0 15W * *",
            "0 0 * * FRI#2",
            "0 0 ? * 1",
            "H * * * *",
            "@reboot",
            "@every 5m",
            "@daily",
            "0 0 1 * +MON",
        ])
    }

    fn cron_large(&self) -> String {
        let items = vec!["1"; 10_000].join(",");
        self.cron(&[&"*".repeat(100 << 10), &format!("{items} * * * *")])
    }

    fn cron_days(&self) -> String {
        self.cron(&["0 0 13 * 5"])
    }

    fn too_frequent(&self) -> String {
        let second = Duration::from_secs(1);
        let tries = [
            Schedule::cron("s", "* * * * * *", echo("s")),
            Schedule::every("s", Duration::ZERO, echo("s")),
            Schedule::every("s", Duration::from_nanos(1), echo("s")),
            Schedule::every("s", second, echo("s")),
            Schedule::every("s", second / 2, echo("s")).frequent(),
            Schedule::every("s", 10 * second, echo("s")).jitter(60 * second),
        ];
        tries.map(|schedule| self.shown(self.schedule(schedule))).join("\n")
    }

    fn changed_while_due(&self) -> String {
        let schedules = self.client.schedules();
        let hour = Duration::from_secs(3_600);
        for name in ["renamed", "removed", "changed"] {
            schedules.add(Schedule::every(name, hour, echo(name))).unwrap();
        }
        self.clock.advance(hour);
        schedules.edit("renamed", |edit| edit.rename("new name")).unwrap();
        schedules.remove("removed").unwrap();
        schedules.edit("changed", |edit| edit.every(2 * hour)).unwrap();
        let ran = self.client.run_pending(&Pending::all()).unwrap().succeeded;
        let again = self.client.run_pending(&Pending::all()).unwrap().succeeded;
        format!("{ran} tasks, then {again}")
    }

    /// Keys that are made from arguments.
    fn patterns(&self) -> String {
        let rate = Rate::per(1, Duration::from_secs(1));
        let long = "k".repeat(1_024);
        let told = ["", &long, "a\u{1b}[2J", "{value", "{valeu}", "a}"].map(|key| {
            let key = key.to_owned();
            let calls = [
                echo(1).unique(Unique::key(key.clone())),
                echo(1).exclusive(Exclusive::lock(key.clone())),
                echo(1).limit(Limit::per_key(key.clone(), 1)),
                echo(1).rate_per_key(key, rate),
            ];
            calls.map(|call| self.enqueue(call)).join("\n")
        });
        told.join("\n")
    }

    /// A path beside the queue.
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The error text of a call that must be refused, or `ok`.
    fn enqueue(&self, call: Call<Echo>) -> String {
        self.shown(
            self.client.enqueue(call).map(|handle| format!("ok, {}", self.state(handle.id()))),
        )
    }

    fn flow(&self, flow: Flow) -> String {
        self.shown(
            self.client
                .enqueue_flow(flow)
                .map(|batch| format!("ok, {} members", batch.sum().unwrap().total)),
        )
    }

    fn json(&self, text: impl AsRef<[u8]>) -> String {
        self.shown(self.client.enqueue_json("echo", text.as_ref()).map(|task| task.arguments))
    }

    fn state(&self, id: TaskId) -> String {
        let task = self.client.get(id).unwrap();
        format!("{}, attempt {}", task.state, task.attempt)
    }

    /// What opening answers; a file that is refused is left as it was.
    fn open(&self, path: &Path, change: fn(Builder) -> Builder) -> String {
        let before =
            fs::metadata(path).is_ok_and(|meta| meta.is_file()).then(|| fs::read(path).unwrap());
        let builder = Client::builder(path).environment([("", ""); 0]).mode(Mode::Hold);
        let opened = change(builder).open();
        if let (Err(_), Some(before)) = (&opened, before) {
            assert!(fs::read(path).unwrap() == before, "{} was changed", path.display());
        }
        self.shown(opened.map(|client| {
            let shown = client.path().unwrap().display().to_string();
            let count = client.count(&Filter::new()).unwrap();
            client.shutdown(Duration::ZERO).unwrap();
            format!("ok, {shown} with {count} tasks")
        }))
    }

    fn environment(&self, name: &str, value: &str) -> String {
        let opened = self.builder().environment([(name, value)]).open();
        self.shown(opened.map(|client| format!("ok, {}", client.mode().as_str())))
    }

    /// Runs one task to its end and gives its record.
    fn run(&self, value: &str) -> litework::TaskRecord {
        let handle = self.client.enqueue(echo(value)).unwrap();
        self.client.run_pending(&Pending::all().only("echo")).unwrap();
        handle.refresh().unwrap()
    }

    /// Runs one task in the caller, and gives what its body told.
    fn run_inline(&self, value: &str) -> String {
        let client = self.builder().mode(Mode::Inline).open().unwrap();
        client.enqueue(echo(value)).unwrap();
        self.hide(&self.bodies.told())
    }

    fn count(&self) -> u64 {
        self.client.count(&Filter::new()).unwrap()
    }

    fn shown<E: std::fmt::Display>(&self, answer: Result<String, E>) -> String {
        self.hide(&answer.unwrap_or_else(|error| error.to_string()))
    }

    /// What differs from run to run is left out.
    fn hide(&self, text: &str) -> String {
        let real = self.dir.path().canonicalize().unwrap();
        let text = text.replace(&*real.to_string_lossy(), "<dir>");
        let text = text.replace(&*self.dir.path().to_string_lossy(), "<dir>");
        let word = |word: &str| {
            let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let id = core.parse::<TaskId>().is_ok();
            if id { word.replace(core, "<id>") } else { word.to_owned() }
        };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

fn builder(bodies: &Bodies, clock: &Arc<ManualClock>) -> Builder {
    Client::builder(&bodies.path)
        .environment([("", ""); 0])
        .durability(Durability::Normal)
        .register(Echo::define())
        .declare::<Elsewhere>()
        .declare::<Numbers>()
        .state(bodies.clone())
        .clock(Arc::clone(clock) as _)
        .mode(Mode::Hold)
}

fn echo(value: impl Into<Value>) -> Call<Echo> {
    Call::new(Echo { value: value.into() })
}

/// A flow of two members side by side.
fn two() -> Flow {
    Flow::new("two").add("a", echo("a")).add("b", echo("b"))
}

fn said<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    answer.map_or_else(|error| error.to_string(), |value| format!("ok, {value:?}"))
}

/// Arrays within arrays.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(0), |inner, _| Value::Array(vec![inner]))
}

fn year(year: i32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap()
}

fn define(change: fn(Options) -> Options) -> Definition {
    Echo::define().with(change)
}

const ROWS: &[Row] = &[
    Row(
        1,
        "an empty queue name, in a call",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("")),
            "bad_queue: queue name is \"\"; it is empty; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        1,
        "an empty queue name, at definition",
        Refuses(
            |lab| {
                lab.shown(
                    builder(&lab.bodies, &lab.clock)
                        .register(define(|o| o.queue("")))
                        .open()
                        .map(|_| "ok".into()),
                )
            },
            "bad_queue: queue name is \"\"; it is empty; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        1,
        "an empty task name",
        Refuses(
            |lab| lab.shown(lab.builder().declare::<Unnamed>().open().map(|_| "ok".into())),
            "bad_name: task name is \"\"; it is empty; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name of 65 bytes",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("q".repeat(65))),
            "bad_queue: queue name is \"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq\"; it has 65 bytes; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name with a space",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("a b")),
            "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name with a newline",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("a\nb")),
            "bad_queue: queue name is \"a\\nb\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name with a slash",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("a/b")),
            "bad_queue: queue name is \"a/b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name with a NUL",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("ab\0")),
            "bad_queue: queue name is \"ab\\0\"; it has a character at byte 2 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name with an emoji",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("q🦀")),
            "bad_queue: queue name is \"q🦀\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue name of 10 KiB is shown cut",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("q".repeat(10_240))),
            "bad_queue: queue name is \"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq… (10242 bytes); it has 10240 bytes; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        2,
        "a queue to serve, a queue to leave out, a weight and a worker name that are no names",
        Refuses(
            |lab| {
                let tries: [fn(Builder) -> Builder; 5] = [
                    |b| b.serve(["a b"]),
                    |b| b.serve_all_but([""]),
                    |b| b.threads_for("ä", 1),
                    |b| b.weight("a/b", 1),
                    |b| b.name("my worker"),
                ];
                let told = tries
                    .map(|change| lab.shown(change(lab.builder()).open().map(|_| "ok".into())));
                told.join("\n")
            },
            "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -\n\
         bad_queue: queue name is \"\"; it is empty; 1–64 of A–Z a–z 0–9 . _ -\n\
         bad_queue: queue name is \"ä\"; it has a character at byte 0 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -\n\
         bad_queue: queue name is \"a/b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -\n\
         bad_name: worker name is \"my worker\"; it has a character at byte 2 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        3,
        "queue names that differ in case",
        Is(
            |lab| {
                let told = ["Mail", "mail"].map(|queue| {
                    let handle = lab.client.enqueue(echo(1).queue(queue)).unwrap();
                    handle.refresh().unwrap().queue
                });
                told.join(", ")
            },
            "Mail, mail",
        ),
    ),
    Row(
        3,
        "a queue name in letters that look like ASCII",
        Refuses(
            |lab| lab.enqueue(echo(1).queue("mаil")),
            "bad_queue: queue name is \"mаil\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ),
    Row(
        4,
        "an unknown kind at enqueue",
        Refuses(
            |lab| lab.shown(lab.client.enqueue_json("ecko", b"{}").map(|_| "ok".into())),
            "unknown_kind: \"ecko\" is not registered; did you mean echo?",
        ),
    ),
    Row(
        4,
        "an unknown kind unlike any other",
        Refuses(
            |lab| lab.shown(lab.client.enqueue_json("pictures.shrink", b"{}").map(|_| "ok".into())),
            "unknown_kind: \"pictures.shrink\" is not registered; `.register(..)` on the builder, or \
             `.declare::<..>()` where another program runs it",
        ),
    ),
    Row(
        4,
        "a declared kind is stored",
        Is(
            |lab| lab.shown(lab.client.enqueue(Elsewhere {}).map(|handle| lab.state(handle.id()))),
            "ready, attempt 0",
        ),
    ),
    Row(
        5,
        "a kind that no process here knows is left alone",
        Is(
            |lab| {
                let handle = lab.client.enqueue(Elsewhere {}).unwrap();
                let ran = lab.client.run_pending(&Pending::all()).unwrap();
                format!(
                    "{ran:?}; {}; {}",
                    lab.state(handle.id()),
                    said(handle.wait(Duration::from_secs(9)))
                )
            },
            "Ran { succeeded: 0, failed: 0, postponed: 0 }; ready, attempt 0; nobody_runs: no live process runs this task, due at 2026-01-01T00:00:00.000Z; run a pool or `run_pending`",
        ),
    ),
    Row(
        6,
        "arguments of 1 MiB and one byte",
        Refuses(
            |lab| lab.enqueue(echo("x".repeat((1 << 20) + 1 - r#"{"value":""}"#.len()))),
            "payload_too_large: $ is 1048577 bytes or more; at most 1048576",
        ),
    ),
    Row(
        6,
        "arguments of exactly 1 MiB",
        Is(
            |lab| lab.enqueue(echo("x".repeat((1 << 20) - r#"{"value":""}"#.len()))),
            "ok, ready, attempt 0",
        ),
    ),
    Row(
        6,
        "JSON text of 1 MiB and one byte",
        Refuses(
            |lab| lab.json(vec![b' '; (1 << 20) + 1]),
            "payload_too_large: $ is 1048577 bytes; at most 1048576",
        ),
    ),
    Row(
        6,
        "metadata over the limit",
        Refuses(
            |lab| lab.enqueue(echo(1).meta("note", "x".repeat(1 << 20))),
            "payload_too_large: $ is 1048577 bytes or more; at most 1048576",
        ),
    ),
    Row(
        7,
        "arguments 65 deep",
        Refuses(
            |lab| lab.enqueue(echo(deep(64))),
            "payload_too_deep: $.value[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0] is nested 65 deep; at most 64",
        ),
    ),
    Row(7, "arguments 64 deep", Is(|lab| lab.enqueue(echo(deep(63))), "ok, ready, attempt 0")),
    Row(
        7,
        "JSON text 65 deep",
        Refuses(
            |lab| lab.json(["[".repeat(65), "]".repeat(65)].concat()),
            "payload_too_deep: $[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0] at byte 64: nested 65 deep; at most 64",
        ),
    ),
    Row(
        7,
        "JSON text of 100 000 brackets",
        Refuses(
            |lab| lab.json("[".repeat(100_000)),
            "payload_too_deep: $[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0] at byte 64: nested 65 deep; at most 64",
        ),
    ),
    Row(
        8,
        "NaN and infinities",
        Refuses(
            |lab| {
                let told = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|bad| {
                    let call = Numbers { ratio: vec![0.5, bad], wide: 0 };
                    lab.shown(lab.client.enqueue(call).map(|_| "ok".into()))
                });
                told.join("\n")
            },
            "number_out_of_range: $.ratio[1] is NaN; JSON has no such number\n\
         number_out_of_range: $.ratio[1] is inf; JSON has no such number\n\
         number_out_of_range: $.ratio[1] is -inf; JSON has no such number",
        ),
    ),
    Row(
        8,
        "1e400",
        Refuses(
            |lab| lab.json(r#"{"value":[1,1e400]}"#),
            "number_out_of_range: $.value[1] at byte 12: 1e400 is beyond the largest float; send it as a string",
        ),
    ),
    Row(
        9,
        "an integer of 2^64",
        Refuses(
            |lab| lab.json(r#"{"value":18446744073709551616}"#),
            "number_out_of_range: $.value at byte 9: 18446744073709551616 is outside -9223372036854775808 to 18446744073709551615; send it as a string",
        ),
    ),
    Row(
        9,
        "a float of 19 digits",
        Refuses(
            |lab| lab.json(r#"{"value":0.1234567890123456789}"#),
            "number_out_of_range: $.value at byte 9: 0.1234567890123456789 would be rounded; send it as a string",
        ),
    ),
    Row(
        9,
        "the integers that fit, from text and typed",
        Is(
            |lab| {
                let typed = lab
                    .client
                    .enqueue(Numbers { ratio: vec![], wide: i128::MIN })
                    .unwrap()
                    .refresh()
                    .unwrap();
                format!(
                    "{} {}",
                    lab.json(r#"{"value":[18446744073709551615,-9223372036854775808]}"#),
                    typed.arguments
                )
            },
            "{\"value\":[18446744073709551615,-9223372036854775808]} {\"ratio\":[],\"wide\":-170141183460469231731687303715884105728}",
        ),
    ),
    Row(
        10,
        "a key twice",
        Refuses(
            |lab| lab.json(r#"{"value":1,"a":1,"a":2}"#),
            "duplicate_key: $ at byte 17: \"a\" is there twice; at most once",
        ),
    ),
    Row(
        10,
        "a key twice, once escaped",
        Refuses(
            |lab| lab.json(r#"{"value":{"a":1,"\u0061":2}}"#),
            "duplicate_key: $.value at byte 16: \"a\" is there twice; at most once",
        ),
    ),
    Row(
        11,
        "a lone surrogate",
        Refuses(
            |lab| lab.json(r#"{"value":"\ud800"}"#),
            "bad_json: $.value at byte 10: lone surrogate \\ud800; expected a pair",
        ),
    ),
    Row(
        11,
        "invalid UTF-8",
        Refuses(
            |lab| lab.json(b"{\"value\":\"\xff\"}"),
            "bad_json: $.value at byte 10: expected UTF-8",
        ),
    ),
    Row(
        11,
        "a byte order mark",
        Refuses(
            |lab| lab.json("\u{feff}{}"),
            "bad_json: $ at byte 0: byte order mark; expected UTF-8 without one",
        ),
    ),
    Row(
        11,
        "trailing bytes",
        Refuses(
            |lab| lab.json(r#"{"value":1} x"#),
            "bad_json: $ at byte 12: expected the end, found 'x'",
        ),
    ),
    Row(
        11,
        "an empty body",
        Refuses(|lab| lab.json(""), "bad_json: $ at byte 0: empty; expected a value"),
    ),
    Row(
        11,
        "JSON that is no object",
        Refuses(|lab| lab.json("3"), "bad_json: $ is a number; an object by parameter name"),
    ),
    Row(
        11,
        "a JSON array",
        Refuses(|lab| lab.json(" [3]"), "bad_json: $ is an array; an object by parameter name"),
    ),
    Row(
        11,
        "a JSON text",
        Refuses(|lab| lab.json("\"a\""), "bad_json: $ is a text; an object by parameter name"),
    ),
    Row(
        11,
        "a JSON boolean",
        Refuses(|lab| lab.json("true"), "bad_json: $ is a boolean; an object by parameter name"),
    ),
    Row(
        11,
        "a JSON null",
        Refuses(|lab| lab.json("null"), "bad_json: $ is null; an object by parameter name"),
    ),
    Row(12, "a NUL in a string", Is(|lab| lab.run("a\0b").result.unwrap(), r#""a\u0000b""#)),
    Row(
        12,
        "a NUL in a task name and in a tag",
        Is(
            |lab| {
                let kind = lab.shown(lab.client.enqueue_json("ec\0ho", b"{}").map(|_| "ok".into()));
                let tag = lab.client.enqueue(echo(1).tag("a\0b")).unwrap().refresh().unwrap().tags;
                format!("{kind}; {tag:?}")
            },
            "unknown_kind: \"ec\\0ho\" is not registered; did you mean echo?; [\"a\\0b\"]",
        ),
    ),
    Row(
        13,
        "an array of 200 001 values",
        Refuses(
            |lab| lab.json(["[0", &",0".repeat(200_000), "]"].concat()),
            "too_many_nodes: $[99999] at byte 199999: value 100001; at most 100000",
        ),
    ),
    Row(
        13,
        "a typed array of 100 000 values",
        Refuses(
            |lab| lab.enqueue(echo(vec![0; 100_000])),
            "too_many_nodes: $.value[99998] is value 100001; at most 100000",
        ),
    ),
    Row(
        14,
        "no time, no attempts, no threads, no weight",
        Refuses(
            |lab| {
                let calls = [
                    echo(1).timeout(Duration::ZERO),
                    echo(1).expires_after(Duration::ZERO),
                    echo(1).attempts(0),
                    echo(1).attempts(1_001),
                ];
                let builders: [fn(Builder) -> Builder; 4] = [
                    |b| b.workers(0),
                    |b| b.workers(1_025),
                    |b| b.threads_for("a", 0),
                    |b| b.weight("a", 0),
                ];
                let calls = calls.map(|call| lab.enqueue(call));
                let builders = builders
                    .map(|change| lab.shown(change(lab.builder()).open().map(|_| "ok".into())));
                [calls, builders].concat().join("\n")
            },
            "out_of_range: timeout is 0ns; 1 ms to 365 days\n\
         out_of_range: expires_after is 0ns; 1 ms to 100 years\n\
         out_of_range: attempts is 0; 1 to 1000\n\
         out_of_range: attempts is 1001; 1 to 1000\n\
         out_of_range: workers is 0; 1 to 1024\n\
         out_of_range: workers is 1025; 1 to 1024\n\
         out_of_range: threads_for of queue a is 0; 1 to 1024\n\
         out_of_range: weight of queue a is 0; 1 to 1000",
        ),
    ),
    Row(
        15,
        "a time-out of more than a year",
        Refuses(
            |lab| lab.enqueue(echo(1).timeout(Duration::from_secs(365 * 86_400 + 1))),
            "out_of_range: timeout is 31536001s; 1 ms to 365 days",
        ),
    ),
    Row(
        15,
        "an expiry and a retention of more than a century",
        Refuses(
            |lab| {
                let long = Duration::MAX;
                format!(
                    "{}\n{}",
                    lab.enqueue(echo(1).expires_after(long)),
                    lab.enqueue(echo(1).keep_for(long))
                )
            },
            "out_of_range: expires_after is 18446744073709551615.999999999s; 1 ms to 100 years\n\
         out_of_range: keep_for is 18446744073709551615.999999999s; 0 to 100 years",
        ),
    ),
    Row(15, "a lease shorter than three renewals", NotYet("a lease that can be set")),
    Row(
        16,
        "a due time in the year 10 000",
        Refuses(
            |lab| lab.enqueue(echo(1).run_at(year(10_000))),
            "time_out_of_range: due time is 253402300800000; 1970-01-01 to 9999-12-31, 0 to 253402300799999 ms",
        ),
    ),
    Row(
        16,
        "a due time before 1970",
        Refuses(
            |lab| lab.enqueue(echo(1).run_at(year(1_969))),
            "time_out_of_range: due time is -31536000000; 1970-01-01 to 9999-12-31, 0 to 253402300799999 ms",
        ),
    ),
    Row(
        16,
        "a due time at the ends of what a clock can say",
        Refuses(
            |lab| {
                let ends = [
                    echo(1).run_at(DateTime::<Utc>::MAX_UTC),
                    echo(1).run_at(DateTime::<Utc>::MIN_UTC),
                    echo(1).run_after(Duration::MAX),
                ];
                ends.map(|call| lab.enqueue(call)).join("\n")
            },
            "time_out_of_range: due time is 8210266876799999; 1970-01-01 to 9999-12-31, 0 to 253402300799999 ms\n\
         time_out_of_range: due time is -8334601228800000; 1970-01-01 to 9999-12-31, 0 to 253402300799999 ms\n\
         time_out_of_range: due time is 18446744073709551615.999999999s; 1970-01-01 to 9999-12-31, 0 to 253402300799999 ms",
        ),
    ),
    Row(
        16,
        "a due time in the past runs now, and the record tells by how much it was late",
        Is(
            |lab| {
                let handle = lab.client.enqueue(echo(1).run_at(year(1_999))).unwrap();
                let task = handle.refresh().unwrap();
                format!(
                    "{}, due {} after it was due: {}",
                    task.state,
                    task.due_at,
                    task.enqueued_at > task.due_at
                )
            },
            "ready, due 1999-01-01T00:00:00.000Z after it was due: true",
        ),
    ),
    Row(
        17,
        "a back-off that overflows",
        Is(
            |_| {
                let largest = Retry::exponential(Duration::MAX, Duration::MAX);
                let delays =
                    [largest.delay(u32::MAX, 1.0), Retry::ladder([Duration::MAX]).delay(7, 0.0)];
                format!("{delays:?}")
            },
            "[31536000s, 31536000s]",
        ),
    ),
    Row(
        18,
        "priorities outside the range",
        Refuses(
            |lab| {
                [101, -101, i32::from(i16::MAX) + 1, i32::MIN]
                    .map(|priority| lab.enqueue(echo(1).priority(priority)))
                    .join("\n")
            },
            "out_of_range: priority is 101; -100 to 100\n\
         out_of_range: priority is -101; -100 to 100\n\
         out_of_range: priority is 32768; -100 to 100\n\
         out_of_range: priority is -2147483648; -100 to 100",
        ),
    ),
    Row(
        19,
        "an empty key",
        Refuses(
            |lab| lab.enqueue(echo(1).key("")),
            "bad_key: idempotency key is \"\"; 1 to 200 bytes without control characters",
        ),
    ),
    Row(
        19,
        "a key of 1 KiB",
        Refuses(
            |lab| lab.enqueue(echo(1).key("k".repeat(1_024))),
            "bad_key: idempotency key is \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk… (1026 bytes); 1 to 200 bytes without control characters",
        ),
    ),
    Row(
        19,
        "a key with a NUL, an escape sequence, a newline",
        Refuses(
            |lab| ["a\0", "a\u{1b}[2J", "a\nb"].map(|key| lab.enqueue(echo(1).key(key))).join("\n"),
            "bad_key: idempotency key is \"a\\0\"; 1 to 200 bytes without control characters\n\
         bad_key: idempotency key is \"a\\u{1b}[2J\"; 1 to 200 bytes without control characters\n\
         bad_key: idempotency key is \"a\\nb\"; 1 to 200 bytes without control characters",
        ),
    ),
    Row(
        19,
        "a key like those of tasks that follow an end",
        Refuses(
            |lab| lab.enqueue(echo(1).key("event/mine")),
            "bad_key: idempotency key is \"event/mine\"; a key that does not begin with `event/`, as those of tasks that follow others do",
        ),
    ),
    Row(
        19,
        "a unique key, a lock, and the key of a limit or a rate: empty, of 1 KiB, with an escape sequence, torn",
        Refuses(
            Lab::patterns,
            "bad_key: unique key is \"\"; 1 to 200 bytes without control characters\n\
         bad_key: lock is \"\"; 1 to 200 bytes without control characters\n\
         bad_key: key of the limit is \"\"; 1 to 200 bytes without control characters\n\
         bad_key: key of the rate is \"\"; 1 to 200 bytes without control characters\n\
         bad_key: unique key is \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk… (1026 bytes); 1 to 200 bytes without control characters\n\
         bad_key: lock is \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk… (1026 bytes); 1 to 200 bytes without control characters\n\
         bad_key: key of the limit is \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk… (1026 bytes); 1 to 200 bytes without control characters\n\
         bad_key: key of the rate is \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk… (1026 bytes); 1 to 200 bytes without control characters\n\
         bad_key: unique key is \"a\\u{1b}[2J\"; 1 to 200 bytes without control characters\n\
         bad_key: lock is \"a\\u{1b}[2J\"; 1 to 200 bytes without control characters\n\
         bad_key: key of the limit is \"a\\u{1b}[2J\"; 1 to 200 bytes without control characters\n\
         bad_key: key of the rate is \"a\\u{1b}[2J\"; 1 to 200 bytes without control characters\n\
         bad_key: unique key is \"{value\"; it has a `{` without its `}`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: lock is \"{value\"; it has a `{` without its `}`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: key of the limit is \"{value\"; it has a `{` without its `}`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: key of the rate is \"{value\"; it has a `{` without its `}`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: argument in the unique key is \"valeu\"; one of: value\n\
         bad_key: argument in the lock is \"valeu\"; one of: value\n\
         bad_key: argument in the key of the limit is \"valeu\"; one of: value\n\
         bad_key: argument in the key of the rate is \"valeu\"; one of: value\n\
         bad_key: unique key is \"a}\"; it has a `}` without its `{`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: lock is \"a}\"; it has a `}` without its `{`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: key of the limit is \"a}\"; it has a `}` without its `{`; write `{name}` for an argument, `{{` for a brace\n\
         bad_key: key of the rate is \"a}\"; it has a `}` without its `{`; write `{name}` for an argument, `{{` for a brace",
        ),
    ),
    Row(
        19,
        "arguments of more than 1 KiB as a unique key",
        Refuses(
            |lab| lab.enqueue(echo("k".repeat(1_024)).unique(Unique::arguments())),
            "bad_key: bytes of the arguments as unique key is 1036; at most 1024; choose some with `Unique::arguments_of`, or make a key of them",
        ),
    ),
    Row(
        20,
        "the same key with other arguments",
        Is(
            |lab| {
                let first = lab.client.enqueue(echo(1).key("k")).unwrap();
                let again = lab.client.enqueue(echo(1).key("k")).unwrap();
                let same = again.is_existing()
                    && again.id() == first.id()
                    && lab.client.find("k").unwrap().is_some();
                format!("again: {same}; other: {}", lab.enqueue(echo(2).key("k")))
            },
            "again: true; other: key_conflict: task <id> already has this key with other arguments",
        ),
    ),
    Row(
        21,
        "a batch of none",
        Is(|lab| said(lab.client.enqueue_many(Vec::<Call<Echo>>::new())), "ok, []"),
    ),
    Row(
        21,
        "a batch of 100 001",
        Refuses(
            |lab| lab.shown(lab.client.enqueue_many((0..=100_000).map(echo)).map(|_| "ok".into())),
            "batch_too_large: size of the batch is 100001; at most 100000; send them in parts",
        ),
    ),
    Row(
        21,
        "one bad item in a batch",
        Refuses(
            |lab| {
                let before = lab.count();
                let calls = [echo(1), echo(2).priority(101), echo(3)];
                let told = lab.shown(lab.client.enqueue_many(calls).map(|_| "ok".into()));
                format!("{told}; {} stored", lab.count() - before)
            },
            "item 1 of the batch: out_of_range: priority is 101; -100 to 100; 0 stored",
        ),
    ),
    Row(
        21,
        "an item of a batch that the store refuses",
        Is(
            |lab| {
                lab.client.enqueue(echo(1).key("k")).unwrap();
                let told = lab.shown(
                    lab.client.enqueue_many([echo(2), echo(3).key("k")]).map(|_| "ok".into()),
                );
                format!("{told}; {} stored", lab.count())
            },
            "item 1 of the batch: key_conflict: task <id> already has this key with other arguments; 1 stored",
        ),
    ),
    Row(
        21,
        "a queue that is new to the file, in a batch that is refused",
        Is(
            |lab| {
                let bad = [echo(1).queue("new"), echo(2).queue("newer").key("k"), echo(3).key("k")];
                let told = lab.shown(lab.client.enqueue_many(bad).map(|_| "ok".into()));
                let other = lab.builder().open().unwrap();
                other.enqueue(Elsewhere {}).unwrap();
                let task = lab.client.enqueue(echo(4).queue("new")).unwrap().refresh().unwrap();
                format!("{told}; then {} in {}", task.kind, task.queue)
            },
            "item 2 of the batch: key_conflict: task <id> already has this key with other arguments; then echo in new",
        ),
    ),
    Row(
        21,
        "a queue that is new to the file, in a transaction that goes back to a savepoint",
        Is(
            |lab| {
                lab.client
                    .write(|tx| {
                        tx.connection().execute_batch("SAVEPOINT before")?;
                        tx.enqueue(echo(1).queue("new"))?;
                        tx.connection().execute_batch("ROLLBACK TO before")?;
                        tx.enqueue(echo(2).queue("new"))?;
                        tx.connection().execute_batch("ROLLBACK TO before")?;
                        Ok::<_, litework::sqlite::WriteError>(())
                    })
                    .unwrap();
                format!("{} stored; {}", lab.count(), lab.enqueue(echo(3).queue("new")))
            },
            "0 stored; ok, ready, attempt 0",
        ),
    ),
    Row(
        22,
        "a finish by an attempt that lost the task",
        Is(
            |lab| {
                let (task, log) = logged(|| lab.run("lose the lease"));
                let task = format!("{}, result {:?}", lab.state(task.id), task.result);
                lab.hide(&format!("{task}\n{}", log.join("\n")))
            },
            "running, attempt 2, result None\n\
             WARN finish was not kept, error = lease_lost: attempt 1 of task <id> no longer holds it; nothing of it was kept",
        ),
    ),
    Row(
        22,
        "completing twice",
        Is(
            |lab| {
                let task = lab.run("complete twice");
                let told = lab.bodies.told();
                lab.hide(&format!("{told}; {}, result {:?}", lab.state(task.id), task.result))
            },
            "reentrant: the finishing transaction of this attempt has begun; do it before, or inside with \
             what the transaction offers, and return the value; succeeded, attempt 1, result Some(\"1\")",
        ),
    ),
    Row(
        22,
        "failing after completing",
        Is(
            |lab| {
                let (task, log) = logged(|| lab.run("complete and fail"));
                let attempts = lab.client.attempts(task.id).unwrap();
                let outcomes: Vec<_> =
                    attempts.into_iter().map(|attempt| attempt.outcome).collect();
                let told = format!("{}, result {:?}", lab.state(task.id), task.result);
                lab.hide(&format!("{told}, {outcomes:?}\n{}", log.join("\n")))
            },
            "succeeded, attempt 1, result Some(\"1\"), [\"succeeded\"]\n\
             WARN the body failed after its finishing transaction; the task has succeeded, error = too late",
        ),
    ),
    Row(
        22,
        "going on after the task was lost: a step, a finishing transaction, a failure",
        Is(
            |lab| {
                let (task, log) = logged(|| lab.run("go on without the task"));
                let told = format!("{}\n{}", lab.bodies.told(), lab.state(task.id));
                lab.hide(&format!("{told}\n{}", log.join("\n")))
            },
            "lease_lost: attempt 1 of task <id> no longer holds it; nothing of it was kept, \
             lease_lost: attempt 1 of task <id> no longer holds it; nothing of it was kept\n\
             running, attempt 2\n\
             WARN finish was not kept, error = lease_lost: attempt 1 of task <id> no longer holds it; nothing of it was kept",
        ),
    ),
    Row(
        23,
        "an id of another file",
        Is(
            |lab| {
                let other = Lab::new();
                lab.client.enqueue(echo(1)).unwrap();
                let id = other.client.enqueue(echo(1)).unwrap().id();
                format!(
                    "{}; {}",
                    lab.shown(lab.client.get(id).map(|_| "ok".into())),
                    lab.shown(lab.client.cancel(id).map(|_| "ok".into()))
                )
            },
            "not_found: there is no task <id>; not_found: there is no task <id>",
        ),
    ),
    Row(23, "a forged token", NotYet("tokens for ending a task from outside")),
    Row(
        24,
        "cancelling a task that is unknown, or no id at all",
        Refuses(
            |lab| {
                ["77-0000000000007", "", "1' OR 1=1", "../../etc/passwd"]
                    .map(|id| lab.shown(lab.client.cancel(id).map(|_| "ok".into())))
                    .join("\n")
            },
            "not_found: there is no task <id>\n\
         not_found: there is no task \"\"\n\
         not_found: there is no task \"1' OR 1=1\"\n\
         not_found: there is no task \"../../etc/passwd\"",
        ),
    ),
    Row(
        24,
        "cancelling a task that has ended",
        Is(|lab| said(lab.client.cancel(lab.run("x").id)), "ok, AlreadyFinished"),
    ),
    Row(24, "cancelling a task that runs", Is(|lab| lab.run_inline("cancel me"), "Requested")),
    Row(
        24,
        "retrying, deleting, moving and copying a task that is unknown",
        Refuses(
            |lab| {
                let (client, id) = (&lab.client, "77-0000000000007");
                let copy = client.edit_as_copy(id, |edit| edit.priority(1)).map(drop);
                let why = client.why(id).map(drop);
                let moved = client.reschedule(id, Utc::now());
                let answers = [client.retry(id), client.delete(id), moved, copy, why];
                answers.map(|answer| lab.shown(answer.map(|()| "ok".into()))).join("\n")
            },
            "not_found: there is no task <id>\n\
         not_found: there is no task <id>\n\
         not_found: there is no task <id>\n\
         not_found: there is no task <id>\n\
         not_found: there is no task <id>",
        ),
    ),
    Row(
        24,
        "retrying, deleting and moving a task that runs",
        Is(
            |lab| lab.run_inline("operate on me"),
            "not_finished: task <id> is running, \
         running: task <id> is running; cancel it and wait for its end, or let it end, \
         running: task <id> is running; cancel it and wait for its end, or let it end",
        ),
    ),
    Row(
        24,
        "retrying a task that waits, and moving one that has ended",
        Is(
            |lab| {
                let later = lab.client.enqueue(echo("x").run_after(Duration::from_secs(9)));
                let retried = lab.client.retry(later.unwrap().id());
                let moved = lab.client.reschedule(lab.run("x").id, Utc::now());
                [retried, moved].map(|answer| lab.shown(answer.map(|()| "ok".into()))).join("\n")
            },
            "not_finished: task <id> is scheduled\n\
         already_finished: task <id> is succeeded; it has ended; retry it to have it run again",
        ),
    ),
    Row(
        24,
        "doing something to many more than were counted",
        Is(
            |lab| {
                let calls = (0..12).map(|n| echo(n).run_after(Duration::from_secs(9)));
                lab.client.enqueue_many(calls).unwrap();
                said(lab.client.bulk(&Filter::new()).expecting(1).delete())
            },
            "changed: number of tasks that pass the filter is 12; at most 11, as 1 were counted \
         before; count them again",
        ),
    ),
    Row(
        25,
        "a result of 100 MiB",
        Is(
            |lab| {
                let task = lab.run("result of 100 MiB");
                format!("{} {:?}: {}", task.state, task.reason, task.error.unwrap().message)
            },
            "failed Some(ResultTooLarge): payload_too_large: $ is 1048577 bytes or more; at most 1048576",
        ),
    ),
    Row(
        25,
        "an error text of 100 MiB",
        Is(
            |lab| {
                let message = lab.run("error of 100 MiB").error.unwrap().message;
                let (text, mark) = message.split_at(64 << 10);
                format!("{} bytes, {mark}", text.len())
            },
            "65536 bytes, … (cut, 104857600 bytes)",
        ),
    ),
    Row(
        25,
        "an error text with control bytes",
        Is(
            |lab| {
                let (task, log) = logged(|| lab.run("error with control bytes"));
                let raw: String = raw(lab)
                    .query_row("SELECT report FROM litework_error", [], |row| row.get(0))
                    .unwrap();
                assert!(!raw.chars().any(char::is_control), "stored escaped: {raw}");
                let kept = format!("{:?}", task.error.as_ref().unwrap().message);
                let told = said(lab.client.handle::<Echo>(task.id).unwrap().value());
                lab.hide(&format!("{kept}\n{told}\n{}", log.join("\n")))
            },
            "\"a\\u{1b}[2J\\u{7}\\nb\"\n\
             failed: task <id> failed (error): a\\u{1b}[2J\\u{7}\\nb\n\
             ERROR task failed, error = a\\u{1b}[2J\\u{7}\\nb",
        ),
    ),
    Row(
        25,
        "data of an error, too deep or too large",
        Is(
            |lab| {
                ["error with deep data", "error with large data"]
                    .map(|body| {
                        let error = lab.run(body).error.unwrap();
                        let data = error.data.unwrap();
                        let text = data.as_str().expect("what does not fit is kept as text");
                        let mark = text.find("… (cut").map_or("whole", |at| &text[at..]);
                        format!("{}: {} bytes, {mark}", error.message, text.len())
                    })
                    .join("\n")
            },
            "deep: 401 bytes, whole\n\
         large: 65560 bytes, … (cut, 4194306 bytes)",
        ),
    ),
    Row(
        26,
        "a call after shutdown",
        Is(
            |lab| {
                let handle = lab.client.enqueue(echo(1)).unwrap();
                let client = lab.builder().open().unwrap();
                client.shutdown(Duration::ZERO).unwrap();
                let id = handle.id();
                [
                    said(client.enqueue(echo(1)).map(drop)),
                    said(client.enqueue_many([echo(1)]).map(drop)),
                    said(client.cancel(id)),
                    said(client.run_pending(&Pending::all())),
                    said(client.get(id).map(drop)),
                    said(client.list(&Filter::new(), None, 1).map(drop)),
                    said(client.shutdown(Duration::ZERO).map(drop)),
                ]
                .join("\n")
            },
            "closed: the client was shut down\n\
         closed: the client was shut down\n\
         closed: the client was shut down\n\
         closed: the client was shut down\n\
         ok, ()\n\
         ok, ()\n\
         ok, ()",
        ),
    ),
    Row(
        26,
        "a handle that outlived its client",
        Is(
            |lab| {
                let client = lab.builder().open().unwrap();
                let handle = client.enqueue(echo(1)).unwrap();
                drop(client);
                format!(
                    "{}\n{}",
                    said(handle.refresh().map(drop)),
                    said(handle.wait(Duration::from_secs(9)))
                )
            },
            "closed: the client was shut down\nclosed: the client was shut down",
        ),
    ),
    Row(
        26,
        "a call in a drop while the stack unwinds",
        Is(
            |lab| {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _last = EnqueueOnDrop(&lab.client);
                    std::panic::resume_unwind(Box::new(()));
                }));
                format!("{}, {} stored", caught.is_err(), lab.count())
            },
            "true, 1 stored",
        ),
    ),
    Row(
        26,
        "a call in a forked child",
        Refuses(
            Lab::as_forked_child,
            "enqueue, enqueue_many, run_pending, cancel, get, list, attempts, wait, write, enqueue_in, \
             open: forked_process: the file was opened by process <pid>; fork first, then open it\n\
             shutdown: forked_process: the file was opened by process <pid>; fork first, then open it\n\
             dropped at once: true\n\
             then the parent: ok, String(\"meet twice\"), files of its seats: [2, 2]",
        ),
    ),
    Row(
        27,
        "more pairs of queue and kind than a file may have",
        Refuses(
            |lab| {
                let calls = (0..1_001).map(|n| echo(n).queue(format!("q{n}")));
                let told = lab.shown(lab.client.enqueue_many(calls).map(|_| "ok".into()));
                format!("{told}; {} stored", lab.count())
            },
            "item 1000 of the batch: overloaded: the file's list of lanes (pairs of queue and kind) holds 1000 of at most 1000; a lane is never given up, so use fewer queues or another file; 0 stored",
        ),
    ),
    Row(
        27,
        "more waiting tasks than a queue may have",
        Refuses(
            |lab| {
                let client = lab.builder().max_waiting("mail", 2).open().unwrap();
                let calls = (0..3).map(|n| echo(n).queue("mail"));
                let told = lab.shown(client.enqueue_many(calls).map(|_| "ok".into()));
                format!("{told}; {} stored", lab.count())
            },
            "item 2 of the batch: overloaded: the queue mail (tasks that have not started) holds 2 of at most 2; try again later; 0 stored",
        ),
    ),
    Row(
        28,
        "a plain call while the thread holds the write transaction",
        Refuses(
            |lab| {
                let told = lab
                    .client
                    .write(|_| Ok::<_, Error>(said(lab.client.enqueue(echo(1)).map(drop))))
                    .unwrap();
                format!("{told}; {} stored", lab.count())
            },
            "reentrant: this thread holds a write transaction on the file and would wait for itself; enqueue through that transaction, or end it first; 0 stored",
        ),
    ),
    Row(
        28,
        "a write within a write",
        Refuses(
            |lab| {
                lab.client
                    .write(|_| Ok::<_, Error>(said(lab.client.write(|_| Ok::<_, Error>(())))))
                    .unwrap()
            },
            "reentrant: this thread holds a write transaction on the file and would wait for itself; enqueue through that transaction, or end it first",
        ),
    ),
    Row(
        28,
        "a task that waits for its own end",
        Is(
            |lab| lab.run_inline("wait for me"),
            "reentrant: a task that waits for its own end would wait for ever; return, and let a task that it enqueues do the rest",
        ),
    ),
    Row(
        29,
        "a member of a flow that waits for itself",
        Refuses(
            |lab| lab.flow(two().after("a", ["a"])),
            "dependency_cycle: the flow \"two\" is \"a → a\"; no member may wait for itself",
        ),
    ),
    Row(
        29,
        "members that wait for each other",
        Refuses(
            |lab| lab.flow(two().after("b", ["a"]).after_finished("a", ["b"])),
            "dependency_cycle: the flow \"two\" is \"a → b → a\"; no member may wait for itself",
        ),
    ),
    Row(
        29,
        "a member after one that is not there",
        Refuses(
            |lab| lab.flow(two().after("b", ["aa"])),
            "not_found: there is no task \"aa\" in the flow \"two\"; did you mean a?",
        ),
    ),
    Row(
        29,
        "a call after a task that is not there",
        Refuses(
            |lab| lab.enqueue(echo(1).after(["1-0000000000000".parse().unwrap()])),
            "not_found: there is no task <id>",
        ),
    ),
    Row(
        29,
        "a member after 10 000 others, and after 10 001",
        Is(
            |lab| {
                let wide = |count: usize| {
                    let names: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
                    let flow = Flow::group("wide", (0..count).map(echo));
                    lab.flow(flow.add("last", echo("last")).after("last", names))
                };
                format!("{}; {}", wide(10_000), wide(10_001))
            },
            "ok, 10001 members; too_many_before: tasks before one is 10001; at most 10000; gather them in a flow and wait for that",
        ),
    ),
    Row(
        29,
        "a result for a parameter of another name",
        Refuses(
            |lab| lab.flow(two().then(echo(1).takes_result("valeu"))),
            "member \"3\" of the flow: no_parameter: parameter that takes a result is \"valeu\"; one of the parameters that the call gives: value",
        ),
    ),
    Row(
        29,
        "a result where nothing comes before",
        Refuses(
            |lab| lab.enqueue(echo(1).takes_result("value")),
            "nothing_before: tasks before it is 0; one or more tasks before it, whose results it takes",
        ),
    ),
    Row(
        30,
        "no such file: it is made, for its owner only",
        Is(
            |lab| {
                let told = lab.open(&lab.at("new.db"), |b| b);
                format!("{told}, mode {}", mode(&lab.at("new.db")))
            },
            "ok, <dir>/new.db with 0 tasks, mode 600",
        ),
    ),
    Row(
        30,
        "a file of 0 bytes is an empty queue",
        Is(
            |lab| {
                fs::write(lab.at("empty.db"), "").unwrap();
                lab.open(&lab.at("empty.db"), |b| b)
            },
            "ok, <dir>/empty.db with 0 tasks",
        ),
    ),
    Row(
        30,
        "no such file, and making one was not asked for",
        Refuses(
            |lab| lab.open(&lab.at("missing.db"), Builder::must_exist),
            "no_queue_at: <dir>/missing.db: there is no such file; whoever opens it without `must_exist`, or `litework init`, makes it",
        ),
    ),
    Row(
        30,
        "an empty file, where a queue must be",
        Refuses(
            |lab| {
                fs::write(lab.at("empty.db"), "").unwrap();
                lab.open(&lab.at("empty.db"), Builder::must_exist)
            },
            "no_queue_at: <dir>/empty.db: there are no tables of litework in it; whoever opens it without `must_exist`, or `litework init`, makes them",
        ),
    ),
    Row(
        31,
        "a directory",
        Refuses(
            |lab| lab.open(lab.dir.path(), |b| b),
            "not_a_queue_file: <dir>: it is a directory",
        ),
    ),
    Row(
        31,
        "a path that is SQLite's word for something else",
        Refuses(
            |lab| {
                let open = |path: &str| lab.open(Path::new(path), |b| b);
                [open(":memory:"), open("file:a.db?mode=memory")].join("\n")
            },
            "not_a_queue_file: :memory:: it is SQLite's word for something else than a file; give the path of one, or use `Client::in_memory`\n\
         not_a_queue_file: file:a.db?mode=memory: it is SQLite's word for something else than a file; give the path of one, or use `Client::in_memory`",
        ),
    ),
    Row(
        31,
        "no path at all",
        Refuses(
            |lab| lab.open(Path::new(""), |b| b),
            "cannot_open: : it cannot be created: No such file or directory (os error 2)",
        ),
    ),
    Row(
        31,
        "a device",
        Refuses(
            |lab| lab.open(Path::new("/dev/null"), |b| b),
            "not_a_queue_file: /dev/null: it is a link, a device or a socket; give the path of a regular file",
        ),
    ),
    Row(
        31,
        "a socket",
        Refuses(
            |lab| {
                let _bound = std::os::unix::net::UnixListener::bind(lab.at("socket")).unwrap();
                lab.open(&lab.at("socket"), |b| b)
            },
            "not_a_queue_file: <dir>/socket: it is a link, a device or a socket; give the path of a regular file",
        ),
    ),
    Row(
        31,
        "a symbolic link, to a queue and to nothing",
        Refuses(
            |lab| {
                let closed = closed_queue(lab);
                std::os::unix::fs::symlink(closed, lab.at("link.db")).unwrap();
                std::os::unix::fs::symlink(lab.at("nothing"), lab.at("loose.db")).unwrap();
                format!(
                    "{}\n{}",
                    lab.open(&lab.at("link.db"), |b| b),
                    lab.open(&lab.at("loose.db"), |b| b)
                )
            },
            "not_a_queue_file: <dir>/link.db: it is a link, a device or a socket; give the path of a regular file\n\
         not_a_queue_file: <dir>/loose.db: it is a link, a device or a socket; give the path of a regular file",
        ),
    ),
    Row(
        31,
        "a link to a queue that this process has open",
        Refuses(
            |lab| {
                std::os::unix::fs::symlink(&lab.bodies.path, lab.at("link.db")).unwrap();
                lab.open(&lab.at("link.db"), |b| b)
            },
            "not_a_queue_file: <dir>/link.db: it is a link, a device or a socket; give the path of a regular file",
        ),
    ),
    Row(
        31,
        // The catalogue would refuse it, but home folders and /tmp are links on some systems, and
        // the one true path is used for the file, its journal and its locks.
        "a path through a linked folder is followed to the real one",
        Is(
            |lab| {
                fs::create_dir(lab.at("real")).unwrap();
                std::os::unix::fs::symlink(lab.at("real"), lab.at("folder")).unwrap();
                lab.open(&lab.at("folder").join("a.db"), |b| b)
            },
            "ok, <dir>/real/a.db with 0 tasks",
        ),
    ),
    Row(
        31,
        "a file with two names",
        Refuses(
            |lab| {
                fs::hard_link(closed_queue(lab), lab.at("second.db")).unwrap();
                lab.open(&lab.at("second.db"), |b| b)
            },
            "not_a_queue_file: <dir>/second.db: it has several hard links; SQLite would keep a journal for each name",
        ),
    ),
    Row(
        32,
        "a text file, a short file, a file of zeros",
        Refuses(
            |lab| {
                let files: [(&str, &[u8]); 3] = [
                    ("text.db", &b"To do: buy milk.\n".repeat(500)),
                    ("short.db", b"SQLite format 3\0"),
                    ("zeros.db", &[0; 8192]),
                ];
                files
                    .map(|(name, bytes)| {
                        fs::write(lab.at(name), bytes).unwrap();
                        lab.open(&lab.at(name), |b| b)
                    })
                    .join("\n")
            },
            "not_a_queue: <dir>/text.db: it is not an SQLite database, or it is encrypted\n\
         not_a_queue: <dir>/short.db: it is not an SQLite database, or it is encrypted\n\
         not_a_queue: <dir>/zeros.db: it is not an SQLite database, or it is encrypted",
        ),
    ),
    Row(
        32,
        "the database of another program",
        Refuses(
            |lab| {
                let theirs = |name: &str, sql: &str| {
                    Connection::open(lab.at(name)).unwrap().execute_batch(sql).unwrap();
                };
                theirs("theirs.db", "CREATE TABLE notes (text)");
                theirs("marked.db", "PRAGMA application_id = 7; CREATE TABLE notes (text)");
                theirs("wide.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE notes (text)");
                let strict = ["theirs.db", "marked.db", "wide.db"]
                    .map(|name| lab.open(&lab.at(name), |b| b));
                let shared = lab.open(&lab.at("theirs.db"), Builder::application_file);
                [strict.join("\n"), shared].join("\n")
            },
            "other_application_id: <dir>/theirs.db: it belongs to another application (1 other table); to keep tasks in it, say `application_file()` on the builder, or `application_file = true` in a `Config`\n\
         other_application_id: <dir>/marked.db: it belongs to another application (application id 7, 1 other table); to keep tasks in it, say `application_file()` on the builder, or `application_file = true` in a `Config`\n\
         not_a_queue: <dir>/wide.db: its text encoding is UTF-16le; UTF-8 is needed\n\
         needs_wal: <dir>/theirs.db: its journal mode is delete; allow the switch to WAL with `convert_to_wal()` on the builder, or `convert_to_wal = true` in a `Config`, or make it yourself",
        ),
    ),
    Row(
        32,
        "a queue that a newer program has written",
        Refuses(
            |lab| {
                let path = closed_queue(lab);
                let raw = Connection::open(&path).unwrap();
                raw.execute(
                    "UPDATE litework_meta SET value = 9 WHERE name IN ('schema', 'min_writer')",
                    [],
                )
                .unwrap();
                raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                drop(raw);
                lab.open(&path, |b| b)
            },
            "schema_newer: <dir>/closed.db: 9 > 1; upgrade the program",
        ),
    ),
    Row(
        32,
        "a queue that a newer program writes while it is open",
        Refuses(
            |lab| {
                raw(lab)
                    .execute("UPDATE litework_meta SET value = 9 WHERE name = 'min_writer'", [])
                    .unwrap();
                let told = lab.enqueue(echo(1));
                raw(lab)
                    .execute("UPDATE litework_meta SET value = 1 WHERE name = 'min_writer'", [])
                    .unwrap();
                told
            },
            "schema_newer: <dir>/queue.db: 9 > 1; upgrade the program",
        ),
    ),
    Row(
        32,
        "a queue whose table of versions is gone, or says nonsense",
        Refuses(
            |lab| {
                ["DELETE FROM litework_meta", "UPDATE litework_meta SET value = 'x'"]
                    .map(|sql| {
                        let path = closed_queue(lab);
                        let raw = Connection::open(&path).unwrap();
                        raw.execute(sql, []).unwrap();
                        raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                        drop(raw);
                        let told = lab.open(&path, |b| b);
                        fs::remove_file(path).unwrap();
                        told
                    })
                    .join("\n")
            },
            "not_a_queue: <dir>/closed.db: litework_meta cannot be read\n\
         not_a_queue: <dir>/closed.db: litework_meta cannot be read",
        ),
    ),
    Row(
        33,
        "no folder to make it in",
        Refuses(
            |lab| {
                fs::write(lab.at("file"), "x").unwrap();
                format!(
                    "{}\n{}",
                    lab.open(&lab.at("no/such/a.db"), |b| b),
                    lab.open(&lab.at("file").join("a.db"), |b| b)
                )
            },
            "cannot_open: <dir>/no/such/a.db: it cannot be created: No such file or directory (os error 2)\n\
         cannot_open: <dir>/file/a.db: it cannot be looked at: Not a directory (os error 20)",
        ),
    ),
    Row(
        33,
        "no right to write",
        Refuses(
            Lab::as_stranger,
            "cannot_open: <dir>/folder/new.db: it cannot be created: Permission denied (os error 13)\n\
         cannot_open: <dir>/folder/foreign.db: it cannot be written: this user may not write it",
        ),
    ),
    Row(
        33,
        "a path with a NUL",
        Refuses(
            |lab| lab.open(&lab.at("a\0b.db"), |b| b),
            "cannot_open: <dir>/a\\0b.db: it cannot be looked at: file name contained an unexpected NUL byte",
        ),
    ),
    Row(
        34,
        "a disk of another machine, refused and allowed",
        Refuses(
            Lab::on_network_disk,
            "unsafe_filesystem: <dir>/net work/a.db: it lies on a file system of type nfs4, where two hosts can damage it; use a local disk, or take the risk with `allow_network_filesystem`\n\
             made: false\n\
             ok",
        ),
    ),
    Row(
        38,
        "a duration that is none",
        Refuses(
            Lab::durations,
            "bad_duration: duration is \"5x\"; a unit (ms, s, m, h or d) is needed at character 2, as in \"1h30m\"\n\
         bad_duration: duration is \"-1s\"; a whole number is needed at character 1, as in \"1h30m\"\n\
         bad_duration: duration is \"1e9h\"; a unit (ms, s, m, h or d) is needed at character 2, as in \"1h30m\"\n\
         bad_duration: duration is \"\"; a whole number is needed at character 1, as in \"1h30m\"\n\
         bad_duration: duration is \"5 m\"; a unit (ms, s, m, h or d) is needed at character 2, as in \"1h30m\"\n\
         out_of_range: duration is \"99999999999999999999s\"; 0 to 100 years\n\
         out_of_range: duration is \"40000d\"; 0 to 100 years",
        ),
    ),
    Row(
        39,
        "a time that is none, or that no clock shows, or shows twice",
        Refuses(
            Lab::times,
            "bad_time: time is \"2026-03-29T02:30:00\"; it has no zone; write it as 2026-03-29T02:30:00Z or with an offset, as 2026-03-29T02:30:00+01:00\n\
         bad_time: time is \"2026-02-30T00:00:00Z\"; there is no day 30 in 2026-02; write it as 2026-03-29T02:30:00Z or with an offset, as 2026-03-29T02:30:00+01:00\n\
         bad_time: time is \"2026-03-29T24:61:00Z\"; there is no hour 24; write it as 2026-03-29T02:30:00Z or with an offset, as 2026-03-29T02:30:00+01:00\n\
         bad_time: time is \"2026-06-30T23:59:60Z\"; 60 is a leap second, which this clock does not count; write it as 2026-03-29T02:30:00Z or with an offset, as 2026-03-29T02:30:00+01:00\n\
         bad_time: time is \"1969-12-31T23:59:59Z\"; it lies outside the years 1970 to 9999; write it as 2026-03-29T02:30:00Z or with an offset, as 2026-03-29T02:30:00+01:00\n\
         bad_time: time is \"tomorrow\"; the year in 4 digits is needed at character 1; write it as 2026-03-29T02:30:00Z or with an offset, as 2026-03-29T02:30:00+01:00\n\
         bad_time: time is \"2026-03-29 02:30\"; in Europe/Berlin clocks skip it: write 2026-03-29T01:59:59+01:00 or 2026-03-29T03:00:00+02:00\n\
         bad_time: time is \"2026-10-25 02:30\"; in Europe/Berlin it comes twice: write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00",
        ),
    ),
    Row(
        40,
        "a zone that is none",
        Refuses(
            Lab::zones,
            "unknown_zone: time zone is \"Mars/X\"; a name of the IANA time zone database (2025b), such as Europe/Berlin\n\
         unknown_zone: time zone is \"\"; a name of the IANA time zone database (2025b), such as Europe/Berlin; name the zone, or ask the computer for its own, as the crate iana-time-zone does\n\
         unknown_zone: time zone is \"../../etc\"; a name of the IANA time zone database (2025b), such as Europe/Berlin\n\
         unknown_zone: time zone is \"europe/berlin\"; a name of the IANA time zone database (2025b), such as Europe/Berlin; did you mean Europe/Berlin?\n\
         unknown_zone: time zone is \"Europe/Berlim\"; a name of the IANA time zone database (2025b), such as Europe/Berlin; did you mean Europe/Berlin or Europe/Dublin or Europe/Jersey?",
        ),
    ),
    Row(
        45,
        "words in the environment that mean nothing",
        Refuses(
            |lab| {
                [
                    ("LITEWORK_MODE", "Pool"),
                    ("LITEWORK_MODE", "worker"),
                    ("LITEWORK_WORKERS", "many"),
                    ("LITEWORK_WORKERS", "-1"),
                    ("LITEWORK_WORKERS", "0"),
                    ("LITEWORK_WORKERS", "99999999999999999999"),
                    ("LITEWORK_DB", "/dev/null"),
                ]
                .map(|(name, value)| lab.environment(name, value))
                .join("\n")
            },
            "bad_config: LITEWORK_MODE is \"Pool\"; pool, inline, enqueue or hold\n\
         bad_config: LITEWORK_MODE is \"worker\"; pool, inline, enqueue or hold\n\
         bad_config: LITEWORK_WORKERS is \"many\"; a whole number from 1 to 1024\n\
         bad_config: LITEWORK_WORKERS is \"-1\"; a whole number from 1 to 1024\n\
         out_of_range: LITEWORK_WORKERS is 0; 1 to 1024\n\
         bad_config: LITEWORK_WORKERS is \"99999999999999999999\"; a whole number from 1 to 1024\n\
         not_a_queue_file: /dev/null: it is a link, a device or a socket; give the path of a regular file",
        ),
    ),
    Row(
        45,
        "an empty variable is none",
        Is(|lab| lab.environment("LITEWORK_MODE", ""), "ok, hold"),
    ),
    Row(
        45,
        "a configuration with an unknown key, or a value of the wrong type",
        Refuses(
            |_| {
                [r#"{"mode":"pool","threads":4}"#, r#"{"mode":"Pool"}"#, r#"{"workers":"4"}"#]
                    .map(|text| {
                        serde_json::from_str::<litework::Config>(text)
                            .map_or_else(|error| error.to_string(), |_| "ok".to_owned())
                    })
                    .join("\n")
            },
            "unknown key `threads`; did you mean `threads_for`? at line 1 column 24\n\
         unknown variant `Pool`, expected one of `pool`, `inline`, `enqueue`, `hold` at line 1 column 14\n\
         invalid type: string \"4\", expected usize at line 1 column 14",
        ),
    ),
    Row(
        47,
        "a cron expression of too few or too many fields",
        Refuses(
            Lab::cron_fields,
            "schedule \"s\": bad_cron: cron expression is \"\"; 5 or 6 fields, got 0\n\
         schedule \"s\": bad_cron: cron expression is \"* * *\"; 5 or 6 fields, got 3\n\
         schedule \"s\": bad_cron: cron expression is \"* * * * * * * *\"; 5 or 6 fields, got 8\n\
         bad_cron: cron expression is \"\"; 5 or 6 fields, got 0\n\
         bad_cron: cron expression is \"* * *\"; 5 or 6 fields, got 3\n\
         bad_cron: cron expression is \"* * * * * * * *\"; 5 or 6 fields, got 8\n\
         unknown_zone: time zone is \"Mars/X\"; a name of the IANA time zone database (2025b), such as Europe/Berlin",
        ),
    ),
    Row(
        48,
        "a cron expression out of range, or of days that never come",
        Refuses(
            Lab::cron_ranges,
            "bad_cron: minute of \"61 * * * *\" is \"61\"; at character 1: a number from 0 to 59 is needed\n\
         bad_cron: hour of \"* 24 * * *\" is \"24\"; at character 3: a number from 0 to 23 is needed\n\
         bad_cron: day of month of \"* * 0 * *\" is \"0\"; at character 5: a number from 1 to 31 is needed\n\
         bad_cron: month of \"* * * 13 *\" is \"13\"; at character 7: a number from 1 to 12 or a name (JAN to DEC) is needed\n\
         bad_cron: weekday of \"* * * * 8\" is \"8\"; at character 9: a number from 0 to 7 or a name (SUN to SAT) is needed\n\
         never_fires: cron expression is \"0 0 31 2 *\"; no day within 30 years is one that it means\n\
         never_fires: cron expression is \"0 0 30 2 *\"; no day within 30 years is one that it means",
        ),
    ),
    Row(
        49,
        "a cron expression that is torn",
        Refuses(
            Lab::cron_torn,
            "bad_cron: minute of \"*/0 * * * *\" is \"*/0\"; at character 3: a step from 1 to 60 is needed\n\
         bad_cron: minute of \"5-1 * * * *\" is \"5-1\"; at character 1: a range goes from the smaller number to the larger: 1 is below 5\n\
         bad_cron: minute of \"1- * * * *\" is \"1-\"; at character 3: a number from 0 to 59 is needed\n\
         bad_cron: minute of \", * * * *\" is \",\"; at character 1: a number from 0 to 59 is missing\n\
         bad_cron: minute of \"1,,2 * * * *\" is \"1,,2\"; at character 3: a number from 0 to 59 is missing\n\
         bad_cron: minute of \"1/2/3 * * * *\" is \"1/2/3\"; at character 2: a step stands once, after `*` or a range, as in 10-59/30\n\
         bad_cron: weekday of \"* * * * MON-\" is \"MON-\"; at character 13: a number from 0 to 7 or a name (SUN to SAT) is needed\n\
         bad_cron: month of \"* * * FOO *\" is \"FOO\"; at character 7: a number from 1 to 12 or a name (JAN to DEC) is needed\n\
         bad_cron: minute of \"10/30 * * * *\" is \"10/30\"; at character 3: a step stands once, after `*` or a range, as in 10-59/30\n\
         bad_cron: cron expression is \"* * * * é\"; character 9 is not allowed: ASCII, blanks and tabs",
        ),
    ),
    Row(
        50,
        "words of other crons",
        Is(
            Lab::cron_words,
            "At 00:00, on the last day of the month (UTC)\n\
         At 00:00, on the day of Monday to Friday nearest to the 15th (UTC)\n\
         At 00:00, on the 2nd Friday of the month (UTC)\n\
         At 00:00, on Monday (UTC)\n\
         unsupported: minute of \"H * * * *\" is \"H\"; at character 1: `H`, a number drawn by lot: write one\n\
         unsupported: cron expression is \"@reboot\"; `@reboot` is no time: enqueue the task when the program starts\n\
         unsupported: cron expression is \"@every 5m\"; `@every` is no expression: use an interval\n\
         At 00:00, every day (UTC)\n\
         unsupported: weekday of \"0 0 1 * +MON\" is \"+MON\"; at character 9: `+`, by which both day fields must match",
        ),
    ),
    Row(
        51,
        "a cron expression of 100 KiB, and of 10,000 items",
        Refuses(
            Lab::cron_large,
            "too_long: cron expression is \"*******************************************************************************… (102402 bytes); at most 1000 bytes\n\
         too_long: cron expression is \"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1… (20009 bytes); at most 1000 bytes",
        ),
    ),
    Row(
        52,
        "both day fields",
        Is(Lab::cron_days, "At 00:00, on the 13th or on Friday: either (UTC)"),
    ),
    Row(
        53,
        "a schedule that fires too often",
        Refuses(
            Lab::too_frequent,
            "schedule \"s\": too_frequent: interval of the expression is 1s; 5 s to 100 years; `frequent` allows 1 s\n\
         schedule \"s\": too_frequent: interval is 0ns; 5 s to 100 years; `frequent` allows 1 s\n\
         schedule \"s\": too_frequent: interval is 1ns; 5 s to 100 years; `frequent` allows 1 s\n\
         schedule \"s\": too_frequent: interval is 1s; 5 s to 100 years; `frequent` allows 1 s\n\
         schedule \"s\": too_frequent: interval is 500ms; 1 s to 100 years\n\
         schedule \"s\": out_of_range: jitter is 60s; at most 10s, as long as it is from one slot to the next",
        ),
    ),
    Row(
        54,
        "a schedule renamed, removed and changed while it is due",
        Is(Lab::changed_while_due, "1 tasks, then 0"),
    ),
    Row(
        55,
        "a task whose state is a word that there is none, or is none at all",
        Is(
            |lab| {
                ["state = 'asleep'", "state = NULL"].map(|change| lab.tampered(change)).join("\n")
            },
            "it is told: bad_row: task row <row>, column state: asleep\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         NOT NULL constraint failed: litework_task.state",
        ),
    ),
    Row(
        56,
        // The catalogue names a lease of an impossible length. No column holds one: a lease is the row's attempt
        // and worker, for as long as that worker renews his own row.
        "a task that runs for nobody, and attempts that cannot be",
        Is(
            |lab| {
                [
                    "state = 'running', worker = NULL",
                    "attempt = -1",
                    "attempt = 2",
                    "state = 'running', worker = 999, attempt = -1",
                    "state = 'running', worker = 999, attempt = 1, started_at = NULL",
                ]
                .map(|change| lab.tampered(change))
                .join("\n")
            },
            "it is running\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         it is told: bad_row: task row <row>, column attempt: -1 is out of range\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         it is ready\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         it is told: bad_row: task row <row>, column attempt: -1 is out of range\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         it is running\n\
         then 3 run, and it is succeeded; 3 listed, 0 told as bad",
        ),
    ),
    Row(
        57,
        "arguments that are no JSON, no text or no UTF-8, and a lane that there is none",
        Is(
            |lab| {
                [
                    "arguments = 'nonsense'",
                    "arguments = '{\"value\":'",
                    "arguments = x'7b7d'",
                    "arguments = CAST(x'7bff7d' AS TEXT)",
                    "lane = 99",
                ]
                .map(|change| lab.tampered(change))
                .join("\n")
            },
            "it is ready\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         it is ready\n\
         then 2 run, and it is failed (bad_row); 3 listed, 0 told as bad\n\
         cannot store BLOB value in TEXT column litework_task.arguments\n\
         it is told: bad_row: task row <row>, column arguments: invalid utf-8 sequence of 1 bytes from index 1\n\
         then 2 run, and it is told: bad_row: task row <row>, column arguments: invalid utf-8 sequence of 1 bytes from index 1; 2 listed, 1 told as bad\n\
         it is told: bad_row: task row <row>, column lane: there is no such lane\n\
         then 2 run, and it is told: bad_row: task row <row>, column lane: there is no such lane; 2 listed, 1 told as bad",
        ),
    ),
    Row(
        58,
        "a trigger, a view or an index planted; a table or an index dropped; a column added",
        Refuses(
            |lab| {
                [
                    "CREATE TRIGGER planted AFTER INSERT ON litework_task BEGIN SELECT 1; END",
                    "CREATE VIEW litework_mine AS SELECT 1",
                    "CREATE INDEX \"plant\ned\" ON litework_task (key)",
                    "DROP TABLE litework_step",
                    "DROP INDEX litework_task_key",
                    "ALTER TABLE litework_task ADD COLUMN more TEXT",
                    "CREATE TABLE mine (id INTEGER PRIMARY KEY)",
                ]
                .map(|change| lab.reopened(change))
                .join("\n")
            },
            "schema_tampered: <dir>/closed.db: the trigger planted is not of litework; undo the change, or copy the tasks into a new file\n\
         schema_tampered: <dir>/closed.db: the view litework_mine is not of litework; undo the change, or copy the tasks into a new file\n\
         schema_tampered: <dir>/closed.db: the index plant\\ned is not of litework; undo the change, or copy the tasks into a new file\n\
         schema_tampered: <dir>/closed.db: the table litework_step is missing; undo the change, or copy the tasks into a new file\n\
         schema_tampered: <dir>/closed.db: the index litework_task_key is missing; undo the change, or copy the tasks into a new file\n\
         schema_tampered: <dir>/closed.db: the table litework_task is not as litework made it; undo the change, or copy the tasks into a new file\n\
         ok, <dir>/closed.db with 0 tasks",
        ),
    ),
    Row(
        59,
        "two tasks with one key, as the index was dropped",
        Is(
            Lab::with_a_key_twice,
            "2 run; found: true\n\
         schema_tampered: <dir>/twice.db: the index litework_task_key is missing; undo the change, or copy the tasks into a new file",
        ),
    ),
    Row(
        59,
        "the same, as the doctor tells it",
        Is(
            |lab| {
                lab.with_a_key_twice();
                let found = doctor(lab.at("twice.db"), Durability::Normal).unwrap();
                let found = found.iter().filter(|finding| finding.code != "disk_low");
                found.map(|it| format!("{}: {}", it.code, it.what)).collect::<Vec<_>>().join("\n")
            },
            "schema_differs: the index litework_task_key is missing, so the file cannot be opened\n\
         duplicate_keys: 1 idempotency key is held by more than one task, as its index was removed for a time",
        ),
    ),
    Row(
        60,
        "no number left for another process",
        Is(
            Lab::without_numbers,
            "not_stored: id_space_exhausted: the file has no number left for another process, as another program has set its count in sqlite_sequence to the last\n\
         1 stored",
        ),
    ),
    Row(
        60,
        "a task with the last of all numbers",
        Is(
            |lab| {
                let set = "UPDATE litework_task SET id = ?1";
                lab.client.enqueue(echo(1)).unwrap();
                raw(lab).execute(set, [i64::MAX]).unwrap();
                lab.client.enqueue_many((2..9).map(echo)).unwrap();
                let ran = lab.client.run_pending(&Pending::all()).unwrap().succeeded;
                let stored = lab.count();
                raw(lab).execute("DELETE FROM litework_task WHERE id = ?1", [i64::MAX]).unwrap();
                format!("{ran} of {stored} run")
            },
            "8 of 8 run",
        ),
    ),
    Row(
        61,
        "another journal, page size or encoding, and pages that go back by themselves",
        Is(
            |lab| {
                [
                    "PRAGMA journal_mode = DELETE",
                    "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM",
                    "PRAGMA auto_vacuum = FULL; VACUUM",
                ]
                .map(|change| {
                    let (answer, log) = logged(|| lab.reopened(change));
                    lab.hide(&[vec![answer], log].concat().join("\n"))
                })
                .join("\n")
            },
            "ok, <dir>/closed.db with 0 tasks\n\
             WARN another program has taken the file out of WAL; it is in WAL again, error = needs_wal: <dir>/closed.db: its journal mode was delete; it is to stay as it was made\n\
             ok, <dir>/closed.db with 0 tasks\n\
             WARN another program has taken the file out of WAL; it is in WAL again, error = needs_wal: <dir>/closed.db: its journal mode was delete, and its pages have 1024 bytes instead of 4096; it is to stay as it was made\n\
             ok, <dir>/closed.db with 0 tasks",
        ),
    ),
    Row(
        61,
        "a file in UTF-16",
        Refuses(
            |lab| {
                let path = lab.at("wide.db");
                let conn = Connection::open(&path).unwrap();
                conn.execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (x)").unwrap();
                drop(conn);
                lab.open(&path, |builder| builder)
            },
            "not_a_queue: <dir>/wide.db: its text encoding is UTF-16le; UTF-8 is needed",
        ),
    ),
    Row(
        61,
        "a file whose free pages cannot be given back",
        Refuses(
            |lab| {
                let path = closed_queue(lab);
                lab.open(&path, Builder::incremental_vacuum)
            },
            "needs_vacuum: <dir>/closed.db: its free pages cannot be given back; while no program has it open, run `PRAGMA auto_vacuum = INCREMENTAL; VACUUM;` with the sqlite3 program, or leave `incremental_vacuum` out",
        ),
    ),
    Row(
        69,
        "pages of no size, or too large, and a forged cursor",
        Refuses(
            |lab| {
                let sizes = [0, 1_001, usize::MAX]
                    .map(|size| said(lab.client.list(&Filter::new(), None, size).map(drop)));
                let cursors = ["", "c0", "c-1", "c+1", "c01", "1", "c99999999999999999999"]
                    .map(|text| said(text.parse::<litework::Cursor>()));
                [sizes.join("\n"), cursors.join("\n")].join("\n")
            },
            "out_of_range: page size is 0; 1 to 1000\n\
         out_of_range: page size is 1001; 1 to 1000\n\
         out_of_range: page size is 18446744073709551615; 1 to 1000\n\
         bad_cursor: cursor is \"\"; text given by an earlier page\n\
         bad_cursor: cursor is \"c0\"; text given by an earlier page\n\
         bad_cursor: cursor is \"c-1\"; text given by an earlier page\n\
         bad_cursor: cursor is \"c+1\"; text given by an earlier page\n\
         bad_cursor: cursor is \"c01\"; text given by an earlier page\n\
         bad_cursor: cursor is \"1\"; text given by an earlier page\n\
         bad_cursor: cursor is \"c99999999999999999999\"; text given by an earlier page",
        ),
    ),
    Row(
        70,
        "a filter that looks like SQL",
        Is(
            |lab| {
                lab.client.enqueue(echo(1).tag("a")).unwrap();
                let bad = "' OR 1=1 --";
                let filters = [
                    Filter::new().kind(bad),
                    Filter::new().queue(bad),
                    Filter::new().tag(bad),
                    Filter::new().tag("%"),
                    Filter::new().kind("ech_"),
                ];
                format!("{:?}", filters.map(|filter| lab.client.count(&filter).unwrap()))
            },
            "[0, 0, 0, 0, 0]",
        ),
    ),
];

/// A kind without a name.
#[derive(Debug, Serialize, Deserialize)]
struct Unnamed {}

impl Signature for Unnamed {
    const NAME: &'static str = "";
    type Output = ();
}

struct EnqueueOnDrop<'a>(&'a Client);

impl Drop for EnqueueOnDrop<'_> {
    fn drop(&mut self) {
        self.0.enqueue(echo("from a drop")).unwrap();
    }
}

/// A queue that nobody has open.
fn closed_queue(lab: &Lab) -> PathBuf {
    let path = lab.at("closed.db");
    assert!(lab.open(&path, |builder| builder).starts_with("ok"));
    // Its last connection may go a moment after the client.
    let (began, log) = (std::time::Instant::now(), lab.at("closed.db-wal"));
    while log.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not closed");
        std::thread::yield_now();
    }
    path
}

fn raw(lab: &Lab) -> Connection {
    Connection::open(&lab.bodies.path).unwrap()
}

fn mode(path: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    format!("{:o}", fs::metadata(path).unwrap().permissions().mode() & 0o777)
}

impl Lab {
    /// Stores three tasks and changes the second as another program might that goes past all checks;
    /// says how it is told, and what becomes of the three once a program opens the file and runs them.
    /// What cannot be read in the end is removed.
    fn tampered(&self, change: &str) -> String {
        let ids: Vec<TaskId> = (0..3).map(|n| self.client.enqueue(echo(n)).unwrap().id()).collect();
        let row = ids[1].row();
        let stranger = raw(self);
        stranger.pragma_update(None, "ignore_check_constraints", true).unwrap();
        let sql = format!("UPDATE litework_task SET {change} WHERE id = ?1");
        let changed = stranger.execute(&sql, [row]);
        let told = |id: TaskId| match self.client.get(id) {
            Ok(task) => match task.reason {
                Some(reason) => format!("{} ({reason})", task.state),
                None => task.state.to_string(),
            },
            Err(error) => format!("told: {error}"),
        };
        let before = told(ids[1]);
        let client = self.builder().open().unwrap();
        let ran = client.run_pending(&Pending::all()).unwrap();
        let page = client.list(&Filter::new(), None, 100).unwrap();
        let after = told(ids[1]);
        let left = "DELETE FROM litework_task";
        stranger.execute(left, []).unwrap();
        stranger.execute("DELETE FROM litework_error", []).unwrap();
        if let Err(error) = changed {
            return error.to_string();
        }
        let text = format!(
            "it is {before}\nthen {} run, and it is {after}; {} listed, {} told as bad",
            ran.succeeded,
            page.tasks.len(),
            page.bad.len(),
        );
        self.hide(&text.replace(&format!("row {row}"), "row <row>"))
    }

    /// What opening a queue answers after another program has changed it.
    fn reopened(&self, change: &str) -> String {
        let path = closed_queue(self);
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let answer = self.open(&path, |builder| builder);
        fs::remove_file(&path).unwrap();
        answer
    }

    fn with_a_key_twice(&self) -> String {
        let bodies = Bodies::new(self.at("twice.db"));
        let client = builder(&bodies, &self.clock).open().unwrap();
        client.enqueue(echo(1).key("a")).unwrap();
        client.enqueue(echo(2).key("b")).unwrap();
        let stranger = Connection::open(&bodies.path).unwrap();
        let twice = "DROP INDEX litework_task_key; UPDATE litework_task SET key = 'a'";
        stranger.execute_batch(twice).unwrap();
        drop(stranger);
        let ran = client.run_pending(&Pending::all()).unwrap();
        let found = client.find("a").unwrap().is_some();
        client.shutdown(Duration::ZERO).unwrap();
        drop(client);
        // The thread that minds callers lets go of the file a moment after the client.
        let again = || builder(&bodies, &self.clock).open().map(drop);
        let began = std::time::Instant::now();
        let mut opened = again();
        while opened.is_ok() && began.elapsed() < Duration::from_secs(20) {
            opened = again();
        }
        let opened = self.shown(opened.map(|()| "ok".to_owned()));
        format!("{} run; found: {found}\n{opened}", ran.succeeded)
    }

    fn without_numbers(&self) -> String {
        let stranger = raw(self);
        let set = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'litework_worker'";
        stranger
            .execute(
                "INSERT INTO litework_worker (name, file, boot, pid, threads, serves, kinds, \
                          queues, excluded, joined_at) \
                          VALUES ('w', '', '', 1, 1, 0, '[]', '[]', '[]', 1)",
                [],
            )
            .unwrap();
        stranger.execute(set, [i64::MAX]).unwrap();
        self.client.enqueue(echo(1)).unwrap();
        let refused = said(self.client.run_pending(&Pending::all()));
        let count = self.count();
        stranger.execute("DELETE FROM litework_worker", []).unwrap();
        stranger.execute(set, [1]).unwrap();
        format!("{refused}\n{count} stored")
    }

    /// Opens a file in a folder that may not be written to, and a file that may not: as this user,
    /// or as nobody where this user may do everything.
    fn as_stranger(&self) -> String {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let folder = self.at("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("foreign.db"), "").unwrap();
        set(self.dir.path(), 0o755);
        set(&folder.join("foreign.db"), 0o444);
        set(&folder, 0o555);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--ignored", "--nocapture", "a_stranger_opens_what_is_not_his"]);
        child.env("STRANGERS_FOLDER", &folder);
        if fs::write(folder.join("probe"), "").is_ok() {
            child.uid(65_534).gid(65_534);
        }
        let told = child.output().map(|output| String::from_utf8(output.stdout).unwrap());
        set(&folder, 0o755);
        let told = told.unwrap_or_default();
        let lines = told.lines().filter_map(|line| line.strip_prefix("stranger: "));
        self.hide(&lines.collect::<Vec<_>>().join("\n"))
    }
}

#[test]
#[ignore = "a row of the table runs it in a process of its own"]
fn a_stranger_opens_what_is_not_his() {
    let Some(folder) = std::env::var_os("STRANGERS_FOLDER").map(PathBuf::from) else { return };
    for name in ["new.db", "foreign.db"] {
        let opened =
            Client::builder(folder.join(name)).environment([("", ""); 0]).mode(Mode::Hold).open();
        println!(
            "\nstranger: {}",
            opened.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
        );
    }
}

impl Lab {
    /// Opens a file where the system's table of mounts says that it is another machine's.
    fn on_network_disk(&self) -> String {
        let folder = self.dir.path().canonicalize().unwrap().join("net work");
        fs::create_dir(&folder).unwrap();
        let point = folder.to_str().unwrap().replace(' ', "\\040");
        let table = format!(
            "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
             31 27 0:45 / {point} rw,relatime shared:20 - nfs4 server:/export rw,vers=4.2\n"
        );
        fs::write(self.at("mounts"), table).unwrap();
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "--ignored", "--nocapture", "a_process_opens_on_a_network_disk"]);
        process.env("LITEWORK_MOUNTS", self.at("mounts")).env("NETWORK_FOLDER", folder);
        let told = String::from_utf8(process.output().unwrap().stdout).unwrap();
        let lines = told.lines().filter_map(|line| line.strip_prefix("network: "));
        self.hide(&lines.collect::<Vec<_>>().join("\n"))
    }
}

#[test]
#[ignore = "a row of the table runs it in a process of its own"]
fn a_process_opens_on_a_network_disk() {
    let Some(folder) = std::env::var_os("NETWORK_FOLDER").map(PathBuf::from) else { return };
    let path = folder.join("a.db");
    let builder = || Client::builder(&path).environment([("", ""); 0]).mode(Mode::Hold);
    let word =
        |opened: Result<Client, Error>| opened.map_or_else(|e| e.to_string(), |_| "ok".into());
    println!("\nnetwork: {}", word(builder().open()));
    println!("network: made: {}", path.exists());
    println!("network: {}", word(builder().allow_network_filesystem().open()));
}

impl Lab {
    /// Forks in a process of its own, in which a pool is open, and lets parent and child tell.
    fn as_forked_child(&self) -> String {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "--ignored", "--nocapture", "a_process_forks_with_a_queue_open"]);
        process.env("FORKED_QUEUE", self.at("forked.db"));
        let told = String::from_utf8(process.output().unwrap().stdout).unwrap();
        let lines = told.lines().filter_map(|line| line.strip_prefix("forked: "));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[test]
#[ignore = "a row of the table runs it in a process of its own"]
fn a_process_forks_with_a_queue_open() {
    let Some(path) = std::env::var_os("FORKED_QUEUE").map(PathBuf::from) else { return };
    let bodies = Bodies::new(path.clone());
    let open = |path: &Path, mode| {
        let bodies = Bodies { path: path.to_owned(), ..bodies.clone() };
        builder(&bodies, &ManualClock::new()).mode(mode).workers(2).open()
    };
    // The second has a seat, and no thread that holds the file: dropping it closes the file.
    let client = open(&path, Mode::Pool).unwrap();
    let quiet = open(&path.with_file_name("quiet.db"), Mode::Hold).unwrap();
    quiet.run_pending(&Pending::all()).unwrap();
    let handle = client.enqueue(echo("meet twice")).unwrap();
    bodies.meeting.wait();
    if let fork::Fork::Parent(child) = fork::fork().unwrap() {
        fork::waitpid(child).unwrap();
        bodies.meeting.wait();
        let value = handle.wait(Duration::from_secs(20));
        let files = ["forked.db-litework", "quiet.db-litework"]
            .map(|folder| fs::read_dir(path.with_file_name(folder)).map_or(0, Iterator::count));
        println!("\nforked: then the parent: {}, files of its seats: {files:?}", said(value));
        return;
    }
    answer_as_forked_child(&client, &handle, || open(&path, Mode::Hold));
    let began = std::time::Instant::now();
    println!("\nforked: shutdown: {}", hide_parent(&said(quiet.shutdown(Duration::from_secs(20)))));
    drop((client, quiet, handle));
    println!("\nforked: dropped at once: {}", began.elapsed() < Duration::from_secs(5));
    std::process::exit(0);
}

fn hide_parent(text: &str) -> String {
    text.replace(&std::os::unix::process::parent_id().to_string(), "<pid>")
}

fn answer_as_forked_child(
    client: &Client,
    handle: &litework::Handle<Echo>,
    open: impl Fn() -> Result<Client, Error>,
) {
    let id = handle.id();
    let conn = Connection::open_in_memory().unwrap();
    let calls = [
        ("enqueue", said(client.enqueue(echo(1)).map(drop))),
        ("enqueue_many", said(client.enqueue_many([echo(1), echo(2)]).map(drop))),
        ("run_pending", said(client.run_pending(&Pending::all()))),
        ("cancel", said(client.cancel(id))),
        ("get", said(client.get(id).map(drop))),
        ("list", said(client.list(&Filter::new(), None, 1).map(drop))),
        ("attempts", said(client.attempts(id).map(drop))),
        ("wait", said(handle.wait(Duration::from_secs(20)))),
        ("write", said(client.write(|_| Ok::<_, Error>(())))),
        ("enqueue_in", said(client.enqueue_in(&conn, echo(1)).map(drop))),
        ("open", said(open().map(drop))),
    ];
    let mut answers: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, answer) in calls {
        let answer = hide_parent(&answer);
        match answers.last_mut().filter(|(known, _)| *known == answer) {
            Some((_, names)) => names.push(name),
            None => answers.push((answer, vec![name])),
        }
    }
    for (answer, names) in answers {
        println!("\nforked: {}: {answer}", names.join(", "));
    }
}

/// Keeps the warnings and errors that this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (level, Line { message, error }) = (event.metadata().level(), line);
        self.0.lock().unwrap().push(format!("{level} {message}, error = {error}"));
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}

/// What a row wants of one line of the log.
#[derive(Default)]
struct Line {
    message: String,
    error: String,
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            _ => {}
        }
    }
}

fn logged<R>(body: impl FnOnce() -> R) -> (R, Vec<String>) {
    let log = Log::default();
    let answer = tracing::subscriber::with_default(log.clone(), body);
    let lines = std::mem::take(&mut *log.0.lock().unwrap());
    (answer, lines)
}

/// What must be true of the file at any time: each query finds what is wrong.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "a task without a lane",
        "SELECT id FROM litework_task WHERE lane NOT IN (SELECT id FROM litework_lane)",
    ),
    (
        "an attempt too many",
        "SELECT id FROM litework_task WHERE attempt NOT BETWEEN 0 AND attempts_max + 1",
    ),
    (
        "a running task without an attempt",
        "SELECT id FROM litework_task WHERE state IN ('running', 'succeeded') AND attempt = 0 \
         AND lane NOT IN (SELECT id FROM litework_lane WHERE kind = 'litework.batch')",
    ),
    (
        "a running task of an unknown worker",
        "SELECT id FROM litework_task WHERE state = 'running' AND worker NOT IN (SELECT id FROM litework_worker)",
    ),
    (
        "a success without a result",
        "SELECT id FROM litework_task WHERE state = 'succeeded' AND result IS NULL AND id * 2 + 1 NOT IN (SELECT id FROM litework_payload)",
    ),
    (
        "a result without a success",
        "SELECT id FROM litework_task WHERE state <> 'succeeded' AND result IS NOT NULL",
    ),
    (
        "a task without arguments",
        "SELECT id FROM litework_task WHERE (arguments IS NULL) <> (id * 2 IN (SELECT id FROM litework_payload))",
    ),
    (
        "arguments that are not JSON",
        "SELECT id FROM litework_task WHERE arguments IS NOT NULL AND NOT json_valid(arguments)",
    ),
    (
        "a payload of no task",
        "SELECT id FROM litework_payload WHERE id / 2 NOT IN (SELECT id FROM litework_task)",
    ),
    (
        "an error of no task",
        "SELECT id FROM litework_error WHERE task NOT IN (SELECT id FROM litework_task)",
    ),
    (
        "a step of no task",
        "SELECT task FROM litework_step WHERE task NOT IN (SELECT id FROM litework_task)",
    ),
    ("a step that is not JSON", "SELECT task FROM litework_step WHERE NOT json_valid(value)"),
    (
        "a failure without an error",
        "SELECT id FROM litework_task WHERE state = 'failed' AND reason = 'error' AND id NOT IN (SELECT task FROM litework_error)",
    ),
    (
        "a name out of range",
        "SELECT id FROM litework_lane WHERE queue GLOB '*[^A-Za-z0-9._-]*' OR kind GLOB '*[^A-Za-z0-9._-]*'",
    ),
    (
        "a rank that is not due less priority",
        "SELECT id FROM litework_task, litework_meta m WHERE m.name = 'step_ms' AND rank <> due_at - priority * value",
    ),
    (
        "a damaged file",
        "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    ),
];

fn tasks_in(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM litework_task", [], |row| row.get(0)).unwrap()
}

fn broken_invariants(conn: &Connection) -> Vec<String> {
    let broken = INVARIANTS.iter().filter_map(|(name, sql)| {
        let count: i64 =
            conn.query_row(&format!("SELECT count(*) FROM ({sql})"), [], |row| row.get(0)).unwrap();
        (count > 0).then(|| format!("{name}: {count}"))
    });
    broken.collect()
}

/// A call like any other, from a client that is opened anew, to its result.
fn good_call(lab: &Lab) -> Result<(), String> {
    let client = lab.builder().open().map_err(|error| error.to_string())?;
    let handle = client.enqueue(echo("good").priority(100)).map_err(|error| error.to_string())?;
    client.run_pending(&Pending::all().only("echo")).map_err(|error| error.to_string())?;
    match handle.value() {
        Ok(value) if value == "good" => Ok(()),
        other => Err(said(other)),
    }
}

#[test]
fn each_bad_input_is_answered_clearly_and_does_no_harm() {
    let mut wrong = String::new();
    for Row(number, input, answer) in ROWS {
        let (Is(ask, expected) | Refuses(ask, expected)) = answer else { continue };
        let lab = Lab::new();
        let before = tasks_in(&raw(&lab));
        let found = catch_unwind(AssertUnwindSafe(|| ask(&lab)));
        let found = found.unwrap_or_else(|_| "it panicked".to_owned());
        if found != *expected {
            writeln!(wrong, "entry {number}, {input}:\n  {}", found.replace('\n', "\n  ")).unwrap();
            writeln!(wrong, "expected:\n  {}", expected.replace('\n', "\n  ")).unwrap();
        }
        let stored = tasks_in(&raw(&lab)) - before;
        if stored != 0 && matches!(answer, Refuses(..)) {
            writeln!(wrong, "entry {number}, {input}: it is refused, and {stored} stored").unwrap();
        }
        if let Err(error) = good_call(&lab) {
            writeln!(wrong, "entry {number}, {input}: then a good call: {error}").unwrap();
        }
        for broken in broken_invariants(&raw(&lab)) {
            writeln!(wrong, "entry {number}, {input}: then {broken}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_entry_has_a_row() {
    let numbers: BTreeSet<u8> = ROWS.iter().map(|row| row.0).collect();
    let missing: Vec<u8> =
        ENTRIES.into_iter().flatten().filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "entries without a row: {missing:?}");
    assert!(ROWS.is_sorted_by_key(|row| row.0), "the rows stand in the order of the catalogue");
    let live: BTreeSet<u8> =
        ROWS.iter().filter(|row| matches!(row.2, Is(..) | Refuses(..))).map(|row| row.0).collect();
    let without: Vec<u8> = numbers.difference(&live).copied().collect();
    assert_eq!(without, UNANSWERED, "each entry has a live row if anything of it exists");
    let mut waited_for = BTreeSet::new();
    for Row(number, input, answer) in ROWS {
        if let NotYet(part) = answer {
            assert!(LATER.contains(part), "entry {number}, {input}: {part} exists, so answer it");
            println!("entry {number}, {input}: not yet: {part}");
            waited_for.insert(*part);
        }
    }
    assert!(waited_for.into_iter().eq(LATER.iter().copied()), "{LATER:?} holds what is waited for");
}

/// The control: each query must see its own planted fault, and there is one for each.
#[test]
fn a_broken_invariant_is_seen() {
    let lab = Lab::new();
    lab.client.enqueue(echo(1)).unwrap();
    let conn = raw(&lab);
    assert_eq!(broken_invariants(&conn), Vec::<String>::new());
    let plants = [
        ("a task without a lane", "UPDATE litework_task SET lane = 99"),
        ("an attempt too many", "UPDATE litework_task SET attempt = 9"),
        ("a result without a success", "UPDATE litework_task SET result = '1'"),
        ("a task without arguments", "UPDATE litework_task SET arguments = NULL"),
        ("arguments that are not JSON", "UPDATE litework_task SET arguments = '{'"),
        ("a payload of no task", "INSERT INTO litework_payload VALUES (77, '')"),
        (
            "an error of no task",
            "INSERT INTO litework_error (task, attempt, outcome) VALUES (7, 1, 'x')",
        ),
        ("a name out of range", "UPDATE litework_lane SET queue = 'a b'"),
        ("a rank that is not due less priority", "UPDATE litework_task SET priority = 1"),
        (
            "a success without a result",
            "UPDATE litework_task SET state = 'succeeded', finished_at = 1, attempt = 1",
        ),
        (
            "a running task of an unknown worker",
            "UPDATE litework_task SET state = 'running', worker = 9, attempt = 1",
        ),
        (
            "a running task without an attempt",
            "UPDATE litework_task SET state = 'running', worker = 9",
        ),
        (
            "a failure without an error",
            "UPDATE litework_task SET state = 'failed', reason = 'error', finished_at = 1",
        ),
        ("a step of no task", "INSERT INTO litework_step VALUES (7, 's', '1', 0)"),
        (
            "a step that is not JSON",
            "INSERT INTO litework_step SELECT id, 's', '{', 0 FROM litework_task",
        ),
        (
            "a damaged file",
            "PRAGMA ignore_check_constraints = ON; UPDATE litework_task SET state = 'parked';
             PRAGMA ignore_check_constraints = OFF",
        ),
    ];
    let planted: BTreeSet<&str> = plants.iter().map(|(name, _)| *name).collect();
    assert_eq!(planted, INVARIANTS.iter().map(|(name, _)| *name).collect());
    for (name, sql) in plants {
        conn.execute_batch("BEGIN").unwrap();
        conn.execute_batch(sql).unwrap();
        let seen = broken_invariants(&conn);
        assert!(seen.iter().any(|text| text.starts_with(name)), "{sql}: {seen:?}");
        conn.execute_batch("ROLLBACK").unwrap();
    }
}
