//! Watch: what machines ask: numbers for Prometheus, and whether the program works.
//!
//! Whether it works is told to everybody, and nothing else with it; numbers name queues and kinds, so they are
//! for those who may see all tasks, unless the program opens them.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::answer::{self, Answer};
use super::fault::Fault;
use super::site::Site;

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn metrics(site: &Arc<Site>) -> Result<Answer, Fault> {
    let text = site.with(|site| site.client.metrics()).await?;
    let mut answer = answer::with(StatusCode::OK, TEXT, text);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// Whether the client is open.
pub(crate) fn live(site: &Site) -> Result<Answer, Fault> {
    health(site.client.check_open().is_ok())
}

/// Whether it can serve: its file can be read, and its pool, if it has one, lives. Why not, is in the log.
pub(crate) async fn ready(site: &Arc<Site>) -> Result<Answer, Fault> {
    let health = site.with(|site| Ok(site.client.health())).await?;
    if let Some(reason) = &health.reason {
        tracing::warn!(target: "litework::web", reason, "not ready");
    }
    self::health(health.ready)
}

fn health(works: bool) -> Result<Answer, Fault> {
    let (status, word) = if works {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let mut answer = answer::json(status, &json!({ "status": word }))?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
