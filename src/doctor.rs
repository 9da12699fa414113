//! Watch: what is wrong with the queue, for whoever looks after it.

use crate::client::Client;
use crate::error::Error;
use crate::finding::Finding;

impl Client {
    /// Looks for what is wrong with the queue: its disk, its file, its tasks, and those who work on it. Each finding says
    /// what it means, and which command to type next. It reads the whole file once, changes nothing, and nobody waits for
    /// it.
    ///
    /// | Code | Severity | What was found |
    /// |---|---|---|
    /// | `damaged_file` | error | `SQLite` finds the database damaged |
    /// | `schema_differs` | error | a table or an index is missing, or is not as litework made it |
    /// | `schema_newer`, `schema_older`, `not_a_queue` | error, warning, error | it is of another version, or another program's |
    /// | `hard_link` | error | the file has several names |
    /// | `network_filesystem` | error | other hosts may share its disk (Linux) |
    /// | `old_sqlite` | error | this program is built with an `SQLite` before 3.51.3 |
    /// | `old_sqlite_writer` | error | a program has written to the inbox with one |
    /// | `duplicate_keys` | error | two tasks hold one key |
    /// | `bad_rows` | warning | rows that no program of litework has written |
    /// | `copy_in_use` | warning | it is a copy of a file that is still there |
    /// | `not_wal` | warning | its journal mode was changed |
    /// | `wal_pinned`, `wal_large` | warning | its log has grown over 1 GiB, and who reads from it (Linux) |
    /// | `disk_full` | warning | less than 5 % of its disk are free (Linux) |
    /// | `durability_below` | warning | the client's durability is [`Full`](crate::Durability::Full), and its disk lies in memory (Linux) |
    /// | `no_worker` | warning | tasks are ready, and no live process takes their queue |
    /// | `parked_kind` | warning | tasks are ready, and no live process knows their kind |
    /// | `stuck_task` | warning | a body has not stopped at its time-out |
    /// | `schedule_late` | warning | nobody has fired the last three slots of a schedule |
    /// | `dead_seat` | note | lock or slots files of processes that have died |
    ///
    /// What keeps a file from being opened is found by `litework::sqlite::doctor`, which needs no client.
    ///
    /// ```
    /// # use litework::{Client, Mode, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("tasks.db");
    /// let tasks = Client::builder(&path).mode(Mode::Hold).register(send).open()?;
    /// tasks.enqueue(send::with("Ada"))?;
    /// let finding = tasks.doctor()?.into_iter().find(|finding| finding.code == "no_worker").unwrap();
    /// println!("{}: {}\n  {}", finding.severity, finding.what, finding.next);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `unsupported` in memory; `forked_process`; `cannot_open`, `file_busy` and `storage` where the file cannot be read.
    pub fn doctor(&self) -> Result<Vec<Finding>, Error> {
        self.hub.backend.examine(self.hub.clock.now())
    }
}
