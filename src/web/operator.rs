//! Watch: the operator's pages: what waits, what fails, who works; and what is done about it.
//!
//! Each page is HTML that works without scripts, and the same as JSON by `Accept`. What changes something is a form
//! of the program (`POST`), needs the grant for it, and leads back to a page that says what was done.

mod place;
mod text;
mod parts;
mod frame;
mod asked;
mod chart;
mod figures;
mod doing;
mod ask;
mod failures;
mod overview;
mod tasks;
mod many;
mod masked;
mod seen;
mod task;
mod deeds;
mod queues;
mod workers;
mod schedules;
mod form;
mod planned;
mod adding;
mod audit;
mod about;

use std::sync::Arc;

use http::Method;

use self::place::Place;
use super::access::Action;
use super::answer::Answer;
use super::fault::Fault;
use super::site::{Site, Visit};

/// Answers what is asked below `/admin/`; to all but operators it is not there.
pub(crate) async fn answer(site: &Arc<Site>, visit: &Visit, path: &str) -> Result<Answer, Fault> {
    if !visit.access.is_operator() {
        return Err(Fault::not_found());
    }
    let place = Place::find(path).ok_or_else(Fault::not_found)?;
    let allowed = place.allows();
    if !allowed.contains(&visit.parts.method) {
        return Err(Fault::wrong_method(allowed));
    }
    if visit.parts.method == Method::POST {
        act(site, visit, place).await
    } else {
        show(site, visit, place).await
    }
}

async fn show(site: &Arc<Site>, visit: &Visit, place: Place<'_>) -> Result<Answer, Fault> {
    match place {
        Place::Overview => overview::page(site, visit).await,
        Place::Tasks => tasks::page(site, visit).await,
        Place::Bulks => many::list(site, visit),
        Place::Bulk(id) => many::progress(site, visit, id),
        Place::Task(id) => task::page(site, visit, id).await,
        Place::Failures => failures::page(site, visit).await,
        Place::Queues => queues::page(site, visit).await,
        Place::Workers => workers::page(site, visit).await,
        Place::Schedules => schedules::page(site, visit).await,
        Place::NewSchedule => adding::page(site, visit),
        Place::Schedule => planned::page(site, visit).await,
        Place::Audit => audit::page(site, visit).await,
        Place::About => about::page(site, visit).await,
        _ => Err(Fault::not_found()),
    }
}

async fn act(site: &Arc<Site>, visit: &Visit, place: Place<'_>) -> Result<Answer, Fault> {
    match place {
        Place::Actions => many::act(site, visit).await,
        Place::StopBulk(id) => many::stop(site, visit, id),
        Place::Act(id, word) => deeds::act(site, visit, id, word).await,
        Place::ActOnQueue(word) => queues::act(site, visit, word).await,
        Place::Threads => workers::act(site, visit).await,
        Place::AddSchedule => adding::act(site, visit).await,
        Place::ActOnSchedule(word) => planned::act(site, visit, word).await,
        Place::Prune => about::prune(site, visit).await,
        _ => Err(Fault::not_found()),
    }
}

/// That this visitor may do it.
fn check_may(visit: &Visit, action: Action) -> Result<(), Fault> {
    if visit.access.may(action) {
        return Ok(());
    }
    let detail = format!("You may not do this; it needs the grant {:?}.", action.as_str());
    Err(Fault::forbidden("not_allowed", detail))
}
