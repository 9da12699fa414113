//! What is wrong with a definition or a call is said before anything is stored, with value and range.

use std::time::Duration;

use litework::{
    Builder, Call, Client, Config, Context, Definition, Error, Filter, Notice, Options, Result,
    SPAN_MAX, Task, task,
};
use serde::{Deserialize, Serialize};

use crate::common::Lab;

crate::everywhere! {
    two_tasks_of_one_name_are_refused_at_open,
    a_bad_name_is_refused_at_open,
    a_bad_option_is_refused_at_open,
    a_queue_that_is_not_allowed_is_refused_at_open_and_at_the_call,
    a_kind_whose_queue_is_not_allowed_is_named,
    a_setting_out_of_its_range_is_refused_and_not_bent,
    a_bad_option_is_refused_at_the_call,
    a_good_call_goes_through_after_every_refusal,
    the_ends_of_every_range_are_allowed,
    an_unknown_kind_is_told_its_nearest_name,
}

#[task]
fn ping(n: u32) -> u32 {
    n
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ping;

impl Task for Ping {
    const NAME: &'static str = "ping";
    type Output = ();

    fn run(self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spaced;

impl Task for Spaced {
    const NAME: &'static str = "a name";
    type Output = ();

    fn run(self, _: &Context) -> Result<()> {
        Ok(())
    }
}

fn with(change: impl FnOnce(Options) -> Options) -> Definition {
    Definition::from(ping).with(change)
}

/// Code, value and text of what `open` answers.
fn refused(lab: &Lab, definitions: Vec<Definition>) -> (&'static str, String) {
    let builder = definitions.into_iter().fold(lab.builder(), litework::Builder::register);
    let error = builder.open().map(|_: Client| ()).unwrap_err();
    (error.code(), error.to_string())
}

fn two_tasks_of_one_name_are_refused_at_open(lab: &Lab) {
    let (code, text) = refused(lab, vec![ping.into(), Ping::define()]);
    assert_eq!(code, "duplicate_name");
    assert!(text.contains("\"ping\""), "{text}");
    let alias = with(|options| options.alias("pong"));
    let (code, text) = refused(lab, vec![alias, Ping::define().with(|o| o.alias("pong"))]);
    assert_eq!(code, "duplicate_name", "{text}");
    let own = refused(lab, vec![with(|options| options.alias("ping"))]);
    assert_eq!(own.0, "duplicate_name");
}

fn a_bad_name_is_refused_at_open(lab: &Lab) {
    assert_eq!(refused(lab, vec![Spaced::define()]).0, "bad_name");
    for alias in ["", "a b", "ä", &"x".repeat(65)] {
        let alias = alias.to_owned();
        let (code, text) = refused(lab, vec![with(|options| options.alias(alias))]);
        assert_eq!(code, "bad_name", "{text}");
    }
}

fn a_bad_option_is_refused_at_open(lab: &Lab) {
    type Change = fn(Options) -> Options;
    let changes: [(Change, &str); 7] = [
        (|o| o.queue("a/b"), "bad_queue"),
        (|o| o.priority(101), "out_of_range"),
        (|o| o.attempts(0), "out_of_range"),
        (|o| o.attempts(1_001), "out_of_range"),
        (|o| o.timeout(Duration::ZERO), "out_of_range"),
        (|o| o.expires_after(Duration::ZERO), "out_of_range"),
        (|o| o.keep_for(Duration::MAX), "out_of_range"),
    ];
    for (change, code) in changes {
        assert_eq!(refused(lab, vec![with(change)]).0, code);
    }
}

fn a_queue_that_is_not_allowed_is_refused_at_open_and_at_the_call(lab: &Lab) {
    let other = with(|options| options.queue("other"));
    let error = lab.builder().allow_queues(["default", "mail"]).register(other).open();
    assert_eq!(error.map(|_| ()).unwrap_err().code(), "unknown_queue");
    let client = lab.builder().allow_queues(["default", "mail"]).register(ping).open().unwrap();
    client.enqueue(ping::with(1).queue("mail")).unwrap();
    let error = client.enqueue(ping::with(1).queue("other")).unwrap_err();
    assert_eq!(error.code(), "unknown_queue");
    assert!(error.to_string().contains("default, mail"), "{error}");
    assert_eq!(client.count(&Filter::new().queue("other")).unwrap(), 0);
    let bad = lab.builder().allow_queues(["a b"]).open().map(|_| ()).unwrap_err();
    assert_eq!(bad.code(), "bad_queue");
}

/// Whoever reads it need not know that notices are tasks.
fn a_kind_whose_queue_is_not_allowed_is_named(lab: &Lab) {
    let builder = || lab.builder().allow_queues(["mail"]).failure_notice(Notice::elsewhere());
    let refused = builder().open().map(drop).unwrap_err().to_string();
    assert_eq!(refused, "unknown_queue: queue of task litework.notice is \"default\"; one of mail");
    builder().queue_for("litework.notice", "mail").open().unwrap();
}

fn a_setting_out_of_its_range_is_refused_and_not_bent(lab: &Lab) {
    let refused = |builder: Builder| builder.open().map(drop).unwrap_err().to_string();
    let ageing = |span| refused(lab.builder().ageing(span));
    assert_eq!(ageing(Duration::ZERO), "out_of_range: ageing is 0ns; 1 ms to 100 years");
    assert!(ageing(SPAN_MAX + Duration::from_millis(1)).starts_with("out_of_range: ageing is "));
    lab.builder().ageing(Duration::from_millis(1)).open().unwrap();
    if !lab.keeps_tasks() {
        assert_eq!(
            refused(lab.builder().max_file_bytes(1 << 20)),
            "unsupported: max_file_bytes is 1048576; none for a queue in memory, which has no file"
        );
        let config: Config = serde_json::from_str(r#"{"max_file_bytes": 1048576}"#).unwrap();
        let refused = lab.builder().config(config).open().map(drop).unwrap_err();
        assert_eq!(refused.code(), "unsupported");
    }
}

/// Calls that must be refused, each with its code and a word of its text.
fn bad_calls<T: Clone>(good: &Call<T>) -> Vec<(Call<T>, &'static str, &'static str)> {
    let call = || good.clone();
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    let long = "x".repeat(201);
    let many = (0..33).fold(call(), |call, n| call.tag(format!("tag {n}")));
    vec![
        (call().priority(101), "out_of_range", "101"),
        (call().priority(-101), "out_of_range", "-101"),
        (call().priority(i32::MAX), "out_of_range", "2147483647"),
        (call().queue(""), "bad_queue", "empty"),
        (call().queue("a b"), "bad_queue", "byte 1"),
        (call().queue("x".repeat(65)), "bad_queue", "65 bytes"),
        (call().attempts(0), "out_of_range", "1 to 1000"),
        (call().attempts(1_001), "out_of_range", "1001"),
        (call().timeout(Duration::ZERO), "out_of_range", "timeout"),
        (call().timeout(year), "out_of_range", "365 days"),
        (call().expires_after(Duration::from_micros(1)), "out_of_range", "expires_after"),
        (call().keep_for(Duration::MAX), "out_of_range", "keep_for"),
        (call().run_after(Duration::MAX), "time_out_of_range", "9999-12-31"),
        (call().key(""), "bad_key", "1 to 200 bytes"),
        (call().key(long), "bad_key", "1 to 200 bytes"),
        (call().key("a\0b"), "bad_key", "control characters"),
        (call().key("a\u{1b}b"), "bad_key", "control characters"),
        (call().tag(""), "bad_tag", "1 to 64 bytes"),
        (call().tag("x".repeat(65)), "bad_tag", "1 to 64 bytes"),
        (many, "bad_tag", "33"),
        (call().meta("big", "x".repeat(2_000_000)), "payload_too_large", "1048576"),
    ]
}

fn a_bad_option_is_refused_at_the_call(lab: &Lab) {
    let client = lab.builder().register(ping).open().unwrap();
    for (call, code, word) in bad_calls(&ping::with(1)) {
        let error = client.enqueue(call.clone()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(word), "{word} is not in: {error}");
        let batch = client.enqueue_many([ping::with(1), call]).unwrap_err();
        assert!(matches!(&batch, Error::Item { index: 1, .. }), "{batch}");
        assert_eq!(batch.code(), code);
    }
    assert_eq!(client.count(&Filter::new()).unwrap(), 0);
}

fn a_good_call_goes_through_after_every_refusal(lab: &Lab) {
    let client = lab.builder().register(ping).open().unwrap();
    for (n, (call, ..)) in (0..).zip(bad_calls(&ping::with(1))) {
        client.enqueue(call).unwrap_err();
        let good = client.enqueue(ping::with(n)).unwrap();
        assert_eq!(lab.wait(&client, &good).unwrap(), n);
    }
}

fn the_ends_of_every_range_are_allowed(lab: &Lab) {
    let client = lab.builder().register(ping).open().unwrap();
    let call = || ping::with(1);
    let tags = (0..32).fold(call(), |call, n| call.tag(format!("{n:0>64}")));
    let good = [
        call().priority(100),
        call().priority(-100),
        call().queue("x".repeat(64)),
        call().queue("Az09._-"),
        call().attempts(1),
        call().attempts(1_000),
        call().timeout(litework::TIMEOUT_MAX),
        call().expires_after(Duration::from_millis(1)),
        call().expires_after(litework::SPAN_MAX),
        call().keep_for(Duration::ZERO),
        call().run_after(Duration::ZERO),
        call().key("k".repeat(200)),
        tags,
    ];
    for call in good {
        let handle = client.enqueue(call).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 1);
    }
}

fn an_unknown_kind_is_told_its_nearest_name(lab: &Lab) {
    let client = lab.builder().register(ping).open().unwrap();
    match client.enqueue_json("pnig", b"{}").unwrap_err() {
        Error::UnknownKind { kind, nearest, .. } => {
            assert_eq!((kind.as_str(), nearest), ("pnig", vec!["ping".to_owned()]));
        }
        other => panic!("{other}"),
    }
    let nothing = lab.builder().open().unwrap();
    assert_eq!(nothing.enqueue(Ping).unwrap_err().code(), "unknown_kind");
}
