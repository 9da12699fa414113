//! What several rows in one statement must not change: each row has its own fate.

use rusqlite::Connection;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::errors::not_stored;
use super::*;
use crate::backend::Room;
use crate::gate::{Gate, Rate};
use crate::outcome::{Outcome, Report};
use crate::state::{Reason, State};
use crate::ties::{Before, Extra, Policy, Ref, Ties};
use crate::watch::{Listener, Notice};

pub(super) const NOW: i64 = 1_000;

/// A pool with room for everything.
#[derive(Debug)]
pub(super) struct Everything(i64);

impl Offer for Everything {
    fn owner(&self) -> i64 {
        self.0
    }
    fn view(&self) -> u64 {
        1
    }
    fn serves(&self, _queue: &str, _kind: &str) -> bool {
        true
    }
    fn reserve(&self, _queue: &str, _kind: &str, _bytes: usize) -> Room {
        Room::Taken
    }
    fn weigh(&self, _bytes: usize) {}
    fn reserve_suspect(&self) -> bool {
        true
    }
    fn release_suspect(&self) {}
    fn release(&self, _queue: &str, _bytes: usize) {}
    fn in_order(&self) -> bool {
        true
    }
}

/// The engine on a file of its own, and somebody who writes past it.
pub(super) struct Bench {
    pub(super) engine: Sqlite,
    pub(super) stranger: Connection,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        let engine = Sqlite::open(&path, &Settings::default()).expect("a new file");
        let stranger = Connection::open(&path).expect("it is there");
        stranger.pragma_update(None, "ignore_check_constraints", true).expect("it may");
        Self { engine, stranger, _folder: folder }
    }

    pub(super) fn store(&self, count: usize, due_at: i64) -> Vec<TaskId> {
        let tasks = vec![task(due_at); count];
        let stored = self.engine.enqueue(at(NOW), tasks, None).expect("it is stored");
        stored.into_iter().map(|stored| stored.id).collect()
    }

    pub(super) fn exchange(&self, now: i64, finishes: &[Finish]) -> Exchanged {
        self.engine.exchange(at(now), finishes, Some(&Everything(1))).expect("it answers")
    }

    pub(super) fn states(&self, ids: &[TaskId]) -> Vec<(State, Option<Reason>)> {
        let get = |id: &TaskId| self.engine.get(*id).expect("it answers").expect("it is there");
        ids.iter().map(get).map(|task| (task.state, task.reason)).collect()
    }

    /// What another program writes.
    pub(super) fn run(&self, sql: &str) {
        self.stranger.execute_batch(sql).expect("it is written");
    }

    pub(super) fn transactions(&self) -> u64 {
        self.engine.inner.writer.transactions()
    }

    /// So many tens of steps of `SQLite`'s machine a call takes.
    fn steps(&self, call: impl FnOnce(&Self)) -> u64 {
        let counted = Arc::new(AtomicU64::new(0));
        let steps = Arc::clone(&counted);
        let count = move || {
            steps.fetch_add(1, Ordering::SeqCst);
            false
        };
        let level = Durability::Normal;
        let watch =
            |core: &mut Core| core.conn.progress_handler(10, Some(count)).map_err(not_stored);
        self.engine.transaction(level, watch).expect("it may");
        counted.store(0, Ordering::SeqCst);
        call(self);
        counted.load(Ordering::SeqCst)
    }

    /// A batch with so many members.
    pub(super) fn group(&self, count: usize) -> TaskId {
        let tied = |sums| Ties { awaited: true, sums, ..Ties::default() };
        let extra = Extra { ties: tied(true), ..Extra::default() };
        let mut tasks = vec![NewTask { extra: Some(Box::new(extra)), ..task(NOW) }];
        let extra = Extra { ties: tied(false), member_of: Some(0), ..Extra::default() };
        let member = NewTask { extra: Some(Box::new(extra)), ..task(NOW) };
        tasks.extend(vec![member; count]);
        self.engine.enqueue(at(NOW), tasks, None).expect("it is stored")[0].id
    }

    pub(super) fn damage(&self, change: &str, id: TaskId) {
        let sql = format!("UPDATE litework_task SET {change} WHERE id = ?1");
        assert_eq!(self.stranger.execute(&sql, [id.row()]), Ok(1));
    }
}

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::clamped(ms)
}

pub(super) fn task(due_at: i64) -> NewTask {
    NewTask { attempts_max: 1, due_at: at(due_at), ..NewTask::plain("q", "k") }
}

pub(super) fn success(task: &Claimed) -> Finish {
    let outcome = Outcome::Succeeded { result: task.lease.row.to_string() };
    Finish::plain(task.id, task.lease, task.started_at, at(NOW), outcome)
}

#[test]
fn a_damaged_row_does_not_stop_the_finishes_beside_it() {
    let bench = Bench::new();
    let ids = bench.store(6, NOW);
    let claimed = bench.exchange(NOW, &[]).claimed;
    bench.damage("reason = 'delayed'", ids[2]);
    let finishes: Vec<Finish> = claimed.iter().map(success).collect();
    let answers = bench.exchange(NOW, &finishes).finished;
    let kept: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(kept, [true, true, false, true, true, true]);
    assert_eq!(bench.states(&ids[3..]), [(State::Succeeded, None); 3]);
    let result = bench.engine.get(ids[3]).expect("it answers").expect("it is there").result;
    assert_eq!(result, Some(ids[3].row().to_string()), "each has its own");
}

#[test]
fn a_damaged_row_does_not_stop_what_is_due_beside_it() {
    let bench = Bench::new();
    let ids = bench.store(4, NOW + 5);
    bench.damage("finished_at = 1", ids[1]);
    assert_eq!(bench.exchange(NOW + 5, &[]).claimed.len(), 3);
    assert_eq!(bench.states(&ids)[1], (State::Failed, Some(Reason::BadRow)));
}

#[test]
fn a_row_at_the_end_of_all_numbers_does_not_stop_the_queue() {
    let bench = Bench::new();
    let ids = bench.store(1, NOW);
    bench.damage("id = 9223372036854775807", ids[0]);
    let ids = bench.store(5, NOW);
    let mut rows: Vec<i64> = ids.iter().map(|id| id.row()).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 5);
    assert_eq!(bench.exchange(NOW, &[]).claimed.len(), 6);
}

#[test]
fn a_lease_that_is_gone_is_told_for_its_own_task_only() {
    let bench = Bench::new();
    let ids = bench.store(4, NOW);
    let mut finishes: Vec<Finish> = bench.exchange(NOW, &[]).claimed.iter().map(success).collect();
    finishes[1].lease.attempt += 1;
    let answers = bench.exchange(NOW, &finishes).finished;
    assert!(matches!(answers[1], Err(Error::LeaseLost { .. })), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(bench.states(&ids)[1], (State::Running, None));
}

#[test]
fn a_step_shows_that_its_owner_is_alive() {
    let bench = Bench::new();
    bench.store(1, NOW);
    let member = Member { name: "w".to_owned(), threads: 1, ..Member::default() };
    let owner = bench.engine.join(at(NOW), &member).expect("it joins");
    let done = bench.engine.exchange(at(NOW), &[], Some(&Everything(owner)));
    let Claimed { id, lease, .. } = done.expect("it answers").claimed[0];
    let beat = || -> i64 {
        let sql = "SELECT beat FROM litework_worker WHERE id = ?1";
        bench.stranger.query_row(sql, [owner], |row| row.get(0)).expect("it has joined")
    };
    let before = beat();
    let step = NewStep { id, lease, name: "a", value: "1", durability: None };
    bench.engine.keep_step(at(NOW), &step).expect("it is kept");
    assert_eq!(beat(), before + 1);
    let lease = Lease { attempt: lease.attempt + 1, ..lease };
    let stale = bench.engine.keep_step(at(NOW), &NewStep { lease, ..step });
    assert_eq!(stale.expect_err("it is not held").code(), "lease_lost");
    assert_eq!(beat(), before + 1);
}

/// Whatever there is beside it, a call takes about as many steps; so many may be for deeper trees.
fn is_flat(few: u64, many: u64) -> bool {
    many <= few + few / 2 + 20
}

#[test]
fn ten_thousand_tasks_that_wait_cost_a_claim_no_step() {
    let claim = |blocked: usize| {
        let bench = Bench::new();
        let first = bench.store(1, NOW + 1)[0];
        let before = vec![Before { what: Ref::Task(first), policy: Policy::Success }];
        let extra = Some(Box::new(Extra { after: before, ..Extra::default() }));
        let waits = NewTask { extra, priority: 100, ..task(NOW) };
        bench.engine.enqueue(at(NOW), vec![waits; blocked], None).expect("it is stored");
        let ready = bench.store(1, NOW)[0];
        bench.steps(|bench| {
            let claimed = bench.exchange(NOW, &[]).claimed;
            assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ready]);
        })
    };
    let (few, many) = (claim(2), claim(10_000));
    assert!(is_flat(few, many), "{few} and {many}");
}

#[test]
fn ten_thousand_tasks_that_wait_at_a_gate_cost_a_start_no_step() {
    let second = std::time::Duration::from_secs(1);
    let gates = [
        ("lock:a", Gate::TURN),
        ("limit:a", Gate::Limit { max: 2 }),
        ("rate:a", Gate::Rate(Rate::per(1_000, second))),
    ];
    for (key, gate) in gates {
        let turn = |waiting: usize| {
            let bench = Bench::new();
            let ties = Ties { gate: Some(gate), ..Ties::default() };
            let extra = Extra { wait_key: Some(key.to_owned()), ties, ..Extra::default() };
            let waits = NewTask { extra: Some(Box::new(extra)), ..task(NOW) };
            bench.engine.enqueue(at(NOW), vec![waits; waiting], None).expect("it is stored");
            let first = bench.exchange(NOW, &[]).claimed;
            let finishes: Vec<Finish> = first.iter().map(success).collect();
            bench.steps(|bench| {
                let next = bench.exchange(NOW + 1, &finishes).claimed;
                assert_eq!(next.len(), first.len(), "{key}");
            })
        };
        let (few, many) = (turn(5), turn(10_000));
        assert!(is_flat(few, many), "{key}: {few} and {many}");
    }
}

#[test]
fn the_end_of_a_member_costs_the_same_however_many_there_are() {
    let end = |members: usize| {
        let bench = Bench::new();
        let batch = bench.group(members);
        let claimed = bench.exchange(NOW, &[]).claimed;
        assert_eq!(claimed.len(), members);
        let finishes: Vec<Finish> = claimed.iter().map(success).collect();
        let (first, rest) = finishes.split_at(1);
        let one = bench.steps(|bench| drop(bench.exchange(NOW, first)));
        let all = bench.steps(|bench| drop(bench.exchange(NOW, rest)));
        assert_eq!(bench.states(&[batch]), [(State::Succeeded, None)]);
        (one, all / rest.len() as u64)
    };
    let ((few_one, few_each), (many_one, many_each)) = (end(100), end(5_000));
    assert!(is_flat(few_one, many_one), "one: {few_one} and {many_one}");
    assert!(is_flat(few_each, many_each), "each: {few_each} and {many_each}");
}

#[test]
fn the_end_of_one_of_many_before_a_task_costs_the_same_however_many_there_are() {
    let end = |count: usize| {
        let bench = Bench::new();
        let ids = bench.store(count, NOW);
        let before = ids.iter().map(|id| Before { what: Ref::Task(*id), policy: Policy::Success });
        let extra = Some(Box::new(Extra { after: before.collect(), ..Extra::default() }));
        let last = vec![NewTask { extra, ..task(NOW) }];
        let last = bench.engine.enqueue(at(NOW), last, None).expect("it is stored")[0].id;
        let claimed = bench.exchange(NOW, &[]).claimed;
        let finishes: Vec<Finish> = claimed.iter().map(success).collect();
        let steps = bench.steps(|bench| drop(bench.exchange(NOW, &finishes[..count / 2])));
        assert_eq!(bench.states(&[last]), [(State::Waiting, Some(Reason::Parents))]);
        let claimed = bench.exchange(NOW, &finishes[count / 2..]).claimed;
        assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [last]);
        steps * 2 / count as u64
    };
    let (few, many) = (end(100), end(5_000));
    assert!(is_flat(few, many), "{few} and {many}");
}

/// The same with one place for a task that has a crash on record.
struct OneSuspect {
    everything: Everything,
    taken: AtomicBool,
}

impl Offer for OneSuspect {
    fn owner(&self) -> i64 {
        self.everything.owner()
    }
    fn view(&self) -> u64 {
        self.everything.view()
    }
    fn serves(&self, queue: &str, kind: &str) -> bool {
        self.everything.serves(queue, kind)
    }
    fn reserve(&self, queue: &str, kind: &str, bytes: usize) -> Room {
        self.everything.reserve(queue, kind, bytes)
    }
    fn weigh(&self, _bytes: usize) {}
    fn reserve_suspect(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }
    fn release_suspect(&self) {
        let was_taken = self.taken.swap(false, Ordering::SeqCst);
        assert!(was_taken, "it is given back once");
    }
    fn release(&self, _queue: &str, _bytes: usize) {}
    fn in_order(&self) -> bool {
        true
    }
}

#[test]
fn a_claim_that_fails_keeps_no_place_of_a_task_that_has_crashed() {
    let bench = Bench::new();
    let ties = Ties { gate: Some(Gate::TURN), ..Ties::default() };
    let extra = Extra { wait_key: Some("a".to_owned()), ties, ..Extra::default() };
    let locked = NewTask { extra: Some(Box::new(extra)), attempts_max: 3, ..task(NOW) };
    bench.engine.enqueue(at(NOW), vec![locked], None).expect("it is stored");
    let first = bench.exchange(NOW, &[]).claimed.remove(0);
    let crashed = Outcome::Crashed { report: Box::new(Report::new("crash", "its process died")) };
    let end = Finish { outcome: crashed, ..success(&first) };
    bench.engine.exchange(at(NOW), &[end], None).expect("it answers");
    let offer = OneSuspect { everything: Everything(1), taken: AtomicBool::new(false) };
    let claim = || bench.engine.exchange(at(NOW + 1_000_000), &[], Some(&offer));
    bench.run(
        "CREATE TRIGGER full BEFORE UPDATE ON litework_meta \
         BEGIN SELECT RAISE(ABORT, 'no number'); END",
    );
    assert_eq!(claim().expect_err("its lock has no number").code(), "not_stored");
    assert!(!offer.taken.load(Ordering::SeqCst));
    bench.run("DROP TRIGGER full");
    assert_eq!(claim().expect("it answers").claimed.len(), 1);
}

/// Whoever watches a file is woken by what changes it, once, and by nobody who only looks.
#[test]
fn what_changes_nothing_wakes_nobody_who_watches() {
    struct Ears(std::sync::mpsc::Sender<Notice>);
    impl Listener for Ears {
        fn notice(&self, notice: Notice) {
            let _gone = self.0.send(notice);
        }
    }
    let bench = Bench::new();
    bench.store(1, NOW);
    let (tell, told) = std::sync::mpsc::channel();
    let ears: Arc<dyn Listener> = Arc::new(Ears(tell));
    bench.engine.watch().expect("it is heard");
    bench.engine.signal().listen(&ears);
    for _ in 0..500 {
        let read = "SELECT count(*) FROM litework_task";
        let count: i64 = bench.stranger.query_row(read, [], |row| row.get(0)).expect("it is read");
        assert_eq!(count, 1);
        bench.run("BEGIN IMMEDIATE; ROLLBACK");
    }
    bench.run("UPDATE litework_task SET priority = 7");
    assert_eq!(told.recv(), Ok(Notice::Foreign), "the first that was told");
    bench.run("BEGIN IMMEDIATE; ROLLBACK");
    bench.run("UPDATE litework_task SET priority = 8");
    assert_eq!(told.recv(), Ok(Notice::Foreign));
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn who_is_to_look_at_the_gates_waits_for_nobody_who_does() {
    let bench = Bench::new();
    let inner = Arc::clone(&bench.engine.inner);
    let looking = inner.last_gate.lock().expect("not poisoned");
    let other = Sqlite { inner: Arc::clone(&inner), durability: Durability::Normal };
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(other.open_gates(at(NOW)).is_ok()));
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(true));
    drop(looking);
}
