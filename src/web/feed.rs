//! Watch: what whoever listens is told, message by message, over whichever wire.
//!
//! Each message is a whole snapshot, so nothing is replayed: whoever comes back is sent what is now. No
//! transaction is held between two of them.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_timer::Delay;
use serde_json::{Value, json};

use super::fault::Fault;
use super::places::Place;
use super::shape::View;
use super::site::{Site, Visit};
use crate::error::Error;
use crate::id::TaskId;
use crate::snapshot::Snapshot;
use crate::watching::{Watch, Watcher};

/// So that nobody on the way closes a silent line.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A feed says goodbye after so long; whoever listens comes back.
const LIFE_MAX: Duration = Duration::from_secs(15 * 60);
/// Tasks of one feed at most.
const IDS_MAX: usize = 100;
/// How soon whoever was cut off should come back.
pub(crate) const RETRY_MS: u64 = 2_000;

/// One message.
#[derive(Debug)]
pub(crate) enum News {
    /// The first.
    Hello(Value),
    /// A task as it is now.
    Task(Box<View>),
    /// There is no such task, or it is not theirs.
    Gone(String),
    /// Nothing new, so that the line stays open, and whoever listens knows that it is: the first once more.
    Beat(Value),
    /// All that was watched has ended; the last.
    End,
    /// Come back later; the last.
    Bye(&'static str),
}

impl News {
    /// Its name and what it says.
    pub(crate) fn told(&self) -> (&'static str, Value) {
        match self {
            Self::Hello(hello) | Self::Beat(hello) => ("hello", hello.clone()),
            Self::Task(view) => ("task", serde_json::to_value(view).unwrap_or_default()),
            Self::Gone(id) => ("gone", json!({ "id": id })),
            Self::End => ("end", json!({})),
            Self::Bye(reason) => ("bye", json!({ "reason": reason, "retry_ms": RETRY_MS })),
        }
    }
}

/// Tells one listener.
pub(crate) struct Feed {
    site: Arc<Site>,
    visit: Visit,
    watchers: Vec<Watcher>,
    place: Place,
    until: Instant,
    /// It is silent for so long at most.
    beat: Duration,
    /// What is told before anything that is watched.
    first: VecDeque<News>,
    is_over: bool,
}

/// What a feed waits for.
enum Heard {
    Task(Box<Snapshot>),
    NoMore,
    Silence,
}

impl Feed {
    /// What was asked for: `?ids=a,b`, `?mine`, or `?group=` with a name of the program's own. None where all of it
    /// has ended; refused where this viewer has `each` of them already.
    pub(crate) async fn open(
        site: &Arc<Site>,
        visit: &Visit,
        each: usize,
    ) -> Result<Option<Self>, Fault> {
        let Some((wanted, gone)) = watched(site, visit).await? else { return Ok(None) };
        let now = Instant::now();
        // Those who are let in by a link are many, and are told apart by what they look at.
        let viewer = match visit.access.own() {
            None => format!(
                "{}|{:?}",
                visit.access.mark(),
                ["ids", "group"].map(|name| visit.query(name))
            ),
            Some(_) => visit.access.mark(),
        };
        let place = site.streams.take(&viewer, each, now).ok_or_else(Fault::busy)?;
        let watchers = wanted.into_iter().map(|watch| site.client.watch(watch));
        let watchers = watchers.collect::<Result<_, _>>().map_err(Fault::from)?;
        let gone = gone.into_iter().map(News::Gone);
        Ok(Some(Self {
            site: Arc::clone(site),
            visit: visit.clone(),
            watchers,
            place,
            until: now + LIFE_MAX,
            beat: HEARTBEAT,
            first: std::iter::once(News::Hello(hello(site))).chain(gone).collect(),
            is_over: false,
        }))
    }

    /// The next message; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<News>, Fault> {
        if let Some(first) = self.first.pop_front() {
            return Ok(Some(first));
        }
        if self.is_over || !self.place.is_kept(Instant::now()) {
            return Ok(None);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        Ok(Some(match self.heard(self.beat.min(left)).await {
            Heard::Task(snapshot) => {
                let me = self.visit.clone();
                let view = self.site.with(move |site| site.view(&me, &snapshot));
                News::Task(Box::new(view.await?))
            }
            Heard::Silence if left > self.beat => News::Beat(hello(&self.site)),
            Heard::Silence => self.last(News::Bye("again")),
            Heard::NoMore if self.site.client.is_over() => self.last(News::Bye("shutdown")),
            Heard::NoMore => self.last(News::End),
        }))
    }

    fn last(&mut self, news: News) -> News {
        self.is_over = true;
        news
    }

    async fn heard(&self, span: Duration) -> Heard {
        let mut delay = Delay::new(span);
        poll_fn(|context| {
            let mut is_over = true;
            for watcher in &self.watchers {
                match watcher.poll_recv(context) {
                    Poll::Ready(Some(snapshot)) => {
                        return Poll::Ready(Heard::Task(Box::new(snapshot)));
                    }
                    Poll::Ready(None) => {}
                    Poll::Pending => is_over = false,
                }
            }
            if is_over {
                return Poll::Ready(Heard::NoMore);
            }
            Pin::new(&mut delay).poll(context).map(|()| Heard::Silence)
        })
        .await
    }
}

fn hello(site: &Site) -> Value {
    let heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX);
    json!({ "v": 1, "now": site.client.now(), "heartbeat_ms": heartbeat_ms })
}

/// What is watched, and those ids that name nothing to this viewer; none where all has ended.
async fn watched(
    site: &Arc<Site>,
    visit: &Visit,
) -> Result<Option<(Vec<Watch>, Vec<String>)>, Fault> {
    let mut watches = Vec::new();
    if visit.queries().iter().any(|(name, _)| name == "mine") {
        watches.push(Watch::owner(visit.access.own().ok_or_else(Fault::not_found)?));
    }
    if let Some(name) = visit.query("group") {
        let groups = site.groups.as_ref().ok_or_else(Fault::not_found)?;
        watches.push(groups(&name, &visit.access).ok_or_else(Fault::not_found)?);
    }
    let ids = visit.query("ids").unwrap_or_default();
    let ids: BTreeSet<String> =
        ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if (ids.is_empty() && watches.is_empty()) || ids.len() > IDS_MAX {
        let detail =
            format!("{} ids; ids=ID,ID,… with 1 to 100 ids, mine, or group=NAME", ids.len());
        return Err(Fault::bad_request("bad_ids", detail));
    }
    let me = visit.clone();
    let (there, is_open, gone) = site.with(move |site| sorted_out(site, &me, ids)).await?;
    // What has ended is told once to whoever listens to more: their page may not know it yet.
    if is_open || (!watches.is_empty() && !there.is_empty()) {
        watches.push(Watch::tasks(there));
    }
    Ok((!watches.is_empty()).then_some((watches, gone)))
}

/// Those that are there, whether one of them has not ended, and those that are not there for this viewer.
fn sorted_out(
    site: &Site,
    visit: &Visit,
    ids: BTreeSet<String>,
) -> Result<(Vec<TaskId>, bool, Vec<String>), Error> {
    let (mut there, mut is_open, mut gone) = (Vec::new(), false, Vec::new());
    for id in ids {
        match site.seen(&visit.access, &id) {
            Ok(snapshot) => {
                is_open |= !snapshot.task.state.is_final();
                there.push(snapshot.task.id);
            }
            Err(error) if error.is_not_found() => gone.push(id.chars().take(64).collect()),
            Err(error) => return Err(error),
        }
    }
    Ok((there, is_open, gone))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::client::Client;
    use crate::context::Context;
    use crate::mode::Mode;
    use crate::outcome::Result as TaskResult;
    use crate::registry::{Definition, Task};
    use crate::web::Web;
    use crate::web::access::Access;

    #[derive(Serialize, Deserialize)]
    struct Later;

    impl Task for Later {
        const NAME: &'static str = "later";
        type Output = ();

        fn run(self, _: &Context) -> TaskResult<()> {
            Ok(())
        }
    }

    fn block<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    /// What Ada hears of her own task that waits, after the greeting and the task as it is.
    fn feed() -> (Client, Feed) {
        let builder = Client::in_memory().mode(Mode::Hold).environment([] as [(&str, &str); 0]);
        let client = builder.register(Definition::of::<Later>()).open().expect("in memory");
        client.enqueue(Later.call().owner("ada")).expect("it is stored");
        let web = Web::builder(&client, |_: &http::request::Parts| Access::owner("ada"));
        let web = web.build().expect("nothing is wrong with it");
        let request = http::Request::builder().uri("/events?mine").header("host", "localhost");
        let parts = Arc::new(request.body(()).expect("a request").into_parts().0);
        let words = (web.site.words)(&parts);
        let visit = Visit { parts, access: Access::owner("ada"), words, body: Bytes::new() };
        let mut feed = block(Feed::open(&web.site, &visit, 4)).expect("a place").expect("a task");
        for first in ["hello", "task"] {
            assert_eq!(next(&mut feed).0, first);
        }
        (client, feed)
    }

    fn next(feed: &mut Feed) -> (&'static str, Value) {
        block(feed.next()).expect("it is read").expect("it goes on").told()
    }

    #[test]
    fn whoever_listens_hears_that_the_line_is_open_though_nothing_happens() {
        let (client, mut feed) = feed();
        feed.beat = Duration::ZERO;
        for _ in 0..3 {
            let (name, told) = next(&mut feed);
            assert_eq!(
                (name, &told["v"], &told["heartbeat_ms"]),
                ("hello", &json!(1), &json!(15_000))
            );
        }
        feed.beat = HEARTBEAT;
        client.enqueue(Later.call().owner("ada")).expect("it is stored");
        assert_eq!(next(&mut feed).0, "task");
    }

    #[test]
    fn a_feed_that_has_lasted_long_enough_asks_to_come_again() {
        let (_client, mut feed) = feed();
        assert!(feed.until.saturating_duration_since(Instant::now()) > LIFE_MAX / 2);
        feed.until = Instant::now();
        let expected = json!({ "reason": "again", "retry_ms": 2_000 });
        assert_eq!(next(&mut feed), ("bye", expected));
        assert!(block(feed.next()).expect("it is read").is_none());
    }
}
