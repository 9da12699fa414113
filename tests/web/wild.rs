//! The API under requests that its own document leads to and those that it forbids: schemathesis sends them, by the
//! hundred, over a socket, and compares each answer with the document.
//!
//! `tests/web/requirements.txt` says in which version, `tests/web/schemathesis.toml` what is looked at.

use std::net::TcpListener;
use std::process::Command;

use litework::web::{Access, Web, bearer};
use litework::{Client, Context, Result, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::tasks::{self, count_till, export, leak, refuse};

/// Takes whatever it is given: the document says no more of arguments than that they are an object.
#[derive(Debug, Serialize, Deserialize)]
struct Anything {
    #[serde(flatten)]
    all: Map<String, Value>,
}

impl Task for Anything {
    const NAME: &'static str = "anything";
    type Output = usize;

    fn run(self, ctx: &Context) -> Result<usize> {
        ctx.log(format!("{} values", self.all.len()));
        ctx.artifact("values").json(&self.all)?;
        Ok(self.all.len())
    }
}

/// A shop in which each state has its tasks.
fn shop() -> Client {
    let tasks = tasks::registered(Client::in_memory())
        .register(litework::Definition::of::<Anything>())
        .open()
        .unwrap();
    for n in 0..3 {
        tasks.enqueue(export::with(format!("{n}"), 3).owner("ada").tag("big")).unwrap();
        tasks.enqueue(refuse::with("full", Some("Your mailbox is full."))).unwrap();
        tasks.enqueue(leak::with(json!({ "password": "hunter2" }), n == 0)).unwrap();
        let later = std::time::Duration::from_secs(3_600);
        let waiting = tasks.enqueue(count_till::with().run_after(later)).unwrap();
        tasks.enqueue(count_till::with().after([waiting.id()])).unwrap();
        let cancelled = tasks.enqueue(count_till::with().run_after(later)).unwrap();
        tasks.cancel(cancelled.id()).unwrap();
    }
    tasks
}

/// Serves it for as long as the test runs; the address of its document.
fn serve(secret: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let gate = bearer(secret, Access::admin().named("schemathesis"));
    let web = Web::builder(&shop(), gate).base("/tasks").enqueueable(["anything"]).build().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let router: axum::Router = axum::Router::new().merge(web.router());
            axum::serve(listener, router).await.unwrap();
        });
    });
    format!("http://{address}/tasks/api/openapi.json")
}

#[test]
#[ignore = "needs schemathesis"]
fn no_request_is_answered_in_a_way_that_the_document_does_not_say() {
    let secret = "4f9c2a7be1d05836";
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("schemathesis.toml", include_str!("schemathesis.toml")),
        ("schemathesis_hooks.py", include_str!("schemathesis_hooks.py")),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let ran = Command::new("schemathesis")
        .args(["run", &serve(secret)])
        .args(["--header", &format!("Authorization: Bearer {secret}")])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(ran.success(), "{ran}");
}
