//! A small shop with logins whose exports run in the background: forms and links with `data-task`, a page for each
//! task, a list of one's own, downloads, and a dashboard for the staff. All of it works without scripts, too.
//!
//!     cargo run --release --features web,axum,tokio --example webapp [-- --port 8080 --db PATH --seed]
//!
//! With the feature `cli` besides, `webapp tasks …` looks after the tasks of the shop, also while it serves:
//!
//!     cargo run --release --features web,axum,tokio,cli --example webapp -- tasks status

#[cfg(feature = "cli")]
mod commands;
mod orders;
mod pages;
mod seed;
mod sessions;
mod tasks;
mod words;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::{get, post};
use litework::sqlite::{ClientExt, WriteError};
use litework::web::{Web, from_extension};
use litework::{Client, Result};
use rusqlite::Connection;
use sessions::{Sessions, Visitor};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const USAGE: &str = "usage: webapp [--port PORT] [--db PATH] [--seed]";
const PORT: u16 = 8080;
const THREADS: usize = 4;
/// How long running tasks may go on after the first Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// What a shell reports for a program that Ctrl-C has ended: 128 and the number of the signal.
const EXIT_INTERRUPTED: i32 = 130;

/// The tables of the shop itself; they stand in the same file as its tasks.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS shop_session (id TEXT PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS shop_export (task TEXT, owner TEXT, title TEXT NOT NULL, pages INTEGER NOT NULL);
";

/// What every handler works with.
#[derive(Clone)]
struct Shop {
    tasks: Client,
    web: Web,
    sessions: Arc<Sessions>,
}

impl Shop {
    fn new(tasks: &Client) -> Result<Self> {
        tasks.write(|tx| Ok::<_, WriteError>(tx.connection().execute_batch(TABLES)?))?;
        // Closed unless it is said who may see what: a layer has put the visitor into each request.
        let web = Web::builder(tasks, from_extension(Visitor::access)).base("/tasks");
        // It serves this machine alone; a shop says its own name here.
        let web =
            web.hosts(["localhost", "127.0.0.1", "[::1]"]).words(words::by_language()?).build()?;
        Ok(Self { tasks: tasks.clone(), web, sessions: Arc::new(Sessions::load(tasks)?) })
    }

    /// Reads or writes the shop's own tables, on a thread that may wait for the disk.
    async fn with_tables<R: Send + 'static>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R> {
        let tasks = self.tasks.clone();
        let write = move || tasks.write(|tx| Ok::<_, WriteError>(body(tx.connection())?));
        Ok(tokio::task::spawn_blocking(write).await??)
    }
}

fn router(shop: Shop) -> Router {
    let recognise =
        axum::middleware::from_fn_with_state(Arc::clone(&shop.sessions), sessions::recognise);
    Router::new()
        .route("/", get(pages::start))
        .route("/shop.css", get(|| async { ([(header::CONTENT_TYPE, "text/css")], pages::CSS) }))
        .route("/login", get(sessions::login).post(sessions::sign_in))
        .route("/logout", post(sessions::sign_out))
        .route("/orders", get(orders::page).post(orders::export))
        .route("/orders/count", post(orders::count))
        .route("/orders/summary", get(orders::summary))
        .route("/orders/exports/{id}", get(orders::exported))
        .merge(shop.web.router())
        .layer(recognise)
        .with_state(shop)
}

fn main() -> Result<ExitCode> {
    #[cfg(feature = "cli")]
    if let Some(code) = commands::run() {
        return Ok(code);
    }
    let Some(Arguments { port, db, seed }) = arguments()? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let interrupts = interrupts()?;
    println!("queue file, which stays: {}", db.display());
    let tasks = tasks::register(Client::builder(&db)).workers(THREADS).open()?;
    if seed {
        seed::fill(&tasks)?;
    }
    let app = router(Shop::new(&tasks)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        axum::serve(listener, app).with_graceful_shutdown(drained(tasks, interrupts)).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// How often somebody has pressed Ctrl-C, or a service manager has sent SIGTERM.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Ready when the server may end: after Ctrl-C what runs has ended or was handed back, and whoever listens has been
/// told goodbye. Until then pages are still served.
async fn drained(tasks: Client, mut interrupts: UnboundedReceiver<()>) {
    if interrupts.recv().await.is_none() {
        return;
    }
    println!("stopping: {} s for what runs; Ctrl-C again hands it back", GRACE.as_secs());
    let impatient = tasks.clone();
    tokio::spawn(async move {
        if interrupts.recv().await.is_some() {
            // It cuts the other's grace short: what runs goes back as if it had not begun.
            shut_down(impatient, Duration::ZERO).await;
            std::process::exit(EXIT_INTERRUPTED);
        }
    });
    shut_down(tasks, GRACE).await;
    if INTERRUPTS.load(Ordering::SeqCst) > 1 {
        // The other one ends the program.
        std::future::pending::<()>().await;
    }
}

async fn shut_down(tasks: Client, grace: Duration) {
    match tokio::task::spawn_blocking(move || tasks.shutdown(grace)).await {
        Ok(Ok(stopped)) => {
            println!("{} running tasks ended by themselves", stopped.finished);
            println!("{} tasks were handed back and will run again", stopped.handed_back);
        }
        Ok(Err(error)) => eprintln!("the tasks were not stopped: {error}"),
        Err(error) => eprintln!("the tasks were not stopped: {error}"),
    }
}

/// The first Ctrl-C and the second, or a service manager's SIGTERM, are told to the server; the third ends the program.
fn interrupts() -> Result<UnboundedReceiver<()>> {
    let (tell, interrupts) = unbounded_channel();
    ctrlc::set_handler(move || {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 1 {
            std::process::exit(EXIT_INTERRUPTED);
        }
        // Where nobody listens any more, the program is ending by itself.
        let _ending = tell.send(());
    })?;
    Ok(interrupts)
}

struct Arguments {
    port: u16,
    db: PathBuf,
    seed: bool,
}

/// The queue file unless one is named.
fn usual_db() -> PathBuf {
    std::env::temp_dir().join("litework-webapp.db")
}

/// None where help is asked for.
fn arguments() -> Result<Option<Arguments>> {
    let mut found = Arguments { port: PORT, db: usual_db(), seed: false };
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--seed") => found.seed = true,
            Some("--db") => {
                found.db =
                    given.next().ok_or_else(|| format!("--db needs a path; {USAGE}"))?.into();
            }
            Some("--port") => {
                let port = given.next().and_then(|port| port.to_str()?.parse().ok());
                found.port = port.ok_or_else(|| format!("--port takes 0 to 65535; {USAGE}"))?;
            }
            _ => Err(format!("{} is not known; {USAGE}", argument.display()))?,
        }
    }
    Ok(Some(found))
}
