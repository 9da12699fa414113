//! A copy of the queue holds all that was there when it began, is a queue itself, and takes nobody's place.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use litework::sqlite::{Standing, inspect};
use litework::{BackedUp, Client, Error, Failure, Filter, Mode, Result, TaskRecord, task};

use crate::common::{Keeps, Lab};

crate::everywhere! {
    a_copy_is_a_queue_with_the_same_tasks,
    a_copy_takes_nobodys_place,
    a_copy_that_is_ended_leaves_nothing,
    a_client_that_is_shut_down_copies_nothing,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task(attempts = 2)]
fn send(to: &str, text: &str) -> Result<usize> {
    if to == "nobody" { Err(Failure::give_up("no such address")) } else { Ok(text.len()) }
}

fn open(lab: &Lab) -> Client {
    lab.builder().register(send).open().unwrap()
}

fn copy_path(lab: &Lab) -> PathBuf {
    lab.path().with_file_name("copy.db")
}

/// A copy, or nothing where there is no file to be copied.
fn copied(lab: &Lab, client: &Client) -> Option<BackedUp> {
    let answer = client.backup(copy_path(lab));
    if lab.keeps_tasks() {
        return Some(answer.unwrap());
    }
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), "unsupported", "{refused}");
    None
}

fn all(client: &Client) -> Vec<TaskRecord> {
    client.list(&Filter::new(), None, 100).unwrap().tasks
}

fn names(lab: &Lab) -> Vec<String> {
    let folder = std::fs::read_dir(lab.path().parent().unwrap()).unwrap();
    let mut names: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn a_copy_is_a_queue_with_the_same_tasks(lab: &Lab) {
    let client = open(lab);
    let long = "x".repeat(50_000);
    let done = client.enqueue(send::with("Ada", &long).tag("a").owner("u").key("k")).unwrap();
    let failed = client.enqueue(send::with("nobody", "b")).unwrap();
    client.enqueue(send::with("Grace", "c").run_after(HOUR).priority(7)).unwrap();
    lab.ended(&client, &done);
    lab.ended(&client, &failed);
    let Some(made) = copied(lab, &client) else { return };
    assert_eq!((made.path, made.at, made.artifacts_beside), (copy_path(lab), lab.now(), 0));
    assert_eq!(made.bytes, std::fs::metadata(copy_path(lab)).unwrap().len());
    let found = inspect(copy_path(lab)).unwrap();
    assert_eq!((found.standing, found.journal_mode.as_str()), (Standing::Current, "wal"));
    assert_eq!(found.copied_at, Some(lab.now()));
    let first = std::fs::canonicalize(lab.path()).unwrap();
    assert_eq!(found.copy_of, Some(first.display().to_string()));
    let builder = Client::builder(copy_path(lab)).mode(Mode::Hold).register(send);
    let application = matches!(lab.place.keeps, Keeps::File { application: true, .. });
    let builder = if application { builder.application_file() } else { builder };
    let copy = builder.open().unwrap();
    assert_eq!(all(&copy), all(&client));
    assert_eq!(copy.attempts(failed.id()).unwrap(), client.attempts(failed.id()).unwrap());
    if application {
        let theirs = rusqlite::Connection::open(copy_path(lab)).unwrap();
        assert!(theirs.prepare("SELECT id FROM orders").is_ok(), "their own table comes along");
    }
    let left = names(lab);
    let part = |name: &String| name.contains(".part") || name == "copy.db-journal";
    assert!(!left.iter().any(part), "{left:?}");
}

fn a_copy_takes_nobodys_place(lab: &Lab) {
    let client = open(lab);
    if copied(lab, &client).is_none() {
        return;
    }
    std::fs::write(lab.path().with_file_name("theirs.txt"), "theirs").unwrap();
    for taken in [copy_path(lab), lab.path(), lab.path().with_file_name("theirs.txt")] {
        let refused = client.backup(&taken).unwrap_err();
        assert_eq!(refused.code(), "file_exists", "{refused}");
        assert!(refused.to_string().contains(taken.to_str().unwrap()), "{refused}");
    }
    let text = std::fs::read_to_string(lab.path().with_file_name("theirs.txt")).unwrap();
    assert_eq!(text, "theirs");
    let nowhere = lab.path().with_file_name("none").join("copy.db");
    assert_eq!(client.backup(nowhere).unwrap_err().code(), "cannot_open");
    let folder = lab.path().parent().unwrap().to_owned();
    assert_eq!(client.backup(folder).unwrap_err().code(), "not_a_queue_file");
    assert_eq!(client.backup(":memory:").unwrap_err().code(), "not_a_queue_file");
}

fn a_copy_that_is_ended_leaves_nothing(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let client = open(lab);
    client.enqueue(send::with("Ada", "x".repeat(200_000)).run_after(HOUR)).unwrap();
    let before = names(lab);
    let mut told = Vec::new();
    let ended = client.backup_with(copy_path(lab), |so_far| {
        told.push(so_far);
        ControlFlow::Break(())
    });
    assert_eq!(ended.unwrap_err().code(), "stopped");
    assert!(told.len() == 1 && told[0].done > 0 && told[0].done < told[0].total, "{told:?}");
    assert_eq!(names(lab), before);
    let mut last = 0;
    let whole = client.backup_with(copy_path(lab), |so_far| {
        assert!(so_far.done > last, "it goes on");
        last = so_far.done;
        ControlFlow::Continue(())
    });
    whole.unwrap();
}

fn a_client_that_is_shut_down_copies_nothing(lab: &Lab) {
    let client = open(lab);
    client.shutdown(Duration::ZERO).unwrap();
    assert!(matches!(client.backup(copy_path(lab)), Err(Error::Closed)));
}
