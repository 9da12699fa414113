//! Words: what a file is, as it is seen from outside, before anybody opens it as a queue.

use std::path::PathBuf;

use serde::Serialize;

use crate::time::Timestamp;

/// Whether a file can be opened as a queue by this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// There is no such file.
    Missing,
    /// There is nothing in it yet.
    Empty,
    /// It is no `SQLite` database, or one without tables of litework: see [`Inspection::reason`].
    Foreign,
    /// An older program made it; opening it with this one would bring it up to date.
    Older,
    /// As this program makes it.
    Current,
    /// A newer program has changed it, so that this one may not write to it.
    Newer,
    /// Its tables or indexes are not as litework made them: see [`Inspection::differs`].
    Differs,
    /// `SQLite` cannot read it: see [`Inspection::reason`].
    Damaged,
}

impl Standing {
    /// The word for it, such as `current`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Foreign => "foreign",
            Self::Older => "older",
            Self::Current => "current",
            Self::Newer => "newer",
            Self::Differs => "differs",
            Self::Damaged => "damaged",
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a file is; see [`inspect`](crate::sqlite::inspect). What cannot be told of it is none, or zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The path as it was given.
    pub path: PathBuf,
    /// Whether it can be opened.
    pub standing: Standing,
    /// Why it is foreign or damaged.
    pub reason: Option<String>,
    /// What is missing in it, or is not as litework made it, such as `index litework_task_ready is missing`.
    pub differs: Vec<String>,
    /// The number in its header that says whose it is: 0x6c74776b for a file of our own, 0 for one whose
    /// application says nothing.
    pub application_id: i64,
    /// The version of the schema that it was made with, or was brought to.
    pub schema: Option<i64>,
    /// The version that this program makes.
    pub schema_known: i64,
    /// The oldest version whose programs may write to it.
    pub min_writer: Option<i64>,
    /// The `SQLite` that looked: the one this program is built with.
    pub sqlite_version: String,
    /// `wal` for a file that is used as a queue.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// How many pages it has.
    pub pages: u64,
    /// How many of them hold nothing.
    pub free_pages: u64,
    /// Whether free pages can be given back while the queue works; see
    /// [`Builder::incremental_vacuum`](crate::Builder::incremental_vacuum).
    pub incremental_vacuum: bool,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its write-ahead log.
    pub wal_bytes: u64,
    /// How many names it has on its disk; more than one is refused at `open`. 0 where the system does not tell.
    pub links: u64,
    /// The type of the file system that it lies on, such as `ext4`, where the system tells it (Linux).
    pub file_system: Option<String>,
    /// Whether other hosts may share that; it is refused at `open`.
    pub shared_disk: bool,
    /// Whether that lies in memory, so that nothing in it survives power loss, whatever the durability of its programs:
    /// that is chosen by each of them and no property of the file.
    pub memory_disk: bool,
    /// The file that it is a copy of, made by [`Client::backup`](crate::Client::backup).
    pub copy_of: Option<String>,
    /// When it was copied.
    pub copied_at: Option<Timestamp>,
}

impl Inspection {
    /// Nothing is known yet but what this program makes.
    pub(crate) fn new(path: PathBuf, schema_known: i64, sqlite_version: &str) -> Self {
        Self {
            path,
            standing: Standing::Missing,
            reason: None,
            differs: Vec::new(),
            application_id: 0,
            schema: None,
            schema_known,
            min_writer: None,
            sqlite_version: sqlite_version.to_owned(),
            journal_mode: String::new(),
            page_size: 0,
            pages: 0,
            free_pages: 0,
            incremental_vacuum: false,
            file_bytes: 0,
            wal_bytes: 0,
            links: 0,
            file_system: None,
            shared_disk: false,
            memory_disk: false,
            copy_of: None,
            copied_at: None,
        }
    }
}
