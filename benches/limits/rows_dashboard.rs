//! Row `dashboard_1m`: how long the operator's pages, a person's and the lists of the API take of a file of a million
//! tasks that have ended, a hundred thousand that are ready and twenty thousand that have failed.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use http::Request;
use http::request::Parts;
use http_body_util::{BodyExt as _, Full};
use litework::web::{Access, Web};
use litework::{Client, Filter, Mode, Schedule, State, Task};
use rusqlite::Connection;

use crate::bench::{Bench, QueueFile};
use crate::report::Row;
use crate::rows_depth::many_of_all;
use crate::stats::quantile;
use crate::target::Target;
use crate::work::Resize;

/// How often each page is asked for.
const TIMES: usize = 30;

struct Bell(std::thread::Thread);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Bell(std::thread::current())).into();
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

/// What is asked for: by Ada, or by an operator; of a form, with its fields.
struct Asked {
    path: String,
    is_hers: bool,
    form: Option<&'static str>,
}

impl Asked {
    fn page(path: &str) -> Self {
        Self { path: format!("/admin/{path}"), is_hers: false, form: None }
    }

    fn list(query: &str) -> Self {
        Self { path: format!("/api/tasks{query}"), is_hers: false, form: None }
    }

    fn hers(path: &str) -> Self {
        Self { path: path.to_owned(), is_hers: true, form: None }
    }

    /// The page that asks before something is done to many.
    fn asks(form: &'static str) -> Self {
        Self { path: "/admin/tasks/actions".to_owned(), is_hers: false, form: Some(form) }
    }

    /// The same without the id of a task.
    fn name(&self) -> String {
        let path = match self.path.rsplit_once('/') {
            Some((before, id)) if id.contains('-') && !id.contains('=') => format!("{before}/ID"),
            _ => self.path.clone(),
        };
        let whose = if self.is_hers { "her " } else { "" };
        self.form.map_or_else(|| format!("{whose}{path}"), |form| format!("{path} {form}"))
    }

    /// Milliseconds until it is there as a whole.
    fn took(&self, web: &Web) -> f64 {
        let path = self.path.as_str();
        let method = if self.form.is_some() { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("accept", "text/html").header("sec-fetch-site", "same-origin");
        let request = if self.is_hers { request.header("x-user", "ada") } else { request };
        let body = bytes::Bytes::from_static(self.form.unwrap_or_default().as_bytes());
        let request = request.body(Full::new(body)).expect("it is a request");
        let began = Instant::now();
        let size = block(async {
            let answer = web.answer(request).await;
            assert_eq!(answer.status(), 200, "{path}");
            answer.into_body().collect().await.expect("it is whole").to_bytes().len()
        });
        let least = if path.starts_with("/api/") { 30 } else { 500 };
        assert!(size > least, "{path} has {size} bytes");
        began.elapsed().as_secs_f64() * 1e3
    }
}

fn gate(request: &Parts) -> Access {
    let is_ada = request.headers.contains_key("x-user");
    if is_ada { Access::owner("ada") } else { Access::admin() }
}

/// All that is asked for.
fn all(ready: &str, failed: &str, hers: &str) -> Vec<Asked> {
    let pages = [
        "",
        "?span=7d",
        "tasks",
        "tasks?state=ready",
        "tasks?state=succeeded",
        "tasks?state=failed",
        "tasks?error=host+3",
        "tasks?kind=unknown",
        "tasks?queue=queue-1&state=ready",
        "tasks?owner=nobody",
        "tasks?owner=ada",
        "tasks?tag=none",
        &format!("t/{ready}"),
        &format!("t/{failed}"),
        "failures",
        "queues",
        "workers",
        "schedules",
        "schedule?name=nightly",
        "bulk",
        "audit",
        "about",
    ];
    let lists = [
        "",
        "?size=100",
        "?state=ready",
        "?state=succeeded",
        "?state=failed",
        "?kind=unknown",
        "?owner=ada",
        "?error=host+3",
        &format!("/{failed}"),
    ];
    let asks = [
        "do=retry+matching&state=failed",
        "do=cancel+matching&state=ready",
        "do=delete+matching&state=succeeded",
        "do=retry+matching&error=host+3",
        "do=delete+matching",
        "do=delete+matching&tag=none",
    ];
    let hers = ["/".to_owned(), format!("/t/{hers}"), "/api/tasks".to_owned()];
    let mut all: Vec<Asked> = pages.into_iter().map(Asked::page).collect();
    all.extend(lists.into_iter().map(Asked::list));
    all.extend(asks.into_iter().map(Asked::asks));
    all.extend(hers.iter().map(|path| Asked::hers(path)));
    all
}

pub(crate) fn pages(bench: &Bench) -> Vec<Row> {
    let file = many_of_all(bench, bench.pick(1_000_000, 20_000));
    give_some_to_ada(&file);
    let nightly =
        Schedule::every("nightly", Duration::from_secs(24 * 60 * 60), Resize::sample(1).call());
    let builder = Client::builder(file.path()).register(Resize::define()).schedule(nightly);
    let client = builder.mode(Mode::Hold).open().expect("it is ours");
    let web = Web::builder(&client, gate).build().expect("nothing is wrong with it");
    let one = |filter: Filter| {
        let found = client.list(&filter, None, 1).expect("it is read");
        found.tasks.first().unwrap_or_else(|| panic!("no such task: {filter:?}")).id.to_string()
    };
    let [ready, failed] =
        [State::Ready, State::Failed].map(|state| one(Filter::new().state(state)));
    let hers = one(Filter::new().owner("ada"));
    let mut slowest = (0.0, String::new());
    let mut each = Vec::new();
    for asked in all(&ready, &failed, &hers) {
        let times = bench.pick(TIMES, 3);
        let mut took: Vec<f64> = (0..times).map(|_| asked.took(&web)).collect();
        let (most, middle) = (quantile(&mut took, 0.95), quantile(&mut took, 0.5));
        let name = asked.name();
        each.push(format!("{name} {middle:.1}"));
        if most > slowest.0 {
            slowest = (most, name);
        }
    }
    let (ours, name) = slowest;
    let note = format!("the slowest is {name}; medians: {}", each.join(", "));
    vec![Row::fixed("dashboard_1m", ours, "ms p95", Target::AtMost(100.0)).note(note)]
}

/// One task in a hundred is Ada's.
fn give_some_to_ada(file: &QueueFile) {
    let conn = Connection::open(file.path()).expect("the file is there");
    conn.execute_batch("PRAGMA synchronous = OFF").expect("it is set");
    let given = "UPDATE litework_task SET owner = 'ada' WHERE id % 100 = 1";
    conn.execute(given, []).expect("there is room");
}
