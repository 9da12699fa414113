//! Operate: what stands on a command line, read as what it means: spans, moments, ids, JSON. What is refused is told
//! with what is allowed.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use crate::backends::sqlite::is_open_here;
use crate::client::Client;
use crate::error::Error;
use crate::id::TaskId;
use crate::json;
use crate::json::JsonLimits;
use crate::time::Timestamp;
use crate::written::parse_duration;
use crate::zone::Zone;

/// A span, as in `1h30m`.
pub(crate) fn span(text: &str) -> Result<Duration, Error> {
    parse_duration(text)
}

/// A time zone by its name.
pub(crate) fn zone(name: &str) -> Result<Zone, Error> {
    name.parse()
}

/// A moment: RFC 3339 with an offset, or local time of a zone that was named.
pub(crate) fn moment(text: &str, zone: Option<Zone>) -> Result<Timestamp, Error> {
    match zone {
        Some(zone) => zone.moment(text),
        None => text.parse(),
    }
}

/// Whether an answer is yes.
pub(crate) fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

/// A task by its id, or by the beginning of it: the row number before the dash names one task alone.
pub(crate) fn id(client: &Client, text: &str) -> Result<TaskId, Error> {
    if let Ok(id) = text.parse::<TaskId>() {
        return Ok(id);
    }
    let (row, tag) = text.split_once('-').unwrap_or((text, ""));
    // Any tag that begins so will do: what is looked for is the row.
    let any: Result<TaskId, _> = format!("{row}-{tag:0<13}").parse();
    let Ok(any) = any else {
        let allowed = "the id of a task, as in 7-3k2j1h4g5f6d7, or its part before the dash";
        return Err(Error::invalid("bad_id", "id", text, allowed));
    };
    let found = client.hub.backend.by_row(any.row())?.map(|task| task.id);
    found.filter(|id| id.to_string().starts_with(text)).ok_or_else(|| Error::not_found(text))
}

/// A JSON object: as it stands, out of a file by `@path`, or by `-` from standard input. It is read while no queue is
/// open yet.
pub(crate) fn object(text: &str, limits: JsonLimits) -> Result<String, Error> {
    let bytes = if text == "-" {
        let input = std::io::stdin();
        if input.is_terminal() {
            let allowed =
                "JSON from a pipe or a file, as in `< args.json`; standard input is a terminal";
            return Err(Error::invalid("bad_json", "arguments", text, allowed));
        }
        all_of(input.lock(), "standard input", limits)?
    } else if let Some(path) = text.strip_prefix('@') {
        of_file(Path::new(path), limits)?
    } else {
        text.as_bytes().to_vec()
    };
    Ok(json::check_object(&bytes, limits)?.trim().to_owned())
}

fn of_file(path: &Path, limits: JsonLimits) -> Result<Vec<u8>, Error> {
    let file = opened(path, "file of arguments")?;
    all_of(file, &path.display().to_string(), limits)
}

/// A file that is named on a command line, to be read; it is no queue.
pub(crate) fn opened(path: &Path, what: &str) -> Result<File, Error> {
    if is_open_here(path) {
        let allowed = "a file that is no queue; this program has that one open";
        return Err(Error::invalid("queue_file", what, path.display(), allowed));
    }
    File::open(path).map_err(|error| {
        let allowed = format!("a file that can be read: {error}");
        Error::invalid("not_found", what, path.display().to_string(), allowed)
    })
}

/// All of it, but no more than may be used: what is too large is not read to its end.
fn all_of(from: impl Read, what: &str, limits: JsonLimits) -> Result<Vec<u8>, Error> {
    let most = u64::try_from(limits.size_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).map_err(|error| {
        Error::invalid("bad_json", "arguments", what, format!("what can be read: {error}"))
    })?;
    if bytes.len() > limits.size_bytes {
        return Err(json::too_large(bytes.len(), limits).into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_read_to_its_end() {
        let limits = JsonLimits { size_bytes: 64, ..JsonLimits::default() };
        let endless = std::io::repeat(b' ');
        let refused = all_of(endless, "standard input", limits).expect_err("it has no end");
        assert_eq!(refused.code(), "payload_too_large");
        assert_eq!(all_of(&b"{}"[..], "a file", limits).expect("it is read"), b"{}");
    }

    #[test]
    fn a_queue_that_is_open_here_is_not_opened_as_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tasks.db");
        let client = Client::builder(&path).mode(crate::Mode::Hold).open().expect("a queue");
        for suffix in ["", "-wal", "-shm"] {
            let named = path.with_file_name(format!("tasks.db{suffix}"));
            assert!(named.exists(), "{suffix}");
            let text = format!("@{}", named.display());
            let refused = object(&text, JsonLimits::default()).expect_err("it is open");
            assert_eq!(refused.code(), "queue_file", "{refused}");
        }
        #[cfg(unix)]
        {
            let link = folder.path().join("link.json");
            std::os::unix::fs::symlink(&path, &link).expect("a link");
            assert_eq!(opened(&link, "file").expect_err("it is open").code(), "queue_file");
        }
        drop(client);
        assert!(opened(&path, "file").is_ok(), "nobody has it open");
        std::fs::write(folder.path().join("a.json"), "{}").expect("written");
        assert!(opened(&folder.path().join("a.json"), "file").is_ok());
    }

    #[test]
    fn a_moment_needs_its_zone() {
        let berlin = zone("Europe/Berlin").expect("a zone");
        let at = |text, zone| moment(text, zone).map(|at| at.to_string());
        let local = at("2026-06-01 09:00", Some(berlin));
        assert_eq!(local.expect("it is read"), "2026-06-01T07:00:00.000Z");
        assert_eq!(at("2026-06-01T09:00:00", None).expect_err("no zone").code(), "bad_time");
        let gap = at("2026-03-29 02:30", Some(berlin)).expect_err("clocks skip it").to_string();
        assert!(gap.contains("write 2026-03-29T01:59:59+01:00 or 2026-03-29T03:00:00+02:00"));
    }
}
