//! What litework says on its pages and in its blocks: in German to those whose browser asks for that first. The shop's own
//! pages are English.

use std::sync::Arc;

use axum::http::header;
use axum::http::request::Parts;
use litework::Result;
use litework::web::Words;

/// The words for whoever sends a request.
pub(crate) fn by_language() -> Result<impl Fn(&Parts) -> Arc<Words> + Send + Sync + 'static> {
    let german = Arc::new(serde_json::from_str(include_str!("pages/german.json"))?);
    let english = Arc::default();
    Ok(move |request: &Parts| {
        let asked = request.headers.get(header::ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
        let is_german = asked.is_some_and(|asked| asked.starts_with("de"));
        Arc::clone(if is_german { &german } else { &english })
    })
}
