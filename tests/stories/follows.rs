//! Tasks that follow others, and notices of failures, as programs use them.

use std::time::Duration;

use litework::sqlite::{ClientExt, ContextExt, WriteError};
use litework::{
    Client, Context, Definition, EventKind, EventRecord, Failure, FailureNotice, Filter, Mode,
    Notice, Pending, Result, State, task,
};

use crate::common::{Lab, Log, eventually};

#[task(attempts = 1)]
fn import(path: &str) -> Result<()> {
    Err(Failure::give_up(format!("{path} is empty")))
}

/// Records its own end.
#[task]
fn ship(ctx: &Context, order: i64) -> Result<i64> {
    Ok(ctx.complete_in(|_tx| Ok::<_, WriteError>(order))?)
}

#[task]
fn audit(ctx: &Context, event: EventRecord) -> Result<()> {
    let EventRecord { kind, what, .. } = event;
    ctx.state::<Log>()?.note(format!("{kind} {what}"));
    Ok(())
}

fn audited(task: impl Into<Definition>) -> Definition {
    task.into().with(|options| options.follow(EventKind::Finished, "audit"))
}

#[test]
fn a_task_that_records_its_own_end_is_followed_with_it() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let builder = lab.builder().state(log.clone()).register(audited(ship)).register(audit);
        let client = builder.open().unwrap();
        let handle = client.write(|tx| {
            let pending = tx.enqueue(ship::with(7))?;
            Ok::<_, WriteError>(pending.handle().unwrap())
        });
        assert_eq!(lab.wait(&client, &handle.unwrap()).unwrap(), 7);
        lab.settle(&client);
        eventually("it is followed", || log.words() == ["ship succeeded"]);
    });
}

/// Only where the caller runs tasks does a call return after them.
#[test]
fn in_the_caller_what_follows_has_run_when_the_call_returns() {
    let (lab, log) = (Lab::inline(), Log::default());
    let builder = lab.builder().state(log.clone()).register(audited(import)).register(audit);
    let client = builder.open().unwrap();
    client.enqueue_many(["a", "b"].map(import::with)).unwrap();
    assert_eq!(log.words(), ["import failed", "import failed"]);
    let later = client.enqueue(import::with("c").run_after(Duration::from_secs(60))).unwrap();
    client.cancel(later.id()).unwrap();
    assert_eq!(log.words()[2..], ["import cancelled"]);
    client.retry(later.id()).unwrap();
    assert_eq!(log.words()[3..], ["import failed"]);
}

#[test]
fn a_mailer_that_never_succeeds_comes_to_an_end_and_is_told_to_nobody() {
    Lab::each_way(|lab| {
        let tried = Log::default();
        let log = tried.clone();
        let notice = Notice::mailer(move |notice: &FailureNotice| {
            log.note(notice.kind.clone());
            Err("the mail server is down".into())
        });
        let client = lab.builder().register(import).failure_notice(notice).open().unwrap();
        lab.ended(&client, &client.enqueue(import::with("a")).unwrap());
        let notices =
            || client.list(&Filter::new().kind("litework.notice"), None, 9).unwrap().tasks;
        for attempt in 1..=5 {
            lab.settle(&client);
            eventually("it is tried", || tried.len() == attempt);
            eventually("it has failed", || notices()[0].state != State::Running);
            lab.advance(&client, Duration::from_secs(7_200));
        }
        assert_eq!(tried.words(), ["import"; 5]);
        let notices = notices();
        assert_eq!((notices.len(), notices[0].state), (1, State::Failed));
    });
}

/// Only one way: who sends is another program than who fails, and `tests/crash/follows.rs` has pools.
#[test]
fn a_program_without_a_mailer_leaves_the_notice_to_one_that_has_one() {
    let (lab, sent) = (Lab::inline(), Log::default());
    let fails = lab.builder().register(import).failure_notice(Notice::elsewhere()).open().unwrap();
    fails.enqueue(import::with("a")).unwrap();
    assert_eq!(fails.count(&Filter::new().kind("litework.notice").state(State::Ready)).unwrap(), 1);
    let log = sent.clone();
    let notice = Notice::mailer(move |notice: &FailureNotice| {
        log.note(notice.to_string());
        Ok(())
    });
    let sends = Client::builder(lab.path()).environment([("", ""); 0]).mode(Mode::Hold);
    let sends = sends.failure_notice(notice).open().unwrap();
    assert_eq!(sends.run_pending(&Pending::all()).unwrap().succeeded, 1);
    let text = sent.words().remove(0);
    assert!(text.starts_with("Error in import\nTask "), "{text}");
    assert!(text.contains("Reason: gave_up; attempts: 1") && text.contains("a is empty"), "{text}");
}
