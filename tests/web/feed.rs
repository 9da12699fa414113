//! Changes as they happen.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use litework::web::Body;
use serde_json::Value;

use crate::desk::{Shop, block, request};
use crate::tasks::{export, linger};

/// One who listens, and what has come.
struct Listener {
    headers: http::HeaderMap,
    body: Body,
    text: String,
}

impl Listener {
    fn open(shop: &Shop, user: &str, path: &str) -> Result<Self, u16> {
        let asked = request("GET", user, path).body(Full::<Bytes>::default()).unwrap();
        let answer = block(shop.web.answer(asked));
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let headers = answer.headers().clone();
        Ok(Self { headers, body: answer.into_body(), text: String::new() })
    }

    /// The next event; none when the stream has ended.
    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let (Some(name), Some(data)) = (field("event: "), field("data: ")) else {
                    continue;
                };
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            let frame = block(self.body.frame())?.unwrap();
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    fn until(&mut self, is: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().expect("the stream goes on");
            if is(&name, &data) {
                return data;
            }
        }
    }
}

#[test]
fn a_stream_tells_what_is_then_each_change_then_the_end() {
    let (shop, say) = Shop::working();
    let id = shop.tasks.enqueue(linger::with().owner("ada")).unwrap().id();
    let mut listener = Listener::open(&shop, "ada", &format!("/tasks/events?ids={id}")).unwrap();
    assert_eq!(listener.next().unwrap().0, "hello");
    assert_eq!(listener.next().unwrap().1["id"], id.to_string());
    say.send("half").unwrap();
    listener.until(|name, task| name == "task" && task["progress"]["percent"] == 50);
    drop(say);
    listener.until(|name, task| name == "task" && task["state"] == "succeeded");
    assert_eq!(listener.next().unwrap().0, "end");
    assert!(listener.next().is_none());
    assert_eq!(
        Listener::open(&shop, "ada", &format!("/tasks/events?ids={id}")).err(),
        Some(204),
        "a browser stays away"
    );
}

/// Proxies hold back what they may pack or gather; a stream says that they may not, and how soon to come back.
#[test]
fn a_stream_comes_as_it_is_said_through_proxies() {
    let shop = Shop::holding();
    let mut listener = Listener::open(&shop, "ada", "/tasks/events?mine").unwrap();
    for (name, value) in [
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(listener.headers[name], value, "{name}");
    }
    let policy = listener.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(listener.headers.get("content-length").is_none());
    let frame = block(listener.body.frame()).unwrap().unwrap();
    let first = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    assert!(
        first.starts_with("retry: 2000\nevent: hello\ndata: {\"heartbeat_ms\":15000,"),
        "{first}"
    );
}

#[test]
fn a_stream_of_ones_own_hears_of_new_tasks() {
    let (shop, say) = Shop::working();
    drop(say);
    let mut listener = Listener::open(&shop, "ada", "/tasks/events?mine").unwrap();
    assert_eq!(listener.next().unwrap().0, "hello");
    shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let seen = listener.until(|name, task| name == "task" && task["ended"] == true);
    assert_eq!(seen["id"], id.to_string());
}

/// A page has one stream, for its blocks and for word of one's own.
#[test]
fn one_stream_tells_of_named_tasks_and_of_ones_own() {
    let (shop, say) = Shop::working();
    let watched = shop.tasks.enqueue(linger::with().owner("bob")).unwrap().id();
    let path = format!("/tasks/events?mine&ids={watched}%2Cnonsense");
    let mut listener = Listener::open(&shop, "bob", &path).unwrap();
    assert_eq!(listener.next().unwrap().0, "hello");
    assert_eq!(
        listener.next().unwrap(),
        ("gone".to_owned(), serde_json::json!({ "id": "nonsense" }))
    );
    drop(say);
    listener.until(|name, task| {
        name == "task" && task["id"] == watched.to_string() && task["ended"] == true
    });
    let id = shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap().id();
    listener.until(|name, task| {
        assert_ne!(name, "end", "one's own never end");
        name == "task" && task["id"] == id.to_string() && task["ended"] == true
    });
}

/// A page that was out of sight does not know what has ended meanwhile.
#[test]
fn who_comes_back_is_told_what_has_ended_beside_what_goes_on() {
    let shop = Shop::holding();
    let open = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let over = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    shop.tasks.cancel(over).unwrap();
    let path = format!("/tasks/events?ids={open},{over}");
    let mut listener = Listener::open(&shop, "ada", &path).unwrap();
    assert_eq!(listener.next().unwrap().0, "hello");
    let mut told = [listener.next().unwrap().1, listener.next().unwrap().1];
    told.sort_by_key(|task| task["ended"] == true);
    assert_eq!(
        (&told[0]["id"], &told[1]["id"]),
        (&open.to_string().into(), &over.to_string().into())
    );
    assert_eq!(told[1]["state"], "cancelled");
}

#[test]
fn what_is_not_theirs_is_gone_for_them() {
    let shop = Shop::holding();
    let theirs = shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap().id();
    let mine = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let mut listener =
        Listener::open(&shop, "ada", &format!("/tasks/events?ids={mine},{theirs},nonsense"))
            .unwrap();
    listener.next();
    let mut gone = [listener.next().unwrap(), listener.next().unwrap()];
    gone.sort_by_key(|(_, data)| data["id"].to_string());
    let ids: Vec<&str> = gone.iter().map(|(_, data)| data["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"nonsense") && ids.contains(&theirs.to_string().as_str()), "{gone:?}");
    for (path, status) in
        [("/tasks/events", 400), ("/tasks/events?ids=", 400), ("/tasks/events?group=a", 404)]
    {
        assert_eq!(Listener::open(&shop, "ada", path).err(), Some(status), "{path}");
    }
    let many = (0..101).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(Listener::open(&shop, "ada", &format!("/tasks/events?ids={many}")).err(), Some(400));
}

#[test]
fn a_program_names_groups_of_its_own() {
    let shop = Shop::with(litework::Mode::Hold, |web| {
        web.base("/tasks").groups(|name, access| {
            let is_member = name == "till" && !access.is_denied();
            is_member.then(|| litework::Watch::owner("till"))
        })
    });
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("till")).unwrap().id();
    let mut listener = Listener::open(&shop, "bob", "/tasks/events?group=till").unwrap();
    listener.next();
    assert_eq!(listener.next().unwrap().1["id"], id.to_string());
    assert_eq!(Listener::open(&shop, "bob", "/tasks/events?group=vault").err(), Some(404));
}

#[test]
fn streams_are_bounded_and_who_comes_then_is_asked_to_poll() {
    let shop = Shop::with(litework::Mode::Hold, |web| web.base("/tasks").streams(2));
    let open = |user: &str| Listener::open(&shop, user, "/tasks/events?mine");
    let (first, second) = (open("ada").unwrap(), open("bob").unwrap());
    assert_eq!(open("cyd").err(), Some(503));
    drop(first);
    assert!(open("cyd").is_ok());
    drop(second);
}

/// A browser has six connections to a server of HTTP/1.1, for all its pages.
#[test]
fn the_streams_of_one_viewer_leave_connections_for_pages() {
    let shop = Shop::holding();
    let open = |user: &str| Listener::open(&shop, user, "/tasks/events?mine");
    let kept: Vec<Listener> = (0..4).map(|_| open("ada").unwrap()).collect();
    assert_eq!(open("ada").err(), Some(503));
    assert!(open("bob").is_ok());
    drop(kept);
    assert!(open("ada").is_ok());
}

/// All who come by a link are one to the gate; who looks at one task does not take the places of the others.
#[test]
fn whoever_comes_by_a_link_has_as_many_streams_of_a_task_as_one_viewer() {
    let tasks = crate::tasks::registered(litework::Client::in_memory());
    let tasks = tasks.mode(litework::Mode::Hold).open().unwrap();
    let web = litework::web::Web::builder(&tasks, |_: &http::request::Parts| {
        litework::web::Access::link()
    });
    let web = web.base("/tasks").streams(7).build().unwrap();
    let shop = Shop { tasks, web };
    let ids: Vec<String> = (0..3)
        .map(|n| shop.tasks.enqueue(export::with(format!("{n}"), 1)).unwrap().id().to_string())
        .collect();
    let open = |query: &str| Listener::open(&shop, "-", &format!("/tasks/events?{query}"));
    let kept: Vec<Listener> = (0..4).map(|_| open(&format!("ids={}", ids[0])).unwrap()).collect();
    for again in [
        format!("ids={}", ids[0]),
        format!("ids={}&more=1", ids[0]),
        format!("more=1&ids={}", ids[0]),
    ] {
        assert_eq!(open(&again).err(), Some(503), "{again}");
    }
    let others = [1, 2, 1].map(|at: usize| open(&format!("ids={}", ids[at])).unwrap());
    assert_eq!(open(&format!("ids={}", ids[2])).err(), Some(503), "seven in all");
    drop(kept);
    assert!(open(&format!("ids={}", ids[0])).is_ok());
    drop(others);
}

#[test]
fn a_stream_says_goodbye_when_the_program_ends() {
    let shop = Shop::holding();
    shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap();
    let mut listener = Listener::open(&shop, "ada", "/tasks/events?mine").unwrap();
    listener.next();
    listener.next();
    shop.tasks.shutdown(std::time::Duration::ZERO).unwrap();
    let bye = listener.until(|name, _| name == "bye");
    assert_eq!(bye["reason"], "shutdown");
    assert!(listener.next().is_none());
}

/// Whoever watches one task hears of the end of the program, which is not the end of the task.
#[test]
fn a_stream_of_a_task_says_goodbye_while_the_program_still_ends() {
    for _ in 0..300 {
        let (shop, _say) = Shop::working();
        let later = export::with("Ada", 1).owner("ada");
        let later = later.run_after(std::time::Duration::from_secs(3_600));
        let id = shop.tasks.enqueue(later).unwrap().id();
        let path = format!("/tasks/events?ids={id}");
        let mut listener = Listener::open(&shop, "ada", &path).unwrap();
        let tasks = shop.tasks.clone();
        let stopped = std::thread::spawn(move || tasks.shutdown(std::time::Duration::ZERO));
        let last = listener.until(|name, _| name == "bye" || name == "end");
        assert_eq!(last["reason"], "shutdown");
        stopped.join().unwrap().unwrap();
    }
}
