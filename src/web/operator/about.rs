//! Watch: which litework this is, on which file, with which settings and tasks; and the removal of what is old.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;

use super::frame::{Leaf, Nav, back, made, token};
use super::parts::{Cli, word};
use super::{check_may, text};
use crate::client::Client;
use crate::error::Error;
use crate::retention::{Prune, Pruned};
use crate::shown::command;
use crate::state::State;
use crate::web::access::Action;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;
use crate::web::words::grouped;

#[derive(Debug, Serialize)]
struct KindView {
    name: String,
    aliases: Vec<String>,
    queue: String,
    description: Option<String>,
}

#[derive(Debug, Serialize)]
struct View {
    version: &'static str,
    file: Option<String>,
    file_bytes: Option<u64>,
    wal_bytes: Option<u64>,
    mode: &'static str,
    pid: u32,
    capabilities: Vec<&'static str>,
    kinds: Vec<KindView>,
}

fn read(client: &Client) -> Result<View, Error> {
    let (overview, capabilities) = (client.overview()?, client.capabilities());
    let kinds = client.kinds().into_iter().map(|kind| KindView {
        name: kind.name,
        aliases: kind.aliases,
        queue: kind.queue,
        description: kind.description,
    });
    let has = crate::capability::Capability::ALL.iter().filter(|one| capabilities.has(**one));
    Ok(View {
        version: env!("CARGO_PKG_VERSION"),
        file: client.path().map(|path| path.to_string_lossy().into_owned()),
        file_bytes: overview.file_bytes,
        wal_bytes: overview.wal_bytes,
        mode: client.mode().as_str(),
        pid: std::process::id(),
        capabilities: has.map(|one| one.as_str()).collect(),
        kinds: kinds.collect(),
    })
}

#[derive(Template)]
#[template(path = "operator/about.html")]
struct AboutPage<'a> {
    base: &'a str,
    view: &'a View,
    file: String,
    /// Where what is old may be removed.
    token: Option<String>,
    cli: Cli,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let view = site.with(|site| read(&site.client)).await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &view);
    }
    let file = view.file.as_deref().map_or_else(|| "none, it is in memory".to_owned(), text::line);
    let content = made(&AboutPage {
        base: &site.public,
        file,
        token: visit.access.may(Action::Prune).then(|| token(site, &visit.access)),
        cli: Cli::new(&command::of_prune(site.client.path())),
        view: &view,
    })?;
    Leaf { nav: Nav::About, title: "About", content, ..Leaf::default() }.answer(site, visit)
}

#[derive(Template)]
#[template(path = "operator/prune.html")]
struct PrunePage {
    total: u64,
    of: Vec<(&'static str, u64)>,
    path: String,
    token: String,
    page: String,
}

/// Says how much would be removed and asks, or removes it.
pub(crate) async fn prune(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    check_may(visit, Action::Prune)?;
    let confirmed = visit.field("confirmed").as_deref() == Some("yes");
    let client = site.acting(visit)?;
    let by = visit.access.actor().to_owned();
    let pruned: Pruned = site
        .with(move |_| {
            let prune = if confirmed { Prune::new() } else { Prune::new().dry_run() };
            let pruned = client.prune(prune)?;
            if confirmed {
                tracing::info!(target: "litework::web", count = pruned.total(), by, "pruned by a person");
            }
            Ok(pruned)
        })
        .await?;
    if visit.wants_json() {
        let value = serde_json::json!({ "count": pruned.total(), "dry_run": !confirmed });
        return answer::json(StatusCode::OK, &value);
    }
    if confirmed {
        return Ok(back(site, "about", "pruned", Some(pruned.total())));
    }
    let of = State::ALL.iter().map(|state| (word(*state), pruned.of(*state)));
    let content = made(&PrunePage {
        total: pruned.total(),
        of: of.filter(|(_, count)| *count > 0).collect(),
        path: format!("{}/admin/about/prune", site.public),
        token: token(site, &visit.access),
        page: format!("{}/admin/about", site.public),
    })?;
    let title = format!("Remove {} tasks?", grouped(pruned.total()));
    Leaf { nav: Nav::About, title: &title, content, ..Leaf::default() }.answer(site, visit)
}
