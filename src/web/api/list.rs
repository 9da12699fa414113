//! Watch: tasks in pages, as filters choose them: what has ended last first where only that is meant, else what was
//! stored last.

use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::filter::Filter;
use crate::filter::pairs::{NAMES, once, unknown};
use crate::overview::{COUNT_MAX, Capped};
use crate::state::State;
use crate::web::answer::{self, Answer};
use crate::web::cursor;
use crate::web::detail::Item;
use crate::web::fault::Fault;
use crate::web::site::{Site, Visit};

/// Tasks of one page, unless said otherwise.
const SIZE_DEFAULT: usize = 25;

/// Some of many, and what leads to the rest.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
    /// None where it would take a look at all tasks to tell.
    pub(super) total: Option<Total>,
    /// Rows of the page that another program has written or damaged; for operators, and only where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
pub(super) struct Unreadable {
    row: i64,
    column: &'static str,
}

/// How many there are, counted up to 10,000.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Total {
    pub(super) count: u64,
    pub(super) capped: bool,
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
        let page = site.client.browse(&filter, from, size)?;
        let total = is_soon_counted(&filter).then(|| site.client.count_up_to(&filter, COUNT_MAX));
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
        let next = page.next.map(|next| cursor::text(next, &filter));
        let total = total.transpose()?.map(|Capped { count, capped, .. }| Total { count, capped });
        let bad = page.bad.iter().filter(|_| me.access.is_operator());
        let unreadable = bad.map(|bad| Unreadable { row: bad.row, column: bad.column }).collect();
        Ok(List { items, next, total, unreadable })
    });
    answer::tagged(visit, &list.await?)
}

/// Whether the tasks that are meant stand together in an index.
fn is_soon_counted(filter: &Filter) -> bool {
    if filter.owner.is_some() || filter.batch.is_some() || !filter.ids.is_empty() {
        return true;
    }
    let of_states = Filter { states: filter.states.clone(), ..Filter::new() };
    let by_state = match filter.states.as_slice() {
        [] => true,
        [state] => !matches!(state, State::Ready | State::Succeeded),
        _ => false,
    };
    by_state && *filter == of_states
}

fn asked(pairs: Vec<(String, String)>) -> Result<Asked, Error> {
    let (mut size, mut from, mut others) = (None, None, Vec::new());
    for (name, value) in pairs {
        match name.as_str() {
            "size" => once(&name, &mut size, cursor::size(&value)?)?,
            "from" => once(&name, &mut from, value)?,
            _ if NAMES.contains(&name.as_str()) => others.push((name, value)),
            _ => return Err(unknown(&name, &[&NAMES[..], &["size", "from"]].concat())),
        }
    }
    let filter = Filter::from_pairs(others)?;
    Ok(Asked { filter, size: size.unwrap_or(SIZE_DEFAULT), from })
}
