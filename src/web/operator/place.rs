//! Watch: which of the operator's pages a path means.
//!
//! Names of queues and schedules may be anything that a path cannot hold, such as `..`, so they stand in the query or
//! in the form.

use http::Method;

/// What a path below `/admin/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Overview,
    Tasks,
    /// What is done to many tasks.
    Actions,
    /// What is being done to many tasks.
    Bulks,
    Bulk(&'a str),
    StopBulk(&'a str),
    Task(&'a str),
    /// What is done to one task, and the word for it.
    Act(&'a str, &'a str),
    Failures,
    Queues,
    ActOnQueue(&'a str),
    Workers,
    Threads,
    Schedules,
    NewSchedule,
    AddSchedule,
    Schedule,
    ActOnSchedule(&'a str),
    Audit,
    About,
    Prune,
}

impl<'a> Place<'a> {
    pub(crate) fn find(path: &'a str) -> Option<Self> {
        Some(match path {
            "" => Self::Overview,
            "tasks" => Self::Tasks,
            "tasks/actions" => Self::Actions,
            "bulk" => Self::Bulks,
            "failures" => Self::Failures,
            "queues" => Self::Queues,
            "workers" => Self::Workers,
            "workers/threads" => Self::Threads,
            "schedules" => Self::Schedules,
            "schedules/new" => Self::NewSchedule,
            "schedules/add" => Self::AddSchedule,
            "schedule" => Self::Schedule,
            "audit" => Self::Audit,
            "about" => Self::About,
            "about/prune" => Self::Prune,
            _ => return Self::below(path),
        })
    }

    fn below(path: &'a str) -> Option<Self> {
        let (first, rest) = path.split_once('/')?;
        let parts: Vec<&str> = rest.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        match (first, parts.as_slice()) {
            ("t", [id]) => Some(Self::Task(id)),
            ("t", [id, word]) => ["retry", "cancel", "delete", "run", "reschedule", "copy"]
                .contains(word)
                .then_some(Self::Act(id, word)),
            ("bulk", [id]) => Some(Self::Bulk(id)),
            ("bulk", [id, "stop"]) => Some(Self::StopBulk(id)),
            ("queues", [word]) => ["pause", "resume", "limits", "reset"]
                .contains(word)
                .then_some(Self::ActOnQueue(word)),
            ("schedules", [word]) => ["run", "enable", "disable", "edit", "reset", "remove"]
                .contains(word)
                .then_some(Self::ActOnSchedule(word)),
            _ => None,
        }
    }

    /// The methods it answers.
    pub(crate) fn allows(self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        const ACT: &[Method] = &[Method::POST];
        match self {
            Self::Actions
            | Self::StopBulk(_)
            | Self::Act(..)
            | Self::ActOnQueue(_)
            | Self::Threads
            | Self::AddSchedule
            | Self::ActOnSchedule(_)
            | Self::Prune => ACT,
            _ => READ,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_exact_or_names_nothing() {
        assert_eq!(Place::find("t/7-x/retry"), Some(Place::Act("7-x", "retry")));
        assert_eq!(Place::find("schedules/run"), Some(Place::ActOnSchedule("run")));
        assert_eq!(Place::find("schedules/new"), Some(Place::NewSchedule));
        assert_eq!(Place::find("bulk/ab/stop"), Some(Place::StopBulk("ab")));
        for path in [
            "/",
            "tasks/",
            "t",
            "t/",
            "t//retry",
            "t/7-x/explode",
            "t/7-x/retry/",
            "queues/drop",
            "TASKS",
            "bulk/ab/go",
            "%74asks",
            "..",
        ] {
            assert_eq!(Place::find(path), None, "{path}");
        }
    }
}
