//! Watch: what all requests of one mounted part share, and what one request is.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

use super::access::{Access, Gate};
use super::bulks::Bulks;
use super::fault::Fault;
use super::guard::{Guard, text_of};
use super::office::Office;
use super::page::{Framing, Markup, Shell};
use super::places::Places;
use super::shape::{Looker, View};
use super::words::Words;
use crate::client::Client;
use crate::error::Error;
use crate::filter::pairs::unknown;
use crate::id::TaskId;
use crate::snapshot::Snapshot;
use crate::watching::Watch;

pub(crate) type WordsFor = Arc<dyn Fn(&Parts) -> Arc<Words> + Send + Sync>;

pub(crate) type GroupsFor = Arc<dyn Fn(&str, &Access) -> Option<Watch> + Send + Sync>;

/// What they share, and where the links of one answer begin.
pub(crate) struct Site {
    shared: Arc<Shared>,
    /// What links begin with: the base, or what a proxy makes of it.
    pub(crate) public: String,
    /// Whether that is what the request itself has said.
    pub(crate) is_prefixed: bool,
}

impl Deref for Site {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) gate: Box<dyn Gate>,
    /// Where it is mounted: empty, or a path without a slash at its end.
    pub(crate) base: String,
    /// Whether a proxy's word is taken for what it has put before the base.
    pub(crate) is_behind_proxy: bool,
    pub(crate) guard: Guard,
    pub(crate) office: Office,
    pub(crate) words: WordsFor,
    pub(crate) extra_css: Vec<String>,
    pub(crate) framing: Option<Framing>,
    pub(crate) groups: Option<GroupsFor>,
    pub(crate) open_metrics: bool,
    pub(crate) streams: Places,
    /// What is being done to many tasks.
    pub(crate) bulks: Bulks,
    /// The kinds of which tasks may be enqueued by the API.
    pub(crate) enqueueable: Vec<String>,
    /// The description of the API.
    pub(crate) document: Value,
}

/// One request, and who sent it.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) parts: Arc<Parts>,
    pub(crate) access: Access,
    pub(crate) words: Arc<Words>,
    pub(crate) body: Bytes,
}

impl Site {
    pub(crate) fn new(shared: Shared, public: String) -> Arc<Self> {
        Arc::new(Self { shared: Arc::new(shared), public, is_prefixed: false })
    }

    /// The site as whoever sends this request sees it: behind a proxy that says what it has taken from the path.
    pub(crate) fn seen_by(self: &Arc<Self>, request: &Parts) -> Arc<Self> {
        let said = text_of(&request.headers, "x-forwarded-prefix");
        // What is no path is passed over: it would lead elsewhere.
        let prefix = said.filter(|_| self.is_behind_proxy).and_then(|said| checked_base(said).ok());
        let Some(prefix) = prefix else { return Arc::clone(self) };
        let public = format!("{prefix}{}", self.base);
        Arc::new(Self { shared: Arc::clone(&self.shared), public, is_prefixed: true })
    }

    /// Runs what reads or writes the file where blocking is allowed.
    pub(crate) async fn with<R: Send + 'static>(
        self: &Arc<Self>,
        errand: impl FnOnce(&Self) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Fault> {
        let site = Arc::clone(self);
        self.office.run(move || errand(&site)).await.map_err(Fault::from)
    }

    /// The client, in the name of whoever asks.
    pub(crate) fn acting(&self, visit: &Visit) -> Result<Client, Fault> {
        Ok(self.client.acting_as(&visit.access.signature())?)
    }

    /// The task of an id that this viewer may see; to all others it is as if there were none.
    pub(crate) fn seen(&self, access: &Access, id: &str) -> Result<Snapshot, Error> {
        let not_there = || Error::NotFound { id: id.chars().take(64).collect() };
        let id: TaskId = id.parse().map_err(|_| not_there())?;
        let snapshot = self.client.snapshot(id)?;
        if access.sees(&snapshot.task) { Ok(snapshot) } else { Err(not_there()) }
    }

    pub(crate) fn looker<'a>(&'a self, access: &'a Access, words: &'a Words) -> Looker<'a> {
        Looker { client: &self.client, base: &self.public, access, words }
    }

    /// A task as this visitor sees it.
    pub(crate) fn view(&self, visit: &Visit, snapshot: &Snapshot) -> Result<View, Error> {
        self.looker(&visit.access, &visit.words).view(snapshot)
    }

    pub(crate) fn shell<'a>(&'a self, words: &'a Words) -> Shell<'a> {
        Shell {
            base: &self.public,
            words,
            extra_css: &self.extra_css,
            framing: self.framing.as_ref(),
        }
    }

    /// A whole page.
    pub(crate) fn page(
        &self,
        visit: &Visit,
        title: &str,
        body: Markup,
        refresh: Option<u32>,
    ) -> Result<String, Fault> {
        self.shell(&visit.words).page(title, body, refresh).map_err(|error| Fault::internal(&error))
    }
}

impl Visit {
    /// The values of a query, each decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        value(self.parts.uri.query().unwrap_or_default().as_bytes(), name)
    }

    /// All pairs of the query, decoded, in their order.
    pub(crate) fn queries(&self) -> Vec<(String, String)> {
        let query = self.parts.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// All fields of the form that was sent, in their order.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The same, and refuses what is not UTF-8: it would mean something else.
    pub(crate) fn pairs(&self) -> Result<Vec<(String, String)>, Fault> {
        let query = self.parts.uri.query().unwrap_or_default();
        let pairs = self.queries();
        // Whatever cannot be decoded becomes this letter, which may stand there itself, encoded.
        let strange = pairs.iter().flat_map(|(name, value)| [name, value]);
        let strange: usize = strange.map(|text| text.matches('\u{fffd}').count()).sum();
        if strange == query.to_ascii_uppercase().matches("%EF%BF%BD").count() {
            return Ok(pairs);
        }
        let shown: String = query.chars().take(80).collect();
        let detail = format!("bad_query: the query is {shown:?}; UTF-8, percent-encoded");
        Err(Fault::bad_request("bad_query", detail))
    }

    /// Refuses any query, for what takes none.
    pub(crate) fn takes_no_query(&self) -> Result<(), Fault> {
        let pairs = self.pairs()?;
        pairs.first().map_or(Ok(()), |(name, _)| Err(unknown(name, &[]).into()))
    }

    /// A value of the form that was sent.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        value(&self.body, name)
    }

    /// Whether JSON is asked for rather than a page. Who says nothing, or takes anything, gets the page.
    pub(crate) fn wants_json(&self) -> bool {
        let accept = self.parts.headers.get_all(http::header::ACCEPT).iter();
        let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
        prefers_json(&accept.join(","))
    }
}

fn value(encoded: &[u8], name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(encoded);
    pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// Without a slash at its end; the root is empty.
pub(crate) fn checked_base(path: &str) -> Result<String, Error> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
    let parts = trimmed.strip_prefix('/').map(|rest| rest.split('/'));
    let fits = parts.is_some_and(|mut parts| {
        parts.all(|part| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain)
        })
    });
    if trimmed.is_empty() || (fits && trimmed.len() <= 200) {
        return Ok(trimmed.to_owned());
    }
    let allowed =
        "a path such as /tasks or /a/b/tasks: at most 200 of A-Z a-z 0-9 . _ ~ - between slashes";
    Err(Error::invalid("bad_base", "base of the web pages", path, allowed))
}

/// Whether an `Accept` weighs JSON more than HTML.
fn prefers_json(accept: &str) -> bool {
    let (mut json, mut html) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight =
            parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        match media_type.as_str() {
            "application/json" | "application/problem+json" => json = weight.max(json),
            "text/html" | "application/xhtml+xml" => html = weight.max(html),
            _ => {}
        }
    }
    json > html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_unless_json_is_wished_for() {
        for page in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/html, application/json;q=0.9",
            "image/png",
        ] {
            assert!(!prefers_json(page), "{page}");
        }
        for json in
            ["application/json", "application/json, text/html;q=0.9", "Application/JSON;q=0.1, */*"]
        {
            assert!(prefers_json(json), "{json}");
        }
    }
}
