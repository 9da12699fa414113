//! The table of states: the schema admits exactly the pairs of state and reason that `State` does,
//! and whatever a program does, a task moves only along the edges of `State::may_become`.
#![cfg(all(feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use litework::testing::ManualClock;
use litework::{
    Builder, Call, Client, Context, Durability, Failure, Mode, Options, Pending, Reason, Result,
    Retry, State, Task, TaskId,
};
use proptest::prelude::*;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// Words that no table holds, and words that look like ones it does.
const STRANGERS: [&str; 8] = ["", "READY", "ready ", "done", "parked", "null", "error\0", "0"];

/// What the raw row of a pair must carry besides.
fn insert(conn: &Connection, state: &str, reason: Option<&str>, ended: bool) -> bool {
    conn.execute("DELETE FROM litework_task", []).unwrap();
    let worker = (state == "running").then_some(1);
    let finished_at = ended.then_some(1);
    conn.execute(
        "INSERT INTO litework_task (tag, lane, state, reason, rank, priority, due_at, enqueued_at, \
         finished_at, attempts_max, worker, arguments) VALUES (1, 1, ?1, ?2, 0, 0, 0, 0, ?3, 1, ?4, '{}')",
        (state, reason, finished_at, worker),
    )
    .is_ok()
}

fn schema() -> Connection {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backends/sqlite/schema.sql");
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&std::fs::read_to_string(path).unwrap()).unwrap();
    conn
}

#[test]
fn the_schema_admits_a_pair_if_and_only_if_the_table_does() {
    let conn = schema();
    let mut admitted = 0;
    for state in State::ALL {
        let reasons = Reason::ALL.iter().copied().map(Some).chain([None]);
        for reason in reasons {
            let stored =
                insert(&conn, state.as_str(), reason.map(Reason::as_str), state.is_final());
            assert_eq!(stored, state.admits(reason), "{state} with {reason:?}");
            admitted += usize::from(stored);
        }
    }
    let in_table: usize = State::ALL.iter().map(|state| state.reasons().len().max(1)).sum();
    assert_eq!(admitted, in_table, "`admits` and `reasons` differ");
}

#[test]
fn no_unknown_word_can_be_stored() {
    let conn = schema();
    for stranger in STRANGERS {
        assert_eq!(State::from_word(stranger), None);
        assert_eq!(Reason::from_word(stranger), None);
        for ended in [false, true] {
            assert!(!insert(&conn, stranger, None, ended), "state {stranger:?}");
            for reason in Reason::ALL {
                assert!(!insert(&conn, stranger, Some(reason.as_str()), ended), "{stranger:?}");
            }
            for state in State::ALL {
                assert!(!insert(&conn, state.as_str(), Some(stranger), ended), "{stranger:?}");
            }
        }
    }
}

#[test]
fn a_task_has_an_end_exactly_in_a_final_state() {
    let conn = schema();
    for state in State::ALL {
        let reason = state.reasons().first().map(|reason| reason.as_str());
        assert!(insert(&conn, state.as_str(), reason, state.is_final()), "{state}");
        assert!(!insert(&conn, state.as_str(), reason, !state.is_final()), "{state}");
    }
}

#[test]
fn a_running_task_has_a_worker() {
    let conn = schema();
    assert!(insert(&conn, "running", None, false));
    conn.execute("UPDATE litework_task SET worker = NULL", []).unwrap_err();
}

/// Who writes by SQL passes the checks of calls by, and meets those of the schema.
#[test]
fn a_priority_outside_of_its_range_cannot_be_stored() {
    let conn = schema();
    let set = |priority: i64| {
        assert!(insert(&conn, "ready", None, false));
        let changed = conn.execute("UPDATE litework_task SET priority = ?1", [priority]);
        let copied = conn.execute(
            "INSERT INTO litework_task (tag, lane, state, rank, priority, due_at, enqueued_at, attempts_max, \
             arguments) VALUES (1, 1, 'ready', 0, ?1, 0, 0, 1, '{}')",
            [priority],
        );
        assert_eq!(changed.is_ok(), copied.is_ok(), "{priority}");
        changed.map(drop)
    };
    for priority in [-100, 0, 100] {
        set(priority).unwrap();
    }
    for priority in [i64::MIN, -101, 101, i64::MAX] {
        let refused = set(priority).unwrap_err().to_string();
        assert!(refused.contains("CHECK constraint failed: priority BETWEEN"), "{refused}");
    }
}

#[test]
fn every_word_is_read_back_as_itself() {
    for state in State::ALL {
        assert_eq!(State::from_word(state.as_str()), Some(*state));
        assert!(!state.may_become(State::Scheduled) || !state.is_final(), "{state}");
        assert!(
            !state.is_final() || state.may_become(State::Ready),
            "an operator may retry {state}"
        );
    }
    for reason in Reason::ALL {
        assert_eq!(Reason::from_word(reason.as_str()), Some(*reason));
        let homes = State::ALL.iter().filter(|state| state.admits(Some(*reason))).count();
        assert!(homes > 0, "no state has the reason {reason}");
    }
}

/// What the body of a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Act {
    Succeed,
    Fail,
    GiveUp,
    RetryLater,
    Snooze,
    SayCancelled,
    CancelItself,
    ReturnTooMuch,
}

const ACTS: [Act; 8] = [
    Act::Succeed,
    Act::Fail,
    Act::GiveUp,
    Act::RetryLater,
    Act::Snooze,
    Act::SayCancelled,
    Act::CancelItself,
    Act::ReturnTooMuch,
];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Play {
    act: Act,
}

impl Task for Play {
    const NAME: &'static str = "play";
    type Output = String;

    fn options() -> Options {
        Options::new().attempts(2).retry(Retry::ladder([Duration::from_secs(5)]))
    }

    fn run(self, ctx: &Context) -> Result<String> {
        match self.act {
            Act::Succeed => Ok("done".to_owned()),
            Act::Fail => Err("it failed".into()),
            Act::GiveUp => Err(Failure::give_up("useless")),
            Act::RetryLater => Err(Failure::retry_after(Duration::from_secs(7), "later")),
            Act::Snooze => Err(Failure::snooze(Duration::from_secs(3))),
            Act::SayCancelled => Err(Failure::cancelled()),
            Act::CancelItself => {
                let client = ctx.client().ok_or("it is not detached")?;
                client.cancel(ctx.id().ok_or("it has an id")?)?;
                Err("asked to stop".into())
            }
            Act::ReturnTooMuch => Ok("x".repeat(2 << 20)),
        }
    }
}

/// One thing that a program, an operator or time does.
#[derive(Debug, Clone)]
enum Step {
    Enqueue { act: Act, after_secs: u64, expires: bool, at_most_once: bool },
    RunPending,
    Cancel(prop::sample::Index),
    Retry(prop::sample::Index),
    Advance { secs: u64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    let act = prop::sample::select(&ACTS[..]);
    prop_oneof![
        4 => (act, 0..3_u64, any::<bool>(), any::<bool>()).prop_map(
            |(act, later, expires, at_most_once)| {
                Step::Enqueue { act, after_secs: later * 4, expires, at_most_once }
            }
        ),
        3 => Just(Step::RunPending),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => any::<prop::sample::Index>().prop_map(Step::Retry),
        3 => (0..10_u64).prop_map(|secs| Step::Advance { secs }),
        1 => Just(Step::Reopen),
    ]
}

/// A queue in a file that notes each change of a state by itself.
struct Lab {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    client: Client,
    ids: Vec<TaskId>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let client = open(dir.path(), &clock);
        let lab = Self { dir, clock, client, ids: Vec::new() };
        lab.raw()
            .execute_batch(
                "CREATE TABLE edge (task, was TEXT, became TEXT);
                 CREATE TRIGGER born AFTER INSERT ON litework_task BEGIN
                   INSERT INTO edge VALUES (new.id, NULL, new.state); END;
                 CREATE TRIGGER moved AFTER UPDATE OF state ON litework_task BEGIN
                   INSERT INTO edge VALUES (new.id, old.state, new.state); END;",
            )
            .unwrap();
        lab
    }

    fn raw(&self) -> Connection {
        Connection::open(self.dir.path().join("app.db")).unwrap()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Enqueue { act, after_secs, expires, at_most_once } => {
                let after = Duration::from_secs(*after_secs);
                let mut call = Call::new(Play { act: *act }).run_after(after);
                if *expires {
                    call = call.expires_after(Duration::from_secs(2));
                }
                let handle = self.client.enqueue(call.at_most_once(*at_most_once)).unwrap();
                self.ids.push(handle.id());
            }
            Step::RunPending => drop(self.client.run_pending(&Pending::all()).unwrap()),
            Step::Cancel(which) if !self.ids.is_empty() => {
                self.client.cancel(which.get(&self.ids)).unwrap();
            }
            Step::Retry(which) if !self.ids.is_empty() => {
                let answer = self.client.retry(which.get(&self.ids));
                assert!(answer.map_or_else(|error| error.code() == "not_finished", |()| true));
            }
            Step::Cancel(_) | Step::Retry(_) => {}
            Step::Advance { secs } => self.clock.advance(Duration::from_secs(*secs)),
            Step::Reopen => self.client = open(self.dir.path(), &self.clock),
        }
    }

    /// The edges since the last look; they are forgotten.
    fn edges(&self) -> Vec<(Option<State>, State)> {
        let conn = self.raw();
        let mut read = conn.prepare("SELECT was, became FROM edge ORDER BY rowid").unwrap();
        let word = |word: String| State::from_word(&word).expect("only words of the table");
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let edges = rows.map(|row: rusqlite::Result<(Option<String>, String)>| {
            let (was, became) = row.unwrap();
            (was.map(word), word(became))
        });
        let edges = edges.collect();
        conn.execute("DELETE FROM edge", []).unwrap();
        edges
    }
}

/// Runs until it is asked to stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Linger;

/// Where a body says that it has begun.
struct Began(Sender<()>);

impl Task for Linger {
    const NAME: &'static str = "linger";
    type Output = ();

    fn run(self, ctx: &Context) -> Result<()> {
        ctx.state::<Began>()?.0.send(())?;
        loop {
            ctx.check()?;
            std::thread::yield_now();
        }
    }
}

fn builder(dir: &Path, clock: &Arc<ManualClock>) -> Builder {
    Client::builder(dir.join("app.db"))
        .environment([("", ""); 0])
        .application_file()
        .convert_to_wal()
        .durability(Durability::Normal)
        .register(Play::define())
        .clock(Arc::clone(clock) as _)
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> Client {
    builder(dir, clock).mode(Mode::Hold).open().unwrap()
}

/// An edge must be one of the table, and only a retry leads out of a final state.
fn check(edge: (Option<State>, State), retried: bool) -> Result<(), String> {
    match edge {
        (None, State::Scheduled | State::Ready) => Ok(()),
        (None, born) => Err(format!("a task of a held queue was born {born}")),
        (Some(was), became) if was.is_final() && !retried => {
            Err(format!("{was} ended and became {became}"))
        }
        (Some(was), became) if was.may_become(became) => Ok(()),
        (Some(was), became) => Err(format!("{was} may not become {became}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn a_task_moves_only_along_the_edges_of_the_table(
        steps in prop::collection::vec(steps(), 1..24)
    ) {
        let mut lab = Lab::new();
        for step in &steps {
            lab.take(step);
            let retried = matches!(step, Step::Retry(_));
            for edge in lab.edges() {
                let checked = check(edge, retried);
                prop_assert!(checked.is_ok(), "{step:?}: {}", checked.unwrap_err());
            }
            for id in &lab.ids {
                let task = lab.client.get(id).unwrap();
                prop_assert!(task.state.admits(task.reason));
                prop_assert!(task.attempt <= task.attempts_max);
            }
        }
    }
}

#[test]
fn every_way_through_a_held_queue_is_walked() {
    use State::{Cancelled, Failed, Ready, Running, Scheduled, Succeeded};

    let mut lab = Lab::new();
    let mut seen = BTreeMap::<(Option<State>, State), usize>::new();
    for act in ACTS {
        for after_secs in [0, 4] {
            for expires in [false, true] {
                lab.take(&Step::Enqueue { act, after_secs, expires, at_most_once: false });
            }
        }
    }
    // One of each is cancelled before it starts; the rest is run until nothing moves.
    for id in [lab.ids[0], lab.ids[2]] {
        lab.client.cancel(id).unwrap();
    }
    for _ in 0..8 {
        lab.take(&Step::RunPending);
        lab.take(&Step::Advance { secs: 7 });
    }
    // One is due at once and not started before it expires.
    let late =
        Step::Enqueue { act: Act::Succeed, after_secs: 0, expires: true, at_most_once: false };
    lab.take(&late);
    lab.take(&Step::Advance { secs: 7 });
    lab.take(&Step::RunPending);
    let expired = lab.client.get(lab.ids.last().unwrap()).unwrap();
    assert_eq!((expired.state, expired.reason), (Failed, Some(Reason::Expired)));
    for edge in lab.edges() {
        check(edge, false).unwrap();
        *seen.entry(edge).or_default() += 1;
    }
    for edge in [
        (None, Scheduled),
        (None, Ready),
        (Some(Scheduled), Ready),
        (Some(Scheduled), Cancelled),
        (Some(Ready), Running),
        (Some(Ready), Cancelled),
        (Some(Ready), Failed),
        (Some(Running), Succeeded),
        (Some(Running), Failed),
        (Some(Running), Cancelled),
        (Some(Running), Scheduled),
    ] {
        assert!(seen.contains_key(&edge), "{edge:?} was not walked: {seen:?}");
    }
}

#[test]
fn a_task_is_handed_over_as_running_and_handed_back_as_ready() {
    let lab = Lab::new();
    let (began, heard) = channel();
    let pool = builder(lab.dir.path(), &lab.clock).workers(1).register(Linger::define());
    let pool = pool.state(Began(began)).open().unwrap();
    let id = pool.enqueue(Linger).unwrap().id();
    heard.recv().unwrap();
    assert_eq!(pool.shutdown(Duration::ZERO).unwrap().handed_back, 1);
    assert_eq!(lab.edges(), [(None, State::Running), (Some(State::Running), State::Ready)]);
    let task = lab.client.get(id).unwrap();
    assert_eq!((task.state, task.reason, task.attempt), (State::Ready, None, 0));
}

#[test]
fn an_edge_that_is_not_in_the_table_is_caught() {
    let mut lab = Lab::new();
    lab.take(&Step::Enqueue {
        act: Act::Succeed,
        after_secs: 0,
        expires: false,
        at_most_once: false,
    });
    lab.raw().execute("UPDATE litework_task SET state = 'succeeded', finished_at = 1", []).unwrap();
    let wrong: Vec<_> =
        lab.edges().into_iter().filter(|edge| check(*edge, true).is_err()).collect();
    assert_eq!(wrong, [(Some(State::Ready), State::Succeeded)]);
}
