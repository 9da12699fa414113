//! Watch: what tasks leave for people: texts, links, JSON and files.
//!
//! Words only: who writes and who reads them is further on.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::range::Range;
use crate::time::{SPAN_MAX, Timestamp};

/// Artifacts of one task at most.
pub const ARTIFACTS_MAX: usize = 100;
/// Bytes of an artifact that is given as a whole at most: a text, a link, JSON.
pub const ARTIFACT_TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of an artifact's name, and of its media type, at most.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of a link at most.
const URL_BYTES_MAX: usize = 8_192;
/// What is stored, and read, at once.
pub(crate) const PART_BYTES: usize = 256 << 10;

/// Limits of one artifact, and of all in a file, that can be set.
pub(crate) const BYTES: Range<u64> = Range { least: 1, most: 1 << 40, text: "1 to 1099511627776" };

/// How an artifact is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ArtifactKind {
    /// To be read in place.
    Text,
    /// A link to follow.
    Url,
    /// For programs.
    Json,
    /// To be downloaded.
    File,
}

impl ArtifactKind {
    const ALL: [Self; 4] = [Self::Text, Self::Url, Self::Json, Self::File];

    /// The word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Url => "url",
            Self::Json => "json",
            Self::File => "file",
        }
    }

    /// The value of a stored word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The media type that it has unless another is said.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Url => "text/uri-list",
            Self::Json => "application/json",
            Self::File => "application/octet-stream",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a task has left for people: see [`Context::artifact`](crate::Context::artifact).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Artifact {
    /// Its number in the task, from 1; one that takes the place of another of its name has that one's.
    pub number: u32,
    /// Its name, once in a task.
    pub name: String,
    /// How it is meant.
    pub kind: ArtifactKind,
    /// What it is made of, as a media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// The attempt that left it.
    pub attempt: u32,
    /// When it was complete.
    pub created_at: Timestamp,
    /// From this moment it is not given out any more; none: it stays as long as its task.
    pub expires_at: Option<Timestamp>,
}

/// An artifact on its way into the store, every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewArtifact {
    pub(crate) name: String,
    pub(crate) kind: ArtifactKind,
    pub(crate) media_type: String,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) quota: ArtifactQuota,
}

/// How much artifacts may take, and where those that come in parts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArtifactQuota {
    /// Bytes of one.
    pub(crate) each: u64,
    /// Bytes of all that one file keeps.
    pub(crate) all: u64,
    /// In a folder beside the queue file, and not in it.
    pub(crate) beside: bool,
}

impl Default for ArtifactQuota {
    fn default() -> Self {
        Self { each: 256 << 20, all: 1 << 30, beside: false }
    }
}

impl ArtifactQuota {
    /// Refuses an artifact that would be so large.
    pub(crate) fn check_one(&self, name: &str, bytes: u64) -> Result<(), Error> {
        if bytes <= self.each {
            return Ok(());
        }
        let place = format!("size in bytes of artifact {name:?}");
        let allowed = format!("at most {}, see Builder::max_artifact_bytes", self.each);
        Err(Error::invalid("artifact_too_large", place, bytes, allowed))
    }

    /// Refuses to keep so much in all.
    pub(crate) fn check_all(&self, bytes: u64) -> Result<(), Error> {
        if bytes <= self.all {
            return Ok(());
        }
        Err(Error::Overloaded {
            what: "the artifacts of this file (bytes)".to_owned(),
            found: bytes,
            allowed: self.all,
            instead: "try again when older ones were removed, or see Builder::max_artifacts_bytes",
            passes: true,
        })
    }
}

/// A task has as many artifacts as it may.
pub(crate) fn too_many_artifacts(name: &str) -> Error {
    let allowed = format!("one of at most {ARTIFACTS_MAX} artifacts of a task");
    Error::invalid("too_many_artifacts", "artifact", name, allowed)
}

/// What was begun has been completed or given up.
pub(crate) fn no_artifact(artifact: i64) -> Error {
    let allowed = "one that was begun, and neither completed nor given up";
    Error::invalid("no_artifact", "artifact", artifact, allowed)
}

/// 1 to 200 bytes that can be the name of a file everywhere: neither a path nor a control character.
pub(crate) fn check_artifact_name(name: &str) -> Result<(), Error> {
    let is_bad = |letter: char| letter.is_control() || r#"/\:*?"<>|"#.contains(letter);
    let reserved = name == "." || name == "..";
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && !reserved && !name.contains(is_bad) {
        return Ok(());
    }
    let allowed = r#"1 to 200 bytes, none of them a control character or / \ : * ? " < > |"#;
    Err(Error::invalid("bad_name", "artifact", name, allowed))
}

/// `type/subtype`, perhaps with parameters, in visible ASCII: it becomes the header of an answer.
pub(crate) fn check_media_type(name: &str, media_type: &str) -> Result<(), Error> {
    let word = |text: &str| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !text.is_empty() && text.bytes().all(is_token)
    };
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let is_type = essence.trim_end().split_once('/').is_some_and(|(a, b)| word(a) && word(b));
    let visible = parameters.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_type && visible && media_type.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let place = format!("media type of artifact {name:?}");
    let allowed = "type/subtype of ASCII letters, such as text/csv; charset=utf-8";
    Err(Error::invalid("bad_media_type", place, media_type, allowed))
}

/// A link that a page may show as one: absolute and of the web, or a path of the same host. Anything else might
/// run as a script where somebody follows it.
pub(crate) fn check_url(name: &str, url: &str) -> Result<(), Error> {
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    let of_web = lower.starts_with("https://") || lower.starts_with("http://");
    let is_path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    let clean = !url.contains(|letter: char| letter.is_control() || letter == ' ');
    if (of_web || is_path) && clean && url.len() <= URL_BYTES_MAX {
        return Ok(());
    }
    let place = format!("link of artifact {name:?}");
    let allowed = "https://…, http://… or a path from /…, without blanks, at most 8192 bytes";
    Err(Error::invalid("bad_url", place, url, allowed))
}

/// From zero to 100 years.
pub(crate) fn expires_at(
    name: &str,
    span: Option<Duration>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let Some(span) = span else { return Ok(None) };
    if span > SPAN_MAX {
        let place = format!("expiry of artifact {name:?}");
        return Err(Error::invalid("out_of_range", place, span, "0 to 36500 days"));
    }
    Ok(Some(now.after(span)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_and_links_are_those_of_the_web() {
        for good in ["report.csv", "Bericht für Ada.pdf", "..a"] {
            assert!(check_artifact_name(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "a\\b", "a\nb", "c:", &"x".repeat(201)] {
            assert!(check_artifact_name(bad).is_err(), "{bad:?}");
        }
        for good in ["https://docs.rs/a?b#c", "HTTP://docs.rs", "/orders/7"] {
            assert!(check_url("x", good).is_ok(), "{good}");
        }
        for bad in
            ["javascript:alert(1)", "//evil.example", "/\\evil", "data:text/html,x", "/a b", "x"]
        {
            assert!(check_url("x", bad).is_err(), "{bad}");
        }
        for good in ["text/csv", "text/csv; charset=utf-8", "image/svg+xml"] {
            assert!(check_media_type("x", good).is_ok(), "{good}");
        }
        for bad in ["", "csv", "text/", "text/csv\r\nX: y", "text/c sv"] {
            assert!(check_media_type("x", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_and_kinds_are_one_to_one() {
        for kind in ArtifactKind::ALL {
            assert_eq!(ArtifactKind::from_word(kind.as_str()), Some(kind));
            assert!(check_media_type("x", kind.media_type()).is_ok());
        }
    }
}
