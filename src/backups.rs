//! Every step of the journey: a copy of the queue, made while it works, and its size.

use std::ops::ControlFlow;
use std::path::Path;

use crate::client::Client;
use crate::error::Error;
use crate::upkeep::{BackedUp, BackupProgress, Vacuum, Vacuumed};

impl Client {
    /// Copies the queue, as it is now, into a new file, while all that use it go on. What is stored meanwhile is not part
    /// of it. The copy is readable by its owner only, was checked by `SQLite`, and opens as a queue.
    ///
    /// It is written as `PATH.part` and has its name once it is whole and on its disk, so a file of that name is never half a
    /// copy. What a killed one has left is overwritten by the next to the same path. Nobody who writes waits for it; but
    /// the write-ahead log cannot be begun anew before its end, so it grows by what is written until then.
    ///
    /// A queue has no identity beyond its tasks: those of the copy have the same ids, and `copy_of` and `copied_at` say in
    /// it whose copy it is and of which moment (`litework::sqlite::inspect`). It holds no process,
    /// so what runs now is handed back as soon as the copy is opened, and runs again there: a copy is to be opened in
    /// the place of the first, not beside it. The first is moved away with its `-wal` and `-shm` before the copy is moved
    /// there: `SQLite` would take what is left of them for part of the copy.
    ///
    /// Tables of the program in the same file ([`Builder::application_file`](crate::Builder::application_file)) are copied too.
    /// Artifacts in a folder beside the file are not: the answer says how many those are.
    ///
    /// ```
    /// # use litework::{Client, Mode, task};
    /// #[task]
    /// fn greet(name: &str) {}
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (path, copy) = (dir.path().join("tasks.db"), dir.path().join("monday.db"));
    /// let tasks = Client::builder(&path).mode(Mode::Hold).register(greet).open()?;
    /// let id = tasks.enqueue(greet::with("Ada"))?.id();
    /// tasks.backup(&copy)?;
    /// let restored = Client::builder(&copy).mode(Mode::Hold).register(greet).open()?;
    /// assert_eq!(restored.get(id)?.arguments, r#"{"name":"Ada"}"#);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `file_exists` where there is something at the path already, or at `PATH.part`, or a `-wal`, `-shm` or `-journal` of
    /// that name is left; `not_a_queue_file` and `cannot_open` for a path where no
    /// file can be made; `file_busy` while another program makes a copy there; `damaged_file`; `unsupported` in memory;
    /// `closed`, `forked_process`, `reentrant`; `storage` and `not_stored` from the disks. Then nothing is left of it, but
    /// where `storage` says that the copy is whole and only its name may not survive a power loss.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<BackedUp, Error> {
        self.backup_with(path, |_progress| ControlFlow::Continue(()))
    }

    /// [`Client::backup`] that says after every 4 MiB how far it has come, and can be ended by `ControlFlow::Break`.
    ///
    /// ```
    /// # use litework::Client;
    /// # use std::ops::ControlFlow;
    /// # let dir = tempfile::tempdir()?;
    /// # let (path, copy) = (dir.path().join("tasks.db"), dir.path().join("monday.db"));
    /// let tasks = Client::builder(&path).open()?;
    /// tasks.backup_with(&copy, |so_far| {
    ///     println!("{} of {} pages", so_far.done, so_far.total);
    ///     ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::backup`]; `stopped` where it was ended.
    pub fn backup_with(
        &self,
        path: impl AsRef<Path>,
        mut tell: impl FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackedUp, Error> {
        self.check_open()?;
        self.hub.backend.check_usable()?;
        let mut told = |progress| {
            self.check_open()?;
            Ok(tell(progress))
        };
        self.hub.backend.back_up(&|| self.hub.clock.now(), path.as_ref(), &mut told)
    }

    /// Gives the space of what was removed back to the disk. Without it the file keeps its size, and new tasks use the space
    /// again, which is quicker; so there is need for it only where much was removed that does not come again.
    ///
    /// [`Vacuum::Full`] writes all of the file anew: that takes as much room again as the file has, twice, and all this time
    /// nothing is stored, so it is refused while a live process runs tasks. What others enqueue meanwhile waits for up to 30 s,
    /// and is `not_stored` then.
    /// [`Vacuum::Incremental`] gives back free pages while all go on, in a file that was made for it
    /// ([`Builder::incremental_vacuum`](crate::Builder::incremental_vacuum)).
    ///
    /// In a file that is the program's own ([`Builder::application_file`](crate::Builder::application_file)) a full one writes
    /// the program's tables anew too, and `SQLite` may give other rowids to rows of tables without an `INTEGER PRIMARY KEY`.
    ///
    /// ```
    /// # use litework::{Client, Keep, Retention, Vacuum, task};
    /// # use std::time::Duration;
    /// #[task]
    /// fn store(text: &str) {}
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("tasks.db");
    /// let tasks = Client::builder(&path).register(store).open()?;
    /// tasks.enqueue_many((0..20).map(|_| store::with("x".repeat(100_000))))?;
    /// tasks.prune(Retention::all(Keep::age(Duration::ZERO)))?;
    /// let done = tasks.vacuum(Vacuum::Full)?;
    /// assert!(done.after < done.before / 4);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `file_in_use` for a full one while a live process runs tasks; `file_busy` where another program writes for 5 s;
    /// `needs_vacuum` for an incremental one of a file that was not made for it; `unsupported` in memory; `closed`,
    /// `forked_process`, `reentrant`; `not_stored`, as where the disk is full, and `storage`.
    pub fn vacuum(&self, how: Vacuum) -> Result<Vacuumed, Error> {
        self.check_open()?;
        self.hub.backend.vacuum(how)
    }
}
