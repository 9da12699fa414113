//! A task can be found, listed, counted and cancelled by whoever knows its id, its key or its words.

use std::time::Duration;

use litework::{
    Cancelled, Context, Cursor, Error, Filter, Reason, Result, State, Task, TaskId, task,
};
use serde::{Deserialize, Serialize};

use crate::common::{Lab, Log};

crate::everywhere! {
    a_task_is_found_by_its_id_and_its_text,
    what_is_no_id_names_no_task,
    a_guessed_number_finds_nothing,
    a_typed_handle_refuses_another_kind,
    a_record_stands_still_until_it_is_refreshed,
    tags_and_meta_travel_with_the_task,
    a_filter_narrows_by_every_field,
    pages_go_by_key_and_end,
    pages_stay_in_place_while_tasks_come,
    a_page_size_or_cursor_out_of_range_is_refused,
    a_cancelled_task_never_runs,
    cancelling_what_has_ended_changes_nothing,
    a_handle_outlives_its_client_and_says_closed,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Resize {
    width: u32,
}

impl Task for Resize {
    const NAME: &'static str = "pictures.resize";
    type Output = u32;

    fn run(self, _: &Context) -> Result<u32> {
        Ok(self.width)
    }
}

#[task(name = "mail.send", queue = "mail")]
fn send(ctx: &Context, to: &str) -> Result<()> {
    ctx.state::<Log>()?.note(to);
    Ok(())
}

fn client(lab: &Lab, log: &Log) -> litework::Client {
    lab.builder().register(Resize::define()).register(send).state(log.clone()).open().unwrap()
}

fn a_task_is_found_by_its_id_and_its_text(lab: &Lab) {
    let client = client(lab, &Log::default());
    let handle = client.enqueue(Resize { width: 64 }).unwrap();
    lab.wait(&client, &handle).unwrap();
    let task = client.get(handle.id()).unwrap();
    assert_eq!(task, client.get(handle.id().to_string()).unwrap());
    assert_eq!(task, client.get(handle.id().to_string().as_str()).unwrap());
    assert_eq!(task.value::<u32>().unwrap(), 64);
    assert_eq!(task.decode_arguments::<Resize>().unwrap().width, 64);
    assert!(handle.id().to_string().len() <= 64);
}

fn what_is_no_id_names_no_task(lab: &Lab) {
    let client = client(lab, &Log::default());
    let never = "1-0000000000000";
    for text in ["", "7", "not an id", "1-", "-1", "0-0000000000000", "é", never, &"9".repeat(99)]
    {
        let errors = [
            client.get(text).map(|_| ()).unwrap_err(),
            client.attempts(text).map(|_| ()).unwrap_err(),
            client.cancel(text).map(|_| ()).unwrap_err(),
            client.handle::<Resize>(text).map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_not_found(), "{text}: {error}");
            assert_eq!(error.code(), "not_found");
        }
    }
}

fn a_guessed_number_finds_nothing(lab: &Lab) {
    let client = client(lab, &Log::default());
    let handle = client.enqueue(Resize { width: 64 }.call().run_after(HOUR)).unwrap();
    let text = handle.id().to_string();
    let (number, tag) = text.split_once('-').unwrap();
    let mut other = tag.to_owned();
    let last = if other.pop() == Some('0') { '1' } else { '0' };
    other.push(last);
    let guess: TaskId = format!("{number}-{other}").parse().unwrap();
    assert!(client.get(guess).unwrap_err().is_not_found());
    assert!(client.cancel(guess).unwrap_err().is_not_found());
    assert!(client.attempts(guess).unwrap_err().is_not_found());
    assert_eq!(handle.refresh().unwrap().state, State::Scheduled);
}

fn a_typed_handle_refuses_another_kind(lab: &Lab) {
    let client = client(lab, &Log::default());
    let resize = client.enqueue(Resize { width: 64 }).unwrap();
    let mail = client.enqueue(send::with("a@example.org")).unwrap();
    let typed = client.handle::<Resize>(resize.id()).unwrap();
    assert_eq!(lab.wait(&client, &typed).unwrap(), 64);
    match client.handle::<Resize>(mail.id()).unwrap_err() {
        Error::Mismatch { id, expected, found, .. } => {
            assert_eq!(
                (id, expected, found.as_str()),
                (mail.id(), Resize::NAME.into(), "mail.send")
            );
        }
        other => panic!("{other}"),
    }
}

fn a_record_stands_still_until_it_is_refreshed(lab: &Lab) {
    let client = client(lab, &Log::default());
    let handle = client.enqueue(Resize { width: 64 }.call().run_after(HOUR)).unwrap();
    let before = handle.refresh().unwrap();
    lab.advance(&client, HOUR);
    lab.wait(&client, &handle).unwrap();
    assert_eq!((before.state, before.attempt, before.started_at), (State::Scheduled, 0, None));
    let after = handle.refresh().unwrap();
    assert_eq!((after.state, after.attempt), (State::Succeeded, 1));
    assert_eq!((after.started_at, after.finished_at), (Some(lab.now()), Some(lab.now())));
}

fn tags_and_meta_travel_with_the_task(lab: &Lab) {
    let client = client(lab, &Log::default());
    let call = Resize { width: 64 }.call().tag("b").tag("a").tag("b");
    let call = call.meta("user", 7).meta("why", serde_json::json!({"deep": [1, null]}));
    let handle = client.enqueue(call).unwrap();
    lab.wait(&client, &handle).unwrap();
    let task = handle.refresh().unwrap();
    assert_eq!(task.tags, ["a", "b"]);
    let meta = serde_json::json!({"user": 7, "why": {"deep": [1, null]}});
    assert_eq!(serde_json::Value::Object(task.meta), meta);
}

fn a_filter_narrows_by_every_field(lab: &Lab) {
    let client = client(lab, &Log::default());
    for width in 0..3 {
        let handle = client.enqueue(Resize { width }.call().tag("thumb")).unwrap();
        lab.wait(&client, &handle).unwrap();
    }
    client.enqueue(Resize { width: 9 }.call().tag("thumb").run_after(HOUR)).unwrap();
    client.enqueue(send::with("a").tag("news").run_after(HOUR)).unwrap();
    client.enqueue(send::with("b").queue("slow").run_after(HOUR)).unwrap();
    let count = |filter: Filter| {
        let listed = client.list(&filter, None, 100).unwrap().tasks.len();
        assert_eq!(client.count(&filter).unwrap(), listed as u64);
        listed
    };
    assert_eq!(count(Filter::new()), 6);
    assert_eq!(count(Filter::new().state(State::Succeeded)), 3);
    assert_eq!(count(Filter::new().state(State::Scheduled)), 3);
    assert_eq!(count(Filter::new().state(State::Scheduled).state(State::Succeeded)), 6);
    assert_eq!(count(Filter::new().kind("mail.send")), 2);
    assert_eq!(count(Filter::new().queue("mail")), 1);
    assert_eq!(count(Filter::new().queue("mail").queue("slow")), 2);
    assert_eq!(count(Filter::new().tag("thumb")), 4);
    assert_eq!(count(Filter::new().tag("thumb").state(State::Scheduled)), 1);
    assert_eq!(count(Filter::new().tag("thum")), 0);
    assert_eq!(count(Filter::new().kind("nobody")), 0);
    assert_eq!(count(Filter::new().queue("mail").kind(Resize::NAME)), 0);
}

fn widths(page: &litework::Page) -> Vec<u32> {
    page.tasks.iter().map(|task| task.decode_arguments::<Resize>().unwrap().width).collect()
}

fn pages_go_by_key_and_end(lab: &Lab) {
    let client = client(lab, &Log::default());
    let calls = (0..6).map(|width| Resize { width }.call().run_after(HOUR));
    client.enqueue_many(calls).unwrap();
    let first = client.list(&Filter::new(), None, 4).unwrap();
    assert_eq!(widths(&first), [5, 4, 3, 2]);
    let cursor: Cursor = first.next.unwrap().to_string().parse().unwrap();
    let second = client.list(&Filter::new(), Some(cursor), 4).unwrap();
    assert_eq!((widths(&second), second.next), (vec![1, 0], None));
    let exact = client.list(&Filter::new(), None, 6).unwrap();
    assert_eq!((exact.tasks.len(), exact.next), (6, None));
    assert_eq!(client.list(&Filter::new().kind("nobody"), None, 6).unwrap().tasks, []);
}

fn pages_stay_in_place_while_tasks_come(lab: &Lab) {
    let client = client(lab, &Log::default());
    let add = |width| client.enqueue(Resize { width }.call().run_after(HOUR)).unwrap();
    (0..4).for_each(|width| drop(add(width)));
    let first = client.list(&Filter::new(), None, 2).unwrap();
    (4..9).for_each(|width| drop(add(width)));
    let second = client.list(&Filter::new(), first.next, 2).unwrap();
    assert_eq!((widths(&first), widths(&second)), (vec![3, 2], vec![1, 0]));
}

fn a_page_size_or_cursor_out_of_range_is_refused(lab: &Lab) {
    let client = client(lab, &Log::default());
    for size in [0, 1_001, usize::MAX] {
        assert_eq!(client.list(&Filter::new(), None, size).unwrap_err().code(), "out_of_range");
    }
    for text in ["", "c", "c0", "c-1", "7", "c01", "c+1", "c99999999999999999999"] {
        assert_eq!(text.parse::<Cursor>().unwrap_err().code(), "bad_cursor", "{text}");
    }
}

fn a_cancelled_task_never_runs(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handle = client.enqueue(send::with("a").run_after(HOUR)).unwrap();
    let other = client.enqueue(send::with("b").run_after(HOUR)).unwrap();
    assert_eq!(handle.cancel().unwrap(), Cancelled::Now);
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
    assert_eq!((task.attempt, task.finished_at), (0, Some(lab.now())));
    lab.advance(&client, HOUR);
    lab.wait(&client, &other).unwrap();
    match handle.wait(HOUR).unwrap_err() {
        Error::NoValue { id, state, reason, .. } => {
            assert_eq!((id, state, reason), (handle.id(), State::Cancelled, Reason::Asked));
        }
        error => panic!("{error}"),
    }
    assert_eq!(log.words(), ["b"]);
}

fn cancelling_what_has_ended_changes_nothing(lab: &Lab) {
    let client = client(lab, &Log::default());
    let handle = client.enqueue(Resize { width: 64 }).unwrap();
    lab.wait(&client, &handle).unwrap();
    let before = handle.refresh().unwrap();
    assert_eq!(client.cancel(handle.id()).unwrap(), Cancelled::AlreadyFinished);
    assert_eq!(client.cancel(handle.id().to_string()).unwrap(), Cancelled::AlreadyFinished);
    assert_eq!(handle.refresh().unwrap(), before);
}

fn a_handle_outlives_its_client_and_says_closed(lab: &Lab) {
    let client = client(lab, &Log::default());
    let shut = client.enqueue(Resize { width: 64 }).unwrap();
    lab.wait(&client, &shut).unwrap();
    let open = client.enqueue(Resize { width: 65 }.call().run_after(HOUR)).unwrap();
    client.shutdown(HOUR).unwrap();
    assert_eq!(client.enqueue(Resize { width: 1 }).unwrap_err().code(), "closed");
    assert_eq!(client.enqueue_many([Resize { width: 1 }]).unwrap_err().code(), "closed");
    assert_eq!(client.cancel(shut.id()).unwrap_err().code(), "closed");
    assert_eq!(shut.cancel().unwrap_err().code(), "closed");
    // What has ended can still be read; nobody waits for what has not.
    assert_eq!(shut.wait(HOUR).unwrap(), shut.value().unwrap());
    assert_eq!(shut.refresh().unwrap().state, State::Succeeded);
    assert_eq!(open.wait(HOUR).unwrap_err().code(), "closed");
    assert_eq!(open.refresh().unwrap().state, State::Scheduled);
    drop(client);
    assert_eq!(shut.wait(HOUR).unwrap_err().code(), "closed");
    assert_eq!(shut.refresh().unwrap_err().code(), "closed");
    assert_eq!(shut.cancel().unwrap_err().code(), "closed");
}
