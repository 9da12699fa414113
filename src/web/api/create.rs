//! Enqueue: a task of a kind that the program has named for this, from JSON.

use std::sync::Arc;

use http::{StatusCode, header};
use serde::de::Unexpected;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::whole;
use crate::error::Error;
use crate::filter::pairs::moment;
use crate::json;
use crate::options::Options;
use crate::task::{CallOptions, Due};
use crate::web::access::{Access, Action};
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::guard::{is_json, plain_digest};
use crate::web::site::{Site, Visit};

/// Bytes of a key at most, all of them printable ASCII, as in a header.
const KEY_MAX: usize = 200;

/// What is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    kind: String,
    arguments: Option<Box<RawValue>>,
    queue: Option<String>,
    #[serde(default, deserialize_with = "whole_number")]
    priority: Option<i32>,
    run_at: Option<String>,
    key: Option<String>,
    owner: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// JSON has numbers, and no integers: `7.0` is 7.
fn whole_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(from)? else { return Ok(None) };
    let whole = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and in the range")]
    let read = (whole && number.fract() == 0.0).then_some(number as i32);
    read.map(Some).ok_or_else(|| {
        serde::de::Error::invalid_value(Unexpected::Float(number), &"a whole number, -100 to 100")
    })
}

/// Stores one task; the answer is the task, or the one that had its key already.
pub(super) async fn create(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    if !visit.access.may(Action::Enqueue) {
        return Err(Fault::forbidden("not_allowed", "You may not enqueue tasks."));
    }
    if site.enqueueable.is_empty() {
        let detail = "This program lets no kind of task be enqueued here.";
        return Err(Fault::forbidden("not_allowed", detail));
    }
    if !is_json(&visit.parts.headers) {
        let detail = "The body is to be JSON, with Content-Type: application/json.";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_media_type", detail));
    }
    let body = visit.body.clone();
    let text = json::check_object(&body, site.client.hub.limits).map_err(Error::from)?;
    let new: New = json::decode(text).map_err(Error::from)?;
    if new.owner.is_some() && !visit.access.is_operator() {
        return Err(Fault::forbidden("not_allowed", "Only operators may enqueue for others."));
    }
    if !site.enqueueable.contains(&new.kind) {
        let allowed = format!("one of {}", site.enqueueable.join(", "));
        return Err(Error::invalid("unknown_kind", "kind", new.kind, allowed).into());
    }
    let arguments = new.arguments.as_deref().map_or("{}", RawValue::get).to_owned();
    let (kind, with) = (new.kind.clone(), options(&visit.access, new)?);
    let me = visit.clone();
    let made = site.with(move |site| {
        let client = site.client.acting_as(&me.access.signature())?;
        let stored = client.store_named(&kind, &with, &arguments)?;
        tracing::info!(
            target: "litework::web", id = %stored.id, kind, existing = stored.existing,
            by = ?me.access.actor(), "enqueued by a person"
        );
        match whole(site, &me, &stored.id.to_string()) {
            Err(error) if error.is_not_found() => Ok(None),
            made => made.map(|made| Some((made, stored.existing))),
        }
    });
    let (made, is_existing) = made.await?.ok_or_else(|| {
        let detail = "The same is being done for somebody else already.";
        Fault::new(StatusCode::CONFLICT, "already_running", detail)
    })?;
    let status = if is_existing { StatusCode::OK } else { StatusCode::CREATED };
    let mut answer = answer::json(status, &made)?;
    let path = format!("{}/api/tasks/{}", site.public, made.item.view.id);
    answer::set(&mut answer, header::LOCATION, &path);
    Ok(answer)
}

/// What the call says besides its arguments. Whoever is no operator has keys of their own.
fn options(access: &Access, new: New) -> Result<CallOptions, Error> {
    let mut options = Options::new();
    if let Some(queue) = new.queue {
        options = options.queue(queue);
    }
    if let Some(priority) = new.priority {
        options = options.priority(priority);
    }
    let key = match new.key {
        None => format!("web-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        Some(key) => {
            check_key(&key)?;
            if access.is_operator() {
                key
            } else {
                let owner = access.own().unwrap_or_default();
                format!("web-{:032x}", plain_digest(&["key", owner, &new.kind, &key]))
            }
        }
    };
    let due = new.run_at.map(|at| moment("run_at", &at)).transpose()?;
    Ok(CallOptions {
        options,
        due: due.map_or(Due::Now, |at| Due::At(at.as_millis())),
        key: Some(key),
        owner: access.own().map(str::to_owned).or(new.owner),
        tags: new.tags.into_iter().map(Into::into).collect(),
        ..CallOptions::default()
    })
}

fn check_key(key: &str) -> Result<(), Error> {
    let is_plain = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain && (1..=KEY_MAX).contains(&key.len()) {
        return Ok(());
    }
    let allowed = "1 to 200 printable characters of ASCII";
    Err(Error::invalid("bad_key", "key", key, allowed))
}
