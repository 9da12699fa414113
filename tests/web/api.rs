//! Tasks for programs: lists, deeds, new tasks, and that the API does what its document says.

use bytes::Bytes;
use http_body_util::Full;
use litework::testing::{WriteFault, WritePoint, fail_writes};
use litework::web::{Access, Action, Web};
use litework::{Client, Mode, State, task};
use serde_json::{Value, json};

use crate::desk::{Reply, Shop, request};
use crate::tasks::{self, count_till, export, refuse};

/// Remembers what it is told.
#[task(queue = "notes", attempts = 2)]
pub(crate) fn note(text: &str, urgent: Option<bool>) -> String {
    format!("{text}{}", if urgent == Some(true) { "!" } else { "" })
}

/// The desk's people, and a clerk who may enqueue.
pub(crate) fn gate(request: &http::request::Parts) -> Access {
    match request.headers.get("x-user").map(|user| user.to_str().unwrap()) {
        Some("clerk") => Access::owner("clerk").with(&[Action::Enqueue]),
        Some("guest link") => Access::link(),
        _ => crate::desk::gate(request),
    }
}

/// A shop whose clerks enqueue notes, and whose tasks run in this mode.
pub(crate) fn office(mode: Mode) -> Shop {
    let tasks = tasks::registered(Client::in_memory()).register(note).mode(mode).open().unwrap();
    let web = Web::builder(&tasks, gate).base("/tasks").enqueueable(["note"]).build().unwrap();
    Shop { tasks, web }
}

/// A request of a program: without the headers of a browser.
pub(crate) fn ask(shop: &Shop, method: &str, user: &str, path: &str) -> Reply {
    let request = request(method, user, path).header("content-type", "application/json");
    shop.send(request.body(Full::default()).unwrap())
}

fn get(shop: &Shop, user: &str, path: &str) -> Reply {
    ask(shop, "GET", user, path)
}

fn create(shop: &Shop, user: &str, body: &str) -> Reply {
    let request =
        request("POST", user, "/tasks/api/tasks").header("content-type", "application/json");
    shop.send(request.body(Full::from(Bytes::from(body.to_owned()))).unwrap())
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// A problem's status and detail; its body has the shape of all of them.
pub(crate) fn problem(reply: &Reply) -> (u16, String) {
    let body = reply.json();
    assert_eq!(reply.header("content-type"), "application/problem+json", "{reply:?}");
    assert_eq!((&body["type"], &body["status"]), (&json!("about:blank"), &json!(reply.status)));
    assert!(body["title"].is_string() && body["code"].is_string(), "{body}");
    (reply.status, body["detail"].as_str().unwrap().to_owned())
}

#[test]
fn a_list_holds_what_its_filter_means() {
    let shop = office(Mode::Inline);
    let tasks = &shop.tasks;
    let first = tasks.enqueue(export::with("Ada", 1).owner("ada").tag("big")).unwrap().id();
    tasks.enqueue(note::with("n", None).owner("ada")).unwrap();
    tasks.enqueue(refuse::with("100%_full", None).owner("ada").name("R")).unwrap();
    tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap();
    let at = tasks.get(first).unwrap().enqueued_at;
    let later = litework::Timestamp::from_millis(at.as_millis() + 3_600_000).unwrap();
    tasks.dismiss(first).unwrap();
    for (query, found) in [
        ("", &["Export of Bob", "R", "note", "Export of Ada"][..]),
        ("?state=failed", &["R"]),
        ("?state=failed&state=cancelled", &["R"]),
        ("?kind=export", &["Export of Bob", "Export of Ada"]),
        ("?queue=notes", &["note"]),
        ("?owner=ada&kind=export", &["Export of Ada"]),
        ("?tag=big", &["Export of Ada"]),
        ("?dismissed=true", &["Export of Ada"]),
        ("?error=SMTP%20550", &["R"]),
        ("?error=SMTP_550", &[]),
        ("?error=%25", &[]),
        (&format!("?id={first}"), &["Export of Ada"]),
        (&format!("?batch={first}"), &[]),
        (&format!("?created_after={at}&size=1"), &["Export of Bob"]),
        (&format!("?created_after={later}"), &[]),
        (&format!("?created_before={at}"), &[]),
        (&format!("?finished_before={later}&kind=note"), &["note"]),
        ("?finished_after=0001-01-01T00:00:00Z&kind=note", &["note"]),
    ] {
        let list = get(&shop, "root", &format!("/tasks/api/tasks{query}"));
        assert_eq!((list.status, names(&list.json())), (200, found.to_vec()), "{query}");
    }
    let mine = get(&shop, "ada", "/tasks/api/tasks").json();
    assert_eq!(names(&mine), ["R", "note", "Export of Ada"]);
    assert!(mine["items"][0].get("queue").is_none(), "it is for operators");
    let all = get(&shop, "root", "/tasks/api/tasks").json();
    assert_eq!(
        (&all["items"][1]["owner"], &all["items"][2]["queue"]),
        (&json!("ada"), &json!("notes"))
    );
}

#[test]
fn pages_follow_each_other_and_a_cursor_fits_no_other_list() {
    let shop = office(Mode::Hold);
    for n in 0..7 {
        shop.tasks.enqueue(export::with(format!("{n}"), 1).owner("ada")).unwrap();
    }
    let (mut path, mut seen) = ("/tasks/api/tasks?size=3&kind=export".to_owned(), Vec::new());
    loop {
        let page = get(&shop, "ada", &path).json();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/tasks/api/tasks?size=3&kind=export&from={next}");
        let other = get(&shop, "ada", &format!("/tasks/api/tasks?from={next}"));
        assert_eq!(problem(&other).0, 400);
        let other = get(&shop, "root", &format!("/tasks/api/tasks?size=3&kind=export&from={next}"));
        assert_eq!(problem(&other).0, 400, "the list of somebody else");
        let size = get(&shop, "ada", &format!("/tasks/api/tasks?size=1&kind=export&from={next}"));
        assert_eq!(size.status, 200, "a page may have another size");
    }
    assert_eq!((seen.len(), seen[0].as_str(), seen[6].as_str()), (7, "Export of 6", "Export of 0"));
}

#[test]
fn a_list_says_how_many_there_are_where_that_is_told_soon() {
    let shop = office(Mode::Hold);
    let stored = shop.tasks.enqueue_many((0..30).map(|n| export::with(format!("{n}"), 1))).unwrap();
    shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap();
    for (user, query, total) in [
        ("root", "", json!({ "count": 31, "capped": false })),
        ("root", "?state=failed", json!({ "count": 0, "capped": false })),
        ("root", "?owner=ada&kind=export", json!({ "count": 1, "capped": false })),
        (
            "root",
            &format!("?id={}&error=x", stored[0].id()),
            json!({ "count": 0, "capped": false }),
        ),
        ("ada", "?kind=export", json!({ "count": 1, "capped": false })),
        ("root", "?kind=export", Value::Null),
        ("root", "?state=ready", Value::Null),
        ("root", "?state=failed&tag=a", Value::Null),
    ] {
        let list = get(&shop, user, &format!("/tasks/api/tasks{query}")).json();
        assert_eq!(list["total"], total, "{user} {query}");
    }
}

/// Only a file can be damaged.
#[cfg(feature = "sqlite")]
#[test]
fn a_row_that_cannot_be_read_is_told_to_operators_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let tasks = tasks::registered(Client::builder(&path)).mode(Mode::Hold).open().unwrap();
    let web = Web::builder(&tasks, gate).base("/tasks").build().unwrap();
    let shop = Shop { tasks, web };
    for _ in 0..2 {
        shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap();
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA ignore_check_constraints = ON; UPDATE litework_task SET state = 'parked' WHERE id = 1",
    )
    .unwrap();
    let list = get(&shop, "root", "/tasks/api/tasks").json();
    assert_eq!(names(&list).len(), 1);
    assert_eq!(list["unreadable"], json!([{ "row": 1, "column": "state" }]));
    let mine = get(&shop, "ada", "/tasks/api/tasks").json();
    assert_eq!((names(&mine).len(), mine.get("unreadable")), (1, None));
}

/// Owner, another, nobody, one who sees all, one who may see and not act: what each may do.
#[test]
fn tasks_are_seen_and_acted_on_by_their_owners_and_by_operators() {
    for (user, seen, done) in [
        ("ada", 200, 200),
        ("root", 200, 200),
        ("eve", 200, 403),
        ("bob", 404, 404),
        ("guest", 404, 404),
        ("guest link", 404, 404),
        ("-", 401, 401),
    ] {
        let shop = office(Mode::Hold);
        let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
        let path = format!("/tasks/api/tasks/{id}");
        assert_eq!(get(&shop, user, &path).status, seen, "{user}");
        assert_eq!(get(&shop, user, &format!("{path}/artifacts")).status, seen, "{user}");
        let cancel = ask(&shop, "POST", user, &format!("{path}/cancel"));
        assert_eq!(cancel.status, done, "{user}");
        let is_done = shop.tasks.get(id).unwrap().state == State::Cancelled;
        assert_eq!(is_done, done == 200, "{user}");
        shop.tasks.cancel(id).unwrap();
        let is_seen = |status: u16| if done == 200 { status } else { done };
        for (method, path, status) in [
            // A list is its owner's: an operator takes nothing off it.
            ("POST", format!("{path}/dismiss"), if user == "root" { 403 } else { 200 }),
            ("POST", format!("{path}/retry"), 200),
            ("POST", format!("{path}/retry"), 409),
            ("DELETE", path.clone(), 204),
            ("DELETE", path.clone(), 404),
        ] {
            let reply = ask(&shop, method, user, &path);
            assert_eq!(reply.status, is_seen(status), "{user} {method} {path}");
            if reply.status >= 400 {
                problem(&reply);
            }
        }
        assert_eq!(shop.tasks.get(id).is_err(), done == 200, "{user}");
    }
    let shop = office(Mode::Hold);
    shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap();
    assert_eq!(names(&get(&shop, "bob", "/tasks/api/tasks").json()), [""; 0]);
    assert_eq!(problem(&get(&shop, "bob", "/tasks/api/tasks?owner=ada")).0, 403);
    assert_eq!(problem(&get(&shop, "guest link", "/tasks/api/tasks")).0, 403);
    assert_eq!(problem(&get(&shop, "-", "/tasks/api/tasks")).0, 401);
}

/// A page may be an old one: whoever is too late is told how the task stands by now.
#[test]
fn what_a_task_does_not_admit_is_refused_with_how_it_stands() {
    let shop = office(Mode::Hold);
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id().to_string();
    let stands = |user: &str, path: &str, fields: &[(&str, &str)]| {
        let body = json!(fields.iter().copied().collect::<std::collections::BTreeMap<_, _>>());
        let refused = shop.send_json(user, path, &body);
        let (status, problem) = (problem(&refused).0, refused.json());
        assert_eq!((status, &problem["task"]["id"]), (409, &json!(id)), "{path} {problem}");
        assert!(problem["task"].get("arguments").is_none());
        (problem["code"].clone(), problem["task"]["state"].clone())
    };
    let paths = ["/tasks/t", "/tasks/api/tasks"].map(|at| format!("{at}/{id}"));
    for path in &paths {
        let told = stands("ada", &format!("{path}/retry"), &[]);
        assert_eq!(told, (json!("not_finished"), json!("ready")));
    }
    shop.tasks.cancel(id.as_str()).unwrap();
    let told = stands("root", &format!("/tasks/admin/t/{id}/run"), &[]);
    assert_eq!(told, (json!("already_finished"), json!("cancelled")));
    shop.tasks.retry(id.as_str()).unwrap();
    let page = shop.post("ada", &format!("{}/retry", paths[0]));
    assert_eq!(page.status, 409);
    for text in ["Export of Ada", "In line", &format!("{}/cancel", paths[0])] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    let other = ask(&shop, "POST", "bob", &format!("{}/retry", paths[1]));
    assert_eq!((problem(&other).0, other.json().get("task")), (404, None));
}

#[test]
fn what_a_task_has_left_is_listed_and_served() {
    let shop = office(Mode::Inline);
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/api/tasks/{id}/artifacts");
    let list = get(&shop, "ada", &path).json();
    let left = list["items"].as_array().unwrap();
    let kinds: Vec<&str> = left.iter().map(|left| left["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["file", "text", "json", "url"]);
    let served = |at: usize| get(&shop, "ada", &format!("{path}/{}", left[at]["number"]));
    assert_eq!((served(0).status, served(0).text.as_str()), (200, "a;b\n1;2\n"));
    assert!(served(0).header("content-disposition").starts_with("attachment"));
    assert_eq!((served(3).status, served(3).header("location")), (303, "/orders"));
    for none in ["99", "-1", "x", "1/", "4294967296"] {
        assert_eq!(problem(&get(&shop, "ada", &format!("{path}/{none}"))).0, 404, "{none}");
    }
    assert_eq!(problem(&get(&shop, "bob", &format!("{path}/1"))).0, 404);
}

#[test]
fn a_clerk_enqueues_what_the_program_has_named() {
    let shop = office(Mode::Inline);
    let made = create(&shop, "clerk", r#"{"kind":"note","arguments":{"text":"hi","urgent":true}}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let task = shop.tasks.get(made["id"].as_str().unwrap()).unwrap();
    assert_eq!((task.owner.as_deref(), task.result.as_deref()), (Some("clerk"), Some("\"hi!\"")));
    assert!(made.get("arguments").is_none(), "it is for operators");

    let body = r#"{"kind":"note","arguments":{"text":"a"},"queue":"late","priority":7,"tags":["b","a"],
                   "owner":"ada","key":"order-7"}"#;
    let made = create(&shop, "root", body);
    assert_eq!((made.status, made.json()["key"].as_str()), (201, Some("order-7")));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/tasks/api/tasks/{id}"));
    let task = shop.tasks.get(&id).unwrap();
    assert_eq!((task.queue.as_str(), task.priority, task.tags.len()), ("late", 7, 2));
    assert_eq!(task.owner.as_deref(), Some("ada"));
    let again = create(&shop, "root", body);
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id.as_str())));
    let other =
        create(&shop, "root", r#"{"kind":"note","arguments":{"text":"b"},"key":"order-7"}"#);
    assert_eq!(problem(&other).0, 409);
    // The keys of one who is no operator are their own.
    let own = create(&shop, "clerk", r#"{"kind":"note","arguments":{"text":"b"},"key":"order-7"}"#);
    let same =
        create(&shop, "clerk", r#"{"kind":"note","arguments":{"text":"b"},"key":"order-7"}"#);
    assert_eq!((own.status, same.status, &own.json()["id"]), (201, 200, &same.json()["id"]));
}

/// Whoever enqueues by hand is known afterwards; what a key has found already is no deed, and what the task does is not his.
fn what_is_enqueued_is_noted(builder: litework::Builder) {
    let tasks = tasks::registered(builder).register(note).register(forward).open().unwrap();
    let web = Web::builder(&tasks, gate).base("/tasks").enqueueable(["note", "forward"]);
    let shop = Shop { web: web.build().unwrap(), tasks };
    let body = r#"{"kind":"note","arguments":{"text":"a"},"key":"k"}"#;
    let made = create(&shop, "clerk", body).json();
    assert_eq!(create(&shop, "clerk", body).status, 200, "it is there already");
    assert_eq!(create(&shop, "ada", body).status, 403);
    assert_eq!(create(&shop, "root", r#"{"kind":"forward"}"#).status, 201);
    shop.tasks.enqueue(note::with("n", None)).unwrap();
    for fault in [WriteFault::UnknownStored, WriteFault::UnknownLost] {
        fail_writes(&shop.tasks, WritePoint::Enqueue, fault, 1);
        let told = create(&shop, "clerk", &body.replace("\"k\"", &format!("\"{fault:?}\"")));
        assert!([200, 201].contains(&told.status), "{fault:?}: {told:?}");
    }
    let entries = shop.tasks.audit(None, 9).unwrap().entries;
    let noted = entries.iter().map(|entry| (&*entry.actor, &*entry.action, entry.count));
    let by = |actor| (actor, "enqueue", 1);
    assert_eq!(noted.collect::<Vec<_>>(), [by("clerk"), by("clerk"), by("root"), by("clerk")]);
    assert_eq!(entries[2].what["kind"], "forward");
    assert_eq!(entries[3].what["ids"], json!([made["id"]]));
    let conflict = create(&shop, "clerk", &body.replace("\"a\"", "\"b\""));
    assert_eq!(
        (problem(&conflict).0, conflict.json()["code"].as_str()),
        (409, Some("key_conflict"))
    );
    assert_eq!(shop.tasks.audit(None, 9).unwrap().entries.len(), 4);
}

/// Enqueues a note, and forgets another task.
#[task]
fn forward(ctx: &litework::Context) -> litework::Result<()> {
    let tasks = ctx.client().expect("it runs in a queue");
    let id = tasks.enqueue(note::with("forwarded", None))?.id();
    Ok(tasks.delete(id)?)
}

#[test]
fn what_is_enqueued_is_noted_in_the_name_of_whoever_does_it() {
    what_is_enqueued_is_noted(Client::in_memory());
    #[cfg(feature = "sqlite")]
    {
        let folder = tempfile::tempdir().unwrap();
        what_is_enqueued_is_noted(Client::builder(folder.path().join("tasks.db")));
    }
}

#[test]
fn what_may_not_be_enqueued_is_refused_and_nothing_is_stored() {
    let shop = office(Mode::Hold);
    for (user, body, status, detail) in [
        ("ada", r#"{"kind":"note","arguments":{"text":"a"}}"#, 403, "You may not enqueue tasks."),
        ("eve", r#"{"kind":"note","arguments":{"text":"a"}}"#, 403, "You may not enqueue tasks."),
        (
            "clerk",
            r#"{"kind":"note","owner":"ada"}"#,
            403,
            "Only operators may enqueue for others.",
        ),
        ("clerk", r#"{"kind":"export"}"#, 400, "unknown_kind: kind is \"export\"; one of note"),
        (
            "clerk",
            r#"{"kind":"note","arguments":{}}"#,
            400,
            "bad_json: $ at byte 2: missing field `text`",
        ),
        (
            "clerk",
            r#"{"kind":"note","arguments":{"text":"a","text":"b"}}"#,
            400,
            "duplicate_key: $.arguments at byte 39: \"text\" is there twice; at most once",
        ),
        (
            "clerk",
            r#"{"kind":"note","arguments":{"text":"a"},"priority":101}"#,
            400,
            "out_of_range: priority is 101; -100 to 100",
        ),
        (
            "clerk",
            r#"{"kind":"note","arguments":{"text":"a"},"queue":"a b"}"#,
            400,
            "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; \
             1–64 of A–Z a–z 0–9 . _ -",
        ),
        (
            "clerk",
            r#"{"kind":"note","arguments":{"text":"a"},"key":"\u0000"}"#,
            400,
            "bad_key: key is \"\\0\"; 1 to 200 printable characters of ASCII",
        ),
        (
            "clerk",
            r#"{"kind":"note","arguments":{"text":"a"},"tags":[""]}"#,
            400,
            "bad_tag: tag is \"\"; 1 to 64 bytes",
        ),
        ("clerk", "[]", 400, "bad_json: $ is an array; an object by parameter name"),
    ] {
        let refused = create(&shop, user, body);
        assert_eq!(problem(&refused), (status, detail.to_owned()), "{body}");
    }
    for body in ["", "{", r#"{"kind":"note","argument":{}}"#, r#"{"kind":7}"#, "\u{feff}{}"] {
        assert_eq!(problem(&create(&shop, "clerk", body)).0, 400, "{body}");
    }
    assert_eq!(shop.tasks.count(&litework::Filter::new()).unwrap(), 0);

    let closed = Shop::holding();
    let body = r#"{"kind":"export","arguments":{"customer":"Ada","pages":1}}"#;
    assert_eq!(problem(&create(&closed, "root", body)).0, 403);
    let unknown = Web::builder(&shop.tasks, gate).enqueueable(["nope"]).build();
    assert_eq!(unknown.unwrap_err().code(), "unknown_kind");
}

/// Whatever secret stands in arguments, results, errors and logs, no answer holds it; and what is none is there.
#[test]
fn no_secret_reaches_an_answer() {
    const CANARY: &str = "canary-7f3Kq9ZxW2vB8nLm4TcR";
    let shop = office(Mode::Inline);
    let secrets = json!({
        "password": CANARY,
        "deep": [{ "db": { "DSN": CANARY, "X-Api-Key": [CANARY, { "a": CANARY }] } }],
        "pairs": [["authorization", CANARY], { "name": "cookie", "value": CANARY }],
        "text": format!("token={CANARY} and {CANARY}"),
        "url": format!("https://{}:{CANARY}@example.com/x", "ada"),
        "plain": CANARY,
        "nested": format!("{{\"secret\":\"{CANARY}\"}}"),
        CANARY: 7,
        "order": "A-17",
    });
    for fails in [false, true] {
        let id = shop.tasks.enqueue(tasks::leak::with(secrets.clone(), fails)).unwrap().id();
        let whole = get(&shop, "root", &format!("/tasks/api/tasks/{id}")).json();
        assert_eq!(whole["arguments"]["letter"]["order"], "A-17", "{whole}");
        assert_eq!(whole["arguments"]["letter"]["password"], "[redacted]");
        assert_eq!(whole["log"][0]["text"], "it is told token=[redacted]");
        if fails {
            let error = &whole["attempts"][0]["error"];
            assert_eq!(error["message"], "refused: password=[redacted]", "{error}");
            assert_eq!(error["data"]["order"], "A-17", "{error}");
            let group = &shop.tasks.failures().unwrap().groups[0];
            assert_eq!(error["fingerprint"], group.fingerprint, "it leads to those like it");
        } else {
            assert_eq!(whole["result"]["order"], "A-17");
        }
        for path in [
            format!("/tasks/api/tasks/{id}"),
            format!("/tasks/api/tasks/{id}/artifacts"),
            format!("/tasks/api/tasks?id={id}"),
            "/tasks/api/tasks".to_owned(),
        ] {
            let reply = get(&shop, "root", &path);
            assert_eq!(reply.status, 200);
            assert!(!reply.text.contains("canary-7f3K"), "{path}: {}", reply.text);
        }
        let retried = ask(&shop, "POST", "root", &format!("/tasks/api/tasks/{id}/retry"));
        assert!(retried.status == 200 && !retried.text.contains("canary-7f3K"), "{retried:?}");
    }
}

/// The control: each of the places that are looked at holds the secret where nothing hides it.
#[test]
fn a_secret_that_is_not_hidden_would_be_seen() {
    const CANARY: &str = "canary-7f3Kq9ZxW2vB8nLm4TcR";
    let shop = office(Mode::Inline);
    let id = shop.tasks.enqueue(tasks::leak::with(json!({ "plain": CANARY }), true)).unwrap().id();
    let task = shop.tasks.get(id).unwrap();
    let report = task.error.unwrap();
    let log = shop.tasks.log(id).unwrap();
    for place in
        [task.arguments, report.message, report.data.unwrap().to_string(), log[0].text.clone()]
    {
        assert!(place.contains(CANARY), "{place}");
    }
}

#[test]
fn one_at_a_time_is_answered_with_the_task() {
    let shop = office(Mode::Hold);
    let id = shop.tasks.enqueue(count_till::with().owner("ada")).unwrap().id();
    let task = get(&shop, "root", &format!("/tasks/api/tasks/{id}"));
    assert_eq!(task.header("cache-control"), "no-store");
    let same = request("GET", "root", &format!("/tasks/api/tasks/{id}"))
        .header("if-none-match", task.header("etag"));
    assert_eq!(shop.send(same.body(Full::default()).unwrap()).status, 304);
    let head = ask(&shop, "HEAD", "root", &format!("/tasks/api/tasks/{id}"));
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), task.text.len().to_string());
}
