//! Operate: which file is meant, and which settings hold: what the command line says goes before the environment, and
//! that before a `litework.toml` in this folder or in one above.

use std::path::{Path, PathBuf};

use super::global::Global;
use crate::builder::Builder;
use crate::config::Config;
use crate::error::Error;

/// The file of settings.
const SETTINGS: &str = "litework.toml";
/// The variable that names the queue file.
const VARIABLE: &str = "LITEWORK_DB";

/// Settings that were found.
#[derive(Debug)]
pub(crate) struct Settings {
    path: PathBuf,
    text: String,
    config: Config,
}

impl Settings {
    /// Those of this folder, or of the nearest above that has some.
    pub(crate) fn find() -> Result<Option<Self>, Error> {
        let here = std::env::current_dir().map_err(|error| {
            let allowed = format!("a folder that can be read: {error}");
            Error::invalid("bad_config", "current folder", ".", allowed)
        })?;
        let mut paths = here.ancestors().map(|folder| folder.join(SETTINGS));
        paths.find(|path| path.is_file()).map(|path| Self::read(&path)).transpose()
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        // No queue is open yet.
        let text = std::fs::read_to_string(path).map_err(|error| {
            let allowed = format!("a text that can be read: {error}");
            Error::invalid("bad_config", "file of settings", &shown, allowed)
        })?;
        let mut config: Config = toml::from_str(&text).map_err(|error| {
            let span = error.span().filter(|span| !span.is_empty());
            let span = span.or_else(|| named(&text, error.message()));
            let (place, found) = place_of(&text, span);
            Error::invalid("bad_config", format!("{shown}:{place}"), found, error.message())
        })?;
        if let (Some(db), Some(folder)) = (&mut config.db, path.parent()) {
            *db = folder.join(&*db);
        }
        Ok(Self { path: path.to_owned(), text, config })
    }

    /// The keys, each with what stands there.
    pub(crate) fn said(&self) -> Vec<(String, String)> {
        let table: toml::Table = toml::from_str(&self.text).unwrap_or_default();
        let said = |(key, value): (String, toml::Value)| match (&*key, &self.config.db) {
            ("db", Some(path)) => (key, path.display().to_string()),
            _ => (key, value.to_string()),
        };
        table.into_iter().map(said).collect()
    }

    /// Where a key stands.
    pub(crate) fn origin(&self, key: &str) -> String {
        let begins = |line: &str| {
            let rest = line.trim_start().trim_start_matches('[').strip_prefix(key);
            rest.is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']))
        };
        let line = self.text.lines().position(begins).map_or(1, |at| at + 1);
        format!("{}:{line}", self.path.display())
    }
}

/// Where the key stands that an error names in backticks.
fn named(text: &str, message: &str) -> Option<std::ops::Range<usize>> {
    let key = message.split('`').nth(1)?;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = line.len() - line.trim_start().len();
        if line[at..].strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')) {
            return Some(start + at..start + at + key.len());
        }
        start += line.len();
    }
    None
}

/// Line and column, counted from 1, and what stands there.
fn place_of(text: &str, span: Option<std::ops::Range<usize>>) -> (String, String) {
    let span = span.unwrap_or(0..0);
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let found = text.get(span).and_then(|found| found.lines().next()).unwrap_or_default();
    (format!("{line}:{column}"), found.to_owned())
}

/// What the environment says of the file, if it says anything.
fn file_variable() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What the environment says to `litework`, by this word, with the whole name of the variable.
pub(crate) fn variable(word: &str) -> Result<Option<(String, String)>, Error> {
    Builder::of_config(Config::default())?.variable(word)
}

/// A client of the file that is meant, or of this one.
pub(crate) fn builder(global: &Global, file: Option<PathBuf>) -> Result<Builder, Error> {
    let (builder, file) = found(global, file)?;
    builder.for_operator(file)
}

/// What the settings say, and which file goes before them.
pub(crate) fn found(
    global: &Global,
    file: Option<PathBuf>,
) -> Result<(Builder, Option<PathBuf>), Error> {
    let config = Settings::find()?.map(|settings| settings.config).unwrap_or_default();
    let file = file.or_else(|| global.db.clone());
    if file.is_none() && file_variable().is_none() && config.db.is_none() && config.preset.is_none()
    {
        let allowed =
            format!("--db PATH, {VARIABLE}, or `db` in a {SETTINGS} here or in a folder above");
        return Err(Error::invalid(
            "no_queue_named",
            "queue file",
            format_args!("not named"),
            allowed,
        ));
    }
    Ok((Builder::of_config(config)?, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(SETTINGS);
        std::fs::write(&path, text).expect("written");
        Settings::read(&path).map_err(|error| {
            error.to_string().replace(&folder.path().display().to_string(), "<dir>")
        })
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(
            read("db = \"a.db\"\n\nworker = 3\n").map(drop),
            Err("bad_config: <dir>/litework.toml:3:1 is \"worker\"; unknown key `worker`; did you mean \
                 `workers`?"
                .to_owned())
        );
        assert!(read("db = 7\n").expect_err("no text").contains("litework.toml:1:6 is \"7\""));
    }

    #[test]
    fn a_path_counts_from_the_folder_of_the_settings() {
        let found = read("[retention]\nfailed = { age = \"1d\" }\n").expect("settings");
        assert!(found.origin("retention").ends_with("litework.toml:1"));
        let found = read("name = \"a\"\ndb = \"q/tasks.db\"\n").expect("settings");
        let folder = found.path.parent().expect("a folder").to_owned();
        assert_eq!(found.config.db, Some(folder.join("q/tasks.db")));
        assert!(found.origin("db").ends_with("litework.toml:2"));
    }
}
