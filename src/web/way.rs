//! Watch: where a person goes once a task has ended, and what they are told of errors.
//!
//! It is kept with the task, so that each page of each process knows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::record::TaskRecord;
use crate::state::State;

/// Under which name it stands among a task's metadata.
pub(crate) const META: &str = "litework.web";
const PATH_BYTES_MAX: usize = 2_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Way {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) success: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// To the first file that the task has left, instead of `success`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) to_file: bool,
    /// What people are told of errors with these codes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) messages: BTreeMap<String, String>,
}

impl Way {
    /// What is kept with a task; damaged or foreign metadata is none.
    pub(crate) fn of(task: &TaskRecord) -> Self {
        let kept = task.meta.get(META);
        kept.and_then(|kept| Self::deserialize(kept).ok()).unwrap_or_default()
    }

    /// Where it leads now; none before the end, or where nothing was said.
    pub(crate) fn target(&self, task: &TaskRecord, file: Option<&str>) -> Option<String> {
        let path = match task.state {
            State::Succeeded if self.to_file && file.is_some() => return file.map(str::to_owned),
            State::Succeeded | State::Skipped => self.success.as_deref()?,
            State::Failed | State::Cancelled => self.error.as_deref()?,
            _ => return None,
        };
        // It was checked when it was stored; the file may have been written by somebody else.
        check_path("redirect", path).ok()?;
        Some(filled(path, task))
    }
}

/// The path with the task's id and result in their places.
fn filled(path: &str, task: &TaskRecord) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let result = task.result.as_deref().unwrap_or_default();
    let plain = serde_json::from_str::<String>(result);
    let result = encoded(plain.as_deref().unwrap_or(result)).replace('+', "%20");
    path.replace("{id}", &task.id.to_string()).replace("{result}", &result)
}

/// A redirect leads to a path of the same site, or others could use it to lead people astray.
pub(crate) fn check_path(place: &'static str, path: &str) -> Result<(), Error> {
    let is_plain = path.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    let is_local = path.starts_with('/') && !path.starts_with("//");
    if is_plain && is_local && path.len() <= PATH_BYTES_MAX {
        return Ok(());
    }
    let allowed = "a path of the same site, as in /orders/7: at most 2000 printable ASCII characters, \
                   others percent-encoded";
    Err(Error::invalid("bad_redirect", place, path, allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_on_the_site() {
        for path in ["/", "/orders/7", "/orders?from=1#top", "/orders/{result}"] {
            assert!(check_path("success", path).is_ok(), "{path}");
        }
        for path in [
            "",
            "orders",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\r\nset-cookie: a=b",
            "/ä",
            "/a b",
        ] {
            assert!(check_path("success", path).is_err(), "{path}");
        }
        assert!(check_path("success", &format!("/{}", "x".repeat(PATH_BYTES_MAX))).is_err());
    }
}
