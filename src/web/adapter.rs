//! Watch: the service as a router of axum 0.8.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;

use super::{Web, socket};

impl Web {
    /// The pages at their base, to be merged into the router of a program, with a WebSocket at `{base}/socket`
    /// besides. It sets no fallback, and takes any state.
    ///
    /// ```
    /// # use litework::{Client, web::{Access, Web}};
    /// # let tasks = Client::in_memory().open()?;
    /// let web = Web::builder(&tasks, |_: &http::request::Parts| Access::viewer()).base("/tasks").build()?;
    /// let app: axum::Router = axum::Router::new()
    ///     .route("/", axum::routing::get(|| async { "a shop" }))
    ///     .merge(web.router());
    /// # let _ = app;
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// The socket takes what `/events` takes, and says the same: `{"type": "task", "data": {…}}`, with the types
    /// `hello`, `task`, `gone`, `end` and `bye`. In axum 0.7, mount the service itself: `nest_service("/tasks", web)`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let base = self.site.base.as_str();
        let site = Arc::clone(&self.site);
        let socket = any(move |request: Request| socket::upgrade(Arc::clone(&site), request));
        let router = Router::new()
            .route(&format!("{base}/socket"), socket)
            .route_service(&format!("{base}/"), self.clone())
            .route_service(&format!("{base}/{{*rest}}"), self.clone());
        if base.is_empty() { router } else { router.route_service(base, self.clone()) }
    }
}
