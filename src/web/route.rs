//! Watch: which page a path means.
//!
//! A service may see whole paths or such that a router has stripped of its base, so a path is tried without the base
//! first, then as it is. Words of paths are exact: nothing is decoded but where names may hold anything.

use http::Method;

use super::access::Action;
use super::endpoint::Endpoint;

/// What a path names, relative to the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Mine,
    Task(&'a str),
    Fragment(&'a str),
    Act(&'a str, Action),
    Artifact(&'a str, &'a str),
    Events,
    Asset(&'a str),
    Admin(&'a str),
    Api(&'a str),
    Metrics,
    Live,
    Ready,
}

impl<'a> Route<'a> {
    /// The route of a path; none where there is no such page.
    pub(crate) fn find(base: &str, path: &'a str) -> Option<Self> {
        if path.len() > 2_048 {
            return None;
        }
        let inside =
            path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        inside.and_then(Self::relative).or_else(|| Self::relative(path))
    }

    fn relative(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        match path {
            "" => return Some(Self::Mine),
            "events" => return Some(Self::Events),
            "metrics" => return Some(Self::Metrics),
            "health/live" => return Some(Self::Live),
            "health/ready" => return Some(Self::Ready),
            "admin" | "admin/" => return Some(Self::Admin("")),
            "api" => return Some(Self::Api("")),
            _ => {}
        }
        let (first, rest) = path.split_once('/')?;
        match first {
            "t" => Self::of_task(rest),
            "assets" => Some(Self::Asset(rest)),
            "admin" => Some(Self::Admin(rest)),
            "api" => Some(Self::Api(rest)),
            _ => None,
        }
    }

    fn of_task(path: &'a str) -> Option<Self> {
        let Some((id, rest)) = path.split_once('/') else {
            return (!path.is_empty()).then_some(Self::Task(path));
        };
        if let Some(number) = rest.strip_prefix("a/") {
            return Some(Self::Artifact(id, number));
        }
        match rest {
            "fragment" => Some(Self::Fragment(id)),
            "cancel" | "retry" | "dismiss" => Action::from_word(rest).map(|act| Self::Act(id, act)),
            _ => None,
        }
    }

    /// The methods it answers, for `Allow`; those of the operator's pages are theirs, and what the API does not have
    /// answers none.
    pub(crate) fn allows(&self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        const ACT: &[Method] = &[Method::POST];
        const ALL: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::DELETE];
        match self {
            Self::Act(..) => ACT,
            Self::Admin(_) => ALL,
            Self::Api(path) => Endpoint::find(path).map_or(&[], Endpoint::allows),
            _ => READ,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_below_its_base_and_where_a_router_has_stripped_that() {
        for (base, path) in [
            ("/tasks", "/tasks/t/7-x"),
            ("/tasks", "/t/7-x"),
            ("/a/b/tasks", "/a/b/tasks/t/7-x"),
            ("", "/t/7-x"),
            ("/t", "/t/t/7-x"),
            ("/t", "/t/7-x"),
        ] {
            assert_eq!(Route::find(base, path), Some(Route::Task("7-x")), "{base} {path}");
        }
        for (base, path) in
            [("/tasks", "/tasks"), ("/tasks", "/tasks/"), ("/tasks", "/"), ("", "/")]
        {
            assert_eq!(Route::find(base, path), Some(Route::Mine), "{base} {path}");
        }
    }

    #[test]
    fn a_path_that_is_not_exact_names_no_page() {
        for path in [
            "/tasks//",
            "/tasks//t/7-x",
            "/tasks/t/",
            "/tasks/t",
            "/tasks/%2e%2e/t/7-x",
            "/taskst/7-x",
            "/tasks/t/7-x/",
            "/tasks/t/7-x/fragment/",
            "/tasks/t/7-x/explode",
            "/tasks/metrics/",
            "/tasks/t/7-x/delete",
            "/T/7-x",
        ] {
            assert_eq!(Route::find("/tasks", path), None, "{path}");
        }
        assert_eq!(Route::find("", &format!("/t/{}", "x".repeat(3_000))), None);
    }
}
