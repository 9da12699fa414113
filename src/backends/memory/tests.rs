//! Tests of the memory engine by itself; property tests compare it with the file.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::backend::Room;
use crate::outcome::{Outcome, Report};
use crate::record::{Claimed, Finished, Lease};
use crate::retry::Retry;
use crate::state::Reason;

/// So many places, for any queue and kind.
struct Places {
    owner: i64,
    free: AtomicUsize,
    suspects: AtomicUsize,
}

impl Places {
    fn new(owner: i64, free: usize) -> Arc<Self> {
        let (free, suspects) = (AtomicUsize::new(free), AtomicUsize::new(1));
        Arc::new(Self { owner, free, suspects })
    }

    fn free(&self) -> usize {
        self.free.load(Ordering::SeqCst)
    }
}

fn take_one(from: &AtomicUsize) -> bool {
    from.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok()
}

impl Offer for Places {
    fn owner(&self) -> i64 {
        self.owner
    }

    fn serves(&self, queue: &str, _kind: &str) -> bool {
        queue != "closed"
    }

    fn reserve(&self, _queue: &str, _kind: &str, _bytes: usize) -> Room {
        if take_one(&self.free) { Room::Taken } else { Room::Full }
    }

    fn weigh(&self, _bytes: usize) {}

    fn reserve_suspect(&self) -> bool {
        take_one(&self.suspects)
    }

    fn release_suspect(&self) {}

    fn view(&self) -> u64 {
        0
    }

    fn release(&self, _queue: &str, _bytes: usize) {
        self.free.fetch_add(1, Ordering::SeqCst);
    }

    fn in_order(&self) -> bool {
        true
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::clamped(ms)
}

fn task(due_ms: i64, priority: i8) -> NewTask {
    NewTask { priority, due_at: at(due_ms), ..NewTask::plain("default", "add") }
}

fn keyed(key: &str, arguments: &str) -> NewTask {
    NewTask { key: Some(key.to_owned()), arguments: arguments.to_owned(), ..task(0, 0) }
}

fn end(task: &Claimed, outcome: Outcome) -> Finish {
    Finish {
        retry: Arc::new(Retry::ladder([Duration::from_millis(10)])),
        chance: 0.5,
        ..Finish::plain(task.id, task.lease, task.started_at, at(50), outcome)
    }
}

fn success() -> Outcome {
    Outcome::Succeeded { result: "3".to_owned() }
}

fn finish(memory: &Memory, end: Finish) -> Result<Finished, Error> {
    let done = memory.exchange(at(60), &[end], None).expect("it answers");
    done.finished.into_iter().next().expect("one answer")
}

fn claim(memory: &Memory, now: i64, places: &Places) -> Vec<Claimed> {
    memory.exchange(at(now), &[], Some(places)).expect("it answers").claimed
}

fn rows(claimed: &[Claimed]) -> Vec<i64> {
    claimed.iter().map(|task| task.lease.row).collect()
}

#[test]
fn only_the_lease_that_holds_may_end_a_task() {
    let memory = Memory::default();
    let stored = memory.enqueue(at(1), vec![task(0, 0)], Some(Places::new(7, 1))).expect("stored");
    let held = stored[0].claimed.clone().expect("handed over");
    let Lease { row, attempt, owner } = held.lease;
    for lease in [
        Lease { row, attempt: attempt + 1, owner },
        Lease { row, attempt, owner: owner + 1 },
        Lease { row: row + 1, attempt, owner },
    ] {
        let answer = finish(&memory, Finish { lease, ..end(&held, success()) });
        assert!(matches!(answer, Err(Error::LeaseLost { .. })), "{lease:?}: {answer:?}");
    }
    assert!(finish(&memory, end(&held, success())).is_ok());
    let kept = memory.get(held.id).expect("it answers");
    assert!(finish(&memory, end(&held, success())).is_ok(), "its first answer may have been lost");
    assert!(finish(&memory, end(&held, Outcome::GivenBack)).is_err(), "it has ended");
    assert_eq!(memory.get(held.id).expect("it answers"), kept, "a second end changes nothing");
    let attempts = memory.attempts(held.id).expect("it answers");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, "succeeded");
}

#[test]
fn what_an_owner_holds_is_handed_back_when_it_leaves() {
    let memory = Memory::default();
    let owner = memory.join(at(0), &Member::default()).expect("joined");
    let places = Places::new(owner, 1);
    let stored = memory.enqueue(at(1), vec![task(0, 0)], Some(places)).expect("stored");
    let held = stored[0].claimed.clone().expect("handed over");
    assert!(memory.renew(owner).expect("it answers"));
    memory.leave(at(2), owner).expect("left");
    assert!(!memory.renew(owner).expect("it answers"));
    assert!(finish(&memory, end(&held, success())).is_err());
    let record = memory.get(held.id).expect("it answers").expect("there");
    assert_eq!((record.state, record.attempt), (State::Ready, 0));
}

#[test]
fn work_is_claimed_by_priority_then_due_then_age() {
    let memory = Memory::default();
    let tasks = vec![task(5, 0), task(3, 0), task(3, 0), task(9, 1), task(100, 9)];
    memory.enqueue(at(10), tasks, None).expect("stored");
    let places = Places::new(1, 2);
    let done = memory.exchange(at(10), &[], Some(&*places)).expect("it answers");
    assert_eq!(rows(&done.claimed), [4, 2]);
    assert!(done.more);
    assert_eq!(done.next_due, Some(at(100)));
    let late = memory.enqueue(at(10), vec![task(4, 0)], Some(Places::new(1, 1))).expect("stored");
    assert_eq!(late[0].state, State::Ready, "row 3 goes before it");
    let first = memory.enqueue(at(10), vec![task(1, 0)], Some(Places::new(1, 1))).expect("stored");
    assert_eq!(first[0].state, State::Running);
    assert_eq!(rows(&claim(&memory, 100, &Places::new(1, 9))), [5, 3, 6, 1]);
}

#[test]
fn a_batch_is_stored_as_a_whole_or_not_at_all() {
    let memory = Memory::default();
    memory.enqueue(at(1), vec![keyed("old", "{}")], None).expect("stored");
    let places = Places::new(1, 5);
    let other_lane = NewTask { kind: "new".into(), priority: 9, ..keyed("new", "{}") };
    let batch = vec![other_lane, task(99, 0), keyed("old", "[]")];
    let error = memory.enqueue(at(1), batch, Some(places.clone())).expect_err("refused");
    assert!(matches!(error, Error::Item { index: 2, .. }), "{error}");
    assert_eq!(error.code(), "key_conflict");
    assert_eq!(places.free(), 5, "the place of the task handed over is free again");
    assert_eq!(memory.count(&Filter::new(), 10).expect("it answers"), 1);
    assert!(memory.find("new").expect("it answers").is_none());
    assert_eq!(memory.book.lock().unwrap_or_else(PoisonError::into_inner).lanes.len(), 1);
    let done = memory.exchange(at(200), &[], Some(&*places)).expect("it answers");
    assert_eq!((rows(&done.claimed), done.next_due), (vec![1], None));
}

#[test]
fn a_key_gives_the_task_that_has_it() {
    let memory = Memory::default();
    let store = |new| memory.enqueue(at(1), vec![new], None).map(|mut stored| stored.remove(0));
    let first = store(keyed("k", "{}")).expect("stored");
    let again = store(keyed("k", "{}")).expect("the same");
    assert!(again.existing && again.id == first.id);
    let Err(Error::KeyConflict { existing }) = store(keyed("k", "[]")) else {
        panic!("other arguments are refused");
    };
    assert_eq!(existing, first.id);
    let other_kind = NewTask { kind: "sub".into(), ..keyed("k", "{}") };
    assert_eq!(store(other_kind).expect_err("refused").code(), "key_conflict");
    let guessed = TaskId::new(first.id.row(), first.id.tag().wrapping_add(1));
    assert!(memory.get(guessed).expect("it answers").is_none());
}

#[test]
fn an_expired_task_fails_at_its_claim_and_wakes_its_waiter() {
    let memory = Memory::default();
    let expiring = NewTask { expires_at: Some(at(5)), ..task(0, 0) };
    let id = memory.enqueue(at(1), vec![expiring], None).expect("stored")[0].id;
    let waiter = memory.signal.subscribe(id.row());
    let places = Places::new(1, 1);
    assert!(claim(&memory, 5, &places).is_empty());
    assert_eq!(places.free(), 1);
    assert!(waiter.wait(Duration::ZERO).is_some());
    let record = memory.get(id).expect("it answers").expect("there");
    let end = (record.state, record.reason, record.attempt);
    assert_eq!(end, (State::Failed, Some(Reason::Expired), 0));
}

#[test]
fn tasks_with_a_crash_on_record_are_claimed_one_at_a_time() {
    let memory = Memory::default();
    memory.enqueue(at(1), vec![task(0, 0), task(0, 0), task(0, 0)], None).expect("stored");
    let held = claim(&memory, 1, &Places::new(1, 2));
    for task in &held {
        let report = Box::new(Report::new("crash", "its process died"));
        finish(&memory, end(task, Outcome::Crashed { report })).expect("it holds");
    }
    let places = Places::new(2, 9);
    assert_eq!(rows(&claim(&memory, 1, &places)), [1, 3], "row 2 is a suspect like row 1");
    assert_eq!(places.free(), 7);
}

#[test]
fn only_the_newest_snoozes_stay_on_record() {
    let memory = Memory::default();
    let id = memory.enqueue(at(1), vec![task(0, 0)], None).expect("stored")[0].id;
    for _ in 0..25 {
        let held = memory.claim_one(at(60), id, &*Places::new(1, 1)).expect("it answers");
        let snooze = Outcome::Snoozed { after: Duration::ZERO };
        finish(&memory, end(&held.task().expect("claimed"), snooze)).expect("it holds");
    }
    let record = memory.get(id).expect("it answers").expect("there");
    assert_eq!((record.snoozes, record.attempt), (25, 0));
    assert_eq!(memory.attempts(id).expect("it answers").len(), 20);
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat() {
    let memory = Memory::default();
    let tagged = NewTask { tags: Some("[\"red\"]".to_owned()), ..task(0, 0) };
    let tasks = (0..5).map(|n| if n == 1 { task(0, 0) } else { tagged.clone() }).collect();
    memory.enqueue(at(1), tasks, None).expect("stored");
    let red = Filter::new().tag("red");
    let (mut seen, mut from) = (Vec::new(), None);
    loop {
        let page = memory.list(&red, from, 2).expect("it answers");
        seen.extend(page.tasks.iter().map(|task| task.id.row()));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 1]);
    assert_eq!(memory.count(&red, 3).expect("it answers"), 3);
}

#[test]
fn what_runs_is_asked_to_stop_and_what_waits_ends_at_once() {
    let memory = Memory::default();
    let stored = memory.enqueue(at(1), vec![task(0, 0), task(9, 0)], Some(Places::new(1, 1)));
    let stored = stored.expect("stored");
    assert_eq!(memory.cancel(at(2), stored[0].id).expect("it answers").0, Cancelled::Requested);
    assert_eq!(memory.cancel_requests(1).expect("it answers"), [1]);
    assert_eq!(memory.cancel(at(2), stored[1].id).expect("it answers").0, Cancelled::Now);
    assert_eq!(
        memory.cancel(at(2), stored[1].id).expect("it answers").0,
        Cancelled::AlreadyFinished
    );
    let held = stored[0].claimed.clone().expect("handed over");
    let ended = finish(&memory, end(&held, Outcome::GivenBack)).expect("it holds");
    assert_eq!((ended.state, ended.reason), (State::Cancelled, Some(Reason::Asked)));
}

#[test]
fn what_is_cleared_is_gone_from_every_index_and_its_rows_are_not_used_again() {
    let memory = Memory::default();
    let mut parked = task(0, 0);
    parked.queue = "closed".into();
    let tasks = vec![task(0, 0), task(90, 0), keyed("k", "{}"), parked];
    let stored = memory.enqueue(at(1), tasks, Some(Places::new(7, 1))).expect("stored");
    let held = stored[0].claimed.clone().expect("handed over");
    assert_eq!(memory.clear().expect("it clears"), 3);
    assert_eq!(memory.count(&Filter::new(), 9).expect("it counts"), 1);
    assert!(memory.find("k").expect("it looks").is_none());
    assert_eq!(rows(&claim(&memory, 100, &Places::new(7, 9))), Vec::<i64>::new());
    assert_eq!(finish(&memory, end(&held, success())).expect("kept").state, State::Succeeded);
    assert_eq!(memory.clear().expect("it clears"), 1);
    let next = memory.enqueue(at(101), vec![keyed("k", "{}")], None).expect("stored");
    assert_eq!((next[0].id.row(), next[0].existing), (5, false));
    assert_eq!(rows(&claim(&memory, 102, &Places::new(7, 9))), [5]);
}

#[test]
fn a_flow_that_is_there_already_leaves_nothing_to_be_taken_back() {
    let memory = Memory::default();
    let flow = || {
        let sums = crate::ties::Ties { sums: true, ..crate::ties::Ties::default() };
        let batch = Box::new(crate::ties::Extra { ties: sums, ..crate::ties::Extra::default() });
        vec![NewTask { extra: Some(batch), ..keyed("flow", "{}") }, task(0, 0)]
    };
    assert_eq!(memory.enqueue(at(1), flow(), None).expect("stored").len(), 2);
    let again = memory.enqueue(at(2), flow(), None).expect("it is there");
    assert_eq!((again.len(), again[0].existing), (1, true));
    assert!(memory.with(|book| book.before.is_none()), "later edits are not kept");
}
