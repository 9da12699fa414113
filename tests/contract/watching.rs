//! Whoever watches a task is given the whole of it, at first and after each change, until there will be no more.

use std::sync::mpsc;
use std::time::Duration;

use litework::{
    Context, Flow, Result, Snapshot, State, TaskId, WATCH_IDS_MAX, Watch, Watcher, task,
};

use crate::common::{Gate, LONG, Lab, block_on};

crate::everywhere! {
    a_task_is_watched_from_what_it_is_to_its_end,
    a_late_watcher_gets_what_is_there_first_and_no_more_of_what_has_ended,
    what_a_body_says_comes_before_it_is_written,
    attempts_and_artifacts_are_told_of,
    an_owner_hears_of_his_own_tasks_only,
    a_batch_and_its_members_are_watched,
    a_callback_is_called_until_it_is_dropped_and_may_panic,
    a_callback_may_hold_the_client_it_watches,
    a_watcher_ends_with_its_client,
    a_future_is_woken_by_a_change,
    what_cannot_be_watched_is_refused,
}

const MINUTE: Duration = Duration::from_secs(60);

#[task(attempts = 2, retry = [0s])]
fn work(ctx: &Context, fails: u32) -> Result<u32> {
    ctx.progress().total(2).advance(2);
    ctx.artifact("note").text("done")?;
    if ctx.attempt() <= fails { Err("again")? } else { Ok(ctx.attempt()) }
}

fn later(fails: u32) -> litework::Call<impl litework::Signature> {
    work::with(fails).run_after(MINUTE)
}

fn next(watcher: &Watcher) -> Snapshot {
    watcher.recv_timeout(LONG).expect("a snapshot in time")
}

/// The last that comes of one that ends.
fn last(watcher: &Watcher) -> Snapshot {
    let mut last = next(watcher);
    while let Some(snapshot) = watcher.recv() {
        last = snapshot;
    }
    last
}

fn a_task_is_watched_from_what_it_is_to_its_end(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let handle = client.enqueue(later(0)).unwrap();
    let watcher = client.watch(handle.id()).unwrap();
    let first = next(&watcher);
    assert_eq!((first.task.id, first.task.state), (handle.id(), State::Scheduled));
    assert_eq!((first.progress.as_ref(), first.artifacts.len()), (None, 0));
    assert!(watcher.try_recv().is_none(), "nothing has changed");
    lab.advance(&client, MINUTE);
    let last = last(&watcher);
    assert_eq!((last.task.state, last.task.result.as_deref()), (State::Succeeded, Some("1")));
    assert_eq!((last.progress.unwrap().done, last.artifacts[0].name.as_str()), (2, "note"));
    assert!(watcher.recv().is_none(), "there will be no more");
}

fn a_late_watcher_gets_what_is_there_first_and_no_more_of_what_has_ended(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let ended = client.enqueue(work::with(0)).unwrap();
    lab.wait(&client, &ended).unwrap();
    let waits = client.enqueue(later(0)).unwrap();
    let watcher = client.watch(Watch::tasks([ended.id(), waits.id()])).unwrap();
    let first = [next(&watcher), next(&watcher)].map(|snapshot| snapshot.task.state);
    assert_eq!(first, [State::Succeeded, State::Scheduled]);
    client.cancel(waits.id()).unwrap();
    assert_eq!(next(&watcher).task.state, State::Cancelled);
    assert!(watcher.recv().is_none());
}

fn what_a_body_says_comes_before_it_is_written(lab: &Lab) {
    #[task]
    fn speak(ctx: &Context) -> Result<()> {
        let gates = ctx.state::<[Gate; 3]>()?;
        for gate in gates {
            ctx.progress().total(3).advance(1);
            gate.pass();
        }
        Ok(())
    }
    let gates = [Gate::default(), Gate::default(), Gate::default()];
    let client = lab.builder().register(speak).state(gates.clone()).open().unwrap();
    let handle = client.enqueue(speak::with().run_after(MINUTE)).unwrap();
    let watcher = client.watch(handle.id()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| lab.advance(&client, MINUTE));
        for (gate, done) in gates.iter().zip(1..) {
            let is_there = |snapshot: &Snapshot| {
                snapshot.progress.as_ref().is_some_and(|progress| progress.done == done)
            };
            while !is_there(&next(&watcher)) {}
            gate.open();
        }
    });
    assert_eq!(last(&watcher).task.state, State::Succeeded);
}

fn attempts_and_artifacts_are_told_of(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let handle = client.enqueue(later(2)).unwrap();
    let watcher = client.watch(handle.id()).unwrap();
    let first = next(&watcher);
    lab.advance(&client, MINUTE);
    let last = last(&watcher);
    assert_eq!((last.task.state, last.task.attempt), (State::Failed, 2));
    assert_eq!(last.artifacts[0].attempt, 2);
    assert_ne!(first.revision(), last.revision());
    assert_eq!(last.revision(), last.clone().revision());
}

fn an_owner_hears_of_his_own_tasks_only(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let before = client.enqueue(later(0).owner("ada")).unwrap();
    let (ada, all) =
        (client.watch(Watch::owner("ada")).unwrap(), client.watch(Watch::all()).unwrap());
    assert_eq!(next(&ada).task.id, before.id());
    let other = client.enqueue(later(0).owner("bob")).unwrap();
    let own = client.enqueue(later(0).owner("ada")).unwrap();
    assert_eq!(next(&ada).task.id, own.id(), "one that comes later");
    client.cancel(other.id()).unwrap();
    client.cancel(own.id()).unwrap();
    let ended = next(&ada);
    assert_eq!((ended.task.id, ended.task.state), (own.id(), State::Cancelled));
    let mut seen: Vec<TaskId> = Vec::new();
    while !(seen.contains(&other.id()) && seen.contains(&own.id())) {
        seen.push(next(&all).task.id);
    }
    assert!(ada.try_recv().is_none());
}

fn a_batch_and_its_members_are_watched(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let batch = client.enqueue_flow(Flow::group("pair", [later(0), later(0)])).unwrap();
    let (whole, members) =
        (client.watch(batch.id()).unwrap(), client.watch(Watch::batch(batch.id())).unwrap());
    assert_eq!(next(&whole).task.state, State::Waiting);
    let first = [next(&members), next(&members)].map(|snapshot| snapshot.task.state);
    assert_eq!(first, [State::Scheduled; 2]);
    lab.advance(&client, MINUTE);
    let whole = last(&whole);
    assert_eq!((whole.task.state, whole.progress.unwrap().done), (State::Succeeded, 4));
    let mut ended = 0;
    while ended < 2 {
        ended += usize::from(next(&members).task.state == State::Succeeded);
    }
}

fn a_callback_is_called_until_it_is_dropped_and_may_panic(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let handle = client.enqueue(later(0)).unwrap();
    let (told, states) = mpsc::channel();
    let watching = client.on_change(handle.id(), move |snapshot| {
        told.send(snapshot.task.state).unwrap();
        assert!(snapshot.task.state.is_final(), "the window is not open yet");
    });
    let watching = watching.unwrap();
    assert_eq!(states.recv_timeout(LONG), Ok(State::Scheduled));
    client.cancel(handle.id()).unwrap();
    assert_eq!(states.recv_timeout(LONG), Ok(State::Cancelled));
    drop(watching);
    let other = client.enqueue(later(0)).unwrap();
    let (told, states) = mpsc::channel();
    drop(client.on_change(other.id(), move |snapshot| told.send(snapshot.task.state).unwrap()));
    // It goes with its callback, at once or after it was told what is there.
    while states.recv_timeout(LONG).is_ok() {}
    assert_eq!(states.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

fn a_callback_may_hold_the_client_it_watches(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let handle = client.enqueue(later(0)).unwrap();
    let (told, states) = mpsc::channel();
    let held = client.clone();
    let watching = client.on_change(handle.id(), move |snapshot| {
        let same = held.get(snapshot.task.id).unwrap().state;
        told.send(same).unwrap();
    });
    let watching = watching.unwrap();
    assert_eq!(states.recv_timeout(LONG), Ok(State::Scheduled));
    drop(client);
    // It goes with its callback, and with it the last client.
    drop(watching);
    assert_eq!(states.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
}

fn a_watcher_ends_with_its_client(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let handle = client.enqueue(later(0)).unwrap();
    let watchers = [client.watch(handle.id()).unwrap(), client.watch(Watch::all()).unwrap()];
    for watcher in &watchers {
        assert_eq!(next(watcher).task.state, State::Scheduled);
    }
    client.shutdown(Duration::ZERO).unwrap();
    assert!(watchers.iter().all(|watcher| watcher.recv().is_none()));
    assert_eq!(client.watch(handle.id()).unwrap_err().code(), "closed");
}

fn a_future_is_woken_by_a_change(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let handle = client.enqueue(later(0)).unwrap();
    let watcher = client.watch(handle.id()).unwrap();
    let states = std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            block_on(async {
                let mut states = Vec::new();
                while let Some(snapshot) = watcher.next().await {
                    states.push(snapshot.task.state);
                    if states.len() == 1 {
                        client.cancel(handle.id()).unwrap();
                    }
                }
                states
            })
        });
        heard.join().unwrap()
    });
    assert_eq!(states, [State::Scheduled, State::Cancelled]);
}

fn what_cannot_be_watched_is_refused(lab: &Lab) {
    let client = lab.builder().register(work).open().unwrap();
    let id: TaskId = "1-0000000000000".parse().unwrap();
    let many = Watch::tasks(vec![id; WATCH_IDS_MAX + 1]);
    assert_eq!(client.watch(many).unwrap_err().code(), "too_many_ids");
    assert_eq!(client.watch(Watch::owner("")).unwrap_err().code(), "bad_owner");
    // One that is not there has ended for whoever waits for it.
    assert!(client.watch(id).unwrap().recv().is_none());
}
