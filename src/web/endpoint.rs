//! Watch: which part of the API a path means, and how it may be asked.

use http::Method;

use super::access::Action;

/// What a path below `/api/` names; its words are exact, as those of all paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint<'a> {
    Tasks,
    Task(&'a str),
    Act(&'a str, Action),
    Artifacts(&'a str),
    Artifact(&'a str, &'a str),
    Document,
}

impl<'a> Endpoint<'a> {
    /// None where there is no such part.
    pub(crate) fn find(path: &'a str) -> Option<Self> {
        match path {
            "tasks" => return Some(Self::Tasks),
            "openapi.json" => return Some(Self::Document),
            _ => {}
        }
        let rest = path.strip_prefix("tasks/").filter(|rest| !rest.is_empty())?;
        let Some((id, part)) = rest.split_once('/') else { return Some(Self::Task(rest)) };
        if let Some(number) = part.strip_prefix("artifacts/") {
            return Some(Self::Artifact(id, number));
        }
        match part {
            "artifacts" => Some(Self::Artifacts(id)),
            "cancel" | "retry" | "dismiss" => {
                Action::from_word(part).map(|action| Self::Act(id, action))
            }
            _ => None,
        }
    }

    /// The methods it answers.
    pub(crate) fn allows(self) -> &'static [Method] {
        match self {
            Self::Tasks => &[Method::GET, Method::HEAD, Method::POST],
            Self::Task(_) => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Act(..) => &[Method::POST],
            Self::Artifacts(_) | Self::Artifact(..) | Self::Document => {
                &[Method::GET, Method::HEAD]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_exact_names_no_part() {
        assert_eq!(Endpoint::find("tasks/7-x"), Some(Endpoint::Task("7-x")));
        assert_eq!(Endpoint::find("tasks/7-x/artifacts"), Some(Endpoint::Artifacts("7-x")));
        for path in [
            "",
            "/tasks",
            "tasks/",
            "Tasks",
            "tasks/7-x/",
            "tasks/7-x/delete",
            "tasks/7-x/explode",
            "openapi",
        ] {
            assert_eq!(Endpoint::find(path), None, "{path}");
        }
    }
}
