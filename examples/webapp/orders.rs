//! The orders of the shop: what can be asked for, and what comes of it.

use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Redirect, Response};
use litework::TaskId;
use serde::Deserialize;

use crate::Shop;
use crate::pages::{Export, ExportedPage, Oops, OrdersPage, html};
use crate::sessions::Visitor;
use crate::tasks::{Ending, count_orders, export_orders, summarize};

const PAGES_MAX: u32 = 10_000;
const TITLE_BYTES_MAX: usize = 100;

/// What is written into the form of an export.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExportForm {
    pub(crate) title: String,
    pub(crate) pages: String,
    pub(crate) ending: Ending,
    /// What tells this submit from the next, as litework's hidden field has it.
    #[serde(default, rename = "_once")]
    once: String,
}

impl Default for ExportForm {
    fn default() -> Self {
        let (title, pages) = ("Algebra 101".to_owned(), "30".to_owned());
        Self { title, pages, ending: Ending::Well, once: String::new() }
    }
}

/// What is wrong with a form, field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Complaints {
    pub(crate) title: Option<&'static str>,
    pub(crate) pages: Option<&'static str>,
}

impl ExportForm {
    /// Title and pages as they are stored.
    fn checked(&self) -> Result<(&str, u32), Complaints> {
        let (title, mut complaints) = (self.title.trim(), Complaints::default());
        if title.is_empty() || title.len() > TITLE_BYTES_MAX || title.contains(char::is_control) {
            complaints.title = Some("Please give it a title of up to 100 letters.");
        }
        let pages = self.pages.trim().parse().ok().filter(|pages| (1..=PAGES_MAX).contains(pages));
        if pages.is_none() {
            complaints.pages = Some("Please ask for 1 to 10000 pages.");
        }
        match pages {
            Some(pages) if complaints == Complaints::default() => Ok((title, pages)),
            _ => Err(complaints),
        }
    }
}

/// Where a redirect leads back with news.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct News {
    /// What was counted.
    counted: Option<u32>,
    /// An export that did not work.
    ended: Option<TaskId>,
}

pub(crate) async fn page(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Query(news): Query<News>,
    parts: Parts,
) -> Result<Response, Oops> {
    let form = ExportForm::default();
    let page = orders(&shop, &visitor, &parts, news, &form, Complaints::default());
    Ok(page.await?.into_response())
}

/// Starts an export, unless something is wrong with the form.
pub(crate) async fn export(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    parts: Parts,
    Form(form): Form<ExportForm>,
) -> Result<Response, Oops> {
    let (title, pages) = match form.checked() {
        Ok(checked) => checked,
        Err(complaints) => {
            let page = orders(&shop, &visitor, &parts, News::default(), &form, complaints);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page.await?).into_response());
        }
    };
    let call = export_orders::with(title, pages, form.ending);
    let answer = shop
        .web
        .respond(&parts, call)
        .once(form.once.as_str())
        .success("/orders/exports/{id}")
        .error("/orders?ended={id}");
    Ok(answer.await.into_response())
}

/// Counts so quickly that the answer is the result.
pub(crate) async fn count(State(shop): State<Shop>, parts: Parts) -> Response {
    let answer = shop.web.respond(&parts, count_orders::with());
    answer.success("/orders?counted={result}").await.into_response()
}

/// A link to something that is made first, and then downloaded.
pub(crate) async fn summary(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    parts: Parts,
) -> Response {
    let customer = visitor.name().unwrap_or_default();
    shop.web.respond(&parts, summarize::with(customer)).to_file().await.into_response()
}

/// The page of an export that has worked, with the block of its task.
pub(crate) async fn exported(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<TaskId>,
    parts: Parts,
) -> Result<Html<String>, Oops> {
    // Where it is not theirs, litework's own answer is given: 404, or the way to the login.
    let block = shop.web.block(&parts, id).await.map_err(Oops::instead)?;
    html(&ExportedPage { visitor: &visitor, head: shop.web.head_for(&parts), block })
}

/// The page with all that can be asked for.
async fn orders(
    shop: &Shop,
    visitor: &Visitor,
    parts: &Parts,
    news: News,
    form: &ExportForm,
    complaints: Complaints,
) -> Result<Html<String>, Oops> {
    if *visitor == Visitor::Nobody {
        return Err(Oops::instead(Redirect::to("/login?next=/orders")));
    }
    let block = match news.ended {
        Some(id) => Some(shop.web.block(parts, id).await.map_err(Oops::instead)?),
        None => None,
    };
    let (name, is_staff) = (visitor.name().map(str::to_owned), visitor.is_staff());
    let exports = shop.with_tables(move |tables| {
        let newest = "SELECT task, title, pages FROM shop_export WHERE ?1 OR owner = ?2
            ORDER BY rowid DESC LIMIT 10";
        let mut query = tables.prepare(newest)?;
        let rows = query.query_map((is_staff, name), |row| {
            Ok(Export { task: row.get(0)?, title: row.get(1)?, pages: row.get(2)? })
        })?;
        rows.collect::<rusqlite::Result<Vec<Export>>>()
    });
    html(&OrdersPage {
        visitor,
        head: shop.web.head_for(parts),
        once: shop.web.once_field(),
        counted: news.counted,
        block,
        form,
        complaints,
        exports: exports.await?,
    })
}
