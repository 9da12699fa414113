//! Enqueue: how much may be stored before a new task is refused as `overloaded`.
//!
//! A program sets these limits for itself; the file holds none. What was stored is never refused
//! again: a retry goes on though its queue is full, and a finish may make the file larger than new
//! tasks may.

use std::collections::HashMap;

use crate::range::Range;

/// Limits of waiting tasks that can be set.
pub(crate) const WAITING: Range<u64> =
    Range { least: 1, most: 1_000_000_000, text: "1 to 1000000000" };
/// Limits of a file that can be set.
pub(crate) const FILE_BYTES: Range<u64> =
    Range { least: 1 << 20, most: 1 << 48, text: "1048576 to 281474976710656" };

/// The limits that hold for one task; none: as much as there is room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Tasks of its queue that have not started, itself included.
    pub(crate) waiting: Option<u64>,
    /// Bytes of the file that are in use, its arguments included.
    pub(crate) file_bytes: Option<u64>,
}

/// What a program allows itself, by queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quotas {
    /// Queues with a limit of their own.
    pub(crate) queues: HashMap<String, u64>,
    /// Each other queue.
    pub(crate) each_queue: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
}

impl Quotas {
    /// What holds for a task of this queue.
    pub(crate) fn of(&self, queue: &str) -> Quota {
        let own = if self.queues.is_empty() { None } else { self.queues.get(queue).copied() };
        Quota { waiting: own.or(self.each_queue), file_bytes: self.file_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_its_own_limit_or_that_of_each() {
        let queues = HashMap::from([("mail".to_owned(), 3)]);
        let quotas = Quotas { queues, each_queue: Some(9), file_bytes: None };
        assert_eq!((quotas.of("mail").waiting, quotas.of("sms").waiting), (Some(3), Some(9)));
        assert_eq!(Quotas::default().of("mail"), Quota::default());
    }
}
