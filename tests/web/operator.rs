//! The operator's pages: who sees them, what they say, and what their buttons do to one task, a queue, a worker.

use litework::web::Action;
use litework::{Client, Filter, Flow, Mode, Schedule, Scope, State, TaskId};
use serde_json::json;

use crate::desk::{OK, Shop, encoded, gate};
use crate::tasks::{count_till, export, pay, refuse, registered};

const ADMIN: &str = "/tasks/admin";

/// One of each: a task in several states, a flow, a schedule.
pub(crate) struct Stage {
    pub(crate) shop: Shop,
    pub(crate) ready: TaskId,
    pub(crate) failed: TaskId,
    pub(crate) done: TaskId,
    pub(crate) batch: TaskId,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let hourly =
            Schedule::every("hourly", std::time::Duration::from_secs(3_600), count_till::with());
        let builder = registered(Client::in_memory()).mode(Mode::Hold).schedule(hourly);
        let tasks = builder.open().unwrap();
        let web = litework::web::Web::builder(&tasks, gate).base("/tasks").build().unwrap();
        let failed =
            tasks.enqueue(refuse::with("full", Some("Your mailbox is full."))).unwrap().id();
        let call = export::with("Ada", 3).owner("ada").tag("nightly").meta("source", "api");
        let done = tasks.enqueue(call).unwrap().id();
        let flow = Flow::group("page", [export::with("one", 1), export::with("two", 1)]);
        let batch = tasks.enqueue_flow(flow.on_success(count_till::with())).unwrap().id();
        tasks.run_pending(&litework::Pending::all()).unwrap();
        let ready = tasks.enqueue(export::with("Grace", 3)).unwrap().id();
        Self { shop: Shop { tasks, web }, ready, failed, done, batch }
    }

    /// All pages that can be read.
    pub(crate) fn pages(&self) -> Vec<String> {
        let [ready, failed, done, batch] =
            [self.ready, self.failed, self.done, self.batch].map(|id| format!("t/{id}"));
        let fixed = [
            "",
            "?span=7d",
            "tasks",
            "tasks?state=failed",
            "tasks?owner=ada&created_after=6h",
            "tasks?refresh=5",
            "failures",
            "queues",
            "queues?refresh=5",
            "workers",
            "schedules",
            "schedule?name=hourly",
            "audit",
            "about",
            "bulk",
        ];
        let fixed = fixed.map(str::to_owned).into_iter();
        fixed.chain([ready, failed, done, batch]).map(|path| format!("{ADMIN}/{path}")).collect()
    }

    fn state(&self, id: TaskId) -> State {
        self.shop.tasks.get(id).unwrap().state
    }
}

/// A path, the grant that it needs, and the fields of a form.
type Deed = (String, Action, Vec<(&'static str, String)>);

/// What can be done.
fn deeds(stage: &Stage) -> Vec<Deed> {
    let (ready, failed) = (stage.ready, stage.failed);
    let field = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let of = |scope: &str, name: &str| vec![("scope", scope.to_owned()), ("name", name.to_owned())];
    let many = |doing: &str, id: TaskId| {
        vec![("do", format!("{doing} selected")), ("selected", id.to_string())]
    };
    let schedule = || field("name", "hourly");
    let new = [("name", "nightly"), ("kind", "count_till"), ("when", "every"), ("interval", "1d")];
    let new = new.map(|(name, value)| (name, value.to_owned())).to_vec();
    let all = [
        (format!("t/{failed}/retry"), Action::Retry, vec![]),
        (format!("t/{ready}/cancel"), Action::Cancel, vec![]),
        (format!("t/{failed}/delete"), Action::Delete, vec![]),
        (format!("t/{ready}/run"), Action::Edit, vec![]),
        (format!("t/{ready}/reschedule"), Action::Edit, field("at", "1h")),
        (format!("t/{failed}/copy"), Action::Edit, vec![]),
        ("tasks/actions".to_owned(), Action::Retry, many("retry", failed)),
        ("tasks/actions".to_owned(), Action::Cancel, many("cancel", ready)),
        ("tasks/actions".to_owned(), Action::Delete, many("delete", ready)),
        ("tasks/actions".to_owned(), Action::Edit, many("run", ready)),
        ("queues/pause".to_owned(), Action::Pause, of("queue", "default")),
        ("queues/resume".to_owned(), Action::Pause, of("kind", "export")),
        ("queues/limits".to_owned(), Action::Pause, of("queue", "default")),
        ("queues/reset".to_owned(), Action::Pause, of("queue", "default")),
        ("schedules/add".to_owned(), Action::Schedule, new),
        ("schedules/run".to_owned(), Action::Schedule, schedule()),
        ("schedules/enable".to_owned(), Action::Schedule, schedule()),
        ("schedules/disable".to_owned(), Action::Schedule, schedule()),
        ("schedules/reset".to_owned(), Action::Schedule, schedule()),
        ("about/prune".to_owned(), Action::Prune, vec![]),
    ];
    all.into_iter()
        .map(|(path, action, fields)| (format!("{ADMIN}/{path}"), action, fields))
        .collect()
}

#[test]
fn the_pages_are_there_for_operators_and_for_nobody_else() {
    let stage = Stage::new();
    for path in stage.pages() {
        for (user, status) in [("root", OK), ("eve", OK), ("ada", 404), ("guest", 404), ("-", 401)]
        {
            let json = stage.shop.json(user, &path);
            assert_eq!(json.status, status, "{user} {path} {}", json.text);
        }
        assert_eq!(stage.shop.page("-", &path).status, 303, "to sign in");
        assert_eq!(stage.shop.page("ada", &path).status, 404, "{path}");
        let page = stage.shop.page("eve", &path);
        assert_eq!((page.status, page.header("cache-control")), (OK, "no-store"), "{path}");
    }
    for (path, ..) in deeds(&stage) {
        for (user, status) in [("ada", 404), ("guest", 404)] {
            assert_eq!(stage.shop.post(user, &path).status, status, "{user} {path}");
        }
    }
}

/// Neither a browser's store nor a proxy keeps what an operator was told, wrong or right, on a page or by the API.
#[test]
fn what_operators_are_told_is_kept_by_nobody() {
    let stage = Stage::new();
    let id = stage.failed;
    let kept = |reply: &crate::desk::Reply| reply.header("cache-control").to_owned();
    for (path, status) in [
        (format!("{ADMIN}/nowhere"), 404),
        (format!("{ADMIN}/t/7-x"), 404),
        (format!("{ADMIN}/tasks?sort=age"), 400),
        (format!("{ADMIN}/audit?from=x"), 400),
        (format!("{ADMIN}/tasks/actions"), 405),
        (format!("/tasks/api/tasks/{id}"), OK),
        ("/tasks/api/tasks?state=failed".to_owned(), OK),
        ("/tasks/api/tasks?sort=age".to_owned(), 400),
        (format!("/tasks/api/tasks/{id}/artifacts"), OK),
    ] {
        for reply in [stage.shop.page("root", &path), stage.shop.json("eve", &path)] {
            assert_eq!((reply.status, kept(&reply).as_str()), (status, "no-store"), "{path}");
        }
    }
    for path in [format!("{ADMIN}/t/{id}/copy"), format!("/tasks/api/tasks/{id}/cancel")] {
        assert_eq!(kept(&stage.shop.post("eve", &path)), "no-store", "{path}");
    }
    let mine = stage.shop.json("ada", &format!("/tasks/api/tasks/{}", stage.done));
    assert_eq!((mine.status, kept(&mine).as_str()), (OK, "private, no-cache"));
}

#[test]
fn each_action_needs_its_own_grant() {
    for at in 0..deeds(&Stage::new()).len() {
        for grant in Action::ALL {
            let stage = Stage::new();
            let (path, needed, fields) = deeds(&stage).swap_remove(at);
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let sent = stage.shop.form(&format!("may-{}", grant.as_str()), &path, &fields);
            let admitted = sent.status == OK || sent.status == 303;
            assert_eq!(
                admitted,
                *grant == needed,
                "{path} with {grant:?}: {} {}",
                sent.status,
                sent.text
            );
            if *grant != needed {
                assert_eq!(sent.status, 403, "{path}");
            }
        }
    }
}

#[test]
fn whoever_may_only_look_is_shown_no_button() {
    let stage = Stage::new();
    for path in stage.pages() {
        let page = stage.shop.page("eve", &path).text;
        assert!(!page.contains("method=\"post\""), "{path}");
        assert!(!page.contains("<button") || page.contains("method=\"get\""), "{path}");
    }
    let page = stage.shop.page("may-retry", &format!("{ADMIN}/t/{}", stage.failed)).text;
    assert!(page.contains("/retry\"") && !page.contains("/delete\"") && !page.contains("/copy\""));
}

#[test]
fn each_page_has_a_twin_in_json() {
    let stage = Stage::new();
    for path in stage.pages() {
        let json = stage.shop.json("root", &path);
        assert_eq!(json.header("content-type"), "application/json", "{path}");
        assert!(json.json().is_object(), "{path}");
    }
    let overview = stage.shop.json("root", &format!("{ADMIN}/")).json();
    let of = |name: &str| {
        let queues = overview["queues"].as_array().unwrap();
        queues.iter().find(|queue| queue["name"] == name).unwrap().clone()
    };
    let depth = |queue: &str, state: &str| {
        let depths = of(queue)["depths"].as_array().unwrap().clone();
        depths.iter().find(|depth| depth["state"] == state).unwrap()["count"].clone()
    };
    assert_eq!((depth("default", "ready"), depth("default", "failed")), (json!(1), json!(1)));
    assert!(overview["oldest_ready_ms"].is_u64(), "{overview}");
    assert_eq!(overview["failures"][0]["error"], "full");
    assert_eq!(overview["warnings"][0]["code"], "no_worker");
    let steps = overview["steps"].as_array().unwrap();
    let sum = |field: &str| steps.iter().map(|step| step[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((steps.len(), sum("failed"), sum("succeeded") > 3), (60, 1, true));
}

#[test]
fn each_page_can_be_used_by_all() {
    let stage = Stage::new();
    for path in stage.pages() {
        let page = stage.shop.page("root", &path);
        crate::markup::check(&path, &page.text);
    }
}

#[test]
fn a_task_is_shown_with_all_that_became_of_it() {
    let stage = Stage::new();
    let task = stage.shop.json("root", &format!("{ADMIN}/t/{}", stage.failed)).json();
    assert_eq!((&task["state"], &task["reason"]), (&json!("failed"), &json!("gave_up")));
    assert_eq!(
        task["attempts"][0]["error"]["message"],
        "SMTP 550 at mx1.internal: password=[redacted]"
    );
    assert_eq!(task["attempts"][0]["outcome"], "failed");
    assert_eq!(task["arguments"], json!({ "code": "full", "told": "Your mailbox is full." }));
    let page = stage.shop.page("root", &format!("{ADMIN}/t/{}", stage.failed)).text;
    for text in ["SMTP 550", "Attempt 1 failed", "litework retry", "Your mailbox is full."] {
        assert!(page.contains(text), "{text}");
    }
    let waits = stage.shop.json("root", &format!("{ADMIN}/t/{}", stage.ready)).json();
    assert!(waits["why"]["text"].as_str().unwrap().contains("no live process"), "{waits}");
    let done = stage.shop.json("root", &format!("{ADMIN}/t/{}", stage.done)).json();
    assert_eq!(
        (&done["artifacts"][0]["name"], &done["tags"]),
        (&json!("orders.csv"), &json!(["nightly"]))
    );
    assert_eq!(
        (&done["progress"]["percent"], &done["meta"]["source"]),
        (&json!(100), &json!("api"))
    );
    let batch = stage.shop.json("root", &format!("{ADMIN}/t/{}", stage.batch)).json();
    assert_eq!(
        (&batch["flow"]["succeeded"], batch["flow"]["members"].as_array().map(Vec::len)),
        (&json!(2), Some(2))
    );
    assert_eq!(batch["flow"]["callbacks"][0]["name"], "count_till");
    let gone = stage.shop.json("root", &format!("{ADMIN}/t/7-0000000000000"));
    assert_eq!(gone.status, 404);
}

#[test]
fn what_is_done_to_one_task_leads_back_and_says_so() {
    let stage = Stage::new();
    let act = |id: TaskId, verb: &str, fields: &[(&str, &str)]| {
        let sent = stage.shop.form("root", &format!("{ADMIN}/t/{id}/{verb}"), fields);
        assert_eq!(sent.status, 303, "{verb} {}", sent.text);
        let back = sent.header("location").to_owned();
        (stage.shop.page("root", &back).text, back)
    };
    let (page, back) = act(stage.failed, "retry", &[]);
    assert!(back.ends_with("?notice=retried") && page.contains("The task runs again."), "{back}");
    assert_eq!(stage.state(stage.failed), State::Ready);
    assert!(act(stage.failed, "reschedule", &[("at", "2h")]).0.contains("due at another time"));
    assert_eq!(stage.state(stage.failed), State::Scheduled);
    assert!(act(stage.failed, "run", &[]).0.contains("due now"));
    assert!(
        stage.shop.tasks.get(stage.failed).unwrap().due_at
            <= stage.shop.tasks.overview().unwrap().at
    );
    assert!(act(stage.failed, "cancel", &[]).0.contains("The task is cancelled."));
    assert!(act(stage.failed, "cancel", &[]).0.contains("had ended before"));
    let entries = stage.shop.tasks.audit(None, 10).unwrap().entries;
    let deeds: Vec<(&str, &str)> =
        entries.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str())).collect();
    let expected = ["cancel", "reschedule", "reschedule", "retry"].map(|action| ("root", action));
    assert_eq!(deeds, expected);
    let audit = stage.shop.page("root", &format!("{ADMIN}/audit")).text;
    assert!(audit.contains(&stage.failed.to_string()) && audit.contains("reschedule"));
    let again = stage.shop.form("root", &format!("{ADMIN}/t/{}/run", stage.done), &[]);
    assert_eq!(again.status, 409, "it has ended");
}

#[test]
fn a_task_is_deleted_once_that_was_confirmed() {
    let stage = Stage::new();
    let path = format!("{ADMIN}/t/{}/delete", stage.failed);
    let asked = stage.shop.post("root", &path);
    assert!(asked.status == OK && asked.text.contains("Delete 1 task"), "{}", asked.text);
    crate::markup::check("delete", &asked.text);
    assert_eq!(stage.state(stage.failed), State::Failed);
    let sent = stage.shop.form("root", &path, &[("confirmed", "yes")]);
    assert_eq!((sent.status, sent.header("location")), (303, "/tasks/admin/tasks?notice=deleted"));
    assert!(stage.shop.tasks.get(stage.failed).unwrap_err().is_not_found());
    assert_eq!(stage.shop.form("root", &path, &[("confirmed", "yes")]).status, 404);
}

/// Nobody has to know a secret to change what stands beside it.
#[test]
fn a_copy_keeps_what_is_hidden_and_takes_what_was_changed() {
    let stage = Stage::new();
    let id = stage.shop.tasks.enqueue(pay::with("Ada", "hunter2", false)).unwrap().id();
    let page = stage.shop.page("root", &format!("{ADMIN}/t/{id}")).text;
    assert!(page.contains("[redacted]") && !page.contains("hunter2"));
    let path = format!("{ADMIN}/t/{id}/copy");
    let sent = r#"{"fails": true, "password": "[redacted]", "to": "Grace"}"#;
    let fields = [("arguments", sent), ("queue", "calm"), ("priority", "7"), ("at", "3h")];
    let copied = stage.shop.form("root", &path, &fields);
    let back = copied.header("location");
    let copy = back.strip_prefix("/tasks/admin/t/").unwrap().split('?').next().unwrap();
    let task = stage.shop.tasks.get(copy).unwrap();
    let arguments: serde_json::Value = serde_json::from_str(&task.arguments).unwrap();
    assert_eq!(arguments, json!({ "fails": true, "password": "hunter2", "to": "Grace" }));
    assert_eq!((task.queue.as_str(), task.priority, task.state), ("calm", 7, State::Scheduled));
    assert_eq!(stage.state(id), State::Cancelled);
    for bad in ["{", "[]", r#"{"other": "[redacted]"}"#] {
        let refused = stage.shop.form("root", &path, &[("arguments", bad)]);
        assert_eq!(refused.status, 400, "{bad}");
    }
    for (name, bad) in
        [("priority", "high"), ("priority", "101"), ("at", "tomorrow"), ("queue", "a b")]
    {
        assert_eq!(stage.shop.form("root", &path, &[(name, bad)]).status, 400, "{name}={bad}");
    }
}

#[test]
fn a_queue_is_paused_limited_and_let_go_again() {
    let stage = Stage::new();
    let send = |verb: &str, fields: &[(&str, &str)]| {
        let all = [&[("scope", "queue"), ("name", "default")], fields].concat();
        stage.shop.form("root", &format!("{ADMIN}/queues/{verb}"), &all)
    };
    assert_eq!(send("pause", &[]).header("location"), "/tasks/admin/queues?notice=paused");
    assert_eq!(stage.shop.tasks.paused().unwrap()[0].scope, Scope::queue("default"));
    assert!(send("pause", &[]).header("location").ends_with("was_paused"));
    let overview = stage.shop.page("root", &format!("{ADMIN}/")).text;
    assert!(overview.contains("Queue default is paused since"), "{overview}");
    assert!(send("resume", &[]).header("location").ends_with("notice=resumed"));
    assert!(stage.shop.tasks.paused().unwrap().is_empty());
    let limits = [("max_running", "2"), ("count", "60"), ("period", "1m"), ("burst", "5")];
    assert!(send("limits", &limits).header("location").ends_with("notice=limited"));
    let page = stage.shop.page("root", &format!("{ADMIN}/queues")).text;
    assert!(page.contains("2 at once; 60 in 1m, 5 of them at once"), "{page}");
    assert!(send("reset", &[]).header("location").ends_with("limits_reset"));
    assert!(stage.shop.tasks.limits().unwrap().is_empty());
    for bad in [
        &[("max_running", "0")][..],
        &[("max_running", "many")],
        &[("count", "5")],
        &[("period", "1m")],
        &[("count", "5"), ("period", "soon")],
    ] {
        assert_eq!(send("limits", bad).status, 400, "{bad:?}");
    }
    let nowhere = stage.shop.form(
        "root",
        &format!("{ADMIN}/queues/pause"),
        &[("scope", "file"), ("name", "x")],
    );
    assert_eq!(nowhere.status, 400);
}

#[test]
fn the_threads_of_this_process_are_set_where_it_is_a_pool() {
    let (shop, say) = Shop::working();
    let page = shop.page("root", &format!("{ADMIN}/workers")).text;
    assert!(page.contains("(this process)") && page.contains("name=\"threads\""));
    let sent = shop.form("root", &format!("{ADMIN}/workers/threads"), &[("threads", "3")]);
    assert_eq!(sent.header("location"), "/tasks/admin/workers?notice=threads&n=3");
    assert!(
        shop.page("root", sent.header("location")).text.contains("This process has 3 threads now.")
    );
    assert_eq!(shop.tasks.workers().unwrap()[0].threads, 3);
    for bad in ["0", "1025", "many", ""] {
        let refused = shop.form("root", &format!("{ADMIN}/workers/threads"), &[("threads", bad)]);
        assert_eq!(refused.status, 400, "{bad}");
    }
    drop(say);
    let held = Stage::new();
    assert!(!held.shop.page("root", &format!("{ADMIN}/workers")).text.contains("name=\"threads\""));
}

#[test]
fn what_is_old_is_counted_before_it_is_removed() {
    let stage = Stage::new();
    let path = format!("{ADMIN}/about/prune");
    let asked = stage.shop.post("root", &path);
    assert!(asked.status == OK && asked.text.contains("Nothing is old enough."), "{}", asked.text);
    let json = stage.shop.send_json("root", &path, &json!({})).json();
    assert_eq!(json, json!({ "count": 0, "dry_run": true }));
}

#[test]
fn a_page_that_looks_again_has_nothing_to_fill_in() {
    let stage = Stage::new();
    for path in [
        "tasks?refresh=5",
        "queues?refresh=2",
        "schedules?refresh=3600",
        "?refresh=1",
        "workers?refresh=5",
    ] {
        let page = stage.shop.page("root", &format!("{ADMIN}/{path}"));
        let seconds = path.rsplit('=').next().unwrap();
        assert_eq!((page.status, page.header("refresh")), (OK, seconds), "{path}");
        assert!(!page.text.contains("<form") && !page.text.contains("<input"), "{path}");
        assert!(page.text.contains("refresh=off"), "{path}");
    }
    let task = stage.shop.page("root", &format!("{ADMIN}/t/{}?refresh=5", stage.ready));
    assert!(task.header("refresh") == "5" && !task.text.contains("<textarea"));
    assert_eq!(stage.shop.page("root", &format!("{ADMIN}/tasks")).header("refresh"), "");
    for bad in [
        "0",
        "-1",
        "3601",
        "1.5",
        "abc",
        "+5",
        "",
        "99999999999999999999",
        "5;url=https://evil.example",
    ] {
        let refused = stage.shop.json("root", &format!("{ADMIN}/tasks?refresh={}", encoded(bad)));
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (400, Some("bad_refresh")),
            "{bad}"
        );
    }
}

#[test]
fn what_is_asked_wrongly_is_refused_with_what_is_allowed() {
    let stage = Stage::new();
    for (query, code) in [
        ("tasks?state=done", "bad_state"),
        ("tasks?sort=age", "unknown_parameter"),
        ("tasks?size=0", "out_of_range"),
        ("tasks?size=101", "out_of_range"),
        ("tasks?size=-1", "out_of_range"),
        ("tasks?from=0", "bad_cursor"),
        ("tasks?state=failed&from=r7", "bad_cursor"),
        ("tasks?created_after=yesterday", "bad_time"),
        ("tasks?id=7", "bad_id"),
        ("tasks?tag=a&tag=b", "given_twice"),
        ("audit?from=x", "bad_cursor"),
        ("?span=2h", "bad_span"),
    ] {
        let refused = stage.shop.json("root", &format!("{ADMIN}/{query}"));
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some(code)), "{query}");
    }
    // The same mistake is told in the same words wherever it is made.
    for query in ["tasks?size=0", "tasks?state=done", "tasks?created_after=yesterday"] {
        let told = |at: &str| stage.shop.json("root", &format!("{at}/{query}")).json();
        let (page, api) = (told(ADMIN), told("/tasks/api"));
        assert_eq!((&page["code"], &page["detail"]), (&api["code"], &api["detail"]), "{query}");
    }
    let long = format!("{ADMIN}/tasks?error={}", "x".repeat(401));
    assert_eq!(stage.shop.json("root", &long).status, 400);
    for literal in ["' OR 1=1 --", "%", "_", "*", "\""] {
        let list = stage.shop.json("root", &format!("{ADMIN}/tasks?error={}", encoded(literal)));
        assert_eq!(
            (list.status, list.json()["items"].as_array().map(Vec::len)),
            (OK, Some(0)),
            "{literal}"
        );
    }
    for (method, path, status) in [
        ("POST", "tasks", 405),
        ("GET", "tasks/actions", 405),
        ("DELETE", "tasks", 405),
        ("HEAD", "tasks", 200),
        ("GET", "nowhere", 404),
        ("GET", "tasks/", 404),
        ("GET", "%74asks", 404),
        ("POST", "t/7-x/explode", 404),
    ] {
        let request = crate::desk::request(method, "root", &format!("{ADMIN}/{path}"))
            .header("sec-fetch-site", "same-origin");
        let reply = stage.shop.send(request.body(http_body_util::Full::default()).unwrap());
        assert_eq!(reply.status, status, "{method} {path}");
    }
}

#[test]
fn a_form_of_another_site_changes_nothing() {
    let stage = Stage::new();
    for (path, _, _) in deeds(&stage) {
        let request =
            crate::desk::request("POST", "root", &path).header("sec-fetch-site", "cross-site");
        let refused = stage.shop.send(request.body(http_body_util::Full::default()).unwrap());
        assert_eq!(refused.status, 403, "{path}");
    }
    assert_eq!(stage.state(stage.failed), State::Failed);
    assert!(stage.shop.tasks.audit(None, 1).unwrap().entries.is_empty());
}

#[test]
fn a_long_list_comes_page_by_page_and_keeps_its_filter() {
    let stage = Stage::new();
    let calls = (0..120).map(|n| export::with(format!("{n}"), 1).owner("bob"));
    stage.shop.tasks.enqueue_many(calls).unwrap();
    let (mut path, mut seen) = (format!("{ADMIN}/tasks?owner=bob&size=50"), 0);
    loop {
        let list = stage.shop.json("root", &path).json();
        let items = list["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["owner"] == "bob"));
        assert_eq!(list["total"], json!({ "count": 120, "capped": false }));
        seen += items.len();
        let Some(next) = list["next"].as_str() else { break };
        let page = stage.shop.page("root", &path).text;
        let link = format!("?owner=bob&#38;size=50&#38;from={next}");
        assert!(page.contains(&link), "{link}");
        path = format!("{ADMIN}/tasks?owner=bob&size=50&from={next}");
    }
    assert_eq!(seen, 120);
    let all = stage.shop.tasks.count(&Filter::new()).unwrap();
    assert_eq!(stage.shop.json("root", &format!("{ADMIN}/tasks")).json()["total"]["count"], all);
    let form = stage.shop.page("root", &format!("{ADMIN}/tasks?state=&kind=&owner=bob&tag="));
    assert_eq!((form.status, form.header("location")), (303, "/tasks/admin/tasks?owner=bob"));
}
