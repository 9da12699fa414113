//! What ended long ago goes, and only that.

use std::time::Duration;

use litework::{
    Client, Failure, Filter, Handle, Keep, Prune, Result, Retention, Signature, State, Unique, task,
};

use crate::common::{Lab, Place};

crate::everywhere! {
    what_ended_is_kept_for_7_days_and_what_failed_for_30,
    an_age_of_0_removes_what_has_just_ended,
    an_age_of_0_for_failures_is_not_taken_for_none,
    what_has_not_ended_is_never_removed,
    the_newest_task_stays_so_that_no_id_comes_twice,
    a_count_keeps_the_newest,
    a_count_of_one_queue_counts_that_queue_only,
    a_queue_has_rules_of_its_own,
    only_the_queues_that_are_named_are_touched,
    a_dry_run_counts_what_a_real_one_removes_and_removes_nothing,
    what_a_call_says_of_its_own_retention_wins_over_the_rules,
    what_a_kind_says_of_its_retention_wins_over_the_rules,
    a_unique_key_is_kept_for_its_period,
    nothing_is_left_of_a_removed_task,
    a_key_is_free_once_its_task_is_removed,
    rules_out_of_their_range_are_refused,
    many_tasks_go_in_slices,
    a_pass_after_a_jump_of_the_clock_must_be_confirmed,
    a_task_that_was_started_anew_stays,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A millisecond is missing.
const ALMOST_A_DAY: Duration = Duration::from_millis(24 * 60 * 60 * 1_000 - 1);

#[task(attempts = 1)]
fn end(how: String) -> Result<String> {
    match how.as_str() {
        "fail" => Err(Failure::give_up("as asked")),
        "cancel" => Err(Failure::cancelled()),
        _ => Ok(how),
    }
}

#[task(keep_for = "1h")]
fn brief(n: u32) -> u32 {
    n
}

fn open(lab: &Lab) -> Client {
    lab.builder().register(end).register(brief).prune(false).open().unwrap()
}

fn ended<T: Signature>(lab: &Lab, client: &Client, handle: &Handle<T>) -> State {
    lab.ended(client, handle).state
}

/// One task of each outcome that a body can bring about, and one more that stays as the newest.
fn one_of_each(lab: &Lab, client: &Client) {
    for how in ["succeed", "fail", "cancel"] {
        let handle = client.enqueue(end::with(how)).unwrap();
        ended(lab, client, &handle);
    }
    newest(client);
}

/// A task that keeps the others from being the newest.
fn newest(client: &Client) {
    client.enqueue(end::with("last").run_after(1_000 * DAY)).unwrap();
}

fn none_kept() -> Retention {
    Retention::all(Keep::age(Duration::ZERO))
}

fn count(client: &Client) -> u64 {
    client.count(&Filter::new()).unwrap()
}

fn what_ended_is_kept_for_7_days_and_what_failed_for_30(lab: &Lab) {
    let client = open(lab);
    one_of_each(lab, &client);
    lab.clock.advance(6 * DAY + ALMOST_A_DAY);
    assert_eq!(client.prune(Prune::new()).unwrap().total(), 0);
    lab.clock.advance(Duration::from_millis(1));
    let pruned = client.prune(Prune::new()).unwrap();
    let found = State::ALL.iter().map(|state| (*state, pruned.of(*state)));
    let found: Vec<_> = found.filter(|(_, tasks)| *tasks > 0).collect();
    assert_eq!(found, [(State::Succeeded, 1), (State::Cancelled, 1)]);
    lab.clock.advance(22 * DAY + ALMOST_A_DAY);
    assert_eq!(client.prune(Prune::new()).unwrap().total(), 0);
    lab.clock.advance(Duration::from_millis(1));
    assert_eq!(client.prune(Prune::new()).unwrap().of(State::Failed), 1);
    assert_eq!(count(&client), 1);
}

fn an_age_of_0_removes_what_has_just_ended(lab: &Lab) {
    let client = open(lab);
    one_of_each(lab, &client);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 3);
    assert_eq!(count(&client), 1);
}

fn an_age_of_0_for_failures_is_not_taken_for_none(lab: &Lab) {
    let client = open(lab);
    one_of_each(lab, &client);
    let pruned = client.prune(Retention::default().failed(Keep::age(Duration::ZERO))).unwrap();
    assert_eq!((pruned.total(), pruned.of(State::Failed)), (1, 1));
    let read: Retention = serde_json::from_str(r#"{"failed": {"age": "0s"}}"#).unwrap();
    assert_eq!(read, Retention::default().failed(Keep::age(Duration::ZERO)));
}

fn what_has_not_ended_is_never_removed(lab: &Lab) {
    let client = open(lab);
    let later = client.enqueue(end::with("later").run_after(DAY)).unwrap();
    newest(&client);
    lab.clock.advance(400 * DAY);
    let pruned = client.prune(Retention::all(Keep::age(Duration::ZERO).count(0)));
    // Whoever runs tasks may have begun, and ended, the one that is due by now.
    let state = later.refresh().map(|task| task.state);
    match pruned.unwrap().total() {
        0 => assert!(state.is_ok(), "{state:?}"),
        _ => assert_eq!(state.unwrap_err().code(), "not_found"),
    }
    assert!(count(&client) >= 1);
}

fn the_newest_task_stays_so_that_no_id_comes_twice(lab: &Lab) {
    let client = open(lab);
    let handles: Vec<_> =
        (0..5).map(|n| client.enqueue(end::with(n.to_string())).unwrap()).collect();
    for handle in &handles {
        ended(lab, &client, handle);
    }
    assert_eq!(client.prune(none_kept()).unwrap().total(), 4);
    assert_eq!(handles[4].value().unwrap(), "4");
    let next = client.enqueue(end::with("next")).unwrap();
    assert_eq!(next.id().row(), handles[4].id().row() + 1);
    let gone = client.get(handles[0].id()).unwrap_err();
    assert_eq!(gone.code(), "not_found");
}

fn a_count_keeps_the_newest(lab: &Lab) {
    let client = open(lab);
    let mut handles = Vec::new();
    for n in 0..6 {
        lab.clock.advance(Duration::from_millis(1));
        handles.push(client.enqueue(end::with(n.to_string())).unwrap());
        ended(lab, &client, &handles[n]);
    }
    let failed = client.enqueue(end::with("fail")).unwrap();
    ended(lab, &client, &failed);
    let keep = Retention::forever().succeeded(Keep::forever().count(2));
    assert_eq!(client.prune(keep).unwrap().of(State::Succeeded), 4);
    let kept: Vec<bool> = handles.iter().map(|handle| handle.refresh().is_ok()).collect();
    assert_eq!(kept, [false, false, false, false, true, true]);
    let none = Retention::forever().succeeded(Keep::forever().count(0));
    assert_eq!(client.prune(none).unwrap().total(), 2);
    assert!(failed.refresh().is_ok());
}

fn in_queue(lab: &Lab, client: &Client, queue: &'static str, tasks: usize) {
    for _ in 0..tasks {
        let handle = client.enqueue(end::with("x").queue(queue)).unwrap();
        ended(lab, client, &handle);
    }
}

fn a_count_of_one_queue_counts_that_queue_only(lab: &Lab) {
    let client = open(lab);
    for queue in ["a", "b", "c"] {
        in_queue(lab, &client, queue, 4);
    }
    newest(&client);
    let two = Keep::forever().count(2);
    let retention = Retention::forever()
        .succeeded(Keep::forever().count(5))
        .queue("a", Retention::default().succeeded(two));
    let pruned = client.prune(retention).unwrap();
    // Of b and c together 5 are kept: the newest, those of c and one of b.
    assert_eq!(["a", "b", "c"].map(|queue| pruned.in_queue(queue)), [2, 3, 0]);
}

fn a_queue_has_rules_of_its_own(lab: &Lab) {
    let client = open(lab);
    for queue in ["a", "b"] {
        in_queue(lab, &client, queue, 2);
        ended(lab, &client, &client.enqueue(end::with("fail").queue(queue)).unwrap());
    }
    newest(&client);
    // What the queue does not set is as in all others.
    let differs = Retention::default().succeeded(Keep::forever());
    let pruned = client.prune(none_kept().queue("a", differs)).unwrap();
    assert_eq!((pruned.in_queue("a"), pruned.in_queue("b")), (1, 3));
    assert_eq!((pruned.of(State::Failed), pruned.of(State::Succeeded)), (2, 2));
}

fn only_the_queues_that_are_named_are_touched(lab: &Lab) {
    let client = open(lab);
    for queue in ["a", "b", "c"] {
        in_queue(lab, &client, queue, 2);
    }
    newest(&client);
    let pruned = client.prune(Prune::by(none_kept()).queue("a").queue("c")).unwrap();
    assert_eq!(["a", "b", "c"].map(|queue| pruned.in_queue(queue)), [2, 0, 2]);
    assert_eq!(client.prune(Prune::by(none_kept()).queue("unknown")).unwrap().total(), 0);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 2);
}

fn a_dry_run_counts_what_a_real_one_removes_and_removes_nothing(lab: &Lab) {
    let client = open(lab);
    one_of_each(lab, &client);
    let before = count(&client);
    let dry = client.prune(Prune::by(none_kept()).dry_run()).unwrap();
    assert!(dry.dry_run);
    assert_eq!((dry.total(), count(&client)), (3, before));
    let real = client.prune(none_kept()).unwrap();
    assert!(!real.dry_run);
    assert_eq!((real.tasks, count(&client)), (dry.tasks, before - 3));
}

fn what_a_call_says_of_its_own_retention_wins_over_the_rules(lab: &Lab) {
    let client = open(lab);
    let short = client.enqueue(end::with("short").keep_for(Duration::ZERO)).unwrap();
    let long = client.enqueue(end::with("long").keep_for(60 * DAY)).unwrap();
    let plain = client.enqueue(end::with("plain")).unwrap();
    for handle in [&short, &long, &plain] {
        ended(lab, &client, handle);
    }
    newest(&client);
    assert_eq!(client.prune(Prune::new()).unwrap().total(), 1);
    assert_eq!(short.refresh().unwrap_err().code(), "not_found");
    assert_eq!(client.prune(none_kept()).unwrap().total(), 1);
    assert_eq!(plain.refresh().unwrap_err().code(), "not_found");
    lab.clock.advance(60 * DAY);
    assert_eq!(client.prune(Retention::forever()).unwrap().total(), 1);
    assert_eq!(long.refresh().unwrap_err().code(), "not_found");
}

fn what_a_kind_says_of_its_retention_wins_over_the_rules(lab: &Lab) {
    let client = open(lab);
    let handle = client.enqueue(brief::with(1)).unwrap();
    ended(lab, &client, &handle);
    let longer = client.enqueue(brief::with(2).keep_for(3 * DAY)).unwrap();
    ended(lab, &client, &longer);
    newest(&client);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 0);
    lab.clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(client.prune(Prune::new()).unwrap().total(), 1);
    assert!(handle.refresh().is_err() && longer.refresh().is_ok());
}

/// What keeps a second call away for an hour does so though it has ended.
fn a_unique_key_is_kept_for_its_period(lab: &Lab) {
    let client = open(lab);
    let hour = Duration::from_secs(60 * 60);
    let call = || end::with("once").unique(Unique::arguments().within(hour));
    let first = client.enqueue(call()).unwrap();
    ended(lab, &client, &first);
    newest(&client);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 0);
    assert_eq!(client.enqueue(call()).unwrap().id(), first.id());
    lab.clock.advance(hour);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 1);
    let second = client.enqueue(call()).unwrap();
    assert!(second.id() != first.id());
}

fn nothing_is_left_of_a_removed_task(lab: &Lab) {
    let client = open(lab);
    let large = "x".repeat(5_000);
    let handles = client.enqueue_many([end::with(&large), end::with("fail")]).unwrap();
    for handle in &handles {
        ended(lab, &client, handle);
    }
    newest(&client);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 2);
    for handle in &handles {
        assert_eq!(client.attempts(handle.id()).unwrap_err().code(), "not_found");
    }
    if lab.keeps_tasks() {
        let conn = rusqlite::Connection::open(lab.path()).unwrap();
        for table in ["payload", "error", "step", "edge"] {
            let sql = format!("SELECT count(*) FROM litework_{table}");
            let left: i64 = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(left, 0, "{table}");
        }
    }
}

fn a_key_is_free_once_its_task_is_removed(lab: &Lab) {
    let client = open(lab);
    let first = client.enqueue(end::with("x").key("k")).unwrap();
    ended(lab, &client, &first);
    newest(&client);
    assert!(client.enqueue(end::with("x").key("k")).unwrap().is_existing());
    assert_eq!(client.prune(none_kept()).unwrap().total(), 1);
    assert_eq!(client.find("k").unwrap(), None);
    let again = client.enqueue(end::with("other").key("k")).unwrap();
    assert!(!again.is_existing() && again.id() != first.id());
}

fn rules_out_of_their_range_are_refused(lab: &Lab) {
    let client = open(lab);
    let century = 365 * 100 * DAY;
    assert!(client.prune(Retention::all(Keep::age(century))).is_ok());
    let long = Keep::age(century + Duration::from_secs(1));
    for (retention, text) in [
        (
            Retention::default().failed(long),
            "out_of_range: age of what failed is 3153600001s; 0 to 100 years",
        ),
        (
            Retention::default().queue("mail", Retention::default().skipped(long)),
            "out_of_range: age of what skipped in queue mail is 3153600001s; 0 to 100 years",
        ),
        (
            Retention::default().queue("a b", Retention::forever()),
            "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; \
             1–64 of A–Z a–z 0–9 . _ -",
        ),
        (
            Retention::default().queue("a", Retention::default().queue("b", Retention::forever())),
            "out_of_range: queue within the retention of queue a is \"b\"; queues stand side by side",
        ),
    ] {
        assert_eq!(client.prune(&retention).unwrap_err().to_string(), text);
        let other = Lab::new(Place { ..lab.place });
        assert_eq!(other.builder().retention(retention).open().unwrap_err().to_string(), text);
    }
    for bad in ["-1d", "1.5d", "d", "5 m", "m 5", "99999999999999999999d", "7w", ""] {
        let text = format!(r#"{{"failed": {{"age": "{bad}"}}}}"#);
        let error = serde_json::from_str::<Retention>(&text).unwrap_err().to_string();
        let expected = format!(
            "\"{bad}\" is no time span: a whole number and a unit (ms, s, m, h or d), such as \"10m\""
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    let error = serde_json::from_str::<Retention>(r#"{"failure": {}}"#).unwrap_err().to_string();
    assert!(error.starts_with("unknown key `failure`; did you mean `failed`?"), "{error}");
    let kept = Retention::default().failed(Keep::age(DAY / 288));
    assert_eq!(serde_json::to_string(&kept).unwrap(), r#"{"failed":{"age":"5m"}}"#);
}

fn many_tasks_go_in_slices(lab: &Lab) {
    let client = open(lab);
    let handles = client.enqueue_many((0..2_500).map(brief::with)).unwrap();
    for handle in &handles {
        ended(lab, &client, handle);
    }
    newest(&client);
    lab.clock.advance(DAY);
    assert_eq!(client.prune(Prune::new()).unwrap().total(), 2_500);
    assert_eq!(count(&client), 1);
}

fn a_pass_after_a_jump_of_the_clock_must_be_confirmed(lab: &Lab) {
    let client = open(lab);
    one_of_each(lab, &client);
    let jump = Duration::from_secs(2 * 60 * 60);
    lab.clock.set(lab.now().after(jump));
    let refused = client.prune(none_kept()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "clock_jumped: the machine's clock is not to be trusted: it was set forward by about 7200 s; \
         wait until it has been stable for 10 min, or say that it is `confirmed`"
    );
    assert_eq!(client.prune(Prune::by(none_kept()).dry_run()).unwrap().total(), 3);
    assert_eq!(count(&client), 4);
    assert_eq!(client.prune(Prune::by(none_kept()).confirmed()).unwrap().total(), 3);
    one_of_each(lab, &client);
    assert_eq!(client.prune(none_kept()).unwrap().total(), 3, "it was confirmed");
    lab.clock.set(lab.now().after(jump));
    assert_eq!(client.prune(none_kept()).unwrap_err().code(), "clock_jumped");
    lab.clock.advance(Duration::from_secs(10 * 60));
    assert_eq!(client.prune(none_kept()).unwrap().total(), 0, "it has been stable");
}

/// The first that ended is started anew before it is old; the walk must not take it for ended.
fn a_task_that_was_started_anew_stays(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let client = open(lab);
    one_of_each(lab, &client);
    let conn = rusqlite::Connection::open(lab.path()).unwrap();
    let anew = "UPDATE litework_task SET state = 'scheduled', reason = 'delayed', \
                finished_at = NULL, due_at = due_at + 100000000000 \
                WHERE state = 'succeeded'";
    assert_eq!(conn.execute(anew, []), Ok(1));
    let pruned = client.prune(none_kept()).unwrap();
    assert_eq!((pruned.total(), pruned.of(State::Succeeded)), (2, 0));
}
