//! The wall clock may be set at any moment, back or forward: nothing runs twice, a running task keeps
//! its lease and its time-out, and what is scheduled goes by the clock as it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use litework::{Clock, Context, Failure, Mode, Reason, Result, State, Timestamp, task};

use crate::common::{Gate, LONG, Lab, Log, eventually};
use crate::under_way::{begin, newest};

const HOUR: Duration = Duration::from_secs(60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[task]
fn note(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

/// Stands at the gate, and then says whether it was asked to stop meanwhile.
#[task(timeout = "1h")]
fn hold(ctx: &Context) -> Result<bool> {
    ctx.state::<Gate>()?.pass();
    Ok(ctx.is_stopping())
}

#[task]
fn fail_once(ctx: &Context) -> Result<u32> {
    match ctx.attempt() {
        1 => Err(Failure::retry_after(HOUR, "not yet")),
        attempt => Ok(attempt),
    }
}

/// Sets the lab's clock back by this much.
fn set_back(lab: &Lab, span: Duration) {
    let ms = i64::try_from(span.as_millis()).unwrap();
    lab.clock.set(Timestamp::from_millis(lab.now().as_millis() - ms).unwrap());
}

/// G4, G9: a running task keeps its lease and its time-out, wherever the wall clock goes. Opening the
/// file is a look for processes that are dead or hung.
fn check_running(lab: &Lab, set: fn(&Lab)) {
    let gate = Gate::default();
    let open = || lab.builder().register(hold).state(gate.clone());
    let running = open().open().unwrap();
    std::thread::scope(|scope| {
        let enqueued = begin(scope, lab, &running, hold::with());
        gate.wait_for(1);
        let id = newest(&running, "hold").id;
        let other = open().open().unwrap();
        set(lab);
        let looker = open().mode(Mode::Hold).open().unwrap();
        lab.settle(&other);
        let task = looker.get(id).unwrap();
        assert_eq!((task.state, task.attempt, task.crashes), (State::Running, 1, 0));
        gate.open();
        let handle = enqueued.join().unwrap();
        assert!(!handle.wait(LONG).unwrap(), "its time-out has not come");
        let task = looker.get(id).unwrap();
        assert_eq!((task.state, task.attempt, task.crashes), (State::Succeeded, 1, 0));
        assert_eq!(task.finished_at, Some(lab.now()));
        assert_eq!(looker.attempts(id).unwrap().len(), 1, "it ran once");
    });
}

#[test]
fn a_clock_that_is_set_forward_takes_no_running_task_away() {
    Lab::each_way(|lab| check_running(lab, |lab| lab.clock.advance(10 * YEAR)));
}

#[test]
fn a_clock_that_is_set_back_takes_no_running_task_away() {
    Lab::each_way(|lab| check_running(lab, |lab| set_back(lab, 10 * YEAR)));
}

/// G9: what is scheduled waits until the clock, as it stands then, has come to the due time.
#[test]
fn a_clock_that_is_set_back_holds_up_what_is_scheduled() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = lab.builder().register(note).state(log.clone()).open().unwrap();
        let later = client.enqueue(note::with("later").run_after(HOUR)).unwrap();
        set_back(lab, 2 * HOUR);
        for _ in 0..2 {
            lab.advance(&client, HOUR);
            let now = client.enqueue(note::with("now")).unwrap();
            lab.wait(&client, &now).unwrap();
        }
        let task = later.refresh().unwrap();
        assert_eq!((task.state, task.reason), (State::Scheduled, Some(Reason::Delayed)));
        lab.advance(&client, HOUR);
        lab.wait(&client, &later).unwrap();
        assert_eq!(log.words(), ["now", "now", "later"]);
        assert_eq!(later.refresh().unwrap().started_at, Some(lab.now()));
    });
}

/// G9: a task whose time had come stays ready, and runs once.
#[test]
fn what_is_ready_stays_ready_when_the_clock_is_set_back() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let storing = lab.builder().mode(Mode::Hold).register(note).open().unwrap();
        let handle = storing.enqueue(note::with("ready")).unwrap();
        set_back(lab, YEAR);
        let client = lab.builder().register(note).state(log.clone()).open().unwrap();
        let handle = client.handle::<note>(handle.id()).unwrap();
        lab.wait(&client, &handle).unwrap();
        let newer = client.enqueue(note::with("newer")).unwrap();
        lab.wait(&client, &newer).unwrap();
        assert_eq!(log.words(), ["ready", "newer"]);
        let task = handle.refresh().unwrap();
        assert_eq!((task.state, task.attempt), (State::Succeeded, 1));
        assert!(task.due_at > task.started_at.unwrap(), "the records show the step");
    });
}

/// G3, G9: a retry is scheduled work like any other; each attempt runs once.
#[test]
fn a_retry_goes_by_the_clock_through_steps_in_both_directions() {
    Lab::each_way(|lab| {
        let client = lab.builder().retry_in_place(false).register(fail_once).open().unwrap();
        let handle = client.enqueue(fail_once::with()).unwrap();
        lab.settle(&client);
        eventually("the first attempt has failed", || {
            handle.refresh().unwrap().reason == Some(Reason::Retry)
        });
        set_back(lab, HOUR);
        lab.advance(&client, HOUR);
        lab.settle(&client);
        assert_eq!(handle.refresh().unwrap().attempt, 1, "an hour was taken from its delay");
        lab.advance(&client, YEAR);
        assert_eq!(lab.wait(&client, &handle).unwrap(), 2);
        assert_eq!(client.attempts(handle.id()).unwrap().len(), 2);
    });
}

/// G9: a step forward makes due, and expires, all that lies in between; each task ends once.
#[test]
fn a_clock_that_is_set_forward_makes_due_what_lies_in_between() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = lab.builder().workers(1).register(note).state(log.clone()).open().unwrap();
        let far = client.enqueue(note::with("far").run_after(2 * YEAR)).unwrap();
        let due = client.enqueue(note::with("due").run_after(HOUR)).unwrap();
        let stale = note::with("stale").run_after(HOUR).expires_after(HOUR);
        let stale = client.enqueue(stale).unwrap();
        lab.advance(&client, YEAR);
        lab.wait(&client, &due).unwrap();
        assert_eq!(lab.ended(&client, &stale).reason, Some(Reason::Expired));
        assert_eq!(far.refresh().unwrap().state, State::Scheduled);
        set_back(lab, YEAR);
        lab.settle(&client);
        assert_eq!(log.words(), ["due"], "what has run does not become due again");
    });
}

/// A clock that tells nobody when it is set, as the machine's.
struct Silent(AtomicI64);

impl Clock for Silent {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// G9: nothing tells a pool that the machine's clock was set, so it looks every 30 s. Only a pool waits
/// for a clock.
#[test]
#[ignore = "needs 40 s"]
fn a_pool_that_is_told_nothing_sees_a_step_of_the_clock_within_30_s() {
    let (lab, log) = (Lab::pool(), Log::default());
    let clock = Arc::new(Silent(AtomicI64::new(lab.now().as_millis())));
    let builder = lab.builder().register(note).state(log.clone());
    let client = builder.clock(Arc::clone(&clock) as Arc<dyn Clock>).open().unwrap();
    let later = client.enqueue(note::with("later").run_after(HOUR)).unwrap();
    // Long enough for the keeper to have gone to rest with the old time.
    assert_eq!(later.wait(Duration::from_secs(2)).unwrap_err().code(), "timeout");
    clock.0.fetch_add(i64::try_from(HOUR.as_millis()).unwrap(), Ordering::SeqCst);
    later.wait(Duration::from_secs(35)).unwrap();
    assert_eq!(log.words(), ["later"]);
}
