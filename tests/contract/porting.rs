//! Tasks are carried from one queue to another as lines of text: the same tasks, without secrets unless asked, and each
//! line that is refused is named.

use std::io::{Error as IoError, Read, Write};
use std::time::Duration;

use litework::{
    AttemptRecord, Client, Context, Error, EventKind, EventRecord, Exclusive, Export, Exported,
    Failure, Filter, Flow, Import, Mode, Pending, Reason, Result, State, TaskId, TaskRecord,
    Unique, task,
};
use serde_json::Value;

use crate::common::Lab;

crate::everywhere! {
    a_round_trip_gives_the_same_tasks,
    a_flow_goes_on_where_it_was_carried_to,
    only_what_passes_the_filter_is_written,
    secrets_are_hidden_unless_asked_for,
    what_is_stored_already_is_refused_or_passed_over,
    a_line_that_is_refused_ends_it_after_what_stands_before,
    what_ran_lands_as_if_it_had_been_handed_back,
    what_ends_as_it_lands_ends_what_comes_after_it_and_is_followed,
    what_waited_goes_on_as_it_would_have_gone_on_there,
    what_is_here_already_lets_go_on_what_comes_later,
    no_task_joins_a_batch_that_is_another_here,
    a_pipe_that_fails_is_told,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task(attempts = 3)]
fn send(ctx: &Context, to: &str, text: &str) -> Result<usize> {
    ctx.step("look-up", || Ok(to.len()))?;
    match to {
        "nobody" => Err(Failure::give_up("no such address").code("gone")),
        "busy" => Err("busy, password=hunter2")?,
        _ => Ok(text.len()),
    }
}

#[task]
fn login(user: &str, password: &str) -> String {
    format!("{user} has token={password}")
}

#[task]
fn gather(words: Vec<Option<usize>>) -> usize {
    words.into_iter().flatten().sum()
}

#[task]
fn mourn(event: EventRecord) -> String {
    event.kind
}

/// A client of the queue of this name that runs what it is told to.
fn open(lab: &Lab, name: &str) -> Client {
    let builder = Client::builder(lab.path().with_file_name(name)).clock(lab.clock.clone());
    let builder = builder.environment([] as [(&str, &str); 0]).mode(Mode::Hold);
    builder.register(send).register(login).register(gather).register(mourn).open().unwrap()
}

/// The client of the place, and another, where there are files.
fn two(lab: &Lab) -> Option<(Client, Client)> {
    let builder = lab.builder().mode(Mode::Hold).register(send).register(login);
    let client = builder.register(gather).register(mourn).open().unwrap();
    if lab.keeps_tasks() {
        return Some((client, open(lab, "other.db")));
    }
    let export = client.export(Filter::new(), Vec::new()).unwrap_err();
    let import = client.import(&b""[..]).unwrap_err();
    assert_eq!((export.code(), import.code()), ("unsupported", "unsupported"));
    None
}

fn exported(client: &Client, export: impl Into<Export>) -> (String, Exported) {
    let mut lines = Vec::new();
    let done = client.export(export, &mut lines).unwrap();
    (String::from_utf8(lines).unwrap(), done)
}

fn whole(client: &Client) -> String {
    exported(client, Export::of(Filter::new()).with_secrets()).0
}

/// All tasks but for the process that ran them, which is not taken along.
fn all(client: &Client) -> Vec<TaskRecord> {
    let tasks = client.list(&Filter::new(), None, 1_000).unwrap().tasks.into_iter();
    let alone = tasks.map(|mut task| {
        (task.worker, task.worker_name) = (None, None);
        task
    });
    alone.collect()
}

fn attempts(client: &Client, of: &TaskRecord) -> Vec<AttemptRecord> {
    let attempts = client.attempts(of.id).unwrap().into_iter();
    let alone = attempts.map(|mut attempt| {
        (attempt.worker, attempt.worker_name) = (None, None);
        attempt
    });
    alone.collect()
}

fn a_round_trip_gives_the_same_tasks(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let long = "x\u{1f600} é".repeat(2_000);
    old.enqueue(send::with("Ada", &long).tag("b").tag("a").owner("u-7").key("k").priority(9))
        .unwrap();
    old.enqueue(
        send::with("nobody", "b").trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    .unwrap();
    old.enqueue(send::with("busy", "c").meta("n", 7).name("the busy one")).unwrap();
    old.run_pending(&Pending::all()).unwrap();
    old.enqueue(send::with("Grace", "d").run_after(HOUR).expires_after(2 * HOUR)).unwrap();
    old.enqueue(send::with("Joan", "e").unique(Unique::key("one"))).unwrap();
    let gone = old.enqueue(send::with("Jean", "f")).unwrap();
    old.cancel(gone.id()).unwrap();
    old.dismiss(gone.id()).unwrap();
    old.enqueue(login::with("ada", "hunter2").exclusive(Exclusive::lock("door"))).unwrap();
    let before = all(&old);
    assert_eq!(before.len(), 7);
    let lines = whole(&old);
    assert_eq!(lines.lines().count(), 7);
    let done = new.import(lines.as_bytes()).unwrap();
    assert_eq!((done.tasks, done.skipped, done.absent), (7, 0, 0));
    assert_eq!(all(&new), before);
    for task in &before {
        assert_eq!(attempts(&new, task), attempts(&old, task), "{}", task.id);
        assert_eq!(new.steps(task.id).unwrap(), old.steps(task.id).unwrap(), "{}", task.id);
    }
    for (again, line) in whole(&new).lines().zip(lines.lines()) {
        let cut = |line: &str| line.replace(&long[..3_000], "…");
        assert_eq!(cut(again), cut(line), "and so it goes on");
    }
    let same = new.enqueue(send::with("Joan", "z").unique(Unique::key("one"))).unwrap();
    assert_eq!(new.get(same.id()).unwrap().arguments, r#"{"to":"Joan","text":"e"}"#);
    let ran = new.run_pending(&Pending::all()).unwrap();
    assert_eq!(ran.succeeded, 2, "what was ready is run");
    lab.clock.advance(HOUR);
    let ran = new.run_pending(&Pending::all()).unwrap();
    assert_eq!(ran.succeeded, 1, "and what was scheduled at its time: {ran:?}");
    assert_eq!(all(&old), before, "the first is as it was");
}

fn a_flow_goes_on_where_it_was_carried_to(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let flow = || {
        let calls = ["ada", "grace", "joan"].map(|to| send::with(to, "four"));
        Flow::group("mails", calls).on_success(gather::with(Vec::new()).takes_result("words"))
    };
    let batch = old.enqueue_flow(flow()).unwrap();
    old.enqueue_flow(flow()).unwrap();
    let first = batch.members().unwrap()[0].id;
    let (lines, _) = exported(&old, Export::of(Filter::new()).with_secrets());
    let last = lines.lines().last().unwrap();
    assert!(last.contains("litework.batch"), "batches come last: {last}");
    new.import(lines.as_bytes()).unwrap();
    assert_eq!(all(&new), all(&old));
    assert_eq!(new.get(first).unwrap().batch, Some(batch.id()));
    let count = new.run_pending(&Pending::all()).unwrap();
    assert_eq!(count.succeeded, 8);
    let states: Vec<State> = all(&new).iter().map(|task| task.state).collect();
    assert_eq!(states, [State::Succeeded; 10]);
    let sums = all(&new).into_iter().filter(|task| task.kind == "gather");
    assert_eq!(sums.filter_map(|task| task.result).collect::<Vec<_>>(), ["12", "12"]);
    // Without those before it.
    let (lines, _) = exported(&old, Export::of(Filter::new().kind("gather")).with_secrets());
    let third = open(lab, "third.db");
    let done = third.import(lines.as_bytes()).unwrap();
    assert_eq!((done.tasks, done.absent), (2, 2));
}

fn only_what_passes_the_filter_is_written(lab: &Lab) {
    let Some((old, _)) = two(lab) else { return };
    old.enqueue_many((0..1_200).map(|n| send::with("Ada", n.to_string()).run_after(HOUR))).unwrap();
    let two = old.enqueue(login::with("ada", "hunter2")).unwrap();
    let (lines, done) = exported(&old, Filter::new().kind("login"));
    assert_eq!((lines.lines().count(), done.tasks, done.bad), (1, 1, 0));
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["schema"], 1);
    assert_eq!(
        (line["id"].as_str(), line["kind"].as_str()),
        (Some(&*two.id().to_string()), Some("login"))
    );
    assert_eq!((line["state"].as_str(), line["redacted"].as_bool()), (Some("ready"), Some(true)));
    let (lines, done) = exported(&old, Filter::new());
    assert_eq!((lines.lines().count(), done.tasks), (1_201, 1_201));
    assert_eq!(exported(&old, Filter::new().state(State::Failed)).0, "");
    let conn = rusqlite::Connection::open(lab.path()).unwrap();
    conn.execute("UPDATE litework_task SET meta = '{' WHERE id IN (5, 7)", []).unwrap();
    let (_, done) = exported(&old, Filter::new());
    assert_eq!((done.tasks, done.bad), (1_199, 2));
    assert_eq!((done.bad_rows[0].row, done.bad_rows[0].column), (5, "meta"));
}

fn secrets_are_hidden_unless_asked_for(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    old.enqueue(login::with("ada", "hunter2").key("token=hunter2").unique(Unique::arguments()))
        .unwrap();
    old.enqueue(login::with("eve", "hunter2").run_after(HOUR).meta("secret", "hunter2")).unwrap();
    old.enqueue(send::with("busy", "c")).unwrap();
    old.run_pending(&Pending::all()).unwrap();
    let (lines, done) = exported(&old, Filter::new());
    assert_eq!(done.tasks, 3);
    assert!(!lines.contains("hunter2"), "{lines}");
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    let refused = new.import(lines.as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "redacted");
    assert!(refused.to_string().starts_with("line 1 of the import: redacted: "), "{refused}");
    assert!(whole(&old).matches("hunter2").count() >= 4);
}

fn what_is_stored_already_is_refused_or_passed_over(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let calls = (0..3).map(|n| send::with("Ada", n.to_string()).key(format!("k{n}")));
    for call in calls {
        old.enqueue(call).unwrap();
    }
    let lines = whole(&old);
    let first = lines.lines().next().unwrap();
    new.import(first.as_bytes()).unwrap();
    let refused = new.import(lines.as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "already_stored");
    assert!(
        refused.to_string().starts_with("line 1 of the import: already_stored: id is "),
        "{refused}"
    );
    let skip = Import::new().skip_existing();
    let done = new.import_with(skip, lines.as_bytes()).unwrap();
    assert_eq!((done.tasks, done.skipped), (2, 1));
    assert_eq!(new.import_with(skip, lines.as_bytes()).unwrap().skipped, 3);
    assert_eq!(all(&new), all(&old));
    // Another task has the number, or the key.
    let third = open(lab, "third.db");
    third.enqueue(send::with("Eve", "0")).unwrap();
    assert_eq!(third.import_with(skip, lines.as_bytes()).unwrap_err().code(), "id_taken");
    let fourth = open(lab, "fourth.db");
    let theirs = (0..9).map(|_| send::with("Eve", "0"));
    fourth.enqueue_many(theirs).unwrap();
    fourth.enqueue(send::with("Eve", "0").key("k1")).unwrap();
    let far = lines.replace(r#""id":""#, r#""id":"z"#);
    let refused = fourth.import(far.as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "key_conflict");
    assert!(matches!(refused, Error::Line { number: 2, .. }), "{refused}");
}

fn a_line_that_is_refused_ends_it_after_what_stands_before(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    old.enqueue_many((0..300).map(|n| send::with("Ada", n.to_string()))).unwrap();
    let lines = whole(&old);
    let mut broken: Vec<&str> = lines.lines().collect();
    broken.insert(0, "");
    broken[290] = r#"{"schema":1,"id":"no"}"#;
    let refused = new.import(broken.join("\n").as_bytes()).unwrap_err();
    let Error::Line { number, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*number, refused.code()), (291, "bad_line"));
    assert_eq!(new.count(&Filter::new()).unwrap(), 289);
    let refused =
        new.import_with(Import::new().skip_existing(), &lines.as_bytes()[..60]).unwrap_err();
    assert!(
        refused.to_string().contains("line 1 of the import: bad_line: the line is"),
        "{refused}"
    );
    let done = new.import_with(Import::new().skip_existing(), lines.as_bytes()).unwrap();
    assert_eq!((done.tasks, done.skipped), (11, 289));
    for (bad, told) in [
        (&b"\xff\xfe\n"[..], "bad_line"),
        (b"[]", "bad_line"),
        (b"{}", "bad_line"),
        (b"null", "bad_line"),
        (b"7", "bad_line"),
    ] {
        assert_eq!(new.import(bad).unwrap_err().code(), told);
    }
}

fn what_ran_lands_as_if_it_had_been_handed_back(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let id = old.enqueue(send::with("Ada", "b")).unwrap().id();
    let conn = rusqlite::Connection::open(lab.path()).unwrap();
    conn.execute(
        "UPDATE litework_task SET state = 'running', attempt = 1, worker = 99, started_at = 5",
        [],
    )
    .unwrap();
    let lines = whole(&old);
    new.import(lines.as_bytes()).unwrap();
    let landed = new.get(id).unwrap();
    assert_eq!((landed.state, landed.attempt, landed.worker), (State::Ready, 0, None));
    assert_eq!(new.run_pending(&Pending::all()).unwrap().succeeded, 1);
}

fn lines_of(client: &Client, ids: &[TaskId]) -> String {
    let filter = ids.iter().fold(Filter::new(), |filter, id| filter.id(*id));
    exported(client, Export::of(filter).with_secrets()).0
}

fn standing(client: &Client, id: TaskId) -> (State, Option<Reason>) {
    let task = client.get(id).unwrap();
    (task.state, task.reason)
}

fn what_ends_as_it_lands_ends_what_comes_after_it_and_is_followed(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let calls = ["a", "b"].map(|to| send::with(to, "x").follow([EventKind::Failed], "mourn"));
    let batch = old.enqueue_flow(Flow::group("mails", calls)).unwrap();
    let lost = batch.members().unwrap()[0].id;
    let late = send::with("late", "x").run_after(87_600 * HOUR).after([lost]);
    let late = old.enqueue(late.follow([EventKind::Failed], "mourn")).unwrap().id();
    let next = old.enqueue(send::with("next", "x").after([late])).unwrap().id();
    let wake = old.enqueue(send::with("wake", "x").after_finished([late])).unwrap().id();
    let stopped = old.enqueue(send::with("stopped", "x").unique(Unique::key("one"))).unwrap().id();
    let gone = old.enqueue(send::with("gone", "x").after([stopped])).unwrap().id();
    let conn = rusqlite::Connection::open(lab.path()).unwrap();
    let runs = "state = 'running', attempt = 1, worker = 99, started_at = 5";
    let run = |more: &str, id: TaskId| {
        let sql = format!("UPDATE litework_task SET {runs}, {more} = 1 WHERE id = {}", id.row());
        assert_eq!(conn.execute(&sql, []).unwrap(), 1);
    };
    run("at_most_once", lost);
    run("cancel_requested", stopped);
    let done = new.import(whole(&old).as_bytes()).unwrap();
    assert_eq!((done.tasks, done.absent), (8, 0));
    assert_eq!(standing(&new, lost), (State::Failed, Some(Reason::Lost)));
    for id in [late, next] {
        assert_eq!(standing(&new, id), (State::Failed, Some(Reason::Parent)));
    }
    let told = new.attempts(late).unwrap();
    assert_eq!((told.len(), told[0].outcome.as_str()), (1, "failed"));
    assert!(format!("{:?}", told[0].error).contains("the task before it failed"), "{told:?}");
    assert_eq!(standing(&new, wake), (State::Ready, None));
    assert_eq!(standing(&new, stopped), (State::Cancelled, Some(Reason::Asked)));
    assert_eq!(standing(&new, gone), (State::Cancelled, Some(Reason::Parent)));
    let mourned = new.list(&Filter::new().kind("mourn"), None, 9).unwrap().tasks;
    let keys: Vec<_> = mourned.into_iter().rev().filter_map(|one| one.key).collect();
    assert_eq!(keys, [lost, late].map(|id| format!("event/{id}/1/mourn")));
    // The other member, who waked up, and two who mourn.
    assert_eq!(new.run_pending(&Pending::all()).unwrap().succeeded, 4);
    assert_eq!(standing(&new, batch.id()), (State::Failed, Some(Reason::Parent)));
    let again = new.import_with(Import::new().skip_existing(), whole(&old).as_bytes()).unwrap();
    assert_eq!((again.tasks, again.skipped), (0, 8));
    assert_eq!(new.count(&Filter::new()).unwrap(), 10, "nothing is mourned twice");
}

fn what_waited_goes_on_as_it_would_have_gone_on_there(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let first = old.enqueue(send::with("Ada", "a")).unwrap().id();
    let late = old.enqueue(send::with("late", "a").after([first]).run_after(HOUR)).unwrap().id();
    let lock = send::with("lock", "a").after([first]).exclusive(Exclusive::lock("door"));
    let lock = old.enqueue(lock).unwrap().id();
    let bad = old.enqueue(send::with("nobody", "a")).unwrap().id();
    let next = old.enqueue(send::with("next", "a").after([bad, first])).unwrap().id();
    new.import(lines_of(&old, &[first, bad]).as_bytes()).unwrap();
    new.run_pending(&Pending::all()).unwrap();
    assert_eq!(standing(&new, bad).0, State::Failed);
    let done = new.import_with(Import::new().skip_existing(), whole(&old).as_bytes()).unwrap();
    assert_eq!((done.tasks, done.skipped, done.absent), (3, 2, 0));
    assert_eq!(standing(&new, late), (State::Scheduled, Some(Reason::Delayed)));
    assert_eq!(standing(&new, next), (State::Failed, Some(Reason::Parent)), "it failed here");
    assert_eq!(standing(&new, lock), (State::Ready, None), "nobody is in the door");
    assert!(lines_of(&new, &[lock]).contains(r#""wait_key":"#), "it stands at the door");
    assert_eq!(new.run_pending(&Pending::all()).unwrap().succeeded, 1);
    assert_eq!(standing(&new, late).0, State::Scheduled, "its time has not come");
    lab.clock.advance(HOUR);
    assert_eq!(new.run_pending(&Pending::all()).unwrap().succeeded, 1);
}

fn what_is_here_already_lets_go_on_what_comes_later(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let skip = Import::new().skip_existing();
    let first = old.enqueue(send::with("Ada", "a")).unwrap().id();
    // Nobody waits for it yet.
    new.import(whole(&old).as_bytes()).unwrap();
    let next = old.enqueue(send::with("next", "a").after([first])).unwrap().id();
    let last = old.enqueue(send::with("last", "a").after([next])).unwrap().id();
    let done = new.import_with(skip, whole(&old).as_bytes()).unwrap();
    assert_eq!((done.tasks, done.skipped), (2, 1));
    assert_eq!(new.run_pending(&Pending::all()).unwrap().succeeded, 3);
    // What comes later is before it.
    let third = open(lab, "third.db");
    let done = third.import(lines_of(&old, &[last]).as_bytes()).unwrap();
    assert_eq!((done.tasks, done.absent), (1, 1));
    third.import(lines_of(&old, &[first, next]).as_bytes()).unwrap();
    assert_eq!(third.run_pending(&Pending::all()).unwrap().succeeded, 3);
    let fourth = open(lab, "fourth.db");
    fourth.import(lines_of(&old, &[last]).as_bytes()).unwrap();
    old.run_pending(&Pending::all()).unwrap();
    let done = fourth.import(lines_of(&old, &[next]).as_bytes()).unwrap();
    assert_eq!((done.tasks, done.absent), (1, 0));
    assert_eq!(standing(&fourth, last), (State::Ready, None), "it had ended before it came");
}

fn no_task_joins_a_batch_that_is_another_here(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    let calls = ["ada", "grace"].map(|to| send::with(to, "four"));
    let batch = old.enqueue_flow(Flow::group("mails", calls)).unwrap();
    let theirs = new.enqueue_flow(Flow::group("theirs", [send::with("eve", "a")])).unwrap();
    assert_eq!(theirs.id().row(), batch.id().row());
    new.run_pending(&Pending::all()).unwrap();
    let members: Vec<TaskId> = batch.members().unwrap().iter().map(|member| member.id).collect();
    let refused = new.import(lines_of(&old, &members[1..]).as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "id_taken");
    assert!(refused.to_string().contains("what sums it up is"), "{refused}");
    assert_eq!(theirs.members().unwrap().len(), 1);
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(IoError::other("the line is dead"))
    }
}

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(IoError::from(std::io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn a_pipe_that_fails_is_told(lab: &Lab) {
    let Some((old, new)) = two(lab) else { return };
    old.enqueue(send::with("Ada", "b")).unwrap();
    let failed = old.export(Filter::new(), Broken).unwrap_err();
    let source =
        std::error::Error::source(&failed).and_then(|source| source.downcast_ref::<IoError>());
    assert_eq!(source.unwrap().kind(), std::io::ErrorKind::BrokenPipe);
    let failed = new.import(Broken).unwrap_err();
    assert_eq!(failed.code(), "storage");
    assert!(failed.to_string().contains("the line is dead"), "{failed}");
    old.shutdown(Duration::ZERO).unwrap();
    assert!(matches!(old.import(&b""[..]), Err(Error::Closed)));
}
