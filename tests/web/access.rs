//! Who sees what, and who may do what.

use bytes::Bytes;
use http_body_util::Full;
use litework::State;
use litework::web::Access;

use crate::desk::{OK, Shop, request};
use crate::tasks::{count_till, export, refuse};

#[test]
fn nothing_is_seen_by_those_who_are_not_let_in() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    for path in
        ["/tasks/", &format!("/tasks/t/{id}"), &format!("/tasks/t/{id}/a/1"), "/tasks/events?mine"]
    {
        let json = shop.json("-", path);
        assert_eq!(
            (json.status, json.json()["code"].as_str()),
            (401, Some("not_signed_in")),
            "{path}"
        );
        assert_eq!(json.json()["login"], "/login", "{path}");
        let page = shop.page("-", path);
        assert_eq!(
            (page.status, page.header("location")),
            (303, format!("/login?next={}", encoded(path)).as_str())
        );
    }
}

fn encoded(path: &str) -> String {
    path.replace('/', "%2F").replace('?', "%3F")
}

/// The matrix of those who wait: owner, another, one who sees all, one who may do nothing.
#[test]
fn a_task_is_seen_by_its_owner_and_by_operators_and_is_not_there_for_others() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    for (user, status) in
        [("ada", 200), ("root", 200), ("eve", 200), ("bob", 404), ("guest", 404), ("-", 401)]
    {
        assert_eq!(shop.json(user, &path).status, status, "{user}");
        let cancel = match user {
            "eve" => 403,
            // Nobody is led to the sign-in page.
            "ada" | "root" | "-" => 303,
            _ => status,
        };
        assert_eq!(shop.post(user, &format!("{path}/cancel")).status, cancel, "{user}");
        if user == "-" {
            assert_eq!(shop.tasks.get(id).unwrap().state, State::Ready);
        } else if cancel == 303 {
            assert_eq!(shop.tasks.get(id).unwrap().state, State::Cancelled);
            shop.tasks.retry(id).unwrap();
        }
    }
}

#[test]
fn what_may_not_be_done_is_not_offered() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("guest")).unwrap().id();
    let path = format!("/tasks/t/{id}");
    let seen = shop.json("guest", &path);
    assert_eq!((seen.status, seen.json()["actions"].as_array().map(Vec::len)), (OK, Some(0)));
    assert!(!shop.page("guest", &path).text.contains("<form"));
    assert_eq!(shop.post("guest", &format!("{path}/cancel")).status, 403);
    assert_eq!(shop.tasks.get(id).unwrap().state, State::Ready);
}

#[test]
fn a_list_holds_ones_own_tasks_and_those_dismissed_no_more() {
    let shop = Shop::new();
    let mine = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap();
    shop.tasks.enqueue(count_till::with()).unwrap();
    let listed = |user: &str| {
        let list = shop.json(user, "/tasks/").json();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("ada"), ["Export of Ada"]);
    assert!(shop.page("ada", "/tasks").text.contains("Export of Ada"));
    assert!(!shop.page("ada", "/tasks").text.contains("Export of Bob"));
    assert_eq!(shop.post("ada", &format!("/tasks/t/{mine}/dismiss")).header("location"), "/tasks/");
    assert!(listed("ada").is_empty());
    assert_eq!(shop.json("ada", &format!("/tasks/t/{mine}")).status, OK, "its address stays");
    assert_eq!(shop.page("root", "/tasks/").header("location"), "/tasks/admin/");
}

#[test]
fn a_long_list_comes_in_pages() {
    let shop = Shop::holding();
    for n in 0..60 {
        shop.tasks.enqueue(export::with(format!("{n}"), 1).owner("ada")).unwrap();
    }
    let (mut path, mut names) = ("/tasks/".to_owned(), Vec::new());
    loop {
        let list = shop.json("ada", &path).json();
        names.extend(list["items"].as_array().unwrap().iter().map(|item| item["name"].clone()));
        let Some(next) = list["next"].as_str() else { break };
        assert!(shop.page("ada", &path).text.contains(&format!("?from={next}")));
        path = format!("/tasks/?from={next}");
    }
    assert_eq!(
        (names.len(), &names[0], &names[59]),
        (60, &"Export of 59".into(), &"Export of 0".into())
    );
    let forged = shop.json("ada", "/tasks/?from=0");
    assert_eq!((forged.status, forged.json()["code"].as_str()), (400, Some("bad_cursor")));
}

/// Nothing that an operator reads reaches whoever waits.
#[test]
fn a_person_is_told_what_is_meant_for_them_and_no_more() {
    let shop = Shop::new();
    let told = shop
        .tasks
        .enqueue(refuse::with("full", Some("Your mailbox is full.")).owner("ada"))
        .unwrap()
        .id();
    let silent = shop.tasks.enqueue(refuse::with("down", None).owner("ada")).unwrap().id();
    for (id, text) in
        [(told, "Your mailbox is full."), (silent, "Something went wrong. Please try again later.")]
    {
        let path = format!("/tasks/t/{id}");
        let (json, page) = (shop.json("ada", &path), shop.page("ada", &path));
        assert_eq!(json.json()["message"], serde_json::json!({ "level": "error", "text": text }));
        assert_eq!(json.json()["error"]["reference"], id.to_string());
        assert!(page.text.contains(text) && page.text.contains("role=\"alert\""), "{}", page.text);
        for secret in ["SMTP", "mx1.internal", "hunter2"] {
            assert!(!json.text.contains(secret) && !page.text.contains(secret), "{secret}");
        }
    }
}

#[test]
fn only_pages_of_the_program_change_something() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}/cancel");
    let send = |headers: &[(&str, &str)], body: &str| {
        let mut request = request("POST", "ada", &path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        shop.send(request.body(Full::from(Bytes::from(body.to_owned()))).unwrap())
    };
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("content-type", "text/plain")],
        &[],
    ] {
        let refused = send(headers, "");
        assert_eq!(refused.status, 403, "{headers:?}");
        assert_eq!(shop.tasks.get(id).unwrap().state, State::Ready, "{headers:?}");
    }
    // A browser that says nothing of itself brings the token of the page's form.
    let page = shop.page("ada", &format!("/tasks/t/{id}")).text;
    let token = page.split_once("name=\"_token\" value=\"").unwrap().1.split('"').next().unwrap();
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(&[form], "_token=0123").status, 403);
    assert_eq!(send(&[form], &format!("_token={token}")).status, 303);
    assert_eq!(shop.tasks.get(id).unwrap().state, State::Cancelled);
}

#[test]
fn a_page_is_not_served_under_a_name_that_is_not_the_programs() {
    let shop = Shop::with(litework::Mode::Hold, |web| {
        web.base("/tasks").hosts(["localhost", "shop.example"])
    });
    let asked = |host: &str| {
        let request =
            http::Request::builder().uri("/tasks/").header("x-user", "ada").header("host", host);
        shop.send(request.body(Full::default()).unwrap()).status
    };
    assert_eq!([asked("localhost:80"), asked("shop.example"), asked("SHOP.example")], [200; 3]);
    assert_eq!([asked("evil.example"), asked("ada@localhost"), asked("")], [421; 3]);
}

/// A page elsewhere whose name is made to lead here would be answered: whoever starts the program hears of it.
#[test]
fn pages_that_answer_under_any_name_are_a_warning() {
    let warned = |hosts: &[&str]| {
        let lines = crate::bad_input::Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let hosts = hosts.iter().copied();
            Shop::with(litework::Mode::Hold, |web| web.base("/tasks").hosts(hosts))
        });
        let lines = lines.0.lock().unwrap();
        lines.iter().filter(|line| line.contains("answer under any name")).count()
    };
    assert_eq!((warned(&[]), warned(&["localhost"])), (1, 0));
}

/// A browser that asks its person for a password sends it along by itself, with any form: so a form needs more.
#[test]
fn who_has_a_password_of_the_file_is_let_in_and_who_has_none_is_asked() {
    // The SHA-256 of `test1`.
    let digest = "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operators");
    std::fs::write(&path, format!("ada:{digest}\n")).unwrap();
    let gate = litework::web::basic_file(&path, |name| Access::owner(name)).unwrap();
    let tasks = crate::tasks::registered(litework::Client::in_memory());
    let tasks = tasks.mode(litework::Mode::Hold).open().unwrap();
    let web = litework::web::Web::builder(&tasks, gate).build().unwrap();
    let shop = Shop { tasks, web };
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let nobody = shop.page("-", &format!("/t/{id}"));
    assert_eq!(nobody.status, 401);
    assert!(nobody.header("www-authenticate").starts_with("Basic realm="), "{nobody:?}");
    let send = |method: &str, path: &str, more: &[(&str, &str)]| {
        // ada:test1
        let mut asked = request(method, "-", path).header("authorization", "Basic YWRhOnRlc3Qx");
        for (name, value) in more {
            asked = asked.header(*name, *value);
        }
        shop.send(asked.body(Full::default()).unwrap()).status
    };
    assert_eq!(send("GET", &format!("/t/{id}"), &[]), OK);
    let cancel = format!("/t/{id}/cancel");
    assert_eq!(send("POST", &cancel, &[]), 403);
    assert_eq!(send("POST", &cancel, &[("origin", "http://evil.example")]), 403);
    assert_eq!(send("POST", &cancel, &[("sec-fetch-site", "same-origin")]), 303);
}

/// A task without an owner is for those who know its id, where the program says so.
#[test]
fn whoever_has_the_link_sees_a_task_without_owner() {
    let tasks = crate::tasks::registered(litework::Client::in_memory()).open().unwrap();
    let web = litework::web::Web::builder(&tasks, |_: &http::request::Parts| Access::link())
        .build()
        .unwrap();
    let shop = Shop { tasks, web };
    let open = shop.tasks.enqueue(export::with("Ada", 1)).unwrap().id();
    let owned = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    assert_eq!(shop.json("-", &format!("/t/{open}")).status, 200);
    assert_eq!(shop.json("-", &format!("/t/{owned}")).status, 404);
    assert_eq!(shop.json("-", "/").status, 404);
}
