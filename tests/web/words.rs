//! Pages in another language, from right to left if it is written so: all that is litework's own is in its words.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use litework::testing::ManualClock;
use litework::web::{Web, Words};
use litework::{
    Client, Context, Failure, Flow, Mode, Pending, Rate, Result, Scope, TaskId, Unique, task,
};
use serde_json::{Map, Value};

use crate::desk::{Shop, block, gate, head, read, request};
use crate::tasks::{self, count_till, export, linger, refuse};

const HOUR: Duration = Duration::from_secs(3_600);

/// All words of ours in German, as a program keeps them in a file.
const GERMAN: &str = include_str!("../../examples/webapp/pages/german.json");

/// Words that no page of these tests has a reason to say.
const UNSAID: [&str; 5] = ["direction", "decimal", "eta", "is_there", "skipped"];

/// Ends as it is told.
#[task(name = "words.stumble", attempts = 3, retry = [1s, 3600s])]
fn stumble(ctx: &Context, how: &str) -> Result<()> {
    match how {
        "snooze" => Err(Failure::snooze(HOUR)),
        "leave" => {
            ctx.progress().unit("pages").advance(2_000);
            ctx.artifact("note").expires_after(HOUR).text("x")?;
            Ok(())
        }
        _ => Err("it stumbles")?,
    }
}

/// Does not hear that it is to stop before somebody says a word.
#[task(steps = 2_000_u32)]
fn deaf(ctx: &Context) -> Result<()> {
    ctx.progress().unit("pages").reach(1_500);
    let _end = ctx.state::<tasks::Words>()?.said.lock().unwrap().recv();
    Ok(())
}

fn german(direction: &str) -> Arc<Words> {
    let mut words: Words = serde_json::from_str(GERMAN).unwrap();
    words.direction = direction.to_owned().into();
    Arc::new(words)
}

fn web(tasks: &Client, direction: &str) -> Web {
    let words = german(direction);
    let web = Web::builder(tasks, gate).base("/tasks").words(move |_| Arc::clone(&words));
    web.build().unwrap()
}

/// Tasks in every state that needs no worker, and their pages.
fn stored(direction: &str) -> (Shop, Vec<String>) {
    let clock = ManualClock::new();
    let builder = tasks::registered(Client::in_memory()).register(stumble).mode(Mode::Hold);
    let client = builder.clock(clock.clone()).open().unwrap();
    let mut ids: Vec<TaskId> = Vec::new();
    let mut add = |call: litework::Call<_>| {
        let id = client.enqueue(call.owner("ada")).unwrap().id();
        ids.push(id);
        id
    };
    let way = serde_json::json!({ "success": "/orders" });
    add(stumble::with("leave").meta("litework.web", way));
    add(stumble::with("snooze"));
    add(stumble::with("retry"));
    for _ in 0..2 {
        add(stumble::with("leave").rate_per_key("slow", Rate::per(1, HOUR)));
    }
    client.run_pending(&Pending::all()).unwrap();
    // The second attempt of what stumbles; the third is an hour away.
    clock.advance(Duration::from_secs(2));
    client.run_pending(&Pending::all()).unwrap();
    let later = add(stumble::with("leave").run_after(HOUR));
    add(stumble::with("leave").after([later]));
    add(stumble::with("leave"));
    add(stumble::with("leave").queue("night"));
    client.pause(&Scope::queue("night")).unwrap();
    let cancelled = add(stumble::with("leave").run_after(HOUR));
    client.cancel(cancelled).unwrap();
    ids.push(client.enqueue(refuse::with("full", None).owner("ada")).unwrap().id());
    client.run_pending(&Pending::all().except("words.stumble")).unwrap();
    client.enqueue_many((0..20).map(|_| stumble::with("leave").owner("ada"))).unwrap();
    let pages = ids.iter().map(|id| format!("/tasks/t/{id}"));
    let shop = Shop { web: web(&client, direction), tasks: client.clone() };
    let list = shop.page("ada", "/tasks/").text;
    let older = list.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let lists = ["/tasks/", "/tasks/?live=0", older].map(str::to_owned);
    (shop, pages.chain(lists).collect())
}

/// What is said while a worker works, of what waits for it and of what is asked to stop.
fn working(direction: &str) -> Vec<String> {
    let (say, said) = std::sync::mpsc::channel();
    let builder = tasks::registered(Client::in_memory()).register(deaf).register(stumble);
    let builder = builder.state(tasks::Words { said: Mutex::new(said) }).workers(1);
    let client = builder.open().unwrap();
    let shop = Shop { web: web(&client, direction), tasks: client.clone() };
    let running = client.enqueue(deaf::with().owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{running}");
    let mut seen = Value::Null;
    while seen["progress"]["done"] != 1_500 {
        seen = shop.json("ada", &format!("{path}?wait=20000")).json();
    }
    let waiting: Vec<TaskId> =
        (0..3).map(|_| client.enqueue(linger::with().owner("ada")).unwrap().id()).collect();
    let pages = waiting.iter().map(|id| format!("/tasks/t/{id}"));
    let paths: Vec<String> = std::iter::once(path.clone()).chain(pages).collect();
    let mut told: Vec<String> = paths.iter().map(|path| shop.page("ada", path).text).collect();
    client.cancel(running).unwrap();
    told.push(shop.page("ada", &path).text);
    told.push(shop.page("ada", &format!("{path}?refresh=off")).text);
    drop(say);
    client.shutdown(Duration::ZERO).unwrap();
    let form = shop.post("ada", &format!("{path}/cancel"));
    assert_eq!((form.status, form.header("retry-after")), (503, "2"));
    told.push(form.text);
    told
}

/// What somebody reads who asks for what is not to be had.
fn faults(shop: &Shop) -> Vec<String> {
    let mine = shop.tasks.enqueue(stumble::with("leave").owner("guest")).unwrap().id();
    let ready = shop.tasks.enqueue(stumble::with("leave").owner("ada")).unwrap().id();
    let theirs = request("POST", "ada", &format!("/tasks/t/{ready}/cancel"));
    let theirs = theirs.header("sec-fetch-site", "cross-site").body(Full::default()).unwrap();
    let gone = format!("/tasks/t/{}/fragment?every=2", "1-0000000000000");
    let replies = [
        (404, shop.page("ada", "/tasks/nothing")),
        (400, shop.page("ada", "/tasks/?from=nonsense")),
        (401, shop.json("-", "/tasks/")),
        (403, shop.post("guest", &format!("/tasks/t/{mine}/cancel"))),
        (403, shop.send(theirs)),
        (409, shop.post("ada", &format!("/tasks/t/{ready}/retry"))),
        (200, shop.page("ada", &gone)),
    ];
    let told = replies.map(|(status, reply)| {
        assert_eq!(reply.status, status, "{}", reply.text);
        let is_json = reply.header("content-type").ends_with("json");
        if is_json {
            format!("{} {}", reply.json()["title"], reply.json()["detail"])
        } else {
            reply.text
        }
    });
    told.into()
}

/// The fault of a program, and a task that runs for somebody else.
fn answers(shop: &Shop) -> Vec<String> {
    shop.tasks.enqueue(count_till::with().owner("bob").unique(Unique::arguments())).unwrap();
    let parts = head("ada", &[]);
    let broken = shop.web.respond(&parts, export::with("Ada", 1)).success("//evil.example");
    let broken = block(async { read(broken.await).await });
    let taken = shop.web.respond(&parts, count_till::with().unique(Unique::arguments()));
    let taken = block(async { read(taken.await).await });
    assert_eq!((broken.status, taken.status), (500, 409), "{}", taken.text);
    vec![broken.text, taken.text]
}

/// The longest part of a text that stands on pages as it is.
fn fixed(text: &str) -> &str {
    let parts = text.split(['{', '}']).step_by(2).map(str::trim);
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

fn named(words: &Words) -> Map<String, Value> {
    serde_json::to_value(words).unwrap().as_object().unwrap().clone()
}

#[test]
fn all_that_a_person_reads_is_in_the_words_of_their_language() {
    let (shop, paths) = stored("ltr");
    let mut told: Vec<String> = paths.iter().map(|path| shop.page("ada", path).text).collect();
    let batch = Flow::group("parts", [refuse::with("full", None), refuse::with("full", None)]);
    let batch = shop.tasks.enqueue_flow(batch).unwrap().id();
    shop.tasks.run_pending(&Pending::all().except("words.stumble")).unwrap();
    told.push(shop.page("root", &format!("/tasks/t/{batch}")).text);
    told.push(shop.page("cyd", "/tasks/").text);
    told.extend(faults(&shop));
    told.extend(answers(&shop));
    told.extend(working("ltr"));
    let read: Vec<String> = told.iter().map(|page| crate::markup::visible(page)).collect();
    let (english, german) = (named(&Words::default()), named(&german("ltr")));
    assert_eq!(english.keys().collect::<Vec<_>>(), german.keys().collect::<Vec<_>>());
    let mut unsaid = BTreeSet::new();
    for (name, text) in &english {
        let (theirs, ours) = (fixed(text.as_str().unwrap()), fixed(german[name].as_str().unwrap()));
        for page in read.iter().filter(|_| theirs.len() > 3) {
            assert!(!page.contains(theirs), "{name}: {theirs:?} stands on\n{page}");
        }
        // What the browser's module says stands in the head of each page.
        let is_said = told.iter().any(|page| page.contains(ours));
        unsaid.extend((!is_said).then_some(name.as_str()));
    }
    let unknown: Vec<_> = unsaid.into_iter().filter(|name| !UNSAID.contains(name)).collect();
    assert!(unknown.is_empty(), "nobody reads {unknown:?}");
}

#[test]
fn pages_and_blocks_say_in_which_language_and_direction_they_are() {
    let (shop, paths) = stored("rtl");
    for path in &paths {
        let page = shop.page("ada", path).text;
        assert!(page.contains("<html lang=\"de\" dir=\"rtl\""), "{path} {page}");
        let blocks = page.matches("<section class=\"lw-task\"").count();
        assert_eq!(page.matches(" lang=\"de\" dir=\"rtl\" aria-labelledby").count(), blocks);
    }
    for page in working("rtl") {
        assert!(page.contains("<html lang=\"de\" dir=\"rtl\""), "{page}");
    }
    assert!(shop.page("ada", "/tasks/nothing").text.contains("dir=\"rtl\""));
    // The operator's pages are in English, and say so.
    let desk = shop.page("root", "/tasks/admin/").text;
    assert!(desk.contains("<html lang=\"en\" dir=\"ltr\""), "{desk}");
    assert!(shop.page("root", "/tasks/admin/nothing").text.contains("Not Found"));
    assert!(shop.page("ada", "/tasks/admin/").text.contains("Nicht gefunden"));
}

#[test]
fn a_program_is_told_the_same_code_in_any_language() {
    let (shop, _) = stored("ltr");
    let lost = shop.json("ada", "/tasks/t/1-0000000000000").json();
    assert_eq!((lost["code"].as_str(), lost["status"].as_u64()), (Some("not_found"), Some(404)));
    assert_eq!(lost["title"], "Nicht gefunden");
    assert!(lost["detail"].as_str().unwrap().starts_with("Hier ist nichts"), "{lost}");
    let lost = shop.json("root", "/tasks/admin/t/1-0000000000000").json();
    assert_eq!(
        (lost["code"].as_str(), lost["title"].as_str()),
        (Some("not_found"), Some("Not Found"))
    );
}

/// A page of the program's own, in the language of each visitor.
#[test]
fn the_module_is_given_the_words_of_whoever_reads_the_page() {
    let tasks = tasks::registered(Client::in_memory()).mode(Mode::Hold).open().unwrap();
    let web = Web::builder(&tasks, gate).base("/tasks").words(|request| {
        let is_ada = request.headers.get("x-user").is_some_and(|user| user == "ada");
        if is_ada { german("ltr") } else { Arc::default() }
    });
    let web = web.build().unwrap();
    let words = |head: &str| {
        let content = head.split("<meta name=\"litework-words\" content=\"").nth(1).unwrap();
        let content = content.split('"').next().unwrap().replace("&#34;", "\"");
        serde_json::from_str::<Value>(&content.replace("&#39;", "'")).unwrap()
    };
    assert_eq!(words(&web.head_for(&head("ada", &[])))["close"], "Schließen");
    assert_eq!(words(&web.head_for(&head("bob", &[])))["close"], "Close");
    assert_eq!(words(&web.head())["count_of"], "{done} of {total} {unit}");
    assert_eq!(web.head(), web.head_for(&head("bob", &[])));
}
