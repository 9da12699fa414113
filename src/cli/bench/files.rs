//! Operate: queue files of a benchmark, each in a folder of its own, which goes with it.

use std::io;
use std::path::{Path, PathBuf};

use litework::{Durability, Mode};

use super::clock::now_ms;
use super::measure::Measured;
use super::probe::Probe;
use super::raw::Raw;
use super::resize::{Resize, client};

/// A folder of our own, which is removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one inside of another, under a name that begins so.
    pub(crate) fn new_in(parent: &Path, name: &str) -> io::Result<Self> {
        loop {
            let path = parent.join(format!("{name}{:08x}", fastrand::u32(..)));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// An empty queue file, closed.
    pub(crate) fn empty(&self) -> Measured<QueueFile> {
        let file = self.file()?;
        drop(client(&file.path(), Mode::Enqueue, Durability::Normal)?);
        Probe::open(&file.path())?.make_lane()?;
        Ok(file)
    }

    /// A closed file with so many tasks ready.
    pub(crate) fn stored(&self, count: usize) -> Measured<QueueFile> {
        let file = self.empty()?;
        let raw = Raw::open(&file.path(), Durability::Normal, now_ms)?;
        for first in (0..count).step_by(1_000) {
            raw.insert((first..count.min(first + 1_000)).map(Resize::sample))?;
        }
        Ok(file)
    }

    /// A copy of a closed file, on the disk before it is used.
    pub(crate) fn copy(&self, file: &QueueFile) -> Measured<QueueFile> {
        let copy = self.file()?;
        std::fs::copy(file.path(), copy.path())?;
        std::fs::File::open(copy.path())?.sync_all()?;
        Ok(copy)
    }

    fn file(&self) -> io::Result<QueueFile> {
        Self::new_in(&self.0, "file-").map(QueueFile)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Where it does not go there is nobody to tell; whoever made it looks.
        let _stays = std::fs::remove_dir_all(&self.0);
    }
}

/// A queue file in a folder of its own.
#[derive(Debug)]
pub(crate) struct QueueFile(Folder);

impl QueueFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("tasks.db")
    }
}
