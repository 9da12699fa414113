//! What a user sees when the power of `kill -9` falls on a program at the worst moment: every task
//! that was answered is still there, nothing ran under two valid leases, and nothing was charged
//! that had not started.
//!
//! More than 200 real child processes are killed with signal 9: stopped at a named point of the
//! write path (`LITEWORK_FAULT`), inside a body, or at a random time. What they were answered and
//! what they ran is in a plain log beside the file; a checker opens the file afterwards and holds it
//! against that log. `in a checkpoint` falls at a random time after a checkpoint has begun, and counts
//! only where its end was not reached.
#![cfg(all(feature = "__fault", feature = "sqlite", unix))]
#![allow(clippy::unwrap_used)]

mod child;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use child::{
    Child, Field, LastNotes, append, faults, look_into, nanos, number, rest, role, say, var,
};
use litework::{Client, Context, Durability, Filter, Mode, Pending, Result, Task, TaskId};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// Kills in each class, at least.
const EACH: u32 = 16;
/// Kills at random times.
const AT_RANDOM: u32 = 64;
/// Threads of each child with a pool.
const THREADS: usize = 2;

/// Where bodies write down that they ran.
struct Log(PathBuf);

/// A task that writes down when it starts and ends.
#[derive(Serialize, Deserialize)]
struct Step {
    number: u64,
    padding: String,
}

impl Task for Step {
    const NAME: &'static str = "crash.step";
    type Output = (u32, u32);

    fn run(self, ctx: &Context) -> Result<Self::Output> {
        let log = &ctx.state::<Log>()?.0;
        let (id, attempt, pid) = (ctx.id().unwrap(), ctx.attempt(), std::process::id());
        append(log, &format!("run {id} {attempt} start {pid} {}", nanos()));
        if stops_here() {
            say("at body");
            loop {
                std::thread::park();
            }
        }
        append(log, &format!("run {id} {attempt} end {pid} {}", nanos()));
        Ok((pid, attempt))
    }
}

/// Whether this run of a body is the one that `LW_STOP` names.
fn stops_here() -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let wanted = number("LW_STOP");
    wanted > 0 && RUNS.fetch_add(1, Ordering::SeqCst) + 1 == wanted
}

/// The body of every child; in the test program itself it returns at once.
#[test]
fn a_child_process_does_its_part() {
    let Some(role) = role() else { return };
    let (db, log) = (var("LW_DB").unwrap(), PathBuf::from(var("LW_LOG").unwrap()));
    let mode = if role == "pool" { Mode::Pool } else { Mode::Enqueue };
    let durability = if number("LW_NORMAL") > 0 { Durability::Normal } else { Durability::Full };
    let client = Client::builder(db)
        .register(Step::define())
        .state(Log(log.clone()))
        .mode(mode)
        .workers(THREADS)
        .durability(durability)
        .open()
        .unwrap();
    say("ready");
    let padding = "x".repeat(usize::try_from(number("LW_PADDING")).unwrap());
    for number in 0..number("LW_TASKS") {
        let handle = client.enqueue(Step { number, padding: padding.clone() }).unwrap();
        append(&log, &format!("ack {} {}", handle.id(), std::process::id()));
    }
    say("done");
    rest();
}

/// One moment at which a child can be killed.
struct Moment {
    class: &'static str,
    role: &'static str,
    /// The variables that stop it there, given a small random number from 1.
    stop: fn(u64) -> (&'static str, String),
    line: &'static str,
}

fn fault(point: &str, pass: u64) -> (&'static str, String) {
    ("LITEWORK_FAULT", format!("{point}:{pass}"))
}

const CHECKPOINT: &str = "in a checkpoint";
const CHECKPOINT_ENDED: &str = "after a checkpoint";
const RESCUE: &str = "in a rescue";
const RUNNING: &str = "running";
const NOTED: &str = "noted and not entered";

/// Every class but `in a rescue` and `in a migration`, which need a file of their own kind.
const MOMENTS: &[Moment] = &[
    Moment {
        class: "before insert",
        role: "enqueue",
        stop: |n| fault("before_insert", n),
        line: "at before_insert",
    },
    Moment {
        // The first commit of such a child is that of `open`.
        class: "inserted and uncommitted",
        role: "enqueue",
        stop: |n| fault("before_commit", n + 1),
        line: "at before_commit",
    },
    Moment {
        class: "committed and unanswered",
        role: "enqueue",
        stop: |n| match n % 2 {
            0 => fault("before_answer", n),
            _ => fault("after_commit", n + 1),
        },
        line: "at ",
    },
    Moment {
        class: "held and not started",
        role: "pool",
        stop: |n| fault("held", n.min(2)),
        line: "at held",
    },
    Moment { class: RUNNING, role: "pool", stop: |n| ("LW_STOP", n.to_string()), line: "at body" },
    Moment { class: NOTED, role: "pool", stop: |n| fault("running", n), line: "at running" },
    Moment {
        class: "finished and uncommitted",
        role: "pool",
        stop: |n| fault("finished_uncommitted", n.min(2)),
        line: "at finished_uncommitted",
    },
];

/// A file, what was done to it, and what is known of it beside it.
#[derive(Default)]
struct Story {
    field: Field,
    kills: BTreeMap<&'static str, u32>,
    /// When each dead process was sent its signal.
    dead: HashMap<u32, u128>,
    notes: LastNotes,
}

impl Story {
    fn start(&self, role: &str, more: &[(&'static str, String)]) -> Child {
        let mut variables = self.field.variables();
        variables.push(("LW_TASKS", "8".to_owned()));
        variables.push(("LW_NORMAL", fastrand::u8(0..2).to_string()));
        variables.extend_from_slice(more);
        Child::start(role, &variables)
    }

    fn kill(&mut self, child: &mut Child, class: &'static str) {
        let pid = child.pid();
        let at = child.kill();
        self.dead.insert(pid, at);
        self.notes.read(pid, &self.field.db());
        *self.kills.entry(class).or_default() += 1;
    }

    /// Starts a child, waits until it stands at a moment, and kills it.
    fn kill_at(&mut self, moment: &Moment) {
        let stop = (moment.stop)(fastrand::u64(1..=5));
        let mut child = self.start(moment.role, &[stop]);
        child.expect(moment.line);
        self.kill(&mut child, moment.class);
    }

    /// One dies with a task running, the next while it takes that task back.
    fn kill_in_a_rescue(&mut self) {
        let mut victim = self.start("pool", &[("LW_STOP", "1".to_owned())]);
        victim.expect("at body");
        self.kill(&mut victim, RUNNING);
        let mut rescuer = self.start("enqueue", &[fault("in_rescue", 1)]);
        rescuer.expect("at in_rescue");
        self.kill(&mut rescuer, RESCUE);
    }

    /// Arguments of 900 KiB fill the log past 4 MiB, which starts a checkpoint. The child is killed
    /// up to 20 ms after it has begun; one that had told of its end by then does not count.
    fn kill_in_a_checkpoint(&mut self) {
        let padding = ("LW_PADDING", (900 * 1024).to_string());
        let mark = ("LITEWORK_MARK", "checkpoint".to_owned());
        let mut child = self.start("enqueue", &[mark, padding]);
        child.expect("enters checkpoint");
        child.listen_for(Duration::from_micros(fastrand::u64(0..=20_000)));
        let pid = child.pid();
        self.dead.insert(pid, child.kill());
        child.listen_to_the_end();
        let said = |word: &str| child.heard.iter().filter(|line| line.starts_with(word)).count();
        // The first `enters` is the one that was waited for.
        let inside = said("enters checkpoint") + 1 > said("leaves checkpoint");
        let class = if inside { CHECKPOINT } else { CHECKPOINT_ENDED };
        *self.kills.entry(class).or_default() += 1;
    }

    /// Two pools work side by side; the older is killed after 5 to 60 ms, and so on.
    fn kill_at_random(&mut self, count: u32, padding: usize) {
        let more = [("LW_TASKS", "100000".to_owned()), ("LW_PADDING", padding.to_string())];
        let mut older = self.start("pool", &more);
        older.expect("ready");
        for _ in 0..count {
            let mut newer = self.start("pool", &more);
            newer.expect("ready");
            older.listen_for(Duration::from_millis(fastrand::u64(5..=60)));
            self.kill(&mut older, "at random");
            older = newer;
        }
        self.kill(&mut older, "at random");
    }

    /// Lets a clean process run all that is left, and holds the file against the log.
    fn check(&self) -> Vec<String> {
        let mut wrong = if has_tables(&self.field.db()) {
            faults(&look_into(&self.field.db()))
        } else {
            Vec::new()
        };
        let client = open(&self.field.db(), &self.field.log());
        client.run_pending(&Pending::all()).unwrap();
        let unfinished = client.count(&unfinished()).unwrap();
        if unfinished > 0 {
            wrong.push(format!("{unfinished} tasks are left"));
        }
        let ledger = Ledger::read(&self.field.lines(), &client, &mut wrong);
        client.shutdown(Duration::from_secs(10)).unwrap();
        drop(client);
        let conn = look_into(&self.field.db());
        wrong.extend(faults(&conn));
        ledger.check_ends(&conn, &mut wrong);
        ledger.check_charges(&conn, &self.notes, &mut wrong);
        ledger.check_overlaps(&self.dead, &mut wrong);
        wrong
    }
}

fn open(db: &Path, log: &Path) -> Client {
    let builder = Client::builder(db).register(Step::define()).state(Log(log.to_owned()));
    builder.durability(Durability::Normal).open().unwrap()
}

/// Whether the schema was committed.
fn has_tables(db: &Path) -> bool {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'litework_task'";
    look_into(db).query_row(sql, [], |row| row.get(0)).unwrap()
}

fn unfinished() -> Filter {
    let states = litework::State::ALL.iter().filter(|state| !state.is_final());
    states.fold(Filter::new(), |filter, state| filter.state(*state))
}

/// One execution, as the log tells it.
#[derive(Debug, Clone, Copy)]
struct Run {
    attempt: u32,
    pid: u32,
    start: u128,
    end: Option<u128>,
}

/// All the log tells.
#[derive(Default)]
struct Ledger {
    runs: HashMap<i64, Vec<Run>>,
}

impl Ledger {
    /// Reads the log; whatever was answered must be in the file.
    fn read(lines: &[String], client: &Client, wrong: &mut Vec<String>) -> Self {
        let mut ledger = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["ack", id, _] => {
                    if let Err(error) = client.get(*id) {
                        wrong.push(format!("G1: answered and lost: {error}"));
                    }
                }
                ["run", id, attempt, what, pid, at] => {
                    let row = id.parse::<TaskId>().unwrap().row();
                    let (attempt, pid) = (attempt.parse().unwrap(), pid.parse().unwrap());
                    ledger.note(row, *what == "start", attempt, pid, at.parse().unwrap());
                }
                _ => wrong.push(format!("a torn line in the log: {line:?}")),
            }
        }
        ledger
    }

    fn note(&mut self, row: i64, starts: bool, attempt: u32, pid: u32, at: u128) {
        let runs = self.runs.entry(row).or_default();
        if starts {
            runs.push(Run { attempt, pid, start: at, end: None });
            return;
        }
        let mine = runs.iter_mut().rev().find(|run| run.pid == pid && run.attempt == attempt);
        mine.unwrap().end = Some(at);
    }

    /// Every task ended by the rules, and was run to the end that is recorded.
    fn check_ends(&self, conn: &Connection, wrong: &mut Vec<String>) {
        let sql = "SELECT id, state, reason, attempt, crashes, result, finished_at \
                   FROM litework_task";
        let mut query = conn.prepare(sql).unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (id, state): (i64, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            let reason: Option<String> = row.get(2).unwrap();
            let (attempt, crashes): (u32, u32) = (row.get(3).unwrap(), row.get(4).unwrap());
            let runs = self.runs.get(&id).map(Vec::as_slice).unwrap_or_default();
            match (state.as_str(), reason.as_deref()) {
                ("succeeded", None) => {
                    let result: String = row.get(5).unwrap();
                    let (pid, ran): (u32, u32) = serde_json::from_str(&result).unwrap();
                    let told =
                        |run: &Run| run.pid == pid && run.attempt == ran && run.end.is_some();
                    if !runs.iter().any(told) || attempt != crashes + 1 || ran != attempt {
                        wrong.push(format!(
                            "G3: row {id}: {result}, {attempt} of {crashes}: {runs:?}"
                        ));
                    }
                    let ended_ms: i64 = row.get(6).unwrap();
                    let ended = u128::from((ended_ms + 1).unsigned_abs()) * 1_000_000;
                    if runs.iter().any(|run| run.start > ended) {
                        wrong.push(format!("G4: row {id} ran on after its end: {runs:?}"));
                    }
                }
                ("failed", Some("quarantined")) if attempt == 3 && crashes == 3 => {}
                end => wrong.push(format!("row {id} ended as {end:?}, {attempt}, {crashes}")),
            }
        }
    }

    /// Each crash that was charged belongs to an attempt that its process had noted as started. Where another
    /// process had taken the notes away before they were read, the log tells, but for what a thread has noted
    /// and its body has not written down yet: one for each thread at most.
    fn check_charges(&self, conn: &Connection, notes: &LastNotes, wrong: &mut Vec<String>) {
        let sql = "SELECT e.task, e.attempt, w.pid, w.file FROM litework_error e \
                   LEFT JOIN litework_worker w ON w.id = e.worker WHERE e.outcome = 'crashed'";
        let mut query = conn.prepare(sql).unwrap();
        let mut rows = query.query([]).unwrap();
        let mut odd: HashMap<_, Vec<(i64, u32)>> = HashMap::new();
        while let Some(row) = rows.next().unwrap() {
            let charged: (i64, u32) = (row.get(0).unwrap(), row.get(1).unwrap());
            let (pid, stem): (Option<u32>, Option<String>) =
                (row.get(2).unwrap(), row.get(3).unwrap());
            let last = pid.and_then(|pid| notes.of(pid, stem.as_deref()?));
            let started = match last {
                Some(last) => last.contains(&charged),
                None => self.started(charged, pid),
            };
            let untold = last.is_none() && pid.is_some_and(|pid| notes.is_dead(pid));
            if !started {
                let excused = if untold { THREADS } else { 0 };
                odd.entry((pid, excused)).or_default().push(charged);
            }
        }
        for ((pid, excused), charged) in odd.into_iter().filter(|(key, odd)| odd.len() > key.1) {
            wrong.push(format!(
                "G3: process {pid:?} was charged with {charged:?}, which had not started ({excused} excused)"
            ));
        }
    }

    /// Whether a body of this process has written down that it began this attempt.
    fn started(&self, (row, attempt): (i64, u32), pid: Option<u32>) -> bool {
        let runs = self.runs.get(&row).map(Vec::as_slice).unwrap_or_default();
        runs.iter().any(|run| run.attempt == attempt && Some(run.pid) == pid)
    }

    /// Two runs of one task overlap only where the process of the earlier one was dead.
    fn check_overlaps(&self, dead: &HashMap<u32, u128>, wrong: &mut Vec<String>) {
        for (row, runs) in &self.runs {
            let mut runs = runs.clone();
            runs.sort_by_key(|run| run.start);
            for pair in runs.windows(2) {
                let over = pair[0].end.or_else(|| dead.get(&pair[0].pid).copied());
                if over.is_none_or(|over| over > pair[1].start) {
                    wrong.push(format!("G4: row {row} had two holders: {pair:?}"));
                }
            }
        }
    }
}

fn must_be_clean(story: &Story) {
    let wrong = story.check();
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// G1, G3, G4, G13: killed at every named point, 16 times each, on one file.
#[test]
fn whatever_point_a_process_dies_at_no_task_is_lost_doubled_or_charged_unjustly() {
    let began = Instant::now();
    let mut story = Story::default();
    for round in 0..EACH {
        for moment in MOMENTS {
            story.kill_at(moment);
        }
        story.kill_in_a_rescue();
        if round % 4 == 3 {
            must_be_clean(&story);
        }
    }
    println!("{:#?} in {:?}", story.kills, began.elapsed());
    let classes = MOMENTS.iter().map(|moment| moment.class).chain([RESCUE]);
    for class in classes {
        assert!(story.kills[class] >= EACH, "{class}");
    }
}

/// G1: killed with the log just over 4 MiB, while a checkpoint moves it.
#[test]
fn a_death_in_a_checkpoint_loses_no_task() {
    let (mut inside, mut late) = (0, 0);
    for _ in 0..4 {
        let mut story = Story::default();
        let count = |story: &Story, class| story.kills.get(class).copied().unwrap_or(0);
        while count(&story, CHECKPOINT) < EACH / 4 {
            story.kill_in_a_checkpoint();
            assert!(count(&story, CHECKPOINT_ENDED) < 50, "its end always comes first");
        }
        must_be_clean(&story);
        inside += count(&story, CHECKPOINT);
        late += count(&story, CHECKPOINT_ENDED);
    }
    println!("in a checkpoint: {inside}; {late} came too late and do not count");
}

/// G1: killed while the schema is being made; the next process makes it and works.
#[test]
fn a_death_in_a_migration_leaves_a_file_that_the_next_process_can_use() {
    for round in 0..EACH {
        let mut story = Story::default();
        let mut child = story.start("enqueue", &[fault("in_migration", 1)]);
        child.expect("at in_migration");
        story.kill(&mut child, "in a migration");
        if round % 2 == 0 {
            story.kill_at(&MOMENTS[2]);
        }
        must_be_clean(&story);
    }
    println!("in a migration: {EACH}");
}

/// G1, G3, G4, G13: two pools at a time, and one of them killed every 5 to 60 ms.
#[test]
fn whatever_moment_a_process_dies_at_no_task_is_lost_doubled_or_charged_unjustly() {
    let began = Instant::now();
    let mut story = Story::default();
    story.kill_at_random(AT_RANDOM, 0);
    must_be_clean(&story);
    println!("{:?} in {:?}", story.kills, began.elapsed());
    let mut story = Story::default();
    story.kill_at_random(8, 60 * 1024);
    must_be_clean(&story);
    println!("{:?} beside checkpoints, in {:?}", story.kills, began.elapsed());
}

/// The checker itself: it must find a lost, a doubled and an unjustly charged task.
#[test]
fn the_checker_finds_what_is_planted() {
    let mut story = Story::default();
    let client = open(&story.field.db(), &story.field.log());
    let id = client.enqueue(Step { number: 1, padding: String::new() }).unwrap().id();
    client.shutdown(Duration::from_secs(10)).unwrap();
    drop(client);
    must_be_clean(&story);
    let log = story.field.log();
    append(&log, &format!("ack {}-0000000000000 1", id.row() + 7));
    append(&log, &format!("run {id} 1 start 1 {}", nanos() + 5_000_000));
    let conn = look_into(&story.field.db());
    conn.execute(
        "INSERT INTO litework_error (task, attempt, outcome) VALUES (?1, 9, 'crashed')",
        [id.row()],
    )
    .unwrap();
    // One more than the threads of a process whose notes nobody has read.
    story.notes.read(7, &story.field.path("another.db"));
    conn.execute_batch(&format!(
        "INSERT INTO litework_worker (id, name, file, boot, pid, threads, serves, kinds, queues, \
           excluded, joined_at, left_at) VALUES (77, 'w', '', '', 7, 2, 1, '[]', '[]', '[]', 1, 1); \
         INSERT INTO litework_error (task, attempt, outcome, worker) \
           SELECT {}, value, 'crashed', 77 FROM json_each('[21, 22, 23]')",
        id.row()
    ))
    .unwrap();
    drop(conn);
    let wrong = story.check().join("\n");
    for what in [
        "answered and lost",
        "ran on after its end",
        "process None was charged",
        "process Some(7) was charged",
        "a crash has a record",
    ] {
        assert!(wrong.contains(what), "{what} is not in:\n{wrong}");
    }
}
