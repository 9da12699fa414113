//! Enqueue: a row that a program in another language has written into the inbox, and the check that
//! makes a call of it.
//!
//! Nothing of a row is trusted: each value is refused with the text that the same value has in Rust. A
//! row that is refused harms no other.

use chrono::{DateTime, NaiveDateTime};

use crate::error::{Error, shorten};
use crate::options::Options;
use crate::task::{CallOptions, Due};
use crate::time::Timestamp;

/// The contract that this program keeps to.
const CONTRACT: i64 = 1;
/// Smaller numbers are taken for seconds: as milliseconds they lie before March 1973.
const MILLIS_MIN: i64 = 100_000_000_000;

/// What `run_at` holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunAt {
    Now,
    /// Milliseconds since 1970.
    Millis(i64),
    Text(Vec<u8>),
    /// Neither a whole number nor text.
    Other(String),
}

/// One row as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InboxRow {
    pub(crate) id: i64,
    pub(crate) contract: i64,
    /// The name as it is in the catalog.
    pub(crate) kind: String,
    /// None where they are over the limit; then they are not read.
    pub(crate) args: Option<Vec<u8>>,
    pub(crate) args_bytes: usize,
    pub(crate) queue: Option<Vec<u8>>,
    pub(crate) priority: Option<i64>,
    pub(crate) attempts: Option<i64>,
    pub(crate) run_at: RunAt,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) tags: Option<Vec<u8>>,
    /// The writer's `SQLite`, as it says.
    pub(crate) sqlite_version: String,
}

impl InboxRow {
    /// Everything about the call but its arguments.
    pub(crate) fn call(&self) -> Result<CallOptions, Error> {
        if self.contract != CONTRACT {
            let allowed = format!("{CONTRACT}, which is all that this program knows");
            return Err(Error::invalid("unsupported", "contract", self.contract, allowed));
        }
        let mut options = Options::new();
        if let Some(queue) = text("bad_queue", "queue name", self.queue.as_deref())? {
            options = options.queue(queue);
        }
        if let Some(priority) = self.priority {
            let known = i32::try_from(priority);
            let refused = |_| Error::invalid("out_of_range", "priority", priority, "-100 to 100");
            options = options.priority(known.map_err(refused)?);
        }
        if let Some(attempts) = self.attempts {
            let known = u32::try_from(attempts);
            let refused = |_| Error::invalid("out_of_range", "attempts", attempts, "1 to 1000");
            options = options.attempts(known.map_err(refused)?);
        }
        let key = text("bad_key", "idempotency key", self.key.as_deref())?;
        let tags = self.tags()?.into_iter().map(Into::into).collect();
        Ok(CallOptions { options, due: self.due()?, key, tags, ..CallOptions::default() })
    }

    fn tags(&self) -> Result<Vec<String>, Error> {
        let Some(tags) = &self.tags else { return Ok(Vec::new()) };
        serde_json::from_slice(tags).map_err(|_| {
            let allowed = r#"a JSON array of text, such as ["nightly","eu"]"#;
            Error::invalid("bad_tag", "tags", String::from_utf8_lossy(tags), allowed)
        })
    }

    fn due(&self) -> Result<Due, Error> {
        match &self.run_at {
            RunAt::Now => Ok(Due::Now),
            RunAt::Millis(ms) if (0..MILLIS_MIN).contains(ms) => {
                let allowed = format!(
                    "a number counts milliseconds since 1970, so this is {}; seconds are to be \
                     multiplied by 1000",
                    Timestamp::clamped(*ms)
                );
                Err(Error::invalid("bad_time", "run_at", ms, allowed))
            }
            RunAt::Millis(ms) => Ok(Due::At(*ms)),
            RunAt::Text(bytes) => {
                let told = String::from_utf8_lossy(bytes);
                moment(&told).map(Due::At).ok_or_else(|| bad_time(&told))
            }
            RunAt::Other(told) => Err(bad_time(told)),
        }
    }
}

fn bad_time(told: &str) -> Error {
    let allowed = "milliseconds since 1970 as a whole number, or text such as \
                   2026-01-31T08:00:00Z or 2026-01-31 08:00:00 (UTC)";
    Error::invalid("bad_time", "run_at", told, allowed)
}

/// RFC 3339, or what the date functions of `SQLite` give, which is UTC.
fn moment(told: &str) -> Option<i64> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(told) {
        return Some(moment.timestamp_millis());
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let moment = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(told, form).ok());
    moment.map(|moment| moment.and_utc().timestamp_millis())
}

fn text(code: &'static str, place: &str, bytes: Option<&[u8]>) -> Result<Option<String>, Error> {
    let Some(bytes) = bytes else { return Ok(None) };
    let told = str::from_utf8(bytes);
    told.map(|told| Some(told.to_owned())).map_err(|_| {
        let told = shorten(&String::from_utf8_lossy(bytes));
        Error::invalid(code, place, told, "it must be UTF-8")
    })
}

/// What the inbox of a file holds, where programs in other languages enqueue by SQL; see
/// [`Client::inbox`](crate::Client::inbox).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbox {
    /// Rows that have become neither a task nor a refusal yet, by kind; of 1,000 kinds at most.
    pub waiting: Vec<InboxKind>,
    /// Rows that were refused and that nobody has removed or corrected yet.
    pub refused: u64,
    /// Which `SQLite` the writers have, as the newest 10,000 rows tell, by version.
    pub writers: Vec<InboxWriter>,
}

/// Rows of one kind that wait in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxKind {
    /// The kind, as the rows name it.
    pub kind: String,
    /// How many.
    pub rows: u64,
    /// Whether this program knows the kind. Rows of a kind that no program knows wait without end.
    pub known: bool,
}

/// Programs that wrote into the inbox with one version of `SQLite`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxWriter {
    /// The version, as the row says; shortened where it is no version.
    pub sqlite_version: String,
    /// How many of the newest rows.
    pub rows: u64,
    /// When the newest of them was written, by the writer's clock.
    pub newest_at: Timestamp,
    /// Whether it is older than 3.51.3, or no version at all. Such a program may damage the file: a
    /// checkpoint of it that meets a commit of another can lose pages.
    pub outdated: bool,
}

/// What one slice of the inbox came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) taken: usize,
    pub(crate) refused: usize,
    /// Kinds of rows for which there was no room.
    pub(crate) held_back: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> InboxRow {
        InboxRow {
            id: 1,
            contract: 1,
            kind: "mail".to_owned(),
            args: Some(b"{}".to_vec()),
            args_bytes: 2,
            queue: None,
            priority: None,
            attempts: None,
            run_at: RunAt::Now,
            key: None,
            tags: None,
            sqlite_version: "3.51.3".to_owned(),
        }
    }

    #[test]
    fn a_row_that_names_nothing_is_a_plain_call() {
        assert_eq!(row().call().expect("plain"), CallOptions::default());
    }

    #[test]
    fn a_moment_is_read_in_each_form_that_writers_have_at_hand() {
        let at = 1_769_846_400_250;
        for told in [
            "2026-01-31T08:00:00.250Z",
            "2026-01-31T10:00:00.250+02:00",
            "2026-01-31 08:00:00.250+00:00",
            "2026-01-31 08:00:00.250",
            "2026-01-31T08:00:00.250",
        ] {
            assert_eq!(moment(told), Some(at), "{told}");
        }
        assert_eq!(moment("2026-01-31 08:00:00"), Some(at - 250));
        for told in ["", "now", "2026-01-31", "2026-02-30 08:00:00", "1769846400250", "08:00"] {
            assert_eq!(moment(told), None, "{told}");
        }
    }

    #[test]
    fn seconds_are_not_taken_for_milliseconds() {
        let due = |ms| InboxRow { run_at: RunAt::Millis(ms), ..row() }.call().map(|call| call.due);
        assert_eq!(due(MILLIS_MIN).expect("milliseconds"), Due::At(MILLIS_MIN));
        assert_eq!(
            due(1_769_846_400).expect_err("seconds").to_string(),
            "bad_time: run_at is 1769846400; a number counts milliseconds since 1970, so this is \
             1970-01-21T11:37:26.400Z; seconds are to be multiplied by 1000"
        );
    }
}
