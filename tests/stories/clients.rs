//! Several clients by name: which of them a task goes to, how a set is described, opened and ended, and what
//! the presets without a file do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use litework::testing::{Drain, drain};
use litework::{
    Builder, Call, Capability, Client, Clients, ClientsBuilder, ClientsConfig, Clock, Context,
    Definition, Error, Filter, Mode, Pending, Result, Signature, State, TaskRef, Timestamp,
    assert_enqueued, task,
};

use crate::common::{Gate, LONG, Lab, Log};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Named by no definition and by no route.
#[task]
fn plain(n: u32) -> u32 {
    n
}

/// Its definition names a client.
#[task(name = "mail.own", client = "own")]
fn own(n: u32) -> u32 {
    n
}

#[task(name = "mail.send")]
fn send(n: u32) -> u32 {
    n
}

/// Tells which clients it reaches, and how.
#[task]
fn reach(ctx: &Context) -> Result<Vec<String>> {
    let refused = ctx.enqueue(own::with(1)).map(drop).unwrap_err();
    let clients = ctx.clients()?;
    let there = clients.enqueue(own::with(2))?;
    let found = clients.get("own")?.get(there.id())?;
    Ok(vec![refused.code().to_owned(), found.kind])
}

#[task]
fn end_all(ctx: &Context) -> Result<String> {
    Ok(ctx.clients()?.shutdown(LONG).unwrap_err().to_string())
}

/// Tasks that name no client.
fn unnamed(builder: Builder) -> Builder {
    builder.register(plain).register(send).register(reach).register(end_all)
}

fn all(builder: Builder) -> Builder {
    unnamed(builder).register(own)
}

/// The lab's builder on another file.
fn on(lab: &Lab, name: &str) -> Builder {
    let file = lab.path().with_file_name(format!("{name}.db"));
    let config = serde_json::from_value(serde_json::json!({ "db": file })).unwrap();
    all(lab.builder()).config(config)
}

/// `default`, `own` and `mail`, each on its own file.
fn three(lab: &Lab) -> ClientsBuilder {
    let set = Clients::builder().add("default", on(lab, "default"));
    set.add("own", on(lab, "own")).add("mail", on(lab, "mail"))
}

/// Which clients keep a task of this kind.
fn keepers(clients: &Clients) -> Vec<&str> {
    let keeps = |name: &&str| clients.get(name).unwrap().count(&Filter::new()).unwrap() > 0;
    clients.names().filter(keeps).collect()
}

/// Opens the set, enqueues one call, sees which client keeps it, and ends it there.
fn goes_to<T: Signature<Output = u32>>(lab: &Lab, set: ClientsBuilder, call: Call<T>) -> String {
    let clients = set.open().unwrap();
    let handle = clients.enqueue(call).unwrap();
    let keepers = keepers(&clients);
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    assert_eq!(lab.wait(clients.get(keepers[0]).unwrap(), &handle).unwrap(), 7);
    keepers[0].to_owned()
}

#[test]
fn a_call_goes_to_its_own_client_then_its_definitions_then_the_routes_then_default() {
    fn one<T>(call: Call<T>, routed: bool, expected: &'static str)
    where
        T: Signature<Output = u32> + Clone,
    {
        let lab = Lab::inline();
        let set = three(&lab);
        let set = if routed { set.route("mail.s*", "own").route("*", "mail") } else { set };
        assert_eq!(goes_to(&lab, set, call), expected);
    }
    one(plain::with(7), false, "default");
    one(plain::with(7), true, "mail");
    one(send::with(7), true, "own");
    one(own::with(7), false, "own");
    one(own::with(7).client("mail"), true, "mail");
    one(plain::with(7).client("default"), true, "default");
    Lab::each_way(|lab| {
        assert_eq!(goes_to(lab, three(lab).route("mail.*", "mail"), send::with(7)), "mail");
    });
}

#[test]
fn calls_of_a_batch_and_of_text_go_the_same_way() {
    Lab::each_way(|lab| {
        let clients = three(lab).route("mail.*", "mail").open().unwrap();
        let sent = clients.enqueue_many((0..3).map(send::with)).unwrap();
        let json = clients.enqueue_json("mail.send", br#"{"n":3}"#).unwrap();
        let mail = clients.get("mail").unwrap();
        assert_eq!(mail.count(&Filter::new().kind("mail.send")).unwrap(), 4);
        assert!(mail.get(json.id).is_ok());
        assert_eq!(lab.wait(mail, &sent[2]).unwrap(), 2);
        assert_eq!(keepers(&clients), ["mail"]);
        let calls = [send::with(1), send::with(2).client("own"), send::with(3)];
        assert_eq!(
            clients.enqueue_many(calls).unwrap_err().to_string(),
            "item 1 of the batch: mixed_clients: client of the call is \"own\"; the same client for \
             all calls of a batch; send them apart"
        );
        let calls = [send::with(1), send::with(2).client("mial")];
        let unknown = clients.enqueue_many(calls).unwrap_err();
        assert_eq!(unknown.code(), "unknown_client");
        assert!(
            clients.enqueue_many(Vec::<Call<<send as TaskRef>::Task>>::new()).unwrap().is_empty()
        );
        assert_eq!(mail.count(&Filter::new()).unwrap(), 4, "nothing of a refused batch is stored");
    });
}

#[test]
fn two_clients_of_a_set_may_share_one_file() {
    Lab::each_way(|lab| {
        let share = || unnamed(lab.builder()).serve(["default"]);
        let mail = unnamed(lab.builder()).serve(["mail"]).queue_for("mail.*", "mail");
        let set = Clients::builder().add("default", share()).add("mail", mail);
        let clients = set.route("mail.*", "mail").open().unwrap();
        let (here, there) = (clients.enqueue(plain::with(1)).unwrap(), send::with(2));
        let there = clients.enqueue(there).unwrap();
        assert_eq!(clients.default().path(), clients.get("mail").unwrap().path());
        assert_eq!(lab.wait(clients.default(), &here).unwrap(), 1);
        assert_eq!(lab.wait(clients.get("mail").unwrap(), &there).unwrap(), 2);
        let record = clients.default().get(there.id()).unwrap();
        assert_eq!((record.queue.as_str(), record.state), ("mail", State::Succeeded));
    });
}

#[test]
fn a_client_refuses_what_is_meant_for_another_and_a_body_reaches_the_set() {
    Lab::each_way(|lab| {
        let clients = three(lab).open().unwrap();
        let refused = clients.default().enqueue(own::with(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "other_client: client of task mail.own is \"own\"; this is the client \"default\"; enqueue \
             it through the set, `Clients::enqueue`, or name this one in the call"
        );
        assert!(clients.default().enqueue(own::with(7).client("default")).is_ok());
        let reached = clients.enqueue(reach::with()).unwrap();
        let reached = lab.wait(clients.default(), &reached).unwrap();
        assert_eq!(reached, ["other_client", "mail.own"]);
    });
}

#[test]
fn a_client_opened_by_itself_takes_every_task_and_has_no_set() {
    Lab::each_way(|lab| {
        let client = all(lab.builder()).open().unwrap();
        let handle = client.enqueue(own::with(7)).unwrap();
        assert_eq!(lab.wait(&client, &handle).unwrap(), 7);
        let kinds = client.kinds();
        let named = kinds.iter().filter_map(|kind| Some((&*kind.name, kind.client.as_deref()?)));
        assert_eq!(named.collect::<Vec<_>>(), [("mail.own", "own")]);
        let lone = client.enqueue(end_all::with().attempts(1)).unwrap();
        let error = lab.wait(&client, &lone).unwrap_err().to_string();
        assert!(error.contains("not_in_a_set: set of clients is \"none\""), "{error}");
    });
}

#[test]
fn a_shutdown_ends_every_client_and_is_refused_inside_a_body() {
    Lab::each_way(|lab| {
        let clients = three(lab).open().unwrap();
        let inside = clients.enqueue(end_all::with()).unwrap();
        let refused = lab.wait(clients.default(), &inside).unwrap();
        assert!(refused.starts_with("client default: reentrant: "), "{refused}");
        let stopped = clients.shutdown(LONG).unwrap();
        assert_eq!(stopped.still_running, 0);
        for name in ["default", "own", "mail"] {
            let closed = clients.get(name).unwrap().enqueue(plain::with(1)).unwrap_err();
            assert_eq!(closed.code(), "closed", "{name}");
        }
        assert_eq!(clients.shutdown(LONG).unwrap(), stopped, "a second one has the same answer");
    });
}

#[test]
fn a_set_that_goes_closes_its_clients_but_for_those_that_are_kept() {
    Lab::each_way(|lab| {
        let clients = three(lab).open().unwrap();
        let kept = clients.get("mail").unwrap().clone();
        let gone = clients.enqueue(plain::with(7).run_after(HOUR)).unwrap();
        drop(clients);
        assert_eq!(gone.refresh().map(drop).unwrap_err().code(), "closed");
        let handle = kept.enqueue(plain::with(7)).unwrap();
        assert_eq!(lab.wait(&kept, &handle).unwrap(), 7);
    });
}

/// Ends when it and the other one were asked to stop.
#[task]
fn both(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.enter();
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
    let log = ctx.state::<Log>()?;
    log.note("asked");
    while log.len() < 2 {
        std::thread::yield_now();
    }
    Ok(())
}

/// Only bodies of a pool run side by side by themselves.
#[test]
fn all_clients_of_a_set_are_shut_down_side_by_side() {
    let (lab, gate, log) = (Lab::pool(), Gate::default(), Log::default());
    let more = |name| on(&lab, name).register(both).state(gate.clone()).state(log.clone());
    let set = Clients::builder().add("default", more("default")).add("own", more("own"));
    let clients = set.open().unwrap();
    clients.enqueue(both::with()).unwrap();
    clients.enqueue(both::with().client("own")).unwrap();
    gate.wait_for(2);
    let stopped = clients.shutdown(Duration::ZERO).unwrap();
    assert_eq!((stopped.finished, stopped.still_running), (2, 0), "one waited for the other");
}

#[task]
fn at_once(ctx: &Context) -> Result<Vec<String>> {
    ctx.state::<Log>()?.note("begun");
    ctx.state::<Gate>()?.pass();
    let code = |error: Error| vec![error.code().to_owned()];
    Ok(ctx.clients().map_or_else(code, |set| set.names().map(str::to_owned).collect()))
}

/// Holds up whoever asks for the time until a body has begun, and then lets that body go.
#[derive(Debug)]
struct Late(Gate);

impl Clock for Late {
    fn now(&self) -> Timestamp {
        self.0.wait_for(1);
        self.0.open();
        litework::SystemClock.now()
    }
}

/// What a body is told that a pool begins while the rest of its set is being opened.
fn told_while_opening(more: impl FnOnce(ClientsBuilder, &Lab) -> ClientsBuilder) -> (bool, String) {
    let (lab, gate, log) = (Lab::pool(), Gate::default(), Log::default());
    let builder = || lab.builder().register(at_once).state(log.clone()).state(gate.clone());
    let hold = builder().mode(Mode::Hold).open().unwrap();
    let early = hold.enqueue(at_once::with()).unwrap();
    let slow = Client::in_memory().clock(Arc::new(Late(gate.clone())));
    let set = Clients::builder().add("default", builder()).add("slow", slow);
    let clients = more(set, &lab).open();
    assert_eq!(log.words(), ["begun"]);
    let told = early.wait(LONG).unwrap().join(" ");
    (clients.is_ok(), told)
}

/// Only a pool begins by itself.
#[test]
fn a_body_that_begins_early_waits_until_its_set_is_open_or_has_failed_to() {
    assert_eq!(told_while_opening(|set, _| set), (true, "default slow".to_owned()));
    let failing = |set: ClientsBuilder, lab: &Lab| {
        set.add("broken", Client::builder(lab.path().parent().unwrap()))
    };
    assert_eq!(told_while_opening(failing), (false, "closed".to_owned()));
}

#[test]
fn a_client_that_cannot_be_opened_is_named_and_the_others_are_shut_down() {
    Lab::each_way(|lab| {
        let folder = lab.path().parent().unwrap().to_owned();
        let set = Clients::builder().add("default", unnamed(lab.builder()));
        let error = set.add("mail", Client::builder(folder)).open().map(drop).unwrap_err();
        assert!(error.to_string().starts_with("client mail: not_a_queue_file: "), "{error}");
        assert_eq!(error.code(), "not_a_queue_file");
        let hold = all(lab.builder()).mode(Mode::Hold).open().unwrap();
        let handle = hold.enqueue(plain::with(1)).unwrap();
        assert_eq!(handle.wait(LONG).unwrap_err().code(), "nobody_runs");
    });
}

/// What a set is refused with.
fn refused(set: ClientsBuilder) -> String {
    set.environment([("", ""); 0]).open().map_or_else(|error| error.to_string(), |_| "ok".into())
}

/// Only opening is looked at; nothing runs.
#[test]
fn a_set_that_contradicts_itself_is_refused_before_anything_is_opened() {
    let base = || {
        let builder = Client::in_memory().register(plain).register(own);
        Clients::builder().add("default", builder).add("own", Client::in_memory().register(own))
    };
    let named = |name: &'static str| {
        let task = Definition::from(plain).with(|options| options.client(name));
        base().add("third", Client::in_memory().register(task))
    };
    let sets: [(ClientsBuilder, &str); 14] = [
        (base(), "ok"),
        (base().route("mail.*", "own"), "ok"),
        (
            base().route("mail.*", "onw"),
            "unknown_client: client of the route \"mail.*\" is \"onw\"; one of default, own; did you mean own?",
        ),
        (
            base().route("mail/*", "own"),
            "bad_glob: kinds of a route is \"mail/*\"; 1–64 of A–Z a–z 0–9 . _ - * ?",
        ),
        (
            base().add("own", Client::in_memory()),
            "duplicate_name: client name is \"own\"; each name belongs to one client of the set",
        ),
        (
            base().add("OWN", Client::in_memory()),
            "bad_config: client name is \"OWN\"; \"own\" reads the variables LITEWORK_OWN_… already",
        ),
        (
            base().add("a b", Client::in_memory()),
            "bad_name: client name is \"a b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
        (
            Clients::builder().add("mail", Client::in_memory()),
            "unknown_client: client name is \"default\"; one of mail",
        ),
        (
            Clients::builder().add("default", Client::in_memory().register(own)),
            "unknown_client: client of task mail.own is \"own\"; one of default",
        ),
        (
            named("own"),
            "bad_config: client of task plain is \"own\"; that client must know the task: register or declare it there",
        ),
        (named("default"), "ok"),
        (
            named("third").add("fourth", {
                let task = Definition::from(plain).with(|options| options.client("default"));
                Client::in_memory().register(task)
            }),
            "bad_config: client of task plain is \"default\"; another definition of it names \"third\"; name the same one in all",
        ),
        (
            base().add("mail", Client::in_memory().workers(0)),
            "client mail: out_of_range: workers is 0; 1 to 1024",
        ),
        (
            base().add("mail", Client::in_memory().queue_for("*", "a b")),
            "client mail: bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
        ),
    ];
    for (set, expected) in sets {
        assert_eq!(refused(set), expected);
    }
}

/// Only names are looked at; nothing runs.
#[test]
fn an_unknown_client_is_answered_with_the_nearest_names() {
    let set = Clients::builder().add("default", Client::in_memory().register(plain));
    let clients = set.add("own", Client::in_memory()).open().unwrap();
    let unknown = clients.get("onw").map(drop).unwrap_err().to_string();
    assert_eq!(
        unknown,
        "unknown_client: client name is \"onw\"; one of default, own; did you mean own?"
    );
    let call = clients.enqueue(plain::with(1).client("onw")).map(drop).unwrap_err();
    assert_eq!(call.to_string(), unknown);
    let bad = clients.enqueue(plain::with(1).client("a b")).map(drop).unwrap_err();
    assert_eq!(bad.code(), "unknown_client");
}

fn set_of(toml: &str) -> ClientsConfig {
    toml::from_str(toml).unwrap()
}

/// Opens what a table describes; the environment is what is given.
fn open(toml: &str, environment: &[(&str, &str)]) -> Result<Clients, Error> {
    let config = set_of(toml);
    let register = if config.clients.contains_key("own") { all } else { unnamed };
    let set = Clients::builder().config(&config, |_, builder| register(builder))?;
    set.environment(environment.iter().copied()).open()
}

fn path_of(clients: &Clients, name: &str) -> PathBuf {
    clients.get(name).unwrap().path().unwrap().to_owned()
}

/// Only settings are looked at; nothing runs.
#[test]
fn a_table_describes_a_whole_set() {
    let lab = Lab::inline();
    let file = |name: &str| lab.path().with_file_name(name);
    let toml = format!(
        r#"
        routes = [{{ kinds = "mail.s*", client = "mail" }}, {{ kinds = "*", client = "default" }}]

        [clients.default]
        db = {:?}
        mode = "pool"
        workers = 3
        name = "web"
        durability = "normal"
        allow_queues = ["default", "images", "mail"]
        serve = ["default", "images"]
        threads_for = {{ images = 2 }}
        weight = {{ images = 3 }}
        ageing = "10m"
        max_running = {{ images = 1 }}
        rate = {{ images = {{ count = 60, per = "1m", burst = 2 }} }}
        max_waiting = {{ images = 1 }}
        max_waiting_each = 5
        max_file_bytes = 1_073_741_824
        queue_for = [{{ kinds = "pl?in", queue = "images" }}]

        [clients.mail]
        preset = "dummy"

        [clients.own]
        preset = "immediate"
        retry_in_place = false
        "#,
        file("default.db").display().to_string(),
    );
    let clients = open(&toml, &[]).unwrap();
    assert_eq!(clients.names().collect::<Vec<_>>(), ["default", "mail", "own"]);
    let modes = ["default", "mail", "own"].map(|name| clients.get(name).unwrap().mode());
    assert_eq!(modes, [Mode::Pool, Mode::Hold, Mode::Inline]);
    assert!(path_of(&clients, "default").ends_with("default.db"));
    assert_eq!(clients.get("mail").unwrap().path(), None);
    assert!(std::ptr::eq(clients.client_of::<send>(), clients.get("mail").unwrap()));
    let later = || plain::with(1).run_after(HOUR);
    let record = clients.enqueue(later()).unwrap().refresh().unwrap();
    assert_eq!(record.queue, "images");
    let refusals = [
        (clients.enqueue(later()).map(drop), "overloaded"),
        (clients.enqueue(later().queue("mial")).map(drop), "unknown_queue"),
        (clients.enqueue(own::with(1).run_after(HOUR)).map(drop), "unsupported"),
    ];
    for (answer, code) in refusals {
        assert_eq!(answer.unwrap_err().code(), code);
    }
    drop(clients);
    let other = Client::builder(file("default.db")).ageing(HOUR).open().map(drop).unwrap_err();
    assert_eq!(other.code(), "other_ageing", "the file was made with the table's");
}

/// Only settings are looked at; nothing runs.
#[test]
fn without_any_settings_default_runs_in_the_caller_and_keeps_no_file() {
    let clients = open("", &[]).unwrap();
    assert_eq!(clients.names().collect::<Vec<_>>(), ["default"]);
    assert_eq!(clients.enqueue(plain::with(7)).unwrap().value().unwrap(), 7);
    assert!(!clients.default().capabilities().supports_defer);
}

/// Only settings are looked at; nothing runs.
#[test]
fn a_value_outside_its_range_is_refused_with_the_path_of_its_key() {
    let name = "1–64 of A–Z a–z 0–9 . _ -";
    let bad_name = format!("it has a character at byte 1 that is not allowed; {name}");
    let moot = |preset: &str| format!("leave it out: the preset `{preset}` gives it no meaning");
    let rows: &[(&str, String)] = &[
        ("workers = 0", "workers is 0; 1 to 1024".into()),
        ("workers = 1025", "workers is 1025; 1 to 1024".into()),
        ("name = \"a b\"", format!("name is \"a b\"; {bad_name}")),
        ("serve = [\"a b\"]", format!("serve is \"a b\"; {bad_name}")),
        ("serve_all_but = [\"a b\"]", format!("serve_all_but is \"a b\"; {bad_name}")),
        ("allow_queues = [\"a b\"]", format!("allow_queues is \"a b\"; {bad_name}")),
        ("threads_for = { mail = 0 }", "threads_for.mail is 0; 1 to 1024".into()),
        ("weight = { mail = 1001 }", "weight.mail is 1001; 1 to 1000".into()),
        ("max_running = { mail = 0 }", "max_running.mail is 0; 1 to 1000000".into()),
        ("rate = { mail = { per = \"1s\" } }", "rate.mail.count is 0; 1 to 1000000".into()),
        (
            "rate = { mail = { count = 5 } }",
            "rate.mail.per is missing; a period as text, such as `1m`".into(),
        ),
        (
            "rate = { mail = { count = 5, per = \"1s\", burst = 6 } }",
            "rate.mail.burst is 6; 1 to its count".into(),
        ),
        ("ageing = \"0s\"", "ageing is 0ns; 1 ms to 100 years".into()),
        ("max_waiting = { mail = 0 }", "max_waiting.mail is 0; 1 to 1000000000".into()),
        ("max_waiting_each = 0", "max_waiting_each is 0; 1 to 1000000000".into()),
        ("max_file_bytes = 1", "max_file_bytes is 1; 1048576 to 281474976710656".into()),
        (
            "queue_for = [{ kinds = \"*\", queue = \"q\" }, { kinds = \"a/b\", queue = \"q\" }]",
            "queue_for[1].kinds is \"a/b\"; 1–64 of A–Z a–z 0–9 . _ - * ?".into(),
        ),
        (
            "queue_for = [{ kinds = \"*\" }]",
            format!("queue_for[0].queue is \"\"; it is empty; {name}"),
        ),
        ("preset = \"dummy\"\ndb = \"x.db\"", format!("db is \"x.db\"; {}", moot("dummy"))),
        ("preset = \"dummy\"\nworkers = 1", format!("workers is 1; {}", moot("dummy"))),
        (
            "preset = \"immediate\"\nmode = \"pool\"",
            format!("mode is \"pool\"; {}", moot("immediate")),
        ),
        (
            "preset = \"immediate\"\nincremental_vacuum = true",
            format!("incremental_vacuum is true; {}", moot("immediate")),
        ),
        (
            "preset = \"immediate\"\nmax_file_bytes = 1_048_576",
            format!("max_file_bytes is 1048576; {}", moot("immediate")),
        ),
    ];
    for (line, expected) in rows {
        let error = open(&format!("[clients.mail]\n{line}"), &[]).map(drop).unwrap_err();
        assert_eq!(error.to_string(), format!("bad_config: clients.mail.{expected}"));
    }
    let one = Client::in_memory().config(toml::from_str("workers = 0").unwrap());
    let error = one.open().map(drop).unwrap_err();
    assert_eq!(error.to_string(), "bad_config: workers is 0; 1 to 1024");
    let file = open("[clients.default]\nworkers = 1", &[]).map(drop).unwrap_err();
    assert_eq!(
        file.to_string(),
        "client default: bad_config: clients.default.db is \"\"; a path, here or in LITEWORK_DB; or \
         the preset `immediate` or `dummy`"
    );
    let route = "routes = [{ kinds = \"*\", client = \"mial\" }]\n[clients.default]\npreset = \"dummy\"\n\
                 [clients.mail]\npreset = \"dummy\"";
    assert_eq!(
        open(route, &[]).map(drop).unwrap_err().to_string(),
        "unknown_client: routes[0].client is \"mial\"; one of default, mail; did you mean mail?"
    );
}

/// Only settings are looked at; nothing runs.
#[test]
fn a_retention_out_of_its_range_is_refused_with_the_path_of_its_key() {
    for (line, expected) in [
        (
            "retention = { failed = { age = \"36501d\" } }",
            "retention.failed.age is 3153686400s; 0 to 100 years",
        ),
        (
            "retention.queues.post.skipped = { age = \"36501d\" }",
            "retention.queues.post.skipped.age is 3153686400s; 0 to 100 years",
        ),
        (
            "retention.queues.post.queues.letters = {}",
            "retention.queues.post.queues is \"letters\"; queues stand side by side",
        ),
    ] {
        let error = open(&format!("[clients.mail]\n{line}"), &[]).map(drop).unwrap_err();
        assert_eq!(error.to_string(), format!("bad_config: clients.mail.{expected}"));
    }
}

/// Only settings are looked at; nothing runs.
#[test]
fn an_unknown_key_is_refused_with_what_may_have_been_meant() {
    for (table, expected) in [
        ("[clients.mail]\nworker = 4", "unknown key `worker`; did you mean `workers`?"),
        (
            "[clients.mail]\nserve_all = []",
            "unknown key `serve_all`; did you mean `serve` or `serve_all_but`?",
        ),
        ("[client.mail]", "unknown key `client`; did you mean `clients`?"),
        ("routes = [{ kind = \"*\" }]", "unknown key `kind`; did you mean `kinds`?"),
        ("colour = 1", "unknown key `colour`; the keys are clients, routes"),
        (
            "[clients.mail]\nqueue_for = [{ kinds = \"*\", q = \"\" }]",
            "unknown key `q`; the keys are kinds, queue",
        ),
        (
            "[clients.mail]\nageing = \"10\"",
            "\"10\" is no time span: a whole number and a unit (ms, s, m, h or d), such as \"10m\"",
        ),
        (
            "[clients.mail]\nageing = \"99999999999999999d\"",
            "\"99999999999999999d\" is no time span: a whole number and a unit (ms, s, m, h or d), such as \"10m\"",
        ),
        // As in the text of a retention.
        (
            "[clients.mail]\nageing = \"2 s\"",
            "\"2 s\" is no time span: a whole number and a unit (ms, s, m, h or d), such as \"10m\"",
        ),
        (
            "[clients.mail.retention]\nsuceeded = { age = \"7d\" }",
            "unknown key `suceeded`; did you mean `succeeded`?",
        ),
        (
            "[clients.mail.retention]\nfailed = { ages = \"7d\" }",
            "unknown key `ages`; did you mean `age`?",
        ),
        (
            "[clients.mail.retention]\nfailed = { age = \"7w\" }",
            "\"7w\" is no time span: a whole number and a unit (ms, s, m, h or d), such as \"10m\"",
        ),
        ("[clients.mail]\nretentions = {}", "unknown key `retentions`; did you mean `retention`?"),
        ("[clients.mail]\nworkers = \"4\"", "invalid type: string \"4\", expected usize"),
        (
            "[clients.mail]\npreset = \"postgres\"",
            "unknown variant `postgres`, expected one of `sqlite`, `immediate`, `dummy`",
        ),
    ] {
        let error = toml::from_str::<ClientsConfig>(table).unwrap_err();
        assert_eq!(error.message(), expected);
    }
    let twice = serde_json::from_str::<ClientsConfig>(r#"{"routes":[],"routes":[]}"#).unwrap_err();
    assert_eq!(twice.to_string(), "the key `routes` is given twice at line 1 column 21");
    for span in ["1ms", "2s", "3m", "4h", "5d"] {
        let table = format!("ageing = {span:?}");
        assert!(toml::from_str::<litework::Config>(&table).unwrap().ageing.is_some(), "{span}");
    }
}

/// Only settings are looked at; nothing runs.
#[test]
fn the_environment_of_a_client_bears_its_name_and_wins() {
    let lab = Lab::inline();
    let file = |name: &str| lab.path().with_file_name(name).display().to_string();
    let (from, moved) = (file("a.db"), file("moved.db"));
    let toml = format!(
        "[clients.default]\ndb = {from:?}\nmode = \"hold\"\n[clients.mail-out]\nmode = \"hold\""
    );
    let variables = [
        ("LITEWORK_MODE", "enqueue"),
        ("LITEWORK_MAIL_OUT_WORKERS", "2"),
        ("LITEWORK_MAIL_OUT_MODE", "pool"),
        ("LITEWORK_MAIL_OUT_DB", &moved),
    ];
    let clients = open(&toml, &variables).unwrap();
    assert_eq!(clients.default().mode(), Mode::Enqueue);
    assert_eq!(clients.get("mail-out").unwrap().mode(), Mode::Pool);
    assert!(path_of(&clients, "default").ends_with("a.db"));
    assert!(path_of(&clients, "mail-out").ends_with("moved.db"));
    let bad = open(&toml, &[("LITEWORK_MAIL_OUT_DB", &moved), ("LITEWORK_MAIL_OUT_MODE", "Pool")]);
    assert_eq!(
        bad.map(drop).unwrap_err().to_string(),
        "client mail-out: bad_config: LITEWORK_MAIL_OUT_MODE is \"Pool\"; pool, inline, enqueue or hold"
    );
    let bad = open(&toml, &[("LITEWORK_MAIL_OUT_WORKER", "2")]).map(drop).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "client default: bad_config: environment variable is \"LITEWORK_MAIL_OUT_WORKER\"; it is read by \
         nobody; did you mean LITEWORK_MAIL_OUT_WORKERS?"
    );
    let held = Client::in_memory().environment([("LITEWORK_MODE", "hold")]);
    let set = Clients::builder().add("default", held).environment([("LITEWORK_MODE", "enqueue")]);
    assert_eq!(set.open().unwrap().default().mode(), Mode::Hold, "a builder's own stay its own");
}

/// Only the caller runs what is immediate.
#[test]
fn immediate_has_run_when_enqueue_returns_and_takes_nothing_for_later() {
    let none = [("", ""); 0];
    let client = all(Client::immediate()).environment(none).open().unwrap();
    let handle = client.enqueue(plain::with(7)).unwrap();
    assert_eq!(handle.refresh().unwrap().state, State::Succeeded);
    assert_eq!(client.get(handle.id()).unwrap().value::<u32>().unwrap(), 7);
    let later = client.enqueue(plain::with(7).run_after(HOUR)).map(drop).unwrap_err();
    assert_eq!(
        later.to_string(),
        "unsupported: supports_defer of client \"default\" is false; task plain is to run later; leave \
         its due time out"
    );
    assert!(client.enqueue(plain::with(7).run_after(Duration::ZERO).priority(3)).is_ok());
    // Neither by the side doors: a copy, or another moment.
    let copy = |span| client.edit_as_copy(handle.id(), |edit| edit.run_after(span));
    assert_eq!(copy(HOUR).map(drop).unwrap_err().to_string(), later.to_string());
    assert_eq!(copy(Duration::ZERO).unwrap().state, State::Succeeded);
    let moment = litework::SystemClock.now().after(HOUR).to_chrono();
    let moved = client.reschedule(handle.id(), moment).unwrap_err();
    assert!(moved.to_string().starts_with("unsupported: supports_defer of"), "{moved}");
    let moved = client.bulk(&Filter::new()).reschedule(moment).unwrap_err();
    assert!(moved.to_string().starts_with("unsupported: supports_defer of"), "{moved}");
    let needs = Definition::from(plain).with(|options| options.needs(Capability::Defer));
    let refused = Client::immediate().environment(none).register(needs).open().map(drop);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "unsupported: supports_defer of client \"default\" is false; task plain needs it"
    );
    let pool = Client::immediate().environment([("LITEWORK_MODE", "pool")]).open().unwrap();
    assert!(pool.capabilities().supports_defer, "a pool runs it when it is due");
}

/// Only the test itself runs what a dummy keeps.
#[test]
fn a_dummy_lists_what_was_enqueued_runs_nothing_and_can_be_cleared() {
    let client = all(Client::dummy()).environment([("", ""); 0]).open().unwrap();
    let kept = client.enqueue(plain::with(7).priority(5).key("a")).unwrap();
    client.enqueue(send::with(1).run_after(HOUR)).unwrap();
    assert_eq!(kept.wait(LONG).unwrap_err().code(), "nobody_runs");
    assert_enqueued!(client, plain, priority = 5, key = "a", state = State::Ready, count = 1);
    assert_enqueued!(client, send, run_after = HOUR, state = State::Scheduled, count = 1);
    let drained = drain(&client, &Drain::new()).unwrap();
    assert_eq!((drained.succeeded, drained.left), (1, 1));
    assert_eq!(client.clear().unwrap(), 2);
    assert!(client.list(&Filter::new(), None, 10).unwrap().tasks.is_empty());
    assert_eq!(kept.refresh().unwrap_err().code(), "not_found");
    let again = client.enqueue(plain::with(8).key("a")).unwrap();
    assert!(!again.is_existing() && again.id() != kept.id());
    assert_eq!(client.clear().unwrap(), 1);
    assert_eq!(client.clear().unwrap(), 0);
}

/// Only the file is looked at; nothing runs.
#[test]
fn a_definition_that_is_refused_makes_no_file() {
    let lab = Lab::inline();
    let needs = Definition::from(plain).with(|options| options.needs(Capability::Clear));
    let refused = lab.builder().register(needs).open().map(drop).unwrap_err();
    assert_eq!(refused.code(), "unsupported");
    assert!(!Path::exists(&lab.path()));
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    #[test]
    fn a_set_is_used_inside_a_runtime_without_blocking_it() {
        Lab::each_way(|lab| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let clients = three(lab).route("mail.*", "mail").open().unwrap();
                let one = clients.enqueue_async(own::with(7)).await.unwrap();
                let many = clients.enqueue_many_async([1, 2].map(send::with)).await.unwrap();
                let nothing = Vec::<Call<<send as TaskRef>::Task>>::new();
                assert!(clients.enqueue_many_async(nothing).await.unwrap().is_empty());
                let set = clients.clone();
                let settled = tokio::task::spawn_blocking(move || {
                    set.names().for_each(|name| {
                        set.get(name).unwrap().run_pending(&Pending::all()).unwrap();
                    });
                });
                settled.await.unwrap();
                assert_eq!(one.await.unwrap(), 7);
                for (handle, value) in many.into_iter().zip([1, 2]) {
                    assert_eq!(handle.await.unwrap(), value);
                }
                assert_eq!(keepers(&clients), ["own", "mail"]);
                clients.shutdown_async(LONG).await.unwrap();
                let closed = clients.enqueue_async(plain::with(1)).await.unwrap_err();
                assert_eq!(closed.code(), "closed");
            });
        });
    }
}
