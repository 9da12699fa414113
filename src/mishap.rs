//! Store, run: what goes wrong because a test of a program wants it to.
//!
//! An engine asks here before it stores, a body where it has named a point. Without the feature `testing`
//! nothing is kept and every answer is "go on".

#[cfg(feature = "testing")]
pub use on::{WriteFault, WritePoint};

use crate::error::Error;

/// What the clients of one engine have been told to do wrong.
#[derive(Debug, Default)]
pub(crate) struct Mishaps {
    #[cfg(feature = "testing")]
    planned: on::Planned,
}

#[cfg(feature = "testing")]
mod on {
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::Mishaps;
    use crate::error::Error;

    /// A kind of write that a test can make fail; see
    /// [`testing::fail_writes`](crate::testing::fail_writes).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum WritePoint {
        /// Tasks are stored: `enqueue`, `enqueue_many`, `enqueue_json`.
        Enqueue,
        /// Ends of attempts are stored, by whoever runs tasks here: one commit for one end or for several.
        Finish,
        /// A transaction with tasks in it is committed: `write` and `complete_in`, both of
        /// `litework::sqlite`.
        Transaction,
    }

    /// How a write fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum WriteFault {
        /// `not_stored`, as on a full disk: nothing of it is there.
        NotStored,
        /// `unknown_outcome`, and in truth all of it is there.
        UnknownStored,
        /// `unknown_outcome`, and in truth nothing of it is there.
        UnknownLost,
    }

    #[derive(Debug, Default)]
    pub(super) struct Planned {
        /// Whether anything is planned, so that nobody else takes the lock.
        any: AtomicBool,
        plan: Mutex<Plan>,
    }

    #[derive(Debug, Default)]
    struct Plan {
        writes: Vec<(WritePoint, VecDeque<WriteFault>)>,
        /// At which passage from now on the body panics, by the name of the point.
        points: BTreeMap<String, u32>,
    }

    impl Planned {
        fn plan(&self) -> MutexGuard<'_, Plan> {
            self.plan.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn change(&self, change: impl FnOnce(&mut Plan)) {
            let mut plan = self.plan();
            change(&mut plan);
            let writes = plan.writes.iter().any(|(_, faults)| !faults.is_empty());
            self.any.store(writes || !plan.points.is_empty(), Ordering::SeqCst);
        }
    }

    impl Mishaps {
        pub(crate) fn fail(&self, at: WritePoint, with: WriteFault, times: usize) {
            self.planned.change(|plan| {
                let faults = std::iter::repeat_n(with, times);
                match plan.writes.iter_mut().find(|(point, _)| *point == at) {
                    Some((_, planned)) => planned.extend(faults),
                    None => plan.writes.push((at, faults.collect())),
                }
            });
        }

        pub(crate) fn panic_at(&self, point: &str, passage: u32) {
            self.planned.change(|plan| {
                plan.points.insert(point.to_owned(), passage);
            });
        }

        /// Everything goes right from now on.
        pub(crate) fn clear(&self) {
            self.planned.change(|plan| *plan = Plan::default());
        }

        pub(super) fn next(&self, at: WritePoint) -> Option<WriteFault> {
            if !self.planned.any.load(Ordering::Relaxed) {
                return None;
            }
            let mut next = None;
            self.planned.change(|plan| {
                let here = plan.writes.iter_mut().find(|(point, _)| *point == at);
                next = here.and_then(|(_, faults)| faults.pop_front());
            });
            next
        }

        /// Whether the body that passes here is to panic.
        pub(super) fn strikes(&self, point: &str) -> bool {
            if !self.planned.any.load(Ordering::Relaxed) {
                return false;
            }
            let mut strikes = false;
            self.planned.change(|plan| {
                if let Some(passage) = plan.points.get_mut(point) {
                    *passage = passage.saturating_sub(1);
                    strikes = *passage == 0;
                }
                if strikes {
                    plan.points.remove(point);
                }
            });
            strikes
        }
    }

    pub(super) fn not_stored() -> Error {
        let reason = "the test wanted this write to fail".to_owned();
        Error::NotStored { reason, source: None }
    }

    pub(super) fn unknown() -> Error {
        let reason = "the test wanted this write to be of unknown outcome".to_owned();
        Error::Unknown { reason, source: None }
    }
}

#[cfg(feature = "testing")]
impl Mishaps {
    /// Stores tasks, or fails to. What is stored though nobody hears of it is not handed over.
    pub(crate) fn enqueue<O, R>(
        &self,
        offer: Option<O>,
        store: impl FnOnce(Option<O>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.write(WritePoint::Enqueue, offer, store)
    }

    /// Stores so many ends and claims, or fails to. Claims alone always go right.
    pub(crate) fn finish<O, R>(
        &self,
        ends: usize,
        offer: Option<O>,
        store: impl FnOnce(Option<O>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if ends == 0 { store(offer) } else { self.write(WritePoint::Finish, offer, store) }
    }

    fn write<O, R>(
        &self,
        at: WritePoint,
        offer: Option<O>,
        store: impl FnOnce(Option<O>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        match self.next(at) {
            None => store(offer),
            Some(WriteFault::NotStored) => Err(on::not_stored()),
            Some(WriteFault::UnknownLost) => Err(on::unknown()),
            Some(WriteFault::UnknownStored) => store(None).and_then(|_| Err(on::unknown())),
        }
    }

    /// Asked at the end of a transaction: an error rolls it back, and one inside of `Ok` is the answer after
    /// its commit.
    #[cfg(feature = "sqlite")]
    pub(crate) fn transact(&self) -> Result<Option<Error>, Error> {
        match self.next(WritePoint::Transaction) {
            None => Ok(None),
            Some(WriteFault::NotStored) => Err(on::not_stored()),
            Some(WriteFault::UnknownLost) => Err(on::unknown()),
            Some(WriteFault::UnknownStored) => Ok(Some(on::unknown())),
        }
    }

    /// A place that a body has named.
    #[track_caller]
    pub(crate) fn pass(&self, point: &str) {
        assert!(
            !self.strikes(point),
            "fault point {point:?}: the test wanted the body to panic here"
        );
    }
}

#[cfg(not(feature = "testing"))]
#[expect(clippy::unused_self, reason = "the same shape as with the feature `testing`")]
impl Mishaps {
    #[inline]
    pub(crate) fn enqueue<O, R>(
        &self,
        offer: Option<O>,
        store: impl FnOnce(Option<O>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        store(offer)
    }

    #[inline]
    pub(crate) fn finish<O, R>(
        &self,
        _ends: usize,
        offer: Option<O>,
        store: impl FnOnce(Option<O>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        store(offer)
    }

    #[cfg(feature = "sqlite")]
    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as with the feature `testing`")]
    pub(crate) fn transact(&self) -> Result<Option<Error>, Error> {
        Ok(None)
    }

    #[inline]
    pub(crate) fn pass(&self, _point: &str) {}
}
