//! Define: how long tasks are kept after their end, and whether their space goes back to the disk.

use super::Builder;
use crate::error::Error;
use crate::retention::Retention;

impl Builder {
    /// How long tasks are kept after their end. Default: [`Retention::default`], 7 days, and 30 for what
    /// failed. `open` refuses an age of more than 100 years (`out_of_range`).
    ///
    /// A pool removes what is older by itself, and so does `run_pending`, a few milliseconds' worth each
    /// time it is called. Modes `inline`, `enqueue` and `hold` remove nothing without
    /// [`Client::prune`](crate::Client::prune) or `run_pending`. With [`Retention::forever`] nobody
    /// does.
    ///
    /// A pass reads what has ended in small pages and removes it in transactions of about 2 ms; it
    /// begins when something is old enough or has ended since the last pass, 5 minutes or more after
    /// that one, and takes at most a hundredth of the time. When the machine's clock has jumped by more
    /// than an hour, nothing is removed by itself until it has been stable for 10 minutes.
    ///
    /// ```
    /// # use litework::{Client, Keep, Retention, State, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let retention = Retention::default().succeeded(Keep::age(day)).failed(Keep::forever());
    /// let tasks = Client::in_memory().retention(retention).register(double).open()?;
    /// # tasks.enqueue(double::with(21))?;
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.prunes.retention = retention;
        self
    }

    /// Whether this program removes what is old by itself. Default: true. If false, only
    /// [`Client::prune`](crate::Client::prune) does, or another program.
    pub fn prune(mut self, automatic: bool) -> Self {
        self.prunes.automatic = automatic;
        self
    }

    /// How large one artifact may be, 1 byte to 1 TiB: see [`Context::artifact`](crate::Context::artifact).
    /// Default: 256 MiB.
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.artifacts.each = bytes;
        self
    }

    /// How much all artifacts of the file may take together, 1 byte to 1 TiB: another is refused as
    /// `overloaded`, and nothing else is. What is removed, by hand, when it expires or with its task, makes room
    /// again. Default: 1 GiB.
    pub fn max_artifacts_bytes(mut self, bytes: u64) -> Self {
        self.artifacts.all = bytes;
        self
    }

    /// Keeps artifacts that are files in a folder beside the queue file, `tasks.db-artifacts` for `tasks.db`, so that the queue
    /// file stays small; a backup has to take both. Each is flushed and complete before it is seen, and is removed with its task.
    /// They count for the same limits. Default: false, all in the one file. What is there stays where it is when this changes;
    /// a client in memory has no folder.
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// #[task]
    /// fn export(ctx: &Context) -> Result<()> {
    ///     ctx.artifact("orders.csv").media_type("text/csv").copy("a;b\n1;2\n".as_bytes())?;
    ///     Ok(())
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("tasks.db");
    /// let tasks = Client::builder(&path).artifacts_beside(true).register(export).open()?;
    /// tasks.enqueue(export::with())?;
    /// assert_eq!(std::fs::read_dir(dir.path().join("tasks.db-artifacts"))?.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn artifacts_beside(mut self, beside: bool) -> Self {
        self.artifacts.beside = beside;
        self
    }

    /// Gives the space of what was removed back to the disk, after each pass and in slices of about
    /// 2 ms. Default: the file keeps its size, and new tasks use the space again, which is quicker.
    ///
    /// A new file of our own is made ready for it. `open` refuses one that was made without it
    /// (`needs_vacuum`), and says how to change it.
    ///
    /// ```
    /// # use litework::{Client, Keep, Prune, Retention, task};
    /// # use std::time::Duration;
    /// # #[task]
    /// # fn store(text: &str) {}
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("tasks.db");
    /// let tasks = Client::builder(&path).incremental_vacuum().register(store).open()?;
    /// for _ in 0..20 {
    ///     tasks.enqueue(store::with("x".repeat(100_000)))?;
    /// }
    /// let none = Retention::all(Keep::age(Duration::ZERO));
    /// assert_eq!(tasks.prune(Prune::by(none))?.total(), 19); // the newest always stays
    /// # Ok::<(), litework::Failure>(())
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn incremental_vacuum(mut self) -> Self {
        self.settings.incremental_vacuum = true;
        self.prunes.gives_space = true;
        self
    }

    pub(super) fn check_retention(&self) -> Result<(), Error> {
        self.prunes.retention.check()
    }
}
