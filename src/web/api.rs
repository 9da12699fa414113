//! Watch: tasks for programs, as JSON over HTTP; errors are `application/problem+json` throughout.
//!
//! Who sees and does what is the same as on the pages. Whatever a request names that is not known, it is refused with
//! what is allowed: nothing is passed over, and no number is moved into its range.

mod create;
mod document;
mod list;

use std::sync::Arc;

use http::{Method, Response, StatusCode};

use self::create::create;
pub(crate) use self::document::document;
use self::list::{List, Total, list};
use super::access::Action;
use super::answer::{self, Answer};
use super::body::Body;
use super::detail::{Detail, Item, Whole};
use super::endpoint::Endpoint;
use super::fault::Fault;
use super::person;
use super::site::{Site, Visit};
use crate::error::Error;

/// What is answered to a request below `/api/`.
pub(crate) async fn answer(site: &Arc<Site>, visit: &Visit, path: &str) -> Result<Answer, Fault> {
    let endpoint = Endpoint::find(path).ok_or_else(Fault::not_found)?;
    let method = &visit.parts.method;
    if endpoint == Endpoint::Tasks && method != Method::POST {
        return list(site, visit).await;
    }
    visit.takes_no_query()?;
    match endpoint {
        Endpoint::Tasks => create(site, visit).await,
        Endpoint::Task(id) if method == Method::DELETE => {
            person::do_to(site, visit, id, Action::Delete).await?;
            let mut none = Response::new(Body::default());
            *none.status_mut() = StatusCode::NO_CONTENT;
            Ok(none)
        }
        Endpoint::Task(id) => answer::tagged(visit, &look(site, visit, id).await?),
        Endpoint::Act(id, action) => {
            person::do_to(site, visit, id, action).await?;
            answer::json(StatusCode::OK, &look(site, visit, id).await?)
        }
        Endpoint::Artifacts(id) => {
            let items = look(site, visit, id).await?.item.view.shape.artifacts;
            let total = Some(Total { count: items.len() as u64, capped: false });
            answer::tagged(visit, &List { items, next: None, total, unreadable: Vec::new() })
        }
        Endpoint::Artifact(id, number) => person::artifact(site, visit, id, number).await,
        Endpoint::Document if site.is_prefixed => {
            answer::tagged(visit, &document(&site.public, &site.enqueueable))
        }
        Endpoint::Document => answer::tagged(visit, &site.document),
    }
}

/// A task with all that its viewer may know of it.
async fn look(site: &Arc<Site>, visit: &Visit, id: &str) -> Result<Whole, Fault> {
    let (me, id) = (visit.clone(), id.to_owned());
    site.with(move |site| whole(site, &me, &id)).await
}

fn whole(site: &Site, visit: &Visit, id: &str) -> Result<Whole, Error> {
    let snapshot = site.seen(&visit.access, id)?;
    let is_operator = visit.access.is_operator();
    let view = site.view(visit, &snapshot)?;
    let item = Item::new(&site.client, &snapshot.task, view, is_operator);
    let detail = is_operator.then(|| Detail::of(&site.client, &snapshot.task)).transpose()?;
    Ok(Whole { item, detail })
}
