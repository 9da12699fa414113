//! A place to run a scenario: which engine keeps the tasks, and who runs them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use litework::testing::{Drain, ManualClock, drain};
use litework::{
    Builder, Client, Clock, Durability, Error, Handle, Mode, Signature, TaskRecord, Timestamp,
};

/// For what must happen: no test waits this long unless it fails.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// More attempts than any story needs, so that only tasks that go round come to it.
const DRAIN_LIMIT: usize = 100_000;

/// Which engine keeps the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Memory,
    File { durability: Durability, application: bool },
}

/// Who runs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    Pool,
    Inline,
    RunPending,
}

/// One combination of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) keeps: Keeps,
    pub(crate) runs: Runs,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keeps {
            Keeps::Memory => f.write_str("memory")?,
            Keeps::File { durability, application } => {
                let file = if application { "application's file" } else { "own file" };
                write!(f, "{file}, {durability:?}")?;
            }
        }
        write!(f, ", {:?}", self.runs)
    }
}

impl Place {
    /// The whole matrix. Memory knows neither durability nor files.
    fn all() -> Vec<Self> {
        let mut keeps = vec![Keeps::Memory];
        for durability in [Durability::Full, Durability::Normal] {
            for application in [false, true] {
                keeps.push(Keeps::File { durability, application });
            }
        }
        let runs = [Runs::Pool, Runs::Inline, Runs::RunPending];
        keeps
            .into_iter()
            .flat_map(|keeps| runs.into_iter().map(move |runs| Self { keeps, runs }))
            .collect()
    }

    /// A file of our own, for stories that differ only in who runs the tasks.
    pub(crate) fn file(runs: Runs) -> Self {
        let keeps = Keeps::File { durability: Durability::Normal, application: false };
        Self { keeps, runs }
    }
}

/// A place with a folder and a clock of its own.
pub(crate) struct Lab {
    pub(crate) place: Place,
    pub(crate) clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(place: Place) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lab = Self { place, clock: ManualClock::new(), folder };
        if matches!(place.keeps, Keeps::File { application: true, .. }) {
            let theirs = rusqlite::Connection::open(lab.path()).expect("the application's file");
            theirs
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA user_version = 7; \
                     CREATE TABLE orders (id INTEGER PRIMARY KEY);",
                )
                .expect("the application's own table");
        }
        lab
    }

    /// A file of our own, run by a pool.
    pub(crate) fn pool() -> Self {
        Self::new(Place::file(Runs::Pool))
    }

    /// A file of our own, run in the caller.
    pub(crate) fn inline() -> Self {
        Self::new(Place::file(Runs::Inline))
    }

    /// Runs a scenario in every place of the matrix and names those in which it fails.
    pub(crate) fn everywhere(scenario: fn(&Self)) {
        Self::in_places(&Place::all(), scenario);
    }

    /// Runs a story on a real file in each way of running.
    pub(crate) fn each_way(story: fn(&Self)) {
        let ways = [Runs::Pool, Runs::Inline, Runs::RunPending];
        Self::in_places(&ways.map(Place::file), story);
    }

    /// Runs a story in memory and on a real file in each way of running.
    pub(crate) fn each_engine(story: fn(&Self)) {
        let ways = [Runs::Pool, Runs::Inline, Runs::RunPending];
        let places = ways.map(|runs| [Place { keeps: Keeps::Memory, runs }, Place::file(runs)]);
        Self::in_places(places.as_flattened(), story);
    }

    /// Each place has a thread of its own, named after it, so a panic says where it happened.
    fn in_places(places: &[Place], scenario: fn(&Self)) {
        let failed: Vec<String> = std::thread::scope(|scope| {
            let run = |place: Place| {
                let name = std::thread::Builder::new().name(place.to_string());
                let running = name.spawn_scoped(scope, move || scenario(&Self::new(place)));
                (place, running.expect("a thread for the place"))
            };
            let running: Vec<_> = places.iter().copied().map(run).collect();
            let failed = running
                .into_iter()
                .filter_map(|(place, thread)| thread.join().is_err().then(|| place.to_string()));
            failed.collect()
        });
        assert!(failed.is_empty(), "it fails in {} places: {}", failed.len(), failed.join("; "));
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("tasks.db")
    }

    /// A builder for this place; the environment of the test run has no say in it.
    pub(crate) fn builder(&self) -> Builder {
        let builder = match self.place.keeps {
            Keeps::Memory => Client::in_memory(),
            Keeps::File { durability, application } => {
                let builder = Client::builder(self.path()).durability(durability);
                if application { builder.application_file() } else { builder }
            }
        };
        let builder = match self.place.runs {
            Runs::Pool => builder.mode(Mode::Pool).workers(2),
            Runs::Inline => builder.mode(Mode::Inline),
            Runs::RunPending => builder.mode(Mode::Hold),
        };
        builder
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .environment([] as [(&str, &str); 0])
    }

    /// Whether tasks are still there after the client has gone.
    pub(crate) fn keeps_tasks(&self) -> bool {
        self.place.keeps != Keeps::Memory
    }

    pub(crate) fn runs(&self, runs: Runs) -> bool {
        self.place.runs == runs
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs what is due where nobody does it by himself.
    #[track_caller]
    pub(crate) fn settle(&self, client: &Client) {
        if !self.runs(Runs::Pool) {
            drain(client, &Drain::new().limit(DRAIN_LIMIT)).expect("what is due is run");
        }
    }

    /// Moves the clock and runs what has become due.
    pub(crate) fn advance(&self, client: &Client, span: Duration) {
        self.clock.advance(span);
        self.settle(client);
    }

    /// The return value of a task that is due.
    pub(crate) fn wait<T: Signature>(
        &self,
        client: &Client,
        handle: &Handle<T>,
    ) -> Result<T::Output, Error> {
        self.settle(client);
        handle.wait(LONG)
    }

    /// The record of a task that is due, when it has ended.
    pub(crate) fn ended<T: Signature>(&self, client: &Client, handle: &Handle<T>) -> TaskRecord {
        let answer = self.wait(client, handle).map(|_| ());
        let record = handle.refresh().expect("the task is there");
        assert!(record.state.is_final(), "it is {} ({answer:?})", record.state);
        record
    }
}
