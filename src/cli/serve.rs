//! Operate: `serve`: the operator's pages on this machine, for whoever has the link that it prints.
//!
//! The link is good for one visit; that browser is known by a cookie from then on, until the program ends. Or a file names
//! those who may come in, with their passwords' digests. Only
//! addresses of this machine are listened to and answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::code::{Came, Code, Stop};
use super::console::{Console, Verb};
use super::signals::{SIGNALLED, signals};
use crate::client::Client;
use crate::error::Error;
use crate::shown::task::SCHEMA;
use crate::web::{Access, Web, basic_file, from_extension, is_same};

const COOKIE: &str = "litework_session";
/// The names of this machine.
const HERE: [&str; 2] = ["localhost", "127.0.0.1"];
/// What the link carries.
const KEY: &str = "key";

/// Serves the operator's pages to this machine, at an address that it prints
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The port on 127.0.0.1; 0 takes one that is free.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Let the visitor also do what the pages offer; without it they only look.
    #[arg(long)]
    allow_actions: bool,
    /// Ask for a name and a password instead of printing a link for one visit. A line of the file is NAME:DIGEST, the SHA-256
    /// of the password in hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

/// Who has come in.
#[derive(Debug, Clone)]
struct Visitor {
    access: Access,
}

/// Who may come in.
struct Door {
    /// What the link carries, until somebody has used it.
    key: Mutex<Option<String>>,
    /// What the browser that has used it brings.
    session: String,
    access: Access,
}

impl Verb for Serve {
    fn run(self, console: &mut Console) -> Came {
        if self.allow_actions {
            console.check_may_change()?;
        }
        let client = console.open()?;
        let access = if self.allow_actions { Access::admin() } else { Access::viewer() };
        let (app, key) = self.app(&client, access)?;
        let told = signals().map_err(Stop::Unwritten)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(Stop::Unwritten)?.block_on(async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
                let allowed = format!("a port that is free: {error}");
                Error::invalid("cannot_listen", "port", self.port, allowed)
            })?;
            let address = listener.local_addr().map_err(Stop::Unwritten)?;
            self.say_where(console, address, key.as_deref())?;
            let ended = client.clone();
            let (tell, ending) = tokio::sync::oneshot::channel::<()>();
            std::thread::spawn(move || {
                let _signal = told.recv();
                // Whoever listens for changes is told goodbye, which ends the streams.
                let _stopped = ended.shutdown(Duration::ZERO);
                let _gone = tell.send(());
                // Whoever is still being answered is waited for, but not by one who asks twice.
                if let Ok(signal) = told.recv() {
                    std::process::exit(SIGNALLED + signal);
                }
            });
            let end = async move { drop(ending.await) };
            axum::serve(listener, app).with_graceful_shutdown(end).await.map_err(Stop::Unwritten)
        })?;
        console.say.note("ended");
        Ok(Code::Ok)
    }
}

impl Serve {
    /// The pages, and what the link carries that leads there, if there is one.
    fn app(
        &self,
        client: &Client,
        access: Access,
    ) -> Result<(axum::Router, Option<String>), Error> {
        if let Some(file) = &self.auth_file {
            let gate = basic_file(file, move |name| access.clone().named(name))?;
            return Ok((Web::builder(client, gate).hosts(HERE).build()?.router(), None));
        }
        let key = secret()?;
        let door = Arc::new(Door {
            key: Mutex::new(Some(key.clone())),
            session: secret()?,
            access: access.named(super::console::actor()),
        });
        let gate = from_extension(|visitor: &Visitor| visitor.access.clone());
        let web = Web::builder(client, gate).hosts(HERE).build()?;
        let admit = middleware::from_fn_with_state(door, admit);
        Ok((web.router::<()>().layer(admit), Some(key)))
    }

    /// The link on standard output, so that a script finds it; what it means beside it.
    fn say_where(&self, console: &Console, at: SocketAddr, key: Option<&str>) -> Result<(), Stop> {
        let url = match key {
            Some(key) => format!("http://{at}/?{KEY}={key}"),
            None => format!("http://{at}/admin/"),
        };
        let data = serde_json::json!({ "schema": SCHEMA, "url": url });
        console.say.data(&data, |_| format!("{url}\n"))?;
        let may = if self.allow_actions { "look and act" } else { "look" };
        let whom = match key {
            Some(_) => "the link is good for one visit",
            None => "whoever the file names may come in",
        };
        console.say.note(format_args!("{whom}, to {may}; Ctrl-C ends it"));
        Ok(())
    }
}

/// Knows the visitor by the cookie; a link that nobody has used yet gives it.
async fn admit(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    if door.is_session(request.headers()) {
        request.extensions_mut().insert(Visitor { access: door.access.clone() });
        return next.run(request).await;
    }
    // What is sent to another name than that of this machine is refused further in, and uses up no link.
    let given = request.uri().query().and_then(key_of).filter(|_| is_here(request.headers()));
    if given.is_some_and(|key| door.takes(&key)) {
        let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", door.session);
        let headers = [
            (header::SET_COOKIE, cookie),
            (header::LOCATION, "/admin/".to_owned()),
            (header::CACHE_CONTROL, "no-store".to_owned()),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
        ];
        return (StatusCode::SEE_OTHER, headers).into_response();
    }
    next.run(request).await
}

fn is_here(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    HERE.contains(&host.rsplit_once(':').map_or(host, |(name, _port)| name))
}

fn key_of(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == KEY).map(|(_, value)| value.into_owned())
}

impl Door {
    /// Whether this is the key; it is nobody's from then on.
    fn takes(&self, given: &str) -> bool {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = key.as_ref().is_some_and(|key| is_same(key, given));
        if is_it {
            *key = None;
        }
        is_it
    }

    fn is_session(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|all| all.to_str().ok());
        let mut pairs =
            cookies.flat_map(|all| all.split(';')).filter_map(|one| one.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE && is_same(value, &self.session))
    }
}

/// 128 bits that nobody can guess.
fn secret() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let allowed = format!("random bytes of the system: {error}");
        Error::invalid("no_random", "key of the link", "none", allowed)
    })?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
