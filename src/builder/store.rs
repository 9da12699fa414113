//! Define: where a client keeps its tasks, alone or as part of a preset, and what it can do there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Builder;
use crate::backend::Backend;
use crate::backends::memory::Memory;
#[cfg(feature = "sqlite")]
use crate::backends::sqlite::{Settings, Sqlite};
use crate::capability::{Capabilities, Capability};
use crate::client::Client;
use crate::error::Error;
use crate::mode::Mode;
use crate::state::{STEP_STRICT_MS, step_for};

/// Where tasks are kept.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Memory,
    #[cfg(feature = "sqlite")]
    File(PathBuf),
    /// A file that is yet to be named, by settings or environment.
    #[cfg(feature = "sqlite")]
    Unnamed,
}

impl Client {
    /// Begins to open a queue file; it is made if it is missing.
    #[cfg(feature = "sqlite")]
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(Store::File(path.into()))
    }

    /// Begins to open a queue that lives in this process only, for tests and throw-away work. A path
    /// in a [`Config`](crate::Config) or in `LITEWORK_DB` is not used, and a warning says so.
    pub fn in_memory() -> Builder {
        Builder::new(Store::Memory)
    }

    /// Begins to open a client without a file and without threads: each task has run when `enqueue`
    /// returns, and can be looked up afterwards. A preset for development and tests.
    ///
    /// It is [`Client::in_memory`] in mode `inline` that refuses (`unsupported`) a call with a due time yet to
    /// come, as nobody would run it. What cannot be foreseen is kept for [`Client::run_pending`]: an attempt that
    /// snoozes or is to be tried again after more than 10 s, and a task that has to wait at a lock, a limit or
    /// a rate. Another mode, set by the builder or the environment, makes it a
    /// queue in memory like any other.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::immediate().register(double).open()?;
    /// assert_eq!(tasks.enqueue(double::with(21))?.value()?, 42);
    /// let later = tasks.enqueue(double::with(21).run_after(Duration::from_secs(60)));
    /// assert_eq!(later.unwrap_err().code(), "unsupported");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn immediate() -> Builder {
        let mut builder = Self::in_memory();
        builder.be_immediate();
        builder
    }

    /// Begins to open a client that stores tasks in memory and runs none: a preset for tests of code that
    /// enqueues. [`Client::list`] shows what was enqueued, [`Client::clear`] removes it, and
    /// [`Client::run_pending`] runs it after all. It is [`Client::in_memory`] in mode `hold`.
    ///
    /// ```
    /// # use litework::{Client, Filter, task};
    /// # #[task]
    /// # fn greet(name: &str) {}
    /// let tasks = Client::dummy().register(greet).open()?;
    /// tasks.enqueue(greet::with("Ada").priority(5))?;
    /// let sent = tasks.list(&Filter::new().kind("greet"), None, 10)?.tasks;
    /// assert_eq!((sent.len(), sent[0].priority), (1, 5));
    /// assert_eq!(sent[0].arguments, r#"{"name":"Ada"}"#);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn dummy() -> Builder {
        let mut builder = Self::in_memory();
        builder.be_dummy();
        builder
    }

    /// Removes every task that is not running, ended ones included, and says how many: for tests, and for
    /// [`Client::dummy`], which keeps what nobody runs. Whoever waits for one of them is told `not_found`.
    ///
    /// ```
    /// # use litework::{Client, Filter, task};
    /// # #[task]
    /// # fn greet(name: &str) {}
    /// let tasks = Client::dummy().register(greet).open()?;
    /// tasks.enqueue_many(["Ada", "Grace"].map(greet::with))?;
    /// assert_eq!(tasks.list(&Filter::new(), None, 10)?.tasks.len(), 2);
    /// assert_eq!(tasks.clear()?, 2);
    /// assert_eq!(tasks.count(&Filter::new())?, 0);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `unsupported` where the tasks are in a file; `closed`.
    pub fn clear(&self) -> Result<usize, Error> {
        self.check_open()?;
        self.hub
            .catalog
            .require(Capability::Clear, || "a file is not cleared as a whole".to_owned())?;
        self.hub.backend.clear()
    }
}

impl Builder {
    /// Opens the file only if it is there, and is a queue: for tools, which would else make an empty one where a name
    /// is misspelt. `open` then refuses a file that is missing, or has no tables of litework in it
    /// (`no_queue_at`), and writes nothing. Default: a missing file is made.
    ///
    /// ```
    /// # use litework::{Client, Mode};
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("taks.db"); // a slip of the pen
    /// let refused = Client::builder(&path).must_exist().open().unwrap_err();
    /// assert_eq!(refused.code(), "no_queue_at");
    /// assert!(!path.exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn must_exist(mut self) -> Self {
        self.settings.must_exist = true;
        self
    }

    pub(super) fn be_immediate(&mut self) {
        (self.store, self.mode, self.immediate) = (Store::Memory, Some(Mode::Inline), true);
    }

    pub(super) fn be_dummy(&mut self) {
        (self.store, self.mode, self.immediate) = (Store::Memory, Some(Mode::Hold), false);
    }

    #[cfg(feature = "sqlite")]
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as without the feature `sqlite`")]
    pub(super) fn be_file(&mut self) -> Result<(), Error> {
        if matches!(self.store, Store::Memory) {
            self.store = Store::Unnamed;
        }
        self.immediate = false;
        Ok(())
    }

    #[cfg(not(feature = "sqlite"))]
    pub(super) fn be_file(&mut self) -> Result<(), Error> {
        let place = format!("{}preset", self.place.path);
        let allowed = "`immediate` or `dummy`: litework was built without its feature `sqlite`";
        Err(Error::invalid("bad_config", place, "sqlite", allowed))
    }

    pub(super) fn set_path(&mut self, path: &Path) {
        match &mut self.store {
            Store::Memory => {
                let path = path.display();
                tracing::warn!(%path, "a queue in memory has no file; the path that was set is not used");
            }
            #[cfg(feature = "sqlite")]
            Store::File(_) | Store::Unnamed => self.store = Store::File(path.to_owned()),
        }
    }

    /// What the client will be able to do, known before anything is opened.
    pub(super) fn capabilities(&self, mode: Mode) -> Capabilities {
        let engine = match &self.store {
            Store::Memory => Capabilities::MEMORY,
            #[cfg(feature = "sqlite")]
            Store::File(_) | Store::Unnamed => Capabilities::FILE,
        };
        let runs_now_only = self.immediate && mode == Mode::Inline;
        Capabilities { supports_defer: engine.supports_defer && !runs_now_only, ..engine }
    }

    fn memory(&self) -> Memory {
        Memory::new(self.ageing.map_or(STEP_STRICT_MS, step_for))
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn open_store(&self) -> Result<(Arc<dyn Backend>, Option<PathBuf>), Error> {
        match &self.store {
            Store::Memory => Ok((Arc::new(self.memory()), None)),
            Store::File(path) => {
                let (durability, step_ms) = (self.durability, self.ageing.map(step_for));
                let settings = Settings { durability, step_ms, ..self.settings.clone() };
                let sqlite = Sqlite::open(path, &settings)?;
                let path = sqlite.path().to_owned();
                Ok((Arc::new(sqlite), Some(path)))
            }
            Store::Unnamed => {
                let place = format!("{}db", self.place.path);
                let variable = &self.place.variables;
                let allowed = format!(
                    "a path, here or in {variable}DB; or the preset `immediate` or `dummy`"
                );
                Err(Error::invalid("bad_config", place, "", allowed))
            }
        }
    }

    #[cfg(not(feature = "sqlite"))]
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as with the feature `sqlite`")]
    pub(super) fn open_store(&self) -> Result<(Arc<dyn Backend>, Option<PathBuf>), Error> {
        match &self.store {
            Store::Memory => Ok((Arc::new(self.memory()), None)),
        }
    }
}
