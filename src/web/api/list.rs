//! Watch: tasks in pages, newest first, as filters choose them.

use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::filter::Filter;
use crate::filter::pairs::{NAMES, once, unknown};
use crate::web::answer::{self, Answer};
use crate::web::cursor;
use crate::web::detail::Item;
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};

/// Tasks of one page, unless said otherwise.
const SIZE_DEFAULT: usize = 25;
/// … and at most.
const SIZE_MAX: usize = 100;

/// Some of many, and what leads to the rest.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// What was asked for.
#[derive(Debug)]
struct Asked {
    filter: Filter,
    size: usize,
    from: Option<String>,
}

/// One page.
pub(super) async fn list(site: &Arc<Site>, visit: &Visit) -> Result<Answer, Fault> {
    let Asked { mut filter, size, from } = asked(visit.pairs()?)?;
    if !visit.access.is_operator() {
        if filter.owner.is_some() {
            let detail = "Only operators may ask for the tasks of others by their owner.";
            return Err(Fault::forbidden("not_allowed", detail));
        }
        let Some(owner) = visit.access.own() else {
            let detail = "Tasks are listed for their owners; this one is known by its address.";
            return Err(Fault::forbidden("not_allowed", detail));
        };
        filter = filter.owner(owner);
    }
    let from = from.map(|from| cursor::read(&from, &filter)).transpose()?;
    let me = visit.clone();
    let list = site.with(move |site| {
        let page = site.client.list(&filter, from, size)?;
        let mut items = Vec::with_capacity(page.tasks.len());
        for task in &page.tasks {
            match site.client.snapshot(task.id) {
                Ok(snapshot) => {
                    let view = site.view(&me, &snapshot)?;
                    let is_operator = me.access.is_operator();
                    items.push(Item::new(&site.client, &snapshot.task, view, is_operator));
                }
                // It has gone since it was listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(List { items, next: page.next.map(|next| cursor::text(next, &filter)) })
    });
    answer::tagged(visit, &list.await?)
}

fn asked(pairs: Vec<(String, String)>) -> Result<Asked, Error> {
    let (mut size, mut from, mut others) = (None, None, Vec::new());
    for (name, value) in pairs {
        match name.as_str() {
            "size" => once(&name, &mut size, checked_size(&value)?)?,
            "from" => once(&name, &mut from, value)?,
            _ if NAMES.contains(&name.as_str()) => others.push((name, value)),
            _ => return Err(unknown(&name, &[&NAMES[..], &["size", "from"]].concat())),
        }
    }
    let filter = Filter::from_pairs(others)?;
    Ok(Asked { filter, size: size.unwrap_or(SIZE_DEFAULT), from })
}

/// Plain digits: no sign, no blank.
fn checked_size(text: &str) -> Result<usize, Error> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let size = text.parse().ok().filter(|size| is_plain && (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| Error::invalid("out_of_range", "size", text, "1 to 100"))
}
