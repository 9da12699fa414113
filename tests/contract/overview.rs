//! Operators see how deep the queues are, since when tasks wait and what fails, and turn pages of lists.

use std::time::Duration;

use litework::{Client, Failure, Filter, Place, Result, Scope, State, TaskId, task};

use crate::common::{Lab, Runs};

crate::everywhere! {
    a_queue_tells_how_many_tasks_are_in_each_state,
    the_oldest_ready_task_is_found_whatever_its_priority,
    a_paused_queue_says_since_when,
    failures_that_look_alike_are_one_group,
    a_group_of_failures_can_be_run_again,
    a_count_stops_where_it_is_told_to,
    a_list_of_ended_tasks_begins_with_the_last_end,
    a_list_of_one_live_state_is_narrowed_by_queue_and_kind,
    each_task_is_on_one_page_whatever_the_filter,
    a_place_of_another_order_is_refused,
}

const MINUTE: Duration = Duration::from_secs(60);

#[task(queue = "files", attempts = 1)]
fn copy(number: u32) -> Result<()> {
    match number {
        0..100 => Ok(()),
        100..200 => Err(Failure::from(format!("file {number} is gone")).expected()),
        _ => Err(Failure::give_up(format!("disk {number} is full")).code("full")),
    }
}

#[task(queue = "mail")]
fn send(to: &str) -> usize {
    to.len()
}

fn open(lab: &Lab) -> Client {
    lab.builder().register(copy).register(send).open().unwrap()
}

fn depth(client: &Client, queue: &str, state: State) -> (u64, bool) {
    let overview = client.overview().unwrap();
    let queue = overview.queues.iter().find(|known| known.queue == queue);
    queue.map_or((0, false), |queue| {
        let depth = queue.depth(state);
        (depth.count, depth.capped)
    })
}

/// Runs so many copies, one after the other, a second apart.
fn run(lab: &Lab, client: &Client, numbers: impl IntoIterator<Item = u32>) -> Vec<TaskId> {
    let one = |number| {
        lab.clock.advance(Duration::from_secs(1));
        let handle = client.enqueue(copy::with(number)).unwrap();
        lab.ended(client, &handle);
        handle.id()
    };
    numbers.into_iter().map(one).collect()
}

fn a_queue_tells_how_many_tasks_are_in_each_state(lab: &Lab) {
    let client = open(lab);
    run(lab, &client, [1, 2, 3, 100, 200]);
    client.enqueue_many(["a", "b"].map(|to| send::with(to).run_after(MINUTE))).unwrap();
    let late = client.enqueue(send::with("c").run_after(MINUTE)).unwrap();
    client.cancel(late.id()).unwrap();
    let overview = client.overview().unwrap();
    let names: Vec<&str> = overview.queues.iter().map(|queue| queue.queue.as_str()).collect();
    assert_eq!(names, ["files", "mail"]);
    assert_eq!(overview.at, lab.now());
    assert_eq!((overview.file_bytes.is_some(), overview.wal_bytes.is_some()), {
        let file = lab.keeps_tasks();
        (file, file)
    });
    let bytes = overview.file_bytes.into_iter().chain(overview.wal_bytes).sum::<u64>();
    assert_eq!(bytes > 100_000, lab.keeps_tasks(), "{overview:?}");
    let states = State::ALL.iter().map(|state| depth(&client, "files", *state).0);
    assert_eq!(states.collect::<Vec<_>>(), [0, 0, 0, 0, 3, 2, 0, 0]);
    let states = State::ALL.iter().map(|state| depth(&client, "mail", *state).0);
    assert_eq!(states.collect::<Vec<_>>(), [2, 0, 0, 0, 0, 0, 1, 0]);
    assert!(State::ALL.iter().all(|state| !depth(&client, "mail", *state).1));
}

fn the_oldest_ready_task_is_found_whatever_its_priority(lab: &Lab) {
    if !lab.runs(Runs::RunPending) {
        return;
    }
    let client = open(lab);
    let oldest = || client.overview().unwrap().queues[0].oldest_ready;
    client.enqueue(send::with("a").priority(10)).unwrap();
    client.enqueue(send::with("b").run_after(MINUTE)).unwrap();
    let first = lab.now();
    assert_eq!(oldest(), Some(first));
    lab.clock.advance(Duration::from_secs(7));
    for priority in [-3, 0, 100] {
        client.enqueue(send::with("c").priority(priority)).unwrap();
    }
    assert_eq!(oldest(), Some(first));
    let task = client.list(&Filter::new().state(State::Ready), None, 10).unwrap().tasks;
    client.cancel(task.last().unwrap().id).unwrap();
    assert_eq!(oldest(), Some(lab.now()));
    lab.settle(&client);
    assert_eq!(oldest(), None, "only one is left, and not due");
}

fn a_paused_queue_says_since_when(lab: &Lab) {
    let client = open(lab);
    client.pause(&Scope::Queue("mail".to_owned())).unwrap();
    let since = lab.now();
    lab.clock.advance(MINUTE);
    client.enqueue(send::with("a")).unwrap();
    client.enqueue(copy::with(1)).unwrap();
    let queues = client.overview().unwrap().queues;
    let paused: Vec<_> = queues.iter().map(|queue| queue.paused_at).collect();
    assert_eq!(paused, [None, Some(since)]);
    assert_eq!(depth(&client, "mail", State::Ready), (1, false));
}

fn failures_that_look_alike_are_one_group(lab: &Lab) {
    let client = open(lab);
    assert_eq!(client.failures().unwrap().groups, []);
    let ids = run(lab, &client, [101, 1, 200, 102, 2, 103]);
    let failures = client.failures().unwrap();
    assert_eq!((failures.looked_at.count, failures.looked_at.capped), (4, false));
    let [gone, full] = failures.groups.as_slice() else { panic!("{failures:?}") };
    assert_eq!((gone.text.as_str(), gone.count), ("file # is gone", 3));
    assert_eq!((gone.kind.as_str(), gone.queue.as_str()), ("copy", "files"));
    assert_eq!((full.error.as_str(), full.text.as_str()), ("full", "disk # is full"));
    assert_eq!(gone.ids, [ids[5], ids[3], ids[0]], "the newest first");
    let ended = |id: TaskId| client.get(id).unwrap().finished_at.unwrap();
    assert_eq!((gone.first_at, gone.last_at), (ended(ids[0]), ended(ids[5])));
    assert_ne!(gone.fingerprint, full.fingerprint);
}

fn a_group_of_failures_can_be_run_again(lab: &Lab) {
    let client = open(lab);
    run(lab, &client, [101, 200, 102]);
    let failures = client.failures().unwrap();
    let ids = &failures.groups[0].ids;
    let group = ids.iter().fold(Filter::new(), |filter, id| filter.id(*id));
    assert_eq!(client.bulk(&group).expecting(2).retry().unwrap().done, 2);
}

fn a_count_stops_where_it_is_told_to(lab: &Lab) {
    let client = open(lab);
    run(lab, &client, [1, 2, 3]);
    let done = Filter::new().state(State::Succeeded);
    let told = |most| client.count_up_to(&done, most).unwrap().to_string();
    assert_eq!([told(0), told(2), told(3), told(4)], ["0+", "2+", "3", "3"]);
    assert_eq!(client.count_up_to(&done.kind("send"), 7).unwrap().to_string(), "0");
}

fn pages(client: &Client, filter: &Filter, size: usize) -> Vec<TaskId> {
    let (mut ids, mut from) = (Vec::new(), None);
    loop {
        let page = client.browse(filter, from, size).unwrap();
        assert!(page.tasks.len() <= size && page.bad.is_empty());
        ids.extend(page.tasks.iter().map(|task| task.id));
        from = page.next.map(|place| place.to_string().parse::<Place>().unwrap());
        if from.is_none() {
            return ids;
        }
    }
}

fn a_list_of_ended_tasks_begins_with_the_last_end(lab: &Lab) {
    let client = open(lab);
    let late = client.enqueue(copy::with(9).run_after(MINUTE)).unwrap();
    let ids = run(lab, &client, [1, 101, 2, 102]);
    lab.advance(&client, MINUTE);
    lab.ended(&client, &late);
    let ended = [State::Succeeded, State::Failed].into_iter().fold(Filter::new(), Filter::state);
    for size in [1, 2, 10] {
        assert_eq!(pages(&client, &ended, size), [late.id(), ids[3], ids[2], ids[1], ids[0]]);
        let failed = Filter::new().state(State::Failed);
        assert_eq!(pages(&client, &failed, size), [ids[3], ids[1]]);
        assert_eq!(pages(&client, &failed.kind("send"), size), []);
        let succeeded = Filter::new().state(State::Succeeded).queue("files");
        assert_eq!(pages(&client, &succeeded, size), [late.id(), ids[2], ids[0]]);
        assert_eq!(
            pages(&client, &Filter::new(), size),
            [ids[3], ids[2], ids[1], ids[0], late.id()]
        );
    }
}

fn a_list_of_one_live_state_is_narrowed_by_queue_and_kind(lab: &Lab) {
    let client = open(lab);
    let mail = client.enqueue_many((0..5).map(|_| send::with("a").run_after(MINUTE))).unwrap();
    let files = client.enqueue_many((0..5).map(|at| copy::with(at).run_after(MINUTE))).unwrap();
    run(lab, &client, [1]);
    let mut mail: Vec<TaskId> = mail.iter().map(litework::Handle::id).collect();
    let mut files: Vec<TaskId> = files.iter().map(litework::Handle::id).collect();
    mail.reverse();
    files.reverse();
    let scheduled = Filter::new().state(State::Scheduled);
    for size in [1, 3, 10] {
        assert_eq!(pages(&client, &scheduled.clone().queue("mail"), size), mail);
        assert_eq!(pages(&client, &scheduled.clone().kind("copy"), size), files);
        assert_eq!(pages(&client, &scheduled.clone().kind("copy").queue("mail"), size), []);
        assert_eq!(pages(&client, &scheduled, size), [files.clone(), mail.clone()].concat());
        assert_eq!(pages(&client, &Filter::new().state(State::Ready), size), []);
    }
}

fn each_task_is_on_one_page_whatever_the_filter(lab: &Lab) {
    let client = open(lab);
    run(lab, &client, [1, 101, 2]);
    client
        .enqueue_many((0..4).map(|_| send::with("a").run_after(MINUTE).tag("red").owner("u")))
        .unwrap();
    let all = Filter::new();
    for filter in [
        all.clone(),
        all.clone().tag("red"),
        all.clone().owner("u"),
        all.clone().kind("copy"),
        all.clone().queue("mail").state(State::Scheduled).tag("red"),
        all.clone().state(State::Scheduled).state(State::Succeeded),
        all.clone().error("gone"),
        all.clone().created_after(lab.now()),
    ] {
        let mut listed: Vec<TaskId> =
            client.list(&filter, None, 100).unwrap().tasks.iter().map(|task| task.id).collect();
        let mut browsed = pages(&client, &filter, 2);
        listed.sort_by_key(TaskId::to_string);
        browsed.sort_by_key(TaskId::to_string);
        assert_eq!(browsed, listed, "{filter:?}");
        assert!(!listed.is_empty());
    }
}

fn a_place_of_another_order_is_refused(lab: &Lab) {
    let client = open(lab);
    run(lab, &client, [1, 2]);
    let next = client.browse(&Filter::new(), None, 1).unwrap().next;
    let done = Filter::new().state(State::Succeeded);
    assert_eq!(client.browse(&done, next, 1).unwrap_err().code(), "bad_cursor");
    assert_eq!(client.browse(&done, None, 0).unwrap_err().code(), "out_of_range");
    assert_eq!("r-7".parse::<Place>().unwrap_err().code(), "bad_cursor");
}
