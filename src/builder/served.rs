//! Define: which queues a program serves, as words say it: on its command line or in its environment.

use crate::error::Error;
use crate::options::check_name;

/// The word for all queues.
const ALL: &str = "*";

/// Which queues are served: these or, where none is named, all but those.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) only: Vec<String>,
    pub(crate) except: Vec<String>,
}

impl Served {
    /// Names of queues, or the word for all of them; an error names the place where they stand.
    pub(crate) fn read(place: &str, names: &[String]) -> Result<Self, Error> {
        let all = names.iter().any(|name| name == ALL);
        if all && names.len() > 1 {
            let allowed = "* alone, or names of queues";
            return Err(Error::invalid("bad_queue", place, names.join(","), allowed));
        }
        if all {
            return Ok(Self::default());
        }
        if names.iter().any(String::is_empty) {
            let allowed = "names of queues, with commas between them, or * for all; one is empty";
            return Err(Error::invalid("bad_queue", place, names.join(","), allowed));
        }
        names.iter().try_for_each(|name| check_name("bad_queue", place, name))?;
        Ok(Self { only: names.to_vec(), except: Vec::new() })
    }
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.only.is_empty(), self.except.is_empty()) {
            (false, _) => write!(f, "queues {}", self.only.join(", ")),
            (true, false) => write!(f, "all queues but {}", self.except.join(", ")),
            (true, true) => f.write_str("all queues"),
        }
    }
}
