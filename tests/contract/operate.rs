//! What people do from outside is the same wherever tasks are kept and whoever runs them: run it again,
//! forget it, move it, copy it, to one task or to all that are meant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litework::{
    Cancelled, Capability, Cause, Client, Context, Error, EventKind, Exclusive, Filter, Flow,
    Handle, Limit, Mode, OWNER_BYTES_MAX, Options, Rate, Reason, Result, Scope, State, TaskId,
    TaskRecord, TaskRef, Timestamp, Unique, task,
};

use serde_json::json;

use crate::common::{Lab, Log, Runs};

crate::everywhere! {
    an_owner_travels_with_its_tasks,
    an_owner_out_of_range_is_refused,
    a_filter_narrows_by_owner_id_time_and_error,
    a_filter_narrows_by_what_stands_in_the_arguments,
    too_many_ids_are_refused,
    a_failed_task_is_retried_with_its_first_allowance_and_keeps_its_errors,
    a_success_that_is_retried_runs_again_and_has_a_new_value,
    what_has_not_ended_cannot_be_retried,
    what_was_cancelled_or_expired_runs_when_it_is_retried,
    a_deleted_task_is_gone_with_all_that_hangs_on_it,
    what_is_dismissed_is_off_its_owners_list_until_it_is_retried,
    a_number_is_not_given_out_again,
    a_task_is_moved_to_another_moment_and_its_expiry_with_it,
    what_has_ended_cannot_be_moved,
    a_copy_differs_in_what_was_edited_and_takes_the_place_of_what_had_not_started,
    a_copy_keeps_each_digit_of_what_was_not_edited,
    a_copy_of_what_has_ended_leaves_it_as_it_was,
    a_copy_with_a_bad_value_changes_nothing,
    what_other_tasks_hang_on_is_not_copied,
    a_copy_expires_as_long_after_its_due_time_as_the_first,
    what_a_copy_cannot_change_is_refused,
    all_that_are_meant_are_counted_and_then_changed,
    all_that_are_meant_are_copied_with_one_change,
    what_has_ended_is_copied_only_if_it_is_named,
    what_is_tied_to_others_is_passed_over_by_a_copy_of_many,
    a_batch_stops_no_copies_where_only_some_queues_may_be_used,
    many_copies_with_a_bad_value_change_nothing,
    what_succeeded_is_retried_only_if_it_is_named,
    many_more_than_expected_are_left_alone,
    a_second_look_finds_nothing_left_to_do,
    all_of_an_owner_is_erased_and_nothing_of_others,
    what_waits_for_its_time_says_so,
    what_has_ended_says_so,
    only_a_pool_has_threads_to_be_set,
    whoever_runs_tasks_is_listed_while_he_lives,
    what_is_paused_is_not_started_until_it_is_resumed,
    what_waits_at_a_gate_says_which_and_who_is_in,
    a_unique_task_is_not_retried_beside_another_of_its_key,
    a_moved_or_deleted_task_lets_the_next_at_its_gate_go_on,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Whether the next attempts succeed.
#[derive(Debug, Clone, Default)]
struct Repaired(Arc<AtomicBool>);

#[task(attempts = 2, retry = [0s])]
fn print(ctx: &Context, page: u32) -> Result<u32> {
    ctx.state::<Log>()?.note(format!("{page}"));
    if ctx.state::<Repaired>()?.0.load(Ordering::SeqCst) {
        return Ok(page + 10 * ctx.attempt());
    }
    Err(format!("no paper for {page}"))?
}

#[task(queue = "mail")]
fn send(ctx: &Context, to: &str) -> Result<Option<String>> {
    ctx.state::<Log>()?.note(to);
    Ok(ctx.owner().map(str::to_owned))
}

struct Shop {
    client: Client,
    log: Log,
    repaired: Repaired,
}

fn shop(lab: &Lab) -> Shop {
    let (log, repaired) = (Log::default(), Repaired::default());
    let builder = lab.builder().register(print).register(send).state(log.clone());
    let client = builder.state(repaired.clone()).open().unwrap();
    Shop { client, log, repaired }
}

impl Shop {
    fn repair(&self) {
        self.repaired.0.store(true, Ordering::SeqCst);
    }

    /// A task that has spent its attempts.
    fn failed(&self, lab: &Lab, page: u32) -> Handle<<print as TaskRef>::Task> {
        let handle = self.client.enqueue(print::with(page)).unwrap();
        assert_eq!(lab.ended(&self.client, &handle).state, State::Failed);
        handle
    }

    fn later(&self, to: &str) -> Handle<<send as TaskRef>::Task> {
        self.client.enqueue(send::with(to).run_after(HOUR)).unwrap()
    }
}

fn code<T>(answer: std::result::Result<T, Error>) -> &'static str {
    answer.map(|_| ()).unwrap_err().code()
}

impl Shop {
    /// A task that was made ready again, when it has ended.
    fn ended(&self, lab: &Lab, id: TaskId) -> TaskRecord {
        let handle = self.client.handle::<print>(id).unwrap();
        lab.ended(&self.client, &handle)
    }
}

fn an_owner_travels_with_its_tasks(lab: &Lab) {
    let shop = shop(lab);
    let ada = shop.client.enqueue(send::with("a").owner("ada")).unwrap();
    let nobody = shop.client.enqueue(send::with("b")).unwrap();
    assert_eq!(lab.wait(&shop.client, &ada).unwrap().as_deref(), Some("ada"));
    assert_eq!(lab.wait(&shop.client, &nobody).unwrap(), None);
    assert_eq!(ada.refresh().unwrap().owner.as_deref(), Some("ada"));
    assert_eq!(nobody.refresh().unwrap().owner, None);
    let calls = ["c", "d"].map(|to| send::with(to).owner("ada").run_after(HOUR));
    for handle in shop.client.enqueue_many(calls).unwrap() {
        assert_eq!(handle.refresh().unwrap().owner.as_deref(), Some("ada"));
    }
}

fn an_owner_out_of_range_is_refused(lab: &Lab) {
    let shop = shop(lab);
    for owner in ["", "a\nb", &"o".repeat(OWNER_BYTES_MAX + 1)] {
        assert_eq!(code(shop.client.enqueue(send::with("a").owner(owner))), "bad_owner");
        assert_eq!(code(shop.client.erase(owner)), "bad_owner");
    }
    let longest = "o".repeat(OWNER_BYTES_MAX);
    shop.client.enqueue(send::with("a").owner(&longest)).unwrap();
    assert_eq!(shop.client.count(&Filter::new().owner(longest)).unwrap(), 1);
}

fn a_filter_narrows_by_owner_id_time_and_error(lab: &Lab) {
    let shop = shop(lab);
    let began = lab.now();
    let failed = shop.failed(lab, 7);
    lab.advance(&shop.client, HOUR);
    let later = shop.later("a");
    let owned = shop.client.enqueue(send::with("b").owner("ada").run_after(HOUR)).unwrap();
    let rows = |filter: Filter| -> Vec<TaskId> {
        assert_eq!(shop.client.count(&filter).unwrap(), {
            shop.client.list(&filter, None, 100).unwrap().tasks.len() as u64
        });
        shop.client.list(&filter, None, 100).unwrap().tasks.iter().map(|task| task.id).collect()
    };
    let (first, second, third) = (failed.id(), later.id(), owned.id());
    assert_eq!(rows(Filter::new().owner("ada")), [third]);
    assert_eq!(rows(Filter::new().owner("nobody")), []);
    assert_eq!(rows(Filter::new().id(first).id(third)), [third, first]);
    assert_eq!(rows(Filter::new().created_after(lab.now())), [third, second]);
    assert_eq!(rows(Filter::new().created_before(lab.now())), [first]);
    assert_eq!(rows(Filter::new().finished_after(began)), [first]);
    assert_eq!(rows(Filter::new().finished_after(lab.now())), []);
    assert_eq!(rows(Filter::new().finished_before(lab.now())), [first]);
    assert_eq!(rows(Filter::new().finished_before(began)), []);
    assert_eq!(rows(Filter::new().error("paper for 7")), [first]);
    assert_eq!(rows(Filter::new().error("Paper")), []);
    // The number of one task with the tag of another names none.
    let (number, tag) = (first.to_string(), third.to_string());
    let (number, tag) = (number.split_once('-').unwrap().0, tag.split_once('-').unwrap().1);
    let guess: TaskId = format!("{number}-{tag}").parse().unwrap();
    assert_eq!(rows(Filter::new().id(guess).id(third)), [third]);
}

#[task]
fn keep(what: serde_json::Value) {
    drop(what);
}

fn a_filter_narrows_by_what_stands_in_the_arguments(lab: &Lab) {
    let client = lab.builder().register(keep).open().unwrap();
    let kept = [
        json!("Ada"),
        json!({ "customer": { "id": 42, "name": "Größe \"L\"" }, "lines": [{ "sku": "7" }, { "sku": 7 }] }),
        json!({ "customer": { "id": "42" }, "vip": true, "until": null, "rate": 1.5 }),
        json!({ "customer": { "id": 42.0 }, "vip": "true", "until": "", "a b": -1, "lines": [[1, 2]] }),
        json!(u64::MAX),
    ];
    let ids = kept.map(|what| client.enqueue(keep::with(what).run_after(HOUR)).unwrap().id());
    let found = |path: &str, value: &str| -> Vec<usize> {
        let filter = Filter::new().arg(path, value);
        let listed = client.list(&filter, None, 9).unwrap().tasks;
        assert_eq!(client.browse(&filter, None, 9).unwrap().tasks, listed);
        assert_eq!(client.count(&filter).unwrap(), listed.len() as u64);
        let place = |task: &TaskRecord| ids.iter().position(|id| *id == task.id).unwrap();
        listed.iter().map(place).rev().collect()
    };
    for (path, value, places) in [
        ("what", "Ada", &[0][..]),
        ("what", "ada", &[]),
        ("what", "\"Ada\"", &[]),
        ("what.customer.id", "42", &[1, 2]),
        ("what.customer.id", "42.0", &[3]),
        ("what.customer.id", "4", &[]),
        ("what.customer.name", "Größe \"L\"", &[1]),
        ("what.lines[0].sku", "7", &[1]),
        ("what.lines[1].sku", "7", &[1]),
        ("what.lines[2].sku", "7", &[]),
        ("what.lines[0][1]", "2", &[3]),
        ("what.lines.0.sku", "7", &[]),
        ("what.vip", "true", &[2, 3]),
        ("what.vip", "1", &[]),
        ("what.until", "null", &[2]),
        ("what.until", "", &[3]),
        ("what.rate", "1.5", &[2]),
        ("what.a b", "-1", &[3]),
        ("what", "18446744073709551615", &[4]),
        ("what.customer", "{\"id\":\"42\"}", &[]),
        ("what.lines", "[[1,2]]", &[]),
        ("nothing", "null", &[]),
    ] {
        assert_eq!(found(path, value), places, "{path} = {value}");
    }
    let both = Filter::new().arg("what.customer.id", "42").arg("what.vip", "true");
    assert_eq!(client.list(&both, None, 9).unwrap().tasks[0].id, ids[2]);
    assert_eq!(client.bulk(&both).cancel().unwrap().done, 1);
    assert_eq!(code(client.count(&Filter::new().arg("what..id", "42"))), "bad_path");
    let many = (0..11).fold(Filter::new(), |filter, _| filter.arg("what", "1"));
    assert_eq!(code(client.count(&many)), "out_of_range");
}

fn too_many_ids_are_refused(lab: &Lab) {
    let shop = shop(lab);
    let id = shop.later("a").id();
    let filter = (0..1_001).fold(Filter::new(), |filter, _| filter.id(id));
    assert_eq!(code(shop.client.list(&filter, None, 1)), "out_of_range");
    assert_eq!(code(shop.client.count(&filter)), "out_of_range");
    assert_eq!(code(shop.client.bulk(&filter).count()), "out_of_range");
    assert_eq!(code(shop.client.bulk(&filter).delete()), "out_of_range");
}

fn a_failed_task_is_retried_with_its_first_allowance_and_keeps_its_errors(lab: &Lab) {
    let shop = shop(lab);
    let id = shop.failed(lab, 7).id();
    for round in 2..4 {
        shop.client.retry(id).unwrap();
        let task = shop.ended(lab, id);
        assert_eq!((task.state, task.reason), (State::Failed, Some(Reason::Error)));
        assert_eq!((task.attempt, task.attempts_max), (2 * round, 2 * round));
        assert_eq!(shop.client.attempts(id).unwrap().len(), 2 * round as usize);
    }
    shop.repair();
    shop.client.retry(id.to_string()).unwrap();
    let task = shop.ended(lab, id);
    assert_eq!((task.state, task.value::<u32>().unwrap()), (State::Succeeded, 77));
    assert!(task.error.is_some(), "its errors are kept");
    assert_eq!(shop.log.len(), 7);
}

fn a_success_that_is_retried_runs_again_and_has_a_new_value(lab: &Lab) {
    let shop = shop(lab);
    shop.repair();
    let handle = shop.client.enqueue(print::with(7)).unwrap();
    assert_eq!(lab.wait(&shop.client, &handle).unwrap(), 17);
    shop.client.retry(handle.id()).unwrap();
    assert_eq!(shop.ended(lab, handle.id()).value::<u32>().unwrap(), 27);
}

fn what_has_not_ended_cannot_be_retried(lab: &Lab) {
    let shop = shop(lab);
    let later = shop.later("a");
    assert_eq!(code(shop.client.retry(later.id())), "not_finished");
    assert_eq!(code(shop.client.retry("7-nobody")), "not_found");
    assert_eq!(later.refresh().unwrap().state, State::Scheduled);
}

fn what_was_cancelled_or_expired_runs_when_it_is_retried(lab: &Lab) {
    let shop = shop(lab);
    shop.repair();
    let cancelled = shop.client.enqueue(print::with(1).run_after(HOUR)).unwrap();
    cancelled.cancel().unwrap();
    shop.client.retry(cancelled.id()).unwrap();
    let task = shop.ended(lab, cancelled.id());
    assert_eq!((task.state, task.cancel_requested), (State::Succeeded, false));
    assert_eq!(task.due_at, lab.now(), "it is due when it is retried");
    let minute = Duration::from_secs(60);
    let call = print::with(2).run_after(HOUR).expires_after(minute);
    let expired = shop.client.enqueue(call).unwrap();
    shop.client.cancel(expired.id()).unwrap();
    lab.advance(&shop.client, 2 * HOUR);
    shop.client.retry(expired.id()).unwrap();
    let task = shop.ended(lab, expired.id());
    assert_eq!((task.state, task.expires_at), (State::Succeeded, None));
}

fn a_deleted_task_is_gone_with_all_that_hangs_on_it(lab: &Lab) {
    let shop = shop(lab);
    let failed = shop.failed(lab, 7);
    let call = send::with("x".repeat(5_000)).key("once").run_after(HOUR);
    let later = shop.client.enqueue(call.clone()).unwrap();
    let kept = shop.later("kept");
    shop.client.delete(failed.id()).unwrap();
    shop.client.delete(later.id()).unwrap();
    for id in [failed.id(), later.id()] {
        assert_eq!(code(shop.client.get(id)), "not_found");
        assert_eq!(code(shop.client.attempts(id)), "not_found");
        assert_eq!(code(shop.client.delete(id)), "not_found");
        assert_eq!(code(shop.client.retry(id)), "not_found");
        assert_eq!(code(shop.client.why(id)), "not_found");
    }
    assert_eq!(code(later.wait(HOUR)), "not_found");
    assert_eq!(shop.client.find("once").unwrap(), None);
    assert_ne!(shop.client.enqueue(call).unwrap().id(), later.id(), "its key is free");
    assert_eq!(shop.client.count(&Filter::new()).unwrap(), 2);
    lab.advance(&shop.client, HOUR);
    lab.wait(&shop.client, &kept).unwrap();
    assert_eq!(shop.log.words().iter().filter(|word| *word == "kept").count(), 1);
}

fn what_is_dismissed_is_off_its_owners_list_until_it_is_retried(lab: &Lab) {
    let shop = shop(lab);
    let ended = shop.client.enqueue(send::with("a").owner("ada")).unwrap();
    lab.wait(&shop.client, &ended).unwrap();
    let later = shop.client.enqueue(send::with("b").owner("ada").run_after(HOUR)).unwrap();
    assert_eq!(code(shop.client.dismiss(later.id())), "not_finished");
    shop.client.dismiss(ended.id()).unwrap();
    shop.client.dismiss(ended.id()).unwrap();
    let listed = |dismissed| {
        let page = shop.client.list(&Filter::new().owner("ada").dismissed(dismissed), None, 9);
        page.unwrap().tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert_eq!((listed(false), listed(true)), (vec![later.id()], vec![ended.id()]));
    let task = shop.client.get(ended.id()).unwrap();
    assert_eq!((task.state, task.dismissed), (State::Succeeded, true), "all else stays");
    shop.client.retry(ended.id()).unwrap();
    assert!(!shop.client.get(ended.id()).unwrap().dismissed, "it is waited for again");
    shop.client.delete(ended.id()).unwrap_or_else(|error| assert_eq!(error.code(), "running"));
}

fn a_number_is_not_given_out_again(lab: &Lab) {
    let shop = shop(lab);
    let number = |id: TaskId| id.to_string().split_once('-').unwrap().0.to_owned();
    let first = shop.later("a").id();
    shop.client.delete(first).unwrap();
    assert_eq!(shop.client.count(&Filter::new()).unwrap(), 0);
    let second = shop.later("b").id();
    assert_ne!(number(first), number(second));
    shop.client.delete(second).unwrap();
    let third = shop.later("c").id();
    assert_ne!(number(second), number(third));
    let listed = shop.client.list(&Filter::new(), None, 9).unwrap().tasks;
    assert_eq!(listed.iter().map(|task| task.id).collect::<Vec<_>>(), [third]);
}

fn a_task_is_moved_to_another_moment_and_its_expiry_with_it(lab: &Lab) {
    let shop = shop(lab);
    let minute = Duration::from_secs(60);
    let call = send::with("a").run_after(HOUR).expires_after(minute);
    let handle = shop.client.enqueue(call).unwrap();
    let later = lab.now().after(3 * HOUR);
    shop.client.reschedule(handle.id(), later.to_chrono()).unwrap();
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.due_at), (State::Scheduled, later));
    assert_eq!(task.expires_at, Some(later.after(minute)));
    lab.advance(&shop.client, 2 * HOUR);
    assert_eq!(handle.refresh().unwrap().state, State::Scheduled, "not at its first time");
    shop.client.reschedule(handle.id(), lab.now()).unwrap();
    lab.wait(&shop.client, &handle).unwrap();
    assert_eq!(shop.log.words(), ["a"]);
    let bad = chrono::DateTime::from_timestamp_millis(-1).unwrap();
    assert_eq!(code(shop.client.reschedule(handle.id(), bad)), "time_out_of_range");
}

fn what_has_ended_cannot_be_moved(lab: &Lab) {
    let shop = shop(lab);
    let failed = shop.failed(lab, 7);
    let before = failed.refresh().unwrap();
    let moment = lab.now().after(HOUR).to_chrono();
    let refused = shop.client.reschedule(failed.id(), moment).unwrap_err();
    assert!(
        matches!(refused, Error::WrongState { state: State::Failed, .. })
            && refused.code() == "already_finished",
        "{refused}"
    );
    assert_eq!(failed.refresh().unwrap(), before);
}

fn a_copy_differs_in_what_was_edited_and_takes_the_place_of_what_had_not_started(lab: &Lab) {
    let shop = shop(lab);
    let call = send::with("a").run_after(HOUR).key("k").tag("t").owner("ada").priority(3);
    let wrong = shop.client.enqueue(call.meta("m", 1).timeout(HOUR)).unwrap();
    let edit = |edit: litework::Edit| edit.argument("to", "b").queue("post").tag("s");
    let copy = shop.client.edit_as_copy(wrong.id(), edit).unwrap();
    let old = wrong.refresh().unwrap();
    assert_eq!((old.state, old.reason), (State::Cancelled, Some(Reason::Asked)));
    assert_eq!((copy.arguments.as_str(), copy.queue.as_str()), (r#"{"to":"b"}"#, "post"));
    assert_eq!((copy.kind.as_str(), copy.priority, copy.due_at), ("send", 3, old.due_at));
    assert_eq!((copy.owner.as_deref(), copy.tags), (Some("ada"), vec!["s".into(), "t".into()]));
    assert_eq!((copy.key, copy.meta), (None, old.meta));
    lab.advance(&shop.client, HOUR);
    lab.wait(&shop.client, &shop.client.handle::<send>(copy.id).unwrap()).unwrap();
    assert_eq!(shop.log.words(), ["b"]);
}

/// More digits than a number in memory has.
#[task]
fn weigh(atoms: u128, name: &str) -> String {
    format!("{atoms} {name}")
}

fn a_copy_keeps_each_digit_of_what_was_not_edited(lab: &Lab) {
    let client = lab.builder().register(weigh).open().unwrap();
    let late = || weigh::with(u128::MAX, "a").run_after(HOUR);
    let first = client.enqueue(late()).unwrap();
    let copy = client.edit_as_copy(first.id(), |edit| edit.priority(3)).unwrap();
    assert_eq!(copy.arguments, first.refresh().unwrap().arguments);
    let copy = client.edit_as_copy(copy.id, |edit| edit.argument("name", "b")).unwrap();
    assert_eq!(copy.arguments, format!(r#"{{"atoms":{},"name":"b"}}"#, u128::MAX));
    let all = Filter::new().id(copy.id);
    client.bulk(&all).edit_as_copy(|edit| edit.argument("name", "c")).unwrap();
    lab.advance(&client, HOUR);
    let named = |task: &TaskRecord| task.arguments.contains(r#""name":"c""#);
    let last = client.list(&Filter::new(), None, 9).unwrap().tasks.into_iter().find(named).unwrap();
    let value = lab.wait(&client, &client.handle::<weigh>(last.id).unwrap()).unwrap();
    assert_eq!(value, format!("{} c", u128::MAX));
}

fn a_copy_of_what_has_ended_leaves_it_as_it_was(lab: &Lab) {
    let shop = shop(lab);
    let failed = shop.failed(lab, 7);
    let before = failed.refresh().unwrap();
    shop.repair();
    let copy = shop.client.edit_as_copy(failed.id(), |edit| edit.argument("page", 8)).unwrap();
    assert_eq!(shop.ended(lab, copy.id).value::<u32>().unwrap(), 18);
    assert_eq!(failed.refresh().unwrap(), before);
}

fn a_copy_with_a_bad_value_changes_nothing(lab: &Lab) {
    let shop = shop(lab);
    let later = shop.later("a");
    let id = later.id();
    assert_eq!(code(shop.client.edit_as_copy(id, |edit| edit.priority(101))), "out_of_range");
    assert_eq!(code(shop.client.edit_as_copy(id, |edit| edit.queue("no queue"))), "bad_queue");
    assert_eq!(code(shop.client.edit_as_copy(id, |edit| edit.owner(""))), "bad_owner");
    assert_eq!(code(shop.client.edit_as_copy(id, |edit| edit.attempts(0))), "out_of_range");
    assert_eq!(later.refresh().unwrap().state, State::Scheduled);
    assert_eq!(shop.client.count(&Filter::new()).unwrap(), 1);
}

/// A copy would have no edges and no batch: it would run too early, or others would end with the first.
fn what_other_tasks_hang_on_is_not_copied(lab: &Lab) {
    let shop = shop(lab);
    let refused = |id: TaskId, why: &str| {
        let before = shop.client.get(id).unwrap();
        let error = shop.client.edit_as_copy(id, |edit| edit.priority(1)).unwrap_err();
        assert_eq!(error.code(), "linked", "{error}");
        let said = error.to_string();
        let begins = format!("linked: task {id} is {}; {why}", before.state);
        assert!(said.starts_with(&begins), "{said}, not {begins}");
        assert_eq!(shop.client.get(id).unwrap(), before);
    };
    let first = shop.later("a");
    let second = shop.client.enqueue(send::with("b").after([first.id()])).unwrap();
    refused(second.id(), "it waits for others");
    refused(first.id(), "others wait for it");
    second.cancel().unwrap();
    let copy = shop.client.edit_as_copy(first.id(), |edit| edit.argument("to", "c")).unwrap();

    let parts = ["d", "e"].map(|to| send::with(to).run_after(HOUR));
    let batch = shop.client.enqueue_flow(Flow::group("post", parts)).unwrap();
    let part = shop.client.list(&Filter::new().kind("send"), None, 1).unwrap().tasks.remove(0).id;
    refused(batch.id(), "it stands for a flow");
    refused(part, "it is a member of a flow");
    shop.repair();
    let page = shop.client.enqueue(print::with(7)).unwrap();
    let next = print::with(0).after([page.id()]).takes_result("page");
    let next = shop.client.enqueue(next).unwrap();
    lab.advance(&shop.client, HOUR);
    let sent = |id| lab.ended(&shop.client, &shop.client.handle::<send>(id).unwrap());
    sent(copy.id);
    lab.ended(&shop.client, &batch);
    lab.ended(&shop.client, &next);
    refused(next.id(), "it takes the results of others");
    refused(batch.id(), "it stands for a flow");
    let copy = shop.client.edit_as_copy(part, |edit| edit.argument("to", "f")).unwrap();
    sent(copy.id);
    assert_eq!(batch.refresh().unwrap().state, State::Succeeded);
    let mut sent = shop.log.words();
    sent.sort_unstable();
    assert_eq!(sent, ["17", "7", "c", "d", "e", "f"]);
}

fn a_copy_expires_as_long_after_its_due_time_as_the_first(lab: &Lab) {
    let client = lab.builder().mode(Mode::Hold).register(send).open().unwrap();
    let long_ago = Timestamp::MIN.after(HOUR).to_chrono();
    let call = || send::with("a").expires_after(HOUR);
    let overdue = client.enqueue(call().run_at(long_ago)).unwrap();
    let expires_at = overdue.refresh().unwrap().expires_at;
    assert_eq!(expires_at, Some(lab.now().after(HOUR)));
    let copy = client.edit_as_copy(overdue.id(), |edit| edit.argument("to", "b")).unwrap();
    assert_eq!(copy.expires_at, expires_at);
    // It goes where its due time goes, as with `reschedule`.
    let moved = client.edit_as_copy(copy.id, |edit| edit.run_after(3 * HOUR)).unwrap();
    assert_eq!(moved.expires_at, Some(lab.now().after(4 * HOUR)));
    let longer = |edit: litework::Edit| edit.options(|options| options.expires_after(2 * HOUR));
    let longer = client.edit_as_copy(moved.id, longer).unwrap();
    assert_eq!(longer.expires_at, Some(lab.now().after(5 * HOUR)));
}

fn what_a_copy_cannot_change_is_refused(lab: &Lab) {
    let shop = shop(lab);
    let later = shop.later("a");
    let rate = Rate::per(1, HOUR);
    for (name, options) in [
        ("description", Options::new().description("b")),
        ("alias", Options::new().alias("b")),
        ("needs", Options::new().needs(Capability::Durable)),
        ("client", Options::new().client("b")),
        ("on_commit", Options::new().on_commit(false)),
        ("unique", Options::new().unique(Unique::key("b"))),
        ("exclusive", Options::new().exclusive(Exclusive::lock("b"))),
        ("limit", Options::new().limit(Limit::per_key("b", 1))),
        ("rate_per_key", Options::new().rate_per_key("b", rate)),
        ("max_running", Options::new().max_running(1)),
        ("rate", Options::new().rate(rate)),
        ("follow", Options::new().follow(EventKind::Finished, "send")),
    ] {
        let refused =
            shop.client.edit_as_copy(later.id(), |edit| edit.options(|_| options)).unwrap_err();
        let text = refused.to_string();
        let start = format!("unsupported: option of a copy is \"{name}\"; ");
        assert!(text.starts_with(&start), "{text}");
    }
    assert_eq!(shop.client.count(&Filter::new()).unwrap(), 1);
    assert_eq!(later.refresh().unwrap().state, State::Scheduled);
}

fn all_that_are_meant_are_counted_and_then_changed(lab: &Lab) {
    let shop = shop(lab);
    let failed: Vec<TaskId> = (0..3).map(|page| shop.failed(lab, page).id()).collect();
    let calls = (0..600).map(|n| send::with(format!("{n}")).run_after(HOUR));
    shop.client.enqueue_many(calls).unwrap();
    shop.repair();
    let broken = Filter::new().state(State::Failed);
    assert_eq!(shop.client.bulk(&broken).count().unwrap(), 3);
    assert_eq!(shop.client.bulk(&broken).expecting(3).retry().unwrap().done, 3);
    for id in failed {
        assert_eq!(shop.ended(lab, id).state, State::Succeeded);
    }
    let mail = Filter::new().queue("mail");
    let later = lab.now().after(2 * HOUR);
    assert_eq!(shop.client.bulk(&mail).reschedule(later).unwrap().done, 600);
    lab.advance(&shop.client, HOUR);
    assert_eq!(shop.client.count(&Filter::new().state(State::Scheduled)).unwrap(), 600);
    assert_eq!(shop.client.bulk(&mail).cancel().unwrap().done, 600);
    assert_eq!(shop.client.count(&Filter::new().state(State::Cancelled)).unwrap(), 600);
    assert_eq!(shop.client.bulk(&mail).delete().unwrap().done, 600);
    assert_eq!(shop.client.count(&Filter::new()).unwrap(), 3);
}

fn all_that_are_meant_are_copied_with_one_change(lab: &Lab) {
    let shop = shop(lab);
    let calls = (0..300).map(|n| send::with(format!("{n}")).run_after(HOUR).tag("t").owner("ada"));
    let wrong = shop.client.enqueue_many(calls).unwrap();
    let other = shop.client.enqueue(print::with(7).run_after(HOUR)).unwrap();
    let mail = Filter::new().queue("mail");
    let refused = shop.client.bulk(&mail).expecting(9).edit_as_copy(|edit| edit.priority(5));
    assert_eq!(code(refused), "changed");
    let count = shop.client.bulk(&mail).count().unwrap();
    let bulk = shop.client.bulk(&mail).expecting(count);
    let done = bulk.edit_as_copy(|edit| edit.argument("to", "ada").queue("post").tag("s")).unwrap();
    assert_eq!((done.done, done.asked, done.left), (300, 0, 0));
    let post = Filter::new().queue("post");
    let copies = shop.client.list(&post, None, 500).unwrap().tasks;
    assert_eq!(copies.len(), 300, "each once");
    for copy in &copies {
        assert_eq!((copy.arguments.as_str(), copy.tags.len()), (r#"{"to":"ada"}"#, 2));
        assert_eq!((copy.owner.as_deref(), copy.state), (Some("ada"), State::Scheduled));
    }
    for old in [&wrong[0], &wrong[299]] {
        let old = old.refresh().unwrap();
        assert_eq!((old.state, old.reason), (State::Cancelled, Some(Reason::Asked)));
    }
    assert_eq!(other.refresh().unwrap().state, State::Scheduled);
    assert_eq!(shop.client.bulk(&mail).edit_as_copy(|edit| edit).unwrap().done, 0, "none is left");
    lab.advance(&shop.client, HOUR);
    lab.wait(&shop.client, &shop.client.handle::<send>(copies[0].id).unwrap()).unwrap();
    lab.wait(&shop.client, &shop.client.handle::<send>(copies[299].id).unwrap()).unwrap();
}

fn what_has_ended_is_copied_only_if_it_is_named(lab: &Lab) {
    let shop = shop(lab);
    let failed = shop.failed(lab, 7);
    let before = failed.refresh().unwrap();
    shop.repair();
    let (all, named) = (Filter::new(), Filter::new().state(State::Failed));
    assert_eq!(shop.client.bulk(&all).edit_as_copy(|edit| edit).unwrap().done, 0);
    let done = shop.client.bulk(&named).edit_as_copy(|edit| edit.argument("page", 8)).unwrap();
    assert_eq!((done.done, done.left), (1, 0));
    let copy = shop.client.list(&all, None, 1).unwrap().tasks.remove(0).id;
    assert_eq!(shop.ended(lab, copy).value::<u32>().unwrap(), 18);
    assert_eq!(failed.refresh().unwrap(), before, "what was run stays as it was");
}

fn what_is_tied_to_others_is_passed_over_by_a_copy_of_many(lab: &Lab) {
    let shop = shop(lab);
    let plain = shop.later("plain");
    let before = shop.client.enqueue(print::with(7).run_after(HOUR)).unwrap();
    let waits = shop.client.enqueue(send::with("second").after([before.id()])).unwrap();
    let flow = Flow::group("letters", [send::with("member").run_after(HOUR)]);
    let batch = shop.client.enqueue_flow(flow).unwrap();
    let copied = |filter: &Filter| {
        let done = shop.client.bulk(filter).edit_as_copy(|edit| edit.priority(5)).unwrap();
        (done.done, done.left)
    };
    assert_eq!(copied(&Filter::new().kind("send")), (1, 2), "what waits and the member are left");
    assert_eq!(copied(&Filter::new().id(batch.id())), (0, 1), "and the batch");
    assert_eq!(copied(&Filter::new().id(before.id())), (0, 1), "and what others wait for");
    assert_eq!(plain.refresh().unwrap().state, State::Cancelled);
    assert!(!shop.client.get(batch.id()).unwrap().state.is_final());
    let waits = waits.refresh().unwrap();
    assert_eq!((waits.state, waits.priority), (State::Waiting, 0));
}

/// The batch of a flow stands in a queue of its own.
fn a_batch_stops_no_copies_where_only_some_queues_may_be_used(lab: &Lab) {
    let builder = lab.builder().allow_queues(["mail"]).mode(Mode::Hold);
    let client = builder.register(send).open().unwrap();
    let batch = client.enqueue_flow(Flow::group("letters", [send::with("member")])).unwrap();
    let plain = client.enqueue(send::with("plain")).unwrap();
    let error = client.edit_as_copy(batch.id(), |edit| edit).unwrap_err();
    assert_eq!(error.code(), "linked", "{error}");
    let done = client.bulk(&Filter::new()).edit_as_copy(|edit| edit.priority(5)).unwrap();
    assert_eq!((done.done, done.left), (1, 2));
    assert_eq!(plain.refresh().unwrap().state, State::Cancelled);
}

fn many_copies_with_a_bad_value_change_nothing(lab: &Lab) {
    let shop = shop(lab);
    let later = shop.later("a");
    let bulk = || shop.client.bulk(&Filter::new());
    assert_eq!(code(bulk().edit_as_copy(|edit| edit.priority(101))), "out_of_range");
    assert_eq!(code(bulk().edit_as_copy(|edit| edit.queue("no queue"))), "bad_queue");
    assert_eq!(later.refresh().unwrap().state, State::Scheduled);
    assert_eq!(shop.client.count(&Filter::new()).unwrap(), 1);
    shop.client.shutdown(HOUR).unwrap();
    assert_eq!(code(bulk().edit_as_copy(|edit| edit)), "closed");
}

fn what_succeeded_is_retried_only_if_it_is_named(lab: &Lab) {
    let shop = shop(lab);
    shop.repair();
    let handle = shop.client.enqueue(print::with(7)).unwrap();
    lab.wait(&shop.client, &handle).unwrap();
    assert_eq!(shop.client.bulk(&Filter::new()).retry().unwrap().done, 0);
    let named = Filter::new().state(State::Succeeded);
    assert_eq!(shop.client.bulk(&named).retry().unwrap().done, 1);
    assert_eq!(shop.ended(lab, handle.id()).value::<u32>().unwrap(), 27);
}

fn many_more_than_expected_are_left_alone(lab: &Lab) {
    let shop = shop(lab);
    let calls = (0..41).map(|n| send::with(format!("{n}")).run_after(HOUR));
    shop.client.enqueue_many(calls).unwrap();
    let all = Filter::new();
    let refused = shop.client.bulk(&all).expecting(30).cancel().unwrap_err();
    assert_eq!(refused.code(), "changed");
    assert!(refused.to_string().contains("41; at most 40, as 30 were counted before"), "{refused}");
    assert_eq!(shop.client.count(&Filter::new().state(State::Scheduled)).unwrap(), 41);
    assert_eq!(shop.client.bulk(&all).expecting(31).cancel().unwrap().done, 41);
}

fn a_second_look_finds_nothing_left_to_do(lab: &Lab) {
    let shop = shop(lab);
    (0..3).for_each(|n| drop(shop.later(&format!("{n}"))));
    let failed = shop.failed(lab, 7);
    let done = shop.client.bulk(&Filter::new()).cancel().unwrap();
    assert_eq!((done.done, done.asked, done.left), (3, 0, 1), "one has ended");
    let again = shop.client.bulk(&Filter::new()).cancel().unwrap();
    assert_eq!((again.done, again.left), (0, 4));
    assert_eq!(failed.refresh().unwrap().state, State::Failed);
}

fn all_of_an_owner_is_erased_and_nothing_of_others(lab: &Lab) {
    let shop = shop(lab);
    let ada = shop.client.enqueue(send::with("a").owner("ada")).unwrap();
    lab.wait(&shop.client, &ada).unwrap();
    let later = send::with("b".repeat(5_000)).owner("ada").run_after(HOUR);
    let later = shop.client.enqueue(later).unwrap();
    let bob = shop.client.enqueue(send::with("c").owner("bob").run_after(HOUR)).unwrap();
    let nobody = shop.later("d");
    let erased = shop.client.erase("ada").unwrap();
    assert_eq!((erased.tasks, erased.running), (2, vec![]));
    assert!(erased.log_emptied);
    for id in [ada.id(), later.id()] {
        assert_eq!(code(shop.client.get(id)), "not_found");
    }
    assert_eq!(bob.refresh().unwrap().owner.as_deref(), Some("bob"));
    assert_eq!(nobody.refresh().unwrap().state, State::Scheduled);
    assert_eq!(shop.client.erase("ada").unwrap().tasks, 0);
}

fn what_waits_for_its_time_says_so(lab: &Lab) {
    let shop = shop(lab);
    let later = shop.later("a");
    let why = shop.client.why(later.id()).unwrap();
    assert_eq!((why.cause, why.until), (Cause::NotDue, Some(lab.now().after(HOUR))));
    assert!(why.text.ends_with("in 3600 s"), "{}", why.text);
}

fn what_has_ended_says_so(lab: &Lab) {
    let shop = shop(lab);
    let why = shop.client.why(shop.failed(lab, 7).id()).unwrap();
    assert_eq!((why.cause, why.until), (Cause::Ended { state: State::Failed }, None));
}

fn only_a_pool_has_threads_to_be_set(lab: &Lab) {
    let shop = shop(lab);
    for threads in [0, 1_025] {
        assert_eq!(code(shop.client.set_workers(threads)), "out_of_range");
    }
    if !lab.runs(Runs::Pool) {
        assert_eq!(code(shop.client.set_workers(2)), "no_pool");
        return;
    }
    for threads in [5, 1, 3] {
        shop.client.set_workers(threads).unwrap();
        assert_eq!(shop.client.workers().unwrap()[0].threads, threads);
        let calls = (0..20).map(|n| send::with(format!("{n}")));
        for handle in shop.client.enqueue_many(calls).unwrap() {
            lab.wait(&shop.client, &handle).unwrap();
        }
    }
    shop.client.shutdown(HOUR).unwrap();
    assert_eq!(code(shop.client.set_workers(2)), "closed");
}

fn whoever_runs_tasks_is_listed_while_he_lives(lab: &Lab) {
    let shop = shop(lab);
    let handle = shop.client.enqueue(send::with("a")).unwrap();
    lab.wait(&shop.client, &handle).unwrap();
    let workers = shop.client.workers().unwrap();
    assert_eq!(workers.len(), 1, "{workers:?}");
    let worker = &workers[0];
    assert_eq!((worker.pid, worker.serves), (std::process::id(), lab.runs(Runs::Pool)));
    assert_eq!(
        (worker.kinds.as_slice(), worker.since),
        (&["print", "send"].map(str::to_owned)[..], lab.now())
    );
    assert_eq!((worker.takes_queue("mail"), worker.knows("send")), (worker.serves, true));
    assert_eq!(handle.refresh().unwrap().worker, Some(worker.id));
    shop.client.shutdown(HOUR).unwrap();
    assert_eq!(shop.client.workers().unwrap(), []);
}

#[task(queue = "slow")]
fn guarded(ctx: &Context, note: &str) -> Result<()> {
    ctx.state::<Log>()?.note(note);
    Ok(())
}

fn guards(lab: &Lab) -> (Client, Log) {
    let log = Log::default();
    let client = lab.builder().register(guarded).state(log.clone()).open().unwrap();
    (client, log)
}

/// Not run while its queue is paused, which every place knows at once.
fn what_is_paused_is_not_started_until_it_is_resumed(lab: &Lab) {
    let (client, log) = guards(lab);
    for scope in [Scope::queue("slow"), Scope::kind("guarded")] {
        assert!(client.pause(&scope).unwrap());
        let handle = client.enqueue(guarded::with("a")).unwrap();
        let later = client.enqueue(guarded::with("b").run_after(HOUR)).unwrap();
        lab.advance(&client, HOUR);
        assert_eq!(log.len(), 0, "{scope}");
        let why = client.why(handle.id()).unwrap();
        let since = client.paused().unwrap()[0].since;
        assert_eq!(why.cause, Cause::Paused { scope: scope.clone(), since });
        assert_eq!(why.text, format!("the {scope} is paused since {since}"));
        assert_eq!(client.cancel(later.id()).unwrap(), Cancelled::Now);
        assert!(client.resume(&scope).unwrap());
        assert_eq!(client.paused().unwrap(), []);
        lab.wait(&client, &handle).unwrap();
        assert_eq!(log.words(), ["a"]);
        client.bulk(&Filter::new()).delete().unwrap();
        log.clear();
    }
}

/// Each gate names itself, and the lock its holder.
fn what_waits_at_a_gate_says_which_and_who_is_in(lab: &Lab) {
    let (client, _) = guards(lab);
    client.pause(&Scope::queue("slow")).unwrap();
    let rate = Rate::per(1, HOUR);
    let calls = [
        guarded::with("a").exclusive(Exclusive::lock("the lock").wait()),
        guarded::with("b").limit(Limit::per_key("the limit", 1)),
        guarded::with("c").rate_per_key("the rate", rate),
    ];
    for (call, name) in calls.into_iter().zip(["the lock", "the limit", "the rate"]) {
        // The first stands before the second.
        client.enqueue(call.clone()).unwrap();
        let second = client.enqueue(call).unwrap();
        let cause = client.why(second.id()).unwrap().cause;
        let name = name.to_owned();
        let expected = match name.as_str() {
            "the lock" => Cause::Lock { name, holder: None },
            "the limit" => Cause::Limit { name },
            _ => Cause::Rate { name },
        };
        assert_eq!(cause, expected);
    }
}

/// A key that another task has taken meanwhile is not taken back.
fn a_unique_task_is_not_retried_beside_another_of_its_key(lab: &Lab) {
    let (client, log) = guards(lab);
    let call = || guarded::with("a").unique(Unique::key("only")).run_after(HOUR);
    let first = client.enqueue(call()).unwrap();
    first.cancel().unwrap();
    let second = client.enqueue(call()).unwrap();
    assert_ne!(first.id(), second.id());
    assert_eq!(code(client.retry(first.id())), "not_unique");
    assert_eq!(client.bulk(&Filter::new()).retry().unwrap().left, 1);
    client.delete(second.id()).unwrap();
    client.retry(first.id()).unwrap();
    let handle = client.handle::<guarded>(first.id()).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(log.words(), ["a"]);
}

/// What leaves its place in line lets the next one in.
fn a_moved_or_deleted_task_lets_the_next_at_its_gate_go_on(lab: &Lab) {
    let (client, _) = guards(lab);
    client.pause(&Scope::queue("slow")).unwrap();
    let call = || guarded::with("a").limit(Limit::per_key("k", 1));
    let handles = client.enqueue_many([call(), call(), call()]).unwrap();
    let states = || -> Vec<State> {
        handles.iter().filter_map(|handle| Some(handle.refresh().ok()?.state)).collect()
    };
    assert_eq!(states(), [State::Ready, State::Waiting, State::Waiting]);
    client.reschedule(handles[0].id(), lab.now().after(HOUR)).unwrap();
    assert_eq!(states(), [State::Scheduled, State::Ready, State::Waiting]);
    client.delete(handles[1].id()).unwrap();
    assert_eq!(states(), [State::Scheduled, State::Ready]);
    client.resume(&Scope::queue("slow")).unwrap();
    lab.wait(&client, &handles[2]).unwrap();
    lab.advance(&client, HOUR);
    lab.wait(&client, &handles[0]).unwrap();
}
