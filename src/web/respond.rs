//! Enqueue and watch: the answer of a program's own handler that starts a task for somebody.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use http::request::Parts;
use http::{HeaderName, StatusCode, header};

use super::answer::{self, Answer};
use super::fault::Fault;
use super::guard::text_of;
use super::shape::View;
use super::site::{Site, Visit};
use super::way::{self, Way};
use super::words::Say;
use crate::client::Client;
use crate::error::Error;
use crate::handle::Handle;
use crate::id::TaskId;
use crate::snapshot::Snapshot;
use crate::state::{Reason, State};
use crate::task::{Call, IntoCall, Signature};

/// How long an answer waits for the end of what it has started, unless said otherwise.
pub const WAIT_DEFAULT: Duration = Duration::from_millis(500);
/// … and how long at most.
pub const WAIT_MAX: Duration = Duration::from_secs(25);
/// What tells one submit of a form from the next is at most this long, in bytes.
const ONCE_BYTES_MAX: usize = 128;

/// The answer to a request that starts a task: `Web::respond` gives it, and `.await` makes it.
///
/// The call is stored; its owner is whoever the gate says sent the request, unless the call names one. If the task
/// ends within [`WAIT_DEFAULT`], the answer leads to its success or error page at once; else to its status page,
/// which goes there once it has ended. Who asks for JSON gets the task as it is: 200 if it has ended, else 202.
///
/// A request that a page of another site has made is refused, and so is one that a browser makes ahead of its person.
///
/// A second submit with the same once-token and the same arguments starts nothing and leads to the same task.
/// Where it cannot be told whether the task was stored, the call is sent once more with the same key.
#[must_use = "it does nothing unless it is awaited"]
pub struct Respond<C: IntoCall> {
    pub(crate) site: Arc<Site>,
    pub(crate) visit: Visit,
    call: Call<C::Task>,
    way: Way,
    wait: Duration,
    once: Option<String>,
}

impl<C: IntoCall> fmt::Debug for Respond<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").field("way", &self.way).finish_non_exhaustive()
    }
}

impl<C: IntoCall> Respond<C> {
    pub(crate) fn new(site: Arc<Site>, request: &Parts, call: C) -> Self {
        let access = site.gate.access(request);
        let words = (site.words)(request);
        let parts = Arc::new(request.clone());
        let visit = Visit { parts, access, words, body: Bytes::new() };
        let once = text_of(&visit.parts.headers, "idempotency-key").map(str::to_owned);
        let (call, way, wait) = (call.into_call(), Way::default(), WAIT_DEFAULT);
        Self { site, visit, call, way, wait, once }
    }

    /// Where its person goes once the task has succeeded: a path of the same site. `{id}` stands for the task's id,
    /// `{result}` for its result, percent-encoded.
    pub fn success(mut self, path: impl Into<String>) -> Self {
        self.way.success = Some(path.into());
        self
    }

    /// Where its person goes once it has failed or was cancelled; likewise.
    pub fn error(mut self, path: impl Into<String>) -> Self {
        self.way.error = Some(path.into());
        self
    }

    /// Once it has succeeded, its person goes to the first file that it has left, for downloads.
    pub fn to_file(mut self) -> Self {
        self.way.to_file = true;
        self
    }

    /// What its person is told of an error with this code ([`Failure::code`](crate::Failure::code)). Of all others
    /// they are told what the task itself says to users, or that something went wrong.
    pub fn message(mut self, code: impl Into<String>, text: impl Into<String>) -> Self {
        self.way.messages.insert(code.into(), text.into());
        self
    }

    /// What tells this submit of a form from the next: the form's hidden field `_once`, 1 to 128 bytes. Without it,
    /// the header `Idempotency-Key` counts.
    pub fn once(mut self, token: impl Into<String>) -> Self {
        self.once = Some(token.into()).filter(|token| !token.is_empty());
        self
    }

    /// How long the answer waits for the end of the task: at most [`WAIT_MAX`] (25 s).
    pub fn wait(mut self, span: Duration) -> Self {
        self.wait = span.min(WAIT_MAX);
        self
    }

    async fn answered(self) -> Answer {
        let (site, visit, is_json) =
            (Arc::clone(&self.site), self.visit.clone(), self.visit.wants_json());
        let answer = match self.started().await {
            Ok(answer) => answer,
            Err(fault) => answer::fault(&site, &visit, &fault, is_json),
        };
        answer::finished(&visit.parts.method, answer)
    }

    async fn started(self) -> Result<Answer, Fault> {
        self.site.guard.check_start(&self.visit.parts)?;
        if self.visit.access.is_denied() {
            return Err(Fault::denied(&self.visit.access));
        }
        let preferred = preferred_wait(&self.visit);
        let wait = preferred.as_ref().map_or(self.wait, |(wait, _)| *wait);
        let (site, visit) = (Arc::clone(&self.site), self.visit.clone());
        let call = self.ready()?;
        let handle = site.with(move |site| stored(&site.client, &call)).await?;
        let id = handle.id();
        if !wait.is_zero() {
            ended_within(handle, wait).await;
        }
        let view = to_watch(&site, &visit, id).await?;
        let mut answer = answer_of(&site, &visit, &view)?;
        if let Some((_, told)) = preferred {
            answer::set(&mut answer, HeaderName::from_static("preference-applied"), &told);
        }
        Ok(answer)
    }

    /// The call as it is stored: with its owner, its key, and where it leads.
    fn ready(self) -> Result<Call<C::Task>, Fault> {
        for (place, path) in [("success", &self.way.success), ("error", &self.way.error)] {
            path.as_deref().map_or(Ok(()), |path| way::check_path(place, path)).map_err(
                |error| {
                    // The program's own mistake, not its user's.
                    Fault::internal(&error)
                },
            )?;
        }
        let mut call = self.call;
        if let Some(owner) = self.visit.access.own().filter(|_| call.with.owner.is_none()) {
            call = call.owner(owner);
        }
        if call.with.key.is_none() {
            let key = key_of(self.once.as_deref(), &call)?;
            call = call.key(key);
        }
        if self.way != Way::default() {
            let way = serde_json::to_value(&self.way).map_err(|error| Fault::internal(&error))?;
            call = call.meta(way::META, way);
        }
        Ok(call)
    }
}

impl<C: IntoCall> IntoFuture for Respond<C>
where
    Call<C::Task>: Send + Sync,
    C: 'static,
{
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.answered())
    }
}

/// The key of a call: the same for the same submit with the same arguments, else one that nobody has.
fn key_of<T: Signature>(once: Option<&str>, call: &Call<T>) -> Result<String, Fault> {
    let Some(once) = once else {
        return Ok(format!("web-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)));
    };
    if once.len() > ONCE_BYTES_MAX {
        let detail = format!("the once-token has {} bytes; at most 128", once.len());
        return Err(Fault::bad_request("bad_once", detail));
    }
    let arguments = serde_json::to_string(call.args()).map_err(|error| Fault::internal(&error))?;
    let owner = call.with.owner.as_deref().unwrap_or_default();
    let digest = super::guard::plain_digest(&[owner, T::NAME, once, &arguments]);
    Ok(format!("web-{digest:032x}"))
}

/// Stores it; once more where it cannot be told whether it was stored.
fn stored<T: Signature>(client: &Client, call: &Call<T>) -> Result<Handle<T>, Error> {
    let calling = client.hub.calling()?;
    let task = client.hub.prepare(call, &calling)?;
    let stored = match client.store(&calling, vec![task.clone()]) {
        Err(Error::Unknown { .. }) => client.store(&calling, vec![task])?,
        stored => stored?,
    };
    stored.first().map(|stored| client.handle_of(stored)).ok_or(Error::Closed)
}

/// Waits for its end, at most this long.
async fn ended_within<T: Signature>(handle: Handle<T>, wait: Duration) {
    let (mut end, mut delay) = (pin!(handle.into_future()), pin!(Delay::new(wait)));
    std::future::poll_fn(|context| {
        if end.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        delay.as_mut().poll(context)
    })
    .await;
}

/// The task to be watched: what was stored, or the one that was running already.
async fn to_watch(site: &Arc<Site>, visit: &Visit, id: TaskId) -> Result<View, Fault> {
    let me = visit.clone();
    let view = site.with(move |site| {
        let snapshot = watched(site, id)?;
        if !me.access.sees(&snapshot.task) {
            return Ok(None);
        }
        site.view(&me, &snapshot).map(Some)
    });
    view.await?.ok_or_else(|| Fault::said(StatusCode::CONFLICT, "already_running", Say::IsRunning))
}

/// Where a task was skipped as another one held its lock, that one, unless it is gone.
fn watched(site: &Site, id: TaskId) -> Result<Snapshot, Error> {
    let snapshot = site.client.snapshot(id)?;
    if (snapshot.task.state, snapshot.task.reason) != (State::Skipped, Some(Reason::Locked)) {
        return Ok(snapshot);
    }
    let data = snapshot.task.error.as_ref().and_then(|report| report.data.as_ref());
    match data.and_then(|data| data.get("holder")?.as_str()) {
        None => Ok(snapshot),
        Some(holder) => match site.client.snapshot(holder) {
            Err(error) if error.is_not_found() => Ok(snapshot),
            holder => holder,
        },
    }
}

fn answer_of(site: &Site, visit: &Visit, view: &View) -> Result<Answer, Fault> {
    if !visit.wants_json() {
        let page = match &view.redirect {
            Some(target) => target.clone(),
            None => format!("{}?follow=1", view.links.page),
        };
        return Ok(answer::see_other(&page));
    }
    if view.ended {
        return answer::json(StatusCode::OK, view);
    }
    let mut answer = answer::json(StatusCode::ACCEPTED, view)?;
    answer::set(&mut answer, header::LOCATION, &format!("{}/t/{}", site.public, view.id));
    answer::set(&mut answer, header::RETRY_AFTER, "1");
    Ok(answer)
}

/// What the request itself wishes (RFC 7240): how long, and in which words it is told that this was heard.
fn preferred_wait(visit: &Visit) -> Option<(Duration, String)> {
    let prefer = text_of(&visit.parts.headers, "prefer")?;
    let wishes: Vec<&str> = prefer.split([',', ';']).map(str::trim).collect();
    if wishes.iter().any(|wish| wish.eq_ignore_ascii_case("respond-async")) {
        return Some((Duration::ZERO, "respond-async".to_owned()));
    }
    let seconds = wishes.iter().find_map(|wish| wish.strip_prefix("wait=")?.parse().ok())?;
    let wait = Duration::from_secs(seconds).min(WAIT_MAX);
    Some((wait, format!("wait={}", wait.as_secs())))
}
