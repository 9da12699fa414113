//! What a user reads in the log: levels, messages and fields of what is said of a task on its journey,
//! whoever runs it. A test program of its own, as it collects what all its threads say.
#![cfg(all(feature = "testing", feature = "sqlite", feature = "macros"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use litework::sqlite::ContextExt;
use litework::testing::{Drain, drain};
use litework::{
    Client, Context, EventKind, Failure, FailureNotice, Flow, Mode, Notice, Result, Schedule,
    TaskId, task,
};
use serde_json::json;
use tracing::Level;

use common::{Events, LONG, Lab, Log, Said, eventually};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MINUTE: Duration = Duration::from_secs(60);

#[task]
fn ship(order: i64) -> i64 {
    order
}

#[task(attempts = 2, retry = [0s])]
fn fail(expected: bool) -> Result<()> {
    let failure = Failure::from("the shop is closed");
    Err(if expected { failure.expected() } else { failure })
}

#[task]
fn nap() -> Result<()> {
    Err(Failure::snooze(MINUTE))
}

/// What is said of a task, once its last word is.
fn said_of(id: TaskId, last: &str) -> Vec<Said> {
    let said = || Events::everywhere().about(id);
    eventually("it is said", || said().iter().any(|said| said.message == last));
    said()
}

/// Levels and messages.
fn lines(said: &[Said]) -> Vec<(Level, &str)> {
    said.iter().map(|said| (said.level, said.message.as_str())).collect()
}

const BEGIN: [(Level, &str); 2] = [(Level::INFO, "span task"), (Level::DEBUG, "task started")];

#[test]
fn a_success_is_one_line_of_information_and_the_rest_is_for_those_who_debug() {
    Lab::each_way(|lab| {
        Events::everywhere();
        let client = lab.builder().register(ship).open().unwrap();
        let handle = client.enqueue(ship::with(7).trace(TRACE)).unwrap();
        lab.wait(&client, &handle).unwrap();
        let said = said_of(handle.id(), "task succeeded");
        let expected =
            [&[(Level::DEBUG, "task enqueued")][..], &BEGIN, &[(Level::INFO, "task succeeded")]];
        assert_eq!(lines(&said), expected.concat());
        for said in &said {
            let shown = ["kind", "queue", "trace"].map(|name| said.fields[name].as_str());
            assert_eq!(shown, ["ship", "default", TRACE], "{said:?}");
        }
        assert!(said[1..].iter().all(|said| said.fields["attempt"] == "1"));
        assert_eq!(said[0].fields["existing"], "false");
    });
}

#[test]
fn a_failure_is_a_warning_while_it_is_tried_again_and_then_an_error_unless_it_was_expected() {
    Lab::each_way(|lab| {
        Events::everywhere();
        let client = lab.builder().register(fail).open().unwrap();
        for (expected, again, failed) in
            [(false, Level::WARN, Level::ERROR), (true, Level::INFO, Level::INFO)]
        {
            let handle = client.enqueue(fail::with(expected)).unwrap();
            lab.ended(&client, &handle);
            let said = said_of(handle.id(), "task failed");
            let expected = [
                &[(Level::DEBUG, "task enqueued")][..],
                &BEGIN,
                &[(again, "task will be tried again")],
                &BEGIN,
                &[(failed, "task failed")],
            ];
            assert_eq!(lines(&said), expected.concat());
            for (at, attempt, reason) in [(3, "1", "retry"), (6, "2", "error")] {
                let shown =
                    ["attempt", "reason", "error"].map(|name| said[at].fields[name].as_str());
                assert_eq!(shown, [attempt, reason, "the shop is closed"]);
            }
            assert!(said[3].fields.contains_key("due_at"));
            assert!(!said[3].fields.contains_key("trace"), "a field that is not set is not there");
        }
    });
}

#[test]
fn what_ends_with_a_task_before_it_says_so_and_is_no_error_of_its_own() {
    Lab::each_way(|lab| {
        Events::everywhere();
        let client = lab.builder().mode(Mode::Hold).register(fail).register(ship).open().unwrap();
        let first = client.enqueue(fail::with(false).attempts(1).name("import")).unwrap();
        let after = client.enqueue(ship::with(7).after([first.id()])).unwrap();
        drain(&client, &Drain::new()).unwrap();
        let late = client.enqueue(ship::with(8).after([first.id()])).unwrap();
        for handle in [after, late] {
            let said = said_of(handle.id(), "task failed");
            let ended = said.last().unwrap();
            assert_eq!((ended.level, &*ended.fields["reason"]), (Level::INFO, "parent"));
            assert_eq!(ended.fields["error"], "the task \"import\" before it failed");
        }
        let flow = Flow::group("imports", [fail::with(false).attempts(1)]);
        let batch = client.enqueue_flow(flow).unwrap();
        drain(&client, &Drain::new()).unwrap();
        let said = said_of(batch.id(), "task failed");
        let ended = said.last().unwrap();
        assert_eq!((ended.level, &*ended.fields["reason"]), (Level::INFO, "parent"));
        let told = "of 1 member, 1 failed: member \"fail\": the shop is closed";
        assert_eq!(ended.fields["error"], told);
    });
}

#[test]
fn what_comes_to_no_end_and_what_is_cancelled_is_said_too() {
    Lab::each_way(|lab| {
        Events::everywhere();
        let client = lab.builder().register(nap).register(ship).open().unwrap();
        let handle = client.enqueue(nap::with()).unwrap();
        lab.settle(&client);
        let said = said_of(handle.id(), "task snoozed");
        assert_eq!(lines(&said).last(), Some(&(Level::DEBUG, "task snoozed")));
        client.cancel(handle.id()).unwrap();
        let said = said_of(handle.id(), "task cancelled");
        assert_eq!(lines(&said).last(), Some(&(Level::INFO, "task cancelled")));
        assert_eq!(said.last().unwrap().fields["reason"], "asked");
        client.shutdown(LONG).unwrap();
    });
}

#[test]
fn a_receiver_that_panics_is_named_with_text_and_place() {
    Lab::each_way(|lab| {
        Events::everywhere();
        let client = lab.builder().register(ship);
        let client = client.on(EventKind::Succeeded, |_, _| panic!("the receiver is ill"));
        let client = client.open().unwrap();
        let handle = client.enqueue(ship::with(7)).unwrap();
        lab.wait(&client, &handle).unwrap();
        let said = said_of(handle.id(), "a receiver of events panicked");
        let panicked = said.last().unwrap();
        let error = &panicked.fields["error"];
        assert!(error.contains("log.rs:") && error.ends_with("the receiver is ill"), "{error}");
        assert_eq!(
            (panicked.level, panicked.fields["event"].as_str()),
            (Level::ERROR, "succeeded")
        );
        client.shutdown(LONG).unwrap();
    });
}

/// A secret that stands in arguments, and in what bodies and receivers say of them.
const CANARY: &str = "hunter2canary";

/// Whatever went wrong, with the secret in its text and in that of its cause.
#[derive(Debug)]
struct Refused(String, std::io::Error);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.1)
    }
}

#[task(attempts = 2, retry = [0s])]
fn pay(ctx: &Context, password: &str, how: &str) -> Result<()> {
    ctx.log(format!("password={password}"));
    let told = match how {
        "json" => format!("refused {{\"token\":\"{password}\"}}"),
        "pair" => format!("refused {{\"name\":\"token\",\"value\":\"{password}\"}}"),
        "query" => format!("GET /pay?user%5Bpass%5D={password}&n=1 gave 503"),
        "header" => format!("sent Authorization:\r\n Bearer {password}\r\nHost: x"),
        "own" => format!("refused: iban={password}"),
        "late" => {
            ctx.complete_in(|_| Ok::<_, Failure>(()))?;
            format!("cookie: {password}")
        }
        #[expect(clippy::panic, reason = "that is the story")]
        "panic" => panic!("pwd={password}"),
        _ => format!("refused: Login {{ password: {password:?}, n: 1 }}"),
    };
    let failure = Failure::from(Refused(told, std::io::Error::other(format!("sig={password}"))));
    Err(failure.code(format!("token={password}")).data(json!({ "secret": password })))
}

/// Only misread.
#[task(attempts = 1)]
fn unlock(secret_pin: u32) -> u32 {
    secret_pin
}

fn careful(lab: &Lab, sent: &Log) -> Client {
    let sent = sent.clone();
    let notice = Notice::mailer(move |notice: &FailureNotice| {
        sent.note(format!("{notice} {notice:?}"));
        Ok(())
    });
    let builder = lab.builder().register(pay).register(unlock).redact("iban");
    let builder = builder.failure_notice(notice.every(Duration::from_millis(1)));
    let builder = builder.on(EventKind::Failed, |_, event| {
        panic!("nobody is told of {}", event.error.as_ref().unwrap().message)
    });
    let hour = Duration::from_secs(60 * 60);
    let builder = builder.schedule(Schedule::every("pay", hour, pay::with(CANARY, "hourly")));
    builder.open().unwrap()
}

#[test]
fn no_line_of_the_log_and_no_notice_tells_a_secret() {
    Lab::each_way(|lab| {
        Events::everywhere();
        let sent = Log::default();
        let client = careful(lab, &sent);
        let hows = ["debug", "json", "pair", "query", "header", "own", "late", "panic"];
        let mut told = 0;
        for how in hows {
            let call = pay::with(CANARY, how).name(format!("password={CANARY}"));
            let handle = client.enqueue(call.meta("api_key", CANARY).tag("x")).unwrap();
            lab.ended(&client, &handle);
            told += usize::from(how != "late");
            lab.clock.advance(MINUTE);
            lab.settle(&client);
            eventually("a notice is sent", || sent.len() >= told);
        }
        let misread = format!(r#"{{"secret_pin":"{CANARY}"}}"#);
        client.enqueue_json("unlock", misread.as_bytes()).unwrap();
        client.schedules().run_now("pay").unwrap();
        lab.clock.advance(MINUTE);
        lab.settle(&client);
        eventually("the rest is sent", || sent.len() > told);
        client.shutdown(LONG).unwrap();
        let words = sent.words();
        assert!(words.iter().all(|word| !word.contains(CANARY)), "{words:?}");
        assert!(words.iter().filter(|word| word.contains("[redacted]")).count() >= told);
        for said in Events::everywhere().all() {
            assert!(!format!("{said:?}").contains(CANARY), "{said:?}");
        }
        let failed = |said: &Said| said.message == "task failed" && said.fields["kind"] == "pay";
        assert!(Events::everywhere().all().iter().any(failed));
    });
}
