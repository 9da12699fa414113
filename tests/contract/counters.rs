//! What happens to tasks is counted wherever they are kept and whoever runs them, and the numbers stay.

use std::time::Duration;

use litework::{
    Client, Context, Counts, Failure, Filter, LaneCounts, Result, Series, Timestamp, task,
};

use crate::common::{Lab, Log, Runs, eventually};

crate::everywhere! {
    each_task_each_attempt_and_each_end_is_counted,
    what_ends_without_an_attempt_is_counted,
    what_many_deeds_end_is_counted,
    a_call_that_finds_its_task_is_not_counted_again,
    what_is_scheduled_has_not_waited_before_it_was_due,
    how_long_others_kept_a_task_waiting_is_left_out,
    a_series_has_each_step_and_is_narrowed_by_queue_and_kind,
    minutes_become_hours_hours_go_and_totals_stay,
    what_was_counted_outlives_its_client,
    a_series_out_of_range_is_refused,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Does what its arguments say.
#[task(queue = "work", attempts = 2, retry = [0s])]
fn act(ctx: &Context, how: &str) -> Result<()> {
    match how {
        "fail" => Err("it fails")?,
        "give up" => Err(Failure::give_up("no use")),
        "snooze" if ctx.state::<Log>()?.len() == 0 => {
            ctx.state::<Log>()?.note("sleeps");
            Err(Failure::snooze(Duration::from_secs(1)))
        }
        #[expect(clippy::panic, reason = "that is the story")]
        "panic" => panic!("it breaks"),
        _ => Ok(()),
    }
}

#[task(queue = "mail")]
fn send() {}

fn open(lab: &Lab) -> Client {
    lab.builder().state(Log::default()).register(act).register(send).open().unwrap()
}

/// What was ever counted of a kind.
fn counts(client: &Client, kind: &str) -> Counts {
    let totals = client.totals().unwrap();
    let lane = totals.into_iter().find(|lane: &LaneCounts| lane.kind == kind);
    lane.map(|lane| lane.counts).unwrap_or_default()
}

/// Runs what is due until so many tasks of the kind have ended. They are counted after their commit.
fn finish(lab: &Lab, client: &Client, kind: &str, tasks: u64) -> Counts {
    lab.settle(client);
    eventually("the ends are counted", || counts(client, kind).finished() == tasks);
    counts(client, kind)
}

fn each_task_each_attempt_and_each_end_is_counted(lab: &Lab) {
    let client = open(lab);
    for how in ["go", "fail", "give up", "panic"] {
        client.enqueue(act::with(how)).unwrap();
    }
    client.enqueue_many(["go", "go"].map(act::with)).unwrap();
    let came = finish(lab, &client, "act", 6);
    assert_eq!((came.enqueued, came.started), (6, 8), "two were tried again");
    assert_eq!((came.succeeded, came.failed, came.cancelled, came.skipped), (3, 3, 0, 0));
    assert_eq!((came.ok, came.errors, came.panics), (3, 3, 2));
    assert_eq!((came.timeouts, came.interrupted), (0, 0));
    assert_eq!((came.run.count(), came.wait.count()), (8, 8));
    assert_eq!(counts(&client, "send"), Counts::default());

    client.enqueue(act::with("snooze")).unwrap();
    lab.settle(&client);
    eventually("it sleeps", || counts(&client, "act").ok == 4);
    assert_eq!(counts(&client, "act").finished(), 6, "it has not ended");
    lab.advance(&client, Duration::from_secs(2));
    let came = finish(lab, &client, "act", 7);
    assert_eq!((came.enqueued, came.started, came.succeeded, came.ok), (7, 10, 4, 5));
}

fn what_ends_without_an_attempt_is_counted(lab: &Lab) {
    let client = open(lab);
    let late = client.enqueue(send::with().run_after(HOUR)).unwrap();
    client.cancel(late.id()).unwrap();
    let came = finish(lab, &client, "send", 1);
    assert_eq!((came.enqueued, came.started, came.cancelled), (1, 0, 1));
    let deleted = client.enqueue(send::with().run_after(HOUR)).unwrap();
    client.delete(deleted.id()).unwrap();
    assert_eq!(finish(lab, &client, "send", 2).cancelled, 2);
    client.delete(late.id()).unwrap();
    assert_eq!(counts(&client, "send").finished(), 2, "that one had ended before");

    client.enqueue(send::with().run_after(HOUR).expires_after(MINUTE)).unwrap();
    lab.clock.advance(2 * HOUR);
    let came = finish(lab, &client, "send", 3);
    assert_eq!((came.failed, came.started, came.run.count()), (1, 0, 0), "it has expired");
}

fn what_many_deeds_end_is_counted(lab: &Lab) {
    let client = open(lab);
    let late = |number: u64| send::with().run_after(HOUR + Duration::from_millis(number));
    client.enqueue_many((0..25).map(late)).unwrap();
    client.bulk(&Filter::new().kind("send")).cancel().unwrap();
    let came = finish(lab, &client, "send", 25);
    assert_eq!((came.enqueued, came.cancelled), (25, 25));
    client.bulk(&Filter::new().kind("send")).retry().unwrap();
    let came = finish(lab, &client, "send", 50);
    assert_eq!((came.enqueued, came.succeeded, came.started), (25, 25, 25), "they ended twice");
}

fn a_call_that_finds_its_task_is_not_counted_again(lab: &Lab) {
    let client = open(lab);
    for _ in 0..3 {
        client.enqueue(send::with().key("one")).unwrap();
    }
    assert_eq!(finish(lab, &client, "send", 1).enqueued, 1);
}

fn what_is_scheduled_has_not_waited_before_it_was_due(lab: &Lab) {
    let client = open(lab);
    client.enqueue(send::with().run_after(HOUR)).unwrap();
    lab.settle(&client);
    assert_eq!(counts(&client, "send").started, 0);
    lab.clock.advance(HOUR);
    let came = finish(lab, &client, "send", 1);
    assert_eq!((came.wait.count(), came.wait.sum), (1, Duration::ZERO));
    if lab.runs(Runs::RunPending) {
        client.enqueue(send::with().priority(7)).unwrap();
        lab.clock.advance(MINUTE);
        let wait = finish(lab, &client, "send", 2).wait;
        assert_eq!((wait.count(), wait.sum), (2, MINUTE), "whatever its priority");
    }
}

fn how_long_others_kept_a_task_waiting_is_left_out(lab: &Lab) {
    let client = open(lab);
    let first = client.enqueue(act::with("go").run_after(HOUR)).unwrap();
    let next = client.enqueue(send::with().after([first.id()])).unwrap();
    lab.advance(&client, HOUR);
    lab.wait(&client, &first).unwrap();
    lab.ended(&client, &next);
    let came = finish(lab, &client, "send", 1);
    assert_eq!((came.succeeded, came.run.count(), came.wait.count()), (1, 1, 0));
}

fn a_series_has_each_step_and_is_narrowed_by_queue_and_kind(lab: &Lab) {
    let client = open(lab);
    let began = lab.now();
    client.enqueue(act::with("go")).unwrap();
    client.enqueue(send::with()).unwrap();
    finish(lab, &client, "act", 1);
    finish(lab, &client, "send", 1);
    lab.clock.advance(2 * MINUTE);
    client.enqueue(send::with()).unwrap();
    finish(lab, &client, "send", 2);
    let three = Series::new(began, began.after(3 * MINUTE));
    let succeeded = |series: &Series| -> Vec<u64> {
        let buckets = client.counters(series).unwrap();
        buckets.iter().map(|bucket| bucket.counts.succeeded).collect()
    };
    assert_eq!(succeeded(&three), [2, 0, 1]);
    client.flush_counters().unwrap();
    assert_eq!(succeeded(&three), [2, 0, 1], "the same from where it is kept");
    assert_eq!(succeeded(&three.clone().queue("mail")), [1, 0, 1]);
    assert_eq!(succeeded(&three.clone().kind("act")), [1, 0, 0]);
    assert_eq!(succeeded(&three.clone().kind("act").queue("mail")), [0, 0, 0]);
    assert_eq!(succeeded(&three.clone().kind("act").kind("send").step(HOUR)), [3]);
    assert_eq!(succeeded(&Series::new(began.after(MINUTE), began.after(2 * MINUTE))), [0]);
}

fn minutes_become_hours_hours_go_and_totals_stay(lab: &Lab) {
    let client = open(lab);
    let began = lab.now();
    let run = |minutes: u32| {
        lab.clock.advance(MINUTE * minutes);
        let before = counts(&client, "send").finished();
        client.enqueue(send::with()).unwrap();
        finish(lab, &client, "send", before + 1);
        client.flush_counters().unwrap();
    };
    let sent = |since: Timestamp, span: Duration, step: Duration| -> Vec<u64> {
        let series = Series::new(since, since.after(span)).step(step);
        let buckets = client.counters(&series).unwrap();
        buckets.iter().map(|bucket| bucket.counts.succeeded).collect()
    };
    run(7);
    run(10);
    assert_eq!(sent(began, HOUR, 10 * MINUTE), [1, 1, 0, 0, 0, 0]);
    run(25 * 60);
    assert_eq!(sent(began, HOUR, 10 * MINUTE), [2, 0, 0, 0, 0, 0], "minutes are hours by now");
    assert_eq!(sent(began, 2 * DAY, DAY), [2, 1]);
    run(31 * 24 * 60);
    assert_eq!(sent(began, DAY, DAY), [0], "and the hours are gone");
    assert_eq!(sent(began, 33 * DAY, DAY).iter().sum::<u64>(), 1);
    assert_eq!(counts(&client, "send").succeeded, 4);
}

fn what_was_counted_outlives_its_client(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let client = open(lab);
    client.enqueue(act::with("fail")).unwrap();
    let before = finish(lab, &client, "act", 1);
    let other = open(lab);
    assert_eq!(counts(&other, "act"), before, "who shares the file in this process");
    drop((client, other));
    let client = open(lab);
    assert_eq!(counts(&client, "act"), before);
    client.enqueue(act::with("go")).unwrap();
    let after = finish(lab, &client, "act", 2);
    assert_eq!((after.enqueued, after.failed, after.succeeded), (2, 1, 1));
}

fn a_series_out_of_range_is_refused(lab: &Lab) {
    let client = open(lab);
    let hour = Series::new(lab.now(), lab.now().after(HOUR));
    let error = client.counters(&hour.step(Duration::from_secs(90))).unwrap_err();
    assert_eq!(error.code(), "out_of_range");
    let error = client.counters(&Series::new(lab.now(), lab.now().after(30 * DAY))).unwrap_err();
    assert!(error.to_string().contains("at most 10000"), "{error}");
}

/// Whatever makes tasks: a transaction, a flow, an inbox, a schedule, the end of another task.
mod made {
    use litework::sqlite::ClientExt;
    use litework::{Flow, Pending, Schedule};

    use super::{HOUR, Lab, Runs, act, counts, finish, open, send};
    use crate::common::{Log, Place};

    #[test]
    fn a_transaction_counts_what_it_has_stored_and_only_once_it_is_committed() {
        let lab = Lab::inline();
        let client = open(&lab);
        let refused: Result<(), litework::Failure> = client.write(|tx| {
            let _never = tx.enqueue(send::with())?;
            Err("no".into())
        });
        refused.unwrap_err();
        assert_eq!(counts(&client, "send").enqueued, 0);
        client.write(|tx| tx.enqueue(send::with().key("a")).map(drop)).unwrap();
        client.write(|tx| tx.enqueue(send::with().key("a")).map(drop)).unwrap();
        let mut theirs = rusqlite::Connection::open(lab.path()).unwrap();
        let tx = theirs.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let tx = tx.unwrap();
        let pending = client.enqueue_in(&tx, send::with()).unwrap();
        tx.commit().unwrap();
        assert_eq!(counts(&client, "send").enqueued, 1);
        pending.committed();
        let came = finish(&lab, &client, "send", 2);
        assert_eq!((came.enqueued, came.succeeded), (2, 2));
    }

    #[test]
    fn members_of_flows_rows_of_the_inbox_and_slots_are_counted() {
        let lab = Lab::new(Place::file(Runs::RunPending));
        let client = lab.builder().state(Log::default()).register(act).register(send);
        let client = client.schedule(Schedule::every("mail", HOUR, send::with())).open().unwrap();
        client.enqueue_flow(Flow::group("two", ["go", "go"].map(act::with))).unwrap();
        rusqlite::Connection::open(lab.path())
            .unwrap()
            .execute("INSERT INTO litework_inbox (kind) VALUES ('send')", [])
            .unwrap();
        lab.clock.advance(HOUR);
        client.run_pending(&Pending::all()).unwrap();
        assert_eq!((counts(&client, "act").enqueued, counts(&client, "act").succeeded), (2, 2));
        assert_eq!((counts(&client, "send").enqueued, counts(&client, "send").succeeded), (2, 2));
    }
}
