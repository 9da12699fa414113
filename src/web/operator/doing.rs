//! Watch: what can be done to a task, or to many, and by which grant.

pub(crate) use crate::doing::Doing;
use crate::web::access::Action;

impl Doing {
    pub(crate) const ALL: [Self; 4] = [Self::Retry, Self::Run, Self::Cancel, Self::Delete];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Run => "Run now",
            Self::Cancel => "Cancel",
            Self::Delete => "Delete",
        }
    }

    /// The verb of the command line.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Delete => "rm",
            other => other.as_str(),
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|doing| doing.as_str() == word)
    }

    pub(crate) const fn grant(self) -> Action {
        match self {
            Self::Retry => Action::Retry,
            Self::Run => Action::Edit,
            Self::Cancel => Action::Cancel,
            Self::Delete => Action::Delete,
        }
    }
}
