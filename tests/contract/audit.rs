//! Who did what is noted with the deed, and nowhere is it noted where nobody is known to act.

use std::time::Duration;

use litework::{
    AuditRecord, Client, Context, Error, EventKind, Failure, Filter, Keep, Limits, Pending, Prune,
    Result, Retention, Schedule, Scope, State, task,
};
use serde_json::json;

use crate::common::{Lab, Runs};

crate::everywhere! {
    each_deed_to_a_task_is_noted_with_who_when_and_why,
    a_deed_to_many_is_one_entry_with_their_number_and_the_filter,
    what_changes_nothing_is_not_noted,
    where_nobody_is_known_to_act_nothing_is_noted,
    queues_limits_and_schedules_are_noted_by_name,
    what_is_pruned_in_somebodys_name_is_noted_and_what_goes_by_itself_is_not,
    what_bodies_and_receivers_do_meanwhile_is_not_his,
    pages_go_from_the_newest_to_the_oldest,
    entries_are_removed_after_ninety_days,
    an_actor_without_a_fit_name_is_refused,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[task(queue = "mail", attempts = 1)]
fn send(to: &str) -> Result<()> {
    if to == "nobody" { Err(Failure::from("no such address")) } else { Ok(()) }
}

fn open(lab: &Lab) -> Client {
    lab.builder().register(send).open().unwrap()
}

fn entries(client: &Client) -> Vec<AuditRecord> {
    client.audit(None, 1_000).unwrap().entries
}

fn actions(client: &Client) -> Vec<(String, u64)> {
    let mut entries = entries(client);
    entries.reverse();
    entries.into_iter().map(|entry| (entry.action, entry.count)).collect()
}

fn each_deed_to_a_task_is_noted_with_who_when_and_why(lab: &Lab) {
    let client = open(lab);
    let ada = client.acting_as("ada").unwrap().because("the customer asked").unwrap();
    let late = client.enqueue(send::with("a").run_after(HOUR)).unwrap();
    lab.clock.advance(Duration::from_secs(1));
    let due_at = lab.now().after(DAY);
    ada.reschedule(late.id(), due_at).unwrap();
    let entry = entries(&client).remove(0);
    assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("ada", "reschedule"));
    assert_eq!((entry.at, entry.count), (lab.now(), 1));
    assert_eq!(entry.note.as_deref(), Some("the customer asked"));
    let what = json!({ "ids": [late.id().to_string()], "due_at": due_at.to_string() });
    assert_eq!(serde_json::Value::Object(entry.what), what);
    let copy = ada.edit_as_copy(late.id(), |edit| edit.argument("to", "nobody")).unwrap();
    ada.cancel(copy.id).unwrap();
    ada.retry(late.id()).unwrap();
    lab.ended(&client, &late);
    ada.delete(late.id()).unwrap();
    let expected = ["reschedule", "edit_as_copy", "cancel", "retry", "delete"];
    assert_eq!(actions(&client), expected.map(|action| (action.to_owned(), 1)));
    assert!(entries(&client).iter().all(|entry| entry.actor == "ada" && entry.note.is_some()));
}

fn a_deed_to_many_is_one_entry_with_their_number_and_the_filter(lab: &Lab) {
    let client = open(lab);
    let late = |_| send::with("a").run_after(HOUR).owner("u");
    // More than are done in one commit.
    client.enqueue_many((0..1_200).map(late)).unwrap();
    let ada = client.acting_as("ada").unwrap();
    let all = Filter::new().kind("send").state(State::Scheduled);
    assert_eq!(ada.bulk(&all).cancel().unwrap().done, 1_200);
    let [entry] = entries(&client).try_into().unwrap();
    assert_eq!((entry.action.as_str(), entry.count), ("cancel", 1_200));
    let what = json!({ "states": ["scheduled"], "kinds": ["send"] });
    assert_eq!(serde_json::Value::Object(entry.what), what);
    assert_eq!(ada.erase("u").unwrap().tasks, 1_200);
    let entry = entries(&client).remove(0);
    assert_eq!((entry.action.as_str(), entry.what["owner"].as_str()), ("erase", Some("u")));
}

fn what_changes_nothing_is_not_noted(lab: &Lab) {
    let client = open(lab);
    let ada = client.acting_as("ada").unwrap();
    let handle = client.enqueue(send::with("a")).unwrap();
    lab.ended(&client, &handle);
    ada.cancel(handle.id()).unwrap();
    ada.reschedule(handle.id(), lab.now()).unwrap_err();
    ada.resume(&Scope::queue("mail")).unwrap();
    ada.delete("1-0000000000000").unwrap_err();
    ada.bulk(&Filter::new().state(State::Failed)).retry().unwrap();
    ada.schedules().remove("none").unwrap_err();
    assert_eq!(entries(&client), []);
}

fn where_nobody_is_known_to_act_nothing_is_noted(lab: &Lab) {
    let client = open(lab);
    let late = client.enqueue(send::with("a").run_after(HOUR)).unwrap();
    client.because("no reason").unwrap().cancel(late.id()).unwrap();
    client.pause(&Scope::queue("mail")).unwrap();
    assert_eq!(entries(&client), []);
}

fn queues_limits_and_schedules_are_noted_by_name(lab: &Lab) {
    let schedule = Schedule::every("hourly", HOUR, send::with("a"));
    let client = lab.builder().register(send).schedule(schedule).open().unwrap();
    let ada = client.acting_as("ada").unwrap();
    let mail = Scope::queue("mail");
    ada.pause(&mail).unwrap();
    ada.resume(&mail).unwrap();
    ada.set_limits(&mail, Limits::none().max_running(2)).unwrap();
    ada.reset_limits(&Scope::kind("send")).unwrap();
    let schedules = ada.schedules();
    schedules.add(Schedule::every("daily", DAY, send::with("b"))).unwrap();
    schedules.edit("hourly", |edit| edit.every(2 * HOUR)).unwrap();
    schedules.disable("hourly").unwrap();
    schedules.reset("hourly").unwrap();
    schedules.run_all_now(&["hourly", "daily"]).unwrap();
    schedules.remove("daily").unwrap();
    let expected = [
        "pause",
        "resume",
        "set_limits",
        "reset_limits",
        "add_schedule",
        "edit_schedule",
        "disable_schedule",
        "reset_schedule",
        "run_schedule",
        "remove_schedule",
    ];
    assert_eq!(actions(&client), expected.map(|action| (action.to_owned(), 1)));
    let mut entries = entries(&client);
    entries.reverse();
    let what = |at: usize| serde_json::Value::Object(entries[at].what.clone());
    assert_eq!(what(2), json!({ "queue": "mail", "max_running": 2 }));
    assert_eq!(what(3), json!({ "kind": "send" }));
    assert_eq!(what(8), json!({ "schedules": ["hourly", "daily"] }));
    if lab.runs(Runs::Pool) {
        ada.set_workers(3).unwrap();
        let entry = self::entries(&client).remove(0);
        assert_eq!(
            (entry.action.as_str(), entry.what["threads"].as_u64()),
            ("set_workers", Some(3))
        );
    }
}

fn what_is_pruned_in_somebodys_name_is_noted_and_what_goes_by_itself_is_not(lab: &Lab) {
    let kept = Retention::all(Keep::age(HOUR));
    let client = lab.builder().register(send).retention(kept).open().unwrap();
    let fill = |tasks: usize| {
        for _ in 0..tasks {
            lab.ended(&client, &client.enqueue(send::with("a")).unwrap());
        }
    };
    let ada = client.acting_as("ada").unwrap().because("the disk is full").unwrap();
    fill(40);
    assert_eq!(ada.prune(Prune::new()).unwrap().total(), 0);
    let all = Retention::all(Keep::age(Duration::ZERO));
    assert_eq!(ada.prune(Prune::by(all.clone()).dry_run()).unwrap().total(), 39);
    assert_eq!(entries(&client), [], "nothing is removed yet");
    assert_eq!(ada.prune(Prune::by(all.clone()).queue("mail")).unwrap().total(), 39);
    let [entry] = entries(&client).try_into().unwrap();
    assert_eq!((entry.action.as_str(), entry.count, entry.at), ("prune", 39, lab.now()));
    assert_eq!(entry.note.as_deref(), Some("the disk is full"));
    assert_eq!(entry.what["queues"], json!(["mail"]));
    assert!(entry.what["retention"]["failed"]["age"].is_string(), "{:?}", entry.what);
    fill(2);
    client.prune(all).unwrap();
    fill(1);
    lab.clock.advance(2 * HOUR);
    client.run_pending(&Pending::all()).unwrap();
    assert_eq!(entries(&client).len(), 1, "in nobody's name, and by itself");
}

fn what_bodies_and_receivers_do_meanwhile_is_not_his(lab: &Lab) {
    #[task]
    fn meddle(ctx: &Context) -> std::result::Result<(), Error> {
        ctx.client().unwrap().pause(&Scope::queue("mail")).map(drop)
    }
    let client =
        lab.builder().register(send).register(meddle).on([EventKind::Cancelled], |client, _| {
            client.set_limits(&Scope::queue("mail"), Limits::none().max_running(1)).unwrap();
        });
    let client = client.open().unwrap();
    let ada = client.acting_as("ada").unwrap();
    let done = client.enqueue(meddle::with()).unwrap();
    lab.ended(&client, &done);
    ada.retry(done.id()).unwrap();
    lab.ended(&client, &done);
    let late = client.enqueue(meddle::with().run_after(HOUR)).unwrap();
    ada.cancel(late.id()).unwrap();
    assert_eq!(client.limits().unwrap().len(), 1, "the receiver was called");
    assert_eq!(client.paused().unwrap().len(), 1);
    assert_eq!(actions(&client), ["retry", "cancel"].map(|action| (action.to_owned(), 1)));
}

fn pages_go_from_the_newest_to_the_oldest(lab: &Lab) {
    let client = open(lab);
    let mail = Scope::queue("mail");
    for actor in ["ada", "bob", "eve"] {
        let one = client.acting_as(actor).unwrap();
        one.pause(&mail).unwrap();
        one.resume(&mail).unwrap();
    }
    let (mut told, mut from) = (Vec::new(), None);
    loop {
        let page = client.audit(from, 4).unwrap();
        told.extend(page.entries.into_iter().map(|entry| (entry.actor, entry.action)));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let expected = ["eve", "bob", "ada"]
        .into_iter()
        .flat_map(|actor| ["resume", "pause"].map(|action| (actor.to_owned(), action.to_owned())));
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert_eq!(client.audit(None, 0).unwrap_err().code(), "out_of_range");
}

fn entries_are_removed_after_ninety_days(lab: &Lab) {
    let client = open(lab);
    let mail = Scope::queue("mail");
    let ada = client.acting_as("ada").unwrap();
    ada.pause(&mail).unwrap();
    lab.clock.advance(90 * DAY);
    ada.resume(&mail).unwrap();
    assert_eq!(entries(&client).len(), 2);
    lab.clock.advance(DAY);
    ada.pause(&mail).unwrap();
    let left: Vec<String> = entries(&client).into_iter().map(|entry| entry.action).collect();
    assert_eq!(left, ["pause", "resume"]);
}

fn an_actor_without_a_fit_name_is_refused(lab: &Lab) {
    let client = open(lab);
    for name in ["", "a\nb", &"x".repeat(201)] {
        assert_eq!(client.acting_as(name).unwrap_err().code(), "bad_actor");
        assert_eq!(client.because(name).unwrap_err().code(), "bad_actor");
    }
    client.acting_as(&"x".repeat(200)).unwrap();
}
