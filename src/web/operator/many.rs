//! Watch: what is done to many tasks: first a page that says how many they are and asks, then a page that says how far
//! it has come.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use askama::Template;
use futures_timer::Delay;
use http::{StatusCode, header};
use serde::Serialize;

use super::ask::{Ask, bad};
use super::doing::Doing;
use super::figures::{Count, amount};
use super::frame::{Leaf, Nav, Refresh, back, made, token};
use super::parts::{Cli, Hidden, When, took};
use super::tasks::Row;
use super::{check_may, text};
use crate::overview::Capped;
use crate::redact::Veiled;
use crate::time::Timestamp;
use crate::web::answer::{self, Answer};
use crate::web::bulks::{Progress, Standing, Wish};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;
use crate::web::words::grouped;

/// Whoever asks for it waits so long for its end.
const WAIT: Duration = Duration::from_millis(500);

/// What would be done, as JSON.
#[derive(Debug, Serialize)]
struct Would {
    action: &'static str,
    what: String,
    #[serde(flatten)]
    count: Count,
    first: Vec<Row>,
}

#[derive(Template)]
#[template(path = "operator/ask.html")]
struct AskPage<'a> {
    base: &'a str,
    doing: Doing,
    what: &'a str,
    count: Capped,
    amount: String,
    rows: Vec<(&'a Row, When)>,
    path: String,
    token: String,
    hidden: Vec<Hidden>,
    origin: String,
    cli: Cli,
}

/// Asks, or does what was asked.
pub(crate) async fn act(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let now = site.client.now();
    let ask = Ask::of(visit, now)?;
    check_may(visit, ask.doing.grant())?;
    let json = visit.wants_json();
    match (ask.confirmed, ask.expect) {
        (true, Some(expect)) => begin(site, visit, ask, expect).await,
        (true, None) if json => Err(bad("expect_count is needed: ask with dry_run first")),
        _ => preview(site, visit, &ask, now).await,
    }
}

async fn preview(
    site: &Arc<Site>,
    visit: &Visit,
    ask: &Ask,
    now: Timestamp,
) -> Result<Answer, Fault> {
    let looked = ask.clone();
    let (count, first) = site.with(move |site| looked.look(&site.client)).await?;
    let (what, first) =
        (ask.words(), first.iter().map(|task| Row::of(&site.client, task)).collect::<Vec<_>>());
    if visit.wants_json() {
        let would = Would { action: ask.doing.as_str(), what, count: count.into(), first };
        return answer::json(StatusCode::OK, &would);
    }
    let mut hidden = ask.hidden();
    // With a mark where there may be more, so that what is agreed to is what was shown.
    hidden.extend([Hidden::new("expect", count.to_string()), Hidden::new("confirmed", "yes")]);
    let amount = amount(count);
    let plural = if count == (Capped { count: 1, capped: false }) { "" } else { "s" };
    let title = format!("{} {amount} task{plural}?", ask.doing.word());
    let page = AskPage {
        base: &site.public,
        doing: ask.doing,
        what: &what,
        count,
        amount,
        rows: first.iter().map(|row| (row, row.when(now))).collect(),
        path: format!("{}/admin/tasks/actions", site.public),
        token: token(site, &visit.access),
        hidden,
        origin: format!("{}/admin/{}", site.public, ask.origin()),
        cli: Cli::new(&ask.command(&site.client)),
    };
    let content = made(&page)?;
    Leaf { nav: Nav::Tasks, title: &title, content, refresh: None, ..Leaf::default() }
        .answer(site, visit)
}

/// Begins it, and leads to the page that says how far it has come.
async fn begin(site: &Arc<Site>, visit: &Visit, ask: Ask, expect: Capped) -> Result<Answer, Fault> {
    let wish = Wish {
        action: ask.doing.as_str(),
        what: ask.words(),
        by: visit.access.actor().to_owned(),
        expected: expect,
    };
    tracing::info!(
        target: "litework::web", action = wish.action, what = %Veiled(&wish.what), count = %expect, by = wish.by,
        "begun by a person"
    );
    let client = site.acting(visit)?;
    let begun = site.bulks.begin(&client, wish, move |client, tell| ask.run(client, expect, tell));
    let (id, ended) = begun.ok_or_else(Fault::busy)?;
    let (mut ended, mut delay) = (pin!(ended), pin!(Delay::new(WAIT)));
    std::future::poll_fn(|context| {
        if ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        delay.as_mut().poll(context)
    })
    .await;
    let path = format!("{}/admin/bulk/{id}", site.public);
    if !visit.wants_json() {
        return Ok(answer::see_other(&path));
    }
    let progress = site.bulks.get(&id).ok_or_else(Fault::not_found)?;
    let status = if progress.is_running() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut answer = answer::json(status, &progress)?;
    answer::set(&mut answer, header::LOCATION, &path);
    Ok(answer)
}

#[derive(Template)]
#[template(path = "operator/bulk.html")]
struct BulkPage<'a> {
    base: &'a str,
    progress: &'a Progress,
    began: When,
    took: Option<String>,
    done: &'static str,
    path: String,
    /// Where whoever looks may end it.
    token: Option<String>,
}

fn done_word(action: &str) -> &'static str {
    Doing::from_word(action).map_or("done", Doing::done)
}

/// How far it has come.
pub(crate) fn progress(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Answer, Fault> {
    let progress = site.bulks.get(id).ok_or_else(|| {
        let detail = "This process knows nothing of it, or no more. What was done to each task stands in its record.";
        Fault::new(StatusCode::NOT_FOUND, "not_found", detail)
    })?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &progress);
    }
    let refresh = Refresh::unless_asked(visit, progress.is_running().then_some(1))?;
    let now = site.client.now();
    let action = Doing::from_word(progress.action).map(Doing::grant);
    let may = progress.is_running() && action.is_some_and(|action| visit.access.may(action));
    let page = BulkPage {
        base: &site.public,
        began: When::new(progress.began_at, now),
        took: took(Some(progress.began_at), progress.ended_at),
        done: done_word(progress.action),
        path: format!("{}/admin/bulk/{id}/stop", site.public),
        token: may.then(|| token(site, &visit.access)),
        progress: &progress,
    };
    let content = made(&page)?;
    let word = Doing::from_word(progress.action).map_or("", Doing::word);
    let title = match progress.standing {
        Standing::Running if progress.expected_capped => {
            format!("{word}: {} so far", grouped(progress.seen()))
        }
        Standing::Running => {
            let percent =
                (progress.seen() * 100).checked_div(progress.expected).unwrap_or(0).min(99);
            format!("{word}: {percent} %")
        }
        standing => format!("{word}: {}", standing.as_str()),
    };
    let refresh = Some(&refresh).filter(|_| progress.is_running());
    Leaf { nav: Nav::Tasks, title: &title, content, refresh, ..Leaf::default() }.answer(site, visit)
}

/// Ends it early.
pub(crate) fn stop(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Answer, Fault> {
    let progress = site.bulks.get(id).ok_or_else(Fault::not_found)?;
    let doing = Doing::from_word(progress.action).ok_or_else(Fault::not_found)?;
    check_may(visit, doing.grant())?;
    site.bulks.stop(id);
    tracing::info!(target: "litework::web", id, by = visit.access.actor(), "ended by a person");
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &site.bulks.get(id));
    }
    Ok(back(site, &format!("bulk/{id}"), "stopping", None))
}

#[derive(Template)]
#[template(path = "operator/bulks.html")]
struct BulksPage<'a> {
    base: &'a str,
    all: Vec<(&'a Progress, When, &'static str)>,
}

/// What is being done, and was of late.
pub(crate) fn list(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let all = site.bulks.all();
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &serde_json::json!({ "items": all }));
    }
    let refresh = Refresh::asked(visit)?;
    let now = site.client.now();
    let shown = all.iter().map(|one| (one, When::new(one.began_at, now), done_word(one.action)));
    let content = made(&BulksPage { base: &site.public, all: shown.collect() })?;
    Leaf {
        nav: Nav::Tasks,
        title: "Done to many",
        content,
        refresh: Some(&refresh),
        ..Leaf::default()
    }
    .answer(site, visit)
}
