//! What happens to tasks is counted wherever they are kept and whoever runs them, and the numbers stay.

use std::collections::BTreeMap;
use std::time::Duration;

use litework::{
    Call, Client, Context, Counts, EventKind, EventRecord, Failure, Filter, Flow, LaneCounts,
    Overlap, Result, Schedule, Series, Signature, State, Timestamp, task,
};

use crate::common::{Lab, Log, Runs, eventually};

crate::everywhere! {
    each_task_each_attempt_and_each_end_is_counted,
    what_ends_without_an_attempt_is_counted,
    what_many_deeds_end_is_counted,
    the_totals_agree_with_the_rows_however_a_task_ends,
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
        "stop" => Err(Failure::cancelled()),
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

/// One at a time; the first calls a second while it runs.
#[task(queue = "till", exclusive = "till")]
fn close_till(ctx: &Context, again: bool) -> Result<()> {
    if again {
        ctx.client().unwrap().enqueue(close_till::with(false))?;
    }
    Ok(())
}

/// Fails, and is not soon tried again.
#[task(queue = "work", attempts = 2, retry = [1h])]
fn linger() -> Result<()> {
    Err("it fails")?
}

/// How many have ended so, by kind and state.
type Ends = BTreeMap<(String, State), u64>;

const FINAL: [State; 4] = [State::Succeeded, State::Failed, State::Cancelled, State::Skipped];

/// As the totals tell it.
fn told(client: &Client) -> Ends {
    let of = |counts: &Counts| {
        let Counts { succeeded, failed, cancelled, skipped, .. } = *counts;
        FINAL.into_iter().zip([succeeded, failed, cancelled, skipped])
    };
    let mut ends = Ends::new();
    for LaneCounts { kind, counts, .. } in &client.totals().unwrap() {
        for (state, count) in of(counts).filter(|(_, count)| *count > 0) {
            *ends.entry((kind.clone(), state)).or_default() += count;
        }
    }
    ends
}

/// As the rows do.
fn stand(client: &Client) -> Ends {
    let mut ends = Ends::new();
    for task in client.list(&Filter::new(), None, 1_000).unwrap().tasks {
        if task.state.is_final() {
            *ends.entry((task.kind, task.state)).or_default() += 1;
        }
    }
    ends
}

/// A way to end, which gives back what has ended and is no row any more, or was run again.
type Way = fn(&Lab, &Client) -> Vec<(&'static str, State)>;

fn late() -> Call<impl Signature> {
    send::with().run_after(HOUR)
}

/// Each way in which a task ends by itself, with an attempt or without one.
fn alone() -> Vec<(&'static str, Way)> {
    vec![
        ("attempts", |lab, client| {
            for how in ["go", "fail", "give up", "panic", "stop"] {
                lab.ended(client, &client.enqueue(act::with(how)).unwrap());
            }
            vec![]
        }),
        ("expiry", |lab, client| {
            client.enqueue(late().expires_after(MINUTE)).unwrap();
            let group = [late().expires_after(MINUTE), late().expires_after(MINUTE)];
            client.enqueue_flow(Flow::group("late", group)).unwrap();
            lab.clock.advance(2 * HOUR);
            vec![]
        }),
        ("a lock that is held", |lab, client| {
            lab.ended(client, &client.enqueue(close_till::with(true)).unwrap());
            vec![]
        }),
        ("deeds", |_, client| {
            client.cancel(client.enqueue(late()).unwrap().id()).unwrap();
            let copied = client.enqueue(late()).unwrap().id();
            client.edit_as_copy(copied, |edit| edit.priority(7)).unwrap();
            client.delete(client.enqueue(late()).unwrap().id()).unwrap();
            client.enqueue(late().owner("ada")).unwrap();
            client.erase("ada").unwrap();
            client.enqueue_many((0..3).map(|_| late().tag("x"))).unwrap();
            client.bulk(&Filter::new().tag("x")).delete().unwrap();
            client.enqueue_many((0..3).map(|_| late().tag("y"))).unwrap();
            client.bulk(&Filter::new().tag("y")).cancel().unwrap();
            vec![("send", State::Cancelled); 5]
        }),
    ]
}

/// Each way in which one ends as others do.
fn together() -> Vec<(&'static str, Way)> {
    vec![
        ("one before it", |lab, client| {
            let fails = client.enqueue(act::with("give up").run_after(MINUTE)).unwrap();
            let next = client.enqueue(send::with().after([fails.id()])).unwrap();
            client.enqueue(send::with().after([next.id()])).unwrap();
            lab.advance(client, MINUTE);
            lab.wait(client, &fails).unwrap_err();
            // It has ended already when these are stored.
            client.enqueue(send::with().after([fails.id()])).unwrap();
            client.enqueue_many([send::with().after([fails.id()]), send::with()]).unwrap();
            vec![]
        }),
        ("flows", |lab, client| {
            let calls = || ["go", "give up"].map(act::with);
            client
                .enqueue_flow(Flow::group("one fails", calls()).on_success(send::with()))
                .unwrap();
            client.enqueue_flow(Flow::chain("chain", calls()).then(send::with())).unwrap();
            client.enqueue_flow(Flow::new("empty").on_success(send::with())).unwrap();
            lab.settle(client);
            let waits = client.enqueue_flow(Flow::group("cancelled", [late(), late()])).unwrap();
            client.cancel(waits.id()).unwrap();
            let waits = client.enqueue_flow(Flow::group("deleted", [late()])).unwrap();
            client.delete(waits.id()).unwrap();
            vec![("litework.batch", State::Cancelled)]
        }),
        ("a flow whose members end as they are stored", |lab, client| {
            let fails = client.enqueue(act::with("give up")).unwrap();
            lab.ended(client, &fails);
            let born = || send::with().after([fails.id()]);
            let flow = Flow::group("born", [born(), born()]).on_success(send::with());
            client.enqueue_flow(flow.on_finish(act::with("go"))).unwrap();
            vec![]
        }),
        ("a batch that is run again", |lab, client| {
            let flow = Flow::group("again", [act::with("give up"), act::with("go")]);
            let batch = client.enqueue_flow(flow).unwrap();
            lab.wait(client, &batch).unwrap_err();
            let failed = &batch.members().unwrap()[0];
            client.delete(failed.id).unwrap();
            batch.retry().unwrap();
            vec![("act", State::Failed), ("litework.batch", State::Failed)]
        }),
    ]
}

/// Each way in which one ends that nobody has enqueued.
fn unasked() -> Vec<(&'static str, Way)> {
    vec![
        ("schedules", |lab, client| {
            let fires = |name: &str, overlap| {
                let every = Schedule::every(name, MINUTE, linger::with());
                client.schedules().add(every.overlap(overlap)).unwrap();
            };
            fires("skips", Overlap::Skip);
            fires("cancels", Overlap::CancelRunning);
            for slots in 1..4 {
                lab.clock.advance(MINUTE);
                eventually("they have fired", || {
                    lab.settle(client);
                    let all = client.schedules().list("", 9).unwrap();
                    let past =
                        |name| client.schedules().history(name, Timestamp::MAX, 9).unwrap().len();
                    all.iter().all(|one| past(&one.name) >= slots)
                });
            }
            client.schedules().remove("skips").unwrap();
            client.schedules().remove("cancels").unwrap();
            vec![]
        }),
        ("what follows", |lab, client| {
            let followed = act::with("give up").follow([EventKind::Finished], "hear");
            lab.ended(client, &client.enqueue(followed).unwrap());
            vec![]
        }),
    ]
}

/// What follows another.
#[task]
fn hear(event: EventRecord) -> String {
    let EventRecord { kind, .. } = event;
    kind
}

fn the_totals_agree_with_the_rows_however_a_task_ends(lab: &Lab) {
    let builder = lab.builder().state(Log::default()).register(act).register(send);
    let client = builder.register(close_till).register(hear).register(linger).open().unwrap();
    let mut gone = Ends::new();
    for (name, way) in alone().into_iter().chain(together()).chain(unasked()) {
        for (kind, state) in way(lab, &client) {
            *gone.entry((kind.to_owned(), state)).or_default() += 1;
        }
        lab.settle(&client);
        let expected = || {
            let mut ends = stand(&client);
            for (end, count) in &gone {
                *ends.entry(end.clone()).or_default() += count;
            }
            ends
        };
        eventually(name, || told(&client) == expected());
        assert!(client.list(&Filter::new(), None, 1_000).unwrap().next.is_none());
    }
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

    /// Rows that no program of ours has written, or of which whoever ran them is gone, end too.
    #[test]
    fn what_ends_because_it_is_damaged_is_counted() {
        let lab = Lab::new(Place::file(Runs::RunPending));
        let client = open(&lab);
        let ids: Vec<_> = (0..3).map(|_| client.enqueue(send::with()).unwrap().id()).collect();
        let damage = |sql: &str| {
            let theirs = rusqlite::Connection::open(lab.path()).unwrap();
            theirs.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
            theirs.execute_batch(sql).unwrap();
        };
        drop(client);
        damage(
            "UPDATE litework_task SET state = 'asleep' WHERE id = (SELECT min(id) FROM litework_task)",
        );
        let client = open(&lab);
        let came = finish(&lab, &client, "send", 3);
        assert_eq!((came.enqueued, came.failed, came.succeeded), (3, 1, 2));
        assert_eq!(client.get(ids[0]).unwrap().state, litework::State::Failed);
    }

    #[test]
    fn a_flow_in_a_transaction_that_ends_as_it_is_stored_is_counted() {
        let lab = Lab::inline();
        let client = open(&lab);
        let fails = client.enqueue(act::with("give up")).unwrap();
        let born = || send::with().after([fails.id()]);
        let flow = || Flow::group("born", [born(), born()]).on_success(send::with());
        client.write(|tx| tx.enqueue_flow(flow()).map(drop)).unwrap();
        client.write(|tx| tx.enqueue_flow(Flow::new("empty")).map(drop)).unwrap();
        client.write(|tx| tx.enqueue(born()).map(drop)).unwrap();
        assert_eq!(super::told(&client), super::stand(&client));
        assert_eq!(counts(&client, "send").failed, 4);
    }
}
