//! Watch: changes as they happen over a WebSocket, for programs that have sockets already.
//!
//! The server speaks, the browser listens: what it sends is not read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::json;

use super::access::Access;
use super::answer;
use super::fault::Fault;
use super::feed::{Feed, News};
use super::site::{Site, Visit};

/// What a browser may send at once: enough for a ping.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Sockets of one viewer; browsers count them apart from other connections.
const SOCKETS_EACH: usize = 16;

/// Opens the socket, for those whom the gate lets in, from pages of the program.
pub(crate) async fn upgrade(site: Arc<Site>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let site = site.seen_by(&parts);
    let words = (site.words)(&parts);
    let visit = Visit {
        parts: Arc::new(parts.clone()),
        access: Access::denied(),
        words,
        body: Bytes::new(),
    };
    let opened = opened(&site, visit.clone()).await;
    let feed = match opened {
        Ok(feed) => feed,
        Err(fault) => {
            let answer = answer::fault(&site, &visit, &fault, true);
            return answer::finished(&visit.parts.method, answer).map(Body::new);
        }
    };
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => {
            let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX);
            upgrade.on_upgrade(move |socket| speak(socket, feed))
        }
        Err(refused) => refused.into_response(),
    }
}

/// The feed that was asked for; none where all of it has ended.
async fn opened(site: &Arc<Site>, mut visit: Visit) -> Result<Option<Feed>, Fault> {
    site.guard.check_host(&visit.parts)?;
    visit.access = site.gate.access(&visit.parts);
    if visit.access.is_denied() {
        return Err(Fault::denied(&visit.access));
    }
    site.guard.check_socket(&visit.parts)?;
    Feed::open(site, &visit, SOCKETS_EACH).await
}

async fn speak(mut socket: WebSocket, feed: Option<Feed>) {
    if let Some(feed) = feed {
        tell(&mut socket, feed).await;
    } else {
        let _gone = socket.send(text_of("end", json!({}))).await;
    }
    let reason = "that is all".into();
    let _gone =
        socket.send(Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason }))).await;
}

/// Tells until there is no more, or nobody listens.
async fn tell(socket: &mut WebSocket, mut feed: Feed) {
    while let Ok(Some(news)) = feed.next().await {
        let message = match news.told() {
            _ if matches!(news, News::Beat(_)) => Message::Ping(Bytes::new()),
            (name, data) => text_of(name, data),
        };
        let is_last = matches!(news, News::End | News::Bye(_));
        if socket.send(message).await.is_err() || is_last {
            return;
        }
    }
}

/// `{"type": "task", "data": {…}}`
#[expect(clippy::needless_pass_by_value, reason = "it becomes a part of the text")]
fn text_of(name: &str, data: serde_json::Value) -> Message {
    Message::text(json!({ "type": name, "data": data }).to_string())
}
