//! The shop as a process, the browsers that look at it, and what a person does with them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use crate::child::{Child, Field, PATIENCE};

const HOST: &str = "127.0.0.1";

/// The program, built from the sources as they stand.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = std::env::current_exe().unwrap();
        let profile = built.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--all-features", "--example", "webapp"]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.env("CARGO_TARGET_DIR", profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the example webapp does not build");
        profile.join("examples").join("webapp")
    })
}

/// The shop on a port and a file of its own.
pub(crate) struct Shop {
    pub(crate) process: Child,
    pub(crate) field: Field,
    port: u16,
}

impl Shop {
    pub(crate) fn open(seed: bool) -> Self {
        let field = Field::default();
        let (process, port) = start(&field, 0, seed);
        Self { process, field, port }
    }

    /// Starts it again on the same port and file.
    pub(crate) fn start_again(&mut self) {
        let (process, port) = start(&self.field, self.port, false);
        assert_eq!(port, self.port);
        self.process = process;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{HOST}:{}{path}", self.port)
    }

    /// How many exports have had their effect.
    pub(crate) fn exports(&self) -> i64 {
        let tables = crate::child::look_into(&self.field.db());
        tables.query_row("SELECT count(*) FROM shop_export", [], |row| row.get(0)).unwrap()
    }

    /// How many tasks of this kind there are.
    pub(crate) fn tasks(&self, kind: &str) -> i64 {
        let tables = crate::child::look_into(&self.field.db());
        let counted = "SELECT count(*) FROM litework_task t JOIN litework_lane l ON l.id = t.lane
            WHERE l.kind = ?1";
        tables.query_row(counted, [kind], |row| row.get(0)).unwrap()
    }

    /// Looks again and again, a little apart, until it is so.
    pub(crate) fn wait_until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is(self) {
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
            self.process.listen_for(Duration::from_millis(50));
        }
    }

    /// Asks as a program does, and reads the answer to its end.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.connect();
        let headers = headers.iter().flat_map(|line| [*line, "\r\n"]).collect::<String>();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {HOST}:{}\r\nconnection: close\r\n{headers}\
             content-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        Answer { head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((HOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The cookie of somebody who signs in.
    pub(crate) fn cookie(&self, name: &str) -> String {
        let form = format!("name={name}&next=%2F");
        let answer = self.ask("POST", "/login", &[FORM], &form);
        let cookie = answer.header("set-cookie");
        format!("cookie: {}", cookie.split(';').next().unwrap())
    }
}

pub(crate) const STATUS: &str = "//section[@data-task-status]";
pub(crate) const DONE: &str = "//*[contains(@class, 'lw-badge')][text()='Done']";

pub(crate) const FORM: &str = "content-type: application/x-www-form-urlencoded";

/// An answer to a program.
#[derive(Debug)]
pub(crate) struct Answer {
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn start(field: &Field, port: u16, seed: bool) -> (Child, u16) {
    let mut command = Command::new(program());
    command.args(["--port", &port.to_string(), "--db"]).arg(field.db());
    command.env_remove("LITEWORK_MODE").env_remove("LITEWORK_WORKERS").env_remove("LITEWORK_DB");
    if seed {
        command.arg("--seed");
    }
    let mut process = Child::from_command(command, "webapp", &[]);
    let line = process.expect("listening on ");
    let port = line.rsplit(':').next().unwrap().parse().unwrap();
    (process, port)
}

/// What a browser is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) script: bool,
    pub(crate) dark: bool,
    /// Width and height of what it shows.
    pub(crate) size: (u32, u32),
    /// The language that it asks for.
    pub(crate) language: &'static str,
}

pub(crate) const SCRIPT: Kind =
    Kind { script: true, dark: false, size: (1_280, 1_000), language: "en-GB" };
pub(crate) const NO_SCRIPT: Kind = Kind { script: false, ..SCRIPT };

/// chromedriver, which ends its browsers when it ends.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut process = Child::from_command(command, "chromedriver", &[]);
        let line = process.expect("ChromeDriver was started successfully on port ");
        let port = line.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        Self { process, port }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Else browsers would stay behind a test that fails.
        if let Ok(mut stream) = TcpStream::connect((HOST, self.port)) {
            let asked = write!(stream, "GET /shutdown HTTP/1.1\r\nhost: localhost\r\n\r\n");
            if asked.is_ok() {
                self.process.wait();
            }
        }
    }
}

/// A shop, and whoever looks at it.
pub(crate) struct Desk {
    pub(crate) shop: Shop,
    // Ended before the folder of its browsers is removed.
    driver: Driver,
    browsers: tempfile::TempDir,
}

/// Tells a story with a shop of its own.
pub(crate) fn tell(seed: bool, story: impl AsyncFnOnce(&mut Desk)) {
    let mut desk = Desk {
        shop: Shop::open(seed),
        driver: Driver::start(),
        browsers: tempfile::tempdir().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(story(&mut desk));
}

impl Desk {
    /// Where browsers put what they download.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.browsers.path().join("downloads")
    }

    /// A browser that nobody has used before.
    pub(crate) async fn browser(&self, kind: Kind) -> Browser {
        let profile = tempfile::tempdir_in(self.browsers.path()).unwrap().keep();
        let (width, height) = kind.size;
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let mut flags: Vec<String> = flags.map(str::to_owned).into();
        flags.push(format!("--user-data-dir={}", profile.display()));
        flags.push(format!("--lang={}", kind.language));
        flags.push(format!("--blink-settings=preferredColorScheme={}", u8::from(!kind.dark)));
        // Scripts of pages are off, those of the driver run all the same.
        let scripts = if kind.script { 1 } else { 2 };
        let options = json!({
            "args": flags,
            "prefs": {
                "profile.managed_default_content_settings.javascript": scripts,
                "download.default_directory": self.downloads(),
                "intl.accept_languages": kind.language,
            },
            "mobileEmulation": { "deviceMetrics": {
                "width": width, "height": height, "pixelRatio": 1, "touch": false, "mobile": false,
            } },
        });
        let wished = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let driver = format!("http://{HOST}:{}", self.driver.port);
        let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = ClientBuilder::new(connector);
        builder.capabilities(wished.as_object().unwrap().clone());
        let client = builder.connect(&driver).await.unwrap();
        Browser { client, home: self.shop.url("") }
    }

    /// … in which somebody has signed in.
    pub(crate) async fn visitor(&self, kind: Kind, name: &str) -> Browser {
        let browser = self.browser(kind).await;
        browser.go("/login").await;
        browser.click(&format!("button[value={name}]")).await;
        browser.see("//h1[text()='Orders']").await;
        browser
    }
}

/// One browser, with its tabs.
pub(crate) struct Browser {
    pub(crate) client: Client,
    home: String,
}

impl Browser {
    pub(crate) async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.home)).await.unwrap();
    }

    /// Waits for what an `XPath` finds, and reads its text.
    pub(crate) async fn see(&self, path: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let found = self.client.wait().at_most(left).every(Duration::from_millis(50));
            match found.for_element(Locator::XPath(path)).await {
                // It may have been swapped since.
                Ok(element) => return element.text().await.unwrap_or_default(),
                // Some are told so when the page is left just then.
                Err(_) if Instant::now() < until => {}
                Err(error) => {
                    let (at, page) = (self.path().await, self.client.source().await);
                    panic!("{path} is not at {at}: {error}\n{}", page.unwrap_or_default())
                }
            }
        }
    }

    /// Whether an `XPath` finds something now.
    pub(crate) async fn has(&self, path: &str) -> bool {
        !self.client.find_all(Locator::XPath(path)).await.unwrap().is_empty()
    }

    /// Clicks where a CSS selector leads; once more where the page was swapped under the hand.
    pub(crate) async fn click(&self, selector: &str) {
        for _ in 0..10 {
            let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(selector));
            let found = found.await.unwrap_or_else(|error| panic!("{selector}: {error}"));
            match found.click().await {
                Ok(()) => return,
                Err(error) if error.is_stale_element_reference() => {}
                Err(error) => panic!("{selector}: {error}"),
            }
        }
        panic!("{selector} is swapped again and again");
    }

    /// Writes into a field, in the place of what is there.
    pub(crate) async fn write(&self, selector: &str, text: &str) {
        let field = self.client.find(Locator::Css(selector)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Starts an export of so many pages, and how it is to end.
    pub(crate) async fn export(&self, pages: u32, ending: &str) {
        self.write("#pages", &pages.to_string()).await;
        let choice = self.client.find(Locator::Css("#ending")).await.unwrap();
        choice.select_by_value(ending).await.unwrap();
        self.click("#export").await;
    }

    /// Where it is: path and query.
    pub(crate) async fn path(&self) -> String {
        let at = self.client.current_url().await.unwrap();
        at.as_str().strip_prefix(&self.home).unwrap_or(at.as_str()).to_owned()
    }

    /// Waits until it is led to where a path begins so: what ended may show for a moment where it was asked for.
    pub(crate) async fn arrives(&self, start: &str) {
        let until = Instant::now() + PATIENCE;
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while !self.path().await.starts_with(start) {
            assert!(Instant::now() < until, "{} is not {start}", self.path().await);
            looks.tick().await;
        }
    }

    /// What a person reads on the page.
    pub(crate) async fn text(&self) -> String {
        let main = self.client.wait().for_element(Locator::Css("main")).await.unwrap();
        main.text().await.unwrap()
    }

    /// The value of an expression, also where the page's own scripts are off.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.client.execute(&format!("return {expression}"), Vec::new()).await.unwrap()
    }

    /// Waits until an expression holds in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let script = format!(
            "const [done] = arguments;
            const timer = setInterval(() => {{
                if (!({expression})) return;
                clearInterval(timer);
                done();
            }}, 50);"
        );
        let waited = self.client.execute_async(&script, Vec::new()).await;
        if let Err(error) = waited {
            panic!("{expression} does not come at {}: {error}", self.path().await);
        }
    }

    /// Where the task of the page has its own page.
    pub(crate) async fn task(&self) -> String {
        let path = self.value("document.querySelector('[data-task-status]').dataset.taskStatus");
        path.await.as_str().unwrap().to_owned()
    }

    /// Opens another tab, which is looked at from then on.
    pub(crate) async fn new_tab(&self) {
        self.open(true).await;
    }

    /// Opens a window of its own, which stays in sight.
    pub(crate) async fn new_window(&self) {
        self.open(false).await;
    }

    async fn open(&self, tab: bool) {
        let tab = self.client.new_window(tab).await.unwrap();
        self.client.switch_to_window(tab.handle).await.unwrap();
    }

    /// Looks at the tab of this number, in the order in which they were opened.
    pub(crate) async fn to_tab(&self, number: usize) {
        let tabs = self.client.windows().await.unwrap();
        self.client.switch_to_window(tabs[number].clone()).await.unwrap();
    }
}
