//! Row `dashboard_1m`: how long the operator's pages take of a file of a million tasks that have ended, a hundred
//! thousand that are ready and twenty thousand that have failed.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Instant;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use litework::web::{Access, Web};
use litework::{Client, Filter, Mode, State, Task};

use crate::bench::Bench;
use crate::report::Row;
use crate::rows_depth::many_of_all;
use crate::stats::{Target, quantile};
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

/// Milliseconds until a page is there as a whole.
fn page(web: &Web, path: &str) -> f64 {
    let request =
        Request::builder().uri(path).header("host", "localhost").header("accept", "text/html");
    let request = request.body(Full::<bytes::Bytes>::default()).expect("it is a request");
    let began = Instant::now();
    let size = block(async {
        let answer = web.answer(request).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.into_body().collect().await.expect("it is whole").to_bytes().len()
    });
    assert!(size > 500, "{path} has {size} bytes");
    began.elapsed().as_secs_f64() * 1e3
}

pub(crate) fn pages(bench: &Bench) -> Vec<Row> {
    let file = many_of_all(bench, bench.pick(1_000_000, 20_000));
    let builder = Client::builder(file.path()).register(Resize::define());
    let client = builder.mode(Mode::Hold).open().expect("it is ours");
    let web = Web::builder(&client, |_: &http::request::Parts| Access::admin()).build();
    let web = web.expect("nothing is wrong with it");
    let one = |state: State| {
        let found = client.list(&Filter::new().state(state), None, 1).expect("it is read");
        let first = found.tasks.first().unwrap_or_else(|| panic!("no {state} task: {found:?}"));
        format!("t/{}", first.id)
    };
    let (ready, failed) = (one(State::Ready), one(State::Failed));
    let paths = [
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
        "tasks?tag=none",
        &ready,
        &failed,
        "failures",
        "queues",
        "workers",
        "schedules",
        "audit",
        "about",
    ];
    let mut slowest = (0.0, String::new());
    let mut each = Vec::new();
    for path in paths {
        let full = format!("/admin/{path}");
        let mut took: Vec<f64> = (0..bench.pick(TIMES, 3)).map(|_| page(&web, &full)).collect();
        let (most, middle) = (quantile(&mut took, 0.95), quantile(&mut took, 0.5));
        let name = if path.starts_with("t/") { "t/ID" } else { path };
        each.push(format!("{name} {middle:.1}"));
        if most > slowest.0 {
            slowest = (most, name.to_owned());
        }
    }
    let (ours, name) = slowest;
    let note = format!("the slowest is /{name}; medians: {}", each.join(", "));
    vec![Row::fixed("dashboard_1m", ours, "ms p95", Target::AtMost(100.0)).note(note)]
}
