//! The pages of the shop; their texts stand in `pages/`, and whatever is put into them is escaped.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use litework::Failure;

use crate::Shop;
use crate::orders::{Complaints, ExportForm};
use crate::sessions::Visitor;
use crate::tasks::Ending;

pub(crate) const CSS: &str = include_str!("pages/shop.css");

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage<'a> {
    visitor: &'a Visitor,
    head: String,
}

#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LoginPage<'a> {
    pub(crate) next: &'a str,
}

#[derive(Template)]
#[template(path = "orders.html")]
pub(crate) struct OrdersPage<'a> {
    pub(crate) visitor: &'a Visitor,
    pub(crate) head: String,
    pub(crate) once: String,
    pub(crate) counted: Option<u32>,
    /// The task that did not work, as HTML of litework's.
    pub(crate) block: Option<String>,
    pub(crate) form: &'a ExportForm,
    pub(crate) complaints: Complaints,
    pub(crate) exports: Vec<Export>,
}

/// A row of the shop's own table.
pub(crate) struct Export {
    pub(crate) task: String,
    pub(crate) title: String,
    pub(crate) pages: u32,
}

#[derive(Template)]
#[template(path = "exported.html")]
pub(crate) struct ExportedPage<'a> {
    pub(crate) visitor: &'a Visitor,
    pub(crate) head: String,
    pub(crate) block: String,
}

pub(crate) async fn start(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    parts: Parts,
) -> Result<Html<String>, Oops> {
    html(&StartPage { visitor: &visitor, head: shop.web.head_for(&parts) })
}

pub(crate) fn html(page: &impl Template) -> Result<Html<String>, Oops> {
    Ok(Html(page.render()?))
}

/// The answer to be given instead of a page.
pub(crate) struct Oops(Box<Response>);

/// A mistake of ours, of which its visitor learns nothing.
impl<E: Into<Failure>> From<E> for Oops {
    fn from(error: E) -> Self {
        let error = error.into();
        eprintln!("a page was not made: {}", error.report().message);
        let text = (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here.");
        Self(Box::new(text.into_response()))
    }
}

impl Oops {
    pub(crate) fn instead(answer: impl IntoResponse) -> Self {
        Self(Box::new(answer.into_response()))
    }
}

impl IntoResponse for Oops {
    fn into_response(self) -> Response {
        *self.0
    }
}
