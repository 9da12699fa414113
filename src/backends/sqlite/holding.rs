//! Enqueue: which files a thread holds a write transaction on, so that a call that would wait for its own
//! thread is refused.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::path::Path;

/// Device and inode of an open file.
pub(super) type FileKey = (u64, u64);

pub(super) fn file_key(path: &Path) -> Option<FileKey> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
    }
    #[cfg(not(unix))]
    {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        std::fs::canonicalize(path).ok()?.hash(&mut hasher);
        Some((0, hasher.finish()))
    }
}

thread_local! {
    /// The files on which this thread holds a write transaction.
    static HELD: RefCell<Vec<FileKey>> = const { RefCell::new(Vec::new()) };
}

/// Looks at the marks of this thread. A thread that is going away, and may drop a client as it goes,
/// holds none.
pub(super) fn with_held<R: Default>(look: impl FnOnce(&mut Vec<FileKey>) -> R) -> R {
    HELD.try_with(|held| look(&mut held.borrow_mut())).unwrap_or_default()
}

/// Marks that this thread holds a write transaction, until it is dropped.
pub(super) struct Holding {
    file: FileKey,
    /// Not `Send`: the mark is this thread's.
    _thread: PhantomData<*const ()>,
}

impl Holding {
    pub(super) fn new(file: FileKey) -> Self {
        with_held(|held| held.push(file));
        Self { file, _thread: PhantomData }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        with_held(|held| {
            if let Some(at) = held.iter().rposition(|file| *file == self.file) {
                held.remove(at);
            }
        });
    }
}

/// Runs `body` as if this thread held no transaction on the file: the one it held has ended, though its
/// marks are still there.
pub(super) fn without_holding<R>(file: FileKey, body: impl FnOnce() -> R) -> R {
    let marks = with_held(|held| {
        let before = held.len();
        held.retain(|known| *known != file);
        before - held.len()
    });
    let answer = body();
    with_held(|held| held.extend(std::iter::repeat_n(file, marks)));
    answer
}
