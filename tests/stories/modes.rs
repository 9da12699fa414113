//! Who runs the tasks is decided by configuration alone: builder, then settings, then environment.
//! Only one story runs in each way; in the others the way itself is the subject.

use std::time::Duration;

use litework::{Builder, Client, Config, Error, Mode, State, task};

use crate::common::{Events, LONG, Lab};

#[task]
fn ping(n: u32) -> u32 {
    n
}

fn mode_of(builder: Builder) -> Mode {
    builder.register(ping).open().unwrap().mode()
}

fn plain(lab: &Lab) -> Builder {
    Client::builder(lab.path()).environment([] as [(&str, &str); 0])
}

fn settings(json: &str) -> Config {
    serde_json::from_str(json).unwrap()
}

#[test]
fn without_a_word_tasks_run_in_the_caller_and_workers_make_a_pool() {
    let lab = Lab::inline();
    assert_eq!(mode_of(plain(&lab)), Mode::Inline);
    assert_eq!(mode_of(plain(&lab).workers(2)), Mode::Pool);
    assert_eq!(mode_of(plain(&lab).workers(2).mode(Mode::Hold)), Mode::Hold);
    assert_eq!(mode_of(plain(&lab).mode(Mode::Pool)), Mode::Pool);
}

#[test]
fn settings_win_over_the_builder() {
    let lab = Lab::inline();
    let builder = || plain(&lab).workers(2);
    assert_eq!(mode_of(builder().config(settings(r#"{"mode":"hold"}"#))), Mode::Hold);
    assert_eq!(mode_of(builder().config(settings("{}"))), Mode::Pool);
    assert_eq!(mode_of(plain(&lab).config(settings(r#"{"workers":1}"#))), Mode::Pool);
    let elsewhere = lab.path().with_file_name("elsewhere.db");
    let config = settings(&serde_json::json!({ "db": elsewhere }).to_string());
    let client = plain(&lab).config(config).open().unwrap();
    assert!(client.path().unwrap().ends_with("elsewhere.db") && elsewhere.exists());
    assert!(serde_json::from_str::<Config>(r#"{"mod":"hold"}"#).is_err());
}

#[test]
fn a_mode_is_its_word_everywhere() {
    for mode in Mode::ALL {
        let word = mode.to_string();
        assert_eq!(word.parse::<Mode>().unwrap(), *mode);
        assert_eq!(serde_json::to_value(mode).unwrap(), serde_json::json!(word));
    }
    let error = "Pool".parse::<Mode>().unwrap_err().to_string();
    assert_eq!(error, "bad_config: mode is \"Pool\"; pool, inline, enqueue or hold");
}

#[test]
fn a_path_for_a_queue_in_memory_is_told_and_not_used() {
    let told = Events::of(|| {
        let environment = [("LITEWORK_DB", "elsewhere.db")];
        let client = Client::in_memory().environment(environment).open().unwrap();
        assert_eq!(client.path(), None);
    });
    let warning = "a queue in memory has no file; the path that was set is not used";
    assert!(told.contains(&(tracing::Level::WARN, warning.to_owned())), "{told:?}");
}

#[test]
fn the_environment_wins_over_both() {
    let lab = Lab::inline();
    let builder = || Client::builder(lab.path()).workers(2).config(settings(r#"{"mode":"hold"}"#));
    for (word, mode) in [
        ("pool", Mode::Pool),
        ("inline", Mode::Inline),
        ("enqueue", Mode::Enqueue),
        ("hold", Mode::Hold),
        ("", Mode::Hold),
    ] {
        assert_eq!(mode_of(builder().environment([("LITEWORK_MODE", word)])), mode, "{word:?}");
    }
    let workers = Client::builder(lab.path()).environment([("LITEWORK_WORKERS", "1")]);
    assert_eq!(mode_of(workers), Mode::Pool);
    let moved = lab.path().with_file_name("moved.db");
    let client = builder().environment([("LITEWORK_DB", moved.to_str().unwrap())]).open().unwrap();
    assert!(client.path().unwrap().ends_with("moved.db"));
}

/// An operator who misspells a name hears of it, and not that his four workers are one.
#[test]
fn a_misspelt_variable_is_refused_with_what_may_have_been_meant() {
    let open = |name: &str| {
        Client::in_memory().environment([(name, "4")]).open().map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(
        open("LITEWORK_WORKER").unwrap_err(),
        "bad_config: environment variable is \"LITEWORK_WORKER\"; it is read by nobody; did you mean \
         LITEWORK_WORKERS?"
    );
    assert!(open("LITEWORK_MOD").unwrap_err().ends_with("did you mean LITEWORK_MODE?"));
    assert_eq!(
        open("LITEWORK_DEFAULT_WORKERS").unwrap_err(),
        "bad_config: environment variable is \"LITEWORK_DEFAULT_WORKERS\"; the client `default` is named \
         without it: LITEWORK_WORKERS"
    );
    // Meant for another program in the same environment; and not ours at all.
    assert_eq!(open("LITEWORK_REPORTS_WORKERS"), Ok(()));
    assert_eq!(open("WORKER"), Ok(()));
    let empty = Client::in_memory().environment([("LITEWORK_WORKER", "")]).open();
    assert!(empty.is_ok(), "an empty one is as good as none");
    // A cluster gives each program the ports of a service by the name of that service.
    let told = Events::of(|| assert_eq!(open("LITEWORK_PORT"), Ok(())));
    let warning = "an environment variable with our prefix is read by nobody".to_owned();
    assert!(told.contains(&(tracing::Level::WARN, warning)), "{told:?}");
}

#[test]
fn a_bad_setting_is_refused_with_its_name_and_range() {
    let lab = Lab::inline();
    for (name, value, code) in [
        ("LITEWORK_MODE", "Pool", "bad_config"),
        ("LITEWORK_MODE", "async", "bad_config"),
        ("LITEWORK_WORKERS", "two", "bad_config"),
        ("LITEWORK_WORKERS", "-1", "bad_config"),
        ("LITEWORK_WORKERS", "0", "out_of_range"),
        ("LITEWORK_WORKERS", "1025", "out_of_range"),
    ] {
        let builder = Client::builder(lab.path()).environment([(name, value)]);
        let error = builder.open().map(|_| ()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(value), "{error}");
    }
    let builders: [fn(Builder) -> Builder; 4] = [
        |b| b.workers(0),
        |b| b.workers(2).threads_for("mail", 0),
        |b| b.workers(2).weight("mail", 0),
        |b| b.workers(2).weight("mail", 1_001),
    ];
    for change in builders {
        assert_eq!(change(plain(&lab)).open().map(|_| ()).unwrap_err().code(), "out_of_range");
    }
    assert_eq!(plain(&lab).name("a b").open().map(|_| ()).unwrap_err().code(), "bad_name");
    let bad_queue = plain(&lab).serve(["a b"]).open().map(|_| ()).unwrap_err();
    assert_eq!(bad_queue.code(), "bad_queue");
}

#[test]
fn in_mode_hold_tasks_are_stored_and_waiting_says_that_nobody_runs_them() {
    let lab = Lab::pool();
    let client = lab.builder().mode(Mode::Hold).register(ping).open().unwrap();
    let handle = client.enqueue(ping::with(7)).unwrap();
    assert!(handle.needs_runner());
    match handle.wait(LONG).unwrap_err() {
        Error::NobodyRuns { due_at, .. } => assert_eq!(due_at, lab.now()),
        other => panic!("{other}"),
    }
    assert_eq!(handle.refresh().unwrap().state, State::Ready);
}

#[test]
fn in_mode_enqueue_another_client_does_the_work() {
    Lab::each_way(|lab| {
        let web = lab.builder().mode(Mode::Enqueue).register(ping).open().unwrap();
        let handle = web.enqueue(ping::with(7)).unwrap();
        assert!(!handle.needs_runner());
        assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
        let worker = lab.builder().register(ping).open().unwrap();
        lab.settle(&worker);
        assert_eq!(handle.wait(LONG).unwrap(), 7);
        let second = web.enqueue(ping::with(8)).unwrap();
        assert_eq!(lab.wait(&worker, &second).unwrap(), 8);
        drop(worker);
    });
}

#[test]
fn in_mode_hold_waiting_goes_on_while_a_pool_serves_the_kind() {
    let lab = Lab::pool();
    let hold = lab.builder().mode(Mode::Hold).register(ping).open().unwrap();
    let worker = lab.builder().register(ping).open().unwrap();
    let handle = hold.enqueue(ping::with(7)).unwrap();
    assert_eq!(handle.wait(LONG).unwrap(), 7);
    worker.shutdown(LONG).unwrap();
    let handle = hold.enqueue(ping::with(8)).unwrap();
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
}
