//! What follows a task is there if and only if its end is, whenever its process is killed; and a failure is
//! told by another process than the one that failed, or died.

use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use litework::{
    Client, Definition, EventKind, EventRecord, Filter, Mode, Notice, Reason, Task, TaskId, task,
};

use super::child::{Field, PATIENCE, faults, look_into};
use super::deeds::{self, Deed, deed};

const TASKS: usize = 900;

#[task]
fn heard(event: EventRecord) {
    drop(event);
}

/// Which tasks have ended, and how often each is followed.
fn followed(client: &Client) -> (Vec<TaskId>, HashMap<TaskId, usize>) {
    let all = |kind: &str| client.list(&Filter::new().kind(kind), None, 1_000).unwrap().tasks;
    let ended = all("deed").into_iter().filter(|task| task.state.is_final());
    let mut follows = HashMap::new();
    for task in all("heard") {
        let mut arguments: serde_json::Value = serde_json::from_str(&task.arguments).unwrap();
        let event: EventRecord = serde_json::from_value(arguments["event"].take()).unwrap();
        *follows.entry(event.task).or_default() += 1;
    }
    (ended.map(|task| task.id).collect(), follows)
}

#[test]
fn what_follows_a_task_is_there_exactly_where_its_end_is_whenever_it_is_killed() {
    let field = Field::default();
    let followed_deed = Deed::define().with(|options| options.follow(EventKind::Finished, "heard"));
    let client = Client::builder(field.db()).mode(Mode::Enqueue);
    let client = client.register(followed_deed).register(heard).open().unwrap();
    client.enqueue_many((0..TASKS).map(|_| deed("nothing"))).unwrap();
    let mut most = 0;
    for round in 0..8 {
        let (point, pass) = match round % 4 {
            0 => ("finished_uncommitted", 1),
            1 => ("after_commit", 3),
            2 => ("before_commit", 3),
            _ => ("running", 3),
        };
        // It knows neither what follows nor that anything does: the row says so.
        let threads = ("LW_THREADS", "2".to_owned());
        let mut child =
            deeds::pool(&field, &[threads, ("LITEWORK_FAULT", format!("{point}:{pass}"))]);
        child.expect(&format!("at {point}"));
        child.kill();
        let (ended, follows) = followed(&client);
        assert_eq!(ended.len(), follows.len(), "round {round}");
        assert!(ended.iter().all(|id| follows.get(id) == Some(&1)), "round {round}");
        assert_eq!(faults(&look_into(&field.db())), [""; 0], "round {round}");
        most = most.max(ended.len());
    }
    assert!(most > 0 && most < TASKS, "the kills came in its midst: {most}");
    drop(client);
    let runner = Client::builder(field.db()).register(Deed::define()).register(heard);
    let runner = runner.workers(2).open().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    // Some are quarantined, as they ran at three of the kills; that is an end like any other.
    while followed(&runner).0.len() < TASKS {
        assert!(std::time::Instant::now() < until, "all ends");
        std::thread::yield_now();
    }
    let (ended, follows) = followed(&runner);
    assert!(ended.iter().all(|id| follows.get(id) == Some(&1)));
    runner.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_failure_in_one_process_is_told_by_the_mailer_of_another() {
    let field = Field::default();
    let (sender, sent) = channel();
    let notice = Notice::mailer(move |notice| {
        sender.send((notice.title.clone(), notice.reason, notice.traceback.clone()))?;
        Ok(())
    });
    // It stores the tasks and sends the notices, and leaves the tasks to others.
    let client = Client::builder(field.db()).register(Definition::declare::<Deed>());
    let client = client.failure_notice(notice.every(Duration::from_millis(1)));
    let client = client.workers(1).open().unwrap();
    let title = "Error in deed".to_owned();

    let mut failing = deeds::pool(&field, &[]);
    failing.expect("ready");
    client.enqueue(deed("panic").call().attempts(1)).unwrap();
    let (told, reason, traceback) = sent.recv_timeout(PATIENCE).unwrap();
    assert_eq!((told, reason), (title.clone(), Some(Reason::Error)));
    assert!(traceback.contains("the deed is done"), "{traceback}");

    client.enqueue(deed("abort").call().at_most_once(true)).unwrap();
    let (told, reason, _) = sent.recv_timeout(PATIENCE).unwrap();
    assert_eq!((told, reason), (title, Some(Reason::Lost)), "its process is dead");
    client.shutdown(PATIENCE).unwrap();
}
