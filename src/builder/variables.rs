//! Define: what the operator says, by variables of the environment.
//!
//! An operator may run several programs in one environment, so variables of clients that are not here are
//! passed over: `LITEWORK_` and any name before a word that is known.

use super::Builder;
use crate::catalog::CLIENT_DEFAULT;
use crate::error::Error;
use crate::near::{did_you_mean, nearest};

/// What the names of environment variables begin with.
pub(crate) const VARIABLES: &str = "LITEWORK_";

/// What their names end with.
const WORDS: [&str; 6] = ["MODE", "WORKERS", "DB", "QUEUES", "GRACE", "LOG"];

/// For this crate's own tests.
const OF_TESTS: &[&str] = if cfg!(feature = "__fault") {
    &["FAULT", "MARK", "PLANT", "MOUNTS", "SEEDS", "BUSY_MS"]
} else {
    &[]
};

/// What the names of a client's environment variables begin with.
pub(crate) fn variables_of(name: &str) -> String {
    if name == CLIENT_DEFAULT {
        return VARIABLES.to_owned();
    }
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("{VARIABLES}{}_", name.chars().map(word).collect::<String>())
}

/// What is to be said of a variable whose name begins with [`VARIABLES`].
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// It is read, here or by another program.
    Known,
    /// It looks like these.
    Misspelt(Vec<String>),
    /// It names the client `default`, whose variables have no name; this is what was meant.
    NamesDefault(String),
    /// It looks like none of ours, and may be somebody else's.
    Strange,
}

/// `prefixes` are what the variables of the program's clients begin with.
fn judge(name: &str, prefixes: &[String]) -> Judged {
    let rest = name.strip_prefix(VARIABLES).unwrap_or(name);
    let last = rest.rsplit('_').next().unwrap_or(rest);
    let read = |word: &str| prefixes.iter().any(|prefix| *name == format!("{prefix}{word}"));
    if let Some(word) =
        rest.strip_prefix("DEFAULT_").filter(|word| WORDS.contains(word) && !read(word))
    {
        return Judged::NamesDefault(format!("{VARIABLES}{word}"));
    }
    if WORDS.contains(&last) || OF_TESTS.contains(&rest) {
        return Judged::Known;
    }
    // That of the client with the longest name is the one that was meant.
    let prefix = prefixes.iter().filter(|prefix| name.starts_with(*prefix)).max_by_key(|p| p.len());
    let prefix = prefix.map_or(VARIABLES, String::as_str);
    let mut near = nearest(&name[prefix.len()..], WORDS);
    // Some words are so short that whatever is short looks like them, too.
    near.truncate(1);
    if near.is_empty() {
        return Judged::Strange;
    }
    Judged::Misspelt(near.into_iter().map(|word| format!("{prefix}{word}")).collect())
}

impl Builder {
    /// Refuses variables that are misspelt, and warns of those that nobody reads.
    pub(super) fn check_variables(&self) -> Result<(), Error> {
        let prefixes = &self.place.prefixes;
        if prefixes.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = if let Some(pairs) = &self.environment {
            let set = pairs.iter().filter(|(_, value)| !value.is_empty());
            set.map(|(name, _)| name.clone()).collect()
        } else {
            let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
            set.map(|(name, _)| name.to_string_lossy().into_owned()).collect()
        };
        names.retain(|name| name.starts_with(VARIABLES));
        names.sort_unstable();
        for name in &names {
            let allowed = match judge(name, prefixes) {
                Judged::Known => continue,
                Judged::Misspelt(near) => format!("it is read by nobody{}", did_you_mean(&near)),
                Judged::NamesDefault(meant) => {
                    format!("the client `{CLIENT_DEFAULT}` is named without it: {meant}")
                }
                Judged::Strange => {
                    tracing::warn!(%name, "an environment variable with our prefix is read by nobody");
                    continue;
                }
            };
            return Err(Error::invalid("bad_config", "environment variable", name, allowed));
        }
        Ok(())
    }

    /// An environment variable of this client, with its whole name; an empty one is none.
    pub(crate) fn variable(&self, word: &str) -> Result<Option<(String, String)>, Error> {
        self.variable_called(format!("{}{word}", self.place.variables))
    }

    /// The same by its whole name.
    pub(crate) fn variable_called(&self, name: String) -> Result<Option<(String, String)>, Error> {
        let value = match &self.environment {
            Some(pairs) => {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
            }
            None => match std::env::var(&name) {
                Ok(value) => Some(value),
                Err(std::env::VarError::NotPresent) => None,
                Err(std::env::VarError::NotUnicode(raw)) => {
                    return Err(Error::invalid("bad_config", name, raw, "UTF-8 text"));
                }
            },
        };
        Ok(value.filter(|value| !value.is_empty()).map(|value| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_told_from_another_programs_and_from_a_strangers() {
        let prefixes = ["default", "mail", "mail-out"].map(variables_of);
        let judged = |name: &str| judge(name, &prefixes);
        let misspelt = |near: &str| Judged::Misspelt(vec![near.to_owned()]);
        for name in ["LITEWORK_DB", "LITEWORK_MAIL_MODE", "LITEWORK_OTHER_PROGRAM_WORKERS"] {
            assert_eq!(judged(name), Judged::Known, "{name}");
        }
        for (name, near) in [
            ("LITEWORK_WORKER", "LITEWORK_WORKERS"),
            ("LITEWORK_MODUS", "LITEWORK_MODE"),
            ("LITEWORK_MOD", "LITEWORK_MODE"),
            ("LITEWORK_LOGS", "LITEWORK_LOG"),
            ("LITEWORK_MAIL_WROKERS", "LITEWORK_MAIL_WORKERS"),
            ("LITEWORK_MAIL_OUT_WORKER", "LITEWORK_MAIL_OUT_WORKERS"),
        ] {
            assert_eq!(judged(name), misspelt(near), "{name}");
        }
        for word in WORDS {
            let meant = Judged::NamesDefault(format!("LITEWORK_{word}"));
            assert_eq!(judged(&format!("LITEWORK_DEFAULT_{word}")), meant);
        }
        let named_so = ["Default"].map(variables_of);
        assert_eq!(judge("LITEWORK_DEFAULT_DB", &named_so), Judged::Known);
        for name in
            ["LITEWORK_PORT", "LITEWORK_SERVICE_HOST", "LITEWORK_REPORTS_WORKER", "LITEWORK_"]
        {
            assert_eq!(judged(name), Judged::Strange, "{name}");
        }
    }
}
