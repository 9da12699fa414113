//! Watch: the pages of whoever waits: one task, its block, its results, and the list of one's own.

use std::fmt::Write as _;
use std::io::Read as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::access::Action;
use super::answer::{self, Answer};
use super::body::Body;
use super::fault::Fault;
use super::page::{GonePage, Markup, MinePage, Stand, StatusPage, task_block};
use super::shape::View;
use super::site::{Site, Visit};
use super::words::{Say, around};
use crate::artifact::{Artifact, ArtifactKind, PART_BYTES};
use crate::error::Error;
use crate::filter::Filter;
use crate::record::Cursor;
use crate::snapshot::Snapshot;
use crate::watching::Watcher;

/// Tasks on one page of a list.
const PAGE: usize = 25;
/// Whoever asks to be told of a change waits so long at most.
const WAIT_MAX: Duration = Duration::from_secs(25);
/// Seconds between two times that htmx asks for a block, at most.
const EVERY_MAX: u32 = 3_600;

/// Some of many, and what leads to the rest.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// One task, as JSON or as a page.
pub(crate) async fn status(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Answer, Fault> {
    let (mut snapshot, mut view) = look(site, visit, id).await?;
    if let Some(wait) = visit.query("wait") {
        let wait = waiting_time(&wait)?;
        let known = visit.query("rev");
        if !view.ended && known.is_none_or(|known| known == view.rev) {
            (snapshot, view) = changed(site, visit, snapshot, view, wait).await?;
        }
    }
    if visit.wants_json() {
        return answer::tagged(visit, &view);
    }
    if let Some(target) = view.redirect.as_deref().filter(|_| visit.query("follow").is_some()) {
        return Ok(answer::see_other(target));
    }
    page(site, visit, &snapshot, &view)
}

/// The block alone, for those who put it into a page of theirs; `?every=2` has htmx ask for it anew until it has ended.
pub(crate) async fn fragment(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Answer, Fault> {
    let every = visit.query("every").map(|text| seconds(&text)).transpose()?;
    match block(site, visit, id, every).await {
        // It keeps what it shows when it is told 404, and asks on and on: the last block says it instead.
        Err(fault) if every.is_some() && fault.status == StatusCode::NOT_FOUND => {
            let gone = Markup::of(&GonePage { words: &visit.words });
            gone.map(|gone| answer::html(gone.into_text())).map_err(|error| Fault::internal(&error))
        }
        block => block.map(answer::html),
    }
}

fn seconds(text: &str) -> Result<u32, Fault> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| plain && (1..=EVERY_MAX).contains(seconds));
    seconds.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Fault::bad_request("bad_every", format!("every is {shown:?}; 1 to 3600 seconds"))
    })
}

/// The same as text, for a page of the program.
pub(crate) async fn block(
    site: &Arc<Site>,
    visit: &Visit,
    id: &str,
    every: Option<u32>,
) -> Result<String, Fault> {
    if visit.access.is_denied() {
        return Err(Fault::denied(&visit.access));
    }
    let (_, mut view) = look(site, visit, id).await?;
    // No link to the page that it stands on.
    let here = visit.parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    view.redirect = view.redirect.filter(|target| Some(target.as_str()) != here);
    let token = site.guard.token(&visit.access);
    // It may stand on any page, so its name leads to its own.
    let stand = Stand { linked: true, every, ..Stand::default() };
    let block = task_block(&view, &visit.words, &token, stand);
    block.map(Markup::into_text).map_err(|error| Fault::internal(&error))
}

/// The list of one's own tasks, newest first.
pub(crate) async fn mine(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let Some(owner) = visit.access.own().map(str::to_owned) else {
        if visit.access.is_operator() {
            return Ok(answer::see_other(&format!("{}/admin/", site.public)));
        }
        return Err(Fault::not_found());
    };
    let from = visit.query("from");
    let cursor = from.as_deref().map(str::parse::<Cursor>).transpose().map_err(Fault::from)?;
    let me = visit.clone();
    let (views, next) = site
        .with(move |site| {
            let page =
                site.client.list(&Filter::new().owner(owner).dismissed(false), cursor, PAGE)?;
            let views = page.tasks.iter().map(|task| match site.client.snapshot(task.id) {
                Ok(snapshot) => site.view(&me, &snapshot).map(Some),
                // It has gone since it was listed.
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            });
            let views: Result<Vec<Option<View>>, Error> = views.collect();
            Ok((views?, page.next.map(|next| next.to_string())))
        })
        .await?;
    let items: Vec<View> = views.into_iter().flatten().collect();
    if visit.wants_json() {
        return answer::tagged(visit, &List { items, next });
    }
    let token = site.guard.token(&visit.access);
    let (still, from) = (visit.query("live").as_deref() == Some("0"), from.as_deref());
    let can_pause = still || items.iter().any(|view| !view.ended);
    let stand = Stand { linked: true, still, ..Stand::default() };
    let blocks = items.iter().map(|view| task_block(view, &visit.words, &token, stand));
    let blocks: Result<Vec<Markup>, askama::Error> = blocks.collect();
    let made = blocks.and_then(|blocks| {
        Markup::of(&MinePage {
            words: &visit.words,
            blocks,
            still,
            toggle: can_pause.then(|| list_path(&site.public, !still, from)),
            newest: from.map(|_| list_path(&site.public, still, None)),
            older: next.map(|next| list_path(&site.public, still, Some(&next))),
        })
    });
    let body = made.map_err(|error| Fault::internal(&error))?;
    site.page(visit, &visit.words.my_tasks, body, None).map(answer::html)
}

/// Where the list goes on, and whether it stands still there.
fn list_path(base: &str, still: bool, from: Option<&str>) -> String {
    let live = still.then(|| "live=0".to_owned());
    let query = live.into_iter().chain(from.map(|from| format!("from={from}")));
    match query.collect::<Vec<_>>().join("&") {
        query if query.is_empty() => format!("{base}/"),
        query => format!("{base}/?{query}"),
    }
}

/// Cancel, retry or dismiss: the form is answered by the page, a program by the task as it is then.
pub(crate) async fn act(
    site: &Arc<Site>,
    visit: &Visit,
    id: &str,
    action: Action,
) -> Result<Answer, Fault> {
    let view = do_to(site, visit, id, action).await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &view);
    }
    let back =
        if action == Action::Dismiss { format!("{}/", site.public) } else { view.links.page };
    Ok(answer::see_other(&back))
}

/// Does it, if the viewer may see the task and do that to it.
pub(crate) async fn do_to(
    site: &Arc<Site>,
    visit: &Visit,
    id: &str,
    action: Action,
) -> Result<View, Fault> {
    let (me, asked) = (visit.clone(), id.to_owned());
    let may = visit.access.may(action);
    let done = site.with(move |site| {
        let task = site.seen(&me.access, &asked)?.task;
        if !may {
            return Ok(None);
        }
        let client = site.client.acting_as(&me.access.signature())?;
        match action {
            Action::Cancel => client.cancel(task.id).map(drop)?,
            Action::Retry => client.retry(task.id)?,
            // A list is its owner's.
            Action::Dismiss if me.access.own().is_none() => return Ok(None),
            Action::Dismiss => client.dismiss(task.id)?,
            Action::Delete => client.delete(task.id)?,
            // No route leads here.
            _ => return Ok(None),
        }
        tracing::info!(
            target: "litework::web", id = %task.id, action = action.as_str(), by = me.access.actor(),
            "done by a person"
        );
        if action == Action::Delete {
            let gone = Snapshot::new(task, None, Vec::new());
            return site.view(&me, &gone).map(Some);
        }
        let snapshot = site.client.snapshot(task.id)?;
        site.view(&me, &snapshot).map(Some)
    });
    match done.await {
        Ok(done) => {
            done.ok_or_else(|| Fault::said(StatusCode::FORBIDDEN, "not_allowed", Say::NotAllowed))
        }
        Err(fault) => Err(as_it_stands(site, visit, id, fault).await),
    }
}

/// Who asks for what a task does not admit as it stands is shown how it stands: his page may be an old one.
pub(crate) async fn as_it_stands(site: &Arc<Site>, visit: &Visit, id: &str, fault: Fault) -> Fault {
    if fault.status != StatusCode::CONFLICT {
        return fault;
    }
    match look(site, visit, id).await {
        Ok((_, view)) => fault.of_task(view),
        // It has gone meanwhile, or cannot be read: then there is no more to say.
        Err(_) => fault,
    }
}

/// What a task has left: text and JSON are shown, links followed, files downloaded.
pub(crate) async fn artifact(
    site: &Arc<Site>,
    visit: &Visit,
    id: &str,
    number: &str,
) -> Result<Answer, Fault> {
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = number.parse().ok().filter(|_| plain).ok_or_else(Fault::not_found)?;
    let (me, id) = (visit.clone(), id.to_owned());
    let (reader, link) = site
        .with(move |site| {
            let task = site.seen(&me.access, &id)?.task;
            let mut reader = site.client.open_artifact(task.id, number)?;
            let mut link = None;
            if reader.artifact().kind == ArtifactKind::Url {
                let mut text = String::new();
                reader.read_to_string(&mut text).map_err(unreadable)?;
                link = Some(text);
            }
            Ok((reader, link))
        })
        .await?;
    if let Some(link) = link {
        return followed(&link);
    }
    let artifact = reader.artifact().clone();
    let body =
        Body::unfold(Some(artifact.size), (Arc::clone(site), reader), |(site, mut reader)| async {
            let read = site.with(move |_| {
                let mut piece = vec![0; PART_BYTES];
                let filled = reader.read(&mut piece).map_err(unreadable)?;
                piece.truncate(filled);
                Ok((Bytes::from(piece), reader))
            });
            match read.await {
                Ok((piece, _)) if piece.is_empty() => None,
                Ok((piece, reader)) => Some(Ok((piece, (site, reader)))),
                Err(fault) => Some(Err(fault.detail.into())),
            }
        });
    Ok(served(&artifact, Response::new(body)))
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unreadable(error: std::io::Error) -> Error {
    Error::Storage { reason: format!("an artifact could not be read: {error}"), source: None }
}

/// A link leads out only to where browsers open pages.
fn followed(link: &str) -> Result<Answer, Fault> {
    let lower = link.to_ascii_lowercase();
    let local = link.starts_with('/') && !link.starts_with("//") && !link.contains('\\');
    if local || lower.starts_with("https://") || lower.starts_with("http://") {
        return Ok(answer::see_other(link));
    }
    Err(Fault::not_found())
}

/// The headers of an artifact: whatever it is made of, a browser runs nothing of it.
fn served(artifact: &Artifact, mut response: Answer) -> Answer {
    let (media_type, is_file) = match artifact.kind {
        ArtifactKind::Text => ("text/plain; charset=utf-8", false),
        ArtifactKind::Json => ("application/json", false),
        _ => (artifact.media_type.as_str(), true),
    };
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_str(media_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    if is_file {
        let value = HeaderValue::from_str(&disposition(&artifact.name));
        headers.insert(
            header::CONTENT_DISPOSITION,
            value.unwrap_or(HeaderValue::from_static("attachment")),
        );
    }
    response
}

/// `attachment` with a plain name for old programs and the whole one (RFC 6266, RFC 8187).
fn disposition(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' })
        .collect();
    let plain = if plain.trim_matches(['.', ' ']).is_empty() { "file" } else { plain.as_str() };
    let whole: String = last.bytes().fold(String::new(), |mut whole, byte| {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            whole.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _never = write!(whole, "%{byte:02X}");
        }
        whole
    });
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}")
}

/// The task as it is now, and as this viewer sees it.
pub(crate) async fn look(
    site: &Arc<Site>,
    visit: &Visit,
    id: &str,
) -> Result<(Snapshot, View), Fault> {
    let (me, id) = (visit.clone(), id.to_owned());
    site.with(move |site| {
        let snapshot = site.seen(&me.access, &id)?;
        let view = site.view(&me, &snapshot)?;
        Ok((snapshot, view))
    })
    .await
}

/// Waits until it is another, at most this long.
async fn changed(
    site: &Arc<Site>,
    visit: &Visit,
    snapshot: Snapshot,
    view: View,
    wait: Duration,
) -> Result<(Snapshot, View), Fault> {
    let watcher = site.client.watch(snapshot.task.id).map_err(Fault::from)?;
    let known = snapshot.revision();
    let Some(other) = next_other(&watcher, known, wait).await else { return Ok((snapshot, view)) };
    let me = visit.clone();
    site.with(move |site| site.view(&me, &other).map(|view| (other, view))).await
}

/// The first snapshot of another revision; none when there is none in time.
pub(crate) async fn next_other(watcher: &Watcher, known: u64, wait: Duration) -> Option<Snapshot> {
    let mut delay = pin!(Delay::new(wait));
    std::future::poll_fn(|context| {
        loop {
            match watcher.poll_recv(context) {
                Poll::Ready(Some(snapshot)) if snapshot.revision() == known => {}
                Poll::Ready(snapshot) => return Poll::Ready(snapshot),
                Poll::Pending => break,
            }
        }
        delay.as_mut().poll(context).map(|()| None)
    })
    .await
}

fn waiting_time(text: &str) -> Result<Duration, Fault> {
    let ms = text.parse::<u64>().ok().map(Duration::from_millis).filter(|wait| *wait <= WAIT_MAX);
    ms.ok_or_else(|| {
        Fault::bad_request("bad_wait", format!("wait is {text:?}; 0 to 25000 milliseconds"))
    })
}

/// The page of one task.
fn page(
    site: &Arc<Site>,
    visit: &Visit,
    snapshot: &Snapshot,
    view: &View,
) -> Result<Answer, Fault> {
    let words = &*visit.words;
    let token = site.guard.token(&visit.access);
    let refreshes = !view.ended && visit.query("refresh").as_deref() != Some("off");
    let refresh = refreshes.then(|| refresh_after(snapshot, site));
    let made = task_block(view, words, &token, Stand::default()).and_then(|block| {
        Markup::of(&StatusPage {
            words,
            base: &site.public,
            page: &view.links.page,
            name: &view.name,
            can_list: visit.access.own().is_some(),
            block,
            asked: around(&words.asked_at),
            enqueued_at: view.enqueued_at,
            ended: around(&words.ended_at),
            finished_at: view.finished_at,
            refreshes,
        })
    });
    let body = made.map_err(|error| Fault::internal(&error))?;
    let percent = view.progress.as_ref().and_then(|bar| bar.percent).filter(|_| !view.ended);
    let title = match percent {
        Some(percent) => format!("({percent} %) {}", view.name),
        None => format!("{}: {}", words.state(view.state), view.name),
    };
    site.page(visit, &title, body, refresh).map(answer::html)
}

/// How soon a page without scripts looks again: in seconds, longer the older the task.
fn refresh_after(snapshot: &Snapshot, site: &Site) -> u32 {
    match snapshot.task.enqueued_at.until(site.client.now()).as_secs() {
        0..20 => 2,
        20..120 => 5,
        120..600 => 10,
        _ => 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_name_that_no_header_and_no_disk_trips_over() {
        let plain = |name: &str| disposition(name);
        assert_eq!(
            plain("orders.csv"),
            "attachment; filename=\"orders.csv\"; filename*=UTF-8''orders.csv"
        );
        assert_eq!(
            plain("../../etc/passwd"),
            "attachment; filename=\"passwd\"; filename*=UTF-8''passwd"
        );
        assert_eq!(
            plain("a\r\nset-cookie: x\""),
            "attachment; filename=\"a__set-cookie_ x_\"; filename*=UTF-8''a%0D%0Aset-cookie%3A%20x%22"
        );
        assert_eq!(plain(".."), "attachment; filename=\"file\"; filename*=UTF-8''..");
        assert!(HeaderValue::from_str(&plain("Übersicht ➜ 1.csv")).is_ok());
    }

    #[test]
    fn a_link_leads_only_to_pages() {
        for good in ["/orders/7", "https://example.com/", "HTTP://example.com"] {
            assert!(followed(good).is_ok(), "{good}");
        }
        for bad in
            ["javascript:alert(1)", "//evil.example", "data:text/html,x", "/\\evil.example", ""]
        {
            assert!(followed(bad).is_err(), "{bad}");
        }
    }
}
