//! Define: the client of one who looks after a queue from a command line: it runs nothing.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Builder;
use super::resolve::program_name;
use super::served::Served;
use super::store::Store;
use crate::error::Error;
use crate::json::JsonLimits;
use crate::mode::Mode;
use crate::options::Durability;

/// What whoever has started a worker has said of it, which goes before all settings; what was not said is as those say.
#[derive(Debug, Clone)]
pub(crate) struct Works {
    pub(crate) mode: Mode,
    pub(crate) threads: Option<usize>,
    pub(crate) served: Option<Served>,
    pub(crate) name: Option<String>,
    /// How often it is looked for what others commit, where the system reports nothing.
    pub(crate) look_every: Option<Duration>,
    /// What has come of it all.
    pub(crate) told: Arc<OnceLock<Worker>>,
}

impl Works {
    pub(crate) fn of_mode(mode: Mode) -> Self {
        let told = Arc::default();
        Self { mode, threads: None, served: None, name: None, look_every: None, told }
    }
}

/// What a worker is, after all settings.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) threads: usize,
    pub(crate) served: Served,
    /// What somebody has called it; none: as its program.
    pub(crate) name: Option<String>,
}

impl Builder {
    /// Makes it a client that opens a file which is there: this one, which goes before all settings, or that which
    /// they name. Whatever they say besides, it runs and declares nothing, and takes calls of kinds that it does not
    /// know.
    pub(crate) fn for_operator(mut self, file: Option<PathBuf>) -> Result<Self, Error> {
        self.place.is_operated = true;
        self.schedules = None;
        self.named(file)
    }

    /// Makes it one that runs the tasks of a file that is there, this one or that which the settings name, as was said.
    pub(crate) fn for_worker(mut self, file: Option<PathBuf>, works: Works) -> Result<Self, Error> {
        self.place.works = Some(works);
        self.named(file)
    }

    /// Makes it one that only stores, beside one that works, in a file that is there.
    pub(crate) fn for_neighbour(mut self) -> Self {
        self.place.works = Some(Works::of_mode(Mode::Enqueue));
        self.be_there();
        self
    }

    /// A file that is there: this one, or that which the settings name.
    fn named(mut self, file: Option<PathBuf>) -> Result<Self, Error> {
        self.be_there();
        if let Some(file) = file {
            self.be_file()?;
            self.set_path(&file);
            self.place.is_fixed = true;
        }
        Ok(self)
    }

    fn be_there(&mut self) {
        (self.settings.must_exist, self.config.must_exist) = (true, None);
    }

    /// The same, and makes the file where it is missing.
    pub(crate) fn may_make_file(mut self) -> Self {
        self.settings.must_exist = false;
        self
    }

    /// The file that all settings together name, and what it is to survive; it is not looked at.
    pub(crate) fn file_of_operator(&mut self) -> Result<(PathBuf, Durability), Error> {
        self.apply_settings()?;
        match &self.store {
            Store::File(path) => Ok((path.clone(), self.durability)),
            Store::Memory | Store::Unnamed => Err(no_file()),
        }
    }

    /// How large JSON may be.
    pub(crate) fn limits_of_json(&self) -> JsonLimits {
        self.limits
    }

    /// After all settings: what an operator's client is, or a worker's, whatever they say.
    pub(super) fn check_operated(&mut self) -> Result<(), Error> {
        if let Some(works) = self.place.works.clone() {
            let Works { mode, threads, served, name, look_every, told: _ } = works;
            self.settings.look_every = look_every;
            self.mode = Some(mode);
            self.workers = threads.or(self.workers);
            self.pool.name = name.unwrap_or_else(|| std::mem::take(&mut self.pool.name));
            if let Some(served) = served {
                self.serve_only(served);
            }
        }
        if !self.place.is_operated {
            return Ok(());
        }
        self.mode = Some(Mode::Hold);
        if matches!(self.store, Store::Memory) {
            return Err(no_file());
        }
        Ok(())
    }

    /// Tells what has come of all settings to whoever has asked for a worker.
    pub(super) fn tell_worker(&self) {
        let Some(works) = &self.place.works else { return };
        let (only, except) = (self.pool.queues.clone(), self.pool.exclude.clone());
        let name = Some(self.pool.name.clone()).filter(|name| *name != program_name());
        let threads = self.pool.threads;
        let worker = Worker { threads, served: Served { only, except }, name };
        // A builder is opened once.
        let _first = works.told.set(worker);
    }
}

fn no_file() -> Error {
    let allowed =
        "a file, as `--db` or `LITEWORK_DB` names one: nobody else sees what is in memory";
    Error::invalid("unsupported", "queue of this program", "in memory", allowed)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use crate::client::Client;

    #[test]
    fn whoever_asks_for_the_file_opens_it_as_its_program_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.db");
        let theirs = Connection::open(&path).expect("a file");
        theirs
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE orders (id)")
            .expect("a table");
        let program = || Client::builder(&path).environment([("", ""); 0]).application_file();
        drop(program().open().expect("a queue"));
        let mut builder = program().for_operator(None).expect("it is named");
        let (file, _) = builder.file_of_operator().expect("a file");
        assert_eq!(file, path);
        let opened = builder.open().expect("it knows whose file it is");
        drop(opened);
        theirs
            .execute_batch("UPDATE litework_meta SET value = 7 WHERE name = 'min_writer'")
            .expect("a newer program");
        let mut builder = program().for_operator(None).expect("it is named");
        builder.file_of_operator().expect("a file");
        assert_eq!(builder.open().expect_err("it is newer").code(), "schema_newer");
    }
}
