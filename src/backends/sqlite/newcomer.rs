//! Store: others who have just opened the file, and are likely to write to it soon.
//!
//! The system reports each opening of the log (Linux), also those by this engine, which are announced before.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Openings that may be announced and not reported yet: those of a reader and of the checkpoints. Several that follow each
/// other closely are one report, so more would hide others.
const OWN_MAX: u32 = 2;

/// Who opens the file.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    own: AtomicU32,
    came: AtomicBool,
}

impl Newcomers {
    /// This engine is about to open it once more.
    pub(super) fn announce_own(&self) {
        let more = |own: u32| Some((own + 1).min(OWN_MAX));
        let _always = self.own.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }

    /// Somebody has opened it.
    pub(super) fn note_opening(&self) {
        let less = |own: u32| own.checked_sub(1);
        if self.own.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            self.came.store(true, Ordering::SeqCst);
        }
    }

    /// Whether somebody else has opened it since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.came.load(Ordering::Relaxed) && self.came.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_opens_it_unannounced_is_a_newcomer() {
        let newcomers = Newcomers::default();
        newcomers.announce_own();
        newcomers.note_opening();
        assert!(!newcomers.take(), "this engine");
        newcomers.note_opening();
        assert!(newcomers.take() && !newcomers.take(), "told once");
        // Many that were announced and merged into one report hide few others.
        for _ in 0..9 {
            newcomers.announce_own();
        }
        for _ in 0..=OWN_MAX {
            assert!(!newcomers.take());
            newcomers.note_opening();
        }
        assert!(newcomers.take());
    }
}
