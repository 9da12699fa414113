//! A shop with people in it, and what they send.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use litework::web::{Access, Action, Body, Web, WebBuilder};
use litework::{Client, Mode};
use serde_json::Value;

use crate::tasks;

/// Who a request says it comes from; a session of the shop would say it.
pub(crate) fn gate(request: &Parts) -> Access {
    match request.headers.get("x-user").map(|user| user.to_str().unwrap()) {
        None => Access::denied().login("/login"),
        Some("root") => Access::admin().named("root"),
        Some("eve") => Access::viewer().named("eve"),
        Some("guest") => Access::owner("guest").only(&[]),
        // Sees all, and may do one thing.
        Some(user) if user.starts_with("may-") => {
            let may = Action::ALL.iter().filter(|action| user.ends_with(action.as_str()));
            Access::viewer().named(user).with(&may.copied().collect::<Vec<_>>())
        }
        Some(user) => Access::owner(user),
    }
}

pub(crate) struct Shop {
    pub(crate) tasks: Client,
    pub(crate) web: Web,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Shop {
    /// A shop whose tasks run in the caller.
    pub(crate) fn new() -> Self {
        Self::with(Mode::Inline, |web| web.base("/tasks"))
    }

    /// One whose tasks are stored and not run.
    pub(crate) fn holding() -> Self {
        Self::with(Mode::Hold, |web| web.base("/tasks"))
    }

    pub(crate) fn with(mode: Mode, build: impl FnOnce(WebBuilder) -> WebBuilder) -> Self {
        let tasks = tasks::registered(Client::in_memory()).mode(mode).open().unwrap();
        let web = build(Web::builder(&tasks, gate)).build().unwrap();
        Self { tasks, web }
    }

    /// One with a worker, and what is said to a task that lingers.
    pub(crate) fn working() -> (Self, Sender<&'static str>) {
        Self::staffed(1)
    }

    /// The same with so many workers.
    pub(crate) fn staffed(workers: usize) -> (Self, Sender<&'static str>) {
        let (say, said) = std::sync::mpsc::channel();
        let builder = tasks::registered(Client::in_memory()).workers(workers);
        let tasks = builder.state(tasks::Words { said: Mutex::new(said) }).open().unwrap();
        let web = Web::builder(&tasks, gate).base("/tasks").build().unwrap();
        (Self { tasks, web }, say)
    }

    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        block(async { read(self.web.answer(request).await).await })
    }

    /// A page as a browser asks for it.
    pub(crate) fn page(&self, user: &str, path: &str) -> Reply {
        self.send(
            request("GET", user, path)
                .header("accept", "text/html,*/*;q=0.8")
                .body(Full::default())
                .unwrap(),
        )
    }

    pub(crate) fn json(&self, user: &str, path: &str) -> Reply {
        self.send(
            request("GET", user, path)
                .header("accept", "application/json")
                .body(Full::default())
                .unwrap(),
        )
    }

    /// A form that a page of the shop sends.
    pub(crate) fn post(&self, user: &str, path: &str) -> Reply {
        self.form(user, path, &[])
    }

    /// The same with fields.
    pub(crate) fn form(&self, user: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let encoded =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let body = encoded.collect::<Vec<_>>().join("&");
        let request = request("POST", user, path)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Full::from(Bytes::from(body))).unwrap())
    }

    /// JSON that a program sends, and an answer as JSON.
    pub(crate) fn send_json(&self, user: &str, path: &str, body: &Value) -> Reply {
        let request = request("POST", user, path)
            .header("content-type", "application/json")
            .header("accept", "application/json");
        self.send(request.body(Full::from(Bytes::from(body.to_string()))).unwrap())
    }
}

/// A text as it stands in a query or a form.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let each = text.bytes().map(|byte| {
        if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    each.collect()
}

/// A request of this user; `-` is nobody.
pub(crate) fn request(method: &str, user: &str, path: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    if user == "-" { request } else { request.header("x-user", user) }
}

/// The head of a request, as a handler of a program has it.
pub(crate) fn head(user: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = request("POST", user, "/orders/export");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

pub(crate) async fn read(answer: http::Response<Body>) -> Reply {
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Reply { status: parts.status.as_u16(), headers: parts.headers, text }
}

/// Runs a future on this thread.
pub(crate) fn block<F: Future>(future: F) -> F::Output {
    struct Bell(std::thread::Thread);
    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Bell(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

pub(crate) const OK: u16 = StatusCode::OK.as_u16();
