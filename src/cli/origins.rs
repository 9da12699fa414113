//! Operate: which settings hold, and who has said each: the command line, the environment, a file, or nobody.

use serde::Serialize;

use super::console::Console;
use super::place::Settings;
use super::work;
use crate::error::Error;
use crate::retention::Retention;

/// One setting, and who has said it.
#[derive(Debug, Serialize)]
pub(crate) struct Said {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) from: String,
}

/// Who has said what nobody has said.
const DEFAULT: &str = "default";

/// What variables say, and the keys of a file that say the same, if there are any.
const VARIABLES: &[(&str, &str)] = &[
    ("DB", "db"),
    ("MODE", "mode"),
    ("WORKERS", "workers"),
    ("QUEUES", "serve"),
    ("GRACE", "grace"),
    ("LOG", "log"),
];

/// What holds for `litework` where nobody says anything.
fn defaults() -> Vec<(&'static str, String)> {
    let retention = Retention::default();
    let retention = if retention.is_forever() {
        "no limit".to_owned()
    } else {
        serde_json::to_string(&retention).unwrap_or_default()
    };
    let texts = [
        ("workers", "one for each core"),
        ("serve", "all"),
        ("serve_all_but", "none"),
        ("name", "litework"),
        ("durability", "full"),
        ("prune", "true"),
        ("incremental_vacuum", "false"),
        ("artifacts_beside", "false"),
        ("application_file", "false"),
        ("convert_to_wal", "false"),
        ("allow_network_filesystem", "false"),
        ("must_exist", "true"),
    ];
    let texts = texts.map(|(key, text)| (key, text.to_owned()));
    texts.into_iter().chain([("retention", retention)]).collect()
}

/// Each setting, and who has said it. What a program's own code says is not known here.
pub(crate) fn origins(console: &Console) -> Result<Vec<Said>, Error> {
    let mut all: Vec<Said> = Vec::new();
    // Whoever comes first is right.
    let mut add = |key: &str, value: String, from: String| {
        if all.iter().all(|said| said.key != key) {
            all.push(Said { key: key.to_owned(), value, from });
        }
    };
    if let Some(path) = &console.global.db {
        add("db", path.display().to_string(), "--db".to_owned());
    }
    for (word, key) in VARIABLES {
        if let Some((name, value)) = console.variable(word)? {
            add(key, value, name);
        }
    }
    let settings = if console.is_alone() { Settings::find()? } else { None };
    if let Some(settings) = &settings {
        for (key, value) in settings.said() {
            add(&key, value, settings.origin(&key));
        }
    }
    if console.is_alone() {
        for (key, value) in defaults() {
            add(key, value, DEFAULT.to_owned());
        }
    }
    for (key, value) in work::DEFAULTS {
        add(key, (*value).to_owned(), DEFAULT.to_owned());
    }
    Ok(all)
}
