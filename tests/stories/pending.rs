//! `run_pending` runs what is due in the calling thread and returns: for cron jobs, scripts, tests.
//! Only `run_pending` is told of here, so that most stories run in no other way.

use std::time::Duration;

use litework::{Context, Failure, Mode, Pending, Result, task};

use crate::common::{LONG, Lab, Log, Place, Runs};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn good(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

#[task(attempts = 1, aliases = ["old_bad"])]
fn bad(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("bad");
    Err("no")?
}

#[task]
fn nap(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("nap");
    Err(Failure::snooze(HOUR))
}

#[task]
fn chain(ctx: &Context, left: u32) -> Result<()> {
    ctx.state::<Log>()?.note(left.to_string());
    if left > 0 {
        ctx.enqueue(chain::with(left - 1))?;
    }
    Ok(())
}

fn lab() -> Lab {
    Lab::new(Place::file(Runs::RunPending))
}

fn client(lab: &Lab, log: &Log) -> litework::Client {
    let builder = lab.builder().register(good).register(bad).register(nap).register(chain);
    builder.state(log.clone()).open().unwrap()
}

#[test]
fn it_runs_what_is_due_and_counts_what_it_did() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(good::with("a")).unwrap();
    client.enqueue(bad::with()).unwrap();
    client.enqueue(nap::with()).unwrap();
    client.enqueue(good::with("b")).unwrap();
    client.enqueue(good::with("later").run_after(HOUR)).unwrap();
    let ran = client.run_pending(&Pending::all()).unwrap();
    assert_eq!((ran.succeeded, ran.failed, ran.postponed), (2, 1, 1));
    assert_eq!(log.words(), ["a", "bad", "nap", "b"], "one failing kind does not stop the rest");
    let ran = client.run_pending(&Pending::all()).unwrap();
    assert_eq!((ran.succeeded, ran.failed, ran.postponed), (0, 0, 0));
    lab.clock.advance(HOUR);
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 1);
}

#[test]
fn it_runs_only_some_kinds_or_all_but_some() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(bad::with()).unwrap();
    client.enqueue(good::with("a")).unwrap();
    client.enqueue(nap::with()).unwrap();
    for unknown in [Pending::all().only("goood"), Pending::all().except("goood")] {
        let error = client.run_pending(&unknown).unwrap_err();
        let told = "unknown_kind: \"goood\" is not registered; did you mean good?";
        assert_eq!(error.to_string(), told);
    }
    assert_eq!(log.len(), 0);
    client.run_pending(&Pending::all().except("bad").except("nap")).unwrap();
    assert_eq!(log.words(), ["a"]);
    client.run_pending(&Pending::all().only("bad").only("nap").except("nap")).unwrap();
    assert_eq!(log.words(), ["a", "bad"]);
    client.run_pending(&Pending::all().only("nap")).unwrap();
    assert_eq!(log.words(), ["a", "bad", "nap"]);
}

#[test]
fn it_goes_on_with_what_its_tasks_enqueue() {
    let (lab, log) = (lab(), Log::default());
    let client = client(&lab, &log);
    client.enqueue(chain::with(50)).unwrap();
    assert_eq!(client.run_pending(&Pending::all()).unwrap().succeeded, 51);
    assert_eq!(log.len(), 51);
}

#[test]
fn it_works_beside_a_pool_and_in_every_mode() {
    for mode in [Mode::Pool, Mode::Inline, Mode::Enqueue, Mode::Hold] {
        let (lab, log) = (lab(), Log::default());
        let builder = lab.builder().mode(mode).workers(1).register(good).state(log.clone());
        let client = builder.open().unwrap();
        let handle = client.enqueue(good::with("a").run_after(HOUR)).unwrap();
        lab.clock.advance(HOUR);
        client.run_pending(&Pending::all()).unwrap();
        handle.wait(LONG).unwrap();
        assert_eq!(log.words(), ["a"], "{mode:?}");
    }
}

#[test]
fn a_body_may_call_it() {
    #[task]
    fn drain(ctx: &Context) -> Result<usize> {
        let client = ctx.client().ok_or("no client")?;
        Ok(client.run_pending(&Pending::all())?.succeeded)
    }
    Lab::each_way(|lab| {
        let log = Log::default();
        let storing = lab.builder().mode(Mode::Hold).register(good).register(drain).open().unwrap();
        let draining = storing.enqueue(drain::with().priority(1)).unwrap();
        let last = storing.enqueue_many(["a", "b"].map(good::with)).unwrap();
        let builder = lab.builder().workers(1).register(good).register(drain).state(log.clone());
        let client = builder.open().unwrap();
        lab.settle(&client);
        // A pool may have claimed one of them ahead.
        let drained = draining.wait(LONG).unwrap();
        assert!(drained == 2 || lab.runs(Runs::Pool), "{drained}");
        last[1].wait(LONG).unwrap();
        assert_eq!(log.words(), ["a", "b"]);
    });
}

#[test]
fn it_leaves_no_runner_behind_in_the_file() {
    Lab::each_way(|lab| {
        let log = Log::default();
        for _ in 0..3 {
            let client = client(lab, &log);
            let handle = client.enqueue(good::with("a")).unwrap();
            lab.wait(&client, &handle).unwrap();
            client.run_pending(&Pending::all()).unwrap();
            client.shutdown(LONG).unwrap();
        }
        let theirs = rusqlite::Connection::open(lab.path()).unwrap();
        let sql = "SELECT count(*) FROM litework_worker WHERE left_at IS NULL";
        let here: i64 = theirs.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(here, 0, "runners that have gone have said so");
    });
}

#[test]
fn a_kind_is_chosen_by_its_name_and_its_former_names_come_along() {
    let (lab, log) = (lab(), Log::default());
    client(&lab, &log).enqueue(bad::with()).unwrap();
    let theirs = rusqlite::Connection::open(lab.path()).unwrap();
    theirs.execute("UPDATE litework_lane SET kind = 'old_bad' WHERE kind = 'bad'", []).unwrap();
    let client = client(&lab, &log);
    assert_eq!(client.run_pending(&Pending::all().only("bad")).unwrap().failed, 1);
}
