//! Rows `depth_*`: a drain beside much that waits, rests or is in the way, against a drain of a
//! small file.

use std::time::{Duration, Instant};

use litework::{Client, Durability, Task};
use rusqlite::Connection;

use crate::bench::{Bench, QueueFile};
use crate::report::Row;
use crate::target::Target;
use crate::work::{Resize, await_runs, expect_runs, ran};

/// How much there is, in a full run.
const MANY: usize = 1_000_000;
/// Tasks of one drain.
const DRAINED: usize = 20_000;
/// Tasks that are left, so that no drain ends for want of work.
const SPARE: usize = 4_000;
/// A queue that is paused.
const SHUT: &str = "shut";
const LEVEL: Durability = Durability::Normal;

/// Lane 1 is served; 2 is of the queue that is paused; 3 is of a kind that nobody has; 10 and up are
/// queues of their own.
const LANES: &str = "INSERT OR IGNORE INTO litework_lane (id, queue, kind) VALUES \
     (1, 'default', 'resize'), (2, 'shut', 'resize'), (3, 'default', 'unknown')";

/// Tasks `?1`, in lanes `?3 + i % ?4`, in the state and with the reason that are filled in, due at
/// `?2 + i * ?5`, of priority `?6`. The last column is the shared arguments.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
     INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, enqueued_at, \
     started_at, finished_at, attempt, attempts_max, worker, arguments, result) \
     SELECT random(), ?3 + i % ?4, STATE, ?2 + i * ?5 - ?6 * 281474976710656, ?6, ?2 + i * ?5, ?2, \
     PAST, 5, HOLDER, ?7, RESULT FROM n";

/// What one insert fills in.
struct Fill {
    count: usize,
    due: i64,
    lanes: (i64, i64),
    step: i64,
    priority: i64,
    state: &'static str,
}

impl Fill {
    fn ready(count: usize) -> Self {
        let due = crate::work::now_ms() - 60_000;
        Self { count, due, lanes: (1, 1), step: 0, priority: 0, state: "'ready', NULL" }
    }

    fn run(&self, conn: &Connection) {
        let finished = self.state.starts_with("'succeeded'");
        let sql = FILL
            .replace("STATE", self.state)
            .replace("PAST", if finished { "?2, ?2, 1" } else { "NULL, NULL, 0" })
            .replace("HOLDER", if finished { "1" } else { "NULL" })
            .replace("RESULT", if finished { "'{\"bytes\":1}'" } else { "NULL" });
        let arguments = serde_json::to_string(&Resize::sample(1)).expect("plain fields encode");
        let count = self.count as i64;
        let (first, lanes) = self.lanes;
        let values = (count, self.due, first, lanes, self.step, self.priority, arguments);
        conn.execute(&sql, values).expect("there is room");
    }
}

/// A closed file, filled.
fn filled(bench: &Bench, fills: &[Fill]) -> QueueFile {
    let file = bench.empty();
    let conn = Connection::open(file.path()).expect("the file is there");
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;").expect("it is set");
    conn.execute(LANES, []).expect("the lanes are new");
    for lane in 0..LANE_COUNT {
        let sql = "INSERT INTO litework_lane (id, queue, kind) VALUES (?1, ?2, 'resize')";
        conn.execute(sql, (LANE_FIRST + lane, format!("queue-{lane}"))).expect("it is new");
    }
    for fill in fills {
        fill.run(&conn);
    }
    file
}

const LANE_FIRST: i64 = 10;
const LANE_COUNT: i64 = 200;

/// Many tasks spread over 200 queues, and a file that `memory` uses too.
pub(crate) fn many_lanes(bench: &Bench, count: usize) -> QueueFile {
    let lanes = (LANE_FIRST, LANE_COUNT);
    filled(bench, &[Fill { lanes, step: 1, ..Fill::ready(count) }])
}

pub(crate) fn many_ready(bench: &Bench, count: usize) -> QueueFile {
    filled(bench, &[Fill { step: 0, ..Fill::ready(count) }])
}

/// Many tasks that ended a minute ago.
pub(crate) fn many_finished(bench: &Bench, count: usize) -> QueueFile {
    filled(bench, &[Fill { state: "'succeeded', NULL", ..Fill::ready(count) }])
}

/// Many tasks that have ended one after the other, of which one in fifty has failed, beside some that are ready.
pub(crate) fn many_of_all(bench: &Bench, count: usize) -> QueueFile {
    const FAIL: &str = "UPDATE litework_task SET state = 'failed', reason = 'error', result = NULL \
         WHERE state = 'succeeded' AND id % 50 = 0";
    const ERRORS: &str = "INSERT INTO litework_error (task, attempt, outcome, finished_at, report) \
         SELECT id, 1, 'failed', finished_at, json_object('kind', 'io', 'code', NULL, 'message', \
         'connection to node ' || id || ' was refused by host ' || (id % 7), 'causes', json_array(), \
         'data', NULL, 'backtrace', NULL, 'expected', json('false')) \
         FROM litework_task WHERE state = 'failed'";
    let state = "'succeeded', NULL";
    let due = crate::work::now_ms() - 7_200_000;
    let ended = Fill { state, due, step: 5, ..Fill::ready(count) };
    let lanes = (LANE_FIRST, 5);
    let file = filled(bench, &[ended, Fill { lanes, step: 1, ..Fill::ready(count / 10) }]);
    let conn = Connection::open(file.path()).expect("the file is there");
    conn.execute_batch("PRAGMA synchronous = OFF").expect("it is set");
    for sql in [FAIL, ERRORS] {
        conn.execute(sql, []).expect("there is room");
    }
    file
}

/// A file that is drained again and again, a part at a time.
struct Source {
    file: QueueFile,
    stored: usize,
    /// A fresh copy is taken when fewer would be left.
    floor: usize,
    copy: Option<(QueueFile, usize)>,
}

impl Source {
    fn new(file: QueueFile, stored: usize, floor: usize) -> Self {
        Self { file, stored, floor, copy: None }
    }

    /// The rate of drains that together last a block, each from opening the file to its last body.
    fn rate(&mut self, bench: &Bench) -> f64 {
        let drained = bench.pick(DRAINED, DRAINED / 4);
        let (mut took, mut done) = (Duration::ZERO, 0);
        while took < bench.block() {
            let fits = |left: &usize| *left >= drained + self.floor;
            let (copy, left) = match self.copy.take().filter(|(_, left)| fits(left)) {
                Some(known) => known,
                None => (bench.copy(&self.file), self.stored),
            };
            took += drain(&copy, drained);
            done += drained;
            self.copy = Some((copy, left.saturating_sub(ran())));
        }
        done as f64 / took.as_secs_f64()
    }
}

fn drain(file: &QueueFile, count: usize) -> Duration {
    expect_runs(count);
    let began = Instant::now();
    let builder = Client::builder(file.path()).register(Resize::define()).workers(2);
    let client = builder.durability(LEVEL).open().expect("the file is ours");
    await_runs();
    let took = began.elapsed();
    client.shutdown(Duration::from_secs(10)).expect("nothing stays");
    took
}

/// The row: this file against a small one. The small one holds 24,000 tasks rather than 1,000, as a drain of 1,000
/// takes 7 ms, most of which is the start of the pool.
fn against_few(bench: &Bench, name: &str, mut deep: Source) -> Vec<Row> {
    let stored = bench.pick(DRAINED, DRAINED / 4) + SPARE;
    let mut few = Source::new(many_ready(bench, stored), stored, SPARE);
    let compared = bench.compare(Target::AtLeast(0.9), || deep.rate(bench), || few.rate(bench));
    vec![compared.row(name, "tasks/s").at(LEVEL)]
}

/// Where the tasks that are drained stand behind or beside others.
fn beside(bench: &Bench, name: &str, others: Fill) -> Vec<Row> {
    let stored = bench.pick(5 * DRAINED, DRAINED) + SPARE;
    let file = filled(bench, &[others, Fill::ready(stored)]);
    against_few(bench, name, Source::new(file, stored, SPARE))
}

fn many(bench: &Bench) -> usize {
    bench.pick(MANY, MANY / 10)
}

pub(crate) fn ready(bench: &Bench) -> Vec<Row> {
    let count = many(bench);
    let deep = Source::new(many_ready(bench, count), count, count / 10 * 9 - SPARE);
    against_few(bench, "depth_ready_1m", deep)
}

pub(crate) fn scheduled(bench: &Bench) -> Vec<Row> {
    let due = crate::work::now_ms() + 24 * 60 * 60 * 1_000;
    let state = "'scheduled', 'delayed'";
    let ahead = Fill { due, step: 10, state, ..Fill::ready(many(bench)) };
    beside(bench, "depth_scheduled_1m", ahead)
}

pub(crate) fn due(bench: &Bench) -> Vec<Row> {
    let count = many(bench);
    let state = "'scheduled', 'delayed'";
    let file = filled(bench, &[Fill { state, ..Fill::ready(count) }]);
    let deep = Source::new(file, count, count / 10 * 9 - SPARE);
    against_few(bench, "depth_due_1m", deep)
}

pub(crate) fn paused(bench: &Bench) -> Vec<Row> {
    let stored = bench.pick(5 * DRAINED, DRAINED) + SPARE;
    let shut = Fill { lanes: (2, 1), ..Fill::ready(many(bench)) };
    let file = filled(bench, &[shut, Fill::ready(stored)]);
    let client = crate::work::client(&file.path(), litework::Mode::Hold, LEVEL);
    client.pause(&litework::Scope::queue(SHUT)).expect("the file is ours");
    drop(client);
    against_few(bench, "depth_paused_1m", Source::new(file, stored, SPARE))
}

pub(crate) fn finished(bench: &Bench) -> Vec<Row> {
    let state = "'succeeded', NULL";
    beside(bench, "depth_finished_1m", Fill { state, step: 1, ..Fill::ready(many(bench)) })
}

pub(crate) fn unknown(bench: &Bench) -> Vec<Row> {
    let count = many(bench) / 10;
    beside(bench, "depth_unknown_100k", Fill { lanes: (3, 1), priority: 100, ..Fill::ready(count) })
}

pub(crate) fn lanes(bench: &Bench) -> Vec<Row> {
    let stored = bench.pick(DRAINED, DRAINED / 4) + SPARE;
    let deep = Source::new(many_lanes(bench, stored), stored, SPARE);
    against_few(bench, "depth_lanes_200", deep)
}
