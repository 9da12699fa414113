//! Watch: answers, and the headers that each of them carries.

use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;

use super::body::Body;
use super::fault::Fault;
use super::page::{FaultPage, Markup, Stand, task_block};
use super::site::{Site, Visit};

pub(crate) type Answer = Response<Body>;

/// Only what the program itself serves; the frames of other sites stay empty.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

/// What every answer says.
static ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What an answer says unless it has said something else.
static UNLESS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "private, no-cache"),
    (header::VARY, "Accept, Cookie, Authorization, HX-Request"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
];

/// Sets them; the answer to `HEAD` has no body but says how long it would be.
pub(crate) fn finished(method: &Method, mut answer: Answer) -> Answer {
    for (name, value) in &ALWAYS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in &UNLESS {
        let entry = answer.headers_mut().entry(name);
        entry.or_insert(HeaderValue::from_static(value));
    }
    if let Some(size) = answer.body().size().filter(|_| answer.status() != StatusCode::NO_CONTENT) {
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    if method == Method::HEAD {
        *answer.body_mut() = Body::default();
    }
    answer
}

pub(crate) fn with(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

pub(crate) fn html(text: String) -> Answer {
    with(StatusCode::OK, "text/html; charset=utf-8", text)
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Answer, Fault> {
    let text = serde_json::to_vec(value).map_err(|error| Fault::internal(&error))?;
    Ok(with(status, "application/json", Bytes::from(text)))
}

/// To another page, which is then read, whatever was done here.
pub(crate) fn see_other(path: &str) -> Answer {
    let mut answer = Response::new(Body::default());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    // A path that no header can hold was refused before; the start page is always there.
    let path = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(header::LOCATION, path);
    answer
}

pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// JSON with a tag of what it says; who has it already is told only that nothing has changed.
pub(crate) fn tagged(visit: &Visit, value: &impl Serialize) -> Result<Answer, Fault> {
    let text = serde_json::to_vec(value).map_err(|error| Fault::internal(&error))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&text);
    hasher.write(visit.access.mark().as_bytes());
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = visit.parts.headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known =
        known.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let is_known = known.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    });
    let mut answer = if is_known {
        let mut answer = Response::new(Body::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        with(StatusCode::OK, "application/json", Bytes::from(text))
    };
    set(&mut answer, header::ETAG, &tag);
    Ok(answer)
}

/// A fault in JSON, or as a page; a page whose viewer may sign in leads there.
pub(crate) fn fault(site: &Site, visit: &Visit, fault: &Fault, json: bool) -> Answer {
    let fault = &fault.in_words(&visit.words);
    let login = fault.more.login.as_deref().map(|login| login_path(visit, login));
    if let Some(login) = login.as_deref().filter(|_| !json) {
        // A script would follow, and htmx put the sign-in page in the place of a block; so it is told where to go.
        return match &fault.more.login {
            Some(login) if visit.parts.headers.contains_key("hx-request") => {
                let mut answer =
                    with(fault.status, "text/plain; charset=utf-8", fault.detail.clone());
                set(&mut answer, HeaderName::from_static("hx-redirect"), login);
                answer
            }
            _ => see_other(login),
        };
    }
    let mut answer = if json {
        let text = serde_json::to_vec(&fault.problem()).unwrap_or_default();
        with(fault.status, "application/problem+json", Bytes::from(text))
    } else {
        let page = fault_page(site, visit, fault).map_err(|error| Fault::internal(&error));
        let page = page.and_then(|body| site.page(visit, &fault.title, body, None));
        let text = page.unwrap_or_else(|_| fault.title.to_string());
        with(fault.status, "text/html; charset=utf-8", text)
    };
    if let Some(allow) = &fault.more.allow {
        set(&mut answer, header::ALLOW, allow);
    }
    if let Some(seconds) = fault.more.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = fault.more.challenge {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    answer
}

fn fault_page(site: &Site, visit: &Visit, fault: &Fault) -> Result<Markup, askama::Error> {
    let linked = Stand { linked: true, ..Stand::default() };
    let token = site.guard.token(&visit.access);
    let block = fault.more.task.as_ref();
    let block = block.map(|view| task_block(view, &visit.words, &token, linked)).transpose()?;
    Markup::of(&FaultPage {
        home: home(site, visit),
        title: &fault.title,
        detail: &fault.detail,
        block,
    })
}

/// Where somebody goes on who was led astray: to their tasks, or to all.
fn home<'a>(site: &Site, visit: &'a Visit) -> Option<(String, &'a str)> {
    match &visit.access {
        access if access.own().is_some() => {
            Some((format!("{}/", site.public), &visit.words.my_tasks))
        }
        access if access.is_operator() => Some((format!("{}/admin/", site.public), "Overview")),
        _ => None,
    }
}

/// Where to sign in, and what comes after that: what was asked for, unless it was a form.
fn login_path(visit: &Visit, login: &str) -> String {
    if !matches!(visit.parts.method, Method::GET | Method::HEAD) {
        return login.to_owned();
    }
    let asked = visit.parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let next: String = form_urlencoded::byte_serialize(asked.as_bytes()).collect();
    let glue = if login.contains('?') { '&' } else { '?' };
    format!("{login}{glue}next={next}")
}
