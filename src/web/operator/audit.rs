//! Watch: who did what, and when.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::frame::{Leaf, Nav, Refresh, made};
use super::parts::When;
use super::text;
use crate::audit::AuditRecord;
use crate::record::Cursor;
use crate::time::Timestamp;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};
use crate::web::words;

/// Entries on one page.
const PAGE: usize = 50;
/// Ids of one entry that are shown.
const IDS: usize = 5;

#[derive(Debug, Serialize)]
struct EntryView {
    at: Timestamp,
    actor: String,
    action: String,
    what: Value,
    count: u64,
    note: Option<String>,
}

impl EntryView {
    fn of(entry: AuditRecord, veiled: &dyn Fn(&str) -> String) -> Self {
        let what = veiled(&Value::Object(entry.what).to_string());
        Self {
            at: entry.at,
            actor: entry.actor,
            action: entry.action,
            what: serde_json::from_str(&what).unwrap_or_default(),
            count: entry.count,
            note: entry.note,
        }
    }

    /// The deed, in words.
    fn words(&self) -> String {
        text::line(&self.action.replace('_', " "))
    }

    /// The tasks that are named.
    fn ids(&self) -> Vec<&str> {
        let ids = self.what.get("ids").and_then(Value::as_array);
        ids.into_iter().flatten().filter_map(Value::as_str).take(IDS).collect()
    }

    /// What else is said of it.
    fn rest(&self) -> String {
        let Some(entries) = self.what.as_object() else { return String::new() };
        let said = entries.iter().filter(|(name, _)| *name != "ids").map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Array(all) if all.iter().all(Value::is_string) => {
                    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
                }
                other => other.to_string(),
            };
            format!("{} {}", name.replace('_', " "), text::brief(&value, 200))
        });
        said.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Serialize)]
struct List {
    items: Vec<EntryView>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "operator/audit.html")]
struct AuditsPage<'a> {
    base: &'a str,
    entries: Vec<(&'a EntryView, When)>,
    next: Option<&'a str>,
    is_later: bool,
}

pub(crate) async fn page(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let refresh = Refresh::asked(visit)?;
    let from = visit.query("from");
    let cursor = from.as_deref().map(str::parse::<Cursor>).transpose().map_err(Fault::from)?;
    let (list, now) = site
        .with(move |site| {
            let page = site.client.audit(cursor, PAGE)?;
            let veiled = |json: &str| site.client.redacted_json("", json);
            let items = page.entries.into_iter().map(|entry| EntryView::of(entry, &veiled));
            let list =
                List { items: items.collect(), next: page.next.map(|next| next.to_string()) };
            Ok((list, site.client.now()))
        })
        .await?;
    if visit.wants_json() {
        return answer::json(StatusCode::OK, &list);
    }
    let content = made(&AuditsPage {
        base: &site.public,
        entries: list.items.iter().map(|entry| (entry, When::new(entry.at, now))).collect(),
        next: list.next.as_deref(),
        is_later: from.is_some(),
    })?;
    Leaf { nav: Nav::Audit, title: "Audit", content, refresh: Some(&refresh), ..Leaf::default() }
        .answer(site, visit)
}
