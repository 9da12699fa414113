//! Watch: what has failed, grouped by what it failed with.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::doing::Doing;
use super::figures::Count;
use super::frame::{Leaf, Nav, Refresh, made, token};
use super::parts::{Button, Cli, Hidden, When};
use super::text;
use crate::shown::command;
pub(crate) use crate::shown::failures::Group;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;

/// Groups of one page at most.
const GROUPS_MAX: usize = 200;

#[derive(Debug, Serialize)]
struct View {
    items: Vec<Group>,
    looked_at: Count,
}

struct Shown<'a> {
    group: &'a Group,
    first: When,
    last: When,
    buttons: Vec<Button>,
    cli: Cli,
}

#[derive(Template)]
#[template(path = "operator/failures.html")]
struct FailuresPage<'a> {
    base: &'a str,
    looked_at: Count,
    groups: Vec<Shown<'a>>,
    more: usize,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let (failures, now) =
        site.with(|site| Ok((site.client.failures()?, site.client.now()))).await?;
    let items = failures.groups.iter().take(GROUPS_MAX);
    let items = items.map(|group| Group::of(&site.client, group)).collect();
    let view = View { items, looked_at: failures.looked_at.into() };
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &view);
    }
    let groups = view.items.iter().map(|group| Shown {
        first: When::new(group.first_at, now),
        last: When::new(group.last_at, now),
        buttons: buttons(site, visit, group),
        cli: Cli::new(&command::of_failures("retry", &group.fingerprint, site.client.path())),
        group,
    });
    let more = failures.groups.len().saturating_sub(GROUPS_MAX);
    let page = FailuresPage {
        base: &site.public,
        looked_at: view.looked_at,
        groups: groups.collect(),
        more,
    };
    let content = made(&page)?;
    Leaf {
        nav: Nav::Failures,
        title: "Failures",
        content,
        refresh: Some(&refresh),
        ..Leaf::default()
    }
    .answer(site, visit)
}

/// They lead to a page that asks.
fn buttons(site: &Site, visit: &Visit, group: &Group) -> Vec<Button> {
    let token = token(site, &visit.access);
    let may =
        [Doing::Retry, Doing::Delete].into_iter().filter(|doing| visit.access.may(doing.grant()));
    may.map(|doing| Button {
        path: format!("{}/admin/tasks/actions", site.public),
        token: token.clone(),
        hidden: vec![
            Hidden::new("do", doing.as_str()),
            Hidden::new("group", group.fingerprint.as_str()),
        ],
        word: if doing == Doing::Retry { "Retry all…" } else { "Delete all…" },
        of: format!("{} of {}", group.count, group.kind),
        class: if doing == Doing::Delete { "lw-danger" } else { "" },
    })
    .collect()
}
