//! What a body says and leaves is seen by another process while it runs, and survives the death of its own: the
//! next attempt begins anew, and leaves nothing twice.

use std::io::{Read, Write};

use litework::{Client, Context, Mode, Prune, Result, Snapshot, State, Watcher, task};

use super::child::{self, Child, Field, PATIENCE, faults, look_into, say};

/// A file of three parts.
const BYTES: usize = 600 << 10;

/// Waits for a word in the middle of it.
#[task(attempts = 4)]
fn talk(ctx: &Context) -> Result<()> {
    // What is said first is written no later than what is said then.
    ctx.log(format!("attempt {} is under way", ctx.attempt()));
    ctx.progress().total(3).advance(1).stage("half");
    ctx.artifact("note").text(format!("attempt {}", ctx.attempt()))?;
    let mut file = ctx.artifact("large.bin").file()?;
    file.write_all(&vec![7; BYTES])?;
    say("half");
    child::wait_for_word();
    file.finish()?;
    ctx.progress().advance(1);
    Ok(())
}

/// The child's part.
pub(crate) fn serve() {
    let client = Client::builder(child::var("LW_DB").unwrap()).register(talk).workers(1);
    let beside = child::var("LW_BESIDE").is_some();
    let client = client.artifacts_beside(beside).open().unwrap();
    say("ready");
    child::rest();
    client.shutdown(PATIENCE).unwrap();
}

/// The first snapshot that is so.
fn until(watcher: &Watcher, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let snapshot = watcher.recv_timeout(PATIENCE).expect("a snapshot in time");
        if is_so(&snapshot) {
            return snapshot;
        }
    }
}

fn is_half(snapshot: &Snapshot, attempt: u32) -> bool {
    let half = snapshot.progress.as_ref().filter(|progress| progress.attempt == attempt);
    half.is_some_and(|progress| (progress.done, progress.stage.as_deref()) == (1, Some("half")))
        && snapshot.artifacts.iter().any(|it| (it.name.as_str(), it.attempt) == ("note", attempt))
}

#[test]
fn what_a_killed_body_has_said_stays_and_the_next_attempt_leaves_nothing_twice() {
    killed_in_the_middle(&[]);
}

#[test]
fn of_a_killed_body_no_half_file_stays_beside_the_queue() {
    let folder = killed_in_the_middle(&[("LW_BESIDE", "1".to_owned())]);
    let files = std::fs::read_dir(folder.db().with_extension("db-artifacts")).unwrap();
    assert_eq!(files.count(), 1, "that of the second attempt");
}

fn killed_in_the_middle(also: &[(&'static str, String)]) -> Field {
    let field = Field::default();
    let mut variables = field.variables();
    variables.extend_from_slice(also);
    let client = Client::builder(field.db()).mode(Mode::Enqueue).register(talk).open().unwrap();
    let handle = client.enqueue(talk::with()).unwrap();
    let watcher = client.watch(handle.id()).unwrap();
    assert_eq!(until(&watcher, |_| true).task.state, State::Ready);

    let mut first = Child::start("talker", &variables);
    first.expect("half");
    let half = until(&watcher, |snapshot| is_half(snapshot, 1));
    assert_eq!((half.task.state, half.artifacts.len()), (State::Running, 1), "not half a file");
    first.kill();
    let progress = handle.progress().unwrap().unwrap();
    assert_eq!((progress.attempt, progress.done), (1, 1), "what it said stays");

    let mut second = Child::start("talker", &variables);
    second.expect("half");
    until(&watcher, |snapshot| is_half(snapshot, 2));
    second.tell("go on");
    let last = until(&watcher, |snapshot| snapshot.task.state.is_final());
    assert_eq!((last.task.state, last.task.attempt), (State::Succeeded, 2));
    assert_eq!(last.progress.unwrap().done, 3, "a success is all of it");
    let left: Vec<_> = last.artifacts.iter().map(|it| (it.name.as_str(), it.attempt)).collect();
    assert_eq!(left, [("note", 2), ("large.bin", 2)]);
    assert!(watcher.recv().is_none());
    let told: Vec<u32> = handle.log().unwrap().iter().map(|line| line.attempt).collect();
    assert_eq!(told, [1, 2]);
    let mut bytes = Vec::new();
    client.open_artifact(handle.id(), 2).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![7; BYTES]);

    second.end();
    client.prune(Prune::new()).unwrap();
    let conn = look_into(&field.db());
    assert_eq!(faults(&conn), [""; 0]);
    let sql = "SELECT count(*) FROM litework_artifact";
    let kept: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2, "what the first attempt had begun is gone");
    field
}
