//! Who is there: a session in a cookie, kept in the shop's own table so that it outlives a restart. A real shop
//! would ask for a password.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Form;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use litework::sqlite::{ClientExt, WriteError};
use litework::web::Access;
use litework::{Client, Result};
use serde::Deserialize;

use crate::Shop;
use crate::pages::{LoginPage, Oops, html};

const COOKIE: &str = "shop_session";
const CUSTOMERS: [&str; 2] = ["ada", "bob"];
const STAFF: &str = "admin";

/// Whoever sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visitor {
    Nobody,
    Customer(String),
    Staff(String),
}

impl Visitor {
    fn named(name: &str) -> Self {
        match name {
            STAFF => Self::Staff(name.to_owned()),
            name if CUSTOMERS.contains(&name) => Self::Customer(name.to_owned()),
            _ => Self::Nobody,
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Nobody => None,
            Self::Customer(name) | Self::Staff(name) => Some(name),
        }
    }

    pub(crate) fn is_customer(&self) -> bool {
        matches!(self, Self::Customer(_))
    }

    pub(crate) fn is_staff(&self) -> bool {
        matches!(self, Self::Staff(_))
    }

    /// What they may see and do below `/tasks`.
    pub(crate) fn access(&self) -> Access {
        match self {
            Self::Nobody => Access::denied().login("/login"),
            Self::Customer(name) => Access::owner(name),
            Self::Staff(name) => Access::admin().named(name),
        }
    }
}

/// All sessions: in memory, as each request asks, and in the file.
pub(crate) struct Sessions(RwLock<BTreeMap<String, String>>);

impl Sessions {
    pub(crate) fn load(tasks: &Client) -> Result<Self> {
        let rows = tasks.write(|tx| {
            let mut query = tx.connection().prepare("SELECT id, name FROM shop_session")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, WriteError>(rows.collect::<rusqlite::Result<_>>()?)
        });
        Ok(Self(RwLock::new(rows?)))
    }

    fn visitor(&self, headers: &HeaderMap) -> Visitor {
        let sessions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = session(headers).and_then(|id| sessions.get(id));
        name.map_or(Visitor::Nobody, |name| Visitor::named(name))
    }

    fn set(&self, id: String, name: Option<String>) {
        let mut sessions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match name {
            Some(name) => sessions.insert(id, name),
            None => sessions.remove(&id),
        };
    }
}

/// The session that a request brings.
fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE).map(|(_, id)| id.trim())
}

/// The layer that tells all handlers, and the gate of the task pages, who is there.
pub(crate) async fn recognise(
    State(sessions): State<Arc<Sessions>>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = sessions.visitor(request.headers());
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

#[derive(Deserialize)]
pub(crate) struct Wish {
    next: Option<String>,
}

pub(crate) async fn login(Query(wish): Query<Wish>) -> Result<Html<String>, Oops> {
    html(&LoginPage { next: wish.next.as_deref().unwrap_or("/orders") })
}

#[derive(Deserialize)]
pub(crate) struct SignIn {
    name: String,
    next: String,
}

pub(crate) async fn sign_in(
    State(shop): State<Shop>,
    Form(form): Form<SignIn>,
) -> Result<Response, Oops> {
    let visitor = Visitor::named(&form.name);
    let Some(name) = visitor.name().map(str::to_owned) else {
        return Ok(Redirect::to("/login").into_response());
    };
    let id = random_id()?;
    shop.sessions.set(id.clone(), Some(name.clone()));
    let (row, written) = ("INSERT INTO shop_session (id, name) VALUES (?1, ?2)", id.clone());
    shop.with_tables(move |tables| tables.execute(row, (written, name))).await?;
    // Add `Secure` where the shop is reached by HTTPS. `Lax` keeps forms of other sites from acting for our visitor.
    let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Lax");
    // A path of ours and nothing that a browser would take for another site.
    let is_plain = form.next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_ours = is_plain && form.next.starts_with('/') && !form.next.starts_with("//");
    let next = if is_ours { form.next.as_str() } else { "/orders" };
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

pub(crate) async fn sign_out(
    State(shop): State<Shop>,
    headers: HeaderMap,
) -> Result<Response, Oops> {
    if let Some(id) = session(&headers).map(str::to_owned) {
        shop.sessions.set(id.clone(), None);
        let row = "DELETE FROM shop_session WHERE id = ?1";
        shop.with_tables(move |tables| tables.execute(row, [id])).await?;
    }
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// 128 bits that nobody can guess.
fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    let mut id = String::new();
    for byte in bytes {
        write!(id, "{byte:02x}")?;
    }
    Ok(id)
}
