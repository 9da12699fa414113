//! Watch: changes as they happen, as a stream of server-sent events (see the HTML standard).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::answer::Answer;
use super::body::{Body, Broken};
use super::fault::Fault;
use super::feed::{Feed, News, RETRY_MS};
use super::site::{Site, Visit};

/// Streams of one viewer. A browser has six connections to a server that speaks HTTP/1.1, for all its pages together: some
/// must be left, or the next page would wait for ever. Whoever finds no place polls.
const STREAMS_EACH: usize = 4;

/// The stream that was asked for.
pub(crate) async fn stream(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let Some(feed) = Feed::open(site, visit, STREAMS_EACH).await? else {
        // A browser that is told so does not come back.
        let mut none = Response::new(Body::default());
        *none.status_mut() = StatusCode::NO_CONTENT;
        return Ok(none);
    };
    let mut answer = Response::new(Body::unfold(None, feed, piece));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(answer)
}

async fn piece(mut feed: Feed) -> Option<Result<(Bytes, Feed), Broken>> {
    match feed.next().await {
        Ok(news) => news.map(|news| Ok((text_of(&news).into(), feed))),
        Err(fault) => Some(Err(fault.detail.into())),
    }
}

fn text_of(news: &News) -> String {
    let (name, data) = news.told();
    let retry = match news {
        News::Hello(_) => format!("retry: {RETRY_MS}\n"),
        _ => String::new(),
    };
    format!("{retry}{}", event(name, &data))
}

/// One event; JSON of ours has no line break in it.
fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_with_line_breaks_stays_one_event() {
        let text = event("task", &json!({ "name": "a\n\ndata: b\r\n" }));
        assert_eq!(text, "event: task\ndata: {\"name\":\"a\\n\\ndata: b\\r\\n\"}\n\n");
    }
}
