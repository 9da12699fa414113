//! Somebody looks after the queue while it works: what runs is left alone or asked to stop, threads come
//! and go, an owner is erased for good, and nobody waits in vain without being told why.

use std::ops::ControlFlow;
use std::time::Duration;

use litework::{
    Cause, Client, Context, EventKind, Exclusive, Failure, Filter, Mode, Rate, Result, Scope,
    State, TaskId, TaskRecord, TaskRef, task,
};
use tracing::Level;

use crate::common::{Events, Gate, Keeps, LONG, Lab, Log, Place, Runs, eventually};
use crate::under_way::{begin, newest};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Waits at the gate.
#[task(attempts = 1)]
fn hold(ctx: &Context, note: &str) -> Result<String> {
    ctx.state::<Log>()?.note(note);
    ctx.state::<Gate>()?.pass();
    ctx.check()?;
    Ok(note.to_owned())
}

#[task(queue = "mail", attempts = 3, retry = [1h])]
fn send(ctx: &Context, to: &str) -> Result<()> {
    ctx.state::<Log>()?.note(to);
    match to {
        "nobody" => Err("no such address")?,
        "later" if ctx.attempt() == 1 => Err(Failure::snooze(HOUR)),
        _ => Ok(()),
    }
}

/// Leaves all it was given.
#[task(queue = "mail", attempts = 1)]
fn archive(ctx: &Context, text: &str) -> Result<()> {
    ctx.artifact("note").text(text)?;
    let mut file = ctx.artifact("letter.txt").file()?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.finish()?;
    Ok(())
}

struct Office {
    client: Client,
    log: Log,
    gate: Gate,
}

fn office(lab: &Lab) -> Office {
    let (log, gate) = (Log::default(), Gate::default());
    let builder = lab.builder().register(hold).register(send).register(archive);
    let client = builder.state(log.clone()).state(gate.clone()).open().unwrap();
    Office { client, log, gate }
}

/// Stores tasks and runs none.
fn clerk(lab: &Lab) -> Client {
    lab.builder().mode(Mode::Hold).register(hold).register(send).open().unwrap()
}

/// Somebody else; tasks in memory have one client.
fn beside(lab: &Lab, office: &Office) -> Client {
    if lab.keeps_tasks() { clerk(lab) } else { office.client.clone() }
}

fn code<T>(answer: std::result::Result<T, litework::Error>) -> &'static str {
    answer.map(|_| ()).unwrap_err().code()
}

#[test]
fn what_runs_is_neither_deleted_nor_moved_nor_retried() {
    Lab::each_engine(|lab| {
        let office = office(lab);
        std::thread::scope(|scope| {
            let holding = begin(scope, lab, &office.client, hold::with("a"));
            office.gate.wait_for(1);
            let id = newest(&office.client, "hold").id;
            let moment = lab.now().after(HOUR);
            assert_eq!(code(office.client.delete(id)), "running");
            assert_eq!(code(office.client.reschedule(id, moment)), "running");
            assert_eq!(code(office.client.retry(id)), "not_finished");
            let why = office.client.why(id).unwrap();
            assert!(matches!(why.cause, Cause::Running { stopping: false, .. }), "{why:?}");
            // Others that are meant along with it are deleted all the same.
            let clerk = beside(lab, &office);
            let other = clerk.enqueue(hold::with("b").run_after(HOUR)).unwrap();
            let done = office.client.bulk(&Filter::new()).delete().unwrap();
            assert_eq!((done.done, done.left), (1, 1));
            assert_eq!(code(other.refresh()), "not_found");
            office.gate.open();
            assert_eq!(holding.join().unwrap().wait(LONG).unwrap(), "a");
        });
    });
}

#[test]
fn a_copy_of_what_runs_runs_beside_it() {
    Lab::each_way(|lab| {
        let office = office(lab);
        std::thread::scope(|scope| {
            let holding = begin(scope, lab, &office.client, hold::with("a"));
            office.gate.wait_for(1);
            let clerk = clerk(lab);
            let id = newest(&clerk, "hold").id;
            let copy = clerk.edit_as_copy(id, |edit| edit.argument("note", "b")).unwrap();
            office.gate.open();
            lab.settle(&office.client);
            if lab.runs(Runs::Inline) {
                // A caller runs what it enqueues, and the clerk enqueued this one.
                office.client.run_pending(&litework::Pending::all()).unwrap();
            }
            assert_eq!(holding.join().unwrap().wait(LONG).unwrap(), "a");
            let copied = office.client.handle::<hold>(copy.id).unwrap();
            assert_eq!(copied.wait(LONG).unwrap(), "b");
        });
    });
}

#[test]
fn cancelling_all_asks_what_runs_to_stop() {
    Lab::each_engine(|lab| {
        let office = office(lab);
        std::thread::scope(|scope| {
            let holding = begin(scope, lab, &office.client, hold::with("a"));
            office.gate.wait_for(1);
            let clerk = beside(lab, &office);
            let later = clerk.enqueue(hold::with("b").run_after(HOUR)).unwrap();
            let done = clerk.bulk(&Filter::new().kind("hold")).cancel().unwrap();
            assert_eq!((done.done, done.asked, done.left), (1, 1, 0));
            let why = clerk.why(newest_running(&clerk).id).unwrap();
            assert!(matches!(why.cause, Cause::Running { stopping: true, .. }), "{why:?}");
            office.gate.open();
            assert_eq!(code(holding.join().unwrap().wait(LONG)), "cancelled");
            assert_eq!(later.refresh().unwrap().state, State::Cancelled);
        });
    });
}

#[test]
fn whoever_does_something_to_many_hears_how_far_it_has_come_and_may_end_it() {
    Lab::each_engine(|lab| {
        let clerk = clerk(lab);
        clerk.enqueue_many((0..3_000).map(|n| send::with(format!("{n}")).run_after(HOUR))).unwrap();
        let later = Filter::new().state(State::Scheduled);
        let mut heard = Vec::new();
        let bulk = clerk.bulk(&later).on_slice(|so_far| {
            heard.push(so_far.done);
            if heard.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let done = bulk.cancel().unwrap();
        assert!(done.stopped && heard.len() == 2 && heard[0] < heard[1], "{done:?} {heard:?}");
        assert_eq!((heard[1], clerk.count(&later).unwrap()), (done.done, 3_000 - done.done));
        let rest = clerk.bulk(&later).on_slice(|_| ControlFlow::Continue(())).cancel().unwrap();
        assert_eq!((rest.done, rest.stopped), (3_000 - done.done, false));
    });
}

fn newest_running(client: &Client) -> TaskRecord {
    client.list(&Filter::new().state(State::Running), None, 1).unwrap().tasks.remove(0)
}

#[test]
fn an_erased_owner_leaves_no_byte_in_the_file() {
    Lab::each_way(|lab| {
        const SECRET: &str = "the number of her account is 4711";
        let office = office(lab);
        let long = SECRET.repeat(200);
        let calls = [send::with(SECRET), send::with("nobody").tag(SECRET), send::with(long)];
        for call in calls {
            let handle = office.client.enqueue(call.owner("ada").meta("why", SECRET)).unwrap();
            lab.settle(&office.client);
            eventually("it was tried", || handle.refresh().unwrap().attempt > 0);
            eventually("it stands still", || handle.refresh().unwrap().state != State::Running);
        }
        let archived = archive::with(SECRET.repeat(20_000)).owner("ada");
        let archived = office.client.enqueue(archived).unwrap();
        lab.wait(&office.client, &archived).unwrap();
        assert_eq!(office.client.artifacts(archived.id()).unwrap().len(), 2);
        let kept = office.client.enqueue(send::with("bob").owner("bob")).unwrap();
        lab.settle(&office.client);
        kept.wait(LONG).unwrap();
        let erased = office.client.erase("ada").unwrap();
        assert_eq!((erased.tasks, erased.running.len()), (4, 0));
        assert!(erased.log_emptied);
        office.client.shutdown(HOUR).unwrap();
        drop((kept, office));
        let conn = rusqlite::Connection::open(lab.path()).unwrap();
        let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM litework_payload"), 0);
        assert_eq!(count("SELECT count(*) FROM litework_error"), 0);
        assert_eq!(count("SELECT count(*) FROM litework_artifact"), 0);
        assert_eq!(count("SELECT count(*) FROM litework_part"), 0);
        drop(conn);
        let folder = lab.path().parent().unwrap().to_owned();
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let found = bytes.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
            assert!(!found, "{}", file.display());
        }
    });
}

#[test]
fn what_of_an_owner_runs_is_asked_to_stop_and_erased_later() {
    Lab::each_engine(|lab| {
        let office = office(lab);
        std::thread::scope(|scope| {
            let holding = begin(scope, lab, &office.client, hold::with("a").owner("ada"));
            office.gate.wait_for(1);
            let id = newest(&office.client, "hold").id;
            let erased = office.client.erase("ada").unwrap();
            assert_eq!((erased.tasks, erased.running), (0, vec![id]));
            assert!(!erased.log_emptied);
            office.gate.open();
            assert_eq!(code(holding.join().unwrap().wait(LONG)), "cancelled");
            assert_eq!(office.client.erase("ada").unwrap().tasks, 1);
        });
    });
}

/// Changes a row as another program might that goes past all checks.
fn damage(lab: &Lab, id: TaskId, change: &str) {
    let stranger = rusqlite::Connection::open(lab.path()).unwrap();
    stranger.pragma_update(None, "ignore_check_constraints", true).unwrap();
    stranger.pragma_update(None, "foreign_keys", false).unwrap();
    let sql = format!("UPDATE litework_task SET {change} WHERE id = ?1");
    let row: i64 = id.to_string().split_once('-').unwrap().0.parse().unwrap();
    assert_eq!(stranger.execute(&sql, [row]).unwrap(), 1);
}

/// Only a file can be damaged, and nobody runs what is looked after here.
#[test]
fn a_newest_row_that_is_damaged_does_not_hide_the_others_from_those_who_look_after_them() {
    let lab = Lab::inline();
    let clerk = clerk(&lab);
    let later = |to: &str| clerk.enqueue(send::with(to).owner("ada").run_after(HOUR)).unwrap();
    let handles = ["a", "b", "c"].map(later);
    damage(&lab, handles[2].id(), "tags = CAST(x'22ff22' AS TEXT)");
    assert_eq!(clerk.list(&Filter::new(), None, 1).unwrap().bad.len(), 1);
    let cancelled = clerk.bulk(&Filter::new()).cancel().unwrap();
    assert_eq!((cancelled.done, cancelled.left), (3, 0));
    assert_eq!(handles[0].refresh().unwrap().state, State::Cancelled);
    let erased = clerk.erase("ada").unwrap();
    assert_eq!((erased.tasks, erased.running.len(), erased.left), (3, 0, 0));
    assert_eq!(clerk.count(&Filter::new()).unwrap(), 0);
}

/// Only a file can be damaged, and nobody runs what is erased here.
#[test]
fn an_erase_says_what_it_had_to_leave_and_calls_nothing_running_that_only_came_meanwhile() {
    let lab = Lab::inline();
    // Whoever is cancelled sends one more.
    let builder = lab.builder().mode(Mode::Hold).register(hold).register(send);
    let client = builder.on(EventKind::Cancelled, |client, _| {
        client.enqueue(send::with("meanwhile").owner("ada").run_after(HOUR)).unwrap();
    });
    let client = client.open().unwrap();
    let later = |to: &str| client.enqueue(send::with(to).owner("ada").run_after(HOUR)).unwrap();
    let handles = ["a", "b", "c"].map(later);
    damage(&lab, handles[1].id(), "lane = 99");
    let erased = client.erase("ada").unwrap();
    assert_eq!((erased.tasks, erased.running, erased.left), (2, vec![], 1));
    assert_eq!(client.count(&Filter::new().owner("ada")).unwrap(), 3, "one of them is damaged");
}

/// Only a pool has threads to set.
#[test]
fn more_threads_run_more_at_a_time_and_fewer_end_when_their_bodies_have() {
    for keeps in [Keeps::Memory, Place::file(Runs::Pool).keeps] {
        set_threads(&Lab::new(Place { keeps, runs: Runs::Pool }));
    }
}

fn set_threads(lab: &Lab) {
    let office = office(lab);
    office.client.set_workers(1).unwrap();
    let handles = office.client.enqueue_many((0..4).map(|n| hold::with(format!("{n}")))).unwrap();
    office.gate.wait_for(1);
    assert_eq!(office.log.len(), 1, "one thread, one body");
    let next = office.client.why(handles[1].id()).unwrap();
    assert_eq!(next.text, "it is the next, and the one thread is busy");
    let last = handles.last().unwrap().id();
    let ahead = office.client.why(last).unwrap().cause;
    assert_eq!(ahead, Cause::Ahead { tasks: 2 });
    office.client.set_workers(3).unwrap();
    office.gate.wait_for(3);
    assert_eq!(office.client.why(last).unwrap().cause, Cause::Busy { threads: 3 });
    let running = office.client.workers().unwrap().remove(0).running;
    let ids: Vec<_> = handles.iter().map(litework::Handle::id).collect();
    assert_eq!(running.iter().map(|task| task.id).collect::<Vec<_>>(), ids[..3]);
    // Two are one too many each, and one of those that stay takes the last.
    office.client.set_workers(1).unwrap();
    assert_eq!(office.client.workers().unwrap()[0].threads, 1);
    office.gate.open();
    for handle in &handles {
        handle.wait(LONG).unwrap();
    }
    office.client.set_workers(2).unwrap();
    let again = office.client.enqueue(hold::with("again")).unwrap();
    assert_eq!(again.wait(LONG).unwrap(), "again");
}

#[test]
fn whoever_waits_for_a_time_is_told_which() {
    Lab::each_engine(|lab| {
        // Else a caller tries again at once.
        let builder = lab.builder().register(send).retry_in_place(false);
        let client = builder.state(Log::default()).open().unwrap();
        let failed = client.enqueue(send::with("nobody")).unwrap();
        let snoozed = client.enqueue(send::with("later")).unwrap();
        lab.settle(&client);
        for (handle, cause) in [(failed, Cause::BackOff { attempt: 1 }), (snoozed, Cause::Snoozed)]
        {
            eventually("it waits", || handle.refresh().unwrap().state == State::Scheduled);
            let why = client.why(handle.id()).unwrap();
            assert_eq!((why.cause, why.until), (cause, Some(lab.now().after(HOUR))));
        }
    });
}

#[test]
fn whoever_waits_for_a_process_is_told_what_it_must_do() {
    Lab::each_way(|lab| {
        let clerk = clerk(lab);
        let handle = clerk.enqueue(send::with("ada")).unwrap();
        let cause = || clerk.why(handle.id()).unwrap().cause;
        assert_eq!(cause(), Cause::NoWorker);
        let holder = lab.builder().mode(Mode::Pool).register(hold).state(Gate::default());
        let others = holder.state(Log::default()).open().unwrap();
        assert_eq!(cause(), Cause::NoHandler, "it serves all queues, and knows one kind");
        others.shutdown(HOUR).unwrap();
        assert_eq!(cause(), Cause::NoWorker);
        let office = office(lab);
        lab.settle(&office.client);
        if lab.runs(Runs::Inline) {
            office.client.run_pending(&litework::Pending::all()).unwrap();
        }
        office.client.handle::<send>(handle.id()).unwrap().wait(LONG).unwrap();
        assert_eq!(cause(), Cause::Ended { state: State::Succeeded });
    });
}

/// Only memory, where whoever runs tasks is the one who asks; the story above is told of files.
#[test]
fn whoever_waits_in_memory_is_told_what_its_program_lacks() {
    let memory = |runs| Lab::new(Place { keeps: Keeps::Memory, runs });
    for (runs, cause) in [
        (Runs::RunPending, Cause::NoWorker),
        (Runs::Inline, Cause::NoWorker),
        (Runs::Pool, Cause::NoHandler),
    ] {
        let lab = memory(runs);
        let builder = lab.builder().register(hold).declare::<<send as TaskRef>::Task>();
        let client = builder.state(Log::default()).state(Gate::default()).open().unwrap();
        let handle = client.enqueue(send::with("ada")).unwrap();
        lab.settle(&client);
        assert_eq!(client.why(handle.id()).unwrap().cause, cause, "{}", lab.place);
    }
}

#[test]
fn whoever_waits_for_a_lock_is_told_who_holds_it() {
    Lab::each_engine(|lab| {
        let office = office(lab);
        std::thread::scope(|scope| {
            let call = || hold::with("a").exclusive(Exclusive::lock("desk").wait());
            let holding = begin(scope, lab, &office.client, call());
            office.gate.wait_for(1);
            let holder = newest(&office.client, "hold").id;
            let waiting = beside(lab, &office).enqueue(call()).unwrap().id();
            let why = office.client.why(waiting).unwrap();
            let cause = Cause::Lock { name: "desk".to_owned(), holder: Some(holder) };
            assert_eq!((why.cause, why.until), (cause, None));
            assert_eq!(why.text, format!("it waits for the lock desk, which task {holder} holds"));
            office.gate.open();
            holding.join().unwrap().wait(LONG).unwrap();
            office.client.run_pending(&litework::Pending::all()).unwrap();
            office.client.handle::<hold>(waiting).unwrap().wait(LONG).unwrap();
        });
    });
}

#[test]
fn whoever_waits_for_a_limit_of_his_queue_is_told_which_and_until_when() {
    Lab::each_engine(|lab| {
        let builder = lab.builder().register(send).mode(Mode::Hold).state(Log::default());
        let client = builder.rate("mail", Rate::per(1, HOUR)).open().unwrap();
        let handles = client.enqueue_many([send::with("a"), send::with("b")]).unwrap();
        assert_eq!(client.run_pending(&litework::Pending::all()).unwrap().succeeded, 1);
        let why = client.why(handles[1].id()).unwrap();
        let until = Some(lab.now().after(HOUR));
        assert_eq!((why.cause, why.until), (Cause::Rate { name: "queue mail".into() }, until));
        lab.clock.advance(HOUR);
        assert_eq!(client.why(handles[1].id()).unwrap().cause, Cause::NoWorker);
    });
}

#[test]
fn what_nobody_runs_is_listed_until_somebody_does() {
    Lab::each_way(|lab| {
        let clerk = clerk(lab);
        let handle = clerk.enqueue(send::with("ada")).unwrap();
        clerk.enqueue(send::with("bob").run_after(HOUR)).unwrap();
        let unserved = clerk.unserved().unwrap();
        assert_eq!(unserved.len(), 1);
        let one = &unserved[0];
        assert_eq!((one.queue.as_str(), one.kind.as_str()), ("mail", "send"));
        assert!(!one.queue_is_served);
        let office = office(lab);
        lab.settle(&office.client);
        office.client.handle::<send>(handle.id()).unwrap();
        if lab.runs(Runs::Pool) {
            assert_eq!(clerk.unserved().unwrap(), [], "a pool runs it");
        }
    });
}

/// Only enqueues and copies: nothing of it runs, and what another program has written into the file no schema admits.
#[test]
fn copies_of_many_pass_over_rows_that_are_damaged() {
    let lab = Lab::new(Place::file(Runs::RunPending));
    let clerk = clerk(&lab);
    let handles = clerk.enqueue_many(["a", "b", "c", "d"].map(send::with)).unwrap();
    let locked = |to: &str| send::with(to).exclusive(Exclusive::lock(format!("at {to}")).wait());
    let bound = clerk.enqueue_many(["f", "g", "h"].map(locked)).unwrap();
    let stranger = rusqlite::Connection::open(lab.path()).unwrap();
    stranger.pragma_update(None, "ignore_check_constraints", true).unwrap();
    stranger
        .execute_batch(
            "UPDATE litework_task SET priority = 120 WHERE id = 1;
             UPDATE litework_task SET arguments = 'no JSON' WHERE id = 3;
             UPDATE litework_task SET ties = CAST(x'ff' AS TEXT) WHERE id = 5;
             UPDATE litework_task SET ties = '{' WHERE id = 6;
             UPDATE litework_task SET wait_key = CAST(x'ff' AS TEXT) WHERE id = 7;",
        )
        .unwrap();
    for (handle, column) in bound.iter().zip(["ties", "ties", "wait_key"]) {
        let refused = clerk.edit_as_copy(handle.id(), |edit| edit.argument("to", "e")).unwrap_err();
        assert!(refused.to_string().contains(column) && refused.code() == "bad_row", "{refused}");
    }
    let done = clerk.bulk(&Filter::new()).edit_as_copy(|edit| edit.argument("to", "e")).unwrap();
    assert_eq!((done.done, done.left), (2, 5));
    for handle in [&handles[1], &handles[3]] {
        assert_eq!(handle.refresh().unwrap().state, State::Cancelled);
    }
}

/// Only a client that enqueues for others warns of what they do not run.
#[test]
fn a_program_that_enqueues_for_nobody_is_warned_once() {
    let lab = Lab::pool();
    let client = lab.builder().mode(Mode::Enqueue).register(send).open().unwrap();
    let said = Events::of(|| {
        for to in ["a", "b", "c"] {
            client.enqueue(send::with(to)).unwrap();
        }
    });
    let warned = said.iter().filter(|(level, _)| *level == Level::WARN);
    let warned: Vec<&str> = warned.map(|(_, text)| text.as_str()).collect();
    assert_eq!(warned, ["tasks are ready, and no live process runs them"]);
}

#[test]
fn what_is_paused_is_told_apart_and_is_kept_for_the_next_program() {
    Lab::each_way(|lab| {
        let (first, mail, kind) = (clerk(lab), Scope::queue("mail"), Scope::kind("hold"));
        assert!(first.pause(&mail).unwrap() && first.pause(&kind).unwrap());
        assert!(!first.pause(&mail).unwrap(), "it was");
        let since = lab.now();
        lab.clock.advance(HOUR);
        first.shutdown(HOUR).unwrap();
        let next = clerk(lab);
        let paused: Vec<_> =
            next.paused().unwrap().into_iter().map(|one| (one.scope, one.since)).collect();
        assert_eq!(paused, [(mail.clone(), since), (kind.clone(), since)]);
        let handle = next.enqueue(send::with("ada")).unwrap();
        let why = next.why(handle.id()).unwrap();
        assert_eq!(why.cause, Cause::Paused { scope: mail.clone(), since });
        assert_eq!(next.unserved().unwrap(), [], "nobody is to run it");
        assert!(next.resume(&mail).unwrap() && !next.resume(&mail).unwrap());
        assert_eq!(next.why(handle.id()).unwrap().cause, Cause::NoWorker);
        assert_eq!(code(next.pause(&Scope::queue("no queue"))), "bad_queue");
        assert_eq!(code(next.pause(&Scope::kind(""))), "bad_name");
    });
}
