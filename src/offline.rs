//! Watch: what is asked of a file without opening it as a queue.

use std::path::Path;

use crate::backends::sqlite::exam::Bounds;
use crate::backends::sqlite::examine::examine;
use crate::backends::sqlite::inspect as engine;
use crate::error::Error;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::options::Durability;
use crate::time::{Clock, SystemClock};

/// What a file is, before anybody opens it as a queue: whose, of which version, whether it is whole. It is neither made
/// nor changed, and may be in use.
///
/// A file of a version that this program knows ([`Standing::Current`]) needs no upgrade; there is one version so far, so
/// none is [`Older`].
///
/// ```
/// # use litework::{Client, sqlite::{Standing, inspect}};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("tasks.db");
/// assert_eq!(inspect(&path)?.standing, Standing::Missing);
/// Client::builder(&path).open()?;
/// let found = inspect(&path)?;
/// assert_eq!((found.standing, found.journal_mode.as_str()), (Standing::Current, "wal"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Standing::Current`]: crate::sqlite::Standing::Current
/// [`Older`]: crate::sqlite::Standing::Older
///
/// # Errors
/// `not_a_queue_file` for a folder, a link and a word of `SQLite`'s; `cannot_open` where it may not be read; `file_busy`
/// where another program has had it for itself for 5 s. What is wrong *in* it is no error here, but its standing.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, Error> {
    engine::inspect(path.as_ref())
}

/// Looks for what is wrong with a file, as [`Client::doctor`] does, without opening it as a queue: also where that is
/// refused. `durability` is what its programs are to survive.
///
/// ```
/// # use litework::{Client, Durability, sqlite::doctor};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("tasks.db");
/// Client::builder(&path).open()?;
/// let errors = |severity| severity >= litework::Severity::Error;
/// assert!(!doctor(&path, Durability::Full)?.iter().any(|finding| errors(finding.severity)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Client::doctor`]: crate::Client::doctor
///
/// # Errors
/// `no_queue_at` where there is no such file, or an empty one; those of [`inspect`].
pub fn doctor(path: impl AsRef<Path>, durability: Durability) -> Result<Vec<Finding>, Error> {
    examine(path.as_ref(), SystemClock.now(), durability, Bounds::default())
}
