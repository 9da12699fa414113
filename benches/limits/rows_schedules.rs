//! Row `schedules_100k`: firing what is due of 100,000 schedules, against the same of 100.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use litework::{Client, Clock, Definition, Durability, Mode, Pending, Timestamp};
use rusqlite::Connection;

use crate::bench::{Bench, QueueFile, rate};
use crate::report::Row;
use crate::target::Target;
use crate::work::Resize;

const LEVEL: Durability = Durability::Normal;
/// From one slot of all to the next.
const APART_MS: i64 = 36;
/// Slots that are due at each look.
const DUE: i64 = 10;
const BASE_MS: i64 = 1_800_000_000_000;

/// One schedule each `?2` milliseconds, each firing once in all of their time together.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
     INSERT INTO litework_schedule (name, kind, cron, edits, created_at, next_at, due_at, planned_at) \
     SELECT 'schedule ' || i, 'resize', 0, ?4, ?3 + (i - ?1) * ?2, ?3 + i * ?2, ?3 + i * ?2, ?3 FROM n";

/// A clock that is moved from one look to the next.
#[derive(Default)]
struct Steps(AtomicI64);

impl Clock for Steps {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(BASE_MS + self.0.load(Ordering::Relaxed)).expect("in range")
    }
}

/// Schedules in a file of their own, and who fires them.
struct Side {
    _file: QueueFile,
    clock: Arc<Steps>,
    client: Client,
}

impl Side {
    fn new(bench: &Bench, count: i64) -> Self {
        let file = bench.empty();
        let conn = Connection::open(file.path()).expect("the file is there");
        let arguments = serde_json::to_value(Resize::sample(1)).expect("plain fields encode");
        let timing = serde_json::json!({ "every": { "interval_ms": count * APART_MS } });
        let terms = serde_json::json!({
            "timing": timing, "frequent": true, "overlap": "allow", "arguments": arguments
        });
        conn.execute(FILL, (count, APART_MS, BASE_MS, terms.to_string())).expect("there is room");
        drop(conn);
        let clock = Arc::new(Steps::default());
        let builder = Client::builder(file.path()).register(Definition::of::<Resize>());
        let builder = builder.mode(Mode::Hold).durability(LEVEL).prune(false);
        let client = builder.clock(Arc::clone(&clock) as _).open().expect("the file is ours");
        Self { _file: file, clock, client }
    }

    /// Fires and runs what has become due.
    fn step(&self) -> usize {
        self.clock.0.fetch_add(DUE * APART_MS, Ordering::Relaxed);
        let ran = self.client.run_pending(&Pending::all()).expect("it goes through");
        assert!(ran.succeeded as i64 >= DUE - 1, "what is due fires");
        ran.succeeded
    }
}

pub(crate) fn many(bench: &Bench) -> Vec<Row> {
    let (many, few) = (Side::new(bench, bench.pick(100_000, 10_000)), Side::new(bench, 100));
    let compared = bench.compare(
        Target::AtLeast(0.9),
        || rate(bench.block(), || many.step()),
        || rate(bench.block(), || few.step()),
    );
    vec![compared.row("schedules_100k", "tasks/s").at(LEVEL)]
}
