//! Run: files of artifacts in a folder beside the queue file, for programs that want that small.
//!
//! The row comes first and goes last, so each file belongs to a row. One that is being written is named `N.part`,
//! after the row; complete, flushed and renamed it is `N`, and only then does its row say so. All of it
//! happens outside the write lock.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::artifact::PART_BYTES;
use crate::error::Error;

/// The folder of the artifacts of a queue file.
#[derive(Debug)]
pub(super) struct Drawer {
    folder: PathBuf,
}

impl Drawer {
    /// Of the queue file `tasks.db` it is `tasks.db-artifacts`.
    pub(super) fn beside(db: &Path) -> Self {
        let mut name = db.file_name().unwrap_or_default().to_owned();
        name.push("-artifacts");
        Self { folder: db.with_file_name(name) }
    }

    fn path(&self, artifact: i64) -> PathBuf {
        self.folder.join(artifact.to_string())
    }

    fn unfinished(&self, artifact: i64) -> PathBuf {
        self.folder.join(format!("{artifact}.part"))
    }

    /// Begins the file of an artifact; the folder is made where there is none.
    pub(super) fn begin(&self, artifact: i64) -> Result<(), Error> {
        let begin = || {
            make_folder(&self.folder)?;
            // What has this name was begun under this number in another file that has gone.
            remove(&self.unfinished(artifact))?;
            create(&self.unfinished(artifact)).map(drop)
        };
        begin().map_err(|error| self.not_stored(&error))
    }

    /// Writes a part behind those before it.
    pub(super) fn write(&self, artifact: i64, at: u64, part: &[u8]) -> Result<(), Error> {
        let write = || {
            let mut file = OpenOptions::new().write(true).open(self.unfinished(artifact))?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(part)
        };
        write().map_err(|error| self.not_stored(&error))
    }

    /// Makes it last under its final name; says how many bytes it has.
    pub(super) fn complete(&self, artifact: i64) -> Result<u64, Error> {
        let complete = || {
            let file = OpenOptions::new().write(true).open(self.unfinished(artifact))?;
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            std::fs::rename(self.unfinished(artifact), self.path(artifact))?;
            flush_folder(&self.folder)?;
            Ok(bytes)
        };
        complete().map_err(|error: io::Error| self.not_stored(&error))
    }

    /// A part of one that is complete; none behind its end, and where somebody has removed it.
    pub(super) fn read(&self, artifact: i64, place: u32) -> Result<Option<Vec<u8>>, Error> {
        let read = || -> io::Result<Vec<u8>> {
            let path = self.path(artifact);
            // A link would lead to what is not ours.
            if !std::fs::symlink_metadata(&path)?.is_file() {
                return Err(ErrorKind::NotFound.into());
            }
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(u64::from(place) * PART_BYTES as u64))?;
            let mut part = Vec::new();
            file.take(PART_BYTES as u64).read_to_end(&mut part)?;
            Ok(part)
        };
        match read() {
            Ok(part) if part.is_empty() => Ok(None),
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Removes whatever there is of it.
    pub(super) fn remove(&self, artifact: i64) -> Result<(), Error> {
        let removed =
            remove(&self.unfinished(artifact)).and_then(|()| remove(&self.path(artifact)));
        removed.map_err(|error| self.unusable(&error))
    }

    fn not_stored(&self, error: &io::Error) -> Error {
        let reason = format!("an artifact in {}: {error}", self.folder.display());
        Error::NotStored { reason, source: None }
    }

    fn unusable(&self, error: &io::Error) -> Error {
        let reason = format!("an artifact in {}: {error}", self.folder.display());
        Error::Storage { reason, source: None }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Only its owner may look into it.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = std::fs::symlink_metadata(folder)?;
            if found.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
        }
        made => made,
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// So that a rename survives power loss, where the system lets folders be flushed.
pub(super) fn flush_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
