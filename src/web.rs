//! Watch: pages and JSON for those who wait for tasks and those who operate them.
//!
//! A plain `tower` service over the types of the crate `http`, to be mounted in any framework that speaks them; no
//! runtime and no framework is part of it. It is closed unless the program says who may see what:
//!
//! ```
//! use litework::Client;
//! use litework::web::{Access, Web};
//!
//! # #[derive(Clone)]
//! # struct Session { user: String }
//! # let tasks = Client::in_memory().open()?;
//! let web = Web::builder(&tasks, |request: &http::request::Parts| {
//!     match request.extensions.get::<Session>() {
//!         Some(session) => Access::owner(&session.user),
//!         None => Access::denied().login("/login"),
//!     }
//! })
//! .base("/tasks")
//! .build()?;
//! # let _ = web;
//! # Ok::<(), litework::Error>(())
//! ```
//!
//! [`status_pages`](crate::guide::status_pages), [`access`](crate::guide::access), [`dashboard`](crate::guide::dashboard)
//! and [`api`](crate::guide::api) explain it as a whole.
//! `examples/webapp` is a shop with all of it: forms, logins, status pages, downloads.
//!
//! | Path below the base | For |
//! |---|---|
//! | `/` | one's own tasks; with `?live=0` they stand still |
//! | `/t/{id}` | one task: a page, or JSON by `Accept`; `?wait=ms&rev=…` waits for a change |
//! | `/t/{id}/fragment` | the same as a block of HTML; with `?every=2` one that asks for itself anew, by htmx |
//! | `/t/{id}/a/{n}` | what it has left |
//! | `/t/{id}/cancel`, `/retry`, `/dismiss` | `POST` |
//! | `/events?ids=a,b`, `/events?mine` | changes as they happen, as server-sent events |
//! | `/admin/` | the operator's pages: what waits, what fails, who works, and what is done about it |
//! | `/metrics` | numbers for Prometheus |
//! | `/health/live`, `/health/ready` | whether it works: 200 or 503 |
//! | `/api/tasks`, `/api/tasks/{id}`, … | the same for programs; `/api/openapi.json` describes it |
//! | `/assets/…` | style sheet and module |

mod access;
mod words;
mod way;
mod shape;
mod body;
mod office;
mod fault;
mod guard;
mod gates;
mod endpoint;
mod route;
mod assets;
mod page;
mod places;
mod bulks;
mod site;
mod answer;
mod machine;
mod person;
mod detail;
mod cursor;
mod api;
mod feed;
mod events;
mod respond;
mod operator;
#[cfg(feature = "axum")]
mod socket;
#[cfg(feature = "axum")]
mod adapter;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

#[cfg(feature = "cli")]
pub(crate) use self::access::is_same;
pub use self::access::{Access, Action, Gate, bearer, from_extension};
use self::answer::Answer;
pub use self::body::Body;
use self::fault::Fault;
pub use self::gates::{basic_file, bearer_file, dev_loopback};
use self::guard::Guard;
use self::office::Office;
pub use self::page::Frame;
use self::page::Framing;
use self::places::Places;
pub use self::respond::{Respond, WAIT_DEFAULT, WAIT_MAX};
use self::route::Route;
use self::site::{GroupsFor, Shared, Site, Visit, WordsFor, checked_base};
pub use self::words::Words;
use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::task::IntoCall;
use crate::watching::Watch;

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long it may take to come.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Streams of events at once, unless said otherwise.
const STREAMS_DEFAULT: usize = 256;

/// The pages of one client, as a service; clones share it. It keeps the client open.
#[derive(Clone)]
pub struct Web {
    site: Arc<Site>,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("base", &self.site.base).finish_non_exhaustive()
    }
}

impl Web {
    /// Begins with a client and with who may see what: nothing is open by default.
    ///
    /// Without a gate it does not compile:
    ///
    /// ```compile_fail,E0061
    /// # let tasks = litework::Client::in_memory().open()?;
    /// let web = litework::web::Web::builder(&tasks).base("/tasks").build()?;
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// ```
    /// # use litework::web::Access;
    /// # let tasks = litework::Client::in_memory().open()?;
    /// let nobody = |_: &http::request::Parts| Access::denied();
    /// let web = litework::web::Web::builder(&tasks, nobody).base("/tasks").build()?;
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn builder(client: &Client, gate: impl Gate) -> WebBuilder {
        WebBuilder {
            client: client.clone(),
            gate: Box::new(gate),
            base: String::new(),
            public: None,
            forwarded_prefix: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            words: None,
            extra_css: Vec::new(),
            framing: None,
            groups: None,
            streams: STREAMS_DEFAULT,
            open_metrics: false,
            enqueueable: Vec::new(),
        }
    }

    /// The answer to a request that starts a task, to be awaited in the program's own handler; see [`Respond`].
    pub fn respond<C: IntoCall>(&self, request: &Parts, call: C) -> Respond<C> {
        Respond::new(self.site.seen_by(request), request, call)
    }

    /// What a page of the program puts into its `<head>` for forms and links with `data-task`: style sheet, module and
    /// the module's words, as HTML. Those are the words for a request that says nothing of itself; see
    /// [`head_for`](Self::head_for).
    pub fn head(&self) -> String {
        self.head_for(&Request::new(()).into_parts().0)
    }

    /// The same for the page that this request asks for: in the words for its sender, and behind a proxy; see
    /// [`words`](WebBuilder::words) and [`forwarded_prefix`](WebBuilder::forwarded_prefix).
    ///
    /// ```
    /// # use litework::{Client, web::{Access, Web}};
    /// # let tasks = Client::in_memory().open()?;
    /// let gate = |_: &http::request::Parts| Access::viewer();
    /// let web = Web::builder(&tasks, gate).base("/tasks").forwarded_prefix(true).build()?;
    /// let page = http::Request::builder().header("x-forwarded-prefix", "/shop").body(())?;
    /// assert!(web.head_for(&page.into_parts().0).contains("/shop/tasks/assets/"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn head_for(&self, request: &Parts) -> String {
        let site = self.site.seen_by(request);
        // Writing to a text does not fail.
        let links = page::links(&site.public, &(site.words)(request));
        links.map(page::Markup::into_text).unwrap_or_default()
    }

    /// A hidden field that makes a double submit of a form one task, also without scripts: for
    /// [`Respond::once`].
    pub fn once_field(&self) -> String {
        let (one, two) = (fastrand::u64(..), fastrand::u64(..));
        format!("<input type=\"hidden\" name=\"_once\" value=\"{one:016x}{two:016x}\">")
    }

    /// The block of a task, as HTML, for a page of the program: as it stands on the task's own page, with its bar,
    /// results and buttons; the module of [`head`](Self::head) keeps it live. It is what the sender of this request may
    /// see. It does not lead to the page that is asked for, where the task's end would.
    ///
    /// ```
    /// # use http::{Response, request::Parts};
    /// # use litework::{TaskId, web::{Body, Web}};
    /// async fn exported(web: &Web, request: &Parts, id: TaskId) -> Result<String, Response<Body>> {
    ///     let block = web.block(request, id).await?;
    ///     Ok(format!("<head>{}</head><main><h1>Your export</h1>{block}</main>", web.head()))
    /// }
    /// ```
    ///
    /// # Errors
    /// The answer to be given instead of the page: 404 where there is no such task or it is not theirs, the way to the
    /// sign-in for those who are nobody yet, 503 where it cannot be read just now.
    pub async fn block(&self, request: &Parts, id: TaskId) -> Result<String, Response<Body>> {
        let site = &self.site.seen_by(request);
        let visit = Visit {
            parts: Arc::new(request.clone()),
            access: site.gate.access(request),
            words: (site.words)(request),
            body: Bytes::new(),
        };
        let block = person::block(site, &visit, &id.to_string(), None).await;
        block.map_err(|fault| {
            let answer = answer::fault(site, &visit, &fault, visit.wants_json());
            answer::finished(&request.method, answer)
        })
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let site = &self.site.seen_by(&parts);
        let words = (site.words)(&parts);
        let parts = Arc::new(parts);
        let method = parts.method.clone();
        let mut visit = Visit {
            parts: Arc::clone(&parts),
            access: Access::denied(),
            words,
            body: Bytes::new(),
        };
        let route = Route::find(&site.base, parts.uri.path());
        let is_json = Route::is_of_api(&site.base, parts.uri.path()) || visit.wants_json();
        let answered = dispatch(site, &mut visit, route.as_ref(), body).await;
        let mut answer =
            answered.unwrap_or_else(|fault| answer::fault(site, &visit, &fault, is_json));
        // It may hold arguments, so nobody on the way keeps it.
        if visit.access.is_operator() && matches!(route, Some(Route::Admin(_) | Route::Api(_))) {
            answer
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        answer::finished(&method, answer)
    }
}

/// What the request comes to; on the way it is found out who sends it.
async fn dispatch<B>(
    site: &Arc<Site>,
    visit: &mut Visit,
    route: Option<&Route<'_>>,
    body: B,
) -> Result<Answer, Fault>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let parts = Arc::clone(&visit.parts);
    site.guard.check_host(&parts)?;
    let route = route.ok_or_else(Fault::not_found)?;
    let allowed = route.allows();
    if allowed.is_empty() {
        return Err(Fault::not_found());
    }
    if parts.method == Method::OPTIONS {
        return Ok(options(allowed));
    }
    if !allowed.contains(&parts.method) {
        return Err(Fault::wrong_method(allowed));
    }
    match route {
        Route::Asset(path) => return asset(path),
        Route::Live => return machine::live(site),
        Route::Ready => return machine::ready(site).await,
        Route::Metrics if site.open_metrics => return machine::metrics(site).await,
        _ => {}
    }
    visit.access = site.gate.access(&parts);
    if visit.access.is_denied() {
        return Err(Fault::denied(&visit.access));
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        check_encoding(&parts)?;
        visit.body = read(body, BODY_TIME_MAX).await?;
        let token = visit.field("_token");
        site.guard.check_origin(&parts, &visit.access, token.as_deref())?;
    }
    match route {
        Route::Mine => person::mine(site, visit).await,
        Route::Task(id) => person::status(site, visit, id).await,
        Route::Fragment(id) => person::fragment(site, visit, id).await,
        Route::Act(id, action) => person::act(site, visit, id, *action).await,
        Route::Artifact(id, number) => person::artifact(site, visit, id, number).await,
        Route::Events => events::stream(site, visit).await,
        Route::Admin(path) => {
            // Their pages are in English.
            if visit.access.is_operator() {
                visit.words = Arc::default();
            }
            operator::answer(site, visit, path).await
        }
        Route::Metrics if visit.access.is_operator() => machine::metrics(site).await,
        Route::Api(path) => api::answer(site, visit, path).await,
        _ => Err(Fault::not_found()),
    }
}

fn options(allowed: &[Method]) -> Answer {
    let mut answer = Response::new(Body::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    answer::set(&mut answer, header::ALLOW, &names.join(", "));
    answer
}

fn asset(path: &str) -> Result<Answer, Fault> {
    let (media_type, text) = assets::find(path).ok_or_else(Fault::not_found)?;
    let mut answer = answer::with(StatusCode::OK, media_type, Bytes::from_static(text.as_bytes()));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(header::CACHE_CONTROL, forever);
    Ok(answer)
}

/// A body is read as it is sent: one that grows when it is read could grow beyond all bounds.
fn check_encoding(request: &Parts) -> Result<(), Fault> {
    let mut encodings = request.headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let detail = "The body is to be sent as it is, without Content-Encoding.";
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_encoding", detail))
}

/// The body of a request, unless it is too long, or has not come within this time.
async fn read<B>(body: B, time: Duration) -> Result<Bytes, Fault>
where
    B: http_body::Body + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    let (mut collected, mut delay) = (std::pin::pin!(collected), Delay::new(time));
    let read = std::future::poll_fn(|context| {
        if let Poll::Ready(read) = collected.as_mut().poll(context) {
            return Poll::Ready(Some(read));
        }
        Pin::new(&mut delay).poll(context).map(|()| None)
    });
    match read.await {
        Some(Ok(read)) => Ok(read.to_bytes()),
        Some(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = "The body has more than 65536 bytes.";
            Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
        }
        Some(Err(_)) => Err(Fault::bad_request("broken_body", "The body broke off.")),
        None => {
            let detail = format!("The body did not come within {} s.", time.as_secs());
            Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail))
        }
    }
}

impl<B> tower_service::Service<Request<B>> for Web
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let web = self.clone();
        Box::pin(async move { Ok(web.answer(request).await) })
    }
}

/// What is to be known before the pages can be served; [`Web::builder`] begins it.
pub struct WebBuilder {
    client: Client,
    gate: Box<dyn Gate>,
    base: String,
    public: Option<String>,
    forwarded_prefix: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
    words: Option<WordsFor>,
    extra_css: Vec<String>,
    framing: Option<Framing>,
    groups: Option<GroupsFor>,
    streams: usize,
    open_metrics: bool,
    enqueueable: Vec<String>,
}

impl fmt::Debug for WebBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebBuilder").field("base", &self.base).finish_non_exhaustive()
    }
}

impl WebBuilder {
    /// Where it is mounted, as in `/tasks` or `/a/b/tasks`; `/` unless said otherwise. Links on its pages begin with
    /// it. It does not matter whether a router strips it from the paths that the service sees.
    #[must_use]
    pub fn base(mut self, path: impl Into<String>) -> Self {
        self.base = path.into();
        self
    }

    /// What links begin with where that is not the base, because a proxy puts something before it.
    #[must_use]
    pub fn public_base(mut self, path: impl Into<String>) -> Self {
        self.public = Some(path.into());
        self
    }

    /// Believes the header `X-Forwarded-Prefix` of a proxy that takes something from the path, as it says: links on the
    /// pages begin with that and the base, instead of [`public_base`](Self::public_base). Only for programs that can
    /// be reached through such a proxy alone; a header that is no path is passed over.
    #[must_use]
    pub fn forwarded_prefix(mut self, believed: bool) -> Self {
        self.forwarded_prefix = believed;
        self
    }

    /// Names under which the server answers, without port; to all others it says 421. Any, unless said otherwise, which
    /// is a warning in the log. A program that serves only the machine it runs on should name `localhost`,
    /// `127.0.0.1` and `[::1]`.
    #[must_use]
    pub fn hosts<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.hosts = names.into_iter().map(Into::into).collect();
        self
    }

    /// Origins besides the server's own whose pages may change something, as in `https://shop.example`.
    #[must_use]
    pub fn trusted_origins<S: Into<String>>(
        mut self,
        origins: impl IntoIterator<Item = S>,
    ) -> Self {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// The words on the pages of whoever waits, for each request: by its language, say. The operator's pages are in
    /// English.
    #[must_use]
    pub fn words(mut self, words: impl Fn(&Parts) -> Arc<Words> + Send + Sync + 'static) -> Self {
        self.words = Some(Arc::new(words));
        self
    }

    /// A style sheet of the program that comes after ours: its address.
    #[must_use]
    pub fn extra_css(mut self, address: impl Into<String>) -> Self {
        self.extra_css.push(address.into());
        self
    }

    /// Puts each page into a frame of the program: it is given the parts and answers with the whole page.
    #[must_use]
    pub fn frame(mut self, frame: impl Fn(&Frame) -> String + Send + Sync + 'static) -> Self {
        self.framing = Some(Arc::new(frame));
        self
    }

    /// What is watched under names of the program's own, by `/events?group=NAME`: none where there is no such group, or
    /// this viewer may not listen to it. All members of a team, say, may watch what belongs to it:
    ///
    /// ```
    /// # use litework::{Client, Watch, web::{Access, Web}};
    /// # let tasks = Client::in_memory().open()?;
    /// # fn is_member(team: &str, access: &Access) -> bool { true }
    /// let web = Web::builder(&tasks, |_: &http::request::Parts| Access::owner("ada"))
    ///     .groups(|team, access| is_member(team, access).then(|| Watch::owner(team)))
    ///     .build()?;
    /// # let _ = web;
    /// # Ok::<(), litework::Error>(())
    /// ```
    #[must_use]
    pub fn groups(
        mut self,
        watch: impl Fn(&str, &Access) -> Option<Watch> + Send + Sync + 'static,
    ) -> Self {
        self.groups = Some(Arc::new(watch));
        self
    }

    /// So many streams of events and sockets at once, 256 unless said otherwise; whoever comes then is asked to poll, and
    /// so is one viewer with four streams or 16 sockets.
    #[must_use]
    pub fn streams(mut self, count: usize) -> Self {
        self.streams = count;
        self
    }

    /// Whether `/metrics` is told to everybody; else only to those who may see all tasks. It names queues and kinds, and
    /// nothing of tasks.
    #[must_use]
    pub fn open_metrics(mut self, open: bool) -> Self {
        self.open_metrics = open;
        self
    }

    /// Lets tasks of these kinds be enqueued by `POST /api/tasks`, by whoever may [`Action::Enqueue`]. None, unless
    /// said otherwise.
    ///
    /// ```
    /// # use litework::{Client, task, web::{Access, Action, Web}};
    /// # #[task]
    /// # fn export(customer: &str) {}
    /// # let tasks = Client::in_memory().register(export).open()?;
    /// let web = Web::builder(&tasks, |_: &http::request::Parts| {
    ///     Access::owner("ada").with(&[Action::Enqueue])
    /// })
    /// .enqueueable(["export"])
    /// .build()?;
    /// # let _ = web;
    /// # Ok::<(), litework::Error>(())
    /// ```
    #[must_use]
    pub fn enqueueable<S: Into<String>>(mut self, kinds: impl IntoIterator<Item = S>) -> Self {
        self.enqueueable = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// The service.
    ///
    /// # Errors
    /// `bad_base` for a path that is none; `unknown_kind` for one that is to be enqueued and is not registered.
    pub fn build(self) -> Result<Web, Error> {
        let base = checked_base(&self.base)?;
        let public = self.public.as_deref().map_or_else(|| Ok(base.clone()), checked_base)?;
        for kind in &self.enqueueable {
            self.client.hub.catalog.get(kind)?;
        }
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| Error::Storage {
            reason: format!("the system gives no random bytes: {error}"),
            source: None,
        })?;
        let plain: Arc<Words> = Arc::default();
        if self.hosts.is_empty() {
            tracing::warn!(
                target: "litework::web", base,
                "the pages answer under any name, so a page elsewhere may have a name of its own lead to them; say \
                 `hosts`"
            );
        }
        let shared = Shared {
            document: api::document(&public, &self.enqueueable),
            enqueueable: self.enqueueable,
            client: self.client,
            gate: self.gate,
            base,
            is_behind_proxy: self.forwarded_prefix,
            guard: Guard::new(self.hosts, self.origins, seed),
            office: Office::new(),
            words: self.words.unwrap_or_else(|| Arc::new(move |_| Arc::clone(&plain))),
            extra_css: self.extra_css,
            framing: self.framing,
            groups: self.groups,
            open_metrics: self.open_metrics,
            streams: Places::new(self.streams),
            bulks: bulks::Bulks::default(),
        };
        Ok(Web { site: Site::new(shared, public) })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_body_that_does_not_come_is_given_up() {
        let silent = Body::pieces(None, |_| Poll::Pending);
        let mut read = std::pin::pin!(read(silent, Duration::ZERO));
        let mut context = Context::from_waker(Waker::noop());
        let answer = loop {
            if let Poll::Ready(answer) = read.as_mut().poll(&mut context) {
                break answer;
            }
            std::thread::yield_now();
        };
        let fault = answer.expect_err("it is given up");
        assert_eq!((fault.status, fault.code), (StatusCode::REQUEST_TIMEOUT, "slow_body"));
    }
}
